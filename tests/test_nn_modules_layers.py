"""Layers with parameters against formulas in NumPy, in evaluation and training, at symbolic sizes; their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array

nn = gc.nn
RNG = np.random.default_rng(5)
M = TypeVar("M", bound=nn.Module)


def close(got: Any, wanted: Any, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=1e-13)


def arrays(module: nn.Module) -> dict[str, Array]:
    return module.state_dict()


def randomized(module: M) -> M:
    """Give every parameter other values than its first ones, which may be 0 or 1."""
    for p in module.parameters().values():
        p.set_value(RNG.normal(size=p.shape))
    return module


# -- linear layers


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3), (0, 3)])
def test_linear(shape: tuple[int, ...]) -> None:
    layer, x = nn.Linear(3, 2, dtype="float64"), RNG.normal(size=shape)
    p = arrays(layer)
    close(layer(x).eval(), x @ p["weight"].T + p["bias"])
    plain = nn.Linear(3, 2, bias=False, dtype="float64")
    close(plain(x).eval(), x @ arrays(plain)["weight"].T)
    assert list(plain.parameters()) == ["weight"] and plain.bias is None


def test_first_values_of_linear() -> None:
    layer = nn.Linear(100, 50)
    for p in layer.parameters().values():
        assert p.dtype == np.float32 and 0.08 < abs(p.get_value()).max() <= 0.1
    given = nn.Linear(4, 4, weight_init=nn.init.orthogonal, bias_init=nn.init.ones, dtype="float64")
    close(given.weight.get_value() @ given.weight.get_value().T, np.eye(4))
    close(arrays(given)["bias"], np.ones(4))


def test_linear_promotes_like_every_op() -> None:
    layer = nn.Linear(3, 2)
    assert layer(np.ones((1, 3), "float32")).dtype == np.float32
    assert layer(np.ones((1, 3))).dtype == np.float64
    assert layer(np.ones((1, 3), "int8")).dtype == np.float32


def test_bilinear() -> None:
    layer = nn.Bilinear(3, 4, 5, dtype="float64")
    p, x, y = arrays(layer), RNG.normal(size=(2, 6, 3)), RNG.normal(size=(2, 6, 4))
    wanted = np.zeros((2, 6, 5))
    for k in range(5):
        wanted[..., k] = ((x @ p["weight"][k]) * y).sum(-1) + p["bias"][k]
    close(layer(x, y).eval(), wanted)
    close(nn.Bilinear(3, 4, 1, bias=False, dtype="float64")(np.zeros(3), np.ones(4)).eval(), np.zeros(1))


def test_embedding() -> None:
    layer = nn.Embedding(7, 3, padding_idx=-1, dtype="float64")
    table = arrays(layer)["weight"]
    indices = RNG.integers(0, 7, (4, 5))
    close(layer(indices).eval(), table[indices])
    assert not table[-1].any() and table[:-1].all()
    loss = gc.sum(layer([0, 6]))
    close(gc.grad(loss, layer.weight).eval()[[0, 6]], [[1.0] * 3, [0.0] * 3])


def test_prelu() -> None:
    x = RNG.normal(size=(2, 3, 4))
    one, each = nn.PReLU(dtype="float64"), nn.PReLU(3, init=0.5, dtype="float64")
    close(one(x).eval(), np.where(x > 0, x, 0.25 * x))
    each.weight.set_value([0.1, 0.2, 0.3])
    close(each(x).eval(), np.where(x > 0, x, x * np.array([0.1, 0.2, 0.3])[:, None]))


# -- shapes


def test_flatten_and_unflatten() -> None:
    x = gc.placeholder("x", shape=("n", 2, 3, 4))
    assert nn.Flatten()(x).shape == (x.shape[0], 24)
    assert nn.Flatten(2, 3)(x).shape == (x.shape[0], 2, 12) and nn.Flatten(0)(x).ndim == 1
    y = nn.Unflatten(1, (3, -1))(nn.Flatten()(x))
    assert y.shape == (x.shape[0], 3, 8)
    array = RNG.normal(size=(5, 2, 3, 4))
    close(y.eval({x: array}), array.reshape(5, 3, 8))
    assert nn.Identity()(x) is x


# -- convolutions

CONVOLUTIONS: dict[str, tuple[nn.Module, Callable[..., Any], tuple[int, ...], dict[str, Any]]] = {
    "Conv1d": (nn.Conv1d(4, 6, 3, stride=2, groups=2), nn.conv1d, (2, 4, 9), {"stride": 2, "groups": 2}),
    "Conv2d": (nn.Conv2d(4, 6, (3, 2), padding="same"), nn.conv2d, (2, 4, 5, 5), {"padding": "same"}),
    "Conv3d": (nn.Conv3d(1, 2, 2, dilation=2), nn.conv3d, (1, 4, 4, 4), {"dilation": 2}),
    "ConvTranspose1d": (
        nn.ConvTranspose1d(4, 6, 3, 2, output_padding=1),
        nn.conv_transpose1d,
        (2, 4, 5),
        {"stride": 2, "output_padding": 1},
    ),
    "ConvTranspose2d": (
        nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False),
        nn.conv_transpose2d,
        (4, 5, 5),
        {"groups": 2},
    ),
    "ConvTranspose3d": (nn.ConvTranspose3d(2, 1, 2, padding=1), nn.conv_transpose3d, (1, 2, 3, 3, 3), {"padding": 1}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    layer, function, shape, settings = CONVOLUTIONS[name]
    x = RNG.normal(size=shape).astype("float32")
    p = arrays(layer)
    np.testing.assert_array_equal(layer(x).eval(), function(x, p["weight"], p.get("bias"), **settings).eval())


def test_layouts_of_convolutions() -> None:
    assert nn.Conv2d(4, 6, (3, 2), groups=2).weight.shape == (6, 2, 3, 2)
    assert nn.ConvTranspose2d(4, 6, (3, 2), groups=2).weight.shape == (4, 3, 3, 2)
    layer = nn.Conv2d(10, 20, 5)
    for p in layer.parameters().values():
        assert 0.05 < abs(p.get_value()).max() <= 250**-0.5


# -- normalisations


def standardized(x: Array, axes: tuple[int, ...], eps: float = 1e-5) -> Array:
    return np.asarray((x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps))


def per_channel(x: Array, p: dict[str, Array]) -> Array:
    shape = (-1, *(1,) * (x.ndim - 2))
    return np.asarray(x * p["weight"].reshape(shape) + p["bias"].reshape(shape))


def test_layer_norm() -> None:
    x = RNG.normal(size=(5, 3, 4)) + 10
    layer = randomized(nn.LayerNorm((3, 4), dtype="float64"))
    p = arrays(layer)
    close(layer(x).eval(), standardized(x, (1, 2)) * p["weight"] + p["bias"])
    close(nn.LayerNorm(4, 1e-3, elementwise_affine=False)(x).eval(), standardized(x, (2,), 1e-3))
    assert list(nn.LayerNorm(4, bias=False).parameters()) == ["weight"]


def test_rms_norm() -> None:
    x, layer = RNG.normal(size=(5, 4)), randomized(nn.RMSNorm(4, 1e-3, dtype="float64"))
    wanted = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3) * arrays(layer)["weight"]
    close(layer(x).eval(), wanted)
    assert nn.RMSNorm(4, elementwise_affine=False).parameters() == {}


def test_group_norm() -> None:
    x, layer = RNG.normal(size=(5, 6, 3, 2)), randomized(nn.GroupNorm(3, 6, dtype="float64"))
    grouped = standardized(x.reshape(5, 3, 2, 3, 2), (2, 3, 4)).reshape(x.shape)
    close(layer(x).eval(), per_channel(grouped, arrays(layer)))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_instance_norm(axes: int) -> None:
    x = RNG.normal(size=(3, 2, *(4, 3, 2)[:axes]))
    layer = randomized(getattr(nn, f"InstanceNorm{axes}d")(2, affine=True, dtype="float64"))
    close(layer(x).eval(), per_channel(standardized(x, tuple(range(2, x.ndim))), arrays(layer)))
    assert getattr(nn, f"InstanceNorm{axes}d")(2).parameters() == {}


BATCHES: dict[int, tuple[Any, ...]] = {1: ("n", 3), 2: ("n", 3, 4, 2), 3: ("n", 3, 2, 2, 2)}


@pytest.mark.parametrize("axes", BATCHES)
@pytest.mark.parametrize("momentum", [0.2, None])
def test_batch_norm(axes: int, momentum: float | None) -> None:
    layer = randomized(getattr(nn, f"BatchNorm{axes}d")(3, momentum=momentum, dtype="float64"))
    x = gc.placeholder("x", shape=BATCHES[axes])
    y = layer(x)
    step = gc.function([x], y, updates=layer.updates(y), mode="reference")
    mean, var = np.zeros(3), np.ones(3)
    over = tuple(a for a in range(x.ndim) if a != 1)
    for t in range(1, 4):
        batch = RNG.normal(size=(4 + t, *BATCHES[axes][1:])) * 3 + 7
        close(step(batch), per_channel(standardized(batch, over), arrays(layer)), 1e-10)
        share = 1 / t if momentum is None else momentum
        mean = (1 - share) * mean + share * batch.mean(over)
        var = (1 - share) * var + share * batch.var(over, ddof=1)
        close(layer.running_mean.get_value(), mean)
        close(layer.running_var.get_value(), var)
    assert layer.num_batches_tracked.get_value() == 3
    used = gc.function([x], layer.eval()(x), mode="reference")
    shape = (3, *(1,) * (x.ndim - 2))
    wanted = (batch - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-5)
    close(used(batch[:1]), per_channel(wanted[:1], arrays(layer)), 1e-10)
    assert list(layer.parameters()) == ["weight", "bias"]
    assert list(layer.buffers()) == ["running_mean", "running_var", "num_batches_tracked"]


def test_batch_norm_without_running_statistics() -> None:
    layer = nn.BatchNorm1d(3, affine=False, track_running_stats=False)
    x = RNG.normal(size=(6, 3, 2))
    assert layer.state_dict() == {} and layer.updates() == {}
    for module in (layer, layer.eval()):
        close(module(x).eval(), standardized(x, (0, 2)), 1e-10)


# -- dropout


def test_dropout_draws_in_training_only() -> None:
    x = gc.placeholder("x", shape=("n", 4, 3))
    for layer in (nn.Dropout(0.25, rng=1), nn.Dropout1d(0.25, rng=1), nn.AlphaDropout(0.25, rng=1)):
        train = gc.function([x], layer(x), mode="reference")
        ones = np.ones((500, 4, 3))
        first, second = train(ones), train(ones)
        assert not np.array_equal(first, second)
        assert first.mean() == pytest.approx(1.0 if not isinstance(layer, nn.AlphaDropout) else first.mean(), abs=0.1)
        np.testing.assert_array_equal(layer.eval()(x).eval({x: ones}), ones)


def test_channels_are_dropped_whole() -> None:
    for layer, shape in ((nn.Dropout2d(0.5, rng=1), (9, 4, 2, 3)), (nn.Dropout3d(0.5, rng=1), (9, 4, 2, 3, 1))):
        out = layer(np.ones(shape)).eval().reshape(36, -1)
        assert np.all(out == out[:, :1]) and set(out.ravel().tolist()) == {0.0, 2.0}


def test_layers_may_share_a_generator() -> None:
    rng = gc.random.Generator(3)
    model = nn.Sequential(nn.Dropout(0.5, rng=rng), nn.Dropout(0.5, rng=rng))
    assert list(model.generators()) == ["0.rng"]
    a, b = nn.Dropout(rng=9).rng.get_state(), nn.Dropout(rng=9).rng.get_state()
    assert a == b and a.key == 9


# -- errors

F = gc.placeholder("f", shape=("batch", 12), dtype="float32")
I4 = gc.placeholder("i", shape=("batch", 3, 8, 8), dtype="float32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(784, 10)(F), r"Linear\(784, 10\): the last axis must be 784, got f32\[batch,12\]"),
        (lambda: nn.Linear(3, 1)(2.0), r"Linear\(3, 1\): the last axis must be 3, got f32\[\]"),
        (lambda: nn.Linear(0, 1), "Linear: in_features must be an int of at least 1, got 0"),
        (lambda: nn.Linear(2, True), "Linear: out_features must be an int, got True"),
        (lambda: nn.Linear(2, 2, dtype="int64"), "Linear: dtype must be float32 or float64, got int64"),
        (lambda: nn.Linear(2, 2, rng="x"), "rng must be a numpy.random.Generator"),  # type: ignore[arg-type]
        (
            lambda: nn.Linear(2, 3, weight_init=lambda shape, rng, dtype: np.zeros(4)),
            r"Linear: the initialiser of weight gave shape \(4,\), \(3, 2\) needed",
        ),
        (
            lambda: nn.Bilinear(12, 3, 1)(F, F),
            r"Bilinear\(12, 3, 1\): the last axis of x2 must be 3, got f32\[batch,12",
        ),
        (lambda: nn.Embedding(4, 2, padding_idx=4), "Embedding: padding_idx 4 is none of 4 rows"),
        (lambda: nn.Embedding(4, 2)(F), r"embedding: indices must be integers, got f32\[batch,12\]"),
        (
            lambda: nn.Conv2d(1, 4, 3)(I4),
            r"Conv2d\(1, 4, 3\): shape \(batch, 1, height, width\) needed.*f32\[batch,3",
        ),
        (lambda: nn.Conv1d(3, 4, 3)(I4), r"Conv1d\(3, 4, 3\): shape \(batch, 3, length\) needed"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "Conv2d: in_channels 3 do not make 2 equal groups"),
        (
            lambda: nn.Conv2d(3, 4, (3, 3, 3)),
            r"Conv2d: kernel_size needs one int, or one for each of 2 axes, got \(3, 3, 3\)",
        ),
        (lambda: nn.Conv2d(3, 4, 0), "Conv2d: kernel_size must be an int from 1 to [0-9]+, got 0"),
        (lambda: nn.BatchNorm1d(3)(I4), r"BatchNorm1d\(3\): shape \(batch, 3\) or \(batch, 3, length\) needed"),
        (lambda: nn.BatchNorm2d(4)(I4), r"BatchNorm2d\(4\): shape \(batch, 4, height, width\) needed"),
        (lambda: nn.BatchNorm2d(4, momentum=2.0), "BatchNorm2d: momentum must be from 0 to 1 or None, got 2.0"),
        (lambda: nn.GroupNorm(2, 3), "GroupNorm: 3 channels do not make 2 equal groups"),
        (lambda: nn.GroupNorm(2, 4)(I4), r"GroupNorm\(2, 4\): shape \(batch, 4, ...\) needed"),
        (lambda: nn.InstanceNorm1d(3)(I4), r"InstanceNorm1d\(3\): shape \(batch, 3, length\) needed"),
        (lambda: nn.LayerNorm(11)(F), r"layer_norm: normalized_shape .* is not the end of f32\[batch,12\]"),
        (lambda: nn.Dropout(1.5), "Dropout: p must be a number from 0 to 1, got 1.5"),
        (lambda: nn.Dropout2d(0.5)(F), r"dropout2d: 4 axes are needed, got f32\[batch,12\]"),
        (lambda: nn.Flatten(5)(F), r"Flatten\(5, -1\): axis 5 is out of range for 2 axes"),
        (lambda: nn.Flatten(1, 0)(F), r"Flatten\(1, 0\): no axis from 1 to 0 in f32\[batch,12\]"),
        (lambda: nn.Unflatten(1, (5, -1))(F), r"Unflatten\(1, \(5, -1\)\): axis 1 of .* does not split into \(5, -1\)"),
        (lambda: nn.Unflatten(1, (-1, -1)), r"Unflatten: sizes must be positive but for one -1"),
    ],
)
def test_refusals(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(gc.GraphcError, match=message + r".*\[test_nn_modules_layers.py:\d+\]$"):
        make()


def test_compiled_layers_agree_with_the_interpreter() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    model = nn.Sequential(model, nn.Linear(8, 3))
    x = gc.placeholder("x", shape=("n", 1, 4, 4), dtype="float32")
    loss = gc.mean(model(x) ** 2)
    outputs = [loss, gc.grad(loss, model.parameters()), model.updates(loss)[model.buffers()["0.1.running_var"]]]
    image = RNG.normal(size=(5, 1, 4, 4)).astype("float32")
    compiled = gc.function([x], outputs)(image)
    wanted = gc.function([x], outputs, mode="reference")(image)
    np.testing.assert_allclose(compiled[0], wanted[0], rtol=1e-5)
    np.testing.assert_allclose(compiled[2], wanted[2], rtol=1e-5)
    for name, g in wanted[1].items():
        np.testing.assert_allclose(compiled[1][name], g, rtol=1e-3, atol=1e-6)
