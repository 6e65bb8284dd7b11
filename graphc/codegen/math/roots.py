"""Powers of two by sixteenths, looked up in a vector register: they shorten the polynomial of the exponential.

AVX-512 permutes 16 entries by the low bits of another register and scales by powers of two, which scalar LLVM code
cannot say. So kernels call functions of ours, `graphc_root_f64` and others, that carry the names of vector variants
as libmvec's do; after the vectoriser has run, `jit` links the definitions that are called and inlines them. A scalar
call is the vector one with one lane in use, and so has the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from graphc.codegen.math.coefficients import F32, F64
from graphc.codegen.math.llvm_text import TYPES, literal

ROOTS = 16
"""A power of two: entries that one instruction looks up."""
_TABLES = {"root": "ROOTS", "rest": "ROOT_RESTS"}
_TYPES = {"f64": ("double", "i64", 8, "pd", F64), "f32": ("float", "i32", 16, "ps", F32)}
_LANES = {"f64": {"b": 2, "d": 4, "e": 8}, "f32": {"b": 4, "d": 8, "e": 16}}
_SYMBOL = re.compile(r"(?:_ZGV[bde]N(\d+)v+_)?graphc_(root|rest|scale)_(f64|f32)$")


def variants(name: str, kind: str) -> str:
    """Return the call-site attribute that names the vector variants of `root`, `rest` or `scale`."""
    v = "vv" if name == "scale" else "v"
    scalar = symbol(name, kind)
    entries = (f"_ZGV_LLVM_N{n}{v}_{scalar}(_ZGV{isa}N{n}{v}_{scalar})" for isa, n in _LANES[kind].items())
    return f'"vector-function-abi-variant"="{",".join(entries)}"'


def symbol(name: str, kind: str) -> str:
    """Return the name of the scalar function."""
    return f"graphc_{name}_{kind}"


def declarations(text: str) -> str:
    """Return the declarations of the vector variants that the calls in a module may become."""
    found = sorted(set(re.findall(r"_ZGV[bde]N\d+v+_graphc_(?:root|rest|scale)_f\d\d", text)))
    return "".join(f"declare {_head(s)} nounwind willreturn memory(none)\n" for s in found)


def definitions(symbols: Iterable[str]) -> str:
    """Return the module that defines those of the symbols that are ours; empty if there are none."""
    found = [s for s in symbols if _SYMBOL.match(s)]
    return "\n".join(map(_define, found)) + _INTRINSICS if found else ""


_INTRINSICS = """
declare <8 x double> @llvm.x86.avx512.vpermi2var.pd.512(<8 x double>, <8 x i64>, <8 x double>)
declare <16 x float> @llvm.x86.avx512.permvar.sf.512(<16 x float>, <16 x i32>)
declare <8 x double> @llvm.x86.avx512.mask.scalef.pd.512(<8 x double>, <8 x double>, <8 x double>, i8, i32)
declare <16 x float> @llvm.x86.avx512.mask.scalef.ps.512(<16 x float>, <16 x float>, <16 x float>, i16, i32)
"""


def _head(symbol: str) -> str:
    lanes, name, kind = _parsed(symbol)
    real, integer = (_vector(t, lanes) for t in _TYPES[kind][:2])
    return f"{real} @{symbol}({f'{real} %x, {real} %k' if name == 'scale' else f'{integer} %x'})"


def _parsed(symbol: str) -> tuple[int, str, str]:
    match = _SYMBOL.match(symbol)
    assert match is not None
    return int(match[1] or 0), match[2], match[3]


def _vector(type_: str, lanes: int) -> str:
    return f"<{lanes} x {type_}>" if lanes else type_


def _define(symbol: str) -> str:
    """Define a function of any number of lanes by widening to a whole register."""
    lanes, name, kind = _parsed(symbol)
    real, integer, width, suffix, table = _TYPES[kind]
    if name == "scale":
        body = [*_widen("x", real, lanes, width), *_widen("k", real, lanes, width), *_scaled(real, width, suffix)]
    else:
        body = [*_widen("x", integer, lanes, width), _looked_up(table[_TABLES[name]], kind)]
    lines = "\n".join(f"  {line}" for line in [*body, *_narrow(real, lanes, width)])
    return f"define available_externally {_head(symbol)} alwaysinline nounwind willreturn memory(none) {{\n{lines}\n}}"


def _widen(name: str, type_: str, lanes: int, width: int) -> list[str]:
    whole = f"<{width} x {type_}>"
    if not lanes:
        return [f"%wide.{name} = insertelement {whole} poison, {type_} %{name}, i32 0"]
    places = ", ".join(f"i32 {i}" if i < lanes else "i32 poison" for i in range(width))
    part = f"<{lanes} x {type_}>"
    return [f"%wide.{name} = shufflevector {part} %{name}, {part} poison, <{width} x i32> <{places}>"]


def _narrow(type_: str, lanes: int, width: int) -> list[str]:
    whole = f"<{width} x {type_}>"
    if not lanes:
        return [f"%found = extractelement {whole} %wide, i32 0", f"ret {type_} %found"]
    places = ", ".join(f"i32 {i}" for i in range(lanes))
    narrowed = f"%found = shufflevector {whole} %wide, {whole} poison, <{lanes} x i32> <{places}>"
    return [narrowed, f"ret <{lanes} x {type_}> %found"]


def _looked_up(entries: tuple[float, ...], kind: str) -> str:
    numbers = [f"{TYPES[kind]} {literal(e, kind)}" for e in entries]
    if kind == "f32":
        return (
            f"%wide = call <16 x float> @llvm.x86.avx512.permvar.sf.512(<16 x float> <{', '.join(numbers)}>, "
            "<16 x i32> %wide.x)"
        )
    low, high = (", ".join(numbers[i : i + 8]) for i in (0, 8))
    return (
        f"%wide = call <8 x double> @llvm.x86.avx512.vpermi2var.pd.512(<8 x double> <{low}>, <8 x i64> %wide.x, "
        f"<8 x double> <{high}>)"
    )


def _scaled(real: str, width: int, suffix: str) -> list[str]:
    whole = f"<{width} x {real}>"
    return [
        f"%wide = call {whole} @llvm.x86.avx512.mask.scalef.{suffix}.512({whole} %wide.x, {whole} %wide.k, "
        f"{whole} zeroinitializer, i{width} -1, i32 4)"
    ]
