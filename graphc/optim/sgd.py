"""Stochastic gradient descent and its momentum forms, and Lion."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node, Shared
from graphc.graph.types import Array
from graphc.ops import equal, sign, where
from graphc.optim.base import (
    Clock,
    Descent,
    LearningRate,
    Scalar,
    Scalars,
    State,
    decayed,
    decays,
    towards,
    typed,
    zeros,
)


@dataclass(eq=False, repr=False)
class SGD(Descent):
    """Gradient descent: p <- p - lr g, with the L2 penalty's gradient weight_decay p added to g.

    With momentum, b <- momentum b + (1 - dampening) g (at the first step b <- g) and p <- p - lr b; with `nesterov`,
    p <- p - lr (g + momentum b). Source: Sutskever et al. 2013 (On the importance of initialization and momentum),
    in PyTorch's form, where lr multiplies the buffer.

    >>> SGD(0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, dampening=0.0, weight_decay=0.0, nesterov=False)
    """

    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: Scalar = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (not self.momentum or self.dampening):
            raise ArgumentError(f"SGD: nesterov needs momentum > 0 and dampening 0, got {self}{at()}")

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return the momentum buffer, if any."""
        return {"momentum_buffer": zeros(p)} if self.momentum else {}

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the rate, and the weight of the gradient in the buffer."""
        if not (self.momentum and self.dampening):
            return {"lr": lr, "fresh": 1.0}
        return {"lr": lr, "fresh": where(equal(clock.count, 0), 1.0, 1.0 - self.dampening)}

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return p - lr g, or the same with the buffer."""
        g = decayed(p, g, self.weight_decay)
        if not self.momentum:
            return p - s["lr"] * g, {}
        fresh = g * s["fresh"] if self.dampening else g
        buffer = state["momentum_buffer"] * self.momentum + fresh
        move = g + buffer * self.momentum if self.nesterov else buffer
        return p - s["lr"] * move, {"momentum_buffer": buffer}


@dataclass(eq=False, repr=False)
class Lion(Descent):
    """Sign of an interpolated momentum: p <- p - lr (sign(beta1 m + (1 - beta1) g) + weight_decay p).

    Then m <- beta2 m + (1 - beta2) g. Source: Chen et al. 2023 (arXiv:2302.06675), algorithm 2.
    """

    lr: LearningRate = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: Scalar = 0.0

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return the momentum."""
        return {"exp_avg": zeros(p)}

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the rate."""
        return {"lr": lr}

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the step along the sign, and the new momentum."""
        m = state["exp_avg"]
        move = sign(towards(m, g, 1 - self.betas[0]))
        if decays(self.weight_decay):
            move = move + p * typed(self.weight_decay, p.dtype)
        return p - s["lr"] * move, {"exp_avg": towards(m, g, 1 - self.betas[1])}
