"""The rows without loops in PyTensor: one function a row, compiled by Numba, its arguments trusted and lent.

Parameters are shared variables, so their updates happen in place. Sums of float32 add in float32, as every other tool
does. A convolution is a product with its patches, as in `rows_jax`: PyTensor has none over batches and channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.special import softmax

from benchmarks.workloads import HEADS, LEARNING_RATE, Inputs, Prepared

Row = Callable[[Inputs], Prepared]


def variable(name: str, array: Any) -> Any:
    """Return an input of the type and shape of an array."""
    return pt.tensor(name, dtype=array.dtype, shape=array.shape)


def prepared(inputs: Sequence[Any], outputs: Any, arguments: Sequence[Any], updates: Any = ()) -> Prepared:
    """Compile, and run once; shared variables that are updated belong to the result."""
    function = pytensor.function(
        [pytensor.In(x, borrow=True) for x in inputs],
        [pytensor.Out(y, borrow=True) for y in outputs],
        updates=updates,
        mode="NUMBA",
        trust_input=True,
    )
    result = [np.array(a) for a in (*function(*arguments), *(p.get_value(borrow=True) for p, _ in updates))]

    def run(n: int) -> None:
        for _ in range(n):
            function(*arguments)

    return Prepared(result, run)


def differentiated(loss: Any, wrt: Sequence[Any], inputs: Sequence[Any], arguments: Sequence[Any]) -> Prepared:
    """Return a value and its gradients."""
    return prepared(inputs, [loss, *pytensor.grad(loss, [*wrt])], arguments)


def trained(loss: Any, parameters: Sequence[Any], inputs: Sequence[Any], arguments: Sequence[Any]) -> Prepared:
    """Return an SGD step of shared variables."""
    rate = np.float32(LEARNING_RATE)
    updates = [(p, p - rate * g) for p, g in zip(parameters, pytensor.grad(loss, [*parameters]), strict=True)]
    return prepared(inputs, [loss], arguments, updates)


def share(arrays: Sequence[Any]) -> list[Any]:
    """Return arrays as shared variables of fixed shapes."""
    return [pytensor.shared(a.copy(), borrow=True, shape=a.shape) for a in arrays]


def mean(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Return the mean in the dtype of `x`; PyTensor's own would add float32 in float64."""
    count = np.dtype(x.dtype).type(np.prod(x.type.shape) if axis is None else x.type.shape[axis])
    return pt.sum(x, axis=axis, keepdims=keepdims, acc_dtype=x.dtype) / count


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Return the mean cross-entropy."""
    shifted = logits - pt.max(logits, axis=1, keepdims=True)
    sums = pt.sum(pt.exp(shifted), axis=1, acc_dtype=logits.dtype)
    return mean(pt.log(sums) - shifted[pt.arange(labels.type.shape[0]), labels])


def _call(inputs: Inputs) -> Prepared:
    x = variable("x", inputs["x"])
    return prepared([x], [x * 2 + 1], [inputs["x"]])


def _call10(inputs: Inputs) -> Prepared:
    a, b, c, d, e, f, g, h, i, j = xs = [variable(n, x) for n, x in zip("abcdefghij", inputs["xs"], strict=True)]
    return prepared(xs, [a * b + c * d, (e - f) * g + h, a * i + d * j], inputs["xs"])


def _fused(inputs: Inputs) -> Prepared:
    x, y = (variable(name, inputs[name]) for name in "xy")
    loss = pt.sum(pt.tanh(x) * pt.exp(-y * y) + pt.log1p(pt.exp(x)) * pt.sin(y))
    return differentiated(loss, [x, y], [x, y], [inputs["x"], inputs["y"]])


def _lse(inputs: Inputs) -> Prepared:
    x = variable("x", inputs["x"])
    largest = pytensor.gradient.disconnected_grad(pt.max(x, axis=1, keepdims=True))
    loss = pt.sum(pt.log(pt.sum(pt.exp(x - largest), axis=1, keepdims=True)) + largest)
    return differentiated(loss, [x], [x], [inputs["x"]])


def _xent(inputs: Inputs) -> Prepared:
    logits, labels = (variable(name, inputs[name]) for name in ("logits", "labels"))
    loss = cross_entropy(logits, labels)
    return differentiated(loss, [logits], [logits, labels], [inputs["logits"], inputs["labels"]])


def _mlp(inputs: Inputs) -> Prepared:
    x, y = (variable(name, inputs[name]) for name in "xy")
    w1, b1, w2, b2, w3, b3 = parameters = share(inputs["parameters"])
    logits = pt.maximum(pt.maximum(x @ w1 + b1, 0) @ w2 + b2, 0) @ w3 + b3
    return trained(cross_entropy(logits, y), parameters, [x, y], [inputs["x"], inputs["y"]])


def _layer_norm(x: Any, gain: Any, bias: Any) -> Any:
    centred = x - mean(x, 1, keepdims=True)
    return centred / pt.sqrt(mean(centred * centred, 1, keepdims=True) + np.float32(1e-5)) * gain + bias


def _attention(inputs: Inputs) -> Prepared:
    tokens, width = inputs["x"].shape
    x = variable("x", inputs["x"])
    gain, bias, w, b, out, c = parameters = share(inputs["parameters"])
    z = (_layer_norm(x, gain, bias) @ w + b).reshape((tokens, 3, HEADS, width // HEADS))
    heads = []
    for i in range(HEADS):
        query, key, value = z[:, 0, i], z[:, 1, i], z[:, 2, i]
        heads.append(softmax(query @ key.T * np.float32((width // HEADS) ** -0.5), axis=1) @ value)
    y = x + pt.concatenate(heads, axis=1) @ out + c
    return differentiated(mean(y * y), [x, *parameters], [x], [inputs["x"]])


def _conv(inputs: Inputs) -> Prepared:
    x = variable("x", inputs["x"].transpose(0, 2, 3, 1))
    y = variable("y", inputs["y"])
    c1, b1, c2, b2, w1, d1, w2, d2, w3, d3 = parameters = share(inputs["parameters"])
    padded = pt.set_subtensor(pt.zeros((x.type.shape[0], 32, 32, 1), "float32")[:, 2:-2, 2:-2], x)
    hidden = _pool(pt.maximum(_convolve(padded, c1) + b1, 0))
    hidden = _pool(pt.maximum(_convolve(hidden, c2) + b2, 0))
    flat = hidden.transpose(0, 3, 1, 2).reshape((x.type.shape[0], -1))
    logits = pt.maximum(pt.maximum(flat @ w1 + d1, 0) @ w2 + d2, 0) @ w3 + d3
    images = np.ascontiguousarray(inputs["x"].transpose(0, 2, 3, 1))
    return trained(cross_entropy(logits, y), parameters, [x, y], [images, inputs["y"]])


def _convolve(x: Any, weight: Any) -> Any:
    batch, height, width, channels = (int(n) for n in x.type.shape)
    out = int(weight.type.shape[0])
    shifted = [x[:, i : height - 4 + i, j : width - 4 + j] for i in range(5) for j in range(5)]
    patches = pt.concatenate(shifted, axis=-1).reshape((-1, 25 * channels))
    flat = weight.transpose(2, 3, 1, 0).reshape((25 * channels, out))
    return (patches @ flat).reshape((batch, height - 4, width - 4, out))


def _pool(x: Any) -> Any:
    across = pt.maximum(x[:, :, ::2], x[:, :, 1::2])
    return pt.maximum(across[:, ::2], across[:, 1::2])


def _gather(inputs: Inputs) -> Prepared:
    names = ("rows", "groups", "y")
    rows, groups, y = given = [variable(name, inputs[name]) for name in names]
    (table,) = share([inputs["table"]])
    read = table[rows]
    error = pt.inc_subtensor(pt.zeros(y.type.shape, y.dtype)[groups], read) - y
    loss = pt.sum(error * error, acc_dtype="float32") / np.float32(len(inputs["y"]))
    updated = pt.inc_subtensor(table[rows], np.float32(-LEARNING_RATE) * pytensor.grad(loss, read))
    return prepared(given, [loss], [inputs[name] for name in names], [(table, updated)])


def _broadcast(inputs: Inputs) -> Prepared:
    x = variable("x", inputs["x"])
    gain, bias = share([inputs["gain"], inputs["bias"]])
    normed = _layer_norm(x, gain, bias)
    half, root = np.float32(0.5), np.float32(0.5**0.5)
    y = x + half * normed * (1 + pt.erf(normed * root))
    return differentiated(mean(y * y), [x, gain, bias], [x], [inputs["x"]])


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
