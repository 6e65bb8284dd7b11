"""Move matrix products out of loops, where one large product replaces many small ones.

Two forms. A product of values that do not depend on the carries (the input projection of an RNN) is computed for all
steps before the loop, and its rows become a sequence. A carry that only adds up products (the weight gradient of an
adjoint loop) is computed after the loop, from the stacked factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.errors import blame
from graphc.graph import Graph
from graphc.node import Node
from graphc.ops.base import Constant, Placeholder, apply
from graphc.ops.control import Project, Result, Scan, project
from graphc.ops.elementwise import ADD
from graphc.ops.linalg import MatMul
from graphc.ops.pointwise import Broadcast, Cast, Elementwise, broadcast, pointwise
from graphc.ops.shape import PermuteDims, Reshape, Squeeze
from graphc.types import TensorType


def hoist(graph: Graph) -> Graph:
    """Move products that do not depend on the carries before their loop, and sums of products behind it.

    before: `%4 = scan[length=t, body of 9 nodes](%0, %1, %2, %3)`
    after: `%4 = matmul(%1, %3)`, `%5 = scan[length=t, body of 7 nodes](%0, %4, %2)`
    """
    if not any(isinstance(n.op, Scan) for n in graph.nodes):
        return graph
    loops: dict[Node, _Loop] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if isinstance(node.op, Scan):
            with blame(node.source):
                loops[node] = _Loop(node, node.op, inputs)
                return loops[node].node
        if isinstance(node.op, Project) and node.inputs[0] in loops:
            with blame(node.source):
                return loops[node.inputs[0]].result(node.op.index)
        return None

    return graph.map(visit)[0]


@dataclass
class _Product:
    """One product that a carry adds up: its factors in the body."""

    carry: int
    left: Node
    right: Node


class _Loop:
    """The hoisted form of one scan; `result` gives what its projections become."""

    def __init__(self, node: Node, op: Scan, inputs: Sequence[Node]) -> None:
        self.op, self.inputs = op, inputs
        self.lifted = self._lift()
        before = self._before()
        body = op.body
        extra = [self._inside(f"rows{i}", m.type) for i, m in enumerate(before)]
        count = op.carries + op.sequences
        swapped, names = Graph(body.outputs, body.inputs).replace(dict(zip(before, extra, strict=True)))
        self.names = names
        outputs = list(swapped.outputs)
        self.products = self._sums_of_products(swapped)
        for product in self.products:
            outputs[product.carry] = _without(outputs[product.carry], product)
        self.stacks = self._factors(body)
        outputs += [names.get(f, f) for f in self.stacks]
        places = [("stacked", len(body.outputs) - op.carries + i) for i in range(len(self.stacks))]
        new_inputs = [*body.inputs[:count], *extra, *body.inputs[count:]]
        self.results: tuple[Result, ...] = (*op.results, *places)
        self.body = Graph(outputs, new_inputs, guards=body.guards)
        new = replace(
            op,
            body=self.body,
            sequences=op.sequences + len(extra),
            results=self.results,
        )
        operands = (*inputs[:count], *(self.lifted[m] for m in before), *inputs[count:])
        types = [x.type for x in operands]
        self.node = Node(new, operands, new.infer(*types), node.source, node.guards)

    def _inside(self, name: str, type_: TensorType) -> Node:
        return Node(Placeholder(name, type_), (), type_, ("<scan>", 0))

    # -- before the loop

    def _lift(self) -> dict[Node, Node]:
        """Return, for values that do not depend on the carries, the same values for all steps along axis 0."""
        op, found = self.op, dict[Node, Node]()
        count = op.carries + op.sequences
        self.outer = dict(zip(op.body.inputs[count:], self.inputs[count:], strict=True))
        found |= zip(op.body.inputs[op.carries : count], self.inputs[op.carries : count], strict=True)
        for node in op.body.nodes:
            if not node.inputs and isinstance(node.op, Constant):
                self.outer[node] = node
            elif node.inputs and all(x in self.outer for x in node.inputs):
                self.outer[node] = Node(
                    node.op, tuple(self.outer[x] for x in node.inputs), node.type, node.source, node.guards
                )
            elif node.inputs and all(x in found or x in self.outer for x in node.inputs):
                value = self._for_all_steps(node, found)
                if value is not None:
                    found[node] = value
        return found

    def _for_all_steps(self, node: Node, found: dict[Node, Node]) -> Node | None:
        op, length = node.op, self.op.length
        if isinstance(op, (Elementwise, Cast)):
            operands = [found[x] if x in found else self._repeated(x) for x in node.inputs]
            return apply(op, *operands)
        x = node.inputs[0]
        if x not in found:
            return None
        if isinstance(op, Broadcast):
            return apply(Broadcast((length, *op.shape), (0, *(a + 1 for a in op.axes))), found[x])
        if isinstance(op, PermuteDims):
            return apply(PermuteDims((0, *(a + 1 for a in op.axes))), found[x])
        if isinstance(op, Squeeze):
            return apply(Squeeze(tuple(a + 1 for a in op.axes)), found[x])
        if isinstance(op, Reshape):
            return apply(Reshape((length, *op.shape)), found[x])
        if isinstance(op, MatMul) and node.inputs[1] in self.outer and x.ndim == 2:
            rows = apply(Reshape((length * x.shape[0], x.shape[1])), found[x])
            product = apply(MatMul(), rows, self.outer[node.inputs[1]])
            return apply(Reshape((length, *node.shape)), product)
        return None

    def _repeated(self, x: Node) -> Node:
        return broadcast(self.outer[x], (self.op.length, *x.shape), tuple(range(1, x.ndim + 1)))

    def _before(self) -> list[Node]:
        """Return the products to compute before the loop."""
        return [n for n in self.op.body.nodes if isinstance(n.op, MatMul) and n in self.lifted]

    # -- after the loop

    def _sums_of_products(self, body: Graph) -> list[_Product]:
        """Find the carries that no step reads but to add to them, and the products that they add."""
        found: list[_Product] = []
        seen = {i for kind, i in self.op.results if kind == "carry"}
        for i, carry in enumerate(body.inputs[: self.op.carries]):
            leaves = _addends(body, body.outputs[i], carry)
            if i in seen or leaves is None:
                continue
            matrices = [n for n in leaves if isinstance(n.op, MatMul) and n.ndim == 2 and len(body.users[n]) == 1]
            found += [_Product(i, n.inputs[0], n.inputs[1]) for n in matrices]
        return found

    def _factors(self, body: Graph) -> list[Node]:
        """Return the factors that the loop must stack, in terms of the hoisted body."""
        self.known = {self.names.get(old, old): stack for old, stack in self.lifted.items()}
        wanted = [f for p in self.products for f in (_untransposed(p.left)[0], p.right)]
        return [f for f in dict.fromkeys(wanted) if f not in self.known]

    def _stack(self, factor: Node) -> Node:
        if factor in self.known:
            return self.known[factor]
        first = len(self.op.results)
        return project(self.node, first + self.stacks.index(factor))

    def result(self, index: int) -> Node:
        """Return the node that stands for one result of the loop as it was."""
        kind, i = self.op.results[index]
        unchanged = kind == "final" and self.body.outputs[i] is self.body.inputs[i]
        out = self.inputs[i] if unchanged else project(self.node, index)
        for product in self.products if kind == "final" else ():
            if product.carry == i:
                out = pointwise(ADD, out, self._total(product))
        return out

    def _total(self, product: _Product) -> Node:
        """Return the sum over all steps as one product of matrices whose inner axis runs over the steps too."""
        base, transposed = _untransposed(product.left)
        left, right = self._stack(base), self._stack(product.right)
        steps, inner, columns = right.shape
        if transposed:
            rows = apply(Reshape((steps * inner, base.shape[1])), left)
            flat = apply(PermuteDims((1, 0)), rows)
        else:
            flat = apply(Reshape((base.shape[0], steps * inner)), apply(PermuteDims((1, 0, 2)), left))
        return apply(MatMul(), flat, apply(Reshape((steps * inner, columns)), right))


def _untransposed(node: Node) -> tuple[Node, bool]:
    """Return what a transposed matrix is the transpose of, and whether it is one."""
    if isinstance(node.op, PermuteDims) and node.op.axes == (1, 0):
        return node.inputs[0], True
    return node, False


def _addends(body: Graph, output: Node, carry: Node) -> list[Node] | None:
    """Return the terms that a step adds to a carry, or None where it does anything else with it."""
    if len(body.users.get(carry, [])) != 1:
        return None
    leaves, stack = [], [output]
    while stack:
        node = stack.pop()
        private = node is output or len(body.users[node]) == 1
        if node.op is ADD and private and node not in body.outputs[: body.outputs.index(output)]:
            stack.extend(node.inputs)
        else:
            leaves.append(node)
    return [n for n in leaves if n is not carry] if leaves.count(carry) == 1 else None


def _without(output: Node, product: _Product) -> Node:
    """Return a sum without one of its products."""
    path: list[Node] = [output]
    while path:
        node = path.pop()
        if node.op is not ADD:
            continue
        for term, other in (node.inputs, node.inputs[::-1]):
            if isinstance(term.op, MatMul) and term.inputs == (product.left, product.right):
                return Graph([output]).replace({node: other})[0].outputs[0]
        path.extend(node.inputs)
    raise AssertionError("the product is a term of the sum")
