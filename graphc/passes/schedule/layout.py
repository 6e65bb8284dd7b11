"""Prepare a graph for fusion: give every value that must lie in memory a form that codegen stores.

`lay_out` inserts `copy` nodes (an identity that is stored contiguously) where a view, an index or a leaf is
itself an output, where a reshape is no strided view of its operand, and where BLAS has no flag for an operand;
it moves the axis of an argmax or a cumulative sum to the end and turns integer matmuls into sums. `Access`
describes, in elements, where a view's values are inside the value that is stored.
"""

from __future__ import annotations

import operator
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from graphc.graph.errors import blame
from graphc.graph.graph import Graph, rebuild
from graphc.graph.node import Node
from graphc.graph.op import Constant, Leaf, Op, Routine, View, apply
from graphc.graph.types import Shape, Size, bounds, is_float
from graphc.ops.control import Control, Project, Scan
from graphc.ops.creation import Iota
from graphc.ops.cumulative import Cumulative, LinearRecurrence, Running
from graphc.ops.indexing import Gather, Offset, Scatter
from graphc.ops.linalg import MatMul, MatMulAdd, MatMulSum, MatMulUpdate
from graphc.ops.pointwise import DimValue, Elementwise, Pointwise, broadcast, elementwise
from graphc.ops.reduction import Reduction
from graphc.ops.shape import Assembly, PermuteDims, Slice, contiguous_strides
from graphc.ops.windows import Windows
from graphc.passes.schedule.options import EVERYTHING, Options
from graphc.passes.updates.scatters import late_scatters

COPY = elementwise("copy", numpy=lambda x: x, code="{0}", accepts="any", partials=(1,))


@dataclass(frozen=True, slots=True)
class Access:
    """How a node's elements are found: `base[offset + sum(index * stride)]`, in elements."""

    base: Node
    offset: Size
    strides: tuple[Size, ...]


def is_inline(op: Op) -> bool:
    """Tell whether a value is written into the code that reads it: an index, a size, a literal number."""
    return isinstance(op, (Iota, DimValue)) or (isinstance(op, Constant) and op.value.size == 1)


def base_strides(node: Node) -> tuple[Size, ...]:
    """Return the strides of a value that is stored, or the virtual strides of an index."""
    if isinstance(node.op, Iota):
        return tuple(1 if i == node.op.axis else 0 for i in range(node.ndim))
    return (0,) * node.ndim if is_inline(node.op) else contiguous_strides(node.shape)


def access_of(node: Node, operand: Access | None) -> Access | None:
    """Return where a node's elements are, given its operand's access; None for a view that needs a copy."""
    if not isinstance(node.op, View):
        return Access(node, 0, base_strides(node))
    assert operand is not None
    mapped = node.op.access(operand.strides, node.inputs[0].shape)
    return None if mapped is None else Access(operand.base, operand.offset + mapped[0], mapped[1])


def accesses_of(graph: Graph) -> dict[Node, Access]:
    """Return where each node's elements are, in a graph that is laid out."""
    found: dict[Node, Access] = {}
    for node in graph.nodes:
        access = access_of(node, found[node.inputs[0]] if node.inputs else None)
        assert access is not None, f"not laid out: {node!r}"
        found[node] = access
    return found


def gemm_layout(shape: Shape, strides: Sequence[Size]) -> tuple[bool, Size] | None:
    """Return (transposed, leading dimension) of a matrix operand for BLAS, or None where it needs a copy."""
    (rows, columns), (by_row, by_column) = shape[-2:], strides[-2:]
    if columns == 1 or by_column == 1:
        return (False, columns) if rows == 1 else (False, by_row) if by_row == columns or _leads(by_row) else None
    if rows == 1 or by_row == 1:
        return (True, by_column) if by_column == rows or _leads(by_column) else None
    return None


def _leads(stride: Size) -> bool:
    low = bounds(stride)[0]
    return low is not None and low >= 0 and stride != 0


def lay_out(graph: Graph, options: Options = EVERYTHING, carries: int = 0, *, inner: bool = False) -> Graph:
    """Insert copies and move axes so that every computed value has a kernel form.

    In a loop's body, whose first outputs are the next `carries`, a stacked result may be one of them; what is `inner`
    may write into what it receives.

    before: `%1 = permute_dims[axes=(1,0)](%0)`, `return %1`
    after: `%1 = permute_dims[axes=(1,0)](%0)`, `%2 = copy(%1)`, `return %2`
    """
    changed = frozenset(graph.inputs if inner else graph.updates)
    layout = _Layout(options, late_scatters(graph, inner=inner), changed)
    graph, _ = graph.map(layout.visit)
    return graph.with_outputs(_distinct_outputs(graph, layout.accesses, carries))


def _distinct_outputs(graph: Graph, accesses: dict[Node, Access], carries: int) -> list[Node]:
    """Copy the outputs that are views, leaves, indices or repeated: each output has storage of its own."""
    outputs: list[Node] = []
    seen: set[Node] = set()
    of_carry: dict[Node, Node] = {}
    for number, output in enumerate(graph.outputs):
        stored = accesses[output].base is output and not isinstance(output.op, Leaf) and not is_inline(output.op)
        own = output if stored and output not in seen else copy(output)
        if number < carries:
            of_carry.setdefault(output, own)
        elif output in of_carry:
            own = of_carry.pop(output)
        outputs.append(own)
        seen.add(output)
    return outputs


def copy(x: Node) -> Node:
    """Return a copy of `x` that is stored contiguously."""
    with blame(x.source):
        return apply(COPY, x)


class _Layout:
    """The rebuild function of `lay_out`, with the accesses of the nodes built so far.

    `late` scatters run when states have their new values, or write into what a step receives: what they read of
    those is copied before.
    """

    def __init__(self, options: Options, late: Container[Node], updated: Container[Node]) -> None:
        self.options = options
        self.late = late
        self.updated = updated
        self.accesses: dict[Node, Access] = {}
        self.projections: dict[tuple[Node, int], Node] = {}

    def visit(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        """Return the laid-out form of one node on laid-out inputs."""
        if type(node.op) is Elementwise:  # most of a program, and laid out as it is
            out = rebuild(node, inputs)
            self.accesses[out] = Access(out, 0, contiguous_strides(out.type.shape))
            return out
        if isinstance(node.op, View) and access_of(node, self._access(inputs[0])) is None:
            inputs = (copy(inputs[0]),)
        elif isinstance(node.op, (MatMul, MatMulAdd, MatMulSum)):
            inputs = tuple(self._gemm_operand(x) for x in inputs) if is_float(node.dtype) else inputs
        elif isinstance(node.op, MatMulUpdate):
            w, alpha, *factors = inputs
            literal = isinstance(self._access(alpha).base.op, Constant)
            inputs = (w, alpha if literal else self._stored(alpha), *(self._gemm_operand(x) for x in factors))
        elif isinstance(node.op, Gather):
            inputs = (self._stored(inputs[0]), *inputs[1:])
        elif isinstance(node.op, Scatter):
            updates = inputs[1] if isinstance(self._access(inputs[1]).base.op, Constant) else self._stored(inputs[1])
            inputs = (self._stored(inputs[0]), updates, *map(self._stored, inputs[2:]))
        elif isinstance(node.op, (Assembly, Offset, Running)):
            inputs = tuple(self._stored(x) for x in inputs)
        elif isinstance(node.op, Routine):
            inputs = tuple(self._whole(x) for x in inputs)
        elif isinstance(node.op, Project):  # a result has one place in memory, and so one node
            return self._projection(node, node.op.index, inputs)
        elif isinstance(node.op, Control):
            return self._control(node, node.op, tuple(self._whole(x) for x in inputs))
        if node in self.late:
            changed = (self._access(x).base for x in inputs[1:])
            own = self._access(inputs[0]).base
            reads = zip(inputs[1:], changed, strict=True)
            inputs = (inputs[0], *(copy(x) if b in self.updated or b is own else x for x, b in reads))
        with blame(node.source):
            moved = _moved_axis(node, inputs)
        out = rebuild(node, inputs) if moved is None else moved
        self._access(out)
        return out

    def _stored(self, x: Node) -> Node:
        """Copy what has no memory: indices, sizes, literals, and scalars that kernels may compute in place."""
        return x if self._has_memory(x) else copy(x)

    def _has_memory(self, x: Node) -> bool:
        base = self._access(x).base
        return not is_inline(base.op) and (bool(base.shape) or base.op is COPY or not isinstance(base.op, Pointwise))

    def _whole(self, x: Node) -> Node:
        """Copy what a loop cannot walk row by row with one stride."""
        x = self._stored(x)
        return x if self._access(x).strides == contiguous_strides(x.shape) else copy(x)

    def _control(self, node: Node, op: Control, inputs: tuple[Node, ...]) -> Node:
        """Lay out the graphs inside; their outputs have storage of their own."""
        carries = op.carries if isinstance(op, Scan) and self.options.uses("carries_in_stacks") else 0
        regions = op.regions()
        laid_out = [lay_out(region, self.options, carries, inner=True) for region in regions]
        if all(map(operator.is_, laid_out, regions)):
            out = rebuild(node, inputs)
        else:
            out = Node(op.with_regions(laid_out), inputs, node.type, node.source, node.guards)
        self._access(out)
        return out

    def _projection(self, node: Node, index: int, inputs: tuple[Node, ...]) -> Node:
        out = self.projections.setdefault((inputs[0], index), rebuild(node, inputs))
        self._access(out)
        return out

    def _gemm_operand(self, x: Node) -> Node:
        """Copy what BLAS has no flags for, windows among them: their rows overlap."""
        fits = self._has_memory(x) and gemm_layout(x.shape, self._access(x).strides) is not None
        return x if fits and not _shows_windows(x) else copy(x)

    def _access(self, node: Node) -> Access:
        """Return the access of a node, computing those of new nodes below it first."""
        stack = [node]
        while stack:
            top = stack[-1]
            missing = [x for x in top.inputs if x not in self.accesses]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            if top not in self.accesses:
                access = access_of(top, self.accesses[top.inputs[0]] if top.inputs else None)
                assert access is not None, f"not laid out: {top!r}"
                self.accesses[top] = access
        return self.accesses[node]


def _shows_windows(x: Node) -> bool:
    while isinstance(x.op, View):
        if isinstance(x.op, Windows):
            return True
        (x,) = x.inputs
    return False


def _moved_axis(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    """Return an op along an inner axis as the same op along the last axis, seen through permuted views."""
    op = node.op
    if isinstance(op, Reduction) and op.name in ("argmax", "argmin") and op.axes[0] != inputs[0].ndim - 1:
        last = apply(PermuteDims(_to_last(inputs[0].ndim, op.axes[0])), inputs[0])
        return apply(Reduction(op.name, (last.ndim - 1,)), last)
    if isinstance(op, Reduction) and 0 < (inner := _trailing(op, inputs[0].shape)) < len(op.axes):
        rows = apply(replace(op, axes=op.axes[-inner:]), inputs[0])
        return apply(replace(op, axes=op.axes[:-inner]), rows)
    if isinstance(op, (Cumulative, LinearRecurrence)) and (op.reverse or op.axis != node.ndim - 1):
        return _forward_last(op, inputs)
    if isinstance(op, MatMul) and not is_float(node.dtype):
        return _sum_of_products(*inputs)
    return None


def _trailing(op: Reduction, shape: Shape) -> int:
    """Return how many of the axes are the last ones: those reduce in registers, the others then in memory."""
    kept = [a for a in range(len(shape)) if a not in op.axes and shape[a] != 1]
    return len([a for a in op.axes if not kept or a > kept[-1]])


def _to_last(ndim: int, axis: int) -> tuple[int, ...]:
    return (*(i for i in range(ndim) if i != axis), axis)


def _forward_last(op: Cumulative | LinearRecurrence, inputs: Sequence[Node]) -> Node:
    ndim = inputs[0].ndim
    order = _to_last(ndim, op.axis)
    turned = [apply(PermuteDims(order), x) for x in inputs]
    moved = [_flip_last(x) for x in turned] if op.reverse else turned
    out = apply(replace(op, axis=ndim - 1, reverse=False), *moved)
    back = tuple(order.index(i) for i in range(ndim))
    return apply(PermuteDims(back), _flip_last(out) if op.reverse else out)


def _flip_last(x: Node) -> Node:
    starts = (*(0 for _ in x.shape[:-1]), x.shape[-1] - 1)
    return apply(Slice(starts, x.shape, (*(1 for _ in x.shape[:-1]), -1)), x)


def _sum_of_products(x: Node, y: Node) -> Node:
    *batch, m, k = x.shape
    shape = (*batch, m, k, y.shape[-1])
    n = len(batch)
    left = broadcast(x, shape, tuple(range(n + 2)))
    right = broadcast(y, shape, (*range(n), n + 1, n + 2))
    return apply(Reduction("sum", (n + 1,)), left * right)
