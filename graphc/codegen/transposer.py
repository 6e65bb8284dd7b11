"""The routine that turns a part of a transposed operand around, as LLVM text: what `strips` calls.

`transpose(target, source, first, stride, rows, columns, pitch)` sets `target[i * pitch + j] = source[first + i +
j * stride]` for all i below `rows` and j below `columns`; addresses and counts are words, the rest counts elements.
Squares of the source, as large as a vector is long, are loaded row by row, turned around in registers by shuffles
and stored row by row. Beyond the last row and column the routine reads nothing, but writes: the target has a multiple
of 32 rows and the pitch a multiple of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from graphc.codegen.kernels import text_addresses
from graphc.codegen.tile_sizes import vector_bits

PART = 16
"""Bytes that shuffles interleave; longer vectors are made of such parts while they are loaded."""


@cache
def transposer_address(size: int) -> int:
    """Return the address of the routine for elements of so many bytes: 1, 2, 4 or 8."""
    return text_addresses(lambda symbol: transposer_text(symbol, size, vector_bytes(size)), ("transpose",))[0]


def vector_bytes(size: int) -> int:
    """Return the bytes of a row of a square: vectors of 512 bits shuffle no faster, and take longer to compile."""
    return 32 if vector_bits() >= 256 and size >= 4 else PART


Step = tuple[int, int, list[int], list[int]]
"""Two rows, and the places, counted through both, of the elements that replace the first and the second."""


def network(n: int, parts: int) -> tuple[list[Step], list[int]]:
    """Return the shuffles that transpose squares of n rows in place, and in which row each of their columns then is.

    A row has as many parts of n elements as there are squares, which lie side by side and go through the same steps.
    """
    rows = [[(i, j) for j in range(n * parts)] for i in range(n)]
    steps: list[Step] = []
    group = 1
    while group < n:
        starts = [part + k for part in range(0, n * parts, n) for k in range(0, n // 2, group)]
        low = [x + start + k for start in starts for x in (0, n * parts) for k in range(group)]
        high = [k + n // 2 for k in low]
        for a in (k for k in range(n) if not k & group):
            both = rows[a] + rows[a + group]
            steps.append((a, a + group, low, high))
            rows[a], rows[a + group] = [both[k] for k in low], [both[k] for k in high]
        group *= 2
    columns = [row[0][1] for row in rows]
    assert rows == [[(i, j + n * part) for part in range(parts) for i in range(n)] for j in columns]
    return steps, [columns.index(j) for j in range(n)]


class _Text:
    """The text for one size of elements and one length of vectors."""

    def __init__(self, size: int, nbytes: int, wide: int = 1) -> None:
        self.wide = wide
        self.size, self.lanes, self.per_part = size, nbytes // size, PART // size
        self.parts = self.lanes // self.per_part
        self.element = {8: "double", 4: "float"}.get(size, f"i{8 * size}")
        self.vector, self.part = (f"<{n} x {self.element}>" for n in (self.lanes, self.per_part))
        kind = "f" if size >= 4 else "i"
        self.masked = f"@llvm.masked.load.v{self.per_part}{kind}{8 * size}.p0"

    def each(self, line: str) -> str:
        """Return a line for each row of a square, with its number for `#`."""
        return "\n".join(line.replace("#", str(k)) for k in range(self.lanes * self.wide))

    def masks(self) -> str:
        """Return which elements of each part of a row are left."""
        lines = []
        for h in range(self.parts):
            numbers = ", ".join(f"i64 {h * self.per_part + k}" for k in range(self.per_part))
            lines.append(f"  %mask{h} = icmp slt <{self.per_part} x i64> <{numbers}>, %left.all")
        return "\n".join(lines)

    def square(self, tag: str, first: str) -> str:
        """Return what turns the square from element `first` of the rows around, and stores it from `%<tag>.out` on."""
        return "\n".join(line for h in range(self.parts) for line in self._band(tag, first, h))

    def _band(self, tag: str, first: str, h: int) -> Iterator[str]:
        """Yield the lines for one part of each row of the source: some rows of the target."""
        n = self.per_part
        yield f"  %{tag}.first{h} = add i64 {first}, {h * n}"
        for j in range(self.lanes * self.wide):
            name = f"%{tag}{h}.{j}"
            yield f"  {name}.at = getelementptr {self.element}, ptr %row{j}, i64 %{tag}.first{h}"
            yield f"  {name} = {self._load(tag, h, f'{name}.at')}"
        done = []
        for g in range(self.wide):
            rows = []
            for j in range(n):
                lines = [f"%{tag}{h}.{j + n * part + g * self.lanes}" for part in range(self.parts)]
                rows.append(f"%{tag}{h}.{g}.whole{j}" if self.parts > 1 else lines[0])
                if self.parts > 1:
                    operands = ", ".join(f"{self.part} {line}" for line in lines)
                    yield f"  {rows[-1]} = shufflevector {operands}, {_places(range(2 * n))}"
            steps, order = network(n, self.parts)
            for number, (a, b, low, high) in enumerate(steps):
                operands = f"{self.vector} {rows[a]}, {self.vector} {rows[b]}"
                rows[a], rows[b] = (f"%{tag}{h}.{g}.{half}{number}" for half in ("low", "high"))
                yield f"  {rows[a]} = shufflevector {operands}, {_places(low)}"
                yield f"  {rows[b]} = shufflevector {operands}, {_places(high)}"
            done.append([rows[j] for j in order])
        for k in range(n):
            name = f"%{tag}{h}.to{k}"
            yield f"  {name}.skip = mul i64 %pitch, {h * n + k}"
            for g in range(self.wide):
                yield f"  {name}.g{g} = add i64 {name}.skip, {g * self.lanes}"
                yield f"  {name}.{g} = getelementptr {self.element}, ptr %{tag}.out, i64 {name}.g{g}"
                yield f"  store {self.vector} {done[g][k]}, ptr {name}.{g}, align {self.size}"

    def _load(self, tag: str, h: int, at: str) -> str:
        if tag == "a":
            return f"load {self.part}, ptr {at}, align {self.size}"
        bits = f"<{self.per_part} x i1>"
        return f"call {self.part} {self.masked}(ptr {at}, i32 {self.size}, {bits} %mask{h}, {self.part} zeroinitializer)"


def _places(places: Iterable[int]) -> str:
    return f"<{len(list(places))} x i32> <{', '.join(f'i32 {k}' for k in places)}>"


def transposer_text(symbol: str, size: int, nbytes: int, wide: int = 1) -> str:
    """Return the module for elements of `size` bytes and vectors of `nbytes`; its function is `<symbol>_transpose`."""
    t = _Text(size, nbytes, wide)
    lanes, element = t.lanes, t.element
    bits, counts = f"<{t.per_part} x i1>", f"<{t.per_part} x i64>"
    return f"""
declare i64 @llvm.smin.i64(i64, i64)
declare {t.part} {t.masked}(ptr, i32, {bits}, {t.part})

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
  %left.all = shufflevector {counts} %left.1, {counts} poison, <{t.per_part} x i32> zeroinitializer
{t.masks()}
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
{t.square("a", "%i")}
  %i.next = add i64 %i, {lanes}
  %more = icmp slt i64 %i.next, %full
  br i1 %more, label %down, label %rest

rest:
  br i1 %has.part, label %part, label %next

part:
  %full.skip = mul i64 %full, %pitch
  %b.out = getelementptr {element}, ptr %place, i64 %full.skip
{t.square("b", "%full")}
  br label %next

next:
  %j.next = add i64 %j, {lanes * wide}
  %again = icmp slt i64 %j.next, %columns
  br i1 %again, label %across, label %end

end:
  ret void
}}
"""
