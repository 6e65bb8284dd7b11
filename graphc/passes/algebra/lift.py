"""Formulas move below what only moves elements, where a rule then sees its pattern.

`log(softmax(x)[i])` becomes `log(softmax(x))[i]`. The engine in `rewrite.py` asks here once no rule matches at a
node. A *formula* is what stands between the node and one single node that moves or chooses elements (a gather, a
transpose, `concat`, `where`, padding), with nothing beside it but literals and what has the same pieces. Moved below,
it is computed for every piece, so it moves only where a rule for accuracy takes up a piece: `log` of a plain table is
never moved before the gather.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from graphc.graph.graph import NodeMap, rebuild
from graphc.graph.lazy import lazy_property
from graphc.graph.node import Node
from graphc.graph.op import Op, apply, constant
from graphc.graph.types import Size, TensorType, is_float
from graphc.ops.control import Project
from graphc.ops.pointwise import WHERE, Broadcast, Elementwise, broadcast, broadcast_to_shape
from graphc.ops.reduction import Reduction
from graphc.ops.shape import (
    Concat,
    PermuteDims,
    Reshape,
    Slice,
    Squeeze,
    Unslice,
    drop_axes,
    insert_axes,
    inverse_permutation,
    permute,
    reshape_to,
    slice_axis,
    slice_node,
)
from graphc.passes.algebra.pattern import FAR, MOVERS, literal, moved, moves_only

PIECES: frozenset[type[Op]] = frozenset((Concat, Unslice))
"""The ops that put pieces together, besides `where`."""
WIDE = 4 * FAR
"""The nodes that are looked at for what a rule may take up, before a formula is moved."""


@dataclass(frozen=True)
class Formula:
    """The elementwise ops between `root` and `source`; `others` are further operands, that are no literals."""

    root: Node
    source: Node
    others: tuple[Node, ...]

    def of(self, operands: Sequence[Node]) -> Node:
        """Return the formula of other values than `source` and `others`, of any shape and float type."""
        piece = operands[0]
        built: dict[Node, Node] = dict(zip((self.source, *self.others), operands, strict=True))

        def build(node: Node) -> Node:  # as deep as `formula_at` went
            if node not in built:
                value = literal(node)
                if value is None:
                    inputs = [build(x) for x in node.inputs]
                    type_ = node.op.infer(*(x.type for x in inputs))
                    assert isinstance(type_, TensorType)
                    built[node] = Node(node.op, tuple(inputs), type_, node.source)
                else:
                    dtype = piece.dtype if node.dtype == self.source.dtype else node.dtype
                    built[node] = broadcast_to_shape(constant(value, dtype), piece.shape)
            return built[node]

        return build(self.root)

    @property
    def pieces(self) -> tuple[Node, ...]:
        """What `source` takes its elements from."""
        return _pieces(self.source)

    @lazy_property
    def operands(self) -> list[list[Node]] | None:
        """The operands for each piece; None where another operand has no such parts."""
        columns = [self._parts(x) for x in self.others]
        if any(c is None for c in columns):
            return None
        return [list(row) for row in zip(self.pieces, *(c for c in columns if c is not None), strict=True)]

    def _parts(self, x: Node) -> Sequence[Node] | None:
        """Return what belongs to each piece of what `x` is, which may be moved as `source` is."""
        source = self.source
        joined, own = as_concat(source), as_concat(x)
        if joined is None:
            if _moves_alike(x, source):
                return _pieces(x)
            back = (x, x) if source.op is WHERE else (_moved_back(x, source),)
            return None if None in back else [part for part in back if part is not None]
        axis, pieces = joined
        if own is not None and own[0] == axis and [p.shape for p in own[1]] == [p.shape for p in pieces]:
            return own[1]
        start: Size = 0
        found = []
        for piece in pieces:
            found.append(slice_axis(x, axis, start, piece.shape[axis]))
            start = piece.shape[axis] + start
        return found

    def spread(self, settle: Callable[[Node], Node]) -> Node:
        """Return the formula of every piece, settled, put together as `source` puts the pieces together."""
        source, operands = self.source, self.operands
        assert operands is not None
        done = [settle(self.of(row)) for row in operands]
        if source.op is WHERE:
            return apply(WHERE, source.inputs[0], *done)
        joined = as_concat(source)
        if joined is not None:
            return apply(Concat(joined[0]), *done)
        if isinstance(source.op, Unslice):
            inside = apply(source.op, broadcast_to_shape(constant(True), self.pieces[0].shape))
            zero = broadcast_to_shape(constant(0, source.dtype), source.shape)
            return apply(WHERE, inside, apply(source.op, *done), self.of([zero] * len(operands[0])))
        return moved(source, done[0])


def _pieces(source: Node) -> tuple[Node, ...]:
    op, inputs = source.op, source.inputs
    if op is WHERE:
        return inputs[1:]
    joined = as_concat(source)
    return inputs[:1] if joined is None else joined[1]


def as_concat(node: Node) -> tuple[int, tuple[Node, ...]] | None:
    """Return the axis and the pieces of which a node is the concatenation, seen through a few ops; None for others."""
    if type(node.op) is Concat:
        return node.op.axis, node.inputs
    if not isinstance(node.op, (Broadcast, PermuteDims, Reduction)):
        return None
    inner = as_concat(node.inputs[0])
    if inner is None:
        return None
    op, (axis, pieces) = node.op, inner
    if isinstance(op, PermuteDims):
        return op.axes.index(axis), tuple([apply(op, x) for x in pieces])
    if isinstance(op, Broadcast):
        place = op.axes[axis]
        if op.shape[place] != node.inputs[0].shape[axis]:
            return None
        shapes = [(*op.shape[:place], x.shape[axis], *op.shape[place + 1 :]) for x in pieces]
        return place, tuple([broadcast(x, shape, op.axes) for x, shape in zip(pieces, shapes, strict=True)])
    if axis in op.axes:
        return None
    return axis - sum(a < axis for a in op.axes), tuple([apply(op, x) for x in pieces])


def _moves_alike(x: Node, source: Node) -> bool:
    """Tell whether two nodes take each element from the same place of operands of equal shapes."""
    if x.op != source.op or len(x.inputs) != len(source.inputs):
        return False
    places = zip(x.inputs, source.inputs, strict=True)
    own = {id(p) for p in _pieces(x)}
    return all(a.shape == b.shape if id(a) in own else a is b for a, b in places)


def _moved_back(x: Node, source: Node) -> Node | None:
    """Return what a view that keeps every element would make `x` of, or None for other ops."""
    op, shape = source.op, source.inputs[0].shape
    if isinstance(op, Reshape):
        return reshape_to(x, shape)
    if isinstance(op, PermuteDims):
        return permute(x, inverse_permutation(op.axes))
    if isinstance(op, Squeeze):
        return insert_axes(x, op.axes)
    if isinstance(op, Broadcast):
        new = tuple(a for a in range(len(op.shape)) if a not in op.axes)
        kept = all(op.shape[a] == size for a, size in zip(op.axes, shape, strict=True))
        return _dropped(x, new) if kept and all(op.shape[a] == 1 for a in new) else None
    return None


def _dropped(x: Node, axes: tuple[int, ...]) -> Node:
    """Return `x` without axes of size 1, which a slice or gather of the other axes need not know."""
    if isinstance(x.op, Slice) and all(x.inputs[0].shape[a] == 1 for a in axes):
        kept = [a for a in range(x.ndim) if a not in axes]
        starts, sizes = tuple(x.op.starts[a] for a in kept), tuple(x.op.shape[a] for a in kept)
        return slice_node(drop_axes(x.inputs[0], axes), starts, sizes, tuple(x.op.steps[a] for a in kept))
    return drop_axes(x, axes)


def formula_at(root: Node, names: Collection[str]) -> Formula | None:
    """Return the formula that ends at `root`, of a node below that moves elements; None where none is promising.

    `names` are the ops that rules mention below an op like `root`.
    """
    leaves: list[Node] = []
    stack, seen = [root], {root}
    while stack:
        for x in stack.pop().inputs:
            if x in seen:
                continue
            seen.add(x)
            if type(x.op) is Elementwise and x.op is not WHERE and len(seen) <= FAR:
                stack.append(x)
            elif literal(x) is None:
                leaves.append(x)
    for source in leaves:
        if is_source(source) and _is_promising(source, names):
            return Formula(root, source, tuple(x for x in leaves if x is not source))
    return None


def is_source(node: Node) -> bool:
    """Tell whether a float node only moves or chooses elements, and is no literal."""
    if not is_float(node.dtype):
        return False
    op = node.op
    if type(op) in MOVERS:
        return literal(node) is None and is_float(node.inputs[0].dtype)
    return op is WHERE or type(op) in PIECES or as_concat(node) is not None


def _is_promising(source: Node, names: Collection[str]) -> bool:
    """Tell by the names of ops in the pieces whether a rule may take up one of them.

    Where there is one piece, patterns of elementwise ops alone have been seen through what moves it.
    """
    seen_through = type(source.op) in MOVERS and as_concat(source) is None and moves_only(source)
    for piece in _pieces(source):
        order, seen = [(piece, seen_through)], {piece}
        for node, alone in order:
            op = node.op
            joins = op is WHERE or type(op) in PIECES
            mover, elementwise = type(op) in MOVERS, isinstance(op, Elementwise)
            if op.name in names and not (alone and elementwise):
                return True
            if (mover or elementwise or joins) and len(order) < WIDE:
                read = node.inputs[:1] if mover else node.inputs[1:] if op is WHERE else node.inputs
                below = [x for x in read if x not in seen]
                seen.update(below)
                order.extend((x, alone and not joins and (elementwise or moves_only(node))) for x in below)
    return False


# -- out of loops


def results_below(root: Node) -> tuple[list[Node], list[Node]]:
    """Return a few nodes below `root`, operands last, and the results of loops and branches that they read."""
    order, results, seen = [root], [], {root}
    for node in order:
        for x in node.inputs:
            if x not in seen:
                seen.add(x)
                if isinstance(x.op, Project):
                    results.append(x)
                elif x.inputs and len(order) < FAR:
                    order.append(x)
    return order, results


def on_other_results(order: Sequence[Node], results: NodeMap) -> Node:
    """Return the first node of `order` with results of loops replaced by values of the same type."""
    new, inside = dict(results), set(order)

    def build(node: Node) -> Node:  # as deep as `results_below` went
        if node not in new:
            new[node] = node
            if node in inside:
                new[node] = rebuild(node, tuple([build(x) for x in node.inputs]))
        return new[node]

    return build(order[0])
