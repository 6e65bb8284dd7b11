"""The workloads in graphc. Inputs of a call are NumPy arrays, as a user has them; parameters are shared state."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import graphc as gc
from benchmarks.workloads import LEARNING_RATE, Inputs, Prepared


def prepare(workload: str, inputs: Inputs, cache: str) -> Prepared:
    """Build, compile and run once, with compiled kernels kept in the directory `cache`."""
    gc.set_cache(cache)
    return {"call": _call, "mlp": _mlp}.get(workload, _chain)(inputs)


def _call(inputs: Inputs) -> Prepared:
    began = time.perf_counter()
    x = gc.placeholder("x", shape=(10,))
    function = gc.function(x, x * 2 + 1)
    built = time.perf_counter()
    array = inputs["x"]
    result = [function(array)]

    def run(n: int) -> None:
        for _ in range(n):
            function(array)

    return Prepared(result, run, _stages(function, began, built))


def _mlp(inputs: Inputs) -> Prepared:
    began = time.perf_counter()
    x = gc.placeholder("x", shape=("batch", 64), dtype="float32")
    y = gc.placeholder("y", shape=("batch",), dtype="int64")
    parameters = [gc.shared(p, name=f"p{i}") for i, p in enumerate(inputs["parameters"])]
    w1, b1, w2, b2, w3, b3 = parameters
    logits = gc.nn.relu(gc.nn.relu(x @ w1 + b1) @ w2 + b2) @ w3 + b3
    loss = gc.nn.cross_entropy(logits, y)
    gradients = gc.grad(loss, parameters)
    updates = {p: p - LEARNING_RATE * g for p, g in zip(parameters, gradients, strict=True)}
    step = gc.function([x, y], loss, updates=updates)
    built = time.perf_counter()
    batch_x, batch_y = inputs["x"], inputs["y"]
    result = [step(batch_x, batch_y), *(p.get_value() for p in parameters)]

    def run(n: int) -> None:
        for _ in range(n):
            step(batch_x, batch_y)

    return Prepared(result, run, _stages(step, began, built))


def _chain(inputs: Inputs) -> Prepared:
    began = time.perf_counter()
    x = gc.placeholder("x", shape=(100,))
    v = x
    for c in inputs["c"]:
        v = gc.tanh(v * c + x)
    gradient = gc.grad(gc.sum(v), x)
    function = gc.function(x, gradient)
    built = time.perf_counter()
    array = inputs["x"]
    result = [function(array)]

    def run(n: int) -> None:
        for _ in range(n):
            function(array)

    return Prepared(result, run, _stages(function, began, built))


def _stages(function: Any, began: float, built: float) -> dict[str, float]:
    """Seconds from the first placeholder to the first result, split where graphc itself takes times."""
    finished = time.perf_counter()
    own = {key: float(value) for key, value in function.stats.items() if key.endswith("_seconds")}
    counts = {key: float(function.stats[key]) for key in ("kernels", "distinct_kernels", "compiled", "from_cache")}
    return {"to_function": built - began, "first_call": finished - built, **own, **counts}


def describe() -> str:
    """Return the tool's version and those of what it runs on."""
    return f"graphc {gc.__version__}, NumPy {np.__version__}"
