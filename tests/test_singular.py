"""Derivatives of linear algebra where matrices are singular or their eigenvalues and singular values are equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array

la = gc.linalg
Mode = Literal["compiled", "reference"]
MODES: tuple[Mode, ...] = ("compiled", "reference")
EITHER = [pytest.param("compiled", marks=pytest.mark.slow), "reference"]
"""Modes of rows whose rules are asked about, not their kernels: compiling them is for the slow run."""


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


# -- equal eigenvalues and singular values

Function = Callable[[Any], Any]
SPECTRA = [(1.0, 1, 1), (1.0, 1, 2), (1.0, 2, 2), (0.0, 0, 0), (1.0, 2, 3), (1.0, 1 + 1e-12, 2), (2.0, 0, 0)]
FUNCTIONS: dict[str, tuple[Function, Function, Function]] = {
    "exp": (gc.exp, np.exp, np.exp),
    "cube": (lambda w: w**3, lambda w: w**3, lambda w: 3 * w**2),
    "root": (lambda w: gc.sqrt(w + 1), lambda w: np.sqrt(w + 1), lambda w: 0.5 / np.sqrt(w + 1)),
}
SPELLINGS: dict[str, Callable[[Any, Any], Any]] = {
    "columns": lambda v, f: (v * f) @ v.T,
    "rows": lambda v, f: v @ (f[:, None] * v.T),
    "einsum": lambda v, f: gc.einsum("ij,j,kj->ik", v, f, v),
    "vectors": lambda v, f: gc.stack([v @ (f * (v.T @ np.eye(3)[i])) for i in range(3)]),
}


def orthogonal(n: int, seed: int) -> Array:
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0])


def symmetric(seed: int) -> Array:
    x = np.random.default_rng(seed).normal(size=(3, 3))
    return np.asarray((x + x.T) / 2)


def divided_differences(f: Function, slope: Function, w: Array) -> Array:
    """Return (f(w[j]) - f(w[i])) / (w[j] - w[i]), f' where values are nearly equal."""
    difference = w[None, :] - w[:, None]
    near = np.abs(difference) < 1e-9
    middle = (w[None, :] + w[:, None]) / 2
    return np.asarray(np.where(near, slope(middle), (f(w)[None, :] - f(w)[:, None]) / np.where(near, 1, difference)))


COMPILED = ("exp", "columns")
"""What the default run compiles; it interprets all."""
PAIRS = [
    pytest.param(f, s, m, id=f"{a}-{b}-{m}", marks=pytest.mark.slow if m == "compiled" and (a, b) != COMPILED else ())
    for a, f in FUNCTIONS.items()
    for b, s in SPELLINGS.items()
    for m in MODES
]


@pytest.mark.parametrize(("function", "spelling", "mode"), PAIRS)
def test_functions_of_symmetric_matrices(
    function: tuple[Function, Function, Function], spelling: Any, mode: Mode
) -> None:
    """The theorem of Daleckii and Krein: gradients and tangents, for diagonal and for turned matrices."""
    build, f, slope = function
    x, g, t = (gc.placeholder(name, (3, 3)) for name in "xgt")
    w, v = la.eigh(x)
    out = spelling(v, build(w))
    program = gc.function([x, g, t], [gc.grad(gc.sum(out * g), x), gc.jvp(out, x, t)], mode=mode)
    for spectrum in SPECTRA:
        for basis in (np.eye(3), orthogonal(3, 1)):
            values = np.asarray(spectrum, "float64")
            a = (basis * values) @ basis.T
            direction, weights = symmetric(2), symmetric(3)
            quotients = divided_differences(f, slope, values)
            moved = basis @ (quotients * (basis.T @ direction @ basis)) @ basis.T
            got, tangent = program((a + a.T) / 2, weights, direction)
            np.testing.assert_allclose(tangent, moved, rtol=1e-8, atol=1e-10, err_msg=str(spectrum))
            np.testing.assert_allclose(np.vdot(got, direction), np.vdot(moved, weights), rtol=1e-8, atol=1e-10)


def differences(function: Callable[[Array], Array], at: Array, weights: Array, step: float = 1e-3) -> Array:
    """Differentiate sum(weights * function) by the four-point formula."""
    out = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        moves = [at.copy() for _ in range(4)]
        for moved, steps in zip(moves, (-2, -1, 1, 2), strict=True):
            moved[place] += steps * step
        far, near, near_up, far_up = (np.vdot(function(m), weights) for m in moves)
        out[place] = (far - 8 * near + 8 * near_up - far_up) / (12 * step)
    return out


def exponential_slope(a: Array, direction: Array) -> Array:
    """Return the derivative of the exponential of a symmetric matrix, with no decomposition (Najfeld & Havel 1995)."""
    n = len(a)
    block = np.block([[a, direction], [np.zeros((n, n)), a]])
    term, total = np.eye(2 * n), np.eye(2 * n)
    for k in range(1, 60):
        term = term @ block / k
        total = total + term
    return np.asarray(total[:n, n:])


@pytest.mark.parametrize("mode", EITHER)
@pytest.mark.parametrize("spectrum", [s for s in SPECTRA if s[1] - s[0] != 1e-12])
def test_second_derivatives_of_the_exponential(spectrum: tuple[float, ...], mode: Mode) -> None:
    x, g, t = (gc.placeholder(name, (3, 3)) for name in "xgt")
    w, v = la.eigh((x + x.T) / 2)
    slope = gc.grad(gc.sum(((v * gc.exp(w)) @ v.T) * g), x)
    program = gc.function([x, g, t], [slope, gc.grad(gc.sum(slope * t), x), gc.jvp(slope, x, t)], mode=mode)
    basis, weights, direction = orthogonal(3, 1), symmetric(2), symmetric(3)
    a = np.asarray((basis * np.asarray(spectrum)) @ basis.T)
    first, second, pushed = program(a, weights, direction)
    np.testing.assert_allclose(first, exponential_slope(a, weights), rtol=1e-10, atol=1e-11)
    wanted = differences(lambda m: exponential_slope((m + m.T) / 2, weights), a, direction)
    np.testing.assert_allclose(second, wanted, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(pushed, second, rtol=1e-10, atol=1e-10)


VALUES = [(1, 1, 1), (2, 1, 1), (2, 1, 0), (1, 0, 0), (0, 0, 0), (3, 2, 1)]


@pytest.mark.parametrize("mode", EITHER)
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
def test_functions_of_singular_values(shape: tuple[int, int], values: tuple[int, ...], mode: Mode) -> None:
    """A and A A^T A by singular values, up to second derivatives."""
    x, g, t = (gc.placeholder(name, shape) for name in "xgt")
    u, s, vh = la.svd(x)
    rng = np.random.default_rng(0)
    a = np.asarray((orthogonal(shape[0], 1)[:, :3] * np.asarray(values)) @ orthogonal(shape[1], 2)[:, :3].T)
    weights, direction = rng.normal(size=shape), rng.normal(size=shape)
    for out, plain in (((u * s) @ vh, x), ((u * s**3) @ vh, x @ x.T @ x)):
        both: list[list[Array]] = []
        for value in (out, plain):
            slope = gc.grad(gc.sum(value * g), x)
            seconds = gc.grad(gc.sum(slope * t), x, disconnected="zero")
            program = gc.function([x, g, t], [slope, gc.jvp(value, x, t), seconds], on_unused="ignore", mode=mode)
            both.append(program(a, weights, direction))
        for got, true in zip(*both, strict=True):
            np.testing.assert_allclose(got, true, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", EITHER)
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("float64", s) for s in (1e-170, 1e-155, 1e155, 1e170)] + [("float32", s) for s in (1e-20, 1e20)],
)
def test_singular_values_of_any_scale(dtype: str, scale: float, mode: Mode) -> None:
    rng = np.random.default_rng(0)
    a, weights = (rng.normal(size=(3, 2)) * scale).astype(dtype), rng.normal(size=(3, 2)).astype(dtype)
    x = gc.placeholder("x", (3, 2), dtype)
    u, s, vh = la.svd(x)
    same = (u * s) @ vh
    outputs = [gc.grad(gc.sum(same * weights), x), gc.jvp(same, x, gc.constant(weights))]
    slope, moved = gc.function([x], outputs, mode=mode)(a)
    rounding = 20 * float(np.finfo(dtype).eps)
    for got in (slope, moved):
        np.testing.assert_allclose(got, weights, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("mode", MODES)
def test_dependent_columns_have_no_derivative(mode: Mode) -> None:
    """In columns that depend on those before them, and in these; other matrices of the batch have theirs."""
    x, t = gc.placeholder("x", (3, 4, 3)), gc.placeholder("t", (3, 4, 3))
    q, r = la.qr(x)
    regular = np.random.default_rng(0).normal(size=(4, 3))
    dependent, zero = regular.copy(), regular.copy()
    dependent[:, 1], zero[:, 0] = 3 * regular[:, 0], 0.0
    program = gc.function([x, t], [gc.grad(gc.sum(q**3) + gc.sum(r), x), gc.jvp(q, x, t)], mode=mode)
    slope, moved = program(np.stack([regular, dependent, zero]), np.ones((3, 4, 3)))
    assert np.isfinite(slope[0]).all() and np.isfinite(moved[0]).all()
    assert np.isnan(slope[1, :, :2]).all() and np.isnan(slope[2, :, 0]).all()
    assert np.isnan(moved[1, :, 1]).all() and np.isnan(moved[2, :, 0]).all()


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
def test_a_pseudoinverse_that_drops_what_is_not_zero(shape: tuple[int, int]) -> None:
    """Where `rtol` drops singular values beyond rounding, kept and dropped vectors still turn into each other."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=shape[::-1])
    x = gc.placeholder("x", shape)
    slope = gc.grad(gc.sum(la.pinv(x, rtol=0.3) * weights), x)
    for values in ((2, 1, 0.1), (1, 1, 0.1), (1, 0.1, 0.1), (2, 1, 0)):
        a = np.asarray((orthogonal(shape[0], 1)[:, :3] * np.asarray(values)) @ orthogonal(shape[1], 2)[:, :3].T)
        wanted = differences(lambda m: np.linalg.pinv(m, rcond=0.3), a, weights)
        np.testing.assert_allclose(slope.eval({x: a}), wanted, rtol=1e-7, atol=1e-7)


def test_what_depends_on_the_choice_of_vectors_is_nan() -> None:
    """At equal values; at others it has its derivative, and equal values of other matrices do not matter."""
    x = gc.placeholder("x", (2, 3, 3))
    w, v = la.eigh(x)
    u, _, vh = la.svd(x)
    stack = np.stack([np.eye(3), np.diag([1.0, 2.0, 3.0])])
    for out in (v, u, vh):
        for got in (gc.grad(gc.sum(out**3), x), gc.jvp(out, x, gc.ones((2, 3, 3)))):
            first, second = got.eval({x: stack})
            assert np.isnan(first).any() and np.isfinite(second).all()
    third = gc.sum((v * gc.exp(w)[:, None, :]) @ v.mT)
    for _ in range(3):
        third = gc.sum(gc.grad(third, x) * gc.constant(symmetric(4)))
    assert np.isnan(third.eval({x: np.stack([np.eye(3)] * 2)}))
