"""`optimize`: all that happens to a program's graph before it becomes kernels."""

from __future__ import annotations

from graphc.graph import Graph
from graphc.passes import SWITCHES, passes_of, run
from graphc.passes.frame import frame
from graphc.passes.layout import lay_out
from graphc.passes.options import EVERYTHING, Options


def optimize(graph: Graph, options: Options = EVERYTHING) -> Graph:
    """Return the graph that `Program` compiles: after the passes, laid out and framed."""
    assert options.off.issubset(SWITCHES), options.off.difference(SWITCHES)
    graph = lay_out(run(passes_of(options), graph), options)
    return frame(graph) if options.uses("frame") else graph
