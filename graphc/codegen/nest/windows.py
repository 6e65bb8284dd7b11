"""The nests of windowed ops: overlap-add, and the choice of the largest element of each window.

One loop an axis: the leading axes merged where strides allow, then window numbers, so that LLVM vectorises along a row
of windows. A window of up to `UNROLLED` elements is straight-line code, and small strides are part of the source. Short
counts are where rows are added (95 against 198 us for 64x6x5x5 windows of 10x10), and are not where elements are
chosen (118 against 274 us for the derivative of pooling 64x6x28x28 by 2x2): measured, LLVM's choices differ.

A nest's range runs over the leading axes, whose results are apart: any division of it gives the same bits.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

from graphc.codegen.nest.copies import collapse, nested
from graphc.codegen.nest.ir import (
    ZERO,
    Cast,
    Expr,
    Group,
    Let,
    Loop,
    Number,
    Statement,
    Store,
    Var,
    select,
    terms_of,
    typed,
)
from graphc.codegen.nest.lower import Accesses
from graphc.codegen.nest.nest import Builder, LoopNest
from graphc.graph.node import Node
from graphc.graph.op import Op
from graphc.graph.types import Shape, Size, product, short_name
from graphc.ops.shape import as_ints, contiguous_strides
from graphc.ops.windows import Fold, PickMax, PlaceMax, reach, window_strides
from graphc.passes.schedule import machine
from graphc.passes.schedule.fuse import squeeze_strides
from graphc.passes.schedule.layout import Access

UNROLLED = 32
"""Elements of a window up to which it is unrolled in the source."""
LITERAL = 8
"""Strides up to which a number is part of the source; larger ones lie in the frame."""
SHORT = 64
"""Extents up to which the loops of `Fold` have literal ends."""
K, B, C = (Var(name) for name in ("k", "b", "c"))


def _index(build: Builder, strides: Sequence[Size], variables: Sequence[Expr]) -> Expr:
    """Return the flat index of loop variables under strides."""
    pairs = [(v, s) for v, s in zip(variables, strides, strict=True) if s != 0]
    return _sum([v if s == 1 else v * _stride(build, s) for v, s in pairs])


def _stride(build: Builder, size: Size) -> Expr:
    return Number(size) if isinstance(size, int) and 0 <= size <= LITERAL else build.size(size)


def _loops(
    build: Builder, names: Sequence[Var], extents: Sequence[Size], body: list[Statement], *, literal: int = -1
) -> list[Statement]:
    """Wrap statements in one loop an axis; ends up to `literal` are part of the source."""
    for name, extent in reversed(list(zip(names, extents, strict=True))):
        stop = Number(extent) if isinstance(extent, int) and extent <= literal else build.size(extent)
        body = [Loop(name, ZERO, stop, body)]
    return body


def _sum(terms: Sequence[Expr]) -> Expr:
    """Return the sum of positions, with zeros that the source shows."""
    found = [t for term in terms for t in terms_of(term)]
    return functools.reduce(Expr.__add__, found) if found else ZERO


def _numbered(name: str, count: int) -> list[Var]:
    return [Var(f"{name}{k}") for k in range(count)]


class _Lead:
    """The loops over the leading axes: the outermost runs over `lo:hi`; `rows` are strides of each operand there."""

    def __init__(self, shape: Shape, rows: Sequence[Sequence[Size]]) -> None:
        sizes = squeeze_strides(shape, shape)
        squeezed = [squeeze_strides(tuple(r), shape) for r in rows]
        self.extents, self.rows = collapse(sizes, squeezed)
        self.variables = [Var(f"d{k}") for k in range(len(self.extents))]

    def nest(self, build: Builder, body: list[Statement], work: Size, unit_ns: float) -> LoopNest:
        """Return the nest that runs `body` at every point of the leading axes."""
        body = nested(build, self.extents, body)
        extent = self.extents[0] if self.extents else 1
        return LoopNest((*build.top, *body), tuple(build.slots), extent, work, unit_ns=unit_ns)


def _zeros(build: Builder, node: Node, start: Expr, spatial: Shape) -> Statement:
    """Fill one block of the result, whose last axes are contiguous, with zeros."""
    zero = Store(build.pointer(node, 0), start + K, typed(0, short_name(node.dtype)))
    return Loop(K, ZERO, build.size(product(spatial)), [zero])


def _fold(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Add the windows, one element of all of them after the other: each row of windows is one vector addition."""
    op, (x,) = node.op, node.inputs
    assert isinstance(op, Fold)
    d = len(op.spatial)
    own, source = contiguous_strides(node.shape), accesses[x]
    first = x.ndim - 2 * d
    lead = _Lead(node.shape[:first], [own[:first], source.strides[:first]])
    build = Builder([node])
    counts, kernel = x.shape[first : first + d], x.shape[first + d :]
    names = [*lead.variables, *_numbered("o", d), *_numbered("k", d)]
    target = window_strides(own[first:], op.strides, op.dilations)
    to = _index(build, (*lead.rows[0], *target), names)
    of = _index(build, (*lead.rows[1], *source.strides[first:]), names)
    out = build.pointer(node, 0)
    value = out[to] + build.pointer(source.base, source.offset)[of]
    added = Store(out, to, value if node.dtype.kind == "f" else Cast(short_name(node.dtype), value))
    order = [*names[len(names) - d :], *names[len(lead.variables) : len(names) - d]]
    block = _index(build, lead.rows[0], lead.variables)
    body = [
        _zeros(build, node, block, op.spatial),
        *_loops(build, order, (*kernel, *counts), [added], literal=SHORT),
    ]
    return [lead.nest(build, body, x.size, machine.WINDOW_ELEMENT["fold"])]


class _Choice:
    """The search for the first largest element of a window of `x`, as statements at one window."""

    def __init__(
        self, build: Builder, x: Node, source: Access, op: PickMax | PlaceMax, lead: Sequence[Size], kind: str
    ) -> None:
        d = len(op.kernel)
        self.build, self.x, self.op, self.kernel = build, x, op, op.kernel
        between = window_strides(source.strides[x.ndim - d :], op.strides, op.dilations)
        self.strides, self.inside = [*lead, *between[:d]], between[d:]
        self.pointer = build.pointer(source.base, source.offset)
        self.best, self.at = Var("best", self.pointer.kind), Var("at", kind)
        self.unrolled = all(isinstance(k, int) for k in op.kernel) and _known(product(op.kernel), UNROLLED)

    def statements(self, variables: Sequence[Expr], carried: Callable[[Sequence[Expr]], Expr]) -> list[Statement]:
        """Leave the maximum in `best` and what `carried` gives for its element, from its place, in `at`."""
        first = self._first(variables[len(variables) - len(self.kernel) :])
        start: list[Statement] = [
            Let(B, _index(self.build, self.strides, variables)),
            Let(self.best, self.pointer[B]),
            Let(self.at, carried(first)),
        ]
        if self.unrolled:
            elements = itertools.product(*map(range, as_ints(self.kernel)))
            next(elements)
            return [*start, *(s for e in elements for s in self._step([Number(k) for k in e], carried))]
        names = _numbered("k", len(self.kernel))
        return [*start, *_loops(self.build, names, self.kernel, self._step(names, carried))]

    def _first(self, windows: Sequence[Expr]) -> list[Expr]:
        """Return the first element of a window that is not padding in front, at which the value is no lower."""
        rows = zip(windows, self.op.before, self.op.strides, self.op.dilations, strict=True)
        return [ZERO if before == 0 else self._behind(before, o, s, d) for o, before, s, d in rows]

    def _behind(self, before: Size, window: Expr, stride: int, dilation: int) -> Expr:
        missing = Group(self.build.size(before) - window * stride)
        elements = missing if dilation == 1 else Group(missing + (dilation - 1)) // dilation
        return select(missing > 0, elements, ZERO)

    def _step(self, element: Sequence[Expr], carried: Callable[[Sequence[Expr]], Expr]) -> list[Statement]:
        v, m, best = Var("v", self.best.kind), Var("m", "bool"), self.best
        exceeds: Expr = Group(v > best)
        return [
            Let(v, self.pointer[_sum([B, _index(self.build, self.inside, element)])]),
            Let(m, exceeds | v.ne(v) if self.x.dtype.kind == "f" else exceeds),
            Let(best, select(m, v, best)),
            Let(self.at, select(m, carried(element), self.at)),
        ]


def _known(size: Size, most: int) -> bool:
    return isinstance(size, int) and size <= most


def _pick_max(node: Node, accesses: Accesses) -> list[LoopNest]:
    op, (x, y) = node.op, node.inputs
    assert isinstance(op, PickMax)
    d = len(op.kernel)
    first = node.ndim - d
    own, chosen, values = contiguous_strides(node.shape), accesses[x], accesses[y]
    lead = _Lead(node.shape[:first], [own[:first], chosen.strides[:first], values.strides[:first]])
    build = Builder([node])
    variables = [*lead.variables, *_numbered("o", d)]
    choice = _Choice(build, x, chosen, op, lead.rows[1], short_name(y.dtype))
    between = window_strides(values.strides[first:], op.strides, op.dilations)
    start = _index(build, (*lead.rows[2], *between[:d]), variables)
    pointer = build.pointer(values.base, values.offset)

    def carried(element: Sequence[Expr]) -> Expr:
        return pointer[_sum([C, _index(build, between[d:], element)])]

    out, place = build.pointer(node, 0), _index(build, (*lead.rows[0], *own[first:]), variables)
    if chosen == values:
        inner = [*choice.statements(variables, lambda element: choice.best), Store(out, place, choice.best)]
    else:
        inner = [Let(C, start), *choice.statements(variables, carried), Store(out, place, choice.at)]
    body = _loops(build, variables[len(lead.variables) :], op.counts, inner)
    return [lead.nest(build, body, product((*node.shape, *op.kernel)), machine.WINDOW_ELEMENT["pick"])]


def _place_max(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Find each window's largest element again and add to its place; where windows lie apart, nothing was there."""
    op, (x, g) = node.op, node.inputs
    assert isinstance(op, PlaceMax)
    d = len(op.kernel)
    first = node.ndim - d
    own, chosen, given = contiguous_strides(node.shape), accesses[x], accesses[g]
    lead = _Lead(node.shape[:first], [own[:first], chosen.strides[:first], given.strides[:first]])
    build = Builder([node])
    variables = [*lead.variables, *_numbered("o", d)]
    choice = _Choice(build, x, chosen, op, lead.rows[1], "i32")
    target = window_strides(own[first:], op.strides, op.dilations)
    out = build.pointer(node, 0)
    of = _index(build, (*lead.rows[2], *given.strides[first:]), variables)
    g_here = Var("g", out.kind)
    head = [
        Let(C, _index(build, (*lead.rows[0], *target[:d]), variables)),
        Let(g_here, build.pointer(given.base, given.offset)[of]),
    ]
    found = choice.statements(variables, lambda element: Cast("i32", _index(build, target[d:], element)))
    value = g_here if _apart(op) else out[C + choice.at] + g_here
    inner = [*head, *found, Store(out, C + choice.at, value)]
    counts = g.shape[first:]
    block = _index(build, lead.rows[0], lead.variables)
    body = [
        _zeros(build, node, block, node.shape[first:]),
        *_loops(build, variables[len(lead.variables) :], counts, inner),
    ]
    return [lead.nest(build, body, product((*g.shape, *op.kernel)), machine.WINDOW_ELEMENT["place"])]


def _apart(op: PlaceMax) -> bool:
    """Tell whether no two windows share an element."""
    spans = (reach(k, d) for k, d in zip(op.kernel, op.dilations, strict=True))
    return all(_known(span, s) for span, s in zip(spans, op.strides, strict=True))


WINDOWED: dict[type[Op], Callable[[Node, Accesses], list[LoopNest]]] = {
    Fold: _fold,
    PickMax: _pick_max,
    PlaceMax: _place_max,
}
"""The lowering of each windowed op."""
