"""STABILISE: formulas that lose digits, overflow or give nan, and what numerical analysts write instead.

Each replacement is at least as accurate as its pattern on the whole stated domain, to two units in the last
place, and where the pattern overflows or cancels it is right; outside the domain both are nan. `grad` applies
these rules before it differentiates, so that derivatives are built from the safe form.

Patterns are in the form that EXACT and the other rules here leave behind: `log(1 + exp(x))` needs no rule, since
it becomes `log1p(exp(x))` first. Sources: Higham, Accuracy and Stability of Numerical Algorithms (2002); Maechler,
Accurately computing log(1 - exp(-|a|)) (2012); Blanchard, Higham & Higham, Accurately computing the log-sum-exp and
softmax functions (2021).
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from graphc.graph.node import Node
from graphc.ops.elementwise import abs, maximum, reciprocal, relu, square
from graphc.ops.elementwise_float import (
    cosh,
    exp,
    expm1,
    log,
    one_minus_square,
    pow,
    sech,
    sigmoid,
    sigmoid_slope,
    sinh,
    softplus,
    sqrt,
    sqrt_safe,
    tanh,
)
from graphc.ops.pointwise import Broadcast
from graphc.ops.reduction import log_softmax, logsumexp, max, softmax, softmax_over, sum
from graphc.passes.algebra.exponentials import is_exponential, root_of
from graphc.passes.algebra.pattern import AXES, Domain, Rule, literal
from graphc.passes.algebra.rules_cancellation import CANCELLATION
from graphc.passes.algebra.rules_logarithms import LOGARITHMS
from graphc.passes.algebra.signs import is_positive
from graphc.passes.algebra.squares import is_sum_of_squares

REAL = Domain("f")
POSITIVE = Domain("f", low=0.0)
NEGATIVE = Domain("f", high=0.0)
ABOVE_MINUS_ONE = Domain("f", low=-1.0)
BELOW_ONE = Domain("f", high=1.0)
UNIT = Domain("f", low=-1.0, high=1.0)
EXPONENT = Domain("f", low=-700.0, high=700.0)
ROWS = Domain("f", shape=(3, 4))
SQUARABLE = Domain("f", low=-1e150, high=1e150, shape=(3, 4))
NUMBER = Domain("f", literals=(2.0, 7.38905609893065, 1e-8))
COUNTS = Domain("f", low=0.0, shape=(3,))
KEPT_COUNTS = Domain("f", low=0.0, shape=(3, 1))


def _no_repeats(x: Node, y: Node) -> bool:
    """Tell whether no operand is broadcast: few exponentials would become many."""
    return type(x.op) is not Broadcast and type(y.op) is not Broadcast


def _exponentials() -> tuple[Rule, ...]:
    return (
        Rule("exp(x) - 1", lambda x: exp(x) - 1, lambda x: expm1(x), (REAL,)),
        Rule("1 - exp(x)", lambda x: 1 - exp(x), lambda x: -expm1(x), (REAL,)),
        Rule("1 / exp(x)", lambda x: reciprocal(exp(x)), lambda x: exp(-x), (REAL,)),
        Rule("exp(x) ** 2", lambda x: square(exp(x)), lambda x: exp(x * 2), (REAL,)),
        Rule("sqrt(exp(x))", lambda x: sqrt(exp(x)), lambda x: exp(x * 0.5), (REAL,)),
        Rule("exp(x) * exp(y)", lambda x, y: exp(x) * exp(y), lambda x, y: exp(x + y), (REAL, REAL), _no_repeats),
        Rule("exp(x) / exp(y)", lambda x, y: exp(x) / exp(y), lambda x, y: exp(x - y), (REAL, REAL), _no_repeats),
    )


def _logistic() -> tuple[Rule, ...]:
    return (
        Rule("1 / (1 + exp(x))", lambda x: reciprocal(1 + exp(x)), lambda x: sigmoid(-x), (REAL,)),
        Rule("exp(x) / (1 + exp(x))", lambda x: exp(x) / (1 + exp(x)), lambda x: sigmoid(x), (REAL,)),
        Rule(
            "exp(x) / (exp(x) + exp(y))",
            lambda x, y: exp(x) / (exp(x) + exp(y)),
            lambda x, y: sigmoid(x - y),
            (EXPONENT, EXPONENT),
        ),
        Rule(
            "exp(x) / (exp(x) + c), c > 0",
            lambda x, c: exp(x) / (exp(x) + c),
            lambda x, c: sigmoid(x - log(c)),
            (REAL, NUMBER),
            lambda x, c: 0 < literal(c) < inf,
        ),
        Rule(
            "exp(x) / y, y a sum of exponentials",
            lambda x, y: exp(x) / y,
            lambda x, y: exp(x - log(y)),
            (EXPONENT, Domain("f", low=-700.0, high=350.0, form=lambda x: (1 + exp(x)) + exp(2 * x))),
            lambda x, y: root_of(y).op.name == "add" and is_exponential(y) and is_positive(y),
        ),
        Rule("sigmoid(x) / sigmoid(-x)", lambda x: sigmoid(x) / sigmoid(-x), lambda x: exp(x), (REAL,)),
        Rule("expm1(x) / (1 + exp(x))", lambda x: expm1(x) / (1 + exp(x)), lambda x: tanh(x * 0.5), (REAL,)),
        Rule("y / (1 + exp(x))", lambda y, x: y / (1 + exp(x)), lambda y, x: y * sigmoid(-x), (REAL, REAL)),
        Rule("exp(x) * sigmoid(-x)", lambda x: exp(x) * sigmoid(-x), lambda x: sigmoid(x), (REAL,)),
        Rule("expm1(x) * sigmoid(-x)", lambda x: expm1(x) * sigmoid(-x), lambda x: tanh(x * 0.5), (REAL,)),
        Rule(
            "sigmoid(x) * sigmoid(-x)",
            lambda x: sigmoid(x) * sigmoid(-x),
            lambda x: sigmoid_slope(x),
            (REAL,),
        ),
        Rule(
            "exp(x) / (1 + exp(x)) ** 2",
            lambda x: exp(x) / square(1 + exp(x)),
            lambda x: sigmoid_slope(x),
            (REAL,),
        ),
        Rule("1 - sigmoid(x)", lambda x: 1 - sigmoid(x), lambda x: sigmoid(-x), (REAL,)),
        Rule("sigmoid(x) - 1", lambda x: sigmoid(x) - 1, lambda x: -sigmoid(-x), (REAL,)),
        Rule(
            "softplus(-abs(x)) + maximum(x, 0)",
            lambda x: softplus(-abs(x)) + maximum(x, 0),
            lambda x: softplus(x),
            (REAL,),
        ),
        Rule("softplus(-abs(x)) + relu(x)", lambda x: softplus(-abs(x)) + relu(x), lambda x: softplus(x), (REAL,)),
        Rule("2 * sigmoid(x) - 1", lambda x: 2 * sigmoid(x) - 1, lambda x: tanh(x * 0.5), (REAL,)),
        Rule("1 - 2 * sigmoid(x)", lambda x: 1 - 2 * sigmoid(x), lambda x: -tanh(x * 0.5), (REAL,)),
        Rule("1 + tanh(x)", lambda x: 1 + tanh(x), lambda x: sigmoid(x * 2) * 2, (REAL,)),
        Rule("1/2 + tanh(x)/2", lambda x: 0.5 + 0.5 * tanh(x), lambda x: sigmoid(x * 2), (REAL,)),
        Rule("1/2 - tanh(x)/2", lambda x: 0.5 - 0.5 * tanh(x), lambda x: sigmoid(x * -2), (REAL,)),
        Rule("1 - tanh(x)", lambda x: 1 - tanh(x), lambda x: sigmoid(x * -2) * 2, (REAL,)),
        Rule("tanh(x) - 1", lambda x: tanh(x) - 1, lambda x: sigmoid(x * -2) * -2, (REAL,)),
        Rule("1 - tanh(x) ** 2", lambda x: 1 - square(tanh(x)), lambda x: square(sech(x)), (REAL,)),
    )


def _hyperbolic() -> tuple[Rule, ...]:
    return (
        Rule("exp(x) - exp(-x)", lambda x: exp(x) - exp(-x), lambda x: sinh(x) * 2, (REAL,)),
        Rule("exp(x) + exp(-x)", lambda x: exp(x) + exp(-x), lambda x: cosh(x) * 2, (REAL,)),
        Rule(
            "(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
            lambda x: (sinh(x) * 2) / (cosh(x) * 2),
            lambda x: tanh(x),
            (REAL,),
        ),
        Rule("sinh(x) / cosh(x)", lambda x: sinh(x) / cosh(x), lambda x: tanh(x), (REAL,)),
        Rule("1 / cosh(x)", lambda x: reciprocal(cosh(x)), lambda x: sech(x), (REAL,)),
        Rule("y / cosh(x)", lambda y, x: y / cosh(x), lambda y, x: y * sech(x), (REAL, REAL)),
        Rule("(2 * sinh(x)) * sech(x)", lambda x: (sinh(x) * 2) * sech(x), lambda x: tanh(x) * 2, (REAL,)),
        Rule("1 - tanh(x) ** 2, one part", lambda x: one_minus_square(tanh(x)), lambda x: square(sech(x)), (REAL,)),
        Rule("sinh(x) * sech(x)", lambda x: sinh(x) * sech(x), lambda x: tanh(x), (REAL,)),
        Rule("y / (2 * cosh(x))", lambda y, x: y / (cosh(x) * 2), lambda y, x: y * sech(x) * 0.5, (REAL, REAL)),
        Rule("cosh(x) - 1", lambda x: cosh(x) - 1, lambda x: tanh(x * 0.5) * sinh(x), (REAL,)),
        Rule("1 - cosh(x)", lambda x: 1 - cosh(x), lambda x: -(tanh(x * 0.5) * sinh(x)), (REAL,)),
    )


def _softmax() -> tuple[Rule, ...]:
    """Forms over axes. A shift by the maximum is undone, since these ops make their own.

    Any other shift stays: it may be NaN where `x` is not.
    """
    return (
        Rule(
            "logsumexp(x - max(x), axis) + max(x)",
            lambda x, axis: logsumexp(x - max(x, axis, keepdims=True), axis) + max(x, axis),
            lambda x, axis: logsumexp(x, axis),
            (ROWS, AXES),
        ),
        Rule(
            "logsumexp(x - max(x), axis, keepdims=True) + max(x)",
            lambda x, axis: (
                logsumexp(x - max(x, axis, keepdims=True), axis, keepdims=True) + max(x, axis, keepdims=True)
            ),
            lambda x, axis: logsumexp(x, axis, keepdims=True),
            (ROWS, AXES),
        ),
        Rule(
            "exp(x) / sum(exp(x), axis, keepdims=True)",
            lambda x, axis: exp(x) / sum(exp(x), axis, keepdims=True),
            lambda x, axis: softmax_over(x, axis),
            (ROWS, AXES),
        ),
        Rule(
            "exp(x) / sum(exp(y), axis, keepdims=True)",
            lambda x, y, axis: exp(x) / sum(exp(y), axis, keepdims=True),
            lambda x, y, axis: exp(x - logsumexp(y, axis, keepdims=True)),
            (ROWS, ROWS, AXES),
        ),
        Rule(
            "softmax(x - max(x), axis)",
            lambda x, axis: softmax(x - max(x, axis, keepdims=True), axis[0]),
            lambda x, axis: softmax(x, axis[0]),
            (ROWS, AXES),
        ),
        Rule(
            "log_softmax(x - max(x), axis)",
            lambda x, axis: log_softmax(x - max(x, axis, keepdims=True), axis[0]),
            lambda x, axis: log_softmax(x, axis[0]),
            (ROWS, AXES),
        ),
        Rule(
            "x - logsumexp(x, axis, keepdims=True)",
            lambda x, axis: x - logsumexp(x, axis, keepdims=True),
            lambda x, axis: log_softmax(x, axis[0]),
            (ROWS, AXES),
            lambda x, axis: len(axis) == 1,
        ),
        Rule(
            "exp(log_softmax(x, axis))",
            lambda x, axis: exp(log_softmax(x, axis[0])),
            lambda x, axis: softmax(x, axis[0]),
            (ROWS, AXES),
        ),
    )


def _norms() -> tuple[Rule, ...]:
    """The root of a sum of squares, or of their mean: where it is 0, so is its derivative."""

    def rules(keepdims: bool, y: Domain) -> tuple[Rule, ...]:
        def squares(x: Node, axis: tuple[int, ...]) -> Node:
            return sum(square(x), axis, keepdims=keepdims)

        end = ", axis, keepdims=True)" if keepdims else ", axis)"
        return (
            Rule(
                f"sqrt(sum(x ** 2{end})",
                lambda x, axis: sqrt(squares(x, axis)),
                lambda x, axis: sqrt_safe(squares(x, axis)),
                (SQUARABLE, AXES),
            ),
            Rule(
                f"sum(x ** 2{end} ** 0.5",
                lambda x, axis: pow(squares(x, axis), 0.5),
                lambda x, axis: sqrt_safe(squares(x, axis)),
                (SQUARABLE, AXES),
            ),
            Rule(
                f"sqrt(sum(x ** 2{end} / y)",
                lambda x, y, axis: sqrt(squares(x, axis) / y),
                lambda x, y, axis: sqrt_safe(squares(x, axis) / y),
                (SQUARABLE, y, AXES),
            ),
            Rule(
                f"sqrt(sum(x ** 2{end} * y)",
                lambda x, y, axis: sqrt(squares(x, axis) * y),
                lambda x, y, axis: sqrt_safe(squares(x, axis) * y),
                (SQUARABLE, y, AXES),
            ),
        )

    return (*rules(False, COUNTS), *rules(True, KEPT_COUNTS))


def _written_norms() -> tuple[Rule, ...]:
    """Roots of other sums of squares; after the rules that also keep them from overflow."""
    squares = Domain("f", low=1e-150, high=1e150, form=lambda x: square(x) + square(x) * 3)
    return (
        Rule("sqrt(x), a sum of squares", lambda x: sqrt(x), lambda x: sqrt_safe(x), (squares,), is_sum_of_squares),
        Rule(
            "x ** 0.5, a sum of squares", lambda x: pow(x, 0.5), lambda x: sqrt_safe(x), (squares,), is_sum_of_squares
        ),
    )


STABILISE: tuple[Rule, ...] = tuple(
    replace(rule, through=True)
    for rule in (
        *LOGARITHMS,
        *_exponentials(),
        *_logistic(),
        *_hyperbolic(),
        *_softmax(),
        *_norms(),
        *CANCELLATION,
        *_written_norms(),
    )
)
