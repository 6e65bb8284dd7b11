"""LLVM's text of a function under construction: instructions one after the other, and what stands around it.

Kernels are written as text and read by LLVM once. A line costs a microsecond, where a tree of objects that prints
itself costs twenty.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

TYPES = {
    **{"bool": "i1", "f32": "float", "f64": "double"},
    **{f"{sign}{width}": f"i{width}" for sign in "iu" for width in (8, 16, 32, 64)},
}
"""LLVM's type of a short dtype name."""


def literal(number: float, kind: str) -> str:
    """Write a number as LLVM reads it; floats by the bits of a double, of which float32 takes the nearest.

    >>> literal(1.5, "f32"), literal(-3, "i64")
    ('0x3FF8000000000000', '-3')
    """
    if kind == "bool":
        return "true" if number else "false"
    if kind[0] != "f":
        return str(int(number))
    value = float(number)
    if kind == "f32":
        value = _nearest_float32(value)
    return f"0x{struct.unpack('>Q', struct.pack('>d', value))[0]:016X}"


def _nearest_float32(value: float) -> float:
    try:
        return float(struct.unpack(">f", struct.pack(">f", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


@dataclass
class Body:
    """The instructions of one function, and the declarations that it needs."""

    lines: list[str] = field(default_factory=list)
    label: str = "start"
    """The block that instructions go to."""
    outside: dict[str, str] = field(default_factory=dict)
    """Declarations and definitions by symbol."""
    made: int = 0
    forks: int = 0
    """Loops, and conditions whose ways meet again; a check that returns is none."""

    def add(self, instruction: str) -> None:
        """Append an instruction without a value."""
        self.lines.append("  " + instruction)

    def new(self, instruction: str) -> str:
        """Append an instruction and return the name of its value."""
        self.made += 1
        name = f"%v{self.made}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def fresh(self, start: str) -> str:
        """Return a name of a block that no other has."""
        self.made += 1
        return f"{start}.{self.made}"

    def open(self, label: str) -> None:
        """Begin a block; the one before has been ended."""
        self.lines.append(f"{label}:")
        self.label = label

    def branch(self, condition: str, yes: str, no: str) -> None:
        """End the block by a choice."""
        self.add(f"br i1 {condition}, label %{yes}, label %{no}")

    def phi(self) -> tuple[str, int]:
        """Reserve a line for a value that depends on the block before; `join` writes it. Return its name and place."""
        self.made += 1
        self.lines.append("")
        return f"%v{self.made}", len(self.lines) - 1

    def join(self, phi: tuple[str, int], type_: str, *incoming: tuple[str, str]) -> None:
        """Write a reserved line: pairs of a value and the block that it comes from."""
        name, place = phi
        pairs = ", ".join(f"[ {value}, %{block} ]" for value, block in incoming)
        self.lines[place] = f"  {name} = phi {type_} {pairs}"

    def declare(self, symbol: str, result: str, operands: Sequence[str]) -> None:
        """Declare a function once."""
        if symbol not in self.outside:
            self.outside[symbol] = f"declare {result} @{symbol}({', '.join(operands)})"

    def call(self, symbol: str, result: str, operands: Sequence[str], attributes: str = "") -> str:
        """Call a function of typed operands, such as `double %x`, and return its value; a void call returns ''."""
        self.declare(symbol, result, [x[: x.rindex(" ")] for x in operands])
        text = f"call {result} @{symbol}({', '.join(operands)}){attributes}"
        if result == "void":
            self.add(text)
            return ""
        return self.new(text)
