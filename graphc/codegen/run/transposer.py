"""The routine that turns a part of a transposed operand around, as LLVM text: what `strips` calls.

`transpose(target, source, first, stride, rows, columns, pitch)` sets `target[i * pitch + j] = source[first + i +
j * stride]` for all i below `rows` and j below `columns`; addresses and counts are words, the rest counts elements.
Squares of the source, as large as a vector is long, are loaded row by row, turned around in registers by shuffles
and stored row by row. Beyond the last row and column the routine reads nothing, but writes: the target has a multiple
of 32 rows and the pitch a multiple of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from graphc.codegen.jit.kernels import text_addresses
from graphc.codegen.math.tile_sizes import vector_bits

HALF = 16
"""Bytes of the parts of a vector that shuffles move as one, and within which they interleave."""


@cache
def transposer_address(size: int) -> int:
    """Return the address of the routine for elements of so many bytes: 1, 2, 4 or 8."""
    return text_addresses(lambda symbol: transposer_text(symbol, size, vector_bytes(size)), ("transpose",))[0]


def vector_bytes(size: int) -> int:
    """Return the bytes of a row of a square: vectors of 512 bits shuffle no faster, and take longer to compile."""
    return 2 * HALF if vector_bits() >= 256 and size >= 4 else HALF


Step = tuple[int, int, list[int], list[int]]
"""Two rows, and the places, counted through both, of the elements that replace the first and the second."""


def network(lanes: int, per_half: int) -> tuple[list[Step], list[int]]:
    """Return the shuffles that transpose a square in place, and in which row each of its columns then is."""
    rows = [[(i, j) for j in range(lanes)] for i in range(lanes)]
    steps: list[Step] = []

    def combine(distance: int, low: list[int], high: list[int]) -> None:
        for a in (k for k in range(lanes) if not k & distance):
            both = rows[a] + rows[a + distance]
            steps.append((a, a + distance, low, high))
            rows[a], rows[a + distance] = [both[k] for k in low], [both[k] for k in high]

    group = 1
    while group < per_half:
        starts = [half + k for half in range(0, lanes, per_half) for k in range(0, per_half // 2, group)]
        low = [x + start + k for start in starts for x in (0, lanes) for k in range(group)]
        combine(group, low, [k + per_half // 2 for k in low])
        group *= 2
    if lanes > per_half:
        low = [x + k for x in (0, lanes) for k in range(per_half)]
        combine(per_half, low, [k + per_half for k in low])
    columns = [row[0][1] for row in rows]
    assert rows == [[(i, j) for i in range(lanes)] for j in columns]
    return steps, [columns.index(j) for j in range(lanes)]


class _Text:
    """The text for one size of elements and one length of vectors."""

    def __init__(self, size: int, nbytes: int) -> None:
        self.size, self.lanes = size, nbytes // size
        self.element = {8: "double", 4: "float"}.get(size, f"i{8 * size}")
        self.vector = f"<{self.lanes} x {self.element}>"
        kind = "f" if size >= 4 else "i"
        self.masked = f"@llvm.masked.load.v{self.lanes}{kind}{8 * size}.p0"

    def each(self, line: str) -> str:
        """Return a line for each row of a square, with its number for `#`."""
        return "\n".join(line.replace("#", str(k)) for k in range(self.lanes))

    def square(self, tag: str) -> str:
        """Return what turns the rows `%<tag>#` around and stores them from the row `%<tag>.out` of the target on."""
        return "\n".join(self._square(tag))

    def _square(self, tag: str) -> Iterator[str]:
        steps, order = network(self.lanes, HALF // self.size)
        rows = [f"%{tag}{k}" for k in range(self.lanes)]
        for number, (a, b, low, high) in enumerate(steps):
            operands = f"{self.vector} {rows[a]}, {self.vector} {rows[b]}"
            rows[a], rows[b] = (f"%{tag}.{half}{number}" for half in ("low", "high"))
            yield f"  {rows[a]} = shufflevector {operands}, {_places(low)}"
            yield f"  {rows[b]} = shufflevector {operands}, {_places(high)}"
        for k, row in enumerate(order):
            yield f"  %{tag}.skip{k} = mul i64 %pitch, {k}"
            yield f"  %{tag}.to{k} = getelementptr {self.element}, ptr %{tag}.out, i64 %{tag}.skip{k}"
            yield f"  store {self.vector} {rows[row]}, ptr %{tag}.to{k}, align {self.size}"


def _places(places: Sequence[int]) -> str:
    return f"<{len(places)} x i32> <{', '.join(f'i32 {k}' for k in places)}>"


def transposer_text(symbol: str, size: int, nbytes: int) -> str:
    """Return the module for elements of `size` bytes and vectors of `nbytes`; its function is `<symbol>_transpose`."""
    t = _Text(size, nbytes)
    lanes, element, vector = t.lanes, t.element, t.vector
    bits, counts = f"<{lanes} x i1>", f"<{lanes} x i64>"
    numbers = ", ".join(f"i64 {k}" for k in range(lanes))
    return f"""
declare i64 @llvm.smin.i64(i64, i64)
declare {vector} {t.masked}(ptr, i32, {bits}, {vector})

define void @{symbol}_transpose(i64 %to, i64 %from, i64 %first, i64 %stride, i64 %rows, i64 %columns, i64 %pitch) {{
start:
  %target = inttoptr i64 %to to ptr
  %whole = inttoptr i64 %from to ptr
  %source = getelementptr {element}, ptr %whole, i64 %first
  %last = sub i64 %columns, 1
  %full = and i64 %rows, {-lanes}
  %left = sub i64 %rows, %full
  %has.part = icmp sgt i64 %left, 0
  %left.1 = insertelement {counts} poison, i64 %left, i32 0
  %left.all = shufflevector {counts} %left.1, {counts} poison, <{lanes} x i32> zeroinitializer
  %mask = icmp slt {counts} <{numbers}>, %left.all
  %has.columns = icmp sgt i64 %columns, 0
  br i1 %has.columns, label %across, label %end

; As many columns of the target as a vector is long; past the last one, it again.
across:
  %j = phi i64 [ 0, %start ], [ %j.next, %next ]
  %place = getelementptr {element}, ptr %target, i64 %j
{t.each("  %j# = add i64 %j, #")}
{t.each("  %column# = call i64 @llvm.smin.i64(i64 %j#, i64 %last)")}
{t.each("  %skip# = mul i64 %column#, %stride")}
{t.each(f"  %row# = getelementptr {element}, ptr %source, i64 %skip#")}
  %has.full = icmp sgt i64 %full, 0
  br i1 %has.full, label %down, label %rest

down:
  %i = phi i64 [ 0, %across ], [ %i.next, %down ]
  %i.skip = mul i64 %i, %pitch
  %a.out = getelementptr {element}, ptr %place, i64 %i.skip
{t.each(f"  %at# = getelementptr {element}, ptr %row#, i64 %i")}
{t.each(f"  %a# = load {vector}, ptr %at#, align {size}")}
{t.square("a")}
  %i.next = add i64 %i, {lanes}
  %more = icmp slt i64 %i.next, %full
  br i1 %more, label %down, label %rest

rest:
  br i1 %has.part, label %part, label %next

part:
  %full.skip = mul i64 %full, %pitch
  %b.out = getelementptr {element}, ptr %place, i64 %full.skip
{t.each(f"  %part# = getelementptr {element}, ptr %row#, i64 %full")}
{t.each(f"  %b# = call {vector} {t.masked}(ptr %part#, i32 {size}, {bits} %mask, {vector} zeroinitializer)")}
{t.square("b")}
  br label %next

next:
  %j.next = add i64 %j, {lanes}
  %again = icmp slt i64 %j.next, %columns
  br i1 %again, label %across, label %end

end:
  ret void
}}
"""
