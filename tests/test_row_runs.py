"""Products and what follows them, by blocks of rows: which nests run by turns, and that values do not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.math.tile_sizes import vector_bits
from graphc.codegen.run import row_runs
from graphc.graph.types import Array

pytestmark = pytest.mark.skipif(vector_bits() == 0, reason="this CPU has no fused multiply-add, so no product is tiled")

X = gc.placeholder("x", ("m", 24), "float32")
Y = gc.placeholder("y", ("m", 24), "float32")


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide small programs too: blocks of 16 rows."""
    monkeypatch.setattr(row_runs, "RUN_BYTES", 0)
    monkeypatch.setattr(row_runs, "BLOCK_BYTES", 0)
    monkeypatch.setattr(row_runs, "LEAST_ROWS", 16)


def weight(*shape: int, seed: int = 0, dtype: str = "float32") -> gc.Shared:
    value = np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)
    return gc.shared(value, name=f"w{seed}_{'x'.join(map(str, shape))}")


def rows(m: int, k: int = 24, seed: int = 0, dtype: str = "float32") -> Array:
    return np.random.default_rng([seed, m]).normal(size=(m, k)).astype(dtype)


def by_turns(f: gc.Function) -> list[str]:
    """Return what the plan says of kernels that run by turns."""
    assert f.plan is not None
    return [name for name in f.plan.chunks if " and " in name]


def dense(x: gc.Node, w: gc.Node, b: gc.Node) -> gc.Node:
    return gc.nn.relu(x @ w + b)


# -- which nests


def test_bias_and_activation_follow_a_large_product_by_blocks_of_rows() -> None:
    x, w, b = gc.placeholder("x", ("m", 256), "float32"), weight(256, 512), weight(512)
    f = gc.function([x], dense(x, w, b), threads=1)
    large, small = rows(2000, 256), rows(256, 256)
    wanted = np.maximum(large.astype("f8") @ w.get_value() + b.get_value(), 0)
    # Rounding errors of 256 terms add up as a random walk: sqrt(256) times half a unit of the sum of their sizes.
    terms = np.abs(large).astype("f8") @ np.abs(w.get_value())
    np.testing.assert_allclose(f(large), wanted, rtol=0, atol=256**0.5 * 2.0**-24 * terms.max())
    assert by_turns(f) == ["kernel 0 and kernel 1"]
    f(small)
    assert by_turns(f) == []


@pytest.mark.usefixtures("_small")
def test_layers_and_projections_of_one_value_run_as_one() -> None:
    w1, w2, b1, b2 = weight(24, 40), weight(40, 12), weight(40), weight(12)
    f = gc.function([X], gc.tanh(dense(dense(X, w1, b1), w2, b2)), threads=1)
    f(rows(50))
    assert by_turns(f) == ["kernel 0 and kernel 1 and kernel 2 and kernel 3"]
    q, k, v = (X @ weight(24, 8, seed=s) for s in range(3))
    g = gc.function([X], gc.tanh(q) * k + v, threads=1)
    g(rows(50))
    assert by_turns(g) == ["kernel 0 and kernel 1 and kernel 2 and kernel 3"]


@pytest.mark.usefixtures("_small")
def test_what_reads_other_rows_or_changes_state_stays_apart() -> None:
    w, state = weight(24, 24), weight(50, 24, seed=1)
    square = gc.placeholder("s", (50, 50), "float32")
    x = gc.placeholder("x", (50, 24), "float32")
    apart: dict[str, tuple[gc.Node, dict[gc.Shared, gc.Node]]] = {
        "right operand": (square @ (x @ w), {}),
        "another order": (gc.exp(gc.flip(x @ w, axis=0)), {}),
        "sums over rows": (gc.sum(gc.exp(x @ w), 0), {}),
        "gathers": (gc.exp((x @ w)[gc.argsort(gc.sum(x, 1))]), {}),
        "state": (gc.sum(x), {state: state + gc.exp(x @ w)}),
    }
    for name, (value, updates) in apart.items():
        f = gc.function([square, x] if name == "right operand" else [x], value, updates=updates, threads=1)
        f(*([rows(50, 50)] if name == "right operand" else []), rows(50))
        assert by_turns(f) == [], name


# -- values

Case = Callable[[Sequence[gc.Node]], Any]
CASES: dict[str, Case] = {
    "dense": lambda n: dense(n[0], weight(24, 40), weight(40)),
    "narrow": lambda n: n[0] @ weight(24, 3) + n[1] @ weight(24, 5) @ weight(5, 3),
    "layers": lambda n: gc.softmax(dense(gc.tanh(dense(n[0], weight(24, 33), weight(33))), weight(33, 7), weight(7))),
    "outputs": lambda n: [h := dense(n[0], weight(24, 24), weight(24)), h @ weight(24, 10), gc.sin(h)],
    "residual": lambda n: gc.tanh(t := gc.exp(n[0] * 0.1)) * 0 + dense(t, weight(24, 24), weight(24)) * t + t,
    "sum": lambda n: gc.nn.relu(n[0] @ weight(24, 24) + n[1] @ weight(24, 24, seed=1) + weight(24)),
    "transposed": lambda n: gc.exp(gc.tanh(n[0] @ weight(17, 24).T) @ weight(5, 17).T),
    "other rows": lambda n: gc.exp((n[0] * n[1]).T @ gc.tanh(n[0] @ weight(24, 24))),
    "tokens": lambda n: gc.tanh(n[0].reshape((-1, 2, 24)) @ weight(24, 9)) + 1,
    "norm": lambda n: gc.nn.layer_norm(n[0] @ weight(24, 40), 40),
    "strips": lambda n: n[0] @ weight(24, 70) + (weight(70, 24) @ n[1].T).T,
    "two users": lambda n: [gc.exp(h := n[0] @ weight(24, 24)), gc.sum(h, 0), h.T @ n[1]],
}


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("mode", ["compiled", "debug"])
@pytest.mark.parametrize("case", CASES)
def test_values(case: str, mode: Any) -> None:
    outputs = CASES[case]([X, Y])
    f = gc.function([X, Y], outputs, mode=mode, threads=1, on_unused="ignore")
    for m in (64, 50, 39, 16, 2) if mode == "compiled" else (36,):
        m += m % 2
        given = rows(m), rows(m, seed=1)
        wanted = gc.evaluate(outputs, {X: given[0], Y: given[1]})
        got = f(*given)
        several = isinstance(outputs, list)
        for value, expected in zip(got if several else [got], wanted if several else [wanted], strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)  # float32 in several layers: 100 units


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("case", CASES)
def test_bits_do_not_depend_on_threads(case: str) -> None:
    outputs = CASES[case]([X, Y])
    given = rows(70), rows(70, seed=1)
    found = []
    for threads in (1, 2, 3):
        f = gc.function([X, Y], outputs, threads=threads, on_unused="ignore")
        got = f(*given)
        found.append([value.tobytes() for value in (got if isinstance(got, list) else [got])])
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("seed", range(40))
def test_random_layers(seed: int) -> None:
    """Values that are made, read and overwritten in every order."""
    rng = np.random.default_rng(seed)
    values = [X, Y]
    for step in range(10):
        x, y = (values[i] for i in rng.integers(len(values), size=2))
        w = weight(24, 24, seed=int(rng.integers(4))) * 0.2
        made = [x @ w, gc.tanh(x) + y, gc.nn.relu(x @ w + weight(24)), x * y, (x @ w) @ w, x @ w + y @ w.T]
        values.append(gc.tanh(made[rng.integers(len(made))]) if step % 3 == 2 else made[rng.integers(len(made))])
    outputs = [values[-1], *(values[i] for i in rng.integers(2, len(values), size=2))]
    f = gc.function([X, Y], outputs, threads=1 + seed % 2, on_unused="ignore")
    given = rows(52), rows(52, seed=1)
    exact = gc.evaluate(outputs, {X: given[0], Y: given[1]})
    for value, expected in zip(f(*given), exact, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(value, expected, rtol=0, atol=2e-5 * scale)  # ten layers of float32: 200 units


def test_a_product_too_large_for_tiles_runs_in_them_by_blocks() -> None:
    a, b = gc.placeholder("a", ("m", "k"), "float64"), gc.placeholder("b", ("k", "n"), "float64")
    f = gc.function([a, b], a @ b, threads=2)
    left, right = rows(6000, 300, dtype="float64"), rows(300, 160, dtype="float64")
    np.testing.assert_allclose(f(left, right), left @ right, rtol=0, atol=1e-10)
    assert f.plan is not None and next(iter(f.plan.chunks.values())) > 8
