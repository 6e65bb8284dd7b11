"""The derivatives of log gamma, branch-free: digamma and polygamma of a literal order.

Positive arguments below a threshold are shifted up by the recurrence psi(x) = psi(x + 1) - 1/x (Abramowitz and Stegun
6.3.5, 6.4.6), then the asymptotic series is summed (6.3.18, 6.4.11). Negative ones are reflected (6.3.7, 6.4.7).
Relative errors are about 1e-15 (float32: 5e-7) away from the zeros, of digamma also at the two zeros next to 0, where
its Taylor series is taken. Special values are SciPy's.
"""

from __future__ import annotations

import math
from fractions import Fraction

from graphc.codegen.math.emit import Emitter, Value
from graphc.codegen.math.polynomials import horner

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

# The zeros of digamma next to 0, each as a float32, what a float64 holds beyond it, and the rest; then the coefficients
# of the Taylor series about it, psi_k(zero) / k!, for mpmath's values.
_ZEROS = (
    (
        1.4616321325302124,
        1.2438149843418955e-08,
        9.549995429965697e-17,
        (
            0.9676722454476212,
            -0.4427631689835921,
            0.258499760955651,
            -0.16394270544240652,
            0.10782405069126237,
            -0.07219956125645471,
            0.04880428816414311,
            -0.03316112647484736,
            0.022597648232218104,
            -0.01542476590494896,
            0.010538791616612175,
            -0.007204534386356869,
            0.004926781395729853,
            -0.003369801655439328,
            0.002305126326734928,
            -0.0015769367714301972,
            0.0010788252019162967,
            -0.0007380709389960052,
            0.000504953265834602,
            -0.0003454680251063077,
            0.00023635601564027053,
            -0.00016170622091974803,
            0.0001106337276874741,
            -7.569179582195066e-05,
        ),
    ),
    (
        -0.5040830373764038,
        2.9111948407489763e-08,
        -8.15428206243813e-18,
        (
            8.939798558792134,
            -0.8093454625306507,
            32.258572064915505,
            -2.761011648790828,
            128.27342343090902,
            -14.70672173553036,
            513.2704629562862,
            -75.37700066344631,
            2055.5357119463315,
            -368.5783503832191,
            8234.667099203069,
            -1743.364608867363,
            32997.785655255044,
            -8051.818155363498,
            132262.95480834588,
            -36529.94596948565,
            530280.3912420176,
            -163451.79342700253,
            2126602.3725968753,
            -723318.8861804305,
            8530604.878543982,
            -3172131.3155744765,
            34228316.69580112,
            -13807481.997263888,
        ),
    ),
)
_NEAR, _SERIES = (0.2, 0.08), {"f64": 24, "f32": 11}
"""How far from each zero its series is taken, and how many terms of it."""


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
    reflected = result - math.pi * _cotangent(m, t)
    result = m.select(x < 0, m.select(t == 0, float("nan"), reflected), result)
    result = _beside_zeros(m, x, result)
    return m.select(x == 0, m.copysign(m.constant(INF, x.kind), -x), result)


def _beside_zeros(m: Emitter, x: Value, result: Value) -> Value:
    """Take the Taylor series about the zero on the side of x where x is near it: terms cancel in other formulas."""
    right, left = _ZEROS

    def chosen(positive: float, negative: float) -> Value:
        return m.select(x < 0, m.constant(negative, x.kind), m.constant(positive, x.kind))

    distance = ((x - chosen(right[0], left[0])) - chosen(right[1], left[1])) - chosen(right[2], left[2])
    series = m.constant(0.0, x.kind)
    for k in reversed(range(_SERIES[x.kind])):
        series = m.muladd(series, distance, chosen(right[3][k], left[3][k]))
    near = m.fabs(distance) < chosen(*_NEAR)
    return m.select(near, series * distance, result)


def _cotangent(m: Emitter, t: Value) -> Value:
    """Return cot(pi t) for |t| <= 1/2; beyond 1/4 as the tangent of pi (1/2 - |t|), which is exact at its zero."""
    size = m.fabs(t)
    outer = size > 0.25
    tangent = m.call("tan", m.select(outer, 0.5 - size, size) * math.pi)
    return m.copysign(m.select(outer, tangent, 1.0 / tangent), t)


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
    c = _cotangent(m, t)
    scale = math.pi ** (order + 1)
    value = horner(m, c * c, tuple(k * scale for k in polynomial[parity::2]))
    return value * c if parity else value
