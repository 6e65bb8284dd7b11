"""Orthogonal factorisations of stacks of matrices: eigenvalues, QR, singular values, pseudoinverse.

An op with several results packs them into one array, of which the functions in `graphc.linalg` give slices: views,
without work. Derivatives are published formulas: Giles, "An extended collection of matrix derivative results" (2008)
for eigenvalues; Walter and Lehmann, "Algorithmic differentiation of linear algebra functions" (2010) for QR; Townsend,
"Differentiating the singular value decomposition" (2016); Golub and Pereyra (1973) for the pseudoinverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import DTypeError, LinAlgError, at
from graphc.node import Node
from graphc.ops.base import Composite, Cotangents, Routine, apply
from graphc.ops.creation import tril, triu
from graphc.ops.decompositions import (
    SolveTriangular,
    as_column,
    as_row,
    diagonal_matrix,
    lower_half,
    product_of,
    routine,
    square,
    stacked,
    symmetrised,
)
from graphc.ops.elementwise import equal, where
from graphc.ops.linalg import diagonal
from graphc.ops.manipulation import matrix_transpose
from graphc.ops.pointwise import as_node, broadcast_shapes, broadcast_to_shape, cast, is_weak, size_node
from graphc.ops.reduction import Reduction
from graphc.ops.shape import drop_axes, join, slice_axis
from graphc.types import Array, Size, TensorType, is_float, size_max, size_min

__all__: list[str] = []


def _inverse_or_zero(x: Node) -> Node:
    zero = equal(x, 0.0)
    return where(zero, 0.0, 1.0 / where(zero, 1.0, x))


def _inverse_differences(x: Node) -> Node:
    """Return 1 / (x[j] - x[i]) at [i, j], and 0 for equal elements.

    What is well defined at repeated eigenvalues gives these places a factor of 0.
    """
    return _inverse_or_zero(as_row(x) - as_column(x))


# -- eigenvalues


@dataclass(frozen=True)
class Eigh(Routine):
    """Eigenvalues (ascending) of symmetric matrices as row 0, below them the eigenvectors as rows.

    Only the lower triangle is read. The derivative of eigenvectors of equal eigenvalues counts as 0 among them.
    """

    name = "eigh"
    failure = "the eigenvalues of a matrix did not converge; it may hold NaN or inf"

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return square(*types)

    def infer(self, *types: TensorType) -> TensorType:
        *batch, n, _ = types[0].shape
        return TensorType(types[0].dtype, (*batch, n + 1, n))

    def evaluate(self, *arrays: Array) -> Array:
        return stacked(self, self._one, arrays)

    def _one(self, a: Array) -> Array:
        values, vectors, info = routine("syevd", a)(a.T, lower=0)
        if info != 0:
            raise LinAlgError(self.failure)
        return np.concatenate([values[None], vectors.T])

    @staticmethod
    def parts(packed: Node) -> tuple[Node, Node]:
        """Return the eigenvalues and the eigenvectors as rows."""
        axis, n = packed.ndim - 2, packed.shape[-1]
        return drop_axes(slice_axis(packed, axis, 0, 1), (axis,)), slice_axis(packed, axis, 1, n)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        (values, rows), (g_values, g_rows) = self.parts(out), self.parts(g)
        inner = _inverse_differences(values) * product_of(rows, matrix_transpose(g_rows))
        inner = inner + diagonal_matrix(g_values)
        return (symmetrised(product_of(matrix_transpose(rows), inner, rows)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        if t is None:
            return None
        values, rows = self.parts(out)
        moved = product_of(rows, symmetrised(t), matrix_transpose(rows))
        turned = product_of(matrix_transpose(_inverse_differences(values) * moved), rows)
        return join([as_row(diagonal(moved)), turned], t.ndim - 2)


# -- QR and singular values


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
        solved = apply(SolveTriangular(lower=False), r, matrix_transpose(rows))
        return (matrix_transpose(solved),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        if t is None:
            return None
        q, r = self.parts(out)
        solved = apply(SolveTriangular(lower=False, transposed=True), r, matrix_transpose(t))
        moved = matrix_transpose(solved)
        inner = product_of(matrix_transpose(q), moved)
        below = tril(inner, k=-1)
        turn = below - matrix_transpose(below)
        turned = product_of(q, turn - inner) + moved
        return join([turned, triu(product_of(inner - turn, r))], t.ndim - 2)


@dataclass(frozen=True)
class Svd(Routine):
    """Row i is (s[i], u[:, i], vh[i]) of the reduced A = u diag(s) vh, s descending; k = min(m, n) rows.

    The derivative of vectors of equal or zero singular values counts as 0 where it is not defined.
    """

    name = "svd"
    failure = "the singular values of a matrix did not converge; it may hold NaN or inf"

    def infer(self, *types: TensorType) -> TensorType:
        *batch, m, n = types[0].shape
        return TensorType(types[0].dtype, (*batch, size_min(m, n), m + n + 1))

    def evaluate(self, *arrays: Array) -> Array:
        return stacked(self, self._one, arrays)

    def _one(self, a: Array) -> Array:
        v, s, ut, info = routine("gesdd", a)(a.T, full_matrices=0)
        if info != 0:
            raise LinAlgError(self.failure)
        return np.concatenate([s[:, None], ut, v.T], 1)

    @staticmethod
    def parts(packed: Node, m: Size) -> tuple[Node, Node, Node]:
        """Return u transposed, s and vh; `m` is the number of rows of A."""
        axis, width = packed.ndim - 1, packed.shape[-1]
        s = drop_axes(slice_axis(packed, axis, 0, 1), (axis,))
        return slice_axis(packed, axis, 1, m), s, slice_axis(packed, axis, m + 1, width - m - 1)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        m = inputs[0].shape[-2]
        (ut, s, vh), (g_ut, g_s, g_vh) = self.parts(out, m), self.parts(g, m)
        differences = _inverse_differences(s * s)
        left, g_u = product_of(ut, matrix_transpose(g_ut)), matrix_transpose(g_ut)
        right, g_v = product_of(vh, matrix_transpose(g_vh)), matrix_transpose(g_vh)
        inner = differences * (left - matrix_transpose(left)) * as_row(s) + diagonal_matrix(g_s)
        inner = inner + as_column(s) * (differences * (right - matrix_transpose(right)))
        u, v, inverse = matrix_transpose(ut), matrix_transpose(vh), _inverse_or_zero(s)
        outside_u = (g_u - product_of(u, left)) * as_row(inverse)
        outside_v = (g_v - product_of(v, right)) * as_row(inverse)
        total = product_of(u, inner, vh) + product_of(outside_u, vh)
        return (total + product_of(u, matrix_transpose(outside_v)),)

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

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return zip(types[0].shape[:-2], types[1].shape, strict=True)

    def infer(self, *types: TensorType) -> TensorType:
        *batch, m, n = types[0].shape
        return TensorType(types[0].dtype, (*batch, n, m))

    def evaluate(self, *arrays: Array) -> Array:
        a, rtol = arrays
        m = a.shape[-2]
        packed = Svd().evaluate(a)
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
        ut, s, vh = Svd.parts(apply(Svd(), a), a.shape[-2])
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
