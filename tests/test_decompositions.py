"""Linear algebra where tables do not reach: failures in every mode, edges of sizes and ranks, large matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.jit.kernels import counters
from graphc.graph.node import Node
from graphc.graph.types import Array

la = gc.linalg
Mode = Literal["compiled", "reference", "debug"]
MODES: tuple[Mode, ...] = ("compiled", "reference", "debug")


def matrices(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def definite(*shape: int, seed: int = 0) -> Array:
    x = matrices(*shape, seed=seed)
    return np.asarray(x @ np.swapaxes(x, -1, -2) + 0.5 * np.eye(shape[-1]))


# -- failures

SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])
FAILURES: dict[str, tuple[Callable[[Node], Node], Array, str]] = {
    "cholesky": (la.cholesky, SINGULAR - np.eye(2), "cholesky: a matrix is not positive definite"),
    "solve": (lambda x: la.solve(x, x[0]), SINGULAR, "solve: a matrix is singular"),
    "inv": (la.inv, np.zeros((2, 2)), "inv: a matrix is singular"),
    "triangular": (
        lambda x: la.solve_triangular(x, x),
        np.tril(SINGULAR, -1),
        "solve_triangular: a matrix is singular",
    ),
    "slogdet": (lambda x: gc.grad(la.slogdet(x)[1], x), SINGULAR, "slogdet: a matrix is singular"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("build", FAILURES.values(), ids=FAILURES.keys())
def test_failures_name_the_line(build: tuple[Callable[[Node], Node], Array, str], mode: Mode) -> None:
    function, bad, message = build
    x = gc.placeholder("x", (2, 2))
    f = gc.function([x], function(x), mode=mode)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(np.isfinite(f(np.diag([2.0, 3.0]))), True)
    with pytest.raises(gc.LinAlgError, match=message + r"  \[test_decompositions.py:\d+\]") as caught:
        f(bad)
    assert isinstance(caught.value, np.linalg.LinAlgError)
    f(np.diag([2.0, 3.0]))


@pytest.mark.parametrize("mode", MODES)
def test_a_failure_leaves_state_as_it_was(mode: Mode) -> None:
    x = gc.placeholder("x", ("b", 2, 2))
    calls, total = gc.shared(0, name="calls"), gc.shared(np.zeros((2, 2)), name="total")
    updates = {calls: calls + 1, total: total + gc.sum(la.inv(x), 0)}
    f = gc.function([x], la.slogdet(x)[1], updates=updates, mode=mode)
    f(np.stack([np.eye(2), 2 * np.eye(2)]))
    with pytest.raises(gc.LinAlgError, match="inv: a matrix is singular"):
        f(np.stack([np.eye(2), SINGULAR, np.eye(2)]))
    assert calls.get_value() == 1
    np.testing.assert_array_equal(total.get_value(), 1.5 * np.eye(2))


def test_a_failure_inside_a_loop() -> None:
    xs = gc.placeholder("xs", ("n", 2, 2))
    f = gc.function([xs], gc.map(la.cholesky, xs))
    good = definite(3, 2, 2)
    np.testing.assert_allclose(f(good), np.linalg.cholesky(good), rtol=1e-12)
    with pytest.raises(gc.LinAlgError, match=r"cholesky: a matrix is not positive definite  \[test_decomp"):
        f(np.concatenate([good, -good]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (la.cholesky, r"cholesky: square matrices needed, got f64\[3,4\]"),
        (lambda x: la.det(x[0]), r"det: matrices needed, got f64\[4\]"),
        (lambda x: la.solve(x[:, :3], gc.ones(4)), r"solve: sizes do not fit: f64\[3,3\], f64\[4\]"),
        (lambda x: la.solve(x[:, :3], 1.0), r"solve: sizes do not fit: f64\[3,3\], f64\[\]"),
        (lambda x: la.solve_triangular(x[:, :3], x, trans="X"), 'trans must be 0, "N", 1'),
        (lambda x: la.qr(x, mode="complete"), "qr: mode must be \"reduced\", got 'complete'"),
        (lambda x: la.svd(x, full_matrices=True), "svd: only full_matrices=False is supported"),
        (lambda x: la.matrix_power(x[:, :3], cast(Any, 1.5)), "matrix_power: n must be an int, got 1.5"),
        (lambda x: la.matrix_power(x, 2), "matrix_power: square matrices needed"),
        (lambda x: la.matrix_norm(x, ord=3), 'matrix_norm: ord must be "fro"'),
        (lambda x: la.vector_norm(x, ord=cast(Any, "fro")), "vector_norm: ord must be a number, got 'fro'"),
        (lambda x: la.norm(gc.stack([x, x]), 2), "norm: one or two axes needed without axis"),
        (lambda x: la.norm(x, axis=(1, 1)), r"norm: an axis is repeated in \(1, 1\)"),
        (lambda x: la.cross(x, x), "cross: three elements along axis -1 needed"),
    ],
)
def test_what_is_refused(build: Any, message: str) -> None:
    with pytest.raises(gc.GraphcError, match=message + r".*\[test_decompositions.py:\d+\]"):
        build(gc.placeholder("x", (3, 4)))


def test_symbolic_sizes_that_differ_are_refused_in_the_call() -> None:
    x = gc.placeholder("x", ("n", "m"))
    with pytest.raises(gc.ShapeError, match=r"cholesky at test_decompositions\.py"):
        la.cholesky(x).eval({x: np.ones((2, 3))})


# -- edges


def everything(x: Node, b: Node) -> list[Node]:
    """Return a result of each compiled routine for a square matrix and right sides."""
    spd = x @ x.mT + gc.eye(x.shape[-1])
    w, v = la.eigh(spd)
    q, r = la.qr(b)
    s = la.svd(b)[1]
    triangular = la.solve_triangular(gc.tril(spd), b, lower=True, trans=1)
    solved = [la.solve(spd, b), triangular, *la.slogdet(x), la.det(x)]
    return [la.cholesky(spd), *solved, w, (v * w) @ v.mT, q @ r, s]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_one_program_for_all_sizes(dtype: str) -> None:
    """Sizes 0 and 1 too, and more than LAPACK's blocks; a new size compiles nothing."""
    x, b = gc.placeholder("x", ("n", "n"), dtype), gc.placeholder("b", ("n", "k"), dtype)
    outputs = everything(x, b)
    f = gc.function([x, b], outputs)
    tolerance = 1e-9 if dtype == "float64" else 3e-3
    f(np.eye(2, dtype=dtype), np.ones((2, 2), dtype))
    compiled = counters.compiled
    for n, k in ((0, 0), (0, 2), (1, 0), (1, 1), (1, 3), (2, 5), (7, 7), (90, 3), (40, 90)):
        arrays = (matrices(n, n) / max(n, 1) ** 0.5).astype(dtype), matrices(n, k).astype(dtype)
        wanted = gc.evaluate(outputs, dict(zip((x, b), arrays, strict=True)))
        for i, (got, value) in enumerate(zip(f(*arrays), wanted, strict=True)):
            assert got.shape == value.shape
            np.testing.assert_allclose(got, value, rtol=tolerance, atol=tolerance, err_msg=f"{n}, {k}, output {i}")
    assert counters.compiled == compiled


def test_large_matrices_agree_with_numpy() -> None:
    a, b = definite(120, 120), matrices(120, 70)
    x, y = gc.placeholder("x", (120, 120)), gc.placeholder("y", (120, 70))
    q, r = la.qr(y)
    f = gc.function([x, y], [la.cholesky(x), la.solve(x, y), la.eigvalsh(x), q, r, la.svdvals(y), la.pinv(y)])
    wanted = [np.linalg.cholesky(a), np.linalg.solve(a, b), np.linalg.eigvalsh(a), *np.linalg.qr(b)]
    wanted += [np.linalg.svd(b, compute_uv=False), np.linalg.pinv(b)]
    for got, value in zip(f(a, b), wanted, strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-8, atol=1e-10)


def test_batches_of_none() -> None:
    x = gc.placeholder("x", ("b", 2, 2))
    f = gc.function([x], [la.cholesky(x), la.inv(x), la.det(x), la.eigh(x)[1], la.qr(x)[0], la.svd(x)[0]])
    assert [a.shape for a in f(np.zeros((0, 2, 2)))] == [(0, 2, 2)] * 2 + [(0,)] + [(0, 2, 2)] * 3


def test_only_one_triangle_is_read() -> None:
    a, b = definite(3, 3), matrices(3, 2)
    x = gc.placeholder("x", (3, 3))
    upper_nan = np.where(np.triu(np.ones((3, 3)), 1) > 0, np.nan, a)
    outputs = [la.cholesky(x), la.eigvalsh(x), la.solve_triangular(x, b, lower=True)]
    wanted = [np.linalg.cholesky(a), np.linalg.eigvalsh(a), np.linalg.solve(np.tril(a), b)]
    for mode in MODES:
        for got, value in zip(gc.function([x], outputs, mode=mode)(upper_nan), wanted, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-12)
    unit = la.solve_triangular(x, b, lower=True, unit_diagonal=True)
    no_diagonal = np.tril(a, -1) + np.diag([np.nan, 0.0, 5.0])
    np.testing.assert_allclose(unit.eval({x: no_diagonal}), np.linalg.solve(np.tril(a, -1) + np.eye(3), b), rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_determinants_of_singular_matrices(mode: Mode) -> None:
    x = gc.placeholder("x", (2, 2))
    f = gc.function([x], [la.det(x), *la.slogdet(x)], mode=mode)
    det, sign, log = f(np.zeros((2, 2)))
    assert (det, sign, log) == (0.0, 0.0, -np.inf)


def test_slogdet_does_not_overflow() -> None:
    x = gc.placeholder("x", (200, 200))
    sign, log = la.slogdet(x)
    value, slope = gc.function([x], [log, gc.grad(log, x)])(1e300 * np.eye(200))
    np.testing.assert_allclose(value, 200 * np.log(1e300), rtol=1e-14)
    np.testing.assert_allclose(np.diag(slope), 1e-300, rtol=1e-14)
    assert sign.eval({x: -np.eye(200)}) == 1.0


@pytest.mark.parametrize("mode", MODES)
def test_results_have_the_standard_s_names(mode: Mode) -> None:
    x = gc.placeholder("x", (3, 3))
    outputs = [la.eigh(x), la.qr(x), la.slogdet(x), la.svd(x)]
    a = definite(3, 3)
    eigh, qr, slogdet, svd = gc.function([x], outputs, mode=mode)(a)
    np.testing.assert_allclose(eigh.eigenvalues, np.linalg.eigvalsh(a), rtol=1e-12)
    np.testing.assert_allclose(np.abs(eigh.eigenvectors), np.abs(np.linalg.eigh(a)[1]), rtol=1e-10)
    np.testing.assert_allclose(qr.Q @ qr.R, a, rtol=1e-12)
    np.testing.assert_allclose(slogdet.sign * np.exp(slogdet.logabsdet), np.linalg.det(a), rtol=1e-12)
    np.testing.assert_allclose((svd.U * svd.S) @ svd.Vh, a, rtol=1e-12)


# -- derivatives at the edges


def test_symmetric_functions_have_symmetric_gradients() -> None:
    a = definite(3, 3)
    x = gc.placeholder("x", (3, 3))
    for loss in (gc.sum(la.cholesky(x)), gc.sum(la.eigh(x)[0] ** 2), gc.sum(la.eigh(x)[1] ** 3)):
        g = gc.grad(loss, x).eval({x: a})
        np.testing.assert_array_equal(g, g.T)


def test_spectral_functions_at_repeated_values() -> None:
    """exp(x) by eigenvalues and x by singular values have their derivatives where values repeat."""
    x = gc.placeholder("x", (3, 3))
    w, v = la.eigh(x)
    u, s, vh = la.svd(x)
    direction = matrices(3, 3)
    symmetric = (direction + direction.T) / 2
    exponential = gc.jvp((v * gc.exp(w)[None, :]) @ v.mT, x, gc.constant(symmetric))
    same = gc.jvp((u * s[None, :]) @ vh, x, gc.constant(direction))
    np.testing.assert_allclose(exponential.eval({x: np.eye(3)}), np.e * symmetric, atol=1e-12)
    np.testing.assert_allclose(same.eval({x: 2 * np.eye(3)}), direction, atol=1e-12)


def test_norms_of_singular_values_at_lower_rank() -> None:
    x = gc.placeholder("x", (3, 2))
    value = np.outer([1.0, 2.0, 2.0], [0.6, 0.8])
    g = gc.grad(gc.sum(la.svdvals(x) ** 2), x)
    np.testing.assert_allclose(g.eval({x: value}), 2 * value, atol=1e-12)
    np.testing.assert_array_equal(gc.grad(la.matrix_norm(x), x).eval({x: np.zeros((3, 2))}), np.zeros((3, 2)))


def test_the_pseudoinverse_of_lower_rank() -> None:
    x = gc.placeholder("x", (3, 2))
    value, direction = np.outer([1.0, 2.0, 2.0], [0.6, 0.8]), np.outer([2.0, 0.0, 1.0], [0.6, 0.8])
    moved = gc.jvp(la.pinv(x), x, gc.constant(direction))
    difference = (np.linalg.pinv(value + 1e-6 * direction) - np.linalg.pinv(value - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose(moved.eval({x: value}), difference, atol=1e-8)


def test_forward_and_backward_share_one_factorisation() -> None:
    x, b = gc.placeholder("x", ("n", "n")), gc.placeholder("b", ("n",))
    loss = gc.sum(la.solve(x, b) ** 2) + la.slogdet(x)[1]
    f = gc.function([x, b], [loss, *gc.grad(loss, [x, b])])
    assert sum(kernel.kind == "lu_factor" for kernel in f.schedule) == 1


def test_a_gaussian_likelihood_and_its_gradients() -> None:
    """The log-density of a Gaussian process, by two ways of computing it."""
    x, y = gc.placeholder("x", ("n",)), gc.placeholder("y", ("n",))
    scale, noise = gc.placeholder("scale"), gc.placeholder("noise")
    distances = (x[:, None] - x[None, :]) ** 2
    kernel = gc.exp(-distances / scale) + noise * gc.eye(x.shape[0])
    factor = la.cholesky(kernel)
    half = gc.sum(gc.log(la.diagonal(factor)))
    by_cholesky = 0.5 * gc.sum(y * la.cho_solve((factor, True), y)) + half
    by_lu = 0.5 * gc.sum(y * la.solve(kernel, y)) + 0.5 * la.slogdet(kernel)[1]
    outputs = [by_cholesky, gc.grad(by_cholesky, [scale, noise, x]), by_lu, gc.grad(by_lu, [scale, noise, x])]
    f = gc.function([x, y, scale, noise], outputs)
    points = np.linspace(0, 3, 12)
    value, slopes, other, others = f(points, np.sin(points), 0.7, 0.1)
    np.testing.assert_allclose(value, other, rtol=1e-11)
    for a, b in zip(slopes, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    bindings = {x: points, y: np.sin(points), scale: 0.7, noise: 0.1}
    gc.check_grad(by_cholesky, [scale, noise, x], bindings)
