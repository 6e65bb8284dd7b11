"""The nests of `graphc/ops/decompositions.py` and `spectral.py`: a loop over the batch that calls BLAS and LAPACK.

Routines take every argument by address: scalars lie in the frame, whose own address is in one of its slots, sizes of
eight bytes whose low half is the 32-bit integer that LAPACK reads. Matrices are contiguous and row-major, that is
column-major transposes: what is lower for us is upper for LAPACK, and A X = B is X^T A^T = B^T. A routine that fails
ends the run with status 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.codegen.lower import Accesses
from graphc.codegen.nest import (
    Builder,
    FrameSlot,
    If,
    LiteralSlot,
    Loop,
    LoopNest,
    PointerSlot,
    RoutineSlot,
    SizeSlot,
    Slot,
    Statement,
    literal_bits,
)
from graphc.codegen.sorting import private
from graphc.node import Node
from graphc.ops.decompositions import Cholesky, Cofactor, LuFactor, LuSolve, SolveTriangular
from graphc.ops.spectral import Eigh, Qr, Svd
from graphc.types import INT64, DType, Size, TensorType, as_dtype, product, size_max, size_min

INT32 = as_dtype("int32")
_FLOP_NS = 0.1
_BLOCK = 64
"""More than the width of the blocks that LAPACK works in: an upper bound of its best workspace."""


class _Nest:
    """A nest under construction: one iteration a matrix, `d0` being its number."""

    def __init__(self, node: Node, accesses: Accesses, **rows: tuple[DType, Size]) -> None:
        self.node = node
        self.accesses = accesses
        self.rows = {name: private(name, TensorType(dtype, (size,))) for name, (dtype, size) in rows.items()}
        self.build = Builder([node, *self.rows.values()])

    def size(self, size: Size) -> str:
        """Return a variable that holds a size."""
        return self.build.size(size)

    def pointer(self, base: Node | str) -> str:
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

    def address(self, base: Node | str, index: str = "") -> str:
        """Return the address of an element."""
        node, offset = self._place(base)
        slot = PointerSlot(node, offset)
        start = self.build.once(("address", slot), "a", lambda: f"frame[{self.build.slot(slot)}]")
        return f"{start} + {node.dtype.itemsize} * ({index})" if index else start

    def scalar(self, value: Size | float | str) -> str:
        """Return the address of a size, a number of the dtype of the matrices, or a letter."""
        slot: Slot
        if isinstance(value, str):
            slot = LiteralSlot(ord(value))
        elif isinstance(value, float):
            slot = LiteralSlot(literal_bits(np.asarray(value, self.node.dtype)))
        else:
            slot = SizeSlot(value)
        own = self.build.once("own", "w", lambda: f"frame[{self.build.slot(FrameSlot())}]")
        return self.build.once(("scalar", slot), "s", lambda: f"{own} + {8 * self.build.slot(slot)}")

    def call(self, routine: str, *arguments: str) -> str:
        """Return the call of a routine of the dtype of the matrices."""
        slot = RoutineSlot(("d" if self.node.dtype.itemsize == 8 else "s") + routine)
        function = self.build.once(slot, "r", lambda: f"frame[{self.build.slot(slot)}]")
        return f"call_void({function}, {', '.join(arguments)})"

    def checked(self, routine: str, *arguments: str, otherwise: Loop | None = None) -> list[Statement]:
        """Return the call of a routine whose last argument says how it went; a failure ends the run, or `otherwise`."""
        info = self.pointer("info")
        call = self.call(routine, *arguments, self.address("info"))
        wrong = f"({info}[0] & 4294967295) != 0"
        return [f"{info}[0] = 0", call, f"if {wrong}: return 1" if otherwise is None else If(wrong, [otherwise], [])]

    def leading(self, size: Size) -> str:
        """Return a leading dimension by address: at least 1."""
        return self.scalar(size_max(1, size))

    # -- the result

    def finish(self, body: list[Statement], work: Size) -> list[LoopNest]:
        """Return the nest; `work` is the number of operations a matrix."""
        batch = product(self.node.shape[:-2])
        nest = LoopNest(
            (*self.build.top, Loop("d0", "lo", "hi", body)),
            tuple(self.build.slots),
            batch,
            batch * work,
            (self.node,),
            tuple((row, row.shape[0]) for row in self.rows.values()),
            divisible=not self.rows,
            unit_ns=_FLOP_NS,
        )
        return [nest]


def _every(variable: str, stop: str, *body: Statement) -> Loop:
    return Loop(variable, "0", stop, list(body))


def _copy(nest: _Nest, count: Size, source: Node, shift: str = "") -> Loop:
    """Copy the contiguous matrix of an operand into the result; `o` and `f` are where they start."""
    out, x = nest.pointer(nest.node), nest.pointer(source)
    return _every("i", nest.size(count), f"{out}[o{shift} + i] = {x}[f + i]")


def _cholesky(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Copy the lower triangle and factor it in place, as U^T U of the column-major upper one."""
    nest = _Nest(node, accesses, info=(INT64, 1))
    size = node.shape[-1]
    n, out, a = nest.size(size), nest.pointer(node), nest.pointer(node.inputs[0])
    zero = nest.build.literal(np.zeros((), node.dtype))
    row: list[Statement] = [
        f"r = o + i * {n}",
        Loop("j", "0", "i + 1", [f"{out}[r + j] = {a}[r + j]"]),
        Loop("j", "i + 1", n, [f"{out}[r + j] = {zero}"]),
    ]
    op = node.op
    assert isinstance(op, Cholesky)
    arguments = [nest.scalar("U"), nest.scalar(size), nest.address(node, "o"), nest.leading(size)]
    body: list[Statement] = [
        f"o = d0 * {nest.size(size * size)}",
        _every("i", n, *row),
        *nest.checked("potrf", *arguments, otherwise=_not_a_number(nest, size * size) if op.nan else None),
    ]
    return nest.finish(body, size * size * size)


def _right_solve(nest: _Nest, matrix: Node, start: str, upper: bool, transposed: bool, unit: bool) -> str:
    """Return the call that divides X^T, in the result, by a column-major triangle from the right."""
    n, k = nest.node.shape[-2:]
    letters = [nest.scalar(c) for c in ("R", "U" if upper else "L", "T" if transposed else "N", "U" if unit else "N")]
    sizes = [nest.scalar(k), nest.scalar(n), nest.scalar(1.0)]
    a, x = nest.address(matrix, start), nest.address(nest.node, "o")
    return nest.call("trsm", *letters, *sizes, a, nest.leading(n), x, nest.leading(k))


def _not_a_number(nest: _Nest, count: Size) -> Loop:
    """Fill the result of one matrix."""
    nan = nest.build.literal(np.asarray(np.nan, nest.node.dtype))
    return _every("i", nest.size(count), f"{nest.pointer(nest.node)}[o + i] = {nan}")


def _guarded(nest: _Nest, matrix: Node, nan: bool, solve: list[Statement]) -> list[Statement]:
    """Return a solve by a triangle at `m`, for whose diagonal the op ends the run or gives NaN."""
    n, k = nest.node.shape[-2:]
    if not nan:
        return [_refuse_zero_diagonal(nest, matrix, "m"), *solve]
    size = nest.size(n)
    look = _every(
        "i",
        size,
        f"pivot = {nest.pointer(matrix)}[m + i * {size} + i]",
        "failures = failures + select((pivot == 0) | (pivot != pivot), 1, 0)",
    )
    return ["failures = 0", look, If("failures == 0", solve, [_not_a_number(nest, n * k)])]


def _refuse_zero_diagonal(nest: _Nest, matrix: Node, start: str) -> Loop:
    n = nest.size(nest.node.shape[-2])
    return _every("i", n, f"if {nest.pointer(matrix)}[{start} + i * {n} + i] == 0: return 1")


def _solve_triangular(node: Node, accesses: Accesses) -> list[LoopNest]:
    op = node.op
    assert isinstance(op, SolveTriangular)
    a, b = node.inputs
    nest = _Nest(node, accesses)
    n, k = node.shape[-2:]
    solve: list[Statement] = [
        _copy(nest, n * k, b),
        _right_solve(nest, a, "m", op.lower, op.transposed, op.unit),
    ]
    body: list[Statement] = [
        f"o = d0 * {nest.size(n * k)}",
        "f = o",
        f"m = d0 * {nest.size(n * n)}",
        *(solve if op.unit else _guarded(nest, a, op.nan, solve)),
    ]
    return nest.finish(body, n * n * k)


def _lu_factor(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Factor the column-major A^T in place; the exchanges become numbers of the dtype, from 0."""
    (a,) = node.inputs
    n = node.shape[-1]
    nest = _Nest(node, accesses, info=(INT64, 1), exchanges=(INT32, n))
    out, exchanges = nest.pointer(node), nest.pointer("exchanges")
    arguments = [nest.scalar(n), nest.scalar(n), nest.address(node, "o"), nest.leading(n)]
    body: list[Statement] = [
        f"o = d0 * {nest.size((n + 1) * n)}",
        f"f = d0 * {nest.size(n * n)}",
        _copy(nest, n * n, a),
        nest.call("getrf", *arguments, nest.address("exchanges"), nest.address("info")),
        _every("i", nest.size(n), f"{out}[o + {nest.size(n * n)} + i] = {exchanges}[i] - 1"),
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
        f"o = d0 * {nest.size(n * k)}",
        "f = o",
        f"m = d0 * {nest.size((n + 1) * n)}",
        *_guarded(nest, factors, op.nan, [_copy(nest, n * k, b), *_divide_by_factors(nest, factors, op.transposed)]),
    ]
    return nest.finish(body, n * n * k)


def _divide_by_factors(nest: _Nest, factors: Node, transposed: bool) -> list[Statement]:
    """Return what replaces right sides in the result, at `o`, by solutions; the factors lie at `m`."""
    upper = _right_solve(nest, factors, "m", True, transposed, False)
    lower = _right_solve(nest, factors, "m", False, transposed, True)
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
    regular: list[Statement] = [
        _every("i", n, _every("j", n, f"{out}[o + i * {n} + j] = select(i == j, scale, {zero})")),
        *_divide_by_factors(nest, factors, True),
    ]
    find = [
        f"size = fabs({u}[i * {n} + j])",
        "better = size > best",
        "best = select(better, size, best)",
        "row = select(better, i, row)",
        "column = select(better, j, column)",
    ]
    eliminate: list[Statement] = [
        f"times = select(pivot == {zero}, {zero}, {u}[i * {n} + k] / pivot)",
        f"{u}[i * {n} + k] = times",
        Loop("j", "k + 1", n, [f"{u}[i * {n} + j] = {u}[i * {n} + j] - times * {u}[k * {n} + j]"]),
    ]
    step: list[Statement] = [
        *(f"best = -{one}", "row = k", "column = k"),
        Loop("i", "k", n, [Loop("j", "k", n, [*find])]),
        _every("j", n, *_exchanged(u, f"k * {n} + j", f"row * {n} + j", "held")),
        _every("i", n, *_exchanged(u, f"i * {n} + k", f"i * {n} + column", "held")),
        *_exchanged(rows, "k", "row", "number"),
        *_exchanged(columns, "k", "column", "number"),
        f"pivot = {u}[k * {n} + k]",
        "scale = select((row != k) != (column != k), -scale, scale) * pivot",
        Loop("i", "k + 1", n, eliminate),
    ]
    back: list[Statement] = [
        f"k = {n} - 2 - q",
        *(f"across = {zero}", f"along = {zero}", f"pivot = {u}[k * {n} + k]"),
        Loop(
            "i",
            "k + 1",
            n,
            [
                f"across = across + {u}[k * {n} + i] * {right}[i]",
                f"along = along + {u}[i * {n} + k] * {down}[i]",
            ],
        ),
        f"{right}[k] = select(pivot == {zero}, {zero}, -across / pivot)",
        f"{down}[k] = -along",
    ]
    singular: list[Statement] = [
        _every("i", nest.size(size * size), f"{u}[i] = {given}[o + i]"),
        _every("i", n, f"{rows}[i] = i", f"{columns}[i] = i"),
        f"scale = {one}",
        Loop("k", "0", f"{n} - 1", step),
        *(f"{right}[{n} - 1] = {one}", f"{down}[{n} - 1] = {one}"),
        Loop("q", "0", f"{n} - 1", back),
        _every("i", n, _every("j", n, f"{out}[o + {rows}[i] * {n} + {columns}[j]] = scale * {down}[i] * {right}[j]")),
    ]
    body: list[Statement] = [
        f"o = d0 * {nest.size(size * size)}",
        f"m = d0 * {nest.size((size + 1) * size)}",
        *(f"scale = {one}", "zeros = 0"),
        _every(
            "i",
            n,
            f"pivot = {lu}[m + i * {n} + i]",
            f"zeros = zeros + select(pivot == {zero}, 1, 0)",
            f"exchanged = i64({lu}[m + {nest.size(size * size)} + i]) != i",
            "scale = select(exchanged, -scale, scale) * pivot",
        ),
        If("zeros == 0", regular, singular),
    ]
    return nest.finish(body, size * size * size)


def _exchanged(pointer: str, one: str, other: str, held: str) -> list[str]:
    return [f"{held} = {pointer}[{one}]", f"{pointer}[{one}] = {pointer}[{other}]", f"{pointer}[{other}] = {held}"]


def _exchange_rows(nest: _Nest, factors: Node, *, backwards: bool) -> Loop:
    """Exchange rows of the result as `LuFactor` did, first to last or last to first.

    Numbers that `LuFactor` does not write (in a program from a file, factors can be any array) exchange nothing.
    """
    size, columns = nest.node.shape[-2:]
    n, k, out = nest.size(size), nest.size(columns), nest.pointer(nest.node)
    return _every(
        "i",
        n,
        f"r = {n} - 1 - i" if backwards else "r = i",
        f"q = i64({nest.pointer(factors)}[m + {nest.size(size * size)} + r])",
        f"if q > r and q < {n}:",
        f"    for j in range({k}):",
        f"        t = {out}[o + r * {k} + j]",
        f"        {out}[o + r * {k} + j] = {out}[o + q * {k} + j]",
        f"        {out}[o + q * {k} + j] = t",
    )


def _eigh(node: Node, accesses: Accesses) -> list[LoopNest]:
    """LAPACK's columns of eigenvectors are rows in memory."""
    (a,) = node.inputs
    n = node.shape[-1]
    work, whole = 1 + 6 * n + 2 * n * n, 3 + 5 * n
    nest = _Nest(node, accesses, info=(INT64, 1), work=(node.dtype, work), whole=(INT32, whole))
    rows = f"o + {nest.size(n)}"
    arguments = [
        *(nest.scalar("V"), nest.scalar("U"), nest.scalar(n)),
        *(nest.address(node, rows), nest.leading(n), nest.address(node, "o")),
        *(nest.address("work"), nest.scalar(work), nest.address("whole"), nest.scalar(whole)),
    ]
    body: list[Statement] = [
        f"o = d0 * {nest.size((n + 1) * n)}",
        f"f = d0 * {nest.size(n * n)}",
        _copy(nest, n * n, a, f" + {nest.size(n)}"),
        *nest.checked("syevd", *arguments),
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
    here, there = f"o + i * {columns} + j", f"j * {rows} + i"
    below = f"o + ({rows} + i) * {columns} + j"
    body: list[Statement] = [
        f"o = d0 * {nest.size((m + n) * n)}",
        f"f = d0 * {nest.size(m * n)}",
        _every("i", rows, _every("j", columns, f"{copy}[{there}] = {x}[f + i * {columns} + j]")),
        nest.call("geqrf", nest.scalar(m), nest.scalar(n), *shared),
        _every("i", columns, _every("j", "i", f"{out}[{below}] = {zero}")),
        _every("i", columns, Loop("j", "i", columns, [f"{out}[{below}] = {copy}[{there}]"])),
        nest.call("orgqr", nest.scalar(m), nest.scalar(n), nest.scalar(n), *shared),
        _every("i", rows, _every("j", columns, f"{out}[{here}] = {copy}[{there}]")),
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
        *(nest.address("values"), nest.address(node, f"o + 1 + {rows}"), nest.leading(width)),
        *(nest.address("left"), nest.leading(k), nest.address("work"), nest.scalar(work), nest.address("whole")),
    ]
    body: list[Statement] = [
        f"o = d0 * {nest.size(k * width)}",
        f"f = d0 * {nest.size(m * n)}",
        _every("i", nest.size(m * n), f"{copy}[i] = {x}[f + i]"),
        *nest.checked("gesdd", *arguments),
        _every(
            "i",
            count,
            f"r = o + i * {line}",
            f"{out}[r] = {nest.pointer('values')}[i]",
            _every("j", rows, f"{out}[r + 1 + j] = {nest.pointer('left')}[j * {count} + i]"),
        ),
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
