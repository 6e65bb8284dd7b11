"""Draws inside loops and branches: each loop or branch that draws has a stream of its own.

A range of a generator's stream is fixed before a program runs, and a loop's steps cannot each have one there: how many
they are may be known only at the end. So a loop takes one number of its generator, where it stands, as the key of
another stream, and step k of it takes the positions from k times what a step draws (Salmon et al., Parallel random
numbers: as easy as 1, 2, 3, SC 2011: any key gives an independent stream). The numbers of a step depend on the key
and k alone: they are the same in every mode, for every checkpoint, and where an adjoint computes a step again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.graph.graph import Graph, topological_order
from graphc.graph.node import Node
from graphc.graph.types import Size, size_max
from graphc.ops.elementwise_arithmetic import add
from graphc.ops.pointwise import size_node
from graphc.ops.random import UINT64, Draw, draw


@dataclass
class Streams:
    """What the traced graphs of a loop or a branch draw: `keys` has the key of the inner stream by the outer key."""

    keys: dict[Node, Node]
    starts: dict[Node, Size]
    """Where each draw begins, counted from the begin of its step."""
    count: Size
    """How many numbers a step draws of any one generator, at most."""

    def resume(self, outputs: Sequence[Node], since: int, begin: Node | None, inside: Sequence[Node]) -> list[Node]:
        """Return a traced graph whose draws start from `begin` (None: 0) in the streams of the keys `inside`."""
        named = dict(zip(self.keys, inside, strict=True))

        def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
            if node.serial < since:
                return node
            if node in self.starts:
                offset = size_node(self.starts[node], UINT64)
                return offset if begin is None else add(begin, offset)
            own = tuple([named.get(x, x) for x in inputs])
            return None if own == inputs else Node(node.op, own, node.type, node.source, node.guards)

        return list(Graph(outputs).map(visit)[0].outputs)


def streams(graphs: Sequence[Sequence[Node]], since: int) -> Streams | None:
    """Return the streams of the draws that graphs traced `since` a serial number make; None where they make none.

    Graphs of which one runs, the branches of a switch, share positions.
    """
    keys: dict[Node, Node] = {}
    starts: dict[Node, Size] = {}
    count: Size = 0
    for outputs in graphs:
        total: Size = 0
        found = [n for n in topological_order(outputs) if isinstance(n.op, Draw) and n.serial >= since]
        for node in sorted(found, key=_number):
            assert isinstance(node.op, Draw)
            position, key = node.inputs
            if key not in keys:
                keys[key] = draw(key, position, ()).numbers("bits", UINT64)
            starts[node] = total
            total = node.op.count + total
        count = size_max(count, total)
    return Streams(keys, starts, count) if keys else None


def _number(node: Node) -> int:
    assert isinstance(node.op, Draw)
    return node.op.number
