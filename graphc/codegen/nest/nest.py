"""`LoopNest`: what lowering produces, the statements of `ir` with the layout of their frame.

Everything that may change without recompiling (extents, strides, pointers, literal numbers) is a `Slot` of the frame,
so that kernels of equal structure have equal text. Invariant: the text mentions no name of the user's graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from graphc.codegen.nest.ir import (
    Address,
    Cast,
    Expr,
    If,
    Let,
    Pointer,
    Return,
    Statement,
    Var,
    Word,
    either,
    number,
    select,
    total,
)
from graphc.codegen.nest.options import KERNEL, KernelOptions
from graphc.graph.node import Node
from graphc.graph.types import Array, DType, Shape, Size, Sizes, short_name, size_value
from graphc.passes.schedule import machine


@dataclass(frozen=True, slots=True)
class SizeSlot:
    """A frame slot that holds an extent or a stride, in elements."""

    size: Size


@dataclass(frozen=True, slots=True)
class PointerSlot:
    """A frame slot that holds the address of element `offset` of a stored value."""

    base: Node
    offset: Size


@dataclass(frozen=True, slots=True)
class LiteralSlot:
    """A frame slot that holds the bits of a number."""

    bits: int


@dataclass(frozen=True, slots=True)
class FrameSlot:
    """A frame slot that holds the address of its own frame, or of the slot at an offset there."""

    offset: int = 0


@dataclass(frozen=True, slots=True)
class RoutineSlot:
    """A frame slot that holds the address of a routine of BLAS or LAPACK."""

    routine: str


@dataclass(frozen=True, slots=True)
class DriverSlot:
    """A frame slot that holds the address of the driver, which walks tapes."""


@dataclass(frozen=True, slots=True)
class PythonSlot:
    """A frame slot that holds the address of a function of the Python interpreter; 0 where none may be called."""

    function: str


@dataclass(frozen=True, slots=True)
class TransposerSlot:
    """A frame slot that holds the address of the routine that turns elements of a size around."""

    itemsize: int


@dataclass(frozen=True, slots=True)
class TapeSlot:
    """A frame slot that holds the address of the tape of a loop's body."""

    body: int


@dataclass(frozen=True, slots=True)
class CountSlot:
    """A frame slot that holds the number of instructions of a loop's body."""

    body: int


@dataclass(frozen=True, slots=True)
class BodySlot:
    """A frame slot that holds the address of a slot in a frame of a loop's body."""

    body: int
    nest: int
    slot: int


@dataclass(frozen=True, slots=True)
class PeriodSlot:
    """A frame slot that holds a mask of step numbers, so many that a section's run for about 20 ms."""

    body: int


Slot = (
    PeriodSlot
    | SizeSlot
    | PointerSlot
    | LiteralSlot
    | FrameSlot
    | RoutineSlot
    | DriverSlot
    | PythonSlot
    | TransposerSlot
    | TapeSlot
    | CountSlot
    | BodySlot
)


@dataclass(frozen=True, slots=True)
class Product:
    """The sizes of a nest that computes matrix products, and the limits within which it does so without a library.

    `least` is for m, k and n; `most`, in the slot `most_at`, is for their product; k is at most `deepest`, if that is
    not 0. `strides` are those of the rows of the left operand, of the columns of the right one and of the rows of the
    result; None for a batch.
    """

    m: Size
    k: Size
    n: Size
    least: tuple[int, int, int]
    most: int
    deepest: int = 0
    most_at: int = 0
    strides: tuple[Size, Size, Size] | None = None

    def needs_library(self, sizes: Sizes) -> bool:
        """Tell whether the nest calls BLAS at these sizes."""
        m, k, n = extents = [size_value(s, sizes) for s in (self.m, self.k, self.n)]
        inside = k <= (self.deepest or k) and all(
            size >= least for size, least in zip(extents, self.least, strict=True)
        )
        return not inside or m * k * n > self.most

    @property
    def has_tiles(self) -> bool:
        """Whether the nest can do without BLAS at some sizes."""
        return self.most >= 0

    def is_one_call(self, sizes: Sizes) -> bool:
        """Tell whether one call of BLAS is all that the nest does at these sizes."""
        return self.strides is not None and self.needs_library(sizes)


@dataclass(frozen=True, slots=True)
class State:
    """An accumulator: its variables, and the statements that take the state of another, of `part`s, into it."""

    variables: tuple[Var, ...]
    merge: tuple[Let, ...]


def part(variable: Var) -> Var:
    """Return the variable that holds another chunk's value of a variable."""
    return Var(f"part_{variable.name}", variable.kind)


def part_end(last: Var, first: Expr, width: int | Expr, stop: Expr) -> Let:
    """Return the statement that sets where a stretch of a range ends: it is `width` long, but for the last one."""
    return Let(last, select(first + width < stop, first + width, stop))


@dataclass(frozen=True, slots=True)
class Parts:
    """How chunks of a nest run in frames of their own; see `partials`.

    `header` is the place of four slots: whether this is a chunk, the number of chunks, where the words of the first
    are and how many lie between those of two. `words` is the place of the first word of state; `rows` has the values
    that are summed in memory, each with the place of two slots: where the rows of the chunks are, and between them.
    All chunks run `stages` times, each stage in frames of its own.
    """

    header: int | None
    words: int | None
    rows: tuple[tuple[Node, int], ...]
    stages: int = 1
    scratch: tuple[Node, ...] = ()
    """Private values that no stage leaves to the next: every chunk that runs beside others has its own."""


class Condition(Protocol):
    """Says at which sizes a nest runs, one of two that do the same."""

    @property
    def words(self) -> str:
        """What the nest does, in words for the plan."""

    def holds(self, sizes: Sizes) -> bool:
        """Tell whether the nest runs at these sizes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of two nests that do the same runs: by the planned work of parts, each a time of one unit and its units.

    The nest runs where some part takes at least `least` nanoseconds; if not `large`, where none does.
    """

    parts: tuple[tuple[float, Size], ...]
    least: float
    large: bool
    words: str

    def holds(self, sizes: Sizes) -> bool:
        """Tell whether the nest runs at these sizes."""
        found = any(unit * size_value(work, sizes) >= self.least for unit, work in self.parts)
        return found == self.large


@dataclass(frozen=True, eq=False)
class LoopNest:
    """One kernel before rendering: its statements, its frame, the range `lo:hi` of its outermost loop.

    `checks` are the nodes whose index checks can fail: status k names `checks[k - 1]`. `work` is the number of
    innermost iterations; `rows` are the private buffers of the nest, with their sizes in elements. Where
    `divisible`, any partition of the range into several calls gives the same result. `unit_ns` is a rough estimate
    of the time of one unit of work.
    """

    body: tuple[Statement, ...]
    slots: tuple[Slot, ...]
    extent: Size = 1
    work: Size = 1
    checks: tuple[Node, ...] = ()
    rows: tuple[tuple[Node, Size], ...] = ()
    divisible: bool = True
    unit_ns: float = machine.COPIED_ELEMENT
    options: KernelOptions = KERNEL
    inner: tuple[tuple[int, Node], ...] = ()
    """The sections that this nest runs, by number, each with the node that stands for its arena."""
    stepped: bool = False
    """Whether this is a loop with its body inside: its pointers are computed, step by step."""
    target_rows: bool = False
    """Whether the range is that of rows of a scatter, each of which reads all indices: one thread runs it whole."""
    product: Product | None = None
    parts: Parts | None = None
    """How chunks run that reduce over the range or need rows of their own; None where they share the nest's frame."""
    choice: Condition | None = None
    """At which sizes the nest runs; None for all."""

    def runs(self, sizes: Sizes) -> bool:
        """Tell whether the nest runs at these sizes."""
        return self.choice is None or self.choice.holds(sizes)

    def needs_library(self, sizes: Sizes) -> bool:
        """Tell whether the nest calls routines of a library at these sizes."""
        if self.product is not None:
            return self.product.needs_library(sizes)
        return bool(self.routines)

    @property
    def routines(self) -> tuple[str, ...]:
        """The routines of BLAS and LAPACK that the nest may call."""
        return tuple(dict.fromkeys(s.routine for s in self.slots if isinstance(s, RoutineSlot)))


ABSENT = LoopNest((), ())
"""Stands for a nest that does not run at some sizes."""


def literal_bits(value: Array) -> int:
    """Return a number's bits as a signed int64, as frames carry it."""
    if value.dtype.kind in "iub":
        return int(value.astype(np.uint64).view(np.int64)) if value.dtype.kind == "u" else int(value)
    integer = np.int64 if value.dtype.itemsize == 8 else np.int32
    return int(value.reshape(()).view(integer))


@dataclass
class Builder:
    """Collects the slots, pointers and hoisted statements of one nest; names are numbered by first use."""

    written: Sequence[Node] = ()
    over: Mapping[Node, Node] = field(default_factory=dict)
    """Old values that the nest writes over, each with the new one: both are read and written through one pointer."""
    slots: list[Slot] = field(default_factory=list)
    top: list[Statement] = field(default_factory=list)
    checks: list[Node] = field(default_factory=list)
    states: dict[Expr, State] = field(default_factory=dict)
    """The accumulators in registers, by the variables that hold their results."""
    _known: dict[object, Var | Pointer] = field(default_factory=dict)
    _names: int = 0

    def __post_init__(self) -> None:
        self.scopes = {node: number for number, node in enumerate(self.written, 1)}
        """The number that tells the pointers of a buffer that is written from those of others."""

    def name(self, prefix: str, kind: str = "i64") -> Var:
        """Return a new variable."""
        self._names += 1
        return Var(f"{prefix}{self._names}", kind)

    def let(self, body: list[Statement], prefix: str, value: Expr) -> Var:
        """Assign a new variable in `body` and return it."""
        found = self.name(prefix, value.kind)
        body.append(Let(found, value))
        return found

    def slot(self, slot: Slot) -> int:
        """Append a slot and return its position."""
        self.slots.append(slot)
        return len(self.slots) - 1

    def word(self, slot: Slot) -> Word:
        """Append a slot and return what it holds."""
        return Word(self.slot(slot))

    def once(self, key: object, prefix: str, code: Callable[[], Expr]) -> Var:
        """Return the variable for `key`, assigned at the top of the kernel at its first use."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.let(self.top, prefix, code())
        assert isinstance(found, Var)
        return found

    def pointer_once(
        self, key: object, prefix: str, code: Callable[[], Address], base: Node | None = None, offset: Size = 0
    ) -> Pointer:
        """Return the same of a pointer, at an element of a stored value."""
        found = self._known.get(key)
        if found is None:
            address = code()
            found = self._known[key] = Pointer(self.name(prefix).name, address.kind, base, offset)
            self.top.append(Let(found, address))
        assert isinstance(found, Pointer)
        return found

    def size(self, size: Size) -> Var:
        """Return a variable that holds a size."""
        found = self._known.get(("size", size))  # most sizes are known
        if found is None:
            found = self.once(("size", size), "n", lambda: self.word(SizeSlot(size)))
        assert isinstance(found, Var)
        return found

    def literal(self, value: Array) -> Var:
        """Return a variable that holds a number; its bits travel in the frame."""
        slot = LiteralSlot(literal_bits(value))
        return self.once(("literal", value.dtype, slot.bits), "c", lambda: self._literal_code(value.dtype, slot))

    def _literal_code(self, dtype: DType, slot: LiteralSlot) -> Expr:
        """Floats are read through a pointer at the frame itself, a bit cast (`w`: an `f32` would hide the dtype)."""
        name = short_name(dtype)
        if dtype.kind != "f":
            bits = self.word(slot)
            return bits.ne(0) if dtype.kind == "b" else Cast(name, bits)
        own = self.pointer_once(("frame", dtype), "w", lambda: Address(name, self.word(FrameSlot())))
        return own[self.slot(slot) * 8 // dtype.itemsize]

    def place(self, x: Node) -> Node:
        """Return the value through whose pointer a stored value is read."""
        return self.over.get(x, x)

    def pointer(self, base: Node, offset: Size) -> Pointer:
        """Return a variable that points at an element of a stored value."""
        place = self.place(base)
        scope = (self.scopes[place],) if place in self.scopes else ()

        def address() -> Address:
            return Address(short_name(place.dtype), self.word(PointerSlot(place, offset)), scope)

        return self.pointer_once(("pointer", place, offset), "p", address, place, offset)

    def checked(self, body: list[Statement], raw: Expr, size: Size) -> Var:
        """Emit the check of an index, which may count from the end, and return the variable of its position."""
        limit, j = self.size(size), self.name("j")
        body.append(Let(j, select(raw < 0, raw + limit, raw)))
        body.append(If(either(j < 0, j >= limit), [Return(number(len(self.checks)))], []))
        return j

    def index(self, strides: Shape, variables: Sequence[Expr]) -> Expr:
        """Return the flat index of loop variables under element strides."""
        return total(*[self._term(v, s) for v, s in zip(variables, strides, strict=True) if s != 0])

    def _term(self, variable: Expr, stride: Size) -> Expr:
        return variable if stride == 1 else variable * self.size(stride)

    def load_index(self, strides: Shape, variables: Sequence[Expr], *, steps: bool) -> Expr:
        """Return the flat index of what the innermost loop loads, in the form that LLVM vectorises best.

        It sees neighbours in a step of -1 that is in the text. For a stride that a variable holds it makes a loop for
        a stride of 1, if it should turn out as that, and does not vectorise the one for all others; where vectors pay
        all the same, `steps`, the stride is a sum that it does not look into.
        """
        last: Expr
        if strides[-1] == -1:
            last = -variables[-1]
        elif steps and strides[-1] not in (0, 1):
            size = self.size(strides[-1])
            nothing = self.once("nothing", "n", lambda: self.word(LiteralSlot(0)))
            last = variables[-1] * self.once(("step", strides[-1]), "n", lambda: size + nothing)
        else:
            return self.index(strides, variables)
        return total(self.index(strides[:-1], variables[:-1]), last)
