"""Register tiles of matrix products, as Numba intrinsics: small blocks of a result that stay in vector registers.

`set_tile_f32_8x2(a, ia, row_a, k_a, b, ib, k_b, c, ic, row_c, k, width, alpha)` computes 8 rows and 2 vectors of
columns of `c = a @ b`, where the columns of `b` and of `c` lie side by side; `set_part_f32_8x2` only the first `width`
columns; the `add_` forms add `alpha` times the product to `c`. A tile's first element is at an offset from a pointer;
strides are in elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.extending import intrinsic

from graphc.codegen.tile_sizes import lanes, tile_name, tile_shapes, vector_bits

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FLOATS = {"f32": ir.FloatType(), "f64": ir.DoubleType()}
Values = list[Any]


class _Emit:
    """Emits vector instructions for one element type."""

    def __init__(self, builder: Any, kind: str) -> None:
        self.builder = builder
        self.bytes = int(kind[1:]) // 8
        self.lanes = lanes(kind)
        self.element = _FLOATS[kind]
        self.vector = ir.VectorType(self.element, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.suffix = f"v{self.lanes}f{8 * self.bytes}"

    def at(self, base: Any, offset: Any) -> Any:
        return self.builder.gep(base, [offset])

    def times(self, factor: int, stride: Any) -> Any:
        return self.builder.mul(ir.Constant(_I64, factor), stride)

    def call(self, name: str, result: Any, operands: Sequence[Any]) -> Any:
        module = self.builder.module
        declared = module.globals.get(name)
        if declared is None:
            declared = ir.Function(module, ir.FunctionType(result, [x.type for x in operands]), name)
        return self.builder.call(declared, list(operands))

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        return self.call(f"llvm.fma.{self.suffix}", self.vector, [x, y, z])

    def scalar(self, pointer: Any) -> Any:
        return self.builder.load(pointer, align=self.bytes)

    def splat(self, value: Any, vector: Any = None) -> Any:
        vector = self.vector if vector is None else vector
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        places = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
        return self.builder.shuffle_vector(first, undefined, places)

    def mask(self, first: int, width: Any) -> Any:
        """Return which lanes of the vector from column `first` on are below `width`."""
        many = ir.VectorType(_I64, self.lanes)
        columns = ir.Constant(many, [first + i for i in range(self.lanes)])
        return self.builder.icmp_signed("<", columns, self.splat(width, many))

    def load(self, pointer: Any, mask: Any) -> Any:
        pointer = self.builder.bitcast(pointer, self.vector.as_pointer())
        if mask is None:
            return self.builder.load(pointer, align=self.bytes)
        operands = [pointer, ir.Constant(_I32, self.bytes), mask, self.zero]
        return self.call(f"llvm.masked.load.{self.suffix}.p0", self.vector, operands)

    def store(self, value: Any, pointer: Any, mask: Any) -> None:
        pointer = self.builder.bitcast(pointer, self.vector.as_pointer())
        if mask is None:
            self.builder.store(value, pointer, align=self.bytes)
            return
        operands = [value, pointer, ir.Constant(_I32, self.bytes), mask]
        self.call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), operands)

    def loop(self, count: Any, starts: Values, step: Callable[[Any, Values], Values], stride: int = 1) -> Values:
        """Emit `for i in range(0, count, stride)` that carries values, and return the last ones."""
        builder = self.builder
        before, body, after = builder.block, builder.append_basic_block("tile"), builder.append_basic_block("done")
        zero = ir.Constant(_I64, 0)
        builder.cbranch(builder.icmp_signed(">", count, zero), body, after)
        builder.position_at_end(body)
        index = builder.phi(_I64)
        index.add_incoming(zero, before)
        carried = [builder.phi(x.type) for x in starts]
        found = step(index, carried)
        following = builder.add(index, ir.Constant(_I64, stride))
        index.add_incoming(following, builder.block)
        for phi, start, value in zip(carried, starts, found, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, builder.block)
        last = builder.block
        builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        builder.position_at_end(after)
        results = [builder.phi(x.type) for x in starts]
        for phi, start, value in zip(results, starts, found, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, last)
        return results


def _tile(kind: str, rows: int, vectors: int, part: bool, add: bool, builder: Any, args: Sequence[Any]) -> None:
    a, ia, row_a, k_a, b, ib, k_b, c, ic, row_c, k, width, alpha = args
    e = _Emit(builder, kind)
    a, b, c = e.at(a, ia), e.at(b, ib), e.at(c, ic)
    places = [ir.Constant(_I64, v * e.lanes) for v in range(vectors)]
    masks = [e.mask(v * e.lanes, width) if part else None for v in range(vectors)]
    first_of_row = [e.at(a, e.times(r, row_a)) for r in range(rows)]

    def step(i: Any, sums: Values) -> Values:
        row = e.at(b, builder.mul(i, k_b))
        right = [e.load(e.at(row, p), m) for p, m in zip(places, masks, strict=True)]
        offset = builder.mul(i, k_a)
        found: Values = []
        for r in range(rows):
            left = e.splat(e.scalar(e.at(first_of_row[r], offset)))
            found += [e.fma(left, right[v], sums[r * vectors + v]) for v in range(vectors)]
        return found

    sums = e.loop(k, [e.zero] * (rows * vectors), step)
    scale = e.splat(alpha) if add else None
    for r in range(rows):
        row = e.at(c, e.times(r, row_c))
        for v in range(vectors):
            place, total = e.at(row, places[v]), sums[r * vectors + v]
            e.store(e.fma(total, scale, e.load(place, masks[v])) if add else total, place, masks[v])


def _make(name: str, emit: Callable[[Any, Sequence[Any]], None]) -> Any:
    def tile(typingctx: Any, first: Any, *rest: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            emit(builder, [values[0], *(builder.extract_value(values[1], i) for i in range(len(rest)))])
            return context.get_dummy_value()

        return types.none(first, types.Tuple(rest)), codegen

    tile.__name__ = tile.__qualname__ = name
    return intrinsic(tile)


@cache
def tile_intrinsics() -> dict[str, Any]:
    """Return the intrinsics by name."""
    made: dict[str, Any] = {}
    for kind in _FLOATS if vector_bits() else ():
        for add in (False, True):
            for shape in tile_shapes():
                name = tile_name(kind, *shape, add)
                made[name] = _make(name, partial(_tile, kind, *shape, add))
    return made
