"""`plan_buffers(program, sizes) -> Plan`: where every value lives, for one set of sizes.

Values that no one outside the program sees share one arena: offsets by live range over the tape, best fit,
64-byte alignment. No two live values share bytes; outputs, arguments and state have memory of their own. The
plan's peak is exact and printable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.codegen.nest import LoopNest, PointerSlot
from graphc.node import Node
from graphc.types import Sizes, size_value

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
class Plan:
    """The arena of a program at one set of sizes; `str` prints one line a block."""

    sizes: Mapping[str, int]
    blocks: tuple[Block, ...]
    peak_bytes: int
    names: Mapping[Node, str]

    def __str__(self) -> str:
        shown = ", ".join(f"{k}={v}" for k, v in self.sizes.items())
        lines = [f"arena of {self.peak_bytes} bytes" + (f" at {shown}" if shown else "")]
        for b in self.blocks:
            span = f"{b.offset}..{b.offset + b.nbytes}"
            lines.append(f"{self.names.get(b.node, '?')}: {b.node.type} at {span}, live {b.first}..{b.last}")
        return "\n".join(lines)


def live_ranges(nests: Sequence[LoopNest]) -> dict[Node, tuple[int, int]]:
    """Return the first and last instruction that touches each stored value."""
    ranges: dict[Node, tuple[int, int]] = {}
    for position, nest in enumerate(nests):
        for slot in nest.slots:
            if isinstance(slot, PointerSlot):
                first = ranges.get(slot.base, (position, position))[0]
                ranges[slot.base] = (first, position)
    return ranges


def plan_buffers(
    nests: Sequence[LoopNest], arena: Sequence[Node], sizes: Sizes, names: Mapping[Node, str]
) -> Plan:
    """Give every node of `arena` an offset by its live range, and return the plan."""
    ranges = live_ranges(nests)
    rows = {node: size for nest in nests for node, size in nest.rows}
    placed: list[Block] = []
    free: list[tuple[int, int]] = []
    live: list[tuple[int, int, int]] = []
    peak = 0
    for node in sorted((n for n in arena if n in ranges), key=lambda n: ranges[n][0]):
        first, last = ranges[node]
        for end in [e for e in live if e[0] < first]:
            live.remove(end)
            _release(free, end[1], end[2])
        count = size_value(rows.get(node, node.size), sizes)
        nbytes = -(-count * node.dtype.itemsize // ALIGNMENT) * ALIGNMENT
        offset = _take(free, nbytes)
        if offset is None:
            offset, peak = peak, peak + nbytes
        live.append((last, offset, nbytes))
        placed.append(Block(node, offset, nbytes, first, last))
    return Plan(dict(sizes), tuple(placed), peak, names)


def _take(free: list[tuple[int, int]], nbytes: int) -> int | None:
    """Take the smallest free stretch that fits, or None."""
    fitting = [(size, offset) for offset, size in free if size >= nbytes]
    if not fitting or not nbytes:
        return None if nbytes else 0
    size, offset = min(fitting)
    free.remove((offset, size))
    if size > nbytes:
        free.append((offset + nbytes, size - nbytes))
    return offset


def _release(free: list[tuple[int, int]], offset: int, nbytes: int) -> None:
    """Give a stretch back, merged with its free neighbours."""
    for stretch in [s for s in free if s[0] + s[1] == offset or s[0] == offset + nbytes]:
        free.remove(stretch)
        offset, nbytes = min(offset, stretch[0]), nbytes + stretch[1]
    if nbytes:
        free.append((offset, nbytes))
