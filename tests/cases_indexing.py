"""Indexing: every kind of key that NumPy accepts for known shapes, read and written; take and its relatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.node import Node
from graphc.graph.types import Array
from tests.cases import Case

S = np.s_
FOUR = ((4, 5, 3),)
INDEX = np.array([[0, -1, 2], [3, 3, -4]])
ROWS = np.array([3, 0, 1, 0])
COLUMNS = np.array([-1, 2, 2, 2])

KEYS: dict[str, Any] = {
    "int": 1,
    "negative-int": -2,
    "ints": (1, -1),
    "all-ints": (1, 2, 0),
    "slice": S[1:3],
    "slice-open": S[2:],
    "slice-last": S[-2:],
    "slice-but-last": S[:-1],
    "slice-beyond": S[1:99],
    "slice-before": S[-99:2],
    "slice-none": S[3:1],
    "slice-full": S[:],
    "slice-step": S[::2],
    "slice-step-offset": S[1::2, 1:5:3],
    "slice-reversed": S[::-1],
    "slice-down": S[3:0:-1],
    "slice-down-step": S[::-2, -1:0:-2],
    "slice-down-end": S[-2::-1],
    "mixed": S[1, :, ::2],
    "newaxis": S[None, 1, :, None],
    "ellipsis": S[..., 0],
    "ellipsis-middle": S[1, ..., 1:],
    "ellipsis-empty": S[0, ..., 1, 2],
    "nothing": (),
    "array": INDEX,
    "list": [2, 0, 0],
    "list-empty": [],
    "array-second": S[:, INDEX],
    "array-last": S[..., [0, -1]],
    "arrays": (ROWS, COLUMNS),
    "arrays-broadcast": (ROWS[:, None], COLUMNS[None, :3]),
    "arrays-three": (ROWS, COLUMNS, [0, 1, 2, 1]),
    "arrays-inner": S[:, COLUMNS, [0, 1, 2, 1]],
    "arrays-apart": (ROWS, slice(None), [0, 1, 2, 1]),
    "array-and-int": (ROWS, 2),
    "int-and-array": S[1, :, [0, 1, 1]],
    "int-beside-array": S[:, 1, [0, 2]],
    "array-and-slice": S[[0, 2, 2], 1:4],
    "slice-and-array": S[1:, [4, 0]],
    "array-steps": S[::-1, [4, 0], ::2],
    "array-newaxis": S[None, :, None, INDEX],
    "arrays-newaxis-between": (ROWS, None, COLUMNS),
    "array-0d": np.array(2),
    "scalar-int64": np.int64(3),
}


def _reader(key: Any) -> Callable[[Any], Any]:
    return lambda x: x[key]


def _writer(mode: str, key: Any) -> Callable[[Node, Node], Node]:
    return lambda x, v: getattr(x.at[key], mode)(v)


def _numpy_writer(mode: str, key: Any) -> Callable[[Array, Array], Array]:
    def write(x: Array, v: Array) -> Array:
        out = x.copy()
        if mode == "set":
            out[key] = v
        else:
            np.add.at(out, key, v)
        return out

    return write


def _writes(mode: str, id: str, key: Any) -> Case:
    shape = np.empty(FOUR[0])[key].shape
    return Case(f"{mode}-{id}", _writer(mode, key), _numpy_writer(mode, key), (*FOUR, shape))


READS = [Case(f"getitem-{id}", _reader(key), _reader(key), FOUR) for id, key in KEYS.items()]
SETS = [_writes("set", id, key) for id, key in KEYS.items()]
ADDS = [_writes("add", id, key) for id, key in KEYS.items()]

WRITES = [
    Case("set-scalar", lambda x: x.at[1:3].set(7.0), lambda x: _numpy_writer("set", S[1:3])(x, np.array(7.0)), FOUR),
    Case("add-broadcast", _writer("add", S[:, 0]), _numpy_writer("add", S[:, 0]), (*FOUR, (3,))),
    Case("set-row-broadcast", _writer("set", [0, 2]), _numpy_writer("set", [0, 2]), (*FOUR, (5, 1))),
    Case("add-int32", _writer("add", ROWS), _numpy_writer("add", ROWS), ((4,), (4,)), ("int32", "int32")),
    Case("set-bool", _writer("set", S[::2]), _numpy_writer("set", S[::2]), ((4,), (2,)), ("bool", "bool")),
]


def _rows(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.uniform(-2, 2, (4, 5, 3)), rng.integers(-4, 4, (2, 3))


def _two(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.uniform(-2, 2, (4, 5, 3)), rng.integers(-4, 4, (2, 1)), rng.integers(-3, 3, 3)


def _along(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.uniform(-2, 2, (4, 5)), rng.integers(-5, 5, (4, 2))


def _one(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.uniform(-2, 2, (4, 5)), np.asarray(rng.integers(-4, 4))


def _update_rows(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.uniform(-2, 2, (4, 3)), np.array([1, -1, 3, 1, 0]), rng.uniform(-2, 2, (5, 3))


MATRIX = ((4, 5, 3), (2, 3))
WITH_INDEX = ("float64", "int64")

NODES = [
    Case("getitem-node", lambda x, i: x[i], lambda x, i: x[i], MATRIX, WITH_INDEX, make=_rows),
    Case("getitem-node-second", lambda x, i: x[1:, i], lambda x, i: x[1:, i], MATRIX, WITH_INDEX, make=_rows),
    Case(
        "getitem-nodes-apart",
        lambda x, i, j: x[i, :, j],
        lambda x, i, j: x[i, :, j],
        ((4, 5, 3), (2, 1), (3,)),
        ("float64", "int64", "int64"),
        make=_two,
    ),
    Case("getitem-node-0d", lambda x, i: x[i], lambda x, i: x[i], ((4, 5), ()), WITH_INDEX, make=_one),
    Case("getitem-node-0d-last", lambda x, i: x[:, i], lambda x, i: x[:, i], ((4, 5), ()), WITH_INDEX, make=_one),
    Case(
        "set-node-repeated",
        lambda x, i, v: x.at[i].set(v),
        lambda x, i, v: _numpy_writer("set", i)(x, v),
        ((4, 3), (5,), (5, 3)),
        ("float64", "int64", "float64"),
        make=_update_rows,
    ),
    Case(
        "add-node-repeated",
        lambda x, i, v: x.at[i].add(v),
        lambda x, i, v: _numpy_writer("add", i)(x, v),
        ((4, 3), (5,), (5, 3)),
        ("float64", "int64", "float64"),
        make=_update_rows,
    ),
]

NAMED = [
    Case("take", lambda x, i: gc.take(x, i, axis=1), lambda x, i: np.take(x, i, 1), MATRIX, WITH_INDEX, make=_rows),
    Case("take-first", lambda x: gc.take(x, [2, 0, 2], axis=0), lambda x: np.take(x, [2, 0, 2], 0)),
    Case("take-flat", lambda x: gc.take(x, [[5], [0]]), lambda x: np.take(x, [[5], [0]])),
    Case("take-one", lambda x: gc.take(x, 1, axis=-1), lambda x: np.take(x, 1, -1)),
    Case(
        "take_along_axis",
        lambda x, i: gc.take_along_axis(x, i, axis=1),
        lambda x, i: np.take_along_axis(x, i, 1),
        ((4, 5), (4, 2)),
        WITH_INDEX,
        make=_along,
    ),
    Case(
        "take_along_axis-broadcast",
        lambda x: gc.take_along_axis(x, np.array([[2, 0, 1, 1]]), axis=0),
        lambda x: np.take_along_axis(x, np.array([[2, 0, 1, 1]]), 0),
    ),
    Case(
        "one_hot",
        lambda i: gc.one_hot(i, 3, dtype="float32"),
        lambda i: np.eye(3, dtype="float32")[i],
        ((2, 4),),
        ("int32",),
        low=0,
    ),
]

CASES = [*READS, *SETS, *ADDS, *WRITES, *NODES, *NAMED]
