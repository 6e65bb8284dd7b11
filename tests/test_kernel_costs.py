"""The costs of kernels: bytes once, operations by the element."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.graph.op import apply
from graphc.ops.reduction import KINDS, Kind, Reduction


def test_a_fused_kernel_reads_its_inputs_once_and_stores_only_results() -> None:
    x, y = (gc.placeholder(n, shape=("n", 4), dtype="float32") for n in "xy")
    f = gc.function([x, y], gc.sum(gc.exp(x * y) + x, axis=1))
    (cost,) = f.cost.at({"n": 10}).kernels
    assert (cost.read, cost.written) == (2 * 160, 40)
    assert (cost.special, cost.arithmetic) == (40, 3 * 40)
    assert str(f.cost.total.read) == "32*n"


def test_products_loops_and_frames() -> None:
    x = gc.placeholder("x", shape=(3, "k"))
    f = gc.function([x], x @ x.T)
    assert f.cost.at({"k": 5}).total.arithmetic == 2 * 3 * 3 * 5
    y = gc.placeholder("y", shape=(10,))
    g = gc.function([y], gc.zeros(10).at[1:].add(y[1:] * y[:-1]))
    assert g.cost.total.arithmetic == 9 + 10  # the product inside its region, the sum everywhere
    assert len(gc.function([y], y).cost.kernels) == 1


def test_a_scan_counts_all_its_steps() -> None:
    x, w = gc.placeholder("x", shape=("t", 4)), gc.placeholder("w", shape=(4, 4))
    last, _ = gc.scan(lambda c, e: (gc.tanh(c @ w + e), None), gc.zeros(4), x)
    cost = gc.function([x, w], last).cost.at({"t": 10}).total
    assert (cost.arithmetic, cost.special) == (10 * (2 * 4 * 4 + 4), 10 * 4)


def test_the_table_has_a_line_a_kernel_and_a_total() -> None:
    w = gc.shared(np.ones(3), name="w")
    f = gc.function([], [], updates={w: w * 2})
    lines = str(f.cost).splitlines()
    assert len(lines) == 4 and lines[0].split()[0] == "kernel" and lines[-1].split()[0] == "all"
    assert lines[2].split() == ["0:", "multiply", "24", "24", "3", "0"]
    assert gc.function([], []).cost.total.read == 0


def test_shifts_casts_and_whole_divisions_are_arithmetic() -> None:
    k = gc.placeholder("k", shape=(100,), dtype="int64")
    for y, count in (
        ((k << 3) ^ (k >> 2), 3),
        (k // 3 + k % 5, 3),
        (k.astype("float32").astype("int8"), 0),
    ):
        total = gc.function([k], y).cost.total
        assert (total.arithmetic, total.special) == (100 * count, 0), y
    y = k
    for i in range(1, 31):
        y = y ^ (y << i)
    assert len(gc.function([k], y).cost.kernels) == 1


def test_what_is_not_known_is_no_zero() -> None:
    a, x = gc.placeholder("a", shape=(6, 6)), gc.placeholder("x", shape=(6,))
    assert gc.function([a], gc.linalg.cholesky(a)).cost.total.arithmetic == 6**3 // 3
    assert gc.function([a, x], gc.linalg.solve(a, x)).cost.total.arithmetic == 2 * 6**3 // 3 + 2 * 36
    for unknown in (
        gc.linalg.eigh(a)[0],
        gc.linalg.svd(a)[1],
        gc.while_loop(lambda c: gc.sum(c) < 9, lambda c: gc.exp(c), x),
        gc.cond(x[0] > 0, lambda: gc.exp(x), lambda: x),
        gc.fori_loop(0, 3, lambda i, c: gc.linalg.eigh(c)[1], a),
        gc.sort(x),
    ):
        cost = gc.function([a, x], unknown, on_unused="ignore").cost
        assert cost.total.arithmetic is None and "?" in str(cost).splitlines()[-1], unknown
        assert cost.at({}).total.arithmetic is None and cost.total.read != 0


def test_a_reduction_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreter and kernels know a reduction by its row alone; a row that kernels have no form for is refused."""
    monkeypatch.setitem(KINDS, "xor", Kind(np.bitwise_xor.reduce, 0, "^"))
    k = gc.placeholder("k", shape=("n", "m"), dtype="int64")
    values = np.random.default_rng(0).integers(0, 2**40, (5, 2000))
    for axes in ((0,), (1,)):
        f = gc.function([k], apply(Reduction("xor", axes), k))
        np.testing.assert_array_equal(f(values), np.bitwise_xor.reduce(values, axes[0]))
    with pytest.raises(TypeError, match="takes values in by '-'"):
        Kind(np.subtract.reduce, 0, "-")
