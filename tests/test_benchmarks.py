"""The rows of `benchmarks/` run, in small forms, and agree with formulas; no time is looked at."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from benchmarks import profile, tool_graphc
from benchmarks.inputs import DRAWN, SIZES, draw_inputs
from benchmarks.rows_graphc import Clock
from benchmarks.workloads import COMPILED, ELEMENTS, NODES, WORKLOADS, find

# Long for the reference interpreter: their steps are not those of a small form.
LONG = ("pendulum", "pendulum_grad")
FOLDER = Path(tool_graphc.__file__).parent


def test_every_workload_has_inputs_and_a_row() -> None:
    assert set(WORKLOADS) == set(DRAWN) == set(SIZES) == set(tool_graphc.ROWS)


@pytest.mark.parametrize("peer", ["jax", "torch", "pytensor"])
def test_rows_of_peers_are_workloads(peer: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob(f"rows_{peer}*.py"))
    names = re.findall(r'^    "(\w+)": \S+,$', text, re.M)
    names += re.findall(r'^    "(\w+)": partial\(.*\),$', text, re.M)
    assert len(names) > 10
    assert set(names) <= set(WORKLOADS)


def test_rows_with_a_size() -> None:
    assert draw_inputs("fused@1e2")["x"].shape == (100,)
    assert len(draw_inputs("chain1000@12")["c"]) == 12
    assert find("call") is WORKLOADS["call"]
    assert find("fused@100").peers and not any(find(name).peers for name in NODES)
    assert {find(name).row for name in ELEMENTS + NODES} <= set(WORKLOADS)
    assert {name for name, *_ in COMPILED} <= set(WORKLOADS)
    with pytest.raises(KeyError):
        find("fuse")
    with pytest.raises(ValueError):
        find("fused@0")


def test_inputs_are_the_same_in_every_run() -> None:
    first, second = draw_inputs("gather", small=True), draw_inputs("gather", small=True)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("row", [name for name in WORKLOADS if name not in LONG])
def test_row_in_its_small_form(row: str) -> None:
    built = tool_graphc.ROWS[row](Clock(), draw_inputs(row, small=True))
    before = [s.get_value() for s in built.updates]
    results = gc.function(built.inputs, [*_listed(built.outputs)], updates=built.updates, mode="reference")(
        *built.arguments
    )
    for value in (*results, *(s.get_value() for s in built.updates)):
        assert np.all(np.isfinite(value))
        assert np.any(value != 0)
    for shared, old in zip(built.updates, before, strict=True):
        assert not np.array_equal(shared.get_value(), old), shared.name


def _listed(outputs: gc.Node | list[gc.Node]) -> list[gc.Node]:
    return [outputs] if isinstance(outputs, gc.Node) else outputs


def test_prepare_runs_the_compiled_row(tmp_path: Path) -> None:
    before = gc.cache_directory()
    inputs = draw_inputs("lse", small=True)
    try:
        prepared = tool_graphc.prepare("lse", inputs, str(tmp_path), threads=1)
        prepared.run(2)
    finally:
        gc.set_cache(before)
    exponentials = np.exp(inputs["x"])
    sums = exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(prepared.result[0], np.log(sums).sum(), rtol=1e-12)
    np.testing.assert_allclose(prepared.result[1], exponentials / sums, rtol=1e-12)
    assert prepared.counts["kernels"] > 0
    assert {"build", "grad", "function", "compile()", "first call"} <= set(prepared.stages)


def test_profile_has_a_line_an_instruction() -> None:
    built = tool_graphc.ROWS["lse"](Clock(), draw_inputs("lse", small=True))
    function = tool_graphc.make_function(built)
    function(*built.arguments)
    lines = profile.profile(function, built.arguments, 0.01)
    assert len(lines) >= len(function.schedule)
    assert next(line.kernel for line in lines if line.kernel != "copy").startswith("kernel 0:")
    assert all(0 <= line.seconds < 1 for line in lines)
