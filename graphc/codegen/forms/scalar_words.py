"""Sines and cosines of single numbers: the C library's, where no vector is computed.

Outside of loops over elements, `sin` and `cos` would be vectors with one lane in use:

before: `t1 = sin(x1)`, `for d0 in ...: t2 = sin(x2)`
after: `t1 = scalar_sin(x1)`, `for d0 in ...: t2 = sin(x2)`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.codegen.nest.ir import Cast, Expr, Formula, If, Let, Loop, Statement, Store
from graphc.codegen.nest.nest import LoopNest
from graphc.codegen.nest.walks import changed
from graphc.ops.code import contents_of, with_word

_WORDS = {"sin": "scalar_sin", "cos": "scalar_cos"}


def use_scalar_words(nest: LoopNest) -> LoopNest:
    """Return the nest with the scalar form of words outside of its loops over elements."""
    body = _scalar(nest.body, 1 if nest.stepped else 0)
    return nest if body is nest.body else replace(nest, body=tuple(body))


def _scalar(body: Sequence[Statement], loops: int) -> Sequence[Statement]:
    """Return statements with scalar words, or the same where none changes; so many loops are not over elements."""
    new = [_changed(statement, loops) for statement in body]
    return body if all(a is b for a, b in zip(body, new, strict=True)) else new


def _changed(statement: Statement, loops: int) -> Statement:
    if isinstance(statement, Let | Store):
        return changed(statement, _word) if _has_words(statement.value) else statement
    if isinstance(statement, If):
        body, otherwise = _scalar(statement.body, loops), _scalar(statement.otherwise, loops)
        same = body is statement.body and otherwise is statement.otherwise
        return statement if same else If(statement.condition, list(body), list(otherwise))
    if isinstance(statement, Loop) and loops:
        body = _scalar(statement.body, loops - 1)
        return statement if body is statement.body else replace(statement, body=list(body))
    return statement


def _has_words(value: Expr) -> bool:
    formula = value.operand if isinstance(value, Cast) else value
    return isinstance(formula, Formula) and not _WORDS.keys().isdisjoint(contents_of(formula.code).words)


def _word(part: Expr) -> Expr | None:
    if not isinstance(part, Formula):
        return None
    code = part.code
    for old, new in _WORDS.items():
        code = with_word(code, old, new)
    return replace(part, code=code)
