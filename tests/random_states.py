"""Random programs of states that are updated from each other, each value with NumPy's own formula beside it.

All new values are computed from all old ones. A value is a node, and a function from the old states and the inputs to
what NumPy makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import graphc as gc
from graphc.graph.node import Shared

N, M = 5, 3
Array = npt.NDArray[Any]
Formula = Callable[[dict[str, Array]], Any]


@dataclass(frozen=True)
class Value:
    """A node of a program and what NumPy makes of the same."""

    node: gc.Node
    formula: Formula


def named(node: gc.Node) -> Value:
    """Return an input or a state as a value: the environment has it under its name."""
    name = str(node.name)
    return Value(node, lambda env: env[name])


def unary(fn: Callable[[Any], Any], x: Value) -> Value:
    """Apply what works on nodes and arrays alike."""
    return Value(fn(x.node), lambda env: fn(x.formula(env)))


def binary(fn: Callable[[Any, Any], Any], x: Value, y: Value) -> Value:
    """Apply what works on two nodes and on two arrays alike."""
    return Value(fn(x.node, y.node), lambda env: fn(x.formula(env), y.formula(env)))


def both(symbolic: Callable[..., gc.Node], numeric: Callable[..., Any], *xs: Value) -> Value:
    """Apply a function of graphc, and its counterpart of NumPy."""
    return Value(symbolic(*(x.node for x in xs)), lambda env: numeric(*(x.formula(env) for x in xs)))


def scattered(mode: str, x: Value, key: Any, update: Value) -> Value:
    """Set or add at a slice, or at places that are a value."""

    def numeric(env: dict[str, Array]) -> Array:
        out = np.array(x.formula(env))
        place = key.formula(env) if isinstance(key, Value) else key
        if mode == "add":
            np.add.at(out, place, update.formula(env))
        else:
            out[place] = update.formula(env)
        return out

    at = x.node.at[key.node if isinstance(key, Value) else key]
    return Value(at.add(update.node) if mode == "add" else at.set(update.node), numeric)


class Program:
    """One random program: its states with their first values, their updates and its outputs."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.pools: dict[str, list[Value]] = {k: [] for k in ("vector", "matrix", "scalar", "count", "index", "rows")}
        self.states: dict[str, tuple[str, Shared]] = {}
        self.first: dict[str, Array] = {}
        self.inputs = [
            gc.placeholder("x", shape=(N,)),
            gc.placeholder("i", shape=("b",), dtype="int64"),
            gc.placeholder("a", shape=(N, N)),
        ]
        x, i, a = map(named, self.inputs)
        self.pools["vector"].append(x)
        self.pools["index"].append(i)
        self.pools["rows"].append(binary(lambda v, i: v[i][:, None] * np.arange(1.0, 1.0 + M), x, i))
        self.a = a
        self.pools["scalar"].append(unary(lambda v: v[0], x))
        self.pools["matrix"].append(unary(lambda a: a[:, :M], a))
        self.pools["count"].append(unary(lambda i: i[0], i))
        kinds = ["vector", "matrix", "scalar", "count"]
        for number in range(rng.integers(2, 5)):
            self._state(f"s{number}", kinds[rng.choice(4, p=[0.35, 0.3, 0.15, 0.2])])
        self.generator = gc.random.Generator(seed) if rng.random() < 0.25 else None
        if self.generator is not None:
            drawn = Value(self.generator.uniform((N,)), lambda env: env["drawn"])
            self.pools["vector"].append(drawn)
            self.drawn = drawn
        for _ in range(rng.integers(2, 7)):
            kind = self.one_of("vector", "vector", "matrix", "scalar", "rows", "index")
            self.pools[kind].append(self.value(kind))
        self.updates = {name: self._update(name, kind) for name, (kind, _) in self.states.items()}
        every = [v for values in self.pools.values() for v in values] + list(self.updates.values())
        self.outputs = [every[k] for k in rng.integers(len(every), size=rng.integers(4))]

    def one_of(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def pick(self, kind: str) -> Value:
        """Return a value of a kind at hand, or a new one where there is none."""
        pool = self.pools[kind]
        return pool[self.rng.integers(len(pool))] if pool else self.value(kind)

    def _state(self, name: str, kind: str) -> None:
        rng = self.rng
        made: dict[str, Any] = {
            "vector": rng.normal(size=N),
            "matrix": rng.normal(size=(N, M)),
            "scalar": rng.uniform(0.1, 0.9),
            "count": rng.integers(N),
        }
        self.first[name] = np.asarray(made[kind])
        node = gc.shared(self.first[name], name=name)
        self.states[name] = kind, node
        self.pools[kind].append(named(node))

    def value(self, kind: str) -> Value:
        """Return a new value of a kind, made of those at hand."""
        return self.made(getattr(self, f"_{kind}")())

    def made(self, forms: list[Callable[[], Value]]) -> Value:
        """Make one of several values."""
        return forms[self.rng.integers(len(forms))]()

    def _vector(self) -> list[Callable[[], Value]]:
        pick, rng = self.pick, self.rng
        fixed = rng.normal(size=(N, N)) / 4
        return [
            lambda: binary(lambda v, s: v * s, pick("vector"), pick("scalar")),
            lambda: binary(lambda v, w: v + 0.5 * w, pick("vector"), pick("vector")),
            lambda: both(gc.tanh, np.tanh, pick("vector")),
            lambda: both(lambda v: gc.roll(v, 1), lambda v: np.roll(v, 1), pick("vector")),
            lambda: unary(lambda v: v[::-1], pick("vector")),
            lambda: unary(lambda v: fixed @ v, pick("vector")),
            lambda: unary(lambda m: m[:, 1], pick("matrix")),
            lambda: both(lambda m: gc.sum(m, axis=1), lambda m: m.sum(1), pick("matrix")),
            lambda: both(lambda v, w: gc.where(v > 0, v, w), lambda v, w: np.where(v > 0, v, w), *self._two("vector")),
            lambda: both(gc.linalg.solve, np.linalg.solve, self.a, pick("vector")),
            lambda: scattered("add", pick("vector"), self.one_of(slice(1, 3), slice(3)), self._cell()),
            lambda: scattered("set", pick("vector"), slice(2, 4), self._cell()),
            lambda: scattered("add", pick("vector"), pick("index"), self._cell()),
            lambda: scattered(self.one_of("add", "set"), pick("vector"), pick("count"), self._cell()),
        ]

    def _two(self, kind: str) -> tuple[Value, Value]:
        return self.pick(kind), self.pick(kind)

    def _cell(self) -> Value:
        """Return one number that is read from somewhere."""
        forms: list[Callable[[], Value]] = [
            lambda: self.pick("scalar"),
            lambda: binary(lambda v, c: v[c], self.pick("vector"), self.pick("count")),
            lambda: both(gc.sum, np.sum, self.pick("vector")),
        ]
        return self.made(forms)

    def _matrix(self) -> list[Callable[[], Value]]:
        pick, rng = self.pick, self.rng
        fixed = rng.normal(size=(M, M)) / 3
        return [
            lambda: binary(lambda m, s: m * s, pick("matrix"), pick("scalar")),
            lambda: binary(lambda m, w: m - 0.1 * w, pick("matrix"), pick("matrix")),
            lambda: unary(lambda m: m @ fixed, pick("matrix")),
            lambda: binary(lambda m, v: m - 0.1 * (v[:, None] @ v[None, :M]), pick("matrix"), pick("vector")),
            lambda: both(lambda m: gc.roll(m, 1, axis=0), lambda m: np.roll(m, 1, axis=0), pick("matrix")),
            lambda: scattered("add", pick("matrix"), pick("index"), pick("rows")),
            lambda: scattered(self.one_of("add", "set"), pick("matrix"), pick("count"), self._row()),
            lambda: scattered("set", pick("matrix"), (slice(None), 0), pick("vector")),
        ]

    def _row(self) -> Value:
        forms: list[Callable[[], Value]] = [
            lambda: unary(lambda v: v[1 : 1 + M], self.pick("vector")),
            lambda: binary(lambda m, c: m[c] * 0.5, self.pick("matrix"), self.pick("count")),
        ]
        return self.made(forms)

    def _scalar(self) -> list[Callable[[], Value]]:
        pick = self.pick
        return [
            lambda: unary(lambda s: s * 0.9 + 0.05, pick("scalar")),
            lambda: both(lambda v: gc.tanh(gc.sum(v)), lambda v: np.tanh(np.sum(v)), pick("vector")),
            lambda: binary(lambda v, c: v[c], pick("vector"), pick("count")),
            lambda: both(lambda m: gc.tanh(gc.max(m)), lambda m: np.tanh(np.max(m)), pick("matrix")),
        ]

    def _count(self) -> list[Callable[[], Value]]:
        pick = self.pick
        return [
            lambda: unary(lambda c: (c + 1) % N, pick("count")),
            lambda: unary(lambda c: (c + 3) % N, pick("count")),
            lambda: unary(lambda c: c + 1, pick("count")),
            lambda: both(lambda v: gc.argmax(v), lambda v: np.argmax(v), pick("vector")),
        ]

    def _index(self) -> list[Callable[[], Value]]:
        pick = self.pick
        return [lambda: binary(lambda i, c: (i + c) % N, pick("index"), pick("count"))]

    def _rows(self) -> list[Callable[[], Value]]:
        pick = self.pick
        index = self.pools["index"][0]  # rows have the length of the input
        return [
            lambda: binary(lambda m, i: m[i], pick("matrix"), index),
            lambda: binary(lambda r, s: -0.1 * s * r, pick("rows"), pick("scalar")),
            lambda: binary(lambda v, i: v[i][:, None] * np.arange(1.0, 1.0 + M), pick("vector"), index),
        ]

    def _update(self, name: str, kind: str) -> Value:
        """Return the next value of a state: mostly a change of its own."""
        own = named(self.states[name][1])
        if kind not in ("vector", "matrix") or self.rng.random() < 0.4:
            return self.value(kind)
        update = self.pick("rows") if kind == "matrix" else self._cell()
        first = scattered("add", own, self.pools["index"][0], update)
        cell = self._row() if kind == "matrix" else self._cell()
        counted = scattered(self.one_of("add", "set"), own, self.pick("count"), cell)
        forms: list[Callable[[], Value]] = [
            lambda: first,
            lambda: counted,
            lambda: scattered("add", first, self.pick("count"), cell),
            lambda: unary(lambda v: v * 0.5, counted),
        ]
        return self.made(forms)

    def arguments(self, *, good: bool) -> dict[str, Array]:
        """Return arguments of a call; bad ones have an index out of range or a singular matrix."""
        rng = self.rng
        i = rng.integers(-N, N, size=rng.integers(1, 4))
        a = np.eye(N) + rng.normal(size=(N, N)) / 10
        if not good and rng.integers(2):
            i[rng.integers(len(i))] = N + 1
        elif not good:
            a[:] = 0.0
        return {"x": rng.normal(size=N), "i": i, "a": a}

    def wanted(self, env: dict[str, Array]) -> tuple[list[Any], dict[str, Any]] | None:
        """Return the outputs and the new states, or None where NumPy refuses."""
        try:
            return [o.formula(env) for o in self.outputs], {k: u.formula(env) for k, u in self.updates.items()}
        except (IndexError, np.linalg.LinAlgError):
            return None


def draws(seed: int) -> Iterator[Array]:
    """Yield the numbers that a generator of this seed gives, call by call."""
    f = gc.function([], gc.random.Generator(seed).uniform((N,)), mode="reference")
    while True:
        yield f()
