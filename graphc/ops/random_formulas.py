"""The arithmetic of random numbers, written once for NumPy arrays and for the scalars of a kernel.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a 64-bit key and
a 128-bit counter into four 32-bit words; the counter is the position of an element in its generator's stream, so an
element depends on nothing else. Uniforms are exact; normals use square root, division and polynomials of our own in
plain multiplications and additions of a fixed order, which round alike on every IEEE machine.

Each function takes a `Machine` and scalars that have Python's operators: NumPy arrays with `NumpyMachine`, values
of a kernel with codegen's `Emitter`. A 32-bit word travels in a u64 whose upper half is arbitrary.
"""

from __future__ import annotations

from graphc.ops.random_machine import Machine, Scalar

Words = tuple[Scalar, Scalar, Scalar, Scalar]

LOW = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10

# 2 atanh(s) / s in s**2, for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1), and sin(pi y) / y in y**2, for |y| <= 1/2;
# interpolated at Chebyshev points, relative errors 7e-10 and 3e-18, 7e-9 and 4e-17.
LOGARITHM = {
    "f32": (1.9999999986313182, 0.6666681533815119, 0.3997485051751905, 0.29924390479144986),
    "f64": (
        2.0,
        0.6666666666666765,
        0.3999999999930234,
        0.2857142876064168,
        0.22222197056726048,
        0.18183631680229329,
        0.1531252814836419,
        0.14809710360655276,
    ),
}
SINE = {
    "f32": (3.1415926400772034, -5.167710076668315, 2.550077386528912, -0.5982904112834275, 0.07765591227601387),
    "f64": (
        3.141592653589793,
        -5.167712780049969,
        2.5501640398773007,
        -0.5992645293189447,
        0.0821458865731029,
        -0.007370430505916944,
        0.0004662998161898394,
        -2.1903497074626018e-05,
        7.697826768224191e-07,
    ),
}
# Width of the significand, bits of 1, and of sqrt(1/2), by dtype.
LAYOUT = {"f32": (23, 0x3F800000, 0x3F3504F3), "f64": (52, 0x3FF0000000000000, 0x3FE6A09E667F3BCD)}


def philox4x32(counter: Words, key: tuple[Scalar, Scalar]) -> Words:
    """Return the four words of a block; all words are u64 whose upper halves are ignored, and arbitrary after."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for i in range(ROUNDS):
        p0, p1 = (c0 & LOW) * MULTIPLIERS[0], (c2 & LOW) * MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1, (p0 >> 32) ^ c3 ^ k1, p0
        if i < ROUNDS - 1:
            k0, k1 = k0 + KEY_STEPS[0], k1 + KEY_STEPS[1]
    return c0, c1, c2, c3


def words(key: Scalar, start: Scalar, index: Scalar) -> Words:
    """Return the block of element `index` of a draw from position `start`, all u64."""
    position = start + index
    return philox4x32((position, position >> 32, position & 0, position & 0), (key, key >> 32))


def more_words(key: Scalar, position: Scalar, attempt: Scalar, stream: Scalar) -> Words:
    """Return a further block of the element at `position`, all u64: every `attempt` < 2**32 and `stream` has its own.

    The last counter word is 0 for `words` and 1 for the keys of generators that are split off.
    """
    return philox4x32((position, position >> 32, attempt, stream + 2), (key, key >> 32))


def bits64(m: Machine, key: Scalar, start: Scalar, index: Scalar) -> Scalar:
    """Return 64 random bits: the first word and, above it, the second."""
    w0, w1, _, _ = words(key, start, index)
    return (w0 & LOW) | (w1 << 32)


def signed(m: Machine, word: Scalar, kind: str) -> Scalar:
    """Return a word less 2**31 as a float: int32 is what every vector unit converts."""
    return m.convert(m.convert(word ^ 0x80000000, "i32"), kind)


def high_bits(m: Machine, word: Scalar, count: int, kind: str) -> Scalar:
    """Return the upper `count` < 32 bits of a word as a float."""
    return m.convert(m.convert((word & LOW) >> (32 - count), "i32"), kind)


def uniform_f64(m: Machine, key: Scalar, start: Scalar, index: Scalar) -> Scalar:
    """Return the upper 53 of the 64 bits as a multiple of 2**-53 in [0, 1); every step is exact."""
    w0, w1, _, _ = words(key, start, index)
    return (signed(m, w1, "f64") * 2.0**-32 + 0.5) + high_bits(m, w0, 21, "f64") * 2.0**-53


def uniform_f32(m: Machine, key: Scalar, start: Scalar, index: Scalar) -> Scalar:
    """Return the upper 24 of the 64 bits as a multiple of 2**-24 in [0, 1)."""
    return high_bits(m, words(key, start, index)[1], 24, "f32") * 2.0**-24


def open_of(m: Machine, low: Scalar, high: Scalar) -> Scalar:
    """Return 52 bits of two words as an odd multiple of 2**-53, inside (0, 1)."""
    return (signed(m, high, "f64") * 2.0**-32 + 0.5) + (high_bits(m, low, 20, "f64") + 0.5) * 2.0**-52


def open_f64(m: Machine, key: Scalar, start: Scalar, index: Scalar) -> Scalar:
    """Return an odd multiple of 2**-53: neither 0 nor 1."""
    w0, w1, _, _ = words(key, start, index)
    return open_of(m, w0, w1)


def open_f32(m: Machine, key: Scalar, start: Scalar, index: Scalar) -> Scalar:
    """Return an odd multiple of 2**-24: neither 0 nor 1."""
    return (high_bits(m, words(key, start, index)[1], 23, "f32") + 0.5) * 2.0**-23


def normal_f64(m: Machine, key: Scalar, start: Scalar, index: Scalar) -> Scalar:
    """Return a standard normal by Box and Muller (1958), from all four words; it reaches 8.5.

    The sine of an angle in (-pi/2, pi/2) is distributed as that of any angle.
    """
    w0, w1, w2, w3 = words(key, start, index)
    angle = open_of(m, w2, w3) - 0.5
    return radius(m, open_of(m, w0, w1), "f64") * sine(angle, "f64")


def normal_f32(m: Machine, key: Scalar, start: Scalar, index: Scalar) -> Scalar:
    """Return a standard normal as `normal_f64`, from two words; it reaches 6.6."""
    w0, w1, _, _ = words(key, start, index)
    lifted = high_bits(m, w1, 31, "f32") + 0.5
    return radius(m, lifted, "f32", 31) * sine((signed(m, w0, "f32") + 0.5) * 2.0**-32, "f32")


def radius(m: Machine, u: Scalar, kind: str, lift: int = 0) -> Scalar:
    """Return sqrt(-2 log(u 2**-lift)) for u 2**-lift in (0, 1]."""
    return m.sqrt(logarithm(m, u, kind, lift, -2.0))


def logarithm(m: Machine, u: Scalar, kind: str = "f64", lift: int = 0, factor: float = 1.0) -> Scalar:
    """Return the natural logarithm of u 2**-lift, times a power of two, for a positive, finite, normal u."""
    width, one, root = LAYOUT[kind]
    signed_kind, wide = "i" + kind[1:], "u" + kind[1:]
    moved = m.convert(m.bits(u), wide) + (one - root)
    whole = m.convert(m.convert(moved >> width, "i32") - ((one >> width) + lift), kind)
    significand = m.from_bits(m.convert((moved & ((1 << width) - 1)) + root, signed_kind))
    s = (significand - 1.0) / (significand + 1.0)
    polynomial = horner(s * s, tuple(factor * c for c in LOGARITHM[kind]))
    return whole * (factor * 0.6931471805599453) + s * polynomial


def sine(y: Scalar, kind: str) -> Scalar:
    """Return sin(pi y) for |y| <= 1/2."""
    return y * horner(y * y, SINE[kind])


def horner(x: Scalar, coefficients: tuple[float, ...]) -> Scalar:
    """Evaluate a polynomial, constant term first."""
    total = x * coefficients[-1] + coefficients[-2]
    for c in coefficients[-3::-1]:
        total = total * x + c
    return total


def multiply_high(m: Machine, a: Scalar, b: Scalar) -> Scalar:
    """Return the upper half of the 128-bit product of two u64."""
    a0, a1, b0, b1 = a & LOW, a >> 32, b & LOW, b >> 32
    middle = a1 * b0 + ((a0 * b0) >> 32)
    cross = a0 * b1 + (middle & LOW)
    return a1 * b1 + (middle >> 32) + (cross >> 32)
