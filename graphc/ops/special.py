"""Special functions: the error and gamma families, as records and functions; public as `gc.special`.

Names and meanings are SciPy's. SciPy is imported when a value is first computed, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np

from graphc.arguments import whole
from graphc.node import Node
from graphc.ops.base import Cotangents, apply
from graphc.ops.elementwise import clip
from graphc.ops.elementwise_float import exp
from graphc.ops.pointwise import Pointwise, elementwise, masked_multiply, pointwise, promote
from graphc.types import Array, DType, TensorType

DENSITY = 2 / sqrt(pi)
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
