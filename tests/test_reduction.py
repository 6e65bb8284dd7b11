"""Reductions where tables do not reach: ties, zeros, infinities, empty axes, derivatives of order three, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.node import Node
from graphc.graph.op import Composite, apply
from graphc.graph.types import Array
from graphc.ops.cumulative import LinearRecurrence
from graphc.ops.reduction import LogSoftmax, LogSumExp, Softmax

INF = float("inf")
NAN = float("nan")


def gradient(build: Callable[[Node], Node], values: Any) -> Array:
    """Differentiate the sum of `build` at an array."""
    array = np.asarray(values, dtype=np.float64)
    x = gc.placeholder("x", array.shape)
    result: Array = gc.grad(gc.sum(build(x)), x, disconnected="zero").eval({x: array})
    return result


# -- extremes


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1, 3, 2], [0, 1, 0]),
        ([3, 1, 3], [0.5, 0, 0.5]),
        ([0.0, -0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]),
        ([INF, 1, INF], [0.5, 0, 0.5]),
        ([-INF, -INF], [0.5, 0.5]),
        ([1, NAN, 2], [0, 1, 0]),
        ([NAN, INF, NAN], [0.5, 0, 0.5]),
    ],
)
def test_ties_share_the_gradient_of_max_and_min(values: list[float], wanted: list[float]) -> None:
    np.testing.assert_array_equal(gradient(gc.max, values), wanted)
    np.testing.assert_array_equal(gradient(gc.min, [-v for v in values]), wanted)


def test_ties_in_forward_mode() -> None:
    x = gc.constant([3.0, 1.0, 3.0])
    assert gc.jvp(gc.max(x), x, gc.constant([1.0, 5.0, 3.0])).eval() == 2


def test_positions_take_the_first_and_nan_counts_as_extreme() -> None:
    x = gc.constant([[1.0, 3.0, 3.0], [2.0, NAN, NAN]])
    assert gc.argmax(x, 1).eval().tolist() == [1, 1]
    assert gc.argmin(x, 1).eval().tolist() == [0, 1]
    assert gc.argmax(x, keepdims=True).eval().tolist() == [[4]]
    assert gc.argmax(gc.constant(2.0)).eval() == 0


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_an_extreme_needs_elements(name: str) -> None:
    function = getattr(gc, name)
    with pytest.raises(gc.ShapeError, match=rf"{name}: f64\[0,3\]: an empty axis .*test_reduction.py"):
        function(gc.zeros((0, 3)), axis=0)
    x = gc.placeholder("x", ("n", 3))
    with pytest.raises(gc.ShapeError, match=rf"{name}: an empty axis .*test_reduction.py"):
        function(x, axis=0).eval({x: np.zeros((0, 3))})
    assert function(x, axis=1).eval({x: np.zeros((0, 3))}).shape == (0,)


def test_bool_extremes_are_any_and_all() -> None:
    x = gc.constant([[True, False], [False, False]])
    assert gc.max(x, 1).eval().tolist() == [True, False]
    assert gc.min(x, 0).eval().tolist() == [False, False]


# -- products


def test_gradient_of_a_product_with_zeros() -> None:
    np.testing.assert_array_equal(gradient(gc.prod, [2, 3, 4]), [12, 8, 6])
    np.testing.assert_array_equal(gradient(gc.prod, [2, 0, 4]), [0, 8, 0])
    np.testing.assert_array_equal(gradient(gc.prod, [0, 0, 4]), [0, 0, 0])


def test_third_derivative_of_a_product_with_zeros() -> None:
    """d3(abcd) / da db dc = d, whatever vanishes."""
    x = gc.placeholder("x", (4,))
    node = gc.prod(x)
    for axis in (0, 1, 2):
        node = gc.grad(node, x)[axis]
    for values in ([0, 0, 0, 7], [1, 0, 2, 7], [1, 2, 3, 7]):
        assert node.eval({x: np.array(values, float)}) == 7


def test_second_derivative_of_a_running_product_after_zeros() -> None:
    """Out = (a, ab, abc): d2(sum) / da db = 1 + c, d2 / db dc = a, also at a = b = 0."""
    x = gc.placeholder("x", (3,))
    first = gc.grad(gc.sum(gc.cumulative_prod(x)), x)
    second = gc.stack([gc.grad(first[i], x) for i in range(3)])
    got = second.eval({x: np.array([0.0, 0.0, 5.0])})
    np.testing.assert_array_equal(got, [[0, 6, 0], [6, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("length", [1, 2, 5, 8])
@pytest.mark.parametrize("symbolic", [False, True])
def test_linear_recurrence_compiles_to_its_value(reverse: bool, axis: int, length: int, symbolic: bool) -> None:
    rng = np.random.default_rng(0)
    shape = [3, 3, 3]
    shape[axis] = length
    declared: list[Any] = [*shape]
    declared[axis] = "n" if symbolic else length
    a, b = gc.placeholder("a", declared), gc.placeholder("b", declared)
    op = LinearRecurrence(axis, reverse)
    values = {a: rng.uniform(-1, 1, shape), b: rng.uniform(-1, 1, shape)}
    values[a][rng.random(shape) < 0.3] = 0
    np.moveaxis(values[a], axis, 0)[-1 if reverse else 0] = np.inf  # not read: nothing is before the first
    order = np.arange(length)[::-1] if reverse else np.arange(length)
    left, right, wanted = (np.moveaxis(v, axis, 0) for v in (values[a], values[b], np.empty(shape)))
    for count, i in enumerate(order):
        wanted[i] = right[i] + left[i] * wanted[order[count - 1]] if count else right[i]
    f = gc.function([a, b], apply(op, a, b))
    for got in (f(values[a], values[b]), gc.evaluate(apply(op, a, b), values)):
        np.testing.assert_allclose(np.moveaxis(got, axis, 0), wanted, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_of_running_products_take_memory_that_grows_as_the_axis_does(order: int) -> None:
    x = gc.placeholder("x", shape=("n",))
    y = gc.sum(gc.cumulative_prod(x) ** 2)
    for _ in range(order):
        y = gc.sum(gc.grad(y, x))
    f = gc.function([x], y)
    peaks = []
    for n in (1000, 4000):
        f(np.ones(n))
        peaks.append(f.plan.peak_bytes)
    assert peaks[1] <= 4.1 * peaks[0]


# -- softmax and its relatives

ROWS = np.array(
    [
        [1.0, 2.0, 3.0],
        [1e4, -1e4, 0.0],
        [-INF, -INF, -INF],
        [INF, 1.0, INF],
        [INF, -INF, 1.0],
        [-INF, 0.0, 0.0],
        [NAN, 0.0, 1.0],
        [1e308, 1e308, -1e308],
    ]
)


def test_softmax_at_infinities() -> None:
    got = gc.softmax(ROWS).eval()
    third, half = [1 / 3] * 3, [0.5, 0, 0.5]
    np.testing.assert_allclose(got[1:6], np.array([[1, 0, 0], third, half, [1, 0, 0], [0, 0.5, 0.5]]), rtol=1e-15)
    assert np.isnan(got[6]).all()
    np.testing.assert_array_equal(got[7], [0.5, 0.5, 0])


def test_logsumexp_at_infinities() -> None:
    got = gc.logsumexp(ROWS, axis=1).eval()
    np.testing.assert_array_equal(got[1:], [1e4, -INF, INF, INF, np.log(2.0), NAN, 1e308])
    assert gc.logsumexp(gc.zeros((2, 0)), axis=1).eval().tolist() == [-INF, -INF]
    assert gc.softmax(gc.zeros((2, 0))).eval().shape == (2, 0)


def test_log_softmax_at_infinities() -> None:
    got = gc.log_softmax(ROWS).eval()
    np.testing.assert_allclose(got[1], [0, -2e4, -1e4])
    np.testing.assert_allclose(got[2], [-np.log(3)] * 3)
    np.testing.assert_allclose(got[3], [-np.log(2), -INF, -np.log(2)])
    assert np.isnan(got[6]).all()


FAMILY = [LogSumExp((1,)), LogSumExp((0, 1)), Softmax(0), Softmax(1), LogSoftmax(0), LogSoftmax(1)]


@pytest.mark.parametrize("op", FAMILY, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_composites_expand_to_their_value(op: Composite, dtype: str) -> None:
    """Row by row, since one NaN spoils a column, and with a symbolic and an empty batch."""
    x = gc.placeholder("x", ("n", 3), dtype)
    graph = [op.expand(x), apply(op, x)]
    rows = np.clip(ROWS, -1e38, 1e38, where=np.isfinite(ROWS), out=ROWS.copy()).astype(dtype)
    batches = [rows, *(rows[i : i + 1] for i in range(len(rows)))]
    for array in [*batches, rows[:0]]:
        expanded, whole = gc.evaluate(graph, {x: array})
        np.testing.assert_allclose(expanded, whole, rtol=1e-6 if dtype == "float32" else 1e-14)


def test_gradients_of_the_softmax_family_stay_finite_on_a_masked_row() -> None:
    masked = np.full((1, 3), -INF)
    family: list[Callable[[Node], Node]] = [gc.softmax, gc.log_softmax, lambda x: gc.logsumexp(x, axis=-1)]
    for function in family:
        assert np.isfinite(gradient(function, masked)).all()
        chosen = gradient(_where_finite(function), [[NAN, 1.0, 2.0]])
        np.testing.assert_array_equal(chosen, np.zeros((1, 3)))


def _where_finite(function: Callable[[Node], Node]) -> Callable[[Node], Node]:
    return lambda x: gc.where(gc.isfinite(gc.sum(x)), gc.sum(function(x)), 0.0)


def test_softmax_needs_floats_in_and_out() -> None:
    assert gc.softmax(gc.constant([1, 2])).dtype == np.float64
    assert gc.softmax(gc.constant([1, 2], "float32")).dtype == np.float32
    assert gc.logsumexp(gc.constant(2.0)).eval() == 2


# -- statistics


def test_std_of_equal_values_has_gradient_zero() -> None:
    np.testing.assert_array_equal(gradient(gc.std, [2.0, 2.0, 2.0]), [0, 0, 0])


def test_variance_is_computed_in_two_passes() -> None:
    values = 1e9 + np.array([4.0, 7.0, 13.0, 16.0])
    assert gc.var(values, correction=1).eval() == 30
    assert gc.std(values).eval() == np.sqrt(22.5)


def test_statistics_of_symbolic_sizes() -> None:
    x = gc.placeholder("x", ("n", "m"))
    for n, m in ((2, 3), (5, 1), (1, 1)):
        values = np.arange(n * m, dtype=float).reshape(n, m) ** 2
        np.testing.assert_allclose(gc.mean(x).eval({x: values}), values.mean())
        np.testing.assert_allclose(gc.var(x, axis=1).eval({x: values}), values.var(axis=1))
    assert np.isnan(gc.var(x, correction=1).eval({x: [[2.0]]}))
    assert np.isnan(gc.mean(x).eval({x: np.zeros((0, 2))}))


def test_dtypes_of_sums() -> None:
    for dtype, wanted in {"bool": "int64", "int8": "int64", "uint8": "uint64", "float32": "float32"}.items():
        x = gc.zeros(3, dtype=dtype)
        assert gc.sum(x).dtype == gc.prod(x).dtype == gc.cumulative_sum(x).dtype == wanted
    assert gc.sum(gc.zeros(3, dtype="int8"), dtype="int8").dtype == "int8"
    assert gc.mean(gc.zeros(3, dtype="int8")).dtype == "float64"
    assert gc.mean(gc.zeros(3, dtype="float32")).dtype == "float32"


# -- errors


def test_axes_are_checked() -> None:
    x = gc.zeros((2, 3))
    with pytest.raises(gc.ShapeError, match=r"sum: axis 2 is out of range for 2 axes  \[test_reduction.py:\d+\]"):
        gc.sum(x, axis=2)
    with pytest.raises(gc.ShapeError, match="max: axis -3 is out of range"):
        gc.max(x, axis=(0, -3))
    with pytest.raises(gc.ShapeError, match=r"mean: an axis is repeated in \(0, -2\)"):
        gc.mean(x, axis=(0, -2))
    with pytest.raises(gc.ArgumentError, match=r"sum: axis must be an int, got 1\.0"):
        gc.sum(x, axis=1.0)
    with pytest.raises(gc.ShapeError, match="softmax: axis -1 is out of range for 0 axes"):
        gc.softmax(gc.constant(1.0))
    with pytest.raises(gc.ArgumentError, match=r"cumulative_sum: axis is needed for f64\[2,3\]"):
        gc.cumulative_sum(x)


@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_the_mean_of_no_elements_has_a_hard_zero_as_derivative(mode: str) -> None:
    """Its value is NaN; what its elements are made of does not move it."""
    x, v = gc.placeholder("x", (0,)), gc.placeholder("v", ())
    y = x * v
    for out in (gc.mean(gc.exp(y)), gc.var(y), gc.std(y), gc.nn.mse_loss(x, y), gc.nn.gaussian_nll_loss(x, y, [2.0])):
        first = gc.grad(out, v)
        second = gc.grad(first, v, disconnected="zero")
        f = gc.function([x, v], [out, first, second], on_unused="ignore", mode=mode)  # type: ignore[arg-type]
        value, *slopes = f(np.zeros(0), 1.5)
        assert np.isnan(value) and slopes == [0.0, 0.0]
