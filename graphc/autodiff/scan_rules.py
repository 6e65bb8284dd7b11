"""The `Scan` op's rules: how a traced body becomes an op, its meaning, and its derivatives.

The adjoint of a scan is a scan over the same body's vjp, in the opposite direction, which reads the carries that
the forward loop stacked. `graphc/autodiff/control.py` traces what users write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.autodiff.grad import jvp_inside, masked_zeros, vjp_inside, zeros_of
from graphc.graph.evaluate import run_graph
from graphc.graph.graph import Graph, topological_order
from graphc.graph.node import Node, serials
from graphc.graph.op import Constant, View, apply, inside_node
from graphc.graph.types import Array, Size, Sizes, is_float, size_value
from graphc.ops.control import Result, Scan, project
from graphc.ops.creation import Iota
from graphc.ops.failing import can_fail
from graphc.ops.pointwise import Cast, DimValue


@dataclass(frozen=True)
class Traced:
    """A body as `f` built it: its placeholders, its next carries, and what it stacks."""

    carries: Sequence[Node]
    elements: Sequence[Node]
    after: Sequence[Node]
    stacked: Sequence[Node]


def build_scan(
    first: Sequence[Node],
    sequences: Sequence[Node],
    traced: Traced,
    length: Size,
    reverse: bool,
    chunk: Size = 0,
    since: int | None = None,
) -> list[Node]:
    """Close a traced body over its outer values and return the last carries and the stacked results.

    What was built `since` a serial number and can fail stays inside where there may be no step.
    """
    own = [*traced.carries, *traced.elements]
    outputs = [*traced.after, *traced.stacked]
    some = isinstance(length, int) and length > 0
    captured = capture(own, outputs, None if some else since, can_fail)
    inside = [inside_node(f"outer{i}", x.type) for i, x in enumerate(captured)]
    closed, _ = Graph(outputs, own).replace(dict(zip(captured, inside, strict=True)))
    body = Graph(closed.outputs, [*own, *inside])
    results: list[Result] = [("final", i) for i in range(len(first))]
    results += [("stacked", j) for j in range(len(traced.stacked))]
    results += [("carry", i) for i in range(len(first))]
    op = Scan(body, len(first), len(sequences), length, reverse, tuple(results), RULES, chunk)
    node = apply(op, *first, *sequences, *captured)
    node = Node(node.op, node.inputs, node.type, node.source, (*node.guards, *body.guards))
    return [project(node, i) for i in range(len(first) + len(traced.stacked))]


def capture(
    own: Sequence[Node], outputs: Sequence[Node], since: int | None = None, stays: Callable[[Node], bool] | None = None
) -> list[Node]:
    """Return the outer values that a traced graph reads, the largest that do not depend on it.

    Inside is what depends on the placeholders `own`; for a branch, whose work must not be done outside, also every
    node built `since` a serial number, or those of them that `stays` names. Literals are no captures: they are
    repeated inside.
    """
    inside = set(own)
    literal: set[Node] = set()
    order = topological_order(outputs)
    for node in order:
        young = since is not None and node.serial >= since and node.inputs and (stays is None or stays(node))
        if young or any(x in inside for x in node.inputs):
            inside.add(node)
        elif isinstance(node.op, (Constant, Iota, DimValue)) or _repeats_literal(node, literal):
            literal.add(node)
    reads = [x for node in order if node in inside for x in node.inputs] + list(outputs)
    return list(dict.fromkeys(x for x in reads if x not in inside and x not in literal))


def _repeats_literal(node: Node, literal: set[Node]) -> bool:
    return isinstance(node.op, (View, Cast)) and node.inputs[0] in literal


def substitute(nodes: Sequence[Node], op: Scan, inputs: Sequence[Node]) -> list[Node]:
    """Return nodes that were built on a body's captured placeholders on the outer values themselves."""
    start = op.carries + op.sequences
    outer = dict(zip(op.body.inputs[start:], inputs[start:], strict=True))
    return list(Graph(nodes).replace(outer)[0].outputs)


class _Rules:
    """The rules of `Scan`: its meaning through the interpreter, its derivatives through `grad`."""

    def evaluate(self, op: Scan, arrays: Sequence[Array], sizes: Sizes) -> tuple[Array, ...]:
        """Run the body step by step."""
        steps = op.steps(sizes)
        carry = list(arrays[: op.carries])
        sequences = arrays[op.carries : op.carries + op.sequences]
        outer = arrays[op.carries + op.sequences :]
        stacks = [np.zeros((len(steps), *int_shape(n.shape, sizes)), n.dtype) for n in op.body.outputs[op.carries :]]
        received = [np.zeros((len(steps), *c.shape), c.dtype) for c in carry]
        for t in steps:
            for stack, value in zip(received, carry, strict=True):
                stack[t] = value
            given = [*carry, *(s[t] for s in sequences), *outer]
            computed = run_graph(op.body, dict(zip(op.body.inputs, given, strict=True)), sizes)
            carry = computed[: op.carries]
            for stack, value in zip(stacks, computed[op.carries :], strict=True):
                stack[t] = value
        values = {"final": carry, "stacked": stacks, "carry": received}
        return tuple(np.asarray(values[kind][i]) for kind, i in op.results)

    def vjp(
        self, op: Scan, cotangents: Sequence[Node | None], out: Node, inputs: Sequence[Node]
    ) -> tuple[Node | None, ...]:
        """Scan in the opposite direction over the vjp of the body, whose carries the forward loop stacked."""
        given = dict(zip(op.results, cotangents, strict=True))
        received = {i: project(out, k) for k, (kind, i) in enumerate(op.results) if kind == "carry"}
        carries, elements = op.body.inputs[: op.carries], op.body.inputs[op.carries : op.carries + op.sequences]
        outer = op.body.inputs[op.carries + op.sequences :]
        floats = [i for i, c in enumerate(carries) if is_float(c.dtype)]
        moved = [x for x in (*elements, *outer) if is_float(x.dtype)]
        heads = [j for j, y in enumerate(op.body.outputs[op.carries :]) if is_float(y.dtype)]
        # The carries of the adjoint loop: cotangents of the carries, then sums for the captured values.
        sums = [x for x in outer if is_float(x.dtype)]
        g_carry = [inside_node(f"g{i}", carries[i].type) for i in floats]
        g_sum = [inside_node(f"sum{i}", x.type) for i, x in enumerate(sums)]
        g_head = {
            j: inside_node(f"gy{j}", op.body.outputs[op.carries + j].type)
            for j in heads
            if given["stacked", j] is not None
        }
        g_received = {i: inside_node(f"gc{i}", carries[i].type) for i in floats if given["carry", i] is not None}
        outputs = [op.body.outputs[i] for i in floats] + [op.body.outputs[op.carries + j] for j in g_head]
        wrt = [*(carries[i] for i in floats), *moved]
        pulled = vjp_inside(outputs, wrt, [*g_carry, *g_head.values()]) if outputs else []
        after = [
            g + g_received[i] if i in g_received else g for i, g in zip(floats, pulled[: len(floats)], strict=True)
        ]
        rest = dict(zip(moved, pulled[len(floats) :], strict=True))
        after += [s + rest[x] for s, x in zip(g_sum, sums, strict=True)]
        g_elements = [rest[x] for x in elements if x in rest]
        since = next(serials)
        built = substitute([*after, *g_elements], op, inputs)
        seeds = [given["final", i] for i in floats]
        start = [zeros_of(inputs[i]) if g is None else g for i, g in zip(floats, seeds, strict=True)]
        start += [zeros_of(inputs[op.body.inputs.index(x)]) for x in sums]
        sequences = [*inputs[op.carries : op.carries + op.sequences], *(received[i] for i in range(op.carries))]
        sequences += [_some(given["stacked", j]) for j in g_head] + [_some(given["carry", i]) for i in g_received]
        inside = [*elements, *carries, *g_head.values(), *g_received.values()]
        traced = Traced([*g_carry, *g_sum], inside, built[: len(after)], built[len(after) :])
        results = build_scan(start, sequences, traced, op.length, not op.reverse, op.chunk, since)
        found: dict[Node, Node] = {carries[i]: r for i, r in zip(floats, results, strict=False)}
        found |= dict(zip(sums, results[len(floats) :], strict=False))
        found |= dict(zip([x for x in elements if x in rest], results[len(after) :], strict=True))
        return tuple(found.get(x) for x in op.body.inputs)

    def jvp(self, op: Scan, tangents: Sequence[Node | None], inputs: Sequence[Node]) -> tuple[Node | None, ...]:
        """Scan over values and tangents together."""
        given = dict(zip(op.body.inputs, tangents, strict=True))
        carried = [x for x in op.body.inputs[: op.carries] if is_float(x.dtype)]
        moving = [*carried, *(x for x in op.body.inputs[op.carries :] if given[x] is not None)]
        inner = {x: inside_node(f"t{i}", x.type) for i, x in enumerate(moving)}
        floats = [y for y in op.body.outputs if is_float(y.dtype)]
        pushed = dict(zip(floats, jvp_inside(floats, moving, list(inner.values())), strict=True))
        own = op.body.inputs[: op.carries + op.sequences]
        full = {x: masked_zeros(x) if (t := given[x]) is None else t for x in moving}
        bind = {inner[x]: full[x] for x in moving if x not in own}
        nodes = [*op.body.outputs, *(pushed[y] for y in floats)]
        since = next(serials)
        built = substitute(list(Graph(nodes).replace(bind)[0].outputs), op, inputs)
        values, slopes = built[: len(op.body.outputs)], dict(zip(floats, built[len(op.body.outputs) :], strict=True))
        carries = [x for x in op.body.inputs[: op.carries] if x in inner]
        elements = [x for x in own[op.carries :] if x in inner]
        stacked = [y for y in op.body.outputs[op.carries :] if y in slopes]
        traced = Traced(
            [*op.body.inputs[: op.carries], *(inner[x] for x in carries)],
            [*own[op.carries :], *(inner[x] for x in elements)],
            [*values[: op.carries], *(slopes[op.body.outputs[op.body.inputs.index(x)]] for x in carries)],
            [slopes[y] for y in stacked],
        )
        starts = [*inputs[: op.carries], *(full[x] for x in carries)]
        rows = [*inputs[op.carries : op.carries + op.sequences], *(full[x] for x in elements)]
        results = build_scan(starts, rows, traced, op.length, op.reverse, op.chunk, since)
        final = dict(zip(carries, results[op.carries :], strict=False))
        stacks = dict(zip(stacked, results[op.carries + len(carries) :], strict=True))
        scanned = results[0].inputs[0]
        count = op.carries + len(carries) + len(stacked)
        found: list[Node | None] = []
        for kind, i in op.results:
            if kind == "stacked":
                found.append(stacks.get(op.body.outputs[op.carries + i]))
            elif kind == "final":
                found.append(final.get(op.body.inputs[i]))
            else:
                place = {x: op.carries + k for k, x in enumerate(carries)}.get(op.body.inputs[i])
                found.append(None if place is None else project(scanned, count + place))
        return tuple(found)


def int_shape(shape: Sequence[Size], sizes: Sizes) -> tuple[int, ...]:
    """Return a shape at given sizes."""
    return tuple(size_value(s, sizes) for s in shape)


def _some(node: Node | None) -> Node:
    assert node is not None
    return node


RULES = _Rules()
