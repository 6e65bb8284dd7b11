"""`plan_buffers(program, sizes) -> Plan`: where every value lives, for one set of sizes.

Values that no one outside the program sees share one arena: offsets by live range over the tape, best fit,
64-byte alignment. No two live values share bytes; outputs, arguments and state have memory of their own. The
plan's peak is exact and printable.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.codegen.nest import LoopNest, PointerSlot
from graphc.graph import Graph
from graphc.node import Node
from graphc.ops.control import Project, Scan
from graphc.types import Size, Sizes, size_value

ALIGNMENT = 64


@dataclass(frozen=True)
class Block:
    """One value in the arena: its bytes, and the instructions between which it lives (inclusive)."""

    node: Node
    offset: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Checkpoints:
    """What the adjoint of a checkpointed loop keeps: the carries between chunks, and values of one chunk's steps."""

    loop: Node
    chunks: int
    steps: int
    between: int
    inside: int

    def __str__(self) -> str:
        return (
            f"{self.chunks:,} chunks of {self.steps:,} steps keep {self.between:,} bytes between them and"
            f" {self.inside:,} bytes of one, in place of {self.inside * self.chunks:,} bytes of all"
        )


def checkpoints_of(graph: Graph, sizes: Sizes) -> Iterator[Checkpoints]:
    """Yield what each adjoint of a checkpointed loop keeps."""
    for node in graph.nodes:
        if isinstance(node.op, Scan) and node.op.chunk != 0:
            body = node.op.body
            kept = [n for n in body.nodes if isinstance(n.op, Project) and n not in body.outputs and _stacked(n)]
            given = node.inputs[node.op.carries : node.op.carries + node.op.sequences]
            carries = [x for x in given if isinstance(x.op, Project) and _stacked(x)]
            if kept:
                sums = [sum(size_value(n.size, sizes) * n.dtype.itemsize for n in group) for group in (carries, kept)]
                counts = [size_value(s, sizes) for s in (node.op.length, node.op.chunk)]
                yield Checkpoints(node, counts[0], counts[1], sums[0], sums[1])


def _stacked(node: Node) -> bool:
    """Tell whether a result of a loop holds a value of every step."""
    loop = node.inputs[0].op
    assert isinstance(node.op, Project)
    return isinstance(loop, Scan) and loop.results[node.op.index][0] != "final"


@dataclass(frozen=True)
class Plan:
    """The arena of a program at one set of sizes, and how kernels are divided into chunks for threads.

    `str` prints one line a block, one a checkpointed loop and one a divided kernel.
    """

    sizes: Mapping[str, int]
    blocks: tuple[Block, ...]
    peak_bytes: int
    names: Mapping[Node, str]
    checkpoints: tuple[Checkpoints, ...] = ()
    chunks: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = ", ".join(f"{k}={v}" for k, v in self.sizes.items())
        lines = [f"arena of {self.peak_bytes} bytes" + (f" at {shown}" if shown else "")]
        for b in self.blocks:
            span = f"{b.offset}..{b.offset + b.nbytes}"
            lines.append(f"{self.names.get(b.node, '?')}: {b.node.type} at {span}, live {b.first}..{b.last}")
        lines += [f"{self.names.get(c.loop, '?')}: {c}" for c in self.checkpoints]
        lines += [f"{kernel} in {count} chunks" for kernel, count in self.chunks.items()]
        return "\n".join(lines)


Placed = Mapping[Node, tuple[Node, Size]]
"""Values that are parts of others: the other, and the offset in elements."""


def live_ranges(nests: Sequence[LoopNest], placed: Placed) -> dict[Node, tuple[int, int]]:
    """Return the first and last instruction that touches each stored value, or a value placed in it."""
    ranges: dict[Node, tuple[int, int]] = {}
    for position, nest in enumerate(nests):
        for slot in nest.slots:
            if isinstance(slot, PointerSlot):
                base = placed[slot.base][0] if slot.base in placed else slot.base
                ranges[base] = (ranges.get(base, (position, position))[0], position)
    return ranges


def plan_buffers(
    nests: Sequence[LoopNest],
    arena: Sequence[Node],
    sizes: Sizes,
    names: Mapping[Node, str],
    regions: Mapping[Node, int] | None = None,
    placed: Placed | None = None,
) -> Plan:
    """Give every node of `arena` an offset by its live range, and return the plan.

    `regions` has the bytes of the arenas of loop bodies, which live while their loop runs; a value in `placed` is a
    part of another.
    """
    ranges = live_ranges(nests, placed or {})
    rows = {node: size for nest in nests for node, size in nest.rows}
    blocks: list[Block] = []
    free = _FreeList()
    live: list[tuple[int, int, int]] = []
    peak = 0
    for node in sorted((n for n in arena if n in ranges), key=lambda n: ranges[n][0]):
        first, last = ranges[node]
        while live and live[0][0] < first:
            free.give(*heapq.heappop(live)[1:])
        count = size_value(rows.get(node, node.size), sizes)
        needed = (regions or {}).get(node, count * node.dtype.itemsize)
        nbytes = -(-needed // ALIGNMENT) * ALIGNMENT
        offset = free.take(nbytes)
        if offset is None:
            offset, peak = peak, peak + nbytes
        heapq.heappush(live, (last, offset, nbytes))
        blocks.append(Block(node, offset, nbytes, first, last))
    return Plan(dict(sizes), tuple(blocks), peak, names)


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
