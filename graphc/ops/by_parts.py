"""Carries that a step changes by parts: slices that it sets or adds to become scatters, which write in place.

Outside of loops `x.at[3].set(v)` is dense, `where(unslice(True), unslice(v), x)`, which fuses with what is around it.
As what a step hands on it would cost the length of the array each time.
"""

from __future__ import annotations

import numpy as np

from graphc.graph.node import Node
from graphc.graph.op import Constant, apply, constant
from graphc.graph.types import product
from graphc.ops.elementwise_arithmetic import ADD
from graphc.ops.indexing import Scatter
from graphc.ops.pointwise import WHERE, as_node
from graphc.ops.shape import Unslice, permute, reshape_to

FEW = 16
"""As many places are written one by one."""
SMALL = 64
"""An array of no more elements is computed anew: its elements may stay in registers."""


def written_by_parts(value: Node, carry: Node) -> Node:
    """Return `value` as scatters into `carry` where slices of `carry` make it, otherwise as it is."""
    if all(isinstance(s, int) for s in carry.shape) and int(product(carry.shape)) <= SMALL:
        return value
    links, last = [], value
    while last is not carry:
        link = _link(last)
        if link is None:
            return value
        links.append((last, *link))
        last = link[1]
    for node, mode, _, placed in reversed(links):
        last = _scatter(node, mode, last, placed)
    return last


def _link(value: Node) -> tuple[str, Node, Node] | None:
    """Return how a value changes another one at a few places (mode, the other, the placed slice), or None."""
    if value.op == ADD:
        mode, (x, placed) = "add", value.inputs
    elif value.op == WHERE:
        inside, placed, x = value.inputs
        mode = "set"
        if inside.op != placed.op or not inside.inputs or not _is_true(inside.inputs[0]):
            return None
    elif isinstance(value.op, Scatter):
        return "scatter", value.inputs[0], value
    else:
        return None
    return (mode, x, placed) if _is_few(placed) and placed.shape == x.shape else None


def _is_true(node: Node) -> bool:
    while len(node.inputs) == 1:
        node = node.inputs[0]
    return isinstance(node.op, Constant) and node.dtype.kind == "b" and bool(np.all(node.op.value))


def _touched(op: Unslice, part: Node) -> list[int]:
    whole = zip(op.starts, part.shape, op.shape, op.steps, strict=True)
    return [a for a, (start, size, full, step) in enumerate(whole) if (start, size, step) != (0, full, 1)]


def _is_few(placed: Node) -> bool:
    """Tell whether a slice is of a few places, which are known or are one."""
    if not isinstance(placed.op, Unslice):
        return False
    op, part = placed.op, placed.inputs[0]
    axes = _touched(op, part)
    sizes = [part.shape[a] for a in axes]
    if not axes or not all(isinstance(s, int) for s in sizes):
        return False
    count = int(product(sizes))
    return count == 1 or (0 < count <= FEW and all(isinstance(op.starts[a], int) for a in axes))


def _scatter(node: Node, mode: str, x: Node, placed: Node) -> Node:
    if mode == "scatter":
        return Node(node.op, (x, *node.inputs[1:]), node.type, node.source, node.guards)
    assert isinstance(placed.op, Unslice)
    op, part = placed.op, placed.inputs[0]
    axes = _touched(op, part)
    rest = [a for a in range(part.ndim) if a not in axes]
    grid = np.indices([int(part.shape[a]) for a in axes]).reshape(len(axes), -1)
    count = grid.shape[1]
    updates = reshape_to(permute(part, (*axes, *rest)), (count, *(part.shape[a] for a in rest)))
    indices = []
    for a, places in zip(axes, grid, strict=True):
        start = op.starts[a]
        known = isinstance(start, int)
        indices.append(constant(places * op.steps[a] + start) if known else reshape_to(as_node(start), (1,)))
    made = apply(Scatter(mode, tuple(axes)), x, updates, *indices)
    return Node(made.op, made.inputs, made.type, node.source, (*node.guards, *placed.guards))
