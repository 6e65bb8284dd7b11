"""`expand`: composites become ops that fusion knows, at the line of the composite."""

from __future__ import annotations

import graphc as gc
from graphc.graph.graph import Graph
from graphc.graph.op import Composite
from graphc.passes.algebra.cse import cse
from graphc.passes.algebra.expand import expand
from tests.passes import becomes, stays


def test_softmax() -> None:
    becomes(
        lambda g: cse(expand(g)),
        gc.softmax(gc.placeholder("x", ("n", 4))),
        """
        %0: f64[n,4] = placeholder[x]
        %1: f64[n] = max[axes=(1)](%0)
        %2: f64[n,4] = broadcast[shape=(n,4), axes=(0)](%1)
        %3: f64[n,4] = subtract(%0, %2)
        %4: f64[n,4] = exp_capped(%3)
        %5: bool[n] = equal(%1, %1)
        %6: f64[n] = sum[axes=(1)](%4)
        %7: f64[n] = where(%5, %6, %1)
        %8: f64[n] = reciprocal(%7)
        %9: f64[n,4] = broadcast[shape=(n,4), axes=(0)](%8)
        %10: f64[n,4] = multiply(%4, %9)
        return %10
        """,
    )


def test_nothing_composite_is_left_and_lines_stay() -> None:
    x = gc.placeholder("x", (3, 4))
    y = gc.logsumexp(gc.log_softmax(gc.softmax(x)))
    graph = expand(Graph([y]))
    assert not any(isinstance(n.op, Composite) for n in graph.nodes)
    assert {n.source[:2] for n in graph.nodes[1:]} == {y.source[:2]}


def test_softmax_and_logsumexp_share_their_parts() -> None:
    x = gc.placeholder("x", (3, 4))
    shared = len(cse(expand(Graph([gc.softmax(x), gc.logsumexp(x, 1)]))))
    assert shared == len(cse(expand(Graph([gc.softmax(x)])))) + 2  # log and add


def test_programs_without_composites_stay() -> None:
    stays(expand, gc.sum(gc.tanh(gc.placeholder("x", (3,)))))
