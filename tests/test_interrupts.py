"""Ctrl-C ends a call between its kernels, up to the first that writes state; then nothing has changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.node import Shared


def work(x: gc.Node, times: int) -> gc.Node:
    """Kernels that cannot become one."""
    for _ in range(times):
        x = gc.tanh(x @ x)
    return x


def drawing(n: int, times: int) -> tuple[gc.Function, list[Shared]]:
    rng = gc.random.Generator(0)
    return gc.function([], gc.sum(work(rng.normal((n, n)), times)) + rng.uniform()), [rng.position]


def training(n: int, times: int) -> tuple[gc.Function, list[Shared]]:
    w, rng = gc.shared(np.full((n, n), 0.5), name="w"), gc.random.Generator(0)
    loss = gc.mean(work(w + 0.1 * rng.normal((n, n)), times))
    optimizer = gc.optim.AdamW(gc.optim.CosineAnnealingLR(0.1, 9), clip_norm=1.0)
    step = gc.function([], loss, updates=optimizer.updates(loss, w))
    return step, [w, rng.position, *optimizer.states.values()]


def counting(n: int, times: int) -> tuple[gc.Function, list[Shared]]:
    count, table = gc.shared(0, name="count"), gc.shared(np.zeros(5), name="table")
    start = gc.full((n, n), 1.0) * gc.astype(count, "float64")
    updates = {count: count + 1, table: table.at[[1, 2]].add(1.0)}
    return gc.function([], gc.sum(work(start, times)), updates=updates), [count, table]


PROGRAMS: dict[str, Callable[[int, int], tuple[gc.Function, list[Shared]]]] = {
    "drawing": drawing,
    "training": training,
    "counting": counting,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_state_is_written_by_the_last_kernels(name: str) -> None:
    f, _ = PROGRAMS[name](8, 5)
    section = f.compile()._built.program.main
    kinds = [k.kind for k in section.schedule]
    products = [i for i, number in enumerate(section.kernel_of) if kinds[number] == "matmul"]
    assert section.first_state_write is not None and section.first_state_write > max(products)


INTERRUPTED = """
import os, signal, sys, threading
from tests.test_interrupts import PROGRAMS
f, states = PROGRAMS[sys.argv[1]](900, 40)
f.compile()
before = [s.get_value().tobytes() for s in states]
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    f()
except KeyboardInterrupt:
    print("interrupted", before == [s.get_value().tobytes() for s in states])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows os.kill ends a process in place of sending it SIGINT")
@pytest.mark.parametrize("name", PROGRAMS)
def test_an_interrupt_ends_the_call_and_changes_nothing(name: str) -> None:
    command: list[Any] = [sys.executable, "-c", INTERRUPTED, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "interrupted True", done.stdout + done.stderr
