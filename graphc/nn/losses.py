"""Losses: functions of predictions and targets that give a 0-d mean, a sum, or one loss an element (`reduction`).

`reduction` is "mean", "sum" or "none" everywhere. Predictions and targets must have the same shape: a target of shape
(n,) against predictions of shape (n, 1), which would broadcast to (n, n), is an error. Terms of weight or probability
0 are exactly 0, whatever they are multiplied by, in value and gradient.
"""

from __future__ import annotations

import math
from typing import Any

from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.types import INT64, is_float
from graphc.ops.elementwise import (
    abs,
    equal,
    exp,
    log,
    log1p,
    maximum,
    not_equal,
    relu,
    softplus,
    square,
    where,
)
from graphc.ops.elementwise_float import sqrt_safe
from graphc.ops.indexing import take, take_along_for
from graphc.ops.losses import cross_entropy_rows, strict_index
from graphc.ops.manipulation import expand_dims, moveaxis, squeeze
from graphc.ops.pointwise import as_node, cast, is_weak, masked_multiply, promote
from graphc.ops.reduction import log_softmax, mean, sum
from graphc.ops.shape import axis_index, never_equal

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "gaussian_nll_loss",
    "hinge_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
]


def _reduced(name: str, losses: Node, reduction: str) -> Node:
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f'{name}: reduction must be "mean", "sum" or "none", got {reduction!r}{at()}')
    return mean(losses) if reduction == "mean" else sum(losses) if reduction == "sum" else losses


def _paired(name: str, *operands: Any) -> list[Node]:
    """Return float operands of equal shapes; Python numbers stand for any shape."""
    nodes = promote(name, "float", operands)
    first, *others = [n for n, x in zip(nodes, operands, strict=True) if not is_weak(x)] or nodes
    for other in others:
        if other.ndim != first.ndim or any(
            never_equal(a, b) or (a == 1) != (b == 1) for a, b in zip(first.shape, other.shape, strict=True)
        ):
            raise ShapeError(f"{name}: shapes must be equal: {first.type}, {other.type}{at()}")
    return nodes


# -- classification by index or by distribution


@checked
def cross_entropy(
    logits: Any,
    targets: Any,
    /,
    *,
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    axis: int = -1,
) -> Node:
    """Return the cross-entropy between `softmax(logits)` and class numbers or probabilities.

    Parameters
    ----------
    logits
        Floats, not normalised; `axis` holds the classes.
    targets
        Class numbers: integers of the shape of `logits` without `axis`. Or probabilities: floats of the shape of
        `logits`. A class below 0 or not below the number of classes raises `IndexOutOfBoundsError` when it is computed.
    weight
        One factor a class. The mean over class numbers is then divided by the sum of the weights of the targets.
    ignore_index
        A class number whose rows count for nothing, in the mean neither; a mean of nothing is 0.
    label_smoothing
        This share of each target is spread evenly over the classes.

    >>> cross_entropy([[0.0, 0.0]], [1]).eval()
    array(0.69314718)
    """
    (scores,), labels = promote("cross_entropy", "float", [logits]), as_node(targets)
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"cross_entropy: label_smoothing must be from 0 to 1, got {label_smoothing!r}{at()}")
    scores = _classes_last("cross_entropy", scores, axis)
    weights = _class_weights("cross_entropy", scores, weight)
    if is_float(labels.dtype):
        if ignore_index is not None:
            raise ArgumentError(f"cross_entropy: ignore_index needs targets that are class numbers{at()}")
        if labels.ndim == scores.ndim - 1:
            raise DTypeError(
                f"cross_entropy: {labels.type} given for {scores.type}: class numbers are integers (.astype('int64')),"
                f" probabilities have the shape of the logits{at()}"
            )
        labels = _classes_last("cross_entropy", labels, axis)
        return _reduced("cross_entropy", _against_distribution(scores, labels, weights, label_smoothing), reduction)
    classes, kept = _class_numbers("cross_entropy", scores, labels, ignore_index)
    rows = cross_entropy_rows(scores, classes)
    factors = None if weights is None else take(weights, classes, axis=0)
    rows = rows if factors is None else masked_multiply(factors, rows)
    if label_smoothing:
        spread = mean(log_softmax(scores) if weights is None else masked_multiply(weights, log_softmax(scores)), -1)
        rows = (1 - label_smoothing) * rows - label_smoothing * spread
    return _reduced_rows("cross_entropy", rows, factors, kept, reduction)


@checked
def nll_loss(
    log_probs: Any,
    targets: Any,
    /,
    *,
    weight: Any = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
    axis: int = -1,
) -> Node:
    """Return `-log_probs` at the target classes; the parameters are those of `cross_entropy`.

    >>> nll_loss([[-0.1, -2.0], [-3.0, -0.2]], [0, 1]).eval()
    array(0.15)
    """
    (scores,) = promote("nll_loss", "float", [log_probs])
    scores = _classes_last("nll_loss", scores, axis)
    weights = _class_weights("nll_loss", scores, weight)
    classes, kept = _class_numbers("nll_loss", scores, as_node(targets), ignore_index)
    place = expand_dims(strict_index(classes, scores.shape[-1]), axis=-1)
    rows = -squeeze(take_along_for("nll_loss", scores, place, -1, strict=True), -1)
    factors = None if weights is None else take(weights, classes, axis=0)
    return _reduced_rows(
        "nll_loss", rows if factors is None else masked_multiply(factors, rows), factors, kept, reduction
    )


def _classes_last(name: str, x: Node, axis: int) -> Node:
    if x.ndim == 0:
        raise ShapeError(f"{name}: an axis of classes is needed, got {x.type}{at()}")
    return moveaxis(x, axis_index(name, axis, x.ndim), -1)


def _class_weights(name: str, scores: Node, weight: Any) -> Node | None:
    if weight is None:
        return None
    node = cast(as_node(weight), scores.dtype)
    if node.ndim != 1 or never_equal(node.shape[0], scores.shape[-1]):
        raise ShapeError(f"{name}: weight needs one entry a class: {scores.type}, {node.type}{at()}")
    return node


def _class_numbers(name: str, scores: Node, labels: Node, ignore_index: int | None) -> tuple[Node, Node | None]:
    """Return int64 class numbers, 0 where they are ignored, and where they are kept (None: everywhere)."""
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"{name}: labels must be integers, got {labels.type}{at()}")
    if labels.ndim != scores.ndim - 1:
        raise ShapeError(f"{name}: labels need one axis less than logits: {scores.type}, {labels.type}{at()}")
    classes = cast(labels, INT64)
    if ignore_index is None:
        return classes, None
    kept = not_equal(classes, ignore_index)
    return where(kept, classes, 0), kept


def _reduced_rows(name: str, rows: Node, factors: Node | None, kept: Node | None, reduction: str) -> Node:
    """Reduce losses by row; the mean is over the weights of the rows that are kept."""
    if kept is not None:
        rows = where(kept, rows, 0)
    if reduction != "mean" or (factors is None and kept is None):
        return _reduced(name, rows, reduction)
    shares = cast(kept, rows.dtype) if factors is None and kept is not None else factors
    assert shares is not None
    total = sum(shares if kept is None or factors is None else where(kept, factors, 0))
    return where(equal(total, 0), 0, sum(rows) / total)


def _against_distribution(scores: Node, target: Node, weights: Node | None, label_smoothing: float) -> Node:
    scores, target = _paired("cross_entropy", scores, cast(target, scores.dtype))
    if label_smoothing:
        target = (1 - label_smoothing) * target + label_smoothing / cast(as_node(scores.shape[-1]), scores.dtype)
    target = target if weights is None else target * weights
    return -sum(masked_multiply(target, log_softmax(scores)), -1)


# -- binary classification


@checked
def binary_cross_entropy_with_logits(
    logits: Any, targets: Any, /, *, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Node:
    """Return the cross-entropy between `sigmoid(logits)` and probabilities `targets`, accurate for any logit.

    `weight` multiplies each loss, `pos_weight` the part of the positive class; both broadcast.

    >>> binary_cross_entropy_with_logits([1000.0, -1000.0], [1.0, 1.0], reduction="none").eval()
    array([   0., 1000.])
    """
    name = "binary_cross_entropy_with_logits"
    x, y = _paired(name, logits, targets)
    positive = y if pos_weight is None else y * cast(as_node(pos_weight), x.dtype)
    losses = masked_multiply(positive, softplus(-x)) + masked_multiply(1 - y, softplus(x))
    return _reduced(name, _weighted(name, losses, weight), reduction)


@checked
def binary_cross_entropy(probs: Any, targets: Any, /, *, weight: Any = None, reduction: str = "mean") -> Node:
    """Return the cross-entropy between probabilities `probs` and `targets`; inf where the target was impossible.

    Exact at 0 and 1, where a right prediction costs 0 and has a finite gradient. `probs` computed by `gc.sigmoid` are
    as safe as `binary_cross_entropy_with_logits`, since the compiler sees both.

    >>> binary_cross_entropy([0.0, 1.0, 0.5], [0.0, 1.0, 1.0], reduction="none").eval()
    array([0.        , 0.        , 0.69314718])
    """
    name = "binary_cross_entropy"
    p, y = _paired(name, probs, targets)
    losses = masked_multiply(y, -log(p)) + masked_multiply(1 - y, -log1p(-p))
    return _reduced(name, _weighted(name, losses, weight), reduction)


def _weighted(name: str, losses: Node, weight: Any) -> Node:
    if weight is None:
        return losses
    out = masked_multiply(cast(as_node(weight), losses.dtype), losses)
    if out.ndim != losses.ndim:
        raise ShapeError(f"{name}: weight must broadcast to {losses.type}, got {as_node(weight).type}{at()}")
    return out


# -- distances


@checked
def mse_loss(predictions: Any, targets: Any, /, *, reduction: str = "mean") -> Node:
    """Return the squared differences.

    >>> mse_loss([1.0, 2.0], [0.0, 4.0]).eval()
    array(2.5)
    """
    x, y = _paired("mse_loss", predictions, targets)
    return _reduced("mse_loss", square(x - y), reduction)


@checked
def l1_loss(predictions: Any, targets: Any, /, *, reduction: str = "mean") -> Node:
    """Return the absolute differences; the gradient where they are 0 is 0.

    >>> l1_loss([1.0, 2.0], [0.0, 4.0]).eval()
    array(1.5)
    """
    x, y = _paired("l1_loss", predictions, targets)
    return _reduced("l1_loss", abs(x - y), reduction)


@checked
def huber_loss(predictions: Any, targets: Any, /, *, delta: float = 1.0, reduction: str = "mean") -> Node:
    """Return `d**2 / 2` where the difference d is at most `delta`, and `delta * (abs(d) - delta / 2)` beyond.

    >>> huber_loss([0.5, 3.0], 0.0, reduction="none").eval()
    array([0.125, 2.5  ])
    """
    if not delta > 0:
        raise ArgumentError(f"huber_loss: delta must be positive, got {delta!r}{at()}")
    x, y = _paired("huber_loss", predictions, targets)
    distance = abs(x - y)
    near, far = 0.5 * square(x - y), delta * (distance - 0.5 * delta)
    return _reduced("huber_loss", where(distance <= delta, near, far), reduction)


@checked
def smooth_l1_loss(predictions: Any, targets: Any, /, *, beta: float = 1.0, reduction: str = "mean") -> Node:
    """Return `huber_loss` divided by its width, here `beta`: `abs(d) - beta / 2` beyond; `l1_loss` where `beta` is 0.

    >>> smooth_l1_loss([0.5, 3.0], 0.0, reduction="none").eval()
    array([0.125, 2.5  ])
    """
    if not beta >= 0:
        raise ArgumentError(f"smooth_l1_loss: beta must be at least 0, got {beta!r}{at()}")
    x, y = _paired("smooth_l1_loss", predictions, targets)
    distance = abs(x - y)
    if beta == 0:
        return _reduced("smooth_l1_loss", distance, reduction)
    near = square(x - y) * (0.5 / beta)
    return _reduced("smooth_l1_loss", where(distance < beta, near, distance - 0.5 * beta), reduction)


@checked
def hinge_loss(predictions: Any, targets: Any, /, *, reduction: str = "mean") -> Node:
    """Return `max(0, 1 - targets * predictions)` for targets 1 and -1.

    >>> hinge_loss([2.0, 0.5, 0.5], [1.0, 1.0, -1.0], reduction="none").eval()
    array([0. , 0.5, 1.5])
    """
    x, y = _paired("hinge_loss", predictions, targets)
    return _reduced("hinge_loss", relu(1 - y * x), reduction)


@checked
def margin_ranking_loss(
    x1: Any, x2: Any, targets: Any, /, *, margin: float | Node = 0.0, reduction: str = "mean"
) -> Node:
    """Return `max(0, margin - targets * (x1 - x2))`: target 1 wants `x1` above `x2`, -1 below.

    >>> margin_ranking_loss([1.0], [3.0], [1.0]).eval()
    array(2.)
    """
    a, b, y = _paired("margin_ranking_loss", x1, x2, targets)
    return _reduced("margin_ranking_loss", relu(margin - y * (a - b)), reduction)


@checked
def cosine_similarity(x1: Any, x2: Any, /, *, axis: int = -1, eps: float | Node = 1e-8) -> Node:
    """Return the cosine of the angle between vectors along `axis`; 0, with a finite gradient, for a vector of 0.

    Norms below `eps` count as `eps`.

    >>> cosine_similarity([1.0, 0.0], [3.0, 4.0]).eval()
    array(0.6)
    """
    x, y = promote("cosine_similarity", "float", [x1, x2])
    return sum(_unit(x, axis, eps) * _unit(y, axis, eps), axis)


def _unit(x: Node, axis: int, eps: float | Node) -> Node:
    return x / maximum(sqrt_safe(sum(square(x), axis, keepdims=True)), eps)


@checked
def cosine_embedding_loss(
    x1: Any, x2: Any, targets: Any, /, *, margin: float | Node = 0.0, reduction: str = "mean"
) -> Node:
    """Return 1 - the cosine between rows where the target is 1, and the excess of it over `margin` where it is -1.

    `x1` and `x2` are of shape (..., features), `targets` of shape (...).

    >>> cosine_embedding_loss([[1.0, 0.0]], [[3.0, 4.0]], [1.0]).eval()
    array(0.4)
    """
    cosine, y = _paired("cosine_embedding_loss", cosine_similarity(x1, x2), targets)
    return _reduced("cosine_embedding_loss", where(y > 0, 1 - cosine, relu(cosine - margin)), reduction)


# -- distributions


@checked
def kl_div(log_probs: Any, targets: Any, /, *, log_target: bool = False, reduction: str = "mean") -> Node:
    """Return `p * (log(p) - log_probs)` for target probabilities p, or their logarithms with `log_target`.

    0 where p is 0. `reduction="batchmean"` divides the sum by the size of axis 0, which makes it the mean of the
    Kullback-Leibler divergences of rows; "mean" is over all elements.

    >>> import graphc as gc
    >>> kl_div(gc.log([[0.5, 0.5]]), [[1.0, 0.0]], reduction="sum").eval()
    array(0.69314718)
    """
    q, target = _paired("kl_div", log_probs, targets)
    if log_target:
        p = exp(target)
        losses = where(equal(p, 0), 0, p * (target - q))
    else:
        losses = masked_multiply(target, log(target) - q)
    if reduction != "batchmean":
        return _reduced("kl_div", losses, reduction)
    if losses.ndim == 0:
        raise ShapeError(f"kl_div: batchmean needs an axis, got {losses.type}{at()}")
    return sum(losses) / cast(as_node(losses.shape[0]), losses.dtype)


@checked
def gaussian_nll_loss(
    predictions: Any,
    targets: Any,
    var: Any,
    /,
    *,
    full: bool = False,
    eps: float | Node = 1e-6,
    reduction: str = "mean",
) -> Node:
    """Return `(log(var) + (predictions - targets)**2 / var) / 2`, plus `log(2 * pi) / 2` if `full`.

    A `var` below `eps` counts as `eps`, with derivative 0 in `var`.

    >>> gaussian_nll_loss([1.0], [3.0], [1.0]).eval()
    array(2.)
    """
    x, y = _paired("gaussian_nll_loss", predictions, targets)
    spread = maximum(cast(as_node(var), x.dtype), eps)
    losses = 0.5 * (log(spread) + square(x - y) / spread)
    if losses.ndim != x.ndim:
        raise ShapeError(f"gaussian_nll_loss: var must broadcast to {x.type}, got {as_node(var).type}{at()}")
    return _reduced("gaussian_nll_loss", losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


@checked
def poisson_nll_loss(
    predictions: Any,
    targets: Any,
    /,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float | Node = 1e-8,
    reduction: str = "mean",
) -> Node:
    """Return `exp(x) - targets * x` for predicted log-rates x, or `x - targets * log(x + eps)` for rates.

    `full` adds Stirling's approximation of `log(targets!)` where the target is above 1.

    >>> poisson_nll_loss([0.0], [2.0]).eval()
    array(1.)
    """
    x, y = _paired("poisson_nll_loss", predictions, targets)
    losses = exp(x) - y * x if log_input else x - masked_multiply(y, log(x + eps))
    if full:
        stirling = y * log(y) - y + 0.5 * log(2 * math.pi * y)
        losses = losses + where(y > 1, stirling, 0)
    return _reduced("poisson_nll_loss", losses, reduction)
