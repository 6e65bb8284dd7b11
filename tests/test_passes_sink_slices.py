"""Slices move to what they are computed from, and parts are put together where they are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.passes.updates.sink_slices import join_slices, sink_slices

X, Y = gc.placeholder("x", shape=(4, 3)), gc.placeholder("y", shape=(4, 3))


def names(node: gc.Node | list[gc.Node]) -> list[str]:
    return [n.op.name for n in gc.Graph(node).nodes]


def test_slices_sink_through_pointwise_values() -> None:
    """before: `slice(tanh(add(x, y)))`; after: `tanh(add(slice(x), slice(y)))`."""
    z = gc.tanh(X + Y)
    graph = sink_slices(gc.Graph([z[0], z[2]]))
    found = names(list(graph.outputs))
    assert found[:7] == ["placeholder", "slice", "placeholder", "slice", "add", "tanh", "squeeze"]
    assert found[7:] == ["slice", "slice", "add", "tanh", "squeeze"]


def test_slices_stay_where_parts_would_be_computed_twice_or_the_whole_is_used() -> None:
    z = gc.tanh(X + Y)
    for outputs in ([z[:3], z[1:]], [z[0], gc.sum(z)], [z[0], z]):
        graph = gc.Graph(outputs)
        assert str(sink_slices(graph)) == str(graph)


def test_parts_that_cover_a_value_are_joined() -> None:
    z = gc.tanh(X)
    gradient = gc.grad(gc.sum(z[0] * 2) + gc.sum(gc.sin(z[1:3])) + gc.sum(z[3] * z[3]), X)
    joined = join_slices(gc.Graph([gradient]))
    assert "concat" in str(joined) and "unslice" not in str(joined)
    f = gc.function([X], gradient)
    x = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_allclose(f(x), gc.evaluate(gradient, {X: x}), rtol=1e-13)


def test_parts_with_gaps_or_overlaps_are_added() -> None:
    for parts in ((slice(0, 2), slice(3, 4)), (slice(0, 3), slice(2, 4)), (slice(0, 4, 2), slice(1, 4, 2))):
        gradient = gc.grad(gc.sum(gc.sin(X[parts[0]])) + gc.sum(gc.cos(X[parts[1]])), X)
        graph = gc.Graph([gradient])
        assert str(join_slices(graph)) == str(graph)


@pytest.mark.parametrize("mode", ["compiled", "debug"])
def test_parts_are_computed_in_their_place(mode: Any) -> None:
    """A concatenation of computed values copies nothing; what others read, or is an output, is copied."""
    parts = [gc.tanh(X), gc.exp(Y), gc.sin(X) * Y]
    whole = gc.concat(parts)
    f = gc.function([X, Y], gc.sum(whole * whole, axis=0), mode=mode).compile()
    assert f.stats["kernels"] == 3  # tanh and sin, exp, the sum
    g = gc.function([X, Y], [gc.concat([parts[0], X]), parts[0], gc.sum(gc.concat([parts[1], parts[1]]))], mode=mode)
    x, y = np.random.default_rng(0).normal(size=(2, 4, 3))
    expected = np.concatenate([np.tanh(x), np.exp(y), np.sin(x) * y])
    np.testing.assert_allclose(f(x, y), (expected * expected).sum(0), rtol=1e-13)
    np.testing.assert_allclose(g(x, y)[0], np.concatenate([np.tanh(x), x]), rtol=1e-13)
    np.testing.assert_allclose(g(x, y)[2], 2 * np.exp(y).sum(), rtol=1e-13)
