"""The workloads in graphc. Inputs of a call are NumPy arrays, as a user has them; parameters are shared state."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import graphc as gc
from benchmarks.workloads import (
    LEARNING_RATE,
    LSTM_WIDTH,
    PENDULUM_DAMPING,
    PENDULUM_DT,
    PENDULUM_STEPS,
    UNROLLED_STEPS,
    Inputs,
    Prepared,
)


def prepare(workload: str, inputs: Inputs, cache: str) -> Prepared:
    """Build, compile and run once, with compiled kernels kept in the directory `cache`."""
    gc.set_cache(cache)
    return PREPARED.get(workload, _chain)(inputs)


class _Clock:
    """Seconds by stage, from the first placeholder to the first result."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self.last
        self.last = now


def _prepared(clock: _Clock, function: gc.Function, arguments: Sequence[Any], state: Sequence[gc.Shared]) -> Prepared:
    """Compile and call once; `state` belongs to the result."""
    function.compile()
    clock.stop("compile()")
    clock.seconds |= function.stats["seconds"]
    clock.last = time.perf_counter()
    first = function(*arguments)
    result = [*(first if isinstance(first, list) else [first]), *(s.get_value() for s in state)]
    clock.stop("first call")

    def run(n: int) -> None:
        for _ in range(n):
            function(*arguments)

    counts = {key: function.stats[key] for key in ("nodes_before", "nodes_after", "kernels", "distinct_kernels")}
    return Prepared(result, run, clock.seconds, counts | {"peak_bytes": function.stats["peak_bytes"]})


def _call(inputs: Inputs) -> Prepared:
    clock = _Clock()
    x = gc.placeholder("x", shape=(10,))
    function = gc.function(x, x * 2 + 1)
    clock.stop("build")
    return _prepared(clock, function, [inputs["x"]], [])


def _mlp(inputs: Inputs) -> Prepared:
    clock = _Clock()
    x = gc.placeholder("x", shape=("batch", 64), dtype="float32")
    y = gc.placeholder("y", shape=("batch",), dtype="int64")
    parameters = [gc.shared(p, name=f"p{i}") for i, p in enumerate(inputs["parameters"])]
    w1, b1, w2, b2, w3, b3 = parameters
    logits = gc.nn.relu(gc.nn.relu(x @ w1 + b1) @ w2 + b2) @ w3 + b3
    loss = gc.nn.cross_entropy(logits, y)
    clock.stop("build")
    gradients = gc.grad(loss, parameters)
    clock.stop("grad")
    updates = {p: p - LEARNING_RATE * g for p, g in zip(parameters, gradients, strict=True)}
    step = gc.function([x, y], loss, updates=updates)
    clock.stop("function")
    return _prepared(clock, step, [inputs["x"], inputs["y"]], parameters)


def _chain(inputs: Inputs) -> Prepared:
    clock = _Clock()
    x = gc.placeholder("x", shape=(100,))
    v = x
    for c in inputs["c"]:
        v = gc.tanh(v * c + x)
    clock.stop("build")
    gradient = gc.grad(gc.sum(v), x)
    clock.stop("grad")
    function = gc.function(x, gradient)
    clock.stop("function")
    return _prepared(clock, function, [inputs["x"]], [])


def _rnn(inputs: Inputs) -> Prepared:
    clock = _Clock()
    w, u, v = (gc.shared(inputs[name], name=name) for name in "wuv")
    xs = gc.placeholder("xs", shape=inputs["xs"].shape, dtype="float32")

    def cell(h: gc.Node, x: gc.Node) -> tuple[gc.Node, gc.Node]:
        h = gc.tanh(h @ w + x @ u)
        return h, h @ v

    _, ys = gc.scan(cell, gc.zeros(xs.shape[1:], dtype="float32"), xs)
    loss = gc.mean(ys * ys)
    clock.stop("build")
    loss, gradients = gc.value_and_grad(loss, [w, u, v])
    clock.stop("grad")
    function = gc.function([xs], [loss, *gradients])
    clock.stop("function")
    return _prepared(clock, function, [inputs["xs"]], [])


def _lstm(inputs: Inputs) -> Prepared:
    clock = _Clock()
    w, u, b = (gc.shared(inputs[name], name=name) for name in "wub")
    xs = gc.placeholder("xs", shape=("steps", LSTM_WIDTH))

    def layer(k: int, x: gc.Node, h: gc.Node, c: gc.Node) -> tuple[gc.Node, gc.Node]:
        z = w[k] * x + u[k] * h + b[k]
        c = gc.sigmoid(z[1]) * c + gc.sigmoid(z[0]) * gc.tanh(z[3])
        return gc.sigmoid(z[2]) * gc.tanh(c), c

    def cell(carry: Any, x: gc.Node) -> tuple[Any, gc.Node]:
        (h0, c0), (h1, c1) = carry
        h0, c0 = layer(0, x, h0, c0)
        h1, c1 = layer(1, h0, h1, c1)
        return ((h0, c0), (h1, c1)), h1

    zero = gc.zeros(LSTM_WIDTH)
    _, ys = gc.scan(cell, ((zero, zero), (zero, zero)), xs)
    loss = gc.mean(ys * ys)
    clock.stop("build")
    loss, gradients = gc.value_and_grad(loss, [w, u, b])
    clock.stop("grad")
    function = gc.function([xs], [loss, *gradients])
    clock.stop("function")
    return _prepared(clock, function, [inputs["xs"]], [])


def _swing(state: tuple[gc.Node, gc.Node], _: None) -> tuple[tuple[gc.Node, gc.Node], None]:
    """One step of semi-implicit Euler."""
    angle, speed = state
    speed = speed - PENDULUM_DT * (gc.sin(angle) + PENDULUM_DAMPING * speed)
    return (angle + PENDULUM_DT * speed, speed), None


def _pendulum(inputs: Inputs, steps: int = PENDULUM_STEPS, *, grad: bool = False, rolled: bool = True) -> Prepared:
    clock = _Clock()
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
    function = gc.function([start], outputs)
    clock.stop("function")
    return _prepared(clock, function, [inputs["start"]], [])


PREPARED: dict[str, Callable[[Inputs], Prepared]] = {
    "call": _call,
    "mlp": _mlp,
    "rnn": _rnn,
    "lstm": _lstm,
    "pendulum": _pendulum,
    "pendulum_grad": partial(_pendulum, grad=True),
    "unrolled": partial(_pendulum, steps=UNROLLED_STEPS, grad=True, rolled=False),
    "rolled": partial(_pendulum, steps=UNROLLED_STEPS, grad=True),
}


def describe() -> str:
    """Return the tool's version and those of what it runs on."""
    return f"graphc {gc.__version__}, NumPy {np.__version__}"
