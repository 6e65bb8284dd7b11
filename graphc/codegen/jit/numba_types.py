"""Kernels' types and operators, as Numba's typing knows them: a target of our own with the kernel language only.

A *word* is a function of the vocabulary or an operator. What it returns follows from its operands' dtypes by the rule
in `vocabulary`; `numba_words` has its body. Numbers are Numba's own types, and `INDEX` an int64 of the kernel's own: a
word of its frame, a counter, a position; those never overflow, and LLVM is told so.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numba.core import types
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, Registry, signature

from graphc.codegen.math.tiles import tiles
from graphc.codegen.math.vecmath import MAX_CALL_ARGUMENTS, POINTER_KINDS, VOCABULARY, WRITTEN_BUFFERS
from graphc.codegen.math.vocabulary import arithmetic, functions
from graphc.graph.errors import CompileError

NUMBERS: dict[str, Any] = {
    **{"bool": types.boolean, "f32": types.float32, "f64": types.float64},
    **{f"i{n}": getattr(types, f"int{n}") for n in (8, 16, 32, 64)},
    **{f"u{n}": getattr(types, f"uint{n}") for n in (8, 16, 32, 64)},
}


class IndexType(types.Type):
    """A position or a size."""

    def __init__(self) -> None:
        super().__init__(name="graphc index")


class PointerType(types.Type):
    """An address of elements of one dtype, `p = f64p(address)`; `frame`: it reads indices.

    What its loads and stores say of aliasing replaces LLVM's run-time overlap checks: `f64p(address, k)` is the k-th
    written buffer (`scope`), which no other written buffer and no read-only input overlaps; `f64p(address)` is
    read-only. A buffer updated in place is read through the pointer it is written through. A kernel that holds several
    nests numbers them: `f64p(address, k, group)` says nothing about pointers of other groups, k = 0 is read-only
    there; `f64p(address, 0)` says nothing at all (no `group`).
    """

    def __init__(self, kind: str, scope: int, group: int | None, frame: bool = False) -> None:
        self.kind, self.scope, self.group, self.frame = kind, scope, group, frame
        super().__init__(name=f"graphc pointer({kind}, {scope}, {group}, {frame})")


class RangeType(types.Type):
    """A range with a literal step."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(name=f"graphc range({step})")


INDEX = IndexType()
FRAME = PointerType("i64", 0, 0, frame=True)
KINDS: dict[Any, str] = {INDEX: "i64", **{t: k for k, t in NUMBERS.items()}}


@dataclass(frozen=True, eq=False)
class Word:
    """A name of the vocabulary as a global of kernels, and an operator as what it is called inside."""

    name: str

    def __call__(self) -> None:
        """Numba wants globals that it calls to be callable."""


BINARY = {
    **{operator.add: "__add__", operator.sub: "__sub__", operator.mul: "__mul__", operator.truediv: "__truediv__"},
    **{operator.and_: "__and__", operator.or_: "__or__", operator.xor: "__xor__"},
    **{operator.lshift: "__lshift__", operator.rshift: "__rshift__", operator.floordiv: "floordiv"},
}
ORDERS = {
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
UNARY = {operator.not_: "not", operator.neg: "__neg__", operator.invert: "__invert__"}
_OF_INDICES = (operator.add, operator.sub, operator.mul)
CALLS = {"call_i64": ("i64", 0), "call_void": ("void", 0), "call_transpose": ("void", 1)}
"""Calls of C functions at an address: what they return, and how many operands they do not get."""
POINTERS = {f"{kind}p": kind for kind in POINTER_KINDS}
SPECIAL_FORMS = (*POINTERS, *CALLS, "prefetch", "polygamma", "stack")
"""What is called like a function, and takes more than numbers."""
LITERAL = frozenset({*POINTERS, "stack", "polygamma"})
"""What takes literals."""


def _kinds(args: Sequence[Any]) -> list[str]:
    found = [KINDS.get(a if a in KINDS else types.unliteral(a)) for a in args]
    if None in found:
        wrong = args[found.index(None)]
        raise TypingError(f"not a number: {wrong}")
    return [k for k in found if k is not None]


def _whole(arg: Any) -> int | None:
    return arg.literal_value if isinstance(arg, types.IntegerLiteral) else None


def check_whole(arg: Any) -> None:
    """Refuse what is no integer. Raises `TypingError`."""
    (kind,) = _kinds([arg])
    if kind[0] == "f":
        raise TypingError(f"not an integer: a number of {kind}")


def binary(op: Any, args: Sequence[Any]) -> Any:
    """Return the type of an operator's value. Raises `TypingError`."""
    if all(a is INDEX for a in args) and op in _OF_INDICES:
        return INDEX
    kinds = _kinds(args)
    kind = arithmetic(kinds)
    if op in ORDERS:
        return types.boolean
    if op is operator.truediv:
        return NUMBERS[kind if kind[0] == "f" else "f64"]
    if op in (operator.add, operator.sub, operator.mul):
        return NUMBERS[kind]
    if kind[0] != "f":
        if op in (operator.and_, operator.or_, operator.xor) and kinds == ["bool", "bool"]:
            return types.boolean
        if op not in (operator.lshift, operator.rshift) or _whole(args[1]) in range(64):
            return NUMBERS[kind]
    raise TypingError(f"not an operator of kernels: {op.__name__} of {', '.join(kinds)}")


def unary(op: Any, args: Sequence[Any]) -> Any:
    """Return the type of an operator's value. Raises `TypingError`."""
    (kind,) = _kinds(args)
    if op is operator.not_ or (op is operator.invert and kind == "bool"):
        return types.boolean
    return NUMBERS[arithmetic([kind])]


def scope_of(numbers: Sequence[int | None]) -> tuple[int, int | None]:
    """Return the scope and the group that a constructor's literals mean; None is an operand that is no literal.

    Raises `CompileError`.
    """
    if not numbers:
        return 0, 0
    scope, group = numbers[0], numbers[-1]
    if len(numbers) > 2 or scope is None or group is None or not 0 <= scope <= WRITTEN_BUFFERS or group < 0:
        raise CompileError(f"a written buffer is a literal in 0..{WRITTEN_BUFFERS}, a group a literal, got {numbers}")
    if len(numbers) == 1:
        return scope, 0 if scope else None
    return scope, group


def call(name: str, args: Sequence[Any]) -> Any:
    """Return the type of a call's value. Raises `TypingError`."""
    if name in POINTERS and 1 <= len(args) <= 3:
        check_whole(args[0])
        return PointerType(POINTERS[name], *scope_of([_whole(a) for a in args[1:]]))
    if (function := functions().get(name)) is not None:
        kinds = _kinds(args)
        if len(kinds) != function.operands:
            raise TypingError(f"{name} takes {function.operands} operands, got {len(kinds)}")
        if name == "select" and all(a is INDEX for a in args[1:]):
            return INDEX
        return result(name, tuple(kinds))
    if name in CALLS and 1 <= len(args) <= MAX_CALL_ARGUMENTS + 1:
        for a in args:
            check_whole(a)
        return types.none if CALLS[name][0] == "void" else types.int64
    if name == "prefetch" and len(args) == 2 and isinstance(args[0], PointerType):
        return types.none
    if name == "polygamma" and len(args) == 2 and (_whole(args[0]) or 0) >= 0 and _whole(args[0]) is not None:
        return NUMBERS["f32" if _kinds(args[1:]) == ["f32"] else "f64"]
    if name == "stack" and len(args) == 1 and _whole(args[0]) is not None:
        return types.int64
    if name in tiles():
        return types.none
    raise TypingError(f"kernels do not call {name} with {', '.join(map(str, args))}")


def result(name: str, kinds: tuple[str, ...]) -> Any:
    """Return the type of a function of numbers: its body tells."""
    from graphc.codegen.jit.numba_words import word_text

    return NUMBERS[word_text(name, kinds, "vector").kind]


REGISTRY = Registry()
"""What Numba's typing knows of kernels."""
WORDS = {name: Word(name) for name in sorted({*VOCABULARY, *tiles()})}
"""The globals of kernels."""


def _declare(key: Any, rule: Any) -> None:
    def generic(self: Any, args: Any, kws: Any) -> Any:
        try:
            return signature(rule(args), *args)
        except CompileError as error:
            raise TypingError(str(error)) from error

    template = type(str(key), (AbstractTemplate,), {"key": key, "generic": generic})
    REGISTRY.register_global(key, types.Function(template))


def _getitem(args: Sequence[Any]) -> Any:
    pointer, index = args
    if not isinstance(pointer, PointerType):
        raise TypingError(f"not a pointer: {pointer}")
    check_whole(index)
    return INDEX if pointer.frame else NUMBERS[pointer.kind]


def _setitem(args: Sequence[Any]) -> Any:
    _getitem(args[:2])
    _kinds(args[2:])
    return types.none


def _range(args: Sequence[Any]) -> Any:
    step = _whole(args[2]) if len(args) == 3 else 1
    if not step or not 1 <= len(args) <= 3:
        raise TypingError("a loop's range has a literal step other than 0")
    for a in args[:2]:
        check_whole(a)
    return RangeType(step)


for _op in (*BINARY, *ORDERS):
    _declare(_op, partial(binary, _op))
for _not in UNARY:
    _declare(_not, partial(unary, _not))
for _name, _word in WORDS.items():
    _declare(_word, partial(call, _name))
_declare(bool, partial(call, "bool"))
_declare(range, _range)
_declare(operator.getitem, _getitem)
_declare(operator.setitem, _setitem)
