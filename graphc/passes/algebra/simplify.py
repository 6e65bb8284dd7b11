"""The pass of exact algebra: the EXACT rules, to a fixed point."""

from __future__ import annotations

from graphc.graph.graph import Graph
from graphc.passes.algebra.rewrite import rewrite
from graphc.passes.algebra.rules_exact import EXACT


def simplify(graph: Graph) -> Graph:
    """Apply the identities that keep every bit, or come closer to the true value.

    before: `%1 = negative(%0)`, `%2 = negative(%1)`, `%3 = multiply(%2, %2)`
    after: `%1 = square(%0)`
    """
    return rewrite(graph, EXACT)[0]
