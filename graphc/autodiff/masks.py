"""Products that absorb zeros, and where plain ones do: a cotangent that `where` has masked out is 0, also times inf.

Derivative rules multiply by `MASKED_MULTIPLY`, whose first operand is a cotangent or tangent: 0 times anything is 0. It
stays where a `where` is upstream of that operand (relu, maximum and clip give such ones); elsewhere it becomes a
product. A mask may come into a loop or a branch from outside, and go round in a loop's carries.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from graphc.graph.errors import blame
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.control import Control, Project, Scan, While
from graphc.ops.elementwise import MULTIPLY
from graphc.ops.pointwise import MASKED_MULTIPLY, WHERE, pointwise


def plain_products(results: Sequence[Node], forward: Graph) -> list[Node]:
    """Turn zero-absorbing products into plain ones where no mask is upstream of what they absorb by.

    Masked are also the cotangents that an earlier `grad`, now part of the forward graph, has masked.
    """
    return list(_plain(Graph(results), _masked_before(forward), forward.index).outputs)


def _masked_before(forward: Graph) -> set[Node]:
    """Return what an earlier derivative absorbs by, into loops and branches and out of them."""
    found = {n.inputs[0] for n in forward.nodes if n.op is MASKED_MULTIPLY}
    inner = {n for n in forward.nodes if isinstance(n.op, Control) and any(map(_masked_before, n.op.regions()))}
    behind: set[Node] = set()
    for node in forward.nodes if inner else ():
        if node.op is WHERE or node.op is MASKED_MULTIPLY or node in inner or any(x in behind for x in node.inputs):
            behind.add(node)
        if node in inner:
            found |= {node, *(x for x in node.inputs if x in behind)}
        elif isinstance(node.op, Project) and node.inputs[0] in inner:
            found.add(node)
    return found


def _plain(graph: Graph, masked: set[Node], forward: Container[Node]) -> Graph:
    """Return the graph with plain products, and add to `masked` what is masked in it."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node in forward:
            return node
        if node.op is MASKED_MULTIPLY and node.inputs[0] not in masked:
            with blame(node.source):
                return pointwise(MULTIPLY, *inputs)
        if isinstance(node.op, Control):
            op, inside = _plain_regions(node.op, [x in masked for x in node.inputs])
            masked.update([node] if inside else [])
            return None if op is node.op else Node(op, inputs, node.type, node.source, node.guards)
        if node.op is MASKED_MULTIPLY or node.op is WHERE or any(x in masked for x in node.inputs):
            masked.add(node)
        return None

    return graph.map(visit)[0]


def _plain_regions(op: Control, given: list[bool]) -> tuple[Control, bool]:
    """Return a loop or a branch with plain products inside, and whether any result is masked.

    `given` tells which operands are masked. What a loop carries is masked where any step masks it.
    """
    fed = op.carries if isinstance(op, Scan) else len(op.body.outputs) if isinstance(op, While) else 0
    masks = given[len(given) - len(op.regions()[0].inputs) :]  # a switch has its index first
    while True:
        marked = [{x for x, mask in zip(g.inputs, masks, strict=True) if mask} for g in op.regions()]
        regions = [_plain(g, found, ()) for g, found in zip(op.regions(), marked, strict=True)]
        again = [y in marked[-1] for y in op.regions()[-1].outputs[:fed]]
        if not any(y and not x for x, y in zip(masks, again, strict=False)):
            break
        masks = [x or y for x, y in zip(masks, again, strict=False)] + masks[fed:]
    inside = any(y in found for g, found in zip(op.regions(), marked, strict=True) for y in g.outputs)
    same = all(new is old for new, old in zip(regions, op.regions(), strict=True))
    return (op if same else op.with_regions(regions)), inside
