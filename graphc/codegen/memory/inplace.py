"""Which state and which carries may be updated in place: decided once per graph, before lowering.

`reuse` asks the same question of temporary values, as their kernels are lowered.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import pairwise

from graphc.codegen.memory.reads import Reads
from graphc.codegen.nest.phases import reads_before_writing
from graphc.graph.node import Node, Shared
from graphc.graph.op import Routine
from graphc.graph.types import Shape, Size
from graphc.ops.control import Control, While
from graphc.ops.indexing import Gather, Scatter
from graphc.ops.linalg import MatMulUpdate
from graphc.ops.reduction import Reduction
from graphc.ops.shape import Concat, contiguous_strides
from graphc.passes.schedule.frame import Framed
from graphc.passes.schedule.fuse import squeeze_strides
from graphc.passes.schedule.kernels import INNER, Kernel, Schedule
from graphc.passes.schedule.layout import Access
from graphc.passes.updates.scatters import scatter_chain


def updates_in_place(schedule: Schedule) -> dict[Node, tuple[Node, ...]]:
    """Return, for each state whose new value may be written over the old one, the values written there, in order.

    Either one value: safe where everything else that reads the old one runs before, the kernel itself reads each
    element only at the index it writes, and no kernel that can fail runs at the same time or after. Or the scatters
    that make the new value, where nothing else reads those: they are late, and what they write into must not be read
    by anything later, other late scatters included.
    """
    graph = schedule.graph
    if not graph.updates:  # bodies of loops have none
        return {}
    place = {n: i for i, k in enumerate(schedule) for n in k.nodes}
    values = dict(zip(graph.updates, graph.outputs[len(graph.outputs) - len(graph.updates) :], strict=True))
    late = _late_scatters(schedule, place, values)
    reads = Reads(schedule, late_order(schedule, late))
    last_failing = max((i for i, k in enumerate(schedule) if any(_can_fail(n) for n in k.nodes)), default=-1)
    found: dict[Node, tuple[Node, ...]] = {}
    for state, value in values.items():
        if state in late:
            found[state] = late[state]
            continue
        at_kernel = place[value]
        own = at_kernel not in schedule.readers.get(state, ()) or reads_in_place(schedule, at_kernel, state, value)
        if own and reads.last_of_others(state, at_kernel) < at_kernel and at_kernel > last_failing:
            found[state] = (value,)
    return found


def late_order(schedule: Schedule, writes: Mapping[Node, Sequence[Node]]) -> tuple[Node, ...]:
    """Return the scatters among what is written into states, in the order in which they run."""
    late = {n for values in writes.values() for n in values}
    return tuple(k.root for k in schedule if k.kind == "scatter" and k.root in late)


def _late_scatters(
    schedule: Schedule, place: Mapping[Node, int], values: Mapping[Shared, Node]
) -> dict[Node, tuple[Node, ...]]:
    """Return the chains of scatters into states that may run after all other kernels: only they read each other."""
    readers = schedule.readers
    late: dict[Node, tuple[Node, ...]] = {}
    for state, value in values.items():
        chain = scatter_chain(value)
        alone = all(readers[x] == [place[y]] for x, y in pairwise(chain)) and value not in readers
        if chain and chain[0].inputs[0] is state and alone:
            late[state] = chain
    while True:  # a scatter that cannot wait runs, and reads, at its own time
        reads = Reads(schedule, late_order(schedule, late))
        kept = {state: chain for state, chain in late.items() if _may_write(reads, place, chain)}
        if len(kept) == len(late):
            return late
        late = kept


def _may_write(reads: Reads, place: Mapping[Node, int], chain: Sequence[Node]) -> bool:
    """Tell whether scatters may write into what the first is of: what they change is not read later, nor by them."""
    unread = (reads.last_of_others(n.inputs[0], place[n]) < reads.at[place[n]] for n in chain)
    return all(unread) and all(writes_only(reads.schedule, n) for n in chain)


def operands_in_place(schedule: Schedule, elsewhere: Container[Node]) -> dict[Node, Node]:
    """Return the temporary values that only a scatter reads, each with the last scatter that writes into its memory."""
    reads = Reads(schedule)
    stored = {n for k in schedule for n in k.stored if k.kind in ("loop", "scatter")}
    found: dict[Node, Node] = {}
    for number, kernel in reversed(list(enumerate(schedule))):
        node = kernel.root
        if kernel.kind == "scatter" and node not in elsewhere:
            x = node.inputs[0]
            if x in stored and x not in elsewhere and reads.only(x, number) and writes_only(schedule, node):
                found[x] = found.get(node, node)
    return found


def parts_in_place(schedule: Schedule, elsewhere: Container[Node]) -> dict[Node, tuple[Node, Size]]:
    """Return, for temporary values that only a concatenation along the first axis reads, their place in it."""
    reads = Reads(schedule)
    stored = {n for k in schedule for n in k.stored if k.kind == "loop"}
    found: dict[Node, tuple[Node, Size]] = {}
    for number, kernel in enumerate(schedule):
        node = kernel.nodes[0]
        if not isinstance(node.op, Concat) or node in elsewhere or any(n != 1 for n in node.shape[: node.op.axis]):
            continue
        offset: Size = 0
        for x in node.inputs:
            access = schedule.accesses[x]
            base, whole = access.base, access.offset == 0 and access.strides == contiguous_strides(x.shape)
            alone = base in stored and base not in elsewhere and reads.only(base, number) and base.size == x.size
            if whole and alone and sum(schedule.accesses[y].base is base for y in node.inputs) == 1:
                found[base] = node, offset
            offset = offset + x.size
    return found


def writes_only(schedule: Schedule, scatter: Node) -> bool:
    """Tell whether a scatter's kernel reads nothing of what it writes into: neither values nor indices."""
    kernel = schedule.kernel_of[scatter]
    target = scatter.inputs[0]
    read = (x for n in kernel.nodes for x in (n.inputs[1:] if n is scatter else n.inputs))
    return all(schedule.accesses[x].base is not target for x in read)


def _can_fail(node: Node) -> bool:
    """Tell whether a kernel can end a run: by a failed check, or by a signal in a loop of unknown length."""
    if isinstance(node.op, Control):
        return isinstance(node.op, While) or any(_can_fail(n) for g in node.op.regions() for n in g.nodes)
    return isinstance(node.op, (Gather, Scatter)) or (isinstance(node.op, Routine) and bool(node.op.failure))


def reads_in_place(schedule: Schedule, position: int, state: Node, value: Node) -> bool:
    """Tell whether a kernel reads each element of `state` only where, and before, it writes the same of `value`.

    Both have the same number of elements, maybe in other shapes.
    """
    kernel: Kernel = schedule.kernels[position]
    if isinstance(kernel.nodes[0].op, MatMulUpdate):
        w, *others = (schedule.accesses[x] for x in kernel.nodes[0].inputs)
        return w == Access(state, 0, contiguous_strides(state.shape)) and all(x.base is not state for x in others)
    level = kernel.levels[value]
    if kernel.kind != "loop" or isinstance(value.op, Reduction):
        return False
    whole = squeeze_strides(contiguous_strides(value.shape), value.shape)
    for node in schedule.reading[position].get(state, ()):
        reads = [x for x in node.inputs if schedule.accesses[x].base is state]
        inner = isinstance(node.op, Reduction) or kernel.levels[node] == INNER
        elsewhere = isinstance(node.op, (Framed, Gather)) or any(_walked(schedule, x) != whole for x in reads)
        if inner != (level == INNER) or elsewhere:
            return False
    return kernel.split is None or reads_before_writing(kernel, schedule, state, value)


def _walked(schedule: Schedule, x: Node) -> Shape | None:
    """Return the strides at which an operand is read from the first element on, without axes of size 1."""
    access = schedule.accesses[x]
    return squeeze_strides(access.strides, x.shape) if access.offset == 0 else None
