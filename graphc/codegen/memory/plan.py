"""`plan_buffers(program, sizes) -> Plan`: where every value lives, for one set of sizes.

Values that no one outside the program sees share one arena: offsets by live range over the tape (`packing`), 64-byte
alignment. No two live values share bytes, except a value and what is written over it, or is a part of it, on
purpose (`places`: they have one block, that of the first). Outputs, arguments and state have memory of their own. The
plan's peak is exact and printable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.codegen.memory.packing import pack
from graphc.codegen.nest.nest import LoopNest, PointerSlot
from graphc.codegen.nest.places import Places
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.types import Sizes, size_value
from graphc.ops.control import Project, Scan

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


"""Values that are parts of others, or take their place: the other, and the offset in elements."""


@dataclass(frozen=True)
class Plan:
    """The arena of a program at one set of sizes, and how kernels are divided into chunks for threads.

    `forms` are the forms that the sizes have chosen for kernels with several (see `forms`). `str` prints one line a
    block with the values inside it, one a checkpointed loop, one a chosen form and one a divided kernel.
    """

    sizes: Mapping[str, int]
    blocks: tuple[Block, ...]
    peak_bytes: int
    names: Mapping[Node, str]
    checkpoints: tuple[Checkpoints, ...] = ()
    places: Places = field(default_factory=Places)
    chunks: Mapping[str, int] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    fit: object | None = None
    """What a limit of memory has led to; see `budget.Fit`."""

    def __str__(self) -> str:
        shown = ", ".join(f"{k}={v}" for k, v in self.sizes.items())
        lines = [f"arena of {self.peak_bytes} bytes" + (f" at {shown}" if shown else "")]
        lines += [] if self.fit is None else [str(self.fit)]
        inside: dict[Node, list[str]] = {}
        for node, (whole, _) in self.places.parts.items():
            inside.setdefault(whole, []).append(self.names.get(node, "?"))
        for b in self.blocks:
            span, others = f"{b.offset}..{b.offset + b.nbytes}", ", ".join(inside.get(b.node, ()))
            line = f"{self.names.get(b.node, '?')}: {b.node.type} at {span}, live {b.first}..{b.last}"
            lines.append(line + (f", with {others}" if others else ""))
        lines += [f"{self.names.get(c.loop, '?')}: {c}" for c in self.checkpoints]
        lines += [f"{kernel}: {form}" for kernel, form in self.forms.items()]
        lines += [f"{kernel} in {count} chunks" for kernel, count in self.chunks.items()]
        return "\n".join(lines)


def live_ranges(
    nests: Sequence[LoopNest], places: Places, together: Sequence[range] = ()
) -> dict[Node, tuple[int, int]]:
    """Return the first and last instruction that touches each stored value, or a value placed in it.

    The nests in a range of `together` run by turns: what one touches lives as long as all.
    """
    spans = {number: (run[0], run[-1]) for run in together for number in run}
    ranges: dict[Node, tuple[int, int]] = {}
    for position, nest in enumerate(nests):
        first, last = spans.get(position, (position, position))
        for slot in nest.slots:
            if isinstance(slot, PointerSlot):
                base = places.whole(slot.base)
                ranges[base] = (ranges.get(base, (first, last))[0], last)
    return ranges


def plan_buffers(
    nests: Sequence[LoopNest],
    arena: Sequence[Node],
    sizes: Sizes,
    names: Mapping[Node, str],
    regions: Mapping[Node, int] | None = None,
    places: Places | None = None,
    together: Sequence[range] = (),
    *,
    share: bool = True,
) -> Plan:
    """Give every node of `arena` an offset by its live range, and return the plan.

    `regions` has the bytes of the arenas of loop bodies, which live while their loop runs; `places` tells which values
    are parts of others; `together` are the nests that run by turns. Without `share` no two values use the same bytes.
    """
    places = places or Places()
    ranges = live_ranges(nests, places, together)
    rows = {node: size for nest in nests for node, size in nest.rows}
    spans = []
    stored = sorted((n for n in arena if n in ranges), key=lambda n: ranges[n][0])
    for node in stored:
        count = size_value(rows.get(node, node.size), sizes)
        needed = (regions or {}).get(node, count * node.dtype.itemsize)
        spans.append((*ranges[node], -(-needed // ALIGNMENT) * ALIGNMENT))
    offsets, peak = pack(spans) if share else pack([(0, 0, nbytes) for _, _, nbytes in spans])
    placed_at = zip(stored, offsets, spans, strict=True)
    blocks = tuple(Block(node, offset, nbytes, first, last) for node, offset, (first, last, nbytes) in placed_at)
    return Plan(dict(sizes), blocks, peak, names, places=places)
