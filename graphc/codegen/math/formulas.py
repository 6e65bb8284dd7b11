"""The vocabulary that is neither one instruction nor one library call, as branch-free arithmetic on scalars.

Each function takes the `Emitter` it appends to and typed scalars; see `vecmath` for the meaning of every name.
Conditions become selects, so LLVM can run all of it on vectors.
"""

from __future__ import annotations

from graphc.codegen.math.emit import Emitter, Value

INT_BOUNDS = {
    f"{s}{w}": (0 if s == "u" else -(1 << w - 1), (1 << w - (s == "i")) - 1) for s in "iu" for w in (8, 16, 32, 64)
}


def isnan(m: Emitter, x: Value) -> Value:
    """Tell whether x is no number; an integer always is one."""
    return x != x if x.is_float else m.constant(0, "bool")


def isinf(m: Emitter, x: Value) -> Value:
    """Tell whether x is an infinity."""
    return m.fabs(x) == float("inf") if x.is_float else m.constant(0, "bool")


def isfinite(m: Emitter, x: Value) -> Value:
    """Tell whether x is neither NaN nor an infinity."""
    return m.fabs(x) < float("inf") if x.is_float else m.constant(1, "bool")


def signbit(m: Emitter, x: Value) -> Value:
    """Tell whether the sign is set, of -0 and NaN too."""
    return m.bits(x) < 0 if x.is_float else x < 0 if x.is_signed else m.constant(0, "bool")


def fabs(m: Emitter, x: Value) -> Value:
    """Return |x|; the least integer wraps to itself."""
    if x.is_float:
        return m.fabs(x)
    return m.select(x < 0, -x, x) if x.is_signed else x


def rounded(name: str, m: Emitter, x: Value) -> Value:
    """Round by LLVM's function `name`; integers are whole already."""
    return m.native(name, x) if x.is_float else x


def fmax_nan(m: Emitter, a: Value, b: Value) -> Value:
    """As NumPy on x86: a NaN wins, and of equal numbers (zeros of both signs) the second is taken."""
    larger = a > b
    return m.select(larger | (a != a) if a.is_float else larger, a, b)


def fmin_nan(m: Emitter, a: Value, b: Value) -> Value:
    """As `fmax_nan`, for the smaller number."""
    smaller = a < b
    return m.select(smaller | (a != a) if a.is_float else smaller, a, b)


def fast_extremum(op: str, m: Emitter, a: Value, b: Value) -> Value:
    """Compare and select in the one form that LLVM turns into a vector reduction."""
    if not a.is_float:
        return m.select(a > b if op == ">" else a < b, a, b)
    flags = " nnan nsz"
    return m.select(m.compare(op, a, b, flags), a, b, flags)


def reassociated(op: str, m: Emitter, accumulator: Value, x: Value) -> Value:
    """Add or multiply into an accumulator in whatever order is fast; NaN, infinities and -0 stay right."""
    if not x.is_float:
        return accumulator + x if op == "+" else accumulator * x
    return m.reassociated(op, accumulator, x)


def to_int(kind: str, m: Emitter, x: Value) -> Value:
    """Convert a float as NumPy does on x86: out of range and NaN give the least int32 or int64, then truncate.

    Types of up to 16 bits go through int32, uint32 through int64; uint64 above 2**63 is exact.
    """
    if not x.is_float:
        return m.convert(x, kind)
    if kind == "u64":
        high = x >= 2.0**63
        low = _to_signed(m, m.select(high, x - 2.0**63, x), "i64")
        return m.convert(m.select(high, low ^ INT_BOUNDS["i64"][0], low), kind)
    return m.convert(_to_signed(m, x, "i64" if kind in ("i64", "u32") else "i32"), kind)


def _to_signed(m: Emitter, x: Value, kind: str) -> Value:
    least = INT_BOUNDS[kind][0]
    whole = m.trunc(x)
    inside = (whole >= float(least)) & (whole < -float(least))
    return m.select(inside, m.convert(m.select(inside, whole, 0.0), kind), least)


def idiv(m: Emitter, a: Value, b: Value) -> Value:
    """Floor division; 0 where b is 0, and the least integer by -1 wraps to itself."""
    divisor = _safe_divisor(m, a, b)
    quotient = a / divisor
    if not a.is_signed:
        return m.select(b == 0, 0, quotient)
    rest = a - quotient * divisor
    floored = m.select((rest != 0) & ((rest ^ divisor) < 0), quotient - 1, quotient)
    return m.select(b == 0, 0, floored)


def imod(m: Emitter, a: Value, b: Value) -> Value:
    """The remainder of `idiv`, with the sign of b; 0 where b is 0."""
    divisor = _safe_divisor(m, a, b)
    rest = a - (a / divisor) * divisor
    if not a.is_signed:
        return rest
    return m.select((rest != 0) & ((rest ^ divisor) < 0), rest + divisor, rest)


def _safe_divisor(m: Emitter, a: Value, b: Value) -> Value:
    """Replace what traps by 1: zero, and -1 under the least integer."""
    unsafe = b == 0
    if a.is_signed:
        unsafe = unsafe | ((b == -1) & (a == INT_BOUNDS[a.kind][0]))
    return m.select(unsafe, 1, b)


def fdiv(m: Emitter, a: Value, b: Value) -> Value:
    """NumPy's floor_divide on floats: consistent with the remainder, rounded to the nearest whole quotient."""
    rest = m.libm("fmod", a, b)
    borrow = (rest != 0) & ((b < 0) ^ (rest < 0))
    quotient = (a - rest) / b
    quotient = m.select(borrow, quotient - 1.0, quotient)
    whole = m.floor(quotient)
    whole = m.select(quotient - whole > 0.5, whole + 1.0, whole)
    whole = m.select(quotient == 0, m.copysign(m.constant(0.0, a.kind), a / b), whole)
    return m.select(b == 0, a / b, whole)


def fmod_floor(m: Emitter, a: Value, b: Value) -> Value:
    """NumPy's remainder on floats: the sign of b; a zero has it too."""
    rest = m.libm("fmod", a, b)
    moved = m.select((b < 0) ^ (rest < 0), rest + b, rest)
    return m.select(rest == 0, m.copysign(rest, b), moved)


def ipow(m: Emitter, base: Value, exponent: Value) -> Value:
    """Integer power by squaring, wrapping; negative exponents give the quotient cut toward 0."""
    one = m.constant(1, base.kind)
    negative = exponent < 0 if base.is_signed else m.constant(0, "bool")
    start = m.select(negative, _inverse_power(m, base, exponent), one) if base.is_signed else one
    active = ~(negative | (exponent == 0))
    return m.loop(_squaring, active, (), (start, base, exponent))[0]


def _squaring(m: Emitter, result: Value, factor: Value, rest: Value) -> tuple[Value, tuple[Value, ...]]:
    """Take one bit of the exponent; where the loop begins, the result is 1."""
    product = m.select((rest & 1) != 0, result * factor, result)
    shifted = rest >> 1
    return shifted == 0, (product, factor * factor, shifted)


def _inverse_power(m: Emitter, base: Value, exponent: Value) -> Value:
    """Integer power with a negative exponent: 1 or -1 for these two bases, 0 for all others."""
    unit = (base == 1) | ((base == -1) & ((exponent & 1) == 0))
    return m.select(unit, m.constant(1, base.kind), m.select(base == -1, m.constant(-1, base.kind), 0))


def shl(m: Emitter, x: Value, n: Value) -> Value:
    """Shift left; a count outside 0..width-1 gives 0."""
    outside, count = _shift_count(m, x, n)
    return m.select(outside, 0, x << count)


def shr(m: Emitter, x: Value, n: Value) -> Value:
    """Shift right; a count outside 0..width-1 gives 0, or -1 for a negative x."""
    outside, count = _shift_count(m, x, n)
    emptied = x >> (int(x.kind[1:]) - 1) if x.is_signed else x & 0
    return m.select(outside, emptied, x >> count)


def _shift_count(m: Emitter, x: Value, n: Value) -> tuple[Value, Value]:
    width = int(x.kind[1:])
    outside = (n < 0) | (n >= width) if n.is_signed else n >= width
    return outside, m.select(outside, 0, n)


def scalar(name: str, m: Emitter, x: Value) -> Value:
    """Return an elementary function of one number, which others wait for: the C library's takes less time for one."""
    return m.libm(name, x) if m.precision == "vector" else m.call(name, x)


def lgamma(m: Emitter, x: Value) -> Value:
    """Log of |gamma(x)| as SciPy's gammaln: the C library's, but -inf at -inf."""
    return m.select(x == float("-inf"), x, m.libm("lgamma", x))
