"""Passes and the graphs inside ops: a loop's body or a branch is a graph of its own to every pass.

`prune` drops the results that no one reads.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.graph import Graph
from graphc.node import Node
from graphc.ops.control import Control, Project, project


def map_bodies(graph: Graph, fn: Callable[[Graph], Graph]) -> Graph:
    """Replace every graph inside an op of `graph` by `fn` of it; those inside are up to `fn`."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not isinstance(node.op, Control):
            return None
        op = node.op.with_regions([fn(region) for region in node.op.regions()])
        return Node(op, inputs, node.type, node.source, node.guards)

    return graph.map(visit)[0] if any(isinstance(n.op, Control) for n in graph.nodes) else graph


def prune(graph: Graph) -> Graph:
    """Drop the stacked results that nothing reads, and what the body computed for them alone.

    before: `%3 = scan[length=n, body of 9 nodes](%0, %1)`, `%4 = project[index=0](%3)`
    after: `%3 = scan[length=n, body of 6 nodes](%0, %1)`, `%4 = project[index=0](%3)`
    """
    used: dict[Node, set[int]] = {}
    for node in graph.nodes:
        if isinstance(node.op, Project):
            used.setdefault(node.inputs[0], set()).add(node.op.index)
    if not used:
        return graph
    places: dict[Node, dict[int, int]] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if isinstance(node.op, Project):
            return project(inputs[0], places[node.inputs[0]][node.op.index])
        if not isinstance(node.op, Control):
            return None
        kept = sorted(used[node])
        places[node] = {old: new for new, old in enumerate(kept)}
        op = node.op.keep(kept)
        return Node(op, inputs, op.infer(*(x.type for x in inputs)), node.source, node.guards)

    return graph.map(visit)[0]
