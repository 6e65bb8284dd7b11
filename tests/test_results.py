"""Results: memory that nobody holds is given out again, and memory that somebody holds never is."""

from __future__ import annotations

import gc as collector
import sys
import weakref
from collections.abc import Callable

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.run.tape import entry_works
from graphc.graph.types import Array

N = 1 << 15
pytestmark = pytest.mark.skipif(not entry_works(), reason="results are given out again by the native entry only")


def make() -> tuple[Callable[..., Array], Array]:
    """Return a function of one result that has been called, and its argument."""
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], x * 2)
    a = np.arange(float(N))
    f(a)
    return f, a


def test_a_loop_alternates_between_two_results() -> None:
    f, a = make()
    places = set()
    for k in range(8):
        r = f(a + k)
        places.add(r.ctypes.data)
        np.testing.assert_array_equal(r, (a + k) * 2)
    assert len(places) == 2


@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_numbers_and_small_arrays_too(shape: tuple[int, ...]) -> None:
    x = gc.placeholder("x", shape=shape)
    f = gc.function([x], {"a": x * 2, "b": [x + 1]})
    a = np.ones(shape)
    held = [f(a + k) for k in range(3)]
    for k in range(6):
        results = f(a + k)
        np.testing.assert_array_equal(results["a"], (a + k) * 2)
        np.testing.assert_array_equal(results["b"][0], a + k + 1)
    for k, results in enumerate(held):
        np.testing.assert_array_equal(results["a"], (a + k) * 2)
        np.testing.assert_array_equal(results["b"][0], a + k + 1)


@pytest.mark.parametrize("hold", [lambda r: r, lambda r: r[3:], lambda r: memoryview(r), lambda r: weakref.ref(r)])
def test_what_is_held_is_not_written(hold: Callable[[Array], object]) -> None:
    f, a = make()
    r = f(a)
    place, held = r.ctypes.data, hold(r)
    del r
    for _ in range(5):
        new = f(a + 1)
        assert new.ctypes.data != place
    assert held is not None


def test_results_that_are_kept_are_all_different() -> None:
    f, a = make()
    results = [f(a + k) for k in range(6)]
    assert len({r.ctypes.data for r in results}) == 6
    for k, r in enumerate(results):
        np.testing.assert_array_equal(r, (a + k) * 2)


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")  # NumPy 2.5 warns and still does it
@pytest.mark.parametrize("change", ["shape", "writeable"])
def test_a_result_that_was_changed_in_place_is_not_given_out(change: str) -> None:
    f, a = make()
    r = f(a)
    if change == "shape":
        r.shape = (2, N // 2)
    else:
        r.setflags(write=False)
    del r
    for _ in range(4):
        r = f(a)
        assert r.shape == (N,) and r.dtype == np.float64 and r.flags.writeable
        np.testing.assert_array_equal(r, a * 2)


def test_results_of_other_sizes_are_independent() -> None:
    f, a = make()
    small = f(a[:10])
    large = f(a)
    np.testing.assert_array_equal(f(a[:10] + 1), (a[:10] + 1) * 2)
    np.testing.assert_array_equal(small, a[:10] * 2)
    np.testing.assert_array_equal(large, a * 2)


def test_the_memory_goes_with_the_function() -> None:
    f, a = make()
    r = f(a)
    before = sys.getrefcount(r)
    del f
    collector.collect()
    assert sys.getrefcount(r) == before - 1
    np.testing.assert_array_equal(r, a * 2)
