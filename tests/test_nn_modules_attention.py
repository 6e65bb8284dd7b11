"""Attention, encoder layers and positions against formulas in NumPy; masks, other widths, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array
from graphc.ops.linalg import MatMul

nn = gc.nn
RNG = np.random.default_rng(21)
BATCH, LENGTH, WIDTH, HEADS = 2, 5, 6, 3


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def numpy_attention(
    p: dict[str, Array], q: Array, k: Array, v: Array, allowed: Any = True, added: Any = 0.0, width: int = WIDTH
) -> Array:
    """Heads one after the other; `allowed` and `added` broadcast to (batch, queries, keys)."""
    if "in_proj_weight" in p:
        weights = np.split(p["in_proj_weight"], 3)
    else:
        weights = [p["q_proj_weight"], p["k_proj_weight"], p["v_proj_weight"]]
    biases = np.split(p.get("in_proj_bias", np.zeros(3 * width)), 3)
    q, k, v = (x @ w.T + b for x, w, b in zip((q, k, v), weights, biases, strict=True))
    size = width // HEADS
    parts = []
    for head in range(HEADS):
        s = slice(head * size, (head + 1) * size)
        scores = q[..., s] @ np.swapaxes(k[..., s], -1, -2) / np.sqrt(size) + added
        parts.append(softmax(np.where(allowed, scores, -1e300)) @ v[..., s])
    return np.asarray(np.concatenate(parts, -1) @ p["out_proj.weight"].T + p.get("out_proj.bias", 0))


def close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


def sequences(*widths: int) -> list[Array]:
    lengths = [LENGTH, LENGTH + 2, LENGTH + 2]
    return [RNG.normal(size=(BATCH, n, w)) for n, w in zip(lengths, widths, strict=False)]


@pytest.mark.parametrize("bias", [True, False])
def test_attention(bias: bool) -> None:
    layer = nn.MultiHeadAttention(WIDTH, HEADS, bias=bias, dtype="float64")
    for value in layer.parameters().values():
        value.set_value(RNG.normal(size=value.shape))
    p = layer.state_dict()
    x, k, v = sequences(WIDTH, WIDTH, WIDTH)
    close(layer(x).eval(), numpy_attention(p, x, x, x))
    close(layer(x, k).eval(), numpy_attention(p, x, k, k))
    close(layer(x, k, v).eval(), numpy_attention(p, x, k, v))
    close(layer(x[0]).eval(), numpy_attention(p, x[0], x[0], x[0]))


def test_other_widths() -> None:
    layer = nn.MultiHeadAttention(WIDTH, HEADS, kdim=4, vdim=7, dtype="float64")
    q, k, v = sequences(WIDTH, 4, 7)
    close(layer(q, k, v).eval(), numpy_attention(layer.state_dict(), q, k, v))
    assert list(layer.parameters())[:3] == ["q_proj_weight", "k_proj_weight", "v_proj_weight"]


def test_masks() -> None:
    layer = nn.MultiHeadAttention(WIDTH, HEADS, dtype="float64")
    p, (x,) = layer.state_dict(), sequences(WIDTH)
    causal = np.tril(np.ones((LENGTH, LENGTH), bool))
    some = causal | (RNG.random((LENGTH, LENGTH)) < 0.5)
    present = np.arange(LENGTH) < np.array([[LENGTH], [2]])
    close(layer(x, is_causal=True).eval(), numpy_attention(p, x, x, x, causal))
    close(layer(x, mask=some).eval(), numpy_attention(p, x, x, x, some))
    close(layer(x, mask=present[:, None, :]).eval(), numpy_attention(p, x, x, x, present[:, None, :]))
    close(layer(x, mask=some, is_causal=True).eval(), numpy_attention(p, x, x, x, causal))
    added = RNG.normal(size=(BATCH, LENGTH, LENGTH))
    close(layer(x, mask=added).eval(), numpy_attention(p, x, x, x, True, added))


def test_self_attention_projects_once() -> None:
    layer = nn.MultiHeadAttention(WIDTH, HEADS)
    x = gc.placeholder("x", shape=("batch", "length", WIDTH), dtype="float32")
    products = [n for n in gc.Graph([layer(x)]).nodes if isinstance(n.op, MatMul)]
    assert len(products) == 4  # in, scores, values, out


def test_attention_weights_are_dropped_in_training() -> None:
    layer = nn.MultiHeadAttention(WIDTH, HEADS, dropout=0.5, rng=0)
    (x,) = sequences(WIDTH)
    f = gc.function([], layer(x), mode="reference")
    assert not np.array_equal(f(), f())
    close(layer.eval()(x).eval(), numpy_attention(layer.state_dict(), x, x, x))


def normed(x: Array, p: dict[str, Array], name: str) -> Array:
    out = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return np.asarray(out * p[f"{name}.weight"] + p[f"{name}.bias"])


def numpy_layer(p: dict[str, Array], x: Array, norm_first: bool) -> Array:
    inside = {n.removeprefix("self_attn."): a for n, a in p.items() if n.startswith("self_attn.")}

    def network(h: Array) -> Array:
        h = np.maximum(0, h @ p["linear1.weight"].T + p["linear1.bias"])
        return np.asarray(h @ p["linear2.weight"].T + p["linear2.bias"])

    if norm_first:
        h = normed(x, p, "norm1")
        x = x + numpy_attention(inside, h, h, h)
        return x + network(normed(x, p, "norm2"))
    x = normed(x + numpy_attention(inside, x, x, x), p, "norm1")
    return normed(x + network(x), p, "norm2")


@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_layer(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 8, norm_first=norm_first, dtype="float64").eval()
    for value in layer.parameters().values():
        value.set_value(RNG.normal(size=value.shape))
    (x,) = sequences(WIDTH)
    close(layer(x).eval(), numpy_layer(layer.state_dict(), x, norm_first))
    names = {n.rpartition(".")[0] for n in layer.parameters()}
    assert names == {"self_attn", "self_attn.out_proj", "linear1", "linear2", "norm1", "norm2"}


def test_encoder_is_its_layers() -> None:
    model = nn.TransformerEncoder(WIDTH, HEADS, 2, dim_feedforward=8, norm=nn.LayerNorm(WIDTH), dtype="float64").eval()
    (x,) = sequences(WIDTH)
    p = model.state_dict()
    out = x
    for k in range(2):
        mine = {n.removeprefix(f"layers.{k}."): a for n, a in p.items() if n.startswith(f"layers.{k}.")}
        out = numpy_layer(mine, out, norm_first=False)
    close(model(x).eval(), normed(out, p, "norm"))
    assert not np.array_equal(p["layers.0.linear1.weight"], p["layers.1.linear1.weight"])


@pytest.mark.parametrize("activation", ["gelu", gc.tanh])
def test_activations_of_the_network(activation: Any) -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 8, activation=activation, dropout=0.0)
    (x,) = sequences(WIDTH)
    function = nn.gelu if activation == "gelu" else activation
    h = gc.constant(x)
    wanted = layer.norm1(h + layer.self_attn(h))
    wanted = layer.norm2(wanted + layer.linear2(function(layer.linear1(wanted))))
    np.testing.assert_array_equal(layer(x).eval(), wanted.eval())


def test_masks_and_causality_reach_the_layers() -> None:
    model = nn.TransformerEncoder(WIDTH, HEADS, 2, dim_feedforward=8).eval()
    (x,) = sequences(WIDTH)
    changed = x.copy()
    changed[:, -1] += 1
    for settings in ({"is_causal": True}, {"mask": np.tril(np.ones((LENGTH, LENGTH), bool))}):
        a, b = model(x, **settings).eval(), model(changed, **settings).eval()
        np.testing.assert_array_equal(a[:, :-1], b[:, :-1])
        assert not np.array_equal(a[:, -1], b[:, -1])


def test_positional_encoding() -> None:
    found = nn.positional_encoding(7, 6, dtype="float64").eval()
    for position in range(7):
        for i in range(3):
            angle = position / 10_000 ** (2 * i / 6)
            close(found[position, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)])
    x = gc.placeholder("x", shape=("batch", "length", 6))
    y = nn.PositionalEncoding(6)(x)
    array = RNG.normal(size=(2, 7, 6))
    close(y.eval({x: array}), array + found)
    assert list(nn.PositionalEncoding(6, 0.1).generators()) == ["dropout.rng"]


F = gc.placeholder("f", shape=("batch", "length", 8), dtype="float32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.MultiHeadAttention(6, 4), "MultiHeadAttention: embed_dim 6 does not make 4 heads"),
        (
            lambda: nn.MultiHeadAttention(6, 3)(F),
            r"MultiHeadAttention\(6, 3\): the last axis of query must be 6",
        ),
        (lambda: nn.MultiHeadAttention(8, 2, vdim=3)(F, F, F), r"the last axis of value must be 3, got f32\[batch,len"),
        (lambda: nn.MultiHeadAttention(8, 2)(F[0, 0]), r"query must have shape \(..., length, 8\), got f32\[8\]"),
        (lambda: nn.TransformerEncoderLayer(8, 2, activation="sin"), 'activation must be "relu", "gelu" or a function'),
        (lambda: nn.positional_encoding(3, 5), "positional_encoding: d_model must be an even int, got 5"),
        (lambda: nn.PositionalEncoding(6)(F), r"PositionalEncoding\(6\): the last axis of x must be 6"),
    ],
)
def test_refusals(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(gc.GraphcError, match=message + r".*\[test_nn_modules_attention.py:\d+\]$"):
        make()
