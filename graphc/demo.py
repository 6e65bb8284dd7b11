"""`graphc demo`: train a classifier on real handwritten digits, then say what the compiler made of it.

The 1,797 8x8 digits that scikit-learn ships, one in five held out (stratified); a network 64-hidden-64-10 with
relu; cross-entropy; minibatch Adam; float32. The whole training step is one compiled function. Built on the
public API only: everything here could stand in a user's own file.

Times are honest: "cold" is a compilation into an empty cache directory in this process, "from cache" is the
same function built in a fresh process from the directory the cold one left.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import graphc as gc
from graphc.inspect.svg import function_to_svg
from graphc.inspect.text import show_bytes, show_seconds, table
from graphc.node import Node, Shared
from graphc.types import Array

BATCH = 32
LEARNING_RATE = 0.002
CLASSES = 10
PIXELS = 64


@dataclass(frozen=True)
class Digits:
    """Images as rows of 64 float32 in 0..1, labels as int64, split for training and testing."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


@dataclass(frozen=True)
class Model:
    """A compiled training step and predictor over the same parameters."""

    step: gc.Function
    predict: gc.Function
    parameters: list[Shared]

    def accuracy(self, x: Array, y: Array) -> float:
        """Return the share of rows of `x` whose predicted class is `y`."""
        return float(np.mean(self.predict(x) == y))


def load_digits(seed: int) -> Digits:
    """Read the digits and hold one in five out, the same share of every class."""
    from sklearn.datasets import load_digits as read
    from sklearn.model_selection import train_test_split

    images, labels = read(return_X_y=True)
    x, y = (images / 16).astype("float32"), labels.astype("int64")
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.2, stratify=y, random_state=seed)
    return Digits(train_x, train_y, test_x, test_y)


def build_model(hidden: int, seed: int) -> Model:
    """Declare the network, its loss and its updates, and make the two functions (not compiled yet)."""
    rng = np.random.default_rng(seed)
    x = gc.placeholder("x", shape=("batch", PIXELS), dtype="float32")
    y = gc.placeholder("y", shape=("batch",), dtype="int64")
    parameters: list[Shared] = []
    sizes = [PIXELS, hidden, 64, CLASSES]
    values: Node = x
    for layer, (inputs, outputs) in enumerate(zip(sizes, sizes[1:], strict=False), start=1):
        scale = np.sqrt(2 / inputs)
        w = gc.shared((scale * rng.standard_normal((inputs, outputs))).astype("float32"), name=f"w{layer}")
        b = gc.shared(np.zeros(outputs, "float32"), name=f"b{layer}")
        parameters += [w, b]
        values = values @ w + b
        if layer < len(sizes) - 1:
            values = gc.nn.relu(values)
    loss = gc.nn.cross_entropy(values, y)
    step = gc.function([x, y], loss, updates=adam(loss, parameters, LEARNING_RATE), name="step")
    predict = gc.function(x, gc.argmax(values, axis=1), name="predict")
    return Model(step, predict, parameters)


def adam(
    loss: Node, parameters: Sequence[Shared], rate: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
) -> dict[Shared, Node]:
    """Return the updates of one Adam step (Kingma and Ba, 2015, algorithm 1), its moments as shared nodes."""
    count = gc.shared(np.float32(0), name="count")
    t = count + 1
    corrected = rate * gc.sqrt(1 - beta2**t) / (1 - beta1**t)
    updates: dict[Shared, Node] = {count: t}
    for p, g in zip(parameters, gc.grad(loss, list(parameters)), strict=True):
        mean, square = (gc.shared(np.zeros_like(p.get_value()), name=f"{k}_{p.name}") for k in ("m", "v"))
        updates[mean] = beta1 * mean + (1 - beta1) * g
        updates[square] = beta2 * square + (1 - beta2) * g * g
        updates[p] = p - corrected * updates[mean] / (gc.sqrt(updates[square]) + eps)
    return updates


def train(model: Model, data: Digits, epochs: int, seed: int, progress: bool) -> list[float]:
    """Train in shuffled minibatches; return the seconds of every step on a full batch.

    The last batch of an epoch is smaller: the same compiled step takes it.
    """
    from tqdm import tqdm

    rng = np.random.default_rng(seed)
    rows = len(data.train_x)
    seconds: list[float] = []
    with tqdm(total=epochs * -(-rows // BATCH), disable=not progress, unit="step") as bar:
        for epoch in range(epochs):
            bar.set_description(f"epoch {epoch + 1}/{epochs}")
            order = rng.permutation(rows)
            losses = []
            for start in range(0, rows, BATCH):
                chosen = order[start : start + BATCH]
                x, y = data.train_x[chosen], data.train_y[chosen]
                began = time.perf_counter()
                losses.append(float(model.step(x, y)))
                if len(chosen) == BATCH:
                    seconds.append(time.perf_counter() - began)
                bar.update()
            held_out = model.accuracy(data.test_x, data.test_y)
            bar.set_postfix(loss=f"{np.mean(losses):.4f}", accuracy=f"{held_out:.2%}")
    return seconds


def run(*, seed: int, epochs: int, hidden: int, progress: bool, svg: str) -> float:
    """Run the demo, print its report, write the drawing to `svg`; return the held-out accuracy."""
    data = load_digits(seed)
    with tempfile.TemporaryDirectory(prefix="graphc-demo-") as directory:
        previous = gc.set_cache(directory)
        try:
            model = build_model(hidden, seed)
            cold = compile_model(model)
        finally:
            gc.set_cache(previous)
        Path(svg).write_text(function_to_svg(model.step), encoding="utf-8")
        warm = _compile_in_fresh_process(directory, hidden, seed)
    compiled = _compiled(model)
    seconds = train(model, data, epochs, seed, progress)
    accuracy = model.accuracy(data.test_x, data.test_y)
    print(_summary(model, data, accuracy, epochs, _compiled(model) - compiled))
    print()
    print(_report(model, cold, warm, statistics.median(seconds)))
    print(f"\ngraph of the training step: {svg}")
    return accuracy


def compile_model(model: Model) -> list[float]:
    """Compile both functions; return the seconds each took."""
    seconds = []
    for function in (model.step, model.predict):
        began = time.perf_counter()
        function.compile()
        seconds.append(time.perf_counter() - began)
    return seconds


def _compile_in_fresh_process(directory: str, hidden: int, seed: int) -> list[float]:
    command = [sys.executable, "-m", "graphc.demo", directory, str(hidden), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def _compiled(model: Model) -> int:
    return sum(int(f.stats["compiled"]) for f in (model.step, model.predict))


def _summary(model: Model, data: Digits, accuracy: float, epochs: int, recompiled: int) -> str:
    shapes = [p.get_value().shape for p in model.parameters[::2]]
    sizes = "-".join(str(n) for n in [PIXELS, *(s[1] for s in shapes)])
    count = sum(p.get_value().size for p in model.parameters)
    right = round(accuracy * len(data.test_y))
    last = len(data.train_x) % BATCH or BATCH
    return "\n".join(
        [
            f"{sizes} relu network, {count:,} float32 parameters, Adam, {epochs} epochs of {len(data.train_x):,} digits",
            f"held-out accuracy {accuracy:.2%} ({right} of {len(data.test_y)})",
            f"kernels compiled while training: {recompiled}, on batches of {BATCH} and of {last}",
        ]
    )


def _report(model: Model, cold: Sequence[float], warm: Sequence[float], step_seconds: float) -> str:
    stats = [f.stats for f in (model.step, model.predict)]

    def row(label: str, key: str) -> list[str]:
        return [label, *(f"{s[key]:,}" for s in stats)]

    rows = [
        row("nodes before passes", "nodes_before"),
        row("nodes after passes", "nodes_after"),
        row("kernels", "kernels"),
        row("distinct kernels", "distinct_kernels"),
        ["peak arena", *(show_bytes(s["peak_bytes"]) for s in stats)],
        ["compile, cold", *map(show_seconds, cold)],
        ["compile, from cache", *map(show_seconds, warm)],
        ["one call", show_seconds(step_seconds), "" ],
    ]
    return table(rows, header=("", "training step", "prediction"))


def _main(arguments: Sequence[str]) -> None:
    """Compile from a cache directory and print the seconds; the fresh process of `run`."""
    directory, hidden, seed = arguments
    gc.set_cache(directory)
    print(*compile_model(build_model(int(hidden), int(seed))))


if __name__ == "__main__":
    _main(sys.argv[1:])
