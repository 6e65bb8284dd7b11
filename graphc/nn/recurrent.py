"""Recurrent layers: one step (`RNNCell`, `LSTMCell`, `GRUCell`) and whole sequences (`RNN`, `LSTM`, `GRU`).

A sequence runs in one `gc.scan` a layer and direction. The products with the input do not depend on the state, so they
are one product for all steps before the loop; inside there is one product with the state a step. Parameters have
PyTorch's names, layout and order of gates: `weight_ih_l0` (gates * hidden, input), `weight_hh_l0` (gates * hidden,
hidden), `bias_ih_l0`, `bias_hh_l0`, the reverse direction's with `_reverse`; uniform within 1 / sqrt(hidden).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.autodiff.control import scan
from graphc.graph.arguments import MANY, checked, whole
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node, Shared
from graphc.graph.types import INT64, Size
from graphc.nn.functional import dropout
from graphc.nn.init import Rng, as_generator
from graphc.nn.module import Module
from graphc.nn.parts import draw_generator, new_parameter, operands, positive, probability, require_last, within
from graphc.ops.creation import iota
from graphc.ops.elementwise import sigmoid, tanh, where
from graphc.ops.linalg import matmul
from graphc.ops.manipulation import concat, matrix_transpose, moveaxis, stack
from graphc.ops.pointwise import as_node, cast
from graphc.ops.shape import insert_axes, never_equal, slice_axis, zeros

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]

State = tuple[Node, ...]
"""What goes from step to step: (h,), or (h, c) for LSTM, each of shape (..., hidden)."""


# -- one step: from the input's part of the gates, the state and the recurrent weights, to the next state


def tanh_step(projected: Node, state: State, weight: Node, bias: Node | None) -> State:
    """H' = tanh(projected + h @ weight.T)."""
    return (tanh(projected + matmul(state[0], weight)),)


def relu_step(projected: Node, state: State, weight: Node, bias: Node | None) -> State:
    """H' = relu(projected + h @ weight.T)."""
    from graphc.nn.activations import relu

    return (relu(projected + matmul(state[0], weight)),)


def lstm_step(projected: Node, state: State, weight: Node, bias: Node | None) -> State:
    """Gates i, f, g, o: c' = f c + i g, h' = o tanh(c'). Source: Hochreiter & Schmidhuber 1997, Gers et al. 2000."""
    h, c = state
    i, f, g, o = _gates(projected + matmul(h, weight), 4)
    after = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(after), after


def gru_step(projected: Node, state: State, weight: Node, bias: Node | None) -> State:
    """Gates r, z, n: h' = n + z (h - n), where r scales the state's part of n, after the product. Cho et al. 2014."""
    (h,) = state
    recurrent = matmul(h, weight)
    r, z, n = _gates(projected, 3)
    from_r, from_z, from_n = _gates(recurrent if bias is None else recurrent + bias, 3)
    new = tanh(n + sigmoid(r + from_r) * from_n)
    return (new + sigmoid(z + from_z) * (h - new),)


def _gates(x: Node, count: int) -> list[Node]:
    """Cut the last axis into equal parts."""
    axis, width = x.ndim - 1, x.shape[-1] // count
    return [slice_axis(x, axis, i * width, width) for i in range(count)]


STEPS = {"tanh": tanh_step, "relu": relu_step, "lstm": lstm_step, "gru": gru_step}
GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}
PARTS = {"tanh": 1, "relu": 1, "lstm": 2, "gru": 1}
"""How many arrays a state has."""


def _projected(kind: str, x: Node, weight: Node, bias_ih: Node | None, bias_hh: Node | None) -> Node:
    """Return the input's part of all gates, with the biases that need not be inside the loop."""
    out = matmul(x, matrix_transpose(weight))
    if bias_ih is None or bias_hh is None:
        return out
    return out + (bias_ih if kind == "gru" else bias_ih + bias_hh)


def _with_weights(
    module: Module, x: Any, parameters: Sequence[Shared | None]
) -> tuple[Node, Node, Node, Node | None, Node | None]:
    """Return an operand, two weights and two biases, which may be None, in one dtype."""
    node, w_ih, w_hh, *biases = operands(module, x, *parameters)
    b_ih, b_hh = biases or (None, None)
    return node, w_ih, w_hh, b_ih, b_hh


# -- cells


class _Cell(Module):
    """The family of `RNNCell`, `LSTMCell` and `GRUCell`."""

    kind: str

    @checked
    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, rng: Rng = None, dtype: Any = "float32"
    ) -> None:
        positive(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.shown = f"{input_size}, {hidden_size}{'' if bias else ', bias=False'}"
        source, init, rows = as_generator(rng), within(hidden_size**-0.5), GATES[self.kind] * hidden_size
        self.weight_ih = new_parameter(self, "weight_ih", (rows, input_size), init, source, dtype)
        self.weight_hh = new_parameter(self, "weight_hh", (rows, hidden_size), init, source, dtype)
        self.bias_ih = new_parameter(self, "bias_ih", (rows,), init, source, dtype) if bias else None
        self.bias_hh = new_parameter(self, "bias_hh", (rows,), init, source, dtype) if bias else None

    def step(self, x: Any, state: Any) -> State:
        """Return the next state, as a tuple, for a state or None for zeros."""
        found = _with_weights(self, x, (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh))
        node, w_ih, w_hh, b_ih, b_hh = found
        require_last(self, node, self.input_size)
        projected = _projected(self.kind, node, w_ih, b_ih, b_hh)
        shape = (*node.shape[:-1], self.hidden_size)
        before = _state(self, state, shape, projected, PARTS[self.kind])
        return STEPS[self.kind](projected, before, matrix_transpose(w_hh), b_hh)


class RNNCell(_Cell):
    """One step of an Elman network: `tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)`.

    `nonlinearity="relu"` takes the rectifier instead.

    >>> import graphc as gc
    >>> cell = RNNCell(2, 3)
    >>> h, xs = gc.zeros((5, 3), dtype="float32"), gc.zeros((9, 5, 2), dtype="float32")
    >>> _, hs = gc.scan(lambda h, x: (cell(x, h),) * 2, h, xs)
    >>> hs.shape
    (9, 5, 3)
    """

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        self.kind = _nonlinearity(self, nonlinearity)
        super().__init__(input_size, hidden_size, bias, rng=rng, dtype=dtype)

    def forward(self, x: Any, h: Any = None) -> Node:
        """Return the next h, (..., hidden_size), for `x` of shape (..., input_size); `h` is 0 where it is missing."""
        return self.step(x, h)[0]


class LSTMCell(_Cell):
    """One step of long short-term memory; `cell(x, (h, c))` returns the next (h, c)."""

    kind = "lstm"

    def forward(self, x: Any, state: tuple[Any, Any] | None = None) -> tuple[Node, Node]:
        """Return (h, c), each (..., hidden_size), for `x` of shape (..., input_size); zeros where it is missing."""
        h, c = self.step(x, state)
        return h, c


class GRUCell(_Cell):
    """One step of a gated recurrent unit; `cell(x, h)` returns the next h."""

    kind = "gru"

    def forward(self, x: Any, h: Any = None) -> Node:
        """Return the next h, (..., hidden_size), for `x` of shape (..., input_size); `h` is 0 where it is missing."""
        return self.step(x, h)[0]


def _nonlinearity(module: Module, name: str) -> str:
    if name not in ("tanh", "relu"):
        raise ArgumentError(f'{type(module).__name__}: nonlinearity must be "tanh" or "relu", got {name!r}{at()}')
    return name


def _state(module: Module, state: Any, shape: tuple[Size, ...], like: Node, parts: int) -> State:
    """Return a given state in the dtype of `like`, or zeros."""
    if state is None:
        return (zeros(shape, like.dtype),) * parts
    given = tuple(state) if isinstance(state, (tuple, list)) and parts > 1 else (state,)
    if len(given) != parts:
        raise ArgumentError(f"{module.title}: the state must be a pair (h, c), got {type(state).__name__}{at()}")
    nodes = [as_node(value) for value in given]
    for node in nodes:
        if node.ndim != len(shape) or any(map(never_equal, node.shape, shape)):
            shown = ",".join(map(str, shape))
            raise ShapeError(f"{module.title}: the state must have shape ({shown}), got {node.type}{at()}")
    # The same symbolic size under another name is checked in the call.
    typed = [cast(x, like.dtype) for x in nodes]
    return tuple(x if x.shape == shape else zeros(shape, x.dtype) + x for x in typed)


# -- sequences


class _Recurrent(Module):
    """The family of `RNN`, `LSTM` and `GRU`."""

    kind: str

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        positive(self, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        whole(f"{type(self).__name__}: num_layers", num_layers, 1, MANY)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.bidirectional = batch_first, bidirectional
        self.p = probability(self, "dropout", dropout)
        flags = {"bias": (bias, True), "batch_first": (batch_first, False), "bidirectional": (bidirectional, False)}
        more = {"num_layers": (num_layers, 1)} | {"dropout": (dropout, 0.0)} | flags
        given = [f"{name}={value!r}" for name, (value, usual) in more.items() if value != usual]
        self.shown = ", ".join([str(input_size), str(hidden_size), *given])
        source, init, rows = as_generator(rng), within(hidden_size**-0.5), GATES[self.kind] * hidden_size
        for k, suffix in enumerate(self._suffixes()):
            width = input_size if k < self._directions else hidden_size * self._directions
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
            for name, shape in shapes.items():
                vars(self)[name + suffix] = new_parameter(self, name + suffix, shape, init, source, dtype)
        self.rng = draw_generator(source) if dropout else None

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self) -> list[str]:
        ends = ("", "_reverse")[: self._directions]
        return [f"_l{k}{end}" for k in range(self.num_layers) for end in ends]

    def run(self, x: Any, state: Any, lengths: Any) -> tuple[Node, State]:
        """Return the outputs of the last layer, and the last states of all, stacked along axis 0."""
        (node,) = operands(self, x)
        if node.ndim not in (2, 3) or never_equal(node.shape[-1], self.input_size):
            layout = "(batch, length, {0})" if self.batch_first else "(length, batch, {0})"
            needed = f"{layout} or (length, {{0}})".format(self.input_size)
            raise ShapeError(f"{self.title}: shape {needed} needed, got {node.type}{at()}")
        swaps = self.batch_first and node.ndim == 3
        below = moveaxis(node, 0, 1) if swaps else node
        present = None if lengths is None else _present(self, below, lengths)
        if present is not None:  # or NaN in the padding would reach the weights' gradients, as 0 times NaN
            below = where(present, below, 0.0)
        first = self._first(below, state)
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer:
                below = dropout(below, self.p, self.rng, self.training)
            ends = range(layer * self._directions, (layer + 1) * self._directions)
            found = [self._layer(k, below, first[k], present, reverse=k > ends[0]) for k in ends]
            outputs = [ys for ys, _ in found]
            below = concat(outputs, axis=below.ndim - 1) if len(outputs) > 1 else outputs[0]
            last += [end for _, end in found]
        states = tuple(stack(parts, axis=0) for parts in zip(*last, strict=True))
        return moveaxis(below, 0, 1) if swaps else below, states

    def _first(self, x: Node, state: Any) -> list[State]:
        """Return the first state of every layer and direction."""
        count = self.num_layers * self._directions
        like = operands(self, x, vars(self)["weight_ih_l0"])[0]
        parts = _state(self, state, (count, *x.shape[1:-1], self.hidden_size), like, PARTS[self.kind])
        return [tuple(part[k] for part in parts) for k in range(count)]

    def _layer(self, k: int, x: Node, first: State, present: Node | None, *, reverse: bool) -> tuple[Node, State]:
        """Run one layer in one direction over axis 0."""
        names = [f"{name}{self._suffixes()[k]}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        node, w_ih, w_hh, b_ih, b_hh = _with_weights(self, x, [vars(self).get(name) for name in names])
        projected = _projected(self.kind, node, w_ih, b_ih, b_hh)
        recurrent = matrix_transpose(w_hh)

        def step(before: State, given: tuple[Node, Node | None]) -> tuple[State, Node]:
            element, here = given
            after = STEPS[self.kind](element, before, recurrent, b_hh)
            if here is None:
                return after, after[0]
            kept = tuple(where(here, new, old) for new, old in zip(after, before, strict=True))
            return kept, where(here, after[0], 0.0)

        end, outputs = scan(step, first, (projected, present), reverse=reverse)
        return outputs, end


def _present(module: Module, x: Node, lengths: Any) -> Node:
    """Return where steps of (length, batch, features) are within their sequences, (length, batch, 1)."""
    counts = as_node(lengths)
    if x.ndim != 3 or counts.ndim != 1 or counts.dtype.kind not in "iu" or never_equal(counts.shape[0], x.shape[1]):
        raise ShapeError(f"{module.title}: lengths must be (batch,) integers for {x.type}, got {counts.type}{at()}")
    return insert_axes(iota((x.shape[0], x.shape[1]), 0) < cast(counts, INT64), (2,))


class RNN(_Recurrent):
    """Elman network over sequences: `h = tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)`.

    `rnn(x, state, lengths)` returns (outputs, state). `x`: (length, batch, input_size), or with `batch_first` (batch,
    length, input_size), or (length, input_size) without a batch. outputs: the last layer's h at every step, with both
    directions' side by side where `bidirectional`. state: the h after the last step, (layers * directions, batch,
    hidden_size); the first one, zeros where it is missing. The length may be symbolic. `lengths`, integers of shape
    (batch,), are those of sequences that are padded behind: padding, whatever it holds, changes no
    state and no gradient and has outputs 0. `dropout`
    drops outputs between layers in training. `nonlinearity="relu"` takes the rectifier instead of tanh.
    """

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        self.kind = _nonlinearity(self, nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng=rng, dtype=dtype
        )

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Node, Node]:
        """Return (outputs, state)."""
        outputs, (h,) = self.run(x, state, lengths)
        return outputs, h


class LSTM(_Recurrent):
    """Long short-term memory over sequences; the state is a pair (h, c), else as `RNN`.

    >>> import graphc as gc
    >>> outputs, (h, c) = LSTM(4, 8, num_layers=2, bidirectional=True)(gc.zeros((10, 3, 4), dtype="float32"))
    >>> outputs.shape, h.shape, c.shape
    ((10, 3, 16), (4, 3, 8), (4, 3, 8))
    """

    kind = "lstm"

    def forward(
        self, x: Any, state: tuple[Any, Any] | None = None, lengths: Any = None
    ) -> tuple[Node, tuple[Node, Node]]:
        """Return (outputs, (h, c))."""
        outputs, (h, c) = self.run(x, state, lengths)
        return outputs, (h, c)


class GRU(_Recurrent):
    """Gated recurrent unit over sequences, with the reset gate after the recurrent product; arguments as `RNN`."""

    kind = "gru"

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Node, Node]:
        """Return (outputs, state)."""
        outputs, (h,) = self.run(x, state, lengths)
        return outputs, h
