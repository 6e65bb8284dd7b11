"""Elementwise comparisons, classification, logic and bits: records without derivatives, and their functions.

Part of the table that `ops/elementwise_arithmetic.py` describes. Results are bool, but the bitwise functions
keep the dtype of their operands.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.graph.op import constant
from graphc.graph.types import UINT64
from graphc.ops.pointwise import (
    WHERE,
    Elementwise,
    as_node,
    broadcast_to_shape,
    cast,
    elementwise,
    is_weak,
    pointwise,
)

NONE = (None,)
NONE_TWICE = (None, None)

# -- comparisons

EQUAL = elementwise(
    "equal",
    numpy=np.equal,
    code="{0} == {1}",
    accepts="any",
    gives="bool",
    partials=NONE_TWICE,
    commutative=True,
)
NOT_EQUAL = elementwise(
    "not_equal",
    numpy=np.not_equal,
    code="{0} != {1}",
    accepts="any",
    gives="bool",
    partials=NONE_TWICE,
    commutative=True,
)
LESS = elementwise("less", numpy=np.less, code="{0} < {1}", accepts="any", gives="bool", partials=NONE_TWICE)
LESS_EQUAL = elementwise(
    "less_equal", numpy=np.less_equal, code="{0} <= {1}", accepts="any", gives="bool", partials=NONE_TWICE
)
GREATER = elementwise("greater", numpy=np.greater, code="{0} > {1}", accepts="any", gives="bool", partials=NONE_TWICE)
GREATER_EQUAL = elementwise(
    "greater_equal", numpy=np.greater_equal, code="{0} >= {1}", accepts="any", gives="bool", partials=NONE_TWICE
)


_SWAPPED = {EQUAL: EQUAL, NOT_EQUAL: NOT_EQUAL, LESS: GREATER, GREATER: LESS} | {
    LESS_EQUAL: GREATER_EQUAL,
    GREATER_EQUAL: LESS_EQUAL,
}


def _compare(op: Elementwise, x1: Any, x2: Any) -> Node:
    """Compare integers exactly, as NumPy 2 does: signed with unsigned ones, and with Python ints of any size."""
    left, right = (x if isinstance(x, Node) or is_weak(x) else as_node(x, what=op.name) for x in (x1, x2))
    if isinstance(right, Node) and not isinstance(left, Node):
        left, right, op = right, left, _SWAPPED[op]
    if not isinstance(left, Node) or left.dtype.kind not in "iu":
        return pointwise(op, left, right)
    if isinstance(right, Node):
        if {left.dtype.kind, right.dtype.kind} == {"i", "u"} and UINT64 in (left.dtype, right.dtype):
            return _mixed(op, left, right) if left.dtype.kind == "i" else _mixed(_SWAPPED[op], right, left)
        return pointwise(op, left, right)
    limits = np.iinfo(left.dtype)
    if isinstance(right, int) and not limits.min <= right <= limits.max:
        return broadcast_to_shape(constant(bool(op.numpy(0, 1 if right > 0 else -1))), left.shape)
    return pointwise(op, left, right)


def _mixed(op: Elementwise, signed: Node, unsigned: Node) -> Node:
    """Compare a signed integer with a uint64: below 0 it is less, else both are uint64."""
    below = pointwise(LESS, signed, 0)
    return pointwise(WHERE, below, bool(op.numpy(-1, 0)), pointwise(op, cast(signed, UINT64), unsigned))


def equal(x1: Any, x2: Any, /) -> Node:
    """Return where two values are equal, as bool (nan equals nothing); `==` on nodes is identity.

    >>> equal([1, 2], [1, 3]).eval()
    array([ True, False])
    """
    return _compare(EQUAL, x1, x2)


def not_equal(x1: Any, x2: Any, /) -> Node:
    """Return where two values differ, as bool; nan differs from everything."""
    return _compare(NOT_EQUAL, x1, x2)


def less(x1: Any, x2: Any, /) -> Node:
    """Return `x1 < x2` as bool."""
    return _compare(LESS, x1, x2)


def less_equal(x1: Any, x2: Any, /) -> Node:
    """Return `x1 <= x2` as bool."""
    return _compare(LESS_EQUAL, x1, x2)


def greater(x1: Any, x2: Any, /) -> Node:
    """Return `x1 > x2` as bool."""
    return _compare(GREATER, x1, x2)


def greater_equal(x1: Any, x2: Any, /) -> Node:
    """Return `x1 >= x2` as bool."""
    return _compare(GREATER_EQUAL, x1, x2)


# -- classification; integers are always finite

ISFINITE = elementwise(
    "isfinite", numpy=np.isfinite, code={"f": "isfinite({0})", "i": "{0} == {0}"}, gives="bool", partials=NONE
)
ISINF = elementwise("isinf", numpy=np.isinf, code={"f": "isinf({0})", "i": "{0} != {0}"}, gives="bool", partials=NONE)
ISNAN = elementwise("isnan", numpy=np.isnan, code={"f": "isnan({0})", "i": "{0} != {0}"}, gives="bool", partials=NONE)
SIGNBIT = elementwise("signbit", numpy=np.signbit, code="signbit({0})", accepts="float", gives="bool", partials=NONE)


def isfinite(x: Any, /) -> Node:
    """Return where `x` is neither infinite nor nan."""
    return pointwise(ISFINITE, x)


def isinf(x: Any, /) -> Node:
    """Return where `x` is inf or -inf."""
    return pointwise(ISINF, x)


def isnan(x: Any, /) -> Node:
    """Return where `x` is nan."""
    return pointwise(ISNAN, x)


def signbit(x: Any, /) -> Node:
    """Return where the sign bit is set: negative values and -0.0."""
    return pointwise(SIGNBIT, x)


# -- logic: operands count as true where they are not 0

LOGICAL_AND = elementwise(
    "logical_and",
    numpy=np.logical_and,
    code="{0} & {1}",
    accepts="logical",
    gives="bool",
    partials=NONE_TWICE,
    commutative=True,
)
LOGICAL_OR = elementwise(
    "logical_or",
    numpy=np.logical_or,
    code="{0} | {1}",
    accepts="logical",
    gives="bool",
    partials=NONE_TWICE,
    commutative=True,
)
LOGICAL_XOR = elementwise(
    "logical_xor",
    numpy=np.logical_xor,
    code="{0} ^ {1}",
    accepts="logical",
    gives="bool",
    partials=NONE_TWICE,
    commutative=True,
)
LOGICAL_NOT = elementwise(
    "logical_not", numpy=np.logical_not, code="({0} == False)", accepts="logical", gives="bool", partials=NONE
)


def logical_and(x1: Any, x2: Any, /) -> Node:
    """Return where both operands are true (not 0)."""
    return pointwise(LOGICAL_AND, x1, x2)


def logical_or(x1: Any, x2: Any, /) -> Node:
    """Return where at least one operand is true (not 0)."""
    return pointwise(LOGICAL_OR, x1, x2)


def logical_xor(x1: Any, x2: Any, /) -> Node:
    """Return where exactly one operand is true (not 0)."""
    return pointwise(LOGICAL_XOR, x1, x2)


def logical_not(x: Any, /) -> Node:
    """Return where `x` is false (0).

    >>> logical_not([0, 2]).eval()
    array([ True, False])
    """
    return pointwise(LOGICAL_NOT, x)


# -- bits

BITWISE_AND = elementwise(
    "bitwise_and",
    numpy=np.bitwise_and,
    code="{0} & {1}",
    accepts="bitwise",
    partials=NONE_TWICE,
    commutative=True,
)
BITWISE_OR = elementwise(
    "bitwise_or",
    numpy=np.bitwise_or,
    code="{0} | {1}",
    accepts="bitwise",
    partials=NONE_TWICE,
    commutative=True,
)
BITWISE_XOR = elementwise(
    "bitwise_xor",
    numpy=np.bitwise_xor,
    code="{0} ^ {1}",
    accepts="bitwise",
    partials=NONE_TWICE,
    commutative=True,
)
BITWISE_INVERT = elementwise(
    "bitwise_invert",
    numpy=np.invert,
    code={"i": "~{0}", "b": "({0} == False)"},
    accepts="bitwise",
    partials=NONE,
)
BITWISE_LEFT_SHIFT = elementwise(
    "bitwise_left_shift", numpy=np.left_shift, code="shl({0}, {1})", accepts="integer", partials=NONE_TWICE
)
BITWISE_RIGHT_SHIFT = elementwise(
    "bitwise_right_shift", numpy=np.right_shift, code="shr({0}, {1})", accepts="integer", partials=NONE_TWICE
)


def bitwise_and(x1: Any, x2: Any, /) -> Node:
    """Return the bits set in both integers or bools; the operator `&`."""
    return pointwise(BITWISE_AND, x1, x2)


def bitwise_or(x1: Any, x2: Any, /) -> Node:
    """Return the bits set in at least one of two integers or bools; the operator `|`."""
    return pointwise(BITWISE_OR, x1, x2)


def bitwise_xor(x1: Any, x2: Any, /) -> Node:
    """Return the bits set in exactly one of two integers or bools; the operator `^`."""
    return pointwise(BITWISE_XOR, x1, x2)


def bitwise_invert(x: Any, /) -> Node:
    """Return an integer or bool with every bit flipped; the operator `~`."""
    return pointwise(BITWISE_INVERT, x)


def bitwise_left_shift(x1: Any, x2: Any, /) -> Node:
    """Return `x1` shifted left by `x2` bits; 0 where `x2` is negative or not below the width.

    >>> bitwise_left_shift(1, [0, 3, 64]).eval()
    array([1, 8, 0])
    """
    return pointwise(BITWISE_LEFT_SHIFT, x1, x2)


def bitwise_right_shift(x1: Any, x2: Any, /) -> Node:
    """Return `x1` shifted right by `x2` bits; the sign fills where `x2` is negative or not below the width."""
    return pointwise(BITWISE_RIGHT_SHIFT, x1, x2)
