"""`render(nest) -> str`: plain Python over flat arrays.

The text is canonical: variables are numbered, nothing of the user's graph is named, so that kernels of equal
structure have equal text and are compiled once. It runs uncompiled too (`graphc.codegen.run.debug`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.codegen.nest.ir import Call, If, Let, Loop, Return, Statement, Store, While
from graphc.codegen.nest.nest import LoopNest

_INDENT = "    "


def render(nest: LoopNest) -> str:
    """Return the source of `kernel(frame, lo, hi)`, whose value is 0 or the number of the check that failed."""
    return "\n".join(["def kernel(frame, lo, hi):", *_lines(nest.body, _INDENT), "    return 0", ""])


def _lines(statements: Iterable[Statement], indent: str) -> Iterable[str]:
    for statement in statements:
        if isinstance(statement, Let | Store | Return | Call):
            yield indent + _line(statement)
        elif isinstance(statement, Loop):
            bounds = [statement.start, statement.stop, *([statement.step] if statement.step else [])]
            yield f"{indent}for {statement.variable} in range({', '.join(map(str, bounds))}):"
            yield from _lines(statement.body, indent + _INDENT)
        elif isinstance(statement, While):
            yield f"{indent}while {statement.condition}:"
            yield from _lines(statement.body, indent + _INDENT)
        else:
            yield from _choice(statement, indent, "if")


def _line(statement: Let | Store | Return | Call) -> str:
    if isinstance(statement, Let):
        return f"{statement.target.name} = {statement.value!s}"
    if isinstance(statement, Store):
        return f"{statement.pointer!s}[{statement.index!s}] = {statement.value!s}"
    return f"return {statement.value}" if isinstance(statement, Return) else str(statement)


def _choice(statement: If, indent: str, word: str) -> Iterable[str]:
    body, otherwise = statement.body, statement.otherwise
    head = f"{indent}{word} {statement.condition}:"
    if word == "if" and not otherwise and _is_short(body):
        yield f"{head} {_line(body[0])}"  # type: ignore[arg-type]
        return
    yield head
    yield from _lines(body, indent + _INDENT)
    if len(otherwise) == 1 and isinstance(otherwise[0], If):
        yield from _choice(otherwise[0], indent, "elif")
    elif otherwise:
        yield f"{indent}else:"
        yield from _lines(otherwise, indent + _INDENT)


def _is_short(body: Sequence[Statement]) -> bool:
    return len(body) == 1 and isinstance(body[0], Let | Store | Return | Call)
