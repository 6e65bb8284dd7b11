"""Sum matrix products where they are made: the weight gradient of a batch needs no product per image in memory."""

from __future__ import annotations

from graphc.graph.errors import blame
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.graph.types import is_float
from graphc.ops.linalg import MatMul, MatMulSum
from graphc.ops.reduction import Reduction
from graphc.passes.loops.readers import is_private


def sum_products(graph: Graph) -> Graph:
    """Let products that are only summed, over the first axes of their batch, add to one result.

    before: `%2 = matmul(%0, %1)`, `%3 = sum[axes=(0,)](%2)`
    after: `%2 = matmul_sum[axes=1](%0, %1)`
    """

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        op = node.op
        if not isinstance(op, Reduction) or op.name != "sum" or not isinstance(inputs[0].op, MatMul):
            return None
        (products,) = inputs
        leading = op.axes == tuple(range(len(op.axes))) and len(op.axes) <= products.ndim - 2
        if not (leading and is_private(graph, node.inputs[0]) and is_float(products.dtype)):
            return None
        with blame(node.source):
            return apply(MatMulSum(len(op.axes)), *products.inputs)

    return graph.map(visit)[0]
