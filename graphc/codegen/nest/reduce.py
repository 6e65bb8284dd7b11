"""Reductions inside a nest: accumulators in registers (rows) or in memory (other axes)."""

from __future__ import annotations

import math

import numpy as np

from graphc.codegen.nest.ir import (
    FALSE,
    HI,
    LO,
    ZERO,
    Binary,
    Cast,
    Expr,
    Group,
    Let,
    Loop,
    Pointer,
    Statement,
    Store,
    Var,
    call,
    select,
    typed,
)
from graphc.codegen.nest.nest import Builder, State, part
from graphc.codegen.nest.phases import Phase
from graphc.graph.node import Node
from graphc.graph.types import DType, Size, short_name
from graphc.ops.reduction import KINDS, Reduction

_CHOOSES = {">": "max", "<": "min"}
_REASSOCIATES = {"+": "radd", "*": "rmul"}
K = Var("k")
"""Counts the elements of a result that is reduced in memory."""


def identity(name: str, dtype: DType) -> Expr:
    """Return the typed expression a reduction starts from."""
    start, short = KINDS[name].start, short_name(dtype)
    if start in (0, 1):
        return typed(start, short)
    low = start == "least"
    if dtype.kind == "f":
        return typed(-math.inf if low else math.inf, short)
    if dtype.kind == "b":
        return typed(not low, short)
    limits = np.iinfo(dtype)
    return typed(limits.min if low else limits.max, short)


def combine(name: str, dtype: DType, acc: Expr, value: Expr) -> Expr:
    """Return the expression that takes one more value into an accumulator."""
    sign = KINDS[name].operator
    if sign not in _CHOOSES:
        found = Binary(sign, acc, value)
        return found if dtype.kind in "fb" else Cast(short_name(dtype), found)
    if dtype.kind == "f":
        return call(f"f{_CHOOSES[sign]}_nan", acc, value)
    if dtype.kind == "b":
        return acc | value if sign == ">" else acc & value
    return select(Binary(sign, value, acc), value, acc)


def fill_accumulator(node: Node, build: Builder, pointer: Pointer, block: Size) -> Loop:
    """Fill the result of a reduction into memory at the start of the kernel, and return the loop that does.

    `block` is the number of elements that one step of the outermost loop has to itself, 0 where steps share them.
    """
    start: Expr = ZERO
    stop: Expr = build.size(node.size)
    if block != 0:
        start, stop = (end * build.size(block) for end in (LO, HI))
    fill = Loop(K, start, stop, [Store(pointer, K, identity(node.op.name, node.dtype))])
    build.top.append(fill)
    return fill


def reduce_row(node: Node, build: Builder, phase: Phase, value: Expr, position: Expr, blocked: bool) -> Var:
    """Reduce over the inner axes in registers and return the variable that holds the result afterwards."""
    assert isinstance(node.op, Reduction)
    name, dtype = node.op.name, node.inputs[0].dtype
    if name in ("argmax", "argmin"):
        return _argument(name, dtype, build, phase, value, position)
    acc = build.let(phase.before, "a", identity(name, dtype))
    build.states[acc] = plain_state(name, dtype, acc)
    if blocked:
        return _compensated_sum(dtype, build, phase, acc, value)
    sign = KINDS[name].operator
    if dtype.kind == "f" and sign in _CHOOSES:
        return _extremum(_CHOOSES[sign], dtype, build, phase, acc, value)
    if dtype.kind == "f" and sign in _REASSOCIATES:
        phase.stores.append(Let(acc, call(_REASSOCIATES[sign], acc, value)))
    else:
        phase.stores.append(Let(acc, combine(name, dtype, acc, value)))
    return acc


def reduce_rows(
    node: Node, build: Builder, before: list[Statement], row: list[Statement], after: list[Statement], value: Expr
) -> Var:
    """Take the result of each row into an accumulator; return the variable that holds the result after all rows."""
    name, dtype = node.op.name, node.dtype
    acc = build.let(before, "a", identity(name, dtype))
    build.states[acc] = plain_state(name, dtype, acc)
    if name == "sum" and dtype.kind == "f":
        return _compensated(dtype, build, before, row, after, acc, value)
    row.append(Let(acc, combine(name, dtype, acc, value)))
    return acc


def _compensated_sum(dtype: DType, build: Builder, phase: Phase, acc: Var, value: Expr) -> Var:
    """Sum blocks with reassociation, and the blocks with the error of each addition kept aside."""
    block = build.let(phase.block_start, "q", typed(0, short_name(dtype)))
    phase.stores.append(Let(block, call("radd", block, value)))
    return _compensated(dtype, build, phase.before, phase.block_end, phase.after, acc, block)


def _compensated(
    dtype: DType,
    build: Builder,
    before: list[Statement],
    end: list[Statement],
    after: list[Statement],
    acc: Var,
    block: Expr,
) -> Var:
    """Add parts with the error of each addition kept aside, and all errors at the end."""
    kind = short_name(dtype)
    error, total, back, out = (build.name(p, kind) for p in ("e", "s", "z", "t"))
    before.append(Let(error, typed(0, kind)))
    end += _added(acc, block, error, total, back)
    after.append(Let(out, select(call("isfinite", error), acc + error, acc)))
    build.states[out] = State((acc, error), tuple(_added(acc, part(acc), error, total, back, part(error))))
    return out


def rounding(old: Expr, block: Expr, total: Expr, back: Expr) -> Binary:
    """Return the error of `total = old + block`, where `back = total - old` (Knuth, TAOCP 2, 4.2.2)."""
    return Group(old - (total - back)) + (block - back)


def _added(acc: Var, block: Expr, error: Var, total: Var, back: Var, their_error: Var | None = None) -> list[Let]:
    """Return the statements that add a block, and its own error where it has one."""
    missed = rounding(acc, block, total, back)
    missed = missed if their_error is None else Group(missed) + their_error
    return [Let(total, acc + block), Let(back, total - acc), Let(error, error + missed), Let(acc, total)]


def plain_state(name: str, dtype: DType, acc: Var) -> State:
    """Return the state of an accumulator that takes that of another as it takes a value."""
    return State((acc,), (Let(acc, combine(name, dtype, acc, part(acc))),))


def _extremum(name: str, dtype: DType, build: Builder, phase: Phase, acc: Var, value: Expr) -> Var:
    """Compare and select without NaN, which vectorises, and remember beside it whether a NaN was seen."""
    seen, out = build.name("z", "bool"), build.name("t", acc.kind)
    phase.before.append(Let(seen, FALSE))
    phase.stores.append(Let(acc, call(f"fast_{name}", acc, value)))
    phase.stores.append(Let(seen, seen | value.ne(value)))
    infinity = typed(math.inf, acc.kind)
    phase.after.append(Let(out, select(seen, infinity - infinity, acc)))
    merge = Let(acc, call(f"fast_{name}", acc, part(acc))), Let(seen, seen | part(seen))
    build.states[out] = State((acc, seen), merge)
    return out


def _argument(name: str, dtype: DType, build: Builder, phase: Phase, value: Expr, position: Expr) -> Var:
    """Keep the best value and the position of its first occurrence; NaN is best of all."""
    best, found, better = build.name("a", short_name(dtype)), build.name("k"), build.name("m", "bool")
    phase.before.append(Let(best, identity(name, dtype)))
    phase.before.append(Let(found, ZERO))
    phase.stores += _better(name, dtype, (best, found, better), value, position)
    merge = _better(name, dtype, (best, found, better), part(best), part(found))
    build.states[found] = State((best, found), tuple(merge))
    return found


def _better(name: str, dtype: DType, variables: tuple[Var, Var, Var], value: Expr, position: Expr) -> list[Let]:
    """Return the statements that take a value with its position into the best one so far."""
    best, found, better = variables
    sign = KINDS[name].operator
    exceeds: Expr = Group(Binary(sign, value, best))
    if dtype.kind == "f":
        exceeds = Binary("|", exceeds, Group(value.ne(value) & best.eq(best)))
    return [
        Let(better, exceeds),
        Let(best, select(better, value, best)),
        Let(found, select(better, position, found)),
    ]
