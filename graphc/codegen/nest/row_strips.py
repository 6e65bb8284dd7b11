"""Operands that a kernel of rows reads across them: some rows of each are turned around before the rows run.

What reads the rows may be several loops, one after the other, so the copies of whole rows lie in memory of the nest:

before: `for d0: (for d1: ... p[d0 + d1 * n] ...), (for d1: ...)`
after: `for b0: call_transpose(...); for d0 in b0:e0: (for d1: ... v[(d0 - b0) * pitch + d1] ...), (for d1: ...)`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from graphc.codegen.nest.ir import ZERO, Address, Expr, If, Load, Loop, Pointer, Statement, Var, Word
from graphc.codegen.nest.nest import Builder, LoopNest, PointerSlot, part_end
from graphc.codegen.nest.strips import LINE, MOST, Across, chosen, strip, turn, with_loads
from graphc.graph.node import Node
from graphc.graph.op import inside_node
from graphc.graph.types import Size, TensorType, product, short_name

if TYPE_CHECKING:
    from graphc.codegen.nest.lower import Lowering

ROWS = 32
"""Rows that are turned around at once: several cache lines, of which those at the ends belong to two strips."""


def with_row_strips(nest: Lowering, plain: LoopNest) -> list[LoopNest]:
    """Return the nests of a kernel that reduces rows, as `with_strips` does for others."""
    outer = [k for k, group in enumerate(nest.groups) if group[-1] < nest.split]
    if nest.kernel.split is None or not outer or len(nest.groups) != len(outer) + 1:
        return [plain]
    loads = _across(nest, outer[-1])
    kept = list(dict.fromkeys((load.base, load.offset, load.strides) for load in loads))[:MOST]
    loads = [load for load in loads if (load.base, load.offset, load.strides) in kept]
    return chosen(nest, plain, outer[-1], loads, lambda: _in_strips(nest, plain, outer[-1], loads), ROWS)


def _across(nest: Lowering, axis: int) -> list[Across]:
    """Return the loads of all phases that read side by side along the rows."""
    found = []
    for phase in nest.phases:
        for key, name in phase.values.items():
            if isinstance(key, Node):
                continue
            assert isinstance(key, tuple)
            base, offset, strides = key
            written = base in nest.kernel.levels or nest.build.place(base) in nest.build.written
            if len(strides) == len(nest.groups) and strides[axis] == 1 and strides[-1] not in (0, 1) and not written:
                found.append(Across(base, offset, strides, name))
    return found


def _in_strips(nest: Lowering, plain: LoopNest, axis: int, loads: Sequence[Across]) -> LoopNest:
    build, variable, top = nest.build, nest.variables[axis], len(nest.build.top)
    columns = product(nest.kernel.space[a] for a in nest.groups[-1])
    rows: list[tuple[Node, Size]] = []
    calls: list[Statement] = []
    instead: dict[Expr, Load] = {}
    copies: dict[object, tuple[Pointer, Var]] = {}
    begin, end = strip(axis)
    for load in loads:
        key = load.base, load.offset, load.strides
        if key not in copies:
            pitch = columns + LINE // load.base.dtype.itemsize
            memory = inside_node(f"rows{len(rows)}", TensorType(load.base.dtype, ()))
            rows.append((memory, ROWS * pitch))
            word, pointer = _own_memory(build, memory)
            copies[key] = pointer, build.size(pitch)
            corner = [begin if k == axis else v for k, v in enumerate(nest.variables[:-1])]
            counts = [end - begin, build.size(columns), copies[key][1]]
            calls.append(turn(nest, load, word, [*corner, ZERO], counts))
        copy, between = copies[key]
        instead[load.name] = copy[(variable - begin) * between + nest.variables[-1]]
    parts = None if nest.partials is None else nest.partials.finish(kept=True, scratch=nest.blocks.memory)
    body, slots = (*build.top, *_rewritten(plain.body[top:], variable, axis, calls, instead)), tuple(build.slots)
    return replace(plain, body=body, slots=slots, rows=(*plain.rows, *rows), divisible=False, parts=parts)


def _own_memory(build: Builder, memory: Node) -> tuple[Var, Pointer]:
    """Return the variables that hold the address of a nest's own memory, as a word and as a pointer."""
    place = build.slot(PointerSlot(memory, 0))
    word = build.once(("word", memory), "m", lambda: Word(place))
    return word, build.pointer_once(("copy", memory), "v", lambda: Address(short_name(memory.dtype), word))


def _rewritten(
    body: Sequence[Statement], variable: Var, axis: int, calls: list[Statement], instead: Mapping[Expr, Load]
) -> list[Statement]:
    """Return statements with the loop over the rows divided, and loads replaced."""
    out: list[Statement] = []
    begin, end = strip(axis)
    for statement in with_loads(body, instead):
        if isinstance(statement, If):
            inner = (_rewritten(b, variable, axis, calls, instead) for b in (statement.body, statement.otherwise))
            out.append(If(statement.condition, *inner))
        elif isinstance(statement, Loop):
            loop = replace(statement, body=_rewritten(statement.body, variable, axis, calls, instead))
            if statement.variable == variable:
                loop = replace(loop, start=begin, stop=end)
                stop = part_end(end, begin, ROWS, statement.stop)
                loop = Loop(begin, statement.start, statement.stop, [stop, *calls, loop], ROWS)
            out.append(loop)
        else:
            out.append(statement)
    return out
