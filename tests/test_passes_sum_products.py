"""`sum_products`: what is only summed over its batch is added up in the product; what must stay."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc.graph.graph import Graph
from graphc.passes.updates.sum_products import sum_products
from tests.passes import becomes, stays

X = gc.placeholder("x", ("n", 2, 3, 4))
Y = gc.placeholder("y", ("n", 2, 4, 5))


def test_sums_over_the_first_axes_of_the_batch() -> None:
    becomes(
        sum_products,
        gc.sum(X @ Y, 0),
        """
        %0: f64[n,2,3,4] = placeholder[x]
        %1: f64[n,2,4,5] = placeholder[y]
        %2: f64[2,3,5] = matmul_sum[axes=1](%0, %1)
        return %2
        """,
    )
    becomes(
        sum_products,
        gc.sum(X @ Y, (0, 1)),
        """
        %0: f64[n,2,3,4] = placeholder[x]
        %1: f64[n,2,4,5] = placeholder[y]
        %2: f64[3,5] = matmul_sum[axes=2](%0, %1)
        return %2
        """,
    )


def test_other_axes_other_uses_and_integers_stay() -> None:
    product = X @ Y
    stays(sum_products, gc.sum(X @ Y, 1))
    stays(sum_products, gc.sum(X @ Y, (0, 2)))
    stays(sum_products, gc.max(X @ Y, 0))
    stays(sum_products, [gc.sum(product, 0), product])
    stays(sum_products, [gc.sum(product, 0), gc.max(product, 0)])
    integers = gc.placeholder("i", (3, 4, 4), "int64")
    stays(sum_products, gc.sum(integers @ integers, 0))


def test_values_and_derivatives() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((6, 2, 3, 4)), rng.standard_normal((6, 2, 4, 5))]
    summed = sum_products(Graph([gc.sum(X @ Y, 0)])).outputs[0]
    f = gc.function([X, Y], [gc.sum(X @ Y, 0), gc.sum(gc.matrix_transpose(Y) @ gc.matrix_transpose(X), (0, 1))])
    for size in (6, 1, 0):
        x, y = (a[:size] for a in arrays)
        wanted = np.einsum("nbij,nbjk->bik", x, y)
        np.testing.assert_allclose(summed.eval({X: x, Y: y}), wanted, rtol=1e-13, atol=1e-14)
        for got, expected in zip(f(x, y), (wanted, wanted.sum(0).T), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)
    weights = np.linspace(0.5, 1.5, 2 * 3 * 5).reshape(2, 3, 5)
    assert gc.check_grad(gc.sum(summed**2 * weights), [X, Y], {X: arrays[0][:2], Y: arrays[1][:2]}) < 1e-6
    tangents = [np.ones((2, 2, 3, 4)), np.ones((2, 2, 4, 5))]
    pushed = gc.jvp(summed, [X, Y], [gc.constant(t) for t in tangents])
    x, y = (a[:2] for a in arrays)
    wanted = np.einsum("nbij,nbjk->bik", tangents[0], y) + np.einsum("nbij,nbjk->bik", x, tangents[1])
    np.testing.assert_allclose(pushed.eval({X: x, Y: y}), wanted, rtol=1e-12)
