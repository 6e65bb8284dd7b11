"""Activations: elementwise functions of a node, and `glu`, `softmin` along an axis.

Each gives nan for nan, the limit at infinities, and derivatives that are as accurate as the value. Where the
derivative does not exist, it is 0, as that of `relu` is at 0, unless the function says otherwise. `sigmoid`, `tanh`,
`softmax` and `log_softmax` are in `gc` itself.
"""

from __future__ import annotations

from typing import Any

from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.types import Size, floor_div
from graphc.ops.activations import GELU, GELU_TANH, MISH, SILU, SOFTSIGN, TANHSHRINK
from graphc.ops.elementwise import abs, clip, expm1, relu, sigmoid, stop_gradient, where
from graphc.ops.elementwise import softplus as softplus_of_one
from graphc.ops.manipulation import reshape
from graphc.ops.pointwise import pointwise, promote
from graphc.ops.reduction import softmax
from graphc.ops.shape import axis_index, slice_axis

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_swish",
    "hardshrink",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "silu",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanhshrink",
    "threshold",
]

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
"""The fixed point of mean 0 and variance 1: Klambauer et al., Self-normalizing neural networks, 2017."""


def _float(name: str, x: Any) -> Node:
    return promote(name, "float", [x])[0]


# -- rectifiers


@checked
def leaky_relu(x: Any, /, negative_slope: float | Node = 0.01) -> Node:
    """Return `x` where it is positive and `negative_slope * x` elsewhere.

    >>> leaky_relu([-1.0, 2.0]).eval()
    array([-0.01,  2.  ])
    """
    node = _float("leaky_relu", x)
    return where(node > 0, node, node * negative_slope)


def prelu(x: Any, weight: Any, /) -> Node:
    """Return `x` where it is positive and `weight * x` elsewhere.

    `weight` is 0-d, or has one entry for each channel: the sizes of axis 1 of `x`, or of its only axis. Raises
    `ShapeError`.

    >>> prelu([[-1.0, -1.0]], [0.5, 0.25]).eval()
    array([[-0.5 , -0.25]])
    """
    node, slope = promote("prelu", "float", [x, weight])
    if slope.ndim > 1 or (slope.ndim == 1 and node.ndim == 0):
        raise ShapeError(f"prelu: weight must be 0-d or have one entry a channel: {node.type}, {slope.type}{at()}")
    if slope.ndim == 1 and node.ndim > 2:
        slope = reshape(slope, (slope.shape[0], *(1,) * (node.ndim - 2)))
    return where(node > 0, node, node * slope)


@checked
def elu(x: Any, /, alpha: float | Node = 1.0) -> Node:
    """Return `x` where it is positive and `alpha * (exp(x) - 1)` elsewhere.

    >>> elu([-1000.0, 1.0]).eval()
    array([-1.,  1.])
    """
    node = _float("elu", x)
    return where(node > 0, node, alpha * expm1(node))


def selu(x: Any, /) -> Node:
    """Return the scaled `elu` that keeps activations at mean 0 and variance 1.

    Source: Klambauer et al., Self-normalizing neural networks, 2017.
    """
    node = _float("selu", x)
    return where(node > 0, SELU_SCALE * node, (SELU_SCALE * SELU_ALPHA) * expm1(node))


@checked
def celu(x: Any, /, alpha: float = 1.0) -> Node:
    """Return `x` where it is positive and `alpha * (exp(x / alpha) - 1)` elsewhere: a smooth `elu`.

    >>> celu([-1000.0, 1.0], alpha=2.0).eval()
    array([-2.,  1.])
    """
    if alpha == 0:
        raise ArgumentError(f"celu: alpha must not be 0{at()}")
    node = _float("celu", x)
    return where(node > 0, node, alpha * expm1(node / alpha))


# -- smooth functions


@checked
def gelu(x: Any, /, approximate: str = "none") -> Node:
    """Return `x` times the normal distribution function of `x`, accurate in the left tail too.

    `approximate="tanh"` takes `0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x**3)))` instead. Source: Hendrycks
    and Gimpel, Gaussian error linear units, 2016.

    >>> gelu([-20.0, 0.0, 1.0]).eval()
    array([-5.50724824e-88,  0.00000000e+00,  8.41344746e-01])
    """
    records = {"none": GELU, "tanh": GELU_TANH}
    if approximate not in records:
        raise ArgumentError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}{at()}')
    return pointwise(records[approximate], x)


def silu(x: Any, /) -> Node:
    """Return `x * sigmoid(x)`, also called swish.

    >>> silu([-1000.0, 0.0, 1000.0]).eval()
    array([  -0.,    0., 1000.])
    """
    return pointwise(SILU, x)


def mish(x: Any, /) -> Node:
    """Return `x * tanh(softplus(x))`. Source: Misra, Mish, 2019."""
    return pointwise(MISH, x)


@checked
def softplus(x: Any, /, beta: float = 1.0) -> Node:
    """Return `log(1 + exp(beta * x)) / beta`, without overflow anywhere.

    >>> softplus([0.0, 1000.0], beta=2.0).eval()
    array([3.4657359e-01, 1.0000000e+03])
    """
    if beta == 0:
        raise ArgumentError(f"softplus: beta must not be 0{at()}")
    node = _float("softplus", x)
    return softplus_of_one(node) if beta == 1 else softplus_of_one(node * beta) / beta


def softsign(x: Any, /) -> Node:
    """Return `x / (1 + abs(x))`.

    >>> softsign([-1.0, 3.0, float("inf")]).eval()
    array([-0.5 ,  0.75,  1.  ])
    """
    return pointwise(SOFTSIGN, x)


def logsigmoid(x: Any, /) -> Node:
    """Return `log(sigmoid(x))`, without underflow.

    >>> logsigmoid([-1000.0, 1000.0]).eval()
    array([-1000.,    -0.])
    """
    return -softplus_of_one(-_float("logsigmoid", x))


def tanhshrink(x: Any, /) -> Node:
    """Return `x - tanh(x)`, accurate near 0, where it is about `x**3 / 3`.

    >>> tanhshrink(1e-5).eval()
    array(3.33333333e-16)
    """
    return pointwise(TANHSHRINK, x)


# -- piecewise linear functions


def _limited(x: Node, low: float, high: float) -> Node:
    """Return `x` limited to low..high, with derivative 0 at the bounds, unlike `clip`."""
    return where((x > low) & (x < high), x, stop_gradient(clip(x, low, high)))


def relu6(x: Any, /) -> Node:
    """Return `x` limited to 0..6."""
    return _limited(_float("relu6", x), 0.0, 6.0)


@checked
def hardtanh(x: Any, /, min_val: float = -1.0, max_val: float = 1.0) -> Node:
    """Return `x` limited to `min_val`..`max_val`, with derivative 0 at both.

    >>> hardtanh([-3.0, 0.5, 3.0]).eval()
    array([-1. ,  0.5,  1. ])
    """
    if not min_val < max_val:
        raise ArgumentError(f"hardtanh: min_val < max_val is needed, got {min_val} and {max_val}{at()}")
    return _limited(_float("hardtanh", x), min_val, max_val)


def hard_sigmoid(x: Any, /) -> Node:
    """Return `(x + 3) / 6` limited to 0..1.

    >>> hard_sigmoid([-4.0, 0.0, 1.5]).eval()
    array([0.  , 0.5 , 0.75])
    """
    return _limited(_float("hard_sigmoid", x) + 3.0, 0.0, 6.0) / 6.0


def hard_swish(x: Any, /) -> Node:
    """Return `x * hard_sigmoid(x)`. Source: Howard et al., Searching for MobileNetV3, 2019.

    >>> hard_swish([-4.0, 0.0, 3.0]).eval()
    array([0., 0., 3.])
    """
    node = _float("hard_swish", x)
    return where(node <= -3.0, 0.0, where(node >= 3.0, node, node * (node + 3.0) / 6.0))


@checked
def threshold(x: Any, threshold: float, value: float, /) -> Node:
    """Return `x` where it is above `threshold` and `value` elsewhere.

    >>> threshold([0.5, 2.0], 1.0, -1.0).eval()
    array([-1.,  2.])
    """
    node = _float("threshold", x)
    return where(node <= threshold, value, node)


@checked
def hardshrink(x: Any, /, lambd: float | Node = 0.5) -> Node:
    """Return `x` where `abs(x) > lambd` and 0 elsewhere."""
    node = _float("hardshrink", x)
    return where(abs(node) <= lambd, 0.0, node)


@checked
def softshrink(x: Any, /, lambd: float = 0.5) -> Node:
    """Return `x` moved towards 0 by `lambd`, and 0 where it is nearer than that.

    >>> softshrink([-2.0, 0.25, 2.0]).eval()
    array([-1.5,  0. ,  1.5])
    """
    if lambd < 0:
        raise ArgumentError(f"softshrink: lambd must be at least 0, got {lambd}{at()}")
    node = _float("softshrink", x)
    return where(abs(node) <= lambd, 0.0, where(node < 0, node + lambd, node - lambd))


# -- along an axis


@checked
def softmin(x: Any, /, axis: int = -1) -> Node:
    """Return `softmax(-x)` along `axis`.

    >>> softmin([0.0, 1000.0]).eval()
    array([1., 0.])
    """
    return softmax(-_float("softmin", x), axis)


@checked
def glu(x: Any, /, axis: int = -1) -> Node:
    """Return the first half along `axis` times the `sigmoid` of the second half.

    Raises `ShapeError` where the axis is of odd size. Source: Dauphin et al., Language modeling with gated
    convolutional networks, 2017.

    >>> glu([2.0, 4.0, 0.0, 1000.0]).eval()
    array([1., 4.])
    """
    node = _float("glu", x)
    place = axis_index("glu", axis, node.ndim)
    size = node.shape[place]
    if isinstance(size, int) and size % 2:
        raise ShapeError(f"glu: axis {axis} of {node.type} is odd{at()}")
    half: Size = floor_div(size, 2)
    return slice_axis(node, place, 0, half) * sigmoid(slice_axis(node, place, half, size - half))
