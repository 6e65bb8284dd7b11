"""Elementary functions as branch-free arithmetic, for systems whose C library has no vector variants.

Each function reduces its argument to a small interval, evaluates a polynomial there (`coefficients`) and rebuilds
the result with integer operations on the bits of floats. Conditions are selects and conversions between integers
and floats are additions of a large constant, so that LLVM vectorises every line on SSE2, AVX2, AVX-512 and NEON.
Errors stay below 2.5 ULP (expm1; others 1.5) over the whole range, subnormal results included, with and without
fused multiply-add; special values are C's. Other families: `circular`, `gaussian`, `logistic`; `elementary` lists all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphc.codegen.math import coefficients
from graphc.codegen.math.roots import ROOTS

if TYPE_CHECKING:
    from graphc.codegen.math.emit import Emitter, Value

INF = float("inf")
NAN = float("nan")


@dataclass(frozen=True)
class Format:
    """A binary floating-point format and the numbers that depend on it."""

    mantissa: int
    bias: int
    tiniest: int
    table: dict[str, tuple[float, ...]]
    half_bits: int
    """The bits of sqrt(1/2), rounded."""

    @property
    def magic(self) -> float:
        """Adding this rounds to a whole number, which then is in the low bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def epsilon(self) -> float:
        return 2.0**-self.mantissa


FORMATS = {
    "f64": Format(52, 1023, -1075, coefficients.F64, 0x3FE6A09E667F3BCD),
    "f32": Format(23, 127, -150, coefficients.F32, 0x3F3504F3),
}


def horner(m: Emitter, x: Value, table: tuple[float, ...]) -> Value:
    """Evaluate a polynomial, constant term first."""
    total = m.constant(table[-1], x.kind)
    for coefficient in table[-2::-1]:
        total = m.muladd(total, x, coefficient)
    return total


def split_horner(m: Emitter, x: Value, table: tuple[float, ...]) -> Value:
    """As `horner`, even and odd powers apart: half as many operations wait in line."""
    square = x * x
    return m.muladd(horner(m, square, table[1::2]), x, horner(m, square, table[::2]))


def paired(m: Emitter, x: Value, square: Value, table: tuple[float, ...]) -> Value:
    """As `horner`, in pairs of coefficients: as many operations, of which fewer wait for each other (Estrin)."""
    pairs = [m.muladd(x, high, low) for low, high in zip(table[::2], table[1::2], strict=False)]
    total = pairs.pop() if len(table) % 2 == 0 else m.constant(table[-1], x.kind)
    for pair in pairs[::-1]:
        total = m.muladd(total, square, pair)
    return total


def clamp(m: Emitter, x: Value, low: float, high: float) -> Value:
    """Limit to low..high; NaN stays."""
    x = m.select(x < low, low, x)
    return m.select(x > high, high, x)


def power_of_two(m: Emitter, k: Value) -> Value:
    """Return 2**k for a whole k within the normal exponents."""
    f = FORMATS[k.kind]
    return m.from_bits(m.bits(k + (f.magic + f.bias)) << f.mantissa)


def scale(m: Emitter, x: Value, k: Value) -> Value:
    """Return x * 2**floor(k). Without `m.scales` k is whole; two steps round subnormal and infinite results once."""
    if m.scales:
        return m.scale(x, k)
    f = FORMATS[x.kind]
    half = (k * 0.5 + f.magic) - f.magic
    return x * power_of_two(m, half) * power_of_two(m, k - half)


@dataclass(frozen=True)
class Power:
    """A positive number as 2**floor(k) root (1 + y); the root is 2**(k - floor(k)), or None for 1 where k is whole."""

    k: Value
    y: Value
    root: Value | None = None

    def times(self, m: Emitter, factor: Value | None = None) -> Value:
        """Return the number, times a factor."""
        if self.root is not None:
            factor = self.root if factor is None else factor * self.root
        return scale(m, self.y + 1.0 if factor is None else m.muladd(factor, self.y, factor), self.k)

    def corrected(self, m: Emitter, error: Value) -> Power:
        """Return the number times 1 + error, for a small error."""
        return replace(self, y=m.muladd(self.y + 1.0, error, self.y))

    def shifted(self, m: Emitter, shift: float = 0.0) -> Value:
        """Return 2**(floor(k) + shift) root, without the factor 1 + y."""
        if self.root is not None:
            return m.scale(self.root, self.k + shift if shift else self.k)
        return power_of_two(m, self.k + shift if shift else self.k)


def reduce_exp(m: Emitter, x: Value, less_one: bool = False) -> Power:
    """Return e**x for an x that neither overflows nor is far below underflow.

    `less_one` where 1 will be subtracted, which takes a longer polynomial.
    """
    f = FORMATS[x.kind]
    high, low = f.table["LN2"]
    magic = f.magic / ROOTS if m.scales else f.magic  # the steps of k are sixteenths, or whole
    moved = m.muladd(x, f.table["LOG2_E"][0] + f.table["LOG2_E"][1], magic)
    k = moved - magic
    r = m.muladd(k, -low, m.muladd(k, -high, x))
    square = r * r
    if not m.scales:
        return Power(k, m.muladd(square, horner(m, r, f.table["EXP"]), r))
    place = m.bits(moved)
    near = r + m.root_rest(place)
    table = f.table["EXPM1_ROOT" if less_one else "EXP_ROOT"]
    return Power(k, m.muladd(square, paired(m, r, square, table), near), m.root(place))


def exp_parts(m: Emitter, x: Value, negative: bool = False, less_one: bool = False) -> Power:
    """As `reduce_exp` for every x; `negative` where x <= 0 is known."""
    f = FORMATS[x.kind]
    low, high = (f.tiniest - 2) * 0.6931471805599453, (f.bias + 2) * 0.6931471805599453
    return reduce_exp(m, m.select(x < low, low, x) if negative else clamp(m, x, low, high), less_one)


def exp(m: Emitter, x: Value) -> Value:
    """Return e**x."""
    return exp_parts(m, x).times(m)


def exp2(m: Emitter, x: Value) -> Value:
    """Return 2**x."""
    f = FORMATS[x.kind]
    x = clamp(m, x, f.tiniest - 2.0, f.bias + 2.0)
    magic = f.magic / ROOTS if m.scales else f.magic
    moved = x + magic
    k = moved - magic
    r = x - k
    near, square = r * sum(f.table["LN2"]), r * r
    if not m.scales:
        return Power(k, m.muladd(square, horner(m, r, f.table["EXP2"]), near)).times(m)
    place = m.bits(moved)
    y = m.muladd(square, paired(m, r, square, f.table["EXP2_ROOT"]), near + m.root_rest(place))
    return Power(k, y, m.root(place)).times(m)


def expm1(m: Emitter, x: Value) -> Value:
    """Return e**x - 1, accurate near 0."""
    f = FORMATS[x.kind]
    power = reduce_exp(m, clamp(m, x, -(f.mantissa + 5.0), (f.bias + 1.2) * 0.6931471805599453), less_one=True)
    half = power.shifted(m, -1.0)  # the whole power overflows for the largest x
    result = m.muladd(half, power.y, half - 0.5) * 2.0
    return m.select(m.fabs(x) < f.epsilon / 4, x, result)


def split_log(m: Emitter, x: Value) -> tuple[Value, Value]:
    """Return k and f with x = 2**k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for positive finite x."""
    f = FORMATS[x.kind]
    lift = f.mantissa + 2
    subnormal = x < 2.0 ** (1 - f.bias)
    normal = m.select(subnormal, x * 2.0**lift, x)
    one = f.bias << f.mantissa
    moved = m.bits(normal) + (one - f.half_bits)
    mantissa = m.from_bits((moved & ((1 << f.mantissa) - 1)) + f.half_bits)
    exponent = m.from_bits((moved >> f.mantissa) | ((f.bias + f.mantissa) << f.mantissa))
    offset = m.select(subnormal, 2.0**f.mantissa + (f.bias + lift), m.constant(2.0**f.mantissa + f.bias, x.kind))
    return exponent - offset, mantissa - 1.0


def log_tail(m: Emitter, f: Value) -> Value:
    """Return log(1 + f) - f.

    With s = f / (2 + f), log(1 + f) = 2 atanh(s) = 2 s + s**3 P(s**2), and 2 s = f - s f.
    """
    s = f / (f + 2.0)
    z = s * s
    return s * (z * horner(m, z, FORMATS[f.kind].table["LOG"]) - f)


def log_domain(m: Emitter, x: Value, result: Value, pole: float = 0.0) -> Value:
    """Put in the special values of a logarithm whose pole is at `pole`."""
    finite = m.select(x < INF, result, x)
    outside = m.select(x == pole, m.constant(-INF, x.kind), NAN)
    return m.select(x > pole, finite, outside)


def log(m: Emitter, x: Value) -> Value:
    """Return the natural logarithm."""
    high, low = FORMATS[x.kind].table["LN2"]
    k, f = split_log(m, x)
    tail = m.muladd(k, low, log_tail(m, f))
    return log_domain(m, x, m.muladd(k, high, f + tail))


def log1p(m: Emitter, x: Value) -> Value:
    """Return log(1 + x), accurate near 0."""
    format_ = FORMATS[x.kind]
    high, low = format_.table["LN2"]
    total = x + 1.0
    virtual = total - 1.0
    rest = (1.0 - (total - virtual)) + (x - virtual)  # total + rest is exactly 1 + x
    k, f = split_log(m, total)
    tail = m.muladd(k, low, log_tail(m, f) + rest / total)
    result = log_domain(m, x, m.muladd(k, high, f + tail), pole=-1.0)
    return m.select(m.fabs(x) < format_.epsilon / 4, x, result)


def scaled_log(m: Emitter, x: Value, factor: tuple[float, ...], exponent: tuple[float, ...]) -> Value:
    """Return k * exponent + log(1 + f) * factor, the product of f carried in two parts."""
    format_ = FORMATS[x.kind]
    k, f = split_log(m, x)
    high = m.from_bits(m.bits(f) & -(1 << (format_.mantissa + 1) // 2))
    rest = m.muladd(f - high, factor[0], m.muladd(f, factor[1], log_tail(m, f) * sum(factor)))
    rest = rest if len(exponent) == 1 else m.muladd(k, exponent[1], rest)
    return log_domain(m, x, k * exponent[0] + (high * factor[0] + rest))


def log2(m: Emitter, x: Value) -> Value:
    """Return the logarithm to base 2; exact for powers of 2."""
    return scaled_log(m, x, FORMATS[x.kind].table["LOG2_E"], (1.0,))


def log10(m: Emitter, x: Value) -> Value:
    """Return the logarithm to base 10."""
    table = FORMATS[x.kind].table
    return scaled_log(m, x, table["LOG10_E"], table["LOG10_2"])
