"""Functions called from Numba-compiled code and from C: same values as from Python, any number of threads."""

from __future__ import annotations

import ctypes
import os
import threading
import warnings
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.errors import NumbaWarning, TypingError
from scipy import LowLevelCallable, integrate, ndimage

import graphc as gc
from graphc.graph.errors import ArgumentError, ShapeError


def norm_and_scaled() -> gc.Function:
    x, a = gc.placeholder("x", shape=("n",)), gc.placeholder("a")
    return gc.function([x, a], [gc.sqrt(gc.sum(x * x)), x * a, gc.argmax(x)])


def test_arrays_and_scalars_inside_a_loop() -> None:
    f = norm_and_scaled()
    native = f.njit({"n": 4})

    @numba.njit  # type: ignore[untyped-decorator, unused-ignore]
    def total(rows: Any) -> Any:
        out = 0.0
        for i in range(rows.shape[0]):
            norm, scaled, place = native(rows[i], 2.0)
            out += norm + scaled[place]
        return out

    rows = np.random.default_rng(0).normal(size=(50, 4))
    wanted = sum(float(norm + scaled[place]) for norm, scaled, place in (f(row, 2.0) for row in rows))
    np.testing.assert_allclose(total(rows), wanted, rtol=1e-14)


def test_results_are_fresh() -> None:
    native = norm_and_scaled().njit({"n": 2})
    first = native(np.array([1.0, 2.0]), 10.0)[1]
    second = native(np.array([3.0, 4.0]), 10.0)[1]
    np.testing.assert_array_equal([first, second], [[10.0, 20.0], [30.0, 40.0]])


def test_single_result_other_dtypes_and_ranks() -> None:
    x, m = gc.placeholder("x", shape=(2, "k"), dtype="float32"), gc.placeholder("m", dtype="bool")
    native = gc.function([x, m], gc.where(m, x.T @ x, 0)).njit({"k": 3})
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = native(data, True)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, data.T @ data)
    np.testing.assert_array_equal(native(data, False), np.zeros((3, 3)))
    assert native(data * 0, True).shape == (3, 3)


def test_gradients_loops_and_branches() -> None:
    x = gc.placeholder("x", shape=(3,))
    y = gc.fori_loop(0, 4, lambda i, c: gc.sin(c) * x, x)
    z = gc.while_loop(lambda v: gc.sum(v) < 10, lambda v: v * 2, gc.abs(x) + 1)
    w = gc.cond(x[0] > 0, lambda: gc.exp(x), lambda: -x)
    f = gc.function([x], [gc.grad(gc.sum(y), x), z, w])
    native = f.njit()
    for data in (np.array([0.5, 1.0, -2.0]), np.array([-0.5, 1.0, 0.0])):
        for got, wanted in zip(native(data), f(data), strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_shared_values_are_read_in_place() -> None:
    x, w = gc.placeholder("x", shape=(2,)), gc.shared([1.0, 2.0], name="w")
    native = gc.function([x], gc.sum(w * x)).njit()
    ones = np.ones(2)
    assert native(ones) == 3.0
    w.set_value([10.0, 20.0])
    assert native(ones) == 30.0


def test_a_function_survives_its_python_object() -> None:
    native = norm_and_scaled().njit({"n": 2})
    gc_module = __import__("gc")
    gc_module.collect()
    assert native(np.array([3.0, 4.0]), 1.0)[0] == 5.0


def test_wrong_arguments() -> None:
    native = norm_and_scaled().njit({"n": 4})
    with pytest.raises(ValueError, match=r"function: argument x must have shape \(4,\)"):
        native(np.zeros(3), 1.0)
    for bad in (np.zeros(4, np.float32), np.zeros(8)[::2], np.zeros((4, 1))):
        with pytest.raises(TypeError, match="No matching definition"):
            native(bad, 1.0)
    frozen = np.ones(4)
    frozen.setflags(write=False)
    assert native(frozen, 1.0)[0] == 2.0
    with pytest.raises(TypingError):
        numba.njit(lambda v: native(v, 1.0))(np.zeros((2, 2)))


def test_a_failed_check_raises_and_frees_the_memory() -> None:
    x, i = gc.placeholder("x", shape=(3,)), gc.placeholder("i", shape=(1,), dtype="int64")
    native = gc.function([x, i], gc.take(x, i)).njit()
    data = np.arange(3.0)
    for _ in range(2):
        with pytest.raises(ValueError, match="a check failed"):
            native(data, np.array([3]))
        np.testing.assert_array_equal(native(data, np.array([2])), [2.0])


@pytest.mark.parametrize("copies", [1, 3])
def test_threads_do_not_disturb_each_other(copies: int) -> None:
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], gc.cumulative_sum(gc.sin(x[::-1]) * x)[::-1])
    native = f.njit({"n": 200}, threads=copies)
    inputs = [np.random.default_rng(k).normal(size=200) for k in range(6)]
    wanted = [f(x) for x in inputs]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(500):
            if not np.array_equal(native(inputs[k]), wanted[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_frees_what_other_threads_held() -> None:
    from graphc.interop import native_code as module

    native = norm_and_scaled().njit({"n": 2})
    table = module._kept[-1].table
    table[module.LOCK] = 1
    child = os.fork()
    if child == 0:
        os._exit(0 if native(np.array([3.0, 4.0]), 1.0)[0] == 5.0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    table[module.LOCK] = 0


def test_callers_are_kept_out_of_numbas_disk_cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their code holds addresses of this process."""
    native = norm_and_scaled().njit({"n": 2})
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    @numba.njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
    def caller(v: Any) -> Any:
        return native(v, 1.0)[0]

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert caller(np.array([3.0, 4.0])) == 5.0
    refusals = [w for w in seen if issubclass(w.category, NumbaWarning)]
    assert ["Cannot cache compiled function" in str(w.message) for w in refusals] == [True]
    assert not list(tmp_path.rglob("*.nbc"))


def test_refusals() -> None:
    x, w = gc.placeholder("x", shape=("n",)), gc.shared(1.0, name="w")
    f = gc.function([x], x * 2)
    with pytest.raises(ArgumentError, match="size of n is missing; function needs sizes of n"):
        f.njit()
    with pytest.raises(ArgumentError, match="m is no dimension"):
        f.njit({"n": 2, "m": 3})
    with pytest.raises(ArgumentError, match="size of n must be an int"):
        f.njit({"n": -1})
    with pytest.raises(ArgumentError, match="threads must be"):
        f.njit({"n": 1}, threads=0)
    with pytest.raises(ArgumentError, match="updates w"):
        gc.function([], w, updates={w: w + 1}).njit()
    with pytest.raises(ArgumentError, match='mode="reference"'):
        gc.function([x], x, mode="reference").njit({"n": 1})
    with pytest.raises(ArgumentError, match="outputs of function must be"):
        gc.function([x], {"a": x}).njit({"n": 1})
    with pytest.raises(ArgumentError, match="inputs of function are nested"):
        gc.function([[x]], x).njit({"n": 1})
    y = gc.placeholder("y", shape=(None,))
    with pytest.raises(ArgumentError, match="without a name"):
        gc.function([y], y).njit()
    z = gc.placeholder("z", shape=("m",))
    with pytest.raises(ShapeError, match="dimension n of x is 2 but dimension m of z is 3"):
        gc.function([x, z], x + z).njit({"n": 2, "m": 3})


# -- C callbacks


def test_quad() -> None:
    x = gc.placeholder("x")
    callback = gc.function([x], gc.exp(-(x**2)) * gc.cos(3 * x)).cfunc("double(double)")
    assert callback(0.0) == 1.0
    found, _ = integrate.quad(LowLevelCallable(callback), -np.inf, np.inf)
    np.testing.assert_allclose(found, np.sqrt(np.pi) * np.exp(-9 / 4), rtol=1e-10)
    with_data = gc.function([x], x * x).cfunc("double f(double x, void *user_data)")
    np.testing.assert_allclose(integrate.quad(LowLevelCallable(with_data), 0, 3)[0], 9.0)


def test_nquad_with_a_vector_and_with_scalars() -> None:
    v = gc.placeholder("v", shape=("n",))
    vector = gc.function([v], gc.prod(gc.sin(v))).cfunc("double(int, double *)", {"n": 2})
    x, y = gc.placeholder("x"), gc.placeholder("y", dtype="float32")
    scalars = gc.function([x, y], gc.sin(x) * gc.sin(y)).cfunc("double(int n, double *xx, void *data)")
    for callback, rtol in ((vector, 1e-10), (scalars, 1e-6)):
        found, _ = integrate.nquad(LowLevelCallable(callback), [[0, np.pi], [0, np.pi / 2]])
        np.testing.assert_allclose(found, 2.0, rtol=rtol)
    buffer = (ctypes.c_double * 3)(1.0, 2.0, 3.0)
    assert np.isnan(vector(3, buffer))


def test_generic_filter() -> None:
    window = gc.placeholder("window", shape=(9,))
    callback = gc.function([window], gc.max(window) - gc.min(window)).cfunc("int(double*, npy_intp, double*, void*)")
    image = np.random.default_rng(0).normal(size=(12, 10))
    found = ndimage.generic_filter(image, LowLevelCallable(callback), size=3)
    wanted = ndimage.maximum_filter(image, 3) - ndimage.minimum_filter(image, 3)
    np.testing.assert_allclose(found, wanted, rtol=1e-14)
    with pytest.raises(RuntimeError):
        ndimage.generic_filter(image, LowLevelCallable(callback), size=5)


def test_generic_filter_along_lines() -> None:
    line = gc.placeholder("line", shape=("n",))
    f = gc.function([line], line[2:] - 2 * line[1:-1] + line[:-2])
    callback = f.cfunc("int(double*, npy_intp, double*, npy_intp, void*)", {"n": 12})
    image = np.random.default_rng(1).normal(size=(7, 10))
    found = ndimage.generic_filter1d(image, LowLevelCallable(callback), filter_size=3)
    np.testing.assert_allclose(found, ndimage.convolve1d(image, [1, -2, 1]), rtol=1e-12, atol=1e-14)


def test_an_integer_result_and_a_failed_check() -> None:
    x, i = gc.constant([1.0, 2.0]), gc.placeholder("i", dtype="int64")
    callback = gc.function([i], gc.take(x, i)).cfunc("double(double)")
    assert callback(1.0) == 2.0
    assert np.isnan(callback(2.0))


def test_signatures_that_do_not_fit() -> None:
    x, v = gc.placeholder("x"), gc.placeholder("v", shape=(3,))
    f, g = gc.function([x], x * 2), gc.function([v], v * 2)
    for signature in ("double(float)", "void(double)", "double", "double()", "int(double)", "double(double; int)"):
        with pytest.raises(ArgumentError, match="is not supported; accepted"):
            f.cfunc(signature)
    with pytest.raises(ArgumentError, match="cfunc: signature must be a string, got 3"):
        f.cfunc(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="does not fit"):
        f.cfunc("double(double, double)")
    with pytest.raises(ArgumentError, match="does not fit"):
        f.cfunc("int(double*, npy_intp, double*, void*)")
    with pytest.raises(ArgumentError, match="does not fit"):
        g.cfunc("double(int, double*)")
    with pytest.raises(ArgumentError, match="one output is needed"):
        gc.function([x], [x, x]).cfunc("double(double)")
