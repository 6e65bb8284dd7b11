"""`gc.metrics`: how good predictions are, as NumPy functions of whole arrays, and means over batches.

Every function takes the true values first and returns Python floats or arrays. For classes, labels are integers,
booleans or strings of shape (n,); where predictions are asked for, scores of shape (n, classes), such as logits,
stand for the class of the largest. Nothing here builds graph: these follow training, they do not take part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from graphc.graph.arguments import checked, chosen, require_function, shown
from graphc.graph.errors import ArgumentError, GraphcError, ShapeError, at
from graphc.graph.types import Array, is_masked
from graphc.train.rows import call_with, row_counter

__all__ = [
    "Mean",
    "accuracy",
    "average",
    "confusion_matrix",
    "f1",
    "mae",
    "mse",
    "precision",
    "r2_score",
    "recall",
    "roc_auc",
    "top_k_accuracy",
]

Averaging = Literal["binary", "macro", "micro"] | None


# -- classes


def accuracy(y_true: Any, y_pred: Any) -> float:
    """Return the share of rows whose predicted class is the true one.

    >>> accuracy([0, 1, 2, 2], [0, 1, 1, 2])
    0.75
    """
    true, pred = _labels("accuracy", y_true, y_pred)
    return float(np.mean(true == pred))


@checked
def top_k_accuracy(y_true: Any, scores: Any, k: int = 5) -> float:
    """Return the share of rows whose true class, an int, has one of the `k` largest of the (n, classes) scores.

    Of equal scores the first counts as the larger, as in `argmax`: `k=1` is the accuracy.

    >>> top_k_accuracy([2, 0], [[0.1, 0.6, 0.3], [0.2, 0.5, 0.3]], k=2)
    0.5
    """
    name = "top_k_accuracy"
    true, found = _array(name, y_true), _numbers(name, "scores", scores)
    if true.ndim != 1 or found.ndim != 2 or len(true) != len(found):
        raise ShapeError(f"{name}: shapes (n,) and (n, classes) are needed, got {true.shape}, {found.shape}{at()}")
    _some_rows(name, true)
    classes = found.shape[1]
    if not 1 <= k <= classes:
        raise ArgumentError(f"{name}: k must be from 1 to {classes}, the number of classes, got {k!r}{at()}")
    if true.dtype.kind not in "iu" or true.min() < 0 or true.max() >= classes:
        raise ArgumentError(f"{name}: classes must be ints from 0 to {classes - 1}{at()}")
    own = np.take_along_axis(found, true[:, None], axis=1)
    before = (found == own) & (np.arange(classes) < true[:, None])
    rank = np.count_nonzero((found > own) | before, axis=1)
    return float(np.mean(rank < k))


def confusion_matrix(y_true: Any, y_pred: Any, *, labels: Any = None) -> Array:
    """Return int64 counts: row i, column j has how often class i was taken for class j.

    `labels` gives the classes and their order; by default all that occur, sorted.

    >>> confusion_matrix([0, 1, 1, 1], [0, 1, 0, 1])
    array([[1, 0],
           [1, 2]])
    """
    return _confusion("confusion_matrix", y_true, y_pred, labels)[0]


def precision(y_true: Any, y_pred: Any, *, average: Averaging = "binary", positive: Any = 1) -> Any:
    """Return the share of rows predicted as a class that are of it; 0 where none is predicted.

    `average`: `"binary"` for the class `positive` of at most two, `"macro"` for the mean over classes, `"micro"` over
    all rows at once, None for an array with one number per class, sorted.

    >>> precision([0, 1, 1, 0], [1, 1, 1, 0]), recall([0, 1, 1, 0], [1, 1, 1, 0])
    (0.6666666666666666, 1.0)
    """
    hits, predicted, _ = _counts("precision", y_true, y_pred, average, positive)
    return _averaged(hits, predicted, average)


def recall(y_true: Any, y_pred: Any, *, average: Averaging = "binary", positive: Any = 1) -> Any:
    """Return the share of rows of a class that are predicted as it; 0 where there are none. See `precision`."""
    hits, _, actual = _counts("recall", y_true, y_pred, average, positive)
    return _averaged(hits, actual, average)


def f1(y_true: Any, y_pred: Any, *, average: Averaging = "binary", positive: Any = 1) -> Any:
    """Return the harmonic mean of precision and recall; 0 where both are. See `precision`.

    >>> f1([0, 1, 1, 0], [1, 1, 1, 0])
    0.8
    """
    hits, predicted, actual = _counts("f1", y_true, y_pred, average, positive)
    return _averaged(2 * hits, predicted + actual, average)


def roc_auc(y_true: Any, scores: Any) -> float:
    """Return the area under the ROC curve: how often a row of the class scores above one that is not, ties a half.

    Two classes: labels 0 and 1 (or booleans) and scores of shape (n,). More: classes 0, ..., k - 1 and scores (n, k);
    then the mean over classes, each against the rest. Every class must occur. Computed from ranks (Mann and Whitney,
    1947).

    >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    true, found = _array("roc_auc", y_true), _numbers("roc_auc", "scores", scores)
    if true.ndim != 1 or found.ndim not in (1, 2) or len(true) != len(found):
        raise ShapeError(
            f"roc_auc: shapes (n,) and (n,) or (n, classes) are needed, got {true.shape}, {found.shape}{at()}"
        )
    classes = 2 if found.ndim == 1 else found.shape[1]
    present = np.unique(true)
    if present.dtype.kind not in "iub" or not np.array_equal(present, np.arange(classes)):
        shown = ", ".join(map(str, present[:10]))
        raise ArgumentError(f"roc_auc: classes 0 to {classes - 1} must all occur, and no others, got {shown}{at()}")
    if found.ndim == 1:
        return _area(true == 1, found)
    return float(np.mean([_area(true == c, found[:, c]) for c in range(classes)]))


def _area(positive: Array, scores: Array) -> float:
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    n = int(np.count_nonzero(positive))
    above = float(ranks[place][positive].sum()) - n * (n + 1) / 2
    return above / (n * (len(scores) - n))


# -- numbers


def mse(y_true: Any, y_pred: Any) -> float:
    """Return the mean of squared differences.

    >>> mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    true, pred = _pair("mse", y_true, y_pred)
    return float(np.mean(np.square(true - pred)))


def mae(y_true: Any, y_pred: Any) -> float:
    """Return the mean of absolute differences."""
    true, pred = _pair("mae", y_true, y_pred)
    return float(np.mean(np.abs(true - pred)))


def r2_score(y_true: Any, y_pred: Any) -> float:
    """Return 1 minus the squared error over that of the mean; with several columns, the mean over them.

    A constant column scores 1 where it is predicted exactly and else 0.

    >>> r2_score([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    0.5
    """
    true, pred = _pair("r2_score", y_true, y_pred)
    if len(true) < 2:
        raise ShapeError(f"r2_score: two rows are needed, got {len(true)}{at()}")
    error = np.square(true - pred).sum(axis=0)
    spread = np.square(true - true.mean(axis=0)).sum(axis=0)
    constant = np.where(error == 0, 1.0, 0.0)
    return float(np.mean(np.where(spread == 0, constant, 1 - error / np.where(spread == 0, 1, spread))))


# -- over batches


class Mean:
    """A running mean of numbers, or of dicts of named numbers, each with the rows that it stands for.

    `totals` are the sums so far, by name (None for numbers without), and `rows` is what they stand for.

    >>> loss = Mean()
    >>> loss.update(1.0, rows=3)
    >>> loss.update(2.0, rows=1)
    >>> loss.result()
    1.25
    """

    def __init__(self) -> None:
        self.totals: dict[str | None, float] = {}
        self.rows: float = 0

    def reset(self) -> None:
        """Forget everything."""
        self.totals, self.rows = {}, 0

    def update(self, value: Any, rows: float = 1) -> None:
        """Take in a number, or a dict of numbers with the same names every time, that stands for `rows` rows."""
        self.update_all([(value, rows)])

    def update_all(self, pairs: Sequence[tuple[Any, float]]) -> None:
        """Take in several values with their rows, in order, at less cost: those after the first are of its kind."""
        if not pairs:
            return
        first, rows = pairs[0]
        names: list[str | None] = list(first) if isinstance(first, dict) else [None]
        if self.rows and set(names) != self.totals.keys():
            raise ArgumentError(f"Mean: names {names} differ from {list(self.totals)} before{at()}")
        for name in names:
            number = first if name is None else first[name]
            total = self.totals.get(name, 0.0) + as_number("a value" if name is None else repr(name), number) * rows
            for value, weight in pairs[1:]:
                total += float(value if name is None else value[name]) * weight
            self.totals[name] = total
        self.rows += sum(rows for _, rows in pairs)

    def result(self) -> Any:
        """Return the mean: a float, or a dict of floats."""
        if not self.rows:
            raise ArgumentError(f"Mean: nothing to average{at()}")
        means = {name: total / self.rows for name, total in self.totals.items()}
        return means.get(None, means)


def average(function: Callable[..., Any], data: Iterable[Any], *, rows: Callable[[Any], float] | None = None) -> Any:
    """Return the mean over rows of what `function` returns for each batch: a number or a dict of named numbers.

    Batches are given as `gc.fit` gives them: a tuple as positional arguments, a dict by name; `rows` is as there.

    >>> import numpy as np
    >>> from graphc.train.data import batches
    >>> average(lambda x: x.mean(), batches(np.array([1.0, 2.0, 6.0]), 2))
    3.0
    """
    mean, count = Mean(), row_counter("average", function, rows)
    require_function("average: function", function)
    if not isinstance(data, Iterable) or (isinstance(data, np.ndarray) and not data.ndim):
        raise ArgumentError(f"average: data must be iterable, got {shown(data)}{at()}")
    for batch in data:
        mean.update(call_with(function, batch), count(batch))
    return mean.result()


def as_number(name: str, value: Any) -> float:
    """Return a number, or an array that is one, as a float."""
    found = np.asarray(value)
    if found.ndim or found.dtype.kind not in "fiub":
        raise ShapeError(f"{name} must be one number, got {found.dtype} of shape {found.shape}{at()}")
    return float(found)


# -- arguments


def _array(name: str, value: Any) -> Array:
    if is_masked(value):
        raise ArgumentError(f"{name}: masked arrays are not accepted; use value.filled(...){at()}")
    try:
        return np.asarray(value)
    except GraphcError:
        raise
    except Exception as error:
        raise ArgumentError(f"{name}: {type(value).__name__} cannot become an array: {error}{at()}") from None


def _some_rows(name: str, array: Array) -> None:
    if not array.size:
        raise ShapeError(f"{name}: there are no rows{at()}")


def _numbers(name: str, what: str, value: Any) -> Array:
    """Return an array of real numbers without NaN; floats stay, the rest becomes float64."""
    array = _array(name, value)
    if array.dtype.kind not in "fiub":
        raise ArgumentError(f"{name}: {what} must be numbers, got {array.dtype}{at()}")
    if np.isnan(array).any():
        raise ArgumentError(f"{name}: {what} contain NaN{at()}")
    return array


def _pair(name: str, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """Return two arrays of numbers of the same shape, in float64, so that float32 is not summed in float32."""
    true, pred = _numbers(name, "true values", y_true), _numbers(name, "predictions", y_pred)
    if true.shape != pred.shape or not true.ndim:
        raise ShapeError(f"{name}: arrays of the same shape are needed, got {true.shape} and {pred.shape}{at()}")
    _some_rows(name, true)
    return true.astype(np.float64), pred.astype(np.float64)


def _labels(name: str, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """Return true and predicted labels of shape (n,); scores (n, classes) become the class of the largest."""
    true, pred = _array(name, y_true), _array(name, y_pred)
    if pred.ndim == 2 and pred.shape[1] > 1 and true.ndim == 1:
        pred = np.argmax(_numbers(name, "scores", pred), axis=1)
    if true.ndim != 1 or true.shape != pred.shape:
        raise ShapeError(
            f"{name}: labels (n,) and predictions (n,) or (n, classes) are needed, got {true.shape}, {pred.shape}{at()}"
        )
    _some_rows(name, true)
    for what, labels in (("true labels", true), ("predictions", pred)):
        if labels.dtype.kind not in "iubUS" and not (labels.dtype.kind == "f" and np.all(labels == np.rint(labels))):
            raise ArgumentError(f"{name}: {what} must be classes, got {labels.dtype} values; threshold them{at()}")
    if (true.dtype.kind in "US") != (pred.dtype.kind in "US"):
        raise ArgumentError(f"{name}: labels are {true.dtype} but predictions {pred.dtype}{at()}")
    return true, pred


def _confusion(name: str, y_true: Any, y_pred: Any, labels: Any = None) -> tuple[Array, Array]:
    """Return the counts by true and predicted class, and the classes."""
    true, pred = _labels(name, y_true, y_pred)
    both = np.concatenate([true, pred])
    occurring, place = np.unique(both, return_inverse=True)
    classes = occurring if labels is None else _array(name, labels)
    if classes.dtype.kind == "O":
        raise ArgumentError(f"{name}: labels must be classes, got {shown(labels)}{at()}")
    if labels is not None:
        unknown = np.setdiff1d(occurring, classes)
        if classes.ndim != 1 or len(np.unique(classes)) != len(classes) or unknown.size:
            reason = f"{unknown[:10].tolist()} occur but are not in labels" if unknown.size else "labels must differ"
            raise ArgumentError(f"{name}: {reason}{at()}")
        order = np.argsort(classes, kind="stable")
        place = order[np.searchsorted(classes, both, sorter=order)]
    n, k = len(true), len(classes)
    return np.bincount(place[:n] * k + place[n:], minlength=k * k).reshape(k, k), classes


def _counts(name: str, y_true: Any, y_pred: Any, average: Averaging, positive: Any) -> tuple[Array, Array, Array]:
    """Return, per class that counts, how many rows are hits, are predicted as it, and are of it."""
    chosen(f"{name}: average", average, ("binary", "macro", "micro", None))
    matrix, classes = _confusion(name, y_true, y_pred)
    hits, predicted, actual = np.diagonal(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    if average == "binary":
        if len(classes) > 2:
            raise ArgumentError(f'{name}: {len(classes)} classes; choose average="macro", "micro" or None{at()}')
        ours = classes == positive
        if len(classes) == 2 and not ours.any():
            raise ArgumentError(f"{name}: positive={positive!r} is none of the classes {classes.tolist()}{at()}")
        hits, predicted, actual = hits[ours], predicted[ours], actual[ours]
    if average in ("binary", "micro"):  # of one class, or of none
        return hits.sum(keepdims=True), predicted.sum(keepdims=True), actual.sum(keepdims=True)
    return hits, predicted, actual


def _averaged(part: Array, whole: Array, average: Averaging) -> Any:
    shares = np.where(whole == 0, 0.0, part / np.where(whole == 0, 1, whole))
    return shares if average is None else float(np.mean(shares))
