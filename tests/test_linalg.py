"""Products where tables do not reach: errors, symbolic sizes, structure, every einsum NumPy accepts."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc.graph.node import Node
from graphc.ops import linalg
from graphc.ops.linalg import MatMul


def products_of(*nodes: Node) -> list[str]:
    """Return the types of all matrix products."""
    return [str(n.type) for n in gc.Graph(nodes).nodes if isinstance(n.op, MatMul)]


def untyped(value: Any) -> Any:
    """Hide a wrong argument from the type checker."""
    return value


# -- errors


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: gc.zeros((3, 4)) @ gc.zeros((5, 2)),
            r"matmul: inner dimensions differ: f64\[3,4\] @ f64\[5,2\] \(4 != 5\)",
        ),
        (lambda: gc.zeros(4) @ gc.zeros((5, 2)), r"matmul: inner dimensions differ: f64\[4\] @ f64\[5,2\] \(4 != 5\)"),
        (lambda: gc.zeros((3, 4)) @ gc.zeros(5), r"matmul: inner dimensions differ: f64\[3,4\] @ f64\[5\] \(4 != 5\)"),
        (lambda: gc.zeros((2, 3, 4)) @ gc.zeros((3, 4, 2)), r"matmul: shapes do not broadcast: f64\[2\], f64\[3\]"),
        (lambda: gc.zeros((3, 4)) @ 2.0, r"matmul: 0-d operand: f64\[3,4\] @ f64\[\]; use \* to scale"),
        (lambda: gc.zeros((2, 2), dtype="bool") @ gc.zeros((2, 2), dtype="bool"), "matmul: got bool, bool"),
        (lambda: gc.vecdot(gc.zeros(3), gc.zeros(4)), r"vecdot: lengths of axis -1 differ: .* \(3 != 4\)"),
        (lambda: gc.vecdot(gc.zeros((3, 3)), gc.zeros(3), axis=0), "vecdot: axis 0 is ambiguous"),
        (lambda: gc.outer(gc.zeros((2, 2)), gc.zeros(2)), "outer: 1-d operands needed"),
        (
            lambda: gc.tensordot(gc.zeros((3, 4)), gc.zeros((5, 2)), axes=1),
            r"tensordot: sizes of axes 1 and 0 differ: f64\[3,4\] @ f64\[5,2\] \(4 != 5\)",
        ),
        (lambda: gc.tensordot(gc.zeros((3, 4)), gc.zeros((5, 2)), axes=3), "tensordot: axes=3"),
        (lambda: gc.tensordot(gc.zeros((3, 3)), gc.zeros((3, 3)), axes=((0, 0), (0, 1))), "must be distinct"),
        (lambda: linalg.diagonal(gc.zeros(3)), "diagonal: axis -2 is out of range"),
        (lambda: gc.einsum("ij,jk", gc.zeros((2, 2))), "einsum: 'ij,jk' names 2 operands, 1 given"),
        (lambda: gc.einsum("ijk", gc.zeros((2, 2))), r"einsum: 'ijk' in 'ijk' does not name the 2 axes of f64\[2,2\]"),
        (lambda: gc.einsum("i", gc.zeros((2, 2))), "einsum: 'i' in 'i' does not name the 2 axes"),
        (lambda: gc.einsum("i1", gc.zeros((2, 2))), "einsum: '1' in 'i1' is not a letter"),
        (lambda: gc.einsum("ij->ik", gc.zeros((2, 2))), "einsum: 'k' of 'ij->ik' is in no operand"),
        (lambda: gc.einsum("ij->ii", gc.zeros((2, 2))), "einsum: 'i' of 'ij->ii' is repeated in the output"),
        (lambda: gc.einsum("...i->i", gc.zeros((2, 2))), "einsum: the output of '...i->i' lacks the ellipsis"),
        (lambda: gc.einsum("ij,jk", gc.zeros((2, 3)), gc.zeros((4, 2))), r"einsum: 'j' of 'ij,jk' has sizes 3 and 4"),
        (lambda: gc.einsum("ii", gc.zeros((2, 3))), "einsum: 'i' of 'ii' has sizes 2 and 3"),
        (lambda: gc.einsum(untyped(["ij"]), gc.zeros((2, 3))), "einsum: subscripts must be a string, got "),
    ],
)
def test_errors_name_the_op_the_shapes_and_the_line(build: Any, message: str) -> None:
    with pytest.raises(gc.GraphcError, match=message + r".*\[test_linalg.py:\d+\]"):
        build()


def test_inner_dimensions_that_only_a_call_knows() -> None:
    x, y = gc.placeholder("x", ("n", "k")), gc.placeholder("y", ("m", 2))
    assert (x @ y).eval({x: np.ones((3, 4)), y: np.ones((4, 2))}).tolist() == [[4, 4]] * 3
    message = r"dimension k of x is 4 but dimension m of y is 5; matmul at test_linalg.py:\d+ needs them equal"
    with pytest.raises(gc.ShapeError, match=message):
        (x @ y).eval({x: np.ones((3, 4)), y: np.ones((5, 2))})


# -- structure


def test_a_stack_times_a_matrix_is_one_product_and_so_is_its_gradient() -> None:
    x, w = gc.placeholder("x", ("batch", 7, 4)), gc.placeholder("w", (4, 5))
    out = x @ w
    assert products_of(out) == ["f64[7*batch,5]"]
    assert products_of(gc.grad(gc.sum(out * out), w)) == ["f64[7*batch,5]", "f64[4,5]"]


def test_matmul_differentiates_only_what_is_asked() -> None:
    x, w = gc.placeholder("x", (3, 4)), gc.placeholder("w", (4, 5))
    g = gc.vjp(x @ w, w, gc.constant(np.ones((3, 5))))
    assert products_of(g) == ["f64[4,5]"]


def test_contractions_are_ordered_by_size() -> None:
    a, b = gc.placeholder("a", (200, 200)), gc.placeholder("b", (200, 200))
    v = gc.placeholder("v", (200,))
    assert products_of(gc.einsum("ij,jk,k->i", a, b, v)) == ["f64[200,1]", "f64[200,1]"]


def test_einsum_maps_to_matrix_products() -> None:
    x, y = gc.placeholder("x", (2, 3, 4)), gc.placeholder("y", (2, 4, 5))
    assert products_of(gc.einsum("bij,bjk->bik", x, y)) == ["f64[2,3,5]"]
    assert products_of(gc.einsum("bij,bij->b", x, x)) == []


# -- symbolic sizes


def test_products_of_symbolic_sizes() -> None:
    x, y = gc.placeholder("x", ("b", "n", "k")), gc.placeholder("y", ("k", "m"))
    v, w = gc.placeholder("v", ("n",)), gc.placeholder("w", ("m", "q"))
    rng = np.random.default_rng(0)
    values = {x: rng.random((2, 3, 4)), y: rng.random((4, 5)), v: rng.random(3), w: rng.random((5, 2))}
    pairs = {
        "matmul": (x @ y, values[x] @ values[y]),
        "vector": (v @ x, values[v] @ values[x]),
        "tensordot": (gc.tensordot(x, y, axes=1), np.tensordot(values[x], values[y], 1)),
        "chain": (
            gc.einsum("bnk,km,mq,n->bq", x, y, w, v),
            np.einsum("bnk,km,mq,n->bq", values[x], values[y], values[w], values[v]),
        ),
        "diagonal": (linalg.diagonal(x), np.diagonal(values[x], axis1=-2, axis2=-1)),
    }
    for node, wanted in pairs.values():
        np.testing.assert_allclose(node.eval(values), wanted, rtol=1e-13)
    gc.check_grad(gc.sum(pairs["chain"][0] ** 2), [x, y, v, w], values)


# -- einsum in general


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, list[tuple[int, ...]]]:
    """Draw subscripts over a few letters, with repeats, free outputs and axes of size 1."""
    letters = string.ascii_lowercase[:4]
    sizes = {letter: draw(st.integers(1, 3)) for letter in letters}
    terms = draw(st.lists(st.text(letters, max_size=3), min_size=1, max_size=4))
    used = sorted(set("".join(terms)))
    output = "".join(draw(st.permutations([u for u in used if draw(st.booleans())])))
    arrow = draw(st.booleans())
    return ",".join(terms) + (f"->{output}" if arrow else ""), [tuple(sizes[a] for a in t) for t in terms]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(expressions())
def test_einsum_agrees_with_numpy(case: tuple[str, list[tuple[int, ...]]]) -> None:
    subscripts, shapes = case
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, s) for s in shapes]
    got = gc.einsum(subscripts, *arrays).eval()
    wanted = np.asarray(np.einsum(subscripts, *arrays))
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)
