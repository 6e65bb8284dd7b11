"""The nests of single-node kernels: matrix products, cumulative sums, scatters and assemblies.

`lower_kernel` is the door to lowering: loop kernels go to `lower`, the others to the table here. Each gives one
or more nests, which run in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.codegen.nest.copies import collapse, copy_nest, finish, nested
from graphc.codegen.nest.gemm import lower_matmul, lower_matmul_add, lower_matmul_sum, lower_matmul_update
from graphc.codegen.nest.ir import ZERO, Cast, Expr, Let, Loop, Statement, Store, Var, call, select, typed, variables
from graphc.codegen.nest.lapack import LAPACK
from graphc.codegen.nest.lower import Accesses, lower, lower_loop
from graphc.codegen.nest.nest import Builder, LoopNest
from graphc.codegen.nest.places import Places
from graphc.codegen.nest.reduce import combine, identity, rounding
from graphc.codegen.nest.sorting import SORTING
from graphc.codegen.nest.windows import WINDOWED
from graphc.graph.node import Node
from graphc.graph.types import DType, Shape, Size, product, short_name
from graphc.ops.cumulative import Cumulative, LinearRecurrence, Running
from graphc.ops.indexing import Gather, Offset, Scatter
from graphc.ops.linalg import MatMul, MatMulAdd, MatMulSum, MatMulUpdate
from graphc.ops.shape import Concat, Unslice, contiguous_strides
from graphc.passes.schedule.fuse import squeeze_strides
from graphc.passes.schedule.kernels import Kernel, Schedule
from graphc.passes.schedule.layout import Access
from graphc.passes.schedule.options import Options

Products = Callable[[Node, Accesses, Options], list[LoopNest]]
J = Var("j")


def lower_kernel(
    kernel: Kernel, schedule: Schedule, aliased: dict[Node, Node], *, divide: bool = False
) -> list[LoopNest]:
    """Return the nests of any kernel; see `lower` for `aliased` and `divide`."""
    if kernel.kind == "loop":
        return lower_loop(kernel, schedule, aliased, divide=divide)
    if kernel.kind == "scatter":
        copied = scatter_copy(kernel.root, schedule.accesses)
        return [copied, scatter_nest(kernel, schedule, aliased, divide=divide)]
    (node,) = kernel.nodes
    if isinstance(node.op, MatMulUpdate):
        return lower_matmul_update(node, schedule.accesses, schedule.options, in_place=node in aliased.values())
    products: dict[type, Products] = {MatMul: lower_matmul, MatMulAdd: lower_matmul_add, MatMulSum: lower_matmul_sum}
    if type(node.op) in products:
        return products[type(node.op)](node, schedule.accesses, schedule.options)
    lowerings: dict[type, Callable[[Node, Accesses], list[LoopNest]]] = {
        Cumulative: _cumulative,
        LinearRecurrence: _cumulative,
        Unslice: _unslice,
        **SORTING,
        **LAPACK,
        **WINDOWED,
    }
    return lowerings[type(node.op)](node, schedule.accesses)


def concat_nests(node: Node, accesses: Accesses, places: Places) -> list[LoopNest]:
    """Return the nests that copy the operands of a concatenation, except those that are computed in their place."""
    assert isinstance(node.op, Concat)
    strides = contiguous_strides(node.shape)
    nests = []
    offset: Size = 0
    for x in node.inputs:
        if places.parts.get(accesses[x].base, (x, 0))[0] is not node:
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
    zero = typed(0, short_name(node.dtype))
    return [copy_nest(node, node.shape, whole, whole, fill=zero), copy_nest(node, x.shape, accesses[x], place)]


def _cumulative(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Run along the last axis with one accumulator."""
    op = node.op
    assert isinstance(op, Running) and op.axis == node.ndim - 1 and not op.reverse
    build = Builder([node])
    lead = node.shape[:-1]
    sources, own = [accesses[x] for x in node.inputs], contiguous_strides(node.shape)
    rows = [squeeze_strides(s[:-1], lead) for s in (own, *(source.strides for source in sources))]
    extents, (to, *of) = collapse(squeeze_strides(lead, lead), rows)
    at = [*(Var(f"d{k}") for k in range(len(extents))), J]
    count = build.size(node.shape[-1])
    out, pointers = build.pointer(node, 0), [build.pointer(source.base, source.offset) for source in sources]
    values = [
        pointer[build.index((*strides, source.strides[-1]), at)]
        for pointer, strides, source in zip(pointers, of, sources, strict=True)
    ]
    start, steps, result = _running(op, node.dtype, values)
    inner: list[Statement] = [*steps, Store(out, build.index((*to, 1), at), result)]
    body = nested(build, extents, [*start, Loop(J, ZERO, count, inner)])
    return [finish(build, body, extents, product(node.shape))]


def scatter_nest(kernel: Kernel, schedule: Schedule, aliased: dict[Node, Node], *, divide: bool) -> LoopNest:
    """Return the nest of a scatter, or of an offset, that writes where its operand is."""
    if isinstance(kernel.root.op, Offset):
        return _offset(kernel.root, schedule.accesses)
    return lower(kernel, schedule, aliased, divide=divide)


def _offset(node: Node, accesses: Accesses) -> LoopNest:
    """Add a number to every element, where it is not 0; one that is NaN is not."""
    build = Builder([node])
    number, count = accesses[node.inputs[1]], build.size(product(node.shape))
    out = build.pointer(node, 0)
    value = build.once("number", "x", lambda: build.pointer(number.base, number.offset)[ZERO])
    stop = build.once("stop", "n", lambda: select(value.eq(0), 0, count))
    d0 = Var("d0")
    return finish(build, [Loop(d0, ZERO, stop, [Store(out, d0, out[d0] + value)])], (), 1)


def _running(op: Running, dtype: DType, values: Sequence[Expr]) -> tuple[list[Let], list[Let], Expr]:
    """Return what sets the accumulator `a` before the loop, what step `j` does to it, and the value after that step.

    A sum of float32 is a float64; one of float64 keeps the errors of its additions beside it, which are not on the path
    from one sum to the next. It starts from -0.0, so that a sum of negative zeros is one.
    """
    a, v, s, z, e = variables("a v s z e", short_name(dtype))
    if isinstance(op, LinearRecurrence):
        factor, term = values
        follows = combine("sum", dtype, term, combine("prod", dtype, factor, a))
        return [Let(a, identity("sum", dtype))], [Let(a, select(J > 0, follows, term))], a
    name = op.name.removeprefix("cumulative_")
    if name != "sum" or dtype.kind != "f":
        return [Let(a, identity(name, dtype))], [Let(a, combine(name, dtype, a, values[0]))], a
    if dtype.itemsize == 4:
        a = Var("a", "f64")
        return [Let(a, typed(-0.0, "f64"))], [Let(a, a + Cast("f64", values[0]))], Cast("f32", a)
    steps = [Let(v, values[0]), Let(s, a + v), Let(z, s - a), Let(e, e + rounding(a, v, s, z)), Let(a, s)]
    return [Let(a, typed(-0.0, "f64")), Let(e, typed(0, "f64"))], steps, select(call("isfinite", e) & e.ne(0), a + e, a)


def scatter_copy(node: Node, accesses: Accesses) -> LoopNest:
    """Return the nest that copies what a scatter writes into, where it does not write in place."""
    return copy_nest(node, node.shape, accesses[node.inputs[0]], Access(node, 0, contiguous_strides(node.shape)))


Check = tuple[Access, Shape, Size]
"""Where the indices of an axis are, their shape, and the size that they must be below."""


def checks_of(node: Node, accesses: Accesses) -> dict[Check, None]:
    """Return the checks that a gather or a scatter makes of its indices."""
    assert isinstance(node.op, (Gather, Scatter))
    indices = node.inputs[2:] if isinstance(node.op, Scatter) else node.inputs[1:]
    shape = node.inputs[0].shape
    return {(accesses[x], x.shape, shape[axis]): None for x, axis in zip(indices, node.op.axes, strict=True)}


def made_checks(kernel: Kernel, accesses: Accesses) -> set[Check]:
    """Return the checks that a kernel has certainly made when it has run: of rows that may have no elements, none."""
    indexed = [n for n in kernel.nodes if isinstance(n.op, (Gather, Scatter))]
    spaces = [n.inputs[1].shape if isinstance(n.op, Scatter) else n.shape for n in indexed]
    walked = [n for n, space in zip(indexed, spaces, strict=True) if _walks_all(n, space)]
    return {check for n in walked for check in checks_of(n, accesses)}


def _walks_all(node: Node, space: Shape) -> bool:
    """Tell whether each index is met, whatever the sizes: the axes beside those of the indices have elements."""
    indices = node.inputs[-1]
    rest = space[indices.ndim :]
    return all(isinstance(n, int) and n > 0 for n in rest)


def check_nests(kernel: Kernel, accesses: Accesses, made: set[Check]) -> list[LoopNest]:
    """Return the nests that check the indices of a scatter, and of the values it is made of, and write nothing.

    Checks in `made` have been made by kernels before; what is checked here is added to them.
    """
    nests = []
    for node in kernel.nodes:
        if isinstance(node.op, (Gather, Scatter)):
            left = [check for check in checks_of(node, accesses) if check not in made]
            nests += [_check_nest(node, left)] if left else []
            made |= set(left)
    return nests


def _check_nest(node: Node, left: list[Check]) -> LoopNest:
    """Return the nest of the checks of one node; its indices have one shape."""
    shape = left[0][1]
    build = Builder([node])
    build.checks.append(node)
    extents = squeeze_strides(shape, shape)
    at = [Var(f"d{k}") for k in range(len(extents))]
    body: list[Statement] = []
    for access, _, size in left:
        index = build.index(squeeze_strides(access.strides, shape), at)
        raw = build.name("r", short_name(access.base.dtype))
        body.append(Let(raw, build.pointer(access.base, access.offset)[index]))
        build.checked(body, raw, size)
    return finish(build, nested(build, extents, body), extents, product(shape))
