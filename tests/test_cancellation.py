"""Formulas that cancel, vanish or have removable singularities: values and two derivatives where they fail."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.ops.cancellation import Sinc

Formula = Callable[[Node], Node]
inf = math.inf


def derivatives(formula: Formula, x: float) -> tuple[float, float, float]:
    """Value, first and second derivative, compiled."""
    p = gc.placeholder("x")
    value, slope = gc.value_and_grad(formula(p), p)
    f = gc.function([p], [value, slope, gc.grad(slope, p, disconnected="zero")])
    return tuple(float(v) for v in f(x))  # type: ignore[return-value]


def guarded(x: Node) -> Node:
    return gc.where(gc.equal(x, 0), 1.0, gc.sin(x) / x)


def doubly_guarded(x: Node) -> Node:
    z = gc.where(gc.equal(x, 0), 1.0, x)
    return gc.where(gc.equal(x, 0), 1.0, gc.sin(z) / z)


_S, _C = math.sin(1e6), math.cos(1e6)
SINC_FAR = (_S / 1e6, _C / 1e6 - _S / 1e12, -_S / 1e6 - 2 * _C / 1e12 + 2 * _S / 1e18)

ROWS: list[tuple[str, Formula, float, tuple[float, float, float]]] = [
    ("sqrt(1 + x) - 1", lambda x: gc.sqrt(1 + x) - 1, 1e-20, (5e-21, 0.5, -0.25)),
    ("sqrt(1 + x) - 1 at inf", lambda x: gc.sqrt(1 + x) - 1, inf, (inf, 0.0, 0.0)),
    ("1 - sqrt(1 - x)", lambda x: 1 - gc.sqrt(1 - x), 1e-20, (5e-21, 0.5, 0.25)),
    ("pseudo-Huber", lambda x: gc.sqrt(1 + x * x) - 1, 1e-20, (5e-41, 1e-20, 1.0)),
    ("pseudo-Huber, far", lambda x: gc.sqrt(1 + x * x) - 1, 1e8, (1e8 - 1 + 5e-9, 1.0, 1e-24)),
    ("sinc, guarded", guarded, 0.0, (1.0, 0.0, -1 / 3)),
    ("sinc, guarded twice", doubly_guarded, 0.0, (1.0, 0.0, -1 / 3)),
    ("sinc, near 0", lambda x: gc.sin(x) / x, 1e-9, (1.0, -1e-9 / 3, -1 / 3)),
    ("sinc, far", lambda x: gc.sin(x) / x, 1e6, SINC_FAR),
    ("(1 - cos x) / x**2", lambda x: (1 - gc.cos(x)) / x**2, 1e-9, (0.5, -1e-9 / 12, -1 / 12)),
    ("(1 - cos x) / x**2, tiny", lambda x: (1 - gc.cos(x)) / x**2, 1e-180, (0.5, -1e-180 / 12, -1 / 12)),
    ("x (x + 1) / (x + 1)", lambda x: x * (x + 1) / (x + 1), 1e200, (1e200, 1.0, 0.0)),
    ("gammaln(x + 1) - gammaln(x)", lambda x: _step(x), 1e200, (math.log(1e200), 1e-200, 0.0)),
    ("exp x / (exp x + exp 2)", lambda x: gc.exp(x) / (gc.exp(x) + gc.exp(2.0)), 1000.0, (1.0, 0.0, 0.0)),
    ("softmax by hand", lambda x: gc.exp(x) / (1 + gc.exp(x) + gc.exp(-x)), 800.0, (1.0, 0.0, 0.0)),
    ("exp x / exp y", lambda x: gc.exp(x + 3) / gc.exp(x), 800.0, (math.exp(3), 0.0, 0.0)),
    ("x log x", lambda x: x * gc.log(x), 0.0, (0.0, -inf, inf)),
    ("(1 - x) log(1 - x)", lambda x: (1 - x) * gc.log(1 - x), 1.0, (0.0, inf, inf)),
    ("x exp x", lambda x: x * gc.exp(x), -inf, (0.0, 0.0, 0.0)),
    ("entropy of a sigmoid", lambda x: gc.sigmoid(x) * gc.log(gc.sigmoid(x)), -inf, (0.0, 0.0, 0.0)),
    ("hypot far out", lambda x: gc.hypot(x, 1.0), 1e8, (1e8, 1.0, 1e-24)),
    ("sqrt(1 + x x) far out", lambda x: gc.sqrt(1 + x * x), 1e8, (1e8, 1.0, 1e-24)),
    ("hypot ** 2 at 0", lambda x: gc.hypot(x, 2 * x) ** 2, 0.0, (0.0, 0.0, 10.0)),
]


def _step(x: Node) -> Node:
    return gc.special.gammaln(x + 1) - gc.special.gammaln(x)


@pytest.mark.parametrize(("formula", "at", "expected"), [pytest.param(f, x, e, id=name) for name, f, x, e in ROWS])
def test_formula(formula: Formula, at: float, expected: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(derivatives(formula, at), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("formula", "curvature"),
    [
        (lambda y: gc.linalg.vector_norm(y) ** 2, 2.0),
        (lambda y: gc.exp(-(gc.linalg.vector_norm(y) ** 2)), -2.0),
        (lambda y: gc.sqrt(gc.sum(y * y)) ** 2, 2.0),
        (lambda y: gc.linalg.vector_norm(y) ** 4 + gc.linalg.vector_norm(y) * gc.linalg.vector_norm(y), 2.0),
    ],
)
def test_smooth_functions_of_a_norm_keep_their_curvature(formula: Formula, curvature: float) -> None:
    y = gc.placeholder("y", (3,))
    np.testing.assert_allclose(gc.hessian(formula(y), y).eval({y: np.zeros(3)}), curvature * np.eye(3), atol=1e-15)


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1.0, 1e8, 1e150])
def test_curvature_of_hypot(scale: float) -> None:
    x, y = gc.placeholder("x"), gc.placeholder("y")
    slopes = gc.grad(gc.hypot(x, y), [x, y])
    second = [gc.grad(s, [x, y]) for s in slopes]
    f = gc.function([x, y], [*slopes, *second[0], *second[1]])
    for a, b in [(3.0, 4.0), (1.0, 1e-9), (1e-9, 1.0), (-1.0, 1e3)]:
        r = math.hypot(a, b)
        expected = [
            a / r,
            b / r,
            b * b / r**3 / scale,
            -a * b / r**3 / scale,
            -a * b / r**3 / scale,
            a * a / r**3 / scale,
        ]
        np.testing.assert_allclose(f(a * scale, b * scale), expected, rtol=1e-13)


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sinc(order: int, dtype: str) -> None:
    x = gc.placeholder("x", ("n",), dtype)
    points = np.concatenate([np.linspace(-12, 12, 97), [1e-8, -1e-30, 40.0, 1e3]]).astype(dtype)
    found = gc.function([x], apply(Sinc(order), x))(points)
    with mpmath.workdps(60):
        for p, value in zip(points, found, strict=True):
            z = abs(mpmath.mpf(float(p))) or mpmath.mpf(10) ** -40
            exact = mpmath.sqrt(mpmath.pi / (2 * z)) * mpmath.besselj(order + 0.5, z) / z**order
            size = 1 / mpmath.fac2(2 * order + 1) if z < order + 1 else z ** (-order - 1)
            assert abs(exact - float(value)) <= 40 * np.finfo(dtype).eps * size, (p, value, float(exact))


def test_entropy_of_infinite_logits() -> None:
    x = gc.placeholder("x", ("n",))
    spellings = [
        -gc.sum(gc.softmax(x) * gc.log_softmax(x)),
        -gc.sum(gc.softmax(x) * gc.log(gc.softmax(x))),
        -gc.sum(gc.exp(gc.log_softmax(x)) * gc.log_softmax(x)),
        -gc.sum(gc.exp(x - gc.logsumexp(x)) * (x - gc.logsumexp(x))),
    ]
    f = gc.function([x], spellings + [gc.grad(s, x) for s in spellings[:3]])
    found = f(np.array([0.0, 0.0, -inf]))
    np.testing.assert_allclose(found[:4], math.log(2), rtol=1e-15)
    for g in found[4:]:
        np.testing.assert_allclose(g, 0.0, atol=1e-16)
    assert np.isnan(f(np.array([0.0, np.nan, 1.0]))[0])


@pytest.mark.parametrize("c", [0.5, 1.0, 3.0])
def test_roots_of_shifted_squares_keep_their_curvature_far_out(c: float) -> None:
    x = gc.placeholder("x")
    second = gc.grad(gc.grad(gc.sqrt(c + x * x), x), x)
    np.testing.assert_allclose(second.eval({x: 1e8}), c * 1e-24, rtol=1e-14)
    np.testing.assert_allclose(second.eval({x: 0.0}), c**-0.5, rtol=1e-14)
