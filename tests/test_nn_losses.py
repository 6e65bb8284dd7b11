"""Losses at the extremes and with their options: certain and impossible targets, nothing to average, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array

nn = gc.nn
INF = np.inf
X = gc.placeholder("x", ("n", 3))
Y = gc.placeholder("y", ("n",), "int64")
P, T = gc.placeholder("p", ("n",)), gc.placeholder("t", ("n",))


def evaluated(loss: gc.Node, wrt: Any, bindings: dict[gc.Node, Any]) -> list[Array]:
    return list(gc.evaluate([loss, *gc.grad(gc.sum(loss), wrt)], bindings))


# -- cross-entropy


def test_ignored_rows_count_for_nothing() -> None:
    loss = nn.cross_entropy(X, Y, ignore_index=-100)
    rows = [[1.0, 2.0, 3.0], [INF, np.nan, 0.0], [0.0, 0.0, 0.0]]
    value, slope = evaluated(loss, [X], {X: rows, Y: [2, -100, 0]})
    kept, kept_slope = evaluated(nn.cross_entropy(X, Y), [X], {X: [rows[0], rows[2]], Y: [2, 0]})
    np.testing.assert_allclose(value, kept, rtol=1e-15)
    np.testing.assert_allclose(slope, np.insert(kept_slope, 1, 0, axis=0), rtol=1e-15)


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
def test_a_mean_of_ignored_rows_is_zero(weight: Any) -> None:
    loss = nn.cross_entropy(X, Y, weight=weight, ignore_index=1, label_smoothing=0.1)
    value, slope = evaluated(loss, [X], {X: np.ones((2, 3)), Y: [1, 1]})
    assert value == 0
    np.testing.assert_array_equal(slope, np.zeros((2, 3)))


def test_a_class_of_weight_0_may_be_impossible() -> None:
    loss = nn.cross_entropy(X, Y, weight=[0.0, 1.0, 1.0])
    value, slope = evaluated(loss, [X], {X: [[-INF, 0.0, 0.0], [0.0, 0.0, 0.0]], Y: [0, 1]})
    np.testing.assert_allclose(value, np.log(3), rtol=1e-15)
    np.testing.assert_array_equal(slope[0], 0)


def test_probabilities_of_0_meet_impossible_classes() -> None:
    target = gc.placeholder("target", ("n", 3))
    value, slope = evaluated(nn.cross_entropy(X, target), [X], {X: [[-INF, 0.0, 0.0]], target: [[0.0, 0.25, 0.75]]})
    np.testing.assert_allclose(value, np.log(2), rtol=1e-15)
    np.testing.assert_allclose(slope, [[0.0, 0.25, -0.25]], rtol=1e-15)


@pytest.mark.parametrize("shift", [1e4, -3e7])
def test_offsets_of_logits_cost_no_digits(shift: float) -> None:
    """As float32, these logits are exact; the loss relative to the largest one is too."""
    x = gc.placeholder("x", ("n", 3), "float32")
    rows = np.array([[0.0, 4.0, -4.0], [8.0, -4.0, 0.0]], "float32")
    loss = nn.cross_entropy(x, Y)
    f = gc.function([x, Y], loss)
    for got in (f(rows + np.float32(shift), [0, 1]), gc.evaluate(loss, {x: rows + np.float32(shift), Y: [0, 1]})):
        np.testing.assert_allclose(got, f(rows, [0, 1]), rtol=2e-7)


@pytest.mark.parametrize("label", [3, -1, 100])
@pytest.mark.parametrize("function", [nn.cross_entropy, nn.nll_loss])
def test_labels_out_of_range_raise_with_every_option(function: Callable[..., gc.Node], label: int) -> None:
    for options in ({"ignore_index": -100}, {"weight": np.ones(3)}, {}):
        loss = function(X, Y, **options)
        with pytest.raises(gc.IndexOutOfBoundsError, match=r"\[test_nn_losses.py:\d+\]"):
            gc.evaluate(loss, {X: np.zeros((2, 3)), Y: [0, label]})


# -- binary cross-entropy


def test_binary_cross_entropy_of_certain_probabilities() -> None:
    """Right and certain costs 0 with a finite gradient; wrong and certain costs inf."""
    loss = nn.binary_cross_entropy(P, T, reduction="none")
    value, slope = evaluated(loss, [P], {P: [0.0, 1.0, 0.0, 1.0], T: [0.0, 1.0, 1.0, 0.0]})
    np.testing.assert_array_equal(value, [0.0, 0.0, INF, INF])
    np.testing.assert_array_equal(slope, [1.0, -1.0, -INF, INF])


def test_binary_cross_entropy_of_a_sigmoid_is_that_of_its_logits() -> None:
    x, t = [-1000.0, -40.0, 40.0, 1000.0] * 2, [0.0] * 4 + [1.0] * 4
    chained = nn.binary_cross_entropy(gc.sigmoid(P), T)
    direct = nn.binary_cross_entropy_with_logits(P, T)
    f = gc.function([P, T], [chained, gc.grad(chained, P)])
    wanted = evaluated(direct, [P], {P: x, T: t})
    for got in (f(x, t), evaluated(gc.sum(chained), [P], {P: x, T: t})):
        np.testing.assert_allclose(got[1], wanted[1], rtol=1e-14)
    np.testing.assert_allclose(f(x, t)[0], wanted[0], rtol=1e-14)


def test_infinite_logits() -> None:
    loss = nn.binary_cross_entropy_with_logits(P, T, reduction="none")
    value, slope = evaluated(loss, [P], {P: [-INF, INF, -INF, INF], T: [0.0, 1.0, 1.0, 0.0]})
    np.testing.assert_array_equal(value, [0.0, 0.0, INF, INF])
    np.testing.assert_array_equal(slope, [0.0, 0.0, -1.0, 1.0])


# -- others


def test_kl_div_of_certain_distributions() -> None:
    for loss, p in (
        (nn.kl_div(P, T, reduction="none"), [0.0, 1.0, 0.0]),
        (nn.kl_div(P, T, log_target=True, reduction="none"), [-INF, 0.0, -INF]),
    ):
        value, slope = evaluated(loss, [P], {P: [-INF, 0.0, -1.0], T: p})
        np.testing.assert_array_equal(value, [0.0, 0.0, 0.0])
        np.testing.assert_array_equal(slope, [0.0, -1.0, 0.0])
    (target_slope,) = evaluated(nn.kl_div(P, T, log_target=True), [T], {P: [-2.0], T: [-INF]})[1:]
    np.testing.assert_array_equal(target_slope, [0.0])


@pytest.mark.parametrize("loss", [nn.huber_loss, nn.smooth_l1_loss])
def test_outliers_have_bounded_gradients(loss: Callable[..., gc.Node]) -> None:
    value, slope = evaluated(loss(P, 0.0, reduction="none"), [P], {P: [1e200, -INF, 1.0, 0.0]})
    np.testing.assert_array_equal(value, [1e200, INF, 0.5, 0.0])
    np.testing.assert_array_equal(slope, [1.0, -1.0, 1.0, 0.0])


def test_cosine_of_nothing() -> None:
    value, slope = evaluated(nn.cosine_similarity(P, T), [P], {P: [0.0, 0.0], T: [3.0, 4.0]})
    assert value == 0
    assert np.isfinite(slope).all()


def test_variances_below_eps_count_as_eps() -> None:
    value, slope = evaluated(nn.gaussian_nll_loss(P, 0.0, T, eps=0.5), [T], {P: [1.0], T: [0.0]})
    np.testing.assert_allclose(value, 0.5 * (np.log(0.5) + 2))
    np.testing.assert_array_equal(slope, [0.0])


def test_reductions() -> None:
    for reduction, wanted in (("none", [1.0, 9.0]), ("sum", 10.0), ("mean", 5.0)):
        np.testing.assert_array_equal(nn.mse_loss([1.0, 3.0], 0.0, reduction=reduction).eval(), wanted)
    np.testing.assert_allclose(nn.kl_div([[0.0], [0.0]], [[1.0], [1.0]], reduction="batchmean").eval(), 0.0)


def test_refusals() -> None:
    with pytest.raises(
        gc.ShapeError, match=r"mse_loss: shapes must be equal: f64\[5,1\], f64\[5\]  \[test_nn_losses.py:\d+\]"
    ):
        nn.mse_loss(np.zeros((5, 1)), np.zeros(5))
    with pytest.raises(gc.ShapeError, match=r"l1_loss: shapes must be equal: f64\[n,3\], f64\[1,3\]"):
        nn.l1_loss(X, np.zeros((1, 3)))
    with pytest.raises(gc.ArgumentError, match=r'huber_loss: reduction must be "mean", "sum" or "none", got \'avg\''):
        nn.huber_loss(P, T, reduction="avg")
    with pytest.raises(gc.ArgumentError, match=r"huber_loss: delta must be positive, got 0"):
        nn.huber_loss(P, T, delta=0)
    with pytest.raises(gc.ArgumentError, match=r"cross_entropy: ignore_index needs targets that are class numbers"):
        nn.cross_entropy(X, X, ignore_index=0)
    with pytest.raises(gc.ArgumentError, match=r"cross_entropy: label_smoothing must be from 0 to 1, got 2"):
        nn.cross_entropy(X, Y, label_smoothing=2)
    with pytest.raises(gc.ShapeError, match=r"cross_entropy: weight needs one entry a class: f64\[n,3\], f64\[4\]"):
        nn.cross_entropy(X, Y, weight=np.ones(4))
    with pytest.raises(gc.DTypeError, match=r"cross_entropy: f64\[n\] given for f64\[n,3\]: class numbers"):
        nn.cross_entropy(X, X[:, 0])
    with pytest.raises(gc.ShapeError, match=r"cross_entropy: shapes must be equal"):
        nn.cross_entropy(np.zeros((4, 3)), np.zeros((4, 2)))


def test_two_batches_that_differ_are_refused_in_the_call() -> None:
    other = gc.placeholder("other", ("m",))
    f = gc.function([P, other], nn.mse_loss(P, other), mode="reference")
    with pytest.raises(gc.ShapeError):
        f([1.0, 2.0], [1.0])
