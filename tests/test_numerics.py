"""Numerical safety: textbook formulas, written naively, against mpmath; values and derivatives of order 1 and 2.

All formulas of a dtype are one compiled function, over the points of `textbook` and `textbook_rows`; the
same program runs through the reference interpreter after the passes. An error counts in units of the last place
of the true value, beside what one unit in the operands does to it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.graph.evaluate import run_graph
from graphc.graph.node import Node
from graphc.graph.types import Array
from tests.textbook import SCALAR, Formula
from tests.textbook_rows import DIRECTION, ROWS, WEIGHTS, RowFormula

WIDTH = 24
"""Points are repeated up to this count: whole vectors and a remainder, and one shape for all formulas."""
DIGITS = 450
STEP = mpmath.mpf(10) ** -30
DTYPES = ("float64", "float32")
MODES = ("compiled", "reference")


@dataclass(frozen=True)
class Program:
    """One formula's operands, and its results in the order value, first, second derivatives."""

    arrays: list[Array]
    results: list[Node]
    inputs: list[Node]


# -- the programs


def usable(formula: Formula, dtype: str) -> list[tuple[float, ...]]:
    """The points that are numbers of the dtype, infinities and conventions included."""
    points = [p if isinstance(p, tuple) else (p,) for p in formula.points]
    limit = float(np.finfo(dtype).max)
    small = float(np.finfo(dtype).tiny)
    return [p for p in points if all(v == 0 or not np.isfinite(v) or small <= abs(v) <= limit for v in p)]


def rounded(values: Any, dtype: str) -> Array:
    """Numbers as an array of the dtype; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(dtype)


def scalar_program(formula: Formula, dtype: str, index: int) -> Program:
    points = usable(formula, dtype)
    assert len(points) <= WIDTH
    columns = np.array([points[i % len(points)] for i in range(WIDTH)]).T
    xs = [gc.placeholder(f"x{index}_{i}", (WIDTH,), dtype) for i in range(formula.arity)]
    out = formula.build(*xs)
    first = gc.grad(gc.sum(out), xs, disconnected="zero")
    second: list[Node] = []
    for i, g in enumerate(first):
        second += (
            gc.grad(gc.sum(g), xs, disconnected="zero")[i:] if connected(g, xs) else [gc.zeros_like(x) for x in xs[i:]]
        )
    return Program(list(rounded(columns, dtype)), [out, *first, *second], xs)


def connected(g: Node, xs: Sequence[Node]) -> bool:
    return any(x in gc.Graph([g]).index for x in xs)


def row_program(formula: RowFormula, dtype: str, index: int) -> Program:
    values = rounded(formula.rows, dtype)
    x = gc.placeholder(f"r{index}", values.shape, dtype)
    out = formula.build(x)
    first = gc.grad(gc.sum(out * np.array(WEIGHTS, dtype)[: out.shape[1]]), x)
    along = gc.sum(first * np.array(DIRECTION, dtype))
    second = gc.grad(along, x, disconnected="zero") if connected(first, [x]) else gc.zeros_like(x)
    return Program([values], [out, first, second], [x])


@cache
def computed(dtype: str) -> dict[tuple[str, str], list[Array]]:
    """All results by mode and formula."""
    programs = {f.name: scalar_program(f, dtype, i) for i, f in enumerate(SCALAR) if dtype in f.dtypes}
    programs |= {f.name: row_program(f, dtype, i) for i, f in enumerate(ROWS) if dtype in f.dtypes}
    inputs = [x for p in programs.values() for x in p.inputs]
    arrays = [a for p in programs.values() for a in p.arrays]
    f = gc.function(inputs, [r for p in programs.values() for r in p.results], on_unused="ignore")
    graph = f.optimized
    results = {"compiled": f(*arrays), "reference": run_graph(graph, dict(zip(graph.inputs, arrays, strict=True)), {})}
    found: dict[tuple[str, str], list[Array]] = {}
    for mode, values in results.items():
        rest = iter(values)
        found |= {(mode, name): list(itertools.islice(rest, len(p.results))) for name, p in programs.items()}
    return found


# -- the truth


Function = Callable[..., Any]


def moved(values: Sequence[Any], direction: Sequence[Any]) -> list[Any]:
    return [v + d for v, d in zip(values, direction, strict=True)]


def derivative(f: Function, values: Sequence[Any], direction: Sequence[Any]) -> Any:
    """The derivative along a direction, whose length is the step."""
    ahead, behind = f(*moved(values, direction)), f(*moved(values, [-d for d in direction]))
    return (ahead - behind) / 2


def steps(values: Sequence[Any]) -> list[Any]:
    return [(abs(v) or mpmath.mpf(1)) * STEP for v in values]


def unit(i: int, size: Any, count: int) -> list[Any]:
    return [size if i == k else mpmath.mpf(0) for k in range(count)]


def along_direction(f: Function, direction: Sequence[Any]) -> Function:
    return lambda *v: derivative(f, v, direction)


def true_scalar(formula: Formula, values: Sequence[Any]) -> list[Any]:
    count, size = len(values), steps(values)
    f: Function = lambda *v: mpmath.mpf(formula.true(*v))  # noqa: E731
    out = [f(*values)]
    out += [derivative(f, values, unit(i, size[i], count)) / size[i] for i in range(count)]
    for i, j in itertools.combinations_with_replacement(range(count), 2):
        along = unit(j, size[j], count)
        out.append(derivative(along_direction(f, along), values, unit(i, size[i], count)) / size[i] / size[j])
    return out


def true_row(formula: RowFormula, values: Sequence[Any]) -> list[list[Any]]:
    weighted = lambda *v: mpmath.fsum(w * y for w, y in zip(WEIGHTS, formula.true(v), strict=False))  # noqa: E731
    size = max(steps(values))
    along = [size * mpmath.mpf(d) for d in DIRECTION]
    directional = lambda *v: derivative(weighted, v, along)  # noqa: E731
    units = [unit(i, size, len(values)) for i in range(len(values))]
    first = [derivative(weighted, values, u) / size for u in units]
    second = [derivative(directional, values, u) / size / size for u in units]
    return [list(formula.true(values)), first, second]


# -- the comparison


def error_units(found: Any, true: Any, slack: Any) -> float:
    """The error beyond `slack` in units of the last place of the true value, never finer than the smallest normal."""
    kind = np.finfo(found.dtype)
    if mpmath.isnan(true):
        return 0.0 if np.isnan(found) else INFINITE
    if abs(true) > float(kind.max) * (1 - float(kind.eps)):
        return 0.0 if found == np.sign(float(mpmath.sign(true))) * np.inf or abs(found) == kind.max else INFINITE
    if not np.isfinite(found):
        return INFINITE
    unit = max(abs(true) * mpmath.mpf(float(kind.eps)), mpmath.mpf(float(kind.tiny)) * 2)
    return float(max(abs(mpmath.mpf(float(found)) - true) - slack, 0) / unit)


INFINITE = float("inf")
ORDERS = (1, 2, 8)
"""Derivatives of order 1 and 2 may have so many times the error of the value."""


def perturbed(values: Sequence[float], dtype: str) -> list[Any]:
    eps = mpmath.mpf(float(np.finfo(dtype).eps))
    return [mpmath.mpf(v) * (1 + eps * (-1) ** i) for i, v in enumerate(values)]


def scalar_errors(formula: Formula, dtype: str, mode: str) -> list[str]:
    results = computed(dtype)[mode, formula.name]
    wrong = []
    for k, point in enumerate(usable(formula, dtype)):
        values = [float(v) for v in rounded(point, dtype)]
        key = point if formula.arity > 1 else point[0]
        expected = known_of(formula, key) if key in formula.known else truth(formula.name, dtype, tuple(values))
        for place, (found, (true, slack)) in enumerate(zip(results, expected, strict=False)):
            order = 0 if place == 0 else 1 if place <= formula.arity else 2
            for where in range(k, WIDTH, len(usable(formula, dtype))):
                units = error_units(found[where], true, slack)
                if units > formula.units * ORDERS[order]:
                    shown = mpmath.nstr(true, 17)
                    wrong.append(f"at {key} result {place} is {found[where]!r}, not {shown}: {units:.3g} units")
                    break
    return wrong


def known_of(formula: Formula, key: Any) -> list[tuple[Any, Any]]:
    return [(mpmath.mpf(v), mpmath.mpf(0)) for v in formula.known[key]]


@cache
def truth(name: str, dtype: str, values: tuple[float, ...]) -> list[tuple[Any, Any]]:
    """Each true result, and what one unit in the operands does to it."""
    formula = next(f for f in SCALAR if f.name == name)
    with mpmath.workdps(DIGITS + 6 * max(int(abs(math.log10(abs(v)))) for v in (*values, 1.0) if v)):
        exact = true_scalar(formula, [mpmath.mpf(v) for v in values])
        near = true_scalar(formula, perturbed(values, dtype))
        return [(a, 2 * abs(a - b)) for a, b in zip(exact, near, strict=True)]


@cache
def row_truth(name: str, dtype: str, values: tuple[float, ...]) -> list[list[tuple[Any, Any]]]:
    formula = next(f for f in ROWS if f.name == name)
    with mpmath.workdps(DIGITS):
        exact = true_row(formula, [mpmath.mpf(v) for v in values])
        near = true_row(formula, perturbed(values, dtype))
        scale = [max((abs(a) for a in line), default=0) * mpmath.mpf(float(np.finfo(dtype).eps)) for line in exact]
        return [
            [(a, 2 * abs(a - b) + 4 * s + STEP**2) for a, b in zip(m, n, strict=True)]
            for m, n, s in zip(exact, near, scale, strict=True)
        ]


def row_errors(formula: RowFormula, dtype: str, mode: str) -> list[str]:
    results = computed(dtype)[mode, formula.name]
    wrong = []
    for k, row in enumerate(formula.rows):
        values = tuple(float(v) for v in rounded(row, dtype))
        known = formula.known.get(k)
        expected = (
            [[(mpmath.mpf(v), mpmath.mpf(0)) for v in line] for line in known]
            if known
            else row_truth(formula.name, dtype, values)
        )
        for order, (found, line) in enumerate(zip(results, expected, strict=False)):
            for i, (true, slack) in enumerate(line):
                units = error_units(found[k, i], true, slack)
                if units > formula.units * ORDERS[order]:
                    shown = mpmath.nstr(true, 17)
                    wrong.append(f"row {row} order {order}[{i}] is {found[k, i]!r}, not {shown}: {units:.3g} units")
    return wrong


def instances(table: Sequence[Formula] | Sequence[RowFormula]) -> list[Any]:
    return [pytest.param(f, d, id=f"{f.name}-{d}") for f in table for d in f.dtypes]


def in_modes(table: Sequence[Formula]) -> list[Any]:
    """Every formula in every mode and dtype; of float32 compiled, each third in the default run."""
    every = [(f, d, m) for m in MODES for f in table for d in f.dtypes]
    single = [case for case in every if case[1:] == ("float32", "compiled")]
    later = {(f.name, d, m) for i, (f, d, m) in enumerate(single) if i % 3}
    return [
        pytest.param(f, d, m, id=f"{f.name}-{d}-{m}", marks=[pytest.mark.slow] if (f.name, d, m) in later else [])
        for f, d, m in every
    ]


@pytest.mark.parametrize(("formula", "dtype", "mode"), in_modes(SCALAR))
def test_formula(formula: Formula, dtype: str, mode: str) -> None:
    assert not scalar_errors(formula, dtype, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("formula", "dtype"), instances(ROWS))
def test_row_formula(formula: RowFormula, dtype: str, mode: str) -> None:
    assert not row_errors(formula, dtype, mode)


def test_table_is_large_and_names_are_unique() -> None:
    table: list[Formula | RowFormula] = [*SCALAR, *ROWS]
    names = [f.name for f in table]
    assert len(set(names)) == len(names) >= 60
    assert all(f.known for f in table if f.limit)


# -- what a table of small vectors does not reach


def sum_error(shape: tuple[int, ...], axis: int, build: Callable[..., Node] = gc.sum) -> tuple[float, float]:
    """The largest relative errors of ours and NumPy's float32 sums, in units of float32's precision."""
    values = np.random.default_rng(0).random(shape).astype("float32")
    x = gc.placeholder("x", shape, "float32")
    exact = values.sum(axis, dtype="float64")
    found = gc.function([x], build(x, axis))(values)
    scale = exact * float(np.finfo("float32").eps)
    numpy_name = "mean" if build is gc.mean else "sum"
    if build is gc.mean:
        exact, scale = exact / shape[axis], scale / shape[axis]
    other = getattr(np, numpy_name)(values, axis)
    return float(np.max(np.abs(found - exact) / scale)), float(np.max(np.abs(other - exact) / scale))


def test_long_sums_and_means_of_float32() -> None:
    for build in (gc.sum, gc.mean):
        assert sum_error((10**7,), 0, build)[0] <= 1
    assert sum_error((3, 10**6), 1)[0] <= 1


def test_sums_over_outer_axes_are_as_numpys() -> None:
    """Both add row to row, so the error grows with the number of rows; NumPy's pairwise sums are of rows only."""
    ours, other = sum_error((200_000, 4), 0)
    assert ours <= 1.5 * other


def test_variance_of_data_far_from_zero() -> None:
    small = np.random.default_rng(0).standard_normal(10_000)
    x = gc.placeholder("x", ("n",))
    found = gc.function([x], [gc.var(x), gc.std(x), gc.grad(gc.var(x), x)])(1e8 + small)
    moved = (1e8 + small) - 1e8  # what the addition left of the data, exactly
    np.testing.assert_allclose(found[0], moved.var(), rtol=1e-12)
    np.testing.assert_allclose(found[1], moved.std(), rtol=1e-12)
    np.testing.assert_allclose(found[2], 2 * (moved - moved.mean()) / 10_000, rtol=1e-6, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_extreme_logits(dtype: str, mode: Any) -> None:
    logits = gc.placeholder("logits", (5, 3), dtype)
    labels = gc.placeholder("labels", (5,), "int64")
    loss = gc.nn.cross_entropy(logits, labels)
    f = gc.function([logits, labels], [loss, gc.grad(loss, logits)], mode=mode)
    values = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [0, 0, 0], [-1e4] * 3, [800, 0, -np.inf]], dtype)
    found, slope = f(values, [0, 1, 2, 0, 0])
    np.testing.assert_allclose(found, (0 + 2e4 + 2 * np.log(3) + 0) / 5, rtol=4e-7 if dtype == "float32" else 1e-15)
    third = 1 / 3
    rows = [[0, 0, 0], [1, -1, 0], [third, third, -2 * third], [-2 * third, third, third], [0, 0, 0]]
    np.testing.assert_allclose(slope, np.array(rows) / 5, rtol=1e-6, atol=1e-8)


def test_softmax_over_several_axes() -> None:
    x = gc.placeholder("x", (2, 2))
    p = gc.exp(x) / gc.sum(gc.exp(x))
    values = np.array([[1000.0, 1000.0], [999.0, -1000.0]])
    found, slope = gc.function([x], [p, gc.grad(p[0, 0], x)])(values)
    e = np.exp(values - 1000)
    expected = e / e.sum()
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    hit = np.array([[1, 0], [0, 0]])
    np.testing.assert_allclose(slope, expected[0, 0] * (hit - expected), rtol=1e-13)


def test_the_digamma_zero_and_poles() -> None:
    x = gc.placeholder("x", ("n",))
    f = gc.function([x], [gc.special.gammaln(x), gc.special.digamma(x)])
    values, slopes = f([0.0, -0.0, -1.0, 1.4616321449683623])
    np.testing.assert_array_equal(values[:3], [INFINITE] * 3)
    np.testing.assert_array_equal(slopes[:3], [-INFINITE, INFINITE, np.nan])
    assert abs(slopes[3]) < 1e-15
