"""Operands read across the rows of a nest: turned around in strips, with the same values at any size."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.jit.compiler import assembly
from graphc.codegen.math.loader import compile_text, has_feature, load
from graphc.codegen.math.vecmath import DEBUG_GLOBALS, _call
from graphc.codegen.nest import division
from graphc.codegen.nest.strips import COLUMN_BYTES, LINE, ROWS
from graphc.codegen.run.transposer import transposer_text
from graphc.graph.node import Node

RNG = np.random.default_rng(3)
DTYPES = ("float64", "float32", "int64", "int32", "int16", "uint8", "bool")
TURNED = "call_transpose("
needs_strips = pytest.mark.skipif(
    platform.system() == "Windows", reason="a frame of more than a page needs the help of the C library there"
)


def draw(shape: tuple[int, ...], dtype: str = "float64") -> Any:
    return (RNG.standard_normal(shape) * 3).astype(dtype)


def agree(inputs: list[Node], out: Any, arrays: list[Any], mode: Any = "compiled", **options: Any) -> Any:
    """Check a function against the reference interpreter and return it."""
    f = gc.function(inputs, out, mode=mode, **options)
    expected = gc.function(inputs, out, mode="reference")(*arrays)
    np.testing.assert_allclose(f(*arrays), expected, rtol=1e-5 if arrays[0].dtype == np.float32 else 1e-12, atol=1e-12)
    return f


# -- the routine


@pytest.mark.parametrize(("size", "nbytes"), [(8, 32), (8, 16), (4, 32), (4, 16), (2, 16), (1, 16)])
def test_the_routine_transposes_every_shape(size: int, nbytes: int) -> None:
    address = load(compile_text(transposer_text(f"s{size}_{nbytes}", size, nbytes)), f"s{size}_{nbytes}_transpose")
    turn, kind = _call(None), f"u{size}"
    for rows in range(ROWS + 1):
        for columns in (0, 1, 2, 3, 7, 8, 17, 40):
            source = RNG.integers(0, 100, (columns + 1, rows + 3)).astype(kind)
            target = np.zeros((ROWS, 64), kind)
            turn(address, target.ctypes.data, source.ctypes.data, 2, rows + 3, rows, columns, 64)
            np.testing.assert_array_equal(target[:rows, :columns], source[:columns, 2 : 2 + rows].T)


def test_the_routine_reads_nothing_beyond_its_operand() -> None:
    """A row that is left over ends where the memory does: the last bytes of a page, with nothing after it."""
    import mmap

    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    whole = np.frombuffer(memory, "f8")
    source = whole[mmap.PAGESIZE // 8 - 15 : mmap.PAGESIZE // 8].reshape(3, 5)
    source[...] = draw((3, 5))
    whole[mmap.PAGESIZE // 8 :] = np.nan
    for size, nbytes in ((8, 32), (8, 16)):
        address = load(compile_text(transposer_text(f"e{nbytes}", size, nbytes)), f"e{nbytes}_transpose")
        target = np.zeros((ROWS, 16))
        _call(None)(address, target.ctypes.data, source.ctypes.data, 0, 5, 5, 3, 16)
        np.testing.assert_array_equal(target[:5, :3], source.T)
        assert not np.isnan(target[:5, :4]).any()  # past the last column the last again


def test_the_routine_shuffles() -> None:
    text = transposer_text("t", 8, 32)
    assert text.count("shufflevector <4 x double>") == 16  # eight a square; whole ones, and those of rows left over
    assert transposer_text("t", 4, 32).count("shufflevector <8 x float>") == 48


def test_the_debug_routine_does_the_same() -> None:
    source, target = draw((5, 9)), np.zeros((7, 8))
    DEBUG_GLOBALS["call_transpose"](0, 8, target.ctypes.data, source.ctypes.data, 1, 9, 7, 5, 8)
    np.testing.assert_array_equal(target[:, :5], source[:, 1:8].T)


# -- values

CASES: dict[str, Callable[[Node, Node], Node]] = {
    "one": lambda x, y: gc.exp(y.T) + x,
    "both": lambda x, y: gc.exp(y.T) * y.T + x,
    "two": lambda x, y: gc.exp(y.T * (y + 1.0).T) + x,
    "sum": lambda x, y: gc.sum(gc.exp(y.T) * x, axis=0),
    "part": lambda x, y: gc.exp(y.T[1:, 2:]) * x[1:, 2:],
    "rows": lambda x, y: gc.sum(gc.exp(y.T) * x, axis=1),
    "softmax": lambda x, y: gc.softmax(y.T - x, axis=1),
    "total": lambda x, y: gc.sum(gc.square(y.T) * x) + gc.softmax(y.T, axis=1),
    "normal": lambda x, y: gc.nn.layer_norm(y.T + x, (x.shape[1],)) * y.T,
    "stepped": lambda x, y: gc.exp(y.T[:, ::2]) + x[:, ::2],
    "flipped": lambda x, y: gc.exp(y.T[:, ::-1]) + x,
    "copy": lambda x, y: y.T,
}
SHAPES = [(1, 1), (1, 9), (9, 1), (3, 40), (40, 3), (8, 8), (31, 33), (33, 129), (130, 34), (64, 64), (65, 257)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CASES)
def test_values(name: str, shape: tuple[int, int]) -> None:
    x, y = gc.placeholder("x", shape=("n", "m")), gc.placeholder("y", shape=("m", "n"))
    agree([x, y], CASES[name](x, y), [draw(shape), draw(shape[::-1])])


@pytest.mark.parametrize("name", CASES)
def test_values_as_plain_python(name: str) -> None:
    x, y = gc.placeholder("x", shape=("n", "m")), gc.placeholder("y", shape=("m", "n"))
    agree([x, y], CASES[name](x, y), [draw((34, 11)), draw((11, 34))], mode="debug")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 7), (16, 40), (70, 33), (128, 128), (9, 300), (300, 9)])
def test_copies_of_every_dtype(dtype: str, shape: tuple[int, int]) -> None:
    y = gc.placeholder("y", shape=("m", "n"), dtype=dtype)
    a = draw(shape[::-1], dtype)
    np.testing.assert_array_equal(gc.function([y], y.T)(a), a.T)


@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("shape", [(3, 40, 50), (40, 3, 50), (50, 40, 3), (33, 34, 35)])
def test_permutations(axes: tuple[int, ...], shape: tuple[int, int, int]) -> None:
    x = gc.placeholder("x", shape=("a", "b", "c"), dtype="float32")
    permuted = gc.permute_dims(x, axes)
    a = draw(shape, "float32")
    agree([x], permuted, [a])
    agree([x], gc.exp(permuted), [a])
    agree([x], gc.sum(gc.exp(permuted) * permuted, axis=(0, 1)), [a])


@needs_strips
def test_operands_across_different_axes_and_repeated_ones() -> None:
    x, y = (gc.placeholder(n, shape=s, dtype="float32") for n, s in (("x", (40, 41, 42)), ("y", (42, 40))))
    around = gc.permute_dims(x, (2, 1, 0))  # along its last axis, this one is read across
    f = agree([x, y], around * gc.expand_dims(y, axis=1), [draw((40, 41, 42), "float32"), draw((42, 40), "float32")])
    assert f.source.kernels.count(TURNED) == 1
    z = gc.placeholder("z", shape=(42, 40), dtype="float32")
    repeated = [gc.broadcast_to(node.T, (3, 40, 42)) for node in (y, z)]
    f = agree([y, z], repeated[0] * repeated[1], [draw((42, 40), "float32")] * 2)
    assert f.source.kernels.count(TURNED) == 2


@needs_strips
def test_more_operands_than_strips_have_room_for() -> None:
    many = [gc.placeholder(f"y{k}", shape=(100, 90), dtype="float32") for k in range(6)]
    out = many[0].T
    for y in many[1:]:
        out = out * y.T
    f = agree(many, out, [draw((100, 90), "float32") for _ in many])
    assert f.source.kernels.count(TURNED) == 4


def test_gathers_beside_transposed_operands() -> None:
    table = gc.placeholder("t", shape=("k", "m"))
    rows, y = gc.placeholder("i", shape=("n",), dtype="int64"), gc.placeholder("y", shape=("m", "n"))
    indices = RNG.integers(0, 20, 150)
    f = agree([table, rows, y], gc.exp(y.T) * table[rows], [draw((20, 140)), indices, draw((140, 150))])
    with pytest.raises(IndexError):
        f(draw((20, 140)), indices + 10, draw((140, 150)))


# -- where there are strips


@needs_strips
def test_known_sizes_choose_one_nest() -> None:
    def source(n: int, m: int) -> str:
        x, y = gc.placeholder("x", shape=(n, m)), gc.placeholder("y", shape=(m, n))
        text: str = gc.function([x, y], x + y.T).compile().source.kernels
        assert text.count("def kernel") == 1
        return text

    assert TURNED in source(256, 256) and TURNED in source(1024, 12) and TURNED in source(8, 2000)
    assert TURNED not in source(16, 16) and TURNED not in source(2000, 3) and TURNED not in source(3, 2000)


@needs_strips
def test_sizes_of_a_call_choose_one_of_two_nests() -> None:
    x, y = gc.placeholder("x", shape=("n", "m")), gc.placeholder("y", shape=("m", "n"))
    f = gc.function([x, y], x + y.T).compile()
    assert f.source.kernels.count("def kernel") == 2 and f.source.kernels.count(TURNED) == 1
    tiled, plain = f._built.program.main.nests
    for n, m in ((256, 256), (16, 16), (1000, 3), (3, 1000), (1024, 12), (1000, 1000)):
        sizes = {"n": n, "m": m}
        assert sum(nest.runs(sizes) for nest in (tiled, plain)) == 1
        assert tiled.runs(sizes) == (min(n, m) > 8 and n * m > 1000)
        np.testing.assert_array_equal(f(a := draw((n, m)), b := draw((m, n))), a + b.T)


@needs_strips
def test_functions_have_strips_at_every_size() -> None:
    x, y = gc.placeholder("x", shape=("n", "m")), gc.placeholder("y", shape=("m", "n"))
    f = gc.function([x, y], gc.tanh(y.T) + x).compile()
    assert f.source.kernels.count("def kernel") == 1 and f.source.kernels.count(TURNED) == 1


@needs_strips
def test_bodies_of_loops() -> None:
    """A small body stays one kernel with its loop; a large one is worth a call."""
    for n, turned in ((10, False), (100, True)):
        u = gc.placeholder("u", shape=(n, n))
        out, _ = gc.scan(lambda u, _: (gc.tanh(u.T) + 0.5 * u, None), u, None, length=3)
        f = agree([u], out, [draw((n, n))])
        assert (TURNED in f.source.kernels) == turned


# -- machine code


@needs_strips
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_strips_compute_vectors(dtype: str) -> None:
    y, x = gc.placeholder("y", shape=(256, 256), dtype=dtype), gc.placeholder("x", shape=(256, 256), dtype=dtype)
    (source,) = gc.function([x, y], x + y.T).compile()._built.program.sources
    code = assembly(source)
    letter = "d" if dtype == "float64" else "s"
    assert "gather" not in code
    assert f"addp{letter}" in code or f"fadd.{'2d' if letter == 'd' else '4s'}" in code or "fadd\tv" in code


# -- threads


@pytest.mark.parametrize("name", ["both", "sum", "copy", "rows", "softmax", "total"])
def test_the_same_bits_for_any_number_of_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("WAKE_NS", "PARALLEL_NS", "SHARED_NS", "CHUNK_NS"):
        monkeypatch.setattr(division, limit, 50.0)
    x, y = gc.placeholder("x", shape=("n", "m")), gc.placeholder("y", shape=("m", "n"))
    arrays = [draw((203, 301)), draw((301, 203))]
    results = [gc.function([x, y], CASES[name](x, y), threads=k)(*arrays) for k in (1, 2, 3)]
    np.testing.assert_allclose(results[0], gc.function([x, y], CASES[name](x, y), mode="reference")(*arrays), rtol=1e-9)
    assert len({r.tobytes() for r in results}) == 1


def test_strips_fit_the_stack_of_a_thread() -> None:
    """Those of musl have 128 kB."""
    assert ROWS * (COLUMN_BYTES + LINE) <= 70_000


# -- other steps than 1


def test_flipped_operands_are_vectors() -> None:
    x = gc.placeholder("x", shape=("n", "m"))
    f = agree([x], x[:, ::-1] + x, [draw((9, 70))])
    assert "-d1]" in f.source.kernels
    (source,) = f._built.program.sources
    assert "gather" not in assembly(source) and ("addpd" in assembly(source) or "fadd" in assembly(source))


@pytest.mark.parametrize("mode", ["compiled", "debug"])
@pytest.mark.parametrize("step", [2, 3, -2, -1])
def test_steps(step: int, mode: Any) -> None:
    x = gc.placeholder("x", shape=("n", "m"))
    for out in (gc.exp(x[:, ::step]), 1.0 / x[::2, ::step], gc.sum(gc.exp(x[:, ::step]), axis=1), x[:, ::step] * 2.0):
        agree([x], out, [draw((5, 37))], mode=mode)


@pytest.mark.skipif(
    platform.machine() == "x86_64" and not has_feature("avx"), reason="LLVM gathers no vectors of two numbers"
)
def test_functions_of_every_second_number_are_vectors() -> None:
    """LLVM asks at run time whether a stride is 1, and would otherwise compute number by number."""
    x = gc.placeholder("x", shape=("n", "m"))
    (source,) = gc.function([x], gc.sqrt(x[:, ::2])).compile()._built.program.sources
    code = assembly(source)
    assert "sqrtpd" in code or "fsqrt" in code
    (cheap,) = gc.function([x], x[:, ::2] * 2.0).compile()._built.program.sources
    assert "gather" not in assembly(cheap)
