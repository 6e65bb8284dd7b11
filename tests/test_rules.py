"""Every rule is held against its claim, on an instance that its domain generates.

EXACT: the bits that NumPy computes stay, on special values of every dtype of the domain, or come closer to the
true value. STABILISE: against mpmath the error never grows by more than two units in the last place (plus what
one unit in the operands does to the value), and gradients are finite and right wherever the true ones are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import mpmath
import numpy as np
import pytest

from graphc.autodiff.grad import grad
from graphc.graph.evaluate import evaluate
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import placeholder
from graphc.graph.types import Array
from graphc.ops.reduction import sum as total
from graphc.passes.algebra.pattern import Domain, Rule
from graphc.passes.algebra.rewrite import rewrite
from graphc.passes.algebra.rules_exact import EXACT
from graphc.passes.algebra.rules_fast import FAST
from graphc.passes.algebra.rules_stabilise import STABILISE
from tests.oracle import DIGITS, as_mpf, true_value

TINY, HUGE, EPSILON = 5e-324, 1.7976931348623157e308, 2.0**-52
FLOATS = [0.0, -0.0, 1.0, -1.0, 2.0, -3.5, 0.1, 1e-300, TINY, -TINY, 2.2250738585072014e-308, -1.1e-308, HUGE, -HUGE]
FLOATS += [np.inf, -np.inf, np.nan, 1e16, math.pi, -0.75]
INTS = [0, 1, -1, 2, 3, -7, 100, -128, 127]
DTYPES = {"f": ("float64", "float32"), "i": ("int64", "int8"), "u": ("uint8",), "b": ("bool",)}


def choices(rule: Rule) -> int:
    return max(len(d.literals) or 1 for d in rule.domain)


def marks(rule: Rule) -> Any:
    """Rules for other bases are those for `log`, by construction."""
    return pytest.mark.slow if rule.text.startswith(("log2", "log10")) else ()


def instances(rules: Sequence[Rule]) -> list[Any]:
    pairs = [(rule, choice) for rule in rules for choice in range(choices(rule))]
    return [pytest.param(r, c, id=f"{r.text} #{c}" if choices(r) > 1 else r.text, marks=marks(r)) for r, c in pairs]


def specials(dtype: str) -> Array:
    kind = np.dtype(dtype).kind
    if kind == "b":
        return np.array([False, True])
    with np.errstate(over="ignore"):
        return np.array(FLOATS if kind == "f" else INTS).astype(dtype)


def instance(rule: Rule, choice: int, dtype: str) -> tuple[list[Any], Node]:
    """The pattern on vectors of `dtype` (bool wildcards stay bool)."""
    operands: list[Any] = []
    for name, d in zip(rule.wildcards, rule.domain, strict=True):
        if d.literals:
            found = d.instance(name, choice)
            assert isinstance(found, Node)
            operands.append(found.astype("bool" if d.kinds == "b" else dtype))
        else:
            found = placeholder(name, ("n",), "bool" if d.kinds == "b" else dtype)
            operands.append(found if d.form is None else d.form(found))
    pattern = rule.pattern(*operands)
    return list(Graph([pattern]).inputs), pattern


def applied(rule: Rule, pattern: Node) -> Node | None:
    """What one rule alone makes of its pattern; None where its condition refuses.

    A rule for certain forms of its operands is applied with the others, which take these up.
    """
    rules = (rule, *STABILISE) if any(d.form for d in rule.domain) else (rule,)
    graph, _ = rewrite(Graph([pattern]), rules)
    return None if graph.text() == Graph([pattern]).text() else graph.outputs[0]


def grid(operands: Sequence[Any], values: Any) -> dict[Node, Array]:
    """All combinations of `values(node)` for the placeholders among the operands."""
    nodes = [x for x in operands if isinstance(x, Node) and x.name]
    columns = [c.ravel() for c in np.meshgrid(*[np.arange(len(values(x))) for x in nodes], indexing="ij")]
    return {x: np.asarray(values(x))[c] for x, c in zip(nodes, columns, strict=True)}


# -- EXACT


def exact_dtypes(rule: Rule) -> list[str]:
    kinds = next((d.kinds for d in rule.domain if d.kinds != "b"), "b")
    return [dtype for kind in kinds for dtype in DTYPES[kind]]


@pytest.mark.parametrize(("rule", "choice"), instances(EXACT))
def test_exact(rule: Rule, choice: int) -> None:
    fired = 0
    for dtype in exact_dtypes(rule):
        literals = [d.literals[choice % len(d.literals)] for d in rule.domain if d.literals]
        if np.dtype(dtype).kind != "f" and any(v != np.array(v).astype(dtype) for v in literals if np.isfinite(v)):
            continue
        if np.dtype(dtype).kind != "f" and not all(np.isfinite(literals)):
            continue
        operands, pattern = instance(rule, choice, dtype)
        replacement = applied(rule, pattern)
        if replacement is None:
            continue
        fired += 1
        bindings = grid(operands, lambda x: specials(x.dtype.name))
        before, after = evaluate([pattern, replacement], bindings)
        check_exact(pattern, bindings, before, after)
    assert fired or rule.condition is not None


def check_exact(pattern: Node, bindings: dict[Node, Array], before: Array, after: Array) -> None:
    assert before.dtype == after.dtype and before.shape == after.shape
    for i in np.flatnonzero(different(before, after)):
        point = {x: values[i : i + 1] for x, values in bindings.items()}
        shown = {x.name: v.item() for x, v in point.items()}
        assert before.dtype.kind == "f" and not any(np.isnan(v).any() for v in point.values()), (
            shown,
            before[i],
            after[i],
        )
        (true,) = true_value(pattern, {x: as_mpf(v) for x, v in point.items()})
        assert not mpmath.isnan(true) and distance(after[i], true) <= distance(before[i], true), (
            shown,
            before[i],
            after[i],
            true,
        )


def different(a: Array, b: Array) -> Array:
    if a.dtype.kind != "f":
        return np.asarray(a != b)
    return np.asarray(~((np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b)))))


def distance(value: Any, true: Any) -> Any:
    """The absolute error; infinite for nan, and for inf where the true value is below the overflow threshold."""
    if np.isnan(value):
        return mpmath.inf
    if np.isinf(value):
        limit = mpmath.mpf(float(np.finfo(value.dtype).max)) * (1 + mpmath.mpf(2) ** -54)
        return 0 if mpmath.sign(true) == np.sign(value) and abs(true) > limit else mpmath.inf
    return abs(mpmath.mpf(float(value)) - true)


def test_exact_conditions_hold_somewhere() -> None:
    for rule in EXACT:
        assert any(applied(rule, rule.instance(c)[1]) is not None for c in range(choices(rule))), rule.text


# -- STABILISE


SCALARS = [r for r in STABILISE if all(d.kinds and d.shape == () for d in r.domain)]
ROWS = [r for r in STABILISE if r not in SCALARS]


def points(domain: Domain, count: int, stride: int) -> Array:
    """Magnitudes from subnormal to the largest float, the range in which exp moves, and the neighbours of 1."""
    sizes = np.concatenate([np.logspace(-310, 308, count), np.linspace(0.01, 800, count), [709.5, 710.2, 36.5, 745]])
    near = [1 - 2**-53, 1 - 1e-8, 1.0, 1 + 2**-52, 1 + 1e-8, math.log(2)]
    found = np.concatenate([sizes, near, [0.0], -sizes, np.negative(near)])
    found = found[(domain.low <= found) & (found <= domain.high)]
    return found[::stride] if count > 9 else found[:: 3 * stride]


def bindings_of(rule: Rule, operands: Sequence[Any], stride: int) -> dict[Node, Array]:
    wild = {x: rule.domain[rule.wildcards.index(x.name)] for x in operands}
    found = {id(x): points(d, 40 if len(wild) == 1 else 9, stride) for x, d in wild.items()}
    return grid(operands, lambda x: found[id(x)])


def ulp(true: Any) -> Any:
    return mpmath.mpf(float(np.spacing(min(abs(float(true)), 1e308)))) if abs(true) < HUGE else abs(true)


def digits_for(point: dict[Node, Any]) -> int:
    """Digits that keep 1 beside the square of the largest operand, and of its inverse."""
    sizes = [abs(v[0]) for v in point.values() if v[0]]
    return DIGITS + 2 * max((abs(int(mpmath.log10(s))) for s in sizes), default=0)


def slopes(pattern: Node, point: dict[Node, Any], middle: Any, digits: int) -> list[tuple[Any, Any]]:
    """One-sided derivatives of the true value in each operand."""
    found = []
    with mpmath.workdps(digits):
        for x, value in point.items():
            step = (abs(value[0]) or mpmath.mpf(10) ** -320) * mpmath.mpf(10) ** -40
            behind, ahead = (true_value(pattern, {**point, x: value + s}, digits)[0] for s in (-step, step))
            found.append(((ahead - middle) / step, (middle - behind) / step))
    return found


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("rule", "choice"), instances(SCALARS))
def test_stabilise(rule: Rule, choice: int, stride: int) -> None:
    """All points, and every third of them in the default run."""
    operands, pattern = instance(rule, choice, "float64")
    replacement = applied(rule, pattern)
    assert replacement is not None
    bindings = bindings_of(rule, operands, stride)
    nodes = list(bindings)
    before, after, *grads = evaluate([pattern, replacement, *grad(total(pattern), nodes)], bindings)
    for i in range(len(before)):
        point = {x: as_mpf(values[i : i + 1]) for x, values in bindings.items()}
        shown = [float(v[0]) for v in point.values()]
        digits = digits_for(point)
        (true,) = true_value(pattern, point, digits)
        if mpmath.isnan(true):
            assert np.isnan(after[i]) or after[i] == before[i], shown
            continue
        slope = slopes(pattern, point, true, digits)
        moved = sum(
            (abs(s) * ulp(v[0]) for (s, _), v in zip(slope, point.values(), strict=True) if mpmath.isfinite(s)),
            start=mpmath.mpf(0),
        )
        slack = 4 if rule.text.startswith(("log2", "log10")) else 2  # they multiply what `log` gives
        allowed = distance(before[i], true) + slack * ulp(true) + moved
        assert distance(after[i], true) <= allowed, (shown, before[i], after[i], float(true))
        for g, (right, left) in zip(grads, slope, strict=True):
            check_slope(float(g[i]), right, left, shown)


def check_slope(found: float, right: Any, left: Any, shown: list[float]) -> None:
    """Compare where the true value has a derivative that a float can hold."""
    smooth = (
        mpmath.isfinite(right) and mpmath.isfinite(left) and abs(right - left) <= abs(right) * mpmath.mpf(10) ** -20
    )
    if not smooth or abs(right) > HUGE:
        return
    assert math.isfinite(found), (shown, found, float(right))
    assert abs(found - float(right)) <= 1e-9 * abs(float(right)) + 1e-15, (shown, found, float(right))


def rows(rng: np.random.Generator, shape: tuple[int, ...]) -> Iterator[Array]:
    for scale in (1e-8, 1.0, 30.0, 700.0, 1e5, 1e300):
        for offset in (0.0, 1.0, -1000.0, 1e6):
            yield rng.normal(size=shape) * scale + offset * min(scale, 1)


def operand(values: Array, x: Node, rule: Rule) -> Array:
    """The values for `x`: one number a row, the maximum, or as many as its shape has; positive where its domain is."""
    domain = rule.domain[rule.wildcards.index(x.name)]
    size = math.prod(domain.shape)
    found = values.max(1) if size == 3 else np.resize(values, size)
    return np.asarray(np.abs(found) if domain.low == 0 else found).reshape(domain.shape)


def rounding_of(rule: Rule, pattern: Node, bindings: dict[Node, Array]) -> Array:
    """What a unit in the last place of the operands does to the values, about."""
    values = next(iter(bindings.values()))
    size = np.abs(values).max(1, keepdims=True) * np.ones((3, 4))
    if "prod" in rule.text:
        return np.full(pattern.shape, 8 * EPSILON * np.abs(np.log(np.abs(values))).max())
    if "@" in rule.text:
        return np.full(pattern.shape, 8 * EPSILON * max(np.abs(v).max() for v in bindings.values()))
    if "* y, axis" in rule.text:
        size = size + 8
    wide = pattern.ndim == 2 and pattern.shape[1] == 4
    return np.asarray(2 * np.spacing(size if wide else size[:, :1].reshape(pattern.shape)))


@pytest.mark.parametrize("rule", [pytest.param(r, id=r.text, marks=marks(r)) for r in ROWS])
def test_stabilise_rows(rule: Rule) -> None:
    pattern = rule.instance()[1]
    replacement = applied(rule, pattern)
    assert replacement is not None
    nodes = list(Graph([pattern]).inputs)
    weights = np.random.default_rng(1).normal(size=pattern.shape)
    derivatives = grad(total(pattern * weights), nodes)
    rng = np.random.default_rng(0)
    for values in rows(rng, (3, 4)):
        if values.max() > rule.domain[0].high:
            continue
        bindings = {x: operand(values, x, rule) for x in nodes}
        before, after, *grads = evaluate([pattern, replacement, *derivatives], bindings)
        true = true_value(pattern, {x: as_mpf(v) for x, v in bindings.items()})
        moved = rounding_of(rule, pattern, bindings)
        for b, a, t, m in zip(before.ravel(), after.ravel(), true.ravel(), moved.ravel(), strict=True):
            if mpmath.isnan(t):
                assert np.isnan(a) or a == b, values
                continue
            relative = mpmath.mpf(float(m)) * (t if 0 < t <= 1 and "softmax" in rule.text else 1)
            assert distance(a, t) <= distance(b, t) + 4 * ulp(t) + abs(relative), (values, b, a, float(t))
        assert np.isnan(after).any() or all(np.isfinite(g).all() for g in grads), (values, grads)


def test_patterns_are_in_exact_form() -> None:
    """A pattern that EXACT would rewrite could never be found."""
    for rule in STABILISE:
        before = Graph([rule.instance()[1]])
        assert rewrite(before, EXACT)[0].text() == before.text(), rule.text


def test_no_rule_is_shadowed() -> None:
    """Distinct operands, all rules: every pattern is rewritten, and its result is final."""
    for rules in (EXACT, (*EXACT, *STABILISE), FAST):
        for rule in rules:
            for choice in range(choices(rule)):
                before = Graph([rule.instance(choice)[1]])
                if rule.condition is not None and applied(rule, before.outputs[0]) is None:
                    continue
                after, _ = rewrite(before, rules)
                assert after.text() != before.text(), rule.text
                assert rewrite(after, rules)[0].text() == after.text(), rule.text


def test_texts_are_distinct() -> None:
    for a, b in itertools.combinations((*EXACT, *STABILISE, *FAST), 2):
        assert a.text != b.text
