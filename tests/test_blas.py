"""The choice of BLAS: what is found and loaded, what is refused and how, and that programs use it."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import pytest
import scipy

import graphc as gc
from graphc.codegen.math.tile_sizes import vector_bits
from graphc.codegen.run.blas import PRODUCTS, Library, library_for
from graphc.codegen.run.blas_search import candidates
from graphc.codegen.run.blas_threads import GET, USERS, _guards, guard_address

X = gc.placeholder("x", ("n", "n"))


@pytest.fixture(autouse=True)
def _usual_library() -> Iterator[None]:
    yield
    gc.set_blas(None)


@pytest.fixture
def bundled() -> Path:
    """Return the file of the OpenBLAS in SciPy's own wheel."""
    found = sorted(Path(scipy.__file__).parent.with_name("scipy.libs").glob("libscipy_openblas*"))
    if not found:
        pytest.skip("this SciPy comes without a library of its own")
    return found[0]


@pytest.fixture
def other() -> str:
    """Return the file of a shared library that has nothing to do with BLAS."""
    return str(next(Path(llvmlite.binding.__file__).parent.glob("*llvmlite.*")))


def product(n: int = 3) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the product of a small matrix with itself, which is for the library, and what it should be."""
    value = np.random.default_rng(n).normal(size=(n, n))
    return gc.function([X], X @ X)(value), value @ value


# -- what is refused


@pytest.mark.parametrize("name", ["mlk", "/nowhere/libblas.so"])
def test_what_cannot_be_loaded_is_named_with_what_is_accepted(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    accepted = r"give 'scipy', 'mkl', 'openblas' or the path of a shared library"
    monkeypatch.setenv("GRAPHC_BLAS", name)
    with pytest.raises(gc.ArgumentError, match=rf"GRAPHC_BLAS: cannot use '{name}': .*; {accepted}  \[test_blas.py"):
        product()
    gc.set_blas(Path("a", "b"))
    with pytest.raises(gc.ArgumentError, match=r"set_blas: cannot use 'a.b': .*a.b"):
        gc.blas_library()


def test_what_is_no_name_is_refused() -> None:
    """It was a TypeError."""
    with pytest.raises(gc.ArgumentError, match="set_blas: library must be a path, got 3"):
        gc.set_blas(3)  # type: ignore[arg-type]


def test_a_library_without_products_is_refused(other: str) -> None:
    gc.set_blas(other)
    with pytest.raises(gc.ArgumentError, match=r"llvmlite\S+ has no sgemm_ and no dgemm_; give"):
        product()
    gc.set_blas("scipy")
    np.testing.assert_allclose(*product(), rtol=1e-12)


def with_routines(other: str, **routines: Callable[..., Any]) -> ctypes.CDLL:
    """Return a library that has some functions more, as `(count, x, step)` gives a double."""
    handle = ctypes.CDLL(other)
    for name, function in routines.items():
        setattr(handle, name, ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_void_p] * 3)(function))
    return handle


@pytest.mark.parametrize("bits", [32, 64])
def test_a_library_of_64_bit_integers_is_refused(monkeypatch: pytest.MonkeyPatch, other: str, bits: int) -> None:
    integer = ctypes.c_int64 if bits == 64 else ctypes.c_int32

    def dasum(count: int, x: int, step: int) -> float:
        return abs(ctypes.c_double.from_address(x).value) * max(0, integer.from_address(count).value)

    handle = with_routines(other, sgemm_=dasum, dgemm_=dasum, dasum_=dasum)
    monkeypatch.setattr(ctypes, "CDLL", lambda path: handle)
    gc.set_blas(f"/some/libblas{bits}.so")
    if bits == 32:
        assert gc.blas_library() == "/some/libblas32.so"
    else:
        with pytest.raises(gc.ArgumentError, match=r"libblas64.so takes 64-bit integers, 32-bit ones are needed"):
            gc.blas_library()


# -- what is used


def test_the_variable_chooses_the_library_of_a_process(bundled: Path) -> None:
    code = """
import numpy as np, graphc as gc
x = gc.placeholder("x", ("n", "n"))
f = gc.function([x], [x @ x, gc.linalg.cholesky(x @ x.T + gc.eye(3))])
a = np.random.default_rng(0).normal(size=(3, 3))
product, factor = f(a)
print(gc.blas_library(), np.allclose(product, a @ a), np.allclose(factor @ factor.T, a @ a.T + np.eye(3)))
"""
    for given, used in ((str(bundled), str(bundled)), ("", library_for(PRODUCTS, "scipy").path)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "GRAPHC_BLAS": given},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [used, "True", "True"]


def test_another_library_compiles_nothing_and_is_kept_to_one_thread(bundled: Path) -> None:
    product()
    usual = library_for(PRODUCTS)
    gc.set_blas(bundled)
    chosen = library_for(PRODUCTS)
    assert chosen.path == gc.blas_library() == str(bundled)
    assert chosen.address("dgemm") != usual.address("dgemm")
    f = gc.function([X], X @ X, threads=2)
    for n in (3, 900):
        value = np.random.default_rng(n).normal(size=(n, n))
        np.testing.assert_allclose(f(value), value @ value, rtol=0, atol=1e-10)
    assert f.stats["compiled"] == 0
    address = guard_address(chosen)
    guard = next(g for g in _guards if g.ctypes.data == address)
    assert guard[USERS] == 0 and ctypes.CFUNCTYPE(ctypes.c_int)(int(guard[GET]))() >= 1
    assert guard_address(usual) != address


def test_routines_that_the_library_lacks_come_from_scipy(monkeypatch: pytest.MonkeyPatch, bundled: Path) -> None:
    gc.set_blas(bundled)
    lacking = Library(library_for(PRODUCTS).handle, str(bundled))
    usual = Library.address
    monkeypatch.setattr(Library, "address", lambda self, r: 0 if self == lacking and r == "dgetrf" else usual(self, r))
    assert library_for(["dgemm"]) == lacking == library_for(["dpotrf"])
    assert library_for(["dgetrf", "dgetrs"]).is_scipy  # a nest takes all from one
    solved = gc.function([X], gc.linalg.solve(X, X))(np.eye(3) + 1)
    np.testing.assert_allclose(solved, np.eye(3), atol=1e-12)


def test_mkl() -> None:
    if next(candidates("mkl"), None) is None:
        pytest.skip("MKL is not installed")
    gc.set_blas("mkl")
    assert "mkl_rt" in gc.blas_library() and guard_address(library_for(PRODUCTS))
    np.testing.assert_allclose(*product(), rtol=1e-12)
    symmetric = np.random.default_rng(0).normal(size=(40, 40))
    symmetric = symmetric @ symmetric.T + 40 * np.eye(40)
    f = gc.function([X], [gc.linalg.eigvalsh(X), gc.linalg.solve(X, X), gc.linalg.svdvals(X), gc.linalg.qr(X)[1]])
    values, solved, singular, upper = f(symmetric)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(symmetric), rtol=1e-12)
    np.testing.assert_allclose(solved, np.eye(40), atol=1e-12)
    np.testing.assert_allclose(singular, values[::-1], rtol=1e-12)
    np.testing.assert_allclose(upper.T @ upper, symmetric @ symmetric, rtol=1e-11)


# -- what is found


def test_libraries_of_an_environment_are_found_newest_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "lib").mkdir()
    for name in ("libmkl_rt.so.2", "libmkl_rt.so.10", "libmkl_core.so.3", "libopenblas.so.0", "libopenblas_x.so"):
        (tmp_path / "lib" / name).touch()
    for name, files in {"mkl": ["libmkl_rt.so.10", "libmkl_rt.so.2"], "openblas": ["libopenblas.so.0"]}.items():
        here = (p for p in candidates(name) if Path(p).parent.parent == tmp_path)
        assert [Path(p).name for p in itertools.islice(here, len(files))] == files


@pytest.mark.skipif(vector_bits() == 0, reason="this CPU has no fused multiply-add, so BLAS computes every product")
def test_products_in_tiles_load_no_library() -> None:
    code = """
import sys, numpy as np, graphc as gc
x = gc.placeholder("x", ("n", "n"))
f = gc.function([x], x @ x)
print(f(np.ones((16, 16)))[0, 0], "scipy" in sys.modules, f(np.ones((5, 5)))[0, 0], "scipy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["16.0", "False", "5.0", "True"]
