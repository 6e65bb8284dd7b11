"""Dimensions as numbers: they compute, keep dtypes and print as the ints that a call gives them do."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Dim, isqrt, size_max, size_min, size_value

WEAK: dict[str, Callable[[Any, Any], Any]] = {
    "times a reciprocal": lambda x, n: x * (1 / n),
    "over a half": lambda x, n: x / (n / 2),
    "sum times": lambda x, n: gc.sum(x) * (2.0 / n),
    "plus a sum": lambda x, n: x + (n + 1.0),
    "minus a power": lambda x, n: x - (n - 1.0) ** 2,
    "times a remainder": lambda x, n: x * (n % 2),
    "times a float remainder": lambda x, n: x * (n % 1.5) * (7.5 % n),
    "from a difference": lambda x, n: (3 - n / 2) * x * (1.0 - n),
    "negative and absolute": lambda x, n: x * -(1 / n) * abs(1 / n),
    "floor": lambda x, n: x * (n // 2.0) + 7.0 // n,
    "powers": lambda x, n: x * n**2 + 2**n + n**0.5 + n**20 * 1e-20,
    "reflected ints": lambda x, n: x * (7 // n) + 7 % n,
    "chosen": lambda x, n: gc.where(x > 0, x, 1 / n),
    "maximum": lambda x, n: gc.maximum(x, 1 / n),
    "NumPy scalar": lambda x, n: x * np.float32(2) * n,
    "scan": lambda x, n: gc.scan(lambda c, v: (c * (1 / n) + v, None), np.zeros((), x.dtype), x)[0],
    "named function": lambda x, n: x * gc.sqrt(n),
    "NumPy's function": lambda x, n: x * np.sqrt(n),
    "constant": lambda x, n: x * gc.constant(n),
    "NumPy array": lambda x, n: x + np.ones(3) * n,
}


@pytest.mark.parametrize("expression", WEAK.values(), ids=WEAK)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_named_and_known_sizes_give_the_same(expression: Callable[[Any, Any], Any], dtype: str) -> None:
    value = np.array([1, 2, 4], dtype)
    named, known = gc.placeholder("x", shape=("n",), dtype=dtype), gc.placeholder("x", shape=(3,), dtype=dtype)
    try:
        right = expression(known, 3)
    except gc.DTypeError:
        with pytest.raises(gc.DTypeError):
            expression(named, named.shape[0])
        return
    found = expression(named, named.shape[0])
    assert found.dtype == right.dtype
    np.testing.assert_allclose(gc.function([named], found)(value), right.eval({known: value}), rtol=1e-6)


def _grow(rng: random.Random, depth: int) -> Any:
    """Return a random size of n and h, a Dim or an int."""
    if not depth:
        return rng.choice([gc.dim("n"), gc.dim("h"), 2, 3, 5])
    left, right = _grow(rng, depth - 1), _grow(rng, depth - 1)
    kind = rng.randrange(9)
    if kind < 3:
        return left + right
    if kind < 5:
        return left - right
    if kind == 5:
        return left * right
    if kind == 6:
        return left // rng.choice([2, 3, -2, gc.dim("n") + 1])
    return size_max(left, right) if kind == 7 else isqrt(size_min(size_max(left, 0), 1000))


def test_printed_dimensions_read_as_python() -> None:
    rng = random.Random(0)
    shown = 0
    for _ in range(500):
        size = _grow(rng, 3)
        for sizes in ({"n": 4, "h": 7}, {"n": 1, "h": 12}):
            assert eval(str(size), {"max": max, "min": min, "isqrt": math.isqrt, **sizes}) == size_value(size, sizes)
            shown += isinstance(size, Dim)
    assert shown > 700
    h = gc.dim("h")
    assert [str(2 * ((h - 2) // 2) + 2), str((h - 2) // 2), str(h // 2)] == ["2*((h-2)//2)+2", "(h-2)//2", "h//2"]


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_integer_arithmetic_is_pythons(n: int) -> None:
    name = gc.dim("n")
    for compute in (
        lambda k: (k + 3) % 2,
        lambda k: k % (k + 1),
        lambda k: 17 % k,
        lambda k: 17 // k,
        lambda k: (k * k - 7) // 3,
        lambda k: k**3 - k**0,
        lambda k: (1 - k) % 4,
        lambda k: +k - -k,
    ):
        assert size_value(compute(name), {"n": n}) == compute(n)  # type: ignore[no-untyped-call]


def test_a_division_by_a_dimension_of_size_0() -> None:
    x = gc.placeholder("x", shape=("n",))
    with pytest.raises(gc.ShapeError, match="n is 0"):
        gc.function([x], gc.ones((4 // x.shape[0],)))(np.ones(0))
    with pytest.raises(gc.ShapeError, match=r"n//0"):
        gc.dim("n") // 0
