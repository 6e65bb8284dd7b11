"""`gc.pad` in all its modes, against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc as gc
from tests.cases import Case


def same(id: str, width: Any, shapes: tuple[tuple[int, ...], ...] = ((4, 5),), **more: Any) -> Case:
    kept = {key: more.pop(key) for key in ("dtypes", "differentiable") if key in more}
    return Case(f"pad-{id}", lambda x: gc.pad(x, width, **more), lambda x: np.pad(x, width, **more), shapes, **kept)


CASES: list[Case] = [
    same("zeros", 2),
    same("pairs", ((1, 0), (0, 3))),
    same("none", 0),
    same("0d", 1, ((),)),
    same("constant", (1, 2), constant_values=1.5),
    same("infinite", ((0, 1), (2, 0)), constant_values=-np.inf, differentiable=()),
    same("constants", 1, constant_values=((1.0, 2.0), (3.0, 4.0))),
    same("ints", 1, dtypes=("int32",), constant_values=-7),
    same("edge", ((1, 2), (0, 3)), mode="edge"),
    same("reflect", ((1, 2), (3, 0)), mode="reflect"),
    same("symmetric", ((1, 3), (2, 0)), mode="symmetric"),
    same("wrap", ((1, 2), (3, 0)), mode="wrap"),
    same("reflect-ints", 2, ((6,),), mode="reflect", dtypes=("int64",)),
    Case(
        "pad-node",
        lambda x, v: gc.pad(x, ((1, 1), (0, 2)), constant_values=v),
        lambda x, v: np.pad(x, ((1, 1), (0, 2)), constant_values=v),
        ((3, 4), ()),
    ),
    Case(
        "pad-far",
        lambda x: gc.concat([gc.pad(x, 7, mode=m) for m in ("reflect", "symmetric", "wrap")]),
        lambda x: np.concatenate([np.pad(x, 7, mode=m) for m in ("reflect", "symmetric", "wrap")]),
        ((3,),),
        symbolic=False,
    ),
]
