"""Update state by matrix products in place: no gradient of a weight is stored where a step only subtracts it."""

from __future__ import annotations

from collections import Counter

from graphc.graph.errors import blame
from graphc.graph.graph import Graph
from graphc.graph.node import Node, Shared
from graphc.graph.op import Constant, apply, constant
from graphc.graph.types import is_float
from graphc.ops.elementwise import negative
from graphc.ops.linalg import MatMul, MatMulAdd, MatMulUpdate
from graphc.ops.pointwise import Broadcast, Pointwise
from graphc.passes.loops.readers import is_private


def update_products(graph: Graph) -> Graph:
    """Let a product add to the state that it updates.

    before: `%3 = matmul(%1, %2)`, `%4 = multiply(%3, 0.1)`, `%5 = subtract(%0, %4)`, the new value of `%0`
    after: `%5 = matmul_update(%0, -0.1, %1, %2)`

    A sum of products adds one after the other.
    """
    if not graph.updates:
        return graph
    first = len(graph.outputs) - len(graph.updates)
    times = Counter(graph.outputs)
    found: dict[Node, Node] = {}
    for state, value in zip(graph.updates, graph.outputs[first:], strict=True):
        updated = _updated(graph, state, value) if times[value] == 1 else None
        if updated is not None:
            found[value] = updated
    return graph.replace(found)[0] if found else graph


def _updated(graph: Graph, state: Shared, value: Node) -> Node | None:
    """Return the update of a state as a product that adds to it, or None where it has another form."""
    if state.ndim != 2 or not is_float(state.dtype) or not _is(value, "subtract", "add"):
        return None
    left, right = value.inputs
    if left is not state and _is(value, "add"):
        left, right = right, left
    step = _step(graph, right)
    if left is not state or step is None:
        return None
    alpha, product = step
    if isinstance(alpha.op, Constant) and not alpha.op.value.any():
        return None  # BLAS would leave out NaN and inf of the product
    with blame(value.source):
        signed = _negative(alpha) if _is(value, "subtract") else alpha
        return apply(MatMulUpdate(), state, signed, *product.inputs)


def _step(graph: Graph, node: Node) -> tuple[Node, Node] | None:
    """Return (factor, product) of a product that nothing else reads."""
    if not is_private(graph, node):
        return None
    if isinstance(node.op, (MatMul, MatMulAdd)):
        return constant(1, node.dtype), node
    if not _is(node, "multiply"):
        return None
    for factor, product in (node.inputs, node.inputs[::-1]):
        scalar = isinstance(factor.op, Broadcast) and not factor.inputs[0].shape
        if scalar and isinstance(product.op, (MatMul, MatMulAdd)) and is_private(graph, product):
            return factor.inputs[0], product
    return None


def _is(node: Node, *names: str) -> bool:
    return isinstance(node.op, Pointwise) and node.op.name in names


def _negative(x: Node) -> Node:
    return constant(-x.op.value, x.dtype) if isinstance(x.op, Constant) else negative(x)
