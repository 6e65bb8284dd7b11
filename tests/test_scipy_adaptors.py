"""Functions handed to `scipy.optimize`: known minima, roots and fits, and derivatives against SciPy's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import optimize

import graphc as gc
from graphc.graph.errors import ArgumentError, GradientError, ShapeError
from graphc.graph.node import Node

START = np.array([-1.2, 1.0, 0.5, 2.0])


def rosenbrock() -> tuple[gc.Function, Node]:
    x = gc.placeholder("x", shape=("n",))
    return gc.function([x], gc.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), mode="reference"), x


def test_derivatives_are_scipys() -> None:
    f, x = rosenbrock()
    s = f.to_scipy(x)
    np.testing.assert_allclose(s.fun(START), optimize.rosen(START), rtol=1e-14)
    np.testing.assert_allclose(s.jac(START), optimize.rosen_der(START), rtol=1e-13)
    np.testing.assert_allclose(s.hess(START), optimize.rosen_hess(START), rtol=1e-13)
    np.testing.assert_allclose(s.hessp(START, START[::-1]), optimize.rosen_hess_prod(START, START[::-1]), rtol=1e-13)
    value, slope = s.fun_and_jac(START)
    assert isinstance(value, float) and value == s.fun(START)
    np.testing.assert_array_equal(slope, s.jac(START))


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "Newton-CG", "trust-ncg", "trust-exact"])
def test_minimize(method: Any) -> None:
    f, _ = rosenbrock()
    s = f.to_scipy("x", x0=[1.3, 0.7, 0.8, 1.9])  # from START there is a local minimum
    second: dict[str, Any] = {}
    if method in ("Newton-CG", "trust-ncg"):
        second = {"hessp": s.hessp}
    elif method == "trust-exact":
        second = {"hess": s.hess}
    found = optimize.minimize(s.fun, s.x0, jac=s.jac, method=method, **second)
    np.testing.assert_allclose(found.x, 1.0, atol=1e-4)


def test_minimize_compiled_with_value_and_gradient_together() -> None:
    x = gc.placeholder("x", shape=("n",))
    s = gc.function([x], gc.sum((x - gc.arange(3)) ** 2)).to_scipy(x, x0=np.zeros(3))
    found = optimize.minimize(s.fun_and_jac, s.x0, jac=True)
    np.testing.assert_allclose(found.x, [0, 1, 2], atol=1e-6)


def test_shared_weights_of_several_shapes_are_fitted() -> None:
    rng = np.random.default_rng(0)
    w, b = gc.shared(np.zeros((2, 3)), name="w"), gc.shared(0.0, name="b")
    x, y = gc.placeholder("x", shape=("n", 2)), gc.placeholder("y", shape=("n", 3))
    s = gc.function([x, y], gc.mean((x @ w + b - y) ** 2), mode="reference").to_scipy({"w": w, "b": b})
    true_w = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    data = rng.normal(size=(20, 2))
    target = data @ true_w + 0.5
    found = optimize.minimize(s.fun, s.x0, args=(data, target), jac=s.jac, hessp=s.hessp, method="trust-ncg", tol=1e-9)
    unpacked = s.unpack(found.x)
    assert unpacked["w"].shape == (2, 3) and unpacked["b"].shape == ()
    np.testing.assert_allclose(unpacked["w"], true_w, atol=1e-7)
    np.testing.assert_array_equal(s.pack(unpacked), found.x)
    s.assign(found.x)
    np.testing.assert_array_equal(w.get_value(), unpacked["w"])
    np.testing.assert_array_equal(s.x0, found.x)


def test_hessian_of_several_variables() -> None:
    a, b = gc.placeholder("a", shape=(2,)), gc.placeholder("b", shape=(2, 2))
    f = gc.function([a, b], gc.sum(gc.sin(a) @ b**2 @ a), mode="reference")
    s = f.to_scipy([a, b], x0=[[0.3, -0.5], [[1.0, 2.0], [3.0, 4.0]]])
    whole = s.hess(s.x0)
    assert whole.shape == (6, 6)
    np.testing.assert_allclose(whole, whole.T, rtol=1e-13)
    for column, p in zip(whole.T, np.eye(6), strict=True):
        np.testing.assert_allclose(s.hessp(s.x0, p), column, rtol=1e-12, atol=1e-13)
        step = (s.jac(s.x0 + 1e-5 * p) - s.jac(s.x0 - 1e-5 * p)) / 2e-5
        np.testing.assert_allclose(step, column, rtol=1e-7, atol=1e-8)


def test_least_squares() -> None:
    amplitude, rate = gc.placeholder("amplitude"), gc.placeholder("rate")
    t, y = gc.placeholder("t", shape=("n",)), gc.placeholder("y", shape=("n",))
    f = gc.function([t, y, amplitude, rate], amplitude * gc.exp(-rate * t) - y, mode="reference")
    s = f.to_scipy(["amplitude", "rate"], x0=[1.0, 0.1])
    times = np.linspace(0, 4, 30)
    found = optimize.least_squares(s.fun, s.x0, jac=s.jac, args=(times, 2.5 * np.exp(-1.3 * times)))
    np.testing.assert_allclose(found.x, [2.5, 1.3], rtol=1e-7)
    assert s.jac(s.x0, times, times).shape == (30, 2)


def test_root() -> None:
    x = gc.placeholder("x", shape=(2,))
    f = gc.function([x], gc.stack([x[0] + 0.5 * (x[0] - x[1]) ** 3 - 1, 0.5 * (x[1] - x[0]) ** 3 + x[1]]))
    s = f.to_scipy(x, x0=[0.0, 0.0])
    found = optimize.root(s.fun, s.x0, jac=s.jac)
    np.testing.assert_allclose(found.x, [0.8411639, 0.1588361], atol=1e-7)


def test_float32_and_matrices_of_residuals() -> None:
    x = gc.placeholder("x", shape=(2, 2), dtype="float32")
    s = gc.function([x], x @ x, mode="reference").to_scipy(x, x0=[[1, 2], [3, 4]])
    assert s.fun(s.x0).dtype == np.float64 and s.fun(s.x0).shape == (4,)
    assert s.jac(s.x0).shape == (4, 4)
    assert s.unpack(s.x0).dtype == np.float32


def test_refusals() -> None:
    f, x = rosenbrock()
    w = gc.shared(1.0, name="w")
    with pytest.raises(ArgumentError, match="'z' is no input or shared node of function, which has x"):
        f.to_scipy("z")
    with pytest.raises(ArgumentError, match="is no input or shared node"):
        f.to_scipy(w)
    with pytest.raises(ArgumentError, match="updates w"):
        gc.function([], w, updates={w: w * 2}).to_scipy(w)
    with pytest.raises(ArgumentError, match="one output is needed"):
        gc.function([x], [x, x]).to_scipy(x)
    i = gc.placeholder("i", dtype="int64")
    with pytest.raises(ArgumentError, match="not a float"):
        gc.function([i], i * 2.0).to_scipy(i)
    s = f.to_scipy(x)
    with pytest.raises(ArgumentError, match="give to_scipy"):
        _ = s.x0
    with pytest.raises(ArgumentError, match="is an input, not shared"):
        s.assign(START)
    with pytest.raises(ShapeError, match="a vector of 4 numbers is needed"):
        f.to_scipy(x, x0=START).fun(np.zeros(3))
    two = gc.placeholder("two", shape=(2,))
    with pytest.raises(ShapeError, match=r"x0 of two has shape \(3,\), f64\[2\] needed"):
        gc.function([two], gc.sum(two)).to_scipy(two, x0=np.zeros(3))
    y = gc.placeholder("y", shape=("n", "m"))
    with pytest.raises(ArgumentError, match="argument 'y' is missing; expected 2: x, y"):
        gc.function([y, x], gc.sum(y) * gc.sum(x)).to_scipy(x).fun(START)
    with pytest.raises(ArgumentError, match=r"size of .* is unknown"):
        gc.function([y], gc.sum(y)).to_scipy(y).fun(START)
    with pytest.raises(ArgumentError, match=r"hess: a 0-d output is needed, that of function is f64\[n\]"):
        gc.function([x], x * 2).to_scipy(x).hess(START)
    with pytest.raises(ArgumentError, match="x0: a sequence of 1 needed"):
        f.to_scipy([x], x0=1.0)
    with pytest.raises(ShapeError, match="pack: shape"):
        f.to_scipy(x, x0=START).pack(np.zeros(3))
    with pytest.raises(GradientError, match="does not depend"):
        gc.function([x, y], gc.sum(y), on_unused="ignore").to_scipy(x).jac(START, np.ones((1, 1)))
