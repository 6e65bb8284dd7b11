"""The nests of single-node kernels: matrix products, cumulative sums, scatters and assemblies.

`lower_kernel` is the door to lowering: loop kernels go to `lower`, the others to the table here. Each gives one
or more nests, which run in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphc.codegen.copies import collapse, copy_nest, finish, nested
from graphc.codegen.gemm import lower_matmul, lower_matmul_sum, lower_matmul_update
from graphc.codegen.lapack import LAPACK
from graphc.codegen.lower import Accesses, lower
from graphc.codegen.nest import (
    Builder,
    Loop,
    LoopNest,
    Statement,
)
from graphc.codegen.reduce import combine, identity
from graphc.codegen.sorting import SORTING
from graphc.codegen.windows import WINDOWED
from graphc.node import Node
from graphc.ops.base import Constant
from graphc.ops.cumulative import Cumulative
from graphc.ops.indexing import Scatter
from graphc.ops.linalg import MatMul, MatMulSum, MatMulUpdate
from graphc.ops.shape import Concat, Unslice, contiguous_strides
from graphc.passes.fuse import Kernel, Schedule, squeeze_strides
from graphc.passes.layout import Access, is_inline
from graphc.types import Shape, Size, product


def lower_kernel(
    kernel: Kernel, schedule: Schedule, aliased: dict[Node, Node], *, divide: bool = False
) -> list[LoopNest]:
    """Return the nests of any kernel; see `lower` for `aliased` and `divide`."""
    if kernel.kind == "loop":
        return [lower(kernel, schedule, aliased, divide=divide)]
    (node,) = kernel.nodes
    if isinstance(node.op, MatMulUpdate):
        return lower_matmul_update(node, schedule.accesses, in_place=node in aliased.values())
    lowerings: dict[type, Callable[[Node, Accesses], list[LoopNest]]] = {
        MatMul: lower_matmul,
        MatMulSum: lower_matmul_sum,
        Cumulative: _cumulative,
        Scatter: _scatter,
        Unslice: _unslice,
        **SORTING,
        **LAPACK,
        **WINDOWED,
    }
    return lowerings[type(node.op)](node, schedule.accesses)


def concat_nests(node: Node, accesses: Accesses, placed: Mapping[Node, tuple[Node, Size]]) -> list[LoopNest]:
    """Return the nests that copy the operands of a concatenation, except those that are computed in their place."""
    assert isinstance(node.op, Concat)
    strides = contiguous_strides(node.shape)
    nests = []
    offset: Size = 0
    for x in node.inputs:
        if placed.get(accesses[x].base, (x, 0))[0] is not node:
            nests.append(copy_nest(node, x.shape, accesses[x], Access(node, offset * strides[node.op.axis], strides)))
        offset = offset + x.shape[node.op.axis]
    return nests


def _unslice(node: Node, accesses: Accesses) -> list[LoopNest]:
    op = node.op
    assert isinstance(op, Unslice)
    (x,) = node.inputs
    own = contiguous_strides(node.shape)
    whole = Access(node, 0, own)
    offset: Size = 0
    for start, stride in zip(op.starts, own, strict=True):
        offset = offset + start * stride
    place = Access(node, offset, tuple(s * k for s, k in zip(own, op.steps, strict=True)))
    zero = identity("sum", node.dtype) if node.dtype.kind != "b" else "False"
    return [copy_nest(node, node.shape, whole, whole, fill=zero), copy_nest(node, x.shape, accesses[x], place)]


def _cumulative(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Run along the last axis with one accumulator."""
    op = node.op
    assert isinstance(op, Cumulative) and op.axis == node.ndim - 1 and not op.reverse
    (x,) = node.inputs
    build = Builder([node])
    lead = node.shape[:-1]
    source, own = accesses[x], contiguous_strides(node.shape)
    rows = [squeeze_strides(s[:-1], lead) for s in (own, source.strides)]
    extents, (to, of) = collapse(squeeze_strides(lead, lead), rows)
    variables = [f"d{k}" for k in range(len(extents))]
    name = "sum" if op.name == "cumulative_sum" else "prod"
    count = build.size(node.shape[-1])
    out, value = build.pointer(node, 0), build.pointer(source.base, source.offset)
    index_in = build.index((*of, source.strides[-1]), [*variables, "j"])
    inner: list[Statement] = [
        f"a = {combine(name, node.dtype, 'a', f'{value}[{index_in}]')}",
        f"{out}[{build.index((*to, 1), [*variables, 'j'])}] = a",
    ]
    body = nested(build, extents, [f"a = {identity(name, node.dtype)}", Loop("j", "0", count, inner)])
    return [finish(build, body, extents, product(node.shape))]


def _scatter(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Copy the operand, then write the updates in order."""
    own = contiguous_strides(node.shape)
    copy = copy_nest(node, node.shape, accesses[node.inputs[0]], Access(node, 0, own))
    return [copy, scatter_nest(node, accesses)]


def scatter_nest(node: Node, accesses: Accesses) -> LoopNest:
    """Return the nest that writes the updates of a scatter in order, after a check of each index."""
    op = node.op
    assert isinstance(op, Scatter)
    updates = node.inputs[1]
    own = contiguous_strides(node.shape)
    build = Builder([node])
    shape = updates.shape
    extents = squeeze_strides(shape, shape)
    variables = [f"d{k}" for k in range(len(extents))]
    rest = [s for a, s in enumerate(own) if a not in op.axes]
    padding = updates.ndim - len(rest)
    terms = [build.index(squeeze_strides((*(0 for _ in range(padding)), *rest), shape), variables)]
    body = _checked_indices(node, accesses, build, variables, shape, terms)
    source = accesses[updates]
    index = build.index(squeeze_strides(source.strides, shape), variables)
    place = f"{build.pointer(node, 0)}[{' + '.join(t for t in terms if t != '0') or '0'}]"
    if is_inline(source.base.op):
        assert isinstance(source.base.op, Constant)
        value = build.literal(source.base.op.value.reshape(()))
    else:
        value = f"{build.pointer(source.base, source.offset)}[{index}]"
    body.append(f"{place} = {combine('sum', node.dtype, place, value) if op.mode == 'add' else value}")
    return finish(build, nested(build, extents, body), extents, product(shape), divisible=False)


def check_nest(node: Node, accesses: Accesses) -> LoopNest:
    """Return the nest that checks the indices of a scatter and writes nothing."""
    assert isinstance(node.op, Scatter)
    shape = node.inputs[2].shape
    build = Builder([node])
    extents = squeeze_strides(shape, shape)
    variables = [f"d{k}" for k in range(len(extents))]
    body = _checked_indices(node, accesses, build, variables, shape, [])
    return finish(build, nested(build, extents, body), extents, product(shape))


def _checked_indices(
    node: Node, accesses: Accesses, build: Builder, variables: Sequence[str], shape: Shape, terms: list[str]
) -> list[Statement]:
    """Emit the bounds checks of a scatter's index arrays over `shape`, and append their contributions to `terms`."""
    op = node.op
    assert isinstance(op, Scatter)
    body: list[Statement] = []
    build.checks.append(node)
    for indices, axis in zip(node.inputs[2:], op.axes, strict=True):
        access = accesses[indices]
        strides = squeeze_strides((*access.strides, *(0 for _ in range(len(shape) - indices.ndim))), shape)
        raw, size = build.name("r"), build.size(node.shape[axis])
        j = build.name("j")
        body.append(f"{raw} = {build.pointer(access.base, access.offset)}[{build.index(strides, variables)}]")
        body.append(f"{j} = select({raw} < 0, {raw} + {size}, {raw})")
        body.append(f"if {j} < 0 or {j} >= {size}: return {len(build.checks)}")
        stride = contiguous_strides(node.shape)[axis]
        terms.append(j if stride == 1 else f"{j} * {build.size(stride)}")
    return body
