"""glibc's vector mathematics library: which variants exist here, and the IR text that makes LLVM call them.

A scalar call whose call site carries `"vector-function-abi-variant"` is replaced by the loop vectoriser with the
vector symbol, provided the symbol is declared in the module and kept alive in `llvm.compiler.used`. A process that
loads cached objects needs the library and not the compiler.

Invariant: only symbols that the loaded libmvec exports, and that this CPU can run, are ever named.
"""

from __future__ import annotations

import re
from functools import cache

_UNARY = (
    *("exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc"),
)
VARIANTS = {**dict.fromkeys(_UNARY, 1), **dict.fromkeys(("atan2", "pow", "hypot"), 2)}
"""The functions taken from libmvec, with their arity."""

_LIBRARY = "libmvec.so.1"
_ISA = {"b": (16, "sse2"), "d": (32, "avx2"), "e": (64, "avx512f")}
"""Letter in the mangled name: vector bytes and the CPU feature it needs."""
_BYTES = {"f64": 8, "f32": 4}
_SYMBOL = re.compile(r"_ZGV([bde])N(\d+)(v+)_(\w+)")


def mangled(name: str, kind: str, isa: str) -> str:
    """Return the symbol of a vector variant, by the x86 vector function ABI.

    >>> mangled("exp", "f64", "e")
    '_ZGVeN8v_exp'
    """
    lanes = _ISA[isa][0] // _BYTES[kind]
    return f"_ZGV{isa}N{lanes}{'v' * VARIANTS[name]}_{name}{'f' if kind == 'f32' else ''}"


@cache
def has_libmvec() -> bool:
    """Load libmvec into the process, once; tell whether it and this CPU can serve."""
    return bool(_available())


@cache
def _available() -> frozenset[str]:
    """Return the vector symbols that exist in the loaded library and that the CPU can run."""
    import llvmlite.binding as llvm

    try:
        llvm.load_library_permanently(_LIBRARY)
    except RuntimeError:
        return frozenset()
    features = llvm.get_host_cpu_features()
    wanted = (mangled(n, k, i) for n in VARIANTS for k in _BYTES for i in _ISA if features.get(_ISA[i][1]))
    return frozenset(s for s in wanted if llvm.address_of_symbol(s))


@cache
def vector_variant(name: str, kind: str) -> tuple[str, ...]:
    """Return the usable vector symbols of a function for `f32` or `f64`, narrow to wide; empty if there are none."""
    if name not in VARIANTS or kind not in _BYTES:
        return ()
    return tuple(s for i in _ISA if (s := mangled(name, kind, i)) in _available())


@cache
def variant_attribute(name: str, kind: str) -> str:
    """Return the call-site attribute that names the vector variants, or an empty string."""
    symbols = vector_variant(name, kind)
    # LLVM's own name of a variant: _ZGV_LLVM_N<lanes>v_<scalar>(<symbol>).
    entries = (f"_ZGV_LLVM_{s[len('_ZGVe') :]}({s})" for s in symbols)
    return f'"vector-function-abi-variant"="{",".join(entries)}"' if symbols else ""


def declarations(ir_text: str) -> str:
    """Return the IR text to append to a module: its vector symbols declared, and kept alive."""
    found = {m.group(): m for m in _SYMBOL.finditer(ir_text)}
    if not found:
        return ""
    lines = [_declare(found[s]) for s in sorted(found) if "_graphc_" not in s]
    used = ", ".join(f"ptr @{s}" for s in sorted(found))
    keep = f'@llvm.compiler.used = appending global [{len(found)} x ptr] [{used}], section "llvm.metadata"'
    return "\n".join([*lines, keep, ""])


def _declare(symbol: re.Match[str]) -> str:
    isa, lanes, arity = symbol.group(1), int(symbol.group(2)), len(symbol.group(3))
    vector = f"<{lanes} x {'double' if _ISA[isa][0] // lanes == 8 else 'float'}>"
    return f"declare {vector} @{symbol.group()}({', '.join([vector] * arity)}) nounwind willreturn memory(none)"


def library_symbols() -> frozenset[str]:
    """Return every vector symbol that a kernel object may reference, on any machine."""
    return frozenset(mangled(n, k, i) for n in VARIANTS for k in _BYTES for i in _ISA)
