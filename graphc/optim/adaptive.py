"""RMSprop, Adagrad and Adadelta: a rate for every element, from the sizes of its gradients so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.graph.node import Node, Shared
from graphc.graph.types import Array
from graphc.ops import maximum, sqrt, square
from graphc.optim.base import Clock, Descent, LearningRate, Scalar, Scalars, State, decayed, towards, zeros


@dataclass(eq=False, repr=False)
class RMSprop(Descent):
    """RMSprop: p <- p - lr g / (sqrt(v) + eps), with the running mean v of g**2.

    With `centered`, v less the square of the running mean of g, but at least 0 (rounding can make it negative). With
    `momentum`, b <- momentum b + g / (sqrt(v) + eps) and p <- p - lr b. `weight_decay` adds the L2 penalty's gradient.
    Sources: Hinton, Coursera lecture 6e, 2012; centred: Graves 2013 (arXiv:1308.0850); eps as in PyTorch.
    """

    lr: LearningRate = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: Scalar = 0.0
    momentum: float = 0.0
    centered: bool = False

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return the running mean of squares, and what centring and momentum need."""
        names = ["square_avg"] + ["grad_avg"] * self.centered + ["momentum_buffer"] * bool(self.momentum)
        return {name: zeros(p) for name in names}

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the rate."""
        return {"lr": lr}

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the parameter after one step, and its state."""
        g = decayed(p, g, self.weight_decay)
        v = towards(state["square_avg"], square(g), 1 - self.alpha)
        after = {"square_avg": v}
        if self.centered:
            mean = after["grad_avg"] = towards(state["grad_avg"], g, 1 - self.alpha)
            v = maximum(v - square(mean), 0.0)
        move = g / (sqrt(v) + self.eps)
        if self.momentum:
            move = after["momentum_buffer"] = state["momentum_buffer"] * self.momentum + move
        return p - s["lr"] * move, after


@dataclass(eq=False, repr=False)
class Adagrad(Descent):
    """Adagrad: p <- p - lr_t g / (sqrt(v) + eps), with the sum v of g**2 and lr_t = lr / (1 + (t - 1) lr_decay).

    `weight_decay` adds the L2 penalty's gradient; v starts at `initial_accumulator`. Source: Duchi, Hazan & Singer
    2011 (Adaptive subgradient methods), as in PyTorch.
    """

    lr: LearningRate = 1e-2
    lr_decay: float = 0.0
    weight_decay: Scalar = 0.0
    initial_accumulator: float = 0.0
    eps: float = 1e-10

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return the sum of squares."""
        return {"sum": np.full_like(p.state.array, self.initial_accumulator)}

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the decayed rate."""
        return {"lr": lr / (1 + (clock.t - 1) * self.lr_decay) if self.lr_decay else lr}

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the parameter after one step, and its sum of squares."""
        g = decayed(p, g, self.weight_decay)
        total = state["sum"] + square(g)
        return p - s["lr"] * g / (sqrt(total) + self.eps), {"sum": total}


@dataclass(eq=False, repr=False)
class Adadelta(Descent):
    """Adadelta: p <- p - lr d, with d = g sqrt(u + eps) / sqrt(v + eps) and running means v of g**2, u of d**2.

    `weight_decay` adds the L2 penalty's gradient. Source: Zeiler 2012 (arXiv:1212.5701), algorithm 1.
    """

    lr: LearningRate = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: Scalar = 0.0

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return the running means of squares of gradients and of moves."""
        return {"square_avg": zeros(p), "acc_delta": zeros(p)}

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the rate."""
        return {"lr": lr}

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the parameter after one step, and its running means."""
        g = decayed(p, g, self.weight_decay)
        v = towards(state["square_avg"], square(g), 1 - self.rho)
        move = g * sqrt(state["acc_delta"] + self.eps) / sqrt(v + self.eps)
        after = {"square_avg": v, "acc_delta": towards(state["acc_delta"], square(move), 1 - self.rho)}
        return p - s["lr"] * move, after
