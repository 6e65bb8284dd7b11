"""The manipulation functions of the Array API standard, and NumPy's moveaxis, tile and repeat.

Each is a few views and assemblies of `ops/shape.py`; none computes. All accept symbolic sizes, except where the
number of results depends on them (`unstack`).
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.graph.arguments import checked, entries, shown
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.types import Dim, Shape, Size, TensorType, floor_div, make_shape, product, size_max
from graphc.ops.pointwise import as_node, broadcast, broadcast_shapes, promote, single
from graphc.ops.shape import (
    axis_index,
    axis_tuple,
    drop_axes,
    insert_axes,
    join,
    never_equal,
    permute,
    reshape_to,
    slice_axis,
    slice_node,
)

__all__ = [
    "broadcast_arrays",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "tile",
    "unstack",
]


def reshape(x: Any, /, shape: Any) -> Node:
    """Return the elements of `x` in row-major order in another shape; one size may be -1.

    Raises `ShapeError` where the numbers of elements differ; symbolic ones are compared in the call.

    >>> reshape([[1, 2], [3, 4]], -1).eval()
    array([1, 2, 3, 4])
    """
    node = as_node(x)
    items = list(shape) if isinstance(shape, (tuple, list)) else [shape]
    unknown = [i for i, s in enumerate(items) if isinstance(s, builtins.int) and s == -1]
    if len(unknown) > 1:
        raise ShapeError(f"reshape: more than one -1 in {tuple(items)}{at()}")
    if unknown:
        items[unknown[0]] = 1
    sizes = make_shape(items)
    if unknown:
        place = unknown[0]
        sizes = (*sizes[:place], _missing_size(node, items, product(sizes)), *sizes[place + 1 :])
    if never_equal(node.size, product(sizes)):
        wanted = ",".join(map(str, items))
        raise ShapeError(f"reshape: {node.type} has {node.size} elements, ({wanted}) has {product(sizes)}{at()}")
    return reshape_to(node, sizes)


def _missing_size(x: Node, items: Sequence[Any], known: Size) -> Size:
    """Return the size that -1 stands for."""
    total = x.size
    bad = known == 0 or (isinstance(total, int) and isinstance(known, int) and total % known)
    if bad:
        raise ShapeError(f"reshape: {x.type} has {total} elements, which leaves no size for -1 beside {known}{at()}")
    size = floor_div(total, known)
    return size if known * size == total else floor_div(total, size_max(known, 1))  # a known size may be 0 in a call


def permute_dims(x: Any, /, axes: Sequence[int]) -> Node:
    """Return `x` with axis i of the result being axis `axes[i]` of `x`; `axes` names each axis once.

    >>> permute_dims([[1, 2], [3, 4]], (1, 0)).eval()
    array([[1, 3],
           [2, 4]])
    """
    node = as_node(x)
    if not isinstance(axes, (tuple, list, range)) and np.ndim(axes) != 1:
        raise ArgumentError(f"permute_dims: axes must be a sequence of ints, got {shown(axes)}{at()}")
    order = tuple(axis_index("permute_dims", a, node.ndim) for a in entries(axes))
    if sorted(order) != list(range(node.ndim)):
        raise ShapeError(f"permute_dims: axes {entries(axes)} do not name each axis of {node.type} once{at()}")
    return permute(node, order)


def matrix_transpose(x: Any, /) -> Node:
    """Return `x` with its last two axes swapped."""
    node = as_node(x)
    if node.ndim < 2:
        raise ShapeError(f"matrix_transpose: two axes needed, {node.type} has {node.ndim}{at()}")
    last = node.ndim - 1
    return permute(node, (*range(last - 1), last, last - 1))


def moveaxis(x: Any, source: Any, destination: Any, /) -> Node:
    """Return `x` with the axes `source` (an int or a sequence) moved to `destination`, the others in order."""
    node = as_node(x)
    sources, targets = entries(source), entries(destination)
    moved = [axis_index("moveaxis", a, node.ndim) for a in sources]
    places = [axis_index("moveaxis", a, node.ndim) for a in targets]
    if len(moved) != len(places) or len(set(moved)) != len(moved) or len(set(places)) != len(places):
        raise ShapeError(f"moveaxis: {source} and {destination} must be distinct axes, as many of each{at()}")
    order = [a for a in range(node.ndim) if a not in moved]
    for place, axis in sorted(zip(places, moved, strict=True)):
        order.insert(place, axis)
    return permute(node, order)


def expand_dims(x: Any, /, axis: Any = 0) -> Node:
    """Return `x` with new axes of size 1 at the places `axis` (an int or a tuple) of the result.

    >>> expand_dims([1, 2], axis=1).eval()
    array([[1],
           [2]])
    """
    node = as_node(x)
    count = len(entries(axis))
    return insert_axes(node, axis_tuple("expand_dims", axis, node.ndim + count))


def squeeze(x: Any, /, axis: Any) -> Node:
    """Return `x` without the axes `axis` (an int or a tuple), each of size 1; a symbolic one is checked in the call."""
    node = as_node(x)
    axes = axis_tuple("squeeze", () if axis is None else axis, node.ndim)
    for a in axes:
        if never_equal(node.shape[a], 1):
            raise ShapeError(f"squeeze: axis {a} of {node.type} has size {node.shape[a]}, 1 needed{at()}")
    return drop_axes(node, axes)


def broadcast_to(x: Any, /, shape: Any) -> Node:
    """Return `x` stretched to `shape` by NumPy's rule: trailing axes are aligned, only a literal 1 stretches.

    >>> broadcast_to([1, 2], (2, 2)).eval()
    array([[1, 2],
           [1, 2]])
    """
    node = as_node(x)
    sizes = make_shape(shape)
    first = len(sizes) - node.ndim
    clash = first < 0 or any(s != 1 and never_equal(s, t) for s, t in zip(node.shape, sizes[first:], strict=True))
    if clash:
        wanted = TensorType(node.dtype, sizes)
        raise ShapeError(f"broadcast_to: {node.type} does not broadcast to {wanted}{at()}")
    node, axes = single(node, sizes)
    return broadcast(node, sizes, axes)


def broadcast_arrays(*arrays: Any) -> list[Node]:
    """Return the operands stretched to their common shape."""
    nodes = [as_node(x) for x in arrays]
    shape = broadcast_shapes("broadcast_arrays", *(x.type for x in nodes)) if nodes else ()
    return [broadcast_to(x, shape) for x in nodes]


def flip(x: Any, /, *, axis: Any = None) -> Node:
    """Return `x` with the order of elements reversed along `axis` (None: along all).

    >>> flip([1, 2, 3]).eval()
    array([3, 2, 1])
    """
    node = as_node(x)
    axes = axis_tuple("flip", axis, node.ndim)
    starts = tuple(s - 1 if a in axes else 0 for a, s in enumerate(node.shape))
    return slice_node(node, starts, node.shape, tuple(-1 if a in axes else 1 for a in range(node.ndim)))


def roll(x: Any, /, shift: Any, *, axis: Any = None) -> Node:
    """Return `x` with elements moved by `shift` along `axis`, those pushed out coming back at the other end.

    `shift` and `axis` are ints or tuples of equal length; with `axis=None` the flattened elements move.

    >>> roll([1, 2, 3], 1).eval()
    array([3, 1, 2])
    """
    node = as_node(x)
    if axis is None:
        return reshape_to(roll(reshape(node, -1), shift, axis=0), node.shape)
    axes, several = entries(axis), isinstance(shift, (tuple, list, np.ndarray))
    shifts = entries(shift) if several else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise ArgumentError(f"roll: {len(shifts)} shifts for {len(axes)} axes{at()}")
    for a, s in zip(axes, shifts, strict=True):
        if not isinstance(s, (builtins.int, np.integer, Dim)):
            raise ArgumentError(f"roll: shift must be an int or a dimension, got {s!r}{at()}")
        node = _roll_axis(node, axis_index("roll", a, node.ndim), s if isinstance(s, Dim) else builtins.int(s))
    return node


def _roll_axis(x: Node, axis: int, shift: Size) -> Node:
    """Exchange the last `shift % size` elements of an axis with those before them."""
    size = x.shape[axis]
    period = size_max(size, 1)
    moved = shift - period * floor_div(shift, period)
    if size == 1 or moved == 0:
        return x
    rest = size - moved
    return join([slice_axis(x, axis, rest, moved), slice_axis(x, axis, 0, rest)], axis)


@checked
def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Node:
    """Join arrays along an existing axis; `axis=None` flattens them first. Dtypes are promoted.

    >>> concat([[1, 2], [3.0]]).eval()
    array([1., 2., 3.])
    """
    nodes = _operands("concat", arrays)
    if axis is None:
        return join([reshape(x, -1) for x in nodes], 0)
    ndim = nodes[0].ndim
    shown = ", ".join(str(x.type) for x in nodes)
    if any(x.ndim != ndim for x in nodes):
        raise ShapeError(f"concat: numbers of axes differ: {shown}{at()}")
    place = axis_index("concat", axis, ndim)
    for a in range(ndim):
        if a != place and any(never_equal(nodes[0].shape[a], x.shape[a]) for x in nodes):
            raise ShapeError(f"concat: only axis {place} may differ in size: {shown}{at()}")
    return join(nodes, place)


def _operands(name: str, arrays: Sequence[Any]) -> list[Node]:
    """Return the entries of a sequence as nodes of one dtype."""
    if not isinstance(arrays, Iterable) or (isinstance(arrays, np.ndarray) and not arrays.ndim):
        raise ArgumentError(f"{name}: a sequence of arrays is needed, got {arrays!r}{at()}")
    items = [as_node(x, what=name) for x in arrays]
    if not items:
        raise ArgumentError(f"{name}: at least one array is needed{at()}")
    return promote(name, "any", items)


@checked
def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Node:
    """Join arrays of equal shapes along a new axis at place `axis` of the result. Dtypes are promoted.

    >>> stack([[1, 2], [3, 4]], axis=1).eval()
    array([[1, 3],
           [2, 4]])
    """
    nodes = _operands("stack", arrays)
    first = nodes[0].shape
    bad = [x for x in nodes if x.ndim != len(first) or any(map(never_equal, x.shape, first))]
    if bad:
        raise ShapeError(f"stack: shapes differ: {', '.join(str(x.type) for x in nodes)}{at()}")
    place = axis_index("stack", axis, len(first) + 1)
    return join([insert_axes(x, (place,)) for x in nodes], place)


@checked
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Node, ...]:
    """Return the slices of `x` along `axis`, whose length must be known before a call.

    >>> [part.eval().item() for part in unstack([1, 2])]
    [1, 2]
    """
    node = as_node(x)
    place = axis_index("unstack", axis, node.ndim)
    length = node.shape[place]
    if not isinstance(length, int):
        raise ShapeError(f"unstack: axis {place} of {node.type} has a symbolic length; use gc.scan{at()}")
    return tuple(drop_axes(slice_axis(node, place, i, 1), (place,)) for i in range(length))


def tile(x: Any, repetitions: Any, /) -> Node:
    """Return `x` repeated as a whole, `repetitions[i]` times along axis i (trailing axes are aligned).

    >>> tile([1, 2], 2).eval()
    array([1, 2, 1, 2])
    """
    node = as_node(x)
    counts = make_shape(repetitions)
    node = insert_axes(node, tuple(range(builtins.max(0, len(counts) - node.ndim))))
    counts = (1,) * (node.ndim - len(counts)) + counts
    pairs = tuple(size for pair in zip(counts, node.shape, strict=True) for size in pair)
    return _merge_pairs(broadcast(node, pairs, tuple(range(1, 2 * node.ndim, 2))))


def _merge_pairs(x: Node) -> Node:
    """Reshape axes (a, b, c, d, ...) to (a*b, c*d, ...)."""
    return reshape_to(x, tuple(a * b for a, b in zip(x.shape[::2], x.shape[1::2], strict=True)))


@checked
def repeat(x: Any, repeats: Size, /, *, axis: int | None = None) -> Node:
    """Return `x` with each element repeated `repeats` times along `axis` (None: of the flattened elements).

    >>> repeat([1, 2], 2).eval()
    array([1, 1, 2, 2])
    """
    node = as_node(x)
    try:
        (count,) = make_shape(repeats)
    except (TypeError, ValueError):
        raise ArgumentError(f"repeat: repeats must be one int, got {repeats!r}; use gc.take for others{at()}") from None
    if axis is None:
        return repeat(reshape(node, -1), count, axis=0)
    place = axis_index("repeat", axis, node.ndim)
    wide = (*node.shape[: place + 1], count, *node.shape[place + 1 :])
    wide_node = broadcast(node, wide, tuple(a for a in range(node.ndim + 1) if a != place + 1))
    merged: Shape = (*node.shape[:place], node.shape[place] * count, *node.shape[place + 1 :])
    return reshape_to(wide_node, merged)
