"""Limits on gradients: by value, and by the norm of all of them together."""

from __future__ import annotations

import functools
import operator
from typing import Any

from graphc.graph.arguments import number, shown
from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node
from graphc.graph.tree import flatten, unflatten
from graphc.graph.types import FLOAT64
from graphc.ops import abs, astype, clip, hypot, minimum, square, sum, where
from graphc.ops.elementwise import sqrt_safe
from graphc.ops.pointwise import as_node, is_weak


def clip_by_value(grads: Any, limit: Any) -> Any:
    """Return `grads`, any nesting of nodes, with every element limited to [-limit, limit].

    >>> clip_by_value([as_node([3.0, -0.5])], 1.0)[0].eval()
    array([ 1. , -0.5])
    """
    _check_limit("clip_by_value", limit)
    bound = limit if is_weak(limit) else as_node(limit)
    return unflatten(grads, [clip(as_node(g), -bound, bound) for g in flatten(grads)])


def global_norm(grads: Any) -> Node:
    """Return the 2-norm of all elements of all nodes in `grads`, a float64 scalar.

    The squares, which are summed in float64, neither overflow nor vanish.

    >>> global_norm([as_node([3.0]), as_node(4.0)]).eval()
    array(5.)
    """
    nodes = [as_node(g) for g in flatten(grads)]
    if not nodes:
        raise ArgumentError(f"global_norm: no gradients given{at()}")
    parts = [_roots_of_squares([p[k] for p in map(_scaled, nodes) if k < len(p)]) for k in range(3)]
    middle, *scaled = [p for p in parts if p is not None]
    if not scaled:
        return middle
    small, large = scaled
    return hypot(hypot(middle, small / _SCALE), large * _SCALE)


_SCALE = 2.0**540
_FAR = 1e140
"""Squares of numbers between 1 / _FAR and _FAR, and of others times or divided by _SCALE, are far from any limit."""


def _scaled(g: Node) -> list[Node]:
    """Return the elements of a gradient by size, 0 for others: ordinary ones, small ones scaled up, large ones down.

    Method: Blue, A portable Fortran program to find the Euclidean norm of a vector, 1978.
    """
    if g.dtype != FLOAT64:
        return [astype(g, FLOAT64)]
    magnitude = abs(g)
    small, large = magnitude < 1 / _FAR, magnitude > _FAR
    return [
        where(small | large, 0.0, magnitude),
        where(small, magnitude * _SCALE, 0.0),
        where(large, magnitude / _SCALE, 0.0),
    ]


def _roots_of_squares(parts: list[Node]) -> Node | None:
    totals = [sum(square(p)) for p in parts]
    return sqrt_safe(functools.reduce(operator.add, totals)) if totals else None


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
    if is_weak(limit):
        if not number(f"{what}: the limit", limit) >= 0:
            raise ArgumentError(f"{what}: the limit must be at least 0, got {limit!r}{at()}")
    elif as_node(limit, what=f"{what}: the limit").shape:
        raise ArgumentError(f"{what}: the limit must be a number or a 0-d node, got {shown(limit)}{at()}")
