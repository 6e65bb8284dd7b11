"""Lowering of `Switch` and `While`: instructions that choose which tape to walk, or how often.

As in a scan, values from outside reach a section through slots of its frames that the instruction writes, and the
carries of a `While` live in pairs. Its number of steps is known only when it ends, so the copies of the last
carries are a section of their own, which the instruction runs at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from graphc.codegen.forms.inline import Moving
from graphc.codegen.memory.handed_on import carried, chain
from graphc.codegen.nest import ir
from graphc.codegen.nest.copies import copy_nest
from graphc.codegen.nest.ir import (
    TRUE,
    ZERO,
    Address,
    Expr,
    If,
    Let,
    Return,
    Statement,
    Store,
    Var,
    Word,
    both,
    call,
    number,
    select,
    total,
    variables,
)
from graphc.codegen.nest.nest import (
    CountSlot,
    DriverSlot,
    LiteralSlot,
    LoopNest,
    PeriodSlot,
    PointerSlot,
    PythonSlot,
    Slot,
    TapeSlot,
)
from graphc.codegen.nest.options import CONTROL
from graphc.codegen.run.scan import (
    INTERRUPTED,
    PASS_ON,
    SLOT,
    STATUS,
    Body,
    Placement,
    S,
    entries,
    place_of,
    view,
    write_slots,
)
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import inside_node
from graphc.graph.types import FLOAT64, TensorType, product
from graphc.ops import control
from graphc.ops.control import Project, Switch
from graphc.ops.shape import contiguous_strides
from graphc.passes.schedule import machine
from graphc.passes.schedule.kernels import Kernel
from graphc.passes.schedule.layout import Access, copy

OpenBody = Callable[..., Body]
"""`Section._open`."""
SIGNAL_ROUTINES = ("PyGILState_Ensure", "PyErr_CheckSignals", "PyGILState_Release")


H, WHICH, LAST, HELD, STOPPED = variables("h which last held interrupted")
GO = Var("go", "bool")


def _walk(head: Expr | int) -> list[Statement]:
    """Return the statements that write a section's slots and run it; `head` is the place of its four words."""
    tape, count, slots, table = (Word(total(head, k) if isinstance(head, Expr) else head + k) for k in range(4))
    write = Store(SLOT, ZERO, place_of(ZERO))
    run = Let(STATUS, call("call_i64", Word(0), tape, 0, count))
    return [*write_slots(table, slots, write), run, PASS_ON]


SWITCH: tuple[Statement, ...] = (
    Let(S, ZERO),
    Let(WHICH, Address("i64", Word(1))[0]),
    Let(LAST, Word(2) - 1),
    Let(WHICH, select(WHICH < 0, 0, select(WHICH > LAST, LAST, WHICH))),
    Let(H, number(3) + 4 * WHICH),
    *_walk(H),
)
_LOOK: list[Statement] = [
    Let(HELD, call("call_i64", Word(15))),
    Let(STOPPED, call("call_i64", Word(16)) & 4294967295),
    call("call_void", Word(17), HELD),
    If(STOPPED.ne(0), [Return(number(INTERRUPTED))], []),
]
"""Look for signals."""
WHILE: tuple[Statement, ...] = (
    Let(S, ZERO),
    Let(GO, TRUE),
    ir.While(
        GO,
        [
            *_walk(2),
            Let(GO, Address("bool", Word(1))[0]),
            If(GO, [*_walk(6), Let(S, S + 1), If(both((S & Word(14)).eq(0), Word(15).ne(0)), _LOOK, [])], []),
        ],
    ),
    *_walk(10),
)


def lower_switch(
    kernel: Kernel, accesses: dict[Node, Access], open_body: OpenBody, over: dict[Node, Node]
) -> list[LoopNest]:
    """Return the nest of a switch; every branch writes the results where they are read, or `over` its operands."""
    node = kernel.nodes[0]
    op = node.op
    assert isinstance(op, Switch)
    results = _projections(kernel)
    index = accesses[node.inputs[0]]
    parts: list[tuple[Body, dict[Node, Moving]]] = []
    stays = {k: node.inputs.index(over[result]) - 1 for k, result in results.items() if result in over}
    for branch in op.branches:
        body = open_body(branch, [(branch.inputs[j], branch.outputs[k]) for k, j in stays.items()], branch=True)
        moving = _fixed(body.graph.inputs, [accesses[x] for x in node.inputs[1:]])
        for k, y in enumerate(body.graph.outputs):
            moving |= dict.fromkeys(chain(y, body.in_place), Moving(results[k], 0, 0))
        body.places.elsewhere.update({x for x in moving if x not in body.graph.inputs})
        parts.append((body, moving))
    head: list[Slot] = [DriverSlot(), PointerSlot(index.base, index.offset), LiteralSlot(len(parts))]
    return [_instruction(node, SWITCH, head, parts, [], machine.CALL)]


def lower_while(kernel: Kernel, accesses: dict[Node, Access], open_body: OpenBody, place: Placement) -> list[LoopNest]:
    """Return the nests of a while loop: the first carries are copied into pairs, then one instruction runs it.

    A carry that steps change in its place has one buffer, or is where the first carry is; the last is there then.
    """
    node = kernel.nodes[0]
    op = node.op
    assert isinstance(op, control.While)
    count = len(op.body.outputs)
    results = {op.results[k]: n for k, n in _projections(kernel).items()}
    truth = inside_node("condition", op.condition.outputs[0].type)
    outer = [accesses[x] for x in node.inputs]
    condition, step = open_body(op.condition), open_body(op.body, carried(op))
    given = step.graph.outputs
    copied = [i for i in sorted(results) if given[i] not in step.in_place]
    last = open_body(Graph([copy(op.body.inputs[i]) for i in copied], op.body.inputs))
    buffers = [_buffer(i, y, step, results.get(i), place) for i, y in enumerate(given)]
    parts = []
    for body in (condition, step, last):
        moving = _fixed(body.graph.inputs[count:], outer[count:])
        for x, y, buffer in zip(body.graph.inputs, given, buffers, strict=False):
            moving[x] = _carry(buffer, y not in step.in_place)
        parts.append((body, moving))
    parts[0][1][condition.graph.outputs[0]] = Moving(truth, 0, 0)
    for y, buffer in zip(given, buffers, strict=True):
        parts[1][1].update(dict.fromkeys(_made(y, step), _carry(buffer, y not in step.in_place, phase=1)))
    for i, y in zip(copied, last.graph.outputs, strict=True):
        parts[2][1][y] = Moving(results[i], 0, 0)
    for body, moving in parts:
        body.places.elsewhere.update({x for x in moving if x not in body.graph.inputs})
    for first, y, buffer in zip(outer, given, buffers, strict=False):
        if buffer in place.private:
            place.starts.append(copy_nest(buffer, y.shape, first, Access(buffer, 0, contiguous_strides(y.shape))))
    head: list[Slot] = [DriverSlot(), PointerSlot(truth, 0)]
    signals: list[Slot] = [PeriodSlot(step.number), *(PythonSlot(name) for name in SIGNAL_ROUTINES)]
    loop = _instruction(node, WHILE, head, parts, [truth, *place.private], machine.WHILE, signals)
    return [*place.starts, loop, *place.ends]


def _buffer(number: int, given: Node, step: Body, result: Node | None, place: Placement) -> Node:
    """Return what stands for the memory of a carry: that of the first where the last may be written over it."""
    if result in place.over:
        return place.over[result]
    paired = given not in step.in_place
    shape = (2, *given.shape) if paired else given.shape
    buffer = inside_node(f"pair{number}" if paired else f"buffer{number}", TensorType(given.dtype, shape))
    place.private.append(buffer)
    if result is not None and not paired:
        view(result, buffer, 0, place)
    return buffer


def _carry(buffer: Node, paired: bool, phase: int = 0) -> Moving:
    """Return where a carry is at every step."""
    return Moving(buffer, 0, product(buffer.shape[1:]), True, phase) if paired else Moving(buffer, 0, 0)


def _made(given: Node, step: Body) -> Iterator[Node]:
    """Yield what a step makes of a carry in its place, or anew."""
    return (x for x in chain(given, step.in_place) if x not in step.graph.inputs)


def _projections(kernel: Kernel) -> dict[int, Node]:
    """Return the nodes that take the results of a control op, by position."""
    return {n.op.index: n for n in kernel.nodes[1:] if isinstance(n.op, Project)}


def _fixed(inside: Sequence[Node], outside: Sequence[Access]) -> dict[Node, Moving]:
    return {x: Moving(a.base, a.offset, 0) for x, a in zip(inside, outside, strict=True)}


def _instruction(
    node: Node,
    program: tuple[Statement, ...],
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
        program,
        (*head, *words, *more, *tables, *(PointerSlot(a, 0) for _, a in arenas), *(PointerSlot(p, 0) for p in private)),
        checks=(node,),
        rows=(*((a, 0) for _, a in arenas), *((p, p.size) for p in private)),
        divisible=False,
        unit_ns=unit_ns,
        inner=tuple(arenas),
        options=CONTROL,
    )
