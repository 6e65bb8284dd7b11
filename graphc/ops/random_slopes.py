"""Derivatives of samples by their distributions' parameters, by implicit differentiation.

For a number x with the distribution function F(x; a), x moves with a as dx/da = -(dF/da) / (dF/dx) (Figurnov, Mohamed
and Mnih 2018, "Implicit reparameterization gradients"). Written as integrals over one side of x, the quotient has no
small differences; substituted to a range beyond which the integrand is below e**-36, Gauss and Legendre's rule of
32 points gives it to about 13 digits. Everything is ordinary nodes, so derivatives of every order exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from graphc.graph.node import Node
from graphc.graph.op import constant
from graphc.ops.elementwise import asin, atan, exp, expm1, log1p, minimum, sin, sqrt, stop_gradient, where
from graphc.ops.manipulation import expand_dims
from graphc.ops.reduction import sum
from graphc.ops.special import digamma, erf

LENGTH = 36.0
POINTS = 32


@cache
def _rule() -> tuple[Node, Node]:
    """Return the points and the weights of the rule on [0, 1], for the square root: integrands fall fastest at 0."""
    points, weights = np.polynomial.legendre.leggauss(POINTS)
    roots = (points + 1) / 2
    return constant(roots * roots), constant(roots * weights)


def integral(function: Callable[..., Node], end: Node, *operands: Node) -> Node:
    """Return the integral over u from 0 to `end` of function(u, *operands), element by element."""
    points, weights = _rule()
    wide = [expand_dims(x, axis=-1) for x in (end, *operands)]
    return end * sum(weights * function(points * wide[0], *wide[1:]), axis=-1)


def loggamma_slope(x: Node, log_x: Node, a: Node) -> Node:
    """Return d log(x) / da for a gamma number x of shape a and scale 1; float64. Where x has become 0, log_x counts.

    With t = x e**w the two sides of F are integrals of exp(a w - x (e**w - 1)) (log(t) - psi(a)) over w. The lower side
    is taken for a + 1, and continued to a by F(a) = F(a + 1) + x**a e**-x / gamma(a + 1), since for small a its
    integrand has a long tail whose integral cancels.
    """
    upper = x >= a + 1.0
    shape = where(upper, a, a + 1.0)
    side = where(upper, 1.0, -1.0)
    height = log_x - digamma(shape)
    found = integral(_gamma_integrand, stop_gradient(_gamma_range(x, shape, upper)), shape, x, side, height)
    return where(upper, found, (x * found - height) / a)


def _gamma_integrand(u: Node, shape: Node, x: Node, side: Node, height: Node) -> Node:
    w = side * u
    return exp(shape * w - x * expm1(w)) * side * (height + w)


def _gamma_range(x: Node, shape: Node, upper: Node) -> Node:
    """Return where the exponent, at most -d u - x u**2 / 2 above and -d u - x u**2 / (2 + u) below, has lost LENGTH."""
    d = where(upper, x - shape, shape - x)
    parabola = 2 * LENGTH / (d + sqrt(d * d + 2 * LENGTH * x))
    above = minimum(parabola, log1p((LENGTH + shape * parabola) / x))
    b = 2 * d - LENGTH
    return where(upper, above, 4 * LENGTH / (b + sqrt(b * b + 8 * LENGTH * shape)))


def truncated_slopes(x: Node, low: Node, high: Node) -> tuple[Node, Node]:
    """Return dx / dlow and dx / dhigh for a standard normal number x between them; float64."""
    return _mass(x, high) / _mass(low, high), _mass(-x, -low) / _mass(-high, -low)


def _mass(p: Node, q: Node) -> Node:
    """Return the integral of exp((p**2 - t**2) / 2) over t from p to q; inf where it is too large."""
    inside = (p < 0.0) & (q > 0.0)
    across = exp(p * p / 2) * math.sqrt(math.pi / 2) * (erf(q / math.sqrt(2)) - erf(p / math.sqrt(2)))
    negative = p < 0.0
    near = where(inside, 0.0, where(negative, -q, p))
    far = where(inside, 1.0, where(negative, -p, q))
    reach = stop_gradient(2 * LENGTH / (near + sqrt(near * near + 2 * LENGTH)))
    tail = integral(lambda u, start: exp(-u * (start + u / 2)), minimum(far - near, reach), near)
    scale = exp(where(negative & (q <= 0.0), (p * p - q * q) / 2, 0.0))
    return where(inside, across, scale * tail)


def vonmises_slope(t: Node, kappa: Node) -> Node:
    """Return dt / dkappa for t = tan(z / 2) with a von Mises angle z about 0; float64.

    With h = 1 - cos and its mean m, dz / dkappa is the integral of (h - m) exp(kappa (h(z) - h)) from 0 to z, and that
    from z to pi with the other sign: the side on which h - m has one sign is taken.
    """
    odd = where(t < 0.0, -1.0, 1.0)
    half = where(t < 0.0, -t, t)
    z = 2.0 * atan(half)
    own = 2.0 * half * half / (1.0 + half * half)
    reach = stop_gradient(2.0 * asin(sqrt(minimum(LENGTH / 2 / kappa, 1.0))))
    weight = integral(lambda u, k: exp(-k * _versine(u)), reach, kappa)
    mean = integral(lambda u, k: _versine(u) * exp(-k * _versine(u)), reach, kappa) / weight
    lower = own < mean
    limit = 2.0 * asin(sqrt(minimum(own / 2 + LENGTH / 2 / kappa, 1.0)))
    start, end = where(lower, 0.0, z), where(lower, z, where(limit > z, limit, z))

    def integrand(u: Node, s: Node, k: Node, h: Node, m: Node) -> Node:
        here = _versine(s + u)
        return (here - m) * exp(k * (h - here))

    found = integral(integrand, end - start, start, kappa, own, mean)
    return odd * where(lower, found, -found) * (1.0 + half * half) / 2


def _versine(t: Node) -> Node:
    """Return 1 - cos(t)."""
    half = sin(t / 2)
    return 2.0 * half * half
