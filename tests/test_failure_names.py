"""What fails in a call is named by the function that the user called, in every mode and after saving and loading."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.errors import called
from tests.border_calls import Call, calls

Row = tuple[str, Callable[..., Any], Sequence[Any]]
VALUES: dict[str, gc.Node] = {
    "i": gc.placeholder("i", shape=("k",), dtype="int64"),
    "j": gc.placeholder("j", shape=(1,), dtype="int64"),
    "s": gc.placeholder("s", dtype="int64"),
    "x": gc.placeholder("x", shape=("n",)),
    "m": gc.placeholder("m", shape=("p", "p")),
    "r": gc.placeholder("r", shape=("q", 3)),
    "image": gc.placeholder("image", shape=(1, 1, "h", "w")),
    "t": gc.placeholder("t", shape=(1, 2), dtype="int64"),
}
A, B = np.ones((2, 3)), np.ones((2, 2, 3))
LOG_PROBS = np.full((4, 1, 3), -1.0)
OUTSIDE, SINGULAR, NAN, EMPTY, SMALL = (
    [7],
    np.zeros((2, 2)),
    np.full((2, 2), np.nan),
    np.zeros(0),
    np.ones((1, 1, 2, 0)),
)


def ctc(targets: Any, steps: Any, lengths: Any) -> gc.Node:
    return gc.nn.ctc_loss(LOG_PROBS, targets, steps, lengths)


def rng() -> gc.random.Generator:
    return gc.random.Generator(0)


# The message's start, a function of some of VALUES by their names, and what they are in the failing call.
INDICES: list[Row] = [
    ("embedding: index -1 is out of bounds: from 0 to 2", lambda i: gc.nn.embedding(i, np.ones((3, 2))), [[-1]]),
    ("embedding: index 3 is out of bounds: from 0 to 2", lambda i: gc.nn.embedding(i, np.ones((3, 2))), [[3]]),
    ("embedding: index -1 is", lambda i, r: gc.grad(gc.sum(gc.nn.embedding(i, r)), r), [[-1], np.ones((2, 3))]),
    ("Embedding: index -1 is out of bounds: from 0 to 2", lambda i: gc.nn.Embedding(3, 2)(i), [[-1]]),
    ("Embedding: index -1 is", lambda i: gc.nn.Sequential(gc.nn.Embedding(3, 2), gc.nn.ReLU())(i), [[-1]]),
    ("nll_loss: index -100 is", lambda j: gc.nn.nll_loss(np.zeros((1, 3)), j), [[-100]]),
    ("nll_loss: index -100 is", lambda j: gc.nn.NLLLoss()(np.zeros((1, 3)), j), [[-100]]),
    ("cross_entropy: label -100 is", lambda j: gc.nn.cross_entropy(np.zeros((1, 3)), j), [[-100]]),
    ("take: index -4 is out of bounds for axis 1 with size 3", lambda i: gc.take(A, i, axis=1), [[-4]]),
    ("take_along_axis: index 7 is", lambda i: gc.take_along_axis(np.ones(3), i, axis=0), [OUTSIDE]),
    ("getitem: index 7 is out of bounds for axis 0", lambda i: gc.constant([1.0, 2.0])[i], [OUTSIDE]),
    ("getitem: index 7 is out of bounds for axis 1 with size 3", lambda i: gc.constant(A)[0, i], [OUTSIDE]),
    ("getitem: index 7 is out of bounds for axis 2 with size 3", lambda i: gc.constant(B)[:, 0, i], [OUTSIDE]),
    ("getitem: index 7 is out of bounds for axis 1 with size 3", lambda i: gc.constant(A)[:, None, i], [OUTSIDE]),
    ("getitem: index 7 is", lambda i, x: gc.grad(gc.sum(x[i]), x), [OUTSIDE, np.ones(3)]),
    ("getitem: index 7 is", lambda i, x: gc.scan(lambda c, k: (c + x[k], None), 0.0, i)[0], [OUTSIDE, np.ones(3)]),
    ("ctc_loss: index -2 is out of bounds: from 0 to 2", lambda t: ctc(t, [4], [2]), [[[1, -2]]]),
    ("ctc_loss: index 9 is out of bounds: from 0 to 2", lambda t: ctc(t, [4], [2]), [[[1, 9]]]),
    ("ctc_loss: index 9 is out of bounds: from 0 to 4", lambda j: ctc([[1, 2]], j, [2]), [[9]]),
    ("ctc_loss: index 9 is out of bounds: from 0 to 2", lambda j: ctc([[1, 2]], [4], j), [[9]]),
    *(
        (
            f"at[...].{name}: index 7 is out of bounds for axis 1",
            lambda s, n=name: getattr(gc.constant(A).at[0, s], n)(1.0),
            [7],
        )
        for name in ("set", "add", "subtract", "multiply", "divide", "power", "min", "max")
    ),
    ("at[...].add: index 7 is", lambda i: gc.constant(A).at[:, i].add(1.0), [OUTSIDE]),
]
EXTREMES: list[Row] = [
    *(
        (f"{name}: an empty axis has no largest or smallest", lambda x, n=name: getattr(gc, n)(x), [EMPTY])
        for name in ("max", "min", "argmax", "argmin")
    ),
    ("max: an empty axis", lambda x: x.max(), [EMPTY]),
    ("max: an empty axis", lambda x: np.max(x), [EMPTY]),
    ("max: an empty axis", lambda r: r.max(axis=0), [np.ones((0, 3))]),
    ("max: an empty axis", lambda i, x: gc.scan(lambda c, k: (c + gc.max(x), None), 0.0, i)[0], [[1], EMPTY]),
    ("categorical: an empty axis", lambda x: rng().categorical(x), [EMPTY]),
    ("median: .*the axis is empty", lambda x: gc.median(x), [EMPTY]),
    ("quantile: .*the axis is empty", lambda x: gc.quantile(x, 0.3), [EMPTY]),
    ("top_k: index 0 is out of bounds for axis 0 with size 0", lambda x: gc.top_k(x, 3)[0], [EMPTY]),
    ("choice: index -1 is out of bounds", lambda x: rng().choice(x, (3,)), [EMPTY]),
    (
        "while_loop: the condition still holds",
        lambda x: gc.while_loop(lambda c: c < x[0], lambda c: c, 0.0, max_steps=2),
        [[1.0]],
    ),
]
MATRICES: list[Row] = [
    *(
        (f"{name}: a matrix is singular", function, [SINGULAR])
        for name, function in {
            "inv": lambda m: gc.linalg.inv(m),
            "solve": lambda m: gc.linalg.solve(m, np.ones(2)),
            "matrix_power": lambda m: gc.linalg.matrix_power(m, -2),
            "solve_triangular": lambda m: gc.linalg.solve_triangular(m, np.ones(2)),
            "cho_solve": lambda m: gc.linalg.cho_solve((m, True), np.ones(2)),
        }.items()
    ),
    ("inv: a matrix is singular", lambda m: gc.cond(m[0, 0] < 1, lambda: gc.linalg.inv(m), lambda: m), [SINGULAR]),
    ("inv: a matrix is singular", lambda m: gc.grad(gc.sum(np.linalg.inv(m)), m), [SINGULAR]),
    ("cholesky: a matrix is not positive", lambda m: gc.linalg.cholesky(m), [-np.eye(2)]),
    ("multivariate_normal: a matrix is not", lambda m: rng().multivariate_normal(np.zeros(2), m), [-np.eye(2)]),
    *(
        (f"{name}: the singular values of a matrix did not converge", lambda m, n=name: getattr(gc.linalg, n)(m), [NAN])
        for name in ("svdvals", "matrix_rank", "pinv")
    ),
    ("svd: the singular values", lambda m: gc.linalg.svd(m)[1], [NAN]),
]
SIZES: list[Row] = [
    (
        'dimension n of x is 2; pad with mode="reflect" at .* needs at least 4',
        lambda x: gc.pad(x, 3, mode="reflect"),
        [np.ones(2)],
    ),
    (
        "dimension n of x is 2; choice without replacement at .* needs at least 3",
        lambda x: rng().choice(x, (3,), replace=False),
        [np.ones(2)],
    ),
    (
        "dimension w of image is 0; interpolate at .* needs at least 1",
        lambda image: gc.nn.interpolate(image, size=(4, 4)),
        [SMALL],
    ),
    ("dimension w of image is 0; max_pool2d at .* needs at least 2", lambda image: gc.nn.max_pool2d(image, 2), [SMALL]),
    ("dimension n of x is 3 but the other is 4; broadcast_to at", lambda x: gc.broadcast_to(x, (4,)), [np.ones(3)]),
    ("dimension p of m is 2 but dimension n of x is 3; matmul at", lambda x, m: m @ x, [np.ones(3), SINGULAR]),
    ("getitem: index 5 of axis 0 at", lambda x: x[5], [np.ones(2)]),
]


def programs(inputs: Sequence[gc.Node], out: Any, folder: str) -> Iterator[gc.Function]:
    """Yield a function in each mode, and what is loaded after it was saved."""
    modes: tuple[Any, ...] = ("compiled", "reference", "debug")
    for mode in modes:
        yield gc.function(inputs, out, mode=mode)
    for mode in modes[:2]:
        gc.save(gc.function(inputs, out, mode=mode), Path(folder) / "f.gcx")
        yield gc.load(Path(folder) / "f.gcx")


@pytest.mark.parametrize("rows", [INDICES, EXTREMES, MATRICES, SIZES], ids=["indices", "extremes", "matrices", "sizes"])
def test_failures_of_a_call(rows: list[Row], tmp_path: Path) -> None:
    for start, build, values in rows:
        names = build.__code__.co_varnames[: build.__code__.co_argcount]
        inputs = [VALUES[n] for n in names if n in VALUES]
        pattern = rf"^{start.replace('[...]', re.escape('[...]'))}.*test_failure_names.py"
        for f in programs(inputs, build(*inputs), str(tmp_path)):
            with pytest.raises(gc.GraphcError, match=pattern):
                f(*map(np.asarray, values))


def nodes_of(out: Any) -> list[gc.Node]:
    """Return the nodes in what a call returned, looked for in its tuples, lists and dicts."""
    if isinstance(out, gc.Node):
        return [out]
    items = out.values() if isinstance(out, dict) else out if isinstance(out, (tuple, list)) else ()
    return [n for item in items for n in nodes_of(item)]


CALLS = [c for c in calls() if c.name.split(".")[0] in ("gc", "linalg", "special", "random", "nn")]


def names_of(call: Call) -> set[str]:
    """Return what errors may call a public function: by its name, its class's, and for what it is another name of."""
    return {*call.name.split(".")[-2:], call.function.__name__}


def test_every_node_knows_the_function_that_made_it() -> None:
    count = 0
    for call in CALLS:
        before = gc.constant(0.0).serial
        made = [n for n in nodes_of(call()) if n.serial > before and n.inputs]
        wrong = {called(n.source, "") for n in made} - names_of(call)
        count += len(made)
        assert not wrong or call.name in GIVEN, (call.name, wrong)
    assert count > 250


GIVEN = {
    *("gc.scan", "gc.map", "gc.fori_loop", "gc.while_loop", "gc.cond", "gc.switch", "gc.associative_scan"),
    *("gc.grad", "gc.value_and_grad", "gc.jvp", "gc.vjp", "gc.hvp", "gc.hessian", "gc.jacobian"),
}
"""Functions whose results are what the user's function returned, or derivatives, which belong to the user's calls."""


def attempt(f: gc.Function, value: Any) -> str:
    """Return what a call raises."""
    try:
        f(value)
    except gc.GraphcError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def failing(call: Call, argument: str, folder: str) -> Iterator[tuple[str, list[str]]]:
    """Yield some values of an array argument of a call, by name, and what each mode raises."""
    given = np.asarray(call.arguments[argument])
    x = gc.placeholder("x", dtype=given.dtype.name, shape=[f"d{k}" for k in range(given.ndim)])
    try:
        out = nodes_of(call(**{argument: x}))
        functions = list(programs([x], out, folder))
    except gc.GraphcError:  # it needs known sizes or values
        return
    values = {"zeros": 0 * given, "empty": np.zeros((0,) * given.ndim, given.dtype), "short": given[:1]}
    changed = (
        {"far": given + 99, "low": given - 99} if given.dtype.kind == "i" else {"NaN": given * np.nan, "minus": -given}
    )
    for name, value in {**values, **changed}.items():
        yield name, [attempt(f, value) for f in functions]


def sweep(every: int, folder: str) -> tuple[int, list[str]]:
    """Return how many failures were met in one of `every` array arguments, and what is wrong with their errors."""
    arrays = [
        (c, a)
        for c in CALLS
        for a, v in c.arguments.items()
        if isinstance(v, np.ndarray) and v.ndim and v.dtype.kind in "if"
    ]
    count, problems = 0, []
    for call, argument in arrays[::every]:
        for value, errors in failing(call, argument, folder):
            first, *others = (e.rpartition("  [")[0] for e in errors)
            count += bool(first)
            where = f"{call.name}({argument}=<{value}>): "
            if others != [first] * len(others):
                problems.append(where + "; ".join(map(repr, (first, *others))))
            elif first and not any(re.search(rf"\b{name}(: | at |\[)", first) for name in names_of(call)):
                problems.append(where + first)
    return count, problems


def test_failures_of_all_functions_sample(tmp_path: Path) -> None:
    count, problems = sweep(12, str(tmp_path))
    assert count > 10 and not problems


@pytest.mark.slow
def test_failures_of_all_functions(tmp_path: Path) -> None:
    count, problems = sweep(1, str(tmp_path))
    assert count > 200 and not problems
