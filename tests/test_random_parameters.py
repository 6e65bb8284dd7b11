"""Parameters of draws given as nodes: outside their range the draw is NaN, -1 or False; inside, that of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

NAN, INF = float("nan"), float("inf")
Draw = Callable[..., Any]
Row = tuple[Draw, dict[str, Any], list[dict[str, Any]]]
FLOATS: dict[str, Row] = {
    "uniform": (
        gc.random.Generator.uniform,
        {"low": 1.0, "high": 2.0},
        [{"low": 3.0}, {"high": NAN}, {"low": 2.0}],
    ),
    "normal": (gc.random.Generator.normal, {"mean": 1.0, "std": 2.0}, [{"std": -1.0}, {"std": 0.0}, {"std": NAN}]),
    "lognormal": (gc.random.Generator.lognormal, {"mean": 0.0, "std": 2.0}, [{"std": -1.0}, {"std": NAN}]),
    "exponential": (gc.random.Generator.exponential, {"scale": 2.0}, [{"scale": -1.0}, {"scale": 0.0}]),
    "gumbel": (gc.random.Generator.gumbel, {"loc": 1.0, "scale": 2.0}, [{"scale": -1.0}, {"scale": NAN}]),
    "logistic": (gc.random.Generator.logistic, {"loc": 1.0, "scale": 2.0}, [{"scale": -1.0}, {"scale": NAN}]),
    "laplace": (gc.random.Generator.laplace, {"loc": 1.0, "scale": 2.0}, [{"scale": -1.0}, {"scale": NAN}]),
    "cauchy": (gc.random.Generator.cauchy, {"loc": 1.0, "scale": 2.0}, [{"scale": -1.0}, {"scale": NAN}]),
    "weibull": (gc.random.Generator.weibull, {"a": 2.0, "scale": 2.0}, [{"a": -1.0}, {"scale": -1.0}, {"a": 0.0}]),
    "pareto": (gc.random.Generator.pareto, {"a": 2.0, "scale": 2.0}, [{"a": -1.0}, {"scale": -1.0}, {"a": 0.0}]),
    "truncated_normal": (
        gc.random.Generator.truncated_normal,
        {"low": -1.0, "high": 2.0, "mean": 0.0, "std": 1.5},
        [{"std": -1.0}, {"low": 3.0}, {"low": 2.0}, {"high": NAN}, {"std": 0.0}],
    ),
    "gamma": (gc.random.Generator.gamma, {"a": 2.0, "scale": 2.0}, [{"a": -1.0}, {"scale": -1.0}, {"a": 0.0}]),
    "beta": (gc.random.Generator.beta, {"a": 2.0, "b": 2.0}, [{"a": -1.0}, {"b": 0.0}, {"b": NAN}]),
    "chi2": (gc.random.Generator.chi2, {"df": 3.0}, [{"df": -1.0}, {"df": 0.0}]),
    "student_t": (
        gc.random.Generator.student_t,
        {"df": 3.0, "loc": 1.0, "scale": 2.0},
        [{"df": 0.0}, {"scale": -1.0}, {"scale": 0.0}],
    ),
    "vonmises": (gc.random.Generator.vonmises, {"mu": 1.0, "kappa": 2.0}, [{"kappa": -1.0}, {"kappa": NAN}]),
}
OTHERS: dict[str, Row] = {
    "bernoulli": (gc.random.Generator.bernoulli, {"p": 0.999}, [{"p": 2.0}, {"p": -1.0}, {"p": NAN}]),
    "poisson": (gc.random.Generator.poisson, {"lam": 2.0}, [{"lam": -1.0}, {"lam": NAN}]),
    "geometric": (gc.random.Generator.geometric, {"p": 0.5}, [{"p": 0.0}, {"p": 1.5}, {"p": NAN}]),
    "negative_binomial": (
        gc.random.Generator.negative_binomial,
        {"n": 2.0, "p": 0.5},
        [{"n": 0.0}, {"n": 1e-5, "p": 1.5}, {"p": 0.0}, {"p": NAN}],
    ),
    "binomial": (gc.random.Generator.binomial, {"n": 5, "p": 0.5}, [{"n": -1}, {"p": 1.5}, {"p": NAN}]),
    "randint": (
        lambda rng, shape, low, high: rng.randint(shape, low, high),
        {"low": 2, "high": 9},
        [{"low": 9}, {"high": -5}],
    ),
}


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("name", [*FLOATS, *OTHERS])
def test_elementwise_parameters(name: str, mode: Any) -> None:
    """One program with a parameter set an element: the good ones first and last, every bad one between."""
    method, good, bad = (FLOATS | OTHERS)[name]
    rows = [good, *(good | b for b in bad), good]
    columns = {k: np.array([row[k] for row in rows]) for k in good}
    nodes = {k: gc.placeholder(k, shape=v.shape, dtype=v.dtype) for k, v in columns.items()}
    shape = (len(rows),)
    found = gc.function(list(nodes.values()), method(gc.random.Generator(3), shape, **nodes), mode=mode)
    draws = found(*columns.values())
    known = gc.function([], method(gc.random.Generator(3), shape, **good), mode=mode)()
    missing = {"f": NAN, "i": -1, "b": False}[draws.dtype.kind]
    np.testing.assert_array_equal(draws[1:-1], np.full(len(bad), missing))
    np.testing.assert_allclose(draws[[0, -1]], known[[0, -1]], rtol=1e-14)
    for row in bad:
        with pytest.raises(gc.GraphcError):
            method(gc.random.Generator(3), (2,), **(good | row))


def vector(values: list[float], mode: Any, draw: Callable[[Any, Any], Any]) -> Any:
    p = gc.placeholder("p", shape=(len(values),))
    return gc.function([p], draw(gc.random.Generator(5), p), mode=mode)(np.array(values))


@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_weights(mode: Any) -> None:
    for bad in ([NAN, 0.5, 0.5], [-1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [INF, 1.0, 1.0]):
        assert vector(bad, mode, lambda rng, p: rng.choice(3, (4,), p=p)).tolist() == [-1] * 4
        assert vector(bad, mode, lambda rng, p: rng.choice(3, (2,), replace=False, p=p)).tolist() == [-1] * 2
        assert vector(bad, mode, lambda rng, p: rng.multinomial(7, p)).tolist() == [-1] * 3
        assert np.isnan(vector(bad, mode, lambda rng, p: rng.choice([1.0, 2.0, 3.0], (4,), p=p))).all()
        with pytest.raises(gc.IndexOutOfBoundsError):
            vector(bad, mode, lambda rng, p: rng.choice(np.array([1, 2, 3], np.uint8), (4,), p=p))
        rng = gc.random.Generator(0)
        for name, args, keywords in (("choice", (3, (4,)), {"p": bad}), ("multinomial", (7, bad), {})):
            with pytest.raises(gc.ArgumentError, match=r"must be >= 0|positive, finite sum"):
                getattr(rng, name)(*args, **keywords)
    assert set(vector([0.0, 2.0, 0.0], mode, lambda rng, p: rng.choice(3, (9,), p=p)).tolist()) == {1}
    assert vector([0.2, 0.3, 0.5], mode, lambda rng, p: rng.multinomial(7, p)).sum() == 7
    for bad in ([NAN, 1.0], [-INF, -INF], [NAN, NAN]):
        assert vector(bad, mode, lambda rng, p: rng.categorical(p)).item() == -1
    assert vector([-INF, 0.0], mode, lambda rng, p: rng.categorical(p)).item() == 1


@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_values_of_probability_0_are_never_chosen(mode: Any) -> None:
    for _ in range(5):
        drawn = vector([0.0, 0.4, 0.0, 0.6], mode, lambda rng, p: rng.choice(4, (3,), replace=False, p=p))
        assert set(drawn[:2].tolist()) == {1, 3} and drawn[2] == -1
    with pytest.raises(gc.ArgumentError, match=r"choice: 2 values are needed, p is above 0 for 1"):
        gc.random.Generator(0).choice(3, (2,), replace=False, p=[1.0, 0.0, 0.0])
    chosen = gc.random.Generator(0).choice(3, (2,), replace=False, p=[0.5, 0.5, 0.0]).eval()
    assert set(chosen.tolist()) == {0, 1}
