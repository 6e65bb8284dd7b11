"""Logarithms of what may over- or underflow: value and gradient against mpmath at extremes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array


class Exact:
    """mpmath with the names that formulas below use of `gc`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(mpmath, name)

    def sigmoid(self, x: Any) -> Any:
        return 1 / (1 + mpmath.exp(-x))

    def softplus(self, x: Any) -> Any:
        return mpmath.log(1 + mpmath.exp(x))

    def log2(self, x: Any) -> Any:
        return mpmath.log(x) / mpmath.log(2)

    def log1p(self, x: Any) -> Any:
        return mpmath.log(1 + x)

    def expm1(self, x: Any) -> Any:
        return mpmath.exp(x) - 1

    def square(self, x: Any) -> Any:
        return x * x

    def ndtr(self, x: Any) -> Any:
        return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


class Graphs:
    """`gc` and `gc.special` in one namespace."""

    def __getattr__(self, name: str) -> Any:
        return getattr(gc.special if hasattr(gc.special, name) else gc, name)


Formula = Callable[[Any, Any, Any], Any]
BOTH = [(1000.0, 990.0), (-1000.0, -1001.5), (800.0, -800.0), (0.3, -0.2), (-1e4, 3.0), (1e-20, 1e-9), (40.0, 41.0)]
POSITIVE = [(abs(a), abs(b)) for a, b in BOTH]
ORDERED = [(max(p), min(p)) for p in BOTH]
POWERS = [(1e150, 1e120), (1e-150, 1e-200), (1e200, 1.0), (3.0, 1e-9)]

FORMULAS: list[tuple[str, Formula, list[tuple[float, float]]]] = [
    ("three exponentials", lambda m, x, y: m.log(m.exp(x) + m.exp(y) + m.exp(x - 3)), BOTH),
    ("four exponentials", lambda m, x, y: m.log((m.exp(x) + m.exp(y)) + (m.exp(x - 3) + m.exp(2 * y))), BOTH),
    ("positive coefficients", lambda m, x, y: m.log(2 * m.exp(x) + 0.25 * m.exp(y) + m.exp(x) / 3), BOTH),
    ("a mixture", lambda m, x, y: m.log(0.3 * m.exp(-((x - 1) ** 2)) + 0.7 * m.exp(-((y + 1) ** 2) / 2)), BOTH),
    (
        "a mixture with a logit",
        lambda m, x, y: m.log(m.sigmoid(x) * m.exp(y) + (1 - m.sigmoid(x)) * m.exp(-y)),
        BOTH,
    ),
    ("sums of sigmoids", lambda m, x, y: m.log(m.sigmoid(x) + m.sigmoid(y)), BOTH),
    ("exp plus a small number", lambda m, x, y: m.log(m.exp(x + y) + 1e-8), BOTH),
    ("1 / exp", lambda m, x, y: m.log(1 / m.exp(x)), BOTH),
    ("y / exp", lambda m, x, y: m.log(m.sigmoid(y) / m.exp(x)), BOTH),
    ("2 sigmoid", lambda m, x, y: m.log(2 * m.sigmoid(x)), BOTH),
    ("sigmoid squared", lambda m, x, y: m.log(m.sigmoid(x) ** 2), BOTH),
    ("sigmoid cubed", lambda m, x, y: m.log(m.sigmoid(x) ** 3), BOTH),
    ("sigmoid to a power", lambda m, x, y: m.log(m.sigmoid(x) ** m.square(y)), BOTH),
    ("exp squared", lambda m, x, y: m.log(m.exp(x) ** 2), BOTH),
    ("root of exp", lambda m, x, y: m.log(m.sqrt(m.exp(x) * m.exp(y))), BOTH),
    ("product of sigmoids", lambda m, x, y: m.log(m.sigmoid(x) * m.sigmoid(y) * m.sigmoid(-x)), BOTH),
    ("exp - exp", lambda m, x, y: m.log(m.exp(x) - m.exp(y)), ORDERED),
    ("sigmoid - sigmoid", lambda m, x, y: m.log(m.sigmoid(x) - m.sigmoid(y)), [(1.0, -1.0), (-700.0, -800.0)]),
    ("sinh", lambda m, x, y: m.log(m.sinh(x)), POSITIVE),
    ("exp - 1 / exp", lambda m, x, y: m.log(m.exp(x) - m.exp(-x)), POSITIVE),
    ("tanh", lambda m, x, y: m.log(m.tanh(x)), POSITIVE),
    ("odds of sigmoid", lambda m, x, y: m.log(m.sigmoid(x) / (1 - m.sigmoid(x))), BOTH),
    ("log2 of a sum", lambda m, x, y: m.log2(m.exp(x) + m.exp(y)), BOTH),
    ("log10 of sigmoid", lambda m, x, y: m.log10(m.sigmoid(x)), BOTH),
    ("log2 of 1 + exp", lambda m, x, y: m.log2(1 + m.exp(x)), BOTH),
    ("log10 of a power of 10", lambda m, x, y: m.log10(10**x), BOTH),
    ("log of a power of 10", lambda m, x, y: m.log(10**x), BOTH),
    ("log2 of a cube", lambda m, x, y: m.log2(x**3), POWERS),
    ("log of a cube", lambda m, x, y: m.log(x**3), POWERS),
    ("log of an inverse cube", lambda m, x, y: m.log(x**-3), POWERS),
    ("log of a fourth power", lambda m, x, y: m.log((-x) ** 4), POWERS),
    ("log of x**2 + y**2", lambda m, x, y: m.log(x * x + y * y), POWERS[:3]),
    ("1 - exp(-a)", lambda m, x, y: m.log1p(-m.exp(-x)), POSITIVE),
    ("log1p of a multiple", lambda m, x, y: m.log1p(3 * m.exp(x)), BOTH),
    ("log1p of a sum", lambda m, x, y: m.log1p(m.exp(x) + m.exp(y)), BOTH),
    ("log of softplus", lambda m, x, y: m.log(m.softplus(x)), BOTH[:4]),
    ("complementary log-log", lambda m, x, y: m.log(-m.log(1 - m.sigmoid(x))), BOTH[:4]),
    ("1/2 + erf/2", lambda m, x, y: m.log(0.5 + 0.5 * m.erf(x / 2)), [(-60.0, 0.0), (-3.0, 0.0), (2.0, 0.0)]),
    ("1/2 - erf/2", lambda m, x, y: m.log(0.5 - 0.5 * m.erf(x / 2)), [(60.0, 0.0), (3.0, 0.0), (-2.0, 0.0)]),
    ("1 - (1 + erf)/2", lambda m, x, y: m.log(1 - 0.5 * (1 + m.erf(x))), [(30.0, 0.0), (3.0, 0.0), (-2.0, 0.0)]),
    ("log1p(-(1 + erf)/2)", lambda m, x, y: m.log1p(-0.5 * (1 + m.erf(x))), [(30.0, 0.0), (3.0, 0.0), (-2.0, 0.0)]),
    ("1/2 + tanh/2", lambda m, x, y: m.log(0.5 + m.tanh(x) / 2), [(-600.0, 0.0), (-3.0, 0.0), (2.0, 0.0)]),
    ("1/2 - tanh/2", lambda m, x, y: m.log(0.5 - 0.5 * m.tanh(x)), [(600.0, 0.0), (3.0, 0.0), (-2.0, 0.0)]),
    ("odds of probabilities", lambda m, x, y: m.log(m.exp(x) / (m.exp(x) + m.exp(y))), BOTH),
]


def true_slopes(formula: Formula, point: tuple[float, float]) -> tuple[Any, list[Any]]:
    """Value and both derivatives at 1,000 digits."""
    with mpmath.workdps(1000):
        x, y = map(mpmath.mpf, point)
        m, h = Exact(), mpmath.mpf(10) ** -400
        value = formula(m, x, y)
        return value, [(formula(m, x + h, y) - value) / h, (formula(m, x, y + h) - value) / h]


@pytest.mark.parametrize(("formula", "points"), [pytest.param(f, p, id=name) for name, f, p in FORMULAS])
def test_value_and_gradient(formula: Formula, points: list[tuple[float, float]]) -> None:
    x, y = gc.placeholder("x", ("n",)), gc.placeholder("y", ("n",))
    values = formula(Graphs(), x, y)
    _, slopes = gc.value_and_grad(gc.sum(values), [x, y], disconnected="zero")
    f = gc.function([x, y], [values, *slopes])
    found = f(*map(np.array, zip(*points, strict=True)))
    for i, point in enumerate(points):
        value, partials = true_slopes(formula, point)
        for number, true in zip((v[i] for v in found), (value, *partials), strict=True):
            error = abs(float(true) - number)
            assert error <= 2e-13 * abs(float(true)) + 1e-16 * max(1, *map(abs, point)), (point, number, float(true))


def test_shapes() -> None:
    """Sums over axes, products of matrices and products of elements, with signs known and unknown."""
    rng = np.random.default_rng(0)
    w, x = gc.placeholder("w", (2, 3)), gc.placeholder("x", (3, 4))
    u, v = gc.placeholder("u", (3,)), gc.placeholder("v", (3,))
    outputs = [
        gc.log(w @ gc.exp(x)),
        gc.log(gc.exp(x.T) @ w.T),
        gc.log(gc.exp(u) @ x**2),
        gc.log(v**2 @ gc.exp(u)),
        gc.log(gc.sum(v * gc.exp(u))),
        gc.log2(gc.mean(v * gc.exp(u))),
        gc.log(gc.prod(x, axis=0)),
        gc.log(gc.prod(gc.sigmoid(x), axis=1)),
    ]
    f = gc.function([w, x, u, v], outputs + gc.grad(gc.sum(gc.stack([gc.sum(o) for o in outputs])), [w, x, u, v]))
    W, U, V = rng.uniform(0.1, 2, (2, 3)), rng.normal(size=3) + 900, rng.uniform(0.1, 2, 3)
    X = rng.uniform(0, 1, (3, 4)) + 800
    found = f(W, X, U, V)
    big = np.log(W @ np.exp(X - 800)) + 800
    expected: list[Array] = [
        big,
        big.T,
        np.log(np.exp(U - 900) @ X**2) + 900,
        np.log(np.sum(V**2 * np.exp(U - 900))) + 900,
        np.log(np.sum(V * np.exp(U - 900))) + 900,
        (np.log(np.mean(V * np.exp(U - 900))) + 900) / np.log(2),
        np.sum(np.log(X), 0),
        np.sum(np.log(1 / (1 + np.exp(-X))), 1),
    ]
    for a, b in zip(found, expected, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    for g in found[len(expected) :]:
        assert np.isfinite(g).all()
    share = W[:, :, None] * np.exp(X - 800)[None]
    slope = share / share.sum(1, keepdims=True)
    own = np.exp(U - 900)[:, None] * 2 * X / (np.exp(U - 900) @ X**2) + 1 / X + np.exp(-X)
    np.testing.assert_allclose(found[len(expected) + 1], 2 * slope.sum(0) + own, rtol=1e-12)


def test_infinite_exponents() -> None:
    u, w = gc.placeholder("u", ("n",)), gc.placeholder("w", ("n",))
    f = gc.function([u, w], [gc.log(gc.sum(w * gc.exp(u))), gc.log(gc.exp(u[0]) - gc.exp(u[1]))])
    inf = np.inf
    for exponents, sum_, difference in [
        ([-inf, -inf], -inf, -inf),
        ([0.0, -inf], 0.0, 0.0),
        ([inf, 0.0], inf, inf),
        ([inf, inf], inf, np.nan),
        ([np.nan, 0.0], np.nan, np.nan),
    ]:
        np.testing.assert_array_equal(f(np.array(exponents), np.ones(2)), [sum_, difference])


def test_the_sign_of_a_product_is_kept() -> None:
    x = gc.placeholder("x", ("n",))
    f = gc.function([x], gc.log(gc.prod(x)))
    for values, expected in [
        ([2.0, 3.0], np.log(6)),
        ([-2.0, -3.0], np.log(6)),
        ([-2.0, 3.0], np.nan),
        ([0.0, 3.0], -np.inf),
    ]:
        np.testing.assert_allclose(f(np.array(values)), expected)


def test_powers_of_two_stay_exact() -> None:
    x = gc.placeholder("x", ("n",))
    f = gc.function([x], [gc.log2(x**2), gc.log2(x**3), gc.log2(1 / x), gc.log2(gc.sqrt(x))])
    k = np.arange(-300.0, 300, 2)
    np.testing.assert_array_equal(f(2.0**k), [2 * k, 3 * k, -k, k / 2])


@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.parametrize("outer", ["where", "where of a negated mask", "at", "softmax"])
def test_sums_over_risk_sets(scale: float, outer: str) -> None:
    """The partial likelihood of Cox's regression: who is not at risk has the largest score."""
    s = gc.placeholder("s", ("n",))
    n = s.shape[0]
    at_risk = gc.arange(n)[None, :] >= gc.arange(n)[:, None]
    rows = gc.broadcast_to(gc.exp(s)[None, :], (n, n))
    parts: dict[str, Callable[[], gc.Node]] = {
        "where": lambda: gc.where(at_risk, gc.exp(s)[None, :], 0.0),
        "where of a negated mask": lambda: gc.where(gc.logical_not(at_risk), 0.0, rows),
        "at": lambda: rows.at[gc.logical_not(at_risk)].set(0.0),
        "softmax": lambda: gc.where(at_risk, gc.softmax(s)[None, :], 0.0),
    }
    values = gc.log(gc.sum(parts[outer](), axis=1))
    f = gc.function(s, [values, gc.grad(gc.sum(values), s)])
    scores = scale * np.array([2.0, 1.5, -0.25, 0.5, -1.0])
    total = np.logaddexp.reduce(scores) if outer == "softmax" else 0.0
    true = np.array([np.logaddexp.reduce(scores[i:]) for i in range(5)])
    slopes = sum(np.exp(np.where(np.arange(5) >= i, scores, -np.inf) - true[i]) for i in range(5))
    slopes -= 5 * np.exp(scores - total) if outer == "softmax" else 0.0
    found, gradient = f(scores)
    np.testing.assert_allclose(found, true - total, rtol=1e-13)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-12, atol=1e-14)


def _weighted(m: Any, x: Any, w: Any) -> Any:
    return m.log(m.sum(w * m.exp(x)))


def _product(m: Any, x: Any, w: Any) -> Any:
    return m.log(w @ m.exp(x))


@pytest.mark.parametrize("build", [_weighted, _product])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_largest_exponent_has_weight_0(build: Callable[..., Any], dtype: str) -> None:
    """It is no shift of the others, and its weight has its slope still."""
    x, w = gc.placeholder("x", ("n",), dtype), gc.placeholder("w", ("n",), dtype)
    loss = build(gc, x, w)
    f = gc.function([x, w], [loss, *gc.grad(loss, [x, w])])
    for exponents, weights in (([-1960.0, -2000.0, -2001.0], [0, 1, 2]), ([2000.0, 0.0, 1.0], [0, 1, 2])):
        value, slope, by_weight = f(np.array(exponents, dtype), np.array(weights, dtype))
        parts = [v * mpmath.exp(e) for v, e in zip(weights, exponents, strict=True)]
        total = mpmath.fsum(parts)
        rtol = 1e-13 if dtype == "float64" else 1e-5
        np.testing.assert_allclose(float(value), float(mpmath.log(total)), rtol=rtol)
        np.testing.assert_allclose(slope, [float(p / total) for p in parts], rtol=rtol)
        true = [mpmath.exp(e) / total for e in exponents]
        kept = [t < 1e30 for t in true]
        np.testing.assert_allclose(by_weight[kept], [float(t) for t, k in zip(true, kept, strict=True) if k], rtol=rtol)
    assert np.isnan(f(np.array([np.nan, 0, 1], dtype), np.array([0, 1, 1], dtype))[0])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_running_logsumexp(axis: int, backwards: bool) -> None:
    rows = np.array([[2000.0, 0.0, -2000.0, 2001.0], [-np.inf, -np.inf, -3000.0, 5.0], [1.0, 900.0, 2.0, 3.0]])
    values, g = (rows.T, np.arange(12.0).reshape(4, 3) - 5) if axis == 0 else (rows, np.arange(12.0).reshape(3, 4) - 5)
    turn: Callable[[Any], Any] = (lambda v: gc.flip(v, axis=axis)) if backwards else (lambda v: v)
    x = gc.placeholder("x", ("n", "m"))
    out = turn(gc.log(gc.cumulative_sum(gc.exp(turn(x)), axis=axis)))
    found, slope = gc.function([x], [out, gc.grad(gc.sum(out * g), x)])(values)
    order: Callable[[Any], Any] = (lambda v: np.flip(v, axis)) if backwards else (lambda v: v)
    right = order(np.logaddexp.accumulate(order(values), axis))
    np.testing.assert_allclose(found, right, rtol=1e-14)
    true = np.zeros_like(values)
    lines = zip(*(np.moveaxis(order(v), axis, -1) for v in (values, right, g)), strict=True)
    for i, (line, ends, weights) in enumerate(lines):
        own = [sum(weights[k] * np.exp(line[j] - ends[k]) for k in range(j, 4) if line[j] > -np.inf) for j in range(4)]
        np.moveaxis(order(true), axis, -1)[i] = own
    np.testing.assert_allclose(slope, true, rtol=1e-12, atol=1e-300)


def test_the_probability_of_all_others() -> None:
    x = gc.placeholder("x", (3,))
    out = gc.log(1 - gc.softmax(x)[0])
    f = gc.function([x], [out, gc.grad(out, x)])
    for point in ([2000.0, 0.0, 1.0], [-2000.0, 3.0, 1.0], [40.0, 0.0, -1.0], [0.1, 0.2, 0.3]):
        with mpmath.workdps(2000):
            e = [mpmath.exp(v) for v in point]
            true = mpmath.log((e[1] + e[2]) / mpmath.fsum(e))
            slopes = [(0 if i == 0 else e[i] / (e[1] + e[2])) - e[i] / mpmath.fsum(e) for i in range(3)]
        value, slope = f(point)
        np.testing.assert_allclose(float(value), float(true), rtol=1e-13)
        np.testing.assert_allclose(slope, [float(s) for s in slopes], rtol=1e-12, atol=1e-300)


def test_exponentials_beside_the_sum_of_others_or_of_themselves_moved() -> None:
    x = gc.placeholder("x", ("n",))
    p = gc.exp(x[::-1]) / gc.sum(gc.exp(x))
    found, slope = gc.function([x], [p, gc.grad(p[0], x)])([2000.0, 0.0, 1999.0])
    first = 1 / (1 + np.exp(1.0))
    np.testing.assert_allclose(found, [first, 0, 1 - first], rtol=1e-12)
    np.testing.assert_allclose(slope, [-first * (1 - first), 0, first * (1 - first)], rtol=1e-12)


def test_masks_of_any_size() -> None:
    """A constant of 10,000 elements is a mask as one of 9 is."""
    x = gc.placeholder("x", (100, 100))
    masked = gc.log(gc.sum(gc.softmax(x, axis=1) * np.eye(100), axis=1))
    values = np.diag(np.full(100, -2000.0))
    np.testing.assert_allclose(gc.function([x], masked)(values), -2000 - np.log(99), rtol=1e-14)
