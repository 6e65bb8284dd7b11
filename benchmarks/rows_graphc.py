"""The rows without loops in graphc: calls, fused elementwise work, reductions, layers and training steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import graphc as gc
from benchmarks.workloads import HEADS, LEARNING_RATE, Inputs


class Clock:
    """Seconds by stage, from the first placeholder to the first result."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def stop(self, stage: str) -> None:
        """Give a stage the time since the one before it ended."""
        now = time.perf_counter()
        self.seconds[stage] = now - self.last
        self.last = now


@dataclass
class Built:
    """What `gc.function` takes, and the arguments of a call. The state that is updated belongs to the result."""

    inputs: list[gc.Node]
    outputs: gc.Node | list[gc.Node]
    arguments: list[Any]
    updates: dict[gc.Shared, gc.Node] = field(default_factory=dict)


Row = Callable[[Clock, Inputs], Built]


def share(arrays: Sequence[Any]) -> list[gc.Shared]:
    """Return arrays as state."""
    return [gc.shared(a, name=f"p{i}") for i, a in enumerate(arrays)]


def trained(clock: Clock, loss: gc.Node, parameters: Sequence[gc.Shared], inputs: list[gc.Node], given: Any) -> Built:
    """Return an SGD step."""
    clock.stop("build")
    gradients = gc.grad(loss, parameters)
    updates = {p: p - LEARNING_RATE * g for p, g in zip(parameters, gradients, strict=True)}
    clock.stop("grad")
    return Built(inputs, loss, given, updates)


def differentiated(clock: Clock, loss: gc.Node, wrt: Sequence[gc.Node], inputs: list[gc.Node], given: Any) -> Built:
    """Return a value and its gradients."""
    clock.stop("build")
    value, gradients = gc.value_and_grad(loss, wrt)
    clock.stop("grad")
    return Built(inputs, [value, *gradients], given)


def _call(clock: Clock, inputs: Inputs) -> Built:
    x = gc.placeholder("x", shape=(10,))
    built = Built([x], x * 2 + 1, [inputs["x"]])
    clock.stop("build")
    return built


def _call10(clock: Clock, inputs: Inputs) -> Built:
    a, b, c, d, e, f, g, h, i, j = nodes = [gc.placeholder(name, shape=(10,)) for name in "abcdefghij"]
    built = Built(nodes, [a * b + c * d, (e - f) * g + h, a * i + d * j], inputs["xs"])
    clock.stop("build")
    return built


def _fused(clock: Clock, inputs: Inputs) -> Built:
    x, y = (gc.placeholder(name, shape=("n",)) for name in "xy")
    loss = gc.sum(gc.tanh(x) * gc.exp(-y * y) + gc.log1p(gc.exp(x)) * gc.sin(y))
    return differentiated(clock, loss, [x, y], [x, y], [inputs["x"], inputs["y"]])


def _lse(clock: Clock, inputs: Inputs) -> Built:
    x = gc.placeholder("x", shape=("rows", "columns"))
    largest = gc.stop_gradient(gc.max(x, axis=1, keepdims=True))
    loss = gc.sum(gc.log(gc.sum(gc.exp(x - largest), axis=1, keepdims=True)) + largest)
    return differentiated(clock, loss, [x], [x], [inputs["x"]])


def _xent(clock: Clock, inputs: Inputs) -> Built:
    logits = gc.placeholder("logits", shape=("rows", inputs["logits"].shape[1]), dtype="float32")
    labels = gc.placeholder("labels", shape=("rows",), dtype="int64")
    loss = gc.nn.cross_entropy(logits, labels)
    return differentiated(clock, loss, [logits], [logits, labels], [inputs["logits"], inputs["labels"]])


def _mlp(clock: Clock, inputs: Inputs) -> Built:
    x = gc.placeholder("x", shape=("batch", inputs["x"].shape[1]), dtype="float32")
    y = gc.placeholder("y", shape=("batch",), dtype="int64")
    w1, b1, w2, b2, w3, b3 = parameters = share(inputs["parameters"])
    logits = gc.nn.relu(gc.nn.relu(x @ w1 + b1) @ w2 + b2) @ w3 + b3
    loss = gc.nn.cross_entropy(logits, y)
    return trained(clock, loss, parameters, [x, y], [inputs["x"], inputs["y"]])


def _attention(clock: Clock, inputs: Inputs) -> Built:
    tokens, width = inputs["x"].shape
    x = gc.placeholder("x", shape=(tokens, width), dtype="float32")
    gain, bias, w, b, out, c = parameters = share(inputs["parameters"])
    z = gc.nn.layer_norm(x, width, gain, bias) @ w + b
    query, key, value = gc.permute_dims(z.reshape((tokens, 3, HEADS, width // HEADS)), (1, 2, 0, 3))
    heads = gc.nn.scaled_dot_product_attention(query, key, value)
    y = x + gc.permute_dims(heads, (1, 0, 2)).reshape((tokens, width)) @ out + c
    return differentiated(clock, gc.mean(y * y), [x, *parameters], [x], [inputs["x"]])


def _conv(clock: Clock, inputs: Inputs) -> Built:
    x = gc.placeholder("x", shape=("batch", 1, 28, 28), dtype="float32")
    y = gc.placeholder("y", shape=("batch",), dtype="int64")
    c1, b1, c2, b2, w1, d1, w2, d2, w3, d3 = parameters = share(inputs["parameters"])
    hidden = gc.nn.max_pool2d(gc.nn.relu(gc.nn.conv2d(x, c1, b1, padding=2)), 2)
    hidden = gc.nn.max_pool2d(gc.nn.relu(gc.nn.conv2d(hidden, c2, b2)), 2).reshape((-1, 400))
    logits = gc.nn.relu(gc.nn.relu(hidden @ w1 + d1) @ w2 + d2) @ w3 + d3
    return trained(clock, gc.nn.cross_entropy(logits, y), parameters, [x, y], [inputs["x"], inputs["y"]])


def _gather(clock: Clock, inputs: Inputs) -> Built:
    rows, groups = (gc.placeholder(name, shape=("count",), dtype="int64") for name in ("rows", "groups"))
    y = gc.placeholder("y", shape=inputs["y"].shape, dtype="float32")
    (table,) = share([inputs["table"]])
    error = gc.zeros_like(y).at[groups].add(table[rows]) - y
    loss = gc.sum(error * error) / len(inputs["y"])
    return trained(clock, loss, [table], [rows, groups, y], [inputs["rows"], inputs["groups"], inputs["y"]])


def _broadcast(clock: Clock, inputs: Inputs) -> Built:
    width = inputs["x"].shape[1]
    x = gc.placeholder("x", shape=("rows", width), dtype="float32")
    gain, bias = share([inputs["gain"], inputs["bias"]])
    y = x + gc.nn.gelu(gc.nn.layer_norm(x, width, gain, bias))
    return differentiated(clock, gc.mean(y * y), [x, gain, bias], [x], [inputs["x"]])


ROWS: dict[str, Row] = {
    "call": _call,
    "call10": _call10,
    "fused": _fused,
    "lse": _lse,
    "xent": _xent,
    "mlp": _mlp,
    "mlp784": _mlp,
    "mlp784_256": _mlp,
    "attention": _attention,
    "conv": _conv,
    "gather": _gather,
    "broadcast": _broadcast,
}
