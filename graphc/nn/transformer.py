"""Attention and transformer encoders as layers, with PyTorch's parameter names.

Arrays are (..., length, width): batch axes come first. Masks are True where attention is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.graph.arguments import MANY, checked, whole
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.types import Size, as_dtype
from graphc.nn.activations import gelu, relu
from graphc.nn.attention import scaled_dot_product_attention
from graphc.nn.init import Rng, as_generator, glorot_uniform, zeros
from graphc.nn.layers import Dropout, Linear
from graphc.nn.module import Module
from graphc.nn.norm_layers import LayerNorm
from graphc.nn.parts import draw_generator, new_parameter, operands, positive, probability, require_last
from graphc.ops.creation import arange
from graphc.ops.elementwise import cos, exp, sin
from graphc.ops.linalg import matmul
from graphc.ops.manipulation import matrix_transpose, moveaxis, reshape, stack
from graphc.ops.pointwise import as_node, cast
from graphc.ops.shape import insert_axes, slice_axis

__all__ = [
    "MultiHeadAttention",
    "PositionalEncoding",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "positional_encoding",
]


class MultiHeadAttention(Module):
    """Attention of `num_heads` heads between (..., length, embed_dim) arrays, projected in and out.

    `attention(x)` is self-attention, with one product for queries, keys and values; `attention(query, key, value)`
    attends to other sequences, of widths `kdim` and `vdim`. Parameters: `in_proj_weight` (3 embed_dim, embed_dim) and
    `in_proj_bias`, or `q_proj_weight`, `k_proj_weight` and `v_proj_weight` where widths differ; `out_proj`. `dropout`
    drops attention weights in training. Source: Vaswani et al., Attention is all you need, 2017.

    >>> import graphc as gc
    >>> MultiHeadAttention(8, num_heads=2)(gc.zeros((5, 10, 8), dtype="float32"), is_causal=True).shape
    (5, 10, 8)
    """

    @checked
    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        self.embed_dim, self.num_heads, self.p = embed_dim, num_heads, probability(self, "dropout", dropout)
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.shown = f"{embed_dim}, {num_heads}"
        positive(self, embed_dim=embed_dim, num_heads=num_heads, kdim=self.kdim, vdim=self.vdim)
        if embed_dim % num_heads:
            raise ArgumentError(f"MultiHeadAttention: embed_dim {embed_dim} does not make {num_heads} heads{at()}")
        source = as_generator(rng)
        self.joint = self.kdim == self.vdim == embed_dim
        widths = {"in_proj_weight": (3 * embed_dim, embed_dim)}
        if not self.joint:
            named = {"q_proj_weight": embed_dim, "k_proj_weight": self.kdim, "v_proj_weight": self.vdim}
            widths = {name: (embed_dim, width) for name, width in named.items()}
        for name, shape in widths.items():
            vars(self)[name] = new_parameter(self, name, shape, glorot_uniform, source, dtype)
        biases = (3 * embed_dim,)
        self.in_proj_bias = new_parameter(self, "in_proj_bias", biases, zeros, source, dtype) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, bias_init=zeros, rng=source, dtype=dtype)
        self.rng = draw_generator(source) if dropout else None

    @checked
    def forward(
        self, query: Any, key: Any = None, value: Any = None, mask: Any = None, *, is_causal: bool = False
    ) -> Node:
        """Return an array of the shape of `query`.

        `key` is `query` and `value` is `key` where they are missing. `mask`: bool, True where attention is allowed, or
        a float to add, for all heads alike; it broadcasts to (..., query length, key length), so that keys of a padded
        batch are masked by `present[:, None, :]`. `is_causal`: no position attends to later ones.
        """
        q, k, v = self._projected(query, key, value)
        shared_by_heads = None if mask is None else _before_heads(as_node(mask))
        out = scaled_dot_product_attention(
            self._heads(q),
            self._heads(k),
            self._heads(v),
            shared_by_heads,
            is_causal=is_causal,
            dropout_p=self.p if self.training else 0.0,
            rng=self.rng,
        )
        out = reshape(moveaxis(out, -3, -2), q.shape)
        projected: Node = self.out_proj(out)
        return projected

    def _projected(self, query: Any, key: Any, value: Any) -> list[Node]:
        """Return queries, keys and values of width embed_dim."""
        own = key is None and value is None
        key = query if key is None else key
        value = key if value is None else value
        if own and self.joint:
            return self._self_projected(query)
        names = ["in_proj_weight"] if self.joint else ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
        weights = [vars(self)[name] for name in names]
        found = operands(self, query, key, value, *weights, self.in_proj_bias)
        inputs, parameters = found[:3], found[3:]
        for what, node, width in zip(
            ("query", "key", "value"), inputs, (self.embed_dim, self.kdim, self.vdim), strict=True
        ):
            _require_sequence(self, node, width, what)
        parts = self._thirds(parameters[0], 0) if self.joint else parameters[:3]
        products = [matmul(x, matrix_transpose(w)) for x, w in zip(inputs, parts, strict=True)]
        if self.in_proj_bias is None:
            return products
        return [x + b for x, b in zip(products, self._thirds(parameters[-1], 0), strict=True)]

    def _self_projected(self, x: Any) -> list[Node]:
        node, weight, *bias = operands(self, x, vars(self)["in_proj_weight"], self.in_proj_bias)
        _require_sequence(self, node, self.embed_dim, "query")
        out = matmul(node, matrix_transpose(weight))
        return self._thirds(out + bias[0] if bias else out, node.ndim - 1)

    def _thirds(self, x: Node, axis: int) -> list[Node]:
        return [slice_axis(x, axis, i * self.embed_dim, self.embed_dim) for i in range(3)]

    def _heads(self, x: Node) -> Node:
        """Return (..., length, embed_dim) as (..., heads, length, width of a head)."""
        width = self.embed_dim // self.num_heads
        return moveaxis(reshape(x, (*x.shape[:-1], self.num_heads, width)), -2, -3)


def _require_sequence(module: Module, x: Node, width: int, what: str) -> None:
    if x.ndim < 2:
        raise ShapeError(f"{module.title}: {what} must have shape (..., length, {width}), got {x.type}{at()}")
    require_last(module, x, width, f"the last axis of {what}")


def _before_heads(mask: Node) -> Node:
    """Give a mask of (..., query length, key length) an axis for heads."""
    return insert_axes(mask, (mask.ndim - 2,)) if mask.ndim > 2 else mask


class TransformerEncoderLayer(Module):
    """Self-attention and a network of two layers, each with dropout, a residual and a `LayerNorm`.

    The norm comes after the residual, or with `norm_first` before attention and network. `activation`: "relu", "gelu"
    or a function. Parameters: `self_attn`, `linear1`, `linear2`, `norm1`, `norm2`. Source: Vaswani et al., 2017; Xiong
    et al., On layer normalization in the transformer architecture, 2020 (norm first).

    >>> import graphc as gc
    >>> layer = TransformerEncoderLayer(8, 2, dim_feedforward=16).eval()
    >>> layer(gc.zeros((5, 10, 8), dtype="float32")).shape
    (5, 10, 8)
    """

    @checked
    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Node] = "relu",
        layer_norm_eps: float = 1e-5,
        norm_first: bool = False,
        bias: bool = True,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        source, self.norm_first = as_generator(rng), norm_first
        self.activation = _activation(activation)
        self.self_attn = MultiHeadAttention(d_model, nhead, dropout, bias, rng=source, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, rng=source, dtype=dtype)
        self.dropout = Dropout(dropout, rng=source)
        self.linear2 = Linear(dim_feedforward, d_model, bias, rng=source, dtype=dtype)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout, rng=source)
        self.dropout2 = Dropout(dropout, rng=source)

    @checked
    def forward(self, x: Any, mask: Any = None, *, is_causal: bool = False) -> Node:
        """Return an array of the shape of `x`, (..., length, d_model); masks as in `MultiHeadAttention`."""
        out = as_node(x)
        if self.norm_first:
            out = out + self._attention(self.norm1(out), mask, is_causal)
            return out + self._network(self.norm2(out))
        out = self.norm1(out + self._attention(out, mask, is_causal))
        normed: Node = self.norm2(out + self._network(out))
        return normed

    def _attention(self, x: Node, mask: Any, is_causal: bool) -> Node:
        out: Node = self.dropout1(self.self_attn(x, mask=mask, is_causal=is_causal))
        return out

    def _network(self, x: Node) -> Node:
        out: Node = self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))
        return out


def _activation(activation: str | Callable[[Any], Node]) -> Callable[[Any], Node]:
    if callable(activation):
        return activation
    known = {"relu": relu, "gelu": gelu}
    if not isinstance(activation, str) or activation not in known:
        raise ArgumentError(
            f'TransformerEncoderLayer: activation must be "relu", "gelu" or a function, got {activation!r}{at()}'
        )
    return known[activation]


class TransformerEncoder(Module):
    """`num_layers` encoder layers one after the other, then `norm`, a module, where it is given.

    Settings by name are those of `TransformerEncoderLayer`; every layer draws first values of its own.
    """

    @checked
    def __init__(
        self,
        d_model: int,
        nhead: int,
        num_layers: int,
        *,
        norm: Module | None = None,
        rng: Rng = None,
        **settings: Any,
    ) -> None:
        whole(f"{type(self).__name__}: num_layers", num_layers, 1, MANY)
        source = as_generator(rng)
        self.layers = [TransformerEncoderLayer(d_model, nhead, **settings, rng=source) for _ in range(num_layers)]
        self.norm = norm

    @checked
    def forward(self, x: Any, mask: Any = None, *, is_causal: bool = False) -> Node:
        """Return an array of the shape of `x`, (..., length, d_model)."""
        out = as_node(x)
        for layer in self.layers:
            out = layer(out, mask, is_causal=is_causal)
        normed: Node = out if self.norm is None else self.norm(out)
        return normed


# -- positions


@checked
def positional_encoding(length: Size, d_model: int, *, dtype: Any = "float32") -> Node:
    """Return (length, d_model) of sines (even columns) and cosines (odd ones) whose wavelengths grow to 2 pi 10,000.

    `length` may be a dimension; `d_model` is even. Source: Vaswani et al., Attention is all you need, 2017.

    >>> positional_encoding(2, 2).eval()
    array([[0.        , 1.        ],
           [0.84147096, 0.5403023 ]], dtype=float32)
    """
    if isinstance(d_model, bool) or not isinstance(d_model, (int, np.integer)) or d_model < 1 or d_model % 2:
        raise ArgumentError(f"positional_encoding: d_model must be an even int, got {d_model!r}{at()}")
    positions = insert_axes(arange(length, dtype="float64"), (1,))
    rates = exp(arange(0, d_model, 2, dtype="float64") * (-math.log(10_000.0) / d_model))
    angles = positions * rates
    pairs = stack([sin(angles), cos(angles)], axis=2)
    return cast(reshape(pairs, (pairs.shape[0], int(d_model))), as_dtype(dtype))


class PositionalEncoding(Module):
    """Add `positional_encoding` to (..., length, d_model), then drop elements with probability `dropout`."""

    @checked
    def __init__(self, d_model: int, dropout: float = 0.0, *, rng: Rng = None) -> None:
        positive(self, d_model=d_model)
        self.d_model, self.shown = d_model, str(d_model)
        self.dropout = Dropout(dropout, rng=as_generator(rng)) if dropout else None

    def forward(self, x: Any) -> Node:
        """Return an array of the shape of `x`."""
        (node,) = operands(self, x)
        _require_sequence(self, node, self.d_model, "x")
        out = node + positional_encoding(node.shape[-2], self.d_model, dtype=node.dtype)
        dropped: Node = out if self.dropout is None else self.dropout(out)
        return dropped
