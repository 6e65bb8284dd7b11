"""Random numbers as pointwise ops of (key, start, index), and `Draw`, which marks where a draw starts.

A generator's stream is an infinite sequence; element i of a draw is a pure function of the generator's key and of
the stream's position `start + i`. While a graph is built, `start` is a `Draw` of the generator's position;
`graphc.draws` gives the draws of one program consecutive ranges. The arithmetic is in `ops/random_formulas.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.node import Node, Shared
from graphc.ops.base import Cotangents, apply
from graphc.ops.creation import iota
from graphc.ops.pointwise import Pointwise, broadcast_to_shape
from graphc.ops.random_formulas import with_numpy
from graphc.types import Array, DType, Size, TensorType, as_dtype, short_name

UINT64 = np.dtype(np.uint64)
_numbers = itertools.count()


@dataclass(frozen=True)
class Draw(Pointwise):
    """The position where a draw of `count` elements starts: the generator's own, until `graphc.draws` moves it.

    `number` orders the draws as the program made them.
    """

    name = "draw"
    differentiable = False
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

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (None,)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None


@dataclass(frozen=True)
class Random(Pointwise):
    """Random numbers of (key, start, index), all uint64.

    `kind`: "bits" (64 of them), "uniform" (in [0, 1)), "open" (in (0, 1)) or "normal" (standard).
    """

    name = "random"
    differentiable = False
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

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (None, None, None)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None


@dataclass(frozen=True)
class ScaledBits(Pointwise):
    """Integers in [0, span) from (bits, span), both uint64: the upper half of their product."""

    name = "scaled_bits"
    differentiable = False

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(with_numpy("multiply_high", *arrays))

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        return "multiply_high({0}, {1})"

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (None, None)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None


def draw(kind: str, dtype: DType, key: Shared, position: Shared, count: Size) -> Node:
    """Return `count` new random numbers of a `Random` kind, as one axis."""
    start = apply(Draw(next(_numbers), count), position)
    shape = (count,)
    operands = [broadcast_to_shape(x, shape) for x in (key, start)]
    return apply(Random(kind, as_dtype(dtype)), *operands, iota(shape, 0, UINT64))


def scaled_bits(bits: Node, span: Node) -> Node:
    """Return integers in [0, span) from 64 random bits; the bias is at most span / 2**64."""
    return apply(ScaledBits(), bits, broadcast_to_shape(span, bits.shape))
