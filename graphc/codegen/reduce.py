"""Reductions inside a nest: accumulators in registers (rows) or in memory (other axes)."""

from __future__ import annotations

import numpy as np

from graphc.codegen.nest import Builder, Loop, State, Statement
from graphc.codegen.phases import Phase
from graphc.node import Node
from graphc.ops.reduction import KINDS, Reduction
from graphc.types import BOOL, INT64, DType, Size, short_name

_CHOOSES = {">": "max", "<": "min"}
_REASSOCIATES = {"+": "radd", "*": "rmul"}


def identity(name: str, dtype: DType) -> str:
    """Return the typed expression a reduction starts from."""
    start, short = KINDS[name].start, short_name(dtype)
    if start in (0, 1):
        return str(bool(start)) if dtype.kind == "b" else f"{short}({start})"
    low = start == "least"
    if dtype.kind == "f":
        return f"{short}({'-' if low else ''}1e400)"
    if dtype.kind == "b":
        return str(not low)
    limits = np.iinfo(dtype)
    return f"{short}({limits.min if low else limits.max})"


def combine(name: str, dtype: DType, acc: str, value: str) -> str:
    """Return the expression that takes one more value into an accumulator."""
    sign, short = KINDS[name].operator, short_name(dtype)
    if sign not in _CHOOSES:
        code = f"{acc} {sign} {value}"
        return code if dtype.kind in "fb" else f"{short}({code})"
    if dtype.kind == "f":
        return f"f{_CHOOSES[sign]}_nan({acc}, {value})"
    if dtype.kind == "b":
        return f"{acc} {'|' if sign == '>' else '&'} {value}"
    return f"select({value} {sign} {acc}, {value}, {acc})"


def fill_accumulator(node: Node, build: Builder, pointer: str, block: Size) -> Loop:
    """Fill the result of a reduction into memory at the start of the kernel, and return the loop that does.

    `block` is the number of elements that one step of the outermost loop has to itself, 0 where steps share them.
    """
    start, stop = "0", build.size(node.size)
    if block != 0:
        start, stop = (f"{end} * {build.size(block)}" for end in ("lo", "hi"))
    fill = Loop("k", start, stop, [f"{pointer}[k] = {identity(node.op.name, node.dtype)}"])
    build.top.append(fill)
    return fill


def reduce_row(node: Node, build: Builder, phase: Phase, value: str, position: str, blocked: bool) -> str:
    """Reduce over the inner axes in registers and return the variable that holds the result afterwards."""
    assert isinstance(node.op, Reduction)
    name, dtype = node.op.name, node.inputs[0].dtype
    if name in ("argmax", "argmin"):
        return _argument(name, dtype, build, phase, value, position)
    acc = build.name("a")
    phase.before.append(f"{acc} = {identity(name, dtype)}")
    build.states[acc] = plain_state(name, dtype, acc)
    if blocked:
        return _compensated_sum(dtype, build, phase, acc, value)
    sign = KINDS[name].operator
    if dtype.kind == "f" and sign in _CHOOSES:
        return _extremum(_CHOOSES[sign], dtype, build, phase, acc, value)
    if dtype.kind == "f" and sign in _REASSOCIATES:
        phase.stores.append(f"{acc} = {_REASSOCIATES[sign]}({acc}, {value})")
    else:
        phase.stores.append(f"{acc} = {combine(name, dtype, acc, value)}")
    return acc


def reduce_rows(
    node: Node, build: Builder, before: list[Statement], row: list[Statement], after: list[Statement], value: str
) -> str:
    """Take the result of each row into an accumulator; return the variable that holds the result after all rows."""
    name, dtype = node.op.name, node.dtype
    acc = build.name("a")
    before.append(f"{acc} = {identity(name, dtype)}")
    build.states[acc] = plain_state(name, dtype, acc)
    if name == "sum" and dtype.kind == "f":
        return _compensated(dtype, build, before, row, after, acc, value)
    row.append(f"{acc} = {combine(name, dtype, acc, value)}")
    return acc


def _compensated_sum(dtype: DType, build: Builder, phase: Phase, acc: str, value: str) -> str:
    """Sum blocks with reassociation, and the blocks with the error of each addition kept aside."""
    part = build.name("q")
    phase.block_start.append(f"{part} = {short_name(dtype)}(0)")
    phase.stores.append(f"{part} = radd({part}, {value})")
    return _compensated(dtype, build, phase.before, phase.block_end, phase.after, acc, part)


def _compensated(
    dtype: DType,
    build: Builder,
    before: list[Statement],
    end: list[Statement],
    after: list[Statement],
    acc: str,
    part: str,
) -> str:
    """Add parts with the error of each addition kept aside, and all errors at the end."""
    error, total, back, out = (build.name(p) for p in ("e", "s", "z", "t"))
    before.append(f"{error} = {short_name(dtype)}(0)")
    end += [
        f"{total} = {acc} + {part}",
        f"{back} = {total} - {acc}",
        f"{error} = {error} + (({acc} - ({total} - {back})) + ({part} - {back}))",
        f"{acc} = {total}",
    ]
    after.append(f"{out} = select(isfinite({error}), {acc} + {error}, {acc})")
    build.states[out] = compensated_state(dtype, acc, error, total, back)
    return out


def plain_state(name: str, dtype: DType, acc: str) -> State:
    """Return the state of an accumulator that takes that of another as it takes a value."""
    return State(((acc, dtype),), (f"{acc} = {combine(name, dtype, acc, f'part_{acc}')}",))


def compensated_state(dtype: DType, acc: str, error: str, total: str, back: str) -> State:
    """Return the state of a compensated sum."""
    part = f"part_{acc}"
    merge = (
        f"{total} = {acc} + {part}",
        f"{back} = {total} - {acc}",
        f"{error} = {error} + ((({acc} - ({total} - {back})) + ({part} - {back})) + part_{error})",
        f"{acc} = {total}",
    )
    return State(((acc, dtype), (error, dtype)), merge)


def _extremum(name: str, dtype: DType, build: Builder, phase: Phase, acc: str, value: str) -> str:
    """Compare and select without NaN, which vectorises, and remember beside it whether a NaN was seen."""
    seen, out = build.name("z"), build.name("t")
    phase.before.append(f"{seen} = False")
    phase.stores.append(f"{acc} = fast_{name}({acc}, {value})")
    phase.stores.append(f"{seen} = {seen} | ({value} != {value})")
    infinity = f"{short_name(dtype)}(1e400)"
    phase.after.append(f"{out} = select({seen}, {infinity} - {infinity}, {acc})")
    merge = (f"{acc} = fast_{name}({acc}, part_{acc})", f"{seen} = {seen} | part_{seen}")
    build.states[out] = State(((acc, dtype), (seen, BOOL)), merge)
    return out


def _argument(name: str, dtype: DType, build: Builder, phase: Phase, value: str, position: str) -> str:
    """Keep the best value and the position of its first occurrence; NaN is best of all."""
    best, found, better = build.name("a"), build.name("k"), build.name("m")
    phase.before.append(f"{best} = {identity(name, dtype)}")
    phase.before.append(f"{found} = 0")
    phase.stores += _better(name, dtype, (best, found, better), value, position)
    merge = _better(name, dtype, (best, found, better), f"part_{best}", f"part_{found}")
    build.states[found] = State(((best, dtype), (found, INT64)), tuple(merge))
    return found


def _better(name: str, dtype: DType, variables: tuple[str, str, str], value: str, position: str) -> list[str]:
    """Return the statements that take a value with its position into the best one so far."""
    best, found, better = variables
    sign = KINDS[name].operator
    nan = f" | (({value} != {value}) & ({best} == {best}))" if dtype.kind == "f" else ""
    return [
        f"{better} = ({value} {sign} {best}){nan}",
        f"{best} = select({better}, {value}, {best})",
        f"{found} = select({better}, {position}, {found})",
    ]
