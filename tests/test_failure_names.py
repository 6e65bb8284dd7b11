"""What fails in a call is named by the function that the user called, with the index that the user gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

import graphc as gc

Mode = Literal["compiled", "reference"]
Build = Callable[[gc.Node], Any]
INDICES: list[tuple[str, Build, Any]] = [
    ("embedding: index -1 is out of bounds: from 0 to 2", lambda i: gc.nn.embedding(i, np.ones((3, 2))), [-1]),
    ("embedding: index 3 is out of bounds: from 0 to 2", lambda i: gc.nn.embedding(i, np.ones((3, 2))), [3]),
    ("nll_loss: index -100 is out of bounds: from 0 to 2", lambda i: gc.nn.nll_loss(np.zeros((1, 3)), i), [-100]),
    ("cross_entropy: label -100 is out of bounds", lambda i: gc.nn.cross_entropy(np.zeros((1, 3)), i), [-100]),
    ("take: index -4 is out of bounds for axis 1 with size 3", lambda i: gc.take(np.ones((2, 3)), i, axis=1), [-4]),
    (
        "take_along_axis: index 7 is out of bounds for axis 0",
        lambda i: gc.take_along_axis(np.ones(3), i, axis=0),
        [7],
    ),
    ("getitem: index 7 is out of bounds for axis 0", lambda i: gc.constant([1.0, 2.0])[i], [7]),
]


@pytest.mark.parametrize(("message", "build", "value"), INDICES, ids=[m.split(" is")[0] for m, *_ in INDICES])
@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_indices(message: str, build: Build, value: Any, mode: Mode) -> None:
    i = gc.placeholder("i", dtype="int64", shape=("n",))
    f = gc.function([i], build(i), mode=mode)
    with pytest.raises(gc.IndexOutOfBoundsError, match=rf"^{message}.*test_failure_names.py"):
        f(np.array(value))


@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_singular_and_empty(mode: Mode) -> None:
    x = gc.placeholder("x", shape=("n", "n"))
    for name, out in (("inv", gc.linalg.inv(x)), ("solve", gc.linalg.solve(x, np.ones(2)))):
        with pytest.raises(gc.LinAlgError, match=f"^{name}: a matrix is singular"):
            gc.function([x], out, mode=mode)(np.zeros((2, 2)))
    y = gc.placeholder("y", shape=("n",))
    for name, out in (("median", gc.median(y)), ("quantile", gc.quantile(y, 0.3))):
        with pytest.raises(gc.IndexOutOfBoundsError, match=f"^{name}: .*the axis is empty"):
            gc.function([y], out, mode=mode)(np.ones(0))


def test_a_title_is_no_part_of_identity() -> None:
    x = gc.placeholder("x", shape=(3,))
    i = gc.placeholder("i", dtype="int64", shape=(2,))
    assert gc.take(x, i, axis=0).op == x[i].op
    assert hash(gc.take(x, i, axis=0).op) == hash(x[i].op)
