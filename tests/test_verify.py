"""`Function.verify`: right programs pass, ill-conditioned ones accuse no one, and planted faults are found by name."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
import graphc.passes as passes
from graphc.call.cases import load_case
from graphc.call.verification import Disagreement, VerificationError
from graphc.codegen.forms import neighbours
from graphc.codegen.jit import kernels
from graphc.codegen.memory import inplace
from graphc.codegen.nest import lower, scalars
from graphc.codegen.nest.ir import Expr, Formula, Let, Load
from graphc.codegen.run import section
from graphc.graph.errors import GraphcError
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.elementwise import multiply
from graphc.passes.schedule.options import FORMS
from tests.random_graphs import random_program
from tests.random_loops import arrays, inputs, program

Fault = Callable[[pytest.MonkeyPatch], None]


def report_of(f: gc.Function, *args: Any) -> Disagreement:
    with pytest.raises(VerificationError) as error:
        f.verify(*args)
    assert isinstance(error.value, GraphcError) and error.value.report.case is not None
    return error.value.report


# -- right programs


@pytest.mark.parametrize("first", [9000, 9010])
def test_random_graphs_pass(first: int) -> None:
    programs = [random_program(seed) for seed in range(first, first + 6)]
    nodes = [x for p in programs for x in p.bindings]
    f = gc.function(nodes, [p.outputs for p in programs], on_unused="ignore")
    found = f.verify(*[v for p in programs for v in p.bindings.values()])
    assert sum(found.agree) > 0 and sum(found.open) == 0


def test_random_loops_pass() -> None:
    for seed in (9000, 9001):
        wrt = inputs(seed)
        loss = program(seed)
        f = gc.function(wrt, [loss, *gc.grad(loss, wrt, disconnected="zero")], on_unused="ignore")
        assert sum(f.verify(*arrays(seed, 3)).open) == 0


X = gc.placeholder("x", shape=("n",))


@pytest.mark.parametrize(
    ("y", "values", "unknown"),
    [
        (gc.log(1 + gc.exp(X)), [1000.0, 1.0], 1),  # overflows as written
        (gc.log(gc.sum(gc.exp(X))), [-1000.0, -1001.0], 1),  # underflows as written
        (gc.sum(gc.sin(1e16 * X * (1 + 1e-16))), [1.0, 0.7], 0),  # nothing but noise
        ((X + 1e16) - 1e16, [1.0, 3.3], 0),
        (1 - gc.sigmoid(X), [40.0, 38.0], 0),
        (gc.sqrt(X * X), [1e-170, 1e200], 1),
        (gc.floor(X * 10 / 3 * 0.3), [1.0, 3.0], 0),  # on the edge of the next integer
        (gc.log(X), [-1.0, 0.0], 0),
        (gc.mean(X), [np.nan, np.inf], 0),
    ],
)
def test_rounding_accuses_no_one(y: Node, values: list[float], unknown: int) -> None:
    assert sum(gc.function([X], y).verify(values).open) == unknown


def test_states_and_generators_stay() -> None:
    w, rng = gc.shared(np.ones(3), name="w"), gc.random.Generator(4)
    f = gc.function([], [gc.sum(w * rng.normal((3,)))], updates={w: w + rng.uniform((3,))})
    f.verify()
    f.verify()
    assert w.get_value().tolist() == [1, 1, 1]
    other = gc.random.Generator(4)
    assert f() == [pytest.approx(float(np.sum(other.normal((3,)).eval())))]


def test_an_error_that_both_give_is_no_disagreement() -> None:
    k = gc.placeholder("k", shape=(), dtype="int64")
    gc.function([X, k], X[k]).verify([1.0, 2.0], 7)


# -- planted faults


def swap_product(graph: Graph) -> Graph:
    """A wrong pass: x * y becomes x * y * 1.0000001."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        return multiply(multiply(*inputs), 1.0000001) if node.op is passes_multiply() else None

    return graph.map(visit)[0]


def passes_multiply() -> Any:
    return multiply(X, X).op if multiply(X, X).op.name == "multiply" else (X * (X + 1)).op


def test_a_wrong_pass_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def hoist(graph: Graph) -> Graph:
        return swap_product(graph)

    for stage in ("ALGEBRA", "GRAPH_PASSES"):
        changed = tuple(hoist if p.__name__ == "hoist" else p for p in getattr(passes, stage))
        monkeypatch.setattr(passes, stage, changed)
    y = gc.placeholder("y", shape=("n",))
    inside = gc.sin(X) * y  # the culprit
    report = report_of(gc.function([X, y], gc.sum(gc.exp(inside) + gc.cos(y))), [1.0, 2.0], [0.5, 0.25])
    assert (report.kind, report.name) == ("pass", "hoist")
    assert report.node.op.name == "multiply" and report.node.source == inside.source
    assert report.case is not None and os.path.basename(__file__) in str(report)
    f, arguments = load_case(report.case)
    assert len(f.graph) == 4
    assert report_of(f, *arguments).name == "hoist"
    monkeypatch.undo()
    f.verify(*arguments)


def test_a_wrong_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphc.passes.algebra.pattern import Rule

    stabilize = sys.modules["graphc.passes.algebra.stabilize"]

    wrong = Rule("tanh(x) = sin(x)", lambda x: gc.tanh(x), lambda x: gc.sin(x), stabilize.RULES[0].domain[:1])
    monkeypatch.setattr(stabilize, "RULES", (*stabilize.RULES, wrong))
    report = report_of(gc.function([X], gc.sum(gc.tanh(X) + X)), [1.0, 2.0])
    assert (report.kind, report.name, report.also) == ("pass", "stabilize", ("the rule 'tanh(x) = sin(x)'",))


def misspelt(value: Expr, old: str, new: str) -> Expr:
    assert isinstance(value, Formula)
    return dataclasses.replace(value, code=value.code.replace(old, new))


def wrong_reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any operand of the right size may be written over, however it is read."""
    from graphc.codegen.memory import reuse

    monkeypatch.setattr(reuse, "reads_in_place", lambda *_: True)


def wrong_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The element that is carried from step to step begins one too far."""
    right = neighbours._carried

    def wrong(*args: Any) -> Any:
        found = right(*args)
        if found is None:
            return None
        loads = [(s.target, s.value) for s in found[0]]
        return [Let(x, load.pointer[load.index + 1]) for x, load in loads if isinstance(load, Load)], found[1]

    monkeypatch.setattr(neighbours, "_carried", wrong)


def stencil() -> tuple[gc.Function, tuple[Any, ...]]:
    u = gc.placeholder("u", shape=("n", 64))
    return gc.function([u], u.at[1:-1, 1:-1].add(u[1:-1, :-2] + u[1:-1, 2:] - 2 * u[1:-1, 1:-1])), (
        np.sin(np.arange(640.0)).reshape(10, 64),
    )


def wrong_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every update is written over its state at once."""
    right = inplace.updates_in_place

    def wrong(schedule: Any) -> Any:
        first = len(schedule.graph.outputs) - len(schedule.graph.updates)
        pairs = zip(schedule.graph.updates, schedule.graph.outputs[first:], strict=True)
        return {**right(schedule), **{s: (v,) for s, v in pairs}}

    monkeypatch.setattr(section, "updates_in_place", wrong)


def reversed_sum() -> tuple[gc.Function, tuple[Any, ...]]:
    a = gc.exp(X)
    b = gc.sin(a) @ gc.constant(np.eye(4))
    return gc.function([X], gc.exp((b[::-1] * 2 + b) @ gc.constant(np.eye(4)))), ([1.0, 2.0, 3.0, 4.0],)


def ring() -> tuple[gc.Function, tuple[Any, ...]]:
    a, b = gc.shared([1.0, 2.0], name="a"), gc.shared([3.0, 4.0], name="b")
    return gc.function([], updates={a: b[::-1] * 2, b: gc.exp(a[::-1])}, outputs=None), ()


@pytest.mark.parametrize(
    ("fault", "make", "name"),
    [
        (wrong_reuse, reversed_sum, "reuse"),
        (wrong_state, ring, "state_in_place"),
        (wrong_neighbours, stencil, "neighbours"),
    ],
)
def test_a_wrong_form_is_named(
    monkeypatch: pytest.MonkeyPatch, fault: Fault, make: Callable[[], tuple[gc.Function, tuple[Any, ...]]], name: str
) -> None:
    fault(monkeypatch)
    f, arguments = make()
    report = report_of(f, *arguments)
    assert report.kind == "form" and name in (report.name, *report.also) and FORMS[report.name] in str(report)
    assert report.case is not None
    g, again = load_case(report.case)
    assert report_of(g, *again).kind == "form"
    monkeypatch.undo()
    make()[0].verify(*arguments)


def test_a_wrong_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = scalars.scalar_code
    monkeypatch.setattr(lower, "scalar_code", lambda node, operands: misspelt(right(node, operands), "cos", "sin"))
    culprit = gc.cos(X)
    report = report_of(gc.function([X], gc.sum(gc.exp(culprit) @ gc.constant(np.eye(2)) + gc.tanh(X))), [1.0, 2.0])
    assert report.kind == "kernel" and "cos" in report.name and report.node.op.name == "cos"
    assert report.node.source == culprit.source and "its text is wrong" in report.detail and "sin(" in report.detail


def test_wrong_machine_code_is_told_from_a_wrong_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphc.codegen.run import program as programs

    right = kernels.kernel_address
    monkeypatch.setattr(programs, "kernel_address", lambda s, p="vector": right(s.replace("atan(", "tanh("), p))
    report = report_of(gc.function([X], gc.exp(gc.atan(X)) + 1), [1.0, 2.0])
    assert report.kind == "kernel" and report.node.op.name == "atan" and "machine code is wrong" in report.detail


def test_integers_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    k = gc.placeholder("k", shape=("n",), dtype="int64")
    right = scalars.scalar_code
    monkeypatch.setattr(lower, "scalar_code", lambda node, operands: misspelt(right(node, operands), "*", "+"))
    assert report_of(gc.function([k], k * k), [2**62 + 1, 5]).kind == "kernel"


def test_check_grad_checks_the_compiled_program(monkeypatch: pytest.MonkeyPatch) -> None:
    right = scalars.scalar_code
    monkeypatch.setattr(lower, "scalar_code", lambda node, operands: misspelt(right(node, operands), "cos", "tanh"))
    loss = gc.sum(gc.sin(X))
    with pytest.raises(gc.GradientError, match='mode "compiled"'):
        gc.check_grad(loss, X, {X: [0.3, 0.9]})
    with pytest.raises(gc.GradientError, match='mode "debug"'):
        gc.check_grad(loss, X, {X: [0.3, 0.9]}, mode="debug")
    assert gc.check_grad(loss, X, {X: [0.3, 0.9]}, mode="reference") < 1e-8


def test_check_grad_leaves_states_and_generators() -> None:
    w, rng = gc.shared([0.3, 0.4], name="w"), gc.random.Generator(3)
    inside = gc.exp(w)
    loss = gc.sum(gc.sin(inside * X) * rng.normal((2,)))
    assert gc.check_grad(loss, [w, X], {X: [0.5, 0.25]}) < 1e-6
    assert gc.check_grad(loss, [inside], {X: [0.5, 0.25], inside: [1.0, 2.0]}) < 1e-6
    assert w.get_value().tolist() == [0.3, 0.4]
    with pytest.raises(gc.ArgumentError, match="'x' has no value"):
        gc.check_grad(loss, X, {})
