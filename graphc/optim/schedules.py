"""Learning rates as functions of the step count, in graph form.

A schedule is called with the count of finished steps (0 at the first step) and gives the rate in float64: inside a
compiled step the count is state, and no Python runs. Names and formulas are PyTorch's, in closed form, so a run may
resume at any count; beyond its last step a schedule keeps its last value. Any function of a node does as well:
`Adam(lambda count: 0.1 / gc.sqrt(1 + count))`.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from graphc.graph.arguments import entries, shown, whole
from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node
from graphc.graph.types import FLOAT64, Array
from graphc.ops import astype, clip, cos, floor, greater_equal, less, log, maximum, minimum, pow, where
from graphc.ops.pointwise import as_node
from graphc.optim.settings import Settings


@dataclass(eq=False, repr=False)
class Schedule(Settings, ABC):
    """A learning rate as a function of the count of finished steps."""

    def __post_init__(self) -> None:
        self.check()

    def __call__(self, count: Any) -> Node:
        """Return the rate, float64, for a count or an array of counts."""
        return self.rate(astype(as_node(count), FLOAT64))

    @abstractmethod
    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""

    def values(self, steps: int) -> Array:
        """Return the rates of the first `steps` steps, for a plot.

        >>> StepLR(1.0, step_size=2, gamma=0.5).values(5)
        array([1.  , 1.  , 0.5 , 0.5 , 0.25])
        """
        return self(np.arange(whole("values: steps", steps, 0, 1 << 31))).eval()


@dataclass(eq=False, repr=False)
class ConstantLR(Schedule):
    """The same rate at every step."""

    lr: float | Node

    def rate(self, count: Node) -> Node:
        """Return lr."""
        return count * 0.0 + self.lr


@dataclass(eq=False, repr=False)
class StepLR(Schedule):
    """lr gamma**floor(count / step_size)."""

    lr: float | Node
    step_size: int
    gamma: float | Node = 0.1

    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""
        return self.lr * pow(self.gamma, floor(count / self.step_size))


@dataclass(eq=False, repr=False)
class MultiStepLR(Schedule):
    """lr gamma**(the number of milestones at or before count)."""

    lr: float | Node
    milestones: tuple[int, ...]
    gamma: float | Node = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_milestones("MultiStepLR", self.milestones)

    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""
        rate = count * 0.0 + self.lr
        for milestone in self.milestones:
            rate = where(greater_equal(count, float(milestone)), rate * self.gamma, rate)
        return rate


@dataclass(eq=False, repr=False)
class ExponentialLR(Schedule):
    """lr gamma**count."""

    lr: float | Node
    gamma: float | Node

    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""
        return self.lr * pow(self.gamma, count)


@dataclass(eq=False, repr=False)
class LinearLR(Schedule):
    """lr times a factor that goes from `start_factor` to `end_factor` in `total_iters` steps."""

    lr: float | Node
    start_factor: float | Node = 1 / 3
    end_factor: float | Node = 1.0
    total_iters: int = 5

    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""
        done = minimum(count / self.total_iters, 1.0)
        return self.lr * (self.start_factor + (self.end_factor - self.start_factor) * done)


@dataclass(eq=False, repr=False)
class PolynomialLR(Schedule):
    """lr (1 - count / total_iters)**power, then 0."""

    lr: float | Node
    total_iters: int = 5
    power: float | Node = 1.0

    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""
        return self.lr * pow(maximum(1 - count / self.total_iters, 0.0), self.power)


@dataclass(eq=False, repr=False)
class CosineAnnealingLR(Schedule):
    """Half a cosine from lr at count 0 to eta_min at count T_max (Loshchilov & Hutter 2017, arXiv:1608.03983)."""

    lr: float | Node
    T_max: int
    eta_min: float | Node = 0.0

    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""
        return _cosine(self.lr, self.eta_min, minimum(count / self.T_max, 1.0))


@dataclass(eq=False, repr=False)
class CosineAnnealingWarmRestarts(Schedule):
    """Half cosines from lr to eta_min that start again: the i-th takes T_0 T_mult**i steps (arXiv:1608.03983)."""

    lr: float | Node
    T_0: int
    T_mult: int = 1
    eta_min: float | Node = 0.0

    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""
        if self.T_mult == 1:
            start, length = floor(count / self.T_0) * self.T_0, as_node(float(self.T_0))
        else:
            cycle = self._cycle(count)
            start, length = self._start(cycle), self.T_0 * pow(float(self.T_mult), cycle)
        return _cosine(self.lr, self.eta_min, (count - start) / length)

    def _start(self, cycle: Node) -> Node:
        return self.T_0 * (pow(float(self.T_mult), cycle) - 1) / (self.T_mult - 1)

    def _cycle(self, count: Node) -> Node:
        """Return the number of the cycle; the logarithm may be one off at a restart, the comparisons are not."""
        guess = floor(log(count * ((self.T_mult - 1) / self.T_0) + 1) / math.log(self.T_mult))
        guess = where(less(count, self._start(guess)), guess - 1, guess)
        return where(greater_equal(count, self._start(guess + 1)), guess + 1, guess)


@dataclass(eq=False, repr=False)
class OneCycleLR(Schedule):
    """Up from max_lr / div_factor to max_lr in the first `pct_start` of the steps, then down to nearly 0.

    The last rate is max_lr / div_factor / final_div_factor. `anneal_strategy`: "cos" or "linear". Source: Smith &
    Topin 2018 (arXiv:1708.07120), in PyTorch's two phases.
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                f'OneCycleLR: anneal_strategy must be "cos" or "linear", got {self.anneal_strategy!r}{at()}'
            )

    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""
        anneal = _cosine if self.anneal_strategy == "cos" else _line
        first = self.max_lr / self.div_factor
        top, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        up = anneal(first, self.max_lr, clip(count / top, 0.0, 1.0)) if top > 0 else as_node(self.max_lr)
        down = anneal(self.max_lr, first / self.final_div_factor, clip((count - top) / (end - top), 0.0, 1.0))
        return where(less(count, top), up, down)


def _cosine(start: float | Node, end: float | Node, done: Node) -> Node:
    """Go from start (done = 0) to end (done = 1) along half a cosine."""
    return end + (start - end) * ((1 + cos(done * math.pi)) / 2)


def _line(start: float, end: float, done: Node) -> Node:
    return start + (end - start) * done


@dataclass(eq=False, repr=False)
class WarmupLR(Schedule):
    """A straight line from start_factor times the first rate of `after`, over `steps` steps; then `after`.

    `after` counts from the end of the warm-up. Source: Goyal et al. 2017 (arXiv:1706.02677).

    >>> WarmupLR(CosineAnnealingLR(1.0, T_max=2), steps=2).values(5)
    array([0. , 0.5, 1. , 0.5, 0. ])
    """

    after: Schedule
    steps: int
    start_factor: float | Node = 0.0

    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""
        factor = self.start_factor + (1 - self.start_factor) * minimum(count / self.steps, 1.0)
        return factor * self.after.rate(maximum(count - self.steps, 0.0))


@dataclass(eq=False, repr=False)
class SequentialLR(Schedule):
    """Schedules one after another: `schedules[i + 1]` starts, and counts, from count `milestones[i]`."""

    schedules: Sequence[Schedule]
    milestones: Sequence[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_milestones("SequentialLR", self.milestones)
        if not isinstance(self.schedules, (list, tuple)) or not all(isinstance(s, Schedule) for s in self.schedules):
            raise ArgumentError(
                f"SequentialLR: schedules must be a list of schedules, got {shown(self.schedules)}{at()}"
            )
        if len(self.schedules) != len(self.milestones) + 1:
            raise ArgumentError(
                f"SequentialLR: {len(self.schedules)} schedules need {len(self.schedules) - 1} milestones,"
                f" got {len(self.milestones)}{at()}"
            )

    def rate(self, count: Node) -> Node:
        """Return the rate for a float64 count."""
        rate = self.schedules[0].rate(count)
        for schedule, start in zip(self.schedules[1:], self.milestones, strict=True):
            later = schedule.rate(maximum(count - start, 0.0))
            rate = where(less(count, float(start)), rate, later)
        return rate


def _check_milestones(what: str, milestones: Sequence[int]) -> None:
    if not isinstance(milestones, (list, tuple, range)) and np.ndim(milestones) != 1:
        raise ArgumentError(f"{what}: milestones must be a sequence of ints, got {shown(milestones)}{at()}")
    counts = [whole(f"{what}: a milestone", m) for m in entries(milestones)]
    rising = all(a < b for a, b in itertools.pairwise(counts))
    if not rising or any(m < 1 for m in counts):
        raise ArgumentError(f"{what}: milestones must be positive and rising, got {shown(milestones)}{at()}")
