"""Matrix products by register tiles: every edge of rows, columns and inner axis, against NumPy."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.jit.compiler import assembly
from graphc.codegen.math.tile_sizes import deepest, vector_bits
from graphc.codegen.nest.nest import LoopNest
from graphc.codegen.nest.options import KernelOptions
from graphc.codegen.run.debug import register
from graphc.codegen.run.section import Section

ROWS, COLUMNS, INNER = (1, 4, 8, 13), (1, 4, 16, 17, 33, 50), (0, 1, 2, 19, 50, 64)


def operands(dtype: str) -> list[tuple[gc.Node, gc.Node]]:
    """Return placeholders of every layout, as (m, k) @ (k, n)."""
    plain = gc.placeholder("a", shape=("m", "k"), dtype=dtype), gc.placeholder("b", shape=("k", "n"), dtype=dtype)
    turned = (
        gc.placeholder("at", shape=("k", "m"), dtype=dtype).T,
        gc.placeholder("bt", shape=("n", "k"), dtype=dtype).T,
    )
    return [(a, b) for a in (plain[0], turned[0]) for b in (plain[1], turned[1])]


@pytest.mark.parametrize("mode", ["compiled", "debug"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_edge(mode: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    for left, right in operands(dtype):
        f = gc.function(gc.Graph([left, right]).inputs, left @ right, mode=mode)
        turned = [x.op.name == "permute_dims" for x in (left, right)]
        for m, n, k in itertools.product(ROWS, COLUMNS, INNER):
            a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
            given = [np.ascontiguousarray(x.T) if t else x for x, t in zip((a, b), turned, strict=True)]
            np.testing.assert_allclose(f(*given), a @ b, rtol=0, atol=tolerance * max(k, 1))


@pytest.mark.parametrize("mode", ["compiled", "debug"])
@pytest.mark.parametrize("turned", [False, True])
def test_batches_and_sums_of_batches(mode: Any, turned: bool) -> None:
    a = gc.placeholder("a", shape=("i", "j", "m", "k"))
    b = gc.placeholder("b", shape=("i", "j", "n", "k") if turned else ("i", "j", "k", "n"))
    right = b.mT if turned else b
    f = gc.function([a, b], [a @ right, gc.sum(a @ right, axis=(0, 1))], mode=mode)
    rng = np.random.default_rng(0)
    for m, n, k in ((8, 33, 64), (13, 7, 50), (4, 4, 48), (3, 40, 2)):
        x = rng.normal(size=(2, 3, m, k))
        y = rng.normal(size=(2, 3, n, k) if turned else (2, 3, k, n))
        wanted = x @ (np.swapaxes(y, -1, -2) if turned else y)
        for got, value in zip(f(x, y), [wanted, wanted.sum((0, 1))], strict=True):
            np.testing.assert_allclose(got, value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("inner", [257, 1000, 1024, 1025])
def test_transposed_right_operands_are_turned_around_block_by_block(dtype: str, inner: int) -> None:
    rng = np.random.default_rng(0)
    a, b = gc.placeholder("a", ("m", "k"), dtype), gc.placeholder("b", ("n", "k"), dtype)
    left, right = (rng.normal(size=(rows, inner)).astype(dtype) for rows in (41, 150))
    found = []
    for threads in (1, 2):
        f = gc.function([a, b], [a @ b.T, (a * 2) @ b.T], threads=threads)
        exact = left.astype("float64") @ right.T.astype("float64")
        tolerance = 1e-3 if dtype == "float32" else 1e-11
        for got, factor in zip(values := f(left, right), (1, 2), strict=True):
            np.testing.assert_allclose(got, factor * exact, rtol=0, atol=tolerance)
        found.append([value.tobytes() for value in values])
        if vector_bits() and sys.platform != "win32":
            assert "call_transpose" in f.source.kernels
            (nest,) = {n.needs_library({"m": 41, "n": 150, "k": inner}) for n in products(f)}
            assert nest is (inner > deepest())
    assert found[0] == found[1]


def products(f: gc.Function) -> list[LoopNest]:
    """Return the nests of matrix products of a function."""
    return [nest for nest in Section(f.optimized, register).nests if nest.product is not None]


@pytest.mark.skipif(vector_bits() == 0, reason="this CPU has no fused multiply-add, so BLAS computes every product")
def test_tiles_multiply_and_add_packed_numbers() -> None:
    for left, right in operands("float32")[:: 2 if vector_bits() == 256 else 1][:2]:
        f = gc.function(gc.Graph([left, right]).inputs, left @ right).compile()
        (source,) = (s for s in f.source.kernels.split("# kernel") if "set_" in s)
        text = assembly(source[source.index("def kernel") :], KernelOptions(tiles=True))
        register = {512: "%zmm", 256: "%ymm"}[vector_bits()]
        packed = [line for line in text.splitlines() if "fmadd" in line and "ps" in line.split()[0]]
        assert len(packed) >= 12 and all(register in line for line in packed)


@pytest.mark.parametrize("mode", ["compiled", "debug"])
@pytest.mark.parametrize("m", [1, 7, 16, 21])
@pytest.mark.parametrize("n", [3, 10, 33])
def test_state_is_updated_by_a_product_in_place(mode: Any, m: int, n: int) -> None:
    rng = np.random.default_rng(1)
    start = rng.normal(size=(m, n))
    w = gc.shared(start, name="w")
    x, g = gc.placeholder("x", shape=("batch", m)), gc.placeholder("g", shape=("batch", n))
    rate = gc.placeholder("rate", shape=())
    f = gc.function([x, g, rate], gc.sum(w), updates={w: w - rate * (x.T @ g)}, mode=mode)
    a, b = rng.normal(size=(9, m)), rng.normal(size=(9, n))
    np.testing.assert_allclose(f(a, b, np.array(0.3)), start.sum(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(w.get_value(), start - 0.3 * (a.T @ b), rtol=0, atol=1e-12)
    assert f.stats["peak_bytes"] <= 128  # no gradient in memory
    f(a[:0], b[:0], np.array(0.3))
    np.testing.assert_allclose(w.get_value(), start - 0.3 * (a.T @ b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_updates_by_products_where_the_old_state_is_read_as_well(sign: int, dtype: str) -> None:
    rng = np.random.default_rng(2)
    start = rng.normal(size=(20, 20)).astype(dtype)
    v = gc.shared(start.copy(), name="v")
    x = gc.placeholder("x", shape=("k", 20), dtype=dtype)
    a = rng.normal(size=(6, 20)).astype(dtype)
    wanted = start + sign * (a.T @ a)
    new = v + x.T @ x if sign == 1 else v - x.T @ x
    f = gc.function([x], [v, v @ v, gc.sum(new)], updates={v: new})
    before, square, total = f(a)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_array_equal(before, start)
    np.testing.assert_allclose(square, start @ start, rtol=0, atol=tolerance)
    np.testing.assert_allclose(total, wanted.sum(), rtol=0, atol=100 * tolerance)
    np.testing.assert_allclose(v.get_value(), wanted, rtol=0, atol=tolerance)
    v.set_value(start)
    g = gc.function([], [], updates={v: v - v.T @ v})  # its operands are the state itself
    g()
    np.testing.assert_allclose(v.get_value(), start - start.T @ start, rtol=0, atol=tolerance)


def test_a_training_step_stores_no_gradient_of_its_weights() -> None:
    w1, w2 = (gc.shared(np.ones(s, "float32"), name=f"w{s}") for s in ((40, 30), (30, 20)))
    x = gc.placeholder("x", shape=("batch", 40), dtype="float32")
    y = gc.placeholder("y", shape=("batch",), dtype="int64")
    loss = gc.nn.cross_entropy(gc.nn.relu(x @ w1) @ w2, y)
    updates = {w: w - 0.1 * g for w, g in zip((w1, w2), gc.grad(loss, [w1, w2]), strict=True)}
    f = gc.function([x, y], loss, updates=updates)
    assert sum(n.op.name == "matmul_update" for n in f.optimized.nodes) == 2
    assert not any(k.kind == "loop" and k.space in ((40, 30), (30, 20)) for k in f.schedule)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(2, 3, 4), (5, 2000, 700), (70, 400, 30)])
def test_a_step_of_zero_keeps_nan_and_infinities(sizes: tuple[int, int, int], dtype: str) -> None:
    """BLAS leaves out a product that it is to multiply by 0; what is finite does not move the state."""
    m, k, n = sizes
    x, y, rate = (
        gc.placeholder("x", ("m", "k"), dtype),
        gc.placeholder("y", (k, n), dtype),
        gc.placeholder("r", (), dtype),
    )
    left, right = np.ones((m, k), dtype), np.ones((k, n), dtype)
    left[0, 0], right[1, 2] = np.nan, np.inf
    wanted = np.ones((m, n), dtype)
    wanted[0], wanted[:, 2] = np.nan, np.nan
    for step in (rate, 0.0):
        w = gc.shared(np.ones((m, n), dtype))
        f = gc.function([x, y, rate], [], updates={w: w - step * (x @ y)}, on_unused="ignore")
        f(left, right, 0.0)
        np.testing.assert_array_equal(w.get_value(), wanted)
