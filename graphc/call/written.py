"""The graph of a program as its user wrote it: outputs, updates and givens, checked, and what random draws add."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphc.call.expected import warn_of_forgotten_updates
from graphc.call.signature import Signature
from graphc.graph.arrays import fitted
from graphc.graph.draws import place_draws
from graphc.graph.errors import ArgumentError, DTypeError, ShapeError, at, user_source
from graphc.graph.graph import Graph, require_inputs
from graphc.graph.node import Guard, Node, Shared
from graphc.graph.op import constant
from graphc.graph.substitution import require_sizes, sizes_of_replaced, substitute_guards
from graphc.graph.tree import flatten
from graphc.graph.types import Size, symbol_name
from graphc.ops.pointwise import broadcast

Updates = Mapping[Shared, Any] | Iterable[tuple[Shared, Any]]


def output_nodes(outputs: Any) -> list[Node]:
    """Return the nodes of a nesting of outputs, or raise for what is none."""
    nodes = flatten(outputs)
    for node in nodes:
        if not isinstance(node, Node):
            raise ArgumentError(f"outputs must be nodes, got {type(node).__name__}: {node!r}{at()}")
    return nodes


def checked_updates(updates: Updates | None) -> list[tuple[Shared, Node]]:
    """Return the states and their new values, each of the type of its state."""
    pairs = list(updates.items()) if isinstance(updates, Mapping) else () if updates is None else updates
    checked: list[tuple[Shared, Node]] = []
    seen: set[Node] = set()
    for target, value in _as_pairs(pairs):
        if not isinstance(target, Shared):
            raise ArgumentError(f"updates: {target!r} is not shared; make it with gc.shared(...){at()}")
        if target in seen:
            raise ArgumentError(f"updates: {target.name!r} is updated twice{at()}")
        what = f"update of {target.name}"
        node = value if isinstance(value, Node) else constant(fitted(what, value, target.dtype, str(target.type)))
        if node.dtype != target.dtype:
            raise DTypeError(
                f"update of {target.name}: {node.type} given, {target.type} needed; convert with"
                f" .astype({target.dtype.name!r}){at()}"
            )
        if node.ndim != target.ndim or _differ(node, target):
            raise ShapeError(f"update of {target.name}: {node.type} given, {target.type} needed{at()}")
        seen.add(target)
        checked.append((target, node))
    return checked


def _as_pairs(pairs: Any) -> list[tuple[Any, Any]]:
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
        raise ArgumentError(f"updates maps shared nodes to new values, got {pairs!r}{at()}")
    return [(target, value) for target, value in pairs]


def _differ(a: Node, b: Node) -> bool:
    pairs = zip(a.shape, b.shape, strict=True)
    return any(isinstance(m, int) and isinstance(n, int) and m != n for m, n in pairs)


def make_graph(
    signature: Signature,
    outputs: Sequence[Node],
    pairs: Sequence[tuple[Shared, Node]],
    givens: Mapping[Node, Node],
) -> Graph:
    """Return the graph of a program, with givens replaced and generators advanced."""
    extra = _check_givens(givens)
    nodes = [*outputs, *(value for _, value in pairs)]
    if givens:
        names = sizes_of_replaced(givens, signature.nodes)
        fitted = {old: _fitted(old, new, names) for old, new in givens.items()}
        nodes = list(Graph(nodes, signature.nodes).replace(fitted)[0].outputs)
        extra = list(substitute_guards(extra, names))
        pairs = [(target, node) for (target, _), node in zip(pairs, nodes[len(outputs) :], strict=True)]
    nodes, advances = place_draws(nodes)
    advanced = [(p, v) for p, v in advances.items() if all(p is not target for target, _ in pairs)]
    nodes += [value for _, value in advanced]
    asked = {target for target, _ in pairs}
    pairs = [*pairs, *advanced]
    graph = Graph(nodes, signature.nodes, updates=[target for target, _ in pairs])
    warn_of_forgotten_updates(graph, asked)
    source = user_source()
    extra += [
        (m, n, f"update of {s.name}", source) for s, v in pairs for m, n in zip(v.shape, s.shape, strict=True) if m != n
    ]
    if extra:
        graph = Graph(nodes, signature.nodes, updates=graph.updates, guards=(*graph.guards, *extra))
    require_inputs(graph, signature.nodes)
    require_sizes(graph)
    return graph


def _fitted(old: Node, new: Node, names: Mapping[str, Size]) -> Node:
    """Return what stands for a node: a view where that has a literal 1, which would broadcast, for a dimension.

    The dimensions in `names` are replaced everywhere, so they have that size themselves.
    """
    pairs = list(zip(old.shape, new.shape, strict=True))
    shape = [n if symbol_name(m) in names else m for m, n in pairs]
    literal = any(n == 1 != m for m, n in zip(shape, new.shape, strict=True))
    return broadcast(new, tuple(shape), tuple(range(new.ndim))) if literal else new


def _check_givens(givens: Mapping[Node, Node]) -> list[Guard]:
    """Return what a call must check of the sizes of nodes that stand for others."""
    if not isinstance(givens, Mapping):
        raise ArgumentError(f"givens maps nodes to nodes, got {type(givens).__name__}{at()}")
    for old, new in givens.items():
        if not isinstance(old, Node) or not isinstance(new, Node):
            raise ArgumentError(f"givens maps nodes to nodes, got {type(old).__name__}: {type(new).__name__}{at()}")
        if old.dtype != new.dtype or old.ndim != new.ndim or _differ(old, new):
            raise ShapeError(f"givens: {new!r} cannot stand for {old!r}{at()}")
    pairs = [pair for old, new in givens.items() for pair in zip(old.shape, new.shape, strict=True)]
    return [(m, n, "givens", user_source()) for m, n in pairs if m != n]
