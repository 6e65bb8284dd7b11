"""The cost model decides what is one kernel: constructed programs get the form that measures best, and say why."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc as gc
from graphc.passes.schedule.fusion_costs import MAX_STORED, Expression, judge, spilled, work_of
from graphc.passes.schedule.machine import REGISTERS

Build = Callable[[gc.Node, gc.Node], gc.Node]


def chain(x: gc.Node, y: gc.Node) -> gc.Node:
    """Each operation waits for the one before."""
    for i in range(64):
        x = x * y + (0.1 + i / 64) if i % 2 else x - y * 0.3
    return x


def links(x: gc.Node, y: gc.Node) -> gc.Node:
    for _ in range(8):
        x = gc.tanh(x * y)
    return x


def many_readers(x: gc.Node, y: gc.Node) -> gc.Node:
    values = [gc.tanh(x * (0.1 * i + 0.1)) for i in range(8)]
    total = x
    for turn in range(4):
        for v in values:
            total = total * 0.5 + v * (y if turn % 2 else x)
    return total


def fan(width: int) -> Build:
    """Make as many values live at once, which are read in order, twice."""

    def build(x: gc.Node, y: gc.Node) -> gc.Node:
        values = [x * (1.0 + i / width) + y * (0.5 + i) for i in range(width)]
        total = x
        for v in values:
            total = total * v * 0.01 + y
        for v in values:
            total = total * v * 0.01 - x
        return total

    return build


def function(build: Build) -> gc.Function:
    x, y = gc.placeholder("x", shape=("n",)), gc.placeholder("y", shape=("n",))
    return gc.function([x, y], build(x, y))


FORMS: dict[str, tuple[Build, int]] = {
    "chain": (chain, 4),
    "links": (links, 4),
    "readers": (many_readers, 2),
    "fan of 16": (fan(16), 4),
    "fan of 32": (fan(32), 4),
}


@pytest.mark.parametrize("name", FORMS)
def test_one_kernel_with_as_many_vectors_as_its_chain_needs(name: str) -> None:
    build, turns = FORMS[name]
    f = function(build)
    (kernel,) = f.schedule
    assert kernel.turns == turns
    assert f.source.kernels.startswith(f"# kernel 0; long loops take {turns} vectors at a time\n") == (turns > 2)
    a, b = np.linspace(0.1, 0.9, 37), np.linspace(0.5, -0.5, 37)
    x, y = f.graph.inputs
    np.testing.assert_allclose(f(a, b), gc.evaluate(f.graph, {x: a, y: b})[0], rtol=1e-12)


def test_small_arrays_of_a_long_chain_are_cut_for_the_compilers_sake() -> None:
    x = gc.placeholder("x", shape=(100,))
    value = x
    for i in range(60):
        value = gc.tanh(value * (1 + i / 60) + x)
    f = gc.function([x], gc.grad(gc.sum(value), x))
    sizes = [len(kernel.nodes) for kernel in f.schedule]
    assert 8 <= len(sizes) <= 20 and max(sizes) < 70
    assert any("compiling" in cut.reason for cut in f.schedule.cuts)


def test_many_results_do_not_exceed_what_a_kernel_may_write() -> None:
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], [x * float(i) for i in range(2, 2 + MAX_STORED + 10)])
    assert len(f.schedule) == 2 and max(len(k.stored) for k in f.schedule) == MAX_STORED
    np.testing.assert_array_equal(np.stack(f(np.ones(3)))[:, 0], np.arange(2.0, 2 + MAX_STORED + 10))


def test_costs_say_why_kernels_are_apart() -> None:
    x = gc.placeholder("x", shape=("n", "m"))
    f = gc.function([x], gc.exp(gc.sum(x, axis=0)) - x.T[0, 0])
    lines = str(f.cost).splitlines()
    assert lines[-1] == "1 is apart from 0: it runs over [m], not [n,m]"
    assert str(f.cost.at({"n": 3, "m": 4})).splitlines()[-1] == lines[-1]


def test_the_verdict_weighs_memory_against_waiting_and_spills() -> None:
    x = gc.placeholder("x", shape=("n",))
    value = x
    short, long = Expression(), Expression()
    for _ in range(20):
        value = gc.tanh(value)
        long.add(value, value.inputs)
    short.add(value, value.inputs)
    joined = long.joined(short, [], lambda n: n.inputs)
    assert judge(long, short, joined, saved=100.0, members=21).joins
    verdict = judge(long, short, joined, saved=0.1, members=21)
    assert not verdict.joins and str(verdict).startswith("saves 0.1 ns a vector, costs ")
    assert "operations, at most" in str(judge(long, short, joined, saved=1e9, members=10_000))
    assert work_of(value).time > 10 * work_of(value * 2.0).time


def test_values_that_do_not_fit_registers_are_counted() -> None:
    x = gc.placeholder("x", shape=("n",))
    y = gc.placeholder("y", shape=("n",))
    values = [x * y for _ in range(40)]
    total, sums = values[0], []
    for v in values[1:]:
        total = total + v
        sums.append(total)
    assert spilled([*values, *sums], lambda n: n.inputs, 1) == 42 - REGISTERS
    assert spilled(sums, lambda n: [], 1) == 0
