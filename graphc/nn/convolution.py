"""Convolutions and their transposes, as one matrix product a group of channels and image.

The windows of the padded input, a view, are copied once into columns (im2col: Chellapilla, Puri & Simard, 2006);
the product of the weights with an image's columns is that image's result in its final layout. The derivatives are
products with the same columns: by the weights, summed over the batch in the product itself; by the input, folded back.
A transposed convolution is that fold of a product, the derivative of a convolution by its input.

As everywhere in neural networks the kernel is not flipped: this is cross-correlation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import at_least, guarded
from graphc.graph.types import Shape, Size, product
from graphc.nn.geometry import (
    Pads,
    batched,
    divided,
    like_input,
    padded_sizes,
    paddings,
    per_axis,
    require_room,
    require_same,
    sizes_per_axis,
)
from graphc.ops.linalg import matmul
from graphc.ops.manipulation import matrix_transpose
from graphc.ops.padding import pad_with
from graphc.ops.pointwise import promote
from graphc.ops.shape import drop_axes, insert_axes, permute, reshape_to, slice_node
from graphc.ops.windows import Steps, fold_onto, reach, window_count, windows_of

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "fold",
    "unfold",
]


@checked
def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Node:
    """Return the 1-d convolution of `x` (batch, channels, length) with `weight`; see `conv2d`.

    >>> conv1d([[[1.0, 2.0, 3.0, 4.0]]], [[[1.0, -1.0]]]).eval()
    array([[[-1., -1., -1.]]])
    """
    return _convolve("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


@checked
def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Node:
    """Return the 2-d convolution of `x` (batch, channels, height, width); the batch axis may be missing.

    `weight`: (outputs, channels / groups, *kernel); `bias`: (outputs,). `stride` and `dilation`: an int, or one an
    axis. `padding` (zeros): an int, one or a pair (before, after) an axis, `"valid"` or `"same"` (stride 1; an odd
    rest goes behind). `groups` splits channels and outputs into groups that do not mix. Each spatial axis of the
    result has `(size + padding - dilation * (kernel - 1) - 1) // stride + 1` elements.

    Raises `ShapeError` where channels differ, groups do not divide or the kernel is larger than the padded input.

    >>> import graphc as gc
    >>> conv2d(gc.ones((8, 3, 32, 32)), gc.ones((16, 3, 5, 5)), padding="same").shape
    (8, 16, 32, 32)
    """
    return _convolve("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


@checked
def conv3d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Node:
    """Return the 3-d convolution of `x` (batch, channels, depth, height, width); see `conv2d`."""
    return _convolve("conv3d", 3, x, weight, bias, stride, padding, dilation, groups)


def _convolve(
    name: str, ndim: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Node:
    given, w, b = _operands(name, ndim, x, weight, bias)
    strides, dilations = per_axis(name, "stride", stride, ndim), per_axis(name, "dilation", dilation, ndim)
    kernel = w.shape[2:]
    pads = paddings(name, padding, kernel, strides, dilations)
    node = batched(name, given, ndim)
    per_group = _check_channels(name, given, w, node.shape[1], w.shape[1], groups)
    outputs = divided(name, "outputs", w, w.shape[0], groups)
    columns = _columns(name, node, kernel, strides, dilations, pads)
    rows = product((w.shape[1], *kernel))
    if groups == 1:
        out = matmul(reshape_to(w, (w.shape[0], rows)), columns)
    else:
        shape = (node.shape[0], groups, product((per_group, *kernel)), columns.shape[2])
        out = matmul(reshape_to(w, (groups, outputs, rows)), reshape_to(columns, shape))
    counts = map(window_count, padded_sizes(node.shape[2:], pads), kernel, strides, dilations)
    out = reshape_to(out, (node.shape[0], w.shape[0], *counts))
    return like_input(_with_bias(name, out, b, ndim), given)


def _operands(name: str, ndim: int, x: Any, weight: Any, bias: Any) -> tuple[Node, Node, Node | None]:
    """Return the operands in one dtype, with as many axes as they need."""
    nodes = promote(name, "number", [x, weight] if bias is None else [x, weight, bias])
    if nodes[1].ndim != ndim + 2:
        raise ShapeError(f"{name}: weight needs {ndim + 2} axes, got {nodes[1].type}{at()}")
    if bias is not None and nodes[2].ndim != 1:
        raise ShapeError(f"{name}: bias needs one axis, got {nodes[2].type}{at()}")
    return nodes[0], nodes[1], None if bias is None else nodes[2]


def _check_channels(name: str, x: Node, w: Node, channels: Size, own: Size, groups: int) -> Size:
    """Return the channels of a group; `own` are those that the weight has."""
    if not isinstance(groups, int) or groups < 1:
        raise ArgumentError(f"{name}: groups must be an int of at least 1, got {groups!r}{at()}")
    found = divided(name, "channels", x, channels, groups)
    shared = f"channels of a group of {groups}" if groups > 1 else "channels"
    require_same(name, f"{shared} differ from those of weight", found, own, [x, w])
    return found


def _columns(name: str, x: Node, kernel: Shape, strides: Steps, dilations: Steps, pads: Pads) -> Node:
    """Return the windows of each image as columns: (batch, channels * kernel elements, windows)."""
    require_room(name, x, padded_sizes(x.shape[2:], pads), kernel, dilations)
    windows = windows_of(name, pad_with(x, ((0, 0), (0, 0), *pads), 0), kernel, strides, dilations)
    d = len(kernel)
    counts = windows.shape[2 : 2 + d]
    order = (0, 1, *range(2 + d, 2 + 2 * d), *range(2, 2 + d))
    return reshape_to(permute(windows, order), (x.shape[0], product((x.shape[1], *kernel)), product(counts)))


def _with_bias(name: str, out: Node, bias: Node | None, ndim: int) -> Node:
    if bias is None:
        return out
    require_same(name, "bias needs one element for each output", out.shape[1], bias.shape[0], [bias])
    return out + insert_axes(bias, tuple(range(1, ndim + 1)))


# -- transposed


@checked
def conv_transpose1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Node:
    """Return the transposed 1-d convolution of `x` (batch, channels, length); see `conv_transpose2d`.

    >>> conv_transpose1d([[[1.0, 2.0]]], [[[1.0, 10.0]]]).eval()
    array([[[ 1., 12., 20.]]])
    """
    return _transposed("conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation)


@checked
def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Node:
    """Return the transposed 2-d convolution of `x`: the derivative of `conv2d` by its input, as a function.

    `weight`: (channels, outputs / groups, *kernel). Each spatial axis of the result has `(size - 1) * stride -
    padding + dilation * (kernel - 1) + 1 + output_padding` elements, where `padding` counts both sides and
    `output_padding` (less than stride or dilation) chooses among the sizes that a convolution maps to `size`.
    """
    return _transposed("conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation)


@checked
def conv_transpose3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Node:
    """Return the transposed 3-d convolution of `x`; see `conv_transpose2d`."""
    return _transposed("conv_transpose3d", 3, x, weight, bias, stride, padding, output_padding, groups, dilation)


def _transposed(
    name: str,
    ndim: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Node:
    given, w, b = _operands(name, ndim, x, weight, bias)
    strides, dilations = per_axis(name, "stride", stride, ndim), per_axis(name, "dilation", dilation, ndim)
    extra = per_axis(name, "output_padding", output_padding, ndim, least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise ArgumentError(f"{name}: output_padding {extra} must be less than stride or dilation{at()}")
    kernel = w.shape[2:]
    pads = paddings(name, padding, kernel, strides, dilations)
    node = batched(name, given, ndim)
    _check_channels(name, given, w, node.shape[1], w.shape[0] if groups == 1 else _group(name, w, groups), groups)
    full = _full_sizes(name, given, node.shape[2:], kernel, strides, dilations, extra)
    folded = fold_onto(_weighted(node, w, groups), full, strides, dilations)
    return like_input(_with_bias(name, _cropped(name, given, folded, pads), b, ndim), given)


def _group(name: str, w: Node, groups: int) -> Size:
    return divided(name, "channels of weight", w, w.shape[0], groups)


def _full_sizes(
    name: str, x: Node, spatial: Shape, kernel: Shape, strides: Steps, dilations: Steps, extra: Steps
) -> Shape:
    """Return the sizes that a transposed convolution has before cropping."""
    if 0 in spatial or 0 in kernel:
        raise ShapeError(f"{name}: a spatial axis or the kernel is empty: {x.type}{at()}")
    spans = map(reach, kernel, dilations)
    rows = zip(spatial, strides, spans, extra, strict=True)
    return tuple((size - 1) * stride + span + more for size, stride, span, more in rows)


def _weighted(x: Node, w: Node, groups: int) -> Node:
    """Return what each element of `x` adds to each window: (batch, outputs, *spatial, *kernel)."""
    batch, channels, *spatial = x.shape
    own, each, *kernel = w.shape
    d = len(kernel)
    left = matrix_transpose(reshape_to(w, (own, product((each, *kernel)))))
    right = reshape_to(x, (batch, channels, product(spatial)))
    if groups > 1:
        size = divided("conv_transpose", "channels", w, own, groups)
        left = matrix_transpose(reshape_to(w, (groups, size, product((each, *kernel)))))
        right = reshape_to(
            x, (batch, groups, divided("conv_transpose", "channels", x, channels, groups), right.shape[2])
        )
    out = reshape_to(matmul(left, right), (batch, each * groups, *kernel, *spatial))
    return permute(out, (0, 1, *range(2 + d, 2 + 2 * d), *range(2, 2 + d)))


def _cropped(name: str, x: Node, full: Node, pads: Pads) -> Node:
    """Cut the padding off; at least one element of each axis must stay."""
    ndim = len(pads)
    sizes = tuple(s - before - after for s, (before, after) in zip(full.shape[2:], pads, strict=True))
    if any(isinstance(s, int) and s < 1 for s in sizes):
        shown = ",".join(map(str, sizes))
        raise ShapeError(f"{name}: padding leaves nothing: the result's axes would be ({shown}) for {x.type}{at()}")
    starts = (0, 0, *(before for before, _ in pads))
    cropped = slice_node(full, starts, (*full.shape[:2], *sizes), (1,) * (ndim + 2))
    return guarded(cropped, at_least(name, *((s, 1) for s in sizes)))


# -- columns for users


def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Node:
    """Return the windows of each image as columns (im2col): (batch, channels * kernel elements, windows).

    `x`: (batch, channels, *spatial), with one size of `kernel_size` for each spatial axis, or one for all.

    >>> unfold([[[1.0, 2.0, 3.0]]], 2).eval()
    array([[[1., 2.],
            [2., 3.]]])
    """
    (given,) = promote("unfold", "number", [x])
    ndim = _spatial_axes("unfold", given, kernel_size)
    kernel = sizes_per_axis("unfold", "kernel_size", kernel_size, ndim)
    strides, dilations = per_axis("unfold", "stride", stride, ndim), per_axis("unfold", "dilation", dilation, ndim)
    pads = paddings("unfold", padding, kernel, strides, dilations)
    return like_input(_columns("unfold", batched("unfold", given, ndim), kernel, strides, dilations, pads), given)


def _spatial_axes(name: str, x: Node, kernel: Any) -> int:
    ndim = len(kernel) if isinstance(kernel, (tuple, list)) else x.ndim - 2
    if ndim < 1:
        raise ShapeError(f"{name}: no spatial axis in {x.type}{at()}")
    return ndim


def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Node:
    """Return the sum of columns put back where `unfold` takes them from: the adjoint of `unfold`.

    `x`: (batch, channels * kernel elements, windows); `output_size`: the sizes of the spatial axes.

    >>> fold([[[1.0, 2.0], [2.0, 3.0]]], (3,), 2).eval()
    array([[[1., 4., 3.]]])
    """
    (given,) = promote("fold", "number", [x])
    sizes: Sequence[Any] = output_size if isinstance(output_size, (tuple, list)) else (output_size,)
    ndim = len(sizes)
    spatial, kernel = (
        sizes_per_axis("fold", w, v, ndim) for w, v in (("output_size", sizes), ("kernel_size", kernel_size))
    )
    strides, dilations = per_axis("fold", "stride", stride, ndim), per_axis("fold", "dilation", dilation, ndim)
    pads = paddings("fold", padding, kernel, strides, dilations)
    if given.ndim not in (2, 3):
        raise ShapeError(f"fold: (batch, channels * kernel elements, windows) needed, got {given.type}{at()}")
    node = insert_axes(given, (0,)) if given.ndim == 2 else given
    full = padded_sizes(spatial, pads)
    require_room("fold", given, full, kernel, dilations)
    counts = tuple(map(window_count, full, kernel, strides, dilations))
    require_same("fold", f"{product(counts)} windows fit output_size", product(counts), node.shape[2], [given])
    channels = divided("fold", "rows", given, node.shape[1], size) if isinstance(size := product(kernel), int) else 0
    out = reshape_to(node, (node.shape[0], channels, *kernel, *counts))
    out = permute(out, (0, 1, *range(2 + ndim, 2 + 2 * ndim), *range(2, 2 + ndim)))
    folded = _cropped("fold", given, fold_onto(out, full, strides, dilations), pads)
    return folded if given.ndim == 3 else drop_axes(folded, (0,))
