"""The workloads in PyTorch, operation by operation: see `rows_torch`."""

from __future__ import annotations

import torch

from benchmarks import rows_torch
from benchmarks.workloads import Inputs, Prepared

ROWS = rows_torch.ROWS


def prepare(row: str, inputs: Inputs, cache: str, threads: int) -> Prepared:
    """Run once; nothing is compiled, so nothing is kept in `cache`."""
    torch.set_num_threads(threads)
    return ROWS[row](rows_torch.Eager(), inputs)


def describe() -> str:
    """Return the tool's version."""
    return f"PyTorch {torch.__version__}"
