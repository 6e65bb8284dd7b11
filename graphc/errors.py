"""Error types, and the user's source line that every error names.

First in the import order: nothing here depends on the rest of graphc. Every node remembers the user's line
that built it (`user_source`); nodes that graphc builds on its own behalf (adjoints, rewrites) inherit the line
of the node they came from through `blame`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

import numpy as np

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep

Source = tuple[str, int]
"""A file name and a line number."""

UNKNOWN: Source = ("<unknown>", 0)
_blamed: ContextVar[Source | None] = ContextVar("graphc_blamed", default=None)


def printable(text: str, keep: str = "") -> str:
    """Return text with control characters, which names from files may have, as escapes; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


class GraphcError(Exception):
    """Base of every error that graphc raises on purpose."""

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n")


class ShapeError(GraphcError, ValueError):
    """Shapes that do not fit an op, a declared placeholder or each other."""


class DTypeError(GraphcError, TypeError):
    """A dtype that an op, an argument or an update does not accept."""


class ArgumentError(GraphcError, TypeError):
    """Arguments of a call that are missing, unknown, repeated or of the wrong kind."""


class GradientError(GraphcError, ValueError):
    """A derivative that was asked for and does not exist."""


class IndexOutOfBoundsError(GraphcError, IndexError):
    """An integer index outside the axis it selects from."""


class LinAlgError(GraphcError, np.linalg.LinAlgError):
    """A matrix that a factorisation or a solve cannot work with: singular, or not positive definite."""


class FormatError(GraphcError, ValueError):
    """A file that is truncated, altered, not of the format it should have, or larger than allowed."""


class CompileError(GraphcError, RuntimeError):
    """A kernel that could not be compiled; carries its source."""


class CheckpointError(GraphcError, ValueError):
    """A checkpoint that is damaged, or that does not fit what it is loaded into."""


class DivergenceError(GraphcError, ValueError):
    """Training whose parameters are no longer finite."""


def user_source() -> Source:
    """Return the innermost file and line outside graphc, or the blamed node's line."""
    blamed = _blamed.get()
    if blamed is not None:
        return blamed
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE) and not _generated(frame):
            return code.co_filename, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return UNKNOWN


def _generated(frame: FrameType) -> bool:
    """Tell whether a frame runs what `dataclass` compiled for a class of graphc."""
    module = frame.f_globals.get("__name__") or ""
    return frame.f_code.co_filename == "<string>" and module.startswith(f"{__package__}.")


@contextmanager
def blame(source: Source) -> Iterator[None]:
    """Give nodes built inside this block the source line `source`."""
    token = _blamed.set(source)
    try:
        yield
    finally:
        _blamed.reset(token)


def at(source: Source | None = None) -> str:
    """Format a source line the way every message ends: `  [model.py:17]`."""
    file, line = source or user_source()
    return f"  [{os.path.basename(file)}:{line}]"
