"""`Program`: an optimised graph as machine code, and `Bound`: a program with its memory at one set of sizes.

Everything that depends on the graph alone happens once (schedule, in-place decisions, nests, sources, kernel
addresses); everything that depends on sizes happens in `bind` (arena, frames, tape) and compiles nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from graphc.codegen.blas import routine_address
from graphc.codegen.kernels import counters, kernel_address
from graphc.codegen.loops import copy_nest, lower_kernel
from graphc.codegen.nest import FrameSlot, LiteralSlot, LoopNest, PointerSlot, RoutineSlot, SizeSlot, Slot
from graphc.codegen.plan import ALIGNMENT, Plan, plan_buffers
from graphc.codegen.render import render
from graphc.codegen.tape import Descriptor, Words, make_descriptor, prepare
from graphc.errors import ShapeError, at
from graphc.graph import Graph
from graphc.node import Node, Shared
from graphc.ops.base import Constant
from graphc.ops.indexing import Gather, Scatter
from graphc.ops.reduction import Reduction
from graphc.ops.shape import contiguous_strides
from graphc.passes.fuse import INNER, Kernel, Schedule, fuse
from graphc.passes.layout import Access
from graphc.types import Array, Sizes, size_value

RELEASE_NS = 50_000
"""Planned work above which a run releases the GIL (releasing for less costs more than it gives)."""
SEGMENT_NS = 20_000_000
"""Planned work between two looks for signals."""
Patch = tuple[int, int, int]


@dataclass
class Bound:
    """A program with frames, tape and arena for one set of sizes; used by one call at a time."""

    plan: Plan
    descriptor: Descriptor
    instructions: list[int]
    """The nest that each instruction of the tape runs."""

    @cached_property
    def attempt(self) -> Callable[..., Any]:
        """The builtin that runs the program on exact arguments; see `Descriptor.callable`."""
        return self.descriptor.callable(None)

    def native(self, fallback: Callable[..., Any]) -> Callable[..., Any]:
        """Return the builtin that a function installs as its own call."""
        return self.descriptor.callable(fallback)


class Program:
    """The compiled form of one graph."""

    def __init__(self, graph: Graph, precision: str = "vector", *, compiled: bool = True) -> None:
        started, before = time.perf_counter(), (counters.compiled, counters.from_cache)
        self.graph = graph
        self.schedule = fuse(graph)
        self.aliased = updates_in_place(self.schedule)
        self.nests, self.kernel_of = self._lower()
        lowered = time.perf_counter()
        self.sources = [render(nest) for nest in self.nests]
        self.addresses = [kernel_address(s, precision) if compiled else 0 for s in self.sources]
        self.constants = {n: n.op.value for n in graph.nodes if isinstance(n.op, Constant)}
        self.arena = self._arena_nodes()
        self.compiled, self.from_cache = counters.compiled - before[0], counters.from_cache - before[1]
        if compiled:
            prepare()
        self.seconds = {"lower": lowered - started, "compile": time.perf_counter() - lowered}

    def _lower(self) -> tuple[list[LoopNest], list[int]]:
        nests: list[LoopNest] = []
        kernel_of: list[int] = []
        for number, kernel in enumerate(self.schedule):
            found = lower_kernel(kernel, self.schedule, self.aliased)
            nests += found
            kernel_of += [number] * len(found)
        for state, value in self._updates():
            if state not in self.aliased:
                source = Access(value, 0, contiguous_strides(value.shape))
                nests.append(copy_nest(state, state.shape, source, Access(state, 0, contiguous_strides(state.shape))))
                kernel_of.append(-1)
        return nests, kernel_of

    def _updates(self) -> Iterator[tuple[Shared, Node]]:
        first = len(self.graph.outputs) - len(self.graph.updates)
        return zip(self.graph.updates, self.graph.outputs[first:], strict=True)

    @property
    def results(self) -> tuple[Node, ...]:
        """The outputs that the caller receives."""
        return self.graph.outputs[: len(self.graph.outputs) - len(self.graph.updates)]

    def _arena_nodes(self) -> list[Node]:
        elsewhere = {*self.results, *self.aliased.values()}
        stored = [n for k in self.schedule for n in k.stored if n not in elsewhere]
        return stored + [n for nest in self.nests for n, _ in nest.rows]

    def failing_node(self, bound: Bound, status: int) -> Node:
        """Return the node whose check gave a status."""
        return self.nests[bound.instructions[status // 65536 - 1]].checks[status % 65536 - 1]

    # -- one set of sizes

    def bind(self, arguments: Sequence[Array], sizes: Sizes, mode: int) -> Bound:
        """Plan the memory and write the frames and the tape for given sizes; `mode` says how results return."""
        self._check_extents(sizes)
        plan = plan_buffers(self.nests, self.arena, sizes, self._names())
        memory = _aligned(plan.peak_bytes)
        addresses = self._static_addresses(plan, memory)
        frames, starts = self._frames(sizes)
        patches = self._fill(frames, starts, sizes, addresses)
        tape, segments, release, instructions = self._tape(frames, starts, sizes)
        descriptor = make_descriptor(
            arguments=[(a.dtype, a.shape) for a in arguments],
            outputs=[(o.dtype, tuple(size_value(s, sizes) for s in o.shape)) for o in self.results],
            tape=tape,
            segments=segments,
            patches=patches,
            locks=[s.state.lock for s in self.graph.shared],
            release=release,
            mode=mode,
        )
        descriptor.keep += [memory, frames, self]
        return Bound(plan, descriptor, instructions)

    def _check_extents(self, sizes: Sizes) -> None:
        for node in self.graph.nodes:
            if isinstance(node.op, Reduction) and node.op.needs_elements:
                shape = node.inputs[0].shape
                if any(size_value(shape[a], sizes) == 0 for a in node.op.axes):
                    raise ShapeError(f"{node.op.name} of an empty axis: {node.inputs[0].type}{at(node.source)}")

    def _names(self) -> dict[Node, str]:
        return {n: f"%{i}" for n, i in self.graph.index.items()}

    def _static_addresses(self, plan: Plan, memory: Words) -> dict[Node, int]:
        """Return the addresses that do not change between calls: arena, state, constants."""
        base = memory.ctypes.data
        found = {b.node: base + b.offset for b in plan.blocks}
        found |= {n: value.ctypes.data for n, value in self.constants.items()}
        found |= {s: s.state.array.ctypes.data for s in self.graph.shared}
        return found | {value: state.state.array.ctypes.data for state, value in self.aliased.items()}  # type: ignore[attr-defined]

    def _frames(self, sizes: Sizes) -> tuple[Words, list[int]]:
        starts, total = [], 0
        for nest in self.nests:
            starts.append(total)
            total += len(nest.slots)
        return np.zeros(total + 1, np.int64), starts

    def _fill(self, frames: Words, starts: list[int], sizes: Sizes, addresses: dict[Node, int]) -> list[Patch]:
        """Write every slot; return the patches for pointers to arguments and results."""
        bases = {node: k for k, node in enumerate((*self.graph.inputs, *self.results))}
        origin = frames.ctypes.data
        patches: list[Patch] = []
        words: list[int] = []
        for nest, start in zip(self.nests, starts, strict=True):
            for position, slot in enumerate(nest.slots, start):
                if isinstance(slot, PointerSlot) and slot.base in bases:
                    offset = size_value(slot.offset, sizes) * slot.base.dtype.itemsize
                    patches.append((origin + 8 * position, bases[slot.base], offset))
                    words.append(0)
                else:
                    words.append(_slot_value(slot, sizes, addresses, origin + 8 * start))
        frames[: len(words)] = words
        return patches

    def _tape(self, frames: Words, starts: list[int], sizes: Sizes) -> tuple[Words, list[int], bool, list[int]]:
        """Return the tape, the places to look for signals, whether to release the GIL, and each row's nest."""
        rows: list[tuple[int, int, int, int]] = []
        instructions: list[int] = []
        segments, total, since = [0], 0.0, 0.0
        for number, (nest, start) in enumerate(zip(self.nests, starts, strict=True)):
            extent = size_value(nest.extent, sizes)
            cost = nest.unit_ns * size_value(nest.work, sizes)
            for lo, hi in _ranges(extent, cost if nest.divisible else 0.0):
                rows.append((self.addresses[number], frames.ctypes.data + 8 * start, lo, hi))
                instructions.append(number)
                since += cost * (hi - lo) / max(extent, 1)
                if since > SEGMENT_NS:
                    segments.append(len(rows))
                    since = 0.0
            total += cost
        if segments[-1] != len(rows):
            segments.append(len(rows))
        return np.array(rows, np.int64).reshape(-1), segments, total > RELEASE_NS, instructions

    def describe(self) -> str:
        """Return every distinct kernel source once, each with the kernels that run it."""
        users: dict[str, list[int]] = {}
        for source, number in zip(self.sources, self.kernel_of, strict=True):
            users.setdefault(source, []).append(number)
        parts = []
        for source, numbers in users.items():
            kernels = [f"kernel {n}" if n >= 0 else "state update" for n in dict.fromkeys(numbers)]
            shown = ", ".join(kernels[:8]) + (f" and {len(kernels) - 8} more" if len(kernels) > 8 else "")
            parts.append(f"# {shown}\n{source}")
        return "\n".join(parts)


def _ranges(extent: int, cost: float) -> Iterator[tuple[int, int]]:
    """Divide a long loop so that a signal waits for at most about one segment; edges depend on sizes only."""
    pieces = max(1, min(extent, int(cost // SEGMENT_NS)))
    step = -(-extent // pieces)
    step = -(-step // 64) * 64 if step > 64 else max(step, 1)
    if extent <= step:
        yield 0, extent
        return
    for lo in range(0, extent, step):
        yield lo, min(lo + step, extent)


def _slot_value(slot: Slot, sizes: Sizes, addresses: dict[Node, int], frame: int) -> int:
    if isinstance(slot, SizeSlot):
        return size_value(slot.size, sizes)
    if isinstance(slot, PointerSlot):
        return addresses[slot.base] + size_value(slot.offset, sizes) * slot.base.dtype.itemsize
    if isinstance(slot, LiteralSlot):
        return slot.bits
    return frame if isinstance(slot, FrameSlot) else routine_address(_routine(slot).routine)


def _routine(slot: Slot) -> RoutineSlot:
    assert isinstance(slot, RoutineSlot)
    return slot


def _aligned(nbytes: int) -> Words:
    """Return uninitialised memory that starts at a multiple of the alignment."""
    raw = np.empty(nbytes // 8 + 2 * ALIGNMENT // 8, np.int64)
    skip = -raw.ctypes.data % ALIGNMENT // 8
    return raw[skip:]


def updates_in_place(schedule: Schedule) -> dict[Node, Node]:
    """Return, for each state whose new value may be written over the old one, that value.

    Safe where every other kernel that reads the old value runs before, the kernel itself reads each element only
    at the index it writes, and no kernel that can fail runs at the same time or after.
    """
    graph = schedule.graph
    first = len(graph.outputs) - len(graph.updates)
    place = {n: i for i, k in enumerate(schedule) for n in k.nodes}
    last_failing = max((i for i, k in enumerate(schedule) if any(_can_fail(n) for n in k.nodes)), default=-1)
    readers: dict[Node, list[int]] = {}
    for i, kernel in enumerate(schedule):
        for x in {schedule.accesses[x].base for n in kernel.nodes for x in n.inputs}:
            readers.setdefault(x, []).append(i)
    found: dict[Node, Node] = {}
    for state, value in zip(graph.updates, graph.outputs[first:], strict=True):
        at_kernel = place[value]
        before = all(i < at_kernel for i in readers.get(state, []) if i != at_kernel)
        own = at_kernel not in readers.get(state, []) or _reads_in_place(schedule, at_kernel, state)
        if before and own and at_kernel > last_failing:
            found[state] = value
    return found


def _can_fail(node: Node) -> bool:
    return isinstance(node.op, (Gather, Scatter))


def _reads_in_place(schedule: Schedule, position: int, state: Node) -> bool:
    """Tell whether a kernel reads each element of `state` only where it writes the same element."""
    kernel: Kernel = schedule.kernels[position]
    if kernel.kind != "loop" or kernel.split is not None:
        return False
    for node in kernel.nodes:
        for x in node.inputs:
            access = schedule.accesses[x]
            if access.base is state:
                same = (
                    access.offset == 0 and access.strides == contiguous_strides(state.shape) and x.shape == node.shape
                )
                if not same or kernel.levels[node] != INNER:
                    return False
    return True
