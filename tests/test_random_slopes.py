"""Derivatives of samples by parameters: the implicit ones against mpmath and SciPy, their effect on expectations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import graphc as gc
from graphc.graph.types import Array
from graphc.ops.random_slopes import loggamma_slope, truncated_slopes, vonmises_slope
from graphc.random import Generator

INF = float("inf")


def gamma_slope_by_mpmath(x: float, a: float) -> float:
    """Return d log(x) / da = -(dP/da) / (x dP/dx), the derivative of P by differences of 60 digits."""
    with mp.workdps(60):
        exact, h = mp.mpf(x), mp.mpf(10) ** -20

        def side(shape: Any) -> Any:  # the smaller side of the distribution function, which keeps its digits
            upper = mp.gammainc(shape, exact, mp.inf, regularized=True)
            return -upper if upper < 0.5 else 1 - upper

        density = mp.exp((mp.mpf(a) - 1) * mp.log(exact) - exact - mp.loggamma(a))
        return float(-(side(a + h) - side(a - h)) / (2 * h * density * exact))


@pytest.mark.parametrize("a", [1e-3, 0.1, 0.9, 1.0, 1.6, 7.0, 40.0, 500.0])
def test_gamma_slopes(a: float) -> None:
    chances = np.array([1e-9, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-6])
    points = scipy.special.gammaincinv(a, chances)
    points = np.concatenate([points[points > 1e-200], [a + 0.99, a + 1.01]])
    x = gc.constant(points)
    found = loggamma_slope(x, gc.log(x), gc.constant(np.full(len(points), a))).eval()
    np.testing.assert_allclose(found, [gamma_slope_by_mpmath(v, a) for v in points], rtol=2e-12)


def test_gamma_slopes_where_the_number_has_become_zero() -> None:
    log_x, a = np.array([-5e3, -1e5]), np.array([1e-3, 1e-5])
    found = loggamma_slope(gc.constant(np.zeros(2)), gc.constant(log_x), gc.constant(a)).eval()
    np.testing.assert_allclose(found, (scipy.special.digamma(a + 1) - log_x) / a, rtol=1e-12)


def test_gamma_slopes_of_large_shapes() -> None:
    """From the expansion of a gamma quantile in 1 / sqrt(a) (Cornish and Fisher 1938)."""
    a, z = np.repeat([1e6, 1e9, 1e12], 3), np.tile([-3.0, 0.0, 2.5], 3)
    x = a + z * np.sqrt(a) + (z * z - 1) / 3 + (z**3 - 7 * z) / (36 * np.sqrt(a))
    expected = 1 + z / (2 * np.sqrt(a)) - (z**3 - 7 * z) / (72 * a**1.5)
    node = gc.constant(x)
    found = x * loggamma_slope(node, gc.log(node), gc.constant(a)).eval()
    np.testing.assert_allclose(found, expected, rtol=1e-8)


TRUNCATED = [
    (-0.5, -1, 1),
    (0.3, -1, 9),
    (0.2, 0.1, 0.3),
    (3.1, 3, INF),
    (30.02, 30, INF),
    (-8.2, -9, -8),
    (-50.01, -100, -50),
    (2.00005, 2, 2.0001),
    (1, -INF, 2),
    (-3, -INF, INF),
    (1.9, -40, 2),
]


@pytest.mark.parametrize("point", TRUNCATED)
def test_truncated_slopes(point: tuple[float, ...]) -> None:
    x, a, b = point
    found = [float(s.eval()) for s in truncated_slopes(*(gc.constant(float(v)) for v in point))]
    with mp.workdps(1200):
        cdf = {v: mp.erf(mp.mpf(v) / mp.sqrt(2)) for v in point}
        density = {v: mp.exp(-(mp.mpf(v) ** 2) / 2) for v in point}
        of_low, of_high = density[a] * (cdf[b] - cdf[x]), density[b] * (cdf[x] - cdf[a])
        expected = [float(v / density[x] / (cdf[b] - cdf[a])) for v in (of_low, of_high)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(
    ("z", "kappa"), [(0.5, 2), (-2.5, 2), (0.01, 2), (3.1, 0.01), (1, 0), (0.02, 1e4), (0.001, 1e4), (3.0, 5)]
)
def test_vonmises_slopes(z: float, kappa: float) -> None:
    found = float(vonmises_slope(gc.constant(np.tan(z / 2)), gc.constant(float(kappa))).eval())
    with mp.workdps(30):
        mean = mp.besseli(1, kappa) / mp.besseli(0, kappa)
        part = mp.quad(lambda t: (mean - mp.cos(t)) * mp.exp(kappa * (mp.cos(t) - mp.cos(z))), mp.linspace(0, z, 5))
        expected = float(part / (2 * mp.cos(mp.mpf(z) / 2) ** 2))
    assert found == pytest.approx(expected, rel=1e-12)


def test_slopes_can_be_differentiated_again() -> None:
    """A slope is a function of the number and the parameters; its gradient against central differences."""
    x, a, b = (gc.placeholder(n, shape=(4,)) for n in "xab")
    points = {x: [0.3, 1.9, 2.6, 4.0], a: [0.5, 1.0, 2.5, 2.9]}
    gc.check_grad(gc.sum(loggamma_slope(x, gc.log(x), a)), [x, a], points)
    bounds = {x: [0.3, 1.2, -1.0, 3.2], a: [-0.5, 0.4, -2.0, 3.0], b: [1.0, 2.0, -0.6, 9.0]}
    for slope in truncated_slopes(x, a, b):
        gc.check_grad(gc.sum(slope), [x, a, b], bounds)
    gc.check_grad(gc.sum(vonmises_slope(x, a)), [x, a], {x: [0.1, -0.4, 1.5, 3.0], a: [2.0, 0.5, 3.0, 1.0]})


# -- through the draws

COUNT = 60_000
T = scipy.stats.t


def differences(function: Callable[[float], float], at: float) -> float:
    h = 1e-5
    return (function(at + h) - function(at - h)) / (2 * h)


# Draw, what is averaged, the parameters, and the derivative of the expectation by each.
EXPECTATIONS: dict[str, tuple[Callable[..., gc.Node], Callable[[gc.Node], gc.Node], list[float], list[float]]] = {
    "gamma": (lambda r, n, a: r.gamma(n, a=a), lambda x: x * x, [2.3], [2 * 2.3 + 1]),
    "gamma, small": (lambda r, n, a: r.gamma(n, a=a, scale=2.0), lambda x: x, [0.2], [2.0]),
    "beta": (lambda r, n, a, b: r.beta(n, a=a, b=b), lambda x: x, [0.7, 1.8], [1.8 / 6.25, -0.7 / 6.25]),
    "chi2": (lambda r, n, df: r.chi2(n, df=df), lambda x: x, [3.0], [1.0]),
    "student_t": (
        lambda r, n, df: r.student_t(n, df=df),
        lambda x: gc.abs(x),
        [6.0],
        [differences(lambda v: 2 * T(v).pdf(0) * v / (v - 1), 6.0)],
    ),
    "truncated_normal": (
        lambda r, n, low, high, mean, std: r.truncated_normal(n, low=low, high=high, mean=mean, std=std),
        lambda x: x,
        [-0.5, 2.0, 0.4, 1.5],
        [
            differences(lambda v: float(scipy.stats.truncnorm((v - 0.4) / 1.5, 1.6 / 1.5, 0.4, 1.5).mean()), -0.5),
            differences(lambda v: float(scipy.stats.truncnorm(-0.9 / 1.5, (v - 0.4) / 1.5, 0.4, 1.5).mean()), 2.0),
            differences(lambda v: float(scipy.stats.truncnorm((-0.5 - v) / 1.5, (2 - v) / 1.5, v, 1.5).mean()), 0.4),
            differences(lambda v: float(scipy.stats.truncnorm(-0.9 / v, 1.6 / v, 0.4, v).mean()), 1.5),
        ],
    ),
    "vonmises": (
        lambda r, n, k: r.vonmises(n, kappa=k),
        lambda x: gc.cos(x),
        [1.7],
        [differences(lambda k: float(scipy.special.i1e(k) / scipy.special.i0e(k)), 1.7)],
    ),
}


SINGLE = ("gamma, small", "beta", "truncated_normal")


@pytest.mark.parametrize(
    ("name", "dtype"), [*((n, "float64") for n in EXPECTATIONS), *((n, "float32") for n in SINGLE)]
)
def test_mean_slopes_are_slopes_of_the_mean(name: str, dtype: str) -> None:
    build, statistic, values, expected = EXPECTATIONS[name]
    wrt = [gc.placeholder(f"p{i}", shape=(COUNT,), dtype=dtype) for i in range(len(values))]
    total = gc.sum(statistic(build(Generator(31), None, *wrt)))
    slopes = gc.function(wrt, gc.grad(total, wrt))(*(np.full(COUNT, v, dtype) for v in values))
    for slope, exact in zip(slopes, expected, strict=True):
        assert slope.dtype == dtype and np.isfinite(slope).all()
        assert abs(slope.mean() - exact) < 4 * slope.std() / np.sqrt(COUNT)


def test_dirichlet_slopes() -> None:
    alpha = gc.placeholder("alpha", shape=(COUNT // 4, 3))
    given = np.array([0.4, 1.0, 2.1])
    f = gc.function([alpha], gc.grad(gc.sum(Generator(2).dirichlet(alpha)[:, 0]), alpha))
    slopes: Array = f(np.broadcast_to(given, (COUNT // 4, 3)))
    total = given.sum()
    expected = (np.array([total, 0, 0]) - given[0]) / total**2
    assert (np.abs(slopes.mean(0) - expected) < 4 * slopes.std(0) / np.sqrt(len(slopes))).all()


def test_a_zero_gamma_has_a_zero_slope() -> None:
    a = gc.placeholder("a")
    rng = Generator(2)
    x = rng.gamma((64,), a=a)
    value, slope = gc.function([a], [x, gc.grad(gc.sum(x), a)])(1e-6)
    assert not value.any() and slope == 0


def test_integers_have_zero_slopes() -> None:
    lam = gc.placeholder("lam")
    loss = gc.sum(gc.astype(Generator(1).poisson((3,), lam=lam), "float64") * lam)
    value, slope = gc.evaluate([loss, gc.grad(loss, lam)], {lam: 3.0})
    assert slope == value / 3
