"""Operands that a nest reads across its rows, as transposes are: turned around in strips beforehand.

An operand whose elements lie side by side along an outer axis of the nest, and far apart along the innermost, would be
loaded number by number. So the loops over both axes run in strips, and before each one a part of the operand is
copied to the stack as the strip walks it, by a routine that transposes in vector registers; the innermost loop then
reads vectors, whatever it computes:

before: `for d0: for d1: x = p[d0 + d1 * n]`
after: `for b0: for b1: call_transpose(...); for d0 in b0:e0: for d1 in b1:e1: x = v[(d0 - b0) * 136 + d1 - b1]`

Where strips are not worth it, which depends on sizes, the nest without them runs.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphc.codegen.nest.ir import HI, LO, ZERO, Address, Call, Expr, Let, Load, Loop, Number, Statement, Var, call
from graphc.codegen.nest.nest import LoopNest, PointerSlot, TransposerSlot, part_end
from graphc.codegen.nest.phases import Phase
from graphc.graph.node import Node
from graphc.graph.types import Shape, Size, Sizes, product, short_name, size_value
from graphc.ops.cost import special_functions
from graphc.passes.schedule.frame import Framed
from graphc.passes.schedule.kernels import ACCUMULATED, INNER

if TYPE_CHECKING:
    from graphc.codegen.nest.lower import Lowering

ROWS = 64
"""Rows of a strip: several cache lines of the operand, of which those at the ends belong to two strips."""
COLUMN_BYTES = 1024
"""Bytes of a row of a strip of one operand, whose copy stays in the second cache; several have fewer."""
MOST = 4
"""Operands that are turned around in one nest."""
LINE = 64
"""Bytes between the rows of a copy: rows a power of two apart would share few places of the cache."""
KEPT_BYTES = 3 << 20
"""The most memory for copies of whole rows, from which on they are far away."""
WAYS, SETS = 8, 64
"""Lines that the first cache holds: so many in each of so many places, of which a power of two as stride uses few."""
FEW = 4
"""Columns below which a vectorised loop is none. Functions like exp gain at all other sizes."""
LARGE = 4096
"""The least elements of a nest in a loop's body, which is walked as a tape then and not part of one kernel."""


@dataclass(frozen=True, slots=True)
class Worth:
    """At which sizes cheap values are computed sooner in strips; the nest without them runs at others.

    `strides` are those of the operands to turn around, `itemsize` the bytes of their largest element. The numbers are
    measured: one by one, numbers of 8 bytes are read as fast as a strip is turned around while a line of the operand
    for each column stays in the first cache; of smaller ones vectors hold more.
    """

    rows: Size
    columns: Size
    strides: tuple[Size, ...]
    itemsize: int
    kept: int
    """Rows of copies of whole rows that are kept in memory; 0 where a strip is on the stack."""
    strips: bool = True

    def holds(self, sizes: Sizes) -> bool:
        """Tell whether the nest runs at these sizes."""
        return self.strips != self._alone(size_value(self.rows, sizes), size_value(self.columns, sizes), sizes)

    def _alone(self, rows: int, columns: int, sizes: Sizes) -> bool:
        """Tell whether numbers read one by one are faster."""
        if self.kept:
            nbytes = self.kept * columns * self.itemsize * len(self.strides)
            return rows < 3 or columns < 8 or rows * columns < 128 or nbytes > KEPT_BYTES
        stay = not self._collide(columns, sizes)
        if self.itemsize == 8:
            return rows < 6 or (stay and columns <= 256 and rows * columns < 1 << 16)
        return rows < 8 or rows * columns < 512 or (stay and columns < 16)

    def _collide(self, columns: int, sizes: Sizes) -> bool:
        """Tell whether a line for each column would push others out of the first cache."""
        lines, part = divmod(size_value(self.strides[0], sizes) * self.itemsize, LINE)
        places = SETS if part else SETS // math.gcd(lines, SETS)
        return columns * len(self.strides) > WAYS * places * 6 // 5 + 1  # a few more do no harm

    @property
    def words(self) -> str:
        """What the nest does with operands across its rows."""
        if not self.strips:
            return "operands across its rows read number by number"
        return f"operands across its rows turned around, {'rows' if self.kept else 'strips'} at a time"

    @property
    def is_known(self) -> bool:
        """Whether it depends on no size of a call."""
        return all(isinstance(size, int) for size in (self.rows, self.columns, *self.strides))


@dataclass(frozen=True, slots=True)
class Across:
    """One load: what it reads, at which strides of the loops, and the variable it sets."""

    base: Node
    offset: Size
    strides: Shape
    name: Expr


def with_strips(nest: Lowering, plain: LoopNest) -> list[LoopNest]:
    """Return the nests of a kernel: in strips where they are worth it, and else as it is; `nest` has made it."""
    # On Windows a frame of more than a page needs the help of the C library.
    framed = any(isinstance(n.op, Framed) for n in nest.kernel.nodes)
    if framed or not {INNER, ACCUMULATED} >= set(nest.kernel.levels.values()) or platform.system() == "Windows":
        return [plain]
    (phase,) = nest.phases
    axis, loads = _across(nest, phase)
    if nest.blocks.deepest > axis:  # strips would walk rows of the result inside the loop over a block
        return [plain]

    def tiled() -> LoopNest:
        body = tuple(_Strips(nest, axis, loads).loops(phase))
        return replace(plain, body=(*nest.build.top, *body), slots=tuple(nest.build.slots))

    return chosen(nest, plain, axis, loads, tiled)


def chosen(
    nest: Lowering, plain: LoopNest, axis: int, loads: list[Across], tiled: Callable[[], LoopNest], kept: int = 0
) -> list[LoopNest]:
    """Return the nest in strips, the plain one, or both where the sizes of a call choose; `kept` as in `Worth`."""
    if not loads:
        return [plain]
    rows, columns = (product(nest.kernel.space[a] for a in nest.groups[k]) for k in (axis, -1))
    strides = tuple({(load.base, load.offset): load.strides[-1] for load in loads}.values())
    worth = Worth(rows, columns, strides, max(load.base.dtype.itemsize for load in loads), kept)
    few = isinstance(columns, int) and columns < FEW
    always = any(map(special_functions, nest.kernel.nodes))
    if (few if always else worth.is_known and not worth.holds({})) or not (nest.divide or _is_large(rows, columns)):
        return [plain]
    if always or worth.is_known:
        return [tiled() if always else replace(tiled(), choice=worth)]
    return [replace(tiled(), choice=worth), replace(plain, choice=replace(worth, strips=False))]


def _is_large(rows: Size, columns: Size) -> bool:
    return isinstance(rows, int) and isinstance(columns, int) and rows * columns >= LARGE


def _across(nest: Lowering, phase: Phase) -> tuple[int, list[Across]]:
    """Return the loads across the rows and the loop along which their elements lie side by side."""
    found: dict[int, list[Across]] = {}
    for key, name in phase.values.items():
        if isinstance(key, Node):
            continue
        assert isinstance(key, tuple)
        base, offset, strides = key
        side = [k for k, stride in enumerate(strides[:-1]) if stride == 1]
        own = nest.build.place(base) in nest.build.written
        if len(strides) == len(nest.groups) and side and strides[-1] not in (0, 1) and not own:
            found.setdefault(side[-1], []).append(Across(base, offset, strides, name))
    axis = max(found, key=lambda k: len(found[k]), default=0)
    return axis, found.get(axis, [])[:MOST]


class _Strips:
    """Writes the loops in strips: the loop over `axis` and the innermost one are divided."""

    def __init__(self, nest: Lowering, axis: int, loads: list[Across]) -> None:
        self.nest, self.axis, self.loads = nest, axis, loads
        self.last = len(nest.groups) - 1
        extents = [product(nest.kernel.space[a] for a in group) for group in nest.groups[1:]]
        self.starts = [LO, *(ZERO for _ in extents)]
        self.stops = [HI, *map(nest.build.size, extents)]
        widest = max(load.base.dtype.itemsize for load in loads)
        self.columns = COLUMN_BYTES // widest // (1, 2, 4, 4)[len(loads) - 1]

    def loops(self, phase: Phase) -> list[Statement]:
        """Return the loops over a phase's statements."""
        copies = {load.name: self._copy(load) for load in self.loads}
        body = with_loads([*phase.body, *phase.stores], copies)
        calls = [self._call(load) for load in self.loads]
        inside: list[Statement] = [*calls, self._part(self.axis, [self._part(self.last, body)])]
        for k in reversed(range(self.last + 1)):
            inside = self._outer_loop(k, inside)
        return inside

    def _outer_loop(self, k: int, inside: list[Statement]) -> list[Statement]:
        """Return a loop over strips, or over a whole axis, in blocks of the sums over it."""
        width = {self.last: self.columns, self.axis: ROWS}.get(k)

        def make(start: Expr, stop: Expr) -> list[Statement]:
            if width is None:
                return [Loop(self._variable(k), start, stop, inside)]
            return [self._divided(k, width, inside, start, stop)]

        return self.nest.blocks.loop(k, None, self.starts[k], self.stops[k], make)

    def _variable(self, k: int) -> Var:
        return self.nest.variables[k]

    def _divided(self, k: int, width: int, body: list[Statement], start: Expr, stop: Expr) -> Loop:
        """Return the loop over the strips of a loop."""
        begin, end = strip(k)
        return Loop(begin, start, stop, [part_end(end, begin, width, stop), *body], width)

    def _part(self, k: int, body: list[Statement]) -> Loop:
        return Loop(self._variable(k), *strip(k), body)

    def _pitch(self, load: Across) -> int:
        return self.columns + LINE // load.base.dtype.itemsize

    def _stack(self, load: Across) -> Var:
        """Return the variable that holds the address of a load's copy."""
        nbytes = ROWS * self._pitch(load) * load.base.dtype.itemsize
        return self.nest.build.once(("stack", load), "m", lambda: call("stack", nbytes))

    def _copy(self, load: Across) -> Load:
        """Return what reads the copy in place of a load."""
        kind, stack = short_name(load.base.dtype), self._stack(load)
        copy = self.nest.build.pointer_once(("copy", load), "v", lambda: Address(kind, stack))
        i, j = (self._variable(k) - strip(k)[0] for k in (self.axis, self.last))
        return copy[i * self._pitch(load) + j]

    def _call(self, load: Across) -> Call:
        """Return the statement that fills a load's copy."""
        corner = [strip(k)[0] if k in (self.axis, self.last) else v for k, v in enumerate(self.nest.variables)]
        counts = [strip(k)[1] - strip(k)[0] for k in (self.axis, self.last)]
        return turn(self.nest, load, self._stack(load), corner, [*counts, Number(self._pitch(load))])


def strip(k: int) -> tuple[Var, Var]:
    """Return the variables that hold where a strip of a loop begins and ends."""
    return Var(f"b{k}"), Var(f"e{k}")


def with_loads(body: Sequence[Statement], copies: Mapping[Expr, Load]) -> list[Statement]:
    """Return statements that read the copies in place of what some variables are loaded from."""
    return [Let(s.target, copies[s.target]) if isinstance(s, Let) and s.target in copies else s for s in body]


def turn(nest: Lowering, load: Across, target: Expr, corner: Sequence[Expr], counts: Sequence[Expr]) -> Call:
    """Return the call that turns a part of an operand around; `corner` is where it begins, by loop.

    `counts` are its rows, its columns and the distance of the target's rows.
    """
    build, base = nest.build, nest.build.place(load.base)
    routine, slot = TransposerSlot(base.dtype.itemsize), PointerSlot(base, load.offset)
    address = build.once(routine, "m", lambda: build.word(routine))
    source = build.once(("word", slot), "m", lambda: build.word(slot))
    places = source, build.index(load.strides, corner), build.size(load.strides[-1])
    return call("call_transpose", address, base.dtype.itemsize, target, *places, *counts)
