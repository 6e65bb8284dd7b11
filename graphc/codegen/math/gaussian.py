"""The error functions and the normal distribution, from one exponential and one polynomial.

For z >= 0, erfc(z) = exp(-z**2) f(z), where (1 + 9/8 z) f(z) is nearly constant and smooth up to infinity: a polynomial
in t = (z - c) / (z + c). The rounding error of the square is made good, since it would be multiplied by z**2; the
exponential is in terms of the rounded square, so that a density beside it in the kernel shares nearly all of it. erf
needs f beyond 1 only, and with an absolute error only: there it is a quotient of two short polynomials.
The normal distribution is computed so in every precision: the C library has no such function, and its erfc would be
given a rounded argument. After Shepherd and Laframboise, Chebyshev approximation of (1 + 2x) exp(x^2) erfc(x), 1981.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.codegen.math.polynomials import FORMATS, Power, exp_parts, horner, split_horner

if TYPE_CHECKING:
    from graphc.codegen.math.emit import Emitter, Value

TAIL_CENTRE = {"f64": 4.0, "f32": 3.0}
TAIL_SLOPE = 1.125
TAIL_END = {"f64": 27.5, "f32": 10.5}
"""From here on erfc is 0."""
NORMAL_END = {"f64": 39.0, "f32": 15.0}
"""From here on the normal density is 0."""
ROOT_HALF = 0.7071067811865476
DENSITY = 0.3989422804014327
"""That of the normal distribution at 0: 1 / sqrt(2 pi)."""


def tail_factor(m: Emitter, z: Value) -> Value:
    """Return exp(z**2) erfc(z) for z >= 0."""
    centre, table = TAIL_CENTRE[z.kind], FORMATS[z.kind].table["TAIL"]
    t = (z - centre) / (z + centre)
    return m.muladd(split_horner(m, t, table[1:]), t, table[0]) / m.muladd(z, TAIL_SLOPE, 1.0)


def short_tail_factor(m: Emitter, z: Value) -> Value:
    """As `tail_factor`, for z >= 1, with an error that is small beside 1 - erfc(z)."""
    table = FORMATS[z.kind].table
    return horner(m, z, table["SHORT_TAIL_OVER"]) / horner(m, z, table["SHORT_TAIL_UNDER"])


def square_error(m: Emitter, x: Value, square: Value) -> Value:
    """Return x * x - square, where `square` is the rounded product."""
    if m.fused:
        return m.fma(x, x, -square)
    f = FORMATS[x.kind]
    high = m.from_bits(m.bits(x) & -(1 << f.mantissa // 2 + 1))
    low = x - high
    return ((high * high - square) + (high + high) * low) + low * low


def upper_tail(m: Emitter, z: Value, square: Value, error: Value) -> Value:
    """Return erfc(z) for z >= 0, where `square` + `error` is z**2."""
    f = tail_factor(m, z)
    return exp_parts(m, -square, negative=True).corrected(m, -error).times(m, f)


def scaled_place(m: Emitter, z: Value) -> Value:
    """Return (z - c) / (z + c), and 1 at infinity."""
    centre = TAIL_CENTRE[z.kind]
    return 1.0 - (2 * centre) / (z + centre)


def growth(m: Emitter, z: Value) -> Value:
    """Return exp(z**2) for z >= 0."""
    w = m.select(z > TAIL_END[z.kind], TAIL_END[z.kind], z)
    return exp_parts(m, w * w).corrected(m, square_error(m, w, w * w)).times(m)


def erfcx(m: Emitter, x: Value) -> Value:
    """Return exp(x**2) erfc(x), for large x too, where the factors are inf and 0."""
    z = m.fabs(x)
    t, table = scaled_place(m, z), FORMATS[x.kind].table["SCALED_TAIL"]
    half = m.muladd(z, TAIL_SLOPE / 2, 0.5)  # the whole overflows for the largest z
    tail = m.muladd(split_horner(m, t, table[1:]), t, table[0]) * 0.5 / half
    return m.select(x < 0, growth(m, z) * 2.0 - tail, tail)


def erfcx_slope(m: Emitter, x: Value) -> Value:
    """Return minus the derivative of `erfcx`, positive everywhere: 2 / sqrt(pi) - 2 x erfcx(x) would cancel."""
    z = m.fabs(x)
    t, table = scaled_place(m, z), FORMATS[x.kind].table["SCALED_SLOPE"]
    tail = m.muladd(split_horner(m, t, table[1:]), t, table[0]) / (z + 1.0) / (z + 1.0)
    return m.select(x < 0, m.muladd(z * 4.0, growth(m, z), tail), tail)


def limited(m: Emitter, x: Value, end: float) -> Value:
    """Limit |x| to `end`; NaN stays."""
    z = m.fabs(x)
    return m.select(z > end, end, z)


def normal_parts(m: Emitter, x: Value) -> tuple[Power, Value]:
    """Return exp(-x**2 / 2) and |x|, limited to where this is 0."""
    z = limited(m, x, NORMAL_END[x.kind])
    square = z * z
    return exp_parts(m, square * -0.5, negative=True).corrected(m, square_error(m, z, square) * -0.5), z


def normal_density(m: Emitter, x: Value) -> Value:
    """Return exp(-x**2 / 2) / sqrt(2 pi)."""
    return normal_parts(m, x)[0].times(m, m.constant(DENSITY, x.kind))


def ndtr(m: Emitter, x: Value) -> Value:
    """Return the normal distribution function; the parts of the exponential are those of `normal_density`."""
    density, z = normal_parts(m, x)
    tail = density.times(m, tail_factor(m, z * ROOT_HALF) * 0.5)
    return m.select(x > 0, 1.0 - tail, tail)


def erfc(m: Emitter, x: Value) -> Value:
    """Return 1 - erf(x)."""
    z = limited(m, x, TAIL_END[x.kind])
    tail = upper_tail(m, z, x * x, square_error(m, z, z * z))
    return m.select(x < 0, 2.0 - tail, tail)


def erf(m: Emitter, x: Value) -> Value:
    """Return the error function: a polynomial below 1, the complement of the tail above."""
    table = FORMATS[x.kind].table
    square = x * x
    z = limited(m, x, TAIL_END[x.kind])
    tail = exp_parts(m, -square, negative=True).times(m) * short_tail_factor(m, z)
    near = m.muladd(x, horner(m, square, table["ERF"]), x)
    return m.select(m.fabs(x) < 1.0, near, m.copysign(1.0 - tail, x))
