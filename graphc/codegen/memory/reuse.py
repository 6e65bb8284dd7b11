"""Temporary values that are written over another: a value whose last reader is the kernel that computes them.

Decided kernel by kernel while a section is lowered, since only then is it known which results of a loop are parts of
its buffers. A value may be written over where no other kernel reads it, or anything that shares its bytes, at the
same time or later, and where its own kernel reads each element only at the index, and before, it writes the same of
the new value. The kernel then reads the old value through the pointer of the new one, as it does with state that is
updated in place: so what it tells LLVM of pointers that do not overlap stays true.

The same goes for loops. A result of which each step gives a row may be written over what steps receive by rows, where
the loop is the last to read that, and a step reads its row as above: it is the row that the step writes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from graphc.codegen.memory.inplace import reads_in_place
from graphc.codegen.memory.reads import Reads
from graphc.codegen.nest.places import Places
from graphc.graph.node import Node
from graphc.graph.types import Size
from graphc.ops.control import Project, Scan
from graphc.passes.schedule.kernels import Kernel


class Reuse:
    """What is known of the memory of a section's temporary values, while it is lowered.

    Values in `closed` have memory that others know of; `places` grows with what `pairs` finds.
    """

    def __init__(self, reads: Reads, places: Places, closed: Container[Node]) -> None:
        self.schedule = schedule = reads.schedule
        self.closed = closed
        self.places = places
        self.last = {x: reads.end if x in closed else reads.last(x) for x in schedule.readers}
        self._end = reads.end
        self._shared: dict[Node, tuple[int, int]] = {}

    def place(self, parts: Mapping[Node, tuple[Node, Size]]) -> None:
        """Note values that are parts of others, with their offsets there in elements."""
        self.places.put(parts)
        for x, (whole, _) in parts.items():
            self._shared[whole] = _later(self._block(whole), (self._last(x), 1))

    def _last(self, x: Node) -> int:
        return self._end if x in self.closed else self.last.get(x, -1)

    def _block(self, whole: Node) -> tuple[int, int]:
        """Return when a value or another in its memory is last read, and how many of them are read then."""
        return self._shared.get(whole, (self._last(whole), 1))

    def pairs(self, number: int) -> dict[Node, Node]:
        """Return the values that a kernel may write over, each with the one that it writes there; they are placed."""
        kernel = self.schedule.kernels[number]
        found: dict[Node, Node] = {}
        stored = kernel.stored if self.schedule.options.uses("reuse") else ()
        free = [y for y in stored if y not in self.closed and y not in self.places.parts]
        for x in self.schedule.reading[number] if free and kernel.kind == "loop" else []:
            if x in self.schedule.kernel_of and self._dies(x, number):
                y = next((y for y in free if self._fits(kernel, number, x, y)), None)
                if y is not None:
                    free.remove(y)
                    found[x] = y
                    self.place({y: self.places.of(x)})
        return found

    def rows(self, number: int) -> dict[Node, Node]:
        """Return what each step of a loop receives and may write over, with what it gives, as values of the body."""
        kernel = self.schedule.kernels[number]
        loop = kernel.nodes[0]
        op, accesses = loop.op, self.schedule.accesses
        assert isinstance(op, Scan)
        if not self.schedule.options.uses("reuse_rows"):
            return {}
        given = op.body.outputs
        bases = [accesses[x].base for x in loop.inputs]
        found: dict[Node, Node] = {}
        for j, result in self._stacked(kernel, op).items():
            y = given[op.carries + j]
            for k in range(op.carries, op.carries + op.sequences if y not in given[: op.carries] else 0):
                x = loop.inputs[k]
                alone = bases.count(bases[k]) == 1 and x.size == bases[k].size and accesses[x].offset == 0
                same = x.dtype == result.dtype and x.shape == result.shape
                if alone and same and bases[k] in self.schedule.kernel_of and self._dies(bases[k], number):
                    found.setdefault(op.body.inputs[k], y)
        return found

    def _stacked(self, kernel: Kernel, op: Scan) -> dict[int, Node]:
        """Return the results of a loop that have a row of every step and no memory yet, by number."""
        results = {op.results[n.op.index]: n for n in kernel.nodes if isinstance(n.op, Project)}
        free = {n for n in results.values() if n not in self.closed and n not in self.places.parts}
        return {j: n for (kind, j), n in results.items() if kind == "stacked" and n in free}

    def steps(self, rows: Mapping[Node, Node]) -> dict[int, dict[Node, Node]]:
        """Return those of `rows`, this being the body, that hold for its kernels: by the kernel that gives the row."""
        makes = {n: i for i, k in enumerate(self.schedule) for n in k.stored}
        found: dict[int, dict[Node, Node]] = {}
        for x, y in rows.items():
            number = makes.get(y, -1)
            last = number >= 0 and self.last.get(x) == number and y not in found.get(number, {}).values()
            if last and self._fits(self.schedule.kernels[number], number, x, y):
                found.setdefault(number, {})[x] = y
        return found

    def place_rows(self, number: int, steps: Mapping[int, Mapping[Node, Node]]) -> None:
        """Note that results of a loop are written over what its steps receive."""
        kernel = self.schedule.kernels[number]
        op = kernel.nodes[0].op
        assert isinstance(op, Scan)
        outer = dict(zip(op.body.inputs, kernel.nodes[0].inputs, strict=True))
        results = self._stacked(kernel, op)
        given = {op.body.outputs[op.carries + j]: n for j, n in results.items()}
        for pairs in steps.values():
            for x, y in pairs.items():
                base = self.schedule.accesses[outer[x]].base
                self.place({given[y]: self.places.of(base)})

    def _dies(self, x: Node, number: int) -> bool:
        """Tell whether a kernel is the last to read a value, and alone reads what shares its bytes."""
        whole = self.places.whole(x)
        return self.last[x] == number and self._block(whole) == (number, 1)

    def _fits(self, kernel: Kernel, number: int, x: Node, y: Node) -> bool:
        same = x.dtype == y.dtype and x.size == y.size
        return same and x not in kernel.levels and reads_in_place(self.schedule, number, x, y)


def _later(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Return the later time of two, and how many values are read then."""
    return max(a, b) if a[0] != b[0] else (a[0], a[1] + b[1])
