"""Losses that are one node for their numerics: the cross-entropy of a softmax, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.errors import IndexOutOfBoundsError
from graphc.node import Node
from graphc.ops.base import Composite, Cotangents, apply
from graphc.ops.elementwise import where
from graphc.ops.indexing import one_hot, take_along_axis
from graphc.ops.manipulation import expand_dims, squeeze
from graphc.ops.pointwise import masked_multiply
from graphc.ops.reduction import LogSumExp, Softmax, sum
from graphc.types import BOOL, Array, Size, TensorType


@dataclass(frozen=True)
class CrossEntropy(Composite):
    """`logsumexp(logits) - logits[label]` along the last axis; labels are int64 without that axis.

    Its derivative, `softmax - one_hot`, is written whole: it needs neither a scatter nor a division by a
    probability.
    """

    name = "cross_entropy"

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        return zip(types[0].shape[:-1], types[1].shape, strict=True)

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(types[0].dtype, types[0].shape[:-1])

    def evaluate(self, *arrays: Array) -> Array:
        logits, labels = arrays
        count = logits.shape[-1]
        bad = labels[(labels < 0) | (labels >= count)]
        if bad.size:
            raise IndexOutOfBoundsError(f"label {bad[0]} is out of bounds for {count} classes")
        chosen = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
        return np.asarray(LogSumExp((logits.ndim - 1,)).evaluate(logits) - chosen)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return masked_multiply(expand_dims(g, axis=-1), _slope(*inputs)), None

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None if tangents[0] is None else sum(masked_multiply(tangents[0], _slope(*inputs)), -1)

    def expand(self, *inputs: Node) -> Node:
        logits, labels = inputs
        # As indices, negative labels would count from the last class: move them out of range.
        strict = where(labels < 0, labels - logits.shape[-1], labels)
        chosen = squeeze(take_along_axis(logits, expand_dims(strict, axis=-1), axis=-1), -1)
        return LogSumExp((logits.ndim - 1,)).expand(logits) - chosen


def _slope(logits: Node, labels: Node) -> Node:
    p = apply(Softmax(logits.ndim - 1), logits)
    hit = one_hot(labels, logits.shape[-1], dtype=BOOL)
    return where(hit, p - 1, p)


def cross_entropy_rows(logits: Node, labels: Node) -> Node:
    """Return the cross-entropy of each row of `logits` against its label."""
    return apply(CrossEntropy(), logits, labels)
