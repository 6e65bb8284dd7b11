"""The reference interpreter: every op's `evaluate`, in topological order, with NumPy.

It is the numeric meaning of a program: constant folding, `mode="reference"`, `node.eval` and the tests' oracle
all run through here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, overload

import numpy as np

from graphc.graph.binding import as_argument, sizes_of
from graphc.graph.draws import place_draws
from graphc.graph.errors import ArgumentError, GraphcError, at, called
from graphc.graph.graph import Graph, require_inputs
from graphc.graph.node import Node, Shared
from graphc.graph.tree import flatten, unflatten
from graphc.graph.types import Array, Sizes

Bindings = Mapping[Node, Any] | Mapping[str, Any] | Mapping[Any, Any]
"""Values by placeholder, or by its name."""


@overload
def evaluate(nodes: Node, bindings: Bindings = ...) -> Array: ...
@overload
def evaluate(nodes: Graph | list[Node], bindings: Bindings = ...) -> list[Array]: ...
@overload
def evaluate(nodes: Any, bindings: Bindings = ...) -> Any: ...
def evaluate(nodes: Any, bindings: Bindings = MappingProxyType({})) -> Any:
    """Compute nodes for arrays bound to placeholders, which may be given by name.

    Returns an array for a node, a list for a graph, and arrays in the nesting of `nodes`. Shared nodes have their
    current value; random generators do not advance.
    Raises `ArgumentError` for a placeholder without a value, `ShapeError` and `DTypeError` as a call does.

    >>> import graphc as gc
    >>> x = gc.placeholder("x", shape=(2,))
    >>> evaluate(x + 1, {x: [1.0, 2.0]})
    array([2., 3.])
    >>> evaluate({"y": x * 2}, {"x": [1.0, 2.0]})
    {'y': array([2., 4.])}
    """
    if not isinstance(bindings, Mapping) or any(not isinstance(key, (Node, str)) for key in bindings):
        raise ArgumentError(f"evaluate: bindings must map placeholders to values, as in {{x: 2.0}}{at()}")
    if not isinstance(nodes, Graph):
        return unflatten(nodes, _evaluate(Graph(flatten(nodes)), bindings))
    return _evaluate(nodes, bindings)


def _evaluate(graph: Graph, named: Bindings) -> list[Array]:
    bindings = {_bound(graph, key): value for key, value in named.items()}
    placed, advances = place_draws(graph.outputs)
    if advances:
        graph = graph.with_outputs(placed)
    inputs = tuple(bindings)
    require_inputs(graph, inputs)
    arrays = {node: as_argument(node, value) for node, value in bindings.items()}
    sizes = sizes_of(Graph(graph.outputs, inputs, updates=graph.updates, guards=graph.guards), list(arrays.values()))
    return run_graph(graph, arrays, sizes)


def _bound(graph: Graph, key: Node | str) -> Node:
    """Return the placeholder that a binding means."""
    if isinstance(key, Node):
        return key
    found = [n for n in graph.inputs if n.name == key]
    if len(found) != 1:
        known = ", ".join(n.name for n in graph.inputs) or "none"
        problem = f"is no placeholder of these nodes, which have {known}" if not found else "is the name of several"
        raise ArgumentError(f"evaluate: {key!r} {problem}{at()}")
    return found[0]


def run_graph(graph: Graph, arrays: Mapping[Node, Array], sizes: Sizes) -> list[Array]:
    """Interpret a graph whose arguments and sizes are already checked."""
    values = dict(arrays)
    for node in graph.nodes:
        if node not in values:
            values[node] = _value(node, [values[x] for x in node.inputs], sizes)
    return [_copied(o, values[o], sizes) for o in graph.outputs]


def _copied(node: Node, value: Array, sizes: Sizes) -> Array:
    try:
        return np.array(value, copy=True, order="C")
    except MemoryError:
        raise out_of_memory(node, sizes) from None


def _value(node: Node, inputs: Sequence[Array], sizes: Sizes) -> Array:
    if isinstance(node, Shared):
        return node.state.array
    try:
        value = node.op.resolve(sizes).evaluate(*inputs)
        return value if isinstance(value, tuple) else np.asarray(value)
    except GraphcError as error:
        if error.args and not str(error).endswith("]"):
            raise type(error)(f"{called(node.source, node.op.name)}: {error}{at(node.source)}") from None
        raise
    except MemoryError:
        raise out_of_memory(node, sizes) from None


def out_of_memory(node: Node, sizes: Sizes) -> MemoryError:
    """Return the error of a value for which there is no memory."""
    shown = ", ".join(f"{name}={size}" for name, size in sizes.items())
    given = f" with {shown}" if shown else ""
    return MemoryError(f"{node.op.name}: no memory for {node.type}{given}{at(node.source)}")
