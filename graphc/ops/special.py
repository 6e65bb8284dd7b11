"""Special functions: the error and gamma families, as records and functions; public as `gc.special`.

Names and meanings are SciPy's. SciPy is imported when a value is first computed, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np

from graphc.graph.arguments import whole
from graphc.graph.node import Node
from graphc.graph.op import Cotangents, apply
from graphc.graph.types import Array, DType, TensorType
from graphc.ops.elementwise import clip, square, where
from graphc.ops.elementwise_float import exp
from graphc.ops.pointwise import Elementwise, Pointwise, elementwise, masked_multiply, pointwise, promote

DENSITY = 2 / sqrt(pi)
ROOT_HALF = sqrt(0.5)
DENSITY_LIMIT = 40.0
"""Beyond this, the density of the normal distribution is 0 in float64."""


def _scipy(name: str) -> Callable[..., Any]:
    """Return SciPy's special function `name`, imported when it is called."""

    def call(*arrays: Array) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*arrays)

    return call


ERF = elementwise(
    "erf", numpy=_scipy("erf"), code="erf({0})", accepts="float", partials=(lambda out, x: DENSITY * exp(-(x * x)),)
)
ERFC = elementwise(
    "erfc",
    numpy=_scipy("erfc"),
    code="erfc({0})",
    accepts="float",
    partials=(lambda out, x: -DENSITY * exp(-(x * x)),),
)
GAMMALN = elementwise(
    "gammaln", numpy=_scipy("gammaln"), code="lgamma({0})", accepts="float", partials=(lambda out, x: digamma(x),)
)
DIGAMMA = elementwise(
    "digamma",
    numpy=_scipy("digamma"),
    code="digamma({0})",
    accepts="float",
    partials=(lambda out, x: polygamma(1, x),),
)


NDTR = elementwise(
    "ndtr", numpy=_scipy("ndtr"), code="ndtr({0})", accepts="float", partials=(lambda out, x: normal_density(x),)
)
NORMAL_DENSITY = elementwise(
    "normal_density",
    numpy=lambda x: np.exp(x * x / -2) * x.dtype.type(1 / sqrt(2 * pi)),
    code="normal_density({0})",
    accepts="float",
    partials=(lambda out, x: -clip(x, -DENSITY_LIMIT, DENSITY_LIMIT) * out,),  # inf * 0 would be nan
)


def excess(y: Array) -> Array:
    """Return r with phi(y) / Phi(-y) = y + r, for y above 0: Laplace's continued fraction, in which all is positive."""
    r = np.zeros_like(y)
    for k in range(80, 0, -1):
        r = k / (y + r)
    return np.asarray(r, y.dtype)


def slope_of_erfcx(x: Array) -> Array:
    """Return 2 / sqrt(pi) - 2 x erfcx(x), where that cancels by a continued fraction."""
    x = np.asarray(x)
    y = np.abs(x) * x.dtype.type(sqrt(2))
    r = excess(y)
    direct = DENSITY - 2 * x * _scipy("erfcx")(x)
    return np.asarray(np.where(x > 1, DENSITY * (r / (y + r)), direct), x.dtype)


def _log_ndtr_slope(x: Array) -> Array:
    left = sqrt(2 / pi) / _scipy("erfcx")(x * -ROOT_HALF)
    right = np.exp(x * x / -2) / sqrt(2 * pi) / _scipy("ndtr")(x)
    return np.asarray(np.where(x > 0, right, left), x.dtype)


def _log_ndtr_excess(x: Array) -> Array:
    return np.asarray(np.where(x < -4, excess(-x), _log_ndtr_slope(x) + x), x.dtype)


def _log_erfc(x: Array) -> Array:
    near, far = np.log1p(-_scipy("erf")(x)), np.log(_scipy("erfcx")(x)) - x * x
    return np.asarray(np.where(x < 0.5, near, far), x.dtype)


def _curvature_of_erfcx(x: Node) -> Node:
    """Return the second derivative of `erfcx`, for large x by its asymptotic series (Abramowitz and Stegun, 7.1.23)."""
    w = 1 / x
    u = square(w)
    series = 2 - u * (6 - u * (22.5 - u * (105 - u * 590.625)))
    return where(x > 50, w * u * series * (1 / sqrt(pi)), 2 * erfcx(x) - 2 * x * erfcx_slope(x))


ERFCX = elementwise(
    "erfcx",
    numpy=_scipy("erfcx"),
    code="erfcx({0})",
    accepts="float",
    partials=(lambda out, x: -erfcx_slope(x),),
)
ERFCX_SLOPE = elementwise(
    "erfcx_slope",
    numpy=slope_of_erfcx,
    code="erfcx_slope({0})",
    accepts="float",
    partials=(lambda out, x: -_curvature_of_erfcx(x),),
)
LOG_ERFC = elementwise(
    "log_erfc",
    numpy=_log_erfc,
    code="select({0} < {T}(0.5), log1p(-erf({0})), log(erfcx({0})) - {0} * {0})",
    accepts="float",
    partials=(lambda out, x: -sqrt(2) * log_ndtr_slope(x * -sqrt(2)),),
)
LOG_NDTR = elementwise(
    "log_ndtr",
    numpy=_scipy("log_ndtr"),
    code=f"select({{0}} > {{T}}(0), log1p(-ndtr(-{{0}})),"
    f" log({{T}}(0.5) * erfcx({{T}}({-ROOT_HALF!r}) * {{0}})) - {{T}}(0.5) * {{0}} * {{0}})",
    accepts="float",
    partials=(lambda out, x: log_ndtr_slope(x),),
)
LOG_NDTR_SLOPE = elementwise(
    "log_ndtr_slope",
    numpy=_log_ndtr_slope,
    code=f"select({{0}} > {{T}}(0), normal_density({{0}}) / ndtr({{0}}),"
    f" {{T}}({sqrt(2 / pi)!r}) / erfcx({{T}}({-ROOT_HALF!r}) * {{0}}))",
    accepts="float",
    partials=(lambda out, x: -out * pointwise(LOG_NDTR_EXCESS, x),),
)
LOG_NDTR_EXCESS: Elementwise = elementwise(
    "log_ndtr_excess",  # the slope less -x, to which it tends
    numpy=_log_ndtr_excess,
    # Far out it is -1 / x (Abramowitz and Stegun, 26.2.12), where erfcx_slope underflows.
    code=f"select({{0}} > {{T}}(0), normal_density({{0}}) / ndtr({{0}}) + {{0}}, select({{0}} < {{T}}(-1e8),"
    f" {{T}}(-1) / {{0}}, {{T}}({1 / sqrt(2)!r})"
    f" * erfcx_slope({{T}}({-ROOT_HALF!r}) * {{0}}) / erfcx({{T}}({-ROOT_HALF!r}) * {{0}})))",
    accepts="float",
    partials=(lambda out, x: 1 - out * log_ndtr_slope(x),),
)


@dataclass(frozen=True)
class Polygamma(Pointwise):
    """The derivative of `digamma` of an order of at least 1."""

    name = "polygamma"
    order: int

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        import scipy.special

        with np.errstate(all="ignore"):
            return np.asarray(scipy.special.polygamma(self.order, arrays[0]), arrays[0].dtype)

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        return f"polygamma({self.order}, {{0}})"

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (masked_multiply(g, polygamma(self.order + 1, *inputs)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        return None if t is None else masked_multiply(t, polygamma(self.order + 1, *inputs))


def erf(x: Any, /) -> Node:
    """Return the error function: 2/sqrt(pi) times the integral of exp(-t*t) from 0 to `x`."""
    return pointwise(ERF, x)


def erfc(x: Any, /) -> Node:
    """Return `1 - erf(x)`, accurate for large `x`."""
    return pointwise(ERFC, x)


def ndtr(x: Any, /) -> Node:
    """Return the distribution function of the standard normal distribution, accurate in the left tail too.

    >>> ndtr([-20.0, 0.0]).eval()
    array([2.75362412e-89, 5.00000000e-01])
    """
    return pointwise(NDTR, x)


def erfcx(x: Any, /) -> Node:
    """Return `exp(x**2) * erfc(x)`, for large `x` too.

    >>> erfcx([0.0, 1e8]).eval()
    array([1.00000000e+00, 5.64189584e-09])
    """
    return pointwise(ERFCX, x)


def erfcx_slope(x: Any, /) -> Node:
    """Return minus the derivative of `erfcx`: positive, and accurate for large `x`."""
    return pointwise(ERFCX_SLOPE, x)


def log_erfc(x: Any, /) -> Node:
    """Return `log(erfc(x))`, without underflow."""
    return pointwise(LOG_ERFC, x)


def log_ndtr(x: Any, /) -> Node:
    """Return `log(ndtr(x))`, accurate in both tails: the log likelihood of a probit model.

    >>> log_ndtr([-1e4, 0.0]).eval()
    array([-5.00000101e+07, -6.93147181e-01])
    """
    return pointwise(LOG_NDTR, x)


def log_ndtr_slope(x: Any, /) -> Node:
    """Return the derivative of `log_ndtr`, the normal density over `ndtr`: about `-x` in the left tail."""
    return pointwise(LOG_NDTR_SLOPE, x)


def normal_density(x: Any, /) -> Node:
    """Return the derivative of `ndtr`, which a kernel computes along with it."""
    return pointwise(NORMAL_DENSITY, x)


def gammaln(x: Any, /) -> Node:
    """Return the logarithm of the absolute value of the gamma function: inf at 0, -1, -2, ...

    >>> gammaln(1.0).eval()
    array(0.)
    """
    return pointwise(GAMMALN, x)


def digamma(x: Any, /) -> Node:
    """Return the derivative of `gammaln`: -inf at 0, inf at -0.0, nan at -1, -2, ..."""
    return pointwise(DIGAMMA, x)


def polygamma(n: int, x: Any, /) -> Node:
    """Return the derivative of order `n` (an int of at least 0) of `digamma`.

    >>> polygamma(1, 1.0).eval()
    array(1.64493407)
    """
    n = whole("polygamma: order", n, 0)
    return digamma(x) if n == 0 else apply(Polygamma(n), promote("polygamma", "float", [x])[0])
