"""Ops that move elements without computing: views (index maps) and assemblies (copies into place).

A view says through `access` how the strides of its result follow from its operand's, so codegen gives it no
storage and no work; `Concat` and `Unslice` copy pieces into one array. Every op here is linear: its derivative
is another op of this file, or a slice of the cotangent. Sizes may be symbolic everywhere; the functions of the
Array API standard that users call are in `ops/manipulation.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.graph.arguments import entries, whole
from graphc.graph.errors import ShapeError, at
from graphc.graph.node import Guard, Node
from graphc.graph.op import Cotangents, Op, View, apply, constant
from graphc.graph.types import Array, DType, Shape, Size, TensorType, product, size_value
from graphc.ops.pointwise import broadcast, broadcast_to_shape

__all__: list[str] = []


def as_ints(sizes: Iterable[Size]) -> tuple[int, ...]:
    """Return sizes that `resolve` has made ints, as ints."""
    return tuple(size_value(s, {}) for s in sizes)


def contiguous_strides(shape: Shape) -> tuple[Size, ...]:
    """Return the row-major strides of `shape`, in elements."""
    strides: list[Size] = []
    step: Size = 1
    for size in reversed(shape):
        strides.append(step)
        step = size * step
    return tuple(reversed(strides))


def never_equal(left: Size, right: Size) -> bool:
    """Tell whether two sizes differ whatever the call."""
    return isinstance(left, int) and isinstance(right, int) and left != right


def axis_index(name: str, axis: Any, ndim: int) -> int:
    """Return `axis` counted from 0; `ShapeError` where it is outside, `ArgumentError` where it is no int."""
    position = whole(f"{name}: axis", axis)
    if not -ndim <= position < ndim:
        raise ShapeError(f"{name}: axis {position} is out of range for {ndim} axes{at()}")
    return position % ndim


def axis_tuple(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Return `axis` (an int, a sequence, or None for all) as sorted axes; `ShapeError` for a repeated one."""
    if axis is None:
        return tuple(range(ndim))
    axes = sorted(axis_index(name, a, ndim) for a in entries(axis))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{name}: an axis is repeated in {axis}{at()}")
    return tuple(axes)


def _linear(op: Op, tangents: Sequence[Node | None]) -> Node | None:
    (t,) = tangents
    return None if t is None else apply(op, t)


@dataclass(frozen=True)
class PermuteDims(View):
    """Axis i of the result is axis `axes[i]` of the operand."""

    name = "permute_dims"
    axes: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(types[0].dtype, tuple(types[0].shape[a] for a in self.axes))

    def evaluate(self, *arrays: Array) -> Array:
        return np.transpose(arrays[0], self.axes)

    def access(self, strides: Sequence[Size], shape: Shape) -> tuple[Size, tuple[Size, ...]]:
        return 0, tuple(strides[a] for a in self.axes)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (apply(PermuteDims(inverse_permutation(self.axes)), g),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return _linear(self, tangents)


def inverse_permutation(axes: Sequence[int]) -> tuple[int, ...]:
    """Return the order of axes that undoes `axes`."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def permute(x: Node, axes: Sequence[int]) -> Node:
    """Permute the axes of `x`, or return it where the order stays."""
    order = tuple(axes)
    return x if order == tuple(range(x.ndim)) else apply(PermuteDims(order), x)


@dataclass(frozen=True)
class Reshape(View):
    """The same elements in row-major order, in another shape."""

    name = "reshape"
    shape: Shape

    def sizes(self) -> Iterable[Size]:
        return self.shape

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return ((types[0].size, product(self.shape)),)

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(types[0].dtype, self.shape)

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0].reshape(as_ints(self.shape))

    def access(self, strides: Sequence[Size], shape: Shape) -> tuple[Size, tuple[Size, ...]] | None:
        found = _split_strides(strides, shape, self.shape)
        return None if found is None else (0, found)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (apply(Reshape(inputs[0].shape), g),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return _linear(self, tangents)


def _split_strides(strides: Sequence[Size], old: Shape, new: Shape) -> tuple[Size, ...] | None:
    """Return the strides of `new` over the same storage, or None where it is no strided view.

    Axes fall into groups of equal products; within a group the old axes must follow each other contiguously.
    Where the sizes are symbolic, equal means equal as polynomials.
    """
    if 0 in old or 0 in new:
        return contiguous_strides(new)
    sources = [(size, stride) for size, stride in zip(old, strides, strict=True) if size != 1]
    targets = [axis for axis, size in enumerate(new) if size != 1]
    out: list[Size] = [1] * len(new)
    while sources and targets:
        group = _leading_group([size for size, _ in sources], [new[a] for a in targets])
        stepped = sources[: group[0]]
        if any(outer != size * inner for (_, outer), (size, inner) in itertools.pairwise(stepped)):
            return None
        step = stepped[-1][1]
        for axis in reversed(targets[: group[1]]):
            out[axis] = step
            step = new[axis] * step
        sources, targets = sources[group[0] :], targets[group[1] :]
    return tuple(out)


def _leading_group(old: Sequence[Size], new: Sequence[Size]) -> tuple[int, int]:
    """Return how many leading axes of both sides have the first equal product (all, where none does)."""
    reached: dict[Size, int] = {}
    total: Size = 1
    for count, size in enumerate(old, 1):
        total = size * total
        reached.setdefault(total, count)
    total = 1
    for count, size in enumerate(new, 1):
        total = size * total
        if total in reached:
            one_side_ends = count == len(new) or reached[total] == len(old)
            return (len(old), len(new)) if one_side_ends else (reached[total], count)
    return len(old), len(new)


def reshape_to(x: Node, shape: Shape) -> Node:
    """Reshape `x` to known sizes, or return it where the shape stays."""
    return x if x.shape == shape else apply(Reshape(shape), x)


@dataclass(frozen=True)
class Squeeze(View):
    """Drop axes of size 1."""

    name = "squeeze"
    axes: tuple[int, ...]

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return ((types[0].shape[a], 1) for a in self.axes)

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(types[0].dtype, _without(types[0].shape, self.axes))

    def evaluate(self, *arrays: Array) -> Array:
        return np.squeeze(arrays[0], self.axes)

    def access(self, strides: Sequence[Size], shape: Shape) -> tuple[Size, tuple[Size, ...]]:
        return 0, _without(tuple(strides), self.axes)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        (x,) = inputs
        return (broadcast(g, x.shape, tuple(a for a in range(x.ndim) if a not in self.axes)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return _linear(self, tangents)


def _without(items: Shape, axes: Sequence[int]) -> Shape:
    return tuple(item for a, item in enumerate(items) if a not in axes)


def drop_axes(x: Node, axes: Sequence[int]) -> Node:
    """Squeeze `axes` (sorted, of size 1) of `x`, or return it where there are none."""
    return apply(Squeeze(tuple(axes)), x) if axes else x


def insert_axes(x: Node, axes: Sequence[int]) -> Node:
    """Give `x` axes of size 1 at the places `axes` of the result, or return it where there are none."""
    ndim = x.ndim + len(axes)
    kept = tuple(a for a in range(ndim) if a not in axes)
    shape: list[Size] = [1] * ndim
    for a, size in zip(kept, x.shape, strict=True):
        shape[a] = size
    return broadcast(x, tuple(shape), kept)


@dataclass(frozen=True)
class Slice(View):
    """Element i along an axis is element `start + i * step` of the operand, for `size` of them.

    All of them lie inside the operand: the functions that build slices clamp, refuse or guard.
    """

    name = "slice"
    starts: Shape
    shape: Shape
    steps: tuple[int, ...]

    def sizes(self) -> Iterable[Size]:
        return self.starts + self.shape

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(types[0].dtype, self.shape)

    def evaluate(self, *arrays: Array) -> Array:
        out: Array = arrays[0][_region(self.starts, self.shape, self.steps)]
        return out

    def access(self, strides: Sequence[Size], shape: Shape) -> tuple[Size, tuple[Size, ...]]:
        offset: Size = 0
        for start, stride in zip(self.starts, strides, strict=True):
            offset = start * stride + offset
        return offset, tuple(stride * step for stride, step in zip(strides, self.steps, strict=True))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (apply(Unslice(inputs[0].shape, self.starts, self.steps), g),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return _linear(self, tangents)


def _region(starts: Shape, sizes: Shape, steps: Sequence[int]) -> tuple[slice, ...]:
    """Return the Python slices of a region; an empty one is `0:0`, since its start may lie outside."""
    out: list[slice] = []
    for start, size, step in zip(as_ints(starts), as_ints(sizes), steps, strict=True):
        stop = start + size * step
        out.append(slice(start, None if stop < 0 else stop, step) if size else slice(0, 0))
    return tuple(out)


def slice_node(x: Node, starts: Shape, sizes: Shape, steps: tuple[int, ...], guards: tuple[Guard, ...] = ()) -> Node:
    """Slice `x`, or return it where the region is all of it; `guards` say what the region asks of sizes."""
    if sizes == x.shape and all(s == 0 for s in starts) and all(s == 1 for s in steps):
        return x
    node = apply(Slice(starts, sizes, steps), x)
    return Node(node.op, node.inputs, node.type, node.source, guards) if guards else node


def slice_axis(x: Node, axis: int, start: Size, size: Size, step: int = 1) -> Node:
    """Slice `x` along one axis."""
    starts: list[Size] = [0] * x.ndim
    sizes = list(x.shape)
    steps = [1] * x.ndim
    starts[axis], sizes[axis], steps[axis] = start, size, step
    return slice_node(x, tuple(starts), tuple(sizes), tuple(steps))


class Assembly(Op):
    """Pieces copied into one array."""


@dataclass(frozen=True)
class Concat(Assembly):
    """Operands one after the other along `axis`."""

    name = "concat"
    axis: int

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        first = types[0].shape
        return (
            (a, b)
            for t in types[1:]
            for axis, (a, b) in enumerate(zip(first, t.shape, strict=True))
            if axis != self.axis
        )

    def infer(self, *types: TensorType) -> TensorType:
        length: Size = 0
        for t in types:
            length = t.shape[self.axis] + length
        shape = types[0].shape
        return TensorType(types[0].dtype, (*shape[: self.axis], length, *shape[self.axis + 1 :]))

    def evaluate(self, *arrays: Array) -> Array:
        return np.concatenate(arrays, self.axis)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        pieces: list[Node] = []
        start: Size = 0
        for x in inputs:
            size = x.shape[self.axis]
            pieces.append(slice_axis(g, self.axis, start, size))
            start = size + start
        return tuple(pieces)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return apply(
            self, *(zeros(x.shape, x.dtype) if t is None else t for t, x in zip(tangents, inputs, strict=True))
        )


def zeros(shape: Shape, dtype: DType) -> Node:
    """Return zeros as a broadcast constant."""
    return broadcast_to_shape(constant(0, dtype), shape)


def join(nodes: Sequence[Node], axis: int) -> Node:
    """Concatenate nodes of one dtype and rank, or return the only one."""
    return nodes[0] if len(nodes) == 1 else apply(Concat(axis), *nodes)


@dataclass(frozen=True)
class Unslice(Assembly):
    """Zeros of `shape` with the operand at the places that `Slice(starts, ..., steps)` reads."""

    name = "unslice"
    shape: Shape
    starts: Shape
    steps: tuple[int, ...]

    def sizes(self) -> Iterable[Size]:
        return self.shape + self.starts

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(types[0].dtype, self.shape)

    def evaluate(self, *arrays: Array) -> Array:
        out = np.zeros(as_ints(self.shape), arrays[0].dtype)
        out[_region(self.starts, arrays[0].shape, self.steps)] = arrays[0]
        return out

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (slice_node(g, self.starts, inputs[0].shape, self.steps),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return _linear(self, tangents)
