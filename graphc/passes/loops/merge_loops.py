"""Run loops side by side in one loop: two short chains of dependent steps take the time of one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from graphc.graph.graph import Graph, rebuild
from graphc.graph.node import Node
from graphc.ops.control import Project, Result, Scan, project

MAX_BODY = 64
"""Nodes of two bodies together: larger ones gain nothing, and would not fit one kernel."""


def merge_loops(graph: Graph) -> Graph:
    """Merge loops over the same steps, neither of which needs a result of the other.

    before: `%2 = scan[length=t, body of 4 nodes](%0, %1)`, `%5 = scan[length=t, body of 5 nodes](%3, %4)`
    after: `%4 = scan[length=t, body of 9 nodes](%0, %2, %1, %3)`
    """
    while (pair := _mergeable(graph)) is not None:
        graph = _merged(graph, *pair)
    return graph


def _mergeable(graph: Graph) -> tuple[Node, Node] | None:
    loops = [node for node in graph.nodes if isinstance(node.op, Scan)]
    for k, first in enumerate(loops):
        alike = [second for second in loops[k + 1 :] if _alike(first, second)]
        later = graph.descendants([first]) if alike else set()
        for second in alike:
            if second not in later:
                return first, second
    return None


def _alike(first: Node, second: Node) -> bool:
    a, b = first.op, second.op
    assert isinstance(a, Scan) and isinstance(b, Scan)
    steps = (a.length, a.reverse, a.chunk) == (b.length, b.reverse, 0)
    return steps and len(a.body) + len(b.body) <= MAX_BODY and bool(a.carries) == bool(b.carries)


def _merged(graph: Graph, first: Node, second: Node) -> Graph:
    """Rebuild a graph in an order in which the operands of both loops come before either."""
    new: dict[Node, Node] = {}
    both: Node | None = None
    later = graph.descendants([first, second])
    for node in sorted(graph.nodes, key=later.__contains__):  # what neither leads to, then the rest
        if node is first or node is second:
            both = _side_by_side(first, second, new) if both is None else both
            new[node] = both
        elif isinstance(node.op, Project) and node.inputs[0] in (first, second):
            assert isinstance(first.op, Scan)
            shift = len(first.op.results) if node.inputs[0] is second else 0
            new[node] = project(new[node.inputs[0]], node.op.index + shift)
        else:
            new[node] = rebuild(node, tuple(new[x] for x in node.inputs))
    return graph.with_outputs([new[o] for o in graph.outputs])


def _side_by_side(first: Node, second: Node, new: dict[Node, Node]) -> Node:
    """Return the loop that does the steps of both; they share what they both read.

    A derivative's loop, and a loop whose operands were replaced, have the placeholders of the loop they come from.
    """
    a, b = first.op, second.op
    assert isinstance(a, Scan) and isinstance(b, Scan)
    own, operands = _parts(first, a, new), _parts(second, b, new)
    known = [dict(zip(values, inside, strict=True)) for inside, values in own]
    shared = {x: known[kind][v] for kind in (1, 2) for x, v in zip(*operands[kind], strict=True) if v in known[kind]}
    taken = set(a.body.inputs)
    names = {x: Node(x.op, (), x.type, x.source) if x in taken else x for x in b.body.inputs if x not in shared}
    swapped, _ = Graph(b.body.outputs).replace(shared | names)
    pairs = [
        [*zip(*mine, strict=True), *((names[x], v) for x, v in zip(*theirs, strict=True) if x in names)]
        for mine, theirs in zip(own, operands, strict=True)
    ]
    outputs = [*a.body.outputs[: a.carries], *swapped.outputs[: b.carries]]
    outputs += [*a.body.outputs[a.carries :], *swapped.outputs[b.carries :]]
    body = Graph(outputs, [x for part in pairs for x, _ in part], guards=(*a.body.guards, *b.body.guards))
    heads = len(a.body.outputs) - a.carries
    moved: list[Result] = [(kind, i + (heads if kind == "stacked" else a.carries)) for kind, i in b.results]
    results = (*a.results, *moved)
    op = replace(a, body=body, carries=a.carries + b.carries, sequences=len(pairs[1]), results=results)
    inputs = tuple(v for part in pairs for _, v in part)
    return Node(op, inputs, op.infer(*(v.type for v in inputs)), first.source, (*first.guards, *second.guards))


def _parts(loop: Node, op: Scan, new: dict[Node, Node]) -> list[tuple[tuple[Node, ...], tuple[Node, ...]]]:
    """Return the body's placeholders and the operands: carries, sequences, captured values."""
    inside, values = op.body.inputs, tuple(new[x] for x in loop.inputs)
    cuts = (0, op.carries, op.carries + op.sequences, len(inside))
    return [(inside[i:j], values[i:j]) for i, j in pairwise(cuts)]
