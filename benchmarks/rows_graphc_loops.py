"""The rows with loops in graphc: recurrent networks, the pendulum, chains and the heat equation."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import graphc as gc
from benchmarks.rows_graphc import Built, Clock, Row, differentiated
from benchmarks.workloads import (
    DIFFUSION,
    PENDULUM_DAMPING,
    PENDULUM_DT,
    PENDULUM_STEPS,
    STENCIL_STEPS,
    UNROLLED_STEPS,
    Inputs,
)


def _chain(clock: Clock, inputs: Inputs) -> Built:
    x = gc.placeholder("x", shape=inputs["x"].shape)
    steps = gc.constant(np.array(inputs["c"]))
    v, _ = gc.scan(lambda v, c: (gc.tanh(v * c + x), None), x, steps)
    clock.stop("build")
    gradient = gc.grad(gc.sum(v), x)
    clock.stop("grad")
    return Built([x], gradient, [inputs["x"]])


def _unrolled_chain(clock: Clock, inputs: Inputs) -> Built:
    x = gc.placeholder("x", shape=inputs["x"].shape)
    v = x
    for c in inputs["c"]:
        v = gc.tanh(v * c + x)
    clock.stop("build")
    gradient = gc.grad(gc.sum(v), x)
    clock.stop("grad")
    return Built([x], gradient, [inputs["x"]])


def _rnn(clock: Clock, inputs: Inputs) -> Built:
    w, u, v = (gc.shared(inputs[name], name=name) for name in "wuv")
    xs = gc.placeholder("xs", shape=inputs["xs"].shape, dtype="float32")

    def cell(h: gc.Node, x: gc.Node) -> tuple[gc.Node, gc.Node]:
        h = gc.tanh(h @ w + x @ u)
        return h, h @ v

    _, ys = gc.scan(cell, gc.zeros(xs.shape[1:], dtype="float32"), xs)
    return differentiated(clock, gc.mean(ys * ys), [w, u, v], [xs], [inputs["xs"]])


def _lstm(clock: Clock, inputs: Inputs) -> Built:
    w, u, b = (gc.shared(inputs[name], name=name) for name in "wub")
    width = inputs["xs"].shape[1]
    xs = gc.placeholder("xs", shape=("steps", width))

    def layer(k: int, x: gc.Node, h: gc.Node, c: gc.Node) -> tuple[gc.Node, gc.Node]:
        z = w[k] * x + u[k] * h + b[k]
        c = gc.sigmoid(z[1]) * c + gc.sigmoid(z[0]) * gc.tanh(z[3])
        return gc.sigmoid(z[2]) * gc.tanh(c), c

    def cell(carry: Any, x: gc.Node) -> tuple[Any, gc.Node]:
        (h0, c0), (h1, c1) = carry
        h0, c0 = layer(0, x, h0, c0)
        h1, c1 = layer(1, h0, h1, c1)
        return ((h0, c0), (h1, c1)), h1

    zero = gc.zeros(width)
    _, ys = gc.scan(cell, ((zero, zero), (zero, zero)), xs)
    return differentiated(clock, gc.mean(ys * ys), [w, u, b], [xs], [inputs["xs"]])


def _swing(state: tuple[gc.Node, gc.Node], _: None) -> tuple[tuple[gc.Node, gc.Node], None]:
    """One step of semi-implicit Euler."""
    angle, speed = state
    speed = speed - PENDULUM_DT * (gc.sin(angle) + PENDULUM_DAMPING * speed)
    return (angle + PENDULUM_DT * speed, speed), None


def _pendulum(
    clock: Clock, inputs: Inputs, steps: int = PENDULUM_STEPS, *, grad: bool = False, rolled: bool = True
) -> Built:
    start = gc.placeholder("start", shape=(2,))
    state = (start[0], start[1])
    if rolled:
        state, _ = gc.scan(_swing, state, None, length=steps)
    else:
        for _ in range(steps):
            state, _ = _swing(state, None)
    outputs = [state[0], state[1]]
    clock.stop("build")
    if grad:
        outputs.append(gc.grad(state[0] + state[1], start))
    clock.stop("grad")
    return Built([start], outputs, [inputs["start"]])


def _stencil(clock: Clock, inputs: Inputs) -> Built:
    start = gc.placeholder("u", shape=inputs["u"].shape)

    def step(u: gc.Node, _: None) -> tuple[gc.Node, None]:
        around = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]
        return u.at[1:-1, 1:-1].add(DIFFUSION * (around - 4 * u[1:-1, 1:-1])), None

    u, _ = gc.scan(step, start, None, length=STENCIL_STEPS)
    return differentiated(clock, gc.sum(u * u), [start], [start], [inputs["u"]])


ROWS: dict[str, Row] = {
    "rnn": _rnn,
    "lstm": _lstm,
    "pendulum": _pendulum,
    "pendulum_grad": partial(_pendulum, grad=True),
    "unrolled": partial(_pendulum, steps=UNROLLED_STEPS, grad=True, rolled=False),
    "rolled": partial(_pendulum, steps=UNROLLED_STEPS, grad=True),
    "chain100": _chain,
    "chain1000": _unrolled_chain,
    "chain10000": _unrolled_chain,
    "stencil": _stencil,
}
