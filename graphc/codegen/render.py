"""`render(nest) -> str`: plain Python over flat arrays.

The text is canonical: variables are numbered, nothing of the user's graph is named, so that kernels of equal
structure have equal text and are compiled once. It runs uncompiled too (`graphc.codegen.debug`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from graphc.codegen.nest import STEP, If, LoopNest, Statement

_CIRCULAR = re.compile(r"\b(sin|cos)\(")


def render(nest: LoopNest) -> str:
    """Return the source of `kernel(frame, lo, hi)`, whose value is 0 or the number of the check that failed."""
    return "\n".join(["def kernel(frame, lo, hi):", *_lines(nest.body, "    ", True), "    return 0", ""])


def _lines(statements: Iterable[Statement], indent: str, scalar: bool) -> Iterable[str]:
    """Yield lines of Python; `scalar`: outside of loops over elements, where no vector is computed."""
    for statement in statements:
        if isinstance(statement, str):
            yield indent + (_CIRCULAR.sub(r"scalar_\1(", statement) if scalar else statement)
            continue
        if isinstance(statement, If):
            yield f"{indent}if {statement.condition}:"
            yield from _lines(statement.body, indent + "    ", scalar)
            if statement.otherwise:
                yield f"{indent}else:"
                yield from _lines(statement.otherwise, indent + "    ", scalar)
            continue
        step = f", {statement.step}" if statement.step else ""
        yield f"{indent}for {statement.variable} in range({statement.start}, {statement.stop}{step}):"
        yield from _lines(statement.body, indent + "    ", scalar and statement.variable == STEP)
