"""State whose named dimensions change: `set_value` of other sizes, without compiling again."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc

MODES = ["compiled", "debug", "reference"]


def rows(n: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(n).normal(size=(n, 3))


@pytest.mark.parametrize("mode", MODES)
def test_rows_change_without_compiling(mode: Any) -> None:
    data = gc.shared(rows(4), name="data", shape=("rows", 3))
    x = gc.placeholder("x", shape=(3,))
    f = gc.function([x], [data @ x, gc.sum(data, axis=0)], mode=mode)
    kernels = None
    for n in (4, 7, 7, 2, 0, 4, 500):
        data.set_value(rows(n))
        for _ in range(3):
            found = f([1.0, 2.0, 3.0])
            np.testing.assert_allclose(found[0], rows(n) @ [1.0, 2.0, 3.0], rtol=1e-13)
            np.testing.assert_allclose(found[1], rows(n).sum(0), rtol=1e-12, atol=1e-15)
        if mode != "reference":
            kernels = kernels or f.stats["compiled"]
            assert f.stats["compiled"] == kernels
    np.testing.assert_array_equal(data.get_value(), rows(500))
    np.testing.assert_array_equal(gc.evaluate(data * 2, {}), rows(500) * 2)


@pytest.mark.parametrize("mode", MODES)
def test_a_name_is_one_dimension_of_states_and_inputs(mode: Any) -> None:
    data = gc.shared(rows(3), name="data", shape=("rows", 3))
    weights = gc.shared(np.ones(3), name="weights", shape=("rows",))
    y = gc.placeholder("y", shape=("rows",))
    residual = data[:, 0] * weights - y
    f = gc.function([y], gc.sum(residual**2), updates={weights: weights - 0.1 * residual}, mode=mode)
    f(np.zeros(3))
    np.testing.assert_allclose(weights.get_value(), 1 - 0.1 * rows(3)[:, 0])
    with pytest.raises(gc.ShapeError, match=r"rows is 4 in y .* but 3 in data"):
        f(np.zeros(4))
    data.set_value(rows(5))
    with pytest.raises(gc.ShapeError, match="rows is 5"):
        f(np.zeros(5))
    before = weights.get_value()
    assert before.shape == (3,)
    weights.set_value(np.ones(5))
    assert f(np.zeros(5)) == pytest.approx((rows(5)[:, 0] ** 2).sum())
    np.testing.assert_allclose(weights.get_value(), 1 - 0.1 * rows(5)[:, 0])


def test_what_does_not_fit_is_refused() -> None:
    data = gc.shared(rows(4), name="data", shape=("rows", 3))
    square = gc.shared(np.eye(2), name="square", shape=("n", "n"))
    for wrong in (np.zeros((4, 2)), np.zeros(4), np.zeros((1, 4, 3))):
        with pytest.raises(gc.ShapeError, match=r"data.*test_resizable_state.py:\d+"):
            data.set_value(wrong)
    with pytest.raises(gc.ShapeError, match="square"):
        square.set_value(np.zeros((2, 3)))
    square.set_value(np.eye(3))
    with pytest.raises(gc.ShapeError, match="declared"):
        gc.shared(np.zeros((2, 3)), shape=("n", "n"))
    with pytest.raises(gc.ShapeError, match="an int, a name or None"):
        gc.shared(np.zeros(4), shape=(gc.dim("n") * 2,))
    with pytest.raises(gc.ShapeError):
        gc.shared(np.zeros(3)).set_value(np.zeros(4))
    with pytest.raises(gc.DTypeError):
        data.set_value(np.zeros((2, 3), np.complex128))
    np.testing.assert_array_equal(data.get_value(), rows(4))


def test_calls_bound_before_say_so() -> None:
    data = gc.shared(rows(4), name="data", shape=("rows", 3))
    f = gc.function([], gc.sum(data, axis=0))
    bound = f.bind()
    np.testing.assert_allclose(bound(), rows(4).sum(0))
    data.set_value(rows(6))
    with pytest.raises(gc.ArgumentError, match="another size"):
        bound()
    np.testing.assert_allclose(f(), rows(6).sum(0))
    np.testing.assert_allclose(f.bind()(), rows(6).sum(0))
    with pytest.raises(gc.ArgumentError, match="data, whose size may change"):
        f.njit()


def test_copies_and_files_keep_the_names(tmp_path: Path) -> None:
    data = gc.shared(rows(4), name="data", shape=("rows", 3))
    f = gc.function([], gc.sum(data))
    gc.save(f, tmp_path / "f.gc")
    for copied in (pickle.loads(pickle.dumps(f)), gc.load(tmp_path / "f.gc")):
        (state,) = copied.graph.shared
        assert copied() == pytest.approx(rows(4).sum())
        state.set_value(rows(9))
        assert copied() == pytest.approx(rows(9).sum())
    assert f() == pytest.approx(rows(4).sum())
    data.set_value(rows(5))
    gc.save_checkpoint(tmp_path / "c", {"data": data})
    data.set_value(rows(2))
    gc.load_checkpoint(tmp_path / "c", {"data": data})
    assert f() == pytest.approx(rows(5).sum())


def test_other_threads_may_change_the_size() -> None:
    """Every call sees one whole value: `ones`, of which the sum is the square of the number of rows."""
    data = gc.shared(np.ones((300, 300)), name="data", shape=("n", "n"))
    f = gc.function([], [gc.sum(gc.sin(data) / np.sin(1.0)), gc.sum(data, axis=0)])
    stop = threading.Event()

    def change() -> None:
        n = 0
        while not stop.is_set():
            n = n % 300 + 37
            data.set_value(np.ones((n, n)))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            total, columns = f()
            assert total == pytest.approx(len(columns) ** 2, rel=1e-12)
            assert (columns == len(columns)).all()
    finally:
        stop.set()
        thread.join()
