"""Running sums and products along an axis, in both directions.

The derivative of a running product is right with any number of zeros, at every order, because it never divides:
it is a linear recurrence, which is an op of its own whose derivatives are linear recurrences again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node
from graphc.graph.op import Cotangents, Op, apply, constant
from graphc.graph.types import Array, DType, Size, TensorType, as_dtype
from graphc.ops.pointwise import as_node, broadcast_to_shape, cast, masked_multiply
from graphc.ops.shape import axis_index, join, slice_axis

__all__ = ["cumulative_prod", "cumulative_sum"]


def accumulator(x: Any, dtype: Any) -> Node:
    """Return an operand of a sum or product in the dtype it is summed in: `dtype`, or small integers widened."""
    node = as_node(x)
    return cast(node, _accumulator_dtype(node.dtype) if dtype is None else as_dtype(dtype))


def _accumulator_dtype(dtype: DType) -> DType:
    widest = {"b": "int64", "i": "int64", "u": "uint64"}
    return as_dtype(widest[dtype.kind]) if dtype.kind in widest else dtype


class Running(Op):
    """What runs along an axis with one accumulator, in either direction."""

    axis: int
    reverse: bool


@dataclass(frozen=True)
class Cumulative(Running):
    """The running sum (`cumulative_sum`) or product (`cumulative_prod`) along `axis`; from the end if `reverse`.

    `cumulative_max` is what a running `logsumexp` is shifted by; it has no derivative.
    """

    name: str = field(repr=False)
    axis: int
    reverse: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        run = {"cumulative_sum": np.add, "cumulative_prod": np.multiply, "cumulative_max": np.maximum}[self.name]
        wide = {"f": np.longdouble}.get(x.dtype.kind, x.dtype) if self.name == "cumulative_sum" else x.dtype
        with np.errstate(all="ignore"):
            ordered = np.flip(x, self.axis) if self.reverse else x
            out = run.accumulate(ordered, self.axis, dtype=wide).astype(x.dtype)
            return np.flip(out, self.axis) if self.reverse else out

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        if self.name == "cumulative_sum":
            return (apply(Cumulative(self.name, self.axis, not self.reverse), g),)
        assert self.name == "cumulative_prod", self.name
        factors = shift(inputs[0], self.axis, 0, not self.reverse)
        pulled = apply(LinearRecurrence(self.axis, not self.reverse), factors, g)
        return (masked_multiply(pulled, shift(out, self.axis, 1, self.reverse)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        if t is None:
            return None
        if self.name == "cumulative_sum":
            return apply(self, t)
        assert self.name == "cumulative_prod", self.name
        moved = masked_multiply(t, shift(out, self.axis, 1, self.reverse))
        return apply(LinearRecurrence(self.axis, self.reverse), inputs[0], moved)


@dataclass(frozen=True)
class LinearRecurrence(Running):
    """`out[i] = b[i] + a[i] * out[i-1]` along `axis` for operands `a`, `b`; `out[i+1]` if `reverse`.

    The first has no term before it, so its `a` is not read.
    """

    name = "linear_recurrence"
    axis: int
    reverse: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        a, b = (np.moveaxis(x, self.axis, 0) for x in arrays)
        out = np.array(b)
        order = range(len(out))
        steps = zip(order[::-1][1:], order[::-1], strict=False) if self.reverse else zip(order[1:], order, strict=False)
        with np.errstate(all="ignore"):
            for i, before in steps:
                out[i] += a[i] * out[before]
        return np.moveaxis(out, 0, self.axis)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        factors = shift(inputs[0], self.axis, 0, not self.reverse)
        pulled = apply(LinearRecurrence(self.axis, not self.reverse), factors, g)
        return masked_multiply(pulled, shift(out, self.axis, 0, self.reverse)), pulled

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        moved_a, moved = tangents
        if moved_a is not None:
            term = masked_multiply(moved_a, shift(out, self.axis, 0, self.reverse))
            moved = term if moved is None else moved + term
        return None if moved is None else apply(self, inputs[0], moved)


def shift(x: Node, axis: int, fill: float, reverse: bool, distance: int = 1) -> Node:
    """Return the element `distance` places before each (after, if `reverse`), and `fill` where there is none."""
    length = x.shape[axis]
    block = (*x.shape[:axis], distance, *x.shape[axis + 1 :])
    filled = broadcast_to_shape(constant(fill, x.dtype), block)
    start: Size = distance if reverse else 0
    return slice_axis(join([x, filled] if reverse else [filled, x], axis), axis, start, length)


@checked
def cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Node:
    """Return the running sum along `axis`, which may be left out for one axis only.

    `include_initial` puts a 0 in front. Bool and small integers are summed as int64 or uint64.

    >>> cumulative_sum([1, 2, 3]).eval()
    array([1, 3, 6])
    """
    return _cumulative("cumulative_sum", x, axis, dtype, 0 if include_initial else None)


@checked
def cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Node:
    """Return the running product along `axis`, which may be left out for one axis only.

    `include_initial` puts a 1 in front. The derivative is right with zeros, at every order.

    >>> cumulative_prod([1, 2, 3]).eval()
    array([1, 2, 6])
    """
    return _cumulative("cumulative_prod", x, axis, dtype, 1 if include_initial else None)


def _cumulative(name: str, x: Any, axis: int | None, dtype: Any, initial: int | None) -> Node:
    node = accumulator(x, dtype)
    if axis is None and node.ndim != 1:
        raise ArgumentError(f"{name}: axis is needed for {node.type}{at()}")
    place = axis_index(name, 0 if axis is None else axis, node.ndim)
    out = apply(Cumulative(name, place), node)
    if initial is None:
        return out
    first = (*node.shape[:place], 1, *node.shape[place + 1 :])
    return join([broadcast_to_shape(constant(initial, node.dtype), first), out], place)
