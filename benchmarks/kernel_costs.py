"""What kernels cost on this machine: `python -m benchmarks.kernel_costs` prints the figures of `passes/machine.py`.

Times are minima of the thread's own processor time: for a function alone in a loop (what a vector of it takes), for a
chain of it (what one waits for the one before), and for a sum of two arrays by their size (what a byte takes).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

import graphc as gc
from graphc.graph.text import table
from graphc.graph.types import Array

VECTOR_BYTES = 64
FUNCTIONS: dict[str, Callable[[gc.Node], gc.Node]] = {
    "arithmetic": lambda x: x * 0.75,
    "divide": lambda x: 1.5 / x,
    "sqrt": gc.sqrt,
    "exp": lambda x: gc.exp(-x),
    "expm1": lambda x: gc.expm1(-x),
    "log": lambda x: gc.log(x + 2.0),
    "log1p": gc.log1p,
    "tanh": gc.tanh,
    "sigmoid": gc.sigmoid,
    "sin": gc.sin,
    "cos": gc.cos,
    "erf": gc.special.erf,
    "atan": gc.atan,
    "pow": lambda x: x**1.7,
}
CHAINS = (6, 12)
"""Lengths of the chains whose difference shows what one link waits for."""
TAKEN_IN_TURNS = 2
"""Vectors that a long loop takes at a time."""
ELEMENTS = 2048
ARRAY_BYTES = (8 << 10, 256 << 10, 4 << 20, 64 << 20)


def best_ns(run: Callable[[], object], seconds: float = 0.1) -> float:
    """Return the least processor time of a call in nanoseconds."""
    best, deadline = float("inf"), time.perf_counter() + seconds
    repeat = 1
    while time.perf_counter() < deadline:
        began = time.thread_time_ns()
        for _ in range(repeat):
            run()
        taken = time.thread_time_ns() - began
        best = min(best, taken / repeat)
        repeat = repeat if taken > 50_000 else 2 * repeat
    return best


def chain_ns(function: Callable[[gc.Node], gc.Node], length: int, x: Array) -> float:
    """Return the time of a vector of `length` applications of a function, loads and stores included."""
    node = value = gc.placeholder("x", shape=("n",), dtype=x.dtype)
    for _ in range(length):
        value = function(value)
    out = np.empty_like(x)
    call = gc.function([node], value + node, threads=1).bind(x, out=out)
    call()
    return best_ns(call) * VECTOR_BYTES / x.nbytes


def function_rows() -> list[Sequence[str]]:
    """Measure each function in both precisions."""
    rows: list[Sequence[str]] = []
    for dtype in ("float64", "float32"):
        x = np.linspace(0.1, 0.9, ELEMENTS).astype(dtype)
        empty = chain_ns(lambda v: v, 0, x)
        for name, function in FUNCTIONS.items():
            short, long = (chain_ns(function, n, x) for n in CHAINS)
            alone = max(0.0, chain_ns(function, 1, x) - empty)
            link = (long - short) / (CHAINS[1] - CHAINS[0]) * TAKEN_IN_TURNS
            rows.append((name, dtype, f"{alone:.2f}", f"{link:.2f}"))
    return rows


def byte_rows() -> list[Sequence[str]]:
    """Measure the sum of two arrays at sizes that fit each level of memory."""
    rows: list[Sequence[str]] = []
    for size in ARRAY_BYTES:
        x, y = np.ones((2, size // 8))
        a, b = (gc.placeholder(n, shape=("n",)) for n in "ab")
        call = gc.function([a, b], a + b, threads=1).bind(x, y, out=np.empty_like(x))
        call()
        rows.append((f"{size:,}", f"{best_ns(call, 0.4) / (3 * size):.4f}"))
    return rows


def main() -> None:
    """Print both tables."""
    print(table(function_rows(), ("function", "dtype", "ns a vector", "ns a link")))
    print()
    print(table(byte_rows(), ("bytes of each of three arrays", "ns a byte")))


if __name__ == "__main__":
    main()
