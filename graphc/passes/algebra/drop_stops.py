"""`stop_gradient` is the identity once derivatives are taken."""

from __future__ import annotations

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.elementwise import STOP_GRADIENT


def drop_stops(graph: Graph) -> Graph:
    """Remove every `stop_gradient`; not for `grad`, which must see them.

    before: `%1 = stop_gradient(%0)`, `%2 = exp(%1)`
    after: `%1 = exp(%0)`
    """
    return graph.map(_without_stops)[0]


def _without_stops(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    return inputs[0] if node.op is STOP_GRADIENT else None
