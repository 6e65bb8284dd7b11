"""Optimisers around optimisers: gradient accumulation and averages of parameters.

A wrapper has the methods of the optimiser inside, and shares its state, so that wrappers nest:
`Accumulate(ExponentialMovingAverage(Adam(1e-3)), steps=4)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.errors import ArgumentError, at
from graphc.node import Node, Shared
from graphc.ops import astype, equal, minimum, where
from graphc.optim.base import Optimizer, Scalar, Updates, towards, zeros
from graphc.optim.parameters import Named
from graphc.types import FLOAT64


@dataclass(eq=False, repr=False)
class Accumulate(Optimizer):
    """Step once in `steps` calls, by the mean of their gradients: batches larger than memory.

    Between steps neither parameters nor the state of `optimizer` (its count and schedule included) change; clipping
    applies to the mean. For mini-batches of equal size and a mean loss the result is that of one large batch.

    >>> import graphc as gc
    >>> w, x = gc.shared(0.0, name="w"), gc.placeholder("x")
    >>> step = gc.function([x], w, updates=Accumulate(gc.optim.SGD(1.0), steps=2).updates(w * x, w))
    >>> [float(step(v)) for v in (1.0, 3.0, 0.0)]
    [0.0, 0.0, -2.0]
    """

    optimizer: Optimizer
    steps: int

    def __post_init__(self) -> None:
        self.check()
        share_state(self, self.optimizer)

    def _updates(self, named: Named, grads: list[Node]) -> Updates:
        done = self.keep("micro_step", np.int64(0))
        last = equal(done, self.steps - 1)
        sums = [self.keep(f"{self.name_of(name, p)}.accumulated", zeros(p)) for name, p in named.items()]
        means = [total + g / self.steps for total, g in zip(sums, grads, strict=True)]
        inside = self.optimizer.updates_from_gradients(means, named)
        updates = {node: where(last, value, node) for node, value in inside.items()}
        updates |= {total: where(last, 0.0, mean) for total, mean in zip(sums, means, strict=True)}
        return updates | {done: where(last, 0, done + 1)}


@dataclass(eq=False, repr=False)
class ExponentialMovingAverage(Optimizer):
    """Keep a running mean of every parameter: a <- decay a + (1 - decay) p, from the parameter's first value.

    Evaluate with the averages in place of the parameters: `gc.function(x, y, givens=average.givens())`. With
    `warmup`, the decay of step t is at most t / (9 + t), so that early parameters are forgotten. Source: Polyak &
    Juditsky 1992 (Acceleration of stochastic approximation by averaging), with exponential weights.
    """

    optimizer: Optimizer
    decay: float = 0.999
    warmup: bool = False

    def __post_init__(self) -> None:
        self.check()
        share_state(self, self.optimizer)

    def _updates(self, named: Named, grads: list[Node]) -> Updates:
        updates = self.optimizer.updates_from_gradients(grads, named)
        weight: Scalar = 1.0 - self.decay
        if self.warmup:
            count = self.keep("averaged_steps", np.int64(0))
            updates[count] = count + 1
            t = astype(count + 1, FLOAT64)
            weight = 1.0 - minimum(self.decay, t / (t + 9))
        for name, p in named.items():
            average = self.keep(f"{self.name_of(name, p)}.average", p.get_value())
            typed = astype(weight, p.dtype) if isinstance(weight, Node) else weight
            updates[average] = towards(average, updates[p], typed)
        return updates

    def average(self, parameter: Shared) -> Shared:
        """Return the running mean of a parameter, a shared node."""
        if parameter not in self._names:
            raise ArgumentError(f"ExponentialMovingAverage: {parameter!r} is not averaged; call updates first{at()}")
        return self._states[f"{self._names[parameter]}.average"]

    def givens(self) -> dict[Node, Node]:
        """Return the averages by parameter, for `gc.function(..., givens=...)`."""
        return {p: self.average(p) for p in self._names}

    def copy_to_parameters(self) -> None:
        """Set every parameter to its average."""
        for p in self._names:
            p.set_value(self.average(p).get_value())


def share_state(wrapper: Optimizer, inside: Optimizer) -> None:
    """Let a wrapper keep its state together with that of the optimiser inside."""
    what = type(wrapper).__name__
    if not isinstance(inside, Optimizer):
        raise ArgumentError(f"{what}: an optimiser is needed, got {type(inside).__name__}{at()}")
    inner: Optimizer | None = inside
    while inner is not None:
        if type(inner) is type(wrapper):
            raise ArgumentError(f"{what}: there is another one inside: {inside!r}{at()}")
        inner = getattr(inner, "optimizer", None)
    wrapper._states, wrapper._names, wrapper._parameters = inside._states, inside._names, inside._parameters
