"""`ReduceLROnPlateau`: the schedule that needs the program's results, and so runs between calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from graphc.graph.arguments import number
from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Shared
from graphc.graph.types import Array
from graphc.ops import shared
from graphc.optim.parameters import load_states
from graphc.optim.settings import Settings


@dataclass(eq=False, repr=False)
class ReduceLROnPlateau(Settings):
    """Multiply a shared learning rate by `factor` when a metric has not improved for more than `patience` calls.

    `mode` says whether the metric should fall ("min") or rise ("max"); it improves by more than `threshold`, relative
    ("rel") or absolute ("abs"). After a reduction, `cooldown` calls are not counted. The rate stays at least
    `min_lr`, and changes smaller than `eps` are not made. Semantics: PyTorch's.

    >>> import graphc as gc
    >>> lr = gc.shared(0.1, name="lr")
    >>> plateau = ReduceLROnPlateau(lr, patience=1)
    >>> [plateau.step(metric) for metric in (1.0, 1.0, 1.0)]
    [False, False, True]
    >>> lr.get_value()
    array(0.01)
    """

    lr: Shared
    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 1e-8
    _states: dict[str, Shared] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        what = type(self).__name__
        if not isinstance(self.lr, Shared) or self.lr.shape != () or self.lr.dtype.kind != "f":
            raise ArgumentError(f"{what}: lr must be a 0-d float shared node, got {self.lr!r}{at()}")
        self.check()
        if self.mode not in ("min", "max") or self.threshold_mode not in ("rel", "abs"):
            raise ArgumentError(
                f'{what}: mode must be "min" or "max", threshold_mode "rel" or "abs", got {self.mode!r} and'
                f" {self.threshold_mode!r}{at()}"
            )
        worst = math.inf if self.mode == "min" else -math.inf
        self._states = {
            "best": shared(worst, name="best"),
            "bad_calls": shared(np.int64(0), name="bad_calls"),
            "cooling": shared(np.int64(0), name="cooling"),
        }

    def step(self, metric: Any) -> bool:
        """Take the metric's next value, and tell whether the rate was reduced."""
        value = float(number("ReduceLROnPlateau: metric", metric))
        bad, cooling = int(self._states["bad_calls"].get_value()), int(self._states["cooling"].get_value())
        if self._improves(value, float(self._states["best"].get_value())):
            self._states["best"].set_value(value)
            bad = 0
        else:
            bad += 1
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        waited = bad > self.patience
        if waited:
            cooling, bad = self.cooldown, 0
        self._states["bad_calls"].set_value(bad)
        self._states["cooling"].set_value(cooling)
        return waited and self._reduce()

    def _improves(self, value: float, best: float) -> bool:
        sign = 1.0 if self.mode == "min" else -1.0
        if self.threshold_mode == "abs":
            return sign * value < sign * best - self.threshold
        return sign * value < sign * best * (1 - sign * self.threshold)

    def _reduce(self) -> bool:
        before = float(self.lr.get_value())
        after = max(before * self.factor, self.min_lr)
        if not before - after > self.eps:
            return False
        self.lr.set_value(after)
        return True

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the state by name; the rate itself is the optimiser's state."""
        return {name: state.get_value() for name, state in self._states.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state that `state_dict` returned; raises `ArgumentError` as an optimiser's does."""
        load_states("ReduceLROnPlateau.load_state_dict", self._states, state)
