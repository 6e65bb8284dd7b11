"""Metrics against scikit-learn's on drawn labels, by hand where it has none, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from graphc.graph.errors import ArgumentError, ShapeError
from graphc.train import data, metrics

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 4, 200), RNG.integers(0, 4, 200)
RARE = (
    np.where(CLASSES[0] == 3, 0, CLASSES[0]),
    np.where(CLASSES[1] == 2, 1, CLASSES[1]),
)  # 3 never occurs, 2 is never predicted
BINARY = RNG.integers(0, 2, 200), RNG.integers(0, 2, 200)
WORDS = np.array(["cat", "dog", "owl"])[CLASSES[0] % 3], np.array(["cat", "dog", "owl"])[CLASSES[1] % 3]
SCORES = np.round(RNG.random((200, 4)), 1)  # with many ties
NUMBERS = RNG.normal(size=(2, 50, 3))


@pytest.mark.parametrize("labels", [CLASSES, RARE, BINARY, WORDS, (BINARY[0] > 0, BINARY[1])])
def test_classes(labels: tuple[Any, Any]) -> None:
    assert metrics.accuracy(*labels) == pytest.approx(sk.accuracy_score(*labels))
    np.testing.assert_array_equal(metrics.confusion_matrix(*labels), sk.confusion_matrix(*labels))
    pairs = [(metrics.precision, sk.precision_score), (metrics.recall, sk.recall_score), (metrics.f1, sk.f1_score)]
    for average in ("macro", "micro", None):
        for ours, theirs in pairs:
            expected = theirs(*labels, average=average, zero_division=0)
            np.testing.assert_allclose(ours(*labels, average=average), expected, rtol=1e-14)


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize(
    "labels", [BINARY, (BINARY[0] * 0, BINARY[1]), (BINARY[0], BINARY[1] * 0), (BINARY[0] * 0,) * 2]
)
def test_two_classes(labels: tuple[Any, Any], positive: int) -> None:
    pairs = [(metrics.precision, sk.precision_score), (metrics.recall, sk.recall_score), (metrics.f1, sk.f1_score)]
    for ours, theirs in pairs:
        expected = theirs(*labels, pos_label=positive, zero_division=0)
        assert ours(*labels, positive=positive) == pytest.approx(expected, rel=1e-14)


def test_scores_stand_for_their_largest() -> None:
    distinct = RNG.random((200, 4))
    assert metrics.accuracy(CLASSES[0], distinct) == sk.accuracy_score(CLASSES[0], distinct.argmax(1))
    assert metrics.accuracy([0, 1], [[1.0, 1.0], [1.0, 1.0]]) == 0.5  # the first of equal scores
    for k in range(1, 4):
        expected = sk.top_k_accuracy_score(CLASSES[0], distinct, k=k, labels=range(4))
        assert metrics.top_k_accuracy(CLASSES[0], distinct, k=k) == pytest.approx(expected)
    assert metrics.top_k_accuracy(CLASSES[0], SCORES, k=1) == metrics.accuracy(CLASSES[0], SCORES)
    assert [metrics.top_k_accuracy([2], [[1.0, 1.0, 1.0]], k=k) for k in (1, 2, 3)] == [0, 0, 1]


def test_labels_give_the_order_of_the_matrix() -> None:
    order = [3, 0, 7, 2, 1]
    expected = sk.confusion_matrix(*CLASSES, labels=order)
    np.testing.assert_array_equal(metrics.confusion_matrix(*CLASSES, labels=order), expected)
    with pytest.raises(ArgumentError, match=r"confusion_matrix: \[2, 3\] occur but are not in labels"):
        metrics.confusion_matrix(*CLASSES, labels=[0, 1])
    with pytest.raises(ArgumentError, match="labels must differ"):
        metrics.confusion_matrix(*BINARY, labels=[0, 1, 1])


def test_area_under_the_curve() -> None:
    for scores in (SCORES[:, 0], RNG.normal(size=200), np.full(200, 3.0)):
        assert metrics.roc_auc(BINARY[0], scores) == pytest.approx(sk.roc_auc_score(BINARY[0], scores), rel=1e-13)
    shares = SCORES / SCORES.sum(axis=1, keepdims=True)
    expected = sk.roc_auc_score(CLASSES[0], shares, multi_class="ovr")
    assert metrics.roc_auc(CLASSES[0], shares) == pytest.approx(expected, rel=1e-13)
    assert metrics.roc_auc(np.array([False, True]), [-np.inf, np.inf]) == 1


@pytest.mark.parametrize(
    "pair", [NUMBERS, NUMBERS[:, :, 0], NUMBERS.astype("float32"), np.array([[1, 2, 4], [1, 3, 4]])]
)
def test_numbers(pair: Any) -> None:
    assert metrics.mse(*pair) == pytest.approx(sk.mean_squared_error(*pair), rel=1e-6 if pair.dtype == "f4" else 1e-14)
    assert metrics.mae(*pair) == pytest.approx(sk.mean_absolute_error(*pair), rel=1e-6 if pair.dtype == "f4" else 1e-14)
    assert metrics.r2_score(*pair) == pytest.approx(sk.r2_score(*pair), rel=1e-6 if pair.dtype == "f4" else 1e-13)


def test_r2_of_constant_columns() -> None:
    true, pred = np.array([[1.0, 5.0, 2.0], [1.0, 5.0, 3.0]]), np.array([[1.0, 5.0, 2.0], [2.0, 5.0, 3.5]])
    assert metrics.r2_score(true, pred) == pytest.approx(sk.r2_score(true, pred))


def test_mean_over_batches_counts_rows() -> None:
    x, y = RNG.normal(size=(2, 11))
    assert metrics.average(metrics.mse, data.batches((x, y), 4)) == pytest.approx(metrics.mse(x, y))
    named = metrics.average(lambda a, b: {"mse": metrics.mse(a, b), "mae": metrics.mae(a, b)}, data.batches((x, y), 3))
    assert named == pytest.approx({"mse": metrics.mse(x, y), "mae": metrics.mae(x, y)})
    assert metrics.average(lambda u: u.mean(), data.batches({"u": x}, 4)) == pytest.approx(x.mean())
    assert metrics.average(lambda u: u.mean(), data.batches(x, 4)) == pytest.approx(x.mean())


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: metrics.accuracy([0, 1], [0, 1, 1]),
        ShapeError,
        r"accuracy: labels .* got \(2,\), \(3,\)  \[test_metrics.py:",
    ),
    (lambda: metrics.accuracy([], []), ShapeError, "there are no rows"),
    (lambda: metrics.accuracy([0, 1], [[0.2], [0.7]]), ShapeError, r"got \(2,\), \(2, 1\)"),
    (lambda: metrics.accuracy([0, 1], [0.2, 0.7]), ArgumentError, "predictions must be classes, got float64 values"),
    (lambda: metrics.accuracy(["a"], [0]), ArgumentError, "labels are <U1 but predictions int64"),
    (lambda: metrics.accuracy([0, 1], [[0.2, np.nan], [0, 1]]), ArgumentError, "scores contain NaN"),
    (lambda: metrics.accuracy(np.ma.array([1]), [1]), ArgumentError, "masked"),
    (lambda: metrics.f1(*CLASSES), ArgumentError, 'f1: 4 classes; choose average="macro"'),
    (lambda: metrics.f1(*BINARY, positive=5), ArgumentError, r"positive=5 is none of the classes \[0, 1\]"),
    (lambda: metrics.recall(*BINARY, average="mean"), ArgumentError, "recall: average must be"),  # type: ignore[arg-type]
    (lambda: metrics.top_k_accuracy([0, 4], SCORES[:2], k=2), ArgumentError, "classes must be ints from 0 to 3"),
    (lambda: metrics.top_k_accuracy([0, 1], SCORES[:2], k=5), ArgumentError, "k must be from 1 to 4"),
    (lambda: metrics.top_k_accuracy([0, 1], SCORES[:3]), ShapeError, r"got \(2,\), \(3, 4\)"),
    (lambda: metrics.roc_auc([1, 1], [0.1, 0.2]), ArgumentError, "classes 0 to 1 must all occur, and no others, got 1"),
    (lambda: metrics.roc_auc([0, 1], [0.1, np.nan]), ArgumentError, "scores contain NaN"),
    (lambda: metrics.roc_auc([0, 1], [0.1]), ShapeError, r"got \(2,\), \(1,\)"),
    (lambda: metrics.mse([1.0, 2.0], [[1.0], [2.0]]), ShapeError, r"got \(2,\) and \(2, 1\)"),
    (lambda: metrics.mae(["a"], ["b"]), ArgumentError, "true values must be numbers"),
    (lambda: metrics.r2_score([1.0], [1.0]), ShapeError, "two rows are needed, got 1"),
    (lambda: metrics.Mean().result(), ArgumentError, "nothing to average"),
    (lambda: metrics.Mean().update([1.0, 2.0]), ShapeError, r"must be one number, got float64 of shape \(2,\)"),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED)
def test_refused(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def test_a_mean_keeps_its_names() -> None:
    mean = metrics.Mean()
    mean.update({"a": 1.0})
    with pytest.raises(ArgumentError, match=r"names \['b'\] differ from \['a'\]"):
        mean.update({"b": 1.0})
    assert mean.result() == {"a": 1.0}
    mean.reset()
    mean.update(np.float32(3))
    assert mean.result() == 3.0
