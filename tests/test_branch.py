"""Branches and loops of unknown length: one branch runs, derivatives, captures, signals, refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import graphc as gc

MODES = ["compiled", "reference", "debug"]
X, W = gc.placeholder("x"), gc.placeholder("w", shape=(3,))
VALUES = np.array([0.1, 0.2, 0.3])


def choice() -> gc.Node:
    y: gc.Node = gc.cond(X > 0, lambda v: gc.sum(gc.log(v) * gc.exp(W)), lambda v: gc.sum(v * W * W), X)
    return y


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("x", [2.0, -1.5])
def test_cond_and_its_gradient(mode: Any, x: float) -> None:
    y = choice()
    got = gc.function([X, W], [y, *gc.grad(y, [X, W])], mode=mode)(x, VALUES)
    if x > 0:
        wanted = [np.log(x) * np.exp(VALUES).sum(), np.exp(VALUES).sum() / x, np.log(x) * np.exp(VALUES)]
    else:
        wanted = [(x * VALUES**2).sum(), (VALUES**2).sum(), 2 * x * VALUES]
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


@pytest.mark.parametrize("x", [2.0, -1.5])
def test_second_order_and_forward_derivatives(x: float) -> None:
    y = choice()
    bindings = {X: np.float64(x), W: VALUES}
    gc.check_grad(gc.sum(gc.sin(gc.grad(y, W))), [X, W], bindings)
    (slope,) = gc.jvp([y], [W], [np.ones(3)])
    forward, backward = gc.evaluate([slope, gc.sum(gc.grad(y, W))], bindings)
    np.testing.assert_allclose(forward, backward, rtol=1e-13)


@pytest.mark.parametrize("mode", MODES)
def test_only_the_chosen_branch_runs(mode: Any) -> None:
    """The other branch would fail: its index is out of bounds."""
    i = gc.placeholder("i", dtype="int64")
    table = gc.constant([1.0, 2.0])
    f = gc.function([i], gc.cond(i < 2, lambda: gc.take(table, i), lambda: gc.constant(-1.0)), mode=mode)
    assert f(1) == 2.0 and f(7) == -1.0


@pytest.mark.parametrize("mode", MODES)
def test_switch_clamps_its_index(mode: Any) -> None:
    i = gc.placeholder("i", dtype="int64")
    branches: list[Any] = [lambda v: (v, v * 0), lambda v: (v + 1, v), lambda v: (v * 10, v @ v + v)]
    f = gc.function([i, W], gc.switch(i, branches, W), mode=mode)
    for k, wanted in ((-5, VALUES), (0, VALUES), (1, VALUES + 1), (2, VALUES * 10), (9, VALUES * 10)):
        np.testing.assert_allclose(f(k, VALUES)[0], wanted)


@pytest.mark.parametrize("mode", MODES)
def test_branches_that_return_what_they_are_given(mode: Any) -> None:
    s = gc.shared(np.ones(3), name="s")
    f = gc.function([X, W], gc.cond(X > 0, lambda: W, lambda: s), updates={s: s + W}, mode=mode)
    np.testing.assert_array_equal(f(1.0, VALUES), VALUES)
    np.testing.assert_array_equal(f(-1.0, VALUES), 1 + VALUES)


@pytest.mark.parametrize("mode", MODES)
def test_while_loop_counts_newton_steps(mode: Any) -> None:
    def step(carry: Any) -> Any:
        return 0.5 * (carry[0] + X / carry[0]), carry[1] + 1

    root, steps = gc.while_loop(lambda c: gc.abs(c[0] * c[0] - X) > 1e-12, step, (X, 0))
    f = gc.function([X], [root, steps, gc.jvp([root], [X], [1.0])[0]], mode=mode)
    for x, count in ((2.0, 5), (9.0, 6), (1.0, 0)):
        got = f(x)
        np.testing.assert_allclose(got[0], np.sqrt(x), rtol=1e-12)
        assert got[1] == count
        np.testing.assert_allclose(got[2], 0.5 / np.sqrt(x) if count else 1.0, rtol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_a_bounded_while_loop_has_reverse_derivatives(mode: Any) -> None:
    root = gc.while_loop(lambda c: gc.abs(c * c - X) > 1e-12, lambda c: 0.5 * (c + X / c), X, max_steps=12)
    value, slope = gc.function([X], [root, gc.grad(root, X)], mode=mode)(2.0)
    np.testing.assert_allclose([value, slope], [np.sqrt(2), 0.5 / np.sqrt(2)], rtol=1e-9)
    with pytest.raises(gc.GradientError, match=r"give max_steps.*test_branch.py:\d+"):
        gc.grad(gc.while_loop(lambda c: c < 10, lambda c: c * 2, X), X)


@pytest.mark.parametrize("mode", MODES)
def test_branches_inside_loops_inside_branches(mode: Any) -> None:
    v = gc.placeholder("v", shape=("n",))

    def total() -> Any:
        return gc.scan(lambda c, x: (gc.cond(x > 0, lambda: c + x * X, lambda: c * 2.0), None), 1.0, v)[0]

    y = gc.cond(X > 0, total, lambda: gc.while_loop(lambda c: c < 100, lambda c: c * 3, 1.0, max_steps=6))
    gradient = gc.grad(y, [X, v])
    f = gc.function([X, v], [y, *gradient], mode=mode)
    values = np.array([1.0, -1.0, 2.0, -3.0])
    got = f(1.5, values)
    np.testing.assert_allclose(got[0], ((1 + 1.5) * 2 + 3) * 2)
    np.testing.assert_allclose(got[1], (1 * 2 + 2) * 2)
    np.testing.assert_allclose(got[2], [1.5 * 4, 0, 1.5 * 2, 0])
    np.testing.assert_allclose(f(-1.0, values)[0], 243.0)


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows os.kill ends a process in place of sending it SIGINT")
def test_ctrl_c_ends_an_endless_loop_and_leaves_state() -> None:
    code = """
import graphc as gc, os, signal, threading
x = gc.placeholder("x")
w = gc.shared(0.0, name="w")
f = gc.function([x], gc.while_loop(lambda c: c > -1, lambda c: gc.cos(c) + x, x), updates={w: w + 1}).compile()
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    f(0.0)
except KeyboardInterrupt:
    print("interrupted", float(w.get_value()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "interrupted 0.0", done.stdout + done.stderr
    assert os.name


def test_refusals() -> None:
    refused: list[tuple[Any, type[Exception], str]] = [
        (lambda: gc.cond(X, lambda: X, lambda: X), gc.ArgumentError, "pred must be a 0-d bool"),
        (lambda: gc.cond(W > 0, lambda: X, lambda: X), gc.ArgumentError, r"0-d bool, got bool\[3\]"),
        (
            lambda: gc.cond(X > 0, lambda: {"a": X}, lambda: X),
            gc.ArgumentError,
            "true_fn returns {a: f64",
        ),
        (lambda: gc.switch(X, [lambda: X]), gc.ArgumentError, "index must be a 0-d integer"),
        (lambda: gc.switch(0, []), gc.ArgumentError, "at least one branch"),
        (
            lambda: gc.switch(0, [lambda: X, lambda: W]),
            gc.ShapeError,
            r"branch 1 returns f64\[3\], but switch",
        ),
        (lambda: gc.switch(0, [lambda: X, lambda: (X, X)]), gc.ArgumentError, r"branch 1 returns \(f64\[\], f64\[\]\)"),
        (lambda: gc.switch(0, [lambda: X, lambda: 1]), gc.DTypeError, r"branch 1 returns i64\[\]"),
        (lambda: gc.while_loop(lambda c: c, lambda c: c, X), gc.ArgumentError, "cond_fun must return a 0-d bool"),
        (lambda: gc.while_loop(lambda c: c < 1, lambda c: W, X), gc.ShapeError, "body_fun changes the shape"),
        (lambda: gc.while_loop(lambda c: c < 1, lambda c: c, X, max_steps=-1), gc.ArgumentError, "max_steps"),
    ]
    for build, kind, message in refused:
        with pytest.raises(kind, match=message) as caught:
            build()
        assert "test_branch.py:" in str(caught.value)
