"""The vocabulary of `vecmath` as Numba intrinsics: what a rendered kernel's globals are when it is compiled.

An intrinsic appends its instructions at the call, through `emit.Emitter`; no helper function is compiled or linked,
so a kernel's module is complete in itself. `jit_globals` is the entry; `declarations` gives the text that a module
with vector calls still needs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from graphc.codegen import formulas, gammas, gaussian, logistic
from graphc.codegen.emit import Emitter, Value
from graphc.codegen.libmvec import declarations, has_libmvec
from graphc.codegen.pointers import CONSTRUCTORS, NUMBA_TYPES, prefetch
from graphc.codegen.tiles import tile_intrinsics
from graphc.codegen.vecmath import LIBM, MAX_CALL_ARGUMENTS, PRECISIONS
from graphc.ops.random_table import FORMULAS as RANDOM
from graphc.ops.random_table import Formula as RandomFormula

__all__ = ["declarations", "has_libmvec", "jit_globals"]

Formula = Callable[..., Value]
_KINDS = {t: kind for kind, t in NUMBA_TYPES.items()}


def _plain(type_: Any) -> Any:
    """Return the type of a literal's value; other types as they are."""
    return getattr(type_, "literal_type", type_)


def _float_operands(context: Any, args: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """Elementary functions compute in the widest float among the operands, float64 if there is none."""
    floats = [a for a in args if isinstance(a, types.Float)]
    found = types.float32 if floats and all(a == types.float32 for a in floats) else types.float64
    return [found] * len(args), found


def _same_operands(context: Any, args: tuple[Any, ...]) -> tuple[list[Any], Any]:
    found = _common(context, args)
    return [found] * len(args), found


def _predicate(context: Any, args: tuple[Any, ...]) -> tuple[list[Any], Any]:
    return _same_operands(context, args)[0], types.boolean


def _select_operands(context: Any, args: tuple[Any, ...]) -> tuple[list[Any], Any]:
    found = _common(context, args[1:])
    return [types.boolean, found, found], found


def _shift_operands(context: Any, args: tuple[Any, ...]) -> tuple[list[Any], Any]:
    return [args[0], args[0]], args[0]


def _random_row(formula: RandomFormula) -> _Row:
    """Return the row of a formula of random numbers, whose operands have types of their own."""
    operands = [NUMBA_TYPES[kind] for kind in formula.operands]
    rule = lambda context, args: (operands, NUMBA_TYPES[formula.result])  # noqa: E731
    return len(operands), rule, formula.function


def _common(context: Any, args: tuple[Any, ...]) -> Any:
    found = context.unify_types(*args)
    if found not in _KINDS:
        raise TypingError(f"no common number type of {', '.join(map(str, args))}")
    return found


def _make(name: str, arity: int, rule: Callable[..., Any], formula: Formula, precision: str) -> Any:
    """Make the intrinsic `name`: `rule` types it, `formula` emits it."""

    def resolve(context: Any, *args: Any) -> Any:
        plain = tuple(_plain(a) for a in args)
        operands, result = rule(context, plain)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            machine = Emitter(builder, precision)
            typed = (Value(machine, v, _KINDS[t]) for v, t in zip(values, signature.args, strict=True))
            return formula(machine, *typed).ir

        return result(*operands), codegen

    # Numba reads the number of operands from the signature.
    shapes: dict[int, Callable[..., Any]] = {
        1: lambda typingctx, a: resolve(typingctx, a),
        2: lambda typingctx, a, b: resolve(typingctx, a, b),
        3: lambda typingctx, a, b, c: resolve(typingctx, a, b, c),
        5: lambda typingctx, a, b, c, d, e: resolve(typingctx, a, b, c, d, e),
        6: lambda typingctx, a, b, c, d, e, f: resolve(typingctx, a, b, c, d, e, f),
    }
    defined = shapes[arity]
    defined.__name__ = defined.__qualname__ = name
    return intrinsic(defined)


def _cast_rule(kind: str) -> Callable[..., Any]:
    return lambda context, args: (list(args), NUMBA_TYPES[kind])


def _cast(kind: str, m: Emitter, x: Value) -> Value:
    return formulas.to_int(kind, m, x) if kind[0] in "iu" else m.convert(x, kind)


def _casts() -> dict[str, Any]:
    out = {}
    for kind in NUMBA_TYPES:
        for name in (kind, f"to_{kind}") if kind[0] in "iu" else (kind,):
            out[name] = _make(name, 1, _cast_rule(kind), partial(_cast, kind), "libm")
    return out


_Row = tuple[int, Callable[..., Any], Formula]
_SHARED: dict[str, _Row] = {
    "sqrt": (1, _float_operands, lambda m, x: m.sqrt(x)),
    "copysign": (2, _float_operands, lambda m, x, y: m.copysign(x, y)),
    **{n: (1, _same_operands, partial(formulas.rounded, n)) for n in ("floor", "ceil", "trunc", "rint")},
    "fabs": (1, _same_operands, formulas.fabs),
    **{n: (1, _predicate, getattr(formulas, n)) for n in ("isnan", "isinf", "isfinite", "signbit")},
    "select": (3, _select_operands, lambda m, c, a, b: m.select(c, a, b)),
    "fmax_nan": (2, _same_operands, formulas.fmax_nan),
    "fmin_nan": (2, _same_operands, formulas.fmin_nan),
    "fast_max": (2, _same_operands, partial(formulas.fast_extremum, ">")),
    "fast_min": (2, _same_operands, partial(formulas.fast_extremum, "<")),
    "radd": (2, _same_operands, partial(formulas.reassociated, "fadd")),
    "rmul": (2, _same_operands, partial(formulas.reassociated, "fmul")),
    "idiv": (2, _same_operands, formulas.idiv),
    "imod": (2, _same_operands, formulas.imod),
    "ipow": (2, _same_operands, formulas.ipow),
    "fdiv": (2, _float_operands, formulas.fdiv),
    "fmod_floor": (2, _float_operands, formulas.fmod_floor),
    "shl": (2, _shift_operands, formulas.shl),
    "shr": (2, _shift_operands, formulas.shr),
    **{name: _random_row(formula) for name, formula in RANDOM.items()},
}
_COMPOSED: dict[str, _Row] = {
    "lgamma": (1, _float_operands, formulas.lgamma),
    "digamma": (1, _float_operands, gammas.digamma),
    "sigmoid": (1, _float_operands, logistic.sigmoid),
    "softplus": (1, _float_operands, logistic.softplus),
    "sigmoid_slope": (1, _float_operands, logistic.sigmoid_slope),
    "sech": (1, _float_operands, logistic.sech),
    "exp_capped": (1, _float_operands, logistic.exp_capped),
    "ndtr": (1, _float_operands, gaussian.ndtr),
    "normal_density": (1, _float_operands, gaussian.normal_density),
    "logaddexp": (2, _float_operands, logistic.logaddexp),
    "scalar_sin": (1, _float_operands, partial(formulas.scalar, "sin")),
    "scalar_cos": (1, _float_operands, partial(formulas.scalar, "cos")),
}
_BINARY = ("atan2", "pow", "hypot", "nextafter")


def _elementary(name: str) -> _Row:
    return (2 if name in _BINARY else 1), _float_operands, lambda m, *xs: m.call(name, *xs)


def _polygamma(precision: str) -> Any:
    """Make `polygamma(n, x)`, which needs its order while the kernel is compiled."""

    def polygamma(typingctx: Any, n: Any, x: Any) -> Any:
        if not isinstance(n, types.IntegerLiteral) or n.literal_value < 0:
            raise TypingError(f"the order of polygamma is a literal int of at least 0, got {n}")
        result = _float_operands(typingctx, (_plain(x),))[1]

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            machine = Emitter(builder, precision)
            return gammas.polygamma(n.literal_value, machine, Value(machine, values[1], _KINDS[result])).ir

        return result(n, result), codegen

    return intrinsic(prefer_literal=True)(polygamma)


def _stack() -> Any:
    """Make `stack(n)`: memory of the kernel's own frame, a cache line's multiple."""

    def stack(typingctx: Any, nbytes: Any) -> Any:
        if not isinstance(nbytes, types.IntegerLiteral):
            raise TypingError(f"the size of memory on the stack is a literal, got {nbytes}")

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            with builder.goto_entry_block():
                memory = builder.alloca(ir.ArrayType(ir.IntType(8), nbytes.literal_value))
                memory.align = 64
            return builder.ptrtoint(memory, ir.IntType(64))

        return types.int64(nbytes), codegen

    return intrinsic(prefer_literal=True)(stack)


def _native_call(name: str, returns: Any, skip: int = 0) -> Any:
    """Make a call of a C function `int64 f(int64, ...)` at an address; it gets all but the first `skip` operands."""

    def call(typingctx: Any, address: Any, *arguments: Any) -> Any:
        count = len(arguments)
        if count > MAX_CALL_ARGUMENTS or not all(isinstance(t, types.Integer) for t in arguments):
            raise TypingError(f"{name} takes an address and up to {MAX_CALL_ARGUMENTS} integers")

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            word = ir.IntType(64)
            result = ir.VoidType() if returns is types.void else word
            function = builder.inttoptr(values[0], ir.FunctionType(result, [word] * (count - skip)).as_pointer())
            called = builder.call(function, [builder.extract_value(values[1], i) for i in range(skip, count)])
            return context.get_dummy_value() if returns is types.void else called

        return returns(types.int64, types.Tuple([types.int64] * count)), codegen

    call.__name__ = call.__qualname__ = name
    return intrinsic(call)


@cache
def _shared() -> dict[str, Any]:
    table = {name: _make(name, *row, "libm") for name, row in _SHARED.items()}
    calls = {"call_i64": _native_call("call_i64", types.int64), "call_void": _native_call("call_void", types.void)}
    calls |= {"call_transpose": _native_call("call_transpose", types.void, skip=1), "stack": _stack()}
    return {**_casts(), **table, **calls, **CONSTRUCTORS, "prefetch": prefetch, **tile_intrinsics()}


@cache
def jit_globals(precision: str = "vector") -> dict[str, Any]:
    """Return the globals of a kernel to compile: every name of the vocabulary as an intrinsic.

    `precision` (`vector`, `polynomial` or `libm`) says where elementary functions come from: see `emit.Emitter`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; accepted: {', '.join(PRECISIONS)}")
    names = [n for n in LIBM if n not in ("fmod", "lgamma")]
    rows = {**{n: _elementary(n) for n in names}, **_COMPOSED}
    made = {name: _make(name, *row, precision) for name, row in rows.items()}
    return {**_shared(), **made, "polygamma": _polygamma(precision)}
