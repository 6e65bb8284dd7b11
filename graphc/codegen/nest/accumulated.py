"""Sums over outer axes, which a nest adds up in memory: in blocks, with compensated sums of the blocks.

The nest adds rows one by one, so that a plain sum's error would grow with their number. Here the loop over the first
axis that the sum reduces runs in blocks. Rows of a block are added in memory of the nest, and then to the result, which
keeps the errors of those additions aside (Neumaier 1974):

before: `for d0: for d1: p[d1] = p[d1] + x`
after: `for from0: (for d0 in from0:upto0: for d1: q[d1] = q[d1] + x), (for k: p[k], e[k] = ... q[k]); p[k] += e[k]`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphc.codegen.nest.ir import ZERO, Expr, Let, Loop, Pointer, Statement, Store, Var, call, select, total, typed
from graphc.codegen.nest.nest import part_end
from graphc.codegen.nest.partials import share
from graphc.codegen.nest.phases import Phase
from graphc.codegen.nest.reduce import K, combine, fill_accumulator, rounding
from graphc.graph.node import Node
from graphc.graph.op import inside_node
from graphc.graph.types import Shape, Size, TensorType, product, short_name
from graphc.ops.reduction import Reduction
from graphc.passes.schedule.kernels import ACCUMULATED

if TYPE_CHECKING:
    from graphc.codegen.nest.lower import Lowering

ROWS = 128
"""Rows of a block: as many as NumPy's pairwise sum adds one after the other."""
BLOCK = 1024
"""Elements of a row that are summed before their sum is added with its error, where LLVM has vectors for them."""


@dataclass(frozen=True)
class Blocked:
    """One sum: its phase, the loop whose blocks it adds up, and what the block changes of the result."""

    root: Node
    phase: int
    level: int
    size: Size
    """The number of elements of the result that a run of that loop adds to; they lie side by side."""
    start: Expr
    """Where they begin in the result."""
    rows: int


class AccumulatedBlocks:
    """The sums in memory of one nest; see the module's docstring."""

    def __init__(self, nest: Lowering) -> None:
        self._nest = nest
        self._own = {
            root: tuple(inside_node(name, TensorType(root.dtype, ())) for name in ("block", "errors"))
            for root in nest.kernel.nodes
            if nest.kernel.levels[root] == ACCUMULATED and _is_long_sum(root)
        }
        self._found: list[Blocked] = []

    @property
    def memory(self) -> list[Node]:
        """The memory that sums may need, for the nest to write."""
        return [node for pair in self._own.values() for node in pair]

    def rows(self) -> list[tuple[Node, Size]]:
        """Return the memory that sums need, with its sizes."""
        return [(node, b.size) for b in self._found for node in self._own[b.root]]

    def accumulate(self, root: Node, number: int, value: Expr, strides: Shape) -> None:
        """Let a phase add a value to a reduction in memory, at the strides of its loops."""
        nest = self._nest
        pointer = nest.build.pointer(root, 0)
        owned = nest.split > 0 or nest.partials is not None  # a nest that is one step has all rows to itself
        block = strides[0] if owned else 0
        fill = fill_accumulator(root, nest.build, pointer, block)
        place, index = self._begin(root, number, strides) or (pointer, nest.build.index(strides, nest.variables))
        added = combine(root.op.name, root.dtype, place[index], value)
        nest.phases[number].stores.append(Store(place, index, added))
        if nest.partials is not None:
            nest.partials.fills.append((number, fill))
        if block == 0:
            share(nest, root, pointer, number)

    def _begin(self, root: Node, phase: int, strides: Shape) -> tuple[Pointer, Expr] | None:
        """Note a sum that runs in blocks; return where the nest adds up a block. None where it has no blocks."""
        if root not in self._own:
            return None
        nest = self._nest
        extents = [product(nest.kernel.space[a] for a in group) for group in nest.groups]
        reduced = [k for k, stride in enumerate(strides) if stride == 0 and extents[k] != 1]
        if not reduced:
            return None
        level = reduced[0]
        inside = product(extents[k] for k in reduced[1:])
        rows = max(1, ROWS // inside) if isinstance(inside, int) and inside else 1
        size = product(extents[k] for k in range(level + 1, len(extents)) if k not in reduced)
        start = nest.build.index(strides[:level], nest.variables[:level])
        self._found.append(Blocked(root, phase, level, size, start, rows))
        index = nest.build.index(strides[level:], nest.variables[level:])
        return nest.build.pointer(self._own[root][0], 0), index

    @property
    def deepest(self) -> int:
        """The innermost loop that runs in blocks, -1 for none."""
        return max((b.level for b in self._found), default=-1)

    def loop(
        self, level: int, phase: int | None, start: Expr, stop: Expr, make: Callable[[Expr, Expr], list[Statement]]
    ) -> list[Statement]:
        """Return the loop that `make` returns for bounds, in the blocks of the sums of a phase (None: of all)."""
        found = [b for b in self._found if b.level == level and phase in (None, b.phase)]
        if not found:
            return make(start, stop)
        rows = min(b.rows for b in found)
        first, last = Var(f"from{level}"), Var(f"upto{level}")
        inside = [part_end(last, first, rows, stop), *make(first, last), *(self._add_block(b) for b in found)]
        before = [self._over(b, *(Store(self._pointer(n), K, _zero(n)) for n in self._own[b.root])) for b in found]
        return [*before, Loop(first, start, stop, inside, rows), *(self._add_errors(b) for b in found)]

    def _over(self, b: Blocked, *body: Statement) -> Loop:
        return Loop(K, ZERO, self._nest.build.size(b.size), list(body))

    def _pointer(self, node: Node) -> Pointer:
        return self._nest.build.pointer(node, 0)

    def _add_block(self, b: Blocked) -> Loop:
        """Add a block to the result and start the next one from 0."""
        block, errors = (self._pointer(node) for node in self._own[b.root])
        result, place = self._pointer(b.root), total(b.start, K)
        old, part, new, back = (self._nest.build.name(p, block.kind) for p in "apsz")
        return self._over(
            b,
            Let(old, result[place]),
            Let(part, block[K]),
            Let(new, old + part),
            Let(back, new - old),
            Store(errors, K, errors[K] + rounding(old, part, new, back)),
            Store(result, place, new),
            Store(block, K, _zero(b.root)),
        )

    def _add_errors(self, b: Blocked) -> Loop:
        result, errors, place = self._pointer(b.root), self._pointer(self._own[b.root][1]), total(b.start, K)
        error, found = (self._nest.build.name(p, result.kind) for p in "es")
        return self._over(
            b,
            Let(error, errors[K]),
            Let(found, result[place]),
            Store(result, place, select(call("isfinite", error), found + error, found)),
        )


def _zero(node: Node) -> Expr:
    return typed(0, short_name(node.dtype))


def _is_long_sum(root: Node) -> bool:
    """Tell whether a sum of floats may have more rows than a block."""
    assert isinstance(root.op, Reduction)
    count = product(root.inputs[0].shape[a] for a in root.op.axes)
    return root.op.name == "sum" and root.dtype.kind == "f" and not (isinstance(count, int) and count <= 2 * ROWS)


# -- sums over inner axes


def block_of(phase: Phase) -> int:
    """Return the length of blocks of a row: short where elements do not lie side by side, so that none are vectors."""
    loads = [key[2] for key in phase.values if isinstance(key, tuple)]
    return BLOCK if all(not strides or strides[-1] in (0, 1, -1) for strides in loads) else ROWS


def row_in_blocks(
    phase: Phase, level: int, variable: Var, statements: list[Statement], start: Expr, end: Expr
) -> list[Statement]:
    """Return the innermost loop of a phase in blocks, each of which ends in a compensated addition."""
    first, last, width = Var(f"start{level}"), Var(f"stop{level}"), block_of(phase)
    inside: list[Statement] = [
        part_end(last, first, width, end),
        *phase.block_start,
        Loop(variable, first, last, statements),
        *phase.block_end,
    ]
    return [Loop(first, start, end, inside, width)]
