"""Every pass and every form off in turn, and all off: the same results on random graphs, loops and states."""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.passes import GRAPH_PASSES, PASS_NAMES, SWITCHES, graph_passes
from graphc.passes.schedule.options import FORMS, REQUIRED, Options
from tests import loop_programs
from tests.check_loops import total
from tests.loop_backends import Plain, Traced
from tests.random_graphs import random_program
from tests.random_loops import arrays, inputs, program
from tests.test_random_graphs import assert_same
from tests.test_random_loops import derivatives
from tests.test_random_states import check as check_states

OFF = [*((name,) for name in SWITCHES), SWITCHES]


def names(off: tuple[str, ...]) -> str:
    return off[0] if len(off) == 1 else "all"


def check_graphs(seeds: range, mode: Any, off: tuple[str, ...]) -> None:
    """Compare programs, compiled as one, with the values that they were drawn with."""
    programs = [random_program(seed) for seed in seeds]
    inputs = [x for p in programs for x in p.bindings]
    f = gc.function(inputs, [p.outputs for p in programs], mode=mode, on_unused="ignore")._without(*off)
    results = f(*[v for p in programs for v in p.bindings.values()])
    for seed, p, found in zip(seeds, programs, results, strict=True):
        assert_same(found, p, f"seed {seed} without {names(off)}")


def check_loops(seed: int, mode: Any, off: tuple[str, ...]) -> None:
    wrt = inputs(seed)
    outputs = derivatives(program(seed), wrt)
    f = gc.function(wrt, outputs, mode=mode, on_unused="ignore")._without(*off)
    for steps in (0, 3):
        given = arrays(seed + steps, steps)
        wanted = gc.evaluate(outputs, dict(zip(wrt, given, strict=True)))
        for got, value in zip(f(*given), wanted, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-8, atol=1e-10, err_msg=f"seed {seed}, {names(off)}")


Drawn = tuple[list[gc.Node], list[gc.Node], list[Any], list[Any]]


@cache
def drawn(seed: int) -> Drawn:
    """Return a random program of loops: inputs, values with their derivatives, arguments and results.

    Values are NumPy's. Derivatives are the interpreter's: they, too, ask no pass and no form.
    """
    p = loop_programs.program(seed)
    inputs, given = p.placeholders(), p.arrays()
    values = p.build(Traced(), inputs)
    slopes = gc.grad(total(gc, values), inputs, disconnected="zero") if p.reversible else []
    with np.errstate(all="ignore"):
        wanted = p.build(Plain(), given) + list(gc.evaluate(slopes, dict(zip(inputs, given, strict=True))))
    return inputs, [*values, *slopes], given, wanted


def check_program(seed: int, mode: Any, off: tuple[str, ...]) -> None:
    """Compare a program of loops with what it means."""
    inputs, outputs, given, wanted = drawn(seed)
    f = gc.function(inputs, outputs, mode=mode, on_unused="ignore")._without(*off)
    for k, (got, value) in enumerate(zip(f(*given), wanted, strict=True)):
        where = f"seed {seed}, output {k}, without {names(off)}"
        np.testing.assert_allclose(got, value, rtol=1e-8, atol=1e-9, err_msg=where)


@pytest.mark.parametrize("off", OFF, ids=names)
def test_each_off_in_turn_on_loop_programs_and_states(off: tuple[str, ...]) -> None:
    k = OFF.index(off)
    for seed in (k % 9, (k + 4) % 9):
        check_program(30000 + seed, "debug", off)
    check_states(k % 9, orders=1, calls=2, mode="debug", off=off)


@pytest.mark.slow
@pytest.mark.parametrize("off", OFF, ids=names)
def test_each_off_in_turn_on_many_loop_programs_and_states(off: tuple[str, ...]) -> None:
    for seed in range(31000, 31100):
        check_program(seed, "debug", off)
    for seed in range(32000, 32010):
        check_program(seed, "compiled", off)
    for seed in range(5000, 5060):
        check_states(seed, orders=2, calls=4, mode="debug", off=off)
    for seed in range(6000, 6006):
        check_states(seed, orders=2, calls=4, off=off)


@pytest.mark.parametrize("off", OFF, ids=names)
def test_each_off_in_turn(off: tuple[str, ...]) -> None:
    first = 4000 + 11 * OFF.index(off)
    check_graphs(range(first, first + 2), "debug", off)
    check_loops(first, "debug", off)


@pytest.mark.slow
@pytest.mark.parametrize("off", OFF, ids=names)
def test_each_off_in_turn_on_many(off: tuple[str, ...]) -> None:
    check_graphs(range(5000, 5200), "debug", off)
    for seed in range(5000, 5040):
        check_loops(seed, "debug", off)
    check_graphs(range(6000, 6020), "compiled", off)
    for seed in range(6000, 6004):
        check_loops(seed, "compiled", off)


@pytest.mark.slow
def test_all_off_compiled() -> None:
    check_graphs(range(7000, 7004), "compiled", SWITCHES)


LARGER = [*(() if name is None else (name,) for name in (None, *SWITCHES)), SWITCHES]


def check_larger(rows: int, offs: list[tuple[str, ...]]) -> None:
    """Random programs are small: strips, chunks, tiles and row runs need a larger one."""
    rng = np.random.default_rng(rows)
    x, w, k = gc.placeholder("x", ("n", 64)), gc.placeholder("w", (64, 64)), gc.placeholder("k", ("n",), "int64")
    table = gc.shared(rng.normal(size=(9, 64)), name="table")
    hidden = gc.tanh(x @ w + gc.exp(x.T).T * 0.1)
    loss = gc.sum(gc.log_softmax(hidden, axis=1)) + gc.sum(gc.softmax(x, axis=0) * hidden)
    outputs = [loss, *gc.grad(loss, [x, w]), table[k], gc.sum(hidden, axis=0), x[1:] - x[:-1]]
    updates = {table: table.at[k].add(hidden)}
    f = gc.function([x, w, k], outputs, updates=updates)
    given = [rng.normal(size=(rows, 64)), 0.1 * rng.normal(size=(64, 64)), rng.integers(-9, 9, rows)]
    start, bindings = table.get_value(), dict(zip([x, w, k], given, strict=True))
    wanted = [*gc.evaluate(outputs, bindings), gc.evaluate(updates[table], bindings)]
    for off in offs:
        table.set_value(start)
        for got, value in zip([*f._without(*off)(*given), table.get_value()], wanted, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-9, atol=1e-9, err_msg=names(off or ("nothing",)))


def test_larger_programs() -> None:
    check_larger(300, [(), SWITCHES])


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 70, 5000])
def test_larger_programs_with_each_off_in_turn(rows: int) -> None:
    check_larger(rows, LARGER)


def test_the_list_is_complete() -> None:
    """Each pass has a switch or a reason against one; each form says what it does, and some code asks for it."""
    assert set(SWITCHES) == {*PASS_NAMES, *FORMS} and not set(SWITCHES) & set(REQUIRED)
    assert {p.__name__ for p in GRAPH_PASSES} == {*PASS_NAMES, "expand", "prune", "optimise_bodies", "lay_out"}
    assert [p.__name__ for p in graph_passes(Options(frozenset(SWITCHES)))] == [
        p.__name__ for p in GRAPH_PASSES if p.__name__ in REQUIRED
    ]
    package = Path(inspect.getfile(gc)).parent
    asked = "".join(p.read_text("utf-8") for p in package.rglob("*.py") if p.name != "options.py")
    assert [form for form in FORMS if f'"{form}"' not in asked] == []
