"""The bodies of words: LLVM functions that Numba's lowering calls, and that are inlined before anything else happens.

The formulas stay where they are: each is appended once by `emit.Emitter` to a function of its own, whose text is kept
for the life of the process, so that a kernel costs the names of the words that it calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from graphc.codegen.math import formulas, gammas
from graphc.codegen.math.emit import Emitter, Value
from graphc.codegen.math.llvm_text import TYPES, Body
from graphc.codegen.math.tiles import tiles
from graphc.codegen.math.vecmath import DEBUG_GLOBALS, wrap
from graphc.codegen.math.vocabulary import arithmetic, functions

CONVERT, ORDER = "convert ", "order "


@dataclass(frozen=True)
class WordText:
    """A function of LLVM text, and what stands outside of it.

    `weight` is its instructions; `forks` whether it has loops or branches; `plain` is the operand that it returns as it
    is, or -1.
    """

    symbol: str
    kind: str
    text: str
    outside: dict[str, str]
    weight: int
    forks: bool
    plain: int


@cache
def word_text(name: str, kinds: tuple[str, ...], precision: str) -> WordText:
    """Return a word for operands of these dtypes; `precision` is `emit.Emitter`'s."""
    body = Body()
    machine = Emitter(body, precision)
    given = [Value(machine, f"%a{i}", kind) for i, kind in enumerate(kinds)]
    found = emit_word(name, machine, given)
    symbol = f'"{name} {" ".join(kinds)}"'
    operands = ", ".join(f"{TYPES[k]} %a{i}" for i, k in enumerate(kinds))
    head = f"define internal {TYPES[found.kind]} @{symbol}({operands}) alwaysinline nounwind {{"
    lines = [head, "entry:", "  br label %start", "start:", *body.lines, f"  ret {found.typed}", "}"]
    plain = int(found.text[2:]) if found.text.startswith("%a") and not body.lines else -1
    text, weight = "\n".join(lines), len(body.lines)
    return WordText(symbol[1:-1], found.kind, text, body.outside, weight, body.forks > 0, plain)


def _converted(machine: Emitter, given: list[Value], kind: str) -> list[Value]:
    return [machine.convert(x, kind) for x in given]


def emit_word(name: str, machine: Emitter, given: list[Value]) -> Value:
    """Append a word or an operator, by its name, to a machine."""
    kinds = [x.kind for x in given]
    if name.startswith(CONVERT):
        return machine.convert(given[0], name.removeprefix(CONVERT))
    if name.startswith(ORDER):
        kind = kinds[0] if kinds[0] == kinds[1] else arithmetic(kinds)
        left, right = _converted(machine, given, kind)
        return machine.compare(name.removeprefix(ORDER), left, right)
    if name.startswith("polygamma "):
        (x,) = _converted(machine, given, "f32" if kinds == ["f32"] else "f64")
        return gammas.polygamma(int(name.removeprefix("polygamma ")), machine, x)
    if name == "not":
        return ~machine.convert(given[0], "bool")
    if name.startswith("__"):
        kind = arithmetic(kinds)
        if set(kinds) == {"bool"} and name in ("__and__", "__or__", "__xor__", "__invert__"):
            kind = "bool"
        if name == "__truediv__" and kind[0] != "f":
            kind = "f64"
        operands = _converted(machine, given, kind)
        operated: Value = getattr(operands[0], name)(*operands[1:])
        return operated
    if name == "floordiv":
        return formulas.idiv(machine, *_converted(machine, given, arithmetic(kinds)))
    function = functions()[name]
    exact = machine.at("libm") if function.exact else machine
    wanted = function.rule(kinds)
    converted = [machine.convert(x, k) for x, k in zip(given, wanted, strict=True)]
    value: Value = function.formula(exact, *(Value(exact, x.text, x.kind) for x in converted))
    return value


@cache
def tile_text(name: str, types: tuple[str, ...]) -> WordText:
    """Return a tile as a function of operands of these LLVM types."""
    body = Body()
    tiles()[name](body, [f"%a{i}" for i in range(len(types))])
    operands = ", ".join(f"{t} %a{i}" for i, t in enumerate(types))
    head = f"define internal void @{name}({operands}) alwaysinline nounwind {{"
    lines = [head, "entry:", "  br label %start", "start:", *body.lines, "  ret void", "}"]
    return WordText(name, "", "\n".join(lines), body.outside, len(body.lines), body.forks > 0, -1)


def literal_cast(number: float, kind: str) -> str:
    """Return a literal that is cast, as LLVM text: a constant is rounded once."""
    machine = Emitter(Body(), "libm")
    if kind[0] in "iu":
        if not isinstance(number, float):
            return machine.constant(int(wrap(int(number), kind)), kind).text
        return machine.constant(int(DEBUG_GLOBALS[f"to_{kind}"](number)), kind).text
    return machine.constant(number, kind).text
