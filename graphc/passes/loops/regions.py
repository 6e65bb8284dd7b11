"""Passes and the graphs inside ops: a loop's body or a branch is a graph of its own to every pass.

`prune` drops the results that no one reads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace

from graphc.graph.graph import Graph, rebuild
from graphc.graph.node import Node
from graphc.ops.control import Control, Project, Scan, project


def map_bodies(graph: Graph, fn: Callable[[Graph], Graph]) -> Graph:
    """Replace every graph inside an op of `graph` by `fn` of it; those inside these are up to `fn`."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not isinstance(node.op, Control):
            return None
        regions = node.op.regions()
        changed = [fn(region) for region in regions]
        if all(map(operator.is_, changed, regions)):
            return None
        return Node(node.op.with_regions(changed), inputs, node.type, node.source, node.guards)

    return graph.map(visit)[0] if any(isinstance(n.op, Control) for n in graph.nodes) else graph


def prune(graph: Graph) -> Graph:
    """Drop the results of loops and branches that nothing reads, and the carries and inputs only those needed.

    before: `%3 = scan[length=n, body of 9 nodes](%0, %1, %2)`, `%4 = project[index=0](%3)`
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
            place = places[node.inputs[0]][node.op.index]
            return rebuild(node, inputs) if place == node.op.index else project(inputs[0], place)
        if not isinstance(node.op, Control):
            return None
        kept = sorted(used[node])
        places[node] = {old: new for new, old in enumerate(kept)}
        op: Control = node.op.keep(kept)
        if isinstance(op, Scan):
            distinct = list(dict.fromkeys(op.results))
            places[node] = {old: distinct.index(result) for old, result in zip(kept, op.results, strict=True)}
            op, inputs = _restricted(replace(op, results=tuple(distinct)) if len(distinct) < len(kept) else op, inputs)
        if op is node.op:
            return rebuild(node, inputs)
        return Node(op, inputs, op.infer(*(x.type for x in inputs)), node.source, node.guards)

    return graph.map(visit)[0]


def _restricted(op: Scan, inputs: tuple[Node, ...]) -> tuple[Scan, tuple[Node, ...]]:
    """Return a scan without the carries that no kept result depends on, and without inputs that the body ignores."""
    alive = _live_carries(op)
    outputs = [op.body.outputs[i] for i in alive] + list(op.body.outputs[op.carries :])
    read = op.body.ancestors(outputs)
    given = list(enumerate(op.body.inputs))[op.carries :]
    sequences = [i for i, x in given[: op.sequences] if x in read]
    outer = [i for i, x in given[op.sequences :] if x in read]
    kept = [*alive, *sequences, *outer]
    if len(kept) == len(op.body.inputs):
        return op, inputs
    results = tuple((kind, i if kind == "stacked" else alive.index(i)) for kind, i in op.results)
    body = Graph(outputs, [op.body.inputs[i] for i in kept], guards=op.body.guards)
    new = replace(op, body=body, carries=len(alive), sequences=len(sequences), results=results)
    return new, tuple(inputs[i] for i in kept)


def _live_carries(op: Scan) -> list[int]:
    """Return the carries that are results, or that what is a result depends on, step after step."""
    carries = {c: i for i, c in enumerate(op.body.inputs[: op.carries])}
    alive = {i for kind, i in op.results if kind != "stacked"}
    while True:
        needed = [op.body.outputs[i] for i in alive] + list(op.body.outputs[op.carries :])
        found = alive | {carries[n] for n in op.body.ancestors(needed) if n in carries}
        if found == alive:
            return sorted(alive)
        alive = found
