"""What a later loop needs of the carries that an earlier one stacked for it, where that is less than the carries.

An adjoint reads what the forward steps received. Where all that its steps make of a carry alone is a part of it, or a
sum (`log(c[k])` of a table `c`), the forward loop can make it at the same step and stack that in place of the carry:
memory then grows with the parts, not with the table times the steps.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Constant
from graphc.graph.types import Atom, Dim, Extremum, Size, sum_sizes
from graphc.ops.control import Control, Project, Scan
from graphc.ops.cost import no_larger
from graphc.ops.creation import Iota
from graphc.ops.pointwise import DimValue

Place = tuple[Node, Node]
"""A loop, and a value of its body."""


def parts_of_received(loop: Node, loops: Container[Node], kept: Container[Node]) -> dict[Node, Place]:
    """Return values of a body that an earlier loop should stack in place of carries, each with that loop's own.

    `loops` are the earlier ones over the same steps; what is `kept` of the body comes from elsewhere.
    """
    op = loop.op
    assert isinstance(op, Scan)
    found: dict[Node, Place] = {}
    owners: dict[Node, dict[Node, Node]] = {}
    for position in range(op.carries, op.carries + op.sequences):
        outer = loop.inputs[position]
        if isinstance(outer.op, Project) and outer.inputs[0] in loops:
            owner = outer.inputs[0]
            assert isinstance(owner.op, Scan)
            kind, i = owner.op.results[outer.op.index]
            if kind == "carry":
                owners.setdefault(owner, {})[op.body.inputs[position]] = owner.op.body.inputs[i]
    live = _live(op.body, kept)
    for owner, received in owners.items():
        found |= _Parts(loop, owner, received, live).found()
    return found


def _live(body: Graph, kept: Container[Node]) -> list[Node]:
    """Return the nodes of a body that its outputs need, where some are kept."""
    needed = set(body.outputs)
    for node in reversed(body.nodes):
        if node in needed and node not in kept:
            needed |= set(node.inputs)
    return [n for n in body.nodes if n in needed and n not in kept]


class _Parts:
    """The cut between what one earlier loop can compute, and what only the later one can."""

    def __init__(self, loop: Node, owner: Node, received: dict[Node, Node], live: list[Node]) -> None:
        op, first = loop.op, owner.op
        assert isinstance(op, Scan) and isinstance(first, Scan)
        self.body, self.owner, self.received, self.live = op.body, owner, received, live
        known = dict(zip(owner.inputs[first.carries :], first.body.inputs[first.carries :], strict=True))
        split = op.carries + op.sequences, first.carries + first.sequences
        elements = {x for x in first.body.inputs[first.carries : split[1]]}
        self.there: dict[Node, Node] = dict(received)
        """The nodes that the earlier loop can compute, each with what stands for it there."""
        for position, x in enumerate(op.body.inputs[op.carries :], start=op.carries):
            same = known.get(loop.inputs[position])
            if same is not None and (same in elements) == (position < split[0]):
                self.there.setdefault(x, same)
        self.cuts: dict[Node, frozenset[Node]] = {x: frozenset({x}) for x in received}

    def found(self) -> dict[Node, Place]:
        """Return the values to stack, where they are surely fewer than the carries they stand for."""
        movable = [n for n in self.live if self._moves(n)]
        inside = {*movable, *self.received}
        users = {x: n for n in self.live for x in n.inputs if n not in inside}
        ends = [n for n in inside if n in users or n in self.body.outputs]
        wanted = frozenset[Node]().union(*(self.cuts[n] for n in ends if n in self.cuts))
        spared = [x for x in self.received if x not in wanted]
        chosen = [n for n in movable if n in wanted and self._sources(n) <= set(spared)]
        if not spared or not _fewer(chosen, spared):
            return {}
        return {n: (self.owner, self.there[n]) for n in chosen}

    def _moves(self, node: Node) -> bool:
        """Tell whether the earlier loop can compute a node; note how, and the smallest values that it is made of."""
        if node in self.there:
            return False
        if isinstance(node.op, (Constant, Iota, DimValue)):
            self.there[node] = node
            return False
        if not node.inputs or isinstance(node.op, (Control, Project)) or any(x not in self.there for x in node.inputs):
            return False
        inputs = tuple([self.there[x] for x in node.inputs])
        self.there[node] = Node(node.op, inputs, node.type, node.source, node.guards)
        below = frozenset[Node]().union(*(self.cuts.get(x, frozenset()) for x in node.inputs))
        if not below:
            return False  # of what both loops have: computed again
        self.cuts[node] = frozenset({node}) if _fewer([node], below) else below
        return True

    def _sources(self, node: Node) -> set[Node]:
        """Return the carries that a value is made of."""
        return self.body.ancestors([node]) & self.received.keys()


def _fewer(some: Iterable[Node], others: Iterable[Node]) -> bool:
    """Tell whether values have fewer elements than others: a number of them, that is, where those have a named one."""
    left, right = list(some), list(others)
    most = [_most(n.size) for n in left]
    total = sum_sizes(n.size for n in right)
    if None not in most:
        return not isinstance(total, int) or sum(m for m in most if m is not None) < total
    return no_larger(left, right) and not no_larger(right, left)


def _most(size: Size) -> int | None:
    """Return a number that a size is at most: `x[:3]` has at most three rows. None where there is none."""
    total = 0
    for monomial, factor in size.terms if isinstance(size, Dim) else [((), size)]:
        limits = [_limit(atom) for atom in monomial]
        if factor < 0 or None in limits:
            return None
        total += factor * math.prod(limit for limit in limits if limit is not None)
    return total


def _limit(atom: Atom) -> int | None:
    if not isinstance(atom, Extremum):
        return None
    known = [m for m in (_most(atom.left), _most(atom.right)) if m is not None]
    if atom.kind == "min":
        return min(known, default=None)
    return max(known) if len(known) == 2 else None
