"""Chunks with frames of their own: which chunks a nest has, and the memory that each needs for itself.

See `partials` for what such chunks do. The memory of the chunks is at the end of the arena: instructions run one after
the other, so all nests share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.codegen.division import chunk_edges
from graphc.codegen.nest import LoopNest, Parts, PointerSlot
from graphc.codegen.plan import ALIGNMENT
from graphc.node import Node
from graphc.types import Sizes, size_value

MAX_FRAMES = 32
"""The largest number of chunks that have frames of their own."""
MAX_ROW_BYTES = 1 << 24
"""The most memory for what chunks sum in rows of their own."""
ROW_SHARE = 4
"""Rows of chunks have at most this part of the elements that the nest works on, so that combining them is cheap."""


@dataclass(frozen=True)
class Replicas:
    """The chunks of a nest, and its private values: where their memory starts and how far the next chunk's is."""

    nest: LoopNest
    parts: Parts
    chunks: list[tuple[int, int]]
    private: dict[Node, tuple[int, int]] = field(default_factory=dict)
    nbytes: int = 0

    @property
    def combines(self) -> bool:
        """Tell whether the nest runs once more when its chunks have run."""
        return self.parts.header is not None

    def chunk_words(self, number: int, base: int) -> dict[int, int]:
        """Return what differs in the frame of a chunk, by slot; `base` is the address of private memory."""
        found = {}
        for position, slot in enumerate(self.nest.slots):
            if isinstance(slot, PointerSlot) and slot.base in self.private:
                start, between = self.private[slot.base]
                found[position] = base + start + number * between
        if self.parts.header is not None:
            found[self.parts.header] = 1
        return found

    def own_words(self, frames: int, base: int) -> dict[int, int]:
        """Return what differs in the nest's own frame; `frames` is the address of the first chunk's."""
        found = {}
        if self.parts.header is not None:
            found[self.parts.header + 1] = len(self.chunks)
        if self.parts.header is not None and self.parts.words is not None:
            found[self.parts.header + 2] = frames + 8 * self.parts.words
            found[self.parts.header + 3] = len(self.nest.slots)
        for node, place in self.parts.rows:
            start, between = self.private[node]
            found[place], found[place + 1] = base + start, between // node.dtype.itemsize
        return found


def replicas_of(nest: LoopNest, sizes: Sizes, cost: float, least: float, *, threads: int) -> Replicas | None:
    """Return the chunks of a nest that need frames of their own, or None where there is one chunk."""
    if nest.parts is None:
        return None
    shared = [node for node, _ in nest.parts.rows]
    most = _most_frames(nest, sizes, {n: size_value(n.size, sizes) for n in shared})
    chunks = chunk_edges(size_value(nest.extent, sizes), cost, least, most)
    if len(chunks) == 1:
        return None
    values = {n: size_value(n.size, sizes) for n in shared}
    if threads > 1:  # one thread runs one chunk after the other: they can use the same rows
        values |= {n: size_value(size, sizes) for n, size in nest.rows}
    private, total = {}, 0
    for node, size in values.items():
        between = -(-size * node.dtype.itemsize // ALIGNMENT) * ALIGNMENT
        private[node] = total, between
        total += between * len(chunks)
    return Replicas(nest, nest.parts, chunks, private, total)


def _most_frames(nest: LoopNest, sizes: Sizes, shared: dict[Node, int]) -> int:
    most = MAX_FRAMES
    elements = sum(shared.values())
    if elements:
        nbytes = sum(size * node.dtype.itemsize for node, size in shared.items())
        most = min(most, int(size_value(nest.work, sizes) // (ROW_SHARE * elements)), MAX_ROW_BYTES // nbytes)
    return most
