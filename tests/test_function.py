"""Compiled functions: calls, nesting, state, shapes, threads, forks, pickles, signals."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import Any, cast

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.jit.kernels import counters


def accumulator() -> tuple[gc.Shared, gc.Function]:
    total = gc.shared(np.zeros(3), name="total")
    x = gc.placeholder("x", shape=(3,))
    return total, gc.function([x], total * 1.0, updates={total: total + x})


def test_a_call_returns_fresh_memory_and_the_declared_nesting() -> None:
    x, y = gc.placeholder("x", shape=("n",)), gc.placeholder("y")
    f = gc.function([x, y], {"a": x + y, "b": (x * y, [y])})
    out = f([1.0, 2.0], 3.0)
    assert list(out) == ["a", "b"] and isinstance(out["b"], tuple) and isinstance(out["b"][1], list)
    np.testing.assert_array_equal(out["b"][0], [3.0, 6.0])
    assert f(np.ones(2), 1.0)["a"] is not f(np.ones(2), 1.0)["a"]
    assert out["b"][1][0].shape == () and isinstance(out["b"][1][0], np.ndarray)


@pytest.mark.parametrize("mode", ["compiled", "reference", "debug"])
def test_modes_agree(mode: Any) -> None:
    x = gc.placeholder("x", shape=("n", 3))
    f = gc.function([x], gc.softmax(gc.sin(x), axis=-1), mode=mode)
    values = np.arange(12.0).reshape(4, 3)
    e = np.exp(np.sin(values))
    np.testing.assert_allclose(f(values), e / e.sum(-1, keepdims=True), rtol=1e-14)


def test_nested_inputs() -> None:
    a, b, c = (gc.placeholder(n, shape=(2,)) for n in "abc")
    f = gc.function({"p": {"a": a, "b": b}, "q": [c]}, a + 2 * b + 3 * c)
    np.testing.assert_array_equal(f({"a": [1, 1], "b": [1, 1]}, q=[[1, 2]]), [6.0, 9.0])
    with pytest.raises(gc.ArgumentError, match=r"argument p: keys \['a', 'b'\] needed, got \['a'\]"):
        f({"a": [1, 1]}, [[1, 2]])


def test_results_of_views_constants_arguments_and_repeated_nodes() -> None:
    x = gc.placeholder("x", shape=(2, 3))
    w = gc.shared(np.ones(2), name="w")
    f = gc.function([x], [x, x.T, w, gc.arange(3), x + 1, x + 1, x.T])
    value = np.arange(6.0).reshape(2, 3)
    out = f(value)
    for got, wanted in zip(out, [value, value.T, np.ones(2), np.arange(3), value + 1, value + 1, value.T], strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert got.flags.c_contiguous and not np.shares_memory(got, value)
    assert not np.shares_memory(out[4], out[5]) and not np.shares_memory(out[2], w.state.array)


def test_a_new_size_compiles_nothing() -> None:
    x = gc.placeholder("x", shape=("batch", 5), dtype="float32")
    f = gc.function([x], gc.mean(gc.tanh(x) @ x.T)).compile()
    f(np.ones((32, 5), np.float32))
    before = counters.compiled, counters.from_cache
    for n in (7, 1, 0, 33):
        value = np.full((n, 5), 0.5, np.float32)
        with np.errstate(all="ignore"):
            wanted = np.float32(np.tanh(0.5) * 0.5 * 5) if n else np.nan
        np.testing.assert_allclose(f(value), wanted, rtol=1e-5)
    assert (counters.compiled, counters.from_cache) == before


def test_kernels_are_shared_between_equal_structures_and_constants_are_data() -> None:
    def chain(steps: int) -> dict[str, Any]:
        x = v = gc.placeholder("x", shape=("n",))
        for c in np.linspace(0.5, 1.5, steps):
            v = gc.tanh(v * c + x)
        return gc.function([x], v).compile().stats

    short, long = chain(100), chain(400)
    assert long["kernels"] > 3 * short["kernels"] and long["distinct_kernels"] == short["distinct_kernels"] <= 5


def test_updates_happen_together_after_the_outputs() -> None:
    total, f = accumulator()
    np.testing.assert_array_equal(f([1.0, 2.0, 3.0]), [0, 0, 0])
    np.testing.assert_array_equal(f([1.0, 2.0, 3.0]), [1, 2, 3])
    np.testing.assert_array_equal(total.get_value(), [2, 4, 6])
    a, b = gc.shared([1.0, 2.0], name="a"), gc.shared([3.0, 4.0], name="b")
    swap = gc.function([], None, updates={a: b, b: a})
    assert swap() is None
    np.testing.assert_array_equal([a.get_value(), b.get_value()], [[3, 4], [1, 2]])
    swap()
    np.testing.assert_array_equal([a.get_value(), b.get_value()], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "update",
    [
        lambda w: w + 1,
        lambda w: w.T @ w,
        lambda w: w.T + w,
        lambda w: gc.flip(w) * 2,
        lambda w: w - gc.sum(w, axis=0),
        lambda w: gc.softmax(w, axis=1),
        lambda w: gc.cumulative_sum(w, axis=0),
        lambda w: w.at[0].add(w[1]),
        lambda w: w[gc.constant([2, 0, 1])],
    ],
)
def test_state_written_in_place_reads_its_old_value(update: Any) -> None:
    start = np.arange(9.0).reshape(3, 3)
    w, r = gc.shared(start, name="w"), gc.shared(start, name="r")
    before, f = gc.function([], [w, w * 2], updates={w: update(w)}), None
    f = gc.function([], [r, r * 2], updates={r: update(r)}, mode="reference")
    for _ in range(3):
        for got, wanted in zip(before(), f(), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-14)
        np.testing.assert_allclose(w.get_value(), r.get_value(), rtol=1e-14)


def test_an_elementwise_update_is_in_place() -> None:
    w = gc.shared(np.ones((4, 4)), name="w")
    g = gc.placeholder("g", shape=(4, 4))
    f = gc.function([g], None, updates={w: w - 0.1 * g}).compile()
    assert f.stats["kernels"] == 1 and f.plan.peak_bytes == 0


@pytest.mark.parametrize("shape", [(1, "m"), ("n", 1), (1, 1), ("k", "m")])
def test_givens_of_literal_size_one(shape: tuple[int | str, ...]) -> None:
    x, z = gc.placeholder("x", shape=("n", "m")), gc.placeholder("z", shape=("n", "m"))
    y = gc.placeholder("y", shape=shape)
    f = gc.function([y, z], [x * z, gc.sum(gc.exp(x) * z, 0), x.T @ z], givens={x: y})
    product, total, matrix = f([[2.0]], [[3.0]])
    np.testing.assert_allclose([product[0, 0], total[0], matrix[0, 0]], [6.0, 3 * np.exp(2.0), 6.0])
    with pytest.raises(gc.ShapeError, match=r"is 1 in y|needs them equal"):
        f([[2.0]], [[3.0, 4.0], [5.0, 6.0]])


def test_givens_replace_nodes() -> None:
    x = gc.placeholder("x")
    y = gc.exp(x)
    f = gc.function([], gc.log(y) + y, givens={x: gc.constant(0.0)})
    np.testing.assert_allclose(f(), 1.0)


def test_arguments_of_many_kinds() -> None:
    x = gc.placeholder("x", shape=("n",), dtype="float64")
    f = gc.function([x], x * 2)
    base = np.arange(8.0)
    read_only = base.copy()
    read_only.setflags(write=False)
    for value in (
        [0, 1, 2],
        (0.5, True),
        base[::2],
        base[::-1],
        read_only,
        base.astype(">f8"),
        base.astype(np.float32),
        np.array([], np.float64),
        range(3),
    ):
        np.testing.assert_array_equal(f(value), np.asarray(value, np.float64) * 2)

    class Wrapped:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
            return base

    class Exported:
        def __dlpack__(self, **kwargs: Any) -> Any:
            return base.__dlpack__(**kwargs)

        def __dlpack_device__(self) -> Any:
            return base.__dlpack_device__()

    for item in (Wrapped(), Exported(), memoryview(base.data)):
        np.testing.assert_array_equal(f(item), base * 2)


def test_the_native_entry_serves_equal_shapes_and_falls_back_for_others() -> None:
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], x + 1)
    f(np.zeros(3))
    assert type(f.__call__).__name__ == "builtin_function_or_method"
    np.testing.assert_array_equal(f(np.zeros(3)), np.ones(3))
    np.testing.assert_array_equal(f(np.zeros(4)), np.ones(4))
    np.testing.assert_array_equal(f(x=np.zeros(3)), np.ones(3))
    np.testing.assert_array_equal(f(np.zeros(6)[::2]), np.ones(3))
    call = f.__call__
    del f
    np.testing.assert_array_equal(call(np.zeros(3)), np.ones(3))


def test_every_nesting_of_results_is_fast_and_the_same_each_time() -> None:
    x = gc.placeholder("x", shape=(2,))
    for outputs in (x + 1, [x + 1], (x + 1,), (x, x * 2), [x, [x]], {"a": x, "b": (x, [])}, None, []):
        f = gc.function([x], outputs, on_unused="ignore")
        first, second = f(np.ones(2)), f(np.ones(2))
        assert repr(first) == repr(second) == repr(f([1.0, 1.0]))
        assert type(first) is type(outputs) or isinstance(outputs, gc.Node)
        assert f.__call__ != f._slow_call


def test_the_entry_leaks_nothing() -> None:
    x = gc.placeholder("x", shape=("n",))
    for outputs in (x + 1, [x + 1, x * 2], None):
        w = gc.shared(np.zeros(1000), name="w")
        f = gc.function([x], outputs, updates={w: w + x})
        value = np.zeros(1000)
        f(value)
        count = sys.getrefcount(value), sys.getrefcount(value.dtype), sys.getrefcount(None)
        for _ in range(1000):
            f(value)
        assert abs(sys.getrefcount(value) - count[0]) < 5 and abs(sys.getrefcount(value.dtype) - count[1]) < 50


def test_signature_repr_and_html() -> None:
    x, y = gc.placeholder("x", shape=("n", 3), dtype="float32"), gc.placeholder("y")
    f = gc.function([x, y], gc.sum(x), name="total", on_unused="ignore")
    assert list(inspect.signature(f).parameters) == ["x", "y"]
    assert repr(f) == "<Function total(x: f32[n,3], y: f64[]) -> f32[]>"
    assert f._repr_html_().lstrip().startswith("<svg") and "<svg" in gc.Graph([f.graph.outputs[0]])._repr_html_()


@pytest.mark.parametrize("shape", [(), (1,), (7,), (1000, 30)])
def test_state_is_a_copy_that_begins_at_a_cache_line(shape: tuple[int, ...]) -> None:
    value = np.ones(shape, np.float32)
    w = gc.shared(value, name="w")
    value[...] = 2
    for state in (w.state, pickle.loads(pickle.dumps(w)).state):
        assert state.array.ctypes.data % 64 == 0 and state.array.shape == shape and state.array.flags.c_contiguous
        assert state.array.dtype == np.float32 and (state.array == 1).all()


def test_pickle_keeps_graph_and_state() -> None:
    total, f = accumulator()
    f(np.ones(3))
    again = pickle.loads(pickle.dumps(f))
    np.testing.assert_array_equal(again(np.ones(3)), np.ones(3))
    np.testing.assert_array_equal(again(np.ones(3)), 2 * np.ones(3))
    np.testing.assert_array_equal(total.get_value(), np.ones(3))
    assert repr(again) == repr(f)


def test_pickle_of_a_deep_graph_does_not_recurse() -> None:
    x = gc.placeholder("x")
    v = x
    for _ in range(20_000):
        v = v + 1.0
    node = pickle.loads(pickle.dumps(v))
    assert str(node.type) == "f64[]"


def test_concurrent_calls_from_threads() -> None:
    x = gc.placeholder("x", shape=("n", 200))
    f = gc.function([x], gc.sum(gc.tanh(x @ x.T), axis=1))
    total = gc.shared(np.zeros(400), name="total")
    g = gc.function([x], None, updates={total: total + gc.sum(gc.sin(gc.sin(x @ x.T)) * 0 + 1, axis=1)})
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        value = np.random.default_rng(seed).normal(size=(400, 200)) * 0.01
        wanted = np.tanh(value @ value.T).sum(1)
        try:
            for _ in range(10):
                np.testing.assert_allclose(f(value), wanted, rtol=1e-9, atol=1e-12)
                g(value)
        except BaseException as error:  # collected and raised by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[0]
    np.testing.assert_array_equal(total.get_value(), np.full(400, 60.0 * 400))


def _child(f: gc.Function, queue: Any) -> None:
    queue.put(f(np.ones(3)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_forked_workers_and_spawned_workers() -> None:
    _, f = accumulator()
    f(np.ones(3))
    for context in (multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")):
        queue: Any = context.Queue()
        process = context.Process(target=_child, args=(f, queue))
        process.start()
        np.testing.assert_array_equal(queue.get(timeout=60), np.ones(3))
        process.join(60)
        assert process.exitcode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent with os.kill")
def test_ctrl_c_ends_a_long_call_and_leaves_state() -> None:
    code = """
import numpy as np, graphc as gc, os, signal, threading, time
x = gc.placeholder("x", shape=("n",))
w = gc.shared(0.0, name="w")
v = x
for _ in range(400):
    v = gc.sin(v) + x
f = gc.function([x], None, updates={w: w + gc.sum(v)})
f(np.zeros(3))
big = np.full(4_000_000, 0.1)
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
started = time.time()
try:
    f(big)
    print("finished", time.time() - started)
except KeyboardInterrupt:
    print("interrupted", time.time() - started < 5, float(w.get_value()))
print(f(np.zeros(3)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split("\n")[0] == "interrupted True 0.0", done.stdout + done.stderr
    assert signal.SIGINT and time


# -- bad input: one clear error, state untouched


def test_wrong_arguments_leave_state() -> None:
    total, f = accumulator()
    f(np.ones(3))
    bad: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        ((), {}, gc.ArgumentError, "argument 'x' is missing; expected 1: x"),
        ((1, 2), {}, gc.ArgumentError, "2 arguments given, expected 1: x"),
        ((), {"z": 1}, gc.ArgumentError, "unknown argument 'z'; expected 1: x"),
        ((np.ones(3),), {"x": 1}, gc.ArgumentError, "by position and by name"),
        ((np.ones(3, complex),), {}, gc.DTypeError, "complex numbers are not supported; pass x.real"),
        ((np.ones((3, 1)),), {}, gc.ShapeError, r"argument x: 1 axes needed \(f64\[3\]\), 2 given"),
        ((np.ones(4),), {}, gc.ShapeError, "argument x: axis 0 has size 4, 3 needed"),
        ((np.array([1, "a", None], object),), {}, gc.DTypeError, "object given"),
        ((["a", "b", "c"],), {}, gc.DTypeError, "given"),
        (([[1.0], [1.0, 2.0]],), {}, gc.ArgumentError, "cannot become an array"),
        ((np.ma.masked_array([1.0, 2, 3], [False, True, False]),), {}, gc.ArgumentError, "masked arrays"),
        ((np.array(["2020-01-01"] * 3, "M8[D]"),), {}, gc.DTypeError, "datetime64"),
        ((gc.placeholder("q", shape=(3,)),), {}, gc.ArgumentError, "a node was given"),
    ]
    for args, kwargs, kind, message in bad:
        with pytest.raises(kind, match=message) as caught:
            f(*args, **kwargs)
        assert "test_function.py:" in str(caught.value)
        np.testing.assert_array_equal(total.get_value(), np.ones(3))


def test_narrowing_is_refused_and_widening_is_not() -> None:
    x = gc.placeholder("x", shape=("n",), dtype="float32")
    f = gc.function([x], x * 2)
    assert f(np.ones(2, np.float16)).dtype == np.float32
    with pytest.raises(gc.DTypeError, match=r"float64 given, f32\[n\] needed; convert with .astype\('float32'\)"):
        f(np.ones(2))
    i = gc.placeholder("i", shape=(), dtype="int32")
    g = gc.function([i], i + 1)
    assert g(5) == 6
    for bad in (2**40, 1.5, np.int64(3)):
        with pytest.raises(gc.DTypeError):
            g(bad)


def test_two_symbols_that_must_agree() -> None:
    x, y = gc.placeholder("x", shape=("n", 3)), gc.placeholder("y", shape=("m", 3))
    f = gc.function([x, y], x + y)
    f(np.ones((2, 3)), np.ones((2, 3)))
    message = r"dimension n of x is 4 but dimension m of y is 5; add at test_function.py:\d+ needs them equal"
    with pytest.raises(gc.ShapeError, match=message):
        f(np.ones((4, 3)), np.ones((5, 3)))
    same = gc.function([x, gc.placeholder("z", shape=("n",))], x * 2, on_unused="ignore")
    with pytest.raises(gc.ShapeError, match=r"dimension n is 4 in x \(axis 0\) but 5 in z \(axis 0\)"):
        same(np.ones((4, 3)), np.ones(5))


@pytest.mark.parametrize("index", [3, -4, 2**40])
def test_an_index_out_of_bounds_names_the_op_and_the_line(index: int) -> None:
    w = gc.shared(np.zeros((3, 2)), name="w")
    i = gc.placeholder("i", shape=("k",), dtype="int64")
    read = gc.function([i], w[i], updates={w: w + 1})
    write = gc.function([i], None, updates={w: w.at[i].add(1.0)})
    for f in (read, write):
        with pytest.raises(gc.IndexOutOfBoundsError, match=rf"index {index} is out of bounds.*test_function.py:\d+"):
            f(np.array([0, index]))
        np.testing.assert_array_equal(w.get_value(), np.zeros((3, 2)))
    read(np.array([0, 2]))


def test_reducing_nothing() -> None:
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], gc.max(x))
    assert f([1.0, 3.0]) == 3
    with pytest.raises(gc.ShapeError, match="max"):
        f(np.zeros(0))


def test_programs_that_are_refused() -> None:
    x, y = gc.placeholder("x"), gc.placeholder("y")
    w = gc.shared(np.zeros(2), name="w")
    refused: list[tuple[Any, type[Exception], str]] = [
        (lambda: gc.function([x], x + y), gc.ArgumentError, "placeholder 'y' is needed by the outputs"),
        (lambda: gc.function([x, x], x), gc.ArgumentError, "listed twice"),
        (lambda: gc.function([x, gc.placeholder("x")], x), gc.ArgumentError, "two inputs are called 'x'"),
        (lambda: gc.function([x, y], x), gc.ArgumentError, "input 'y' is not needed"),
        (lambda: gc.function([w], w), gc.ArgumentError, "shared nodes are read without being inputs"),
        (lambda: gc.function([x + 1], x), gc.ArgumentError, "inputs must be placeholders"),
        (lambda: gc.function([x], 1.0), gc.ArgumentError, "outputs must be nodes, got float"),
        (lambda: gc.function([x], x, updates=[cast(Any, (x, x))]), gc.ArgumentError, "is not shared"),
        (lambda: gc.function([], w, updates=[(w, w), (w, w)]), gc.ArgumentError, "updated twice"),
        (lambda: gc.function([], w, updates={w: gc.ones(3)}), gc.ShapeError, r"f64\[3\] given, f64\[2\] needed"),
        (lambda: gc.function([], w, updates={w: gc.ones(2, dtype="float32")}), gc.DTypeError, "update of w"),
        (lambda: gc.function([x], x, mode="fast"), gc.ArgumentError, "mode must be"),  # type: ignore[arg-type]
        (lambda: gc.function([x], x, threads=0), gc.ArgumentError, "threads"),
        (lambda: gc.function([x], x, givens={x: w}), gc.ShapeError, "cannot stand for"),
        (lambda: gc.grad(w, w), gc.GradientError, "loss must be 0-d"),
        (lambda: gc.grad(gc.sum(w), x), gc.GradientError, "does not depend on x"),
        (lambda: bool(x), gc.ArgumentError, "no truth value"),
        (lambda: list(gc.placeholder("v", shape=("n",))), gc.ShapeError, "symbolic dimension n"),
        (lambda: np.ones(3) == w, gc.ArgumentError, "gc.equal"),
        (lambda: w == 0, gc.ArgumentError, "== and != of nodes are identity; use gc.equal"),
        (lambda: w != np.ones(2), gc.ArgumentError, "gc.not_equal"),
        (lambda: w.eval(2.0), gc.ArgumentError, "bindings must map placeholders"),  # type: ignore[arg-type]
        (lambda: gc.cond(x > 0, x, -x), gc.ArgumentError, "must be functions, got Node"),  # type: ignore[arg-type]
        (lambda: gc.zeros(1.5), gc.ShapeError, "shape 1.5 is not an int"),
        (lambda: bool(gc.dim("n") > 3), gc.ArgumentError, "no truth value"),
        (lambda: gc.placeholder("h", dtype="float16"), gc.DTypeError, "convert to float32"),
    ]
    for build, kind, message in refused:
        with pytest.raises(kind, match=message) as caught:
            build()
        assert "test_function.py:" in str(caught.value), str(caught.value)


def test_a_dimension_is_a_value_in_float_arithmetic() -> None:
    x = gc.placeholder("x", shape=("n",))
    n = x.shape[0]
    f = gc.function([x], [-0.5 * n, 1 / n, n / 2, gc.sum(x) / n, n > 3])
    assert [float(v) for v in f(np.ones(4))] == [-2.0, 0.25, 2.0, 1.0, 1.0]


def test_an_update_with_a_symbolic_size_is_checked_in_the_call() -> None:
    w = gc.shared(np.zeros(3), name="w")
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], None, updates={w: x})
    f(np.ones(3))
    with pytest.raises(gc.ShapeError, match="update of w"):
        f(np.ones(4))
    np.testing.assert_array_equal(w.get_value(), np.ones(3))


def test_set_value_is_checked() -> None:
    w = gc.shared(np.zeros(3, np.float32), name="w")
    for bad, kind in ((np.zeros(4, np.float32), gc.ShapeError), (np.zeros(3), gc.DTypeError)):
        with pytest.raises(kind, match="set_value of w"):
            w.set_value(bad)
    w.set_value(np.ones(3, np.float32))
    np.testing.assert_array_equal(w.get_value(), np.ones(3))


def test_an_input_that_only_gives_a_size_is_used() -> None:
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], gc.zeros(x.shape) + 1)
    np.testing.assert_array_equal(f(np.zeros(4)), np.ones(4))
