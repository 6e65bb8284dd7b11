"""Who reads a value: the question before a pass moves, merges, accumulates or overwrites it.

A graph's outputs are readers too. In a loop's body a carry is two values, the old one (an input) and the new one (an
output), and each may be read by other carries, by stacked results and by values between: what changes either must
know all of them.
"""

from __future__ import annotations

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.elementwise import ADD


def is_private(graph: Graph, node: Node) -> bool:
    """Tell whether one operand of one node, and no output, is this value."""
    return node in graph.dag and graph.only_user(node) is not None and node not in graph.output_counts


def is_only_output(graph: Graph, node: Node) -> bool:
    """Tell whether a value is one output, once, and nothing else reads it."""
    return graph.output_counts.get(node) == 1 and not graph.users(node)


def sums_of(graph: Graph, total: Node) -> list[Node]:
    """Return the additions that make a sum, users first: `total` and those below it that only they read."""
    found: list[Node] = []
    stack = [total]
    while stack:
        node = stack.pop()
        if node.op is ADD and (node is total or is_private(graph, node)):
            found.append(node)
            stack.extend(node.inputs)
    return found


def terms_of(graph: Graph, total: Node) -> list[Node]:
    """Return the terms of a sum, one for each operand; the sum itself where it is no addition."""
    adds = sums_of(graph, total)
    known = set(adds)
    return [x for node in adds for x in node.inputs if x not in known] if adds else [total]


def addends(body: Graph, number: int) -> list[Node] | None:
    """Return the terms that a step adds to a carry, or None where anything but that sum reads its old or new value."""
    old, new = body.inputs[number], body.outputs[number]
    if not (is_private(body, old) and is_only_output(body, new)):
        return None
    terms = terms_of(body, new)
    return [x for x in terms if x is not old] if old in terms else None
