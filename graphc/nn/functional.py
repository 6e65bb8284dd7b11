"""Activations and losses of neural networks, as functions of nodes."""

from __future__ import annotations

from typing import Any

from graphc.errors import DTypeError, ShapeError, at
from graphc.node import Node
from graphc.ops.elementwise import relu, where
from graphc.ops.indexing import take_along_axis
from graphc.ops.manipulation import expand_dims, squeeze
from graphc.ops.pointwise import as_node, cast, promote
from graphc.ops.reduction import logsumexp, mean
from graphc.types import INT64

__all__ = ["cross_entropy", "relu"]


def cross_entropy(logits: Any, labels: Any, /) -> Node:
    """Return the mean over the batch of `-log(softmax(logits)[label])`, a 0-d node.

    `logits` is float of shape (..., classes), not normalised; `labels` holds class numbers, integers of shape
    (...). A label below 0 or not below the number of classes raises `IndexOutOfBoundsError` when it is computed.

    >>> cross_entropy([[0.0, 0.0]], [1]).eval()
    array(0.69314718)
    """
    (scores,), classes = promote("cross_entropy", "float", [logits]), as_node(labels)
    if classes.dtype.kind not in "iu":
        raise DTypeError(f"cross_entropy: labels must be integers, got {classes.type}{at()}")
    if scores.ndim == 0 or classes.ndim != scores.ndim - 1:
        raise ShapeError(f"cross_entropy: labels need one axis less than logits: {scores.type}, {classes.type}{at()}")
    chosen = take_along_axis(scores, expand_dims(_refuse_negative(classes, scores), axis=-1), axis=-1)
    return mean(logsumexp(scores, axis=-1) - squeeze(chosen, -1))


def _refuse_negative(labels: Node, scores: Node) -> Node:
    """Move negative labels out of range: as indices they would count from the last class."""
    if labels.dtype.kind == "u":
        return labels
    wide = cast(labels, INT64)
    return where(wide < 0, wide - scores.shape[-1], wide)
