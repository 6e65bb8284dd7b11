"""Cheap values that several kernels need are computed in each where that costs less than memory, with the same bits."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array
from graphc.passes.schedule.kernels import Schedule
from tests.random_graphs import random_program

ROWS, WIDTH = 512, 64


def placeholder(name: str, *shape: int | str, dtype: str = "float32") -> gc.Node:
    return gc.placeholder(name, shape=shape, dtype=dtype)


def masked(rows: int | str = ROWS) -> gc.Function:
    """The mask is a number of one byte that two kernels, with a product between them, need as a float."""
    x, w = placeholder("x", rows, WIDTH), placeholder("w", WIDTH, WIDTH)
    mask = placeholder("mask", rows, WIDTH, dtype="int8")
    keep = gc.astype(mask, "float32")
    y = (x * keep) @ w
    return gc.function([x, w, mask], [gc.sum(y * y * keep, axis=0)])


def dropout() -> gc.Function:
    """The mask comes from uniform numbers, and scales a layer forward and backward."""
    x, u = placeholder("x", ROWS, WIDTH), placeholder("u", ROWS, WIDTH)
    w, v = (gc.shared(np.eye(WIDTH, dtype="float32"), name=name) for name in "wv")
    keep = gc.astype(u < 0.9, "float32") / 0.9
    loss = gc.mean(((gc.nn.relu(x @ w) * keep) @ v) ** 2)
    return gc.function([x, u], [loss, *gc.grad(loss, [w, v])])


def normalised() -> gc.Function:
    """What a layer norm gives to a product, its gradient needs as well."""
    x, w, s = placeholder("x", ROWS, WIDTH), placeholder("w", WIDTH, WIDTH), placeholder("s", WIDTH)
    centred = x - gc.mean(x, axis=-1, keepdims=True)
    unit = centred / gc.sqrt(gc.mean(centred * centred, axis=-1, keepdims=True) + 1e-5)
    return gc.function([x, w, s], gc.grad(gc.sum(gc.tanh((unit * s) @ w)), [w, s]))


def shifted() -> gc.Function:
    """Both sides of a product read a sum."""
    x, w = placeholder("x", ROWS, WIDTH), placeholder("w", WIDTH, WIDTH)
    y = x * 2.0 - 1.0
    return gc.function([x, w], [gc.sum(gc.exp(gc.exp(y) @ w * 0.01) + y, axis=0)])


PROGRAMS: dict[str, tuple[Callable[[], gc.Function], int, int]] = {
    # the program, and the values of all rows that its loops store without and with values computed again
    "masked": (masked, 2, 1),
    "dropout": (dropout, 5, 3),
    "normalised": (normalised, 3, 2),
    "shifted": (shifted, 2, 1),
}


def stored(schedule: Schedule) -> int:
    """Return how many values of all rows the loop kernels write."""
    return sum(n.size == ROWS * WIDTH for k in schedule if k.kind == "loop" for n in k.stored)


def arguments(f: gc.Function) -> list[Array]:
    rng = np.random.default_rng(0)
    return [(rng.random(x.shape) * 2).astype(x.dtype) for x in f.graph.inputs]


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_leave_memory_and_bits_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, before, after = PROGRAMS[name]
    f = build()
    values = f(*arguments(f))
    monkeypatch.setattr(sys.modules["graphc.passes.schedule.recompute"], "MAX_AGAIN", 0)
    plain = build()
    assert plain.plan.peak_bytes >= f.plan.peak_bytes
    for a, b in zip(values, plain(*arguments(plain)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not plain.schedule.repeats
    assert (stored(plain.schedule), stored(f.schedule)) == (before, after)


def test_a_kernel_that_is_left_with_nothing_goes() -> None:
    f = dropout()
    assert not any([n.op.name for n in k.nodes] == ["less", "astype", "divide"] for k in f.schedule)
    repeat = f.schedule.repeats[-1]
    assert repeat.pays and repeat.kernel == -1 and len(repeat.readers) == 2


def test_costs_say_what_is_computed_again_and_what_it_saves() -> None:
    f = masked()
    assert str(f.cost).splitlines()[-1].startswith("%2 astype is computed again in 2: that saves ")
    without_mask = ROWS * WIDTH * 4 + ROWS * WIDTH  # the product's left operand, and the mask's bytes
    assert f.cost.kernels[0].read == without_mask and f.cost.kernels[0].written == ROWS * WIDTH * 4
    assert f.cost.kernels[2].read == without_mask


def test_sizes_of_a_call_are_taken_to_be_large() -> None:
    f = masked("n")
    assert f.schedule.repeats[0].pays
    x, w, mask = (np.ones((3, WIDTH), "float32"), np.eye(WIDTH, dtype="float32"), np.full((3, WIDTH), 2, "int8"))
    np.testing.assert_array_equal(f(x, w, mask)[0], np.full(WIDTH, 3 * 2**3, "float32"))


def _around(y: gc.Node, w: gc.Node) -> gc.Node:
    """A value that is read on both sides of a product."""
    return gc.exp(gc.nn.relu(y) @ w) + y


Build = Callable[[gc.Node, gc.Node], list[gc.Node]]
REFUSED: dict[str, Build] = {
    "a special function": lambda x, w: [gc.exp(gc.tanh(x) @ w) * gc.tanh(x)],
    "a sum": lambda x, w: [gc.exp((x + gc.sum(x, axis=1, keepdims=True)) @ w) * gc.sum(x, axis=1, keepdims=True)],
    "a result": lambda x, w: [x * 2.0, gc.exp(gc.nn.relu(x * 2.0) @ w) + x * 2.0],
    "a product's operand": lambda x, w: [gc.exp((x * 2.0) @ w) + x * 2.0],
    "read at other places": lambda x, w: [gc.exp(gc.nn.relu(x * 2.0) @ w) + gc.flip(x * 2.0, axis=0)],
    "small": lambda x, w: [gc.exp(gc.nn.relu(x[:4] * 2.0) @ w) + x[:4] * 2.0],
    "more to read than to write": lambda x, w: [_around(x * x[::-1] + gc.roll(x, 1, axis=1), w)],
    "numbers far apart": lambda x, w: [_around(x[:WIDTH].T + 1.0, w)],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_stays_in_memory(name: str) -> None:
    x, w = placeholder("x", ROWS, WIDTH), placeholder("w", WIDTH, WIDTH)
    f = gc.function([x, w], REFUSED[name](x, w))
    assert len(f.schedule) > 2 and not any(repeat.pays for repeat in f.schedule.repeats)


def test_draws_and_gathers_happen_once() -> None:
    x, w, i = placeholder("x", ROWS, WIDTH), placeholder("w", WIDTH, WIDTH), gc.placeholder("i", (ROWS,), dtype="int64")
    keep = gc.random.Generator(0).uniform((ROWS, WIDTH), dtype="float32") < 0.5
    rows = gc.take(x, i, axis=0)
    y = gc.where(keep, rows, 0.0) @ w
    f = gc.function([x, w, i], gc.sum(gc.where(keep, y, 0.0) * rows, axis=0))
    nodes = [n for k in f.schedule for n in k.nodes]
    repeated = {n.op.name for n in nodes if nodes.count(n) > 1}
    assert repeated <= {"where", "less", "astype"}


def test_state_is_updated_in_place_all_the_same() -> None:
    """A kernel that would read state after its update reads the value made of it before."""
    x, w = placeholder("x", ROWS, WIDTH), placeholder("w", WIDTH, WIDTH)
    state = gc.shared(np.ones((ROWS, WIDTH), "float32"), name="state")
    half = state * 0.5
    f = gc.function([x, w], gc.sum(gc.exp(gc.nn.relu(half) @ w) * half, axis=0), updates={state: state + x})
    assert not any(repeat.pays for repeat in f.schedule.repeats)
    f(*arguments(f))
    np.testing.assert_array_equal(state.get_value(), 1 + arguments(f)[0])


@pytest.mark.parametrize("block", range(4))
def test_random_programs_keep_their_bits_whatever_is_computed_again(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["graphc.passes.schedule.recompute"], "SHOWS", 0.0)
    monkeypatch.setattr(sys.modules["graphc.passes.schedule.recompute"], "WORTH", -1e9)
    repeats = 0
    for seed in range(25 * block, 25 * (block + 1)):
        program = random_program(seed)
        results = []
        for again in (0, 8):
            monkeypatch.setattr(sys.modules["graphc.passes.schedule.recompute"], "MAX_AGAIN", again)
            f = gc.function(list(program.bindings), program.outputs, mode="debug", on_unused="ignore")
            with np.errstate(all="ignore"):
                results.append(f(*program.bindings.values()))
            repeats += sum(repeat.pays for repeat in f.schedule.repeats)
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"seed {seed}")
    assert repeats
