"""Nested structures: lists, tuples and dicts of leaves, flattened to a list and rebuilt.

Every public function that takes "a Node, or any nesting of list, tuple, dict" goes through these three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def flatten(tree: Any) -> list[Any]:
    """Return the leaves in order (dicts in insertion order); None counts as an empty structure.

    >>> flatten({"a": [1, 2], "b": (3, None)})
    [1, 2, 3]
    """
    leaves: list[Any] = []
    stack = [tree]
    while stack:
        item = stack.pop()
        children = _children(item)
        if children is None:
            leaves.append(item)
        else:
            stack.extend(reversed(children))
    return leaves


def _children(item: Any) -> list[Any] | None:
    if item is None:
        return []
    if isinstance(item, dict):
        return list(item.values())
    return list(item) if isinstance(item, (list, tuple)) else None


def unflatten(tree: Any, leaves: Iterable[Any]) -> Any:
    """Return the structure of `tree` with `leaves` in place of its own.

    >>> unflatten({"a": [1, 2], "b": (3, None)}, "xyz")
    {'a': ['x', 'y'], 'b': ('z', None)}
    """
    return _fill(tree, iter(leaves))


def _fill(item: Any, leaves: Iterator[Any]) -> Any:
    if item is None:
        return None
    if isinstance(item, dict):
        return {key: _fill(value, leaves) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        parts = [_fill(value, leaves) for value in item]
        return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)
    return next(leaves)


def map_structure(fn: Callable[[Any], Any], tree: Any) -> Any:
    """Apply `fn` to every leaf."""
    return unflatten(tree, [fn(leaf) for leaf in flatten(tree)])
