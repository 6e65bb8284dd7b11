"""`pack(spans)`: offsets for blocks of memory that live for a while, so that no two live ones overlap.

Blocks are placed in the order in which they come to life, each in the smallest free stretch that fits: linear in their
number but for a search, so it serves programs of any length. Where that leaves holes and the blocks are few, the
largest are placed first instead (Pisarchyk & Lee 2020, "Efficient memory management for deep neural net inference"),
and the better of the two is kept.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence

FEW = 200
"""The most blocks that are placed by size as well, which looks at each pair of them."""

Span = tuple[int, int, int]
"""The first and the last instruction of a block's life, and its bytes."""


def pack(spans: Sequence[Span]) -> tuple[list[int], int]:
    """Return an offset for each block, in the order given, which is that of their first instructions; and the peak."""
    offsets, peak = _by_time(spans)
    if len(spans) <= FEW and peak > least_peak(spans):
        others, lower = _by_size(spans)
        if lower < peak:
            return others, lower
    return offsets, peak


def least_peak(spans: Sequence[Span]) -> int:
    """Return the bytes that are alive together at most: no placement needs less."""
    changes = [(first, nbytes) for first, _, nbytes in spans] + [(last + 1, -nbytes) for _, last, nbytes in spans]
    most = now = 0
    for _, nbytes in sorted(changes):  # what ends at an instruction comes before what begins there
        now += nbytes
        most = max(most, now)
    return most


def _by_time(spans: Sequence[Span]) -> tuple[list[int], int]:
    free, peak = _FreeList(), 0
    live: list[tuple[int, int, int]] = []
    offsets = []
    for first, last, nbytes in spans:
        while live and live[0][0] < first:
            free.give(*heapq.heappop(live)[1:])
        offset = free.take(nbytes)
        if offset is None:
            offset, peak = peak, peak + nbytes
        heapq.heappush(live, (last, offset, nbytes))
        offsets.append(offset)
    return offsets, peak


def _by_size(spans: Sequence[Span]) -> tuple[list[int], int]:
    offsets = [0] * len(spans)
    done: list[tuple[int, int]] = []  # offset and number, by offset
    peak = 0
    for number in sorted(range(len(spans)), key=lambda k: -spans[k][2]):
        first, last, nbytes = spans[number]
        best, hole, end = None, 0, 0
        for offset, other in done:
            theirs = spans[other]
            if theirs[0] <= last and first <= theirs[1]:
                if offset - end >= nbytes and (best is None or offset - end < hole):
                    best, hole = end, offset - end
                end = max(end, offset + theirs[2])
        offsets[number] = end if best is None else best
        peak = max(peak, offsets[number] + nbytes)
        insort(done, (offsets[number], number))
    return offsets, peak


class _FreeList:
    """Free stretches of the arena: by size for best fit, by both ends for merging neighbours."""

    def __init__(self) -> None:
        self.by_size: list[tuple[int, int]] = []
        self.starts: dict[int, int] = {}
        self.ends: dict[int, int] = {}

    def take(self, nbytes: int) -> int | None:
        """Take the smallest stretch that fits and return its offset, or None; 0 bytes fit anywhere."""
        if not nbytes:
            return 0
        place = bisect_left(self.by_size, (nbytes, 0))
        if place == len(self.by_size):
            return None
        size, offset = self.by_size[place]
        self._drop(offset, size)
        if size > nbytes:
            self._keep(offset + nbytes, size - nbytes)
        return offset

    def give(self, offset: int, nbytes: int) -> None:
        """Give a stretch back, merged with its free neighbours."""
        if not nbytes:
            return
        if offset in self.ends:
            before = self.ends[offset]
            self._drop(before, offset - before)
            offset, nbytes = before, nbytes + offset - before
        end = offset + nbytes
        if end in self.starts:
            after = self.starts[end]
            self._drop(end, after - end)
            nbytes += after - end
        self._keep(offset, nbytes)

    def _keep(self, offset: int, nbytes: int) -> None:
        insort(self.by_size, (nbytes, offset))
        self.starts[offset], self.ends[offset + nbytes] = offset + nbytes, offset

    def _drop(self, offset: int, nbytes: int) -> None:
        del self.by_size[bisect_left(self.by_size, (nbytes, offset))]
        del self.starts[offset], self.ends[offset + nbytes]
