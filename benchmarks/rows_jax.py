"""The rows without loops in JAX: everything under `jit`, arrays on the device, one wait at the end.

Calls that stand alone are blocked one by one. Training donates its state, and a series of steps is blocked once.
The table of `gather` is updated by rows. Images are NHWC, a convolution is a product with its patches and pooling a
maximum over reshaped axes: on a CPU each is faster than `conv_general_dilated` and `reduce_window` with gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.workloads import HEADS, LEARNING_RATE, Inputs, Prepared

Row = Callable[[Inputs], Prepared]


def blocked(function: Any, *arguments: Any) -> Prepared:
    """Return a jitted function of arrays on the device, blocked once a call."""
    placed = jax.tree.map(jnp.asarray, arguments)
    result = [np.asarray(leaf) for leaf in jax.tree.leaves(function(*placed))]

    def run(n: int) -> None:
        for _ in range(n):
            jax.block_until_ready(function(*placed))

    return Prepared(result, run)


def trained(step: Any, parameters: Any, *arguments: Any, show: Callable[[Any], Any] = lambda p: p) -> Prepared:
    """Return a jitted step that takes and gives its state, blocked once a series; `show` makes results comparable."""
    state: list[Any] = [jax.tree.map(jnp.asarray, parameters)]
    placed = jax.tree.map(jnp.asarray, arguments)
    state[0], loss = step(state[0], *placed)
    result = [np.asarray(loss), *(np.array(leaf) for leaf in jax.tree.leaves(show(state[0])))]

    def run(n: int) -> None:
        current = state[0]
        for _ in range(n):
            current, last = step(current, *placed)
        jax.block_until_ready((current, last))
        state[0] = current

    return Prepared(result, run)


def _sgd(loss: Callable[..., Any]) -> Any:
    """Return a jitted SGD step with donated parameters."""

    def step(parameters: Any, *arguments: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(parameters, *arguments)
        return [p - LEARNING_RATE * g for p, g in zip(parameters, gradients, strict=True)], value

    return jax.jit(step, donate_argnums=0)


def _from_numpy(function: Any, arguments: list[Any]) -> Prepared:
    result = [np.asarray(leaf) for leaf in jax.tree.leaves(function(*arguments))]

    def run(n: int) -> None:
        for _ in range(n):
            jax.tree.map(np.asarray, function(*arguments))

    return Prepared(result, run)


def _call(inputs: Inputs) -> Prepared:
    return _from_numpy(jax.jit(lambda x: x * 2 + 1), [inputs["x"]])


def _call10(inputs: Inputs) -> Prepared:
    def function(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any, j: Any) -> Any:
        return a * b + c * d, (e - f) * g + h, a * i + d * j

    return _from_numpy(jax.jit(function), inputs["xs"])


def _fused(inputs: Inputs) -> Prepared:
    def loss(x: Any, y: Any) -> Any:
        return jnp.sum(jnp.tanh(x) * jnp.exp(-y * y) + jnp.log1p(jnp.exp(x)) * jnp.sin(y))

    return blocked(jax.jit(jax.value_and_grad(loss, argnums=(0, 1))), inputs["x"], inputs["y"])


def _lse(inputs: Inputs) -> Prepared:
    def loss(x: Any) -> Any:
        largest = jax.lax.stop_gradient(jnp.max(x, axis=1, keepdims=True))
        return jnp.sum(jnp.log(jnp.sum(jnp.exp(x - largest), axis=1, keepdims=True)) + largest)

    return blocked(jax.jit(jax.value_and_grad(loss)), inputs["x"])


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Return the mean cross-entropy."""
    picked = jnp.take_along_axis(logits, labels[:, None], axis=1)
    return jnp.mean(jax.nn.logsumexp(logits, axis=1, keepdims=True) - picked)


def _xent(inputs: Inputs) -> Prepared:
    return blocked(jax.jit(jax.value_and_grad(cross_entropy)), inputs["logits"], inputs["labels"])


def _mlp(inputs: Inputs) -> Prepared:
    def loss(parameters: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = parameters
        hidden = jax.nn.relu(jax.nn.relu(x @ w1 + b1) @ w2 + b2)
        return cross_entropy(hidden @ w3 + b3, y)

    return trained(_sgd(loss), inputs["parameters"], inputs["x"], inputs["y"])


def _attention(inputs: Inputs) -> Prepared:
    def loss(x: Any, parameters: Any) -> Any:
        gain, bias, w, b, out, c = parameters
        tokens, width = x.shape
        z = (_layer_norm(x, gain, bias) @ w + b).reshape(tokens, 3, HEADS, width // HEADS)
        query, key, value = z.transpose(1, 2, 0, 3)
        scores = query @ key.transpose(0, 2, 1) * (width // HEADS) ** -0.5
        heads = jax.nn.softmax(scores) @ value
        y = x + heads.transpose(1, 0, 2).reshape(tokens, width) @ out + c
        return jnp.mean(y * y)

    return blocked(jax.jit(jax.value_and_grad(loss, argnums=(0, 1))), inputs["x"], inputs["parameters"])


def _layer_norm(x: Any, gain: Any, bias: Any) -> Any:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + 1e-5) * gain + bias


def _conv(inputs: Inputs) -> Prepared:
    def convolve(x: Any, weight: Any) -> Any:
        _, height, width, _ = x.shape
        shifted = [x[:, i : height - 4 + i, j : width - 4 + j] for i in range(5) for j in range(5)]
        return jnp.concatenate(shifted, axis=-1) @ weight.reshape(-1, weight.shape[-1])

    def pool(x: Any) -> Any:
        batch, height, width, channels = x.shape
        return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        c1, b1, c2, b2, w1, d1, w2, d2, w3, d3 = parameters
        hidden = pool(jax.nn.relu(convolve(jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))), c1) + b1))
        hidden = pool(jax.nn.relu(convolve(hidden, c2) + b2))
        flat = hidden.transpose(0, 3, 1, 2).reshape(len(x), -1)
        return cross_entropy(jax.nn.relu(jax.nn.relu(flat @ w1 + d1) @ w2 + d2) @ w3 + d3, y)

    def turned(parameters: Any, axes: tuple[int, ...]) -> Any:
        return [p.transpose(axes) if p.ndim == 4 else p for p in parameters]

    parameters = turned(inputs["parameters"], (2, 3, 1, 0))
    x = inputs["x"].transpose(0, 2, 3, 1)
    return trained(_sgd(loss), parameters, x, inputs["y"], show=lambda p: turned(p, (3, 2, 0, 1)))


def _gather(inputs: Inputs) -> Prepared:
    def loss(read: Any, groups: Any, y: Any) -> Any:
        error = jax.ops.segment_sum(read, groups, num_segments=len(y)) - y
        return jnp.sum(error * error) / len(y)

    def step(table: Any, rows: Any, groups: Any, y: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(table[rows], groups, y)
        return table.at[rows].add(-LEARNING_RATE * gradient), value

    given = (inputs["rows"], inputs["groups"], inputs["y"])
    return trained(jax.jit(step, donate_argnums=0), inputs["table"], *given)


def _broadcast(inputs: Inputs) -> Prepared:
    def loss(x: Any, gain: Any, bias: Any) -> Any:
        y = x + jax.nn.gelu(_layer_norm(x, gain, bias), approximate=False)
        return jnp.mean(y * y)

    function = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    return blocked(function, inputs["x"], inputs["gain"], inputs["bias"])


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
