"""What rules for logarithms ask of an operand: what exponentials it is made of, if it is a mask, a power, a number."""

from __future__ import annotations

from graphc.graph.node import Node
from graphc.graph.op import Constant, View
from graphc.graph.types import Array
from graphc.ops.indexing import Gather
from graphc.ops.pointwise import WHERE, Cast
from graphc.ops.reduction import Reduction
from graphc.passes.algebra.pattern import literal
from graphc.passes.algebra.signs import at_most_one, is_nonnegative, is_positive

EXPONENTIAL = frozenset(("exp", "exp2", "expm1", "sinh", "cosh", "tanh", "sech", "sigmoid", "sigmoid_slope"))
EXPONENTIAL |= {"softmax", "softplus", "erfc", "ndtr", "normal_density"}
"""The ops whose logarithm has a form of its own."""
DEPTH = 5
"""How deep in products, sums and powers an exponential is looked for."""


def root_of(x: Node) -> Node:
    """Return the node whose elements `x` only moves."""
    while isinstance(x.op, (View, Gather)):
        x = x.inputs[0]
    return x


def is_exponential(x: Node, depth: int = DEPTH) -> bool:
    """Tell whether the logarithm of `x` is known in a form that cannot overflow."""
    x = root_of(x)
    name = x.op.name
    if name in EXPONENTIAL:
        return True
    if depth == 0 or not x.inputs:
        return False
    first, second = x.inputs[0], x.inputs[-1]
    if name in ("reciprocal", "sqrt", "square"):
        return is_exponential(first, depth - 1)
    if name == "pow":
        base = literal(first)
        return is_exponential(first, depth - 1) if base is None else base > 0
    if name in ("multiply", "divide"):
        return splits(first, second, depth - 1)
    if name == "add":
        return adds(first, second, depth - 1)
    if x.op is WHERE:  # a mask leaves 0 of the others
        chosen = [y for y in x.inputs[1:] if literal(y) != 0]
        return bool(chosen) and all(is_exponential(y, depth - 1) for y in chosen)
    if type(x.op) is Reduction and name in ("sum", "prod"):
        return (is_exponential(first, depth - 1) and is_nonnegative(first)) or (name == "sum" and _has_shift(first))
    if name == "cumulative_sum":
        return is_exponential(first, depth - 1) and is_nonnegative(first)
    return name == "matmul" and _has_shift(x)


def _has_shift(x: Node) -> bool:
    """Tell whether a product has a factor `exp` whose exponents can be shifted."""
    factors = [root_of(f) for f in root_of(x).inputs] if root_of(x).op.name in ("multiply", "matmul") else []
    return any(f.op.name == "exp" and not is_shifted(f.inputs[0]) for f in factors)


def splits(x: Node, y: Node, depth: int = DEPTH) -> bool:
    """Tell whether a factor is an exponential, and the logarithm of the product NaN where that of a factor is."""
    return (is_exponential(x, depth) or is_exponential(y, depth)) and (
        is_positive(x) or is_positive(y) or (is_nonnegative(x) and is_nonnegative(y))
    )


def adds(x: Node, y: Node, depth: int = DEPTH) -> bool:
    """Tell whether both are positive exponentials, or one may overflow and the other is a positive number."""
    c, d = literal(x), literal(y)
    if c is not None or d is not None:
        number, other = (c, y) if c is not None else (d, x)
        return number is not None and number > 0 and is_exponential(other, depth) and may_overflow(other)
    return is_exponential(x, depth) and is_exponential(y, depth) and is_positive(x) and is_positive(y)


def may_overflow(x: Node) -> bool:
    """Tell whether a positive `x` may be infinite although its logarithm is not."""
    return root_of(x).op.name not in ("softplus", "erfc") and is_positive(x) and not at_most_one(x)


def subtracts(x: Node, y: Node) -> bool:
    """Tell whether the difference of both has a logarithm made of theirs."""
    return is_exponential(x) and is_exponential(y) and is_positive(x) and is_positive(y)


def is_shifted(x: Node) -> bool:
    """Tell whether the exponent `x` is what `_shift` leaves, or a difference from a maximum written by hand."""
    if x.op.name == "where" and x.inputs[1].op.name == "minimum":
        x = x.inputs[1].inputs[0]
    if x.op.name != "subtract":
        return False
    m = root_of(x.inputs[1])
    while m.op.name == "stop_gradient":
        m = root_of(m.inputs[0])
    return m.op.name == "max" or (m.op.name == "where" and m.inputs[0].op.name == "isfinite")


def has_even_power(y: Node) -> bool:
    """Tell whether `y` is an even number."""
    exponent = literal(y)
    return exponent is not None and exponent % 2 == 0


def is_mask(x: Node) -> bool:
    """Tell whether `x` is a cast of a bool, moved or not, or constants 0 and 1."""
    x = root_of(x)
    while type(x.op) is Cast and x.inputs[0].dtype.kind == "f":
        x = root_of(x.inputs[0])
    if isinstance(x.op, Constant):
        return _has_only_0_and_1(x.op.value)
    return type(x.op) is Cast and x.inputs[0].dtype.kind == "b"


def _has_only_0_and_1(values: Array) -> bool:
    """Look at the first elements before all: few constants that are no masks begin like one."""
    return all(bool(((v == 0) | (v == 1)).all()) for v in (values.ravel()[:64], values))


def is_finite_literal(x: Node) -> bool:
    """Tell whether `x` is a finite number other than 0."""
    value = literal(x)
    return value is not None and value - value == 0 and value != 0
