"""The draws of a program: consecutive ranges of each generator's stream, and the update that moves past them.

Both `evaluate` and `function` place draws before anything else looks at the graph, so a draw has the same bits in
every mode. `evaluate` changes no state. Draws inside loops and branches have become draws from streams of their own
when those were built (`graphc.autodiff.streams`).
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.graph.graph import Graph, topological_order
from graphc.graph.node import Node, Shared
from graphc.graph.types import Size
from graphc.ops.elementwise_arithmetic import add
from graphc.ops.pointwise import size_node
from graphc.ops.random import UINT64, Draw

Advances = dict[Shared, Node]
"""The next value of each generator's position."""


def place_draws(outputs: Sequence[Node]) -> tuple[list[Node], Advances]:
    """Give every draw its range, in the order in which the program made them, and return what follows the last.

    before: `%2 = draw[number=7, count=n](%0)`, `%4 = draw[number=8, count=m](%0)`
    after: `%0` and `%4 = add(%0, %3)` with `%3 = dim[dim=n]`; the position's next value is `%0 + n + m`
    """
    nodes = topological_order(outputs)
    found = [n for n in nodes if isinstance(n.op, Draw)]
    if not found:
        return list(outputs), {}
    ends: dict[Node, Size] = {}
    starts: dict[tuple[Node, Draw], Size] = {}
    for node in sorted(found, key=_number):
        assert isinstance(node.op, Draw)
        position = node.inputs[0]
        if (position, node.op) not in starts:  # a derivative may have rebuilt a draw
            starts[position, node.op] = ends.get(position, 0)
            ends[position] = node.op.count + ends.get(position, 0)
    moved = {n: _after(n.inputs[0], starts[n.inputs[0], n.op]) for n in found if isinstance(n.op, Draw)}
    placed = Graph(outputs).replace(moved)[0].outputs
    return list(placed), {p: _after(p, end) for p, end in ends.items() if isinstance(p, Shared)}


def _number(node: Node) -> int:
    assert isinstance(node.op, Draw)
    return node.op.number


def _after(position: Node, count: Size) -> Node:
    return position if count == 0 else add(position, size_node(count, UINT64))
