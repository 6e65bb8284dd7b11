"""The optimisers' rules once more, in NumPy and as their papers write them: the oracle of `test_optim.py`.

Each rule takes a parameter, its gradient, its state (a dict that starts empty) and the number of the step from 1, and
returns the new parameter. All of them compute in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.graph.types import Array

Rule = Callable[[Array, Array, dict[str, Any], int], Any]


def sgd(lr: float, mu: float = 0.0, tau: float = 0.0, wd: float = 0.0, nesterov: bool = False) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        g = g + wd * w
        if mu:
            s["b"] = g if t == 1 else mu * s["b"] + (1 - tau) * g
            g = g + mu * s["b"] if nesterov else s["b"]
        return w - lr * g

    return rule


def adam(lr: float, b1: float, b2: float, eps: float, l2: float = 0.0, decay: float = 0.0, ams: bool = False) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        w, g = w * (1 - lr * decay), g + l2 * w
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
        s["largest"] = np.maximum(s.get("largest", 0), s["v"])
        m_hat = s["m"] / (1 - b1**t)
        v_hat = s["largest" if ams else "v"] / (1 - b2**t)
        return w - lr * m_hat / (np.sqrt(v_hat) + eps)

    return rule


def adamax(lr: float, b1: float, b2: float, eps: float, l2: float) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        g = g + l2 * w
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        s["u"] = np.maximum(b2 * s.get("u", 0), np.abs(g) + eps)
        return w - lr / (1 - b1**t) * s["m"] / s["u"]

    return rule


def nadam(lr: float, b1: float, b2: float, eps: float, psi: float, l2: float = 0.0, decay: float = 0.0) -> Rule:
    def mu(t: int) -> float:
        return b1 * (1 - 0.5 * math.pow(0.96, t * psi))

    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        w, g = w * (1 - lr * decay), g + l2 * w
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
        product = np.prod([mu(i) for i in range(1, t + 1)])
        m_hat = mu(t + 1) * s["m"] / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        return w - lr * m_hat / (np.sqrt(s["v"] / (1 - b2**t)) + eps)

    return rule


def radam(lr: float, b1: float, b2: float, eps: float, l2: float = 0.0, decay: float = 0.0) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        w, g = w * (1 - lr * decay), g + l2 * w
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
        m_hat = s["m"] / (1 - b1**t)
        last = 2 / (1 - b2) - 1
        rho = last - 2 * t * b2**t / (1 - b2**t)
        if rho <= 5:
            return w - lr * m_hat
        r = np.sqrt((rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho))
        return w - lr * m_hat * r * np.sqrt(1 - b2**t) / (np.sqrt(s["v"]) + eps)

    return rule


def rmsprop(lr: float, alpha: float, eps: float, l2: float = 0.0, mu: float = 0.0, centered: bool = False) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        g = g + l2 * w
        s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g**2
        s["mean"] = alpha * s.get("mean", 0) + (1 - alpha) * g
        v = s["v"] - s["mean"] ** 2 if centered else s["v"]
        s["b"] = mu * s.get("b", 0) + g / (np.sqrt(v) + eps)
        return w - lr * s["b"]

    return rule


def adagrad(lr: float, eta: float, l2: float, tau: float, eps: float) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        g = g + l2 * w
        s["sum"] = s.get("sum", tau) + g**2
        return w - lr / (1 + (t - 1) * eta) * g / (np.sqrt(s["sum"]) + eps)

    return rule


def adadelta(lr: float, rho: float, eps: float, l2: float) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        g = g + l2 * w
        s["v"] = rho * s.get("v", 0) + (1 - rho) * g**2
        d = np.sqrt(s.get("u", 0) + eps) / np.sqrt(s["v"] + eps) * g
        s["u"] = rho * s.get("u", 0) + (1 - rho) * d**2
        return w - lr * d

    return rule


def lamb(lr: float, b1: float, b2: float, eps: float, decay: float) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
        r = s["m"] / (1 - b1**t) / (np.sqrt(s["v"] / (1 - b2**t)) + eps) + decay * w
        size, length = np.sqrt(np.sum(w**2)), np.sqrt(np.sum(r**2))
        trust = size / length if size > 0 and length > 0 else 1.0
        return w - lr * trust * r

    return rule


def lion(lr: float, b1: float, b2: float, decay: float) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        m = s.get("m", np.zeros_like(w))
        s["m"] = b2 * m + (1 - b2) * g
        return w - lr * (np.sign(b1 * m + (1 - b1) * g) + decay * w)

    return rule


def adafactor(lr: float, power: float, eps1: float, eps2: float, d: float, decay: float) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Any:
        beta = 1 - t**power
        alpha = max(eps2, np.sqrt(np.mean(w**2))) * min(lr, 1 / np.sqrt(t))
        if w.ndim < 2:
            s["v"] = v = beta * s.get("v", 0) + (1 - beta) * g**2
        else:
            s["r"] = beta * s.get("r", 0) + (1 - beta) * np.mean(g**2, axis=-1, keepdims=True)
            s["c"] = beta * s.get("c", 0) + (1 - beta) * np.mean(g**2, axis=-2, keepdims=True)
            v = s["r"] * s["c"] / np.maximum(np.mean(s["r"], axis=-2, keepdims=True), eps1)
        u = g / np.sqrt(np.maximum(v, eps1**2))
        u = u / max(1.0, np.sqrt(np.mean(u**2)) / d)
        return w * (1 - lr * decay) - alpha * u

    return rule
