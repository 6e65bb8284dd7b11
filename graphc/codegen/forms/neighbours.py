"""Neighbours of a row in registers: an element that the step before has loaded as its right neighbour.

A stencil reads `u[j - 1]` and `u[j]` at every `j`. A vector of the first is a shuffle of two vectors of the second;
loaded from memory it would lie across two cache lines, which takes twice the time of a load:

before: `for whole: d1 = whole + from; x1 = p1[d1]; x2 = p2[d1]`, where `p2` points one element after `p1`
after: `back1 = p1[from]; for whole: d1 = whole + from; x1 = back1; x2 = p2[d1]; back1 = x2`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphc.codegen.nest.ir import Binary, Expr, If, Let, Load, Loop, Pointer, Statement, Store, Var, terms_of
from graphc.codegen.nest.nest import LoopNest
from graphc.codegen.nest.walks import every, rewritten, walk
from graphc.graph.node import Node
from graphc.graph.types import Size

Place = tuple[Node, Size, Expr]
"""A stored value, an offset there, and an index from that."""


def carry_neighbours(nest: LoopNest) -> LoopNest:
    """Return a nest whose loops over whole vectors load fewer neighbours.

    The nests in a loop over steps have been through this.
    """
    if not nest.options.whole_vectors or nest.stepped:
        return nest
    stored = (s.pointer for s in every(nest.body) if isinstance(s, Store))
    written = {pointer.base for pointer in stored if isinstance(pointer, Pointer)}
    return replace(nest, body=tuple(_inside(nest.body, written)))


def _inside(body: Sequence[Statement], written: set[Node | None]) -> list[Statement]:
    out: list[Statement] = []
    for s in body:
        if isinstance(s, If):
            out.append(If(s.condition, _inside(s.body, written), _inside(s.otherwise, written)))
        elif isinstance(s, Loop):
            before, inside = _carried(s, written) or ([], _inside(s.body, written))
            out += [*before, replace(s, body=inside)]
        else:
            out.append(s)
    return out


def _carried(loop: Loop, written: set[Node | None]) -> tuple[list[Let], list[Statement]] | None:
    """Return what comes before a loop over whole vectors, and its body; None for any other loop.

    Its body is straight, and its first statement says which element a step is at.
    """
    match loop.body[0]:
        case Let(Var() as variable, Binary("+", counter, start)) if counter == loop.variable:
            pass
        case _:
            return None
    loads = [found for s in loop.body if (found := _load(s)) and _walks(found[1].index, variable)]
    places: dict[Place, Pointer] = {}
    for _, load, pointer in loads:
        if pointer.base is not None and pointer.base not in written:
            places[pointer.base, pointer.offset, load.index] = pointer
    kept = _followers(places)
    values = {pointer: target for target, _, pointer in reversed(loads)}
    indices = {p: rewritten(load.index, lambda e: start if e == variable else None) for _, load, p in loads}
    names = {pointer: Var(f"back{pointer.name[1:]}", pointer.kind) for pointer in kept}
    before = [Let(name, pointer[indices[pointer]]) for pointer, name in names.items()]
    inside: list[Statement] = []
    for s in loop.body:
        found = _load(s)
        inside.append(Let(found[0], names[found[2]]) if found and found[2] in names else s)
    return before, [*inside, *(Let(names[pointer], values[right]) for pointer, right in kept.items())]


def _load(statement: Statement) -> tuple[Var, Load, Pointer] | None:
    """Return the variable, the load and its pointer of a statement that only loads."""
    match statement:
        case Let(Var() as target, Load(Pointer() as pointer, _) as load):
            return target, load, pointer
    return None


def _walks(index: Expr, variable: Var) -> bool:
    """Tell whether an index goes on by one element with the variable."""
    terms = terms_of(index)
    return terms.count(variable) == 1 and not any(variable in walk(t) for t in terms if t != variable)


def _followers(places: Mapping[Place, Pointer]) -> dict[Pointer, Pointer]:
    """Return the pointers whose loads can be spared, each with the one whose value of the step before serves.

    Of neighbours in a row that is every other one from the left: vectors of `u[j]` may be aligned, `u[j - 1]` is not.
    """
    found: dict[Pointer, Pointer] = {}
    for base, offset, index in places:
        if (base, offset - 1, index) in places:
            continue
        while (right := (base, offset + 1, index)) in places:
            found[places[base, offset, index]] = places[right]
            offset = offset + 2
            if (base, offset, index) not in places:
                break
    return found
