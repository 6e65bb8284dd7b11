"""Framed values in a nest: the inner loop is divided where their regions begin and end.

Where every region of a kernel holds a point, its values are plain expressions, which vectorise; at the edges, a
condition for each value says whether its expression may be read. Cheap values are computed in whole vectors, the
ends of a row in vectors that overlap others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

from graphc.codegen.nest.ir import ZERO, Binary, Expr, If, Let, Loop, Number, Statement, Store, Var, both, select, typed
from graphc.codegen.nest.nest import Builder
from graphc.codegen.nest.scalars import scalar_code
from graphc.graph.node import Node
from graphc.graph.types import Size, short_name
from graphc.ops.cost import is_expensive
from graphc.ops.pointwise import Pointwise
from graphc.passes.schedule.frame import Framed
from graphc.passes.schedule.layout import Access

if TYPE_CHECKING:
    from graphc.codegen.nest.lower import Lowering

Interval = tuple[Size, Size]
PIECE = Var("piece")
"""Counts the parts of a row that have the same code."""


def framed_axes(nodes: Sequence[Node]) -> set[int]:
    """Return the squeezed axes in which the region of some value is less than the whole."""
    return {axis for n in nodes if isinstance(n.op, Framed) for axis in _intervals(n.op)}


def _intervals(op: Framed) -> dict[int, Interval]:
    """Return where a region begins and ends, for each squeezed axis in which it is less than the whole."""
    kept = [a for a, n in enumerate(op.shape) if n != 1]
    spans = {k: (op.starts[a], op.starts[a] + op.region[a]) for k, a in enumerate(kept)}
    return {k: span for k, span in spans.items() if span != (0, op.shape[kept[k]])}


def shifted(op: Framed, access: Access) -> Access:
    """Return where an operand's elements are, by the indices of the whole."""
    offset = access.offset
    for start, stride in zip(op.starts, access.strides, strict=True):
        offset = offset - start * stride
    return Access(access.base, offset, access.strides)


def framed_value(nest: Lowering, node: Node, name: Var) -> Statement:
    """Return the statement that computes a framed value: its expression inside its region, 0 outside."""
    op = node.op
    assert isinstance(op, Framed)
    body: list[Statement] = []
    known: dict[Node, Var] = {}
    for place, x in zip(op.body.inputs, node.inputs, strict=True):
        name_of = nest.build.name("x", short_name(place.dtype))
        known[place] = name_of
        body.append(Let(name_of, nest.read(shifted(op, nest.accesses[x]), node)))
    for n in op.body.nodes:
        if n not in known:
            known[n] = nest.build.let(body, "t", scalar_code(n, [known[x] for x in n.inputs]))
    body.append(Let(name, known[op.body.outputs[0]]))
    zero = typed(0, name.kind)
    tests = [test for axis, span in _intervals(op).items() for test in _inside(nest, axis, span)]
    return If(both(*tests), body, [Let(name, zero)])


def _inside(nest: Lowering, axis: int, span: Interval) -> list[Expr]:
    variable = nest.variables[next(k for k, group in enumerate(nest.groups) if axis in group)]
    start, stop = span
    low: list[Expr] = [] if start == 0 else [variable >= nest.build.size(start)]
    return [*low, variable < nest.build.size(stop)]


def divided(nest: Lowering, statements: list[Statement], start: Expr, stop: Expr) -> list[Statement]:
    """Return the loops over the last axis from `start` to `stop`: where all regions hold, and at the edges."""
    build, last = nest.build, len(nest.groups) - 1
    variable = nest.variables[last]
    axis = nest.groups[last][-1]
    regions = [_intervals(n.op) for n in nest.kernel.nodes if isinstance(n.op, Framed)]
    along = [r[axis] for r in regions if axis in r]
    spans = {(a, span): None for r in regions for a, span in r.items() if a != axis}
    across = [test for a, span in spans for test in _inside(nest, a, span)]
    first, final, middle = (Var(f"{name}{last}") for name in ("first", "final", "middle"))
    body: list[Statement] = [
        Let(first, start),
        *_extreme(build, first, [s for s, _ in along if s != 0], ">"),
        Let(first, select(first < stop, first, stop)),
        Let(final, stop),
        *_extreme(build, final, [e for _, e in along], "<"),
        Let(final, select(final > first, final, first)),
    ]
    if across:
        body = [If(both(*across), body, [Let(first, stop), Let(final, stop)])]
    inside = [s for statement in statements for s in (statement.body if _is_framed(statement) else [statement])]
    outside = statements if len(regions) > 1 else _without(statements)
    lanes = 64 // min(n.dtype.itemsize for n in nest.kernel.stored)
    # From here on, vectors of rows that begin at a multiple of 64 bytes are aligned.
    body.append(Let(middle, (first + (lanes - 1)) // lanes * lanes))
    if _is_light(nest):
        pieces = Var(f"pieces{last}")
        body.append(Let(pieces, select(final - first >= 2 * lanes, 3, 0)))
        body.append(_whole_vectors(nest, last, lanes, [s for s in inside if isinstance(s, Let | Store)]))
        short = select(pieces.eq(0), final, first)
        if len(regions) > 1:
            body.append(Let(final, select(pieces.eq(0), first, final)))
        else:
            body.append(Loop(variable, first, short, inside))
    else:
        body.append(Let(middle, select(middle < final, middle, final)))
        body.append(_pieces(variable, [(first, middle), (middle, final)], inside))
    return [*body, _pieces(variable, [(start, first), (final, stop)], outside)]


def _is_light(nest: Lowering) -> bool:
    """Tell whether elements may be computed twice, and cost so little that loads and odd ends of rows are what counts.

    Long mathematics is better in two vectors at a time, see `jit`.
    """
    kernel = nest.kernel
    if not nest.options.uses("whole_vectors") or any(
        nest.accesses[x].base in nest.build.over for n in kernel.nodes for x in n.inputs
    ):
        return False
    members = [m for n in kernel.nodes for m in (_computed(n.op) if isinstance(n.op, Framed) else [n])]
    return kernel.kind == "loop" and all(isinstance(n.op, Pointwise) and not is_expensive(n) for n in members)


def _computed(op: Framed) -> list[Node]:
    return [n for n in op.body.nodes if n not in op.body.inputs]


def _whole_vectors(nest: Lowering, last: int, lanes: int, inside: list[Let | Store]) -> Loop:
    """Return the loop over whole vectors: the first, those from the middle on, and the last, which may overlap."""
    nest.whole_vectors = True
    names = ("first", "middle", "final", "pieces", "count", "whole", "from_d")
    first, middle, final, pieces, count, whole, start = (Var(f"{name}{last}") for name in names)
    from_middle = select(PIECE.eq(1), middle, final - lanes)
    bounds = [
        Let(start, select(PIECE.eq(0), first, from_middle)),
        Let(count, select(PIECE.eq(1), (final - middle) // lanes, 1)),
    ]
    loop = Loop(whole, ZERO, count * lanes, [Let(nest.variables[last], whole + start), *inside])
    return Loop(PIECE, ZERO, pieces, [*bounds, loop])


def _pieces(variable: Var, spans: Sequence[tuple[Expr, Expr]], body: list[Statement]) -> Loop:
    """Return two loops with the same body, as a loop over both: the code is there once."""
    (start, stop), (then, end) = spans
    first, last = Var(f"from_{variable}"), Var(f"to_{variable}")
    bounds = [Let(first, select(PIECE.eq(0), start, then)), Let(last, select(PIECE.eq(0), stop, end))]
    return Loop(PIECE, ZERO, Number(2), [*bounds, Loop(variable, first, last, body)])


def _without(statements: list[Statement]) -> list[Statement]:
    """Return the statements at the edges of the only region: nothing of it is read."""
    return [s for statement in statements for s in (statement.otherwise if _is_framed(statement) else [statement])]


def _is_framed(statement: Statement) -> TypeGuard[If]:
    """Tell a value with a region, which is 0 elsewhere, from the check of an index, which holds everywhere."""
    return isinstance(statement, If) and bool(statement.otherwise)


def _extreme(build: Builder, name: Var, sizes: list[Size], sign: str) -> list[Statement]:
    """Return the statements that raise (or lower) a variable to the largest (or least) of some sizes."""
    known = [build.size(size) for size in dict.fromkeys(sizes)]
    return [Let(name, select(Binary(sign, n, name), n, name)) for n in known]
