"""Random programs agree with themselves: passes on and off, compiled and interpreted.

Rounding differs where a rule is more accurate than what was written, so values are compared to 1e-9 (float64) of
their scale; the programs stay away from jumps and poles (`tests/random_graphs.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

import graphc as gc
from graphc.graph.evaluate import run_graph
from graphc.graph.graph import Graph, topological_order
from graphc.graph.types import Array
from graphc.passes import ALGEBRA, GRAPH_PASSES, everywhere, run
from graphc.passes.algebra.expand import expand
from graphc.passes.algebra.stabilize import stabilize
from tests.random_graphs import SIZES, Program, random_program

BLOCK = 100
TOGETHER = 10


def assert_same(found: Sequence[Array], program: Program, where: str) -> None:
    where = f"{where}\n{Graph(program.outputs)}\n"
    for i, (a, output) in enumerate(zip(found, program.outputs, strict=True)):
        b = program.values[output]
        assert a.dtype == b.dtype and a.shape == b.shape, f"{where}, output {i}: {a.dtype}{a.shape} {b.dtype}{b.shape}"
        if b.dtype.kind != "f":
            assert np.array_equal(a, b), f"{where}, output {i}: {a} != {b}"
            continue
        single = any(x.dtype == np.float32 for x in topological_order([output]))
        tolerance = 1e-4 if single else 1e-9
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=f"{where}, output {i}")


def check_passes(seeds: Iterable[int]) -> None:
    for seed in seeds:
        program = random_program(seed)
        graph = Graph(program.outputs, tuple(program.bindings))
        optimized = run(GRAPH_PASSES, graph, verify=True)
        found = run_graph(optimized, program.bindings, SIZES)
        assert_same(found, program, f"seed {seed}\n{optimized}\n")


@pytest.mark.parametrize("block", range(12))
def test_passes_on_and_off_agree(block: int) -> None:
    check_passes(range(block * BLOCK, (block + 1) * BLOCK))


def test_algebra_reaches_its_fixed_point() -> None:
    """Where rules are done they find nothing more to do."""
    algebra = ALGEBRA[: ALGEBRA.index(expand)]
    for seed in range(200):
        program = random_program(seed)
        once = everywhere(algebra, Graph(program.outputs, tuple(program.bindings)))
        assert str(stabilize(once)) == str(once), f"seed {seed}\n{once}"


@pytest.mark.slow
@pytest.mark.parametrize("block", range(12, 200))
def test_passes_on_and_off_agree_on_many(block: int) -> None:
    check_passes(range(block * BLOCK, (block + 1) * BLOCK))


@pytest.mark.parametrize("block", [b if b < 12 else pytest.param(b, marks=pytest.mark.slow) for b in range(60)])
def test_compiled_and_interpreted_agree(block: int) -> None:
    programs = [random_program(100_000 + block * TOGETHER + i) for i in range(TOGETHER)]
    inputs = [x for p in programs for x in p.bindings]
    compiled = gc.function(inputs, [p.outputs for p in programs], on_unused="ignore")
    results = compiled(*[v for p in programs for v in p.bindings.values()])
    for i, (program, found) in enumerate(zip(programs, results, strict=True)):
        seed = 100_000 + block * TOGETHER + i
        assert_same(found, program, f"seed {seed}")


def test_programs_are_varied() -> None:
    """The generator reaches every family of ops, every dtype, and gradients."""
    seen: Counter[str] = Counter()
    for seed in range(300):
        program = random_program(seed)
        for node in Graph(program.outputs).nodes:
            seen[type(node.op).__name__] += 1
            seen[node.op.name] += 1
            seen[node.dtype.name] += 1
    for name in (
        "Reduction",
        "Broadcast",
        "Gather",
        "MatMul",
        "Slice",
        "PermuteDims",
        "Reshape",
        "Concat",
        "Cumulative",
    ):
        assert seen[name] >= 10, (name, seen[name])
    for name in ("Scatter", "Squeeze", "where", "masked_multiply", "logsumexp", "softmax", "float32", "int64", "bool"):
        assert seen[name] >= 5, (name, seen[name])
    assert np.mean([len(Graph(random_program(seed).outputs)) for seed in range(50)]) > 12
