"""Loops for users: `scan`, `fori_loop` and `map`, with JAX's signatures and meaning.

The loop body is traced once into a graph. What it takes from outside is captured by closure: everything that does
not depend on the loop's own values is computed before the loop, so loop-invariant code moves out by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.graph import topological_order
from graphc.node import Node, serials
from graphc.ops.base import constant
from graphc.ops.creation import arange
from graphc.ops.elementwise import where
from graphc.ops.manipulation import expand_dims, moveaxis, squeeze
from graphc.ops.pointwise import as_node, broadcast_to_shape, cast
from graphc.ops.random import Draw
from graphc.ops.shape import axis_index, join, reshape_to, slice_axis
from graphc.scan_rules import Traced, build_scan, inside_node
from graphc.tree import flatten, flatten_like, show_structure, unflatten
from graphc.types import Dim, Size, TensorType, floor_div, isqrt, size_max

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
