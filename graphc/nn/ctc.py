"""Connectionist temporal classification: the likelihood of a label sequence, summed over its alignments in time.

Forward probabilities run over time in logarithms by `scan`, and the gradient is that of the scan. Source: Graves et
al., Connectionist temporal classification, 2006.
"""

from __future__ import annotations

import builtins
import itertools
from typing import Any

import numpy as np

from graphc.autodiff.control import scan
from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import constant
from graphc.graph.types import INT64, Size
from graphc.ops.creation import arange, iota
from graphc.ops.elementwise import equal, isinf, logaddexp, logical_and, maximum, not_equal, where
from graphc.ops.indexing import take_along_axis, take_along_for, take_for
from graphc.ops.losses import strict_index
from graphc.ops.manipulation import concat, expand_dims, reshape, squeeze, stack
from graphc.ops.pointwise import as_node, broadcast_to_shape, cast, promote
from graphc.ops.reduction import any, mean, sum
from graphc.ops.shape import never_equal, slice_axis

__all__ = ["ctc_loss"]


@checked
def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    /,
    blank: int = 0,
    reduction: str = "mean",
    *,
    zero_infinity: bool = False,
) -> Node:
    """Return minus the logarithm of the probability of each label sequence, over all its alignments.

    Parameters
    ----------
    log_probs
        Logarithms of probabilities, as from `log_softmax`: floats of shape (time, batch, classes).
    targets
        Class numbers, integers of shape (batch, length); what is beyond a target's length is not looked at.
    input_lengths, target_lengths
        The steps and labels of each sequence, integers of shape (batch,). Longer than the arrays, or negative:
        `IndexOutOfBoundsError` when it is computed; so is a label that is no class.
    blank
        The class that stands for no label.
    reduction
        "mean" divides each loss by its target's length, at least 1, and takes the mean; "sum"; "none".
    zero_infinity
        Give 0, with gradient 0, for a sequence that has no alignment (too long, or with a blank inside), else inf.

    >>> import graphc as gc
    >>> half = gc.full((3, 1, 2), np.log(0.5))
    >>> ctc_loss(half, [[1]], [3], [1], reduction="none").eval()  # 6 of 8 alignments
    array([0.28768207])
    """
    (scores,), labels = promote("ctc_loss", "float", [log_probs]), _integers("targets", targets, 2)
    steps, lengths = _integers("input_lengths", input_lengths, 1), _integers("target_lengths", target_lengths, 1)
    if scores.ndim != 3:
        raise ShapeError(f"ctc_loss: log_probs must be of shape (time, batch, classes), got {scores.type}{at()}")
    batch = (scores.shape[1], labels.shape[0], steps.shape[0], lengths.shape[0])
    if builtins.any(never_equal(a, b) or (a == 1) != (b == 1) for a, b in itertools.pairwise(batch)):
        raise ShapeError(f"ctc_loss: batch sizes differ: {', '.join(map(str, batch))}{at()}")
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f'ctc_loss: reduction must be "mean", "sum" or "none", got {reduction!r}{at()}')
    classes = scores.shape[-1]
    if isinstance(classes, int) and not 0 <= blank < classes:
        raise ArgumentError(f"ctc_loss: blank {blank} is none of {classes} classes{at()}")
    steps, lengths = _sound(steps, scores.shape[0]), _sound(lengths, labels.shape[1])
    inside = iota(labels.shape, 1) < expand_dims(lengths, axis=1)
    refused = any(logical_and(inside, equal(labels, blank)), axis=1)
    path = _with_blanks(where(inside, strict_index(labels, classes), blank), blank)
    losses = where(refused, np.inf, -_log_likelihood(scores, path, steps, lengths))
    if zero_infinity:
        losses = where(isinf(losses), 0, losses)
    if reduction == "mean":
        return mean(losses / cast(maximum(lengths, 1), losses.dtype))
    return sum(losses) if reduction == "sum" else losses


def _integers(what: str, value: Any, ndim: int) -> Node:
    node = as_node(value)
    if node.dtype.kind not in "iu":
        raise DTypeError(f"ctc_loss: {what} must be integers, got {node.type}{at()}")
    if node.ndim != ndim:
        raise ShapeError(f"ctc_loss: {what} must have {ndim} axes, got {node.type}{at()}")
    return cast(node, INT64)


def _sound(lengths: Node, most: Size) -> Node:
    """Return the same lengths, read from a table of all that are possible: others raise as indices do."""
    return take_for("ctc_loss", iota((most + 1,), 0), strict_index(lengths, most + 1), 0, strict=True)


def _with_blanks(labels: Node, blank: int) -> Node:
    """Put a blank before, between and after the labels: position 2 i + 1 is label i."""
    batch, length = labels.shape
    blanks = broadcast_to_shape(constant(blank, INT64), labels.shape)
    pairs = reshape(stack([blanks, labels], axis=2), (batch, 2 * length))
    return concat([pairs, broadcast_to_shape(constant(blank, INT64), (batch, 1))], axis=1)


def _log_likelihood(scores: Node, path: Node, steps: Node, lengths: Node) -> Node:
    """Return the logarithm of the probability of all ways to walk `path`, one place or two at a time."""
    nowhere = constant(-np.inf, scores.dtype)
    # A label may follow another without a blank between; places before the first have class -1, and nobody is there.
    may_skip = not_equal(path, _shifted(path, 2, constant(-1, INT64)))
    emitted = take_along_for("ctc_loss", scores, expand_dims(path, axis=0), 2, strict=True)
    # The walk starts before the first place: the first step stays at the first blank or moves on to the first label.
    start = where(equal(iota(path.shape, 1), 0), constant(0, scores.dtype), nowhere)

    def step(reached: Node, given: tuple[Node, Node]) -> tuple[Node, None]:
        t, gained = given
        moved = logaddexp(reached, _shifted(reached, 1, nowhere))
        skipped = where(may_skip, _shifted(reached, 2, nowhere), nowhere)
        running = expand_dims(t < steps, axis=1)
        return where(running, logaddexp(moved, skipped) + gained, reached), None

    reached, _ = scan(step, start, (arange(scores.shape[0]), emitted))
    last = expand_dims(2 * lengths, axis=1)
    at_blank = squeeze(take_along_axis(reached, last, axis=1), 1)
    at_label = squeeze(take_along_axis(reached, maximum(last - 1, 0), axis=1), 1)
    return logaddexp(at_blank, where(lengths > 0, at_label, nowhere))


def _shifted(x: Node, count: int, fill: Node) -> Node:
    """Move the columns of `x` to the right; `fill` comes in from the left."""
    front = broadcast_to_shape(fill, (x.shape[0], count))
    size: Size = x.shape[1]
    return slice_axis(concat([front, x], axis=1), 1, 0, size)
