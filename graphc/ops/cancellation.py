"""Functions that rules write where the textbook formula cancels, and near which its derivatives do.

`sqrt(1 + x) - 1`, `x log(x)` at 0, `sin(x) / x`. They are records like any other, so that they have accurate
derivatives of their own; none has a public name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial, prod
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.graph.op import Cotangents, apply
from graphc.graph.types import Array, DType, TensorType
from graphc.ops.elementwise_float import log, log1p, sqrt
from graphc.ops.pointwise import Elementwise, Pointwise, elementwise, masked_multiply, pointwise, promote
from graphc.ops.radial import direction

SQRT1P_MINUS_ONE = elementwise(
    "sqrt1p_minus_one",
    numpy=lambda x: np.where(x < 1, x / (np.sqrt(1 + x) + 1), np.sqrt(1 + x) - 1),
    code="select({0} < {T}(1), {0} / (sqrt({T}(1) + {0}) + {T}(1)), sqrt({T}(1) + {0}) - {T}(1))",
    accepts="float",
    partials=(lambda out, x: 0.5 / sqrt(1 + x),),
)
HYPOT_MINUS_ONE = elementwise(
    "hypot_minus_one",
    numpy=lambda x: np.where(np.abs(x) < 1, x * x / (np.sqrt(1 + x * x) + 1), np.hypot(x, x.dtype.type(1)) - 1),
    code="select(fabs({0}) < {T}(1), {0} * {0} / (sqrt({T}(1) + {0} * {0}) + {T}(1)), hypot({0}, {T}(1)) - {T}(1))",
    accepts="float",
    partials=(lambda out, x: direction(x, 1.0, out + 1),),
)
ROOT_PLUS = elementwise(
    "root_plus",
    numpy=lambda x, c: np.sqrt(x * x + c),
    code="sqrt({0} * {0} + {1})",
    accepts="float",
    partials=(lambda out, x, c: pointwise(OVER_ROOT_PLUS, x, c, out), lambda out, x, c: 0.5 / out),
)
OVER_ROOT_PLUS: Elementwise = elementwise(
    "over_root_plus",
    numpy=lambda x, c, r: x / r,
    code="{0} / {2}",
    accepts="float",
    partials=(  # c / r**3 and -x / (2 r**3): that of x / r would be a difference; r moves with x and c, not by itself
        lambda out, x, c, r: c / r / r / r,
        lambda out, x, c, r: -0.5 * out / r / r,
        None,
    ),
)
XLOGX = elementwise(
    "xlogx",
    numpy=lambda x: np.where(x == 0, np.zeros_like(x), x * np.log(x)),
    code="select({0} == {T}(0), {T}(0), {0} * log({0}))",
    accepts="float",
    partials=(lambda out, x: log(x) + 1,),
)
XLOGX_OF_REST = elementwise(
    "xlogx_of_rest",
    numpy=lambda x: np.where(x == 1, np.zeros_like(x), (1 - x) * np.log1p(-x)),
    code="select({0} == {T}(1), {T}(0), ({T}(1) - {0}) * log1p(-{0}))",
    accepts="float",
    partials=(lambda out, x: -log1p(-x) - 1,),
)


def sqrt1p_minus_one(x: Any, /) -> Node:
    """Return `sqrt(1 + x) - 1`, accurate near 0."""
    return pointwise(SQRT1P_MINUS_ONE, x)


def hypot_minus_one(x: Any, /) -> Node:
    """Return `sqrt(1 + x**2) - 1`, accurate near 0, without overflow."""
    return pointwise(HYPOT_MINUS_ONE, x)


def root_plus(x: Any, c: Any, /) -> Node:
    """Return `sqrt(x**2 + c)` for positive `c`, with derivatives that do not cancel for large `x`."""
    return pointwise(ROOT_PLUS, x, c)


def xlogx(x: Any, /) -> Node:
    """Return `x * log(x)`: 0 at 0, where the derivative is -inf."""
    return pointwise(XLOGX, x)


def xlogx_of_rest(x: Any, /) -> Node:
    """Return `(1 - x) * log(1 - x)`, accurate near 0: 0 at 1, where the derivative is inf."""
    return pointwise(XLOGX_OF_REST, x)


# -- sin(x) / x and its derivatives


@dataclass(frozen=True)
class Sinc(Pointwise):
    """j_n(x) / x**n, a spherical Bessel function; for n = 0, sin(x) / x.

    With s_n this function, s_n' = -x s_(n+1), and x**2 s_(n+1) = (2 n + 1) s_n - s_(n-1), which cancels below n + 1.
    There its power series is taken (Abramowitz and Stegun, 10.1.2, 10.1.19, 10.1.24).
    """

    name = "sinc"
    order: int

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    @property
    def series(self) -> list[float]:
        """The coefficients of the powers of x**2."""
        n = self.order
        return [(-0.5) ** k / factorial(k) / prod(range(1, 2 * (n + k) + 2, 2)) for k in range(14)]

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        with np.errstate(all="ignore"):
            near = np.polyval(np.array(self.series[::-1], x.dtype), x * x)
            last, far = np.cos(x), np.sin(x) / x
            for n in range(self.order):
                last, far = far, ((2 * n + 1) * far - last) / x / x
            return np.asarray(np.where(np.abs(x) < self.order + 1, near, far), x.dtype)

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        last, far = "cos({0})", "sin({0}) / {0}"
        for n in range(self.order):
            last, far = far, f"({{T}}({2 * n + 1}) * ({far}) - {last}) / {{0}} / {{0}}"
        return f"select(fabs({{0}}) < {{T}}({self.order + 1}), {polynomial('({0} * {0})', self.series)}, {far})"

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (masked_multiply(g, self._slope(*inputs)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        return None if t is None else masked_multiply(t, self._slope(*inputs))

    def _slope(self, x: Node) -> Node:
        return -(x * apply(Sinc(self.order + 1), x))


def sinc(x: Any, /) -> Node:
    """Return `sin(x) / x`, and 1 at 0, with derivatives of every order."""
    return apply(Sinc(0), promote("sinc", "float", [x])[0])


def polynomial(variable: str, coefficients: Sequence[float]) -> str:
    """Return the scalar expression of a polynomial, the constant term first."""
    source = f"{{T}}({coefficients[-1]!r})"
    for c in coefficients[-2::-1]:
        source = f"({{T}}({c!r}) + {variable} * {source})"
    return source
