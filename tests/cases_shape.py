"""Functions that move elements: reshapes, transposes, slices of all kinds, joins and repetitions."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc as gc
from tests.cases import Case

CUBE = ((2, 3, 4),)
PAIR = ((2, 3), (2, 3))


def same(id: str, name: str, numpy_name: str, *args: Any, **more: Any) -> Case:
    """A function that graphc and NumPy call alike but for the name; keywords in `kwargs` go to both."""
    kwargs = more.pop("kwargs", {})
    ours, theirs = getattr(gc, name), getattr(np, numpy_name)
    return Case(id, lambda x: ours(x, *args, **kwargs), lambda x: theirs(x, *args, **kwargs), **more)


VIEWS = [
    same("reshape", "reshape", "reshape", (4, 3)),
    same("reshape-flat", "reshape", "reshape", -1),
    same("reshape-rest", "reshape", "reshape", (2, -1, 2)),
    same("reshape-0d", "reshape", "reshape", (), shapes=((1, 1),)),
    same("reshape-from-0d", "reshape", "reshape", (1, 1), shapes=((),)),
    same("reshape-empty", "reshape", "reshape", (3, 0), shapes=((0, 2),)),
    same("reshape-int", "reshape", "reshape", (6, 2), dtypes=("int32",)),
    Case("reshape-merge", lambda x: gc.reshape(x, (x.shape[0], -1)), lambda x: x.reshape(len(x), -1), CUBE),
    Case("reshape-of-transposed", lambda x: gc.reshape(x.T, (2, 6)), lambda x: x.T.reshape(2, 6)),
    Case("reshape-of-slice", lambda x: gc.reshape(x[:, ::2], -1), lambda x: x[:, ::2].reshape(-1)),
    same("permute_dims", "permute_dims", "transpose", (2, 0, 1), shapes=CUBE),
    same("permute_dims-negative", "permute_dims", "transpose", (-1, 0, -2), shapes=CUBE),
    same("permute_dims-0d", "permute_dims", "transpose", (), shapes=((),)),
    same("matrix_transpose", "matrix_transpose", "matrix_transpose", shapes=CUBE),
    same("moveaxis", "moveaxis", "moveaxis", 0, -1, shapes=CUBE),
    same("moveaxis-several", "moveaxis", "moveaxis", (0, 1), (2, 0), shapes=((2, 3, 4, 5),)),
    same("expand_dims", "expand_dims", "expand_dims", 1),
    same("expand_dims-last", "expand_dims", "expand_dims", -1),
    same("expand_dims-several", "expand_dims", "expand_dims", (0, 2)),
    same("squeeze", "squeeze", "squeeze", 1, shapes=((3, 1, 2, 1),)),
    same("squeeze-several", "squeeze", "squeeze", (1, -1), shapes=((3, 1, 2, 1),)),
    same("broadcast_to", "broadcast_to", "broadcast_to", (2, 3, 4)),
    same("broadcast_to-stretch", "broadcast_to", "broadcast_to", (2, 3, 4), shapes=((3, 1),)),
    same("broadcast_to-0d", "broadcast_to", "broadcast_to", (2, 2), shapes=((),)),
    Case("broadcast_arrays", lambda x, y: gc.broadcast_arrays(x, y)[0] * y, np.multiply, ((3, 1), (4,))),
    same("flip", "flip", "flip", shapes=CUBE),
    same("flip-axis", "flip", "flip", shapes=CUBE, kwargs={"axis": 1}),
    same("flip-several", "flip", "flip", shapes=CUBE, kwargs={"axis": (0, -1)}),
    same("flip-empty", "flip", "flip", shapes=((0, 2),)),
]

JOINS = [
    same("roll", "roll", "roll", 2),
    same("roll-axis", "roll", "roll", 1, kwargs={"axis": 1}),
    same("roll-negative", "roll", "roll", -1, kwargs={"axis": 0}),
    same("roll-more-than-all", "roll", "roll", 9, kwargs={"axis": 1}),
    same("roll-several", "roll", "roll", (1, -2), kwargs={"axis": (0, 1)}),
    same("roll-empty", "roll", "roll", 3, shapes=((0,),)),
    Case("concat", lambda x, y: gc.concat([x, y]), lambda x, y: np.concatenate([x, y]), ((2, 3), (4, 3))),
    Case("concat-last", lambda x, y: gc.concat([x, y], axis=-1), lambda x, y: np.concatenate([x, y], -1), PAIR),
    Case("concat-same", lambda x: gc.concat([x, x, x], axis=1), lambda x: np.concatenate([x, x, x], 1)),
    Case("concat-flat", lambda x, y: gc.concat([x, y], axis=None), lambda x, y: np.concatenate([x, y], None), PAIR),
    Case("concat-empty", lambda x, y: gc.concat([x, y]), lambda x, y: np.concatenate([x, y]), ((0, 3), (2, 3))),
    Case(
        "concat-promotes",
        lambda x, y: gc.concat([x, y]),
        lambda x, y: np.concatenate([x, y]),
        PAIR,
        ("float32", "int32"),
    ),
    Case("stack", lambda x, y: gc.stack([x, y]), lambda x, y: np.stack([x, y]), PAIR),
    Case("stack-last", lambda x, y: gc.stack([x, y], axis=-1), lambda x, y: np.stack([x, y], -1), PAIR),
    Case("stack-0d", lambda x, y: gc.stack([x, y]), lambda x, y: np.stack([x, y]), ((), ())),
    same("tile", "tile", "tile", 2),
    same("tile-axes", "tile", "tile", (2, 3)),
    same("tile-more", "tile", "tile", (2, 1, 2)),
    same("tile-size-1", "tile", "tile", (3, 2), shapes=((1, 2),)),
    same("tile-none", "tile", "tile", (0, 1)),
    same("repeat", "repeat", "repeat", 2),
    same("repeat-axis", "repeat", "repeat", 3, kwargs={"axis": 0}),
    same("repeat-last", "repeat", "repeat", 2, kwargs={"axis": -1}),
]

CASES = [*VIEWS, *JOINS]
