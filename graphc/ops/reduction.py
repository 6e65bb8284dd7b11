"""Reductions over axes, the statistics built from them, and the softmax family.

`Reduction` is one op with a name, since codegen treats all of them alike: an accumulator over axes that the
result drops (`keepdims` is a `Broadcast` behind it). `LogSumExp`, `Softmax` and `LogSoftmax` stay whole until
codegen: shifted by the maximum they are exact over the whole range, and their derivatives need no maximum.

Conventions: `max` and `min` share their cotangent evenly among ties, and NaN counts as the extreme; `prod` has
the right derivatives with any number of zeros; `std` of equal values has derivative 0.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.graph.arguments import checked
from graphc.graph.errors import ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import Composite, Cotangents, Op, apply, constant
from graphc.graph.types import BOOL, FLOAT64, INT64, Array, Dim, DType, Size, TensorType, is_float, product
from graphc.ops.cumulative import Cumulative, accumulator, shift
from graphc.ops.elementwise import maximum
from graphc.ops.elementwise_arithmetic import reciprocal
from graphc.ops.elementwise_float import exp, exp_capped, log, sqrt_safe
from graphc.ops.elementwise_logic import equal, logical_or, not_equal
from graphc.ops.pointwise import WHERE, as_node, broadcast, cast, masked_multiply, pointwise, promote, size_node
from graphc.ops.shape import axis_index, axis_tuple, inverse_permutation, permute, reshape_to

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "log_softmax",
    "logsumexp",
    "max",
    "mean",
    "min",
    "prod",
    "softmax",
    "std",
    "sum",
    "var",
]
NO_EXTREME = "an empty axis has no largest or smallest element"


@dataclass(frozen=True)
class Kind:
    """What one reduction is: NumPy's function, what it starts from, and the operator that takes in one more value.

    `>` and `<` keep the larger and the smaller value, or its position. Codegen knows nothing else of a reduction.
    """

    numpy: Callable[..., Array]
    start: int | str
    operator: str

    def __post_init__(self) -> None:
        if self.operator not in "+*|&^><" or self.start not in (0, 1, "least", "greatest"):
            raise TypeError(
                f"no reduction of kernels starts from {self.start!r} and takes values in by {self.operator!r}"
            )


KINDS: dict[str, Kind] = {
    "sum": Kind(np.sum, 0, "+"),
    "prod": Kind(np.prod, 1, "*"),
    "max": Kind(np.max, "least", ">"),
    "min": Kind(np.min, "greatest", "<"),
    "any": Kind(np.any, 0, "|"),
    "all": Kind(np.all, 1, "&"),
    "argmax": Kind(np.argmax, "least", ">"),
    "argmin": Kind(np.argmin, "greatest", "<"),
}
"""The reductions by name: what the interpreter and kernels compute."""


@dataclass(frozen=True)
class Reduction(Op):
    """`name` (sum, prod, max, min, any, all, argmax, argmin) over `axes`, sorted and not empty.

    max, min and their positions need an element, unless `may_be_empty`: then an empty axis has -inf or inf.
    """

    name: str = field(repr=False)
    axes: tuple[int, ...]
    may_be_empty: bool = field(default=False, repr=False)

    @property
    def needs_elements(self) -> bool:
        """Whether an empty axis is an error."""
        return self.name in ("max", "min", "argmax", "argmin") and not self.may_be_empty

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        kept = tuple(s for a, s in enumerate(x.shape) if a not in self.axes)
        if self.needs_elements:
            _refuse_empty(f"{self.name}: {x}: ", [x.shape[a] for a in self.axes], at())
        return TensorType(INT64 if self.name in ("argmax", "argmin") else x.dtype, kept)

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        if self.needs_elements:
            _refuse_empty("", [x.shape[a] for a in self.axes])
        with np.errstate(all="ignore"):
            if self.name in ("argmax", "argmin"):
                return np.asarray(KINDS[self.name].numpy(x, self.axes[0]))
            if self.name == "sum" and x.dtype.kind == "f":
                return _pairwise_sum(x, self.axes)
            return np.asarray(KINDS[self.name].numpy(x, axis=self.axes, **self._keywords(x.dtype)))

    def _keywords(self, dtype: DType) -> dict[str, Any]:
        if self.name in ("sum", "prod"):
            return {"dtype": dtype}
        return {"initial": -np.inf if self.name == "max" else np.inf} if self.may_be_empty else {}

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        (x,) = inputs
        if self.name == "sum":
            return (_spread(g, x, self.axes),)
        if self.name == "prod":
            return (masked_multiply(_spread(g, x, self.axes), _product_of_others(x, self.axes)),)
        if self.name in ("max", "min"):
            extreme, count = _extremes(x, out, self.axes)
            return (pointwise(WHERE, extreme, _spread(g / count, x, self.axes), constant(0, g.dtype)),)
        return (None,)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,), (x,) = tangents, inputs
        if t is None or self.name == "sum":
            return None if t is None else apply(self, t)
        if self.name == "prod":
            return apply(Reduction("sum", self.axes), masked_multiply(t, _product_of_others(x, self.axes)))
        if self.name in ("max", "min"):
            extreme, count = _extremes(x, out, self.axes)
            moved = pointwise(WHERE, extreme, t, constant(0, t.dtype))
            return apply(Reduction("sum", self.axes), moved) / count
        return None


def _pairwise_sum(x: Array, axes: tuple[int, ...]) -> Array:
    """Sum by NumPy's pairwise method, which it uses along the last axis of contiguous arrays only."""
    kept = [a for a in range(x.ndim) if a not in axes]
    rows = np.ascontiguousarray(np.transpose(x, (*kept, *axes)))
    return np.asarray(np.sum(rows.reshape(*(x.shape[a] for a in kept), math.prod(x.shape[a] for a in axes)), -1))


def _refuse_empty(prefix: str, reduced: Sequence[Size], suffix: str = "") -> None:
    """Raise `ShapeError` where an extreme of nothing is asked for."""
    if 0 in reduced:
        raise ShapeError(f"{prefix}{NO_EXTREME}{suffix}")


def _spread(g: Node, x: Node, axes: tuple[int, ...]) -> Node:
    """Broadcast a reduced value back over `axes` of `x`."""
    return broadcast(g, x.shape, tuple(a for a in range(x.ndim) if a not in axes))


def _extremes(x: Node, out: Node, axes: tuple[int, ...]) -> tuple[Node, Node]:
    """Return where `x` has the extreme value (NaN, if there is one), and how often."""
    extreme = logical_or(equal(x, _spread(out, x, axes)), not_equal(x, x))
    return extreme, apply(Reduction("sum", axes), cast(extreme, x.dtype))


def _product_of_others(x: Node, axes: tuple[int, ...]) -> Node:
    """Return at each element the product of all others along `axes`, without dividing."""

    def others(flat: Node, axis: int) -> Node:
        before = apply(Cumulative("cumulative_prod", axis, False), flat)
        after = apply(Cumulative("cumulative_prod", axis, True), flat)
        return shift(before, axis, 1, False) * shift(after, axis, 1, True)

    return _on_one_axis(others, x, axes)


def _on_one_axis(fn: Callable[[Node, int], Node], x: Node, axes: tuple[int, ...]) -> Node:
    """Apply a shape-keeping function of one axis to `axes` taken together."""
    if len(axes) == 1:
        return fn(x, axes[0])
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    last = permute(x, kept + axes)
    flat = reshape_to(last, (*(x.shape[a] for a in kept), product(x.shape[a] for a in axes)))
    return permute(reshape_to(fn(flat, len(kept)), last.shape), inverse_permutation(kept + axes))


# -- the softmax family


def shifted_arrays(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the maximum over `axes` (kept as 1, -inf if empty), and x - maximum: 0 where equal, also at ±inf."""
    top = np.max(x, axes, keepdims=True, initial=-np.inf)
    return top, np.where(x == top, x.dtype.type(0), x - top)


def shifted_nodes(x: Node, axes: tuple[int, ...]) -> tuple[Node, Node]:
    """Return what `shifted_arrays` does, as nodes, the maximum without the reduced axes."""
    top = _top(x, axes)
    wide = _spread(top, x, axes)
    return top, pointwise(WHERE, equal(x, wide), constant(0, x.dtype), x - wide)


def weight_nodes(x: Node, axes: tuple[int, ...]) -> tuple[Node, Node, Node]:
    """Return the maximum, exp(x - maximum) and the sum of these, both sums without the reduced axes.

    Where the maximum is infinite, inf - inf stands for 0. Where it is NaN, the sum is NaN and the weights are 1.
    """
    top = _top(x, axes)
    weights = exp_capped(x - _spread(top, x, axes))
    return top, weights, pointwise(WHERE, equal(top, top), _sum_over(weights, axes), top)


def _top(x: Node, axes: tuple[int, ...]) -> Node:
    return apply(Reduction("max", axes, may_be_empty=True), x)


def _sum_over(x: Node, axes: tuple[int, ...]) -> Node:
    return apply(Reduction("sum", axes), x)


@dataclass(frozen=True)
class LogSumExp(Composite):
    """log(sum(exp(x))) over `axes`, without overflow; -inf where all are -inf."""

    name = "logsumexp"
    axes: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        return Reduction("sum", self.axes).infer(*types)

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            top, shifted = shifted_arrays(arrays[0], self.axes)
            return np.asarray(np.squeeze(top, self.axes) + np.log(np.sum(np.exp(shifted), self.axes)))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        (x,) = inputs
        return (masked_multiply(_spread(g, x, self.axes), softmax_over(x, self.axes)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,), (x,) = tangents, inputs
        return None if t is None else _sum_over(masked_multiply(t, softmax_over(x, self.axes)), self.axes)

    def expand(self, *inputs: Node) -> Node:
        top, _, total = weight_nodes(inputs[0], self.axes)
        return top + log(total)


def softmax_over(x: Node, axes: tuple[int, ...]) -> Node:
    """Return exp(x) / sum(exp(x)) over several axes taken together."""
    return _on_one_axis(lambda flat, axis: apply(Softmax(axis), flat), x, axes)


@dataclass(frozen=True)
class Softmax(Composite):
    """exp(x) / sum(exp(x)) along `axis`; infinite maxima share evenly, as equal finite ones do."""

    name = "softmax"
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            weights = np.exp(shifted_arrays(arrays[0], (self.axis,))[1])
            return np.asarray(weights / np.sum(weights, self.axis, keepdims=True))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        mean = _sum_over(masked_multiply(g, out), (self.axis,))
        return (masked_multiply(g - _spread(mean, out, (self.axis,)), out),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        return None if t is None else self.vjp(t, out, *inputs)[0]  # the Jacobian is symmetric

    def expand(self, *inputs: Node) -> Node:
        (x,) = inputs
        _, weights, total = weight_nodes(x, (self.axis,))
        # One division a row: the sum is at least 1, so that its reciprocal is safe and costs one more rounding.
        return weights * _spread(reciprocal(total), x, (self.axis,))


@dataclass(frozen=True)
class LogSoftmax(Composite):
    """x - logsumexp(x) along `axis`."""

    name = "log_softmax"
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            shifted = shifted_arrays(arrays[0], (self.axis,))[1]
            return np.asarray(shifted - np.log(np.sum(np.exp(shifted), self.axis, keepdims=True)))

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        total = _spread(_sum_over(g, (self.axis,)), out, (self.axis,))
        return (g - masked_multiply(total, exp(out)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        (t,) = tangents
        if t is None:
            return None
        return t - _spread(_sum_over(masked_multiply(t, exp(out)), (self.axis,)), out, (self.axis,))

    def expand(self, *inputs: Node) -> Node:
        (x,) = inputs
        shifted = shifted_nodes(x, (self.axis,))[1]
        return shifted - _spread(log(weight_nodes(x, (self.axis,))[2]), x, (self.axis,))


# -- the user's functions


def _reduce(name: str, x: Node, axis: Any, keepdims: bool) -> Node:
    axes = axis_tuple(name, axis, x.ndim)
    return _keep(apply(Reduction(name, axes), x) if axes else x, x, axes, keepdims)


def _keep(out: Node, x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """Put the reduced axes back with size 1, if asked."""
    if not (keepdims and axes):
        return out
    shape = tuple(1 if a in axes else s for a, s in enumerate(x.shape))
    return broadcast(out, shape, tuple(a for a in range(x.ndim) if a not in axes))


@checked
def sum(x: Any, /, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Node:
    """Return the sum over `axis` (an int, a tuple, or None for all); bool and small integers sum as 64 bits.

    >>> sum([[1, 2], [3, 4]], 0).eval()
    array([4, 6])
    """
    return _reduce("sum", accumulator(x, dtype), axis, keepdims)


@checked
def prod(x: Any, /, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Node:
    """Return the product over `axis`; the derivative is right with zeros, at every order.

    >>> prod([1, 2, 3]).eval()
    array(6)
    """
    return _reduce("prod", accumulator(x, dtype), axis, keepdims)


@checked
def max(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Node:
    """Return the largest element over `axis`; NaN if there is one; `ShapeError` for an empty axis.

    Ties share the gradient evenly.

    >>> max([1, 3, 2]).eval()
    array(3)
    """
    return _reduce("max", as_node(x), axis, keepdims)


@checked
def min(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Node:
    """Return the smallest element over `axis`; see `max`.

    >>> min([1, 3, 2]).eval()
    array(1)
    """
    return _reduce("min", as_node(x), axis, keepdims)


@checked
def any(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Node:
    """Return whether an element over `axis` is true (not 0)."""
    return _reduce("any", cast(as_node(x), BOOL), axis, keepdims)


@checked
def all(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Node:
    """Return whether all elements over `axis` are true (not 0)."""
    return _reduce("all", cast(as_node(x), BOOL), axis, keepdims)


@checked
def argmax(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Node:
    """Return the position of the first largest element along `axis` (None: in the flattened elements).

    >>> argmax([1, 3, 3]).eval()
    array(1)
    """
    return _position("argmax", as_node(x), axis, keepdims)


@checked
def argmin(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Node:
    """Return the position of the first smallest element along `axis`; see `argmax`."""
    return _position("argmin", as_node(x), axis, keepdims)


def _position(name: str, x: Node, axis: int | None, keepdims: bool) -> Node:
    if axis is None:
        flat = reshape_to(x, (x.size,))
        return _keep(apply(Reduction(name, (0,)), flat), x, tuple(range(x.ndim)), keepdims)
    axes = (axis_index(name, axis, x.ndim),)
    return _keep(apply(Reduction(name, axes), x), x, axes, keepdims)


def _as_float(x: Any) -> Node:
    """Return an operand as floats; integers and bool as float64, as NumPy's statistics do."""
    node = as_node(x)
    return node if is_float(node.dtype) else cast(node, FLOAT64)


@checked
def mean(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Node:
    """Return the arithmetic mean over `axis`; NaN for an empty axis.

    >>> mean([1, 2]).eval()
    array(1.5)
    """
    node = _as_float(x)
    axes = axis_tuple("mean", axis, node.ndim)
    size = product(node.shape[a] for a in axes)
    total, count = sum(node, axes, keepdims=keepdims), size_node(size, node.dtype)
    if size == 0:  # NaN, with a hard zero as derivative: not 1 / 0 times the sum over no elements
        total = pointwise(WHERE, constant(False, BOOL), total, constant(0, node.dtype))
    return total / count


@checked
def var(x: Any, /, axis: Any = None, *, correction: float = 0, keepdims: bool = False) -> Node:
    """Return the variance over `axis`: sum((x - mean)**2) / (n - correction), in two passes.

    Method: Chan, Golub & LeVeque, Algorithms for computing the sample variance, 1983.

    >>> var([1.0, 3.0], correction=1).eval()
    array(2.)
    """
    node = _as_float(x)
    axes = axis_tuple("var", axis, node.ndim)
    distance = node - mean(node, axes, keepdims=True)
    return sum(distance * distance, axes, keepdims=keepdims) / _freedom(node, axes, correction)


def _freedom(x: Node, axes: tuple[int, ...], correction: float) -> Node:
    """Return n - correction, at least 0."""
    size = product(x.shape[a] for a in axes)
    if isinstance(size, Dim):
        return maximum(size_node(size, x.dtype) - correction, 0)
    return constant(builtins.max(size - correction, 0), x.dtype)


@checked
def std(x: Any, /, axis: Any = None, *, correction: float = 0, keepdims: bool = False) -> Node:
    """Return the standard deviation over `axis`; the gradient is 0 where all elements are equal.

    >>> std([1.0, 3.0]).eval()
    array(1.)
    """
    return sqrt_safe(var(x, axis, correction=correction, keepdims=keepdims))


@checked
def logsumexp(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Node:
    """Return log(sum(exp(x))) over `axis`, exact for any spread of values; where all are -inf they share the gradient.

    >>> logsumexp([1000.0, 1000.0]).eval()
    array(1000.69314718)
    """
    (node,) = promote("logsumexp", "float", [x])
    axes = axis_tuple("logsumexp", axis, node.ndim)
    return _keep(apply(LogSumExp(axes), node) if axes else node, node, axes, keepdims)


@checked
def softmax(x: Any, /, axis: int = -1) -> Node:
    """Return exp(x) / sum(exp(x)) along `axis`; infinite maxima share evenly, as equal finite ones do.

    >>> softmax([1000.0, 1000.0]).eval()
    array([0.5, 0.5])
    """
    (node,) = promote("softmax", "float", [x])
    return apply(Softmax(axis_index("softmax", axis, node.ndim)), node)


@checked
def log_softmax(x: Any, /, axis: int = -1) -> Node:
    """Return log(softmax(x)) along `axis`, without underflow.

    >>> log_softmax([0.0, -1000.0]).eval()
    array([    0., -1000.])
    """
    (node,) = promote("log_softmax", "float", [x])
    return apply(LogSoftmax(axis_index("log_softmax", axis, node.ndim)), node)
