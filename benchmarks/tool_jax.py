"""The workloads in JAX, in its best form.

Everything under `jit`; training donates its parameters and keeps all arrays on the device, and a series of steps is
blocked once at its end; the persistent compilation cache is on and keeps everything. The row `call` goes from NumPy
to NumPy, as a service would.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.workloads import (
    LEARNING_RATE,
    PENDULUM_DAMPING,
    PENDULUM_DT,
    PENDULUM_STEPS,
    Inputs,
    Prepared,
)


def prepare(workload: str, inputs: Inputs, cache: str) -> Prepared:
    """Trace, compile and run once, with compiled programs kept in the directory `cache`."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return PREPARED.get(workload, _chain)(inputs)


def _call(inputs: Inputs) -> Prepared:
    function = jax.jit(lambda x: x * 2 + 1)
    array = inputs["x"]
    result = [np.asarray(function(array))]

    def run(n: int) -> None:
        for _ in range(n):
            np.asarray(function(array))

    return Prepared(result, run)


def _loss(parameters: Any, x: Any, y: Any) -> Any:
    w1, b1, w2, b2, w3, b3 = parameters
    hidden = jax.nn.relu(jax.nn.relu(x @ w1 + b1) @ w2 + b2)
    log_probabilities = jax.nn.log_softmax(hidden @ w3 + b3)
    return -jnp.mean(jnp.take_along_axis(log_probabilities, y[:, None], axis=1))


@partial(jax.jit, donate_argnums=0)
def _step(parameters: Any, x: Any, y: Any) -> Any:
    loss, gradients = jax.value_and_grad(_loss)(parameters, x, y)
    return [p - LEARNING_RATE * g for p, g in zip(parameters, gradients, strict=True)], loss


def _mlp(inputs: Inputs) -> Prepared:
    x, y = jnp.asarray(inputs["x"]), jnp.asarray(inputs["y"])
    state: list[Any] = [[jnp.asarray(p) for p in inputs["parameters"]]]
    state[0], loss = _step(state[0], x, y)
    result = [np.asarray(loss), *(np.array(p) for p in state[0])]

    def run(n: int) -> None:
        parameters = state[0]
        for _ in range(n):
            parameters, last = _step(parameters, x, y)
        jax.block_until_ready((parameters, last))
        state[0] = parameters

    return Prepared(result, run)


def _chain(inputs: Inputs) -> Prepared:
    def total(x: Any) -> Any:
        v = x
        for c in inputs["c"]:
            v = jnp.tanh(v * c + x)
        return jnp.sum(v)

    function = jax.jit(jax.grad(total))
    array = jnp.asarray(inputs["x"])
    result = [np.asarray(function(array))]

    def run(n: int) -> None:
        for _ in range(n):
            function(array).block_until_ready()

    return Prepared(result, run)


def _prepared(function: Any, *arguments: Any) -> Prepared:
    """Return a jitted function of arrays on the device, blocked once a call."""
    result = [np.asarray(leaf) for leaf in jax.tree.leaves(function(*arguments))]

    def run(n: int) -> None:
        for _ in range(n):
            jax.block_until_ready(function(*arguments))

    return Prepared(result, run)


def _rnn(inputs: Inputs) -> Prepared:
    def loss(weights: Any, xs: Any) -> Any:
        w, u, v = weights

        def cell(h: Any, projected: Any) -> Any:
            h = jnp.tanh(h @ w + projected)
            return h, h

        _, hs = jax.lax.scan(cell, jnp.zeros(xs.shape[1:], "float32"), xs @ u)
        ys = hs @ v
        return jnp.mean(ys * ys)

    weights = tuple(jnp.asarray(inputs[name]) for name in "wuv")
    return _prepared(jax.jit(jax.value_and_grad(loss)), weights, jnp.asarray(inputs["xs"]))


def _lstm(inputs: Inputs) -> Prepared:
    def layer(w: Any, u: Any, b: Any, x: Any, h: Any, c: Any) -> Any:
        z = w * x + u * h + b
        c = jax.nn.sigmoid(z[1]) * c + jax.nn.sigmoid(z[0]) * jnp.tanh(z[3])
        return jax.nn.sigmoid(z[2]) * jnp.tanh(c), c

    def loss(weights: Any, xs: Any) -> Any:
        w, u, b = weights

        def cell(carry: Any, x: Any) -> Any:
            (h0, c0), (h1, c1) = carry
            h0, c0 = layer(w[0], u[0], b[0], x, h0, c0)
            h1, c1 = layer(w[1], u[1], b[1], h0, h1, c1)
            return ((h0, c0), (h1, c1)), h1

        zero = jnp.zeros(xs.shape[1])
        _, ys = jax.lax.scan(cell, ((zero, zero), (zero, zero)), xs)
        return jnp.mean(ys * ys)

    weights = tuple(jnp.asarray(inputs[name]) for name in "wub")
    return _prepared(jax.jit(jax.value_and_grad(loss)), weights, jnp.asarray(inputs["xs"]))


def _pendulum(inputs: Inputs, *, grad: bool = False) -> Prepared:
    def swing(state: Any, _: None) -> Any:
        angle, speed = state
        speed = speed - PENDULUM_DT * (jnp.sin(angle) + PENDULUM_DAMPING * speed)
        return (angle + PENDULUM_DT * speed, speed), None

    def final(start: Any) -> Any:
        state, _ = jax.lax.scan(swing, (start[0], start[1]), None, length=PENDULUM_STEPS)
        return state[0] + state[1], state

    def both(start: Any) -> Any:
        (_, state), slope = jax.value_and_grad(final, has_aux=True)(start)
        return [*state, slope]

    return _prepared(jax.jit(both if grad else lambda start: final(start)[1]), jnp.asarray(inputs["start"]))


PREPARED: dict[str, Callable[[Inputs], Prepared]] = {
    "call": _call,
    "mlp": _mlp,
    "rnn": _rnn,
    "lstm": _lstm,
    "pendulum": _pendulum,
    "pendulum_grad": partial(_pendulum, grad=True),
}


def describe() -> str:
    """Return the tool's version and those of what it runs on."""
    return f"JAX {jax.__version__}, NumPy {np.__version__}"
