"""The functions of exp(-|x|): tanh, sech, sigmoid, its slope and softplus, written to share what they have in common.

A value and its gradient need several of them for one x, so all begin with the same expressions, the exponential
among them: within a kernel LLVM computes each once. Divisions are not shared: they run beside multiplications.

With `precision="libm"` the exponential and the logarithm are the C library's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from graphc.codegen.math.polynomials import FORMATS, Power, exp_parts, log_tail

if TYPE_CHECKING:
    from graphc.codegen.math.emit import Emitter, Value

ROOT2 = 1.4142135623730951


def exp_capped(m: Emitter, x: Value) -> Value:
    """Return exp(x), but 1 where x is positive or NaN."""
    below = m.select(x < 0, x, 0.0)
    return m.call("exp", below) if m.precision == "libm" else exp_parts(m, below, negative=True).times(m)


def decay_parts(m: Emitter, x: Value) -> Power:
    """Return exp(-|x|), so that it is accurate less 1 too."""
    return exp_parts(m, -m.fabs(x), negative=True, less_one=True)


def decay(m: Emitter, x: Value) -> Value:
    """Return exp(-|x|)."""
    return m.call("exp", -m.fabs(x)) if m.precision == "libm" else decay_parts(m, x).times(m)


def decay_minus_one(m: Emitter, x: Value) -> Value:
    """Return exp(-|x|) - 1, accurate near 0, from the parts of `decay`."""
    parts = decay_parts(m, x)
    if parts.root is None:
        lowest = -(FORMATS[x.kind].mantissa + 8.0)
        parts = replace(parts, k=m.select(parts.k < lowest, lowest, parts.k))
    power = parts.shifted(m)
    return m.muladd(power, parts.y, power - 1.0)


def one_plus_square(m: Emitter, u: Value) -> Value:
    """Return 1 + (1 + u)**2."""
    return m.muladd(u, u, u + u + 2.0)


def tanh(m: Emitter, x: Value) -> Value:
    """Return the hyperbolic tangent."""
    u = decay_minus_one(m, x)
    return m.copysign(m.muladd(u, u, u + u) / one_plus_square(m, u), x)


def sech(m: Emitter, x: Value) -> Value:
    """Return 1 / cosh(x) = 2 exp(-|x|) / (1 + exp(-2|x|)), with an exponential that cannot overflow."""
    small = decay(m, x)
    square = small * small + 1.0 if m.precision == "libm" else one_plus_square(m, decay_minus_one(m, x))
    return (small + small) / square


def sigmoid(m: Emitter, x: Value) -> Value:
    """Return 1 / (1 + exp(-x)), with an exponential that cannot overflow."""
    small = decay(m, x)
    return m.select(x >= 0, 1.0, small) / (small + 1.0)


def sigmoid_slope(m: Emitter, x: Value) -> Value:
    """Return sigmoid(x) * sigmoid(-x)."""
    small = decay(m, x)
    return small / ((small + 1.0) * (small + 1.0))


def log1p_unit(m: Emitter, x: Value) -> Value:
    """Return log(1 + x) for 0 <= x <= 1, or NaN: none of the special cases of `log1p`."""
    if m.precision == "libm":
        return m.call("log1p", x)
    halved = x > ROOT2 - 1.0
    f = m.select(halved, m.muladd(x, 0.5, -0.5), x)  # (1 + x) / 2 - 1
    return m.select(halved, m.constant(sum(FORMATS[x.kind].table["LN2"]), x.kind), 0.0) + (f + log_tail(m, f))


def softplus(m: Emitter, x: Value) -> Value:
    """Return log(1 + exp(x)) as max(x, 0) + log1p(exp(-|x|))."""
    return m.select(x > 0, x, 0.0) + log1p_unit(m, decay(m, x))


def logaddexp(m: Emitter, a: Value, b: Value) -> Value:
    """Return log(exp(a) + exp(b)); equal arguments apart, since inf - inf is no number."""
    apart = m.select(a > b, a, b) + log1p_unit(m, decay(m, a - b))
    return m.select(a == b, a + 0.6931471805599453, apart)
