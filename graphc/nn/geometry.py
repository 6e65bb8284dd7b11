"""What convolutions and pooling share: their arguments per axis, padding, and how axes are told apart.

Arrays are laid out as PyTorch's, (batch, channels, *spatial); the batch axis may be missing. Sizes may be symbolic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.arguments import entries, shown, whole
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.types import Dim, Shape, Size, floor_div
from graphc.ops.shape import drop_axes, insert_axes, never_equal
from graphc.ops.windows import Steps, reach

Pads = tuple[tuple[Size, Size], ...]
"""How many elements are added before and after each spatial axis."""


MOST = 2**31 - 1
"""The largest kernel, stride, dilation or padding: products of it with the bytes of a row fit an address."""


def per_axis(name: str, what: str, value: Any, ndim: int, *, least: int = 1) -> Steps:
    """Return an int or a sequence of `ndim` ints as ints of at least `least`."""
    items = _for_axes(name, what, value, ndim)
    return tuple(whole(f"{name}: {what}", item, least, MOST) for item in items)


def _for_axes(name: str, what: str, value: Any, ndim: int) -> tuple[Any, ...]:
    """Return one entry for each axis: the same for all, or those of a sequence."""
    items = entries(value)
    if len(items) == 1 and items[0] is value:
        return items * ndim
    if len(items) != ndim:
        raise ArgumentError(f"{name}: {what} needs one int, or one for each of {ndim} axes, got {shown(value)}{at()}")
    return items


def paddings(name: str, padding: Any, kernel: Shape, strides: Steps, dilations: Steps) -> Pads:
    """Return the padding of each axis: `"valid"`, `"same"`, an int, an int an axis, or a pair an axis."""
    if isinstance(padding, str) and padding == "valid":
        return ((0, 0),) * len(kernel)
    if isinstance(padding, str) and padding == "same":
        if any(s != 1 for s in strides):
            raise ArgumentError(f'{name}: padding="same" needs stride 1, got {strides}{at()}')
        return tuple(_halves(reach(k, d) - 1) for k, d in zip(kernel, dilations, strict=True))
    if isinstance(padding, str):
        raise ArgumentError(f'{name}: padding must be "same", "valid", ints or pairs of ints, got {padding!r}{at()}')
    rows = padding.tolist() if isinstance(padding, np.ndarray) and padding.ndim == 2 else padding
    if isinstance(rows, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in rows):
        pairs = [per_axis(name, "padding", p, 2, least=0) for p in rows]
        if len(pairs) != len(kernel):
            raise ArgumentError(f"{name}: padding needs a pair for each of {len(kernel)} axes, got {padding!r}{at()}")
        return tuple((p[0], p[1]) for p in pairs)
    return tuple((p, p) for p in per_axis(name, "padding", padding, len(kernel), least=0))


def _halves(total: Size) -> tuple[Size, Size]:
    before = floor_div(total, 2)
    return before, total - before


def padded_sizes(spatial: Shape, pads: Pads) -> Shape:
    """Return the sizes of the spatial axes with their padding."""
    return tuple(before + size + after for size, (before, after) in zip(spatial, pads, strict=True))


def require_room(name: str, x: Node, spatial: Shape, kernel: Shape, dilations: Steps) -> None:
    """Raise `ShapeError` where a window is empty or larger than the (padded) axis it runs over."""
    for size, k, d in zip(spatial, kernel, dilations, strict=True):
        if isinstance(k, int) and k < 1:
            raise ShapeError(f"{name}: the kernel has size {k} along an axis, at least 1 needed{at()}")
        span = reach(k, d)
        if isinstance(size, int) and isinstance(span, int) and span > size:
            spread = f" ({span} with dilation {d})" if d != 1 else ""
            raise ShapeError(
                f"{name}: kernel size {k}{spread} is larger than the padded axis of {size} in {x.type}{at()}"
            )


def require_elements(name: str, x: Node, ndim: int) -> None:
    """Raise `ShapeError` where one of the last `ndim` axes is empty."""
    if 0 in x.shape[x.ndim - ndim :]:
        raise ShapeError(f"{name}: a spatial axis of {x.type} is empty{at()}")


def batched(name: str, x: Node, ndim: int) -> Node:
    """Return `x` as (batch, channels, *spatial), with a batch of 1 where it has none."""
    if x.ndim not in (ndim + 1, ndim + 2):
        raise ShapeError(
            f"{name}: {ndim + 2} axes (batch, channels, *spatial) needed, or {ndim + 1}, got {x.type}{at()}"
        )
    return insert_axes(x, (0,)) if x.ndim == ndim + 1 else x


def like_input(out: Node, x: Node) -> Node:
    """Drop the batch axis that `batched` added."""
    return drop_axes(out, (0,)) if x.ndim == out.ndim - 1 else out


def divided(name: str, what: str, x: Node, size: Size, groups: int) -> Size:
    """Return `size / groups`; sizes known now must divide."""
    whole(f"{name}: groups", groups, 1)
    if isinstance(size, int) and size % groups:
        raise ShapeError(f"{name}: {size} {what} do not divide into {groups} groups: {x.type}{at()}")
    return floor_div(size, groups)


def require_same(name: str, what: str, left: Size, right: Size, shown: Sequence[Node]) -> None:
    """Raise `ShapeError` where two sizes known now differ."""
    if never_equal(left, right):
        types = ", ".join(str(x.type) for x in shown)
        raise ShapeError(f"{name}: {what}: {types} ({left} != {right}){at()}")


def sizes_per_axis(name: str, what: str, value: Any, ndim: int) -> Shape:
    """Return ints of at least 1, or dimensions, one for each axis."""
    items = _for_axes(name, what, value, ndim)
    return tuple(i if isinstance(i, Dim) else per_axis(name, what, i, 1)[0] for i in items)
