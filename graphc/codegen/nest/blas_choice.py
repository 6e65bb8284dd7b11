"""Which BLAS and LAPACK a process uses: SciPy's, MKL, OpenBLAS, or a shared library at a path.

Only the choice is here, so that `import graphc` stays light; `blas` loads what was chosen when a program first needs
a routine. Kernels know no addresses of routines, so nothing compiled depends on the choice.
"""

from __future__ import annotations

import os

from graphc.graph.arguments import PathLike, checked

VARIABLE = "GRAPHC_BLAS"
DEFAULT = "scipy"
_set: list[str] = []


def blas_choice() -> str:
    """Return what was chosen: by `set_blas`, by GRAPHC_BLAS, or "scipy"."""
    return _set[0] if _set else os.environ.get(VARIABLE, "").strip() or DEFAULT


def blas_setting() -> str:
    """Return what the choice is called in errors: the variable, or the function that overrides it."""
    return "set_blas" if _set else VARIABLE


@checked
def set_blas(library: PathLike | None) -> None:
    """Choose the library of matrix products and decompositions that are too large or too special for kernels.

    "scipy" is the one that SciPy was built with, "mkl" and "openblas" are found where pip, conda or the system
    installed them, anything else is the path of a shared library with the Fortran interface and 32-bit integers.
    None goes back to the environment variable GRAPHC_BLAS. It is loaded, and an `ArgumentError` raised where it cannot
    serve, when a program first needs it at new sizes; programs that ran at these sizes keep theirs. Routines that it
    lacks come from SciPy, except those of matrix products, which it must have.
    """
    _set[:] = [] if library is None else [str(library)]
