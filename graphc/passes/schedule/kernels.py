"""`Kernel` and `Schedule`: what runs as one loop nest, and the networkx DAG of all that runs.

`fuse` makes a schedule of a graph, `order` gives its kernels their order, `recompute` takes values out of memory. In
between the order of `kernels` need not be one to run them in; `verify_schedule` says what holds in the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphc.graph.graph import Graph
from graphc.graph.lazy import lazy_property
from graphc.graph.node import Node
from graphc.graph.types import Shape
from graphc.passes.schedule.fusion_costs import IN_TURNS, Repeat
from graphc.passes.schedule.layout import Access
from graphc.passes.schedule.options import EVERYTHING, Options

if TYPE_CHECKING:
    import networkx

INNER, OUTER, ACCUMULATED, TOTAL = "inner", "outer", "accumulated", "total"
"""Where a member of a loop kernel lives; see `fuse`."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Nodes that run as one loop nest, or one node that a library call or a nest of its own computes.

    `kind`: "loop"; or "matmul", "cumulative", "assembly" or a routine's name for single nodes; or "control" for a loop
    or a branch with its projections; or "scatter" for one with the values that only it reads, which come first.
    `levels` says where each member of a loop lives; `stored` are the members that other kernels, or the caller, read.
    """

    kind: str
    nodes: tuple[Node, ...]
    space: Shape
    split: int | None
    levels: dict[Node, str]
    stored: tuple[Node, ...]
    turns: int = IN_TURNS
    """How many vectors a long loop takes at a time."""

    @lazy_property
    def in_memory(self) -> frozenset[Node]:
        """The members of `stored`, for who asks often."""
        return frozenset(self.stored)

    @property
    def root(self) -> Node:
        """The node that the kernel is there for, where it is not a loop kernel."""
        return self.nodes[-1] if self.kind == "scatter" else self.nodes[0]


@dataclass(frozen=True, order=True)
class Cut:
    """Why a kernel is apart from an earlier one whose value it reads."""

    reader: int
    earlier: int
    reason: str

    def renumbered(self, number: Mapping[int, int]) -> Cut:
        """Return the same for kernels that have other numbers."""
        return Cut(number[self.reader], number[self.earlier], self.reason)

    def __str__(self) -> str:
        return f"{self.reader} is apart from {self.earlier}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Schedule:
    """The kernels in execution order, and how every node that is not computed is found in memory.

    `dag` is the networkx DAG of the kernels: an edge from the kernel that stores a value to each that reads it.
    """

    graph: Graph
    kernels: tuple[Kernel, ...]
    accesses: dict[Node, Access]
    inline: frozenset[Node]
    """Scalars made of sizes and literal numbers alone: every kernel that needs one computes it."""
    cuts: tuple[Cut, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    options: Options = EVERYTHING
    """What this compilation leaves out, for all that follows."""
    place: Mapping[Node, float] | None = None
    """Where each value comes in an order that is decided; see `rematerialise`."""

    @lazy_property
    def dag(self) -> networkx.DiGraph[Kernel]:
        """The kernels, in their order; on each edge, the `values` that the one stores and the other reads."""
        import networkx

        dag: networkx.DiGraph[Kernel] = networkx.DiGraph()
        dag.add_nodes_from(self.kernels)
        home = {n: k for k in self.kernels for n in k.stored}
        for kernel, reading in zip(self.kernels, self.reading, strict=True):
            for x in reading:
                if x in home and home[x] is not kernel:
                    dag.add_edge(home[x], kernel)
                    dag.edges[home[x], kernel].setdefault("values", []).append(x)
        networkx.freeze(dag)
        return dag

    def why(self, first: int, second: int) -> str:
        """Say why two kernels, by their numbers, are two: by a path between them, or by what fusion found.

        >>> import graphc as gc
        >>> x = gc.placeholder("x", shape=("n", "n"))
        >>> schedule = gc.function([x], gc.exp(gc.sin(x) @ x)).schedule
        >>> schedule.why(0, 2)
        '2 needs 1, which needs 0: as one kernel they would wait for themselves'
        >>> schedule.why(0, 1)
        '1 is a matmul, which is a kernel of its own'
        """
        import networkx

        first, second = sorted((first, second))
        dag, start, end = self.dag, self.kernels[first], self.kernels[second]
        later, earlier = networkx.descendants(dag, start), networkx.ancestors(dag, end)
        if end not in later:
            return f"{second} needs nothing of {first}"
        if between := later & earlier:
            number = min(self.kernels.index(kernel) for kernel in between)
            return f"{second} needs {number}, which needs {first}: as one kernel they would wait for themselves"
        for place in (first, second):
            if self.kernels[place].kind != "loop":
                return f"{place} is a {self.kernels[place].kind}, which is a kernel of its own"
        cuts = (str(cut) for cut in self.cuts if (cut.earlier, cut.reader) == (first, second))
        return next(cuts, f"{second} reads what {first} stores, at other places")

    def in_order(self, kernels: Sequence[Kernel]) -> Schedule:
        """Return the schedule with the same kernels in another order."""
        before = {kernel: number for number, kernel in enumerate(self.kernels)}
        number = {before[kernel]: i for i, kernel in enumerate(kernels)}
        assert len(number) == len(self.kernels), "cyclic kernels"
        return self.renumbered(kernels, number)

    def renumbered(self, kernels: Sequence[Kernel], number: Mapping[int, int]) -> Schedule:
        """Return the schedule with other kernels; `number` has the new number of each that is still there."""
        cuts = (cut for cut in self.cuts if cut.reader in number and cut.earlier in number)
        return replace(
            self,
            kernels=tuple(kernels),
            cuts=tuple(sorted(cut.renumbered(number) for cut in cuts)),
            repeats=tuple(repeat.renumbered(number) for repeat in self.repeats),
        )

    @lazy_property
    def kernel_of(self) -> dict[Node, Kernel]:
        """The kernel that each computed node is in."""
        return {n: k for k in self.kernels for n in k.nodes}

    @lazy_property
    def reading(self) -> tuple[dict[Node, list[Node]], ...]:
        """For each kernel, the values that it reads, its own among them, each with the members that read it."""
        found: list[dict[Node, list[Node]]] = []
        for kernel in self.kernels:
            reading: dict[Node, list[Node]] = {}
            for node in kernel.nodes:
                for x in node.inputs:
                    reading.setdefault(self.accesses[x].base, []).append(node)
            found.append(reading)
        return tuple(found)

    @lazy_property
    def readers(self) -> dict[Node, list[int]]:
        """The kernels that read each value."""
        readers: dict[Node, list[int]] = {}
        for i, reading in enumerate(self.reading):
            for x in reading:
                readers.setdefault(x, []).append(i)
        return readers

    def __str__(self) -> str:
        number = self.graph.index
        lines = []
        for i, k in enumerate(self.kernels):
            shape = ",".join(map(str, k.space))
            split = "" if k.split is None else f" rows of {','.join(map(str, k.space[k.split :]))}"
            stored = ", ".join(f"%{number[n]}" for n in k.stored)
            body = ", ".join(f"%{number[n]} {n.op.name}" for n in k.nodes)
            lines.append(f"kernel {i}: {k.kind} over [{shape}]{split}: {body} -> {stored}")
        return "\n".join(lines)

    def __iter__(self) -> Iterator[Kernel]:
        return iter(self.kernels)

    def __len__(self) -> int:
        return len(self.kernels)


def verify_schedule(schedule: Schedule) -> Schedule:
    """Check that no kernel reads what a later one stores, and return the schedule."""
    import networkx

    assert networkx.is_directed_acyclic_graph(schedule.dag), "cyclic kernels"
    number = {kernel: i for i, kernel in enumerate(schedule)}
    assert all(number[a] < number[b] for a, b in schedule.dag.edges), "a kernel runs before one whose value it reads"
    return schedule
