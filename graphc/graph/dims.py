"""Dimensions: integer polynomials over named sizes, and their arithmetic.

A `Dim` is a polynomial over atoms (`Symbol`, `FloorDiv`, `Extremum`, `Isqrt`), kept in canonical form, so that equal
polynomials compare equal; a constant polynomial is always a plain int. Every named dimension is at least 0. What is
not integer arithmetic (floats, `/`, comparisons) makes a value: a node, by the functions that `bind_values` gave.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union, cast

from graphc.graph.errors import ShapeError, at
from graphc.graph.identity import NOT_OTHER_SIZE, NOT_SAME_SIZE, OTHER_SIZE, SAME_SIZE
from graphc.graph.lazy import lazy_property

Size = Union[int, "Dim"]
Sizes = Mapping[str, int]
"""The value of each symbol, by name."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """An atom: one named dimension. The same name is the same dimension."""

    name: str

    def value(self, sizes: Sizes) -> int:
        try:
            return sizes[self.name]
        except KeyError:
            raise ShapeError(f"dimension {self.name}: no argument gives it a size{at()}") from None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FloorDiv:
    """An atom: `numerator // denominator`, as strided slices need it."""

    numerator: Size
    denominator: Size

    def value(self, sizes: Sizes) -> int:
        below = size_value(self.denominator, sizes)
        if not below:
            raise ShapeError(f"dimension {self}: {self.denominator} is 0 in this call{at()}")
        return size_value(self.numerator, sizes) // below

    def __str__(self) -> str:
        return f"{_operand(self.numerator)}//{_operand(self.denominator)}"


def _operand(size: Size) -> str:
    """Return a size as text that binds as one operand: sums, products and negative numbers in parentheses."""
    text = str(size)
    return text if text.isalnum() or text.isidentifier() else f"({text})"


@dataclass(frozen=True, slots=True)
class Extremum:
    """An atom: the larger (`kind="max"`) or smaller (`kind="min"`) of two sizes."""

    kind: str
    left: Size
    right: Size

    def value(self, sizes: Sizes) -> int:
        pick = max if self.kind == "max" else min
        return pick(size_value(self.left, sizes), size_value(self.right, sizes))

    def __str__(self) -> str:
        return f"{self.kind}({self.left},{self.right})"


@dataclass(frozen=True, slots=True)
class Isqrt:
    """An atom: the integer square root of a size, as the distance of checkpoints."""

    of: Size

    def value(self, sizes: Sizes) -> int:
        return math.isqrt(size_value(self.of, sizes))

    def __str__(self) -> str:
        return f"isqrt({self.of})"


_values: Any = None


def bind_values(ops: Any) -> None:
    """Take the module whose functions compute with dimensions as values; called once by `graphc.ops`."""
    global _values
    _values = ops


Atom = Symbol | FloorDiv | Extremum | Isqrt
Monomial = tuple[Atom, ...]
_fresh = itertools.count()
MAX_POWER = 16
"""Powers up to this are polynomials; a higher one is a value."""


@dataclass(frozen=True, eq=False)
class Dim:
    """A non-constant integer polynomial: `terms` maps sorted products of atoms to coefficients.

    Sums, products, powers, `//` and `%` with ints and other dimensions are dimensions. With floats, by `/`, in
    `<` and its kin and in NumPy's functions a dimension is a value, and the result a node, which takes the dtype of
    what it meets as a Python number does. `==` tells whether two are the same expression: `gc.equal` compares values.
    """

    terms: tuple[tuple[Monomial, int], ...]

    @lazy_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        same = self is other or (isinstance(other, Dim) and self.terms == other.terms)
        return cast(bool, SAME_SIZE if same else OTHER_SIZE)

    def __ne__(self, other: object) -> bool:
        same = self is other or (isinstance(other, Dim) and self.terms == other.terms)
        return cast(bool, NOT_SAME_SIZE if same else NOT_OTHER_SIZE)

    @lazy_property
    def text(self) -> str:
        parts: list[str] = []
        for monomial, factor in self.terms:
            alone = len(monomial) == 1 and factor == 1
            body = "*".join(str(a) if alone or not isinstance(a, FloorDiv) else f"({a})" for a in monomial)
            shown = str(abs(factor)) if not body else body if abs(factor) == 1 else f"{abs(factor)}*{body}"
            parts.append(("-" if factor < 0 else "+" if parts else "") + shown)
        return "".join(parts)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Dim({self.text})"

    def __add__(self, other: Any) -> Any:
        if isinstance(other, float):
            return _values.add(self, other)
        return _combine(self, other, 1) if isinstance(other, (int, Dim)) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, float):
            return _values.subtract(self, other)
        return _combine(self, other, -1) if isinstance(other, (int, Dim)) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        if isinstance(other, float):
            return _values.subtract(other, self)
        return _combine(other, self, -1) if isinstance(other, int) else NotImplemented

    def __neg__(self) -> Size:
        return _combine(0, self, -1)

    def __pos__(self) -> Dim:
        return self

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, float):
            return _values.multiply(self, other)
        return _product(self, other) if isinstance(other, (int, Dim)) else NotImplemented

    __rmul__ = __mul__

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, int) and 0 <= other <= MAX_POWER:
            return product([self] * other)
        return _values.pow(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __rpow__(self, other: Any) -> Any:
        return _values.pow(other, self) if isinstance(other, (int, float)) else NotImplemented

    def __mod__(self, other: Any) -> Any:
        if isinstance(other, float):
            return _values.remainder(self, other)
        return self - other * floor_div(self, other) if isinstance(other, (int, Dim)) else NotImplemented

    def __rmod__(self, other: Any) -> Any:
        if isinstance(other, float):
            return _values.remainder(other, self)
        return other - self * floor_div(other, self) if isinstance(other, int) else NotImplemented

    def __truediv__(self, other: Any) -> Any:
        return _values.divide(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        return _values.divide(other, self) if isinstance(other, (int, float)) else NotImplemented

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _values.numpy_ufunc(ufunc, method, inputs, kwargs)

    def __lt__(self, other: Any) -> Any:
        return _values.less(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __le__(self, other: Any) -> Any:
        return _values.less_equal(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __gt__(self, other: Any) -> Any:
        return _values.greater(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __ge__(self, other: Any) -> Any:
        return _values.greater_equal(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __floordiv__(self, other: Any) -> Any:
        if isinstance(other, float):
            return _values.floor_divide(self, other)
        return floor_div(self, other) if isinstance(other, (int, Dim)) else NotImplemented

    def __rfloordiv__(self, other: Any) -> Any:
        if isinstance(other, float):
            return _values.floor_divide(other, self)
        return floor_div(other, self) if isinstance(other, int) else NotImplemented

    def __bool__(self) -> bool:
        raise ShapeError(f"dimension {self} has no truth value before a call{at()}")

    def __int__(self) -> int:
        raise ShapeError(f"dimension {self} is symbolic; its size is known only in a call{at()}")

    __index__ = __int__


def _terms(size: Size) -> dict[Monomial, int]:
    if isinstance(size, Dim):
        return dict(size.terms)
    return {(): int(size)} if size else {}


def _make(terms: dict[Monomial, int]) -> Size:
    kept = {m: c for m, c in terms.items() if c}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Dim(tuple(sorted(kept.items(), key=lambda item: (-len(item[0]), [str(a) for a in item[0]]))))


def _combine(left: Size, right: Size, sign: int) -> Size:
    terms = _terms(left)
    for monomial, factor in _terms(right).items():
        terms[monomial] = terms.get(monomial, 0) + sign * factor
    return _make(terms)


def _product(left: Size, right: Size) -> Size:
    terms: dict[Monomial, int] = {}
    for m1, c1 in _terms(left).items():
        for m2, c2 in _terms(right).items():
            key = tuple(sorted(m1 + m2, key=str))
            terms[key] = terms.get(key, 0) + c1 * c2
    return _make(terms)


def floor_div(numerator: Size, denominator: Size) -> Size:
    """Return `numerator // denominator`, exactly where the polynomial divides, as an atom elsewhere."""
    if denominator == 0:
        raise ShapeError(f"dimension {numerator}//0{at()}")
    if isinstance(numerator, int) and isinstance(denominator, int):
        return numerator // denominator
    if numerator == denominator:
        return 1
    exact = _exact_div(numerator, denominator)
    return _make({(FloorDiv(numerator, denominator),): 1}) if exact is None else exact


def _exact_div(numerator: Size, denominator: Size) -> Size | None:
    """Divide a polynomial by a single term, or return None where a remainder stays."""
    divisor = _terms(denominator)
    if len(divisor) != 1:
        return None
    ((monomial, factor),) = divisor.items()
    out: dict[Monomial, int] = {}
    for m, c in _terms(numerator).items():
        rest = list(m)
        for atom in monomial:
            if atom not in rest:
                return None
            rest.remove(atom)
        if c % factor:
            return None
        out[tuple(rest)] = c // factor
    return _make(out)


def size_max(left: Size, right: Size) -> Size:
    """Return the larger of two sizes."""
    return _extremum("max", left, right)


def size_min(left: Size, right: Size) -> Size:
    """Return the smaller of two sizes."""
    return _extremum("min", left, right)


def isqrt(size: Size) -> Size:
    """Return the integer square root of a size that is at least 0."""
    return math.isqrt(size) if isinstance(size, int) else _make({(Isqrt(size),): 1})


def _extremum(kind: str, left: Size, right: Size) -> Size:
    difference = _combine(left, right, -1)
    low, high = bounds(difference)
    if low is not None and low >= 0:
        return left if kind == "max" else right
    if high is not None and high <= 0:
        return right if kind == "max" else left
    return _make({(Extremum(kind, left, right),): 1})


def bounds(size: Size) -> tuple[int | None, int | None]:
    """Return a lower and an upper bound of a size (None: unbounded), from dimensions being at least 0."""
    low: int | None = 0
    high: int | None = 0
    for monomial, factor in _terms(size).items():
        nonnegative = all(_nonnegative(atom) for atom in monomial)
        constant = not monomial
        if constant:
            low = None if low is None else low + factor
            high = None if high is None else high + factor
        elif not nonnegative:
            return None, None
        elif factor > 0:
            high = None
        else:
            low = None
    return low, high


def at_most_one(size: Size) -> bool:
    """Tell whether a size that is no literal is 0 or 1, as that of `x[:1]`: the smaller of 1 and another."""
    if isinstance(size, Dim) and len(size.terms) == 1:
        ((monomial, factor),) = size.terms
        if factor == 1 and len(monomial) == 1 and isinstance(monomial[0], Extremum):
            return monomial[0].kind == "min" and 1 in (monomial[0].left, monomial[0].right)
    return False


def _nonnegative(atom: Atom) -> bool:
    """Tell whether an atom is provably at least 0."""
    if isinstance(atom, (Symbol, Isqrt)):
        return True
    if isinstance(atom, FloorDiv):
        return _at_least_zero(atom.numerator) and _at_least_zero(atom.denominator)
    found = any if atom.kind == "max" else all
    return found(_at_least_zero(s) for s in (atom.left, atom.right))


def _at_least_zero(size: Size) -> bool:
    low = bounds(size)[0]
    return low is not None and low >= 0


def dim(name: str) -> Dim:
    """Return the dimension called `name`, an identifier."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ShapeError(f"dimension name {name!r} is not an identifier{at()}")
    return _symbol(name)


def _symbol(name: str) -> Dim:
    return Dim((((Symbol(name),), 1),))


def fresh_dim() -> Dim:
    """Return an anonymous dimension that equals only itself."""
    return _symbol(f"?{next(_fresh)}")


def symbols(sizes: Iterable[Size]) -> Iterator[str]:
    """Yield the names of all symbols in `sizes`, nested atoms included."""
    for size in sizes:
        for monomial, _ in size.terms if isinstance(size, Dim) else ():
            for atom in monomial:
                if isinstance(atom, Symbol):
                    yield atom.name
                elif isinstance(atom, FloorDiv):
                    yield from symbols((atom.numerator, atom.denominator))
                elif isinstance(atom, Isqrt):
                    yield from symbols((atom.of,))
                else:
                    yield from symbols((atom.left, atom.right))


def symbol_name(size: Size) -> str | None:
    """Return the name where a size is one bare symbol."""
    if isinstance(size, Dim) and len(size.terms) == 1:
        ((monomial, factor),) = size.terms
        if factor == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol):
            return monomial[0].name
    return None


def size_value(size: Size, sizes: Sizes) -> int:
    """Evaluate a size for given symbol values."""
    if not isinstance(size, Dim):
        return size
    total = 0
    for monomial, factor in size.terms:
        for atom in monomial:
            factor *= atom.value(sizes)
        total += factor
    return total


def product(sizes: Iterable[Size]) -> Size:
    """Multiply sizes; the empty product is 1."""
    out: Size = 1
    for size in sizes:
        out = size * out
    return out


def sum_sizes(sizes: Iterable[Size]) -> Size:
    """Add sizes; the empty sum is 0."""
    total: Size = 0
    for size in sizes:
        total = size + total
    return total
