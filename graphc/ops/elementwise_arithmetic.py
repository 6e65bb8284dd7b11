"""Elementwise arithmetic, rounding and selection: the records, and the public functions on them.

Each record (upper case) is one row: its NumPy meaning, its scalar code, its partial derivatives; the fields are
explained at `elementwise` in `ops/pointwise.py`. The other rows of the table are in `elementwise_float.py`
(exponentials, powers, trigonometry) and `elementwise_logic.py` (comparisons, logic, bits).

Where a derivative does not exist, the value is a convention: `abs` and `relu` have 0 at 0, `maximum` and
`minimum` give half to each of two equal operands, `clip` passes the cotangent at its bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node
from graphc.graph.types import Array, as_dtype, is_float
from graphc.ops.elementwise_logic import equal
from graphc.ops.pointwise import WHERE, as_node, cast, elementwise, masked_multiply, pointwise, promote

# -- arithmetic


def _twice(g: Node, x: Node, y: Node) -> Node:
    """Return g * x * y, from the left: for small divisors x * y overflows before the product does."""
    return masked_multiply(masked_multiply(g, x), y)


ADD = elementwise("add", numpy=np.add, code="{0} + {1}", partials=(1, 1), commutative=True)
SUBTRACT = elementwise("subtract", numpy=np.subtract, code="{0} - {1}", partials=(1, -1))
MULTIPLY = elementwise(
    "multiply",
    numpy=np.multiply,
    code="{0} * {1}",
    partials=(lambda out, x, y: y, lambda out, x, y: x),
    commutative=True,
)
DIVIDE = elementwise(
    "divide",
    numpy=np.divide,
    code="{0} / {1}",
    accepts="float",
    masks=True,
    partials=(
        lambda g, out, x, y: masked_multiply(g, reciprocal(y)),
        lambda g, out, x, y: -_twice(g, out, reciprocal(y)),
    ),
)
FLOOR_DIVIDE = elementwise(
    "floor_divide",
    numpy=np.floor_divide,
    code={"f": "fdiv({0}, {1})", "i": "idiv({0}, {1})"},
    partials=(None, None),
)
REMAINDER = elementwise(
    "remainder",
    numpy=np.remainder,
    code={"f": "fmod_floor({0}, {1})", "i": "imod({0}, {1})"},
    partials=(1, lambda out, x, y: -floor_divide(x, y)),
)
NEGATIVE = elementwise("negative", numpy=np.negative, code="-{0}", partials=(-1,))
RECIPROCAL = elementwise(
    "reciprocal",
    numpy=np.reciprocal,
    code="{T}(1) / {0}",
    accepts="float",
    masks=True,
    partials=(lambda g, out, x: -_twice(g, out, out),),
)
SQUARE = elementwise("square", numpy=np.square, code="{0} * {0}", partials=(lambda out, x: 2 * x,))
ABS = elementwise(
    "abs",
    numpy=np.abs,
    code={"f": "fabs({0})", "i": "select({0} < {T}(0), -{0}, {0})", "u": "{0}"},
    partials=(lambda out, x: sign(x),),
)
SIGN = elementwise(
    "sign",
    numpy=np.sign,
    code={
        # the innermost select turns -0.0 into 0.0 and keeps NaN
        "f": "select({0} > {T}(0), {T}(1), select({0} < {T}(0), {T}(-1), select({0} == {T}(0), {T}(0), {0})))",
        "i": "select({0} > {T}(0), {T}(1), select({0} < {T}(0), {T}(-1), {T}(0)))",
        "u": "select({0} > {T}(0), {T}(1), {T}(0))",
    },
    partials=(None,),
)
COPYSIGN = elementwise(
    "copysign",
    numpy=np.copysign,
    code="copysign({0}, {1})",
    accepts="float",
    partials=(lambda out, x, y: sign(x) * copysign(1, y), None),
)
NEXTAFTER = elementwise(
    "nextafter", numpy=np.nextafter, code="nextafter({0}, {1})", accepts="float", partials=(1, None)
)


def add(x1: Any, x2: Any, /) -> Node:
    """Return `x1 + x2`; the operator `+`.

    >>> add(1.0, 2.0).eval()
    array(3.)
    """
    return pointwise(ADD, x1, x2)


def subtract(x1: Any, x2: Any, /) -> Node:
    """Return `x1 - x2`; the operator `-`."""
    return pointwise(SUBTRACT, x1, x2)


def multiply(x1: Any, x2: Any, /) -> Node:
    """Return the elementwise product `x1 * x2`; the operator `*`."""
    return pointwise(MULTIPLY, x1, x2)


def divide(x1: Any, x2: Any, /) -> Node:
    """Return the quotient `x1 / x2` as floats; the operator `/`. Division by 0 gives inf or nan."""
    return pointwise(DIVIDE, x1, x2)


def floor_divide(x1: Any, x2: Any, /) -> Node:
    """Return the quotient rounded toward -inf; the operator `//`. An integer divided by 0 gives 0.

    >>> floor_divide(-7, 2).eval()
    array(-4)
    """
    return pointwise(FLOOR_DIVIDE, x1, x2)


def remainder(x1: Any, x2: Any, /) -> Node:
    """Return what `floor_divide` leaves, with the sign of `x2`; the operator `%`. Integers modulo 0 give 0.

    >>> remainder(-7, 3).eval()
    array(2)
    """
    return pointwise(REMAINDER, x1, x2)


def negative(x: Any, /) -> Node:
    """Return `-x`; unsigned integers wrap around."""
    return pointwise(NEGATIVE, x)


def positive(x: Any, /) -> Node:
    """Return `x` as a node: `+x`."""
    return promote("positive", "number", [x])[0]


def reciprocal(x: Any, /) -> Node:
    """Return `1 / x` as floats."""
    return pointwise(RECIPROCAL, x)


def square(x: Any, /) -> Node:
    """Return `x * x`."""
    return pointwise(SQUARE, x)


def abs(x: Any, /) -> Node:
    """Return the absolute value; its derivative at 0 is 0."""
    return pointwise(ABS, x)


def sign(x: Any, /) -> Node:
    """Return -1, 0 or 1 by the sign of `x`, nan for nan."""
    return pointwise(SIGN, x)


def copysign(x1: Any, x2: Any, /) -> Node:
    """Return the magnitude of `x1` with the sign of `x2`, that of -0.0 included."""
    return pointwise(COPYSIGN, x1, x2)


def nextafter(x1: Any, x2: Any, /) -> Node:
    """Return the float next to `x1` in the direction of `x2`."""
    return pointwise(NEXTAFTER, x1, x2)


# -- rounding


def _on_floats(ufunc: Any) -> Any:
    """Return a rounding that leaves integers alone, also where NumPy (before 2.1) makes floats of them."""
    return lambda x: ufunc(x) if x.dtype.kind == "f" else x


CEIL = elementwise("ceil", numpy=_on_floats(np.ceil), code={"f": "ceil({0})", "i": "{0}"}, partials=(None,))
FLOOR = elementwise("floor", numpy=_on_floats(np.floor), code={"f": "floor({0})", "i": "{0}"}, partials=(None,))
TRUNC = elementwise("trunc", numpy=_on_floats(np.trunc), code={"f": "trunc({0})", "i": "{0}"}, partials=(None,))
ROUND = elementwise("round", numpy=_on_floats(np.rint), code={"f": "rint({0})", "i": "{0}"}, partials=(None,))


def ceil(x: Any, /) -> Node:
    """Return the smallest integer value that is not below `x`, in the dtype of `x`."""
    return pointwise(CEIL, x)


def floor(x: Any, /) -> Node:
    """Return the largest integer value that is not above `x`, in the dtype of `x`."""
    return pointwise(FLOOR, x)


def trunc(x: Any, /) -> Node:
    """Return `x` without its fraction, in the dtype of `x`."""
    return pointwise(TRUNC, x)


def round(x: Any, /) -> Node:
    """Return the nearest integer value, halves to the even one, in the dtype of `x`.

    >>> round(2.5).eval()
    array(2.)
    """
    return pointwise(ROUND, x)


# -- selection


def _extremum_share(g: Node, ahead: Node, x: Node, y: Node) -> Node:
    """Return `g` where the operand is ahead, half of it at ties, a hard zero elsewhere."""
    return where(ahead, g, where(equal(x, y), 0.5 * g, 0))


def _clip(x: Array, low: Array, high: Array) -> Array:
    return np.minimum(np.maximum(x, low), high)


MAXIMUM = elementwise(
    "maximum",
    numpy=np.maximum,
    code={"f": "fmax_nan({0}, {1})", "i": "select({0} > {1}, {0}, {1})"},
    masks=True,
    partials=(
        lambda g, out, x, y: _extremum_share(g, x > y, x, y),
        lambda g, out, x, y: _extremum_share(g, x < y, x, y),
    ),
    commutative=True,
)
MINIMUM = elementwise(
    "minimum",
    numpy=np.minimum,
    code={"f": "fmin_nan({0}, {1})", "i": "select({0} < {1}, {0}, {1})"},
    masks=True,
    partials=(
        lambda g, out, x, y: _extremum_share(g, x < y, x, y),
        lambda g, out, x, y: _extremum_share(g, x > y, x, y),
    ),
    commutative=True,
)
CLIP = elementwise(
    "clip",
    numpy=_clip,
    code={
        "f": "fmin_nan(fmax_nan({0}, {1}), {2})",
        "i": "select({0} > {2}, {2}, select({1} > {2}, {2}, select({0} < {1}, {1}, {0})))",
    },
    masks=True,
    partials=(
        lambda g, out, x, low, high: where((low <= x) & (x <= high), g, 0),
        lambda g, out, x, low, high: where((x < low) & (low <= high), g, 0),
        lambda g, out, x, low, high: where((x > high) | (low > high), g, 0),
    ),
)
RELU = elementwise(
    "relu",
    numpy=lambda x: np.where(x < 0, np.zeros_like(x), x),
    code={"f": "select({0} < {T}(0), {T}(0), {0})", "i": "select({0} < {T}(0), {T}(0), {0})", "u": "{0}"},
    masks=True,
    partials=(lambda g, out, x: where(out > 0, g, 0),),  # of the result, which is kept anyway: the next layer needs it
)
STOP_GRADIENT = elementwise("stop_gradient", numpy=lambda x: x, code="{0}", accepts="any", partials=(None,))


def maximum(x1: Any, x2: Any, /) -> Node:
    """Return the larger of two values, nan where one is nan; equal operands share the gradient evenly."""
    return pointwise(MAXIMUM, x1, x2)


def minimum(x1: Any, x2: Any, /) -> Node:
    """Return the smaller of two values, nan where one is nan; equal operands share the gradient evenly."""
    return pointwise(MINIMUM, x1, x2)


def clip(x: Any, /, min: Any = None, max: Any = None) -> Node:
    """Return `x` limited to `min`..`max`; None leaves that side open. `max` wins where it is below `min`.

    The gradient goes to `x` inside the bounds and at them, to the bound elsewhere.

    >>> clip([-2.0, 0.5, 2.0], -1, 1).eval()
    array([-1. ,  0.5,  1. ])
    """
    if min is None and max is None:
        return positive(x)
    node = as_node(x)
    if is_float(node.dtype):
        lowest: float = -np.inf
        highest: float = np.inf
    elif node.dtype.kind in "iu":
        lowest, highest = int(np.iinfo(node.dtype).min), int(np.iinfo(node.dtype).max)
        # A Python int beyond the dtype bounds nothing, as NumPy has it.
        min = None if type(min) is int and min < lowest else min
        max = None if type(max) is int and max > highest else max
    else:
        raise ArgumentError(f"clip: {node.type} has no order; convert with .astype{at()}")
    return pointwise(CLIP, x, lowest if min is None else min, highest if max is None else max)


def where(condition: Any, x1: Any, x2: Any, /) -> Node:
    """Return `x1` where `condition` holds and `x2` elsewhere.

    The gradient of the value that was not chosen is a hard zero, also where its own derivative is inf or nan.

    >>> where([True, False], 1.0, 2.0).eval()
    array([1., 2.])
    """
    return pointwise(WHERE, condition, x1, x2)


def relu(x: Any, /) -> Node:
    """Return `max(x, 0)`, nan for nan; its derivative at 0 is 0.

    >>> relu([-1.0, 2.0]).eval()
    array([0., 2.])
    """
    return pointwise(RELU, x)


def stop_gradient(x: Any, /) -> Node:
    """Return `x` itself, through which no derivative passes."""
    return pointwise(STOP_GRADIENT, x)


def astype(x: Any, dtype: Any, /) -> Node:
    """Return `x` converted to `dtype` as `numpy.ndarray.astype` does: floats to integers cut the fraction.

    >>> astype([1.7, -1.7], "int64").eval()
    array([ 1, -1])
    """
    return cast(as_node(x), as_dtype(dtype))
