"""`Function.bind`: a program on fixed arrays, for loops in which every call reads and writes the same memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.call.runner import check_arguments
from graphc.graph.errors import ArgumentError, at
from graphc.graph.tree import flatten_like, unflatten
from graphc.graph.types import Array, DType, size_value

if TYPE_CHECKING:
    from graphc.call.function import Function


def bind_function(f: Function, values: Sequence[Any], nesting: Any, out: Any) -> Callable[[], Any]:
    """Return a callable that runs `f` on these arrays; see `Function.bind`."""
    nodes = f.graph.inputs
    for node, value in zip(nodes, values, strict=True):
        _require(f"argument {node.name}", value, node.dtype)
    arrays, sizes = check_arguments(f.graph, values)
    results = f.graph.outputs[: len(f.graph.outputs) - len(f.graph.updates)]
    shapes = [tuple(size_value(s, sizes) for s in node.shape) for node in results]
    if out is None:
        given = [np.empty(shape, node.dtype) for shape, node in zip(shapes, results, strict=True)]
    else:
        leaves = flatten_like(nesting, out)
        if leaves is None:
            raise ArgumentError(f"bind: out does not have the structure of the outputs{at()}")
        given = leaves
    for number, (array, node, shape) in enumerate(zip(given, results, shapes, strict=True)):
        _require(f"out {number}", array, node.dtype, shape)
    _require_apart(arrays, given)
    result = unflatten(nesting, given)
    compiled = f.compile()._compiled
    if compiled is not None and compiled.native:
        return compiled.fixed(arrays, given, result)
    return _copying(f, arrays, given, result)


def _copying(f: Function, arrays: Sequence[Array], given: Sequence[Array], result: Any) -> Callable[[], Any]:
    """Return what does the same where programs are interpreted."""

    def call() -> Any:
        for target, value in zip(given, f._slow_results(*arrays), strict=True):
            target[...] = value
        return result

    return call


def _require(what: str, array: Any, dtype: DType, shape: tuple[int, ...] | None = None) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or not array.flags.carray:
        got = f"{array.dtype} of strides {array.strides}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ArgumentError(f"bind: {what} must be a writeable C-contiguous {dtype} array, got {got}{at()}")
    if shape is not None and array.shape != shape:
        raise ArgumentError(f"bind: {what} must have shape {shape}, got {array.shape}{at()}")


def _require_apart(arrays: Sequence[Array], given: Sequence[Array]) -> None:
    pairs = [*combinations(given, 2), *((g, a) for g in given for a in arrays)]
    if any(np.may_share_memory(x, y) for x, y in pairs):
        raise ArgumentError(f"bind: out shares memory with an argument or another result{at()}")
