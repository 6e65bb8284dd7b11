"""Neighbours of a row in registers: an element that the step before has loaded as its right neighbour.

A stencil reads `u[j - 1]` and `u[j]` at every `j`. A vector of the first is a shuffle of two vectors of the second;
loaded from memory it would lie across two cache lines, which takes twice the time of a load.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from graphc.codegen.nest import Builder
from graphc.node import Node
from graphc.types import Size

Place = tuple[Node, Size, str]
"""A stored value, an offset there, and an index from that."""
_LOAD = re.compile(r"(\w+) = (p\d+)\[(.+)\]")


def carry_neighbours(build: Builder, variable: str, start: str, body: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what comes before the loop over `variable` from `start` on, and its body: it loads fewer neighbours.

    The body must be straight, and store nothing that it loads.
    """
    loads = [found for text in body if (found := _LOAD.fullmatch(text)) and _walks(found[3], variable)]
    bases = build.pointers()
    places: dict[Place, str] = {}
    for _, pointer, index in (found.groups() for found in loads):
        if pointer in bases and bases[pointer][0] not in build.written:
            places[(*bases[pointer], index)] = pointer
    kept = _followers(places)
    if not kept:
        return [], list(body)
    values = {found[2]: found[1] for found in reversed(loads)}
    indices = {found[2]: re.sub(rf"\b{variable}\b", start, found[3]) for found in loads}
    names = {pointer: f"back{pointer[1:]}" for pointer in kept}
    before = [f"{name} = {pointer}[{indices[pointer]}]" for pointer, name in names.items()]
    inside = []
    for text in body:
        found = _LOAD.fullmatch(text)
        inside.append(f"{found[1]} = {names[found[2]]}" if found and found[2] in names else text)
    return before, [*inside, *(f"{names[pointer]} = {values[right]}" for pointer, right in kept.items())]


def _walks(index: str, variable: str) -> bool:
    """Tell whether an index goes on by one element with the variable."""
    terms = index.split(" + ")
    return terms.count(variable) == 1 and not any(re.search(rf"\b{variable}\b", t) for t in terms if t != variable)


def _followers(places: Mapping[Place, str]) -> dict[str, str]:
    """Return the pointers whose loads can be spared, each with the one whose value of the step before serves.

    Of neighbours in a row that is every other one from the left: vectors of `u[j]` may be aligned, `u[j - 1]` is not.
    """
    found: dict[str, str] = {}
    for base, offset, index in places:
        if (base, offset - 1, index) in places:
            continue
        while (right := (base, offset + 1, index)) in places:
            found[places[base, offset, index]] = places[right]
            offset = offset + 2
            if (base, offset, index) not in places:
                break
    return found
