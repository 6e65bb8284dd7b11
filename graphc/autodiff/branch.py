"""Branches for users: `cond` and `switch`, with JAX's signatures and meaning.

A branch is traced into a graph of its own: whatever its function builds is inside and runs only where the branch is
taken; what exists already is captured. Derivatives of a switch are switches, so one branch runs there too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.autodiff.grad import jvp_inside, vjp_inside
from graphc.autodiff.scan_rules import capture
from graphc.autodiff.streams import streams
from graphc.autodiff.tracing import like_first, require_functions
from graphc.graph.arguments import require_function
from graphc.graph.errors import ArgumentError, at
from graphc.graph.evaluate import run_graph
from graphc.graph.graph import Graph
from graphc.graph.node import Node, serials
from graphc.graph.op import apply, inside_node
from graphc.graph.tree import flatten, map_structure, unflatten
from graphc.graph.types import BOOL, INT64, Array, Sizes, is_float
from graphc.ops.control import Switch, project
from graphc.ops.pointwise import as_node, cast


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *operands: Any) -> Any:
    """Return `true_fn(*operands)` where the 0-d bool `pred` holds, else `false_fn(*operands)`; only one is computed.

    Both return the same nesting of nodes of the same shapes and dtypes. Raises `ArgumentError`, `ShapeError`,
    `DTypeError`.

    >>> import graphc as gc
    >>> x = gc.placeholder("x")
    >>> gc.cond(x > 0, lambda v: gc.log(v), lambda v: -v, x).eval({x: -3.0})
    array(3.)
    """
    chosen = as_node(pred)
    if chosen.dtype != BOOL or chosen.shape:
        raise ArgumentError(f"cond: pred must be a 0-d bool, got {chosen.type}{at()}")
    names = ["cond: false_fn", "cond: true_fn"]
    return _choose(cast(chosen, INT64), [false_fn, true_fn], names, operands)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """Return `branches[index](*operands)`, the 0-d integer `index` clamped to the branches; one is computed.

    >>> import graphc as gc
    >>> gc.switch(2, [lambda x: x, lambda x: x + 1, lambda x: x * 10], 4.0).eval()
    array(40.)
    """
    chosen = as_node(index)
    if chosen.dtype.kind not in "iu" or chosen.shape:
        raise ArgumentError(f"switch: index must be a 0-d integer, got {chosen.type}{at()}")
    if not isinstance(branches, (list, tuple)) or not branches:
        raise ArgumentError(f"switch: at least one branch is needed{at()}")
    names = [f"switch: branch {k}" for k in range(len(branches))]
    return _choose(cast(chosen, INT64), branches, names, operands)


def _choose(index: Node, branches: Sequence[Callable[..., Any]], names: Sequence[str], operands: Any) -> Any:
    """Trace the branches, the last of which may be built from what the first returned, and build the switch."""
    require_functions(f"{names[0]} and others", *branches)
    given = unflatten(operands, [as_node(leaf) for leaf in flatten(operands)])
    for name, branch in zip(names, branches, strict=True):
        require_function(name, branch, given)
    since = next(serials)
    found = [map_structure(as_node, branch(*given)) for branch in branches]
    traced = [flatten(found[0])]
    for name, result in zip(names[1:], found[1:], strict=True):
        traced.append(like_first(names[0], found[0], name, result))
    drawn = streams(traced, since)
    keys = list(drawn.keys.values()) if drawn else []
    closed: list[Traced] = []
    for outputs in traced:
        inside = [inside_node("key", key.type) for key in keys]
        closed.append((inside, drawn.resume(outputs, since, None, inside) if drawn else outputs))
    results = build_switch(index, closed, keys, since)
    return unflatten(found[0], results)


Traced = tuple[Sequence[Node], Sequence[Node]]
"""A branch's own placeholders and its outputs."""


def build_switch(index: Node, branches: Sequence[Traced], operands: Sequence[Node], since: int) -> list[Node]:
    """Close traced branches over what they capture and return the results.

    Every branch has one placeholder of its own for each of `operands`.
    """
    reads = [capture(own, outputs, since) for own, outputs in branches]
    captured = list(dict.fromkeys(x for found in reads for x in found))
    graphs = []
    for own, outputs in branches:
        inside = [inside_node(f"outer{i}", x.type) for i, x in enumerate(captured)]
        closed, _ = Graph(outputs, own).replace(dict(zip(captured, inside, strict=True)))
        graphs.append(Graph(closed.outputs, [*own, *inside]))
    count = len(graphs[0].outputs)
    node = apply(Switch(tuple(graphs), tuple(range(count)), SWITCH_RULES), index, *operands, *captured)
    guards = (*node.guards, *(g for graph in graphs for g in graph.guards))
    node = Node(node.op, node.inputs, node.type, node.source, guards)
    return [project(node, k) for k in range(count)]


class _SwitchRules:
    """The rules of `Switch`: its derivatives choose among the derivatives of the branches."""

    def evaluate(self, op: Switch, arrays: Sequence[Array], sizes: Sizes) -> tuple[Array, ...]:
        """Run the chosen branch."""
        branch = op.branches[int(np.clip(arrays[0], 0, len(op.branches) - 1))]
        computed = run_graph(branch, dict(zip(branch.inputs, arrays[1:], strict=True)), sizes)
        return tuple(computed[k] for k in op.results)

    def vjp(
        self, op: Switch, cotangents: Sequence[Node | None], out: Node, inputs: Sequence[Node]
    ) -> tuple[Node | None, ...]:
        """Switch among the vjps of the branches."""
        heads = [(k, g) for k, g in zip(op.results, cotangents, strict=True) if g is not None]
        floats = [i for i, x in enumerate(inputs[1:]) if is_float(x.dtype)]
        since = next(serials)
        branches: list[Traced] = []
        for branch in op.branches:
            given = [inside_node(f"g{k}", g.type) for k, g in heads]
            wrt = [branch.inputs[i] for i in floats]
            pulled = vjp_inside([branch.outputs[k] for k, _ in heads], wrt, given)
            branches.append(([*branch.inputs, *given], pulled))
        results = build_switch(inputs[0], branches, [*inputs[1:], *(g for _, g in heads)], since)
        found: list[Node | None] = [None] * len(inputs)
        for i, g in zip(floats, results, strict=True):
            found[1 + i] = g
        return tuple(found)

    def jvp(self, op: Switch, tangents: Sequence[Node | None], inputs: Sequence[Node]) -> tuple[Node | None, ...]:
        """Switch among the jvps of the branches."""
        moving = [(i, t) for i, t in enumerate(tangents[1:]) if t is not None]
        heads = [k for k in op.results if is_float(op.branches[0].outputs[k].dtype)]
        since = next(serials)
        branches: list[Traced] = []
        for branch in op.branches:
            given = [inside_node(f"t{i}", t.type) for i, t in moving]
            pushed = jvp_inside([branch.outputs[k] for k in heads], [branch.inputs[i] for i, _ in moving], given)
            branches.append(([*branch.inputs, *given], pushed))
        results = build_switch(inputs[0], branches, [*inputs[1:], *(t for _, t in moving)], since)
        found = dict(zip(heads, results, strict=True))
        return tuple(found.get(k) for k in op.results)


SWITCH_RULES = _SwitchRules()
