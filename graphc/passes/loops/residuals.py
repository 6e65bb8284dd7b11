"""Keep what a later loop over the same steps would compute again.

The adjoint of a scan needs values of the forward steps. As built, its body computes them again from the carries that
the forward loop stacked. Here the two bodies are compared, value by value; what both compute and what is dear
(a matrix product, an exponential) is stacked by the first loop and read by the second.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Placeholder
from graphc.graph.types import Size
from graphc.ops.control import Project, Scan, project
from graphc.ops.cost import frontier
from graphc.passes.loops.received import Place, parts_of_received


def store_residuals(graph: Graph) -> Graph:
    """Stack, in the first of two loops over the same steps, the dear values that the second computes again.

    before: `%2 = scan[length=t, body of 5 nodes](%0, %1)`, `%4 = scan[length=t, reverse, body of 9 nodes](%3, %2)`
    after: the body of `%2` returns its product too, and that of `%4` has a sequence in its place
    """
    loops = [n for n in graph.nodes if isinstance(n.op, Scan)]
    if len(loops) < 2:
        return graph
    stored: dict[Node, list[Node]] = {loop: [] for loop in loops}
    earlier: dict[Size, _Values] = {}
    taken: dict[Node, dict[Node, Place]] = {}
    for loop in loops:
        assert isinstance(loop.op, Scan)
        same = earlier.setdefault(loop.op.length, _Values())
        taken[loop] = _taken(loop, same, stored)
        same.add(loop)
    rebuilt: dict[Node, _Rebuilt] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node not in stored or not (stored[node] or taken[node]):
            return None
        assert isinstance(node.op, Scan)
        rebuilt[node] = _Rebuilt(node, node.op, inputs, stored[node], taken[node], rebuilt)
        return rebuilt[node].node

    return graph.map(visit)[0]


def _taken(loop: Node, earlier: _Values, stored: dict[Node, list[Node]]) -> dict[Node, Place]:
    """Choose the values of a body that it takes from earlier loops, and note there what is to be stacked."""
    op = loop.op
    assert isinstance(op, Scan)
    found = earlier.find(loop) if earlier.inside else {}
    wanted = {n: found[n] for n in frontier(op.body, found)}
    wanted |= parts_of_received(loop, earlier.inside, wanted)
    for owner, value in wanted.values():
        if value not in stored[owner]:
            stored[owner].append(value)
    return wanted


class _Values:
    """Numbers for the values of several bodies: equal numbers are equal values at every step."""

    def __init__(self) -> None:
        self.numbers: dict[object, int] = {}
        self.owner: dict[int, Place] = {}
        self.inside: dict[Node, dict[Node, int]] = {}

    def add(self, loop: Node) -> None:
        """Let later loops find the values of a loop's body."""
        self.inside[loop] = numbers = self._number(loop)
        assert isinstance(loop.op, Scan)
        for node in loop.op.body.nodes:
            if node.inputs and node in numbers:
                self.owner.setdefault(numbers[node], (loop, node))

    def find(self, loop: Node) -> dict[Node, Place]:
        """Return the values of a loop's body that an earlier body computes too."""
        assert isinstance(loop.op, Scan)
        numbers = self._number(loop)
        places = {n: self.owner.get(numbers[n]) for n in loop.op.body.nodes if n.inputs and n in numbers}
        return {n: place for n, place in places.items() if place is not None}

    def _number(self, loop: Node) -> dict[Node, int]:
        op = loop.op
        assert isinstance(op, Scan)
        found: dict[Node, int] = {}
        for i, x in enumerate(op.body.inputs):
            found[x] = self._input(loop, op, i)
        for node in op.body.nodes:
            if node not in found:
                found[node] = self._next((node.op, tuple(found[x] for x in node.inputs)))
        return found

    def _next(self, key: object) -> int:
        return self.numbers.setdefault(key, len(self.numbers))

    def _input(self, loop: Node, op: Scan, position: int) -> int:
        """Number a body's input: by what it received, or by the earlier loop's value that it is a stack of."""
        if position < op.carries:
            return self._next(("carry", loop, position))
        outer = loop.inputs[position]
        if position < op.carries + op.sequences and isinstance(outer.op, Project):
            several = outer.inputs[0]
            if several in self.inside:
                assert isinstance(several.op, Scan)
                kind, i = several.op.results[outer.op.index]
                body = several.op.body
                if kind != "final":
                    value = body.inputs[i] if kind == "carry" else body.outputs[several.op.carries + i]
                    return self.inside[several][value]
        return self._next(("outer" if position >= op.carries + op.sequences else "element", outer))


@dataclass
class _Rebuilt:
    """A loop with more stacked results, whose body takes some of its values from other loops."""

    old: Node
    op: Scan
    inputs: tuple[Node, ...]
    stored: list[Node]
    taken: dict[Node, Place]
    others: dict[Node, _Rebuilt]
    node: Node = field(init=False)

    def __post_init__(self) -> None:
        op, body = self.op, self.op.body
        fresh = {n: Node(Placeholder(f"kept{i}", n.type), (), n.type, n.source) for i, n in enumerate(self.taken)}
        swapped, _ = Graph([*body.outputs, *self.stored]).replace(fresh)
        count = op.carries + op.sequences
        places = [*body.inputs[:count], *fresh.values(), *body.inputs[count:]]
        extra = [self.others[owner].stack(value) for owner, value in self.taken.values()]
        operands = (*self.inputs[:count], *extra, *self.inputs[count:])
        first = len(body.outputs) - op.carries
        results = (*op.results, *(("stacked", first + i) for i in range(len(self.stored))))
        new_body = Graph(swapped.outputs, places, guards=body.guards)
        new = replace(op, body=new_body, sequences=op.sequences + len(extra), results=results)
        self.node = Node(new, operands, new.infer(*(x.type for x in operands)), self.old.source, self.old.guards)

    def stack(self, value: Node) -> Node:
        """Return all the steps' values of a node of the body."""
        return project(self.node, len(self.op.results) + self.stored.index(value))
