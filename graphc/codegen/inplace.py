"""Which state may be updated in place: decided once per graph, before lowering."""

from __future__ import annotations

from graphc.node import Node
from graphc.ops.base import Routine
from graphc.ops.control import Control, While
from graphc.ops.indexing import Gather, Scatter
from graphc.ops.shape import contiguous_strides
from graphc.passes.fuse import INNER, Kernel, Schedule


def updates_in_place(schedule: Schedule) -> dict[Node, Node]:
    """Return, for each state whose new value may be written over the old one, that value.

    Safe where every other kernel that reads the old value runs before, the kernel itself reads each element only
    at the index it writes, and no kernel that can fail runs at the same time or after.
    """
    graph = schedule.graph
    first = len(graph.outputs) - len(graph.updates)
    place = {n: i for i, k in enumerate(schedule) for n in k.nodes}
    last_failing = max((i for i, k in enumerate(schedule) if any(_can_fail(n) for n in k.nodes)), default=-1)
    readers: dict[Node, list[int]] = {}
    for i, kernel in enumerate(schedule):
        for x in {schedule.accesses[x].base for n in kernel.nodes for x in n.inputs}:
            readers.setdefault(x, []).append(i)
    found: dict[Node, Node] = {}
    for state, value in zip(graph.updates, graph.outputs[first:], strict=True):
        at_kernel = place[value]
        before = all(i < at_kernel for i in readers.get(state, []) if i != at_kernel)
        own = at_kernel not in readers.get(state, []) or _reads_in_place(schedule, at_kernel, state)
        if before and own and at_kernel > last_failing:
            found[state] = value
    return found


def _can_fail(node: Node) -> bool:
    """Tell whether a kernel can end a run: by a failed check, or by a signal in a loop of unknown length."""
    if isinstance(node.op, Control):
        return isinstance(node.op, While) or any(_can_fail(n) for g in node.op.regions() for n in g.nodes)
    return isinstance(node.op, (Gather, Scatter)) or (isinstance(node.op, Routine) and bool(node.op.failure))


def _reads_in_place(schedule: Schedule, position: int, state: Node) -> bool:
    """Tell whether a kernel reads each element of `state` only where it writes the same element."""
    kernel: Kernel = schedule.kernels[position]
    if kernel.kind != "loop" or kernel.split is not None:
        return False
    for node in kernel.nodes:
        for x in node.inputs:
            access = schedule.accesses[x]
            if access.base is state:
                same = (
                    access.offset == 0 and access.strides == contiguous_strides(state.shape) and x.shape == node.shape
                )
                if not same or kernel.levels[node] != INNER:
                    return False
    return True
