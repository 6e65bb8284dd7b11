"""Framed values in a nest: the inner loop is divided where their regions begin and end.

Where every region of a kernel holds a point, its values are plain expressions, which vectorise; at the edges, a
condition for each value says whether its expression may be read. Cheap values are computed in whole vectors, the
ends of a row in vectors that overlap others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphc.codegen.neighbours import carry_neighbours
from graphc.codegen.nest import Builder, If, Loop, Statement
from graphc.codegen.reduce import identity
from graphc.codegen.scalars import scalar_code
from graphc.node import Node
from graphc.ops.pointwise import Pointwise
from graphc.passes.cost import is_expensive
from graphc.passes.frame import Framed
from graphc.passes.layout import Access
from graphc.types import Size

if TYPE_CHECKING:
    from graphc.codegen.lower import _Lowering

Interval = tuple[Size, Size]


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


def framed_value(nest: _Lowering, node: Node, name: str) -> Statement:
    """Return the statement that computes a framed value: its expression inside its region, 0 outside."""
    op = node.op
    assert isinstance(op, Framed)
    body: list[Statement] = []
    known = {}
    for place, x in zip(op.body.inputs, node.inputs, strict=True):
        known[place] = nest.build.name("x")
        body.append(f"{known[place]} = {nest.read(shifted(op, nest.accesses[x]), node)}")
    for n in op.body.nodes:
        if n not in known:
            known[n] = nest.build.name("t")
            body.append(f"{known[n]} = {scalar_code(n, [known[x] for x in n.inputs])}")
    body.append(f"{name} = {known[op.body.outputs[0]]}")
    zero = identity("sum", node.dtype) if node.dtype.kind != "b" else "False"
    tests = [_inside(nest, axis, span) for axis, span in _intervals(op).items()]
    return If(" and ".join(tests) or "True", body, [f"{name} = {zero}"])


def _inside(nest: _Lowering, axis: int, span: Interval) -> str:
    variable = nest.variables[next(k for k, group in enumerate(nest.groups) if axis in group)]
    start, stop = span
    low = [] if start == 0 else [f"{variable} >= {nest.build.size(start)}"]
    return " and ".join([*low, f"{variable} < {nest.build.size(stop)}"])


def divided(nest: _Lowering, statements: list[Statement], start: str, stop: str) -> list[Statement]:
    """Return the loops over the last axis from `start` to `stop`: where all regions hold, and at the edges."""
    build, last = nest.build, len(nest.groups) - 1
    variable = nest.variables[last]
    axis = nest.groups[last][-1]
    regions = [_intervals(n.op) for n in nest.kernel.nodes if isinstance(n.op, Framed)]
    along = [r[axis] for r in regions if axis in r]
    across = dict.fromkeys(_inside(nest, a, span) for r in regions for a, span in r.items() if a != axis)
    first, final = f"first{last}", f"final{last}"
    body: list[Statement] = [
        f"{first} = {start}",
        *_extreme(build, first, [s for s, _ in along if s != 0], ">"),
        f"{first} = select({first} < {stop}, {first}, {stop})",
        f"{final} = {stop}",
        *_extreme(build, final, [e for _, e in along], "<"),
        f"{final} = select({final} > {first}, {final}, {first})",
    ]
    if across:
        body = [If(" and ".join(across), body, [f"{first} = {stop}", f"{final} = {stop}"])]
    inside = [s for statement in statements for s in (statement.body if isinstance(statement, If) else [statement])]
    outside = statements if len(regions) > 1 else _without(statements)
    lanes = 64 // min(n.dtype.itemsize for n in nest.kernel.stored)
    # From here on, vectors of rows that begin at a multiple of 64 bytes are aligned.
    body.append(f"middle{last} = ({first} + {lanes - 1}) // {lanes} * {lanes}")
    if _is_light(nest):
        body += [f"pieces{last} = select({final} - {first} >= {2 * lanes}, 3, 0)"]
        body += _whole_vectors(nest, last, lanes, [s for s in inside if isinstance(s, str)])
        short = f"select(pieces{last} == 0, {final}, {first})"
        if len(regions) > 1:
            body.append(f"{final} = select(pieces{last} == 0, {first}, {final})")
        else:
            body.append(Loop(variable, first, short, inside))
    else:
        body.append(f"middle{last} = select(middle{last} < {final}, middle{last}, {final})")
        body.append(_pieces(variable, [(first, f"middle{last}"), (f"middle{last}", final)], inside))
    return [*body, _pieces(variable, [(start, first), (final, stop)], outside)]


def _is_light(nest: _Lowering) -> bool:
    """Tell whether elements may be computed twice, and cost so little that loads and odd ends of rows are what counts.

    Long mathematics is better in two vectors at a time, see `jit`.
    """
    kernel = nest.kernel
    if not nest.options.uses("whole_vectors") or any(
        nest.accesses[x].base in nest.aliased for n in kernel.nodes for x in n.inputs
    ):
        return False
    members = [m for n in kernel.nodes for m in (_computed(n.op) if isinstance(n.op, Framed) else [n])]
    return kernel.kind == "loop" and all(isinstance(n.op, Pointwise) and not is_expensive(n) for n in members)


def _computed(op: Framed) -> list[Node]:
    return [n for n in op.body.nodes if n not in op.body.inputs]


def _whole_vectors(nest: _Lowering, last: int, lanes: int, inside: list[str]) -> list[Statement]:
    """Return the loop over whole vectors: the first, those from the middle on, and the last, which may overlap."""
    nest.whole_vectors = True
    variable, start, count = f"d{last}", f"from_d{last}", f"count{last}"
    from_middle = f"select(piece == 1, middle{last}, final{last} - {lanes})"
    carries = nest.options.uses("neighbours")
    before, body = carry_neighbours(nest.build, variable, start, inside) if carries else ([], inside)
    whole = Loop(f"whole{last}", "0", f"{count} * {lanes}", [f"{variable} = whole{last} + {start}", *body])
    bounds = [
        f"{start} = select(piece == 0, first{last}, {from_middle})",
        f"{count} = select(piece == 1, (final{last} - middle{last}) // {lanes}, 1)",
    ]
    return [Loop("piece", "0", f"pieces{last}", [*bounds, *before, whole])]


def _pieces(variable: str, spans: Sequence[tuple[str, str]], body: list[Statement]) -> Loop:
    """Return two loops with the same body, as a loop over both: the code is there once."""
    (start, stop), (then, end) = spans
    bounds = [
        f"from_{variable} = select(piece == 0, {start}, {then})",
        f"to_{variable} = select(piece == 0, {stop}, {end})",
    ]
    return Loop("piece", "0", "2", [*bounds, Loop(variable, f"from_{variable}", f"to_{variable}", body)])


def _without(statements: list[Statement]) -> list[Statement]:
    """Return the statements at the edges of the only region: nothing of it is read."""
    return [s for statement in statements for s in (statement.otherwise if isinstance(statement, If) else [statement])]


def _extreme(build: Builder, name: str, sizes: list[Size], sign: str) -> list[Statement]:
    """Return the statements that raise (or lower) a variable to the largest (or least) of some sizes."""
    known = [build.size(size) for size in dict.fromkeys(sizes)]
    return [f"{name} = select({n} {sign} {name}, {n}, {name})" for n in known]
