"""Normalisations, attention, dropout and embedding where the tables do not reach: extremes, kernels, refusals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array

nn = gc.nn
X = gc.placeholder("x", ("n", 4))
RNG = np.random.default_rng(0)


# -- normalisations


def offset_rows(dtype: str) -> tuple[Array, Array]:
    """Return rows around 0 that are multiples of 1/8, and the same rows exactly 2**20 (float32) or 2**40 higher."""
    rows = np.round(RNG.normal(0, 1, (3, 64)) * 8) / 8
    return rows.astype(dtype), (rows + (2.0**20 if dtype == "float32" else 2.0**40)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_offsets_cost_no_digits(dtype: str) -> None:
    x = gc.placeholder("x", ("n", 64), dtype)
    outputs = [nn.layer_norm(x, 64), nn.group_norm(x, 4)]
    near, far = offset_rows(dtype)
    f = gc.function(x, outputs)
    wanted = (near - near.mean(-1, keepdims=True, dtype="float64")) / np.sqrt(
        near.var(-1, keepdims=True, dtype="float64") + 1e-5
    )
    eps = float(np.finfo(dtype).eps)
    for got in (f(far)[0], gc.evaluate(outputs[0], {x: far})):
        np.testing.assert_allclose(got, wanted, 20 * eps, 20 * eps)
    np.testing.assert_allclose(f(far)[1], f(near)[1], 1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3, -1e30])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_of_equal_values_become_0(dtype: str, value: float) -> None:
    x = gc.placeholder("x", ("n", 1000), dtype)
    out = nn.layer_norm(x, 1000)
    got, slope = gc.evaluate([out, gc.grad(gc.sum(out * out), x)], {x: np.full((1, 1000), value, dtype)})
    np.testing.assert_array_equal(got, 0)
    np.testing.assert_array_equal(slope, 0)


def test_rms_norm_of_zeros() -> None:
    out = nn.rms_norm(X, 4)
    got, slope = gc.evaluate([out, gc.grad(gc.sum(out), X)], {X: np.zeros((1, 4))})
    np.testing.assert_array_equal(got, 0)
    np.testing.assert_allclose(slope, np.finfo("float64").eps ** -0.5)
    out = nn.rms_norm(X, 4, eps=0.0)
    got, slope = gc.evaluate([out, gc.grad(gc.sum(out), X)], {X: np.zeros((1, 4))})
    np.testing.assert_array_equal([got, slope], 0)


def test_a_masked_row_has_no_say() -> None:
    rows = np.array([[np.nan, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 5.0]])
    for out in (nn.layer_norm(X, 4), nn.rms_norm(X, 4)):
        loss = gc.sum(gc.where(X[:, :1] > 0, gc.square(out), 0))
        (slope,) = gc.evaluate([gc.grad(loss, X)], {X: rows})
        np.testing.assert_array_equal(slope[0], 0)
        assert np.isfinite(slope).all()


def test_normalize_of_zeros_is_zero() -> None:
    out = nn.normalize(X)
    got, slope = gc.evaluate([out, gc.grad(gc.sum(out), X)], {X: np.zeros((1, 4))})
    np.testing.assert_array_equal(got, 0)
    assert np.isfinite(slope).all()


def test_batch_norm_trains_its_statistics() -> None:
    mean, var = gc.shared(np.zeros(4), name="mean"), gc.shared(np.ones(4), name="var")
    _, next_mean, next_var = nn.batch_norm(X, mean, var, training=True, momentum=0.5)
    f = gc.function(X, nn.batch_norm(X, mean, var)[0], updates={mean: next_mean, var: next_var})
    running_mean, running_var = np.zeros(4), np.ones(4)
    for rows in (5, 2, 1):
        batch = RNG.normal(3, 2, (rows, 4))
        np.testing.assert_allclose(f(batch), (batch - running_mean) / np.sqrt(running_var + 1e-5), rtol=1e-12)
        running_mean = 0.5 * running_mean + 0.5 * batch.mean(0)
        running_var = 0.5 * running_var + 0.5 * (batch.var(0, ddof=1) if rows > 1 else 0)
    np.testing.assert_allclose(mean.get_value(), running_mean, rtol=1e-12)
    np.testing.assert_allclose(var.get_value(), running_var, rtol=1e-12)


def test_refusals_of_normalisations() -> None:
    with pytest.raises(gc.ShapeError, match=r"layer_norm: normalized_shape 3 is not the end of f64\[n,4\]"):
        nn.layer_norm(X, 3)
    with pytest.raises(gc.ShapeError, match=r"layer_norm: weight must have shape \(4\), got f64\[3\]"):
        nn.layer_norm(X, 4, np.ones(3))
    with pytest.raises(gc.ShapeError, match=r"group_norm: 4 channels do not make 3 groups of equal size"):
        nn.group_norm(X, 3)
    with pytest.raises(gc.ShapeError, match=r"instance_norm: axes after the channels are needed, got f64\[n,4\]"):
        nn.instance_norm(X)
    with pytest.raises(
        gc.ShapeError, match=r"batch_norm: more than 1 value a channel is needed in training, got f64\[1,4\]"
    ):
        nn.batch_norm(np.zeros((1, 4)), np.zeros(4), np.ones(4), training=True)
    with pytest.raises(gc.ArgumentError, match=r"rms_norm: eps must be at least 0, got -1"):
        nn.rms_norm(X, 4, eps=-1)
    with pytest.raises(gc.ArgumentError, match=r"local_response_norm: size must be an int from 1 to 65536, got 0"):
        nn.local_response_norm(X, 0)


# -- attention

QUERY, KEY, VALUE = (
    gc.placeholder(name, ("batch", length, 3)) for name, length in (("q", "L"), ("k", "S"), ("v", "S"))
)
ARRAYS = {x: RNG.normal(size=(2, size, 3)) for x, size in ((QUERY, 2), (KEY, 4), (VALUE, 4))}


@pytest.mark.parametrize("dtype", ["bool", "float64"])
def test_rows_that_attend_to_nothing_give_0(dtype: str) -> None:
    mask = gc.placeholder("mask", ("L", "S"), dtype)
    allowed = np.array([[False] * 4, [True, False, False, True]])
    given = allowed if dtype == "bool" else np.where(allowed, 0.5, -np.inf)
    out = nn.scaled_dot_product_attention(QUERY, KEY, VALUE, mask)
    slopes = gc.grad(gc.sum(gc.square(out)), [QUERY, KEY, VALUE])
    seconds = gc.grad(sum((gc.sum(gc.square(s)) for s in slopes), gc.constant(0.0)), [QUERY, KEY, VALUE])
    bindings = {**ARRAYS, mask: given}
    got = gc.evaluate([out, *slopes, *seconds], bindings)
    assert all(np.isfinite(a).all() for a in got)
    for row in (got[0], got[1], got[4]):
        np.testing.assert_array_equal(row[:, 0], 0)
    for unseen in (got[2], got[3], got[5], got[6]):
        np.testing.assert_array_equal(unseen[:, 1:3], 0)
    short = {QUERY: ARRAYS[QUERY][:, 1:], KEY: ARRAYS[KEY][:, [0, 3]], VALUE: ARRAYS[VALUE][:, [0, 3]]}
    wanted = gc.evaluate(nn.scaled_dot_product_attention(QUERY, KEY, VALUE), short)
    np.testing.assert_allclose(got[0][:, 1:], wanted, rtol=1e-13)
    f = gc.function([QUERY, KEY, VALUE, mask], [out, *slopes])
    for a, b in zip(f(*bindings.values()), got, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_what_is_masked_may_be_anything() -> None:
    mask = np.array([True, True, False, True])
    out = nn.scaled_dot_product_attention(QUERY, KEY, VALUE, mask)
    slopes = gc.grad(gc.sum(gc.square(out)), [QUERY, VALUE])
    wild = ARRAYS[KEY].copy()
    wild[:, 2] = [[np.inf, -np.inf, 1e300], [1e308, 1e308, 1e308]]
    for got, wanted in zip(
        gc.evaluate([out, slopes[1]], {**ARRAYS, KEY: wild}), gc.evaluate([out, slopes[1]], ARRAYS), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_large_scores() -> None:
    bindings = {QUERY: [[[1e4] * 3]], KEY: [[[1e4] * 3, [-1e4] * 3]], VALUE: [[[1.0] * 3, [2.0] * 3]]}
    np.testing.assert_array_equal(
        gc.evaluate(nn.scaled_dot_product_attention(QUERY, KEY, VALUE), bindings), [[[1.0] * 3]]
    )


def test_dropped_weights() -> None:
    rng = gc.random.Generator(3)
    out = nn.scaled_dot_product_attention(QUERY, KEY, gc.ones_like(VALUE), dropout_p=0.5, rng=rng)
    (got,) = gc.evaluate([out], {**ARRAYS, VALUE: ARRAYS[VALUE]})
    assert len(np.unique(got)) > 1 and (got >= 0).all() and (got <= 2 + 1e-12).all()


def test_refusals_of_attention() -> None:
    q = np.zeros((2, 3))
    with pytest.raises(gc.ShapeError, match=r"query, key and value do not fit: f64\[2,3\], f64\[2,4\], f64\[2,3\]"):
        nn.scaled_dot_product_attention(q, np.zeros((2, 4)), q)
    with pytest.raises(gc.ShapeError, match=r"query needs at least 2 axes, got f64\[3\]"):
        nn.scaled_dot_product_attention(np.zeros(3), q, q)
    with pytest.raises(gc.DTypeError, match=r"mask must be bool or float, got i64\[2,2\]"):
        nn.scaled_dot_product_attention(q, q, q, np.ones((2, 2), "int64"))


# -- how many kernels


def test_kernels() -> None:
    """Rows are read once: norms and the softmax of attention are one kernel, their derivatives too."""
    weight, bias = gc.placeholder("weight", (4,)), gc.placeholder("bias", (4,))
    g = gc.placeholder("g", ("n", 4))
    for out, wrt in ((nn.layer_norm(X, 4, weight, bias), [X, weight, bias]), (nn.rms_norm(X, 4, weight), [X, weight])):
        f = gc.function([*wrt, g], [out, *gc.vjp(out, wrt, g)])
        assert len(f.schedule) == 1
    masked = nn.scaled_dot_product_attention(QUERY, KEY, VALUE, gc.placeholder("mask", ("L", "S"), "bool"))
    f = gc.function([QUERY, KEY, VALUE, *(n for n in gc.Graph([masked]).inputs if n.dtype == bool)], masked)
    # The first two find the keys that no query may attend to, and put zeros in their place: NaN times 0 is NaN.
    assert [k.kind for k in f.schedule] == ["loop", "loop", "matmul", "loop", "matmul"]
    plain = gc.function([QUERY, KEY, VALUE], nn.scaled_dot_product_attention(QUERY, KEY, VALUE))
    assert [k.kind for k in plain.schedule] == ["matmul", "loop", "matmul"]


# -- dropout


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_dropout(dtype: str) -> None:
    x = gc.placeholder("x", ("n",), dtype)
    out = nn.dropout(x, 0.25, gc.random.Generator(1))
    f = gc.function(x, [out, gc.grad(gc.sum(out), x)])
    values, slopes = f(np.full(100_000, 3.0, dtype))
    assert values.dtype == slopes.dtype == dtype
    np.testing.assert_allclose(np.unique(values), [0.0, 4.0], rtol=1e-6)
    np.testing.assert_allclose(slopes, values / 3, rtol=1e-6)
    share = np.mean(values == 0)
    assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 100_000)
    assert not np.array_equal(f(np.full(100_000, 3.0, dtype))[0], values)


def test_dropout_at_its_ends() -> None:
    x = gc.placeholder("x", ("n",))
    rng = gc.random.Generator(1)
    assert nn.dropout(x, 0.0) is x and nn.dropout(x, 0.5, rng, training=False) is x
    out = nn.dropout(x, 1, rng)
    got = gc.evaluate([out, gc.grad(gc.sum(out), x)], {x: [1.0, np.inf, np.nan]})
    np.testing.assert_array_equal(got, np.zeros((2, 3)))


@pytest.mark.parametrize("function", [nn.dropout1d, nn.dropout2d, nn.dropout3d])
def test_channels_are_dropped_whole(function: Callable[..., gc.Node]) -> None:
    axes = {nn.dropout1d: 1, nn.dropout2d: 2, nn.dropout3d: 3}[function]
    got = function(gc.ones((20, 30, *(3,) * axes)), 0.5, gc.random.Generator(1)).eval().reshape(600, -1)
    assert set(np.unique(got)) == {0.0, 2.0}
    assert (got == got[:, :1]).all()
    with pytest.raises(gc.ShapeError, match=rf"dropout{axes}d: {axes + 2} axes are needed, got f64\[5\]"):
        function(gc.ones(5))


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = RNG.standard_normal(200_000)
    got = nn.alpha_dropout(x, 0.3, gc.random.Generator(1)).eval()
    assert abs(got.mean()) < 0.02 and abs(got.var() - 1) < 0.02
    np.testing.assert_array_equal(nn.alpha_dropout(x[:3], 1.0, gc.random.Generator(1)).eval(), 0)


def test_refusals_of_dropout() -> None:
    with pytest.raises(gc.ArgumentError, match=r"dropout: p must be a number from 0 to 1, got 1.5"):
        nn.dropout(X, 1.5)
    with pytest.raises(
        gc.ArgumentError, match=r"dropout: rng must be a gc.random.Generator where something is dropped"
    ):
        nn.dropout(X, 0.5)


# -- embedding


@pytest.mark.parametrize("padding", [1, -2])
def test_padding_gets_no_gradient(padding: int) -> None:
    table = gc.placeholder("table", (3, 2))
    out = nn.embedding([[0, 1], [2, 0]], table, padding_idx=padding)
    values = np.arange(6.0).reshape(3, 2)
    got, slope = gc.evaluate([out, gc.grad(gc.sum(out), table)], {table: values})
    np.testing.assert_array_equal(got, values[[[0, 1], [2, 0]]])
    np.testing.assert_array_equal(slope, [[2, 2], [0, 0], [1, 1]])


@pytest.mark.parametrize("index", [3, -1])
def test_embedding_refuses_what_is_no_row(index: int) -> None:
    places = gc.placeholder("places", ("n",), "int64")
    f = gc.function(places, nn.embedding(places, np.ones((3, 2))))
    np.testing.assert_array_equal(f([0, 2]), np.ones((2, 2)))
    with pytest.raises(gc.IndexOutOfBoundsError):
        f([0, index])
    with pytest.raises(gc.DTypeError, match=r"embedding: indices must be integers, got f64\[1\]"):
        nn.embedding([1.0], np.ones((3, 2)))
    with pytest.raises(gc.ArgumentError, match=r"embedding: padding_idx 3 is no row of f64\[3,2\]"):
        nn.embedding([1], np.ones((3, 2)), padding_idx=3)


def test_a_step_moves_the_rows_that_were_read() -> None:
    table = gc.shared(np.ones((1000, 4)), name="table")
    places = gc.placeholder("places", ("n",), "int64")
    loss = gc.sum(nn.embedding(places, table, padding_idx=0))
    f = gc.function(places, loss, updates={table: table - 0.5 * gc.grad(loss, table)})
    f([1, 1, 0])
    np.testing.assert_array_equal(table.get_value()[:3, 0], [1.0, 0.0, 1.0])
