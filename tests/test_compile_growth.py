"""Compiling four times as much takes about four times the work: calls of functions counted, no times."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

X = gc.placeholder("x", shape=("n",))
W = gc.placeholder("w", shape=("n", "n"))
INDEX = gc.placeholder("i", shape=("b",), dtype="int64")


def chain(n: int) -> gc.Function:
    y = X
    for k in range(n):
        y = gc.sin(y) + 0.5 * y if k % 2 else y * 0.9
    return gc.function([X], gc.sum(y))


def gradient(n: int) -> gc.Function:
    y = X
    for k in range(n // 2):
        y = gc.sin(y) + 0.5 * y if k % 2 else y * 0.9
    return gc.function([X], gc.grad(gc.sum(y), X))


def products(n: int) -> gc.Function:
    y = X
    for _ in range(n):
        y = gc.tanh(W @ y)
    return gc.function([X, W], y)


def overwritten(n: int) -> gc.Function:
    """Build values that are each written over the one before: all share one block."""
    y = X
    for _ in range(n):
        y = gc.cumulative_sum(gc.sin(y))
    return gc.function([X], gc.sum(y))


def outputs(n: int) -> gc.Function:
    return gc.function([X], [gc.sum(gc.sin(X * float(k))) for k in range(n)])


def terms(n: int) -> gc.Function:
    total = X
    for k in range(n):
        total = total + gc.sin(X * float(k))
    return gc.function([X], total)


def states(n: int) -> gc.Function:
    made = [gc.shared(np.ones(3), name=f"s{k}") for k in range(n)]
    v = gc.placeholder("v", shape=(3,))
    return gc.function([v], [], updates={s: s * 0.9 + v for s in made})


def tables(n: int) -> gc.Function:
    made = [gc.shared(np.ones(3), name=f"s{k}") for k in range(n)]
    return gc.function([INDEX], [], updates={s: s.at[INDEX].add(1.0) for s in made})


def scatters(n: int) -> gc.Function:
    y = X
    for _ in range(n):
        y = gc.sin(y).at[INDEX].add(1.0)
    return gc.function([X, INDEX], y)


def chained(n: int) -> gc.Function:
    """Build scatters into one state, one after the other, that all write there."""
    s = gc.shared(np.ones(3))
    y: gc.Node = s
    for k in range(n):
        y = y.at[INDEX].add(float(k))
    return gc.function([INDEX], [], updates={s: y})


def loops(n: int) -> gc.Function:
    def step(c: gc.Node, t: gc.Node) -> tuple[gc.Node, None]:
        return gc.tanh(c) * 0.5 + t, None

    y = X
    for k in range(n // 4):
        y = gc.scan(step, y, gc.arange(3.0) + float(k))[0]
    return gc.function([X], y)


PROGRAMS = [chain, gradient, products, overwritten, outputs, terms, states, tables, scatters, chained, loops]


def calls(build: Callable[[int], gc.Function], n: int) -> int:
    """Return how many functions of Python, and of C, are called while a program is compiled."""
    f = build(n)
    f.compile()  # its kernels are in this process now, so that only the program's own work is counted
    f, count = build(n), 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        f.compile()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("build", PROGRAMS)
def test_work_grows_with_the_program(build: Callable[[int], gc.Function]) -> None:
    assert calls(build, 240) < 4.5 * calls(build, 60)


@pytest.mark.slow
@pytest.mark.parametrize("build", PROGRAMS)
def test_work_of_large_programs_grows_with_them(build: Callable[[int], gc.Function]) -> None:
    assert calls(build, 4000) < 4.5 * calls(build, 1000)
