"""Tables that are read in several places: their gradients stay rows, and keep factors that are NaN or infinite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.ops.indexing import Offset, Scatter
from graphc.passes.updates.accumulate_scatters import accumulate_scatters

ROWS, WIDTH = 1000, 8
TABLE = 8 * ROWS * WIDTH
INDEX, OTHER = (gc.placeholder(name, shape=("b",), dtype="int64") for name in "ij")
X = gc.placeholder("x", shape=(2,))
C = gc.placeholder("c")

Sparse = Callable[[Any, Any], Any]
FORMS: dict[str, tuple[Callable[[gc.Node, Any], Any], Sparse]] = {
    "times": (lambda s, c: s * c, lambda s, c: s * c),
    "times from the left": (lambda s, c: c * s, lambda s, c: c * s),
    "over": (lambda s, c: s / c, lambda s, c: s / c),
    "subtracted": (lambda s, c: gc.ones(4) - s * c, lambda s, c: 1 - s * c),
    "negative": (lambda s, c: -(s * c), lambda s, c: -(s * c)),
    "sum": (lambda s, c: s * c + gc.zeros(4).at[[2]].add(c), lambda s, c: s * c + np.array([0, 0, c, 0])),
    "twice": (lambda s, c: (s * c + s.at[[1]].add(1.0)) * c, lambda s, c: (s * c + s + np.array([0, 1, 0, 0])) * c),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("factor", [np.nan, np.inf, -np.inf, 0.0, -2.0])
@pytest.mark.parametrize("literal", [True, False])
def test_factors_that_are_not_finite_reach_every_element(form: str, factor: float, literal: bool) -> None:
    symbolic, numeric = FORMS[form]
    sparse = gc.zeros(4).at[[1, 1]].add(X)
    out = symbolic(sparse, factor if literal else C)
    f = gc.function([X, C], out, on_unused="ignore")
    with np.errstate(all="ignore"):
        wanted = numeric(np.array([0, 3.0, 0, 0]), np.float64(factor))
    found = f([1.0, 2.0], factor)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted))
    np.testing.assert_allclose(found[np.isfinite(wanted)], wanted[np.isfinite(wanted)], rtol=1e-15)


def scatters(node: gc.Node) -> tuple[int, int]:
    """Return how many scatters, and how many dense operations, make a value after the pass."""
    graph = accumulate_scatters(gc.Graph([node]))
    dense = [n for n in graph.nodes if n.op.name in ("add", "multiply", "subtract", "negative") and n.shape == (4,)]
    return sum(isinstance(n.op, Scatter) for n in graph.nodes), len(dense)


def test_sums_of_scatters_are_chains() -> None:
    index = gc.placeholder("k", shape=(2,), dtype="int64")
    s, t = gc.zeros(4).at[[1, 1]].add(X), gc.zeros(4).at[index].add(X)
    assert scatters(s + t) == (2, 0)
    assert scatters(s - 0.5 * t) == (2, 0)
    assert scatters(gc.ones(4) - 0.1 * (s + t)) == (2, 0)
    assert scatters(gc.zeros(4).at[index].add(X) + t) == (1, 0)  # the same places: the terms are added
    assert scatters(s * gc.arange(4.0)) == (1, 1)  # does not fire: a factor an element
    assert scatters(gc.zeros(4).at[[1, 1]].set(X) * 2.0) == (1, 1)  # nor for what is set
    assert scatters(s * np.nan) == (1, 1)
    graph = accumulate_scatters(gc.Graph([gc.ones(4) + s * C]))
    assert [n.op.name for n in graph.nodes if isinstance(n.op, (Offset, Scatter))] == ["offset", "scatter"]


def test_long_sums_of_scaled_scatters_stay_linear() -> None:
    def nodes(steps: int) -> int:
        total = gc.zeros(4).at[[1]].add(C)
        for k in range(steps):
            total = total * 0.9 + gc.zeros(4).at[[k % 4]].add(C)
        return len(accumulate_scatters(gc.Graph([total])))

    assert nodes(100) < 4.2 * nodes(25)


LOSSES: dict[str, Callable[[gc.Node], gc.Node]] = {
    "products of rows": lambda w: gc.sum(w[INDEX] * w[OTHER]),
    "the same rows twice": lambda w: gc.sum(w[INDEX] * gc.sin(w[INDEX + 0])),
    "skip-gram": lambda w: -gc.sum(gc.log(gc.sigmoid(gc.sum(w[INDEX] * w[OTHER], axis=1)))),
    "three reads": lambda w: gc.sum(w[INDEX] * w[OTHER]) + gc.sum(gc.square(w[INDEX][:, :3])) / 3,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rate", ["literal", "state", "schedule"])
def test_a_step_of_a_table_that_is_read_twice_costs_its_rows(loss: str, rate: str) -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=(ROWS, WIDTH))
    w, lr = gc.shared(start, name="w"), gc.shared(0.1, name="lr")
    value = LOSSES[loss](w)
    step = {"literal": 0.1, "state": lr, "schedule": gc.where(lr > 1, 0.0, lr)}[rate] * gc.grad(value, w)
    f = gc.function([INDEX, OTHER], value, updates={w: w - step})
    args = [[3, 3, 999], [7, 3, -1]]
    reference = gc.function([INDEX, OTHER], w - step, mode="reference")(*args)
    f(*args)
    np.testing.assert_allclose(w.get_value(), reference, rtol=1e-13, atol=1e-15)
    assert f.plan.peak_bytes < TABLE / 20
    rows = f.cost.at({"b": 3}).total
    assert rows.read + rows.written < TABLE / 10
    if rate == "state":
        lr.set_value(np.nan)
        f(*args)
        assert np.isnan(w.get_value()).all()


OPTIMIZERS: dict[str, Callable[[], gc.optim.Optimizer]] = {
    "momentum": lambda: gc.optim.SGD(0.1, momentum=0.9),
    "decay": lambda: gc.optim.SGD(0.1, weight_decay=0.01),
    "clipping": lambda: gc.optim.SGD(0.1, clip_norm=1.0),
    "adam": lambda: gc.optim.Adam(0.1),
    "adamw": lambda: gc.optim.AdamW(0.1, weight_decay=0.01),
    "rmsprop": lambda: gc.optim.RMSprop(0.1),
    "adagrad": lambda: gc.optim.Adagrad(0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_optimisers_make_dense_is_one_table(name: str) -> None:
    """As the documentation of `gc.optim` says: at most one temporary array of the table's size."""
    w = gc.shared(np.random.default_rng(0).normal(size=(ROWS, WIDTH)), name="w")
    value = LOSSES["skip-gram"](w)
    f = gc.function([INDEX, OTHER], value, updates=OPTIMIZERS[name]().updates(value, w))
    f([1, 2], [4, 4])
    assert TABLE <= f.plan.peak_bytes < 1.05 * TABLE
    assert f.cost.at({"b": 2}).total.written >= TABLE
