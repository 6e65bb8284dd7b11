"""`graphc demo`: train a classifier on real handwritten digits, then say what the compiler made of it.

The 1,797 8x8 digits that scikit-learn ships, one in five held out (stratified); a network 64-hidden-64-10 with
relu; cross-entropy; minibatch Adam; float32. The whole training step is one compiled function. The model is built
on the public API only: it could stand in a user's own file.

Times are honest: "cold" is a compilation into an empty cache directory in this process, "from cache" is the
same function built in a fresh process from the directory the cold one left.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import graphc as gc
from graphc.codegen.jit.cache import current_cache
from graphc.codegen.jit.kernels import counters
from graphc.graph.node import Node, Shared
from graphc.graph.text import show_bytes, show_seconds, table
from graphc.graph.types import Array

BATCH = 32
LEARNING_RATE = 0.003
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
    for layer, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
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


@dataclass
class Training:
    """What a run of `train` saw: seconds of every step on a full batch, the plan's bytes for one, new kernels."""

    seconds: list[float]
    peak_bytes: int = 0
    new_kernels: int = 0


def train(model: Model, data: Digits, epochs: int, seed: int, progress: bool) -> Training:
    """Train in shuffled minibatches, the last of each epoch a smaller one that the same compiled step takes."""
    from tqdm import tqdm

    rng = np.random.default_rng(seed)
    rows = len(data.train_x)
    seen = Training([])
    known_kernels = _kernels_obtained()
    with tqdm(total=epochs * -(-rows // BATCH), disable=not progress, unit="step") as bar:
        for epoch in range(epochs):
            bar.set_description(f"epoch {epoch + 1}/{epochs}")
            order = rng.permutation(rows)
            losses = [_step(model, data, order[i : i + BATCH], seen, bar) for i in range(0, rows, BATCH)]
            held_out = model.accuracy(data.test_x, data.test_y)
            bar.set_postfix(loss=f"{np.mean(losses):.4f}", accuracy=f"{held_out:.2%}")
    seen.new_kernels = _kernels_obtained() - known_kernels
    return seen


def _step(model: Model, data: Digits, chosen: Array, seen: Training, bar: Any) -> float:
    x, y = data.train_x[chosen], data.train_y[chosen]
    began = time.perf_counter()
    loss = model.step(x, y)
    seconds = time.perf_counter() - began
    if len(chosen) == BATCH:
        seen.seconds.append(seconds)
        seen.peak_bytes = seen.peak_bytes or model.step.stats["peak_bytes"]
    bar.update()
    return float(loss)


def _kernels_obtained() -> int:
    """The number of kernels this process has compiled or loaded so far."""
    return counters.compiled + counters.from_cache


def run(*, seed: int, epochs: int, hidden: int, progress: bool, svg: str) -> float:
    """Run the demo, print its report, write the drawing to `svg`; return the held-out accuracy."""
    data = load_digits(seed)
    usual = current_cache()
    with tempfile.TemporaryDirectory(prefix="graphc-demo-") as directory:
        gc.set_cache(directory)
        try:
            model = build_model(hidden, seed)
            cold = compile_model(model)
        finally:
            gc.set_cache(usual.directory, max_bytes=usual.max_bytes)
        Path(svg).write_text(model.step.to_svg(), encoding="utf-8")
        warm = _compile_in_fresh_process(directory, hidden, seed)
    training = train(model, data, epochs, seed, progress)
    accuracy = model.accuracy(data.test_x, data.test_y)
    print(_summary(model, data, epochs, accuracy, training.new_kernels))
    print()
    print(_report(model.step.stats, training, cold, warm))
    print(f"\ngraph of the training step: {svg}")
    return accuracy


def compile_model(model: Model) -> float:
    """Compile both functions; return the seconds it took for the training step."""
    began = time.perf_counter()
    model.step.compile()
    seconds = time.perf_counter() - began
    model.predict.compile()
    return seconds


def _compile_in_fresh_process(directory: str, hidden: int, seed: int) -> float:
    command = [sys.executable, "-m", "graphc.demo", directory, str(hidden), str(seed)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _summary(model: Model, data: Digits, epochs: int, accuracy: float, new_kernels: int) -> str:
    sizes = "-".join(str(n) for n in [PIXELS, *(len(b.get_value()) for b in model.parameters[1::2])])
    count = sum(p.get_value().size for p in model.parameters)
    right = round(accuracy * len(data.test_y))
    last = len(data.train_x) % BATCH or BATCH
    return "\n".join(
        [
            f"{sizes} relu network, {count:,} float32 parameters, Adam",
            f"{len(data.train_x):,} digits, {epochs} epoch{'s' if epochs > 1 else ''}",
            f"held-out accuracy {accuracy:.2%} ({right} of {len(data.test_y)})",
            f"kernels compiled while training: {new_kernels}, on batches of {BATCH} and of {last}",
        ]
    )


def _report(stats: Mapping[str, Any], training: Training, cold: float, warm: float) -> str:
    rows = [
        ("nodes before passes", f"{stats['nodes_before']:,}"),
        ("nodes after passes", f"{stats['nodes_after']:,}"),
        ("kernels", f"{stats['kernels']:,}"),
        ("distinct kernels", f"{stats['distinct_kernels']:,}"),
        (f"peak arena, batch of {BATCH}", show_bytes(training.peak_bytes)),
        ("compile, cold", show_seconds(cold)),
        ("compile, from cache", show_seconds(warm)),
        ("one step (median)", show_seconds(statistics.median(training.seconds))),
    ]
    return table(rows, header=("training step", ""))


def _main(arguments: Sequence[str]) -> None:
    """Compile from a cache directory and print the seconds: the fresh process of `run`."""
    directory, hidden, seed = arguments
    gc.set_cache(directory)
    print(compile_model(build_model(int(hidden), int(seed))))


if __name__ == "__main__":
    _main(sys.argv[1:])
