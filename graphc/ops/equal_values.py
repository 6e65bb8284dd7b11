"""Derivatives of eigenvectors and singular vectors where values are equal, or singular values 0.

The derivative of vectors i and j divides by the difference of their values. What does not depend on the choice of
vectors, such as V f(w) V^T, has a derivative at equal values too: its cotangent's part between both vectors, which is
divided, vanishes with the difference, and the quotient has the limit that l'Hospital's rule gives. As the part vanishes
wherever both values are equal, whatever the others are, *one* derivative of all cotangents, as value i moves at the
speed `speeds[i]`, gives the limits of all pairs. For V f(w) V^T that is the theorem of Daleckii and Krein (1965): f'(w)
takes the place of the divided difference of f.

What is the same for every choice of vectors (products V h(w) V^T and what is made of them) stays fixed in that
derivative: it does not contribute, and without it the derivative is short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.graph.node import Node
from graphc.graph.op import Composite, Cotangents, apply
from graphc.graph.types import Array, Size, TensorType, is_float
from graphc.ops.control import Control, Project
from graphc.ops.creation import iota
from graphc.ops.elementwise import abs, equal, not_equal, where
from graphc.ops.elementwise_arithmetic import ADD, DIVIDE, MULTIPLY, NEGATIVE, SUBTRACT
from graphc.ops.linalg import MatMul
from graphc.ops.pointwise import (
    MASKED_MULTIPLY,
    Broadcast,
    Elementwise,
    broadcast_to_shape,
    cast,
    masked_multiply,
    size_node,
)
from graphc.ops.reduction import Reduction
from graphc.ops.shape import PermuteDims, Slice, Squeeze, Unslice, join

__all__: list[str] = []

INVARIANT, VALUE, VECTOR, SQUARE = "invariant", "value", "vector", "square"
Kind = tuple[str, int]
"""What a node is, and the axis along which it has one entry a value: the same function of each value (VALUE), linear in
the vectors (VECTOR), or in products of two of the same vector (SQUARE); INVARIANT is any function that all orders and
choices of vectors agree on, without such an axis."""


@dataclass(frozen=True)
class Packed:
    """Where a decomposition's result has its values: first along `axis`, from the end; vectors follow as rows."""

    axis: int

    def values_axis(self, ndim: int) -> int:
        """Return the axis along which the slice of the values has one entry each."""
        return ndim - 1 if self.axis == -2 else ndim - 2


def speeds(out: Node, layout: Packed) -> Node:
    """Return what the values move by: 1, 2, 3, ..., all different, in the shape of their slice."""
    axis = layout.values_axis(out.ndim)
    shape = list(out.shape)
    shape[layout.axis] = 1
    return cast(iota(tuple(shape), axis), out.dtype) + 1.0


def derivative(target: Node, out: Node, layout: Packed) -> Node | None:
    """Return the derivative of a node as the values in `out` move; None where it does not depend on them."""
    kinds: dict[Node, Kind | None] = {out: None}
    moving: dict[Node, Node] = {}
    parts: dict[Node, Sequence[Node | None]] = {}
    for node in _between(target, out):
        if not any(x in kinds for x in node.inputs):
            continue
        kinds[node] = _kind(node, out, layout, kinds)
        if kinds[node] == (INVARIANT, 0):
            continue
        if node.inputs == (out,) and (cut := _cut(node, layout)) is not None:
            if cut:
                moving[node] = speeds(out, layout)
            continue
        if out in node.inputs and out not in moving:
            moving[out] = _packed_speeds(out, layout)
        tangents = [moving.get(x) for x in node.inputs]
        if all(t is None for t in tangents):
            if isinstance(node.op, Project) and node.inputs[0] in parts:
                found = parts[node.inputs[0]][node.op.index]
                moving |= {} if found is None else {node: found}
        elif isinstance(node.op, Control):
            parts[node] = list(node.op.rules.jvp(node.op, tangents, node.inputs))
        elif is_float(node.dtype) and node.op.differentiable:
            tangent = node.op.jvp(tangents, node, *node.inputs)
            moving |= {} if tangent is None else {node: tangent}
    return moving.get(target)


def _between(target: Node, out: Node) -> list[Node]:
    """Return all that a node is computed from, operands first, without what `out` is computed from."""
    order: list[Node] = []
    seen = {out}
    stack = [(target, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((x, False) for x in node.inputs)
    return order


def _cut(node: Node, layout: Packed) -> bool | None:
    """Tell whether a slice of the packed result is the values (or vectors); None for anything else."""
    if not isinstance(node.op, Slice):
        return None
    start, size = node.op.starts[layout.axis], node.op.shape[layout.axis]
    if start == 0 and size == 1:
        return True
    return False if isinstance(start, int) and start > 0 else None


def _packed_speeds(out: Node, layout: Packed) -> Node:
    first = speeds(out, layout)
    rest = list(out.shape)
    rest[layout.axis] = rest[layout.axis] - 1
    return join(
        [first, broadcast_to_shape(cast(size_node(0, out.dtype), out.dtype), tuple(rest))], out.ndim + layout.axis
    )


# -- what depends on no choice


def _kind(node: Node, out: Node, layout: Packed, kinds: dict[Node, Kind | None]) -> Kind | None:
    """Return what a node is, None for what is not known to be anything."""
    if node.inputs == (out,):
        cut = _cut(node, layout)
        return None if cut is None else (VALUE, layout.values_axis(out.ndim)) if cut else (VECTOR, out.ndim - 2)
    found = [kinds[x] for x in node.inputs if x in kinds]
    if any(k is None for k in found):
        return None
    known = [k for k in found if k is not None]
    if all(k == (INVARIANT, 0) for k in known):
        return INVARIANT, 0
    if isinstance(node.op, MatMul):
        x, y = (kinds.get(x, (INVARIANT, 0)) for x in node.inputs)
        return _product(x, y, node.ndim)
    if isinstance(node.op, Elementwise):
        return _pointwise(node, kinds)
    return _moved(node, known[0]) if len(node.inputs) == 1 else None


def _moved(node: Node, kind: Kind) -> Kind | None:
    """Return what a view or a reduction makes of its operand."""
    name, axis = kind
    op = node.op
    if isinstance(op, PermuteDims):
        return name, op.axes.index(axis)
    if isinstance(op, Squeeze):
        return (name, axis - sum(a < axis for a in op.axes)) if axis not in op.axes else None
    if isinstance(op, Broadcast):
        return name, op.axes[axis]
    if isinstance(op, Reduction):
        if axis in op.axes:
            return (INVARIANT, 0) if name == VALUE or (name == SQUARE and op.name == "sum") else None
        return (name, axis - sum(a < axis for a in op.axes)) if op.name == "sum" and name != VALUE else None
    return None


def _product(x: Kind | None, y: Kind | None, ndim: int) -> Kind | None:
    """Return what a product of matrices is."""
    rows, columns = ndim - 2, ndim - 1
    if x is None or y is None:
        return None
    if x == (VECTOR, columns) and y == (VECTOR, rows):
        return INVARIANT, 0
    if x == (INVARIANT, 0) and y == (VECTOR, columns):
        return y
    if y == (INVARIANT, 0) and x == (VECTOR, rows):
        return x
    return None


def _pointwise(node: Node, kinds: dict[Node, Kind | None]) -> Kind | None:
    axes = {kinds[x][1] for x in node.inputs if kinds.get(x, (INVARIANT, 0))[0] != INVARIANT}  # type: ignore[index]
    if len(axes) != 1:
        return None
    (axis,) = axes
    names = []
    for x in node.inputs:
        name = kinds.get(x, (INVARIANT, 0))[0]  # type: ignore[index]
        if name == INVARIANT and not _is_uniform(x, axis):
            return None
        names.append(VALUE if name == INVARIANT else name)
    rank = [(VALUE, VECTOR, SQUARE).index(name) for name in names]
    if not any(rank):
        return VALUE, axis
    if node.op in (ADD, SUBTRACT, NEGATIVE) and len(set(rank)) == 1:
        return names[0], axis
    if node.op in (MULTIPLY, MASKED_MULTIPLY) and sum(rank) <= 2:
        return (VALUE, VECTOR, SQUARE)[sum(rank)], axis
    return (names[0], axis) if node.op is DIVIDE and rank[1] == 0 else None


def _is_uniform(x: Node, axis: int) -> bool:
    """Tell whether all entries of a node along an axis are known to be equal."""
    if x.ndim == 0 or x.shape[axis] == 1:
        return True
    return isinstance(x.op, Broadcast) and (axis not in x.op.axes or x.inputs[0].shape[x.op.axes.index(axis)] == 1)


def part(g: Node, axis: int, start: Size, size: Size) -> Node | None:
    """Return a slice of a cotangent along an axis, or None where it is known to be 0."""
    if g.op is ADD:
        left, right = (part(x, axis, start, size) for x in g.inputs)
        return right if left is None else left if right is None else left + right
    if isinstance(g.op, Unslice) and g.op.steps[axis] == 1:
        first, count = g.op.starts[axis], g.inputs[0].shape[axis]
        if first == start and count == size and g.op.shape[axis] != size:
            rest = tuple(i for i in range(g.ndim) if i != axis)
            if all(g.op.starts[i] == 0 and g.op.steps[i] == 1 and g.inputs[0].shape[i] == g.shape[i] for i in rest):
                return g.inputs[0]
        if (first == 0 and count == 1 and start == 1) or (
            start == 0 and size == 1 and isinstance(first, int) and first
        ):
            return None
    starts: list[Size] = [0] * g.ndim
    shape = list(g.shape)
    starts[axis], shape[axis] = start, size
    return apply(Slice(tuple(starts), tuple(shape), (1,) * g.ndim), g)


# -- quotients


@dataclass(frozen=True)
class Vanishing(Composite):
    """Zeros that stand for terms of at least `order` in the operand, near 0; their derivative of that order is NaN."""

    name = "vanishing"
    order: int

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        return np.full_like(arrays[0], 0.0 if self.order else np.nan)

    def expand(self, *inputs: Node) -> Node:
        return where(equal(inputs[0], inputs[0]) & bool(self.order), 0.0 * inputs[0], np.nan)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (masked_multiply(g, self._slope(inputs[0])),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        return None if t is None else masked_multiply(t, self._slope(inputs[0]))

    def _slope(self, x: Node) -> Node:
        return apply(Vanishing(max(self.order - 1, 0)), x)


@dataclass(frozen=True)
class Expansion:
    """What a numerator is near equal values: itself, a bound of its terms, and two derivatives as the values move.

    None stands for derivatives that are not known: the numerator comes from elsewhere, out of a loop for example.
    """

    value: Node
    bound: Node
    first: Node | None
    second: Node | None

    def map(self, function: Callable[[Node], Node], bound: Node) -> Expansion:
        """Apply a linear function."""
        first, second = (None if x is None else function(x) for x in (self.first, self.second))
        return Expansion(function(self.value), bound, first, second)

    def plus(self, other: Expansion, sign: int = 1) -> Expansion:
        """Add, or subtract with `sign` -1."""
        moved = (_sum_of(x, y, sign) for x, y in ((self.first, other.first), (self.second, other.second)))
        value = self.value + other.value if sign > 0 else self.value - other.value
        return Expansion(value, self.bound + other.bound, *moved)


def _sum_of(x: Node | None, y: Node | None, sign: int) -> Node | None:
    if y is None:
        return x
    signed = y if sign > 0 else -y
    return signed if x is None else x + signed


def _magnitude(x: Node, depth: int = 12) -> Node:
    """Return the sum of the magnitudes of the terms of a cotangent, which may cancel."""
    if depth and x.op in (ADD, SUBTRACT, NEGATIVE):
        first, *others = (_magnitude(y, depth - 1) for y in x.inputs)
        return first + others[0] if others else first
    if depth and isinstance(x.op, (PermuteDims, Squeeze, Slice, Unslice, Broadcast)):
        return apply(x.op, _magnitude(x.inputs[0], depth - 1))
    return abs(x)


def expansion(x: Node, out: Node, layout: Packed) -> Expansion:
    """Return what a cotangent is as the values in `out` move."""
    first = derivative(x, out, layout)
    return Expansion(x, _magnitude(x), first, None if first is None else derivative(first, out, layout))


def quotient(part: Expansion, difference: Node, speed: Node, largest: Node) -> Node:
    """Return part / difference, with its limit where the difference is 0, and NaN where that does not exist.

    `speed` is the derivative of the difference, `largest` the largest value. Near 0 the limit is taken where rounding
    of the quotient is larger than its distance from the limit. The first derivative of the result is right there, for
    which another quotient asks twice for derivatives as values move; what would need more is NaN.
    """
    eps = float(np.finfo(part.value.dtype).eps)
    none = equal(difference, 0.0)
    plain = part.value / where(none, 1.0, difference)
    unknown = part.value * np.nan  # no constant: tangents, which are derivatives of this one, are NaN too
    if part.first is None:
        return where(none & not_equal(part.bound, 0.0), unknown, plain)
    turning = where(equal(speed, 0.0), 1.0, speed)
    way = broadcast_to_shape(difference / turning, part.first.shape)
    slope = part.first if part.second is None else part.first - way * part.second * 0.5
    limit = (slope + apply(Vanishing(3), way)) / turning
    distance = abs(difference)
    near = (distance <= eps**0.5 * largest) & (abs(plain - limit) * distance <= 64 * eps * part.bound)
    missing = none & (abs(part.value) > eps**0.5 * part.bound)
    return where(none | near, where(missing, unknown, limit), plain)
