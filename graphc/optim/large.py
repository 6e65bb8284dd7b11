"""Rules that look at a whole parameter at a time: LAMB for large batches, Adafactor for large matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.graph.node import Node, Shared
from graphc.graph.types import Array
from graphc.ops import logical_and, maximum, mean, minimum, reciprocal, sqrt, square, sum, where
from graphc.optim.adam import moment_slots, moments
from graphc.optim.base import Clock, Descent, LearningRate, Scalar, Scalars, State, decays, towards, typed, wide, zeros


@dataclass(eq=False, repr=False)
class LAMB(Descent):
    """Layer-wise adaptive moments: p <- p - lr (|p| / |r|) r, where r is Adam's direction plus weight_decay p.

    The ratio of norms is 1 where either is 0. Source: You et al. 2020 (arXiv:1904.00962), algorithm 2, with the
    identity for phi.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    weight_decay: Scalar = 0.0

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return both running means."""
        return moment_slots(p)

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the rate and the two bias corrections."""
        return {
            "lr": lr,
            "correct1": 1 / clock.one_minus_power(self.betas[0]),
            "correct2": 1 / clock.one_minus_power(self.betas[1]),
        }

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the parameter after one step, and the running means."""
        m, v = moments(g, state, self.betas)
        r = m * s["correct1"] / (sqrt(v * s["correct2"]) + self.eps)
        if decays(self.weight_decay):
            r = r + p * typed(self.weight_decay, p.dtype)
        size, length = (sqrt(sum(square(x))) for x in (p, r))
        trust = where(logical_and(size > 0, length > 0), size / length, 1.0)
        return p - s["lr"] * trust * r, {"exp_avg": m, "exp_avg_sq": v}


@dataclass(eq=False, repr=False)
class Adafactor(Descent):
    """Adam without a mean, whose second moments of a matrix are the product of row and column means.

    beta2_t = 1 - t**beta2_decay; u = g / sqrt(v_hat), scaled down to a root mean square of at most `max_update`;
    p <- p (1 - lr weight_decay) - min(lr, 1/sqrt(t)) max(eps[1], rms(p)) u. The last two axes of a parameter are
    factored; vectors keep their full second moments. `eps[0]` None is the machine epsilon of the dtype. Source:
    Shazeer & Stern 2018 (arXiv:1804.04235), algorithms 4 to 6, as in PyTorch.
    """

    lr: LearningRate = 1e-2
    beta2_decay: float = -0.8
    eps: tuple[float | None, float] = (None, 1e-3)
    max_update: float = 1.0
    weight_decay: Scalar = 0.0

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return means of squares: of rows and columns of a matrix, of elements of a vector."""
        full = zeros(p)
        if p.ndim < 2:
            return {"variance": full}
        return {"row_var": full[..., :1].copy(), "col_var": full[..., :1, :].copy()}

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the relative rate, the weight of new squares, and the decay."""
        t = clock.t
        return {
            "rho": minimum(lr, reciprocal(sqrt(t))),
            "fresh": t**self.beta2_decay,
            "shrink": lr * wide(self.weight_decay),
        }

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the parameter after one step, and its second moments."""
        eps1 = float(np.finfo(p.dtype).eps) if self.eps[0] is None else self.eps[0]
        rate = maximum(_rms(p), self.eps[1]) * s["rho"]
        after, estimate = _second_moments(square(g), state, s["fresh"], eps1)
        u = g / sqrt(maximum(estimate, eps1 * eps1))
        scale = rate / maximum(_rms(u) / self.max_update, 1.0)
        kept = p - p * s["shrink"] if decays(self.weight_decay) else p
        return kept - u * scale, after


def _rms(x: Node) -> Node:
    return sqrt(mean(square(x)))


def _second_moments(squares: Node, state: State, fresh: Scalar, eps: float) -> tuple[State, Node]:
    """Return the next means of squares, and the estimate of every element's."""
    if "variance" in state:
        v = towards(state["variance"], squares, fresh)
        return {"variance": v}, v
    rows = towards(state["row_var"], mean(squares, -1, keepdims=True), fresh)
    columns = towards(state["col_var"], mean(squares, -2, keepdims=True), fresh)
    whole = maximum(mean(rows, -2, keepdims=True), eps)
    return {"row_var": rows, "col_var": columns}, rows * columns / whole
