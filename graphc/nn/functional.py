"""Functions of nodes for neural networks that are no activation, loss or normalisation: embedding and dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.types import INT64, Shape
from graphc.ops.elementwise import equal, stop_gradient, where
from graphc.ops.indexing import take_for
from graphc.ops.losses import strict_index
from graphc.ops.pointwise import as_node, cast, promote
from graphc.ops.shape import insert_axes

if TYPE_CHECKING:
    from graphc.random import Generator

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "embedding"]

SELU_FLOOR = -1.7580993408473766
"""The limit of `selu` at -inf: minus its scale times its alpha."""


@checked
def embedding(indices: Any, weight: Any, /, padding_idx: int | None = None) -> Node:
    """Return the rows of `weight` at `indices` (integers of any shape): shape (*indices.shape, *weight.shape[1:]).

    The row `padding_idx` (negative counts from the end) gets no gradient. An index below 0 or not below the number of
    rows raises `IndexOutOfBoundsError` when it is computed.

    >>> embedding([1, 0, 1], [[0.0, 0.0], [3.0, 4.0]]).eval()
    array([[3., 4.],
           [0., 0.],
           [3., 4.]])
    """
    places, table = as_node(indices), as_node(weight)
    if places.dtype.kind not in "iu":
        raise DTypeError(f"embedding: indices must be integers, got {places.type}{at()}")
    if table.ndim == 0:
        raise ShapeError(f"embedding: weight needs a leading axis, got {table.type}{at()}")
    count = table.shape[0]
    rows = take_for("embedding", table, strict_index(cast(places, INT64), count), 0, strict=True)
    if padding_idx is None:
        return rows
    if isinstance(count, int) and not -count <= padding_idx < count:
        raise ArgumentError(f"embedding: padding_idx {padding_idx} is no row of {table.type}{at()}")
    padding = equal(places, padding_idx if padding_idx >= 0 else count + padding_idx)
    return where(insert_axes(padding, range(places.ndim, rows.ndim)), stop_gradient(rows), rows)


@checked
def dropout(x: Any, p: float = 0.5, rng: Generator | None = None, training: bool = True) -> Node:
    """Return `x` with each element set to 0 with probability `p`, and the others divided by `1 - p`.

    Without `training`, or where `p` is 0, `x` itself. The gradient of what is dropped is a hard zero; the derivative
    computes the same mask again from the generator's position, so nothing is stored. Raises `ArgumentError`.

    >>> import graphc as gc
    >>> sorted(set(dropout(gc.ones(100), 0.5, gc.random.Generator(0)).eval().tolist()))
    [0.0, 2.0]
    """
    (node,) = promote("dropout", "float", [x])
    return _dropped("dropout", node, node.shape, p, rng, training)


@checked
def dropout1d(x: Any, p: float = 0.5, rng: Generator | None = None, training: bool = True) -> Node:
    """Drop whole channels of `x`, of shape (batch, channels, length); see `dropout`."""
    return _dropped_channels("dropout1d", 3, x, p, rng, training)


@checked
def dropout2d(x: Any, p: float = 0.5, rng: Generator | None = None, training: bool = True) -> Node:
    """Drop whole channels of `x`, of shape (batch, channels, height, width); see `dropout`."""
    return _dropped_channels("dropout2d", 4, x, p, rng, training)


@checked
def dropout3d(x: Any, p: float = 0.5, rng: Generator | None = None, training: bool = True) -> Node:
    """Drop whole channels of `x`, of shape (batch, channels, depth, height, width); see `dropout`."""
    return _dropped_channels("dropout3d", 5, x, p, rng, training)


@checked
def alpha_dropout(x: Any, p: float = 0.5, rng: Generator | None = None, training: bool = True) -> Node:
    """Set elements to the lower limit of `selu` with probability `p`, and rescale to the same mean and variance.

    For inputs of mean 0 and variance 1. Source: Klambauer et al., Self-normalizing neural networks, 2017.
    """
    (node,) = promote("alpha_dropout", "float", [x])
    if not _drops("alpha_dropout", p, rng, training):
        return node
    scale = ((1 - p) * (1 + p * SELU_FLOOR**2)) ** -0.5 if p < 1 else 0.0
    shift = -scale * SELU_FLOOR * p
    return where(_kept(node, node.shape, p, rng), node * scale + shift, SELU_FLOOR * scale + shift)


def _dropped_channels(name: str, ndim: int, x: Any, p: float, rng: Generator | None, training: bool) -> Node:
    (node,) = promote(name, "float", [x])
    if node.ndim != ndim:
        raise ShapeError(f"{name}: {ndim} axes are needed, got {node.type}{at()}")
    return _dropped(name, node, (*node.shape[:2], *(1,) * (ndim - 2)), p, rng, training)


def _dropped(name: str, x: Node, shape: Shape, p: float, rng: Generator | None, training: bool) -> Node:
    """Drop with one decision for each element of `shape`, which broadcasts to that of `x`."""
    if not _drops(name, p, rng, training):
        return x
    return where(_kept(x, shape, p, rng), x * (1 / (1 - p) if p < 1 else 0.0), 0.0)


def _drops(name: str, p: float, rng: Generator | None, training: bool) -> bool:
    """Tell whether anything is dropped."""
    if not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise ArgumentError(f"{name}: p must be a number from 0 to 1, got {p!r}{at()}")
    if training and p > 0:
        from graphc.random import Generator

        if not isinstance(rng, Generator):
            needed = "rng must be a gc.random.Generator where something is dropped"
            raise ArgumentError(f"{name}: {needed}, got {rng!r}{at()}")
    return bool(training and p > 0)


def _kept(x: Node, shape: Shape, p: float, rng: Generator | None) -> Node:
    """Return which elements stay: none where p is 1, since uniform numbers are below 1."""
    assert rng is not None
    return rng.uniform(shape, dtype="float32") >= p
