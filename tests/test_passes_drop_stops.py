"""`drop_stops`: `stop_gradient` is the identity after differentiation, in loops too."""

from __future__ import annotations

import graphc as gc
from graphc.graph.graph import Graph
from graphc.passes import everywhere
from graphc.passes.algebra.drop_stops import drop_stops
from graphc.passes.loops.regions import map_bodies
from tests.passes import becomes, stays


def test_the_identity() -> None:
    x = gc.placeholder("x", ("n",))
    becomes(
        drop_stops,
        gc.exp(gc.stop_gradient(x)),
        """
        %0: f64[n] = placeholder[x]
        %1: f64[n] = exp(%0)
        return %1
        """,
    )


def test_inside_a_loop() -> None:
    out = gc.scan(lambda c, x: (c + gc.stop_gradient(x), None), 0.0, gc.placeholder("x", (3,)))[0]
    found: list[str] = []

    def names(body: Graph) -> Graph:
        found.extend(n.op.name for n in body.nodes)
        return body

    map_bodies(everywhere((drop_stops,), Graph([out])), names)
    assert "add" in found and "stop_gradient" not in found


def test_does_not_fire() -> None:
    stays(drop_stops, gc.exp(gc.placeholder("x", ("n",))))
