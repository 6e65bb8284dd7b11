"""`accumulate_products`: what adds up in one result, what must stay, and what the compiled program does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.graph import Graph
from graphc.passes.updates.accumulate_products import accumulate_products
from tests.passes import becomes, stays

A, B = gc.placeholder("a", ("n", 3)), gc.placeholder("b", (3, 4))
C, D = gc.placeholder("c", ("n", 5)), gc.placeholder("d", (5, 4))


def test_products_that_are_added_to_each_other() -> None:
    becomes(
        accumulate_products,
        A @ B + C @ D,
        """
        %0: f64[n,3] = placeholder[a]
        %1: f64[3,4] = placeholder[b]
        %2: f64[n,5] = placeholder[c]
        %3: f64[5,4] = placeholder[d]
        %4: f64[n,4] = matmul_add(%0, %1, %2, %3)
        return %4
        """,
    )
    total = Graph([(C @ D + (A @ B + C @ (D * 2))) + A @ (B * 2)])
    added = accumulate_products(total)
    assert sum(n.op.name == "matmul_add" for n in added.nodes) == 1
    assert [x.op.name for x in added.outputs[0].inputs[::2]] == ["placeholder"] * 4


def test_products_of_stacks_of_rows() -> None:
    x, y = gc.placeholder("x", ("n", "t", 3)), gc.placeholder("y", ("n", "t", 5))
    (out,) = accumulate_products(Graph([x @ B + y @ D + x @ (B * 2)])).outputs
    assert out.op.name == "reshape" and out.inputs[0].op.name == "matmul_add" and len(out.inputs[0].inputs) == 6
    batch = gc.placeholder("p", ("n", 2, 3)), gc.placeholder("q", ("n", 3, 4))
    (out,) = accumulate_products(Graph([batch[0] @ batch[1] + (batch[0] * 2) @ (batch[1] * 2)])).outputs
    assert out.op.name == "matmul_add"


def test_other_terms_other_uses_and_integers_stay() -> None:
    product = A @ B
    stays(accumulate_products, A @ B + gc.placeholder("bias", (4,)))
    stays(accumulate_products, A @ B + gc.sum(C @ D, 0))  # of another shape
    stays(accumulate_products, A @ B - C @ D)
    stays(accumulate_products, product + product)
    stays(accumulate_products, [product + C @ D, product])
    stays(accumulate_products, [product + C @ D, gc.exp(product)])
    turned = gc.placeholder("e", (4, 3))
    stays(accumulate_products, (turned @ gc.placeholder("f", (3, 5))).reshape((5, 4)) + D @ gc.placeholder("g", (4, 4)))
    integers = gc.placeholder("i", (4, 4), "int64")
    stays(accumulate_products, integers @ integers + integers @ (integers * 2))


@pytest.mark.parametrize("mode", ["compiled", "debug", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(20, 9, 17), (8, 48, 40), (5, 3, 4), (33, 64, 33), (7, 0, 12), (16, 60, 16)])
def test_values_of_every_layout(mode: Any, dtype: str, sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    rng = np.random.default_rng(0)
    shapes = {"a": (m, k), "b": (k, n), "c": (k, m), "d": (n, k)}
    arrays = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    dims = {m: "m", k: "k", n: "n"}
    nodes = {name: gc.placeholder(name, tuple(dims[s] for s in shape), dtype) for name, shape in shapes.items()}
    a, b, c, d = nodes.values()
    f = gc.function(list(nodes.values()), a @ b + c.T @ d.T + a @ d.T + c.T @ b, mode=mode)
    exact = {name: value.astype("float64") for name, value in arrays.items()}
    wanted = (exact["a"] + exact["c"].T) @ (exact["b"] + exact["d"].T)
    got = f(*arrays.values())
    np.testing.assert_allclose(got, wanted, rtol=0, atol=(1e-5 if dtype == "float32" else 1e-13) * max(k, 1))
    if mode == "compiled":
        assert [kernel.kind for kernel in f.schedule] == ["matmul"]
        assert f.stats["peak_bytes"] == 0  # no product but the result


def test_projections_of_one_value_and_their_derivatives() -> None:
    rng = np.random.default_rng(1)
    x = gc.placeholder("x", ("n", 6))
    weights = [gc.placeholder(name, (6, 4)) for name in "qkv"]
    q, k, v = (gc.tanh(x @ w) for w in weights)
    loss = gc.sum(gc.sin(q) * k + v * q)
    wanted = [loss, *gc.grad(loss, [x, *weights])]
    f = gc.function([x, *weights], wanted)
    assert sum(n.op.name == "matmul_add" for n in f.optimized.nodes) == 1
    arrays = [rng.normal(size=(9, 6)), *(rng.normal(size=(6, 4)) for _ in weights)]
    bindings = dict(zip([x, *weights], arrays, strict=True))
    gc.check_grad(loss, [x, *weights], bindings)
    for got, value in zip(f(*arrays), gc.evaluate(wanted, bindings), strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mode", ["compiled", "debug"])
def test_a_weight_that_is_used_twice_takes_both_steps_in_place(mode: Any) -> None:
    rng = np.random.default_rng(2)
    start = rng.normal(size=(20, 20))
    w = gc.shared(start.copy(), name="w")
    x = gc.placeholder("x", ("n", 20))
    loss = gc.sum(gc.square(gc.tanh(x @ w) @ w))
    f = gc.function([x], loss, updates={w: w - 0.1 * gc.grad(loss, w)}, mode=mode)
    updates = [n for n in f.optimized.nodes if n.op.name == "matmul_update"]
    assert [len(n.inputs) for n in updates] == [6]
    a = rng.normal(size=(7, 20))
    hidden = np.tanh(a @ start)
    g = 2 * hidden @ start
    gradient = hidden.T @ g + a.T @ ((g @ start.T) * (1 - hidden**2))
    np.testing.assert_allclose(f(a), np.sum((hidden @ start) ** 2), rtol=1e-12)
    np.testing.assert_allclose(w.get_value(), start - 0.1 * gradient, rtol=0, atol=1e-11)
    assert all(block.nbytes < w.get_value().nbytes for block in (f.plan.blocks if f.plan else ()))
