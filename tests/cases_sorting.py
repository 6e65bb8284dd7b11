"""Sorting, searching, order statistics and differences."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.types import Array
from tests.cases import Case

SPECIAL = (0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan)


def reversed_order(x: Array, axis: int = -1) -> Array:
    """Return the stable order from the largest to the smallest, NaN last, computed by Python's own sort."""
    moved = np.moveaxis(x, axis, -1)
    out = np.empty(moved.shape, np.int64)
    for row in np.ndindex(moved.shape[:-1]):
        keys = moved[row].tolist()
        out[row] = sorted(range(len(keys)), key=lambda i: (keys[i] != keys[i], 0 if keys[i] != keys[i] else -keys[i]))
    return np.moveaxis(out, -1, axis)


def sorts(dtype: str, **more: Any) -> list[Case]:
    numbers: dict[str, Any] = {"dtypes": (dtype,), "low": -5, "high": 5, **more}
    return [
        Case(f"sort-{dtype}", gc.sort, np.sort, ((3, 15),), **numbers),
        Case(f"argsort-{dtype}", gc.argsort, lambda x: np.argsort(x, kind="stable"), ((3, 15),), **numbers),
        Case(
            f"argsort-descending-{dtype}",
            lambda x: gc.argsort(x, descending=True),
            reversed_order,
            ((3, 15),),
            **numbers,
        ),
    ]


def searching(side: Any, dtype: str = "float64") -> Case:
    def make(rng: np.random.Generator) -> tuple[Array, ...]:
        return np.sort(rng.integers(0, 6, 9).astype(dtype)), rng.integers(0, 7, (3, 4)).astype(dtype)

    return Case(
        f"searchsorted-{side}-{dtype}",
        lambda a, v: gc.searchsorted(a, v, side=side),
        lambda a, v: np.searchsorted(a, v, side),
        make=make,
    )


def drawn(*shape: int) -> dict[str, Any]:
    """Return the input of a case that has no empty axes: NumPy gives NaN there, graphc an error."""
    return {"make": lambda rng: (rng.normal(size=shape),)}


def quantiles(method: Any, q: Any, axis: int | None, **more: Any) -> Case:
    return Case(
        f"quantile-{method}-{np.ndim(q)}-{axis}",
        lambda x: gc.quantile(x, q, axis=axis, method=method),
        lambda x: np.quantile(x, q, axis=axis, method=method),
        rtol=1e-13,
        **drawn(3, 6),
        **more,
    )


SORT = [
    *(case for d in ("float64", "float32") for case in sorts(d, special=SPECIAL)),
    *(case for d in ("int64", "bool") for case in sorts(d)),
    Case("sort-uint8", gc.sort, np.sort, ((3, 15),), ("uint8",), high=5),
    Case("sort-axis-0", lambda x: gc.sort(x, axis=0), lambda x: np.sort(x, 0), ((5, 3),)),
    Case("argsort-axis-1", lambda x: gc.argsort(x, axis=1), lambda x: np.argsort(x, 1), ((2, 5, 3),)),
    Case(
        "sort-descending",
        lambda x: gc.sort(x, descending=True),
        lambda x: np.take_along_axis(x, reversed_order(x), -1),
        ((2, 5),),
        special=SPECIAL,
    ),
    Case("sort-of-transposed", lambda x: gc.sort(x.T), lambda x: np.sort(x.T), ((4, 3),)),
    Case("sort-of-product", lambda x: gc.sort(x * x), lambda x: np.sort(x * x), ((2, 4),)),
    searching("left"),
    searching("right"),
    searching("left", "int32"),
    Case(
        "searchsorted-sorter",
        lambda a, v: gc.searchsorted(a, v, sorter=gc.argsort(a)),
        lambda a, v: np.searchsorted(a, v, sorter=np.argsort(a)),
        ((6,), (4,)),
    ),
    Case("top_k-values", lambda x: gc.top_k(x, 2)[0], lambda x: np.sort(x)[..., ::-1][..., :2], **drawn(3, 4)),
    Case(
        "top_k-indices",
        lambda x: gc.top_k(x, 2, axis=0)[1],
        lambda x: reversed_order(x, 0)[:2],
        ((4, 3),),
        make=lambda rng: (rng.integers(0, 3, (4, 3)).astype("float64"),),
    ),
]

DIFF = [
    Case("diff", gc.diff, np.diff, ((3, 4),)),
    Case("diff-2-axis", lambda x: gc.diff(x, axis=0, n=2), lambda x: np.diff(x, 2, 0), ((4, 3),)),
    Case("diff-int", gc.diff, np.diff, ((5,),), ("int32",), low=-9, high=9),
    Case("diff-bool", gc.diff, np.diff, ((5,),), ("bool",)),
    Case(
        "diff-joined",
        lambda x, y: gc.diff(x, prepend=0.0, append=y),
        lambda x, y: np.diff(x, prepend=x.dtype.type(0), append=y),
        ((2, 3), (2, 2)),
    ),
]

QUANTILE = [
    quantiles("linear", 0.3, None, special=(1.0, 2.0, np.inf, np.nan)),
    quantiles("linear", [[0.0, 0.9], [0.5, 1.0]], 1),
    quantiles("linear", 0.77, 0),
    quantiles("lower", 0.3, -1),
    quantiles("higher", 0.3, -1),
    quantiles("nearest", [0.3, 0.5], 0),
    quantiles("midpoint", [0.3, 0.4], -1),
    Case("median", gc.median, np.median, special=(0.0, 1.0, 2.0, np.nan), **drawn(3, 4)),
    Case(
        "median-axis",
        lambda x: gc.median(x, axis=1, keepdims=True),
        lambda x: np.median(x, 1, keepdims=True),
        **drawn(2, 5, 3),
    ),
    Case("median-int", gc.median, np.median, make=lambda rng: (rng.integers(-9, 9, 4),)),
    Case(
        "quantile-lower-int",
        lambda x: gc.quantile(x, 0.3, method="lower"),
        lambda x: np.quantile(x, 0.3, method="lower"),
        make=lambda rng: (rng.integers(-9, 9, 7, "int32"),),
    ),
]

CASES = [*SORT, *DIFF, *QUANTILE]
