"""Lowering of `Scan`: a loop instruction that walks its body's tape and moves the pointers of the body's frames.

Carries live in a pair of buffers: a step reads one and writes the other. Elements of sequences and of stacked
results are reached by moving pointers by one row a step. No Python runs per step, and the one kernel that loops is
the same for every scan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphc.codegen.loops import copy_nest
from graphc.codegen.nest import (
    BodySlot,
    CountSlot,
    LiteralSlot,
    LoopNest,
    PointerSlot,
    RoutineSlot,
    SizeSlot,
    Slot,
    TapeSlot,
)
from graphc.graph import Graph
from graphc.node import Node
from graphc.ops.base import Placeholder
from graphc.ops.control import Project, Result, Scan
from graphc.ops.shape import contiguous_strides
from graphc.passes.fuse import Kernel
from graphc.passes.layout import Access
from graphc.types import FLOAT64, Size, TensorType, floor_div, product

STEP_NS = 15.0
"""What a step of a loop costs beside its work."""
LOOP = (
    "length = frame[3]",
    "for s in range(lo, hi):",
    "    t = select(frame[4] != 0, length - 1 - s, s)",
    "    k = 6",
    "    for e in range(frame[5]):",
    "        slot = i64p(frame[k], 1)",
    "        slot[0] = frame[k + 1] + frame[k + 2] * select(frame[k + 3] != 0, (s + frame[k + 4]) & 1, t)",
    "        k = k + 5",
    "    status = call_i64(frame[2], frame[0], 0, frame[1])",
    "    if status != 0: return select((status & 65535) == 65535, 65535, 1)",
)


@dataclass(frozen=True)
class Body:
    """A lowered graph inside an op: its number in the section around it, and how to add nests to it."""

    number: int
    graph: Graph
    nests: list[LoopNest]
    append: Callable[[list[LoopNest], int], None]
    claim: Callable[[set[Node]], None]
    """Take values out of the body's arena: they live where the op around it says."""


@dataclass(frozen=True)
class Moving:
    """Where a value of the body is: in `base`, `row` elements a step, or in the two halves of a pair."""

    base: Node
    offset: Size
    row: Size
    paired: bool = False
    phase: int = 0


def lower_scan(kernel: Kernel, accesses: dict[Node, Access], body: Body) -> list[LoopNest]:
    """Return the nests of a scan."""
    node = kernel.nodes[0]
    op = node.op
    assert isinstance(op, Scan)
    results = {op.results[n.op.index]: n for n in kernel.nodes[1:] if isinstance(n.op, Project)}
    pairs = [storage(f"pair{i}", _pair_type(c.type)) for i, c in enumerate(body.graph.inputs[: op.carries])]
    moving = _moving(op, node, accesses, body, results, pairs)
    starts = [_copy_carry(pair, 0, accesses[x]) for pair, x in zip(pairs, node.inputs, strict=False)]
    ends = []
    for i, pair in enumerate(pairs):
        if ("final", i) in results:
            ends.append(_copy_result(results["final", i], pair, op.length))
    body.claim({x for x in moving if x not in body.graph.inputs})
    return [*starts, _loop(node, op, body, moving, pairs), *ends]


def storage(name: str, type_: TensorType) -> Node:
    """Return a node that stands for memory that no node of the graph owns."""
    return Node(Placeholder(name, type_), (), type_, ("<scan>", 0))


def _pair_type(type_: TensorType) -> TensorType:
    return TensorType(type_.dtype, (2, *type_.shape))


def _moving(
    op: Scan,
    node: Node,
    accesses: dict[Node, Access],
    body: Body,
    results: dict[Result, Node],
    pairs: list[Node],
) -> dict[Node, Moving]:
    """Return where the body finds its inputs and puts its outputs at each step."""
    found: dict[Node, Moving] = {}
    inside, outputs = body.graph.inputs, body.graph.outputs
    for i, pair in enumerate(pairs):
        row = product(inside[i].shape)
        found[inside[i]] = Moving(pair, 0, row, paired=True)
        found[outputs[i]] = Moving(pair, 0, row, paired=True, phase=1)
        if ("carry", i) in results:
            target = storage(f"stack{i}", inside[i].type)
            strides = contiguous_strides(target.shape)
            body.append(
                [copy_nest(target, target.shape, Access(inside[i], 0, strides), Access(target, 0, strides))], -1
            )
            found[target] = Moving(results["carry", i], 0, row)
    for k, x in enumerate(inside[op.carries :], start=op.carries):
        outer = accesses[node.inputs[k]]
        row = product(x.shape) if k < op.carries + op.sequences else 0
        found[x] = Moving(outer.base, outer.offset, row)
    for j, y in enumerate(outputs[op.carries :]):
        found[y] = Moving(results["stacked", j], 0, product(y.shape))
    return found


def _copy_carry(pair: Node, half: int, source: Access) -> LoopNest:
    shape = pair.shape[1:]
    return copy_nest(pair, shape, source, Access(pair, half, contiguous_strides(shape)))


def _copy_result(result: Node, pair: Node, length: Size) -> LoopNest:
    """Copy the half of the pair that the last step wrote: the first for an even number of steps."""
    odd = length - 2 * floor_div(length, 2)
    strides = contiguous_strides(result.shape)
    source = Access(pair, odd * product(result.shape), strides)
    return copy_nest(result, result.shape, source, Access(result, 0, strides))


def _loop(node: Node, op: Scan, body: Body, moving: dict[Node, Moving], pairs: list[Node]) -> LoopNest:
    moved, count = entries(body, moving)
    head: list[Slot] = [
        TapeSlot(body.number),
        CountSlot(body.number),
        RoutineSlot("driver"),
        SizeSlot(op.length),
        LiteralSlot(int(op.reverse)),
        LiteralSlot(count),
    ]
    region = storage("body", TensorType(FLOAT64, ()))
    return LoopNest(
        LOOP,
        (*head, *moved, PointerSlot(region, 0)),
        extent=op.length,
        work=op.length,
        checks=(node,),
        rows=((region, 0), *((p, p.size) for p in pairs)),
        unit_ns=STEP_NS,
        inner=((body.number, region),),
    )


def entries(body: Body, moving: dict[Node, Moving]) -> tuple[list[Slot], int]:
    """Return the table of the slots of a body's frames that its control op writes, five words each."""
    table: list[Slot] = []
    for number, nest in enumerate(body.nests):
        for position, slot in enumerate(nest.slots):
            if isinstance(slot, PointerSlot) and slot.base in moving:
                table += _entry(body, number, position, slot, moving[slot.base])
    return table, len(table) // 5


def _entry(body: Body, number: int, position: int, slot: PointerSlot, at: Moving) -> list[Slot]:
    stride = at.row * slot.base.dtype.itemsize
    return [
        BodySlot(body.number, number, position),
        PointerSlot(at.base, at.offset + slot.offset),
        SizeSlot(stride),
        LiteralSlot(int(at.paired)),
        LiteralSlot(at.phase),
    ]
