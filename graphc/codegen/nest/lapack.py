"""The nests of `graphc/ops/decompositions.py` and `spectral.py`: a loop over the batch that calls BLAS and LAPACK.

Routines take every argument by address: scalars lie in the frame, whose own address is in one of its slots, sizes of
eight bytes whose low half is the 32-bit integer that LAPACK reads. Matrices are contiguous and row-major, that is
column-major transposes: what is lower for us is upper for LAPACK, and A X = B is X^T A^T = B^T. A routine that fails
ends the run with status 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphc.codegen.nest.ir import (
    HI,
    LO,
    ZERO,
    Binary,
    Call,
    Cast,
    Expr,
    Group,
    If,
    Let,
    Loop,
    Pointer,
    Return,
    Statement,
    Store,
    Var,
    both,
    call,
    number,
    select,
    total,
    variables,
)
from graphc.codegen.nest.lower import Accesses
from graphc.codegen.nest.nest import (
    Builder,
    FrameSlot,
    LiteralSlot,
    LoopNest,
    PointerSlot,
    RoutineSlot,
    SizeSlot,
    Slot,
    literal_bits,
)
from graphc.codegen.nest.sorting import private
from graphc.graph.node import Node
from graphc.graph.types import INT64, DType, Size, TensorType, as_dtype, product, size_max, size_min
from graphc.ops.decompositions import Cholesky, Cofactor, LuFactor, LuSolve, SolveTriangular
from graphc.ops.spectral import Eigh, Qr, Svd
from graphc.passes.schedule import machine

INT32 = as_dtype("int32")
_BLOCK = 64
"""More than the width of the blocks that LAPACK works in: an upper bound of its best workspace."""


class _Nest:
    """A nest under construction: one iteration a matrix, `d0` being its number."""

    def __init__(self, node: Node, accesses: Accesses, **rows: tuple[DType, Size]) -> None:
        self.node = node
        self.accesses = accesses
        self.rows = {name: private(name, TensorType(dtype, (size,))) for name, (dtype, size) in rows.items()}
        self.build = Builder([node, *self.rows.values()])

    def size(self, size: Size) -> Var:
        """Return a variable that holds a size."""
        return self.build.size(size)

    def pointer(self, base: Node | str) -> Pointer:
        """Return a typed pointer at an operand, the result or a private buffer."""
        return self.build.pointer(*self._place(base))

    def _place(self, base: Node | str) -> tuple[Node, Size]:
        if isinstance(base, str):
            return self.rows[base], 0
        if base is self.node:
            return base, 0
        access = self.accesses[base]
        return access.base, access.offset

    # -- arguments of routines

    def address(self, base: Node | str, index: Expr | None = None) -> Expr:
        """Return the address of an element."""
        node, offset = self._place(base)
        slot = PointerSlot(node, offset)
        start = self.build.once(("address", slot), "a", lambda: self.build.word(slot))
        return start if index is None else start + node.dtype.itemsize * Group(index)

    def scalar(self, value: Size | float | str) -> Var:
        """Return the address of a size, a number of the dtype of the matrices, or a letter."""
        slot: Slot
        if isinstance(value, str):
            slot = LiteralSlot(ord(value))
        elif isinstance(value, float):
            slot = LiteralSlot(literal_bits(np.asarray(value, self.node.dtype)))
        else:
            slot = SizeSlot(value)
        own = self.build.once("own", "w", lambda: self.build.word(FrameSlot()))
        return self.build.once(("scalar", slot), "s", lambda: own + 8 * self.build.slot(slot))

    def call(self, routine: str, *arguments: Expr) -> Call:
        """Return the call of a routine of the dtype of the matrices."""
        slot = RoutineSlot(("d" if self.node.dtype.itemsize == 8 else "s") + routine)
        function = self.build.once(slot, "r", lambda: self.build.word(slot))
        return call("call_void", function, *arguments)

    def checked(
        self, routine: str, *arguments: Expr, otherwise: Loop | None, then: Sequence[Statement] = ()
    ) -> list[Statement]:
        """Return the call of a routine whose last argument says how it went: `then` follows where it went well.

        A failure ends the run, or `otherwise`.
        """
        info = self.pointer("info")
        called = self.call(routine, *arguments, self.address("info"))
        wrong = (info[0] & 4294967295).ne(0)
        return [Store(info, ZERO, ZERO), called, If(wrong, [otherwise or Return(number(1))], list(then))]

    def leading(self, size: Size) -> Var:
        """Return a leading dimension by address: at least 1."""
        return self.scalar(size_max(1, size))

    # -- the result

    def finish(self, body: list[Statement], work: Size) -> list[LoopNest]:
        """Return the nest; `work` is the number of operations a matrix."""
        batch = product(self.node.shape[:-2])
        nest = LoopNest(
            (*self.build.top, Loop(D0, LO, HI, body)),
            tuple(self.build.slots),
            batch,
            batch * work,
            (self.node,),
            tuple((row, row.shape[0]) for row in self.rows.values()),
            divisible=not self.rows,
            unit_ns=machine.LAPACK_OPERATION,
        )
        return [nest]


D0, I0, J, K, Q, R, O0, F, AT, ROW, COLUMN, ZEROS, FAILURES = variables("d0 i j k q r o f m row column zeros failures")


def _every(variable: Var, stop: Expr, *body: Statement) -> Loop:
    return Loop(variable, ZERO, stop, list(body))


def _copy(nest: _Nest, count: Size, source: Node, shift: Expr = ZERO) -> Loop:
    """Copy the contiguous matrix of an operand into the result; `o` and `f` are where they start."""
    out, x = nest.pointer(nest.node), nest.pointer(source)
    return _every(I0, nest.size(count), Store(out, total(O0, shift, I0), x[F + I0]))


def _cholesky(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Copy the lower triangle and factor it in place, as U^T U of the column-major upper one."""
    nest = _Nest(node, accesses, info=(INT64, 1))
    size = node.shape[-1]
    n, out, a = nest.size(size), nest.pointer(node), nest.pointer(node.inputs[0])
    zero = nest.build.literal(np.zeros((), node.dtype))
    row: list[Statement] = [
        Let(R, O0 + I0 * n),
        Loop(J, ZERO, I0 + 1, [Store(out, R + J, a[R + J])]),
        Loop(J, I0 + 1, n, [Store(out, R + J, zero)]),
    ]
    op = node.op
    assert isinstance(op, Cholesky)
    arguments = [nest.scalar("U"), nest.scalar(size), nest.address(node, O0), nest.leading(size)]
    body: list[Statement] = [
        Let(O0, D0 * nest.size(size * size)),
        _every(I0, n, *row),
        *nest.checked("potrf", *arguments, otherwise=_not_a_number(nest, size * size) if op.nan else None),
    ]
    return nest.finish(body, size * size * size)


def _right_solve(nest: _Nest, matrix: Node, upper: bool, transposed: bool, unit: bool) -> Call:
    """Return the call that divides X^T, in the result, by a column-major triangle at `m` from the right."""
    n, k = nest.node.shape[-2:]
    letters = [nest.scalar(c) for c in ("R", "U" if upper else "L", "T" if transposed else "N", "U" if unit else "N")]
    sizes = [nest.scalar(k), nest.scalar(n), nest.scalar(1.0)]
    a, x = nest.address(matrix, AT), nest.address(nest.node, O0)
    return nest.call("trsm", *letters, *sizes, a, nest.leading(n), x, nest.leading(k))


def _not_a_number(nest: _Nest, count: Size) -> Loop:
    """Fill the result of one matrix."""
    nan = nest.build.literal(np.asarray(np.nan, nest.node.dtype))
    stop = nest.size(count)
    return _every(I0, stop, Store(nest.pointer(nest.node), O0 + I0, nan))


def _guarded(nest: _Nest, matrix: Node, nan: bool, solve: list[Statement]) -> list[Statement]:
    """Return a solve by a triangle at `m`, for whose diagonal the op ends the run or gives NaN."""
    n, k = nest.node.shape[-2:]
    if not nan:
        return [_refuse_zero_diagonal(nest, matrix), *solve]
    size, triangle = nest.size(n), nest.pointer(matrix)
    pivot = Var("pivot", triangle.kind)
    look = _every(
        I0,
        size,
        Let(pivot, triangle[AT + I0 * size + I0]),
        Let(FAILURES, FAILURES + select(pivot.eq(0) | pivot.ne(pivot), 1, 0)),
    )
    return [Let(FAILURES, ZERO), look, If(FAILURES.eq(0), solve, [_not_a_number(nest, n * k)])]


def _refuse_zero_diagonal(nest: _Nest, matrix: Node) -> Loop:
    n = nest.size(nest.node.shape[-2])
    return _every(I0, n, If(nest.pointer(matrix)[AT + I0 * n + I0].eq(0), [Return(number(1))], []))


def _solve_triangular(node: Node, accesses: Accesses) -> list[LoopNest]:
    op = node.op
    assert isinstance(op, SolveTriangular)
    a, b = node.inputs
    nest = _Nest(node, accesses)
    n, k = node.shape[-2:]
    solve: list[Statement] = [
        _copy(nest, n * k, b),
        _right_solve(nest, a, op.lower, op.transposed, op.unit),
    ]
    body: list[Statement] = [
        Let(O0, D0 * nest.size(n * k)),
        Let(F, O0),
        Let(AT, D0 * nest.size(n * n)),
        *(solve if op.unit else _guarded(nest, a, op.nan, solve)),
    ]
    return nest.finish(body, n * n * k)


def _lu_factor(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Factor the column-major A^T in place; the exchanges become numbers of the dtype, from 0."""
    (a,) = node.inputs
    n = node.shape[-1]
    nest = _Nest(node, accesses, info=(INT64, 1), exchanges=(INT32, n))
    out, exchanges = nest.pointer(node), nest.pointer("exchanges")
    arguments = [nest.scalar(n), nest.scalar(n), nest.address(node, O0), nest.leading(n)]
    body: list[Statement] = [
        Let(O0, D0 * nest.size((n + 1) * n)),
        Let(F, D0 * nest.size(n * n)),
        _copy(nest, n * n, a),
        nest.call("getrf", *arguments, nest.address("exchanges"), nest.address("info")),
        _every(I0, nest.size(n), Store(out, O0 + nest.size(n * n) + I0, exchanges[I0] - 1)),
    ]
    return nest.finish(body, n * n * n)


def _lu_solve(node: Node, accesses: Accesses) -> list[LoopNest]:
    """With A^T = P L U, column-major: X^T = B^T U^-1 L^-1 P^T, or X^T = B^T P L^-T U^-T for the transpose."""
    op = node.op
    assert isinstance(op, LuSolve)
    _, factors, b = node.inputs
    nest = _Nest(node, accesses)
    n, k = node.shape[-2:]
    body: list[Statement] = [
        Let(O0, D0 * nest.size(n * k)),
        Let(F, O0),
        Let(AT, D0 * nest.size((n + 1) * n)),
        *_guarded(nest, factors, op.nan, [_copy(nest, n * k, b), *_divide_by_factors(nest, factors, op.transposed)]),
    ]
    return nest.finish(body, n * n * k)


def _divide_by_factors(nest: _Nest, factors: Node, transposed: bool) -> list[Statement]:
    """Return what replaces right sides in the result, at `o`, by solutions; the factors lie at `m`."""
    upper = _right_solve(nest, factors, True, transposed, False)
    lower = _right_solve(nest, factors, False, transposed, True)
    exchange = _exchange_rows(nest, factors, backwards=not transposed)
    return [exchange, lower, upper] if transposed else [upper, lower, exchange]


def _cofactor(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Divide det(A) times the identity by A^T; for a pivot of 0 as `Cofactor` says, multipliers in place."""
    a, factors = node.inputs
    size = node.shape[-1]
    dtype = node.dtype
    floats = {"u": (dtype, size * size), "right": (dtype, size), "down": (dtype, size)}
    nest = _Nest(node, accesses, rows=(INT64, size), columns=(INT64, size), **floats)
    n, out, given, lu = nest.size(size), nest.pointer(node), nest.pointer(a), nest.pointer(factors)
    u, right, down, rows, columns = (nest.pointer(name) for name in ("u", "right", "down", "rows", "columns"))
    zero, one = (nest.build.literal(np.asarray(value, dtype)) for value in (0, 1))
    scale, pivot, held, best, large, times, across, along = variables(
        "scale pivot held best size times across along", u.kind
    )
    better, exchanged, other = Var("better", "bool"), Var("exchanged", "bool"), Var("number")
    regular: list[Statement] = [
        _every(I0, n, _every(J, n, Store(out, O0 + I0 * n + J, select(I0.eq(J), scale, zero)))),
        *_divide_by_factors(nest, factors, True),
    ]
    find: list[Statement] = [
        Let(large, call("fabs", u[I0 * n + J])),
        Let(better, large > best),
        Let(best, select(better, large, best)),
        Let(ROW, select(better, I0, ROW)),
        Let(COLUMN, select(better, J, COLUMN)),
    ]
    eliminate: list[Statement] = [
        Let(times, select(pivot.eq(zero), zero, u[I0 * n + K] / pivot)),
        Store(u, I0 * n + K, times),
        Loop(J, K + 1, n, [Store(u, I0 * n + J, u[I0 * n + J] - times * u[K * n + J])]),
    ]
    step: list[Statement] = [
        *(Let(best, -one), Let(ROW, K), Let(COLUMN, K)),
        Loop(I0, K, n, [Loop(J, K, n, find)]),
        _every(J, n, *_exchanged(u, K * n + J, ROW * n + J, held)),
        _every(I0, n, *_exchanged(u, I0 * n + K, I0 * n + COLUMN, held)),
        *_exchanged(rows, K, ROW, other),
        *_exchanged(columns, K, COLUMN, other),
        Let(pivot, u[K * n + K]),
        Let(scale, select(ROW.ne(K).ne(COLUMN.ne(K)), -scale, scale) * pivot),
        Loop(I0, K + 1, n, eliminate),
    ]
    back: list[Statement] = [
        Let(K, n - 2 - Q),
        *(Let(across, zero), Let(along, zero), Let(pivot, u[K * n + K])),
        Loop(
            I0,
            K + 1,
            n,
            [Let(across, across + u[K * n + I0] * right[I0]), Let(along, along + u[I0 * n + K] * down[I0])],
        ),
        Store(right, K, select(pivot.eq(zero), zero, -across / pivot)),
        Store(down, K, -along),
    ]
    outer = Store(out, O0 + rows[I0] * n + columns[J], scale * down[I0] * right[J])
    singular: list[Statement] = [
        _every(I0, nest.size(size * size), Store(u, I0, given[O0 + I0])),
        _every(I0, n, Store(rows, I0, I0), Store(columns, I0, I0)),
        Let(scale, one),
        Loop(K, ZERO, n - 1, step),
        *(Store(right, n - 1, one), Store(down, n - 1, one)),
        Loop(Q, ZERO, n - 1, back),
        _every(I0, n, _every(J, n, outer)),
    ]
    body: list[Statement] = [
        Let(O0, D0 * nest.size(size * size)),
        Let(AT, D0 * nest.size((size + 1) * size)),
        *(Let(scale, one), Let(ZEROS, ZERO)),
        _every(
            I0,
            n,
            Let(pivot, lu[AT + I0 * n + I0]),
            Let(ZEROS, ZEROS + select(pivot.eq(zero), 1, 0)),
            Let(exchanged, Cast("i64", lu[AT + nest.size(size * size) + I0]).ne(I0)),
            Let(scale, select(exchanged, -scale, scale) * pivot),
        ),
        If(ZEROS.eq(0), regular, singular),
    ]
    return nest.finish(body, size * size * size)


def _exchanged(pointer: Pointer, one: Expr, other: Expr, held: Var) -> list[Statement]:
    return [Let(held, pointer[one]), Store(pointer, one, pointer[other]), Store(pointer, other, held)]


def _exchange_rows(nest: _Nest, factors: Node, *, backwards: bool) -> Loop:
    """Exchange rows of the result as `LuFactor` did, first to last or last to first.

    Numbers that `LuFactor` does not write (in a program from a file, factors can be any array) exchange nothing.
    """
    size, columns = nest.node.shape[-2:]
    n, k, out = nest.size(size), nest.size(columns), nest.pointer(nest.node)
    held = Var("t", out.kind)
    return _every(
        I0,
        n,
        Let(R, n - 1 - I0 if backwards else I0),
        Let(Q, Cast("i64", nest.pointer(factors)[AT + nest.size(size * size) + R])),
        If(both(Q > R, Binary("<", Q, n)), [_every(J, k, *_exchanged(out, O0 + R * k + J, O0 + Q * k + J, held))], []),
    )


def _eigh(node: Node, accesses: Accesses) -> list[LoopNest]:
    """LAPACK's columns of eigenvectors are rows in memory."""
    (a,) = node.inputs
    n = node.shape[-1]
    work, whole = 1 + 6 * n + 2 * n * n, 3 + 5 * n
    nest = _Nest(node, accesses, info=(INT64, 1), work=(node.dtype, work), whole=(INT32, whole))
    rows = O0 + nest.size(n)
    arguments = [
        *(nest.scalar("V"), nest.scalar("U"), nest.scalar(n)),
        *(nest.address(node, rows), nest.leading(n), nest.address(node, O0)),
        *(nest.address("work"), nest.scalar(work), nest.address("whole"), nest.scalar(whole)),
    ]
    op = node.op
    assert isinstance(op, Eigh)
    body: list[Statement] = [
        Let(O0, D0 * nest.size((n + 1) * n)),
        Let(F, D0 * nest.size(n * n)),
        _copy(nest, n * n, a, nest.size(n)),
        *nest.checked("syevd", *arguments, otherwise=_not_a_number(nest, (n + 1) * n) if op.nan else None),
    ]
    return nest.finish(body, 9 * n * n * n)


def _qr(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Factor a column-major copy; R is its upper triangle, Q is made from the rest."""
    (a,) = node.inputs
    m, n = a.shape[-2:]
    work = _BLOCK * size_max(1, n)
    buffers = {"copy": (node.dtype, m * n), "scales": (node.dtype, n), "work": (node.dtype, work)}
    nest = _Nest(node, accesses, info=(INT64, 1), **buffers)
    rows, columns, out = nest.size(m), nest.size(n), nest.pointer(node)
    copy, x = nest.pointer("copy"), nest.pointer(a)
    zero = nest.build.literal(np.zeros((), node.dtype))
    shared = [nest.address("copy"), nest.leading(m), nest.address("scales"), nest.address("work"), nest.scalar(work)]
    shared.append(nest.address("info"))
    here, there = O0 + I0 * columns + J, J * rows + I0
    below = O0 + (rows + I0) * columns + J
    body: list[Statement] = [
        Let(O0, D0 * nest.size((m + n) * n)),
        Let(F, D0 * nest.size(m * n)),
        _every(I0, rows, _every(J, columns, Store(copy, there, x[F + I0 * columns + J]))),
        nest.call("geqrf", nest.scalar(m), nest.scalar(n), *shared),
        _every(I0, columns, _every(J, I0, Store(out, below, zero))),
        _every(I0, columns, Loop(J, I0, columns, [Store(out, below, copy[there])])),
        nest.call("orgqr", nest.scalar(m), nest.scalar(n), nest.scalar(n), *shared),
        _every(I0, rows, _every(J, columns, Store(out, here, copy[there]))),
    ]
    return nest.finish(body, 4 * m * n * n)


def _svd(node: Node, accesses: Accesses) -> list[LoopNest]:
    """The column-major A^T has our vh as rows of its left vectors in memory, and our u as its right ones."""
    (a,) = node.inputs
    m, n = a.shape[-2:]
    k, width = size_min(m, n), m + n + 1
    work = 5 * k * k + 8 * k + _BLOCK * (m + n + 1)
    buffers = {"copy": m * n, "values": k, "left": m * k, "work": work}
    floats = {name: (node.dtype, size) for name, size in buffers.items()}
    nest = _Nest(node, accesses, info=(INT64, 1), whole=(INT32, 8 * k), **floats)
    out, copy, x = nest.pointer(node), nest.pointer("copy"), nest.pointer(a)
    count, rows, line = nest.size(k), nest.size(m), nest.size(width)
    arguments = [
        *(nest.scalar("S"), nest.scalar(n), nest.scalar(m), nest.address("copy"), nest.leading(n)),
        *(nest.address("values"), nest.address(node, O0 + 1 + rows), nest.leading(width)),
        *(nest.address("left"), nest.leading(k), nest.address("work"), nest.scalar(work), nest.address("whole")),
    ]
    packed = _every(
        I0,
        count,
        Let(R, O0 + I0 * line),
        Store(out, R, nest.pointer("values")[I0]),
        _every(J, rows, Store(out, R + 1 + J, nest.pointer("left")[J * count + I0])),
    )
    op = node.op
    assert isinstance(op, Svd)
    body: list[Statement] = [
        Let(O0, D0 * nest.size(k * width)),
        Let(F, D0 * nest.size(m * n)),
        _every(I0, nest.size(m * n), Store(copy, I0, x[F + I0])),
        *nest.checked("gesdd", *arguments, otherwise=_not_a_number(nest, k * width) if op.nan else None, then=[packed]),
    ]
    return nest.finish(body, 20 * m * n * k)


LAPACK: dict[type, Callable[[Node, Accesses], list[LoopNest]]] = {
    Cholesky: _cholesky,
    SolveTriangular: _solve_triangular,
    LuFactor: _lu_factor,
    LuSolve: _lu_solve,
    Cofactor: _cofactor,
    Eigh: _eigh,
    Qr: _qr,
    Svd: _svd,
}
