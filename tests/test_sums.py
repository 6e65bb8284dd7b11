"""Accuracy of sums: over every axis, of every layout and of computed operands, NumPy's pairwise bound or better.

Equal numbers are the worst case of a plain sum: its rounding errors have one sign for long stretches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.node import Node
from graphc.graph.types import Array

Build = Callable[[Any], Any]
ROWS = 60_000


def bound(count: int, dtype: Any) -> float:
    """Return the relative error that pairwise summation may have, for numbers of one sign (Higham 1993)."""
    return float((math.log2(max(count, 2) / 128 + 2) + 20) * np.finfo(dtype).eps)


FORMS: dict[str, tuple[tuple[int, ...], Any, Build]] = {
    "outer": ((ROWS, 3), 0, lambda x: x),
    "column": ((ROWS, 1), 0, lambda x: x),
    "wide": ((ROWS // 40, 120), 0, lambda x: x),
    "inner": ((3, ROWS), 1, lambda x: x),
    "all": ((ROWS, 3), None, lambda x: x),
    "middle": ((2, ROWS, 3), 1, lambda x: x),
    "middle-wide": ((3, ROWS // 20, 40), 1, lambda x: x),
    "two-outer": ((30, ROWS // 30, 3), (0, 1), lambda x: x),
    "around": ((ROWS, 3, 4), (0, 2), lambda x: x),
    "computed": ((ROWS, 3), 0, lambda x: x * x),
    "flipped": ((ROWS, 3), 0, lambda x: x[::-1]),
    "steps": ((2 * ROWS, 3), 0, lambda x: x[::2]),
    "transposed": ((ROWS, 3), 1, lambda x: x.T),
    "column-of-many": ((ROWS, 4), None, lambda x: x[:, 1]),
    "neighbours": ((ROWS, 3), 0, lambda x: x[1:] + x[:-1]),
    "strips": ((ROWS // 20, 60), 0, lambda x: x + x.reshape(60, ROWS // 20).T),
}


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_sums_hold_the_pairwise_bound(form: tuple[Any, Any, Build], named: bool, dtype: str, mode: Any) -> None:
    shape, axis, build = form
    if named and build is FORMS["strips"][2]:
        pytest.skip("a reshape of named sizes needs their product")
    x = gc.placeholder("x", [None] * len(shape) if named else shape, dtype)
    array = np.full(shape, 0.1, dtype)
    values = np.asarray(build(array))
    exact = np.sum(values.astype(np.longdouble), axis)
    count = values.size // max(exact.size, 1)
    got = gc.function([x], gc.sum(build(x), axis), mode=mode)(array)
    np.testing.assert_allclose(got, exact.astype("float64"), rtol=bound(count, dtype))


@pytest.mark.parametrize("statistic", [gc.mean, gc.var, gc.std])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_statistics_over_long_axes(statistic: Any, axis: int | None) -> None:
    """Numbers whose deviations from the mean are equal and exact, so that only sums round."""
    rows = np.asarray(np.tile(np.asarray([1.0, 1.5], "float32"), (ROWS // 2, 3)).reshape(ROWS, 3))
    array = rows if axis != 1 else np.ascontiguousarray(rows.T)
    x = gc.placeholder("x", (None, None), "float32")
    wanted = getattr(np, statistic.__name__)(array.astype("float64"), axis)
    np.testing.assert_allclose(gc.function([x], statistic(x, axis))(array), wanted, rtol=bound(ROWS, "float32"))


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1])
def test_running_sums(axis: int, dtype: str, mode: Any) -> None:
    shape = (ROWS, 3) if axis == 0 else (3, ROWS)
    x = gc.placeholder("x", shape, dtype)
    array = np.full(shape, 0.1, dtype)
    running = gc.cumulative_sum(x, axis=axis)
    got, back = gc.function([x], [running, gc.grad(gc.sum(running * x), x)], mode=mode)(array)
    counts = np.moveaxis(np.broadcast_to(np.arange(1, ROWS + 1), (3, ROWS)), 1, axis)
    exact = np.longdouble(array.flat[0]) * counts
    eps = float(np.finfo(dtype).eps)
    rtol = eps if mode == "compiled" or dtype == "float32" else ROWS * 2.0**-64
    np.testing.assert_allclose(got, exact.astype("float64"), rtol=2 * rtol)
    whole = exact + np.flip(exact, axis)
    np.testing.assert_allclose(back, whole.astype("float64"), rtol=4 * rtol)


def bias_gradient(x: Node) -> Node:
    b = gc.zeros(3, dtype="float32")
    return gc.grad(gc.sum(gc.tanh(x + b)), b)


def test_the_gradient_of_a_bias_over_many_rows() -> None:
    x = gc.placeholder("x", ("rows", 3), "float32")
    array = np.full((ROWS, 3), 0.1, "float32")
    slope = ROWS * (1 - np.tanh(np.float64(np.float32(0.1))) ** 2)
    np.testing.assert_allclose(gc.function([x], bias_gradient(x))(array), slope, rtol=bound(ROWS, "float32") * 2)


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_sums_in_blocks_keep_infinities(special: float) -> None:
    """What is not finite stays what it is, in the columns that hold it."""
    x = gc.placeholder("x", (None, 3))
    array = np.full((1000, 3), 0.5)
    array[300, 1] = special
    wanted = [500.0, special, 500.0]
    np.testing.assert_array_equal(gc.function([x], gc.sum(x, 0))(array), wanted)


def negative_zeros() -> Array:
    return np.full(3, -0.0)


@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_a_running_sum_of_negative_zeros_is_one(mode: Any) -> None:
    x = gc.placeholder("x", (3,))
    np.testing.assert_array_equal(
        np.signbit(gc.function([x], gc.cumulative_sum(x), mode=mode)(negative_zeros())), [True] * 3
    )
