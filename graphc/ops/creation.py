"""Creation functions: filled arrays, ranges and triangles, from constants, `Broadcast` and `Iota`.

Nothing here stores an array: a filled array is a broadcast number, a range is computed from the loop index.
Shapes and bounds may hold dimensions (`Dim`), in which case the sizes are known only in a call.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.graph.arguments import checked, whole
from graphc.graph.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import Cotangents, apply, constant
from graphc.graph.types import (
    Array,
    Dim,
    DType,
    Shape,
    Size,
    TensorType,
    as_dtype,
    floor_div,
    is_float,
    make_shape,
    size_max,
)
from graphc.ops.elementwise_arithmetic import where
from graphc.ops.elementwise_logic import equal
from graphc.ops.pointwise import Pointwise, as_node, broadcast_to_shape, cast, is_weak

Bound = int | float | Dim
"""An end or step of a range."""


@dataclass(frozen=True)
class Iota(Pointwise):
    """The index along one axis, at every element of a shape."""

    name = "iota"
    differentiable = False
    shape: Shape
    axis: int
    dtype: DType

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def sizes(self) -> Iterable[Size]:
        return self.shape

    def evaluate(self, *arrays: Array) -> Array:
        sizes = [int(s) for s in self.shape]
        column = [-1 if i == self.axis else 1 for i in range(len(sizes))]
        return np.broadcast_to(np.arange(sizes[self.axis]).astype(self.dtype).reshape(column), sizes)

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        return "{index}"

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return ()

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None


def iota(shape: Shape, axis: int, dtype: Any = "int64") -> Node:
    """Return the index along `axis` at every element of `shape`."""
    return apply(Iota(shape, axis % len(shape), as_dtype(dtype)))


# -- filled arrays


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Node:
    """Return an array of one value (a number or a 0-d node), by default in the dtype of that value.

    >>> full((2,), 7).eval()
    array([7, 7])
    """
    return _filled("full", shape, fill_value, dtype)


def _filled(name: str, shape: Any, fill_value: Any, dtype: Any) -> Node:
    given = isinstance(fill_value, (Node, Dim))  # what is no node yet must fit the dtype
    value = as_node(fill_value) if given else constant(fill_value, dtype, what=f"{name}: fill_value")
    if value.shape != ():
        raise ShapeError(f"{name}: fill_value must be 0-d, got {value.type}{at()}")
    if dtype is not None:
        value = cast(value, as_dtype(dtype))
    return broadcast_to_shape(value, make_shape(shape))


def zeros(shape: Any, dtype: Any = "float64") -> Node:
    """Return an array of zeros."""
    return _filled("zeros", shape, 0, as_dtype(dtype))


def ones(shape: Any, dtype: Any = "float64") -> Node:
    """Return an array of ones.

    >>> ones(("batch", 3))
    f64[batch,3] = broadcast[shape=(batch,3), axes=()](f64[])
    """
    return _filled("ones", shape, 1, as_dtype(dtype))


def empty(shape: Any, dtype: Any = "float64") -> Node:
    """Return an array of zeros: a program has no uninitialised values."""
    return zeros(shape, dtype=dtype)


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None) -> Node:
    """Return an array of one value with the shape, and by default the dtype, of `x`."""
    like = as_node(x)
    return _filled("full_like", like.shape, fill_value, like.dtype if dtype is None else dtype)


def zeros_like(x: Any, /, *, dtype: Any = None) -> Node:
    """Return zeros with the shape, and by default the dtype, of `x`."""
    return full_like(x, 0, dtype=dtype)


def ones_like(x: Any, /, *, dtype: Any = None) -> Node:
    """Return ones with the shape, and by default the dtype, of `x`."""
    return full_like(x, 1, dtype=dtype)


def empty_like(x: Any, /, *, dtype: Any = None) -> Node:
    """Return zeros with the shape, and by default the dtype, of `x`."""
    return zeros_like(x, dtype=dtype)


# -- ranges


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None) -> Node:
    """Return `start, start + step, ...` up to and without `stop`; one argument is `stop`, from 0.

    Bounds are numbers or dimensions; a dimension needs an integer step. All integers give int64, else float64.

    >>> arange(5, 0, -2).eval()
    array([5, 3, 1])
    """
    first, last, step = (_bound(x) for x in ((0, start, step) if stop is None else (start, stop, step)))
    integral = all(isinstance(v, (int, Dim)) for v in (first, last, step))
    found = as_dtype(("int64" if integral else "float64") if dtype is None else dtype)
    if found.kind == "b":
        raise DTypeError(f"arange: bool has no ranges{at()}")
    index = iota((_range_length(first, last, step),), 0, found)
    scaled = index if step == 1 else index * _weak(step, found)
    return scaled if first == 0 else scaled + _weak(first, found)


def _bound(value: Any) -> Bound:
    """Return a bound of `arange` as a Python number or a dimension."""
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, bool) or not isinstance(number, (int, float, Dim)):
        raise ArgumentError(f"arange: {value!r} is not a number or a dimension; shapes cannot depend on data{at()}")
    if isinstance(number, float) and not math.isfinite(number):
        raise ArgumentError(f"arange: a bound is {number}{at()}")
    return number


def _weak(value: Bound, dtype: DType) -> Bound:
    """Return a bound as an operand that keeps `dtype`."""
    return int(value) if dtype.kind in "iu" and isinstance(value, float) else value


def _range_length(start: Bound, stop: Bound, step: Bound) -> Size:
    """Return the number of steps from `start` to before `stop`: ceil((stop - start) / step), at least 0."""
    if step == 0:
        raise ArgumentError(f"arange: step is 0{at()}")
    if isinstance(start, (int, float)) and isinstance(stop, (int, float)) and isinstance(step, (int, float)):
        return max(0, math.ceil((stop - start) / step))
    if not isinstance(step, int) or isinstance(start, float) or isinstance(stop, float):
        raise ArgumentError(f"arange: a dimension as bound needs integer bounds and an int step, got {step!r}{at()}")
    distance = stop - start if step > 0 else start - stop
    stride = step if step > 0 else -step
    return size_max(0, distance if stride == 1 else floor_div(distance + (stride - 1), stride))


@checked
def linspace(start: Any, stop: Any, /, num: Any, *, dtype: Any = None, endpoint: bool = True) -> Node:
    """Return `num` evenly spaced values from `start` to `stop`, the latter included unless `endpoint=False`.

    `start` and `stop` are numbers or 0-d nodes, `num` is an int or a dimension.

    >>> linspace(0, 1, 5).eval()
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    ends = [x if is_weak(x) else as_node(x) for x in (start, stop)]
    if any(isinstance(x, Node) and x.shape != () for x in ends):
        raise ShapeError(f"linspace: start and stop must be 0-d{at()}")
    if dtype is None:
        dtype = next((x.dtype for x in ends if isinstance(x, Node) and is_float(x.dtype)), "float64")
    found = as_dtype(dtype)
    working = found if is_float(found) else as_dtype("float64")
    (length,) = make_shape((num,))
    low, high = (cast(as_node(x, working), working) for x in ends)
    steps = length - 1 if endpoint else length
    index = iota((length,), 0, working)
    spread = low + index * ((high - low) / size_max(1, steps))
    out = where(equal(index, steps), high, spread) if endpoint and length != 1 else spread
    return cast(out, found)


# -- matrices


@checked
def eye(n_rows: Any, n_cols: Any = None, /, *, k: int = 0, dtype: Any = "float64") -> Node:
    """Return a matrix with ones on diagonal `k` and zeros elsewhere.

    >>> eye(2, 3, k=1).eval()
    array([[0., 1., 0.],
           [0., 0., 1.]])
    """
    shape = make_shape((n_rows, n_rows if n_cols is None else n_cols))
    return cast(equal(iota(shape, 1) - iota(shape, 0), whole("eye: k", k)), as_dtype(dtype))


@checked
def tril(x: Any, /, *, k: int = 0) -> Node:
    """Return matrices with everything above diagonal `k` set to 0.

    >>> tril([[1, 2], [3, 4]]).eval()
    array([[1, 0],
           [3, 4]])
    """
    node, row, column = _matrix_indices("tril", x)
    return where(column - row <= whole("tril: k", k), node, 0)


@checked
def triu(x: Any, /, *, k: int = 0) -> Node:
    """Return matrices with everything below diagonal `k` set to 0."""
    node, row, column = _matrix_indices("triu", x)
    return where(column - row >= whole("triu: k", k), node, 0)


def _matrix_indices(name: str, x: Any) -> tuple[Node, Node, Node]:
    node = as_node(x)
    if node.ndim < 2:
        raise ShapeError(f"{name}: at least two axes needed, got {node.type}{at()}")
    return node, iota(node.shape, -2), iota(node.shape, -1)
