"""Sorting and what needs it: sort, argsort, searchsorted, top_k, median, quantile; and diff.

`Sort` and `ArgSort` run along the last axis; the functions permute axes around them. The sort is stable and puts NaN
last in either direction; -0.0 and 0.0 are equal, so they keep their order. The derivative of a sort is a gather by
its permutation, whose transpose is a scatter: both are ordinary nodes, so derivatives of every order exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.graph.arguments import MANY, checked, whole
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import Constant, Cotangents, Routine, apply
from graphc.graph.types import BOOL, FLOAT64, INT64, Array, Dim, Size, TensorType, is_float, size_max
from graphc.ops.creation import iota
from graphc.ops.elementwise import (
    ceil,
    equal,
    floor,
    isfinite,
    isnan,
    logical_and,
    minimum,
    not_equal,
    round,
    subtract,
    where,
)
from graphc.ops.indexing import Gather, Scatter, take, take_along_axis, take_for
from graphc.ops.pointwise import as_node, broadcast_to_shape, cast, promote, size_node
from graphc.ops.shape import axis_index, inverse_permutation, join, never_equal, permute, reshape_to, slice_axis, zeros

__all__ = ["argsort", "diff", "median", "quantile", "searchsorted", "sort", "top_k"]


def _order(x: Array, descending: bool) -> Array:
    """Return the stable permutation of the last axis; the key reverses the order and leaves NaN last."""
    key = x if not descending else -x if x.dtype.kind == "f" else ~x
    return np.asarray(np.argsort(key, axis=-1, kind="stable"), dtype=np.int64)


def _places(order: Node) -> list[Node]:
    """Return one index array an axis: `order` for the last one, the own position for the others."""
    return [*(iota(order.shape, a) for a in range(order.ndim - 1)), order]


@dataclass(frozen=True)
class Sort(Routine):
    """The elements in order along the last axis, NaN last."""

    name = "sort"
    descending: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        return np.take_along_axis(x, _order(x, self.descending), -1)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        order = apply(ArgSort(self.descending), inputs[0])
        every = tuple(range(g.ndim))
        return (apply(Scatter("add", every), zeros(g.shape, g.dtype), g, *_places(order)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        order = apply(ArgSort(self.descending), inputs[0])
        return None if t is None else apply(Gather(tuple(range(t.ndim))), t, *_places(order))


@dataclass(frozen=True)
class ArgSort(Routine):
    """The permutation that `Sort` applies, as int64."""

    name = "argsort"
    differentiable = False
    descending: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(INT64, types[0].shape)

    def evaluate(self, *arrays: Array) -> Array:
        return _order(arrays[0], self.descending)


@dataclass(frozen=True)
class SearchSorted(Routine):
    """The places at which values would go into a sorted 1-d array: before equal elements, or after them (`right`)."""

    name = "searchsorted"
    differentiable = False
    right: bool

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(INT64, types[1].shape)

    def evaluate(self, *arrays: Array) -> Array:
        ordered, values = arrays
        found = np.searchsorted(ordered, values, "right" if self.right else "left")
        return np.asarray(found, dtype=np.int64)


# -- functions


@checked
def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Node:
    """Return the elements of `x` in order along `axis`; the sort is always stable, and NaN comes last.

    >>> sort([3, 1, 2]).eval()
    array([1, 2, 3])
    """
    node, order = _sortable("sort", x, axis)
    return permute(apply(Sort(bool(descending)), node), inverse_permutation(order))


@checked
def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Node:
    """Return the int64 indices that put `x` in order along `axis`; always stable, NaN last.

    >>> argsort([3, 1, 2]).eval()
    array([1, 2, 0])
    """
    node, order = _sortable("argsort", x, axis)
    return permute(apply(ArgSort(bool(descending)), node), inverse_permutation(order))


def _sortable(name: str, x: Any, axis: int) -> tuple[Node, list[int]]:
    """Return `x` with `axis` last, and the order of axes that moved it there."""
    node = as_node(x, what=name)
    if not node.ndim:
        raise ShapeError(f"{name}: one axis or more needed, got {node.type}{at()}")
    place = axis_index(name, axis, node.ndim)
    order = [*(a for a in range(node.ndim) if a != place), place]
    return permute(node, order), order


@checked
def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Node:
    """Return the int64 places at which `x2` (any shape) would go into `x1` (1-d, in order) and keep it in order.

    `side="left"` is before equal elements, `"right"` after them; `sorter` are indices that put `x1` in order. NaN is
    after every number.

    >>> searchsorted([1, 2, 3], [0, 2, 9]).eval()
    array([0, 1, 3])
    """
    ordered, values = promote("searchsorted", "any", [x1, x2])
    if ordered.ndim != 1:
        raise ShapeError(f"searchsorted: a 1-d array in order needed, got {ordered.type}{at()}")
    if side not in ("left", "right"):
        raise ArgumentError(f'searchsorted: side must be "left" or "right", got {side!r}{at()}')
    ordered = ordered if sorter is None else take(ordered, sorter)
    if ordered.ndim != 1:
        raise ShapeError(f"searchsorted: sorter must be 1-d, and x1 in its order is {ordered.type}{at()}")
    return apply(SearchSorted(side == "right"), ordered, values)


@checked
def top_k(x: Any, k: Size, /, *, axis: int = -1) -> tuple[Node, Node]:
    """Return the `k` largest elements along `axis`, largest first, and their int64 indices.

    Of equal elements the first ones are taken; NaN comes last.

    >>> values, indices = top_k([1, 3, 2], 2)
    >>> values.eval(), indices.eval()
    (array([3, 2]), array([1, 2]))
    """
    node = as_node(x, what="top_k")
    order = argsort(node, axis=axis, descending=True)
    place = axis_index("top_k", axis, node.ndim)
    size = node.shape[place]
    if not isinstance(k, (int, Dim)) or isinstance(k, bool):
        raise ArgumentError(f"top_k: k must be an int or a dimension, got {k!r}{at()}")
    if isinstance(k, int) and not (k >= 0 and (not isinstance(size, int) or k <= size)):
        raise ShapeError(f"top_k: {k} elements of axis {place} of {node.type}{at()}")
    chosen = _leading(order, place, k)
    return take_along_axis(node, chosen, axis=place), chosen


def _leading(order: Node, axis: int, k: Size) -> Node:
    """Return the first `k` entries along an axis; where its size is symbolic the call checks that there are."""
    if isinstance(order.shape[axis], int):
        return slice_axis(order, axis, 0, k)
    return take_for("top_k", order, iota((k,), 0), axis)


@checked
def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Node:
    """Return the differences of neighbours along `axis`, `n` times; of bools, whether they differ.

    `prepend` and `append` are joined to `x` first; a 0-d one counts as one entry.

    >>> diff([1, 4, 9]).eval()
    array([3, 5])
    """
    node = as_node(x, what="diff")
    if not node.ndim:
        raise ShapeError(f"diff: one axis or more needed, got {node.type}{at()}")
    whole("diff: n", n, 0, MANY)
    place = axis_index("diff", axis, node.ndim)
    if n == 0:
        return node
    parts = promote("diff", "any", [p for p in (prepend, node, append) if p is not None])
    one = (*node.shape[:place], 1, *node.shape[place + 1 :])
    for part in parts:
        fits = part.ndim == node.ndim and not any(
            a != place and never_equal(*sizes) for a, sizes in enumerate(zip(part.shape, node.shape, strict=True))
        )
        if part.ndim and not fits:
            raise ShapeError(f"diff: {part.type} cannot be joined to {node.type} along axis {place}{at()}")
    joined = join([p if p.ndim else broadcast_to_shape(p, one) for p in parts], place)
    step = not_equal if joined.dtype == BOOL else subtract
    for _ in range(n):
        count = joined.shape[place]
        rest = size_max(count - 1, 0)
        joined = step(slice_axis(joined, place, count - rest, rest), slice_axis(joined, place, 0, rest))
    return joined


@checked
def median(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Node:
    """Return the middle element, or the mean of the two in the middle, along `axis` (None: of all elements).

    NaN where there is any. An empty axis raises `IndexOutOfBoundsError` in the call.

    >>> median([3.0, 1.0, 2.0]).eval()
    array(2.)
    """
    return _quantile("median", x, 0.5, axis, "linear", keepdims)


_METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


@checked
def quantile(x: Any, q: Any, /, *, axis: int | None = None, method: str = "linear", keepdims: bool = False) -> Node:
    """Return the `q`-quantiles along `axis` (None: of all elements); the axes of `q` come first, as in NumPy.

    The quantile lies at position q * (n - 1) of the sorted elements; `method` says what to take between two of them:
    `linear`, `lower`, `higher`, `nearest` (even) or `midpoint`. NaN where there is any NaN. A `q` that is not between
    0 and 1 is an `ArgumentError` where it is known; in a call it gives NaN, and for integers, which have none,
    `IndexOutOfBoundsError`.

    >>> quantile([1.0, 2.0, 4.0], 0.75).eval()
    array(3.)
    """
    return _quantile("quantile", x, q, axis, method, keepdims)


def _quantile(title: str, x: Any, q: Any, axis: int | None, method: str, keepdims: bool) -> Node:
    if method not in _METHODS:
        raise ArgumentError(f"quantile: method {method!r} is unknown; accepted: {', '.join(_METHODS)}{at()}")
    if method in ("linear", "midpoint"):
        node, level = promote(title, "float", [x, q])
    else:
        node, level = as_node(x, what=title), as_node(q, what="quantile")
    if isinstance(level.op, Constant) and not np.all((level.op.value >= 0) & (level.op.value <= 1)):
        raise ArgumentError(f"quantile: q must lie between 0 and 1, got {q!r}{at()}")
    flat = reshape_to(node, (node.size,)) if axis is None else node
    ordered, order = _sortable(title, flat, 0 if axis is None else axis)
    out = _between(title, apply(Sort(), ordered), level, method)
    if not keepdims:
        return out
    kept = tuple(1 if axis is None or a == order[-1] else s for a, s in enumerate(node.shape))
    return reshape_to(out, (*level.shape, *kept))


def _between(title: str, ordered: Node, q: Node, method: str) -> Node:
    """Return the elements at positions q * (n - 1) of the sorted last axis; the axes of `q` come first."""
    last = size_node(ordered.shape[-1] - 1, FLOAT64)
    level = cast(q, FLOAT64)
    inside = logical_and(level >= 0, level <= 1)
    missing = 0.0 if is_float(ordered.dtype) else last + 1  # integers have no NaN: a position past the end
    position = where(inside, level * last, missing)
    low = {"higher": ceil, "nearest": round}.get(method, floor)(position)
    found = _at(title, ordered, low)
    if method in ("linear", "midpoint"):
        upper = _at(title, ordered, minimum(low + 1, last))
        weight = position - low if method == "linear" else where(position > low, 0.5, 0.0)
        found = _mixed(found, upper, cast(weight, ordered.dtype))
    if is_float(ordered.dtype):
        greatest = _at(title, ordered, broadcast_to_shape(last, low.shape))
        found = where(isnan(greatest), greatest, where(inside, found, np.nan))
    out, batch = found, ordered.ndim - 1
    return permute(out, (*range(batch, out.ndim), *range(batch)))


def _mixed(low: Node, high: Node, weight: Node) -> Node:
    """Return low + weight * (high - low), exact at both ends, also where the difference overflows or is inf - inf."""
    step = high - low
    near = where(weight < 0.5, low + step * weight, high - step * (1 - weight))
    far = where(equal(weight, 0), low, low * (1 - weight) + high * weight)
    return where(isfinite(step), near, far)


def _at(title: str, ordered: Node, position: Node) -> Node:
    """Return the entries of the last axis at whole float positions, whose axes come last."""
    return take_for(title, ordered, cast(position, INT64), -1, strict=True)
