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
import functools
import sys

import numpy as np

from graphc.codegen.math.tile_sizes import SMALL, VECTORS, deepest, lanes, tile_name, tile_rows, vector_bits
from graphc.codegen.nest.copies import collapse, copy_nest, finish, nested
from graphc.codegen.nest.ir import (
    HI,
    LO,
    TRUE,
    ZERO,
    Address,
    Call,
    Expr,
    Group,
    If,
    Let,
    Loop,
    Pointer,
    Statement,
    Store,
    Var,
    Word,
    call,
    select,
    typed,
    variables,
)
from graphc.codegen.nest.nest import (
    Builder,
    FrameSlot,
    LiteralSlot,
    LoopNest,
    PointerSlot,
    Product,
    RoutineSlot,
    SizeSlot,
    Slot,
    TransposerSlot,
    literal_bits,
)
from graphc.codegen.nest.options import KernelOptions
from graphc.codegen.nest.partials import E, Partials
from graphc.codegen.nest.reduce import identity
from graphc.graph.node import Node
from graphc.graph.op import Constant
from graphc.graph.types import Size, floor_div, product, short_name, size_max
from graphc.ops.linalg import MatMulSum, factors_of
from graphc.ops.shape import contiguous_strides
from graphc.passes.schedule import machine
from graphc.passes.schedule.fuse import squeeze_strides
from graphc.passes.schedule.layout import Access, gemm_layout
from graphc.passes.schedule.options import Options

Accesses = dict[Node, Access]
PANEL, M, N, DEPTH, J, I0 = variables("panel m n k j i")
IA, IB, IC, RA, RC, KA, KB, CB, ROW, COL, WIDTH = variables("ia ib ic ra rc ka kb cb row col width")
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
        self.left, self.right, self.result, self.panel = (Pointer(name, self.kind) for name in "abct")
        self.factor = Var("alpha", self.kind)
        self.build = Builder([node], slots=self._blas_slots())
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
            nest = finish(
                self.build, nested(self.build, self.extents, self._or_plain(blas)), self.extents, self._work()
            )
        else:
            nest = dataclasses.replace(self._tiled(blas), options=KernelOptions(tiles=True))
        return dataclasses.replace(nest, unit_ns=machine.MULTIPLY_ADD, product=self._limits())

    def summed(self) -> LoopNest:
        """Return the nest of products that all add to one result, zeros at first or what chunks of the batch left."""
        partials = Partials(self.build)
        sums = Pointer("sums", self.kind)
        combine = partials.rows_loop("sum", self.node, sums)
        zero = Store(sums, E, identity("sum", self.node.dtype))
        start: list[Statement] = [
            Let(sums, Address(self.kind, Word(14), (1,))),
            Loop(E, ZERO, self.build.size(self.node.size), [zero]),
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

    def _alpha_address(self) -> Expr:
        """Return the expression for the address of alpha: a slot of the frame, or a scalar in memory."""
        if self.alpha is None or isinstance(self.alpha.base.op, Constant):
            return Word(0) + 56
        return self.build.word(PointerSlot(self.alpha.base, self.alpha.offset))

    def _blas(self) -> Call:
        width = self.node.dtype.itemsize
        a, b, c = (Word(12 + i) + width * Group(offset) for i, offset in enumerate(self._offsets()))
        at = [Word(0) + 8 * slot for slot in range(12)]
        arguments = [at[2], at[3], at[4], at[5], at[6], self.alpha_at, b, at[8], a, at[9], at[10], c, at[11]]
        return call("call_void", Word(1), *arguments)

    def _or_plain(self, blas: Call) -> list[Statement]:
        """Multiply by a loop where alpha is 0 at run time: BLAS then leaves out the product, and its NaN and inf."""
        if self.alpha is None or isinstance(self.alpha.base.op, Constant):
            return [blas]
        i, j, q = variables("row_0 col_0 k_0")
        a, b, c = (Pointer(name, self.kind) for name in ("a_0", "b_0", "c_0"))
        at_a, at_b, at_c = self._offsets()
        total, zero = Var("total", self.kind), Var("zero", self.kind)
        steps = [[self._stride(operand, axis) for axis in (-2, -1)] for operand in range(3)]
        places = [
            start + row * down + column * across
            for start, row, column, (down, across) in zip((at_a, at_b, at_c), (i, q, i), (q, j, j), steps, strict=True)
        ]
        term = a[places[0]] * b[places[1]]
        inner: list[Statement] = [
            Let(total, typed(0, self.kind)),
            Loop(q, ZERO, Word(6), [Let(total, total + term)]),
            Store(c, places[2], c[places[2]] + zero * total),
        ]
        # a chunk of the work has some of the rows or columns: its own slots tell
        loops = Loop(i, ZERO, Word(5), [Loop(j, ZERO, Word(4), inner)])
        head = [Let(p, Address(self.kind, Word(12 + k), (1,) if p is c else ())) for k, p in enumerate((a, b, c))]
        factor = Let(zero, Address(self.kind, self.alpha_at)[0])
        return [factor, If(zero.eq(0), [*head, loops], [blas])]

    def _offsets(self) -> list[Expr]:
        variables = [Var(f"d{d}") for d in range(len(self.extents))]
        return [self.build.index(s, variables) for s in self.strides]

    # -- tiles

    def _tiled(self, blas: Call) -> LoopNest:
        """Choose at run time, by sizes; the range is that of the batch, or of blocks of columns."""
        columns = 2 * lanes(self.kind)
        blocks = floor_div(self.n + (columns - 1), columns)
        head: list[Statement] = [
            Let(p, Address(self.kind, Word(12 + i), (1,) if p is self.result else ()))
            for i, p in enumerate((self.left, self.right, self.result))
        ]
        alpha = Address(self.kind, self.alpha_at)[0] if self.add else typed(1, self.kind)
        head.append(Let(self.factor, alpha))
        if self.form == "turned":
            width = 2 * lanes(self.kind) * self.node.dtype.itemsize
            head += [Let(PANEL, call("stack", deepest() * width)), Let(self.panel, Address(self.kind, PANEL))]
        strides = [(RA, 0, -2), (RC, 2, -2)]
        strides += [(KA, 0, -1), (KB, 1, -2) if self.form == "rows" else (CB, 1, -1)]
        head += [Let(name, self._stride(operand, axis)) for name, operand, axis in strides]
        m, n, k = (self.build.size(s) for s in (self.m, self.n, self.k))
        limits = self._limits()
        self.most_at = self.build.slot(LiteralSlot(limits.most))
        tests = [size >= least for size, least in zip((m, k, n), limits.least, strict=True) if least]
        tests += [k <= limits.deepest] if limits.deepest else []
        tests.append(m * n * k <= Word(self.most_at))
        own = Var("own", "bool")
        head += [Let(M, Word(5)), Let(N, n), Let(DEPTH, k)]  # a chunk has some of the rows
        head.append(Let(own, functools.reduce(Expr.__and__, tests)))
        batched = bool(self.extents)
        start, stop = (ZERO, self.build.size(blocks)) if batched else (LO, HI)
        inside: list[Statement] = [Let(at, offset) for at, offset in zip((IA, IB, IC), self._offsets(), strict=True)]
        whole = self._or_plain(blas)
        otherwise: list[Statement] = whole if batched else [If(LO.eq(0), whole, [])]
        inside.append(If(own, [self._blocks(start, stop, columns)], otherwise))
        body = [*head, *nested(self.build, self.extents, inside)]
        return finish(self.build, body, self.extents if batched else (blocks,), self._work())

    def _stride(self, operand: int, axis: int) -> Word:
        """Return a stride, from a slot of its own: one kernel serves transposed and plain operands."""
        return self.build.word(SizeSlot(self.operands[operand].strides[axis]))

    def _blocks(self, start: Expr, stop: Expr, columns: int) -> Loop:
        """Return the loop over blocks of columns."""
        found: list[Statement] = []
        tests = self._widths(columns)
        for test, vectors, part in reversed(tests):
            rows = self._rows(vectors, part)
            found = [If(test, rows, found)] if found or len(tests) == 1 else rows
        return Loop(J, start, stop, [Let(COL, J * columns), Let(WIDTH, N - COL), *self._turn(columns), *found])

    def _turn(self, columns: int) -> list[Statement]:
        """Return what copies a block of columns to the stack, where they do not lie side by side."""
        if self.form == "rows":
            return []
        size = self.node.dtype.itemsize
        routine = self.build.slot(TransposerSlot(size))
        counts = DEPTH, select(columns > WIDTH, WIDTH, columns), columns
        return [call("call_transpose", Word(routine), size, PANEL, Word(13), IB + COL * CB, CB, *counts)]

    def _widths(self, columns: int) -> list[tuple[Expr, int, bool]]:
        """Return the tiles that blocks of columns need: the test of a block's width, vectors, and whether in part."""
        one = columns // VECTORS
        found: list[tuple[Expr, int, bool]] = [
            (columns <= WIDTH, VECTORS, False),
            (one < WIDTH, VECTORS, True),
            (TRUE, 1, True),
        ]
        if not isinstance(self.n, int):
            return found
        # Two kinds of kernels, by the last block alone: layers of different widths share them.
        wide = self.n % columns > one
        needed = (True, wide, not wide)
        return [tile for tile, need in zip(found, needed, strict=True) if need]

    def _rows(self, vectors: int, part: bool) -> list[Statement]:
        """Return the loop over rows: overlapping tiles where they set, single rows at the end where they add."""
        rows = tile_rows()
        if not self.add:
            return _overlapping(rows, self._tile(rows, vectors, part))
        rest = Loop(ROW, M // rows * rows, M, [self._tile(1, vectors, part)])
        return [Loop(I0, ZERO, M // rows, [Let(ROW, I0 * rows), self._tile(rows, vectors, part)]), rest]

    def _tile(self, rows: int, vectors: int, part: bool) -> Call:
        name = tile_name(self.kind, rows, vectors, part, self.add)
        right = (self.right, IB + COL, KB) if self.form == "rows" else (self.panel, 0, 2 * lanes(self.kind))
        left, result = (self.left, IA + ROW * RA, RA, KA), (self.result, IC + ROW * RC + COL, RC)
        return call(name, *left, *right, *result, DEPTH, WIDTH, self.factor)


def _overlapping(rows: int, tile: Call) -> list[Statement]:
    """Return the loop over tiles of rows, the last of which ends at the last row."""
    row = Let(ROW, select(I0 * rows + rows <= M, I0 * rows, M - rows))
    return [Loop(I0, ZERO, (M + (rows - 1)) // rows, [row, tile])]
