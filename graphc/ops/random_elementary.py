"""Elementary functions of a fixed order of operations, and the likelihoods that discrete samplers compare with.

A sampler that accepts or rejects must decide alike on every machine, so it cannot use a C library's functions. These
use plain additions, multiplications, divisions and square roots, in float64, with errors of a few ULP.
"""

from __future__ import annotations

import math

from graphc.ops.random_formulas import horner, logarithm
from graphc.ops.random_machine import Machine, Scalar

INF = float("inf")
_LN2 = 0.6931471803691238, 1.9082149292705877e-10
"""ln(2) in two parts, the first of 32 bits."""
_EXPONENTIAL = tuple(1.0 / math.factorial(k) for k in range(14))
_STIRLING = 1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188
TABULATED = 10
"""Factorials below this are products; others are Stirling's series."""


def smaller(m: Machine, x: Scalar, y: Scalar) -> Scalar:
    """Return the smaller number; y where x is NaN."""
    return m.select(x < y, x, y)


def exponential(m: Machine, x: Scalar) -> Scalar:
    """Return e**x, for x from -745 to 709; 0 or nearly the largest number outside."""
    x = m.select(x > -746.0, x, -746.0)
    x = m.select(x < 709.0, x, 709.0)
    k = m.floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * _LN2[0]) - k * _LN2[1]
    whole = m.convert(k, "i64")
    half = whole >> 1
    return horner(r, _EXPONENTIAL) * _power_of_two(m, half) * _power_of_two(m, whole - half)


def _power_of_two(m: Machine, k: Scalar) -> Scalar:
    return m.from_bits((k + 1023) << 52)


def log1p(m: Machine, x: Scalar) -> Scalar:
    """Return log(1 + x) for x > -1, by Kahan's correction of the rounded sum."""
    total = x + 1.0
    shift = total - 1.0
    return m.select(shift == 0.0, x, logarithm(m, total) * (x / m.select(shift == 0.0, 1.0, shift)))


def log_poisson(m: Machine, k: Scalar, mean: Scalar) -> Scalar:
    """Return the log of mean**k exp(-mean) / k! for whole k >= 0 and mean > 0.

    Loader (2000), "Fast and accurate computation of binomial probabilities": no large terms cancel.
    """
    few = k < float(TABULATED)
    many = m.select(few, float(TABULATED), k)
    inverse = 1.0 / many
    series = inverse * horner(inverse * inverse, _STIRLING)
    saddle = -0.5 * logarithm(m, many * (2 * math.pi)) - series - deviance(m, many, mean)
    exact = m.select(few, k, 0.0)
    return m.select(few, exact * logarithm(m, mean) - mean - logarithm(m, _small_factorial(m, exact)), saddle)


def _small_factorial(m: Machine, k: Scalar) -> Scalar:
    """Return k! for whole k < TABULATED."""
    total = m.select(k >= 2.0, 2.0, k * 0.0 + 1.0)
    for i in range(3, TABULATED):
        total = total * m.select(k >= float(i), float(i), k * 0.0 + 1.0)
    return total


def deviance(m: Machine, x: Scalar, mean: Scalar) -> Scalar:
    """Return x log(x / mean) + mean - x, for positive numbers."""
    v = (x - mean) / (x + mean)
    near = (x - mean) * v + 2.0 * x * v * (v * v) * horner(v * v, tuple(1 / (2 * j + 3) for j in range(8)))
    far = x * logarithm(m, x / mean) + (mean - x)
    return m.select((v < 0.1) & (v > -0.1), near, far)


def log_binomial(m: Machine, k: Scalar, n: Scalar, p: Scalar) -> Scalar:
    """Return the log of the binomial probability of whole k, 0 <= k <= n, for 0 < p < 1."""
    return log_poisson(m, k, n * p) + log_poisson(m, n - k, n * (1.0 - p)) - log_poisson(m, n, n)
