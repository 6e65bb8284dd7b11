"""Structure of the compiled program: kernels, fusion, memory, machine code, in-place updates. No times."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.jit import compiler as jit
from graphc.codegen.jit.numba_compiler import lower_kernel
from graphc.codegen.memory.plan import plan_buffers
from graphc.graph.graph import Graph
from graphc.passes import make_schedule, optimize
from tests.cases import Case
from tests.cases_reduction import CASES as REDUCTIONS
from tests.cases_shape import CASES as SHAPES


def schedule(*outputs: gc.Node) -> Any:
    return make_schedule(optimize(Graph(outputs)), verify=True)


def kinds(*outputs: gc.Node) -> list[str]:
    return [k.kind for k in schedule(*outputs)]


X = gc.placeholder("x", shape=("n", "m"))
Y = gc.placeholder("y", shape=("n", "m"))


@pytest.mark.parametrize(
    ("build", "kernels"),
    [
        (lambda: [gc.exp(X) * Y + 1], 1),
        (lambda: [gc.softmax(X, axis=1)], 1),
        (lambda: [gc.logsumexp(X, axis=1) + 1], 1),
        (lambda: [gc.sum(gc.tanh(X) * gc.exp(-Y * Y))], 1),
        (lambda: [(X - gc.mean(X, axis=1, keepdims=True)) / gc.std(X, axis=1, keepdims=True)], 1),
        (lambda: [gc.sum(X * Y, axis=0), gc.sum(X * Y, axis=1), X * Y], 1),
        (lambda: [gc.max(X), gc.min(X), gc.mean(X)], 1),
        (lambda: gc.grad(gc.sum(gc.tanh(X) * gc.exp(-Y * Y)), [X, Y]), 1),
        (lambda: [X.T + Y.T], 1),
        (lambda: [gc.sum(gc.sum(X, axis=1) * gc.sum(Y, axis=1))], 2),
        (lambda: [gc.flip(gc.exp(X)) + Y], 2),
    ],
)
def test_number_of_kernels(build: Any, kernels: int) -> None:
    assert len(schedule(*build())) == kernels


def test_matmul_folds_transposes_into_flags() -> None:
    assert kinds(X @ Y.T) == ["matmul"] and kinds(X.T @ Y) == ["matmul"]
    assert kinds((X.T @ Y).T) == ["matmul", "loop"]
    assert kinds(gc.flip(X) @ Y.T) == ["loop", "matmul"]


def test_the_kernel_graph_is_acyclic_and_complete() -> None:
    w = gc.placeholder("w", shape=("m", "m"))
    h = X
    for _ in range(4):
        h = gc.tanh(h @ w) + gc.sum(h, axis=0)
    found = schedule(gc.sum(h), *gc.grad(gc.sum(h), [w, X]))
    done: set[gc.Node] = set()
    for kernel in found:
        inside = set(kernel.nodes)
        for node in kernel.nodes:
            for x in node.inputs:
                base = found.accesses[x].base
                assert base in inside or base in done or not base.inputs or base in found.inline
        assert not inside & done
        done |= inside


def _overlaps(blocks: Any) -> bool:
    pairs = itertools.combinations([b for b in blocks if b.nbytes], 2)
    return any(
        a.first <= b.last and b.first <= a.last and a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes
        for a, b in pairs
    )


def test_no_two_live_values_share_bytes() -> None:
    w = gc.placeholder("w", shape=("m", "m"))
    h = X
    for _ in range(6):
        h = gc.tanh(h @ w)
    f = gc.function([X, w], gc.grad(gc.sum(h * h), [w, X]))
    f(np.ones((7, 5)), np.eye(5))
    plan = f.plan
    assert not _overlaps(plan.blocks) and plan.peak_bytes == max(b.offset + b.nbytes for b in plan.blocks)
    total = sum(b.nbytes for b in plan.blocks)
    assert plan.peak_bytes < total, "memory of dead values is used again"
    assert str(plan).startswith(f"arena of {plan.peak_bytes} bytes at n=7, m=5")


def test_plans_of_random_live_ranges_do_not_overlap() -> None:
    from graphc.codegen.nest.nest import LoopNest, PointerSlot

    rng = np.random.default_rng(0)
    for _ in range(50):
        nodes = [gc.placeholder(f"v{i}", shape=(int(rng.integers(0, 200)),)) for i in range(40)]
        slots: list[list[Any]] = [[] for _ in range(30)]
        for node in nodes:
            first = int(rng.integers(0, 30))
            slots[first].append(PointerSlot(node, 0))
            slots[int(rng.integers(first, 30))].append(PointerSlot(node, 0))
        plan = plan_buffers([LoopNest((), tuple(s)) for s in slots], nodes, {}, {})
        assert len(plan.blocks) == 40 and not _overlaps(plan.blocks)


@pytest.mark.parametrize("case", [*REDUCTIONS, *SHAPES], ids=lambda c: c.id)
def test_kernels_run_as_plain_python(case: Case) -> None:
    arrays = case.arrays()
    xs = [gc.placeholder(f"x{i}", shape=a.shape, dtype=a.dtype) for i, a in enumerate(arrays)]
    out = case.build(*xs)
    debug = gc.function(xs, out, mode="debug", on_unused="ignore")(*arrays)
    wanted = gc.function(xs, out, mode="reference", on_unused="ignore")(*arrays)
    np.testing.assert_allclose(debug, wanted, rtol=1e-11, atol=1e-13)


def packed(f: gc.Function) -> str:
    from graphc.codegen.jit.compiler import assembly

    f.compile()
    return "\n".join(assembly(*kernel) for kernel in dict.fromkeys(f._built.program.kernels))


def vector_width() -> str:
    from graphc.codegen.math.loader import cpu_features

    features = cpu_features().split(",")
    if "+avx512f" in features:
        return "zmm"
    return "ymm" if "+avx2" in features else "xmm"


needs_x86 = pytest.mark.skipif(
    __import__("platform").machine() not in ("x86_64", "AMD64"), reason="names registers of x86-64"
)


@needs_x86
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_main_kernel_shapes_use_packed_instructions(dtype: str) -> None:
    x, y = (gc.placeholder(n, shape=("n", "m"), dtype=dtype) for n in "xy")
    suffix, wide = ("ps", "pd")[dtype == "float64"], vector_width()
    chain = packed(gc.function([x, y], x * y + x))
    assert any(f"mul{suffix}" in line and wide in line for line in chain.splitlines())
    total = packed(gc.function([x], gc.sum(x, axis=1)))
    assert any(f"add{suffix}" in line and wide in line for line in total.splitlines())
    columns = packed(gc.function([x], gc.sum(x, axis=0)))
    assert any(f"add{suffix}" in line and wide in line for line in columns.splitlines())
    peak = packed(gc.function([x], gc.max(x, axis=1)))
    assert any(wide in line and ("max" in line or "cmp" in line) for line in peak.splitlines())


@needs_x86
def test_elementary_functions_are_called_as_vectors() -> None:
    from graphc.codegen.math.libmvec import has_libmvec

    if not has_libmvec():
        pytest.skip("this C library has no libmvec; test_vecmath covers the polynomials")
    x = gc.placeholder("x", shape=("n",))
    text = packed(gc.function([x], gc.sum(gc.atan(x) + gc.sinh(x) * gc.asinh(x) + gc.special.erf(x))))
    for name in ("atan", "sinh", "asinh"):
        assert "_ZGV" in text and f"_{name}" in text
    assert not re.search(r"callq?\s+\S*erf", text)


def test_precision_is_chosen_by_the_caller() -> None:
    x = gc.placeholder("x", shape=("n",))
    values = np.linspace(-3, 3, 1001)
    for precision in ("vector", "libm", "polynomial"):
        f = gc.function([x], gc.exp(x), precision=precision)
        np.testing.assert_allclose(f(values), np.exp(values), rtol=1e-15)


@pytest.mark.parametrize("n", [1, 5, 1023, 1025, 100_001])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_are_accurate(n: int, dtype: str) -> None:
    import math

    x = gc.placeholder("x", shape=("n",), dtype=dtype)
    values = (np.random.default_rng(n).normal(size=n) + 100).astype(dtype)
    exact = math.fsum(values.astype(float).tolist())
    got = float(gc.function([x], gc.sum(x))(values))
    assert abs(got - exact) <= 2e2 * np.finfo(dtype).eps * abs(exact) / 10


def test_reductions_over_inner_and_outer_axes_reduce_the_inner_ones_first() -> None:
    x = gc.placeholder("x", shape=("a", "b", "c"), dtype="float32")
    f = gc.function([x], gc.sum(x, axis=(0, 2)))
    values = (np.random.default_rng(0).normal(size=(300, 5, 700)) + 1).astype(np.float32)
    np.testing.assert_allclose(f(values), values.astype(float).sum((0, 2)), rtol=1e-6)
    assert [k.space for k in f.schedule] == [x.shape, x.shape[:2]]


def test_sums_of_infinities() -> None:
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], gc.sum(x))
    for values, wanted in (([np.inf, 1], np.inf), ([-np.inf, 1], -np.inf), ([np.inf, -np.inf], np.nan)):
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(f(np.array(values * 700)), wanted)


def test_source_and_schedule_are_printable() -> None:
    f = gc.function([X], gc.softmax(X, axis=1))
    f.compile()
    assert f.source.kernels.startswith("# kernel 0\ndef kernel(frame, lo, hi):")
    assert str(f.schedule).startswith("kernel 0: loop over [n,m] rows of m:")
    with pytest.raises(gc.ArgumentError, match="depends on sizes"):
        print(f.plan)


def test_long_vector_loops_take_two_vectors_at_a_time() -> None:
    x = gc.placeholder("x", shape=("n",))
    long, short = gc.function([x], gc.tanh(gc.tanh(x * 2.0) + x)).compile(), gc.function([x], x * 2.0).compile()
    sources = [f.source.kernels[f.source.kernels.index("def kernel") :] for f in (long, short)]
    wishes = [lower_kernel(s, "kernel").count("interleave.count") for s in sources]
    assert wishes == [1, 0]
    divisions = [line for line in jit.assembly(sources[0]).splitlines() if "divpd" in line or "fdiv" in line]
    assert len(divisions) >= 4  # two tanh, of two vectors each


def test_numbers_that_steps_wait_for_use_the_c_librarys_sine_and_vectors_ours() -> None:
    start, x = gc.placeholder("start"), gc.placeholder("x", shape=("n",))
    last, _ = gc.scan(lambda a, _: (gc.sin(a) + 0.1, None), start, None, length=9)
    chain = gc.function([start], last)
    assert "= scalar_sin(" in chain.source.kernels and "= sin(" not in chain.source.kernels
    vectors = gc.function([x], gc.sin(x))
    assert "= sin(" in vectors.source.kernels and "scalar_sin" not in vectors.source.kernels
    a = 0.3
    for _ in range(9):
        a = np.sin(a) + 0.1
    for f in (chain, gc.function([start], last, mode="debug")):
        np.testing.assert_allclose(f(np.array(0.3)), a, rtol=1e-14)
