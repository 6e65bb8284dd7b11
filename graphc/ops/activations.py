"""Activations that are one record each, since the plain formula fails somewhere: they belong to the elementwise table.

`x * sigmoid(x)` is nan at -inf, `x / (1 + abs(x))` at both infinities, `x - tanh(x)` loses all digits near 0, and the
derivative of each product is nan wherever one factor is infinite. Here the factor that decays is multiplied by an
`x` that is limited where the product has long been 0, in the value and in derivatives of every order.
"""

from __future__ import annotations

from math import factorial, pi, sqrt

import numpy as np

from graphc.graph.node import Node
from graphc.graph.types import Array
from graphc.ops.cancellation import polynomial
from graphc.ops.elementwise import abs, clip, reciprocal, sigmoid, softplus, square, tanh
from graphc.ops.elementwise_float import sech, sigmoid_slope, sigmoid_values
from graphc.ops.pointwise import elementwise
from graphc.ops.special import DENSITY_LIMIT as GELU_LIMIT
from graphc.ops.special import ndtr, normal_density

LOGISTIC_LIMIT = 1000.0
"""Beyond this, exp(-x) is 0 in float64."""
TANH_SCALE = 2 * sqrt(2 / pi)
TANH_CUBIC = 0.044715
"""Hendrycks and Gimpel, Gaussian error linear units, 2016."""


def _ndtr(x: Array) -> Array:
    import scipy.special

    return np.asarray(scipy.special.ndtr(x))


GELU = elementwise(
    "gelu",
    numpy=lambda x: np.maximum(x, -GELU_LIMIT) * _ndtr(x),
    code=f"fmax_nan({{0}}, {{T}}({-GELU_LIMIT})) * ndtr({{0}})",
    accepts="float",
    partials=(lambda out, x: ndtr(x) + clip(x, -GELU_LIMIT, GELU_LIMIT) * normal_density(x),),
)


def _gelu_tanh(x: Array) -> Array:
    return np.asarray(np.maximum(x, -GELU_LIMIT) * sigmoid_values(TANH_SCALE * x * (1 + TANH_CUBIC * x * x)))


def _gelu_tanh_slope(out: Node, x: Node) -> Node:
    z = clip(x, -GELU_LIMIT, GELU_LIMIT)
    inner = TANH_SCALE * z * (1 + TANH_CUBIC * square(z))
    slope = TANH_SCALE + (3 * TANH_SCALE * TANH_CUBIC) * square(z)
    return sigmoid(inner) + z * slope * sigmoid_slope(inner)


GELU_TANH = elementwise(
    "gelu_tanh",
    numpy=_gelu_tanh,  # (1 + tanh(u)) / 2 is sigmoid(2 u), which keeps its digits for negative u
    code=f"fmax_nan({{0}}, {{T}}({-GELU_LIMIT}))"
    f" * sigmoid({{T}}({TANH_SCALE!r}) * {{0}} * ({{T}}(1) + {{T}}({TANH_CUBIC}) * {{0}} * {{0}}))",
    accepts="float",
    partials=(_gelu_tanh_slope,),
)


def _silu_slope(out: Node, x: Node) -> Node:
    return sigmoid(x) + clip(x, -LOGISTIC_LIMIT, LOGISTIC_LIMIT) * sigmoid_slope(x)


SILU = elementwise(
    "silu",
    numpy=lambda x: np.maximum(x, -LOGISTIC_LIMIT) * sigmoid_values(x),
    code=f"fmax_nan({{0}}, {{T}}({-LOGISTIC_LIMIT})) * sigmoid({{0}})",
    accepts="float",
    partials=(_silu_slope,),
)


def _mish(x: Array) -> Array:
    """Return x tanh(softplus(x)): with t = exp(-|x|), a quotient whose terms are all positive."""
    t = np.exp(-np.abs(x))
    gate = np.where(x < 0, t * (t + 2) / (t * (t + 2) + 2), (1 + 2 * t) / (1 + 2 * t + 2 * t * t))
    return np.asarray(np.maximum(x, -LOGISTIC_LIMIT) * gate)


def _mish_slope(out: Node, x: Node) -> Node:
    height = softplus(x)
    z = clip(x, -LOGISTIC_LIMIT, LOGISTIC_LIMIT)
    return tanh(height) + z * (square(sech(height)) * sigmoid(x))


_T = "exp(-fabs({0}))"
MISH = elementwise(
    "mish",
    numpy=_mish,
    code=f"fmax_nan({{0}}, {{T}}({-LOGISTIC_LIMIT})) * select({{0}} < {{T}}(0),"
    f" {_T} * ({_T} + {{T}}(2)) / ({_T} * ({_T} + {{T}}(2)) + {{T}}(2)),"
    f" ({{T}}(1) + {{T}}(2) * {_T}) / ({{T}}(1) + {{T}}(2) * {_T} * ({{T}}(1) + {_T})))",
    accepts="float",
    partials=(_mish_slope,),
)


def _softsign(x: Array) -> Array:
    return np.asarray(np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x))))


SOFTSIGN = elementwise(
    "softsign",
    numpy=_softsign,
    code="select(isinf({0}), copysign({T}(1), {0}), {0} / ({T}(1) + fabs({0})))",
    accepts="float",
    partials=(lambda out, x: square(reciprocal(1 + abs(x))),),  # the square of the sum could overflow
)

# x cosh(x) - sinh(x) = x**3 times the series of x**2 with these positive coefficients.
_SHRINK = [2 * k / factorial(2 * k + 1) for k in range(1, 11)]


def _tanhshrink(x: Array) -> Array:
    near = x * x * x * np.polyval(_SHRINK[::-1], x * x).astype(x.dtype) / np.cosh(x)
    return np.asarray(np.where(np.abs(x) < 1, near, x - np.tanh(x)))


TANHSHRINK = elementwise(
    "tanhshrink",
    numpy=_tanhshrink,
    code=f"select(fabs({{0}}) < {{T}}(1), {{0}} * {{0}} * {{0}} * {polynomial('({0} * {0})', _SHRINK)} * sech({{0}}),"
    " {0} - tanh({0}))",
    accepts="float",
    partials=(lambda out, x: square(tanh(x)),),
)
