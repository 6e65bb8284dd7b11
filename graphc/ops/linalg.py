"""Products of vectors, matrices and tensors: one op, `MatMul`, and the functions that map to it.

`MatMul` takes stacks of matrices with equal batch shapes; `matmul` brings every rank NumPy accepts into that
form with explicit views. A stack times one matrix becomes one large product of the flattened stack, so neither
it nor its gradient repeats the matrix. Derivatives are matrix products of transposes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import Cotangents, Op, apply
from graphc.graph.types import Array, Size, TensorType, product, size_max, size_min
from graphc.ops.creation import iota
from graphc.ops.indexing import Gather
from graphc.ops.manipulation import concat, matrix_transpose
from graphc.ops.pointwise import as_node, broadcast, broadcast_shapes, broadcast_to_shape, promote
from graphc.ops.reduction import sum
from graphc.ops.shape import (
    axis_index,
    axis_tuple,
    drop_axes,
    insert_axes,
    never_equal,
    permute,
    reshape_to,
    slice_axis,
)

__all__ = ["diagonal", "matmul", "outer", "tensordot", "trace", "vecdot"]


@dataclass(frozen=True)
class MatMul(Op):
    """x[..., m, k] @ y[..., k, n] with equal batch shapes and dtypes (integers or floats)."""

    name = "matmul"

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        x, y = types
        yield x.shape[-1], y.shape[-2]
        yield from zip(x.shape[:-2], y.shape[:-2], strict=True)

    def infer(self, *types: TensorType) -> TensorType:
        x, y = types
        return TensorType(x.dtype, (*x.shape[:-1], y.shape[-1]))

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(np.matmul(*arrays))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return self.pullback(g, out, (True, True))

    def pullback(self, g: Node, out: Node, wanted: Sequence[bool]) -> Cotangents:
        x, y = out.inputs
        left = apply(self, g, matrix_transpose(y)) if wanted[0] else None
        right = apply(self, matrix_transpose(x), g) if wanted[1] else None
        return left, right

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (tx, ty), (x, y) = tangents, inputs
        left = None if tx is None else apply(self, tx, y)
        right = None if ty is None else apply(self, x, ty)
        return right if left is None else left if right is None else left + right


@dataclass(frozen=True)
class MatMulSum(Op):
    """The sum over the first `axes` axes of a batch of float products: x[..., m, k] @ y[..., k, n], added in place."""

    name = "matmul_sum"
    axes: int

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return MatMul().equalities(*types)

    def infer(self, *types: TensorType) -> TensorType:
        product_type = MatMul().infer(*types)
        return TensorType(product_type.dtype, product_type.shape[self.axes :])

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(np.sum(np.matmul(*arrays), axis=tuple(range(self.axes))))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        x, y = inputs
        every = broadcast(g, (*x.shape[:-1], y.shape[-1]), tuple(range(self.axes, x.ndim)))
        return apply(MatMul(), every, matrix_transpose(y)), apply(MatMul(), matrix_transpose(x), every)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (tx, ty), (x, y) = tangents, inputs
        left = None if tx is None else apply(self, tx, y)
        right = None if ty is None else apply(self, x, ty)
        return right if left is None else left if right is None else left + right


@dataclass(frozen=True)
class MatMulAdd(Op):
    """The sum of float products, x1 @ y1 + x2 @ y2 + ..., in which each is added to those before it in place.

    Made by `accumulate_products`, after differentiation.
    """

    name = "matmul_add"
    differentiable = False

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        first = self.infer(*types).shape
        for pair in pairs(types):
            yield from MatMul().equalities(*pair)
            yield from zip(first, MatMul().infer(*pair).shape, strict=True)

    def infer(self, *types: TensorType) -> TensorType:
        return MatMul().infer(*types[:2])

    def evaluate(self, *arrays: Array) -> Array:
        first, *others = (MatMul().evaluate(*pair) for pair in pairs(arrays))
        with np.errstate(all="ignore"):
            return np.asarray(functools.reduce(np.add, others, first))


@dataclass(frozen=True)
class MatMulUpdate(Op):
    """A matrix plus a multiple of products: w + alpha * (x @ y), as BLAS's gemm with beta = 1; alpha is a scalar.

    Further pairs of factors are added with the same alpha.

    Made by `update_products` for state that is updated by a product, after differentiation.
    """

    name = "matmul_update"
    differentiable = False

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        w, alpha, *factors = arrays
        with np.errstate(all="ignore"):
            for pair in pairs(factors):
                w = w + alpha * np.matmul(*pair)
            return np.asarray(w)


T = TypeVar("T")


def pairs(factors: Sequence[T]) -> list[tuple[T, T]]:
    """Return the factors of each product."""
    return list(zip(factors[::2], factors[1::2], strict=True))


def factors_of(node: Node) -> list[tuple[Node, Node]]:
    """Return the factors of each product that a node is made of."""
    return pairs(node.inputs[2:] if isinstance(node.op, MatMulUpdate) else node.inputs)


def _require_equal(name: str, what: str, x: Node, y: Node, left: Size, right: Size) -> None:
    if never_equal(left, right):
        raise ShapeError(f"{name}: {what} differ: {x.type} @ {y.type} ({left} != {right}){at()}")


def matmul(x1: Any, x2: Any, /) -> Node:
    """Return the matrix product `x1 @ x2`.

    The last two axes are matrices, those before them a batch that broadcasts; a 1-d operand is a row on the
    left, a column on the right. Raises `ShapeError` where the inner dimensions differ.

    >>> matmul([[1, 2], [3, 4]], [1, 1]).eval()
    array([3, 7])
    """
    x, y = promote("matmul", "number", [x1, x2])
    if not x.ndim or not y.ndim:
        raise ShapeError(f"matmul: 0-d operand: {x.type} @ {y.type}; use * to scale{at()}")
    inner = (x.shape[-1], y.shape[-2] if y.ndim > 1 else y.shape[0])
    _require_equal("matmul", "inner dimensions", x, y, *inner)
    rows = insert_axes(x, (0,)) if x.ndim == 1 else x
    columns = insert_axes(y, (1,)) if y.ndim == 1 else y
    out = _product_of_stacks(rows, columns)
    dropped = [out.ndim - 2] * (x.ndim == 1) + [out.ndim - 1] * (y.ndim == 1)
    return drop_axes(out, dropped)


def _product_of_stacks(x: Node, y: Node) -> Node:
    """Multiply operands of two axes or more."""
    if y.ndim == 2 and x.ndim > 2:
        rows = reshape_to(x, (product(x.shape[:-1]), x.shape[-1]))
        return reshape_to(apply(MatMul(), rows, y), (*x.shape[:-1], y.shape[-1]))
    if x.shape[:-2] != y.shape[:-2]:
        batch = broadcast_shapes("matmul", *(TensorType(n.dtype, n.shape[:-2]) for n in (x, y)))
        x = broadcast_to_shape(x, (*batch, *x.shape[-2:]))
        y = broadcast_to_shape(y, (*batch, *y.shape[-2:]))
    return apply(MatMul(), x, y)


@checked
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Node:
    """Return the sum of products along `axis` of both operands, which broadcast otherwise.

    >>> vecdot([[1, 2], [3, 4]], [1, 10]).eval()
    array([21, 43])
    """
    x, y = promote("vecdot", "number", [x1, x2])
    if not x.ndim or not y.ndim:
        raise ShapeError(f"vecdot: 0-d operand: {x.type}, {y.type}{at()}")
    lengths = [n.shape[axis_index("vecdot", axis, n.ndim)] for n in (x, y)]
    if never_equal(*lengths):
        raise ShapeError(
            f"vecdot: lengths of axis {axis} differ: {x.type}, {y.type} ({lengths[0]} != {lengths[1]}){at()}"
        )
    if axis >= 0 and x.ndim != y.ndim:
        raise ArgumentError(f"vecdot: axis {axis} is ambiguous for {x.type} and {y.type}; count it from the end{at()}")
    return sum(x * y, axis, dtype=x.dtype)


def outer(x1: Any, x2: Any, /) -> Node:
    """Return the products of all pairs of elements of two 1-d operands.

    >>> outer([1, 2], [1, 10]).eval()
    array([[ 1, 10],
           [ 2, 20]])
    """
    x, y = promote("outer", "number", [x1, x2])
    if x.ndim != 1 or y.ndim != 1:
        raise ShapeError(f"outer: 1-d operands needed, got {x.type}, {y.type}{at()}")
    shape = (*x.shape, *y.shape)
    return broadcast(x, shape, (0,)) * broadcast(y, shape, (1,))


def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Node:
    """Return the sum of products over pairs of axes; the other axes of `x1` come first, then those of `x2`.

    `axes` is a number of axes (the last of `x1`, the first of `x2`) or a pair of sequences of axes.

    >>> tensordot([[1, 2], [3, 4]], [1, 1], axes=1).eval()
    array([3, 7])
    """
    x, y = promote("tensordot", "number", [x1, x2])
    left, right = _contracted_axes(x, y, axes)
    for a, b in zip(left, right, strict=True):
        _require_equal("tensordot", f"sizes of axes {a} and {b}", x, y, x.shape[a], y.shape[b])
    rows = [a for a in range(x.ndim) if a not in left]
    columns = [b for b in range(y.ndim) if b not in right]
    x, y = permute(x, (*rows, *left)), permute(y, (*right, *columns))
    m, n = x.shape[: len(rows)], y.shape[len(left) :]
    flat_x = reshape_to(x, (product(m), product(x.shape[len(rows) :])))
    flat_y = reshape_to(y, (product(y.shape[: len(left)]), product(n)))
    return reshape_to(apply(MatMul(), flat_x, flat_y), (*m, *n))


def _contracted_axes(x: Node, y: Node, axes: Any) -> tuple[list[int], list[int]]:
    if isinstance(axes, int):
        if not 0 <= axes <= min(x.ndim, y.ndim):
            raise ShapeError(f"tensordot: axes={axes} for {x.type} and {y.type}{at()}")
        return list(range(x.ndim - axes, x.ndim)), list(range(axes))
    if not isinstance(axes, (tuple, list)) or len(axes) != 2:
        raise ArgumentError(f"tensordot: axes must be an int or a pair of sequences of ints, got {axes!r}{at()}")
    first, second = (a if isinstance(a, (tuple, list)) else (a,) for a in axes)
    left = [axis_index("tensordot", a, x.ndim) for a in first]
    right = [axis_index("tensordot", a, y.ndim) for a in second]
    if len(left) != len(right) or len(set(left)) != len(left) or len(set(right)) != len(right):
        raise ShapeError(f"tensordot: axes {axes} must be distinct, as many of each operand{at()}")
    return left, right


@checked
def diagonal(x: Any, /, *, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Node:
    """Return the elements x[i, i + offset] of two axes, as a new last axis.

    >>> diagonal([[1, 2], [3, 4]]).eval()
    array([1, 4])
    """
    node = as_node(x)
    axes = axis_tuple("diagonal", (axis1, axis2), node.ndim)
    if len(axes) != 2:
        raise ShapeError(f"diagonal: two axes needed, got {axis1}, {axis2}{at()}")
    first, second = (axis_index("diagonal", a, node.ndim) for a in (axis1, axis2))
    rows, columns = size_max(-offset, 0), size_max(offset, 0)
    length = size_min(size_max(node.shape[first] - rows, 0), size_max(node.shape[second] - columns, 0))
    starts = {first: rows, second: columns}
    square = node
    for axis, start in starts.items():
        square = slice_axis(square, axis, start, length)
    places = iota((length,), 0)
    out = apply(Gather(axes), square, places, places)
    return permute(out, (*range(1, out.ndim), 0))


@checked
def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Node:
    """Return the sum of the diagonal of the last two axes.

    >>> trace([[1, 2], [3, 4]]).eval()
    array(5)
    """
    return sum(diagonal(x, offset=offset), -1, dtype=dtype)


@checked
def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Node:
    """Return the cross product along an axis of three elements.

    >>> cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]).eval()
    array([0., 0., 1.])
    """
    x, y = promote("cross", "number", [x1, x2])
    shape = broadcast_shapes("cross", x.type, y.type)
    x, y = broadcast_to_shape(x, shape), broadcast_to_shape(y, shape)
    (place,) = axis_tuple("cross", axis, len(shape))
    if shape[place] != 3:
        raise ShapeError(f"cross: three elements along axis {axis} needed, got {x.type}, {y.type}{at()}")
    a, b = ([slice_axis(v, place, i, 1) for i in range(3)] for v in (x, y))
    parts = [a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)]
    return concat(parts, axis=place)
