"""`scope`: a name for a part of a program, which values made in it carry.

Modules open scopes by themselves, with the names of their attributes; see `graphc.nn.module`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import _GeneratorContextManager as Context
from contextlib import contextmanager

from graphc.graph.arguments import checked, shown
from graphc.graph.errors import ADJOINT, ArgumentError, at, scope_path


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Give what is built in this block a path, which is empty or ends with a dot."""
    token = scope_path.set(path)
    try:
        yield
    finally:
        scope_path.reset(token)


@contextmanager
def _part(name: str) -> Iterator[None]:
    with inside(f"{scope_path.get()}{name}."):
        yield


@checked
def scope(name: str) -> Context[None]:
    """Return a context in which values belong to the part `name` of the program; parts lie within parts.

    Texts, pictures, profiles and errors show the path; `node.path` has it. Values are the same as without.
    Also a decorator of functions.

    >>> import graphc as gc
    >>> x = gc.placeholder("x")
    >>> with gc.scope("encoder"):
    ...     with gc.scope("first"):
    ...         h = gc.tanh(2 * x).named("hidden")
    >>> h.path
    'encoder.first.hidden'
    >>> gc.grad(h, x).path
    '∇encoder.first'
    """
    return _part(valid_name("scope", name))


def valid_name(what: str, name: str, *, dots: bool = True) -> str:
    """Return a name that can be part of a path; raises `ArgumentError`."""
    fits = isinstance(name, str) and name.isprintable() and all(part.strip() for part in name.split("."))
    if not fits or name.startswith(ADJOINT) or (not dots and "." in name):
        kind = "parts of visible characters joined by dots" if dots else "visible characters without dots"
        raise ArgumentError(f"{what}: a name is text, {kind}, got {shown(name)}{at()}")
    return name
