"""Where values live: the answer follows chains, and plans and frames agree with it."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc.codegen.nest.places import Places
from graphc.passes import PASS_NAMES


def test_a_part_of_a_part_lives_in_the_whole() -> None:
    x, y, z, w = (gc.placeholder(name, (4,)) for name in "xyzw")
    places = Places({w}, {x: (y, 2)})
    places.put({y: (z, 8)})
    assert [places.of(v) for v in (x, y, z)] == [(z, 10), (z, 8), (z, 0)] and places.whole(x) is z
    assert [places.in_arena(v) for v in (x, y, z, w)] == [False, False, True, False]


def test_concatenations_of_concatenations() -> None:
    """Parts of parts, with and without what makes one concatenation of two."""
    x = gc.placeholder("x", (3,))
    inner = gc.concat([gc.exp(x) * 2, gc.sin(x) + 1])
    outer = gc.concat([gc.tanh(x), inner, gc.cos(x) * x]) * 3
    value = np.array([0.5, -1.0, 2.0])
    parts = [np.tanh(value), np.exp(value) * 2, np.sin(value) + 1, np.cos(value) * value]
    for off in ((), ("fuse",), PASS_NAMES):
        f = gc.function([x], [outer, inner], mode="debug")._without(*off)
        found = f(value)
        np.testing.assert_allclose(found[0], np.concatenate(parts) * 3, rtol=1e-14)
        np.testing.assert_allclose(found[1], np.concatenate(parts[1:3]), rtol=1e-14)
