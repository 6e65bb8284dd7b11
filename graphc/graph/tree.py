"""Nested structures: lists, tuples and dicts of leaves, flattened to a list and rebuilt.

Every public function that takes "a Node, or any nesting of list, tuple, dict" goes through these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from graphc.graph.errors import ArgumentError, at

MAX_DEPTH = 200
"""What structures may be nested in each other: functions here call themselves once for each."""


def flatten(tree: Any) -> list[Any]:
    """Return the leaves in order (dicts in insertion order); None counts as an empty structure.

    Raises `ArgumentError` for what is in itself, or nested deeper than `MAX_DEPTH`.

    >>> flatten({"a": [1, 2], "b": (3, None)})
    [1, 2, 3]
    """
    leaves: list[Any] = []
    stack = [(tree, 0)]
    while stack:
        item, depth = stack.pop()
        children = _children(item)
        if children is None:
            leaves.append(item)
        elif depth > MAX_DEPTH:
            raise ArgumentError(f"a {type(item).__name__} is inside itself, or nested deeper than {MAX_DEPTH}{at()}")
        else:
            stack.extend((child, depth + 1) for child in reversed(children))
    return leaves


def refuse_endless(what: str, value: Any) -> None:
    """Raise `ArgumentError` for a list that is its own first element: NumPy would open it up to 64 times over."""
    depth, first = 0, value
    while isinstance(first, (list, tuple)) and first:
        first, depth = first[0], depth + 1
        if depth > 64:
            raise ArgumentError(f"{what}: a {type(value).__name__} is inside itself, or has more than 64 axes{at()}")


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


def flatten_like(tree: Any, other: Any) -> list[Any] | None:
    """Return the leaves of `other` in the order of `tree`'s, or None where the structures differ.

    >>> flatten_like({"a": 1, "b": (2, 3)}, {"b": ("y", "z"), "a": "x"})
    ['x', 'y', 'z']
    """
    if isinstance(tree, dict):
        if not isinstance(other, dict) or set(tree) != set(other):
            return None
        pairs = [(value, other[key]) for key, value in tree.items()]
    elif isinstance(tree, (list, tuple)):
        if not isinstance(other, (list, tuple)) or len(tree) != len(other):
            return None
        pairs = list(zip(tree, other, strict=True))
    elif tree is None:
        return [] if other is None else None
    else:
        return None if other is None or isinstance(other, (dict, list, tuple)) else [other]
    parts = [flatten_like(a, b) for a, b in pairs]
    return None if any(part is None for part in parts) else [leaf for part in parts for leaf in part or ()]


def leaves_like(tree: Any, value: Any, what: str) -> list[Any]:
    """Return what stands in `value` where `tree` has leaves: dicts are matched by key, sequences by position.

    A leaf of `tree` takes whatever stands there, nested numbers too. `ArgumentError` says where the two part, in a
    path that begins with `what`.

    >>> leaves_like({"a": 1, "b": (2, None)}, {"b": [[5, 6], None], "a": 4}, "cotangents")
    [4, [5, 6]]
    """
    if isinstance(tree, dict):
        if not isinstance(value, Mapping) or set(value) != set(tree):
            given = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise ArgumentError(f"{what}: keys {sorted(map(str, tree))} needed, got {given}{at()}")
        return [leaf for key, child in tree.items() for leaf in leaves_like(child, value[key], f"{what}[{key!r}]")]
    if isinstance(tree, (list, tuple)):
        if not isinstance(value, (list, tuple)) or len(value) != len(tree):
            given = f"{len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__
            raise ArgumentError(f"{what}: a sequence of {len(tree)} needed, got {given}{at()}")
        pairs = enumerate(zip(tree, value, strict=True))
        return [leaf for i, (child, part) in pairs for leaf in leaves_like(child, part, f"{what}[{i}]")]
    if tree is None:
        if value is not None:
            raise ArgumentError(f"{what}: None needed, got {type(value).__name__}{at()}")
        return []
    return [value]


def show_structure(tree: Any, show: Callable[[Any], str]) -> str:
    """Return a nested structure as text, leaves by `show`.

    >>> show_structure({"a": [1, 2]}, str)
    '{a: [1, 2]}'
    """
    flatten(tree)  # refuses what is inside itself
    return _shown(tree, show)


def _shown(tree: Any, show: Callable[[Any], str]) -> str:
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {_shown(value, show)}" for key, value in tree.items()) + "}"
    if isinstance(tree, (list, tuple)):
        inside = ", ".join(_shown(part, show) for part in tree)
        return f"[{inside}]" if isinstance(tree, list) else f"({inside})"
    return "None" if tree is None else show(tree)


def map_structure(fn: Callable[[Any], Any], tree: Any) -> Any:
    """Apply `fn` to every leaf."""
    return unflatten(tree, [fn(leaf) for leaf in flatten(tree)])
