"""Orthogonal factorisations of stacks of matrices: eigenvalues, QR, singular values, pseudoinverse.

An op with several results packs them into one array, of which the functions in `graphc.linalg` give slices: views,
without work. Derivatives are published formulas: Giles, "An extended collection of matrix derivative results" (2008)
for eigenvalues; Walter and Lehmann, "Algorithmic differentiation of linear algebra functions" (2010) for QR; Townsend,
"Differentiating the singular value decomposition" (2016); Golub and Pereyra (1973) for the pseudoinverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.graph.errors import DTypeError, at
from graphc.graph.node import Node
from graphc.graph.op import Composite, Cotangents, Routine, apply
from graphc.graph.types import INT64, Array, Size, TensorType, is_float, size_max, size_min
from graphc.ops.creation import iota, tril, triu
from graphc.ops.decompositions import (
    SolveTriangular,
    as_column,
    as_row,
    diagonal_matrix,
    failed,
    lower_half,
    product_of,
    routine,
    square,
    stacked,
    symmetrised,
)
from graphc.ops.elementwise import abs, equal, sqrt, where
from graphc.ops.equal_values import Expansion, Packed, expansion, part, quotient, speeds
from graphc.ops.linalg import diagonal
from graphc.ops.manipulation import matrix_transpose
from graphc.ops.pointwise import as_node, broadcast_shapes, broadcast_to_shape, cast, is_weak, size_node
from graphc.ops.reduction import Reduction
from graphc.ops.shape import drop_axes, join, slice_axis

__all__: list[str] = []

_ROWS, _COLUMNS = Packed(-2), Packed(-1)
"""Where `Eigh` and `Svd` pack their values: the first row, the first column."""


def _inverse_or_zero(x: Node) -> Node:
    zero = equal(x, 0.0)
    return where(zero, 0.0, 1.0 / where(zero, 1.0, x))


def _inverse_differences(x: Node) -> Node:
    """Return 1 / (x[j] - x[i]) at [i, j], 0 on the diagonal, and inf or NaN for equal elements."""
    return where(_on_diagonal(x), 0.0, 1.0 / where(_on_diagonal(x), 1.0, as_row(x) - as_column(x)))


def _on_diagonal(x: Node) -> Node:
    shape = (*x.shape, x.shape[-1])
    return equal(iota(shape, -2), iota(shape, -1))


def _largest(values: Node) -> Node:
    """Return the largest magnitude of the last axis, with two axes of size 1 in its place."""
    return as_column(as_column(apply(Reduction("max", (values.ndim - 1,), may_be_empty=True), abs(values))))


def _across(rows: Node, g_rows: Expansion) -> Expansion:
    """Return x[i] . g[j] for all pairs of vectors and of their cotangents."""
    sizes = as_row(apply(Reduction("sum", (rows.ndim - 1,)), g_rows.bound))  # elements of vectors are at most 1
    bound = broadcast_to_shape(sizes, (*rows.shape[:-1], rows.shape[-2]))
    return g_rows.map(lambda g: product_of(rows, matrix_transpose(g)), bound)


def _outside(rows: Node, g_rows: Expansion, across: Expansion) -> Expansion:
    """Return what cotangents of vectors have outside of what the vectors span."""
    bound = product_of(matrix_transpose(across.bound), abs(rows))
    inside = across.map(lambda x: product_of(matrix_transpose(x), rows), bound)
    return g_rows.plus(inside, -1)


def _odd(x: Expansion) -> Expansion:
    """Return what a matrix has more than its transpose."""
    off = _on_diagonal(drop_axes(slice_axis(x.value, x.value.ndim - 1, 0, 1), (x.value.ndim - 1,)))
    bound = where(off, 0.0, x.bound + matrix_transpose(x.bound))
    return x.map(lambda v: v - matrix_transpose(v), bound)


# -- eigenvalues


@dataclass(frozen=True)
class Eigh(Routine):
    """Eigenvalues (ascending) of symmetric matrices as row 0, below them the eigenvectors as rows.

    Only the lower triangle is read. For derivatives where eigenvalues are equal see `graphc/ops/equal_values.py`.
    """

    name = "eigh"
    nan: bool = field(default=False, repr=False)

    @property
    def failure(self) -> str:
        return "" if self.nan else "the eigenvalues of a matrix did not converge; it may hold NaN or inf"

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return square(*types)

    def infer(self, *types: TensorType) -> TensorType:
        *batch, n, _ = types[0].shape
        return TensorType(types[0].dtype, (*batch, n + 1, n))

    def evaluate(self, *arrays: Array) -> Array:
        return stacked(self, self._one, arrays)

    def _one(self, a: Array) -> Array:
        values, vectors, info = routine("syevd", a)(a.T, lower=0)
        packed = np.concatenate([values[None], vectors.T])
        return packed if info == 0 else failed(self, packed)

    @staticmethod
    def parts(packed: Node) -> tuple[Node, Node]:
        """Return the eigenvalues and the eigenvectors as rows."""
        axis, n = packed.ndim - 2, packed.shape[-1]
        return drop_axes(slice_axis(packed, axis, 0, 1), (axis,)), slice_axis(packed, axis, 1, n)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        values, rows = self.parts(out)
        axis, n = out.ndim - 2, out.shape[-1]
        g_values, g_rows = part(g, axis, 0, 1), part(g, axis, 1, n)
        inner = diagonal_matrix(drop_axes(g_values, (axis,))) if g_values is not None else None
        if g_rows is not None:
            across = _odd(_across(rows, expansion(g_rows, out, _ROWS)))
            v = drop_axes(speeds(out, _ROWS), (axis,))
            difference, speed = (as_row(x) - as_column(x) for x in (values, v))
            turned = quotient(across, difference, speed, _largest(values)) * 0.5
            inner = turned if inner is None else turned + inner
        return (None if inner is None else symmetrised(product_of(matrix_transpose(rows), inner, rows)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        if t is None:
            return None
        values, rows = self.parts(out)
        moved = product_of(rows, symmetrised(t), matrix_transpose(rows))
        turned = product_of(matrix_transpose(_inverse_differences(values) * moved), rows)
        return join([as_row(diagonal(moved)), turned], t.ndim - 2)


# -- QR and singular values


def _nan_where_dependent(r: Node) -> Node:
    """Return R with NaN in place of what rounding leaves on its diagonal where a column depends on those before it."""
    length = sqrt(apply(Reduction("sum", (r.ndim - 2,)), r * r))
    rounding = length * (size_node(r.shape[-1], r.dtype) * (4 * float(np.finfo(r.dtype).eps)))
    return where(_on_diagonal(length) & (abs(r) <= as_row(rounding)), float("nan"), r)


@dataclass(frozen=True)
class Qr(Routine):
    """Q (m, n) and below it R (n, n) with A = Q R, for matrices of at least as many rows as columns."""

    name = "qr"

    def infer(self, *types: TensorType) -> TensorType:
        *batch, m, n = types[0].shape
        return TensorType(types[0].dtype, (*batch, m + n, n))

    def evaluate(self, *arrays: Array) -> Array:
        return stacked(self, self._one, arrays)

    def _one(self, a: Array) -> Array:
        factors, scales, _, _ = routine("geqrf", a)(a)
        q, _, _ = routine("orgqr", a)(factors, scales)
        return np.concatenate([q, np.triu(factors[: a.shape[1]])])

    @staticmethod
    def parts(packed: Node) -> tuple[Node, Node]:
        """Return Q and R."""
        axis, n = packed.ndim - 2, packed.shape[-1]
        m = packed.shape[-2] - n
        return slice_axis(packed, axis, 0, m), slice_axis(packed, axis, m, n)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        (q, r), (g_q, g_r) = self.parts(out), self.parts(g)
        inner = product_of(r, matrix_transpose(g_r)) - product_of(matrix_transpose(g_q), q)
        lower = lower_half(inner)
        rows = g_q + product_of(q, lower + matrix_transpose(lower))
        solved = apply(SolveTriangular(lower=False), _nan_where_dependent(r), matrix_transpose(rows))
        return (matrix_transpose(solved),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        if t is None:
            return None
        q, r = self.parts(out)
        solved = apply(SolveTriangular(lower=False, transposed=True), _nan_where_dependent(r), matrix_transpose(t))
        moved = matrix_transpose(solved)
        inner = product_of(matrix_transpose(q), moved)
        below = tril(inner, k=-1)
        turn = below - matrix_transpose(below)
        turned = product_of(q, turn - inner) + moved
        return join([turned, triu(product_of(inner - turn, r))], t.ndim - 2)


@dataclass(frozen=True)
class Svd(Routine):
    """Row i is (s[i], u[:, i], vh[i]) of the reduced A = u diag(s) vh, s descending; k = min(m, n) rows.

    For derivatives where singular values are equal or 0 see `graphc/ops/equal_values.py`.
    """

    name = "svd"
    nan: bool = field(default=False, repr=False)

    @property
    def failure(self) -> str:
        return "" if self.nan else "the singular values of a matrix did not converge; it may hold NaN or inf"

    def infer(self, *types: TensorType) -> TensorType:
        *batch, m, n = types[0].shape
        return TensorType(types[0].dtype, (*batch, size_min(m, n), m + n + 1))

    def evaluate(self, *arrays: Array) -> Array:
        return stacked(self, self._one, arrays)

    def _one(self, a: Array) -> Array:
        v, s, ut, info = routine("gesdd", a)(a.T, full_matrices=0)
        packed = np.concatenate([s[:, None], ut, v.T], 1)
        return packed if info == 0 else failed(self, packed)

    @staticmethod
    def parts(packed: Node, m: Size) -> tuple[Node, Node, Node]:
        """Return u transposed, s and vh; `m` is the number of rows of A."""
        axis, width = packed.ndim - 1, packed.shape[-1]
        s = drop_axes(slice_axis(packed, axis, 0, 1), (axis,))
        return slice_axis(packed, axis, 1, m), s, slice_axis(packed, axis, m + 1, width - m - 1)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        m, n = inputs[0].shape[-2:]
        ut, s, vh = self.parts(out, m)
        axis = out.ndim - 1
        g_ut, g_s, g_vh = part(g, axis, 1, m), part(g, axis, 0, 1), part(g, axis, m + 1, n)
        total = None if g_s is None else product_of(matrix_transpose(ut) * as_row(drop_axes(g_s, (axis,))), vh)
        if g_ut is not None or g_vh is not None:
            zeros = s * 0
            g_ut, g_vh = (
                broadcast_to_shape(as_column(zeros), x.shape) if g_x is None else g_x
                for g_x, x in ((g_ut, ut), (g_vh, vh))
            )
            turned = self._turned(out, ut, s, vh, g_ut, g_vh)
            total = turned if total is None else total + turned
        return (total,)

    def _turned(self, out: Node, ut: Node, s: Node, vh: Node, g_ut: Node, g_vh: Node) -> Node:
        """Return the cotangent of A by those of the vectors: within their spans, and outside of them.

        Within, a[i, j] s[j] + s[i] b[i, j] over s[j]**2 - s[i]**2, for the odd parts a and b, is in partial fractions
        ((a + b) / (s[j] - s[i]) + (a - b) / (s[j] + s[i])) / 2: no square can overflow.
        """
        g_u, g_v = (expansion(g, out, _COLUMNS) for g in (g_ut, g_vh))
        left, right = _across(ut, g_u), _across(vh, g_v)
        a, b = _odd(left), _odd(right)
        v, largest = drop_axes(speeds(out, _COLUMNS), (out.ndim - 1,)), _largest(s)
        minus = quotient(a.plus(b), as_row(s) - as_column(s), as_row(v) - as_column(v), largest)
        plus = quotient(a.plus(b, -1), as_row(s) + as_column(s), as_row(v) + as_column(v), largest)
        total = product_of(matrix_transpose(ut), (minus + plus) * 0.5, vh)
        for x, g, across in ((ut, g_u, left), (vh, g_v, right)):
            if x.shape[-1] == s.shape[-1]:  # vectors that span everything have nothing outside
                continue
            outside = quotient(_outside(x, g, across), as_column(s), as_column(v), largest)
            if not all(isinstance(n, int) for n in (x.shape[-1], s.shape[-1])):
                outside = where(size_node(x.shape[-1], INT64) > size_node(s.shape[-1], INT64), outside, 0.0)
            left_rows, right_rows = (outside, vh) if x is ut else (ut, outside)
            total = total + product_of(matrix_transpose(left_rows), right_rows)
        return total

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        if t is None:
            return None
        ut, s, vh = self.parts(out, inputs[0].shape[-2])
        u, v, inverse = matrix_transpose(ut), matrix_transpose(vh), _inverse_or_zero(s)
        differences = _inverse_differences(s * s)
        tv, utt = product_of(t, v), product_of(ut, t)
        moved = product_of(ut, tv)
        back = matrix_transpose(moved)
        turned_u = product_of(u, differences * (moved * as_row(s) + as_column(s) * back))
        turned_u = turned_u + (tv - product_of(u, moved)) * as_row(inverse)
        turned_v = product_of(v, differences * (as_column(s) * moved + back * as_row(s)))
        turned_v = turned_v + (matrix_transpose(utt) - product_of(v, back)) * as_row(inverse)
        columns = [as_column(diagonal(moved)), matrix_transpose(turned_u), matrix_transpose(turned_v)]
        return join(columns, t.ndim - 1)


@dataclass(frozen=True)
class Pinv(Composite):
    """The pseudoinverse; operands (A, rtol of A's batch shape): singular values up to rtol times the largest are 0."""

    name = "pinv"
    nan: bool = field(default=False, repr=False)

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return zip(types[0].shape[:-2], types[1].shape, strict=True)

    def infer(self, *types: TensorType) -> TensorType:
        *batch, m, n = types[0].shape
        return TensorType(types[0].dtype, (*batch, n, m))

    def evaluate(self, *arrays: Array) -> Array:
        a, rtol = arrays
        m = a.shape[-2]
        packed = Svd(self.nan).evaluate(a)
        s, ut, vh = packed[..., 0], packed[..., 1 : m + 1], packed[..., m + 1 :]
        kept = s > rtol[..., None] * s.max(-1, keepdims=True, initial=0)
        inverse = np.where(kept, 1 / np.where(kept, s, 1), 0).astype(a.dtype)
        return np.asarray(np.swapaxes(vh, -1, -2) @ (inverse[..., None] * ut))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return matrix_transpose(self._moved(out, inputs[0], matrix_transpose(g))), None

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        t = tangents[0]
        return None if t is None else self._moved(out, inputs[0], t)

    def expand(self, *inputs: Node) -> Node:
        a, rtol = inputs
        ut, s, vh = Svd.parts(apply(Svd(self.nan), a), a.shape[-2])
        inverse = where(above(s, rtol), _inverse_or_zero(s), 0.0)
        return product_of(matrix_transpose(vh), as_column(inverse) * ut)

    @staticmethod
    def _moved(out: Node, a: Node, t: Node) -> Node:
        """Return the derivative as A moves along `t`; read from right to left it is its own adjoint."""
        outs, back = matrix_transpose(out), matrix_transpose(t)
        right = product_of(out, outs, back - product_of(back, a, out))
        left = product_of(back - product_of(out, a, back), outs, out)
        return right + left - product_of(out, t, out)


def above(s: Node, rtol: Node) -> Node:
    """Return which singular values are above `rtol` times the largest; `rtol` has no axis for them."""
    return s > as_column(rtol * apply(Reduction("max", (s.ndim - 1,), may_be_empty=True), s))


def with_tolerances(name: str, a: Node, rtol: Any) -> tuple[Node, Node]:
    """Return matrices, and a relative tolerance of their dtype for each of them: `rtol`, or by default the larger size.

    The default is in units of the dtype's epsilon. Raises `DTypeError`, `ShapeError`.
    """
    if rtol is None:
        relative: Node = size_node(size_max(*a.shape[-2:]), a.dtype) * float(np.finfo(a.dtype).eps)
    else:
        relative = as_node(rtol, a.dtype if is_weak(rtol) else None, what=f"{name}: rtol")
        if not is_float(relative.dtype):
            raise DTypeError(f"{name}: rtol must be a number or floats, got {relative.type}{at()}")
        relative = cast(relative, a.dtype)
    batch = broadcast_shapes(name, TensorType(a.dtype, a.shape[:-2]), relative.type)
    return broadcast_to_shape(a, (*batch, *a.shape[-2:])), broadcast_to_shape(relative, batch)
