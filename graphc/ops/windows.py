"""Sliding windows over the last axes: a view, its adjoint, and the largest element of each window.

`Windows` shows every window of an array without copying: windows that overlap are strides that overlap.
`Fold` is its adjoint: it adds windows back where they came from. `PickMax` takes from each window the element
where another array has its first maximum, and `PlaceMax`, its adjoint, puts an element back there. Each pair is
closed under differentiation; convolutions and pooling (`graphc.nn`) are built from them.

A window of `kernel[i]` elements, `dilations[i]` apart, begins at every `strides[i]`-th element of axis i of the
last `len(kernel)` axes; `counts[i]` of them lie inside the axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.graph.node import Guard, Node
from graphc.graph.op import Cotangents, View, apply, at_least, guarded
from graphc.graph.types import Array, Shape, Size, TensorType, floor_div
from graphc.ops.shape import Assembly, as_ints, insert_axes, slice_node

__all__: list[str] = []

Steps = tuple[int, ...]


def reach(kernel: Size, dilation: int) -> Size:
    """Return how many elements a window spans, gaps included."""
    return dilation * (kernel - 1) + 1


def window_count(size: Size, kernel: Size, stride: int, dilation: int) -> Size:
    """Return how many windows lie inside an axis that holds at least one."""
    return floor_div(size - reach(kernel, dilation), stride) + 1


@dataclass(frozen=True)
class Windows(View):
    """x[..., i * stride + k * dilation] at [..., i, k]: the last axes become window numbers, then window elements."""

    name = "windows"
    counts: Shape
    kernel: Shape
    strides: Steps
    dilations: Steps

    def sizes(self) -> Iterable[Size]:
        return self.counts + self.kernel

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        return TensorType(x.dtype, (*x.shape[: x.ndim - len(self.kernel)], *self.counts, *self.kernel))

    def evaluate(self, *arrays: Array) -> Array:
        return _view(arrays[0], self.counts, self.kernel, self.strides, self.dilations)

    def access(self, strides: Sequence[Size], shape: Shape) -> tuple[Size, tuple[Size, ...]]:
        lead = len(shape) - len(self.kernel)
        return 0, (*strides[:lead], *window_strides(strides[lead:], self.strides, self.dilations))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        (x,) = inputs
        return (apply(Fold(x.shape[x.ndim - len(self.kernel) :], self.strides, self.dilations), g),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        return None if t is None else apply(self, t)


def window_strides(strides: Sequence[Size], steps: Steps, dilations: Steps) -> tuple[Size, ...]:
    """Return the strides of window numbers and of window elements, for those of the axes they run over."""
    between = (stride * step for stride, step in zip(strides, steps, strict=True))
    return (*between, *(stride * step for stride, step in zip(strides, dilations, strict=True)))


def _view(x: Array, counts: Shape, kernel: Shape, strides: Steps, dilations: Steps) -> Array:
    """Return the windows of an array as a read-only NumPy view."""
    lead = x.ndim - len(kernel)
    shape = (*x.shape[:lead], *as_ints(counts), *as_ints(kernel))
    moved = as_ints(window_strides(x.strides[lead:], strides, dilations))
    return np.lib.stride_tricks.as_strided(x, shape, (*x.strides[:lead], *moved), writeable=False)


@dataclass(frozen=True)
class Fold(Assembly):
    """Windows added where `Windows` reads them, into zeros whose last axes have the sizes `spatial`."""

    name = "fold"
    spatial: Shape
    strides: Steps
    dilations: Steps

    def sizes(self) -> Iterable[Size]:
        return self.spatial

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        return TensorType(x.dtype, (*x.shape[: x.ndim - 2 * len(self.spatial)], *self.spatial))

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        d = len(self.spatial)
        out = np.zeros((*x.shape[: x.ndim - 2 * d], *as_ints(self.spatial)), x.dtype)
        with np.errstate(all="ignore"):
            for element in np.ndindex(*x.shape[x.ndim - d :]):
                place = _elements(element, x.shape[x.ndim - 2 * d : x.ndim - d], self.strides, self.dilations)
                out[place] += x[(..., *element)]
        return out

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        shape, d = inputs[0].shape, len(self.spatial)
        counts, kernel = shape[len(shape) - 2 * d : len(shape) - d], shape[len(shape) - d :]
        return (apply(Windows(counts, kernel, self.strides, self.dilations), g),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        return None if t is None else apply(self, t)


def _elements(element: Sequence[int], counts: Sequence[int], strides: Steps, dilations: Steps) -> tuple[Any, ...]:
    """Return the index that selects one element of every window."""
    rows = zip(element, counts, strides, dilations, strict=True)
    return (..., *(slice(k * d, k * d + n * s, s) if n else slice(0, 0) for k, n, s, d in rows))


@dataclass(frozen=True)
class PickMax(Assembly):
    """Of each window of the second operand, the element where the first has its first maximum.

    NaN is larger than all others, the last NaN first. With both operands equal it is max pooling. The choice has
    derivative 0. The first `before[i]` elements of an axis are padding, the lowest value there is: an element behind
    them that is no larger is chosen first.
    """

    name = "pick_max"
    counts: Shape
    kernel: Shape
    strides: Steps
    dilations: Steps
    before: Shape

    def sizes(self) -> Iterable[Size]:
        return self.counts + self.kernel + self.before

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return zip(types[0].shape, types[1].shape, strict=True)

    def infer(self, *types: TensorType) -> TensorType:
        shape = types[1].shape
        return TensorType(types[1].dtype, (*shape[: len(shape) - len(self.kernel)], *self.counts))

    def evaluate(self, *arrays: Array) -> Array:
        chosen, values = (_flat_windows(a, self) for a in arrays)
        place = np.maximum(np.argmax(chosen, axis=-1), _first_elements(self))
        missing = np.isnan(chosen) if chosen.dtype.kind == "f" else np.zeros(chosen.shape, bool)
        last = chosen.shape[-1] - 1 - np.argmax(missing[..., ::-1], axis=-1)
        place = np.where(np.any(missing, axis=-1), last, place)[..., None]
        return np.asarray(np.take_along_axis(values, place, axis=-1)[..., 0])

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return None, apply(PlaceMax(self.kernel, self.strides, self.dilations, self.before), inputs[0], g)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None if tangents[1] is None else apply(self, inputs[0], tangents[1])


def _flat_windows(x: Array, op: PickMax) -> Array:
    """Return the windows of an array with their elements along one last axis."""
    view = _view(x, op.counts, op.kernel, op.strides, op.dilations)
    return view.reshape(*view.shape[: view.ndim - len(op.kernel)], int(np.prod(as_ints(op.kernel))))


def _first_elements(op: PickMax) -> Array:
    """Return the place in each window of its first element that is not padding in front; all before it are padding."""
    counts, kernel = as_ints(op.counts), as_ints(op.kernel)
    out = np.zeros((1,) * len(kernel), "int64")
    for axis, before in enumerate(as_ints(op.before)):
        missing = before - np.arange(counts[axis]) * op.strides[axis]
        first = np.maximum(-(-missing // op.dilations[axis]), 0)
        shape = [counts[axis] if a == axis else 1 for a in range(len(kernel))]
        out = out * kernel[axis] + first.reshape(shape)
    return out


@dataclass(frozen=True)
class PlaceMax(Assembly):
    """Zeros like the first operand, with the second's elements added where the windows of the first are largest."""

    name = "place_max"
    kernel: Shape
    strides: Steps
    dilations: Steps
    before: Shape

    def sizes(self) -> Iterable[Size]:
        return self.kernel + self.before

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(types[1].dtype, types[0].shape)

    def evaluate(self, *arrays: Array) -> Array:
        x, g = arrays
        d = len(self.kernel)
        pick = PickMax(g.shape[g.ndim - d :], self.kernel, self.strides, self.dilations, self.before)
        places = pick.evaluate(x, np.arange(x.size).reshape(x.shape))
        out = np.zeros(x.size, g.dtype)
        np.add.at(out, places.ravel(), g.ravel())
        return out.reshape(x.shape)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        shape = inputs[1].shape
        counts = shape[len(shape) - len(self.kernel) :]
        return None, apply(PickMax(counts, self.kernel, self.strides, self.dilations, self.before), inputs[0], g)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None if tangents[1] is None else apply(self, inputs[0], tangents[1])


# -- building


def room_guards(name: str, spatial: Shape, kernel: Shape, dilations: Steps) -> tuple[Guard, ...]:
    """Return what a call must check: every window has an element and fits into its axis."""
    spans = (reach(k, d) for k, d in zip(kernel, dilations, strict=True))
    asked = itertools.chain(zip(spatial, spans, strict=True), ((k, 1) for k in kernel))
    return at_least(name, *asked)


def _window_op(
    name: str, x: Node, kernel: Shape, strides: Steps, dilations: Steps
) -> tuple[Windows, tuple[Guard, ...]]:
    spatial = x.shape[x.ndim - len(kernel) :]
    counts = tuple(map(window_count, spatial, kernel, strides, dilations))
    return Windows(counts, kernel, strides, dilations), room_guards(name, spatial, kernel, dilations)


def windows_of(name: str, x: Node, kernel: Shape, strides: Steps, dilations: Steps) -> Node:
    """Return all windows over the last axes of `x`: `(*lead, *counts, *kernel)`; a call of `name` guards the sizes.

    Sizes known now must fit: at least one element a window, at least one window an axis.
    """
    op, guards = _window_op(name, x, kernel, strides, dilations)
    if any(k != 1 for k in kernel):
        return guarded(apply(op, x), guards)
    lead = x.ndim - len(kernel)
    single = slice_node(x, (0,) * x.ndim, (*x.shape[:lead], *op.counts), (*(1,) * lead, *strides))
    return insert_axes(single, tuple(range(x.ndim, x.ndim + len(kernel))))


def max_of_windows(
    name: str, x: Node, kernel: Shape, strides: Steps, dilations: Steps, before: Shape | None = None
) -> Node:
    """Return the largest element of each window: `(*lead, *counts)`; see `windows_of`.

    The first `before[i]` elements of each of the last axes are padding, and so is no whole window.
    """
    op, guards = _window_op(name, x, kernel, strides, dilations)
    before = before or (0,) * len(kernel)
    spans = map(reach, kernel, dilations)
    guards += at_least(name, *((span, pad + 1) for span, pad in zip(spans, before, strict=True) if pad != 0))
    return guarded(apply(PickMax(op.counts, kernel, strides, dilations, before), x, x), guards)


def fold_onto(windows: Node, spatial: Shape, strides: Steps, dilations: Steps) -> Node:
    """Add windows `(*lead, *counts, *kernel)` into `(*lead, *spatial)`, in which they must lie."""
    return apply(Fold(spatial, strides, dilations), windows)
