"""What layers must not do: learn from padding, normalise one value, forget statistics, train what is frozen."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn

# -- padding


@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_padding_changes_no_gradient(kind: Any, batch_first: bool, junk: float) -> None:
    layer = kind(2, 3, num_layers=2, bidirectional=True, batch_first=batch_first, rng=0, dtype="float64")
    x, lengths = gc.placeholder("x", shape=("a", "b", 2)), gc.placeholder("lengths", shape=(None,), dtype="int64")
    outputs, state = layer(x, None, lengths)
    parts = [outputs, *(state if isinstance(state, tuple) else (state,))]
    loss = sum((gc.sum(gc.sin(part)) for part in parts), gc.constant(0.0))
    f = gc.function([x, lengths], gc.grad(loss, [*layer.parameters().values(), x]))
    clean = np.random.default_rng(0).normal(size=(4, 3, 2))
    counts = np.array([2, 4, 0])
    padding = np.arange(4)[:, None] >= counts
    dirty = np.where(padding[..., None], junk, clean)
    if batch_first:
        clean, dirty = clean.swapaxes(0, 1), dirty.swapaxes(0, 1)
    for found, expected in zip(f(dirty, counts), f(clean, counts), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_steps_beyond_their_length_change_no_gradient_of_ctc(junk: float) -> None:
    x = gc.placeholder("x", shape=("t", 2, 3))
    loss = nn.ctc_loss(x, [[1, 2], [2, 1]], [4, 3], [2, 1])
    f = gc.function(x, gc.value_and_grad(loss, x))
    clean = np.log(np.random.default_rng(0).dirichlet(np.ones(3), size=(5, 2)))
    dirty = clean.copy()
    dirty[4:, 0] = dirty[3:, 1] = junk
    for found, expected in zip(f(dirty), f(clean), strict=True):
        np.testing.assert_array_equal(found, expected)


# -- statistics over one value

LAYERS: dict[str, tuple[Callable[[], Any], tuple[Any, ...], str]] = {
    "BatchNorm1d": (
        lambda: nn.BatchNorm1d(3),
        ("n", 3),
        "batch_norm: more than 1 value a channel is needed in training",
    ),
    "BatchNorm1d, length": (lambda: nn.BatchNorm1d(3), ("n", 3, "m"), "batch_norm: more than 1 value"),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3), (1, 3, "n", "m"), "batch_norm: more than 1 value"),
    "untracked": (lambda: nn.BatchNorm1d(3, track_running_stats=False).eval(), ("n", 3), "batch_norm: more than 1"),
    "InstanceNorm1d": (
        lambda: nn.InstanceNorm1d(3),
        (2, 3, "n"),
        "instance_norm: more than 1 value a channel is needed",
    ),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(3), (2, 3, "n", "m"), "instance_norm: more than 1 value"),
}


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("name", LAYERS)
def test_one_value_has_no_spread(name: str, mode: Any) -> None:
    make, shape, message = LAYERS[name]
    layer, x = make(), gc.placeholder("x", shape=shape, dtype="float32")
    y = layer(x)
    programs = [gc.function(x, out, mode=mode) for out in (y, gc.grad(gc.sum(y * y), x))]
    one = np.ones([1 if isinstance(n, str) else n for n in shape], "float32")
    several = np.ones([2 if isinstance(n, str) else n for n in shape], "float32")
    for f in programs:
        with pytest.raises(gc.ShapeError, match=rf"{message}.*, at test_nn_statistics.py:\d+ with n=1.*test_nn_stat"):
            f(one)
        assert np.isfinite(f(several)).all()
    if shape[0] == "n":
        assert programs[0](several[:0]).shape[0] == 0


@pytest.mark.parametrize("layer", [nn.InstanceNorm1d(3), nn.BatchNorm1d(3)])
def test_one_value_of_known_size_is_refused_when_it_is_built(layer: Any) -> None:
    with pytest.raises(gc.ShapeError, match="more than 1 value a channel is needed"):
        layer(np.ones((1, 3, 1), "float32"))


def test_one_value_in_evaluation_is_what_it_is() -> None:
    layer, x = nn.BatchNorm1d(2).eval(), gc.placeholder("x", shape=("n", 2), dtype="float32")
    np.testing.assert_allclose(gc.function(x, layer(x))([[1.0, 2.0]]), [[1.0, 2.0]], rtol=1e-5)


# -- forgotten running statistics


class Net(nn.Module):
    def __init__(self) -> None:
        self.first, self.norm, self.last = nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.Linear(4, 1, rng=1)

    def forward(self, x: Any) -> gc.Node:
        out: gc.Node = self.last(self.norm(self.first(x)))
        return out


def trained() -> tuple[Net, gc.Node, gc.Node, Any]:
    model, x = Net(), gc.placeholder("x", shape=("n", 3), dtype="float32")
    loss = gc.mean(model(x) ** 2)
    return model, x, loss, gc.optim.SGD(0.1).updates(loss, model.parameters())


def test_a_training_step_without_the_model_s_updates_warns() -> None:
    model, x, loss, updates = trained()
    message = r"BatchNorm1d\(4\) is called in training mode, .* its running_mean, running_var, num_batches_tracked as"
    with pytest.warns(UserWarning, match=message) as caught:
        gc.function(x, loss, updates=updates)
    assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.function(x, loss, updates=updates | model.updates(loss))
        gc.function(x, loss)  # it trains nothing
        weight = model.last.weight
        gc.function(x, model.eval()(x), updates={weight: weight * 0.5})


# -- frozen


class Tied(nn.Module):
    def __init__(self) -> None:
        self.encoder, self.decoder = nn.Linear(3, 2, rng=0), nn.Linear(2, 3, rng=1)
        self.head = nn.Linear(3, 2, bias=False, rng=2)
        self.head.weight = self.encoder.weight


FREEZES: dict[str, Callable[[Tied], Any]] = {
    "by its first name": lambda model: model.freeze("encoder.weight"),
    "by its second name": lambda model: model.freeze("head.weight"),
    "with a module that has it second": lambda model: model.freeze("head"),
    "in the module itself": lambda model: model.head.freeze(),
}


@pytest.mark.parametrize("name", FREEZES)
def test_a_tied_parameter_is_frozen_wherever_it_is(name: str) -> None:
    model = Tied()
    FREEZES[name](model)
    for found in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(found.parameters()) == ["encoder.bias", "decoder.weight", "decoder.bias"]
        assert list(found.encoder.parameters()) == ["bias"] and list(found.head.parameters()) == []
        assert len(found.parameters(frozen=True)) == 4
        found.unfreeze("head")
        assert list(found.encoder.parameters()) == ["weight", "bias"]


def test_a_module_in_two_places_has_both_names() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.a = nn.Linear(2, 2)
            self.b = self.a
            self.itself = self

    model = Twice().freeze("b.bias")
    assert list(model.parameters()) == ["a.weight"]
    with pytest.raises(gc.ArgumentError, match=r"there are a.weight, a.bias, b.weight, b.bias"):
        model.freeze("c")
