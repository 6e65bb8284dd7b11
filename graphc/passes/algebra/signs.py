"""What is known of the sign and size of a value: an interval analysis with the end points -inf, -1, 0, 1 and inf.

Rules ask it where an identity needs a sign: `log(x * y)` is `log(x) + log(y)` if neither factor is negative. A claim
holds for every element that is not NaN, in real arithmetic: `exp(x)` is positive although it underflows to 0; so is a
sum of exponentials, unless it is empty. An answer looks at no more than `BUDGET` nodes; what lies deeper counts as
unknown, so that rules stay linear in the graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from graphc.graph.node import Node
from graphc.graph.op import Constant, View
from graphc.ops.elementwise_float import literal
from graphc.ops.indexing import Gather
from graphc.ops.pointwise import DimValue
from graphc.ops.shape import Concat

BUDGET = 48
"""Nodes that one question may look at."""


@dataclass(frozen=True)
class Bounds:
    """low <= x <= high; `nonzero`: and x is not 0 wherever the operands are finite."""

    low: float = -inf
    high: float = inf
    nonzero: bool = False

    @property
    def nonnegative(self) -> bool:
        return self.low >= 0

    @property
    def positive(self) -> bool:
        return self.low >= 0 and (self.nonzero or self.low > 0)


UNKNOWN = Bounds()


def is_nonnegative(x: Node) -> bool:
    """Tell whether `x` is known to be nowhere negative; -0.0 is not negative."""
    return bounds(x).nonnegative


def is_positive(x: Node) -> bool:
    """Tell whether `x` is known to be positive for finite operands, but for underflow."""
    return bounds(x).positive


def at_most_one(x: Node) -> bool:
    """Tell whether `x` is known to be nowhere above 1."""
    return bounds(x).high <= 1


def bounds(x: Node) -> Bounds:
    """Return what is known of the values of `x`."""
    return _Analysis().of(x)


class _Analysis:
    def __init__(self) -> None:
        self.left = BUDGET

    def of(self, x: Node) -> Bounds:
        self.left -= 1
        if self.left < 0:
            return UNKNOWN
        op = x.op
        if isinstance(op, Constant):
            return _of_constant(x, op)
        if isinstance(op, DimValue):
            return Bounds(0.0)
        if x.dtype.kind == "b":
            return Bounds(0.0, 1.0)
        if isinstance(op, (View, Gather)):
            return self.of(x.inputs[0])
        if isinstance(op, Concat):
            return self._union(*x.inputs)
        fixed = _FIXED.get(op.name)
        if fixed is not None:
            return fixed
        rule = _RULES.get(op.name)
        if rule is None or x.dtype.kind in "iu":  # integers wrap
            return UNKNOWN
        return rule(self, *x.inputs)

    def _union(self, *operands: Node) -> Bounds:
        found = [self.of(x) for x in operands]
        return Bounds(min(b.low for b in found), max(b.high for b in found), all(b.nonzero for b in found))

    # -- one method an op, of the operands

    def add(self, x: Node, y: Node) -> Bounds:
        a, b = self.of(x), self.of(y)
        return _made(a.low + b.low, a.high + b.high, _one_sided(a, b) and (a.nonzero or b.nonzero))

    def subtract(self, x: Node, y: Node) -> Bounds:
        a, b = self.of(x), _negated(self.of(y))
        return _made(a.low + b.low, a.high + b.high, _one_sided(a, b) and (a.nonzero or b.nonzero))

    def negative(self, x: Node) -> Bounds:
        return _negated(self.of(x))

    def multiply(self, x: Node, y: Node) -> Bounds:
        a = self.of(x)
        if x is y:
            return _made(0.0, _times(*[max(-a.low, a.high)] * 2), a.nonzero)
        b = self.of(y)
        ends = [_times(s, t) for s in (a.low, a.high) for t in (b.low, b.high)]
        return _made(min(ends), max(ends), a.nonzero and b.nonzero)

    def square(self, x: Node) -> Bounds:
        return self.multiply(x, x)

    def divide(self, x: Node, y: Node) -> Bounds:
        a, b = self.of(x), _inverted(self.of(y))
        ends = [_times(s, t) for s in (a.low, a.high) for t in (b.low, b.high)]
        return _made(min(ends), max(ends), a.nonzero)

    def reciprocal(self, x: Node) -> Bounds:
        found = _inverted(self.of(x))
        return _made(found.low, found.high, True)

    def sqrt(self, x: Node) -> Bounds:
        a = self.of(x)
        return _made(max(a.low, 0.0) if a.low in (0.0, 1.0) else 0.0, a.high if a.high >= 0 else inf, a.nonzero)

    def abs(self, x: Node) -> Bounds:
        a = self.of(x)
        return _made(max(a.low, -a.high, 0.0), max(-a.low, a.high), a.nonzero)

    def exp(self, x: Node) -> Bounds:
        a = self.of(x)
        return _made(1.0 if a.low >= 0 else 0.0, 1.0 if a.high <= 0 else inf, True)

    def log(self, x: Node) -> Bounds:
        a = self.of(x)
        return _made(0.0 if a.low >= 1 else -inf, 0.0 if a.high <= 1 else inf, False)

    def odd(self, x: Node) -> Bounds:
        """Functions that have the sign of their operand."""
        a = self.of(x)
        return _made(0.0 if a.low >= 0 else -inf, 0.0 if a.high <= 0 else inf, a.nonzero)

    def tanh(self, x: Node) -> Bounds:
        a = self.odd(x)
        return Bounds(max(a.low, -1.0), min(a.high, 1.0), a.nonzero)

    def pow(self, x: Node, y: Node) -> Bounds:
        a = self.of(x)
        exponent = literal(y)
        even = exponent is not None and exponent % 2 == 0
        kept = a.positive or (a.nonnegative and exponent is not None and exponent > 0)  # 1 / -0.0 is negative
        return _made(0.0 if kept or even else -inf, inf, a.nonzero)

    def maximum(self, x: Node, y: Node) -> Bounds:
        a, b = self.of(x), self.of(y)
        return _made(max(a.low, b.low), max(a.high, b.high), a.positive or b.positive or (a.nonzero and b.nonzero))

    def minimum(self, x: Node, y: Node) -> Bounds:
        a, b = self.of(x), self.of(y)
        return _made(min(a.low, b.low), min(a.high, b.high), a.nonzero and b.nonzero)

    def clip(self, x: Node, low: Node, high: Node) -> Bounds:
        a, b, c = self.of(x), self.of(low), self.of(high)
        return _made(min(max(a.low, b.low), c.low), min(max(a.high, b.high), c.high), False)

    def where(self, condition: Node, x: Node, y: Node) -> Bounds:
        return self._union(x, y)

    def astype(self, x: Node) -> Bounds:
        return UNKNOWN if x.dtype.kind in "iu" else self.of(x)

    def sum(self, x: Node) -> Bounds:
        a = self.of(x)
        return _made(0.0 if a.low >= 0 else -inf, 0.0 if a.high <= 0 else inf, a.positive)

    def prod(self, x: Node) -> Bounds:
        a = self.of(x)
        return _made(0.0, 1.0 if a.high <= 1 else inf, a.nonzero) if a.low >= 0 else UNKNOWN

    def extreme(self, x: Node) -> Bounds:
        a = self.of(x)
        return Bounds(a.low, a.high, a.nonzero)

    def logsumexp(self, x: Node) -> Bounds:
        return Bounds(0.0) if self.of(x).low >= 0 and 0 not in x.shape and _sizes_known(x) else UNKNOWN

    def logaddexp(self, x: Node, y: Node) -> Bounds:
        return Bounds(0.0) if self.of(x).low >= 0 or self.of(y).low >= 0 else UNKNOWN


def _sizes_known(x: Node) -> bool:
    return all(isinstance(s, int) for s in x.shape)


def _of_constant(x: Node, op: Constant) -> Bounds:
    value = op.value
    if value.dtype.kind == "b":
        return Bounds(0.0, 1.0)
    if value.dtype.kind != "f" or math.isnan(op.extent[0]):
        return UNKNOWN
    return _made(*op.extent)


def _made(low: float, high: float, nonzero: bool) -> Bounds:
    """Round outwards to the end points, whose sums and products are exact in every dtype."""
    low, high = (-inf if math.isnan(low) else low), (inf if math.isnan(high) else high)
    down = next((e for e in (1.0, 0.0, -1.0) if low >= e), -inf)
    up = next((e for e in (-1.0, 0.0, 1.0) if high <= e), inf)
    return Bounds(down, up, nonzero)


def _negated(a: Bounds) -> Bounds:
    return Bounds(-a.high, -a.low, a.nonzero)


def _one_sided(a: Bounds, b: Bounds) -> bool:
    return (a.low >= 0 and b.low >= 0) or (a.high <= 0 and b.high <= 0)


def _times(a: float, b: float) -> float:
    """Multiply end points; 0 * inf is 0, since an infinite end point is no value of its own."""
    return 0.0 if a == 0 or b == 0 else a * b


def _inverted(a: Bounds) -> Bounds:
    if a.positive:
        return Bounds(0.0, 1.0 if a.low >= 1 else inf)
    return Bounds(-1.0 if a.high <= -1 else -inf, 0.0) if a.high <= 0 and a.nonzero else UNKNOWN  # -0.0 has a sign


_POSITIVE = Bounds(0.0, inf, True)
_PROBABILITY = Bounds(0.0, 1.0, True)

_FIXED: dict[str, Bounds] = {
    **dict.fromkeys(("softplus", "normal_density", "exp2"), _POSITIVE),
    **dict.fromkeys(("sigmoid", "sigmoid_slope", "softmax", "ndtr", "sech", "exp_capped"), _PROBABILITY),
    **dict.fromkeys(("erf", "sin", "cos", "sign"), Bounds(-1.0, 1.0)),
    **dict.fromkeys(("log_softmax", "log1mexp"), Bounds(high=0.0)),
    **dict.fromkeys(("relu", "sqrt_safe", "hypot", "log_cosh", "acosh", "acos"), Bounds(0.0)),
    "cosh": Bounds(1.0, inf, True),
    **dict.fromkeys(("erfc", "erfcx", "erfcx_slope", "log_ndtr_slope", "log_ndtr_excess"), _POSITIVE),
    "log_ndtr": Bounds(high=0.0),
    "one_minus_square": Bounds(high=1.0),
}
"""Ops whose values are bounded whatever the operands are."""

_RULES: dict[str, Callable[..., Bounds]] = {
    **{name: getattr(_Analysis, name) for name in ("add", "subtract", "negative", "multiply", "square", "divide")},
    **{name: getattr(_Analysis, name) for name in ("reciprocal", "sqrt", "abs", "exp", "log", "tanh", "pow")},
    **{name: getattr(_Analysis, name) for name in ("maximum", "minimum", "clip", "where", "astype", "sum", "prod")},
    **{name: getattr(_Analysis, name) for name in ("logsumexp", "logaddexp")},
    **dict.fromkeys(("sinh", "asinh", "expm1", "log1p", "atan", "asin", "atanh"), _Analysis.odd),
    **dict.fromkeys(("max", "min"), _Analysis.extreme),
}
"""Ops whose bounds follow from those of their operands."""
