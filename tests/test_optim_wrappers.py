"""Clipping, accumulation, averages of parameters, and L-BFGS."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import graphc as gc
from graphc.graph.types import Array
from graphc.optim import LBFGS, SGD, Accumulate, Adam, AdamW, ExponentialMovingAverage, NAdam, StepLR

# -- clipping


def test_clip_by_value_keeps_the_nesting() -> None:
    grads = {"a": gc.constant([3.0, -0.5]), "b": [gc.constant(np.float32(-7))]}
    clipped = gc.optim.clip_by_value(grads, 1.0)
    np.testing.assert_array_equal(clipped["a"].eval(), [1.0, -0.5])
    assert clipped["b"][0].eval() == -1 and clipped["b"][0].dtype == np.float32


@pytest.mark.parametrize("limit", [0.1, 5.0, 1e6])
def test_clip_by_global_norm_scales_all_together(limit: float) -> None:
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(4, 3)), rng.normal(size=5), np.asarray(rng.normal())]
    norm = float(np.linalg.norm(np.concatenate([v.ravel() for v in values])))
    a, b, c = (gc.constant(v) for v in values)
    assert gc.optim.global_norm({"a": a, "b": [b, c]}).eval() == pytest.approx(norm, rel=1e-14)
    clipped = gc.optim.clip_by_global_norm({"a": a, "b": [b, c]}, limit)
    for node, value in zip((clipped["a"], *clipped["b"]), values, strict=True):
        np.testing.assert_allclose(node.eval(), value * min(1.0, limit / (norm + 1e-6)), rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_of_float32_neither_overflow_nor_vanish(scale: float) -> None:
    g = gc.placeholder("g", shape=(2,), dtype="float32")
    f = gc.function(g, gc.optim.clip_by_global_norm([g], 5.0 * 1e-6))
    (clipped,) = f(np.array([3 * scale, 4 * scale], "float32"))
    factor = min(1.0, 5e-6 / (5 * scale + 1e-6))
    np.testing.assert_allclose(clipped, np.array([3.0, 4.0]) * scale * factor, rtol=1e-6)


def test_an_optimiser_clips_by_value_and_then_by_norm() -> None:
    w = gc.shared(np.zeros(3), name="w")
    step = gc.function(
        [], [], updates=SGD(1.0, clip_value=4.0, clip_norm=1.0).updates(gc.sum(w * [100.0, 3.0, 0.0]), w)
    )
    step()
    np.testing.assert_allclose(w.get_value(), [-0.8, -0.6, 0.0], rtol=1e-6)


def test_clipping_refuses_negative_limits_and_no_gradients() -> None:
    with pytest.raises(gc.ArgumentError, match="clip_by_value: the limit must be at least 0, got -1"):
        gc.optim.clip_by_value([gc.constant(1.0)], -1)
    with pytest.raises(gc.ArgumentError, match="clip_by_global_norm: the limit must be at least 0, got nan"):
        gc.optim.clip_by_global_norm([gc.constant(1.0)], float("nan"))
    with pytest.raises(gc.ArgumentError, match="global_norm: no gradients"):
        gc.optim.global_norm([])


# -- accumulation


def regression(rows: int) -> tuple[Array, Array, gc.Node, gc.Node, gc.Shared, gc.Node]:
    rng = np.random.default_rng(2)
    x, y = gc.placeholder("x", shape=("n", 3)), gc.placeholder("y", shape=("n",))
    w = gc.shared(rng.normal(size=3), name="w")
    return rng.normal(size=(rows, 3)), rng.normal(size=rows), x, y, w, gc.mean((x @ w - y) ** 2)


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("make", [lambda: AdamW(StepLR(0.1, 1)), lambda: NAdam(0.1, clip_norm=0.5)])
def test_micro_batches_make_the_step_of_the_whole_batch(make: Callable[[], Any], mode: Any) -> None:
    xs, ys, x, y, w, loss = regression(24)
    start = w.get_value()
    whole = make()
    step = gc.function([x, y], [], updates=whole.updates(loss, w), mode=mode)
    for i in range(2):
        step(xs[i * 12 : i * 12 + 12], ys[i * 12 : i * 12 + 12])
    expected = w.get_value()
    w.set_value(start)
    parts = Accumulate(make(), steps=3)
    step = gc.function([x, y], [], updates=parts.updates(loss, w), mode=mode)
    for i in range(6):
        before = w.get_value()
        step(xs[i * 4 : i * 4 + 4], ys[i * 4 : i * 4 + 4])
        assert (w.get_value() == before).all() == (i % 3 != 2)
        assert parts.state_dict()["w.step"] == (i + 1) // 3
    np.testing.assert_allclose(w.get_value(), expected, rtol=1e-12)
    state = parts.state_dict()
    for name, value in whole.state_dict().items():
        np.testing.assert_allclose(state[name], value, rtol=1e-12)
    assert state["w.micro_step"] == 0 and (state["w.accumulated"] == 0).all()


def test_an_infinite_gradient_is_forgotten_after_its_step() -> None:
    w, x = gc.shared(1.0, name="w"), gc.placeholder("x")
    optimizer = Accumulate(SGD(1.0), 2)
    step = gc.function([x], [], updates=optimizer.updates(w * x, w))
    for value in (np.inf, -np.inf):
        step(value)
    assert np.isnan(w.get_value())
    w.set_value(1.0)
    for value in (1.0, 1.0):
        step(value)
    assert w.get_value() == 0.0


# -- averages


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("warmup", [False, True])
def test_averages_follow_their_definition(warmup: bool, mode: Any) -> None:
    w, x = gc.shared(np.array([1.0, 2.0], "float32"), name="w"), gc.placeholder("x", shape=(2,), dtype="float32")
    average = ExponentialMovingAverage(SGD(0.5), decay=0.9, warmup=warmup)
    step = gc.function([x], [], updates=average.updates(gc.sum(w * x), w), mode=mode)
    expected = w.get_value().astype(float)
    rng = np.random.default_rng(0)
    for t in range(1, 8):
        step(rng.normal(size=2).astype("float32"))
        decay = min(0.9, t / (t + 9)) if warmup else 0.9
        expected = decay * expected + (1 - decay) * w.get_value()
        np.testing.assert_allclose(average.state_dict()["w.average"], expected, rtol=1e-5)
    now = w.get_value()
    output = gc.function([], w * 1.0, givens=average.givens())
    np.testing.assert_allclose(output(), expected, rtol=1e-5)
    np.testing.assert_array_equal(w.get_value(), now)
    average.copy_to_parameters()
    np.testing.assert_array_equal(w.get_value(), output())


def test_wrappers_nest_and_share_one_state() -> None:
    xs, ys, x, y, w, loss = regression(8)
    inside = Adam(0.1)
    optimizer = Accumulate(ExponentialMovingAverage(inside, 0.5), 2)
    step = gc.function([x, y], [], updates=optimizer.updates(loss, {"layer": {"w": w}}))
    slots = ("step", "exp_avg", "exp_avg_sq", "average", "micro_step", "accumulated")
    names = [f"layer.w.{slot}" for slot in slots]
    assert sorted(optimizer.state_dict()) == sorted(names) == sorted(inside.state_dict())
    start = w.get_value()
    step(xs, ys)
    np.testing.assert_array_equal(optimizer.state_dict()["layer.w.average"], start)
    step(xs, ys)
    np.testing.assert_allclose(optimizer.state_dict()["layer.w.average"], (start + w.get_value()) / 2, rtol=1e-12)


def test_wrappers_refuse_what_they_cannot_wrap() -> None:
    with pytest.raises(gc.ArgumentError, match="Accumulate: an optimiser is needed, got float"):
        Accumulate(0.1, 2)  # type: ignore[arg-type]
    with pytest.raises(gc.ArgumentError, match="Accumulate: steps must be an int, at least 1, got 0"):
        Accumulate(SGD(0.1), 0)
    with pytest.raises(gc.ArgumentError, match="Accumulate: there is another one inside"):
        Accumulate(ExponentialMovingAverage(Accumulate(SGD(0.1), 2)), 2)
    with pytest.raises(gc.ArgumentError, match=r"decay must be in \[0, 1\)"):
        ExponentialMovingAverage(SGD(0.1), decay=1.0)
    with pytest.raises(gc.ArgumentError, match="is not averaged; call updates first"):
        ExponentialMovingAverage(SGD(0.1)).average(gc.shared(1.0, name="w"))


# -- L-BFGS


def rosenbrock(x: gc.Node, y: gc.Node) -> gc.Node:
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def test_lbfgs_finds_the_minimum_of_rosenbrocks_function() -> None:
    x, y = gc.shared(-1.2, name="x"), gc.shared(np.ones(1), name="y")
    found = LBFGS().function([], gc.sum(rosenbrock(x, y)), {"x": x, "nested": [y]})()
    assert found.converged and found.loss < 1e-12 and found.iterations < 60 and found.evaluations >= found.iterations
    np.testing.assert_allclose([x.get_value(), y.get_value()[0]], [1, 1], rtol=1e-5)


def test_lbfgs_takes_data_as_a_function_does_and_starts_where_the_parameters_are() -> None:
    xs, ys, x, y, w, _ = regression(30)
    labels = (ys > 0).astype(float)
    b = gc.shared(np.float32(0.0), name="b")
    scores = x @ w + b.astype("float64")
    loss = gc.mean(gc.softplus(scores) - y * scores) + 0.01 * gc.sum(w * w)
    fit = LBFGS().function({"x": x, "y": y}, loss, [w, b], mode="reference")
    found = fit(x=xs, y=labels)

    def objective(v: Array) -> float:
        s = xs @ v[:3] + v[3]
        return float(np.mean(np.logaddexp(0, s) - labels * s) + 0.01 * np.sum(v[:3] ** 2))

    expected = minimize(objective, np.zeros(4), method="BFGS", options={"gtol": 1e-7})
    assert found.converged
    np.testing.assert_allclose(found.loss, expected.fun, rtol=1e-8)
    np.testing.assert_allclose(w.get_value(), expected.x[:3], atol=1e-4)
    assert b.dtype == np.float32 and b.get_value() == pytest.approx(expected.x[3], abs=1e-4)
    assert fit(x=xs, y=labels).iterations <= 2


def test_lbfgs_stays_inside_bounds() -> None:
    x, y = gc.shared(np.zeros(2), name="x"), gc.shared(0.0, name="y")
    loss = gc.sum((x - [3.0, -3.0]) ** 2) + (y - 5) ** 2
    found = LBFGS().function([], loss, [x, y], bounds={x: ([-1.0, -2.0], 1.0), y: (6.0, None)}, mode="reference")()
    assert found.converged
    np.testing.assert_allclose(x.get_value(), [1.0, -2.0])
    assert y.get_value() == 6.0


def test_lbfgs_stops_at_its_limits() -> None:
    x, y = gc.shared(-1.2, name="x"), gc.shared(1.0, name="y")
    found = LBFGS(max_iter=3).function([], rosenbrock(x, y), [x, y], mode="reference")()
    assert found.iterations == 3 and not found.converged and "ITERATIONS" in found.message.upper()
    assert rosenbrock(x, y).eval() == pytest.approx(found.loss)


def test_lbfgs_keeps_the_last_iterate_when_it_is_interrupted() -> None:
    x, y = gc.shared(-1.2, name="x"), gc.shared(1.0, name="y")
    fit = LBFGS().function([], rosenbrock(x, y), [x, y], mode="reference")
    objective: Any = fit.objective
    calls = iter(range(8))

    def interrupted(*args: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return objective(*args)

    fit.objective = interrupted  # type: ignore[assignment]
    before = float(rosenbrock(x, y).eval())
    with pytest.raises(KeyboardInterrupt):
        fit()
    assert rosenbrock(x, y).eval() < before


P, Q = gc.shared(np.ones(2), name="p"), gc.shared(1.0, name="q")
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "not 0-d": (lambda: LBFGS().function([], P * P, P), gc.GradientError, r"loss must be a 0-d float, got f64\[2\]"),
    "no node": (lambda: LBFGS().function([], 1.0, P), gc.ArgumentError, "loss must be a node, got float"),  # type: ignore[arg-type]
    "not shared": (lambda: LBFGS().function([], Q * Q, [Q * 1]), gc.ArgumentError, "parameter 0 is not shared"),
    "stranger": (
        lambda: LBFGS().function([], Q * Q, Q, bounds={P: (0, 1)}),
        gc.ArgumentError,
        "bounds for p: .*not among",
    ),
    "crossed": (
        lambda: LBFGS().function([], Q * Q, Q, bounds={Q: (1, 0)}),
        gc.ArgumentError,
        "low must not exceed high",
    ),
    "bound shape": (
        lambda: LBFGS().function([], gc.sum(P), P, bounds={P: (np.zeros(3), None)}),
        gc.ShapeError,
        r"bounds of p: shape \(3,\) does not fit f64\[2\]",
    ),
    "iterations": (lambda: LBFGS(max_iter=0), gc.ArgumentError, "LBFGS: max_iter must be an int, at least 1, got 0"),
    "tolerance": (lambda: LBFGS(gtol=-1.0), gc.ArgumentError, r"gtol must be in \[0, inf\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_cause_and_the_line(name: str) -> None:
    build, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message) as error:
        build()
    assert re.search(r"\[test_optim_wrappers\.py:\d+\]$", str(error.value))
