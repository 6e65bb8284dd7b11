"""Add matrix products up where they are made: a sum of products needs no product of its own in memory."""

from __future__ import annotations

from graphc.graph.errors import blame
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.graph.types import is_float
from graphc.ops.linalg import MatMul, MatMulAdd
from graphc.ops.pointwise import Pointwise
from graphc.ops.shape import Reshape
from graphc.passes.loops.readers import is_private


def accumulate_products(graph: Graph) -> Graph:
    """Let products that are only added to each other add to one result.

    before: `%4 = matmul(%0, %1)`, `%5 = matmul(%2, %3)`, `%6 = add(%4, %5)`
    after: `%4 = matmul_add(%0, %1, %2, %3)`
    """

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not (isinstance(node.op, Pointwise) and node.op.name == "add" and is_float(node.dtype)):
            return None
        if not all(is_private(graph, x) for x in node.inputs):
            return None
        views = [x.op if isinstance(x.op, Reshape) else None for x in inputs]
        if views[0] is not None and views[0] == views[1] and all(is_private(graph, x.inputs[0]) for x in node.inputs):
            inputs = (inputs[0].inputs[0], inputs[1].inputs[0])
        shapes = {x.shape for x in inputs}
        if len(shapes) > 1 or not all(isinstance(x.op, (MatMul, MatMulAdd)) for x in inputs):
            return None
        with blame(node.source):
            total = apply(MatMulAdd(), *(factor for x in inputs for factor in x.inputs))
            return total if total.shape == node.shape or views[0] is None else apply(views[0], total)

    return graph.map(visit)[0]
