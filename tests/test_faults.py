"""What machines and other processes do: a fork while another thread imports, a full disk, a file cut short.

Processes that are killed while they save are in `test_checkpoint` and `test_fit`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc

FORKING = """
import importlib.abc, importlib.util, os, signal, sys, threading, time
import numpy as np
import graphc as gc

slow = {
    "graphc.call.runner", "graphc.codegen.run.program", "graphc.codegen.jit.numba_compiler",
    "llvmlite.binding", "networkx", "numba",
}
importing = []

class Slow(importlib.abc.MetaPathFinder):
    "Makes some imports last, as they do on a busy machine."
    def find_spec(self, name, path=None, target=None):
        if name not in slow:
            return None
        slow.discard(name)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            importing.append(name)
            time.sleep(0.3)
            run(module)
        spec.loader.exec_module = exec_module
        return spec

gc.set_cache(None)
sys.meta_path.insert(0, Slow())
a = gc.placeholder("a", shape=("n", "n"))
f = gc.function([a], gc.linalg.inv(a) + gc.exp(a))
thread = threading.Thread(target=lambda: f(np.eye(3)))
thread.start()
forked, codes = 0, []
while thread.is_alive():
    if len(importing) > forked:
        forked = len(importing)
        child = os.fork()
        if not child:
            signal.alarm(30)
            found = f(np.eye(3))
            os._exit(0 if np.allclose(np.diag(found), 1 + np.e) else 1)
        codes.append(os.waitpid(child, 0)[1])
    time.sleep(0.01)
print(len(codes) >= 1, set(codes), sorted(slow))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forks_while_another_thread_imports_what_a_call_needs() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "True {0} []", done.stdout + done.stderr


FULL = """
import errno, os, resource, signal, sys
import numpy as np
import graphc as gc

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a limit on files stands for a full disk
folder = sys.argv[1]
w = gc.shared(np.zeros(100_000), name="w")
x = gc.placeholder("x", shape=("n",))
f = gc.function([x], gc.sum(gc.sin(x)) + gc.sum(w))
path = os.path.join(folder, "model")
gc.save_checkpoint(path, {"w": w})
gc.save(f, os.path.join(folder, "f.gcx"))
before = {name: open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder)}
w.set_value(np.ones(100_000))
gc.set_cache(os.path.join(folder, "kernels"))
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
failed = []
for save in (lambda: gc.save_checkpoint(path, {"w": w}), lambda: gc.save(f, os.path.join(folder, "f.gcx"))):
    try:
        save()
    except OSError as error:
        failed.append(error.errno == errno.EFBIG)
value = float(f(np.zeros(3)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
after = {name: open(os.path.join(folder, name), "rb").read() for name in before}
left = sorted(set(os.listdir(folder)) - {*before, "kernels"})
cache = gc.codegen.jit.cache.current_cache()
keys = [n.removesuffix(".gck") for n in os.listdir(cache.directory) if n != ".size"]
print(failed, value, before == after, left, all(cache.load(key) for key in keys))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_full_disk_leaves_the_old_files_and_nothing_else(tmp_path: Path) -> None:
    command: list[Any] = [sys.executable, "-c", FULL, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[True, True] 100000.0 True [] True", done.stdout + done.stderr


def saved_function(path: Path) -> bytes:
    w, x = gc.shared([1.0, 2.0, 3.0], name="w"), gc.placeholder("x", shape=(3,))
    gc.save(gc.function([x], gc.sum(w * x), updates={w: w + x}), path)
    return path.read_bytes()


@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_saved_functions_that_are_cut_short_anywhere(tmp_path: Path, step: int) -> None:
    path = tmp_path / "f.gcx"
    whole = saved_function(path)
    for size in range(0, len(whole), step):
        path.write_bytes(whole[:size])
        with pytest.raises(gc.FormatError):
            gc.load(path)
    path.write_bytes(whole)
    assert gc.load(path)(np.ones(3)) == 6.0


@pytest.mark.parametrize("step", [53, pytest.param(1, marks=pytest.mark.slow)])
def test_kernels_that_are_cut_short_anywhere_are_compiled_again(tmp_path: Path, step: int) -> None:
    from graphc.codegen.jit.cache import Cache

    cache = Cache(tmp_path)
    cache.save("k", bytes(range(256)) * 4, ("exp",))
    (path,) = tmp_path.glob("*.gck")
    whole = path.read_bytes()
    for size in range(0, len(whole), step):
        path.write_bytes(whole[:size])
        assert cache.load("k") is None
    path.write_bytes(whole)
    assert cache.load("k") == (bytes(range(256)) * 4, ("exp",))
