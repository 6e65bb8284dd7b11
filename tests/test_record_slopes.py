"""Derivatives of orders one and two of elementwise records of several operands, and of those that mpmath does not name.

The sibling of the sweep in `test_special_points`, with formulas written out here as oracle: at zeros, ties and extreme
scales. A record that is in neither sweep must be listed with the reason.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.graph.node import Node
from graphc.ops.cancellation import root_plus
from graphc.ops.pointwise import ELEMENTWISE, pointwise
from graphc.ops.radial import direction, half_over
from tests.test_special_points import UNARY, check_slopes, close, differentiable, slopes

mp = mpmath


def record(name: str) -> Callable[..., Node]:
    return lambda *operands: pointwise(ELEMENTWISE[name], *operands)


ONE: dict[str, Callable[[Any], Any]] = {
    "log1mexp": lambda x: mp.log(-mp.expm1(x)) if x < 0 else mp.nan,
    "log_cosh": lambda x: abs(x) + mp.log1p(mp.exp(-2 * abs(x))) - mp.log(2),
    "sqrt1p_minus_one": lambda x: mp.sqrt(1 + x) - 1 if x > -1 else mp.nan,
    "hypot_minus_one": lambda x: mp.sqrt(1 + x * x) - 1,
    "xlogx": lambda x: x * mp.log(x) if x > 0 else mp.nan,
    "xlogx_of_rest": lambda x: (1 - x) * mp.log(1 - x) if x < 1 else mp.nan,
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "tanhshrink": lambda x: x - mp.tanh(x),
    "rsqrt": lambda x: 1 / mp.sqrt(x) if x > 0 else mp.nan,
    "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "gelu_tanh": lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))),
    "copy": lambda x: x,
}
"""What each record of one operand is; outside of its domain NaN."""


TWO: dict[str, tuple[Callable[..., Node], Callable[[Any, Any], Any]]] = {
    "masked_multiply": (record("masked_multiply"), lambda x, y: x * y),
    "add": (record("add"), lambda x, y: x + y),
    "subtract": (record("subtract"), lambda x, y: x - y),
    "multiply": (record("multiply"), lambda x, y: x * y),
    "divide": (record("divide"), lambda x, y: x / y if y else mp.nan),
    "copysign": (record("copysign"), lambda x, y: abs(x) * mp.sign(y) if y else mp.nan),
    "maximum": (record("maximum"), max),
    "minimum": (record("minimum"), min),
    "direction": (lambda x, y: direction(x, y, gc.hypot(x, y)), lambda x, y: x / mp.hypot(x, y) if x or y else mp.nan),
    "directed": (
        lambda x, y: gc.grad(gc.sum(gc.hypot(x, y) * 3), x),
        lambda x, y: 3 * x / mp.hypot(x, y) if x or y else mp.nan,
    ),
    "half_over": (half_over, lambda x, y: x / (2 * y) if y > 0 else mp.nan),
    "hypot": (gc.hypot, lambda x, y: mp.sqrt(x * x + y * y)),
    "atan2": (gc.atan2, lambda x, y: mp.atan2(x, y) if x or y > 0 else mp.nan),
    "logaddexp": (gc.logaddexp, lambda x, y: max(x, y) + mp.log1p(mp.exp(-abs(x - y)))),
    "pow": (gc.pow, lambda x, y: x**y if x > 0 and abs(y) < 100 else mp.nan),
    "root_plus": (root_plus, lambda x, c: mp.sqrt(x * x + c) if c > 0 else mp.nan),
    "over_root_plus": (
        lambda x, c: gc.grad(gc.sum(root_plus(x, c)), x),
        lambda x, c: x / mp.sqrt(x * x + c) if c > 0 else mp.nan,
    ),
}
"""How a record is built, whose other operands depend on the first two, and what it is of these."""

ELSEWHERE = {
    "clip": "maximum and minimum; bounds in test_elementwise",
    "remainder": "steps everywhere at large scales",
    "nextafter": "no function of real numbers",
    "exp_capped": "a part of softmax, whose derivative it leaves to it",
    **dict.fromkeys(
        ("erfcx", "erfcx_slope", "log_erfc", "log_ndtr", "log_ndtr_slope", "log_ndtr_excess", "gelu"),
        "test_gaussian_tails",
    ),
}


def test_every_record_is_in_a_sweep() -> None:
    swept = {r.name for r in UNARY} | set(ONE) | set(TWO)
    assert not swept & set(ELSEWHERE)
    assert {r.name for r in ELEMENTWISE.values() if differentiable(r)} == (swept | set(ELSEWHERE))


@pytest.mark.parametrize("name", ONE)
def test_records_of_one_operand(name: str) -> None:
    x = gc.placeholder("x", (None,))
    check_slopes(name, record(name)(x), x, ONE[name])


SCALES = (0.0, 1e-150, 1e-8, 0.5, 1.0, 1e8, 1e150)
PAIRS = [(s * a, t * b) for a, b in itertools.product(SCALES, SCALES) for s in (1, -1) for t in (1, -1)]


def mixed(f: Callable[[Any, Any], Any], at: tuple[float, float]) -> Any:
    """Return the derivative in both operands."""
    a, b = map(mp.mpf, at)
    with mp.workdps(2000):
        h, k = (mp.mpf(10) ** -25 * (min(abs(v), 1) or 1) for v in (a, b))
        return (f(a + h, b + k) - f(a + h, b - k) - f(a - h, b + k) + f(a - h, b - k)) / (4 * h * k)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "logaddexp" else n for n in TWO])
def test_records_of_two_operands(name: str) -> None:
    build, f = TWO[name]
    x, y = gc.placeholder("x", (None,)), gc.placeholder("y", (None,))
    firsts = gc.grad(gc.sum(build(x, y)), [x, y], disconnected="zero")
    seconds = [gc.grad(gc.sum(g), v, disconnected="zero") for g, v in zip((*firsts, firsts[0]), (x, y, y), strict=True)]
    with np.errstate(all="ignore"):
        got = gc.evaluate([*firsts, *seconds], dict(zip((x, y), np.asarray(PAIRS).T, strict=True)))
    wrong, checked = [], 0
    for number, (a, b) in enumerate(PAIRS):
        in_x = slopes(lambda v, y=b: f(v, mp.mpf(y)), a)
        in_y = slopes(lambda v, x=a: f(mp.mpf(x), v), b)
        if in_x is None or in_y is None:
            continue
        (fx, fxx), (fy, fyy) = in_x, in_y
        fxy = mixed(f, (a, b))
        if not mp.isfinite(fxy):
            continue
        checked += 1
        for what, true, found in zip(("x", "y", "xx", "yy", "xy"), (fx, fy, fxx, fyy, fxy), got, strict=True):
            # where the mixed derivative has a root, it is right to the rounding of what it is a difference of
            rounding = mp.sqrt(abs(fxx * fyy)) * 1e25 if what == "xy" else 0
            if not close(float(found[number]), true, max(abs(fx), abs(fy)) * (len(what) - 1) + rounding):
                wrong.append((a, b, what, float(found[number]), float(true)))
    assert checked and not wrong, f"{name}, {len(wrong)} of {checked}, at (x, y, derivative, got, true): {wrong[:12]}"
