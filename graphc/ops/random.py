"""Random numbers as pointwise ops of (key, start, index), and `Draw`, which marks where a draw starts.

A generator's stream is an infinite sequence; element i of a draw is a pure function of the generator's key and of
the stream's position `start + i`. While a graph is built, `start` is a `Draw` of the generator's position;
`graph.draws` gives the draws of one program consecutive ranges. The arithmetic is in `ops/random_formulas.py` and
`ops/random_samplers.py`, the derivatives of samples by their parameters in `ops/random_slopes.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.graph.node import Node
from graphc.graph.op import Cotangents, apply
from graphc.graph.types import Array, DType, Shape, Size, TensorType, as_dtype, product, short_name
from graphc.ops.creation import iota
from graphc.ops.elementwise import exp, log, where
from graphc.ops.pointwise import Pointwise, broadcast_to_shape, cast, masked_multiply
from graphc.ops.random_slopes import loggamma_slope, truncated_slopes, vonmises_slope
from graphc.ops.random_table import FORMULAS, with_numpy
from graphc.ops.shape import reshape_to, slice_axis

UINT64 = np.dtype(np.uint64)
_LONG = {kind: np.dtype(kind.replace("i", "int").replace("f", "float")) for kind in ("i64", "f64")}
_numbers = itertools.count()


class _Bits(Pointwise):
    """A pointwise op without derivatives."""

    differentiable = False

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (None,) * len(inputs)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None


@dataclass(frozen=True)
class Draw(_Bits):
    """Where a draw of `count` elements starts, of (position, key): the position, until `graph.draws` moves it.

    `number` orders the draws as the program made them. The key tells `graphc.autodiff.streams` the generator.
    """

    name = "draw"
    number: int
    count: Size

    def sizes(self) -> Iterable[Size]:
        return (self.count,)

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0]

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        return "{0}"


@dataclass(frozen=True)
class Random(_Bits):
    """Random numbers of (key, start, index), all uint64.

    `kind`: "bits" (64 of them), "uniform" (in [0, 1)), "open" (in (0, 1)) or "normal" (standard).
    """

    name = "random"
    kind: str
    dtype: DType

    @property
    def formula(self) -> str:
        """The name of the formula in kernels."""
        return "random_bits" if self.kind == "bits" else f"random_{self.kind}_{short_name(self.dtype)}"

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.dtype, types[-1].shape)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(with_numpy(self.formula, *arrays))

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        return f"{self.formula}({{0}}, {{1}}, {{2}})"


@dataclass(frozen=True)
class ScaledBits(_Bits):
    """Integers in [0, span) from (bits, span), both uint64: the upper half of their product."""

    name = "scaled_bits"

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(with_numpy("multiply_high", *arrays))

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        return "multiply_high({0}, {1})"


@dataclass(frozen=True)
class Sample(Pointwise):
    """Numbers of (key, start, index, *parameters) by a sampler that accepts or rejects; see `ops/random_samplers.py`.

    `kind` names the sampler; `stream` tells several samples of one element apart.
    """

    name = "sample"
    unit_ns = 50.0
    kind: str
    stream: int

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(_LONG[FORMULAS[f"random_{self.kind}"].result], types[-1].shape)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(with_numpy(f"random_{self.kind}", *arrays[:3], np.uint64(self.stream), *arrays[3:]))

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        parameters = "".join(f", {{{i}}}" for i in range(3, len(inputs)))
        return f"random_{self.kind}({{0}}, {{1}}, {{2}}, u64({self.stream}){parameters})"

    def _slopes(self, out: Node, *parameters: Node) -> tuple[Node, ...]:
        """Return the derivative of the sample by each parameter."""
        if self.kind == "gamma":
            x = where(out > 0, out, 1.0)
            return (where(out > 0, x * loggamma_slope(x, log(x), *parameters), 0.0),)
        if self.kind == "loggamma":
            return (loggamma_slope(exp(out), out, *parameters),)
        if self.kind == "truncated":
            return truncated_slopes(out, *parameters)
        assert self.kind == "vonmises", "integers have no derivatives"
        return (vonmises_slope(out, *parameters),)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (None, None, None, *(masked_multiply(g, slope) for slope in self._slopes(out, *inputs[3:])))

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        total: Node | None = None
        for t, slope in zip(tangents[3:], self._slopes(out, *inputs[3:]), strict=True):
            if t is not None:
                term = masked_multiply(t, slope)
                total = term if total is None else total + term
        return total


@dataclass(frozen=True)
class Range:
    """Where a draw of one number for each element of `shape` finds its bits."""

    key: Node
    start: Node
    index: Node

    @property
    def shape(self) -> Shape:
        return self.index.shape

    def part(self, first: int, count: int) -> Range:
        """Return the elements first, ..., first + count - 1 of the last axis."""
        return Range(*(slice_axis(x, x.ndim - 1, first, count) for x in (self.key, self.start, self.index)))

    def numbers(self, kind: str, dtype: DType) -> Node:
        """Return numbers of a `Random` kind."""
        return apply(Random(kind, as_dtype(dtype)), self.key, self.start, self.index)

    def sample(self, kind: str, *parameters: Node, stream: int = 0) -> Node:
        """Return numbers of a `Sample` kind, whose parameters broadcast to the shape; float64 or int64."""
        kinds = FORMULAS[f"random_{kind}"].operands[4:]
        whole = [broadcast_to_shape(cast(x, _LONG[k]), self.shape) for x, k in zip(parameters, kinds, strict=True)]
        return apply(Sample(kind, stream), self.key, self.start, self.index, *whole)


def draw(key: Node, position: Node, shape: Shape) -> Range:
    """Return a new range of a generator's stream: element i, in row-major order, has position start + i."""
    count = product(shape)
    start = apply(Draw(next(_numbers), count), position, key)
    index = reshape_to(iota((count,), 0, UINT64), shape)
    return Range(broadcast_to_shape(key, shape), broadcast_to_shape(start, shape), index)


def scaled_bits(bits: Node, span: Node) -> Node:
    """Return integers in [0, span) from 64 random bits; the bias is at most span / 2**64."""
    return apply(ScaledBits(), bits, broadcast_to_shape(span, bits.shape))
