"""What a batch counts for in the means of `fit` and `metrics.average`: by names, by sizes, as told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array

RNG = np.random.default_rng(0)
SIZES = (4, 4, 3)
TIME = RNG.normal(size=(5, 11, 2))
Y = RNG.normal(size=11)


def cut(array: Array, axis: int = 0) -> list[Array]:
    return np.split(array, np.cumsum(SIZES)[:-1], axis)


def weighed(values: list[float], weights: Any = SIZES) -> float:
    return float(np.average(values, weights=weights))


def both(step: Callable[..., Any], batches: list[Any], **options: Any) -> float:
    """Return the mean that `fit` and `average` agree on."""
    (loss,) = gc.fit(step, batches, 1, progress=False, **options)["loss"]
    assert gc.metrics.average(step, batches, **options) == loss
    return loss


def time_major(shape_y: Any, types: Any = ("time", "batch", 2)) -> gc.Function:
    x, y = gc.placeholder("x", shape=types), gc.placeholder("y", shape=shape_y)
    return gc.function([x, y], gc.mean((gc.sum(gc.mean(x, axis=0), axis=-1) - y) ** 2), mode="reference")


def loss(x: Array, y: Array) -> float:
    return float(np.mean((x.mean(axis=0).sum(axis=-1) - y) ** 2))


def test_a_named_dimension_counts_on_any_axis() -> None:
    pairs = list(zip(cut(TIME, 1), cut(Y), strict=True))
    expected = weighed([loss(x, y) for x, y in pairs])
    assert both(time_major(("batch",)), pairs) == pytest.approx(expected, rel=1e-14)
    assert both(time_major(("batch",)), [{"y": y, "x": x} for x, y in pairs]) == pytest.approx(expected, rel=1e-14)
    assert both(time_major(("batch",)), [(x.tolist(), y.tolist()) for x, y in pairs]) == pytest.approx(expected)
    assert both(loss, pairs) == pytest.approx(expected, rel=1e-14)  # by sizes: 4 or 3 is what both have


def test_scalars_and_weights_before_the_rows_do_not_count() -> None:
    rate, x, classes = gc.placeholder("rate"), gc.placeholder("x", shape=("n", 2)), gc.placeholder("c", shape=(2,))
    step = gc.function({"rate": rate, "classes": classes, "x": x}, rate * gc.mean(x @ classes), mode="reference")
    batches = [{"rate": 2.0, "classes": np.ones(2), "x": part} for part in cut(TIME[0])]
    expected = weighed([4 * part.mean() for part in cut(TIME[0])])
    assert both(step, batches) == pytest.approx(expected, rel=1e-14)

    def plain(rate: float, classes: Array, x: Array) -> float:
        return float(rate * np.mean(x @ classes))

    expected_plain = weighed([4 * part.mean() for part in cut(TIME[0])], (1, 1, 1))  # 2 and 4: no size is common
    assert both(plain, batches) == pytest.approx(expected_plain, rel=1e-14)
    assert both(plain, batches, rows=lambda batch: len(batch["x"])) == pytest.approx(expected, rel=1e-14)


def test_several_shared_dimensions_count_together() -> None:
    x, y = (gc.placeholder(name, shape=("time", "batch")) for name in "xy")
    step = gc.function([x, y], gc.mean(x * y), mode="reference")
    parts = [TIME[:n, :, 0] for n in (5, 2, 4)]
    expected = weighed([float(np.mean(p * p)) for p in parts], (5, 2, 4))
    assert both(step, [(p, p) for p in parts]) == pytest.approx(expected, rel=1e-14)


def test_rows_as_told() -> None:
    parts = cut(Y)
    assert both(np.mean, parts, rows=lambda y: 1) == pytest.approx(np.mean([p.mean() for p in parts]))
    with pytest.raises(gc.ArgumentError, match="fit: rows must be callable, got int"):
        gc.fit(np.mean, parts, 1, rows=3, progress=False)  # type: ignore[arg-type]
    refused: list[Any] = [lambda y: y, lambda y: -1, lambda y: float("nan"), lambda y: None]
    for wrong in refused:
        with pytest.raises(gc.ArgumentError, match="average: rows must return a number of at least 0"):
            gc.metrics.average(np.mean, parts, rows=wrong)
