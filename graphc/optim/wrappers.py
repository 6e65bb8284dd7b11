"""Optimisers around optimisers: gradient accumulation and averages of parameters.

A wrapper has the methods of the optimiser inside, and shares its state, so that wrappers nest:
`Accumulate(ExponentialMovingAverage(Adam(1e-3)), steps=4)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node, Shared
from graphc.ops import equal, minimum, where
from graphc.optim.base import Clock, Optimizer, Scalar, towards, typed, zeros
from graphc.optim.parameters import Named
from graphc.optim.updates import Updates


@dataclass(eq=False, repr=False)
class Accumulate(Optimizer):
    """Step once in `steps` calls, by the mean of their gradients: batches larger than memory.

    Between steps neither parameters nor the state of `optimizer` (its counts and schedule included) change; clipping
    applies to the mean. For mini-batches of equal size and a mean loss the result is that of one large batch.
    Parameters given together count their calls together.

    >>> import graphc as gc
    >>> w, x = gc.shared(0.0, name="w"), gc.placeholder("x")
    >>> step = gc.function([x], w, updates=Accumulate(gc.optim.SGD(1.0), steps=2).updates(w * x, w))
    >>> [float(step(v)) for v in (1.0, 3.0, 0.0)]
    [0.0, 0.0, -2.0]
    """

    optimizer: Optimizer
    steps: int
    _together: dict[Shared, set[Shared]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.check()
        share_state(self, self.optimizer)

    def finishes(self, named: Named) -> Node:
        """Return whether this call is the last of `steps`."""
        return equal(self._calls(named), self.steps - 1)

    def _calls(self, named: Named) -> Shared:
        """Return the number of calls since the last step, a state of the parameters that are given together."""
        params = set(named.values())
        for name, p in named.items():
            if self._together.setdefault(p, params) != params:
                raise ArgumentError(
                    f"Accumulate: {name} was given together with other parameters before; a set of its own needs an"
                    f" Accumulate of its own{at()}"
                )
        name, first = next(iter(named.items()))
        return self.keep(f"{self.name_of(name, first)}.micro_step", np.int64(0))

    def _updates(self, named: Named, grads: list[Node]) -> Updates:
        done, last = self._calls(named), self.finishes(named)
        sums = [self.keep(f"{self.name_of(name, p)}.accumulated", zeros(p)) for name, p in named.items()]
        means = [total + g / self.steps for total, g in zip(sums, grads, strict=True)]
        inside = self.optimizer.updates_from_gradients(dict(zip(named, means, strict=True)), named)
        updates = {node: where(last, value, node) for node, value in inside.items()}
        updates |= {total: where(last, 0.0, mean) for total, mean in zip(sums, means, strict=True)}
        return Updates(updates | {done: where(last, 0, done + 1)}, inside.params, inside.norms)


@dataclass(eq=False, repr=False)
class ExponentialMovingAverage(Optimizer):
    """Keep a running mean of every parameter: a <- decay a + (1 - decay) p, from its value before its first step.

    Evaluate with the averages in place of the parameters: `gc.function(x, y, givens=average.givens())`. With
    `warmup`, the decay of step t is at most t / (9 + t), so that early parameters are forgotten. Around `Accumulate`
    the mean moves when the parameters do. Source: Polyak & Juditsky 1992 (Acceleration of stochastic approximation by
    averaging), with exponential weights.
    """

    optimizer: Optimizer
    decay: float = 0.999
    warmup: bool = False

    def __post_init__(self) -> None:
        self.check()
        share_state(self, self.optimizer)

    def _updates(self, named: Named, grads: list[Node]) -> Updates:
        updates = self.optimizer.updates_from_gradients(dict(zip(named, grads, strict=True)), named)
        moved = self.optimizer.finishes(named)
        for name, p in named.items():
            known = self.name_of(name, p)
            average, clock = self.keep(f"{known}.average", p.get_value()), Clock(self, known)
            weight: Scalar = 1.0 - self.decay
            if self.warmup:
                weight = typed(1.0 - minimum(self.decay, clock.t / (clock.t + 9)), p.dtype)
            after = {average: towards(where(equal(clock.t, 1.0), p, average), updates[p], weight)} | clock.updates
            for node, value in after.items():  # the rule inside may count steps too
                updates.setdefault(node, value if moved is None else where(moved, value, node))
        return updates

    def finishes(self, named: Named) -> Node | None:
        """Return what the optimiser inside does."""
        return self.optimizer.finishes(named)

    def average(self, parameter: Shared) -> Shared:
        """Return the running mean of a parameter, a shared node."""
        if not isinstance(parameter, Shared) or parameter not in self._names:
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
