"""Normalisations, attention, embedding, against formulas written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.types import Array
from tests.cases import Case

nn = gc.nn


def average(x: Array, axes: Any, keepdims: bool = False) -> Array:
    total = np.sum(x, axes, keepdims=keepdims)
    return np.asarray(total / x.dtype.type(x.size / max(total.size, 1)))


def standard(x: Array, axes: Any, eps: float = 1e-5) -> Array:
    """Equal values give 0, without `eps` too."""
    distance = x - average(x, axes, keepdims=True)
    return np.asarray(distance / np.sqrt(average(distance**2, axes, keepdims=True) + (eps or 1e-300)))


def channels(parameter: Array, ndim: int) -> Array:
    return parameter.reshape(-1, *(1,) * (ndim - 2))


def instance_norm(x: Array, w: Array, b: Array) -> Array:
    if x.shape[2] == 1:
        raise ValueError("more than one value a channel is needed")
    out: Array = standard(x, 2) * channels(w, 3) + channels(b, 3)
    return out


def group_norm(x: Array, groups: int, w: Array, b: Array) -> Array:
    if x.shape[1] % groups:
        raise ValueError
    size = x[:1, : x.shape[1] // groups].size
    out = standard(x.reshape(len(x), groups, size), -1).reshape(x.shape)
    return np.asarray(out * channels(w, x.ndim) + channels(b, x.ndim))


def batch_norm(x: Array, m: Array, v: Array, w: Array, b: Array) -> Array:
    scaled = (x - channels(m, x.ndim)) / np.sqrt(channels(v, x.ndim) + 1e-5)
    return np.asarray(scaled * channels(w, x.ndim) + channels(b, x.ndim))


def statistics(x: Array, m: Array, v: Array) -> Array:
    mean, count = average(x, (0, 2)), len(x) * x.shape[2]
    variance = np.sum((x - mean[:, None]) ** 2, (0, 2)) / max(count - 1, 1) * (count / count if count else np.nan)
    return np.asarray(np.concatenate([0.7 * m + 0.3 * mean, 0.7 * v + 0.3 * variance]), x.dtype)


def response(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    padded = np.pad(x * x, ((0, 0), (size // 2, (size - 1) // 2), *((0, 0),) * (x.ndim - 2)))
    total = sum(padded[:, i : i + x.shape[1]] for i in range(size))
    return np.asarray(x / (k + alpha * total / size) ** beta)


def attention(
    q: Array, k: Array, v: Array, mask: Array | None = None, causal: bool = False, scale: float | None = None
) -> Array:
    scores = q @ np.swapaxes(k, -1, -2) * q.dtype.type(np.float64(q.shape[-1]) ** -0.5 if scale is None else scale)
    allowed = np.tri(*scores.shape[-2:]) > 0 if causal else np.ones(scores.shape[-2:], bool)
    if mask is not None and mask.dtype == bool:
        allowed = allowed & mask
    elif mask is not None:
        scores = scores + mask
    weights = np.where(allowed, np.exp(scores), 0)
    return np.asarray((weights / np.maximum(np.sum(weights, -1, keepdims=True), 1e-300)) @ v, q.dtype)


def table(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.integers(0, 4, (2, 3)), rng.standard_normal((4, 2))


def trained(x: Any, m: Any, v: Any, w: Any, b: Any) -> Any:
    return nn.batch_norm(x, m, v, w, b, training=True)[0]


def trained_statistics(x: Any, m: Any, v: Any) -> Any:
    return gc.concat(nn.batch_norm(x, m, v, training=True, momentum=0.3)[1:])


def case(
    name: str, build: Callable[..., Any], numpy: Callable[..., Any], *shapes: tuple[int, ...], **more: Any
) -> Case:
    return Case(name, build, numpy, shapes, **more)


NORMS = [
    case(
        "layer_norm-2d",
        lambda x, w, b: nn.layer_norm(x, w.shape, w, b),
        lambda x, w, b: standard(x, (-1, -2)) * w + b,
        *((3, 2, 2), (2, 2), (2, 2)),
    ),
    case("layer_norm-0", lambda x: nn.layer_norm(x, x.shape[-1], eps=0), lambda x: standard(x, -1, 0.0), (2, 3)),
    case(
        "rms_norm",
        lambda x, w: nn.rms_norm(x, w.shape[0], w, eps=1e-3),
        lambda x, w: x / np.sqrt(average(x * x, -1, keepdims=True) + 1e-3) * w,
        *((2, 4), (4,)),
    ),
    case(
        "group_norm",
        lambda x, w, b: nn.group_norm(x, 2, w, b),
        lambda x, w, b: group_norm(x, 2, w, b),
        (2, 4, 2),
        (4,),
        (4,),
    ),
    case(
        "instance_norm",
        nn.instance_norm,
        instance_norm,
        (2, 2, 3),
        (2,),
        (2,),
    ),
    case("batch_norm", lambda *a: nn.batch_norm(*a)[0], batch_norm, (2, 3, 2), (3,), (3,), (3,), (3,), low=0.3),
    case(
        "batch_norm-training",
        trained,
        lambda x, m, v, w, b: standard(x, (0, 2)) * channels(w, 3) + channels(b, 3),
        *((3, 2, 2), (2,), (2,), (2,), (2,)),
        differentiable=(0, 3, 4),
    ),
    case("batch_norm-statistics", trained_statistics, statistics, (3, 2, 2), (2,), (2,)),
    case(
        "local_response_norm",
        lambda x: nn.local_response_norm(x, 4, 0.5, 0.7, 1.5),
        lambda x: response(x, 4, 0.5, 0.7, 1.5),
        (2, 3),
    ),
    case("normalize", nn.normalize, lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True), (2, 3)),
    case(
        "normalize-3",
        lambda x: nn.normalize(x, 3.0),
        lambda x: x / np.linalg.norm(x, 3, axis=-1, keepdims=True),
        *((2, 3),),
        low=0.3,
    ),
    case(
        "normalize-inf",
        lambda x: nn.normalize(x, np.inf),
        lambda x: x / np.linalg.norm(x, np.inf, axis=-1, keepdims=True),
        *((2, 3),),
    ),
]

QKV = ((2, 3, 4), (2, 5, 4), (2, 5, 2))

LAYERS = [
    case(
        "attention-heads",
        lambda q, k, v: nn.scaled_dot_product_attention(q, k, v, scale=0.3),
        lambda q, k, v: attention(q, k, v, scale=0.3),
        *((2, 2, 3, 4), (2, 1, 2, 4), (2, 2)),
    ),
    case(
        "attention-causal",
        lambda q, k, v: nn.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda q, k, v: attention(q, k, v, causal=True),
        *((3, 2), (4, 2), (4, 2)),
    ),
    case("attention-added", nn.scaled_dot_product_attention, attention, *QKV, (3, 5)),
    case(
        "attention-bool",
        lambda q, k, v, m: nn.scaled_dot_product_attention(q, k, v, m, is_causal=True),
        lambda q, k, v, m: attention(q, k, v, m, True),
        *(*QKV, (2, 3, 5)),
        dtypes=("float64",) * 3 + ("bool",),
    ),
    Case("embedding", nn.embedding, lambda i, w: w[i], make=table),
]

CASES: list[Case] = [*NORMS, *LAYERS]
