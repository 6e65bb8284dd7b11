"""Reductions in chunks: what a chunk leaves in its frame, and how the kernel combines what all have left.

Chunks of a nest that reduces over its range have frames of their own, copies of the nest's. A chunk stores the state
of each accumulator in words of its frame and returns before the result is finished; values that are summed in memory
go to rows that only the chunk writes. Then the nest itself runs once, over an empty range, with the number of chunks
in its frame: it starts from what they left, in their order, and finishes. In a run that is not divided that number is
0 and the range is the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphc.codegen import division
from graphc.codegen.nest import Builder, FrameSlot, LiteralSlot, Loop, Parts, State, Statement
from graphc.codegen.reduce import combine
from graphc.node import Node
from graphc.types import DType, Shape, Size, product, short_name

if TYPE_CHECKING:
    from graphc.codegen.lower import _Lowering


def may_be_large(space: Shape, unit_ns: float) -> bool:
    """Tell whether a nest over a space may be divided at some sizes."""
    work = product(space)
    return not isinstance(work, int) or (work > 1 and work * unit_ns >= division.SHARED_NS)


@dataclass
class Partials:
    """Collects what the chunks of one nest leave."""

    build: Builder
    states: list[State] = field(default_factory=list)
    rows: list[tuple[Node, int]] = field(default_factory=list)
    _first: int | None = None
    _words: int | None = None

    def _header(self) -> int:
        """Return the place of four slots: whether this is a chunk, their number, where their words are, the stride."""
        if self._first is None:
            self._first = self.build.slot(LiteralSlot(0))
            for _ in range(3):
                self.build.slot(LiteralSlot(0))
        return self._first

    def count(self) -> str:
        """Return the variable that holds how many chunks have run."""
        at = self._header() + 1
        return self.build.once("chunks", "n", lambda: f"frame[{at}]")

    def add_rows(self, node: Node, pointer: str) -> None:
        """Let the nest start a value that it sums in memory from the rows of the chunks."""
        count, size = self.count(), self.build.size(node.size)
        at = self.build.slot(LiteralSlot(0))
        self.build.slot(LiteralSlot(0))
        self.rows.append((node, at))
        kind = short_name(node.dtype)
        rows = self.build.once(("rows", node), "p", lambda: f"{kind}p(frame[{at}])")
        stride = self.build.once(("rows between", node), "n", lambda: f"frame[{at + 1}]")
        code = combine(node.op.name, node.dtype, f"{pointer}[k]", f"{rows}[q * {stride} + k]")
        self.build.top.append(Loop("q", "0", count, [Loop("k", "0", size, [f"{pointer}[k] = {code}"])]))

    def wrap(self, loops: Sequence[Statement]) -> list[Statement]:
        """Return loops with the start of their accumulators before them, and the end of a chunk after them."""
        names = [variable for state in self.states for variable in state.variables]
        if not names:
            return list(loops)
        first, count = self._header(), self.count()
        self._words = len(self.build.slots) + 1
        own = self.build.slot(FrameSlot(self._words))
        for _ in names:
            self.build.slot(LiteralSlot(0))
        load, store = [], []
        for number, (name, dtype) in enumerate(names):
            scale = 8 // dtype.itemsize
            word = f"q * {self._stride(first + 3)} + {number}"
            theirs, ours = self._words_at(dtype, first + 2), self._words_at(dtype, own)
            load.append(f"part_{name} = {theirs}[{word if scale == 1 else f'({word}) * {scale}'}]")
            store.append(f"{ours}[{number * scale}] = {name}")
        merge = [text for state in self.states for text in state.merge]
        return [Loop("q", "0", count, [*load, *merge]), *loops, *store, f"if frame[{first}] != 0: return 0"]

    def _words_at(self, dtype: DType, slot: int) -> str:
        kind = short_name(dtype)
        return self.build.once(("words", kind, slot), "v", lambda: f"{kind}p(frame[{slot}], 0)")

    def _stride(self, slot: int) -> str:
        return self.build.once(("words between", slot), "n", lambda: f"frame[{slot}]")

    def finish(self, kept: bool) -> Parts | None:
        """Return what the memory of a program must know; None where chunks need no frames of their own."""
        if self._first is None and not kept:
            return None
        return Parts(self._first, self._words, tuple(self.rows))


def share(nest: _Lowering, root: Node, result: str) -> None:
    """Note a reduction to which all steps of the outermost loop add: in a variable, or in memory through a pointer."""
    nest.shared = True
    if nest.partials is not None and result in nest.build.states:
        nest.partials.states.append(nest.build.states[result])
    elif nest.partials is not None:
        nest.partials.add_rows(root, result)


def assemble_whole(
    nest: _Lowering, inner: list[int], extents: list[Size], stops: list[str]
) -> tuple[Size, list[Statement]]:
    """Return the statements of a nest that reduces all axes: if it has one loop, its range is that of the loop."""
    loops = sum(1 for phase in nest.phases if phase.body or phase.stores or phase.block_end)
    ranged = nest.partials is not None and loops == 1 and bool(inner)
    if not ranged:
        nest.partials = None
    body: list[Statement] = list(nest.outer_loads)
    for phase in nest.phases:
        block = nest.inner_nest(phase, inner, stops, ranged=ranged)
        block = block if nest.partials is None or not block else nest.partials.wrap(block)
        body += [*phase.before, *block, *phase.after]
    return extents[inner[0]] if ranged else 1, body
