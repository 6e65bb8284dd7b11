"""`gc.nn.init`: variances and bounds by the papers' formulas, orthogonality, determinism, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

import graphc as gc

init = gc.nn.init
SHAPE = (60, 40, 5, 5)
INPUTS, OUTPUTS = 40 * 25, 60 * 25

VARIANCES: dict[str, tuple[Callable[..., Any], float]] = {
    "glorot_uniform": (init.glorot_uniform, 2 / (INPUTS + OUTPUTS)),
    "glorot_normal": (init.glorot_normal, 2 / (INPUTS + OUTPUTS)),
    "glorot gain": (partial(init.glorot_normal, gain=3.0), 18 / (INPUTS + OUTPUTS)),
    "he_uniform": (init.he_uniform, 2 / INPUTS),
    "he_normal": (init.he_normal, 2 / INPUTS),
    "he_normal fan_out": (partial(init.he_normal, mode="fan_out"), 2 / OUTPUTS),
    "he_uniform leaky": (partial(init.he_uniform, negative_slope=0.5), 2 / 1.25 / INPUTS),
    "lecun_uniform": (init.lecun_uniform, 1 / INPUTS),
    "lecun_normal": (init.lecun_normal, 1 / INPUTS),
    "uniform": (partial(init.uniform, low=-1.0, high=3.0), 16 / 12),
    "normal": (partial(init.normal, std=0.5), 0.25),
}


@pytest.mark.parametrize("name", VARIANCES)
def test_variance(name: str) -> None:
    draw, variance = VARIANCES[name]
    x = draw(SHAPE, rng=3, dtype="float64")
    # 60,000 draws: the variance of normal numbers is known to about 0.6%; 5 of these.
    assert x.shape == SHAPE and x.var() == pytest.approx(variance, rel=0.03)
    center = 1.0 if name == "uniform" else 0.0
    assert x.mean() == pytest.approx(center, abs=5 * math.sqrt(variance / x.size))


@pytest.mark.parametrize("name", [n for n in VARIANCES if "uniform" in n])
def test_bounds_of_uniforms(name: str) -> None:
    draw, variance = VARIANCES[name]
    x = draw(SHAPE, rng=4, dtype="float64") - (1.0 if name == "uniform" else 0.0)
    limit = math.sqrt(3 * variance)
    assert 0.999 * limit < abs(x).max() <= limit


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (0.5, 1.5), (3.0, math.inf), (-math.inf, -1.0), (7.0, 8.0)])
def test_truncated_normal(low: float, high: float) -> None:
    x = init.truncated_normal((20_000,), mean=1.0, std=0.1, low=low, high=high, rng=5, dtype="float64")
    units = (x - 1.0) / 0.1
    assert units.min() >= low - 1e-12 and units.max() <= high + 1e-12
    assert stats.kstest(units, stats.truncnorm(low, high).cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (4, 2, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    q = init.orthogonal(shape, gain=2.0, rng=0, dtype="float64").reshape(shape[0], -1)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-14)


def test_orthogonal_matrices_are_uniform() -> None:
    traces = [np.trace(init.orthogonal((3, 3), rng=seed, dtype="float64")) for seed in range(400)]
    # Over the orthogonal group the trace has mean 0 and variance 1; without the signs of R its mean is not 0.
    assert abs(np.mean(traces)) < 0.15 and np.var(traces) == pytest.approx(1.0, abs=0.2)


def test_given_values() -> None:
    np.testing.assert_array_equal(init.zeros((2, 3)), np.zeros((2, 3), "float32"))
    np.testing.assert_array_equal(init.ones(4, dtype="float64"), np.ones(4))
    np.testing.assert_array_equal(init.constant((2,), 0.25), np.full(2, 0.25, "float32"))
    assert init.zeros((2,)).dtype == np.float32


def test_the_default_generator_starts_at_0() -> None:
    def draws() -> list[Any]:
        return [gc.nn.Linear(3, 2).weight.get_value(), gc.nn.init.normal((4,)), gc.nn.Dropout().rng.get_state().key]

    gc.nn.set_seed(0)
    first = draws()
    again = draws()
    gc.nn.set_seed(0)
    for a, b, c in zip(first, again, draws(), strict=True):
        assert np.all(a == c) and not np.any(a == b)
    gc.nn.set_seed(1)
    assert not np.any(draws()[0] == first[0])


def test_a_generator_or_a_seed() -> None:
    a = gc.nn.Linear(3, 2, rng=7).weight.get_value()
    b = gc.nn.Linear(3, 2, rng=np.random.default_rng(7)).weight.get_value()
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(init.normal((3,), rng=np.int64(7)), init.normal((3,), rng=7))


def test_gains() -> None:
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 1.0) == 1.0
    with pytest.raises(gc.ArgumentError, match="calculate_gain: 'sin' is unknown; accepted: linear, "):
        init.calculate_gain("sin")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: init.glorot_uniform((3,)), r"glorot_uniform: at least 2 axes \(outputs, inputs\) are needed"),
        (lambda: init.orthogonal((3,)), "orthogonal: at least 2 axes"),
        (lambda: init.normal((-1,)), r"normal: shape must be ints of at least 0, got \(-1,\)"),
        (lambda: init.normal((2,), std=-1.0), "normal: std must be at least 0, got -1.0"),
        (lambda: init.uniform((2,), 1.0, 0.0), "uniform: finite low <= high is needed, got 1.0 and 0.0"),
        (lambda: init.truncated_normal((2,), low=1.0, high=1.0), "truncated_normal: low < high is needed"),
        (lambda: init.he_normal((2, 2), mode="fan"), 'he_normal: mode must be "fan_in" or "fan_out", got \'fan\''),
        (lambda: init.normal((2,), rng="seed"), "rng must be a numpy.random.Generator, a seed"),  # type: ignore[arg-type]
        (lambda: init.normal((2,), rng=-1), "rng must be a numpy.random.Generator, a seed"),
        (lambda: init.normal((2,), dtype="int32"), "dtype must be float32 or float64, got int32"),
    ],
)
def test_refusals(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(gc.GraphcError, match=message + r".*\[test_nn_init.py:\d+\]$"):
        make()
