"""Limits on gradients: by value, and by the norm of all of them together."""

from __future__ import annotations

from typing import Any

from graphc.errors import ArgumentError, at
from graphc.node import Node
from graphc.ops import astype, clip, minimum, sqrt, square, sum
from graphc.ops.pointwise import as_node, is_weak
from graphc.tree import flatten, unflatten
from graphc.types import FLOAT64


def clip_by_value(grads: Any, limit: Any) -> Any:
    """Return `grads`, any nesting of nodes, with every element limited to [-limit, limit].

    >>> clip_by_value([as_node([3.0, -0.5])], 1.0)[0].eval()
    array([ 1. , -0.5])
    """
    _check_limit("clip_by_value", limit)
    return unflatten(grads, [clip(as_node(g), -limit, limit) for g in flatten(grads)])


def global_norm(grads: Any) -> Node:
    """Return the 2-norm of all elements of all nodes in `grads`, a float64 scalar.

    The sum is in float64: squares of float32 numbers neither overflow nor vanish.

    >>> global_norm([as_node([3.0]), as_node(4.0)]).eval()
    array(5.)
    """
    nodes = [as_node(g) for g in flatten(grads)]
    if not nodes:
        raise ArgumentError(f"global_norm: no gradients given{at()}")
    total = sum(square(astype(nodes[0], FLOAT64)))
    for g in nodes[1:]:
        total = total + sum(square(astype(g, FLOAT64)))
    return sqrt(total)


def clip_by_global_norm(grads: Any, max_norm: Any) -> Any:
    """Return `grads`, any nesting of float nodes, scaled down together where their global norm exceeds `max_norm`.

    The factor is min(1, max_norm / (norm + 1e-6)), as in PyTorch (Pascanu et al. 2013, arXiv:1211.5063).

    >>> clip_by_global_norm([as_node([30.0, 40.0])], 5.0)[0].eval().round(4)
    array([3., 4.])
    """
    return clip_by_norm(grads, global_norm(grads), max_norm)


def clip_by_norm(grads: Any, norm: Node, max_norm: Any) -> Any:
    """Return `grads` scaled down where `norm`, of these or of more gradients, exceeds `max_norm`."""
    _check_limit("clip_by_global_norm", max_norm)
    factor = minimum(max_norm / (norm + 1e-6), 1.0)
    scaled = [as_node(g) for g in flatten(grads)]
    return unflatten(grads, [g * astype(factor, g.dtype) for g in scaled])


def _check_limit(what: str, limit: Any) -> None:
    if is_weak(limit) and not limit >= 0:
        raise ArgumentError(f"{what}: the limit must be at least 0, got {limit!r}{at()}")
