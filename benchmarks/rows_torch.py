"""The rows in PyTorch: eager, or the same code through `torch.compile`.

A row is a function of a `Style`, which says how a value and its gradients are taken: eager calls `backward` through
`torch.autograd.grad`; compiled is one graph of value and gradients, or of the whole training step, by
`torch.func.grad_and_value`. Parameters are updated in place by one multi-tensor call, as `SGD(foreach=True)` does,
without the bookkeeping of an optimiser object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as nn

from benchmarks.workloads import DIFFUSION, HEADS, LEARNING_RATE, STENCIL_STEPS, Inputs, Prepared

Gradients = Callable[..., tuple[Any, Sequence[Any]]]
"""Takes the values to differentiate by, then other arguments; returns the loss and the gradients."""


class Eager:
    """Operations run one by one."""

    def compile(self, function: Any) -> Any:
        """Return a function as this style runs it."""
        return function

    def gradients(self, loss: Any, count: int) -> Gradients:
        """Return a loss with its gradients by its first `count` arguments."""

        def call(*arguments: Any) -> tuple[Any, Sequence[Any]]:
            leaves = [a.requires_grad_() for a in arguments[:count]]
            value = loss(*leaves, *arguments[count:])
            return value.detach(), torch.autograd.grad(value, leaves)

        return call


class Compiled:
    """Whole functions through `torch.compile`."""

    def compile(self, function: Any) -> Any:
        """Return a function as this style runs it."""
        return torch.compile(function, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})

    def gradients(self, loss: Any, count: int) -> Gradients:
        """Return a loss with its gradients by its first `count` arguments, to be compiled as part of a step."""
        both = torch.func.grad_and_value(loss, argnums=tuple(range(count)))

        def call(*arguments: Any) -> tuple[Any, Sequence[Any]]:
            gradients, value = both(*arguments)
            return value, gradients

        return call


Style = Eager | Compiled
Row = Callable[[Style, Inputs], Prepared]


def from_numpy(style: Style, function: Any, arrays: list[Any]) -> Prepared:
    """Return a function from NumPy to NumPy."""
    compiled = style.compile(function)

    def call() -> list[Any]:
        return [t.numpy() for t in compiled(*map(torch.from_numpy, arrays))]

    with torch.inference_mode():
        result = call()

    def run(n: int) -> None:
        with torch.inference_mode():
            for _ in range(n):
                call()

    return Prepared(result, run)


def differentiated(style: Style, loss: Any, wrt: Sequence[Any], *given: Any) -> Prepared:
    """Return a value and its gradients by the arrays `wrt`, from tensors in hand."""
    arguments = [torch.tensor(a) for a in (*wrt, *given)]
    function = style.compile(style.gradients(loss, len(wrt)))
    value, gradients = function(*arguments)
    result = [t.numpy() for t in (value, *gradients)]

    def run(n: int) -> None:
        for _ in range(n):
            function(*arguments)

    return Prepared(result, run)


def trained(style: Style, loss: Any, parameters: Sequence[Any], *given: Any) -> Prepared:
    """Return an SGD step of parameters that are updated in place."""
    state = [torch.tensor(p) for p in parameters]
    gradients_of = style.gradients(loss, len(state))

    def step(*arguments: Any) -> Any:
        value, gradients = gradients_of(*arguments)
        with torch.no_grad():
            torch._foreach_add_(arguments[: len(state)], gradients, alpha=-LEARNING_RATE)
        return value

    return _stepped(style.compile(step), state, given)


def _stepped(step: Any, state: list[Any], given: Sequence[Any]) -> Prepared:
    arguments = [*state, *map(torch.tensor, given)]
    value = step(*arguments)
    result = [value.numpy(), *(p.detach().numpy().copy() for p in state)]

    def run(n: int) -> None:
        for _ in range(n):
            step(*arguments)

    return Prepared(result, run)


def _call(style: Style, inputs: Inputs) -> Prepared:
    return from_numpy(style, lambda x: [x * 2 + 1], [inputs["x"]])


def _call10(style: Style, inputs: Inputs) -> Prepared:
    def function(*xs: Any) -> Any:
        a, b, c, d, e, f, g, h, i, j = xs
        return torch.addcmul(c * d, a, b), torch.addcmul(h, e - f, g), torch.addcmul(d * j, a, i)

    return from_numpy(style, function, inputs["xs"])


def _fused(style: Style, inputs: Inputs) -> Prepared:
    def loss(x: Any, y: Any) -> Any:
        return torch.sum(torch.tanh(x) * torch.exp(-y * y) + torch.log1p(torch.exp(x)) * torch.sin(y))

    return differentiated(style, loss, [inputs["x"], inputs["y"]])


def _lse(style: Style, inputs: Inputs) -> Prepared:
    def loss(x: Any) -> Any:
        largest = x.detach().amax(dim=1, keepdim=True)
        return torch.sum(torch.log(torch.sum(torch.exp(x - largest), dim=1, keepdim=True)) + largest)

    return differentiated(style, loss, [inputs["x"]])


def _xent(style: Style, inputs: Inputs) -> Prepared:
    return differentiated(style, nn.cross_entropy, [inputs["logits"]], inputs["labels"])


def _mlp(style: Style, inputs: Inputs) -> Prepared:
    def loss(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, x: Any, y: Any) -> Any:
        hidden = torch.addmm(b2, torch.addmm(b1, x, w1).relu(), w2).relu()
        return nn.cross_entropy(torch.addmm(b3, hidden, w3), y)

    return trained(style, loss, inputs["parameters"], inputs["x"], inputs["y"])


def _attention(style: Style, inputs: Inputs) -> Prepared:
    def loss(x: Any, gain: Any, bias: Any, w: Any, b: Any, out: Any, c: Any) -> Any:
        tokens, width = x.shape
        z = torch.addmm(b, nn.layer_norm(x, (width,), gain, bias), w)
        query, key, value = z.view(1, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        heads = nn.scaled_dot_product_attention(query, key, value)
        y = x + torch.addmm(c, heads[0].transpose(0, 1).reshape(tokens, width), out)
        return torch.mean(y * y)

    return differentiated(style, loss, [inputs["x"], *inputs["parameters"]])


def _conv(style: Style, inputs: Inputs) -> Prepared:
    def loss(*arguments: Any) -> Any:
        c1, b1, c2, b2, w1, d1, w2, d2, w3, d3, x, y = arguments
        hidden = nn.max_pool2d(nn.conv2d(x, c1, b1, padding=2).relu(), 2)
        flat = nn.max_pool2d(nn.conv2d(hidden, c2, b2).relu(), 2).flatten(1)
        hidden = torch.addmm(d2, torch.addmm(d1, flat, w1).relu(), w2).relu()
        return nn.cross_entropy(torch.addmm(d3, hidden, w3), y)

    return trained(style, loss, inputs["parameters"], inputs["x"], inputs["y"])


def _gather(style: Style, inputs: Inputs) -> Prepared:
    def loss(read: Any, groups: Any, y: Any) -> Any:
        error = torch.zeros_like(y).index_add(0, groups, read) - y
        return torch.sum(error * error) / len(y)

    gradients_of = style.gradients(loss, 1)

    def step(table: Any, rows: Any, groups: Any, y: Any) -> Any:
        value, (gradient,) = gradients_of(table[rows], groups, y)
        table.index_add_(0, rows, gradient, alpha=-LEARNING_RATE)
        return value

    given = [inputs["rows"], inputs["groups"], inputs["y"]]
    return _stepped(style.compile(step), [torch.tensor(inputs["table"])], given)


def _broadcast(style: Style, inputs: Inputs) -> Prepared:
    def loss(x: Any, gain: Any, bias: Any) -> Any:
        y = x + nn.gelu(nn.layer_norm(x, x.shape[1:], gain, bias))
        return torch.mean(y * y)

    return differentiated(style, loss, [inputs["x"], inputs["gain"], inputs["bias"]])


def _chain(style: Style, inputs: Inputs) -> Prepared:
    def total(x: Any) -> Any:
        v = x
        for c in inputs["c"]:
            v = torch.tanh(torch.add(x, v, alpha=c))
        return torch.sum(v)

    prepared = differentiated(style, total, [inputs["x"]])
    del prepared.result[0]
    return prepared


def _stencil(style: Style, inputs: Inputs) -> Prepared:
    def loss(start: Any) -> Any:
        u = start
        for _ in range(STENCIL_STEPS):
            around = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]
            u = u + nn.pad(DIFFUSION * (around - 4 * u[1:-1, 1:-1]), (1, 1, 1, 1))
        return torch.sum(u * u)

    return differentiated(style, loss, [inputs["u"]])


def _rnn(style: Style, inputs: Inputs) -> Prepared:
    def loss(w: Any, u: Any, v: Any, xs: Any) -> Any:
        h = torch.zeros_like(xs[0])
        hs = []
        for projected in (xs @ u).unbind():
            h = torch.tanh(torch.addmm(projected, h, w))
            hs.append(h)
        ys = torch.stack(hs) @ v
        return torch.mean(ys * ys)

    return differentiated(style, loss, [inputs[name] for name in "wuv"], inputs["xs"])


def _lstm(style: Style, inputs: Inputs) -> Prepared:
    def layer(z: Any, c: Any) -> tuple[Any, Any]:
        gates = torch.sigmoid(z[:3])
        c = torch.addcmul(gates[0] * torch.tanh(z[3]), gates[1], c)
        return gates[2] * torch.tanh(c), c

    def loss(w: Any, u: Any, b: Any, xs: Any) -> Any:
        h0 = c0 = h1 = c1 = torch.zeros_like(xs[0])
        (w1, u0, u1, b1) = w[1], u[0], u[1], b[1]
        ys = []
        for projected in (w[0] * xs[:, None] + b[0]).unbind():
            h0, c0 = layer(torch.addcmul(projected, u0, h0), c0)
            h1, c1 = layer(torch.addcmul(torch.addcmul(b1, w1, h0), u1, h1), c1)
            ys.append(h1)
        stacked = torch.stack(ys)
        return torch.mean(stacked * stacked)

    return differentiated(style, loss, [inputs[name] for name in "wub"], inputs["xs"])


ROWS: dict[str, Row] = {
    "call": _call,
    "call10": _call10,
    "fused": _fused,
    "lse": _lse,
    "xent": _xent,
    "mlp": _mlp,
    "mlp784": _mlp,
    "mlp784_256": _mlp,
    "rnn": _rnn,
    "lstm": _lstm,
    "chain100": _chain,
    "chain1000": _chain,
    "stencil": _stencil,
    "attention": _attention,
    "conv": _conv,
    "gather": _gather,
    "broadcast": _broadcast,
}
