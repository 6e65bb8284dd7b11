"""Conditions on the operands and parameters of ops in a file: each raises `FormatError` where it fails.

What depends on symbolic sizes cannot be decided before a call; those conditions return pairs of sizes that a call must
find equal.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.graph.errors import FormatError
from graphc.graph.op import Op
from graphc.graph.types import Shape, Size, TensorType, TupleType, bounds, size_max, size_min

Types = Sequence[TensorType]
Pairs = list[tuple[Size, Size]]
"""Sizes that a call must find equal."""
Check = Callable[[Any, Types], Pairs | None]


@dataclass(frozen=True)
class Entry:
    """A row of the op table: the class, the number of operands (from, to; None: any), and the check."""

    op: type[Op]
    operands: tuple[int, int | None]
    check: Check


def require(condition: bool, what: str) -> None:
    """Raise `FormatError` unless the condition holds."""
    if not condition:
        raise FormatError(what)


def nonnegative(size: Size) -> Pairs:
    """Return what a call must check so that a size is at least 0."""
    low = bounds(size)[0]
    if low is not None and low >= 0:
        return []
    require(not isinstance(size, int), f"size {size} is negative")
    return [(size_max(size, 0), size)]


def one_dtype(types: Types, kinds: str) -> None:
    """Require one dtype among `kinds` for all operands."""
    require(all(t.dtype == types[0].dtype for t in types), "operands of different dtypes")
    require(all(t.dtype.kind in kinds for t in types), f"operands of dtype {types[0].dtype}")


def same_rank(types: Types) -> None:
    """Require one number of axes for all operands."""
    require(all(t.ndim == types[0].ndim for t in types), "operands of different ranks")


def in_range(axis: int, ndim: int) -> None:
    """Require an axis of as many."""
    require(0 <= axis < ndim, f"axis {axis} of {ndim}")


def ascending(axes: tuple[int, ...], ndim: int) -> None:
    """Require distinct axes in order."""
    require(all(a < b for a, b in itertools.pairwise(axes)), "axes out of order")
    require(not axes or (axes[0] >= 0 and axes[-1] < ndim), f"axes {axes} of {ndim}")


def region(shape: Shape, starts: Shape, sizes: Shape, steps: tuple[int, ...]) -> Pairs:
    """Return what a call must check so that `start + i * step` for all i below `size` lies inside the shape."""
    require(len(shape) == len(starts) == len(sizes) == len(steps), "a region of another rank")
    require(all(steps), "a step of 0")
    pairs: Pairs = []
    for n, start, size, step in zip(shape, starts, sizes, steps, strict=True):
        last = start + (size - 1) * step
        low, high = (start, last) if step > 0 else (last, start)
        pairs += [*room(low, size), *room(n - 1 - high, size)]
    return pairs


def room(left: Size, size: Size) -> Pairs:
    """Return what a call must check so that `left` is at least 0 wherever `size` is not 0."""
    low = bounds(left)[0]
    if size == 0 or (low is not None and low >= 0):
        return []
    some = size_min(size, 1)
    require(not isinstance(left, int) or not isinstance(some, int), "a region outside its operand")
    return [(some * size_max(left, 0), some * left)]


def equal_types(given: Types, wanted: Types, what: str) -> Pairs:
    """Require equal dtypes and ranks; return the sizes that a call must compare."""
    require(len(given) == len(wanted), f"{what}: {len(given)} given, {len(wanted)} needed")
    require(not any(isinstance(t, TupleType) for t in (*given, *wanted)), f"{what}: several results in one")
    pairs: Pairs = []
    for a, b in zip(given, wanted, strict=True):
        require(a.dtype == b.dtype and a.ndim == b.ndim, f"{what}: {a} for {b}")
        clash = [(m, n) for m, n in zip(a.shape, b.shape, strict=True) if m != n]
        require(not any(isinstance(m, int) and isinstance(n, int) for m, n in clash), f"{what}: {a} for {b}")
        pairs += clash
    return pairs
