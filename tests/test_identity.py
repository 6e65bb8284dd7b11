"""`==` of nodes and dimensions: identity for containers; an error as operand, index, condition or argument."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

a, b = gc.placeholder("a", shape=(3,)), gc.placeholder("b", shape=(3,))
n = gc.dim("n")
RESULTS = {"a == b": a == b, "a != b": a != b, "a == a": a == a, "a != a": a != a}
RESULTS |= {"n == 3": n == 3, "n != 3": n != 3, "n == n": n == gc.dim("n"), "n != n + 1": n != n + 1}
USES: dict[str, Callable[[Any], Any]] = {
    "condition": lambda m: gc.where(m, a, 0.0),
    "branch": lambda m: gc.cond(m, lambda: a, lambda: b),
    "index": lambda m: a[m],
    "index in a list": lambda m: a[[m, m]],
    "update": lambda m: a.at[m].set(0.0),
    "slice": lambda m: a[:m],
    "operand": lambda m: m * 2,
    "right operand": lambda m: a + m,
    "array times it": lambda m: np.ones(3) * m,
    "scalar times it": lambda m: np.float64(3) * m,
    "and": lambda m: m & (a > 0),
    "and, right": lambda m: (a > 0) & m,
    "invert": lambda m: ~m,
    "reduction": gc.mean,
    "reduction in a list": lambda m: gc.mean([m, m]),
    "NumPy's reduction": np.sum,
    "NumPy's logic": lambda m: np.logical_or(m, a > 0),
    "NumPy's where": lambda m: np.where(m, a, 0.0),
    "array": np.array,
    "number": float,
    "method": lambda m: m.sum(),
    "constant": gc.constant,
    "state": gc.shared,
    "set_value": lambda m: gc.shared(1.0).set_value(m),
    "update of state": lambda m: gc.function([], [], updates={gc.shared(True): m}),
    "stack": lambda m: gc.stack([m, m]),
    "output": lambda m: gc.function([a], [m]),
    "argument": lambda m: gc.function([a], a)(m),
    "carry": lambda m: gc.scan(lambda c, _: (m, None), True, length=2),
    "keyword": lambda m: gc.sum(a, keepdims=m),
    "axis": lambda m: gc.sum(a, axis=m),
    "shape": gc.zeros,
    "fill": lambda m: gc.full((2,), m),
    "binding": lambda m: gc.evaluate(a, {a: m}),
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_identity_is_no_value(use: Callable[[Any], Any], result: Any) -> None:
    with pytest.raises(gc.GraphcError, match=r"gc\.(equal|not_equal).*\[test_identity.py:\d+\]"):
        use(result)


def test_identity_serves_containers() -> None:
    assert a in [b, a] and a not in [b] and [b, a].index(a) == 1 and (b, a).count(a) == 1
    assert {a: 1, b: 2}[b] == 2 and len({a, b, a}) == 2 and (a, b) == (a, b) != (b, a)
    assert [bool(a == a), bool(a == b), bool(a != b), bool(a != a)] == [True, False, True, False]
    assert (a == b) == False and {True: "same"}[a == a] == "same"  # noqa: E712
    assert a != None and a != "a"  # noqa: E711
    assert not hasattr(a == b, "shape") and pickle.loads(pickle.dumps(copy.deepcopy(a == a)))


def test_equal_dimensions_serve_containers() -> None:
    assert n + 1 in [2, n, 1 + n] and n not in (3, "n", None) and {2 * n: 1}[n + n] == 1 and (n, 3) == (gc.dim("n"), 3)
    assert [bool(n == 3), bool(n != 3), bool(n + 0 == n), bool(n + 0 != n)] == [False, True, True, False]
    assert gc.function([gc.placeholder("v", shape=("n",))], gc.equal(n, 3))(np.ones(3))


@pytest.mark.parametrize("other", [3, 2.0, True, 1j, np.float32(1), np.ones(3), np.ones(())])
def test_nodes_are_not_compared_with_values(other: Any) -> None:
    for compare in (operator.eq, operator.ne):
        for operands in ((a, other), (other, a)):
            with pytest.raises(gc.ArgumentError, match=r"use gc\.(equal|not_equal)"):
                compare(*operands)
