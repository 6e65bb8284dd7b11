"""Activations and losses of neural networks, as functions of nodes."""

from __future__ import annotations

from typing import Any

from graphc.errors import DTypeError, ShapeError, at
from graphc.node import Node
from graphc.ops.elementwise import relu
from graphc.ops.losses import cross_entropy_rows
from graphc.ops.pointwise import as_node, cast, promote
from graphc.ops.reduction import mean
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
    return mean(cross_entropy_rows(scores, cast(classes, INT64)))
