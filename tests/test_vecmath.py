"""The scalar vocabulary: accuracy against mpmath, special values, un-jitted agreement, vector instructions."""

from __future__ import annotations

import ctypes
import importlib
import platform
import re
from collections.abc import Sequence
from typing import Any

import mpmath
import numpy as np
import pytest

from graphc.codegen.jit.compiler import assembly, optimised_module
from graphc.codegen.jit.numba_types import SPECIAL_FORMS
from graphc.codegen.math import coefficients
from graphc.codegen.math.elementary import POLYNOMIALS, PREFERRED
from graphc.codegen.math.libmvec import VARIANTS, declarations, has_libmvec, vector_variant
from graphc.codegen.math.loader import has_feature
from graphc.codegen.math.tiles import tiles
from graphc.codegen.math.vecmath import DEBUG_GLOBALS, EXTERNAL_SYMBOLS, PRECISIONS, VOCABULARY, Pointer
from graphc.codegen.math.vocabulary import functions
from graphc.codegen.nest.options import KernelOptions
from graphc.codegen.run.debug_tiles import debug_tiles
from graphc.graph.errors import CompileError
from graphc.graph.types import Array
from tests.ulp import (
    DTYPES,
    EXACT,
    SPECIAL,
    bound,
    compiled,
    evaluate,
    exact,
    frame_of,
    function_points,
    source,
    ulps,
    worst_error,
)

FLOATS = ("f64", "f32")
INTEGERS = tuple(k for k in DTYPES if k[0] in "iu")
COMPOSED = (
    *("sigmoid", "sigmoid_slope", "softplus", "sech", "logaddexp"),
    *("ndtr", "normal_density", "erfcx", "erfcx_slope"),
)
BINARY = ("atan2", "pow", "hypot", "logaddexp", "copysign", "nextafter", "fmax_nan", "fmin_nan", "fdiv", "fmod_floor")
ON_X86 = platform.machine() in ("x86_64", "AMD64")
x86_only = pytest.mark.skipif(not ON_X86, reason="reads x86 assembly")
needs_libmvec = pytest.mark.skipif(not has_libmvec(), reason="this C library has no vector functions")


def agree(a: Array, b: Array, rtol: float = 0.0, atol: float = 0.0) -> Array:
    """Tell where numbers are equal, or close, with equal signs of zero; NaN equals NaN."""
    same: Array
    if a.dtype.kind != "f":
        same = a == b
        return same
    with np.errstate(all="ignore"):
        close = (a == b) | (np.abs(a - b) <= rtol * np.abs(b) + atol)
    same = (close & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))
    return same


def special_pairs(kind: str) -> tuple[Array, Array]:
    with np.errstate(over="ignore"):
        values = np.array(SPECIAL).astype(DTYPES[kind])
    left, right = np.meshgrid(values, values)
    return left.ravel(), right.ravel()


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", sorted(EXACT))
def test_accuracy(name: str, kind: str) -> None:
    operands = function_points(name, kind, 40)
    values = exact(name, *operands)
    for precision in PRECISIONS:
        errors = ulps(evaluate(name, kind, precision, *operands), values)
        worst = int(np.argmax(errors))
        shown = [x[worst] for x in operands]
        assert errors[worst] <= bound(name, precision), f"{precision}: {errors[worst]} ULP at {shown}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", sorted(EXACT))
def test_accuracy_at_many_points(name: str, kind: str) -> None:
    for precision in PRECISIONS:
        assert worst_error(name, kind, precision, 600) <= bound(name, precision)


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("precision", ["vector", "polynomial"])
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_special_values_are_those_of_the_c_library(name: str, precision: str, kind: str) -> None:
    operands = special_pairs(kind)[: VARIANTS[name]]
    expected = evaluate(name, kind, "libm", *operands)
    found = evaluate(name, kind, precision, *operands)
    limits = np.finfo(DTYPES[kind])
    wrong = ~agree(found, expected, 4 * float(limits.eps), 4 * float(limits.smallest_subnormal))
    assert not wrong.any(), [(x[wrong][:3], found[wrong][:3], expected[wrong][:3]) for x in operands]


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", sorted(POLYNOMIALS))
def test_polynomials_have_the_same_bits_in_vectors_and_remainders(name: str, kind: str) -> None:
    (x,) = function_points(name, kind, 10)
    whole = evaluate(name, kind, "polynomial", x)
    single = np.array([evaluate(name, kind, "polynomial", x[i : i + 1])[0] for i in range(len(x))])
    assert agree(whole, single).all()


@pytest.mark.parametrize("precision", ["vector", "polynomial"])
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_large_angles(name: str, precision: str) -> None:
    k = np.array([1.0, 2.0, 3.0, 1e3, 1e7, 4e7, 2.0**26, 2.0**31, 1e15, 1e22, 1e300])
    x = np.concatenate([k * (np.pi / 2), -k * (np.pi / 2), k, np.nextafter(k, 0)])
    assert ulps(evaluate(name, "f64", precision, x), exact(name, x)).max() <= bound(name, precision)
    narrow = x[np.abs(x) < 1e38].astype(np.float32)
    assert ulps(evaluate(name, "f32", precision, narrow), exact(name, narrow)).max() <= bound(name, precision)


@pytest.mark.parametrize(("kind", "rtol"), [("f64", 2e-14), ("f32", 3e-6)])
@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_polygamma(order: int, kind: str, rtol: float) -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(0.01, 30, 60), rng.uniform(-9, 0, 60), np.exp(rng.uniform(-8, 8, 60))])
    x = x.astype(DTYPES[kind])
    name = "digamma" if order == 0 else f"polygamma({order}"
    values = [mpmath.polygamma(order, float(v)) for v in x]
    found = evaluate(name, kind, "vector", x)
    # Beside a zero, the error is relative to the terms that cancel there.
    scale = [
        max(abs(v), abs(mpmath.polygamma(order, 1.5)), mpmath.pi ** (order + 1) * (a < 0))
        for v, a in zip(values, x, strict=True)
    ]
    errors = [abs(float(f) - v) / s for f, v, s in zip(found, values, scale, strict=True)]
    worst = int(np.argmax(errors))
    assert errors[worst] <= rtol, (x[worst], found[worst], values[worst])


@pytest.mark.parametrize("name", ["lgamma", "digamma", "polygamma(1", "polygamma(2"])
def test_gamma_functions_at_special_values(name: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, -2.0, 1e-320, -1e-320, 1e300, 1e-30, -1e-30, 1.0, 2.0])
    debug = DEBUG_GLOBALS["polygamma" if "(" in name else name]
    expected = np.array([debug(int(name[-1]), v) if "(" in name else debug(v) for v in x])
    assert agree(evaluate(name, "f64", "vector", x), expected, 1e-13).all()


def check_against_debug(
    expressions: Sequence[str], inputs: Sequence[str], outputs: Sequence[str], arrays: Sequence[Any], rtol: float = 0.0
) -> None:
    """Run one kernel source compiled and un-jitted, and compare every output."""
    text = source(expressions, inputs, outputs)
    length = len(arrays[0])
    operands = [np.ascontiguousarray(a, DTYPES[k]) for a, k in zip(arrays, inputs, strict=True)]
    found = [np.zeros(length, DTYPES[k]) for k in outputs]
    expected = [np.zeros(length, DTYPES[k]) for k in outputs]
    compiled(text)(frame_of(*operands, *found).ctypes.data, 0, length)
    names = dict(DEBUG_GLOBALS)
    exec(text, names)
    with np.errstate(all="raise"):  # un-jitted functions raise no warnings
        names["kernel"](frame_of(*operands, *expected), 0, length)
    for expression, a, b in zip(expressions, found, expected, strict=True):
        wrong = ~agree(a, b, rtol)
        assert not wrong.any(), (expression, inputs, [x[wrong][:3] for x in operands], a[wrong][:3], b[wrong][:3])


@pytest.mark.parametrize(("kind", "rtol"), [("f64", 2e-15), ("f32", 1e-6)])
def test_float_functions_agree_with_the_unjitted_ones(kind: str, rtol: float) -> None:
    values = special_pairs(kind)[0][: len(SPECIAL)]
    unary = [n for n in VARIANTS if n not in BINARY] + ["sqrt", "floor", "ceil", "trunc", "rint", "fabs"]
    unary += [
        "sigmoid",
        "sigmoid_slope",
        "softplus",
        "sech",
        "lgamma",
        "ndtr",
        "normal_density",
        "erfcx",
    ]
    # At 1e22 the slope of erfcx is subnormal in float32, where two divisions round twice.
    unary += ["erfcx_slope"] if kind == "f64" else []
    for names in (unary[:14], unary[14:]):
        check_against_debug([f"{n}(x0[i])" for n in names], [kind], [kind] * len(names), [values], rtol)
    predicates = ["isnan", "isinf", "isfinite", "signbit", "bool"]
    check_against_debug([f"{n}(x0[i])" for n in predicates], [kind], ["bool"] * 5, [values])
    casts = [f"to_{k}(x0[i])" for k in INTEGERS]
    check_against_debug(casts, [kind], INTEGERS, [np.concatenate([values, [300.7, -300.7, 3e9, -3e9, 70000.0]])])
    pairs = special_pairs(kind)
    check_against_debug([f"{n}(x0[i], x1[i])" for n in BINARY], [kind] * 2, [kind] * len(BINARY), pairs, rtol)


@pytest.mark.parametrize("kind", INTEGERS)
def test_integer_functions_agree_with_the_unjitted_ones(kind: str) -> None:
    low, high = np.iinfo(DTYPES[kind]).min, np.iinfo(DTYPES[kind]).max
    values = [0, 1, 2, 3, 7, 63, 64, 100, low, low + 1, high - 1, high] + ([-1, -2, -7] if low else [])
    left, right = (v.ravel() for v in np.meshgrid(np.array(values, DTYPES[kind]), np.array(values, DTYPES[kind])))
    names = ["idiv", "imod", "ipow", "shl", "shr", "fmax_nan", "fmin_nan", "fast_max", "fast_min", "radd", "rmul"]
    binary = [f"{n}(x0[i], x1[i])" for n in names] + ["select(x0[i] > x1[i], x0[i], x1[i])"]
    check_against_debug(binary, [kind] * 2, [kind] * len(binary), [left, right])
    casts = [f"{k}(x0[i])" for k in DTYPES]
    same = ["fabs(x0[i])", "floor(x0[i])"]
    check_against_debug(casts + same, [kind], [*DTYPES, kind, kind], [np.array(values, DTYPES[kind])])


def test_integer_division_is_numpys() -> None:
    names = dict(DEBUG_GLOBALS)
    a, b = np.meshgrid(np.arange(-7, 8), np.arange(-3, 4))
    with np.errstate(all="ignore"):
        expected = np.floor_divide(a, b), np.remainder(a, b)
    found = [[names[n](x, y) for x, y in zip(a.ravel(), b.ravel(), strict=True)] for n in ("idiv", "imod")]
    assert (np.array(found).reshape(2, *a.shape) == np.array(expected)).all()


def test_vocabulary_is_complete() -> None:
    assert {*functions(), *SPECIAL_FORMS} == VOCABULARY and set(tiles()) == set(debug_tiles())


def test_pointers_take_signed_indices_and_convert() -> None:
    text = "def kernel(frame, lo, hi):\n    p = i16p(frame[0] + 4, 1)\n    b = boolp(frame[1], 2)\n"
    text += "    p[-1] = p[-2] + p[1]\n    b[0] = p[0] > 2\n    b[1] = b[0]\n    return p[-1]\n"
    results = []
    for jitted in (True, False):
        numbers, flags = np.array([10, 20, 3, 4], np.int16), np.zeros(3, np.bool_)
        frame = frame_of(numbers, flags)
        names = dict(DEBUG_GLOBALS)
        exec(text, names)
        kernel = compiled(text) if jitted else lambda address, lo, hi: names["kernel"](Pointer("i64", address), lo, hi)  # noqa: B023
        assert kernel(frame.ctypes.data, 0, 0) == 14
        results.append((numbers.tolist(), flags.tolist()))
    assert results[0] == results[1] == ([10, 14, 3, 4], [True, True, False])


def test_calls_through_pointers() -> None:
    seen: list[tuple[int, ...]] = []
    sum3 = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 3)(lambda a, b, c: a + b + c)
    note = ctypes.CFUNCTYPE(None, ctypes.c_int64)(lambda a: seen.append((a,)))
    answer = ctypes.CFUNCTYPE(ctypes.c_int64)(lambda: 42)
    frame = np.array([ctypes.cast(f, ctypes.c_void_p).value for f in (sum3, note, answer)])
    text = "def kernel(frame, lo, hi):\n    call_void(frame[1], lo)\n"
    text += "    return call_i64(frame[0], lo, hi, -1) + call_i64(frame[2])\n"
    names = dict(DEBUG_GLOBALS)
    exec(text, names)
    assert compiled(text)(frame.ctypes.data, 5, 6) == names["kernel"](frame, 5, 6) == 52
    assert seen == [(5,), (5,)]


def test_reductions_that_llvm_may_reorder() -> None:
    x = np.random.default_rng(0).standard_normal(10_001)
    text = "def kernel(frame, lo, hi):\n    x = f64p(frame[0])\n    o = f64p(frame[1], 1)\n"
    text += "    total = f64(0.0)\n    largest = x[lo]\n    for i in range(lo, hi):\n"
    text += "        total = radd(total, x[i])\n        largest = fast_max(largest, x[i])\n"
    text += "    o[0] = total\n    o[1] = largest\n    return 0\n"
    out = np.zeros(2)
    compiled(text)(frame_of(x, out).ctypes.data, 0, len(x))
    assert out[1] == x.max() and abs(out[0] - mpmath.fsum(map(float, x))) < 1e-10
    if ON_X86:
        code = assembly(text)
        assert re.search(r"v?addpd", code)
        assert re.search(r"v?maxpd", code)


@pytest.mark.parametrize(
    "text", ["polygamma(hi, f64p(frame[0])[0])", "f64p(frame[0], 99)[0]", "call_i64(frame[0], 1.5)", "exp(frame)"]
)
def test_misuse_is_refused(text: str) -> None:
    with pytest.raises(CompileError):
        compiled(f"def kernel(frame, lo, hi):\n    return i64({text})\n")


def vector_source(name: str, kind: str) -> str:
    arity = 2 if name in BINARY else 1
    return source([f"{name}({', '.join(f'x{j}[i]' for j in range(arity))})"], [kind] * arity, [kind])


def calls(code: str) -> set[str]:
    """Return the names of the functions that assembly calls or jumps to."""
    return set(re.findall(r"\b(?:callq?|jmp)\s+([A-Za-z_]\w*)", code))


@x86_only
@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", [*sorted(POLYNOMIALS), *(n for n in COMPOSED if n != "logaddexp")])
def test_polynomials_become_packed_instructions(name: str, kind: str) -> None:
    code = assembly(vector_source(name, kind), KernelOptions(precision="polynomial"))
    assert re.search(rf"v?mulp{'d' if kind == 'f64' else 's'}\s.*%[xyz]mm", code)
    # Angles beyond the range are corrected lane by lane, in a branch of the loop that is never taken.
    allowed = {"sin": "sin", "cos": "cos"}.get(name, "")
    scalar = {c for c in calls(code) if "graphc" not in c}
    assert scalar <= {allowed + ("f" if kind == "f32" else "")}
    if allowed:
        assert re.search(rf"callq?\s+graphc_{name}_{kind}_\d+", code)


@x86_only
@pytest.mark.skipif(not has_feature("avx512f"), reason="the look-up is an instruction of AVX-512")
@pytest.mark.parametrize(("kind", "suffix"), [("f64", "pd"), ("f32", "ps")])
def test_roots_are_looked_up_in_registers(kind: str, suffix: str) -> None:
    code = assembly(vector_source("exp", kind))
    permuted = re.findall(r"(vperm(?:[it]2)?p[sd])\s.*%zmm", code)
    assert {"f64": {"vpermi2pd", "vpermt2pd"}, "f32": {"vpermps"}}[kind] >= set(permuted) != set()
    assert re.search(rf"vscalef{suffix}\s.*%zmm", code) and "gather" not in code and not calls(code)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", FLOATS)
def test_capped_exponential_is_the_exponential_below_0_and_1_elsewhere(kind: str, precision: str) -> None:
    x = np.array(
        [-np.inf, -800, -100, -1.5, -0.0, 0.0, 2.0, np.inf, np.nan], {"f64": "float64", "f32": "float32"}[kind]
    )
    below = x <= 0
    found = evaluate("exp_capped", kind, precision, x)
    assert np.array_equal(found[below], evaluate("exp", kind, precision, x[below]))
    assert np.all(found[~below] == 1)
    assert np.array_equal([DEBUG_GLOBALS["exp_capped"](v) for v in x[~below]], np.ones(3))


SHARING = [("sin", "cos"), ("tanh", "sech"), ("sigmoid", "softplus"), ("ndtr", "normal_density"), ("tanh", "sigmoid")]


@pytest.mark.parametrize("precision", ["vector", "polynomial"])
@pytest.mark.parametrize("names", SHARING, ids=" ".join)
def test_functions_of_one_argument_share_their_parts(names: tuple[str, str], precision: str) -> None:
    def products(*functions: str) -> int:
        text = source([f"{name}(x0[i])" for name in functions], ["f64"], ["f64"] * len(functions))
        module = optimised_module(text, "kernel", KernelOptions(precision=precision))
        return len(re.findall(r"call <\d+ x double> @llvm\.fm", str(module)))

    alone = [products(name) for name in names]
    assert 0 < products(*names) < max(alone) + 0.5 * min(alone)


@x86_only
@needs_libmvec
@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_vector_precision_calls_libmvec_or_nothing(name: str, kind: str) -> None:
    code = assembly(vector_source(name, kind))
    if name in PREFERRED:
        assert all(re.fullmatch(rf"graphc_{name}_f\d+(_\d+)?|{name}f?", c) for c in calls(code))
        assert ("graphc" in code) == (name in ("sin", "cos"))
    elif vector_variant(name, kind):
        assert set(vector_variant(name, kind)) & calls(code)


@needs_libmvec
def test_vector_symbols_are_whitelisted_and_declared() -> None:
    symbols = {s for n in VARIANTS for k in FLOATS for s in vector_variant(n, k)}
    assert symbols <= EXTERNAL_SYMBOLS
    text = declarations(" ".join(symbols))
    assert all(f"@{s}(" in text for s in symbols) and text.count("llvm.compiler.used") == 1
    assert declarations("define void @nothing()") == ""


def test_many_pointers_need_no_run_time_alias_checks() -> None:
    inputs, outputs = ["f64"] * 6, ["f64"] * 3
    text = source(["x0[i] + x1[i]", "x2[i] * x3[i]", "x4[i] - x5[i]"], inputs, outputs)
    module = str(optimised_module(text, "kernel"))
    assert re.search(r"<\d+ x double>", module) and "memcheck" not in module
    # Without the numbers of the written buffers, LLVM must check (or give up).
    unnumbered = re.sub(r", \d\)", ")", text)
    module = str(optimised_module(unnumbered, "kernel"))
    assert "memcheck" in module or not re.search(r"<\d+ x double>", module)


def test_updates_in_place_go_through_the_written_pointer() -> None:
    text = "def kernel(frame, lo, hi):\n    p = f64p(frame[0], 1)\n    for i in range(lo + 1, hi):\n"
    text += "        p[i] = p[i] + p[i - 1]\n    return 0\n"
    x = np.arange(50.0)
    compiled(text)(frame_of(x).ctypes.data, 0, 50)
    assert (x == np.cumsum(np.arange(50.0))).all()


def test_coefficients_are_those_that_the_script_derives() -> None:
    script = importlib.import_module("benchmarks.fit_polynomials")
    for kind, table in (("f64", coefficients.F64), ("f32", coefficients.F32)):
        assert table == script.tables(kind)
