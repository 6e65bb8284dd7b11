"""Branches and open-ended loops for users: `cond`, `switch` and `while_loop`, with JAX's signatures and meaning.

A branch is traced into a graph of its own: whatever its function builds is inside and runs only where the branch is
taken; what exists already is captured. Derivatives of a switch are switches, so one branch runs there too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.control import next_carry, refuse_draws, require_functions, scan
from graphc.errors import ArgumentError, DTypeError, GradientError, ShapeError, at
from graphc.evaluate import run_graph
from graphc.grad import jvp, vjp, zeros_of
from graphc.graph import Graph
from graphc.node import Node, serials
from graphc.ops.base import apply
from graphc.ops.control import Switch, While, project
from graphc.ops.elementwise import logical_and, where
from graphc.ops.pointwise import as_node, cast
from graphc.scan_rules import capture, inside_node
from graphc.tree import flatten, unflatten
from graphc.types import BOOL, INT64, Array, Sizes, is_float


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
    return switch(cast(chosen, INT64), [false_fn, true_fn], *operands)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """Return `branches[index](*operands)`, the 0-d integer `index` clamped to the branches; one is computed.

    >>> import graphc as gc
    >>> gc.switch(2, [lambda x: x, lambda x: x + 1, lambda x: x * 10], 4.0).eval()
    array(40.)
    """
    chosen = as_node(index)
    if chosen.dtype.kind not in "iu" or chosen.shape:
        raise ArgumentError(f"switch: index must be a 0-d integer, got {chosen.type}{at()}")
    if not branches:
        raise ArgumentError(f"switch: at least one branch is needed{at()}")
    require_functions("cond, switch: branches", *branches)
    given = unflatten(operands, [as_node(leaf) for leaf in flatten(operands)])
    since = next(serials)
    found = [branch(*given) for branch in branches]
    traced = [[as_node(leaf) for leaf in flatten(result)] for result in found]
    for k, outputs in enumerate(traced[1:], start=1):
        _check_same("switch: branch", k, traced[0], outputs)
    results = build_switch(cast(chosen, INT64), [([], outputs) for outputs in traced], [], since)
    return unflatten(found[0], results)


def while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any, *, max_steps: int | None = None
) -> Any:
    """Return the carry after `carry = body_fun(carry)` for as long as `cond_fun(carry)` holds.

    The loop has forward derivatives. With `max_steps` it stops there at the latest, and has reverse derivatives
    too, at the cost of always running that many steps.

    >>> import graphc as gc
    >>> gc.while_loop(lambda x: x < 100, lambda x: x * 2, 3).eval()
    array(192)
    """
    require_functions("while_loop: cond_fun and body_fun", cond_fun, body_fun)
    first = [as_node(leaf) for leaf in flatten(init_val)]
    if max_steps is not None:
        return _bounded(cond_fun, body_fun, init_val, max_steps)
    carries = [inside_node(f"carry{i}", x.type) for i, x in enumerate(first)]
    since = next(serials)
    test = _test(cond_fun, unflatten(init_val, carries))
    before = unflatten(init_val, carries)
    after = next_carry("while_loop: body_fun", before, body_fun(before))
    refuse_draws("while_loop", [test, *after], since)
    return unflatten(init_val, build_while(first, carries, test, after))


def _test(cond_fun: Callable[[Any], Any], carry: Any) -> Node:
    test = as_node(cond_fun(carry))
    if test.dtype != BOOL or test.shape:
        raise ArgumentError(f"while_loop: cond_fun must return a 0-d bool, got {test.type}{at()}")
    return test


def _bounded(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any, max_steps: int) -> Any:
    """Scan for `max_steps` steps, of which those after the condition fails change nothing."""
    if not isinstance(max_steps, int) or max_steps < 0:
        raise ArgumentError(f"while_loop: max_steps must be an int of at least 0, got {max_steps!r}{at()}")

    def step(carry: Any, _: None) -> tuple[Any, None]:
        running, value = carry
        go = logical_and(running, _test(cond_fun, value))
        before = flatten(value)
        after = next_carry("while_loop: body_fun", value, body_fun(value))
        return (go, unflatten(value, [where(go, n, o) for n, o in zip(after, before, strict=True)])), None

    return scan(step, (True, init_val), None, length=max_steps)[0][1]


def _check_same(what: str, number: int | None, wanted: Sequence[Node], got: Sequence[Node]) -> None:
    name = what if number is None else f"{what} {number}"
    if len(wanted) != len(got):
        raise ArgumentError(f"{name} has {len(got)} parts, {len(wanted)} needed{at()}")
    for i, (a, b) in enumerate(zip(wanted, got, strict=True)):
        if a.dtype != b.dtype:
            raise DTypeError(f"{name}: part {i} is {b.type}, {a.type} needed{at()}")
        if a.shape != b.shape:
            raise ShapeError(f"{name}: part {i} is {b.type}, {a.type} needed{at()}")


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


def build_while(first: Sequence[Node], carries: Sequence[Node], test: Node, after: Sequence[Node]) -> list[Node]:
    """Close a traced loop over what it captures and return the last carries."""
    captured = list(dict.fromkeys([*capture(carries, [test]), *capture(carries, after)]))
    graphs = []
    for outputs in ([test], list(after)):
        own = [inside_node(f"carry{i}", c.type) for i, c in enumerate(carries)]
        inside = [inside_node(f"outer{i}", x.type) for i, x in enumerate(captured)]
        names = dict(zip([*carries, *captured], [*own, *inside], strict=True))
        closed, _ = Graph(outputs).replace(names)
        graphs.append(Graph(closed.outputs, [*own, *inside]))
    op = While(graphs[0], graphs[1], tuple(range(len(after))), WHILE_RULES)
    node = apply(op, *first, *captured)
    node = Node(node.op, node.inputs, node.type, node.source, (*node.guards, *graphs[0].guards, *graphs[1].guards))
    return [project(node, k) for k in range(len(after))]


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
            pulled = vjp([branch.outputs[k] for k, _ in heads], wrt, given, disconnected="zero")
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
            pushed = jvp([branch.outputs[k] for k in heads], [branch.inputs[i] for i, _ in moving], given)
            branches.append(([*branch.inputs, *given], pushed))
        results = build_switch(inputs[0], branches, [*inputs[1:], *(t for _, t in moving)], since)
        found = dict(zip(heads, results, strict=True))
        return tuple(found.get(k) for k in op.results)


class _WhileRules:
    """The rules of `While`: forward derivatives only, since the number of steps is not known before it ends."""

    def evaluate(self, op: While, arrays: Sequence[Array], sizes: Sizes) -> tuple[Array, ...]:
        """Run the body for as long as the condition holds."""
        count = len(op.body.outputs)
        carry, outer = list(arrays[:count]), arrays[count:]
        while run_graph(op.condition, dict(zip(op.condition.inputs, [*carry, *outer], strict=True)), sizes)[0]:
            carry = run_graph(op.body, dict(zip(op.body.inputs, [*carry, *outer], strict=True)), sizes)
        return tuple(np.asarray(carry[k]) for k in op.results)

    def vjp(
        self, op: While, cotangents: Sequence[Node | None], out: Node, inputs: Sequence[Node]
    ) -> tuple[Node | None, ...]:
        """Refuse, and name the form that has reverse derivatives."""
        raise GradientError(
            "while_loop has no reverse derivative, since its number of steps is unknown; give max_steps, or use"
            f" fori_loop or scan{at()}"
        )

    def jvp(self, op: While, tangents: Sequence[Node | None], inputs: Sequence[Node]) -> tuple[Node | None, ...]:
        """Run values and tangents together."""
        own = op.body.inputs
        count = len(op.body.outputs)
        moving = [i for i in range(count) if is_float(own[i].dtype)]
        outer = [i for i in range(count, len(own)) if tangents[i] is not None]
        inner = {i: inside_node(f"t{i}", own[i].type) for i in (*moving, *outer)}
        pushed = jvp([op.body.outputs[i] for i in moving], [own[i] for i in inner], list(inner.values()))
        bind = dict(zip(own[count:], inputs[count:], strict=True))
        for i in outer:
            tangent = tangents[i]
            assert tangent is not None
            bind[inner[i]] = tangent
        same = dict(zip(op.condition.inputs, [*own[:count], *inputs[count:]], strict=True))
        test = Graph(op.condition.outputs).replace(same)[0].outputs[0]
        after = Graph([*op.body.outputs, *pushed]).replace(bind)[0].outputs
        starts = [tangents[i] for i in moving]
        first = [zeros_of(inputs[i]) if t is None else t for i, t in zip(moving, starts, strict=True)]
        carries = [*own[:count], *(inner[i] for i in moving)]
        results = build_while([*inputs[:count], *first], carries, test, after)
        found = dict(zip(moving, results[count:], strict=True))
        return tuple(found.get(k) for k in op.results)


SWITCH_RULES = _SwitchRules()
WHILE_RULES = _WhileRules()
