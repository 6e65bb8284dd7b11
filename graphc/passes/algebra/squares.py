"""Which values are sums of squares, however they are written: `x @ x`, `sum(2 * x**2)`, `x @ P @ x`, sums of such.

Where such a value is 0, a norm is 0, and the derivative of its root is 0 by the convention of norms; the chain rule
alone says inf * 0. Weights must be known not to be negative: of an indefinite form the root has no derivative at 0. The
matrix of a quadratic form is taken to be positive semidefinite, since nothing short of its eigenvalues could tell.
"""

from __future__ import annotations

from graphc.graph.node import Node
from graphc.graph.op import View
from graphc.ops.elementwise import ADD, MULTIPLY, POW, SQUARE
from graphc.ops.elementwise_float import literal
from graphc.ops.indexing import Gather
from graphc.ops.linalg import MatMul
from graphc.ops.pointwise import Broadcast
from graphc.ops.reduction import Reduction
from graphc.ops.shape import PermuteDims, Slice
from graphc.passes.algebra.signs import is_nonnegative, is_positive

BUDGET = 32
"""Nodes that one question may look at."""


def is_sum_of_squares(node: Node) -> bool:
    """Tell whether `node` is a sum of squares with weights that are not negative, and not one square alone."""
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
            stack.extend(y for y in x.inputs if literal(y) != 0)
        elif isinstance(x.op, MatMul) and all(s == 1 for s in x.shape) and _is_form(*x.inputs):
            sums += 1
        elif x.op is MULTIPLY and not _is_form(*x.inputs):
            weights = [w for w in x.inputs if is_positive(w)] or [w for w in x.inputs if is_nonnegative(w)]
            if not weights:
                return False
            stack.extend(f for f in x.inputs if f is not weights[0])
        elif isinstance(x.op, Gather) and not _is_diagonal_of_outer(x):
            stack.append(x.inputs[0])
        elif x.op not in (SQUARE, MULTIPLY) and not isinstance(x.op, Gather) and not _is_even_power(x):
            return False
    return False


def _is_even_power(x: Node) -> bool:
    exponent = literal(x.inputs[1]) if x.op is POW else None
    return exponent is not None and exponent >= 2 and (exponent % 2 == 0 or is_nonnegative(x.inputs[0]))


def _is_form(x: Node, y: Node) -> bool:
    """Tell whether a product holds a vector twice, once perhaps mapped by a matrix or by weights."""
    left, right = _vector(x), _vector(y)
    return left is right or _maps(left, right) or _maps(right, left)


def _maps(x: Node, vector: Node) -> bool:
    """Tell whether `x` is a product of a matrix, or weights that are not negative, and the vector, and of its size."""
    if x.op is MULTIPLY:
        return any(
            is_nonnegative(w) and (_vector(v) is vector or _maps(_vector(v), vector))
            for w, v in (x.inputs, x.inputs[::-1])
        )
    return isinstance(x.op, MatMul) and x.size == vector.size and any(_vector(v) is vector for v in x.inputs)


def _is_diagonal_of_outer(x: Node) -> bool:
    """Tell whether a gather takes the diagonal of the products of a vector's elements."""
    table, *indices = x.inputs
    if table.op is not MULTIPLY or len(indices) < 2 or any(i is not indices[0] for i in indices):
        return False
    left, right = (y.inputs[0] if isinstance(y.op, Broadcast) else y for y in table.inputs)
    return left is right


def _vector(node: Node) -> Node:
    """Return what a row or column has the elements of, all of them and in their order."""
    while isinstance(node.op, View) and node.inputs[0].size == node.size and not _reorders(node):
        node = node.inputs[0]
    return node


def _reorders(view: Node) -> bool:
    matrix = sum(bool(size != 1) for size in view.shape) > 1
    return isinstance(view.op, Slice) or (isinstance(view.op, PermuteDims) and matrix)
