"""Numba's lowering of kernels: words are called, pointers carry what is known of aliasing, ranges are plain counters.

A variable that one assignment reaches is a register; others live in memory, which LLVM turns into registers. A loop
over a range is tested at its end, with a latch of its own that may ask LLVM to interleave iterations.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import llvmlite.ir as ll
from numba.core import ir, types
from numba.core.imputils import Registry
from numba.core.lowering import Lower

from graphc.codegen.llvm_text import TYPES
from graphc.codegen.numba_flow import Flow, Loop
from graphc.codegen.numba_types import (
    BINARY,
    CALLS,
    INDEX,
    KINDS,
    ORDERS,
    POINTERS,
    UNARY,
    WORDS,
    PointerType,
    RangeType,
    Word,
)
from graphc.codegen.numba_words import CONVERT, ORDER, WordText, literal_cast, tile_text, word_text
from graphc.codegen.tiles import tiles
from graphc.codegen.vocabulary import functions

I64, ADDRESS, VOID = ll.IntType(64), ll.PointerType(), ll.VoidType()
LL = {
    **{"bool": ll.IntType(1), "f32": ll.FloatType(), "f64": ll.DoubleType()},
    **{f"{s}{n}": ll.IntType(n) for s in "iu" for n in (8, 16, 32, 64)},
}
_DIRECT = {
    **{(op, "f64"): f"f{name}" for op, name in (("add", "add"), ("sub", "sub"), ("mul", "mul"), ("truediv", "div"))},
    **{(op, "f32"): f"f{name}" for op, name in (("add", "add"), ("sub", "sub"), ("mul", "mul"), ("truediv", "div"))},
    **{(op, "i64"): op for op in ("add", "sub", "mul")},
}
"""Operators that are one instruction of llvmlite's builder."""


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


@dataclass
class Module:
    """What the lowering of one kernel gathers beside Numba's IR."""

    options: Options
    flow: Flow
    module: ll.Module
    builder: Any = None
    words: dict[str, WordText] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)
    marks: dict[tuple[int, int], tuple[Any, Any]] = field(default_factory=dict)
    weight: int = 0
    forks: int = 0

    def call(self, word: WordText, result: Any, args: list[Any]) -> Any:
        """Call a word."""
        if word.plain >= 0:
            return args[word.plain]
        function = self.declared.get(word.symbol)
        if function is None:
            self.words[word.symbol] = word
            kind = ll.FunctionType(result, [a.type for a in args])
            function = self.declared[word.symbol] = ll.Function(self.module, kind, word.symbol)
        self.weight += word.weight
        self.forks += word.forks
        return self.builder.call(function, args)

    def word(self, name: str, kinds: tuple[str, ...], args: list[Any]) -> Any:
        """Call a word of numbers by name."""
        text = word_text(name, kinds, self.options.precision)
        return self.call(text, LL[text.kind], args)

    def convert(self, value: Any, kind: str, to: str) -> Any:
        """Convert as a C cast does."""
        return value if kind == to else self.word(CONVERT + to, (kind,), [value])

    def index(self, value: Any, type_: Any) -> Any:
        """Convert an integer to an int64."""
        return self.convert(value, _kind(type_), "i64")

    def mark(self, access: Any, pointer: PointerType) -> None:
        """Attach what is known of aliasing: this access is in its scope, and touches no other of its group."""
        if pointer.group is None or not self.options.aliasing:
            return
        key = pointer.group, pointer.scope
        if key not in self.marks:
            self._add_group(pointer.group)
        inside, outside = self.marks[key]
        access.set_metadata("alias.scope", inside)
        if outside is not None:
            access.set_metadata("noalias", outside)

    def _add_group(self, group: int) -> None:
        domain = self.module.add_metadata([f"graphc {group}"])
        numbers = sorted(self.flow.scopes[group])
        scopes = {k: self.module.add_metadata([f"buffer {k} of {group}", domain]) for k in numbers}
        for k in numbers:
            others = [s for n, s in scopes.items() if n != k]
            outside = self.module.add_metadata(others) if others else None
            self.marks[group, k] = self.module.add_metadata([scopes[k]]), outside


def _kind(type_: Any) -> str:
    return KINDS.get(type_) or KINDS[types.unliteral(type_)]


# -- what words lower to, as Numba looks it up

REGISTRY = Registry("graphc")


def _lowering(key: Any) -> Any:
    return REGISTRY.lower(key, types.VarArg(types.Any))


def _declare_operators() -> None:
    for op in BINARY:
        name = op.__name__.strip("_") if op is not operator.floordiv else "floordiv"

        @_lowering(op)
        def lower_binary(context: Any, builder: Any, sig: Any, args: Any, op: Any = op, name: str = name) -> Any:
            m: Module = builder.graphc
            if sig.return_type is INDEX:
                return getattr(builder, name)(*args, flags=("nsw",))
            kinds = tuple(map(_kind, sig.args))
            direct = _DIRECT.get((name, kinds[0])) if kinds[0] == kinds[1] else None
            if direct:
                m.weight += 1
                return getattr(builder, direct)(*args)
            return m.word(BINARY[op], kinds, args)

    for op, sign in ORDERS.items():

        @_lowering(op)
        def lower_order(context: Any, builder: Any, sig: Any, args: Any, sign: str = sign) -> Any:
            m: Module = builder.graphc
            kinds = tuple(map(_kind, sig.args))
            if kinds == ("i64", "i64"):
                m.weight += 1
                return builder.icmp_signed(sign, *args)
            if kinds[0] == kinds[1] and kinds[0][0] == "f":
                m.weight += 1
                return (builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered)(sign, *args)
            return m.word(ORDER + sign, kinds, args)

    for op, name in UNARY.items():

        @_lowering(op)
        def lower_unary(context: Any, builder: Any, sig: Any, args: Any, name: str = name) -> Any:
            return builder.graphc.word(name, (_kind(sig.args[0]),), args)


def _lower_function(context: Any, builder: Any, sig: Any, args: Any, name: str) -> Any:
    return builder.graphc.word(name, tuple(map(_kind, sig.args)), args)


def _lower_pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    m: Module = builder.graphc
    m.weight += 1
    return builder.inttoptr(m.index(args[0], sig.args[0]), ADDRESS)


def _lower_tile(context: Any, builder: Any, sig: Any, args: Any, name: str) -> Any:
    builder.graphc.call(tile_text(name, tuple(str(a.type) for a in args)), VOID, args)


def _lower_address_call(context: Any, builder: Any, sig: Any, args: Any, name: str) -> Any:
    m: Module = builder.graphc
    result, skipped = CALLS[name]
    words = [m.index(a, t) for a, t in zip(args, sig.args, strict=True)]
    given = words[1 + skipped :]
    function = ll.FunctionType(VOID if result == "void" else I64, [I64] * len(given))
    m.weight += 2
    called = builder.call(builder.inttoptr(words[0], function.as_pointer()), given)
    return None if result == "void" else called


def _lower_prefetch(context: Any, builder: Any, sig: Any, args: Any) -> None:
    m: Module = builder.graphc
    place = _place(builder, sig.args[0], args[0], m.index(args[1], sig.args[1]))
    kind = ll.FunctionType(VOID, [ADDRESS, *[ll.IntType(32)] * 3])
    function = m.declared.get("llvm.prefetch.p0")
    if function is None:
        function = m.declared["llvm.prefetch.p0"] = ll.Function(m.module, kind, "llvm.prefetch.p0")
    m.weight += 2
    # To read; keep in all caches; data.
    builder.call(function, [place, *(ll.IntType(32)(n) for n in (0, 3, 1))])


def _lower_polygamma(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    m: Module = builder.graphc
    return m.word(f"polygamma {sig.args[0].literal_value}", (_kind(sig.args[1]),), args[1:])


def _lower_stack(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    with builder.goto_entry_block():
        place = builder.alloca(ll.ArrayType(ll.IntType(8), sig.args[0].literal_value))
        place.align = 64
    return builder.ptrtoint(place, I64)


def _place(builder: Any, pointer: PointerType, base: Any, index: Any) -> Any:
    return builder.gep(base, [index], source_etype=_memory(pointer.kind))


def _memory(kind: str) -> Any:
    return ll.IntType(8) if kind == "bool" else LL[kind]


@_lowering(operator.getitem)
def _lower_getitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    m: Module = builder.graphc
    pointer = sig.args[0]
    memory = _memory(pointer.kind)
    place = _place(builder, pointer, args[0], m.index(args[1], sig.args[1]))
    loaded = builder.load(place, typ=memory)
    m.mark(loaded, pointer)
    m.weight += 2
    return builder.icmp_unsigned("!=", loaded, memory(0)) if pointer.kind == "bool" else loaded


@_lowering(operator.setitem)
def _lower_setitem(context: Any, builder: Any, sig: Any, args: Any) -> None:
    m: Module = builder.graphc
    pointer = sig.args[0]
    value = m.convert(args[2], _kind(sig.args[2]), pointer.kind)
    place = _place(builder, pointer, args[0], m.index(args[1], sig.args[1]))
    if pointer.kind == "bool":
        value = builder.zext(value, ll.IntType(8))
    m.weight += 2
    m.mark(builder.store(value, place), pointer)


def _declare_words() -> None:
    special = {"prefetch": _lower_prefetch, "polygamma": _lower_polygamma, "stack": _lower_stack}
    for name, word in WORDS.items():
        if name in functions():
            _lowering(word)(_with_name(_lower_function, name))
        elif name in POINTERS:
            _lowering(word)(_lower_pointer)
        elif name in CALLS:
            _lowering(word)(_with_name(_lower_address_call, name))
        elif name in tiles():
            _lowering(word)(_with_name(_lower_tile, name))
        else:
            _lowering(word)(special[name])
    _lowering(bool)(_with_name(_lower_function, "bool"))


def _with_name(function: Any, name: str) -> Any:
    def lowered(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return function(context, builder, sig, args, name)

    return lowered


_declare_operators()
_declare_words()


class KernelLower(Lower):
    """Numba's lowering, where variables are registers and loops are counters."""

    def init(self) -> None:
        """Take what `numba_flow` found."""
        self.flow: Flow = self.metadata["flow"]
        self.values: dict[str, Any] = {}
        self.slots: dict[str, Any] = {}
        self.ranges: dict[str, tuple[Any, Any]] = {}
        self.counters: dict[int, Any] = {}
        self.bounds: dict[int, Any] = {}
        self.loads: dict[int, tuple[Loop, Any]] = {}
        self.weights: dict[int, tuple[int, int]] = {}
        self.graphc = Module(self.metadata["options"], self.flow, self.module)

    def lower(self) -> None:
        """Lower the function, and add it to no library: its module is taken as text."""
        self.setup_function(self.fndesc)
        self.graphc.builder = self.builder
        self.builder.graphc = self.graphc
        self.fnargs = self.function.args
        flow = self.flow
        for offset in flow.order:
            self.blkmap[offset] = self.function.append_basic_block(f"B{offset}")
        entry = self.builder.block
        for offset in flow.order:
            if offset not in flow.loops:
                self.lower_kernel_block(offset)
        for offset, loop in flow.loops.items():
            self.lower_latch(offset, loop)
        self.builder.position_at_end(entry)
        self.builder.branch(self.blkmap[self.firstblk])

    def lower_kernel_block(self, offset: int) -> None:
        """Lower a block; a loop's body begins by reading its counter."""
        self.builder.position_at_end(self.blkmap[offset])
        m = self.graphc
        before = m.weight, m.forks
        if (loop := self.flow.bodies.get(offset)) is not None:
            value = self.builder.load(self.counters[loop.header], typ=I64)
            for name in loop.names:
                self.storevar(value, name)
        for inst in self.blocks[offset].body:
            self.loc = inst.loc
            if isinstance(inst, ir.Jump):
                self.go(offset, inst.target)
            elif isinstance(inst, ir.Assign) and isinstance(self.typeof(inst.target.name), types.Callable):
                pass
            elif isinstance(inst, ir.Assign) and isinstance(self.typeof(inst.target.name), RangeType):
                self.assign_range(inst)
            elif isinstance(inst, ir.Branch):
                self.builder.cbranch(self.loadvar(inst.cond.name), *map(self.into, (inst.truebr, inst.falsebr), (offset, offset)))
            elif isinstance(inst, ir.Return):
                self.builder.ret(m.index(self.loadvar(inst.value.name), self.typeof(inst.value.name)))
            else:
                self.lower_inst(inst)
        self.weights[offset] = m.weight - before[0], m.forks - before[1]

    def go(self, offset: int, target: int) -> None:
        """Jump; into a loop by its test."""
        loop = self.flow.loops.get(target)
        if loop is None or offset in loop.blocks:
            self.builder.branch(self.blkmap[target])
            return
        start, stop = self.ranges[loop.source]
        self.counters[target] = counter = self.slot(I64)
        self.bounds[target] = stop
        self.builder.store(start, counter)
        more = self.builder.icmp_signed("<" if loop.step > 0 else ">", start, stop)
        self.builder.cbranch(more, self.blkmap[loop.body], self.into(loop.exit, target))

    def into(self, target: int, offset: int) -> Any:
        """Return the block that a branch goes to; into a loop by a block of its own, since its test comes first."""
        loop = self.flow.loops.get(target)
        if loop is None or offset in loop.blocks:
            return self.blkmap[target]
        block = self.function.append_basic_block()
        with self.builder.goto_block(block):
            self.go(offset, target)
        return block

    def lower_latch(self, offset: int, loop: Loop) -> None:
        """Lower the end of a loop: count, test, and go on."""
        self.builder.position_at_end(self.blkmap[offset])
        if offset not in self.counters:
            self.builder.unreachable()
            return
        counter = self.counters[offset]
        following = self.builder.add(self.builder.load(counter, typ=I64), I64(loop.step), flags=("nsw",))
        self.builder.store(following, counter)
        more = self.builder.icmp_signed("<" if loop.step > 0 else ">", following, self.bounds[offset])
        branch = self.builder.cbranch(more, self.blkmap[loop.body], self.into(loop.exit, offset))
        weight, forks = (sum(x) for x in zip(*(self.weights.get(b, (0, 0)) for b in loop.blocks), strict=True))
        options = self.graphc.options
        if options.turns and loop.straight and not forks and weight + 1 > options.long_loop:
            self.in_turns(branch, options.turns)

    def in_turns(self, branch: Any, turns: int) -> None:
        """Ask for a loop that takes several vectors at a time.

        Mathematics in a row has to wait for itself: a chain of tanh runs 1.6 times as fast when two of them take
        turns. LLVM interleaves short loops by itself.
        """
        count = self.module.add_metadata(["llvm.loop.interleave.count", ll.IntType(32)(turns)])
        loop = ll.MDValue(self.module, [], str(len(self.module.metadata)))
        loop.operands = (loop, count)
        branch.set_metadata("llvm.loop", loop)

    # -- Numba's hooks

    def assign_range(self, inst: Any) -> None:
        """Keep the bounds of a range; an iterator and its copies are the range."""
        value, name = inst.value, inst.target.name
        if isinstance(value, ir.Expr) and value.op == "call":
            bounds = [self.graphc.index(self.loadvar(a.name), self.typeof(a.name)) for a in value.args[:2]]
            self.ranges[name] = (bounds[0], bounds[1]) if len(bounds) == 2 else (I64(0), bounds[0])
        else:
            self.ranges[name] = self.ranges[(value if isinstance(value, ir.Var) else value.value).name]

    def lower_assign(self, ty: Any, inst: Any) -> Any:
        """Lower an assignment."""
        value = inst.value
        if isinstance(value, ir.Const):
            return LL[_kind(ty)](value.value)
        if isinstance(value, ir.Var):
            return self.loadvar(value.name)
        if isinstance(value, ir.Arg):
            return self.fnargs[value.index]
        if value.op == "cast":
            return self.loadvar(value.value.name)
        if value.op == "call":
            name = getattr(self.flow.words.get(value.func.name), "name", "")
            if name in TYPES and value.args[0].name in self.flow.constants:
                return ll.FormattedConstant(LL[name], literal_cast(self.flow.constants[value.args[0].name], name))
        return self.lower_expr(ty, value)

    def lower_inst(self, inst: Any) -> None:
        """Lower a statement, without what Numba keeps for debuggers."""
        if isinstance(inst, ir.Assign):
            name = inst.target.name
            value = self.lower_assign(self.typeof(name), inst)
            if value is not None:
                self.storevar(value, name)
        elif isinstance(inst, ir.StaticSetItem | ir.SetItem):
            index = inst.index_var if isinstance(inst, ir.StaticSetItem) else inst.index
            self.lower_setitem(inst.target, index, inst.value, self.fndesc.calltypes[inst])
        else:
            super().lower_inst(inst)

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        """Lower an operator."""
        return self.apply(op, expr, [expr.lhs, expr.rhs])

    def lower_getitem(self, resty: Any, expr: Any, value: Any, index: Any, signature: Any) -> Any:
        """Lower a read."""
        return self.apply(operator.getitem, expr, [value, index])

    def lower_setitem(self, target_var: Any, index_var: Any, value_var: Any, signature: Any) -> Any:
        """Lower a write."""
        return self.invoke(operator.setitem, signature, [target_var, index_var, value_var])

    def lower_call(self, resty: Any, expr: Any) -> Any:
        """Lower a call."""
        word = self.flow.words[expr.func.name]
        return self.apply(word, expr, expr.args)

    def lower_expr(self, resty: Any, expr: Any) -> Any:
        """Lower an expression."""
        if expr.op == "unary":
            return self.apply(expr.fn, expr, [expr.value])
        if expr.op == "static_getitem":
            return self.apply(operator.getitem, expr, [expr.value, expr.index_var])
        return super().lower_expr(resty, expr)

    def apply(self, key: Any, expr: Any, operands: Any) -> Any:
        """Call what the target's registry has for a word and these types."""
        return self.invoke(key, self.fndesc.calltypes[expr], operands)

    def invoke(self, key: Any, signature: Any, operands: Any) -> Any:
        """Call what the target's registry has for a word and these types."""
        implementation = self.context.implementation(key, signature)
        return implementation(self.context, self.builder, signature, [self.loadvar(v.name) for v in operands])

    def loadvar(self, name: str) -> Any:
        """Return a variable's value."""
        value = self.values.get(name)
        if value is None:
            slot = self.slots.get(name)
            if slot is None:
                slot = self.slots[name] = self.slot(self.lltype(name))
            value = self.builder.load(slot, typ=self.lltype(name))
        return value

    def storevar(self, value: Any, name: str, argidx: Any = None) -> None:
        """Assign to a variable."""
        if name in self.flow.registers:
            self.values[name] = value
            return
        slot = self.slots.get(name)
        if slot is None:
            slot = self.slots[name] = self.slot(self.lltype(name))
        self.builder.store(value, slot)

    def lltype(self, name: str) -> Any:
        """Return LLVM's type of a variable."""
        type_ = self.typeof(name)
        return ADDRESS if isinstance(type_, PointerType) else LL[_kind(type_)]

    def slot(self, type_: Any) -> Any:
        """Reserve memory for a variable."""
        with self.builder.goto_entry_block():
            return self.builder.alloca(type_)


def is_word(value: Any) -> bool:
    """Tell whether a global is a word."""
    return isinstance(value, Word) or value in (bool, range)
