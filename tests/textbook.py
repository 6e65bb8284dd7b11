"""Textbook formulas as users write them, with the points where they usually fail, and the true functions.

`SCALAR` are functions of one or two numbers, `ROWS` of the rows of a matrix. `true` is the same formula in mpmath, at
so many digits that even the naive form is right; its derivatives are taken there. `known` gives, for points where a
convention decides or where the reals have no answer, the value and the derivatives in full: `(f, f')` or `(f, f', f'')`
for one operand, `(f, fx, fy)` or `(f, fx, fy, fxx, fxy, fyy)` for two. Entries with a `limit` are numerically not what
one would wish; the text says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mpmath as mp
import numpy as np

import graphc as gc
from graphc.graph.node import Node

INF, NAN = float("inf"), float("nan")
Point = tuple[float, ...]


@dataclass(frozen=True)
class Formula:
    """One row of the table; `units` is the error allowed in the value, in units of the last place."""

    name: str
    build: Callable[..., Node]
    true: Callable[..., Any]
    points: Sequence[Any]
    known: Mapping[Any, tuple[float, ...]] = field(default_factory=dict)
    units: float = 8
    limit: str = ""
    dtypes: tuple[str, ...] = ("float64", "float32")

    @property
    def arity(self) -> int:
        """The number of operands."""
        return self.build.__code__.co_argcount


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _xlogx(x: Any) -> Any:
    return x * mp.log(x) if x > 0 else mp.mpf(0)


def _or_zero(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: function(x) if x > 0 else mp.mpf(0)


TINY = (1e-300, 1e-30, -1e-30, 1e-9, -1e-9, 1e-4)
MIDDLE = (-3.0, -0.7, -0.1, 0.1, 0.7, 3.0)
WIDE = (-800.0, -100.0, -40.0, -20.0, 20.0, 40.0, 100.0, 1000.0)
ALL = (*TINY, *MIDDLE, *WIDE)
POSITIVE = (1e-300, 1e-30, 1e-9, 1e-4, 0.1, 0.7, 3.0, 20.0, 40.0, 100.0, 800.0)
HUGE = (1e30, -1e30, 1e200, -1e200)

EXPONENTIALS = (
    Formula("log(1 + x)", lambda x: gc.log(1 + x), lambda x: mp.log(1 + x), (*TINY, -0.999, -0.1, 0.7, 1e10)),
    Formula("log(1 - x)", lambda x: gc.log(1 - x), lambda x: mp.log(1 - x), (*TINY, 0.999, 0.1, -0.7, -1e10)),
    Formula(
        "log(1 + x) / x", lambda x: gc.log(1 + x) / x, lambda x: mp.log(1 + x) / x, (0.1, 0.7, 3.0, 1e10), units=64
    ),
    Formula("exp(x) - 1", lambda x: gc.exp(x) - 1, lambda x: mp.exp(x) - 1, ALL),
    Formula("1 - exp(x)", lambda x: 1 - gc.exp(x), lambda x: 1 - mp.exp(x), ALL),
    Formula("1 - exp(-x)", lambda x: 1 - gc.exp(-x), lambda x: 1 - mp.exp(-x), ALL),
    Formula("1 - exp(-x**2)", lambda x: 1 - gc.exp(-(x**2)), lambda x: 1 - mp.exp(-x * x), (*TINY, *MIDDLE)),
    Formula("log(1 - exp(-x))", lambda x: gc.log(1 - gc.exp(-x)), lambda x: mp.log(1 - mp.exp(-x)), POSITIVE),
    Formula("log(exp(x) - 1)", lambda x: gc.log(gc.exp(x) - 1), lambda x: mp.log(mp.exp(x) - 1), POSITIVE),
    Formula("log(1 + exp(x))", lambda x: gc.log(1 + gc.exp(x)), lambda x: mp.log(1 + mp.exp(x)), ALL),
    Formula("log(exp(x))", lambda x: gc.log(gc.exp(x)), lambda x: x, ALL),
    Formula(
        "log of a normal density",
        lambda x: gc.log(gc.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)),
        lambda x: -x * x / 2 - mp.log(mp.sqrt(2 * mp.pi)),
        (*MIDDLE, 40.0, -50.0, 1e4),
    ),
    Formula("log(3 * exp(x))", lambda x: gc.log(3 * gc.exp(x)), lambda x: x + mp.log(3), (*MIDDLE, *WIDE)),
    Formula(
        "log(exp(x) + exp(y))",
        lambda x, y: gc.log(gc.exp(x) + gc.exp(y)),
        lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
        [(0.3, 0.7), (1000.0, 999.0), (-1000.0, -999.0), (1000.0, -1000.0), (5.0, 5.0)],
    ),
    Formula(
        "logaddexp",
        lambda x, y: gc.logaddexp(x, y),
        lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
        [(0.3, 0.7), (1000.0, 999.0), (-1000.0, -1000.0), (-INF, 3.0), (-INF, -INF), (INF, INF), (INF, 0.0)],
        known={
            (-INF, 3.0): (3, 0, 1, 0, 0, 0),
            (-INF, -INF): (-INF, 0.5, 0.5),
            (INF, INF): (INF, 0.5, 0.5),
            (INF, 0.0): (INF, 1, 0, 0, 0, 0),
        },
    ),
    Formula("log(x**2)", lambda x: gc.log(x**2), lambda x: mp.log(x * x), (*MIDDLE, 1e-100, -1e-200, *HUGE)),
    Formula("log(sqrt(x))", lambda x: gc.log(gc.sqrt(x)), lambda x: mp.log(x) / 2, (1e-300, 0.1, 3.0, 1e30, 1e200)),
    Formula("log(cosh(x))", lambda x: gc.log(gc.cosh(x)), lambda x: mp.log(mp.cosh(x)), ALL),
)

LOGISTIC = (
    Formula("1 / (1 + exp(-x))", lambda x: 1 / (1 + gc.exp(-x)), _sigmoid, ALL),
    Formula("exp(x) / (1 + exp(x))", lambda x: gc.exp(x) / (1 + gc.exp(x)), _sigmoid, ALL),
    Formula("1 - 1 / (1 + exp(-x))", lambda x: 1 - 1 / (1 + gc.exp(-x)), lambda x: _sigmoid(-x), ALL),
    Formula("log(sigmoid(x))", lambda x: gc.log(gc.sigmoid(x)), lambda x: mp.log(_sigmoid(x)), ALL),
    Formula("log(1 - sigmoid(x))", lambda x: gc.log(1 - gc.sigmoid(x)), lambda x: mp.log(_sigmoid(-x)), ALL),
    Formula("log(1 / (1 + exp(-x)))", lambda x: gc.log(1 / (1 + gc.exp(-x))), lambda x: mp.log(_sigmoid(x)), ALL),
    Formula(
        "sigmoid(x) * (1 - sigmoid(x))",
        lambda x: gc.sigmoid(x) * (1 - gc.sigmoid(x)),
        lambda x: _sigmoid(x) * _sigmoid(-x),
        ALL,
    ),
    Formula(
        "p * (1 - p), p by exp",
        lambda x: 1 / (1 + gc.exp(-x)) * (1 - 1 / (1 + gc.exp(-x))),
        lambda x: _sigmoid(x) * _sigmoid(-x),
        ALL,
    ),
    Formula(
        "binary cross-entropy of logits",
        lambda x, y: -(y * gc.log(gc.sigmoid(x)) + (1 - y) * gc.log(1 - gc.sigmoid(x))),
        lambda x, y: -(y * mp.log(_sigmoid(x)) + (1 - y) * mp.log(_sigmoid(-x))),
        [(-800.0, 0.0), (-800.0, 1.0), (800.0, 0.0), (800.0, 1.0), (40.0, 1.0), (-3.0, 0.25)],
    ),
    Formula("x * sigmoid(x)", lambda x: x * gc.sigmoid(x), lambda x: x * _sigmoid(x), ALL),
    Formula("logit", lambda p: gc.log(p / (1 - p)), lambda p: mp.log(p / (1 - p)), (1e-300, 1e-9, 0.1, 0.9, 0.9999999)),
    Formula(
        "gelu",
        lambda x: x * 0.5 * (1 + gc.special.erf(x / math.sqrt(2))),
        lambda x: x * mp.ncdf(x),
        (*TINY, *MIDDLE, -6.0, -12.0, 12.0),
    ),
    Formula(
        "normal cdf",
        lambda x: 0.5 * (1 + gc.special.erf(x / math.sqrt(2))),
        lambda x: mp.ncdf(x),
        (*MIDDLE, -6.0, -12.0, 12.0),
    ),
    Formula(
        "exp(-x) / (1 + exp(-x))**2",
        lambda x: gc.exp(-x) / (1 + gc.exp(-x)) ** 2,
        lambda x: _sigmoid(x) * _sigmoid(-x),
        ALL,
    ),
    Formula(
        "log(p * (1 - p))",
        lambda x: gc.log(gc.sigmoid(x) * (1 - gc.sigmoid(x))),
        lambda x: mp.log(_sigmoid(x) * _sigmoid(-x)),
        ALL,
    ),
)

HYPERBOLIC = (
    Formula(
        "tanh by exp",
        lambda x: (gc.exp(x) - gc.exp(-x)) / (gc.exp(x) + gc.exp(-x)),
        mp.tanh,
        ALL,
    ),
    Formula("tanh by exp(2x)", lambda x: (gc.exp(2 * x) - 1) / (gc.exp(2 * x) + 1), mp.tanh, ALL),
    Formula("tanh as 1 - 2 / (1 + exp(2x))", lambda x: 1 - 2 / (1 + gc.exp(2 * x)), mp.tanh, ALL),
    Formula("2 * sigmoid(2x) - 1", lambda x: 2 * gc.sigmoid(2 * x) - 1, mp.tanh, ALL),
    Formula("tanh", lambda x: gc.tanh(x), mp.tanh, ALL),
    Formula("1 - tanh(x)", lambda x: 1 - gc.tanh(x), lambda x: 1 - mp.tanh(x), ALL),
    Formula("1 + tanh(x)", lambda x: 1 + gc.tanh(x), lambda x: 1 + mp.tanh(x), ALL),
    Formula("1 - tanh(x)**2", lambda x: 1 - gc.tanh(x) ** 2, lambda x: 1 / mp.cosh(x) ** 2, ALL),
    Formula("log(1 - tanh(x)**2)", lambda x: gc.log(1 - gc.tanh(x) ** 2), lambda x: -2 * mp.log(mp.cosh(x)), ALL),
    Formula("(exp(x) - exp(-x)) / 2", lambda x: (gc.exp(x) - gc.exp(-x)) / 2, mp.sinh, ALL),
    Formula("(exp(x) + exp(-x)) / 2", lambda x: (gc.exp(x) + gc.exp(-x)) / 2, mp.cosh, ALL),
    Formula("exp(x) - exp(-x)", lambda x: gc.exp(x) - gc.exp(-x), lambda x: 2 * mp.sinh(x), ALL),
    Formula("cosh(x) - 1", lambda x: gc.cosh(x) - 1, lambda x: mp.cosh(x) - 1, (*TINY, *MIDDLE, 20.0)),
    Formula("asinh by log", lambda x: gc.log(x + gc.sqrt(x**2 + 1)), mp.asinh, (*TINY, *MIDDLE, -1e8, 1e8, *HUGE)),
    Formula("atanh by log", lambda x: 0.5 * gc.log((1 + x) / (1 - x)), mp.atanh, (*TINY, -0.999, -0.5, 0.5, 0.999)),
    Formula("1 / cosh(x)", lambda x: 1 / gc.cosh(x), mp.sech, ALL),
    Formula("log(2 * cosh(x))", lambda x: gc.log(gc.exp(x) + gc.exp(-x)), lambda x: mp.log(2 * mp.cosh(x)), ALL),
    Formula("log(1 - x**2)", lambda x: gc.log(1 - x**2), lambda x: mp.log(1 - x * x), (*TINY, -0.9, 0.1, 0.9999999)),
    Formula("sqrt(1 - x**2)", lambda x: gc.sqrt(1 - x**2), lambda x: mp.sqrt(1 - x * x), (*TINY, -0.9, 0.1, 0.9999999)),
    Formula("sech", lambda x: 2 / (gc.exp(x) + gc.exp(-x)), mp.sech, ALL),
)

POWERS = (
    Formula(
        "sqrt(x**2 + y**2)",
        lambda x, y: gc.sqrt(x**2 + y**2),
        lambda x, y: mp.hypot(x, y),
        [(3.0, 4.0), (1e200, 1e200), (1e-200, 2e-200), (0.0, 2.0), (0.0, 0.0)],
        known={(0.0, 0.0): (0, 0, 0, 0, 0, 0)},
    ),
    Formula(
        "(x**2 + y**2)**0.5",
        lambda x, y: (x**2 + y**2) ** 0.5,
        lambda x, y: mp.hypot(x, y),
        [(3.0, 4.0), (1e200, 1e200), (1e-200, 2e-200), (0.0, 0.0)],
        known={(0.0, 0.0): (0, 0, 0, 0, 0, 0)},
    ),
    Formula("(x**2)**0.5", lambda x: (x**2) ** 0.5, abs, (*MIDDLE, *HUGE, 0.0), known={0.0: (0, 0, 0)}),
    Formula(
        "hypot",
        lambda x, y: gc.hypot(x, y),
        lambda x, y: mp.hypot(x, y),
        [(3.0, 4.0), (1e200, 1e200), (1e-200, 2e-200), (0.0, 2.0), (0.0, 0.0)],
        known={(0.0, 0.0): (0, 0, 0, 0, 0, 0)},
    ),
    Formula("sqrt(x**2 + 1)", lambda x: gc.sqrt(x**2 + 1), lambda x: mp.hypot(x, 1), (*TINY, *MIDDLE)),
    Formula("sqrt(x**2)", lambda x: gc.sqrt(x**2), abs, (*MIDDLE, *HUGE, 0.0), known={0.0: (0, 0, 0)}),
    Formula("abs", lambda x: gc.abs(x), abs, (*MIDDLE, *HUGE, 0.0, -0.0), known={0.0: (0, 0, 0)}),
    Formula(
        "sqrt(x + 1) - sqrt(x)",
        lambda x: gc.sqrt(x + 1) - gc.sqrt(x),
        lambda x: mp.sqrt(x + 1) - mp.sqrt(x),
        (1e-9, 0.1, 3.0, 1e8, 1e16, 1e30),
    ),
    Formula("sqrt", lambda x: gc.sqrt(x), mp.sqrt, (1e-300, 2.0, 0.0), known={0.0: (0, INF, -INF)}),
    Formula("x**0", lambda x: x**0, lambda x: mp.mpf(1), (0.0, 3.0), known={0.0: (1, 0, 0)}),
    Formula("x**1", lambda x: x**1, lambda x: x, (0.0, -3.0), known={0.0: (0, 1, 0)}),
    Formula("x**2", lambda x: x**2, lambda x: x**2, (0.0, -3.0), known={0.0: (0, 0, 2)}),
    Formula("x**3", lambda x: x**3, lambda x: x**3, (0.0, -3.0), known={0.0: (0, 0, 0)}),
    Formula("x**1.5", lambda x: x**1.5, lambda x: x**1.5, (0.0, 3.0), known={0.0: (0, 0, INF)}),
    Formula("x**0.5", lambda x: x**0.5, lambda x: x**0.5, (0.0, 3.0), known={0.0: (0, INF, -INF)}),
    Formula("x**-1", lambda x: x**-1, lambda x: 1 / x, (0.0, -3.0), known={0.0: (INF, -INF, INF)}),
    Formula("1 / x", lambda x: 1 / x, lambda x: 1 / x, (0.0, -3.0, 1e-100), known={0.0: (INF, -INF, INF)}),
    Formula(
        "x**y",
        lambda x, y: x**y,
        lambda x, y: x**y,
        [(2.0, 0.0), (2.0, 3.0), (0.5, -2.0), (0.0, 0.0), (0.0, 1.0), (0.0, 2.0), (0.0, 3.0)],
        known={
            (0.0, 0.0): (1, 0, 0),
            (0.0, 1.0): (0, 1, 0),
            (0.0, 2.0): (0, 0, 0),
            (0.0, 3.0): (0, 0, 0),
        },
    ),
    Formula("1 - cos(x)", lambda x: 1 - gc.cos(x), lambda x: 1 - mp.cos(x), (*TINY, *MIDDLE)),
    Formula(
        "(1 - cos(x)) / x**2",
        lambda x: (1 - gc.cos(x)) / x**2,
        lambda x: (1 - mp.cos(x)) / x**2,
        (0.7, 3.0),
    ),
    Formula("log(x)", lambda x: gc.log(x), mp.log, (1e-300, 2.0, 0.0), known={0.0: (-INF, INF, -INF)}),
    Formula("asin", lambda x: gc.asin(x), mp.asin, (1e-30, 0.5, 0.9999999, 1.0), known={1.0: (np.pi / 2, INF, INF)}),
    Formula("acosh", lambda x: gc.acosh(x), mp.acosh, (1.0000001, 3.0, 1e200), known={}),
    Formula(
        "atan2",
        lambda y, x: gc.atan2(y, x),
        lambda y, x: mp.atan2(y, x),
        [(1.0, 2.0), (1.0, -2.0), (1e200, 1e200), (1e-200, 1e-200), (0.0, 0.0)],
        known={(0.0, 0.0): (0, 0, 0, 0, 0, 0), (1e-200, 1e-200): (math.pi / 4, 5e199, -5e199)},
    ),
)

MASKS = (
    Formula(
        "where(x > 0, log(x), 0)",
        lambda x: gc.where(x > 0, gc.log(x), 0),
        _or_zero(mp.log),
        (2.0, -1.0, 0.0),
        known={0.0: (0, 0, 0)},
    ),
    Formula(
        "where(x > 0, sqrt(x), 0)",
        lambda x: gc.where(x > 0, gc.sqrt(x), 0),
        _or_zero(mp.sqrt),
        (2.0, -1.0, 0.0),
        known={0.0: (0, 0, 0)},
    ),
    Formula(
        "where(x > 0, x * log(x), 0)",
        lambda x: gc.where(x > 0, x * gc.log(x), 0),
        _xlogx,
        (2.0, 1e-300, -1.0, 0.0),
        known={0.0: (0, 0, 0)},
    ),
    Formula(
        "where(y == 0, 0, x / y)",
        lambda x, y: gc.where(gc.equal(y, 0), 0, x / y),
        lambda x, y: x / y,
        [(3.0, 2.0), (1.0, 0.0), (0.0, 0.0)],
        known={(1.0, 0.0): (0, 0, 0, 0, 0, 0), (0.0, 0.0): (0, 0, 0, 0, 0, 0)},
    ),
    Formula(
        "where(x == 0, 1, sin(x) / x)",
        lambda x: gc.where(gc.equal(x, 0), 1, gc.sin(x) / x),
        lambda x: mp.sin(x) / x,
        (0.7, 3.0, 0.0),
        known={0.0: (1, 0, -1 / 3)},
    ),
    Formula(
        "nested where",
        lambda x: gc.where(x > 0, gc.where(x > 1, gc.log(x - 1), gc.sqrt(1 - x)), gc.log(-x)),
        lambda x: mp.log(x - 1) if x > 1 else mp.sqrt(1 - x) if x > 0 else mp.log(-x),
        (3.0, 0.5, -2.0, 1.5),
    ),
    Formula(
        "where inside log and exp",
        lambda x: gc.log(gc.where(x > 0, x, 1)) + gc.where(x < 0, gc.exp(x * x * 1e3), 0),
        lambda x: mp.log(x) if x > 0 else mp.exp(x * x * 1000),
        (2.0, 1e30, -0.1),
    ),
    Formula(
        "where(isfinite(x), x**2, 0)",
        lambda x: gc.where(gc.isfinite(x), x**2, 0),
        lambda x: x * x,
        (3.0, INF, -INF, NAN),
        known={INF: (0, 0, 0), -INF: (0, 0, 0), NAN: (0, 0, 0)},
    ),
    Formula(
        "log(clip(x, 1e-7, 1))",
        lambda x: gc.log(gc.clip(x, 1e-7, 1)),
        lambda x: mp.log(x),
        (0.5, 0.0, -1.0, 2.0, 1.0),
        known={
            0.0: (np.log(1e-7), 0, 0),
            -1.0: (np.log(1e-7), 0, 0),
            2.0: (0, 0, 0),
            1.0: (0, 1, -1),
        },
    ),
    Formula(
        "log(maximum(x, 1e-7))",
        lambda x: gc.log(gc.maximum(x, 1e-7)),
        lambda x: mp.log(x),
        (0.5, 0.0, -1.0),
        known={0.0: (np.log(1e-7), 0, 0), -1.0: (np.log(1e-7), 0, 0)},
    ),
    Formula(
        "sqrt(relu(x))",
        lambda x: gc.sqrt(gc.nn.relu(x)),
        _or_zero(mp.sqrt),
        (2.0, -1.0, 0.0),
        known={0.0: (0, 0, 0)},
    ),
    Formula("relu", lambda x: gc.nn.relu(x), _or_zero(lambda x: x), (2.0, -1.0, 0.0), known={0.0: (0, 0, 0)}),
    Formula(
        "hinge",
        lambda x: gc.maximum(0, 1 - x),
        lambda x: max(mp.mpf(0), 1 - x),
        (0.5, 3.0, 1.0),
        known={1.0: (0, -0.5, 0)},
    ),
    Formula("maximum(x, x)", lambda x: gc.maximum(x, x), lambda x: x, (2.0, 0.0), known={0.0: (0, 1, 0)}),
    Formula(
        "maximum",
        lambda x, y: gc.maximum(x, y),
        max,
        [(1.0, 2.0), (2.0, 2.0)],
        known={(2.0, 2.0): (2, 0.5, 0.5, 0, 0, 0)},
    ),
    Formula(
        "minimum",
        lambda x, y: gc.minimum(x, y),
        min,
        [(1.0, 2.0), (2.0, 2.0)],
        known={(2.0, 2.0): (2, 0.5, 0.5, 0, 0, 0)},
    ),
    Formula(
        "huber",
        lambda x: gc.where(gc.abs(x) < 1, 0.5 * x**2, gc.abs(x) - 0.5),
        lambda x: x * x / 2 if abs(x) < 1 else abs(x) - 0.5,
        (0.3, -3.0, 1e200, 0.0, 1.0),
        known={0.0: (0, 0, 1), 1.0: (0.5, 1, 0)},
    ),
    Formula("x / abs(x)", lambda x: x / gc.abs(x), mp.sign, (2.0, -2.0, 0.0), known={0.0: (NAN, NAN, NAN)}),
)

SPECIAL = (
    Formula("erf", lambda x: gc.special.erf(x), mp.erf, (*TINY, *MIDDLE, -6.0, 26.0)),
    Formula("erfc", lambda x: gc.special.erfc(x), mp.erfc, (*TINY, *MIDDLE, -6.0, 9.0, 26.0)),
    Formula("1 - erf(x)", lambda x: 1 - gc.special.erf(x), mp.erfc, (*TINY, *MIDDLE, -6.0, 9.0, 26.0)),
    Formula("1 + erf(x)", lambda x: 1 + gc.special.erf(x), lambda x: mp.erfc(-x), (*TINY, *MIDDLE, 6.0, -9.0, -26.0)),
    Formula("1 - erfc(x)", lambda x: 1 - gc.special.erfc(x), mp.erf, (*TINY, *MIDDLE, 6.0)),
    Formula(
        "gammaln",
        lambda x: gc.special.gammaln(x),
        lambda x: mp.log(abs(mp.gamma(x))),
        (1e-300, 1e-30, 1e-9, -1e-9, 0.5, 3.0, 30.0, -0.5, -3.7, 1e10),
        known={},
    ),
    Formula(
        "digamma",
        lambda x: gc.special.digamma(x),
        mp.digamma,
        (1e-30, 1e-9, -1e-9, 0.5, 3.0, 30.0, -0.3, -3.7, 1e10),
        units=32,
    ),
)

LIMITS = (
    Formula(
        "sqrt(x**2 + y**2), one operand far larger",
        lambda x, y: gc.sqrt(x**2 + y**2),
        lambda x, y: mp.hypot(x, y),
        [(1e30, 1.0)],
        dtypes=("float64",),
    ),
    Formula(
        "log(erfc(x))",
        lambda x: gc.log(gc.special.erfc(x)),
        lambda x: mp.log(mp.erfc(x)),
        (-3.0, 3.0, 40.0),
    ),
    Formula(
        "sqrt(1 + x**2) - 1",
        lambda x: gc.sqrt(1 + x**2) - 1,
        lambda x: mp.sqrt(1 + x * x) - 1,
        (3.0, 1e200, 1e-9),
    ),
    Formula(
        "log(1 + exp(x) + exp(y))",
        lambda x, y: gc.log(1 + gc.exp(x) + gc.exp(y)),
        lambda x, y: mp.log(1 + mp.exp(x) + mp.exp(y)),
        [(0.3, 0.7), (1000.0, 0.0)],
    ),
)

SCALAR: tuple[Formula, ...] = (*EXPONENTIALS, *LOGISTIC, *HYPERBOLIC, *POWERS, *MASKS, *SPECIAL, *LIMITS)
