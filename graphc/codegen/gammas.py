"""The derivatives of log gamma, branch-free: digamma and polygamma of a literal order.

Positive arguments below a threshold are shifted up by the recurrence psi(x) = psi(x + 1) - 1/x (Abramowitz and Stegun
6.3.5, 6.4.6), then the asymptotic series is summed (6.3.18, 6.4.11). Negative ones are reflected (6.3.7, 6.4.7).
Relative errors are about 1e-15 (float32: 5e-7) away from the zeros. Special values are SciPy's.
"""

from __future__ import annotations

import math
from fractions import Fraction

from graphc.codegen.emit import Emitter, Value
from graphc.codegen.polynomials import horner

INF = float("inf")
_SHIFT = {"f64": 10, "f32": 5}
_TERMS = {"f64": 9, "f32": 4}


def _bernoulli(count: int) -> list[Fraction]:
    """Return B2, B4, ..., from sum over k <= m of C(m+1, k) B_k = 0."""
    numbers = [Fraction(1)]
    for m in range(1, 2 * count + 1):
        numbers.append(-sum((math.comb(m + 1, k) * b for k, b in enumerate(numbers)), Fraction(0)) / (m + 1))
    return numbers[2::2]


_BERNOULLI = _bernoulli(12)


def digamma(m: Emitter, x: Value) -> Value:
    """The derivative of log gamma: nan at negative integers, -inf at 0, inf at -0."""
    y = m.select(x < 0, 1.0 - x, x)
    shifted = y < float(_SHIFT[x.kind])
    near = m.select(shifted, y, 1.0)
    # The sum of 1 / (near + i) as one quotient, all of whose terms are positive.
    numerator, denominator = m.constant(1.0, x.kind), near
    for i in range(1, _SHIFT[x.kind]):
        numerator = numerator * (near + float(i)) + denominator
        denominator = denominator * (near + float(i))
    w = m.select(shifted, y + float(_SHIFT[x.kind]), y)
    inverse = 1.0 / w
    z = inverse * inverse
    series = tuple(-float(b / (2 * k + 2)) for k, b in enumerate(_BERNOULLI[: _TERMS[x.kind]]))
    result = m.call("log", w) + m.muladd(z, horner(m, z, series), inverse * -0.5)
    result = m.select(shifted, result - numerator / denominator, result)
    t = x - m.rint(x)
    reflected = result - math.pi / m.call("tan", t * math.pi)
    result = m.select(x < 0, m.select(t == 0, float("nan"), reflected), result)
    return m.select(x == 0, m.copysign(m.constant(INF, x.kind), -x), result)


def polygamma(order: int, m: Emitter, x: Value) -> Value:
    """The derivative of digamma of a literal order; a pole at every integer up to 0, of the sign of its right side."""
    if order == 0:
        return digamma(m, x)
    y = m.select(x < 0, 1.0 - x, x)
    positive = _positive_polygamma(order, m, y)
    t = x - m.rint(x)
    reflected = _cotangent_derivative(order, m, t)
    # psi_n(x) = (-1)**n psi_n(1 - x) - pi d^n cot(pi x)
    mirrored = (positive if order % 2 == 0 else -positive) - reflected
    result = m.select(x < 0, mirrored, positive)
    pole = (x <= 0) & ((t == 0) | (m.fabs(x) == INF))
    return m.select(pole, INF if order % 2 else -INF, result)


def _positive_polygamma(order: int, m: Emitter, y: Value) -> Value:
    """(-1)**(n+1) n! times the Hurwitz zeta function of n + 1, for y > 0."""
    steps = _SHIFT[y.kind] + order
    shifted = y < float(steps)
    near = m.select(shifted, y, 1.0)
    w = m.select(shifted, y + float(steps), y)
    inverse = 1.0 / w
    coefficients = (
        float(b * Fraction(math.factorial(2 * k + 1 + order), math.factorial(2 * k + 2) * math.factorial(order - 1)))
        for k, b in enumerate(_BERNOULLI[: _TERMS[y.kind] + 1])
    )
    series = m.muladd(inverse, horner(m, inverse * inverse, tuple(coefficients)), order / 2.0)
    total = m.muladd(inverse, series, 1.0)
    total = _times_powers(m, total * float(math.factorial(order - 1)), inverse, order)
    direct = m.constant(0.0, y.kind)
    for i in range(steps - 1, -1, -1):
        direct = direct + _times_powers(m, m.constant(1.0, y.kind), 1.0 / (near + float(i)), order + 1)
    total = m.select(shifted, m.muladd(direct, float(math.factorial(order)), total), total)
    return total if order % 2 else -total


def _times_powers(m: Emitter, start: Value, factor: Value, count: int) -> Value:
    """Multiply step by step: the intermediate values then leave the range only if the result does."""
    for _ in range(count):
        start = start * factor
    return start


def _cotangent_derivative(order: int, m: Emitter, t: Value) -> Value:
    """Return pi d^n/dt^n cot(pi t), a polynomial in the cotangent, whose derivative is -(1 + c**2)."""
    polynomial = [0, 1]
    for _ in range(order):
        slope = [k * c for k, c in enumerate(polynomial)][1:]
        polynomial = [-(a + b) for a, b in zip([*slope, 0, 0], [0, 0, *slope], strict=True)]
    parity = (order + 1) % 2
    c = 1.0 / m.call("tan", t * math.pi)
    scale = math.pi ** (order + 1)
    value = horner(m, c * c, tuple(k * scale for k in polynomial[parity::2]))
    return value * c if parity else value
