"""Reading and writing elements by position: `Gather`, `Scatter`, and NumPy's indexing on top of them.

A key is parsed once (`ops/index_key.py`) into a region (slices and ints: views) and index arrays for some of its
axes; `getitem` reads through it and `x.at[key]` writes through it, so both agree on every key. The gradient of
reading is a scatter, the gradient of writing is a gather: both stay sparse until something needs them dense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.graph.arguments import checked
from graphc.graph.arrays import fitted, weakly_typed
from graphc.graph.errors import ArgumentError, DTypeError, IndexOutOfBoundsError, ShapeError, at
from graphc.graph.node import Node, WeakNumber
from graphc.graph.op import Constant, Cotangents, Op, apply, constant, guarded
from graphc.graph.types import INT64, Array, Dim, Shape, Size, TensorType, as_dtype, make_shape, product
from graphc.ops.creation import iota
from graphc.ops.elementwise_arithmetic import add, divide, maximum, minimum, multiply, negative, subtract
from graphc.ops.elementwise_float import pow
from graphc.ops.elementwise_logic import equal
from graphc.ops.index_key import Selection, index_node, known_mask, parse_key
from graphc.ops.manipulation import broadcast_to, reshape
from graphc.ops.pointwise import (
    WHERE,
    as_node,
    broadcast,
    broadcast_shapes,
    broadcast_to_shape,
    cast,
    is_weak,
    pointwise,
)
from graphc.ops.shape import (
    Unslice,
    axis_index,
    drop_axes,
    insert_axes,
    inverse_permutation,
    never_equal,
    permute,
    reshape_to,
    slice_node,
    zeros,
)

__all__ = ["IndexUpdater", "getitem", "one_hot", "take", "take_along_axis"]


def _rest(ndim: int, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(a for a in range(ndim) if a not in axes)


def _is_empty(shape: Sequence[int], axes: Sequence[int]) -> bool:
    """Tell whether an axis that is not indexed is empty: no element is touched then, and no index is checked."""
    return 0 in (shape[a] for a in _rest(len(shape), axes))


def _checked(op: Gather | Scatter, indices: Sequence[Array], shape: Sequence[int]) -> tuple[Array, ...]:
    """Return the indices counted from 0; `IndexOutOfBoundsError` for the first one outside."""
    for index, axis, known_as in zip(indices, op.axes, op.known_as or op.axes, strict=True):
        size = shape[axis]
        bad = (index < -size) | (index >= size)
        if bad.any():
            first = int(index[bad].flat[0])
            if op.strict:
                given, known = first + size * (first < -size), f"from 0 to {size - 1}" if size else "the axis is empty"
                raise IndexOutOfBoundsError(f"index {given} is out of bounds: {known}")
            raise IndexOutOfBoundsError(f"index {first} is out of bounds for axis {known_as} with size {size}")
    return tuple(np.where(i < 0, i + shape[a], i) for i, a in zip(indices, op.axes, strict=True))


def _index_pairs(indices: Sequence[TensorType]) -> Iterable[tuple[Size, Size]]:
    return (pair for t in indices[1:] for pair in zip(indices[0].shape, t.shape, strict=True))


@dataclass(frozen=True)
class Gather(Op):
    """The elements of x at index arrays, one for each of `axes` (sorted); operands (x, *indices).

    The indices are int64 and of one shape B; negative ones count from the end. The result has shape B followed
    by the other axes of x. An index outside raises `IndexOutOfBoundsError` in the call.

    What that error says is no part of the op's identity. `strict`: negative indices are errors, from which
    `strict_index` took the size, so the message adds it again. `known_as`: the user's numbers of `axes`, where x is
    only a part of what the user indexes.
    """

    name = "gather"
    axes: tuple[int, ...]
    strict: bool = field(default=False, compare=False, repr=False)
    known_as: tuple[int, ...] = field(default=(), compare=False, repr=False)

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return _index_pairs(types[1:])

    def infer(self, *types: TensorType) -> TensorType:
        x, first = types[0], types[1]
        return TensorType(x.dtype, first.shape + tuple(x.shape[a] for a in _rest(x.ndim, self.axes)))

    def evaluate(self, *arrays: Array) -> Array:
        x, rest = arrays[0], _rest(arrays[0].ndim, self.axes)
        if _is_empty(x.shape, self.axes):
            return np.empty((*arrays[1].shape, *(x.shape[a] for a in rest)), x.dtype)
        return np.asarray(np.transpose(x, self.axes + rest)[_checked(self, arrays[1:], x.shape)])

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        x, *indices = inputs
        dense = apply(Scatter("add", self.axes, self.strict, self.known_as), zeros(x.shape, x.dtype), g, *indices)
        return dense, *(None for _ in indices)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None if tangents[0] is None else apply(self, tangents[0], *inputs[1:])


@dataclass(frozen=True)
class Scatter(Op):
    """A copy of x with updates added to (`mode="add"`) or put at (`"set"`) index arrays.

    Operands (x, updates, *indices), as `Gather` reads them: updates have shape B + other axes. Repeated indices
    add up; with `"set"` the last one (in row-major order of B) wins, and only it gets a cotangent. `strict` and
    `known_as` as in `Gather`.
    """

    name = "scatter"
    mode: str
    axes: tuple[int, ...]
    strict: bool = field(default=False, compare=False, repr=False)
    known_as: tuple[int, ...] = field(default=(), compare=False, repr=False)

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        x, updates, *indices = types
        yield from _index_pairs(indices)
        read = Gather(self.axes).infer(x, *indices)
        yield from zip(read.shape, updates.shape, strict=True)

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        x, updates, *indices = arrays
        out = x.copy()
        if _is_empty(x.shape, self.axes):
            return out
        places = _checked(self, indices, x.shape)
        target = np.transpose(out, self.axes + _rest(x.ndim, self.axes))
        if self.mode == "add":
            np.add.at(target, places, updates)
        else:
            target[places] = updates
        return out

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        x, updates, *indices = inputs
        picked = apply(Gather(self.axes, self.strict, self.known_as), g, *indices)
        if self.mode == "add":
            return g, picked, *(None for _ in indices)
        kept = apply(self, g, zeros(updates.shape, updates.dtype), *indices)
        return kept, _where_last(picked, x, self.axes, indices), *(None for _ in indices)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        moved = [zeros(x.shape, x.dtype) if t is None else t for t, x in zip(tangents[:2], inputs[:2], strict=True)]
        still = tangents[0] is None and tangents[1] is None
        return None if still else apply(self, *moved, *inputs[2:])


@dataclass(frozen=True)
class Offset(Op):
    """x plus a number, operands (x, number), where the number is mostly 0: then nothing is computed.

    Made by `accumulate_scatters` after differentiation: 0 times a factor, which is not 0 where that is not finite.
    """

    name = "offset"
    differentiable = False

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0] + arrays[1])


def _where_last(picked: Node, x: Node, axes: tuple[int, ...], indices: Sequence[Node]) -> Node:
    """Return `picked` with zeros where a later equal index overwrote the update."""
    shape = indices[0].shape
    if _surely_distinct(indices):
        return picked
    order = reshape_to(iota((product(shape),), 0), shape)
    base = zeros(tuple(x.shape[a] for a in axes), INT64)
    every = tuple(range(len(axes)))
    winner = apply(Gather(every), apply(Scatter("set", every), base, order, *indices), *indices)
    last = broadcast(equal(winner, order), picked.shape, tuple(range(len(shape))))
    return pointwise(WHERE, last, picked, constant(0, picked.dtype))


def _surely_distinct(indices: Sequence[Node]) -> bool:
    """Tell whether no two places can be equal: there is one, or the indices are known and not negative."""
    if product(indices[0].shape) == 1:
        return True
    known = [i.op.value.ravel() for i in indices if isinstance(i.op, Constant)]
    if len(known) < len(indices) or any((i < 0).any() for i in known):
        return False
    return len(set(zip(*(i.tolist() for i in known), strict=True))) == known[0].size


# -- NumPy's indexing


def getitem(x: Any, key: Any, /) -> Node:
    """Return `x[key]` as NumPy does: ints, slices, None, Ellipsis, integer arrays and int nodes.

    Raises `IndexOutOfBoundsError` (here, or in the call where sizes or indices are not known), `ShapeError`, and
    `ArgumentError` for boolean masks, whose result would have a shape that depends on data.

    >>> getitem([[1, 2], [3, 4]], (slice(None), -1)).eval()
    array([2, 4])
    """
    node = as_node(x)
    found = parse_key(node, key)
    out = _region(node, found)
    if found.indices:
        # Where the region is all of x, no slice checks what the key asks of sizes.
        out = guarded(apply(Gather(found.axes, known_as=found.known_as), out, *found.indices), found.guards)
    return insert_axes(permute(out, found.order), found.new_axes)


def _region(x: Node, found: Selection) -> Node:
    return drop_axes(slice_node(x, found.starts, found.sizes, found.steps, found.guards), found.dropped)


_NO_KEY = object()


@dataclass(frozen=True)
class IndexUpdater:
    """What `x.at` returns: `x.at[key].set(v)`, `x.at[key].add(v)` and their kin give a changed copy of `x`.

    Keys are those of `x[key]`; `v` broadcasts to the shape of `x[key]`. Where places repeat, `add` and `subtract` take
    all of them and `set` keeps the last one; the others need places that cannot repeat.

    A key may also be a boolean node, which matches the first axes of `x`: `v` then broadcasts to the axes after those.

    >>> import graphc as gc
    >>> gc.zeros(3).at[1:].set(5.0).eval()
    array([0., 5., 5.])
    >>> x = gc.placeholder("x", shape=("n",))
    >>> gc.function([x], x.at[x < 0].multiply(10.0))([1.0, -2.0])
    array([  1., -20.])
    """

    x: Node
    key: Any = _NO_KEY

    def __getitem__(self, key: Any) -> IndexUpdater:
        return IndexUpdater(self.x, key)

    def set(self, value: Any) -> Node:
        """Return `x` with `value` at the places of the key."""
        return _update("set", self.x, self._key("set"), value)

    def add(self, value: Any) -> Node:
        """Return `x` with `value` added at the places of the key."""
        return _update("add", self.x, self._key("add"), value)

    def subtract(self, value: Any) -> Node:
        """Return `x` with `value` subtracted at the places of the key."""
        return _update("subtract", self.x, self._key("subtract"), value)

    def multiply(self, value: Any) -> Node:
        """Return `x` multiplied by `value` at the places of the key."""
        return _update("multiply", self.x, self._key("multiply"), value)

    def divide(self, value: Any) -> Node:
        """Return `x` divided by `value` at the places of the key."""
        return _update("divide", self.x, self._key("divide"), value)

    def power(self, value: Any) -> Node:
        """Return `x` to the power of `value` at the places of the key."""
        return _update("power", self.x, self._key("power"), value)

    def min(self, value: Any) -> Node:
        """Return the lesser of `x` and `value` at the places of the key."""
        return _update("min", self.x, self._key("min"), value)

    def max(self, value: Any) -> Node:
        """Return the greater of `x` and `value` at the places of the key."""
        return _update("max", self.x, self._key("max"), value)

    def _key(self, mode: str) -> Any:
        if self.key is _NO_KEY:
            raise ArgumentError(f"at: x.at.{mode}(...) has no index; use x.at[index].{mode}(...){at()}")
        return self.key


CHANGES: dict[str, Callable[[Node, Any], Node]] = {
    "set": lambda x, v: v,
    "add": add,
    "subtract": subtract,
    "multiply": multiply,
    "divide": divide,
    "power": pow,
    "min": minimum,
    "max": maximum,
}
"""What each method of `IndexUpdater` makes of an element and the value."""


def _update(mode: str, x: Node, key: Any, value: Any) -> Node:
    mask = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if isinstance(mask, Node) and mask.dtype.kind == "b" and known_mask(mask) is None:
        return _masked(mode, x, mask, value)
    found = parse_key(x, key)
    if mode == "subtract":
        return _update("add", x, key, negative(cast(_as_value(mode, x, value), x.dtype)))
    if mode not in ("set", "add"):
        if found.indices and not _surely_distinct(found.indices):
            raise ArgumentError(
                f"at[...].{mode}: places that may repeat have no order; x.at[index].set(...) keeps the last one{at()}"
            )
        return _update("set", x, key, CHANGES[mode](getitem(x, key), value))
    region = _region(x, found)
    updates = _as_updates(mode, x, region, found, value)
    if not found.indices:
        return _put(mode, x, found, updates)
    scatter = Scatter(mode, found.axes, known_as=found.known_as)
    if region is x:
        return guarded(apply(scatter, x, updates, *found.indices), found.guards)
    base = region if mode == "set" else zeros(region.shape, region.dtype)
    return _put(mode, x, found, apply(scatter, base, updates, *found.indices))


def _as_updates(mode: str, x: Node, region: Node, found: Selection, value: Any) -> Node:
    """Return `value` in the dtype of `x` and the shape that a gather from the region gives."""
    updates = _as_value(mode, x, value)
    read = Gather(found.axes).infer(region.type, *(i.type for i in found.indices)) if found.indices else region.type
    shown: Shape = tuple(read.shape[a] for a in found.order)
    for axis in found.new_axes:
        shown = (*shown[:axis], 1, *shown[axis:])
    while updates.ndim > len(shown) and updates.shape[0] == 1:  # NumPy drops leading ones in assignments
        updates = drop_axes(updates, (0,))
    wide = broadcast_to(cast(updates, x.dtype), shown)
    return permute(drop_axes(wide, found.new_axes), inverse_permutation(found.order))


def _masked(mode: str, x: Node, mask: Node, value: Any) -> Node:
    """Return `x`, changed where a mask of its first axes is true."""
    first, rest = x.shape[: mask.ndim], x.shape[mask.ndim :]
    if mask.ndim > x.ndim or any(never_equal(m, n) for m, n in zip(mask.shape, first, strict=False)):
        raise IndexOutOfBoundsError(f"at[...].{mode}: a mask {mask.type} for {x.type}{at()}")
    updates = _as_value(mode, x, value) if mode == "set" else as_node(value, what=f"at[...].{mode}")
    while updates.ndim > len(rest) and updates.shape[0] == 1:
        updates = drop_axes(updates, (0,))
    if updates.ndim > len(rest):
        raise ShapeError(
            f"at[...].{mode}: how many places a mask has depends on data: a value that broadcasts to"
            f" {list(rest)} is needed, got {updates.type}; gc.where(mask, value, x) takes one of the shape of x{at()}"
        )
    wide = value if is_weak(value) and not isinstance(value, Dim) else broadcast_to(updates, rest)
    changed = updates if mode == "set" else _as_value(mode, x, CHANGES[mode](x, wide))
    inside = broadcast(mask, x.shape, tuple(range(mask.ndim)))
    return pointwise(WHERE, inside, broadcast_to(cast(changed, x.dtype), x.shape), x)


def _as_value(mode: str, x: Node, value: Any) -> Node:
    """Return an update that keeps its kind of number: ints go into floats, not the other way; known ones must fit."""
    what = f"at[...].{mode}"
    if weakly_typed(value) and not (isinstance(value, (list, tuple)) and any(isinstance(v, Node) for v in value)):
        return constant(fitted(what, value, x.dtype, str(x.type)))
    updates = as_node(value, what=what)
    weak = isinstance(value, (Dim, WeakNumber)) and x.dtype.kind in ("f" if updates.dtype.kind == "f" else "iuf")
    if not weak and not np.can_cast(updates.dtype, x.dtype, "same_kind"):
        raise DTypeError(
            f"{what}: {updates.type} does not go into {x.type}; convert with .astype({x.dtype.name!r}){at()}"
        )
    return updates if isinstance(value, (Node, Dim)) else constant(value, x.dtype, what=what)


def _put(mode: str, x: Node, found: Selection, region: Node) -> Node:
    """Return `x` with `region` set or added at the slices of the key."""
    if found.sizes == x.shape and all(s == 1 for s in found.steps) and not found.dropped:
        return region if mode == "set" else x + region
    spread = Unslice(x.shape, found.starts, found.steps)
    placed = apply(spread, insert_axes(region, found.dropped))
    placed = Node(placed.op, placed.inputs, placed.type, placed.source, found.guards)
    if mode == "add":
        return x + placed
    inside = apply(spread, broadcast_to_shape(constant(True), found.sizes))
    return pointwise(WHERE, inside, placed, x)


# -- the named functions


@checked
def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Node:
    """Return the entries of `x` at `indices` (ints of any shape) along `axis`; negative ones count from the end.

    Without `axis` the flattened elements are taken.

    >>> take([10, 20, 30], [2, 0]).eval()
    array([30, 10])
    """
    node = as_node(x)
    return take_for("take", reshape(node, -1) if axis is None else node, indices, 0 if axis is None else axis)


def take_for(title: str, node: Node, indices: Any, axis: int, *, strict: bool = False) -> Node:
    """Return what `take` does, for a function of another name; `strict` as in `Gather`."""
    place = axis_index(title, axis, node.ndim)
    index = index_node(title, indices, node, place)
    out = apply(Gather((place,), strict), node, index)
    rest = list(range(index.ndim, out.ndim))
    return permute(out, (*rest[:place], *range(index.ndim), *rest[place:]))


@checked
def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Node:
    """Return the elements of `x` at `indices` along `axis`, matched with `x` along all other axes.

    `indices` has as many axes as `x`; the other axes broadcast.

    >>> take_along_axis([[1, 2], [3, 4]], [[1], [0]], axis=1).eval()
    array([[2],
           [3]])
    """
    return take_along_for("take_along_axis", as_node(x), indices, axis)


def take_along_for(title: str, node: Node, indices: Any, axis: int, *, strict: bool = False) -> Node:
    """Return what `take_along_axis` does, for a function of another name; `strict` as in `take_for`."""
    place = axis_index(title, axis, node.ndim)
    index = index_node(title, indices, node, place)
    if index.ndim != node.ndim:
        raise ShapeError(f"{title}: {index.type} indexes {node.type}; equal numbers of axes needed{at()}")
    others = TensorType(INT64, tuple(1 if a == place else s for a, s in enumerate(node.shape)))
    shape = broadcast_shapes(title, index.type, others)
    node = broadcast_to_shape(node, tuple(node.shape[a] if a == place else s for a, s in enumerate(shape)))
    every = [broadcast_to_shape(index, shape) if a == place else iota(shape, a) for a in range(node.ndim)]
    return apply(Gather(tuple(range(node.ndim)), strict), node, *every)


def one_hot(indices: Any, num_classes: Any, /, *, dtype: Any = "float64") -> Node:
    """Return 1 at each index along a new last axis of `num_classes` entries, 0 elsewhere.

    An index outside gives zeros only.

    >>> one_hot([1, 0], 3).eval()
    array([[0., 1., 0.],
           [1., 0., 0.]])
    """
    index = as_node(indices)
    if index.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: indices must be integers, got {index.type}{at()}")
    if isinstance(num_classes, Node):
        raise ArgumentError(f"one_hot: num_classes must be an int or a dimension, got a node{at()}")
    shape = (*index.shape, *make_shape((num_classes,)))
    wide = broadcast(cast(index, INT64), shape, tuple(range(index.ndim)))
    return cast(equal(wide, iota(shape, index.ndim)), as_dtype(dtype))
