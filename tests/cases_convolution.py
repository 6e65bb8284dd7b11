"""Convolutions, transposed convolutions, unfold and fold, against loops over every element."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.types import Array
from tests.cases import Case

Ints = tuple[int, ...]


def per_axis(value: Any, d: int) -> Ints:
    return tuple(value) if isinstance(value, tuple) else (value,) * d


def pairs(padding: Any, kernel: Ints, dilation: Ints) -> list[tuple[int, int]]:
    if padding == "same":
        spans = [(k - 1) * s for k, s in zip(kernel, dilation, strict=True)]
        return [(s // 2, s - s // 2) for s in spans]
    if isinstance(padding, tuple) and isinstance(padding[0], tuple):
        return list(padding)
    return [(p, p) for p in per_axis(padding, len(kernel))]


def padded(x: Array, pads: list[tuple[int, int]], fill: float = 0) -> Array:
    return np.pad(x, [(0, 0)] * (x.ndim - len(pads)) + pads, constant_values=fill)


def cropped(x: Array, pads: list[tuple[int, int]]) -> Array:
    sizes = x.shape[x.ndim - len(pads) :]
    out: Array = x[last_axes(tuple(slice(a, n - b) for n, (a, b) in zip(sizes, pads, strict=True)))]
    return out


def placed(size: Ints, kernel: Ints, stride: Ints, dilation: Ints) -> Iterator[tuple[Ints, tuple[slice, ...]]]:
    """Yield the number of each window and the slices that cut it out; refuse windows that do not fit."""
    spans = [(k - 1) * s + 1 for k, s in zip(kernel, dilation, strict=True)]
    if min(kernel) < 1 or any(span > n for span, n in zip(spans, size, strict=True)):
        raise ValueError("no window fits")
    counts = [(n - span) // s + 1 for n, span, s in zip(size, spans, stride, strict=True)]
    for i in np.ndindex(*counts):
        starts = [a * s for a, s in zip(i, stride, strict=True)]
        yield i, tuple(slice(a, a + span, s) for a, span, s in zip(starts, spans, dilation, strict=True))


def last_axes(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the key that applies an index to the last axes."""
    return (..., *index)


def collected(values: dict[Ints, Array]) -> Array:
    """Stack values by window number, which become the last axes."""
    counts = [n + 1 for n in max(values)]
    flat = np.stack([values[i] for i in np.ndindex(*counts)], axis=-1)
    out: Array = flat.reshape(*flat.shape[:-1], *counts)
    return out


def convolve(
    x: Array, w: Array, bias: Any = 0, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Array:
    d = w.ndim - 2
    if x.ndim == d + 1:
        single: Array = convolve(x[None], w, bias, stride, padding, dilation, groups)[0]
        return single
    if x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise ValueError("channels differ")
    spaced = per_axis(dilation, d)
    x = padded(x, pairs(padding, w.shape[2:], spaced))
    parts = zip(np.split(x, groups, axis=1), np.split(w, groups, axis=0), strict=True)
    out = []
    for xs, ws in parts:
        cut = placed(xs.shape[2:], ws.shape[2:], per_axis(stride, d), spaced)
        axes = list(range(1, d + 2))
        out.append(collected({i: np.tensordot(xs[last_axes(s)], ws, (axes, axes)) for i, s in cut}))
    moved: Array = np.concatenate(out, axis=1) + np.reshape(bias, (-1, *[1] * d)).astype(x.dtype)
    return moved


def transposed(
    x: Array,
    w: Array,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Array:
    d, each = w.ndim - 2, w.shape[1]
    steps, spaced, extra = (per_axis(v, d) for v in (stride, dilation, output_padding))
    kernel, spatial = w.shape[2:], x.shape[2:]
    if x.shape[1] != w.shape[0] or w.shape[0] % groups or 0 in kernel or 0 in spatial:
        raise ValueError("channels differ, or an axis is empty")
    rows = zip(spatial, steps, kernel, spaced, extra, strict=True)
    full = [(n - 1) * s + (k - 1) * gap + 1 + more for n, s, k, gap, more in rows]
    out = np.zeros((x.shape[0], each * groups, *full), x.dtype)
    size = w.shape[0] // groups
    for c in range(w.shape[0]):
        outputs = slice(c // size * each, c // size * each + each)
        for i, k in itertools.product(np.ndindex(*spatial), np.ndindex(*kernel)):
            place = tuple(a * s + b * gap for a, s, b, gap in zip(i, steps, k, spaced, strict=True))
            out[(slice(None), outputs, *place)] += x[(slice(None), c, *i)][:, None] * w[(c, slice(None), *k)]
    pads = pairs(padding, kernel, spaced)
    if any(n - a - b < 1 for n, (a, b) in zip(full, pads, strict=True)):
        raise ValueError("nothing is left")
    return cropped(out, pads)


def unfolded(x: Array, kernel: Ints, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Array:
    d = len(kernel)
    spaced = per_axis(dilation, d)
    x = padded(x, pairs(padding, kernel, spaced))
    cut = placed(x.shape[2:], kernel, per_axis(stride, d), spaced)
    columns = collected({i: x[last_axes(s)].reshape(len(x), x.shape[1] * int(np.prod(kernel))) for i, s in cut})
    return columns.reshape(*columns.shape[:2], int(np.prod(columns.shape[2:])))


def folded(columns: Array, output: Ints, kernel: Ints, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Array:
    d = len(kernel)
    pads = pairs(padding, kernel, per_axis(dilation, d))
    channels, rest = divmod(columns.shape[1], int(np.prod(kernel)))
    out = padded(np.zeros((len(columns), channels, *output), columns.dtype), pads)
    cut = list(placed(out.shape[2:], kernel, per_axis(stride, d), per_axis(dilation, d)))
    if rest or len(cut) != columns.shape[2]:
        raise ValueError("columns do not fit")
    for j, (_, s) in enumerate(cut):
        out[last_axes(s)] += columns[:, :, j].reshape(len(out), channels, *kernel)
    return cropped(out, pads)


def case(id: str, name: str, oracle: Callable[..., Array], shapes: tuple[Ints, ...], **kwargs: Any) -> Case:
    more = {key: kwargs.pop(key) for key in ("dtypes", "differentiable") if key in kwargs}
    fn = getattr(gc.nn, name)
    return Case(
        f"{name}-{id}", lambda *a: fn(*a, **kwargs), lambda *a: oracle(*a, **kwargs), shapes, rtol=1e-11, **more
    )


CONVOLUTIONS = [
    case("plain", "conv2d", convolve, ((7, 3, 6, 5), (4, 3, 2, 2))),
    case("bias-padding", "conv2d", convolve, ((2, 3, 5, 4), (6, 3, 3, 2), (6,)), padding=(1, 2)),
    case("stride", "conv2d", convolve, ((2, 1, 7, 6), (3, 1, 4, 2)), stride=(2, 3), padding=((1, 0), (0, 2))),
    case("dilation", "conv2d", convolve, ((2, 3, 7, 6), (1, 3, 4, 2)), dilation=(2, 3)),
    case("same", "conv2d", convolve, ((2, 1, 5, 6), (3, 1, 4, 3)), padding="same", dilation=(1, 2)),
    case("pointwise", "conv2d", convolve, ((2, 3, 4, 5), (6, 3, 1, 1), (6,))),
    case("groups", "conv2d", convolve, ((3, 4, 5, 6), (8, 2, 2, 3)), groups=2, stride=2),
    case("depthwise", "conv2d", convolve, ((2, 3, 5, 4), (6, 1, 3, 2), (6,)), groups=3, padding=1),
    case("no-batch", "conv2d", convolve, ((3, 5, 6), (4, 3, 2, 2))),
    case("ints", "conv2d", convolve, ((2, 3, 5, 4), (6, 3, 2, 2)), dtypes=("int32", "int64")),
    case("plain", "conv1d", convolve, ((2, 3, 7), (4, 3, 5), (4,)), padding=1, stride=2),
    case("groups", "conv1d", convolve, ((5, 4, 7), (2, 2, 3)), groups=2, dilation=2, padding="same"),
    case("plain", "conv3d", convolve, ((2, 1, 4, 3, 5), (3, 1, 2, 3, 2)), stride=(2, 1, 1), padding=(0, 1, 0)),
]

TRANSPOSED = [
    case("plain", "conv_transpose2d", transposed, ((2, 3, 4, 5), (3, 1, 2, 3))),
    case(
        "stride",
        "conv_transpose2d",
        transposed,
        ((2, 3, 4, 5), (3, 4, 3, 2)),
        stride=(2, 3),
        padding=1,
        output_padding=1,
    ),
    case("groups", "conv_transpose2d", transposed, ((2, 4, 3, 5), (4, 3, 2, 2)), groups=2, dilation=(2, 1)),
    case("plain", "conv_transpose1d", transposed, ((2, 3, 5), (3, 1, 4)), stride=2, dilation=2, output_padding=1),
    case("plain", "conv_transpose3d", transposed, ((1, 2, 3, 1, 4), (2, 1, 2, 2, 3)), stride=(2, 1, 2)),
]

COLUMNS = [
    Case(
        "unfold",
        lambda x: gc.nn.unfold(x, (3, 2), dilation=(1, 2), padding=1, stride=2),
        lambda x: unfolded(x, (3, 2), dilation=(1, 2), padding=1, stride=2),
        ((2, 3, 5, 6),),
    ),
    Case("unfold-1d", lambda x: gc.nn.unfold(x, 3), lambda x: unfolded(x, (3,)), ((2, 3, 5),)),
    Case(
        "fold",
        lambda x: gc.nn.fold(x, (4, 5), (3, 2), padding=(1, 0)),
        lambda x: folded(x, (4, 5), (3, 2), padding=(1, 0)),
        ((2, 12, 16),),
    ),
    Case("fold-ints", lambda x: gc.nn.fold(x, 6, 3), lambda x: folded(x, (6,), (3,)), ((5, 9, 4),), ("int32",)),
    Case(
        "unfold-expression",
        lambda x, y: gc.sum(gc.nn.unfold(x * y, (2, 2)) ** 2, 1),
        lambda x, y: np.sum(unfolded(x * y, (2, 2)) ** 2, 1),
        ((2, 3, 4, 5), (3, 4, 5)),
        rtol=1e-11,
    ),
]

CASES: list[Case] = [*CONVOLUTIONS, *TRANSPOSED, *COLUMNS]
