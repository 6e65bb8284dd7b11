"""The rows with loops in JAX: `lax.scan`, also for the chain of 100 steps; the long chains unrolled as in every tool.

Unrolling a few steps of a scan helps the LSTM, and only that.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.rows_jax import Row, blocked
from benchmarks.workloads import (
    DIFFUSION,
    PENDULUM_DAMPING,
    PENDULUM_DT,
    PENDULUM_STEPS,
    STENCIL_STEPS,
    Inputs,
    Prepared,
)


def _chain(inputs: Inputs) -> Prepared:
    steps = jnp.array(inputs["c"])

    def total(x: Any) -> Any:
        return jnp.sum(jax.lax.scan(lambda v, c: (jnp.tanh(v * c + x), None), x, steps)[0])

    return blocked(jax.jit(jax.grad(total)), inputs["x"])


def _unrolled(inputs: Inputs) -> Prepared:
    def total(x: Any) -> Any:
        v = x
        for c in inputs["c"]:
            v = jnp.tanh(v * c + x)
        return jnp.sum(v)

    return blocked(jax.jit(jax.grad(total)), inputs["x"])


def _rnn(inputs: Inputs) -> Prepared:
    def loss(weights: Any, xs: Any) -> Any:
        w, u, v = weights

        def cell(h: Any, projected: Any) -> Any:
            h = jnp.tanh(h @ w + projected)
            return h, h

        _, hs = jax.lax.scan(cell, jnp.zeros(xs.shape[1:], "float32"), xs @ u)
        ys = hs @ v
        return jnp.mean(ys * ys)

    weights = tuple(inputs[name] for name in "wuv")
    return blocked(jax.jit(jax.value_and_grad(loss)), weights, inputs["xs"])


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
        _, ys = jax.lax.scan(cell, ((zero, zero), (zero, zero)), xs, unroll=4)
        return jnp.mean(ys * ys)

    weights = tuple(inputs[name] for name in "wub")
    return blocked(jax.jit(jax.value_and_grad(loss)), weights, inputs["xs"])


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

    return blocked(jax.jit(both if grad else lambda start: final(start)[1]), inputs["start"])


def _stencil(inputs: Inputs) -> Prepared:
    def step(u: Any, _: None) -> Any:
        around = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]
        return u + jnp.pad(DIFFUSION * (around - 4 * u[1:-1, 1:-1]), 1), None

    def loss(start: Any) -> Any:
        u, _ = jax.lax.scan(step, start, None, length=STENCIL_STEPS)
        return jnp.sum(u * u)

    return blocked(jax.jit(jax.value_and_grad(loss)), inputs["u"])


ROWS: dict[str, Row] = {
    "rnn": _rnn,
    "lstm": _lstm,
    "pendulum": _pendulum,
    "pendulum_grad": partial(_pendulum, grad=True),
    "chain100": _chain,
    "chain1000": _unrolled,
    "chain10000": _unrolled,
    "stencil": _stencil,
}
