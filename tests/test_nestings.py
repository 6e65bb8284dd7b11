"""Structures that contain themselves, and names with control characters: one error, and no escape to a terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.graph.tree import MAX_DEPTH, flatten

X, W = gc.placeholder("x", shape=(3,)), gc.shared(1.0, name="w")
NESTED = gc.function({"a": [X]}, X * 2, mode="reference")


def inside_itself() -> dict[str, Any]:
    one: list[Any] = []
    one.append(one)
    named: dict[str, Any] = {}
    named["d"] = named
    two: list[Any] = []
    two += [two, two]
    return {"a list": one, "a dict": named, "a list of two": two}


class Owner(nn.Module):
    def __init__(self, value: Any) -> None:
        self.w, self.value = gc.shared(1.0), value


CALLS: dict[str, Callable[[Any], Any]] = {
    "outputs": lambda v: gc.function([X], v),
    "inputs": lambda v: gc.function(v, X),
    "updates": lambda v: gc.function([X], X, updates=v),
    "givens": lambda v: gc.function([], X, givens=v),
    "a call": lambda v: NESTED(v),
    "eval": lambda v: (X * 2).eval({X: v}),
    "evaluate": lambda v: gc.evaluate(v, {}),
    "Graph": gc.Graph,
    "grad": lambda v: gc.grad(W * W, v),
    "jacobian": lambda v: gc.jacobian(W * W, v),
    "vjp": lambda v: gc.vjp(W * W, W, v),
    "jvp": lambda v: gc.jvp(W * W, W, v),
    "hvp": lambda v: gc.hvp(W * W, W, v),
    "scan": lambda v: gc.scan(lambda c, t: (c, t), v, length=2),
    "a scan's result": lambda v: gc.scan(lambda c, t: (v, t), W, length=2),
    "fori_loop": lambda v: gc.fori_loop(0, 2, lambda i, c: c, v),
    "while_loop": lambda v: gc.while_loop(lambda c: c < 2, lambda c: c, v),
    "cond": lambda v: gc.cond(W > 0, lambda c: c, lambda c: c, v),
    "map": lambda v: gc.map(lambda c: c, v),
    "optimizer": lambda v: gc.optim.SGD(0.1).updates(W * W, v),
    "gradients": lambda v: gc.optim.SGD(0.1).updates_from_gradients(v, W),
    "clip": lambda v: gc.optim.clip_by_value(v, 1.0),
    "norm": lambda v: gc.optim.global_norm(v),
    "checkpoint": lambda v: gc.save_checkpoint("no/such/place", {"a": v}),
    "module": lambda v: Owner(v).parameters(),
    "batches": lambda v: gc.data.batches((v,), 2),
    "constant": gc.constant,
    "shared": gc.shared,
    "set_value": W.set_value,
    "an op": gc.sin,
    "stack": gc.stack,
    "concat": gc.concat,
    "reshape": lambda v: gc.reshape(X, v),
    "index": lambda v: X[v],
    "axis": lambda v: gc.sum(X, axis=v),
    "where": lambda v: gc.where(v, X, X),
}


@pytest.fixture
def limited() -> Iterator[None]:
    """A limit of time on the test, where the system has one."""
    if sys.platform == "win32":
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", CALLS)
def test_what_is_inside_itself_is_one_error(name: str, limited: None) -> None:
    for value in inside_itself().values():
        with pytest.raises(gc.GraphcError):
            CALLS[name](value)


def test_nestings_that_are_deep_but_end() -> None:
    tree: Any = X
    for _ in range(MAX_DEPTH):
        tree = [tree]
    assert flatten(tree) == [X]
    found = gc.function([X], tree, mode="reference")(np.ones(3))
    for _ in range(MAX_DEPTH):
        (found,) = found
    assert found.tolist() == [1, 1, 1]
    with pytest.raises(gc.ArgumentError, match=r"nested deeper than 200  \[test_nestings.py"):
        flatten([[tree]])


# -- control characters

RED = "\x1b[31mred\r\x07"
SHOWN = r"\x1b[31mred\r\x07"


def test_control_characters_of_names_are_shown_as_escapes(tmp_path: Path) -> None:
    x, w = gc.placeholder("x", shape=("n", 2)), gc.shared(np.ones(2), name=RED)
    gc.save(gc.function([x], x + w, updates={w: w * 2}, name=RED), tmp_path / "f.gcx")
    f = gc.load(tmp_path / "f.gcx")
    assert f.name == RED
    (state,) = f.graph.updates
    texts = [repr(f), str(f.graph), repr(state)]
    with pytest.raises(gc.GraphcError) as error:
        state.set_value(np.ones(3))
    for text in (*texts, str(error.value)):
        assert SHOWN in text and all(c.isprintable() or c == "\n" for c in text)
