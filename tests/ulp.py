"""Measure elementary functions against mpmath: shared by `test_vecmath` and `benchmarks/ulp_table.py`."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import mpmath
import numpy as np

from graphc.codegen.jit.compiler import compile_kernel
from graphc.codegen.math.elementary import POLYNOMIALS
from graphc.codegen.math.loader import load
from graphc.codegen.nest.options import KernelOptions
from graphc.graph.types import SHORT_NAMES, Array

DTYPES = {short: np.dtype(name) for name, short in SHORT_NAMES.items()}
_serial = itertools.count()

SPECIAL = (
    *(0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 20.0, 1e22, -1e15),
    *(5e-324, -5e-324, 1e-310, -1e-310, 1e-45, -1e-45, 1e-40, -1e-40),  # subnormal
    *(2.2250738585072014e-308, 1.1754943508222875e-38),  # smallest normal
    *(1.7976931348623157e308, -1.7976931348623157e308, 3.4028234663852886e38, -3.4028234663852886e38),
    *(709.78, 709.79, -745.1, -745.2, 88.72, 88.73, -103.97, -103.98),  # where exp leaves the range
    *(1023.9, 1024.0, -1074.0, -1075.0, 127.9, 128.0, -149.0, -150.0, 2.0**31, -(2.0**63)),
)
"""Values where functions are special."""


def source(expressions: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """Return a kernel that stores each expression in `x0[i]`, `x1[i]`, ... in an array of its own."""
    lines = ["def kernel(frame, lo, hi):"]
    lines += [f"    x{j} = {kind}p(frame[{j}])" for j, kind in enumerate(inputs)]
    lines += [f"    o{j} = {kind}p(frame[{len(inputs) + j}], {j + 1})" for j, kind in enumerate(outputs)]
    lines += ["    for i in range(lo, hi):"]
    lines += [f"        o{j}[i] = {expression}" for j, expression in enumerate(expressions)]
    return "\n".join([*lines, "    return 0", ""])


@cache
def compiled(text: str, precision: str = "vector") -> Callable[[Any, int, int], int]:
    """Compile and load a kernel; it takes the address of its frame and a range."""
    symbol = f"kernel_{next(_serial)}"
    code, _ = compile_kernel(text, symbol, KernelOptions(precision=precision))
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(load(code, symbol))


def frame_of(*arrays: Array) -> Array:
    """Return the addresses of arrays, as a kernel unpacks them."""
    return np.array([a.ctypes.data for a in arrays], np.int64)


def evaluate(name: str, kind: str, precision: str, *arrays: Array) -> Array:
    """Return a function of the vocabulary, compiled, of arrays of one dtype."""
    operands = ", ".join(f"x{j}[i]" for j in range(len(arrays)))
    expression = f"{name}, {operands})" if name.startswith("polygamma(") else f"{name}({operands})"
    kernel = compiled(source([expression], [kind] * len(arrays), [kind]), precision)
    out = np.zeros_like(arrays[0])
    frame = frame_of(*arrays, out)
    assert kernel(frame.ctypes.data, 0, len(out)) == 0
    return out


def function_points(name: str, kind: str, count: int) -> tuple[Array, ...]:
    """Return operands for a function: any numbers, but well-conditioned ones where rounding decides."""
    x = points(kind, count)
    if name == "lgamma":
        return (x[(x > -60) & (x < 1e30)],)
    if name not in ("atan2", "pow", "hypot", "logaddexp"):
        return (x,)
    y = np.random.default_rng(2).permutation(x)
    if name == "pow":
        finite = np.isfinite(x) & (x > 0) & (np.abs(y) < 1e4)
        return x[finite], y[finite]
    return (np.abs(x), np.abs(y)) if name == "logaddexp" else (x, y)


def points(kind: str, count: int) -> Array:
    """Return `count` random numbers of each of several ranges: all bit patterns, near 0, near 1, small, large."""
    rng = np.random.default_rng(1)
    dtype = DTYPES[kind]
    bits = rng.integers(0, 1 << 8 * dtype.itemsize, count, f"u{dtype.itemsize}").view(dtype)
    near = 1 + rng.uniform(-1, 1, count) * np.exp(rng.uniform(-30, 0, count))
    parts = [bits, near, np.exp(rng.uniform(-40, 40, count)), -np.exp(rng.uniform(-40, 7, count))]
    parts += [rng.uniform(-high, high, count) for high in (1, 30, 800)]
    with np.errstate(over="ignore"):
        return np.concatenate([p.astype(dtype) for p in parts])


def _logaddexp(x: Any, y: Any) -> Any:
    return max(x, y) + mpmath.log1p(mpmath.exp(-abs(x - y)))


def _erfc(x: Any) -> Any:
    return mpmath.erfc(max(min(x, mpmath.mpf(100)), mpmath.mpf(-100)))  # mpmath fails on huge arguments


def _erfcx(x: Any) -> Any:
    if x > 50:
        terms = (mpmath.fac2(2 * k - 1) * (-2) ** -mpmath.mpf(k) * x ** (-2 * k - 1) for k in range(25))
        return sum(terms) / mpmath.sqrt(mpmath.pi)
    x = max(x, mpmath.mpf(-100))
    return mpmath.exp(x * x) * mpmath.erfc(x)


def _erfcx_slope(x: Any) -> Any:
    if x > 50:
        terms = (mpmath.fac2(2 * k - 1) * (2 * k + 1) * (-2) ** -mpmath.mpf(k) * x ** (-2 * k - 2) for k in range(25))
        return sum(terms) / mpmath.sqrt(mpmath.pi)
    return 2 / mpmath.sqrt(mpmath.pi) - 2 * x * _erfcx(x)


def _ndtr(x: Any) -> Any:
    return _erfc(-x / mpmath.sqrt(2)) / 2


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


EXACT: dict[str, Callable[..., Any]] = {
    **{n: getattr(mpmath, n) for n in ("exp", "expm1", "log", "log1p", "log10", "sin", "cos", "tan", "asin", "acos")},
    **{n: getattr(mpmath, n) for n in ("atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "atan2", "hypot")},
    **{n: getattr(mpmath, n) for n in ("erf", "sqrt")},
    "erfc": _erfc,
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x, 2),
    "pow": lambda x, y: x**y,
    "lgamma": lambda x: mpmath.log(abs(mpmath.gamma(x))) if x < 0 else mpmath.loggamma(x),
    "sigmoid": _sigmoid,
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "sech": lambda x: mpmath.sech(x),
    "sigmoid_slope": lambda x: mpmath.sech(x / 2) ** 2 / 4,
    "logaddexp": _logaddexp,
    "ndtr": _ndtr,
    "erfcx": _erfcx,
    "erfcx_slope": _erfcx_slope,
    "normal_density": mpmath.npdf,
}


def exact(name: str, *arrays: Array) -> list[Any]:
    """Return the values as mpmath numbers; nan outside the domain."""
    return [_exact(EXACT[name], *map(float, row)) for row in zip(*arrays, strict=True)]


def _exact(function: Callable[..., Any], *row: float) -> Any:
    with mpmath.workdps(60):
        try:
            value = function(*(mpmath.mpf(x) for x in row))
        except (ValueError, ZeroDivisionError):
            return mpmath.nan
    return value if isinstance(value, mpmath.mpf) else mpmath.nan


def bound(name: str, precision: str) -> float:
    """Return what errors stay below, in ULP, as `gc.function` says it; arithmetic of our own is closer."""
    if name == "lgamma":
        return 5.0
    return 3.0 if precision == "polynomial" and name in POLYNOMIALS else 4.0


def _wide_softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


WIDE: dict[str, Callable[..., Any]] = {
    **{n: getattr(np, n) for n in ("exp", "expm1", "log", "log1p", "log10", "log2", "exp2", "sin", "cos", "tan")},
    **{n: getattr(np, n) for n in ("sinh", "cosh", "tanh", "hypot")},
    **{n: getattr(np, f"arc{n[1:]}") for n in ("asin", "acos", "atan", "asinh", "acosh", "atanh", "atan2")},
    "pow": np.power,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sech": lambda x: 1 / np.cosh(x),
    "sigmoid_slope": lambda x: 1 / (2 * np.cosh(x / 2)) ** 2,
    "softplus": _wide_softplus,
    "logaddexp": lambda x, y: np.maximum(x, y) + np.log1p(np.exp(-np.abs(x - y))),
}
"""Functions in extended precision, where NumPy has it: they find the worst of many points for mpmath to measure."""


def worst_error(name: str, kind: str, precision: str, count: int) -> float:
    """Return the largest error found, at `count` points of each range; a hundred times as many with `WIDE`."""
    if name not in WIDE or np.finfo(np.longdouble).nmant < 63:
        operands = function_points(name, kind, count)
        return float(ulps(evaluate(name, kind, precision, *operands), exact(name, *operands)).max())
    operands = function_points(name, kind, 100 * count)
    computed = evaluate(name, kind, precision, *operands)
    with np.errstate(all="ignore"):
        wide = WIDE[name](*(x.astype(np.longdouble) for x in operands))
        nearest = wide.astype(computed.dtype)
        error = np.abs(computed.astype(np.longdouble) - wide) / np.spacing(np.abs(nearest)).astype(np.longdouble)
    error[~np.isfinite(error)] = 0.0  # special values have tests of their own
    worst = np.argsort(error)[-3:]
    return float(ulps(computed[worst], exact(name, *(x[worst] for x in operands))).max())


def ulps(computed: Array, values: Sequence[Any]) -> Array:
    """Return errors in units of the last place of the rounded exact value; inf for a wrong special value."""
    return np.array([_ulps(c, v) for c, v in zip(computed, values, strict=True)])


def _ulps(computed: Any, value: Any) -> float:
    with np.errstate(over="ignore"):
        nearest = type(computed)(float(value))
    if not (np.isfinite(computed) and np.isfinite(nearest)):
        largest = np.finfo(type(computed)).max
        wrong = computed != nearest and not (np.isnan(computed) and np.isnan(nearest))
        # Rounding to infinity instead of the largest number, or the reverse, is an error like any other.
        close = abs(computed) >= largest * 0.999999 and abs(nearest) >= largest * 0.999999
        return 0.0 if not wrong else 1.0 if close and computed * nearest > 0 else float("inf")
    return float(abs(mpmath.mpf(float(computed)) - value) / mpmath.mpf(float(np.spacing(abs(nearest)))))
