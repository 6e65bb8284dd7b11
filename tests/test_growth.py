"""How costs grow, which is linearly: planned bytes with sizes and steps, calls of the compiler with nodes.

Nothing is timed and nothing runs: programs are lowered and planned, and Python's own profiler counts calls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.run.program import Program
from graphc.codegen.run.tape import LIST_MODE
from graphc.graph.errors import GraphcError
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.passes import optimize

ROOM = 4.5
"""How much four times the size may cost."""
LEAST = 1 << 14
"""Bytes that do not count: rows of chunks, buffers of one size."""
X = gc.placeholder("x", shape=("n", 4))
T = gc.placeholder("t", shape=("t", 3))


def planned(outputs: list[Node], inputs: list[Node], *several: dict[str, int]) -> list[int]:
    """Return the bytes of the arena of one program, at several sizes."""
    program = Program(optimize(Graph(outputs, inputs)), compiled=False)
    found = []
    for sizes in several:
        shapes = [[sizes[str(s)] if not isinstance(s, int) else s for s in x.shape] for x in inputs]
        bound = program.bind([np.zeros(s, x.dtype) for s, x in zip(shapes, inputs, strict=True)], sizes, LIST_MODE)
        found.append(bound.plan.peak_bytes)
    return found


def functions() -> Iterator[tuple[str, Callable[[Node], Any]]]:
    """Yield every public function, with its name."""
    for module, path in ((gc, ""), (gc.special, "special."), (gc.nn, "nn."), (gc.linalg, "linalg.")):
        for name in sorted(getattr(module, "__all__", ())):
            fn = getattr(module, name)
            own = str(getattr(fn, "__module__", "")).startswith("graphc.")
            if own and callable(fn) and not isinstance(fn, type) and name not in SKIPPED:
                yield path + name, fn


SKIPPED = {"function", "evaluate", "shared", "placeholder", "load", "save", "fit", "set_cache", "set_blas", "constant"}
SKIPPED |= {"jacobian", "hessian", "hvp", "check_grad", "scan", "map", "while_loop", "fori_loop", "outer"}
FORMS: dict[str, Callable[[Any], Any]] = {
    "one": lambda f: f(X),
    "two": lambda f: f(X, X + 1),
    "rows": lambda f: f(X, axis=0),
    "last": lambda f: f(X, axis=-1),
}


def results(fn: Any, form: str) -> list[Node]:
    """Return the real results of a function in one form of call; nothing where it does not take that."""
    try:
        found = FORMS[form](fn)
    except (GraphcError, TypeError):  # not with these operands
        return []
    several = found if isinstance(found, (list, tuple)) else [found]
    return [y for y in several if isinstance(y, Node) and not isinstance(y.type, gc.graph.types.TupleType)]


def squared(ys: list[Node]) -> bool:
    """Tell whether a result itself grows with the square of n, as an outer product does."""
    return any(str(y.size).count("n") > 1 for y in ys)


@pytest.mark.parametrize("form", FORMS)
def test_every_op_and_its_derivatives_plan_linear_memory(form: str) -> None:
    tried = 0
    for name, fn in functions():
        ys = results(fn, form)
        if not ys or squared(ys) or Graph(ys).guards:  # not for every n
            continue
        programs = {"value": ys}
        real = [y for y in ys if y.dtype.kind == "f"]
        if real and X in Graph(real).index:
            try:
                loss = sum((gc.sum(gc.sin(y)) for y in real), gc.constant(0.0))
                programs["gradient"] = [gc.grad(loss, X, disconnected="zero")]
            except GraphcError:
                pass
        for what, outputs in programs.items():
            small, large = planned(outputs, [X], {"n": 512}, {"n": 2048})
            assert large <= ROOM * max(small, LEAST), f"{name} ({form}), {what}: {small} and {large} bytes"
        tried += 1
    assert tried > {"one": 80, "two": 15, "rows": 10, "last": 10}[form]


def step(c: Node, e: Node) -> tuple[Node, Node]:
    return gc.tanh(c * 0.9 + gc.sum(e)), gc.sum(c)


def scatter(c: Node, i: Node) -> Node:
    found: Node = c.at[i % 2].add(gc.sin(c[1 - i % 2]))
    return found


LOOPS: dict[str, Callable[[Node, Node], Node]] = {
    "scan": lambda x, t: gc.sum(gc.scan(step, x, t)[0]),
    "scan with its history": lambda x, t: gc.sum(gc.scan(step, x, t)[1]),
    "scan in place": lambda x, t: gc.sum(gc.scan(lambda c, e: (c.at[0].add(gc.sum(e)), None), x, t)[0]),
    "until": lambda x, t: gc.sum(gc.scan(step, x, t, until=lambda c: gc.sum(c) > 1e9)[0]),
    "fori": lambda x, t: gc.sum(gc.fori_loop(0, 7, lambda i, c: scatter(c, i), x)) + gc.sum(t),
    "cond in scan": lambda x, t: gc.sum(
        gc.scan(lambda c, e: (gc.cond(gc.sum(e) > 0, lambda: c * 2, lambda: gc.sin(c)), None), x, t)[0]
    ),
    "nested": lambda x, t: gc.sum(
        gc.scan(lambda c, e: (gc.fori_loop(0, 3, lambda i, d: gc.sin(d) + gc.sum(e), c), None), x, t)[0]
    ),
    "map": lambda x, t: gc.sum(gc.map(lambda e: gc.exp(e), t)) + gc.sum(x),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_with_array_carries_plan_linear_memory(name: str) -> None:
    """Four times the carry, or four times the steps, take at most four times the memory, gradients included."""
    loss = LOOPS[name](X, T)
    for outputs in ([loss], list(gc.grad(loss, [X, T]))):
        larger = {"n": 1024, "t": 64}, {"n": 256, "t": 256}
        base, *found = planned(outputs, [X, T], {"n": 256, "t": 64}, *larger)
        assert all(b <= ROOM * max(base, LEAST) for b in found), (name, base, found)


@pytest.mark.parametrize("name", [n for n in LOOPS if n not in ("scan with its history", "map")])
def test_values_of_loops_need_no_memory_for_steps(name: str) -> None:
    loss = LOOPS[name](X, T)
    few, many = planned([loss], [X, T], {"n": 256, "t": 64}, {"n": 256, "t": 1024})
    assert many <= 1.1 * few + LEAST, (few, many)


def test_while_loops_plan_their_carries() -> None:
    last = gc.while_loop(lambda c: gc.sum(c) < 1e9, lambda c: gc.sin(c) + 2, X)
    small, large = planned([gc.sum(last)], [X], {"n": 512}, {"n": 2048})
    assert large <= ROOM * small


# -- the compiler's own work


def calls(make: Callable[[], Graph]) -> int:
    """Return how many calls of Python and C functions it takes to lower and plan a program."""
    graph, count = make(), 0

    def note(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        program = Program(optimize(graph), compiled=False)
        program.bind([np.zeros(8)] * len(graph.inputs), {"n": 8}, LIST_MODE)
    finally:
        sys.setprofile(None)
    return count


V = gc.placeholder("v", shape=("n",))


def fan_out(count: int) -> Graph:
    shared = gc.cumulative_sum(V)
    return Graph([gc.sum(gc.sin(shared * (k + 2))) for k in range(count)], [V])


def fan_in(count: int) -> Graph:
    parts: list[Node] = [gc.cumulative_sum(V * (k + 2)) for k in range(count)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return Graph(total, [V])


@pytest.mark.parametrize("make", [fan_out, fan_in])
def test_the_compiler_works_in_proportion_to_nodes(make: Callable[[int], Graph]) -> None:
    """Chains, outputs, states, gradients and loops: `test_compile_growth`."""
    calls(partial(make, 100))  # what is done once in a process
    small, large = calls(partial(make, 100)), calls(partial(make, 400))
    assert large <= 4.8 * small, (small, large)


NESTS: dict[str, Callable[[int, Node], Any]] = {
    "fori": lambda depth, c: gc.fori_loop(0, 2, lambda i, d: nested("fori", depth - 1, d), c),
    "fori that counts": lambda depth, c: gc.fori_loop(
        0, 2, lambda i, d: i + nested("fori that counts", depth - 1, d), c
    ),
    "scan": lambda depth, c: gc.scan(lambda d, _: (nested("scan", depth - 1, d), None), c, length=2)[0],
    "while": lambda depth, c: gc.while_loop(lambda d: gc.sum(d) < 9, lambda d: nested("while", depth - 1, d) + 1, c),
    "cond": lambda depth, c: gc.cond(gc.sum(c) > depth, lambda: nested("cond", depth - 1, c * 2), lambda: c),
}


def nested(form: str, depth: int, c: Node) -> Node:
    found: Node = NESTS[form](depth, c) if depth else gc.sin(c)
    return found


@pytest.mark.parametrize("form", NESTS)
def test_deep_nests_are_compiled_in_proportion_to_their_depth(form: str) -> None:
    """What is done once for each level is done once: twice the depth brings twice the work."""
    calls(lambda: Graph(nested(form, 2, V), [V]))
    two, four, eight = (calls(partial(Graph, nested(form, depth, V), [V])) for depth in (2, 4, 8))
    assert eight - four <= 2.35 * (four - two), (two, four, eight)


def test_memory_that_no_machine_has_is_named() -> None:
    table = gc.cumulative_sum(V[:, None] * V[None, :], axis=1)
    f = gc.function([V], gc.sum(gc.cumulative_sum(table, axis=0)), name="pairs")
    with pytest.raises(MemoryError, match=r"pairs: .* bytes are needed .*cumulative_sum f64\[n,n\], .*test_growth.py"):
        f(np.zeros(2**23))
    assert f(np.ones(3)) == 36
