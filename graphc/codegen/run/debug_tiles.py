"""The register tiles of `tiles.py` as NumPy code, for kernels that run as plain Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from graphc.codegen.math.tile_sizes import lanes, tile_name, tile_shapes, vector_bits
from graphc.graph.types import Array


def _matrix(pointer: Any, offset: int, shape: tuple[int, int], strides: tuple[int, int]) -> Array:
    """Return a view of memory: a matrix with strides in elements."""
    width = pointer.dtype.itemsize
    reach = sum((n - 1) * abs(s) for n, s in zip(shape, strides, strict=True)) + 1
    memory = (ctypes.c_uint8 * (reach * width)).from_address(pointer.address + int(offset) * width)
    flat = np.frombuffer(memory, pointer.dtype)
    return np.lib.stride_tricks.as_strided(flat, shape, [int(s) * width for s in strides])


def _write(c: Array, product: Array, alpha: float, add: bool) -> None:
    c[...] = c + alpha * product if add else product


def _tile(kind: str, rows: int, vectors: int, part: bool, add: bool, *args: Any) -> None:
    a, ia, row_a, k_a, b, ib, k_b, c, ic, row_c, k, width, alpha = args
    columns = min(int(width), vectors * lanes(kind)) if part else vectors * lanes(kind)
    out = _matrix(c, ic, (rows, columns), (row_c, 1))
    left, right = np.zeros((rows, 0), c.dtype), np.zeros((0, columns), c.dtype)
    if k:
        left, right = _matrix(a, ia, (rows, int(k)), (row_a, k_a)), _matrix(b, ib, (int(k), columns), (k_b, 1))
    _write(out, left @ right, alpha, add)


def debug_tiles() -> dict[str, Callable[..., None]]:
    """Return the tiles by name."""
    found: dict[str, Callable[..., None]] = {}
    for kind in ("f32", "f64") if vector_bits() else ():
        for add in (False, True):
            found |= {tile_name(kind, *shape, add): partial(_tile, kind, *shape, add) for shape in tile_shapes()}
    return found
