"""One form for things that have several: operand order, chains of views, and where a broadcast stands.

Everything here is structure; algebra is in the rules. Constants stand to the right of what commutes, views of
views become one view, and broadcasts move towards the outputs: what is computed from broadcast operands is
computed once and then broadcast, a sum over a broadcast axis is a product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from graphc.graph.errors import blame
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Constant, Op, apply
from graphc.graph.types import DType, Shape, Size, product
from graphc.ops.pointwise import (
    Broadcast,
    Cast,
    Elementwise,
    Pointwise,
    broadcast,
    broadcast_to_shape,
    cast,
    masked_multiply,
    size_node,
)
from graphc.ops.reduction import Reduction
from graphc.ops.shape import Concat, PermuteDims, Reshape, Slice, Squeeze, drop_axes, permute, reshape_to, slice_node

Axes = tuple[int, ...]


def canonicalize(graph: Graph) -> Graph:
    """Order operands, merge chains of views, drop views that change nothing, compute before broadcasting.

    before: `%2 = add(%1, %0)` with `%1` a constant, `%3 = permute_dims[axes=(1,0)](%2)`,
    `%4 = permute_dims[axes=(1,0)](%3)`
    after: `%2 = add(%0, %1)`
    """
    return graph.map(_canonical)[0]


def _canonical(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    op = node.op
    if isinstance(op, Pointwise):
        return _pointwise(node, op, inputs)
    form = _FORMS.get(type(op))
    if form is None:
        return None
    with blame(node.source):
        return form(op, *inputs)


# -- pointwise ops


def _pointwise(node: Node, op: Pointwise, inputs: tuple[Node, ...]) -> Node | None:
    swapped = type(op) is Elementwise and op.commutative and _is_constant(inputs[0]) and not _is_constant(inputs[1])
    if swapped:
        inputs = inputs[::-1]
    out = None
    if inputs and all([type(x.op) is Broadcast for x in inputs]):
        with blame(node.source):
            out = _hoisted(op, inputs)
    elif type(op) is Cast:
        return _cast_of_cast(op, inputs[0])
    return Node(op, inputs, node.type, node.source, node.guards) if out is None and swapped else out


def _is_constant(node: Node) -> bool:
    while type(node.op) is Broadcast:
        node = node.inputs[0]
    return isinstance(node.op, Constant)


def _hoisted(op: Op, inputs: tuple[Node, ...]) -> Node | None:
    """Return `broadcast(op(x, y))` for `op(broadcast(x), broadcast(y))`; numbers broadcast to any shape."""
    sources = [x.inputs[0] for x in inputs]
    wide = [x for x in inputs if x.inputs[0].shape]
    if not wide:
        return broadcast(apply(op, *sources), inputs[0].shape, ())
    source, view = wide[0].inputs[0], wide[0].op
    assert isinstance(view, Broadcast)
    if any(x.op != view or x.inputs[0].shape != source.shape for x in wide):
        return None
    return broadcast(apply(op, *[broadcast_to_shape(x, source.shape) for x in sources]), view.shape, view.axes)


def _cast_of_cast(op: Cast, x: Node) -> Node | None:
    """Drop a cast whose operand was widened without loss."""
    if type(x.op) is not Cast:
        return None
    y = x.inputs[0]
    rounds = y.dtype.kind in "iu" and y.dtype.itemsize == 8 and x.dtype.kind == "f"  # NumPy calls it safe
    return None if rounds or not np.can_cast(y.dtype, x.dtype, "safe") else cast(y, op.dtype)


# -- views: None where the view already is in its form


def _broadcast(op: Broadcast, x: Node) -> Node | None:
    if type(x.op) is Broadcast:
        return _merged_broadcasts(op, x, x.op)
    if type(x.op) is Squeeze and op.shape == x.inputs[0].shape and op.axes == _others(x.inputs[0].ndim, x.op.axes):
        return x.inputs[0]
    return x if op.shape == x.shape and op.axes == tuple(range(x.ndim)) else None


def _merged_broadcasts(op: Broadcast, x: Node, view: Broadcast) -> Node:
    """Return a broadcast of a broadcast as one, without the axes that the inner one found to be 1: they stretch."""
    source = x.inputs[0]
    sizes = list(zip(source.shape, view.axes, strict=True))
    single = tuple(i for i, (size, a) in enumerate(sizes) if size != 1 and view.shape[a] == 1 != op.shape[op.axes[a]])
    axes = tuple(op.axes[a] for i, (_, a) in enumerate(sizes) if i not in single)
    return broadcast(drop_axes(source, single), op.shape, axes)


def _others(ndim: int, axes: Axes) -> Axes:
    return tuple(a for a in range(ndim) if a not in axes)


def _without(items: Shape, axes: Axes) -> Shape:
    return tuple(item for a, item in enumerate(items) if a not in axes)


def _squeeze(op: Squeeze, x: Node) -> Node | None:
    if type(x.op) is Squeeze:
        left = _others(x.inputs[0].ndim, x.op.axes)
        return drop_axes(x.inputs[0], tuple(sorted((*x.op.axes, *(left[a] for a in op.axes)))))
    if type(x.op) is Broadcast:
        return _without_axes(x, op.axes)
    return reshape_to(x.inputs[0], _without(x.shape, op.axes)) if type(x.op) is Reshape else None


def _without_axes(x: Node, axes: Axes) -> Node:
    """Return a broadcast node without axes of size 1, or without some that only repeat."""
    op, source = x.op, x.inputs[0]
    assert isinstance(op, Broadcast)
    dropped = tuple(i for i, a in enumerate(op.axes) if a in axes)
    moved = tuple(a - sum(b < a for b in axes) for a in op.axes if a not in axes)
    return broadcast(drop_axes(source, dropped), _without(op.shape, axes), moved)


def _without_ones(x: Node, axes: Axes) -> Node:
    return _without_axes(x, axes) if type(x.op) is Broadcast else drop_axes(x, axes)


def _permute(op: PermuteDims, x: Node) -> Node | None:
    if type(x.op) is PermuteDims:
        return permute(x.inputs[0], [x.op.axes[a] for a in op.axes])
    if type(x.op) is Broadcast:
        places = [op.axes.index(a) for a in x.op.axes]
        order = sorted(range(len(places)), key=places.__getitem__)
        return broadcast(permute(x.inputs[0], order), tuple(x.shape[a] for a in op.axes), tuple(sorted(places)))
    return x if op.axes == tuple(range(x.ndim)) else None


def _reshape(op: Reshape, x: Node) -> Node | None:
    """A reshape that only moves axes of size 1 becomes a squeeze and a broadcast: always a view."""
    chained = type(x.op) is Reshape or type(x.op) is Squeeze
    while type(x.op) is Reshape or type(x.op) is Squeeze:
        x = x.inputs[0]
    if op.shape == x.shape:
        return x
    kept = tuple(a for a, size in enumerate(op.shape) if size != 1)
    if tuple(s for s in x.shape if s != 1) != tuple(op.shape[a] for a in kept):
        return reshape_to(x, op.shape) if chained else None
    ones = tuple(a for a, size in enumerate(x.shape) if size == 1)
    return _merged(broadcast(_without_ones(x, ones), op.shape, kept))


def _merged(node: Node) -> Node:
    found = _broadcast(node.op, node.inputs[0]) if type(node.op) is Broadcast else None
    return node if found is None else found


def _slice(op: Slice, x: Node) -> Node | None:
    if type(x.op) is Slice:
        starts = tuple(a + b * s for a, b, s in zip(x.op.starts, op.starts, x.op.steps, strict=True))
        steps = tuple(a * b for a, b in zip(x.op.steps, op.steps, strict=True))
        return slice_node(x.inputs[0], starts, op.shape, steps)
    if type(x.op) is Broadcast:
        return _slice_of_broadcast(op, x, x.op)
    whole = op.shape == x.shape and all(s == 0 for s in op.starts) and all(s == 1 for s in op.steps)
    return x if whole else None


def _slice_of_broadcast(op: Slice, x: Node, view: Broadcast) -> Node:
    source = x.inputs[0]
    stretched = [s == 1 and x.shape[a] != 1 for s, a in zip(source.shape, view.axes, strict=True)]
    starts = tuple(0 if wide else op.starts[a] for wide, a in zip(stretched, view.axes, strict=True))
    sizes = tuple(1 if wide else op.shape[a] for wide, a in zip(stretched, view.axes, strict=True))
    steps = tuple(1 if wide else op.steps[a] for wide, a in zip(stretched, view.axes, strict=True))
    return broadcast(slice_node(source, starts, sizes, steps), op.shape, view.axes)


def _concat(op: Concat, *inputs: Node) -> Node | None:
    return inputs[0] if len(inputs) == 1 else None


# -- reductions


def _reduction(op: Reduction, x: Node) -> Node | None:
    """Reduce what repeats by counting it: axes of size 1, and axes that a broadcast made."""
    if op.name.startswith("arg") or (op.name == "prod" and type(x.op) is Broadcast):
        return None
    if all(x.shape[a] == 1 for a in op.axes):
        return _total(op.name, _without_ones(x, op.axes), 1)
    if type(x.op) is not Broadcast:
        return None
    own = {a for size, a in zip(x.inputs[0].shape, x.op.axes, strict=True) if size != 1}
    repeated = tuple(a for a in op.axes if a not in own)
    count = product(x.shape[a] for a in repeated)
    if not repeated or not _countable(op.name, count, x.dtype):
        return None
    narrow = _without_axes(x, repeated)
    rest = tuple(a - sum(b < a for b in repeated) for a in op.axes if a not in repeated)
    return _total(op.name, apply(replace(op, axes=rest), narrow) if rest else narrow, count)


def _countable(name: str, count: Size, dtype: DType) -> bool:
    """Tell whether reducing `count` equal elements is known: a product that is exact, or at least one element."""
    if not isinstance(count, int):
        return name == "sum"
    return count > 0 and (name != "sum" or dtype.kind != "f" or int(dtype.type(count)) == count)


def _total(name: str, x: Node, count: Size) -> Node:
    """Return the reduction of `count` equal elements; sums start from 0.0, so they never are -0.0."""
    if name != "sum" or (count == 1 and x.dtype.kind != "f"):
        return x
    if x.dtype.kind != "f":
        return x * size_node(count, x.dtype)
    if count != 1:
        n = size_node(count, x.dtype)
        x = x * n if isinstance(count, int) else masked_multiply(broadcast_to_shape(n, x.shape), x)
    return x + 0.0


_FORMS: dict[type[Op], Callable[..., Node | None]] = {
    Broadcast: _broadcast,
    Squeeze: _squeeze,
    PermuteDims: _permute,
    Reshape: _reshape,
    Slice: _slice,
    Concat: _concat,
    Reduction: _reduction,
}
