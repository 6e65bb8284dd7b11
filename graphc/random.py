"""`gc.random`: random numbers as nodes, from generators whose state advances by itself.

A `Generator` is a key and a position in that key's stream of Philox4x32-10 blocks. A draw of n elements takes n
positions; element i depends only on the key and its position, so the same bits come out in every mode, on every
machine, and however a stream is cut into calls. A compiled function takes consecutive ranges for its draws, in the
order in which the program made them, and moves the position past them with its updates; `node.eval` computes the
same numbers and moves nothing.

Bits, integers, uniforms and normals are equal bit for bit everywhere; distributions that need a logarithm, an
exponential or a tangent are as equal as those functions of the chosen `precision` are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.node import Node
from graphc.ops.base import shared
from graphc.ops.elementwise_arithmetic import where
from graphc.ops.elementwise_float import exp, log, log1p, tan
from graphc.ops.pointwise import as_node, broadcast_shapes, broadcast_to_shape, cast, is_weak
from graphc.ops.random import UINT64, draw, scaled_bits
from graphc.ops.random_formulas import LOW, philox4x32
from graphc.ops.reduction import argmax
from graphc.ops.shape import reshape_to
from graphc.types import DType, Shape, TensorType, as_dtype, make_shape, product

__all__ = ["Generator", "GeneratorState"]

INT64 = np.dtype(np.int64)
SPLIT = 1
"""The last counter word of blocks that become keys; those of draws have 0."""


@dataclass(frozen=True)
class GeneratorState:
    """A generator's key, its position, and how many generators it has split off."""

    key: int
    position: int
    splits: int


class Generator:
    """A stream of random numbers; each method returns a node of new draws.

    Parameters are numbers or float nodes, and derivatives flow through them, not through the random bits. `shape`
    is the result's, by default that to which the parameters broadcast. `dtype` is float64 or float32, by default
    that of the parameters that are nodes.

    A draw inside the body of a loop is refused: draw an array before it and pass it as `xs`. So is a draw inside a
    branch. `node.eval` of two draws, one at a time, starts both at the same position; use
    `gc.evaluate` for both. Functions in several threads may share a generator: each call takes its numbers and moves
    the position as one step.

    >>> import graphc as gc
    >>> rng = gc.random.Generator(7)
    >>> f = gc.function([], rng.randint((4,), 0, 100))
    >>> first, second = f(), f()
    >>> rng.set_state(gc.random.GeneratorState(key=7, position=4, splits=0))
    >>> bool((f() == second).all())
    True
    """

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
            raise ArgumentError(f"Generator: seed must be an int from 0 to 2**64 - 1, got {seed!r}{at()}")
        self.key = shared(np.array(int(seed), UINT64), name="key")
        self.position = shared(np.array(0, UINT64), name="position")
        self._splits = 0

    # -- state

    def get_state(self) -> GeneratorState:
        """Return the state, from which `set_state` continues."""
        return GeneratorState(int(self.key.get_value()), int(self.position.get_value()), self._splits)

    def set_state(self, state: GeneratorState) -> None:
        """Continue from a state that `get_state` returned, of this generator or another."""
        if not isinstance(state, GeneratorState):
            raise ArgumentError(f"set_state: a GeneratorState is needed, got {state!r}{at()}")
        self.key.set_value(np.array(state.key, UINT64))
        self.position.set_value(np.array(state.position, UINT64))
        self._splits = state.splits

    def split(self) -> Generator:
        """Return a new generator, whose key is a block of this one's key that no draw uses.

        Every call gives another; this generator's own draws stay as they are.
        """
        key = int(self.key.get_value())
        counter = self._splits & LOW, self._splits >> 32, 0, SPLIT
        low, high = philox4x32(counter, (key & LOW, key >> 32))[:2]
        self._splits += 1
        return Generator((low & LOW) | (high & LOW) << 32)

    # -- distributions

    def bits(self, shape: Any = ()) -> Node:
        """Return uint64 of 64 random bits each.

        >>> hex(int(Generator(0).bits().eval()))
        '0xe169c58d6627e8d5'
        """
        found = make_shape(shape)
        return reshape_to(draw("bits", UINT64, self.key, self.position, product(found)), found)

    def uniform(self, shape: Any = None, low: Any = 0.0, high: Any = 1.0, *, dtype: Any = None) -> Node:
        """Return numbers of [low, high), multiples of 2**-53 (2**-24 in float32) of the interval."""
        if is_weak(low) and is_weak(high):
            _require("uniform", "low < high", low < high, (low, high))
            span = high - low
        else:
            span = as_node(high) - low
        if is_weak(low) and is_weak(span) and (low, span) == (0, 1):
            return self._sample("uniform", "uniform", shape, dtype, lambda u: u)
        return self._sample("uniform", "uniform", shape, dtype, lambda u, a, s: a + u * s, low=low, span=span)

    def normal(self, shape: Any = None, mean: Any = 0.0, std: Any = 1.0, *, dtype: Any = None) -> Node:
        """Return normal numbers."""
        _positive("normal", std=std)
        if is_weak(mean) and is_weak(std) and (mean, std) == (0, 1):
            return self._sample("normal", "normal", shape, dtype, lambda z: z)
        return self._sample("normal", "normal", shape, dtype, lambda z, m, s: m + z * s, mean=mean, std=std)

    def lognormal(self, shape: Any = None, mean: Any = 0.0, std: Any = 1.0, *, dtype: Any = None) -> Node:
        """Return the exponential of normal numbers of that mean and standard deviation."""
        _positive("lognormal", std=std)
        return self._sample("lognormal", "normal", shape, dtype, lambda z, m, s: exp(m + z * s), mean=mean, std=std)

    def exponential(self, shape: Any = None, scale: Any = 1.0, *, dtype: Any = None) -> Node:
        """Return exponentially distributed numbers of mean `scale`."""
        _positive("exponential", scale=scale)
        return self._sample("exponential", "open", shape, dtype, lambda u, s: -log(u) * s, scale=scale)

    def gumbel(self, shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, *, dtype: Any = None) -> Node:
        """Return Gumbel numbers: loc - scale log(e) for standard exponential e."""
        return self._located("gumbel", shape, loc, scale, dtype, lambda u: -log(-log(u)))

    def logistic(self, shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, *, dtype: Any = None) -> Node:
        """Return logistic numbers."""
        return self._located("logistic", shape, loc, scale, dtype, lambda u: log(u) - log1p(-u))

    def laplace(self, shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, *, dtype: Any = None) -> Node:
        """Return Laplace (double exponential) numbers."""
        return self._located("laplace", shape, loc, scale, dtype, _laplace)

    def cauchy(self, shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, *, dtype: Any = None) -> Node:
        """Return Cauchy numbers."""
        return self._located("cauchy", shape, loc, scale, dtype, lambda u: tan((u - 0.5) * math.pi))

    def weibull(self, shape: Any = None, a: Any = 1.0, scale: Any = 1.0, *, dtype: Any = None) -> Node:
        """Return Weibull numbers of shape parameter `a`: scale e**(1/a) for standard exponential e."""
        _positive("weibull", a=a, scale=scale)
        quantile = lambda u, a, s: s * exp(log(-log(u)) / a)  # noqa: E731
        return self._sample("weibull", "open", shape, dtype, quantile, a=a, scale=scale)

    def pareto(self, shape: Any = None, a: Any = 1.0, scale: Any = 1.0, *, dtype: Any = None) -> Node:
        """Return Pareto numbers on [scale, inf), with P(X > x) = (scale / x)**a."""
        _positive("pareto", a=a, scale=scale)
        return self._sample("pareto", "open", shape, dtype, lambda u, a, s: s * exp(-log(u) / a), a=a, scale=scale)

    def bernoulli(self, shape: Any = None, p: Any = 0.5) -> Node:
        """Return booleans that are True with probability `p`, to 2**-53."""
        if is_weak(p):
            _require("bernoulli", "0 <= p <= 1", 0 <= p <= 1, p)
        return self._sample("bernoulli", "uniform", shape, "float64", lambda u, p: u < p, p=p)

    def randint(self, shape: Any, low: Any, high: Any) -> Node:
        """Return int64 of low, ..., high - 1; the bounds are ints or integer nodes, and low < high.

        The probabilities are equal to within 2**-64.
        """
        if isinstance(low, int) and isinstance(high, int):
            _require("randint", "low < high", low < high, (low, high))
        bounds = [_integer("randint", "low", low), _integer("randint", "high", high)]
        found = _result_shape("randint", shape, bounds)
        bits = reshape_to(draw("bits", UINT64, self.key, self.position, product(found)), found)
        first, last = (broadcast_to_shape(b, found) for b in bounds)
        return cast(scaled_bits(bits, cast(last, UINT64) - cast(first, UINT64)), INT64) + first

    def categorical(self, logits: Any, shape: Any = None) -> Node:
        """Return int64 positions along the last axis of `logits`, with probabilities softmax(logits).

        `shape` is the result's, to which the other axes of `logits` broadcast. Computed as the position of the
        largest of logits + Gumbel numbers.
        """
        node = as_node(logits)
        if node.ndim == 0:
            raise ShapeError(f"categorical: logits need a last axis, got {node.type}{at()}")
        _real("categorical", "logits", node)
        full = None if shape is None else (*make_shape(shape), node.shape[-1])
        return argmax(self.gumbel(full, loc=node, dtype=node.dtype), axis=-1)

    # -- how they are made

    def _located(
        self, name: str, shape: Any, loc: Any, scale: Any, dtype: Any, quantile: Callable[[Node], Node]
    ) -> Node:
        """Draw loc + scale * quantile(u) for u inside (0, 1)."""
        _positive(name, scale=scale)
        return self._sample(name, "open", shape, dtype, lambda u, m, s: m + quantile(u) * s, loc=loc, scale=scale)

    def _sample(
        self, name: str, kind: str, shape: Any, dtype: Any, transform: Callable[..., Node], **parameters: Any
    ) -> Node:
        """Draw standard numbers and transform them; as one axis, and so in one kernel, where parameters are 0-d."""
        given = {what: value if is_weak(value) else as_node(value) for what, value in parameters.items()}
        found = _float_dtype(name, dtype, given)
        nodes = [cast(as_node(value, found), found) for value in given.values()]
        full = _result_shape(name, shape, nodes)
        standard = draw(kind, found, self.key, self.position, product(full))
        if all(x.ndim == 0 for x in nodes):
            return reshape_to(transform(standard, *nodes), full)
        return transform(reshape_to(standard, full), *nodes)


def _laplace(u: Node) -> Node:
    lower = log(u * 2.0)
    return where(u < 0.5, lower, -log((1.0 - u) * 2.0))


def _result_shape(name: str, shape: Any, parameters: list[Node]) -> Shape:
    """Return the shape asked for, to which the parameters must broadcast, or else their common shape."""
    types = [x.type for x in parameters]
    if shape is None:
        return broadcast_shapes(name, *types) if types else ()
    found = make_shape(shape)
    common = broadcast_shapes(name, *types, TensorType(INT64, found))
    if common != found:
        raise ShapeError(f"{name}: parameters {', '.join(map(str, types))} do not broadcast to shape {found}{at()}")
    return found


def _float_dtype(name: str, dtype: Any, parameters: dict[str, Any]) -> DType:
    nodes = {what: value for what, value in parameters.items() if isinstance(value, Node)}
    for what, node in nodes.items():
        _real(name, what, node)
    if dtype is None:
        return as_dtype(np.result_type(*(x.dtype for x in nodes.values()))) if nodes else as_dtype("float64")
    found = as_dtype(dtype)
    if found.kind != "f":
        raise DTypeError(f"{name}: dtype must be float64 or float32, got {found}{at()}")
    return found


def _real(name: str, what: str, node: Node) -> None:
    if node.dtype.kind != "f":
        raise DTypeError(f"{name}: {what} must be of a float dtype, got {node.type} (convert with .astype){at()}")


def _integer(name: str, what: str, value: Any) -> Node:
    node = as_node(value)
    if node.dtype.kind not in "iu" or node.dtype == UINT64:
        raise DTypeError(f"{name}: {what} must be an integer that fits int64, got {node.type}{at()}")
    return cast(node, INT64)


def _positive(name: str, **parameters: Any) -> None:
    """Refuse numbers that are not positive; nodes are the caller's own care."""
    for what, value in parameters.items():
        if is_weak(value):
            _require(name, f"{what} > 0", value > 0, value)


def _require(name: str, condition: str, holds: bool, value: Any) -> None:
    if not holds:
        raise ArgumentError(f"{name}: {condition} is needed, got {value!r}{at()}")
