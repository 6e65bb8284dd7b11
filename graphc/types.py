"""What is known before a call: dtypes, symbolic dimensions and tensor types.

A shape is a tuple of ints and `Dim`s. A `Dim` is an integer polynomial over atoms (`Symbol`, `FloorDiv`,
`Extremum`, `Isqrt`), kept in canonical form, so that equal polynomials compare equal; a constant polynomial is
always a plain int. Every dimension is at least 0, and only a literal 1 broadcasts.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from graphc.errors import DTypeError, ShapeError, at
from graphc.lazy import lazy_property

Array = npt.NDArray[Any]
DType = np.dtype[Any]
Size = Union[int, "Dim"]
Shape = tuple[Size, ...]
Sizes = Mapping[str, int]
"""The value of each symbol, by name."""

SHORT_NAMES = {
    "bool": "bool",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "u8",
    "uint16": "u16",
    "uint32": "u32",
    "uint64": "u64",
    "float32": "f32",
    "float64": "f64",
}
_DTYPES = {name: np.dtype(name) for name in SHORT_NAMES}
_SHORT = {dtype: SHORT_NAMES[name] for name, dtype in _DTYPES.items()}
BOOL, INT32, INT64, FLOAT32, FLOAT64 = (_DTYPES[n] for n in ("bool", "int32", "int64", "float32", "float64"))


def as_dtype(dtype: Any) -> DType:
    """Return the supported NumPy dtype (native byte order) that `dtype` names, or raise `DTypeError`."""
    if isinstance(dtype, np.dtype) and dtype.name in _DTYPES:
        return _DTYPES[dtype.name]
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"dtype {dtype!r} is unknown; accepted: {', '.join(SHORT_NAMES)}{at()}") from None
    if found.name not in _DTYPES:
        hint = "; convert to float32" if found.name in ("float16", "bfloat16") else ""
        hint = "; complex numbers are not supported yet" if found.kind == "c" else hint
        raise DTypeError(f"dtype {found.name} is not supported{hint}; accepted: {', '.join(SHORT_NAMES)}{at()}")
    return _DTYPES[found.name]


def is_masked(value: object) -> bool:
    """Tell whether a value is a NumPy masked array, without the import of `numpy.ma` where nothing can be one."""
    masked = sys.modules.get("numpy.ma")
    return masked is not None and bool(masked.isMaskedArray(value))


def short_name(dtype: DType) -> str:
    """Return the name of a dtype in text forms and kernel source: `f32`, `i64`, `bool`."""
    return _SHORT[dtype]


def is_float(dtype: DType) -> bool:
    """Tell whether values of `dtype` have derivatives."""
    return dtype.kind == "f"


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
        return size_value(self.numerator, sizes) // size_value(self.denominator, sizes)

    def __str__(self) -> str:
        return f"({self.numerator})//{self.denominator}"


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


@dataclass(frozen=True, eq=True)
class Dim:
    """A non-constant integer polynomial: `terms` maps sorted products of atoms to coefficients.

    Sums, products and `//` with ints and other dimensions are dimensions; with floats, by `/` and in comparisons a
    dimension is a value, and the result a node.
    """

    terms: tuple[tuple[Monomial, int], ...]

    @lazy_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    @lazy_property
    def text(self) -> str:
        parts: list[str] = []
        for monomial, factor in self.terms:
            body = "*".join(str(a) for a in monomial)
            shown = str(abs(factor)) if not body else body if abs(factor) == 1 else f"{abs(factor)}*{body}"
            parts.append(("-" if factor < 0 else "+" if parts else "") + shown)
        return "".join(parts)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Dim({self.text})"

    def __add__(self, other: Size) -> Size:
        return _combine(self, other, 1) if isinstance(other, (int, Dim)) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Size) -> Size:
        return _combine(self, other, -1) if isinstance(other, (int, Dim)) else NotImplemented

    def __rsub__(self, other: Size) -> Size:
        return _combine(other, self, -1) if isinstance(other, int) else NotImplemented

    def __neg__(self) -> Size:
        return _combine(0, self, -1)

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, float):
            return _values.multiply(self, other)
        return _product(self, other) if isinstance(other, (int, Dim)) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return _values.divide(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        return _values.divide(other, self) if isinstance(other, (int, float)) else NotImplemented

    def __lt__(self, other: Any) -> Any:
        return _values.less(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __le__(self, other: Any) -> Any:
        return _values.less_equal(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __gt__(self, other: Any) -> Any:
        return _values.greater(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __ge__(self, other: Any) -> Any:
        return _values.greater_equal(self, other) if isinstance(other, (int, float, Dim)) else NotImplemented

    def __floordiv__(self, other: Size) -> Size:
        return floor_div(self, other) if isinstance(other, (int, Dim)) else NotImplemented

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


def _nonnegative(atom: Atom) -> bool:
    """Tell whether an atom is provably at least 0."""
    if isinstance(atom, (Symbol, Isqrt)):
        return True
    if isinstance(atom, FloorDiv):
        return _at_least_zero(atom.numerator)
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


@dataclass(frozen=True, slots=True)
class TensorType:
    """The dtype and shape of a value; `str` gives the text form `f32[batch,10]`."""

    dtype: DType
    shape: Shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Size:
        return product(self.shape)

    def __str__(self) -> str:
        return f"{_SHORT[self.dtype]}[{','.join(str(s) for s in self.shape)}]"

    def __reduce__(self) -> tuple[Any, ...]:
        # An unpickled dtype is equal to NumPy's own but not the same object, and the native entry compares objects.
        return _unpickled_type, (self.dtype.name, self.shape)


def _unpickled_type(dtype: str, shape: Shape) -> TensorType:
    return TensorType(_DTYPES[dtype], shape)


@dataclass(frozen=True, slots=True)
class TupleType(TensorType):
    """The type of an op with several results; `project` takes one. Made by `tuple_type`."""

    types: tuple[TensorType, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple_type, (self.types,)

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.types))})"


def tuple_type(types: Iterable[TensorType]) -> TupleType:
    """Return the type of several results; as a tensor it has no axes and dtype object."""
    return TupleType(np.dtype(object), (), tuple(types))


def make_shape(shape: Any) -> Shape:
    """Turn what users write (an int, a name, None, a Dim, or a sequence of those) into a shape."""
    try:
        items = (shape,) if isinstance(shape, (int, str, Dim, np.integer)) else tuple(shape)
    except TypeError:
        raise ShapeError(f"shape {shape!r} is not an int, a name, a Dim or a sequence of those{at()}") from None
    return tuple(_make_size(item) for item in items)


def _make_size(item: Any) -> Size:
    if item is None:
        return fresh_dim()
    if isinstance(item, Dim):
        return item
    if isinstance(item, str):
        return dim(item)
    if isinstance(item, (int, np.integer)) and not isinstance(item, bool):
        if item < 0:
            raise ShapeError(f"dimension {item} is negative{at()}")
        return int(item)
    raise ShapeError(f"dimension {item!r} is not an int, a name, None or a Dim{at()}")
