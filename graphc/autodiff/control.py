"""Loops for users: `scan`, `fori_loop`, `map`, `associative_scan`, `while_loop`, with JAX's signatures and meaning.

The loop body is traced once into a graph. What it takes from outside is captured by closure: everything that does
not depend on the loop's own values is computed before the loop, so loop-invariant code moves out by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.autodiff.branch import cond
from graphc.autodiff.grad import zeros_of
from graphc.autodiff.scan_rules import Traced, build_scan
from graphc.autodiff.streams import Streams, streams
from graphc.autodiff.tracing import condition, next_carry, require_functions
from graphc.autodiff.while_rules import build_while
from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node, serials
from graphc.graph.op import apply, constant, inside_node
from graphc.graph.tree import flatten, map_structure, unflatten
from graphc.graph.types import Dim, Size, TensorType, floor_div, isqrt, require_countable, size_max, size_min
from graphc.ops.creation import arange, iota
from graphc.ops.elementwise import where
from graphc.ops.elementwise_arithmetic import add, multiply, stop_gradient
from graphc.ops.limits import Limited
from graphc.ops.manipulation import expand_dims, moveaxis, squeeze
from graphc.ops.pointwise import as_node, broadcast_to_shape, size_node
from graphc.ops.random import UINT64
from graphc.ops.shape import axis_index, join, reshape_to, slice_axis

Step = Callable[[Any, Any], tuple[Any, Any]]


@checked
def scan(
    f: Step,
    init: Any,
    xs: Any = None,
    length: Any = None,
    *,
    reverse: bool = False,
    checkpoint: Any = None,
    until: Callable[[Any], Any] | None = None,
) -> tuple[Any, ...]:
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
        The number of steps, an int or `Dim` (below 0: none); needed where `xs` is None.
    reverse
        Run from the last element to the first; ys stay at their elements' positions.
    checkpoint
        Steps between the carries that a reverse derivative keeps; it computes the steps between them again, so that
        values are kept for one such stretch at a time. `"sqrt"` takes the square root of the length (Griewank &
        Walther, Algorithm 799, 2000, describe the trade). None keeps what is dear of all steps.
    until
        A function of the carry after a step that gives a 0-d bool: once it holds, `f` runs no more, and a step that is
        left costs tens of nanoseconds. The ys of those are 0, and the result is (carry, ys, count) with the int64
        number of steps that ran. Derivatives of any order pass through the steps that ran.

    Raises `ArgumentError`, `ShapeError`, `DTypeError` that show the carry before and after a step.

    >>> import graphc as gc
    >>> total, partial = gc.scan(lambda c, x: (c + x, c * x), 0.0, gc.arange(4, dtype="float64"))
    >>> total.eval(), partial.eval()
    (array(6.), array([0., 0., 2., 9.]))
    """
    require_functions("scan: f", f)
    if until is not None:
        require_functions("scan: until", until)
        outer = scan(_stopping(f, until), (False, 0, init), xs, length, reverse=reverse, checkpoint=checkpoint)
        (_, count, carry), ys = outer
        return carry, ys, count
    first = [as_node(leaf) for leaf in flatten(init)]
    sequences = [as_node(leaf) for leaf in flatten(xs)]
    steps = _steps(sequences, length)
    carries = [inside_node(f"carry{i}", x.type) for i, x in enumerate(first)]
    elements = [inside_node(f"x{i}", TensorType(x.dtype, x.shape[1:])) for i, x in enumerate(sequences)]
    since = next(serials)
    found = _result_pair(f(unflatten(init, carries), unflatten(xs, elements)))
    after = next_carry("scan: f", unflatten(init, carries), found[0])
    stacked = [as_node(leaf) for leaf in flatten(found[1])]
    traced = Traced(carries, elements, after, stacked)
    if drawn := streams([[*after, *stacked]], since):
        traced, begins = _drawing(traced, drawn, since, steps)
        sequences = [*sequences, begins]
    if checkpoint is None:
        outputs = build_scan(first, sequences, traced, steps, reverse, since=since)
    else:
        outputs = _in_chunks(first, sequences, traced, steps, reverse, _chunk(checkpoint, steps), since)
    return unflatten(init, outputs[: len(first)]), unflatten(found[1], outputs[len(first) :])


@checked
def while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any, *, max_steps: int | None = None
) -> Any:
    """Return the carry after `carry = body_fun(carry)` for as long as `cond_fun(carry)` holds.

    The loop has forward derivatives. With `max_steps` it has reverse ones too, at the cost of tens of nanoseconds
    for each of those steps that is left; where the condition still holds after them, the call raises `ArgumentError`.
    A loop that may stop there is `scan(..., length=max_steps, until=...)`, which tells how many steps it ran.

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
    test = condition("while_loop: cond_fun", cond_fun(unflatten(init_val, carries)))
    before = unflatten(init_val, carries)
    after = next_carry("while_loop: body_fun", before, body_fun(before))
    if drawn := streams([[test, *after]], since):
        begin = inside_node("draws", TensorType(UINT64, ()))
        test, *after = drawn.resume([test, *after], since, begin, list(drawn.keys.values()))
        after = [*after, add(begin, size_node(drawn.count, UINT64))]
        first, carries = [*first, constant(0, UINT64)], [*carries, begin]
    return unflatten(init_val, build_while(first, carries, test, after, since))


def _drawing(traced: Traced, drawn: Streams, since: int, steps: Size) -> tuple[Traced, Node]:
    """Return a body with one more element, where the step's draws begin, and the sequence of those."""
    begin = inside_node("draws", TensorType(UINT64, ()))
    outputs = drawn.resume([*traced.after, *traced.stacked], since, begin, list(drawn.keys.values()))
    begins = multiply(iota((steps,), 0, UINT64), size_node(drawn.count, UINT64))
    count = len(traced.after)
    return Traced(traced.carries, [*traced.elements, begin], outputs[:count], outputs[count:]), begins


def _bounded(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any, max_steps: int) -> Any:
    """Scan for `max_steps` steps, of which those after the condition fails only keep the carry."""
    steps = _count("while_loop: max_steps", max_steps, 0)

    def holds(value: Any) -> Node:
        return condition("while_loop: cond_fun", cond_fun(value))

    def step(state: Any, _: None) -> tuple[Any, None]:
        going, value = state

        def run() -> Any:
            after = unflatten(value, next_carry("while_loop: body_fun", value, body_fun(value)))
            return holds(after), after

        return cond(going, run, lambda: state), None

    start = map_structure(as_node, init_val)
    going, last = scan(step, (holds(start), start), None, length=steps)[0]
    return map_structure(lambda x: apply(Limited(), x, going), last)


def _stopping(f: Step, until: Callable[[Any], Any]) -> Step:
    """Return the step that runs `f` until the condition has held, and then only keeps the carry."""

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        done, count, carry = state
        shapes: list[Any] = []

        def run() -> Any:
            found = _result_pair(f(carry, x))
            after = next_carry("scan: f", carry, found[0])
            shapes.append(map_structure(as_node, found[1]))
            return (
                condition("scan: until", until(unflatten(carry, after))),
                count + 1,
                unflatten(carry, after),
            ), found[1]

        def rest() -> Any:
            return (done, count, carry), map_structure(zeros_of, shapes[0])

        state, ys = cond(done, rest, run)
        return state, ys

    return step


def _result_pair(found: Any) -> tuple[Any, Any]:
    if not isinstance(found, tuple) or len(found) != 2:
        raise ArgumentError(f"scan: f must return (carry, y), got {type(found).__name__}{at()}")
    return found


def _chunk(checkpoint: Any, steps: Size) -> Size:
    if isinstance(checkpoint, str) and checkpoint == "sqrt":
        return size_max(1, isqrt(steps))
    return size_max(1, _count('scan: checkpoint must be None, "sqrt" or a number of steps, which', checkpoint, 1))


def _in_chunks(
    first: Sequence[Node],
    sequences: Sequence[Node],
    traced: Traced,
    steps: Size,
    reverse: bool,
    chunk: Size,
    since: int,
) -> list[Node]:
    """Build a scan over chunks of steps, whose body is the scan over one chunk, and one over the rest."""
    count = floor_div(steps, chunk)
    whole = count * chunk
    carries = [inside_node(f"carry{i}", x.type) for i, x in enumerate(first)]
    elements = [inside_node(f"chunk{i}", TensorType(x.dtype, (chunk, *x.shape[1:]))) for i, x in enumerate(sequences)]
    inner = build_scan(carries, elements, traced, chunk, reverse, since=since)
    outer = Traced(carries, elements, inner[: len(first)], inner[len(first) :])

    def chunks(start: Sequence[Node]) -> list[Node]:
        parts = [slice_axis(x, 0, 0, whole) for x in sequences]
        rows = [reshape_to(x, (count, chunk, *x.shape[1:])) for x in parts]
        found = build_scan(start, rows, outer, count, reverse, chunk, since)
        stacks = [reshape_to(y, (whole, *y.shape[2:])) for y in found[len(first) :]]
        return [*found[: len(first)], *stacks]

    def rest(start: Sequence[Node]) -> list[Node]:
        parts = [slice_axis(x, 0, whole, steps - whole) for x in sequences]
        return build_scan(start, parts, traced, steps - whole, reverse, since=since)

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


def fori_loop(lower: Size, upper: Any, body: Callable[[Node, Any], Any], init: Any) -> Any:
    """Return the carry after `carry = body(i, carry)` for i from `lower` to `upper - 1`; sizes may be `Dim`s.

    >>> import graphc as gc
    >>> gc.fori_loop(1, 5, lambda i, p: p * i, 1).eval()
    array(24)
    """
    for bound in (lower, upper):
        if not isinstance(bound, (int, np.integer, Dim)) or isinstance(bound, bool):
            raise ArgumentError(
                f"fori_loop: bounds must be ints or dimensions, got {bound!r}; while_loop takes any condition{at()}"
            )
    require_functions("fori_loop: body", body)
    counter = arange(upper - lower, dtype="int64") + lower
    return scan(lambda carry, i: (body(i, carry), None), init, counter)[0]


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """Apply `f` to every element along the leading axis of `xs` and stack the results, one after the other.

    >>> import graphc as gc
    >>> gc.map(lambda x: x * x, gc.arange(3)).eval()
    array([0, 1, 4])
    """
    require_functions("map: f", f)
    return scan(lambda carry, x: (carry, f(x)), None, xs)[1]


@checked
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

    starts = [stop_gradient(expand_dims(_end(x, reverse), axis=place)) for x, place in zip(rows, places, strict=True)]
    _, found = scan(step, (False, unflatten(elems, starts)), unflatten(elems, rows), reverse=reverse)
    return unflatten(elems, [moveaxis(y, 0, place) for y, place in zip(found, places, strict=True)])


def _end(x: Node, last: bool) -> Node:
    """Return the first or last row, or zeros where there is none.

    The result of an associative scan's first step is not used, but `fn` may refuse zeros: singular matrices do.
    """
    count = size_min(x.shape[0], 1)
    row = slice_axis(x, 0, x.shape[0] - count if last else 0, count)
    zeros = broadcast_to_shape(constant(0, x.dtype), (1, *x.shape[1:]))
    return squeeze(slice_axis(join([row, zeros], 0), 0, 0, 1), 0)


def _steps(sequences: Sequence[Node], length: Any) -> Size:
    for x in sequences:
        if not x.shape:
            raise ShapeError(f"scan: xs needs a leading axis to run over, got {x!r}{at()}")
    if length is None and not sequences:
        raise ArgumentError(f"scan: length is needed where xs is None{at()}")
    return sequences[0].shape[0] if length is None else size_max(0, _count("scan: length", length, 0))


def _count(what: str, value: Any, least: int) -> Size:
    """Return a number of steps as a size, or raise."""
    if isinstance(value, Dim):
        return value
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{what} must be a dimension or an int of at least {least}, got {value!r}{at()}")
    require_countable(what, int(value))
    return int(value)
