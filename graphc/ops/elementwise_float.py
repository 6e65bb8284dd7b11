"""Elementwise exponentials, logarithms, powers, trigonometry and the logistic family: records and functions.

Part of the table that `ops/elementwise_arithmetic.py` describes. All compute in floats (integers are promoted) except
`pow`. Values and derivatives are written so that they neither overflow nor cancel early: where a textbook
formula does, the comment says what replaces it.
"""

from __future__ import annotations

from math import log as ln
from typing import Any

import numpy as np

from graphc.graph.errors import DTypeError, at
from graphc.graph.node import Node
from graphc.graph.op import Constant, constant
from graphc.graph.types import Array, is_float
from graphc.ops.elementwise_arithmetic import square, where
from graphc.ops.elementwise_logic import equal, isinf
from graphc.ops.pointwise import Broadcast, Cast, elementwise, is_weak, pointwise
from graphc.ops.radial import directed, half_over

LN2 = ln(2.0)
LN10 = ln(10.0)

# -- exponentials and logarithms

EXP = elementwise("exp", numpy=np.exp, code="exp({0})", accepts="float", partials=(lambda out, x: out,))
EXP_CAPPED = elementwise(
    "exp_capped",
    numpy=lambda x: np.exp(np.fmin(x, x.dtype.type(0))),
    code="exp_capped({0})",
    accepts="float",
    partials=(lambda out, x: where(x < 0, out, 0),),
)
EXP2 = elementwise("exp2", numpy=np.exp2, code="exp2({0})", accepts="float", partials=(lambda out, x: LN2 * out,))
EXPM1 = elementwise(
    "expm1",
    numpy=np.expm1,
    code="expm1({0})",
    accepts="float",
    partials=(lambda out, x: exp(x),),  # out + 1 would cancel for negative x
)
LOG = elementwise("log", numpy=np.log, code="log({0})", accepts="float", partials=(lambda out, x: 1 / x,))
LOG1P = elementwise("log1p", numpy=np.log1p, code="log1p({0})", accepts="float", partials=(lambda out, x: 1 / (1 + x),))
LOG2 = elementwise("log2", numpy=np.log2, code="log2({0})", accepts="float", partials=(lambda out, x: 1 / (LN2 * x),))
LOG10 = elementwise(
    "log10", numpy=np.log10, code="log10({0})", accepts="float", partials=(lambda out, x: 1 / (LN10 * x),)
)
LOG1MEXP = elementwise(
    "log1mexp",
    numpy=lambda x: np.where(x > -LN2, np.log(-np.expm1(x)), np.log1p(-np.exp(x))),
    code="select({0} > {T}(-0.6931471805599453), log(-expm1({0})), log1p(-exp({0})))",
    accepts="float",
    partials=(lambda out, x: exp(x) / expm1(x),),
)
LOG_COSH = elementwise(
    "log_cosh",
    numpy=lambda x: _log_cosh(x),
    code="select(fabs({0}) < {T}(1), log1p({T}(2) * sinh({T}(0.5) * {0}) * sinh({T}(0.5) * {0})),"
    " fabs({0}) + log1p(exp({T}(-2) * fabs({0}))) - {T}(0.6931471805599453))",
    accepts="float",
    partials=(lambda out, x: tanh(x),),
)


def exp_capped(x: Any, /) -> Node:
    """Return `exp(x)`, but 1 where x is positive or NaN: the exponential of a difference from the maximum."""
    return pointwise(EXP_CAPPED, x)


def _log_cosh(x: Array) -> Array:
    half = np.sinh(x * x.dtype.type(0.5))
    far = np.abs(x) + np.log1p(np.exp(-2 * np.abs(x))) - x.dtype.type(LN2)
    return np.asarray(np.where(np.abs(x) < 1, np.log1p(2 * half * half), far))


def _difference(x: Node, y: Node) -> Node:
    """Return `x - y`, and 0 for two equal infinities."""
    return where(equal(x, y) & isinf(x), 0, x - y)


LOGADDEXP = elementwise(
    "logaddexp",
    numpy=np.logaddexp,
    code="logaddexp({0}, {1})",
    accepts="float",
    partials=(lambda out, x, y: sigmoid(_difference(x, y)), lambda out, x, y: sigmoid(_difference(y, x))),
    commutative=True,
)


def exp(x: Any, /) -> Node:
    """Return e to the power `x`.

    >>> exp(0.0).eval()
    array(1.)
    """
    return pointwise(EXP, x)


def exp2(x: Any, /) -> Node:
    """Return 2 to the power `x`."""
    return pointwise(EXP2, x)


def expm1(x: Any, /) -> Node:
    """Return `exp(x) - 1`, accurate near 0."""
    return pointwise(EXPM1, x)


def log(x: Any, /) -> Node:
    """Return the natural logarithm: -inf at 0, where the derivative is inf, and nan below."""
    return pointwise(LOG, x)


def log1p(x: Any, /) -> Node:
    """Return `log(1 + x)`, accurate near 0."""
    return pointwise(LOG1P, x)


def log2(x: Any, /) -> Node:
    """Return the logarithm to base 2."""
    return pointwise(LOG2, x)


def log10(x: Any, /) -> Node:
    """Return the logarithm to base 10."""
    return pointwise(LOG10, x)


def log1mexp(x: Any, /) -> Node:
    """Return `log(1 - exp(x))` for negative `x`, accurate near 0 and far from it; nan above 0.

    Method: Maechler, Accurately computing log(1 - exp(-|a|)), 2012.
    """
    return pointwise(LOG1MEXP, x)


def log_cosh(x: Any, /) -> Node:
    """Return `log(cosh(x))`, without overflow, and accurate near 0."""
    return pointwise(LOG_COSH, x)


def logaddexp(x1: Any, x2: Any, /) -> Node:
    """Return `log(exp(x1) + exp(x2))` without overflow; two equal infinities share the gradient evenly.

    >>> logaddexp(1000.0, -1000.0).eval()
    array(1000.)
    """
    return pointwise(LOGADDEXP, x1, x2)


# -- powers


def literal(x: Node) -> bool | int | float | None:
    """Return the number that `x` repeats, seen through broadcasts, or None where it is not one constant."""
    while isinstance(x.op, (Broadcast, Cast)):
        (x,) = x.inputs
    if not isinstance(x.op, Constant) or x.op.value.size != 1:
        return None
    number: bool | int | float = x.op.value.item()
    return number


def _power(x: Array, y: Array) -> Array:
    """C's `pow` on floats; an integer to a negative power is the exact quotient cut toward 0."""
    if x.dtype.kind != "i":
        # a fresh array, since NumPy takes the square root for a repeated 0.5, which differs at -0.0 and -inf
        power: Array = np.power(x, np.array(y, ndmin=1, order="C")).reshape(x.shape)
        return power
    inverse = np.where(np.abs(x) == 1, np.where(y & 1, x, 1), 0)
    return np.where(y < 0, inverse, np.power(x, np.maximum(y, 0)))


def _power_of_base(out: Node, x: Node, y: Node) -> Node:
    """Return y * x**(y-1), with 0 * inf = 0 at x = y = 0."""
    exponent = literal(y)
    if exponent is None:
        return where(equal(x, 0) & equal(y, 0), 0, y * pow(x, y - 1))
    if exponent in (0, 1):
        return constant(exponent, x.dtype)
    return exponent * (x if exponent == 2 else pow(x, exponent - 1))


def _power_of_exponent(out: Node, x: Node, y: Node) -> Node:
    """Return out * log(x), which tends to 0 at x = 0."""
    return where(equal(x, 0) & (y >= 0), 0, out * log(x))


POW = elementwise(
    "pow",
    numpy=_power,
    code={"f": "pow({0}, {1})", "i": "ipow({0}, {1})"},
    partials=(_power_of_base, _power_of_exponent),
)
SQRT = elementwise("sqrt", numpy=np.sqrt, code="sqrt({0})", accepts="float", partials=(lambda out, x: 0.5 / out,))
SQRT_SAFE = elementwise(
    "sqrt_safe",
    numpy=np.sqrt,
    code="sqrt({0})",
    accepts="float",
    masks=True,
    partials=(lambda g, out, x: half_over(g, out),),
)
HYPOT = elementwise(
    "hypot",
    numpy=np.hypot,
    code="hypot({0}, {1})",
    accepts="float",
    masks=True,
    partials=(lambda g, out, x, y: directed(g, x, y, out), lambda g, out, x, y: directed(g, y, x, out)),
    commutative=True,
)


def pow(x1: Any, x2: Any, /) -> Node:
    """Return `x1` to the power `x2`; the operator `**`.

    Integers give integers; a negative integer exponent then raises `DTypeError` where it is a Python number,
    and elsewhere gives the quotient cut toward 0 (`2**-1` is 0).

    `0**0` is 1 with both derivatives 0; the derivative in `x2` is 0 at base 0, and nan at negative bases.

    >>> pow(2.0, 3).eval()
    array(8.)
    """
    out = pointwise(POW, x1, x2)
    exponent = literal(out.inputs[1])
    if exponent is not None and exponent < 0 and not is_float(out.dtype):
        shown = x2 if is_weak(x2) else exponent
        raise DTypeError(f"pow: {out.dtype} to the negative power {shown}; convert with .astype('float64'){at()}")
    return out


def sqrt(x: Any, /) -> Node:
    """Return the square root, nan below 0; its derivative at 0 is inf.

    The root of a sum of squares (`sqrt(sum(x**2))`, a norm, and `sqrt(var(x))`) has derivative 0 at 0.
    """
    return pointwise(SQRT, x)


def sqrt_safe(x: Any, /) -> Node:
    """Return the square root with derivative 0 at 0, as `std` and `norm` need it."""
    return pointwise(SQRT_SAFE, x)


def hypot(x1: Any, x2: Any, /) -> Node:
    """Return `sqrt(x1**2 + x2**2)` without overflow; its derivative at (0, 0) is 0.

    Second derivatives of smooth functions of it are right there too, but for `grad` of `jvp` where the distance is
    broadcast (use `jvp` of `grad`).

    >>> hypot(3.0, 4.0).eval()
    array(5.)
    """
    return pointwise(HYPOT, x1, x2)


# -- trigonometry

ONE_MINUS_SQUARE = elementwise(
    "one_minus_square",
    numpy=lambda x: (1 - x) * (1 + x),
    code="({T}(1) - {0}) * ({T}(1) + {0})",
    accepts="float",
    partials=(lambda out, x: -2 * x,),
)
SIN = elementwise("sin", numpy=np.sin, code="sin({0})", accepts="float", partials=(lambda out, x: cos(x),))
COS = elementwise("cos", numpy=np.cos, code="cos({0})", accepts="float", partials=(lambda out, x: -sin(x),))
TAN = elementwise("tan", numpy=np.tan, code="tan({0})", accepts="float", partials=(lambda out, x: 1 + out * out,))
ASIN = elementwise(
    "asin",
    numpy=np.arcsin,
    code="asin({0})",
    accepts="float",
    partials=(lambda out, x: 1 / sqrt(one_minus_square(x)),),
)
ACOS = elementwise(
    "acos",
    numpy=np.arccos,
    code="acos({0})",
    accepts="float",
    partials=(lambda out, x: -1 / sqrt(one_minus_square(x)),),
)
ATAN = elementwise(
    "atan", numpy=np.arctan, code="atan({0})", accepts="float", partials=(lambda out, x: 1 / (1 + x * x),)
)


def _turn(x: Node, y: Node) -> Node:
    """Return x / (x*x + y*y), and 0 at the origin and at infinity; the square itself could overflow."""
    radius = hypot(x, y)
    return where(equal(radius, 0) | isinf(radius), 0, x / radius / radius)


ATAN2 = elementwise(
    "atan2",
    numpy=np.arctan2,
    code="atan2({0}, {1})",
    accepts="float",
    partials=(lambda out, y, x: _turn(x, y), lambda out, y, x: -_turn(y, x)),
)
SECH = elementwise(
    "sech", numpy=lambda x: _sech(x), code="sech({0})", accepts="float", partials=(lambda out, x: -tanh(x) * out,)
)
SINH = elementwise("sinh", numpy=np.sinh, code="sinh({0})", accepts="float", partials=(lambda out, x: cosh(x),))
COSH = elementwise("cosh", numpy=np.cosh, code="cosh({0})", accepts="float", partials=(lambda out, x: sinh(x),))
TANH = elementwise(
    "tanh",
    numpy=np.tanh,
    code="tanh({0})",
    accepts="float",
    partials=(lambda out, x: square(sech(x)),),  # 1 - out*out cancels for large x
)
ASINH = elementwise(
    "asinh",
    numpy=np.arcsinh,
    code="asinh({0})",
    accepts="float",
    partials=(lambda out, x: 1 / hypot(x, 1),),  # x*x overflows
)
ACOSH = elementwise(
    "acosh",
    numpy=np.arccosh,
    code="acosh({0})",
    accepts="float",
    partials=(lambda out, x: 1 / (sqrt(x - 1) * sqrt(x + 1)),),
)
ATANH = elementwise(
    "atanh", numpy=np.arctanh, code="atanh({0})", accepts="float", partials=(lambda out, x: 1 / one_minus_square(x),)
)


def _sech(x: Array) -> Array:
    """Return 1 / cosh(x) from exp(-|x|), which cannot overflow."""
    small = np.exp(-np.abs(x))
    return np.asarray(2 * small / (1 + small * small))


def one_minus_square(x: Any, /) -> Node:
    """Return `1 - x**2`, accurate near 1 and -1, where the square loses what the difference needs."""
    return pointwise(ONE_MINUS_SQUARE, x)


def sin(x: Any, /) -> Node:
    """Return the sine of an angle in radians."""
    return pointwise(SIN, x)


def cos(x: Any, /) -> Node:
    """Return the cosine of an angle in radians."""
    return pointwise(COS, x)


def tan(x: Any, /) -> Node:
    """Return the tangent of an angle in radians."""
    return pointwise(TAN, x)


def asin(x: Any, /) -> Node:
    """Return the angle in -pi/2..pi/2 whose sine is `x`; nan outside -1..1."""
    return pointwise(ASIN, x)


def acos(x: Any, /) -> Node:
    """Return the angle in 0..pi whose cosine is `x`; nan outside -1..1."""
    return pointwise(ACOS, x)


def atan(x: Any, /) -> Node:
    """Return the angle in -pi/2..pi/2 whose tangent is `x`."""
    return pointwise(ATAN, x)


def atan2(x1: Any, x2: Any, /) -> Node:
    """Return the angle in -pi..pi of the point with ordinate `x1` and abscissa `x2`; gradient 0 at (0, 0).

    >>> atan2(0.0, -1.0).eval()
    array(3.14159265)
    """
    return pointwise(ATAN2, x1, x2)


def sinh(x: Any, /) -> Node:
    """Return the hyperbolic sine."""
    return pointwise(SINH, x)


def cosh(x: Any, /) -> Node:
    """Return the hyperbolic cosine."""
    return pointwise(COSH, x)


def sech(x: Any, /) -> Node:
    """Return `1 / cosh(x)`, with derivatives that do not overflow; its square is the derivative of `tanh`."""
    return pointwise(SECH, x)


def tanh(x: Any, /) -> Node:
    """Return the hyperbolic tangent."""
    return pointwise(TANH, x)


def asinh(x: Any, /) -> Node:
    """Return the inverse of `sinh`."""
    return pointwise(ASINH, x)


def acosh(x: Any, /) -> Node:
    """Return the non-negative inverse of `cosh`; nan below 1."""
    return pointwise(ACOSH, x)


def atanh(x: Any, /) -> Node:
    """Return the inverse of `tanh`: inf at 1, nan outside -1..1."""
    return pointwise(ATANH, x)


# -- the logistic family


def sigmoid_values(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) from exp(-|x|), which cannot overflow."""
    tail = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, tail, np.ones_like(tail)) / (1 + tail))


SIGMOID = elementwise(
    "sigmoid",
    numpy=sigmoid_values,
    code="sigmoid({0})",
    accepts="float",
    partials=(lambda out, x: sigmoid_slope(x),),  # out * (1 - out) cancels for positive x
)
SIGMOID_SLOPE = elementwise(
    "sigmoid_slope",
    numpy=lambda x: _sigmoid_slope(x),
    code="sigmoid_slope({0})",
    accepts="float",
    partials=(lambda out, x: -tanh(0.5 * x) * out,),
)
SOFTPLUS = elementwise(
    "softplus",
    numpy=lambda x: np.logaddexp(x, np.zeros_like(x)),
    code="softplus({0})",
    accepts="float",
    partials=(lambda out, x: sigmoid(x),),
)


def _sigmoid_slope(x: Array) -> Array:
    tail = np.exp(-np.abs(x))
    return np.asarray(tail / ((1 + tail) * (1 + tail)))


def sigmoid_slope(x: Any, /) -> Node:
    """Return `sigmoid(x) * sigmoid(-x)`, the derivative of `sigmoid`, accurate at every order."""
    return pointwise(SIGMOID_SLOPE, x)


def sigmoid(x: Any, /) -> Node:
    """Return `1 / (1 + exp(-x))`, without overflow anywhere.

    >>> sigmoid([0.0, 1000.0, -1000.0]).eval()
    array([0.5, 1. , 0. ])
    """
    return pointwise(SIGMOID, x)


def softplus(x: Any, /) -> Node:
    """Return `log(1 + exp(x))`, without overflow anywhere.

    >>> softplus([1000.0, -1000.0]).eval()
    array([1000.,    0.])
    """
    return pointwise(SOFTPLUS, x)
