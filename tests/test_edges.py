"""Values at the edges of what functions accept: infinities, ties, overflow, nothing at all, parameters as arrays."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array
from graphc.nn.attention import scaled_dot_product_attention as attention

la = gc.linalg
MODES: list[Any] = ["compiled", "reference"]
INF, NAN = float("inf"), float("nan")

# -- quantiles

MEDIANS: list[tuple[list[float], float, list[float]]] = [
    ([1, 2, INF], 2, [0, 1, 0]),
    ([1, 2, 2, 5], 2, [0, 0.5, 0.5, 0]),
    ([3, 3, 3], 3, [0, 1, 0]),
    ([-INF, INF], NAN, [0.5, 0.5]),
    ([INF, INF], INF, [0.5, 0.5]),
    ([1, INF], INF, [0.5, 0.5]),
    ([-INF, 1], -INF, [0.5, 0.5]),
    ([-INF, 0, 1], 0, [0, 1, 0]),
    ([-1e308, 1.5e308], 0.25e308, [0.5, 0.5]),
    ([1.5e308, 1.7e308], 1.6e308, [0.5, 0.5]),
    ([5e-324, 5e-324], 5e-324, [0.5, 0.5]),
    ([NAN, 1, 2], NAN, [1, 0, 0]),
]


@pytest.mark.parametrize("mode", MODES)
def test_medians_of_infinities_ties_and_large_numbers(mode: Any) -> None:
    x = gc.placeholder("x", ("n",))
    f = gc.function([x], [gc.median(x), gc.grad(gc.median(x), x)], mode=mode)
    for values, middle, slopes in MEDIANS:
        got, slope = f(np.asarray(values, "float64"))
        np.testing.assert_allclose(got, middle, rtol=1e-15, err_msg=str(values))
        np.testing.assert_array_equal(slope, slopes, err_msg=str(values))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["linear", "lower", "higher", "nearest", "midpoint"])
def test_levels_in_a_call(method: str, mode: Any) -> None:
    """Levels outside 0..1 and NaN give NaN, and an error for integers; the others NumPy's quantile."""
    x, q = gc.placeholder("x", ("n",)), gc.placeholder("q", ("k",))
    values, levels = np.random.default_rng(0).normal(size=7), np.asarray([0.0, -0.1, 0.3, 1.0, 1.1, NAN, 2 / 3])
    inside = (levels >= 0) & (levels <= 1)
    got = gc.function([x, q], gc.quantile(x, q, method=method), mode=mode)(values, levels)
    wanted = np.quantile(values, levels[inside], method=method)  # type: ignore[call-overload]
    np.testing.assert_allclose(got[inside], wanted, rtol=1e-14)
    assert np.isnan(got[~inside]).all()
    if method in ("linear", "midpoint"):
        return
    whole = gc.placeholder("whole", ("n",), "int64")
    f = gc.function([whole, q], gc.quantile(whole, q, method=method), mode=mode)
    assert f(np.arange(5), [1.0]) == [4]
    for level in (-0.1, 1.1, NAN, INF):
        with pytest.raises(gc.IndexOutOfBoundsError):
            f(np.arange(5), np.asarray([level]))


# -- tolerances


@pytest.mark.parametrize("rtol", [None, 1e-2, np.float32(1e-2), np.asarray(1e-2), [1e-2, 1e-8, 1e-2]])
def test_tolerances_of_ranks(rtol: Any) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 4, 2)) @ rng.normal(size=(3, 2, 5)) + 1e-4 * rng.normal(size=(3, 4, 5))
    given = {} if rtol is None else {"rtol": rtol}
    np.testing.assert_array_equal(la.matrix_rank(a, **given).eval(), np.linalg.matrix_rank(a, **given))
    x = gc.placeholder("x", ("b", "m", "n"))
    wanted = np.linalg.pinv(a, **given)
    for mode in MODES:
        got = gc.function([x], la.pinv(x, **given), mode=mode)(a)
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rtol", ["x", [1, 2, 3], [1.0, 2.0], object()])
def test_tolerances_that_are_refused(rtol: Any) -> None:
    for function in (la.pinv, la.matrix_rank):
        with pytest.raises(gc.GraphcError, match=r"\[test_edges.py:\d+\]"):
            function(gc.placeholder("x", (3, 4, 5)), rtol=rtol)


# -- norms of nothing

ORDERS: list[dict[str, Any]] = [
    {},
    *({"ord": p} for p in (0, 1, 2, 3, -1, -2, INF, -INF, "fro", "nuc")),
    *({"axis": 0, "ord": p} for p in (None, 0, 1, 2, 3, -1, INF)),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(0,), (0, 2), (2, 0), (0, 0)])
def test_norms_of_empty_arrays_are_numpys(shape: tuple[int, ...], mode: Any) -> None:
    x = gc.placeholder("x", list("ab"[: len(shape)]))
    for order in ORDERS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wanted = np.linalg.norm(np.zeros(shape), **order)
        except ValueError:
            with pytest.raises(gc.GraphcError):
                gc.function([x], la.norm(x, **order), mode=mode)(np.zeros(shape))
            continue
        got = gc.function([x], la.norm(x, **order), mode=mode)(np.zeros(shape))
        np.testing.assert_array_equal(got, wanted, err_msg=str(order))


# -- diagonals


@pytest.mark.parametrize("k", [0, 1, -1, 5, 2**31, 2**62, 2**63 - 1, 2**63, -(2**63), -(2**70)])
def test_diagonals_far_away(k: int) -> None:
    a = np.ones((2, 3))
    near = max(-9, min(k, 9))
    np.testing.assert_array_equal(gc.tril(a, k=k).eval(), np.tril(a, near))
    np.testing.assert_array_equal(gc.triu(a, k=k).eval(), np.triu(a, near))
    np.testing.assert_array_equal(gc.eye(2, 3, k=k).eval(), np.eye(2, 3, near))
    np.testing.assert_array_equal(la.diagonal(a, offset=k).eval(), np.diagonal(a, near))


@pytest.mark.parametrize("k", [1.5, NAN, True, "1", None, [1]])
def test_diagonals_are_ints(k: Any) -> None:
    with pytest.raises(gc.ArgumentError, match="eye: k must be an int, got"):
        gc.eye(3, k=k)
    with pytest.raises(gc.ArgumentError, match="tril: k must be an int, got"):
        gc.tril(np.eye(3), k=k)
    with pytest.raises(gc.ArgumentError, match="diagonal: offset must be an int, got"):
        la.diagonal(np.eye(3), offset=k)


# -- masked keys


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("kind", ["bool", "float", "row", "one-batch", "causal"])
def test_masked_keys_have_no_influence(kind: str, bad: float) -> None:
    """A key and value that no query may attend to can be anything: values and gradients stay bit by bit."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in ((2, 3, 4), (5, 4), (1, 5, 2))]
    broken = [a.copy() for a in arrays]
    broken[1][4] = broken[2][0, 4] = bad
    allowed = np.arange(5) < np.full((2, 3, 1), 4)
    masks = {
        "bool": allowed,
        "float": np.where(allowed, 0.5, -INF),
        "row": allowed[0, 0],
        "one-batch": allowed[:1],
        "causal": None,
    }
    q, k, v = nodes = [gc.placeholder(name, a.shape) for name, a in zip("qkv", arrays, strict=True)]
    out = attention(q, k, v, masks[kind], is_causal=kind == "causal")
    f = gc.function(nodes, [out, *gc.grad(gc.sum(out * out), nodes)])
    for got, wanted in zip(f(*broken), f(*arrays), strict=True):
        np.testing.assert_array_equal(got, wanted)


# -- uniform numbers

RANGES = [(1e6, 1e6 + 1), (-3.0, 2.0), (-3e38, 3e38)]
WIDE_OR_NARROW = [(-1e308, 1e308), (1.0, 1 + 1e-15), (1e15, 1e15 + 1)]
"""Ranges of float64 alone: float32 has no number between their ends, or not the ends."""


@pytest.mark.parametrize(
    ("dtype", "ends"), [*itertools.product(["float32", "float64"], RANGES), *(("float64", r) for r in WIDE_OR_NARROW)]
)
def test_uniform_numbers_are_below_high(dtype: str, ends: tuple[float, float]) -> None:
    low, high = np.asarray(ends).astype(dtype)
    nodes = [gc.placeholder(name, (), dtype) for name in ("low", "high")]
    fixed = gc.random.Generator(0).uniform((50_000,), low=low, high=high, dtype=dtype).eval()
    given = gc.random.Generator(0).uniform((50_000,), low=nodes[0], high=nodes[1], dtype=dtype)
    slopes = gc.grad(gc.mean(given), nodes)
    moved, *slopes_at = gc.evaluate([given, *slopes], dict(zip(nodes, (low, high), strict=True)))
    assert low <= fixed.min() and fixed.max() < high
    np.testing.assert_array_equal(moved, fixed)
    # Means of 50,000 uniform numbers, whose standard deviation is 0.0013.
    np.testing.assert_allclose(slopes_at, [0.5, 0.5], atol=0.01)


# -- the global norm


@pytest.mark.parametrize("scale", [1.0, 1e200, 1e-200, 1e307, 5e-323])
def test_the_global_norm_neither_overflows_nor_vanishes(scale: float) -> None:
    grads = [gc.constant([3.0 * scale, 4.0 * scale]), gc.constant(np.zeros(2, "float32"))]
    norm, clipped = gc.optim.global_norm(grads), gc.optim.clip_by_global_norm(grads, scale)
    np.testing.assert_allclose(norm.eval(), np.hypot(3.0 * scale, 4.0 * scale), rtol=1e-15)
    if scale >= 1:
        np.testing.assert_allclose(clipped[0].eval(), [0.6 * scale, 0.8 * scale], rtol=1e-6)


def test_the_global_norm_of_numbers_of_all_sizes() -> None:
    values: Array = np.asarray([0.9e-140, 1.1e-140] * 500)
    np.testing.assert_allclose(gc.optim.global_norm([gc.constant(values)]).eval(), 1e-140 * np.sqrt(1010), rtol=1e-14)
    np.testing.assert_array_equal(gc.optim.global_norm([gc.constant([1e-200, 1.0, 1e200])]).eval(), 1e200)
