"""One generator of inputs for every tool: `draw_inputs(workload)`, the same in every run.

`SIZES` holds the sizes of a row and those of its small form, which tests use; `DRAWN` turns sizes into arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.workloads import Inputs, find

Array = npt.NDArray[Any]
Sizes = tuple[int, ...]

SIZES: dict[str, tuple[Sizes, Sizes]] = {
    "call": ((10,), (10,)),
    "call10": ((10,), (10,)),
    "fused": ((1_000_000,), (50,)),
    "lse": ((1_280, 1_000), (4, 30)),
    "xent": ((1_024, 1_000), (4, 30)),
    "mlp": ((32, 64, 128, 64, 10), (4, 6, 7, 8, 3)),
    "mlp784": ((32, 784, 200, 100, 10), (4, 6, 7, 8, 3)),
    "mlp784_256": ((256, 784, 200, 100, 10), (4, 6, 7, 8, 3)),
    "rnn": ((50, 16, 256), (5, 2, 4)),
    "lstm": ((1_024, 14), (5, 3)),
    "pendulum": ((), ()),
    "pendulum_grad": ((), ()),
    "unrolled": ((), ()),
    "rolled": ((), ()),
    "chain100": ((100, 100), (5, 10)),
    "chain1000": ((1_000, 100), (5, 10)),
    "chain10000": ((10_000, 100), (5, 10)),
    "stencil": ((256,), (8,)),
    "attention": ((128, 128), (6, 8)),
    "conv": ((64,), (2,)),
    "gather": ((50_000, 64, 4_096, 1_024), (40, 4, 12, 6)),
    "broadcast": ((4_096, 512), (6, 8)),
}
"""The sizes of each row, and of its small form."""


def draw_inputs(workload: str, *, small: bool = False) -> Inputs:
    """Return the inputs of a workload by name; a small form has few elements and the same structure."""
    found = find(workload)
    sizes = SIZES[found.row][small]
    if found.size is not None and not small:
        sizes = (found.size, *sizes[1:])
    return DRAWN[found.row](np.random.default_rng(0), *sizes)


def _normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    """Return normal float32 numbers."""
    return (scale * rng.standard_normal(shape)).astype("float32")


def _call(rng: np.random.Generator, count: int) -> Inputs:
    return {"x": rng.standard_normal(count)}


def _call10(rng: np.random.Generator, count: int) -> Inputs:
    return {"xs": [rng.standard_normal(count) for _ in range(10)]}


def _fused(rng: np.random.Generator, count: int) -> Inputs:
    return {"x": rng.standard_normal(count), "y": rng.standard_normal(count)}


def _lse(rng: np.random.Generator, rows: int, columns: int) -> Inputs:
    return {"x": 3 * rng.standard_normal((rows, columns))}


def _xent(rng: np.random.Generator, rows: int, classes: int) -> Inputs:
    return {"logits": _normal(rng, rows, classes, scale=3), "labels": rng.integers(0, classes, rows)}


def _mlp(rng: np.random.Generator, batch: int, *sizes: int) -> Inputs:
    parameters = []
    for inputs, outputs in pairwise(sizes):
        parameters += [_normal(rng, inputs, outputs, scale=(2 / inputs) ** 0.5), np.zeros(outputs, "float32")]
    x = rng.random((batch, sizes[0])).astype("float32")
    return {"parameters": parameters, "x": x, "y": rng.integers(0, sizes[-1], batch)}


def _rnn(rng: np.random.Generator, steps: int, batch: int, width: int) -> Inputs:
    weights = {"w": _normal(rng, width, width, scale=0.9 / width**0.5), "u": _normal(rng, width, width, scale=0.1)}
    return {**weights, "v": _normal(rng, width, width, scale=0.1), "xs": _normal(rng, steps, batch, width)}


def _lstm(rng: np.random.Generator, steps: int, width: int) -> Inputs:
    weights = {name: 0.5 * rng.standard_normal((2, 4, width)) for name in ("w", "u", "b")}
    return {**weights, "xs": rng.standard_normal((steps, width))}


def _pendulum(_: np.random.Generator) -> Inputs:
    return {"start": np.array([1.0, 0.0])}


def _chain(rng: np.random.Generator, steps: int, count: int) -> Inputs:
    return {"x": 0.1 * rng.standard_normal(count), "c": [float(c) for c in rng.uniform(0.5, 1.0, steps)]}


def _stencil(rng: np.random.Generator, side: int) -> Inputs:
    return {"u": rng.standard_normal((side, side))}


def _attention(rng: np.random.Generator, tokens: int, width: int) -> Inputs:
    """Parameters: gain and bias of the norm, then weight and bias of query-key-value and of the projection."""
    parameters = [
        1 + _normal(rng, width, scale=0.1),
        _normal(rng, width, scale=0.1),
        _normal(rng, width, 3 * width, scale=width**-0.5),
        _normal(rng, 3 * width, scale=0.1),
        _normal(rng, width, width, scale=width**-0.5),
        _normal(rng, width, scale=0.1),
    ]
    return {"parameters": parameters, "x": _normal(rng, tokens, width)}


def _conv(rng: np.random.Generator, batch: int) -> Inputs:
    """LeNet for 28 x 28 images: two convolutions, then three dense layers; weights and biases alternate."""
    shapes: list[Sizes] = [(6, 1, 5, 5), (16, 6, 5, 5), (400, 120), (120, 84), (84, 10)]
    parameters = []
    for shape in shapes:
        inputs, outputs = (25 * shape[1], shape[0]) if len(shape) == 4 else shape
        parameters += [_normal(rng, *shape, scale=(2 / inputs) ** 0.5), np.zeros(outputs, "float32")]
    return {"parameters": parameters, "x": _normal(rng, batch, 1, 28, 28), "y": rng.integers(0, 10, batch)}


def _gather(rng: np.random.Generator, rows: int, width: int, count: int, groups: int) -> Inputs:
    """Rows of the table to read, the group that each is added to, and what the sums of the groups should be."""
    indices, members = rng.integers(0, rows, count), rng.integers(0, groups, count)
    return {"table": _normal(rng, rows, width), "rows": indices, "groups": members, "y": _normal(rng, groups, width)}


def _broadcast(rng: np.random.Generator, rows: int, width: int) -> Inputs:
    gain, bias = 1 + _normal(rng, width, scale=0.1), _normal(rng, width, scale=0.1)
    return {"x": _normal(rng, rows, width), "gain": gain, "bias": bias}


DRAWN: dict[str, Callable[..., Inputs]] = {
    "call": _call,
    "call10": _call10,
    "fused": _fused,
    "lse": _lse,
    "xent": _xent,
    "mlp": _mlp,
    "mlp784": _mlp,
    "mlp784_256": _mlp,
    "rnn": _rnn,
    "lstm": _lstm,
    "pendulum": _pendulum,
    "pendulum_grad": _pendulum,
    "unrolled": _pendulum,
    "rolled": _pendulum,
    "chain100": _chain,
    "chain1000": _chain,
    "chain10000": _chain,
    "stencil": _stencil,
    "attention": _attention,
    "conv": _conv,
    "gather": _gather,
    "broadcast": _broadcast,
}
