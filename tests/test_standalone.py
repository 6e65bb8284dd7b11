"""`f.source`, the standalone module: un-jitted, under plain Numba and in production, kernels give the same values."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array

RNG = np.random.default_rng(17)
Made = tuple[gc.Function, list[Any]]


def _floats(*shape: int, dtype: str = "float64") -> Array:
    return np.asarray(RNG.normal(size=shape)).astype(dtype)


def _built(arguments: list[Any], build: Callable[..., Any], **options: Any) -> Made:
    """Compile `build` for placeholders of these arguments, all of whose sizes are named."""
    names = "abcdefgh"
    arrays = [np.asarray(a) for a in arguments]
    given = [gc.placeholder(names[k], shape=a.shape, dtype=str(a.dtype)) for k, a in enumerate(arrays)]
    return gc.function(given, build(*given), **options), arrays


def _elementwise() -> Made:
    def build(x: gc.Node, y: gc.Node) -> list[gc.Node]:
        parts = [gc.exp(x), gc.log(abs(x) + 1), gc.tanh(y), gc.sin(x) * gc.cos(y), gc.sqrt(abs(y)), gc.sigmoid(x)]
        parts += [gc.maximum(x, y), gc.minimum(x, y), gc.where(x > y, x, y), gc.nn.softplus(x), abs(x) ** y]
        parts += [gc.special.erf(x), gc.special.erfc(y), gc.floor(x), gc.sign(y), gc.atan2(x, y), gc.expm1(x)]
        loss = gc.sum(sum(parts[1:], parts[0]))
        return [loss, *gc.grad(loss, [x, y])]

    return _built([_floats(7, 9), _floats(7, 9)], build)


def _float32() -> Made:
    def build(x: gc.Node, y: gc.Node) -> list[gc.Node]:
        parts = [gc.exp(x), gc.tanh(y), gc.nn.gelu(x), gc.logaddexp(x, y), x / (abs(y) + 1), gc.special.ndtr(x)]
        loss = gc.mean(sum(parts[1:], parts[0]))
        return [loss, *gc.grad(loss, [x, y])]

    return _built([_floats(40, dtype="float32"), _floats(40, dtype="float32")], build)


def _special() -> Made:
    def build(x: gc.Node) -> list[gc.Node]:
        s = gc.special
        parts = [s.gammaln(x), s.digamma(x), s.polygamma(1, x), s.polygamma(2, x), s.erfcx(x), s.log_ndtr(-x)]
        loss = gc.sum(sum(parts[1:], parts[0]))
        return [loss, gc.grad(loss, x)]

    return _built([abs(_floats(11)) + 0.3], build)


def _integers() -> Made:
    def build(i: gc.Node, j: gc.Node, k: gc.Node) -> list[gc.Node]:
        found = [i // j, i % j, i + j, i * j, i & j, i | j, i ^ j, ~i, i << 3, i >> 2, i**2, abs(i), -i, i > j]
        found += [k.astype("int32"), k.astype("uint8"), k.astype("bool"), i.astype("float32"), gc.sum(i), gc.max(j)]
        return [*found, i.astype("uint64") // 3, i.astype("int8") + j.astype("int8"), gc.prod(j), gc.bitwise_invert(i)]

    i, j = (RNG.integers(-50, 50, size=30) for _ in range(2))
    return _built([i, j, np.array([*_floats(28) * 300, np.nan, np.inf])], build)


def _reductions() -> Made:
    def build(x: gc.Node) -> list[gc.Node]:
        found = [
            gc.sum(x, axis=0),
            gc.mean(abs(x)),
            gc.var(x, axis=1),
            gc.max(x, axis=1),
            gc.min(x),
            gc.argmax(x, axis=0),
        ]
        found += [
            gc.prod(x, axis=1),
            gc.logsumexp(x, axis=1),
            gc.cumulative_sum(x, axis=1),
            gc.any(x > 2),
            gc.all(x > -9),
        ]
        loss = gc.sum(gc.logsumexp(x, axis=1) * gc.std(x, axis=1))
        return [*found, loss, gc.grad(loss, x)]

    return _built([_floats(13, 17)], build)


def _products() -> Made:
    def build(x: gc.Node, v: gc.Node, w: gc.Node) -> list[gc.Node]:
        loss = gc.sum(gc.tanh(gc.maximum(x @ v, 0) @ w) ** 2)
        return [loss, *gc.grad(loss, [v, w])]

    return _built([_floats(33, 20), _floats(20, 40), _floats(40, 3)], build)


def _network() -> Made:
    rng = np.random.default_rng(0)
    x, y = gc.placeholder("x", shape=("n", 30)), gc.placeholder("y", shape=("n",), dtype="int64")
    w = [gc.shared(rng.normal(size=s) / 5, name=f"w{k}") for k, s in enumerate([(30, 20), (20, 10)])]
    loss = gc.nn.cross_entropy(gc.nn.relu(x @ w[0]) @ w[1], y)
    updates = {p: p - 0.1 * g for p, g in zip(w, gc.grad(loss, w), strict=True)}
    return gc.function([x, y], loss, updates=updates), [_floats(24, 30), RNG.integers(0, 10, size=24)]


def _transposed() -> Made:
    return _built([_floats(150, 130), _floats(130, 150)], lambda x, y: [x + y.T, gc.sum(x * y.T, axis=0)])


def _convolved() -> Made:
    def build(x: gc.Node, w: gc.Node) -> list[gc.Node]:
        loss = gc.sum(gc.nn.conv2d(x, w) ** 2)
        return [loss, *gc.grad(loss, [x, w])]

    return _built([_floats(2, 3, 9, 8), _floats(4, 3, 3, 3)], build)


def _scattered() -> Made:
    def build(x: gc.Node, i: gc.Node, y: gc.Node) -> list[gc.Node]:
        a = x.at[i].add(y)
        loss = gc.sum(gc.take(a * a, i, axis=0) * y)
        return [a, x.at[1:].set(2.0), loss, *gc.grad(loss, [x, y]), gc.sort(x, axis=0), gc.argsort(y, axis=1)]

    return _built([_floats(9, 4), RNG.integers(0, 9, size=20), _floats(20, 4)], build)


def _random() -> Made:
    rng = gc.random.Generator(5)
    draws = [rng.normal((50,)), rng.uniform((50,)), rng.gamma((50,), a=2.5), rng.randint(0, 9, (50,))]
    x = gc.placeholder("x", shape=())
    return gc.function([x], [x + d for d in draws]), [1.5]


def _scanned() -> Made:
    def build(xs: gc.Node, h: gc.Node, w: gc.Node) -> list[gc.Node]:
        last, states = gc.scan(lambda c, x: (gc.tanh(c @ w + x),) * 2, h, xs)
        loss = gc.sum(states * states) + gc.sum(last)
        return [loss, *gc.grad(loss, [h, w])]

    return _built([_floats(6, 5), _floats(5), _floats(5, 5)], build)


def _scanned_over_tapes() -> Made:
    def build(xs: gc.Node, h: gc.Node, w: gc.Node) -> list[gc.Node]:
        last, states = gc.scan(lambda c, x: (gc.tanh(c @ w + x),) * 2, h, xs)
        loss = gc.sum(states * states) + gc.sum(last)
        return [loss, *gc.grad(loss, [h, w])]

    return _built([_floats(3, 20, 30), _floats(20, 30), _floats(30, 30)], build)


def _looped() -> Made:
    def build(x: gc.Node) -> list[gc.Node]:
        halved = gc.while_loop(lambda c: gc.sum(c * c) > 1e-3, lambda c: c * 0.5, x)
        chosen = gc.cond(gc.sum(x) > 0, lambda: gc.exp(x), lambda: x * x)
        return [halved, chosen, gc.grad(gc.sum(chosen), x)]

    return _built([_floats(8)], build)


def _solved() -> Made:
    def build(a: gc.Node, b: gc.Node) -> list[gc.Node]:
        spd = a @ a.T + 5 * gc.eye(6)
        x = gc.linalg.solve(spd, b)
        loss = gc.sum(x * x) + gc.sum(gc.log(gc.diagonal(gc.linalg.cholesky(spd))))
        return [loss, *gc.grad(loss, [a, b])]

    return _built([_floats(6, 6), _floats(6)], build)


PROGRAMS: dict[str, tuple[Callable[[], Made], float]] = {
    "elementwise": (_elementwise, 8),
    "float32": (_float32, 8),
    "special": (_special, 8),
    "integers": (_integers, 0),
    "reductions": (_reductions, 8),
    "products": (_products, 100),
    "network": (_network, 16),
    "transposed": (_transposed, 4),
    "convolved": (_convolved, 16),
    "scattered": (_scattered, 4),
    "random": (_random, 4),
    "scanned": (_scanned, 30),
    "scanned over tapes": (_scanned_over_tapes, 200),
    "looped": (_looped, 4),
    "solved": (_solved, 50),
}
"""Each with the units in the last place, of a result's largest value, by which two of the three may differ.

Elementary functions are others in production, and sums may take another order there; plain Python rounds twice where a
product is added. Recurrences and long sums of both signs keep the most of that.
"""


def made(name: str) -> tuple[gc.Function, list[Any], float]:
    """Return a program and arguments, which do not depend on the tests before."""
    RNG.bit_generator.state = np.random.default_rng(17).bit_generator.state
    build, ulps = PROGRAMS[name]
    return *build(), ulps


def run_alone(f: gc.Function, arguments: list[Any], state: list[Array]) -> list[Array]:
    space: dict[str, Any] = {"__name__": "kernels"}
    exec(compile(str(f.source), "kernels.py", "exec"), space)
    found: list[Array] = space["run"](arguments, state)
    return found


def assert_close(found: list[Array], wanted: list[Array], ulps: float) -> None:
    for x, y in zip(found, wanted, strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        if not ulps or y.dtype.kind != "f":
            np.testing.assert_array_equal(x, y)
        elif y.size:
            np.testing.assert_allclose(x, y, rtol=0, atol=ulps * np.spacing(np.nanmax(abs(y))))


def check(name: str, *, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    f, arguments, ulps = made(name)
    states = [s.state.array for s in f.graph.shared]
    before = [s.copy() for s in states]
    results = f(*arguments)
    wanted = [np.asarray(r) for r in (results if isinstance(results, list) else [results])]
    monkeypatch.setattr(numba.config, "DISABLE_JIT", int(plain))
    assert_close([*run_alone(f, arguments, before), *before], [*wanted, *states], ulps)


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_plain_python(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, plain=True, monkeypatch=monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_under_plain_numba(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, plain=False, monkeypatch=monkeypatch)


ALONE = """
import runpy, sys
sys.modules["graphc"] = None  # as if it were not installed
runpy.run_path("kernels.py", run_name="__main__")
"""


def test_a_saved_file_runs_without_graphc(tmp_path: Path) -> None:
    x = gc.placeholder("x", shape=(2, 3))
    w = gc.shared(np.zeros(3), name="w")
    loss = gc.sum(gc.exp(x) @ w)
    f = gc.function([x], [loss, gc.grad(loss, w)])
    f.source.save(tmp_path / "kernels.py")
    found = []
    for disabled in ("0", "1"):
        settings = {**os.environ, "NUMBA_DISABLE_JIT": disabled}
        command = [sys.executable, "-c", ALONE]
        done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=True)
        found.append(np.array(done.stdout.replace("[", " ").replace("]", " ").split(), float))
    rng = np.random.default_rng(0)
    value, weights = rng.random((2, 3)), np.random.default_rng(0).random(3)
    expected = [np.sum(np.exp(value) @ weights), *np.exp(value).sum(axis=0)]
    for values in found:
        np.testing.assert_allclose(values, expected, rtol=1e-6)  # printed with 8 digits


def test_shapes_are_those_of_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], x * 2)
    assert "def run(" not in f.source and "sizes of the program are not known" in f.source
    assert "def kernel_0(frame, lo, hi):" in f.source and "graphc." not in f.source
    for n in (3, 5):
        f(np.zeros(n))
        assert f'("x", "float64", ({n},)),' in f.source
        np.testing.assert_array_equal(run_alone(f, [np.arange(float(n))], [])[0], 2 * np.arange(n))


def test_the_prelude_has_what_the_kernels_use() -> None:
    x = gc.placeholder("x", shape=(3,))
    source = gc.function([x], gc.exp(x) + 1).source
    assert "exp = word(" in source and "tanh" not in source and "routine" not in source and "boolp" not in source


def test_failing_checks_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    x, i = gc.placeholder("x", shape=(3,)), gc.placeholder("i", shape=(2,), dtype="int64")
    f = gc.function([x, i], gc.take(x, i, axis=0))
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    np.testing.assert_array_equal(run_alone(f, [[1.0, 2, 3], [2, 0]], [])[0], [3, 1])
    with pytest.raises(ValueError, match="check 1 failed"):
        run_alone(f, [[1.0, 2, 3], [2, 7]], [])
