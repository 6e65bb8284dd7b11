"""`Schedule.dag`: the order of kernels, what it saves in memory, and what paths through it say."""

from __future__ import annotations

import sys
from itertools import pairwise

import networkx
import numpy as np
import pytest

import graphc as gc
from graphc.codegen.run.frames import Memory
from graphc.codegen.run.program import Program
from graphc.graph.graph import Graph
from graphc.passes import make_schedule, optimize
from graphc.passes.schedule.fuse import fuse
from graphc.passes.schedule.kernel_costs import kernel_costs
from graphc.passes.schedule.kernels import Schedule, verify_schedule
from graphc.passes.schedule.order import order
from tests.random_graphs import SIZES, random_program

ORDER = sys.modules["graphc.passes.schedule.order"]


def planned(graph: Graph, sizes: dict[str, int]) -> int:
    program = Program(graph, compiled=False)
    return Memory(program.main, graph, sizes, 1).plan.peak_bytes


def needs(schedule: Schedule) -> set[tuple[int, int]]:
    """Return which kernel needs which, from operands alone."""
    home = {n: i for i, k in enumerate(schedule) for n in k.nodes}
    bases = ((schedule.accesses[x].base, i) for i, k in enumerate(schedule) for n in k.nodes for x in n.inputs)
    return {(home[x], i) for x, i in bases if x in home and home[x] != i}


@pytest.mark.parametrize("block", range(4))
def test_kernels_run_after_what_they_need_in_no_more_memory(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The DAG of random programs is what operands say; an order by memory is taken only where it plans fewer bytes."""
    for seed in range(6 * block, 6 * block + 6):
        program = random_program(seed, 60)
        graph = optimize(Graph(program.outputs, tuple(program.bindings)))
        schedule = order(fuse(graph))
        number = {kernel: i for i, kernel in enumerate(verify_schedule(schedule))}
        assert {(number[a], number[b]) for a, b in schedule.dag.edges} == needs(schedule), f"seed {seed}"
        assert list(schedule.dag) == list(schedule.kernels)
        by_memory = planned(graph, SIZES)
        monkeypatch.setattr(ORDER, "LESS", 0.0)
        assert by_memory <= planned(graph, SIZES), f"seed {seed}"
        monkeypatch.undo()


def fan(branches: int) -> Graph:
    """Build large values of each of which the first result needs a row, and only the last all."""
    x = gc.placeholder("x", shape=(64, 64))
    large = [gc.cumulative_sum(x * float(k), axis=0) for k in range(branches)]
    rows = [gc.cumulative_sum(v[0], axis=0) for v in large]
    whole = [gc.sum(gc.sort(v, axis=1), axis=1) for v in large]
    return optimize(Graph([sum(rows[1:], start=rows[0]), sum(whole[1:], start=whole[0])]))


def test_an_order_by_memory_frees_large_values_before_it_makes_others(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fan(6)
    found = planned(graph, {})
    monkeypatch.setattr(ORDER, "LESS", 0.0)
    assert found < planned(graph, {})


def test_a_schedule_that_runs_too_early_is_found() -> None:
    x = gc.placeholder("x", shape=("n", "n"))
    schedule = make_schedule(optimize(Graph([gc.exp(gc.sin(x) @ x)])), verify=True)
    with pytest.raises(AssertionError, match="runs before"):
        verify_schedule(schedule.in_order(schedule.kernels[::-1]))


def test_edges_hold_the_values_between_kernels() -> None:
    x = gc.placeholder("x", shape=("n", "n"))
    schedule = gc.function([x], gc.exp(gc.sin(x) @ x)).schedule
    names = [[v.op.name for v in schedule.dag.edges[pair]["values"]] for pair in schedule.dag.edges]
    assert names == [["sin"], ["matmul"]]
    with pytest.raises(networkx.NetworkXError):
        schedule.dag.remove_node(schedule.kernels[0])


def test_why_two_kernels_are_two() -> None:
    x = gc.placeholder("x", shape=("n", 3))
    f = gc.function([x], [gc.cumulative_sum(x, axis=1), gc.sum(gc.exp(x), axis=0) + 1, gc.sort(x, axis=1)])
    schedule = f.schedule
    kinds = [k.kind for k in schedule]
    assert "needs nothing of" in schedule.why(kinds.index("cumulative"), kinds.index("sort"))
    for cut in schedule.cuts:
        assert schedule.why(cut.reader, cut.earlier) == str(cut)


def test_the_critical_path_is_the_longest_chain_of_kernels() -> None:
    """By all paths, for random programs."""
    for seed in range(12):
        program = random_program(seed, 40)
        graph = optimize(Graph(program.outputs, tuple(program.bindings)))
        cost = kernel_costs(make_schedule(graph)).at(SIZES)
        longest: dict[int, float] = {}
        for k, kernel in enumerate(cost.kernels):
            longest[k] = kernel.nanoseconds + max((longest[a] for a, b in cost.edges if b == k), default=0.0)
        path = cost.critical_path()
        assert set(pairwise(path)) <= set(cost.edges)
        total = sum(cost.kernels[k].nanoseconds for k in path)
        np.testing.assert_allclose(total, max(longest.values(), default=0.0), rtol=1e-12)
