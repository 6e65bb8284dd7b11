"""Central differences against which `check_grad` holds a gradient; apart from `grad` since it runs programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.evaluate import evaluate
from graphc.node import Node, Shared
from graphc.types import Array


def largest_error(
    loss: Node,
    wrt: Sequence[Node],
    grads: Sequence[Node],
    bindings: Mapping[Node, Any],
    eps: float,
    floor: float,
) -> tuple[float, str]:
    """Return the largest relative error of `grads` and the place of it: `name[index]`."""
    worst, where = 0.0, ""
    computed = evaluate(list(grads), bindings)
    for x, g in zip(wrt, computed, strict=True):
        for index in np.ndindex(g.shape):
            difference = _central_difference(loss, x, index, bindings, eps)
            error = abs(float(g[index]) - difference) / (floor + abs(difference))
            if not error <= worst:
                worst, where = error, f"{x.name or x.op.name}{list(index)}"
    return worst, where


def _central_difference(loss: Node, x: Node, index: tuple[int, ...], bindings: Mapping[Node, Any], eps: float) -> float:
    base: Array = x.state.array if isinstance(x, Shared) else np.asarray(bindings[x], dtype=x.dtype)
    step = eps * max(1.0, abs(float(base[index])))
    values = []
    for sign in (1.0, -1.0):
        moved = base.copy()
        moved[index] += sign * step
        values.append(float(evaluate(loss, {**bindings, x: moved})))
    return (values[0] - values[1]) / (2 * step)
