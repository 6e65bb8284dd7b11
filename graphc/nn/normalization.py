"""Normalisations: batch, layer, group, instance, root-mean-square and local response, and unit vectors.

Channels are axis 1, as in PyTorch; every other size may be symbolic. Statistics are accurate for any offset of the
data; rows of equal values become 0, and have the gradient (g - mean g) / sqrt(eps), or 0 where `eps` is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.arguments import MANY, checked, whole
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.graph.types import Shape, Size, floor_div, make_shape, product, size_min
from graphc.ops.elementwise import abs, maximum, pow, sqrt_safe, square
from graphc.ops.manipulation import concat, reshape
from graphc.ops.normalization import RSQRT, moments, standardize
from graphc.ops.pointwise import as_node, cast, pointwise, promote, size_node
from graphc.ops.reduction import Reduction, sum
from graphc.ops.shape import axis_index, insert_axes, never_equal, slice_axis, zeros

__all__ = [
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "normalize",
    "rms_norm",
]


@checked
def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Node:
    """Return `x` with mean 0 and variance 1 over its last axes, times `weight`, plus `bias`.

    `normalized_shape` is the size of these axes, an int or a tuple; `weight` and `bias` have that shape. Raises
    `ShapeError`. Source: Ba, Kiros & Hinton, Layer normalization, 2016.

    >>> layer_norm([[1.0, 3.0], [5.0, 5.0]], 2, eps=0.0).eval()
    array([[-1.,  1.],
           [ 0.,  0.]])
    """
    node, parameters = _operands("layer_norm", x, weight=weight, bias=bias)
    axes, shape = _last_axes("layer_norm", node, normalized_shape)
    _check_parameters("layer_norm", shape, parameters)
    return _scaled(standardize(node, axes, _eps("layer_norm", eps)), parameters["weight"], parameters["bias"])


@checked
def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Node:
    """Return `x` divided by the root of (its mean square + `eps`) over its last axes, times `weight`.

    `normalized_shape` as in `layer_norm`; `eps` is by default the spacing of 1 in the dtype of `x`. Source: Zhang &
    Sennrich, Root mean square layer normalization, 2019.

    >>> rms_norm([3.0, -3.0], 2).eval()
    array([ 1., -1.])
    """
    node, parameters = _operands("rms_norm", x, weight=weight)
    axes, shape = _last_axes("rms_norm", node, normalized_shape)
    _check_parameters("rms_norm", shape, parameters)
    found = float(np.finfo(node.dtype).eps) if eps is None else _eps("rms_norm", eps)
    return _scaled(standardize(node, axes, found, centred=False), parameters["weight"], None)


@checked
def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Node:
    """Return `x` with mean 0 and variance 1 over each of `num_groups` groups of channels, and the axes after them.

    `weight` and `bias` have one entry a channel. Raises `ShapeError` where the channels do not divide. Source: Wu &
    He, Group normalization, 2018.
    """
    node, parameters = _operands("group_norm", x, weight=weight, bias=bias)
    channels = _channels("group_norm", node)
    _check_parameters("group_norm", (channels,), parameters)
    if not isinstance(num_groups, int) or num_groups < 1 or (isinstance(channels, int) and channels % num_groups):
        raise ShapeError(f"group_norm: {channels} channels do not make {num_groups} groups of equal size{at()}")
    size = floor_div(channels, num_groups)
    rest = node.shape[2:]
    grouped = reshape(node, (node.shape[0], num_groups, size, *rest))
    out = standardize(grouped, tuple(range(2, grouped.ndim)), _eps("group_norm", eps))
    per_channel = {k: _reshaped(v, (num_groups, size, *(1,) * len(rest))) for k, v in parameters.items()}
    return reshape(_scaled(out, per_channel["weight"], per_channel["bias"]), node.shape)


@checked
def instance_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Node:
    """Return `x` with mean 0 and variance 1 over the axes after the channels, for each entry and channel alone.

    `weight` and `bias` have one entry a channel. Raises `ShapeError` where there are no axes after the channels.
    Source: Ulyanov, Vedaldi & Lempitsky, Instance normalization, 2016.
    """
    node, parameters = _operands("instance_norm", x, weight=weight, bias=bias)
    channels = _channels("instance_norm", node)
    if node.ndim < 3:
        raise ShapeError(f"instance_norm: axes after the channels are needed, got {node.type}{at()}")
    _check_parameters("instance_norm", (channels,), parameters)
    out = standardize(node, tuple(range(2, node.ndim)), _eps("instance_norm", eps))
    out = _of_several("instance_norm: more than 1 value a channel is needed", out, product(node.shape[2:]))
    per_channel = {k: _reshaped(v, _channel_shape(node)) for k, v in parameters.items()}
    return _scaled(out, per_channel["weight"], per_channel["bias"])


@checked
def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Node, Node, Node]:
    """Return normalised `x` and the next running mean and variance, all of one entry a channel but `x`.

    With `training`, `x` gets mean 0 and variance 1 over all axes but the channels, and the running statistics move
    by `momentum` towards those of this batch (the variance with divisor n - 1): give them to `function` as
    `updates`. Without, the running statistics normalise `x` and come back as they are. Raises `ShapeError`.
    Source: Ioffe & Szegedy, Batch normalization, 2015.

    >>> y, mean, var = batch_norm([[1.0], [3.0]], [0.0], [1.0], training=True, eps=0.0)
    >>> y.eval(), mean.eval(), var.eval()
    (array([[-1.],
           [ 1.]]), array([0.2]), array([1.1]))
    """
    node, parameters = _operands(
        "batch_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    channels = _channels("batch_norm", node)
    _check_parameters("batch_norm", (channels,), parameters)
    mean, var = as_node(running_mean), as_node(running_var)
    shaped = {k: _reshaped(v, _channel_shape(node)) for k, v in parameters.items()}
    if not training:
        return _with_statistics(node, shaped, _eps("batch_norm", eps)), mean, var
    axes = tuple(a for a in range(node.ndim) if a != 1)
    count = product(node.shape[a] for a in axes)
    what = "batch_norm: more than 1 value a channel is needed in training"
    normal = _of_several(what, standardize(node, axes, _eps("batch_norm", eps)), count)
    out = _scaled(normal, shaped["weight"], shaped["bias"])
    seen, variance, _ = moments(node, axes)
    size = size_node(count, node.dtype)
    unbiased = variance * (size / maximum(size - 1.0, 1.0))
    return out, _moved(mean, seen, momentum), _moved(var, unbiased, momentum)


def _of_several(what: str, out: Node, count: Size) -> Node:
    """Return what statistics over `count` values gave, or raise for one value: here, or in the call that has one."""
    if count == 1:
        raise ShapeError(f"{what}, got {out.type}{at()}")
    if isinstance(count, int):
        return out
    ones = size_min(count, 2) - 1  # -1, 0 or 1: its square is 1 for every count but 1
    return Node(out.op, out.inputs, out.type, out.source, (*out.guards, (ones * ones, 1, what, out.source)))


def _with_statistics(x: Node, parameters: dict[str, Node | None], eps: float) -> Node:
    """Normalise by given statistics: one product and two sums an element."""
    mean, var = parameters["running_mean"], parameters["running_var"]
    assert mean is not None and var is not None
    scale = pointwise(RSQRT, var + eps)
    weight = parameters["weight"]
    return _scaled(x - mean, scale if weight is None else scale * weight, parameters["bias"])


def _moved(old: Node, new: Node, momentum: float) -> Node:
    """Return the running value after a step, in its own dtype."""
    return cast((1.0 - momentum) * old + momentum * cast(new, old.dtype), old.dtype)


@checked
def local_response_norm(
    x: Any, size: int, alpha: float | Node = 1e-4, beta: float | Node = 0.75, k: float | Node = 1.0
) -> Node:
    """Return `x / (k + alpha * m)**beta`, m being the mean square over `size` channels around each.

    Channels beyond the first and last count as 0. Source: Krizhevsky, Sutskever & Hinton, ImageNet classification
    with deep convolutional neural networks, 2012.
    """
    (node,) = promote("local_response_norm", "float", [x])
    channels = _channels("local_response_norm", node)
    whole("local_response_norm: size", size, 1, MANY)
    before, after = size // 2, (size - 1) // 2
    edges = [zeros((node.shape[0], n, *node.shape[2:]), node.dtype) for n in (before, after)]
    padded = concat([edges[0], square(node), edges[1]], axis=1)
    total = slice_axis(padded, 1, 0, channels)
    for start in range(1, size):
        total = total + slice_axis(padded, 1, start, channels)
    return node / pow(k + (alpha / size) * total, beta)


@checked
def normalize(x: Any, /, p: float = 2.0, axis: int = -1, eps: float | Node = 1e-12) -> Node:
    """Return `x` divided by its `p`-norm along `axis`, or by `eps` where the norm is below that.

    >>> normalize([[3.0, 4.0], [0.0, 0.0]]).eval()
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    (node,) = promote("normalize", "float", [x])
    return node / maximum(_norm(node, p, axis_index("normalize", axis, node.ndim)), eps)


def _norm(x: Node, p: float, axis: int) -> Node:
    if p == 2:
        return sqrt_safe(sum(square(x), axis, keepdims=True))
    if p == np.inf:
        return insert_axes(apply(Reduction("max", (axis,), may_be_empty=True), abs(x)), (axis,))
    if not p > 0:
        raise ArgumentError(f"normalize: p must be positive, got {p!r}{at()}")
    total = sum(abs(x) if p == 1 else pow(abs(x), p), axis, keepdims=True)
    return total if p == 1 else pow(total, 1 / p)


# -- operands


def _operands(name: str, x: Any, **parameters: Any) -> tuple[Node, dict[str, Node | None]]:
    """Return `x` and the parameters that were given, in one float dtype."""
    given = {k: v for k, v in parameters.items() if v is not None}
    node, *rest = promote(name, "float", [x, *given.values()])
    return node, dict.fromkeys(parameters) | dict(zip(given, rest, strict=True))


def _eps(name: str, eps: float) -> float:
    if not eps >= 0:
        raise ArgumentError(f"{name}: eps must be at least 0, got {eps!r}{at()}")
    return float(eps)


def _last_axes(name: str, x: Node, normalized_shape: Any) -> tuple[tuple[int, ...], Shape]:
    items = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
    shape = make_shape(items)
    count = len(shape)
    if not 0 < count <= x.ndim or any(map(never_equal, x.shape[x.ndim - count :], shape)):
        raise ShapeError(f"{name}: normalized_shape {normalized_shape} is not the end of {x.type}{at()}")
    return tuple(range(x.ndim - count, x.ndim)), shape


def _check_parameters(name: str, shape: Shape, parameters: dict[str, Node | None]) -> None:
    for what, node in parameters.items():
        if node is not None and (node.ndim != len(shape) or any(map(never_equal, node.shape, shape))):
            shown = ",".join(map(str, shape))
            raise ShapeError(f"{name}: {what} must have shape ({shown}), got {node.type}{at()}")


def _channels(name: str, x: Node) -> Size:
    if x.ndim < 2:
        raise ShapeError(f"{name}: axis 1 must be the channels, got {x.type}{at()}")
    return x.shape[1]


def _channel_shape(x: Node) -> Shape:
    return (x.shape[1], *(1,) * (x.ndim - 2))


def _reshaped(node: Node | None, shape: Shape) -> Node | None:
    return None if node is None else reshape(node, shape)


def _scaled(x: Node, weight: Node | None, bias: Node | None) -> Node:
    out = x if weight is None else x * weight
    return out if bias is None else out + bias
