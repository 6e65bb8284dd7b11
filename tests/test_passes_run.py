"""All passes in their order, on every case of every op table and its gradient."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc.graph.evaluate import run_graph
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.types import is_float
from graphc.passes import GRAPH_PASSES, run
from tests.cases import Case

CASES: list[Case] = [
    case
    for path in sorted(Path(__file__).parent.glob("cases_*.py"))
    for case in importlib.import_module(f"tests.{path.stem}").CASES
]


def with_gradient(case: Case, inputs: list[Node]) -> list[Node]:
    out = case.build(*inputs)
    wanted = range(len(inputs)) if case.differentiable is None else case.differentiable
    wrt = [inputs[i] for i in wanted if is_float(inputs[i].dtype)]
    if not wrt or not is_float(out.dtype):
        return [out]
    return [out, *gc.grad(gc.sum(out), wrt, disconnected="zero")]


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in CASES])
def test_passes_keep_values(case: Case) -> None:
    arrays = case.arrays()
    inputs = [gc.placeholder(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    graph = Graph(with_gradient(case, inputs), inputs)
    bindings = dict(zip(inputs, arrays, strict=True))
    before, after = run_graph(graph, bindings, {}), run_graph(run(GRAPH_PASSES, graph, verify=True), bindings, {})
    for b, a in zip(before, after, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        tolerance = 1e-4 if any(n.dtype == np.float32 for n in graph.nodes) else 1e-9
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_the_signature_stays() -> None:
    x, unused, w = gc.placeholder("x"), gc.placeholder("unused"), gc.shared(1.0, name="w")
    graph = Graph(
        [x * 1.0, w + x - x], (x, unused), updates=(w,), guards=((gc.dim("n"), 3, "add", ("f.py", 1, "", "")),)
    )
    after = run(GRAPH_PASSES, graph, verify=True)
    assert (after.inputs, after.updates, after.guards) == (graph.inputs, graph.updates, graph.guards)


def test_a_deep_program() -> None:
    """No pass recurses over nodes."""
    x = gc.placeholder("x", (3,))
    v = x
    for i in range(3_000):
        v = gc.tanh(v * (0.5 + i) + x)
    graph = Graph([gc.grad(gc.sum(v), x)])
    assert len(run(GRAPH_PASSES, graph)) <= len(graph)
