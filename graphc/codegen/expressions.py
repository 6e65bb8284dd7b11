"""Names and expressions of a kernel's text: each becomes instructions as it is read.

Every value's dtype is known where it is computed. `frontend` says what the language has, and adds statements.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphc.codegen import formulas, gammas
from graphc.codegen.emit import Emitter, Value
from graphc.codegen.llvm_text import TYPES, Body
from graphc.codegen.pointers import Access, Pointer, scope_of
from graphc.codegen.tiles import tiles
from graphc.codegen.vecmath import MAX_CALL_ARGUMENTS, POINTER_KINDS, wrap
from graphc.codegen.vocabulary import Function, arithmetic, functions
from graphc.errors import CompileError

_ARITHMETIC = {ast.Add: "__add__", ast.Sub: "__sub__", ast.Mult: "__mul__", ast.Div: "__truediv__"}
_OF_INDICES: dict[type[ast.operator], str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}
_BITWISE = {ast.BitAnd: "__and__", ast.BitOr: "__or__", ast.BitXor: "__xor__"}
_SHIFTS = {ast.LShift: "__lshift__", ast.RShift: "__rshift__"}
_ORDERS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_POINTERS = {f"{kind}p": kind for kind in POINTER_KINDS}
_CALLS = {"call_i64": ("i64", 0), "call_void": ("void", 0), "call_transpose": ("void", 1)}
"""Calls of C functions at an address: what they return, and how many operands they do not get."""
SPECIAL_FORMS = (*_POINTERS, *_CALLS, "prefetch", "polygamma", "stack")
"""What is called like a function, and takes more than numbers."""


@dataclass(frozen=True, slots=True)
class _Variable:
    """A name in memory, and a value or pointer of its type."""

    place: str
    like: Value | Pointer


Known: TypeAlias = Value | Pointer


class Index(Value):
    """An int64 of the kernel's own, a word of its frame or a counter: sizes and positions never overflow."""

    __slots__ = ()


class Unseen(Exception):
    """A name is read where no assignment is seen: it is one that changes."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Expressions:
    """What is emitted so far and what names mean here; `changing` names live in memory."""

    def __init__(self, precision: str, aliasing: bool, changing: frozenset[str]) -> None:
        self.body = Body()
        self.machine = Emitter(self.body, precision)
        self.exact = Emitter(self.body, "libm")
        self.access = Access(self.body, aliasing)
        self.functions = functions()
        self.changing = changing
        self.names: dict[str, Known] = {}
        """What names mean that are assigned once, from there to the end of their block."""
        self.variables: dict[str, _Variable] = {}
        self.frame = ""
        """The pointer to the kernel's words."""
        self.light = 0
        """Instructions that read or write names, or compute positions: LLVM drops them or moves them out of loops."""

    # -- names

    def assign(self, name: str, value: Known) -> None:
        if name not in self.changing:
            self.names[name] = value
            return
        variable = self.variables.get(name)
        if variable is None:
            variable = self.variables[name] = _Variable(self.body.reserve(_type(value)), value)
        if _meaning(variable.like) != _meaning(value):
            raise CompileError(f"{name} was {_meaning(variable.like)} and becomes {_meaning(value)}")
        self.light += 1
        self.body.add(f"store {value.typed}, ptr {variable.place}")

    def read(self, name: str) -> Known:
        if name in self.names:
            return self.names[name]
        if name not in self.variables:
            raise Unseen(name)
        variable = self.variables[name]
        self.light += 1
        text, like = self.body.new(f"load {_type(variable.like)}, ptr {variable.place}"), variable.like
        if isinstance(like, Pointer):
            return Pointer(text, like.kind, like.scope, like.group)
        return Value(self.machine, text, like.kind)  # no `Index`: another assignment may put a user's number there

    # -- expressions

    def any(self, node: ast.expr) -> Known:
        """Emit an expression that may be a pointer."""
        if type(node) is ast.Name:
            return self.read(node.id)
        if type(node) is ast.Call and isinstance(node.func, ast.Name) and node.func.id in _POINTERS:
            address, *numbers = node.args
            text = self.body.new(f"inttoptr i64 {self.word(address).text} to ptr")
            return Pointer(text, _POINTERS[node.func.id], *scope_of([whole(n) for n in numbers]))
        return self.number(node)

    def pointer(self, node: ast.expr) -> Pointer:
        """Emit an expression that is a pointer."""
        found = self.any(node)
        if not isinstance(found, Pointer):
            raise CompileError(f"not a pointer: {ast.unparse(node)}")
        return found

    def value(self, node: ast.expr) -> Value:
        """Emit an expression that is a number."""
        found = self.any(node)
        if not isinstance(found, Value):
            raise CompileError(f"not a number: {ast.unparse(node)}")
        return found

    def word(self, node: ast.expr) -> Value:
        """Emit an expression as an int64."""
        found = self.value(node)
        if found.kind[0] == "f":
            raise CompileError(f"not an integer: {ast.unparse(node)}")
        return found if found.kind == "i64" else self.machine.convert(found, "i64")

    def truth(self, node: ast.expr) -> str:
        """Emit a condition and return the name of an i1."""
        return self.machine.convert(self.value(node), "bool").text

    def number(self, node: ast.expr) -> Value:
        machine = self.machine
        match node:
            case ast.Subscript(base, index):
                pointer = self.pointer(base)
                loaded = self.access.load(machine, pointer, self.word(index))
                return Index(machine, loaded.text, "i64") if pointer.text == self.frame else loaded
            case ast.Constant(bool() | int() | float() as number):
                found = machine.constant(number, _kind_of(number))
                return Index(machine, found.text, "i64") if found.kind == "i64" else found
            case ast.BinOp(left, op, right) as node:
                return self.operator(type(op), self.value(left), self.value(right), node)
            case ast.Call(ast.Name(name), operands, []):
                if (called := self.call(name, operands)) is not None:
                    return called
            case ast.Compare(left, [op], [right]) if type(op) in _ORDERS:
                return self.comparison(_ORDERS[type(op)], self.value(left), self.value(right))
            case ast.BoolOp(op, operands):
                return self.several(isinstance(op, ast.And), operands)
            case ast.UnaryOp(ast.Not(), operand):
                return ~machine.convert(self.value(operand), "bool")
            case ast.UnaryOp(ast.USub(), operand):
                if (negative := _literal(node)) is not None:
                    return machine.constant(negative, _kind_of(negative))
                found = self.value(operand)
                return -machine.convert(found, arithmetic([found.kind]))
            case ast.UnaryOp(ast.Invert(), operand):
                found = self.value(operand)
                return ~(found if found.kind == "bool" else machine.convert(found, arithmetic([found.kind])))
        raise CompileError(f"not an expression of kernels: {ast.unparse(node)}")

    def operator(self, op: type[ast.operator], left: Value, right: Value, node: ast.BinOp) -> Value:
        if type(left) is Index and type(right) is Index and op in _OF_INDICES:
            self.light += 1
            return Index(self.machine, self.body.new(f"{_OF_INDICES[op]} nsw i64 {left.text}, {right.text}"), "i64")
        kinds = [left.kind, right.kind]
        kind = arithmetic(kinds)
        if op in _BITWISE and kind[0] != "f":
            if kinds != ["bool", "bool"]:
                left, right = self.converted([left, right], [kind, kind])
            name = _BITWISE[op]
        elif op in _SHIFTS and whole(node.right) in range(64) and kind[0] != "f":
            left, right = self.converted([left, right], [kind, kind])
            name = _SHIFTS[op]
        elif op is ast.FloorDiv and kind[0] != "f":
            return formulas.idiv(self.machine, *self.converted([left, right], [kind, kind]))
        elif op in _ARITHMETIC:
            if op is ast.Div and kind[0] != "f":
                kind = "f64"
            left, right = self.converted([left, right], [kind, kind])
            name = _ARITHMETIC[op]
        else:
            raise CompileError(f"not an operator of kernels: {ast.unparse(node)}")
        found: Value = getattr(left, name)(right)
        return found

    def comparison(self, op: str, left: Value, right: Value) -> Value:
        kinds = [left.kind, right.kind]
        kind = kinds[0] if kinds[0] == kinds[1] else arithmetic(kinds)
        left, right = self.converted([left, right], [kind, kind])
        return self.machine.compare(op, left, right)

    def several(self, all_of: bool, operands: Sequence[ast.expr]) -> Value:
        """Emit `and` or `or`; an operand that reads memory is reached only if those before it leave it open."""
        text = self.body
        if not any(isinstance(n, ast.Subscript | ast.Call) for x in operands[1:] for n in ast.walk(x)):
            found = [Value(self.machine, self.truth(x), "bool") for x in operands]
            for other in found[1:]:
                found[0] = found[0] & other if all_of else found[0] | other
            return found[0]
        self.body.forks += 1
        end, incoming = text.fresh("known"), []
        for operand in operands[:-1]:
            condition, following = self.truth(operand), text.fresh("next")
            incoming.append(("false" if all_of else "true", text.label))
            text.branch(condition, *((following, end) if all_of else (end, following)))
            text.open(following)
        incoming.append((self.truth(operands[-1]), text.label))
        text.go(end)
        text.open(end)
        known = text.phi()
        text.join(known, "i1", *incoming)
        return Value(self.machine, known[0], "bool")

    def converted(self, values: Sequence[Value], kinds: Sequence[str]) -> list[Value]:
        return [self.machine.convert(x, k) for x, k in zip(values, kinds, strict=True)]

    # -- calls

    def call(self, name: str, operands: Sequence[ast.expr]) -> Value | None:
        """Emit a call and return its value, None if there is none."""
        if name in TYPES and len(operands) == 1 and (number := _literal(operands[0])) is not None:
            return self.literal(number, name)
        if (function := self.functions.get(name)) is not None:
            return self.apply(name, function, [self.value(x) for x in operands])
        if name in _CALLS:
            return self.call_address(name, [self.word(x).text for x in operands])
        if name == "prefetch" and len(operands) == 2:
            self.access.prefetch(self.pointer(operands[0]), self.word(operands[1]))
        elif name == "polygamma" and len(operands) == 2 and (order := whole(operands[0])) is not None and order >= 0:
            (x,) = self.converted([found := self.value(operands[1])], ["f32" if found.kind == "f32" else "f64"])
            return gammas.polygamma(order, self.machine, x)
        elif name == "stack" and len(operands) == 1 and (size := whole(operands[0])) is not None:
            return Value(self.machine, self.body.new(f"ptrtoint ptr {self.stack(size)} to i64"), "i64")
        elif (tile := tiles().get(name)) is not None:
            tile(self.body, [x.text for x in map(self.any, operands)])
        else:
            raise CompileError(f"kernels do not call {name} with {', '.join(map(ast.unparse, operands))}")
        return None

    def stack(self, size: int) -> str:
        """Reserve memory of the kernel's own frame, from a cache line on."""
        return self.body.reserve(f"[{size} x i8]", 64)

    def literal(self, number: float, kind: str) -> Value:
        """Return a literal that is cast: a constant, where it needs no rounding twice."""
        if kind[0] in "iu":
            if isinstance(number, float):
                return formulas.to_int(kind, self.machine, self.machine.constant(number, "f64"))
            return self.machine.constant(int(wrap(int(number), kind)), kind)
        if isinstance(number, float) or kind == "bool" or abs(number) <= 2**53:
            return self.machine.constant(number, kind)
        return self.machine.convert(self.machine.constant(number, _kind_of(number)), kind)

    def apply(self, name: str, function: Function, given: Sequence[Value]) -> Value:
        if len(given) != function.operands:
            raise CompileError(f"{name} takes {function.operands} operands, got {len(given)}")
        kinds = function.rule([x.kind for x in given])
        machine = self.exact if function.exact else self.machine
        found: Value = function.formula(machine, *(_on(machine, x) for x in self.converted(given, kinds)))
        chosen = name == "select" and all(type(x) is Index for x in given[1:])
        return Index(machine, found.text, "i64") if chosen else found

    def call_address(self, name: str, words: Sequence[str]) -> Value | None:
        result, skipped = _CALLS[name]
        address, *given = words
        if len(given) > MAX_CALL_ARGUMENTS:
            raise CompileError(f"{name} takes an address and up to {MAX_CALL_ARGUMENTS} integers")
        target = self.body.new(f"inttoptr i64 {address} to ptr")
        text = f"call {result} {target}({', '.join(f'i64 {w}' for w in given[skipped:])})"
        if result == "void":
            self.body.add(text)
            return None
        return Value(self.machine, self.body.new(text), "i64")


def _on(machine: Emitter, x: Value) -> Value:
    """Return a value whose operators append through this machine, which decides how formulas compute."""
    return x if x.emitter is machine else type(x)(machine, x.text, x.kind)


def _type(value: Known) -> str:
    return "ptr" if isinstance(value, Pointer) else TYPES[value.kind]


def _meaning(value: Known) -> tuple[Any, ...]:
    """Return what a name that changes must keep."""
    return (value.kind, value.scope, value.group) if isinstance(value, Pointer) else (value.kind,)


def _literal(node: ast.expr) -> float | None:
    match node:
        case ast.Constant(bool() | int() | float() as number):
            return number
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as number)):
            return -number
    return None


def whole(node: ast.expr) -> int | None:
    """Return a literal integer, None where there is something else."""
    number = _literal(node)
    return number if isinstance(number, int) else None


def _kind_of(number: float) -> str:
    if isinstance(number, bool):
        return "bool"
    return "f64" if isinstance(number, float) else "i64" if number < 2**63 else "u64"
