"""The workloads in PyTensor, compiled by Numba: see `rows_pytensor` and `rows_pytensor_loops`.

Its directory of compiled code is chosen by `PYTENSOR_FLAGS`, which it reads when it is imported: `processes` sets it.
"""

from __future__ import annotations

import numba
import pytensor

from benchmarks import rows_pytensor, rows_pytensor_loops
from benchmarks.workloads import Inputs, Prepared

ROWS = {**rows_pytensor.ROWS, **rows_pytensor_loops.ROWS}


def prepare(row: str, inputs: Inputs, cache: str, threads: int) -> Prepared:
    """Build, compile and run once; elementwise work has one thread, and BLAS those of the environment."""
    return ROWS[row](inputs)


def describe() -> str:
    """Return the tool's version and those of what it runs on."""
    return f"PyTensor {pytensor.__version__} with Numba {numba.__version__}"
