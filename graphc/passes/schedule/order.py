"""`order(schedule) -> Schedule`: when each kernel runs, by networkx's sort of `Schedule.dag` with memory as its key.

Three things decide between kernels whose operands are ready. What writes state, or into what a step receives, comes
last: until then a signal may end a call with nothing half-updated. What only the caller reads comes as soon as it can:
its operands are at hand, and may die there. Otherwise kernels run in the order in which the program made their values,
which keeps what was just computed in the caches; or, where that needs markedly less memory, by what each adds to
memory: the bytes it stores less its share of the bytes it reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from graphc.graph.node import Node
from graphc.graph.op import Placeholder
from graphc.graph.types import TensorType, size_value, symbols
from graphc.passes.schedule.kernels import Kernel, Schedule
from graphc.passes.updates.scatters import scatter_chain

if TYPE_CHECKING:
    import networkx

ALIGNMENT = 64
GUESSES = 1, 1024
"""Sizes that named dimensions may have: an order by memory must need no more at the smaller, and less at the larger."""
LESS = 0.9
"""The part of the memory that an order by memory may need, for the order of the program to be given up."""


def order(schedule: Schedule) -> Schedule:
    """Order kernels: as the program has them or by memory, with state updates last.

    before: `kernel 0: %2 exp`, `kernel 1: %3 subtract`, the new value of a state, `kernel 2: %5 sum` of `%2`
    after: `kernel 0: %2 exp`, `kernel 1: %5 sum`, `kernel 2: %3 subtract`
    """
    import networkx

    made = {kernel: number for number, kernel in enumerate(schedule)}
    late = _late(schedule)
    inner = {kernel for kernel in schedule if schedule.dag.out_degree(kernel)}
    dag = schedule.dag if schedule.options.uses("late_updates") else _after_readers(schedule)

    def in_order_of(key: Callable[[Kernel], Any]) -> list[Kernel]:
        return list(networkx.lexicographical_topological_sort(dag, key=lambda k: (k in late, key(k), made[k])))

    if schedule.place is not None:
        place = {k: min(schedule.place.get(n, inf) for n in k.nodes) for k in schedule}
        return schedule.in_order(in_order_of(place.__getitem__))
    as_made = in_order_of(inner.__contains__)
    if len(inner) > 1:
        small, large = (Footprint(schedule, guess) for guess in GUESSES)
        by_memory = in_order_of(large.added)
        less = large.peak(by_memory) < LESS * large.peak(as_made)
        if less and small.peak(by_memory) <= small.peak(as_made):
            return schedule.in_order(by_memory)
    return schedule.in_order(as_made)


def _updates(schedule: Schedule) -> dict[Node, Node]:
    """Return the new values of states, each with its state."""
    graph = schedule.graph
    return dict(zip(graph.outputs[len(graph.outputs) - len(graph.updates) :], graph.updates, strict=True))


def _after_readers(schedule: Schedule) -> networkx.DiGraph[Kernel]:
    """Return the DAG in which what makes a state's new value also waits for all others that read the old one."""
    import networkx

    dag = schedule.dag.copy()
    number = {kernel: i for i, kernel in enumerate(schedule)}
    for value, state in _updates(schedule).items():
        writer = schedule.kernel_of.get(value)
        if writer is not None:
            after = networkx.descendants(dag, writer)
            readers = (schedule.kernels[i] for i in schedule.readers.get(state, ()) if i != number[writer])
            dag.add_edges_from((reader, writer) for reader in readers if reader not in after)
    return dag


def _late(schedule: Schedule) -> set[Kernel]:
    """Return the kernels that wait until all others have run."""
    graph, dag = schedule.graph, schedule.dag
    updates = _updates(schedule).keys() if schedule.options.uses("late_updates") else set[Node]()
    chains = {n for o in graph.outputs for n in scatter_chain(o)}
    last = {k for k in schedule if not dag.out_degree(k)}
    writing = {k for k in schedule if not updates.isdisjoint(k.nodes)}
    scatters = {k for k in schedule if not chains.isdisjoint(k.nodes)}
    late = writing & last
    late |= {k for k in scatters if scatters.issuperset(dag.successors(k))}
    late |= {k for k in last if _may_hand_on(schedule, k)}
    # Counts of steps with what follows from them: from the first write of state on no signal ends a call.
    return late | {k for k in writing if not k.space and late.issuperset(dag.successors(k))}


def _may_hand_on(schedule: Schedule, kernel: Kernel) -> bool:
    """Tell whether a loop or branch may write what is given over what is received, once all else has read that."""
    given = kernel.kind == "control" and any(n in schedule.graph.output_counts for n in kernel.nodes)
    return given and any(isinstance(x.op, Placeholder) for n in kernel.nodes for x in n.inputs)


class Footprint:
    """What kernels add to memory, and what orders of them need, with a guess for the sizes of named dimensions."""

    def __init__(self, schedule: Schedule, guess: int) -> None:
        self.guess = guess
        self.known: dict[TensorType, int] = {}
        kept = {schedule.accesses[o].base for o in schedule.graph.outputs}
        self.stored = {k: [n for n in k.stored if n not in kept] for k in schedule}
        temporary = {n for nodes in self.stored.values() for n in nodes}
        reading = zip(schedule, schedule.reading, strict=True)
        self.read = {k: [x for x in read if x in temporary and x not in k.levels] for k, read in reading}
        self.readers = Counter(x for read in self.read.values() for x in read)

    def added(self, kernel: Kernel) -> float:
        """Return the bytes that a kernel stores less its share of those that it reads."""
        read = (self._bytes(x) / self.readers[x] for x in self.read[kernel])
        return sum(map(self._bytes, self.stored[kernel])) - sum(read)

    def peak(self, kernels: Sequence[Kernel]) -> int:
        """Return the most bytes that are live at once."""
        last = {x: kernel for kernel in kernels for x in self.read[kernel]}
        live = most = 0
        for kernel in kernels:
            live += sum(map(self._bytes, self.stored[kernel]))
            most = max(most, live)
            live -= sum(self._bytes(x) for x in self.read[kernel] if last[x] is kernel)
            live -= sum(self._bytes(x) for x in self.stored[kernel] if x not in last)
        return most

    def across(self, kernels: Sequence[Kernel]) -> list[int]:
        """Return, for each kernel, the bytes that wait when it has run for those that come after."""
        last = {x: kernel for kernel in kernels for x in self.read[kernel]}
        live, found = 0, []
        for kernel in kernels:
            live += sum(self._bytes(x) for x in self.stored[kernel] if x in last)
            live -= sum(self._bytes(x) for x in self.read[kernel] if last[x] is kernel)
            found.append(live)
        return found

    def _bytes(self, node: Node) -> int:
        found = self.known.get(node.type)
        if found is None:
            count = size_value(node.size, dict.fromkeys(symbols([node.size]), self.guess))
            found = self.known[node.type] = -(-count * node.dtype.itemsize // ALIGNMENT) * ALIGNMENT
        return found
