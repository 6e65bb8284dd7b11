"""What is known before a call: dtypes, symbolic dimensions and tensor types.

A shape is a tuple of ints and `Dim`s (`graph.dims`, whose names are taken from here). Every dimension is at least
0, and only a literal 1 broadcasts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.graph.arguments import entries, shown
from graphc.graph.dims import (
    Atom,
    Dim,
    Extremum,
    FloorDiv,
    Isqrt,
    Monomial,
    Size,
    Sizes,
    Symbol,
    at_most_one,
    bind_values,
    bounds,
    dim,
    floor_div,
    fresh_dim,
    isqrt,
    product,
    size_max,
    size_min,
    size_value,
    sum_sizes,
    symbol_name,
    symbols,
)
from graphc.graph.errors import DTypeError, ShapeError, Source, at

__all__ = [
    "BOOL",
    "FLOAT32",
    "FLOAT64",
    "INT32",
    "INT64",
    "SHORT_NAMES",
    "UINT64",
    "Array",
    "Atom",
    "DType",
    "Dim",
    "Extremum",
    "FloorDiv",
    "Isqrt",
    "Monomial",
    "Shape",
    "Size",
    "Sizes",
    "Symbol",
    "TensorType",
    "TupleType",
    "as_dtype",
    "at_most_one",
    "bind_values",
    "bounds",
    "dim",
    "floor_div",
    "fresh_dim",
    "is_float",
    "is_masked",
    "isqrt",
    "make_shape",
    "product",
    "require_addressable",
    "require_countable",
    "short_name",
    "size_max",
    "size_min",
    "size_value",
    "sum_sizes",
    "symbol_name",
    "symbols",
    "tuple_type",
]

Array = npt.NDArray[Any]
DType = np.dtype[Any]
Shape = tuple[Size, ...]

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
BOOL, INT32, INT64, UINT64, FLOAT32, FLOAT64 = (
    _DTYPES[n] for n in ("bool", "int32", "int64", "uint64", "float32", "float64")
)


def as_dtype(dtype: Any) -> DType:
    """Return the supported NumPy dtype (native byte order) that `dtype` names, or raise `DTypeError`."""
    if isinstance(dtype, np.dtype) and dtype.name in _DTYPES:
        return _DTYPES[dtype.name]
    try:
        found = np.dtype(dtype)
    except Exception:  # of many kinds, by what NumPy takes `dtype` for
        raise DTypeError(f"dtype {shown(dtype)} is unknown; accepted: {', '.join(SHORT_NAMES)}{at()}") from None
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


MAX_ELEMENTS = 2**60 - 1
"""The most elements of a value, and steps of a loop: eight bytes for each can be counted by an address."""


def require_addressable(name: str, type_: TensorType, sizes: Sizes | None = None, source: Source | None = None) -> None:
    """Raise `ShapeError` for a value that no machine can hold; axes of size 0 count as 1, as in NumPy.

    Without the `sizes` of a call, named dimensions count as 1.
    """
    if isinstance(type_, TupleType):
        for part in type_.types:
            require_addressable(name, part, sizes, source)
        return
    count = 1
    for size in type_.shape:
        value = size_value(size, sizes) if sizes is not None else size if isinstance(size, int) else 1
        count *= value or 1
    if count > MAX_ELEMENTS:
        shown = "" if not sizes else " with " + ", ".join(f"{n}={v}" for n, v in sizes.items())
        raise ShapeError(f"{name}: {type_} has more elements{shown} than any machine can hold{at(source)}")


def require_countable(what: str, size: Size) -> None:
    """Raise `ShapeError` for a number of steps, or a dimension, that no machine counts to."""
    if isinstance(size, int) and size > MAX_ELEMENTS:
        raise ShapeError(f"{what} {shown(size)} is more than any machine can count to{at()}")


def make_shape(shape: Any) -> Shape:
    """Turn what users write (an int, a name, None, a Dim, or a list, tuple or 1-d array of those) into a shape."""
    if isinstance(shape, (list, tuple, range)) or (isinstance(shape, np.ndarray) and shape.ndim == 1):
        return tuple(_make_size(item) for item in entries(shape))
    if isinstance(shape, (int, str, Dim, np.integer)):
        return (_make_size(shape),)
    raise ShapeError(f"shape {shown(shape)} is not an int, a name, a Dim or a sequence of those{at()}")


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
        require_countable("dimension", int(item))
        return int(item)
    raise ShapeError(f"dimension {shown(item)} is not an int, a name, None or a Dim{at()}")
