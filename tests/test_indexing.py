"""Indexing where tables do not reach: bounds in and before the call, repeated places, dtypes, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc.graph.node import Node
from graphc.graph.op import Constant, apply
from graphc.graph.types import Array
from graphc.ops.indexing import Gather, Scatter

S = np.s_
add_at: Any = np.add.at  # its stub knows no slices


def ops_of(*nodes: Node) -> list[str]:
    return [n.op.name for n in gc.Graph(nodes).nodes]


# -- bounds


@pytest.mark.parametrize("key", [5, -6, (0, 3), [0, 5], np.array([[-6]]), S[:, [3]]])
def test_known_indices_are_checked_where_they_are_written(key: Any) -> None:
    message = r"getitem: index -?\d is out of bounds for axis [01] with size [53]  \[test_indexing.py:\d+\]"
    with pytest.raises(gc.IndexOutOfBoundsError, match=message):
        gc.zeros((5, 3))[key]


@pytest.mark.parametrize("bad", [5, -6])
def test_index_values_are_checked_in_the_call(bad: int) -> None:
    x, i = gc.placeholder("x", ("n", 3)), gc.placeholder("i", ("k",), "int64")
    values = {x: np.zeros((5, 3)), i: np.array([0, bad, 1])}
    message = rf"index {bad} is out of bounds for axis 0 with size 5  \[test_indexing.py:\d+\]"
    for node, name in ((x[i], "getitem"), (x.at[i].add(1.0), r"at\[...\].add"), (x.at[i].set(1.0), r"at\[...\].set")):
        with pytest.raises(gc.IndexOutOfBoundsError, match=f"{name}: {message}"):
            node.eval(values)


def test_an_int_on_a_symbolic_axis_is_checked_in_the_call() -> None:
    x = gc.placeholder("x", ("n",))
    assert x[2].eval({x: np.arange(3.0)}) == 2
    assert x[-3].eval({x: np.arange(3.0)}) == 0
    for node in (x[2], x[-3], x.at[2].set(0.0)):
        with pytest.raises(gc.IndexOutOfBoundsError, match=r"index -?[23] of axis 0 at test_indexing.py:\d+"):
            node.eval({x: np.arange(2.0)})


def test_an_int_on_a_symbolic_axis_is_a_view() -> None:
    x = gc.placeholder("x", ("n", 3))
    assert ops_of(x[0], x[-1, 1:]) == ["placeholder", "slice", "squeeze", "slice", "squeeze"]


def test_nothing_is_read_from_an_empty_axis() -> None:
    x = gc.placeholder("x", ("n", 3))
    i = gc.placeholder("i", ("k",), "int64")
    assert x[i].eval({x: np.zeros((0, 3)), i: np.zeros(0, np.int64)}).shape == (0, 3)
    with pytest.raises(gc.IndexOutOfBoundsError, match="axis 0 with size 0"):
        x[i].eval({x: np.zeros((0, 3)), i: np.zeros(1, np.int64)})


# -- refused keys


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (1.0, gc.DTypeError, r"an index must be of integers, got f64\[\]"),
        ([0.5], gc.DTypeError, r"an index must be of integers, got f64\[1\]"),
        (np.array([np.nan]), gc.DTypeError, "an index must be of integers"),
        (True, gc.ArgumentError, r"a boolean mask \(bool\).* gc.where\(mask, x, y\).*size="),
        (np.ones(4, bool), gc.IndexOutOfBoundsError, "a mask of size 4 along axis 0, which has size 5"),
        ([True, False, True], gc.IndexOutOfBoundsError, "a mask of size 3 along axis 0"),
        ("name", gc.ArgumentError, "str is no index; accepted: ints, slices"),
        ((0, 0, 0), gc.IndexOutOfBoundsError, r"3 indices for f64\[5,3\], which has 2 axes"),
        ((..., 0, ...), gc.ArgumentError, "more than one Ellipsis"),
        (S[::0], gc.ArgumentError, "the step of a slice must be an int other than 0, got 0"),
        (S[0.5:], gc.ArgumentError, "the bound of a slice must be an int or a dimension, got 0.5"),
        (S[[0, 1], [0, 1, 2]], gc.ShapeError, r"shapes do not broadcast: i64\[2\], i64\[3\]"),
    ],
)
def test_refused_keys(key: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"getitem: {message}.*\[test_indexing.py:\d+\]"):
        gc.placeholder("x", (5, 3))[key]


def test_refused_nodes_as_keys() -> None:
    x, i = gc.placeholder("x", (5,)), gc.placeholder("i", (), "int64")
    with pytest.raises(gc.ArgumentError, match=r"must be an int or a dimension, got a node; use gc.take"):
        x[i:]
    with pytest.raises(gc.ArgumentError, match=r"a boolean mask \(bool\[5\]\)"):
        x[x > 0]
    with pytest.raises(gc.DTypeError, match=r"integers, got f64\[5\]"):
        x[x]
    with pytest.raises(gc.DTypeError, match="one_hot: indices must be integers"):
        gc.one_hot(x, 3)
    with pytest.raises(gc.ShapeError, match=r"take_along_axis: .* equal numbers of axes needed"):
        gc.take_along_axis(x, np.zeros((1, 1), int))


# -- updates


def test_updates_take_the_dtype_of_the_array() -> None:
    ints, floats = gc.zeros(3, dtype="int32"), gc.zeros(3, dtype="float32")
    assert ints.at[0].set(2).dtype == "int32"
    assert floats.at[0].set(2).dtype == floats.at[:2].add(np.ones(2)).dtype == "float32"
    assert gc.zeros(2, dtype="uint8").at[0].set(200).eval().tolist() == [200, 0]
    assert gc.zeros(2, dtype="bool").at[0].set(True).eval().tolist() == [True, False]
    for value in (0.5, np.ones(1), gc.constant(1.0)):
        message = r"at\[...\].set: .* convert with .astype\('int32'\)"
        with pytest.raises(gc.DTypeError, match=message):
            ints.at[:1].set(value)


def test_updates_broadcast_to_what_the_key_reads() -> None:
    x = gc.zeros((2, 3))
    assert x.at[:, [0, 2]].set([1.0, 2.0]).eval().tolist() == [[1, 0, 2], [1, 0, 2]]
    assert x.at[0].set(np.ones((1, 3))).eval().tolist() == [[1, 1, 1], [0, 0, 0]]
    with pytest.raises(gc.ShapeError, match=r"broadcast_to: f64\[2\] does not broadcast to f64\[3\]"):
        x.at[0].set(np.ones(2))


def test_the_source_of_an_update_is_unchanged() -> None:
    w = gc.shared(np.zeros(3), name="w")
    assert w.at[1].set(5.0).eval().tolist() == [0, 5, 0]
    assert w.at[[1, 1]].add(5.0).eval().tolist() == [0, 10, 0]
    assert w.get_value().tolist() == [0, 0, 0]


def test_only_the_last_of_equal_places_gets_the_cotangent_of_set() -> None:
    x, v, i = gc.placeholder("x", (4,)), gc.placeholder("v", (4,)), gc.placeholder("i", (4,), "int64")
    out = x.at[i].set(v)
    dx, dv = gc.vjp(out, [x, v], gc.constant([1.0, 2.0, 3.0, 4.0]))
    values = {x: np.zeros(4), v: np.ones(4), i: np.array([1, -3, 0, 1])}
    got_x, got_v = gc.evaluate([dx, dv], values)
    assert got_x.tolist() == [0, 0, 3, 4]
    assert got_v.tolist() == [0, 0, 1, 2]


def test_distinct_known_places_need_no_search_for_the_last() -> None:
    x, v = gc.placeholder("x", (4,)), gc.placeholder("v", (2,))
    dv = gc.grad(gc.sum(x.at[[2, 0]].set(v)), v)
    assert "where" not in ops_of(dv)
    assert "where" in ops_of(gc.grad(gc.sum(x.at[[2, 2]].set(v)), v))


def test_the_gradient_of_rows_is_one_scatter() -> None:
    table, i = gc.placeholder("table", (100, 8)), gc.placeholder("i", ("k",), "int64")
    g = gc.grad(gc.sum(table[i]), table)
    assert isinstance(g.op, Scatter) and g.op == Scatter("add", (0,))
    assert not isinstance(g.inputs[0].op, Constant)  # the zeros are a broadcast number, not an array


def test_gather_and_scatter_on_any_axes() -> None:
    rng = np.random.default_rng(0)
    x, i, j = rng.random((3, 4, 5)), rng.integers(0, 3, (2, 2)), rng.integers(-5, 5, (2, 2))
    got = apply(Gather((0, 2)), *map(gc.constant, (x, i, j))).eval()
    np.testing.assert_array_equal(got, x[i, :, j])
    updates = rng.random((2, 2, 4))
    wanted: Array = x.copy()
    add_at(wanted, (i, slice(None), j), updates)
    got = apply(Scatter("add", (0, 2)), *map(gc.constant, (x, updates, i, j))).eval()
    np.testing.assert_allclose(got, wanted, rtol=1e-15)


# -- symbolic sizes


def test_every_part_of_a_key_with_symbolic_sizes() -> None:
    x, i = gc.placeholder("x", ("a", "b", "c")), gc.placeholder("i", ("k",), "int64")
    rng = np.random.default_rng(0)
    values, index = rng.random((4, 5, 3)), np.array([0, -1, 2])
    for key in ((i,), (S[1:], i), (S[::-1], S[-2:], i), (0, S[:], i), (i, S[:-1], i), (None, i, ..., None), (..., i)):
        wanted = values[tuple(index if k is i else k for k in key)]
        np.testing.assert_array_equal(x[key].eval({x: values, i: index}), wanted)
        total = gc.grad(gc.sum(x[key] * x[key]), x).eval({x: values, i: index})
        manual = np.zeros_like(values)
        add_at(manual, tuple(index if k is i else k for k in key), 2 * wanted)
        np.testing.assert_allclose(total, manual, rtol=1e-14)


def test_one_hot_of_an_index_outside_is_zero() -> None:
    assert gc.one_hot([-1, 1, 2], 2).eval().tolist() == [[0, 0], [0, 1], [0, 0]]
    assert gc.one_hot(gc.placeholder("i", ("k",), "int64"), 4).ndim == 2


# -- keys in general

SIZES = (3, 4, 2)


@st.composite
def keys(draw: st.DrawFn) -> tuple[Any, ...]:
    """Draw a key for an array of shape `SIZES`: ints, slices, index arrays that broadcast, None, Ellipsis."""
    batch = draw(st.sampled_from([(2,), (1, 3), (2, 1)]))
    before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    after = min(after, 3 - before)
    entries = [draw(_entry(size, batch)) for size in (*SIZES[:before], *SIZES[3 - after :])]
    if after or draw(st.booleans()):
        entries.insert(before, ...)
    for _ in range(draw(st.integers(0, 2))):
        entries.insert(draw(st.integers(0, len(entries))), None)
    return tuple(entries)


def _entry(size: int, batch: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Return what may stand for one axis."""
    inside = st.integers(-size, size - 1)
    bound = st.none() | st.integers(-size - 1, size + 1)
    slices = st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1, -2]))
    arrays = [_array(inside, shape) for shape in (batch, (), (1,))]
    return st.one_of(inside, slices, *arrays)


def _array(inside: st.SearchStrategy[int], shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    count = math.prod(shape)
    return st.lists(inside, min_size=count, max_size=count).map(lambda values: np.reshape(values, shape))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(keys(), st.booleans())
def test_reading_and_writing_agree_with_numpy(key: tuple[Any, ...], symbolic: bool) -> None:
    x = gc.placeholder("x", ("a", "b", "c") if symbolic else SIZES)
    array = np.arange(24.0).reshape(SIZES)
    wanted = array[key]
    np.testing.assert_array_equal(x[key].eval({x: array}), wanted)
    values = -1 - np.arange(float(wanted.size)).reshape(wanted.shape)
    put, added = array.copy(), array.copy()
    put[key] = values
    add_at(added, key, values)
    np.testing.assert_array_equal(x.at[key].set(values).eval({x: array}), put)
    np.testing.assert_array_equal(x.at[key].add(values).eval({x: array}), added)
