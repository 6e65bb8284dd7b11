"""States updated from each other: every order of the updates, any outputs, refused calls between, against NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import graphc as gc
from tests.random_states import Program, draws

Off = tuple[str, ...]
"""Passes and forms that are switched off."""


def check(seed: int, orders: int, calls: int = 5, mode: Any = "compiled", off: Off = ()) -> tuple[int, int]:
    """Run a program in several orders of its updates; return how many calls were made and how many were refused."""
    program = Program(seed)
    every = list(itertools.permutations(program.updates))
    chosen = [every[k] for k in program.rng.permutation(len(every))[:orders]]
    arguments = [program.arguments(good=k % 2 == 0) for k in range(calls)]
    refused = 0
    for order in chosen:
        refused += run(program, order, arguments, seed, mode, off)
    return len(chosen) * calls, refused


def run(
    program: Program, order: tuple[str, ...], arguments: list[dict[str, Any]], seed: int, mode: Any, off: Off
) -> int:
    """Call a program of one order of its updates, and compare outputs and states after every call."""
    nodes = {name: node for name, (_, node) in program.states.items()}
    for name, node in nodes.items():
        node.set_value(program.first[name])
    drawn = program.drawn.node if program.generator is not None else None
    if program.generator is not None:
        program.generator.set_state(gc.random.GeneratorState(seed, 0, 0))
    outputs = [o.node for o in program.outputs] + ([] if drawn is None else [drawn])
    updates = {nodes[name]: program.updates[name].node for name in order}
    f = gc.function(program.inputs, outputs, updates=updates, on_unused="ignore", mode=mode)
    f = f._without(*off) if off else f
    numbers = draws(seed)
    env, refused = dict(program.first), 0
    env["drawn"] = next(numbers)
    for number, given in enumerate(arguments):
        wanted = program.wanted(env | given)
        where = f"seed {seed}, updates {order}, call {number}, without {off}"
        before = {name: node.get_value() for name, node in nodes.items()}
        if wanted is None:
            with pytest.raises(gc.GraphcError):
                f(*given.values())
            refused += 1
        else:
            found = f(*given.values())
            for k, (a, b) in enumerate(zip(found, wanted[0], strict=False)):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=f"{where}, output {k}")
            env |= wanted[1] | {"drawn": next(numbers)}
        for name, node in nodes.items():
            np.testing.assert_allclose(node.get_value(), env[name], rtol=1e-9, atol=1e-9, err_msg=f"{where}, {name}")
            if wanted is None:
                np.testing.assert_array_equal(node.get_value(), before[name], err_msg=f"{where}, {name}")
    return refused


@pytest.mark.parametrize("seed", range(60))
def test_states_take_their_new_values_from_all_old_ones(seed: int) -> None:
    check(seed, orders=2)


def test_calls_are_refused_between() -> None:
    assert sum(check(seed, orders=1)[1] for seed in range(12)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_many_states(block: int) -> None:
    for seed in range(1000 + 150 * block, 1000 + 150 * (block + 1)):
        check(seed, orders=24)
