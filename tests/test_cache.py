"""The disk cache: hits, corruption, links, permissions, eviction, off switch, unwritable homes."""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.jit import kernels
from graphc.codegen.jit.cache import Cache, current_cache, default_directory
from graphc.codegen.math.elementary import POLYNOMIALS
from graphc.codegen.nest.options import KernelOptions
from graphc.ops.random_table import FORMULAS as RANDOM

SOURCE = """def kernel(frame, lo, hi):
    p = f64p(frame[0], 1)
    for i in range(lo, hi):
        p[i] = {}
    return 0
"""


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    """A cache of its own, and no kernels in this process."""
    known = dict(kernels._addresses)
    kernels._addresses.clear()
    gc.set_cache(tmp_path / "kernels")
    yield tmp_path / "kernels"
    gc.set_cache("default")
    kernels._addresses.update(known)


def compile_again(number: int) -> tuple[int, int]:
    """Return how many kernels were compiled and how many loaded for one kernel, as a new process would."""
    kernels._addresses.clear()
    before = kernels.counters.compiled, kernels.counters.from_cache
    kernels.kernel_address(SOURCE.format(f"f64({number})"))
    return kernels.counters.compiled - before[0], kernels.counters.from_cache - before[1]


def test_every_option_is_part_of_the_key() -> None:
    """The same text, compiled otherwise, is another kernel."""
    others: dict[str, Any] = dict(turns=4, whole_vectors=True, tiles=True, control=True, precision="libm")
    assert [f.name for f in dataclasses.fields(KernelOptions)] == list(others)
    found = [KernelOptions(), *(KernelOptions(**{name: v}) for name, v in others.items())]
    assert len({kernels.kernel_key(SOURCE, options) for options in found}) == len(found)


def test_a_second_process_loads(fresh: Path) -> None:
    assert compile_again(1) == (1, 0) and compile_again(1) == (0, 1)
    assert gc.cache_directory() == fresh and oct(fresh.stat().st_mode & 0o777) == "0o700"


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_corrupted_files_are_compiled_again(fresh: Path, damage: bytes | None) -> None:
    compile_again(2)
    (file,) = fresh.glob("*.gck")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + b"\0" + data[len(data) // 2 + 1 :] if damage is None else damage)
    assert compile_again(2) == (1, 0) and compile_again(2) == (0, 1)


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_links_and_files_that_others_can_write_are_not_loaded(fresh: Path, tmp_path: Path) -> None:
    compile_again(3)
    (file,) = fresh.glob("*.gck")
    file.chmod(0o666)
    assert compile_again(3) == (1, 0)
    (file,) = fresh.glob("*.gck")
    target = tmp_path / "elsewhere"
    target.write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(target)
    assert Cache(fresh).load(file.stem) is None
    fresh.chmod(0o777)
    assert Cache(fresh).load(file.stem) is None


def test_an_unwritable_place_only_means_that_nothing_is_kept(fresh: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    gc.set_cache(blocked / "kernels")
    assert compile_again(4) == (1, 0) and compile_again(4) == (1, 0)
    gc.set_cache(None)
    assert gc.cache_directory() is None and compile_again(4) == (1, 0)


def test_the_cap_evicts_the_oldest(fresh: Path) -> None:
    for i in range(5):
        Cache(fresh).save(f"k{i}", bytes(1000), ())
        os.utime(fresh / f"k{i}.gck", (i, i))
    cache = Cache(fresh, max_bytes=3000)
    cache.evict()
    assert sorted(p.stem for p in fresh.glob("*.gck")) == ["k3", "k4"]
    cache.clear()
    assert not list(fresh.glob("*"))


def kept(directory: Path) -> int:
    return sum(p.stat().st_size for p in directory.glob("*.gck"))


@pytest.mark.parametrize("processes", [1, 4])
def test_the_cap_is_kept_after_every_write(fresh: Path, processes: int) -> None:
    rng, cap = np.random.default_rng(0), 100_000
    caches = [Cache(fresh, max_bytes=cap) for _ in range(processes)]
    largest = 0
    for i in range(300):
        cache = caches[i % processes] if i % 7 else Cache(fresh, max_bytes=cap)  # as a new process has one
        size = int(rng.integers(1, 20_000))
        cache.save(f"k{i}", bytes(size), ())
        assert kept(fresh) <= cap and cache.load(f"k{i}") == (bytes(size), ())
        largest = max(largest, kept(fresh))
    assert largest > 0.9 * cap
    caches[0].save("whole", bytes(cap), ())  # larger than the cap with its header: nothing goes for it
    assert caches[0].load("whole") is None and kept(fresh) > 0.5 * cap


def test_a_directory_is_looked_through_only_where_that_may_free_room(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    files = Cache._files

    def look(directory: Path) -> Iterator[tuple[float, int, Path]]:
        looks.append(1)
        return files(directory)

    monkeypatch.setattr(Cache, "_files", staticmethod(look))
    for i in range(100):
        Cache(fresh, max_bytes=300_000).save(f"k{i}", bytes(1000), ())
    assert len(looks) == 1  # the first write, where nothing is known
    for i in range(400):
        Cache(fresh, max_bytes=300_000).save(f"m{i}", bytes(1000), ())
    assert len(looks) < 80
    (fresh / ".size").unlink()
    Cache(fresh, max_bytes=5_000).save("n", bytes(1000), ())
    assert kept(fresh) <= 5_000


def test_compiled_kernels_keep_the_cap(fresh: Path) -> None:
    gc.set_cache(fresh, max_bytes=30_000)
    for number in range(100, 130):
        compile_again(number)
        assert 0 < kept(fresh) <= 30_000


def test_a_huge_file_under_a_kernel_s_name_is_not_read(fresh: Path) -> None:
    compile_again(6)
    (file,) = fresh.glob("*.gck")
    os.truncate(file, 6 * 2**30)  # without blocks
    tracemalloc.start()
    assert Cache(fresh).load(file.stem) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20 and compile_again(6) == (1, 0) and compile_again(6) == (0, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="the custom of Linux")
@pytest.mark.parametrize(
    ("value", "expected"), [("caches", None), ("./c", None), ("", None), ("/tmp/c", "/tmp/c/graphc")]
)
def test_a_relative_cache_home_is_ignored(value: str, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert default_directory() == Path(expected or Path.home() / ".cache" / "graphc")


def test_unexpected_symbols_are_refused(fresh: Path) -> None:
    compile_again(5)
    (file,) = fresh.glob("*.gck")
    loaded = current_cache().load(file.stem)
    assert loaded is not None
    current_cache().save(file.stem, loaded[0], ("system",))
    assert compile_again(5) == (1, 0)


UNUSED = ("numba", "scipy.linalg", "numpy.ma", "graphc.distributions")
"""What takes long to import and a program of matrix products, whose kernels are in the cache, does not need."""


def test_a_cold_process_imports_numba_and_a_warm_one_little(tmp_path: Path) -> None:
    code = f"""
import sys, numpy as np, graphc as gc
gc.set_cache({str(tmp_path)!r})
gc.nn.relu
w = gc.shared(np.ones((300, 3)))  # narrow: by BLAS
a = gc.placeholder("a", shape=("n", 300))
product = gc.function([a], a @ w)(np.ones((200, 300)))
assert product[0, 0] == 300 and "scipy" in sys.modules
x = gc.placeholder("x", shape=("n", 4))
f = gc.function([x], gc.softmax(x @ x.T, axis=-1))
print(f(np.ones((2, 4))).tolist(), f.stats["compiled"] > 0, "numba" in sys.modules)
print([m for m in {UNUSED!r} if m in sys.modules])
"""
    cold, warm = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
        for _ in range(2)
    )
    assert cold[0] == "[[0.5, 0.5], [0.5, 0.5]] True True"
    assert warm == ["[[0.5, 0.5], [0.5, 0.5]] False False", "[]"]


def test_blas_is_the_module_that_an_import_gives() -> None:
    code = """
from graphc.codegen.run.blas import library_for
library = library_for(["dpotrf"])
first = library.handle, library.address("dpotrf") != 0
import numpy as np, scipy.linalg, scipy.linalg.cython_blas
print(first[0] is scipy.linalg.cython_blas, first[1], scipy.linalg.solve(np.eye(2), np.ones(2)).tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True True [1.0, 1.0]"


def test_concurrent_writers(tmp_path: Path) -> None:
    code = f"""
import numpy as np, graphc as gc
gc.set_cache({str(tmp_path)!r})
x = gc.placeholder("x", shape=("n",))
print(gc.function([x], x * 3)(np.ones(2)).tolist())
"""
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [p.communicate(timeout=120)[0].strip() for p in running] == ["[3.0, 3.0]"] * 3
    assert not list(tmp_path.glob(".tmp-*")) and np.all([p.returncode == 0 for p in running])


def test_the_key_depends_on_every_file_that_emits_instructions() -> None:
    functions: list[Any] = [*(formula.function for formula in RANDOM.values()), *POLYNOMIALS.values()]
    files = {Path(inspect.getfile(getattr(f, "func", f))) for f in functions}
    assert len(files) > 3 and files <= set(kernels.emitting_files())
