"""Passes and loop bodies: every pass sees a body as a graph of its own; results that no one reads are dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphc.graph import Graph
from graphc.node import Node
from graphc.ops.control import Project, Scan, project


def map_bodies(graph: Graph, fn: Callable[[Graph], Graph]) -> Graph:
    """Replace the body of every loop of `graph` by `fn(body)`; bodies inside bodies are up to `fn`."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not isinstance(node.op, Scan):
            return None
        return Node(replace(node.op, body=fn(node.op.body)), inputs, node.type, node.source, node.guards)

    return graph.map(visit)[0] if any(isinstance(n.op, Scan) for n in graph.nodes) else graph


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
        if not isinstance(node.op, Scan):
            return None
        kept = sorted(used[node])
        places[node] = {old: new for new, old in enumerate(kept)}
        op = _with_results(node.op, kept)
        return Node(op, inputs, op.infer(*(x.type for x in inputs)), node.source, node.guards)

    return graph.map(visit)[0]


def _with_results(op: Scan, kept: list[int]) -> Scan:
    results = [op.results[k] for k in kept]
    heads = sorted({j for kind, j in results if kind == "stacked"})
    outputs = [*op.body.outputs[: op.carries], *(op.body.outputs[op.carries + j] for j in heads)]
    renamed = tuple(("stacked", heads.index(i)) if kind == "stacked" else (kind, i) for kind, i in results)
    return replace(op, body=op.body.with_outputs(outputs), results=renamed)
