"""Temporary values that are written over another: a value whose last reader is the kernel that computes them.

Decided kernel by kernel while a section is lowered, since only then is it known which results of a loop are parts of
its buffers. A value may be written over where no other kernel reads it, or anything that shares its bytes, at the
same time or later, and where its own kernel reads each element only at the index, and before, it writes the same of
the new value. The kernel then reads the old value through the pointer of the new one, as it does with state that is
updated in place: so what it tells LLVM of pointers that do not overlap stays true.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from graphc.codegen.inplace import readers_of, reads_in_place
from graphc.node import Node
from graphc.passes.fuse import Kernel, Schedule
from graphc.types import Size


class Reuse:
    """What is known of the memory of a section's temporary values, while it is lowered.

    Values in `closed` have memory that others know of; `placed` grows with what `pairs` finds. The kernels of the
    nodes in `deferred` run after all others.
    """

    def __init__(self, schedule: Schedule, closed: Container[Node], deferred: Container[Node]) -> None:
        self.schedule = schedule
        self.closed = closed
        self.placed: dict[Node, tuple[Node, Size]] = {}
        end = len(schedule)
        late = {i for i, k in enumerate(schedule) if k.kind == "scatter" and k.root in deferred}
        self.read_by: list[list[Node]] = [[] for _ in schedule]
        self.last: dict[Node, int] = {}
        for x, positions in readers_of(schedule).items():
            self.last[x] = max(end if i in late else i for i in positions)
            for i in positions:
                self.read_by[i].append(x)
        self._members: dict[Node, list[Node]] = {}

    def place(self, parts: Mapping[Node, tuple[Node, Size]]) -> None:
        """Note values that are parts of others, with their offsets there in elements."""
        self.placed |= parts
        for x, (whole, _) in parts.items():
            self._members.setdefault(whole, []).append(x)

    def pairs(self, number: int) -> dict[Node, Node]:
        """Return the values that a kernel may write over, each with the one that it writes there; they are placed."""
        kernel = self.schedule.kernels[number]
        found: dict[Node, Node] = {}
        free = [y for y in kernel.stored if y not in self.closed and y not in self.placed]
        for x in self.read_by[number] if free and kernel.kind == "loop" else []:
            if x in self.schedule.kernel_of and self._dies(x, number):
                y = next((y for y in free if self._fits(kernel, number, x, y)), None)
                if y is not None:
                    free.remove(y)
                    found[x] = y
                    self.place({y: self.placed.get(x, (x, 0))})
        return found

    def _dies(self, x: Node, number: int) -> bool:
        """Tell whether a kernel is the last to read a value, and alone reads what shares its bytes."""
        whole = self.placed.get(x, (x, 0))[0]
        others = [v for v in (whole, *self._members.get(whole, ())) if v is not x]
        if x in self.closed or any(v in self.closed or self.last.get(v, -1) >= number for v in others):
            return False
        return self.last[x] == number

    def _fits(self, kernel: Kernel, number: int, x: Node, y: Node) -> bool:
        same = x.dtype == y.dtype and x.size == y.size
        return same and x not in kernel.levels and reads_in_place(self.schedule, number, x, y)
