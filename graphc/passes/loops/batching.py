"""`over_steps`: one op for all steps of a loop at once, with the steps along a new first axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.graph.types import Size
from graphc.ops.cumulative import Cumulative, LinearRecurrence
from graphc.ops.linalg import MatMul
from graphc.ops.losses import CrossEntropy
from graphc.ops.pointwise import Broadcast, Cast, Elementwise, broadcast
from graphc.ops.reduction import LogSoftmax, LogSumExp, Reduction, Softmax
from graphc.ops.shape import Concat, PermuteDims, Reshape, Slice, Squeeze, Unslice


def repeated(x: Node, length: Size) -> Node:
    """Return a value that is the same at every step, for all steps; a view."""
    return broadcast(x, (length, *x.shape), tuple(range(1, x.ndim + 1)))


def over_steps(node: Node, inputs: Sequence[Node], stacked: Sequence[bool], length: Size) -> Node | None:
    """Return a node for all `length` steps, or None for an op without such a form.

    `inputs` stand for the node's own: those that are `stacked` have the steps along axis 0, the others are the same
    at every step.

    before: `%2: f64[m] = multiply(%0, %1)` with `%0` stacked
    after: `%3: f64[t,m] = broadcast[shape=(t,m), axes=(1)](%1)`, `%4: f64[t,m] = multiply(%0, %3)`
    """
    if isinstance(node.op, MatMul):
        return _matmul(node, inputs, stacked, length)
    full = [x if s else repeated(x, length) for x, s in zip(inputs, stacked, strict=True)]
    op = node.op
    if isinstance(op, (Elementwise, Cast, CrossEntropy)):
        return apply(op, *full)
    if isinstance(op, Broadcast):
        return apply(Broadcast((length, *op.shape), (0, *_moved(op.axes))), *full)
    if isinstance(op, PermuteDims):
        return apply(PermuteDims((0, *_moved(op.axes))), *full)
    if isinstance(op, Reshape):
        return apply(Reshape((length, *op.shape)), *full)
    if isinstance(op, Slice):
        return apply(Slice((0, *op.starts), (length, *op.shape), (1, *op.steps)), *full)
    if isinstance(op, Unslice):
        return apply(Unslice((length, *op.shape), (0, *op.starts), (1, *op.steps)), *full)
    if isinstance(op, (Squeeze, Reduction, LogSumExp)):
        return apply(replace(op, axes=_moved(op.axes)), *full)
    if isinstance(op, (Softmax, LogSoftmax, Concat, Cumulative, LinearRecurrence)):
        return apply(replace(op, axis=op.axis + 1), *full)
    return None


def _moved(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + 1 for a in axes)


def _matmul(node: Node, inputs: Sequence[Node], stacked: Sequence[bool], length: Size) -> Node:
    """Multiply the rows of all steps by one matrix as one product; else one product a step."""
    x, y = inputs
    if stacked == [True, False] and y.ndim == 2:
        rows = apply(Reshape((length * node.shape[0], x.shape[-1])), x)
        return apply(Reshape((length, *node.shape)), apply(MatMul(), rows, y))
    full = [v if s else repeated(v, length) for v, s in zip(inputs, stacked, strict=True)]
    return apply(MatMul(), *full)
