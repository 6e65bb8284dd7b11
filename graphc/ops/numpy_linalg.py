"""What each function of `numpy.linalg` becomes: adapters with NumPy's own parameter names, defaults and results.

Apart from `numpy_protocol`, whose functions of the same names (`trace`, `diagonal`, `outer`) take other axes. Imported
when a program first calls one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc import linalg
from graphc.graph.arguments import chosen
from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node
from graphc.ops import matrix_transpose, sum
from graphc.ops.pointwise import as_node

Function = Callable[..., Any]


def _svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    x = as_node(a)
    if not compute_uv:
        return linalg.svdvals(x)
    if full_matrices and x.ndim >= 2 and x.shape[-1] != x.shape[-2]:
        raise ArgumentError(f"np.linalg.svd of a node: {x.type} needs full_matrices=False{at()}")
    return linalg.svd(x)


def _triangle(a: Any, UPLO: str) -> Node:
    """Return a matrix whose lower triangle is the one to read."""
    x = as_node(a)
    return x if chosen("np.linalg.eigh: UPLO", UPLO, ("L", "U")) == "L" else matrix_transpose(x)


def _qr(a: Any, mode: str = "reduced") -> Any:
    found = linalg.qr(a, mode="reduced" if mode == "r" else mode)
    return found.R if mode == "r" else found


def _matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Node:
    if tol is None:
        return linalg.matrix_rank(A, rtol=rtol)
    return sum(linalg.svdvals(A) > tol, -1, dtype="int64")


def _pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Node:
    return linalg.pinv(a, rtol=rcond if rcond is not None else 1e-15 if rtol is None else rtol)


LINALG: dict[str, Function] = {
    "cholesky": lambda a, /, *, upper=False: linalg.cholesky(a, upper=upper),
    "cross": lambda x1, x2, /, *, axis=-1: linalg.cross(x1, x2, axis=axis),
    "det": lambda a: linalg.det(a),
    "diagonal": lambda x, /, *, offset=0: linalg.diagonal(x, offset=offset),
    "eigh": lambda a, UPLO="L": linalg.eigh(_triangle(a, UPLO)),
    "eigvalsh": lambda a, UPLO="L": linalg.eigvalsh(_triangle(a, UPLO)),
    "inv": lambda a: linalg.inv(a),
    "matmul": lambda x1, x2, /: linalg.matmul(x1, x2),
    "matrix_norm": lambda x, /, *, keepdims=False, ord="fro": linalg.matrix_norm(x, keepdims=keepdims, ord=ord),
    "matrix_power": lambda a, n: linalg.matrix_power(a, n),
    "matrix_rank": _matrix_rank,
    "matrix_transpose": lambda x, /: linalg.matrix_transpose(x),
    "norm": lambda x, ord=None, axis=None, keepdims=False: linalg.norm(x, ord, axis, keepdims),
    "outer": lambda x1, x2, /: linalg.outer(x1, x2),
    "pinv": _pinv,
    "qr": _qr,
    "slogdet": lambda a: linalg.slogdet(a),
    "solve": lambda a, b: linalg.solve(a, b),
    "svd": _svd,
    "svdvals": lambda x, /: linalg.svdvals(x),
    "tensordot": lambda x1, x2, /, *, axes=2: linalg.tensordot(x1, x2, axes=axes),
    "trace": lambda x, /, *, offset=0, dtype=None: linalg.trace(x, offset=offset, dtype=dtype),
    "vecdot": lambda x1, x2, /, *, axis=-1: linalg.vecdot(x1, x2, axis=axis),
    "vector_norm": lambda x, /, *, axis=None, keepdims=False, ord=2: linalg.vector_norm(
        x, axis=axis, keepdims=keepdims, ord=ord
    ),
}
"""By the `__name__` of functions whose `__module__` is `numpy.linalg`."""
