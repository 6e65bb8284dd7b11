"""The workloads in PyTorch through `torch.compile`: the code of `tool_torch` as whole graphs; see `rows_torch`."""

from __future__ import annotations

import os

import torch

from benchmarks import rows_torch
from benchmarks.tool_torch import describe as describe
from benchmarks.workloads import Inputs, Prepared

# Loops are unrolled, and compiling these takes minutes (of the heat equation two, for a third less time than eager).
ROWS = {name: row for name, row in rows_torch.ROWS.items() if name not in ("lstm", "chain1000", "stencil")}


def prepare(row: str, inputs: Inputs, cache: str, threads: int) -> Prepared:
    """Trace, compile and run once, with compiled programs kept in the directory `cache`."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
    torch.set_num_threads(threads)
    return ROWS[row](rows_torch.Compiled(), inputs)
