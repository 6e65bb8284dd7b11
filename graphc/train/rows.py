"""How many rows a batch stands for: what `gc.fit` and `gc.metrics.average` weigh its numbers by.

A compiled function says it by the names of its dimensions, whatever the axis; for other callables the arrays' sizes
must do.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from graphc.call.function import Function
from graphc.graph.errors import ArgumentError, at
from graphc.graph.types import Dim

Weigh = Callable[[Any], float]


def call_with(function: Callable[..., Any], batch: Any) -> Any:
    """Call a function with a batch: a tuple or list gives positional arguments, a dict named ones, others the one."""
    if isinstance(batch, (tuple, list)):
        return function(*batch)
    if isinstance(batch, dict):
        return function(**batch)
    return function(batch)


def row_counter(what: str, function: Callable[..., Any], given: Any) -> Weigh:
    """Return the function from a batch of `function` to its rows: `given`, where there is one.

    The rows are the product of the named dimensions that all inputs with named dimensions share. Where the names say
    nothing: the length of the arrays' first axis, where that is one; else the size that all arrays have in common,
    where that is one; else 1.
    """
    if given is not None:
        if not callable(given):
            raise ArgumentError(f"{what}: rows must be callable, got {type(given).__name__}{at()}")
        return lambda batch: _checked(what, given(batch))
    places = _named_axes(function) if isinstance(function, Function) else []
    if not places:
        return _by_sizes
    if len(places) > 1:
        return lambda batch: math.prod(np.shape(_item(batch, i, name))[axis] for i, name, axis in places)
    ((i, name, axis),) = places

    def count(batch: Any) -> float:
        item = _item(batch, i, name)
        return int(item.shape[axis] if isinstance(item, np.ndarray) else np.shape(item)[axis])

    return count


def _checked(what: str, rows: Any) -> float:
    if isinstance(rows, bool) or not isinstance(rows, (int, float, np.integer, np.floating)) or not 0 <= rows < np.inf:
        raise ArgumentError(f"{what}: rows must return a number of at least 0, got {rows!r}{at()}")
    return float(rows)


def _named_axes(function: Function) -> list[tuple[int, str, int]]:
    """Return where to read the shared named dimensions: an input's position and name, and the axis."""
    inputs, names = function.graph.inputs, list(inspect.signature(function).parameters)
    if len(names) != len(inputs):  # nested inputs
        return []
    named = [{size for size in x.shape if isinstance(size, Dim)} for x in inputs]
    common = set.intersection(*(dims for dims in named if dims)) if any(named) else set()
    found: dict[Dim, tuple[int, str, int]] = {}
    for i, (x, name) in enumerate(zip(inputs, names, strict=True)):
        for axis, size in enumerate(x.shape):
            if isinstance(size, Dim) and size in common:
                found.setdefault(size, (i, name, axis))
    return list(found.values())


def _item(batch: Any, i: int, name: str) -> Any:
    if isinstance(batch, dict):
        return batch[name]
    return batch[i] if isinstance(batch, (tuple, list)) else batch


def _by_sizes(batch: Any) -> float:
    items: Iterable[Any] = batch.values() if isinstance(batch, dict) else batch
    if not isinstance(batch, (tuple, list, dict)):
        items = (batch,)
    shapes = [shape for shape in map(_shape, items) if shape]
    firsts = {shape[0] for shape in shapes}
    if len(firsts) == 1:
        return firsts.pop()
    common = set.intersection(*map(set, shapes)) if shapes else set()
    return common.pop() if len(common) == 1 else 1


def _shape(item: Any) -> tuple[int, ...]:
    shape = getattr(item, "shape", None)
    if isinstance(shape, tuple):
        return shape
    return (len(item),) if isinstance(item, (list, tuple)) else ()
