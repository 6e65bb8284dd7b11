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

from graphc.graph import NodeMap, rebuild
from graphc.lazy import lazy_property
from graphc.node import Node
from graphc.ops.base import Op, apply, constant
from graphc.ops.control import Project
from graphc.ops.pointwise import WHERE, Elementwise, broadcast_to_shape
from graphc.ops.shape import Concat, Unslice, slice_axis
from graphc.passes.pattern import FAR, MOVERS, literal, moved, moves_only
from graphc.types import TensorType, is_float

PIECES: frozenset[type[Op]] = frozenset((Concat, Unslice))
"""The ops that put pieces together, besides `where`."""


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
        if _moves_alike(x, source):
            return _pieces(x)
        if source.op is WHERE:
            return x, x
        if not isinstance(source.op, Concat):
            return None
        axis, start, found = source.op.axis, 0 * source.shape[0], []
        for piece in self.pieces:
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
        if isinstance(source.op, Concat):
            return apply(source.op, *done)
        if isinstance(source.op, Unslice):
            inside = apply(source.op, broadcast_to_shape(constant(True), self.pieces[0].shape))
            zero = broadcast_to_shape(constant(0, source.dtype), source.shape)
            return apply(WHERE, inside, apply(source.op, *done), self.of([zero] * len(operands[0])))
        return moved(source, done[0])


def _pieces(source: Node) -> tuple[Node, ...]:
    op, inputs = source.op, source.inputs
    return inputs[1:] if op is WHERE else inputs if type(op) is Concat else inputs[:1]


def _moves_alike(x: Node, source: Node) -> bool:
    """Tell whether two nodes take each element from the same place of operands of equal shapes."""
    if x.op != source.op or len(x.inputs) != len(source.inputs):
        return False
    places = zip(x.inputs, source.inputs, strict=True)
    own = {id(p) for p in _pieces(x)}
    return all(a.shape == b.shape if id(a) in own else a is b for a, b in places)


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
    return op is WHERE or type(op) in PIECES


def _is_promising(source: Node, names: Collection[str]) -> bool:
    """Tell by the names of the pieces' ops whether a rule may take up one of them.

    Where there is one piece, patterns of elementwise ops have been seen through what moves it.
    """
    for piece in _pieces(source):
        single = type(source.op) in MOVERS and moves_only(source)
        for _ in range(FAR):
            if type(piece.op) not in MOVERS:
                break
            single = single and moves_only(piece)
            piece = piece.inputs[0]
        if piece.op is WHERE or type(piece.op) in PIECES:
            return True
        if piece.op.name in names and not (single and isinstance(piece.op, Elementwise)):
            return True
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
