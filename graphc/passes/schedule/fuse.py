"""From graph to schedule: `fuse(graph) -> Schedule` partitions the computed nodes into kernels, one loop nest each.

A loop kernel has one iteration space (the axes of its inner values, literal 1s dropped) and, once a reduction
over trailing axes has joined, a split of it: *outer* axes and *inner* axes. Its members are inner values (one
per point of the space), outer values (one per point of the outer axes: those reductions and what is computed
from them), accumulated values (reductions over other axes, summed in memory) and totals (reductions over all axes,
whose terms are the rows' own).

What could be one kernel is where the cost model finds that it saves more than it costs (`groups`, `fusion_costs`).

Acyclic by construction: every kernel has a stage, and a node joins a kernel only if every operand is readable inside
it or stored by a kernel of an earlier stage. A kernel that no other reads yet moves to a later stage for a scalar, as
the update of a state does for a bias correction. One pass, linear in the graph.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Leaf, Routine
from graphc.graph.types import Shape
from graphc.ops.control import Control, Project
from graphc.ops.cumulative import Cumulative, LinearRecurrence
from graphc.ops.indexing import Gather, Offset, Scatter
from graphc.ops.linalg import MatMul, MatMulAdd, MatMulSum, MatMulUpdate
from graphc.ops.pointwise import Pointwise
from graphc.ops.reduction import Reduction
from graphc.passes.schedule.frame import Framed
from graphc.passes.schedule.fusion_costs import IN_TURNS, Expression
from graphc.passes.schedule.groups import Cluster, Fusion, Group, has_frames
from graphc.passes.schedule.kernels import ACCUMULATED, INNER, OUTER, TOTAL, Cut, Kernel, Schedule
from graphc.passes.schedule.layout import COPY, Access, accesses_of, base_strides, is_inline
from graphc.passes.schedule.options import EVERYTHING, Options
from graphc.passes.updates.scatters import late_scatters

if TYPE_CHECKING:
    pass

MAX_INLINE_DEPTH = 8
NO_PARTS: Mapping[Node, int] = MappingProxyType({})


def squeezed(shape: Shape) -> Shape:
    """Drop the literal 1s: they neither loop nor stride."""
    return shape if 1 not in shape else tuple(s for s in shape if s != 1)


def squeeze_strides(strides: Shape, shape: Shape) -> Shape:
    """Keep the strides of the axes that `squeezed` keeps."""
    return tuple(s for s, n in zip(strides, shape, strict=True) if n != 1)


def iteration_space(node: Node) -> Shape:
    """Return the axes a node's loop runs over: a reduction's are its operand's."""
    return squeezed(node.inputs[0].shape if isinstance(node.op, Reduction) else node.shape)


def row_split(shape: Shape, axes: Sequence[int]) -> int | None:
    """Return how many squeezed axes stay before a reduction over trailing axes, or None for other axes."""
    live = [i for i, s in enumerate(shape) if s != 1]
    kept = [i for i in live if i not in axes]
    return len(kept) if live[: len(kept)] == kept else None


def at_hand(access: Access, x: Node, found: str, level: str) -> bool:
    """Tell whether the element of `x` that a value of `level` needs is the variable of its base, of level `found`."""
    base = access.base
    if x is base and found == level:
        return True
    strides = squeeze_strides(access.strides, x.shape)
    own = squeeze_strides(base_strides(base), base.shape)
    if access.offset != 0:
        return False
    if found == level:
        return strides == own and squeezed(x.shape) == squeezed(base.shape)
    if (found, level) != (OUTER, INNER):
        return False
    return strides == own + (0,) * (len(strides) - len(own)) and len(strides) >= len(own)


def fuse(graph: Graph, options: Options = EVERYTHING, part: Mapping[Node, int] = NO_PARTS) -> Schedule:
    """Partition the computed nodes of `graph` into kernels; `order` says when each runs.

    Values of different `part` (0 where it says nothing) are in different kernels.

    before: `%2 = multiply(%0, %1)`, `%3 = sum[axes=(1,)](%2)`
    after: `kernel 0: loop over [n,m] rows of m: %2 multiply, %3 sum -> %3`
    """
    fuser = _Fuser(graph, options, part)
    for node in graph.nodes:
        fuser.visit(node)
    return fuser.schedule()


class _Fuser:
    """One walk in topological order.

    A value with a single direct use waits for its user (`pending`), so that it is computed where it is needed
    and not stored where its operands happen to be; a value with several uses is placed with all that wait
    for it.
    """

    def __init__(self, graph: Graph, options: Options, part: Mapping[Node, int]) -> None:
        self.graph = graph
        self.part = part
        self.options = options
        self.joins, self.inlines = options.uses("fuse"), options.uses("inline_scalars")
        self.accesses = accesses_of(graph)
        self.groups: list[Group] = []
        self.home: dict[Node, Group] = {}
        self.pending: dict[Node, Cluster] = {}
        self.refused: list[tuple[Node, Node, str]] = []
        self.readers: dict[tuple[int, Shape, Node], Group] = {}
        self.kept = set(graph.outputs)
        self.late = late_scatters(graph)
        self.updated = frozenset(graph.updates)
        self.chains: dict[Node, Node] = {}
        self.inline: dict[Node, int] = {}
        self.fusion = Fusion(graph, self.accesses, self.kept, self.home)

    # -- placing

    def visit(self, node: Node) -> None:
        """Place a node, or let it wait for its only user."""
        op = node.op
        if isinstance(op, Leaf) or is_inline(op) or self.accesses[node].base is not node or self._inlines(node):
            return
        if isinstance(op, Project):
            self._join(self.home[node.inputs[0]], {node: INNER}, None)
            return
        if isinstance(op, (Scatter, Offset)):
            self._place_scatter(node)
            return
        if not isinstance(op, (Pointwise, Gather, Reduction, Framed)):
            self._join(self._open(_kind(node), [node], squeezed(node.shape)), {node: INNER}, None)
            return
        cluster = self._cluster(node)
        if self._may_wait(node, cluster.nodes) and self.fusion.may_grow(cluster):
            self.pending[node] = cluster
        else:
            self._place(cluster)

    def _cluster(self, node: Node) -> Cluster:
        """Return a node with those that wait for it."""
        parts = [self.pending.pop(x) for x in node.inputs if x in self.pending]
        cluster = parts[0] if parts else Cluster()
        for part in parts[1:]:
            cluster.absorb(part)
        cluster.add(node, self.fusion.operands(node))
        return cluster

    def _inlines(self, node: Node) -> bool:
        """Note a scalar that depends on sizes and literal numbers only, unless its expression grows deep."""
        if node.shape or not isinstance(node.op, Pointwise) or node.op is COPY or node in self.kept or not self.inlines:
            return False
        bases = [self.accesses[x].base for x in node.inputs]
        if not all(is_inline(b.op) or b in self.inline for b in bases):
            return False
        depth = 1 + max((self.inline.get(b, 0) for b in bases), default=0)
        if depth <= MAX_INLINE_DEPTH:
            self.inline[node] = depth
        return depth <= MAX_INLINE_DEPTH

    def _may_wait(self, node: Node, cluster: list[Node]) -> bool:
        user = self.graph.only_user(node)
        if isinstance(node.op, Reduction) or user is None or node in self.kept or not self.joins:
            return False
        if isinstance(user.op, Scatter):
            return user.inputs[1] is node and all(x is not node for x in user.inputs[2:])
        # Frames divide the loops of a kernel, which rows do as well: never both.
        kinds = (Pointwise,) if has_frames(cluster) else (Pointwise, Reduction)
        if not isinstance(user.op, kinds) or is_inline(user.op) or user.inputs[0].shape != node.shape:
            return False
        return user.shape == node.shape or iteration_space(user) == squeezed(node.shape)

    def _place(self, cluster: Cluster) -> None:
        nodes = cluster.nodes
        root = nodes[-1]
        space = iteration_space(root)
        split = row_split(root.inputs[0].shape, root.op.axes) if isinstance(root.op, Reduction) else None
        for group in self._candidates(nodes, space):
            found = self._levels(group, cluster, space, split)
            if not isinstance(found, str):
                self._join(group, found[0], split, found[1])
                return
            read = next((b for n in nodes for b in self.fusion.operands(n) if b in group.levels), None)
            if read is not None:
                self.refused.append((root, read, found))
        levels = dict.fromkeys(nodes, INNER) | {root: _root_level(root, INNER, split)}
        self._join(self._open("loop", nodes, space), levels, split, cluster.expression)

    def _place_scatter(self, node: Node) -> None:
        """Place a scatter, with the values that wait for it unless they read what it, or an update, may write into."""
        waiting = self.pending.pop(node.inputs[1], Cluster()) if isinstance(node.op, Scatter) else Cluster()
        cluster = waiting.nodes
        target = node.inputs[0]
        first = self.chains[node] = self.chains.get(target, self.accesses[target].base)
        read = {self.accesses[x].base for n in cluster for x in n.inputs}
        written = any(self.chains.get(b, b) is first for b in read) or (node in self.late and self.updated & read)
        indexed = [x for n in cluster if isinstance(n.op, Gather) for x in n.inputs[1:]]
        # Indices are checked before anything is written: they must be in memory.
        if written or has_frames(cluster) or any(self.accesses[x].base in cluster for x in indexed):
            self._place(waiting)
            cluster = []
        members = [*cluster, node]
        self._join(self._open("scatter", members, squeezed(node.inputs[1].shape)), dict.fromkeys(members, INNER), None)

    def _candidates(self, cluster: list[Node], space: Shape) -> list[Group]:
        """Return the kernels of the operands, latest first, then those that read the same operands."""
        if not self.joins:
            return []
        bases = dict.fromkeys(self.accesses[x].base for n in cluster for x in n.inputs)
        part = self.part.get(cluster[-1], 0)
        homes = sorted({self.home[b] for b in bases if b in self.home}, key=lambda g: (-g.stage, -g.index))
        homes = self._merged([g for g in homes if g.kind == "loop" and g.part == part], bases)
        siblings = [self.readers[part, space, b] for b in bases if (part, space, b) in self.readers]
        return [g for g in (*homes, *siblings) if g.kind == "loop"]

    def _merged(self, homes: list[Group], bases: Iterable[Node]) -> list[Group]:
        """Merge the latest kernels where they run over the same axes: within one stage no path connects them."""
        if len(homes) < 2:
            return homes
        first, rest = homes[0], []
        for group in homes[1:]:
            same = group.stage == first.stage and group.space == first.space
            splits = {first.split, group.split} - {None}
            rows = bool(splits) and (first.framed or group.framed)
            if same and len(splits) < 2 and not rows and self.fusion.may_merge(first, group, bases):
                self._absorb(first, group)
            else:
                rest.append(group)
        return [first, *rest]

    def _absorb(self, group: Group, other: Group) -> None:
        group.split = other.split if group.split is None else group.split
        group.levels.update(other.levels)
        group.framed = group.framed or other.framed
        group.expression.absorb(other.expression)
        group.reads.update(other.reads)
        group.read |= other.read
        for node in other.levels:
            self.home[node] = group
        for base in other.reads:
            if self.readers.get((other.part, other.space, base)) is other:
                self.readers[other.part, other.space, base] = group
        other.levels = {}

    def _levels(
        self, group: Group, cluster: Cluster, space: Shape, split: int | None
    ) -> tuple[dict[Node, str], Expression] | str:
        """Return the levels of a cluster's nodes in a kernel, and its expression with them, or why they stay apart."""
        root = cluster.nodes[-1]
        level = INNER if space == group.space else OUTER
        outer = group.split is not None and space == group.space[: group.split]
        if level == OUTER and (not outer or isinstance(root.op, Reduction)):
            return f"it runs over [{','.join(map(str, space))}], not [{','.join(map(str, group.space))}]"
        total = split == 0 and bool(group.split) and level == INNER and root.op.name not in ("argmax", "argmin")
        if split is not None and group.split not in (None, split) and not total:
            return "it reduces other axes"
        if {split, group.split} != {None} and (group.framed or has_frames(cluster.nodes)):
            return "rows are reduced beside parts inside zeros"
        levels: dict[Node, str] = {}
        for node in cluster.nodes:
            for i, x in enumerate(node.inputs):
                if not self._reads(group, levels, node, i, level):
                    here = self.accesses[x].base in group.levels
                    return f"%{self.graph.index[x]} {'is read at other places' if here else 'comes after it'}"
            levels[node] = (
                TOTAL if total and node is root else _root_level(node, level, split) if node is root else level
            )
        joined = self.fusion.join(group, cluster, once_a_row=level == OUTER)
        return (levels, joined) if isinstance(joined, Expression) else str(joined)

    def _reads(self, group: Group, placed: dict[Node, str], node: Node, position: int, level: str) -> bool:
        """Tell whether a kernel can read one operand where it computes `node`."""
        x = node.inputs[position]
        base = self.accesses[x].base
        found = placed.get(base) or group.levels.get(base)
        if found is None:
            earlier = base not in self.home or self.home[base].stage < group.stage
            return earlier or (not base.shape and not group.read and group.split is None)
        if isinstance(node.op, Framed) or (isinstance(node.op, Gather) and (position == 0 or x.shape != node.shape)):
            return False
        return at_hand(self.accesses[x], x, found, level)

    # -- bookkeeping

    def _open(self, kind: str, cluster: list[Node], space: Shape) -> Group:
        homes = [self.home.get(self.accesses[x].base) for n in cluster for x in n.inputs]
        stage = max((g.stage + 1 for g in homes if g is not None), default=0)
        group = Group(len(self.groups), stage, kind, space, part=self.part.get(cluster[-1], 0))
        self.groups.append(group)
        return group

    def _join(
        self, group: Group, levels: dict[Node, str], split: int | None, expression: Expression | None = None
    ) -> None:
        group.add(levels, expression)
        if split is not None and TOTAL not in levels.values():
            group.split = split
        for node in levels:
            self.home[node] = group
            for x in node.inputs:
                base = self.accesses[x].base
                if base not in group.levels and not is_inline(base.op) and base not in self.inline:
                    group.reads[base] = None
                    self._follow(group, base)
                    if base.shape:
                        self.readers[group.part, group.space, base] = group

    def _follow(self, group: Group, base: Node) -> None:
        """Note that a kernel reads a value of another, and so runs after it."""
        if base in self.home:
            self.home[base].read = True
            group.stage = max(group.stage, self.home[base].stage + 1)

    # -- the result

    def schedule(self) -> Schedule:
        """Return the kernels in the order in which they were made, which need not be one to run them in."""
        groups = [g for g in self.groups if g.levels]
        stored = {b for g in groups for b in g.reads}
        stored |= {self.accesses[o].base for o in self.graph.outputs}
        interleave = self.options.uses("interleave")
        kernels = [_finished(g, stored, interleave) for g in groups]
        cuts, inline = self._cuts(groups), frozenset(self.inline)
        return Schedule(self.graph, tuple(kernels), self.accesses, inline, cuts, options=self.options)

    def _cuts(self, groups: list[Group]) -> tuple[Cut, ...]:
        """Return why readers are apart from what they read, once for two kernels."""
        number = {g: i for i, g in enumerate(groups)}
        reasons: dict[tuple[int, int], str] = {}
        for root, read, reason in self.refused:
            reader, earlier = number[self.home[root]], number[self.home[read]]
            if reader != earlier:
                reasons.setdefault((reader, earlier), reason)
        return tuple(Cut(*pair, reason) for pair, reason in reasons.items())


def _kind(node: Node) -> str:
    if isinstance(node.op, Routine):
        return node.op.name
    kinds: dict[type, str] = {Cumulative: "cumulative", LinearRecurrence: "cumulative", Scatter: "scatter"}
    kinds |= dict.fromkeys((MatMul, MatMulAdd, MatMulSum, MatMulUpdate), "matmul")
    return "control" if isinstance(node.op, Control) else kinds.get(type(node.op), "assembly")


def _finished(group: Group, stored: Container[Node], interleave: bool) -> Kernel:
    members = tuple(n for n in group.levels if n in stored)
    turns = group.expression.turns if interleave else IN_TURNS
    return Kernel(group.kind, tuple(group.levels), group.space, group.split, group.levels, members, turns)


def _root_level(node: Node, level: str, split: int | None) -> str:
    if not isinstance(node.op, Reduction):
        return level
    return ACCUMULATED if split is None else OUTER
