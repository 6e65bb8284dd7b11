"""Schedules against their definitions step by step, inside programs and out; the plateau; refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.optim import (
    SGD,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    Schedule,
    SequentialLR,
    StepLR,
    WarmupLR,
)


def cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def restarts(t: int, first: int, factor: int) -> float:
    """Return the fraction of the cycle that count t falls into, by walking through the cycles."""
    length = first
    while t >= length:
        t, length = t - length, length * factor
    return t / length


def one_cycle(t: int) -> float:
    if t <= 5:
        return cosine(0.02, 0.5, t / 5)
    return cosine(0.5, 0.02 / 1e4, min(1.0, (t - 5) / 14))


SCHEDULES: dict[str, tuple[Schedule, Callable[[int], float]]] = {
    "constant": (ConstantLR(0.5), lambda t: 0.5),
    "step": (StepLR(0.5, 3, 0.7), lambda t: 0.5 * 0.7 ** (t // 3)),
    "multistep": (MultiStepLR(0.5, (2, 5, 11), 0.3), lambda t: 0.5 * 0.3 ** ((t >= 2) + (t >= 5) + (t >= 11))),
    "exponential": (ExponentialLR(0.5, 0.9), lambda t: 0.5 * 0.9**t),
    "linear": (LinearLR(0.5, 0.2, 0.9, 7), lambda t: 0.5 * (0.2 + 0.7 * min(t, 7) / 7)),
    "polynomial": (PolynomialLR(0.5, 9, 2.0), lambda t: 0.5 * (1 - min(t, 9) / 9) ** 2),
    "cosine": (CosineAnnealingLR(0.5, 12, 0.01), lambda t: cosine(0.5, 0.01, min(t, 12) / 12)),
    "restarts": (CosineAnnealingWarmRestarts(0.5, 5, eta_min=0.1), lambda t: cosine(0.5, 0.1, restarts(t, 5, 1))),
    "restarts-2": (CosineAnnealingWarmRestarts(0.5, 3, 2), lambda t: cosine(0.5, 0.0, restarts(t, 3, 2))),
    "restarts-3": (CosineAnnealingWarmRestarts(0.5, 1, 3), lambda t: cosine(0.5, 0.0, restarts(t, 1, 3))),
    "one-cycle": (OneCycleLR(0.5, 20), one_cycle),
    "one-cycle-linear": (
        OneCycleLR(0.5, 20, 0.3, "linear", 5.0, 10.0),
        lambda t: 0.1 + 0.4 * t / 5 if t <= 5 else 0.5 - 0.49 * min(1, (t - 5) / 14),
    ),
    "one-cycle-without-rise": (
        OneCycleLR(0.5, 5, pct_start=0.2, anneal_strategy="linear", div_factor=2, final_div_factor=5),
        lambda t: 0.5 - 0.45 * min(t, 4) / 4,
    ),
    "warm-up": (
        WarmupLR(ExponentialLR(0.5, 0.9), 4, 0.1),
        lambda t: 0.5 * (0.1 + 0.9 * t / 4) if t < 4 else 0.5 * 0.9 ** (t - 4),
    ),
    "chain": (
        SequentialLR([LinearLR(0.5, 0.1, 1.0, 4), ConstantLR(0.5), StepLR(0.5, 2, 0.5)], [4, 6]),
        lambda t: 0.5 * (0.1 + 0.9 * t / 4) if t < 4 else 0.5 if t < 6 else 0.5 * 0.5 ** ((t - 6) // 2),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_follow_the_definition(name: str) -> None:
    schedule, expected = SCHEDULES[name]
    values = schedule.values(30)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, [expected(t) for t in range(30)], rtol=1e-13, atol=1e-17)


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_count_gives_one_rate(name: str) -> None:
    schedule, expected = SCHEDULES[name]
    count = gc.placeholder("count", dtype="int64")
    rate = schedule(count)
    assert rate.shape == () and rate.dtype == np.float64
    assert rate.eval({count: 7}) == pytest.approx(expected(7), rel=1e-13)


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_restarts_are_exact_at_every_restart(factor: int) -> None:
    # The number of the cycle comes from a logarithm, which may round to either side of a restart.
    schedule = CosineAnnealingWarmRestarts(1.0, 10, factor)
    starts = np.cumsum([0] + [10 * factor**i for i in range(12)])
    np.testing.assert_array_equal(schedule(starts).eval(), 1.0)
    assert (schedule(starts[1:] - 1).eval() < 0.1).all()


@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_a_schedule_runs_inside_the_step_from_its_first_rate(mode: Any) -> None:
    w = gc.shared(np.zeros(1, "float32"), name="w")
    optimizer = SGD(WarmupLR(StepLR(1.0, 2, 0.5), 2))
    step = gc.function([], [], updates=optimizer.updates(gc.sum(w), w), mode=mode)
    positions = [step() or w.get_value()[0] for _ in range(7)]
    np.testing.assert_array_equal(-np.diff([0.0, *positions]), [0.0, 0.5, 1.0, 1.0, 0.5, 0.5, 0.25])
    assert optimizer.state_dict() == {"step": 7}
    optimizer.load_state_dict({"step": np.int64(3)})
    step()
    assert w.get_value()[0] == positions[-1] - 1.0


# -- plateau


def rates(metrics: list[float], **settings: Any) -> list[float]:
    lr = gc.shared(1.0, name="lr")
    plateau = ReduceLROnPlateau(lr, **settings)
    out = []
    for metric in metrics:
        before = float(lr.get_value())
        reduced = plateau.step(metric)
        out.append(float(lr.get_value()))
        assert reduced == (out[-1] != before)
    return out


def test_a_plateau_reduces_after_patience_and_cools_down() -> None:
    assert rates([5, 4, 4, 4, 4, 3, 3, 3], factor=0.5, patience=1) == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
    assert rates([1] * 8, factor=0.5, patience=1, cooldown=2) == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates([1] * 5, factor=0.5, patience=0, min_lr=0.3) == [1, 0.5, 0.3, 0.3, 0.3]
    assert rates([math.nan] * 3, factor=0.5, patience=1) == [1, 0.5, 0.5]


def test_a_plateau_has_directions_and_thresholds() -> None:
    assert rates([1, 2, 3, 3], mode="max", factor=0.5, patience=0) == [1, 1, 1, 0.5]
    assert rates([100, 95, 89], factor=0.5, patience=0, threshold=0.1) == [1, 0.5, 0.5]
    assert rates([100, 95, 89], factor=0.5, patience=0, threshold=6, threshold_mode="abs") == [1, 0.5, 0.5]
    assert rates([100, 105, 111], mode="max", factor=0.5, patience=0, threshold=0.1) == [1, 0.5, 0.5]
    assert rates([-1, -2], mode="max", factor=0.5, patience=0, threshold=6, threshold_mode="abs") == [1, 0.5]


def test_a_plateau_drives_an_optimiser_and_resumes() -> None:
    lr, w = gc.shared(np.float32(1.0), name="lr"), gc.shared(0.0, name="w")
    step = gc.function([], w, updates=SGD(lr).updates(w, w), mode="reference")
    plateau = ReduceLROnPlateau(lr, factor=0.5, patience=1)
    for metric in (1.0, 1.0):
        step()
        assert not plateau.step(metric)
    resumed = ReduceLROnPlateau(lr, factor=0.5, patience=1)
    resumed.load_state_dict(plateau.state_dict())
    assert resumed.step(1.0)
    step()
    assert w.get_value() == -2.5
    with pytest.raises(gc.ArgumentError, match=r"load_state_dict: 'best' is missing; .*'bad_calls'"):
        resumed.load_state_dict({})


# -- refusals

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "rate": (lambda: StepLR(-1.0, 2), r"StepLR: lr must be in \[0, inf\), got -1.0"),
    "size": (lambda: StepLR(1.0, 0), "StepLR: step_size must be an int, at least 1, got 0"),
    "fraction": (lambda: CosineAnnealingLR(1.0, 2.5), "T_max must be an int"),  # type: ignore[arg-type]
    "order": (lambda: MultiStepLR(1.0, (3, 2)), r"milestones must be positive and rising, got \(3, 2\)"),
    "zero": (lambda: MultiStepLR(1.0, (0, 2)), "milestones must be positive and rising"),
    "chain": (lambda: SequentialLR([ConstantLR(1.0)], [2]), "1 schedules need 0 milestones, got 1"),
    "strategy": (lambda: OneCycleLR(1.0, 5, anneal_strategy="up"), '"cos" or "linear"'),  # type: ignore[arg-type]
    "part": (lambda: OneCycleLR(1.0, 5, pct_start=1.5), r"pct_start must be in \[0, 1\)"),
    "not shared": (lambda: ReduceLROnPlateau(0.1), "lr must be a 0-d float shared node, got 0.1"),  # type: ignore[arg-type]
    "vector": (lambda: ReduceLROnPlateau(gc.shared([0.1])), "lr must be a 0-d float shared node"),
    "mode": (lambda: ReduceLROnPlateau(gc.shared(0.1), mode="up"), 'mode must be "min" or "max"'),  # type: ignore[arg-type]
    "factor": (lambda: ReduceLROnPlateau(gc.shared(0.1), factor=1.0), r"factor must be in \[0, 1\)"),
    "patience": (lambda: ReduceLROnPlateau(gc.shared(0.1), patience=-1), "patience must be an int, at least 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_cause_and_the_line(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(gc.ArgumentError, match=rf"(?s){message}.*\[test_optim_schedules\.py:\d+\]$"):
        build()


def test_schedules_show_their_settings() -> None:
    assert repr(WarmupLR(ConstantLR(0.1), 5)) == "WarmupLR(after=ConstantLR(lr=0.1), steps=5, start_factor=0.0)"
