"""STABILISE, logarithms: `log` turns what may over- or underflow into sums, in all three bases.

Two kinds of rules. `log` is a homomorphism: of a product, a quotient, a power, a root, a sum of exponentials it is a
sum of logarithms, a multiple, a `logsumexp`; pushed down so, a logarithm meets the exponentials below, however they
are multiplied, added and divided. It is pushed only where it meets one (`is_exponential`), and where `signs` knows
that no factor's sign is lost. The other kind says what the logarithm of one function is: of `sigmoid`, `cosh`, `ndtr`.

`log2` and `log10` push down by the same rules, and are multiples of `log` where they arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from math import inf, pi
from math import log as ln
from math import sqrt as root

import numpy as np

from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.graph.types import as_dtype
from graphc.ops.cumulative import Cumulative, LinearRecurrence, shift
from graphc.ops.elementwise import abs, clip, equal, isfinite, isinf, minimum, reciprocal, sign, square, where
from graphc.ops.elementwise import stop_gradient as fixed
from graphc.ops.elementwise_float import (
    LOG,
    asinh,
    atanh,
    cosh,
    exp,
    exp2,
    expm1,
    hypot,
    log,
    log1mexp,
    log1p,
    log2,
    log10,
    log_cosh,
    logaddexp,
    one_minus_square,
    pow,
    sech,
    sigmoid,
    sigmoid_slope,
    sinh,
    softplus,
    sqrt,
    tanh,
)
from graphc.ops.linalg import MatMul
from graphc.ops.pointwise import cast
from graphc.ops.reduction import Reduction, log_softmax, logsumexp, prod, softmax, sum
from graphc.ops.shape import drop_axes, insert_axes
from graphc.ops.special import erf, erfc, log_erfc, log_ndtr, ndtr, normal_density
from graphc.passes.algebra.exponentials import (
    adds,
    has_even_power,
    is_exponential,
    is_finite_literal,
    is_mask,
    is_shifted,
    may_overflow,
    root_of,
    splits,
    subtracts,
)
from graphc.passes.algebra.pattern import AXES, Domain, Rule, literal
from graphc.passes.algebra.signs import is_nonnegative, is_positive

FLOAT64 = as_dtype("float64")
REAL = Domain("f")
POSITIVE = Domain("f", low=0.0)
NEGATIVE = Domain("f", high=0.0)
ABOVE_MINUS_ONE = Domain("f", low=-1.0)
BELOW_ONE = Domain("f", high=1.0)
UNIT = Domain("f", low=-1.0, high=1.0)
ROWS = Domain("f", shape=(3, 4))
TAIL, LEFT_TAIL = Domain("f", high=1e4), Domain("f", low=-1e4)
BASE = Domain("f", literals=(10.0, 0.5))


# -- parts of replacements


def _shift(x: Node, axes: tuple[int, ...]) -> Node:
    """Return a shift that changes no value, with `axes` kept as 1: the finite maximum of exponents, or 0."""
    m = insert_axes(apply(Reduction("max", axes, may_be_empty=True), x), axes)
    return fixed(where(isfinite(m), m, 0))


def log_difference(x: Node, y: Node) -> Node:
    """Return log(exp(x) - exp(y)): NaN where y is larger, -inf where both are -inf."""
    return x + log1mexp(where(equal(x, y) & isinf(x), 0, y - x))


def log_softplus(x: Node) -> Node:
    """Return log(softplus(x)); below -40, softplus(x) is exp(x) to the last place."""
    return where(x < -40.0, x, log(softplus(clip(x, -40.0, inf))))


# -- log as a homomorphism


def _homomorphism(log: Callable[[Node], Node], name: str) -> tuple[Rule, ...]:
    return (
        Rule(
            f"{name}(x * y)",
            lambda x, y: log(x * y),
            lambda x, y: log(x) + log(y),
            (Domain("f", form=exp), POSITIVE),
            splits,
        ),
        Rule(
            f"{name}(x / y)",
            lambda x, y: log(x / y),
            lambda x, y: log(x) - log(y),
            (Domain("f", form=exp), POSITIVE),
            splits,
        ),
        Rule(f"{name}(1 / x)", lambda x: log(reciprocal(x)), lambda x: -log(x), (POSITIVE,)),
        Rule(f"{name}(sqrt(x))", lambda x: log(sqrt(x)), lambda x: 0.5 * log(x), (POSITIVE,)),
        Rule(
            f"{name}(x ** 2), x >= 0",
            lambda x: log(square(x)),
            lambda x: 2 * log(x),
            (Domain("f", form=exp),),
            is_nonnegative,
        ),
        Rule(f"{name}(x ** 2)", lambda x: log(square(x)), lambda x: 2 * log(abs(x)), (REAL,)),
        Rule(
            f"{name}(x ** c), c even",
            lambda x, c: log(pow(x, c)),
            lambda x, c: c * log(x if is_nonnegative(x) else abs(x)),
            (REAL, Domain("f", literals=(4.0, -2.0))),
            lambda x, c: is_finite_literal(c) and has_even_power(c),
        ),
        Rule(
            f"{name}(x ** c)",
            lambda x, c: log(pow(x, c)),
            lambda x, c: c * log(x),
            (POSITIVE, Domain("f", literals=(3.0, 0.5, -1.5))),
            lambda x, c: is_finite_literal(c) and not has_even_power(c),
        ),
        Rule(
            f"{name}(c ** x), c > 0",
            lambda c, x: log(pow(c, x)),
            lambda c, x: x * log(c),
            (BASE, REAL),
            lambda c, x: is_finite_literal(c) and literal(c) > 0,
        ),
        Rule(
            f"{name}(x ** y), x > 0",
            lambda x, y: log(pow(x, y)),
            lambda x, y: where(equal(y, 0), 0, y * log(x)),
            (Domain("f", form=exp), REAL),
            lambda x, y: is_exponential(x) and is_positive(x) and literal(y) is None,
        ),
        Rule(
            f"{name}(prod(x, axis)), x >= 0",
            lambda x, axis: log(prod(x, axis)),
            lambda x, axis: sum(log(x), axis),
            (Domain("f", shape=(3, 4), form=exp), AXES),
            lambda x, axis: is_nonnegative(x),
        ),
        Rule(
            f"{name}(prod(x, axis))",
            lambda x, axis: log(prod(x, axis)),
            lambda x, axis: sum(log(abs(x)), axis) + log(prod(sign(x), axis)),
            (Domain("f", low=0.0, shape=(3, 4)), AXES),
            lambda x, axis: root_of(x).op.name != "sign",
        ),
    )


def _sums() -> tuple[Rule, ...]:
    """Logarithms of sums of exponentials; where a coefficient's sign is unknown, all exponents are shifted."""
    return (
        Rule(
            "log(exp(x) + exp(y))",
            lambda x, y: log(exp(x) + exp(y)),
            lambda x, y: logaddexp(x, y),
            (REAL, REAL),
        ),
        Rule(
            "log(x + y), exponentials",
            lambda x, y: log(x + y),
            lambda x, y: logaddexp(log(x), log(y)),
            (Domain("f", form=exp), Domain("f", form=sigmoid)),
            adds,
        ),
        Rule(
            "log(x - y), exponentials",
            lambda x, y: log(x - y),
            lambda x, y: log_difference(log(x), log(y)),
            (Domain("f", form=exp), Domain("f", low=-30.0, high=30.0, form=sigmoid)),
            subtracts,
        ),
        Rule(
            "log1p(x), an exponential",
            lambda x: log1p(x),
            lambda x: softplus(log(x)),
            (Domain("f", form=cosh),),
            lambda x: is_exponential(x) and may_overflow(x),
        ),
        Rule(
            "log(sum(exp(x), axis))",
            lambda x, axis: log(sum(exp(x), axis)),
            lambda x, axis: logsumexp(x, axis),
            (ROWS, AXES),
        ),
        Rule(
            "log(sum(exp(x), axis, keepdims=True))",
            lambda x, axis: log(sum(exp(x), axis, keepdims=True)),
            lambda x, axis: logsumexp(x, axis, keepdims=True),
            (ROWS, AXES),
        ),
        Rule(
            "log(sum(x * mask, axis)), exponentials",
            lambda x, c, axis: log(sum(x * c, axis)),
            _masked_sum,
            (
                Domain("f", shape=(3, 4), form=sigmoid),
                Domain("f", low=0.0, shape=(3, 4), form=lambda x: cast(x > 1, x.dtype)),
                AXES,
            ),
            lambda x, c, axis: is_mask(c) and is_exponential(x) and is_nonnegative(x),
        ),
        Rule(
            "log(sum(x, axis)), exponentials",
            lambda x, axis: log(sum(x, axis)),
            lambda x, axis: logsumexp(log(x), axis),
            (Domain("f", shape=(3, 4), form=sigmoid), AXES),
            lambda x, axis: is_exponential(x) and is_nonnegative(x),
        ),
        _running_sum(False),
        _running_sum(True),
        Rule(
            "log(sum(exp(x) * y, axis))",
            lambda x, y, axis: log(sum(exp(x) * y, axis)),
            _shifted_sum,
            (ROWS, Domain("f", low=0.0, shape=(3, 4)), AXES),
            lambda x, y, axis: not is_shifted(x),
        ),
        Rule(
            "log(x @ exp(y))",
            lambda x, y: log(apply(MatMul(), x, exp(y))),
            _shifted_right,
            (Domain("f", low=0.0, shape=(3, 4)), Domain("f", shape=(4, 2))),
            lambda x, y: not is_shifted(y),
        ),
        Rule(
            "log(exp(x) @ y)",
            lambda x, y: log(apply(MatMul(), exp(x), y)),
            _shifted_left,
            (ROWS, Domain("f", low=0.0, shape=(4, 2))),
            lambda x, y: not is_shifted(x),
        ),
    )


def _running_sum(reverse: bool) -> Rule:
    return Rule(
        f"log(cumulative_sum(x, axis)), exponentials{', from the end' if reverse else ''}",
        lambda x, axis: log(apply(Cumulative("cumulative_sum", axis[0], reverse), x)),
        lambda x, axis: running_logsumexp(log(x), axis[0], reverse),
        (Domain("f", shape=(3, 4), form=exp), AXES),
        lambda x, axis: is_exponential(x) and is_nonnegative(x),
    )


def _masked_sum(x: Node, c: Node, axis: tuple[int, ...]) -> Node:
    """Keep what is no number in a masked term, as the product does."""
    terms = log(x)
    return logsumexp(where((c > 0) | ~(terms < inf), terms, -inf), axis)


def _shifted_sum(x: Node, y: Node, axis: tuple[int, ...]) -> Node:
    terms, m = _shifted(x, None if is_positive(y) else equal(y, 0), axis)
    return log(sum(exp(terms) * y, axis)) + drop_axes(m, axis)


def _shifted_right(x: Node, y: Node) -> Node:
    rows = None if is_positive(x) else insert_axes(_all(equal(x, 0), x.ndim - 2), (x.ndim - 1,))
    terms, m = _shifted(y, rows, (y.ndim - 2,))
    return log(apply(MatMul(), x, exp(terms))) + m


def _shifted_left(x: Node, y: Node) -> Node:
    columns = None if is_positive(y) else insert_axes(_all(equal(y, 0), y.ndim - 1), (y.ndim - 2,))
    terms, m = _shifted(x, columns, (x.ndim - 1,))
    return log(apply(MatMul(), exp(terms), y)) + m


def _all(x: Node, axis: int) -> Node:
    return apply(Reduction("all", (axis,)), x)


def _shifted(x: Node, unread: Node | None, axes: tuple[int, ...]) -> tuple[Node, Node]:
    """Return exponents less their maximum, and it; `unread`: where coefficients are 0.

    What is unread is no part of the maximum. It is bounded in place of masked, so that the slope in its coefficient
    stays; an infinite exponent stays too.
    """
    if unread is None:
        m = _shift(x, axes)
        return x - m, m
    m = _shift(where(unread, -inf, x), axes)
    top = ln(float(np.finfo(x.dtype).max)) - 1
    return where(isfinite(x), minimum(x - m, top), x), m


def running_logsumexp(x: Node, axis: int, reverse: bool) -> Node:
    """Return log(cumulative_sum(exp(x))): a running sum that is scaled down wherever the running maximum grows.

    Neither the sum nor its adjoint, which is such a recurrence too, can overflow; leading -inf have slope 0.
    """
    m = apply(Cumulative("cumulative_max", axis, reverse), fixed(x))
    m = fixed(where(isfinite(m), m, 0))
    scale = exp(minimum(shift(m, axis, -inf, reverse) - m, 0))  # minimum: a maximum of -inf is shifted by 0
    terms = exp(x - m)
    total = cast(apply(LinearRecurrence(axis, reverse), *(cast(v, FLOAT64) for v in (scale, terms))), x.dtype)
    return where(equal(total, 0), -inf, log(total) + m)


# -- what the logarithm of one function is


def _functions() -> tuple[Rule, ...]:
    return (
        Rule("log(exp(x))", lambda x: log(exp(x)), lambda x: x, (REAL,)),
        Rule("log(exp2(x))", lambda x: log(exp2(x)), lambda x: x * ln(2), (REAL,)),
        Rule("log(1 - exp(x))", lambda x: log(-expm1(x)), lambda x: log1mexp(x), (NEGATIVE,)),
        Rule("log(exp(x) - 1)", lambda x: log(expm1(x)), lambda x: x + log1mexp(-x), (POSITIVE,)),
        Rule("log(sinh(x))", lambda x: log(sinh(x)), lambda x: x + log1mexp(x * -2) - ln(2), (POSITIVE,)),
        Rule("log(cosh(x))", lambda x: log(cosh(x)), lambda x: log_cosh(x), (REAL,)),
        Rule("log(tanh(x))", lambda x: log(tanh(x)), lambda x: log1mexp(x * -2) - softplus(x * -2), (POSITIVE,)),
        Rule("log(sech(x))", lambda x: log(sech(x)), lambda x: -log_cosh(x), (REAL,)),
        Rule("log(sigmoid(x))", lambda x: log(sigmoid(x)), lambda x: -softplus(-x), (REAL,)),
        Rule(
            "log(sigmoid(x) * sigmoid(-x))",
            lambda x: log(sigmoid_slope(x)),
            lambda x: -2 * log_cosh(x * 0.5) - ln(4),
            (REAL,),
        ),
        Rule(
            "log(softplus(x))",
            lambda x: log(softplus(x)),
            log_softplus,
            (REAL,),
            lambda x: x.op.name != "clip",
        ),
        Rule(
            "log(softmax(x, axis))",
            lambda x, axis: log(softmax(x, axis[0])),
            lambda x, axis: log_softmax(x, axis[0]),
            (ROWS, AXES),
        ),
        Rule("log(erfc(x))", lambda x: log(erfc(x)), lambda x: log_erfc(x), (TAIL,)),
        Rule("log(erfc(x) / 2)", lambda x: log(erfc(x) * 0.5), lambda x: log_ndtr(x * -root(2)), (TAIL,)),
        Rule("log(ndtr(x))", lambda x: log(ndtr(x)), lambda x: log_ndtr(x), (LEFT_TAIL,)),
        Rule(
            "log(normal_density(x))",
            lambda x: log(normal_density(x)),
            lambda x: square(x) * -0.5 - ln(2 * pi) / 2,
            (Domain("f", low=-1e150, high=1e150),),
        ),
        Rule("log(1 + x)", lambda x: log(1 + x), lambda x: log1p(x), (ABOVE_MINUS_ONE,)),
        Rule("log(1 - x)", lambda x: log(1 - x), lambda x: log1p(-x), (BELOW_ONE,)),
        Rule(
            "log(1 - x ** 2)",
            lambda x: log(one_minus_square(x)),
            lambda x: where(square(x) < 0.5, log1p(-square(x)), log1p(x) + log1p(-x)),
            (UNIT,),
        ),
        Rule("log(x + sqrt(x**2 + 1))", lambda x: log(x + hypot(x, 1)), lambda x: asinh(x), (REAL,)),
        Rule("log((1 + x) / (1 - x))", lambda x: log((1 + x) / (1 - x)), lambda x: 2 * atanh(x), (UNIT,)),
        Rule(
            "log(x ** 2 + y ** 2)",
            lambda x, y: log(square(x) + square(y)),
            lambda x, y: 2 * log(hypot(x, y)),
            (REAL, REAL),
        ),
    )


def _of_one_more() -> tuple[Rule, ...]:
    return (
        Rule("log1p(expm1(x))", lambda x: log1p(expm1(x)), lambda x: x, (REAL,)),
        Rule("log1p(exp(x))", lambda x: log1p(exp(x)), lambda x: softplus(x), (REAL,)),
        Rule("log1p(-exp(x))", lambda x: log1p(-exp(x)), lambda x: log1mexp(x), (NEGATIVE,)),
        Rule("log1p(-ndtr(x))", lambda x: log1p(-ndtr(x)), lambda x: log_ndtr(-x), (Domain("f", high=30.0),)),
        Rule("log1p(-erfc(x) / 2)", lambda x: log1p(erfc(x) * -0.5), lambda x: log_ndtr(x * root(2)), (REAL,)),
        Rule("log1p(-erf(x))", lambda x: log1p(-erf(x)), lambda x: log_erfc(x), (REAL,)),
        Rule("log1p(erf(x))", lambda x: log1p(erf(x)), lambda x: log_erfc(-x), (REAL,)),
        Rule(
            "log1p(-softmax(x, axis))",
            lambda x, axis: log1p(-softmax(x, axis[0])),
            lambda x, axis: log_of_others(x, axis),
            (ROWS, AXES),
            lambda x, axis: len(axis) == 1,
        ),
        Rule("log1p(-sigmoid(x))", lambda x: log1p(-sigmoid(x)), lambda x: -softplus(x), (REAL,)),
    )


def log_of_others(x: Node, axis: tuple[int, ...]) -> Node:
    """Return log(1 - softmax(x)); beside a probability above 1/2, of which a row has one at most, the others' sum."""
    p = softmax(x, axis[0])
    largest = p > 0.5
    others = logsumexp(where(largest, -inf, x), axis, keepdims=True) - logsumexp(x, axis, keepdims=True)
    return where(largest, others, log1p(where(largest, 0, -p)))


def _in_base(rule: Rule, log: Callable[[Node], Node], name: str, one: float) -> Rule:
    """Return the rule for the logarithm whose unit is `one`, in terms of the natural logarithm."""

    @wraps(rule.pattern)
    def pattern(*operands: Node) -> Node:
        root = rule.pattern(*operands)
        assert root.op is LOG, rule.text
        return log(root.inputs[0])

    @wraps(rule.replacement)
    def replacement(*operands: Node) -> Node:
        return rule.replacement(*operands) * one

    return replace(rule, text=name + rule.text.removeprefix("log"), pattern=pattern, replacement=replacement)


def _in_all_bases() -> tuple[Rule, ...]:
    """A function's own logarithm comes before what pushes down."""
    found: list[Rule] = []
    own = (*_functions(), *_sums())
    for base, name, one in ((log, "log", 1.0), (log2, "log2", 1 / ln(2)), (log10, "log10", 1 / ln(10))):
        found += own if base is log else [_in_base(r, base, name, one) for r in own if r.text.startswith("log(")]
        found += _homomorphism(base, name)
    return tuple(found)


LOGARITHMS: tuple[Rule, ...] = (*_in_all_bases(), *_of_one_more())
