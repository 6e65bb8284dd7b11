"""Composites become the ops that fusion and codegen know."""

from __future__ import annotations

from graphc.graph.errors import blame
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Composite


def expand(graph: Graph) -> Graph:
    """Replace every `Composite` by its definition, composites in definitions too.

    before: `%1 = logsumexp[axes=(0)](%0)`
    after: `%1 = max[axes=(0)](%0)`, ..., `%8 = sum[axes=(0)](%7)`, `%9 = log(%8)`, `%10 = add(%1, %9)`
    """
    while any(isinstance(n.op, Composite) for n in graph.nodes):
        graph, _ = graph.map(_definition)
    return graph


def _definition(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    if not isinstance(node.op, Composite):
        return None
    with blame(node.source):
        out = node.op.expand(*inputs)
    assert out.dtype == node.dtype and out.ndim == node.ndim, f"{node!r} expands to {out.type}"
    return out
