"""A loop whose steps are a few small kernels, as one kernel that contains the loop.

The body's nests follow each other inside `for s in range(lo, hi)`. What does not change from step to step (sizes,
literals, pointers that do not move) is read once before the loop. A scalar carry stays in a register: it is read
from memory before the first step of a call and, where it has no row of its own in a stack, written after the last.

Works on the text of the nests, whose variables are numbered and assigned in order; see `codegen/nest.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.codegen.nest import STEP, FrameSlot, If, LiteralSlot, Loop, LoopNest, PointerSlot, SizeSlot, Slot, Statement
from graphc.node import Node
from graphc.ops.base import Constant, inside_node
from graphc.passes.layout import Access
from graphc.passes.options import Options
from graphc.types import Size, short_name

MAX_COST = 240
"""Of statements in one kernel, a vector function counting as eight: LLVM is superlinear in straight-line code."""
_NAME = re.compile(r"(?<![\w.])([a-z_]\w*)\b(?!\s*\()")
_WORDS = {"frame", "for", "in", "while", "if", "or", "and", "not", "return", "else"}
_FRAME = re.compile(r"\bframe\[(\d+)\]")
_ASSIGNED = re.compile(r"([a-z_]\w*) = (.*)")
_POINTER = re.compile(r"(\w+p)\(frame\[(\d+)\](?:, (\d+))?\)")
_STORE = re.compile(r"^([a-z_]\w*)\[.*?\] = ")
_GIVEN = re.compile(r"\b([a-z_]\w*)\b(?![\[(])")
_CALL = re.compile(r"\b(?!f64|f32|i64|select|radd|prefetch|[a-z]\d+p)[a-z]\w+\(")


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
    texts = [text for nest in nests for text in _texts(nest.body)]
    plain = not any(nest.inner or nest.stepped for nest in nests) and not any("call_" in text for text in texts)
    return plain and sum(1 + 8 * len(_CALL.findall(text)) for text in texts) <= MAX_COST


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


def _texts(body: Iterable[Statement]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, Loop):
            yield f"{statement.variable} = {statement.start}"
            yield from _texts(statement.body)
        elif isinstance(statement, If):
            yield from _texts(statement.body)
            yield from _texts(statement.otherwise)
        else:
            yield statement


class _Merged:
    """The kernel under construction: its frame, what runs before the loop, in a step and after the loop."""

    def __init__(self, moving: Mapping[Node, Moving], length: Size, reverse: bool, invariants: bool) -> None:
        self.moving = moving
        self.invariants = invariants
        self.slots: list[Slot] = [SizeSlot(length)]
        self.step_number = "length - 1 - s" if reverse else "s"
        self.top: list[Statement] = ["length = frame[0]"]
        self.before: list[Statement] = []
        self.step: list[Statement] = []
        self.end: list[Statement] = []
        self.after: list[Statement] = []
        self.registers: dict[Node, str] = {}
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

    def word(self, slot: Slot, name: str) -> str:
        """Append a slot and return the variable that holds it."""
        self.slots.append(slot)
        self.top.append(f"{name} = frame[{len(self.slots) - 1}]")
        return name

    def place(self, slot: PointerSlot, name: str) -> str:
        """Return the expression for the address of a moving slot at step `s`, number `t` of the stack."""
        at = self.moving[slot.base]
        base = self.word(PointerSlot(at.base, at.offset + slot.offset), f"b{name}")
        row = self.word(SizeSlot(at.row * slot.base.dtype.itemsize), f"r{name}")
        if at.paired:
            return f"{base} + {row} * ((s + {at.phase}) & 1)"
        place = f"{base} + {row} * t"
        if at.first is None:
            return place
        first = self.word(PointerSlot(at.first.base, at.first.offset + slot.offset), f"f{name}")
        return f"select(s == 0, {first}, {place})"

    def promote(self, carry: Carry) -> None:
        """Keep a scalar carry in a register."""
        number = len(self.registers) // 2
        now, following = f"carry{number}", f"next{number}"
        kind = short_name(carry.received.dtype)
        self.registers |= {carry.received: now, carry.given: following}
        place = self.place(PointerSlot(carry.received, 0), f"c{number}")
        self.before.append(f"{now} = {kind}p({place}, 0)[0]")
        self.end.append(f"{now} = {following}")
        if self.moving[carry.given].paired:
            self.after += [f"back{number} = {kind}p({place}, 0)", f"back{number}[0] = {now}"]

    def is_stacked(self, value: Node) -> bool:
        """Tell whether a promoted value is stored at every step all the same."""
        return self.registers[value].startswith("next") and not self.moving[value].paired

    def statements(self) -> tuple[Statement, ...]:
        """Return the whole kernel."""
        number = f"t = {self.step_number}"
        loop = Loop(STEP, "lo", "hi", [number, *self.step, *self.end])
        return (*self.top, "s = lo", number, *self.before, loop, *(["s = hi", *self.after] if self.after else []))


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
        self.assigned = Counter(m[1] for text in _texts(self.nest.body) if (m := _ASSIGNED.match(text)))
        self.pointers: dict[str, PointerSlot] = {}
        self.literals: set[str] = set()
        for text in _texts(self.nest.body):
            if (found := _ASSIGNED.match(text)) and (pointer := _POINTER.fullmatch(found[2])):
                slot = self.nest.slots[int(pointer[2])]
                if isinstance(slot, PointerSlot):
                    self.pointers[found[1]] = slot
                elif isinstance(slot, FrameSlot):
                    self.literals.add(found[1])
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
        for name, slot in self.pointers.items():
            if slot.base in (carry.received, carry.given):
                stored = [s for s in self.nest.body if isinstance(s, str) and s.startswith(f"{name}[0] = ")]
                loads = [m for s in _texts(self.nest.body) if (m := _ASSIGNED.match(s)) and m[2] == f"{name}[0]"]
                uses = sum(len(re.findall(rf"\b{name}\[", text)) for text in _texts(self.nest.body))
                if len(stored) + len(loads) != uses or slot.offset != 0:
                    return False
        return True

    def _register(self, text: str) -> list[str] | None:
        """Return what a load or store of a promoted carry becomes, before its variables are renamed."""
        if (found := re.fullmatch(r"(\w+) = (\w+)\[0\]", text)) and (name := self._promoted(found[2])):
            return [f"{self._named(found[1])} = {name}"]
        if (found := re.fullmatch(r"(\w+)\[0\] = (.*)", text)) and (name := self._promoted(found[1])):
            kept = [self._renamed(text)] if self.merged.is_stacked(self.pointers[found[1]].base) else []
            return [f"{name} = {self._renamed(found[2])}", *kept]
        return None

    def _promoted(self, pointer: str) -> str | None:
        slot = self.pointers.get(pointer)
        return None if slot is None else self.merged.registers.get(slot.base)

    # -- statements

    def emit(self) -> None:
        """Add the nest to the kernel: what does not change to its top, the rest to the step."""
        extent = len(self.merged.slots)
        self.merged.slots.append(SizeSlot(self.nest.extent))
        self.merged.top.append(f"hi_{self.number} = frame[{extent}]")
        self.changing = {name for name, times in self.assigned.items() if times > 1}
        for statement in self.nest.body:
            self._statement(statement)

    def _statement(self, statement: Statement) -> None:
        if not isinstance(statement, str):
            self.merged.step += self._block([statement])
            return
        found = _ASSIGNED.match(statement)
        if found and found[1] in self.pointers and _POINTER.fullmatch(found[2]):
            self._pointer(found[1], found[2])
        elif found and self._is_invariant(found[1], found[2]):
            self.merged.top.append(self._renamed(statement))
        else:
            self.changing |= {found[1]} if found else set()
            self.merged.step += self._register(statement) or [self._renamed(statement)]

    def _pointer(self, name: str, code: str) -> None:
        """Make a pointer: at every step if it moves."""
        slot = self.pointers[name]
        found = _POINTER.fullmatch(code)
        assert found
        scope = f"{found[3] or 0}, {self.number + 1}" if self.vectorised else "0"
        at = self.merged.moving.get(slot.base)
        if at is None or at.still:
            self.merged.top.append(f"{self._named(name)} = {found[1]}(frame[{self.shift + int(found[2])}], {scope})")
        elif slot.base not in self.merged.registers or self.merged.is_stacked(slot.base):
            self.changing.add(name)
            place = self.merged.place(slot, f"{name[1:]}_{self.number}")
            self.merged.step.append(f"{self._named(name)} = {found[1]}({place}, {scope})")

    def _is_invariant(self, name: str, code: str) -> bool:
        if (
            not self.merged.invariants
            or name in self.changing
            or any(used in self.changing for used in _names(code))
            or ")[" in code
        ):
            return False
        return all(used == "frame" or self._is_fixed(used) for used in re.findall(r"(\w+)\[", code))

    def _is_fixed(self, pointer: str) -> bool:
        """Tell whether no step writes what a pointer points at."""
        if pointer not in self.pointers:
            return pointer in self.literals
        base = self.pointers[pointer].base
        at = self.merged.moving.get(base)
        return isinstance(base.op, Constant) if at is None else at.still and at.base not in self.merged.written

    def stored(self) -> set[Node]:
        """Return the values that the nest writes into, or may: those whose pointer is given away."""
        found: set[Node] = set()
        for text in _texts(self.nest.body):
            if (assigned := _ASSIGNED.match(text)) and assigned[1] in self.pointers:
                continue
            places = [*_STORE.findall(text), *_GIVEN.findall(text)]
            found |= {self.pointers[name].base for name in places if name in self.pointers}
        return found

    def _block(self, statements: Iterable[Statement]) -> list[Statement]:
        body: list[Statement] = []
        for statement in statements:
            if isinstance(statement, Loop):
                start, stop, step = (self._renamed(t) for t in (statement.start, statement.stop, statement.step))
                inner = self._block(statement.body)
                body.append(Loop(self._named(statement.variable), start, stop, inner, step))
            elif isinstance(statement, If):
                branches = self._block(statement.body), self._block(statement.otherwise)
                body.append(If(self._renamed(statement.condition), *branches))
            else:
                body += self._register(statement) or [self._renamed(statement)]
        return body

    def _renamed(self, text: str) -> str:
        text = _NAME.sub(lambda m: m[1] if m[1] in _WORDS else self._named(m[1]), text)
        text = _FRAME.sub(lambda m: f"frame[{int(m[1]) + self.shift}]", text)
        return re.sub(r"return \d+$", "return 1", text)

    def _named(self, name: str) -> str:
        if name == "lo":
            return "0"
        return f"hi_{self.number}" if name == "hi" else f"{name}_{self.number}"


def _names(text: str) -> Iterator[str]:
    return (found[1] for found in _NAME.finditer(text) if found[1] not in _WORDS)
