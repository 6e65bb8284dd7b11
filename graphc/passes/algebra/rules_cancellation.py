"""STABILISE, cancellation: differences of nearly equal numbers, and products of something vanishing and an infinity.

Besides roots, `1 - cos(x)` and the error function, here are removable singularities (`sin(x) / x`), which get their
limit, powers of norms, whose own derivative at 0 is only a convention, and factors that undo each other.
"""

from __future__ import annotations

from graphc.graph.node import Node
from graphc.ops.cancellation import hypot_minus_one, root_plus, sinc, sqrt1p_minus_one, xlogx, xlogx_of_rest
from graphc.ops.elementwise import abs, equal, not_equal, reciprocal, square, where
from graphc.ops.elementwise_float import (
    cos,
    exp,
    hypot,
    log,
    log1p,
    one_minus_square,
    pow,
    sigmoid,
    sin,
    softplus,
    sqrt,
    sqrt_safe,
)
from graphc.ops.reduction import log_softmax, softmax
from graphc.ops.special import erf, erfc, erfcx, gammaln, ndtr
from graphc.passes.algebra.pattern import AXES, Domain, Rule, literal
from graphc.passes.algebra.signs import is_nonnegative, is_positive

REAL = Domain("f")
POSITIVE = Domain("f", low=0.0)
ABOVE_ZERO = Domain("f", low=5e-324)
ABOVE_MINUS_ONE = Domain("f", low=-1.0)
BELOW_ONE = Domain("f", high=1.0)
LESS_THAN_ONE = Domain("f", high=1 - 2**-53)
DIVIDEND = Domain("f", low=-1e150, high=1e150)
DIVISOR = Domain("f", low=1e-100, high=1e150)
SQUARE = Domain("f", low=-1e150, high=1e150, form=square)
EVEN = Domain("f", literals=(4.0, 6.0))
SHIFT = Domain("f", low=-5.0, high=5.0, form=exp)
GAMMA = Domain("f", low=0.1, high=1e8)
ROWS = Domain("f", shape=(3, 4))


def _roots() -> tuple[Rule, ...]:
    return (
        Rule("(x ** 2) ** 0.5", lambda x: pow(square(x), 0.5), lambda x: abs(x), (REAL,)),
        Rule(
            "(x**2 + y**2) ** 0.5",
            lambda x, y: pow(square(x) + square(y), 0.5),
            lambda x, y: hypot(x, y),
            (REAL, REAL),
        ),
        Rule("abs(x), x > 0", lambda x: abs(x), lambda x: x, (Domain("f", form=exp),), lambda x: is_positive(x)),
        Rule("sqrt(x ** 2)", lambda x: sqrt(square(x)), lambda x: abs(x), (REAL,)),
        Rule(
            "sqrt(x**2 + y**2)",
            lambda x, y: sqrt(square(x) + square(y)),
            lambda x, y: hypot(x, y),
            (REAL, REAL),
        ),
        Rule("sqrt(x**2 + 1)", lambda x: sqrt(square(x) + 1), lambda x: hypot(x, 1), (REAL,)),
        Rule(
            "sqrt(x**2 + c)",
            lambda x, c: sqrt(square(x) + c),
            lambda x, c: root_plus(x, c),
            (DIVIDEND, SHIFT),
            lambda x, c: is_positive(c),
        ),
        Rule(
            "sqrt(x + 1) - sqrt(x)",
            lambda x: sqrt(x + 1) - sqrt(x),
            lambda x: reciprocal(sqrt(x + 1) + sqrt(x)),
            (POSITIVE,),
        ),
        Rule("sqrt(1 + x) - 1", lambda x: sqrt(1 + x) - 1, lambda x: sqrt1p_minus_one(x), (ABOVE_MINUS_ONE,)),
        Rule("1 - sqrt(1 + x)", lambda x: 1 - sqrt(1 + x), lambda x: -sqrt1p_minus_one(x), (ABOVE_MINUS_ONE,)),
        Rule("sqrt(1 - x) - 1", lambda x: sqrt(1 - x) - 1, lambda x: sqrt1p_minus_one(-x), (BELOW_ONE,)),
        Rule("1 - sqrt(1 - x)", lambda x: 1 - sqrt(1 - x), lambda x: -sqrt1p_minus_one(-x), (BELOW_ONE,)),
        Rule("sqrt(1 + x ** 2) - 1", lambda x: hypot(x, 1) - 1, lambda x: hypot_minus_one(x), (REAL,)),
        Rule("1 - sqrt(1 + x ** 2)", lambda x: 1 - hypot(x, 1), lambda x: -hypot_minus_one(x), (REAL,)),
        # Smooth functions of a norm, whose own derivative at 0 is a convention.
        Rule("sqrt(x) ** 2, x >= 0", lambda x: square(sqrt(x)), lambda x: x, (SQUARE,), is_nonnegative),
        Rule("norm ** 2", lambda x: square(sqrt_safe(x)), lambda x: x, (SQUARE,), is_nonnegative),
        Rule(
            "norm ** c, c even",
            lambda x, c: pow(sqrt_safe(x), c),
            lambda x, c: pow(x, literal(c) / 2),
            (SQUARE, EVEN),
            lambda x, c: is_nonnegative(x) and literal(c) in (4, 6, 8),
        ),
        Rule("hypot(x, y) ** 2", lambda x, y: square(hypot(x, y)), lambda x, y: square(x) + square(y), (REAL, REAL)),
        Rule("1 - x ** 2", lambda x: 1 - square(x), lambda x: one_minus_square(x), (REAL,)),
        Rule("1 - cos(x)", lambda x: 1 - cos(x), lambda x: 2 * square(sin(x * 0.5)), (REAL,)),
        Rule("cos(x) - 1", lambda x: cos(x) - 1, lambda x: -2 * square(sin(x * 0.5)), (REAL,)),
    )


def _special() -> tuple[Rule, ...]:
    return (
        Rule("1 - erf(x)", lambda x: 1 - erf(x), lambda x: erfc(x), (REAL,)),
        Rule("1 + erf(x)", lambda x: 1 + erf(x), lambda x: erfc(-x), (REAL,)),
        Rule("erf(x) - 1", lambda x: erf(x) - 1, lambda x: -erfc(x), (REAL,)),
        Rule("1/2 + erf(x)/2", lambda x: 0.5 + 0.5 * erf(x), lambda x: erfc(-x) * 0.5, (REAL,)),
        Rule("1/2 - erf(x)/2", lambda x: 0.5 - 0.5 * erf(x), lambda x: erfc(x) * 0.5, (REAL,)),
        Rule("1 - erfc(x)/2", lambda x: 1 - erfc(x) * 0.5, lambda x: erfc(-x) * 0.5, (REAL,)),
        Rule("1 - ndtr(x)", lambda x: 1 - ndtr(x), lambda x: ndtr(-x), (REAL,)),
        Rule("ndtr(x) - 1", lambda x: ndtr(x) - 1, lambda x: -ndtr(-x), (REAL,)),
        Rule("erfc(x) * exp(x ** 2)", lambda x: erfc(x) * exp(square(x)), lambda x: erfcx(x), (REAL,)),
        Rule("erfc(x) / exp(-x ** 2)", lambda x: erfc(x) / exp(-square(x)), lambda x: erfcx(x), (REAL,)),
        Rule("1 - erfc(x)", lambda x: 1 - erfc(x), lambda x: erf(x), (REAL,)),
    )


def _distinct(x: Node, y: Node) -> bool:
    """Tell whether the other side is another node: of one operand it would be the pattern again."""
    return x is not y


def _products() -> tuple[Rule, ...]:
    """Products and quotients in which one factor undoes another, or vanishes where the other is infinite.

    Both factors are functions of one operand, whose limit is the value. `y * log(x)` with an operand `y` of its own has
    no limit where both are 0: it is NaN, as in NumPy.
    """
    return (
        Rule("x * y / y", lambda x, y: x * y / y, lambda x, y: x * (y / y), (DIVIDEND, DIVISOR), _distinct),
        Rule("x / y * y", lambda x, y: x / y * y, lambda x, y: x * (y / y), (DIVIDEND, DIVISOR), _distinct),
        Rule("x * log(x)", lambda x: x * log(x), lambda x: xlogx(x), (ABOVE_ZERO,)),
        Rule("(1 - x) * log(1 - x)", lambda x: (1 - x) * log1p(-x), lambda x: xlogx_of_rest(x), (LESS_THAN_ONE,)),
        Rule(
            "x * exp(x)",
            lambda x: x * exp(x),
            lambda x: vanishing(exp(x), x),
            (REAL,),
            lambda x: literal(x) is None,  # where(c, 0, 0) would become 0 again
        ),
        Rule(
            "sigmoid(x) * log(sigmoid(x))",
            lambda x: sigmoid(x) * softplus(-x),
            lambda x: vanishing(sigmoid(x), softplus(-x)),
            (REAL,),
        ),
        Rule(
            "softmax(x) * log_softmax(x)",
            lambda x, axis: softmax(x, axis[0]) * log_softmax(x, axis[0]),
            lambda x, axis: vanishing(softmax(x, axis[0]), log_softmax(x, axis[0])),
            (ROWS, AXES),
        ),
        Rule("sin(x) / x", lambda x: sin(x) / x, lambda x: sinc(x), (ABOVE_ZERO,)),
        Rule("where(x == 0, 1, sin(x) / x)", lambda x: where(equal(x, 0), 1, sinc(x)), lambda x: sinc(x), (REAL,)),
        Rule("where(x != 0, sin(x) / x, 1)", lambda x: where(not_equal(x, 0), sinc(x), 1), lambda x: sinc(x), (REAL,)),
        Rule(
            "where(x == 0, 1, sin(z) / z), z = where(x == 0, 1, x)",
            lambda x: where(equal(x, 0), 1, sinc(where(equal(x, 0), 1, x))),
            lambda x: sinc(x),
            (REAL,),
        ),
        Rule(
            "(1 - cos(x)) / x ** 2",
            lambda x: 2 * square(sin(x * 0.5)) / square(x),
            lambda x: 0.5 * square(sinc(x * 0.5)),
            (ABOVE_ZERO,),
        ),
        Rule(
            "gammaln(x + 1) - gammaln(x)",
            lambda x: gammaln(x + 1) - gammaln(x),
            lambda x: log(abs(x)),
            (GAMMA,),
        ),
        Rule(
            "gammaln(x) - gammaln(x + 1)",
            lambda x: gammaln(x) - gammaln(x + 1),
            lambda x: -log(abs(x)),
            (GAMMA,),
        ),
    )


def vanishing(p: Node, y: Node) -> Node:
    """Return `p * y`, and 0 where `p` is 0 and `y` infinite; so for derivatives."""
    return p * where(equal(p, 0), 0, y)


CANCELLATION: tuple[Rule, ...] = (*_roots(), *_special(), *_products())
