"""`Memory`: the arena, the frames and the tapes of a program at one set of sizes.

One int64 array holds the frames of all sections; slots that point at arguments or results are patched in every
call, slots of loop bodies that move are written by the loop.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from graphc.codegen.memory.plan import ALIGNMENT, Plan, checkpoints_of, plan_buffers
from graphc.codegen.memory.replicas import ProductReplicas, Replicas, product_replicas, replicas_of
from graphc.codegen.nest import division, target_rows
from graphc.codegen.nest.blas_choice import blas_choice
from graphc.codegen.nest.division import SEGMENT_NS, chunk_edges, dealt, grouped, may_divide, segments, stretches
from graphc.codegen.nest.nest import (
    ABSENT,
    BodySlot,
    CountSlot,
    DriverSlot,
    FrameSlot,
    LiteralSlot,
    LoopNest,
    PeriodSlot,
    PointerSlot,
    PythonSlot,
    RoutineSlot,
    SizeSlot,
    Slot,
    TapeSlot,
    TransposerSlot,
)
from graphc.codegen.nest.options import CONTROL
from graphc.codegen.run.blas import library_for
from graphc.codegen.run.blas_threads import guard_address
from graphc.codegen.run.debug import register
from graphc.codegen.run.row_runs import Run, row_blocks
from graphc.codegen.run.section import Section
from graphc.codegen.run.tape import DRIVER, Words, python_address
from graphc.codegen.run.team import parallel_address, team_address
from graphc.codegen.run.transposer import transposer_address
from graphc.graph.errors import at
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Constant
from graphc.graph.types import Array, Size, Sizes, size_value
from graphc.passes.schedule import machine

Patch = tuple[int, int, int]
Row = tuple[int, int, int, int]
GUARD_NS = 2_000.0
"""Planned work of a call of BLAS from which on it may start threads of its own."""


class Memory:
    """Everything of a program that depends on sizes; the tape of the main section is made by its caller."""

    def __init__(self, main: Section, graph: Graph, sizes: Sizes, threads: int = 1, *, guarded: bool = True) -> None:
        self.sizes = sizes
        self.guarded = guarded
        """Whether something keeps BLAS to as many threads as the program has."""
        self.blas = blas_choice()
        self.team = team_address() if threads > 1 else 0
        self.threads = threads if self.team else 1
        self.tables: list[Words] = []
        self.nests = {s: [n if n.runs(sizes) else ABSENT for n in s.nests] for s in main.every()}
        self._number = {section: k for k, section in enumerate(self.nests)}
        self._costs: dict[LoopNest, float] = {}  # of loops, whose bodies would be asked again at every level around
        divided = sum(self.cost(main, n) for n in self.nests[main] if may_divide(n) or n.parts is not None or n.inner)
        self.wakes = divided >= division.WAKE_NS
        self.least_ns = division.SHARED_NS if self.wakes else division.PARALLEL_NS
        self.chunks: dict[str, int] = {}
        self.plans: dict[Section, Plan] = {}
        self.main = main
        blocks = ((run, row_blocks(run, [self.nests[main][n] for n in run.numbers()], sizes)) for run in main.runs)
        self.runs = {run.first: (run, rows) for run, rows in blocks if rows}
        self.plan = replace(self._plan(main), checkpoints=tuple(checkpoints_of(graph, sizes)))
        self.replicas = self._replicas(main)
        shared = max((r.nbytes for r in self.replicas.values()), default=0)
        self.plan = replace(self.plan, peak_bytes=self.plan.peak_bytes + shared)
        self.arena = self._allocated()
        self.private = self.arena.ctypes.data + self.plan.peak_bytes - shared
        # By section: a loop's body and its derivative's share nodes, each with memory of its own.
        self.addresses: dict[Section, dict[Node, int]] = {section: {} for section in main.every()}
        self.addresses[main] |= {s: s.state.array.ctypes.data for s in graph.shared}
        for state, values in main.in_state.items():
            self.addresses[main] |= dict.fromkeys(values, self.addresses[main][state])
        self._place(main, self.arena.ctypes.data)
        self.bases = {node: k for k, node in enumerate((*graph.inputs, *main.results))}
        self.patches: list[Patch] = []
        self.starts: dict[Section, list[int]] = {}
        self.tapes: dict[Section, Words] = {}
        total = 0
        walked = list(self.walked(main))
        for section in walked:
            self.starts[section] = []
            # A nest that does not run at these sizes keeps its room: the loop around it writes into its frame too.
            for nest in section.nests:
                self.starts[section].append(total)
                total += len(nest.slots)
        self.copies: dict[int, int] = {}
        for number, replicas in self.replicas.items():
            self.copies[number] = total
            total += replicas.stages * len(replicas.chunks) * len(replicas.nest.slots)
        self.frames = np.zeros(total + 1, np.int64)
        for section in reversed(walked):
            self._fill(section)
            if section is not main:
                rows = [row for number in range(len(section.nests)) for row, _ in self.rows(section, number)]
                self.tapes[section] = self.tape(rows)
        self._copy_frames()

    def _size(self, size: Size) -> int:
        return size_value(size, self.sizes)

    def walked(self, section: Section) -> Iterator[Section]:
        """Yield a section and those whose tapes its nests walk."""
        yield section
        for nest in self.nests[section]:
            for number, _ in nest.inner:
                yield from self.walked(section.bodies[number])

    # -- memory

    def _plan(self, section: Section) -> Plan:
        """Plan a section's arena, those of its loop bodies first."""
        regions = {}
        for nest in self.nests[section]:
            for number, region in nest.inner:
                regions[region] = self._plan(section.bodies[number]).peak_bytes
        names = {n: f"%{i}" for n, i in section.graph.index.items()}
        nests, arena = self.nests[section], section.arena
        together = [run.numbers() for run, _ in self.runs.values()] if section is self.main else []
        share = self.main.options.uses("share_memory")
        self.plans[section] = plan_buffers(
            nests, arena, self.sizes, names, regions, section.places, together, share=share
        )
        return self.plans[section]

    def _place(self, section: Section, base: int) -> None:
        """Give every value of a section's arena its address."""
        known = self.addresses[section]
        for block in self.plans[section].blocks:
            known[block.node] = base + block.offset
        for node in section.places.parts:
            whole, offset = section.places.of(node)
            known[node] = known[whole] + self._size(offset) * node.dtype.itemsize
        for nest in self.nests[section]:
            for number, region in nest.inner:
                self._place(section.bodies[number], known[region])

    def _replicas(self, main: Section) -> dict[int, Replicas | ProductReplicas]:
        """Return the nests, by number, whose chunks need frames of their own."""
        found: dict[int, Replicas | ProductReplicas] = {}
        for run, blocks in self.runs.values():
            products = {n: nest for n in run.numbers() if (nest := self.nests[main][n]).product is not None}
            found |= {n: ProductReplicas(nest, blocks, by_rows=True, tiles=True) for n, nest in products.items()}
        for number, nest in enumerate(self.nests[main]):
            if number in found:
                continue
            cost = self.cost(main, nest)
            chunks = main.options.uses("product_chunks")
            product = product_replicas(nest, self.sizes, cost) if chunks else None
            replicas = product or replicas_of(nest, self.sizes, cost, self.least_ns, threads=self.threads)
            if replicas is not None:
                found[number] = replicas
        return found

    def _allocated(self) -> Words:
        """Return the arena, or raise `MemoryError` with the largest values of the plan."""
        try:
            return _aligned(self.plan.peak_bytes)
        except (MemoryError, ValueError):  # NumPy's for more than there is, and for more than can be counted
            largest = sorted(self.plan.blocks, key=lambda b: -b.nbytes)[:3]
            shown = [f"{b.node.op.name} {b.node.type}, {b.nbytes:,} bytes{at(b.node.source)}" for b in largest]
            needed = f"{self.plan.peak_bytes:,} bytes are needed for values in between"
            raise MemoryError(f"{needed}; the largest: {'; '.join(shown)}") from None

    def read(self, node: Node, address: int) -> Array:
        """Return a copy of a value in memory, for who looks into a run."""
        shape = tuple(self._size(s) for s in node.shape)
        out: Array = np.empty(shape, node.dtype)
        ctypes.memmove(out.ctypes.data, address, out.nbytes)
        return out

    # -- frames and tapes

    def rows(self, section: Section, number: int) -> Iterator[tuple[Row, float]]:
        """Yield the instructions of a nest, each with its planned time on one thread in nanoseconds."""
        nest = self.nests[section][number]
        if nest is ABSENT:
            return
        if section is self.main and any(number in run.numbers() for run, _ in self.runs.values()):
            if number in self.runs:
                yield from self._run(*self.runs[number])
            return
        extent, cost = self._size(nest.extent), self.cost(section, nest)
        if section is self.main and number in self.replicas:
            replicas = self.replicas[number]
            for stage in range(replicas.stages):
                first = stage * len(replicas.ranges)
                yield from self._chunks(section, number, replicas.ranges, cost / replicas.stages, first)
            if replicas.combines:
                yield self._row(section, number, 0, 0), machine.CALL
        elif may_divide(nest) or self._guard(section, number, cost):
            # One call of BLAS runs the whole range of a product.
            whole = not may_divide(nest) or (nest.product is not None and nest.product.is_one_call(self.sizes))
            whole = whole or not self.main.options.uses("chunks")
            chunks = [(0, extent)] if whole else chunk_edges(extent, cost, self.least_ns)
            if nest.target_rows:
                chunks = stretches(extent, target_rows.PARTS if cost >= target_rows.LEAST_NS else 1)
            yield from self._chunks(section, number, chunks, cost)
        else:
            ranges = segments(extent, cost) if nest.divisible and section is self.main else [(0, extent)]
            for lo, hi in ranges:
                yield self._row(section, number, lo, hi), cost * (hi - lo) / max(extent, 1)

    def _chunks(
        self, section: Section, number: int, chunks: Sequence[tuple[int, int]], cost: float, first: int = 0
    ) -> Iterator[tuple[Row, float]]:
        """Yield the instructions of a divided nest: one a chunk where there is one thread, else one for many.

        `first` is the number of the first chunk's frame, where chunks have frames of their own.
        """
        each, guard, kernel = cost / len(chunks), self._guard(section, number, cost), section.addresses[number]
        if len(chunks) > 1:
            self.chunks[self.name(section, number)] = len(chunks)
        frame, between = self._frame(section, number), 0
        if section is self.main and number in self.copies:
            frame, between = self.frames.ctypes.data + 8 * self.copies[number], 8 * len(section.nests[number].slots)
        framed = [(frame + k * between, lo, hi) for k, (lo, hi) in enumerate(chunks, first)]
        if self.threads == 1 and section.nests[number].target_rows:
            yield (kernel, frame, 0, chunks[-1][1]), cost
            return
        if guard == 0 and (self.threads == 1 or len(chunks) == 1):
            for chunk in framed:
                yield (kernel, *chunk), each
            return
        for group in grouped(framed, cost):
            self.tables.append(dealt(self.team, kernel, self.threads, group, guard, wakes=self.wakes))
            yield (parallel_address(), self.tables[-1].ctypes.data, 0, len(group)), each * len(group)

    def _run(self, run: Run, blocks: Sequence[tuple[int, int]]) -> Iterator[tuple[Row, float]]:
        """Yield the instructions of nests that run by turns, block of rows by block of rows."""
        nests = self.nests[self.main]
        numbers = [n for n in run.numbers() if nests[n] is not ABSENT]
        cost = sum(self.cost(self.main, nests[n]) for n in numbers)
        rows = [self._row_of(n, run, k, *block) for k, block in enumerate(blocks) for n in numbers]
        names = dict.fromkeys(self.name(self.main, n) for n in numbers)
        self.chunks[" and ".join(names)] = len(blocks)
        if self.threads == 1:
            yield from ((row, cost / len(rows)) for row in rows)
            return
        self.tables.append(self.tape(rows))
        tape, count, driver = self.tables[-1].ctypes.data, len(numbers), self.main.obtain(DRIVER, CONTROL)
        chunks = [(tape, k * count, (k + 1) * count) for k in range(len(blocks))]
        for group in grouped(chunks, cost):
            self.tables.append(dealt(self.team, driver, self.threads, group, 0, wakes=self.wakes))
            yield (parallel_address(), self.tables[-1].ctypes.data, 0, len(group)), cost * len(group) / len(chunks)

    def _row_of(self, number: int, run: Run, block: int, lo: int, hi: int) -> Row:
        """Return the instruction that runs a nest for one block of rows."""
        nest, kernel = self.nests[self.main][number], self.main.addresses[number]
        extent = self._size(nest.extent)
        if nest.product is None:
            each = extent // self._size(run.rows)
            return kernel, self._frame(self.main, number), lo * each, hi * each
        return kernel, self.frames.ctypes.data + 8 * (self.copies[number] + block * len(nest.slots)), 0, extent

    def name(self, section: Section, number: int) -> str:
        """Return what `Program.describe` calls the kernel of a nest, with its number where the kernel has several."""
        kernel = section.kernel_of[number]
        nests = self.nests[section]
        same = [n for n, k in enumerate(section.kernel_of) if k == kernel and nests[n] is not ABSENT]
        return self.kernel_name(section, number) + (f", nest {same.index(number)}" if len(same) > 1 else "")

    def kernel_name(self, section: Section, number: int) -> str:
        """Return what `Program.describe` calls the kernel of a nest."""
        kernel, depth = section.kernel_of[number], self._number[section]
        return (f"body {depth}, " if depth else "") + (f"kernel {kernel}" if kernel >= 0 else "copy")

    def _guard(self, section: Section, number: int, cost: float) -> int:
        """Return the address of what keeps BLAS to one thread in a nest; 0 where it would not start others."""
        nest = section.nests[number]
        calls = self.guarded and cost > GUARD_NS and section.obtain is not register and nest.needs_library(self.sizes)
        return guard_address(library_for(nest.routines, self.blas)) if calls else 0

    def _row(self, section: Section, number: int, lo: int, hi: int) -> Row:
        return section.addresses[number], self._frame(section, number), lo, hi

    def tape(self, rows: list[Row]) -> Words:
        """Return instructions as the driver reads them."""
        return np.array(rows, np.int64).reshape(-1)

    def cost(self, section: Section, nest: LoopNest) -> float:
        """Return a rough estimate of a nest's time in nanoseconds."""
        work = self._size(nest.work)
        if not nest.inner:
            return nest.unit_ns * work + machine.CALL
        if nest not in self._costs:
            bodies = [section.bodies[number] for number, _ in nest.inner]
            step = sum(self.cost(b, n) for b in bodies for n in self.nests[b])
            self._costs[nest] = nest.unit_ns * work + work * step
        return self._costs[nest]

    def _frame(self, section: Section, number: int) -> int:
        return self.frames.ctypes.data + 8 * self.starts[section][number]

    def _fill(self, section: Section) -> None:
        """Write the frames of a section, and note what calls must patch."""
        for number, start in enumerate(self.starts[section]):
            self._write(section, number, start, {})

    def _copy_frames(self) -> None:
        """Write the frames of chunks that have their own, and what the nest's frame says of them."""
        origin = self.frames.ctypes.data
        for number, replicas in self.replicas.items():
            first, between = self.copies[number], len(replicas.nest.slots)
            for place, value in replicas.own_words(origin + 8 * first, self.private).items():
                self.frames[self.starts[self.main][number] + place] = value
            for k in range(replicas.stages * len(replicas.chunks)):
                words = replicas.chunk_words(k, self.private, origin + 8 * first)
                self._write(self.main, number, first + k * between, words)

    def _write(self, section: Section, number: int, start: int, known: Mapping[int, int | Slot]) -> None:
        """Write one frame of a nest; `known` has the slots whose values are given, or that others stand for."""
        origin = self.frames.ctypes.data + 8 * start
        words = []
        for position, own in enumerate(self.nests[section][number].slots):
            slot = known.get(position, own)
            if isinstance(slot, int):
                words.append(slot)
            elif isinstance(slot, PointerSlot):
                words.append(self._pointer(section, slot, origin + 8 * position))
            elif isinstance(slot, FrameSlot):
                words.append(origin + 8 * slot.offset)
            elif isinstance(slot, RoutineSlot):
                words.append(self._library(section, number, slot.routine))
            else:
                words.append(self._value(section, slot))
        self.frames[start : start + len(words)] = words

    def _pointer(self, section: Section, slot: PointerSlot, address: int) -> int:
        """Return a pointer, or 0 for one that every call patches or that a loop moves."""
        offset = self._size(slot.offset) * slot.base.dtype.itemsize
        if section is self.main and slot.base in self.bases:
            self.patches.append((address, self.bases[slot.base], offset))
            return 0
        if isinstance(slot.base.op, Constant):
            return int(slot.base.op.value.ctypes.data) + offset
        known = self.addresses[section]
        return known[slot.base] + offset if slot.base in known else 0

    def _value(self, section: Section, slot: Slot) -> int:
        if isinstance(slot, SizeSlot):
            return self._size(slot.size)
        if isinstance(slot, LiteralSlot):
            return slot.bits
        if isinstance(slot, TapeSlot):
            return self.tapes[section.bodies[slot.body]].ctypes.data
        if isinstance(slot, CountSlot):
            return len(self.tapes[section.bodies[slot.body]]) // 4
        if isinstance(slot, PeriodSlot):
            body = section.bodies[slot.body]
            step = machine.CALL + sum(self.cost(body, n) for n in self.nests[body])
            return (1 << max(0, int(SEGMENT_NS / step).bit_length())) - 1
        if isinstance(slot, DriverSlot):
            return section.obtain(DRIVER, CONTROL)
        if isinstance(slot, PythonSlot):
            return 0 if section.obtain is register else python_address(slot.function)
        if isinstance(slot, TransposerSlot):
            return 0 if section.obtain is register else transposer_address(slot.itemsize)
        assert isinstance(slot, BodySlot)
        return self._frame(section.bodies[slot.body], slot.nest) + 8 * slot.slot

    def _library(self, section: Section, number: int, name: str) -> int:
        nest = section.nests[number]
        return library_for(nest.routines, self.blas).address(name) if nest.needs_library(self.sizes) else 0


def _aligned(nbytes: int) -> Words:
    """Return uninitialised memory that starts at a multiple of the alignment."""
    raw = np.empty(nbytes // 8 + 2 * ALIGNMENT // 8, np.int64)
    skip = -raw.ctypes.data % ALIGNMENT // 8
    return raw[skip:]
