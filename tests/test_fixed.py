"""`Function.bind`: programs on fixed arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc

X = gc.placeholder("x", shape=("n", 3))
MODES = ["compiled", "debug", "reference"]


@pytest.mark.parametrize("mode", MODES)
def test_a_bound_program_reads_what_is_there_and_writes_where_it_should(mode: Any) -> None:
    f = gc.function([X], {"double": X * 2, "sum": [gc.sum(X)]}, mode=mode)
    x, double, total = np.ones((2, 3)), np.zeros((2, 3)), np.zeros(())
    out = {"double": double, "sum": [total]}
    step = f.bind(x, out=out)
    found = step()
    assert found["double"] is double and found["sum"][0] is total and total == 6.0
    x[...] = np.arange(6.0).reshape(2, 3)
    assert step() is found
    np.testing.assert_array_equal(double, x * 2)
    assert total == 15.0


@pytest.mark.parametrize("mode", MODES)
def test_state_moves_and_results_are_made_where_none_are_given(mode: Any) -> None:
    w = gc.shared(np.zeros(3), name="w")
    f = gc.function([X], gc.sum(X @ w), updates={w: w + gc.sum(X, axis=0)}, mode=mode)
    step = f.bind(x=np.ones((2, 3)))
    assert [float(step()) for _ in range(3)] == [0.0, 12.0, 24.0]
    np.testing.assert_array_equal(w.get_value(), [6, 6, 6])
    assert float(f(np.ones((2, 3)))) == 36.0  # the function itself goes on as before


def test_two_bindings_of_one_function() -> None:
    f = gc.function([X], X + 1)
    a, b = np.zeros((1, 3)), np.ones((4, 3))
    first, second = f.bind(a), f.bind(b)
    np.testing.assert_array_equal(first(), a + 1)
    np.testing.assert_array_equal(second(), b + 1)
    np.testing.assert_array_equal(first(), a + 1)


def test_a_failed_check_raises_and_the_next_call_works() -> None:
    i = gc.placeholder("i", shape=(2,), dtype="int64")
    table = gc.shared(np.arange(4.0), name="table")
    f = gc.function([i], table[i], updates={table: table.at[i].add(1.0)})
    index = np.array([1, 9])
    step = f.bind(index)
    with pytest.raises(gc.IndexOutOfBoundsError, match=r"test_fixed.py:\d+"):
        step()
    index[1] = 2
    np.testing.assert_array_equal(step(), [1, 2])
    np.testing.assert_array_equal(table.get_value(), [0, 2, 3, 3])


def test_refusals() -> None:
    f = gc.function([X], [X * 2, gc.sum(X)])
    x = np.ones((2, 3))
    refused: list[tuple[Any, dict[str, Any], str]] = [
        ([1.0, 2.0, 3.0], {}, "argument x must be a writeable C-contiguous float64 array, got list"),
        (np.ones((3, 2)).T, {}, "C-contiguous float64 array, got float64 of strides"),
        (x.astype("float32"), {}, "got float32"),
        (x, {"out": x.copy()}, "structure of the outputs"),
        (x, {"out": [x, np.zeros(())]}, "out shares memory"),
        (x, {"out": [np.zeros((2, 4)), np.zeros(())]}, r"out 0 must have shape \(2, 3\), got \(2, 4\)"),
    ]
    for value, options, message in refused:
        with pytest.raises(gc.ArgumentError, match=message):
            f.bind(value, **options)
    with pytest.raises(gc.ArgumentError, match="a bound call takes no arguments"):
        bound: Any = f.bind(x)
        bound(x)
