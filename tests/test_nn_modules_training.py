"""Models that learn: losses fall, resumed runs are bit-identical, and what `summary` counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array

nn = gc.nn
RNG = np.random.default_rng(31)


class Classifier(nn.Module):
    """Everything that has state: weights, running statistics, a generator."""

    def __init__(self, rng: int = 0) -> None:
        source = np.random.default_rng(rng)
        self.hidden = nn.Linear(4, 16, rng=source)
        self.norm = nn.BatchNorm1d(16)
        self.dropout = nn.Dropout(0.2, rng=source)
        self.out = nn.Linear(16, 3, rng=source)

    def forward(self, x: Any) -> gc.Node:
        out: gc.Node = self.out(self.dropout(nn.relu(self.norm(self.hidden(x)))))
        return out


def points(count: int) -> tuple[Array, Array]:
    labels = RNG.integers(0, 3, count)
    centers = np.array([[2, 0, 0, 1], [0, 2, 1, 0], [-2, -2, 0, 0]])
    return (centers[labels] + RNG.normal(size=(count, 4))).astype("float32"), labels


def training(model: nn.Module, optimizer: gc.optim.Optimizer) -> gc.Function:
    x = gc.placeholder("x", shape=("n", 4), dtype="float32")
    y = gc.placeholder("y", shape=("n",), dtype="int64")
    loss = nn.CrossEntropyLoss()(model(x), y)
    return gc.function([x, y], loss, updates={**optimizer.updates(loss, model.parameters()), **model.updates()})


def test_a_classifier_learns() -> None:
    model = Classifier()
    step = training(model, gc.optim.Adam(1e-2))
    x, y = points(256)
    losses = [float(step(x, y)) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    assert model.norm.num_batches_tracked.get_value() == 60
    node = gc.placeholder("x", shape=("n", 4), dtype="float32")
    predict = gc.function([node], gc.argmax(model.eval()(node), axis=1))
    assert np.mean(predict(x) == y) > 0.9
    np.testing.assert_array_equal(predict(x[:1]), predict(x)[:1])


def test_training_and_evaluation_differ() -> None:
    model, x = Classifier(), points(32)[0]
    node = gc.placeholder("x", shape=("n", 4), dtype="float32")
    train, use = (
        gc.function([node], model(node), mode="reference"),
        gc.function([node], model.eval()(node), mode="debug"),
    )
    assert not np.array_equal(train(x), train(x)) and np.array_equal(use(x), use(x))


def test_a_resumed_run_is_bit_identical(tmp_path: Path) -> None:
    batches = [points(16) for _ in range(6)]
    model, adam = Classifier(), gc.optim.Adam(1e-2)
    step = training(model, adam)
    for batch in batches[:3]:
        step(*batch)
    gc.save_checkpoint(tmp_path / "run.safetensors", {"model": model, "optimizer": adam})
    wanted = [step(*batch) for batch in batches[3:]]

    other, fresh = Classifier(rng=9), gc.optim.Adam(1e-2)
    again = training(other, fresh)
    gc.load_checkpoint(tmp_path / "run.safetensors", {"model": other, "optimizer": fresh})
    assert [again(*batch) for batch in batches[3:]] == wanted
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    gc.save_checkpoint(tmp_path / "a.safetensors", {"model": nn.Linear(2, 3)})
    with pytest.raises(gc.CheckpointError, match=r"model.weight: .*3,2.* in the file, .*4,2.* needed"):
        gc.load_checkpoint(tmp_path / "a.safetensors", {"model": nn.Linear(2, 4)})


class LastState(nn.Module):
    """Classifies a sequence by the state after it."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.out = nn.Linear(8, 1, rng=1)

    def forward(self, x: Any) -> gc.Node:
        outputs, _ = self.layer(x)
        out: gc.Node = self.out(outputs[-1])
        return out


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers_learn_to_remember(kind: str) -> None:
    model = LastState(getattr(nn, kind)(1, 8, rng=0))
    x = gc.placeholder("x", shape=("t", "n", 1), dtype="float32")
    y = gc.placeholder("y", shape=("n", 1), dtype="float32")
    loss = nn.BCEWithLogitsLoss()(model(x), y)
    step = gc.function([x, y], loss, updates=gc.optim.Adam(3e-2).updates(loss, model.parameters()))
    array = RNG.normal(size=(8, 64, 1)).astype("float32")
    target = (array[0] > 0).astype("float32")
    losses = [float(step(array, target)) for _ in range(80)]
    assert losses[0] > 0.6 and losses[-1] < 0.2


def test_a_transformer_learns_to_reverse() -> None:
    source = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Embedding(5, 16, rng=source),
        nn.PositionalEncoding(16),
        nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, norm_first=True, rng=source),
        nn.Linear(16, 5, rng=source),
    )
    x = gc.placeholder("x", shape=("n", "t"), dtype="int64")
    y = gc.placeholder("y", shape=("n", "t"), dtype="int64")
    loss = nn.cross_entropy(model(x), y)
    step = gc.function([x, y], loss, updates=gc.optim.Adam(1e-2).updates(loss, model.parameters()))
    tokens = RNG.integers(0, 5, (32, 6))
    losses = [float(step(tokens, tokens[:, ::-1])) for _ in range(80)]
    assert losses[0] > 1.4 and losses[-1] < 0.2


# -- summary


def test_summary_of_a_network() -> None:
    model = nn.Sequential(
        {
            "conv": nn.Conv2d(1, 4, 3, padding=1),
            "relu": nn.ReLU(),
            "pool": nn.MaxPool2d(2),
            "flat": nn.Flatten(),
            "out": nn.Linear(64, 10),
        }
    )
    table = nn.summary(model, ("n", 1, 8, 8))
    n = gc.dim("n")
    rows = {row.name: row for row in table.rows}
    assert list(rows) == ["", "conv", "relu", "pool", "flat", "out"]
    # The product of 4 x 9 weights with 64 columns, and 4 x 64 biases.
    assert (rows["conv"].parameters, rows["conv"].flops) == (40, n * (2 * 4 * 9 * 64 + 4 * 64))
    assert (rows["conv"].output, rows["relu"].flops) == ("f32[n,4,8,8]", 256 * n)
    assert (rows["out"].parameters, rows["out"].flops) == (650, n * (2 * 64 * 10 + 10))
    assert table.parameters == table.trained == 690 and table.nbytes == 2760
    assert table.flops == sum((row.flops for row in table.rows), 0)
    lines = str(table).split("\n")
    assert lines[0].split() == ["layer", "output", "parameters", "flops"] and len(lines) == 10
    assert lines[3].split() == ["conv:", "Conv2d(1,", "4,", "3,", "padding=1)", "f32[n,4,8,8]", "40", "4864*n"]
    assert lines[-1] == "690 parameters are trained, 0 are not; 2,760 bytes"


def test_summary_of_nested_modules_and_own_work() -> None:
    model = Classifier().freeze("out")
    table = nn.summary(model, (8, 4))
    rows = {row.name: row for row in table.rows}
    assert rows[""].kind == "Classifier" and rows[""].flops == 8 * 16  # relu is called by the model itself
    assert rows["hidden"].flops == 8 * (2 * 4 * 16 + 16) and rows["hidden"].output == "f32[8,16]"
    assert table.parameters == 4 * 16 + 16 + 32 + 51 and table.trained == table.parameters - 51
    assert model.updates() == {}, "looking at a model leaves no updates behind"


def test_summary_of_a_loop() -> None:
    layer = nn.RNN(3, 5, bias=False)
    table = nn.summary(layer, ("t", 2, 3))
    t = gc.dim("t")
    # The projection of all steps; in the loop a product, a sum and a tanh.
    assert table.flops == t * (2 * 2 * 3 * 5) + t * (2 * 2 * 5 * 5 + 2 * 2 * 5)
    assert table.rows[0].output == "f32[t,2,5], f32[1,2,5]" and table.parameters == 40


def test_summary_lists_parameters_of_modules_that_are_not_called() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.embedding = nn.Embedding(7, 2)
            self.unused = nn.Linear(2, 2)

        def forward(self, x: Any) -> gc.Node:
            out: gc.Node = self.embedding(x) @ self.embedding.weight.T
            return out

    table = nn.summary(Tied(), gc.placeholder("x", shape=("n",), dtype="int64"))
    assert [(row.name, row.parameters) for row in table.rows] == [("", 0), ("embedding", 14), ("unused", 6)]
    assert "unused: Linear(2, 2) (not called)" in str(table) and table.parameters == 20


def test_summary_of_a_branch_counts_the_largest() -> None:
    class Branching(nn.Module):
        def forward(self, x: gc.Node) -> gc.Node:
            out: gc.Node = gc.cond(gc.sum(x) > 0, lambda v: gc.exp(v) * v, lambda v: -v, x)
            return out

    assert nn.summary(Branching(), (10,)).flops == 10 + 1 + 2 * 10


def test_summary_needs_a_module() -> None:
    with pytest.raises(gc.ArgumentError, match=r"summary: a module is needed, got builtin.*\[test_nn"):
        nn.summary(print)  # type: ignore[arg-type]
