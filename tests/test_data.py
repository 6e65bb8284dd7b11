"""Minibatches and splits: contents, views, orders of the epochs, resuming, prefetch, and what is refused."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.graph.errors import ArgumentError, ShapeError
from graphc.train import data

X, Y = np.arange(22).reshape(11, 2), np.arange(11)
OPTIONS: list[dict[str, Any]] = [{}, {"shuffle": True}, {"prefetch": 1}, {"shuffle": True, "prefetch": 3}]


def epoch(batches: data.Batches) -> list[list[int]]:
    return [x.tolist() for x in batches]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    ("size", "drop_last"), [(1, False), (3, False), (11, False), (20, False), (1, True), (3, True), (11, True)]
)
def test_every_row_once_an_epoch(options: dict[str, Any], size: int, drop_last: bool) -> None:
    batches = data.batches((X, Y), size, drop_last=drop_last, **options)
    for _ in range(2):
        found = list(batches)
        sizes = [size] * (11 // size) + ([] if drop_last or not 11 % size else [11 % size])
        assert [len(y) for _, y in found] == sizes and len(batches) == len(sizes)
        rows = np.concatenate([y for _, y in found])
        np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), X[rows])
        assert len(set(rows.tolist())) == sum(sizes)
        if "shuffle" not in options:
            np.testing.assert_array_equal(rows, np.arange(sum(sizes)))


def test_structures_come_back() -> None:
    assert isinstance(next(iter(data.batches(X, 2))), np.ndarray)
    first = next(iter(data.batches({"x": X, "y": Y}, 2, shuffle=True)))
    assert list(first) == ["x", "y"]
    np.testing.assert_array_equal(first["x"], X[first["y"]])
    assert isinstance(next(iter(data.batches((X,), 2))), tuple)


def test_unshuffled_batches_are_views_and_shuffled_ones_are_not() -> None:
    x, y = next(iter(data.batches((X, Y), 4)))
    assert np.shares_memory(x, X) and np.shares_memory(y, Y)
    x, y = next(iter(data.batches((X, Y), 4, shuffle=True)))
    assert not np.shares_memory(x, X) and x.flags.c_contiguous


def test_orders_differ_by_epoch_and_seed_and_repeat() -> None:
    one, same, other = (data.batches(Y, 4, shuffle=True, seed=s) for s in (1, 1, 2))
    epochs = [epoch(one) for _ in range(3)]
    assert epochs == [epoch(same) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert epoch(other) != epochs[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 12), st.booleans(), st.integers(0, 2))
def test_a_state_continues_with_the_same_batches(rows: int, size: int, cut: int, shuffle: bool, prefetch: int) -> None:
    def stream(batches: data.Batches, count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            for x in batches:
                found.append(x.tolist())
                if len(found) == count:
                    break
        return found

    def make() -> data.Batches:
        return data.batches(np.arange(rows), size, shuffle=shuffle, prefetch=prefetch)

    first, whole, second = make(), make(), make()
    everything = stream(whole, cut + 9)
    assert stream(first, cut) == everything[:cut]
    second.set_state(first.get_state())
    assert stream(second, 9) == everything[cut:]


def test_looking_at_a_batch_takes_nothing_from_the_epoch() -> None:
    batches, same = (data.batches(Y, 4, shuffle=True) for _ in range(2))
    next(iter(batches))
    assert batches.get_state() == data.BatchesState(0, 1)
    assert epoch(batches) == epoch(same)
    assert batches.get_state() == data.BatchesState(1, 0)


def test_a_state_at_the_end_of_an_epoch_ends_it() -> None:
    batches = data.batches(Y, 4, shuffle=True)
    for _ in batches:
        state = batches.get_state()
    assert state == data.BatchesState(0, 3)
    again = data.batches(Y, 4, shuffle=True)
    again.set_state(state)
    assert epoch(again) == [] and again.get_state() == data.BatchesState(1, 0)
    assert epoch(again) == epoch(batches)


@pytest.mark.parametrize("state", [(-1, 0), (0, 4), (0, -1)])
def test_states_that_do_not_fit_are_refused(state: tuple[int, int]) -> None:
    batches = data.batches(Y, 4)
    with pytest.raises(ArgumentError, match=r"does not fit 3 batches an epoch  \[test_data.py:"):
        batches.set_state(data.BatchesState(*state))
    with pytest.raises(ArgumentError, match="a BatchesState is needed"):
        batches.set_state(state)  # type: ignore[arg-type]
    assert batches.get_state() == data.BatchesState(0, 0)


def test_prefetch_reads_ahead_and_its_thread_ends(tmp_path: Path) -> None:
    stored = np.memmap(tmp_path / "x", np.int64, "w+", shape=(11, 2))
    stored[...] = X
    before = threading.active_count()
    iterator = iter(data.batches((stored, Y), 4, prefetch=2))
    x, _ = next(iterator)
    assert type(x) is np.ndarray and not np.shares_memory(x, stored)
    np.testing.assert_array_equal(x, X[:4])
    iterator.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_of_the_thread_reaches_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = data.batches(X, 4, prefetch=2)
    monkeypatch.setattr(batches, "_build", lambda leaves: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        list(batches)


REFUSED: list[tuple[tuple[Any, Any], dict[str, Any], type[Exception], str]] = [
    (([X, Y], 2), {}, ArgumentError, "batches: a list is ambiguous"),
    (((X, Y[1:]), 2), {}, ShapeError, r"different numbers of rows: \[11, 10\]"),
    ((np.array(1), 2), {}, ShapeError, r"arrays with rows are needed, got shapes \[\(\)\]"),
    (((), 2), {}, ShapeError, "arrays with rows are needed"),
    ((X[:0], 2), {}, ShapeError, "0 rows give no batch of 2"),
    ((X, 12), {"drop_last": True}, ShapeError, "11 rows give no batch of 12"),
    ((X, 0), {}, ArgumentError, "batch_size must be an int of at least 1, got 0"),
    ((X, 2.0), {}, ArgumentError, "batch_size must be an int"),
    ((X, 2), {"seed": -1}, ArgumentError, "seed must be an int of at least 0"),
    ((X, 2), {"prefetch": True}, ArgumentError, "prefetch must be an int"),
    ((np.ma.array(X), 2), {}, ArgumentError, "masked arrays are not accepted"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "match"), REFUSED)
def test_refused(arguments: tuple[Any, Any], options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        data.batches(*arguments, **options)


# -- split


@pytest.mark.parametrize("test_size", [0.3, 4])
def test_split_parts_the_rows(test_size: float | int) -> None:
    (train_x, train_y), (test_x, test_y) = data.split((X, Y), test_size, seed=3)
    assert len(test_y) == 4 and sorted([*train_y, *test_y]) == Y.tolist()
    np.testing.assert_array_equal(train_x, X[train_y])
    np.testing.assert_array_equal(test_x, X[test_y])
    again, other = data.split(Y, test_size, seed=3)[1], data.split(Y, test_size, seed=4)[1]
    assert again.tolist() == test_y.tolist() != other.tolist()


def test_split_in_order_gives_views() -> None:
    train, test = data.split({"y": Y}, 0.2, shuffle=False)
    assert test["y"].tolist() == [8, 9, 10] and np.shares_memory(train["y"], Y)


def test_stratified_parts_have_every_label_s_share() -> None:
    labels = np.repeat([5, 7, 9], [60, 30, 10])
    train, test = data.split(labels, 0.2, seed=1, stratify=labels)
    assert [np.count_nonzero(test == c) for c in (5, 7, 9)] == [12, 6, 2] and len(train) == 80
    uneven = np.repeat(["a", "b", "c"], [5, 4, 2])
    test = data.split(uneven, 4, stratify=uneven)[1]
    assert sorted(test.tolist()) == ["a", "a", "b", "c"]  # shares 1.8, 1.5, 0.7


@pytest.mark.parametrize("test_size", [0.0, 1.0, 0, 11, -3, True, "half"])
def test_split_refuses_empty_parts(test_size: Any) -> None:
    with pytest.raises(ArgumentError, match="split: test_size"):
        data.split(Y, test_size)


def test_split_refuses_bad_labels() -> None:
    with pytest.raises(ShapeError, match=r"stratify needs 11 labels, got an array of shape \(3,\)"):
        data.split(Y, 2, stratify=[1, 2, 3])
    with pytest.raises(ArgumentError, match="stratify needs shuffle=True"):
        data.split(Y, 2, stratify=Y, shuffle=False)


# -- what a state belongs to, seeds, memory


@pytest.mark.parametrize(
    "other",
    [
        lambda: data.batches(Y, 3, shuffle=True, seed=1),
        lambda: data.batches(Y, 4, shuffle=True, seed=2),
        lambda: data.batches(Y, 4),
        lambda: data.batches(np.arange(12), 4, shuffle=True, seed=1),
    ],
)
def test_a_position_inside_an_epoch_belongs_to_its_batches(other: Callable[[], data.Batches]) -> None:
    batches, changed = data.batches(Y, 4, shuffle=True, seed=1), other()
    iterator = iter(batches)
    next(iterator)
    with pytest.raises(
        ArgumentError, match=r"inside an epoch of 11 rows by 4, shuffled by seed 1; these are 1[12] rows"
    ):
        changed.set_state(batches.get_state())
    assert changed.get_state() == data.BatchesState(0, 0)
    list(iterator)
    changed.set_state(batches.get_state())  # at an epoch's beginning all may change
    assert changed.get_state() == data.BatchesState(1, 0)


@pytest.mark.parametrize("seed", [2**32, 2**32 + 1, 2**64, 7 << 32, 2**200])
def test_large_seeds_share_no_epoch_with_others(seed: int) -> None:
    rows = np.arange(50)
    seeds = (seed, seed & 0xFFFFFFFF, seed >> 32, (seed >> 32) + 1)
    found = [data.batches(rows, 50, shuffle=True, seed=s) for s in dict.fromkeys(seeds)]
    orders = [tuple(order) for b in found for _ in range(3) for order in b]
    assert len(set(orders)) == len(orders)


def test_small_seeds_keep_their_orders() -> None:
    expected = np.random.Generator(np.random.PCG64([5, 0])).permutation(11)
    assert next(iter(data.batches(Y, 11, shuffle=True, seed=5))).tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["F", "memory map in F order", "big-endian", "unaligned", "every second row"])
def test_shuffled_rows_are_read_without_a_copy_of_the_array(tmp_path: Path, kind: str) -> None:
    rows, width = 4000, 64
    values = np.arange(rows * width, dtype=np.float64).reshape(rows, width)
    if kind == "F":
        stored: Any = np.asfortranarray(values)
    elif kind == "memory map in F order":
        stored = np.memmap(tmp_path / "x", np.float64, "w+", shape=(rows, width), order="F")
        stored[...] = values
    elif kind == "big-endian":
        stored = values.astype(">f8")
    elif kind == "unaligned":
        stored = np.zeros(rows * width * 8 + 1, np.uint8)[1:].view(np.float64).reshape(rows, width)
        stored[...] = values
    else:
        stored = np.repeat(values, 2, axis=0)[::2]
    batches = data.batches(stored, 8, shuffle=True)
    iterator = iter(batches)
    next(iterator)
    tracemalloc.start()
    for x in itertools.islice(iterator, 100):
        assert x.flags.c_contiguous
        np.testing.assert_array_equal(x, values[(x[:, 0] // width).astype(int)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes / 2


def test_split_reads_rows_of_any_layout() -> None:
    for stored in (np.asfortranarray(X), X.astype(">i8")):
        train, test = data.split(stored, 0.3, seed=1)
        expected = data.split(X, 0.3, seed=1)
        np.testing.assert_array_equal(train, expected[0])
        np.testing.assert_array_equal(test, expected[1])
