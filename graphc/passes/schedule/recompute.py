"""`recompute(schedule) -> Schedule`: cheap values that several kernels need are computed in each, and stored by none.

Kernels are made first, by `fuse`. A value that one of them stores for others only is then computed by these too, where
that takes less than the memory traffic that it saves, by the table in `machine`: the write, and what reading the value
takes above reading its operands. Those are values in memory, or results of row reductions, which are few. So a value
may be in several kernels, none of which stores it; a kernel that is left with nothing goes.

A value has the same bits wherever it is computed: repeated are operations that round once or not at all, no special
functions, draws, gathers or sums. (Functions beside it may round the last elements of a row otherwise, where LLVM
takes other vectors for the kernel.) Nor does memory grow: what is read in place of a value, and would else be free by
then, is no larger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from graphc.graph.node import Node
from graphc.graph.op import Leaf
from graphc.graph.types import Size, size_value, symbols
from graphc.ops.cost import is_expensive
from graphc.ops.indexing import Gather, Offset, Scatter
from graphc.ops.pointwise import Cast, Elementwise
from graphc.ops.reduction import Reduction
from graphc.passes.schedule import machine
from graphc.passes.schedule.fuse import at_hand
from graphc.passes.schedule.fusion_costs import ASSUMED_SIZE, MAX_OPS, MAX_POINTERS, Repeat, assumed, work_of
from graphc.passes.schedule.groups import has_frames
from graphc.passes.schedule.kernels import INNER, OUTER, Kernel, Schedule
from graphc.passes.schedule.layout import COPY, Access, is_inline

MAX_AGAIN = 8
"""Operations that are repeated for one value."""
WORTH = 100.0
"""Nanoseconds that a call must gain."""
SHOWS = 0.25
"""The part of a repeated operation's time that shows: the rest passes while memory is waited for. Measured with sums,
divisions and comparisons in kernels of layer norms, softmax and dropout."""
LOOPS = 2
"""Loops over a row, about, in which a kernel that reduces rows computes a cheap value."""
SLACK = 8
"""The part of a value's bytes that may be added: row values, which nothing stored before."""


def recompute(schedule: Schedule) -> Schedule:
    """Take cheap values out of memory where their readers compute them sooner.

    before: `kernel 0: %2 multiply, %3 sum -> %2, %3`, `kernel 1: %5 add -> %5`, of which `%5` reads `%2`
    after: `kernel 0: %2 multiply, %3 sum -> %3`, `kernel 1: %2 multiply, %5 add -> %5`
    """
    if not schedule.options.uses("recompute"):
        return schedule
    work = _Recompute(schedule)
    for node in schedule.graph.nodes:
        if node in work.home:
            work.visit(node)
    return work.schedule()


class _Recompute:
    """The kernels while values move; operands come before what is made of them.

    `home` has the kernel that stores each value, `readers` the kernels that read it.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.before = schedule
        self.accesses = schedule.accesses
        self.levels = [kernel.levels for kernel in schedule]
        self.home = {n: i for i, kernel in enumerate(schedule) if kernel.kind == "loop" for n in kernel.stored}
        self.readers = dict(schedule.readers)
        self.kept = {self.accesses[o].base for o in schedule.graph.outputs}
        self.repeats: list[Repeat] = []

    # -- what may be repeated

    def visit(self, value: Node) -> None:
        """Decide about one stored value."""
        first = self.home[value]
        if value in self.kept or not _is_repeatable(value) or self.levels[first][value] != INNER:
            return
        others = [i for i in self.readers.get(value, ()) if i != first]
        if not others or not self._may_gain(value, len(others)):
            return
        if not all(self._is_alike(i, first) and self._reads_whole(i, value) for i in others):
            return
        cone = self._cone(value, first)
        if cone is None or not all(self._takes(i, cone) for i in others):
            return
        repeat = self._priced(value, cone, first, others)
        self.repeats.append(repeat)
        if repeat.pays:
            self._move(value, cone, first, others)

    def _may_gain(self, value: Node, readers: int) -> bool:
        """Tell whether a value is large enough for what it could save at most, a kernel of its own included."""
        nbytes = assumed(value.size) * value.dtype.itemsize
        return machine.byte_ns(nbytes) * nbytes * (readers + 3) + machine.CALL > WORTH

    def _is_alike(self, number: int, first: int) -> bool:
        kernels = self.before.kernels
        kernel = kernels[number]
        return kernel.kind == "loop" and kernel.space == kernels[first].space and not has_frames(kernel.nodes)

    def _reads_whole(self, number: int, value: Node) -> bool:
        """Tell whether a kernel reads each element of a value where it would compute it."""
        for node in self.before.reading[number][value]:
            inner = isinstance(node.op, Reduction) or self.levels[number][node] == INNER
            whole = all(self._at_hand(x, INNER) for x in node.inputs if self.accesses[x].base is value)
            if not inner or not whole or isinstance(node.op, Gather):
                return False
        return True

    def _at_hand(self, x: Node, found: str) -> bool:
        return at_hand(self.accesses[x], x, found, INNER)

    def _cone(self, value: Node, first: int) -> list[Node] | None:
        """Return what a value is computed with, from values that are in memory or may be, operands first."""
        levels, found = self.levels[first], {value}
        stack = [value]
        while stack:
            node = stack.pop()
            if not _is_repeatable(node) or len(found) > MAX_AGAIN:
                return None
            for base in self._bases(node):
                if self.home.get(base) != first and levels.get(base, OUTER) != OUTER and base not in found:
                    found.add(base)
                    stack.append(base)
        return sorted(found, key=self.before.graph.index.__getitem__)

    def _bases(self, node: Node) -> Iterator[Node]:
        """Yield the values that a node reads from memory or variables."""
        for x in node.inputs:
            base = self.accesses[x].base
            if not is_inline(base.op) and base not in self.before.inline:
                yield base

    def _operands(self, cone: list[Node]) -> list[Node]:
        """Return the values that a cone reads."""
        return list(dict.fromkeys(b for n in cone for b in self._bases(n) if b not in cone))

    def _loads(self, members: Collection[Node]) -> dict[Access, Node]:
        """Return what members read of other values, each at the places of one access."""
        reads = {self.accesses[x]: x for n in members for x in n.inputs}
        return {a: x for a, x in reads.items() if not is_inline(a.base.op) and a.base not in members}

    def _step(self, x: Node) -> Size:
        """Return the stride between neighbours of a row."""
        return next((s for s, n in zip(self.accesses[x].strides[::-1], x.shape[::-1], strict=True) if n != 1), 0)

    def _takes(self, number: int, cone: list[Node]) -> bool:
        """Tell whether a kernel can compute a cone: it has what the cone reads in variables, or may load it."""
        levels, graph = self.levels[number], self.before.graph
        for x in (x for n in cone for x in n.inputs):
            base = self.accesses[x].base
            if base in levels and base not in cone and not self._at_hand(x, levels[base]):
                return False
            if self._step(x) not in (0, 1):  # numbers far apart are dear to load
                return False
        new = [b for b in self._operands(cone) if b not in levels and number not in self.readers.get(b, ())]
        # State, and what scatters write into, may have its next value by then.
        if any(b in graph.updates or any(isinstance(u.op, (Offset, Scatter)) for u in graph.users(b)) for b in new):
            return False
        reads = len(self._reads(number, levels)) + len(new)
        return reads <= MAX_POINTERS and len(levels) + len(cone) <= MAX_OPS

    # -- what it saves and costs

    def _priced(self, value: Node, cone: list[Node], first: int, others: list[int]) -> Repeat:
        operands, kernels = self._operands(cone), self.before.kernels
        widest = max(n.dtype.itemsize for n in (*cone, *operands))
        vectors = max(1.0, assumed(value.size) * widest / machine.VECTOR_BYTES)

        def move(node: Node) -> float:
            nbytes = assumed(node.size) * node.dtype.itemsize
            return machine.VECTOR_BYTES * machine.byte_ns(nbytes) * node.dtype.itemsize / widest

        def loads(found: Iterable[Node]) -> float:
            """A number that is the same along a row is loaded once a row."""
            return sum(move(self.accesses[x].base) for x in found if self._step(x) != 0)

        left = self._left(first, value)
        dropped = [n for n in self.levels[first] if n not in left]
        kept = self._loads(left)
        unread = [x for access, x in self._loads(self.levels[first]).items() if access not in kept]
        saved = move(value) * (1 + len(others)) + loads(unread) + SHOWS * sum(work_of(n).time for n in dropped)
        saved += 0.0 if left else machine.CALL / vectors
        cost = 0.0
        for i in others:
            again = sum(work_of(n).time for n in cone if n not in self.levels[i])
            cost += SHOWS * again * (1 if kernels[i].split is None else LOOPS)
            known = self._loads(self.levels[i])
            new = (x for a, x in self._loads(cone).items() if a not in known and a.base not in self.levels[i])
            cost += loads(new)
        grows = self._added_bytes(operands, others) > _bytes(value) * (1 + 1 / SLACK)
        named = f"%{self.before.graph.index[value]} {value.op.name}"
        return Repeat(named, first, tuple(others), saved, cost, WORTH / vectors, grows)

    def _left(self, number: int, value: Node) -> dict[Node, str]:
        """Return the members that a kernel needs where it does not store a value."""
        levels = self.levels[number]
        stack = [n for n in levels if self.home.get(n) == number and n is not value]
        needed = set(stack)
        while stack:
            for base in self._bases(stack.pop()):
                if base in levels and base not in needed:
                    needed.add(base)
                    stack.append(base)
        return {n: level for n, level in levels.items() if n in needed}

    def _reads(self, number: int, levels: dict[Node, str]) -> set[Node]:
        return {b for n in levels for b in self._bases(n) if b not in levels}

    def _added_bytes(self, operands: Iterable[Node], others: list[int]) -> float:
        """Return the bytes of what is in memory longer than before, or at all."""
        temporary = (b for b in operands if not isinstance(b.op, Leaf) and b not in self.kept)
        return sum(_bytes(b) for b in temporary if max(self.readers.get(b, [-1])) < others[-1])

    # -- moving

    def _move(self, value: Node, cone: list[Node], first: int, others: list[int]) -> None:
        """Let the readers of a value compute it."""
        index = self.before.graph.index
        operands = self._operands(cone)
        for base in operands:
            if base in self.levels[first]:
                self.home[base] = first
        left = self._left(first, value)
        for base in self._reads(first, self.levels[first]) - self._reads(first, left):
            self.readers[base] = [i for i in self.readers[base] if i != first]
        self.levels[first] = left
        for i in others:
            own = self.levels[i] | dict.fromkeys(cone, INNER)
            self.levels[i] = {n: own[n] for n in sorted(own, key=index.__getitem__)}
            for base in operands:
                if base not in own:
                    self.readers[base] = sorted({*self.readers.get(base, ()), i})
        del self.home[value], self.readers[value]

    def schedule(self) -> Schedule:
        """Return the schedule with the kernels as they are now."""
        if not self.repeats:
            return self.before
        kernels = [self._kernel(i, kernel) for i, kernel in enumerate(self.before)]
        number: dict[int, int] = {}
        for i, kernel in enumerate(kernels):
            if kernel.nodes:
                number[i] = len(number)
        kept = [kernel for kernel in kernels if kernel.nodes]
        return replace(self.before, repeats=tuple(self.repeats)).renumbered(kept, number)

    def _kernel(self, i: int, kernel: Kernel) -> Kernel:
        levels = self.levels[i]
        if levels is kernel.levels:
            return kernel
        stored = tuple(n for n in levels if self.home.get(n) == i)
        return replace(kernel, nodes=tuple(levels), levels=levels, stored=stored)


def _is_repeatable(node: Node) -> bool:
    return isinstance(node.op, (Elementwise, Cast)) and node.op is not COPY and not is_expensive(node)


def _bytes(node: Node) -> int:
    return size_value(node.size, dict.fromkeys(symbols([node.size]), ASSUMED_SIZE)) * node.dtype.itemsize
