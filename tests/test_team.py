"""The team of threads: every chunk of every job runs once, also where threads are many, late or in demand twice."""

from __future__ import annotations

import ctypes
import itertools
import threading

import numpy as np
import numpy.typing as npt
import pytest

from graphc.codegen.jit.kernels import kernel_address
from graphc.codegen.nest.division import dealt
from graphc.codegen.nest.options import CONTROL
from graphc.codegen.nest.team_words import MAX_THREADS
from graphc.codegen.run.tape import DRIVER
from graphc.codegen.run.team import parallel_address, team_address

COUNT = f"""\
def kernel(frame, lo, hi):
    for i in range(lo, hi):
        frame[i] = frame[i] + 1
        if frame[i + {MAX_THREADS}] != 0:
            return frame[i + {MAX_THREADS}]
    return 0
"""
"""Counts how often its chunk has run; fails with the number that stands behind the counts."""

pytestmark = pytest.mark.skipif(not team_address(), reason="the platform allows no team of threads")


def frame(chunks: int) -> npt.NDArray[np.int64]:
    assert chunks <= MAX_THREADS
    return np.zeros(2 * MAX_THREADS, np.int64)


def job(counts: npt.NDArray[np.int64], threads: int, chunks: int) -> npt.NDArray[np.int64]:
    """Return the table of an instruction whose chunk k counts in place k."""
    ranges = [(counts.ctypes.data, k, k + 1) for k in range(chunks)]
    return dealt(team_address(), kernel_address(COUNT, CONTROL), threads, ranges, 0, wakes=True)


def run(tables: list[npt.NDArray[np.int64]], times: int) -> int:
    """Run all jobs in turn, so many times, in one run of the driver; return its status."""
    rows = [(parallel_address(), table.ctypes.data, 0, 0) for table in tables] * times
    tape = np.array(rows, np.int64).reshape(-1)
    word = ctypes.c_int64
    driver = ctypes.CFUNCTYPE(word, word, word, word)(kernel_address(DRIVER, CONTROL))
    return int(driver(tape.ctypes.data, 0, len(rows)))


SHAPES = [(2, 2), (2, 3), (3, 64), (5, 5), (2, 64), (5, 7), (4, 256), (3, 3)]
"""Threads and chunks of jobs that follow each other."""


def test_every_chunk_runs_once() -> None:
    frames = [frame(chunks) for _, chunks in SHAPES]
    tables = [job(counts, *shape) for counts, shape in zip(frames, SHAPES, strict=True)]
    assert run(tables, 3000) == 0
    for counts, (_, chunks) in zip(frames, SHAPES, strict=True):
        assert np.all(counts[:chunks] == 3000) and not np.any(counts[chunks:])


def test_two_callers_at_once() -> None:
    """One of them has the team, the other runs its chunks alone."""
    frames = [frame(64) for _ in range(2)]

    def call(counts: npt.NDArray[np.int64]) -> None:
        table = job(counts, 3, 64)
        for _ in range(50):
            assert run([table], 100) == 0

    callers = [threading.Thread(target=call, args=(counts,)) for counts in frames]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(np.all(counts[:64] == 5000) for counts in frames)


@pytest.mark.parametrize(("threads", "chunks"), [(2, 2), (3, 64), (5, 7)])
def test_the_first_failure_is_reported(threads: int, chunks: int) -> None:
    """The status of the first chunk that failed, all chunks have run; a job after it starts afresh."""
    counts = frame(chunks)
    for first, second in itertools.combinations(range(chunks), 2) if chunks < 10 else [(0, 63), (31, 32), (62, 63)]:
        counts[:] = 0
        counts[MAX_THREADS + first], counts[MAX_THREADS + second] = 3, 5
        assert run([job(counts, threads, chunks)], 1) == 65536 + 3
        assert np.all(counts[:chunks] == 1)
        counts[MAX_THREADS:] = 0
        assert run([job(counts, threads, chunks)], 1) == 0
