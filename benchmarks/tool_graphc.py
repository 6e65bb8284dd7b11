"""The workloads in graphc. Inputs of a call are NumPy arrays, as a user has them; parameters are shared state."""

from __future__ import annotations

import time

import numpy as np

import graphc as gc
from benchmarks import rows_graphc, rows_graphc_loops
from benchmarks.rows_graphc import Built, Clock
from benchmarks.workloads import Inputs, Prepared

ROWS = {**rows_graphc.ROWS, **rows_graphc_loops.ROWS}


def prepare(row: str, inputs: Inputs, cache: str, threads: int) -> Prepared:
    """Build, compile and run once, with compiled kernels kept in the directory `cache`."""
    gc.set_cache(cache)
    clock = Clock()
    built = ROWS[row](clock, inputs)
    function = make_function(built, threads)
    clock.stop("function")
    function.compile()
    clock.stop("compile()")
    clock.seconds |= function.stats["seconds"]
    clock.last = time.perf_counter()
    arguments = built.arguments
    first = function(*arguments)
    result = [*(first if isinstance(first, list) else [first]), *(s.get_value() for s in built.updates)]
    clock.stop("first call")

    def run(n: int) -> None:
        for _ in range(n):
            function(*arguments)

    counts = {key: function.stats[key] for key in ("nodes_before", "nodes_after", "kernels", "distinct_kernels")}
    return Prepared(result, run, clock.seconds, counts | {"peak_bytes": function.stats["peak_bytes"]})


def make_function(built: Built, threads: int = 1) -> gc.Function:
    """Return the function of a row, not yet compiled."""
    return gc.function(built.inputs, built.outputs, updates=built.updates, threads=threads)


def describe() -> str:
    """Return the tool's version and those of what it runs on."""
    return f"graphc {gc.__version__}, NumPy {np.__version__}"
