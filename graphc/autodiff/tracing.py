"""Checks of the functions that users give to loops and branches, and of what they return."""

from __future__ import annotations

from typing import Any

from graphc.graph.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import is_inside
from graphc.graph.tree import flatten, flatten_like, show_structure
from graphc.graph.types import BOOL, Shape, symbols
from graphc.ops.by_parts import written_by_parts
from graphc.ops.pointwise import as_node, broadcast, cast


def require_functions(what: str, *functions: Any) -> None:
    """Raise where a node or a value was given instead of a function that builds one."""
    for f in functions:
        if not callable(f):
            raise ArgumentError(f"{what} must be functions, got {type(f).__name__}; write lambda: ...{at()}")


def next_carry(what: str, before: Any, found: Any) -> list[Node]:
    """Return the leaves of the carry after a step, which must be like those before it."""
    leaves = flatten_like(before, found)
    if leaves is None:
        raise ArgumentError(f"{what} changes the structure of the carry{_both(before, found)}")
    after = []
    for was, leaf in zip(flatten(before), leaves, strict=True):
        node = as_node(leaf) if isinstance(leaf, Node) else cast(as_node(leaf), was.dtype)
        if node.dtype != was.dtype:
            raise DTypeError(
                f"{what} changes the dtype of a part of the carry from {was.dtype} to {node.dtype}"
                f"{_both(before, found)}"
            )
        if node.shape != was.shape and _may_agree(node.shape, was.shape):
            node = broadcast(node, was.shape, tuple(range(node.ndim)))  # a call checks it
        if node.shape != was.shape:
            raise ShapeError(f"{what} changes the shape of a part of the carry{_both(before, found)}")
        after.append(written_by_parts(node, was) if is_inside(was) else node)
    return after


def _may_agree(found: Shape, wanted: Shape) -> bool:
    """Tell whether sizes may be equal that are written differently: `max(n - 1, 0) + 1` is `n`, if that is not 0."""
    pairs = zip(found, wanted, strict=False)
    return len(found) == len(wanted) and all(a == b or {*symbols((a,))} & {*symbols((b,))} for a, b in pairs)


def like_first(first_name: str, first: Any, name: str, found: Any) -> list[Node]:
    """Return the leaves of a branch's result, which must be like those of the first branch."""
    leaves = flatten_like(first, found)
    types = [(a.type, b.type) for a, b in zip(flatten(first), leaves or [], strict=False)]
    if leaves is None or any(a != b for a, b in types):
        kinds: dict[bool, type[Exception]] = {True: DTypeError, False: ShapeError}
        kind = kinds[any(a.dtype != b.dtype for a, b in types)] if leaves is not None else ArgumentError
        raise kind(f"{name} returns {_shown(found)}, but {first_name} returns {_shown(first)}{at()}")
    return leaves


def _shown(tree: Any) -> str:
    return show_structure(tree, lambda leaf: str(leaf.type) if isinstance(leaf, Node) else repr(leaf))


def _both(before: Any, after: Any) -> str:
    return f": it takes {_shown(before)} and returns {_shown(after)}{at()}"


def condition(what: str, found: Any) -> Node:
    """Return the 0-d bool that a function has returned, or raise."""
    test = as_node(found)
    if test.dtype != BOOL or test.shape:
        raise ArgumentError(f"{what} must return a 0-d bool, got {test.type}{at()}")
    return test
