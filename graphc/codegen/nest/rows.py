"""Rows that a kernel gathers or scatters: their length in its text, and the lines of rows to come asked for early.

The processor cannot guess where the next row of a table is, but the indices say it. A large table's rows are asked for
`AHEAD` steps before they are needed. Where rows are short and their length is in the program, the loop over a row has
that length in its text: the vectoriser leaves no rest and no loop around four instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.codegen.nest.ir import HI, Expr, Let, Statement, Var, call, select, total
from graphc.graph.node import Node
from graphc.graph.types import Shape, Size, short_name
from graphc.ops.indexing import Gather, Scatter
from graphc.passes.schedule.layout import base_strides, is_inline

if TYPE_CHECKING:
    from graphc.codegen.nest.lower import Lowering

AHEAD = 8
"""Steps between the wish for a row and its use: a row of four lines takes less than what a line takes to arrive."""
LINE = 64
"""Bytes of a cache line."""
MAX_LINES = 8
"""The most lines of one row that are asked for: of longer rows the processor sees that they go on."""
MAX_LITERAL = 512
"""The longest row whose length is in the text, in elements."""
CACHED_BYTES = 1 << 20
"""Tables up to this size stay in the cache."""


def indexed_shape(node: Node) -> Shape:
    """Return the shape that the indices of a gather or a scatter go through."""
    return node.inputs[1].shape if isinstance(node.op, Scatter) else node.shape


def row_length(nest: Lowering, extents: list[Size]) -> int | None:
    """Return the extent of the innermost loop where it is to be in the text: that of short rows at indices."""
    extent = extents[-1] if len(extents) > 1 else None
    walked = any(is_by_rows(nest, n) for n in nest.kernel.nodes) and nest.options.uses("row_lengths")
    return extent if walked and isinstance(extent, int) and extent <= MAX_LITERAL else None


def ask_ahead(nest: Lowering, extents: list[Size], stops: list[Expr]) -> list[Statement]:
    """Return the statements, to stand before the innermost loop, that ask for the rows of some steps later."""
    length = row_length(nest, extents)
    if length is None or not nest.options.uses("prefetch"):
        return []
    level = len(extents) - 2
    now = nest.variables[level]
    then = nest.build.name("h")
    lines: list[Statement] = []
    for node in nest.kernel.nodes:
        if is_by_rows(nest, node) and _is_large(_table(node)):
            lines += _wishes(nest, node, [*nest.variables[:level], then], length)
    if not lines:
        return []
    stop = HI if level == 0 else stops[level]
    return [Let(then, select(now + AHEAD < stop, now + AHEAD, now)), *lines]


def _table(node: Node) -> Node:
    return node if isinstance(node.op, Scatter) else node.inputs[0]


def _is_large(table: Node) -> bool:
    return not isinstance(table.size, int) or table.size * table.dtype.itemsize > CACHED_BYTES


def is_by_rows(nest: Lowering, node: Node) -> bool:
    """Tell whether a member walks contiguous rows, at indices in memory that do not change along a row."""
    if not isinstance(node.op, (Gather, Scatter)):
        return False
    strides = nest.group_strides(nest.indexed_strides(node))
    return len(strides) > 1 and strides[-1] == 1 and all(_is_steady(nest, node, x) for x in _indices(node))


def _indices(node: Node) -> tuple[Node, ...]:
    return node.inputs[2 if isinstance(node.op, Scatter) else 1 :]


def _is_steady(nest: Lowering, node: Node, x: Node) -> bool:
    base = nest.accesses[x].base
    there = base not in nest.kernel.levels and base not in nest.inline and not is_inline(base.op)
    return there and nest.group_strides(nest.operand_strides(node, x))[-1] == 0


def _wishes(nest: Lowering, node: Node, variables: list[Var], length: int) -> list[Statement]:
    """Return the statements that ask for the lines of one row; a bad index asks for nothing that could fault."""
    assert isinstance(node.op, (Gather, Scatter))
    build, access = nest.build, nest.accesses[node.inputs[0]]
    whole = base_strides(node) if isinstance(node.op, Scatter) else access.strides
    own = nest.group_strides(nest.indexed_strides(node))[:-1]
    start = build.name("h")
    terms = [build.index(own, variables)]
    lines: list[Statement] = []
    for x, axis in zip(_indices(node), node.op.axes, strict=True):
        strides = nest.group_strides(nest.operand_strides(node, x))[:-1]
        place = nest.accesses[x]
        raw = build.name("h", short_name(place.base.dtype))
        pointer = build.pointer(place.base, place.offset)
        lines.append(Let(raw, pointer[build.index(strides, variables)]))
        size = build.size(node.inputs[0].shape[axis])
        terms.append(select(raw < 0, raw + size, raw) * build.size(whole[axis]))
    scatters = isinstance(node.op, Scatter)
    pointer = build.pointer(node, 0) if scatters else build.pointer(access.base, access.offset)
    lines.append(Let(start, total(*terms)))
    step = LINE // node.dtype.itemsize
    places = range(0, min(length, MAX_LINES * step), step)
    return [*lines, *(call("prefetch", pointer, start + k) for k in places)]
