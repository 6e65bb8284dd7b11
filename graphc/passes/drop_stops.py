"""`stop_gradient` is the identity once derivatives are taken."""

from __future__ import annotations

from graphc.graph import Graph
from graphc.node import Node
from graphc.ops.elementwise import STOP_GRADIENT
from graphc.passes.regions import map_bodies


def drop_stops(graph: Graph) -> Graph:
    """Remove every `stop_gradient`, also in the bodies of loops; not for `grad`, which must see them.

    before: `%1 = stop_gradient(%0)`, `%2 = exp(%1)`
    after: `%1 = exp(%0)`
    """
    return map_bodies(graph.map(_without_stops)[0], drop_stops)


def _without_stops(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    return inputs[0] if node.op is STOP_GRADIENT else None
