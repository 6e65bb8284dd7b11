"""`gc.linalg`: linear algebra on stacks of matrices, with the names of the Array API standard, NumPy and SciPy.

The last two axes are matrices, those before them a batch that broadcasts. Operands are converted to float32 or
float64. A matrix that a function cannot work with (singular, not positive definite) raises `LinAlgError` in the
call, before any state changes, and names the line that built the op; NaN and inf give NaN or the same error. With
`on_failure="nan"` that matrix's result and gradient are NaN instead, and the rest of a batch is right. The ops are in
`graphc/ops/decompositions.py` and `graphc/ops/spectral.py`.
"""

from __future__ import annotations

import builtins
import math
from typing import Any, Literal, NamedTuple

from graphc.graph.arguments import checked, chosen, shown
from graphc.graph.elsewhere import advice
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.graph.types import TensorType, product, size_min
from graphc.ops import (
    abs,
    concat,
    diagonal,
    equal,
    matmul,
    matrix_transpose,
    max,
    min,
    not_equal,
    outer,
    pow,
    prod,
    sign,
    sum,
    tensordot,
    trace,
    vecdot,
    where,
)
from graphc.ops.decompositions import Cholesky, Determinant, LuFactor, LuSolve, SolveTriangular, identity, lu_parts
from graphc.ops.elementwise import sqrt_safe
from graphc.ops.linalg import cross
from graphc.ops.pointwise import broadcast_shapes, broadcast_to_shape, cast, promote
from graphc.ops.reduction import Reduction
from graphc.ops.shape import axis_tuple, drop_axes, insert_axes, never_equal, permute, reshape_to, slice_axis
from graphc.ops.spectral import Eigh, Pinv, Qr, Svd, above, with_tolerances

__all__ = [
    "cho_solve",
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'graphc.linalg' has no attribute {name!r}{advice('linalg', name)}")


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Node
    eigenvectors: Node


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Node
    R: Node


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Node
    logabsdet: Node


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: Node
    S: Node
    Vh: Node


def _matrices(name: str, x: Any) -> Node:
    (node,) = promote(name, "float", [x])
    if node.ndim < 2:
        raise ShapeError(f"{name}: matrices needed, got {node.type}{at()}")
    return node


def _square(name: str, x: Any) -> Node:
    node = _matrices(name, x)
    if never_equal(*node.shape[-2:]):
        raise ShapeError(f"{name}: square matrices needed, got {node.type}{at()}")
    return node


# -- solving


def _solved(name: str, op: Any, a: Node, b: Node, *, factor: bool = False) -> Node:
    """Apply a solve to operands of any batch shapes; a 1-d `b` is one column."""
    if b.ndim == 0 or never_equal(a.shape[-1], b.shape[0 if b.ndim == 1 else -2]):
        raise ShapeError(f"{name}: sizes do not fit: {a.type}, {b.type}{at()}")
    if b.ndim == 1:
        return drop_axes(_solved(name, op, a, insert_axes(b, (1,)), factor=factor), (a.ndim - 1,))
    if a.ndim == 2 and b.ndim > 2:  # one matrix: the batch of right sides becomes columns
        order = [b.ndim - 2, *range(b.ndim - 2), b.ndim - 1]
        moved = permute(b, order)
        out = _solved(name, op, a, reshape_to(moved, (b.shape[-2], product(moved.shape[1:]))), factor=factor)
        back = [*range(1, b.ndim - 1), 0, b.ndim - 1]
        return permute(reshape_to(out, (a.shape[-1], *moved.shape[1:])), back)
    batch = broadcast_shapes(name, *(TensorType(x.dtype, x.shape[:-2]) for x in (a, b)))
    a, b = (broadcast_to_shape(x, (*batch, *x.shape[-2:])) for x in (a, b))
    return apply(op, a, apply(LuFactor(), a), b) if factor else apply(op, a, b)


@checked
def solve(a: Any, b: Any, /, *, on_failure: Literal["error", "nan"] = "error") -> Node:
    """Return the x with a @ x = b, for matrices `b`, or a vector `b` of one axis. Method: LU with row exchanges.

    Where a matrix is singular the call raises `LinAlgError`, or with `on_failure="nan"` its x is NaN.

    >>> solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 2.0]).eval()
    array([1. , 0.5])
    """
    x, y = promote("solve", "float", [a, b])
    return _solved("solve", LuSolve(nan=on_failure == "nan"), _square("solve", x), y, factor=True)


@checked
def inv(x: Any, /, *, on_failure: Literal["error", "nan"] = "error") -> Node:
    """Return the inverse of square matrices; `solve` is faster and more accurate where a product follows.

    Where a matrix is singular the call raises `LinAlgError`, or with `on_failure="nan"` its inverse is NaN.

    >>> inv([[2.0, 0.0], [0.0, 4.0]]).eval()
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    a = _square("inv", x)
    return apply(LuSolve(nan=on_failure == "nan"), a, apply(LuFactor(), a), identity(a))


_TRANSPOSED = {0: False, "N": False, 1: True, "T": True, 2: True, "C": True}


@checked
def solve_triangular(
    a: Any,
    b: Any,
    /,
    *,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    on_failure: Literal["error", "nan"] = "error",
) -> Node:
    """Return the x with a @ x = b for triangular `a`; `trans` 1 or "T" takes a transposed.

    Only the `lower` or upper triangle is read, and no diagonal with `unit_diagonal`, which then counts as ones.
    For a 0 on the diagonal the call raises `LinAlgError`, or with `on_failure="nan"` x is NaN.

    >>> solve_triangular([[2.0, 0.0], [1.0, 1.0]], [2.0, 3.0], lower=True).eval()
    array([1., 2.])
    """
    x, y = promote("solve_triangular", "float", [a, b])
    trans = chosen("solve_triangular: trans", trans, tuple(_TRANSPOSED))
    op = SolveTriangular(bool(lower), _TRANSPOSED[trans], bool(unit_diagonal), on_failure == "nan")
    return _solved("solve_triangular", op, _square("solve_triangular", x), y)


# -- Cholesky


@checked
def cholesky(x: Any, /, *, upper: bool = False, on_failure: Literal["error", "nan"] = "error") -> Node:
    """Return the lower triangular L with L @ L.mT = x, or its transpose, of symmetric positive definite matrices.

    Only the lower triangle is read; the derivative takes `x` as symmetric. Where a matrix is not positive definite the
    call raises `LinAlgError`, or with `on_failure="nan"` all of its L is NaN, so that a sampler can reject it.

    >>> cholesky([[4.0, 2.0], [2.0, 5.0]]).eval()
    array([[2., 0.],
           [1., 2.]])
    >>> cholesky([[[4.0]], [[-1.0]]], on_failure="nan").eval()
    array([[[ 2.]],
    <BLANKLINE>
           [[nan]]])
    """
    out = apply(Cholesky(on_failure == "nan"), _square("cholesky", x))
    return matrix_transpose(out) if upper else out


@checked
def cho_solve(c_and_lower: tuple[Any, bool], b: Any, /, *, on_failure: Literal["error", "nan"] = "error") -> Node:
    """Return the x with a @ x = b, from the Cholesky factor of `a`: `cho_solve((cholesky(a), True), b)`.

    `on_failure` as in `solve_triangular`.

    >>> cho_solve(([[2.0, 0.0], [1.0, 2.0]], True), [4.0, 2.0]).eval()
    array([1., 0.])
    """
    if not isinstance(c_and_lower, (list, tuple)) or len(c_and_lower) != 2:
        got = shown(c_and_lower)
        raise ArgumentError(
            f"cho_solve: the pair (factor, lower) is needed, as in (cholesky(a), True), got {got}{at()}"
        )
    c, lower = c_and_lower
    first = solve_triangular(c, b, trans=0 if lower else 1, lower=lower, on_failure=on_failure)
    return solve_triangular(c, first, trans=1 if lower else 0, lower=lower, on_failure=on_failure)


# -- determinants


def det(x: Any, /) -> Node:
    """Return the determinant of square matrices; its gradient is the adjugate transposed, also where they are singular.

    >>> det([[2.0, 0.0], [0.0, 4.0]]).eval()
    array(8.)
    """
    a = _square("det", x)
    return apply(Determinant(), a, apply(LuFactor(), a))


@checked
def slogdet(x: Any, /, *, on_failure: Literal["error", "nan"] = "error") -> SlogdetResult:
    """Return the sign of the determinant and the logarithm of its magnitude, which cannot overflow.

    A singular matrix gives 0 and -inf. The derivative of the sign is 0; that of the logarithm raises `LinAlgError` in
    the call where a matrix is singular, or is NaN there with `on_failure="nan"`.

    >>> sign, logabsdet = slogdet([[0.0, 1.0], [1.0, 0.0]])
    >>> sign.eval(), logabsdet.eval()
    (array(-1.), array(0.))
    """
    a = _square("slogdet", x)
    factors = apply(LuFactor(), a)
    pivots, signs = lu_parts(factors)
    return SlogdetResult(prod(sign(pivots), -1) * signs, apply(Determinant(True, on_failure == "nan"), a, factors))


# -- eigenvalues, QR and singular values


@checked
def eigh(x: Any, /, *, on_failure: Literal["error", "nan"] = "error") -> EighResult:
    """Return the eigenvalues (ascending) and the eigenvectors (columns) of symmetric matrices.

    Only the lower triangle is read; the derivative takes `x` as symmetric. Where eigenvalues are equal, what does not
    depend on the choice of vectors, such as `(v * f(w)) @ v.T`, has its first and second derivatives (Daleckii and
    Krein 1965); other derivatives of vectors, and third ones, are NaN there. That of a single one of equal eigenvalues
    is one of its subgradients.

    Where the iteration does not converge (a matrix with NaN or inf), the call raises `LinAlgError`, or with
    `on_failure="nan"` that matrix's results are NaN.

    >>> values, vectors = eigh([[2.0, 0.0], [0.0, 1.0]])
    >>> values.eval()
    array([1., 2.])
    """
    values, rows = Eigh.parts(apply(Eigh(on_failure == "nan"), _square("eigh", x)))
    return EighResult(values, matrix_transpose(rows))


@checked
def eigvalsh(x: Any, /, *, on_failure: Literal["error", "nan"] = "error") -> Node:
    """Return the eigenvalues (ascending) of symmetric matrices; `on_failure` as in `eigh`.

    >>> eigvalsh([[2.0, 0.0], [0.0, 1.0]]).eval()
    array([1., 2.])
    """
    return eigh(x, on_failure=on_failure)[0]


@checked
def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """Return q with orthonormal columns and the upper triangular r with q @ r = x: the reduced factorisation.

    The derivative needs linearly independent columns (the first m of them, where there are more columns than rows); it
    is nan in a column that depends on those before it, and in those.

    >>> q, r = qr([[3.0], [4.0]])
    >>> abs(r).eval().round(12)
    array([[5.]])
    """
    if mode != "reduced":
        raise ArgumentError(f'qr: mode must be "reduced", got {mode!r}{at()}')
    a = _matrices("qr", x)
    m, n = a.shape[-2:]
    k = size_min(m, n)
    q, r = Qr.parts(apply(Qr(), slice_axis(a, a.ndim - 1, 0, k)))
    if k == n:
        return QRResult(q, r)
    rest = matmul(matrix_transpose(q), slice_axis(a, a.ndim - 1, k, n - k))
    return QRResult(q, concat([r, rest], axis=-1))


@checked
def svd(x: Any, /, *, full_matrices: bool = False, on_failure: Literal["error", "nan"] = "error") -> SVDResult:
    """Return (u, s, vh) with u @ diag(s) @ vh = x and s descending: the reduced factorisation.

    Where singular values are equal or 0, what does not depend on the choice of vectors, such as `(u * f(s)) @ vh` with
    f(0) = 0, has its first and second derivatives; other derivatives of vectors, and third ones, are NaN there.
    `on_failure` as in `eigh`.

    >>> u, s, vh = svd([[3.0, 0.0], [0.0, 4.0]])
    >>> s.eval()
    array([4., 3.])
    """
    if full_matrices:
        raise ArgumentError(f"svd: only full_matrices=False is supported{at()}")
    a = _matrices("svd", x)
    ut, s, vh = Svd.parts(apply(Svd(on_failure == "nan"), a), a.shape[-2])
    return SVDResult(matrix_transpose(ut), s, vh)


@checked
def svdvals(x: Any, /, *, on_failure: Literal["error", "nan"] = "error") -> Node:
    """Return the singular values of matrices, descending; `on_failure` as in `eigh`.

    >>> svdvals([[3.0, 0.0], [0.0, 4.0]]).eval()
    array([4., 3.])
    """
    return svd(x, on_failure=on_failure)[1]


@checked
def pinv(x: Any, /, *, rtol: Any = None, on_failure: Literal["error", "nan"] = "error") -> Node:
    """Return the Moore-Penrose inverse; its derivative takes the rank as constant.

    Singular values up to `rtol` times the largest count as 0: a number, or an array or node that broadcasts with the
    axes of `x` before the last two; by default the larger size times the dtype's epsilon. `on_failure` as in `eigh`.

    >>> pinv([[2.0, 0.0], [0.0, 0.0]]).eval()
    array([[0.5, 0. ],
           [0. , 0. ]])
    """
    operands = with_tolerances("pinv", _matrices("pinv", x), rtol)
    # the derivative of `Pinv` takes what is dropped for 0, which it need not be beyond rounding
    op = Pinv(on_failure == "nan")
    return apply(op, *operands) if rtol is None else op.expand(*operands)


def matrix_rank(x: Any, /, *, rtol: Any = None) -> Node:
    """Return the number of singular values above `rtol` times the largest, as int64; `rtol` as in `pinv`.

    >>> matrix_rank([[1.0, 1.0], [1.0, 1.0]]).eval()
    array(1)
    >>> matrix_rank([[[1.0, 0.0], [0.0, 0.1]]] * 2, rtol=[0.01, 0.5]).eval()
    array([2, 1])
    """
    a, tolerance = with_tolerances("matrix_rank", _matrices("matrix_rank", x), rtol)
    return sum(above(svdvals(a), tolerance), -1, dtype="int64")


# -- powers, norms and products


@checked
def matrix_power(x: Any, n: int, /, *, on_failure: Literal["error", "nan"] = "error") -> Node:
    """Return square matrices multiplied `n` times; a negative `n` multiplies inverses, with `on_failure` as in `inv`.

    >>> matrix_power([[1.0, 1.0], [0.0, 1.0]], 5).eval()
    array([[1., 5.],
           [0., 1.]])
    """
    (a,) = promote("matrix_power", "number", [x])
    if a.ndim < 2 or never_equal(*a.shape[-2:]):
        raise ShapeError(f"matrix_power: square matrices needed, got {a.type}{at()}")
    square = inv(a, on_failure=on_failure) if n < 0 else a
    count, out = builtins.abs(n), None
    while count:
        if count % 2:
            out = square if out is None else matmul(out, square)
        count //= 2
        square = matmul(square, square) if count else square
    return identity(a) if out is None else out


@checked
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Node:
    """Return the `ord`-norm over `axis` (None: all elements): any number, `inf` or `-inf`; 0 counts what is not 0.

    The derivative of the 2-norm at 0 is 0.

    >>> vector_norm([3.0, 4.0]).eval()
    array(5.)
    """
    (node,) = promote("vector_norm", "float", [x])
    axes = axis_tuple("vector_norm", axis, node.ndim)
    if not isinstance(ord, (int, float)) or math.isnan(ord):
        raise ArgumentError(f"vector_norm: ord must be a number, got {ord!r}{at()}")
    if ord == 2:
        return sqrt_safe(sum(node * node, axes, keepdims=keepdims))
    if ord == 0:
        return sum(cast(not_equal(node, 0), node.dtype), axes, keepdims=keepdims)
    magnitude = abs(node)
    if math.isinf(ord):
        return _extreme(magnitude, axes, ord > 0, keepdims)
    if ord == 1:
        return sum(magnitude, axes, keepdims=keepdims)
    total = sum(pow(magnitude, float(ord)), axes, keepdims=keepdims)
    zero = equal(total, 0)
    return where(zero, 0.0 if ord > 0 else math.inf, pow(where(zero, 1.0, total), 1 / ord))


def _extreme(magnitudes: Node, axes: tuple[int, ...], largest: bool, keepdims: bool = False) -> Node:
    """Return the largest or smallest of numbers that are at least 0; the largest of none is 0."""
    if not largest:
        return min(magnitudes, axes, keepdims=keepdims)
    if builtins.all(isinstance(n, int) and n > 0 for n in (magnitudes.shape[a] for a in axes)):
        return max(magnitudes, axes, keepdims=keepdims)
    top = apply(Reduction("max", axes, may_be_empty=True), magnitudes) if axes else magnitudes
    known = where(top < 0, 0.0, top)
    return insert_axes(known, axes) if keepdims else known


@checked
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Node:
    """Return a norm of matrices.

    `ord`: "fro" (root of the sum of squares), "nuc" (sum of singular values), 2 and -2 (largest and smallest singular
    value), 1 and -1 (largest and smallest sum of magnitudes of a column), inf and -inf (of a row).

    >>> matrix_norm([[1.0, 2.0], [3.0, 4.0]], ord=1).eval()
    array(6.)
    """
    a = _matrices("matrix_norm", x)
    axes = (a.ndim - 2, a.ndim - 1)
    if not isinstance(ord, (str, int, float, type(None))):
        raise ArgumentError(f"matrix_norm: ord must be a number or a name, got {shown(ord)}{at()}")
    if ord in ("fro", None):
        return vector_norm(a, axis=axes, keepdims=keepdims)
    if ord in (1, -1, math.inf, -math.inf):
        line = axes[0] if builtins.abs(ord) == 1 else axes[1]
        sums = sum(abs(a), line, keepdims=True)
        return _extreme(sums, axes, ord > 0, keepdims)
    if ord not in ("nuc", 2, -2):
        raise ArgumentError(f'matrix_norm: ord must be "fro", "nuc", 1, 2, inf or negative, got {ord!r}{at()}')
    s = svdvals(a)
    out = sum(s, -1) if ord == "nuc" else _extreme(s, (s.ndim - 1,), ord == 2)
    return insert_axes(out, axes) if keepdims else out


@checked
def norm(x: Any, /, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Node:
    """Return a vector's or matrix's norm, as NumPy chooses: see `vector_norm` and `matrix_norm` for `ord`.

    An int `axis` means vectors, a pair means matrices; None means all elements, or with `ord` the whole of one or two
    axes.

    >>> norm([[3.0, 0.0], [0.0, 4.0]]).eval()
    array(5.)
    """
    (node,) = promote("norm", "float", [x])
    if axis is None and ord is None:
        return vector_norm(node, keepdims=keepdims)
    if axis is None and node.ndim not in (1, 2):
        raise ShapeError(f"norm: one or two axes needed without axis, got {node.type}{at()}")
    axes = tuple(range(node.ndim)) if axis is None else tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    if len(axes) == 1:
        return vector_norm(node, axis=axes[0], keepdims=keepdims, ord=2 if ord is None else ord)
    if len(axes) != 2:
        raise ShapeError(f"norm: one or two axes needed, got axis {axis}{at()}")
    first, second = (axis_tuple("norm", a, node.ndim)[0] for a in axes)
    axis_tuple("norm", axes, node.ndim)
    rest = [a for a in range(node.ndim) if a not in (first, second)]
    out = matrix_norm(permute(node, (*rest, first, second)), ord=ord)
    return insert_axes(out, sorted((first, second))) if keepdims else out
