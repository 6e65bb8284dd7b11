"""Compile programs of words without Numba: from Python's syntax tree to LLVM text in one walk.

The driver, the entry and the control of loops and branches decide and call, but compute nothing. All their values are
int64, so there is nothing to infer, and a compiler for them is this page. It takes the part of the kernels' language
that they need: assignments, `if`, `for` over a `range`, `while`, `break`, `return`, integer arithmetic, comparisons
(0 or 1), `and` and `or` of conditions that are safe to compute, `select`, `call_i64`, `call_void`, and pointers made by
`i64p`, `i32p` or `boolp`, which are indexed where they are made or through the name that they are assigned to. Anything
else is a `CompileError`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from graphc.codegen.loader import compile_text
from graphc.errors import CompileError

_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor"}
_COMPARE = {ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "slt", ast.LtE: "sle", ast.Gt: "sgt", ast.GtE: "sge"}
_POINTERS = {"i64p": "i64", "i32p": "i32", "boolp": "i8"}
_CASTS = ("i64", "i32")  # of words that fit: values are kept sign-extended


def compile_words(source: str, symbol: str) -> bytes:
    """Return the object code of a program of words, as a function `symbol` of int64s.

    The first parameter is the address of words. Raises `CompileError` with the source.
    """
    try:
        return compile_text(llvm_text(source, symbol))
    except (CompileError, RuntimeError) as error:
        raise CompileError(f"program of words does not compile: {error}\n{source}") from error


def llvm_text(source: str, symbol: str) -> str:
    """Return the LLVM text of a program of words."""
    (function,) = ast.parse(source).body
    if not isinstance(function, ast.FunctionDef):
        raise CompileError("a program of words is one function")
    names = [a.arg for a in function.args.args]
    words = _Words(pointers={names[0]: "i64"})
    for name in names:
        words.assign(name, f"%given.{name}")
    words.block(function.body)
    words.add("ret i64 0")
    slots = [f"  {slot} = alloca i64\n  store i64 0, ptr {slot}" for slot in words.slots.values()]
    given = ", ".join(f"i64 %given.{n}" for n in names)
    return "\n".join([f"define i64 @{symbol}({given}) nounwind {{", *slots, *words.lines, "}\n"])


@dataclass
class _Words:
    """The text made so far. Names live in memory, which LLVM turns into registers."""

    pointers: dict[str, str]
    """The names that hold addresses, and what is there."""
    slots: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    exits: list[str] = field(default_factory=list)
    """Where `break` goes, the innermost loop last."""
    made: int = 0

    def add(self, instruction: str) -> None:
        self.lines.append(f"  {instruction}")

    def new(self, instruction: str) -> str:
        """Add an instruction and return the name of its value."""
        name = self.fresh("%t")
        self.add(f"{name} = {instruction}")
        return name

    def fresh(self, start: str) -> str:
        self.made += 1
        return f"{start}.{self.made}"

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def slot(self, name: str) -> str:
        return self.slots.setdefault(name, f"%at.{name}")

    def assign(self, name: str, value: str) -> None:
        self.add(f"store i64 {value}, ptr {self.slot(name)}")

    # -- statements

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=value):
                if kind := _pointer_kind(value):
                    self.pointers[name] = kind
                self.assign(name, self.value(value))
            case ast.Assign(targets=[ast.Subscript(base, index)], value=value):
                stored = self.value(value)
                kind, place = self.element(base, index)
                if kind != "i64":
                    raise CompileError(f"only words are stored: {ast.unparse(node)}")
                self.add(f"store i64 {stored}, ptr {place}")
            case ast.If(test, body, orelse):
                self.branch(test, body, orelse)
            case ast.For(ast.Name(name), ast.Call(ast.Name("range"), bounds), body, []) if 1 <= len(bounds) <= 2:
                self.count(name, [self.value(b) for b in bounds], body)
            case ast.While(test, body, []):
                self.repeat(test, body)
            case ast.Break() if self.exits:
                self.add(f"br label %{self.exits[-1]}")
                self.label(self.fresh("dead"))
            case ast.Return(ast.expr() as value):
                self.add(f"ret i64 {self.value(value)}")
                self.label(self.fresh("dead"))
            case ast.Expr(ast.Call() as call):
                self.value(call)
            case _:
                raise CompileError(f"not a statement of words: {ast.unparse(node)}")

    def branch(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        yes, no, after = (self.fresh(name) for name in ("then", "else", "after"))
        self.add(f"br i1 {self.truth(test)}, label %{yes}, label %{no}")
        for label, statements in ((yes, body), (no, orelse)):
            self.label(label)
            self.block(statements)
            self.add(f"br label %{after}")
        self.label(after)

    def count(self, name: str, bounds: list[str], body: list[ast.stmt]) -> None:
        """Emit a loop over a range; its counter is its own, so that the body may assign to `name`."""
        start, stop = bounds if len(bounds) == 2 else ("0", bounds[0])
        counter, head, inside, after = (self.fresh(n) for n in ("counter", "head", "body", "after"))
        self.assign(counter, start)
        self.add(f"br label %{head}")
        self.label(head)
        i = self.new(f"load i64, ptr {self.slot(counter)}")
        self.add(f"br i1 {self.new(f'icmp slt i64 {i}, {stop}')}, label %{inside}, label %{after}")
        self.label(inside)
        self.assign(name, i)
        self.assign(counter, self.new(f"add i64 {i}, 1"))
        self.loop_body(body, head, after)

    def repeat(self, test: ast.expr, body: list[ast.stmt]) -> None:
        head, inside, after = (self.fresh(n) for n in ("head", "body", "after"))
        self.add(f"br label %{head}")
        self.label(head)
        self.add(f"br i1 {self.truth(test)}, label %{inside}, label %{after}")
        self.label(inside)
        self.loop_body(body, head, after)

    def loop_body(self, body: list[ast.stmt], head: str, after: str) -> None:
        self.exits.append(after)
        self.block(body)
        self.exits.pop()
        self.add(f"br label %{head}")
        self.label(after)

    # -- expressions

    def value(self, node: ast.expr) -> str:
        """Emit an expression and return its value: a literal or the name of an int64."""
        match node:
            case ast.Constant(bool() | int() as value):
                return str(int(value))
            case ast.Name(name) if name in self.slots:
                return self.new(f"load i64, ptr {self.slot(name)}")
            case ast.Subscript(base, index):
                kind, place = self.element(base, index)
                loaded = self.new(f"load {kind}, ptr {place}")
                return loaded if kind == "i64" else self.new(f"sext {kind} {loaded} to i64")  # True is 1 in i8 too
            case ast.BinOp(left, op, right) if type(op) in _BINARY:
                return self.new(f"{_BINARY[type(op)]} i64 {self.value(left)}, {self.value(right)}")
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(ast.Not()):
                return self.new(f"zext i1 {self.truth(node)} to i64")
            case ast.UnaryOp(ast.USub(), operand):
                return self.new(f"sub i64 0, {self.value(operand)}")
            case ast.Call(ast.Name(name), arguments, []):
                return self.call(name, arguments)
        raise CompileError(f"not an expression of words: {ast.unparse(node)}")

    def truth(self, node: ast.expr) -> str:
        """Emit a condition and return the name of an i1."""
        match node:
            case ast.Compare(left, [op], [right]) if type(op) in _COMPARE:
                return self.new(f"icmp {_COMPARE[type(op)]} i64 {self.value(left)}, {self.value(right)}")
            case ast.UnaryOp(ast.Not(), operand):
                return self.new(f"xor i1 {self.truth(operand)}, true")
            case ast.BoolOp(op, [first, *others]):
                found = self.truth(first)
                for other in others:
                    found = self.new(f"{'and' if isinstance(op, ast.And) else 'or'} i1 {found}, {self.truth(other)}")
                return found
        return self.new(f"icmp ne i64 {self.value(node)}, 0")

    def select(self, test: ast.expr, yes: ast.expr, no: ast.expr) -> str:
        """Emit a choice; both values are computed, so they must be safe to compute."""
        return self.new(f"select i1 {self.truth(test)}, i64 {self.value(yes)}, i64 {self.value(no)}")

    def call(self, name: str, arguments: list[ast.expr]) -> str:
        if name == "select" and len(arguments) == 3:
            return self.select(*arguments)
        if name in (*_POINTERS, *_CASTS):
            return self.value(arguments[0])  # a pointer's further arguments are about aliasing, which is not used
        if name not in ("call_i64", "call_void"):
            raise CompileError(f"words do not call {name}")
        address, *words = [self.value(a) for a in arguments]
        target = self.new(f"inttoptr i64 {address} to ptr")
        given = ", ".join(f"i64 {w}" for w in words)
        if name == "call_i64":
            return self.new(f"call i64 {target}({given})")
        self.add(f"call void {target}({given})")
        return "0"

    def element(self, base: ast.expr, index: ast.expr) -> tuple[str, str]:
        """Return what is at `base[index]`, and its address."""
        kind = self.pointers.get(base.id) if isinstance(base, ast.Name) else _pointer_kind(base)
        if kind is None:
            raise CompileError(f"not a pointer: {ast.unparse(base)}")
        pointer = self.new(f"inttoptr i64 {self.value(base)} to ptr")
        return kind, self.new(f"getelementptr {kind}, ptr {pointer}, i64 {self.value(index)}")


def _pointer_kind(node: ast.expr) -> str | None:
    match node:
        case ast.Call(ast.Name(name)):
            return _POINTERS.get(name)
    return None
