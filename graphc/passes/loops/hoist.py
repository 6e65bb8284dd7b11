"""Move work out of loops, where one op over all steps replaces many small ones.

Four forms. What does not depend on the carries (the input projection of an RNN) is computed for all steps before the
loop, and becomes a sequence. What no later step needs (the output projection) is computed for all steps behind it,
from stacked values. A carry that only adds up products (the weight gradient of an adjoint loop) becomes one product
behind the loop, whose inner axis runs over the steps too; one that adds up scatters (the gradient of `xs[t]`) becomes
one scatter. A sequence of equal rows becomes one captured row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from graphc.graph.errors import blame
from graphc.graph.graph import Graph, rebuild
from graphc.graph.node import Node
from graphc.graph.op import Constant, apply, constant, inside_node
from graphc.ops.control import Project, Result, Scan, project
from graphc.ops.cost import frontier, no_larger
from graphc.ops.creation import Iota
from graphc.ops.elementwise import ADD
from graphc.ops.failing import can_fail
from graphc.ops.indexing import Scatter
from graphc.ops.linalg import MatMul
from graphc.ops.pointwise import Broadcast, DimValue, broadcast, pointwise
from graphc.ops.reduction import Reduction
from graphc.ops.shape import PermuteDims, Reshape, Unslice
from graphc.passes.loops.batching import over_steps, repeated
from graphc.passes.loops.readers import addends, is_private, sums_of
from graphc.passes.updates.accumulate_scatters import is_zero


def hoist(graph: Graph) -> Graph:
    """Move work that does not depend on the carries before its loop, and what only stacked results need behind it.

    before: `%4 = scan[length=t, body of 9 nodes](%0, %1, %2, %3)`
    after: `%4 = matmul(%1, %3)`, `%5 = scan[length=t, body of 7 nodes](%0, %4, %2)`
    """
    if not any(isinstance(n.op, Scan) for n in graph.nodes):
        return graph
    loops: dict[Node, _Loop] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if isinstance(node.op, Scan):
            with blame(node.source):
                loop = _Loop(node, node.op, inputs)
            if loop.changed:
                loops[node] = loop
                return loop.node
            return None
        if isinstance(node.op, Project) and node.inputs[0] in loops:
            with blame(node.source):
                return loops[node.inputs[0]].result(node.op.index)
        return None

    return graph.map(visit)[0]


def behind_loop(result: Node) -> Node | None:
    """Return what is computed behind the loop for one of its stacked results, or None where the loop computes it.

    before: `%3 = scan[...](...)`, `%4 = project[index=1](%3)`
    after: `%5 = scan[...](...)`, `%6 = project[index=3](%5)`, `%7 = softmax[axis=1](%6)`
    """
    (loop,) = result.inputs
    if not isinstance(loop.op, Scan) or not isinstance(result.op, Project):
        return None
    kind, place = loop.op.results[result.op.index]
    body, carries = loop.op.body, loop.op.carries
    if kind != "stacked" or body.outputs[carries + place] in body.ancestors(body.outputs[:carries]):
        return None
    with blame(loop.source):
        found = _Loop(loop, loop.op, loop.inputs).result(result.op.index)
    return None if isinstance(found.op, Project) else found


@dataclass
class _Term:
    """One value that a carry adds up at every step, whose sum over all steps is one op."""

    carry: int
    node: Node

    @property
    def factors(self) -> tuple[Node, ...]:
        """What the loop must stack for it."""
        if isinstance(self.node.op, MatMul):
            return _untransposed(self.node.inputs[0])[0], self.node.inputs[1]
        return self.node.inputs[1:] if isinstance(self.node.op, Scatter) else self.node.inputs

    def total(self, stacks: Sequence[Node]) -> Node:
        """Return the sum over all steps of the stacked factors."""
        op = self.node.op
        if isinstance(op, MatMul):
            return _sum_of_products(self.node.inputs[0], *stacks)
        if isinstance(op, Scatter):
            zeros = broadcast(constant(0, self.node.dtype), self.node.shape, ())
            return apply(op, zeros, *stacks)
        return apply(op, apply(Reduction("sum", (0,)), stacks[0]))


class _Loop:
    """The hoisted form of one scan; `result` gives what its projections become."""

    def __init__(self, node: Node, op: Scan, inputs: Sequence[Node]) -> None:
        self.op, self.inputs = op, inputs
        count = op.carries + op.sequences
        body = op.body
        self.outer = dict(zip(body.inputs[count:], inputs[count:], strict=True))
        rows_of = zip(body.inputs[op.carries : count], inputs[op.carries : count], strict=True)
        # Sequences of equal rows, and carries that no step changes.
        self.equal = {x: row for x, rows in rows_of if (row := _equal_row(rows)) is not None}
        own = zip(body.inputs[: op.carries], body.outputs, inputs, strict=False)
        self.equal |= {carry: first for carry, after, first in own if after is carry}
        self.outer |= self.equal
        self.before = self._independent()
        self.behind, needed = self._tails()
        rows = {m: inside_node(f"rows{i}", m.type) for i, m in enumerate(self._rows())}
        same = {x: inside_node(f"row{i}", x.type) for i, x in enumerate(self.equal)}
        swapped, names = body.replace(rows | same)
        outputs = list(swapped.outputs)
        self.names = names
        self.terms = self._terms(swapped)
        for carry in {t.carry for t in self.terms}:
            gone = {t.node for t in self.terms if t.carry == carry}
            outputs[carry] = _without(swapped, outputs[carry], gone)
        known = {names.get(old, old) for old in self.before}
        factors = [f for t in self.terms for f in t.factors if f not in known]
        self.stacks = list(dict.fromkeys([*(names.get(n, n) for n in needed), *factors]))
        outputs += self.stacks
        stacked: list[Result] = [("stacked", len(body.outputs) - op.carries + i) for i in range(len(self.stacks))]
        self.results: tuple[Result, ...] = (*op.results, *stacked)
        places = [*body.inputs[:count], *rows.values(), *body.inputs[count:], *same.values()]
        self.body = Graph(outputs, places, guards=body.guards)
        self.changed = bool(rows or same or self.behind or self.stacks) or swapped.outputs != tuple(outputs)
        new = replace(op, body=self.body, sequences=op.sequences + len(rows), results=self.results)
        operands = (*inputs[:count], *(self.before[m] for m in rows), *inputs[count:], *self.equal.values())
        self.node = Node(new, operands, new.infer(*(x.type for x in operands)), node.source, node.guards)
        self.computed = self._compute_behind()

    # -- before the loop

    def _independent(self) -> dict[Node, Node]:
        """Return, for values that do not depend on the carries, the same values for all steps along axis 0."""
        op = self.op
        count = op.carries + op.sequences
        given = zip(op.body.inputs[op.carries : count], self.inputs[op.carries : count], strict=True)
        found = {x: rows for x, rows in given if x not in self.equal}
        empty = not (isinstance(op.length, int) and op.length > 0)  # it may be: what can fail stays inside
        for node in op.body.nodes:
            if isinstance(node.op, (Constant, DimValue, Iota)):
                self.outer[node] = node
            elif empty and can_fail(node):
                continue
            elif node.inputs and all(x in self.outer for x in node.inputs):
                inputs = tuple(self.outer[x] for x in node.inputs)
                self.outer[node] = Node(node.op, inputs, node.type, node.source, node.guards)
            elif node.inputs and all(x in found or x in self.outer for x in node.inputs):
                value = self._over_steps(node, found)
                if value is not None and not _batched_product(node, found):
                    found[node] = value
        return found

    def _over_steps(self, node: Node, known: dict[Node, Node]) -> Node | None:
        stacked = [x in known for x in node.inputs]
        inputs = [known[x] if x in known else self.outer[x] for x in node.inputs]
        return over_steps(node, inputs, stacked, self.op.length)

    def _rows(self) -> list[Node]:
        """Return the values to compute before the loop: those that make what stays in it cheap."""
        inside = self.op.body.with_outputs([o for o in self.op.body.outputs if o not in self.behind])
        return [n for n in frontier(inside, self.before) if n not in self.op.body.inputs]

    # -- behind the loop

    def _tails(self) -> tuple[dict[Node, None], list[Node]]:
        """Return the stacked results to compute behind the loop, and the values that it must stack for them."""
        op, body = self.op, self.op.body
        steps = body.ancestors(body.outputs[: op.carries])
        chosen: dict[Node, None] = {}
        needed: dict[Node, None] = {}
        have = set(body.outputs[op.carries :])
        for output in dict.fromkeys(body.outputs[op.carries :]):
            tail = self._tail(output, steps)
            if tail is None:
                continue
            reads = [n for n in tail[1] if n not in self.before]
            extra = [n for n in reads if n not in needed and n not in have]
            if any(isinstance(n.op, MatMul) for n in tail[0]) or no_larger(extra, [output]):
                chosen[output] = None
                needed |= dict.fromkeys(reads)
        return chosen, list(needed)

    def _tail(self, output: Node, steps: set[Node]) -> tuple[list[Node], list[Node]] | None:
        """Return the nodes that only a stacked result needs, and the stacked values they start from."""
        if output in steps or output in self.outer or output in self.op.body.inputs:
            return None
        tail: list[Node] = []
        reads: dict[Node, None] = {}
        done: set[Node] = set()
        stack = [output]
        while stack:
            node = stack.pop()
            if node in done or node in self.outer:
                continue
            done.add(node)
            if node in self.before or node in steps or not node.inputs:
                reads[node] = None
            elif not _has_form(node):
                return None
            else:
                tail.append(node)
                stack.extend(node.inputs)
        return tail, list(reads)

    def _compute_behind(self) -> dict[Node, Node]:
        """Build what was moved behind the loop."""
        known = dict(self.before)
        for node in self.op.body.nodes:
            if self.names.get(node, node) in self.stacks:
                known[node] = self._stack(self.names.get(node, node))
        needed = self.op.body.ancestors(self.behind)
        for node in self.op.body.nodes if self.behind else ():
            fresh = node in needed and node.inputs and node not in known and node not in self.outer
            if fresh and all(x in known or x in self.outer for x in node.inputs):
                value = self._over_steps(node, known)
                if value is not None:
                    known[node] = value
        return {n: known[n] for n in self.behind}

    # -- sums over steps

    def _terms(self, body: Graph) -> list[_Term]:
        """Find the carries that no step reads but to add to them, and what they add that has a form over all steps."""
        found: list[_Term] = []
        seen = {i for kind, i in self.op.results if kind == "carry"}
        outer = {self.names.get(x, x) for x in self.outer}
        for i in range(self.op.carries):
            leaves = addends(body, i)
            if i not in seen and leaves is not None:
                terms = [_Term(i, n) for n in leaves if _sums_well(n) and is_private(body, n)]
                found += [t for t in terms if not any(x in outer for x in t.factors)]
        return found

    def _stack(self, value: Node) -> Node:
        return project(self.node, len(self.op.results) + self.stacks.index(value))

    def _factor(self, value: Node) -> Node:
        if value in self.stacks:
            return self._stack(value)
        return next(stack for old, stack in self.before.items() if self.names.get(old, old) is value)

    def result(self, index: int) -> Node:
        """Return the node that stands for one result of the loop as it was."""
        kind, i = self.op.results[index]
        if kind == "stacked" and (output := self.op.body.outputs[self.op.carries + i]) in self.computed:
            return self.computed[output]
        if kind != "stacked" and self.op.body.inputs[i] in self.equal:
            return self.inputs[i] if kind == "final" else repeated(self.inputs[i], self.op.length)
        unchanged = kind == "final" and self.body.outputs[i] is self.body.inputs[i]
        out = self.inputs[i] if unchanged else project(self.node, index)
        for term in self.terms if kind == "final" else ():
            if term.carry == i:
                total = term.total([self._factor(x) for x in term.factors])
                out = total if is_zero(out) else pointwise(ADD, out, total)
        return out


def _sum_of_products(left: Node, base: Node, right: Node) -> Node:
    """Return the sum over all steps as one product of matrices whose inner axis runs over the steps too.

    `base` has all steps of `left`, or of what it is the transpose of.
    """
    steps, inner, columns = right.shape
    if _untransposed(left)[1]:
        rows = apply(Reshape((steps * inner, base.shape[2])), base)
        flat = apply(PermuteDims((1, 0)), rows)
    else:
        flat = apply(Reshape((base.shape[1], steps * inner)), apply(PermuteDims((1, 0, 2)), base))
    return apply(MatMul(), flat, apply(Reshape((steps * inner, columns)), right))


def _sums_well(node: Node) -> bool:
    """Tell whether the sum of an op's results over the steps is one op of stacked values."""
    if isinstance(node.op, Scatter):
        return node.op.mode == "add" and is_zero(node.inputs[0])
    return isinstance(node.op, Unslice) or (isinstance(node.op, MatMul) and node.ndim == 2)


def _equal_row(rows: Node) -> Node | None:
    """Return the row of a sequence whose rows are all the same, or None."""
    if not isinstance(rows.op, Broadcast) or 0 in rows.op.axes:
        return None
    return apply(Broadcast(rows.shape[1:], tuple(a - 1 for a in rows.op.axes)), rows.inputs[0])


def _has_form(node: Node) -> bool:
    """Tell whether an op has a form over all steps."""
    return over_steps(node, node.inputs, [False] * len(node.inputs), 1) is not None


def _batched_product(node: Node, stacked: dict[Node, Node]) -> bool:
    """Tell whether a product for all steps would be as many small products as the loop has."""
    return isinstance(node.op, MatMul) and (node.inputs[1] in stacked or node.ndim != 2)


def _untransposed(node: Node) -> tuple[Node, bool]:
    """Return what a transposed matrix is the transpose of, and whether it is one."""
    if isinstance(node.op, PermuteDims) and node.op.axes == (1, 0):
        return node.inputs[0], True
    return node, False


def _without(body: Graph, output: Node, gone: Collection[Node]) -> Node:
    """Return the sum that a carry becomes without some of its terms, of which the carry is none."""
    new: dict[Node, Node | None] = {}
    for node in reversed(sums_of(body, output)):  # operands first
        left = [x for x in (None if x in gone else new.get(x, x) for x in node.inputs) if x is not None]
        new[node] = rebuild(node, tuple(left)) if len(left) == 2 else next(iter(left), None)
    found = new[output]
    assert found is not None, "the carry is left"
    return found
