"""Spellings of a rule's pattern: what people write between the parts of a formula, and what it then must equal.

A *part* of a pattern is an op on its wildcards that other ops of the pattern read. A spelling computes the part,
puts a `move` behind it (a transpose, a gather, `concat`, ...), and computes the rest of the pattern on what comes
out, with every other operand moved alike: it has the pattern's values at other places. `places` says at which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.evaluate import evaluate
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.graph.types import Array
from graphc.ops.cumulative import Cumulative
from graphc.ops.pointwise import Broadcast, Elementwise, broadcast, pointwise
from graphc.ops.reduction import LogSoftmax, LogSumExp, Reduction, Softmax
from graphc.passes.algebra.pattern import AXES, Rule, literal

Move = Callable[[Node], Node]


def _other(x: Node) -> Any:
    """What `where` and padding put in: a value in every rule's domain; no place, where places are moved."""
    return -1 if x.dtype.kind == "i" else 0.75


MOVES: dict[str, Move] = {
    "transpose": lambda x: x.T,
    "reshape": lambda x: gc.reshape(x, (-1,)),
    "expand_dims": lambda x: x[:, None],
    "broadcast": lambda x: gc.broadcast_to(x, (2, *x.shape)),
    "slice": lambda x: x[1:, ::-1],
    "int": lambda x: x[0],
    "flip": lambda x: gc.flip(x),
    "gather": lambda x: x[:, gc.constant([2, 0, 2])],
    "gather of elements": lambda x: x[gc.constant([0, 1, 0]), gc.constant([3, 1, 3])],
    "take_along_axis": lambda x: gc.take_along_axis(x, gc.constant([[1], [3]]), axis=1),
    "repeat": lambda x: gc.repeat(x, 2, axis=1),
    "roll": lambda x: gc.roll(x, 1, axis=1),
}
"""Moves of a (2, 4) array."""
ROW_MOVES: dict[str, Move] = {
    "flip": lambda x: x[::-1],
    "slice": lambda x: x[1:],
    "gather": lambda x: x[gc.constant([2, 0, 2, 1])],
    "repeat": lambda x: gc.repeat(x, 2, axis=0),
    "roll": lambda x: gc.roll(x, 1, axis=0),
}
"""Moves of whole rows, which no reduction over a row minds."""
BOTH: dict[str, Move] = {
    "concat": lambda x: gc.concat([x[1:], x]),
    "concat with a constant": lambda x: gc.concat([gc.full_like(x, _other(x)), x]),
    "where": lambda x: gc.where(gc.reshape(gc.arange(x.shape[0]) > 0, (-1,) + (1,) * (x.ndim - 1)), x, _other(x)),
    "pad": lambda x: gc.pad(x, [(1, 0)] + [(0, 0)] * (x.ndim - 1), constant_values=_other(x)),
    "float32": lambda x: x if x.dtype.kind == "i" else x.astype("float32"),
    "two": lambda x: gc.concat([x[::-1][1:], x[:1]])[::-1],
}
LOOPS = ("a loop around the part", "a loop around the rest")
FORMS: dict[str, Callable[[Node], Node]] = {
    "negated": lambda x: -x,
    "scaled": lambda x: 3 * x,
    "halved": lambda x: x / 2,
}
"""What is done to the pattern as a whole."""


@dataclass(frozen=True)
class Spelling:
    """One way to write one rule's pattern, and the place in the plain pattern of every element (-1: of none)."""

    rule: Rule
    name: str
    wilds: tuple[Node, ...]
    plain: Node
    spelled: Node
    places: Array
    factor: float = 1.0

    @property
    def is_float32(self) -> bool:
        """Whether a part is computed in float32."""
        return any(n.dtype == np.float32 for n in Graph([self.spelled]).nodes)


def is_scalar(rule: Rule) -> bool:
    """Tell whether a rule's pattern is elementwise."""
    return all(d.shape == () and d is not AXES for d in rule.domain)


def operands(rule: Rule) -> list[Any]:
    """Return placeholders for the wildcards, (2, 4) arrays for elementwise patterns; literals where those are asked."""
    wide = [replace(d, shape=(2, 4)) if is_scalar(rule) and not d.literals else d for d in rule.domain]
    return [d.instance(name) for name, d in zip(rule.wildcards, wide, strict=True)]


def spellings(rule: Rule) -> Iterator[Spelling]:
    """Yield the plain pattern, its forms, and every part with every move."""
    given = operands(rule)
    plain = rule.pattern(*given)
    found_below = Graph([plain]).inputs
    wilds = tuple(x for name in rule.wildcards for x in found_below if x.name == name)
    own = np.arange(int(np.prod([int(s) for s in plain.shape])), dtype=np.int64).reshape([int(s) for s in plain.shape])

    def found(name: str, spelled: Node, places: Array = own, factor: float = 1.0) -> Spelling:
        return Spelling(rule, f"{rule.text}: {name}", wilds, plain, spelled, places, factor)

    yield found("plain", plain)
    yield found("commuted", _rebuilt(plain, {x: x for x in wilds}, commuted=True))
    for name, form in FORMS.items():
        yield found(name, form(plain), factor=float(form(gc.constant(1.0)).eval()))
    if not is_scalar(rule) and AXES not in rule.domain:
        return  # a product of matrices has no rows of its own
    moves = (MOVES if is_scalar(rule) else ROW_MOVES) | BOTH
    for number, part in enumerate(parts(plain, wilds)):
        for name, move in moves.items():
            spelled = _moved(plain, part, wilds, move)
            places = evaluate(move(gc.constant(own)), {})
            yield found(f"{name} behind {part.op.name} {number}", spelled, places)
        for name in LOOPS:
            build = _part_in_loop if name == LOOPS[0] else _rest_in_loop
            yield found(f"{name}, {part.op.name} {number}", build(plain, part, wilds))


def parts(plain: Node, wilds: Sequence[Node]) -> list[Node]:
    """Return what the pattern computes from its wildcards on the way, but for views."""
    inner = [n for n in Graph([plain]).nodes if n not in wilds and n is not plain and not isinstance(n.op, Broadcast)]
    return [n for n in inner if literal(n) is None and n.dtype.kind == "f"]


def _rebuilt(node: Node, known: dict[Node, Node], *, commuted: bool = False, dropped: bool = False) -> Node:
    """Build a pattern again on other nodes; `dropped`: without the first axis."""
    built = dict(known)
    for n in Graph([node]).nodes:
        if n in built:
            continue
        value = literal(n)
        if value is not None:
            built[n] = gc.constant(value, n.dtype)
            continue
        inputs = [built[x] for x in n.inputs]
        if isinstance(n.op, Elementwise):
            floats = {x.dtype for x, old in zip(inputs, n.inputs, strict=True) if literal(old) is None}
            weak = [
                x if literal(old) is None else x.astype(max(floats)) for x, old in zip(inputs, n.inputs, strict=True)
            ]
            built[n] = pointwise(n.op, *(weak[::-1] if commuted and n.op.commutative else weak))
        elif isinstance(n.op, Broadcast):
            built[n] = _kept(n.op, inputs[0], dropped)
        elif isinstance(n.op, (Reduction, LogSumExp)):
            built[n] = apply(replace(n.op, axes=tuple(a - dropped for a in n.op.axes)), *inputs)
        elif isinstance(n.op, (Softmax, LogSoftmax, Cumulative)):
            built[n] = apply(replace(n.op, axis=n.op.axis - dropped), *inputs)
        else:
            built[n] = apply(n.op, *inputs)
    return built[node]


def _kept(op: Broadcast, x: Node, dropped: bool) -> Node:
    """Insert axes again where other rows have come out of a move."""
    if dropped:
        return broadcast(x, op.shape[1:], tuple(a - 1 for a in op.axes[1:]))
    return broadcast(x, (x.shape[0], *op.shape[1:]), op.axes) if op.axes[:1] == (0,) else x


def _moved(plain: Node, part: Node, wilds: Sequence[Node], move: Move) -> Node:
    inside = set(Graph([part]).nodes)
    below = {x: move(x) for x in [*wilds, part]}
    assert part not in wilds and inside
    return _rebuilt(plain, below)


def _part_in_loop(plain: Node, part: Node, wilds: Sequence[Node]) -> Node:
    read = [x for x in wilds if x in Graph([part]).index]

    def body(rows: Any) -> Node:
        return _rebuilt(part, dict(zip(read, rows, strict=True)), dropped=True)

    return _rebuilt(plain, {**{x: x for x in wilds}, part: gc.map(body, tuple(read))})


def _rest_in_loop(plain: Node, part: Node, wilds: Sequence[Node]) -> Node:
    def body(rows: Any) -> Node:
        return _rebuilt(plain, dict(zip([part, *wilds], rows, strict=True)), dropped=True)

    found: Node = gc.map(body, (part, *wilds))
    return found
