"""Nests that copy or fill strided regions, and the loops that single-node nests share."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.codegen.nest.ir import HI, LO, ZERO, Expr, Loop, Statement, Store, Var
from graphc.codegen.nest.nest import Builder, LoopNest
from graphc.graph.node import Node
from graphc.graph.types import Shape, Size, product
from graphc.passes.schedule.fuse import squeeze_strides
from graphc.passes.schedule.layout import Access


def collapse(shape: Shape, rows: Sequence[Shape]) -> tuple[Shape, list[Shape]]:
    """Merge adjacent axes that every row of strides walks as one; return the extents and the strides."""
    groups: list[list[int]] = []
    for axis, size in enumerate(shape):
        if groups and all(r[axis - 1] == r[axis] * size for r in rows):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return tuple(product(shape[a] for a in g) for g in groups), [tuple(r[g[-1]] for g in groups) for r in rows]


def nested(build: Builder, extents: Shape, body: list[Statement], first: int = 0) -> list[Statement]:
    """Wrap statements in one loop an axis; the outermost runs over `lo:hi`."""
    for k in reversed(range(first, len(extents))):
        start, stop = (LO, HI) if k == 0 else (ZERO, build.size(extents[k]))
        body = [Loop(Var(f"d{k}"), start, stop, body)]
    return body


def copy_nest(target: Node, shape: Shape, source: Access, place: Access, fill: Expr | None = None) -> LoopNest:
    """Return the nest that copies a strided region, or fills it with the expression `fill`."""
    build = Builder([target])
    rows = [squeeze_strides(place.strides, shape), squeeze_strides(source.strides, shape)]
    extents, (to, of) = collapse(squeeze_strides(shape, shape), rows)
    variables = [Var(f"d{k}") for k in range(len(extents))]
    out = build.pointer(target, place.offset)
    value = fill or build.pointer(source.base, source.offset)[build.index(of, variables)]
    body = nested(build, extents, [Store(out, build.index(to, variables), value)])
    return finish(build, body, extents, product(shape))


def finish(build: Builder, body: list[Statement], extents: Shape, work: Size, *, divisible: bool = True) -> LoopNest:
    """Return the nest of a builder, over the outermost of `extents`."""
    extent = extents[0] if extents else 1
    checks = tuple(build.checks)
    return LoopNest((*build.top, *body), tuple(build.slots), extent, work, checks, divisible=divisible)
