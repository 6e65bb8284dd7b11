"""Sine and cosine: one reduction of the angle to |r| <= pi/4, and both polynomials.

All of the reduction and both polynomials are the same expressions for `sin` and `cos`, so a kernel with both of one
angle computes them once. With fused multiply-add an angle is reduced in three steps, each of which is exact or
rounded relative to what remains; without, rounding errors are carried along, and float32 is reduced in float64.
Method: Boldo, Daumas, Li, Formally verified argument reduction with a fused multiply-add, 2009.

Angles above `LIMIT` go to the C library, on a branch that is practically never taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.codegen.math.polynomials import FORMATS, horner

if TYPE_CHECKING:
    from graphc.codegen.math.emit import Emitter, Value

LIMIT = {"f64": 2.0**26, "f32": 2.0**24}
"""Up to here angles are reduced by subtraction."""
FUSED_LIMIT = {"f64": 2.0**26, "f32": 2.0**16}
"""The same for `reduce_fused`, which stays in float32."""
TWO_OVER_PI = 0.6366197723675814


def reduce_fused(m: Emitter, x: Value) -> tuple[Value, Value]:
    """Return the quadrant (as bits) and r with x = k pi/2 + r, |r| <= pi/4."""
    f = FORMATS[x.kind]
    shifted = m.fma(x, TWO_OVER_PI, f.magic)
    k = shifted - f.magic
    r = x
    for part in f.table["HALF_PI_FUSED"]:
        r = m.fma(k, -part, r)
    return m.bits(shifted), r


def reduce_angle(m: Emitter, x: Value) -> tuple[Value, Value, Value]:
    """As `reduce_fused` without the instruction; also returns the rounding error of r."""
    parts = FORMATS[x.kind].table["HALF_PI"]
    magic = FORMATS["f64"].magic
    wide = m.convert(x, "f64")
    shifted = m.muladd(wide, TWO_OVER_PI, magic)
    k = shifted - magic
    r = m.muladd(k, -parts[0], wide)
    if x.kind == "f32":
        for part in parts[1:]:
            r = m.muladd(k, -part, r)
        return m.convert(m.bits(shifted), "i32"), m.convert(r, "f32"), m.constant(0.0, "f32")
    r, error = exact_difference(r, k * parts[1])
    r, second = exact_difference(r, k * parts[2])
    error = error + m.muladd(k, -parts[3], second)
    total = r + error
    return m.bits(shifted), total, (r - total) + error


def exact_difference(a: Value, b: Value) -> tuple[Value, Value]:
    """Return a - b and its rounding error."""
    difference = a - b
    virtual = a - difference
    return difference, (a - (difference + virtual)) + (virtual - b)


def sin_tail(m: Emitter, r: Value, error: Value) -> Value:
    """Return sin(r + error)."""
    z = r * r
    cubic = m.muladd(z * r, horner(m, z, FORMATS[r.kind].table["SIN"]), error)
    return r + cubic


def cos_tail(m: Emitter, r: Value, error: Value) -> Value:
    """Return cos(r + error); the rounding error of 1 - r**2 / 2 is carried along."""
    z = r * r
    half = z * 0.5
    head = 1.0 - half
    rest = ((1.0 - head) - half) + m.muladd(z * z, horner(m, z, FORMATS[r.kind].table["COS"]), -(r * error))
    return head + rest


def tails(m: Emitter, x: Value) -> tuple[Value, Value, Value]:
    """Return the quadrant, the sine and the cosine of the reduced angle."""
    if not m.fused:
        quadrant, r, error = reduce_angle(m, x)
        return quadrant, sin_tail(m, r, error), cos_tail(m, r, error)
    quadrant, r = reduce_fused(m, x)
    z, table = r * r, FORMATS[x.kind].table
    return quadrant, m.fma(z * r, horner(m, z, table["SIN"]), r), horner(m, z, (1.0, -0.5, *table["COS"]))


def circular(name: str, m: Emitter, x: Value) -> Value:
    """Compute sin or cos, the latter one quadrant ahead."""
    quadrant, sine, cosine = tails(m, x)
    odd = (quadrant & 1) != 0
    if name == "sin":
        chosen, turned = m.select(odd, cosine, sine), quadrant
    else:
        chosen, turned = m.select(odd, sine, cosine), quadrant + 1
    sign = (turned & 2) << (int(turned.kind[1:]) - 2)
    signed = m.from_bits(m.bits(chosen) ^ sign)
    # A zero keeps its sign, and a NaN or an infinity takes the library's way too.
    if name == "sin":
        signed = m.select(x == 0, x, signed)
    return m.beyond((FUSED_LIMIT if m.fused else LIMIT)[x.kind], name, x, signed)
