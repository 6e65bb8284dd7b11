"""Common subexpression elimination: one node for each value, however often it was written."""

from __future__ import annotations

from graphc.graph.graph import Graph, rebuild
from graphc.graph.node import Node
from graphc.graph.op import Op, Placeholder, SharedValue
from graphc.ops.pointwise import Elementwise

Key = tuple[Op, tuple[Node, ...]]


def cse(graph: Graph) -> Graph:
    """Merge nodes with equal ops on equal operands, in either order where the op commutes.

    Constants are equal by dtype, shape and bits; placeholders and shared values equal only themselves.

    before: `%2 = add(%0, %1)`, `%3 = add(%1, %0)`, `%4 = multiply(%2, %3)`
    after: `%2 = add(%0, %1)`, `%3 = multiply(%2, %2)`
    """
    first: dict[Key, Node] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        op = node.op
        if isinstance(op, (Placeholder, SharedValue)):
            return node
        unordered = type(op) is Elementwise and op.commutative and id(inputs[0]) > id(inputs[1])
        key = (op, inputs[::-1] if unordered else inputs)
        found = first.get(key)
        if found is not None:
            return found
        first[key] = out = rebuild(node, inputs)
        return out

    return graph.map(visit)[0]
