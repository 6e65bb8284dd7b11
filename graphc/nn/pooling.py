"""Pooling: the largest element, the mean or a norm of each window of the spatial axes.

Max pooling is one op, whose derivative goes to the first largest element of each window, row by row, as PyTorch's
does; the reduction `gc.max` shares it among ties. NaN is the largest. Sums over windows are reductions of a view.

Arrays are (batch, channels, *spatial); the batch axis may be missing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.graph.arguments import MANY, checked, entries, whole
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.types import DType, Shape, Size, floor_div, product, size_max, size_min
from graphc.nn.geometry import Pads, paddings, per_axis, require_elements, require_room, sizes_per_axis
from graphc.ops.creation import iota
from graphc.ops.elementwise import abs, maximum, minimum, where
from graphc.ops.elementwise_float import sqrt_safe
from graphc.ops.padding import pad_with
from graphc.ops.pointwise import cast, promote
from graphc.ops.reduction import mean, sum
from graphc.ops.shape import insert_axes, join, permute, reshape_to, slice_axis
from graphc.ops.windows import Steps, max_of_windows, reach, windows_of

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "global_avg_pool",
    "global_max_pool",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]


@checked
def max_pool1d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Node:
    """Return the largest element of each window of the last axis; see `max_pool2d`.

    >>> max_pool1d([[[1.0, 3.0, 2.0, 4.0]]], 2).eval()
    array([[[3., 4.]]])
    """
    return _max_pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode)


@checked
def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Node:
    """Return the largest element of each window of the last two axes.

    `kernel_size`, `stride` (by default the kernel size) and `dilation`: an int, or one an axis; `padding`: an int, one
    or a pair (before, after) an axis, at most half the window, of elements that are never the largest. `ceil_mode`
    keeps a last window that begins inside and ends outside. Ties: the first element takes the gradient.

    Raises `ShapeError` where the window is larger than the padded input.
    """
    return _max_pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode)


@checked
def max_pool3d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Node:
    """Return the largest element of each window of the last three axes; see `max_pool2d`."""
    return _max_pool("max_pool3d", 3, x, kernel_size, stride, padding, dilation, ceil_mode)


def _max_pool(
    name: str, ndim: int, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Node:
    node = _operand(name, x, "number")
    _require_axes(name, node, ndim)
    kernel, strides = _kernel(name, kernel_size, stride, ndim)
    dilations = per_axis(name, "dilation", dilation, ndim)
    pads = _pads(name, node, padding, kernel, strides, dilations, ceil_mode)
    padded = pad_with(node, (*((0, 0),) * (node.ndim - ndim), *pads), _lowest(node.dtype))
    require_room(name, node, padded.shape[node.ndim - ndim :], kernel, dilations)
    return max_of_windows(name, padded, kernel, strides, dilations, tuple(before for before, _ in pads))


def _lowest(dtype: DType) -> float | int:
    return -math.inf if dtype.kind == "f" else int(np.iinfo(dtype).min)


def _operand(name: str, x: Any, accepts: str) -> Node:
    (node,) = promote(name, accepts, [x])
    return node


def _require_axes(name: str, x: Node, ndim: int) -> None:
    if x.ndim not in (ndim + 1, ndim + 2):
        raise ShapeError(
            f"{name}: {ndim + 2} axes (batch, channels, *spatial) needed, or {ndim + 1}, got {x.type}{at()}"
        )
    require_elements(name, x, ndim)


def _kernel(name: str, kernel_size: Any, stride: Any, ndim: int) -> tuple[Shape, Steps]:
    kernel = sizes_per_axis(name, "kernel_size", kernel_size, ndim)
    return kernel, per_axis(name, "stride", kernel if stride is None else stride, ndim)


def _pads(name: str, x: Node, padding: Any, kernel: Shape, strides: Steps, dilations: Steps, ceil_mode: bool) -> Pads:
    """Return the padding of each axis, with what the last window of `ceil_mode` needs beyond it."""
    pads = paddings(name, padding, kernel, strides, dilations)
    spans = tuple(map(reach, kernel, dilations))
    for pair, span in zip(pads, spans, strict=True):
        if any(isinstance(p, int) and isinstance(span, int) and 2 * p > span for p in pair):
            raise ArgumentError(f"{name}: padding {pair} is more than half the window of {span}{at()}")
    if not ceil_mode:
        return pads
    rows = zip(x.shape[x.ndim - len(kernel) :], spans, strides, pads, strict=True)
    return tuple(_ceiled(size, span, stride, pair) for size, span, stride, pair in rows)


def _ceiled(size: Size, span: Size, stride: int, pads: tuple[Size, Size]) -> tuple[Size, Size]:
    """Widen the padding behind an axis so that it holds the last window that begins before that padding."""
    before, after = pads
    total = before + size + after
    whole = floor_div(total - span + (stride - 1), stride)
    inside = floor_div(size + before - 1, stride)
    return before, after + size_max(0, size_min(whole, inside) * stride + span - total)


# -- means


@checked
def avg_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Node:
    """Return the mean of each window of the last axis; see `avg_pool2d`.

    >>> avg_pool1d([[[1.0, 3.0, 2.0, 4.0]]], 2).eval()
    array([[[2., 3.]]])
    """
    return _avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


@checked
def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Node:
    """Return the mean of each window of the last two axes.

    The arguments are those of `max_pool2d`; padding counts as zeros, or not at all with `count_include_pad=False`.
    What `ceil_mode` adds never counts.
    """
    return _avg_pool("avg_pool2d", 2, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


@checked
def avg_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Node:
    """Return the mean of each window of the last three axes; see `avg_pool2d`."""
    return _avg_pool("avg_pool3d", 3, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def _avg_pool(
    name: str, ndim: int, x: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, include: bool
) -> Node:
    node = _operand(name, x, "float")
    _require_axes(name, node, ndim)
    kernel, strides = _kernel(name, kernel_size, stride, ndim)
    ones = (1,) * ndim
    counted = _pads(name, node, padding, kernel, strides, ones, False) if include else ((0, 0),) * ndim
    pads = _pads(name, node, padding, kernel, strides, ones, ceil_mode)
    total = _window_sums(name, node, kernel, strides, pads)
    spatial = node.shape[node.ndim - ndim :]
    means: Node = total / _divisor(total, spatial, kernel, strides, pads, counted)
    return means


def _window_sums(name: str, x: Node, kernel: Shape, strides: Steps, pads: Pads) -> Node:
    """Return the sum of each window; window elements stand before the last axis, so that rows add up as vectors."""
    d, lead = len(kernel), x.ndim - len(kernel)
    padded = pad_with(x, (*((0, 0),) * lead, *pads), 0)
    require_room(name, x, padded.shape[lead:], kernel, (1,) * d)
    windows = windows_of(name, padded, kernel, strides, (1,) * d)
    last = lead + d - 1
    order = (*range(last), *range(last + 1, last + 1 + d), last)
    return sum(permute(windows, order), tuple(range(last, last + d)))


def _divisor(out: Node, spatial: Shape, kernel: Shape, strides: Steps, pads: Pads, counted: Pads) -> Any:
    """Return how many elements each window of a sum counts: a size, or a node that broadcasts over the last axes."""
    d = len(kernel)
    total: Any = product(k for k, pair, counts in zip(kernel, pads, counted, strict=True) if pair == counts)
    for axis in range(d):
        if pads[axis] == counted[axis]:
            continue
        (before, after), count = counted[axis], out.shape[out.ndim - d + axis]
        start = iota((count,), 0) * strides[axis] - pads[axis][0]
        stop = minimum(start + kernel[axis], spatial[axis] + after)
        length = cast(stop - maximum(start, -before), out.dtype)
        total = insert_axes(length, tuple(range(1, d - axis))) * total
    return total


@checked
def lp_pool1d(x: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Node:
    """Return the norm of each window of the last axis; see `lp_pool2d`.

    >>> lp_pool1d([[[3.0, -4.0, 1.0]]], 2, 2, stride=1).eval().round(4)
    array([[[5.    , 4.1231]]])
    """
    return _lp_pool("lp_pool1d", 1, x, norm_type, kernel_size, stride, ceil_mode)


@checked
def lp_pool2d(x: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Node:
    """Return the norm `sum(abs(x)**p)**(1/p)` of each window of the last two axes, p being `norm_type`.

    p is positive, or infinity: the largest magnitude. The derivative of a window of zeros is 0.
    """
    return _lp_pool("lp_pool2d", 2, x, norm_type, kernel_size, stride, ceil_mode)


@checked
def lp_pool3d(x: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Node:
    """Return the norm of each window of the last three axes; see `lp_pool2d`."""
    return _lp_pool("lp_pool3d", 3, x, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(name: str, ndim: int, x: Any, p: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Node:
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not p > 0:
        raise ArgumentError(f"{name}: norm_type must be a positive number, got {p!r}{at()}")
    node = _operand(name, x, "float")
    if p == math.inf:
        return _max_pool(name, ndim, abs(node), kernel_size, stride, 0, 1, ceil_mode)
    _require_axes(name, node, ndim)
    kernel, strides = _kernel(name, kernel_size, stride, ndim)
    pads = _pads(name, node, 0, kernel, strides, (1,) * ndim, ceil_mode)
    powers = abs(node) if p == 1 else node * node if p == 2 else abs(node) ** float(p)
    total = _window_sums(name, powers, kernel, strides, pads)
    if p in (1, 2):
        return total if p == 1 else sqrt_safe(total)
    positive = total > 0
    return where(positive, where(positive, total, 1) ** (1 / p), 0 * total)


# -- all of it, or as many windows as asked


@checked
def global_avg_pool(x: Any, *, keepdims: bool = False) -> Node:
    """Return the mean over all spatial axes of `x` (batch, channels, *spatial).

    >>> global_avg_pool([[[1.0, 3.0, 5.0]]]).eval()
    array([[3.]])
    """
    node = _operand("global_avg_pool", x, "float")
    return mean(node, _spatial_axes("global_avg_pool", node), keepdims=keepdims)


@checked
def global_max_pool(x: Any, *, keepdims: bool = False) -> Node:
    """Return the largest element over all spatial axes of `x` (batch, channels, *spatial); the first, if tied.

    >>> global_max_pool([[[1.0, 3.0, 5.0]]]).eval()
    array([[5.]])
    """
    node = _operand("global_max_pool", x, "number")
    axes = _spatial_axes("global_max_pool", node)
    out = _largest("global_max_pool", node, len(axes))
    return out if keepdims else reshape_to(out, node.shape[:2])


def _spatial_axes(name: str, x: Node) -> tuple[int, ...]:
    if x.ndim < 3:
        raise ShapeError(f"{name}: axes (batch, channels, *spatial) needed, got {x.type}{at()}")
    require_elements(name, x, x.ndim - 2)
    return tuple(range(2, x.ndim))


def _largest(name: str, x: Node, ndim: int) -> Node:
    """Return the largest element over the last `ndim` axes, which stay with size 1."""
    kernel, ones = x.shape[x.ndim - ndim :], (1,) * ndim
    return max_of_windows(name, x, kernel, ones, ones)


def adaptive_avg_pool1d(x: Any, output_size: Any) -> Node:
    """Return `output_size` means of pieces of the last axis; see `adaptive_avg_pool2d`.

    >>> adaptive_avg_pool1d([[[1.0, 3.0, 2.0, 4.0]]], 2).eval()
    array([[[2., 3.]]])
    """
    return _adaptive("adaptive_avg_pool1d", 1, x, output_size, "mean")


def adaptive_avg_pool2d(x: Any, output_size: Any) -> Node:
    """Return the means of `output_size` pieces of each of the last two axes (an int, or one an axis; None keeps it).

    Piece i of m covers elements floor(i * n / m) up to and without ceil((i + 1) * n / m): all of the axis, evenly. An
    axis of symbolic size must divide into its pieces, which the call checks.
    """
    return _adaptive("adaptive_avg_pool2d", 2, x, output_size, "mean")


def adaptive_avg_pool3d(x: Any, output_size: Any) -> Node:
    """Return the means of pieces of each of the last three axes; see `adaptive_avg_pool2d`."""
    return _adaptive("adaptive_avg_pool3d", 3, x, output_size, "mean")


def adaptive_max_pool1d(x: Any, output_size: Any) -> Node:
    """Return the largest elements of `output_size` pieces of the last axis; see `adaptive_avg_pool2d`."""
    return _adaptive("adaptive_max_pool1d", 1, x, output_size, "max")


def adaptive_max_pool2d(x: Any, output_size: Any) -> Node:
    """Return the largest elements of pieces of each of the last two axes; see `adaptive_avg_pool2d`."""
    return _adaptive("adaptive_max_pool2d", 2, x, output_size, "max")


def adaptive_max_pool3d(x: Any, output_size: Any) -> Node:
    """Return the largest elements of pieces of each of the last three axes; see `adaptive_avg_pool2d`."""
    return _adaptive("adaptive_max_pool3d", 3, x, output_size, "max")


def _adaptive(name: str, ndim: int, x: Any, output_size: Any, kind: str) -> Node:
    node = _operand(name, x, "float" if kind == "mean" else "number")
    _require_axes(name, node, ndim)
    items = entries(output_size)
    items = items * ndim if len(items) == 1 and items[0] is output_size else items
    sizes = node.shape[node.ndim - ndim :]
    wanted = [s if i is None else i for i, s in zip(items, sizes, strict=len(items) == ndim)]
    counts = sizes_per_axis(name, "output_size", wanted, ndim)
    uneven = [isinstance(s, int) and isinstance(n, int) and s % n != 0 for s, n in zip(sizes, counts, strict=True)]
    if not any(uneven):
        return _even_pieces(name, node, counts, kind)
    for axis in reversed(range(node.ndim - ndim, node.ndim)):
        node = _pieces(name, node, axis, counts[axis - node.ndim + ndim], kind)
    return node


def _even_pieces(name: str, x: Node, counts: Shape, kind: str) -> Node:
    """Reduce blocks of equal size, which are a reshaped view."""
    d, lead = len(counts), x.ndim - len(counts)
    sizes = [floor_div(s, n) for s, n in zip(x.shape[lead:], counts, strict=True)]
    split = tuple(size for pair in zip(counts, sizes, strict=True) for size in pair)
    blocks = reshape_to(x, (*x.shape[:lead], *split))
    order = (*range(lead), *range(lead, lead + 2 * d, 2), *range(lead + 1, lead + 2 * d, 2))
    blocks = permute(blocks, order)
    if kind == "mean":
        return mean(blocks, tuple(range(lead + d, lead + 2 * d)))
    return reshape_to(_largest(name, blocks, d), (*x.shape[:lead], *counts))


def _pieces(name: str, x: Node, axis: int, count: Size, kind: str) -> Node:
    """Reduce one axis in pieces of unequal size; from the last axis to the first, the first of tied elements wins."""
    size = x.shape[axis]
    if not isinstance(size, int) or not isinstance(count, int):
        raise ShapeError(f"{name}: pieces of unequal size need known sizes, got {x.type}{at()}")
    whole(f"{name}: output_size", count, 1, MANY)
    edges = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    parts = [slice_axis(x, axis, start, stop - start) for start, stop in edges]
    if kind == "mean":
        return join([mean(p, axis, keepdims=True) for p in parts], axis)
    kernels = [(p.shape[axis], *(1 for _ in x.shape[axis + 1 :])) for p in parts]
    ones = (1,) * (x.ndim - axis)
    return join([max_of_windows(name, p, k, ones, ones) for p, k in zip(parts, kernels, strict=True)], axis)
