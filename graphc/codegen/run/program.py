"""`Program`: an optimised graph as machine code, and `Bound`: a program with its memory at one set of sizes.

Everything that depends on the graph alone happens once (`Section`: schedule, in-place decisions, nests, sources,
kernel addresses); everything that depends on sizes happens in `bind` (arena, frames, tapes) and compiles nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphc.codegen.jit.kernels import counters, kernel_address
from graphc.codegen.memory.plan import Plan
from graphc.codegen.nest.division import SEGMENT_NS
from graphc.codegen.nest.options import KernelOptions
from graphc.codegen.run.budget import Fit, within
from graphc.codegen.run.debug import register
from graphc.codegen.run.forms import forms_of
from graphc.codegen.run.frames import Memory, Row
from graphc.codegen.run.section import Section
from graphc.codegen.run.tape import Descriptor, make_descriptor, prepare
from graphc.graph.errors import ShapeError, at, called
from graphc.graph.graph import Graph
from graphc.graph.lazy import lazy_property
from graphc.graph.node import Node
from graphc.graph.types import Array, Sizes, size_value
from graphc.ops.control import Control, Scan
from graphc.ops.reduction import NO_EXTREME, Reduction
from graphc.passes.schedule.machine import IN_TURNS
from graphc.passes.schedule.options import EVERYTHING, Options
from graphc.passes.schedule.rematerialise import Choice

RELEASE_NS = 50_000
"""Planned work above which a run releases the GIL (releasing for less costs more than it gives)."""


@dataclass
class Bound:
    """A program with frames, tape and arena for one set of sizes; used by one call at a time."""

    plan: Plan
    descriptor: Descriptor
    instructions: list[int]
    """The nest that each instruction of the tape runs."""
    sizes: Sizes

    @lazy_property
    def attempt(self) -> Callable[..., Any]:
        """The builtin that runs the program on exact arguments; see `Descriptor.callable`."""
        return self.descriptor.callable(None)

    def native(self, fallback: Callable[..., Any]) -> Callable[..., Any]:
        """Return the builtin that a function installs as its own call."""
        return self.descriptor.callable(fallback)


class Program:
    """The compiled form of one graph."""

    def __init__(
        self,
        graph: Graph,
        precision: str = "vector",
        options: Options = EVERYTHING,
        *,
        compiled: bool = True,
        threads: int = 1,
        memory: int | None = None,
    ) -> None:
        started, before = time.perf_counter(), (counters.compiled, counters.from_cache)
        self.threads = threads if compiled else 1
        self.fit: Fit | None = None
        """What a limit of memory has led to."""
        choice: Choice | None = None
        if memory is not None:
            way = within(graph, memory, options, self.threads)
            graph, choice, options, self.fit = way.graph, way.choice, way.options, way.fit
        self.graph = graph
        obtain = (lambda source, o: kernel_address(source, o.at(precision))) if compiled else register
        self.main = Section(graph, obtain, options, choice=choice)
        lowered = time.perf_counter()
        self.main.finish()
        self.sections = list(self.main.every())
        self.compiled, self.from_cache = counters.compiled - before[0], counters.from_cache - before[1]
        if compiled:
            prepare()
        self.seconds = {"lower": lowered - started, "compile": time.perf_counter() - lowered}

    @property
    def sources(self) -> list[str]:
        """The source of every kernel, loop bodies included, in order."""
        return [source for source, _ in self.kernels]

    @property
    def kernels(self) -> list[tuple[str, KernelOptions]]:
        """Every kernel in order: its source, and how it is compiled."""
        return [
            (s, n.options) for section in self.sections for s, n in zip(section.sources, section.nests, strict=False)
        ]

    @property
    def results(self) -> tuple[Node, ...]:
        """The outputs that the caller receives."""
        return self.main.results

    def failing_node(self, bound: Bound, status: int) -> Node:
        """Return the node whose check gave a status."""
        return self.main.nests[bound.instructions[status // 65536 - 1]].checks[status % 65536 - 1]

    # -- one set of sizes

    def bind(self, arguments: Sequence[Array], sizes: Sizes, mode: int, threads: int | None = None) -> Bound:
        """Plan the memory and write the frames and the tapes for given sizes; `mode` says how results return.

        `threads` replaces the program's own number.
        """
        _check_extents(self.main.graph, sizes)
        memory = Memory(self.main, self.graph, sizes, self.threads if threads is None else threads)
        rows, segments, release, instructions = self._rows(memory)
        descriptor = make_descriptor(
            arguments=[(a.dtype, a.shape) for a in arguments],
            outputs=[(o.dtype, tuple(size_value(s, sizes) for s in o.shape)) for o in self.results],
            tape=rows,
            segments=segments,
            patches=memory.patches,
            locks=[s.state.lock for s in self.graph.shared],
            release=release,
            mode=mode,
        )
        descriptor.keep += [memory, self]
        plan = replace(memory.plan, chunks=memory.chunks, forms=forms_of(memory), fit=self.fit)
        return Bound(plan, descriptor, instructions, dict(sizes))

    def _rows(self, memory: Memory) -> tuple[Any, list[int], bool, list[int]]:
        """Return the tape, the places to look for signals, whether to release the GIL, and each row's nest."""
        rows: list[Row] = []
        instructions: list[int] = []
        segments, total, since = [0], 0.0, 0.0
        first_write = self.main.first_state_write
        for number in range(len(self.main.nests)):
            for row, cost in memory.rows(self.main, number):
                rows.append(row)
                instructions.append(number)
                total += cost
                since += cost
                if since > SEGMENT_NS and (first_write is None or number < first_write):
                    segments.append(len(rows))
                    since = 0.0
        if segments[-1] != len(rows):
            segments.append(len(rows))
        return memory.tape(rows), segments, total > RELEASE_NS, instructions

    def describe(self) -> str:
        """Return every distinct kernel source once, each with the kernels that run it."""
        return "\n".join(f"# {users}\n{source}" for source, users in self.described())

    def described(self) -> list[tuple[str, str]]:
        """Return every distinct kernel source and its options once, and what its users are called."""
        users: dict[tuple[str, int], list[str]] = {}
        for depth, section in enumerate(self.sections):
            place = f"body {depth}, " if depth else ""
            kernels = [] if section.inlined else zip(section.sources, section.nests, section.kernel_of, strict=True)
            for source, nest, number in kernels:
                user = f"{place}kernel {number}" if number >= 0 else f"{place}copy"
                users.setdefault((source, nest.options.turns), []).append(user)
        found = []
        for (source, turns), several in users.items():
            names = list(dict.fromkeys(several))
            shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            shown += f"; long loops take {turns} vectors at a time" if turns > IN_TURNS else ""
            found.append((source, shown))
        return found


def _check_extents(graph: Graph, sizes: Sizes) -> None:
    """Refuse the largest element of nothing, but in the steps of a loop that makes none."""
    for node in graph.nodes:
        if isinstance(node.op, Reduction) and node.op.needs_elements:
            shape = node.inputs[0].shape
            if any(size_value(shape[a], sizes) == 0 for a in node.op.axes):
                name = called(node.source, node.op.name)
                raise ShapeError(f"{name}: {NO_EXTREME}{at(node.source)}")
        elif isinstance(node.op, Control) and not (
            isinstance(node.op, Scan) and size_value(node.op.length, sizes) == 0
        ):
            for region in node.op.regions():
                _check_extents(region, sizes)
