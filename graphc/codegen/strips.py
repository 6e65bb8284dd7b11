"""Operands that a nest reads across its rows, as transposes are: turned around in strips beforehand.

An operand whose elements lie side by side along an outer axis of the nest, and far apart along the innermost, would be
loaded number by number. So the loops over both axes run in strips, and before each one a part of the operand is
copied to the stack as the strip walks it, by a routine that transposes in vector registers; the innermost loop then
reads vectors, whatever it computes:

before: `for d0: for d1: x = p[d0 + d1 * n]`
after: `for b0: for b1: call_transpose(...); for d0 in b0:e0: for d1 in b1:e1: x = v[(d0 - b0) * 136 + d1 - b1]`

Where an axis is shorter than a strip is worth, the plain loops run.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphc.codegen.nest import If, Loop, PointerSlot, RoutineSlot, Statement
from graphc.codegen.phases import Phase
from graphc.node import Node
from graphc.passes.fuse import ACCUMULATED, INNER
from graphc.types import Shape, Size, short_name

if TYPE_CHECKING:
    from graphc.codegen.lower import _Lowering

ROWS = 32
"""Rows of a strip: several cache lines of the operand, of which those at the ends belong to two strips."""
COLUMNS = 128
"""Columns of a strip of one operand, whose copy just fits the first cache; several have fewer."""
MOST = 4
"""Operands that are turned around in one nest."""
NARROW = 8
"""The least rows and columns that are worth it."""
LARGE = 4096
"""The least elements of a nest in a loop's body, which is walked as a tape then and not part of one kernel."""
LINE = 64
"""Bytes between the rows of a copy: rows a power of two apart would share few places of the cache."""


@dataclass(frozen=True, slots=True)
class _Across:
    """One load: what it reads, at which strides of the loops, and the variable it sets."""

    base: Node
    offset: Size
    strides: Shape
    name: str


def strips(nest: _Lowering, phase: Phase, extents: list[Size], stops: list[str]) -> list[Statement] | None:
    """Return the loops of a nest of one phase in strips; None where nothing is read across its rows."""
    axis, loads = _across(nest, phase)
    if not loads or platform.system() == "Windows":  # where large frames would need the C library's help
        return None
    sizes = {k: extents[k] for k in (axis, len(extents) - 1)}
    if any(isinstance(size, int) and size < NARROW for size in sizes.values()):
        return None
    if not nest.divide and not _is_large(list(sizes.values())):
        return None
    body = _Strips(nest, axis, loads, stops).loops(phase)
    tests = [f"{stops[k]} < {NARROW}" for k, size in sizes.items() if not isinstance(size, int)]
    if not tests:
        return body
    plain = nest.inner_nest(phase, list(range(len(extents))), stops, ranged=True)
    return [If(" or ".join(tests), plain, body)]


def _is_large(sizes: list[Size]) -> bool:
    rows, columns = sizes
    return isinstance(rows, int) and isinstance(columns, int) and rows * columns >= LARGE


def _across(nest: _Lowering, phase: Phase) -> tuple[int, list[_Across]]:
    """Return the loads across the rows and the loop along which their elements lie side by side."""
    plain = {INNER, ACCUMULATED} >= set(nest.kernel.levels.values()) and nest.kernel.kind == "loop"
    found: dict[int, list[_Across]] = {}
    for key, name in phase.values.items() if plain else ():
        if isinstance(key, Node):
            continue
        assert isinstance(key, tuple)
        base, offset, strides = key
        side = [k for k, stride in enumerate(strides[:-1]) if stride == 1]
        own = nest.aliased.get(base, base) in nest.build.written
        if len(strides) == len(nest.groups) and side and strides[-1] not in (0, 1) and not own:
            found.setdefault(side[-1], []).append(_Across(base, offset, strides, name))
    axis = max(found, key=lambda k: len(found[k]), default=0)
    return axis, found.get(axis, [])[:MOST]


class _Strips:
    """Writes the loops in strips: the loop over `axis` and the innermost one are divided."""

    def __init__(self, nest: _Lowering, axis: int, loads: list[_Across], stops: list[str]) -> None:
        self.nest, self.axis, self.loads = nest, axis, loads
        self.last = len(stops) - 1
        self.starts = ["lo", *("0" for _ in stops[1:])]
        self.stops = ["hi", *stops[1:]]
        self.columns = COLUMNS // (1, 2, 4, 4)[len(loads) - 1]

    def loops(self, phase: Phase) -> list[Statement]:
        """Return the loops over a phase's statements."""
        instead = dict(self._load(load) for load in self.loads)
        body = [instead.get(s, s) if isinstance(s, str) else s for s in (*phase.body, *phase.stores)]
        assert len(set(instead) & set(phase.body)) == len(self.loads)
        calls = [self._call(load) for load in self.loads]
        inside = [*calls, self._part(self.axis, [self._part(self.last, body)])]
        for k in reversed(range(self.last + 1)):
            width = {self.last: self.columns, self.axis: ROWS}.get(k)
            inside = [Loop(self._variable(k), self.starts[k], self.stops[k], inside) if width is None
                      else self._divided(k, width, inside)]  # fmt: skip
        return inside

    def _variable(self, k: int) -> str:
        return self.nest.variables[k]

    def _divided(self, k: int, width: int, body: list[Statement]) -> Loop:
        """Return the loop over the strips of a loop."""
        stop = self.stops[k]
        end = f"e{k} = select(b{k} + {width} < {stop}, b{k} + {width}, {stop})"
        return Loop(f"b{k}", self.starts[k], stop, [end, *body], str(width))

    def _part(self, k: int, body: list[Statement]) -> Loop:
        return Loop(self._variable(k), f"b{k}", f"e{k}", body)

    def _pitch(self, load: _Across) -> int:
        return self.columns + LINE // load.base.dtype.itemsize

    def _stack(self, load: _Across) -> str:
        """Return the variable that holds the address of a load's copy."""
        nbytes = ROWS * self._pitch(load) * load.base.dtype.itemsize
        return self.nest.build.once(("stack", load), "m", lambda: f"stack({nbytes})")

    def _load(self, load: _Across) -> tuple[str, str]:
        """Return the statement of a load, and the one that reads the copy."""
        nest, build = self.nest, self.nest.build
        pointer = build.pointer(nest.aliased.get(load.base, load.base), load.offset)
        index = build.index(load.strides, nest.variables[: len(load.strides)])
        kind, stack = short_name(load.base.dtype), self._stack(load)
        copy = build.once(("copy", load), "v", lambda: f"{kind}p({stack})")
        i, j = (f"{self._variable(k)} - b{k}" for k in (self.axis, self.last))
        return f"{load.name} = {pointer}[{index}]", f"{load.name} = {copy}[({i}) * {self._pitch(load)} + ({j})]"

    def _call(self, load: _Across) -> str:
        """Return the statement that fills a load's copy."""
        build, base = self.nest.build, self.nest.aliased.get(load.base, load.base)
        size = base.dtype.itemsize
        routine = RoutineSlot(f"transpose{size}")
        address = build.once(routine, "m", lambda: f"frame[{build.slot(routine)}]")
        slot = PointerSlot(base, load.offset)
        source = build.once(("word", slot), "m", lambda: f"frame[{build.slot(slot)}]")
        corner = [f"b{k}" if k in (self.axis, self.last) else v for k, v in enumerate(self.nest.variables)]
        first, stride = build.index(load.strides, corner), build.size(load.strides[-1])
        counts = ", ".join(f"e{k} - b{k}" for k in (self.axis, self.last))
        operands = f"{size}, {self._stack(load)}, {source}, {first}, {stride}, {counts}, {self._pitch(load)}"
        return f"call_transpose({address}, {operands})"
