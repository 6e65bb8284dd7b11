"""Compute at compile time what depends on constants only.

A constant repeated by a `Broadcast` stays that way: the small array is stored, and literals remain literals.
"""

from __future__ import annotations

import numpy as np

from graphc.graph.errors import GraphcError, blame
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Constant, constant
from graphc.graph.types import Array, TupleType
from graphc.ops.pointwise import Broadcast, broadcast

LIMIT = 64 * 1024
"""Bytes that a result may always have; a larger one must not exceed its operands."""


def fold_constants(graph: Graph) -> Graph:
    """Replace nodes of constants by their values, and arrays of one value by a broadcast number.

    Larger results than `LIMIT` bytes are folded only where they replace at least as many bytes. What fails when
    it is computed (an index out of bounds) is left for the call to report.

    before: `%0 = constant[2.0]`, `%1 = constant[3.0]`, `%2 = multiply(%0, %1)`
    after: `%0 = constant[6.0]`
    """
    return graph.map(_fold)[0]


def _fold(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    if isinstance(node.op, Constant):
        return _as_number(node)
    if not inputs or type(node.op) is Broadcast or isinstance(node.type, TupleType):
        return None
    for x in inputs:
        if not _is_known(x):
            return None
    size = 1
    for s in node.shape:
        if not isinstance(s, int):
            return None
        size *= s
    operands = sum(x.op.value.nbytes for x in inputs if isinstance(x.op, Constant))
    if size * node.dtype.itemsize > max(LIMIT, operands):
        return None
    return _computed(node, inputs)


def _is_known(node: Node) -> bool:
    if type(node.op) is Broadcast:
        known = all(isinstance(s, int) for s in node.shape)
        return known and isinstance(node.inputs[0].op, Constant)
    return isinstance(node.op, Constant)


def _computed(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    try:
        with np.errstate(all="ignore"):
            value = node.op.evaluate(*[_value(x) for x in inputs])
    except GraphcError:
        return None
    with blame(node.source):
        return _as_number(constant(value, node.dtype))


def _value(node: Node) -> Array:
    return node.op.evaluate(*[_value(x) for x in node.inputs])


def _as_number(node: Node) -> Node:
    """Return an array that repeats one value, bit for bit, as a broadcast 0-d constant."""
    assert isinstance(node.op, Constant)
    value = node.op.value
    if value.size < 2:
        return node
    bits = value.reshape(-1).view(f"u{value.itemsize}")
    if not (bits == bits[0]).all():
        return node
    with blame(node.source):
        return broadcast(constant(value.reshape(-1)[0]), value.shape, ())
