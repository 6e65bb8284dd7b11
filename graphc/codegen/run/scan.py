"""Lowering of `Scan`: a loop instruction that walks its body's tape and moves the pointers of the body's frames.

Elements of sequences and of stacked results are reached by moving pointers by one row a step. A carry lives in the
stack of what the steps receive or give, where there is one, and else in a pair of buffers: a step reads one and
writes the other. No Python runs per step, and the one kernel that loops is the same for every scan. A small body whose
kernels are too short for threads becomes one kernel with the loop inside (`inline`).
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace

from graphc.codegen.forms.inline import Carry, Moving, can_inline, inline_loop
from graphc.codegen.memory.handed_on import chain
from graphc.codegen.nest import division
from graphc.codegen.nest.copies import copy_nest
from graphc.codegen.nest.division import may_divide
from graphc.codegen.nest.ir import (
    HI,
    LO,
    ZERO,
    Address,
    Expr,
    If,
    Let,
    Loop,
    Number,
    Pointer,
    Return,
    Statement,
    Store,
    Word,
    call,
    select,
    variables,
)
from graphc.codegen.nest.nest import (
    BodySlot,
    Choice,
    CountSlot,
    DriverSlot,
    LiteralSlot,
    LoopNest,
    PointerSlot,
    SizeSlot,
    Slot,
    TapeSlot,
)
from graphc.codegen.nest.options import CONTROL, KernelOptions
from graphc.codegen.nest.places import Places
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import inside_node
from graphc.graph.types import FLOAT64, Size, TensorType, floor_div, product, size_min, sum_sizes
from graphc.ops.control import Project, Result, Scan
from graphc.ops.shape import contiguous_strides
from graphc.passes.schedule import machine
from graphc.passes.schedule.kernels import Kernel
from graphc.passes.schedule.layout import Access
from graphc.passes.schedule.options import Options

ENTRY = 6
"""Words of the table of slots to write: slot, base, stride, whether in a pair, its phase, the first step's place."""
INTERRUPTED = 65535
"""The status of a run that a signal ended, with Python's exception set."""
STATUS, S, T, K, E, LENGTH, PLACE = variables("status s t k e length place")
SLOT = Pointer("slot", "i64")
PASS_ON = If(STATUS.ne(0), [Return(select((STATUS & INTERRUPTED).eq(INTERRUPTED), INTERRUPTED, 1))], [])


def place_of(row: Expr) -> Expr:
    """Return the address that the entry at `k` of a table says for step `s`, whose number in a stack is `row`."""
    return Word(K + 1) + Word(K + 2) * select(Word(K + 3).ne(0), (S + Word(K + 4)) & 1, row)


def write_slots(first: Expr, count: Expr, *write: Statement) -> list[Statement]:
    """Return the statements that write the slots of a table."""
    slot = Let(SLOT, Address("i64", Word(K), (1,)))
    return [Let(K, first), Loop(E, ZERO, count, [slot, *write, Let(K, K + ENTRY)])]


LOOP = (
    Let(LENGTH, Word(3)),
    Loop(
        S,
        LO,
        HI,
        [
            Let(T, select(Word(4).ne(0), LENGTH - 1 - S, S)),
            *write_slots(
                Number(7),
                select(S.eq(LO), Word(6), Word(5)),
                Let(PLACE, place_of(T)),
                Store(SLOT, ZERO, select(S.eq(0) & Word(K + 5).ne(0), Word(K + 5), PLACE)),
            ),
            Let(STATUS, call("call_i64", Word(2), Word(0), 0, Word(1))),
            PASS_ON,
        ],
    ),
)


@dataclass(frozen=True)
class Body:
    """A lowered graph inside an op: its number in the section around it, and how to add nests to it."""

    number: int
    graph: Graph
    nests: list[LoopNest]
    append: Callable[[list[LoopNest], int], None]
    inline: Callable[[], None]
    """Say that the nests have become part of another nest: they are neither compiled nor walked."""
    in_place: dict[Node, Node]
    """Values that are written over a carry, or over what others have made of it, and what each is written over."""
    places: Places
    """Where its values live; the op around it says that of what it gives."""


@dataclass
class Placement:
    """What lowering a scan decides about memory: the nests around the loop, and values inside other values.

    `fixed` are the values of the outer graph whose memory is not the arena's; `placed` maps a value to the one that
    it is a part of, and its offset there in elements.
    """

    fixed: Container[Node]
    over: dict[Node, Node]
    moving: dict[Node, Moving] = field(default_factory=dict)
    starts: list[LoopNest] = field(default_factory=list)
    ends: list[LoopNest] = field(default_factory=list)
    private: list[Node] = field(default_factory=list)
    placed: dict[Node, tuple[Node, Size]] = field(default_factory=dict)


def lower_scan(
    kernel: Kernel,
    accesses: dict[Node, Access],
    body: Body,
    fixed: Container[Node],
    over: dict[Node, Node],
    options: Options,
) -> tuple[list[LoopNest], dict[Node, tuple[Node, Size]]]:
    """Return the nests of a scan, and the values that it places inside others; `fixed` as in `Placement`.

    `over` are the values that are written over others.
    """
    node = kernel.nodes[0]
    op = node.op
    assert isinstance(op, Scan)
    results = {op.results[n.op.index]: n for n in kernel.nodes[1:] if isinstance(n.op, Project)}
    place = Placement(fixed, over)
    inside, outputs = body.graph.inputs, body.graph.outputs
    for k, x in enumerate(inside[op.carries :], start=op.carries):
        outer = accesses[node.inputs[k]]
        row = product(x.shape) if k < op.carries + op.sequences else 0
        place.moving[x] = Moving(outer.base, outer.offset, row)
    for j, y in enumerate(outputs[op.carries :]):
        place.moving[y] = Moving(results["stacked", j], 0, product(y.shape))
    for i, x in enumerate(node.inputs[: op.carries]):
        _place_carry(op, i, accesses[x], body, results, place)
    body.places.elsewhere.update({x for x in place.moving if x not in inside})
    return [*place.starts, *_loops(node, op, body, place, options), *place.ends], place.placed


def _place_carry(op: Scan, i: int, first: Access, body: Body, results: dict[Result, Node], place: Placement) -> None:
    """Decide where a carry lives: in the stack of what steps receive or give, or else in a pair of buffers."""
    given = body.graph.outputs[i]
    if given in body.in_place:
        _stay(i, first, body, results, place)
        return
    stack = next((n for (kind, j), n in results.items() if kind == "stacked" and _output(op, body, j) is given), None)
    if ("carry", i) in results:
        _keep_history(op, i, first, body, results, stack, place)
    elif stack is not None:
        _read_back(op, i, first, body, results, stack, place)
    else:
        _alternate(op, i, first, body, results, place)


def _output(op: Scan, body: Body, j: int) -> Node:
    return body.graph.outputs[op.carries + j]


def _keep_history(
    op: Scan, i: int, first: Access, body: Body, results: dict[Result, Node], stack: Node | None, place: Placement
) -> None:
    """Keep all carries in one buffer with one row more than steps: what steps receive and give are views of it."""
    carry, given = body.graph.inputs[i], body.graph.outputs[i]
    row, n = product(carry.shape), op.length
    history = inside_node(f"history{i}", TensorType(carry.dtype, (n + 1, *carry.shape)))
    place.private.append(history)
    received_at, given_at = (row, 0) if op.reverse else (0, row)
    first_at, last_at = (n * row, 0) if op.reverse else (0, n * row)
    place.moving[carry] = Moving(history, received_at, row)
    place.moving[given] = Moving(history, given_at, row)
    strides = contiguous_strides(carry.shape)
    place.starts.append(copy_nest(history, carry.shape, first, Access(history, first_at, strides)))
    view(results["carry", i], history, received_at, place)
    if stack is not None:
        view(stack, history, given_at, place)
    if ("final", i) in results:
        place.ends.append(_copy(results["final", i], Access(history, last_at, strides)))


def view(result: Node, history: Node, offset: Size, place: Placement) -> None:
    """Let a result be a part of a buffer, or copy it where it has memory of its own."""
    if result in place.fixed:
        place.ends.append(_copy(result, Access(history, offset, contiguous_strides(result.shape))))
    else:
        place.placed[result] = (history, offset)


def _read_back(
    op: Scan, i: int, first: Access, body: Body, results: dict[Result, Node], stack: Node, place: Placement
) -> None:
    """Read a carry from the row of the stacked result that the step before has written."""
    carry = body.graph.inputs[i]
    row, n = product(carry.shape), op.length
    place.moving[carry] = Moving(stack, row if op.reverse else -row, row, first=first)
    if ("final", i) not in results:
        return
    final = results["final", i]
    last = 0 if op.reverse else (n - 1) * row
    strides = contiguous_strides(carry.shape)
    own = Access(final, 0, strides)
    any_step = size_min(n, 1)
    place.ends.append(_partial_copy(final, any_step * row, Access(stack, last, strides), own))
    if any_step != 1:
        place.ends.append(_partial_copy(final, (1 - any_step) * row, first, own))


def _stay(i: int, first: Access, body: Body, results: dict[Result, Node], place: Placement) -> None:
    """Keep a carry that steps update in place in one buffer, which is the last carry in the end.

    The buffer is the first carry's, where the last may be written over that.
    """
    carry, final = body.graph.inputs[i], results.get(("final", i))
    buffer = place.over[final] if final in place.over else inside_node(f"buffer{i}", carry.type)
    place.moving |= dict.fromkeys(chain(body.graph.outputs[i], body.in_place), Moving(buffer, 0, 0))
    if final in place.over:
        return
    place.private.append(buffer)
    place.starts.append(copy_nest(buffer, carry.shape, first, Access(buffer, 0, contiguous_strides(carry.shape))))
    if final is not None:
        view(final, buffer, 0, place)


def _alternate(op: Scan, i: int, first: Access, body: Body, results: dict[Result, Node], place: Placement) -> None:
    """Keep a carry in a pair of buffers: a step reads one and writes the other."""
    carry, given = body.graph.inputs[i], body.graph.outputs[i]
    row = product(carry.shape)
    pair = inside_node(f"pair{i}", TensorType(carry.dtype, (2, *carry.shape)))
    place.private.append(pair)
    place.moving[carry] = Moving(pair, 0, row, paired=True)
    place.moving[given] = Moving(pair, 0, row, paired=True, phase=1)
    strides = contiguous_strides(carry.shape)
    place.starts.append(copy_nest(pair, carry.shape, first, Access(pair, 0, strides)))
    if ("final", i) in results:
        odd = op.length - 2 * floor_div(op.length, 2)
        place.ends.append(_copy(results["final", i], Access(pair, odd * row, strides)))


def _copy(result: Node, source: Access) -> LoopNest:
    return copy_nest(result, result.shape, source, Access(result, 0, contiguous_strides(result.shape)))


def _partial_copy(target: Node, count: Size, source: Access, place: Access) -> LoopNest:
    """Copy the first `count` elements of contiguous values."""
    return copy_nest(target, (count,), Access(source.base, source.offset, (1,)), Access(place.base, place.offset, (1,)))


def _loops(node: Node, op: Scan, body: Body, place: Placement, options: Options) -> list[LoopNest]:
    """Return the loop as one kernel, or walking its body's tape where threads can share the work of a step.

    Both where only sizes tell. What a step's work is depends on sizes alone, so the number of threads changes no bits.
    """
    if not options.uses("inline_loops") or not can_inline(body.nests):
        return [_loop(node, op, body, place)]
    parts = tuple((nest.unit_ns, nest.work) for nest in body.nests if may_divide(nest) and nest.extent != 1)
    large = Choice(parts, division.LOOP_NS, True, "a loop over the kernels of a step, which threads may share")
    small = Choice(parts, division.LOOP_NS, False, "one kernel for the whole loop")
    known = all(isinstance(work, int) for _, work in parts)
    if known and large.holds({}):
        return [_loop(node, op, body, place)]
    if known:
        body.inline()
        return [_inlined(node, op, body, place, options)]
    forms = (_inlined(node, op, body, place, options), small), (_loop(node, op, body, place), large)
    return [replace(nest, choice=choice) for nest, choice in forms]


def _inlined(node: Node, op: Scan, body: Body, place: Placement, options: Options) -> LoopNest:
    """Return the loop as one kernel."""
    pairs = zip(body.graph.inputs, body.graph.outputs[: op.carries], strict=False)
    carries = [Carry(received, given) for received, given in pairs]
    nests = [_in_wholes(nest, body.places) for nest in body.nests]
    text, slots, buffers = inline_loop(nests, place.moving, carries, op.length, op.reverse, options)
    work = sum_sizes(nest.work for nest in body.nests)
    return LoopNest(
        text,
        (*slots, *(PointerSlot(p, 0) for p in place.private)),
        extent=op.length,
        work=op.length * work,
        checks=(node,),
        rows=(*buffers, *((p, p.size) for p in place.private)),
        unit_ns=max((nest.unit_ns for nest in body.nests), default=machine.CALL),
        options=KernelOptions(whole_vectors=any(nest.options.whole_vectors for nest in body.nests)),
        stepped=True,
    )


def _in_wholes(nest: LoopNest, places: Places) -> LoopNest:
    """Return a nest whose pointers to parts of values are pointers into those values."""
    slots: list[Slot] = []
    for slot in nest.slots:
        if isinstance(slot, PointerSlot):
            whole, offset = places.of(slot.base)
            slot = PointerSlot(whole, slot.offset + offset)
        slots.append(slot)
    return replace(nest, slots=tuple(slots))


def _loop(node: Node, op: Scan, body: Body, place: Placement) -> LoopNest:
    table, moving, count = entries(body, place.moving)
    head: list[Slot] = [
        TapeSlot(body.number),
        CountSlot(body.number),
        DriverSlot(),
        SizeSlot(op.length),
        LiteralSlot(int(op.reverse)),
        LiteralSlot(moving),
        LiteralSlot(count),
    ]
    region = inside_node("body", TensorType(FLOAT64, ()))
    return LoopNest(
        LOOP,
        (*head, *table, PointerSlot(region, 0)),
        extent=op.length,
        work=op.length,
        checks=(node,),
        rows=((region, 0), *((p, p.size) for p in place.private)),
        unit_ns=machine.CALL,
        inner=((body.number, region),),
        options=CONTROL,
    )


def entries(body: Body, moving: dict[Node, Moving]) -> tuple[list[Slot], int, int]:
    """Return the table of the slots of a body's frames that its control op writes, `ENTRY` words each.

    Those that move come first; also return how many move, and how many there are.
    """
    tables: dict[bool, list[Slot]] = {False: [], True: []}
    for number, nest in enumerate(body.nests):
        for position, slot in enumerate(nest.slots):
            if isinstance(slot, PointerSlot) and slot.base in moving:
                at = moving[slot.base]
                tables[at.still] += [BodySlot(body.number, number, position), *moving_words(slot, at)]
    return [*tables[False], *tables[True]], len(tables[False]) // ENTRY, sum(map(len, tables.values())) // ENTRY


def moving_words(slot: PointerSlot, at: Moving) -> list[Slot]:
    """Return the words from which a step computes the address in a slot."""
    first: Slot = LiteralSlot(0)
    if at.first is not None:
        first = PointerSlot(at.first.base, at.first.offset + slot.offset)
    stride = at.row * slot.base.dtype.itemsize
    base = PointerSlot(at.base, at.offset + slot.offset)
    return [base, SizeSlot(stride), LiteralSlot(int(at.paired)), LiteralSlot(at.phase), first]
