"""`on_failure="nan"`: a matrix that fails gives NaN, in value and gradient, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import Node, linalg

GOOD = np.array([[4.0, 1.0], [1.0, 3.0]])
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])
INDEFINITE = np.array([[1.0, 2.0], [2.0, 1.0]])
HOLE = np.array([[2.0, 0.0], [1.0, 0.0]])
B = np.array([[1.0, 0.0], [0.0, 2.0]])  # zeros, by which LAPACK skips divisions


def _rebuilt(values: Node, vectors: Node) -> Node:
    return (vectors * gc.exp(values)[..., None, :]) @ gc.matrix_transpose(vectors)


FUNCTIONS: dict[str, tuple[Callable[[Any, Any], Node], Any]] = {
    "cholesky": (lambda a, f: linalg.cholesky(a, on_failure=f), INDEFINITE),
    "upper": (lambda a, f: linalg.cholesky(a, upper=True, on_failure=f), INDEFINITE),
    "solve": (lambda a, f: linalg.solve(a, B, on_failure=f), SINGULAR),
    "inv": (lambda a, f: linalg.inv(a, on_failure=f), SINGULAR),
    "matrix_power": (lambda a, f: linalg.matrix_power(a, -2, on_failure=f), SINGULAR),
    "triangular": (lambda a, f: linalg.solve_triangular(a, B, lower=True, on_failure=f), HOLE),
    "transposed": (lambda a, f: linalg.solve_triangular(a, B, lower=True, trans="T", on_failure=f), HOLE),
    "cho_solve": (lambda a, f: linalg.cho_solve((a, True), B, on_failure=f), HOLE),
}
A = gc.placeholder("a", shape=("n", 2, 2))
MODES = ("compiled", "reference", "debug")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_matrix_of_a_batch_fails(name: str, mode: Any) -> None:
    fn, bad = FUNCTIONS[name]
    strict, loose = (fn(A, choice) for choice in ("error", "nan"))
    batch = np.stack([GOOD, bad, GOOD + 1])
    sound = gc.function([A], [strict, gc.grad(gc.sum(gc.sin(strict)), A)])
    f = gc.function([A], [loose, gc.grad(gc.sum(gc.sin(loose)), A)], mode=mode)
    with pytest.raises(gc.LinAlgError, match=r"test_on_failure\.py"):
        sound(batch)
    for got, wanted in zip(f(batch), sound(batch[[0, 2]]), strict=True):
        np.testing.assert_allclose(got[[0, 2]], wanted, rtol=1e-12, atol=1e-14)
    value, gradient = f(batch)
    assert np.isnan(value[1]).all()
    read = (
        np.tril(np.ones((2, 2), bool)) if name in ("triangular", "transposed", "cho_solve") else np.ones((2, 2), bool)
    )
    assert np.isnan(gradient[1][read]).all()
    for got in f(np.stack([GOOD * np.nan])):  # the zeros of a triangle may stay
        assert np.isnan(np.diagonal(got[0])).all()


ITERATIONS: dict[str, Callable[[Any, Any], Node]] = {
    "eigh": lambda a, f: _rebuilt(*linalg.eigh(a, on_failure=f)),
    "eigvalsh": lambda a, f: linalg.eigvalsh(a, on_failure=f),
    "svd": lambda a, f: gc.matmul(*linalg.svd(a, on_failure=f)[::2]),
    "svdvals": lambda a, f: linalg.svdvals(a, on_failure=f),
    "pinv": lambda a, f: linalg.pinv(a, on_failure=f),
    "pinv.*": lambda a, f: linalg.pinv(a, rtol=1e-9, on_failure=f),
}
WHOLE = gc.placeholder("whole", shape=("n", "k", "k"))


@pytest.mark.parametrize("mode", MODES)
def test_an_iteration_does_not_converge(mode: Any) -> None:
    good = np.diag([3.0, 2.0, 1.0]) + 0.1
    batch = np.stack([good, good * np.nan, 2 * good])
    for name, fn in ITERATIONS.items():
        strict, loose = (fn(WHOLE, choice) for choice in ("error", "nan"))
        f = gc.function([WHOLE], strict, mode=mode)
        with pytest.raises(gc.LinAlgError, match=rf"^{name}: .*did not converge.*test_on_failure\.py"):
            f(batch)
        g = gc.function([WHOLE], [loose, gc.grad(gc.sum(gc.sin(loose)), WHOLE)], mode=mode)
        sound = gc.function([WHOLE], [strict, gc.grad(gc.sum(gc.sin(strict)), WHOLE)])
        for got, wanted in zip(g(batch), sound(batch[[0, 2]]), strict=True):
            assert np.isnan(got[1]).all(), name
            np.testing.assert_allclose(got[[0, 2]], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_slogdet_has_a_gradient_of_nan(mode: Any) -> None:
    sign, log = linalg.slogdet(A, on_failure="nan")
    f = gc.function([A], [sign, log, gc.grad(gc.sum(log), A)], mode=mode)
    signs, logs, gradient = f(np.stack([SINGULAR, GOOD]))
    assert signs.tolist() == [0, 1] and logs[0] == -np.inf and np.isnan(gradient[0]).all()
    np.testing.assert_allclose(gradient[1], np.linalg.inv(GOOD).T, rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_a_sampler_rejects_inside_the_graph(mode: Any) -> None:
    """In a loop and in a branch; the oracle is a Python loop."""
    xs = gc.placeholder("xs", shape=("t",))

    def step(c: Node, x: Node) -> tuple[Node, Node]:
        factor = linalg.cholesky(gc.stack([gc.stack([c, x]), gc.stack([x, c])]), on_failure="nan")
        singular, one = gc.zeros((1, 1)), gc.reshape(x, (1,))
        right = gc.cond(x > 0, lambda: linalg.solve(singular, one, on_failure="nan")[0], lambda: x)
        kept = gc.where(gc.isnan(factor[0, 0]), c, c + 0.5 * x)
        return kept, right

    f = gc.function([xs], gc.scan(step, 1.0, xs), mode=mode)
    values = np.array([0.5, -3.0, 0.25, 9.0, -0.125])
    last, rights = f(values)
    c = 1.0
    for x in values:
        c = c + 0.5 * x if c * c > x * x else c
    assert last == c
    np.testing.assert_array_equal(rights, np.where(values > 0, np.nan, values))


def test_forward_derivatives_are_nan_too() -> None:
    tangent = gc.jvp(linalg.cholesky(A, on_failure="nan"), A, gc.ones((A.shape[0], 2, 2)))
    got = gc.function([A], tangent)(np.stack([GOOD, INDEFINITE]))
    assert np.isfinite(got[0]).all() and np.isnan(got[1]).any()


def test_saved_functions_keep_it(tmp_path: Path) -> None:
    outputs = [fn(A, "nan") for fn in [*(f for f, _ in FUNCTIONS.values()), *ITERATIONS.values()]]
    f = gc.function([A], outputs)
    gc.save(f, tmp_path / "f")
    for got, wanted in zip(gc.load(tmp_path / "f")(SINGULAR[None]), f(SINGULAR[None]), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_other_choices_are_refused() -> None:
    with pytest.raises(gc.ArgumentError, match=r'on_failure must be "error" or "nan", got "NaN"|on_failure'):
        linalg.cholesky(GOOD, on_failure="NaN")  # type: ignore[arg-type]
