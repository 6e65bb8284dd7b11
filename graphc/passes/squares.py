"""Which values are sums of squares, however they are written: `x @ x`, `tensordot`, `sum(2 * x**2)`, sums of such.

Where such a value is 0, a norm is 0, and the derivative of its root is 0 by the convention of norms; the chain rule
alone says inf * 0. Weights must be known to be positive: of an indefinite form the root has no derivative at 0.
"""

from __future__ import annotations

from graphc.node import Node
from graphc.ops.base import View
from graphc.ops.elementwise import ADD, MULTIPLY, SQUARE
from graphc.ops.linalg import MatMul
from graphc.ops.reduction import Reduction
from graphc.ops.shape import PermuteDims, Slice
from graphc.passes.signs import is_positive

BUDGET = 32
"""Nodes that one question may look at."""


def is_sum_of_squares(node: Node) -> bool:
    """Tell whether `node` is a sum of squares with positive weights, and not one square alone."""
    stack, sums = [node], 0
    for _ in range(BUDGET):
        if not stack:
            return sums > 0
        x = stack.pop()
        if isinstance(x.op, View):
            stack.append(x.inputs[0])
        elif isinstance(x.op, Reduction) and x.op.name == "sum":
            sums += 1
            stack.append(x.inputs[0])
        elif x.op is ADD:
            sums += 1
            stack.extend(x.inputs)
        elif x.op is MULTIPLY:
            weights = [w for w in x.inputs if is_positive(w)]
            if len(weights) != 1:
                return False
            stack.extend(f for f in x.inputs if f is not weights[0])
        elif isinstance(x.op, MatMul) and all(s == 1 for s in x.shape) and _vector(x.inputs[0]) is _vector(x.inputs[1]):
            sums += 1
        elif x.op is not SQUARE:
            return False
    return False


def _vector(node: Node) -> Node:
    """Return what a row or column has the elements of, all of them and in their order."""
    while isinstance(node.op, View) and node.inputs[0].size == node.size and not _reorders(node):
        node = node.inputs[0]
    return node


def _reorders(view: Node) -> bool:
    matrix = sum(size != 1 for size in view.shape) > 1
    return isinstance(view.op, Slice) or (isinstance(view.op, PermuteDims) and matrix)
