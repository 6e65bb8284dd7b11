"""Pickles of nodes, graphs and functions: a flat table of nodes, so that no depth overflows a stack.

A function travels as its graph, state and options; it is compiled again, or taken from the cache, at the first
call after loading. Pickle runs code on loading: load only what you trust.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from graphc.graph import Graph, topological_order
from graphc.node import Node, Shared
from graphc.signature import Signature
from graphc.tree import flatten, unflatten

if TYPE_CHECKING:
    from graphc.function import Function

Row = tuple[bool, Any, tuple[int, ...], Any, Any, Any]


def pack_nodes(nodes: Sequence[Node]) -> tuple[list[Row], list[int]]:
    """Return a table of all ancestors, operands as row numbers, and the rows of `nodes`."""
    order = topological_order(nodes)
    index = {n: i for i, n in enumerate(order)}
    rows: list[Row] = [
        (isinstance(n, Shared), n.op, tuple(index[x] for x in n.inputs), n.type, n.source, n.guards) for n in order
    ]
    return rows, [index[n] for n in nodes]


def unpack_nodes(rows: Sequence[Row], wanted: Sequence[int]) -> list[Node]:
    """Rebuild the nodes of `pack_nodes`."""
    nodes: list[Node] = []
    for is_shared, op, inputs, type_, source, guards in rows:
        make = Shared if is_shared else Node
        nodes.append(make(op, tuple(nodes[i] for i in inputs), type_, source, guards))
    return [nodes[i] for i in wanted]


def unpack_node(rows: Sequence[Row], wanted: int) -> Node:
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


def unpack_graph(rows: Sequence[Row], wanted: Sequence[int], inputs: int, outputs: int, guards: Any) -> Graph:
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
    )


def unpack_function(
    rows: Sequence[Row],
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
) -> Function:
    """Rebuild a function from the parts that `pack_function` lists."""
    from graphc.function import Function

    nodes = unpack_nodes(rows, wanted)
    inputs, results = nodes[: counts[0]], nodes[counts[0] : sum(counts)]
    updates = [n for n in nodes[sum(counts) :] if isinstance(n, Shared)]
    graph = Graph(results, inputs, updates=updates, guards=guards)
    signature = Signature(names, tuple(unflatten(trees, inputs)), tuple(inputs))
    shown = unflatten(outputs, results[: len(flatten(outputs))])
    return Function(signature, shown, graph, name, mode, precision, threads)
