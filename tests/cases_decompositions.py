"""`gc.linalg`: factorisations, solves, determinants, eigenvalues, singular values, norms.

Matrices are drawn well conditioned, with eigenvalues and singular values apart; functions of symmetric matrices get
the symmetric part of their input, so that every element may be moved by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.node import Node
from graphc.graph.types import Array
from tests.cases import Case

la = gc.linalg
Make = Callable[[np.random.Generator], Array]


def matrix(*shape: int) -> Make:
    """Draw matrices with singular values apart: a rising diagonal and some noise."""

    def make(rng: np.random.Generator) -> Array:
        m, n = shape[-2:]
        return np.asarray(rng.uniform(-0.5, 0.5, shape) + np.eye(m, n) * np.linspace(1.5, 4, n))

    return make


def symmetric(*shape: int) -> Make:
    """Draw positive definite matrices."""
    return lambda rng: (lambda x: np.asarray((x + np.swapaxes(x, -1, -2)) / 2))(matrix(*shape)(rng))


def plain(*shape: int) -> Make:
    return lambda rng: np.asarray(rng.uniform(-1, 1, shape))


def case(id: str, build: Callable[..., Any], numpy: Callable[..., Any], *inputs: Make, **more: Any) -> Case:
    return Case(id, build, numpy, make=lambda rng: tuple(make(rng) for make in inputs), rtol=1e-10, **more)


def sym(x: Any) -> Any:
    return (x + (x.mT if isinstance(x, Node) else np.swapaxes(x, -1, -2))) * 0.5


def on_symmetric(id: str, build: Callable[..., Any], numpy: Callable[..., Any], *shape: int, **more: Any) -> Case:
    return case(id, lambda x: build(sym(x)), lambda x: numpy(sym(x)), symmetric(*shape), **more)


def triangle(id: str, lower: bool, trans: int, unit: bool, *inputs: Make) -> Case:
    def numpy(a: Array, b: Array) -> Array:
        t = np.tril(a) if lower else np.triu(a)
        if unit:
            t = t * (1 - np.eye(3, dtype=a.dtype)) + np.eye(3, dtype=a.dtype)
        return np.linalg.solve(np.swapaxes(t, -1, -2) if trans else t, b)

    return case(
        f"solve_triangular-{id}",
        lambda a, b: la.solve_triangular(a, b, lower=lower, trans=trans, unit_diagonal=unit),
        numpy,
        *inputs,
    )


SOLVE = [
    on_symmetric("cholesky", la.cholesky, np.linalg.cholesky, 3, 3),
    on_symmetric("cholesky-stack", la.cholesky, np.linalg.cholesky, 2, 3, 3),
    on_symmetric("cholesky-upper", lambda x: la.cholesky(x, upper=True), lambda x: np.linalg.cholesky(x).T, 3, 3),
    triangle("lower", True, 0, False, matrix(3, 3), plain(3, 2)),
    triangle("upper", False, 0, False, matrix(2, 3, 3), plain(2, 3, 2)),
    triangle("lower-transposed", True, 1, False, matrix(3, 3), plain(3, 2)),
    triangle("upper-transposed", False, 1, False, matrix(3, 3), plain(3)),
    triangle("upper-unit-transposed", False, 1, True, matrix(3, 3), plain(3, 2)),
    triangle("batch-of-sides", True, 0, False, matrix(3, 3), plain(2, 3, 2)),
    case(
        "cho_solve",
        lambda x, b: la.cho_solve((la.cholesky(sym(x)), True), b),
        lambda x, b: np.linalg.solve(sym(x), b),
        symmetric(3, 3),
        plain(3, 2),
    ),
    case("solve", la.solve, np.linalg.solve, matrix(3, 3), plain(3, 2)),
    case("solve-vector", la.solve, np.linalg.solve, matrix(3, 3), plain(3)),
    case("solve-stack", la.solve, np.linalg.solve, matrix(2, 3, 3), plain(2, 3, 1)),
    case("solve-batch-of-sides", la.solve, np.linalg.solve, matrix(3, 3), plain(2, 2, 3, 2)),
    case("solve-stack-vector", la.solve, lambda a, b: np.linalg.solve(a, b), matrix(2, 3, 3), plain(3)),
    case("solve-broadcast", la.solve, np.linalg.solve, matrix(2, 1, 3, 3), plain(2, 3, 2)),
    case("inv", la.inv, np.linalg.inv, matrix(3, 3)),
    case("inv-stack", la.inv, np.linalg.inv, matrix(2, 2, 2)),
    case("det", la.det, np.linalg.det, matrix(3, 3)),
    case("det-stack", la.det, np.linalg.det, plain(2, 4, 4)),
    case("slogdet-sign", lambda x: la.slogdet(x)[0], lambda x: np.linalg.slogdet(x)[0], plain(4, 3, 3)),
    case("slogdet", lambda x: la.slogdet(x)[1], lambda x: np.linalg.slogdet(x)[1], plain(2, 3, 3)),
]


def through_eigh(x: Any) -> Any:
    """Return exp(x) of symmetric matrices."""
    if isinstance(x, Node):
        w, v = la.eigh(x)
        return (v * gc.exp(w)[..., None, :]) @ v.mT
    values, vectors = np.linalg.eigh(x)
    return (vectors * np.exp(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def through_svd(x: Any) -> Any:
    """Return the matrix with the square roots of the singular values."""
    if isinstance(x, Node):
        u, s, vh = la.svd(x)
        return (u * gc.sqrt(s)[..., None, :]) @ vh
    left, values, right = np.linalg.svd(x, full_matrices=False)
    return (left * np.sqrt(values)[..., None, :]) @ right


def flat(*parts: Any) -> Any:
    """Return several results as one vector."""
    if isinstance(parts[0], Node):
        return gc.concat([p.flatten() for p in parts], axis=0)
    return np.concatenate([np.ravel(p) for p in parts])


def magnitudes(eigh: Any) -> Callable[[Any], Any]:
    """Return the eigenvalues and the squares of the eigenvectors, whose signs may be chosen."""

    def build(x: Any) -> Any:
        w, v = eigh(x)
        return flat(w, v * v)

    return build


def singular_magnitudes(svd: Any) -> Callable[[Any], Any]:
    def build(x: Any) -> Any:
        u, s, vh = svd(x, full_matrices=False)
        return flat(u * u, s, vh * vh)

    return build


SPECTRAL = [
    on_symmetric("eigvalsh", la.eigvalsh, np.linalg.eigvalsh, 2, 3, 3),
    on_symmetric("eigh", magnitudes(la.eigh), magnitudes(np.linalg.eigh), 3, 3),
    on_symmetric("eigh-function", through_eigh, through_eigh, 2, 3, 3),
    *(
        case(f"qr-{shape}", lambda x: flat(*la.qr(x)), lambda x: flat(*np.linalg.qr(x)), matrix(*shape))
        for shape in ((4, 2), (3, 3), (2, 4), (2, 3, 2))
    ),
    case("svdvals", la.svdvals, lambda x: np.linalg.svd(x, compute_uv=False), matrix(2, 4, 3)),
    case("svd-tall", singular_magnitudes(la.svd), singular_magnitudes(np.linalg.svd), matrix(4, 3)),
    case("svd-wide", singular_magnitudes(la.svd), singular_magnitudes(np.linalg.svd), matrix(2, 3)),
    case("svd-function", through_svd, through_svd, matrix(4, 3)),
    case("pinv-tall", la.pinv, np.linalg.pinv, matrix(4, 3)),
    case("pinv-wide", la.pinv, np.linalg.pinv, matrix(2, 2, 3)),
    case("pinv-rtol", lambda x: la.pinv(x, rtol=0.01), lambda x: np.linalg.pinv(x, rcond=0.01), matrix(3, 3)),
    case("matrix_rank", la.matrix_rank, np.linalg.matrix_rank, lambda rng: plain(4, 2)(rng) @ plain(2, 4)(rng)),
]


def norm_case(id: str, *shape: int, **keywords: Any) -> Case:
    return case(f"norm-{id}", lambda x: la.norm(x, **keywords), lambda x: np.linalg.norm(x, **keywords), matrix(*shape))


def power(n: int) -> Case:
    return case(
        f"matrix_power-{n}", lambda x: la.matrix_power(x, n), lambda x: np.linalg.matrix_power(x, n), matrix(3, 3)
    )


def crossed_columns(x: Array) -> Array:
    return np.cross(x, x[:, ::-1], axis=0)


NORMS = [
    norm_case("default", 2, 3),
    norm_case("vectors", 2, 3, axis=-1),
    *(norm_case(f"vectors-{p}", 2, 3, axis=1, ord=p) for p in (0, 1, 3, 2.5, np.inf, -np.inf)),
    norm_case("vectors-keepdims", 2, 3, axis=0, keepdims=True),
    *(norm_case(f"matrix-{p}", 3, 2, ord=p) for p in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)),
    norm_case("matrices", 2, 3, 4, axis=(2, 0), ord=1),
    norm_case("matrices-keepdims", 2, 3, 4, axis=(0, 2), keepdims=True),
    case(
        "vector_norm-axes",
        lambda x: la.vector_norm(x, axis=(0, 2), ord=3),
        lambda x: np.sum(np.abs(x) ** 3, (0, 2)) ** x.dtype.type(1 / 3),
        plain(2, 3, 2),
    ),
    case("matrix_norm", la.matrix_norm, np.linalg.matrix_norm, matrix(2, 3, 4)),
    *(power(n) for n in (0, 1, 2, 5, -1, -3)),
    case(
        "matrix_power-int",
        lambda x: la.matrix_power(x, 3),
        lambda x: np.linalg.matrix_power(x, 3),
        lambda rng: rng.integers(-3, 3, (2, 2)),
    ),
    case("cross", la.cross, np.cross, plain(2, 3), plain(3), symbolic=False),
    case("cross-axis", lambda x: la.cross(x, x[:, ::-1], axis=0), crossed_columns, plain(3, 2), symbolic=False),
]

CASES = [*SOLVE, *SPECTRAL, *NORMS]
