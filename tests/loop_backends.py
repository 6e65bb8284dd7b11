"""What a program of loops is written over, so that one text runs as a graph and as plain Python loops with NumPy.

`Plain` shares nothing with the compiled program: no graph, no pass, no interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.types import Array

Body = Callable[..., Any]


class Traced:
    """A program as a graph."""

    xp: Any = gc

    def at(self, x: Any, key: Any, mode: str, value: Any) -> Any:
        return getattr(x.at[key], mode)(value)

    def scan(self, body: Body, init: list[Any], xs: list[Any], length: Any = None, **options: Any) -> Any:
        return gc.scan(body, init, xs or None, length, **options)[:2]

    def fori(self, lower: int, upper: int, body: Body, init: list[Any]) -> list[Any]:
        found: list[Any] = gc.fori_loop(lower, upper, body, init)
        return found

    def loop(self, test: Body, body: Body, init: list[Any], max_steps: int | None) -> list[Any]:
        found: list[Any] = gc.while_loop(test, body, init, max_steps=max_steps)
        return found

    def map(self, body: Body, xs: Any) -> Any:
        return gc.map(body, xs)

    def cond(self, test: Any, yes: Body, no: Body) -> Any:
        return gc.cond(test, yes, no)

    def switch(self, index: Any, branches: list[Body]) -> Any:
        return gc.switch(index, branches)


class _Numpy:
    """NumPy, with graphc's names for what it lacks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def sigmoid(self, x: Array) -> Any:
        return 0.5 * (1 + np.tanh(0.5 * x))

    def softmax(self, x: Array, axis: int = -1) -> Any:
        e = np.exp(x - np.max(x, axis=axis, keepdims=True))
        return e / np.sum(e, axis=axis, keepdims=True)


class Plain:
    """A program as it would be written with NumPy."""

    xp: Any = _Numpy()

    def at(self, x: Any, key: Any, mode: str, value: Any) -> Any:
        y = np.array(x)
        if mode == "set":
            y[key] = value
        else:
            np.add.at(y, key, value)
        return y

    def scan(self, body: Body, init: list[Any], xs: list[Any], length: Any = None, **options: Any) -> Any:
        count = len(xs[0]) if xs else length
        order = range(count)[::-1] if options.get("reverse") else range(count)
        carry, rows, until = init, {}, options.get("until")
        for t in order:
            carry, ys = body(carry, [x[t] for x in xs] if xs else None)
            rows[t] = ys
            if until is not None and until(carry):
                break
        if rows:
            zeros = [np.zeros_like(y) for y in next(iter(rows.values()))]
            return carry, [np.stack([rows.get(t, zeros)[k] for t in range(count)]) for k in range(len(zeros))]
        shapes = [np.shape(y) for y in body(init, [np.zeros(x.shape[1:], x.dtype) for x in xs] if xs else None)[1]]
        return carry, [np.zeros((count, *shape)) for shape in shapes]

    def fori(self, lower: int, upper: int, body: Body, init: list[Any]) -> list[Any]:
        for i in range(lower, upper):
            init = body(np.int64(i), init)
        return init

    def loop(self, test: Body, body: Body, init: list[Any], max_steps: int | None) -> list[Any]:
        while test(init):
            init = body(init)
        return init

    def map(self, body: Body, xs: Any) -> Any:
        return self.scan(lambda c, x: (c, [body(x[0])]), [], [xs])[1][0]

    def cond(self, test: Any, yes: Body, no: Body) -> Any:
        return yes() if test else no()

    def switch(self, index: Any, branches: list[Body]) -> Any:
        return branches[min(max(int(index), 0), len(branches) - 1)]()


Backend = Traced | Plain
