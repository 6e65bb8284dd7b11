"""Lowering of matrix products: register tiles of our own where they are faster, and BLAS.

A product of row-major matrices is computed in tiles of a few rows and two vectors of columns, which read the operands
where they are: no packing, no call. Where the rows of the right operand lie far apart, as in a transpose, each block of
its columns is turned around on the stack first. Measured on Zen 4, float32, one core, in GFLOPS: 116 at 16 x 256 x 256,
113 at 32 x 784 x 200 and 114 at 512 cubed; SciPy's OpenBLAS gives 54, 73 and 102. With the right operand transposed: 79
at 16 x 256 x 256, 112 at 128 cubed, 114 at 800 x 256 x 256. At 2048 cubed it is 69 against 80. So BLAS takes the very
large, the very narrow, and machines without fused multiply-add.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import numpy as np

from graphc.codegen.copies import collapse, copy_nest, finish
from graphc.codegen.kernels import KernelOptions
from graphc.codegen.nest import (
    Builder,
    FrameSlot,
    LiteralSlot,
    Loop,
    LoopNest,
    PointerSlot,
    Product,
    RoutineSlot,
    SizeSlot,
    Slot,
    Statement,
    literal_bits,
)
from graphc.codegen.partials import Partials
from graphc.codegen.reduce import identity
from graphc.codegen.tile_sizes import SMALL, VECTORS, deepest, lanes, tile_name, tile_rows, vector_bits
from graphc.node import Node
from graphc.ops.base import Constant
from graphc.ops.linalg import MatMulSum, factors_of
from graphc.ops.shape import contiguous_strides
from graphc.passes.fuse import squeeze_strides
from graphc.passes.layout import Access, gemm_layout
from graphc.passes.options import Options
from graphc.types import Size, floor_div, product, short_name, size_max

Accesses = dict[Node, Access]
LARGE = {"f32": 1 << 30, "f64": 1 << 28}
"""Multiplications above which BLAS, which packs its operands, is faster than tiles of rows."""


def lower_matmul(node: Node, accesses: Accesses, options: Options) -> list[LoopNest]:
    """Return the nest of a batch of products."""
    return lower_matmul_add(node, accesses, options)


def lower_matmul_add(node: Node, accesses: Accesses, options: Options) -> list[LoopNest]:
    """Let the first product set the result, and every other one add to it."""
    own = Access(node, 0, contiguous_strides(node.shape))
    made = (_Products(node, pair, accesses, own, options, add=k > 0) for k, pair in enumerate(factors_of(node)))
    return [products.nest() for products in made]


def lower_matmul_sum(node: Node, accesses: Accesses, options: Options) -> list[LoopNest]:
    """Let every product of the batch add to the same result, from zeros on; chunks of the batch have their own."""
    assert isinstance(node.op, MatMulSum)
    own = Access(node, 0, contiguous_strides(node.shape))
    repeated = Access(node, 0, (*(0 for _ in range(node.op.axes)), *own.strides))
    (factors,) = factors_of(node)
    products = _Products(node, factors, accesses, repeated, options, add=True)
    if products.extents and options.uses("partial_chunks"):
        return [products.summed()]
    return [copy_nest(node, node.shape, own, own, fill=identity("sum", node.dtype)), products.nest()]


def lower_matmul_update(node: Node, accesses: Accesses, options: Options, in_place: bool) -> list[LoopNest]:
    """Add a multiple of products to a matrix, or to a copy of it."""
    own = Access(node, 0, contiguous_strides(node.shape))
    w, alpha, *_ = node.inputs
    copied = [] if in_place else [copy_nest(node, node.shape, accesses[w], own)]
    factor, nests = accesses[alpha], [*copied]
    for pair in factors_of(node):
        nests.append(_Products(node, pair, accesses, own, options, add=True, alpha=factor).nest())
    return nests


class _Products:
    """Lowers one batch of products; the frame starts with what BLAS takes by address."""

    def __init__(
        self,
        node: Node,
        factors: tuple[Node, Node],
        accesses: Accesses,
        result: Access,
        options: Options,
        *,
        add: bool,
        alpha: Access | None = None,
    ) -> None:
        x, y = factors
        self.node, self.add = node, add
        self.factors, self.alpha = factors, alpha
        self.operands = (accesses[x], accesses[y], result)
        self.m, self.k, self.n = x.shape[-2], x.shape[-1], y.shape[-1]
        batch = x.shape[:-2]
        rows = [squeeze_strides(a.strides[:-2], batch) for a in self.operands]
        self.extents, self.strides = collapse(squeeze_strides(batch, batch), rows)
        self.kind = short_name(node.dtype)
        self.form = self._form() if vector_bits() and options.uses("tiles") else ""
        self.build = Builder([node], self._blas_slots())
        self.alpha_at = self._alpha_address()
        self.most_at = 0

    def _form(self) -> str:
        """Return which tiles can read the operands: "rows" of the right one, "dots" of inner axes, or none."""
        if any(isinstance(size, int) and size < SMALL for size in (self.m, self.n)):
            return ""
        by_row, by_column = self.operands[1].strides[-2:]
        if by_column == 1:
            return "rows"
        return "turned" if by_row == 1 and sys.platform != "win32" else ""

    def nest(self) -> LoopNest:
        """Return the nest."""
        blas = self._blas()
        if not self.form:
            body: list[Statement] = [blas]
            for d in reversed(range(len(self.extents))):
                start, stop = ("lo", "hi") if d == 0 else ("0", self.build.size(self.extents[d]))
                body = [Loop(f"d{d}", start, stop, body)]
            nest = finish(self.build, body, self.extents, self._work())
        else:
            nest = dataclasses.replace(self._tiled(blas), options=KernelOptions(tiles=True))
        return dataclasses.replace(nest, unit_ns=0.02, product=self._limits())

    def summed(self) -> LoopNest:
        """Return the nest of products that all add to one result, zeros at first or what chunks of the batch left."""
        partials = Partials(self.build)
        combine = partials.rows_loop("sum", self.node, "sums")
        size = self.build.size(self.node.size)
        start: list[Statement] = [
            f"sums = {self.kind}p(frame[14], 1)",
            Loop("e", "0", size, [f"sums[e] = {identity('sum', self.node.dtype)}"]),
            combine,
        ]
        nest = self.nest()
        top = len(self.build.top)
        body = (*nest.body[:top], *start, *nest.body[top:])
        return dataclasses.replace(nest, body=body, divisible=False, parts=partials.finish(kept=False))

    def _limits(self) -> Product:
        """Return the sizes at which the tiles serve."""
        (ra, _), (_, cb), (rc, _) = (a.strides[-2:] for a in self.operands)
        made = Product(
            self.m, self.k, self.n, (0, 0, 0), -1, most_at=self.most_at, strides=None if self.extents else (ra, cb, rc)
        )
        if self.form == "rows":
            return dataclasses.replace(made, least=(tile_rows(), 0, SMALL), most=LARGE[self.kind])
        if self.form == "turned":
            return dataclasses.replace(made, least=(tile_rows(), 0, SMALL), most=LARGE[self.kind], deepest=deepest())
        return made

    def _work(self) -> Size:
        return product((*self.factors[0].shape, self.n))

    # -- BLAS

    def _blas_slots(self) -> list[Slot]:
        """A row-major product is the column-major product of B and A; scalars are given by address."""
        shapes = [x.shape for x in self.factors]
        left, right = (gemm_layout(s, a.strides) for s, a in zip(shapes, self.operands, strict=False))
        assert left is not None and right is not None
        (left_transposed, left_leading), (right_transposed, right_leading) = left, right
        literal = None if self.alpha is None else self.alpha.base.op
        factor = literal.value.reshape(()) if isinstance(literal, Constant) else 1
        alpha, beta = (LiteralSlot(literal_bits(np.asarray(v, self.node.dtype))) for v in (factor, self.add))
        return [  # `replicas.product_replicas` knows where the sizes and the operands are
            FrameSlot(),
            RoutineSlot("dgemm" if self.node.dtype.itemsize == 8 else "sgemm"),
            LiteralSlot(ord("T" if right_transposed else "N")),
            LiteralSlot(ord("T" if left_transposed else "N")),
            SizeSlot(self.n),
            SizeSlot(self.m),
            SizeSlot(self.k),
            alpha,
            SizeSlot(size_max(1, right_leading)),
            SizeSlot(size_max(1, left_leading)),
            beta,
            SizeSlot(size_max(1, self.n)),
            *(PointerSlot(a.base, a.offset) for a in self.operands),
        ]

    def _alpha_address(self) -> str:
        """Return the expression for the address of alpha: a slot of the frame, or a scalar in memory."""
        if self.alpha is None or isinstance(self.alpha.base.op, Constant):
            return "frame[0] + 56"
        return f"frame[{self.build.slot(PointerSlot(self.alpha.base, self.alpha.offset))}]"

    def _blas(self) -> str:
        width = self.node.dtype.itemsize
        a, b, c = (f"frame[{12 + i}] + {width} * ({offset})" for i, offset in enumerate(self._offsets()))
        at = [f"frame[0] + {8 * slot}" for slot in range(12)]
        arguments = [at[2], at[3], at[4], at[5], at[6], self.alpha_at, b, at[8], a, at[9], at[10], c, at[11]]
        return f"call_void(frame[1], {', '.join(arguments)})"

    def _offsets(self) -> list[str]:
        variables = [f"d{d}" for d in range(len(self.extents))]
        return [self.build.index(s, variables) for s in self.strides]

    # -- tiles

    def _tiled(self, blas: str) -> LoopNest:
        """Choose at run time, by sizes; the range is that of the batch, or of blocks of columns."""
        columns = 2 * lanes(self.kind)
        blocks = floor_div(self.n + (columns - 1), columns)
        pointers = [f"{v} = {self.kind}p(frame[{12 + i}]{scope})" for i, (v, scope) in enumerate(_POINTERS)]
        pointers.append(f"alpha = {self.kind}p({self.alpha_at})[0]" if self.add else f"alpha = {self.kind}(1)")
        if self.form == "turned":
            width = 2 * lanes(self.kind) * self.node.dtype.itemsize
            pointers += [f"panel = stack({deepest() * width})", f"t = {self.kind}p(panel)"]
        strides = [("ra", 0, -2), ("rc", 2, -2)]
        strides += [("ka", 0, -1), ("kb", 1, -2) if self.form == "rows" else ("cb", 1, -1)]
        steps = [f"{name} = {self._stride(operand, axis)}" for name, operand, axis in strides]
        m, n, k = (self.build.size(s) for s in (self.m, self.n, self.k))
        limits = self._limits()
        self.most_at = self.build.slot(LiteralSlot(limits.most))
        tests = [f"({size} >= {least})" for size, least in zip((m, k, n), limits.least, strict=True) if least]
        tests += [f"({k} <= {limits.deepest})"] if limits.deepest else []
        own = f"own = {' & '.join(tests)} & ({m} * {n} * {k} <= frame[{self.most_at}])"
        sizes = ["m = frame[5]", f"n = {n}", f"k = {k}"]  # a chunk has some of the rows
        ia, ib, ic = self._offsets()
        batched = bool(self.extents)
        start, stop = ("0", self.build.size(blocks)) if batched else ("lo", "hi")
        inside = [f"ia = {ia}", f"ib = {ib}", f"ic = {ic}", "if own:"]
        inside += [f"    {line}" for line in self._blocks(start, stop, columns)]
        inside += ["else:", f"    {blas}"] if batched else ["elif lo == 0:", f"    {blas}"]
        for d in reversed(range(len(self.extents))):
            first, last = ("lo", "hi") if d == 0 else ("0", self.build.size(self.extents[d]))
            inside = [f"for d{d} in range({first}, {last}):", *(f"    {line}" for line in inside)]
        body: list[Statement] = [*pointers, *steps, *sizes, own, *inside]
        return finish(self.build, body, self.extents if batched else (blocks,), self._work())

    def _stride(self, operand: int, axis: int) -> str:
        """Return a stride, from a slot of its own: one kernel serves transposed and plain operands."""
        return f"frame[{self.build.slot(SizeSlot(self.operands[operand].strides[axis]))}]"

    def _blocks(self, start: str, stop: str, columns: int) -> list[str]:
        """Return the loop over blocks of columns."""
        lines = [f"for j in range({start}, {stop}):", f"    col = j * {columns}", "    width = n - col"]
        lines += _indent(self._turn(columns), 1)
        tests = self._widths(columns)
        for number, (test, vectors, part) in enumerate(tests):
            last = number == len(tests) - 1
            word = "if True:" if len(tests) == 1 else "else:" if last else f"{'elif' if number else 'if'} {test}:"
            lines += [f"    {word}", *_indent(self._rows(vectors, part), 2)]
        return lines

    def _turn(self, columns: int) -> list[str]:
        """Return what copies a block of columns to the stack, where they do not lie side by side."""
        if self.form == "rows":
            return []
        size = self.node.dtype.itemsize
        routine = self.build.slot(RoutineSlot(f"transpose{size}"))
        counts = f"k, select(width < {columns}, width, {columns}), {columns}"
        return [f"call_transpose(frame[{routine}], {size}, panel, frame[13], ib + col * cb, cb, {counts})"]

    def _widths(self, columns: int) -> list[tuple[str, int, bool]]:
        """Return the tiles that blocks of columns need: the test of a block's width, vectors, and whether in part."""
        one = columns // VECTORS
        found = [(f"width >= {columns}", VECTORS, False), (f"width > {one}", VECTORS, True), ("True", 1, True)]
        if not isinstance(self.n, int):
            return found
        # Two kinds of kernels, by the last block alone: layers of different widths share them.
        wide = self.n % columns > one
        needed = (True, wide, not wide)
        return [tile for tile, need in zip(found, needed, strict=True) if need]

    def _rows(self, vectors: int, part: bool) -> list[str]:
        """Return the loop over rows: overlapping tiles where they set, single rows at the end where they add."""
        rows = tile_rows()
        if not self.add:
            return _overlapping(rows, self._tile(rows, vectors, part))
        rest = f"for row in range(m // {rows} * {rows}, m): {self._tile(1, vectors, part)}"
        tile = self._tile(rows, vectors, part)
        return [f"for i in range(m // {rows}):", f"    row = i * {rows}", f"    {tile}", rest]

    def _tile(self, rows: int, vectors: int, part: bool) -> str:
        name = tile_name(self.kind, rows, vectors, part, self.add)
        right = "b, ib + col, kb" if self.form == "rows" else f"t, 0, {2 * lanes(self.kind)}"
        return f"{name}(a, ia + row * ra, ra, ka, {right}, c, ic + row * rc + col, rc, k, width, alpha)"


_POINTERS: Sequence[tuple[str, str]] = (("a", ""), ("b", ""), ("c", ", 1"))


def _overlapping(rows: int, call: str) -> list[str]:
    """Return the loop over tiles of rows, the last of which ends at the last row."""
    return [
        f"for i in range((m + {rows - 1}) // {rows}):",
        f"    row = select(i * {rows} + {rows} <= m, i * {rows}, m - {rows})",
        f"    {call}",
    ]


def _indent(lines: Sequence[str], levels: int) -> list[str]:
    return ["    " * levels + line for line in lines]
