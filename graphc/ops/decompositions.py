"""Factorisations of stacks of matrices by elimination, and solves with them, as ops that LAPACK computes.

`LuFactor` has no derivative of its own; what is computed from it takes the matrix as an operand too and
differentiates by that, so that forward and backward passes share one factorisation. Derivatives are published
formulas: Giles, "An extended collection of matrix derivative results" (2008), and Murray, "Differentiation of the
Cholesky decomposition" (2016). Matrices that a function takes as symmetric have symmetric cotangents.

An op with `nan` gives NaN for a matrix that it cannot work with, and so do its derivatives; others end the call.

`evaluate` calls the routines that compiled programs call, on the same memory layout: a row-major matrix is the
column-major transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.graph.errors import LinAlgError
from graphc.graph.node import Node
from graphc.graph.op import Composite, Cotangents, Op, Routine, apply
from graphc.graph.types import Array, Size, TensorType
from graphc.ops.creation import eye, iota, tril, triu
from graphc.ops.elementwise import abs, equal, log, not_equal, stop_gradient, where
from graphc.ops.linalg import MatMul, diagonal
from graphc.ops.manipulation import matrix_transpose
from graphc.ops.pointwise import broadcast_to_shape, cast
from graphc.ops.reduction import prod, sum
from graphc.ops.shape import insert_axes, slice_axis

__all__: list[str] = []


def routine(name: str, matrix: Array) -> Callable[..., Any]:
    """Return the LAPACK function of SciPy for a matrix's dtype."""
    from scipy.linalg import lapack

    found: Callable[..., Any] = getattr(lapack, ("d" if matrix.dtype.itemsize == 8 else "s") + name)
    return found


def stacked(op: Op, one: Callable[..., Any], arrays: Sequence[Array]) -> Array:
    """Compute the result of an op matrix by matrix."""
    type_ = op.infer(*(TensorType(a.dtype, a.shape) for a in arrays))
    out = np.empty([int(s) for s in type_.shape], type_.dtype)
    for place in np.ndindex(arrays[0].shape[:-2]) if out.size else ():
        out[place] = one(*(np.ascontiguousarray(a[place]) for a in arrays))
    return out


def has_no_inverse(triangle: Array, nan: bool) -> bool:
    """Tell whether a diagonal has a 0; for a solve that gives NaN, a NaN counts, by which LAPACK might not divide."""
    pivots = np.diagonal(triangle)
    return bool(((pivots == 0) | (np.isnan(pivots) & nan)).any())


def failed(op: Routine, like: Array) -> Array:
    """Return NaN as the result for one matrix where the op gives that, or raise."""
    if op.failure:
        raise LinAlgError(op.failure)
    return np.full_like(like, np.nan)


def square(*types: TensorType) -> Iterable[tuple[Size, Size]]:
    """Return what must hold of the operands (A, ..., B) of a solve, or of a single square matrix."""
    a, b = types[0], types[-1]
    yield a.shape[-2], a.shape[-1]
    yield from zip(a.shape[:-1], b.shape[:-1], strict=True)


def product_of(*factors: Node) -> Node:
    """Multiply stacks of matrices of equal batch shapes, from left to right."""
    out = factors[0]
    for y in factors[1:]:
        out = apply(MatMul(), out, y)
    return out


def symmetrised(x: Node) -> Node:
    """Return the symmetric part of matrices."""
    return (x + matrix_transpose(x)) * 0.5


def identity(like: Node) -> Node:
    """Return unit matrices of the shape of `like`."""
    return broadcast_to_shape(eye(like.shape[-1], dtype=like.dtype), like.shape)


def diagonal_matrix(x: Node) -> Node:
    """Return matrices with the last axis of `x` on the diagonal."""
    rows = insert_axes(x, (x.ndim - 1,))
    shape = (*x.shape, x.shape[-1])
    return where(equal(iota(shape, -2), iota(shape, -1)), broadcast_to_shape(rows, shape), 0.0)


def as_column(x: Node) -> Node:
    """Return `x` with a new last axis."""
    return insert_axes(x, (x.ndim,))


def as_row(x: Node) -> Node:
    """Return `x` with a new axis before the last."""
    return insert_axes(x, (x.ndim - 1,))


def lower_half(x: Node) -> Node:
    """Return the lower triangle with half the diagonal."""
    rows, columns = iota(x.shape, -2), iota(x.shape, -1)
    return where(columns < rows, x, where(equal(columns, rows), x * 0.5, 0.0))


# -- Cholesky and triangular solves


@dataclass(frozen=True)
class Cholesky(Routine):
    """The lower triangular L with A = L L^T; only the lower triangle of A is read."""

    name = "cholesky"
    nan: bool = field(default=False, repr=False)

    @property
    def failure(self) -> str:
        return "" if self.nan else "a matrix is not positive definite"

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return square(*types)

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        return stacked(self, self._one, arrays)

    def _one(self, a: Array) -> Array:
        upper, info = routine("potrf", a)(a.T, lower=0, clean=1)
        if info != 0:
            return failed(self, a)
        return np.asarray(upper.T)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        solve = SolveTriangular(lower=True, transposed=True, nan=self.nan)
        inner = apply(solve, out, lower_half(product_of(matrix_transpose(out), g)))
        return (symmetrised(matrix_transpose(apply(solve, out, matrix_transpose(inner)))),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        if t is None:
            return None
        solve = SolveTriangular(lower=True, nan=self.nan)
        inner = apply(solve, out, matrix_transpose(apply(solve, out, symmetrised(t))))
        return product_of(out, lower_half(inner))


@dataclass(frozen=True)
class SolveTriangular(Routine):
    """The X with A X = B, or A^T X = B if `transposed`, for a triangle of A; the other triangle is not read."""

    name = "solve_triangular"
    lower: bool
    transposed: bool = False
    unit: bool = False
    nan: bool = field(default=False, repr=False)

    @property
    def failure(self) -> str:
        return "" if self.nan else "a matrix is singular"

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return square(*types)

    def infer(self, *types: TensorType) -> TensorType:
        return types[1]

    def evaluate(self, *arrays: Array) -> Array:
        return stacked(self, self._one, arrays)

    def _one(self, a: Array, b: Array) -> Array:
        if not self.unit and has_no_inverse(a, self.nan):
            return failed(self, b)
        x, _ = routine("trtrs", a)(a, b, lower=self.lower, trans=self.transposed, unitdiag=self.unit)
        return np.asarray(x)

    def _triangle(self, x: Node) -> Node:
        """Keep what the op reads."""
        return tril(x, k=-int(self.unit)) if self.lower else triu(x, k=int(self.unit))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return self.pullback(g, out, (True, True))

    def pullback(self, g: Node, out: Node, wanted: Sequence[bool]) -> Cotangents:
        back = apply(SolveTriangular(self.lower, not self.transposed, self.unit, self.nan), out.inputs[0], g)
        left, right = (out, back) if self.transposed else (back, out)
        return (-self._triangle(product_of(left, matrix_transpose(right))) if wanted[0] else None), back

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        ta, tb = tangents
        if ta is not None:
            moved = self._triangle(ta)
            term = product_of(matrix_transpose(moved) if self.transposed else moved, out)
            tb = -term if tb is None else tb - term
        return None if tb is None else apply(self, inputs[0], tb)


# -- LU


@dataclass(frozen=True)
class LuFactor(Routine):
    """The LU factors of A^T with row exchanges, transposed, and below them a row of exchanges, counted from 0.

    Never fails: a singular matrix has a 0 on the diagonal of U. It has no derivative; see the module's docstring.
    """

    name = "lu_factor"
    differentiable = False

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return square(*types)

    def infer(self, *types: TensorType) -> TensorType:
        *batch, n, _ = types[0].shape
        return TensorType(types[0].dtype, (*batch, n + 1, n))

    def evaluate(self, *arrays: Array) -> Array:
        return stacked(self, self._one, arrays)

    def _one(self, a: Array) -> Array:
        factors, exchanges, _ = routine("getrf", a)(a.T)
        return np.concatenate([factors.T, exchanges[None].astype(a.dtype)])


@dataclass(frozen=True)
class LuSolve(Routine):
    """The X with A X = B, or A^T X = B if `transposed`; operands (A, its `LuFactor`, B).

    A is there for the derivative; only its factors are read.
    """

    name = "solve"
    transposed: bool = False
    nan: bool = field(default=False, repr=False)

    @property
    def failure(self) -> str:
        return "" if self.nan else "a matrix is singular"

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return square(*types)

    def infer(self, *types: TensorType) -> TensorType:
        return types[2]

    def evaluate(self, *arrays: Array) -> Array:
        return stacked(self, self._one, arrays)

    def _one(self, a: Array, factors: Array, b: Array) -> Array:
        if has_no_inverse(factors, self.nan):
            return failed(self, b)
        rows, exchanges = np.arange(len(a)), factors[-1]
        exchanges = np.where((exchanges > rows) & (exchanges < len(a)), exchanges, rows).astype(np.int32)
        x, _ = routine("getrs", a)(factors[:-1].T, exchanges, b, trans=0 if self.transposed else 1)
        return np.asarray(x)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return self.pullback(g, out, (True, True, True))

    def pullback(self, g: Node, out: Node, wanted: Sequence[bool]) -> Cotangents:
        a, factors, _ = out.inputs
        back = apply(LuSolve(not self.transposed, self.nan), a, factors, g)
        left, right = (out, back) if self.transposed else (back, out)
        return (-product_of(left, matrix_transpose(right)) if wanted[0] else None), None, back

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        ta, _, tb = tangents
        if ta is not None:
            term = product_of(matrix_transpose(ta) if self.transposed else ta, out)
            tb = -term if tb is None else tb - term
        return None if tb is None else apply(self, inputs[0], inputs[1], tb)


def lu_parts(factors: Node) -> tuple[Node, Node]:
    """Return the diagonal of U, and the sign of the exchanges of rows, of a `LuFactor`."""
    n = factors.shape[-1]
    exchanges = slice_axis(factors, factors.ndim - 2, n, 1)
    moved = not_equal(exchanges, cast(iota(exchanges.shape, -1), factors.dtype))
    ones = where(moved, -1.0, cast(equal(exchanges, exchanges), factors.dtype))
    return diagonal(slice_axis(factors, factors.ndim - 2, 0, n)), prod(ones, (-2, -1))


@dataclass(frozen=True)
class Determinant(Composite):
    """The determinant of A, or the logarithm of its magnitude if `log`; operands (A, its `LuFactor`)."""

    name = "det"
    log: bool = False
    nan: bool = field(default=False, repr=False)
    """What the derivative of the logarithm does where a matrix is singular; see `LuSolve`."""

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(types[0].dtype, types[0].shape[:-2])

    def evaluate(self, *arrays: Array) -> Array:
        n = arrays[1].shape[-1]
        pivots = np.diagonal(arrays[1], axis1=-2, axis2=-1)
        with np.errstate(all="ignore"):
            if self.log:
                return np.asarray(np.sum(np.log(np.abs(pivots)), -1))
            signs = np.prod(np.where(arrays[1][..., n, :] != np.arange(n), -1, 1), -1)
            return np.asarray(np.prod(pivots, -1) * signs, dtype=arrays[0].dtype)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        a, factors = inputs
        slope = apply(LuSolve(True, self.nan), a, factors, identity(a)) if self.log else apply(Cofactor(), a, factors)
        return as_column(as_column(g)) * slope, None

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        t = tangents[0]
        if t is None:
            return None
        if self.log:
            return sum(diagonal(apply(LuSolve(nan=self.nan), *inputs, t)), -1)
        return sum(apply(Cofactor(), *inputs) * t, (-2, -1))

    def expand(self, *inputs: Node) -> Node:
        pivots, signs = lu_parts(inputs[1])
        return sum(log(abs(pivots)), -1) if self.log else prod(pivots, -1) * signs


@dataclass(frozen=True)
class Cofactor(Routine):
    """The gradient of the determinant, that is the adjugate transposed; operands (A, its `LuFactor`).

    det(A) times the inverse transposed, by the factors; where a pivot is 0, from an elimination with exchanges of rows
    and columns: with P A Q = L U and u[n, n] = 0, adj(U) is a product of two vectors, U's null vector and the last unit
    vector.
    """

    name = "cofactor"

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return square(types[0])

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return stacked(self, self._one, arrays)

    def _one(self, a: Array, factors: Array) -> Array:
        n, pivots = len(a), np.diagonal(factors)
        if (pivots == 0).any():
            return _singular_cofactor(a)
        moved = np.count_nonzero(factors[-1] != np.arange(n))
        scale = np.prod(pivots) * (-1) ** moved
        return np.asarray(LuSolve(transposed=True).evaluate(a, factors, scale * np.eye(n, dtype=a.dtype)))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return self._moved(inputs[0], g), None  # the second derivative of the determinant is symmetric

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        t = tangents[0]
        return None if t is None else self._moved(inputs[0], t)

    @staticmethod
    def _moved(a: Node, t: Node) -> Node:
        """Return the derivative along `t`, by singular values: it divides by none, so they may be 0.

        For a diagonal A the cofactors are products of all other elements, and element (i, j) of the derivative off the
        diagonal is -t[j, i] times the product of all but a[i] and a[j]; rotations take this to every matrix.
        """
        from graphc.ops.spectral import Svd  # which is built on this module

        ut, s, vh = Svd.parts(apply(Svd(), a), a.shape[-2])
        u, v = matrix_transpose(ut), matrix_transpose(vh)
        signs = [stop_gradient(apply(Determinant(), x, apply(LuFactor(), x))) for x in (u, v)]
        n, axis = s.shape[-1], s.ndim
        shape = (*s.shape, n, n)
        i, j, k = (iota(shape, x) for x in (-3, -2, -1))
        others = where(equal(k, i) | equal(k, j), 1.0, broadcast_to_shape(as_row(as_row(s)), shape))
        rest = where(equal(iota(a.shape, -2), iota(a.shape, -1)), 0.0, prod(others, axis + 1))
        moved = product_of(ut, t, v)
        along = sum(rest * as_row(diagonal(moved)), -1)
        turned = diagonal_matrix(along) - rest * matrix_transpose(moved)
        return product_of(u * as_row(as_column(signs[0] * signs[1])), turned, vh)


def _singular_cofactor(a: Array) -> Array:
    """Return the cofactors of a singular matrix."""
    n, scale = len(a), a.dtype.type(1)
    u, left = a.copy(), np.eye(n, dtype=a.dtype)
    rows, columns = np.arange(n), np.arange(n)
    for k in range(n - 1):
        i, j = np.unravel_index(np.argmax(np.abs(u[k:, k:])), (n - k, n - k))
        for place, order, whole in ((k + int(i), rows, u), (k + int(j), columns, u.T)):
            scale = scale if place == k else -scale
            order[[k, place]], whole[[k, place]] = order[[place, k]], whole[[place, k]]
            if whole is u:
                left[[k, place], :k] = left[[place, k], :k]
        scale = scale * u[k, k]
        if not scale:
            return np.zeros_like(a)
        left[k + 1 :, k] = u[k + 1 :, k] / u[k, k]
        u[k + 1 :] -= left[k + 1 :, k : k + 1] * u[k]
    x, y = np.zeros(n, a.dtype), np.zeros(n, a.dtype)
    x[columns[-1]], y[rows[-1]] = 1, scale
    for k in reversed(range(n - 1)):
        x[columns[k]] = -u[k, k + 1 :] @ x[columns[k + 1 :]] / u[k, k]
        y[rows[k]] = -left[k + 1 :, k] @ y[rows[k + 1 :]]
    return np.outer(y, x)
