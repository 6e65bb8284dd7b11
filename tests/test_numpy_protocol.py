"""NumPy's functions and operators on nodes: the same values as on arrays, or a clear refusal."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import graphc as gc
from graphc.graph.node import Node
from graphc.ops.numpy_linalg import LINALG
from graphc.ops.numpy_protocol import FUNCTIONS, SCIPY_UFUNCS, UFUNCS, numpy_function

A = np.array([[0.3, 0.9, 0.5], [0.2, 0.7, 0.4], [0.6, 0.1, 0.8]])
B = np.array([[1.5, 2.0, 1.25], [3.0, 1.75, 2.5], [1.1, 2.2, 3.3]])


def on_nodes(fn: Callable[..., Any], *arrays: np.ndarray[Any, Any]) -> Any:
    nodes = [gc.placeholder(f"x{i}", shape=a.shape, dtype=a.dtype) for i, a in enumerate(arrays)]
    out = fn(*nodes)
    return out.eval(dict(zip(nodes, arrays, strict=True))) if isinstance(out, Node) else out


@pytest.mark.parametrize("name", sorted(set(UFUNCS) - {"clip"}))
def test_ufuncs(name: str) -> None:
    ufunc = getattr(np, name)
    integer = "bitwise" in name or "shift" in name or name == "invert"
    operands = [a.astype("int64") if integer else a for a in ((B, B) if name == "arccosh" else (A, B))][: ufunc.nin]
    got, wanted = on_nodes(ufunc, *operands), ufunc(*operands)
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=1e-14)


CALLS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: np.sum(x, axis=0, keepdims=True),
    "prod": lambda x: np.prod(x, 1),
    "max": lambda x: np.max(x, axis=(0, 1)),
    "min": lambda x: np.min(x),
    "amax": lambda x: np.amax(x, 0),
    "amin": lambda x: np.amin(x, 0),
    "mean": lambda x: np.mean(x, axis=-1),
    "any": lambda x: np.any(x > 0.5, axis=0),
    "all": lambda x: np.all(x > 0.1, axis=0),
    "argmax": lambda x: np.argmax(x, axis=1),
    "argmin": lambda x: np.argmin(x, 0),
    "var": lambda x: np.var(x, axis=0, ddof=1),
    "std": lambda x: np.std(x, 1),
    "cumsum": lambda x: np.cumsum(x),
    "cumprod": lambda x: np.cumprod(x, axis=1),
    "cumulative_sum": lambda x: np.cumulative_sum(x, axis=1),
    "cumulative_prod": lambda x: np.cumulative_prod(x, axis=0),
    "reshape": lambda x: np.reshape(x, (9, 1)),
    "ravel": np.ravel,
    "transpose": lambda x: np.transpose(x, (1, 0)),
    "matrix_transpose": lambda x: np.matrix_transpose(x),
    "moveaxis": lambda x: np.moveaxis(x, 0, 1),
    "squeeze": lambda x: np.squeeze(np.expand_dims(x, 0)),
    "expand_dims": lambda x: np.expand_dims(x, axis=1),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 3, 3)),
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, x[0])[1],
    "concatenate": lambda x: np.concatenate([x, x], 1),
    "stack": lambda x: np.stack((x, 2 * x), axis=2),
    "unstack": lambda x: np.unstack(x, axis=1)[2],
    "flip": lambda x: np.flip(x, 0),
    "roll": lambda x: np.roll(x, 1, axis=0),
    "tile": lambda x: np.tile(x, (1, 2)),
    "repeat": lambda x: np.repeat(x, 2, axis=1),
    "take": lambda x: np.take(x, [2, 0], axis=1),
    "take_along_axis": lambda x: np.take_along_axis(x, np.array([[0], [2], [1]]), axis=1),
    "sort": lambda x: np.sort(x, axis=None),
    "argsort": lambda x: np.argsort(x, 0, stable=True),
    "searchsorted": lambda x: np.searchsorted(np.sort(x[0]), x, side="right"),
    "diff": lambda x: np.diff(x, 1, 0, prepend=x[:1]),
    "median": lambda x: np.median(x, 0),
    "pad": lambda x: np.pad(x, ((1, 0), (2, 1)), mode="reflect"),
    "quantile": lambda x: np.quantile(x, 0.3, axis=1, method="higher"),
    "where": lambda x: np.where(x > 0.5, x, -x),
    "clip": lambda x: np.clip(x, 0.3, max=0.6) if isinstance(x, Node) else np.clip(x, 0.3, 0.6),
    "round": lambda x: np.round(10 * x),
    "astype": lambda x: np.astype(10 * x, "int32"),
    "tril": lambda x: np.tril(x, -1),
    "triu": lambda x: np.triu(x, 1),
    "zeros_like": np.zeros_like,
    "ones_like": lambda x: np.ones_like(x, dtype="int8"),
    "empty_like": lambda x: 0 * np.empty_like(x),
    "full_like": lambda x: np.full_like(x, 3),
    "dot": lambda x: np.dot(x, x[0]),
    "matmul": lambda x: np.linalg.matmul(x, x),
    "vecdot": lambda x: np.linalg.vecdot(x, x),
    "tensordot": lambda x: np.tensordot(x, x, axes=([1], [0])),
    "outer": lambda x: np.outer(x[0], x[1]),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, x),
    "trace": lambda x: np.trace(x, offset=1),
    "diagonal": lambda x: np.diagonal(x, 1),
    "shape": np.shape,
    "ndim": np.ndim,
    "size": np.size,
}


def test_every_function_has_a_call() -> None:
    assert set(CALLS) == set(FUNCTIONS)


@pytest.mark.parametrize("name", CALLS)
def test_functions(name: str) -> None:
    got, wanted = on_nodes(CALLS[name], A), CALLS[name](A)
    assert np.asarray(got).dtype == np.asarray(wanted).dtype
    np.testing.assert_allclose(got, wanted, rtol=1e-14)


STACK = np.stack([A @ A.T + np.eye(3), B @ B.T + np.eye(3)])
LINEAR_ALGEBRA: dict[str, Callable[[Any], Any]] = {
    "cholesky": np.linalg.cholesky,
    "cholesky upper": lambda x: np.linalg.cholesky(x, upper=True),
    "cross": lambda x: np.linalg.cross(x, x[..., ::-1]),
    "det": np.linalg.det,
    "diagonal": np.linalg.diagonal,
    "diagonal offset": lambda x: np.linalg.diagonal(x, offset=1),
    "eigh": lambda x: np.linalg.eigh(x).eigenvalues,
    "eigh upper": lambda x: np.linalg.eigh(np.triu(x), "U")[0],
    "eigvalsh": lambda x: np.linalg.eigvalsh(np.triu(x), UPLO="U"),
    "inv": np.linalg.inv,
    "matmul": lambda x: np.linalg.matmul(x, x),
    "matrix_norm": np.linalg.matrix_norm,
    "matrix_norm nuc": lambda x: np.linalg.matrix_norm(x, ord="nuc", keepdims=True),
    "matrix_power": lambda x: np.linalg.matrix_power(x, -2),
    "matrix_rank": lambda x: np.linalg.matrix_rank(x),
    "matrix_rank tol": lambda x: np.linalg.matrix_rank(x, 2.0),
    "matrix_rank rtol": lambda x: np.linalg.matrix_rank(x, rtol=0.2),
    "matrix_transpose": np.linalg.matrix_transpose,
    "norm": np.linalg.norm,
    "norm axis": lambda x: np.linalg.norm(x, 1, 0, True),
    "norm axes": lambda x: np.linalg.norm(x, axis=(0, 1)),
    "outer": lambda x: np.linalg.outer(x[0, 0], x[0, 1]),
    "pinv": lambda x: np.linalg.pinv(x[:, :2]),
    "qr": lambda x: np.abs(np.linalg.qr(x).R),
    "qr r": lambda x: np.abs(np.linalg.qr(x, "r")),
    "slogdet": lambda x: np.linalg.slogdet(x).logabsdet,
    "solve": lambda x: np.linalg.solve(x, x[0, 0]),
    "solve matrices": lambda x: np.linalg.solve(x, x[:, :, :2]),
    "svd": lambda x: np.linalg.svd(x)[1],
    "svd reduced": lambda x: np.abs(np.linalg.svd(x[:, :2], full_matrices=False).Vh),
    "svd values": lambda x: np.linalg.svd(x, compute_uv=False),
    "svdvals": np.linalg.svdvals,
    "tensordot": lambda x: np.linalg.tensordot(x[0], x[1], axes=1),
    "trace": np.linalg.trace,
    "trace offset": lambda x: np.linalg.trace(x, offset=-1),
    "vecdot": lambda x: getattr(np.linalg, "vecdot")(x, x, axis=1),  # noqa: B009
    "vector_norm": np.linalg.vector_norm,
    "vector_norm axes": lambda x: np.linalg.vector_norm(x, axis=(0, 2), ord=3, keepdims=True),
}


def test_all_of_linear_algebra_has_a_call() -> None:
    assert {name.split()[0] for name in LINEAR_ALGEBRA} == set(LINALG)


@pytest.mark.parametrize("name", LINEAR_ALGEBRA)
def test_linear_algebra(name: str) -> None:
    got, wanted = on_nodes(LINEAR_ALGEBRA[name], STACK), LINEAR_ALGEBRA[name](STACK)
    assert np.shape(got) == np.shape(wanted) and np.asarray(got).dtype == np.asarray(wanted).dtype
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LINALG)
def test_linear_algebra_has_numpys_parameters(name: str) -> None:
    """The same names, kinds and defaults; a default that is NumPy's "not given" is None here."""
    ours, numpys = (inspect.signature(f).parameters for f in (LINALG[name], getattr(np.linalg, name)))
    assert list(ours) == list(numpys)
    for parameter, theirs in numpys.items():
        assert ours[parameter].kind == theirs.kind
        assert ours[parameter].default == theirs.default or ours[parameter].default is None


DEFAULTS: dict[str, Callable[[Any], Any]] = {
    **{n: getattr(np, n) for n in ("sum", "prod", "max", "min", "amax", "amin", "mean", "var", "std", "any", "all")},
    **{n: getattr(np, n) for n in ("argmax", "argmin", "cumsum", "cumprod", "ravel", "transpose", "matrix_transpose")},
    **{n: getattr(np, n) for n in ("squeeze", "flip", "sort", "argsort", "diff", "median", "round", "tril", "triu")},
    **{n: getattr(np, n) for n in ("trace", "diagonal", "shape", "ndim", "size", "zeros_like", "ones_like")},
    "trace axes": lambda x: np.trace(x, -1, 2, 0),
    "diagonal axes": lambda x: np.diagonal(x, 0, 1, 2),
    "outer": lambda x: np.outer(x, x[0]),
    "dot": lambda x: np.dot(x, x[0]),
    "concatenate": lambda x: np.concatenate((x, x)),
    "concatenate flat": lambda x: np.concatenate((x, x[0]), axis=None),
    "stack": lambda x: np.stack([x, x]),
    "roll": lambda x: np.roll(x, 2),
    "repeat": lambda x: np.repeat(x, 2),
    "take": lambda x: np.take(x, [5, -1]),
    "take_along_axis": lambda x: np.take_along_axis(x, np.argsort(x, -1), -1),
    "tensordot": lambda x: np.tensordot(x[0], x[0]),
    "quantile": lambda x: np.quantile(x, [0.25, 0.5]),
    "vecdot": lambda x: np.vecdot(x, x),
    "unstack": lambda x: np.unstack(x)[1],
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_on_three_axes(name: str) -> None:
    cube = np.cos(np.arange(24.0)).reshape(2, 3, 4)
    if name in ("dot", "tensordot"):
        cube = cube[:, :, :3]
    got, wanted = on_nodes(DEFAULTS[name], cube), DEFAULTS[name](cube)
    assert np.shape(got) == np.shape(wanted) and np.asarray(got).dtype == np.asarray(wanted).dtype
    np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", sorted(SCIPY_UFUNCS))
def test_scipys_special_functions(name: str) -> None:
    ufunc = getattr(scipy.special, name)
    np.testing.assert_allclose(on_nodes(ufunc, A), ufunc(A), rtol=1e-13)


def test_functions_of_other_modules_are_not_taken_for_numpys() -> None:
    x = gc.placeholder("x", shape=(3, 3))

    def exp(v: float) -> float:
        return v + 1

    foreign = np.frompyfunc(exp, 1, 1)
    with pytest.raises(gc.ArgumentError, match=r"the ufunc exp .*does not accept nodes"):
        foreign(x)
    with pytest.raises(gc.ArgumentError, match=r"the ufunc j0 does not accept nodes"):
        scipy.special.j0(x)
    with pytest.raises(gc.ArgumentError, match=r"np.fft.fftshift does not accept nodes"):
        np.fft.fftshift(x)
    with pytest.raises(gc.ArgumentError, match=r"np.linalg.svd of a node: f64\[3,2\] needs full_matrices=False"):
        np.linalg.svd(x[:, :2])
    with pytest.raises(gc.ArgumentError, match=r"np.linalg.det of a node: too many positional arguments"):
        numpy_function(np.linalg.det, (x, x), {})


@pytest.mark.parametrize(
    "fn",
    [
        lambda a, x: a + x,
        lambda a, x: a - x,
        lambda a, x: a * x,
        lambda a, x: a / x,
        lambda a, x: a // x,
        lambda a, x: a % x,
        lambda a, x: a**x,
        lambda a, x: a @ x,
        lambda a, x: a < x,
        lambda a, x: a >= x,
        lambda a, x: a[0, 0] * x,
        lambda a, x: a.clip(x, 2 * x),
    ],
)
def test_an_array_on_the_left(fn: Callable[[Any, Any], Any]) -> None:
    got = on_nodes(lambda x: fn(B, x) if isinstance(fn(B, x), Node) else pytest.fail("no node"), A)
    np.testing.assert_allclose(got, fn(B, A), rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: A.copy() == x, r"== and != on a node are not a comparison of values; use gc.equal\(x, y\)"),
        (lambda x: A.copy() != x, r"use gc.not_equal\(x, y\)"),
        (lambda x: np.equal(x, 1.0), r"use gc.equal"),
        (lambda x: np.add.reduce(x), r"np.add.reduce does not accept nodes; use gc.sum"),
        (lambda x: np.spacing(x), r"np.spacing does not accept nodes; accepted: absolute, add"),
        (lambda x: np.conjugate(x), r"np.conjugate does not accept nodes"),
        (lambda x: np.exp(x, out=A.copy()), r"np.exp: a node cannot be written into an array"),
        (lambda x: np.exp(x, dtype="float32"), r"np.exp: dtype cannot be used with nodes"),
        (lambda x: A.copy().__iadd__(x), r"np.add: a node cannot be written into an array"),
        (lambda x: np.unique(x), r"np.unique does not accept nodes; accepted: all, amax"),
        (lambda x: np.linalg.lstsq(x, x), r"np.linalg.lstsq does not accept nodes; accepted: cholesky, cross"),
        (lambda x: np.sum(x, out=A.copy()), r"np.sum of a node: got an unexpected keyword argument 'out'; accepted:"),
        (lambda x: np.round(x, 2), r"np.round: decimals=2 is not supported"),
        (lambda x: np.asarray(x), r"a node has no array before a call"),
    ],
)
def test_refusals(call: Callable[[Node], Any], message: str) -> None:
    x = gc.placeholder("x", shape=(3, 3))
    with pytest.raises(gc.ArgumentError, match=message + r".*\[test_numpy_protocol.py:\d+\]"):
        call(x)
