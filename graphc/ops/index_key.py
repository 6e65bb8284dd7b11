"""NumPy's index keys, parsed once for reading and writing.

`parse_key` turns whatever stands between the brackets into a `Selection`: a strided region of x (from slices and
ints), index arrays for some axes of that region, and where the axes of the result come from. Sizes may be
symbolic; what an int index asks of them becomes a guard of the call.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.graph.errors import ArgumentError, DTypeError, IndexOutOfBoundsError, at, user_source
from graphc.graph.identity import Identity
from graphc.graph.node import Guard, Node
from graphc.graph.op import Constant
from graphc.graph.tree import refuse_endless
from graphc.graph.types import INT64, Array, Dim, Shape, Size, floor_div, size_max, size_min
from graphc.ops.pointwise import as_node, broadcast_shapes, broadcast_to_shape, cast


@dataclass(frozen=True)
class Selection:
    """A parsed key.

    `starts`, `sizes`, `steps`: the region, for every axis of x; `dropped`: the axes that ints removed from it;
    `axes`, `indices`: index arrays (of one shape) on the remaining axes, which are `known_as` in x; `order`: how the
    axes of the gathered value are permuted; `new_axes`: the places of size-1 axes in the result; `guards`: what a call
    must check.
    """

    starts: Shape
    sizes: Shape
    steps: tuple[int, ...]
    dropped: tuple[int, ...]
    axes: tuple[int, ...]
    known_as: tuple[int, ...]
    indices: tuple[Node, ...]
    order: tuple[int, ...]
    new_axes: tuple[int, ...]
    guards: tuple[Guard, ...]


@dataclass
class _Parts:
    """What the entries of a key add up to, axis by axis."""

    region: list[tuple[Size, Size, int]] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    arrays: list[tuple[int, Node]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)  # the entry at each position: int, slice, array, new, gap
    guards: list[Guard] = field(default_factory=list)


def parse_key(x: Node, key: Any) -> Selection:
    """Parse what stands between the brackets of `x[...]`."""
    parts = _Parts()
    for entry in _expanded(x, key if isinstance(key, tuple) else (key,)):
        _add_entry(parts, x, entry)
    starts, sizes, steps = (tuple(column) for column in zip(*parts.region, strict=True)) if parts.region else ((),) * 3
    kept = [a for a in range(x.ndim) if a not in parts.dropped]
    indices = _broadcast_indices([node for _, node in parts.arrays])
    order, new_axes = _layout(parts, indices[0].ndim if indices else 0)
    known_as = tuple(a for a, _ in parts.arrays)
    axes = tuple(kept.index(a) for a in known_as)
    dropped, guards = tuple(parts.dropped), tuple(parts.guards)
    return Selection(starts, sizes, steps, dropped, axes, known_as, indices, order, new_axes, guards)


@dataclass(frozen=True)
class _MaskAxis:
    """The indices along one axis of where a known mask is true, and the size of the mask along it."""

    indices: Array
    size: int


def known_mask(entry: Any) -> Array | None:
    """Return a mask whose values are known when the graph is built: an array or list of booleans, a literal."""
    if isinstance(entry, Node):
        entry = entry.op.value if isinstance(entry.op, Constant) else None
    refuse_endless("index", entry)
    first = entry
    while isinstance(first, list) and first:
        first = first[0]
    if isinstance(entry, list) and isinstance(first, (bool, np.bool_, np.ndarray)):
        try:
            entry = np.asarray(entry)
        except ValueError:
            return None
    return entry if isinstance(entry, np.ndarray) and entry.dtype.kind == "b" and entry.ndim else None


def _opened(entry: Any) -> Sequence[Any]:
    """Return what a key's entry stands for: a known mask for the places where it is true, one array an axis."""
    mask = known_mask(entry)
    return [entry] if mask is None else [_MaskAxis(*pair) for pair in zip(np.nonzero(mask), mask.shape, strict=True)]


def _expanded(x: Node, key: tuple[Any, ...]) -> list[Any]:
    """Return one entry an axis, and the Nones: Ellipsis becomes full slices, and stays where it covers no axis."""
    key = tuple(part for entry in key for part in _opened(entry))
    ellipses = [i for i, entry in enumerate(key) if entry is Ellipsis]
    if len(ellipses) > 1:
        raise ArgumentError(f"getitem: more than one Ellipsis (...) in an index{at()}")
    used = sum(entry is not None and entry is not Ellipsis for entry in key)
    if used > x.ndim:
        raise IndexOutOfBoundsError(f"getitem: {used} indices for {x.type}, which has {x.ndim} axes{at()}")
    place = ellipses[0] if ellipses else len(key)
    covered = [slice(None)] * (x.ndim - used) or [*key[place : place + 1]]
    return [*key[:place], *covered, *key[place + 1 :]]


def _add_entry(parts: _Parts, x: Node, entry: Any) -> None:
    axis = len(parts.region)
    if entry is None or entry is Ellipsis:
        parts.kinds.append("new" if entry is None else "gap")
        return
    size = x.shape[axis]
    if isinstance(entry, slice):
        parts.kinds.append("slice")
        parts.region.append(slice_bounds(entry, size))
        return
    if isinstance(entry, _MaskAxis):
        parts.guards.extend(_mask_guards(entry.size, size, axis))
        entry = entry.indices
    position = _as_int(entry)
    if position is None:
        parts.kinds.append("array")
        parts.region.append((0, size, 1))
        parts.arrays.append((axis, index_node("getitem", entry, x, axis)))
        return
    parts.kinds.append("int")
    parts.dropped.append(axis)
    start, guards = _int_bounds(position, axis, size)
    parts.region.append((start, 1, 1))
    parts.guards.extend(guards)


def _mask_guards(mask: int, size: Size, axis: int) -> list[Guard]:
    if isinstance(size, int) and size != mask:
        raise IndexOutOfBoundsError(f"getitem: a mask of size {mask} along axis {axis}, which has size {size}{at()}")
    return [] if size == mask else [(size, mask, f"a mask along axis {axis}", user_source())]


def _as_int(entry: Any) -> Size | None:
    """Return an int or dimension given as index, None for anything else but refuse bools and floats."""
    if isinstance(entry, Dim):
        return entry
    if isinstance(entry, (bool, np.bool_)):
        _refuse_mask(type(entry).__name__)
    if isinstance(entry, (int, np.integer)):
        return int(entry)
    if isinstance(entry, np.ndarray) and entry.ndim == 0 and entry.dtype.kind in "iu":
        return operator.index(entry.item())
    return None


def _refuse_mask(shown: str) -> None:
    raise ArgumentError(
        f"getitem: a boolean mask ({shown}) gives a shape that depends on data; use gc.where(mask, x, y) to choose"
        f" elements, x.at[mask].set(y) to change them, or integer indices of a known number (size=){at()}"
    )


def index_node(name: str, entry: Any, x: Node, axis: int) -> Node:
    """Return an array index as an int64 node; known ones are checked against a known size here."""
    refuse_endless(name, entry)
    if isinstance(entry, (list, tuple)) and np.size(np.asarray(entry, dtype=object)) == 0:
        entry = np.zeros(np.shape(entry), np.int64)
    if not isinstance(entry, (Node, Identity, list, tuple, np.ndarray, int, np.integer, float, np.floating)):
        raise ArgumentError(
            f"{name}: {type(entry).__name__} is no index; accepted: ints, slices, None, ..., integer arrays{at()}"
        )
    node = as_node(entry)
    if node.dtype.kind == "b":
        _refuse_mask(str(node.type))
    if node.dtype.kind not in "iu":
        raise DTypeError(f"{name}: an index must be of integers, got {node.type}{at()}")
    _check_known(name, node, axis, x.shape[axis])
    return cast(node, INT64)


def _check_known(name: str, index: Node, axis: int, size: Size) -> None:
    if isinstance(index.op, Constant) and isinstance(size, int):
        values = index.op.value
        bad = values[(values < -size) | (values >= size)]
        if bad.size:
            raise _out_of_bounds(name, int(bad.flat[0]), axis, size)


def _out_of_bounds(name: str, index: int, axis: int, size: int) -> IndexOutOfBoundsError:
    return IndexOutOfBoundsError(f"{name}: index {index} is out of bounds for axis {axis} with size {size}{at()}")


def _int_bounds(position: Size, axis: int, size: Size) -> tuple[Size, list[Guard]]:
    """Return an int index counted from 0, and what the call must check where the size is symbolic."""
    start = position + size if isinstance(position, int) and position < 0 else position
    if isinstance(position, int) and isinstance(start, int) and isinstance(size, int):
        if not 0 <= start < size:
            raise _out_of_bounds("getitem", position, axis, size)
        return start, []
    pairs = ((size_max(start, 0), start), (size_min(size, start + 1), start + 1))
    text = f"index {position} of axis {axis}"
    return start, [(left, right, text, user_source()) for left, right in pairs if left != right]


def slice_bounds(entry: slice, size: Size) -> tuple[Size, Size, int]:
    """Return (start, number of elements, step) of a slice of an axis, clamped as Python does.

    A dimension as a bound counts from the start of the axis.
    """
    step = 1 if entry.step is None else _bound("step", entry.step)
    if not isinstance(step, int) or step == 0:
        raise ArgumentError(f"getitem: the step of a slice must be an int other than 0, got {entry.step}{at()}")
    first, last = (None if b is None else _bound("bound", b) for b in (entry.start, entry.stop))
    if isinstance(size, int) and not isinstance(first, Dim) and not isinstance(last, Dim):
        places = range(*slice(first, last, step).indices(size))
        return (places.start if places else 0), len(places), step
    return (_ascending if step > 0 else _descending)(first, last, step, size)


def _bound(what: str, value: Any) -> Size:
    if isinstance(value, Dim):
        return value
    try:
        return operator.index(value)
    except Exception:
        hint = "; use gc.take(x, start + gc.arange(n), axis=...)" if isinstance(value, Node) else ""
        kind = "a node" if isinstance(value, Node) else repr(value)
        raise ArgumentError(
            f"getitem: the {what} of a slice must be an int or a dimension, got {kind}{hint}{at()}"
        ) from None


def _ascending(first: Size | None, last: Size | None, step: int, size: Size) -> tuple[Size, Size, int]:
    """Return the bounds of a symbolic slice with a positive step."""
    first = 0 if first is None else first
    if isinstance(first, int) and first < 0 and last is None:
        return size_max(size + first, 0), _ceil_div(size_min(-first, size), step), step
    start = size_max(size + first, 0) if isinstance(first, int) and first < 0 else size_max(first, 0)
    if last is None:
        return start, _ceil_div(size_max(size - start, 0), step), step
    if isinstance(last, int) and last < 0:
        return start, _ceil_div(size_max(size + last - start, 0), step), step
    if first == 0:
        return 0, _ceil_div(size_min(size_max(last, 0), size), step), step
    inside = size_min(size_max(last - start, 0), size_max(size - start, 0))
    return start, _ceil_div(inside, step), step


def _descending(first: Size | None, last: Size | None, step: int, size: Size) -> tuple[Size, Size, int]:
    """Return the bounds of a symbolic slice with a negative step."""
    if first is None:
        start = size - 1
    else:
        start = size + first if isinstance(first, int) and first < 0 else size_min(first, size - 1)
    if last is None:
        stop: Size = -1
    else:
        stop = size_max(size + last, -1) if isinstance(last, int) and last < 0 else last
    return start, _ceil_div(size_max(start - stop, 0), -step), step


def _ceil_div(size: Size, step: int) -> Size:
    return size if step == 1 else floor_div(size + (step - 1), step)


def _broadcast_indices(nodes: Sequence[Node]) -> tuple[Node, ...]:
    if len(nodes) < 2:
        return tuple(nodes)
    shape = broadcast_shapes("getitem", *(n.type for n in nodes))
    return tuple(broadcast_to_shape(n, shape) for n in nodes)


def _layout(parts: _Parts, batch: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return `order` and `new_axes`: NumPy puts the axes of index arrays at their place, or first if separated.

    Beside arrays ints count as arrays, and even an Ellipsis for no axis separates. The gathered value has its
    `batch` axes first.
    """
    kinds = parts.kinds
    advanced = [i for i, kind in enumerate(kinds) if kind in ("array", "int")] if parts.arrays else []
    together = bool(advanced) and advanced[-1] - advanced[0] == len(advanced) - 1
    before = kinds[: advanced[0]] if together else []
    after = kinds[len(before) :]
    shown = [k for k in before if k in ("slice", "new")] + ["batch"] * batch
    shown += [k for k in after if k in ("slice", "new")]
    new_axes = tuple(i for i, kind in enumerate(shown) if kind == "new")
    batches, slices = iter(range(batch)), iter(range(batch, batch + kinds.count("slice")))
    order = tuple(next(batches) if kind == "batch" else next(slices) for kind in shown if kind != "new")
    return order, new_axes
