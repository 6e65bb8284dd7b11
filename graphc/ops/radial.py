"""Cotangents of a distance from the origin: of `sqrt_safe` and of `hypot`.

A function of a distance r pulls back f'(r) / r, which has a limit at 0 if f'(0) = 0: the curvature f''(0). A first
derivative never shows it, since it is multiplied by the vector 0; a second one does. So the quotient is one op of
(g, r), 0 at the origin, and `grad` puts the limit there when it differentiates it again (`autodiff.curvature`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.graph.types import Array
from graphc.ops.elementwise_arithmetic import square, where
from graphc.ops.elementwise_logic import equal
from graphc.ops.pointwise import elementwise, masked_multiply, pointwise

DIRECTION = elementwise(
    "direction",
    numpy=lambda x, y, r: np.where(r == 0, r, x / r),
    code="select({2} == {T}(0), {2}, {0} / {2})",
    accepts="float",
    partials=(  # y**2 / r**3 and -x y / r**3: that of x / r would be a difference; r moves with x and y, not by itself
        lambda out, x, y, r: square(direction(y, x, r)) * _over(r),
        lambda out, x, y, r: -(out * direction(y, x, r)) * _over(r),
        None,
    ),
)


def _absorbing(g: Array, value: Array) -> Array:
    return np.asarray(np.where(g == 0, g, value))


HALF_OVER = elementwise(
    "half_over",
    numpy=lambda g, r: _absorbing(g, np.where(r == 0, np.zeros_like(r), g * g.dtype.type(0.5) / r)),
    code="select({0} == {T}(0), {0}, select({1} == {T}(0), {T}(0), {T}(0.5) * {0} / {1}))",
    accepts="float",
    masks=True,
    partials=(
        lambda g, out, x, r: half_over(g, r),
        lambda g, out, x, r: masked_multiply(g, -2 * half_over(out, r)),
    ),
)
DIRECTED = elementwise(
    "directed",
    numpy=lambda g, x, y, r: _absorbing(g, np.where(r == 0, np.zeros_like(r), g * (x / r))),
    code="select({0} == {T}(0), {0}, select({3} == {T}(0), {T}(0), {0} * ({1} / {3})))",
    accepts="float",
    masks=True,
    partials=(
        lambda g, out, p, x, y, r: directed(g, x, y, r),
        lambda g, out, p, x, y, r: masked_multiply(g, masked_multiply(p, square(direction(y, x, r)) * _over(r))),
        lambda g, out, p, x, y, r: masked_multiply(g, -(out * direction(y, x, r)) * _over(r)),
        None,
    ),
)


def _over(r: Node) -> Node:
    return where(equal(r, 0), 0, 1 / r)


def direction(x1: Any, x2: Any, radius: Any, /) -> Node:
    """Return `x1 / radius`, and 0 at the origin, for a radius that is `hypot(x1, x2)`."""
    return pointwise(DIRECTION, x1, x2, radius)


def half_over(g: Any, radius: Any, /) -> Node:
    """Return `g / (2 * radius)`: 0 at radius 0, and where `g` is 0."""
    return pointwise(HALF_OVER, g, radius)


def directed(g: Any, x1: Any, x2: Any, radius: Any, /) -> Node:
    """Return `g * x1 / radius` for a radius that is `hypot(x1, x2)`: 0 at the origin, and where `g` is 0."""
    return pointwise(DIRECTED, g, x1, x2, radius)
