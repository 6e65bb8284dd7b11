"""How the work of one instruction is divided into chunks, which threads may run side by side.

Edges depend on sizes only, never on the number of threads, and one thread runs the same chunks: so the bits of a result
are the same for any number of threads. `Dealt` is the table of an instruction as `team_words` says.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from graphc.codegen.nest import team_words as words
from graphc.codegen.nest.nest import LoopNest
from graphc.codegen.run.tape import Words

WAKE_NS = 300_000.0
"""Planned work of a program, in nests that can be divided, from which on it wakes threads that sleep.

Waking takes 10 to 100 microseconds; then threads look for work for a while before they sleep again.
"""
PARALLEL_NS = 80_000.0
"""Planned work from which on an instruction is divided in a program that wakes no thread."""
SHARED_NS = 5_000.0
"""The same in a program that does. Handing chunks over and waiting for them takes less than a microsecond, and what a
thread has computed is in its cache: another would wait for it."""
LOOP_NS = 8_000.0
"""The same for the largest kernel of a loop's body: where all are smaller the loop becomes one kernel, if it can."""
CHUNK_NS = 10_000.0
"""Planned work of the smallest chunk."""
MAX_CHUNKS = 64
EVEN = 4
"""More chunks than this are a multiple of it, so that two or four threads have equal shares; fewer are even."""
SEGMENT_NS = 20_000_000.0
"""Planned work between two looks for signals."""
MOST_PARTS = 1 << 18
"""Parts of any range: work of more than an hour looks for signals less often, and its table stays small."""
GROUP = 8
"""Chunks between two looks for signals, at least: threads share them, and wait for each other at their end."""
Chunk = tuple[int, int, int]
"""The address of a frame, and a range."""
ALIGNED = 64
"""Chunks of more elements than this are multiples of it: whole vectors, and cache lines that one thread writes."""


def may_divide(nest: LoopNest) -> bool:
    """Tell whether parts of a nest's range can run side by side: they share no buffer and no step waits for another."""
    return nest.divisible and not (nest.rows or nest.inner or nest.stepped)


def chunk_edges(extent: int, cost: float, least: float, most: int = MAX_CHUNKS) -> list[tuple[int, int]]:
    """Return the chunks of a range whose planned work is `cost`: one if it is below `least`, or at least two."""
    if cost < least or extent < 2 or most < 2:
        return [(0, extent)]
    long = int(cost // SEGMENT_NS)
    count = max(2, min(most, int(cost // CHUNK_NS)), long + 1 if most < MAX_CHUNKS or not long else GROUP * (long + 1))
    count -= count % (EVEN if count > EVEN else 2) if count > 1 else 0
    return stretches(extent, count)


def segments(extent: int, cost: float) -> list[tuple[int, int]]:
    """Divide a long loop that threads cannot share, so that a signal waits for at most about one segment."""
    return stretches(extent, max(1, min(extent, int(cost // SEGMENT_NS))))


def stretches(extent: int, count: int) -> list[tuple[int, int]]:
    """Divide a range into at most so many parts of nearly one length.

    Edges lie where the same share of any range ends: a thread finds in its cache what it wrote by other chunks before.
    """
    unit = ALIGNED if extent > count * ALIGNED else 1
    units = -(-extent // unit)
    count = max(1, min(count, units, MOST_PARTS))
    edges = [min(extent, unit * (units * k // count)) for k in range(count + 1)]
    return list(itertools.pairwise(edges))


def grouped(chunks: Sequence[Chunk], cost: float) -> Iterator[Sequence[Chunk]]:
    """Group chunks into instructions, between which a run can look for signals."""
    groups = max(1, min(len(chunks) // GROUP, 1 + int(cost // SEGMENT_NS)))
    for k in range(groups):
        yield chunks[len(chunks) * k // groups : len(chunks) * (k + 1) // groups]


def dealt(team: int, kernel: int, threads: int, chunks: Sequence[Chunk], guard: int, *, wakes: bool) -> Words:
    """Return the table of an instruction."""
    table = np.zeros(words.FIRST_CHUNK + words.CHUNK_WORDS * len(chunks), np.int64)
    table[[words.TEAM_AT, words.KERNEL, words.GUARD, words.WAKES]] = team, kernel, guard, wakes
    table[[words.THREADS, words.CHUNKS]] = min(threads, len(chunks)), len(chunks)
    table[words.FIRST_CHUNK :] = np.array(chunks, np.int64).reshape(-1)
    return table
