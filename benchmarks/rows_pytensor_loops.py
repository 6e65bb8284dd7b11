"""The rows with loops in PyTensor: `scan`, also for the chain, as unrolled steps take it minutes to compile.

The chain of 1,000 steps, which is there to be unrolled, goes beyond Python's recursion limit.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from benchmarks.rows_pytensor import Row, differentiated, prepared, share, variable
from benchmarks.workloads import (
    DIFFUSION,
    PENDULUM_DAMPING,
    PENDULUM_DT,
    PENDULUM_STEPS,
    STENCIL_STEPS,
    Inputs,
    Prepared,
)


def _scan(step: Any, start: Any, sequences: Any = None, steps: int | None = None) -> Any:
    """Return all values of every part of the carry."""
    return pytensor.scan(step, sequences, start, n_steps=steps, return_list=True, return_updates=False)


def _chain(inputs: Inputs) -> Prepared:
    x = variable("x", inputs["x"])
    steps = pt.constant(np.array(inputs["c"]))
    (vs,) = _scan(lambda c, v: pt.tanh(v * c + x), [x], [steps])
    return prepared([x], [pytensor.grad(pt.sum(vs[-1]), x)], [inputs["x"]])


def _rnn(inputs: Inputs) -> Prepared:
    w, u, v = share([inputs[name] for name in "wuv"])
    xs = variable("xs", inputs["xs"])
    steps, batch, width = inputs["xs"].shape
    projected = (xs.reshape((steps * batch, width)) @ u).reshape((steps, batch, width))
    (hs,) = _scan(lambda x, h: pt.tanh(h @ w + x), [pt.zeros((batch, width), "float32")], [projected])
    ys = hs.reshape((steps * batch, width)) @ v
    loss = pt.sum(ys * ys, acc_dtype="float32") / np.float32(inputs["xs"].size)
    return differentiated(loss, [w, u, v], [xs], [inputs["xs"]])


def _lstm(inputs: Inputs) -> Prepared:
    w, u, b = share([inputs[name] for name in "wub"])
    xs = variable("xs", inputs["xs"])

    def layer(k: int, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
        z = w[k] * x + u[k] * h + b[k]
        c = pt.sigmoid(z[1]) * c + pt.sigmoid(z[0]) * pt.tanh(z[3])
        return pt.sigmoid(z[2]) * pt.tanh(c), c

    def cell(x: Any, h0: Any, c0: Any, h1: Any, c1: Any) -> list[Any]:
        h0, c0 = layer(0, x, h0, c0)
        h1, c1 = layer(1, h0, h1, c1)
        return [h0, c0, h1, c1]

    zero = pt.zeros(inputs["xs"].shape[1])
    _, _, ys, _ = _scan(cell, [zero, zero, zero, zero], [xs])
    return differentiated(pt.mean(ys * ys), [w, u, b], [xs], [inputs["xs"]])


def _pendulum(inputs: Inputs, *, grad: bool = False) -> Prepared:
    def swing(angle: Any, speed: Any) -> list[Any]:
        speed = speed - PENDULUM_DT * (pt.sin(angle) + PENDULUM_DAMPING * speed)
        return [angle + PENDULUM_DT * speed, speed]

    start = variable("start", inputs["start"])
    angles, speeds = _scan(swing, [start[0], start[1]], steps=PENDULUM_STEPS)
    outputs = [angles[-1], speeds[-1]]
    if grad:
        outputs.append(pytensor.grad(angles[-1] + speeds[-1], start))
    return prepared([start], outputs, [inputs["start"]])


def _stencil(inputs: Inputs) -> Prepared:
    def step(u: Any) -> Any:
        around = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]
        return pt.inc_subtensor(u[1:-1, 1:-1], DIFFUSION * (around - 4 * u[1:-1, 1:-1]))

    start = variable("u", inputs["u"])
    (us,) = _scan(step, [start], steps=STENCIL_STEPS)
    return differentiated(pt.sum(us[-1] * us[-1]), [start], [start], [inputs["u"]])


ROWS: dict[str, Row] = {
    "rnn": _rnn,
    "lstm": _lstm,
    "pendulum": _pendulum,
    "pendulum_grad": partial(_pendulum, grad=True),
    "chain100": _chain,
    "stencil": _stencil,
}
