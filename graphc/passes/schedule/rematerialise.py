"""Which values between the forward and the backward part of a program are stored, and which are computed again.

The *forward part* is what runs before the moment at which most bytes wait for what runs after it: for a loss and its
gradients, the turn from one to the other. Each value that crosses that moment is stored until its last reader, or
computed again shortly before its first one, from values that are stored. Which ones is a minimum cut, as in the
min-cut partitioner of PyTorch (its `torch._functorch.partitioners`, which stands on networkx too): a value is an edge
whose capacity is the price of its bytes, leading from where it is computed to where it is read; an edge from the
source, whose capacity is the time that it takes, is cut where it is computed again.

Two things are ours. The price of a byte is varied, so that cuts trade time for memory; and the forward part is cut in
*stretches*, each by itself: what is computed again in one starts from values of earlier ones that are stored. So a deep
program need not compute all of its forward part again at once, which would need the memory that it saved.

`codegen.budget` plans the memory of some choices and takes the first that fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from graphc.graph.graph import Graph, rebuild
from graphc.graph.node import Node
from graphc.graph.op import View
from graphc.graph.types import TupleType, size_value
from graphc.ops.cumulative import Cumulative, LinearRecurrence
from graphc.ops.failing import can_fail
from graphc.ops.linalg import MatMul, MatMulAdd, MatMulSum
from graphc.ops.pointwise import Pointwise
from graphc.ops.reduction import Reduction
from graphc.ops.shape import Assembly
from graphc.passes.schedule import machine
from graphc.passes.schedule.frame import Framed
from graphc.passes.schedule.fusion_costs import work_of
from graphc.passes.schedule.kernels import Schedule
from graphc.passes.schedule.order import Footprint

if TYPE_CHECKING:
    import networkx

PRICES = 0.003, 0.03, 0.3, 3.0, 1e5
"""Nanoseconds that a stored byte may cost. A byte of its result costs an operation about 0.003, `tanh` 0.1, a matrix
product a few; with the last, nothing is stored that can be computed again."""
FLOP = 0.03
"""Nanoseconds of an operation of a product of matrices, about."""
AGAIN = (Pointwise, Framed, Reduction, MatMul, MatMulAdd, MatMulSum, Cumulative, LinearRecurrence, View, Assembly)
"""Ops whose results may be computed a second time; loops, decompositions and what writes into memory run once."""

FORWARD, BACKWARD = 0, 1


@dataclass(frozen=True, eq=False)
class Choice:
    """A graph in which some values of the forward part are computed a second time, for the backward part.

    `part` has the part of each computed value: fusion joins none of different parts. `place` is the number of the
    kernel that had it in the schedule before; what is computed again has the place of its first reader, less a half.
    """

    graph: Graph
    part: Mapping[Node, int]
    place: Mapping[Node, float]
    stored: int
    """Bytes that wait from the forward to the backward part."""
    again: tuple[Node, ...] = ()
    time: float = 0.0
    """Nanoseconds that computing again takes, about."""


@dataclass
class _Turn:
    """A schedule, and the moment at which most bytes wait: before the kernel `at`."""

    schedule: Schedule
    at: int
    number: dict[Node, int] = field(init=False)
    """The kernel of each value, of a view that of what it shows; -1 for what no kernel computes."""

    def __post_init__(self) -> None:
        computed: dict[Node, int] = {}
        for number, kernel in enumerate(self.schedule):
            for node in kernel.nodes:
                computed.setdefault(node, number)
        accesses = self.schedule.accesses
        self.number = {n: computed.get(n, computed.get(accesses[n].base, -1)) for n in self.schedule.graph.nodes}

    def forward(self) -> Iterator[Node]:
        """Yield the values of the forward part, operands first."""
        return (n for n in self.schedule.graph.nodes if 0 <= self.number[n] < self.at)

    def base(self, node: Node) -> Node:
        return self.schedule.accesses[node].base

    def is_read_later(self, node: Node) -> bool:
        """Tell whether the backward part reads a value."""
        return any(self.number[u] >= self.at for u in self.schedule.graph.dag.successors(node))


def turn_of(schedule: Schedule) -> _Turn | None:
    """Return the moment at which most bytes wait; None where none do."""
    waiting = Footprint(schedule, 1).across(schedule.kernels)
    most = max(waiting, default=0)
    return _Turn(schedule, waiting.index(most) + 1) if most else None


def unchanged(schedule: Schedule) -> int:
    """Return the bytes that wait from the forward to the backward part where nothing is computed again."""
    turn = turn_of(schedule)
    return 0 if turn is None else _choice(turn, ()).stored


def choices(schedule: Schedule) -> list[Choice]:
    """Return ways to compute values again, the fastest first; each stores less than those before it."""
    turn = turn_of(schedule)
    if turn is None:
        return []
    found: dict[frozenset[Node], Choice] = {}
    stretches = 1
    while stretches <= turn.at:
        for price in PRICES:
            again = _cut(turn, price, stretches)
            if not all(isinstance(n.op, View) for n in again) and frozenset(again) not in found:
                found[frozenset(again)] = _choice(turn, again)
        stretches *= 2
    return sorted(found.values(), key=lambda c: (c.time, c.stored))


def _cut(turn: _Turn, price: float, stretches: int) -> list[Node]:
    """Return the values to compute again: stretch after stretch, the last first, whose operands are then known."""
    parts: list[list[Node]] = [[] for _ in range(stretches)]
    for node in turn.forward():
        parts[turn.number[node] * stretches // turn.at].append(node)
    stored = {turn.base(o) for o in turn.schedule.graph.outputs}  # in memory in any case
    again: set[Node] = set()
    for part in reversed(parts):
        again |= _Stretch(turn, part, price, stored).cut()
    return [n for n in turn.forward() if n in again]


class _Stretch:
    """The network of one stretch of the forward part; `stored` grows by what it stores."""

    def __init__(self, turn: _Turn, part: Sequence[Node], price: float, stored: set[Node]) -> None:
        import networkx

        self.turn, self.part, self.price, self.stored = turn, set(part), price, stored
        self.net: networkx.DiGraph[object] = networkx.DiGraph()
        self.net.add_nodes_from(("source", "sink"))
        self.outside: set[Node] = set()
        for node in part:
            self._add(node)

    def _add(self, node: Node) -> None:
        """Add a value: to be stored, to be computed again, or neither where nothing later needs it."""
        if isinstance(node.type, TupleType):
            return  # its results are values of their own
        self._add_storing(node)
        if self.turn.is_read_later(node):
            self.net.add_edge((node, "read"), "sink")
        if not isinstance(node.op, AGAIN) or can_fail(node):
            self.net.add_edge("source", (node, "made"))
            return
        self.net.add_edge("source", (node, "made"), capacity=_whole(_time(node)))
        for x in node.inputs:
            if x in self.part:
                self.net.add_edge((x, "read"), (node, "made"))
            elif self.turn.number[x] >= 0:
                base = self.turn.base(x)
                if base not in self.outside:
                    self.outside.add(base)
                    self._add_storing(base)
                    self.net.add_edge("source", (base, "made"))
                self.net.add_edge((base, "read"), (node, "made"))

    def _add_storing(self, node: Node) -> None:
        ends = (node, "made"), (node, "read")
        if isinstance(node.op, View):
            self.net.add_edge(*ends)  # what it shows is stored
        else:
            nbytes = 0 if node in self.stored else _bytes(node)
            self.net.add_edge(*ends, capacity=_whole(self.price * nbytes))

    def cut(self) -> set[Node]:
        """Return the values to compute again."""
        import networkx

        if "sink" not in networkx.descendants(self.net, "source"):
            return set()
        _, (_, needed) = networkx.minimum_cut(self.net, "source", "sink")
        values = [n for n in (*self.part, *self.outside) if not isinstance(n.op, View)]
        self.stored |= {n for n in values if (n, "read") in needed and (n, "made") not in needed}
        return {n for n in self.part if (n, "made") in needed}


def _choice(turn: _Turn, again: Sequence[Node]) -> Choice:
    """Return the graph in which the backward part reads values that are computed again."""
    graph, number = turn.schedule.graph, turn.number
    first: dict[Node, float] = {}
    for x in reversed(again):
        readers = [(number[u] if number[u] >= turn.at else first.get(u, inf)) for u in graph.users(x)]
        if min(readers, default=inf) < inf:
            first[x] = min(readers)
    new: dict[Node, Node] = {}
    second: dict[Node, Node] = {}
    for node in graph.nodes:
        later = number[node] >= turn.at
        new[node] = rebuild(node, tuple([second.get(x, new[x]) if later else new[x] for x in node.inputs]))
        if node in first:
            inputs = tuple([second.get(x, new[x]) for x in node.inputs])
            second[node] = Node(node.op, inputs, node.type, node.source, node.guards)
    computed = [n for n in graph.nodes if number[n] >= 0]
    part = {new[n]: BACKWARD if number[n] >= turn.at else FORWARD for n in computed}
    place: dict[Node, float] = {new[n]: number[n] for n in computed}
    part |= dict.fromkeys(second.values(), BACKWARD)
    place |= {second[n]: first[n] - 0.5 for n in second}
    made = graph.with_outputs([new[o] for o in graph.outputs])
    stays = (n for n in made.nodes if part.get(n) == FORWARD)  # the nodes as they were
    waiting = {turn.base(n) for n in stays if any(part.get(u) == BACKWARD for u in made.users(n))}
    kept = {turn.base(o) for o in graph.outputs}
    stored = sum(_bytes(n) for n in waiting if n not in kept)
    return Choice(made, part, place, stored, tuple(second.values()), sum(_time(n) for n in second))


def _bytes(node: Node) -> int:
    return size_value(node.size, {}) * node.dtype.itemsize


def _time(node: Node) -> float:
    """Return the nanoseconds that a value takes, about; a view takes none."""
    if isinstance(node.op, View):
        return 0.0
    largest = max((node, *node.inputs), key=_bytes)
    nbytes = _bytes(largest)
    moved = machine.byte_ns(nbytes) * nbytes
    if isinstance(node.op, (MatMul, MatMulAdd, MatMulSum)):
        return moved + FLOP * 2 * size_value(node.size * node.inputs[0].shape[-1], {})
    return moved + work_of(node).time * nbytes / machine.VECTOR_BYTES


def _whole(cost: float) -> int:
    """Return a capacity: whole thousandths, since sums of floats round and a cut compares them."""
    return round(1000 * cost)
