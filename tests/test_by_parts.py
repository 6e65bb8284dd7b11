"""Slices of carries that a step sets or adds to: written where they are, with the values of NumPy's assignments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.ops.by_parts import written_by_parts
from graphc.ops.indexing import Scatter

X = gc.placeholder("x", shape=("n", 20))
SIZED = gc.placeholder("sized", shape=(7, 20))
T = gc.placeholder("t", shape=("t",))
KEYS: dict[str, Any] = {
    "row": 3,
    "last row": -1,
    "element": (2, 5),
    "column": (slice(None), 4),
    "slice": slice(1, 4),
    "steps": (1, slice(2, 9, 3)),
    "block": (slice(1, 3), slice(4, 6)),
    "new axis": (None, 2),
}


def step(mode: str, key: Any) -> Callable[[gc.Node, gc.Node], tuple[gc.Node, None]]:
    def f(c: gc.Node, e: gc.Node) -> tuple[gc.Node, None]:
        changed = getattr(c.at[key], mode)(gc.sin(c[key]) * e)
        return changed.at[0, 0].add(e), None

    return f


@pytest.mark.parametrize("key", KEYS)
def test_slices_of_carries_become_scatters(key: str) -> None:
    given = np.random.default_rng(3).normal(size=(7, 20)), np.array([0.5, -1.5, 2.0])
    x = SIZED if key in ("slice", "block") else X  # of a named axis how many places those are is not known
    for mode in ("set", "add"):
        last = gc.scan(step(mode, KEYS[key]), x, T)[0]
        body = last.inputs[0].op.body
        assert isinstance(body.outputs[0].op, Scatter)
        f = gc.function([x, T], [last, *gc.grad(gc.sum(gc.sin(last)), [x, T])])
        c, places = given[0].copy(), KEYS[key]
        unrolled: Any = gc.constant(given[0])
        start = unrolled
        es = [gc.constant(e) for e in given[1]]
        for e, node in zip(given[1], es, strict=True):
            c[places] = np.sin(c[places]) * e + (c[places] if mode == "add" else 0)
            c[0, 0] += e
            unrolled = step(mode, places)(unrolled, node)[0]
        found = f(*given)
        np.testing.assert_allclose(found[0], c, rtol=1e-13, atol=1e-13)
        slopes = gc.evaluate(gc.grad(gc.sum(gc.sin(unrolled)), [start, *es]))
        np.testing.assert_allclose(found[1], slopes[0], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(found[2], slopes[1:], rtol=1e-12, atol=1e-13)


def test_what_is_dense_stays() -> None:
    """Values that are no slices of the carry, small carries, large slices."""
    assert written_by_parts(value := X.at[1:].set(0.0), X) is value
    assert written_by_parts(value := gc.sin(X).at[1].set(0.0), X) is value
    small = gc.placeholder("s", shape=(3,))
    assert written_by_parts(value := small.at[1].set(0.0), small) is value
