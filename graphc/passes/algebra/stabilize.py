"""The pass of numerical stability: the STABILISE rules, with EXACT to bring their results into one form."""

from __future__ import annotations

from graphc.graph.graph import Graph
from graphc.passes.algebra.rewrite import rewrite
from graphc.passes.algebra.rules_exact import EXACT
from graphc.passes.algebra.rules_stabilise import STABILISE

RULES = (*EXACT, *STABILISE)


def stabilize(graph: Graph) -> Graph:
    """Replace formulas that overflow or lose digits by the ones numerical analysts write.

    before: `%2 = exp(%0)`, `%3 = add(%1, %2)`, `%4 = log(%3)` with `%1` a constant 1
    after: `%1 = softplus(%0)`
    """
    return rewrite(graph, RULES)[0]
