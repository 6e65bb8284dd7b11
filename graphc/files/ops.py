"""The op table of saved programs: which ops a file may name, and what an op asks of its parameters and operands.

The functions that users call build ops whose parameters fit their operands, and generated code relies on it: a slice
that reached outside its operand would read memory that is not its own. A file may have been written by anyone, so
everything that those functions guarantee is checked here again, before `infer` is asked for the result's type; what
depends on symbolic sizes becomes a guard, which every call checks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphc.files.checks import ARRAY_OPS, POINTWISE
from graphc.files.conditions import Entry, Pairs, Types, equal_types, nonnegative, require
from graphc.graph.errors import ArgumentError, at
from graphc.graph.op import Constant, Op, Placeholder, SharedValue
from graphc.graph.types import BOOL, INT64, TensorType, TupleType
from graphc.ops.control import Project, Scan, Switch, While
from graphc.ops.pointwise import ELEMENTWISE, Elementwise

# -- control flow: the graphs inside must have the signatures that the op gives them


def _of(nodes: Iterable[Any]) -> list[TensorType]:
    return [n.type for n in nodes]


def _scan(op: Scan, types: Types) -> Pairs:
    require(op.carries >= 0 and op.sequences >= 0 and op.carries + op.sequences <= len(types), "too few operands")
    require(op.carries <= len(op.body.outputs), "too few outputs")
    sequences = types[op.carries : op.carries + op.sequences]
    require(all(t.ndim for t in sequences), "a sequence without an axis")
    elements = [TensorType(t.dtype, t.shape[1:]) for t in sequences]
    given = [*types[: op.carries], *elements, *types[op.carries + op.sequences :]]
    counts = {"final": op.carries, "carry": op.carries, "stacked": len(op.body.outputs) - op.carries}
    require(all(0 <= i < counts.get(kind, 0) for kind, i in op.results), "results that do not exist")
    inside = _of(op.body.inputs)
    return [
        *equal_types(given, inside, "operands of a loop"),
        *equal_types(_of(op.body.outputs[: op.carries]), inside[: op.carries], "carries of a loop"),
        *nonnegative(op.length),
    ]


def _switch(op: Switch, types: Types) -> Pairs:
    require(bool(types) and types[0].dtype == INT64 and types[0].ndim == 0, "an index that is no 0-d int64")
    require(len(op.branches) > 0, "no branches")
    first = op.branches[0]
    require(all(0 <= k < len(first.outputs) for k in op.results), "results that do not exist")
    pairs: Pairs = []
    for branch in op.branches:
        pairs += equal_types(types[1:], _of(branch.inputs), "operands of a branch")
        pairs += equal_types(_of(branch.outputs), _of(first.outputs), "results of a branch")
    return pairs


def _while(op: While, types: Types) -> Pairs:
    require(len(op.condition.outputs) == 1, "a condition that is not one value")
    test = op.condition.outputs[0].type
    require(test.dtype == BOOL and test.ndim == 0, "a condition that is no 0-d bool")
    require(len(op.body.outputs) <= len(types), "too few operands")
    require(all(0 <= k < len(op.body.outputs) for k in op.results), "results that do not exist")
    return [
        *equal_types(types, _of(op.body.inputs), "operands of a loop"),
        *equal_types(types, _of(op.condition.inputs), "operands of a condition"),
        *equal_types(_of(op.body.outputs), types[: len(op.body.outputs)], "carries of a loop"),
    ]


def _project(op: Project, types: Types) -> None:
    (several,) = types
    require(isinstance(several, TupleType) and 0 <= op.index < len(several.types), "a result that does not exist")


OPS: dict[str, Entry] = {
    **ARRAY_OPS,
    "Project": Entry(Project, (1, 1), _project),
    "Scan": Entry(Scan, (0, None), _scan),
    "Switch": Entry(Switch, (1, None), _switch),
    "While": Entry(While, (0, None), _while),
}
"""Every op that a file may hold beside the records of the pointwise table (by their names) and the leaves."""

LEAVES: tuple[type[Op], ...] = (Placeholder, SharedValue, Constant)
NOT_SAVED = ("Draw", "_Known")
"""Ops that no compiled function holds: `function` places draws, and the interpreter alone knows sizes."""

_NAMES = {entry.op: name for name, entry in OPS.items()}


def saved_name(op: Op) -> str:
    """Return the name by which a file calls an op; raises `ArgumentError` for one that is not saved."""
    name = op.name if isinstance(op, Elementwise) else _NAMES.get(type(op))
    if name is None or (isinstance(op, Elementwise) and ELEMENTWISE.get(name) is not op):
        raise ArgumentError(f"save: the op {op} is not in the table of saved ops{at()}")
    return name


def check_operands(op: Op, types: Types) -> Pairs:
    """Raise `FormatError` unless the op's parameters fit operands of these types; return what a call must check."""
    entry = POINTWISE if isinstance(op, Elementwise) else OPS[_NAMES[type(op)]]
    low, high = entry.operands
    require(low <= len(types) and (high is None or len(types) <= high), f"{len(types)} operands")
    require(isinstance(op, Project) or not any(isinstance(t, TupleType) for t in types), "several values as operand")
    return entry.check(op, types) or []
