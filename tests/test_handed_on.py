"""Arrays that loops and branches hand on: changed in their place, and right whatever reads them.

The random programs are built twice from one description: as graphs, and as Python on NumPy arrays that are copied
before every change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.run.section import Section
from graphc.graph.types import symbols

X = gc.placeholder("x", shape=("n",))
TABLE = gc.placeholder("table", shape=("n", 3))

PROGRAMS: dict[str, Callable[[], Any]] = {
    "scan": lambda: gc.scan(lambda c, t: (c.at[t].add(1.0), c[t]), X, gc.arange(5)),
    "reads itself": lambda: gc.fori_loop(0, 5, lambda i, c: c.at[i].add(c[0] * 2).at[i + 1].set(c[i]), X),
    "while": lambda: gc.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, c[1].at[c[0]].add(c[1][0])), (0, X)),
    "bounded": lambda: gc.while_loop(
        lambda c: c[0] < 5, lambda c: (c[0] + 1, c[1].at[c[0]].multiply(3.0)), (0, X), max_steps=7
    ),
    "cond": lambda: gc.scan(
        lambda c, t: (gc.cond(t % 2 < 1, lambda: c.at[t].add(1.0), lambda: c), c[2]), X, gc.arange(5)
    ),
    "cond computes": lambda: gc.scan(
        lambda c, t: (gc.cond(t % 4 < 1, lambda: c * 0.5, lambda: c.at[t].add(1.0)), None), X, gc.arange(5)
    ),
    "switch": lambda: gc.scan(
        lambda c, t: (gc.switch(t, [lambda: c, lambda: c.at[t].set(7.0), lambda: c.at[t - t].add(c[1])]), c[t]),
        X,
        gc.arange(5),
    ),
    "until": lambda: gc.scan(lambda c, t: (c.at[t].add(1.0), c[t]), X, gc.arange(5), until=lambda c: c[3] > 0.9),
    "nested": lambda: gc.fori_loop(0, 2, lambda i, c: gc.fori_loop(0, 3, lambda j, d: d.at[i * 2 + j].add(d[j]), c), X),
    "loop in branch in loop": lambda: gc.scan(
        lambda c, t: (
            gc.cond(t > 1, lambda: gc.fori_loop(0, 2, lambda j, d: d.at[t - j].add(1.0), c), lambda: c.at[t].add(2.0)),
            c[4],
        ),
        X,
        gc.arange(5),
    ),
    "while in scan": lambda: gc.scan(
        lambda c, t: (gc.while_loop(lambda s: s[0] < t, lambda s: (s[0] + 1, s[1].at[s[0]].add(1.0)), (0, c))[1], None),
        X,
        gc.arange(5),
    ),
    "rows": lambda: gc.scan(
        lambda c, t: (gc.cond(t > 2, lambda: c.at[t].set(c[0] * 2), lambda: c), gc.sum(c[t])), TABLE, gc.arange(5)
    ),
}


def sections(section: Section) -> list[Section]:
    return [inner for body in section.bodies for inner in (body, *sections(body))]


def leaves(tree: Any) -> list[gc.Node]:
    return [y for part in tree for y in leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_step_copies_the_array(name: str) -> None:
    """What a step does does not grow with the array."""
    outputs = [y for y in leaves(PROGRAMS[name]()) if y is not None]
    inputs = [x for x in (X, TABLE) if x in gc.Graph(outputs).index]
    f = gc.function(inputs, outputs)
    rng = np.random.default_rng(2)
    given = [0.1 * rng.random((6, 3))[:, : 3 if x is TABLE else 1].reshape((6, 3) if x is TABLE else 6) for x in inputs]
    for got, wanted in zip(f(*given), gc.function(inputs, outputs, mode="reference")(*given), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-13)
    if name == "cond computes":  # the other branch is n elements of work
        return
    inner = [nest for section in sections(f._built.program.main) if not section.inlined for nest in section.nests]
    tapes = [nest for nest in inner if not nest.inner]
    assert not [nest for nest in tapes if "n" in set(symbols((nest.extent, nest.work)))]
    wide = [n for section in sections(f._built.program.main) for n in section.arena if "n" in set(symbols(n.shape))]
    assert not [n for n in wide if n.name.startswith("pair")], "two buffers: a step copies from one to the other"


# -- random programs

SIZE = 5
Env = dict[str, Any]
Statement = Callable[[Env, Any, Any], None]
"""Changes the values by name: `np` or `gc` are given, and the step."""


def put(x: Any, i: Any, value: Any, how: str) -> Any:
    if isinstance(x, gc.Node):
        at = x.at[i]
        return at.set(value) if how == "set" else at.add(value)
    out = np.array(x)
    out[int(i)] = value if how == "set" else out[int(i)] + value
    return out


class Maker:
    """Draws a block of statements on arrays `a`, `b`, `c` and a number `s`."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def index(self) -> Callable[[Env, Any], Any]:
        k, m = int(self.rng.integers(SIZE)), int(self.rng.integers(3))
        return [lambda env, t: k, lambda env, t: t % SIZE, lambda env, t: (t + k) % SIZE][m]

    def number(self) -> Callable[[Env, Any], Any]:
        name, at, k = self.rng.choice(["a", "b", "c"]), self.index(), float(np.round(self.rng.normal(), 2))
        forms: list[Callable[[Env, Any], Any]] = [
            lambda env, t: env[name][at(env, t)] * k,
            lambda env, t: env["s"] * 0.3 + k,
            lambda env, t: k,
        ]
        return forms[int(self.rng.integers(3))]

    def block(self, depth: int) -> list[Statement]:
        return [self.statement(depth) for _ in range(int(self.rng.integers(1, 4)))]

    def statement(self, depth: int) -> Statement:
        kinds = ["put", "put", "put", "scalar", "swap", "scale"] + ["branch", "loop", "while"] * (depth > 0)
        made: Statement = getattr(self, f"_{self.rng.choice(kinds)}")(depth)
        return made

    def _put(self, depth: int) -> Statement:
        name, at, value = str(self.rng.choice(["a", "b", "c"])), self.index(), self.number()
        how = str(self.rng.choice(["set", "add"]))

        def run(env: Env, t: Any, lib: Any) -> None:
            env[name] = put(env[name], at(env, t), value(env, t), how)

        return run

    def _scalar(self, depth: int) -> Statement:
        value = self.number()
        return lambda env, t, lib: env.update(s=lib.sin(env["s"] + value(env, t)))

    def _swap(self, depth: int) -> Statement:
        x, y = (str(v) for v in self.rng.choice(["a", "b", "c"], 2, replace=False))
        return lambda env, t, lib: env.update({x: env[y], y: env[x]})

    def _scale(self, depth: int) -> Statement:
        x, y = (str(v) for v in self.rng.choice(["a", "b", "c"], 2))
        return lambda env, t, lib: env.update({x: lib.sin(env[x]) * 0.9 + 0.1 * env[y]})

    def _branch(self, depth: int) -> Statement:
        yes, no, k = self.block(depth - 1), self.block(depth - 1) * int(self.rng.integers(2)), int(self.rng.integers(3))

        def run(env: Env, t: Any, lib: Any) -> None:
            if lib is np:
                perform(yes if t % 3 > k - 1 else no, env, t, np)
            else:
                found = gc.cond(t % 3 > k - 1, lambda: perform(yes, dict(env), t), lambda: perform(no, dict(env), t))
                env.update(found)

        return run

    def _repeated(self, depth: int, most: int, loop: Callable[[Env, int, Callable[[Env, Any], Env]], Env]) -> Statement:
        """Return a block that runs up to `most` times, by Python or by a loop of (values, steps, body)."""
        inner, steps = self.block(depth - 1), int(self.rng.integers(0, most + 1))

        def run(env: Env, t: Any, lib: Any) -> None:
            if lib is np:
                for j in range(steps):
                    perform(inner, env, t + j, np)
            else:
                env.update(loop(dict(env), steps, lambda e, j: perform(inner, dict(e), t + j)))

        return run

    def _loop(self, depth: int) -> Statement:
        return self._repeated(depth, 3, lambda e, steps, body: gc.fori_loop(0, steps, lambda j, c: body(c, j), e))

    def _while(self, depth: int) -> Statement:
        def loop(env: Env, steps: int, body: Callable[[Env, Any], Env]) -> Env:
            found: Env = gc.while_loop(lambda c: c[0] < steps, lambda c: (c[0] + 1, body(c[1], c[0])), (0, env))[1]
            return found

        return self._repeated(depth, 2, loop)


def perform(block: list[Statement], env: Env, t: Any, lib: Any = gc) -> Env:
    for statement in block:
        statement(env, t, lib)
    return env


def check(seed: int, mode: Any) -> None:
    maker = Maker(seed)
    block, seen = maker.block(2), maker.number()
    steps = 4
    start = {name: np.random.default_rng(seed + k).normal(size=SIZE) for k, name in enumerate("abc")} | {"s": 0.2}
    nodes = {name: gc.placeholder(name, shape=np.shape(value)) for name, value in start.items()}

    def step(env: Env, t: gc.Node) -> tuple[Env, Any]:
        before = seen(env, t)
        return perform(block, dict(env), t), (gc.add(before, 0.0), env["a"][0])

    last, (rows, firsts) = gc.scan(step, nodes, gc.arange(steps))
    f = gc.function(nodes, [last, rows, firsts], mode=mode, on_unused="ignore")
    got, got_rows, got_firsts = f(**start)
    env: Env = {name: np.array(value) for name, value in start.items()}
    wanted_rows, wanted_firsts = [], []
    for t in range(steps):
        wanted_rows.append(float(seen(env, t)))
        wanted_firsts.append(env["a"][0])
        perform(block, env, t, np)
    for name, value in env.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-11, atol=1e-13, err_msg=f"seed {seed}: {name}")
    np.testing.assert_allclose(got_rows, wanted_rows, rtol=1e-11, atol=1e-13, err_msg=f"seed {seed}: rows")
    np.testing.assert_allclose(got_firsts, wanted_firsts, rtol=1e-11, atol=1e-13, err_msg=f"seed {seed}: firsts")


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    check(seed, "debug")


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_random_programs_compiled(seed: int) -> None:
    check(seed, "compiled")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000, 5000))
def test_many_random_programs(seed: int) -> None:
    check(seed, "debug")
