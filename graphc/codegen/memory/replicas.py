"""Chunks with frames of their own: which chunks a nest has, and the memory that each needs for itself.

See `partials` for what chunks of reductions do; those of a matrix product in BLAS are calls with other sizes. The
memory of the chunks is at the end of the arena: instructions run one after the other, so all nests share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.codegen.memory.plan import ALIGNMENT
from graphc.codegen.nest.division import chunk_edges, stretches
from graphc.codegen.nest.nest import LoopNest, Parts, PointerSlot, Slot
from graphc.graph.node import Node
from graphc.graph.types import Size, Sizes, size_value

MAX_FRAMES = 32
"""The largest number of chunks that have frames of their own."""
MAX_ROW_BYTES = 1 << 24
"""The most memory for what chunks sum in rows of their own."""
MAX_PRIVATE_BYTES, LEAST_FRAMES = 1 << 22, 8
"""The most memory for buffers that each chunk has for itself, unless that leaves fewer chunks than this."""
ROW_SHARE = 4
"""Rows of chunks have at most this part of the elements that the nest works on, so that combining them is cheap."""


PRODUCT_NS, PRODUCT_SIZE, MAX_PRODUCTS = 100_000.0, 256, 8
"""The least planned work of a product in chunks, their least rows or columns, and their number.

A library packs both operands in each chunk, so chunks are as large as balance allows.
"""
ELEMENT_NS = 20.0
"""Planned work of a batch of products for each element of their sum, from which on one more chunk pays."""
NARROW = 64
"""The same for products of fewer rows or columns than this, in which packing does not count."""


@dataclass(frozen=True)
class Replicas:
    """The chunks of a nest, and its private values: where their memory starts and how far the next chunk's is."""

    nest: LoopNest
    parts: Parts
    chunks: list[tuple[int, int]]
    private: dict[Node, tuple[int, int]] = field(default_factory=dict)
    nbytes: int = 0

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """What each chunk runs of the nest's range."""
        return self.chunks

    @property
    def stages(self) -> int:
        """How often every chunk runs."""
        return self.parts.stages

    @property
    def combines(self) -> bool:
        """Tell whether the nest runs once more when its chunks have run."""
        return self.parts.header is not None

    def chunk_words(self, number: int, base: int, frames: int) -> dict[int, int | Slot]:
        """Return what differs in a chunk's frame in a stage; `base` is the address of private memory.

        `frames` is the address of the first chunk's frame.
        """
        found: dict[int, int | Slot] = {}
        for position, slot in enumerate(self.nest.slots):
            if isinstance(slot, PointerSlot) and slot.base in self.private:
                start, between = self.private[slot.base]
                found[position] = base + start + number % len(self.chunks) * between
        if self.parts.header is not None:
            found |= self._links(frames)
            found[self.parts.header] = 1 + number // len(self.chunks)
        return found

    def own_words(self, frames: int, base: int) -> dict[int, int]:
        """Return what differs in the nest's own frame; `frames` is the address of the first chunk's."""
        found = self._links(frames)
        if self.parts.header is not None and self.stages > 1:
            found[self.parts.header] = 1 + self.stages
        if self.parts.header is not None:
            found[self.parts.header + 1] = len(self.chunks)
        for node, place in self.parts.rows:
            start, between = self.private[node]
            found[place], found[place + 1] = base + start, between // node.dtype.itemsize
        return found

    def _links(self, frames: int) -> dict[int, int]:
        """Return where the words of all chunks are, for the runs that start from them."""
        if self.parts.header is None or self.parts.words is None:
            return {}
        found = {self.parts.header + 2: frames + 8 * self.parts.words, self.parts.header + 3: len(self.nest.slots)}
        return found | ({self.parts.header + 1: len(self.chunks)} if self.stages > 1 else {})


def replicas_of(nest: LoopNest, sizes: Sizes, cost: float, least: float, *, threads: int) -> Replicas | None:
    """Return the chunks of a nest that need frames of their own, or None where there is one chunk."""
    if nest.parts is None:
        return None
    shared = [node for node, _ in nest.parts.rows]
    most = _most_frames(nest, sizes, cost, {n: size_value(n.size, sizes) for n in shared})
    own = sum(size_value(size, sizes) * n.dtype.itemsize for n, size in nest.rows)
    most = min(most, max(LEAST_FRAMES, MAX_PRIVATE_BYTES // max(own, 1)))
    chunks = chunk_edges(size_value(nest.extent, sizes), cost, least, most)
    if len(chunks) == 1:
        return None
    values = {n: size_value(n.size, sizes) for n in shared}
    # One thread runs one chunk after the other: they can use the same rows. Stages leave each other rows of the whole.
    if threads > 1:
        own_rows = (row for row in nest.rows if nest.parts.stages == 1 or row[0] in nest.parts.scratch)
        values |= {n: size_value(size, sizes) for n, size in own_rows}
    private, total = {}, 0
    for node, size in values.items():
        between = -(-size * node.dtype.itemsize // ALIGNMENT) * ALIGNMENT
        private[node] = total, between
        total += between * len(chunks)
    return Replicas(nest, nest.parts, chunks, private, total)


@dataclass(frozen=True)
class ProductReplicas:
    """The chunks of a product: stretches of the rows of the result, or, in a library, of its columns."""

    nest: LoopNest
    chunks: list[tuple[int, int]]
    by_rows: bool
    tiles: bool = False
    """Whether tiles compute the chunks, also where a library would compute the whole."""
    nbytes: int = 0
    combines: bool = False
    stages: int = 1

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """What each chunk runs of the nest's range: one call of the library."""
        return [(0, 1)] * len(self.chunks)

    def chunk_words(self, number: int, base: int, frames: int) -> dict[int, int | Slot]:
        """Return what differs in the frame of a chunk, by slot: a size and where two operands start."""
        assert self.nest.product is not None and self.nest.product.strides is not None
        row_left, column_right, row_result = self.nest.product.strides
        lo, hi = self.chunks[number]
        limit = {self.nest.product.most_at: 1 << 62} if self.tiles else {}
        if self.by_rows:
            return limit | {5: hi - lo, 12: self._moved(12, lo * row_left), 14: self._moved(14, lo * row_result)}
        return {4: hi - lo, 13: self._moved(13, lo * column_right), 14: self._moved(14, lo)}

    def _moved(self, place: int, by: Size) -> Slot:
        slot = self.nest.slots[place]
        assert isinstance(slot, PointerSlot)
        return PointerSlot(slot.base, slot.offset + by)

    def own_words(self, frames: int, base: int) -> dict[int, int]:
        """Nothing differs in the nest's own frame, which does not run."""
        return {}


def product_replicas(nest: LoopNest, sizes: Sizes, cost: float) -> ProductReplicas | None:
    """Return the chunks of a product that a library computes on one thread, or None where it is too small."""
    product = nest.product
    if product is None or product.strides is None or cost < PRODUCT_NS or not product.needs_library(sizes):
        return None
    m, n = size_value(product.m, sizes), size_value(product.n, sizes)
    least = PRODUCT_SIZE if min(m, n) >= NARROW else NARROW
    count = min(MAX_PRODUCTS, max(m, n) // least)
    chunks = stretches(max(m, n), count - count % 2) if count > 1 else []
    return ProductReplicas(nest, chunks, m > n) if len(chunks) > 1 else None


def _most_frames(nest: LoopNest, sizes: Sizes, cost: float, shared: dict[Node, int]) -> int:
    most = MAX_FRAMES
    elements = sum(shared.values())
    if elements:
        nbytes = sum(size * node.dtype.itemsize for node, size in shared.items())
        share = size_value(nest.work, sizes) // (ROW_SHARE * elements)
        if nest.product is not None:
            most, share = MAX_PRODUCTS, int(cost // (ELEMENT_NS * elements))
        most = min(most, share, MAX_ROW_BYTES // nbytes)
    return most
