"""Scatters of rows in threads: each thread walks all indices, and writes the rows of the target that are its own.

Parts of the indices cannot run side by side: several may name one row. Parts of the target can. Every row gets the same
values in the same order, so the bits do not depend on how the rows are divided, and one thread writes them all in one
go. The range of the nest is that of the target's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from graphc.codegen.nest.ir import HI, LO, ZERO, Binary, Call, Expr, If, Let, Loop, Statement, Var
from graphc.codegen.nest.nest import LoopNest
from graphc.codegen.nest.partials import may_be_large
from graphc.codegen.nest.rows import is_by_rows
from graphc.codegen.nest.walks import changed, expressions, walk
from graphc.graph.types import product
from graphc.ops.indexing import Scatter

if TYPE_CHECKING:
    from graphc.codegen.nest.lower import Lowering

LEAST_NS = 60_000.0
"""Planned work from which on the target is divided: every thread reads all indices."""
PARTS = 4
"""Parts of a target that is divided."""
LEAST_BYTES = 2048
"""Bytes of a row from which on it pays: measured on two cores, rows of 2 to 4 KiB are 1.5 to 1.9 times as fast. To read
every other one of shorter rows takes longer than to read all of them in turn, up to twice as long."""


def with_target_rows(nest: Lowering, plain: LoopNest) -> LoopNest:
    """Return the nest of a scatter with the target's rows as its range, or as it is where its rows are short."""
    groups, extents = nest.groups, [product(nest.kernel.space[a] for a in g) for g in nest.groups]
    (node,) = (n for n in nest.kernel.nodes if isinstance(n.op, Scatter))
    assert isinstance(node.op, Scatter)
    if len(groups) != 2 or node.op.axes != (0,) or not is_by_rows(nest, node):
        return plain
    if not isinstance(extents[1], int) or extents[1] * node.dtype.itemsize < LEAST_BYTES:
        return plain
    if not may_be_large(nest.kernel.space, nest.unit_ns):
        return plain
    build, top = nest.build, len(nest.build.top)
    steps, rows = build.size(extents[0]), build.size(node.shape[0])
    target, (row,) = build.pointer(node, 0), nest.positions[node]
    whole = _whole(plain.body[top:], steps)
    own = _of_rows(whole, nest.variables[1], row, target, build.size(extents[1]))
    body = [If(LO.eq(0) & HI.eq(rows), whole, own)]
    found = replace(plain, body=(*build.top, *body), slots=tuple(build.slots))
    return replace(found, extent=node.shape[0], divisible=True, target_rows=True)


def _whole(body: Sequence[Statement], steps: Var) -> list[Statement]:
    """Return statements whose outermost loop runs over all indices."""
    ends = {LO: ZERO, HI: steps}
    return [changed(s, lambda e: ends.get(e) if isinstance(e, Var) else None) for s in body]


def _of_rows(body: Sequence[Statement], variable: Var, row: Var, target: Expr, width: Var) -> list[Statement]:
    """Return the same for the rows in the range: of others only the indices are read, and only own ones asked for."""
    out: list[Statement] = []
    for statement in body:
        if isinstance(statement, Loop) and statement.variable == variable:
            before, inside = _steady(statement.body, variable)
            out += [*before, If((row >= LO) & (row < HI), [replace(statement, body=inside)], [])]
        elif isinstance(statement, Loop):
            out.append(replace(statement, body=_of_rows(statement.body, variable, row, target, width)))
        elif isinstance(statement, Call):  # a wish
            pointer, place = statement.operands
            assert statement.word == "prefetch" and isinstance(place, Binary)
            if pointer == target:
                start = place.left
                out.append(If((start >= LO * width) & (start < HI * width), [statement], []))
        else:
            out.append(statement)
    return out


def _steady(body: Sequence[Statement], variable: Var) -> tuple[list[Statement], list[Statement]]:
    """Divide the body of a loop into what is the same in all steps, the checks of indices among it, and the rest."""
    changing: set[Expr] = {variable}
    before: list[Statement] = []
    inside: list[Statement] = []
    for statement in body:
        used = {part for expression in expressions(statement) for part in walk(expression)}
        if changing.isdisjoint(used) and isinstance(statement, Let | If):
            before.append(statement)
        else:
            changing |= {statement.target} if isinstance(statement, Let) else set()
            inside.append(statement)
    return before, inside
