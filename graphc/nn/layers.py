"""Layers of parameters without further structure (`Linear`, `Bilinear`, `Embedding`, `PReLU`), dropout, `Flatten`.

Weights have PyTorch's layout and names, (outputs, inputs), so that state dicts can be exchanged; the compiled product
takes the transpose as a flag. Parameters are float32 by default and drawn as PyTorch draws them, from `rng`: a NumPy
generator, a seed, or None for the default of `gc.nn.set_seed`. Operands of another dtype promote as in every op, so
declare inputs as float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.graph.arguments import checked, entries, whole
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node, Shared
from graphc.graph.types import Array, product
from graphc.nn import functional
from graphc.nn.activations import prelu
from graphc.nn.init import Initializer, Rng, as_generator, constant, inverse_root, normal
from graphc.nn.module import Module
from graphc.nn.parts import (
    DrawRng,
    draw_generator,
    new_parameter,
    operands,
    positive,
    probability,
    require_initializer,
    require_last,
    within,
)
from graphc.ops.einsum import einsum
from graphc.ops.linalg import matmul
from graphc.ops.manipulation import matrix_transpose, reshape
from graphc.ops.pointwise import as_node
from graphc.ops.shape import axis_index

__all__ = [
    "AlphaDropout",
    "Bilinear",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "Flatten",
    "Identity",
    "Linear",
    "PReLU",
    "Unflatten",
]


class Linear(Module):
    """`x @ weight.T + bias` along the last axis of `x`, of shape (..., in_features).

    `weight`: (out_features, in_features); `bias`: (out_features,). Both are uniform within 1 / sqrt(in_features) unless
    `weight_init` and `bias_init` give others (`gc.nn.init`).

    >>> import graphc as gc
    >>> Linear(3, 2)(gc.ones((5, 3), dtype="float32")).type
    TensorType(dtype=dtype('float32'), shape=(5, 2))
    """

    @checked
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Initializer = inverse_root,
        bias_init: Initializer | None = None,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        positive(self, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.shown = f"{in_features}, {out_features}{'' if bias else ', bias=False'}"
        source, first = as_generator(rng), within(in_features**-0.5) if bias_init is None else bias_init
        self.weight = new_parameter(self, "weight", (out_features, in_features), weight_init, source, dtype)
        self.bias = new_parameter(self, "bias", (out_features,), first, source, dtype) if bias else None

    def forward(self, x: Any) -> Node:
        """Return an array of shape (..., out_features)."""
        node, weight, *bias = operands(self, x, self.weight, self.bias)
        require_last(self, node, self.in_features)
        out = matmul(node, matrix_transpose(weight))
        return out + bias[0] if bias else out


class Bilinear(Module):
    """`x1 @ weight[k] @ x2 + bias[k]` for each output k, along the last axes of `x1` and `x2`.

    `weight`: (out_features, in1_features, in2_features); uniform, as `bias`, within 1 / sqrt(in1_features).
    """

    @checked
    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        positive(self, in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.shown = f"{in1_features}, {in2_features}, {out_features}{'' if bias else ', bias=False'}"
        source, init = as_generator(rng), within(in1_features**-0.5)
        shape = (out_features, in1_features, in2_features)
        self.weight = new_parameter(self, "weight", shape, init, source, dtype)
        self.bias = new_parameter(self, "bias", (out_features,), init, source, dtype) if bias else None

    def forward(self, x1: Any, x2: Any) -> Node:
        """Return an array of shape (..., out_features); the axes before the last broadcast."""
        left, right, weight, *bias = operands(self, x1, x2, self.weight, self.bias)
        require_last(self, left, self.in1_features, "the last axis of x1")
        require_last(self, right, self.in2_features, "the last axis of x2")
        out = einsum("...i,oij,...j->...o", left, weight, right)
        return out + bias[0] if bias else out


class Embedding(Module):
    """Rows of a table by integer index: shape (*indices.shape, embedding_dim).

    `weight`: (num_embeddings, embedding_dim), normal of variance 1 unless `weight_init` says otherwise; the row
    `padding_idx` is 0 and is not trained. An index out of range raises `IndexOutOfBoundsError` in the call.

    >>> Embedding(10, 4, padding_idx=0)([0]).eval()
    array([[0., 0., 0., 0.]], dtype=float32)
    """

    @checked
    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        weight_init: Initializer | None = None,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        positive(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and padding_idx not in range(-num_embeddings, num_embeddings):
            raise ArgumentError(f"Embedding: padding_idx {padding_idx!r} is none of {num_embeddings} rows{at()}")
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        padding = "" if padding_idx is None else f", padding_idx={padding_idx}"
        self.shown = f"{num_embeddings}, {embedding_dim}{padding}"
        if weight_init is not None:
            require_initializer("Embedding: the initialiser of weight", weight_init)
        first = _Padded(weight_init or _standard_normal, padding_idx)
        shape = (num_embeddings, embedding_dim)
        self.weight = new_parameter(self, "weight", shape, first, as_generator(rng), dtype)

    def forward(self, indices: Any) -> Node:
        """Return the rows."""
        return functional.embedding(indices, self.weight, self.padding_idx)


def _standard_normal(shape: Any, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    return normal(shape, std=1.0, rng=rng, dtype=dtype)


class _Padded:
    """An initialiser whose row `row` is 0."""

    def __init__(self, init: Initializer, row: int | None) -> None:
        self.init, self.row = init, row

    def __call__(self, shape: Any, *, rng: Rng = None, dtype: Any = "float32") -> Array:
        value = np.array(self.init(shape, rng=rng, dtype=dtype))
        if self.row is not None:
            value[self.row] = 0
        return value


class PReLU(Module):
    """`gc.nn.prelu` with a trained slope for all elements, or one for each of `num_parameters` channels (axis 1)."""

    @checked
    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = "float32") -> None:
        positive(self, num_parameters=num_parameters)
        self.num_parameters = num_parameters
        self.shown = f"num_parameters={num_parameters}"

        def first(shape: Any, *, rng: Rng = None, dtype: Any = "float32") -> Array:
            return constant(shape, init, dtype=dtype)

        self.weight: Shared = new_parameter(self, "weight", (num_parameters,), first, as_generator(0), dtype)

    def forward(self, x: Any) -> Node:
        """Return `x` where it is positive and the slope times `x` elsewhere."""
        node, weight = operands(self, x, self.weight)
        return prelu(node, reshape(weight, ()) if self.num_parameters == 1 else weight)


# -- dropout


class _Dropping(Module):
    """The family of layers that drop in training and return their operand in evaluation.

    `rng` is a `gc.random.Generator`, which layers may share, or what a generator of the layer's own is seeded by: an
    int, a NumPy generator, or None for the default of `gc.nn.set_seed`. `state_dict` has the generator's state, so
    that a run that resumes from a checkpoint drops the same elements.
    """

    @checked
    def __init__(self, p: float = 0.5, *, rng: DrawRng = None) -> None:
        self.shown = repr(p)
        self.p = probability(self, "p", p)
        self.rng = draw_generator(rng)


class Dropout(_Dropping):
    """Set each element to 0 with probability `p`, and divide the others by `1 - p`; in evaluation do nothing.

    >>> layer = Dropout(0.5, rng=0)
    >>> sorted(set(layer([1.0] * 100).eval().tolist()))
    [0.0, 2.0]
    >>> layer.eval()([1.0, 1.0]).eval()
    array([1., 1.])
    """

    def forward(self, x: Any) -> Node:
        """Return an array of the shape of `x`."""
        return functional.dropout(x, self.p, self.rng, self.training)


class Dropout1d(_Dropping):
    """Drop whole channels of (batch, channels, length); see `Dropout`."""

    def forward(self, x: Any) -> Node:
        """Return an array of the shape of `x`."""
        return functional.dropout1d(x, self.p, self.rng, self.training)


class Dropout2d(_Dropping):
    """Drop whole channels of (batch, channels, height, width); see `Dropout`."""

    def forward(self, x: Any) -> Node:
        """Return an array of the shape of `x`."""
        return functional.dropout2d(x, self.p, self.rng, self.training)


class Dropout3d(_Dropping):
    """Drop whole channels of (batch, channels, depth, height, width); see `Dropout`."""

    def forward(self, x: Any) -> Node:
        """Return an array of the shape of `x`."""
        return functional.dropout3d(x, self.p, self.rng, self.training)


class AlphaDropout(_Dropping):
    """Dropout for networks of `selu` that keeps mean and variance; see `gc.nn.alpha_dropout`."""

    def forward(self, x: Any) -> Node:
        """Return an array of the shape of `x`."""
        return functional.alpha_dropout(x, self.p, self.rng, self.training)


# -- shapes


class Identity(Module):
    """Return the operand."""

    def forward(self, x: Any) -> Node:
        """Return `x`."""
        return as_node(x)


class Flatten(Module):
    """Make the axes from `start_dim` to `end_dim` one.

    >>> import graphc as gc
    >>> Flatten()(gc.zeros((8, 3, 4))).shape
    (8, 12)
    """

    @checked
    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim
        self.shown = "" if (start_dim, end_dim) == (1, -1) else f"{start_dim}, {end_dim}"

    def forward(self, x: Any) -> Node:
        """Return `x` with fewer axes."""
        node = as_node(x)
        start = axis_index(self.title, self.start_dim, node.ndim)
        stop = axis_index(self.title, self.end_dim, node.ndim) + 1
        if stop <= start:
            raise ShapeError(f"{self.title}: no axis from {start} to {stop - 1} in {node.type}{at()}")
        return reshape(node, (*node.shape[:start], product(node.shape[start:stop]), *node.shape[stop:]))


class Unflatten(Module):
    """Split the axis `dim` into axes of `sizes`, of which one may be -1: what is left."""

    @checked
    def __init__(self, dim: int, sizes: tuple[int, ...]) -> None:
        self.dim, self.sizes = dim, tuple(whole("Unflatten: a size", n, -1) for n in entries(sizes))
        self.shown = f"{dim}, {self.sizes}"
        if sum(1 for n in self.sizes if n == -1) > 1 or math.prod(self.sizes) == 0:
            raise ArgumentError(f"Unflatten: sizes must be positive but for one -1, got {sizes!r}{at()}")

    def forward(self, x: Any) -> Node:
        """Return `x` with more axes."""
        node = as_node(x)
        axis = axis_index(self.title, self.dim, node.ndim)
        return reshape(node, (*node.shape[:axis], *self._sizes_of(node, axis), *node.shape[axis + 1 :]))

    def _sizes_of(self, x: Node, axis: int) -> tuple[Any, ...]:
        known = math.prod(n for n in self.sizes if n != -1)
        size = x.shape[axis]
        if isinstance(size, int) and (size % known or (-1 not in self.sizes and size != known)):
            raise ShapeError(f"{self.title}: axis {axis} of {x.type} does not split into {self.sizes}{at()}")
        return tuple(size // known if n == -1 else n for n in self.sizes)
