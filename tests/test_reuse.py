"""Temporary values that are written over another which dies in the same kernel: bytes planned, values kept."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.memory.packing import least_peak, pack
from graphc.graph.node import Node

N, M = 24, 16
BLOCK = 8 * N * M
X = gc.placeholder("x", shape=("n", M))
W = gc.placeholder("w", shape=(M, M))
RNG = np.random.default_rng(5)
VALUES = {X: RNG.normal(size=(N, M)), W: RNG.normal(size=(M, M)) / 4}


def planned(out: Any, values: dict[Node, Any] | None = None, **options: Any) -> int:
    """Return the bytes of the arena, after the values agree in every mode."""
    given = VALUES if values is None else values
    wanted = gc.function(list(given), out, mode="reference", on_unused="ignore")(*given.values())
    debug = gc.function(list(given), out, mode="debug", on_unused="ignore")(*given.values())
    f = gc.function(list(given), out, on_unused="ignore", **options)
    found = f(*given.values())
    for a, b, c in zip(*(x if isinstance(x, list) else [x] for x in (found, wanted, debug)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(c, b, rtol=1e-11, atol=1e-12)
    return f.plan.peak_bytes


def test_activations_take_the_place_of_products() -> None:
    assert planned(gc.sum(gc.tanh(X @ W) @ W)) == 2 * BLOCK
    h = gc.tanh(X @ W)
    assert planned(gc.sum(gc.tanh(h @ W + h) @ W)) == 2 * BLOCK


def test_rows_take_the_place_of_what_they_reduce() -> None:
    h = gc.softmax(X @ W, axis=1) @ W
    assert planned(gc.sum(h)) == 2 * BLOCK


def test_another_shape_of_the_same_elements() -> None:
    h = gc.reshape(gc.tanh(gc.reshape(X @ W, (-1,))), (-1, M))
    assert planned(gc.sum(h @ W)) == 2 * BLOCK


def test_a_chain_of_kernels_stays_in_one_place() -> None:
    h = X @ W
    for _ in range(5):
        h = gc.cumulative_sum(gc.sin(h), axis=1)
    assert planned(gc.sum(h)) == 2 * BLOCK


def test_a_value_that_another_kernel_reads_later_is_kept() -> None:
    z = X @ W
    assert planned(gc.sum((gc.tanh(z) @ W) @ gc.matrix_transpose(z))) >= 3 * BLOCK


def test_a_value_that_is_returned_or_kept_is_not_written_over() -> None:
    z = X @ W
    assert planned([z, gc.sum(gc.tanh(z) @ W)]) == 2 * BLOCK
    state = gc.shared(np.zeros((N, M)), name="s")
    f = gc.function([X, W], gc.sum((gc.tanh(X @ W)) @ W), updates={state: X @ W})
    f(*VALUES.values())
    np.testing.assert_allclose(state.get_value(), VALUES[X] @ VALUES[W], rtol=1e-12)


def test_neighbours_are_read_before_they_are_written_over() -> None:
    z = X @ W
    stepped = z.at[1:-1].add(z[2:] + z[:-2])
    assert planned(gc.sum(stepped @ W)) == 2 * BLOCK  # the last product has the place of z again
    turned = W @ W
    assert planned(gc.sum((turned + turned.T) @ W)) == 2 * 8 * M * M
    assert planned(gc.sum((z + gc.flip(z, axis=0)) @ W)) == 2 * BLOCK


def test_a_later_phase_reads_what_an_earlier_one_must_not_write_over() -> None:
    z = X @ W
    scaled = z * gc.sum(z, axis=1, keepdims=True)
    f = [gc.sum((z * 2) @ W), gc.sum(scaled @ W)]
    # The doubled value is written in the first phase, before the second reads the rows again.
    assert planned(f) == 3 * BLOCK


def test_the_history_of_a_loop_is_written_over_by_what_its_derivative_reads() -> None:
    start = gc.placeholder("start", shape=(2,))

    def swing(state: Any, _: None) -> Any:
        angle, speed = state
        speed = speed - 0.01 * (gc.sin(angle) + 0.1 * speed)
        return (angle + 0.01 * speed, speed), None

    steps = 1000
    (angle, speed), _ = gc.scan(swing, (start[0], start[1]), None, length=steps)
    out = [angle, gc.grad(angle + speed, start)]
    assert planned(out, {start: [0.4, 0.2]}) < 8 * (steps + 1) + 1000


def test_both_rows_of_a_history_stay_while_one_of_them_is_read() -> None:
    """What steps receive and what they give are parts of one buffer, one row apart."""

    def cell(h: Node, x: Node) -> Any:
        h = gc.tanh(h @ W + x)
        return h, h

    _, ys = gc.scan(cell, gc.zeros(M), X)
    loss = gc.sum(gc.square(ys) @ W) + gc.sum(gc.sin(ys))
    assert planned([loss, gc.grad(loss, W)]) > 0
    gc.check_grad(loss, W, VALUES)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loop_is_still_of_whole_vectors(dtype: str) -> None:
    from tests.test_codegen import packed, vector_width

    x, w = (gc.placeholder(name, shape=(64, 64), dtype=dtype) for name in "xw")
    text = packed(gc.function([x, w], gc.sum(gc.sqrt(x @ w) @ w)))
    roots = [line for line in text.splitlines() if f"sqrtp{'s' if dtype == 'float32' else 'd'}" in line]
    assert any(vector_width() in line for line in roots)


def test_threads_do_not_change_the_bits() -> None:
    x, w = gc.placeholder("x", shape=("n", 64)), gc.placeholder("w", shape=(64, 64))
    h = x
    for _ in range(3):
        h = gc.tanh(h @ w) * gc.sum(h, axis=1, keepdims=True)
    values = RNG.normal(size=(3000, 64)) / 8, RNG.normal(size=(64, 64)) / 8
    found = [gc.function([x, w], gc.sum(h @ w, axis=0), threads=t)(*values) for t in (1, 2, 3)]
    assert all(np.array_equal(found[0], other) for other in found)
    np.testing.assert_allclose(found[0], gc.evaluate(gc.sum(h @ w, axis=0), dict(zip((x, w), values, strict=True))))


def test_values_are_packed_without_holes_where_they_can_be() -> None:
    # A hole is left where a long life comes between: placed by size, the large ones share their bytes.
    spans = [(0, 2, 64), (1, 5, 640), (3, 5, 704), (4, 9, 64), (6, 9, 1280)]
    offsets, peak = pack(spans)
    assert peak == least_peak(spans) == 1408
    assert not any(
        a[0] <= b[1] and b[0] <= a[1] and i < j + b[2] and j < i + a[2]
        for (i, a), (j, b) in itertools.combinations(zip(offsets, spans, strict=True), 2)
    )


def test_packing_is_never_worse_than_by_time_and_never_below_what_lives() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        spans = []
        for first in sorted(rng.integers(0, 30, 40).tolist()):
            spans.append((first, first + int(rng.integers(0, 20)), 64 * int(rng.integers(0, 50))))
        offsets, peak = pack(spans)
        assert least_peak(spans) <= peak == max(o + s[2] for o, s in zip(offsets, spans, strict=True))
        for (i, a), (j, b) in itertools.combinations(zip(offsets, spans, strict=True), 2):
            assert a[1] < b[0] or b[1] < a[0] or i >= j + b[2] or j >= i + a[2] or not a[2] * b[2]


def test_what_only_the_caller_reads_is_computed_as_soon_as_it_can_be() -> None:
    h = gc.tanh(X @ W)
    f = gc.function([X, W], [gc.sum(((h @ W) @ W) @ W), gc.matrix_transpose(h) @ h]).compile()
    kernels = [k.nodes[0].shape for k in f.schedule]
    assert kernels.index((M, M)) == 2  # after the product and its activation


def test_relu_keeps_one_value_for_its_derivative() -> None:
    h = gc.nn.relu(X @ W)
    f = gc.function([X, W], gc.grad(gc.sum(gc.square(h @ W)), X)).compile()
    assert all(len(k.stored) == 1 for k in f.schedule)
    assert planned(gc.grad(gc.sum(gc.square(h @ W)), X)) == 3 * BLOCK  # beside it a product and its own derivative


def rows_of_steps(given: Any, *, reverse: bool = False) -> Node:
    """Return a sum of what a loop gives for rows that only it reads, where each step needs the one before."""

    def step(c: Node, x: Node) -> Any:
        y = given(c, x)
        return gc.tanh(y @ W), y

    _, ys = gc.scan(step, gc.zeros(M), gc.cumulative_sum(X, axis=1), reverse=reverse)
    return gc.sum(gc.cumulative_sum(ys, axis=1))


@pytest.mark.parametrize("reverse", [False, True])
def test_steps_write_over_the_rows_that_they_receive(reverse: bool) -> None:
    out = rows_of_steps(lambda c, x: gc.sin(x + c), reverse=reverse)
    assert planned(out) == 2 * BLOCK  # the rows, and the sums of what has taken their place


@pytest.mark.parametrize(
    "given",
    [
        lambda c, x: gc.flip(x, axis=0) + c,
        lambda c, x: x * c + x[0],
        lambda c, x: gc.cumulative_sum(x, axis=0) + gc.cumulative_prod(x / 9 + c, axis=0),
        lambda c, x: (x @ W) * c + gc.sin(x),
    ],
)
def test_steps_that_read_rows_otherwise_agree(given: Any) -> None:
    loss = rows_of_steps(given)
    assert planned(loss) > 2 * BLOCK
    planned([loss, gc.grad(loss, X)])


def test_rows_that_others_read_stay() -> None:
    xs = gc.cumulative_sum(X, axis=0)
    _, ys = gc.scan(lambda c, x: (c + x, gc.sin(x)), gc.zeros(M), xs)
    planned([gc.sum(gc.cumulative_sum(ys, axis=0)), gc.sum(gc.cumulative_sum(xs, axis=1))])
    _, zs = gc.scan(lambda c, x: (c + x[1], gc.sin(x[0])), gc.zeros(M), (xs, gc.flip(xs, axis=0)))
    planned(gc.sum(gc.cumulative_sum(zs, axis=0)))
    _, both = gc.scan(lambda c, x: (c, (gc.sin(x), gc.cos(x))), gc.zeros(M), xs)
    planned(gc.sum(gc.cumulative_sum(both[0], axis=0)) + gc.sum(gc.cumulative_sum(both[1], axis=0)))


def test_the_gradient_of_a_recurrent_network_writes_over_its_rows() -> None:
    def cell(h: Node, x: Node) -> Any:
        h = gc.tanh(h @ W + x)
        return h, gc.sum(h * h)

    _, ys = gc.scan(cell, gc.zeros((4, M)), gc.reshape(gc.sin(X), (6, 4, M)))
    planned([gc.sum(ys), *gc.grad(gc.sum(ys), [W, X])], {X: VALUES[X], W: VALUES[W]})
