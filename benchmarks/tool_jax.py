"""The workloads in JAX, in its best form: see `rows_jax` and `rows_jax_loops`.

The persistent compilation cache is on and keeps everything. The rows `call` and `call10` go from NumPy to NumPy, as
a service would.
"""

from __future__ import annotations

import jax
import numpy as np

from benchmarks import rows_jax, rows_jax_loops
from benchmarks.workloads import Inputs, Prepared

ROWS = {**rows_jax.ROWS, **rows_jax_loops.ROWS}


def prepare(row: str, inputs: Inputs, cache: str, threads: int) -> Prepared:
    """Trace, compile and run once, with programs kept in `cache`; flags of the environment hold the threads."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return ROWS[row](inputs)


def describe() -> str:
    """Return the tool's version and those of what it runs on."""
    return f"JAX {jax.__version__}, NumPy {np.__version__}"
