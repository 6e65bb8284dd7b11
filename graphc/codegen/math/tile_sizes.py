"""The register tiles of matrix products on this machine, known without the compiler."""

from __future__ import annotations

import sys
from functools import cache

from graphc.codegen.math.loader import cpu_features, libc_version

SMALL = 4
"""Columns below which tiles leave a product to BLAS."""


@cache
def vector_bits() -> int:
    """Return the width of the vectors in which this CPU multiplies and adds at once, 0 where it does not."""
    features = set(cpu_features().split(","))
    if {"+avx512f", "+avx512vl"} <= features:
        return 512
    return 256 if {"+avx2", "+fma"} <= features else 0


def tile_rows() -> int:
    """Return the rows of a tile of rows, two vectors wide: 16 of 32 registers add, or 12 of 16."""
    return 8 if vector_bits() == 512 else 6


VECTORS = 2
"""Vectors of columns in a tile of rows."""


def tile_shapes() -> tuple[tuple[int, int, bool], ...]:
    """Return the tiles of rows that exist: rows, vectors of columns, and whether only some of the columns count."""
    widths = ((VECTORS, False), (VECTORS, True), (1, True))
    return tuple((rows, *width) for rows in (tile_rows(), 1) for width in widths) if vector_bits() else ()


def lanes(kind: str) -> int:
    """Return the elements of `f32` or `f64` in a vector."""
    return vector_bits() // int(kind[1:])


def tile_name(kind: str, rows: int, vectors: int, part: bool, add: bool) -> str:
    """Return the name of the routine of a tile, which sets its result or adds to it."""
    return f"{'add' if add else 'set'}_{'part' if part else 'tile'}_{kind}_{rows}x{vectors}"


@cache
def deepest() -> int:
    """Return the most rows of the right operand of which a block of columns is turned around on the stack.

    The stack of a thread has at least 512 KiB there; other C libraries may give it 128.
    """
    return 1024 if libc_version().startswith("glibc") or sys.platform == "darwin" else 256
