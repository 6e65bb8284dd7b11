"""Elementwise functions where tables do not reach: derivatives at the extremes, promotion, errors, records."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.codegen.math.vecmath import DEBUG_GLOBALS
from graphc.graph.node import Node
from graphc.graph.types import SHORT_NAMES
from graphc.ops.elementwise import ADD, sqrt_safe
from graphc.ops.pointwise import ELEMENTWISE
from tests.cases_elementwise import EDGES, FLOATS

INF = float("inf")
NAN = float("nan")


def gradient(build: Callable[..., Node], *values: float) -> list[float]:
    """Differentiate a function of numbers."""
    inputs = [gc.placeholder(f"x{i}") for i in range(len(values))]
    grads = gc.grad(build(*inputs), inputs, disconnected="zero")
    return [float(g) for g in gc.evaluate(grads, dict(zip(inputs, values, strict=True)))]


# -- values


@pytest.mark.parametrize("case", [c for c in FLOATS if len(c.shapes) == 2], ids=lambda c: c.id)
def test_every_pair_of_special_values(case: Any) -> None:
    edges = EDGES[:-1] if case.id == "copysign" else EDGES  # the sign of nan is not defined
    x, y = (np.array(column) for column in zip(*itertools.product(edges, edges), strict=True))
    nodes = [gc.placeholder(name, shape=("n",)) for name in "xy"]
    got = case.build(*nodes).eval(dict(zip(nodes, (x, y), strict=True)))
    with np.errstate(all="ignore"):
        wanted = case.numpy(x, y)
    np.testing.assert_array_equal(got, wanted)


def test_integer_division_by_zero_gives_zero() -> None:
    for dtype in ("int8", "int64", "uint16"):
        x = gc.constant([7, 0, 1], dtype)
        assert (x // 0).eval().tolist() == [0, 0, 0]
        assert (x % 0).eval().tolist() == [0, 0, 0]


def test_integer_powers() -> None:
    base = gc.constant([2, 1, -1, -1, 0, 3])
    assert gc.pow(base, gc.constant([-1, -5, -3, -2, -1, 2])).eval().tolist() == [0, 1, -1, 1, 0, 9]
    with pytest.raises(gc.DTypeError, match=r"pow: int64 to the negative power -1; convert .*test_elementwise.py"):
        base**-1
    assert (base.astype("float64") ** -1).eval()[0] == 0.5


def test_signs_of_zero() -> None:
    zeros = gc.constant([0.0, -0.0])
    assert np.signbit(gc.sign(zeros).eval()).tolist() == [False, False]
    assert np.signbit(gc.negative(zeros).eval()).tolist() == [True, False]
    assert np.signbit(gc.round(gc.constant([-0.4, 0.4])).eval()).tolist() == [True, False]


def test_sigmoid_keeps_the_smallest_floats() -> None:
    assert gc.sigmoid(-745.0).eval() == 5e-324
    assert gc.sigmoid(-800.0).eval() == 0.0
    assert gc.sigmoid(np.float32(-100)).eval() > 0


KINDS = {
    "number": "dfbB",
    "float": "df",
    "any": "dbB?",
    "integer": "bB",
    "bitwise": "bB?",
    "logical": "?",
    "where": "d",
}
SAMPLES = {"d": EDGES, "f": EDGES[:6], "b": (0, 1, -1, 7, -128, 127), "B": (0, 1, 7, 255), "?": (False, True)}


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_scalar_code_means_what_evaluate_computes(name: str) -> None:
    """The template of every record, run un-jitted on every combination of special values."""
    record = ELEMENTWISE[name]
    count = len(record.partials)
    for kind in KINDS[record.accepts]:
        kinds = ["?", kind, kind] if record.accepts == "where" else [kind] * count
        samples = [SAMPLES[k][:8] if count >= 3 else SAMPLES[k] for k in kinds]
        columns = zip(*itertools.product(*samples), strict=True)
        with np.errstate(all="ignore"):
            operands = [np.array(column).astype(k) for column, k in zip(columns, kinds, strict=True)]
            wanted = record.evaluate(*operands)
            text = record.code([x.dtype for x in operands], wanted.dtype)
            code = compile(text.format(*"xyzw"[:count], T=SHORT_NAMES[operands[-1].dtype.name]), name, "eval")
            rows = zip(*operands, strict=True)
            got = [eval(code, DEBUG_GLOBALS | dict(zip("xyzw", row, strict=False))) for row in rows]
        rtol = 1e-5 if kind == "f" else 1e-14
        np.testing.assert_allclose(np.array(got).astype(wanted.dtype), wanted, rtol=rtol, err_msg=f"{text} on {kind}")


# -- derivatives at the extremes


@pytest.mark.parametrize(
    ("build", "at", "wanted"),
    [
        (gc.abs, [0.0], [0.0]),
        (gc.nn.relu, [0.0], [0.0]),
        (gc.sqrt, [0.0], [INF]),
        (sqrt_safe, [0.0], [0.0]),
        (gc.hypot, [0.0, 0.0], [0.0, 0.0]),
        (gc.hypot, [3e200, 4e200], [0.6, 0.8]),
        (gc.hypot, [3e-200, 4e-200], [0.6, 0.8]),
        (gc.atan2, [0.0, 0.0], [0.0, 0.0]),
        (gc.atan2, [1e200, 1e200], [5e-201, -5e-201]),
        (gc.atan2, [1e-200, 0.0], [0.0, -1e200]),
        (gc.atan2, [INF, 1.0], [0.0, 0.0]),
        (gc.maximum, [2.0, 2.0], [0.5, 0.5]),
        (gc.minimum, [2.0, 2.0], [0.5, 0.5]),
        (gc.maximum, [INF, INF], [0.5, 0.5]),
        (lambda x: gc.maximum(x, x), [2.0], [1.0]),
        (lambda x: gc.clip(x, -1, 1), [1.0], [1.0]),
        (lambda x: gc.clip(x, -1, 1), [1.5], [0.0]),
        (gc.clip, [0.0, 1.0, 2.0], [0.0, 1.0, 0.0]),
        (gc.clip, [5.0, 2.0, 1.0], [0.0, 0.0, 1.0]),
        (gc.pow, [0.0, 0.0], [0.0, 0.0]),
        (gc.pow, [0.0, 1.0], [1.0, 0.0]),
        (gc.pow, [0.0, 2.0], [0.0, 0.0]),
        (gc.pow, [0.0, 0.5], [INF, 0.0]),
        (gc.pow, [2.0, 0.0], [0.0, np.log(2)]),
        (lambda x: x**0, [0.0], [0.0]),
        (lambda x: x**1, [0.0], [1.0]),
        (lambda x: x**2, [0.0], [0.0]),
        (lambda x: x**2, [-3.0], [-6.0]),
        (lambda x: x**3, [-2.0], [12.0]),
        (gc.softplus, [1000.0], [1.0]),
        (gc.softplus, [-1000.0], [0.0]),
        (gc.softplus, [-700.0], [np.exp(-700)]),
        (gc.sigmoid, [1000.0], [0.0]),
        (gc.sigmoid, [-1000.0], [0.0]),
        (gc.sigmoid, [40.0], [np.exp(-40)]),
        (gc.logaddexp, [-INF, -INF], [0.5, 0.5]),
        (gc.logaddexp, [INF, INF], [0.5, 0.5]),
        (gc.logaddexp, [-INF, 0.0], [0.0, 1.0]),
        (gc.logaddexp, [1000.0, -1000.0], [1.0, 0.0]),
        (gc.tanh, [1000.0], [0.0]),
        (gc.expm1, [-50.0], [np.exp(-50)]),
        (gc.log1p, [-1.0], [INF]),
        (gc.asinh, [1e200], [1e-200]),
        (gc.acosh, [1e200], [1e-200]),
        (gc.atan, [1e200], [0.0]),
        (gc.asin, [1.0], [INF]),
        (gc.acos, [1.0], [-INF]),
        (lambda x: gc.copysign(x, -1), [2.0], [-1.0]),
        (gc.special.erfc, [26.0], [-2 / np.sqrt(np.pi) * np.exp(-676.0)]),
        (gc.special.gammaln, [1e5], [11.512920464961896]),
    ],
)
def test_gradient_at_the_extremes(build: Callable[..., Node], at: list[float], wanted: list[float]) -> None:
    np.testing.assert_allclose(gradient(build, *at), wanted, rtol=1e-13)


@pytest.mark.parametrize(
    ("build", "at"),
    [
        (lambda x: gc.where(x > 0, gc.log(x), 0), 0.0),
        (lambda x: gc.where(x > 0, gc.log(x), 0), -1.0),
        (lambda x: gc.where(x > 0, gc.sqrt(x), 0), 0.0),
        (lambda x: gc.where(x > 0, 1 / x, 0), 0.0),
        (lambda x: gc.where(x > 0, x**0.5, 0), 0.0),
        (lambda x: gc.where(x < 1, 0, gc.asin(x)), 0.5),
        (lambda x: gc.maximum(gc.sqrt(x), 1), 0.0),
        (lambda x: gc.minimum(-gc.sqrt(x), -1), 0.0),
        (lambda x: gc.clip(gc.sqrt(x), 1, 2), 0.0),
        (lambda x: gc.nn.relu(gc.log(x)), 0.0),
        (lambda x: gc.where(x > 0, gc.where(x > 1, gc.log(x - 1), 0), gc.sqrt(-x)) * 0, 1.0),
    ],
)
def test_what_is_masked_out_has_gradient_zero(build: Callable[..., Node], at: float) -> None:
    assert gradient(build, at) == [0.0]
    assert gradient(lambda x: gc.grad(build(x), x, disconnected="zero"), at) == [0.0]


PRECISE: dict[str, tuple[Callable[..., Node], Callable[..., Any], list[float]]] = {
    "sigmoid": (gc.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), [-700.0, -30.0, 1e-9, 3.0, 37.0, 300.0]),
    "softplus": (gc.softplus, lambda x: mpmath.log(1 + mpmath.exp(x)), [-700.0, -30.0, 1e-9, 3.0, 300.0]),
    "expm1": (gc.expm1, mpmath.expm1, [-700.0, -30.0, 1e-12, 3.0, 300.0]),
    "log1p": (gc.log1p, lambda x: mpmath.log(1 + mpmath.mpf(x)), [-0.999999, 1e-15, 1e10]),
    "asinh": (gc.asinh, mpmath.asinh, [-1e160, -1e-9, 2.0, 1e160]),
    "acosh": (gc.acosh, mpmath.acosh, [1.000000001, 2.0, 1e160]),
    "atanh": (gc.atanh, mpmath.atanh, [-0.99999999, 1e-12, 0.9999999999]),
    "asin": (gc.asin, mpmath.asin, [-0.99999999, 1e-12, 0.9999999999]),
    "acos": (gc.acos, mpmath.acos, [-0.99999999, 1e-12, 0.9999999999]),
    "tan": (gc.tan, mpmath.tan, [-1.57, 0.3, 1.5707]),
    "erfc": (gc.special.erfc, mpmath.erfc, [-5.0, 0.5, 10.0, 26.0]),
    "digamma": (gc.special.digamma, mpmath.digamma, [-2.5, 0.01, 3.0, 1e4]),
    "gammaln": (gc.special.gammaln, lambda x: mpmath.log(abs(mpmath.gamma(x))), [0.01, 3.0, 1e4]),
    "log2": (gc.log2, lambda x: mpmath.log(x, 2), [1e-300, 3.0, 1e300]),
    "exp2": (gc.exp2, lambda x: mpmath.mpf(2) ** x, [-1000.0, 0.5, 1000.0]),
}


@pytest.mark.parametrize("name", PRECISE)
def test_derivatives_are_relatively_accurate(name: str) -> None:
    """Against 400 digits: no derivative cancels or overflows before its true value does."""
    build, exact, points = PRECISE[name]
    for point in points:
        with mpmath.workdps(400):
            step = mpmath.mpf(10) ** -25 * abs(mpmath.mpf(point))
            wanted = float((exact(mpmath.mpf(point) + step) - exact(mpmath.mpf(point) - step)) / (2 * step))
        np.testing.assert_allclose(gradient(build, point), [wanted], rtol=1e-13, err_msg=f"{name}({point})")


def test_second_derivative_at_a_tie_of_logaddexp() -> None:
    """The guard for equal infinities must not hide the curvature at equal finite operands."""

    def slope(x: Node) -> Node:
        derivative: Node = gc.grad(gc.logaddexp(x, 3.0), x)
        return derivative

    assert gradient(slope, 3.0) == [0.25]


def test_mixed_second_derivative_of_pow() -> None:
    """d2/dxdy x**y = x**(y-1) * (1 + y*log(x)), also at y = 0."""
    x, y = gc.placeholder("x"), gc.placeholder("y")
    mixed = gc.grad(gc.grad(x**y, x), y)
    assert mixed.eval({x: 2.0, y: 0.0}) == 0.5
    np.testing.assert_allclose(mixed.eval({x: 2.0, y: 3.0}), 4 * (1 + 3 * np.log(2)), rtol=1e-14)


def test_stop_gradient() -> None:
    assert gradient(lambda x: x * gc.stop_gradient(x), 3.0) == [3.0]


def test_gradient_through_casts() -> None:
    assert gradient(lambda x: (x.astype("float32") * 3).astype("float64"), 2.0) == [3.0]
    assert gradient(lambda x: x * x.astype("int64").astype("float64"), 2.7) == [2.0]


# -- promotion


@pytest.mark.parametrize(("left", "right"), list(itertools.product(SHORT_NAMES, SHORT_NAMES)))
def test_promotion_is_that_of_numpy(left: str, right: str) -> None:
    x, y = gc.placeholder("x", shape=(2,), dtype=left), gc.placeholder("y", shape=(2,), dtype=right)
    if left == right == "bool":
        with pytest.raises(gc.DTypeError, match=r"add: got bool, bool; accepted: numbers"):
            gc.add(x, y)
        return
    assert gc.add(x, y).dtype == np.result_type(np.dtype(left), np.dtype(right))


@pytest.mark.parametrize("dtype", SHORT_NAMES)
@pytest.mark.parametrize("scalar", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0)], ids=repr)
def test_promotion_with_scalars(dtype: str, scalar: Any) -> None:
    x = gc.placeholder("x", shape=(2,), dtype=dtype)
    for got, wanted in [(x * scalar, np.ones(2, dtype) * scalar), (scalar * x, scalar * np.ones(2, dtype))]:
        assert got.dtype == wanted.dtype


def test_promotion_of_dimensions_and_bools() -> None:
    x = gc.placeholder("x", shape=("n", 2), dtype="float32")
    assert (x * x.shape[0]).dtype == (x + True).dtype == np.float32
    np.testing.assert_array_equal((x / x.shape[0]).eval({x: np.ones((4, 2), "float32")}), np.full((4, 2), 0.25))


def test_python_integers_must_fit() -> None:
    with pytest.raises(gc.DTypeError, match=r"add: Python integer 300 does not fit uint8  \[test_elementwise.py:\d+\]"):
        gc.placeholder("x", dtype="uint8") + 300


# -- errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, b: x + gc.ones((3,)), gc.ShapeError, r"add: shapes do not broadcast: f64\[2\], f64\[3\] \(2 != 3\)"),
        (lambda x, b: -b, gc.DTypeError, r"negative: got bool; accepted: numbers \(convert with .astype\)"),
        (lambda x, b: x & b, gc.DTypeError, r"bitwise_and: got f64, bool; accepted: integers and bool"),
        (lambda x, b: x << 1, gc.DTypeError, r"bitwise_left_shift: got f64, 1; accepted: integers"),
        (lambda x, b: gc.clip(b, 0, 1), gc.GraphcError, r"clip: bool\[2\] has no order"),
        (lambda x, b: x + "1", gc.ArgumentError, r"add: a number or an array of numbers is needed, got '1'"),
        (lambda x, b: gc.exp([x, x]), gc.ArgumentError, r"exp: a list that holds nodes is not accepted; use gc.stack"),
        (lambda x, b: gc.special.polygamma(-1, x), gc.ArgumentError, r"polygamma: order must be .* got -1"),
        (lambda x, b: gc.astype(x, "float16"), gc.DTypeError, r"dtype float16 is not supported; convert to float32"),
        (lambda x, b: x + 1j, gc.DTypeError, r"complex"),
        (lambda x, b: gc.arange(x), gc.ArgumentError, r"arange: .* shapes cannot depend on data"),
        (lambda x, b: gc.arange(3, dtype="bool"), gc.DTypeError, r"arange: bool has no ranges"),
        (lambda x, b: gc.arange(1, 5, 0), gc.ArgumentError, r"arange: step is 0"),
        (lambda x, b: gc.full((2,), x), gc.ShapeError, r"full: fill_value must be 0-d, got f64\[2\]"),
        (lambda x, b: gc.linspace(x, 1, 3), gc.ShapeError, r"linspace: start and stop must be 0-d"),
        (lambda x, b: gc.tril(x), gc.ShapeError, r"tril: at least two axes needed, got f64\[2\]"),
        (lambda x, b: gc.zeros((2, -1)), gc.ShapeError, r"dimension -1 is negative"),
    ],
)
def test_errors_name_the_line(call: Callable[..., Any], error: type[Exception], message: str) -> None:
    x, b = gc.placeholder("x", shape=(2,)), gc.placeholder("b", shape=(2,), dtype="bool")
    with pytest.raises(error, match=message + r".*\[test_elementwise.py:\d+\]"):
        call(x, b)


# -- records


def test_records_survive_pickling_as_themselves() -> None:
    assert all(pickle.loads(pickle.dumps(record)) is record for record in ELEMENTWISE.values())
    assert str(ADD) == "add"


def test_commutative_records_are_commutative() -> None:
    operands = {"logical": ([True, False], [True, True]), "bitwise": ([6, 3], [5, -1])}
    for record in ELEMENTWISE.values():
        if record.commutative:
            x, y = map(np.array, operands.get(record.accepts, ([3.0, -1.5, NAN, 0.0], [0.5, INF, 2.0, 1.0])))
            np.testing.assert_array_equal(record.evaluate(x, y), record.evaluate(y, x), err_msg=record.name)
