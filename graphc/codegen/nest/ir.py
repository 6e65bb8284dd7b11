"""The language of loop nests, typed: scalar expressions, statements, loops. `render` writes it as Python.

Expressions are immutable by convention and equal by value. Python's operators build them: `a + b * 2` is a `Binary`,
`p[i]` a `Load`; equality is `a.eq(b)`, since `==` compares expressions themselves. Every expression knows its dtype by
its short name (`kind`: f64, i32, bool, ...), of a pointer that of its elements. What an op computes of one element is a
`Formula`: the op's own code, of typed operands, that nothing takes apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

if TYPE_CHECKING:
    from graphc.graph.node import Node
    from graphc.graph.types import Size

ATOM = 12
_LEVELS = {"or": 1, "and": 2, "<": 4, "<=": 4, ">": 4, ">=": 4, "==": 4, "!=": 4, "|": 5, "^": 6, "&": 7, ">>": 8}
_LEVELS |= {"+": 9, "-": 9, "*": 10, "/": 10, "//": 10}
COMPARISONS = 4
"""How tightly Python's operators bind."""


def _is_unfamiliar(outer: int, inner: int) -> bool:
    """Tell whether few readers know which of two operators binds tighter: one of them works on bits."""
    return inner < 11 and (5 <= outer <= 7 or (outer == COMPARISONS and 5 <= inner <= 7))


def _operator(op: str) -> Callable[[Expr, Operand], Binary]:
    def build(self: Expr, other: Operand) -> Binary:
        return Binary(op, self, number(other))

    return build


def _is_row(value: Any) -> bool:
    """Tell whether a field holds several expressions."""
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], Expr)


class Expr:
    """A scalar value, or a pointer."""

    __slots__ = ()
    __iter__ = None  # `p[i]` is a load, not an element of a sequence
    __match_args__: ClassVar[tuple[str, ...]] = ()
    level: ClassVar[int] = ATOM

    if TYPE_CHECKING:

        @property
        def kind(self) -> str:
            """The short name of the dtype, of a pointer that of its elements."""

    @property
    def parts(self) -> tuple[Expr, ...]:
        """The expressions that this one is made of."""
        found: list[Expr] = []
        for value in (getattr(self, name) for name in self.__match_args__):
            found += [value] if isinstance(value, Expr) else value if _is_row(value) else ()
        return tuple(found)

    def of(self, *parts: Expr) -> Expr:
        """Return the same of other parts."""
        left = iter(parts)
        values: list[Any] = []
        for value in (getattr(self, name) for name in self.__match_args__):
            if isinstance(value, Expr):
                values.append(next(left))
            else:
                values.append(tuple([next(left) for _ in value]) if _is_row(value) else value)
        return cast(Any, type(self))(*values)  # type: ignore[no-any-return]

    __add__ = _operator("+")
    __sub__ = _operator("-")
    __mul__ = _operator("*")
    __truediv__ = _operator("/")
    __floordiv__ = _operator("//")
    __rshift__ = _operator(">>")
    __and__ = _operator("&")
    __or__ = _operator("|")
    __lt__ = _operator("<")
    __le__ = _operator("<=")
    __gt__ = _operator(">")
    __ge__ = _operator(">=")
    eq = _operator("==")
    ne = _operator("!=")

    def __rmul__(self, other: Operand) -> Binary:
        return Binary("*", number(other), self)

    def __neg__(self) -> Negative:
        return Negative(self)

    def __getitem__(self, index: Operand) -> Load:
        return Load(self, number(index))


Operand = Expr | int | float


@dataclass(slots=True, unsafe_hash=True)
class Var(Expr):
    """A variable that holds a number."""

    name: str
    kind: str = "i64"

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True, unsafe_hash=True)
class Pointer(Expr):
    """A variable that holds a typed pointer: at the element `offset` of `base`, where it is at a stored value."""

    name: str
    kind: str
    base: Node | None = None
    offset: Size = 0

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True, unsafe_hash=True)
class Number(Expr):
    """A literal, with the cast of its dtype where it is not the int64 or the truth value that Python reads."""

    value: float
    kind: str = "i64"
    cast: bool = False

    def __str__(self) -> str:
        text = str(self.value).replace("inf", "1e400")
        return f"{self.kind}({text})" if self.cast else text


@dataclass(slots=True, unsafe_hash=True)
class Word(Expr):
    """The number in a slot of the frame."""

    slot: int | Expr

    @property
    def kind(self) -> str:
        return "i64"

    def __str__(self) -> str:
        return f"frame[{self.slot!s}]"


@dataclass(slots=True, unsafe_hash=True)
class Load(Expr):
    """An element in memory."""

    pointer: Expr
    index: Expr

    @property
    def kind(self) -> str:
        return self.pointer.kind

    def __str__(self) -> str:
        return f"{self.pointer!s}[{self.index!s}]"


@dataclass(slots=True, unsafe_hash=True)
class Cast(Expr):
    """A number converted to another dtype."""

    kind: str
    operand: Expr

    def __str__(self) -> str:
        return f"{self.kind}({self.operand!s})"


@dataclass(slots=True, unsafe_hash=True)
class Address(Expr):
    """A pointer at an address; `scope` tells the compiler which pointers share no memory: see `pointers`."""

    kind: str
    word: Expr
    scope: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}p({', '.join(map(str, (self.word, *self.scope)))})"


@dataclass(slots=True, unsafe_hash=True)
class Binary(Expr):
    """An operator between two values."""

    op: str
    left: Expr
    right: Expr

    @property
    def kind(self) -> str:
        return "bool" if _LEVELS[self.op] <= COMPARISONS else self.left.kind

    @property
    def level(self) -> int:  # type: ignore[override]
        return _LEVELS[self.op]

    def __str__(self) -> str:
        level = _LEVELS[self.op]
        first, second = self.left.level, self.right.level
        left, right = str(self.left), str(self.right)
        if first < level or first == level == COMPARISONS or (first != level and _is_unfamiliar(level, first)):
            left = f"({left})"
        if second <= level or _is_unfamiliar(level, second):
            right = f"({right})"
        return f"{left} {self.op} {right}"


@dataclass(slots=True, unsafe_hash=True)
class Negative(Expr):
    """A number with the other sign."""

    operand: Expr
    level: ClassVar[int] = 11

    @property
    def kind(self) -> str:
        return self.operand.kind

    def __str__(self) -> str:
        return f"-{self.operand!s}" if self.operand.level >= 11 else f"-({self.operand!s})"


@dataclass(slots=True, unsafe_hash=True)
class Group(Expr):
    """Parentheses that readers like, and precedence does not ask for."""

    inner: Expr

    @property
    def kind(self) -> str:
        return self.inner.kind

    def __str__(self) -> str:
        return f"({self.inner!s})"


@dataclass(slots=True, unsafe_hash=True)
class Call(Expr):
    """A word of the vocabulary; a statement too, where it is called for its effect."""

    word: str
    operands: tuple[Expr, ...]

    @property
    def kind(self) -> str:
        return self.operands[1 if self.word == "select" else 0].kind if self.word != "isfinite" else "bool"

    def __str__(self) -> str:
        return f"{self.word!s}({', '.join(map(str, self.operands))})"


@dataclass(slots=True, unsafe_hash=True)
class Formula(Expr):
    """One element of an op: its code, with `{0}`, `{1}`, ... for the operands and `{T}` for the cast to their dtype."""

    code: str
    operands: tuple[Expr, ...]
    kind: str
    operand_kind: str
    level: ClassVar[int] = 0

    def __str__(self) -> str:
        return self.code.format(*map(str, self.operands), T=self.operand_kind)


# -- statements


@dataclass(slots=True)
class Let:
    """`target = value`."""

    target: Var | Pointer
    value: Expr


@dataclass(slots=True)
class Store:
    """`pointer[index] = value`."""

    pointer: Expr
    index: Expr
    value: Expr


@dataclass(slots=True)
class Loop:
    """`for variable in range(start, stop, step)`, with its body."""

    variable: Var
    start: Expr
    stop: Expr
    body: list[Statement]
    step: int | None = None


@dataclass(slots=True)
class While:
    """`while condition`, with its body."""

    condition: Expr
    body: list[Statement]


@dataclass(slots=True)
class If:
    """`if condition`, with what is done where it holds and where it does not."""

    condition: Expr
    body: list[Statement]
    otherwise: list[Statement]


@dataclass(slots=True)
class Return:
    """The end of the kernel, with its status."""

    value: Expr


Statement = Let | Store | Loop | While | If | Call | Return

ZERO, TRUE, FALSE = Number(0), Number(True, "bool"), Number(False, "bool")
CALLS = frozenset(("call_i64", "call_void", "call_transpose"))
"""Words that call a routine at an address."""
LO, HI = Var("lo"), Var("hi")
"""The range of the kernel's outermost loop."""


def itemsize(kind: str) -> int:
    """Return the bytes of an element."""
    return 1 if kind == "bool" else int(kind[1:]) // 8


def number(value: Operand) -> Expr:
    """Return an operand as an expression."""
    return value if isinstance(value, Expr) else Number(value)


def typed(value: float, kind: str) -> Number:
    """Return a literal of a dtype."""
    return Number(bool(value), kind) if kind == "bool" else Number(value, kind, cast=True)


def variables(names: str, kind: str = "i64") -> list[Var]:
    """Return variables of one dtype, by their names."""
    return [Var(name, kind) for name in names.split()]


def call(word: str, *operands: Operand) -> Call:
    """Return the call of a word."""
    return Call(word, tuple([x if isinstance(x, Expr) else Number(x) for x in operands]))


def select(condition: Expr, yes: Operand, no: Operand) -> Call:
    """Return one of two values."""
    return Call("select", (condition, number(yes), number(no)))


def both(*conditions: Expr) -> Expr:
    """Return a condition that holds where all do, from the left; true for none."""
    return _folded("and", conditions) if conditions else TRUE


def either(*conditions: Expr) -> Expr:
    """Return a condition that holds where one does, from the left."""
    return _folded("or", conditions)


def total(*terms: Operand) -> Expr:
    """Return the sum of positions, term by term; terms that are 0 are left out."""
    found: Expr = ZERO
    for term in map(number, terms):
        if term != ZERO:
            found = term if found is ZERO else _plus(found, term)
    return found


def _plus(sum_: Expr, term: Expr) -> Expr:
    if isinstance(term, Binary) and term.op in ("+", "-"):
        return Binary(term.op, _plus(sum_, term.left), term.right)
    return Binary("+", sum_, term)


def terms_of(index: Expr) -> list[Expr]:
    """Return the terms of a sum of positions."""
    found = []
    while isinstance(index, Binary) and index.op == "+":
        found.append(index.right)
        index = index.left
    return [index, *reversed(found)]


def _folded(op: str, parts: Sequence[Expr]) -> Expr:
    found = parts[0]
    for part in parts[1:]:
        found = Binary(op, found, part)
    return found
