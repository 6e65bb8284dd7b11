"""Scalar values of a kernel under construction: Python operators that append LLVM instructions.

`elementary`, `formulas` and `gammas` write mathematics once, branch-free and for every dtype, in ordinary Python on
`Value`s. Each operator appends one instruction to Numba's current block through the `Emitter`, so a function costs
no type inference, no linking and no call. Needs llvmlite only.

Invariant: both operands of an instruction have one type; Python numbers take the type of the other operand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import llvmlite.ir as ir

from graphc.codegen import corrections, roots
from graphc.codegen.elementary import POLYNOMIALS, PREFERRED
from graphc.codegen.libmvec import variant_attribute, vector_variant
from graphc.codegen.loader import has_feature, has_fma
from graphc.ops.random_machine import Step

Number = Union["Value", int, float]

_WIDTHS = {"bool": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "u8": 8, "u16": 16, "u32": 32, "u64": 64}


def llvm_type(kind: str) -> Any:
    """Return the LLVM type of a short dtype name such as `f32`."""
    if kind == "f64":
        return ir.DoubleType()
    return ir.FloatType() if kind == "f32" else ir.IntType(_WIDTHS[kind])


class Value:
    """One scalar of the kernel: an LLVM value and its short dtype name (`f64`, `i32`, `bool`, ...)."""

    __slots__ = ("emitter", "ir", "kind")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, emitter: Emitter, value: Any, kind: str) -> None:
        self.emitter, self.ir, self.kind = emitter, value, kind

    @property
    def is_float(self) -> bool:
        return self.kind in ("f32", "f64")

    @property
    def is_signed(self) -> bool:
        return self.kind[0] == "i"

    def _binary(self, other: Number, integer: str, floating: str | None = None, swap: bool = False) -> Value:
        operands = [self.ir, self.emitter.like(other, self).ir]
        name = floating if self.is_float else integer
        assert name is not None, f"{integer} of {self.kind}"
        build = getattr(self.emitter.builder, name)
        return Value(self.emitter, build(*(operands[::-1] if swap else operands)), self.kind)

    def __add__(self, other: Number) -> Value:
        return self._binary(other, "add", "fadd")

    __radd__ = __add__

    def __sub__(self, other: Number) -> Value:
        return self._binary(other, "sub", "fsub")

    def __rsub__(self, other: Number) -> Value:
        return self._binary(other, "sub", "fsub", swap=True)

    def __mul__(self, other: Number) -> Value:
        return self._binary(other, "mul", "fmul")

    __rmul__ = __mul__

    def __truediv__(self, other: Number) -> Value:
        """Divide; integers by C's truncating division, whose divisor the caller has made safe."""
        return self._binary(other, "sdiv" if self.is_signed else "udiv", "fdiv")

    def __rtruediv__(self, other: Number) -> Value:
        return self._binary(other, "sdiv" if self.is_signed else "udiv", "fdiv", swap=True)

    def __neg__(self) -> Value:
        if self.is_float:
            return Value(self.emitter, self.emitter.builder.fneg(self.ir), self.kind)
        return 0 - self

    def __and__(self, other: Number) -> Value:
        return self._binary(other, "and_")

    def __or__(self, other: Number) -> Value:
        return self._binary(other, "or_")

    def __xor__(self, other: Number) -> Value:
        return self._binary(other, "xor")

    def __invert__(self) -> Value:
        return Value(self.emitter, self.emitter.builder.not_(self.ir), self.kind)

    def __lshift__(self, other: Number) -> Value:
        return self._binary(other, "shl")

    def __rshift__(self, other: Number) -> Value:
        return self._binary(other, "ashr" if self.is_signed else "lshr")

    def _compare(self, op: str, other: Number) -> Value:
        builder, right = self.emitter.builder, self.emitter.like(other, self).ir
        if self.is_float:
            compare = builder.fcmp_unordered if op == "!=" else builder.fcmp_ordered
        else:
            compare = builder.icmp_signed if self.is_signed else builder.icmp_unsigned
        return Value(self.emitter, compare(op, self.ir, right), "bool")

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


PURE = ("nounwind", "willreturn", "memory(none)")


class MathCallAttributes(ir.instructions.CallInstrAttributes):  # type: ignore[misc]
    """Call-site attributes that llvmlite does not list: purity and the vector variants."""

    def add(self, name: str) -> None:
        set.add(self, name)


class Emitter:
    """The machine that appends LLVM instructions at a builder's position.

    `precision` says where elementary functions come from. `vector`: `elementary.PREFERRED` from there, others as
    libm calls that carry the names of libmvec's vector variants, polynomials again for what libmvec lacks.
    `polynomial`: polynomials where they exist. `libm`: scalar calls.
    """

    def __init__(self, builder: Any, precision: str) -> None:
        self.builder, self.precision = builder, precision

    def constant(self, number: float, kind: str) -> Value:
        """Return a constant of a dtype."""
        return Value(self, ir.Constant(llvm_type(kind), number), kind)

    def like(self, number: Number, model: Value) -> Value:
        """Give a Python number the type of `model`; a value must have it already."""
        if isinstance(number, Value):
            assert number.kind == model.kind, f"{number.kind} beside {model.kind}"
            return number
        return self.constant(float(number) if model.is_float else int(number), model.kind)

    def select(self, condition: Value, yes: Number, no: Number, flags: tuple[str, ...] = ()) -> Value:
        """Choose without a branch; at least one of `yes` and `no` is a value."""
        model = yes if isinstance(yes, Value) else no
        assert isinstance(model, Value)
        chosen = self.builder.select(condition.ir, self.like(yes, model).ir, self.like(no, model).ir, flags=flags)
        return Value(self, chosen, model.kind)

    def convert(self, x: Value, kind: str) -> Value:
        """Convert as a C cast does; a float must be in the integer's range (see `vecmath.to_int`)."""
        if x.kind == kind:
            return x
        if kind == "bool":
            return x != 0
        target, floating = llvm_type(kind), kind in ("f32", "f64")
        if x.is_float and floating:
            name = "fpext" if kind == "f64" else "fptrunc"
        elif x.is_float:
            name = "fptosi" if kind[0] == "i" else "fptoui"
        elif floating:
            name = "sitofp" if x.is_signed else "uitofp"
        elif _WIDTHS[kind] <= _WIDTHS[x.kind]:
            name = "trunc"
        else:
            name = "sext" if x.is_signed else "zext"
        return Value(self, getattr(self.builder, name)(x.ir, target), kind)

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
        symbol = roots.symbol(name, kind)
        if symbol not in self.builder.module.globals:
            ir.Function(self.builder.module, ir.FunctionType(llvm_type(kind), [x.ir.type for x in operands]), symbol)
        call = self.builder.call(self.builder.module.globals[symbol], [x.ir for x in operands])
        call.attributes = MathCallAttributes([*PURE, roots.variants(name, kind)])
        return Value(self, call, kind)

    def beyond(self, limit: float, name: str, x: Value, usual: Value) -> Value:
        """Return the C library's `name(x)` where |x| <= limit fails (NaN too), and `usual` elsewhere.

        A branch here would be taken lane by lane in a vectorised loop, so the choice is a function of its own, with
        vector variants that leave at once when no lane is affected.
        """
        correction = corrections.declare(self.builder.module, name, x.kind, limit)
        call = self.builder.call(correction.function, [x.ir, usual.ir])
        call.attributes = MathCallAttributes([*PURE, correction.attribute])
        return Value(self, call, x.kind)

    def bits(self, x: Value) -> Value:
        """Return the bits of a float as a signed integer of its width."""
        kind = "i64" if x.kind == "f64" else "i32"
        return Value(self, self.builder.bitcast(x.ir, llvm_type(kind)), kind)

    def from_bits(self, x: Value) -> Value:
        """Return the float that has the bits of a signed integer."""
        kind = "f64" if x.kind == "i64" else "f32"
        return Value(self, self.builder.bitcast(x.ir, llvm_type(kind)), kind)

    def native(self, name: str, *operands: Value) -> Value:
        """Call LLVM's own `llvm.<name>`: an instruction on every machine that vectorises."""
        kind = operands[0].kind
        type_ = llvm_type(kind)
        suffix = kind if kind[0] == "f" else f"i{_WIDTHS[kind]}"
        callee = self._declare(f"llvm.{name}.{suffix}", type_, len(operands))
        return Value(self, self.builder.call(callee, [x.ir for x in operands]), kind)

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
        callee = self._declare(name + ("f" if kind == "f32" else ""), llvm_type(kind), len(operands))
        call = self.builder.call(callee, [x.ir for x in operands])
        call.attributes = MathCallAttributes(PURE)
        variants = variant_attribute(name, kind) if self.precision == "vector" else ""
        if variants:
            call.attributes.add(variants)
        return Value(self, call, kind)

    def _declare(self, symbol: str, type_: Any, arity: int) -> Any:
        module = self.builder.module
        if symbol not in module.globals:
            ir.Function(module, ir.FunctionType(type_, [type_] * arity), symbol)
        return module.globals[symbol]

    def loop(self, step: Step, active: Value, operands: Sequence[Value], state: Sequence[Value]) -> tuple[Value, ...]:
        """Repeat `done, state = step(self, *operands, *state)` if `active`, until done; return the last state."""
        builder, entry = self.builder, self.builder.block
        body, end = builder.append_basic_block("loop"), builder.append_basic_block("loop.done")
        builder.cbranch(active.ir, body, end)
        builder.position_at_end(body)
        current = [Value(self, builder.phi(x.ir.type), x.kind) for x in state]
        done, following = step(self, *operands, *current)
        last = builder.block
        builder.cbranch(done.ir, end, body)
        builder.position_at_end(end)
        results = tuple(Value(self, builder.phi(x.ir.type), x.kind) for x in state)
        for first, phi, new, result in zip(state, current, following, results, strict=True):
            phi.ir.add_incoming(first.ir, entry)
            phi.ir.add_incoming(new.ir, last)
            result.ir.add_incoming(first.ir, entry)
            result.ir.add_incoming(new.ir, last)
        return results

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
