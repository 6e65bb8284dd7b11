"""Sorting where tables do not reach: stability, NaN, symbolic lengths, what is refused, and the kernel."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from tests.cases_sorting import reversed_order

keys = st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, np.inf, -np.inf, np.nan]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(keys)
def test_ties_keep_their_order_and_nan_is_last(values: list[float]) -> None:
    x = gc.placeholder("x", ("n",))
    array = np.array(values, "float64")
    got = gc.evaluate([gc.sort(x), gc.argsort(x), gc.argsort(x, descending=True)], {x: array})
    order = np.argsort(array, kind="stable")
    np.testing.assert_array_equal(got[1], order)
    assert got[0].tobytes() == array[order].tobytes()  # -0.0 and 0.0 are told apart
    np.testing.assert_array_equal(got[2], reversed_order(array))


LENGTHS = (0, 1, 2, 11, 12, 13, 24, 25, 48, 49, 97, 500)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_compiled_rows_of_any_length(dtype: str) -> None:
    """One compiled function sorts every length: runs, full rounds of merges, and what lies between."""
    x = gc.placeholder("x", ("b", "n"), dtype)
    outputs = [gc.sort(x), gc.argsort(x), gc.sort(x, descending=True), gc.argsort(x, descending=True)]
    f = gc.function([x], outputs)
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        array = rng.integers(-20, 20, (3, n)).astype(dtype)
        if dtype == "float32":
            array[rng.random((3, n)) < 0.1] = np.nan
            array[array == 3] = -0.0
        for got, wanted in zip(f(array), gc.evaluate(outputs, {x: array}), strict=True):
            assert got.tobytes() == wanted.tobytes()


def test_the_kernel_runs_as_plain_python() -> None:
    x, v = gc.placeholder("x", ("n",)), gc.placeholder("v", ("k",))
    outputs = [gc.sort(x), gc.argsort(x), gc.searchsorted(gc.sort(x), v, side="right")]
    f = gc.function([x, v], outputs, mode="debug")
    rng = np.random.default_rng(1)
    arrays = rng.normal(size=50), np.array([-1.0, 3.0, np.nan, 99.0])
    for got, wanted in zip(f(*arrays), gc.evaluate(outputs, dict(zip((x, v), arrays, strict=True))), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted_puts_nan_after_every_number(side: Literal["left", "right"]) -> None:
    a, v = gc.placeholder("a", ("n",)), gc.placeholder("v", ("k",))
    f = gc.function([a, v], gc.searchsorted(a, v, side=side))
    for n in range(6):
        ordered = np.array([-np.inf, -0.0, 0.0, np.nan, np.nan])[:n]
        values = np.array([np.nan, 0.0, -0.0, np.inf, -np.inf, 1.0])
        np.testing.assert_array_equal(f(ordered, values), np.searchsorted(ordered, values, side))


def test_sorting_inside_a_loop() -> None:
    xs = gc.placeholder("xs", (4, "n"))
    _, rows = gc.scan(lambda c, x: (c, gc.sort(x)), 0.0, xs)
    array = np.random.default_rng(2).normal(size=(4, 30))
    np.testing.assert_array_equal(gc.function([xs], rows)(array), np.sort(array))


def test_the_gradient_goes_back_to_where_elements_came_from() -> None:
    x = gc.placeholder("x", (4,))
    g = gc.vjp(gc.sort(x), x, gc.constant([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(g.eval({x: [5.0, 5.0, np.nan, 1.0]}), [2.0, 3.0, 4.0, 1.0])


def test_top_k_of_a_symbolic_axis_is_checked_in_the_call() -> None:
    x = gc.placeholder("x", ("n",))
    values, indices = gc.top_k(x, 2)
    np.testing.assert_array_equal(values.eval({x: [1.0, 3.0, 2.0]}), [3.0, 2.0])
    np.testing.assert_array_equal(indices.eval({x: [1.0, 3.0, np.nan]}), [1, 0])
    with pytest.raises(gc.IndexOutOfBoundsError, match=r"index 1 is out of bounds .*\[test_sorting.py:\d+\]"):
        values.eval({x: [1.0]})


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda x: gc.sort(1.0), gc.ShapeError, r"sort: one axis or more needed, got f64\[\]"),
        (lambda x: gc.argsort(x, axis=2), gc.ShapeError, "argsort: axis 2 is out of range for 2 axes"),
        (lambda x: gc.searchsorted(x, 1.0), gc.ShapeError, "searchsorted: a 1-d array in order needed"),
        (lambda x: gc.searchsorted(x[0], 1.0, side="up"), gc.ArgumentError, 'side must be "left" or "right"'),
        (lambda x: gc.top_k(x, 5), gc.ShapeError, r"top_k: 5 elements of axis 1 of f64\[3,4\]"),
        (lambda x: gc.top_k(x, cast(Any, 1.0)), gc.ArgumentError, "top_k: k must be an int or a dimension, got 1.0"),
        (lambda x: gc.diff(x, n=-1), gc.ArgumentError, "diff: n must be an int"),
        (lambda x: gc.quantile(x, 1.5), gc.ArgumentError, "quantile: q must lie between 0 and 1, got 1.5"),
        (lambda x: gc.quantile(x, 0.5, method="best"), gc.ArgumentError, "quantile: method 'best' is unknown"),
    ],
)
def test_what_is_refused(build: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message + r".*\[test_sorting.py:\d+\]"):
        build(gc.placeholder("x", (3, 4)))
