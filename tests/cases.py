"""The record that every op test table is made of; `tests/test_ops.py` runs all of them.

A table module `tests/cases_<family>.py` exports `CASES: list[Case]`. From one record follow: the inferred type,
the reference value against NumPy, the compiled value against the reference, gradients of order one and two
against central differences, float32 against float64, and the special shapes (empty, size 1, non-contiguous,
symbolic).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.graph.types import Array

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One way of calling one function.

    `build` takes one node per entry of `shapes` (dtype `dtypes[i]`, float64 by default) and returns a node;
    `numpy` is the oracle on arrays of the same shapes. Inputs are drawn uniformly from `low..high` (integers
    inclusive), or made by `make(rng)`. `differentiable` lists the inputs whose gradient is checked (None:
    every float input; (): none). `symbolic` inputs are also declared with named dimensions.
    """

    id: str
    build: Callable[..., Node]
    numpy: Callable[..., Any]
    shapes: tuple[Shape, ...] = ((3, 4),)
    dtypes: tuple[str, ...] = ()
    low: float = -2.0
    high: float = 2.0
    make: Callable[[np.random.Generator], tuple[Array, ...]] | None = None
    differentiable: tuple[int, ...] | None = None
    second_order: bool = True
    symbolic: bool = True
    rtol: float = 1e-12
    special: tuple[float, ...] = field(default=())
    """Special values (0.0, -0.0, inf, nan, ties) at which value and compiled value are compared too."""

    def arrays(self, seed: int = 0) -> tuple[Array, ...]:
        """Draw the inputs."""
        rng = np.random.default_rng([seed, *self.id.encode()])
        if self.make is not None:
            return self.make(rng)
        dtypes = self.dtypes or ("float64",) * len(self.shapes)
        return tuple(self._draw(rng, s, np.dtype(d)) for s, d in zip(self.shapes, dtypes, strict=True))

    def _draw(self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any]) -> Array:
        if dtype.kind == "b":
            return rng.random(shape) < 0.5
        if dtype.kind in "iu":
            low = 0 if dtype.kind == "u" else int(self.low)
            return rng.integers(low, int(self.high), shape, dtype=dtype, endpoint=True)
        return rng.uniform(self.low, self.high, shape).astype(dtype)
