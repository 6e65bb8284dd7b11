"""`Section`: one tape's worth of kernels, the program's own or the body of a loop, lowered and compiled.

Everything here depends on the graph alone. A section knows its nests in order, their sources and addresses, which
of its values live in its arena, and the sections of the loops inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from graphc.codegen.forms import nest_passes
from graphc.codegen.memory.handed_on import HandedOn, Pair, carried, without_copies
from graphc.codegen.memory.inplace import late_order, operands_in_place, parts_in_place, updates_in_place
from graphc.codegen.memory.reads import Reads
from graphc.codegen.memory.reuse import Reuse
from graphc.codegen.nest.copies import copy_nest
from graphc.codegen.nest.loops import Check, check_nests, concat_nests, lower_kernel, made_checks, scatter_nest
from graphc.codegen.nest.nest import LoopNest
from graphc.codegen.nest.options import KernelOptions
from graphc.codegen.nest.places import Places
from graphc.codegen.nest.render import render
from graphc.codegen.run.branch import lower_switch, lower_while
from graphc.codegen.run.row_runs import Run, find_runs
from graphc.codegen.run.scan import Body, Placement, lower_scan
from graphc.graph.graph import Graph
from graphc.graph.lazy import lazy_property
from graphc.graph.node import Node, Shared
from graphc.ops.control import Scan, Switch, While
from graphc.ops.shape import Concat, contiguous_strides
from graphc.passes import make_schedule
from graphc.passes.schedule.kernels import Kernel
from graphc.passes.schedule.layout import Access
from graphc.passes.schedule.options import EVERYTHING, Options
from graphc.passes.schedule.rematerialise import Choice


class Section:
    """A graph, lowered; `obtain` gives the address of a kernel's source.

    `places` says where values live. `carries` are what the graph around receives and gives,
    which may stay in its place. `rows` are what a step of a loop receives and gives in the same place, if its kernels
    allow it; `steps` are those that do, by kernel. `choice` is what the graph computes again to save memory.
    """

    def __init__(
        self,
        graph: Graph,
        obtain: Callable[[str, KernelOptions], int],
        options: Options = EVERYTHING,
        *,
        inner: bool = False,
        carries: Sequence[Pair] = (),
        branch: bool = False,
        rows: Mapping[Node, Node] | None = None,
        handed_on: HandedOn | None = None,
        choice: Choice | None = None,
    ) -> None:
        self.graph = graph
        self.inner = inner
        self.obtain = obtain
        self.options = options
        self.handed_on = handed_on or HandedOn(
            lambda inside: make_schedule(inside, options, choice if inside is graph else None)
        )
        self.in_place: dict[Node, Node] = {}
        for pair in carries if options.uses("carries_in_place") else ():
            self.in_place |= self.handed_on.between(graph, pair, branch=branch)
        self.schedule = without_copies(self.handed_on.schedule(graph), self.in_place)
        self.in_state = updates_in_place(self.schedule) if options.uses("state_in_place") else {}
        self.aliased = {state: values[-1] for state, values in self.in_state.items()}
        self.bodies: list[Section] = []
        self.nests: list[LoopNest] = []
        self.inlined = False
        self.kernel_of: list[int] = []
        changed = {n for values in self.in_state.values() for n in values}
        self.places = Places({*(graph.outputs if inner else self.results), *changed})
        late = late_order(self.schedule, self.in_state)
        kept = {*self.places.elsewhere, *self.in_place}
        waiting = frozenset(late)
        temporary = operands_in_place(self.schedule, kept) if options.uses("operands_in_place") else {}
        in_place = {*self.in_place, *changed}
        self.reuse = Reuse(Reads(self.schedule, late), self.places, {*graph.outputs, *kept})
        self.reuse.place({x: (node, 0) for x, node in temporary.items()})
        if options.uses("parts_in_place"):
            self.reuse.place(parts_in_place(self.schedule, self.places.elsewhere))
        self.steps = self.reuse.steps(rows or {})
        writes: list[tuple[LoopNest, int]] = []
        self.first_state_write: int | None = None
        """The first nest that may write state: from there on a run must not be interrupted."""
        accesses, checked = self.schedule.accesses, set[Check]()
        for number, kernel in enumerate(self.schedule):
            if self.first_state_write is None and kernel.root not in waiting and not changed.isdisjoint(kernel.stored):
                self.first_state_write = len(self.nests)
            if kernel.kind == "scatter" and (kernel.root in in_place or kernel.root.inputs[0] in temporary):
                nest = scatter_nest(kernel, self.schedule, self.aliased, divide=not inner)
                if kernel.root not in waiting:
                    self.append([nest], number)
                else:  # writes to state wait until every check has passed
                    self.append(check_nests(kernel, accesses, checked), number)
                    writes.append((nest, number))
                    continue
            else:
                self.append(self._lower(kernel, number), number)
            if options.uses("checks_once"):
                checked |= made_checks(kernel, accesses)
        if self.first_state_write is None:
            self.first_state_write = len(self.nests)
        for nest, number in writes:
            self.append([nest], number)
        for state, value in self._updates():
            if state not in self.aliased:
                source = Access(value, 0, contiguous_strides(value.shape))
                place = Access(state, 0, contiguous_strides(state.shape))
                self.append([copy_nest(state, state.shape, source, place)], -1)

    @lazy_property
    def runs(self) -> tuple[Run, ...]:
        """The nests that may run by turns, block of rows by block of rows."""
        return () if self.inner or not self.options.uses("row_runs") else tuple(find_runs(self))

    def append(self, nests: list[LoopNest], kernel: int) -> None:
        """Add nests at the end of the tape."""
        self.nests += [nest_passes.run(nest, self.options) for nest in nests]
        self.kernel_of += [kernel] * len(nests)

    def _lower(self, kernel: Kernel, number: int) -> list[LoopNest]:
        op, accesses = kernel.nodes[0].op, self.schedule.accesses
        if isinstance(op, Scan):
            body = self._open(op.body, carried(op), rows=self.reuse.rows(number))
            self.reuse.place_rows(number, self.bodies[body.number].steps)
            nests, placed = lower_scan(kernel, accesses, body, self.places.elsewhere, self.in_place, self.options)
            self.reuse.place(placed)
            return nests
        if isinstance(op, Switch):
            return lower_switch(kernel, accesses, self._open, self.in_place)
        if isinstance(op, While):
            place = Placement(self.places.elsewhere, self.in_place)
            nests = lower_while(kernel, accesses, self._open, place)
            self.reuse.place(place.placed)
            return nests
        if isinstance(op, Concat):
            return concat_nests(kernel.nodes[0], accesses, self.places)
        over = {x: y for y, x in self.in_place.items() if y in kernel.levels}
        aliased = {**self.aliased, **over, **self.steps.get(number, {}), **self.reuse.pairs(number)}
        return lower_kernel(kernel, self.schedule, aliased, divide=not self.inner)

    def _open(
        self,
        graph: Graph,
        carries: Sequence[Pair] = (),
        *,
        branch: bool = False,
        rows: Mapping[Node, Node] | None = None,
    ) -> Body:
        """Lower a graph inside an op as a section of its own; `carries` and `rows` may be written over."""
        section = Section(
            graph,
            self.obtain,
            self.options,
            inner=True,
            carries=carries,
            branch=branch,
            rows=rows,
            handed_on=self.handed_on,
        )
        self.bodies.append(section)
        number, inline = len(self.bodies) - 1, section.inline
        return Body(number, graph, section.nests, section.append, inline, section.in_place, section.places)

    def inline(self) -> None:
        """Note that the nests have become part of a nest of the section around this one."""
        self.inlined = True

    def _updates(self) -> Iterator[tuple[Shared, Node]]:
        first = len(self.graph.outputs) - len(self.graph.updates)
        return zip(self.graph.updates, self.graph.outputs[first:], strict=True)

    @property
    def results(self) -> tuple[Node, ...]:
        """The outputs that the caller receives."""
        return self.graph.outputs[: len(self.graph.outputs) - len(self.graph.updates)]

    def finish(self) -> None:
        """Render and compile every nest, inner sections too."""
        self.sources = [] if self.inlined else [render(nest) for nest in self.nests]
        self.addresses = [self.obtain(s, n.options) for s, n in zip(self.sources, self.nests, strict=False)]
        for body in self.bodies:
            body.finish()

    def every(self) -> Iterator[Section]:
        """Yield this section and those inside it."""
        yield self
        for body in self.bodies:
            yield from body.every()

    @property
    def arena(self) -> list[Node]:
        """The values that live in this section's arena."""
        stored = [n for k in self.schedule for n in k.stored if self.places.in_arena(n)]
        return stored + [n for nest in self.nests for n, _ in nest.rows]
