"""`gc.nn` where the tables do not reach: extreme logits, bad labels, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc

LOGITS = gc.placeholder("logits", shape=("batch", 3))
LABELS = gc.placeholder("labels", shape=("batch",), dtype="int64")


def value_and_gradient(logits: Any, labels: Any) -> list[Any]:
    loss = gc.nn.cross_entropy(LOGITS, LABELS)
    return gc.evaluate([loss, gc.grad(loss, LOGITS)], {LOGITS: logits, LABELS: labels})


def test_extreme_logits() -> None:
    value, gradient = value_and_gradient([[1000.0, 0.0, -1000.0], [-1000.0, 1000.0, 0.0]], [1, 1])
    assert value == 500.0
    np.testing.assert_array_equal(gradient, [[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]])


def test_an_impossible_class_costs_nothing_elsewhere() -> None:
    value, gradient = value_and_gradient([[0.0, -np.inf, 0.0]], [0])
    np.testing.assert_allclose(value, np.log(2))
    np.testing.assert_allclose(gradient, [[-0.5, 0.0, 0.5]])


@pytest.mark.parametrize("label", [3, -1, -3, 100])
def test_labels_out_of_range_raise(label: int) -> None:
    with pytest.raises(gc.IndexOutOfBoundsError, match=r"\[test_nn.py:\d+\]"):
        value_and_gradient(np.zeros((2, 3)), [0, label])


@pytest.mark.parametrize("label", [3, -1])
def test_labels_out_of_range_raise_compiled(label: int) -> None:
    f = gc.function([LOGITS, LABELS], gc.nn.cross_entropy(LOGITS, LABELS))
    np.testing.assert_allclose(f(np.zeros((2, 3)), [0, 2]), np.log(3), rtol=1e-15)
    with pytest.raises(gc.IndexOutOfBoundsError):
        f(np.zeros((2, 3)), [0, label])


def test_refusals() -> None:
    with pytest.raises(gc.DTypeError, match=r"cross_entropy: labels must be integers, got bool\[2\]"):
        gc.nn.cross_entropy(LOGITS, [True, False])
    with pytest.raises(gc.ShapeError, match=r"labels need one axis less than logits: f64\[batch,3\], i64\[5,1\]"):
        gc.nn.cross_entropy(LOGITS, np.zeros((5, 1), "int64"))
    with pytest.raises(gc.ShapeError, match=r"2 != 3|3 != 2"):
        gc.nn.cross_entropy(np.zeros((3, 4)), np.zeros(2, "int64"))
