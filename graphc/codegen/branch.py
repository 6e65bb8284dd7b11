"""Lowering of `Switch` and `While`: instructions that choose which tape to walk, or how often.

As in a scan, values from outside reach a section through slots of its frames that the instruction writes, and the
carries of a `While` live in pairs. Its number of steps is known only when it ends, so the copies of the last
carries are a section of their own, which the instruction runs at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.codegen.copies import copy_nest
from graphc.codegen.inline import Moving
from graphc.codegen.nest import CountSlot, LiteralSlot, LoopNest, PeriodSlot, PointerSlot, RoutineSlot, Slot, TapeSlot
from graphc.codegen.scan import ENTRY, Body, entries
from graphc.graph import Graph
from graphc.node import Node
from graphc.ops.base import inside_node
from graphc.ops.control import Project, Switch, While
from graphc.ops.shape import contiguous_strides
from graphc.passes.fuse import Kernel
from graphc.passes.layout import Access, copy
from graphc.types import FLOAT64, TensorType, product

OpenBody = Callable[[Graph], Body]
INTERRUPTED = 65535
"""The status of a run that a signal ended, with Python's exception set."""
PASS_ON = f"select((status & {INTERRUPTED}) == {INTERRUPTED}, {INTERRUPTED}, 1)"
SIGNAL_ROUTINES = ("PyGILState_Ensure", "PyErr_CheckSignals", "PyGILState_Release")
WHILE_NS = 100_000.0
"""The number of steps is unknown: assume enough of them that the run should not hold the GIL."""


def _write_slots(first: str, count: str, indent: str) -> tuple[str, ...]:
    """Return the statements that write a section's slots; `s` is the number of the step."""
    return (
        f"{indent}k = {first}",
        f"{indent}for e in range({count}):",
        f"{indent}    slot = i64p(frame[k], 1)",
        f"{indent}    slot[0] = frame[k + 1] + frame[k + 2] * select(frame[k + 3] != 0, (s + frame[k + 4]) & 1, 0)",
        f"{indent}    k = k + {ENTRY}",
    )


def _walk(section: int, indent: str) -> tuple[str, ...]:
    """Return the statements that write a section's slots and run it; its four words start at a fixed slot."""
    h = 2 + 4 * section
    return (
        *_write_slots(f"frame[{h + 3}]", f"frame[{h + 2}]", indent),
        f"{indent}status = call_i64(frame[0], frame[{h}], 0, frame[{h + 1}])",
        f"{indent}if status != 0: return {PASS_ON}",
    )


SWITCH = (
    "s = 0",
    "which = i64p(frame[1])[0]",
    "last = frame[2] - 1",
    "which = select(which < 0, 0, select(which > last, last, which))",
    "h = 3 + 4 * which",
    *_write_slots("frame[h + 3]", "frame[h + 2]", ""),
    "status = call_i64(frame[0], frame[h], 0, frame[h + 1])",
    f"if status != 0: return {PASS_ON}",
)
WHILE = (
    "s = 0",
    "go = True",
    "while go:",
    *_walk(0, "    "),
    "    go = boolp(frame[1])[0]",
    "    if go:",
    *_walk(1, "        "),
    "        s = s + 1",
    "        if (s & frame[14]) == 0 and frame[15] != 0:",
    "            held = call_i64(frame[15])",
    "            interrupted = call_i64(frame[16]) & 4294967295",
    "            call_void(frame[17], held)",
    f"            if interrupted != 0: return {INTERRUPTED}",
    *_walk(2, ""),
)


def lower_switch(kernel: Kernel, accesses: dict[Node, Access], open_body: OpenBody) -> list[LoopNest]:
    """Return the nest of a switch; every branch writes the results where they are read."""
    node = kernel.nodes[0]
    op = node.op
    assert isinstance(op, Switch)
    results = _projections(kernel)
    index = accesses[node.inputs[0]]
    parts: list[tuple[Body, dict[Node, Moving]]] = []
    for branch in op.branches:
        body = open_body(branch)
        moving = _fixed(body.graph.inputs, [accesses[x] for x in node.inputs[1:]])
        moving |= {y: Moving(results[k], 0, 0) for k, y in enumerate(body.graph.outputs)}
        body.claim({y for y in body.graph.outputs})
        parts.append((body, moving))
    head: list[Slot] = [RoutineSlot("driver"), PointerSlot(index.base, index.offset), LiteralSlot(len(parts))]
    return [_instruction(node, SWITCH, head, parts, [], 15.0)]


def lower_while(kernel: Kernel, accesses: dict[Node, Access], open_body: OpenBody) -> list[LoopNest]:
    """Return the nests of a while loop: the first carries are copied into pairs, then one instruction runs it."""
    node = kernel.nodes[0]
    op = node.op
    assert isinstance(op, While)
    results = _projections(kernel)
    count = len(op.body.outputs)
    pairs = [inside_node(f"pair{i}", TensorType(y.dtype, (2, *y.shape))) for i, y in enumerate(op.body.outputs)]
    truth = inside_node("condition", op.condition.outputs[0].type)
    outer = [accesses[x] for x in node.inputs]
    finish = Graph([copy(op.body.inputs[op.results[k]]) for k in sorted(results)], op.body.inputs)
    bodies = [open_body(g) for g in (op.condition, op.body, finish)]
    parts = []
    for body in bodies:
        own = body.graph.inputs
        moving = {c: Moving(p, 0, product(c.shape), paired=True) for c, p in zip(own[:count], pairs, strict=True)}
        parts.append((body, moving | _fixed(own[count:], outer[count:])))
    (condition, step, last), outputs = bodies, [b.graph.outputs for b in bodies]
    parts[0][1][outputs[0][0]] = Moving(truth, 0, 0)
    for y, p in zip(outputs[1], pairs, strict=True):
        parts[1][1][y] = Moving(p, 0, product(y.shape), paired=True, phase=1)
    for k, y in zip(sorted(results), outputs[2], strict=True):
        parts[2][1][y] = Moving(results[k], 0, 0)
    for body in (condition, step, last):
        body.claim(set(body.graph.outputs))
    starts = [_first_carry(p, accesses[x]) for p, x in zip(pairs, node.inputs, strict=False)]
    head: list[Slot] = [RoutineSlot("driver"), PointerSlot(truth, 0)]
    signals: list[Slot] = [PeriodSlot(step.number), *(RoutineSlot(name) for name in SIGNAL_ROUTINES)]
    return [*starts, _instruction(node, WHILE, head, parts, [truth, *pairs], WHILE_NS, signals)]


def _projections(kernel: Kernel) -> dict[int, Node]:
    """Return the nodes that take the results of a control op, by position."""
    return {n.op.index: n for n in kernel.nodes[1:] if isinstance(n.op, Project)}


def _fixed(inside: Sequence[Node], outside: Sequence[Access]) -> dict[Node, Moving]:
    return {x: Moving(a.base, a.offset, 0) for x, a in zip(inside, outside, strict=True)}


def _first_carry(pair: Node, source: Access) -> LoopNest:
    shape = pair.shape[1:]
    return copy_nest(pair, shape, source, Access(pair, 0, contiguous_strides(shape)))


def _instruction(
    node: Node,
    text: tuple[str, ...],
    head: list[Slot],
    parts: Sequence[tuple[Body, dict[Node, Moving]]],
    private: Sequence[Node],
    unit_ns: float,
    more: Sequence[Slot] = (),
) -> LoopNest:
    """Return the nest: its frame has the head, four words a section, `more`, then the tables of slots to write."""
    position = len(head) + 4 * len(parts) + len(more)
    words: list[Slot] = []
    tables: list[Slot] = []
    for body, moving in parts:
        table, _, count = entries(body, moving)
        words += [
            TapeSlot(body.number),
            CountSlot(body.number),
            LiteralSlot(count),
            LiteralSlot(position + len(tables)),
        ]
        tables += table
    arenas = [(body.number, inside_node("section", TensorType(FLOAT64, ()))) for body, _ in parts]
    return LoopNest(
        text,
        (*head, *words, *more, *tables, *(PointerSlot(a, 0) for _, a in arenas), *(PointerSlot(p, 0) for p in private)),
        checks=(node,),
        rows=(*((a, 0) for _, a in arenas), *((p, p.size) for p in private)),
        divisible=False,
        unit_ns=unit_ns,
        inner=tuple(arenas),
        words=True,
    )
