"""Scaled dot-product attention over any batch and head axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.graph.arguments import checked
from graphc.graph.errors import DTypeError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.types import INT64, is_float
from graphc.nn.functional import dropout
from graphc.ops.creation import iota
from graphc.ops.elementwise import equal, not_equal, where
from graphc.ops.linalg import matmul
from graphc.ops.manipulation import matrix_transpose
from graphc.ops.normalization import RSQRT
from graphc.ops.pointwise import as_node, pointwise, promote, size_node
from graphc.ops.reduction import any as any_of
from graphc.ops.reduction import softmax
from graphc.ops.shape import drop_axes, insert_axes, never_equal

if TYPE_CHECKING:
    from graphc.random import Generator

__all__ = ["scaled_dot_product_attention"]


@checked
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    *,
    is_causal: bool = False,
    scale: float | Node | None = None,
    dropout_p: float = 0.0,
    rng: Generator | None = None,
) -> Node:
    """Return `softmax(query @ key.T * scale + mask) @ value`, of shape (..., L, D).

    Parameters
    ----------
    query, key, value
        Floats of shapes (..., L, E), (..., S, E), (..., S, D); the axes before (batch, heads) broadcast.
    mask
        Broadcasts to (..., L, S). bool: True where attention is allowed; float: added to the scores.
    is_causal
        Position i attends to positions 0..i only; with `mask`, both hold.
    scale
        By default 1 / sqrt(E).
    dropout_p
        The probability with which each weight is dropped, by `rng`; 0 outside of training.

    A row that may attend to nothing gives 0, with gradient 0. What is masked by bool or -inf has no influence on
    values or gradients; a key and value that no query may attend to may be NaN or inf. Raises `ShapeError`,
    `DTypeError`. Source: Vaswani et al., Attention is all you need, 2017.

    >>> scaled_dot_product_attention([[1.0]], [[2.0], [2.0]], [[1.0], [5.0]], [[True, False]]).eval()
    array([[1.]])
    """
    q, k, v = promote("scaled_dot_product_attention", "float", [query, key, value])
    for what, node in (("query", q), ("key", k), ("value", v)):
        if node.ndim < 2:
            raise ShapeError(f"scaled_dot_product_attention: {what} needs at least 2 axes, got {node.type}{at()}")
    if never_equal(q.shape[-1], k.shape[-1]) or never_equal(k.shape[-2], v.shape[-2]):
        shown = f"{q.type}, {k.type}, {v.type}"
        raise ShapeError(f"scaled_dot_product_attention: query, key and value do not fit: {shown}{at()}")
    factor = pointwise(RSQRT, size_node(q.shape[-1], q.dtype)) if scale is None else scale
    if (seen := _seen(q, k, mask, is_causal)) is not None:  # 0 * NaN is NaN, in products and in their gradients
        k, v = (where(_reduced_to(seen, x), x, 0.0) for x in (k, v))
    scores = matmul(q, matrix_transpose(k)) * factor
    weights = _masked_softmax(scores, _allowed(scores, mask, is_causal), _added(scores, mask))
    return matmul(dropout(weights, dropout_p, rng, training=dropout_p > 0), v)


def _seen(q: Node, k: Node, mask: Any, is_causal: bool) -> Node | None:
    """Return which keys some query may attend to, of shape (..., S or 1, 1); None where all are known to be."""
    found: Node | None = None
    if mask is not None:
        node = as_node(mask)
        allowed = node if node.dtype.kind == "b" else not_equal(node, -np.inf)
        allowed = insert_axes(allowed, tuple(range(2 - allowed.ndim))) if allowed.ndim < 2 else allowed
        found = matrix_transpose(any_of(allowed, axis=-2, keepdims=True))
    if is_causal and q.shape[-2] != k.shape[-2]:
        reached = insert_axes(iota((k.shape[-2],), 0), (1,)) < size_node(q.shape[-2], INT64)
        found = reached if found is None else found & reached
    return found


def _reduced_to(seen: Node, x: Node) -> Node:
    """Return which rows of `x` count: those that count in one of the batch entries that share them."""
    extra = seen.ndim - x.ndim
    shared = [a for a in range(seen.ndim - 2) if a < extra or (x.shape[a - extra] == 1 and seen.shape[a] != 1)]
    kept = any_of(seen, axis=tuple(shared), keepdims=True) if shared else seen
    return drop_axes(kept, tuple(range(extra))) if extra > 0 else kept


def _allowed(scores: Node, mask: Any, is_causal: bool) -> Node | None:
    """Return where attention is allowed, or None for everywhere."""
    allowed: Node | None = None
    if is_causal:
        square = scores.shape[-2:]
        allowed = iota(square, 0) >= iota(square, 1)
    if mask is not None and as_node(mask).dtype.kind == "b":
        allowed = as_node(mask) if allowed is None else allowed & as_node(mask)
    return allowed


def _added(scores: Node, mask: Any) -> Node | None:
    """Return what a float mask adds to the scores."""
    if mask is None or as_node(mask).dtype.kind == "b":
        return None
    node = as_node(mask)
    if not is_float(node.dtype):
        raise DTypeError(f"scaled_dot_product_attention: mask must be bool or float, got {node.type}{at()}")
    return node.astype(scores.dtype)


def _masked_softmax(scores: Node, allowed: Node | None, added: Node | None) -> Node:
    """Softmax along the last axis, 0 in rows where nothing is allowed."""
    if added is not None:
        scores = where(equal(added, -np.inf), -np.inf, scores + added)
    if allowed is not None:
        scores = where(allowed, scores, -np.inf)
    if allowed is None and added is None:
        return softmax(scores)
    return where(equal(scores, -np.inf), 0.0, softmax(scores))
