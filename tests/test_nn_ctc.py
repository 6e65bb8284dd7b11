"""`ctc_loss` against the sum over every alignment, written out; its gradient, lengths, and what it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.special

import graphc as gc
from graphc.graph.types import Array

STEPS, CLASSES, LENGTH = 4, 3, 2


def collapse(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    """Return the labels of an alignment: repeats merged, then blanks dropped."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def brute_force(log_probs: Array, target: tuple[int, ...], blank: int) -> tuple[float, Array]:
    """Return minus the log-likelihood of one sequence and its gradient by `log_probs`, from all alignments."""
    steps, classes = log_probs.shape
    logs, posterior = [-np.inf], np.zeros_like(log_probs)
    paths = [p for p in itertools.product(range(classes), repeat=steps) if collapse(p, blank) == target]
    for path in paths:
        logs.append(sum(log_probs[t, c] for t, c in enumerate(path)))
    total = float(scipy.special.logsumexp(logs))
    for path, log in zip(paths, logs[1:], strict=True):
        for t, c in enumerate(path):
            posterior[t, c] -= np.exp(log - total)
    return -total, posterior


def nodes(dtype: str = "float64") -> list[gc.Node]:
    return [
        gc.placeholder("log_probs", ("time", "batch", CLASSES), dtype),
        gc.placeholder("targets", ("batch", "length"), "int64"),
        gc.placeholder("input_lengths", ("batch",), "int64"),
        gc.placeholder("target_lengths", ("batch",), "int64"),
    ]


def loss_of(inputs: list[gc.Node], blank: int = 0, reduction: str = "sum", **options: bool) -> gc.Node:
    log_probs, targets, input_lengths, target_lengths = inputs
    return gc.nn.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, **options)


def every_target(blank: int) -> tuple[Array, Array, Array]:
    """Return all targets of up to LENGTH labels, each with every input length; what is beyond a length is -7."""
    labels = [c for c in range(CLASSES) if c != blank]
    targets = [t for size in range(LENGTH + 1) for t in itertools.product(labels, repeat=size)]
    rows = [(t, steps) for t in targets for steps in range(STEPS + 1)]
    padded = np.array([[*t, *[-7] * (LENGTH - len(t))] for t, _ in rows])
    return padded, np.array([steps for _, steps in rows]), np.array([len(t) for t, _ in rows])


def drawn(batch: int, seed: int = 0) -> Array:
    scores = np.random.default_rng(seed).normal(0, 2, (STEPS, batch, CLASSES))
    return np.asarray(scipy.special.log_softmax(scores, -1))


def expected(log_probs: Array, targets: Array, steps: Array, lengths: Array, blank: int) -> tuple[Array, Array]:
    losses, slopes = np.zeros(len(targets)), np.zeros_like(log_probs)
    for i, (row, t, n) in enumerate(zip(targets, steps, lengths, strict=True)):
        losses[i], slopes[:t, i] = brute_force(log_probs[:t, i], tuple(row[:n]), blank)
    return losses, slopes


@pytest.mark.parametrize("blank", [0, 2])
def test_all_targets_and_lengths(blank: int) -> None:
    inputs = nodes()
    losses = loss_of(inputs, blank, "none")
    finite = gc.sum(gc.where(gc.isinf(losses), 0, losses))
    arrays = every_target(blank)
    log_probs = drawn(len(arrays[0]), blank)
    bindings = dict(zip(inputs, (log_probs, *arrays), strict=True))
    got, slope = gc.evaluate([losses, gc.grad(finite, inputs[0])], bindings)
    wanted, wanted_slope = expected(log_probs, *arrays, blank)
    assert np.isinf(wanted).any()
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    np.testing.assert_allclose(
        slope[:, np.isfinite(wanted)], wanted_slope[:, np.isfinite(wanted)], rtol=1e-9, atol=1e-14
    )
    np.testing.assert_array_equal(slope[:, np.isinf(wanted)], 0)


def test_compiled_with_reductions_and_zero_infinity() -> None:
    inputs = nodes()
    loss = loss_of(inputs, reduction="mean", zero_infinity=True)
    f = gc.function(inputs, [loss, gc.grad(loss, inputs[0]), loss_of(inputs, zero_infinity=True)])
    arrays = every_target(0)
    for batch in (len(arrays[0]), 7):
        log_probs, rows = drawn(batch), [a[:batch] for a in arrays]
        losses, slopes = expected(log_probs, rows[0], rows[1], rows[2], 0)
        possible = np.isfinite(losses)
        share = possible / np.maximum(rows[2], 1)
        got, slope, total = f(log_probs, *rows)
        np.testing.assert_allclose(got, np.sum(losses[possible] * share[possible]) / batch, rtol=1e-12)
        np.testing.assert_allclose(total, np.sum(losses[possible]), rtol=1e-12)
        np.testing.assert_allclose(
            slope, np.where(possible[:, None], slopes, 0) * share[:, None] / batch, rtol=1e-9, atol=1e-15
        )


def test_second_derivative() -> None:
    inputs = nodes()
    arrays = np.array([[1, 1], [2, 1]]), np.array([4, 3]), np.array([2, 2])
    loss = loss_of(inputs)
    slope = gc.grad(loss, inputs[0])
    gc.check_grad(gc.sum(slope * slope), inputs[0], dict(zip(inputs, (drawn(2), *arrays), strict=True)))


def test_impossible_classes_and_long_sequences_stay_finite() -> None:
    inputs = nodes("float32")
    loss = loss_of(inputs)
    log_probs = np.full((500, 1, CLASSES), -30.0, "float32")
    log_probs[:, :, 2] = -np.inf
    arrays = (log_probs, [[1]], [500], [1])
    value, slope = gc.evaluate([loss, gc.grad(loss, inputs[0])], dict(zip(inputs, arrays, strict=True)))
    np.testing.assert_allclose(value, 500 * 30 - np.log(500 * 501 / 2), rtol=1e-6)
    np.testing.assert_allclose(slope[:, 0].sum(-1), -1, rtol=1e-4)
    np.testing.assert_array_equal(slope[:, 0, 2], 0)


def test_a_blank_inside_a_target_is_impossible() -> None:
    assert gc.nn.ctc_loss(drawn(1), [[1, 0]], [4], [2], 0, "sum").eval() == np.inf
    assert np.isfinite(gc.nn.ctc_loss(drawn(1), [[1, 0]], [4], [1], 0, "sum").eval())


@pytest.mark.parametrize(
    "changed",
    [
        {"targets": [[1, 3]]},
        {"targets": [[1, -1]]},
        {"steps": [5]},
        {"steps": [-1]},
        {"lengths": [3]},
        {"lengths": [-1]},
    ],
)
def test_out_of_range(changed: dict[str, Any]) -> None:
    given = {"targets": [[1, 2]], "steps": [4], "lengths": [2]} | changed
    with pytest.raises(gc.IndexOutOfBoundsError, match=r"\[test_nn_ctc.py:\d+\]"):
        gc.nn.ctc_loss(drawn(1), given["targets"], given["steps"], given["lengths"]).eval()


def test_refusals() -> None:
    with pytest.raises(
        gc.ShapeError, match=r"ctc_loss: log_probs must be of shape \(time, batch, classes\), got f64\[3,2\]"
    ):
        gc.nn.ctc_loss(np.zeros((3, 2)), [[1]], [3], [1])
    with pytest.raises(gc.ShapeError, match=r"ctc_loss: targets must have 2 axes, got i64\[1\]"):
        gc.nn.ctc_loss(drawn(1), [1], [3], [1])
    with pytest.raises(gc.DTypeError, match=r"ctc_loss: targets must be integers, got f64\[1,1\]"):
        gc.nn.ctc_loss(drawn(1), [[1.0]], [3], [1])
    with pytest.raises(gc.ArgumentError, match=r"ctc_loss: blank 3 is none of 3 classes"):
        gc.nn.ctc_loss(drawn(1), [[1]], [3], [1], 3)
    with pytest.raises(gc.ArgumentError, match=r"ctc_loss: reduction must be"):
        gc.nn.ctc_loss(drawn(1), [[1]], [3], [1], 0, "average")
    with pytest.raises(gc.ShapeError, match=r"ctc_loss: batch sizes differ: 1, 2, 2, 2"):
        gc.nn.ctc_loss(drawn(1), [[1], [1]], [3, 3], [1, 1])
