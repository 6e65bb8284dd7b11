"""Threads: the same bits for any number of them, and nothing that a user of one thread would notice."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.math.loader import has_fma
from graphc.codegen.memory import replicas
from graphc.codegen.nest import division
from graphc.codegen.nest.division import chunk_edges
from graphc.codegen.run.blas import PRODUCTS, library_for
from graphc.codegen.run.blas_threads import GET, USERS, _guards, guard_address
from graphc.codegen.run.team import default_threads, threads_running
from graphc.graph.node import Node
from graphc.graph.types import Array
from tests import loop_programs
from tests.check_loops import total
from tests.loop_backends import Traced
from tests.random_graphs import random_program
from tests.test_random_graphs import assert_same

COUNTS = (1, 2, 3, 5)
Inputs = Sequence[Array]


def placeholders(arrays: Inputs) -> list[Node]:
    return [gc.placeholder(f"x{i}", tuple(f"n{i}_{k}" for k in range(a.ndim)), a.dtype) for i, a in enumerate(arrays)]


def assert_same_bits(found: Sequence[Sequence[Array]]) -> None:
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# -- chunks


@pytest.mark.parametrize("extent", [0, 1, 2, 5, 63, 64, 65, 100, 1000, 4097, 10**6])
@pytest.mark.parametrize("cost", [0.0, 1e5, 1e6, 1e9])
def test_chunks_cover_the_range_in_order(extent: int, cost: float) -> None:
    chunks = chunk_edges(extent, cost, 5e4)
    assert chunks[0][0] == 0 and chunks[-1][1] == extent
    assert all(a[1] == b[0] for a, b in itertools.pairwise(chunks))
    assert all(lo < hi for lo, hi in chunks) or extent == 0
    if len(chunks) > 1:
        assert cost >= 5e4
        lengths = {hi - lo for lo, hi in chunks[:-1]}
        unit = 1 if max(lengths) <= division.ALIGNED else division.ALIGNED
        assert max(lengths) - min(lengths) <= unit and all(length % unit == 0 for length in lengths)


@pytest.mark.parametrize("cost", [1e5, 1e7, 1e9, 1e11])
def test_instructions_between_signals_have_work_for_several_threads(cost: float) -> None:
    chunks = [(0, lo, hi) for lo, hi in chunk_edges(10**9, cost, 5e4)]
    groups = list(division.grouped(chunks, cost))
    assert [chunk for group in groups for chunk in group] == chunks
    assert min(map(len, groups)) >= division.GROUP
    assert len(groups) >= cost // division.SEGMENT_NS


@pytest.mark.parametrize("count", [2, 4, 12])
def test_chunks_of_different_numbers_meet(count: int) -> None:
    """Half of the chunks are half of the range: a thread reads what it has written."""
    for extent in (64, 100, 1001, 10_000):
        edges = {lo for lo, _ in division.stretches(extent, count)}
        assert min(abs(lo - extent // 2) for lo in edges) <= (1 if extent <= count * division.ALIGNED else 64)


def test_products_that_are_summed_are_divided_by_the_batch() -> None:
    """Each chunk has a sum of its own: as many as are small beside the work."""
    x, y = gc.placeholder("x", ("batch", "k", 16)), gc.placeholder("y", ("batch", "k", 30))
    f = gc.function([x, y], gc.sum(x.mT @ y, axis=0))
    f(np.zeros((64, 1000, 16)), np.zeros((64, 1000, 30)))
    assert f.plan.chunks == {"kernel 0": 8}
    assert f.plan.peak_bytes == 8 * 16 * 30 * 8
    f(np.zeros((64, 10, 16)), np.zeros((64, 10, 30)))
    assert f.plan.chunks == {}


def test_small_work_is_not_divided() -> None:
    x = gc.placeholder("x", ("n",))
    f = gc.function([x], gc.exp(x), threads=2)
    f(np.zeros(1000))
    assert f.plan.chunks == {}
    f(np.zeros(10**6))
    assert f.plan.chunks["kernel 0"] > 1
    assert f"kernel 0 in {f.plan.chunks['kernel 0']} chunks" in str(f.plan)


# -- bits


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


PROGRAMS: dict[str, tuple[Callable[..., Any], Callable[[], list[Array]]]] = {
    "pointwise": (lambda x, y: gc.tanh(x) * gc.exp(-y * y), lambda: list(rng().normal(size=(2, 300_001)))),
    "float32": (lambda x: gc.log1p(gc.exp(x)), lambda: [rng().normal(size=500_003).astype("float32")]),
    "transposed": (lambda x: gc.exp(x).T + 1, lambda: [rng().normal(size=(301, 1003))]),
    "softmax": (lambda x: gc.softmax(x, axis=1), lambda: [rng().normal(size=(513, 300))]),
    "rows": (lambda x: gc.sum(gc.sin(x), axis=1), lambda: [rng().normal(size=(1000, 333))]),
    "argmax": (lambda x: gc.argmax(gc.sin(x), axis=1), lambda: [rng().normal(size=(1000, 333))]),
    "matmul": (lambda x, y: x @ y, lambda: [rng().normal(size=(301, 200)), rng().normal(size=(200, 403))]),
    "transposed matmul": (lambda x, y: x @ y.T, lambda: list(rng().normal(size=(2, 300, 256)))),
    "batched matmul": (lambda x, y: x @ y, lambda: list(rng().normal(size=(2, 5, 150, 150)))),
    "summed products": (
        lambda x, y: gc.sum(x.mT @ y, axis=0),
        lambda: [rng().normal(size=(67, 100, 16)), rng().normal(size=(67, 100, 150))],
    ),
    "summed narrow products": (
        lambda x, y: gc.sum(x @ y, axis=(0, 1)),
        lambda: [rng().normal(size=(40, 9, 3, 400)), rng().normal(size=(40, 9, 400, 30))],
    ),
    "large matmul": (lambda x, y: x @ y, lambda: [rng().normal(size=(701, 900)), rng().normal(size=(900, 1101))]),
    "tall matmul": (lambda x, y: x @ y.T, lambda: [rng().normal(size=(40_001, 70)), rng().normal(size=(3, 70))]),
    "wide matmul": (lambda x, y: x.T @ y, lambda: [rng().normal(size=(90, 3)), rng().normal(size=(90, 40_001))]),
    "gather": (lambda x, i: gc.exp(x)[i], lambda: [rng().normal(size=(900, 400)), rng().integers(0, 900, 700)]),
    "cumulative": (lambda x: gc.cumulative_sum(gc.exp(x), axis=1), lambda: [rng().normal(size=(700, 500))]),
    "sorted": (lambda x: gc.sort(x, axis=1), lambda: [rng().normal(size=(700, 300))]),
    "integers": (lambda x: x // 7 + x % 5, lambda: [rng().integers(-100, 100, 400_000)]),
    "sum": (lambda x: gc.sum(gc.tanh(x)), lambda: [rng().normal(size=300_001)]),
    "sum of a matrix": (lambda x: gc.sum(gc.exp(x.T) * x.T), lambda: [rng().normal(size=(501, 603))]),
    "mean": (lambda x: gc.mean(gc.exp(x)), lambda: [rng().normal(size=300_001).astype("float32")]),
    "product": (lambda x: gc.prod(1 + gc.sin(x) / 1e3), lambda: [rng().normal(size=300_001)]),
    "max": (lambda x: gc.max(gc.sin(x)), lambda: [rng().normal(size=500_001).astype("float32")]),
    "min of integers": (lambda x: gc.min(x * 3 % 1009), lambda: [rng().integers(1, 10**6, 500_001)]),
    "argmax of all": (lambda x: gc.argmax(gc.round(100 * gc.sin(x))), lambda: [rng().normal(size=300_001)]),
    "any": (lambda x: gc.any(gc.sin(x) > 0.99999), lambda: [rng().normal(size=300_001)]),
    "columns": (lambda x: gc.sum(gc.sin(x), axis=0), lambda: [rng().normal(size=(3000, 101))]),
    "columns of float32": (lambda x: gc.max(gc.sin(x), axis=0), lambda: [rng().normal(size=(70_000, 3)).astype("f4")]),
    "middle axis": (lambda x: gc.sum(gc.sin(x), axis=1), lambda: [rng().normal(size=(90, 40, 101))]),
    "first and last axis": (lambda x: gc.sum(gc.sin(x), axis=(0, 2)), lambda: [rng().normal(size=(90, 40, 101))]),
    "norm": (lambda x: x / gc.sqrt(gc.sum(x * x)), lambda: [rng().normal(size=500_001)]),
    "standardised": (
        lambda x: [(x - gc.mean(x)) / gc.std(x), gc.std(x)],
        lambda: [rng().normal(size=(501, 403))],
    ),
    "beside the largest": (
        lambda x: [x - x.reshape((-1,))[gc.argmax(gc.sin(x))], gc.max(gc.sin(x))],
        lambda: [rng().normal(size=400_001)],
    ),
    "integers by their sum": (
        lambda x: [x % gc.sum(x * x), gc.any(x > 98)],
        lambda: [rng().integers(1, 100, 400_001)],
    ),
    "one row of float32": (lambda x: gc.softmax(x), lambda: [rng().normal(size=900_001).astype("f4")]),
    "one row": (lambda x: gc.softmax(gc.sin(x)), lambda: [rng().normal(size=300_001)]),
    "loss": (
        lambda x, y: gc.nn.cross_entropy(x, y),
        lambda: [rng().normal(size=(999, 300)), rng().integers(0, 300, 999)],
    ),
    "layer norm": (
        lambda x: gc.grad(gc.mean(gc.nn.gelu(gc.nn.layer_norm(x, x.shape[-1:], x[0], x[1])) ** 2), x),
        lambda: [rng().normal(size=(1001, 300))],
    ),
    "scatter": (
        lambda x, i: gc.zeros((400, 400)).at[i].add(gc.exp(x)),
        lambda: [rng().normal(size=(900, 400)), rng().integers(0, 400, 900)],
    ),
    "scatter of sums": (
        lambda x, y, i: [gc.zeros((400, 300)).at[i].add(gc.exp(x)[i % 900] - y), y * 2],
        lambda: [rng().normal(size=(900, 300)), rng().normal(size=(2500, 300)), rng().integers(0, 400, 2500)],
    ),
    "set rows": (
        lambda x, y, i: x.at[i].set(y),
        lambda: [rng().normal(size=(900, 256)), rng().normal(size=(2500, 256)), rng().integers(-900, 900, 2500)],
    ),
    "stencil": (
        lambda x: gc.grad(gc.sum(gc.sin(x[2:] + x[:-2] - 2 * x[1:-1])), x),
        lambda: [rng().normal(size=(601, 800))],
    ),
    "copies": (lambda x: gc.concat([x.T, gc.roll(x.T, 3)]), lambda: [rng().normal(size=(700, 900))]),
    "windows": (
        lambda x: gc.nn.max_pool2d(x, 2),
        lambda: [rng().normal(size=(8, 8, 100, 100)).astype("float32")],
    ),
    "solves": (
        lambda x: gc.linalg.inv(x @ x.mT + 60 * gc.eye(60)),
        lambda: [rng().normal(size=(20, 60, 60))],
    ),
}


SEQUENTIAL = {"sorted"} | ({"matmul", "transposed matmul"} if not has_fma() else set())
"""Programs without a divided kernel; without fused multiply-add the library computes products of their size whole."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_bits_do_not_depend_on_the_number_of_threads(name: str) -> None:
    build, make = PROGRAMS[name]
    arrays = make()
    nodes = placeholders(arrays)
    result = build(*nodes)
    functions = [gc.function(nodes, result, threads=count) for count in COUNTS]
    several = isinstance(result, list)
    found = [f(*arrays) if several else [f(*arrays)] for f in functions]
    assert_same_bits(found)
    assert len({str(f.plan.chunks) for f in functions}) == 1
    assert functions[0].plan.chunks or name in SEQUENTIAL
    expected = gc.function(nodes, result, mode="reference")(*arrays)
    for a, b in zip(found[0], expected if several else [expected], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5 if b.dtype == np.float32 else 1e-9, atol=1e-9)


@pytest.fixture
def everything_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("SHARED_NS", 0.0),
        ("LOOP_NS", 0.0),
        ("CHUNK_NS", 1e-3),
        ("WAKE_NS", 0.0),
        ("ALIGNED", 10**6),
    ):
        monkeypatch.setattr(division, name, value)
    monkeypatch.setattr(replicas, "ROW_SHARE", 1e-3)


SPECIAL = [
    [1.0, np.nan, 3.0, 4.0],
    [np.inf, 1.0, 2.0, -np.inf],
    [np.inf, np.inf, 1.0, 2.0],
    [-np.inf, -np.inf, -np.inf, -np.inf],
    [-0.0, -0.0, -0.0, -0.0],
    [np.nan, np.nan, np.inf, 1.0],
    [5.0, 7.0, 7.0, 7.0],
]
REDUCTIONS = ("sum", "prod", "max", "min", "argmax", "argmin", "any", "all")


@pytest.mark.usefixtures("everything_divided")
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int8", "uint16", "bool"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_what_chunks_leave_is_combined(name: str, dtype: str) -> None:
    x = gc.placeholder("x", ("n", "m"), dtype)
    reduce = getattr(gc, name)
    if name in ("argmax", "argmin"):
        outputs = [reduce(gc.reshape(x, (-1,)))]
    else:
        outputs = [reduce(x), reduce(x, axis=0), reduce(x, axis=1)]
    functions = [gc.function([x], outputs, threads=count) for count in (1, 3)]
    for row in SPECIAL if dtype.startswith("f") else [[0, 0, 0, 0], [3, 1, 7, 7], [1, 0, 1, 1]]:
        value = np.array([row, row[::-1], row], dtype)
        found = [f(value) for f in functions]
        assert_same_bits(found)
        expected = gc.function([x], outputs, mode="reference")(value)
        for a, b in zip(found[0], expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert set(functions[0].plan.chunks.values()) <= {3, 4, 12} and functions[0].plan.chunks


@pytest.mark.usefixtures("everything_divided")
@pytest.mark.parametrize("block", range(6))
def test_bits_of_random_programs(block: int) -> None:
    divided = 0
    for seed in range(10 * block, 10 * block + 10):
        program = random_program(seed)
        found = []
        for count in COUNTS:
            f = gc.function(list(program.bindings), program.outputs, on_unused="ignore", threads=count)
            found.append(f(*program.bindings.values()))
        divided += len(f.plan.chunks)
        assert_same_bits(found)
        assert_same(found[0], program, f"seed {seed}")
    assert divided > 10


def test_random_numbers_do_not_depend_on_the_number_of_threads() -> None:
    found = []
    for count in COUNTS:
        generator = gc.random.Generator(5)
        f = gc.function([], generator.normal((200_000,)), threads=count)
        found.append([f(), f()])
    assert_same_bits(found)


@pytest.mark.parametrize("count", COUNTS)
def test_rows_of_a_table_are_divided(count: int) -> None:
    """Each thread reads all indices and writes the rows that are its own; the first bad index is reported."""
    start = rng().normal(size=(700, 512)).astype("float32")
    table = gc.shared(start, name="table")
    x, i = gc.placeholder("x", ("n", 512), "float32"), gc.placeholder("i", ("n",), "int64")
    f = gc.function([x, i], [], updates={table: table.at[i].add(x * -0.1)}, threads=count)
    rows, values = rng().integers(-700, 700, 3000), rng().normal(size=(3000, 512)).astype("float32")
    f(values, rows)
    expected = start.copy()
    np.add.at(expected, rows, values * np.float32(-0.1))
    np.testing.assert_array_equal(table.get_value(), expected)
    assert f.plan.chunks["kernel 0, nest 1"] == 4
    rows[2000] = 700
    with pytest.raises(IndexError, match="700"):
        f(values, rows)
    np.testing.assert_array_equal(table.get_value(), expected)


@pytest.mark.parametrize("width", [3, 100, 300])
def test_short_rows_are_scattered_by_one_thread(width: int) -> None:
    x, i = gc.placeholder("x", ("n", width), "float32"), gc.placeholder("i", ("n",), "int64")
    f = gc.function([x, i], gc.zeros((1000, width), dtype="float32").at[i].add(x), threads=2)
    f(np.ones((500_000 // width, width), "float32"), np.arange(500_000 // width) % 1000)
    assert f.source.kernels.count("lo)") == 0 and not any(name == "kernel 1, nest 1" for name in f.plan.chunks)


def test_loops_with_large_bodies() -> None:
    x, y = gc.placeholder("x", ("n", "n")), gc.placeholder("y", ("n", "n"))
    values = list(rng().normal(size=(2, 300, 300)))
    carry, _ = gc.scan(lambda c, _: (gc.tanh(c @ y) + gc.sin(x) * gc.exp(-c), None), x, None, length=5)
    functions = [gc.function([x, y], carry, threads=count) for count in COUNTS]
    assert_same_bits([[f(*values)] for f in functions])
    assert any(name.startswith("body 1") for name in functions[0].plan.chunks)


@pytest.mark.usefixtures("everything_divided")
@pytest.mark.parametrize("name", ["sum", "max", "min", "prod"])
def test_values_beside_their_total(name: str) -> None:
    x = gc.placeholder("x", ("n",))
    total = getattr(gc, name)(x)
    outputs = [x - total, total * 2, gc.sum(gc.where(gc.equal(x, total), x, 0.5) * 3)]
    functions = [gc.function([x], outputs, threads=count) for count in (1, 3)]
    reference = gc.function([x], outputs, mode="reference")
    for row in SPECIAL:
        value = np.array([*row, *row[::-1], 2.0])
        found = [f(value) for f in functions]
        assert_same_bits(found)
        with np.errstate(invalid="ignore"):
            for a, b in zip(found[0], reference(value), strict=True):
                np.testing.assert_array_equal(a, b)
    (count,) = functions[0].plan.chunks.values()
    assert count >= 8 and "high1" in functions[0].source.kernels


@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_a_total_beside_reductions_of_some_axes(axis: Any) -> None:
    """One kernel whose chunks run in stages: what a stage reduces in memory, later ones leave as it is."""
    x = gc.placeholder("x", ("n", 30, 40))
    centred = x - gc.mean(x)
    outputs = [centred, gc.max(x, axis=axis), gc.sum(centred * centred, axis=axis), gc.min(x * 2, axis=axis)]
    functions = [gc.function([x], outputs, threads=count) for count in COUNTS]
    value = rng().normal(size=(701, 30, 40))
    found = [f(value) for f in functions]
    assert_same_bits(found)
    for a, b in zip(found[0], gc.function([x], outputs, mode="reference")(value), strict=True):
        # Values of about 1, from which the mean was taken: what is near 0 keeps their rounding.
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert len(functions[0].schedule) == 1 and functions[0].plan.chunks["kernel 0"] > 1


@pytest.mark.usefixtures("everything_divided")
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "bool"])
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min"])
def test_columns_beside_a_total(name: str, dtype: str) -> None:
    x = gc.placeholder("x", ("n", "m"), dtype)
    outputs = [gc.where(gc.equal(x, gc.max(x)), x, gc.astype(0, dtype)), getattr(gc, name)(x, axis=0)]
    functions = [gc.function([x], outputs, threads=count) for count in (1, 3)]
    for row in SPECIAL if dtype.startswith("f") else [[0, 0, 0, 0], [3, 1, 7, 7], [1, 0, 1, 1]]:
        value = np.array([row, row[::-1], row, row], dtype)
        found = [f(value) for f in functions]
        assert_same_bits(found)
        for a, b in zip(found[0], gc.function([x], outputs, mode="reference")(value), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", COUNTS)
def test_state_by_its_norm_changes_in_place(count: int) -> None:
    value = rng().normal(size=(600, 500))
    state, norms = gc.shared(value, name="state"), gc.shared(3.0, name="norms")
    norm = gc.sqrt(gc.sum(state * state))
    f = gc.function([], norm, updates={state: state / norm * 2 + norms, norms: norms + norm}, threads=count)
    total = 3.0
    for _ in range(3):
        length = np.sqrt(np.sum(value * value))
        np.testing.assert_allclose(f(), length, rtol=1e-12)
        value, total = value / length * 2 + total, total + length
        np.testing.assert_allclose(state.get_value(), value, rtol=1e-11)
        np.testing.assert_allclose(norms.get_value(), total, rtol=1e-12)
    assert len(f.schedule) == 1 and f.plan.chunks and f.stats["peak_bytes"] < value.nbytes / 10


def heat(u: Node, length: int) -> Node:
    """Return the last of some steps of the heat equation: a loop whose body is one kernel."""

    def step(u: Node, _: None) -> tuple[Node, None]:
        around = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]
        return u.at[1:-1, 1:-1].add(0.1 * (around - 4 * u[1:-1, 1:-1])), None

    end: Node = gc.scan(step, u, None, length=length)[0]
    return end


@pytest.mark.parametrize("shape", [("n", "m"), (300, 257)])
def test_steps_of_one_kernel_are_divided_where_they_are_long(shape: Any) -> None:
    x = gc.placeholder("x", shape)
    end = heat(x, 4)
    slope = gc.grad(gc.sum(end * end), x)
    functions = [gc.function([x], [end, slope], threads=count) for count in COUNTS]
    expected = gc.function([x], [end, slope], mode="reference")
    sizes = [(300, 257)] if shape[0] == 300 else [(300, 257), (7, 9), (301, 256)]
    for size in sizes:
        value = rng().normal(size=size)
        found = [f(value) for f in functions]
        assert_same_bits(found)
        for a, b in zip(found[0], expected(value), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
        chunks = functions[0].plan.chunks
        assert all(f.plan.chunks == chunks for f in functions)
        assert {name[:6] for name in chunks} >= {"body 1", "body 2"} if size[0] > 7 else not chunks


def test_steps_of_some_microseconds_are_divided_in_long_loops() -> None:
    x = gc.placeholder("x", ("n", "n"))
    functions = [gc.function([x], heat(x, 60), threads=count) for count in COUNTS]
    value = rng().normal(size=(128, 128))
    assert_same_bits([[f(value)] for f in functions])
    assert functions[0].plan.chunks["body 1, kernel 0"] >= 2
    functions[0](rng().normal(size=(20, 20)))
    assert functions[0].plan.chunks == {}


@pytest.mark.usefixtures("everything_divided")
def test_bits_of_random_loops() -> None:
    divided = 0
    for seed in range(10):
        program = loop_programs.program(seed)
        inputs, given = program.placeholders(), program.arrays()
        outputs = program.build(Traced(), inputs)
        if program.reversible:
            outputs += gc.grad(total(gc, outputs), inputs, disconnected="zero")
        functions = [gc.function(inputs, outputs, on_unused="ignore", threads=count) for count in (1, 2, 3)]
        assert_same_bits([f(*given) for f in functions])
        divided += sum(name.startswith("body") for name in functions[2].plan.chunks)
    assert divided > 5


# -- calls


def large(count: int | None = 2) -> tuple[gc.Function, Array, Array]:
    x = gc.placeholder("x", ("n",))
    value = rng().normal(size=400_000)
    f = gc.function([x], gc.exp(gc.sin(x)), threads=count)
    return f, value, f(value)


def test_concurrent_calls() -> None:
    f, value, expected = large()
    wrong = []

    def work() -> None:
        for _ in range(20):
            if f(value).tobytes() != expected.tobytes():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_updates_and_failed_checks() -> None:
    table = gc.shared(np.ones((1000, 300)), name="table")
    i = gc.placeholder("i", ("k",), "int64")
    out = gc.exp(table[i])
    f = gc.function([i], out, updates={table: gc.sin(table) + 1}, threads=3)
    good = np.arange(1000)
    np.testing.assert_allclose(f(good), np.exp(np.ones((1000, 300))))
    np.testing.assert_allclose(table.get_value(), np.sin(1) + 1)
    assert len(f.plan.chunks) == 2
    for place in (0, 500, 999):
        bad = good.copy()
        bad[place] = 1000
        with pytest.raises(gc.IndexOutOfBoundsError, match="index 1000 is out of bounds"):
            f(bad)
        np.testing.assert_allclose(table.get_value(), np.sin(1) + 1)
    f(good)
    np.testing.assert_allclose(table.get_value(), np.sin(np.sin(1) + 1) + 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_forks() -> None:
    f, value, expected = large()
    f(value)
    assert threads_running() >= 1
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if f(value).tobytes() == expected.tobytes() and threads_running() >= 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert f(value).tobytes() == expected.tobytes()


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PROCESS = """
import numpy as np, graphc as gc
from graphc.codegen.run.team import threads_running
x = gc.placeholder("x", ("n",))
def run(n, **options):
    gc.function([x], gc.exp(gc.sin(x)), **options)(np.ones(n))
    return threads_running()
"""


def test_threads_start_only_where_they_are_needed() -> None:
    code = PROCESS + "print(run(10**6, threads=1), run(10, threads=3), run(10**6, threads=3), run(10**6, threads=2))"
    assert run_python(code) == "0 0 2 2"


def test_the_default_comes_from_the_environment() -> None:
    assert run_python(PROCESS + "print(run(10**6))", GRAPHC_NUM_THREADS="3") == "2"
    assert run_python(PROCESS + "print(run(10**6))", GRAPHC_NUM_THREADS="1") == "0"


def test_what_the_default_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHC_NUM_THREADS", raising=False)
    assert default_threads() >= 1
    monkeypatch.setenv("GRAPHC_NUM_THREADS", "4")
    assert default_threads() == 4
    for bad in ("0", "-1", "many"):
        monkeypatch.setenv("GRAPHC_NUM_THREADS", bad)
        with pytest.raises(gc.ArgumentError, match=f"GRAPHC_NUM_THREADS must be a positive int, got '{bad}'"):
            default_threads()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_ends_a_long_run_of_several_threads() -> None:
    code = """
import os, signal, threading, time
import numpy as np, graphc as gc
x = gc.placeholder("x", ("n",))
v = x
for _ in range(400):
    v = gc.sin(v) + x
f = gc.function([x], v, threads=2)
f(np.zeros(3))
big = np.full(16_000_000, 0.1)
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
started = time.time()
try:
    f(big)
    print("finished")
except KeyboardInterrupt:
    print("interrupted", time.time() - started < 5)
"""
    assert run_python(code) == "interrupted True"


# -- BLAS


def test_blas_keeps_its_number_of_threads() -> None:
    address = guard_address(library_for(PRODUCTS))
    if not address:
        pytest.skip("SciPy's BLAS has no threads that could be limited")
    import ctypes

    guard = next(g for g in _guards if g.ctypes.data == address)
    threads = ctypes.CFUNCTYPE(ctypes.c_int)(int(guard[GET]))
    before = threads()
    x = gc.placeholder("x", ("n", "n"))
    f = gc.function([x], gc.linalg.cholesky(x @ x.T + 300 * gc.eye(300)), threads=2)
    value = rng().normal(size=(300, 300))
    calls = [threading.Thread(target=f, args=(value,)) for _ in range(4)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert guard[USERS] == 0
    assert threads() == before
