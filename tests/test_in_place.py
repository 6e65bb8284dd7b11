"""Scatters that write where their operand is: tables that are updated by rows, carries that steps write into."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.memory.inplace import updates_in_place
from graphc.codegen.nest.nest import LoopNest
from graphc.graph.types import size_value

INDEX = gc.placeholder("i", shape=("b",), dtype="int64")
MODES = ["compiled", "debug", "reference"]


def nests(f: gc.Function) -> list[LoopNest]:
    """Return every nest of a compiled function, loop bodies included."""
    built = f.compile()._compiled
    assert built is not None
    return [nest for section in built.program.sections for nest in section.nests]


def largest(f: gc.Function, **sizes: int) -> int:
    """Return the most elements that one nest walks over."""
    return max(size_value(nest.work, sizes) for nest in nests(f))


@pytest.mark.parametrize("mode", MODES)
def test_a_step_of_sgd_on_a_table_costs_its_rows(mode: Any) -> None:
    table = gc.shared(np.arange(3000.0).reshape(1000, 3), name="table")
    loss = gc.sum(gc.square(table[INDEX] - 1.0))
    f = gc.function([INDEX], loss, updates={table: table - 0.1 * gc.grad(loss, table)}, mode=mode)
    if mode != "reference":
        assert largest(f, b=4) == 12
    dense = table.get_value()
    expected = dense.copy()
    np.add.at(expected, [7, 2, 7, -1], -0.1 * 2 * (dense[[7, 2, 7, -1]] - 1.0))
    f([7, 2, 7, -1])
    np.testing.assert_allclose(table.get_value(), expected, rtol=1e-14)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_written_where_an_index_is_bad(mode: Any) -> None:
    a, b = gc.shared(np.zeros(5), name="a"), gc.shared(np.zeros(3), name="b")
    updates = {a: a.at[INDEX].add(1.0), b: b.at[INDEX].set(2.0)}
    f = gc.function([INDEX], [], updates=updates, mode=mode)
    f([0, 2])
    with pytest.raises(gc.IndexOutOfBoundsError, match=r"test_in_place.py:\d+"):
        f([1, 4])
    np.testing.assert_array_equal(a.get_value(), [1, 0, 1, 0, 0])
    np.testing.assert_array_equal(b.get_value(), [2, 0, 2])


@pytest.mark.parametrize("mode", MODES)
def test_old_values_are_read_before_they_are_written(mode: Any) -> None:
    a = gc.shared(np.arange(5.0), name="a")
    f = gc.function([INDEX], [a * 2, a[INDEX]], updates={a: a.at[INDEX].add(10.0)}, mode=mode)
    doubled, rows = f([1, 1, 3])
    np.testing.assert_array_equal(doubled, [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(rows, [1, 1, 3])
    np.testing.assert_array_equal(a.get_value(), [0, 21, 2, 13, 4])
    g = gc.function([INDEX], a.at[INDEX].set(0.0), updates={a: a.at[INDEX].set(0.0)}, mode=mode)
    np.testing.assert_array_equal(g([1]), [0, 0, 2, 13, 4])
    np.testing.assert_array_equal(a.get_value(), [0, 0, 2, 13, 4])


def fibonacci(n: int) -> gc.Node:
    """Fill a table in a loop: each step reads two elements and writes one."""

    def step(table: gc.Node, t: gc.Node) -> tuple[gc.Node, None]:
        return table.at[t].set(gc.sin(table[t - 1]) + table[t - 2]), None

    start = gc.placeholder("start", shape=(2,))
    table: gc.Node = gc.scan(step, gc.concat([start, gc.zeros(n)]), gc.arange(2, n + 2))[0]
    return table


@pytest.mark.parametrize("mode", MODES)
def test_a_table_that_a_loop_fills(mode: Any) -> None:
    table = fibonacci(20)
    (start,) = gc.Graph([table]).inputs
    gradient = gc.grad(gc.sum(table), start)
    f = gc.function([start], [table, gradient], mode=mode)
    values = [0.3, 0.5]
    for t in range(2, 22):
        values.append(np.sin(values[t - 1]) + values[t - 2])
    got = f([0.3, 0.5])
    np.testing.assert_allclose(got[0], values, rtol=1e-13)
    gc.check_grad(gc.sum(table), start, {start: [0.3, 0.5]})
    np.testing.assert_allclose(got[1], gc.evaluate(gradient, {start: [0.3, 0.5]}), rtol=1e-12)


def test_steps_that_write_one_element_cost_one_element() -> None:
    n = 1000
    table = fibonacci(n)
    (start,) = gc.Graph([table]).inputs
    f = gc.function([start], [table, gc.grad(table[-1], start)]).compile()
    bodies = [n.op.body for n in f.optimized.nodes if isinstance(n.op, gc.ops.control.Scan)]
    scatters = [n for body in bodies for n in body.nodes if n.op.name == "scatter"]
    assert len(scatters) >= 2
    built = f._compiled
    assert built is not None
    inner = [nest for section in built.program.sections[1:] for nest in section.nests]
    assert all(size_value(nest.work, {}) <= 2 for nest in inner)


def test_the_gradient_of_indexing_inside_a_loop_is_one_scatter() -> None:
    x = gc.placeholder("x", shape=("n", 5))
    last, ys = gc.scan(lambda c, i: (gc.tanh(c * x[i]), c * 2), gc.ones(5), INDEX)
    loss = gc.sum(last) + gc.sum(ys)
    f = gc.function([x, INDEX], gc.grad(loss, x))
    bodies = [n.op.body for n in f.compile().optimized.nodes if isinstance(n.op, gc.ops.control.Scan)]
    assert all(n.shape == (5,) or not n.inputs for body in bodies for n in body.nodes)
    values = {x: np.random.default_rng(0).normal(size=(4, 5)), INDEX: [0, 3, 3, 1]}
    np.testing.assert_allclose(f(*values.values()), gc.evaluate(gc.grad(loss, x), values), rtol=1e-12)
    gc.check_grad(loss, x, values)


def test_a_temporary_operand_is_written_into() -> None:
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x, INDEX], gc.sum(gc.sin((x * 2).at[INDEX].add(1.0))))
    assert f([0.0, 1.0], [1]) == pytest.approx(np.sin(3.0), rel=1e-15)
    assert len(nests(f)) == 3


@pytest.mark.parametrize("mode", MODES)
def test_updates_that_are_views_of_the_table(mode: Any) -> None:
    a = gc.shared(np.arange(6.0), name="a")
    f = gc.function([INDEX], [], updates={a: a.at[INDEX].add(gc.flip(a)[:3])}, mode=mode)
    f([3, 4, 5])
    np.testing.assert_array_equal(a.get_value(), [0, 1, 2, 8, 8, 8])
    last, _ = gc.scan(lambda c, i: (c.at[i].set(c[0]), None), a, INDEX)
    np.testing.assert_array_equal(gc.function([INDEX], last, mode=mode)([2, 4]), [0, 1, 0, 8, 0, 8])


def test_state_that_rows_are_reduced_of_is_updated_in_place() -> None:
    rng = np.random.default_rng(3)
    w, m = (gc.shared(rng.normal(size=(6, 7)), name=n) for n in "wm")
    r = gc.shared(rng.normal(size=6), name="r")
    a, b, c = w.get_value(), m.get_value(), r.get_value()
    momentum = 0.9 * m + gc.exp(w)
    scale = gc.sum(w * w, axis=1, keepdims=True) + gc.max(momentum, axis=1, keepdims=True)
    updates = {w: w - momentum / scale, m: momentum, r: r * 0.5 + scale[:, 0]}
    f = gc.function([], [], updates=updates).compile()
    assert len(updates_in_place(f.schedule)) == 3 and len(f.schedule) == 1
    for _ in range(3):
        f()
        new = 0.9 * b + np.exp(a)
        rows = (a * a).sum(1, keepdims=True) + new.max(1, keepdims=True)
        a, b, c = a - new / rows, new, c * 0.5 + rows[:, 0]
    for state, value in ((w, a), (m, b), (r, c)):
        np.testing.assert_allclose(state.get_value(), value, rtol=1e-12)


def test_state_that_a_later_phase_reads_again_is_not_updated_in_place() -> None:
    w = gc.shared(np.arange(6.0).reshape(2, 3), name="w")
    start = w.get_value()
    total = gc.sum(w, axis=1, keepdims=True)
    f = gc.function([], w * total, updates={w: w * 2})  # the product needs the old rows, after the sums
    np.testing.assert_array_equal(f(), start * start.sum(1, keepdims=True))
    np.testing.assert_array_equal(w.get_value(), start * 2)
    v = gc.shared(np.arange(5.0), name="v")
    g = gc.function([], [], updates={v: v + gc.zeros(5).at[1:].add(v[:-1])})
    g()
    np.testing.assert_array_equal(v.get_value(), [0, 1, 3, 5, 7])


def sources(f: gc.Function) -> str:
    f.compile()
    return f.source.kernels


def rows_of(count: int, width: Any = 64) -> gc.Function:
    table = gc.placeholder("table", shape=(count, width), dtype="float32")
    return gc.function([table, INDEX], gc.sum(gc.tanh(table[INDEX]), axis=1))


def test_rows_of_large_tables_are_asked_for_ahead() -> None:
    large = rows_of(50_000)
    assert sources(large).count("prefetch(") == 4 and "range(0, 64)" in large.source.kernels
    assert "prefetch(" not in sources(rows_of(100)) and "range(0, 64)" in sources(rows_of(100))
    assert "prefetch(" not in sources(rows_of(50_000, "n"))
    from tests.test_codegen import packed

    assert "prefetch" in packed(large)


@pytest.mark.parametrize("mode", ["compiled", "debug"])
def test_rows_asked_for_ahead_are_the_same_rows(mode: Any) -> None:
    rng = np.random.default_rng(2)
    start = rng.normal(size=(20_000, 3, 24)).astype(np.float32)
    table = gc.shared(start, name="table")
    i = gc.placeholder("i", shape=("b",), dtype="int64")
    j = gc.placeholder("j", shape=("b",), dtype="int64")
    picked = table[i, j]
    loss = gc.sum(gc.square(picked))
    f = gc.function([i, j], picked, updates={table: table - 0.5 * gc.grad(loss, table)}, mode=mode)
    assert "prefetch(" in sources(f)
    rows, parts = rng.integers(-20_000, 20_000, 40), rng.integers(-3, 3, 40)
    np.testing.assert_array_equal(f(rows, parts), start[rows, parts])
    expected = start.copy()
    np.add.at(expected, (rows, parts), -start[rows, parts])
    np.testing.assert_allclose(table.get_value(), expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(gc.IndexOutOfBoundsError):
        f([1, 20_000], [0, 0])
    assert f([], []).shape == (0, 24)


def test_indices_are_checked_once() -> None:
    table = gc.shared(np.zeros((10, 4)), name="table")
    loss = gc.sum(gc.square(table[INDEX] - 1.0))
    f = gc.function([INDEX], loss, updates={table: table - 0.1 * gc.grad(loss, table)})
    assert len(nests(f)) == len(f.schedule)  # no nest that only checks: the gather of the loss did
    alone = gc.function([INDEX], [], updates={table: table.at[INDEX].add(1.0)})
    assert len(nests(alone)) == len(alone.schedule) + 1


@pytest.mark.parametrize("mode", MODES)
def test_indices_of_rows_without_elements_are_checked(mode: Any) -> None:
    table = gc.shared(np.zeros((3, 0)), name="table")
    wide = gc.shared(np.zeros(3), name="wide")
    f = gc.function([INDEX], table[INDEX], updates={wide: wide.at[INDEX].add(1.0)}, mode=mode)
    assert f([0, 2]).shape == (2, 0)
    with pytest.raises(gc.IndexOutOfBoundsError):
        f([3])


def in_every_order(updates: dict[str, Any]) -> list[tuple[str, ...]]:
    return list(itertools.permutations(updates))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", in_every_order({"buffer": 0, "position": 0}))
def test_a_ring_buffer(order: tuple[str, ...], mode: Any) -> None:
    states = {"buffer": gc.shared(np.zeros(4)), "position": gc.shared(np.int64(0))}
    buffer, position = states.values()
    x = gc.placeholder("x")
    new = {"buffer": buffer.at[position].set(x), "position": (position + 1) % 4}
    f = gc.function([x], [], updates={states[name]: new[name] for name in order}, mode=mode)
    for k in range(6):
        f(10.0 + k)
    np.testing.assert_array_equal(buffer.get_value(), [14, 15, 12, 13])
    assert position.get_value() == 2
    position.set_value(4)
    with pytest.raises(gc.IndexOutOfBoundsError):
        f(0.0)
    assert position.get_value() == 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", in_every_order({"a": 0, "b": 0, "c": 0, "rate": 0}))
def test_tables_in_a_cycle_cost_their_rows(order: tuple[str, ...], mode: Any) -> None:
    rng = np.random.default_rng(1)
    rows, width = 50, 3
    old = {name: rng.normal(size=(rows, width)) for name in "abc"} | {"rate": np.array(0.5)}
    s = {name: gc.shared(value, name=name) for name, value in old.items()}
    new = {
        "a": s["a"].at[INDEX].add(-s["rate"] * s["b"][INDEX]),
        "b": s["b"].at[INDEX].set(s["c"][1:3]),
        "c": s["c"].at[INDEX].add(s["a"][INDEX]).at[[0]].set(s["c"][7:8]),
        "rate": s["rate"] * 0.9,
    }
    f = gc.function([INDEX], [], updates={s[name]: new[name] for name in order}, mode=mode)
    for i in ([3, 5], [5, 0], [9, 9]):
        with pytest.raises(gc.GraphcError):
            f([i[0], rows])
        f(i)
        a, b, c = old["a"].copy(), old["b"].copy(), old["c"].copy()
        np.add.at(a, i, -old["rate"] * old["b"][i])
        b[i] = old["c"][1:3]
        np.add.at(c, i, old["a"][i])
        c[0] = old["c"][7]
        old = {"a": a, "b": b, "c": c, "rate": old["rate"] * 0.9}
        for name, state in s.items():
            np.testing.assert_allclose(state.get_value(), old[name], rtol=1e-13, err_msg=name)
    if mode != "reference":
        assert largest(f, b=2) == 2 * width


@pytest.mark.parametrize("mode", MODES)
def test_a_new_value_of_state_is_no_temporary(mode: Any) -> None:
    """A value that is copied into state at the end of a call: a scatter that alone reads it must not write into it."""
    s = gc.shared(np.arange(4.0))
    f = gc.function([INDEX], gc.sin((s * 2).at[INDEX].add(1.0)) + 0, updates={s: s * 2}, mode=mode)
    np.testing.assert_allclose(f([1]), np.sin([0, 3, 4, 6]), rtol=1e-15)
    np.testing.assert_array_equal(s.get_value(), [0, 2, 4, 6])


def test_scatters_that_continue_each_other_share_memory() -> None:
    x = gc.placeholder("x", shape=(100,))
    total = gc.sum(gc.sin((x * 2).at[INDEX].add(1.0).at[INDEX].set(2.0).at[3].add(1.0)))
    f = gc.function([x, INDEX], total)
    wanted = 2 * np.arange(100.0)
    wanted[[1, 5]] = 2.0
    wanted[3] += 1
    assert f(np.arange(100.0), [1, 5]) == pytest.approx(np.sin(wanted).sum(), rel=1e-13)
    assert f.plan.peak_bytes == 832


@pytest.mark.parametrize("mode", MODES)
def test_a_scatter_between_that_others_read(mode: Any) -> None:
    s = gc.shared(np.arange(4.0))
    between = s.at[INDEX].add(1.0)
    f = gc.function([INDEX], [], updates={s: between.at[INDEX].add(gc.sum(between))}, mode=mode)
    f([1])
    np.testing.assert_array_equal(s.get_value(), [0, 9, 2, 3])
