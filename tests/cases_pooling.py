"""Pooling and interpolation, against loops over every window and every element."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.types import Array
from tests.cases import Case
from tests.cases_convolution import Ints, collected, last_axes, padded, pairs, per_axis, placed

SQUARE: tuple[Ints, ...] = ((2, 3, 5, 6),)


def reduced(
    x: Array,
    fn: Callable[[Array], Array],
    kernel: Ints,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    ceil_mode: bool = False,
    fill: float = 0,
) -> Array:
    """Apply `fn` to every window, elements along its last axis."""
    d = len(kernel)
    steps, spaced = per_axis(kernel if stride is None else stride, d), per_axis(dilation, d)
    if 0 in x.shape[x.ndim - d :]:
        raise ValueError("an empty axis")
    pads = pairs(padding, kernel, spaced)
    if ceil_mode:
        sizes = zip(x.shape[x.ndim - d :], pads, kernel, steps, strict=True)
        pads = [(a, b + more) for (a, b), more in zip(pads, [beyond(*s) for s in sizes], strict=True)]
    x = padded(x, pads, fill)
    lead = x.shape[: x.ndim - d]
    cut = placed(x.shape[x.ndim - d :], kernel, steps, spaced)
    return collected({i: fn(x[last_axes(s)].reshape(*lead, int(np.prod(kernel)))) for i, s in cut})


def beyond(size: int, pads: tuple[int, int], kernel: int, stride: int) -> int:
    """Return how far the last window that starts inside an axis (or before it) reaches beyond the padding."""
    total = size + sum(pads)
    starts = [s for s in range(0, size + pads[0], stride) if s < total - kernel + stride]
    return max(0, starts[-1] + kernel - total) if starts else 0


def max_pool(x: Array, kernel: Ints, stride: Any = None, padding: Any = 0, **more: Any) -> Array:
    lowest: float = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return reduced(x, lambda w: np.max(w, axis=-1), kernel, stride, padding, fill=lowest, **more)


def avg_pool(
    x: Array,
    kernel: Ints,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    d = len(kernel)
    pads, steps = pairs(padding, kernel, kernel), per_axis(kernel if stride is None else stride, d)
    sizes = zip(x.shape[x.ndim - d :], pads, kernel, steps, strict=True)
    tails = [(0, beyond(*s) if ceil_mode else 0) for s in sizes]
    counted = padded(padded(np.ones_like(x), pads, 1 if count_include_pad else 0), tails)
    value = padded(padded(x, pads), tails)
    total, number = (reduced(a, lambda w: np.sum(w, axis=-1), kernel, stride, 0) for a in (value, counted))
    if 0 in x.shape[x.ndim - d :]:
        raise ValueError("an empty axis")
    return np.asarray(total / number, x.dtype)


def lp_pool(x: Array, p: float, kernel: Ints, stride: Any = None, ceil_mode: bool = False) -> Array:
    norm = lambda w: np.asarray(np.linalg.norm(w, p, axis=-1), x.dtype)  # noqa: E731
    return reduced(x, norm, kernel, stride, 0, ceil_mode=ceil_mode)


def adaptive(x: Array, fn: Callable[..., Array], counts: Ints) -> Array:
    sizes = x.shape[x.ndim - len(counts) :]
    if 0 in sizes:
        raise ValueError("an empty axis")
    edges = [[(i * n // m, -(-(i + 1) * n // m)) for i in range(m)] for n, m in zip(sizes, counts, strict=True)]
    axes = tuple(range(-len(counts), 0))
    parts = [fn(x[last_axes(tuple(slice(*e) for e in piece))], axis=axes) for piece in itertools.product(*edges)]
    return np.stack(parts, axis=-1).reshape(*x.shape[: x.ndim - len(counts)], *counts)


def pool(id: str, name: str, oracle: Callable[..., Array], args: tuple[Any, ...], **more: Any) -> Case:
    kept = {k: more.pop(k) for k in ("dtypes", "special", "symbolic", "shapes") if k in more}
    shapes = kept.pop("shapes", SQUARE)
    fn = getattr(gc.nn, name)
    return Case(
        f"{name}-{id}", lambda x: fn(x, *args, **more), lambda x: oracle(x, *args, **more), shapes, rtol=1e-11, **kept
    )


SPECIAL = (0.0, -0.0, 1.0, np.inf, -np.inf, np.nan)
POOLS = [
    pool("plain", "max_pool2d", max_pool, ((2, 3),), special=SPECIAL),
    pool("overlap", "max_pool2d", max_pool, ((3, 2),), stride=(2, 1), padding=1, special=SPECIAL),
    pool("dilation", "max_pool2d", max_pool, ((2, 2),), stride=1, dilation=(2, 3)),
    pool("ceil", "max_pool2d", max_pool, ((2, 4),), ceil_mode=True, padding=((0, 1), (2, 0)), stride=(3, 4)),
    pool("ints", "max_pool2d", max_pool, ((2, 2),), padding=1, dtypes=("int32",)),
    pool("plain", "max_pool1d", max_pool, ((3,),), shapes=((2, 3, 7),)),
    pool("plain", "max_pool3d", max_pool, ((2, 1, 2),), stride=(1, 2, 2), shapes=((1, 2, 4, 3, 5),)),
    pool("large", "max_pool2d", max_pool, ((6, 7),), stride=1, shapes=((2, 7, 9),)),
    pool("plain", "avg_pool2d", avg_pool, ((2, 3),)),
    pool("padding", "avg_pool2d", avg_pool, ((3, 2),), stride=(2, 1), padding=1),
    pool("exclude", "avg_pool2d", avg_pool, ((3, 2),), stride=2, padding=(1, 0), count_include_pad=False),
    pool("ceil", "avg_pool2d", avg_pool, ((3, 4),), stride=(2, 3), padding=1, ceil_mode=True),
    pool("plain", "avg_pool1d", avg_pool, ((3,),), stride=1, shapes=((2, 7),)),
    pool("plain", "avg_pool3d", avg_pool, ((2, 1, 2),), shapes=((1, 2, 4, 3, 5),)),
    pool("2", "lp_pool2d", lp_pool, (2, (2, 3)), stride=(1, 2)),
    pool("1", "lp_pool2d", lp_pool, (1, (2, 3)), ceil_mode=True),
    pool("3", "lp_pool1d", lp_pool, (3.0, (3,)), shapes=((2, 3, 7),)),
    pool("infinite", "lp_pool1d", lp_pool, (math.inf, (2,)), shapes=((2, 3, 7),)),
    pool("plain", "lp_pool3d", lp_pool, (2, (2, 2, 1)), shapes=((1, 2, 4, 3, 5),)),
]

WHOLE = [
    Case("global_avg_pool", gc.nn.global_avg_pool, lambda x: adaptive(x, np.mean, (1, 1))[..., 0, 0], SQUARE),
    Case("global_max_pool", gc.nn.global_max_pool, lambda x: adaptive(x, np.max, (1, 1))[..., 0, 0], SQUARE),
    Case(
        "global_max_pool-keepdims",
        lambda x: gc.nn.global_max_pool(x, keepdims=True),
        lambda x: adaptive(x, np.max, (1,)),
        ((2, 3, 4),),
    ),
]

ADAPTIVE = [
    Case(
        f"adaptive_{kind}_pool{len(counts)}d-{'-'.join(map(str, counts))}",
        lambda x, kind=kind, counts=counts: getattr(gc.nn, f"adaptive_{kind}_pool{len(counts)}d")(x, counts),
        lambda x, kind=kind, counts=counts: adaptive(x, np.mean if kind == "avg" else np.max, counts),
        ((2, 3, *sizes),),
        rtol=1e-11,
        symbolic=all(n % m == 0 for n, m in zip(sizes, counts, strict=True)),
    )
    for kind in ("avg", "max")
    for sizes, counts in (((4, 6), (2, 3)), ((5, 6), (3, 4)), ((3,), (5,)), ((4, 2, 3), (2, 1, 3)))
]


# -- interpolation


def positions(old: int, new: int, scale: float | None, align: bool) -> list[float]:
    if align:
        return [i * (old - 1) / (new - 1) if new > 1 else 0.0 for i in range(new)]
    apart = old / new if scale is None else 1 / scale
    return [(i + 0.5) * apart - 0.5 for i in range(new)]


def keys(s: float) -> float:
    """The cubic convolution kernel with a = -0.75 (Keys, 1981)."""
    s = abs(s)
    if s <= 1:
        return 1.25 * s**3 - 2.25 * s**2 + 1
    return -0.75 * (s**3 - 5 * s**2 + 8 * s - 4) if s < 2 else 0.0


def weights(old: int, new: int, scale: float | None, mode: str, align: bool) -> Array:
    """Return the matrix that maps an axis of `old` elements to `new`."""
    out = np.zeros((new, old))
    if old == 0:
        raise ValueError("an empty axis")
    for i, place in enumerate(positions(old, new, scale, align)):
        if mode.startswith("nearest"):
            apart = old / new if scale is None else 1 / scale
            below = math.floor((i + 0.5 * (mode == "nearest-exact")) * apart + 1e-9)
            out[i, min(below, old - 1)] = 1
            continue
        place = place if mode == "bicubic" else min(max(place, 0.0), old - 1.0)
        first = math.floor(place)
        for j in range(first - 1, first + 3):
            share = keys(place - j) if mode == "bicubic" else max(0.0, 1 - abs(place - j))
            out[i, min(max(j, 0), old - 1)] += share
    return out


def interpolated(
    x: Array,
    size: Ints | None = None,
    scale_factor: float | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Array:
    sizes = size or tuple(int(n * (scale_factor or 1)) for n in x.shape[2:])
    if 0 in sizes:
        raise ValueError("nothing is left")
    for axis, new in enumerate(sizes, start=2):
        matrix = weights(x.shape[axis], new, scale_factor, mode, align_corners).astype(x.dtype)
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def resize(id: str, shape: Ints, **kwargs: Any) -> Case:
    symbolic = kwargs.pop("symbolic", True)
    return Case(
        f"interpolate-{id}",
        lambda x: gc.nn.interpolate(x, **kwargs),
        lambda x: interpolated(x, **kwargs),
        (shape,),
        rtol=1e-10,
        symbolic=symbolic,
    )


INTERPOLATION = [
    resize("nearest", (2, 3, 4, 5), size=(7, 3)),
    resize("nearest-twice", (2, 3, 4, 5), scale_factor=2),
    resize("nearest-exact", (2, 3, 7), size=(5,), mode="nearest-exact"),
    resize("linear-scale", (2, 3, 5), scale_factor=1.7, mode="linear", symbolic=False),
    *[
        resize(f"{mode}-by-{factor}", (2, 3, *(4, 5)[:axes]), scale_factor=factor, mode=mode, symbolic=False)
        for mode, axes in (("nearest", 2), ("nearest-exact", 1), ("linear", 1), ("bilinear", 2), ("bicubic", 2))
        for factor in (1.1, 1.24, 2.1, 0.999, 1.0)
    ],
    resize("by-1.1-aligned", (2, 3, 4), scale_factor=1.1, mode="linear", align_corners=True, symbolic=False),
    resize("bilinear", (2, 3, 4, 5), scale_factor=2, mode="bilinear"),
    resize("bilinear-aligned", (2, 3, 4, 5), size=(6, 3), mode="bilinear", align_corners=True),
    resize("trilinear", (1, 2, 4, 3, 5), size=(2, 6, 1), mode="trilinear"),
    resize("bicubic", (2, 3, 4, 5), size=(7, 3), mode="bicubic"),
    Case(
        "interpolate-area",
        lambda x: gc.nn.interpolate(x, size=(3, 2), mode="area"),
        lambda x: adaptive(x, np.mean, (3, 2)),
        ((2, 3, 5, 4),),
        symbolic=False,
    ),
    Case(
        "interpolate-in-a-program",
        lambda x: gc.sum(gc.nn.interpolate(x, scale_factor=2, mode="bilinear") ** 2, (2, 3)),
        lambda x: np.sum(interpolated(x, scale_factor=2, mode="bilinear") ** 2, (2, 3)),
        ((2, 3, 4, 5),),
        rtol=1e-10,
    ),
]

CASES: list[Case] = [*POOLS, *WHOLE, *ADAPTIVE, *INTERPOLATION]
