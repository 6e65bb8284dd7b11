"""Adjoint loops read parts of carries: what is stacked for them grows with the parts, not with the carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

STEPS = 12
Loop = Callable[[gc.Node], Any]


def _table(c: gc.Node, k: gc.Node) -> tuple[gc.Node, gc.Node]:
    return c.at[k].add(1.0), gc.log(c[k])


def _written(c: gc.Node, k: gc.Node) -> tuple[gc.Node, gc.Node]:
    return c.at[k].set(gc.sin(c[k + 1]) + 2.0), gc.sqrt(c[k])


def _decaying(c: gc.Node, k: gc.Node) -> tuple[gc.Node, gc.Node]:
    return (0.9 * c).at[k].add(1.0), c[k] ** 3


def _register(c: gc.Node, k: gc.Node) -> tuple[gc.Node, gc.Node]:
    return gc.concat([gc.stack([gc.sin(c[-1])]), c[:-1]]), gc.exp(c[0] * c[-1])


def _rolled(c: gc.Node, k: gc.Node) -> tuple[gc.Node, gc.Node]:
    return gc.roll(c, 1, axis=0), gc.log(c[0]) * c[1]


def _summed(c: gc.Node, k: gc.Node) -> tuple[gc.Node, gc.Node]:
    return c.at[k].add(0.5), gc.sum(c) ** 2


def _two_parts(c: gc.Node, k: gc.Node) -> tuple[gc.Node, gc.Node]:
    return c.at[k].add(0.5), gc.log(gc.sum(c[:3] * c[1:4])) * c[k]


STEP = [_table, _written, _decaying, _register, _rolled, _summed, _two_parts]


@pytest.mark.parametrize("size", ["known", "named"])
@pytest.mark.parametrize("step", STEP)
def test_memory_grows_with_the_parts(step: Callable[[gc.Node, gc.Node], tuple[gc.Node, gc.Node]], size: str) -> None:
    n = 400
    x = gc.placeholder("x", shape=(n if size == "known" else "n",))
    loss = gc.sum(gc.scan(step, x, gc.arange(STEPS))[1])
    slope = gc.grad(loss, x)
    f = gc.function([x], [loss, slope])
    value = 1.0 + np.random.default_rng(0).random(n)
    got, gradient = f(value)
    assert f.plan.peak_bytes < 8 * n * 8, "fewer than the carries of all steps"
    direction = np.random.default_rng(1).normal(size=n)
    ahead, behind = f(value + 1e-6 * direction)[0], f(value - 1e-6 * direction)[0]
    np.testing.assert_allclose(gradient @ direction, (ahead - behind) / 2e-6, rtol=1e-6)
    wanted = gc.function([x], [loss, slope], mode="reference")(value)
    np.testing.assert_allclose(got, wanted[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, wanted[1], rtol=1e-11)


@pytest.mark.parametrize("step", STEP)
def test_second_derivatives(step: Callable[[gc.Node, gc.Node], tuple[gc.Node, gc.Node]]) -> None:
    x = gc.placeholder("x", shape=(14,))
    loss = gc.sum(gc.scan(step, x, gc.arange(STEPS))[1])
    curved = gc.grad(gc.sum(gc.grad(loss, x) ** 2), x)
    value = 1.0 + np.random.default_rng(0).random(14)
    found = gc.function([x], curved)(value)
    np.testing.assert_allclose(found, gc.function([x], curved, mode="reference")(value), rtol=1e-10)


def test_what_all_of_a_carry_is_needed_for_stays() -> None:
    """The adjoint multiplies by every element: the carries are kept, and no part beside them."""
    x, w = gc.placeholder("x", shape=(50,)), gc.placeholder("w", shape=(50,))
    loss = gc.sum(gc.scan(lambda c, k: (gc.tanh(c * w).at[k].add(1.0), c[k] ** 2), x, gc.arange(STEPS))[1])
    f = gc.function([x, w], gc.grad(loss, [x, w]))
    values = np.random.default_rng(0).random((2, 50))
    for got, wanted in zip(
        f(*values), gc.evaluate(gc.grad(loss, [x, w]), dict(zip([x, w], values, strict=True))), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-11)
