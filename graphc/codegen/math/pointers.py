"""Typed pointers of kernels: `p = f64p(address)`, `p[i]`, `p[i] = v`.

An element is addressed from the base pointer (LLVM 22 miscompiles integer pointer arithmetic), signed, with
natural alignment; a bool is one byte. Alias information replaces LLVM's run-time overlap checks: `f64p(address, k)`
is the k-th written buffer, which no other written buffer and no read-only input overlaps; `f64p(address)` is
read-only. A buffer updated in place is read through the pointer it is written through. A kernel that holds several
nests numbers them: `f64p(address, k, group)` says nothing about pointers of other groups, k = 0 is read-only there;
`f64p(address, 0)` says nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from graphc.codegen.math.emit import Emitter, Value
from graphc.codegen.math.llvm_text import TYPES, Body
from graphc.codegen.math.vecmath import WRITTEN_BUFFERS
from graphc.graph.errors import CompileError


@dataclass(frozen=True, slots=True)
class Pointer:
    """An address of elements of one dtype; `scope` is 0 for a read-only buffer, k for the k-th written one.

    `group` is the nest's number in a kernel of several, or None for a pointer without alias information.
    """

    text: str
    kind: str
    scope: int
    group: int | None

    @property
    def typed(self) -> str:
        """The address after its type, as operands of calls are written."""
        return f"ptr {self.text}"


def scope_of(numbers: Sequence[int | None]) -> tuple[int, int | None]:
    """Return the scope and the group that a constructor's literals mean; None is an operand that is no literal.

    Raises `CompileError`.
    """
    if not numbers:
        return 0, 0
    scope, group = numbers[0], numbers[-1]
    if len(numbers) > 2 or scope is None or group is None or not 0 <= scope <= WRITTEN_BUFFERS or group < 0:
        raise CompileError(f"a written buffer is a literal in 0..{WRITTEN_BUFFERS}, a group a literal, got {numbers}")
    if len(numbers) == 1:
        return scope, 0 if scope else None
    return scope, group


@dataclass
class Access:
    """Reads and writes elements, with what is known of aliasing."""

    body: Body
    aliasing: bool = True
    _marks: dict[tuple[int, int], str] = field(default_factory=dict)
    _scopes: dict[int, list[str]] = field(default_factory=dict)

    def place(self, pointer: Pointer, index: Value) -> str:
        """Return the address of an element."""
        return self.body.new(f"getelementptr {_memory_type(pointer.kind)}, ptr {pointer.text}, i64 {index.text}")

    def load(self, machine: Emitter, pointer: Pointer, index: Value) -> Value:
        """Read an element."""
        place = self.place(pointer, index)
        loaded = self.body.new(f"load {_memory_type(pointer.kind)}, ptr {place}{self._mark(pointer)}")
        if pointer.kind == "bool":
            loaded = self.body.new(f"icmp ne i8 {loaded}, 0")
        return Value(machine, loaded, pointer.kind)

    def store(self, pointer: Pointer, index: Value, value: Value) -> None:
        """Write an element of the pointer's own dtype."""
        place, text = self.place(pointer, index), value.text
        if pointer.kind == "bool":
            text = self.body.new(f"zext i1 {text} to i8")
        self.body.add(f"store {_memory_type(pointer.kind)} {text}, ptr {place}{self._mark(pointer)}")

    def prefetch(self, pointer: Pointer, index: Value) -> None:
        """Ask for a cache line; an address outside of memory does no harm."""
        # To read; keep in all caches; data.
        self.body.call("llvm.prefetch.p0", "void", [f"ptr {self.place(pointer, index)}", "i32 0", "i32 3", "i32 1"])

    def _mark(self, pointer: Pointer) -> str:
        """Return the metadata: this access is in its scope, and touches no other of its group."""
        if pointer.group is None or not self.aliasing:
            return ""
        key = pointer.group, pointer.scope
        if key not in self._marks:
            scopes = self._scopes_of(pointer.group)
            others = ", ".join(s for k, s in enumerate(scopes) if k != pointer.scope)
            inside, outside = self.body.note(f"!{{{scopes[pointer.scope]}}}"), self.body.note(f"!{{{others}}}")
            self._marks[key] = f", !alias.scope {inside}, !noalias {outside}"
        return self._marks[key]

    def _scopes_of(self, group: int) -> list[str]:
        if group not in self._scopes:
            domain = self.body.note(f'!{{!"graphc {group}"}}')
            names = (f'!{{!"buffer {k} of {group}", {domain}}}' for k in range(WRITTEN_BUFFERS + 1))
            self._scopes[group] = [self.body.note(text) for text in names]
        return self._scopes[group]


def _memory_type(kind: str) -> str:
    return "i8" if kind == "bool" else TYPES[kind]
