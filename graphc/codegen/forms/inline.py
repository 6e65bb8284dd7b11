"""A loop whose steps are a few small kernels, as one kernel that contains the loop.

The body's nests follow each other inside `for s in range(lo, hi)`. What does not change from step to step (sizes,
literals, pointers that do not move) is read once before the loop. A scalar carry stays in a register: it is read
from memory before the first step of a call and, where it has no row of its own in a stack, written after the last.

Works on nests, whose variables are numbered and assigned in order; see `codegen/nest.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from graphc.codegen.nest.ir import (
    CALLS,
    HI,
    LO,
    ZERO,
    Address,
    Call,
    Expr,
    Formula,
    If,
    Let,
    Load,
    Loop,
    Number,
    Pointer,
    Return,
    Statement,
    Store,
    Var,
    Word,
    select,
    variables,
)
from graphc.codegen.nest.nest import FrameSlot, LiteralSlot, LoopNest, PointerSlot, SizeSlot, Slot
from graphc.codegen.nest.walks import changed, every, expressions, rewritten, walk
from graphc.graph.node import Node
from graphc.graph.op import Constant, inside_node
from graphc.graph.types import Size, short_name
from graphc.ops.code import contents_of
from graphc.ops.cost import is_special
from graphc.passes.schedule.layout import Access
from graphc.passes.schedule.options import Options

MAX_COST, FUNCTION = 240, 8
"""The most statements in one kernel, and as how many a special function counts: LLVM is superlinear in their number."""
S, T, LENGTH = variables("s t length")


@dataclass(frozen=True)
class Moving:
    """Where a value of the body is: in `base`, `row` elements a step, or in the two halves of a pair.

    `first` is where it is at the first step instead.
    """

    base: Node
    offset: Size
    row: Size
    paired: bool = False
    phase: int = 0
    first: Access | None = None

    @property
    def still(self) -> bool:
        """Tell whether the value is at the same place at every step."""
        return self.row == 0 and not self.paired


@dataclass(frozen=True)
class Carry:
    """One carry of the loop: the body's value that receives it and the one that gives the next."""

    received: Node
    given: Node


def can_inline(nests: Sequence[LoopNest]) -> bool:
    """Tell whether a body is small enough, and has nothing inside that walks a tape or calls a library."""
    if any(nest.inner or nest.stepped for nest in nests):
        return False
    statements = [s for nest in nests for s in every(nest.body) if not isinstance(s, If)]
    words = [word for s in statements for e in expressions(s) for word in _words(e)]
    return CALLS.isdisjoint(words) and len(statements) + FUNCTION * sum(map(is_special, words)) <= MAX_COST


def _words(expression: Expr) -> Iterator[str]:
    """Yield the words that an expression calls."""
    for part in walk(expression):
        if isinstance(part, Call):
            yield part.word
        elif isinstance(part, Formula):
            yield from contents_of(part.code).words


def inline_loop(
    nests: Sequence[LoopNest],
    moving: Mapping[Node, Moving],
    carries: Sequence[Carry],
    length: Size,
    reverse: bool,
    options: Options,
) -> tuple[tuple[Statement, ...], tuple[Slot, ...], tuple[tuple[Node, Size], ...]]:
    """Return the kernel that runs `nests` at every step: its statements, its frame and its own buffers."""
    merged = _Merged(moving, length, reverse, options.uses("loop_invariants"))
    merged.sizes |= {node: size for nest in nests for node, size in nest.rows}
    parts = [_Part(number, nest, merged) for number, nest in enumerate(nests)]
    merged.written = {at.base for part in parts for base in part.stored() if (at := moving.get(base))}
    for carry in carries if options.uses("carries_in_registers") else ():
        if not carry.received.shape and all(part.can_promote(carry) for part in parts):
            merged.promote(carry)
    for part in parts:
        part.emit()
    return merged.statements(), tuple(merged.slots), tuple(merged.buffers.values())


class _Merged:
    """The kernel under construction: its frame, what runs before the loop, in a step and after the loop."""

    def __init__(self, moving: Mapping[Node, Moving], length: Size, reverse: bool, invariants: bool) -> None:
        self.moving = moving
        self.invariants = invariants
        self.slots: list[Slot] = [SizeSlot(length)]
        self.number = Let(T, LENGTH - 1 - S if reverse else S)
        self.top: list[Statement] = [Let(LENGTH, Word(0))]
        self.before: list[Statement] = []
        self.step: list[Statement] = []
        self.end: list[Statement] = []
        self.after: list[Statement] = []
        self.registers: dict[Node, Var] = {}
        self.stacked: set[Node] = set()
        """Promoted values that are stored at every step all the same."""
        self.sizes: dict[Node, Size] = {}
        self.buffers: dict[Node, tuple[Node, Size]] = {}
        self.written: set[Node] = set()
        """The values outside the loop that a step writes into."""

    def buffer(self, value: Node) -> Node:
        """Return a node that stands for the memory of a value between two nests of a step.

        A node of its own: the graph around the loop may hold the same node.
        """
        if value not in self.buffers:
            place = inside_node(f"step{len(self.buffers)}", value.type)
            self.buffers[value] = place, self.sizes.get(value, value.size)
        return self.buffers[value][0]

    def word(self, slot: Slot, name: str) -> Var:
        """Append a slot and return the variable that holds it."""
        self.slots.append(slot)
        found = Var(name)
        self.top.append(Let(found, Word(len(self.slots) - 1)))
        return found

    def place(self, slot: PointerSlot, name: str) -> Expr:
        """Return the expression for the address of a moving slot at step `s`, number `t` of the stack."""
        at = self.moving[slot.base]
        base = self.word(PointerSlot(at.base, at.offset + slot.offset), f"b{name}")
        row = self.word(SizeSlot(at.row * slot.base.dtype.itemsize), f"r{name}")
        if at.paired:
            return base + row * ((S + at.phase) & 1)
        place = base + row * T
        if at.first is None:
            return place
        first = self.word(PointerSlot(at.first.base, at.first.offset + slot.offset), f"f{name}")
        return select(S.eq(0), first, place)

    def promote(self, carry: Carry) -> None:
        """Keep a scalar carry in a register."""
        count, kind = len(self.registers) // 2, short_name(carry.received.dtype)
        now, following = Var(f"carry{count}", kind), Var(f"next{count}", kind)
        self.registers |= {carry.received: now, carry.given: following}
        place = self.place(PointerSlot(carry.received, 0), f"c{count}")
        self.before.append(Let(now, Address(kind, place, (0,))[0]))
        self.end.append(Let(now, following))
        if self.moving[carry.given].paired:
            back = Pointer(f"back{count}", kind)
            self.after += [Let(back, Address(kind, place, (0,))), Store(back, ZERO, now)]
        else:
            self.stacked.add(carry.given)

    def statements(self) -> tuple[Statement, ...]:
        """Return the whole kernel."""
        loop = Loop(S, LO, HI, [self.number, *self.step, *self.end])
        after = [Let(S, HI), *self.after] if self.after else []
        return (*self.top, Let(S, LO), self.number, *self.before, loop, *after)


@dataclass
class _Part:
    """One nest of the body: its place in the frame, its variables with a suffix of their own."""

    number: int
    nest: LoopNest
    merged: _Merged
    shift: int = field(init=False)

    def __post_init__(self) -> None:
        self.shift = len(self.merged.slots)
        self.vectorised = any(isinstance(s, Loop) for s in self.nest.body)
        self.all = list(every(self.nest.body))
        assigned = [s.target if isinstance(s, Let) else s.variable for s in self.all if isinstance(s, Let | Loop)]
        self.changing = {name for name, times in Counter(assigned).items() if times > 1}
        self.slots: dict[Expr, PointerSlot] = {}
        """Where the frame says of pointers what they point at."""
        self.literals: set[Expr] = set()
        """Pointers at literals in the frame."""
        for s in self.all:
            if isinstance(s, Let) and isinstance(s.value, Address) and isinstance(word := s.value.word, Word):
                assert isinstance(word.slot, int)
                slot = self.nest.slots[word.slot]
                if isinstance(slot, PointerSlot):
                    self.slots[s.target] = slot
                elif isinstance(slot, FrameSlot):
                    self.literals.add(s.target)
        self.merged.slots += [self._slot(slot) for slot in self.nest.slots]

    def _slot(self, slot: Slot) -> Slot:
        if isinstance(slot, FrameSlot):
            return FrameSlot(self.shift)
        if isinstance(slot, PointerSlot) and slot.base in self.merged.moving:
            at = self.merged.moving[slot.base]
            return PointerSlot(at.base, at.offset + slot.offset) if at.still else LiteralSlot(0)
        if isinstance(slot, PointerSlot) and not isinstance(slot.base.op, Constant):
            return PointerSlot(self.merged.buffer(slot.base), slot.offset)
        return slot

    # -- registers

    def can_promote(self, carry: Carry) -> bool:
        """Tell whether the nest only loads a carry, and gives the next with one store per step."""
        for pointer, slot in self.slots.items():
            if slot.base in (carry.received, carry.given):
                stored = [s for s in self.nest.body if isinstance(s, Store) and (s.pointer, s.index) == (pointer, ZERO)]
                loads = [s for s in self.all if isinstance(s, Let) and s.value == Load(pointer, ZERO)]
                uses = sum(part == pointer for s in self.all for e in expressions(s) for part in walk(e))
                if len(stored) + len(loads) != uses or slot.offset != 0:
                    return False
        return True

    def _register(self, statement: Statement) -> list[Statement] | None:
        """Return what a load or store of a promoted carry becomes, before its variables are renamed."""
        if isinstance(statement, Let) and isinstance(load := statement.value, Load):
            name = self._promoted(load.pointer, load.index)
            return None if name is None else [Let(self._target(statement), name)]
        if isinstance(statement, Store) and (name := self._promoted(statement.pointer, statement.index)):
            stacked = self.slots[statement.pointer].base in self.merged.stacked
            kept = [changed(statement, self._renamed)] if stacked else []
            return [Let(name, rewritten(statement.value, self._renamed)), *kept]
        return None

    def _promoted(self, pointer: Expr, index: Expr) -> Var | None:
        slot = self.slots.get(pointer) if index == ZERO else None
        return None if slot is None else self.merged.registers.get(slot.base)

    # -- statements

    def emit(self) -> None:
        """Add the nest to the kernel: what does not change to its top, the rest to the step."""
        extent = len(self.merged.slots)
        self.merged.slots.append(SizeSlot(self.nest.extent))
        self.merged.top.append(Let(self.extent, Word(extent)))
        for statement in self.nest.body:
            self._statement(statement)

    def _statement(self, statement: Statement) -> None:
        if isinstance(statement, Let) and statement.target in self.slots:
            self._pointer(statement)
        elif isinstance(statement, Let) and self._is_invariant(statement):
            self.merged.top.append(changed(statement, self._renamed))
        else:
            self.changing |= {statement.target} if isinstance(statement, Let) else set()
            self.merged.step += self._inside(statement)

    def _pointer(self, statement: Let) -> None:
        """Make a pointer: at every step if it moves."""
        slot, address = self.slots[statement.target], statement.value
        assert isinstance(address, Address)
        scope = (*(address.scope or (0,)), self.number + 1) if self.vectorised else (0,)
        at = self.merged.moving.get(slot.base)
        if at is None or at.still:
            word = rewritten(address.word, self._renamed)
            self.merged.top.append(Let(self._target(statement), Address(address.kind, word, scope)))
        elif slot.base not in self.merged.registers or slot.base in self.merged.stacked:
            self.changing.add(statement.target)
            place = self.merged.place(slot, f"{statement.target.name[1:]}_{self.number}")
            self.merged.step.append(Let(self._target(statement), Address(address.kind, place, scope)))

    def _is_invariant(self, statement: Let) -> bool:
        """Tell whether a variable holds the same at every step: it is computed from such, and from what none writes."""
        parts = list(walk(statement.value))
        if not self.merged.invariants or statement.target in self.changing or not self.changing.isdisjoint(parts):
            return False
        return all(self._is_fixed(part.pointer) for part in parts if isinstance(part, Load))

    def _is_fixed(self, pointer: Expr) -> bool:
        """Tell whether no step writes what a pointer points at."""
        if pointer not in self.slots:
            return pointer in self.literals
        base = self.slots[pointer].base
        at = self.merged.moving.get(base)
        return isinstance(base.op, Constant) if at is None else at.still and at.base not in self.merged.written

    def stored(self) -> set[Node]:
        """Return the values that the nest writes into, or may: those whose pointer is given away."""
        found: set[Node] = set()
        for s in self.all:
            loaded = [part.pointer for e in expressions(s) for part in walk(e) if isinstance(part, Load)]
            used = Counter(part for e in expressions(s) for part in walk(e) if part in self.slots)
            found |= {self.slots[p].base for p in used - Counter(loaded)}
        return found

    def _inside(self, statement: Statement) -> list[Statement]:
        """Return a statement of the step: with its variables renamed, promoted carries in registers."""
        found = self._register(statement)
        if found is not None:
            return found
        if isinstance(statement, Return):
            return [Return(Number(1))]
        return [changed(statement, self._renamed, self._inside)]

    def _target(self, statement: Let) -> Var | Pointer:
        found = self._renamed(statement.target)
        assert isinstance(found, Var | Pointer)
        return found

    @property
    def extent(self) -> Var:
        """The variable that holds the end of the nest's range."""
        return Var(f"hi_{self.number}")

    def _renamed(self, part: Expr) -> Expr | None:
        if isinstance(part, Var):
            if part == LO:
                return ZERO
            return self.extent if part == HI else Var(f"{part.name}_{self.number}", part.kind)
        if isinstance(part, Pointer):
            return replace(part, name=f"{part.name}_{self.number}")
        return Word(part.slot + self.shift) if isinstance(part, Word) and isinstance(part.slot, int) else None
