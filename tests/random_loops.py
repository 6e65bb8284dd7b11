"""Random programs of nested loops and branches, smooth and bounded, so that derivatives can be compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gc

SIZE = 3


def _placeholders(size: int | str) -> list[gc.Node]:
    shapes = {"xs": ("t", size), "w": (size, size), "b": (size,)}
    return [gc.placeholder(name, shape=shape) for name, shape in shapes.items()]


INPUTS = [_placeholders(SIZE), _placeholders("n")]
"""Of even seeds, and of odd ones: with the size in the program, and with one that a call decides."""

Expression = Callable[["Generator", list[gc.Node], int], gc.Node]


class Generator:
    """Draws expressions over the values at hand; every value is a vector of `SIZE` numbers."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.xs, self.w, self.b = inputs(seed)

    def pick(self, values: list[gc.Node]) -> gc.Node:
        return values[self.rng.integers(len(values))]

    def vector(self, values: list[gc.Node], depth: int) -> gc.Node:
        """Return an expression; `depth` bounds how loops and branches nest."""
        forms = SIMPLE + (NESTED if depth else ())
        return forms[self.rng.integers(len(forms))](self, values, depth)

    def several(self, values: list[gc.Node], depth: int, count: int) -> list[gc.Node]:
        """Return expressions, each of which may use those before."""
        found: list[gc.Node] = []
        for _ in range(count):
            found.append(self.vector([*values, *found], depth))
        return found


def inputs(seed: int) -> list[gc.Node]:
    """Return the placeholders of a program: rows to loop over, a square matrix, a vector."""
    return INPUTS[seed % 2]


def _pointwise(g: Generator, values: list[gc.Node], depth: int) -> gc.Node:
    x, y = g.pick(values), g.pick(values)
    made: list[gc.Node] = [gc.tanh(x + y), gc.sin(x * y), 0.5 * (x - y), gc.sigmoid(x) * y, gc.tanh(x) * gc.cos(y)]
    return g.pick(made)


def _product(g: Generator, values: list[gc.Node], depth: int) -> gc.Node:
    return gc.tanh(g.pick(values) @ g.w)


def _mixed(g: Generator, values: list[gc.Node], depth: int) -> gc.Node:
    x = g.pick(values)
    joined = gc.concat([x[1:], x[:1]]) if x.shape == (SIZE,) else gc.roll(x, -1)  # sizes of parts do not add up to n
    return g.pick([gc.flip(x) * 0.5, gc.tanh(gc.sum(x)) * x, joined, x.at[1].set(0.3), x - gc.mean(x)])


def _scan(g: Generator, values: list[gc.Node], depth: int) -> gc.Node:
    options: dict[str, Any] = {"reverse": bool(g.rng.integers(2))}
    if g.rng.integers(3) == 0:
        options["checkpoint"] = [1, 2, "sqrt"][g.rng.integers(3)]
    carried = int(g.rng.integers(1, 3))

    def step(carry: list[gc.Node], x: gc.Node) -> tuple[list[gc.Node], gc.Node]:
        found = g.several([*values, *carry, x], depth - 1, carried + 1)
        return [gc.tanh(v) for v in found[:carried]], found[-1]

    last, ys = gc.scan(step, [g.pick(values) for _ in range(carried)], g.xs, **options)
    return gc.tanh(gc.sum(ys, axis=0) + last[0])


def _fori(g: Generator, values: list[gc.Node], depth: int) -> gc.Node:
    steps = int(g.rng.integers(0, 4))
    found: gc.Node = gc.fori_loop(
        0, steps, lambda i, c: gc.tanh(g.vector([*values, c], depth - 1) + 0.1 * i.astype("float64")), g.pick(values)
    )
    return found


def _map(g: Generator, values: list[gc.Node], depth: int) -> gc.Node:
    ys: gc.Node = gc.map(lambda x: g.vector([*values, x], depth - 1), g.xs)
    return gc.tanh(gc.sum(ys, axis=0))


def _branch(g: Generator, values: list[gc.Node], depth: int) -> gc.Node:
    test = gc.sum(g.pick(values)) > float(g.rng.normal() * 0.3)
    found: gc.Node = gc.cond(test, lambda: g.vector(values, depth - 1), lambda: g.vector(values, depth - 1))
    return found


def _until(g: Generator, values: list[gc.Node], depth: int) -> gc.Node:
    last, ys, _ = gc.scan(
        lambda c, x: (gc.tanh(g.vector([*values, c, x], depth - 1)), c * x),
        g.pick(values),
        g.xs,
        until=lambda c: gc.sum(c) > 0.8,
    )
    return gc.add(last, gc.tanh(gc.sum(ys, axis=0)))


SIMPLE: tuple[Expression, ...] = (_pointwise, _pointwise, _product, _mixed)
NESTED: tuple[Expression, ...] = (_scan, _scan, _fori, _map, _branch, _until)


def program(seed: int) -> gc.Node:
    """Return a random scalar program of `inputs(seed)`, with a loop or a branch at its top."""
    g = Generator(seed)
    third = gc.constant(np.array([0.2, -0.4, 0.6])) if seed % 2 == 0 else gc.cos(g.b)
    values = [g.b, gc.tanh(gc.sum(g.xs, axis=0)), third]
    top = NESTED[g.rng.integers(len(NESTED))](g, values, 2)
    return gc.sum(gc.sin(g.vector([*values, top], 1) + top + 0.1 * gc.sum(g.w * g.w)))


def arrays(seed: int, steps: int) -> list[Any]:
    """Return values for `inputs(seed)`."""
    rng = np.random.default_rng(seed)
    return [0.7 * rng.normal(size=s) for s in ((steps, SIZE), (SIZE, SIZE), (SIZE,))]
