"""The cost model of fusion: whether two parts of a program are better one kernel or two.

Apart, values that the second part reads are stored and loaded, by the price of the memory that they fit, and there
is one call more. Together, a long chain keeps the processor waiting for itself, values may not fit the registers,
and the compiler takes longer. All in nanoseconds for one vector, from the table in `machine`; a size that is a
symbol is taken to be 1,024, and a value with one at least 131,072 elements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from graphc.graph.node import Node
from graphc.graph.types import Size, TensorType, size_value, symbols
from graphc.ops.cost import is_expensive, operations_of
from graphc.ops.pointwise import Pointwise
from graphc.ops.reduction import Reduction
from graphc.passes.schedule import machine
from graphc.passes.schedule.frame import Framed

MAX_SIZE = 1024
"""Instructions of a kernel: LLVM is superlinear in straight-line code (10 ops 21 ms, 320 ops 130 ms, 1,000 ops 1 s)."""
MAX_OPS = 320
"""Members of a kernel."""
SMALL_SIZE, COMPILE_NS = 100, 0.02
"""What each instruction above a size must save to be worth its compilation; small kernels compile no slower as one."""
MAX_POINTERS = 24
MAX_STORED = 56
"""Buffers that a kernel writes: the compiler is told that they do not overlap, by groups of so many."""
ASSUMED_SIZE, ASSUMED_ELEMENTS = 1 << 10, 1 << 17
IN_TURNS = machine.IN_TURNS
"""Vectors that a long loop takes at a time; `DEEP_TURNS` where each waits long for itself."""
DEEP_TURNS = 4
DEEP = 1.25
"""How far above its work a chain's waiting must be for more vectors at a time."""

Operands = Callable[[Node], Iterable[Node]]


@dataclass(frozen=True, slots=True)
class Work:
    """What one value takes: nanoseconds a vector, nanoseconds that its reader waits, instructions."""

    time: float = 0.0
    wait: float = 0.0
    size: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.time + other.time, self.wait + other.wait, self.size + other.size)


_OPERATION = Work(*machine.ARITHMETIC, 1)
_known: dict[object, Work] = {}


def work_of(node: Node) -> Work:
    """Return what one element of a value takes, its operands at hand."""
    if not isinstance(node.op, Pointwise):
        if isinstance(node.op, Framed):
            return sum((work_of(n) for n in node.op.body.nodes), Work())
        return _OPERATION
    key = node.op, node.type.dtype, node.inputs[0].type.dtype if node.inputs else None
    known = _known.get(key)
    if known is None:
        known = _known[key] = _pointwise_work(node)
    return known


def _pointwise_work(node: Node) -> Work:
    found = operations_of(node)
    count = found.arithmetic
    parts = [Work(machine.ARITHMETIC[0] * count, machine.ARITHMETIC[1] * count, count)]
    parts += [Work(*machine.DIVISION, 1)] * found.quotients
    parts += [Work(*machine.WHOLE_DIVISION, 4)] * found.divisions
    parts += [Work(*machine.SQUARE_ROOT, 1)] * found.roots
    for name in found.special:
        parts.append(Work(*machine.FUNCTIONS.get(name, machine.OTHER_FUNCTION), machine.FUNCTION_SIZE))
    total = sum(parts, Work())
    return total if total.size else _OPERATION


def element_ns(node: Node) -> float:
    """Return a rough estimate of the time of one element of a member of a kernel."""
    if isinstance(node.op, Framed):
        return sum(element_ns(n) for n in node.op.body.nodes if n not in node.op.body.inputs)
    own = node.op.unit_ns if isinstance(node.op, Pointwise) else 0.0
    expensive = not isinstance(node.op, Reduction) and is_expensive(node)
    return own or (machine.EXPENSIVE_ELEMENT if expensive else machine.ELEMENT)


@dataclass(slots=True)
class Expression:
    """What members compute together: their work, their size, and how long each one's value is waited for."""

    time: float = 0.0
    size: int = 0
    waits: dict[Node, float] = field(default_factory=dict)
    path: float = 0.0
    spilled: int = 0

    def add(self, node: Node, operands: Iterable[Node]) -> None:
        """Take in a member whose operands, where they are members, are in already."""
        work, waits, ready = work_of(node), self.waits, 0.0
        for x in operands:
            if x in waits and waits[x] > ready:
                ready = waits[x]
        path = ready + work.wait
        # A loop ends with a reduction: what reads its value starts anew.
        waits[node] = 0.0 if isinstance(node.op, Reduction) else path
        self.time += work.time
        self.size += work.size
        if path > self.path:
            self.path = path

    def absorb(self, other: Expression) -> None:
        """Take in the members of an expression that reads nothing of this one."""
        self.waits.update(other.waits)
        self.time += other.time
        self.size += other.size
        self.path = max(self.path, other.path)

    def joined(self, other: Expression, nodes: Iterable[Node], operands: Operands) -> Expression:
        """Return both as one, where `nodes`, the members of the other, read this one; `take` makes it so.

        It has the waits of `nodes` only.
        """
        waits, known, path = dict[Node, float](), self.waits, max(self.path, other.path)
        for node in nodes:
            ready = 0.0
            for x in operands(node):
                wait = waits[x] if x in waits else known.get(x, 0.0)
                if wait > ready:
                    ready = wait
            wait = ready + work_of(node).wait
            waits[node] = 0.0 if isinstance(node.op, Reduction) else wait
            path = max(path, wait)
        return Expression(self.time + other.time, self.size + other.size, waits, path, self.spilled)

    def take(self, joined: Expression) -> None:
        """Become what `joined` has returned."""
        self.time, self.size, self.path, self.spilled = joined.time, joined.size, joined.path, joined.spilled
        self.waits.update(joined.waits)

    @property
    def turns(self) -> int:
        """How many vectors the loop should take at a time."""
        return DEEP_TURNS if self.path > DEEP * IN_TURNS * max(self.time, machine.WINDOW / IN_TURNS) else IN_TURNS

    @property
    def flow(self) -> float:
        """Nanoseconds a vector with all values in registers: by the work, or by the longest chain of it."""
        if self.path <= IN_TURNS * self.time:
            return self.time
        return max(self.time, self.path / max(self.turns, machine.WINDOW / max(self.time, 0.1)))

    @property
    def spilling(self) -> float:
        """Nanoseconds a vector that moving values to the stack and back adds: it goes on beside the work."""
        return max(0.0, self.spilled * machine.SPILL - self.flow)


@dataclass(frozen=True)
class Verdict:
    """What joining two parts saves and costs, in nanoseconds a vector; `limit` names what forbids it at any price."""

    saved: float = 0.0
    waiting: float = 0.0
    spills: float = 0.0
    compiling: float = 0.0
    limit: str = ""

    @property
    def joins(self) -> bool:
        """Whether the parts become one kernel."""
        return not self.limit and self.saved >= self.waiting + self.spills + self.compiling

    def __str__(self) -> str:
        if self.limit:
            return self.limit
        costs = (("waiting", self.waiting), ("spills", self.spills), ("compiling", self.compiling))
        shown = " + ".join(f"{value:.2g} {name}" for name, value in costs if value) or "0"
        return f"saves {self.saved:.2g} ns a vector, costs {shown}"


@dataclass(frozen=True)
class Repeat:
    """Whether the kernels that read a cheap value compute it, by nanoseconds a vector; `worth` is the least gain.

    `kernel` is the one that stores the value, or did and is gone where it is -1.
    """

    value: str
    kernel: int
    readers: tuple[int, ...]
    saved: float
    cost: float
    worth: float = 0.0
    grows: bool = False
    """Whether more memory would be in use."""

    @property
    def pays(self) -> bool:
        """Whether the readers compute the value."""
        return not self.grows and self.saved - self.cost > self.worth

    def renumbered(self, number: Mapping[int, int]) -> Repeat:
        """Return the same with other numbers of the kernels; one that has none is gone."""
        readers = tuple(number[i] for i in self.readers if i in number)
        return replace(self, kernel=number.get(self.kernel, -1), readers=readers)

    def __str__(self) -> str:
        readers = ", ".join(map(str, self.readers))
        done = f"computed again in {readers}" if self.pays else f"stored by {self.kernel}, not computed in {readers}"
        costs = "more memory" if self.grows else f"{self.cost:.2g}"
        return f"{self.value} is {done}: that saves {self.saved:.2g} ns a vector, costs {costs}"


def judge(first: Expression, second: Expression, joined: Expression, saved: float, members: int) -> Verdict:
    """Return the verdict on joining two expressions, which saves so much memory traffic."""
    if joined.size > MAX_SIZE:
        return Verdict(limit=f"{joined.size} instructions, at most {MAX_SIZE}")
    if members > MAX_OPS:
        return Verdict(limit=f"{members} operations, at most {MAX_OPS}")
    waiting = max(0.0, joined.flow - first.flow - second.flow)
    return Verdict(saved, waiting, joined.spilling, compiling(joined.size))


def compiling(size: int) -> float:
    """Return what a kernel of a size must save for the time of its compilation."""
    return COMPILE_NS * max(0, size - SMALL_SIZE)


def assumed(size: Size) -> int:
    """Return a number of elements, with a guess for symbols."""
    if isinstance(size, int):
        return size
    guess = dict.fromkeys(symbols([size]), ASSUMED_SIZE)
    return max(size_value(size, guess), ASSUMED_ELEMENTS)


@dataclass(slots=True)
class Prices:
    """What it takes to move values, by their sizes; sizes repeat in a program, so answers are kept."""

    known: dict[TensorType, tuple[float, float]] = field(default_factory=dict)

    def move(self, node: Node) -> float:
        """Return what a vector of a value takes to be written, or read."""
        return self._look_up(node)[0]

    def call(self, node: Node) -> float:
        """Return what a call takes for each vector of a value."""
        return self._look_up(node)[1]

    def _look_up(self, node: Node) -> tuple[float, float]:
        found = self.known.get(node.type)
        if found is None:
            nbytes = max(1, assumed(node.size)) * node.dtype.itemsize
            vectors = max(1.0, nbytes / machine.VECTOR_BYTES)
            found = machine.VECTOR_BYTES * machine.byte_ns(nbytes), machine.CALL / vectors
            self.known[node.type] = found
        return found


def spilled(order: Iterable[Node], operands: Operands, turns: int) -> int:
    """Return how many values of a vector do not fit the registers at the worst place of an expression."""
    nodes = list(order)
    last = {x: position for position, node in enumerate(nodes) for x in (node, *operands(node))}
    ends = Counter(last.values())
    seen: set[Node] = set()
    live = peak = 0
    for position, node in enumerate(nodes):
        fresh = {node, *operands(node)} - seen
        seen |= fresh
        live += len(fresh)
        peak = max(peak, live)
        live -= ends[position]
    return max(0, peak - machine.REGISTERS // turns)
