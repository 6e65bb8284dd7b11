"""Differentiation: `grad` and its relatives append ordinary nodes by the chain rule.

`grad` first brings the forward graph into the form that `function` computes (`NORMAL`), so that value and gradient
are built from one numerically safe form; then it walks the graph once in reverse topological order. Only nodes
between `wrt` and the loss are visited, cotangents accumulate as they arrive, and the result can be differentiated
again. A `wrt` that is itself computed is cut out of the graph before: passes see a placeholder in its place, and so
cannot look into it, or rewrite it away.

Where no `where` (or relu, maximum, clip) masks a cotangent upstream, the zero-absorbing products of the rules
become plain ones before the nodes are handed out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

from graphc.autodiff.curvature import has_radial, with_limits
from graphc.autodiff.masks import plain_products
from graphc.graph.arguments import checked, chosen
from graphc.graph.errors import ArgumentError, GradientError, ShapeError, at, blame, of_derivative
from graphc.graph.graph import Graph, collector_paused, note_derived, rebuild
from graphc.graph.node import Guard, Node
from graphc.graph.op import Placeholder, SharedValue, constant, inside_node
from graphc.graph.tree import flatten, leaves_like, unflatten
from graphc.graph.types import TupleType, is_float
from graphc.ops.control import Control, Project
from graphc.ops.creation import iota
from graphc.ops.elementwise import cos
from graphc.ops.pointwise import WHERE, Broadcast, as_node, broadcast_to_shape, cast, pointwise
from graphc.ops.shape import reshape_to
from graphc.ops.spectral import Eigh, Svd
from graphc.passes import NORMAL

Cotangents = dict[Node, Node]
Parts = dict[Node, list[Node | None]]
"""Cotangents or tangents of the results of ops with several."""


@overload
def grad(loss: Node, wrt: Node, *, disconnected: str = "error") -> Node: ...


@overload
def grad(loss: Node, wrt: list[Node], *, disconnected: str = "error") -> list[Node]: ...


@overload
def grad(loss: Node, wrt: Any, *, disconnected: str = "error") -> Any: ...


def grad(loss: Node, wrt: Any, *, disconnected: str = "error") -> Any:
    """Return d loss / d wrt: a Node for a Node, or the same nesting of list, tuple, dict.

    `loss` is a 0-d float node. A `wrt` the loss does not depend on raises `GradientError`, or gives zeros with
    `disconnected="zero"`. Method: reverse accumulation (Griewank & Walther, Evaluating Derivatives, ch. 3).

    >>> import graphc as gc
    >>> x = gc.placeholder("x")
    >>> gc.grad(x * x, x).eval({x: 3.0})
    array(6.)
    """
    return value_and_grad(loss, wrt, disconnected=disconnected)[1]


@overload
def value_and_grad(loss: Node, wrt: Node, *, disconnected: str = "error") -> tuple[Node, Node]: ...


@overload
def value_and_grad(loss: Node, wrt: list[Node], *, disconnected: str = "error") -> tuple[Node, list[Node]]: ...


@overload
def value_and_grad(loss: Node, wrt: Any, *, disconnected: str = "error") -> tuple[Node, Any]: ...


def value_and_grad(loss: Node, wrt: Any, *, disconnected: str = "error") -> tuple[Node, Any]:
    """Return `(loss, grad(loss, wrt))`, the loss in its stabilised form; see `grad`."""
    if not isinstance(loss, Node):
        raise ArgumentError(f"grad: loss must be a node, got {type(loss).__name__}{at()}")
    if loss.shape != ():
        raise GradientError(f"grad: loss must be 0-d, got {loss.type}; reduce it with .sum() or .mean(){at()}")
    one = constant(1, loss.dtype)
    with collector_paused():
        values, pulled = _pull([loss], flatten(wrt), [one], disconnected)
    return values[0], unflatten(wrt, pulled)


@checked
def vjp(outputs: Any, wrt: Any, cotangents: Any, *, disconnected: str = "error") -> Any:
    """Return the vector-Jacobian product: the gradient of sum(cotangent * output) over all outputs.

    `cotangents` has the structure, shapes and dtypes of `outputs`. Raises `GradientError`, `ShapeError`.
    """
    heads, seeds = flatten(outputs), leaves_like(outputs, cotangents, "vjp: cotangents")
    _check_outputs(heads)
    nodes = [_like(y, g, "vjp") for y, g in zip(heads, seeds, strict=True)]
    return unflatten(wrt, _pull(heads, flatten(wrt), nodes, disconnected)[1])


def jvp(outputs: Any, wrt: Any, tangents: Any) -> Any:
    """Return the Jacobian-vector product: the derivative of `outputs` as `wrt` moves along `tangents`.

    `tangents` has the structure, shapes and dtypes of `wrt`; the result that of `outputs`.
    """
    sources, moves = flatten(wrt), leaves_like(wrt, tangents, "jvp: tangents")
    _check_wrt(sources)
    with collector_paused():
        pushed = _pushed(flatten(outputs), sources, [_like(x, t, "jvp") for x, t in zip(sources, moves, strict=True)])
    return unflatten(outputs, pushed)


def jvp_inside(outputs: Sequence[Node], wrt: Sequence[Node], tangents: Sequence[Node]) -> list[Node]:
    """Return the tangents of the outputs of a loop's body or a branch; see `vjp_inside`."""
    return _pushed(outputs, wrt, tangents, inside=True)


def vjp_inside(outputs: Sequence[Node], wrt: Sequence[Node], cotangents: Sequence[Node]) -> list[Node]:
    """Return the cotangents of `wrt` in a loop's body or a branch, zeros where there are none.

    What masks them may be outside, so products stay zero-absorbing until `plain_products` sees the whole.
    """
    return _pull(outputs, wrt, cotangents, "zero", inside=True)[1]


def _pushed(
    outputs: Sequence[Node], wrt: Sequence[Node], tangents: Sequence[Node], *, inside: bool = False
) -> list[Node]:
    """Return the tangents of `outputs`."""
    _check_outputs(outputs)
    cut = _Cut(outputs, wrt)
    if any(isinstance(node.op, (Eigh, Svd)) for node in cut.graph.nodes):
        return _transposed(outputs, wrt, tangents, inside)
    moving: Cotangents = {cut.stands_for(x): t for x, t in zip(wrt, tangents, strict=True)}
    parts: Parts = {}
    for node in cut.graph.nodes:
        if isinstance(node.op, Project) and node.inputs[0] in parts:
            tangent = parts[node.inputs[0]][node.op.index]
            moving.update({} if tangent is None else {node: tangent})
        elif isinstance(node.op, Control) and any(x in moving for x in node.inputs):
            with blame(of_derivative(node.source)):
                parts[node] = list(node.op.rules.jvp(node.op, [moving.get(x) for x in node.inputs], node.inputs))
        elif node not in moving and is_float(node.dtype) and any(x in moving for x in node.inputs):
            _push(node, moving)
    pushed = [moving[y] if y in moving else zeros_of(y) for y in cut.heads]
    return cut.restored(pushed if inside else plain_products(pushed, cut.graph))


def _transposed(outputs: Sequence[Node], wrt: Sequence[Node], tangents: Sequence[Node], inside: bool) -> list[Node]:
    """Return tangents as the derivative of cotangents, which are linear in what is pulled back.

    Only cotangents know how results depend on eigenvectors, and so what their derivative is at equal eigenvalues. What
    is pulled back is arbitrary, but of no special values that would hide a derivative that does not exist.
    """
    probes = [_probe(y, number) for number, y in enumerate(outputs)]
    pulled = _pull(outputs, wrt, probes, "zero", inside=inside)[1]
    return _pull(pulled, probes, tangents, "zero", inside=inside)[1]


def _probe(y: Node, number: int) -> Node:
    places = cast(iota((y.size,), 0), y.dtype)
    return reshape_to(cos(places * 1.7 + (0.3 + number)) + 2.0, y.shape)


def _push(node: Node, moving: Cotangents) -> None:
    if not node.op.differentiable:
        return
    with blame(of_derivative(node.source)):
        tangent = node.op.jvp([moving.get(x) for x in node.inputs], node, *node.inputs)
    if tangent is not None:
        moving[node] = tangent


def _like(x: Node, value: Any, name: str) -> Node:
    """Return a cotangent or tangent as a node of the type of `x`."""
    node = cast(as_node(value, what=name), x.dtype)
    if node.ndim != x.ndim or any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(node.shape, x.shape, strict=True)
    ):
        raise ShapeError(f"{name}: {node.type} given for {x!r}{at()}")
    return node


def zeros_of(x: Node) -> Node:
    """Return zeros of a node's type."""
    return broadcast_to_shape(constant(0, x.dtype), x.shape)


def masked_zeros(x: Node) -> Node:
    """Return zeros of a node's type that count as masked: the tangent with which a carry starts that has none."""
    return pointwise(WHERE, constant(True), zeros_of(x), zeros_of(x))


def _check_wrt(wrt: Sequence[Any]) -> None:
    for x in wrt:
        if not isinstance(x, Node):
            raise ArgumentError(f"grad: wrt must hold nodes, got {type(x).__name__}{at()}")
        if not is_float(x.dtype):
            raise GradientError(f"grad: {x!r} has dtype {x.dtype}; only floats have gradients{at()}")


def _check_outputs(outputs: Sequence[Any]) -> None:
    for y in outputs:
        if not isinstance(y, Node):
            raise ArgumentError(f"grad: outputs must be nodes, got {type(y).__name__}{at()}")
        if not is_float(y.dtype):
            raise GradientError(f"grad: {y!r} has dtype {y.dtype}; only floats have gradients{at()}")


class _Cut:
    """The normalised graph of `outputs`, in which placeholders stand for every `wrt` that is computed.

    `heads` are the outputs in it, `definitions` what stands behind each placeholder, whose operands are part of the
    graph too (a `wrt` may depend on another one). A definition comes before its placeholder in `graph.nodes`.
    """

    def __init__(self, outputs: Sequence[Node], wrt: Sequence[Node]) -> None:
        self.given = Graph(outputs)
        computed = {x for x in wrt if not isinstance(x.op, (Placeholder, SharedValue))}
        self.names = {x: inside_node("wrt", x.type) for x in self.given.nodes if x in computed}
        written: Cotangents = {}

        def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
            if node not in self.names:
                return None
            written[node] = rebuild(node, inputs)
            return self.names[node]

        heads = self.given.map(visit)[0].outputs if self.names else self.given.outputs
        graph = Graph([*written.values(), *heads])
        for normalise in NORMAL:
            graph = normalise(graph)
        self.again = has_radial(graph)
        graph = with_limits(graph) if self.again else graph
        self.graph, self.heads = graph, graph.outputs[len(written) :]
        self.definitions = dict(zip(self.names.values(), graph.outputs, strict=False))

    def stands_for(self, x: Node) -> Node:
        """Return the node of the graph that is `x`."""
        return self.names.get(x, x)

    def restored(self, derived: Sequence[Node]) -> list[Node]:
        """Return derivatives on the nodes that were cut out, with the guards of what they were derived from.

        What they were derived from need not be computed itself.
        """
        derived = with_limits(Graph(derived), self.graph.index).outputs if self.again else derived
        nodes = (
            Graph(derived).replace({name: x for x, name in self.names.items()})[0].outputs if self.names else derived
        )
        guards = tuple({(left, right): guard for guard in self.given.guards for left, right, *_ in (guard,)}.values())
        found = [_with_guards(node, guards) for node in nodes] if guards else list(nodes)
        note_derived(found, self.given)
        return found


def _pull(
    outputs: Sequence[Node], wrt: Sequence[Node], seeds: Sequence[Node], disconnected: str, *, inside: bool = False
) -> tuple[list[Node], list[Node]]:
    """Return the normalised outputs and the cotangents of `wrt`."""
    _check_wrt(wrt)
    chosen("grad: disconnected", disconnected, ("error", "zero"))
    _check_outputs(outputs)
    cut = _Cut(outputs, wrt)
    _check_connected(cut.given, wrt, disconnected)
    reached = _depends_on(cut.graph, {cut.stands_for(x) for x in wrt})
    cotangents: Cotangents = {}
    for y, g in zip(cut.heads, seeds, strict=True):
        _accumulate(cotangents, y, g)
    parts: Parts = {}
    for node in reversed(cut.graph.nodes):
        if isinstance(node.op, Project):
            _pull_project(node, node.op.index, cotangents, parts)
        elif isinstance(node.op, Control):
            _pull_several(node, node.op, cotangents, parts, reached)
        elif node in cotangents and node in cut.definitions:
            _accumulate(cotangents, cut.definitions[node], cotangents[node])
        elif node in cotangents and node in reached:
            _pull_node(node, cotangents, reached)
    pulled = [cotangents.get(cut.stands_for(x)) for x in wrt]
    found = [zeros_of(x) if g is None else g for x, g in zip(wrt, pulled, strict=True)]
    restored = cut.restored([*cut.heads, *(found if inside else plain_products(found, cut.graph))])
    return restored[: len(outputs)], restored[len(outputs) :]


def _with_guards(node: Node, guards: tuple[Guard, ...]) -> Node:
    if isinstance(node.op, (Placeholder, SharedValue)):  # equal only to themselves
        return Node(Broadcast(node.shape, tuple(range(node.ndim))), (node,), node.type, node.source, guards)
    return Node(node.op, node.inputs, node.type, node.source, (*node.guards, *guards))


def _depends_on(graph: Graph, wrt: set[Node]) -> set[Node]:
    """Return what depends on `wrt` through values that have derivatives."""
    return graph.descendants([x for x in wrt if x in graph.dag], through=_has_derivative)


def _has_derivative(node: Node) -> bool:
    return is_float(node.dtype) or isinstance(node.op, Control)


def _pull_project(node: Node, index: int, cotangents: Cotangents, parts: Parts) -> None:
    """Hand the cotangent of one result to the op that has several."""
    if node in cotangents:
        (several,) = node.inputs
        assert isinstance(several.type, TupleType)
        found = parts.setdefault(several, [None] * len(several.type.types))
        before, g = found[index], cotangents[node]
        found[index] = g if before is None else before + g


def _pull_several(node: Node, op: Control, cotangents: Cotangents, parts: Parts, reached: set[Node]) -> None:
    if node not in parts or node not in reached:
        return
    with blame(of_derivative(node.source)):
        for x, g in zip(node.inputs, op.rules.vjp(op, parts[node], node, node.inputs), strict=True):
            if g is not None and x in reached:
                _accumulate(cotangents, x, g)


def _check_connected(graph: Graph, wrt: Iterable[Node], disconnected: str) -> None:
    lost = [x for x in wrt if x not in graph.dag]
    if lost and disconnected == "error":
        raise GradientError(f'grad: the loss does not depend on {lost[0]!r}; disconnected="zero" gives zeros{at()}')


def _pull_node(node: Node, cotangents: Cotangents, reached: set[Node]) -> None:
    if not node.inputs or not node.op.differentiable:
        return
    wanted = [x in reached for x in node.inputs]
    with blame(of_derivative(node.source)):
        for x, g in zip(node.inputs, node.op.pullback(cotangents[node], node, wanted), strict=True):
            if g is not None and x in reached:
                _accumulate(cotangents, x, g)


def _accumulate(cotangents: Cotangents, x: Node, g: Node) -> None:
    assert len(g.shape) == len(x.shape) and g.dtype == x.dtype, f"cotangent {g.type} of {x!r}"
    cotangents[x] = cotangents[x] + g if x in cotangents else g
