"""A third interpreter of graphs, in mpmath: the true values that rules are held against.

Values are NumPy object arrays of `mpf`; views use their own `evaluate`. What is undefined over the reals is nan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import numpy as np

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Constant, View
from graphc.ops.cumulative import Cumulative
from graphc.passes.algebra.pattern import axes_of

DIGITS = 400
"""Enough for 1 + exp(-700) and 1 - cos(1e-150) to keep 50 digits of what matters."""

ONES: defaultdict[str, int] = defaultdict(lambda: 1)

_EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "masked_multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "negative": lambda x: -x,
    "reciprocal": lambda x: 1 / x,
    "sqrt_safe": mpmath.sqrt,
    "root_plus": lambda x, c: mpmath.sqrt(x * x + c),
    "square": lambda x: x * x,
    "one_minus_square": lambda x: 1 - x * x,
    "erfc": lambda x: mpmath.erfc(max(min(x, mpmath.mpf(10) ** 5), mpmath.mpf(-100))),  # fails on huge arguments
    "erf": lambda x: mpmath.erf(max(min(x, mpmath.mpf(100)), mpmath.mpf(-100))),
    "ndtr": lambda x: mpmath.erfc(-max(min(x, mpmath.mpf(100)), -(mpmath.mpf(10) ** 5)) / mpmath.sqrt(2)) / 2,
    "normal_density": mpmath.npdf,
    "abs": abs,
    "relu": lambda x: max(x, mpmath.mpf(0)),
    "maximum": max,
    "minimum": min,
    "where": lambda c, x, y: x if c else y,
    "logaddexp": lambda x, y: mpmath.log(mpmath.exp(x) + mpmath.exp(y)),
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "sigmoid_slope": lambda x: mpmath.sech(x / 2) ** 2 / 4,
    "pow": lambda x, y: x**y,
    "gammaln": lambda x: mpmath.loggamma(x).real,
    "sinc": mpmath.sinc,
    "equal": lambda x, y: x == y,
    "not_equal": lambda x, y: x != y,
    "greater": lambda x, y: x > y,
    "astype": lambda x: mpmath.mpf(x),  # to float64
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x) / mpmath.log(2),
}


def scalar(name: str) -> Callable[..., Any]:
    function = _EXACT.get(name) or getattr(mpmath, name)

    def call(*operands: Any) -> Any:
        try:
            value = function(*operands)
        except (ZeroDivisionError, ValueError):
            return mpmath.nan
        return mpmath.nan if isinstance(value, mpmath.mpc) else value

    return call


def _over_axes(name: str, x: Any, axes: tuple[int, ...]) -> Any:
    if name == "max":
        return np.max(x, axes)
    if name in ("sum", "prod"):
        return getattr(np, name)(x, axes)
    total = np.sum(_map("exp", x), axes, keepdims=True)
    if name == "softmax":
        return _map("exp", x) / total
    if name == "log_softmax":
        return x - _map("log", total)
    assert name == "logsumexp", name
    return np.squeeze(_map("log", total), axes)


def _map(name: str, *operands: Any) -> Any:
    return np.asarray(np.frompyfunc(scalar(name), len(operands), 1)(*operands), dtype=object)


def true_value(output: Node, bindings: Mapping[Node, Any], digits: int = DIGITS) -> Any:
    """Evaluate a node at `digits` digits; bindings are object arrays of `mpf`, symbolic sizes are 1."""
    with mpmath.workdps(digits):
        values: dict[Node, Any] = dict(bindings)
        for node in Graph([output]).nodes:
            if node not in values:
                values[node] = _value(node, [values[x] for x in node.inputs])
        return values[output]


def _value(node: Node, operands: list[Any]) -> Any:
    if isinstance(node.op, Constant):
        return as_mpf(node.op.value)
    if isinstance(node.op, View):
        return np.asarray(node.op.resolve(ONES).evaluate(*operands), dtype=object)
    if node.op.name == "matmul":
        return np.matmul(*operands)
    if isinstance(node.op, Cumulative):
        ordered = np.flip(operands[0], node.op.axis) if node.op.reverse else operands[0]
        sums = np.add.accumulate(ordered, node.op.axis)
        return np.flip(sums, node.op.axis) if node.op.reverse else sums
    axes = axes_of(node.op)
    return _map(node.op.name, *operands) if axes is None else np.asarray(_over_axes(node.op.name, operands[0], axes))


def as_mpf(array: Any) -> Any:
    """Convert an array of floats, exactly."""
    return np.asarray(np.frompyfunc(lambda v: mpmath.mpf(float(v)), 1, 1)(array), dtype=object)
