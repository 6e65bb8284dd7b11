"""Register tiles of matrix products: small blocks of a result that stay in vector registers.

`set_tile_f32_8x2(a, ia, row_a, k_a, b, ib, k_b, c, ic, row_c, k, width, alpha)` computes 8 rows and 2 vectors of
columns of `c = a @ b`, where the columns of `b` and of `c` lie side by side; `set_part_f32_8x2` only the first `width`
columns; the `add_` forms add `alpha` times the product to `c`. A tile's first element is at an offset from a pointer;
strides are in elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

from graphc.codegen.math.llvm_text import TYPES, Body
from graphc.codegen.math.tile_sizes import lanes, tile_name, tile_shapes, vector_bits

Tile = Callable[[Body, Sequence[str]], None]
"""Appends a tile's instructions; its operands are LLVM names of pointers and int64s, and of a float at the end."""


class _Emit:
    """Emits vector instructions for one element type."""

    def __init__(self, body: Body, kind: str) -> None:
        self.body = body
        self.bytes = int(kind[1:]) // 8
        self.lanes = lanes(kind)
        self.element = TYPES[kind]
        self.vector = f"<{self.lanes} x {self.element}>"
        self.suffix = f"v{self.lanes}f{8 * self.bytes}"

    def at(self, base: str, offset: str | int) -> str:
        return self.body.new(f"getelementptr {self.element}, ptr {base}, i64 {offset}")

    def times(self, factor: int, stride: str) -> str:
        return self.body.new(f"mul i64 {factor}, {stride}")

    def fma(self, x: str, y: str, z: str) -> str:
        return self.body.call(f"llvm.fma.{self.suffix}", self.vector, [f"{self.vector} {v}" for v in (x, y, z)])

    def scalar(self, place: str) -> str:
        return self.body.new(f"load {self.element}, ptr {place}, align {self.bytes}")

    def splat(self, value: str, element: str = "") -> str:
        element = element or self.element
        vector = f"<{self.lanes} x {element}>"
        first = self.body.new(f"insertelement {vector} undef, {element} {value}, i32 0")
        return self.body.new(f"shufflevector {vector} {first}, {vector} undef, <{self.lanes} x i32> zeroinitializer")

    def mask(self, first: int, width: str) -> str:
        """Return which lanes of the vector from column `first` on are below `width`."""
        columns = ", ".join(f"i64 {first + i}" for i in range(self.lanes))
        return self.body.new(f"icmp slt <{self.lanes} x i64> <{columns}>, {self.splat(width, 'i64')}")

    def load(self, place: str, mask: str) -> str:
        if not mask:
            return self.body.new(f"load {self.vector}, ptr {place}, align {self.bytes}")
        operands = [
            f"ptr {place}",
            f"i32 {self.bytes}",
            f"<{self.lanes} x i1> {mask}",
            f"{self.vector} zeroinitializer",
        ]
        return self.body.call(f"llvm.masked.load.{self.suffix}.p0", self.vector, operands)

    def store(self, value: str, place: str, mask: str) -> None:
        if not mask:
            self.body.add(f"store {self.vector} {value}, ptr {place}, align {self.bytes}")
            return
        operands = [f"{self.vector} {value}", f"ptr {place}", f"i32 {self.bytes}", f"<{self.lanes} x i1> {mask}"]
        self.body.call(f"llvm.masked.store.{self.suffix}.p0", "void", operands)

    def sums(self, count: str, number: int, step: Callable[[str, list[str]], list[str]]) -> list[str]:
        """Emit `for i in range(count)` that carries so many vectors, 0 at first, and return the last ones."""
        body, before = self.body, self.body.label
        body.forks += 1
        inside, after = body.fresh("tile"), body.fresh("done")
        body.branch(body.new(f"icmp sgt i64 {count}, 0"), inside, after)
        body.open(inside)
        index, carried = body.phi(), [body.phi() for _ in range(number)]
        found = step(index[0], [name for name, _ in carried])
        following = body.new(f"add i64 {index[0]}, 1")
        body.branch(body.new(f"icmp slt i64 {following}, {count}"), inside, after)
        body.join(index, "i64", ("0", before), (following, inside))
        body.open(after)
        results = [body.phi() for _ in range(number)]
        for phi, value in zip([*carried, *results], found * 2, strict=True):
            body.join(phi, self.vector, ("zeroinitializer", before), (value, inside))
        return [name for name, _ in results]


def _tile(kind: str, rows: int, vectors: int, part: bool, add: bool, body: Body, operands: Sequence[str]) -> None:
    a, ia, row_a, k_a, b, ib, k_b, c, ic, row_c, k, width, alpha = operands
    e = _Emit(body, kind)
    a, b, c = e.at(a, ia), e.at(b, ib), e.at(c, ic)
    places = [v * e.lanes for v in range(vectors)]
    masks = [e.mask(p, width) if part else "" for p in places]
    first_of_row = [e.at(a, e.times(r, row_a)) for r in range(rows)]

    def step(i: str, sums: list[str]) -> list[str]:
        row = e.at(b, body.new(f"mul i64 {i}, {k_b}"))
        right = [e.load(e.at(row, p), m) for p, m in zip(places, masks, strict=True)]
        offset = body.new(f"mul i64 {i}, {k_a}")
        found: list[str] = []
        for r in range(rows):
            left = e.splat(e.scalar(e.at(first_of_row[r], offset)))
            found += [e.fma(left, right[v], sums[r * vectors + v]) for v in range(vectors)]
        return found

    sums = e.sums(k, rows * vectors, step)
    scale = e.splat(alpha) if add else ""
    for r in range(rows):
        row = e.at(c, e.times(r, row_c))
        for v in range(vectors):
            place, total = e.at(row, places[v]), sums[r * vectors + v]
            e.store(e.fma(total, scale, e.load(place, masks[v])) if add else total, place, masks[v])


@cache
def tiles() -> dict[str, Tile]:
    """Return the tiles of this machine by name."""
    return {
        tile_name(kind, *shape, add): partial(_tile, kind, *shape, add)
        for kind in (("f32", "f64") if vector_bits() else ())
        for add in (False, True)
        for shape in tile_shapes()
    }
