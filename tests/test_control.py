"""Loops: values, derivatives, lengths, captures, structure; compiled, interpreted and as plain Python."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

MODES = ["compiled", "reference", "debug"]


def draw(*shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=s) * 0.5 for s in shapes]


XS, H0 = gc.placeholder("xs", shape=("t", 3)), gc.placeholder("h0", shape=(4,))
W, U = gc.placeholder("W", shape=(4, 4)), gc.placeholder("U", shape=(3, 4))


def rnn(reverse: bool = False) -> tuple[gc.Node, gc.Node]:
    def cell(h: gc.Node, x: gc.Node) -> tuple[gc.Node, gc.Node]:
        h = gc.tanh(h @ W + x @ U)
        return h, gc.sum(h * h)

    return gc.scan(cell, H0, XS, reverse=reverse)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_scan_is_the_python_loop(mode: Any, reverse: bool, steps: int) -> None:
    f = gc.function([XS, H0, W, U], rnn(reverse), mode=mode)
    xs, h, w, u = draw((steps, 3), (4,), (4, 4), (3, 4))
    got = f(xs, h, w, u)
    ys = np.zeros(steps)
    for t in reversed(range(steps)) if reverse else range(steps):
        h = np.tanh(h @ w + xs[t] @ u)
        ys[t] = (h * h).sum()
    np.testing.assert_allclose(got[0], h, rtol=1e-13)
    np.testing.assert_allclose(got[1], ys, rtol=1e-13)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_order_one_and_two(reverse: bool) -> None:
    last, ys = rnn(reverse)
    loss = gc.sum(ys * ys) + gc.sum(gc.sin(last))
    values = dict(zip([XS, H0, W, U], draw((5, 3), (4,), (4, 4), (3, 4)), strict=True))
    gc.check_grad(loss, [H0, W, U, XS], values)
    gc.check_grad(gc.sum(gc.sin(gc.grad(loss, W))), [H0, W, XS], values)
    (slope,) = gc.jvp([loss], [W], [np.ones((4, 4))])
    forward, backward = gc.evaluate([slope, gc.sum(gc.grad(loss, W))], values)
    np.testing.assert_allclose(forward, backward, rtol=1e-12)


def test_compiled_gradients_at_several_lengths() -> None:
    last, ys = rnn()
    loss = gc.sum(ys) + gc.sum(gc.sin(last))
    outputs = [loss, *gc.grad(loss, [H0, W, U, XS])]
    f, r = gc.function([XS, H0, W, U], outputs), gc.function([XS, H0, W, U], outputs, mode="reference")
    for steps in (0, 1, 2, 9):
        arrays = draw((steps, 3), (4,), (4, 4), (3, 4))
        for got, wanted in zip(f(*arrays), r(*arrays), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
def test_structures_integers_and_no_inputs(mode: Any) -> None:
    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        count = carry["count"] + 1
        return {"count": count, "sums": (carry["sums"][0] + count, carry["sums"][1] * 2.0)}, [count, x]

    init = {"count": 0, "sums": (0, 1.0)}
    carry, ys = gc.scan(step, init, None, length=5)
    assert ys[1] is None
    out = gc.function([], {"carry": carry, "ys": ys}, mode=mode)()
    assert (int(out["carry"]["count"]), int(out["carry"]["sums"][0]), float(out["carry"]["sums"][1])) == (5, 15, 32.0)
    np.testing.assert_array_equal(out["ys"][0], [1, 2, 3, 4, 5])


@pytest.mark.parametrize("mode", MODES)
def test_nested_loops(mode: Any) -> None:
    a = gc.placeholder("a", shape=("n", "m"))
    w = gc.placeholder("w")

    def row(total: gc.Node, values: gc.Node) -> tuple[gc.Node, gc.Node]:
        inner, seen = gc.scan(lambda c, v: (c * w + v + total, c), 0.0, values)
        return total + gc.sin(inner), gc.sum(seen)

    last, ys = gc.scan(row, 0.0, a)
    loss = last + gc.sum(ys)
    grads = gc.grad(loss, [a, w])
    f = gc.function([a, w], [loss, *grads], mode=mode)
    values, weight = draw((3, 4), ())
    total, sums = 0.0, 0.0
    for i in range(3):
        c = 0.0
        for j in range(4):
            sums += c
            c = c * float(weight) + values[i, j] + total
        total += np.sin(c)
    got = f(values, weight)
    np.testing.assert_allclose(got[0], total + sums, rtol=1e-12)
    if mode == "reference":
        gc.check_grad(loss, [a, w], {a: values, w: weight})
    else:
        wanted = gc.evaluate([loss, *grads], {a: values, w: weight})
        for x, y in zip(got, wanted, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-11)


@pytest.mark.parametrize("mode", MODES)
def test_views_of_arguments_state_and_updates(mode: Any) -> None:
    w = gc.shared(np.arange(6.0).reshape(2, 3), name="w")
    x = gc.placeholder("x", shape=("n", 4))
    carry, ys = gc.scan(lambda c, v: (c + v[::2], c[0] * w[0]), x[0, ::2], gc.flip(x.T, axis=0))
    del carry, ys
    carry, ys = gc.scan(lambda c, v: (c + v, c * w), gc.sum(w), w.T[1:, 0])
    f = gc.function([], [carry, ys], updates={w: w + carry}, mode=mode)
    start = np.arange(6.0).reshape(2, 3)
    total, seen = f()
    np.testing.assert_allclose(total, start.sum() + start.T[1:, 0].sum())
    np.testing.assert_allclose(seen, [start.sum() * start, (start.sum() + start.T[1, 0]) * start])
    np.testing.assert_allclose(w.get_value(), start + total)


def test_invariants_are_computed_once_outside() -> None:
    v = gc.placeholder("v", shape=(4, 4))
    last, _ = gc.scan(lambda h, x: (h @ gc.exp(v).T + x, None), gc.zeros(4), XS @ U)
    f = gc.function([XS, U, v], last).compile()
    bodies = [n.op.body for n in f.optimized.nodes if isinstance(n.op, gc.ops.control.Scan)]
    assert len(bodies) == 1 and "exp" not in bodies[0].text() and "exp" in f.optimized.text()


def bodies(f: gc.Function) -> list[list[str]]:
    """Return the names of the ops in every loop body of a compiled function."""
    loops = [n.op for n in f.compile().optimized.nodes if isinstance(n.op, gc.ops.control.Scan)]
    return [[n.op.name for n in op.body.nodes] for op in loops]


def test_products_leave_the_loop() -> None:
    """The input projection is one product before the loop, the weight gradients are products after it."""
    xs = gc.placeholder("xs", shape=("t", 5, 3))

    def cell(h: gc.Node, x: gc.Node) -> tuple[gc.Node, gc.Node]:
        h = gc.tanh(h @ W + x @ U)
        return h, h

    _, ys = gc.scan(cell, gc.zeros((5, 4)), xs)
    loss = gc.sum(gc.square(ys))
    f = gc.function([xs, W, U], [loss, *gc.grad(loss, [W, U])])
    assert [names.count("matmul") for names in bodies(f)] == [1, 1]
    r = gc.function([xs, W, U], [loss, *gc.grad(loss, [W, U])], mode="reference")
    for steps in (0, 1, 6):
        arrays = draw((steps, 5, 3), (4, 4), (3, 4))
        for got, wanted in zip(f(*arrays), r(*arrays), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-13)


def test_an_adjoint_takes_dear_values_from_the_forward_loop() -> None:
    """An RNN's adjoint has one product a step and no tanh; the output projection is outside both loops."""
    xs = gc.placeholder("xs", shape=("t", 5, 3))
    v = gc.placeholder("v", shape=(4, 2))

    def cell(h: gc.Node, x: gc.Node) -> tuple[gc.Node, gc.Node]:
        h = gc.tanh(h @ W + x @ U)
        return h, gc.softmax(h @ v)

    _, ys = gc.scan(cell, gc.zeros((5, 4)), xs)
    loss = gc.sum(gc.square(ys))
    outputs = [loss, *gc.grad(loss, [W, U, v])]
    f, r = (gc.function([xs, W, U, v], outputs, mode=mode) for mode in ("compiled", "reference"))
    forward, adjoint = bodies(f)
    assert [forward.count(name) for name in ("matmul", "tanh", "exp")] == [1, 1, 0]
    assert [adjoint.count(name) for name in ("matmul", "tanh", "sech", "exp")] == [1, 0, 0, 0]
    for steps in (0, 1, 6):
        arrays = draw((steps, 5, 3), (4, 4), (3, 4), (4, 2))
        for got, wanted in zip(f(*arrays), r(*arrays), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-13)


def test_cheap_values_are_computed_again_and_not_kept() -> None:
    a = gc.placeholder("a", shape=("t", 4))
    last, _ = gc.scan(lambda c, x: (c * x + c, None), gc.ones(4), a)
    f = gc.function([a], gc.grad(gc.sum(last), a)).compile()
    loops = [n.op for n in f.optimized.nodes if isinstance(n.op, gc.ops.control.Scan)]
    assert [op.results for op in loops] == [(("carry", 0),)] * 2


def test_work_that_needs_no_carry_leaves_the_loop() -> None:
    a = gc.placeholder("a", shape=("t", 4))
    last, ys = gc.scan(lambda c, x: (c + gc.exp(x), (gc.sin(x), gc.cos(c))), gc.zeros(4), a)
    f = gc.function([a], [last, *ys])
    assert bodies(f) == [["placeholder", "placeholder", "add"]]
    (x,) = draw((5, 4))
    carries = np.cumsum(np.exp(x), axis=0)
    for got, wanted in zip(f(x), [carries[-1], np.sin(x), np.cos(carries - np.exp(x))], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_dead_carries_are_dropped() -> None:
    (a, _), _ = gc.scan(lambda c, x: ((c[0] + x, gc.exp(c[1])), None), (0.0, 0.0), gc.arange(4, dtype="float64"))
    f = gc.function([], a)
    assert f() == 6.0 and bodies(f) == [["placeholder", "placeholder", "add"]]


def test_results_that_nothing_reads_are_not_computed() -> None:
    last, ys = gc.scan(lambda c, x: (c + x, gc.exp(c)), 0.0, gc.arange(5, dtype="float64"))
    f, g = gc.function([], last).compile(), gc.function([], [last, ys]).compile()
    assert "exp" not in f.source.kernels and "exp" in g.source.kernels
    assert f.plan.peak_bytes < g.plan.peak_bytes or f.stats["kernels"] < g.stats["kernels"]


def test_a_long_loop_runs_no_python_and_compiles_nothing_new() -> None:
    n = gc.placeholder("n", shape=("n",))
    last, _ = gc.scan(lambda c, x: (gc.cos(c) + x * 0, None), 1.0, n)
    f = gc.function([n], last)
    f(np.zeros(3))
    before = gc.codegen.jit.kernels.counters.compiled
    np.testing.assert_allclose(f(np.zeros(300_000)), 0.7390851332151607, rtol=1e-15)
    assert gc.codegen.jit.kernels.counters.compiled == before


def test_fori_loop_and_map() -> None:
    assert gc.fori_loop(1, 6, lambda i, p: p * i, 1).eval() == 120
    x = gc.placeholder("x", shape=("n", 2))
    f = gc.function([x], gc.map(lambda row: (row[0] * row[1], gc.flip(row)), x))
    products, flipped = f(np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(products, [0, 6, 20])
    np.testing.assert_array_equal(flipped, [[1, 0], [3, 2], [5, 4]])


def test_an_index_out_of_bounds_inside_a_loop_leaves_state() -> None:
    table = gc.shared(np.arange(4.0), name="table")
    i = gc.placeholder("i", shape=("n",), dtype="int64")
    last, _ = gc.scan(lambda c, k: (c + table[k], None), 0.0, i)
    f = gc.function([i], last, updates={table: table + last})
    assert f([1, 2, 3]) == 6.0
    with pytest.raises(gc.IndexOutOfBoundsError, match=r"test_control.py:\d+"):
        f([1, 4])
    np.testing.assert_array_equal(table.get_value(), np.arange(4.0) + 6)


def test_pickle_of_a_function_with_a_loop() -> None:
    f = gc.function([XS, H0, W, U], rnn())
    arrays = draw((3, 3), (4,), (4, 4), (3, 4))
    wanted = f(*arrays)
    for got, value in zip(pickle.loads(pickle.dumps(f))(*arrays), wanted, strict=True):
        np.testing.assert_array_equal(got, value)


def test_refusals() -> None:
    x = gc.placeholder("x", shape=("n",))
    no_function: Any = True
    refused: list[tuple[Any, type[Exception], str]] = [
        (lambda: gc.scan(lambda c, v: (c, None), 0.0), gc.ArgumentError, "length is needed"),
        (lambda: gc.scan(lambda c, v: (c, None), 0.0, gc.constant(1.0)), gc.ShapeError, "leading axis"),
        (lambda: gc.scan(lambda c, v: c, 0.0, x), gc.ArgumentError, r"must return \(carry, y\)"),
        (lambda: gc.scan(lambda c, v: ((c, c), None), 0.0, x), gc.ArgumentError, r"takes f64\[\] and returns \(f64"),
        (lambda: gc.scan(lambda c, v: (c + v, None), 0, x), gc.DTypeError, r"from int64 to float64: it takes i64\[\]"),
        (lambda: gc.scan(lambda c, v: (c * x, None), 0.0, x), gc.ShapeError, r"takes f64\[\] and returns f64\[n\]"),
        (lambda: gc.scan(lambda c, v: (c, v), 0.0, x, checkpoint=0), gc.ArgumentError, "checkpoint must be"),
        (lambda: gc.scan(lambda c, v: (c, v), 0.0, x, checkpoint=-2), gc.ArgumentError, "checkpoint must be"),
        (lambda: gc.scan(lambda c, v: (c, v), 0.0, x, until=lambda c: c), gc.ArgumentError, "until must return"),
        (lambda: gc.scan(lambda c, v: (c, v), 0.0, x, until=no_function), gc.ArgumentError, "must be functions"),
        (lambda: gc.associative_scan(lambda a, b: (a, b), x), gc.ArgumentError, "associative_scan: fn changes"),
        (lambda: gc.scan(lambda c, v: (c, v), 0.0, x, length=1.5), gc.ArgumentError, "length must be"),
        (lambda: gc.scan(lambda c, v: (c, v), 0.0, gc.ones(3), length=4), gc.ShapeError, "3 != 4"),
    ]
    for build, kind, message in refused:
        with pytest.raises(kind, match=message) as caught:
            build()
        assert "test_control.py:" in str(caught.value)


def loop_kernels(f: gc.Function) -> int:
    """Count the kernels that contain a loop over steps."""
    return f.compile().source.kernels.count("for s in range(lo, hi):")


def test_an_elementwise_body_is_one_kernel_that_contains_the_loop() -> None:
    a = gc.placeholder("a", shape=("t",))
    (x, v), ys = gc.scan(lambda c, u: ((c[0] + 0.1 * c[1], c[1] - gc.sin(c[0]) * u), c[0] * c[1]), (0.3, 0.0), a)
    f = gc.function([a], [x, v, ys, gc.grad(x + gc.sum(ys), a)])
    assert loop_kernels(f) == 2 and "call_i64" not in f.source.kernels
    assert "carry0 = next0" in f.source.kernels
    r = gc.function([a], [x, v, ys, gc.grad(x + gc.sum(ys), a)], mode="reference")
    for steps in (0, 1, 2, 7, 8):
        (given,) = draw((steps,))
        for got, wanted in zip(f(given), r(given), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("mode", ["compiled", "debug"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_where_carries_live(mode: Any, reverse: bool, steps: int) -> None:
    """Final, stacked before and stacked after, of one carry, in every combination and as results of the program."""
    a = gc.placeholder("a", shape=("t", 3))
    final, (given, received) = gc.scan(lambda c, x: (c * x + 1, (c * x + 1, c)), gc.zeros(3), a, reverse=reverse)
    scalar, sums = gc.scan(lambda c, x: (c + gc.sum(x), c + gc.sum(x)), 0.5, a, reverse=reverse)
    choices = [[final], [given], [received], [final, given], [final, received, gc.exp(received)], [given, received]]
    choices += [[given * 2, received * 2, final], [scalar], [sums], [scalar, sums], [scalar, sums * 2]]
    (x,) = draw((steps, 3))
    for outputs in choices:
        f, r = gc.function([a], outputs, mode=mode), gc.function([a], outputs, mode="reference")
        for got, wanted in zip(f(x), r(x), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-15)


def test_a_stacked_carry_is_not_copied_at_every_step() -> None:
    a = gc.placeholder("a", shape=("t", 3))
    last, ys = gc.scan(lambda c, x: (gc.tanh(c + x), gc.tanh(c + x)), gc.zeros(3), a)
    f = gc.function([a], gc.grad(gc.sum(ys * ys) + gc.sum(last), a))
    assert [names.count("copy") for names in bodies(f)] == [0, 0]


@pytest.mark.parametrize("mode", MODES)
def test_until_stops_pads_and_counts(mode: Any) -> None:
    a = gc.placeholder("a", shape=("t",))
    last, ys, count = gc.scan(lambda c, x: (c + gc.sin(x), {"c": c * x}), 0.0, a, until=lambda c: c > 1.0)
    loss = last * last + gc.sum(ys["c"])
    f = gc.function([a], [last, ys["c"], count, gc.grad(loss, a)], mode=mode)
    given = np.linspace(0.1, 2, 8)
    total, steps, seen = 0.0, 0, np.zeros(8)
    while total <= 1.0:
        seen[steps] = total * given[steps]
        total, steps = total + np.sin(given[steps]), steps + 1
    got = f(given)
    assert int(got[2]) == steps < 8
    np.testing.assert_allclose(got[0], total, rtol=1e-14)
    np.testing.assert_allclose(got[1], seen, rtol=1e-14)
    assert got[3][: steps - 1].all() and not got[3][steps:].any()
    assert int(f(given[:2])[2]) == 2 and int(f([])[2]) == 0
    gc.check_grad(loss, a, {a: given})
    gc.check_grad(gc.sum(gc.sin(gc.grad(loss, a))), a, {a: given})


def test_until_works_backwards() -> None:
    a = gc.placeholder("a", shape=("t",))
    last, ys, count = gc.scan(lambda c, x: (c + x, x), 0.0, a, reverse=True, until=lambda c: c >= 3.0)
    got = gc.function([a], [last, ys, count])([5.0, 1.0, 2.0, 1.0])
    assert (float(got[0]), int(got[2])) == (3.0, 2)
    np.testing.assert_array_equal(got[1], [0, 0, 2, 1])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpoint", [1, 3, 4, 100, "sqrt"])
def test_checkpoints_change_no_value(reverse: bool, checkpoint: Any) -> None:
    def cell(c: Any, x: gc.Node) -> tuple[Any, gc.Node]:
        return (gc.tanh(c[0] @ W + x @ U), c[1] * 0.9), c[0] * c[1]

    def program(**options: Any) -> list[gc.Node]:
        (h, c), ys = gc.scan(cell, (H0, 2.0), XS, reverse=reverse, **options)
        loss = gc.sum(h) * c + gc.sum(gc.square(ys))
        return [h, ys, *gc.grad(loss, [XS, H0, W, U])]

    f, plain = (gc.function([XS, H0, W, U], program(**options)) for options in ({"checkpoint": checkpoint}, {}))
    for steps in (0, 1, 2, 9, 12):
        arrays = draw((steps, 3), (4,), (4, 4), (3, 4))
        for got, wanted in zip(f(*arrays), plain(*arrays), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


def test_checkpoints_take_less_memory_and_compute_the_body_once_more() -> None:
    a, w = gc.placeholder("a", shape=(400, 50)), gc.placeholder("w", shape=(50,))

    def gradient(checkpoint: Any) -> gc.Function:
        last, _ = gc.scan(lambda c, x: (gc.tanh(c * w + x), None), gc.zeros(50), a, checkpoint=checkpoint)
        return gc.function([a, w], gc.grad(gc.sum(last), w)).compile()

    plain, saved = gradient(None), gradient("sqrt")
    assert saved.plan.peak_bytes < 0.2 * plain.plan.peak_bytes
    assert "20 chunks of 20 steps" in str(saved.plan) and "chunks" not in str(plain.plan)
    forward, adjoint = (n.op for n in saved.optimized.nodes if isinstance(n.op, gc.ops.control.Scan))
    inner = [n.op for n in adjoint.body.nodes if isinstance(n.op, gc.ops.control.Scan)]
    assert (forward.length, forward.chunk, adjoint.chunk, len(inner)) == (20, 20, 20, 2)


def test_associative_scan() -> None:
    a = gc.placeholder("a", shape=(2, "n"))
    rows = draw((2, 6))[0]
    for reverse in (False, True):
        pair = gc.associative_scan(
            lambda p, q: (p[0] * q[0], p[1] * q[0] + q[1]), (gc.exp(a), a), axis=1, reverse=reverse
        )
        loss = gc.sum(pair[1] * pair[0])
        got = gc.function([a], [*pair, gc.grad(loss, a)])(rows)
        order = slice(None, None, -1) if reverse else slice(None)
        factor, value = np.exp(rows)[:, order], rows[:, order].copy()
        for i in range(1, 6):
            value[:, i] += value[:, i - 1] * factor[:, i]
        np.testing.assert_allclose(got[0], np.cumprod(factor, axis=1)[:, order], rtol=1e-13)
        np.testing.assert_allclose(got[1], value[:, order], rtol=1e-12, atol=1e-14)
        gc.check_grad(loss, a, {a: rows})
        assert gc.function([a], pair[0])(np.zeros((2, 0))).shape == (2, 0)


def test_carries_and_branches_are_compared_by_structure() -> None:
    init = {"h": 0.0, "c": gc.zeros(3)}
    after, _ = gc.scan(lambda c, _: ({"c": c["c"] + 1, "h": c["h"] + 2}, None), init, length=2)
    assert list(after) == ["h", "c"] and float(after["h"].eval()) == 4.0
    with pytest.raises(gc.ArgumentError, match=r"takes {h: f64\[\], c: f64\[3\]} and returns {h: f64\[\], k: i64\[\]}"):
        gc.scan(lambda c, _: ({"h": c["h"], "k": gc.constant(1)}, None), init, length=2)


@pytest.mark.parametrize("mode", MODES)
def test_loops_over_the_same_steps_run_side_by_side(mode: Any) -> None:
    a, b = gc.placeholder("a", shape=("t",)), gc.placeholder("b", shape=("t",))
    first, ys = gc.scan(lambda c, x: (gc.sin(c + x), c), 0.0, a)
    second, zs = gc.scan(lambda c, xy: (gc.cos(c * xy[0] + xy[1]), c * c), 1.0, (a, b))
    third, _ = gc.scan(lambda c, x: (gc.tanh(c + x * first), None), 0.0, b)
    outputs = [first, second, ys, zs, third, *gc.grad(first * second + third + gc.sum(zs * ys), [a, b])]
    f = gc.function([a, b], outputs, mode=mode)
    x, y = draw((6,), (6,))
    for got, wanted in zip(f(x, y), gc.evaluate(outputs, {a: x, b: y}), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)
    if mode != "reference":
        loops = [n.op for n in f.optimized.nodes if isinstance(n.op, gc.ops.control.Scan)]
        assert len(loops) == 4  # two forward, as the third needs the first, and two adjoints
        assert sum(isinstance(n.op, gc.ops.control.Scan) for n in f.graph.nodes) >= 6


def test_a_shift_register_of_a_named_size() -> None:
    """`max(n - 1, 0) + 1` elements are n, which a call checks."""
    x = gc.placeholder("x", shape=("n",))
    shifted = gc.scan(lambda c, v: (gc.concat([gc.stack([v]), c[:-1]]), c[-1]), x, x)[1]
    f = gc.function([x], shifted)
    assert f([1.0, 2.0, 3.0]).tolist() == [3.0, 2.0, 1.0]
    with pytest.raises(gc.ShapeError, match="needs them equal"):
        f([])


NO_STEPS: dict[str, Callable[[gc.Node], gc.Node]] = {
    "of what is outside": lambda v: gc.fori_loop(0, 0, lambda i, c: c + gc.max(v), 0.5),
    "a position": lambda v: gc.fori_loop(0, 0, lambda i, c: c + 0.5 * gc.argmax(v), 0.5),
    "of the step's row": lambda v: gc.scan(lambda c, t: (c + gc.min(v * t), None), 0.5, v)[0],
    "of a carry": lambda v: 0.5 + gc.sum(gc.fori_loop(0, 0, lambda i, c: c * gc.max(c), v)),
    "inside a loop inside": lambda v: gc.fori_loop(
        0, 0, lambda i, c: c + gc.fori_loop(0, 2, lambda j, d: d + gc.max(v), c), 0.5
    ),
}


@pytest.mark.parametrize("mode", ["compiled", "reference", "debug"])
@pytest.mark.parametrize("name", NO_STEPS)
def test_a_loop_without_steps_takes_no_largest_element(name: str, mode: Any) -> None:
    v = gc.placeholder("v", shape=("n",))
    f = gc.function([v], NO_STEPS[name](v), mode=mode, on_unused="ignore")
    assert f(np.zeros(0)) == 0.5
    one = gc.function([v], gc.fori_loop(0, 1, lambda i, c: c + gc.max(v), 0.5), mode=mode)
    with pytest.raises(gc.ShapeError, match="empty axis"):
        one(np.zeros(0))
