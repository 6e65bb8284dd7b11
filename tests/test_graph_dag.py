"""`Graph.dag`: what networkx is asked agrees with the nodes; passes that change nothing return the graph they got."""

from __future__ import annotations

import networkx
import pytest

import graphc as gc
from graphc.graph.graph import Graph, verify
from graphc.graph.node import Node
from graphc.passes import GRAPH_PASSES, Pass, optimise_bodies
from graphc.passes.loops.hoist import hoist
from graphc.passes.loops.regions import prune
from tests import random_loops
from tests.random_graphs import random_program


def test_the_dag_says_what_the_nodes_say() -> None:
    x = gc.placeholder("x", shape=(3,))
    y = gc.exp(x)
    graph = Graph([y * y + x, y])
    (double,) = (n for n in graph.nodes if n.op.name == "multiply")
    assert list(graph.dag) == list(graph.nodes)
    assert list(graph.dag.edges) == [(n, u) for n in graph.nodes for u in graph.nodes if n in u.inputs]
    assert graph.users(y) == (double,) and graph.only_user(y) is None
    assert graph.users(double) == graph.outputs[:1] and graph.only_user(double) is graph.outputs[0]
    assert graph.users(graph.outputs[0]) == () and graph.only_user(graph.outputs[0]) is None
    assert graph.descendants([y]) == {y, double, graph.outputs[0]}
    assert graph.ancestors([double]) == {x, y, double}
    assert graph.descendants([x], through=lambda n: n is not double) == {x, y, graph.outputs[0]}


def test_the_dag_is_read_only_and_its_copy_is_not() -> None:
    graph = Graph([gc.placeholder("x") + 1])
    with pytest.raises(networkx.NetworkXError):
        graph.dag.remove_node(graph.outputs[0])
    with pytest.raises(TypeError):
        graph.dag.nodes[graph.outputs[0]]["colour"] = "red"
    copy = graph.dag.copy()
    copy.nodes[graph.outputs[0]]["colour"] = "red"
    copy.remove_node(graph.inputs[0])
    assert len(copy) == len(graph) - 1


def test_verify_finds_a_dag_that_is_wrong() -> None:
    graph = Graph([gc.exp(gc.placeholder("x"))])
    graph.dag = networkx.DiGraph([(graph.outputs[0], graph.inputs[0])])
    with pytest.raises(AssertionError, match="other operands"):
        verify(graph)


@pytest.mark.parametrize("seed", range(20))
def test_reachability_is_what_a_walk_finds(seed: int) -> None:
    """`ancestors` and `descendants` of random graphs, against a walk over operands without networkx."""
    graph = Graph(random_program(seed).outputs)
    below: dict[Node, set[Node]] = {}
    for node in graph.nodes:
        below[node] = {node}.union(*(below[x] for x in node.inputs))
    for some in (graph.nodes[:1], graph.nodes[::3], graph.outputs):
        assert graph.ancestors(some) == set().union(*(below[n] for n in some))
        assert graph.descendants(some) == {n for n in graph.nodes if below[n] & set(some)}


def looping(seed: int) -> Graph:
    """A random program of loops, with its gradient where it has one."""
    y = random_loops.program(seed)
    wrt = [x for x in Graph([y]).inputs if x.dtype.kind == "f"]
    return Graph([y, *gc.grad(gc.sum(y), wrt)] if y.dtype.kind == "f" and wrt else [y])


PROGRAMS = [*(Graph(random_program(seed).outputs) for seed in range(6)), *(looping(seed) for seed in range(12))]


@pytest.mark.parametrize("graph", [pytest.param(g, id=f"{i}") for i, g in enumerate(PROGRAMS)])
def test_a_pass_that_changes_nothing_returns_the_graph_it_got(graph: Graph) -> None:
    """Every pass at its place in the order, loops' bodies included: at a fixed point it returns its argument.

    `prune`, also in bodies, may need several runs: what one loop no longer reads, another need not give. `hoist` leaves
    results that nothing reads, and is settled together with it.
    """
    for apply_pass in GRAPH_PASSES:
        after: Pass = prune if apply_pass is hoist else verify
        settled, runs = verify(after(apply_pass(graph))), 0
        while (again := after(apply_pass(settled))) is not settled and runs < 5:
            settled, runs = again, runs + 1
        assert again is settled, apply_pass.__name__
        assert runs == 0 or apply_pass in (prune, hoist, optimise_bodies), apply_pass.__name__
        graph = apply_pass(graph)
