"""Types of a kernel's variables, and what its lowering must know of its flow: one walk over Numba's IR.

Every dtype is known where it is computed, so nothing is inferred: a walk in the order of dominance asks Numba's typing
for the signature of each operator and call, once per process and types.

A name that several assignments give a value is split by which of them a use can see, so that one name can have several
dtypes one after the other, and keeps its register where one assignment reaches.
"""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numba.core import ir, types
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.errors import NumbaError

from graphc.codegen.jit.numba_types import INDEX, LITERAL, NUMBERS, PointerType, RangeType, Word
from graphc.graph.errors import CompileError

_signatures: dict[Any, Any] = {}


@dataclass(frozen=True)
class Loop:
    """A loop over a range: the block that counts, where it goes, and the names that hold the counter."""

    header: int
    body: int
    exit: int
    source: str
    names: tuple[str, ...]
    blocks: frozenset[int]
    straight: bool
    """Whether its body has one way through it."""
    step: int


@dataclass
class Flow:
    """What the walk finds."""

    blocks: dict[int, Any]
    typing: Any
    order: list[int] = field(default_factory=list)
    types: dict[str, Any] = field(default_factory=dict)
    calls: dict[Any, Any] = field(default_factory=dict)
    registers: set[str] = field(default_factory=set)
    constants: dict[str, Any] = field(default_factory=dict)
    words: dict[str, Any] = field(default_factory=dict)
    scopes: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set, {0: {0}}))
    loops: dict[int, Loop] = field(default_factory=dict)
    bodies: dict[int, Loop] = field(default_factory=dict)

    def run(self, arguments: list[Any]) -> None:
        """Split names, find registers and loops, and give every variable its type. Raises `CompileError`."""
        _without_prefixes(self.blocks)
        self.graph = compute_cfg_from_blocks(self.blocks)
        self.order = list(self.graph.topo_order())
        self._split()
        for offset in self.order:
            for inst in self.blocks[offset].body:
                self._statement(inst, arguments)
            self._find_loop(offset)

    # -- names

    def _assignments(self) -> Iterator[tuple[int, Any]]:
        for offset in self.order:
            for inst in self.blocks[offset].body:
                if isinstance(inst, ir.Assign):
                    yield offset, inst

    def _split(self) -> None:
        count = Counter(inst.target.name for _, inst in self._assignments())
        several = {n for n, c in count.items() if c > 1}
        where = {inst.target.name: b for b, inst in self._assignments()}
        self.registers = set(count) - several
        dominators = self.graph.dominators()
        for offset in self.order:
            here: set[str] = set()
            for inst in self.blocks[offset].body:
                for name in _uses(inst):
                    if name not in where:
                        raise CompileError(f"{name} is read before it is assigned")
                    if where[name] not in dominators[offset] or (where[name] == offset and name not in here):
                        several.add(name)
                if isinstance(inst, ir.Assign):
                    here.add(inst.target.name)
        self.registers -= several
        if several:
            _Webs(self, several).split()

    # -- types

    def _statement(self, inst: Any, arguments: list[Any]) -> None:
        match inst:
            case ir.Assign(target=target, value=value):
                self._assign(target.name, value, arguments)
            case (
                ir.SetItem(target=target, index=index, value=value)
                | ir.StaticSetItem(target=target, index_var=index, value=value)
            ):
                self.calls[inst] = self.resolve(operator.setitem, [target, index, value])
            case ir.Return(value=value):
                kind = self.types[value.name]
                if kind is not types.none and not (kind is INDEX or isinstance(kind, types.Integer | types.Boolean)):
                    raise CompileError(f"not an integer: {kind}")
            case ir.Jump() | ir.Branch() | ir.PopBlock():
                pass
            case _:
                raise CompileError(f"not a statement of kernels: {inst}")

    def _assign(self, name: str, value: Any, arguments: list[Any]) -> None:
        found = self._type(name, value, arguments)
        before = self.types.setdefault(name, found)
        if before == found:
            return
        if {before, found} == {INDEX, NUMBERS["i64"]}:
            self.types[name] = NUMBERS["i64"]
            return
        raise CompileError(f"{name.partition('.')[0]} was {before} and becomes {found}")

    def _type(self, name: str, value: Any, arguments: list[Any]) -> Any:
        match value:
            case ir.Const(value=number):
                return self._constant(name, number)
            case ir.Global(value=word) | ir.FreeVar(value=word):
                return self._global(name, value.name, word)
            case ir.Arg(index=index):
                self.types[f"arg.{value.name}"] = arguments[index]  # where Numba looks for an argument's type
                return arguments[index]
            case ir.Var():
                if value.name in self.words:
                    self.words[name] = self.words[value.name]
                return self.types[value.name]
        return self._expression(name, value)

    def _constant(self, name: str, number: Any) -> Any:
        if number is None:
            return types.none
        if not isinstance(number, bool | int | float):
            raise CompileError(f"not an expression of kernels: {number!r}")
        if name in self.registers:
            self.constants[name] = number
        if isinstance(number, bool):
            return types.boolean
        return NUMBERS["f64"] if isinstance(number, float) else INDEX if number < 2**63 else NUMBERS["u64"]

    def _global(self, name: str, text: str, word: Any) -> Any:
        if word is ir.UNDEFINED:
            raise CompileError(f"{text} is read before it is assigned")
        if not (isinstance(word, Word) or word is bool or word is range):
            raise CompileError(f"kernels do not call {text}")
        self.words[name] = word
        return self.typing.resolve_value_type(word)

    def _expression(self, name: str, expr: Any) -> Any:
        match expr.op:
            case "call" if expr.func.name in self.words and not expr.kws and not expr.vararg:
                word = self.words[expr.func.name]
                literal = word is range or getattr(word, "name", "") in LITERAL
                found = self.resolve(word, expr.args, range(len(expr.args)) if literal else ())
            case "binop":
                shift = expr.fn in (operator.lshift, operator.rshift)
                found = self.resolve(expr.fn, [expr.lhs, expr.rhs], (1,) if shift else ())
            case "unary":
                found = self.resolve(expr.fn, [expr.value])
            case "getitem":
                found = self.resolve(operator.getitem, [expr.value, expr.index])
            case "static_getitem":
                found = self.resolve(operator.getitem, [expr.value, expr.index_var])
            case "cast" | "getiter":
                return self.types[expr.value.name]
            case "iternext" if isinstance(self.types[expr.value.name], RangeType):
                return self.types[expr.value.name]
            case "pair_first":
                return INDEX
            case "pair_second":
                return types.boolean
            case _:
                raise CompileError(f"not an expression of kernels: {expr}")
        self.calls[expr] = found
        result = found.return_type
        if isinstance(result, PointerType) and result.group is not None:
            self.scopes[result.group].add(result.scope)
        return result

    def resolve(self, key: Any, operands: Any, literal: Any = ()) -> Any:
        """Return the signature of a word or operator for these operands. Raises `CompileError`."""
        args = tuple(self.types[v.name] for v in operands)
        if literal:
            args = tuple(
                self._literal(v, t) if i in literal else t for i, (v, t) in enumerate(zip(operands, args, strict=True))
            )
        signature = _signatures.get((key, args))
        if signature is None:
            try:
                signature = self.typing.resolve_function_type(key, args, {})
            except NumbaError as error:
                raise CompileError(str(error)) from error
            if signature is None:
                raise CompileError(f"not an operator of kernels: {getattr(key, '__name__', key)}")
            _signatures[key, args] = signature
        return signature

    def _literal(self, operand: Any, type_: Any) -> Any:
        number = self.constants.get(operand.name)
        return types.literal(number) if type(number) is int and operand.name in self.registers else type_

    # -- loops

    def _find_loop(self, offset: int) -> None:
        body = self.blocks[offset].body
        first = body[0]
        if not _is_test(self.blocks[offset]):
            return
        names = [body[1].target.name]
        for inst in body[3:-1]:
            if not (isinstance(inst, ir.Assign) and isinstance(inst.value, ir.Var)):
                raise CompileError(f"not a statement of kernels: {inst}")
            if inst.value.name in names:
                names.append(inst.target.name)
        natural = self.graph.loops().get(offset)
        blocks = frozenset(natural.body) if natural else frozenset({offset})
        straight = all(sum(s in blocks for s, _ in self.graph.successors(b)) < 2 for b in blocks)
        branch, source = body[-1], first.value.value.name
        loop = Loop(
            offset, branch.truebr, branch.falsebr, source, tuple(names), blocks, straight, self.types[source].step
        )
        self.loops[offset] = self.bodies[loop.body] = loop


def _without_prefixes(blocks: dict[int, Any]) -> None:
    """Drop blocks that only lead to a loop's test: bytecode has them where a jump is long (`EXTENDED_ARG`).

    They hold copies of the loop's iterator, which belong where it is made. A block of other copies is the end of a
    step, behind a loop inside.
    """
    assigned = [(i, b) for b in blocks.values() for i in b.body if isinstance(i, ir.Assign)]
    homes = {i.target.name: b for i, b in assigned if isinstance(i.value, ir.Expr) and i.value.op == "getiter"}
    moved: dict[int, int] = {}
    for offset, block in list(blocks.items()):
        *copies, last = block.body
        if not (isinstance(last, ir.Jump) and _is_test(blocks[last.target])):
            continue
        if not all(isinstance(c, ir.Assign) and isinstance(c.value, ir.Var) for c in copies):
            continue
        if any(homes.get(c.value.name, block) is block for c in copies):
            continue
        for copy in copies:
            home = homes[copy.target.name] = homes[copy.value.name]
            home.body.insert(len(home.body) - 1, copy)
        moved[offset] = last.target
    for offset in moved:
        del blocks[offset]
    for block in blocks.values() if moved else ():
        end = block.body[-1]
        if isinstance(end, ir.Jump) and end.target in moved:
            block.body[-1] = ir.Jump(moved[end.target], end.loc)
        elif isinstance(end, ir.Branch) and (end.truebr in moved or end.falsebr in moved):
            yes, no = (moved.get(t, t) for t in (end.truebr, end.falsebr))
            block.body[-1] = ir.Branch(end.cond, yes, no, end.loc)


def _is_test(block: Any) -> bool:
    first = block.body[0]
    return isinstance(first, ir.Assign) and isinstance(first.value, ir.Expr) and first.value.op == "iternext"


@dataclass
class _Webs:
    """Definitions that reach a common use are one variable."""

    flow: Flow
    several: set[str]
    parents: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def split(self) -> None:
        """Rename variables of several assignments."""
        defined: dict[int, int] = {}
        out: dict[int, dict[str, frozenset[int]]] = {}
        blocks, order, graph = self.flow.blocks, self.flow.order, self.flow.graph
        last: dict[int, dict[str, int]] = {}
        for offset in order:
            last[offset] = {}
            for inst in blocks[offset].body:
                if isinstance(inst, ir.Assign) and inst.target.name in self.several:
                    defined[id(inst)] = last[offset][inst.target.name] = len(self.names)
                    self.names.append(inst.target.name)
                    self.parents.append(len(self.parents))
        nothing = dict.fromkeys(self.several, frozenset({-1}))
        into: dict[int, dict[str, frozenset[int]]] = {}
        changed = True
        while changed:
            changed = False
            for offset in order:
                known = [out[p] for p, _ in graph.predecessors(offset) if p in out]
                merged = nothing if not known else known[0] if len(known) == 1 else _union(known, self.several)
                into[offset] = merged
                given = {**merged, **{n: frozenset({d}) for n, d in last[offset].items()}} if last[offset] else merged
                if out.get(offset) != given:
                    out[offset], changed = given, True
        seen: dict[int, dict[str, int]] = {}
        unsure: set[int] = set()
        for offset in order:
            current = dict(into[offset])
            for inst in blocks[offset].body:
                for name in _uses(inst):
                    if name in self.several:
                        reach = sorted(current[name] - {-1})
                        if not reach:
                            raise CompileError(f"{name} is read before it is assigned")
                        for other in reach[1:]:
                            self.parents[self.root(other)] = self.root(reach[0])
                        if -1 in current[name]:
                            unsure.add(reach[0])
                        seen.setdefault(id(inst), {})[name] = reach[0]
                if id(inst) in defined:
                    current[inst.target.name] = frozenset({defined[id(inst)]})
        sizes = Counter(map(self.root, range(len(self.names))))
        unsure = {self.root(u) for u in unsure}
        webs = {n: f"{self.names[n]}.{n}" for n in sizes}
        self.flow.registers |= {webs[n] for n, size in sizes.items() if size == 1 and n not in unsure}
        for offset in order:
            for inst in blocks[offset].body:
                if (uses := seen.get(id(inst))) is not None:
                    renamed = {name: webs[self.root(d)] for name, d in uses.items()}
                    _rename(inst, partial(_renamed, renamed))
                if id(inst) in defined:
                    target = inst.target
                    inst.target = ir.Var(target.scope, webs[self.root(defined[id(inst)])], target.loc)

    def root(self, n: int) -> int:
        """Return the definition that stands for a web."""
        while self.parents[n] != n:
            self.parents[n] = self.parents[self.parents[n]]
            n = self.parents[n]
        return n


def _union(known: list[dict[str, frozenset[int]]], names: set[str]) -> dict[str, frozenset[int]]:
    return {n: frozenset().union(*(k[n] for k in known)) for n in names}


def _operands(expr: Any) -> Iterator[Any]:
    for value in expr._kws.values():
        if isinstance(value, ir.Var):
            yield value
        elif isinstance(value, list | tuple):
            yield from (v for v in value if isinstance(v, ir.Var))


def _uses(inst: Any) -> list[str]:
    """Return the names that a statement reads."""
    match inst:
        case ir.Assign(value=ir.Var() as value):
            return [value.name]
        case ir.Assign(value=ir.Expr() as value):
            return [v.name for v in _operands(value)]
        case (
            ir.SetItem(target=target, index=index, value=value)
            | ir.StaticSetItem(target=target, index_var=index, value=value)
        ):
            return [target.name, index.name, value.name]
        case ir.Branch(cond=cond):
            return [cond.name]
        case ir.Return(value=value):
            return [value.name]
    return []


def _renamed(new: dict[str, str], var: Any) -> Any:
    return ir.Var(var.scope, new[var.name], var.loc) if var.name in new else var


def _rename(inst: Any, new: Callable[[Any], Any]) -> None:
    """Put other variables in the place of those that a statement reads."""
    match inst:
        case ir.Assign(value=ir.Var() as value):
            inst.value = new(value)
        case ir.Assign(value=ir.Expr() as expr):
            for key, value in expr._kws.items():
                if isinstance(value, ir.Var):
                    expr._kws[key] = new(value)
                elif isinstance(value, list | tuple):
                    expr._kws[key] = [new(v) if isinstance(v, ir.Var) else v for v in value]
        case ir.SetItem():
            inst.target, inst.index, inst.value = new(inst.target), new(inst.index), new(inst.value)
        case ir.StaticSetItem():
            inst.target, inst.index_var, inst.value = new(inst.target), new(inst.index_var), new(inst.value)
        case ir.Branch():
            inst.cond = new(inst.cond)
        case ir.Return():
            inst.value = new(inst.value)
