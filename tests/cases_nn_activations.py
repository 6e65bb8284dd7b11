"""Activations, against their formulas in mpmath, with their limits at infinity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

import graphc as gc
from graphc.graph.types import Array
from tests.cases import Case

INF = float("inf")
NAN = float("nan")
EDGES = (0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -3.0, 6.0, 1e-9, -1e-300, 1e300, -1e300, 20.0, -20.0, -750.0, INF, -INF, NAN)
Number = Any


def exact(function: Callable[[Number], Number], left: float, right: float) -> Callable[[Array], Array]:
    """Return a function of arrays that computes at 60 digits and has these limits at -inf and inf."""

    def at(x: float) -> float:
        if not np.isfinite(x):
            return left if x < 0 else right if x > 0 else x
        with mpmath.workdps(60):
            return float(function(mpmath.mpf(x)))

    return lambda x: np.asarray([at(float(v)) for v in x.ravel()]).reshape(x.shape).astype(x.dtype)


def small(x: Number) -> Number:
    """Limit an argument to where mpmath can follow; the functions below are at their limits beyond."""
    return max(min(x, mpmath.mpf(2000)), mpmath.mpf(-2000))


def sigmoid(x: Number) -> Number:
    return 1 / (1 + mpmath.exp(-small(x)))


def gelu(x: Number) -> Number:
    return x * mpmath.erfc(-max(min(x, mpmath.mpf(200)), mpmath.mpf(-200)) / mpmath.sqrt(2)) / 2


def gelu_tanh(x: Number) -> Number:
    z = small(x)
    return x * sigmoid(2 * mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf("0.044715") * z**3))


def silu(x: Number) -> Number:
    return x * sigmoid(x)


def mish(x: Number) -> Number:
    return x * mpmath.tanh(mpmath.log1p(mpmath.exp(small(x))))


def softsign(x: Number) -> Number:
    return x / (1 + abs(x))


def tanhshrink(x: Number) -> Number:
    return x - mpmath.tanh(x) if abs(x) > mpmath.mpf("1e-15") else x**3 / 3


def softplus(x: Number) -> Number:
    return x if x > 2000 else mpmath.log1p(mpmath.exp(small(x)))


def expm1(x: Number) -> Number:
    return mpmath.expm1(min(x, mpmath.mpf(2000)))


def elu(x: Number, alpha: float = 1.0) -> Number:
    return x if x > 0 else alpha * expm1(x)


def limited(x: Number, low: float, high: float) -> Number:
    return max(min(x, mpmath.mpf(high)), mpmath.mpf(low))


SCALE, ALPHA = 1.0507009873554804934, 1.6732632423543772848
nn = gc.nn


def activation(
    name: str,
    build: Callable[..., Any],
    function: Callable[[Number], Number],
    left: float,
    right: float = INF,
    *,
    low: float = -3.1,
    high: float = 3.1,
) -> Case:
    return Case(name, build, exact(function, left, right), ((2, 5),), low=low, high=high, special=EDGES)


def glu(x: Array, axis: int = -1) -> Array:
    a, b = np.split(x, 2, axis)
    return np.asarray(a / (1 + np.exp(-b)))


def softmin(x: Array, axis: int = -1) -> Array:
    e = np.exp(-x)
    return np.asarray(e / e.sum(axis, keepdims=True))


def prelu(x: Array, w: Array) -> Array:
    wide = w.reshape(-1, *(1,) * (x.ndim - 2)) if w.ndim and x.ndim > 2 else w
    return np.asarray(np.where(x > 0, x, x * wide))


CASES: list[Case] = [
    activation("gelu", nn.gelu, gelu, -0.0),
    activation("gelu-tanh", lambda x: nn.gelu(x, approximate="tanh"), gelu_tanh, -0.0),
    activation("silu", nn.silu, silu, -0.0),
    activation("mish", nn.mish, mish, -0.0),
    activation("softsign", nn.softsign, softsign, -1.0, 1.0),
    activation("tanhshrink", nn.tanhshrink, tanhshrink, -INF),
    activation("softplus", lambda x: nn.softplus(x, beta=2.0), lambda x: softplus(2 * x) / 2, 0.0),
    activation("logsigmoid", nn.logsigmoid, lambda x: -softplus(-x), -INF, -0.0),
    activation("leaky_relu", nn.leaky_relu, lambda x: x if x > 0 else x * 0.01, -INF),
    activation("elu", nn.elu, elu, -1.0),
    activation("elu-alpha", lambda x: nn.elu(x, alpha=0.3), lambda x: elu(x, 0.3), -0.3),
    activation("celu", lambda x: nn.celu(x, alpha=0.7), lambda x: x if x > 0 else 0.7 * expm1(x / 0.7), -0.7),
    activation("selu", nn.selu, lambda x: SCALE * elu(x, ALPHA), -SCALE * ALPHA),
    activation("relu6", nn.relu6, lambda x: limited(x, 0, 6), 0.0, 6.0, low=-1.0, high=8.0),
    activation("hardtanh", nn.hardtanh, lambda x: limited(x, -1, 1), -1.0, 1.0),
    activation("hard_sigmoid", nn.hard_sigmoid, lambda x: limited(x + 3, 0, 6) / 6, 0.0, 1.0, low=-5, high=5),
    activation("hard_swish", nn.hard_swish, lambda x: x * limited(x + 3, 0, 6) / 6, 0.0, low=-5, high=5),
    activation("threshold", lambda x: nn.threshold(x, 0.7, 5.0), lambda x: x if x > 0.7 else mpmath.mpf(5), 5.0),
    activation("hardshrink", nn.hardshrink, lambda x: x if abs(x) > 0.5 else mpmath.mpf(0), -INF),
    activation("softshrink", nn.softshrink, lambda x: x - limited(x, -0.5, 0.5), -INF),
    Case("prelu", nn.prelu, prelu, ((2, 3, 2), (3,)), special=EDGES[:7]),
    Case("prelu-0d", nn.prelu, prelu, ((2, 3), ())),
    Case("glu", nn.glu, glu, ((3, 4),)),
    Case("glu-axis", lambda x: nn.glu(x, axis=0), lambda x: glu(x, 0), ((4, 1, 2),)),
    Case("softmin", nn.softmin, softmin, ((2, 3),)),
    Case("silu-int", nn.silu, lambda x: x / (1 + np.exp(-x)), dtypes=("int64",), low=-9, high=9),
]
