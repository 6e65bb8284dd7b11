"""What `==` and `!=` of nodes and of dimensions return: true or false as identity, and refused as a value.

Lists, dicts and `in` ask whether two objects are equal, and for nodes the answer must be identity,
for dimensions whether they are one expression. A plain bool
would also go through as a mask, so that `gc.where(a == b, x, y)` computed nonsense without a word. An `Identity` has
a truth value, which is all that containers and `if` look at, and every other use of it is an error that says
`gc.equal`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from graphc.graph.errors import ArgumentError, at


class IdentityError(ArgumentError, AttributeError):
    """An attribute of the result of `==`, as in `(a == b).sum()`: also what `hasattr` expects."""


class Identity:
    """Whether two names are one node or dimension: a truth value, and no number, array or operand."""

    __slots__ = ("_kind", "_operator", "_truth")

    def __init__(self, operator: str, truth: bool, kind: str = "nodes") -> None:
        self._operator = operator
        self._truth = truth
        self._kind = kind

    def __bool__(self) -> bool:
        return self._truth

    def __eq__(self, other: object) -> bool:
        return self._truth == bool(other) if isinstance(other, (bool, Identity)) else self is other

    def __hash__(self) -> int:
        return hash(self._truth)

    def __repr__(self) -> str:
        return f"<{self._truth}, the identity of {self._kind}; gc.equal compares values>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Identity, (self._operator, self._truth, self._kind)

    def _message(self) -> str:
        name = "gc.equal" if self._operator == "==" else "gc.not_equal"
        return f"== and != of {self._kind} are identity, here {self._truth}; use {name}(x, y) to compare values{at()}"

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ArgumentError(self._message())

    def __getattr__(self, name: str) -> NoReturn:
        raise IdentityError(self._message())

    __array__ = __array_ufunc__ = __array_function__ = _refuse
    __int__ = __float__ = __complex__ = __index__ = __len__ = __iter__ = __contains__ = __getitem__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = __neg__ = __pos__ = __abs__ = _refuse
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse


SAME, OTHER = Identity("==", True), Identity("==", False)
NOT_SAME, NOT_OTHER = Identity("!=", False), Identity("!=", True)
SAME_SIZE, OTHER_SIZE = Identity("==", True, "dimensions"), Identity("==", False, "dimensions")
NOT_SAME_SIZE, NOT_OTHER_SIZE = Identity("!=", False, "dimensions"), Identity("!=", True, "dimensions")
"""One object each: `==` of nodes stays as cheap as it is."""
