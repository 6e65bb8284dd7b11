"""Functions inside a kernel's module that replace rare results by the C library's, one vector at a time.

`beyond(x, usual)` is `usual` where |x| is at most a limit and `f(x)` elsewhere. Its vector variants test all lanes
at once; `jit` inlines them after the vectoriser has run, so a vectorised loop pays a comparison and a branch, and
keeps its registers: only the branch that is never taken has a call. The variants are named by the x86 vector
function ABI's scheme on every machine; `libmvec.declarations` keeps them alive until then.
"""

from __future__ import annotations

from graphc.codegen.math.llvm_text import TYPES, Body, literal

_LANES = {"f64": {"b": 2, "d": 4, "e": 8}, "f32": {"b": 4, "d": 8, "e": 16}}
_RARE = "noinline cold minsize optsize"


def variants(name: str, kind: str) -> str:
    """Return the call-site attribute that names the vector variants of a correction."""
    entries = (
        f"_ZGV_LLVM_N{lanes}vv_{_scalar(name, kind)}({symbol})" for lanes, symbol in _symbols(name, kind).items()
    )
    return f'"vector-function-abi-variant"="{",".join(entries)}"'


def declare(body: Body, name: str, kind: str, limit: float) -> str:
    """Return the symbol of the correction to the libm function `name`, defined in the module on first use."""
    scalar = _scalar(name, kind)
    if scalar not in body.outside:
        libm = name + ("f" if kind == "f32" else "")
        body.declare(libm, TYPES[kind], [TYPES[kind]])
        body.outside[scalar] = _define_scalar(scalar, libm, kind, limit)
        for lanes, symbol in _symbols(name, kind).items():
            body.outside[symbol] = _define_vector(symbol, scalar, kind, lanes, limit)
    return scalar


def _scalar(name: str, kind: str) -> str:
    return f"graphc_{name}_{kind}"


def _symbols(name: str, kind: str) -> dict[int, str]:
    return {lanes: f"_ZGV{isa}N{lanes}vv_{_scalar(name, kind)}" for isa, lanes in _LANES[kind].items()}


def _define_scalar(symbol: str, libm: str, kind: str, limit: float) -> str:
    real, bound = TYPES[kind], [literal(b, kind) for b in (limit, -limit)]
    # weak_odr, here and below: linkers drop internal functions that nothing calls yet.
    return f"""define weak_odr {real} @{symbol}({real} %x, {real} %usual) nounwind {_RARE} {{
  %above = fcmp ugt {real} %x, {bound[0]}
  %below = fcmp ult {real} %x, {bound[1]}
  %outside = or i1 %above, %below
  br i1 %outside, label %rare, label %done
rare:
  %exact = call {real} @{libm}({real} %x)
  ret {real} %exact
done:
  ret {real} %usual
}}"""


def _define_vector(symbol: str, scalar: str, kind: str, lanes: int, limit: float) -> str:
    """Define the variant: `usual` unless a lane is affected; and what it calls then, one lane by lane."""
    real = TYPES[kind]
    whole, each = f"<{lanes} x {real}>", f"{scalar}_{lanes}"
    bound = [", ".join([f"{real} {literal(b, kind)}"] * lanes) for b in (limit, -limit)]
    return f"""define weak_odr {whole} @{symbol}({whole} %x, {whole} %usual) nounwind alwaysinline {{
entry:
  %above = fcmp ugt {whole} %x, <{bound[0]}>
  %below = fcmp ult {whole} %x, <{bound[1]}>
  %outside = or <{lanes} x i1> %above, %below
  %mask = bitcast <{lanes} x i1> %outside to i{lanes}
  %any = icmp ne i{lanes} %mask, 0
  br i1 %any, label %rare, label %done, !prof !{{!"branch_weights", i32 1, i32 100000}}
rare:
  %corrected = call {whole} @{each}({whole} %x, {whole} %usual)
  br label %done
done:
  %final = phi {whole} [ %usual, %entry ], [ %corrected, %rare ]
  ret {whole} %final
}}
define weak_odr {whole} @{each}({whole} %x, {whole} %usual) nounwind {_RARE} {{
entry:
  br label %loop
loop:
  %lane = phi i32 [ 0, %entry ], [ %next, %loop ]
  %result = phi {whole} [ %usual, %entry ], [ %inserted, %loop ]
  %x.one = extractelement {whole} %x, i32 %lane
  %usual.one = extractelement {whole} %usual, i32 %lane
  %exact = call {real} @{scalar}({real} %x.one, {real} %usual.one)
  %inserted = insertelement {whole} %result, {real} %exact, i32 %lane
  %next = add i32 %lane, 1
  %more = icmp ult i32 %next, {lanes}
  br i1 %more, label %loop, label %done
done:
  ret {whole} %inserted
}}"""
