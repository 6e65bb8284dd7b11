"""Products of vectors, matrices and tensors, for all ranks; einsum in all its forms."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc as gc
from graphc.ops import linalg
from tests.cases import Case


def product(id: str, left: tuple[int, ...], right: tuple[int, ...], **more: Any) -> Case:
    return Case(f"matmul-{id}", lambda x, y: x @ y, np.matmul, (left, right), **more)


MATMUL = [
    product("2d", (3, 4), (4, 2)),
    product("1d-1d", (4,), (4,)),
    product("1d-2d", (4,), (4, 2)),
    product("2d-1d", (3, 4), (4,)),
    product("3d-2d", (2, 3, 4), (4, 2)),
    product("4d-2d", (2, 2, 3, 4), (4, 2)),
    product("2d-3d", (3, 4), (2, 4, 5)),
    product("3d-3d", (2, 3, 4), (2, 4, 5)),
    product("3d-1d", (2, 3, 4), (4,)),
    product("1d-3d", (4,), (2, 4, 5)),
    product("batch-broadcast", (2, 1, 3, 4), (5, 4, 2)),
    product("batch-one", (1, 3, 4), (5, 4, 2)),
    product("size-1", (1, 1), (1, 1)),
    product("no-rows", (0, 4), (4, 2)),
    product("no-inner", (3, 0), (0, 2)),
    product("no-batch", (0, 3, 4), (0, 4, 2)),
    product("large", (40, 30), (30, 20), second_order=False),
    product("int", (3, 4), (4, 2), dtypes=("int64", "int64"), low=-9, high=9),
    product("int-stack", (2, 3, 4), (2, 4, 2), dtypes=("int32", "int32"), low=-9, high=9),
    product("promotes", (3, 4), (4, 2), dtypes=("float32", "float64")),
    Case("matmul-gram", lambda x: x.T @ x, lambda x: x.T @ x),
    Case("matmul-transposed", lambda x, y: x.T @ y.T, lambda x, y: x.T @ y.T, ((4, 3), (2, 4))),
    Case("matmul-sliced", lambda x, y: x[::2] @ y[:, 1:], lambda x, y: x[::2] @ y[:, 1:], ((5, 4), (4, 3))),
]

PRODUCTS = [
    Case("vecdot", gc.vecdot, lambda x, y: np.sum(x * y, -1), ((3, 4), (3, 4))),
    Case("vecdot-broadcast", gc.vecdot, lambda x, y: np.sum(x * y, -1), ((3, 4), (4,))),
    Case("vecdot-axis", lambda x, y: gc.vecdot(x, y, axis=0), lambda x, y: np.sum(x * y, 0), ((3, 4), (3, 4))),
    Case("vecdot-int", gc.vecdot, lambda x, y: np.sum(x * y, -1, dtype="int32"), ((4,), (4,)), ("int32", "int32")),
    Case("outer", gc.outer, np.outer, ((3,), (4,))),
    Case("tensordot", gc.tensordot, np.tensordot, ((2, 3, 4), (3, 4, 5))),
    Case("tensordot-0", lambda x, y: gc.tensordot(x, y, axes=0), lambda x, y: np.tensordot(x, y, 0), ((2,), (3, 2))),
    Case("tensordot-1", lambda x, y: gc.tensordot(x, y, axes=1), lambda x, y: np.tensordot(x, y, 1), ((2, 3), (3, 4))),
    Case(
        "tensordot-pairs",
        lambda x, y: gc.tensordot(x, y, axes=((0, 2), (1, 0))),
        lambda x, y: np.tensordot(x, y, ((0, 2), (1, 0))),
        ((2, 3, 4), (4, 2, 5)),
    ),
    Case(
        "tensordot-pair",
        lambda x, y: gc.tensordot(x, y, axes=(-1, 0)),
        lambda x, y: np.tensordot(x, y, (-1, 0)),
        ((2, 3), (3, 4)),
    ),
    Case("diagonal", linalg.diagonal, np.diagonal, ((3, 4),)),
    Case("diagonal-offset", lambda x: linalg.diagonal(x, offset=1), lambda x: np.diagonal(x, 1), ((4, 3),)),
    Case("diagonal-below", lambda x: linalg.diagonal(x, offset=-2), lambda x: np.diagonal(x, -2), ((4, 3),)),
    Case(
        "diagonal-axes",
        lambda x: linalg.diagonal(x, axis1=0, axis2=2),
        lambda x: np.diagonal(x, axis1=0, axis2=2),
        ((2, 3, 4),),
    ),
    Case("trace", linalg.trace, np.trace, ((3, 4),)),
    Case("trace-stack", linalg.trace, lambda x: np.trace(x, axis1=-2, axis2=-1), ((2, 3, 3),)),
]


ORDER: dict[str, Any] = {"symbolic": False}
"""The order of contractions depends on known sizes, and rounding on it; see tests/test_linalg.py."""


def einsum(subscripts: str, *shapes: tuple[int, ...], **more: Any) -> Case:
    return Case(
        f"einsum-{subscripts}",
        lambda *xs: gc.einsum(subscripts, *xs),
        lambda *xs: np.einsum(subscripts, *xs),
        shapes,
        **more,
    )


EINSUM = [
    einsum("ij,jk->ik", (2, 3), (3, 4)),
    einsum("ij,jk", (2, 3), (3, 4)),
    einsum("ij,kj->ki", (2, 3), (4, 3)),
    einsum("ij,j", (2, 3), (3,)),
    einsum("i,i", (3,), (3,)),
    einsum("i,j->ij", (3,), (4,)),
    einsum("ij->ji", (2, 3)),
    einsum("ij->", (2, 3)),
    einsum("ji", (2, 3)),
    einsum("ii", (3, 3)),
    einsum("ii->i", (3, 3)),
    einsum("iij->ij", (3, 3, 2)),
    einsum("iii->i", (3, 3, 3)),
    einsum("iji->j", (3, 2, 3)),
    einsum("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
    einsum("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
    einsum("bij,bij->b", (2, 3, 4), (2, 3, 4)),
    einsum("ij,ij->ij", (2, 3), (2, 3)),
    einsum("ijk,kl->ij", (2, 3, 4), (4, 5)),
    einsum("i,ij,j->", (2,), (2, 3), (3,), **ORDER),
    einsum("ij,jk,kl->il", (2, 3), (3, 4), (4, 2), **ORDER),
    einsum("ab,bc,cd,da->", (2, 3), (3, 4), (4, 2), (2, 2), **ORDER),
    einsum("ij,kl->", (2, 3), (3, 2)),
    einsum("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
    einsum("...ij,...jk", (5, 2, 3), (5, 3, 4)),
    einsum("...i,...i->...", (2, 1, 3), (4, 3)),
    einsum("i...->...i", (2, 3, 4)),
    einsum("...", (2, 3)),
    einsum(" ij , jk -> ik ", (2, 3), (3, 4)),
    einsum("ij,ij->j", (1, 3), (4, 3)),
    einsum("ij,kj->ik", (1, 3), (1, 3)),
    einsum("aB,Bc", (2, 3), (3, 4)),
    einsum("i,i->i", (3,), (3,), dtypes=("int64", "int64")),
    einsum("ij,jl->il", (2, 3), (3, 4), dtypes=("int32", "int64")),
    einsum(",i->i", (), (3,)),
]

CASES = [*MATMUL, *PRODUCTS, *EINSUM]
