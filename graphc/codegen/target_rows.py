"""Scatters of rows in threads: each thread walks all indices, and writes the rows of the target that are its own.

Parts of the indices cannot run side by side: several may name one row. Parts of the target can. Every row gets the same
values in the same order, so the bits do not depend on how the rows are divided, and one thread writes them all in one
go. The range of the nest is that of the target's rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from graphc.codegen.nest import If, Loop, LoopNest, Statement
from graphc.codegen.partials import may_be_large
from graphc.codegen.rows import is_by_rows
from graphc.ops.indexing import Scatter
from graphc.types import product

if TYPE_CHECKING:
    from graphc.codegen.lower import _Lowering

LEAST_NS = 60_000.0
"""Planned work from which on the target is divided: every thread reads all indices."""
PARTS = 4
"""Parts of a target that is divided."""
LEAST_BYTES = 2048
"""Bytes of a row from which on it pays: measured on two cores, rows of 2 to 4 KiB are 1.5 to 1.9 times as fast. To read
every other one of shorter rows takes longer than to read all of them in turn, up to twice as long."""
_WISH = re.compile(r"prefetch\((\w+), (\w+) \+ \d+\)")


def with_target_rows(nest: _Lowering, plain: LoopNest) -> LoopNest:
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
    own = _of_rows(plain.body[top:], nest.variables[1], steps, build.pointer(node, 0), build.size(extents[1]))
    body = [If(f"(lo == 0) & (hi == {rows})", _whole(plain.body[top:], steps), own)]
    found = replace(plain, body=(*build.top, *body), slots=tuple(build.slots))
    return replace(found, extent=node.shape[0], divisible=True, target_rows=True)


def _whole(body: Sequence[Statement], steps: str) -> list[Statement]:
    """Return statements whose outermost loop runs over all indices."""
    out: list[Statement] = []
    for statement in body:
        if isinstance(statement, str):
            out.append(re.sub(r"\bhi\b", steps, statement))
        elif isinstance(statement, Loop):
            start, stop = ("0", steps) if statement.start == "lo" else (statement.start, statement.stop)
            out.append(replace(statement, start=start, stop=stop, body=_whole(statement.body, steps)))
        else:
            out.append(statement)
    return out


def _of_rows(body: Sequence[Statement], variable: str, steps: str, target: str, width: str) -> list[Statement]:
    """Return the same for the rows in the range: of others only the indices are read, and only own ones asked for."""
    out: list[Statement] = []
    for statement in _whole(body, steps):
        if isinstance(statement, Loop) and statement.variable == variable:
            before, inside = _steady(statement.body, variable)
            store = next(s for s in reversed(inside) if isinstance(s, str))
            row = next(w for w in re.findall(r"\bj\d+\b", store.split("] = ")[0]))
            out += [*before, If(f"({row} >= lo) & ({row} < hi)", [replace(statement, body=inside)], [])]
        elif isinstance(statement, Loop):
            out.append(replace(statement, body=_of_rows(statement.body, variable, steps, target, width)))
        elif isinstance(statement, str) and (wish := _WISH.fullmatch(statement)):
            place = wish[2]
            if wish[1] == target:
                out.append(f"if ({place} >= lo * {width}) & ({place} < hi * {width}): {statement}")
        else:
            out.append(statement)
    return out


def _steady(body: Sequence[Statement], variable: str) -> tuple[list[Statement], list[Statement]]:
    """Divide the body of a loop into what is the same in all steps, the checks of indices among it, and the rest."""
    changing = {variable}
    before: list[Statement] = []
    inside: list[Statement] = []
    for statement in body:
        words = re.findall(r"\w+", statement) if isinstance(statement, str) else [variable]
        if changing.isdisjoint(words) and not words[0].startswith("p"):
            before.append(statement)
        else:
            changing.add(words[0])
            inside.append(statement)
    return before, inside
