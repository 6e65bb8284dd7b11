"""Pickles of nodes, graphs and functions: a flat table of nodes, so that no depth overflows a stack.

A function travels as its graph, state and options; it is compiled again, or taken from the cache, at the first
call after loading. Pickle runs code on loading: load only what you trust.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from graphc.call.signature import Signature
from graphc.graph.graph import Graph, topological_order
from graphc.graph.node import Node, Shared
from graphc.graph.tree import flatten, unflatten

if TYPE_CHECKING:
    from graphc.call.function import Function


class Row:
    """What a node is apart from its operands; one object for each node, so that pickle's own memo knows it again.

    Nodes that are pickled one by one (in a tuple, in several attributes) bring a table each; where a node is in
    several of them, so is its row, and `node` is built once.
    """

    __slots__ = ("content", "node")

    def __init__(self, *content: Any) -> None:
        self.content = content
        self.node: Node | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Row, self.content

    def build(self, inputs: tuple[Node, ...]) -> Node:
        """Return the node, made at the first time."""
        if self.node is None:
            make, op, type_, source, guards = self.content
            self.node = make(op, inputs, type_, source, guards)
        return self.node


Table = list[tuple[Row, tuple[int, ...]]]
"""Rows, each with the row numbers of its operands."""

_rows: WeakKeyDictionary[Node, Row] = WeakKeyDictionary()


def _row(node: Node) -> Row:
    if node not in _rows:
        _rows[node] = Row(type(node), node.op, node.type, node.source, node.guards)
    return _rows[node]


def pack_nodes(nodes: Sequence[Node]) -> tuple[Table, list[int]]:
    """Return a table of all ancestors, and the rows of `nodes`."""
    order = topological_order(nodes)
    index = {n: i for i, n in enumerate(order)}
    return [(_row(n), tuple(index[x] for x in n.inputs)) for n in order], [index[n] for n in nodes]


def unpack_nodes(rows: Table, wanted: Sequence[int]) -> list[Node]:
    """Rebuild the nodes of `pack_nodes`."""
    nodes: list[Node] = []
    for row, inputs in rows:
        nodes.append(row.build(tuple(nodes[i] for i in inputs)))
    return [nodes[i] for i in wanted]


def unpack_node(rows: Table, wanted: int) -> Node:
    """Rebuild one node."""
    return unpack_nodes(rows, [wanted])[0]


def pack_node(node: Node) -> tuple[Callable[..., Node], tuple[Any, ...]]:
    """Return what `Node.__reduce__` returns."""
    rows, (index,) = pack_nodes([node])
    return unpack_node, (rows, index)


def pack_graph(graph: Graph) -> tuple[Callable[..., Graph], tuple[Any, ...]]:
    """Return what `Graph.__reduce__` returns."""
    rows, wanted = pack_nodes([*graph.inputs, *graph.outputs, *graph.updates])
    return unpack_graph, (rows, wanted, len(graph.inputs), len(graph.outputs), graph.guards)


def unpack_graph(rows: Table, wanted: Sequence[int], inputs: int, outputs: int, guards: Any) -> Graph:
    """Rebuild a graph."""
    nodes = unpack_nodes(rows, wanted)
    updates = [n for n in nodes[inputs + outputs :] if isinstance(n, Shared)]
    return Graph(nodes[inputs : inputs + outputs], nodes[:inputs], updates=updates, guards=guards)


def pack_function(f: Function) -> tuple[Callable[..., Function], tuple[Any, ...]]:
    """Return what `Function.__reduce__` returns."""
    graph, signature = f.graph, f._signature
    rows, wanted = pack_nodes([*signature.nodes, *graph.outputs, *graph.updates])
    trees = unflatten(list(signature.trees), range(len(signature.nodes)))
    outputs = unflatten(f._outputs, range(len(graph.outputs) - len(graph.updates)))
    counts = len(signature.nodes), len(graph.outputs)
    return unpack_function, (
        rows,
        wanted,
        counts,
        signature.names,
        trees,
        outputs,
        graph.guards,
        f.name,
        f.mode,
        f.precision,
        f.threads,
        f.memory,
    )


def unpack_function(
    rows: Table,
    wanted: Sequence[int],
    counts: tuple[int, int],
    names: tuple[str, ...],
    trees: Any,
    outputs: Any,
    guards: Any,
    name: str,
    mode: str,
    precision: str,
    threads: int | None,
    memory: int | None = None,
) -> Function:
    """Rebuild a function from the parts that `pack_function` lists."""
    from graphc.call.function import Function

    nodes = unpack_nodes(rows, wanted)
    inputs, results = nodes[: counts[0]], nodes[counts[0] : sum(counts)]
    updates = [n for n in nodes[sum(counts) :] if isinstance(n, Shared)]
    graph = Graph(results, inputs, updates=updates, guards=guards)
    signature = Signature(names, tuple(unflatten(trees, inputs)), tuple(inputs))
    shown = unflatten(outputs, results[: len(flatten(outputs))])
    return Function(signature, shown, graph, name, mode, precision, threads, memory=memory)
