"""What the code of an op says: the one place that reads it. Everything else takes it as it is.

The code of one element is an expression with `{0}`, `{1}`, ... for the operands; see `Pointwise.code`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_CALL = re.compile(r"\b([a-z_0-9]+)\(")
_OPERATOR = re.compile(r"[-+*<>&|^]|[=!]=")


@dataclass(frozen=True, slots=True)
class Contents:
    """What code is made of: the words that it calls, its quotients and its other operators."""

    words: tuple[str, ...]
    quotients: int
    operators: int


@lru_cache(maxsize=1024)
def contents_of(code: str) -> Contents:
    """Return what code is made of.

    >>> contents_of("select({0} < {T}(1), log1p(-{0}), {0} / {1})")
    Contents(words=('select', 'log1p'), quotients=1, operators=2)
    """
    return Contents(tuple(_CALL.findall(code)), code.count("/"), len(_OPERATOR.findall(code)))


@lru_cache(maxsize=1024)
def with_word(code: str, old: str, new: str) -> str:
    """Return code that calls another word in place of one.

    >>> with_word("sin({0}) + asin({1})", "sin", "scalar_sin")
    'scalar_sin({0}) + asin({1})'
    """
    return _CALL.sub(lambda m: f"{new}(" if m[1] == old else m[0], code)
