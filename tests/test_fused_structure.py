"""What fusion must keep: one kernel where values are read once, and no temporaries between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.ops.control import Scan
from graphc.passes.schedule.frame import Framed
from graphc.passes.schedule.kernels import TOTAL

RNG = np.random.default_rng(7)


def _stencil(u: gc.Node) -> gc.Node:
    around = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]
    out: gc.Node = u.at[1:-1, 1:-1].add(0.2 * (around - 4 * u[1:-1, 1:-1]))
    return out


def _loss(u: gc.Node) -> gc.Node:
    step = _stencil(u)
    return gc.sum(step * step)


@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (5, 3), (8, 9), (33, 70)])
@pytest.mark.parametrize("mode", ["compiled", "debug"])
def test_a_stencil_and_its_gradient(shape: tuple[int, int], mode: Any) -> None:
    u = gc.placeholder("u", shape=("n", "m"))
    f = gc.function([u], [_stencil(u), gc.grad(_loss(u), u)], mode=mode)
    reference = gc.function([u], [_stencil(u), gc.grad(_loss(u), u)], mode="reference")
    a = RNG.standard_normal(shape)
    for got, expected in zip(f(a), reference(a), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", range(1, 9))
def test_sums_of_framed_parts_of_any_size(n: int) -> None:
    x, y = gc.placeholder("x", shape=("n",)), gc.placeholder("y", shape=("n",))
    zero = gc.zeros_like(x)
    out = zero.at[1:].add(x[:-1] * y[1:]) + zero.at[:-1].add(x[1:] * 2.0) + zero.at[1:-1].add(y[1:-1]) + x
    f = gc.function([x, y], out)
    a, b = RNG.standard_normal((2, n))
    expected = a.copy()
    expected[1:] += a[:-1] * b[1:]
    expected[:-1] += a[1:] * 2
    expected[1:-1] += b[1:-1]
    np.testing.assert_allclose(f(a, b), expected, rtol=1e-13)
    assert len(f.schedule) == 1


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_padding_is_one_kernel(dtype: str) -> None:
    x = gc.placeholder("x", shape=("n", 3, "m"), dtype=dtype)
    f = gc.function([x], gc.pad(x, ((2, 1), (0, 0), (1, 3))))
    a = (RNG.standard_normal((4, 3, 5)) * 9).astype(dtype)
    np.testing.assert_array_equal(f(a), np.pad(a, ((2, 1), (0, 0), (1, 3))))
    assert len(f.schedule) == 1 and len(f.source.kernels.split("def kernel")) == 2
    assert f(a[:0]).shape == (3, 3, 9) and not f(a[:0]).any()


def test_a_step_of_a_stencil_is_one_kernel_without_temporaries() -> None:
    start = gc.placeholder("u", shape=(64, 64))
    u, _ = gc.scan(lambda u, _: (_stencil(u), None), start, None, length=5)
    f = gc.function([start], gc.grad(gc.sum(u * u), start))
    loops = [n.op for n in f.optimized.nodes if isinstance(n.op, Scan)]
    assert len(loops) == 2
    for loop in loops:
        (body,) = loop.regions()
        assert not any(n.op.name == "unslice" for n in body.nodes)
        assert any(isinstance(n.op, Framed) for n in body.nodes)
    assert f.source.kernels.count("for s in range(lo, hi)") == 2  # each loop is one kernel, its steps inside
    a = RNG.standard_normal((64, 64))
    f(a)
    assert f.stats["peak_bytes"] <= 6 * a.nbytes


def test_dear_parts_are_computed_once_and_not_in_every_frame() -> None:
    x = gc.placeholder("x", shape=("n",))
    y = gc.tanh(x[1:])
    f = gc.function([x], gc.zeros_like(x).at[1:].add(y) + gc.zeros_like(x).at[:-1].add(y))
    assert f.source.kernels.count("tanh(") == 1
    a = RNG.standard_normal(40)
    expected = np.zeros(40)
    expected[1:] += np.tanh(a[1:])
    expected[:-1] += np.tanh(a[1:])
    np.testing.assert_allclose(f(a), expected, rtol=1e-14, atol=1e-15)  # the two terms may cancel


def test_layer_norm_gelu_residual_and_gradients_are_one_pass_over_the_rows() -> None:
    x = gc.placeholder("x", shape=("rows", 48), dtype="float32")
    gain, bias = (gc.shared(RNG.standard_normal(48).astype("float32"), name=n) for n in ("gain", "bias"))
    y = x + gc.nn.gelu(gc.nn.layer_norm(x, 48, gain, bias))
    loss, gradients = gc.value_and_grad(gc.mean(y * y), [x, gain, bias])
    f = gc.function([x], [loss, *gradients])
    spaces = [k for k in f.schedule if len(k.space) == 2]
    assert len(spaces) == 1 and TOTAL in spaces[0].levels.values()
    a = RNG.standard_normal((70, 48)).astype("float32")
    reference = gc.function([x], [loss, *gradients], mode="reference")
    for got, expected in zip(f(a), reference(a), strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())
    assert f.stats["peak_bytes"] < a.nbytes  # rows of one row, not arrays


@pytest.mark.parametrize("name", ["sum", "max", "min", "prod"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_totals_beside_rows(name: str, dtype: str) -> None:
    x = gc.placeholder("x", shape=("n", "m"), dtype=dtype)
    rows = gc.max(x, axis=1, keepdims=True)
    centred = x - rows
    f = gc.function([x], [getattr(gc, name)(centred * 2), centred])
    a = (RNG.standard_normal((5, 7)) * 4).astype(dtype)
    expected = getattr(np, name)((a - a.max(1, keepdims=True)) * a.dtype.type(2))
    np.testing.assert_allclose(f(a)[0], expected, rtol=1e-5 if dtype == "float32" else 1e-12)
    assert len(f.schedule) == 1
    if dtype != "int64":
        a[2, 3] = np.nan
        assert np.isnan(f(a)[0])


def _table_step(rows: gc.Node, groups: gc.Node, y: gc.Node, table: gc.Shared) -> dict[gc.Shared, gc.Node]:
    error = gc.zeros_like(y).at[groups].add(table[rows]) - y
    return {table: table - 0.1 * gc.grad(gc.sum(error * error), table)}


def test_rows_are_gathered_inside_the_scatters_that_take_them() -> None:
    table = gc.shared(RNG.standard_normal((50, 6)), name="table")
    rows, groups = (gc.placeholder(n, shape=("count",), dtype="int64") for n in ("rows", "groups"))
    y = gc.placeholder("y", shape=(5, 6))
    start = table.get_value()
    f = gc.function([rows, groups, y], [], updates=_table_step(rows, groups, y, table))
    kernels = [[n.op.name for n in k.nodes] for k in f.schedule if k.kind == "scatter"]
    assert len(kernels) == 2 and all(names[0] == "gather" for names in kernels)
    i, j, b = RNG.integers(-50, 50, 40), RNG.integers(0, 5, 40), RNG.standard_normal((5, 6))
    f(i, j, b)
    error = np.zeros((5, 6))
    np.add.at(error, j, start[i])
    expected = start.copy()
    np.add.at(expected, i, -0.2 * (error - b)[j])
    np.testing.assert_allclose(table.get_value(), expected, rtol=1e-12)
    before = table.get_value()
    for bad in (np.where(np.arange(40) == 39, 50, i), i), (i, np.where(np.arange(40) == 39, 5, j)):
        with pytest.raises(IndexError):
            f(*bad, b)
        np.testing.assert_array_equal(table.get_value(), before)  # every index is checked before a row is written


def test_a_scatter_reads_the_old_rows_of_what_it_writes_into() -> None:
    table = gc.shared(np.arange(8.0), name="table")
    rows = gc.placeholder("rows", shape=("count",), dtype="int64")
    f = gc.function([rows], [], updates={table: table.at[rows].add(table[rows] * 10.0)})
    f(np.array([1, 1, 3]))
    np.testing.assert_array_equal(table.get_value(), [0, 21, 2, 33, 4, 5, 6, 7])


@pytest.mark.parametrize(("classes", "bits"), [(7, "i32"), ("m", "i64"), (2**31, "i64")])
@pytest.mark.parametrize("mode", ["compiled", "debug"])
def test_labels_are_compared_by_32_bits_where_classes_are_few(classes: Any, bits: str, mode: Any) -> None:
    labels, x = gc.placeholder("labels", ("n",), dtype="int64"), gc.placeholder("x", ("n", classes))
    f = gc.function([labels, x], gc.where(gc.one_hot(labels, x.shape[1], dtype="bool"), x, 0.0), mode=mode).compile()
    (source,) = f.source.kernels.split("# kernel")[1:]
    assert f"== {bits}(" in source
    if classes != 2**31:
        given, a = np.array([3, -1, 2**32 + 3, 6, 7, 0, -(2**40)]), np.ones((7, 7))
        np.testing.assert_array_equal(f(given, a), given[:, None] == np.arange(7))
