"""The error functions' logarithms and quotients: three derivatives in the tails, and the probit likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.graph.node import Node

POINTS = np.array([-1e8, -1e4, -300.0, -37.5, -20.0, -5.0, -1.0, -0.3, 1e-9, 0.4, 0.6, 1.0, 3.0, 8.0, 20.0, 100.0, 1e4])


def log_ndtr(x: Any) -> Any:
    return mpmath.log(mpmath.erfc(-x / mpmath.sqrt(2)) / 2)


def log_upper(x: Any) -> Any:
    return log_ndtr(-x)


def log_erfc(x: Any) -> Any:
    return mpmath.log(mpmath.erfc(x))


def scaled(x: Any) -> Any:
    return mpmath.exp(x * x) * mpmath.erfc(x)


ROOT = float(np.sqrt(0.5))
SPELLINGS: list[tuple[str, Callable[[Node], Node], Callable[[Any], Any], float, float]] = [
    ("log ndtr", lambda x: gc.log(gc.special.ndtr(x)), log_ndtr, -1e4, 30),
    ("log ndtr by erfc", lambda x: gc.log(0.5 * gc.special.erfc(-x * ROOT)), log_ndtr, -1e4, 3),
    ("log ndtr by erf", lambda x: gc.log(0.5 * (1 + gc.special.erf(x * ROOT))), log_ndtr, -1e4, 3),
    ("log (1 - ndtr)", lambda x: gc.log(1 - gc.special.ndtr(x)), log_upper, -30, 1e4),
    ("log1p -ndtr", lambda x: gc.log1p(-gc.special.ndtr(x)), log_upper, -30, 1e4),
    ("log_ndtr", gc.special.log_ndtr, log_ndtr, -1e4, 30),
    ("log erfc", lambda x: gc.log(gc.special.erfc(x)), log_erfc, -5, 1e4),
    ("log (1 - erf)", lambda x: gc.log(1 - gc.special.erf(x)), log_erfc, -5, 1e4),
    ("erfcx", lambda x: gc.special.erfc(x) * gc.exp(x**2), scaled, -20, 1e4),
    ("erfcx by a quotient", lambda x: gc.special.erfc(x) / gc.exp(-(x**2)), scaled, -20, 1e4),
]


@pytest.mark.parametrize(
    ("formula", "true", "low", "high"), [pytest.param(f, t, a, b, id=name) for name, f, t, a, b in SPELLINGS]
)
@pytest.mark.parametrize("reference", [False, True])
def test_two_derivatives(
    formula: Callable[[Node], Node], true: Callable[[Any], Any], low: float, high: float, reference: bool
) -> None:
    x = gc.placeholder("x", ("n",))
    value, slope = gc.value_and_grad(gc.sum(formula(x)), x)
    outputs = [formula(x), slope, gc.grad(gc.sum(slope), x)]
    points = POINTS[(low <= POINTS) & (high >= POINTS)]
    f = gc.function([x], outputs, mode="reference") if reference else gc.function([x], outputs)
    found = f(points)
    if reference:  # as written: the value itself underflows
        found = [value.eval({x: points}) * 0, *found[1:]]
    for i, point in enumerate(points):
        with mpmath.workdps(400 if abs(point) < 30 else 100):
            h = mpmath.mpf(10) ** -(130 if abs(point) < 30 else 18)
            p = mpmath.mpf(float(point))
            here, behind, ahead = true(p), true(p - h), true(p + h)
            expected = (here, (ahead - behind) / (2 * h), (ahead - 2 * here + behind) / (h * h))
        for order, (values, exact) in enumerate(zip(found, expected, strict=True)):
            if reference and order == 0:
                continue
            error = abs(float(values[i]) - float(exact))
            assert error <= 1e-11 * abs(float(exact)) + 1e-300, (point, order, float(values[i]), float(exact))


def test_probit_likelihood_in_its_tail() -> None:
    rng = np.random.default_rng(0)
    X, y, w = gc.placeholder("X", ("n", 3)), gc.placeholder("y", ("n",)), gc.placeholder("w", (3,))
    p = gc.special.ndtr(X @ w)
    loss = -gc.mean(y * gc.log(p) + (1 - y) * gc.log(1 - p))
    f = gc.function([X, y, w], [loss, gc.grad(loss, w)])
    features, labels = rng.normal(size=(20, 3)) * 200, (rng.random(20) < 0.5).astype(float)
    value, slope = f(features, labels, np.ones(3))
    signs = 2 * labels - 1
    z = signs * features.sum(1)
    with mpmath.workdps(60):
        terms = [log_ndtr(mpmath.mpf(v)) for v in z]
        hazards = [mpmath.npdf(mpmath.mpf(v)) / mpmath.ncdf(mpmath.mpf(v)) for v in z]
    np.testing.assert_allclose(value, -np.mean([float(t) for t in terms]), rtol=1e-12)
    expected = -(signs * [float(h) for h in hazards]) @ features / 20
    np.testing.assert_allclose(slope, expected, rtol=1e-11)


def test_infinities() -> None:
    x = gc.placeholder("x", ("n",))
    f = gc.function([x], [gc.log(gc.special.ndtr(x)), gc.log(gc.special.erfc(x)), gc.special.erfcx(x)])
    inf = np.inf
    found = f(np.array([-inf, inf, np.nan]))
    np.testing.assert_allclose(found[0], [-inf, 0, np.nan])
    np.testing.assert_allclose(found[1], [np.log(2), -inf, np.nan])
    np.testing.assert_allclose(found[2], [inf, 0, np.nan])
