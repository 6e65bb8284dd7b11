"""Adam and its relatives: a running mean of gradients over the root of a running mean of squares."""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphc.graph.node import Node, Shared
from graphc.graph.types import Array
from graphc.ops import abs, exp, greater, maximum, sqrt, square, where
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
    wide,
    zeros,
)


def moments(g: Node, state: State, betas: tuple[float, float]) -> tuple[Node, Node]:
    """Return the next running means of the gradient and of its square."""
    m = towards(state["exp_avg"], g, 1 - betas[0])
    v = towards(state["exp_avg_sq"], square(g), 1 - betas[1])
    return m, v


def moment_slots(p: Shared) -> dict[str, Array]:
    """Return zeros for both running means."""
    return {"exp_avg": zeros(p), "exp_avg_sq": zeros(p)}


def shrink(p: Node, s: Scalars, weight_decay: Scalar) -> Node:
    """Return p (1 - lr weight_decay): decay that does not pass through the moments."""
    return p - p * s["shrink"] if decays(weight_decay) else p


def _adam_scalars(lr: Scalar, clock: Clock, betas: tuple[float, float], eps: float, weight_decay: Scalar) -> Scalars:
    """Return what turns p - lr m_hat / (sqrt(v_hat) + eps) into p - rate m / (sqrt(v) + eps').

    Both sides of the fraction are multiplied by sqrt(1 - beta2**t), so that an element costs one division.
    """
    correction = sqrt(clock.one_minus_power(betas[1]))
    rate = lr / clock.one_minus_power(betas[0]) * correction
    return {"rate": rate, "eps": eps * correction, "shrink": lr * wide(weight_decay)}


@dataclass(eq=False, repr=False)
class Adam(Descent):
    """Adam: p <- p - lr m_hat / (sqrt(v_hat) + eps), with bias-corrected running means of g and g**2.

    `weight_decay` adds the L2 penalty's gradient to g; `AdamW` decays the parameter itself. With `amsgrad`, v_hat is
    replaced by the largest v so far over 1 - beta2**t. Sources: Kingma & Ba 2015 (arXiv:1412.6980); Reddi et al. 2018
    (On the convergence of Adam and beyond); bias correction and eps as in PyTorch.

    >>> Adam(1e-3, betas=(0.9, 0.99)).betas
    (0.9, 0.99)
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: Scalar = 0.0
    amsgrad: bool = False

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return both running means, and with amsgrad the largest second one."""
        return moment_slots(p) | ({"max_exp_avg_sq": zeros(p)} if self.amsgrad else {})

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the rate and eps, bias corrections included."""
        return _adam_scalars(lr, clock, self.betas, self.eps, 0.0)

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the parameter after one step, and the running means."""
        return _adam_step(p, decayed(p, g, self.weight_decay), state, s, self.betas)


@dataclass(eq=False, repr=False)
class AdamW(Descent):
    """Adam with decoupled weight decay: p <- p (1 - lr weight_decay), then Adam's step on the undecayed gradient.

    Source: Loshchilov & Hutter 2019 (arXiv:1711.05101), with the decay multiplied by lr as in PyTorch.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: Scalar = 1e-2
    amsgrad: bool = False

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return both running means, and with amsgrad the largest second one."""
        return moment_slots(p) | ({"max_exp_avg_sq": zeros(p)} if self.amsgrad else {})

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the rate and eps, bias corrections included, and the decay."""
        return _adam_scalars(lr, clock, self.betas, self.eps, self.weight_decay)

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the parameter after one step, and the running means."""
        return _adam_step(shrink(p, s, self.weight_decay), g, state, s, self.betas)


def _adam_step(p: Node, g: Node, state: State, s: Scalars, betas: tuple[float, float]) -> tuple[Node, State]:
    m, v = moments(g, state, betas)
    after = {"exp_avg": m, "exp_avg_sq": v}
    if "max_exp_avg_sq" in state:
        v = after["max_exp_avg_sq"] = maximum(state["max_exp_avg_sq"], v)
    return p - s["rate"] * m / (sqrt(v) + s["eps"]), after


@dataclass(eq=False, repr=False)
class Adamax(Descent):
    """Adam with the infinity norm: p <- p - lr m_hat / u, where u <- max(beta2 u, |g| + eps).

    `weight_decay` adds the L2 penalty's gradient to g. Source: Kingma & Ba 2015 (arXiv:1412.6980), algorithm 2; eps
    as in PyTorch.
    """

    lr: LearningRate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: Scalar = 0.0

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return the running mean and the running infinity norm."""
        return {"exp_avg": zeros(p), "exp_inf": zeros(p)}

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the rate over the mean's bias correction."""
        return {"rate": lr / clock.one_minus_power(self.betas[0])}

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the parameter after one step, and its state."""
        g = decayed(p, g, self.weight_decay)
        m = towards(state["exp_avg"], g, 1 - self.betas[0])
        u = maximum(state["exp_inf"] * self.betas[1], abs(g) + self.eps)
        return p - s["rate"] * m / u, {"exp_avg": m, "exp_inf": u}


@dataclass(eq=False, repr=False)
class NAdam(Descent):
    """Adam with Nesterov momentum, whose coefficient mu_t = beta1 (1 - 0.96**(t momentum_decay) / 2) warms up.

    p <- p - lr ((1 - mu_t) / (1 - prod mu) g + mu_(t+1) / (1 - prod mu mu_(t+1)) m) / (sqrt(v_hat) + eps).
    `weight_decay` adds the L2 penalty's gradient, or with `decoupled_weight_decay` shrinks the parameter. Source:
    Dozat 2016 (Incorporating Nesterov momentum into Adam), as in PyTorch.
    """

    lr: LearningRate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: Scalar = 0.0
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return both running means."""
        return moment_slots(p)

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the weights of gradient and mean, and move the product of the momenta."""
        mu, following = (self._momentum(t) for t in (clock.t, clock.t + 1))
        before = clock.scalar("mu_product", 1.0)
        product = before * mu
        clock.updates[before] = product
        corrected = _adam_scalars(lr, clock, (0.0, self.betas[1]), self.eps, self.weight_decay)
        rate = corrected["rate"]
        fresh = rate * ((1 - mu) / (1 - product))
        mean = rate * (following / (1 - product * following))
        return {**corrected, "fresh": fresh, "mean": mean}

    def _momentum(self, t: Node) -> Node:
        return self.betas[0] * (1 - 0.5 * exp(t * (self.momentum_decay * math.log(0.96))))

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the parameter after one step, and the running means."""
        if self.decoupled_weight_decay:
            p = shrink(p, s, self.weight_decay)
        else:
            g = decayed(p, g, self.weight_decay)
        m, v = moments(g, state, self.betas)
        return p - (s["fresh"] * g + s["mean"] * m) / (sqrt(v) + s["eps"]), {"exp_avg": m, "exp_avg_sq": v}


@dataclass(eq=False, repr=False)
class RAdam(Descent):
    """Rectified Adam: plain momentum while the variance of the adaptive rate is unbounded, then Adam, scaled by r_t.

    With rho_inf = 2 / (1 - beta2) - 1 and rho_t = rho_inf - 2 t beta2**t / (1 - beta2**t): where rho_t > 5,
    p <- p - lr r_t m_hat sqrt(1 - beta2**t) / (sqrt(v) + eps), elsewhere p <- p - lr m_hat. `weight_decay` adds the L2
    penalty's gradient, or with `decoupled_weight_decay` shrinks the parameter. Source: Liu et al. 2020
    (arXiv:1908.03265), as in PyTorch.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: Scalar = 0.0
    decoupled_weight_decay: bool = False

    def slots(self, p: Shared) -> dict[str, Array]:
        """Return both running means."""
        return moment_slots(p)

    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return the rate with its rectification, and whether it is adaptive."""
        beta1, beta2 = self.betas
        last = 2 / (1 - beta2) - 1
        left = clock.one_minus_power(beta2)
        rho = last - 2 * clock.t * (1 - left) / left
        adaptive = greater(rho, 5.0)
        safe = where(adaptive, rho, 6.0)
        squared = left * ((safe - 4) * (safe - 2) * last / ((last - 4) * (last - 2) * safe))
        rate = lr / clock.one_minus_power(beta1) * where(adaptive, sqrt(squared), 1.0)
        return {"rate": rate, "adaptive": where(adaptive, 1.0, 0.0), "shrink": lr * wide(self.weight_decay)}

    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return the parameter after one step, and the running means."""
        if self.decoupled_weight_decay:
            p = shrink(p, s, self.weight_decay)
        else:
            g = decayed(p, g, self.weight_decay)
        m, v = moments(g, state, self.betas)
        denominator = where(greater(s["adaptive"], 0.0), sqrt(v) + self.eps, 1.0)
        return p - s["rate"] * m / denominator, {"exp_avg": m, "exp_avg_sq": v}
