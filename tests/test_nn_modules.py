"""`gc.nn.Module`: what is found inside, state, freezing, updates of buffers, containers, functions as modules."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.node import Node, Shared

nn = gc.nn


class Block(nn.Module):
    """Tied weights, a plain list and dict, an integer, a buffer, a generator."""

    buffer_names = ("mean",)

    def __init__(self) -> None:
        self.layers = [nn.Linear(2, 2, rng=0), nn.Linear(2, 2, bias=False, rng=1)]
        self.heads = {"a": nn.Linear(2, 1, rng=2), "b": (nn.Linear(2, 1, rng=3),)}
        self.again = self.layers[0]
        self.scale = gc.shared(1.0, name="scale")
        self.tied = self.layers[1].weight
        self.count = gc.shared(np.int64(0))
        self.mean = gc.shared(np.zeros(2, "float32"))
        self.drop = nn.Dropout(0.5, rng=4)
        self.note = "no parameter"

    def forward(self, x: Any) -> Node:
        out: Node = self.layers[1](gc.tanh(self.layers[0](x)))
        return out


PARAMETERS = ["layers.0.weight", "layers.0.bias", "layers.1.weight", "heads.a.weight", "heads.a.bias"]
PARAMETERS += ["heads.b.0.weight", "heads.b.0.bias", "scale"]


class Running(nn.Module):
    """Counts its calls in training and keeps the sum of what it saw."""

    buffer_names = ("total",)

    def __init__(self) -> None:
        self.total = gc.shared(0.0, name="total")
        self.calls = gc.shared(np.int64(0), name="calls")

    def forward(self, x: Node) -> Node:
        out = x + 1
        if not self.training:
            return out
        return self.with_updates(out, {self.total: self.total + gc.sum(x), self.calls: self.calls + 1})


# -- what is inside


def test_parameters_are_found_once_in_order() -> None:
    block = Block()
    assert list(block.parameters()) == PARAMETERS
    assert block.parameters()["layers.1.weight"] is block.tied
    assert list(block.buffers()) == ["count", "mean"]
    assert list(block.generators()) == ["drop.rng"]
    assert list(block.state_dict()) == [*PARAMETERS, "count", "mean", "drop.rng"]
    assert list(block.modules()) == ["", "layers.0", "layers.1", "heads.a", "heads.b.0", "drop"]


def test_attributes_may_change() -> None:
    block = Block()
    block.layers.append(nn.Linear(2, 2))
    del block.scale
    assert [n for n in PARAMETERS if n not in block.parameters()] == ["scale"]
    assert "layers.2.weight" in block.parameters()


def test_modules_may_point_at_each_other() -> None:
    class Child(nn.Module):
        def __init__(self, parent: nn.Module) -> None:
            self.parent = parent
            self.w = gc.shared(1.0)

    block = Block()
    block.child = Child(block)  # type: ignore[attr-defined]
    assert list(block.parameters())[-1] == "child.w"
    assert len(block.train(False).modules()) == 7


def test_names_that_collide_are_refused() -> None:
    class Clash(nn.Module):
        def __init__(self) -> None:
            self.parts = {"a.b": gc.shared(1.0), "a": {"b": gc.shared(2.0)}}

    with pytest.raises(gc.ArgumentError, match=r"Clash: two values are called 'parts.a.b'  \[test_nn_modules.py:"):
        Clash().parameters()


def test_repr_is_a_tree() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.GELU("tanh")))
    assert repr(model).split("\n") == [
        "Sequential",
        "  0: Linear(4, 8)",
        "  1: Sequential",
        "    0: Conv2d(1, 2, 3, padding=1, bias=False)",
        "    1: GELU(approximate='tanh')",
    ]
    assert repr(Block()).split("\n")[:3] == [
        "Block",
        "  layers.0: Linear(2, 2)",
        "  layers.1: Linear(2, 2, bias=False)",
    ]


def test_a_module_without_forward() -> None:
    with pytest.raises(gc.ArgumentError, match=r"Module: define forward\(self, ...\)  \[test_nn_modules.py:\d+\]"):
        nn.Module()(1.0)


# -- training, freezing


def test_train_and_eval_reach_all() -> None:
    block = Block()
    assert block.eval() is block and not block.drop.training
    assert not any(m.training for m in block.modules().values())
    assert all(m.training for m in block.train().modules().values())


def test_freeze() -> None:
    block = Block()
    block.freeze("layers.0", "scale")
    assert list(block.parameters()) == [n for n in PARAMETERS if n != "scale" and not n.startswith("layers.0.")]
    assert list(block.parameters(frozen=True)) == PARAMETERS
    assert list(block.layers[0].parameters()) == []
    assert "scale" in block.state_dict() and "scale" not in block.buffers()
    block.unfreeze("layers.0.bias")
    assert list(block.layers[0].parameters()) == ["bias"]
    assert list(block.freeze().parameters()) == [] and list(block.unfreeze().parameters()) == PARAMETERS


def test_freeze_names_what_there_is() -> None:
    with pytest.raises(gc.ArgumentError, match=r"freeze: no parameter is or is inside 'layer'; there are weight, bias"):
        nn.Linear(2, 2).freeze("layer")


def test_frozen_parameters_stay() -> None:
    model, x = Block(), gc.placeholder("x", shape=("n", 2), dtype="float32")
    del model.heads, model.scale
    model.freeze("layers.0")
    before = model.state_dict()
    loss = gc.mean(model(x) ** 2)
    step = gc.function([x], loss, updates=gc.optim.SGD(0.1).updates(loss, model.parameters()), mode="reference")
    step(np.ones((3, 2), "float32"))
    changed = [n for n, a in model.state_dict().items() if not np.array_equal(a, before[n])]
    assert changed == ["layers.1.weight"]


# -- state


def test_state_dict_round_trip() -> None:
    a, b = Block(), Block()
    a.count.set_value(3)
    a.drop.rng.set_state(gc.random.GeneratorState(1, 2, 3))
    for value in a.parameters().values():
        value.set_value(value.get_value() + 1)
    b.load_state_dict(a.state_dict())
    for name, array in a.state_dict().items():
        np.testing.assert_array_equal(b.state_dict()[name], array)
    assert b.drop.rng.get_state() == gc.random.GeneratorState(1, 2, 3)


def test_state_dicts_are_copies() -> None:
    layer = nn.Linear(2, 2)
    state = layer.state_dict()
    state["weight"][:] = 7
    assert not np.any(layer.weight.get_value() == 7)


def test_generators_may_be_missing() -> None:
    block = Block()
    before = block.drop.rng.get_state()
    block.load_state_dict({n: a for n, a in block.state_dict().items() if n != "drop.rng"})
    assert block.drop.rng.get_state() == before


def test_every_mismatch_is_listed_and_nothing_changes() -> None:
    layer = nn.Linear(3, 2)
    before = layer.state_dict()
    wrong = {"weight": np.zeros((2, 4), "float32"), "bias": np.zeros(2), "gain": np.zeros((1, 1), "int32")}
    with pytest.raises(gc.ArgumentError) as caught:
        layer.load_state_dict(wrong)
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("Linear.load_state_dict: the state does not fit:  [test_nn_modules.py:")
    assert lines[1:] == [
        "  weight: float32[2,4] given, float32[2,3] needed",
        "  bias: float64[2] given, float32[2] needed",
        "  gain: int32[1,1] given, not known here",
    ]
    with pytest.raises(gc.ArgumentError, match=r"  bias: missing, float32\[2\] needed"):
        layer.load_state_dict({"weight": np.zeros((2, 3), "float32")})
    np.testing.assert_array_equal(layer.weight.get_value(), before["weight"])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_have_state_of_their_own(copied: Callable[[Any], Any]) -> None:
    block = Block()
    block.train()(gc.zeros((1, 2)))
    twin = copied(block.freeze("scale"))
    assert twin.tied is twin.layers[1].weight and "scale" not in twin.parameters()
    twin.scale.set_value(5.0)
    assert block.scale.get_value() == 1.0
    for name, array in block.state_dict().items():
        np.testing.assert_array_equal(twin.state_dict()[name], 5.0 if name == "scale" else array)


def test_checkpoint_round_trip(tmp_path: Any) -> None:
    a, b = Block(), Block()
    for value in a.parameters().values():
        value.set_value(value.get_value() + 1)
    gc.save_checkpoint(tmp_path / "m.safetensors", {"model": a})
    gc.load_checkpoint(tmp_path / "m.safetensors", {"model": b})
    for name, array in a.state_dict().items():
        np.testing.assert_array_equal(b.state_dict()[name], array)


# -- updates of buffers


X = gc.placeholder("x", shape=("n",))
Z = gc.placeholder("z", shape=("m",))


def run(inputs: list[Node], arrays: list[Any], updates: dict[Shared, Node]) -> None:
    gc.function(inputs, [], updates=updates, mode="reference")(*arrays)


def test_updates_of_one_call() -> None:
    model = nn.Sequential(Running(), Running())
    y = model(X)
    run([X], [[1.0, 2.0]], model.updates(y))
    run([X], [[1.0, 2.0]], model.updates())
    assert {n: float(a) for n, a in model.state_dict().items()} == {
        "0.total": 6.0,
        "0.calls": 2.0,
        "1.total": 10.0,
        "1.calls": 2.0,
    }


def test_calls_of_one_program_follow_each_other() -> None:
    model = Running()
    loss = gc.sum(model(X)) + gc.sum(model(Z))
    run([X, Z], [[1.0, 2.0], [5.0]], model.updates(loss))
    assert model.total.get_value() == 8.0 and model.calls.get_value() == 2


def test_updates_of_one_program_leave_others_out() -> None:
    model = Running()
    first, second = model(X), model(Z)
    run([Z], [[5.0]], model.updates(second))
    assert model.total.get_value() == 5.0
    run([X, Z], [[1.0], [5.0]], model.updates([first, {"b": second}]))
    assert model.total.get_value() == 11.0


def test_ambiguous_updates_are_refused() -> None:
    model = nn.Sequential(Running())
    kept = [model(X), model(Z)]
    with pytest.raises(gc.ArgumentError, match=r"Running\(\) \(0\) was called 2 times in training mode; pass what the"):
        model.updates()
    assert len(model.updates(kept[0])) == 2


def test_calls_whose_results_are_gone_do_not_count() -> None:
    model = Running()
    model(X)
    y = model(Z)
    assert list(model.updates()) == [model.total, model.calls]
    run([Z], [[2.0]], model.updates())
    assert model.total.get_value() == 2.0 and y.shape == Z.shape


def test_evaluation_updates_nothing() -> None:
    model = Running().eval()
    assert model.updates(model(X)) == {}


def test_with_updates_refuses_what_is_not_shared() -> None:
    with pytest.raises(gc.ArgumentError, match=r"Running\(\): with_updates takes a node, and values by shared node"):
        Running().with_updates(X, {"total": X})  # type: ignore[dict-item]


# -- containers


def test_sequential() -> None:
    layers: list[Any] = [nn.Linear(2, 3, rng=0), gc.tanh, nn.Linear(3, 1, rng=1)]
    model = nn.Sequential(*layers)
    x = np.ones((4, 2), "float32")
    np.testing.assert_array_equal(model(x).eval(), layers[2](gc.tanh(layers[0](x))).eval())
    assert len(model) == 3 and model[1] is gc.tanh and list(model) == layers
    assert list(model[1:].parameters()) == ["1.weight", "1.bias"]
    named = nn.Sequential({"hidden": layers[0], "out": layers[2]})
    assert list(named.parameters()) == ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]
    assert list(nn.Sequential()) == [] and nn.Sequential()(X) is X


def test_module_list_and_dict() -> None:
    some = nn.ModuleList([nn.Linear(1, 1)])
    some.append(nn.ReLU())
    some.extend([nn.Linear(1, 1, bias=False)])
    assert list(some.parameters()) == ["0.weight", "0.bias", "2.weight"]
    assert len(some) == 3 and some[-1] is list(some)[2] and len(some[:2]) == 2
    named = nn.ModuleDict({"a": nn.Linear(1, 1)})
    named["a"] = nn.Linear(1, 1, bias=False)
    named["b"] = nn.Tanh()
    assert list(named.parameters()) == ["a.weight"] and list(named) == ["a", "b"] == list(named.keys())
    assert "a" in named and "c" not in named and len(named) == 2 and len(named.values()) == len(named.items()) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(3), r"Sequential: layer 0 is not callable: int"),  # type: ignore[arg-type]
        (lambda: nn.Sequential({"a.b": gc.tanh}), r"Sequential: 'a.b' cannot be a layer's name"),
        (lambda: nn.ModuleDict({"forward": nn.ReLU()}), r"ModuleDict: 'forward' cannot be a layer's name"),
        (lambda: nn.ModuleList([gc.tanh]), r"ModuleList: 0 must be a module, got function"),  # type: ignore[list-item]
        (lambda: nn.ReLU(1), r"ReLU: too many positional arguments; accepted: no arguments"),
        (lambda: nn.LeakyReLU(slope=1), r"LeakyReLU: .*'slope'; accepted: negative_slope"),
        (lambda: nn.ReLU()(1.0, 2.0), r"ReLU\(\): 1 operands are needed, got 2"),
        (lambda: nn.MSELoss()(1.0), r"MSELoss\(\): 2 operands are needed, got 1"),
        (lambda: nn.LeakyReLU, None),
    ],
)
def test_refusals(make: Callable[[], Any], message: str | None) -> None:
    if message is None:
        assert make()().arguments == ((), {})
        return
    with pytest.raises(gc.ArgumentError, match=message + r".*\[test_nn_modules.py:\d+\]$"):
        make()


# -- functions as modules

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 6)), RNG.normal(size=(4, 6))
IMAGE = RNG.normal(size=(2, 3, 8, 8))
PROBABILITIES = np.abs(A) / np.abs(A).sum(-1, keepdims=True)
LABELS = np.array([0, 5, 2, 2])

FUNCTIONS: dict[str, tuple[nn.Module, Callable[[], Node], tuple[Any, ...]]] = {
    "ReLU": (nn.ReLU(), lambda: nn.relu(A), (A,)),
    "LeakyReLU": (nn.LeakyReLU(0.3), lambda: nn.leaky_relu(A, 0.3), (A,)),
    "GELU": (nn.GELU(approximate="tanh"), lambda: nn.gelu(A, "tanh"), (A,)),
    "Threshold": (nn.Threshold(0.1, value=-2.0), lambda: nn.threshold(A, 0.1, -2.0), (A,)),
    "Sigmoid": (nn.Sigmoid(), lambda: gc.sigmoid(A), (A,)),
    "Softmax": (nn.Softmax(axis=0), lambda: gc.softmax(A, axis=0), (A,)),
    "LogSoftmax": (nn.LogSoftmax(), lambda: gc.log_softmax(A), (A,)),
    "GLU": (nn.GLU(0), lambda: nn.glu(A, 0), (A,)),
    "MSELoss": (nn.MSELoss(), lambda: nn.mse_loss(A, B), (A, B)),
    "L1Loss": (nn.L1Loss(reduction="sum"), lambda: nn.l1_loss(A, B, reduction="sum"), (A, B)),
    "HuberLoss": (nn.HuberLoss(delta=0.5), lambda: nn.huber_loss(A, B, delta=0.5), (A, B)),
    "CrossEntropyLoss": (
        nn.CrossEntropyLoss(weight=np.arange(6.0), label_smoothing=0.1),
        lambda: nn.cross_entropy(A, LABELS, weight=np.arange(6.0), label_smoothing=0.1),
        (A, LABELS),
    ),
    "NLLLoss": (nn.NLLLoss(), lambda: nn.nll_loss(A, LABELS), (A, LABELS)),
    "BCEWithLogitsLoss": (
        nn.BCEWithLogitsLoss(),
        lambda: nn.binary_cross_entropy_with_logits(A, PROBABILITIES),
        (A, PROBABILITIES),
    ),
    "KLDivLoss": (
        nn.KLDivLoss(reduction="batchmean"),
        lambda: nn.kl_div(A, PROBABILITIES, reduction="batchmean"),
        (A, PROBABILITIES),
    ),
    "CosineEmbeddingLoss": (
        nn.CosineEmbeddingLoss(margin=0.1),
        lambda: nn.cosine_embedding_loss(A, B, [1.0, -1.0, 1.0, -1.0], margin=0.1),
        (A, B, [1.0, -1.0, 1.0, -1.0]),
    ),
    "CTCLoss": (
        nn.CTCLoss(blank=1),
        lambda: nn.ctc_loss(gc.log_softmax(IMAGE[0]), np.full((8, 1), 3), [3] * 8, [1] * 8, blank=1),
        (gc.log_softmax(IMAGE[0]), np.full((8, 1), 3), [3] * 8, [1] * 8),
    ),
    "MaxPool2d": (nn.MaxPool2d(3, stride=2, padding=1), lambda: nn.max_pool2d(IMAGE, 3, 2, 1), (IMAGE,)),
    "AvgPool2d": (nn.AvgPool2d(2), lambda: nn.avg_pool2d(IMAGE, 2), (IMAGE,)),
    "LPPool1d": (nn.LPPool1d(2.0, 2), lambda: nn.lp_pool1d(IMAGE[0], 2.0, 2), (IMAGE[0],)),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d(3), lambda: nn.adaptive_avg_pool2d(IMAGE, 3), (IMAGE,)),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d((2, 4)), lambda: nn.adaptive_max_pool2d(IMAGE, (2, 4)), (IMAGE,)),
    "GlobalAvgPool": (nn.GlobalAvgPool(), lambda: nn.global_avg_pool(IMAGE), (IMAGE,)),
    "Upsample": (nn.Upsample(scale_factor=2), lambda: nn.interpolate(IMAGE, scale_factor=2), (IMAGE,)),
    "Unfold": (nn.Unfold(2), lambda: nn.unfold(IMAGE, 2), (IMAGE,)),
    "LocalResponseNorm": (nn.LocalResponseNorm(2), lambda: nn.local_response_norm(IMAGE, 2), (IMAGE,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_as_modules(name: str) -> None:
    module, function, operands = FUNCTIONS[name]
    assert type(module).__name__ == name and module.parameters() == {}
    np.testing.assert_array_equal(module(*operands).eval(), function().eval())


def test_every_function_module_binds_its_settings() -> None:
    import inspect

    names = [n for n in nn.__all__ if n[0].isupper() and issubclass(getattr(nn, n), nn.FunctionModule)]
    assert len(names) > 55
    for name in names:
        kind = getattr(nn, name)
        if kind is not nn.FunctionModule:
            whole = list(inspect.signature(kind.function).parameters)
            assert list(inspect.signature(kind).parameters) == whole[kind.operands :], name


def test_class_weights_are_no_parameters() -> None:
    loss = nn.CrossEntropyLoss(weight=gc.shared(np.ones(6)))
    assert loss.parameters() == {} and list(loss.buffers()) == ["arguments.1.weight"]


def test_names_of_the_namespace() -> None:
    assert set(nn.__all__) <= set(dir(nn))
    assert all(hasattr(nn, name) for name in nn.__all__)
    with pytest.raises(AttributeError, match=r"module 'graphc\.nn' has no attribute 'Lineaer'"):
        nn.Lineaer  # noqa: B018
