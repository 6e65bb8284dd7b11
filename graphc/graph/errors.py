"""Error types, and the user's source line that every error names.

First in the import order: nothing here depends on the rest of graphc. Every node remembers the user's line
that built it, the function called there and its path in the model (`user_source`); nodes that graphc builds on its
own behalf (adjoints, rewrites) inherit all three from the node they came from through `blame`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType, FrameType

import numpy as np

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

Source = tuple[str, int, str, str]
"""A file name, a line number, graphc's function that the line calls (the qualified name of its code), and a path.

The path is that of the scopes and modules in which a value was made, each followed by a dot, and the value's own name
where it has one: `encoder.layers.0.hidden`. What belongs to a derivative of that value begins with `ADJOINT`.
"""

ADJOINT = "∇"
UNKNOWN: Source = ("<unknown>", 0, "", "")
scope_path: ContextVar[str] = ContextVar("graphc_scope", default="")
"""The path of what is built now: see `Source`."""
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


_LIBRARIES = (PACKAGE, os.path.dirname(os.path.abspath(os.__file__)) + os.sep, "<frozen ")
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_users: dict[str, bool] = {}
"""Whether a file is the user's own: every node asks it of some frames, so the answer is kept by file name."""


def user_source() -> Source:
    """Return the innermost file and line that is the user's own and what it calls, or those of the blamed node.

    Not the user's are graphc, the standard library and installed packages, SciPy calling an objective say. Where
    nothing else is on the stack (a package that uses graphc, run as a command), the outermost line is named.
    """
    blamed = _blamed.get()
    if blamed is not None:
        return blamed
    frame = inner = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        users = _users.get(file)
        if users is None:
            users = _users[file] = _is_users(file)
        if users and (file != "<string>" or not _generated(frame)):
            return file, frame.f_lineno, _entry(inner), scope_path.get()
        inner, frame = frame, frame.f_back  # type: ignore[assignment]
    return _outermost()


def _outermost() -> Source:
    frame: FrameType | None = sys._getframe(1)
    found = UNKNOWN
    while frame is not None:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            found = frame.f_code.co_filename, frame.f_lineno, "", scope_path.get()
        frame = frame.f_back
    return found


_THROUGH = frozenset(
    {
        *("checked.<locals>.call", "Module.__call__", "Sequential.forward", "FunctionModule.forward"),
        *("Node.__array_function__", "Node.__array_ufunc__", "numpy_function", "numpy_ufunc"),
    }
)
"""Frames that hand a call on to the function or layer that users know."""


def _entry(frame: FrameType) -> str:
    """Return the qualified name of the function of graphc that a line calls; `frame` is the one that it entered."""
    code = frame.f_code
    return code.co_qualname if _is_entry(code) else _entry_behind(frame)


def _is_entry(code: CodeType) -> bool:
    name = code.co_qualname
    return name not in _THROUGH and name[-1] != ">" and code.co_filename.startswith(PACKAGE)  # `<lambda>` is no name


def _entry_behind(entered: FrameType) -> str:
    """Return the outermost function of graphc that does not only hand a call on."""
    frame, found = sys._getframe(2), ""
    while True:
        code = frame.f_code
        if _is_entry(code):
            found = code.co_qualname
        if frame is entered:
            return found
        frame = frame.f_back  # type: ignore[assignment]


def called(source: Source, default: str) -> str:
    """Return what the user calls the function that a node comes from: `inv`, `at[...].set`, `Embedding`."""
    owner, _, name = source[2].rpartition(".")
    if name in ("forward", "__init__"):
        return owner.rpartition(".")[2]
    if owner == "IndexUpdater":
        return f"at[...].{name}"
    return default if name in _CALLERS else name.strip("_") or default


_CALLERS = {"map", "scan", "fori_loop", "while_loop", "associative_scan", "cond", "switch", "grad", "vjp", "jvp"}
"""Functions that call others, which a failure names: `gc.map(gc.linalg.cholesky, xs)` fails in `cholesky`."""


def _is_users(file: str) -> bool:
    return not file.startswith(_LIBRARIES) and not any(part in file for part in _INSTALLED)


def _generated(frame: FrameType) -> bool:
    """Tell whether a frame runs what `dataclass` compiled for a class of a package."""
    home = frame.f_globals.get("__file__")
    return isinstance(home, str) and not _is_users(home)


@contextmanager
def blame(source: Source) -> Iterator[None]:
    """Give nodes built inside this block the source line `source`."""
    token = _blamed.set(source)
    try:
        yield
    finally:
        _blamed.reset(token)


def place(source: Source) -> str:
    """Return a source line as the user knows it: `model.py:17`, or `cell [13], line 2` of a notebook."""
    file, line, *_ = source
    name = file_title(file)
    return f"{name}, line {line}" if name.startswith("cell [") else f"{name}:{line}"


def file_title(file: str) -> str:
    """Return the last part of a path, or `cell [13]` for the name that a notebook's cell is compiled under.

    A notebook's kernel gives cells the names of temporary files; IPython, where it runs, knows their numbers.
    """
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_shell() if get_shell else None
    describe = getattr(getattr(shell, "compile", None), "format_code_name", None)
    known = describe(file) if describe else None  # ("Cell", "In[13]"), or None
    found = re.search(r"\[(\d+)\]", known[1]) if known else re.match(r"<ipython-input-(\d+)-", file)
    if found:
        return f"cell [{found[1]}]"
    return "cell [?]" if re.search(r"[/\\]ipykernel_\d+[/\\][^/\\]+\.py$", file) else os.path.basename(file)


def at(source: Source | None = None) -> str:
    """Format a source line the way every message ends: `  [model.py:17]`, or `  [model.py:17, encoder.layers.0]`."""
    found = source or user_source()
    path = path_text(found)
    return f"  [{place(found)}, {path}]" if path.strip(ADJOINT) else f"  [{place(found)}]"


def path_text(source: Source) -> str:
    """Return the path of a value as people read it: `encoder.layers.0`; of its derivatives `∇encoder.layers.0`."""
    return source[3].removesuffix(".")


def of_derivative(source: Source) -> Source:
    """Return the source of what belongs to the derivative of a value."""
    return source if source[3].startswith(ADJOINT) else (*source[:3], ADJOINT + source[3])
