"""The phases of a kernel that reduces rows: what each computes, and what later ones find in memory.

A value that depends on a reduction over the inner axes is computed in a later inner loop than the reduction.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.codegen.nest.ir import Expr, Statement
from graphc.graph.node import Node
from graphc.ops.cost import is_expensive
from graphc.ops.reduction import Reduction
from graphc.passes.schedule.kernels import ACCUMULATED, INNER, OUTER, TOTAL, Kernel, Schedule
from graphc.passes.schedule.layout import Access
from graphc.passes.schedule.options import Options

Accesses = dict[Node, Access]


@dataclass
class Phase:
    """One inner nest: statements per point, before it and after it."""

    before: list[Statement] = field(default_factory=list)
    body: list[Statement] = field(default_factory=list)
    stores: list[Statement] = field(default_factory=list)
    block_start: list[Statement] = field(default_factory=list)
    block_end: list[Statement] = field(default_factory=list)
    after: list[Statement] = field(default_factory=list)
    values: dict[object, Expr] = field(default_factory=dict)


def first_phases(kernel: Kernel, accesses: Accesses) -> dict[Node, int]:
    """Return the first phase in which each member can be computed."""
    phase: dict[Node, int] = {}
    for node in kernel.nodes:
        bases = (accesses[x].base for x in node.inputs)
        ready = max((phase[b] for b in bases if b in phase), default=0)
        row = isinstance(node.op, Reduction) and kernel.levels[node] == OUTER
        later = kernel.levels[node] == OUTER and not row
        phase[node] = ready + 1 if row else max(ready, 1) if later else ready
    return phase


def roots_by_phase(kernel: Kernel, phase_of: dict[Node, int]) -> dict[int, list[Node]]:
    """Return the members that some phase must compute: what is stored or reduced."""
    roots: dict[int, list[Node]] = {}
    for node in kernel.nodes:
        level = kernel.levels[node]
        if level == OUTER and isinstance(node.op, Reduction):
            roots.setdefault(phase_of[node] - 1, []).append(node)
        elif level in (ACCUMULATED, TOTAL) or (level == INNER and node in kernel.in_memory):
            roots.setdefault(phase_of[node], []).append(node)
    return roots


def rows_to_keep(kernel: Kernel, accesses: Accesses, roots: dict[int, list[Node]], options: Options) -> list[Node]:
    """Return the inner values that one phase computes and a later one reads from memory.

    Whatever stands on a dear value is kept itself: it takes the place of that value, and need not be computed.
    """
    return _phases(kernel, accesses, roots, options)[0] if len(roots) > 1 else []


def reads_before_writing(kernel: Kernel, schedule: Schedule, state: Node, value: Node) -> bool:
    """Tell whether no phase reads `state` after the one that stores its new value."""
    accesses = schedule.accesses
    phase_of = first_phases(kernel, accesses)
    _, last = _phases(kernel, accesses, roots_by_phase(kernel, phase_of), schedule.options)
    readers = (n for n in kernel.nodes if any(accesses[x].base is state for x in n.inputs))
    return all(last.get(n, phase_of[n]) <= phase_of[value] for n in readers)


def _phases(
    kernel: Kernel, accesses: Accesses, roots: dict[int, list[Node]], options: Options
) -> tuple[list[Node], dict[Node, int]]:
    """Return the values to keep from phase to phase, and the last phase that computes each inner value."""
    keep: list[Node] = []
    first: dict[Node, int] = {}
    last: dict[Node, int] = {}
    dear = _dear(kernel, accesses) if options.uses("row_buffers") else set()
    for phase, members in sorted(roots.items()):
        stack = list(members)
        seen = set(stack)
        while stack:
            node = stack.pop()
            known = first.setdefault(node, phase)
            if known < phase and not isinstance(node.op, Reduction):
                stored = node in kernel.in_memory
                if stored or node in dear:
                    keep += [node] if node not in keep and not stored else []
                    continue
            last[node] = phase
            for x in node.inputs:
                base = accesses[x].base
                if kernel.levels.get(base) == INNER and base not in seen:
                    seen.add(base)
                    stack.append(base)
    return keep, last


def _dear(kernel: Kernel, accesses: Accesses) -> set[Node]:
    """Return the inner values that are dear, or stand on dear ones that no one stores."""
    dear: set[Node] = set()
    for node in kernel.nodes:
        bases = {accesses[x].base for x in node.inputs}
        if is_expensive(node) or any(b in dear and b not in kernel.in_memory for b in bases):
            dear.add(node)
    return {n for n in dear if kernel.levels[n] == INNER}
