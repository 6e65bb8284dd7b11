"""What moves elements hides no pattern: the value and the gradient stay right at the extremes; and what must stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc as gc
from graphc.graph.graph import Graph
from graphc.graph.node import Node, serials
from graphc.passes.algebra.rewrite import expression
from graphc.passes.algebra.stabilize import stabilize
from tests.passes import becomes, stays

S = gc.placeholder("s", (3,))
X = gc.placeholder("x", ("n", 4))
K = gc.placeholder("k", ("n",), "int64")

MOVED: dict[str, Callable[[Node], Node]] = {
    "reshape": lambda p: gc.reshape(p, (1, 3)),
    "None": lambda p: p[None],
    "expand_dims": lambda p: gc.expand_dims(p, -1),
    "transpose": lambda p: p[None].T,
    "squeeze": lambda p: gc.squeeze(gc.reshape(p, (3, 1)), 1),
    "broadcast_to": lambda p: gc.broadcast_to(p, (2, 3)),
    "repeat": lambda p: gc.repeat(p, 2),
    "tile": lambda p: gc.tile(p, 2),
    "flip": lambda p: gc.flip(p),
    "slice": lambda p: p[1:],
    "int": lambda p: p[1],
    "gather": lambda p: p[gc.constant([2, 0])],
    "take_along_axis": lambda p: gc.take_along_axis(p[None], gc.constant([[1]]), axis=1),
    "roll": lambda p: gc.roll(p, 1),
    "concat": lambda p: gc.concat([p[2:], p]),
    "stack": lambda p: gc.stack([p, p], axis=1),
    "where": lambda p: gc.where(gc.constant([True, False, True]), p, 0.5),
    "pad": lambda p: gc.pad(p, 1, constant_values=1.0),
    "pad with 0": lambda p: gc.pad(p, 1)[1:-1],
    "float32": lambda p: p.astype("float32"),
    "float32 and back": lambda p: p.astype("float32").astype("float64"),
    "two": lambda p: gc.flip(gc.reshape(p, (3, 1)))[:, 0],
    "a factor": lambda p: gc.reshape(p, (1, 3)) * 1.0,
    "a nest": lambda p: gc.where(gc.constant([[True, False, True]]), gc.stack([gc.roll(p, 1), p]), 0.25),
}
"""What may stand between `log` and `sigmoid`."""


@pytest.mark.parametrize("name", MOVED)
def test_the_log_of_a_sigmoid_in_its_tail(name: str) -> None:
    """The log of what is moved is what is moved of the log, which is s itself there."""
    moved = MOVED[name](gc.sigmoid(S))
    loss = gc.sum(gc.log(moved))
    at = np.array([-1000.0, -900.0, -800.0])
    f = gc.function([S], [loss, gc.grad(loss, S)])
    logs = np.log(gc.function([S], MOVED[name](S))(np.array([2.0, 3.0, 5.0])))  # constants among them are known
    counts = [int(np.sum(np.isclose(logs, np.log(p)))) for p in (2.0, 3.0, 5.0)]
    rest = np.sum(logs) - np.dot(counts, np.log([2.0, 3.0, 5.0]))
    value, slope = f(at)
    assert value == pytest.approx(np.dot(counts, at) + rest, rel=1e-6)
    np.testing.assert_allclose(slope, counts, rtol=1e-6)


ROWS: dict[str, Callable[[Node], Node]] = {
    "gather": lambda p: p[gc.arange(p.shape[0]), K],
    "take_along_axis": lambda p: gc.take_along_axis(p, K[:, None], axis=1),
    "slice": lambda p: p[:, 0],
    "flip": lambda p: gc.flip(p, axis=1)[:, 3],
    "transpose": lambda p: p.T[0],
    "reshape": lambda p: gc.reshape(p, (-1,))[::4],
    "where": lambda p: gc.where(K > 5, 1.0, p[:, 0]),
    "concat": lambda p: gc.concat([p[:, 1:], p[:, :1]], axis=1)[:, 3],
}


@pytest.mark.parametrize("name", ROWS)
def test_the_log_of_one_class_of_a_softmax(name: str) -> None:
    loss = -gc.mean(gc.log(ROWS[name](gc.softmax(X, axis=1))))
    f = gc.function([X, K], [loss, gc.grad(loss, X)], on_unused="ignore")
    value, slope = f([[0.0, 2000.0, 0.0, 0.0]] * 2, [0, 0])
    assert value == pytest.approx(2000, rel=1e-15)
    np.testing.assert_allclose(slope, [[-0.5, 0.5, 0, 0]] * 2, atol=1e-300)


def test_binary_cross_entropy_of_a_squeezed_column() -> None:
    d, w, y = gc.placeholder("d", ("n", 2)), gc.placeholder("w", (2, 1)), gc.placeholder("y", ("n",))
    loss = gc.nn.binary_cross_entropy(gc.squeeze(gc.sigmoid(d @ w), axis=1), y)
    value, slope = gc.function([d, w, y], [loss, gc.grad(loss, w)])(np.full((2, 2), 20.0), np.ones((2, 1)), np.zeros(2))
    assert value == 40.0
    np.testing.assert_allclose(slope, [[20.0], [20.0]])


LOOPS: dict[str, Callable[[Node], Node]] = {
    "softmax inside": lambda x: gc.log(gc.map(gc.softmax, x)),
    "softmax inside, one class": lambda x: gc.log(gc.map(gc.softmax, x)[:, 0]),
    "exp inside, its sum outside": lambda x: x - gc.log(gc.sum(gc.map(gc.exp, x), axis=1, keepdims=True)),
    "beside a carry": lambda x: gc.log(gc.scan(lambda c, r: (c * 0.5 + r, gc.softmax(r)), x[0] * 0, x)[1]),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_softmax_in_a_loop_and_its_log_outside(name: str) -> None:
    loss = -gc.sum(LOOPS[name](X)) if "one" in name else -gc.sum(LOOPS[name](X)[:, 0])
    value, slope = gc.function([X], [loss, gc.grad(loss, X)])([[0.0, 2000.0, 0.0, 0.0]] * 3)
    assert value == 6000.0
    np.testing.assert_allclose(slope, [[-1, 1, 0, 0]] * 3, atol=1e-300)


# -- the form, and what stays


def test_less_is_computed_where_fewer_elements_are_read() -> None:
    """Elementwise ops are computed for the elements that a gather reads, not for the whole table."""
    table, i = gc.placeholder("table", ("n",)), gc.placeholder("i", ("m",), "int64")
    becomes(
        stabilize,
        gc.log(gc.sigmoid(table)[i]),
        """
        %0: f64[n] = placeholder[table]
        %1: i64[m] = placeholder[i]
        %2: f64[m] = gather[axes=(0)](%0, %1)
        %3: f64[m] = negative(%2)
        %4: f64[m] = softplus(%3)
        %5: f64[m] = negative(%4)
        return %5
        """,
    )


def test_a_softmax_becomes_its_log_before_the_gather() -> None:
    (after,) = stabilize(Graph([gc.log(gc.softmax(X, axis=1)[gc.arange(X.shape[0]), K])])).outputs
    assert expression(after, 3) == "gather[axes=(0,1)](log_softmax[axis=1](x), iota[shape=(n), axis=0, dtype=i64], k)"


def test_nothing_moves_where_nothing_is_gained() -> None:
    table, i, c = gc.placeholder("table", ("n", 3)), gc.placeholder("i", ("m",), "int64"), gc.placeholder("c", ("n", 3))
    stays(
        stabilize,
        [
            gc.log(table[i]),
            gc.log(gc.sum(table, 1)[i]),
            gc.log(gc.where(c > 0, table, c)),
            gc.log(gc.concat([table, c])),
            gc.log(gc.reshape(table @ gc.matrix_transpose(c), (-1,))),
            gc.sqrt(gc.pad(table, 1)),
            gc.exp(gc.softmax(table)[i]),
        ],
    )


def test_a_thousand_pieces() -> None:
    """Every piece has its own supply of rewriting steps."""
    pieces = [gc.reshape(gc.sigmoid(S[0] * i), (1,)) for i in range(1000)]
    (after,) = stabilize(Graph([gc.log(gc.concat(pieces))])).outputs
    assert after.op.name == "concat" and "log" not in {n.op.name for n in Graph([after]).nodes}


def test_the_rest_of_an_array_that_padding_fills() -> None:
    """The formula of the zeros beside the padded piece is one of literals, which no rule rewrites for ever."""
    e = gc.pad(gc.exp(S), 1, constant_values=0)
    loss = gc.sum(e * gc.pad(S, 1))
    value, slope = gc.function([S], [loss, gc.grad(loss, S)])([-1.0, 0.0, 1.0])
    np.testing.assert_allclose(value, np.e - 1 / np.e)
    np.testing.assert_allclose(slope, [0.0, 1.0, 2 * np.e], atol=1e-15)


def test_nested_choices_do_not_multiply_the_trials() -> None:
    """A formula is moved into the branches of a `where` on trial; branches inside branches would double the trials."""
    made = []
    for depth in (6, 12):
        y = gc.exp(S)
        for i in range(depth):
            y = gc.where(i < S, gc.exp(y) * 0.5, gc.sin(y) + i)
        graph, before = Graph(gc.log(gc.sin(y) + gc.cos(y))), next(serials)
        stabilize(graph)
        made.append(next(serials) - before)
    assert made[1] < 4 * made[0]
