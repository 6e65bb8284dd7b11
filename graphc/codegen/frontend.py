"""From a kernel's Python text to LLVM's, in one walk over the syntax tree.

Kernels are made of numbers, pointers, loops over ranges, conditions and the vocabulary of `vecmath`. Every value's
dtype is known where it is computed, so there is nothing to infer: a walk emits instructions as it goes, in one or two
milliseconds, where a compiler for all of Python takes fifty. What the language has:

- `name = value`, `pointer[index] = value`, calls for their effect; `if`, `for` over a range with a literal step,
  `while`, `break`, `return`;
- `+ - * /`, `//` (floor; 0 where the divisor is 0), `& | ^`, shifts by literals, comparisons, `and or not`, literals.
  Integers are computed in 64 bits; two floats of different width in float64;
- every name of `vecmath.VOCABULARY` and the tiles of `tiles`.

A name keeps its dtype. One that is assigned in one place lives in a register; one that changes lives in memory, which
LLVM turns into registers. Anything else is a `CompileError`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.codegen.expressions import Expressions, Index, Unseen, whole
from graphc.codegen.pointers import Pointer
from graphc.errors import CompileError


@dataclass(frozen=True)
class Options:
    """How a kernel is lowered.

    `precision` is `emit.Emitter`'s. Innermost loops of more than `long_loop` instructions take `turns` vectors at a
    time. Without `aliasing` nothing is said about what pointers share.
    """

    precision: str = "vector"
    turns: int = 0
    long_loop: int = 0
    aliasing: bool = True
    attributes: str = "nounwind"


def lower_kernel(source: str, symbol: str, options: Options) -> str:
    """Return the LLVM text of a kernel: a function of its name, from the address of words and int64s to an int64."""
    (function,) = ast.parse(source).body
    if not isinstance(function, ast.FunctionDef):
        raise CompileError("a kernel is one function")
    changing = _changing(function)
    while True:
        try:
            return _Lowering(options, frozenset(changing)).function(function, symbol)
        except Unseen as unseen:
            if unseen.name in changing or not _is_assigned(function, unseen.name):
                raise CompileError(f"{unseen.name} is read before it is assigned") from None
            changing.add(unseen.name)


def _is_assigned(function: ast.FunctionDef, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in ast.walk(function))


def _changing(function: ast.FunctionDef) -> set[str]:
    """Return the names that are assigned where an assignment is seen already."""
    found: set[str] = set()

    def visit(statements: Sequence[ast.stmt], seen: set[str]) -> None:
        for node in statements:
            match node:
                case ast.Assign(targets=[ast.Name(name)]):
                    (found if name in seen else seen).add(name)
                case ast.For(ast.Name(name), body=body):
                    if name in seen:
                        found.add(name)
                    visit(body, {*seen, name})
                case ast.If(body=body, orelse=orelse):
                    visit(body, set(seen))
                    visit(orelse, set(seen))
                case ast.While(body=body):
                    visit(body, set(seen))

    visit(function.body, {a.arg for a in function.args.args})
    return found


class _Lowering(Expressions):
    """The walk over statements."""

    def __init__(self, options: Options, changing: frozenset[str]) -> None:
        super().__init__(options.precision, options.aliasing, changing)
        self.options = options
        self.exits: list[str] = []
        """Where `break` goes, the innermost loop last."""
        self.ended = False
        """Whether the block has returned or left its loop: what follows is not reached."""
        self.wish = ""

    def function(self, node: ast.FunctionDef, symbol: str) -> str:
        first, *others = [a.arg for a in node.args.args]
        self.frame = f"%given.{first}"
        self.names[first] = Pointer(self.frame, "i64", 0, 0)
        for name in others:
            self.assign(name, Index(self.machine, f"%given.{name}", "i64"))
        self.block(node.body)
        if not self.ended:
            self.body.add("ret i64 0")
        given = ", ".join([f"ptr %given.{first}", *(f"i64 %given.{n}" for n in others)])
        return self.body.module(f"define i64 @{symbol}({given}) {self.options.attributes}")

    # -- statements

    def block(self, statements: Sequence[ast.stmt]) -> None:
        """Emit statements; names that they assign once mean nothing afterwards."""
        before = self.names.copy()
        for statement in statements:
            if not self.ended:
                self.statement(statement)
        self.names = before

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=value):
                self.assign(name, self.any(value))
            case ast.Assign(targets=[ast.Subscript(base, index)], value=value):
                stored, pointer = self.value(value), self.pointer(base)
                converted = self.machine.convert(stored, pointer.kind)
                self.access.store(pointer, self.word(index), converted)
            case ast.If(test, body, orelse):
                self.choice(test, body, orelse)
            case ast.For(ast.Name(name), ast.Call(ast.Name("range"), bounds, []), body, []):
                self.count(name, bounds, body)
            case ast.While(test, body, []):
                self.repeat(test, body)
            case ast.Break() if self.exits:
                self.body.go(self.exits[-1])
                self.ended = True
            case ast.Return(ast.expr() as value):
                self.body.add(f"ret i64 {self.word(value).text}")
                self.ended = True
            case ast.Expr(ast.Call(ast.Name(name), operands, [])):
                self.call(name, operands)
            case _:
                raise CompileError(f"not a statement of kernels: {ast.unparse(node)}")

    def choice(self, test: ast.expr, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt]) -> None:
        yes, after = self.body.fresh("then"), self.body.fresh("after")
        no = self.body.fresh("else") if orelse else after
        self.body.branch(self.truth(test), yes, no)
        reached = not orelse
        for label, statements in ((yes, body), (no, orelse)):
            if statements:
                self.body.open(label)
                self.block(statements)
                reached |= not self.ended
                if not self.ended:
                    self.body.go(after)
                    self.body.forks += 1
                self.ended = False
        self.ended = not reached
        if reached:
            self.body.open(after)

    def count(self, name: str, bounds: Sequence[ast.expr], body: Sequence[ast.stmt]) -> None:
        """Emit a loop over a range, tested at its end: what is left of a loop once LLVM has turned it so."""
        step = _literal_step(bounds)
        if step is None:
            raise CompileError(f"a loop's range has a literal step other than 0: {', '.join(map(ast.unparse, bounds))}")
        limits = [self.word(b).text for b in bounds[:2]]
        start, stop = limits if len(limits) == 2 else ("0", limits[0])
        more = "slt" if step > 0 else "sgt"
        text, before = self.body, self.body.label
        inside, after = text.fresh("loop"), text.fresh("after")
        text.branch(text.new(f"icmp {more} i64 {start}, {stop}"), inside, after)
        text.open(inside)
        counter, first, light, forks = text.phi(), len(text.lines), self.light, text.forks
        names = self.names.copy()
        self.assign(name, Index(self.machine, counter[0], "i64"))
        self.loop_body(body, after)
        self.names = names
        incoming = [(start, before)]
        if not self.ended:
            following = text.new(f"add nsw i64 {counter[0]}, {step}")
            weight = len(text.lines) - first - (self.light - light)
            wish = self.in_turns() if text.forks == forks and weight > self.options.long_loop else ""
            text.add(f"br i1 {text.new(f'icmp {more} i64 {following}, {stop}')}, label %{inside}, label %{after}{wish}")
            incoming.append((following, text.label))
        text.join(counter, "i64", *incoming)
        self.body.forks += 1
        self.ended = False
        text.open(after)

    def in_turns(self) -> str:
        """Return the metadata of a loop that takes several vectors at a time.

        Mathematics in a row has to wait for itself: a chain of tanh runs 1.6 times as fast when two of them take
        turns. LLVM interleaves short loops by itself.
        """
        if not self.options.turns:
            return ""
        if not self.wish:
            self.wish = self.body.note(f'!{{!"llvm.loop.interleave.count", i32 {self.options.turns}}}')
        itself = f"!{len(self.body.metadata)}"
        return f", !llvm.loop {self.body.note(f'distinct !{{{itself}, {self.wish}}}')}"

    def repeat(self, test: ast.expr, body: Sequence[ast.stmt]) -> None:
        text = self.body
        head, inside, after = (text.fresh(n) for n in ("head", "loop", "after"))
        text.go(head)
        text.open(head)
        text.branch(self.truth(test), inside, after)
        text.open(inside)
        self.loop_body(body, after)
        if not self.ended:
            text.go(head)
        self.body.forks += 1
        self.ended = False
        text.open(after)

    def loop_body(self, body: Sequence[ast.stmt], after: str) -> None:
        self.exits.append(after)
        self.block(body)
        self.exits.pop()


def _literal_step(bounds: Sequence[ast.expr]) -> int | None:
    """Return the step of a range, None where there is no literal one."""
    if not 1 <= len(bounds) <= 3:
        return None
    return whole(bounds[2]) or None if len(bounds) == 3 else 1
