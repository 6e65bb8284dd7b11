"""Samplers of gc.random that accept or reject: bits in every mode, distributions over all their ranges, order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats

import graphc as gc
from graphc.graph.types import Array
from graphc.ops.random_parameters import float_node, integer_node
from graphc.ops.random_table import FORMULAS
from graphc.random import Generator

S = scipy.stats
MILLION = 1_000_000
INF = float("inf")
NAN = float("nan")

# Parameters through every branch of each sampler, and outside its range.
SHAPES = [1e-300, 0.01, 0.5, 0.999, 1.0, 1.5, 20.0, 1e6, 1e8, 1e12, 0.0, -1.0, NAN, INF]
RANGES: dict[str, list[Any]] = {
    "gamma": [SHAPES],
    "loggamma": [SHAPES],
    "truncated": [
        [-1.0, -INF, 0.0, 0.2, 3.0, 8.0, -9.0, 2.0, -1.0, 1e9, 40.0, -INF, 1.0, 2.0, NAN],
        [1.0, INF, 0.5, 5.0, INF, 9.0, -8.0, 2.0001, 9.0, INF, 40.5, -30.0, 1.0, 1.0, 3.0],
    ],
    "vonmises": [[0.0, 1e-9, 0.3, 2.0, 50.0, 1e6, 1e12, -1.0, NAN]],
    "geometric": [[1.0, 0.9, 0.2, 1e-5, 1e-18, 1e-300, 0.0, 1.5, NAN]],
    "poisson": [[0.0, 0.01, 3.0, 9.99, 10.0, 40.0, 1e4, 1e10, 1e18, 1e25, -1.0, NAN, INF]],
    "binomial": [
        [0, 1, 15, 15, 25, 100, 1000, 1000, 10**6, 10**12, 10**18, 5, 5, 5, -3],
        [0.5, 0.3, 0.2, 0.9, 0.5, 0.05, 0.3, 0.8, 0.5, 1e-11, 0.25, 1.5, NAN, -0.1, 0.5],
    ],
}
COPIES = 40


def sampled(name: str, rng: Generator, repeats: int = COPIES) -> gc.Node:
    """Draw from a sampler at each of its parameters `repeats` times."""
    kinds = FORMULAS[f"random_{name}"].operands[4:]
    make = {"f64": float_node, "i64": integer_node}
    given = [make[k](name, "parameter", np.array(v)) for k, v in zip(kinds, RANGES[name], strict=True)]
    return rng._take((repeats, len(RANGES[name][0]))).sample(name, *given)


def bits(x: Array) -> bytes:
    """Return the bytes of an array, little-endian, with one form of NaN."""
    return np.where(x == x, x, 0).astype(x.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize("name", RANGES)
def test_every_mode_has_the_same_bits(name: str) -> None:
    rng = Generator(17)
    node = sampled(name, rng)
    expected = node.eval()
    for options in ({}, {"precision": "libm"}, {"threads": 2}, {"mode": "debug"}):
        f = gc.function([], sampled(name, Generator(17), 2) if "mode" in options else node, **options)
        rng.set_state(gc.random.GeneratorState(17, 0, 0))
        found = f()
        assert found.dtype == expected.dtype and bits(found) == bits(expected[: len(found)]), options


@pytest.mark.parametrize("name", RANGES)
def test_parameters_outside_the_range_give_nan_or_minus_one(name: str) -> None:
    draws = sampled(name, Generator(17)).eval()
    least = {"gamma": (0, -1, NAN, INF), "loggamma": (0, -1, NAN, INF), "vonmises": (-1, NAN), "truncated": (3, 2, NAN)}
    wrong = len(least.get(name, (0, 0, 0) if name != "binomial" else (0,) * 4))
    bad = np.isnan(draws) if draws.dtype.kind == "f" else draws == -1
    expected = np.arange(draws.shape[1]) >= draws.shape[1] - wrong
    np.testing.assert_array_equal(bad, np.broadcast_to(expected, draws.shape))


# SHA-256 of 200 draws at each of the parameters: the promise to other machines and later versions.
DIGESTS = {
    "gamma": "849371d6f1b58a8b50c3a09ffd541920475505b6c4ac685305d7396ea06093ac",
    "loggamma": "13562655129620036dda39bd5e01cd72f8fd2dc1e1047ca01f7d18b04f495f41",
    "truncated": "9214b69c4f2069d0e270ee1ca73276a63ef055aab75ac80cf9d96e2ba5bdd0e1",
    "vonmises": "c1452606ee667dac61013d2796eb22313a98998d41cc372f77088815d04db846",
    "geometric": "c50766c071a7dc889164d6571f71463ebc34beb3d6562be91567934f2883e400",
    "poisson": "e0846246bb195ef6306a3dc4e07096abe5ef997de3d0e93f6306173b39bd6fe9",
    "binomial": "fb6a34f5bc9edfcae15f82f28fe881dbb79b2a9407ff67f01f0214359affc93b",
}


@pytest.mark.parametrize("name", RANGES)
def test_the_same_bits_on_every_machine(name: str) -> None:
    found = gc.function([], sampled(name, Generator(23), 200))()
    assert hashlib.sha256(bits(found)).hexdigest() == DIGESTS[name]


def test_a_stream_can_be_cut_anywhere() -> None:
    rng = Generator(9)
    x = gc.placeholder("x", shape=("n",))
    p = gc.placeholder("p", shape=(3,))
    builds: list[Callable[[Any], gc.Node]] = [
        lambda n: rng.beta(n, a=0.4, b=3.0),
        lambda n: rng.student_t(n, df=3.0),
        lambda n: rng.negative_binomial(n, n=2.0, p=0.3),
        lambda n: rng.dirichlet(p, n),
        lambda n: rng.multinomial(50, p, n),
    ]
    for build in builds:
        f = gc.function([x, p], build(x.shape), on_unused="ignore")
        rng.set_state(gc.random.GeneratorState(9, 0, 0))
        chances = np.array([0.2, 0.3, 0.5])
        whole = f(np.zeros(50), chances)
        rng.set_state(gc.random.GeneratorState(9, 0, 0))
        parts = [f(np.zeros(k), chances) for k in (1, 7, 0, 42)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-13)


def test_single_precision_is_double_precision_rounded() -> None:
    builds: list[Callable[[Generator, str], gc.Node]] = [
        lambda r, d: r.gamma((500,), a=0.75, dtype=d),
        lambda r, d: r.chi2((500,), df=3.0, dtype=d),
        lambda r, d: r.beta((500,), a=0.5, b=2.0, dtype=d),
        lambda r, d: r.vonmises((500,), kappa=2.0, dtype=d),
        lambda r, d: r.truncated_normal((500,), low=-0.5, high=3.0, dtype=d),
    ]
    for build in builds:
        wide, narrow = (build(Generator(3), d).eval() for d in ("float64", "float32"))
        assert narrow.dtype == np.float32 and (narrow == wide.astype(np.float32)).all()


# -- distributions


def chi_square(draws: Array, law: Any, bins: int = 200) -> float:
    """Return the p-value of the counts between quantiles, or of the counts of whole numbers near them."""
    cuts = np.unique(law.ppf(np.arange(1, bins) / bins))
    chances = np.diff(np.concatenate([[0.0], law.cdf(cuts), [1.0]]))
    counts = np.bincount(np.searchsorted(cuts, draws, side="left"), minlength=len(cuts) + 1)
    rare = chances * len(draws) < 5  # counted as one cell
    counts, expected = (np.append(x[~rare], x[rare].sum()) for x in (counts, chances * len(draws)))
    if expected[-1] < 5:
        assert counts[-1] < 20
        counts, expected = counts[:-1], expected[:-1]
    return float(S.chisquare(counts, expected, sum_check=False).pvalue)


def assert_follows(draws: Array, law: Any) -> None:
    """Compare with a law of SciPy's: counts between quantiles, mean and variance."""
    draws = draws.astype(np.float64)
    # The p-value falls below 1e-3 in one of 1,000 seeds; the seed is fixed.
    assert chi_square(draws, law) > 1e-3
    mean, variance, kurtosis = (float(v) for v in law.stats("mvk"))
    if np.isfinite(kurtosis):  # else the variance of the variance does not exist
        assert abs(draws.mean() - mean) < 4 * np.sqrt(variance / len(draws))
        assert abs(draws.var() - variance) < 4 * variance * np.sqrt((kurtosis + 2) / len(draws))


class VonMises:
    """SciPy's law, whose quantiles and moments are slow: equal intervals instead of quantiles."""

    def __init__(self, kappa: float) -> None:
        self.cdf = S.vonmises(kappa).cdf

    def ppf(self, chances: Array) -> Array:
        return np.pi * (2 * chances - 1)

    def stats(self, moments: str) -> tuple[float, float, float]:
        return 0.0, INF, NAN


LAWS: dict[str, tuple[Callable[..., gc.Node], Callable[..., Any], list[tuple[Any, ...]]]] = {
    "gamma": (
        lambda r, n, a: r.gamma(n, a=a, scale=2.0),
        lambda a: S.gamma(a, scale=2.0),
        [(0.05,), (0.7,), (1.0,), (3.5,), (1e4,)],
    ),
    "beta": (lambda r, n, a, b: r.beta(n, a=a, b=b), S.beta, [(0.3, 0.6), (2.0, 5.0)]),
    "chi2": (lambda r, n, df: r.chi2(n, df=df), S.chi2, [(3.0,)]),
    "student_t": (lambda r, n, df: r.student_t(n, df=df), S.t, [(2.5,), (8.0,)]),
    "truncated_normal": (
        lambda r, n, a, b: r.truncated_normal(n, low=1 + 2 * a, high=1 + 2 * b, mean=1.0, std=2.0),
        lambda a, b: S.truncnorm(a, b, 1, 2),
        [(-1.0, 2.0), (-1.0, 0.3), (3.0, INF), (-5.0, -4.0), (0.5, 0.6)],
    ),
    "vonmises": (lambda r, n, k: r.vonmises(n, kappa=k), VonMises, [(0.0,), (0.5,), (10.0,)]),
    "geometric": (lambda r, n, p: r.geometric(n, p=p), S.geom, [(0.7,), (0.02,)]),
    "poisson": (lambda r, n, lam: r.poisson(n, lam=lam), S.poisson, [(0.5,), (9.5,), (10.5,), (1000.0,)]),
    "binomial": (
        lambda r, n, k, p: r.binomial(n, n=k, p=p),
        S.binom,
        [(10, 0.3), (40, 0.9), (30, 0.4), (1000, 0.37), (10**7, 3e-7)],
    ),
    "negative_binomial": (lambda r, n, k, p: r.negative_binomial(n, n=k, p=p), S.nbinom, [(2.5, 0.3), (30.0, 0.6)]),
}


@pytest.mark.parametrize("name", LAWS)
def test_distributions(name: str) -> None:
    build, law, settings = LAWS[name]
    count = len(settings[0])
    kinds = [np.asarray(v).dtype for v in settings[0]]
    inputs = [gc.placeholder(f"p{i}", dtype=kinds[i]) for i in range(count)]
    f = gc.function(inputs, build(Generator(2026), (MILLION,), *inputs))
    for values in settings:
        draws = f(*values)
        if name == "vonmises":
            assert (np.abs(draws) <= np.pi).all()
        assert_follows(draws, law(*values))


def test_log_gammas_of_small_shapes() -> None:
    """Their numbers are too small for float64; log(x) a is nearly -1 times a standard exponential."""
    node = Generator(5)._take((100_000,)).sample("loggamma", float_node("", "", 1e-8))
    assert S.kstest(-node.eval() * 1e-8, S.expon.cdf).pvalue > 1e-3
    shares = Generator(5).dirichlet(np.full(4, 1e-6), (1000,)).eval()
    np.testing.assert_allclose(shares.sum(-1), 1.0, rtol=1e-12)
    assert (shares.max(-1) > 0.999).mean() > 0.99


def test_dirichlet_has_beta_marginals() -> None:
    alpha = np.array([0.4, 1.0, 3.0])
    draws = gc.function([], Generator(8).dirichlet(alpha, (300_000,)))()
    np.testing.assert_allclose(draws.sum(-1), 1.0, rtol=1e-12)
    for i in range(3):
        assert_follows(draws[:, i], S.beta(alpha[i], alpha.sum() - alpha[i]))


def test_multivariate_normals() -> None:
    mean, cov = np.array([1.0, -2.0, 0.5]), np.array([[2.0, 0.3, -0.4], [0.3, 1.0, 0.2], [-0.4, 0.2, 0.7]])
    m, c = gc.placeholder("m", shape=("k",)), gc.placeholder("c", shape=("k", "k"))
    draw = Generator(8).multivariate_normal(m, c, (300_000,))
    draws = gc.function([m, c], draw)(mean, cov)
    for i in range(3):
        assert_follows(draws[:, i], S.norm(mean[i], np.sqrt(cov[i, i])))
    np.testing.assert_allclose(np.cov(draws.T), cov, atol=8 / np.sqrt(len(draws)))
    # The quadratic form is chi2, and the derivative of the mean square by the covariance is the identity.
    forms = np.einsum("ni,ij,nj->n", draws - mean, np.linalg.inv(cov), draws - mean)
    assert_follows(forms, S.chi2(3))
    slope = gc.function([m, c], gc.grad(gc.mean(gc.sum((draw - m) ** 2, axis=-1)), c))(mean, cov)
    np.testing.assert_allclose((slope + slope.T) / 2, np.eye(3), atol=0.02)


def test_multivariate_normals_of_a_batch() -> None:
    rng = Generator(8)
    covs = np.stack([np.eye(2), 4 * np.eye(2)])
    whole = rng.multivariate_normal(np.zeros((3, 1, 2)), covs).eval()
    plain = rng.normal((3, 2, 2)).eval()
    np.testing.assert_allclose(whole, plain * [[[1.0], [2.0]]], rtol=1e-14)
    assert str(rng.multivariate_normal(np.zeros(2, "f"), np.eye(2, dtype="f"), (0, 5)).type) == "f32[0,5,2]"
    with pytest.raises(gc.ShapeError, match=r"two of its size, got mean f64\[3\] and cov f64\[2,2\]"):
        rng.multivariate_normal(np.zeros(3), np.eye(2))
    with pytest.raises(gc.ShapeError, match="multivariate_normal: mean needs a last axis and cov two"):
        rng.multivariate_normal(np.zeros(3), np.zeros(3))


def test_multinomial_has_binomial_marginals_and_its_covariance() -> None:
    weights = np.array([2.0, 0.0, 1.0, 4.0, 3.0])
    p = weights / weights.sum()
    draws = gc.function([], Generator(8).multinomial(60, weights, (200_000,)))()
    assert draws.dtype == np.int64 and (draws.sum(-1) == 60).all() and not draws[:, 1].any()
    for i in (0, 2, 3, 4):
        assert_follows(draws[:, i], S.binom(60, p[i]))
    expected = 60 * (np.diag(p) - np.outer(p, p))
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=4 * 60 / np.sqrt(len(draws)))
    counts = Generator(1).multinomial(np.array([[3], [0]]), [[0.5, 0.5], [1.0, 0.0]]).eval()
    assert counts.shape == (2, 2, 2) and (counts.sum(-1) == [[3, 3], [0, 0]]).all() and (counts[:, 1, 1] == 0).all()
    assert Generator(1).multinomial(7, [1.0]).eval().tolist() == [7]


# -- order


def test_permutations_are_fair() -> None:
    orders = gc.function([], Generator(4).permutation(4, (120_000,)))()
    codes = orders @ [64, 16, 4, 1]
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 24 and S.chisquare(counts).pvalue > 1e-3
    n = gc.placeholder("x", shape=("n",))
    f = gc.function([n], Generator(4).permutation(n.shape[0]))
    for size in (0, 1, 10, 1000):
        assert sorted(f(np.zeros(size))) == list(range(size))


def test_shuffle_moves_slices_together() -> None:
    x = np.arange(60.0).reshape(3, 20)
    found = gc.function([], Generator(4).shuffle(x, axis=1))()
    assert (np.diff(found, axis=0) == 20).all() and sorted(found[0]) == x[0].tolist()
    assert (found[0] != x[0]).any()


@pytest.mark.parametrize("p", [None, [0.1, 0.0, 3.0, 1.0, 0.9]])
def test_choice_with_replacement(p: Any) -> None:
    values = np.array([2.0, 3.0, 5.0, 7.0, 11.0])
    draws = gc.function([], Generator(6).choice(values, (400, 500), p=p))()
    chances = np.ones(5) / 5 if p is None else np.array(p) / np.sum(p)
    counts = np.array([(draws == v).sum() for v in values])
    assert counts.sum() == draws.size and (counts[chances == 0] == 0).all()
    kept = chances > 0
    assert S.chisquare(counts[kept], chances[kept] * draws.size).pvalue > 1e-3


@pytest.mark.parametrize("p", [None, [1.0, 2.0, 3.0, 4.0]])
def test_choice_without_replacement(p: Any) -> None:
    """Pairs in order have the probability of one choice after the other."""
    rng = Generator(6)
    f = gc.function([], [rng.choice(4, (2,), replace=False, p=p) for _ in range(200)])
    counts = np.zeros((4, 4))
    for _ in range(100):
        np.add.at(counts, tuple(np.array(f()).T), 1)
    assert not np.diag(counts).any()
    chances = np.ones(4) / 4 if p is None else np.array(p) / np.sum(p)
    expected = chances[:, None] * chances / (1 - chances[:, None])
    off = ~np.eye(4, dtype=bool)
    assert S.chisquare(counts[off], expected[off] * counts.sum()).pvalue > 1e-3
    rows = rng.choice(np.arange(12).reshape(6, 2), 6, replace=False).eval()
    assert sorted(rows[:, 0]) == list(range(0, 12, 2)) and (rows[:, 1] == rows[:, 0] + 1).all()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda r: r.normal(3.0), gc.ShapeError, r"normal: shape must be an int .*, got 3.0; .*  \[test_random_s"),
        (lambda r: r.gamma(True, a=1.0), gc.ShapeError, "gamma: shape must be an int"),
        (lambda r: r.gamma(gc.placeholder("x"), a=1.0), gc.ShapeError, r"gamma: shape must be .*, got f64\[\]"),
        (lambda r: r.normal(3.0, 0.5), TypeError, "positional"),
        (lambda r: r.gamma((2,), a=-1.0), gc.ArgumentError, r"gamma: a must be > 0, got -1.0  \[test_random_samplers"),
        (lambda r: r.gamma(a=np.array([1.0, -2.0])), gc.ArgumentError, "gamma: a must be > 0, got -2.0"),
        (lambda r: r.gamma(a=np.array([1, 2])), gc.DTypeError, r"gamma: a must be of a float dtype, got i64\[2\]"),
        (lambda r: r.beta(a=1.0, b=0.0), gc.ArgumentError, "beta: b must be > 0"),
        (lambda r: r.dirichlet(3.0), gc.ShapeError, "dirichlet: alpha needs a last axis"),
        (lambda r: r.chi2(df=0.0), gc.ArgumentError, "chi2: df must be > 0"),
        (lambda r: r.student_t(df=2.0, scale=-1.0), gc.ArgumentError, "student_t: scale must be > 0"),
        (lambda r: r.truncated_normal(low=1.0, high=0.0), gc.ArgumentError, "low must be below high, got 1.0 and 0.0"),
        (lambda r: r.vonmises(kappa=-0.1), gc.ArgumentError, "vonmises: kappa must be >= 0"),
        (lambda r: r.poisson(lam=-1.0), gc.ArgumentError, "poisson: lam must be >= 0"),
        (lambda r: r.poisson(lam=np.array([3])), gc.DTypeError, "poisson: lam must be of a float dtype"),
        (lambda r: r.binomial(n=2.5, p=0.5), gc.DTypeError, "binomial: n must be an integer"),
        (lambda r: r.binomial(n=-2, p=0.5), gc.ArgumentError, "binomial: n must be >= 0, got -2"),
        (lambda r: r.binomial(n=2, p=1.01), gc.ArgumentError, r"binomial: p must be in \[0, 1\], got 1.01"),
        (lambda r: r.geometric(p=0.0), gc.ArgumentError, r"geometric: p must be in \(0, 1\], got 0.0"),
        (lambda r: r.negative_binomial(n=0.0, p=0.5), gc.ArgumentError, "negative_binomial: n must be > 0"),
        (lambda r: r.multinomial(3, [0.5, -0.5]), gc.ArgumentError, "multinomial: pvals must be >= 0"),
        (lambda r: r.multinomial(3, gc.placeholder("x", shape=("k",))), gc.ShapeError, "must have a known size"),
        (lambda r: r.permutation([1, 2]), gc.ArgumentError, r"permutation: n must be an int .*use shuffle"),
        (lambda r: r.choice(2.5), gc.ArgumentError, "choice: a must be an int, a dimension or an array"),
        (lambda r: r.choice(3, (4,), replace=False), gc.ArgumentError, "4 of 3 values cannot be chosen without"),
        (lambda r: r.choice(3, p=[0.5, 0.5]), gc.ShapeError, "one number for each of the 3 values"),
        (lambda r: r.choice(2, p=[0.5, -0.5]), gc.ArgumentError, "choice: p must be >= 0"),
        (lambda r: r.choice(0, (2,)), gc.ArgumentError, "nothing to choose from"),
    ],
)
def test_errors(build: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build(Generator(0))
