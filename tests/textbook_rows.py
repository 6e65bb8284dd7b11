"""Textbook formulas of the rows of a matrix, in the manner of `textbook`.

The gradient is that of `sum(WEIGHTS * f(row))`, the second derivative its change along `DIRECTION`. `known` gives value
and gradient of the row of that number, where a convention decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mpmath as mp

import graphc as gc
from graphc.graph.node import Node
from tests.textbook import INF, NAN

WEIGHTS = (0.5, -0.75, 1.25, 0.25)
DIRECTION = (1.0, -0.5, 0.25, 2.0)

Row = tuple[float, ...]
Known = tuple[Row, Row]


@dataclass(frozen=True)
class RowFormula:
    """One row of the table; `units` is the error allowed in the value, in units of the last place."""

    name: str
    build: Callable[[Node], Node]
    true: Callable[[Sequence[Any]], Sequence[Any]]
    rows: Sequence[Row]
    known: Mapping[int, Known] = field(default_factory=dict)
    units: float = 16
    limit: str = ""
    dtypes: tuple[str, ...] = ("float64", "float32")


def _exps(row: Sequence[Any]) -> list[Any]:
    return [mp.exp(v) for v in row]


def _softmax(row: Sequence[Any]) -> list[Any]:
    return [e / mp.fsum(_exps(row)) for e in _exps(row)]


def _log_softmax(row: Sequence[Any]) -> list[Any]:
    return [mp.log(p) for p in _softmax(row)]


def _logsumexp(row: Sequence[Any]) -> list[Any]:
    return [mp.log(mp.fsum(_exps(row)))]


def _norm(row: Sequence[Any]) -> list[Any]:
    return [mp.sqrt(mp.fsum(v * v for v in row))]


def _variance(row: Sequence[Any]) -> Any:
    mean = mp.fsum(row) / 4
    return mp.fsum((v - mean) ** 2 for v in row) / 4


def _products(row: Sequence[Any]) -> list[Any]:
    out = [row[0]]
    for v in row[1:]:
        out.append(out[-1] * v)
    return out


LOGITS: tuple[Row, ...] = (
    (0.1, -0.2, 0.3, 0.4),
    (1e4, -1e4, 0.0, 1e4),
    (-1e4, -1e4, -1e4, -1e4),
    (1000.0, 1001.0, 1002.0, 1003.0),
    (-800.0, 0.0, 800.0, 0.0),
)
DOMINATED: Row = (0.0, -40.0, -40.0, -40.0)
SMALL = 4.248354255291589e-18
MASKED: Row = (-INF, 1.0, 2.0, -INF)
FACTORS: tuple[Row, ...] = ((2.0, 3.0, -1.5, 0.5), (2.0, 0.0, -1.5, 0.5), (2.0, 0.0, 0.0, 0.5), (0.0, 0.0, 0.0, 0.0))
FAR: tuple[Row, ...] = ((1.0, 2.0, 4.0, 8.0), (1e8 + 1, 1e8 + 2, 1e8 + 4, 1e8 + 8), (-3e-5, 2e-5, 0.0, 1e-5))

ROWS: tuple[RowFormula, ...] = (
    RowFormula("log(sum(exp(x)))", lambda x: gc.log(gc.sum(gc.exp(x), 1, keepdims=True)), _logsumexp, LOGITS),
    RowFormula(
        "log(mean(exp(x)))",
        lambda x: gc.log(gc.mean(gc.exp(x), 1, keepdims=True)),
        lambda row: [mp.log(mp.fsum(_exps(row)) / 4)],
        LOGITS,
    ),
    RowFormula(
        "log of a sum shifted by its maximum",
        lambda x: (
            gc.log(gc.sum(gc.exp(x - gc.max(x, 1, keepdims=True)), 1, keepdims=True)) + gc.max(x, 1, keepdims=True)
        ),
        _logsumexp,
        LOGITS,
    ),
    RowFormula(
        "logsumexp",
        lambda x: gc.logsumexp(x, 1, keepdims=True),
        _logsumexp,
        (*LOGITS, (-INF, -INF, -INF, -INF), MASKED, (INF, 0.0, 0.0, 0.0)),
        known={
            5: ((-INF,), (0.125, 0.125, 0.125, 0.125)),
            6: ((2.313261687518223,), (0, 0.5 * 0.2689414213699951, 0.5 * 0.7310585786300049, 0)),
            7: ((INF,), (0.5, 0, 0, 0)),
        },
    ),
    RowFormula("exp(x) / sum(exp(x))", lambda x: gc.exp(x) / gc.sum(gc.exp(x), 1, keepdims=True), _softmax, LOGITS),
    RowFormula(
        "softmax",
        lambda x: gc.softmax(x),
        _softmax,
        (*LOGITS, MASKED),
        known={
            5: (
                (0, 0.2689414213699951, 0.7310585786300049, 0),
                (0, -2 * 0.19661193324148185, 2 * 0.19661193324148185, 0),
            )
        },
    ),
    RowFormula("log(softmax(x))", lambda x: gc.log(gc.softmax(x)), _log_softmax, LOGITS),
    RowFormula(
        "log(exp(x) / sum(exp(x)))",
        lambda x: gc.log(gc.exp(x) / gc.sum(gc.exp(x), 1, keepdims=True)),
        _log_softmax,
        LOGITS,
    ),
    RowFormula("x - log(sum(exp(x)))", lambda x: x - gc.log(gc.sum(gc.exp(x), 1, keepdims=True)), _log_softmax, LOGITS),
    RowFormula(
        "log_softmax",
        lambda x: gc.log_softmax(x),
        _log_softmax,
        (*LOGITS, MASKED),
        known={
            5: (
                (-INF, -1.3132616875182228, -0.31326168751822286, -INF),
                (0.5, -0.75 - 1.25 * 0.2689414213699951, 1.25 - 1.25 * 0.7310585786300049, 0.25),
            )
        },
    ),
    RowFormula(
        "-log(softmax(x))[label]", lambda x: -gc.log(gc.softmax(x))[:, 1:2], lambda r: [-_log_softmax(r)[1]], LOGITS
    ),
    RowFormula(
        "entropy of softmax",
        lambda x: -gc.sum(gc.softmax(x) * gc.log_softmax(x), 1, keepdims=True),
        lambda r: [-mp.fsum(p * q for p, q in zip(_softmax(r), _log_softmax(r), strict=True))],
        LOGITS,
    ),
    RowFormula(
        "sqrt(sum(x**2))",
        lambda x: gc.sqrt(gc.sum(x**2, 1, keepdims=True)),
        _norm,
        ((3.0, 4.0, 0.0, 12.0), (1e-3, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
        known={2: ((0,), (0, 0, 0, 0))},
    ),
    RowFormula(
        "sum(x**2)**0.5",
        lambda x: gc.sum(x**2, 1, keepdims=True) ** 0.5,
        _norm,
        ((3.0, 4.0, 0.0, 12.0), (0.0, 0.0, 0.0, 0.0)),
        known={1: ((0,), (0, 0, 0, 0))},
    ),
    RowFormula(
        "sqrt(sum(x**2)), far from 1",
        lambda x: gc.sqrt(gc.sum(x**2, 1, keepdims=True)),
        _norm,
        ((1e200, 0.0, 0.0, 1e200),),
        known={0: ((INF,), (0, 0, 0, 0))},
        limit="the sum of squares overflows from 1.3e154 on, as in NumPy's norm; scaling costs another pass",
        dtypes=("float64",),
    ),
    RowFormula(
        "std",
        lambda x: gc.std(x, 1, keepdims=True),
        lambda r: [mp.sqrt(_variance(r))],
        (*FAR, (3.0, 3.0, 3.0, 3.0), (0.1, 0.1, 0.1, 0.1)),
        known={3: ((0,), (0, 0, 0, 0)), 4: ((0,), (0, 0, 0, 0))},
    ),
    RowFormula("var", lambda x: gc.var(x, 1, keepdims=True), lambda r: [_variance(r)], FAR),
    RowFormula(
        "sqrt(var)",
        lambda x: gc.sqrt(gc.var(x, 1, keepdims=True)),
        lambda r: [mp.sqrt(_variance(r))],
        (*FAR, (3.0, 3.0, 3.0, 3.0)),
        known={3: ((0,), (0, 0, 0, 0))},
    ),
    RowFormula(
        "mean(x**2) - mean(x)**2",
        lambda x: gc.mean(x**2, 1, keepdims=True) - gc.mean(x, 1, keepdims=True) ** 2,
        lambda r: [_variance(r)],
        FAR,
        known={1: ((6.0,), (-0.6875, -0.4375, 0.0625, 1.0625))},
        limit="7.1875 is lost in the rounding of 1e16; var and std take the mean off first",
        dtypes=("float64",),
    ),
    RowFormula(
        "logsumexp of a dominated row",
        lambda x: gc.logsumexp(x, 1, keepdims=True),
        _logsumexp,
        (DOMINATED,),
        known={0: ((0.0,), (0.5, 0.5 * SMALL, 0.5 * SMALL, 0.5 * SMALL))},
        limit="errors count against the largest logit or 1: 1.3e-17 is lost beside 1",
    ),
    RowFormula(
        "softmax of a dominated row",
        lambda x: gc.softmax(x),
        _softmax,
        (DOMINATED,),
        known={0: ((1.0, SMALL, SMALL, SMALL), (0.0, -1.25 * SMALL, 0.75 * SMALL, -0.25 * SMALL))},
        limit="the slope p * (1 - p) of the largest is 3.2e-18, lost beside 1",
    ),
    RowFormula("prod", lambda x: gc.prod(x, 1, keepdims=True), lambda r: [r[0] * r[1] * r[2] * r[3]], FACTORS),
    RowFormula("cumulative_prod", lambda x: gc.cumulative_prod(x, axis=1), _products, FACTORS),
    RowFormula(
        "cumulative_sum",
        lambda x: gc.cumulative_sum(x, axis=1),
        lambda r: [mp.fsum(r[: i + 1]) for i in range(4)],
        FACTORS,
    ),
    RowFormula(
        "max",
        lambda x: gc.max(x, 1, keepdims=True),
        lambda r: [max(r)],
        ((1.0, 2.0, 5.0, 3.0), (2.0, 2.0, 1.0, 2.0), (INF, 1.0, INF, 0.0), (NAN, 1.0, 2.0, 3.0)),
        known={
            1: ((2,), (0.5 / 3, 0.5 / 3, 0, 0.5 / 3)),
            2: ((INF,), (0.25, 0, 0.25, 0)),
            3: ((NAN,), (0.5, 0, 0, 0)),
        },
    ),
    RowFormula(
        "min",
        lambda x: gc.min(x, 1, keepdims=True),
        lambda r: [min(r)],
        ((4.0, 2.0, 5.0, 3.0), (2.0, 2.0, 3.0, 2.0)),
        known={1: ((2,), (0.5 / 3, 0.5 / 3, 0, 0.5 / 3))},
    ),
    RowFormula(
        "entropy with where",
        lambda p: -gc.sum(gc.where(p > 0, p * gc.log(p), 0), 1, keepdims=True),
        lambda r: [-mp.fsum(v * mp.log(v) for v in r if v > 0)],
        ((0.1, 0.2, 0.3, 0.4), (0.5, 0.0, 0.5, 0.0)),
        known={1: ((0.6931471805599453,), (0.5 * -0.3068528194400547, 0, 0.5 * -0.3068528194400547, 0))},
    ),
    RowFormula(
        "log(prod(x))",
        lambda x: gc.log(gc.prod(x, 1, keepdims=True)),
        lambda r: [mp.log(r[0] * r[1] * r[2] * r[3])],
        ((0.5, 2.0, 3.0, 4.0), (1e-100, 1e-100, 1e-100, 1e-100)),
        dtypes=("float64",),
    ),
)
