"""`signs`: what it claims of a value holds, on random expressions of every op it knows and on random programs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

import graphc as gc
from graphc.graph.evaluate import evaluate
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.types import Array
from graphc.ops import elementwise_float as floats
from graphc.ops import special
from graphc.ops.pointwise import pointwise
from graphc.passes.algebra import signs
from graphc.passes.algebra.signs import UNKNOWN, Bounds, bounds
from tests.random_graphs import random_program


def along_axis(name: str, x: Node) -> Node:
    return gc.broadcast_to(getattr(gc, name)(x, 0), x.shape)


UNARY: dict[str, Callable[[Node], Node]] = {
    **{n: getattr(gc, n) for n in ("negative", "square", "reciprocal", "sqrt", "abs", "exp", "log", "tanh", "sinh")},
    **{n: getattr(gc, n) for n in ("asinh", "expm1", "log1p", "atan", "asin", "atanh", "softplus", "exp2", "sigmoid")},
    **{n: getattr(gc, n) for n in ("cosh", "sin", "cos", "sign", "acosh", "acos")},
    **{n: getattr(gc.special, n) for n in ("ndtr", "erf", "erfc")},
    **{n: getattr(floats, n) for n in ("sech", "sigmoid_slope", "exp_capped", "log1mexp", "sqrt_safe", "log_cosh")},
    "one_minus_square": floats.one_minus_square,
    **{n: getattr(special, n) for n in ("normal_density", "erfcx", "erfcx_slope", "log_ndtr", "log_ndtr_slope")},
    "log_ndtr_excess": partial(pointwise, special.LOG_NDTR_EXCESS),
    "relu": gc.nn.relu,
    "astype": lambda x: x.astype("float32").astype("float64"),
    **{n: partial(along_axis, n) for n in ("softmax", "log_softmax", "logsumexp", "sum", "prod", "max", "min")},
}
BINARY: dict[str, Callable[[Node, Node], Node]] = {
    **{
        n: getattr(gc, n) for n in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "hypot", "logaddexp")
    },
    "pow": lambda x, y: gc.pow(x, y),
    "pow 2": lambda x, y: x**2,
    "pow -1": lambda x, y: x**-1,
    "x * x": lambda x, y: x * x,
    "where": lambda x, y: gc.where(x < y, x, y),
    "clip": lambda x, y: gc.clip(x, y, 1.0),
    "concat": lambda x, y: gc.concat([x, y], axis=0)[1:14],
    "gather": lambda x, y: x[[0] * 13],
}
WILD = np.array([-30.0, -3.0, -1.0, -0.7, -1e-3, -0.0, 0.0, 1e-3, 0.3, 1.0, 1.5, 4.0, 30.0])
MILD = np.array([-3.0, -2.0, -1.0, -0.7, -1e-3, -0.0, 0.0, 1e-3, 0.3, 1.0, 1.5, 2.0, 3.0])
"""Nothing of these underflows in one step."""


def holds(claim: Bounds, values: Array, tame: bool) -> bool:
    """Tell whether a claim is true of the elements that are numbers; of 0 only where nothing can have underflowed."""
    with np.errstate(invalid="ignore"):
        inside = np.isnan(values) | ((values >= claim.low) & (values <= claim.high))
    return bool(inside.all()) and not (claim.nonzero and tame and (values == 0).any())


def random_expression(rng: np.random.Generator, x: Node) -> list[Node]:
    pool = [
        x,
        x * 0.0 + rng.permutation(MILD),
        gc.broadcast_to(gc.constant(float(rng.choice([-2, -1, 0.5, 1, 3]))), x.shape),
    ]
    for _ in range(6):
        a, b = (pool[int(len(pool) * rng.random() ** 0.5)] for _ in range(2))
        if rng.random() < 0.5:
            pool.append(list(UNARY.values())[int(rng.integers(len(UNARY)))](a))
        else:
            pool.append(list(BINARY.values())[int(rng.integers(len(BINARY)))](a, b))
    return pool


@pytest.mark.parametrize("seeds", [range(100), pytest.param(range(100, 5000), marks=pytest.mark.slow)])
def test_claims_hold_on_random_expressions(seeds: range) -> None:
    x = gc.placeholder("x", (len(MILD),))
    claimed = nonzero = 0
    for seed in seeds:
        pool = random_expression(np.random.default_rng(seed), x)
        tame = True
        for node, value in zip(pool, evaluate(pool, {x: MILD if seed % 2 else WILD}), strict=True):
            claim = bounds(node)
            assert holds(claim, value, tame), (seed, node, claim, value, Graph(pool).text())
            claimed += claim != UNKNOWN
            nonzero += tame and claim.nonzero
            with np.errstate(invalid="ignore"):
                tame = tame and bool(((value == 0) | ((np.abs(value) >= 1e-3) & (np.abs(value) <= 5))).all())
    assert claimed > len(seeds) and nonzero > len(seeds) / 4


@pytest.mark.parametrize("seeds", [range(20), pytest.param(range(20, 1000), marks=pytest.mark.slow)])
def test_claims_hold_on_random_programs(seeds: range) -> None:
    for seed in seeds:
        for node, value in random_program(seed).values.items():
            if node.dtype.kind == "f":
                assert holds(bounds(node), value, False), (seed, node, value)


def test_every_rule_is_tried() -> None:
    tried = {*UNARY, *(name.split()[0] for name in BINARY)}
    assert {*signs._RULES, *signs._FIXED} <= tried, {*signs._RULES, *signs._FIXED} - tried


@pytest.mark.parametrize(
    ("formula", "low", "high", "nonzero"),
    [
        (lambda x: gc.exp(x) * gc.sigmoid(x), 0.0, math.inf, True),
        (lambda x: 1 - gc.sigmoid(x), 0.0, 1.0, False),
        (lambda x: gc.sigmoid(x) * gc.sigmoid(-x), 0.0, 1.0, True),
        (lambda x: -gc.exp(-gc.square(x)), -1.0, 0.0, True),
        (lambda x: gc.exp(x) + x * x, 0.0, math.inf, True),
        (lambda x: x, -math.inf, math.inf, False),
        (lambda x: gc.exp(x) - x * x, -math.inf, math.inf, False),
    ],
)
def test_bounds(formula: Callable[[Node], Node], low: float, high: float, nonzero: bool) -> None:
    assert bounds(formula(gc.placeholder("x"))) == Bounds(low, high, nonzero)


def test_a_long_chain_is_unknown_and_costs_no_more() -> None:
    x = gc.placeholder("x")
    for _ in range(2000):
        x = gc.abs(x) + 1.0
    assert bounds(x).high == math.inf


@pytest.mark.parametrize(
    ("low", "expected"), [(0.5, Bounds(0.0, 1.0, True)), (0.0, Bounds(0.0, 1.0)), (math.nan, UNKNOWN)]
)
def test_large_constants_are_read(low: float, expected: Bounds) -> None:
    value = np.full(100_000, 0.75)
    value[70_000] = low
    assert bounds(gc.constant(value)) == expected
