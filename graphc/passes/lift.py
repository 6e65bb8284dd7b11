"""Formulas move below what only moves elements, where a rule then sees its pattern.

`log(softmax(x)[i])` becomes `log(softmax(x))[i]`. The engine in `rewrite.py` asks here once no rule matches at a
node. A *formula* is what stands between the node and one single node that moves or chooses elements (a gather, a
transpose, `concat`, `where`, padding), with nothing but literals beside it. Moved below, it is computed for every
piece, so it moves only where a rule for accuracy takes up a piece: `log` of a plain table is never moved before the
gather.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from graphc.graph import NodeMap, rebuild
from graphc.node import Node
from graphc.ops.base import Op, apply, constant
from graphc.ops.control import Project
from graphc.ops.pointwise import WHERE, Elementwise, broadcast_to_shape
from graphc.ops.shape import Concat, Unslice
from graphc.passes.pattern import FAR, MOVERS, literal, moved, moves_only
from graphc.types import TensorType, is_float

PIECES: frozenset[type[Op]] = frozenset((Concat, Unslice))
"""The ops that put pieces together, besides `where`."""


@dataclass(frozen=True)
class Formula:
    """The elementwise ops between `root` and `source`, whose only other operands are literals."""

    root: Node
    source: Node

    def of(self, piece: Node) -> Node:
        """Return the formula of another value than `source`, of any shape and float type."""
        built: dict[Node, Node] = {self.source: piece}

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
        op, inputs = self.source.op, self.source.inputs
        return inputs[1:] if op is WHERE else inputs if type(op) is Concat else inputs[:1]

    def spread(self, settle: Callable[[Node], Node]) -> Node:
        """Return the formula of every piece, settled, put together as `source` puts the pieces together."""
        source = self.source
        done = [settle(self.of(x)) for x in self.pieces]
        if source.op is WHERE:
            return apply(WHERE, source.inputs[0], *done)
        if isinstance(source.op, Concat):
            return apply(source.op, *done)
        if isinstance(source.op, Unslice):
            inside = apply(source.op, broadcast_to_shape(constant(True), self.pieces[0].shape))
            nothing = self.of(broadcast_to_shape(constant(0, source.dtype), source.shape))
            return apply(WHERE, inside, apply(source.op, *done), nothing)
        return moved(source, done[0])


def formula_at(root: Node) -> Formula | None:
    """Return the formula whose last op is `root`, or None where more than one value goes into it."""
    source: Node | None = None
    stack, seen = [root], {root}
    while stack:
        for x in stack.pop().inputs:
            if x in seen:
                continue
            seen.add(x)
            if is_source(x):
                if source is not None:
                    return None
                source = x
            elif type(x.op) is Elementwise and len(seen) <= FAR:
                stack.append(x)
            elif literal(x) is None:
                return None
    return None if source is None else Formula(root, source)


def is_source(node: Node) -> bool:
    """Tell whether a float node only moves or chooses elements, and is no literal."""
    if not is_float(node.dtype):
        return False
    op = node.op
    if type(op) in MOVERS:
        return literal(node) is None and is_float(node.inputs[0].dtype)
    return op is WHERE or type(op) in PIECES


def is_promising(formula: Formula, names: Iterable[str]) -> bool:
    """Tell by the names of the pieces' ops, which rules mention, whether a rule may take up one of them.

    Where there is one piece, patterns of elementwise ops have been seen through what moves it.
    """
    for piece in formula.pieces:
        single = type(formula.source.op) in MOVERS and moves_only(formula.source)
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
