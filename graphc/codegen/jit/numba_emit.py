"""What words and operators lower to, in a registry of the kind that Numba's targets have.

Simple arithmetic is one instruction; other words are calls of `numba_words`' functions. Pointers carry what is known
of aliasing; those of control kernels may share anything.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import llvmlite.ir as ll
from numba.core import types
from numba.core.imputils import Registry

from graphc.codegen.jit.numba_flow import Flow
from graphc.codegen.jit.numba_types import (
    BINARY,
    CALLS,
    INDEX,
    KINDS,
    ORDERS,
    POINTERS,
    UNARY,
    WORDS,
    PointerType,
)
from graphc.codegen.jit.numba_words import CONVERT, ORDER, WordText, tile_text, word_text
from graphc.codegen.math.tiles import tiles
from graphc.codegen.math.vocabulary import functions
from graphc.codegen.nest.options import KernelOptions

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


@dataclass
class Module:
    """What the lowering of one kernel gathers beside Numba's IR."""

    options: KernelOptions
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
        return self.convert(value, kind_of(type_), "i64")

    def mark(self, access: Any, pointer: PointerType) -> None:
        """Attach what is known of aliasing: this access is in its scope, and touches no other of its group."""
        if pointer.group is None or self.options.control:
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


def kind_of(type_: Any) -> str:
    """Return the short dtype name of a number's type."""
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
            kinds = tuple(map(kind_of, sig.args))
            direct = _DIRECT.get((name, kinds[0])) if kinds[0] == kinds[1] else None
            if direct:
                m.weight += 1
                return getattr(builder, direct)(*args)
            return m.word(BINARY[op], kinds, args)

    for op, sign in ORDERS.items():

        @_lowering(op)
        def lower_order(context: Any, builder: Any, sig: Any, args: Any, sign: str = sign) -> Any:
            m: Module = builder.graphc
            kinds = tuple(map(kind_of, sig.args))
            if kinds == ("i64", "i64"):
                m.weight += 1
                return builder.icmp_signed(sign, *args)
            if kinds[0] == kinds[1] and kinds[0][0] == "f":
                m.weight += 1
                return (builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered)(sign, *args)
            return m.word(ORDER + sign, kinds, args)

    for negation, unary in UNARY.items():

        @_lowering(negation)
        def lower_unary(context: Any, builder: Any, sig: Any, args: Any, name: str = unary) -> Any:
            return builder.graphc.word(name, (kind_of(sig.args[0]),), args)


def _lower_function(context: Any, builder: Any, sig: Any, args: Any, name: str) -> Any:
    return builder.graphc.word(name, tuple(map(kind_of, sig.args)), args)


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
    return m.word(f"polygamma {sig.args[0].literal_value}", (kind_of(sig.args[1]),), args[1:])


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
    value = m.convert(args[2], kind_of(sig.args[2]), pointer.kind)
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
