"""Every STABILISE rule in every spelling: value and gradient at the rule's extremes, against mpmath.

All passes run, so a rule that another list pre-empts fails here as one does that a view hides.
"""

from __future__ import annotations

import functools
import re
import zlib
from typing import Any

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.autodiff.grad import grad
from graphc.graph.evaluate import run_graph
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import placeholder
from graphc.graph.types import Array
from graphc.ops.reduction import sum as total
from graphc.passes import optimize
from graphc.passes.algebra.pattern import AXES, Domain, Rule
from graphc.passes.algebra.rules_stabilise import STABILISE
from tests.oracle import as_mpf, true_value
from tests.spellings import Spelling, is_scalar, spellings

POINTS = np.array([-800.0, -40.0, -1.0, -1e-9, 1e-9, 0.7, 40.0, 800.0])
UNIT = np.array([-1 + 1e-9, -0.7, -1e-9, -1e-3, 1e-9, 0.3, 0.999, 1 - 1e-12])
ROWS = np.array([[0.3, -0.2, 0.1, 1.0], [700.0, -700.0, 10.0, 699.0], [-2000.0, -2001.0, -2500.0, -2000.5]])
DIGITS = 1500
"""Enough for what exp makes of differences of 800 and of rows of `ROWS`, beside 1."""


def values_of(domain: Domain, number: int) -> Array:
    """Return an operand's values; the second operand's are those of the first in another order."""
    if domain.shape == (3, 4):
        return ROWS if domain.high > 700 else np.clip(ROWS, -1e140, 1e140)
    if domain.shape:
        return np.resize([0.5, 3.0, 1e4, 0.1, 7.0] if domain.low == 0 else [700.0, -700.0, 10.0, -800.0], domain.shape)
    if (domain.low, domain.high) == (-1.0, 1.0):
        found = UNIT
    elif domain.low == 0.0:
        found = np.abs(POINTS)
    elif domain.high == 0.0:
        found = -np.abs(POINTS)
    else:
        found = np.where(domain.low > POINTS, UNIT, np.where(domain.high < POINTS, -UNIT, POINTS))
    return np.roll(found, 3 * number).reshape(2, 4)


@functools.cache
def truth(rule: Rule) -> tuple[list[Array], Any, list[Any]]:
    """Return the operands' values, the true values of the plain pattern, and their derivatives in every element.

    A derivative is an array of the pattern's shape followed by the operand's, nan where there is none.
    """
    plain = next(spellings(rule))
    domains = [d for d in rule.domain if d is not AXES and not d.literals]
    bound = [values_of(d, i) for i, d in enumerate(domains)]
    exact = dict(zip(plain.wilds, [as_mpf(b) for b in bound], strict=True))
    with mpmath.workdps(DIGITS):
        middle = true_value(plain.plain, exact, DIGITS)
        slopes = [_slopes(plain, exact, x, middle) for x in plain.wilds]
    return bound, middle, slopes


def _slopes(plain: Spelling, exact: dict[Node, Any], x: Node, middle: Any) -> Any:
    """Return derivatives from the mean of differences to both sides; nan where they differ."""
    scalar = is_scalar(plain.rule)
    found = np.full((*middle.shape, *exact[x].shape), mpmath.mpf(0), dtype=object)
    step = mpmath.mpf(10) ** (-DIGITS // 4)
    for i in [None] if scalar else list(np.ndindex(exact[x].shape)):
        sides = []
        for sign in (1, -1):
            moved = exact[x].copy()
            moved[... if i is None else i] += sign * step
            sides.append((true_value(plain.plain, {**exact, x: moved}, DIGITS) - middle) / (sign * step))
        right, left = sides
        kink = np.vectorize(lambda a, b: not abs(a - b) <= abs(a) * mpmath.mpf(10) ** -30 + mpmath.mpf(10) ** -200)
        slope = np.where(kink(right, left), mpmath.nan, (right + left) / 2)
        if i is None:
            for j in np.ndindex(middle.shape):
                found[j + j] = slope[j]
        else:
            found[(..., *i)] = slope
    return found


def check(case: Spelling) -> None:
    bound, middle, slopes = truth(case.rule)
    outputs = [case.spelled, *grad(total(case.spelled), list(case.wilds), disconnected="zero")]
    graph = optimize(Graph(outputs, case.wilds))
    value, *grads = run_graph(graph, dict(zip(case.wilds, bound, strict=True)), {})
    places = case.places.ravel()
    skipped = np.zeros(middle.shape, bool) | (_large(bound, middle.shape) if case.is_float32 else False)
    flat, true = np.ravel(value), middle.ravel()
    loose = 1e-5 if case.is_float32 else 4e-15
    counts = np.bincount(places[places >= 0], minlength=true.size)
    sizes = [np.abs(np.asarray(b)) for b in bound]
    for j, place in enumerate(places):
        if place < 0 or skipped.ravel()[place] or mpmath.isnan(true[place]):
            continue
        right = case.factor * true[place]
        moved = sum(
            (
                abs(s) * float(size[i]) * loose
                for slope, size in zip(slopes, sizes, strict=True)
                for i, s in _row(slope, middle.shape, place)
                if mpmath.isfinite(s)
            ),
            start=mpmath.mpf(0),
        )
        allowed = (
            16 * loose * abs(right) + abs(case.factor) * moved + mpmath.mpf("1e-37" if case.is_float32 else "1e-307")
        )
        limit = 3e38 if case.is_float32 else 1.7e308
        fits = abs(flat[j] - right) <= allowed if np.isfinite(flat[j]) else abs(right) > limit
        assert fits, f"{case.name}: value {flat[j]} at place {place}, true {mpmath.nstr(right, 17)}\n{graph.text()}"
    for g, slope, b in zip(grads, slopes, bound, strict=True):
        for i in np.ndindex(b.shape):
            column = slope[(..., *i)].ravel()
            terms = [case.factor * int(c) * s for c, s in zip(counts, column, strict=True) if c]
            right = sum(terms, start=mpmath.mpf(0))
            touched = (counts > 0) & (column != 0)
            if mpmath.isnan(right) or abs(right) > 1e300 or skipped.ravel()[touched].any():
                continue
            scale = sum((abs(t) for t in terms), start=mpmath.mpf(0))
            allowed = (2e-3 if case.is_float32 else 1e-9) * scale + (1e-6 if case.is_float32 else 1e-15)
            assert abs(g[i] - right) <= allowed, (
                f"{case.name}: slope {g[i]} at {b[i]}, true {mpmath.nstr(right, 17)}\n{graph.text()}"
            )


def _large(bound: list[Array], shape: tuple[int, ...]) -> Array:
    """Return the places whose parts may overflow in float32: casts on the way lose them, as written."""
    if bound[0].shape == (2, 4):
        return np.asarray(sum((np.abs(b) > 41).astype(int) for b in bound) > 0)
    rows = np.abs(bound[0]).max(1) > 41
    return np.broadcast_to(rows.reshape(-1, *(1,) * (len(shape) - 1)), shape)


def _row(slope: Any, shape: tuple[int, ...], place: int) -> list[tuple[tuple[int, ...], Any]]:
    """Return the derivatives of one element of the pattern, by places of the operand."""
    own = slope[np.unravel_index(place, shape)] if shape else slope
    return [(i, own[i]) for i in np.ndindex(own.shape)]


BELOW_SUM = "a formula moves below elementwise ops, not below a reduction over what where, pad or concat make"
TWO_PIECES = "numerator and denominator come from different pieces"
ASKED = "what a condition asks of an operand is not looked for behind what puts pieces together"
UNTOUCHED = "0 * inf: the cotangent 0 of an element that nothing gathers, times a derivative that overflows"
LOOP = "a product of what a loop has computed, inside another loop"
JOINED = ("roll", "concat", "concat with a constant", "where", "pad")
SOFTMAX_SUM = ("flip", "slice", "gather", "repeat", "roll", "concat", "where", "pad")

EXCEPTIONS: dict[str, str] = {
    **{f"log(sum(exp(x), axis)): {m} behind exp 0": BELOW_SUM for m in ("where", "pad")},
    **{f"log(sum(exp(x), axis, keepdims=True)): {m} behind exp 0": BELOW_SUM for m in ("where", "pad")},
    **{f"log(sum(x, axis)), exponentials: {m} behind sigmoid 0": BELOW_SUM for m in ("where", "pad")},
    "log(prod(x, axis)), x >= 0: pad behind exp 0": BELOW_SUM,
    "log(prod(x, axis)), x >= 0: a loop around the rest, exp 0": LOOP,
    **{f"exp(x) / sum(exp(x), axis, keepdims=True): {m} behind exp 0": TWO_PIECES for m in JOINED if m != "where"},
    **{f"exp(x) / sum(exp(x), axis, keepdims=True): {m} behind exp 1": TWO_PIECES for m in ("where", "pad")},
    **{f"exp(x) / sum(exp(x), axis, keepdims=True): {m} behind sum 2": TWO_PIECES for m in SOFTMAX_SUM},
    **{f"exp(x) / sum(exp(y), axis, keepdims=True): {m} behind exp 0": TWO_PIECES for m in JOINED if m != "where"},
    **{f"exp(x) / sum(exp(y), axis, keepdims=True): {m} behind exp 1": TWO_PIECES for m in ("where", "pad")},
    **{f"exp(x) / sum(exp(y), axis, keepdims=True): {m} behind sum 2": TWO_PIECES for m in SOFTMAX_SUM},
    **{
        f"log(cumulative_sum(x, axis)), exponentials{end}: {m} behind exp 0": BELOW_SUM
        for end in ("", ", from the end")
        for m in JOINED
    },
    **{f"log1p(x), an exponential: {m} behind cosh 0": ASKED for m in (*JOINED, "two")},
    **{f"abs(x), x > 0: {m} behind exp 0": UNTOUCHED for m in ("int", "gather", "gather of elements", "two")},
}
"""Spellings known to fail, and why; one that starts to pass fails here."""


def verdict(case: Spelling) -> str:
    """Return what is wrong with a case: a failure, or an exception that passes."""
    known = EXCEPTIONS.get(re.sub(r"^log(2|10)\(", "log(", case.name))
    try:
        check(case)
    except AssertionError as error:
        return "" if known else str(error)
    return f"{case.name}: passes, and is listed as failing: {known}" if known else ""


@pytest.mark.slow
@pytest.mark.parametrize("rule", [pytest.param(r, id=r.text) for r in STABILISE])
def test_every_spelling(rule: Rule) -> None:
    failures = [wrong for case in spellings(rule) if (wrong := verdict(case))]
    assert not failures, f"{len(failures)} spellings:\n" + "\n\n".join(failures)


NATURAL = [r for r in STABILISE if not r.text.startswith(("log2", "log10"))]


@pytest.mark.parametrize("rule", [pytest.param(r, id=r.text) for r in NATURAL])
def test_some_spellings(rule: Rule) -> None:
    """The plain pattern and two of its spellings, others for each rule; other bases are made of the rules for `log`."""
    plain, *others = spellings(rule)
    start = zlib.crc32(rule.text.encode())
    for case in [plain, *(others[(start * k) % len(others)] for k in (1, 7))]:
        assert not (wrong := verdict(case)), wrong


X = np.array([[2000.0, 0.0, -2000.0], [0.0, 2000.0, -2000.0], [1.0, 2.0, 3.0]])
LABELS = np.array([2, 0, 1])
CHOSEN = np.eye(3)[LABELS] > 0


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("chosen", ["constant labels", "labels", "float32", "where", "mask"])
@pytest.mark.parametrize("scores", ["softmax", "exp"])
def test_a_chosen_probability(scores: str, chosen: str, empty: bool) -> None:
    """The logarithm of what a mask leaves of exponentials; nothing left is -inf, with a finite gradient."""
    x = placeholder("x", (3, 3), "float64")
    labels = placeholder("labels", (3,), "int64")
    given = np.where(np.arange(3) == 0, 7, LABELS) if empty else LABELS
    p = gc.softmax(x, axis=1) if scores == "softmax" else gc.exp(x)
    mask = gc.equal(labels[:, None], gc.arange(3)[None, :])
    left = {
        "constant labels": lambda: gc.one_hot(gc.constant(given), 3) * p,
        "labels": lambda: p * gc.one_hot(labels, 3),
        "float32": lambda: gc.one_hot(labels, 3, dtype="float32") * p,
        "where": lambda: gc.where(mask, p, 0),
        "mask": lambda: mask.astype("float64") * p,
    }[chosen]()
    value = gc.log(gc.sum(left, axis=1))
    outputs = [value, gc.grad(total(value), x)]
    found, slope = gc.function([x, labels], outputs, on_unused="ignore")(X, given)
    shifted = X - X.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True)) if scores == "softmax" else X
    right = CHOSEN - np.exp(logs) if scores == "softmax" else CHOSEN.astype(float)
    kept = ~(empty & (np.arange(3) == 0))
    np.testing.assert_allclose(found, np.where(kept, logs[CHOSEN], -np.inf), rtol=1e-13)
    np.testing.assert_allclose(slope, np.where(kept[:, None], right, 0.0), rtol=1e-13, atol=1e-15)
