"""Typed nests: their text means what they are, every nest is well-formed, passes change what they should."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.forms.nest_passes import NEST_PASSES
from graphc.codegen.forms.scalar_words import use_scalar_words
from graphc.codegen.math.tiles import tiles
from graphc.codegen.nest import ir
from graphc.codegen.nest.nest import LoopNest, PointerSlot
from graphc.codegen.nest.render import render
from graphc.codegen.nest.walks import bodies, every, expressions, walk
from graphc.graph.types import short_name
from graphc.passes.schedule.options import FORMS
from tests import random_loops
from tests.random_graphs import random_program
from tests.test_ops import TABLE, declare

# -- the text of expressions

PYTHON: dict[type[ast.AST], str] = {
    **{ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.RShift: ">>"},
    **{ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.And: "and", ast.Or: "or"},
    **{ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="},
}


def parsed(node: ast.expr) -> Any:
    """Return what Python reads, as nested tuples."""
    match node:
        case ast.BoolOp(op, values):
            found = parsed(values[0])
            for value in values[1:]:
                found = (PYTHON[type(op)], found, parsed(value))
            return found
        case ast.BinOp(left, operator, right):
            return PYTHON[type(operator)], parsed(left), parsed(right)
        case ast.Compare(left, [comparison], [right]):
            return PYTHON[type(comparison)], parsed(left), parsed(right)
        case ast.UnaryOp(ast.USub(), operand):
            return "-", parsed(operand)
        case ast.Subscript(value, index):
            return "[]", parsed(value), parsed(index)
        case ast.Call(ast.Name(name), operands):
            return name, *map(parsed, operands)
        case ast.Name(name) | ast.Constant(name):
            return name
    raise AssertionError(ast.dump(node))


def meant(e: ir.Expr) -> Any:
    """Return what an expression is, in the same form; a chain of `and` folds from the left."""
    match e:
        case ir.Group(inner):
            return meant(inner)
        case ir.Binary(op, left, right):
            return op, meant(left), meant(right)
        case ir.Negative(operand):
            return "-", meant(operand)
        case ir.Load(pointer, index):
            return "[]", meant(pointer), meant(index)
        case ir.Cast(kind, operand):
            return kind, meant(operand)
        case ir.Call(word, operands):
            return word, *map(meant, operands)
        case ir.Number(value):
            return value
    assert isinstance(e, ir.Var)
    return e.name


def drawn(rng: np.random.Generator, depth: int) -> ir.Expr:
    if depth == 0:
        return ir.Var("abcd"[rng.integers(4)]) if rng.random() < 0.7 else ir.Number(int(rng.integers(9)))
    x, y = drawn(rng, depth - 1), drawn(rng, int(rng.integers(depth)))
    if rng.random() < 0.5:
        x, y = y, x
    ops = ("+", "-", "*", "/", "//", ">>", "&", "|", "^", "<", "<=", "==", "!=", ">", "and", "or")
    match rng.integers(24):
        case 0:
            return -x
        case 1:
            return ir.Load(ir.Var("p"), x)
        case 2:
            return ir.select(x, y, x)
        case 3:
            return ir.Group(x)
        case 4:
            return ir.Cast("f64", x)
        case k:
            op = ops[int(k) % len(ops)]
            if op in ("and", "or") and isinstance(y, ir.Binary) and y.op == op:
                return ir.Cast("f64", y)  # Python reads a chain, which is none of two operands
            return ir.Binary(op, x, y)


def test_the_text_of_an_expression_means_what_it_is() -> None:
    rng = np.random.default_rng(5)
    for _ in range(3000):
        expression = drawn(rng, int(rng.integers(1, 6)))
        assert parsed(ast.parse(str(expression), mode="eval").body) == meant(expression), str(expression)


def test_positions_are_written_term_by_term() -> None:
    i, j, n = ir.variables("i j n")
    assert str(ir.total(0, i * n, 0, j + 2)) == "i * n + j + 2" and str(ir.total(i, n - 1)) == "i + n - 1"
    assert str(ir.total(0, 0)) == "0" and str(i * (j + n)) == "i * (j + n)" and str(i - (j - n)) == "i - (j - n)"
    assert str(ir.both()) == "True" and str(ir.both(i < j, j < n)) == "i < j and j < n"
    assert str((i.eq(0)) & (j.ne(n))) == "(i == 0) & (j != n)" and str((i & 7).ne(0)) == "(i & 7) != 0"
    assert [str(ir.typed(v, k)) for v, k in ((float("-inf"), "f64"), (-3, "i8"), (0, "bool"))] == [
        "f64(-1e400)",
        "i8(-3)",
        "False",
    ]


# -- every nest


def check(nest: LoopNest) -> None:
    """Check a nest: what it reads is assigned, a name has one dtype, slots exist and hold what their readers take."""
    kinds: dict[str, str] = {"lo": "i64", "hi": "i64"}

    def read(expression: ir.Expr) -> None:
        for part in walk(expression):
            if isinstance(part, ir.Var | ir.Pointer):
                assert kinds.get(part.name) == part.kind, f"{part.name}: {part.kind}, was {kinds.get(part.name)}"
            if isinstance(part, ir.Word) and isinstance(part.slot, int):
                assert part.slot < len(nest.slots)
            if isinstance(part, ir.Address) and isinstance(part.word, ir.Word) and isinstance(part.word.slot, int):
                slot = nest.slots[part.word.slot]
                assert not isinstance(slot, PointerSlot) or part.kind == short_name(slot.base.dtype)

    def statements(body: Any) -> None:
        for s in body:
            for expression in expressions(s):
                read(expression)
            assigned = s.target if isinstance(s, ir.Let) else s.variable if isinstance(s, ir.Loop) else None
            if assigned is not None:
                assert kinds.setdefault(assigned.name, assigned.kind) == assigned.kind
            if isinstance(s, ir.Let) and not isinstance(s.value, ir.Call):
                assert s.target.kind == s.value.kind, f"{s.target} = {s.value}: {s.target.kind}, {s.value.kind}"
            for inside in bodies(s):
                statements(inside)

    statements(nest.body)
    parts = (part for s in every(nest.body) for e in expressions(s) for part in walk(e))
    assert nest.options.tiles == any(isinstance(part, ir.Call) and part.word in tiles() for part in parts)


def check_all(inputs: Sequence[gc.Node], outputs: Any) -> None:
    f = gc.function(inputs, outputs, mode="debug", on_unused="ignore").compile()
    for section in f._built.program.sections:
        for nest in section.nests:
            check(nest)


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_nests_of_random_graphs_are_well_formed(first: int) -> None:
    for seed in range(first, first + 10):
        p = random_program(seed)
        check_all(list(p.bindings), p.outputs)


@pytest.mark.parametrize("seed", range(6))
def test_nests_of_random_loops_are_well_formed(seed: int) -> None:
    wrt = random_loops.inputs(seed)
    out = random_loops.program(seed)
    check_all(wrt, [out, *gc.grad(gc.sum(out), wrt, disconnected="zero")])


def test_nests_of_every_op_are_well_formed() -> None:
    for case in TABLE.values():
        inputs = declare(case.arrays())
        check_all(inputs, case.build(*inputs))


D, T, P = ir.Var("d0"), ir.Var("t", "f64"), ir.Pointer("p", "f64")
FAULTS: dict[str, ir.Statement] = {
    "read before it is assigned": ir.Store(P, ir.ZERO, T),
    "two dtypes": ir.Loop(D, ir.LO, ir.HI, [ir.Let(T, ir.typed(0, "f64")), ir.Let(ir.Var("t"), D)]),
    "another dtype than its value": ir.Let(T, ir.LO + 1),
    "no such slot": ir.Let(D, ir.Word(1)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_noticed(fault: str) -> None:
    with pytest.raises(AssertionError):
        check(LoopNest((FAULTS[fault],), ()))


# -- passes


def test_every_pass_has_a_switch_or_is_part_of_what_words_mean() -> None:
    assert {form for form, _ in NEST_PASSES if form} <= set(FORMS)
    assert [change.__name__ for form, change in NEST_PASSES if not form] == ["use_scalar_words"]
    for _, change in NEST_PASSES:
        module = inspect.getmodule(change)
        assert module is not None and "before:" in str(module.__doc__) and "after:" in str(module.__doc__)


def test_scalar_words() -> None:
    t, d, p = ir.Var("t", "f64"), ir.Var("d0"), ir.Pointer("p", "f64")
    sine, other = ir.Formula("sin({0}) + asin({0})", (t,), "f64", "f64"), ir.Formula("exp({0})", (t,), "f64", "f64")
    body = (
        ir.Let(t, sine),
        ir.If(t < 0, [ir.Store(p, ir.ZERO, ir.Cast("f64", sine))], []),
        ir.Loop(d, ir.LO, ir.HI, [ir.Let(t, sine)]),
    )
    assert (
        render(use_scalar_words(LoopNest(body, ())))
        == """\
def kernel(frame, lo, hi):
    t = scalar_sin(t) + asin(t)
    if t < 0: p[0] = f64(scalar_sin(t) + asin(t))
    for d0 in range(lo, hi):
        t = sin(t) + asin(t)
    return 0
"""
    )
    stepped = use_scalar_words(LoopNest(body, (), stepped=True))
    assert "        t = scalar_sin(t)" in render(stepped)
    plain = LoopNest((ir.Let(t, other), body[2]), ())
    assert use_scalar_words(plain) is plain
