"""`stabilize`: textbook formulas become the safe ones, however they are spelled; and where nothing may fire."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc as gc
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.types import Array
from graphc.passes.algebra.drop_stops import drop_stops
from graphc.passes.algebra.rewrite import expression
from graphc.passes.algebra.stabilize import stabilize
from tests.passes import becomes, stays

SPELLINGS: list[tuple[str, Callable[[Node], Node], str]] = [
    ("softplus", lambda x: gc.log(1 + gc.exp(x)), "softplus(x)"),
    ("softplus of -x", lambda x: gc.log(gc.exp(-x) + 1.0), "softplus(negative(x))"),
    ("softplus by log1p", lambda x: gc.log1p(gc.exp(x)), "softplus(x)"),
    ("stable softplus by hand", lambda x: gc.log1p(gc.exp(-gc.abs(x))) + gc.maximum(x, 0), "softplus(x)"),
    ("expm1", lambda x: gc.exp(x) + -1, "expm1(x)"),
    ("sigmoid", lambda x: 1 / (1 + gc.exp(-x)), "sigmoid(x)"),
    ("sigmoid by exp(x)", lambda x: gc.exp(x) / (gc.exp(x) + 1), "sigmoid(x)"),
    ("sigmoid by tanh", lambda x: 0.5 * (1 + gc.tanh(x / 2)), "sigmoid(x)"),
    ("log sigmoid", lambda x: gc.log(1 / (1 + gc.exp(-x))), "negative(softplus(negative(x)))"),
    ("log of 1 - sigmoid", lambda x: gc.log(1 - gc.sigmoid(x)), "negative(softplus(x))"),
    ("-log of 1 - sigmoid", lambda x: -gc.log(1 - 1 / (1 + gc.exp(-x))), "softplus(x)"),
    ("tanh", lambda x: (gc.exp(x) - gc.exp(-x)) / (gc.exp(x) + gc.exp(-x)), "tanh(x)"),
    ("tanh by exp(2x)", lambda x: (gc.exp(x) - 1) / (gc.exp(x) + 1), "tanh(multiply(x, 0.5))"),
    ("sinh", lambda x: (gc.exp(x) - gc.exp(-x)) / 2, "sinh(x)"),
    ("asinh", lambda x: gc.log(x + gc.sqrt(x * x + 1)), "asinh(x)"),
    ("atanh", lambda x: 0.5 * gc.log((1 + x) / (1 - x)), "atanh(x)"),
    ("abs", lambda x: gc.sqrt(x**2), "abs(x)"),
    ("erfc", lambda x: 1 - gc.special.erf(x), "erfc(x)"),
    ("erfc of -x", lambda x: gc.special.erf(x) + 1, "erfc(negative(x))"),
    ("log(1 - exp)", lambda x: gc.log(1 - gc.exp(x)), "log1mexp(x)"),
    ("log(exp - 1)", lambda x: gc.log(gc.exp(x) - 1), "add(x, log1mexp(negative(x)))"),
    ("log of a density", lambda x: gc.log(gc.exp(-(x**2)) / 3), "subtract(negative(square(x)), log(3.0))"),
    ("log cosh", lambda x: gc.log((gc.exp(x) + gc.exp(-x)) / 2), "log_cosh(x)"),
    ("log of 1 - tanh**2", lambda x: gc.log(1 - gc.tanh(x) ** 2), "multiply(log_cosh(x), -2.0)"),
    ("derivative of tanh", lambda x: 1 - gc.tanh(x) ** 2, "square(sech(x))"),
    ("2 * sigmoid(-2x)", lambda x: 1 - gc.tanh(x), "multiply(sigmoid(multiply(x, -2.0)), 2.0)"),
    ("sech", lambda x: 2 / (gc.exp(x) + gc.exp(-x)), "sech(x)"),
    ("roots", lambda x: gc.sqrt(x + 1) - gc.sqrt(x), "reciprocal(add(sqrt(add(x, 1.0)), sqrt(x)))"),
]
"""A name, the formula as a user writes it, and what it must become."""


@pytest.mark.parametrize(("formula", "expected"), [pytest.param(f, e, id=name) for name, f, e in SPELLINGS])
def test_spellings(formula: Callable[[Node], Node], expected: str) -> None:
    (after,) = stabilize(Graph([formula(gc.placeholder("x"))])).outputs
    assert expression(after) == expected


ROWS: list[tuple[str, Callable[[Node], Node], str]] = [
    ("logsumexp", lambda x: gc.log(gc.sum(gc.exp(x), 1)), "logsumexp[axes=(1)](x)"),
    ("logsumexp of all", lambda x: gc.log(gc.sum(gc.exp(x))), "logsumexp[axes=(0,1)](x)"),
    (
        "shifted logsumexp",
        lambda x: gc.log(gc.sum(gc.exp(x - gc.max(x, 1, keepdims=True)), 1)) + gc.max(x, 1),
        "logsumexp[axes=(1)](x)",
    ),
    ("softmax", lambda x: gc.exp(x) / gc.sum(gc.exp(x), 1, keepdims=True), "softmax[axis=1](x)"),
    ("softmax, expand_dims", lambda x: gc.exp(x) / gc.sum(gc.exp(x), 1)[:, None], "softmax[axis=1](x)"),
    ("softmax over columns", lambda x: gc.exp(x) / gc.sum(gc.exp(x), 0, keepdims=True), "softmax[axis=0](x)"),
    ("softmax over columns, no keepdims", lambda x: gc.exp(x) / gc.sum(gc.exp(x), 0), "softmax[axis=0](x)"),
    ("log softmax", lambda x: gc.log(gc.softmax(x)), "log_softmax[axis=1](x)"),
    (
        "log softmax by hand",
        lambda x: x - gc.log(gc.sum(gc.exp(x), 1, keepdims=True)),
        "log_softmax[axis=1](x)",
    ),
    ("log softmax by exp", lambda x: gc.log(gc.exp(x) / gc.sum(gc.exp(x), 1)[:, None]), "log_softmax[axis=1](x)"),
]


@pytest.mark.parametrize("shape", [("n", 4), (3, 4), (4, 4), (2, 1)])
@pytest.mark.parametrize(("formula", "expected"), [pytest.param(f, e, id=name) for name, f, e in ROWS])
def test_rows(formula: Callable[[Node], Node], expected: str, shape: tuple[str | int, ...]) -> None:
    (after,) = stabilize(Graph([formula(gc.placeholder("x", shape))])).outputs
    assert expression(after) == expected


def test_a_shift_that_is_not_differentiated_goes_once_the_gradient_is_taken() -> None:
    x = gc.placeholder("x", (3, 4))
    graph = Graph([gc.softmax(x - gc.stop_gradient(gc.max(x, 1, keepdims=True)))])
    stays(stabilize, graph.outputs)
    assert expression(stabilize(drop_stops(graph)).outputs[0]) == "softmax[axis=1](x)"


def test_operands_are_seen_through_broadcasts() -> None:
    a, b = gc.placeholder("a", ("n", 4)), gc.placeholder("b", (4,))
    becomes(
        stabilize,
        gc.log(gc.exp(a) + gc.exp(b)),
        """
        %0: f64[n,4] = placeholder[a]
        %1: f64[4] = placeholder[b]
        %2: f64[n,4] = broadcast[shape=(n,4), axes=(1)](%1)
        %3: f64[n,4] = logaddexp(%0, %2)
        return %3
        """,
    )


def test_float32_stays_float32() -> None:
    becomes(
        stabilize,
        gc.log(1 + gc.exp(gc.placeholder("x", (), "float32"))),
        """
        %0: f32[] = placeholder[x]
        %1: f32[] = softplus(%0)
        return %1
        """,
    )


def test_what_only_looks_alike_stays() -> None:
    x, y = gc.placeholder("x", (4, 4)), gc.placeholder("y", (4, 4))
    stays(
        stabilize,
        [
            gc.log(2 + x),
            gc.exp(x) - 2,
            gc.log(x) - gc.log(y),
            gc.exp(x) / gc.sum(gc.exp(x), 1),  # divides columns by the sums of rows
            x - gc.logsumexp(x, 1),
            gc.log(gc.sum(x, 1)),
            gc.sqrt(x) * gc.sqrt(y),
            gc.softmax(x - gc.max(x, 0, keepdims=True)),  # not constant along the rows
        ],
    )


EXTREMES = np.array([-1e4, -800.0, -40.0, -1e-9, 0.0, 1e-9, 40.0, 800.0, 1e4])


@pytest.mark.parametrize(
    ("formula", "slope"),
    [
        (lambda x: gc.log(1 + gc.exp(x)), lambda x: 1 / (1 + np.exp(-x))),
        (lambda x: 1 / (1 + gc.exp(-x)), lambda x: np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))) ** 2),
        (lambda x: gc.log(1 / (1 + gc.exp(-x))), lambda x: 1 / (1 + np.exp(x))),
        (lambda x: gc.exp(x) / (1 + gc.exp(x)), lambda x: np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))) ** 2),
    ],
)
def test_gradients_are_right_at_the_extremes(formula: Callable[[Node], Node], slope: Callable[[Array], Array]) -> None:
    x = gc.placeholder("x", ("n",))
    with np.errstate(over="ignore"):
        expected = slope(EXTREMES)
    found = gc.grad(gc.sum(formula(x)), x).eval({x: EXTREMES})
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)
