"""What a step or a branch receives and hands on in the same memory: arrays that loops and branches change by parts.

A loop's carry, and what a branch makes of an operand, may stay where it is if everything between what is received and
what is given is written over it: by scatters, by a loop or a branch inside that does the same, or by nothing at all.
The graph around then has no copy of it to make, whatever its size. Decided before anything is lowered, from the
schedules of the graphs inside ops, since the graph around must know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from graphc.codegen.memory.inplace import reads_in_place, writes_only
from graphc.codegen.memory.reads import Reads
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.control import Control, Project, Scan, Switch, While
from graphc.ops.indexing import Offset, Scatter
from graphc.passes.schedule.kernels import Kernel, Schedule
from graphc.passes.schedule.layout import COPY

Pair = tuple[Node, Node]
"""What a graph receives, and what it gives in its place."""
Over = dict[Node, Node]
"""Values, each with what it is written over."""


def carried(op: Scan | While) -> list[Pair]:
    """Return the carries of a loop that nobody keeps all of, each with what a step gives for it."""
    if isinstance(op, While):
        return list(zip(op.body.inputs, op.body.outputs, strict=False))
    kept = {i for kind, i in op.results if kind == "carry"}
    return [(op.body.inputs[i], op.body.outputs[i]) for i in range(op.carries) if i not in kept]


def chain(value: Node, over: Over) -> Iterator[Node]:
    """Yield a value and what it is written over, to the first."""
    yield value
    while value in over:
        value = over[value]
        yield value


class HandedOn:
    """What the graphs of one program hand on, each with its schedule, which is made once."""

    def __init__(self, schedule_of: Callable[[Graph], Schedule]) -> None:
        self._schedule_of = schedule_of
        self._parts: dict[Graph, _Part] = {}
        self._switches: dict[Switch, dict[int, int]] = {}

    def _part(self, graph: Graph) -> _Part:
        if graph not in self._parts:
            self._parts[graph] = _Part(self._schedule_of(graph), self)
        return self._parts[graph]

    def schedule(self, graph: Graph) -> Schedule:
        """Return the schedule of a graph."""
        return self._part(graph).schedule

    def between(self, graph: Graph, pair: Pair, *, branch: bool = False) -> Over:
        """Return the values from what is given back to what is received; nothing where they cannot be in one place.

        A loop has two buffers for what it computes anew, so that only a `branch` gains where elements are computed
        from themselves.
        """
        if not pair[0].shape:
            return {}  # nothing to copy, and a loop of one kernel keeps a number in a register
        part = self._part(graph)
        if (pair, branch) not in part.known:
            part.known[pair, branch] = part.between(pair, branch)
        return part.known[pair, branch]

    def operand(self, node: Node, op: Control, index: int) -> Node | None:
        """Return the operand that a result may be written over, as far as what is inside goes."""
        if isinstance(op, Switch):
            place = self._places(op).get(op.results[index])
            return None if place is None else node.inputs[1 + place]
        assert isinstance(op, (Scan, While))
        result = op.results[index]
        kind, carry = result if isinstance(result, tuple) else ("final", result)
        pair = op.body.inputs[carry], op.body.outputs[carry]
        steps = kind == "final" and pair in carried(op) and self.between(op.body, pair)
        return node.inputs[carry] if steps else None

    def _places(self, op: Switch) -> dict[int, int]:
        """Return, by result, the operand that every branch can write it over; no two results have one."""
        if op not in self._switches:
            found: dict[int, int] = {}
            used: list[Over] = [{} for _ in op.branches]
            for result in range(len(op.branches[0].outputs)):
                chains = {j: self._chains(op, j, result, used) for j in range(len(op.branches[0].inputs))}
                fits = [j for j, overs in chains.items() if overs and j not in found.values()]
                if fits:  # best what some branches only pass on, or change by parts
                    best = max(fits, key=lambda j: (sum(map(_by_parts, chains[j])), -j))
                    found[result] = best
                    for known, over in zip(used, chains[best], strict=True):
                        known |= over
            self._switches[op] = found
        return self._switches[op]

    def _chains(self, op: Switch, operand: int, result: int, used: Sequence[Over]) -> list[Over]:
        """Return what each branch writes over for one result; nothing where one cannot, or has for another result."""
        pairs = [(b.inputs[operand], b.outputs[result]) for b in op.branches]
        if any(x.type != y.type for x, y in pairs):
            return []
        overs = [self.between(b, pair, branch=True) for b, pair in zip(op.branches, pairs, strict=True)]
        taken = ({*known, *known.values()} & {*over, *over.values()} for known, over in zip(used, overs, strict=True))
        return overs if all(overs) and not any(taken) else []


def _by_parts(over: Over) -> bool:
    """Tell whether no value of a chain is computed anew."""
    return all(
        isinstance(n.op, (Scatter, Offset, Project)) or (n.op is COPY and n.inputs[0] is x) for n, x in over.items()
    )


class _Part:
    """One graph: its schedule, and when its values are read."""

    def __init__(self, schedule: Schedule, whole: HandedOn) -> None:
        self.schedule = schedule
        self.whole = whole
        self.known: dict[tuple[Pair, bool], Over] = {}
        self.reads = Reads(schedule)
        self.place = {n: i for i, k in enumerate(schedule) for n in k.nodes}

    def between(self, pair: Pair, branch: bool) -> Over:
        received, value = pair
        if self.schedule.graph.outputs.count(value) != 1:
            return {}
        over: Over = {}
        while value is not received:
            target = self._target(value, received, branch) if value in self.place else None
            if target is None:
                return {}
            over[value] = target
            value = target
        return over

    def _target(self, value: Node, received: Node, branch: bool) -> Node | None:
        """Return what the kernel of a value may write it over, or None."""
        number = self.place[value]
        kernel = self.schedule.kernels[number]
        if value.op is COPY and value.inputs[0] is received and self._is_private(received):
            return received  # it stays as it is
        if isinstance(value.op, (Scatter, Offset)) and kernel.root is value:
            found = value.inputs[0] if writes_only(self.schedule, value) else None
        elif isinstance(value.op, Project) and isinstance(value.inputs[0].op, Control):
            found = self._handed_on(value.inputs[0], value.inputs[0].op, value.op.index)
        else:
            computed = branch and kernel.kind == "loop" and value in kernel.in_memory
            found = received if computed and reads_in_place(self.schedule, number, received, value) else None
        if found is None or self.reads.last_of_others(found, number) >= self.reads.at[number]:
            return None
        return found

    def _is_private(self, received: Node) -> bool:
        """Tell whether one output alone is a copy of what is received."""
        return sum(y.op is COPY and y.inputs[0] is received for y in self.schedule.graph.outputs) == 1

    def _handed_on(self, node: Node, op: Control, index: int) -> Node | None:
        """Return the operand that a result may be written over, where the op reads it once."""
        found = self.whole.operand(node, op, index)
        bases = [self.schedule.accesses[x].base for x in node.inputs]
        return found if found is not None and bases.count(found) == 1 else None


def without_copies(schedule: Schedule, over: Over) -> Schedule:
    """Return a schedule without the copies of what is handed on as it is."""
    gone = {n for n, x in over.items() if n.op is COPY and n.inputs[0] is x}
    if not gone:
        return schedule
    kernels = (_without(k, gone) if not gone.isdisjoint(k.nodes) else k for k in schedule)
    return replace(schedule, kernels=tuple(k for k in kernels if k.nodes), cuts=(), repeats=())


def _without(kernel: Kernel, gone: set[Node]) -> Kernel:
    nodes = tuple(n for n in kernel.nodes if n not in gone)
    levels = {n: level for n, level in kernel.levels.items() if n not in gone}
    return replace(kernel, nodes=nodes, stored=tuple(n for n in kernel.stored if n not in gone), levels=levels)
