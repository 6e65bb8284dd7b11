"""Whole derivatives as nodes: `jacobian`, `hessian`, and `hvp`, the product of a Hessian with a vector.

A Jacobian is a loop (`gc.map`) over one-hot directions: cotangents, one an element of y, through `vjp`, or tangents,
one an element of x, through `jvp`, whichever are fewer. What does not depend on the direction is computed once,
before the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from graphc.autodiff.control import map as map_over
from graphc.autodiff.grad import grad, jvp, vjp
from graphc.graph.arguments import checked, chosen
from graphc.graph.errors import ArgumentError, GradientError, at
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import constant
from graphc.graph.tree import flatten, leaves_like, unflatten
from graphc.graph.types import Size, bounds, is_float
from graphc.ops.creation import iota
from graphc.ops.elementwise_logic import equal
from graphc.ops.pointwise import cast
from graphc.ops.shape import permute, reshape_to

Method = Literal["auto", "forward", "reverse"]


@checked
def jacobian(y: Any, x: Any, *, method: Method = "auto", disconnected: str = "error") -> Any:
    """Return d y / d x, of shape y.shape + x.shape.

    `y` and `x` are float nodes or nestings of them: the result is the nesting of `y` with, in place of each leaf, the
    nesting of `x`. `method` is "reverse" (one `vjp` an element of y), "forward" (one `jvp` an element of x), or
    "auto", the one with fewer directions. Raises `GradientError` for a leaf of `x` that nothing in `y` depends on,
    unless `disconnected="zero"`.

    >>> import graphc as gc
    >>> x = gc.placeholder("x", shape=(2,))
    >>> gc.jacobian(x * x, x).eval({x: [1.0, 2.0]})
    array([[2., 0.],
           [0., 4.]])
    """
    chosen("jacobian: method", method, ("auto", "forward", "reverse"))
    chosen("jacobian: disconnected", disconnected, ("error", "zero"))
    heads, sources = _floats("y", y), _floats("x", x)
    if disconnected == "error":
        _require_connected(heads, sources)
    forward = method == "forward" or (method == "auto" and _forward_is_cheaper(heads, sources))
    rows = (_by_columns if forward else _by_rows)(heads, sources)
    return unflatten(y, [unflatten(x, row) for row in rows])


def hessian(loss: Node, x: Any) -> Any:
    """Return the second derivatives of a 0-d loss: x.shape + x.shape, or blocks for a nesting of `x`.

    Method: forward derivatives of the gradient, one direction an element of `x`.

    >>> import graphc as gc
    >>> x = gc.placeholder("x", shape=(2,))
    >>> gc.hessian(x[0] * x[1] ** 2, x).eval({x: [3.0, 5.0]})
    array([[ 0., 10.],
           [10.,  6.]])
    """
    return jacobian(grad(loss, x), x, method="forward", disconnected="zero")


def hvp(loss: Node, x: Any, v: Any) -> Any:
    """Return the Hessian of a 0-d loss times `v`, which has the structure and shapes of `x`, without the Hessian.

    Method: the forward derivative of the gradient along `v` (Pearlmutter 1994).

    >>> import graphc as gc
    >>> x = gc.placeholder("x", shape=(2,))
    >>> gc.hvp(x[0] * x[1] ** 2, x, [1.0, 0.0]).eval({x: [3.0, 5.0]})
    array([ 0., 10.])
    """
    return unflatten(x, jvp(flatten(grad(loss, x)), flatten(x), leaves_like(x, v, "hvp: v")))


def _floats(what: str, tree: Any) -> list[Node]:
    leaves = flatten(tree)
    for node in leaves:
        if not isinstance(node, Node):
            raise ArgumentError(f"jacobian: {what} must hold nodes, got {type(node).__name__}{at()}")
        if not is_float(node.dtype):
            raise GradientError(f"jacobian: {node!r} has dtype {node.dtype}; only floats have derivatives{at()}")
    return leaves


def _require_connected(heads: Sequence[Node], sources: Sequence[Node]) -> None:
    reached = Graph(heads).index
    for x in sources:
        if x not in reached:
            raise GradientError(f'jacobian: y does not depend on {x!r}; disconnected="zero" gives zeros{at()}')


def _forward_is_cheaper(heads: Sequence[Node], sources: Sequence[Node]) -> bool:
    """Tell whether x has surely no more elements than y; symbolic sizes that cannot be compared go in reverse."""
    surplus: Size = 0
    for node in heads:
        surplus = surplus + node.size
    for node in sources:
        surplus = surplus - node.size
    low = bounds(surplus)[0]
    return low is not None and low >= 0


def _by_rows(heads: Sequence[Node], sources: Sequence[Node]) -> list[list[Node]]:
    """Return the blocks through one vjp an element of y."""

    def pull(y: Node, g: Node) -> list[Node]:
        pulled: list[Node] = vjp([y], list(sources), [g], disconnected="zero")
        return pulled

    rows = []
    for y in heads:
        stacks = _over_directions(y, partial(pull, y))
        rows.append([reshape_to(s, y.shape + x.shape) for s, x in zip(stacks, sources, strict=True)])
    return rows


def _by_columns(heads: Sequence[Node], sources: Sequence[Node]) -> list[list[Node]]:
    """Return the blocks through one jvp an element of x."""

    def push(x: Node, t: Node) -> list[Node]:
        pushed: list[Node] = jvp(list(heads), [x], [t])
        return pushed

    columns = []
    for x in sources:
        stacks = _over_directions(x, partial(push, x))
        columns.append([_columns_last(s, y, x) for s, y in zip(stacks, heads, strict=True)])
    return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in heads]


def _columns_last(stack: Node, y: Node, x: Node) -> Node:
    """Turn derivatives stacked by element of x into shape y.shape + x.shape."""
    whole = reshape_to(stack, x.shape + y.shape)
    return permute(whole, (*range(x.ndim, x.ndim + y.ndim), *range(x.ndim)))


def _over_directions(node: Node, push: Callable[[Node], list[Node]]) -> list[Node]:
    """Stack what `push` returns for each one-hot direction in the space of `node`; a 0-d one has a single 1."""
    if node.size == 1:
        direction = reshape_to(constant([1], node.dtype), node.shape)
        return push(direction)
    places = iota((node.size,), 0)

    def along(k: Node) -> list[Node]:
        hit = cast(equal(places, k), node.dtype)
        return push(reshape_to(hit, node.shape))

    stacks: list[Node] = map_over(along, places)
    return stacks
