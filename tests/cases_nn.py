"""Losses of `gc.nn`, against formulas written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

import graphc as gc
from graphc.graph.types import Array
from tests.cases import Case

nn = gc.nn
INF = float("inf")


def reduced(losses: Any, reduction: str, dtype: Any) -> Array:
    total = losses if reduction == "none" else np.sum(losses)
    return np.asarray(total / np.size(losses) if reduction == "mean" else total, dtype)


# -- classification


def cross_entropy(
    logits: Array,
    labels: Array,
    weight: Array | None = None,
    *,
    ignore: int | None = None,
    smoothing: float = 0.0,
    reduction: str = "mean",
    axis: int = -1,
    log_probs: bool = False,
) -> Array:
    """Row by row, in float64."""
    scores = np.moveaxis(logits.astype("float64"), axis, -1)
    scores = scores if log_probs else scipy.special.log_softmax(scores, axis=-1)
    count = scores.shape[-1]
    factors = np.ones(count) if weight is None else weight.astype("float64")
    target = np.moveaxis(labels, axis, -1) if labels.dtype.kind == "f" else np.eye(count)[np.minimum(labels, count - 1)]
    target = (1 - smoothing) * target + smoothing / count
    losses = -np.sum(target * factors * scores, -1)
    if labels.dtype.kind != "f":
        kept = np.ones(labels.shape) if ignore is None else labels != ignore
        losses, shares = losses * kept, kept * factors[np.minimum(labels, count - 1)]
        if reduction == "mean":
            return np.asarray(np.sum(losses) / np.sum(shares) if np.sum(shares) else 0, logits.dtype)
    return reduced(losses, reduction, logits.dtype)


def classes(
    name: str, shape: tuple[int, ...], dtype: str = "int64", scale: float = 2.0, weighted: bool = False, **options: Any
) -> Case:
    """Make a case of logits of `shape` (classes on `axis`) and labels of `dtype`."""
    axis = options.get("axis", -1)
    given = {{"ignore": "ignore_index", "smoothing": "label_smoothing"}.get(k, k): v for k, v in options.items()}

    def make(rng: np.random.Generator) -> tuple[Array, ...]:
        count, rest = shape[axis], [s for a, s in enumerate(shape) if a != axis % len(shape)]
        logits = scale * rng.standard_normal(shape)
        if dtype == "float64":
            labels = rng.dirichlet(np.ones(count), rest)
            labels = np.moveaxis(np.where(labels < 0.2, 0, labels), -1, axis)
        else:
            labels = rng.integers(0, count, rest, dtype=dtype)
        return (logits, labels, rng.uniform(0.5, 2, count)) if weighted else (logits, labels)

    def build(logits: Any, labels: Any, weight: Any = None) -> Any:
        return nn.cross_entropy(logits, labels, weight=weight, **given)

    return Case(f"cross_entropy-{name}", build, lambda *a: cross_entropy(*a, **options), make=make)


def nll(logits: Array, labels: Array, weight: Array | None = None, **options: Any) -> Array:
    return cross_entropy(logits, labels, weight, log_probs=True, **options)


def labelled(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.uniform(-3, 0, (4, 3)), rng.integers(0, 3, 4), rng.uniform(0.5, 2, 3)


CLASSIFICATION = [
    classes("rows", (5, 4)),
    classes("0d", (3,), "int8"),
    classes("3d", (2, 3, 4), "uint8"),
    classes("one", (1, 1)),
    classes("axis", (2, 3, 4), "int32", axis=1, reduction="none"),
    classes("weight", (4, 3), weighted=True, reduction="sum"),
    classes("ignore", (6, 3), ignore=1),
    classes("all", (6, 3), weighted=True, ignore=2, smoothing=0.1),
    classes("probs", (4, 3), "float64"),
    classes("probs-all", (2, 3, 2), "float64", weighted=True, smoothing=0.1, axis=1, reduction="sum"),
    Case(
        "nll_loss",
        lambda x, y, w: nn.nll_loss(x, y, weight=w, ignore_index=1),
        lambda x, y, w: nll(x, y, w, ignore=1),
        make=labelled,
    ),
]


# -- pairs


def huber(d: Array, delta: float) -> Array:
    return np.asarray(np.where(np.abs(d) <= delta, 0.5 * d * d, delta * (np.abs(d) - 0.5 * delta)))


def bce_logits(x: Array, y: Array, weight: Any = 1.0, positive: Any = 1.0) -> Array:
    losses = y * positive * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)
    return reduced(losses * weight, "mean", x.dtype)


def bce(p: Array, y: Array, weight: Any = 1.0) -> Array:
    return reduced(-(scipy.special.xlogy(y, p) + scipy.special.xlog1py(1 - y, -p)) * weight, "mean", p.dtype)


def kl(q: Array, p: Array, reduction: str = "mean") -> Array:
    losses = scipy.special.xlogy(p, p) - p * q
    return (
        reduced(np.sum(losses) / len(q), "sum", q.dtype)
        if reduction == "batchmean"
        else reduced(losses, reduction, q.dtype)
    )


def gaussian(x: Array, y: Array, var: Array) -> Array:
    return reduced(0.5 * (np.log(var) + (x - y) ** 2 / var) + 0.5 * np.log(2 * np.pi), "mean", x.dtype)


def poisson(x: Array, y: Array) -> Array:
    stirling = y * np.log(y) - y + 0.5 * np.log(2 * np.pi * y)
    return reduced(np.exp(x) - y * x + np.where(y > 1, stirling, 0), "mean", x.dtype)


def cosine(x: Array, y: Array) -> Array:
    norms = np.sqrt(np.sum(x * x, -1) * np.sum(y * y, -1))
    return np.asarray(np.sum(x * y, -1) / np.maximum(norms, 1e-30))


def signs(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.uniform(-2, 2, (3, 4)), rng.choice([-1.0, 1.0], (3, 4))


def signed_rows(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.uniform(-2, 2, (4, 3)), rng.uniform(-2, 2, (4, 3)), np.array([1.0, -1.0, 1.0, -1.0])


PAIR = ((2, 3), (2, 3))
TRIPLE = (*PAIR, (2, 3))


def pair(name: str, function: Callable[..., Any], numpy: Callable[..., Any], **options: Any) -> Case:
    shapes = options.pop("shapes", PAIR)
    return Case(name, function, numpy, shapes, **options)


PAIRS = [
    pair("mse_loss", nn.mse_loss, lambda x, y: reduced((x - y) ** 2, "mean", x.dtype)),
    pair("l1_loss-scalar", lambda x: nn.l1_loss(x, 0.5, reduction="none"), lambda x: np.abs(x - 0.5), shapes=PAIR[:1]),
    pair(
        "huber_loss",
        lambda x, y: nn.huber_loss(x, y, delta=0.7),
        lambda x, y: reduced(huber(x - y, 0.7), "mean", x.dtype),
    ),
    pair(
        "smooth_l1_loss",
        lambda x, y: nn.smooth_l1_loss(x, y, beta=0.7),
        lambda x, y: reduced(huber(x - y, 0.7) / 0.7, "mean", x.dtype),
    ),
    pair(
        "smooth_l1_loss-0",
        lambda x, y: nn.smooth_l1_loss(x, y, beta=0),
        lambda x, y: reduced(np.abs(x - y), "mean", x.dtype),
    ),
    pair(
        "bce_logits-weights",
        lambda x, y, w, p: nn.binary_cross_entropy_with_logits(x, y, weight=w, pos_weight=p),
        bce_logits,
        low=0.1,
        high=0.9,
        shapes=(*PAIR, (2, 1), (3,)),
    ),
    pair("bce-weight", lambda x, y, w: nn.binary_cross_entropy(x, y, weight=w), bce, low=0.1, high=0.9, shapes=TRIPLE),
    pair("kl_div", nn.kl_div, kl, low=0.1, high=0.9),
    pair(
        "kl_div-log",
        lambda q, p: nn.kl_div(q, p, log_target=True, reduction="batchmean"),
        lambda q, p: kl(q, np.exp(p), "batchmean"),
    ),
    pair(
        "gaussian_nll_loss",
        lambda *a: nn.gaussian_nll_loss(*a, full=True),
        gaussian,
        low=0.2,
        high=2,
        shapes=(*PAIR, (2, 1)),
    ),
    pair("poisson_nll_loss", lambda x, y: nn.poisson_nll_loss(x, y, full=True), poisson, low=0.3, high=2),
    pair(
        "poisson_nll_loss-rate",
        lambda x, y: nn.poisson_nll_loss(x, y, log_input=False),
        lambda x, y: reduced(x - y * np.log(x + 1e-8), "mean", x.dtype),
        low=0.3,
        high=2,
    ),
    Case("hinge_loss", nn.hinge_loss, lambda x, y: reduced(np.maximum(1 - x * y, 0), "mean", x.dtype), make=signs),
    Case(
        "margin_ranking_loss",
        lambda x, y: nn.margin_ranking_loss(x, 0.5, y, margin=0.3),
        lambda x, y: reduced(np.maximum(0.3 - y * (x - 0.5), 0), "mean", x.dtype),
        make=signs,
    ),
    pair("cosine_similarity", nn.cosine_similarity, cosine, shapes=((3, 4), (3, 4))),
    Case(
        "cosine_embedding_loss",
        lambda x, y, t: nn.cosine_embedding_loss(x, y, t, margin=0.1),
        lambda x, y, t: reduced(np.where(t > 0, 1 - cosine(x, y), np.maximum(cosine(x, y) - 0.1, 0)), "mean", x.dtype),
        make=signed_rows,
    ),
]

CASES: list[Case] = [*CLASSIFICATION, *PAIRS]
