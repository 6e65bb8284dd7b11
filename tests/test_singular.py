"""Derivatives of linear algebra where matrices are singular or their eigenvalues and singular values are equal."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

import graphc as gc
from graphc.types import Array

la = gc.linalg
Mode = Literal["compiled", "reference"]
MODES: tuple[Mode, ...] = ("compiled", "reference")


# -- determinants


def cofactors(a: Array) -> Array:
    """Return the signed determinants of all minors."""
    n = len(a)
    out = np.zeros_like(a)
    for i, j in np.ndindex(n, n):
        out[i, j] = (-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1))
    return out


def singular_matrices(n: int) -> Array:
    """Return stacks of regular matrices among singular ones, of ranks down to 0."""
    rng = np.random.default_rng(n)
    out = [rng.normal(size=(n, n)), np.zeros((n, n)), np.ones((n, n)), np.eye(n), np.eye(n, k=1), np.eye(n, k=-1)]
    for _ in range(6):
        a = rng.integers(-1, 2, (n, n)).astype("float64")
        repeated, empty = a.copy(), a.copy()
        repeated[-1:], empty[:, :1] = repeated[:1], 0.0
        out += [a, repeated, empty]
    return np.asarray(out)


@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_of_a_determinant_is_the_adjugate(mode: Mode) -> None:
    """Of every rank, regular and singular matrices in one batch, and of all sizes by one program."""
    x = gc.placeholder("x", ("b", "n", "n"))
    det = la.det(x)
    f = gc.function([x], [det, gc.grad(gc.sum(det), x)], mode=mode)
    for n in range(6):
        a = singular_matrices(n)
        value, slope = f(a)
        np.testing.assert_allclose(value, np.linalg.det(a), atol=1e-13)
        np.testing.assert_allclose(slope, [cofactors(one) for one in a], atol=1e-12)


def test_second_derivatives_of_a_determinant() -> None:
    x, w = gc.placeholder("x", ("b", "n", "n")), gc.placeholder("w", ("b", "n", "n"))
    slope = gc.grad(gc.sum(la.det(x)), x)
    seconds = gc.function([x, w], [gc.grad(gc.sum(slope * w), x), gc.jvp(slope, x, w)])
    for n in range(1, 5):
        a = singular_matrices(n)
        weights = np.random.default_rng(n).normal(size=a.shape)
        step = 1e-5
        wanted = np.asarray(
            [
                (cofactors(one + step * w) - cofactors(one - step * w)) / (2 * step)
                for one, w in zip(a, weights, strict=True)
            ]
        )
        for got in seconds(a, weights):
            np.testing.assert_allclose(got, wanted, atol=1e-8)
