"""What a function of a distance keeps at the origin when it is differentiated twice: f'(r) / r tends to f''(0) there.

`grad` asks this of the graphs that it differentiates again, and of what it derives from them. The derivative of f'(r)
in r is pushed forward through what is done element by element, or moved or summed; other factors multiply f'(0) = 0.

A tangent meets f'(r) in the other order: `jvp` multiplies the direction x / r by f'(r). The factor is moved into it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Container

from graphc.graph.graph import Graph, rebuild
from graphc.graph.node import Node
from graphc.graph.op import View
from graphc.ops.creation import ones_like
from graphc.ops.elementwise import equal, where
from graphc.ops.elementwise_arithmetic import ADD, MULTIPLY, NEGATIVE, SUBTRACT
from graphc.ops.elementwise_float import literal
from graphc.ops.pointwise import MASKED_MULTIPLY, Pointwise, masked_multiply
from graphc.ops.radial import DIRECTED, HALF_OVER, direction
from graphc.ops.reduction import Reduction

BUDGET = 64
"""Nodes between a distance and its cotangent that one question may look at."""
DEPTH = 4
"""Additions and signs between a tangent and the factor that is moved into it."""
LINEAR = (ADD, SUBTRACT, NEGATIVE)


def has_radial(graph: Graph) -> bool:
    """Tell whether a cotangent of a distance is part of a graph."""
    return any(map(_is_radial, graph.nodes))


def with_limits(graph: Graph, but: Container[Node] = ()) -> Graph:
    """Return the graph with the limits of f'(r) / r at r = 0, except in the nodes of `but`."""
    for rule in (_gathered, _merged):
        graph = graph.map(lambda node, inputs, rule=rule: None if node in but else rule(node, inputs))[0]  # type: ignore[misc]
    return graph.map(lambda node, inputs: None if node in but else _limit(node, inputs))[0]


def _gathered(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    """Return a product with f'(r) moved into the tangents of r that it multiplies, None where it multiplies none."""
    if node.op is not MULTIPLY and node.op is not MASKED_MULTIPLY:
        return None
    x, y = inputs
    left = _moved_in(x, y, lambda a: rebuild(node, (a, y)), DEPTH)
    return _moved_in(y, x, lambda a: rebuild(node, (x, a)), DEPTH) if left is None else left


def _is_radial(x: Node) -> bool:
    return x.op is HALF_OVER or x.op is DIRECTED


def _moved_in(x: Node, factor: Node, times: Callable[[Node], Node], depth: int) -> Node | None:
    """Return `times(x)` for a sum of tangents of distances on which the factor, if it is no number, depends."""
    if x.op in LINEAR and depth:
        parts = [_moved_in(a, factor, times, depth - 1) for a in x.inputs]
        moved = tuple(times(a) if part is None else part for a, part in zip(x.inputs, parts, strict=True))
        return rebuild(x, moved) if any(part is not None for part in parts) else None
    if _is_radial(x) and (literal(factor) is not None or _slope(factor, x.inputs[-1]) is not None):
        return rebuild(x, (times(x.inputs[0]), *x.inputs[1:]))
    return None


def _merged(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    """Return a sum with the tangents of one distance as one, None for no two: their factors add up to f'(r)."""
    if node.op is not ADD and node.op is not SUBTRACT:
        return None
    found: dict[object, Node] = {}
    terms = _terms(rebuild(node, inputs), DEPTH)
    for x in terms:
        key: object = (x.op.name, x.inputs[1:]) if _is_radial(x) else len(found)
        before = found.get(key)
        found[key] = x if before is None else rebuild(x, (before.inputs[0] + x.inputs[0], *x.inputs[1:]))
    return functools.reduce(operator.add, found.values()) if len(found) < len(terms) else None


def _terms(x: Node, depth: int) -> list[Node]:
    """Return the terms of a sum; signs are moved into tangents."""
    if depth and x.op in LINEAR:
        first, *second = (_terms(a, depth - 1) for a in x.inputs)
        rest = [a for terms in second for a in terms]
        if x.op is NEGATIVE:
            return [_negated(a) for a in first]
        return [*first, *(rest if x.op is ADD else map(_negated, rest))]
    return [x]


def _negated(x: Node) -> Node:
    return rebuild(x, (-x.inputs[0], *x.inputs[1:])) if _is_radial(x) else -x


def _limit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    if not _is_radial(node):
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
