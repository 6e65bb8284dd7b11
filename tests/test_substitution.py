"""A node replaced by one of another size: the program takes that size where no input gives the old one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.graph import verify
from graphc.graph.types import Array, symbols

RNG = np.random.default_rng(5)
DATA = RNG.normal(size=(20, 3))

Program = Callable[[Any, Any], Any]
"""A program of a matrix of n rows and a row, over the functions of a module: graphc's for nodes, NumPy for arrays."""


def _loss(x: Any, w: Any) -> Any:
    return gc.mean(gc.tanh(x @ w)) if isinstance(x, gc.Node) else np.mean(np.tanh(x @ w))


def _sizes(x: Any, w: Any) -> Any:
    if isinstance(x, gc.Node):
        n = x.shape[0]
        return gc.sum(gc.arange(n) * (x @ w)) / n + gc.sum(gc.ones((n, n))) + gc.sum(x[1::2]) + gc.sum(x[::-1][: n - 1])
    n = len(x)
    return np.sum(np.arange(n) * (x @ w)) / n + n * n + np.sum(x[1::2]) + np.sum(x[::-1][: n - 1])


def _scan(x: Any, w: Any) -> Any:
    if isinstance(x, gc.Node):
        last, rows = gc.scan(lambda c, row: (c * 0.5 + row, gc.sum(c) + x[:, 0]), w, x)
        return gc.sum(last) + gc.sum(rows * x[:, :1])
    total, carry = 0.0, w
    for i, row in enumerate(x):
        total += np.sum((np.sum(carry) + x[:, 0]) * x[i, 0])
        carry = carry * 0.5 + row
    return np.sum(carry) + total


def _branch(x: Any, w: Any) -> Any:
    if isinstance(x, gc.Node):
        return gc.sum(gc.cond(gc.sum(w) > 100, lambda: x[:, 0], lambda: x[:, 1] + gc.ones(x.shape[0])))
    return np.sum(x[:, 1] + 1)


def _reshaped(x: Any, w: Any) -> Any:
    if isinstance(x, gc.Node):
        flat = gc.reshape(x, (x.shape[0] * 3,))
        return gc.sum(gc.concat([flat, flat])[::2] * 2) + gc.sum(gc.cumulative_sum(x, axis=0) * w)
    return np.sum(np.concatenate([x.ravel(), x.ravel()])[::2] * 2) + np.sum(np.cumsum(x, 0) * w)


PROGRAMS: list[Program] = [_loss, _sizes, _scan, _branch, _reshaped]


def replacements() -> list[tuple[list[gc.Node], gc.Node, list[Any], Array]]:
    """Return inputs, what stands for x, arguments, and x's value: rows of data, state, a constant, another name."""
    i = gc.placeholder("i", dtype="int64")
    z = gc.placeholder("z", shape=("m", 3))
    table = gc.shared(DATA[:7], name="table")
    return [
        ([i], gc.take(gc.constant(DATA), i * 5 + gc.arange(5), axis=0), [2], DATA[10:15]),
        ([], table, [], DATA[:7]),
        ([], gc.constant(DATA[:1]), [], DATA[:1]),
        ([z], z, [DATA[3:9]], DATA[3:9]),
        ([z], gc.concat([z, z[1:]]), [DATA[:4]], np.concatenate([DATA[:4], DATA[1:4]])),
    ]


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_givens_of_another_size(program: Program, mode: Any) -> None:
    x, w = gc.placeholder("x", shape=("n", 3)), gc.placeholder("w", shape=(3,))
    y = program(x, w)
    row = np.array([0.3, -0.2, 0.5])
    for inputs, new, arguments, value in replacements():
        f = gc.function([*inputs, w], [y, gc.grad(y, w, disconnected="zero")], givens={x: new}, mode=mode)
        got, slope = f(*arguments, row)
        np.testing.assert_allclose(got, program(value, row), rtol=1e-12)
        eps = 1e-6 * np.eye(3)
        differences = [(program(value, row + e) - program(value, row - e)) / 2e-6 for e in eps]
        np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-8)


def test_minibatches_of_two_inputs_and_an_update() -> None:
    x, y = gc.placeholder("x", shape=("n", 3)), gc.placeholder("y", shape=("n",))
    w = gc.shared(np.zeros(3), name="w")
    loss = gc.mean((x @ w - y) ** 2)
    labels, i = DATA @ [1.0, 2.0, -1.0], gc.placeholder("i", dtype="int64")
    rows = i * 5 + gc.arange(5)
    givens = {x: gc.take(gc.constant(DATA), rows, axis=0), y: gc.take(gc.constant(labels), rows)}
    step = gc.function([i], loss, updates={w: w - 0.1 * gc.grad(loss, w)}, givens=givens)
    wanted = np.zeros(3)
    for batch in (0, 3, 1):
        part, goal = DATA[5 * batch : 5 * batch + 5], labels[5 * batch : 5 * batch + 5]
        np.testing.assert_allclose(step(batch), np.mean((part @ wanted - goal) ** 2))
        wanted = wanted - 0.2 * part.T @ (part @ wanted - goal) / 5
    np.testing.assert_allclose(w.get_value(), wanted)


def test_graph_replace_takes_the_new_size_and_input() -> None:
    x, z = gc.placeholder("x", shape=("n", 3)), gc.placeholder("z", shape=("m", 3))
    y = gc.sum(x) / x.shape[0]
    graph, moved = gc.Graph([y]).replace({x: z[1:]})
    assert [n.name for n in verify(graph).inputs] == ["z"] and moved[y] is graph.outputs[0]
    assert set(symbols(s for n in graph.nodes for s in (*n.shape, *n.op.sizes()))) == {"m"}
    np.testing.assert_allclose(gc.function([z], graph.outputs[0])(DATA[:5]), DATA[1:5].sum() / 4)


def test_two_sizes_for_one_dimension() -> None:
    x, y = gc.placeholder("x", shape=("n",)), gc.placeholder("y", shape=("n",))
    with pytest.raises(gc.ShapeError, match=r"givens.*dimensions differ \(n is 3, 4 is 4\)  \[test_substitution"):
        gc.function([], gc.sum(x) + gc.sum(y), givens={x: gc.ones(3), y: gc.ones(4)})


def test_a_size_that_an_input_gives_is_checked_in_the_call() -> None:
    x, y = gc.placeholder("x", shape=("n",)), gc.placeholder("y", shape=("n",))
    f = gc.function([y], x * y, givens={x: gc.ones(3)})
    np.testing.assert_array_equal(f([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0])
    with pytest.raises(gc.ShapeError, match="dimension n of y is 2"):
        f([1.0, 2.0])


def test_a_dimension_without_a_size_is_refused_when_the_function_is_made() -> None:
    x = gc.placeholder("x", shape=(gc.dim("n") * 2,))
    with pytest.raises(gc.ShapeError, match=r"dimension n: no argument gives it a size .*\[test_substitution"):
        gc.function([], gc.sum(x + gc.ones(gc.dim("n") * 2)), givens={x: gc.ones(4)})
