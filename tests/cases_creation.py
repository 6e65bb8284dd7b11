"""Creation functions: constants, ranges and triangles, alone and with a shape taken from an input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gc
from tests.cases import Case


def fixed(id: str, build: Callable[[], Any], numpy: Callable[[], Any]) -> Case:
    """Make a case without inputs."""
    return Case(id, build, numpy, shapes=())


CASES: list[Case] = [
    fixed("zeros", lambda: gc.zeros((2, 3)), lambda: np.zeros((2, 3))),
    fixed("zeros-int", lambda: gc.zeros(4, dtype="int8"), lambda: np.zeros(4, "int8")),
    fixed("ones", lambda: gc.ones((2, 0, 3), dtype="float32"), lambda: np.ones((2, 0, 3), "float32")),
    fixed("empty", lambda: gc.empty((2,)), lambda: np.zeros(2)),
    fixed("full", lambda: gc.full((2, 2), 1.5), lambda: np.full((2, 2), 1.5)),
    fixed("full-int", lambda: gc.full((), 3), lambda: np.full((), 3)),
    fixed("full-bool", lambda: gc.full(3, True), lambda: np.full(3, True)),
    fixed("arange", lambda: gc.arange(5), lambda: np.arange(5)),
    fixed("arange-step", lambda: gc.arange(2, 11, 4), lambda: np.arange(2, 11, 4)),
    fixed("arange-down", lambda: gc.arange(5, -4, -3), lambda: np.arange(5, -4, -3)),
    fixed("arange-none", lambda: gc.arange(5, 2), lambda: np.arange(5, 2)),
    fixed("arange-float", lambda: gc.arange(0.5, 3, 0.25), lambda: np.arange(0.5, 3, 0.25)),
    fixed("arange-dtype", lambda: gc.arange(4, dtype="float32"), lambda: np.arange(4, dtype="float32")),
    fixed("arange-numpy", lambda: gc.arange(np.int32(4)), lambda: np.arange(4)),
    fixed("linspace", lambda: gc.linspace(-1, 2, 7), lambda: np.linspace(-1, 2, 7)),
    fixed("linspace-open", lambda: gc.linspace(0, 1, 4, endpoint=False), lambda: np.linspace(0, 1, 4, endpoint=False)),
    fixed("linspace-1", lambda: gc.linspace(2, 3, 1), lambda: np.linspace(2, 3, 1)),
    fixed("linspace-0", lambda: gc.linspace(2, 3, 0), lambda: np.linspace(2, 3, 0)),
    fixed("linspace-int", lambda: gc.linspace(0, 10, 5, dtype="int64"), lambda: np.linspace(0, 10, 5, dtype="int64")),
    fixed("eye", lambda: gc.eye(3), lambda: np.eye(3)),
    fixed("eye-wide", lambda: gc.eye(2, 4, k=1, dtype="int32"), lambda: np.eye(2, 4, k=1, dtype="int32")),
    fixed("eye-below", lambda: gc.eye(4, 2, k=-2), lambda: np.eye(4, 2, k=-2)),
    Case("zeros_like", gc.zeros_like, np.zeros_like, differentiable=()),
    Case("ones_like", gc.ones_like, np.ones_like, differentiable=()),
    Case("empty_like", gc.empty_like, np.zeros_like, differentiable=()),
    Case("full_like", lambda x: gc.full_like(x, 2), lambda x: np.full_like(x, 2), differentiable=()),
    Case(
        "ones_like-dtype",
        lambda x: gc.ones_like(x, dtype="int8"),
        lambda x: np.ones_like(x, dtype="int8"),
        differentiable=(),
    ),
    Case("full-node", lambda x: gc.full((2, 3), x), lambda x: np.full((2, 3), x), shapes=((),)),
    Case("linspace-nodes", lambda x, y: gc.linspace(x, y, 5), lambda x, y: np.linspace(x, y, 5), shapes=((), ())),
    Case("tril", gc.tril, np.tril),
    Case("tril-above", lambda x: gc.tril(x, k=1), lambda x: np.tril(x, 1), shapes=((2, 4, 3),)),
    Case("triu", gc.triu, np.triu, special=(0.0, float("nan"), float("inf"))),
    Case("triu-below", lambda x: gc.triu(x, k=-1), lambda x: np.triu(x, -1), shapes=((3, 4),)),
    Case("triu-int", gc.triu, np.triu, dtypes=("int32",), low=-9, high=9),
    Case("arange-of-size", lambda x: x * gc.arange(x.shape[1]), lambda x: x * np.arange(x.shape[1])),
    Case(
        "arange-strided",
        lambda x: gc.arange(1, x.shape[0], 2),
        lambda x: np.arange(1, x.shape[0], 2),
        shapes=((6,),),
        differentiable=(),
    ),
    Case(
        "arange-down-size",
        lambda x: gc.arange(x.shape[0], 0, -2),
        lambda x: np.arange(x.shape[0], 0, -2),
        shapes=((5,),),
        differentiable=(),
    ),
    Case(
        "linspace-of-size",
        lambda x: x + gc.linspace(0, 1, x.shape[0]),
        lambda x: x + np.linspace(0, 1, x.shape[0]),
        shapes=((5,),),
    ),
    Case("eye-of-size", lambda x: x + gc.eye(x.shape[0]), lambda x: x + np.eye(x.shape[0]), shapes=((3, 3),)),
]
