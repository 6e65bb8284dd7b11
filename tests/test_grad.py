"""The laws of `grad`, `vjp` and `jvp`: cost, accumulation, nesting, higher orders, inner nodes, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.graph import Graph
from graphc.graph.node import Node

X = gc.placeholder("x")
Y = gc.placeholder("y")
V = gc.placeholder("v", ("n",))
POINT = {X: 0.7, Y: -1.3}


def value(node: Node) -> float:
    return float(node.eval({x: v for x, v in POINT.items() if x in Graph([node]).index}))


# -- cost


def nodes_of_gradient(build: Callable[[int], tuple[Node, Any]], size: int) -> tuple[int, int]:
    loss, wrt = build(size)
    pulled = gc.grad(loss, wrt)
    grads = pulled if isinstance(pulled, list) else [pulled]
    return len(Graph([loss])), len(Graph([loss, *grads]))


def chain(size: int) -> tuple[Node, Node]:
    out = X
    for _ in range(size):
        out = gc.tanh(out * 1.1)
    return out, X


def fan_out(size: int) -> tuple[Node, Node]:
    """One value with `size` users, which are added in a balanced tree."""
    terms = [X * float(k + 3) for k in range(size)]
    while len(terms) > 1:
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)] + terms[len(terms) // 2 * 2 :]
    return terms[0], X


def many_inputs(size: int) -> tuple[Node, list[Node]]:
    xs = [gc.placeholder(f"x{i}") for i in range(size)]
    out = xs[0]
    for x in xs[1:]:
        out = gc.sin(out) * x
    return out, xs


def squarings(size: int) -> tuple[Node, Node]:
    """Paths double at every step: only a gradient that shares is linear."""
    out = X
    for _ in range(size):
        out = out + gc.sin(out) * out
    return out, X


@pytest.mark.parametrize(("build", "sizes"), [(chain, 400), (fan_out, 1000), (many_inputs, 200), (squarings, 100)])
def test_cost_is_linear(build: Callable[[int], tuple[Node, Any]], sizes: int) -> None:
    """Ten times the graph gives ten times the nodes, and no more than a dozen a node of the loss."""
    small, small_total = nodes_of_gradient(build, sizes)
    large, large_total = nodes_of_gradient(build, 10 * sizes)
    assert large_total <= 10.5 * small_total
    assert small_total <= 12 * small and large_total <= 12 * large


def test_value_of_a_wide_sum() -> None:
    loss, x = fan_out(10_000)
    assert gc.grad(loss, x).eval({}) == sum(range(3, 10_003))


def test_only_what_leads_to_wrt_is_pulled() -> None:
    expensive = gc.exp(gc.sin(Y))
    names = {n.op.name for n in Graph([gc.grad(expensive * gc.tanh(X), X)]).nodes}
    assert "cos" not in names


# -- accumulation and structure


def test_shared_subexpressions_accumulate() -> None:
    a = gc.sin(X)
    assert value(gc.grad(a * a + a * Y + a, X)) == pytest.approx((2 * np.sin(0.7) - 1.3 + 1) * np.cos(0.7), rel=1e-15)


def test_the_structure_of_wrt_is_kept() -> None:
    loss = X * X * Y
    nested = gc.grad(loss, {"a": [X, (Y,)], "b": X})
    assert isinstance(nested["a"], list) and isinstance(nested["a"][1], tuple)
    assert [value(nested["a"][0]), value(nested["a"][1][0]), value(nested["b"])] == pytest.approx([-1.82, 0.49, -1.82])


def test_wrt_given_twice_has_the_whole_gradient_each_time() -> None:
    first, second = gc.grad(X * X, [X, X])
    assert value(first) == value(second) == 1.4


def test_loss_itself_and_its_value() -> None:
    loss = gc.sin(X)
    assert gc.grad(loss, loss).eval({}) == 1
    found, slope = gc.value_and_grad(loss, X)
    assert (value(found), value(slope)) == (np.sin(0.7), np.cos(0.7))


def test_vjp_of_many_outputs_adds_up() -> None:
    outputs = {"a": X * Y, "b": (gc.sin(X), gc.square(Y))}
    dx, dy = gc.vjp(outputs, (X, Y), {"a": 2.0, "b": (3.0, gc.constant(5.0))})
    assert value(dx) == pytest.approx(2 * -1.3 + 3 * np.cos(0.7))
    assert value(dy) == pytest.approx(2 * 0.7 + 10 * -1.3)


def test_an_output_that_is_also_an_ancestor() -> None:
    a = gc.square(X)
    (dx,) = gc.vjp([a, gc.sin(a)], [X], [gc.constant(1.0), gc.constant(1.0)])
    assert value(dx) == pytest.approx(1.4 * (1 + np.cos(0.49)))


def test_jvp_is_the_transpose_of_vjp() -> None:
    rng = np.random.default_rng(0)
    point, move, weights = rng.standard_normal((3, 5))
    y = gc.cumulative_sum(gc.sin(V) * V[::-1])
    pushed = gc.jvp(y, V, gc.constant(move)).eval({V: point})
    pulled = gc.vjp(y, V, gc.constant(weights)).eval({V: point})
    assert weights @ pushed == pytest.approx(pulled @ move, rel=1e-13)


def test_jvp_of_structures_and_of_what_does_not_move() -> None:
    out = gc.jvp([X * Y, (gc.exp(Y),), gc.sin(X)], [X], [2.0])
    assert [value(out[0]), value(out[1][0]), value(out[2])] == pytest.approx([-2.6, 0.0, 2 * np.cos(0.7)])


# -- orders


def test_derivatives_of_five_orders() -> None:
    node = gc.exp(2 * X) * X
    for order in range(1, 6):
        node = gc.grad(node, X)
        assert value(node) == pytest.approx(2 ** (order - 1) * (2 * 0.7 + order) * np.exp(1.4), rel=1e-13)


def test_forward_over_reverse_is_reverse_over_reverse() -> None:
    loss = gc.sum(gc.tanh(V) * gc.exp(-V * V) * V[::-1])
    g = gc.grad(loss, V)
    rng = np.random.default_rng(1)
    point, move = rng.standard_normal((2, 6))
    forward = gc.jvp(g, V, gc.constant(move)).eval({V: point})
    reverse = gc.grad(gc.sum(g * gc.constant(move)), V).eval({V: point})
    np.testing.assert_allclose(forward, reverse, rtol=1e-12)


def test_gradient_of_a_function_of_a_gradient() -> None:
    penalty = gc.square(gc.grad(gc.sin(X) * Y, X))
    assert value(gc.grad(penalty, Y)) == pytest.approx(2 * -1.3 * np.cos(0.7) ** 2)
    assert value(gc.grad(penalty, X)) == pytest.approx(-2 * 1.69 * np.cos(0.7) * np.sin(0.7))


# -- inner nodes: pinned, also where a rule spans them

INNER: dict[str, tuple[Callable[[Node], Node], Callable[[Node], Node], float]] = {
    "exp in log(1 + exp(x))": (gc.exp, lambda a: gc.log(1 + a), 1 / (1 + np.exp(0.7))),
    "1 + exp(x) in log(1 + exp(x))": (lambda x: 1 + gc.exp(x), gc.log, 1 / (1 + np.exp(0.7))),
    "sigmoid in log(sigmoid(x))": (gc.sigmoid, gc.log, 1 + np.exp(-0.7)),
    "1 + exp(-x) in 1 / (1 + exp(-x))": (lambda x: 1 + gc.exp(-x), lambda a: 1 / a, -1 / (1 + np.exp(-0.7)) ** 2),
    "-x in exp(-(-x))": (lambda x: -x, lambda a: gc.exp(-a), -np.exp(0.7)),
    "x**2 in sqrt(x**2)": (lambda x: x**2, gc.sqrt, 0.5 / 0.7),
    "tanh in 1 - tanh(x)**2": (gc.tanh, lambda a: 1 - a**2, -2 * np.tanh(0.7)),
    "cosh in log(cosh(x))": (gc.cosh, gc.log, 1 / np.cosh(0.7)),
    "x * 1": (lambda x: x * 1, gc.sin, np.cos(0.7)),
    "-(-x)": (lambda x: gc.negative(-x), gc.sin, np.cos(0.7)),
}


@pytest.mark.parametrize("name", INNER)
def test_gradient_of_an_inner_node(name: str) -> None:
    inner, outer, expected = INNER[name]
    a = inner(X)
    loss = outer(a)
    da, dx = gc.grad(loss, [a, X])
    assert value(da) == pytest.approx(expected, rel=1e-14)
    moved = [float(outer(inner(X)).eval({X: 0.7 + h})) for h in (1e-6, -1e-6)]
    assert value(dx) == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-8)


def test_inner_nodes_of_a_softmax_by_hand() -> None:
    x = gc.placeholder("x", (3,))
    e = gc.exp(x)
    total = gc.sum(e)
    loss = -gc.log(e / total)[0]
    de, dtotal = gc.grad(loss, [e, total])
    values = np.exp([0.1, 0.2, 0.3])
    bindings = {x: [0.1, 0.2, 0.3]}
    assert dtotal.eval(bindings) == pytest.approx(1 / values.sum())
    np.testing.assert_allclose(de.eval(bindings), 1 / values.sum() - np.array([1 / values[0], 0, 0]), rtol=1e-14)


def test_wrt_an_input_and_a_node_between_it_and_the_loss() -> None:
    """A pinned node is no wall: the gradient of what lies before it passes through."""
    a = gc.square(X)
    da, dx = gc.grad(gc.sin(a), [a, X])
    assert (value(da), value(dx)) == pytest.approx((np.cos(0.49), 1.4 * np.cos(0.49)))


@pytest.mark.parametrize("name", INNER)
def test_derivatives_are_built_on_the_inner_node_itself(name: str) -> None:
    """So that `givens` finds it, and nothing before it is computed for the derivative in it alone."""
    inner, outer, _ = INNER[name]
    a = inner(X)
    for derivative in (gc.grad(outer(a), a), gc.jvp(outer(a), a, 1.0), gc.grad(gc.grad(outer(a) * a, a), a)):
        f = gc.function([X], derivative, givens={a: gc.constant(0.3)}, on_unused="ignore")
        assert f(50.0) == f(-2.0)


def test_one_inner_node_behind_another() -> None:
    """The cotangent of the later one goes on to the earlier one, through what passes have made of both."""
    a = gc.exp(X)
    b = gc.reshape(gc.log(1 + a), (1,))
    c = gc.log(a) * b
    da, db, dc, dx = gc.grad(gc.sum(c * c), [a, b, c, X])
    s = np.log1p(np.exp(0.7))
    assert value(dc[0]) == pytest.approx(2 * 0.7 * s, rel=1e-14)
    assert value(db[0]) == pytest.approx(2 * 0.7 * s * 0.7, rel=1e-14)
    through_b = 2 * 0.7**2 * s / (1 + np.exp(0.7))
    assert value(da) == pytest.approx(2 * 0.7 * s * s / np.exp(0.7) + through_b, rel=1e-14)
    assert value(dx) == pytest.approx(2 * 0.7 * s * s + through_b * np.exp(0.7), rel=1e-14)


# -- what has no gradient


def test_disconnected() -> None:
    v = gc.placeholder("unused", ("m", 2), "float32")
    with pytest.raises(gc.GradientError, match=r"does not depend on unused.*\[test_grad.py:\d+\]"):
        gc.grad(gc.sum(V), v)
    zeros = gc.grad(gc.sum(V), [V, v], disconnected="zero")[1]
    assert zeros.type == v.type
    found = zeros.eval({v: np.ones((3, 2), "float32")})
    assert found.shape == (3, 2) and found.dtype == np.float32 and not found.any()
    with pytest.raises(gc.ArgumentError, match="disconnected must be"):
        gc.grad(X, X, disconnected="zeros")


@pytest.mark.parametrize(
    "build",
    [
        lambda x: gc.stop_gradient(x) * 3,
        lambda x: gc.floor(x),
        lambda x: gc.sign(x),
        lambda x: (x > 0).astype("float64"),
        lambda x: x.astype("int64").astype("float64"),
    ],
)
def test_what_is_flat_has_gradient_zero_and_is_connected(build: Callable[[Node], Node]) -> None:
    assert value(gc.grad(build(X), X) + 0 * X) == 0


def test_stop_gradient_blocks_one_path_only() -> None:
    assert value(gc.grad(X * gc.stop_gradient(gc.exp(X)) + gc.sin(X), X)) == np.exp(0.7) + np.cos(0.7)
    assert value(gc.jvp(X * gc.stop_gradient(X), X, 1.0)) == 0.7


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda i: gc.grad(gc.sum(V), i), gc.GradientError, r"i\b.* has dtype int64; only floats have gradients"),
        (lambda i: gc.grad(gc.sum(i), i), gc.GradientError, r"has dtype int64; only floats have gradients"),
        (lambda i: gc.grad(V, V), gc.GradientError, r"loss must be 0-d, got f64\[n\]; reduce it"),
        (lambda i: gc.vjp([3.0], V, [1.0]), gc.ArgumentError, r"outputs must be nodes, got float"),
        (lambda i: gc.grad(gc.sum(V), [V, 3]), gc.ArgumentError, r"wrt must hold nodes, got int"),
        (lambda i: gc.vjp([V, V], V, [V]), gc.ArgumentError, r"vjp: cotangents: a sequence of 2 needed, got 1"),
        (lambda i: gc.vjp(V, V, 1.0), gc.ShapeError, r"vjp: f64\[\] given for v"),
        (lambda i: gc.jvp(V, [V], [V, V]), gc.ArgumentError, r"jvp: tangents: a sequence of 1 needed, got 2"),
    ],
)
def test_refusals_name_the_users_line(call: Callable[[Node], Any], error: type[Exception], message: str) -> None:
    i = gc.placeholder("i", (3,), "int64")
    with pytest.raises(error, match=message + r".*\[test_grad.py:\d+\]"):
        call(i)


# -- state


def test_gradient_of_state_through_updates() -> None:
    w = gc.shared(np.array([1.0, 2.0]), name="w")
    loss = gc.sum(gc.square(w * X))
    step = gc.function([X], loss, updates={w: w - 0.1 * gc.grad(loss, w)})
    assert [float(step(2.0)), float(step(2.0))] == pytest.approx([20.0, 0.8])
    np.testing.assert_allclose(w.get_value(), [0.04, 0.08])


def test_gradient_through_an_unrolled_update() -> None:
    """The new value of a step is a node like any other: the derivative of training by its rate."""
    w = gc.shared(np.array(3.0), name="w")
    updated: Node = w
    for _ in range(3):
        updated = updated - X * gc.grad(gc.square(updated), updated)
    assert value(gc.grad(updated, X)) == pytest.approx(3 * 3 * (1 - 1.4) ** 2 * -2)


def test_compiled_and_interpreted_gradients_of_one_program_agree() -> None:
    loss = gc.sum(gc.softmax(V) * gc.tanh(V)) / gc.sqrt(1 + gc.sum(V * V))
    nodes = [loss, gc.grad(loss, V)]
    point = np.random.default_rng(3).standard_normal(17)
    for a, b in itertools.pairwise(gc.function([V], nodes, mode=mode)(point) for mode in ("compiled", "reference")):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-16)


# -- check_grad


def test_check_grad_accepts_and_reports() -> None:
    w = gc.shared(np.array([[0.3, -0.2], [0.5, 0.1]]), name="w")
    loss = gc.sum(gc.tanh(w @ V))
    error = gc.check_grad(loss, [w, V], {V: [0.4, -0.6]})
    assert 0 <= error < 1e-7
    np.testing.assert_array_equal(w.get_value(), [[0.3, -0.2], [0.5, 0.1]])


def test_check_grad_finds_a_wrong_derivative() -> None:
    with pytest.raises(gc.GradientError, match=r"check_grad: relative error 0\.499 at v\[1\].*\[test_grad.py:\d+\]"):
        gc.check_grad(gc.sum(V * gc.stop_gradient(V)), V, {V: [0.0, 3.0]})


@pytest.mark.parametrize(
    "build",
    [
        lambda x, b: gc.grad(gc.log(gc.exp(x)) * b, x),
        lambda x, b: gc.grad(x * x + b, x) * 2,
        lambda x, b: gc.grad(gc.grad(3 * x + b, x, disconnected="zero") * b, b),
        lambda x, b: gc.jvp(b * 2 + x, x, 1.0),
        lambda x, b: gc.value_and_grad(b * x, x)[1],
    ],
)
def test_what_a_loss_depends_on_is_used_by_its_derivatives(build: Any) -> None:
    x, b = gc.placeholder("x"), gc.placeholder("b")
    f = gc.function([x, b], build(x, b))
    np.testing.assert_allclose(f(3.0, 2.0), build(x, b).eval({x: 3.0, b: 2.0}))
    other = gc.placeholder("other")
    with pytest.raises(gc.ArgumentError, match="input 'other' is not needed"):
        gc.function([x, b, other], build(x, b))
    same = gc.function([b], build(x, b), givens={x: b * 1.5})
    np.testing.assert_allclose(same(2.0), f(3.0, 2.0))


# -- roots of sums of squares

FORM = np.diag([1.0, 2.0, 3.0]) + 0.1
NORMS: dict[str, Callable[[Node], Node]] = {
    "x @ x": lambda x: gc.sqrt(x @ x),
    "(x @ x) ** 0.5": lambda x: (x @ x) ** 0.5,
    "tensordot": lambda x: gc.sqrt(gc.tensordot(x, x, axes=1)),
    "vecdot": lambda x: gc.sqrt(gc.vecdot(x, x)),
    "einsum": lambda x: gc.sqrt(gc.einsum("i,i->", x, x)),
    "a factor": lambda x: gc.sqrt(gc.sum(2 * x**2)),
    "positive weights": lambda x: gc.sqrt(gc.sum(gc.exp(gc.stop_gradient(x)) * x**2)),
    "two sums": lambda x: gc.sqrt(gc.sum(x * x) + gc.sum((3 * x) ** 2)),
    "matrix": lambda x: gc.sqrt(x @ FORM @ x),
    "matrix, the other way": lambda x: gc.sqrt(x @ (FORM @ x)),
    "matrix by elements": lambda x: gc.sqrt(gc.sum(x * (FORM @ x))),
    "matrix in einsum": lambda x: gc.sqrt(gc.einsum("i,ij,j->", x, FORM, x)),
    "rows": lambda x: gc.sum(gc.sqrt(gc.sum((x * np.ones((2, 1))) @ FORM * (x * np.ones((2, 1))), axis=1))),
    "stacked products": lambda x: gc.sum(gc.sqrt((x[None, None] @ x[None, :, None])[:, 0, 0])),
    "weights beside one": lambda x: gc.sqrt((x * np.arange(1.0, 4.0)) @ x),
    "trace": lambda x: gc.sqrt(gc.trace(gc.outer(x, x))),
    "diagonal": lambda x: gc.sqrt(gc.sum(gc.diagonal(gc.outer(x, x)))),
    "even power": lambda x: gc.sqrt(gc.sum(x**4)),
    "and zero": lambda x: gc.sqrt(x @ x + 0.0),
}


@pytest.mark.parametrize("name", NORMS)
def test_roots_of_sums_of_squares_at_zero(name: str) -> None:
    """Where the norm is 0 its derivative is 0; elsewhere it is as differences say."""
    x = gc.placeholder("x", (3,))
    loss = NORMS[name](x)
    f = gc.function([x], [loss, gc.grad(loss, x)])
    value, slope = f(np.zeros(3))
    assert value == 0 and not slope.any()
    assert not gc.grad(loss, x).eval({x: np.zeros(3)}).any()
    point, step = np.array([0.3, -0.2, 0.5]), 1e-6 * np.eye(3)
    if name != "positive weights":
        differences = [(f(point + d)[0] - f(point - d)[0]) / 2e-6 for d in step]
        np.testing.assert_allclose(f(point)[1], differences, rtol=1e-8)


def test_a_form_of_unknown_sign_is_no_norm() -> None:
    """The product of neighbours has an infinite slope where one of them is 0: no silent zero."""
    x = gc.placeholder("x", (3,))
    slope = gc.grad(gc.sqrt(x[1:] @ x[:-1]), x).eval({x: [1.0, 0.0, 0.0]})
    assert not np.isfinite(slope[1])


# -- smooth functions of a distance

ROOT = 3**0.5


def matern(r: Node) -> Node:
    return (1 + ROOT * r) * gc.exp(-ROOT * r)


DISTANCES: dict[str, Callable[[Node], Node]] = {
    "vector_norm": gc.linalg.vector_norm,
    "hypot": lambda y: gc.hypot(y[0], y[1]),
    "sqrt(sum)": lambda y: gc.sqrt(gc.sum(y * y)),
    "kept axis": lambda y: gc.linalg.vector_norm(y, axis=0, keepdims=True)[0],
}
SMOOTH: dict[str, tuple[Callable[[Node], Node], float]] = {
    "matern 3/2": (matern, -3.0),
    "matern 5/2": (lambda r: (1 + 5**0.5 * r + 5 / 3 * r**2) * gc.exp(-(5**0.5) * r), -5 / 3),
    "cos": (gc.cos, -1.0),
    "cosh": (gc.cosh, 1.0),
    "gauss": (lambda r: gc.exp(-r * r), -2.0),
    "broadcast": (lambda r: gc.sum(matern(r * np.array([1.0, 2.0]))), -15.0),
}


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_of_a_distance_keep_their_curvature_at_zero(distance: str, name: str) -> None:
    f, curvature = SMOOTH[name]
    y, v = gc.placeholder("y", (2,)), np.array([0.5, -2.0])
    out = f(DISTANCES[distance](y))
    slope = gc.grad(out, y)
    ways = [
        gc.hessian(out, y) @ v,
        gc.grad(gc.sum(slope * v), y),
        gc.jvp(slope, y, gc.constant(v)),
        *([] if (distance, name) == ("hypot", "broadcast") else [gc.grad(gc.jvp(out, y, gc.constant(v)), y)]),
    ]  # the docstring of hypot tells of the one left out
    for way, got in enumerate(gc.function([y], ways, on_unused="ignore")(np.zeros(2))):
        np.testing.assert_allclose(got, curvature * v, rtol=1e-12, atol=1e-14, err_msg=str(way))
    third = gc.grad(gc.sum(ways[1] * v), y, disconnected="zero")
    assert not gc.function([y], third, on_unused="ignore")(np.zeros(2)).any()


def test_curvature_at_zero_of_a_matrix_of_kernels() -> None:
    """The diagonal of a Gram matrix has distance 0; its points move together, so the value does not change."""
    x, c = gc.placeholder("x", (3, 2)), gc.constant(np.diag([1.0, 2.0, 3.0]))
    r = gc.linalg.vector_norm(x[:, None] - gc.stop_gradient(x)[None], axis=2)
    got = gc.function([x], gc.hessian(gc.sum(matern(r) * c), x))(np.array([[0.0, 1.0], [2.0, 3.0], [5.0, 1.0]]))
    np.testing.assert_allclose(got.reshape(6, 6), -3 * np.diag([1.0, 1.0, 2.0, 2.0, 3.0, 3.0]), atol=1e-12)


def test_curvature_at_zero_in_a_loop() -> None:
    y = gc.placeholder("y", (2,))
    out = gc.scan(lambda s, k: (s + matern(gc.linalg.vector_norm(y * k)), None), 0.0, gc.constant([1.0, 2.0]))[0]
    got = gc.function([y], gc.hessian(out, y))(np.zeros(2))
    np.testing.assert_allclose(got, -15 * np.eye(2), atol=1e-12)
