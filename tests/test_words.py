"""Programs of words: compiled they do what they do as plain Python; what is not of kernels' language is refused."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from graphc.codegen.jit.compiler import compile_kernel
from graphc.codegen.math import loader
from graphc.codegen.math.vecmath import DEBUG_GLOBALS, Pointer
from graphc.codegen.nest.options import CONTROL
from graphc.graph.errors import CompileError

PROGRAMS = {
    "arithmetic": "return lo * 3 - hi + (lo & 6) + (hi | 1) + (lo ^ hi) - -lo",
    "comparisons": "return (lo < hi) + 2 * (lo <= hi) + 4 * (lo == hi) + 8 * (lo != hi) - (lo > hi) * 9 + (lo >= hi)",
    "select": "return select(lo < hi, lo - 7, hi * 2)",
    "not": "fits = (lo < hi) & True\nif not fits:\n    return 5\nreturn 6",
    "else": "if lo < 0:\n    k = 1\nelif hi < 4:\n    k = 2\nelse:\n    k = 3\nreturn k",
    "range": "k = 0\nfor i in range(hi):\n    k = k + frame[i]\nreturn k",
    "range of two": "k = 0\nfor i in range(lo, hi):\n    k = k * 3 + i\nreturn k",
    "the counter is the loop's own": "k = 0\nfor i in range(hi):\n    k = k + i\n    i = 100\nreturn k",
    "break": "k = 0\nfor i in range(hi):\n    if i == 3: break\n    for j in range(i): k = k + 1\nreturn k",
    "while": "k = lo\nwhile k < hi:\n    k = k + 2\n    if k == 5:\n        break\nreturn k",
    "return inside": "for i in range(hi):\n    if frame[i] == 12:\n        return i\nreturn -1",
    "stores": "frame[hi] = frame[0] + frame[1]\np = i64p(frame[7])\np[1] = lo\nreturn frame[hi] + i64p(frame[7])[1]",
    "halves": "words = i32p(frame[7])\nreturn i64(words[4]) + words[5] + (i32(257) & i32(words[4]))",
    "and, or": "return (lo < hi and frame[0] == 11) + 2 * (lo < 0 or hi < 3 or lo == 1)",
    "truths": "flags = boolp(frame[7])\nif flags[0]:\n    return flags[24] + 2\nreturn 7",
    "calls": "return call_i64(frame[8], lo - hi)",
    "a chain": "return lo < hi < 3",
}


def compiled(source: str) -> Callable[[int, int, int], int]:
    address = loader.load(compile_kernel(source, "program", CONTROL)[0], "program")
    function: Callable[[int, int, int], int] = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 4)(address)
    return function


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(("lo", "hi"), [(0, 0), (1, 5), (4, 2), (-3, 6)])
def test_compiled_and_plain(name: str, lo: int, hi: int) -> None:
    body = PROGRAMS[name].replace("\n", "\n    ")
    source = f"def kernel(frame, lo, hi):\n    {body}\n"
    space = dict(DEBUG_GLOBALS)
    exec(source, space)
    call = compiled(source)
    libc_abs = ctypes.cast(ctypes.CDLL(None).labs, ctypes.c_void_p).value or 0
    there = np.array([3, 2**40, -5, 0], np.int64)
    start = np.array([11, 22, 12, 33, -44, 55, 66, there.ctypes.data, libc_abs], np.int64)
    results = []
    for run in (lambda a: space["kernel"](Pointer("i64", a), np.int64(lo), np.int64(hi)), lambda a: call(a, lo, hi)):
        frame, there[:] = start.copy(), [3, 2**40, -5, 0]
        results.append((int(run(frame.ctypes.data)), frame.tolist(), there.tolist()))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "statement",
    [
        "return 1.5",
        "return lo / hi",
        "return unknown",
        "return exp(lo, hi)",
        "return open(lo)",
        "return lo[0]",
        "return lo ** hi",
        "return lo << hi",
        "frame[0.5] = 1",
        "p = f64p(frame[0], 65)",
        "k = 1\nif lo:\n    k = 1.5\nreturn i64(k)",
        "if lo:\n    k = k + 1\nreturn 0",
        "for i in range(0, hi, lo): frame[i] = 0",
        "for i in range(0, hi, 0): frame[i] = 0",
        "lo += 1",
        "break",
        "assert lo",
    ],
)
def test_what_is_not_of_the_language_is_refused(statement: str) -> None:
    with pytest.raises(CompileError, match="does not compile"):
        body = statement.replace("\n", "\n    ")
        compile_kernel(f"def kernel(frame, lo, hi):\n    {body}\n", "program", CONTROL)


def test_driver_and_entry_are_control_kernels() -> None:
    code = """
import sys, graphc as gc
gc.set_cache(None)
from graphc.codegen.jit.kernels import counters
from graphc.codegen.run.tape import prepare
prepare()
print(counters.compiled >= 1, "numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
