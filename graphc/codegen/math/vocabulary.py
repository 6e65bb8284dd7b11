"""The vocabulary of `vecmath` as instructions: what each name of a kernel's text appends to its LLVM text.

A row says which dtypes the operands are brought to, and the formula that takes them; a call becomes instructions at
its place, so a kernel's module is complete in itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from graphc.codegen.math import formulas, gammas, gaussian, logistic
from graphc.codegen.math.emit import Emitter, Value
from graphc.codegen.math.vecmath import LIBM, POINTER_KINDS
from graphc.graph.errors import CompileError
from graphc.ops.random_table import FORMULAS as RANDOM
from graphc.ops.random_table import Formula as RandomFormula

Kinds = Sequence[str]
Rule = Callable[[Kinds], Kinds]
"""From the operands' dtypes to those that the formula wants."""


@dataclass(frozen=True)
class Function:
    """A function of the vocabulary; `exact`: its bits do not depend on the precision asked for."""

    operands: int
    rule: Rule
    formula: Callable[..., Value]
    exact: bool = True


def common(kinds: Kinds) -> str:
    """Return the dtype that holds what all of these hold, as far as kernels mix them. Raises `CompileError`."""
    found = set(kinds)
    if len(found) == 1:
        return kinds[0]
    if found <= {"f32", "f64"} or (any(k[0] == "f" for k in found) and "bool" not in found):
        return "f64"
    widths = [int(k[1:]) for k in found if k != "bool"]
    signs = {k[0] for k in found if k != "bool"}
    if "bool" not in found and len(signs) == 1:
        return f"{signs.pop()}{max(widths)}"
    raise CompileError(f"no common number type of {', '.join(kinds)}")


def arithmetic(kinds: Kinds) -> str:
    """Return the dtype that operators compute in: floats as they are, integers in 64 bits."""
    floats = {k for k in kinds if k[0] == "f"}
    if floats:
        return "f32" if floats == {"f32"} and len(set(kinds)) == 1 else "f64"
    return "u64" if all(k[0] == "u" for k in kinds) else "i64"


def _floats(kinds: Kinds) -> Kinds:
    """Elementary functions compute in the widest float among the operands, float64 if there is none."""
    floats = {k for k in kinds if k[0] == "f"}
    return ["f32" if floats == {"f32"} else "f64"] * len(kinds)


def _same(kinds: Kinds) -> Kinds:
    return [common(kinds)] * len(kinds)


def _choice(kinds: Kinds) -> Kinds:
    return ["bool", *_same(kinds[1:])]


def _shift(kinds: Kinds) -> Kinds:
    return [kinds[0]] * 2


def _as_given(kinds: Kinds) -> Kinds:
    return kinds


def _cast(kind: str, m: Emitter, x: Value) -> Value:
    return formulas.to_int(kind, m, x) if kind[0] in "iu" else m.convert(x, kind)


def _casts() -> dict[str, Function]:
    names = {name: kind for kind in POINTER_KINDS for name in (kind, f"to_{kind}")}
    allowed = {n: k for n, k in names.items() if n == k or k[0] in "iu"}
    return {name: Function(1, _as_given, partial(_cast, kind)) for name, kind in allowed.items()}


def _random(formula: RandomFormula) -> tuple[int, Rule, Callable[..., Value]]:
    """Return the row of a formula of random numbers, whose operands have types of their own."""
    compute = lambda m, *operands: m.convert(formula.function(m, *operands), formula.result)  # noqa: E731
    return len(formula.operands), lambda kinds: formula.operands, compute


_EXACT: dict[str, tuple[int, Rule, Callable[..., Value]]] = {
    "sqrt": (1, _floats, lambda m, x: m.sqrt(x)),
    "copysign": (2, _floats, lambda m, x, y: m.copysign(x, y)),
    **{n: (1, _same, partial(formulas.rounded, n)) for n in ("floor", "ceil", "trunc", "rint")},
    "fabs": (1, _same, formulas.fabs),
    **{n: (1, _same, getattr(formulas, n)) for n in ("isnan", "isinf", "isfinite", "signbit")},
    "select": (3, _choice, lambda m, c, a, b: m.select(c, a, b)),
    "fmax_nan": (2, _same, formulas.fmax_nan),
    "fmin_nan": (2, _same, formulas.fmin_nan),
    "fast_max": (2, _same, partial(formulas.fast_extremum, ">")),
    "fast_min": (2, _same, partial(formulas.fast_extremum, "<")),
    "radd": (2, _same, partial(formulas.reassociated, "+")),
    "rmul": (2, _same, partial(formulas.reassociated, "*")),
    "idiv": (2, _same, formulas.idiv),
    "imod": (2, _same, formulas.imod),
    "ipow": (2, _same, formulas.ipow),
    "fdiv": (2, _floats, formulas.fdiv),
    "fmod_floor": (2, _floats, formulas.fmod_floor),
    "shl": (2, _shift, formulas.shl),
    "shr": (2, _shift, formulas.shr),
    **{name: _random(formula) for name, formula in RANDOM.items()},
}
_COMPOSED: dict[str, tuple[int, Callable[..., Value]]] = {
    "lgamma": (1, formulas.lgamma),
    "digamma": (1, gammas.digamma),
    "sigmoid": (1, logistic.sigmoid),
    "softplus": (1, logistic.softplus),
    "sigmoid_slope": (1, logistic.sigmoid_slope),
    "sech": (1, logistic.sech),
    "exp_capped": (1, logistic.exp_capped),
    "ndtr": (1, gaussian.ndtr),
    "normal_density": (1, gaussian.normal_density),
    "erfcx": (1, gaussian.erfcx),
    "erfcx_slope": (1, gaussian.erfcx_slope),
    "logaddexp": (2, logistic.logaddexp),
    "scalar_sin": (1, partial(formulas.scalar, "sin")),
    "scalar_cos": (1, partial(formulas.scalar, "cos")),
}
_BINARY = ("atan2", "pow", "hypot", "nextafter")


def _library(name: str, m: Emitter, *operands: Value) -> Value:
    return m.call(name, *operands)


@cache
def functions() -> dict[str, Function]:
    """Return the functions of numbers by name; pointers, calls and tiles are `numba_types`' own."""
    table = {**_casts(), **{name: Function(*row) for name, row in _EXACT.items()}}
    table |= {n: Function(operands, _floats, formula, exact=False) for n, (operands, formula) in _COMPOSED.items()}
    for name in (n for n in LIBM if n not in ("fmod", "lgamma")):
        table[name] = Function(2 if name in _BINARY else 1, _floats, partial(_library, name), exact=False)
    return table
