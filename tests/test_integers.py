"""Integers at the edges of their dtypes: compared exactly, filled in only where they fit."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

COMPARISONS: list[Callable[[Any, Any], Any]] = [
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]
GC = [gc.equal, gc.not_equal, gc.less, gc.less_equal, gc.greater, gc.greater_equal]
PAIRS = list(zip(COMPARISONS, GC, strict=True))
EDGES = (-(2**63), -129, -1, 0, 1, 127, 255, 256, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1)


def held(dtype: str) -> np.ndarray[Any, Any]:
    limits = np.iinfo(dtype)
    return np.array([e for e in EDGES if limits.min <= e <= limits.max], dtype)


@pytest.mark.parametrize("dtypes", [("int64", "uint64"), ("uint64", "int64"), ("int8", "uint64"), ("uint64", "int32")])
@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_signed_and_unsigned_compare_exactly(dtypes: tuple[str, str], mode: Any) -> None:
    left, right = (held(d) for d in dtypes)
    x, y = (gc.placeholder(n, shape=(None,), dtype=d) for n, d in zip("xy", dtypes, strict=True))
    f = gc.function([x, y], [compare(x[:, None], y[None, :]) for _, compare in PAIRS], mode=mode)
    for (python, _), found in zip(PAIRS, f(left, right), strict=True):
        wanted = [[python(int(a), int(b)) for b in right] for a in left]
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "uint64"])
def test_python_integers_of_any_size_compare_exactly(dtype: str) -> None:
    values = held(dtype)
    x = gc.placeholder("x", shape=values.shape, dtype=dtype)
    numbers = (*EDGES, 2**70, -(2**70))
    built = [(compare(x, n), compare(n, x)) for _, compare in PAIRS for n in numbers]
    results = iter(gc.function([x], built, on_unused="ignore")(values))
    for python, _ in PAIRS:
        for n in numbers:
            right, left = next(results)
            np.testing.assert_array_equal(right, [python(int(v), n) for v in values])
            np.testing.assert_array_equal(left, [python(n, int(v)) for v in values])
    np.testing.assert_array_equal((x > 10**30).eval({x: values}), np.zeros(values.shape, bool))


def test_clip_leaves_bounds_beyond_the_dtype_open() -> None:
    values = np.array([0, 7, 255], np.uint8)
    np.testing.assert_array_equal(gc.clip(values, -1, 300).eval(), values)
    np.testing.assert_array_equal(gc.clip(values, 3, 2**80).eval(), [3, 7, 255])
    with pytest.raises(gc.DTypeError, match="300 does not fit uint8"):
        gc.clip(values, 300)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gc.full((2,), 300, dtype="uint8"),
        lambda: gc.full((2,), -1, dtype="uint64"),
        lambda: gc.full((2,), np.int64(300), dtype="int8"),
        lambda: gc.full((2,), float("nan"), dtype="int32"),
        lambda: gc.full_like(np.zeros(2, np.uint8), 300),
    ],
)
def test_fill_values_must_fit(make: Callable[[], Any]) -> None:
    with pytest.raises(gc.DTypeError, match=r"fill_value: .* does not fit"):
        make()


def test_dtype_none_is_float64_as_in_numpy() -> None:
    for made in (gc.zeros(2, dtype=None), gc.ones(2, dtype=None), gc.empty(2, dtype=None), gc.eye(2, dtype=None)):
        assert made.dtype == np.float64
    assert [gc.zeros(2, "int8").dtype, gc.ones(2, "int8").dtype] == ["int8", "int8"]
    assert gc.full((2,), 1, "float32").dtype == gc.empty(2, "float32").dtype == "float32"


@pytest.mark.parametrize("k", [2**63 - 1, -(2**63), 2**70, -(2**70), 3, -3, 1, 0, -1])
def test_diagonals_far_outside(k: int) -> None:
    square, near = np.arange(9.0).reshape(3, 3), max(-5, min(5, k))
    for ours, numpys in ((gc.tril, np.tril), (gc.triu, np.triu)):
        np.testing.assert_array_equal(gc.function([], ours(square, k=k))(), numpys(square, k=near))
    np.testing.assert_array_equal(gc.eye(3, k=k).eval(), np.eye(3, k=near))


@pytest.mark.parametrize("k", [1.5, float("nan"), True, None, "1", [1], np.float64(1), gc.constant(1)])
def test_a_diagonal_is_an_int(k: Any) -> None:
    make: Callable[..., Any]
    for make, operand in ((gc.eye, 3), (gc.tril, np.ones((2, 2))), (gc.triu, np.ones((2, 2)))):
        with pytest.raises(gc.ArgumentError, match="k must be an int"):
            make(operand, k=k)
