"""The net under loops: random programs against NumPy, and each fault that was found with it as a row of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array
from tests.check_loops import check
from tests.loop_backends import Plain, Traced
from tests.loop_programs import program

DEBUG, COMPILED = range(280), range(280, 300)
"""Seeds of the default run: with kernels as Python, and as machine code. `test_threads` compares bits."""
SLOW = range(1000, 21000)
TOLD = 0.98
"""Of programs whose gradient can be told from differences: some lie near a jump."""


def test_programs_run_as_python() -> None:
    told = [not check(program(seed), "debug") for seed in DEBUG]
    assert sum(told) >= TOLD * len(told)


@pytest.mark.parametrize("seed", COMPILED)
def test_programs_compiled(seed: int) -> None:
    check(program(seed), "compiled", together=seed % 5 != 1)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [SLOW[i : i + 250] for i in range(0, len(SLOW), 250)])
def test_many_programs(seeds: range) -> None:
    told = [not check(program(seed), "debug" if seed % 10 else "compiled") for seed in seeds]
    assert sum(told) >= TOLD * len(told)


# -- faults that were found, each with its siblings

Loop = Callable[[Any, Any, Any, Any], Any]
"""A program over a backend, a vector of 4, a matrix of 3 rows of 4, and int64 rows to step over."""


def _new_value_read(b: Any, v: Any, m: Any, i: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        e, h = c
        e = b.at(e, np.s_[1:], "add", h[1:])
        return [e, h + e], []

    return b.scan(step, [v, v], [], 3)[0]


def _linear_attention(b: Any, v: Any, m: Any, i: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        total = c[0] + v[:, None] @ x[0][None, :]
        return [total], [x[0] @ total]

    return b.scan(step, [v[:, None] * v], [m])[1]


def _sum_between_is_a_later_output(b: Any, v: Any, m: Any, i: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        part = c[0] + x[0][:, None] @ x[0][None, :]
        return [part + v[:, None] @ x[0][None, :]], [part]

    (last,), (parts,) = b.scan(step, [v[:, None] * v], [m])
    return [last, parts]


def _old_value_is_the_next_of_another(b: Any, v: Any, m: Any, i: Any) -> Any:
    return b.scan(lambda c, x: ([b.at(c[0], np.s_[1:], "add", x[0][1:]), c[0]], []), [v, v], [m])[0]


def _adjoint_adds_what_is_read(b: Any, v: Any, m: Any, i: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        e, h = c
        e = e + 0.1 * b.xp.sin(h)
        return [e, b.at(h, np.s_[1:], "add", e[:-1])], []

    return b.scan(step, [v, v], [], 3)[0]


def _element_of_a_carry(read: Callable[[Any, Any], Any], mode: str = "add") -> Loop:
    def run(b: Any, v: Any, m: Any, i: Any) -> Any:
        return b.scan(lambda c, t: ([b.at(c[0], t[0], mode, read(b.xp, c[0]))], []), [v], [i])[0]

    return run


def _row_of_a_carry(b: Any, v: Any, m: Any, i: Any) -> Any:
    def step(c: Any, t: Any) -> Any:
        return [b.at(c[0], t[0], "add", b.xp.sin(c[0][0]) * c[0][1])], []

    return b.scan(step, [v[:, None] * v], [i])[0]


def _gather_beside_a_reduction(b: Any, v: Any, m: Any, i: Any) -> Any:
    total = b.xp.sum(m * m)
    return [v[i[1]] / (1.5 + total * total), 2.0 * m]


def _gather_beside_padding(b: Any, v: Any, m: Any, i: Any) -> Any:
    padded = b.at(0.0 * v, np.s_[:-1], "add", v[:-1])
    return [(padded + m[i[1] % 3]) * m[1], m[i[3]] * b.xp.concat([v[:1] * 0.0, v[:-1]]) + v[i]]


def _cumulative_sum(b: Any, v: Any, m: Any, i: Any) -> Any:
    return b.scan(lambda c, x: ([b.xp.cumulative_sum(c[0], axis=0)], []), [m], [], 3)[0]


FAULTS: dict[str, Loop] = {
    "the new value of a carry is read": _new_value_read,
    "a stacked result reads the new value": _linear_attention,
    "a sum between is a later output": _sum_between_is_a_later_output,
    "an old value is the next of another carry": _old_value_is_the_next_of_another,
    "the adjoint adds what is read": _adjoint_adds_what_is_read,
    "an element doubled": _element_of_a_carry(lambda xp, c: c[0] * 2),
    "a function of an element": _element_of_a_carry(lambda xp, c: xp.sin(c[0])),
    "a product of elements": _element_of_a_carry(lambda xp, c: c[0] * c[1]),
    "an element set": _element_of_a_carry(lambda xp, c: c[-1] + c[1], "set"),
    "a row of a carry": _row_of_a_carry,
    "a cumulative sum, whose kernel has a name that the extent had": _cumulative_sum,
    "a gather beside a reduction over all axes": _gather_beside_a_reduction,
    "a gather in the kernel of a padded value": _gather_beside_padding,
}


def arguments() -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    return rng.normal(size=4), rng.normal(size=(3, 4)), np.array([0, 2, 3, 1])


@pytest.mark.parametrize("name", FAULTS)
def test_faults_that_were_found(name: str) -> None:
    run, given = FAULTS[name], arguments()
    v, m = (gc.placeholder(x, shape=a.shape) for x, a in zip("vm", given, strict=False))
    i = gc.placeholder("i", (4,), "int64")
    values = run(Traced(), v, m, i)
    wanted = run(Plain(), *given)
    f = gc.function([v, m, i], values, on_unused="ignore")
    for got, value in zip(f(*given), wanted, strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-12)
    loss = gc.sum(gc.sin(values[0]))
    gradient = gc.function([v, m, i], [loss, gc.grad(loss, v, disconnected="zero")], on_unused="ignore")
    _, slopes = gradient(*given)
    value = gc.function([v, m, i], loss, on_unused="ignore")
    for k in range(4):
        high, low = (float(value(given[0] + s * 1e-5 * np.eye(4)[k], *given[1:])) for s in (1, -1))
        np.testing.assert_allclose(slopes[k], (high - low) / 2e-5, rtol=1e-6, atol=1e-8)
