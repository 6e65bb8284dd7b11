"""Scatter into what a scattered gradient is added to, in place of a dense array of zeros.

The gradient of a table by its rows is a *sparse* value: scatters of terms into zeros, one after another. Sums of sparse
values, and their multiples by a number, stay sparse here, so that the step of a table that is read in several places
costs the rows that were read. A multiple by NaN or an infinity makes NaN of the zeros too: `Offset` adds it, and does
nothing where the number is finite.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.graph.errors import blame
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Constant, apply, constant
from graphc.graph.types import is_float
from graphc.ops.elementwise import ADD, DIVIDE, MULTIPLY, NEGATIVE, SUBTRACT
from graphc.ops.indexing import Offset, Scatter
from graphc.ops.pointwise import Broadcast, Elementwise, broadcast, pointwise
from graphc.passes.loops.readers import is_private
from graphc.passes.updates.scatters import continued, scatter_base

MAX_SCALED = 8
"""The most scatters whose terms are multiplied one by one: a sum that each step scales would take quadratic time."""


def accumulate_scatters(graph: Graph) -> Graph:
    """Turn `x + c * scatter(zeros, updates)` into `scatter(x, c * updates)`: the update of a table costs its rows.

    before: `%3 = scatter[mode=add, axes=(0)](%0, %1, %2)` with `%0` zeros, `%5 = subtract(%4, %3)`
    after: `%3 = negative(%1)`, `%5 = scatter[mode=add, axes=(0)](%4, %3, %2)`
    """
    if not any(isinstance(n.op, Scatter) for n in graph.nodes):
        return graph
    return graph.map(_Accumulation({n for n in graph.nodes if is_private(graph, n)}).visit)[0]


def is_zero(node: Node) -> bool:
    """Tell whether a value is a literal 0, broadcast."""
    while isinstance(node.op, Broadcast):
        node = node.inputs[0]
    return isinstance(node.op, Constant) and not node.op.value.any()


class _Accumulation:
    """The rebuild function of the pass; `private` are the values with one reader."""

    def __init__(self, private: set[Node]) -> None:
        self.private = private
        self.lengths: dict[Node, int] = {}

    def visit(self, node: Node, inputs: tuple[Node, ...]) -> Node | None:
        """Return what a node of sparse operands becomes, or None."""
        if node.op not in (ADD, SUBTRACT, NEGATIVE, MULTIPLY, DIVIDE):
            return None
        sparse = {k: self._length(x) for k, x in enumerate(inputs) if node.inputs[k] in self.private}
        for k in sorted((k for k, length in sparse.items() if length), key=lambda k: sparse[k]):
            with blame(node.source):
                found = self._combined(node, inputs, k)
            if found is not None:
                return found
        return None

    def _length(self, node: Node) -> int:
        """Return how many scatters make a sparse value; 0 for others."""
        waiting: list[Node] = []
        while node not in self.lengths and _adds(node):
            waiting.append(node)
            node = node.inputs[0]
        length = self.lengths.get(node, 0)
        first = node not in self.lengths and is_zero(node)
        for link in reversed(waiting):
            length = length + 1 if length or first else 0
            first = False
            self.lengths[link] = length
        return length

    def _combined(self, node: Node, inputs: tuple[Node, ...], place: int) -> Node | None:
        """Return the sparse value of an operand, as the node has it, upon what the node does with the other."""
        sparse, others = inputs[place], inputs[:place] + inputs[place + 1 :]
        if node.op is ADD:
            return _relinked(sparse, others[0])
        if self.lengths[sparse] > MAX_SCALED:
            return None
        if node.op is SUBTRACT and place == 1:
            return _relinked(sparse, others[0], lambda x: pointwise(NEGATIVE, x))
        if node.op is NEGATIVE:
            return _relinked(sparse, scatter_base(sparse), lambda x: pointwise(NEGATIVE, x))
        if node.op is SUBTRACT or (node.op is DIVIDE and place == 1) or not _is_number(others[0]):
            return None
        assert isinstance(node.op, Elementwise)
        return _scaled(node.op, sparse, others[0].inputs[0])


def _adds(node: Node) -> bool:
    return isinstance(node.op, Offset) or (isinstance(node.op, Scatter) and node.op.mode == "add")


def _is_number(node: Node) -> bool:
    return isinstance(node.op, Broadcast) and node.op.axes == ()


def _scaled(op: Elementwise, sparse: Node, factor: Node) -> Node | None:
    """Return a sparse value times, or divided by, a number; None where that is known and makes NaN of zeros."""
    base = scatter_base(sparse)
    if isinstance(factor.op, Constant):
        if np.any(op.evaluate(np.zeros((), base.dtype), factor.op.value) != 0):
            return None
    elif is_float(base.dtype):
        base = apply(Offset(), base, pointwise(op, constant(0, base.dtype), factor))
    return _relinked(sparse, base, lambda x: pointwise(op, x, broadcast(factor, x.shape, ())))


def _relinked(sparse: Node, base: Node, change: Callable[[Node], Node] = lambda x: x) -> Node:
    """Add the terms of a sparse value to another value, each changed by a linear function."""
    for link in [*continued(sparse)][::-1]:
        _, term, *indices = link.inputs
        again = isinstance(base.op, Scatter) and base.op == link.op and list(base.inputs[2:]) == indices
        if again:
            base = apply(link.op, base.inputs[0], base.inputs[1] + change(term), *indices)
        else:
            base = apply(link.op, base, change(term), *indices)
    return base
