"""Random nested loops and branches: compiled and interpreted agree, in value and in derivatives of orders 1 and 2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from tests.random_loops import arrays, inputs, program


def derivatives(loss: gc.Node, wrt: list[gc.Node]) -> list[gc.Node]:
    """Return the loss, its gradient, and the gradient of a function of that gradient."""
    first = gc.grad(loss, wrt, disconnected="zero")
    curved = gc.sum(gc.sin(first[1])) + gc.sum(first[2] * first[2])
    return [loss, *first, *gc.grad(curved, wrt[1:], disconnected="zero")]


def check_compiled(seed: int, mode: Any) -> None:
    wrt = inputs(seed)
    outputs = derivatives(program(seed), wrt)
    f = gc.function(wrt, outputs, mode=mode, on_unused="ignore")
    for steps in (0, 1, 3, 4):
        given = arrays(seed + steps, steps)
        wanted = gc.evaluate(outputs, dict(zip(wrt, given, strict=True)))
        for number, (got, value) in enumerate(zip(f(*given), wanted, strict=True)):
            np.testing.assert_allclose(got, value, rtol=1e-8, atol=1e-10, err_msg=f"seed {seed}, output {number}")


@pytest.mark.parametrize("seed", range(20))
def test_debug_and_reference_agree(seed: int) -> None:
    check_compiled(seed, "debug")


@pytest.mark.parametrize("seed", range(100, 106))
def test_compiled_and_reference_agree(seed: int) -> None:
    check_compiled(seed, "compiled")


@pytest.mark.parametrize("seed", range(200, 212))
def test_derivatives_are_those_of_differences(seed: int) -> None:
    loss, wrt = program(seed), inputs(seed)
    bindings = dict(zip(wrt, arrays(seed, 3), strict=True))
    gc.check_grad(loss, [x for x in wrt if x in gc.Graph([loss]).index], bindings, rtol=2e-5)
    slope = gc.jvp([loss], wrt, [np.ones(a.shape) for a in bindings.values()])[0]
    gradient = gc.grad(loss, wrt, disconnected="zero")
    forward, *backward = gc.evaluate([slope, *gradient], bindings)
    np.testing.assert_allclose(forward, sum(g.sum() for g in backward), rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 2000))
def test_many(seed: int) -> None:
    check_compiled(seed, "debug")
