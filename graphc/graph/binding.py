"""Arguments: what a call accepts for a placeholder, and the sizes that symbolic dimensions take from them.

Used by the reference interpreter and by compiled functions alike, so both refuse the same calls with the same
words. What is accepted is in `graphc.graph.arrays`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.graph.arrays import fitted
from graphc.graph.errors import ArgumentError, IndexOutOfBoundsError, ShapeError, at, place
from graphc.graph.graph import Graph
from graphc.graph.node import Guard, Node
from graphc.graph.types import Array, Dim, DType, Size, require_addressable, size_max, size_value, symbol_name, symbols


def as_argument(node: Node, value: Any) -> Array:
    """Return `value` as a C-contiguous native array of the placeholder's dtype and rank, or raise."""
    if isinstance(value, Node):
        raise ArgumentError(f"argument {node.name}: a node was given, values are needed{at()}")
    array = fitted(f"argument {node.name}", value, node.dtype, str(node.type))
    if array.ndim != node.ndim:
        raise ShapeError(
            f"argument {node.name}: {node.ndim} axes needed ({node.type}), {array.ndim} given"
            f" (shape {array.shape}){at()}"
        )
    if not (array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative):
        array = np.array(array, dtype=node.dtype, order="C")
    return _plain(array, node.dtype)


def _plain(array: Array, dtype: DType) -> Array:
    """Return an ndarray proper with NumPy's own dtype object, by which the native entry knows an argument.

    Subclasses (memmap, matrix) and equal dtypes that are objects of their own (in unpickled arrays, with metadata)
    become views.
    """
    if type(array) is np.ndarray and array.dtype is dtype:
        return array
    return np.asarray(array).view(dtype)


def sizes_of(graph: Graph, arrays: Sequence[Array]) -> dict[str, int]:
    """Return the value of each symbol from arguments and states, having checked all that a graph asks of sizes."""
    nodes: tuple[Node, ...] = (*graph.inputs, *graph.resizable)
    sizes = solve_sizes(nodes, [*(a.shape for a in arrays), *(s.state.array.shape for s in graph.resizable)])
    check_guards(graph.guards, nodes, sizes)
    for node in graph.extents:
        require_addressable(node.op.name, node.type, sizes, node.source)
    return sizes


def solve_sizes(inputs: Sequence[Node], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """Return the value of each symbol from the arguments' shapes, checking every declared dimension.

    Raises `ShapeError` that names both arguments where one symbol gets two values.
    """
    sizes: dict[str, int] = {}
    owners: dict[str, tuple[Node, int]] = {}
    for node, shape in zip(inputs, shapes, strict=True):
        for axis, (declared, got) in enumerate(zip(node.shape, shape, strict=True)):
            name = symbol_name(declared)
            if name is None:
                continue
            if sizes.setdefault(name, got) != got:
                other, other_axis = owners[name]
                raise ShapeError(
                    f"dimension {name} is {sizes[name]} in {other.name} (axis {other_axis})"
                    f" but {got} in {node.name} (axis {axis}){at()}"
                )
            owners.setdefault(name, (node, axis))
    _check_declared(inputs, shapes, sizes)
    return sizes


def _check_declared(inputs: Sequence[Node], shapes: Sequence[tuple[int, ...]], sizes: Mapping[str, int]) -> None:
    for node, shape in zip(inputs, shapes, strict=True):
        for axis, (declared, got) in enumerate(zip(node.shape, shape, strict=True)):
            unknown = [s for s in symbols((declared,)) if s not in sizes]
            if unknown:
                raise ShapeError(f"dimension {declared} of {node.name}: no argument gives {unknown[0]} its size{at()}")
            wanted = size_value(declared, sizes)
            if wanted != got:
                raise ShapeError(
                    f"argument {node.name}: axis {axis} has size {got}, {declared} needed"
                    f" (shape {tuple(shape)}, declared {node.type}){at()}"
                )


def check_guards(guards: Iterable[Guard], inputs: Sequence[Node], sizes: Mapping[str, int]) -> None:
    """Raise for the first equality of dimensions that does not hold in this call.

    `ShapeError`; for an int index of an axis of symbolic size, `IndexOutOfBoundsError`.
    """
    for left, right, what, source in guards:
        a, b = size_value(left, sizes), size_value(right, sizes)
        if a != b:
            where = place(source)
            if what.startswith("index "):
                given = ", ".join(f"{name}={size}" for name, size in sizes.items())
                raise IndexOutOfBoundsError(f"getitem: {what} at {where} is out of bounds with {given}{at()}")
            if ": " in what:  # an op's own words
                given = ", ".join(f"{name}={size}" for name, size in sizes.items())
                raise ShapeError(f"{what}, at {where} with {given}{at()}")
            if left == size_max(right, a):
                raise ShapeError(f"{_describe(right, b, inputs)}; {what} at {where} needs at least {a}{at()}")
            pairs = sorted(((left, a), (right, b)), key=lambda pair: not isinstance(pair[0], Dim))
            shown = [_describe(size, value, inputs) for size, value in pairs]
            raise ShapeError(f"{shown[0]} but {shown[1]}; {what} at {where} needs them equal{at()}")


def _describe(size: Size, value: int, inputs: Sequence[Node]) -> str:
    owner = next((n.name for n in inputs if size in n.shape), None)
    if not isinstance(size, Dim):
        return f"the other is {value}"
    return f"dimension {size} of {owner} is {value}" if owner else f"dimension {size} is {value}"
