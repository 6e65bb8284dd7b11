"""`Standardize` and `InverseDeviation`: what layer, batch, group, instance and root-mean-square norms share.

Both stay whole until codegen, so that their derivatives are the few sums that calculus leaves, not what mean, square
and root would give one by one. Means are corrected by the mean of what is left after them, so a row of equal values
becomes exactly 0, and a large offset costs no digits that the data has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.graph.node import Node
from graphc.graph.op import Composite, Cotangents, apply
from graphc.graph.types import Array, TensorType, product
from graphc.ops.elementwise import square, where
from graphc.ops.elementwise_logic import equal
from graphc.ops.pointwise import broadcast, elementwise, masked_multiply, pointwise, size_node
from graphc.ops.reduction import Reduction, sum

Axes = tuple[int, ...]

RSQRT = elementwise(
    "rsqrt",
    numpy=lambda x: 1 / np.sqrt(x),
    code="{T}(1) / sqrt({0})",
    accepts="float",
    partials=(lambda out, x: -0.5 * out / x,),
)


def _spread(g: Node, x: Node, axes: Axes) -> Node:
    """Broadcast a reduced value back over `axes` of `x`."""
    return broadcast(g, x.shape, tuple(a for a in range(x.ndim) if a not in axes))


def _mean(x: Node, axes: Axes) -> Node:
    return sum(x, axes) / size_node(product(x.shape[a] for a in axes), x.dtype)


def moments(x: Node, axes: Axes) -> tuple[Node, Node, Node]:
    """Return the mean and the variance over `axes`, and `x` minus the mean.

    Method: two passes, each with the correction of Chan, Golub & LeVeque, Algorithms for computing the sample
    variance, 1983.
    """
    rough = _mean(x, axes)
    distance = x - _spread(rough, x, axes)
    rest = _mean(distance, axes)
    distance = distance - _spread(rest, x, axes)
    return rough + rest, _mean(square(distance), axes), distance


def _array_mean(x: Array, axes: Axes) -> Array:
    count = x.dtype.type(np.prod([x.shape[a] for a in axes]))
    return np.asarray(np.sum(x, axes, keepdims=True) / count)


@dataclass(frozen=True)
class _Normalization(Composite):
    """Parameters: the axes, what is added to the mean square, and whether the mean is subtracted first."""

    axes: Axes
    eps: float
    centred: bool

    def distance(self, x: Node) -> tuple[Node, Node]:
        """Return `x` minus its mean (or `x`), and the mean of the squares of that."""
        if self.centred:
            _, variance, distance = moments(x, self.axes)
            return distance, variance
        return x, _mean(square(x), self.axes)

    def inverse(self, power: Node) -> Node:
        """Return 1 / sqrt(power + eps); without eps, 0 where all values are equal, as `std` has derivative 0 there."""
        if self.eps:
            return pointwise(RSQRT, power + self.eps)
        return where(equal(power, 0), 0, pointwise(RSQRT, power))

    def arrays(self, x: Array) -> tuple[Array, Array]:
        """Return what `distance` and `inverse` do, of an array; the axes are kept with size 1."""
        with np.errstate(all="ignore"):
            distance = x - _array_mean(x, self.axes) if self.centred else x
            distance = distance - _array_mean(distance, self.axes) if self.centred else x
            power = _array_mean(distance * distance, self.axes) + x.dtype.type(self.eps)
            inverse = 1 / np.sqrt(power)
        return distance, inverse if self.eps else np.where(power == 0, 0, inverse).astype(x.dtype)


@dataclass(frozen=True)
class InverseDeviation(_Normalization):
    """1 / sqrt(mean of squares + eps) over `axes`, which the result drops."""

    name = "inverse_deviation"

    def infer(self, *types: TensorType) -> TensorType:
        return Reduction("sum", self.axes).infer(*types)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(np.squeeze(self.arrays(arrays[0])[1], self.axes))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        (x,) = inputs
        scale = masked_multiply(g, self._slope(out, x))
        return (masked_multiply(_spread(scale, x, self.axes), self._standard(x)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,), (x,) = tangents, inputs
        return None if t is None else sum(masked_multiply(t, self._standard(x)), self.axes) * self._slope(out, x)

    def expand(self, *inputs: Node) -> Node:
        return self.inverse(self.distance(inputs[0])[1])

    def _slope(self, out: Node, x: Node) -> Node:
        return -square(out) / size_node(product(x.shape[a] for a in self.axes), x.dtype)

    def _standard(self, x: Node) -> Node:
        return apply(Standardize(self.axes, self.eps, self.centred), x)


@dataclass(frozen=True)
class Standardize(_Normalization):
    """`x`, minus its mean over `axes` where `centred`, divided by the root of (mean of squares + eps)."""

    name = "standardize"

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        distance, inverse = self.arrays(arrays[0])
        return np.asarray(distance * inverse)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        """Project `g` off the constant and off `out`, and divide by the deviation."""
        (x,) = inputs
        along = _spread(_mean(masked_multiply(g, out), self.axes), x, self.axes)
        rest = g - masked_multiply(along, out)
        if self.centred:
            rest = rest - _spread(_mean(g, self.axes), x, self.axes)
        inverse = apply(InverseDeviation(self.axes, self.eps, self.centred), x)
        return (masked_multiply(rest, _spread(inverse, x, self.axes)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        return None if t is None else self.vjp(t, out, *inputs)[0]  # the Jacobian is symmetric

    def expand(self, *inputs: Node) -> Node:
        distance, power = self.distance(inputs[0])
        return distance * _spread(self.inverse(power), distance, self.axes)


def standardize(x: Node, axes: Axes, eps: float, *, centred: bool = True) -> Node:
    """Return `x` with mean 0 (where `centred`) and mean square 1 over `axes`."""
    return apply(Standardize(axes, eps, centred), x)
