"""Functions inside a kernel's module that replace rare results by the C library's, one vector at a time.

`beyond(x, usual)` is `usual` where |x| is at most a limit and `f(x)` elsewhere. Its vector variants test all lanes
at once; `jit` inlines them after the vectoriser has run, so a vectorised loop pays a comparison and a branch, and
keeps its registers: only the branch that is never taken has a call. The variants are named by the x86 vector
function ABI's scheme on every machine; `libmvec.declarations` keeps them alive until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import llvmlite.ir as ir

_LANES = {"f64": {"b": 2, "d": 4, "e": 8}, "f32": {"b": 4, "d": 8, "e": 16}}

_INDEX = ir.IntType(32)


@dataclass(frozen=True)
class Correction:
    """The scalar function, and the call-site attribute that names its vector variants."""

    function: Any
    attribute: str


def declare(module: Any, name: str, kind: str, limit: float) -> Correction:
    """Return the correction to the libm function `name`, defined in the module on first use."""
    scalar = f"graphc_{name}_{kind}"
    variants = {lanes: f"_ZGV{isa}N{lanes}vv_{scalar}" for isa, lanes in _LANES[kind].items()}
    if scalar not in module.globals:
        _define_scalar(module, scalar, name + ("f" if kind == "f32" else ""), kind, limit)
        for lanes, symbol in variants.items():
            _define_vector(module, symbol, module.globals[scalar], lanes, limit)
    entries = ",".join(f"_ZGV_LLVM_N{lanes}vv_{scalar}({symbol})" for lanes, symbol in variants.items())
    return Correction(module.globals[scalar], f'"vector-function-abi-variant"="{entries}"')


def _define(module: Any, symbol: str, type_: Any, *attributes: str) -> tuple[Any, Any]:
    function = ir.Function(module, ir.FunctionType(type_, [type_, type_]), symbol)
    function.linkage = "weak_odr"  # linkers drop internal functions that nothing calls yet
    for attribute in ("nounwind", *attributes):
        function.attributes.add(attribute)
    return function, ir.IRBuilder(function.append_basic_block("entry"))


_RARE = ("noinline", "cold", "minsize", "optsize")


def _define_scalar(module: Any, symbol: str, libm: str, kind: str, limit: float) -> None:
    type_ = ir.DoubleType() if kind == "f64" else ir.FloatType()
    function, builder = _define(module, symbol, type_, *_RARE)
    x, usual = function.args
    with builder.if_then(_outside(builder, x, limit), likely=False):
        callee = module.globals.get(libm) or ir.Function(module, ir.FunctionType(type_, [type_]), libm)
        builder.ret(builder.call(callee, [x]))
    builder.ret(usual)


def _define_vector(module: Any, symbol: str, scalar: Any, lanes: int, limit: float) -> None:
    """Define the variant: `usual` unless a lane is affected."""
    type_ = ir.VectorType(scalar.function_type.return_type, lanes)
    each = _define_each(module, f"{scalar.name}_{lanes}", scalar, type_)
    function, builder = _define(module, symbol, type_, "alwaysinline")
    x, usual = function.args
    mask = builder.bitcast(_outside(builder, x, limit), ir.IntType(lanes))
    rare, done = builder.append_basic_block("rare"), builder.append_basic_block("done")
    entry = builder.block
    builder.cbranch(builder.icmp_unsigned("!=", mask, mask.type(0)), rare, done).set_weights([1, 100_000])
    builder.position_at_end(rare)
    corrected = builder.call(each, [x, usual])
    builder.branch(done)
    builder.position_at_end(done)
    final = builder.phi(type_)
    final.add_incoming(usual, entry)
    final.add_incoming(corrected, rare)
    builder.ret(final)


def _define_each(module: Any, symbol: str, scalar: Any, type_: Any) -> Any:
    """Define the function that applies the scalar one lane by lane."""
    function, builder = _define(module, symbol, type_, *_RARE)
    x, usual = function.args
    loop, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
    entry = builder.block
    builder.branch(loop)
    builder.position_at_end(loop)
    lane, result = builder.phi(_INDEX), builder.phi(type_)
    pair = [builder.extract_element(v, lane) for v in (x, usual)]
    inserted = builder.insert_element(result, builder.call(scalar, pair), lane)
    following = builder.add(lane, _INDEX(1))
    builder.cbranch(builder.icmp_unsigned("<", following, _INDEX(type_.count)), loop, done)
    for phi, first, later in ((lane, _INDEX(0), following), (result, usual, inserted)):
        phi.add_incoming(first, entry)
        phi.add_incoming(later, loop)
    builder.position_at_end(done)
    builder.ret(inserted)
    return function


def _outside(builder: Any, x: Any, limit: float) -> Any:
    """Return whether -limit <= x <= limit fails, for each lane."""
    high, low = (_splat(x.type, bound) for bound in (limit, -limit))
    return builder.or_(builder.fcmp_unordered(">", x, high), builder.fcmp_unordered("<", x, low))


def _splat(type_: Any, number: float) -> Any:
    return ir.Constant(type_, [number] * type_.count if isinstance(type_, ir.VectorType) else number)
