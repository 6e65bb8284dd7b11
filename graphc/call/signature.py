"""The parameters of a compiled function: names, nesting, and how the arguments of a call meet placeholders."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node
from graphc.graph.op import Placeholder
from graphc.graph.tree import flatten, leaves_like


@dataclass(frozen=True)
class Signature:
    """Ordered parameters; each is a placeholder or a nesting of them. `nodes` are all placeholders in order."""

    names: tuple[str, ...]
    trees: tuple[Any, ...]
    nodes: tuple[Node, ...]

    @property
    def flat(self) -> bool:
        """Tell whether every parameter is one placeholder, so that arguments are arrays as they come."""
        return len(self.nodes) == len(self.trees) and all(isinstance(t, Node) for t in self.trees)

    def inspect(self) -> inspect.Signature:
        """Return the signature as `inspect.signature` shows it, with types as annotations."""
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature(
            [
                inspect.Parameter(n, kind, annotation=str(t.type) if isinstance(t, Node) else inspect.Parameter.empty)
                for n, t in zip(self.names, self.trees, strict=True)
            ]
        )

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """Return one value per placeholder, or raise `ArgumentError` that says what was given and expected."""
        values = self._by_position(args, kwargs)
        leaves: list[Any] = []
        for name, tree, value in zip(self.names, self.trees, values, strict=True):
            leaves += [value] if isinstance(tree, Node) else leaves_like(tree, value, f"argument {name}")
        return leaves

    def _by_dict(self, value: Any) -> bool:
        """Tell whether the only argument is all arguments by name, as `function` may have been given them."""
        if not isinstance(value, Mapping):
            return False
        first = self.trees[0] if self.trees else None
        if isinstance(first, dict):
            return set(value) == set(self.names) and set(value) != set(first)
        if set(value) != set(self.names):
            needed, given = sorted(self.names), sorted(map(str, value))
            raise ArgumentError(f"a dict of all arguments: keys {needed} needed, got {given}{at()}")
        return True

    def _by_position(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        if len(args) == 1 and not kwargs and self._by_dict(args[0]):
            return self._by_position((), dict(args[0]))
        if not kwargs and len(args) == len(self.names):
            return list(args)
        expected = f"expected {len(self.names)}: {', '.join(self.names) or 'none'}"
        if len(args) > len(self.names):
            raise ArgumentError(f"{len(args)} arguments given, {expected}{at()}")
        unknown = [k for k in kwargs if k not in self.names]
        if unknown:
            raise ArgumentError(f"unknown argument {unknown[0]!r}; {expected}{at()}")
        given = dict(zip(self.names, args, strict=False))
        twice = [k for k in kwargs if k in given]
        if twice:
            raise ArgumentError(f"argument {twice[0]!r} is given by position and by name{at()}")
        given |= kwargs
        missing = [n for n in self.names if n not in given]
        if missing:
            raise ArgumentError(f"argument {missing[0]!r} is missing; {expected}{at()}")
        return [given[n] for n in self.names]


def make_signature(inputs: Any) -> Signature:
    """Read the `inputs` of `function`; raises `ArgumentError` for anything but distinct placeholders."""
    if isinstance(inputs, dict):
        names, trees = tuple(map(str, inputs)), tuple(inputs.values())
    else:
        several = isinstance(inputs, Iterable) and not isinstance(inputs, (Node, np.ndarray))
        trees = tuple(inputs) if several else (inputs,)
        names = tuple(t.name if isinstance(t, Node) and t.name else f"arg{i}" for i, t in enumerate(trees))
    nodes = tuple(flatten(list(trees)))
    for node in nodes:
        if not isinstance(node, Node):
            raise ArgumentError(f"inputs must be placeholders, got {type(node).__name__}{at()}")
        if not isinstance(node.op, Placeholder):
            hint = "; shared nodes are read without being inputs" if node.op.name == "shared" else ""
            raise ArgumentError(f"inputs must be placeholders, got {node!r}{hint}{at()}")
    twice = [n for i, n in enumerate(nodes) if n in nodes[:i]]
    if twice:
        raise ArgumentError(f"placeholder {twice[0].name!r} is listed twice among the inputs{at()}")
    clash = [n for i, n in enumerate(names) if n in names[:i]]
    if clash:
        raise ArgumentError(f"two inputs are called {clash[0]!r}; give placeholders distinct names{at()}")
    return Signature(names, trees, nodes)
