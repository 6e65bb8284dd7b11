"""Types and sizes as JSON, and the checks of JSON that every reader of this package makes.

A size is an int, a name, or a polynomial `[[factor, atom, ...], ...]` whose atoms are names or `["//", a, b]`,
`["max", a, b]`, `["min", a, b]`. Names of anonymous dimensions begin with "?"; a reader gives them fresh ones.
A polynomial is built again by arithmetic, so it is canonical whatever the file says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from graphc.files.conditions import require
from graphc.graph.errors import FormatError
from graphc.graph.types import (
    SHORT_NAMES,
    Atom,
    Dim,
    DType,
    FloorDiv,
    Isqrt,
    Size,
    Symbol,
    TensorType,
    TupleType,
    as_dtype,
    dim,
    floor_div,
    fresh_dim,
    isqrt,
    size_max,
    size_min,
    tuple_type,
)

MAX_DEPTH = 32
"""Graphs inside ops inside graphs, lists inside lists, sizes inside sizes."""
MAX_ATOMS = 256
"""Atoms in one size."""
MAX_ALL_ATOMS = 200_000
MAX_TEXT = 1000
MAX_RANK = 32

_COMPOSED: dict[str, Callable[[Size, Size], Size]] = {"//": floor_div, "max": size_max, "min": size_min}

# -- writing


def pack_type(type_: TensorType) -> Any:
    """Return a type as JSON: dtype and shape, or a list of types."""
    if isinstance(type_, TupleType):
        return [pack_type(t) for t in type_.types]
    return [type_.dtype.name, *(pack_size(s) for s in type_.shape)]


def pack_size(size: Size) -> Any:
    """Return a size as JSON."""
    if not isinstance(size, Dim):
        return int(size)
    if len(size.terms) == 1 and size.terms[0][1] == 1 and len(size.terms[0][0]) == 1:
        (atom,) = size.terms[0][0]
        if isinstance(atom, Symbol):
            return atom.name
    return [[factor, *(_pack_atom(a) for a in monomial)] for monomial, factor in size.terms]


def _pack_atom(atom: Atom) -> Any:
    if isinstance(atom, Symbol):
        return atom.name
    if isinstance(atom, Isqrt):
        return ["isqrt", pack_size(atom.of)]
    if isinstance(atom, FloorDiv):
        return ["//", pack_size(atom.numerator), pack_size(atom.denominator)]
    return [atom.kind, pack_size(atom.left), pack_size(atom.right)]


# -- reading


def expect(kind: type, value: Any, what: str) -> Any:
    """Return a value of exactly a JSON type, or raise `FormatError`."""
    if type(value) is not kind:
        raise FormatError(f"{what} is not of type {kind.__name__}")
    return value


def expect_fields(value: Any, needed: Iterable[str], optional: Iterable[str], what: str) -> dict[str, Any]:
    """Return an object that has exactly these fields."""
    found: dict[str, Any] = expect(dict, value, what)
    missing, unknown = set(needed) - set(found), set(found) - {*needed, *optional}
    if missing or unknown:
        raise FormatError(f"{what} lacks {sorted(missing)} or has unknown {sorted(unknown)}")
    return found


def expect_text(value: Any, what: str) -> str:
    """Return a text of bounded length that can be printed anywhere."""
    text: str = expect(str, value, what)
    if len(text) > MAX_TEXT or any("\ud800" <= c <= "\udfff" for c in text):
        raise FormatError(f"{what} is too long, or no text")
    return text


def expect_index(value: Any, count: int, what: str) -> int:
    """Return an int from 0 to `count - 1`."""
    index: int = expect(int, value, what)
    if not 0 <= index < count:
        raise FormatError(f"{what} {index} does not exist")
    return index


def read_int(value: Any) -> int:
    """Return an int that fits a word."""
    if type(value) is not int or not -(2**62) < value < 2**62:
        raise FormatError("a number is no int, or out of range")
    return value


def read_dtype(value: Any) -> DType:
    """Return the dtype of a name."""
    if not isinstance(value, str) or value not in SHORT_NAMES:
        raise FormatError("an unknown dtype")
    return as_dtype(value)


class TypeReader:
    """Reads the types and sizes of one file; one name of an anonymous dimension is one dimension."""

    def __init__(self) -> None:
        self._anonymous: dict[str, Size] = {}
        self._sizes: dict[str, Size] = {}
        self._atoms = 0

    def type(self, value: Any, depth: int = 0) -> TensorType:
        """Read a type."""
        items = expect(list, value, "a type")
        if not items or type(items[0]) is not str:
            require(depth == 0, "a type of types of types")
            return tuple_type(self.type(v, 1) for v in items)
        require(len(items) <= 1 + MAX_RANK, "too many axes")
        return TensorType(read_dtype(items[0]), tuple(self.size(s) for s in items[1:]))

    def size(self, value: Any) -> Size:
        """Read a size."""
        if type(value) is int:
            return read_int(value)
        if type(value) is str:
            return self._symbol(value)
        text = json.dumps(value)
        if text not in self._sizes:
            before = self._atoms
            self._sizes[text] = self._polynomial(value, 0)
            require(self._atoms - before <= MAX_ATOMS and self._atoms <= MAX_ALL_ATOMS, "sizes are too complex")
        return self._sizes[text]

    def _symbol(self, name: str) -> Size:
        if name.startswith("?"):
            return self._anonymous.setdefault(name, fresh_dim())
        require(len(name) <= MAX_TEXT and name.isidentifier(), "a dimension's name is no identifier")
        return dim(name)

    def _polynomial(self, value: Any, depth: int) -> Size:
        require(depth < MAX_DEPTH, "sizes nested too deeply")
        total: Size = 0
        for term in expect(list, value, "a size"):
            items = expect(list, term, "a size")
            require(bool(items), "an empty product")
            product: Size = read_int(items[0])
            for atom in items[1:]:
                self._atoms += 1
                require(self._atoms <= MAX_ALL_ATOMS, "sizes are too complex")
                product = product * self._atom(atom, depth)
            total = total + product
        return total

    def _atom(self, value: Any, depth: int) -> Size:
        if type(value) is str:
            return self._symbol(value)
        items = expect(list, value, "a size")
        kind = items[0] if items and isinstance(items[0], str) else ""
        require(len(items) == {"isqrt": 2}.get(kind, 3) and kind in (*_COMPOSED, "isqrt"), "an unknown kind of size")
        operands = [v if type(v) is int else self._operand(v, depth + 1) for v in items[1:]]
        require(kind != "//" or not isinstance(operands[1], int) or operands[1] > 0, "a division by 0")
        require(kind != "isqrt" or isinstance(operands[0], Dim), "a size to simplify")
        found = isqrt(operands[0]) if kind == "isqrt" else _COMPOSED[kind](*operands)
        # What simplifies was never written; and a product of sums could grow without bound.
        require(isinstance(found, Dim) and len(found.terms) == 1 and len(found.terms[0][0]) == 1, "a size to simplify")
        return found

    def _operand(self, value: Any, depth: int) -> Size:
        return self._symbol(value) if type(value) is str else self._polynomial(value, depth)
