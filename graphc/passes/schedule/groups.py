"""Kernels under construction, and what fusion asks of them: whether two are better one.

`Fusion` puts the figures of the cost model together from the graph: what would be moved, what fits the registers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.types import Shape
from graphc.ops.reduction import Reduction
from graphc.passes.schedule.frame import Framed
from graphc.passes.schedule.fusion_costs import (
    MAX_OPS,
    MAX_POINTERS,
    MAX_SIZE,
    MAX_STORED,
    Expression,
    Prices,
    Verdict,
    compiling,
    judge,
    spilled,
    work_of,
)
from graphc.passes.schedule.layout import Access, is_inline
from graphc.passes.schedule.machine import REGISTERS


@dataclass(eq=False)
class Group:
    """A kernel under construction."""

    index: int
    stage: int
    kind: str
    space: Shape
    split: int | None = None
    levels: dict[Node, str] = field(default_factory=dict)
    reads: dict[Node, None] = field(default_factory=dict)
    read: bool = False
    """Whether another kernel reads this one, which fixes its stage."""
    framed: bool = False
    part: int = 0
    expression: Expression = field(default_factory=Expression)

    def add(self, levels: dict[Node, str], expression: Expression | None = None) -> None:
        """Take members in, with the expression that they are then a part of; None in kernels that nothing joins."""
        self.levels.update(levels)
        self.framed = self.framed or has_frames(levels)
        if expression is not None:
            self.expression.take(expression)


@dataclass(eq=False)
class Cluster:
    """Values that wait for the one that reads them; the last is the one read."""

    nodes: list[Node] = field(default_factory=list)
    expression: Expression = field(default_factory=Expression)
    flow: float = 0.0
    """The expression's time."""
    before: float = 0.0
    """The time without the last."""
    reads: set[Node] = field(default_factory=set)
    """The values outside that are read."""

    def absorb(self, other: Cluster) -> None:
        self.nodes += other.nodes
        self.reads |= other.reads
        self.expression.absorb(other.expression)
        self.flow = self.expression.flow

    def add(self, node: Node, operands: Iterable[Node]) -> None:
        self.nodes.append(node)
        self.reads.update(x for x in operands if x not in self.expression.waits and not is_inline(x.op))
        self.expression.add(node, operands)
        self.before, self.flow = self.flow, self.expression.flow


def has_frames(nodes: Iterable[Node]) -> bool:
    """Tell whether a part inside zeros is among some values."""
    return any(isinstance(n.op, Framed) for n in nodes)


class Fusion:
    """The verdicts on a graph's kernels.

    `kept` are the values that are stored in any case, `home` has the kernel of each value that is placed so far.
    """

    def __init__(self, graph: Graph, accesses: dict[Node, Access], kept: set[Node], home: dict[Node, Group]) -> None:
        self.graph = graph
        self.accesses = accesses
        self.kept = kept
        self.home = home
        self.prices = Prices()
        self._operands: dict[Node, list[Node]] = {}

    def operands(self, node: Node) -> list[Node]:
        """Return the values in memory or in variables that a node is made of."""
        found = self._operands.get(node)
        if found is None:
            found = self._operands[node] = [self.accesses[x].base for x in node.inputs]
        return found

    def may_grow(self, cluster: Cluster) -> bool:
        """Tell whether the last of a cluster waits for its reader, in place of being stored.

        Its reader is taken to cost what it costs itself.
        """
        node, last = cluster.nodes[-1], work_of(cluster.nodes[-1])
        saved = 2 * self.prices.move(node) + self.prices.call(node)
        cost = cluster.flow - cluster.before - last.time + compiling(cluster.expression.size)
        few = len(cluster.nodes) < MAX_OPS // 2 and cluster.expression.size < MAX_SIZE // 2
        return few and len(cluster.reads) < MAX_POINTERS and saved >= cost

    def may_merge(self, first: Group, group: Group, bases: Iterable[Node]) -> bool:
        """Tell whether two kernels are better one, for a reader of `bases` and what both read."""
        shared = [b for b in group.reads if b in first.reads]
        saved = self.prices.call(next(iter(group.levels))) + sum(map(self.prices.move, shared))
        saved += sum(2 * self.prices.move(b) for b in bases if b in group.levels)
        members = len(first.levels) + len(group.levels)
        reads = len({**first.reads, **group.reads})
        joined = first.expression.joined(group.expression, (), self.operands)
        joined.spilled = self._spilled([*first.levels, *group.levels], joined)
        many = reads >= MAX_POINTERS or self._many_stored([*first.levels, *group.levels])
        return not many and judge(first.expression, group.expression, joined, saved, members).joins

    def _spilled(self, members: list[Node], joined: Expression) -> int:
        """Return how many values do not fit registers; few members do, and every eighth time is often enough."""
        if len(members) <= REGISTERS or len(members) % 8:
            return joined.spilled
        return spilled(members, self.operands, joined.turns)

    def _many_stored(self, members: list[Node]) -> bool:
        """Tell whether a kernel of these members might write more buffers than it may."""
        if len(members) <= MAX_STORED:
            return False
        own, readers = set(members), self.graph.dag.successors
        return sum(n in self.kept or any(u not in own for u in readers(n)) for n in members) > MAX_STORED

    def join(self, group: Group, cluster: Cluster, *, once_a_row: bool) -> Expression | Verdict:
        """Return the expression of a kernel that a cluster joins, or the verdict against it."""
        members = [*group.levels, *cluster.nodes]
        reads = len(group.reads) + sum(b not in group.reads and b not in group.levels for b in cluster.reads)
        if reads > MAX_POINTERS:
            return Verdict(limit=f"{reads} values read, at most {MAX_POINTERS}")
        if self._many_stored(members):
            return Verdict(limit=f"more than {MAX_STORED} values stored")
        joined = group.expression.joined(cluster.expression, cluster.nodes, self.operands)
        joined.spilled = self._spilled(members, joined)
        verdict = judge(group.expression, cluster.expression, joined, self._saved(group, cluster), len(members))
        # What is computed once a row takes next to nothing.
        return joined if verdict.joins or (once_a_row and not verdict.limit) else verdict

    def _saved(self, group: Group, cluster: Cluster) -> float:
        """Return what need not be moved where a cluster joins a kernel: values of that one, and what both read."""
        root, own = cluster.nodes[-1], cluster.expression.waits
        saved = self.prices.call(root.inputs[0] if isinstance(root.op, Reduction) else root)
        for base in cluster.reads:
            if base in group.levels:
                others = (self.home.get(u, group) for u in self.graph.dag.successors(base) if u not in own)
                stored = base in self.kept or any(other is not group for other in others)
                saved += self.prices.move(base) * (1 if stored else 2)
            elif base in group.reads:
                saved += self.prices.move(base)
        return saved
