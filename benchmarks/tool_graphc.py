"""The workloads in graphc. Inputs of a call are NumPy arrays, as a user has them; parameters are shared state."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import graphc as gc
from benchmarks.workloads import LEARNING_RATE, Inputs, Prepared


def prepare(workload: str, inputs: Inputs, cache: str) -> Prepared:
    """Build, compile and run once, with compiled kernels kept in the directory `cache`."""
    gc.set_cache(cache)
    return {"call": _call, "mlp": _mlp}.get(workload, _chain)(inputs)


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
    result = [function(*arguments), *(s.get_value() for s in state)]
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


def describe() -> str:
    """Return the tool's version and those of what it runs on."""
    return f"graphc {gc.__version__}, NumPy {np.__version__}"
