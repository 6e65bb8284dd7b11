"""What README and docstrings claim and a program can falsify, where no other test does."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
