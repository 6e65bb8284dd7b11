"""Reductions in chunks: what a chunk leaves in its frame, and how the kernel combines what all have left.

Chunks of a nest that reduces over its range have frames of their own, copies of the nest's. A chunk stores the state
of each accumulator in words of its frame and returns before the result is finished; values that are summed in memory
go to rows that only the chunk writes. Then the nest itself runs once, over an empty range, with the number of chunks
in its frame: it starts from what they left, in their order, and finishes. In a run that is not divided that number is
0 and the range is the whole.

A nest that takes a total of all elements and then reads them again has several loops over its range, one a stage.
Every chunk runs the first; then every chunk starts from what all have left and runs the second, and so on. A value that
is summed in memory is filled in the stage that sums it, and combined at the very end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphc.codegen.nest import division
from graphc.codegen.nest.ir import (
    HI,
    LO,
    ZERO,
    Address,
    Expr,
    If,
    Let,
    Loop,
    Number,
    Pointer,
    Return,
    Statement,
    Store,
    Var,
    Word,
    itemsize,
    select,
)
from graphc.codegen.nest.nest import Builder, FrameSlot, LiteralSlot, Parts, State, part
from graphc.codegen.nest.reduce import combine
from graphc.graph.node import Node
from graphc.graph.types import Shape, Size, product, short_name

if TYPE_CHECKING:
    from graphc.codegen.nest.lower import Lowering

Q, E = Var("q"), Var("e")
"""Count the chunks, and the elements of a value that they reduce in memory."""


def may_be_large(space: Shape, unit_ns: float) -> bool:
    """Tell whether a nest over a space may be divided at some sizes."""
    work = product(space)
    return not isinstance(work, int) or (work > 1 and work * unit_ns >= division.SHARED_NS)


@dataclass
class Partials:
    """Collects what the chunks of one nest leave."""

    build: Builder
    states: list[tuple[int, State]] = field(default_factory=list)
    """Accumulators, each with the number of its phase."""
    rows: list[tuple[Node, int]] = field(default_factory=list)
    fills: list[tuple[int, Loop]] = field(default_factory=list)
    """What fills the values that are reduced in memory, each with the number of its phase."""
    combines: list[Loop] = field(default_factory=list)
    """What takes the rows of the chunks into such a value, where steps of the outermost loop share it."""
    _first: int | None = None
    _words: int | None = None
    stages: int = 0

    def _header(self) -> int:
        """Return the place of four slots: whether this is a chunk, their number, where their words are, the stride."""
        if self._first is None:
            self._first = self.build.slot(LiteralSlot(0))
            for _ in range(3):
                self.build.slot(LiteralSlot(0))
        return self._first

    def count(self) -> Var:
        """Return the variable that holds how many chunks have run."""
        at = self._header() + 1
        return self.build.once("chunks", "n", lambda: Word(at))

    def add_rows(self, node: Node, pointer: Pointer) -> None:
        """Let the nest start a value that it sums in memory from the rows of the chunks."""
        self.combines.append(self.rows_loop(node.op.name, node, pointer))
        self.build.top.append(self.combines[-1])

    def rows_loop(self, name: str, node: Node, pointer: Pointer) -> Loop:
        """Return the loop that takes the rows of the chunks into a value, by the reduction of a name."""
        count, size = self.count(), self.build.size(node.size)
        at = self.build.slot(LiteralSlot(0))
        self.build.slot(LiteralSlot(0))
        self.rows.append((node, at))
        kind = short_name(node.dtype)
        rows = self.build.pointer_once(("rows", node), "p", lambda: Address(kind, Word(at)))
        stride = self.build.once(("rows between", node), "n", lambda: Word(at + 1))
        value = combine(name, node.dtype, pointer[E], rows[Q * stride + E])
        return Loop(Q, ZERO, count, [Loop(E, ZERO, size, [Store(pointer, E, value)])])

    def wrap(self, loops: Sequence[Statement]) -> list[Statement]:
        """Return loops with the start of their accumulators before them, and the end of a chunk after them."""
        if not self.states:
            return list(loops)
        load, store = self._transfers([state for _, state in self.states])
        end = If(Word(self._header()).ne(0), [Return(ZERO)], [])
        return [Loop(Q, ZERO, self.count(), load), *loops, *store, end]

    def _transfers(self, states: Sequence[State]) -> tuple[list[Statement], list[Statement]]:
        """Return what takes the states of chunk `q` into accumulators, and what leaves those of this chunk."""
        names = [variable for state in states for variable in state.variables]
        first, own = self._header(), self._own_words()
        load: list[Statement] = []
        store: list[Statement] = []
        for number, name in enumerate(names):
            scale = 8 // itemsize(name.kind)
            word = Q * self._stride(first + 3) + number
            theirs, ours = self._words_at(name.kind, first + 2), self._words_at(name.kind, own)
            load.append(Let(part(name), theirs[word if scale == 1 else word * scale]))
            store.append(Store(ours, Number(number * scale), name))
        return [*load, *(s for state in states for s in state.merge)], store

    def _own_words(self) -> int:
        """Return the slot of the address of this frame's words, of which there are enough for any stage."""
        if self._words is None:
            self._words = len(self.build.slots) + 1
            self.build.slot(FrameSlot(self._words))
            for _ in range(sum(len(state.variables) for _, state in self.states)):
                self.build.slot(LiteralSlot(0))
        return self._words - 1

    # -- stages

    def stage_rows(self) -> None:
        """Take what fills values and combines rows from the start of the kernel: it belongs to stages."""
        moved = {id(loop) for loop in (*self.combines, *(fill for _, fill in self.fills))}
        self.build.top = [s for s in self.build.top if id(s) not in moved]

    def bounds(self) -> tuple[Var, Var]:
        """Return the range of the loops of the next stage."""
        return Var(f"low{self.stages}"), Var(f"high{self.stages}")

    def stage(self, phase: int, loops: Sequence[Statement]) -> list[Statement]:
        """Return the loops of a phase, which its own stage runs; later ones start from what that has left."""
        low, high = self.bounds()
        self.stages += 1
        number, which, count = self.stages, self._which(), self.count()
        now, later = which.eq(0) | which.eq(number), which > number
        body: list[Statement] = [Let(low, select(now, LO, 0)), Let(high, select(now, HI, 0))]
        fills = [fill for at, fill in self.fills if at == phase]
        body += [If(now, list(fills), [])] if fills else []
        states = [state for at, state in self.states if at == phase]
        load, store = self._transfers(states)
        if states:
            first, last = (select(later, n * count, 0) for n in (number - 1, number))
            body.append(Loop(Q, first, last, load))
        return [*body, *loops, *store, If(which.eq(number), [Return(ZERO)], [])]

    def end(self) -> list[Statement]:
        """Return what follows the last stage: the combination of the rows of all chunks."""
        shared = [fill for _, fill in self.fills if fill.start == ZERO]
        return [If(self._which().ne(0), [*shared, *self.combines], [])] if self.combines else []

    def at_last(self, statements: Sequence[Statement], stages: int) -> list[Statement]:
        """Return what follows a phase: numbers, which all stages compute, and stores, which happen once."""
        once = self._which().eq(0) | (self._which() > stages)
        return [If(once, [s], []) if isinstance(s, Store) else s for s in statements]

    def _which(self) -> Var:
        """Return the variable that holds the stage that runs, from 1 on; 0 for all, and in the end one more."""
        first = self._header()
        return self.build.once("which", "n", lambda: Word(first))

    def _words_at(self, kind: str, slot: int) -> Pointer:
        return self.build.pointer_once(("words", kind, slot), "v", lambda: Address(kind, Word(slot), (0,)))

    def _stride(self, slot: int) -> Var:
        return self.build.once(("words between", slot), "n", lambda: Word(slot))

    def finish(self, kept: bool, scratch: Sequence[Node] = ()) -> Parts | None:
        """Return what the memory of a program must know; None where chunks need no frames of their own."""
        if self._first is None and not kept:
            return None
        return Parts(self._first, self._words, tuple(self.rows), max(1, self.stages), tuple(scratch))


def share(nest: Lowering, root: Node, result: Var | Pointer, phase: int) -> None:
    """Note a reduction to which all steps of the outermost loop add: in a variable, or in memory through a pointer."""
    nest.shared = True
    if nest.partials is not None and result in nest.build.states:
        nest.partials.states.append((phase, nest.build.states[result]))
    elif nest.partials is not None:
        assert isinstance(result, Pointer)
        nest.partials.add_rows(root, result)


def assemble_whole(
    nest: Lowering, inner: list[int], extents: list[Size], stops: list[Expr]
) -> tuple[Size, list[Statement]]:
    """Return the statements of a nest that reduces all axes; its range is that of its loops."""
    loops = sum(1 for phase in nest.phases if phase.body or phase.stores or phase.block_end)
    if not inner or not loops:
        nest.partials = None
    partials = nest.partials
    if partials is not None and loops > 1:
        partials.stage_rows()
    body: list[Statement] = list(nest.outer_loads)
    for number, phase in enumerate(nest.phases):
        if partials is None:
            body += [*phase.before, *nest.inner_nest(phase, inner, stops), *phase.after]
            continue
        block = nest.inner_nest(phase, inner, stops, bounds=(LO, HI) if loops == 1 else partials.bounds())
        if block:
            block = partials.wrap(block) if loops == 1 else partials.stage(number, block)
        body += [*phase.before, *block, *(phase.after if loops == 1 else partials.at_last(phase.after, loops))]
    if partials is not None and loops > 1:
        body += partials.end()
    return 1 if partials is None else extents[inner[0]], body
