"""Matrix products by register tiles: every edge of rows, columns and inner axis, against NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.jit import assembly
from graphc.codegen.tile_sizes import vector_bits

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


@pytest.mark.skipif(vector_bits() == 0, reason="this CPU has no fused multiply-add, so BLAS computes every product")
def test_tiles_multiply_and_add_packed_numbers() -> None:
    for left, right in operands("float32")[:: 2 if vector_bits() == 256 else 1][:2]:
        f = gc.function(gc.Graph([left, right]).inputs, left @ right).compile()
        (source,) = (s for s in f.source.split("# kernel") if "set_" in s)
        text = assembly(source[source.index("def kernel") :])
        register = {512: "%zmm", 256: "%ymm"}[vector_bits()]
        packed = [line for line in text.splitlines() if "fmadd" in line and "ps" in line.split()[0]]
        assert len(packed) >= 12 and all(register in line for line in packed)
