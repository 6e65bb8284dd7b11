"""Scatter into what a scattered gradient is added to, in place of a dense array of zeros."""

from __future__ import annotations

from graphc.errors import blame
from graphc.graph import Graph
from graphc.node import Node
from graphc.ops.base import Constant, apply
from graphc.ops.elementwise import ADD, MULTIPLY, NEGATIVE, SUBTRACT
from graphc.ops.indexing import Scatter
from graphc.ops.pointwise import Broadcast, broadcast, pointwise


def accumulate_scatters(graph: Graph) -> Graph:
    """Turn `x + c * scatter(zeros, updates)` into `scatter(x, c * updates)`: the update of a table costs its rows.

    before: `%3 = scatter[mode=add, axes=(0)](%0, %1, %2)` with `%0` zeros, `%5 = subtract(%4, %3)`
    after: `%3 = negative(%1)`, `%5 = scatter[mode=add, axes=(0)](%4, %3, %2)`
    """
    if not any(isinstance(n.op, Scatter) for n in graph.nodes):
        return graph
    outputs = set(graph.outputs)
    private = {n for n in graph.nodes if len(graph.users[n]) == 1 and n not in outputs}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        operands = list(zip(node.inputs, inputs, strict=True))
        for (old, new), (_, other) in zip(operands, operands[::-1], strict=True):
            if old in private and _is_sparse(new):
                with blame(node.source):
                    found = _combined(node, new, other, first=new is inputs[0])
                if found is not None:
                    return found
        return None

    return graph.map(visit)[0]


def is_zero(node: Node) -> bool:
    """Tell whether a value is a literal 0, broadcast."""
    while isinstance(node.op, Broadcast):
        node = node.inputs[0]
    return isinstance(node.op, Constant) and not node.op.value.any()


def _is_sparse(node: Node) -> bool:
    return isinstance(node.op, Scatter) and node.op.mode == "add" and is_zero(node.inputs[0])


def _combined(node: Node, sparse: Node, other: Node, *, first: bool) -> Node | None:
    """Return what a node of a sparse operand and another becomes."""
    zeros, updates, *indices = sparse.inputs
    if node.op is ADD:
        return apply(sparse.op, other, updates, *indices)
    if node.op is SUBTRACT and not first:
        return apply(sparse.op, other, pointwise(NEGATIVE, updates), *indices)
    if node.op is NEGATIVE:
        return apply(sparse.op, zeros, pointwise(NEGATIVE, updates), *indices)
    if node.op is MULTIPLY and isinstance(other.op, Broadcast) and other.op.axes == ():
        factor = broadcast(other.inputs[0], updates.shape, ())
        return apply(sparse.op, zeros, pointwise(MULTIPLY, updates, factor), *indices)
    return None
