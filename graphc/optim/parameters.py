"""What an optimiser is given and what it keeps: parameters with names, and state under dotted names.

A parameter's name is its path of dict keys and positions (`encoder.weight`), or, where `params` holds no dict, the
name of the shared node. The names appear in the state, and so in checkpoints: they are the same in the next process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from graphc.graph.arrays import arrays_by_name
from graphc.graph.errors import ArgumentError, DTypeError, at
from graphc.graph.node import Node, Shared
from graphc.graph.tree import flatten
from graphc.graph.types import is_float

Named = dict[str, Shared]


def named_parameters(what: str, params: Any) -> Named:
    """Return the parameters in `params` by name, in order; errors begin with `what`.

    Raises `ArgumentError` for what is not shared or is given twice, `DTypeError` for integers.
    """
    tree = parameter_tree(what, params)
    flatten(tree)  # refuses what is inside itself
    pairs = list(_leaves(tree, ()))
    if not pairs:
        raise ArgumentError(f"{what}: no parameters given{at()}")
    for path, leaf in pairs:
        _check_parameter(what, ".".join(path), leaf)
    nodes: list[Shared] = [leaf for _, leaf in pairs]
    names = [".".join(path) for path, _ in pairs] if _has_dict(tree) else _own_names(nodes)
    for name, times in Counter(names).items():
        if times > 1:
            raise ArgumentError(f"{what}: two parameters are called {name!r}{at()}")
    for node, times in Counter(nodes).items():
        if times > 1:
            both = [n for n, p in zip(names, nodes, strict=True) if p is node]
            raise ArgumentError(f"{what}: parameter {node.name!r} is given twice, as {' and '.join(both)}{at()}")
    return dict(zip(names, nodes, strict=True))


def parameter_tree(what: str, params: Any) -> Any:
    """Return nested dicts and lists; other iterables of parameters become lists."""
    if isinstance(params, (Node, dict, list, tuple)):
        return params
    if isinstance(params, Mapping):
        return dict(params)
    if isinstance(params, Iterable) and not isinstance(params, (str, bytes, np.ndarray)):
        return list(params)
    raise ArgumentError(
        f"{what}: params must be shared nodes in a list or dict, got {type(params).__name__};"
        f" of a module, pass module.parameters(){at()}"
    )


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*path, str(key)))
    elif isinstance(tree, (list, tuple)):
        for i, value in enumerate(tree):
            yield from _leaves(value, (*path, str(i)))
    elif tree is not None:
        yield path, tree


def _has_dict(tree: Any) -> bool:
    return isinstance(tree, dict) or (isinstance(tree, (list, tuple)) and any(map(_has_dict, tree)))


def _check_parameter(what: str, path: str, leaf: Any) -> None:
    shown = f"parameter {path}" if path else "the parameter"
    if not isinstance(leaf, Shared):
        kind = repr(leaf) if isinstance(leaf, Node) else type(leaf).__name__
        raise ArgumentError(f"{what}: {shown} is not shared: {kind}; make it with gc.shared(...){at()}")
    if not is_float(leaf.dtype):
        raise DTypeError(f"{what}: parameter {leaf!r} has dtype {leaf.dtype}; only floats are trained{at()}")


def _own_names(nodes: list[Shared]) -> list[str]:
    """Return the nodes' names, those that occur twice followed by the position in the list."""
    times = Counter(p.name for p in nodes)
    return [p.name if times[p.name] == 1 else f"{p.name}_{i}" for i, p in enumerate(nodes)]


def load_states(what: str, states: Mapping[str, Shared], given: Mapping[str, Any]) -> None:
    """Set every state to the array of its name; raise `ArgumentError` that lists all that does not fit.

    Nothing changes unless names, shapes and dtypes all agree.
    """
    arrays = arrays_by_name(what, given)
    wrong = [f"{name!r} is missing" for name in states if name not in arrays]
    wrong += [f"{name!r} is unknown" for name in arrays if name not in states]
    for name, state in states.items():
        if name in arrays and not (state.takes(arrays[name].shape) and arrays[name].dtype == state.dtype):
            got = arrays[name]
            wrong.append(f"{name!r} is {got.dtype}{list(got.shape)}, {state.dtype}{list(state.shape)} needed")
    if wrong:
        hint = "" if states else "; call updates(...) first: it makes the state"
        raise ArgumentError(f"{what}: {'; '.join(wrong)}{hint}{at()}")
    for name, state in states.items():
        state.set_value(arrays[name])
