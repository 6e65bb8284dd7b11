"""What a function of a distance keeps at the origin when it is differentiated twice: f'(r) / r tends to f''(0) there.

`grad` asks this of the graphs that it differentiates again, and of what it derives from them. The derivative of f'(r)
in r is pushed forward through what is done element by element, or moved or summed; other factors multiply f'(0) = 0.
"""

from __future__ import annotations

from collections.abc import Container

from graphc.graph import Graph
from graphc.node import Node
from graphc.ops.base import View
from graphc.ops.creation import ones_like
from graphc.ops.elementwise import equal, where
from graphc.ops.pointwise import Pointwise, masked_multiply
from graphc.ops.radial import DIRECTED, HALF_OVER, direction
from graphc.ops.reduction import Reduction

BUDGET = 64
"""Nodes between a distance and its cotangent that one question may look at."""


def has_radial(graph: Graph) -> bool:
    """Tell whether a cotangent of a distance is part of a graph."""
    return any(node.op is HALF_OVER or node.op is DIRECTED for node in graph.nodes)


def with_limits(graph: Graph, but: Container[Node] = ()) -> Graph:
    """Return the graph with the limits of f'(r) / r at r = 0, except in the nodes of `but`."""
    return graph.map(lambda node, inputs: None if node in but else _limit(node, inputs))[0]


def _limit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    if node.op is not HALF_OVER and node.op is not DIRECTED:
        return None
    g, r = inputs[0], inputs[-1]
    slope = _slope(g, r)
    if slope is None:
        return None
    limit = where(equal(r, 0) & equal(g, 0), slope, 0)
    if node.op is HALF_OVER:
        return masked_multiply(g, where(equal(r, 0), 0, 0.5 / r)) + 0.5 * limit
    return masked_multiply(g, direction(*inputs[1:])) + limit * inputs[1]


def _slope(g: Node, r: Node) -> Node | None:
    """Return the derivative of a cotangent in its own distance, None where it is constant."""
    moving = {r: ones_like(r)}
    for node in _between(g, r):
        if any(x in moving for x in node.inputs) and node.op.differentiable:
            tangent = node.op.jvp([moving.get(x) for x in node.inputs], node, *node.inputs)
            moving.update({} if tangent is None else {node: tangent})
    return moving.get(g)


def _between(g: Node, r: Node) -> list[Node]:
    """Return what `g` is computed by, operands first, as far as it is local and within the budget."""
    found: dict[Node, None] = {}
    seen, stack = {r}, [(g, False)]
    while stack:
        node, done = stack.pop()
        if done:
            found[node] = None
        elif node not in seen and len(seen) < BUDGET:
            seen.add(node)
            local = isinstance(node.op, (Pointwise, View)) or (isinstance(node.op, Reduction) and node.op.name == "sum")
            stack += [(node, True), *((x, False) for x in node.inputs)] if local else []
    return list(found)
