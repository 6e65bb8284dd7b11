"""What a distribution's method was given: the shape of its result, and parameters as nodes, checked.

A parameter is a number, a node or anything that NumPy turns into an array. Numbers and arrays are checked where the
draw is built. Where a node breaks a condition in a call, `where_valid` gives the value that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.graph.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import Constant, constant
from graphc.graph.types import FLOAT64, INT64, DType, Shape, TensorType, as_dtype, make_shape
from graphc.ops.pointwise import WHERE, as_node, broadcast_shapes, broadcast_to_shape, cast, is_weak, pointwise

Condition = Callable[[Any], Any]
"""Of an array, or of a node."""
POSITIVE, NOT_NEGATIVE, PROBABILITY, CHANCE = "> 0", ">= 0", "in [0, 1]", "in (0, 1]"
CONDITIONS: dict[str, Condition] = {
    POSITIVE: lambda x: x > 0,
    NOT_NEGATIVE: lambda x: x >= 0,
    PROBABILITY: lambda x: (x >= 0) & (x <= 1),
    CHANCE: lambda x: (x > 0) & (x <= 1),
}


class Parameters:
    """The parameters of one draw of the distribution `name`, all of one float dtype."""

    def __init__(self, name: str, dtype: Any = None, **given: Any) -> None:
        self.name = name
        values = {w: v if is_weak(v) else as_node(v, what=f"{name}: {w}") for w, v in given.items()}
        nodes = [float_node(name, w, v) for w, v in values.items() if isinstance(v, Node)]
        self.dtype = _result_dtype(name, dtype, nodes)
        self.weak = {what: value for what, value in values.items() if is_weak(value)}
        self.nodes = {what: cast(as_node(value, self.dtype), self.dtype) for what, value in values.items()}
        self._conditions: list[Node] = []

    def __getitem__(self, what: str) -> Node:
        return self.nodes[what]

    def need(self, condition: str, *names: str) -> Parameters:
        """Raise `ArgumentError` where a parameter's value is known and breaks the condition; else see `where_valid`."""
        for what in names:
            check(self.name, what, condition, self.nodes[what])
            if not isinstance(self.nodes[what].op, Constant):
                self._conditions.append(CONDITIONS[condition](self.nodes[what]))
        return self

    def need_less(self, low: str, high: str) -> Parameters:
        """Do the same for first < last."""
        first, last = self.nodes[low], self.nodes[high]
        broadcast_shapes(self.name, first.type, last.type)
        check_less(self.name, low, high, first, last)
        if not (isinstance(first.op, Constant) and isinstance(last.op, Constant)):
            self._conditions.append(first < last)
        return self

    def where_valid(self, draws: Node) -> Node:
        """Return the draws, and NaN (-1 for integers, False for bools) where a node breaks a condition."""
        for condition in self._conditions:
            draws = where_valid(condition, draws)
        return draws

    def is_number(self, what: str, number: float) -> bool:
        """Tell whether a parameter was given as this Python number."""
        return what in self.weak and self.weak[what] == number

    def shape(self, shape: Any) -> Shape:
        """Return the shape of the result."""
        return result_shape(self.name, shape, *self.nodes.values())


def where_valid(condition: Node, draws: Node) -> Node:
    """Return the draws, and where the condition fails the value of their dtype that stands for none."""
    missing = {"f": np.nan, "i": -1, "b": False}[draws.dtype.kind]
    return pointwise(WHERE, condition, draws, constant(missing, draws.dtype))


def _result_dtype(name: str, dtype: Any, nodes: list[Node]) -> DType:
    if dtype is None:
        return as_dtype(np.result_type(*(x.dtype for x in nodes))) if nodes else FLOAT64
    found = as_dtype(dtype)
    if found.kind != "f":
        raise DTypeError(f"{name}: dtype must be float64 or float32, got {found}{at()}")
    return found


def check(name: str, what: str, condition: str, node: Node) -> None:
    """Raise `ArgumentError` where a node is a literal of which a number breaks the condition."""
    if isinstance(node.op, Constant):
        value = node.op.value
        broken = value[~np.asarray(CONDITIONS[condition](value), bool)]
        if broken.size:
            raise ArgumentError(f"{name}: {what} must be {condition}, got {broken.flat[0]}{at()}")


def check_less(name: str, low: str, high: str, first: Node, last: Node) -> None:
    """Raise `ArgumentError` where both nodes are literals and first < last does not hold everywhere."""
    if isinstance(first.op, Constant) and isinstance(last.op, Constant):
        pairs = np.broadcast_arrays(first.op.value, last.op.value)
        broken = ~(pairs[0] < pairs[1])
        if broken.any():
            shown = " and ".join(str(x[broken].flat[0]) for x in pairs)
            raise ArgumentError(f"{name}: {low} must be below {high}, got {shown}{at()}")


def float_node(name: str, what: str, value: Any) -> Node:
    """Return a parameter as a node of a float dtype, or raise `DTypeError`; numbers become float64."""
    node = as_node(value, FLOAT64 if is_weak(value) else None, what=f"{name}: {what}")
    if node.dtype.kind != "f":
        raise DTypeError(f"{name}: {what} must be of a float dtype, got {node.type} (convert with .astype){at()}")
    return node


def integer_node(name: str, what: str, value: Any) -> Node:
    """Return a parameter as an int64 node, or raise `DTypeError`."""
    node = as_node(value, what=f"{name}: {what}")
    if node.dtype.kind not in "iu" or node.dtype == np.uint64:
        raise DTypeError(f"{name}: {what} must be an integer that fits int64, got {node.type}{at()}")
    return cast(node, INT64)


def given_shape(name: str, shape: Any) -> Shape:
    """Return a shape that a user wrote, or raise `ShapeError`."""
    if isinstance(shape, (bool, float, np.floating, Node)):
        shown = shape.type if isinstance(shape, Node) else shape
        hint = "; shape comes first, parameters by their names"
        raise ShapeError(f"{name}: shape must be an int or a sequence of ints, got {shown}{hint}{at()}")
    try:
        return make_shape(shape)
    except ShapeError as error:
        raise ShapeError(f"{name}: shape: {error}") from None


def result_shape(name: str, shape: Any, *parameters: Node) -> Shape:
    """Return the shape asked for, to which the parameters must broadcast, or else their common shape."""
    types = [x.type for x in parameters]
    if shape is None:
        return broadcast_shapes(name, *types) if types else ()
    found = given_shape(name, shape)
    if broadcast_shapes(name, *types, TensorType(INT64, found)) != found:
        raise ShapeError(f"{name}: parameters {', '.join(map(str, types))} do not broadcast to shape {found}{at()}")
    return found


def placed(node: Node, shape: Shape) -> Node:
    """Return a parameter broadcast to the shape of a result."""
    return broadcast_to_shape(node, shape)
