"""What README and docstrings claim and a program can falsify, where no other test does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import optim
from graphc.codegen.jit import cache
from graphc.codegen.nest import division

ONE_THREAD = """
import os
import numpy as np
import graphc as gc

def threads():
    return len(os.listdir("/proc/self/task"))

x, a = gc.placeholder("x", shape=("n",)), gc.placeholder("a", shape=("m", "m"))
rng = gc.random.Generator(0)
elementwise = gc.function(x, gc.sum(gc.exp(x) * 1.5) + rng.normal(), threads=1)
library = gc.function(a, gc.linalg.inv(a @ a.T), threads=1)
counts = [threads()]
elementwise(np.ones(3_000_000))
counts.append(threads())
import scipy.linalg.cython_blas
counts.append(threads())
library(np.eye(300))
elementwise(np.ones(3_000_000))
counts.append(threads())
print(counts[1] - counts[0], counts[3] - counts[2])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_thread_starts_none_but_the_library_s_own() -> None:
    done = subprocess.run([sys.executable, "-c", ONE_THREAD], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0"]


@pytest.mark.parametrize(
    "schedule",
    [
        optim.CosineAnnealingLR(1.0, 10),
        optim.OneCycleLR(1.0, 10),
        optim.LinearLR(1.0, total_iters=10),
        optim.PolynomialLR(1.0, total_iters=10),
        optim.WarmupLR(optim.CosineAnnealingLR(1.0, 5), 5),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_schedules_keep_their_last_value(schedule: optim.Schedule) -> None:
    values = schedule.values(40)
    assert np.ptp(values[10:]) == 0.0 < np.ptp(values)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_rows_of_equal_values_are_normalised_to_0(eps: float) -> None:
    x, g = gc.placeholder("x", shape=(2, 4)), np.array([[1.0, 2.0, 3.0, 5.0], [1.0, 0.0, 0.0, 2.0]])
    y = gc.nn.layer_norm(x, 4, eps=eps)
    value, slope = gc.function(x, [y, gc.grad(gc.sum(y * g), x)])(np.full((2, 4), 3.0))
    assert not value.any()
    expected = (g - g.mean(1, keepdims=True)) / np.sqrt(eps) if eps else np.zeros_like(g)
    np.testing.assert_allclose(slope, expected, rtol=1e-12)


def test_normalisation_is_accurate_far_from_0() -> None:
    x = gc.placeholder("x", shape=("n", 1000), dtype="float32")
    value = (np.random.default_rng(0).normal(size=(3, 1000)) + 1e5).astype("float32")
    wide = value.astype(float) - value.astype(float).mean(1, keepdims=True)
    expected = wide / np.sqrt((wide**2).mean(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(gc.function(x, gc.nn.layer_norm(x, 1000))(value), expected, rtol=1e-5, atol=1e-6)


def test_nobody_else_refers_to_results() -> None:
    x, w = gc.placeholder("x", shape=("n",)), gc.shared(np.ones(3), name="w")
    f, value = gc.function(x, [x, x[:2], w, w[:1], gc.constant(np.ones(3)), x * 1]), np.ones(3)
    for _ in range(3):  # by Python at first, then by the native entry
        results = f(value)
        others = [value, w.state.array, *results]
        for i, result in enumerate(results):
            assert not any(np.shares_memory(result, other) for k, other in enumerate(others) if k != i + 2)
            result[...] = 7.0
    assert f(np.ones(3))[4].tolist() == [1, 1, 1] and w.get_value().tolist() == [1, 1, 1]


def test_parts_that_are_not_shuffled_are_views() -> None:
    rows = np.arange(10)
    assert all(np.shares_memory(part, rows) for part in gc.data.split(rows, 3, shuffle=False))


THRESHOLDS = (
    (f"Only a kernel of more than about {division.PARALLEL_NS / 1e3:.0f} µs is shared", "threads"),
    (f"({division.SHARED_NS / 1e3:.0f} in programs of more than {division.WAKE_NS / 1e3:.0f})", "threads that wake"),
    (f"at most {cache.MAX_BYTES >> 20} MiB of them", "the cache"),
)
"""What README says of a constant."""


@pytest.mark.parametrize("claim", [pytest.param(text, id=name) for text, name in THRESHOLDS])
def test_thresholds_in_readme_are_the_constants(claim: str) -> None:
    readme = Path(gc.__file__).parents[1] / "README.md"
    assert claim in " ".join(readme.read_text(encoding="utf-8").split())


def test_dir_lists_every_public_name() -> None:
    assert set(gc.__all__) <= set(dir(gc)) and all(hasattr(gc, name) for name in gc.__all__)
