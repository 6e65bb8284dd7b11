"""Draws inside loops and branches: new numbers in every step and call, the same in every mode and derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array
from graphc.ops.random_table import with_numpy
from graphc.random import Generator, GeneratorState

MODES = ["compiled", "debug", "reference"]
Loop = Callable[[Generator, gc.Node], Any]


def bits_at(key: int, position: int) -> int:
    """Return what a stream has at a position."""
    return int(with_numpy("random_bits", *(np.asarray(v, "uint64") for v in (key, position, 0))))


def _scan(rng: Generator, x: gc.Node) -> Any:
    return gc.scan(
        lambda c, v: (c * 0.5 + rng.normal((2,), mean=x) * v, rng.uniform()), gc.zeros(2), gc.arange(1.0, 6.0)
    )


def _in_chunks(rng: Generator, x: gc.Node) -> Any:
    def step(c: gc.Node, v: gc.Node) -> tuple[gc.Node, gc.Node]:
        return c * 0.5 + rng.normal((2,), mean=x) * v, rng.uniform()

    return gc.scan(step, gc.zeros(2), gc.arange(1.0, 6.0), checkpoint=2)


def _fori(rng: Generator, x: gc.Node) -> Any:
    return gc.fori_loop(0, 4, lambda i, c: c + rng.gamma(a=gc.exp(x)) * gc.sin(c), x)


def _while(rng: Generator, x: gc.Node) -> Any:
    return gc.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + rng.exponential(), c[1] * rng.normal()), (x * 0, x))


def _bounded(rng: Generator, x: gc.Node) -> Any:
    return gc.while_loop(lambda c: c < 3, lambda c: c + rng.exponential() * gc.exp(x), x * 0, max_steps=60)


def _until(rng: Generator, x: gc.Node) -> Any:
    return gc.scan(lambda c, v: (c + rng.uniform() * x, c), x, gc.arange(40.0), until=lambda c: c > 4)


def _map(rng: Generator, x: gc.Node) -> Any:
    return gc.map(lambda v: v * rng.normal((3,)) + x, gc.arange(4.0))


def _cond(rng: Generator, x: gc.Node) -> Any:
    def step(c: gc.Node, v: gc.Node) -> tuple[gc.Node, None]:
        return gc.cond(rng.bernoulli(), lambda: c + rng.normal() * x, lambda: c - rng.uniform((2,)).sum()), None

    return gc.scan(step, x, gc.arange(8.0))[0]


def _nested(rng: Generator, x: gc.Node) -> Any:
    def outer(c: gc.Node, _: None) -> tuple[gc.Node, gc.Node]:
        first = rng.normal()
        inner = gc.fori_loop(0, 3, lambda i, d: d * 0.5 + rng.normal() * x, first)
        return c + inner * rng.uniform(), inner

    return gc.scan(outer, x, None, 4)


LOOPS: list[Loop] = [_scan, _in_chunks, _fori, _while, _bounded, _until, _map, _cond, _nested]


def leaves(tree: Any) -> list[gc.Node]:
    return [y for part in tree for y in leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


@pytest.mark.parametrize("loop", LOOPS)
def test_modes_agree_in_value_and_derivative(loop: Loop) -> None:
    x = gc.placeholder("x")
    found: list[list[Array]] = []
    for mode in MODES:
        rng = Generator(11)
        outputs = leaves(loop(rng, x))
        loss = sum((gc.sum(y) for y in outputs[1:] if y.dtype.kind == "f"), gc.sum(outputs[0]))
        slopes = [gc.jvp(loss, x, 1.0)] if loop is _while else [gc.jvp(loss, x, 1.0), gc.grad(loss, x)]
        f = gc.function([x], [*outputs, *slopes], mode=mode)  # type: ignore[arg-type]
        found.append([*f(0.7), *f(0.7)])
        assert rng.get_state().position == 2, "a loop takes one number of its generator in each call"
        count = len(found[0]) // 2
        assert any((a != b).any() for a, b in zip(found[0][:count], found[0][count:], strict=True))
        if loop is not _while:
            np.testing.assert_allclose(found[-1][count - 2], found[-1][count - 1], rtol=1e-10)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("loop", [_scan, _in_chunks, _map, _nested, _cond])
def test_derivatives_are_those_of_differences_at_fixed_numbers(loop: Loop) -> None:
    x, rng = gc.placeholder("x"), Generator(4)
    loss = sum((gc.sum(gc.sin(y)) for y in leaves(loop(rng, x))), gc.constant(0.0))
    f = gc.function([x], [loss, gc.grad(loss, x)])

    def at(value: float) -> list[Array]:
        rng.set_state(GeneratorState(4, 0, 0))
        found: list[Array] = f(value)
        return found

    np.testing.assert_allclose(at(0.7)[1], (at(0.7 + 1e-6)[0] - at(0.7 - 1e-6)[0]) / 2e-6, rtol=1e-7)


@pytest.mark.parametrize("checkpoint", [None, 1, 2, 3, "sqrt"])
def test_a_step_has_its_numbers_whatever_the_checkpoint(checkpoint: Any) -> None:
    x, rng = gc.placeholder("x"), Generator(11)

    def step(c: gc.Node, _: None) -> tuple[gc.Node, gc.Node]:
        z = rng.normal()
        return gc.tanh(c * z + x), z

    last, drawn = gc.scan(step, x, None, 7, checkpoint=checkpoint)
    value, numbers, slope = gc.function([x], [last, drawn, gc.grad(last, x)])(0.3)
    c, d = 0.3, 1.0
    for z in numbers:
        c, d = np.tanh(c * z + 0.3), (1 - np.tanh(c * z + 0.3) ** 2) * (d * z + 1)
    np.testing.assert_allclose([value, slope], [c, d], rtol=1e-12)
    again = Generator(11)
    same = gc.function([], gc.scan(lambda c, _: (c, again.normal()), 0.0, None, 7)[1])()
    np.testing.assert_array_equal(numbers, same)


def test_positions_are_those_that_the_page_says() -> None:
    """A loop's key is the number at its place; step k of two numbers takes positions 2k and 2k + 1 under that key."""
    rng = Generator(5)
    before = rng.bits()
    drawn = gc.scan(lambda c, _: (c, gc.stack([rng.bits(), rng.bits()])), 0, None, 3)[1]
    first, rows, after = gc.function([], [before, drawn, rng.bits()])()
    assert int(first) == bits_at(5, 0) and int(after) == bits_at(5, 2)
    key = bits_at(5, 1)
    assert rows.tolist() == [[bits_at(key, 2 * k), bits_at(key, 2 * k + 1)] for k in range(3)]


def test_no_two_numbers_share_their_bits() -> None:
    """Nested loops, branches, draws around them and two calls: all bits differ."""
    rng, other = Generator(5), Generator(6)
    p = gc.placeholder("p", dtype="bool")

    def inner(c: gc.Node, _: None) -> tuple[gc.Node, gc.Node]:
        chosen = gc.cond(p, lambda: rng.bits((3,)), lambda: gc.concat([rng.bits((1,)), rng.bits((2,))]))
        return c, gc.concat([rng.bits((2,)), chosen, other.bits((1,))])

    def outer(c: gc.Node, _: None) -> tuple[gc.Node, gc.Node]:
        mine = rng.bits((6,))
        rows = gc.scan(inner, c, None, 4)[1]
        return c, gc.concat([mine[None], rows, rng.bits((1, 6))])

    f = gc.function([p], [rng.bits((5,)), gc.scan(outer, 0, None, 3)[1], rng.bits((5,)), other.bits((5,))])
    every = np.concatenate([y.ravel() for flag in (True, False, True) for y in f(flag)])
    assert len(set(every.tolist())) == every.size == 3 * (15 + 3 * 36)


def test_lengths_and_shapes_that_a_call_decides() -> None:
    x, rng = gc.placeholder("x", shape=("n", "m")), Generator(2)
    noisy = gc.scan(lambda c, row: (c + row, row + rng.normal(row.shape)), gc.zeros(x.shape[1]), x)[1]
    f = gc.function([x], noisy)
    for shape in ((3, 2), (0, 4), (5, 1)):
        assert f(np.zeros(shape)).shape == shape
    found = np.concatenate([f(np.zeros((200, 5))).ravel() for _ in range(4)])
    assert len(set(found.tolist())) == found.size
    assert abs(found.mean()) < 0.08 and abs(found.std() - 1) < 0.05


def test_steps_and_calls_are_uncorrelated() -> None:
    rng = Generator(9)
    f = gc.function([], gc.scan(lambda c, _: (c, rng.normal((64,))), 0, None, 64)[1])
    rows = np.concatenate([f(), f()])
    spread = 1 / np.sqrt(rows.shape[1])
    correlations = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    assert abs(correlations.std() / spread - 1) < 0.05 and abs(correlations.mean()) < 0.01
    assert np.abs(correlations).max() < 6 * spread


def test_a_langevin_chain_samples_its_density() -> None:
    """The unadjusted chain with step h of a normal density has variance 1 / (1 - h / 2) (Roberts & Tweedie, 1996)."""
    rng, h = Generator(1), 0.5
    start = gc.placeholder("start", shape=(400,))
    step = gc.scan(lambda x, _: (x - h * x + (2 * h) ** 0.5 * rng.normal((400,)), x), start, None, 100)[1]
    tail = gc.function([start], step)(np.zeros(400))[20:]
    assert abs(tail.mean()) < 0.03 and abs(tail.var() * (1 - h / 2) - 1) < 0.03


def test_dropout_in_scanned_layers() -> None:
    drop = gc.nn.Dropout(0.5, rng=3)
    x = gc.placeholder("x", shape=(50,))
    layers = gc.scan(lambda c, _: (c, drop(c)), x, None, 6)[1]
    masks = gc.function([x], layers)(np.ones(50))
    assert set(np.unique(masks)) == {0.0, 2.0}
    assert len({tuple(row) for row in masks}) == 6 and 0.35 < (masks > 0).mean() < 0.65


def test_saved_functions_go_on_drawing(tmp_path: Any) -> None:
    rng, x = Generator(8), gc.placeholder("x")
    f = gc.function([x], gc.fori_loop(0, 3, lambda i, c: c + rng.normal(), x))
    gc.save(f, tmp_path / "f.gcx")
    g = gc.load(tmp_path / "f.gcx")
    np.testing.assert_array_equal([f(1.0), f(1.0)], [g(1.0), g(1.0)])
