"""Dimensions replaced by other sizes in a program.

A node may be replaced by one of another size (`givens`, `Graph.replace`). Where no input is left to give the old
dimension a size, every op, type and guard that mentions it takes the new size instead, in the bodies of loops and
branches too. Where an input still gives it, the two sizes must be equal, which a guard checks in each call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from graphc.graph.errors import ShapeError, at
from graphc.graph.graph import Graph, NodeMap, topological_order
from graphc.graph.node import Guard, Node, Shared
from graphc.graph.op import Op, Placeholder
from graphc.graph.types import (
    Atom,
    Dim,
    Extremum,
    FloorDiv,
    Shape,
    Size,
    Symbol,
    TensorType,
    TupleType,
    floor_div,
    isqrt,
    size_max,
    size_min,
    symbol_name,
    symbols,
    tuple_type,
)

Names = Mapping[str, Size]
"""The size that takes the place of each symbol."""


def given_by(inputs: Iterable[Node]) -> set[str]:
    """Return the symbols that the shapes of arguments give a size: those that are a whole dimension."""
    return {name for x in inputs for s in x.shape if (name := symbol_name(s)) is not None}


def sizes_of_replaced(replacements: Mapping[Node, Node], inputs: Iterable[Node]) -> dict[str, Size]:
    """Return what takes the place of the dimensions of replaced nodes that no input gives a size."""
    given: set[str] | None = None
    names: dict[str, Size] = {}
    for old, new in replacements.items():
        for declared, size in zip(old.shape, new.shape, strict=False):
            name = symbol_name(declared) if declared != size else None
            if name is not None:
                given = given_by(inputs) if given is None else given
                if name not in given:
                    names.setdefault(name, size)
    return names


def resize(graph: Graph, moved: NodeMap, replacements: Mapping[Node, Node]) -> tuple[Graph, NodeMap]:
    """Return a graph whose nodes were replaced, and the map to it, with the dimensions that lost their input gone."""
    inputs = [x for x in graph.inputs if x not in replacements]
    names = sizes_of_replaced(replacements, inputs)
    if not names:
        return graph, moved
    fresh = _substituted(topological_order(moved.values()), names, {})
    inputs += [n for n in graph.nodes if isinstance(n.op, Placeholder) and n not in inputs]
    outputs, inputs = [fresh[y] for y in graph.outputs], [fresh.get(x, x) for x in inputs]
    guards = substitute_guards(graph.guards, names)
    return Graph(outputs, inputs, updates=graph.updates, guards=guards), {x: fresh[y] for x, y in moved.items()}


def require_sizes(graph: Graph) -> None:
    """Raise `ShapeError` for a dimension of a program that no argument can give a size."""
    given = given_by([*graph.inputs, *graph.shared])
    for node in graph.nodes:
        for name in symbols((*node.shape, *node.op.sizes())):
            if name not in given:
                where = f" ({node.type} = {node.op}{at(node.source)})"
                raise ShapeError(f"dimension {name}: no argument gives it a size{where}{at()}")


def substitute_guards(guards: Iterable[Guard], names: Names) -> tuple[Guard, ...]:
    """Return guards with symbols replaced; those that compare a size with itself are gone.

    Raises `ShapeError` for two sizes that are numbers now, and differ.
    """
    found = []
    for left, right, what, source in guards:
        a, b = _size(left, names), _size(right, names)
        if isinstance(a, int) and isinstance(b, int) and a != b:
            raise ShapeError(f"{what}{at(source)}: dimensions differ ({left} is {a}, {right} is {b}){at()}")
        if a != b:
            found.append((a, b, what, source))
    return tuple(found)


def _substituted(nodes: Iterable[Node], names: Names, moved: NodeMap) -> NodeMap:
    """Add to `moved` what each node becomes: itself where it mentions none of the symbols."""
    for node in nodes:
        if isinstance(node, Shared):
            moved[node] = node
        if node in moved:
            continue
        inputs = tuple([moved[x] for x in node.inputs])
        op, type_, guards = _op(node.op, names), _type(node.type, names), substitute_guards(node.guards, names)
        same = op is node.op and inputs == node.inputs and type_ == node.type and guards == node.guards
        moved[node] = node if same else Node(op, inputs, type_, node.source, guards)
    return moved


def _op(op: Op, names: Names) -> Op:
    """Return an op with symbols replaced in all its parameters."""
    if names.keys().isdisjoint(symbols(op.sizes())) and not any(
        isinstance(getattr(op, f.name), TensorType) for f in dataclasses.fields(op)
    ):
        return op
    values = {f.name: getattr(op, f.name) for f in dataclasses.fields(op)}
    changed = {name: new for name, value in values.items() if (new := _value(value, names)) is not value}
    return dataclasses.replace(op, **changed) if changed else op


def _value(value: Any, names: Names) -> Any:
    """Return one parameter with symbols replaced, the same object where it mentions none."""
    if isinstance(value, Dim):
        return _size(value, names)
    if isinstance(value, TensorType):
        return _type(value, names)
    if isinstance(value, Graph):
        return _graph(value, names)
    if isinstance(value, tuple):
        new = tuple([_value(v, names) for v in value])
        return value if all(a is b for a, b in zip(new, value, strict=True)) else new
    return value


def _graph(graph: Graph, names: Names) -> Graph:
    moved = _substituted((*graph.inputs, *graph.nodes), names, {})
    outputs, inputs = [moved[y] for y in graph.outputs], [moved[x] for x in graph.inputs]
    return Graph(outputs, inputs, updates=graph.updates, guards=substitute_guards(graph.guards, names))


def _type(type_: TensorType, names: Names) -> TensorType:
    if isinstance(type_, TupleType):
        return tuple_type([_type(t, names) for t in type_.types])
    shape: Shape = tuple([_size(s, names) for s in type_.shape])
    return type_ if shape == type_.shape else TensorType(type_.dtype, shape)


def _size(size: Size, names: Names) -> Size:
    if not isinstance(size, Dim) or names.keys().isdisjoint(symbols((size,))):
        return size
    total: Size = 0
    for monomial, factor in size.terms:
        term: Size = factor
        for atom in monomial:
            term = _atom(atom, names) * term
        total = term + total
    return total


def _atom(atom: Atom, names: Names) -> Size:
    if isinstance(atom, Symbol):
        return names.get(atom.name, Dim((((atom,), 1),)))
    if isinstance(atom, FloorDiv):
        return floor_div(_size(atom.numerator, names), _size(atom.denominator, names))
    if isinstance(atom, Extremum):
        pick = size_max if atom.kind == "max" else size_min
        return pick(_size(atom.left, names), _size(atom.right, names))
    return isqrt(_size(atom.of, names))
