"""Activations far out and near 0: value and derivatives of orders 1 and 2 against mpmath, in both float dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array
from tests import cases_nn_activations as formulas

nn = gc.nn
SMOOTH: dict[str, tuple[Callable[[Any], gc.Node], Callable[[Any], Any]]] = {
    "gelu": (nn.gelu, formulas.gelu),
    "gelu_tanh": (lambda x: nn.gelu(x, approximate="tanh"), formulas.gelu_tanh),
    "silu": (nn.silu, formulas.silu),
    "mish": (nn.mish, formulas.mish),
    "tanhshrink": (nn.tanhshrink, formulas.tanhshrink),
    "softsign": (nn.softsign, formulas.softsign),
    "logsigmoid": (nn.logsigmoid, lambda x: -formulas.softplus(-x)),
    "elu": (nn.elu, formulas.elu),
}
LIMITS = {
    "gelu": ((-0.0, 0, 0), (np.inf, 1, 0)),
    "gelu_tanh": ((-0.0, 0, 0), (np.inf, 1, 0)),
    "silu": ((-0.0, 0, 0), (np.inf, 1, 0)),
    "mish": ((-0.0, 0, 0), (np.inf, 1, 0)),
    "tanhshrink": ((-np.inf, 1, 0), (np.inf, 1, 0)),
    "softsign": ((-1, 0, 0), (1, 0, 0)),
    "logsigmoid": ((-np.inf, 1, 0), (-0.0, 0, 0)),
    "elu": ((-1, 0, 0), (np.inf, 1, 0)),
}
"""Value and two derivatives at -inf, and at inf."""

POINTS = (1e-30, 1e-9, 1e-4, 0.01, 0.3, 0.99, 1.01, 2.5, 5.0, 7.0, 12.0, 30.0, 80.0, 200.0, 3000.0, 1e15)
RELATIVE = {"float64": 2e-13, "float32": 2e-5}
X = {dtype: gc.placeholder("x", ("n",), dtype) for dtype in RELATIVE}


def programs(name: str, dtype: str) -> list[gc.Node]:
    """Return an activation and its first two derivatives, element by element."""
    x = X[dtype]
    value = SMOOTH[name][0](x)
    first = gc.vjp(value, x, gc.ones_like(x))
    return [value, first, gc.vjp(first, x, gc.ones_like(x))]


@pytest.fixture(scope="module", params=["float64", "float32"])
def compiled(request: pytest.FixtureRequest) -> tuple[str, gc.Function]:
    dtype = str(request.param)
    return dtype, gc.function(X[dtype], [programs(name, dtype) for name in SMOOTH])


def gelu_slopes(x: Any) -> list[Any]:
    """Return `gelu` and its derivatives in closed form: differences at 500 digits would take seconds."""
    z = max(min(x, mpmath.mpf(200)), mpmath.mpf(-200))
    density = mpmath.npdf(z)
    return [formulas.gelu(x), mpmath.erfc(-z / mpmath.sqrt(2)) / 2 + z * density, density * (2 - z * z)]


def true_values(name: str, x: Array) -> Array:
    """Return the value and two derivatives, in the order of `programs`."""
    function = SMOOTH[name][1]
    digits = 60 if name == "gelu" else 500  # the differences of `diff` must resolve exp(-200)
    with mpmath.workdps(digits):
        points = [mpmath.mpf(float(v)) for v in x]
        if name == "gelu":
            rows = [gelu_slopes(v) for v in points]
        else:
            rows = [[mpmath.diff(function, v, n) if n else function(v) for n in range(3)] for v in points]
        return np.array([[float(v) for v in row] for row in rows]).T


@pytest.mark.parametrize("name", SMOOTH)
def test_accuracy(compiled: tuple[str, gc.Function], name: str) -> None:
    """Relative errors, down to the least normal number."""
    dtype, f = compiled
    x = np.array([*POINTS, *(-p for p in POINTS)], dtype)
    interpreted = gc.evaluate(programs(name, dtype), {X[dtype]: x})
    true = true_values(name, x)
    smallest = float(np.finfo(dtype).tiny)
    for got in (f(x)[list(SMOOTH).index(name)], interpreted):
        for order, (a, b) in enumerate(zip(got, true, strict=True)):
            b = np.where(np.abs(b) < smallest, 0, b)
            np.testing.assert_allclose(a, b, RELATIVE[dtype], 2 * smallest, err_msg=f"{name}, derivative {order}")


@pytest.mark.parametrize("name", SMOOTH)
def test_limits(compiled: tuple[str, gc.Function], name: str) -> None:
    dtype, f = compiled
    x = np.array([-np.inf, np.inf, np.nan], dtype)
    for got in (f(x)[list(SMOOTH).index(name)], gc.evaluate(programs(name, dtype), {X[dtype]: x})):
        for order, values in enumerate(got):
            np.testing.assert_array_equal(
                values[:2], [LIMITS[name][0][order], LIMITS[name][1][order]], f"order {order}"
            )
        assert np.isnan(got[0][2])


KINKS = (-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0)
PIECEWISE: dict[str, tuple[Callable[[Any], gc.Node], dict[float, float]]] = {
    "relu": (nn.relu, {0.0: 0}),
    "relu6": (nn.relu6, {0.0: 0, 6.0: 0, 3.0: 1}),
    "hardtanh": (nn.hardtanh, {-1.0: 0, 1.0: 0, 0.5: 1}),
    "hard_sigmoid": (nn.hard_sigmoid, {-3.0: 0, 3.0: 0, 0.0: 1 / 6}),
    "leaky_relu": (nn.leaky_relu, {0.0: 0.01, 1.0: 1}),
    "elu": (nn.elu, {0.0: 1}),
    "hardshrink": (nn.hardshrink, {-0.5: 0, 0.5: 0, 1.0: 1}),
    "softshrink": (nn.softshrink, {-0.5: 0, 0.5: 0, 1.0: 1}),
    "threshold": (lambda x: nn.threshold(x, 0.5, 9.0), {0.5: 0, 1.0: 1}),
}


@pytest.mark.parametrize("name", PIECEWISE)
def test_derivatives_at_kinks_and_infinities(name: str) -> None:
    build, slopes = PIECEWISE[name]
    x = X["float64"]
    (slope,) = gc.evaluate([gc.vjp(build(x), x, gc.ones_like(x))], {x: [*slopes, -np.inf, np.inf]})
    np.testing.assert_array_equal(slope[:-2], list(slopes.values()))
    assert np.isfinite(slope).all()


def test_a_masked_element_has_no_say() -> None:
    """What `where` hides stays hidden behind every activation, whatever stands there."""
    x = X["float64"]
    for build, _ in SMOOTH.values():
        loss = gc.sum(gc.where(x > 0, build(x), 0))
        (slope,) = gc.evaluate([gc.grad(loss, x)], {x: [np.nan, -np.inf, 1.0]})
        np.testing.assert_array_equal(slope[:2], 0)


def test_refusals() -> None:
    with pytest.raises(gc.ArgumentError, match=r'gelu: approximate must be "none" or "tanh", got \'sigmoid\''):
        nn.gelu(1.0, approximate="sigmoid")
    with pytest.raises(gc.ShapeError, match=r"glu: axis -1 of f64\[3\] is odd  \[test_nn_activations.py:\d+\]"):
        nn.glu(np.zeros(3))
    with pytest.raises(gc.ShapeError, match=r"prelu: weight must be 0-d or have one entry a channel"):
        nn.prelu(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(gc.ArgumentError, match=r"hardtanh: min_val < max_val is needed, got 1 and 0"):
        nn.hardtanh(0.0, 1, 0)
    with pytest.raises(gc.ArgumentError, match=r"celu: alpha must not be 0"):
        nn.celu(0.0, alpha=0)


def test_glu_of_an_odd_symbolic_axis_is_refused_in_the_call() -> None:
    x = gc.placeholder("x", ("n",))
    f = gc.function(x, nn.glu(x), mode="reference")
    np.testing.assert_array_equal(f([2.0, 0.0]), [1.0])
    with pytest.raises(gc.ShapeError):
        f([1.0, 2.0, 3.0])
