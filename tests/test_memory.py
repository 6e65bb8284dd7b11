"""`function(..., memory=)`: planned bytes within the limit, the values of the program without one, and clear errors."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.run.budget import Fit
from graphc.graph.graph import verify
from graphc.passes import make_schedule, optimize
from graphc.passes.schedule.kernels import verify_schedule
from graphc.passes.schedule.options import EVERYTHING
from graphc.passes.schedule.rematerialise import BACKWARD, choices

Program = tuple[list[gc.Node], list[gc.Node]]
"""Inputs and outputs."""


def mlp(depth: int = 6, rows: int = 24, width: int = 16, act: Callable[[gc.Node], gc.Node] = gc.nn.gelu) -> Program:
    x = gc.placeholder("x", shape=(rows, width))
    ws = [gc.placeholder(f"w{k}", shape=(width, width)) for k in range(depth)]
    h = x
    for w in ws:
        h = act(h @ w)
    loss = gc.mean(h * h)
    return [x, *ws], [loss, *gc.grad(loss, ws)]


def attention() -> Program:
    x = gc.placeholder("x", shape=(16, 8))
    ws = [gc.placeholder(f"w{k}", shape=(8, 8)) for k in range(4)]
    h = x
    for _ in range(2):
        q, k, v = (h @ w for w in ws[:3])
        h = h + gc.softmax(q @ k.T / 4.0, axis=-1) @ v @ ws[3]
        h = (h - gc.mean(h, axis=-1, keepdims=True)) / gc.sqrt(gc.var(h, axis=-1, keepdims=True) + 1e-5)
    loss = gc.sum(gc.tanh(h) ** 2)
    return [x, *ws], [loss, *gc.grad(loss, [x, *ws])]


def convolution() -> Program:
    x = gc.placeholder("x", shape=(2, 3, 12, 12))
    ws = [gc.placeholder("w0", shape=(4, 3, 3, 3)), gc.placeholder("w1", shape=(4, 4, 3, 3))]
    h = gc.nn.relu(gc.nn.conv2d(x, ws[0]))
    h = gc.nn.max_pool2d(gc.nn.relu(gc.nn.conv2d(h, ws[1])), 2)
    loss = gc.logsumexp(h)
    return [x, *ws], [loss, *gc.grad(loss, [x, *ws])]


def loop() -> Program:
    """A loop between elementwise work: it runs once, its neighbours may run again."""
    xs, w = gc.placeholder("xs", shape=(20, 30)), gc.placeholder("w", shape=(30, 30))
    rows = gc.tanh(gc.sin(xs) * 2.0) @ w
    last, ys = gc.scan(lambda c, x: (gc.tanh(c + x), c * x), gc.zeros(30), rows)
    loss = gc.sum(gc.exp(gc.sin(ys) @ w)) + gc.sum(last)
    return [xs, w], [loss, *gc.grad(loss, [xs, w])]


def branches() -> Program:
    """Values with several readers on both sides, views between, and outputs in the middle."""
    x = gc.placeholder("x", shape=(40, 24))
    a = gc.exp(gc.sin(x))
    b = gc.concat([gc.tanh(a[:20]), gc.sigmoid(a[20:] * a[:20])])
    c = gc.cumulative_sum(b, axis=0) * gc.reshape(a, (24, 40)).T
    d = c @ b.T @ a
    loss = gc.sum(gc.log1p(gc.square(d)))
    return [x], [b, loss, gc.grad(loss, x)]


SLOW = (pytest.param(p, marks=pytest.mark.slow) for p in (lambda: mlp(9, act=gc.tanh, width=8), attention, convolution))
PROGRAMS = [lambda: mlp(4), loop, branches, *SLOW]


def given(inputs: list[gc.Node]) -> list[Any]:
    rng = np.random.default_rng(len(inputs))
    return [rng.normal(size=x.shape).astype(x.dtype) * 0.3 for x in inputs]


@pytest.mark.parametrize("build", PROGRAMS)
def test_every_choice_is_a_program_of_the_same_values(build: Callable[[], Program]) -> None:
    """Under lower and lower limits, until one is too low; in debug mode."""
    inputs, outputs = build()
    whole = gc.function(inputs, outputs, mode="debug", memory=10**9)
    wanted = whole(*given(inputs))
    fits = [whole.plan.fit]
    while True:
        assert isinstance(fits[-1], Fit)
        limit = int(0.85 * fits[-1].planned)
        try:
            f = gc.function(inputs, outputs, mode="debug", memory=limit)
        except gc.ArgumentError as error:
            found = re.search("at least ([0-9,]+) are needed", str(error))
            assert found is not None and limit < int(found[1].replace(",", "")) <= fits[-1].planned
            break
        fit = f.plan.fit
        assert isinstance(fit, Fit) and f.plan.peak_bytes == fit.planned <= limit
        for got, value in zip(f(*given(inputs)), wanted, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-10, atol=1e-12)
        verify(f.optimized)
        verify_schedule(f.schedule)
        fits.append(fit)
    times = [fit.time for fit in fits if isinstance(fit, Fit)]
    assert times == sorted(times), "less memory takes more time"
    assert len(fits) > 1 or build is branches  # where nothing is gained


def test_the_backward_part_reads_what_is_computed_again() -> None:
    """No kernel has values of both parts, and of what is computed again only the backward part reads."""
    graph = optimize(gc.function(*mlp()).graph)
    found = choices(make_schedule(graph))
    assert len(found) > 3
    for choice in found:
        again = set(choice.again)
        assert again and all(choice.part[n] == BACKWARD for n in again)
        for node in choice.graph.nodes:
            reads = not again.isdisjoint(node.inputs)
            assert not reads or choice.part.get(node, BACKWARD) == BACKWARD
        schedule = verify_schedule(make_schedule(choice.graph, EVERYTHING, choice))
        backward = [any(choice.part[n] == BACKWARD for n in kernel.nodes) for kernel in schedule]
        assert backward == sorted(backward), "the forward part runs first"


def test_the_plan_says_what_was_chosen() -> None:
    inputs, outputs = mlp()
    whole = gc.function(inputs, outputs, mode="debug", memory="1 GB")
    text = str(whole.plan).splitlines()[1]
    assert text.startswith("memory=1,000,000,000: ") and text.endswith("; nothing is computed again")
    limit = int(0.7 * whole.plan.peak_bytes)
    f = gc.function(inputs, outputs, mode="debug", memory=limit)
    first, waiting, count = str(f.plan).splitlines()[1:4]
    planned, without = f"{f.plan.peak_bytes:,}", f"{whole.plan.peak_bytes:,}"
    assert first == f"memory={limit:,}: {planned} bytes are planned, {without} without that limit"
    assert "bytes wait for the backward part, in place of" in waiting
    assert "values are computed again there, in about" in count
    assert "\n  %" in str(f.plan) and "= gelu(" in str(f.plan)


def test_compiled_programs_have_the_same_bits() -> None:
    inputs, outputs = mlp(4)
    whole = gc.function(inputs, outputs)
    limit = int(0.75 * whole.plan.peak_bytes)
    f = gc.function(inputs, outputs, memory=limit)
    assert f.plan.peak_bytes <= limit
    arrays = given(inputs)
    for got, value in zip(f(*arrays), whole(*arrays), strict=True):
        np.testing.assert_array_equal(got, value)
    again = pickle.loads(pickle.dumps(f))
    assert again.memory == limit and again.plan.peak_bytes == f.plan.peak_bytes


def test_state_is_updated_as_without_a_limit() -> None:
    rng = np.random.default_rng(0)
    first = [rng.normal(size=(16, 16)) * 0.3 for _ in range(5)]
    x = gc.placeholder("x", shape=(32, 16))
    after: list[list[Any]] = []
    for part in (None, 0.5):
        ws = [gc.shared(w.copy(), name=f"w{k}") for k, w in enumerate(first)]
        h: gc.Node = x
        for w in ws:
            h = gc.nn.gelu(h @ w)
        loss = gc.mean(h * h)
        updates = {w: w - 0.1 * g for w, g in zip(ws, gc.grad(loss, ws), strict=True)}
        most = gc.function([x], loss, updates=updates, mode="debug").plan.peak_bytes
        f = gc.function([x], loss, updates=updates, memory=None if part is None else int(part * most))
        for _ in range(3):
            f(np.ones((32, 16)))
        after.append([w.get_value() for w in ws])
    for a, b in zip(*after, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize(
    "memory, error",
    [
        ("4 parsecs", "memory must be bytes, as in 4_000_000 or '4 MB', got '4 parsecs'"),
        (-1, "memory must be an int of at least 0, got -1"),
        (1.5, "memory must be an int"),
        (True, "memory must be an int"),
    ],
)
def test_limits_that_are_none(memory: Any, error: str) -> None:
    x = gc.placeholder("x", shape=(3,))
    with pytest.raises(gc.ArgumentError, match=error):
        gc.function([x], gc.sum(x), memory=memory)


def test_sizes_must_be_known() -> None:
    x = gc.placeholder("x", shape=("rows", 3))
    with pytest.raises(gc.ArgumentError, match="sizes that are known before a call; dimension rows is named"):
        gc.function([x], gc.sum(x), memory="1 MB")
    y = gc.placeholder("y", shape=(3,))
    with pytest.raises(gc.ArgumentError, match='mode is "reference"'):
        gc.function([y], gc.sum(y), memory="1 MB", mode="reference")


def test_a_program_without_values_in_between_needs_nothing() -> None:
    x = gc.placeholder("x", shape=(3,))
    assert gc.function([x], x + 1, mode="debug", memory=0).plan.peak_bytes == 0
