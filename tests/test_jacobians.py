"""Jacobians, Hessians and Hessian-vector products against central differences and closed forms."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

import graphc as gc
from graphc.graph.errors import ArgumentError, GradientError, ShapeError
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.types import Array
from graphc.ops.control import Scan

A = np.array([[0.3, -1.2, 0.5], [0.7, 0.1, -0.4]])
X = np.array([0.2, -0.3, 0.9])


def problem(symbolic: bool = True) -> tuple[Node, Node, Node]:
    """Return tanh(a @ x), a and x."""
    a = gc.placeholder("a", shape=("m", "n") if symbolic else (2, 3))
    x = gc.placeholder("x", shape=("n",) if symbolic else (3,))
    return gc.tanh(a @ x), a, x


def slopes() -> Array:
    return np.asarray(1 - np.tanh(A @ X) ** 2)


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("method", ["auto", "forward", "reverse"])
def test_jacobian_of_a_layer(method: Literal["auto", "forward", "reverse"], symbolic: bool) -> None:
    y, a, x = problem(symbolic)
    to_a, to_x = gc.jacobian(y, [a, x], method=method)
    assert to_x.ndim == 2 and to_a.ndim == 3
    values = gc.evaluate([to_a, to_x], {a: A, x: X})
    np.testing.assert_allclose(values[1], slopes()[:, None] * A, rtol=1e-14)
    np.testing.assert_allclose(values[0], np.einsum("i,ij,k->ijk", slopes(), np.eye(2), X), rtol=1e-14)


def test_jacobian_compiled_and_at_a_new_size() -> None:
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], gc.jacobian(gc.cumulative_sum(x * x), x))
    for n in (1, 4, 0):
        v = np.arange(1.0, n + 1)
        np.testing.assert_allclose(f(v), np.tril(np.ones((n, n))) * 2 * v, rtol=1e-14)


def loops(node: Node) -> list[Scan]:
    return [n.op for n in Graph(node).nodes if isinstance(n.op, Scan)]


@pytest.mark.parametrize(("rows", "columns", "steps"), [(2, 5, 2), (5, 2, 2), (1, 5, None), (5, 1, None)])
def test_the_fewer_directions_are_taken(rows: int, columns: int, steps: int | None) -> None:
    a, x = gc.constant(np.ones((rows, columns))), gc.placeholder("x", shape=(columns,))
    found = loops(gc.jacobian(a @ gc.sin(x), x))
    assert [op.length for op in found] == ([] if steps is None else [steps])


def test_structures() -> None:
    x, z = gc.placeholder("x", shape=(2,)), gc.placeholder("z", shape=(3,))
    found = gc.jacobian({"p": x * 2, "q": (z.sum(), z)}, {"x": x, "z": z}, disconnected="zero")
    assert found.keys() == {"p", "q"} and found["p"].keys() == {"x", "z"}
    assert [n.shape for n in (found["p"]["x"], found["p"]["z"], found["q"][0]["z"], found["q"][1]["x"])] == [
        (2, 2),
        (2, 3),
        (3,),
        (3, 2),
    ]
    values = gc.evaluate([found["p"]["x"], found["p"]["z"]], {x: [1.0, 2.0], z: np.zeros(3)})
    np.testing.assert_array_equal(values[0], 2 * np.eye(2))
    np.testing.assert_array_equal(values[1], np.zeros((2, 3)))


def test_jacobian_of_a_matrix_by_a_matrix() -> None:
    x = gc.placeholder("x", shape=("n", "n"))
    v = np.array([[1.0, 2.0], [3.0, 4.0]])
    got = gc.jacobian(x @ x, x).eval({x: v})
    wanted = np.einsum("ip,qj->ijpq", np.eye(2), v) + np.einsum("ip,qj->ijpq", v, np.eye(2))
    np.testing.assert_allclose(got, wanted, rtol=1e-14)


def rosenbrock(x: Any) -> Any:
    return gc.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_hessian_and_hvp_against_scipy() -> None:
    from scipy.optimize import rosen_hess, rosen_hess_prod

    x, v = gc.placeholder("x", shape=("n",)), gc.placeholder("v", shape=("n",))
    f = gc.function([x, v], [gc.hessian(rosenbrock(x), x), gc.hvp(rosenbrock(x), x, v)])
    at, along = np.array([1.3, 0.7, 0.8, 1.9, 1.2]), np.array([0.5, -1.0, 2.0, 0.1, 0.0])
    whole, product = f(at, along)
    np.testing.assert_allclose(whole, rosen_hess(at), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(product, rosen_hess_prod(at, along), rtol=1e-12, atol=1e-12)


def test_blocks_of_a_hessian() -> None:
    x, z = gc.placeholder("x", shape=(2,)), gc.placeholder("z")
    blocks = gc.hessian(gc.sum(x**3) * z, {"x": x, "z": z})
    at = {x: [1.0, 2.0], z: 3.0}
    np.testing.assert_allclose(blocks["x"]["x"].eval(at), np.diag([18.0, 36.0]))
    np.testing.assert_allclose(blocks["x"]["z"].eval(at), [3.0, 12.0])
    np.testing.assert_allclose(blocks["z"]["x"].eval(at), [3.0, 12.0])
    np.testing.assert_allclose(blocks["z"]["z"].eval(at), 0.0)
    product = gc.hvp(gc.sum(x**3) * z, {"x": x, "z": z}, {"x": [1.0, 0.0], "z": 2.0})
    np.testing.assert_allclose(product["x"].eval(at), [24.0, 24.0])
    np.testing.assert_allclose(product["z"].eval(at), 3.0)


def test_hessian_of_a_linear_loss_is_zero() -> None:
    x = gc.placeholder("x", shape=("n",))
    np.testing.assert_array_equal(gc.hessian(gc.sum(2 * x), x).eval({x: [1.0, 2.0]}), np.zeros((2, 2)))


def test_jacobian_through_a_loop_and_again() -> None:
    x = gc.placeholder("x", shape=(2,))
    y = gc.fori_loop(0, 3, lambda i, c: c * x, gc.ones((2,)))  # x**3
    second = gc.jacobian(gc.jacobian(y, x), x)
    got = second.eval({x: [1.0, 2.0]})
    assert got.shape == (2, 2, 2)
    np.testing.assert_allclose([got[0, 0, 0], got[1, 1, 1]], [6.0, 12.0])
    assert np.count_nonzero(got) == 2


def test_float32_stays() -> None:
    x = gc.placeholder("x", shape=(3,), dtype="float32")
    assert gc.jacobian(gc.exp(x), x).dtype == np.float32
    assert gc.hessian(gc.sum(gc.exp(x)), x).dtype == np.float32


def test_refusals() -> None:
    x, n = gc.placeholder("x", shape=(2,)), gc.placeholder("n", shape=(2,), dtype="int64")
    with pytest.raises(GradientError, match="int64; only floats"):
        gc.jacobian(x, n)
    with pytest.raises(GradientError, match=r"does not depend on z.*disconnected"):
        gc.jacobian(x, gc.placeholder("z"))
    with pytest.raises(ArgumentError, match="y must hold nodes, got float"):
        gc.jacobian(1.0, x)
    with pytest.raises(ArgumentError, match="method must be"):
        gc.jacobian(x, x, method="both")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="disconnected must be"):
        gc.jacobian(x, x, disconnected="none")
    with pytest.raises(ArgumentError, match="hvp: v: a sequence of 1 needed, got float"):
        gc.hvp(gc.sum(x * x), [x], 1.0)
    with pytest.raises(ShapeError, match="given for x"):
        gc.hvp(gc.sum(x * x), x, [1.0, 2.0, 3.0])
