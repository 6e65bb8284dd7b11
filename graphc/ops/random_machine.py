"""What the formulas of random numbers need besides Python's operators, and their meaning on NumPy arrays.

The other `Machine` is codegen's `Emitter`, which appends the same operations to a kernel. Every operation is exact or
rounds once, as IEEE 754 says, so both machines give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from graphc.graph.types import SHORT_NAMES, Array

Scalar = Any
Step = Callable[..., tuple[Scalar, tuple[Scalar, ...]]]
"""From (machine, *operands, *state): whether this was the last step, and the next state."""


class Machine(Protocol):
    """The operations of a formula."""

    def convert(self, x: Any, kind: str, /) -> Any: ...
    def bits(self, x: Any, /) -> Any: ...
    def from_bits(self, x: Any, /) -> Any: ...
    def sqrt(self, x: Any, /) -> Any: ...
    def floor(self, x: Any, /) -> Any: ...
    def select(self, condition: Any, yes: Any, no: Any, /) -> Any: ...
    def loop(self, step: Step, active: Any, operands: Sequence[Any], state: Sequence[Any], /) -> tuple[Any, ...]: ...


class NumpyMachine:
    """The formulas' operations on NumPy arrays and scalars."""

    _dtypes = {short: np.dtype(name) for name, short in SHORT_NAMES.items()}  # noqa: RUF012

    def convert(self, x: Any, kind: str) -> Any:
        """Convert as a C cast does."""
        return np.asarray(x).astype(self._dtypes[kind])[()]

    def bits(self, x: Any) -> Any:
        """Return the bits of a float as a signed integer of its width."""
        return np.asarray(x).view(f"i{x.dtype.itemsize}")[()]

    def from_bits(self, x: Any) -> Any:
        """Return the float that has the bits of a signed integer."""
        return np.asarray(x).view(f"f{x.dtype.itemsize}")[()]

    def sqrt(self, x: Any) -> Any:
        """Return the square root."""
        return np.sqrt(x)

    def floor(self, x: Any) -> Any:
        """Return the largest whole number up to x."""
        return np.floor(x)

    def select(self, condition: Any, yes: Any, no: Any) -> Any:
        """Choose element by element."""
        return np.where(condition, yes, no)[()]

    def loop(self, step: Step, active: Any, operands: Sequence[Any], state: Sequence[Any]) -> tuple[Any, ...]:
        """Repeat `step` where `active`, each element until it is done; return the last state.

        A step sees only the elements that are still running, so its `operands` are named, not captured.
        """
        whole = np.broadcast_arrays(active, *operands, *state)
        flat = [a.reshape(-1) for a in whole]
        running = np.flatnonzero(flat[0])
        current = [x[running] for x in flat[1:]]
        first = len(operands)
        results: list[Array] = [x.copy() for x in flat[1 + first :]]
        while running.size:
            done, following = step(self, *current)
            current[first:] = [np.broadcast_to(x, running.shape) for x in following]
            done = np.broadcast_to(done, running.shape)
            for result, x in zip(results, current[first:], strict=True):
                result[running[done]] = x[done]
            running = running[~done]
            current = [x[~done] for x in current]
        return tuple(r.reshape(whole[0].shape)[()] for r in results)
