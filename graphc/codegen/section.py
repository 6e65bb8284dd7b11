"""`Section`: one tape's worth of kernels, the program's own or the body of a loop, lowered and compiled.

Everything here depends on the graph alone. A section knows its nests in order, their sources and addresses, which
of its values live in its arena, and the sections of the loops inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from graphc.codegen.inplace import updates_in_place
from graphc.codegen.loops import copy_nest, lower_kernel
from graphc.codegen.nest import LoopNest
from graphc.codegen.render import render
from graphc.codegen.scan import Body, lower_scan
from graphc.graph import Graph
from graphc.node import Node, Shared
from graphc.ops.base import Constant
from graphc.ops.control import Scan
from graphc.ops.shape import contiguous_strides
from graphc.passes.fuse import Kernel, fuse
from graphc.passes.layout import Access
from graphc.types import Array


class Section:
    """A graph, lowered; `obtain` gives the address of a kernel's source."""

    def __init__(self, graph: Graph, obtain: Callable[[str], int], *, inner: bool = False) -> None:
        self.graph = graph
        self.obtain = obtain
        self.schedule = fuse(graph)
        self.aliased = updates_in_place(self.schedule)
        self.bodies: list[Section] = []
        self.nests: list[LoopNest] = []
        self.kernel_of: list[int] = []
        self.elsewhere: set[Node] = {*(graph.outputs if inner else self.results), *self.aliased.values()}
        for number, kernel in enumerate(self.schedule):
            self.append(self._lower(kernel), number)
        for state, value in self._updates():
            if state not in self.aliased:
                source = Access(value, 0, contiguous_strides(value.shape))
                place = Access(state, 0, contiguous_strides(state.shape))
                self.append([copy_nest(state, state.shape, source, place)], -1)

    def append(self, nests: list[LoopNest], kernel: int) -> None:
        """Add nests at the end of the tape."""
        self.nests += nests
        self.kernel_of += [kernel] * len(nests)

    def _lower(self, kernel: Kernel) -> list[LoopNest]:
        first = kernel.nodes[0]
        if not isinstance(first.op, Scan):
            return lower_kernel(kernel, self.schedule, self.aliased)
        section = Section(first.op.body, self.obtain, inner=True)
        body = Body(len(self.bodies), section.graph, section.nests, section.append)
        self.bodies.append(section)
        nests, outside = lower_scan(kernel, self.schedule.accesses, body)
        section.elsewhere |= outside
        return nests

    def _updates(self) -> Iterator[tuple[Shared, Node]]:
        first = len(self.graph.outputs) - len(self.graph.updates)
        return zip(self.graph.updates, self.graph.outputs[first:], strict=True)

    @property
    def results(self) -> tuple[Node, ...]:
        """The outputs that the caller receives."""
        return self.graph.outputs[: len(self.graph.outputs) - len(self.graph.updates)]

    def finish(self) -> None:
        """Render and compile every nest, inner sections too."""
        self.sources = [render(nest) for nest in self.nests]
        self.addresses = [self.obtain(source) for source in self.sources]
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
        stored = [n for k in self.schedule for n in k.stored if n not in self.elsewhere]
        return stored + [n for nest in self.nests for n, _ in nest.rows]

    @property
    def constants(self) -> dict[Node, Array]:
        """The arrays of this section's literals."""
        return {n: n.op.value for n in self.graph.nodes if isinstance(n.op, Constant)}
