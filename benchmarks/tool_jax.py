"""The workloads in JAX, in its best form.

Everything under `jit`; training donates its parameters and keeps all arrays on the device, and a series of steps is
blocked once at its end; the persistent compilation cache is on and keeps everything. The row `call` goes from NumPy
to NumPy, as a service would.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.workloads import LEARNING_RATE, Inputs, Prepared


def prepare(workload: str, inputs: Inputs, cache: str) -> Prepared:
    """Trace, compile and run once, with compiled programs kept in the directory `cache`."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return {"call": _call, "mlp": _mlp}.get(workload, _chain)(inputs)


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


def describe() -> str:
    """Return the tool's version and those of what it runs on."""
    return f"JAX {jax.__version__}, NumPy {np.__version__}"
