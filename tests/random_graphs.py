"""Seeded random programs: many ops, dtypes, broadcasts, views, reductions, gathers, products, gradients.

Values are computed while a program grows, so that it stays tame: a step is taken back when its values are not
finite, grow beyond `LIMIT`, come near a place where the op jumps (a comparison of nearly equal numbers, the floor
of nearly an integer) or near a pole. Two ways of computing the same program then agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

import graphc as gc
from graphc.graph.errors import GraphcError
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.graph.types import Array, Size, is_float, size_value

SIZES = {"n": 3, "m": 5}
LIMIT = 30.0
GAP = 1e-3
JUMPS = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"}
STEPS = {"floor", "ceil", "round", "trunc", "sign", "abs", "relu"}
POLES = {"log": 0, "sqrt": 0, "sqrt_safe": 0, "reciprocal": 0, "divide": 1, "pow": 0}
SHAPES = [(), (3,), (4,), (3, 4), (1, 4), (4, 3), (2, 3, 4), ("n",), ("n", 4), ("m", 1), ("n", "m")]
DTYPES = ["float64", "float64", "float64", "float32", "int64", "bool"]


@dataclass
class Program:
    """A random program: its placeholders with their values, every node's value, and chosen outputs."""

    bindings: dict[Node, Array] = field(default_factory=dict)
    values: dict[Node, Array] = field(default_factory=dict)
    pool: list[Node] = field(default_factory=list)
    outputs: list[Node] = field(default_factory=list)

    def add(self, node: Node) -> bool:
        """Keep a node if it and all that is new below it are tame."""
        fresh: dict[Node, Array] = {}
        for x in topological_order([node]):
            if x in self.values:
                continue
            operands = [self.values[y] if y in self.values else fresh[y] for y in x.inputs]
            if any(size_value(a, SIZES) != size_value(b, SIZES) for a, b, _, _ in x.guards):
                return False
            value = np.asarray(x.op.resolve(SIZES).evaluate(*operands))
            if not _is_tame(x, operands, value):
                return False
            fresh[x] = value
        self.values |= fresh
        self.pool.append(node)
        return True


def _is_tame(node: Node, operands: Sequence[Array], value: Array) -> bool:
    name = node.op.name
    if value.dtype.kind == "f" and not (np.isfinite(value).all() and (np.abs(value) < LIMIT).all()):
        return node.op.name == "constant"
    if value.dtype.kind == "i" and (np.abs(value) > 10**6).any():
        return node.op.name == "constant"
    if not operands or operands[0].dtype.kind != "f":
        return True
    if name in POLES:
        return bool((np.abs(operands[POLES[name]]) > GAP).all())
    if name in JUMPS or name in ("maximum", "minimum"):
        return bool((np.abs(operands[0] - operands[1]) > GAP).all())
    if name in STEPS or (name == "astype" and value.dtype.kind != "f"):
        return bool((np.abs(operands[0] * 2 - np.rint(operands[0] * 2)) > GAP).all())
    if name in ("remainder", "floor_divide"):
        ratio = operands[0] / np.where(operands[1] == 0, np.nan, operands[1])
        return bool((np.abs(ratio - np.rint(ratio)) > GAP).all())
    if name in ("argmax", "argmin", "max", "min"):
        return _distinct(operands[0])
    return True


def _distinct(values: Array) -> bool:
    ordered = np.sort(values.ravel())
    return bool((np.diff(ordered) > GAP).all())


# -- steps: each takes the generator and the program, and returns a node, or None where operands are missing

Step = Callable[[np.random.Generator, Program], Node | None]


def _pick(rng: np.random.Generator, program: Program, kinds: str = "f", least: int = 0) -> Node | None:
    found = [x for x in program.pool if x.dtype.kind in kinds and x.ndim >= least]
    # later nodes are likelier, so that programs grow deep
    return found[int(len(found) * rng.random() ** 0.6)] if found else None


def _unary(fn: Callable[[Node], Node], kinds: str = "f", least: int = 0) -> Step:
    def step(rng: np.random.Generator, program: Program) -> Node | None:
        x = _pick(rng, program, kinds, least)
        return None if x is None else fn(x)

    return step


def _binary(fn: Callable[[Node, Node], Node], kinds: str = "f") -> Step:
    def step(rng: np.random.Generator, program: Program) -> Node | None:
        x, y = _pick(rng, program, kinds), _pick(rng, program, kinds)
        return None if x is None or y is None else fn(x, y)

    return step


def _axis(rng: np.random.Generator, x: Node) -> int:
    return int(rng.integers(x.ndim))


def _along_axis(fn: Callable[[Node, int], Node], kinds: str = "f") -> Step:
    def step(rng: np.random.Generator, program: Program) -> Node | None:
        x = _pick(rng, program, kinds, 1)
        return None if x is None else fn(x, _axis(rng, x))

    return step


def _where(rng: np.random.Generator, program: Program) -> Node | None:
    c, x, y = _pick(rng, program, "b"), _pick(rng, program), _pick(rng, program)
    return None if c is None or x is None or y is None else gc.where(c, x, y)


def _permute(rng: np.random.Generator, program: Program) -> Node | None:
    x = _pick(rng, program, "fib", 2)
    return None if x is None else gc.permute_dims(x, tuple(int(a) for a in rng.permutation(x.ndim)))


def _slice(rng: np.random.Generator, program: Program) -> Node | None:
    x = _pick(rng, program, "fib", 1)
    if x is None:
        return None
    step = int(rng.choice([1, 1, 2, -1]))
    return x[(slice(None),) * _axis(rng, x) + (slice(None, None, step),)] if step != 1 else x[1:]


def _with_constant(rng: np.random.Generator, program: Program) -> Node | None:
    x = _pick(rng, program, "fi")
    if x is None:
        return None
    if is_float(x.dtype):
        value = float(rng.choice([0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -3.0, 0.7]))
        fn = [gc.add, gc.subtract, gc.multiply, gc.divide][int(rng.integers(4))]
    else:
        value = int(rng.choice([0, 1, -1, 2, -3]))
        fn = [gc.add, gc.subtract, gc.multiply][int(rng.integers(3))]
    return fn(x, value) if rng.random() < 0.6 else fn(value, x)


def _constant_array(rng: np.random.Generator, program: Program) -> Node | None:
    shape = [(), (4,), (3, 1), (3, 4)][int(rng.integers(4))]
    return gc.constant(rng.uniform(-2, 2, shape) if rng.random() < 0.7 else np.full(shape, 0.5))


def _gather(rng: np.random.Generator, program: Program) -> Node | None:
    x = _pick(rng, program, "fi", 1)
    if x is None:
        return None
    axis = _axis(rng, x)
    indices = _indices(rng, program, x.shape[axis])
    return None if indices is None else gc.take(x, indices, axis=axis)


def _indices(rng: np.random.Generator, program: Program, size: Size) -> Node | None:
    """Integers within an axis: computed ones, or constants."""
    found = _pick(rng, program, "i")
    if not isinstance(size, int) or size == 0:
        return None
    if found is None or found.ndim > 1:
        return gc.constant(rng.integers(-size, size, int(rng.integers(1, 4))))
    return found % size


def _scatter(rng: np.random.Generator, program: Program) -> Node | None:
    x = _pick(rng, program, "f", 1)
    indices = None if x is None else _indices(rng, program, x.shape[0])
    return None if x is None or indices is None else x.at[indices].add(0.5)


def _project(rng: np.random.Generator, program: Program) -> Node | None:
    x = _pick(rng, program, "f", 1)
    if x is None or not isinstance(x.shape[-1], int):
        return None
    return x @ gc.constant(rng.uniform(-1, 1, (x.shape[-1], 3)))


def _gradient(rng: np.random.Generator, program: Program) -> Node | None:
    y = _pick(rng, program)
    inputs = [x for x in program.bindings if is_float(x.dtype)]
    x = inputs[int(rng.integers(len(inputs)))] if inputs else None
    if y is None or x is None or y.dtype != x.dtype:
        return None
    out: Node = gc.grad(gc.sum(y * y if rng.random() < 0.3 else y), x, disconnected="zero")
    return out


def _double(x: Node) -> Node:
    return gc.concat([x, x], axis=0)


STEPS_TAKEN: list[Step] = [
    *[_unary(f) for f in (gc.tanh, gc.exp, gc.sin, gc.cos, gc.negative, gc.abs, gc.square, gc.sigmoid, gc.softplus)],
    *[_unary(f) for f in (gc.floor, gc.sign, gc.reciprocal, gc.expm1, gc.nn.relu, gc.atan, gc.stop_gradient, gc.sqrt)],
    *[_binary(f) for f in (gc.add, gc.add, gc.subtract, gc.multiply, gc.multiply, gc.divide, gc.maximum, gc.hypot)],
    *[_binary(f, "i") for f in (gc.add, gc.subtract, gc.multiply, gc.minimum, gc.floor_divide, gc.remainder)],
    *[_binary(f, "fi") for f in (gc.less, gc.greater_equal, gc.not_equal)],
    *[_binary(f, "b") for f in (gc.logical_and, gc.logical_or, gc.bitwise_xor)],
    *[_along_axis(f) for f in (gc.softmax, gc.log_softmax, gc.logsumexp)],
    *[_along_axis(f, "fi") for f in (gc.sum, gc.max, gc.min)],
    *[_along_axis(f) for f in (gc.mean, gc.var, lambda x, a: gc.sum(x, a, keepdims=True))],
    _along_axis(lambda x, a: gc.cumulative_sum(x, axis=a)),
    _along_axis(lambda x, a: gc.flip(x, axis=a), "fib"),
    _along_axis(lambda x, a: gc.roll(x, 1, axis=a), "fi"),
    _along_axis(lambda x, a: gc.expand_dims(x, axis=a), "fib"),
    _along_axis(lambda x, a: gc.argmax(x, a)),
    _unary(gc.sum),
    _unary(gc.logical_not, "b"),
    _unary(lambda x: x.reshape(-1), "fib"),
    _unary(lambda x: x.astype("float64"), "fib"),
    _unary(lambda x: x.astype("float32")),
    _unary(lambda x: x.astype("int64"), "fb"),
    _unary(_double, "fi", 1),
    _unary(lambda x: gc.clip(x, -1, 1.5)),
    _binary(gc.matmul),
    _binary(lambda x, y: x @ y.mT),
    _where,
    _where,
    _permute,
    _slice,
    _slice,
    _with_constant,
    _with_constant,
    _with_constant,
    _constant_array,
    _gather,
    _gather,
    _scatter,
    _project,
    *[_gradient] * 4,
    # what the rules are for
    _unary(lambda x: gc.log(1 + gc.exp(x))),
    _unary(lambda x: gc.exp(x) - 1),
    _unary(lambda x: 1 / (1 + gc.exp(-x))),
    _unary(lambda x: gc.log(gc.sigmoid(x))),
    _unary(lambda x: 1 - gc.sigmoid(x)),
    _unary(lambda x: gc.sqrt(x * x)),
    _unary(lambda x: gc.negative(-x), "fi"),
    _unary(lambda x: x - x, "i"),
    _unary(lambda x: x**2, "fi"),
    _binary(lambda x, y: x + -y, "fi"),
    _binary(lambda x, y: gc.log(gc.exp(x) + gc.exp(y))),
    _binary(lambda x, y: x * (1 / y)),
    _binary(lambda x, y: gc.sqrt(x**2 + y**2)),
    _along_axis(lambda x, a: gc.log(gc.sum(gc.exp(x), a))),
    _along_axis(lambda x, a: gc.exp(x) / gc.sum(gc.exp(x), a, keepdims=True)),
    _along_axis(lambda x, a: x - gc.logsumexp(x, a, keepdims=True)),
    _along_axis(lambda x, a: gc.exp(x - gc.max(x, a, keepdims=True))),
]


def random_program(seed: int, steps: int = 30) -> Program:
    """Return the program of a seed; placeholders are called `p<seed>_0`, `p<seed>_1`, ..."""
    rng = np.random.default_rng(seed)
    program = Program()
    for i in range(int(rng.integers(3, 6))):
        _declare(rng, program, f"p{seed}_{i}")
    for _ in range(steps):
        step = STEPS_TAKEN[int(rng.integers(len(STEPS_TAKEN)))]
        try:
            node = step(rng, program)
            if node is not None and node not in program.values:
                program.add(node)
        except GraphcError:  # shapes that do not fit, an empty axis, no gradient: another step
            continue
    computed = [x for x in program.pool if x not in program.bindings]
    program.outputs = computed[-1:] + [x for x in computed[:-1] if rng.random() < 0.3] or program.pool[:1]
    return program


def _declare(rng: np.random.Generator, program: Program, name: str) -> None:
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    dtype = np.dtype(DTYPES[int(rng.integers(len(DTYPES)))])
    node = gc.placeholder(name, shape, dtype)
    sizes = tuple(SIZES[s] if isinstance(s, str) else s for s in shape)
    if dtype.kind == "f":
        value = rng.uniform(-2, 2, sizes).astype(dtype)
    elif dtype.kind == "i":
        value = rng.integers(-4, 5, sizes)
    else:
        value = rng.random(sizes) < 0.5
    program.bindings[node] = program.values[node] = np.asarray(value, dtype)
    program.pool.append(node)
