"""Parts inside zeros (the derivative of a slice, a padded value) as values that fused kernels compute.

An `unslice` of its own fills an array with zeros and copies its operand into it. A `Framed` value is the same value
as a member of a loop kernel: inside its region an expression of what is in memory, 0 outside. So a step of a
stencil, or the derivative of one, reads its arrays once and stores nothing but its result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from graphc.graph.graph import Graph, rebuild
from graphc.graph.node import Node
from graphc.graph.op import Op, apply, inside_node
from graphc.graph.types import Array, Shape, Size, TensorType
from graphc.ops.cost import is_expensive
from graphc.ops.pointwise import Pointwise
from graphc.ops.shape import Unslice, as_ints
from graphc.passes.loops.regions import map_bodies

MAX_FRAME_OPS = 8
"""Operations inside a frame: each frame computes its own, also where several frames hold the same value."""


@dataclass(frozen=True, eq=False)
class Framed(Op):
    """Zeros of `shape` with, from `starts` on, the values of `body` at each element of the operands.

    `body` is a graph of scalars: one placeholder an operand, one output. Made by `frame` after all other passes.
    """

    name = "framed"
    shape: Shape
    starts: Shape
    region: Shape
    body: Graph = field(repr=False)

    def __str__(self) -> str:
        shown = ", ".join(str(n.op) for n in self.body.nodes if n not in self.body.inputs)
        return f"{super().__str__()}{{{shown}}}"

    def sizes(self) -> Iterable[Size]:
        return self.shape + self.starts + self.region

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.body.outputs[0].dtype, self.shape)

    def evaluate(self, *arrays: Array) -> Array:
        known = dict(zip(self.body.inputs, arrays, strict=True))
        for node in self.body.nodes:
            if node not in known:
                known[node] = node.op.evaluate(*(known[x] for x in node.inputs))
        value = known[self.body.outputs[0]]
        out = np.zeros(as_ints(self.shape), value.dtype)
        out[tuple(slice(s, s + n) for s, n in zip(as_ints(self.starts), as_ints(self.region), strict=True))] = value
        return out


def frame(graph: Graph) -> Graph:
    """Make a laid-out graph's unslices members of the kernels around them, where their steps are 1.

    before: `%2 = multiply(%0, %1)`, `%3 = unslice[shape=(n), starts=(1), steps=(1)](%2)`, `%4 = add(%3, %5)`
    after: `%3 = framed[shape=(n), starts=(1), region=(-2 + n)]{multiply}(%0, %1)`, `%4 = add(%3, %5)`
    """
    graph = map_bodies(graph, frame)
    if not any(isinstance(n.op, Unslice) for n in graph.nodes):
        return graph
    new: dict[Node, Node] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        framed = _framed(graph, node, new) if isinstance(node.op, Unslice) else None
        new[node] = rebuild(node, inputs) if framed is None else framed
        return new[node]

    return graph.map(visit)[0]


def _framed(graph: Graph, node: Node, new: dict[Node, Node]) -> Node | None:
    """Return an unslice as a framed value, or None where its steps or an axis of size 1 forbid it."""
    op, x = node.op, node.inputs[0]
    assert isinstance(op, Unslice)
    thin = any(full == 1 and part != 1 for full, part in zip(op.shape, x.shape, strict=True))
    if any(step != 1 for step in op.steps) or thin or all(n == 1 for n in op.shape):
        return None
    chain = _chain(graph, x)
    operands = dict.fromkeys(y for n in chain for y in n.inputs if y not in chain) if chain else {x: None}
    scalars = {y: inside_node(f"x{i}", TensorType(y.dtype, ())) for i, y in enumerate(operands)}
    body_inputs = list(scalars.values())
    for n in chain:
        scalars[n] = apply(n.op, *(scalars[y] for y in n.inputs))
    body = Graph([scalars[x]], body_inputs)
    framed = Framed(op.shape, op.starts, x.shape, body)
    return Node(framed, tuple(new[y] for y in operands), node.type, node.source, node.guards)


def _chain(graph: Graph, x: Node) -> list[Node]:
    """Return the cheap operations that make `x` for unslices alone, operands first; empty for a value to read."""
    found: set[Node] = set()
    stack = [x]
    while stack:
        node = stack.pop()
        if node not in found and _is_private(graph, node, found) and len(found) < MAX_FRAME_OPS:
            found.add(node)
            stack.extend(node.inputs)
    return sorted(found, key=graph.index.__getitem__)


def _is_private(graph: Graph, node: Node, chain: set[Node]) -> bool:
    if not isinstance(node.op, Pointwise) or is_expensive(node) or node in graph.output_counts:
        return False
    return all(isinstance(u.op, Unslice) or u in chain for u in graph.dag.successors(node))
