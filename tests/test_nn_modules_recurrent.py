"""Recurrent cells and layers against loops in NumPy: directions, layers, layouts, states, derivatives, structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array
from graphc.ops.control import Scan
from graphc.ops.linalg import MatMul

nn = gc.nn
RNG = np.random.default_rng(11)
STEPS, BATCH, INPUT, HIDDEN = 5, 3, 4, 6
KINDS = ("RNN", "LSTM", "GRU")


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def numpy_step(kind: str, x: Array, state: tuple[Array, ...], p: dict[str, Array], end: str) -> tuple[Array, ...]:
    """One step by the formulas, with PyTorch's order of gates."""
    a = x @ p[f"weight_ih{end}"].T + p.get(f"bias_ih{end}", 0)
    b = state[0] @ p[f"weight_hh{end}"].T + p.get(f"bias_hh{end}", 0)
    if kind == "RNN":
        return (np.tanh(a + b),)
    if kind == "LSTM":
        i, f, g, o = np.split(a + b, 4, axis=-1)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    (ar, az, an), (br, bz, bn) = np.split(a, 3, axis=-1), np.split(b, 3, axis=-1)
    z, n = sigmoid(az + bz), np.tanh(an + sigmoid(ar + br) * bn)
    return ((1 - z) * n + z * state[0],)


def numpy_layer(
    kind: str, x: Array, first: list[tuple[Array, ...]], p: dict[str, Array], *, layers: int, directions: int
) -> tuple[Array, list[tuple[Array, ...]]]:
    """Layers and directions as plain loops over time."""
    last = []
    for layer in range(layers):
        sides = []
        for direction in range(directions):
            state = first[layer * directions + direction]
            steps = range(len(x)) if direction == 0 else reversed(range(len(x)))
            out = np.zeros((len(x), *state[0].shape))
            for t in steps:
                state = numpy_step(kind, x[t], state, p, f"_l{layer}{'_reverse' * direction}")
                out[t] = state[0]
            sides.append(out)
            last.append(state)
        x = np.concatenate(sides, axis=-1)
    return x, last


def numpy_states(kind: str, count: int, shape: tuple[int, ...], *, zero: bool) -> list[tuple[Array, ...]]:
    parts = 2 if kind == "LSTM" else 1
    draw: Callable[..., Any] = np.zeros if zero else lambda s: RNG.normal(size=s)
    return [tuple(np.asarray(draw((*shape, HIDDEN))) for _ in range(parts)) for _ in range(count)]


def stacked(kind: str, states: list[tuple[Array, ...]]) -> Any:
    parts = [np.stack(part) for part in zip(*states, strict=True)]
    return tuple(parts) if kind == "LSTM" else parts[0]


def close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": False},
        {"num_layers": 2, "bidirectional": True},
        {"batch_first": True, "bidirectional": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("given", [False, True])
def test_layers(kind: str, settings: dict[str, Any], given: bool) -> None:
    layer = getattr(nn, kind)(INPUT, HIDDEN, **settings, dtype="float64")
    directions, layers = 1 + settings.get("bidirectional", False), settings.get("num_layers", 1)
    x = RNG.normal(size=(STEPS, BATCH, INPUT))
    first = numpy_states(kind, layers * directions, (BATCH,), zero=not given)
    wanted, last = numpy_layer(kind, x, first, layer.state_dict(), layers=layers, directions=directions)
    swapped = settings.get("batch_first", False)
    outputs, state = layer(np.swapaxes(x, 0, 1) if swapped else x, stacked(kind, first) if given else None)
    close(outputs.eval(), np.swapaxes(wanted, 0, 1) if swapped else wanted)
    found = state if kind == "LSTM" else (state,)
    for node, part in zip(found, zip(*last, strict=True), strict=True):
        close(node.eval(), np.stack(part))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_without_batch(kind: str) -> None:
    layer, x = getattr(nn, kind)(INPUT, HIDDEN, dtype="float64"), RNG.normal(size=(STEPS, INPUT))
    wanted, _ = numpy_layer(kind, x, numpy_states(kind, 1, (), zero=True), layer.state_dict(), layers=1, directions=1)
    outputs, state = layer(x)
    close(outputs.eval(), wanted)
    assert (state[0] if kind == "LSTM" else state).shape == (1, HIDDEN)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [False, True])
def test_cells(kind: str, given: bool) -> None:
    cell, x = getattr(nn, f"{kind}Cell")(INPUT, HIDDEN, dtype="float64"), RNG.normal(size=(BATCH, INPUT))
    (state,) = numpy_states(kind, 1, (BATCH,), zero=not given)
    wanted = numpy_step(kind, x, state, cell.state_dict(), "")
    found = cell(x, (state if kind == "LSTM" else state[0]) if given else None)
    for node, array in zip(found if kind == "LSTM" else (found,), wanted, strict=True):
        close(node.eval(), array)


def test_rectified_rnn() -> None:
    layer, x = nn.RNN(INPUT, HIDDEN, nonlinearity="relu", dtype="float64"), RNG.normal(size=(STEPS, INPUT))
    p, h = layer.state_dict(), np.zeros(HIDDEN)
    for t in range(STEPS):
        h = np.maximum(0, x[t] @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h @ p["weight_hh_l0"].T + p["bias_hh_l0"])
    close(layer(x)[1].eval()[0], h)
    cell = nn.RNNCell(INPUT, HIDDEN, nonlinearity="relu")
    assert (cell(x[0]).eval() >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: str) -> None:
    layer = getattr(nn, kind)(2, 3, bidirectional=True, dtype="float64")
    x = gc.placeholder("x", shape=(4, 2, 2))
    outputs, state = layer(x)
    loss = gc.sum(gc.sin(outputs)) + gc.sum(state[1] if kind == "LSTM" else state)
    names = list(layer.parameters())
    exact = gc.function([x], gc.grad(loss, layer.parameters()), mode="reference")
    value = gc.function([x], loss, mode="reference")
    array = RNG.normal(size=(4, 2, 2))
    found = exact(array)
    for name in names:
        p = layer.parameters()[name]
        whole, direction = p.get_value(), RNG.normal(size=p.shape)
        p.set_value(whole + 1e-6 * direction)
        up = value(array)
        p.set_value(whole - 1e-6 * direction)
        slope = (up - value(array)) / 2e-6
        p.set_value(whole)
        assert (found[name] * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-8), name


@pytest.mark.parametrize("kind", KINDS)
def test_one_program_for_every_length_and_batch(kind: str) -> None:
    layer = getattr(nn, kind)(INPUT, HIDDEN)
    x = gc.placeholder("x", shape=("length", "batch", INPUT), dtype="float32")
    outputs, _ = layer(x)
    f = gc.function([x], [outputs, gc.grad(gc.sum(outputs**2), layer.parameters())["weight_hh_l0"]])
    for length, batch in ((5, 3), (1, 1), (9, 2), (0, 2)):
        array = RNG.normal(size=(length, batch, INPUT)).astype("float32")
        wanted, _ = numpy_layer(
            kind,
            array.astype("float64"),
            numpy_states(kind, 1, (batch,), zero=True),
            layer.state_dict(),
            layers=1,
            directions=1,
        )
        got, gradient = f(array)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)
        assert gradient.shape == layer.weight_hh_l0.shape


def test_a_state_of_another_symbolic_batch_is_checked_in_the_call() -> None:
    layer = nn.GRU(2, 3)
    x = gc.placeholder("x", shape=("length", "batch", 2), dtype="float32")
    h = gc.placeholder("h", shape=(1, "other", 3), dtype="float32")
    f = gc.function([x, h], layer(x, h), mode="reference")
    assert f(np.zeros((4, 5, 2), "float32"), np.zeros((1, 5, 3), "float32"))[0].shape == (4, 5, 3)
    with pytest.raises(gc.ShapeError, match=r"dimension (batch|other)"):
        f(np.zeros((4, 5, 2), "float32"), np.zeros((1, 4, 3), "float32"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_input_is_projected_before_the_loop(kind: str) -> None:
    layer = getattr(nn, kind)(INPUT, HIDDEN)
    outputs, _ = layer(gc.placeholder("x", shape=("length", "batch", INPUT), dtype="float32"))
    nodes = gc.Graph([outputs]).nodes
    (loop,) = [n.op for n in nodes if isinstance(n.op, Scan)]
    assert sum(isinstance(n.op, MatMul) for n in nodes) == 1
    assert sum(isinstance(n.op, MatMul) for n in loop.body.nodes) == 1


def test_dropout_between_layers_in_training() -> None:
    layer = nn.GRU(INPUT, HIDDEN, num_layers=2, dropout=0.5, rng=0)
    x = np.ones((STEPS, BATCH, INPUT), "float32")
    f = gc.function([], layer(x)[0], mode="reference")
    assert not np.array_equal(f(), f()) and list(layer.generators()) == ["rng"]
    layer.eval()
    plain = nn.GRU(INPUT, HIDDEN, num_layers=2)
    plain.load_state_dict({n: a for n, a in layer.state_dict().items() if n != "rng"})
    np.testing.assert_array_equal(layer(x)[0].eval(), plain(x)[0].eval())


@pytest.mark.parametrize("kind", KINDS)
def test_padded_sequences(kind: str) -> None:
    layer = getattr(nn, kind)(INPUT, HIDDEN, num_layers=2, bidirectional=True, dtype="float64")
    x, lengths = RNG.normal(size=(STEPS, BATCH, INPUT)), np.array([3, STEPS, 0])
    outputs, state = layer(x, lengths=lengths)
    got, parts = outputs.eval(), [s.eval() for s in (state if kind == "LSTM" else (state,))]
    for row, length in enumerate(lengths):
        first = numpy_states(kind, 4, (), zero=True)
        alone, last = numpy_layer(kind, x[:length, row], first, layer.state_dict(), layers=2, directions=2)
        close(got[:length, row], alone)
        assert not got[length:, row].any()
        for part, wanted in zip(parts, zip(*last, strict=True), strict=True):
            close(part[:, row], np.stack(wanted))


def test_what_lies_in_padding_does_not_matter() -> None:
    layer = nn.GRU(INPUT, HIDDEN, batch_first=True, dtype="float64")
    x = gc.placeholder("x", shape=("batch", "length", INPUT))
    n = gc.placeholder("n", shape=("batch",), dtype="int32")
    outputs, h = layer(x, lengths=n)
    f = gc.function([x, n], [outputs, h, gc.grad(gc.sum(outputs) + gc.sum(h), [x, layer.parameters()["weight_hh_l0"]])])
    array = RNG.normal(size=(2, 4, INPUT))
    other = array.copy()
    other[0, 1:] = np.nan
    a, b = f(array, [1, 4]), f(other, [1, 4])
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])
    np.testing.assert_array_equal(a[2][0], b[2][0])
    np.testing.assert_array_equal(a[2][1], b[2][1])
    assert not a[2][0][0, 1:].any()


def test_names_and_first_values() -> None:
    layer = nn.LSTM(3, 16, num_layers=2, bidirectional=True)
    names = [f"{n}_l{k}{e}" for k in (0, 1) for e in ("", "_reverse") for n in ("weight_ih", "weight_hh")]
    assert [n for n in layer.parameters() if n.startswith("weight")] == names
    assert layer.weight_ih_l1.shape == (64, 32) and layer.bias_hh_l0_reverse.shape == (64,)  # type: ignore[attr-defined]
    assert all(abs(p.get_value()).max() <= 0.25 for p in layer.parameters().values())
    assert repr(layer) == "LSTM(3, 16, num_layers=2, bidirectional=True)"


X = gc.placeholder("x", shape=("length", "batch", 4), dtype="float32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.LSTM(5, 2)(X),
            r"LSTM\(5, 2\): shape \(length, batch, 5\) or \(length, 5\) needed, got f32",
        ),
        (lambda: nn.GRU(5, 2, batch_first=True)(X), r"shape \(batch, length, 5\) or \(length, 5\) needed"),
        (lambda: nn.RNN(4, 2, nonlinearity="sin"), 'RNN: nonlinearity must be "tanh" or "relu", got \'sin\''),
        (
            lambda: nn.LSTM(4, 2)(X, np.zeros((1, 3, 2))),
            r"LSTM\(4, 2\): the state must be a pair \(h, c\)",
        ),
        (
            lambda: nn.GRU(4, 2)(X, np.zeros((2, 3, 2))),
            r"GRU\(4, 2\): the state must have shape \(1,batch,2\)",
        ),
        (lambda: nn.LSTMCell(4, 2)(X[0], (X[0], X[0])), r"LSTMCell\(4, 2\): the state must have shape \(batch,2\)"),
        (lambda: nn.GRUCell(3, 2)(X[0]), r"GRUCell\(3, 2\): the last axis must be 3, got f32\[batch,4\]"),
        (lambda: nn.GRU(4, 2)(X, lengths=[1.0]), r"GRU\(4, 2\): lengths must be \(batch,\) integers for f32"),
        (lambda: nn.GRU(4, 2)(X[0], lengths=[1]), r"GRU\(4, 2\): lengths must be \(batch,\) integers for f32"),
        (lambda: nn.GRU(4, 2, dropout=2), "GRU: dropout must be a number from 0 to 1, got 2"),
        (lambda: nn.LSTM(4, 0), "LSTM: hidden_size must be an int of at least 1, got 0"),
    ],
)
def test_refusals(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(gc.GraphcError, match=message + r".*\[test_nn_modules_recurrent.py:\d+\]$"):
        make()
