"""No step runs that a loop would not, not even what every step would compute alike; a limit that is reached is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc

MODES = ["compiled", "debug", "reference"]
TABLE = gc.placeholder("table", (3,))
MATRICES = gc.placeholder("matrices", (3, 2, 2))


@pytest.mark.parametrize("mode", MODES)
def test_steps_left_do_not_run(mode: Any) -> None:
    """A fourth step would read behind the table."""
    last = gc.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + TABLE[c[0]] ** 2), (0, 0.0), max_steps=9)[1]
    value, gradient = gc.function([TABLE], [last, gc.grad(last, TABLE)], mode=mode)([1.0, 2.0, 3.0])
    assert value == 14
    np.testing.assert_array_equal(gradient, [2, 4, 6])


def test_steps_left_solve_nothing() -> None:
    """A fourth step would solve with a singular matrix: the first one less the identity."""
    first = gc.placeholder("first", (2, 2))

    def step(c: Any) -> Any:
        return c[0] + 1, gc.linalg.inv(first - c[0].astype("float64") * gc.eye(2)) @ c[1]

    last = gc.while_loop(lambda c: c[0] < 3, step, (0, gc.ones(2)), max_steps=5)[1]
    wanted = np.ones(2) / 3 / 2 / 1
    np.testing.assert_allclose(gc.function([first], last)(3.0 * np.eye(2)), wanted)


@pytest.mark.parametrize("mode", MODES)
def test_a_limit_that_is_reached_is_an_error(mode: Any) -> None:
    x = gc.placeholder("x")
    last = gc.while_loop(lambda c: c < 5, lambda c: c * x, 1.0, max_steps=3)
    f = gc.function([x], [last, gc.grad(last, x)], mode=mode)
    np.testing.assert_array_equal(f(2.0), [8, 12])  # the third step ends the loop
    with pytest.raises(gc.ArgumentError, match=r"while_loop: the condition still holds.*until.*test_steps_not_run"):
        f(1.5)
    with pytest.raises(gc.ArgumentError, match="max_steps"):
        gc.while_loop(lambda c: c < 5, lambda c: c * x, 1.0, max_steps=0).eval({x: 2.0})


@pytest.mark.parametrize("mode", MODES)
def test_loops_without_steps_compute_nothing(mode: Any) -> None:
    """What does not depend on the carries is computed before a loop, but not where it can fail and no step runs."""
    index, matrix, xs = (
        gc.placeholder("index", (), "int64"),
        gc.placeholder("matrix", (2, 2)),
        gc.placeholder("xs", ("t",)),
    )
    last = gc.while_loop(lambda c: c < 0, lambda c: c + TABLE[index], 1.0)
    slope = gc.jvp([last], [TABLE], [TABLE])[0]
    values = gc.function([TABLE, index], [last, slope], mode=mode)([1.0, 2.0, 3.0], 7)
    np.testing.assert_array_equal(values, [1, 0])

    none = gc.scan(lambda c, _: (c + TABLE[index], None), 0.0, length=0)[0]
    value, gradient = gc.function([TABLE, index], [none, gc.grad(none, TABLE)], mode=mode)([1.0, 2.0, 3.0], 7)
    np.testing.assert_array_equal([value, *gradient], np.zeros(4))

    some = gc.scan(lambda c, x: (c + gc.sum(gc.linalg.solve(matrix, gc.ones(2))) * x, None), 0.0, xs)[0]
    f = gc.function([matrix, xs], [some, gc.grad(some, matrix)], mode=mode)
    value, gradient = f(np.zeros((2, 2)), [])
    np.testing.assert_array_equal([value, *gradient.ravel()], np.zeros(5))
    value, gradient = f(np.eye(2), [1.0, 2.0])
    np.testing.assert_allclose([value, *gradient.ravel()], [6, *[-3] * 4])
    with pytest.raises(gc.LinAlgError, match="singular"):
        f(np.zeros((2, 2)), [1.0])
