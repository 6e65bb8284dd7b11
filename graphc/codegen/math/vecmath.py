"""The scalar vocabulary of rendered kernels, and its un-jitted meaning.

A kernel is plain Python whose calls are names of `VOCABULARY`. Run with `DEBUG_GLOBALS` it computes with NumPy
scalars over real memory, under any debugger; compiled by Numba it becomes machine code. This module
does not import llvmlite.

- casts: `bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64`, and `to_i8 .. to_u64` from floats: exact in range; out of
  range and NaN give what NumPy gives on x86 for signed types (the least int32 or int64, then truncated), and for
  unsigned types the low bits of the same; nothing traps;
- elementary functions by C's names, and `exp_capped sigmoid sigmoid_slope softplus sech logaddexp ndtr normal_density
  erfcx erfcx_slope digamma polygamma(n, x)`: float32 stays float32;
- `isnan isinf isfinite signbit`, `select(condition, yes, no)`;
- `fmax_nan fmin_nan`: NaN wins, of equal numbers the second operand is taken, as NumPy does on x86;
- `fast_max fast_min`: for reduction accumulators; never give them NaN;
- `radd(accumulator, x)`, `rmul`: sums and products in an order that LLVM may choose;
- `idiv imod`: floor semantics, 0 where the divisor is 0; `fdiv fmod_floor`: NumPy's on floats;
- `ipow`: wraps, negative exponents cut toward 0; `shl shr`: counts outside the width give 0 (-1 for negative `shr`);
- random numbers: `random_bits random_uniform_f32 random_gamma ... multiply_high`: see `ops/random_table.py`;
- pointers `f64p(address)`, `f64p(address, k)`: see `Pointer`; `prefetch(p, i)`: the cache line of an element is wanted
  soon, wherever it may be; calls `call_i64(address, ...)`, `call_void`;
- `stack(n)`: the address of n bytes on the stack; `call_transpose`: the routine of `transposer`, with its address and
  the bytes of an element before its operands.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.codegen.math.libmvec import VARIANTS, library_symbols, vector_variant
from graphc.graph.types import SHORT_NAMES, short_name
from graphc.ops.random_table import FORMULAS as RANDOM
from graphc.ops.random_table import with_numpy

__all__ = ["DEBUG_GLOBALS", "EXTERNAL_SYMBOLS", "LIBM", "PRECISIONS", "VOCABULARY", "Pointer", "vector_variant", "wrap"]

PRECISIONS = ("vector", "polynomial", "libm")
MAX_CALL_ARGUMENTS = 14
WRITTEN_BUFFERS = 64
"""The number of written buffers per kernel that alias information tells apart."""

_DTYPES = {short: np.dtype(name) for name, short in SHORT_NAMES.items()}
POINTER_KINDS = tuple(_DTYPES)

LIBM = (*VARIANTS, "lgamma", "nextafter", "fmod")
"""Functions taken from the C library; for float32 with an `f` appended."""

# What LLVM itself may introduce: loop idioms, and functions where the machine lacks an instruction.
_IDIOMS = ("memcpy", "memset", "memmove")
_INTRODUCED = ("floor", "ceil", "trunc", "rint", "fma", "ldexp", "sincos", "exp10", "fabs", "copysign", "sqrt")
EXTERNAL_SYMBOLS = frozenset(
    {name + suffix for name in (*LIBM, *_INTRODUCED) for suffix in ("", "f")} | {*_IDIOMS, *library_symbols()}
)
"""Every symbol that a kernel object may leave undefined; each is resolved before the object is loaded."""


class Pointer:
    """A typed address with signed element offsets: `p[i]`, `p[i] = v`, as the jitted pointers.

    Examples
    --------
    >>> a = np.arange(3.0)
    >>> p = Pointer("f64", a.ctypes.data)
    >>> p[2] = p[1] + 4.0
    >>> a
    array([0., 1., 5.])
    """

    __slots__ = ("address", "dtype")

    def __init__(self, kind: str, address: int) -> None:
        self.dtype, self.address = _DTYPES[kind], int(address)

    def _cell(self, index: int) -> np.ndarray[Any, Any]:
        size = self.dtype.itemsize
        memory = (ctypes.c_uint8 * size).from_address(self.address + int(index) * size)
        return np.frombuffer(memoryview(memory), self.dtype)

    def __getitem__(self, index: int) -> Any:
        return self._cell(index)[0]

    def __setitem__(self, index: int, value: Any) -> None:
        with np.errstate(all="ignore"):
            self._cell(index)[0] = np.asarray(value).astype(self.dtype)


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a NumPy function on scalars without floating-point warnings."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return call


def _scalar_cast(kind: str) -> Callable[[Any], Any]:
    return _quiet(lambda x: np.asarray(x).astype(_DTYPES[kind])[()])


def _to_int(kind: str) -> Callable[[Any], Any]:
    """Convert as the compiled cast does: through a signed type, whose least value stands for out of range."""
    half = 1 << (63 if kind in ("i64", "u32", "u64") else 31)

    def convert(x: Any) -> Any:
        whole = int(x) if np.isfinite(x) else 2**70 if x > 0 else -(2**70)
        shift = half if kind == "u64" and whole >= half else 0
        inside = -half <= whole - shift < half
        return wrap(whole if inside else shift - half, kind)

    return convert


def wrap(value: int, kind: str) -> Any:
    """Keep the low bits of a Python int."""
    dtype = _DTYPES[kind]
    return np.array(int(value) % (1 << 8 * dtype.itemsize), f"u{dtype.itemsize}").view(dtype)[()]


def _floats(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute in the widest float among the operands, float64 if there is none, as compiled."""

    def call(*args: Any) -> Any:
        kept = all(isinstance(a, np.float32) for a in args)
        dtype = np.dtype(np.float32 if kept else np.float64)
        return dtype.type(function(*(dtype.type(a) for a in args)))

    return _quiet(call)


def _special(name: str) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*args)

    return _floats(call)


def _erfcx_slope(x: Any) -> Any:
    from graphc.ops.special import slope_of_erfcx  # only to debug: kernels do not depend on it

    return slope_of_erfcx(x)


def _polygamma(n: Any, x: Any) -> Any:
    import scipy.special

    return type(x)(scipy.special.polygamma(int(n), x))


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute in the common dtype of the operands."""

    def call(*args: Any) -> Any:
        dtype = np.result_type(*args)
        return dtype.type(function(*(dtype.type(a) for a in args)))

    return _quiet(call)


def _extremum(larger: bool) -> Callable[[Any, Any], Any]:
    def call(a: Any, b: Any) -> Any:
        first = a > b if larger else a < b
        return a if first or a != a else b

    return _same(call)


def _idiv(a: Any, b: Any) -> Any:
    kind = short_name(np.result_type(a, b))
    return wrap(0 if b == 0 else int(a) // int(b), kind)


def _imod(a: Any, b: Any) -> Any:
    kind = short_name(np.result_type(a, b))
    return wrap(0 if b == 0 else int(a) % int(b), kind)


def _ipow(a: Any, b: Any) -> Any:
    dtype = np.result_type(a, b)
    inverse = {1: 1, -1: -1 if b & 1 else 1}.get(int(a), 0)
    power = inverse if b < 0 else pow(int(a), int(b), 1 << 8 * dtype.itemsize)
    return wrap(power, short_name(dtype))


def _shift(x: Any, n: Any, left: bool) -> Any:
    kind = short_name(x.dtype)
    if not 0 <= n < 8 * x.dtype.itemsize:
        return wrap(0 if left or x >= 0 else -1, kind)
    return wrap(int(x) << int(n) if left else int(x) >> int(n), kind)


def _sigmoid(x: Any) -> Any:
    small = np.exp(-abs(x))
    return (type(x)(1) if x >= 0 else small) / (1 + small)


def _sigmoid_slope(x: Any) -> Any:
    small = np.exp(-abs(x))
    return small / ((1 + small) * (1 + small))


def _sech(x: Any) -> Any:
    small = np.exp(-abs(x))
    return 2 * small / (1 + small * small)


def _pow(x: Any, y: Any) -> Any:
    """C's pow; NumPy takes square roots for a scalar exponent of 0.5, which differ at -0 and -inf."""
    return np.power(np.stack([x, x]), np.stack([y, y]))[0]


def _call(returns: Any) -> Callable[..., Any]:
    def call(address: Any, *arguments: Any) -> Any:
        function = ctypes.CFUNCTYPE(returns, *[ctypes.c_int64] * len(arguments))(int(address))
        value = function(*map(int, arguments))
        return None if value is None else np.int64(value)

    return call


class _Buffer(int):
    """The address of memory that it keeps alive."""

    memory: Any


def _stack(nbytes: int) -> int:
    """Return the address of memory that lives as long as the number that is its address."""
    memory = np.empty(nbytes, np.uint8)
    address = _Buffer(memory.ctypes.data)
    address.memory = memory
    return address


def _transpose(
    address: int, size: int, to: int, origin: int, first: int, stride: int, rows: int, columns: int, pitch: int
) -> None:
    target, source = (Pointer(f"u{8 * size}", a) for a in (to, origin))
    for i in range(rows):
        for j in range(columns):
            target[i * pitch + j] = source[first + i + j * stride]


def _debug_globals() -> dict[str, Any]:
    numpy_names = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh"}
    numpy_names |= {"atanh": "arctanh", "atan2": "arctan2"}
    special = {"erf": "erf", "erfc": "erfc", "lgamma": "gammaln", "digamma": "digamma", "ndtr": "ndtr"}
    special["erfcx"] = "erfcx"
    elementary = [n for n in LIBM if n not in special and n not in ("fmod", "pow")]
    table: dict[str, Any] = {n: _floats(getattr(np, numpy_names.get(n, n))) for n in elementary}
    table |= {n: _special(name) for n, name in special.items()}
    table |= {n: _floats(getattr(np, n)) for n in ("sqrt", "copysign", "logaddexp")}
    table |= {n: _same(getattr(np, n)) for n in ("floor", "ceil", "trunc", "rint")}
    table |= {n: _quiet(getattr(np, n)) for n in ("isnan", "isinf", "isfinite")}
    table |= {kind: _scalar_cast(kind) for kind in _DTYPES}
    table |= {f"to_{kind}": _to_int(kind) for kind in _DTYPES if kind[0] in "iu"}
    table |= {n: functools.partial(with_numpy, n) for n in RANDOM}
    table |= {f"{kind}p": functools.partial(_pointer, kind) for kind in POINTER_KINDS}
    table |= {f"scalar_{n}": table[n] for n in ("sin", "cos")}
    return table | {
        "fabs": _same(abs),
        "pow": _floats(_pow),
        "signbit": lambda x: np.signbit(x) if isinstance(x, np.floating) else x < 0,
        "select": lambda condition, yes, no: np.result_type(yes, no).type(yes if condition else no),
        "sigmoid": _floats(_sigmoid),
        "softplus": _floats(lambda x: np.logaddexp(x, type(x)(0))),
        "sigmoid_slope": _floats(_sigmoid_slope),
        "sech": _floats(_sech),
        "exp_capped": _floats(lambda x: np.exp(np.fmin(x, type(x)(0)))),
        "normal_density": _floats(lambda x: np.exp(x * x / -2) * type(x)(0.3989422804014327)),
        "erfcx_slope": _floats(_erfcx_slope),
        "polygamma": _quiet(_polygamma),
        "fmax_nan": _extremum(True),
        "fmin_nan": _extremum(False),
        "fast_max": _extremum(True),
        "fast_min": _extremum(False),
        "radd": _same(lambda a, x: a + x),
        "rmul": _same(lambda a, x: a * x),
        "idiv": _idiv,
        "imod": _imod,
        "ipow": _ipow,
        "fdiv": _floats(np.floor_divide),
        "fmod_floor": _floats(np.remainder),
        "shl": lambda x, n: _shift(x, n, left=True),
        "shr": lambda x, n: _shift(x, n, left=False),
        "call_i64": _call(ctypes.c_int64),
        "call_void": _call(None),
        "prefetch": lambda pointer, index: None,
        "call_transpose": _transpose,
        "stack": _stack,
    }


def _pointer(kind: str, address: Any, scope: int = 0, group: int = 0) -> Pointer:
    return Pointer(kind, int(address))


DEBUG_GLOBALS: dict[str, Any] = _debug_globals()
VOCABULARY = frozenset(DEBUG_GLOBALS)
