"""Loops for users: `scan`, `fori_loop` and `map`, with JAX's signatures and meaning.

The loop body is traced once into a graph. What it takes from outside is captured by closure: everything that does
not depend on the loop's own values is computed before the loop, so loop-invariant code moves out by construction.
The adjoint of a scan is a scan over the same body's vjp, in the opposite direction, which reads the carries that
the forward loop stacked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.evaluate import run_graph
from graphc.grad import jvp, vjp, zeros_of
from graphc.graph import Graph, topological_order
from graphc.node import Node, serials
from graphc.ops.base import Constant, Placeholder, View, apply, constant
from graphc.ops.control import Result, Scan, project
from graphc.ops.creation import Iota, arange
from graphc.ops.elementwise import where
from graphc.ops.manipulation import expand_dims, moveaxis, squeeze
from graphc.ops.pointwise import Cast, DimValue, as_node, broadcast_to_shape, cast
from graphc.ops.random import Draw
from graphc.ops.shape import axis_index, join, reshape_to, slice_axis
from graphc.tree import flatten, flatten_like, show_structure, unflatten
from graphc.types import Array, Dim, Size, Sizes, TensorType, floor_div, is_float, isqrt, size_max, size_value

Step = Callable[[Any, Any], tuple[Any, Any]]


def scan(
    f: Step, init: Any, xs: Any = None, length: Any = None, *, reverse: bool = False, checkpoint: Any = None
) -> tuple[Any, Any]:
    """Run `carry, y = f(carry, x)` over the leading axis of `xs` and return the last carry and the stacked ys.

    Parameters
    ----------
    f
        Takes the carry and one element of `xs`; returns the next carry, of the same structure, shapes and dtypes,
        and any nesting of results (None for none). It is called once, to build the graph; it may use outer nodes.
    init
        The first carry: a node, array or number, or any nesting.
    xs
        Arrays that agree in their leading axis, in any nesting; None to run `length` steps without input.
    length
        The number of steps, an int or `Dim`; needed where `xs` is None.
    reverse
        Run from the last element to the first; ys stay at their elements' positions.
    checkpoint
        Steps between the carries that a reverse derivative keeps; it computes the steps between them again, so that
        values are kept for one such stretch at a time. `"sqrt"` takes the square root of the length (Griewank &
        Walther, Algorithm 799, 2000, describe the trade). None keeps what is dear of all steps.

    Raises `ArgumentError`, `ShapeError`, `DTypeError` that show the carry before and after a step.

    >>> import graphc as gc
    >>> total, partial = gc.scan(lambda c, x: (c + x, c * x), 0.0, gc.arange(4, dtype="float64"))
    >>> total.eval(), partial.eval()
    (array(6.), array([0., 0., 2., 9.]))
    """
    require_functions("scan: f", f)
    first = [as_node(leaf) for leaf in flatten(init)]
    sequences = [as_node(leaf) for leaf in flatten(xs)]
    steps = _steps(sequences, length)
    carries = [inside_node(f"carry{i}", x.type) for i, x in enumerate(first)]
    elements = [inside_node(f"x{i}", TensorType(x.dtype, x.shape[1:])) for i, x in enumerate(sequences)]
    since = next(serials)
    found = f(unflatten(init, carries), unflatten(xs, elements))
    if not isinstance(found, tuple) or len(found) != 2:
        raise ArgumentError(f"scan: f must return (carry, y), got {type(found).__name__}{at()}")
    after = next_carry("scan: f", unflatten(init, carries), found[0])
    stacked = [as_node(leaf) for leaf in flatten(found[1])]
    refuse_draws("scan", [*after, *stacked], since)
    traced = Traced(carries, elements, after, stacked)
    if checkpoint is None:
        outputs = build_scan(first, sequences, traced, steps, reverse)
    else:
        outputs = _in_chunks(first, sequences, traced, steps, reverse, _chunk(checkpoint, steps))
    return unflatten(init, outputs[: len(first)]), unflatten(found[1], outputs[len(first) :])


@dataclass(frozen=True)
class Traced:
    """A body as `f` built it: its placeholders, its next carries, and what it stacks."""

    carries: Sequence[Node]
    elements: Sequence[Node]
    after: Sequence[Node]
    stacked: Sequence[Node]


def _chunk(checkpoint: Any, steps: Size) -> Size:
    if checkpoint == "sqrt":
        return size_max(1, isqrt(steps))
    if not isinstance(checkpoint, (int, Dim)) or isinstance(checkpoint, bool) or checkpoint == 0:
        raise ArgumentError(f'scan: checkpoint must be a positive int, "sqrt" or None, got {checkpoint!r}{at()}')
    if isinstance(checkpoint, int) and checkpoint < 0:
        raise ArgumentError(f"scan: checkpoint must be positive, got {checkpoint}{at()}")
    return checkpoint


def _in_chunks(
    first: Sequence[Node], sequences: Sequence[Node], traced: Traced, steps: Size, reverse: bool, chunk: Size
) -> list[Node]:
    """Build a scan over chunks of steps, whose body is the scan over one chunk, and one over the rest."""
    count = floor_div(steps, chunk)
    whole = count * chunk
    carries = [inside_node(f"carry{i}", x.type) for i, x in enumerate(first)]
    elements = [inside_node(f"chunk{i}", TensorType(x.dtype, (chunk, *x.shape[1:]))) for i, x in enumerate(sequences)]
    inner = build_scan(carries, elements, traced, chunk, reverse)
    outer = Traced(carries, elements, inner[: len(first)], inner[len(first) :])

    def chunks(start: Sequence[Node]) -> list[Node]:
        parts = [slice_axis(x, 0, 0, whole) for x in sequences]
        rows = [reshape_to(x, (count, chunk, *x.shape[1:])) for x in parts]
        found = build_scan(start, rows, outer, count, reverse, chunk)
        stacks = [reshape_to(y, (whole, *y.shape[2:])) for y in found[len(first) :]]
        return [*found[: len(first)], *stacks]

    def rest(start: Sequence[Node]) -> list[Node]:
        parts = [slice_axis(x, 0, whole, steps - whole) for x in sequences]
        return build_scan(start, parts, traced, steps - whole, reverse)

    if count == 0:
        return rest(first)
    if whole == steps:
        return chunks(first)
    before, behind = (rest, chunks) if reverse else (chunks, rest)
    early = before(first)
    late = behind(early[: len(first)])
    pairs = zip(early[len(first) :], late[len(first) :], strict=True)
    stacks = [join([b, a] if reverse else [a, b], 0) for a, b in pairs]
    return [*late[: len(first)], *stacks]


def fori_loop(lower: int, upper: Any, body: Callable[[Node, Any], Any], init: Any) -> Any:
    """Return the carry after `carry = body(i, carry)` for i from `lower` to `upper - 1`; sizes may be `Dim`s.

    >>> import graphc as gc
    >>> gc.fori_loop(1, 5, lambda i, p: p * i, 1).eval()
    array(24)
    """
    counter = arange(upper - lower, dtype="int64") + lower
    return scan(lambda carry, i: (body(i, carry), None), init, counter)[0]


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """Apply `f` to every element along the leading axis of `xs` and stack the results, one after the other.

    >>> import graphc as gc
    >>> gc.map(lambda x: x * x, gc.arange(3)).eval()
    array([0, 1, 4])
    """
    return scan(lambda carry, x: (carry, f(x)), None, xs)[1]


def associative_scan(fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """Return the running combination of the elements along `axis`: y[0] = x[0], y[i] = fn(y[i - 1], x[i]).

    `fn` is associative and takes two structures like `elems`, whose leaves keep `axis`, with one element. With
    `reverse` it runs from the last element: y[i] = fn(y[i + 1], x[i]). On one core the sequential order is the
    fastest, and its rounding errors are those of the plain loop.

    >>> import graphc as gc
    >>> gc.associative_scan(lambda a, b: a * b, gc.arange(1, 6)).eval()
    array([  1,   2,   6,  24, 120])
    """
    require_functions("associative_scan: fn", fn)
    leaves = [as_node(leaf) for leaf in flatten(elems)]
    if not leaves:
        raise ArgumentError(f"associative_scan: elems has no arrays{at()}")
    places = [axis_index("associative_scan", axis, x.ndim) for x in leaves]
    rows = [moveaxis(x, place, 0) for x, place in zip(leaves, places, strict=True)]

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        started, before = carry
        wide = [expand_dims(v, axis=place) for v, place in zip(flatten(x), places, strict=True)]
        both = next_carry("associative_scan: fn", unflatten(elems, wide), fn(before, unflatten(elems, wide)))
        after = [where(started, y, v) for y, v in zip(both, wide, strict=True)]
        return (True, unflatten(elems, after)), [squeeze(y, place) for y, place in zip(after, places, strict=True)]

    starts = [broadcast_to_shape(constant(0, x.dtype), _one_element(x, p)) for x, p in zip(leaves, places, strict=True)]
    _, found = scan(step, (False, unflatten(elems, starts)), unflatten(elems, rows), reverse=reverse)
    return unflatten(elems, [moveaxis(y, 0, place) for y, place in zip(found, places, strict=True)])


def _one_element(x: Node, place: int) -> tuple[Size, ...]:
    return (*x.shape[:place], 1, *x.shape[place + 1 :])


def require_functions(what: str, *functions: Any) -> None:
    """Raise where a node or a value was given instead of a function that builds one."""
    for f in functions:
        if not callable(f):
            raise ArgumentError(f"{what} must be functions, got {type(f).__name__}; write lambda: ...{at()}")


def refuse_draws(name: str, outputs: Sequence[Node], since: int) -> None:
    """Raise for a random draw inside a loop: it would be made once, and every step would see the same numbers."""
    drawn = [n for n in topological_order(outputs) if isinstance(n.op, Draw) and n.serial >= since]
    if drawn:
        raise ArgumentError(
            f"{name}: a draw inside the loop would give every step the same numbers; draw all of them before the loop"
            f" and pass them as xs{at(drawn[0].source)}"
        )


def _steps(sequences: Sequence[Node], length: Any) -> Size:
    for x in sequences:
        if not x.shape:
            raise ShapeError(f"scan: xs needs a leading axis to run over, got {x!r}{at()}")
    if length is None and not sequences:
        raise ArgumentError(f"scan: length is needed where xs is None{at()}")
    found: Size = sequences[0].shape[0] if length is None else length
    if not isinstance(found, (int, Dim)) or isinstance(found, bool):
        raise ArgumentError(f"scan: length must be an int or a dimension, got {length!r}{at()}")
    return found


def inside_node(name: str, type_: TensorType) -> Node:
    """Return a placeholder of a graph inside an op."""
    return Node(Placeholder(name, type_), (), type_, ("<scan>", 0))


def next_carry(what: str, before: Any, found: Any) -> list[Node]:
    """Return the leaves of the carry after a step, which must be like those before it."""
    leaves = flatten_like(before, found)
    if leaves is None:
        raise ArgumentError(f"{what} changes the structure of the carry{_both(before, found)}")
    after = []
    for was, leaf in zip(flatten(before), leaves, strict=True):
        node = as_node(leaf) if isinstance(leaf, Node) else cast(as_node(leaf), was.dtype)
        if node.dtype != was.dtype:
            raise DTypeError(
                f"{what} changes the dtype of a part of the carry from {was.dtype} to {node.dtype}"
                f"{_both(before, found)}"
            )
        if node.shape != was.shape:
            raise ShapeError(f"{what} changes the shape of a part of the carry{_both(before, found)}")
        after.append(node)
    return after


def _both(before: Any, after: Any) -> str:
    def shown(tree: Any) -> str:
        return show_structure(tree, lambda leaf: str(leaf.type) if isinstance(leaf, Node) else repr(leaf))

    return f": it takes {shown(before)} and returns {shown(after)}{at()}"


def build_scan(
    first: Sequence[Node], sequences: Sequence[Node], traced: Traced, length: Size, reverse: bool, chunk: Size = 0
) -> list[Node]:
    """Close a traced body over its outer values and return the last carries and the stacked results."""
    own = [*traced.carries, *traced.elements]
    outputs = [*traced.after, *traced.stacked]
    captured = capture(own, outputs)
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


def capture(own: Sequence[Node], outputs: Sequence[Node], since: int | None = None) -> list[Node]:
    """Return the outer values that a traced graph reads, the largest that do not depend on it.

    Inside is what depends on the placeholders `own`; for a branch, whose work must not be done outside, also every
    node built `since` a serial number. Literals are no captures: they are repeated inside.
    """
    inside = set(own)
    literal: set[Node] = set()
    order = topological_order(outputs)
    for node in order:
        young = since is not None and node.serial >= since and node.inputs
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
        pulled = vjp(outputs, wrt, [*g_carry, *g_head.values()], disconnected="zero") if outputs else []
        after = [
            g + g_received[i] if i in g_received else g for i, g in zip(floats, pulled[: len(floats)], strict=True)
        ]
        rest = dict(zip(moved, pulled[len(floats) :], strict=True))
        after += [s + rest[x] for s, x in zip(g_sum, sums, strict=True)]
        g_elements = [rest[x] for x in elements if x in rest]
        built = substitute([*after, *g_elements], op, inputs)
        seeds = [given["final", i] for i in floats]
        start = [zeros_of(inputs[i]) if g is None else g for i, g in zip(floats, seeds, strict=True)]
        start += [zeros_of(inputs[op.body.inputs.index(x)]) for x in sums]
        sequences = [*inputs[op.carries : op.carries + op.sequences], *(received[i] for i in range(op.carries))]
        sequences += [_some(given["stacked", j]) for j in g_head] + [_some(given["carry", i]) for i in g_received]
        inside = [*elements, *carries, *g_head.values(), *g_received.values()]
        traced = Traced([*g_carry, *g_sum], inside, built[: len(after)], built[len(after) :])
        results = build_scan(start, sequences, traced, op.length, not op.reverse, op.chunk)
        found: dict[Node, Node] = {carries[i]: r for i, r in zip(floats, results, strict=False)}
        found |= dict(zip(sums, results[len(floats) :], strict=False))
        found |= dict(zip([x for x in elements if x in rest], results[len(after) :], strict=True))
        return tuple(found.get(x) for x in op.body.inputs)

    def jvp(self, op: Scan, tangents: Sequence[Node | None], inputs: Sequence[Node]) -> tuple[Node | None, ...]:
        """Scan over values and tangents together."""
        moving = [x for x in op.body.inputs if is_float(x.dtype)]
        inner = {x: inside_node(f"t{i}", x.type) for i, x in enumerate(moving)}
        floats = [y for y in op.body.outputs if is_float(y.dtype)]
        pushed = dict(zip(floats, jvp(floats, moving, list(inner.values())), strict=True))
        outer_tangents = {x: t for x, t in zip(op.body.inputs, tangents, strict=True) if x in inner}
        own = op.body.inputs[: op.carries + op.sequences]
        full = {x: t if t is not None else zeros_of(inputs[op.body.inputs.index(x)]) for x, t in outer_tangents.items()}
        bind = {inner[x]: full[x] for x in moving if x not in own}
        nodes = [*op.body.outputs, *(pushed[y] for y in floats)]
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
        results = build_scan(starts, rows, traced, op.length, op.reverse, op.chunk)
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
