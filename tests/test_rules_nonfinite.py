"""No rule hides a NaN or an infinity of an operand: every rule's pattern and replacement, fed with both.

A NaN in an operand must make the same elements NaN before and after. With an infinite operand, what was infinite or
finite must stay it. Where the pattern is NaN because two infinities met, the replacement may know the limit; the rules
that do are in `LIMITS`. What overflows at finite operands is `test_rules`' business.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

import graphc as gc
from graphc.graph.evaluate import evaluate
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.types import Array
from graphc.ops.reduction import softmax
from graphc.ops.shape import insert_axes
from graphc.passes.algebra.canonicalize import canonicalize
from graphc.passes.algebra.fold_constants import fold_constants
from graphc.passes.algebra.pattern import AXES, Domain, Rule
from graphc.passes.algebra.rewrite import rewrite
from graphc.passes.algebra.rules_exact import EXACT
from graphc.passes.algebra.rules_fast import FAST
from graphc.passes.algebra.rules_stabilise import STABILISE
from tests.test_rules import SCALARS, applied, choices, instance, marks

SPECIAL = [math.nan, math.inf, -math.inf, 0.0, 1.0, -2.0, 0.5, 30.0]

LIMITS = {
    *("exp(x) / (1 + exp(x))", "exp(x) / (exp(x) + exp(y))", "exp(x) / (exp(x) + c), c > 0"),
    *("expm1(x) / (1 + exp(x))", "exp(x) / (1 + exp(x)) ** 2", "exp(x) / y, y a sum of exponentials"),
    *("(exp(x) - exp(-x)) / (exp(x) + exp(-x))", "sinh(x) / cosh(x)", "log(x + sqrt(x**2 + 1))"),
    "exp(x) / sum(exp(x), axis, keepdims=True)",  # inf / inf, as at exponents of 1000
    *("logsumexp(x - max(x), axis) + max(x)", "logsumexp(x - max(x), axis, keepdims=True) + max(x)"),
    *("softmax(x - max(x), axis)", "log_softmax(x - max(x), axis)", "x - logsumexp(x, axis, keepdims=True)"),
    *("erfc(x) * exp(x ** 2)", "erfc(x) / exp(-x ** 2)"),
    *("exp(x) * sigmoid(-x)", "expm1(x) * sigmoid(-x)", "(2 * sinh(x)) * sech(x)", "sinh(x) * sech(x)"),  # inf * 0
    "sqrt(x + 1) - sqrt(x)",  # inf - inf of one operand; these too are 0 / 0 or inf - inf far below inf
    *("gammaln(x + 1) - gammaln(x)", "gammaln(x) - gammaln(x + 1)"),
    *("x * exp(x)", "sigmoid(x) * log(sigmoid(x))", "softmax(x) * log_softmax(x)"),  # 0 * inf of one operand
}
"""Where two infinities that stem from one operand meet, the limit in that operand is the value."""

IEEE = {"(x**2 + y**2) ** 0.5", "sqrt(x**2 + y**2)", "log(x ** 2 + y ** 2)", "hypot(x, y) ** 2", "log(x ** y), x > 0"}
"""`hypot(inf, nan)` is inf and `pow(1, nan)` is 1: the other side of these rules is NaN there."""

HIDDEN = {"x * 0.0", "x - x"}
"""Of FAST, which says so: nobody applies it unasked."""


def cases() -> Iterator[tuple[Rule, int]]:
    for rule in (*EXACT, *STABILISE, *FAST):
        for choice in range(choices(rule)):
            yield rule, choice


def is_scalar(rule: Rule) -> bool:
    return rule in SCALARS or rule not in STABILISE


def feeds(rule: Rule, inputs: list[Node]) -> Iterator[dict[Node, Array]]:
    """Yield operands: every combination of special numbers, or one special number at one place."""
    if is_scalar(rule):
        values = [[v for v in SPECIAL if x.dtype.kind == "f" or v in (0.0, 1.0)] for x in inputs]
        table = np.array(list(itertools.product(*values)))
        yield {x: table[:, i].astype(x.dtype) for i, x in enumerate(inputs)}
        return
    rng = np.random.default_rng(0)
    base = {x: np.abs(rng.normal(size=x.shape)) for x in inputs}
    for x, value in itertools.product(inputs, SPECIAL[:3]):
        fed = dict(base)
        fed[x] = base[x].copy()
        fed[x].flat[1] = value
        yield fed
    yield {x: np.full(v.shape, -math.inf) for x, v in base.items()}


def kinds(values: Array) -> Array:
    """Sort values into finite (0), inf, -inf and NaN."""
    return np.where(np.isnan(values), 3, np.where(np.isinf(values), np.where(values > 0, 1, 2), 0))


@pytest.mark.parametrize(
    ("rule", "choice"), [pytest.param(r, c, id=f"{r.text} #{c}", marks=marks(r)) for r, c in cases()]
)
def test_non_finite_operands_show(rule: Rule, choice: int) -> None:
    if is_scalar(rule):
        if all(d.kinds and "f" not in d.kinds for d in rule.domain):
            return  # integers and truth values are finite
        pattern = instance(rule, choice, "float64")[1]
    else:
        pattern = rule.instance(choice)[1]
    replacement = applied(rule, pattern)
    if replacement is None:
        assert rule.condition is not None
        return
    inputs = list(Graph([pattern]).inputs)
    for fed in feeds(rule, inputs):
        check(rule, fed, *evaluate([pattern, replacement], fed))


def check(rule: Rule, fed: dict[Node, Array], before: Array, after: Array) -> None:
    a, b = kinds(before), kinds(after)
    if is_scalar(rule):
        rows = np.array(list(zip(*fed.values(), strict=True)), float)
        low, high = bounds_of(rule, list(fed))
        inside = (np.isnan(rows) | ((rows >= low) & (rows <= high))).all(1)
        has_nan, infinite = np.isnan(rows).any(1), np.isinf(rows).any(1)
    else:
        has_nan = np.full(a.shape, any(np.isnan(v).any() for v in fed.values()))
        inside = infinite = ~has_nan
    hidden = has_nan & (a == 3) & (b != 3) & ((rule.text not in IEEE) | (b == 0))
    changed = inside & infinite & ~has_nan & (a != b) & ((a != 3) | (rule.text not in LIMITS))
    if rule.text in HIDDEN:
        assert hidden.any()
        return
    bad = hidden if rule.text in IEEE or rule in FAST else hidden | changed
    assert not bad.any(), (
        {x.name: v[bad][:4] if is_scalar(rule) else v for x, v in fed.items()},
        before[bad],
        after[bad],
    )


def bounds_of(rule: Rule, inputs: list[Node]) -> tuple[list[float], list[float]]:
    """Return the ends of the operands' domains; a form of an operand has the form's."""
    domains = [rule.domain[rule.wildcards.index(x.name)] for x in inputs]
    return [d.low for d in domains], [d.high for d in domains]


def test_tables_name_rules() -> None:
    texts = {r.text for r in (*EXACT, *STABILISE, *FAST)}
    assert texts >= LIMITS | IEEE | HIDDEN


def test_a_rule_that_drops_an_operand_is_found() -> None:
    planted = Rule(
        "softmax(x - m, axis)",
        lambda x, m, axis: softmax(x - insert_axes(m, axis), axis[0]),
        lambda x, m, axis: softmax(x, axis[0]),
        (Domain("f", shape=(3, 4)), Domain("f", shape=(3,)), AXES),
    )
    pattern = planted.instance()[1]
    replacement = rewrite(Graph([pattern]), (planted,))[0].outputs[0]
    x, m = Graph([pattern]).inputs
    fed = {x: np.zeros((3, 4)), m: np.array([0.0, math.nan, 0.0])}
    before, after = evaluate([pattern, replacement], fed)
    assert np.isnan(before[1]).all() and not np.isnan(after).any()
    shifted = gc.placeholder("x", (3, 4)) - gc.placeholder("m", (3,))[:, None]
    (kept,) = rewrite(Graph([gc.softmax(shifted)]), (*EXACT, *STABILISE))[0].outputs
    assert kept.inputs[0].op.name == "subtract"


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_reductions_of_what_repeats(name: str, value: float) -> None:
    """Canonical forms count repeated elements instead of reducing them: none at all, one, three."""
    x = gc.placeholder("x", (2, 1))
    for count in (0, 1, 3):
        for axis in (0, 1, None):
            if count == 0 and name in ("max", "min"):
                continue
            out = getattr(gc, name)(gc.broadcast_to(x, (2, count)), axis)
            after = fold_constants(canonicalize(Graph([out]))).outputs[0]
            found = evaluate([out, after], {x: np.array([[value], [1.0]])})
            np.testing.assert_array_equal(found[0], found[1])
