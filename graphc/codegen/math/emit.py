"""Scalar values of a kernel under construction: Python operators that append LLVM instructions.

`elementary`, `formulas` and `gammas` write mathematics once, branch-free and for every dtype, in ordinary Python on
`Value`s. Each operator appends one instruction through the `Emitter`, so a function costs no type inference, no
linking and no call.

Invariant: both operands of an instruction have one type; Python numbers take the type of the other operand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from graphc.codegen.math import corrections, roots
from graphc.codegen.math.elementary import POLYNOMIALS, PREFERRED
from graphc.codegen.math.libmvec import variant_attribute, vector_variant
from graphc.codegen.math.llvm_text import TYPES, Body, literal
from graphc.codegen.math.loader import has_feature, has_fma
from graphc.ops.random_machine import Step

Number = Union["Value", int, float]

_WIDTHS = {"bool": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "u8": 8, "u16": 16, "u32": 32, "u64": 64}
_ORDERS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_CONDITIONS = {
    "f": {"==": "oeq", "!=": "une", **{op: f"o{name}" for op, name in _ORDERS.items()}},
    "i": {"==": "eq", "!=": "ne", **{op: f"s{name}" for op, name in _ORDERS.items()}},
    "u": {"==": "eq", "!=": "ne", **{op: f"u{name}" for op, name in _ORDERS.items()}},
}
"""LLVM's comparisons by the first letter of a dtype; bool compares as unsigned."""
_OPERATORS = {
    "f": {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"},
    "i": {
        "+": "add",
        "-": "sub",
        "*": "mul",
        "/": "sdiv",
        "&": "and",
        "|": "or",
        "^": "xor",
        "<<": "shl",
        ">>": "ashr",
    },
}
_OPERATORS["u"] = _OPERATORS["b"] = {**_OPERATORS["i"], "/": "udiv", ">>": "lshr"}
"""LLVM's instructions by the first letter of a dtype."""


class Value:
    """One scalar of the kernel: an LLVM name or number and its short dtype name (`f64`, `i32`, `bool`, ...)."""

    __slots__ = ("emitter", "kind", "text")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, emitter: Emitter, text: str, kind: str) -> None:
        self.emitter, self.text, self.kind = emitter, text, kind

    @property
    def is_float(self) -> bool:
        return self.kind[0] == "f"

    @property
    def typed(self) -> str:
        """The value after its type, as operands of calls are written."""
        return f"{TYPES[self.kind]} {self.text}"

    @property
    def is_signed(self) -> bool:
        return self.kind[0] == "i"

    def _binary(self, other: Number, op: str, swap: bool = False) -> Value:
        left, right = self, self.emitter.like(other, self)
        return self.emitter.binary(op, right, left) if swap else self.emitter.binary(op, left, right)

    def __add__(self, other: Number) -> Value:
        return self._binary(other, "+")

    __radd__ = __add__

    def __sub__(self, other: Number) -> Value:
        return self._binary(other, "-")

    def __rsub__(self, other: Number) -> Value:
        return self._binary(other, "-", swap=True)

    def __mul__(self, other: Number) -> Value:
        return self._binary(other, "*")

    __rmul__ = __mul__

    def __truediv__(self, other: Number) -> Value:
        """Divide; integers by C's truncating division, whose divisor the caller has made safe."""
        return self._binary(other, "/")

    def __rtruediv__(self, other: Number) -> Value:
        return self._binary(other, "/", swap=True)

    def __neg__(self) -> Value:
        return self.emitter.negative(self) if self.is_float else 0 - self

    def __and__(self, other: Number) -> Value:
        return self._binary(other, "&")

    def __or__(self, other: Number) -> Value:
        return self._binary(other, "|")

    def __xor__(self, other: Number) -> Value:
        return self._binary(other, "^")

    def __invert__(self) -> Value:
        return self.emitter.inverted(self)

    def __lshift__(self, other: Number) -> Value:
        return self._binary(other, "<<")

    def __rshift__(self, other: Number) -> Value:
        return self._binary(other, ">>")

    def _compare(self, op: str, other: Number) -> Value:
        return self.emitter.compare(op, self, other)

    def __lt__(self, other: Number) -> Value:
        return self._compare("<", other)

    def __le__(self, other: Number) -> Value:
        return self._compare("<=", other)

    def __gt__(self, other: Number) -> Value:
        return self._compare(">", other)

    def __ge__(self, other: Number) -> Value:
        return self._compare(">=", other)

    def __eq__(self, other: Number) -> Value:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: Number) -> Value:  # type: ignore[override]
        return self._compare("!=", other)


PURE = " nounwind willreturn memory(none)"
"""Attributes of calls that compute, and do nothing else."""


class Emitter:
    """The machine that appends LLVM instructions to a function's body.

    `precision` says where elementary functions come from. `vector`: `elementary.PREFERRED` from there, others as
    libm calls that carry the names of libmvec's vector variants, polynomials again for what libmvec lacks.
    `polynomial`: polynomials where they exist. `libm`: scalar calls.
    """

    def __init__(self, body: Body, precision: str) -> None:
        self.body, self.precision = body, precision

    def constant(self, number: float, kind: str) -> Value:
        """Return a constant of a dtype."""
        return Value(self, literal(number, kind), kind)

    def like(self, number: Number, model: Value) -> Value:
        """Give a Python number the type of `model`; a value must have it already."""
        if isinstance(number, Value):
            assert number.kind == model.kind, f"{number.kind} beside {model.kind}"
            return number
        return self.constant(float(number) if model.is_float else int(number), model.kind)

    def binary(self, op: str, left: Value, right: Value) -> Value:
        """Apply an operator to two values of one type; integers divide as in C, by what the caller has made safe."""
        kind = left.kind
        name = _OPERATORS[kind[0]][op]
        return Value(self, self.body.new(f"{name} {TYPES[kind]} {left.text}, {right.text}"), kind)

    def negative(self, x: Value) -> Value:
        """Return a float with the other sign."""
        return Value(self, self.body.new(f"fneg {x.typed}"), x.kind)

    def inverted(self, x: Value) -> Value:
        """Return the other truth value, or an integer with all bits turned."""
        ones = "true" if x.kind == "bool" else "-1"
        return Value(self, self.body.new(f"xor {x.typed}, {ones}"), x.kind)

    def reassociated(self, op: str, left: Value, right: Value) -> Value:
        """Add or multiply floats in whatever order is fast."""
        name = _OPERATORS["f"][op]
        return Value(self, self.body.new(f"{name} reassoc {left.typed}, {right.text}"), left.kind)

    def at(self, precision: str) -> Emitter:
        """Return the machine that appends to the same text in another precision."""
        return type(self)(self.body, precision)

    def select(self, condition: Value, yes: Number, no: Number, flags: str = "") -> Value:
        """Choose without a branch; at least one of `yes` and `no` is a value."""
        model = yes if isinstance(yes, Value) else no
        assert isinstance(model, Value)
        first, second = self.like(yes, model), self.like(no, model)
        text = f"select{flags} i1 {condition.text}, {first.typed}, {second.typed}"
        return Value(self, self.body.new(text), model.kind)

    def compare(self, op: str, left: Value, right: Number, flags: str = "") -> Value:
        """Compare: false beside a NaN, but for `!=`."""
        kind, other = left.kind, self.like(right, left).text
        instruction = f"fcmp{flags}" if kind[0] == "f" else "icmp"
        condition = _CONDITIONS.get(kind[0], _CONDITIONS["u"])[op]
        return Value(self, self.body.new(f"{instruction} {condition} {TYPES[kind]} {left.text}, {other}"), "bool")

    def convert(self, x: Value, kind: str) -> Value:
        """Convert as a C cast does; a float must be in the integer's range (see `vecmath.to_int`)."""
        if x.kind == kind:
            return x
        if kind == "bool":
            return x != 0
        floating = kind[0] == "f"
        if x.is_float and floating:
            name = "fpext" if kind == "f64" else "fptrunc"
        elif x.is_float:
            name = "fptosi" if kind[0] == "i" else "fptoui"
        elif floating:
            name = "sitofp" if x.is_signed else "uitofp"
        elif _WIDTHS[kind] == _WIDTHS[x.kind]:
            return Value(self, x.text, kind)
        elif _WIDTHS[kind] < _WIDTHS[x.kind]:
            name = "trunc"
        else:
            name = "sext" if x.is_signed else "zext"
        return Value(self, self.body.new(f"{name} {x.typed} to {TYPES[kind]}"), kind)

    @property
    def fused(self) -> bool:
        """Whether `fma` is one instruction here; `polynomial` is the arithmetic that any machine does alike."""
        return self.precision == "vector" and has_fma()

    @property
    def scales(self) -> bool:
        """Whether `scale` and `root` are one instruction here, in vectors too."""
        return self.precision == "vector" and has_feature("avx512f")

    def fma(self, a: Value, b: Number, c: Number) -> Value:
        """Return a * b + c rounded once; only where `fused`."""
        return self.native("fma", a, self.like(b, a), self.like(c, a))

    def scale(self, x: Value, k: Value) -> Value:
        """Return x * 2**floor(k) rounded once; only where `scales`."""
        return self._own("scale", x, k)

    def root(self, place: Value) -> Value:
        """Return 2**(i / 16), rounded, for the low four bits i of an integer; only where `scales`."""
        return self._own("root", place)

    def root_rest(self, place: Value) -> Value:
        """Return what `root` must be multiplied by to be exact, less 1; only where `scales`."""
        return self._own("rest", place)

    def _own(self, name: str, *operands: Value) -> Value:
        kind = "f64" if operands[0].kind[1:] == "64" else "f32"
        attributes = f"{PURE} {roots.variants(name, kind)}"
        return self._called(roots.symbol(name, kind), kind, operands, attributes)

    def _called(self, symbol: str, kind: str, operands: Sequence[Value], attributes: str = "") -> Value:
        text = self.body.call(symbol, TYPES[kind], [x.typed for x in operands], attributes)
        return Value(self, text, kind)

    def beyond(self, limit: float, name: str, x: Value, usual: Value) -> Value:
        """Return the C library's `name(x)` where |x| <= limit fails (NaN too), and `usual` elsewhere.

        A branch here would be taken lane by lane in a vectorised loop, so the choice is a function of its own, with
        vector variants that leave at once when no lane is affected.
        """
        symbol = corrections.declare(self.body, name, x.kind, limit)
        return self._called(symbol, x.kind, (x, usual), f"{PURE} {corrections.variants(name, x.kind)}")

    def bits(self, x: Value) -> Value:
        """Return the bits of a float as a signed integer of its width."""
        kind = "i64" if x.kind == "f64" else "i32"
        return self._cast_bits(x, kind)

    def from_bits(self, x: Value) -> Value:
        """Return the float that has the bits of a signed integer."""
        kind = "f64" if x.kind == "i64" else "f32"
        return self._cast_bits(x, kind)

    def _cast_bits(self, x: Value, kind: str) -> Value:
        return Value(self, self.body.new(f"bitcast {x.typed} to {TYPES[kind]}"), kind)

    def native(self, name: str, *operands: Value) -> Value:
        """Call LLVM's own `llvm.<name>`: an instruction on every machine that vectorises."""
        kind = operands[0].kind
        suffix = kind if kind[0] == "f" else f"i{_WIDTHS[kind]}"
        return self._called(f"llvm.{name}.{suffix}", kind, operands)

    def call(self, name: str, *operands: Value) -> Value:
        """Call an elementary function in this machine's precision."""
        if self._has_polynomial(name, operands[0].kind):
            return POLYNOMIALS[name](self, *operands)
        return self.libm(name, *operands)

    def _has_polynomial(self, name: str, kind: str) -> bool:
        if name not in POLYNOMIALS or self.precision == "libm":
            return False
        return self.precision == "polynomial" or name in PREFERRED or not vector_variant(name, kind)

    def libm(self, name: str, *operands: Value) -> Value:
        """Call the C library's function, as a pure function that LLVM may hoist and vectorise."""
        kind = operands[0].kind
        variants = variant_attribute(name, kind) if self.precision == "vector" else ""
        return self._called(name + ("f" if kind == "f32" else ""), kind, operands, f"{PURE} {variants}")

    def loop(self, step: Step, active: Value, operands: Sequence[Value], state: Sequence[Value]) -> tuple[Value, ...]:
        """Repeat `done, state = step(self, *operands, *state)` if `active`, until done; return the last state."""
        text, entry = self.body, self.body.label
        text.forks += 1
        body, end = text.fresh("loop"), text.fresh("done")
        text.branch(active.text, body, end)
        text.open(body)
        phis = [text.phi() for _ in state]
        done, following = step(self, *operands, *(Value(self, p[0], x.kind) for p, x in zip(phis, state, strict=True)))
        last = text.label
        text.branch(done.text, end, body)
        text.open(end)
        results = []
        for first, phi, new in zip(state, phis, following, strict=True):
            incoming = (first.text, entry), (new.text, last)
            text.join(phi, TYPES[first.kind], *incoming)
            result = text.phi()
            text.join(result, TYPES[first.kind], *incoming)
            results.append(Value(self, result[0], first.kind))
        return tuple(results)

    def floor(self, x: Value) -> Value:
        return self.native("floor", x)

    def rint(self, x: Value) -> Value:
        return self.native("rint", x)

    def trunc(self, x: Value) -> Value:
        return self.native("trunc", x)

    def fabs(self, x: Value) -> Value:
        return self.native("fabs", x)

    def sqrt(self, x: Value) -> Value:
        return self.native("sqrt", x)

    def copysign(self, x: Value, sign: Value) -> Value:
        return self.native("copysign", x, sign)

    def muladd(self, a: Value, b: Number, c: Number) -> Value:
        """Return a * b + c, fused where the machine has the instruction."""
        return self.native("fmuladd", a, self.like(b, a), self.like(c, a))
