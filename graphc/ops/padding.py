"""`pad`: NumPy's function, from views and assemblies.

Zeros are the adjoint of a slice; other constants are chosen by index around them. The other modes join slices of the
array to itself, and take rows by index where the padding is wider than the axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.graph.arguments import checked, whole
from graphc.graph.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import apply, at_least, guarded
from graphc.graph.types import Dim, Size, size_max
from graphc.ops.creation import iota
from graphc.ops.elementwise_arithmetic import where
from graphc.ops.elementwise_logic import logical_and
from graphc.ops.indexing import take
from graphc.ops.pointwise import as_node, broadcast_to_shape, is_weak, promote
from graphc.ops.shape import Unslice, join, slice_axis

__all__ = ["pad"]

Pairs = tuple[tuple[Size, Size], ...]


@checked
def pad(x: Any, /, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Node:
    """Return `x` with `pad_width` elements added before and after each axis.

    `pad_width`: an int or dimension, a pair (before, after) for every axis, or one pair an axis. `mode`: `"constant"`
    (`constant_values`: a number, a 0-d node, or pairs like `pad_width`), `"edge"`, `"reflect"`, `"symmetric"` or
    `"wrap"`, as NumPy's. Where an axis has a symbolic size, the last three need a padding no wider than it.

    >>> pad([1, 2, 3], (2, 1), mode="reflect").eval()
    array([3, 2, 1, 2, 3, 2])
    """
    node = as_node(x)
    widths = _widths(node, pad_width)
    if mode == "constant":
        return _with_constants(node, widths, constant_values)
    if mode not in _SIDES:
        raise ArgumentError(
            f'pad: mode must be "constant" or one of {", ".join(map(repr, _SIDES))}, got {mode!r}{at()}'
        )
    for axis, (before, after) in enumerate(widths):
        if (before, after) != (0, 0):
            node = _extended(node, axis, before, after, mode)
    return node


def _widths(x: Node, pad_width: Any) -> Pairs:
    widths = tuple(tuple(map(_width, pair)) for pair in _pairs("pad_width", pad_width, x.ndim))
    return tuple((before, after) for before, after in widths)


def _width(value: Any) -> Size:
    if isinstance(value, Dim):
        return value
    size = whole("pad: pad_width", value)
    if size < 0:
        raise ShapeError(f"pad: pad_width {size} is negative; use a slice to crop{at()}")
    return size


def _pairs(what: str, value: Any, ndim: int) -> list[tuple[Any, Any]]:
    """Return one (before, after) for each axis, from what NumPy accepts: a value, [value], a pair, or pairs."""
    items: Any = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(items, (tuple, list)):
        return [(items, items)] * ndim
    rows = list(items)
    if not any(isinstance(r, (tuple, list)) for r in rows):
        rows = [rows] * max(ndim, 1) if len(rows) in (1, 2) else [None]
    rows = rows * ndim if len(rows) == 1 else rows
    if len(rows) != ndim or not all(isinstance(r, (tuple, list)) and len(r) in (1, 2) for r in rows):
        raise ArgumentError(
            f"pad: {what} must be a value, a pair, or a pair for each of {ndim} axes, got {value!r}{at()}"
        )
    return [(r[0], r[-1]) for r in rows]


# -- constants


def _with_constants(x: Node, widths: Pairs, values: Any) -> Node:
    fills = _pairs("constant_values", values, x.ndim)
    first = fills[0][0] if fills else 0
    if all(v is first for pair in fills for v in pair):
        return pad_with(x, widths, first)
    for axis, (width, (before, after)) in enumerate(zip(widths, fills, strict=True)):
        pieces = [_filled(x, axis, width[0], before), x, _filled(x, axis, width[1], after)]
        kept = [p for p in pieces if p.shape[axis] != 0] or [x]
        x = join(kept, axis)
    return x


def _filled(x: Node, axis: int, width: Size, value: Any) -> Node:
    """Return a block of one value, as wide as the padding of an axis."""
    shape = (*x.shape[:axis], width, *x.shape[axis + 1 :])
    return broadcast_to_shape(_fill_like(x, value), shape)


def _fill_like(x: Node, value: Any) -> Node:
    """Return a padding value as a 0-d node of the dtype of `x`."""
    fill = promote("pad", "any", [x, value])[1] if is_weak(value) else as_node(value, what="pad").astype(x.dtype)
    if fill.shape != ():
        raise ShapeError(f"pad: constant_values must be 0-d, got {fill.type}{at()}")
    if fill.dtype != x.dtype:
        raise DTypeError(f"pad: a constant of dtype {fill.dtype} does not fit {x.type}{at()}")
    return fill


def pad_with(x: Node, widths: Sequence[tuple[Size, Size]], value: Any) -> Node:
    """Pad every axis with one value."""
    if all(pair == (0, 0) for pair in widths):
        return x
    starts = tuple(before for before, _ in widths)
    shape = tuple(before + size + after for size, (before, after) in zip(x.shape, widths, strict=True))
    zeros = apply(Unslice(shape, starts, (1,) * x.ndim), x)
    if is_weak(value) and value == 0:
        return zeros
    inside: Node | None = None
    for axis, (size, (before, after)) in enumerate(zip(x.shape, widths, strict=True)):
        index = iota(shape, axis)
        tests = [index >= before] * bool(before != 0) + [index < before + size] * bool(after != 0)
        for test in tests:
            inside = test if inside is None else logical_and(inside, test)
    return zeros if inside is None else where(inside, zeros, broadcast_to_shape(_fill_like(x, value), shape))


# -- copies of the array itself

Piece = Callable[[Node, int, Size, bool], Node]


def _edge(x: Node, axis: int, width: Size, before: bool) -> Node:
    end = slice_axis(x, axis, 0 if before else x.shape[axis] - 1, 1)
    return broadcast_to_shape(end, (*x.shape[:axis], width, *x.shape[axis + 1 :]))


def _reflect(x: Node, axis: int, width: Size, before: bool) -> Node:
    return _flipped(x, axis, width if before else x.shape[axis] - 2, width)


def _symmetric(x: Node, axis: int, width: Size, before: bool) -> Node:
    return _flipped(x, axis, width - 1 if before else x.shape[axis] - 1, width)


def _wrap(x: Node, axis: int, width: Size, before: bool) -> Node:
    return slice_axis(x, axis, x.shape[axis] - width if before else 0, width)


def _flipped(x: Node, axis: int, start: Size, width: Size) -> Node:
    return slice_axis(x, axis, start, width, -1)


_SIDES: dict[str, tuple[Piece, int]] = {
    "edge": (_edge, 1),
    "reflect": (_reflect, 1),
    "symmetric": (_symmetric, 0),
    "wrap": (_wrap, 0),
}
"""How each mode makes one side, and how many elements more than its width the axis must have (`edge`: one in all)."""


def _extended(x: Node, axis: int, before: Size, after: Size, mode: str) -> Node:
    piece, more = _SIDES[mode]
    size = x.shape[axis]
    least = more if mode == "edge" else size_max(before, after) + more
    if isinstance(size, int) and isinstance(least, int) and size < least:
        return _by_index(x, axis, before, after, mode)
    pieces = [x]
    pieces = [piece(x, axis, before, True), *pieces] if before != 0 else pieces
    pieces = [*pieces, piece(x, axis, after, False)] if after != 0 else pieces
    return guarded(join(pieces, axis), at_least(f'pad with mode="{mode}"', (size, least)))


def _by_index(x: Node, axis: int, before: Size, after: Size, mode: str) -> Node:
    """Take the rows that NumPy's own `pad` puts there; sizes are known."""
    size = x.shape[axis]
    assert isinstance(size, int) and isinstance(before, int) and isinstance(after, int)
    if size == 0:
        raise ShapeError(f"pad: axis {axis} of {x.type} is empty: nothing to repeat{at()}")
    rows = np.pad(np.arange(size), (before, after), mode=mode)  # type: ignore[call-overload]
    return take(x, rows, axis=axis)
