"""EXACT: identities that hold for the bits NumPy computes, or bring them closer to the true value, for all inputs.

All inputs means nan, inf, -0.0 and subnormals too, so what algebra allows is often missing: `x + 0.0` is not `x`
(-0.0 becomes 0.0), `x * 0` and `x - x` are not 0 (inf, nan), `-(x - y)` is not `y - x` (the sign of zero) and
`x**0.5` is not `sqrt(x)` (-inf). Integers wrap, so for them the usual algebra is exact.

The rules also fix one form for things that have several: `square(x)` for `x * x` and `x**2`, `reciprocal(x)` for
`1 / x`, `x - 3` for `x + -3`, `~c` for `logical_not(c)`, signs outside of products. Patterns here and in
`rules_stabilise` are written in that form. No rule changes a derivative that `grad` promises at a tie.
"""

from __future__ import annotations

import math

import numpy as np

from graphc.graph.node import Node
from graphc.ops.elementwise import (
    abs,
    divide,
    floor_divide,
    maximum,
    minimum,
    negative,
    reciprocal,
    relu,
    remainder,
    square,
    where,
)
from graphc.ops.elementwise_float import pow
from graphc.ops.elementwise_logic import logical_and, logical_not, logical_or
from graphc.ops.pointwise import masked_multiply
from graphc.passes.algebra.pattern import Domain, Rule, filled, literal

ANY = Domain("fiub")
NUMBER = Domain("fiu")
FLOAT = Domain("f")
INTEGER = Domain("iu")
BOOLEAN = Domain("b")
POWER = Domain("f", literals=(2.0, -0.25, 1.0, 2.0**-1022))
OTHER_POWER = Domain("f", literals=(0.5, 8.0, 2.0, 2.0**1000))
NEGATIVE_FLOAT = Domain("f", literals=(-1.5, -1.0, -math.inf))
NEGATIVE_INTEGER = Domain("i", literals=(-3, -1))
FACTOR = Domain("fi", literals=(-1.5, 3.0, 0.0, -0.0, math.inf))
SCALE = Domain("f", literals=(0.5, 3.0, 1.0))
SEED = Domain("f", literals=(1.0, -2.5, math.inf))
ZERO = Domain("f", literals=(0.0, -0.0))


def is_power_of_two(c: Node) -> bool:
    """Tell whether `x / c` and `x * (1 / c)` round alike: `c` and `1 / c` are finite powers of two."""
    value = c.dtype.type(literal(c))
    with np.errstate(all="ignore"):
        inverse = c.dtype.type(1) / value
        exact = inverse * value == 1
    return bool(np.isfinite(inverse) and exact and math.frexp(value)[0] in (0.5, -0.5))


def is_negative(c: Node) -> bool:
    """Tell whether a literal is below 0 and its opposite exists in its dtype."""
    value = literal(c)
    return bool(value < 0 and (c.dtype.kind == "f" or value > np.iinfo(c.dtype).min))


def _signs() -> tuple[Rule, ...]:
    xy = (NUMBER, NUMBER)
    return (
        Rule("-(-x)", lambda x: negative(-x), lambda x: x, (NUMBER,)),
        Rule("x + (-y)", lambda x, y: x + (-y), lambda x, y: x - y, xy),
        Rule("x - (-y)", lambda x, y: x - (-y), lambda x, y: x + y, xy),
        Rule("(-x) * (-y)", lambda x, y: (-x) * (-y), lambda x, y: x * y, xy),
        Rule("x * -1", lambda x: x * -1, lambda x: -x, (Domain("fi"),)),
        Rule("(-x) * y", lambda x, y: (-x) * y, lambda x, y: -(x * y), xy),
        Rule("(-x) / y", lambda x, y: (-x) / y, lambda x, y: -(x / y), (FLOAT, FLOAT)),
        Rule("x / (-y)", lambda x, y: x / (-y), lambda x, y: -(x / y), (FLOAT, FLOAT)),
        Rule("-(x * c)", lambda x, c: -(x * c), lambda x, c: x * -literal(c), (Domain("f"), FACTOR)),
        Rule("x + c, c < 0", lambda x, c: x + c, lambda x, c: x - -literal(c), (FLOAT, NEGATIVE_FLOAT), _second),
        Rule("i + c, c < 0", lambda x, c: x + c, lambda x, c: x - -literal(c), (INTEGER, NEGATIVE_INTEGER), _second),
        Rule("x - c, c < 0", lambda x, c: x - c, lambda x, c: x + -literal(c), (FLOAT, NEGATIVE_FLOAT), _second),
        Rule("i - c, c < 0", lambda x, c: x - c, lambda x, c: x + -literal(c), (INTEGER, NEGATIVE_INTEGER), _second),
        Rule("abs(-x)", lambda x: abs(-x), lambda x: abs(x), (Domain("fi"),)),
        Rule("abs(abs(x))", lambda x: abs(abs(x)), lambda x: abs(x), (NUMBER,)),
        Rule("square(-x)", lambda x: square(-x), lambda x: square(x), (NUMBER,)),
        Rule("square(abs(x))", lambda x: square(abs(x)), lambda x: square(x), (NUMBER,)),
    )


def _second(x: Node, c: Node) -> bool:
    return is_negative(c)


def _neutral() -> tuple[Rule, ...]:
    return (
        Rule("x + -0.0", lambda x: x + -0.0, lambda x: x, (FLOAT,)),
        Rule("x - 0.0", lambda x: x - 0.0, lambda x: x, (FLOAT,)),
        Rule("i + 0", lambda x: x + 0, lambda x: x, (INTEGER,)),
        Rule("i - 0", lambda x: x - 0, lambda x: x, (INTEGER,)),
        Rule("0 - i", lambda x: 0 - x, lambda x: -x, (INTEGER,)),
        Rule("i - i", lambda x: x - x, lambda x: filled(x, 0), (INTEGER,)),
        Rule("-(i - j)", lambda x, y: -(x - y), lambda x, y: y - x, (INTEGER, INTEGER)),
        Rule("i * 0", lambda x: x * 0, lambda x: filled(x, 0), (INTEGER,)),
        Rule("i // 1", lambda x: floor_divide(x, 1), lambda x: x, (INTEGER,)),
        Rule("i % 1", lambda x: remainder(x, 1), lambda x: filled(x, 0), (INTEGER,)),
        Rule("x * 1", lambda x: x * 1, lambda x: x, (NUMBER,)),
        Rule("x / c, c = 2**k", lambda x, c: x / c, lambda x, c: x * (1 / literal(c)), (FLOAT, POWER), _power),
        Rule(
            "(x * c) * d, c = 2**j, d = 2**k",
            lambda x, c, d: (x * c) * d,
            lambda x, c, d: x * (literal(c) * literal(d)),
            (FLOAT, POWER, OTHER_POWER),
            _powers_multiply,
        ),
        Rule("maximum(x, -inf)", lambda x: maximum(x, -math.inf), lambda x: x, (FLOAT,)),
        Rule("minimum(x, inf)", lambda x: minimum(x, math.inf), lambda x: x, (FLOAT,)),
        Rule("maximum(x, x)", lambda x: maximum(x, x), lambda x: x, (NUMBER,)),
        Rule("minimum(x, x)", lambda x: minimum(x, x), lambda x: x, (NUMBER,)),
        Rule("relu(relu(x))", lambda x: relu(relu(x)), lambda x: relu(x), (NUMBER,)),
    )


def _power(x: Node, c: Node) -> bool:
    return is_power_of_two(c)


def _powers_multiply(x: Node, c: Node, d: Node) -> bool:
    size, limits = math.fabs(literal(c) * literal(d)), np.finfo(x.dtype)
    return bool(limits.tiny <= size <= limits.max and is_power_of_two(c) and is_power_of_two(d))


def _powers() -> tuple[Rule, ...]:
    return (
        Rule("x ** 0", lambda x: pow(x, 0), lambda x: filled(x, 1), (NUMBER,)),
        Rule("x ** 1", lambda x: pow(x, 1), lambda x: x, (NUMBER,)),
        Rule("x ** 2", lambda x: pow(x, 2), lambda x: square(x), (NUMBER,)),
        Rule("x ** -1", lambda x: pow(x, -1), lambda x: reciprocal(x), (FLOAT,)),
        Rule("x * x", lambda x: x * x, lambda x: square(x), (NUMBER,)),
        Rule("1 / x", lambda x: 1 / x, lambda x: reciprocal(x), (FLOAT,)),
        Rule("1 / (1 / x)", lambda x: reciprocal(reciprocal(x)), lambda x: x, (FLOAT,)),
        Rule("1 / (x / y)", lambda x, y: reciprocal(divide(x, y)), lambda x, y: y / x, (FLOAT, FLOAT)),
        Rule("1 / (-x)", lambda x: reciprocal(-x), lambda x: -reciprocal(x), (FLOAT,)),
        Rule("x * (1 / y)", lambda x, y: x * reciprocal(y), lambda x, y: x / y, (FLOAT, FLOAT)),
        Rule("x / (1 / y)", lambda x, y: x / reciprocal(y), lambda x, y: x * y, (FLOAT, FLOAT)),
    )


def _choices() -> tuple[Rule, ...]:
    cxy, cxyz = (BOOLEAN, ANY, ANY), (BOOLEAN, ANY, ANY, ANY)
    return (
        Rule("where(c, x, x)", lambda c, x: where(c, x, x), lambda c, x: x, (BOOLEAN, ANY)),
        Rule("where(True, x, y)", lambda x, y: where(True, x, y), lambda x, y: x, (ANY, ANY)),
        Rule("where(False, x, y)", lambda x, y: where(False, x, y), lambda x, y: y, (ANY, ANY)),
        Rule("where(~c, x, y)", lambda c, x, y: where(~c, x, y), lambda c, x, y: where(c, y, x), cxy),
        Rule(
            "where(c, where(c, x, y), z)",
            lambda c, x, y, z: where(c, where(c, x, y), z),
            lambda c, x, y, z: where(c, x, z),
            cxyz,
        ),
        Rule(
            "where(c, x, where(c, y, z))",
            lambda c, x, y, z: where(c, x, where(c, y, z)),
            lambda c, x, y, z: where(c, x, z),
            cxyz,
        ),
        Rule("logical_not(c)", lambda c: logical_not(c), lambda c: ~c, (BOOLEAN,)),
        Rule("logical_and(c, d)", lambda c, d: logical_and(c, d), lambda c, d: c & d, (BOOLEAN, BOOLEAN)),
        Rule("logical_or(c, d)", lambda c, d: logical_or(c, d), lambda c, d: c | d, (BOOLEAN, BOOLEAN)),
        Rule("~~x", lambda x: ~(~x), lambda x: x, (Domain("iub"),)),
        Rule("x & x", lambda x: x & x, lambda x: x, (Domain("iub"),)),
        Rule("x | x", lambda x: x | x, lambda x: x, (Domain("iub"),)),
        Rule("c & True", lambda c: c & True, lambda c: c, (BOOLEAN,)),
        Rule("c & False", lambda c: c & False, lambda c: filled(c, False), (BOOLEAN,)),
        Rule("c | True", lambda c: c | True, lambda c: filled(c, True), (BOOLEAN,)),
        Rule("c | False", lambda c: c | False, lambda c: c, (BOOLEAN,)),
    )


def _masked() -> tuple[Rule, ...]:
    """The zero-absorbing product of `where`'s gradients, where a constant operand makes it a plain one."""
    return (
        Rule(
            "masked_multiply(g, c), 0 < c < inf",
            lambda g, c: masked_multiply(g, c),
            lambda g, c: g * c,
            (FLOAT, SCALE),
            lambda g, c: 0 < literal(c) < math.inf,
        ),
        Rule(
            "masked_multiply(c, x), c != 0",
            lambda c, x: masked_multiply(c, x),
            lambda c, x: c * x,
            (SEED, FLOAT),
            lambda c, x: literal(c) != 0,
        ),
        Rule(
            "masked_multiply(0, x)",
            lambda c, x: masked_multiply(c, x),
            lambda c, x: c,
            (ZERO, FLOAT),
            lambda c, x: literal(c) == 0,
        ),
    )


EXACT: tuple[Rule, ...] = (*_signs(), *_neutral(), *_powers(), *_choices(), *_masked())
