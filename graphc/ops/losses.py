"""Losses that are one node for their numerics: the cross-entropy of a softmax, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.graph.errors import IndexOutOfBoundsError
from graphc.graph.node import Node
from graphc.graph.op import Composite, Cotangents, apply
from graphc.graph.types import BOOL, INT64, Array, Size, TensorType
from graphc.ops.elementwise import log, where
from graphc.ops.elementwise_logic import equal
from graphc.ops.indexing import one_hot, take_along_axis
from graphc.ops.manipulation import expand_dims, squeeze
from graphc.ops.pointwise import masked_multiply, size_node
from graphc.ops.reduction import Softmax, shifted_arrays, sum, weight_nodes


def strict_index(index: Node, size: Size) -> Node:
    """Return an int64 index of which negative entries, which would count from the end, are moved out of range."""
    return where(index < 0, index - size_node(size, INT64), index)


@dataclass(frozen=True)
class CrossEntropy(Composite):
    """`logsumexp(logits) - logits[label]` along the last axis; labels are int64 without that axis.

    Both terms are taken relative to the largest logit, so that offsets of the logits cost no digits. The derivative,
    `softmax - one_hot`, is written whole: it needs neither a scatter nor a division by a probability.
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
        with np.errstate(all="ignore"):
            _, shifted = shifted_arrays(logits, (logits.ndim - 1,))
            chosen = np.take_along_axis(shifted, labels[..., None], -1)[..., 0]
            return np.asarray(np.log(np.sum(np.exp(shifted), -1)) - chosen)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return masked_multiply(expand_dims(g, axis=-1), _slope(*inputs)), None

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None if tangents[0] is None else sum(masked_multiply(tangents[0], _slope(*inputs)), -1)

    def expand(self, *inputs: Node) -> Node:
        logits, labels = inputs
        top, _, total = weight_nodes(logits, (logits.ndim - 1,))
        place = expand_dims(strict_index(labels, logits.shape[-1]), axis=-1)
        chosen = squeeze(take_along_axis(logits, place, axis=-1), -1)
        return log(total) - where(equal(chosen, top), 0, chosen - top)


def _slope(logits: Node, labels: Node) -> Node:
    p = apply(Softmax(logits.ndim - 1), logits)
    hit = one_hot(labels, logits.shape[-1], dtype=BOOL)
    return where(hit, p - 1, p)


def cross_entropy_rows(logits: Node, labels: Node) -> Node:
    """Return the cross-entropy of each row of `logits` against its label."""
    return apply(CrossEntropy(), logits, labels)
