"""Compute the parts of a value where they are used, and put a value together where its parts are made.

The gates of an LSTM are slices of one sum; each is cheap to compute by itself, and then everything between two products
is one kernel. Their cotangents are added as arrays of zeros around one part each; joined, they need no zeros.
"""

from __future__ import annotations

from graphc.graph.errors import blame
from graphc.graph.graph import Graph, rebuild
from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.graph.types import size_value
from graphc.ops.elementwise import ADD
from graphc.ops.pointwise import Cast, Elementwise
from graphc.ops.shape import Concat, Slice, Unslice
from graphc.passes.loops.readers import is_private, terms_of


def sink_slices(graph: Graph) -> Graph:
    """Turn slices of pointwise values into pointwise values of slices, where that computes nothing twice.

    before: `%2 = add(%0, %1)`, `%3 = slice[...](%2)`, `%4 = tanh(%3)`
    after: `%2 = slice[...](%0)`, `%3 = slice[...](%1)`, `%4 = add(%2, %3)`, `%5 = tanh(%4)`
    """
    sliced = _only_sliced(graph)
    if not sliced:
        return graph
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        if isinstance(node.op, Slice) and node.inputs[0] in sliced:
            with blame(node.source):
                new[node] = _sliced(node.op, node.inputs[0], sliced, new)
        else:
            new[node] = rebuild(node, tuple([new[x] for x in node.inputs]))
    return graph.with_outputs([new[o] for o in graph.outputs])


def _only_sliced(graph: Graph) -> set[Node]:
    """Return the pointwise values of which only slices are used, together no larger than they are."""
    found: set[Node] = set()
    outputs = set(graph.outputs)
    for node in reversed(graph.nodes):
        if not isinstance(node.op, (Elementwise, Cast)) or node in outputs or not node.inputs:
            continue
        users = graph.users(node)
        slices = [u for u in users if isinstance(u.op, Slice)]
        whole = [u for u in users if not isinstance(u.op, Slice)]
        sizes = [u.size for u in slices]
        if slices and not whole and isinstance(node.size, int):
            if sum(size_value(s, {}) for s in sizes if isinstance(s, int)) <= node.size:
                found.add(node)
        elif whole and not slices and len(set(whole)) == 1 and whole[0] in found:
            found.add(node)
    return found


def _sliced(op: Slice, top: Node, sliced: set[Node], new: dict[Node, Node]) -> Node:
    """Rebuild a value from slices of what it is computed from."""
    made: dict[Node, Node] = {}
    stack = [top]
    while stack:
        node = stack[-1]
        if node in made:
            stack.pop()
        elif node not in sliced:
            made[node] = apply(op, new[node])
        else:
            waiting = [x for x in node.inputs if x not in made]
            stack += waiting
            if not waiting:
                made[node] = apply(node.op, *(made[x] for x in node.inputs))
    return made[top]


def join_slices(graph: Graph) -> Graph:
    """Turn a sum of unsliced parts that cover a value along one axis, each once, into their concatenation.

    before: `%1 = unslice[starts=(0,0), ...](%0)`, `%3 = unslice[starts=(2,0), ...](%2)`, `%4 = add(%1, %3)`
    after: `%4 = concat[axis=0](%0, %2)`
    """
    if not any(isinstance(n.op, Unslice) for n in graph.nodes):
        return graph

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.op is not ADD or (is_private(graph, node) and graph.users(node)[0].op is ADD):
            return None  # a term of a larger sum
        parts = terms_of(graph, node)
        whole = all(isinstance(p.op, Unslice) and is_private(graph, p) for p in parts)
        order = _in_order(parts) if whole else None
        if order is None:
            return None
        axis, ordered = order
        with blame(node.source):
            return apply(Concat(axis), *(mapped[p.inputs[0]] for p in ordered))

    mapped: dict[Node, Node] = {}

    def recorded(node: Node, inputs: tuple[Node, ...]) -> Node:
        found = visit(node, inputs)
        mapped[node] = rebuild(node, inputs) if found is None else found
        return mapped[node]

    return graph.map(recorded)[0]


def _in_order(parts: list[Node]) -> tuple[int, list[Node]] | None:
    """Return the axis along which parts cover the whole, and the parts in order, or None."""
    shape = parts[0].shape
    ops = {p: p.op for p in parts if isinstance(p.op, Unslice)}
    if any(step != 1 for op in ops.values() for step in op.steps):
        return None
    axes = [a for a in range(len(shape)) if any(p.inputs[0].shape[a] != shape[a] for p in parts)]
    if len(axes) != 1 or not all(isinstance(op.starts[axes[0]], int) for op in ops.values()):
        return None
    (axis,) = axes
    ordered = sorted(parts, key=lambda p: size_value(ops[p].starts[axis], {}))
    at = 0
    for part in ordered:
        size = part.inputs[0].shape[axis]
        if ops[part].starts[axis] != at or not isinstance(size, int):
            return None
        at += size
    return (axis, ordered) if at == shape[axis] else None
