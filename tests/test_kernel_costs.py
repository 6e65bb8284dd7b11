"""The costs of kernels: bytes once, operations by the element."""

from __future__ import annotations

import numpy as np

import graphc as gc


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
