"""`check_grad`: a gradient against central differences of the program that it is the gradient of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from graphc.autodiff.grad import grad
from graphc.call.function import Function, function
from graphc.graph.arguments import checked, shown
from graphc.graph.errors import ArgumentError, GradientError, at
from graphc.graph.node import Node, Shared
from graphc.graph.op import Placeholder, placeholder
from graphc.graph.tree import flatten
from graphc.graph.types import Array


@checked
def check_grad(
    loss: Node,
    wrt: Any,
    bindings: Mapping[Node, Any],
    *,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    mode: Literal["compiled", "reference", "debug"] = "compiled",
) -> float:
    """Compare `grad` with central differences, both of one program, and return the largest error.

    The program is the compiled one that `function` makes of the loss and its gradient; `mode="reference"` checks the
    interpreter, which sees nothing of what passes and kernels do. The error is |grad - difference| / (atol/rtol +
    |difference|); `GradientError`, which names the mode, above `rtol`. Bind float64 arrays: the step `eps` is too
    small for float32. Shared nodes in `wrt` are moved and put back; generators do not advance.

    >>> import graphc as gc
    >>> x = gc.placeholder("x", shape=("n",))
    >>> check_grad(gc.sum(gc.sin(x)), x, {x: [0.3, 0.7]}) < 1e-8
    True
    """
    for name, number in (("eps", eps), ("rtol", rtol), ("atol", atol)):
        if not 0 < number < math.inf:
            raise ArgumentError(f"check_grad: {name} must be a positive number, got {number!r}{at()}")
    if not isinstance(bindings, Mapping):
        raise ArgumentError(f"check_grad: bindings must map placeholders to arrays, got {shown(bindings)}{at()}")
    nodes = flatten(wrt)
    _check(nodes, bindings)
    program = _Program([loss, *flatten(grad(loss, nodes))], bindings, mode)
    computed = program.values(bindings, {})[1:]
    worst, where = 0.0, ""
    for x, g in zip(nodes, computed, strict=True):
        base: Array = np.array(bindings[x] if x in bindings else x.get_value(), dtype=x.dtype)
        for index in np.ndindex(g.shape):
            difference = _central_difference(partial(program.loss_at, bindings, x), base, index, eps)
            error = abs(float(g[index]) - difference) / (atol / rtol + abs(difference))
            if not error <= worst:
                worst, where = error, f"{x.name or x.op.name}{list(index)}"
    if not worst <= rtol:
        raise GradientError(
            f'check_grad: relative error {worst:.3g} at {where}, {rtol:g} allowed (mode "{mode}"){at()}'
        )
    return worst


def _check(wrt: Sequence[Any], bindings: Mapping[Node, Any]) -> None:
    """Raise for bindings that are none, and for variables without a value."""
    if any(not isinstance(key, Node) for key in bindings):
        raise ArgumentError(f"check_grad: bindings must map placeholders to values, as in {{x: 2.0}}{at()}")
    missing = [x for x in wrt if isinstance(x, Node) and not isinstance(x, Shared) and x not in bindings]
    if missing:
        raise ArgumentError(f"check_grad: {missing[0].name or missing[0].op.name!r} has no value in bindings{at()}")


class _Program:
    """A loss and its gradient as one function, whose calls leave no trace."""

    def __init__(self, outputs: Sequence[Node], bindings: Mapping[Node, Any], mode: Any) -> None:
        self.bound = list(bindings)
        inputs = [x if isinstance(x.op, Placeholder) else _stand_in(i, x) for i, x in enumerate(bindings)]
        givens = {x: p for x, p in zip(bindings, inputs, strict=True) if x is not p}
        self.function: Function = function(inputs, list(outputs), givens=givens, mode=mode, on_unused="ignore")

    def loss_at(self, bindings: Mapping[Node, Any], x: Node, value: Array) -> float:
        """Return the loss with another value of one variable."""
        return float(self.values(bindings, {x: value})[0])

    def values(self, bindings: Mapping[Node, Any], moved: Mapping[Node, Array]) -> list[Array]:
        """Return the outputs for bound values, some of them moved; states are afterwards as they were."""
        before = {s: s.get_value() for s in self.function.graph.shared}
        try:
            for x, value in moved.items():
                if isinstance(x, Shared) and x not in bindings:
                    x.set_value(value)
            found: list[Array] = self.function(*(moved.get(x, bindings[x]) for x in self.bound))
            return found
        finally:
            for s, value in before.items():
                s.set_value(value)


def _stand_in(number: int, x: Node) -> Node:
    return placeholder(f"bound{number}", x.shape, x.dtype)


def _central_difference(f: Callable[[Array], float], base: Array, index: tuple[int, ...], eps: float) -> float:
    step = eps * max(1.0, abs(float(base[index])))
    values = []
    for sign in (1.0, -1.0):
        moved = base.copy()
        moved[index] += sign * step
        values.append(f(moved))
    return (values[0] - values[1]) / (2 * step)
