"""Paths of values: scopes, names, modules, derivatives; where they are shown, and what they outlive."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc


class Block(gc.nn.Module):
    def __init__(self, width: int) -> None:
        self.dense = gc.nn.Linear(width, width, rng=0)

    def forward(self, x: gc.Node) -> Any:
        return gc.tanh(self.dense(x)).named("hidden")


class Net(gc.nn.Module):
    def __init__(self) -> None:
        self.blocks = [Block(3), Block(3)]
        self.head = gc.nn.Linear(3, 1, rng=0)

    def forward(self, x: gc.Node) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def batch() -> gc.Node:
    return gc.placeholder("x", shape=("n", 3), dtype="float32")


def paths(graph: gc.Graph) -> set[str]:
    return {n.path for n in graph.nodes if n.inputs}


def test_scopes_lie_within_scopes_and_end() -> None:
    x = gc.placeholder("x")
    with gc.scope("a"):
        with gc.scope("b.c"):
            inner = gc.exp(x)
        middle = gc.exp(x)
    assert [inner.path, middle.path, gc.exp(x).path] == ["a.b.c", "a", ""]


def test_a_scope_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), gc.scope("a"):
        raise ZeroDivisionError
    assert gc.exp(gc.placeholder("x")).path == ""


def test_a_scope_around_a_function_is_found_at_its_call() -> None:
    @gc.scope("inner")
    def double(x: gc.Node) -> gc.Node:
        return x * 2

    with gc.scope("outer"):
        assert double(gc.placeholder("x")).path == "outer.inner"


def test_named_is_the_node_itself() -> None:
    x = gc.placeholder("x")
    with gc.scope("a"):
        h = gc.exp(x)
    assert h.named("h") is h
    assert (h.name, h.path, repr(h)) == ("h", "a.h", "h: f64[] = exp(x)")
    assert h.named("other").path == "a.other"


@pytest.mark.parametrize("name", ["", " ", "a.b", "\n", "∇x", 3, None])
def test_names_that_are_none(name: object) -> None:
    h = gc.exp(gc.placeholder("x")).named("before")
    with pytest.raises(gc.ArgumentError, match=r"named: .* \[test_scopes"):
        h.named(name)  # type: ignore[arg-type]
    assert h.name == "before"


@pytest.mark.parametrize("name", ["", ".", "a.", " ", "\x1b[31m", "∇", 3, None])
def test_scopes_that_are_none(name: object) -> None:
    with pytest.raises(gc.ArgumentError, match=r"scope: .*\[test_scopes"):
        gc.scope(name)  # type: ignore[arg-type]


def test_what_has_a_name_keeps_it() -> None:
    with pytest.raises(gc.ArgumentError, match="x has a name already"):
        gc.placeholder("x").named("other")


def test_shared_nodes_take_another_name() -> None:
    w = gc.shared(1.0, name="w")
    assert w.named("gain") is w
    assert repr(w) == "gain: f64[] = shared[gain]"


def test_modules_give_values_and_parameters_their_paths() -> None:
    model, x = Net(), batch()
    loss = gc.mean(model(x) ** 2)
    assert {"blocks.0.dense", "blocks.0.hidden", "blocks.1.dense", "blocks.1.hidden", "head"} <= paths(gc.Graph([loss]))
    assert [p.name for p in model.parameters().values()] == list(model.parameters())


def test_a_call_without_asking_for_parameters_names_them_too() -> None:
    model = Net()
    model(batch())
    assert model.head.weight.name == "head.weight"


def test_scopes_around_a_model_stand_before_its_own() -> None:
    with gc.scope("teacher"):
        out = Net()(batch())
    assert out.path == "teacher.head"


def test_a_layer_alone_has_short_names_and_the_longest_path_wins() -> None:
    block = Block(3)
    assert next(iter(block.parameters().values())).name == "dense.weight"
    model = Net()
    model.blocks[0] = block
    model(batch())
    block(batch())
    assert block.dense.weight.name == "blocks.0.dense.weight"


def test_a_name_of_the_users_own_stays() -> None:
    model = Net()
    model.head.weight = gc.shared(np.zeros((1, 3), "float32"), name="readout")
    assert model.parameters()["head.weight"].name == "readout"


def test_a_module_that_is_made_on_the_way_is_named_by_what_is_around_it() -> None:
    class Odd(gc.nn.Module):
        def forward(self, x: gc.Node) -> Any:
            return Block(3)(x)

    class Outer(gc.nn.Module):
        def __init__(self) -> None:
            self.odd = Odd()

        def forward(self, x: gc.Node) -> Any:
            return self.odd(x)

    assert Outer()(batch()).path == "odd.hidden"


def test_derivatives_say_whose_they_are() -> None:
    x = gc.placeholder("x", shape=(3,))
    with gc.scope("a"):
        h = (x**3).named("cube")
    g = gc.grad(gc.sum(h), x)
    assert "∇a.cube" in paths(gc.Graph([g]))
    assert g.name == ""
    again = gc.Graph([gc.grad(gc.sum(g * g), x)])
    assert not any("∇∇" in path for path in paths(again))


def test_paths_outlive_passes_files_and_pickles(tmp_path: Path) -> None:
    model, x = Net(), batch()
    step = gc.function([x], gc.grad(gc.mean(model(x) ** 2), model.parameters()))
    found = paths(step.optimized)
    assert {"blocks.0.hidden", "∇blocks.0.dense", "head"} <= found
    gc.save(step, tmp_path / "step.gcx")
    for other in (gc.load(tmp_path / "step.gcx"), pickle.loads(pickle.dumps(step)), copy.deepcopy(step)):
        assert paths(other.graph) == paths(step.graph)
        assert [s.name for s in other.graph.shared] == [s.name for s in step.graph.shared]


def test_errors_name_the_module() -> None:
    with pytest.raises(gc.ShapeError, match=r"\[test_scopes\.py:\d+, blocks\.0\.dense\]"):
        Net()(gc.placeholder("x", shape=("n", 4), dtype="float32"))
    table = gc.nn.Embedding(3, 2)
    model = gc.nn.Sequential(table)
    i = gc.placeholder("i", shape=("n",), dtype="int64")
    with pytest.raises(gc.IndexOutOfBoundsError, match=r"Embedding: .*\[test_scopes\.py:\d+, 0\]"):
        gc.function([i], model(i))([5])


def test_names_change_no_program() -> None:
    def build(named: bool) -> gc.Function:
        x = gc.placeholder("x", shape=(4,))
        h = gc.exp(x)
        if named:
            with gc.scope("a"):
                h = gc.exp(x).named("h")
        return gc.function([x], [gc.sum(h * h), gc.grad(gc.sum(h * h), x)])

    assert str(build(True).optimized) == str(build(False).optimized)
    assert build(True).source.kernels == build(False).source.kernels
