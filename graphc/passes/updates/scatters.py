"""Chains of scatters, and of offsets: what continues another may write into the memory of what the first is of.

Passes, fusion and codegen ask here which scatters make a value, and which of them wait until the end of a call.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Placeholder, SharedValue
from graphc.ops.indexing import Offset, Scatter


def continued(value: Node) -> Iterator[Node]:
    """Yield a scatter and those that it continues, the last first; nothing for other values."""
    while isinstance(value.op, (Scatter, Offset)):
        yield value
        value = value.inputs[0]


def scatter_base(value: Node) -> Node:
    """Return what the first of the scatters that make a value writes into."""
    for link in continued(value):
        value = link.inputs[0]
    return value


def scatter_chain(value: Node) -> tuple[Node, ...]:
    """Return the scatters that make a value of an input or state, the first first; empty for other values."""
    chain = tuple(continued(value))[::-1]
    return chain if chain and isinstance(chain[0].inputs[0].op, (Placeholder, SharedValue)) else ()


def late_scatters(graph: Graph, *, inner: bool = False) -> set[Node]:
    """Return the scatters that may write into the state that they update, after all else has run.

    By then other states may have changed: what these scatters read of a state that is updated must be copied before.
    Of a graph that is `inner` to an op, those that may write into what it receives.
    """
    first = 0 if inner else len(graph.outputs) - len(graph.updates)
    return {n for value in graph.outputs[first:] for n in scatter_chain(value)}
