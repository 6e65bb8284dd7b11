"""`interpolate`: spatial axes in other sizes, by the nearest element, by weighted neighbours, or by means.

Weighted modes are separable: along each axis, a sum of a few neighbours (2 linear, 4 cubic), taken by index with
weights that depend on the position only. Coordinates follow PyTorch: the centres of the first and last elements are
half an element from the edge, or lie on the edge with `align_corners=True`.
"""

from __future__ import annotations

from typing import Any

from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import at_least, guarded
from graphc.graph.types import FLOAT64, INT64, Dim, Size, floor_div
from graphc.nn.geometry import require_elements, sizes_per_axis
from graphc.nn.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from graphc.ops.creation import iota
from graphc.ops.elementwise import clip, floor, maximum, minimum
from graphc.ops.indexing import take
from graphc.ops.manipulation import repeat
from graphc.ops.pointwise import cast, promote
from graphc.ops.shape import insert_axes

__all__ = ["interpolate"]

_CUBIC = -0.75
"""The free coefficient of cubic convolution (Keys, 1981), as PyTorch's and OpenCV's."""
_AXES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


@checked
def interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
) -> Node:
    """Return `x` (batch, channels, *spatial) with its spatial axes resized.

    Give either `size` (sizes of the result) or `scale_factor` (numbers; sizes are rounded down), one for all spatial
    axes or one for each; elements then lie 1/scale_factor apart, also where the factor leaves the size as it was.
    `mode`: `"nearest"` (rounds positions down), `"nearest-exact"`, `"linear"` (one spatial axis), `"bilinear"` and
    `"bicubic"` (two), `"trilinear"` (three), `"area"` (means, by `size` or whole pieces). `align_corners` (weighted
    modes) maps the first and last elements onto each other.

    >>> interpolate([[[0.0, 2.0]]], size=4, mode="linear").eval()
    array([[[0. , 0.5, 1.5, 2. ]]])
    """
    accepts = "number" if mode.startswith("nearest") else "float"
    (node,) = promote("interpolate", accepts, [x])
    ndim = node.ndim - 2
    _check(node, mode, ndim, align_corners)
    sizes, scales = _sizes(node, ndim, size, scale_factor)
    require_elements("interpolate", node, ndim)
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[ndim - 1](node, sizes)
    for axis, (new, scale) in enumerate(zip(sizes, scales, strict=True), start=2):
        resized = _resized(node, axis, new, scale, mode, align_corners)
        needed = () if resized is node or scale is not None else at_least("interpolate", (node.shape[axis], 1))
        node = guarded(resized, needed)
    return node


def _check(x: Node, mode: str, ndim: int, align_corners: bool) -> None:
    modes = ("nearest", "nearest-exact", *_AXES, "area")
    if mode not in modes:
        raise ArgumentError(f"interpolate: mode must be one of {', '.join(map(repr, modes))}, got {mode!r}{at()}")
    if not 1 <= ndim <= 3:
        raise ShapeError(f"interpolate: one to three spatial axes needed after batch and channels, got {x.type}{at()}")
    if _AXES.get(mode, ndim) != ndim:
        raise ShapeError(f"interpolate: mode {mode!r} needs {_AXES[mode]} spatial axes, got {x.type}{at()}")
    if align_corners and mode not in _AXES:
        raise ArgumentError(f"interpolate: align_corners has no meaning with mode {mode!r}{at()}")


def _sizes(x: Node, ndim: int, size: Any, scale_factor: Any) -> tuple[tuple[Size, ...], list[float | None]]:
    """Return the new sizes, and the factors where they were given."""
    if (size is None) == (scale_factor is None):
        raise ArgumentError(f"interpolate: give either size or scale_factor{at()}")
    if scale_factor is None:
        return sizes_per_axis("interpolate", "size", size, ndim), [None] * ndim
    factors = list(scale_factor) if isinstance(scale_factor, (tuple, list)) else [scale_factor] * ndim
    numbers = all(isinstance(f, (int, float)) and not isinstance(f, bool) and f > 0 for f in factors)
    if len(factors) != ndim or not numbers:
        raise ArgumentError(
            f"interpolate: scale_factor must be a positive number, or one for each of {ndim} axes{at()}"
        )
    return tuple(_scaled(x, s, f) for s, f in zip(x.shape[2:], factors, strict=True)), factors


def _scaled(x: Node, size: Size, factor: float) -> Size:
    if float(factor).is_integer():
        return size * int(factor)
    if isinstance(size, Dim):
        raise ShapeError(f"interpolate: a symbolic axis of {x.type} needs a whole scale_factor, got {factor}{at()}")
    found = int(size * factor)
    if found < 1:
        raise ShapeError(f"interpolate: scale_factor {factor} leaves nothing of an axis of {size} in {x.type}{at()}")
    return found


def _resized(x: Node, axis: int, new: Size, scale: float | None, mode: str, align_corners: bool) -> Node:
    old = x.shape[axis]
    whole = scale is None or float(scale).is_integer()  # 1.1 may keep the size, and still moves positions
    if new == old and (whole or align_corners):
        return x
    if mode.startswith("nearest"):
        times = floor_div(new, old)
        if whole and isinstance(times, int) and times * old == new:
            return repeat(x, times, axis=axis)
        return take(x, _nearest(old, new, scale, mode == "nearest-exact"), axis=axis)
    position = _positions(old, new, scale, align_corners)
    cubic = mode == "bicubic"
    position = position if cubic else clip(position, 0.0, _as_float(old - 1))
    first = floor(position)
    taps = _cubic_taps(position - first) if cubic else _linear_taps(position - first)
    total: Node | None = None
    for offset, weight in taps:
        index = minimum(maximum(cast(first, INT64) + offset, 0), old - 1)
        column = insert_axes(cast(weight, x.dtype), tuple(range(1, x.ndim - axis)))
        term = take(x, index, axis=axis) * column
        total = term if total is None else total + term
    assert total is not None
    return total


def _as_float(size: Size) -> Any:
    return float(size) if isinstance(size, int) else size


def _nearest(old: Size, new: Size, scale: float | None, exact: bool) -> Node:
    """Return the element that each position rounds down to; without a factor in whole numbers, so without error."""
    index = iota((new,), 0)
    if scale is None:
        position = (2 * index + 1) * old // (2 * new) if exact else index * old // new
    else:
        position = cast(floor((cast(index, FLOAT64) + (0.5 if exact else 0.0)) * (1 / scale)), INT64)
    return minimum(position, old - 1)


def _positions(old: Size, new: Size, scale: float | None, align_corners: bool) -> Node:
    """Return where each element of the result lies among those of the operand."""
    index = iota((new,), 0, FLOAT64)
    if align_corners:
        last = new - 1
        return index * ((old - 1) / last) if last != 0 else index
    apart = old / new if scale is None else 1 / scale
    return (index + 0.5) * apart - 0.5


Taps = list[tuple[int, Node]]
"""Neighbours, as offsets from the one below, with their weights."""


def _linear_taps(t: Node) -> Taps:
    return [(0, 1.0 - t), (1, t)]


def _cubic_taps(t: Node) -> Taps:
    return [(-1, _far(t + 1.0)), (0, _near(t)), (1, _near(1.0 - t)), (2, _far(2.0 - t))]


def _near(s: Node) -> Node:
    """Return the cubic kernel at distances up to 1."""
    return ((_CUBIC + 2) * s - (_CUBIC + 3)) * s * s + 1.0


def _far(s: Node) -> Node:
    """Return the cubic kernel at distances from 1 to 2."""
    return ((_CUBIC * s - 5 * _CUBIC) * s + 8 * _CUBIC) * s - 4 * _CUBIC
