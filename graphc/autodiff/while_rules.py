"""The `While` op's rules: how traced functions become an op, its meaning, and its forward derivative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.autodiff.grad import jvp_inside, masked_zeros
from graphc.autodiff.scan_rules import capture
from graphc.graph.errors import GradientError, at
from graphc.graph.evaluate import run_graph
from graphc.graph.graph import Graph
from graphc.graph.node import Node, serials
from graphc.graph.op import apply, inside_node
from graphc.graph.types import Array, Sizes, is_float
from graphc.ops.control import While, project
from graphc.ops.failing import can_fail


def build_while(
    first: Sequence[Node], carries: Sequence[Node], test: Node, after: Sequence[Node], since: int
) -> list[Node]:
    """Close a traced loop over what it captures and return the last carries.

    What the body has built `since` a serial number and can fail stays inside: there may be no step.
    """
    captured = list(dict.fromkeys([*capture(carries, [test]), *capture(carries, after, since, can_fail)]))
    graphs = []
    for outputs in ([test], list(after)):
        own = [inside_node(f"carry{i}", c.type) for i, c in enumerate(carries)]
        inside = [inside_node(f"outer{i}", x.type) for i, x in enumerate(captured)]
        names = dict(zip([*carries, *captured], [*own, *inside], strict=True))
        closed, _ = Graph(outputs).replace(names)
        graphs.append(Graph(closed.outputs, [*own, *inside]))
    op = While(graphs[0], graphs[1], tuple(range(len(after))), WHILE_RULES)
    node = apply(op, *first, *captured)
    node = Node(node.op, node.inputs, node.type, node.source, (*node.guards, *graphs[0].guards, *graphs[1].guards))
    return [project(node, k) for k in range(len(after))]


class _WhileRules:
    """The rules of `While`: forward derivatives only, since the number of steps is not known before it ends."""

    def evaluate(self, op: While, arrays: Sequence[Array], sizes: Sizes) -> tuple[Array, ...]:
        """Run the body for as long as the condition holds."""
        count = len(op.body.outputs)
        carry, outer = list(arrays[:count]), arrays[count:]
        while run_graph(op.condition, dict(zip(op.condition.inputs, [*carry, *outer], strict=True)), sizes)[0]:
            carry = run_graph(op.body, dict(zip(op.body.inputs, [*carry, *outer], strict=True)), sizes)
        return tuple(np.asarray(carry[k]) for k in op.results)

    def vjp(
        self, op: While, cotangents: Sequence[Node | None], out: Node, inputs: Sequence[Node]
    ) -> tuple[Node | None, ...]:
        """Refuse, and name the form that has reverse derivatives."""
        raise GradientError(
            "while_loop has no reverse derivative, since its number of steps is unknown; give max_steps, or use"
            f" fori_loop or scan{at()}"
        )

    def jvp(self, op: While, tangents: Sequence[Node | None], inputs: Sequence[Node]) -> tuple[Node | None, ...]:
        """Run values and tangents together."""
        own = op.body.inputs
        count = len(op.body.outputs)
        moving = [i for i in range(count) if is_float(own[i].dtype)]
        outer = [i for i in range(count, len(own)) if tangents[i] is not None]
        inner = {i: inside_node(f"t{i}", own[i].type) for i in (*moving, *outer)}
        pushed = jvp_inside([op.body.outputs[i] for i in moving], [own[i] for i in inner], list(inner.values()))
        bind = dict(zip(own[count:], inputs[count:], strict=True))
        for i in outer:
            tangent = tangents[i]
            assert tangent is not None
            bind[inner[i]] = tangent
        since = next(serials)
        same = dict(zip(op.condition.inputs, [*own[:count], *inputs[count:]], strict=True))
        test = Graph(op.condition.outputs).replace(same)[0].outputs[0]
        after = Graph([*op.body.outputs, *pushed]).replace(bind)[0].outputs
        starts = [tangents[i] for i in moving]
        first = [masked_zeros(inputs[i]) if t is None else t for i, t in zip(moving, starts, strict=True)]
        carries = [*own[:count], *(inner[i] for i in moving)]
        results = build_while([*inputs[:count], *first], carries, test, after, since)
        found = dict(zip(moving, results[count:], strict=True))
        return tuple(found.get(k) for k in op.results)


WHILE_RULES = _WhileRules()
