"""The front end: what a kernel's text says is what its machine code does, for every statement and operator."""

from __future__ import annotations

import ctypes
import itertools
import re

import numpy as np
import pytest

from graphc.codegen.jit.compiler import compile_kernel
from graphc.codegen.jit.numba_compiler import lower_kernel
from graphc.codegen.math import loader
from graphc.codegen.math.vecmath import DEBUG_GLOBALS, Pointer
from graphc.graph.errors import CompileError
from graphc.graph.types import Array

_serial = itertools.count()

KERNELS = {
    "a sum in memory": """
        total = f64(0)
        for i in range(lo, hi):
            total = total + x[i]
        out[0] = total""",
    "a range by steps": """
        total = f64(0)
        for i in range(lo, hi, 3):
            total = total * 2 + x[i]
        out[0] = total""",
    "a range that falls": """
        total = f64(0)
        for i in range(hi - 1, lo - 1, -2):
            total = total * 2 + x[i]
        out[0] = total""",
    "one stop": """
        for i in range(hi):
            out[i] = x[i] - i""",
    "names of a branch, read after it": """
        if lo < hi:
            t = x[0]
            k = 1
        else:
            t = x[1]
            k = 2
        out[k] = t""",
    "a name of a loop, read after it": """
        for i in range(0, 5):
            last = x[i] * i
        out[0] = last
        out[1] = f64(i)""",
    "one name in two loops": """
        for i in range(0, 3):
            t = x[i] * 2.0
            out[i] = t
        for i in range(3, 5):
            t = n[i]
            out[i] = f64(t)""",
    "a loop that leaves a loop": """
        k = 0
        while True:
            for i in range(0, 5):
                if i == k:
                    break
                out[i] = out[i] + 1
            k = k + 1
            if k > 3: break
        out[4] = f64(k)""",
    "return from inside": """
        for i in range(lo, hi):
            if x[i] > 2:
                return i
            out[i] = x[i]""",
    "conditions that guard": """
        for i in range(lo, hi):
            if i > 0 and i < 4 and x[i] > x[i - 1]: out[i] = 1
            if i == 0 or x[i - 1] < 2 or not n[i] > 0: out[i] = out[i] + 10""",
    "integers": """
        out[2] = f64((n[0] - n[3]) // 4)
        out[3] = f64(n[2] // n[1])
        out[4] = f64(n[3] // 0 + (n[3] & 6) + (n[3] | 1) + (n[3] ^ 5) + (n[3] << 2) + (n[3] >> 1) - -n[2] + ~n[1])""",
    "mixed numbers": """
        out[0] = x[1] * n[2] + f32(0.1)
        out[1] = n[3] / 8
        out[2] = (x[1] > 1) * 2 + (n[1] < x[2])
        out[3] = f64(x[0] == 0.5) - True
        out[4] = select(n[0] < 0, -1.5, x[4])""",
    "literals": """
        out[0] = f32(0.1) - f64(0.1)
        out[1] = f64(u8(300)) + f64(i8(200)) + f64(i16(-40000)) + f64(u64(-1))
        out[2] = f32(16777217) + f64(9007199254740993)
        out[3] = f64(i32(2.9)) + f64(to_i64(-2.9)) + f64(bool(7)) + -3
        out[4] = f64(18446744073709551615)""",
    "pointers that change": """
        p = f64p(frame[0])
        for i in range(0, 2):
            out[i] = p[1]
            p = f64p(frame[0] + 8 * i)
        out[2] = p[1]""",
    "stack and prefetch": """
        here = f64p(stack(64), 2)
        for i in range(0, 5):
            prefetch(x, i + 1000)
            here[4 - i] = x[i]
        for i in range(0, 5): out[i] = here[i]""",
}


def run(source: str, compiled: bool, lo: int, hi: int) -> tuple[int, Array]:
    x, n = np.array([0.5, 1.5, 1.25, 3.0, -2.0]), np.array([5, -3, 7, 12, 0])
    b, out = np.array([100, 100], np.int8), np.zeros(5)
    frame = np.array([a.ctypes.data for a in (x, n, b, out)], np.int64)
    if not compiled:
        space = dict(DEBUG_GLOBALS)
        exec(source, space)
        with np.errstate(all="ignore"):
            return int(space["kernel"](Pointer("i64", frame.ctypes.data), lo, hi)), out
    symbol = f"frontend_{next(_serial)}"
    address = loader.load(compile_kernel(source, symbol)[0], symbol)
    return ctypes.CFUNCTYPE(*[ctypes.c_int64] * 4)(address)(frame.ctypes.data, lo, hi), out


HEAD = """def kernel(frame, lo, hi):
        x = f64p(frame[0])
        n = i64p(frame[1])
        b = i8p(frame[2])
        out = f64p(frame[3], 1)"""


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("lo", "hi"), [(0, 5), (1, 4), (2, 2)])
def test_compiled_kernels_do_what_their_text_says(name: str, lo: int, hi: int) -> None:
    source = f"{HEAD}{KERNELS[name]}\n        return 0\n"
    (status, got), (wanted_status, wanted) = (run(source, compiled, lo, hi) for compiled in (True, False))
    assert status == wanted_status
    np.testing.assert_array_equal(got, wanted)


def test_integers_are_computed_in_64_bits() -> None:
    # NumPy's int8 wraps at once, so plain Python is no model here.
    text = f"{HEAD}\n        out[0] = f64(b[0] + b[1])\n        out[1] = f64(i8(b[0] + b[1]))\n        return 0\n"
    assert run(text, True, 0, 0)[1][:2].tolist() == [200.0, -56.0]


def test_positions_cannot_overflow_and_a_users_integers_wrap() -> None:
    body = "m = i64p(frame[4], 2)\n        for i in range(lo, hi): m[i + 3] = n[i] * n[i] + 1"
    text = lower_kernel(f"{HEAD}\n        {body}\n", "kernel")
    assert re.search(r"add nsw i64 \S+, 3", text)
    assert re.search(r"= mul i64 %", text) and re.search(r"= add i64 \S+, 1$", text, re.MULTILINE)


def test_a_name_needs_memory_only_where_several_assignments_reach_a_use() -> None:
    bodies = {
        "t = x[0]\n        out[0] = t": 0,
        "t = x[0]\n        t = t + 1\n        out[0] = t": 0,
        "t = x[0]\n        if lo < hi: t = t + 1\n        out[0] = t": 1,
    }
    for body, memory in bodies.items():
        assert lower_kernel(f"{HEAD}\n        {body}\n", "kernel").count("alloca") == memory, body


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("t = y", "y is read before it is assigned"),
        ("t = x[0]\nif lo < hi:\n    t = 1\nout[0] = t", "t was"),
        ("t = x[0]\nfor i in range(lo, hi):\n    out[0] = t\n    t = 1", "t was"),
        ("t = f64p(frame[0], 99)", "a written buffer is a literal in 0..64"),
        ("t = f64p(frame[0], lo)", "a written buffer is a literal in 0..64"),
        ("t = x + 1", "not a number"),
        ("t = lo[0]", "not a pointer"),
        ("x[0.5] = 1", "not an integer"),
        ("t = tanh(1.0, 2.0)", "tanh takes 1 operands, got 2"),
        ("t = open(1)", "kernels do not call open"),
        ("t = x[0] & 1", "not an operator of kernels"),
        ("t = select(lo < hi, True, 1)", "no common number type of bool, i64"),
        ("for i in range(0, 9, lo): out[0] = 1", "literal step other than 0"),
        ("import os", "unsupported opcode (IMPORT_NAME)"),
        ("t = lambda: 1", "not an expression of kernels"),
    ],
)
def test_what_the_language_has_not_is_named(statement: str, complaint: str) -> None:
    body = statement.replace("\n", "\n        ")
    with pytest.raises(CompileError, match=re.escape(complaint)):
        compile_kernel(f"{HEAD}\n        {body}\n        return 0\n", "kernel")
