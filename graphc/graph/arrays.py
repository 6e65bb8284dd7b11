"""Arrays from what users give: one conversion for arguments, state, updates and literals.

Accepted are numbers, nested lists of numbers, NumPy arrays of any layout and byte order, and whatever has `__array__`
or DLPack. Where a dtype is declared, values decide: what fits without loss is converted, Python's numbers and lists
are weakly typed as in NumPy, and everything else is refused, so that nothing wraps, overflows or is rounded silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.graph.arguments import shown
from graphc.graph.errors import ArgumentError, DTypeError, GraphcError, at
from graphc.graph.tree import refuse_endless
from graphc.graph.types import Array, DType, as_dtype, is_masked


class room_for:
    """Say, where NumPy has no memory for an array that is made inside, what it would have been for.

    No generator: contextlib's frame would stand before the user's line.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MemoryError):
            raise MemoryError(f"{self.what}: {_first_line(error) or 'no memory for an array'}{at()}") from None


def to_array(what: str, value: Any) -> Array:
    """Return a value as an array of real numbers or bools, the value itself where it is one; errors begin `what`."""
    if is_masked(value):
        raise ArgumentError(f"{what}: masked arrays are not accepted; use value.filled(...){at()}")
    if isinstance(value, np.ndarray):
        array: Array = value
    else:
        refuse_endless(what, value)
        exported = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
        try:
            array = np.from_dlpack(value) if exported else np.asarray(value)
        except GraphcError:
            raise
        except Exception as error:
            kind = type(value).__name__
            raise ArgumentError(f"{what}: {kind} cannot become an array: {_first_line(error)}{at()}") from None
    if array.dtype.kind == "c":
        raise DTypeError(f"{what}: complex numbers are not supported; pass x.real and x.imag as two arrays{at()}")
    if array.dtype.kind not in "biuf":
        if isinstance(value, int):
            raise DTypeError(f"{what}: a Python integer of {value.bit_length()} bits fits no dtype{at()}")
        if array.ndim:
            kind = f"{type(value).__name__} of dtype {array.dtype}"
            raise DTypeError(f"{what}: {kind} given, a number or an array of numbers is needed{at()}")
        raise ArgumentError(f"{what}: a number or an array of numbers is needed, got {shown(value)}{at()}")
    return array


def arrays_by_name(what: str, values: Any) -> dict[str, Array]:
    """Return the arrays of a state that was kept by name."""
    if not isinstance(values, Mapping):
        raise ArgumentError(f"{what}: a dict of arrays by name is needed, got {shown(values)}{at()}")
    return {name: to_array(f"{what}: {name}", value) for name, value in values.items()}


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def literal(value: Any, dtype: Any = None, what: str = "constant") -> Array:
    """Return a new C-contiguous array of a supported dtype; with `dtype`, fractions are cut off as NumPy does.

    Raises `DTypeError` for integers that would wrap, NaN that would become one, and numbers that would overflow.
    """
    array = to_array(what, value)
    found = as_dtype(array.dtype if dtype is None else dtype)
    with room_for(what), np.errstate(all="ignore"):
        converted = np.array(array, dtype=found, order="C")
    if found.kind != "b" and not np.can_cast(array.dtype, found, "safe"):
        if found.kind in "iu":
            whole = np.trunc(array) if array.dtype.kind == "f" else array
            lost = array[np.not_equal(whole, converted)]
        else:
            lost = array[np.isfinite(array) & ~np.isfinite(converted)]
        if lost.size:
            raise DTypeError(f"{what}: {lost.flat[0]} does not fit {converted.dtype}{at()}")
    return converted


def fitted(what: str, value: Any, wanted: DType, needed: str) -> Array:
    """Return a value as an array of the dtype that was declared, where nothing is lost; `needed` is for errors."""
    array = to_array(what, value)
    if array.dtype == wanted:
        return array
    if np.can_cast(array.dtype, wanted, "safe"):
        converted = array.astype(wanted)
        if wanted.kind == "f" and array.dtype.kind in "iu" and array.dtype.itemsize == 8 and not weakly_typed(value):
            # NumPy counts int64 to float64 as safe, which it is up to 2**53; beyond, only some are floats.
            lost = array[_rounded(array, converted)]
            if lost.size:
                raise DTypeError(f"{what}: {lost.flat[0]} of {array.dtype} is no {wanted}; round it first{at()}")
        return converted
    if weakly_typed(value) and _in_range(array, wanted):
        return array.astype(wanted)
    if (weakly_typed(value) and wanted.kind == array.dtype.kind) or (wanted.kind in "iu" and array.dtype.kind in "iu"):
        outside = array[~_each_in_range(array, wanted)]
        if outside.size:
            raise DTypeError(f"{what}: {outside.flat[0]} does not fit {wanted}, {needed} needed{at()}")
    raise DTypeError(f"{what}: dtype {array.dtype} given, {needed} needed; convert with .astype({wanted.name!r}){at()}")


def _rounded(array: Array, converted: Array) -> Array:
    """Tell where integers became other floats; the largest floats of int64's and uint64's range are no integers."""
    limit = 2.0**63 if array.dtype.kind == "i" else 2.0**64
    inside = converted < limit
    back = np.where(inside, converted, 0.0).astype(array.dtype)
    rounded: Array = ~inside | (back != array)
    return rounded


def weakly_typed(value: Any) -> bool:
    """Tell whether a value is Python's: a number, or a list of such without anything of NumPy's."""
    return isinstance(value, (bool, int, float)) or (
        isinstance(value, (list, tuple)) and not any(isinstance(v, (np.ndarray, np.generic)) for v in value)
    )


def _in_range(array: Array, wanted: DType) -> bool:
    kinds = "iu" if wanted.kind in "iu" else "iuf" if wanted.kind == "f" else ""
    return array.size == 0 or (array.dtype.kind in kinds and bool(_each_in_range(array, wanted).all()))


def _each_in_range(array: Array, wanted: DType) -> Array:
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        inside: Array = (array >= limits.min) & (array <= limits.max)
    else:
        inside = ~np.isfinite(array) | (np.abs(array) <= np.finfo(wanted).max)
    return inside
