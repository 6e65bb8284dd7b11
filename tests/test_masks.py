"""Boolean masks as keys: nodes that change elements, and known masks that read and change them, against NumPy."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

RNG = np.random.default_rng(0)
METHODS: dict[str, Callable[[Any, Any], Any]] = {
    "set": lambda x, v: np.broadcast_to(v, x.shape),
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "min": np.minimum,
    "max": np.maximum,
}


def changed(x: Any, key: Any, method: str, value: Any) -> Any:
    """Return what NumPy makes of `x[key] = method(x[key], value)`."""
    out = np.array(x)
    out[key] = METHODS[method](out[key], value)
    return out


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("method", METHODS)
def test_masks_that_a_call_decides(method: str, mode: Any) -> None:
    x = gc.placeholder("x", shape=("n", 3))
    rows = gc.placeholder("rows", shape=("n",), dtype="bool")
    v = gc.placeholder("v", shape=(3,))
    values, value = RNG.uniform(0.5, 2, size=(4, 3)), np.array([1.0, 2.0, 3.0])
    first = np.array([True, False, True, True])
    apply: Callable[..., gc.Node] = getattr(gc.ops.IndexUpdater, method)
    f = gc.function(
        [x, rows, v], [apply(x.at[rows], v), apply(x.at[x > 1], 2.0), apply(x.at[(rows,)], v[None])], mode=mode
    )
    for flags in (first, ~first, np.zeros(4, bool), np.ones(4, bool)):
        by_row, by_element, again = f(values, flags, value)
        np.testing.assert_allclose(by_row, changed(values, flags, method, value), rtol=1e-14)
        np.testing.assert_array_equal(again, by_row)
        np.testing.assert_allclose(by_element, changed(values, values > 1, method, 2.0), rtol=1e-14)
    with pytest.raises(gc.ShapeError):
        f(values, [True], value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_dtypes_are_kept(method: str, dtype: str) -> None:
    x = np.array([1, 2, 3, 4], dtype)
    mask = np.array([True, False, False, True])
    node = gc.constant(x)
    flags = gc.placeholder("flags", shape=(4,), dtype="bool")
    apply: Callable[..., gc.Node] = getattr(gc.ops.IndexUpdater, method)
    if method == "divide" and dtype != "float32":
        with pytest.raises(gc.DTypeError, match="does not go into"):
            apply(node.at[flags], 2)
        return
    out = gc.function([flags], apply(node.at[flags], 2))(mask)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, changed(x, mask, method, np.array(2, dtype)))


def test_gradients_end_at_masks() -> None:
    x = gc.placeholder("x", shape=(4,))
    out = gc.sum(gc.log(x.at[x <= 0].set(1.0)))
    np.testing.assert_array_equal(gc.function([x], gc.grad(out, x))([2.0, 0.0, -1.0, 4.0]), [0.5, 0, 0, 0.25])
    gc.check_grad(gc.sum(gc.sin(x.at[x > 1].multiply(x[0]).at[x < 1].power(2))), x, {x: [0.7, 1.5, 2.0, 0.3]})


KNOWN: dict[str, Any] = {
    "one axis": np.array([True, False, True, True]),
    "a list": [False, True, False, True],
    "all axes": RNG.random((4, 3)) > 0.5,
    "nothing": np.zeros(4, bool),
    "a row of": (np.array([True, True, False, True]), 1),
    "a column of": (slice(None), np.array([True, False, True])),
    "beside a slice": (np.array([True, False, True, True]), slice(1, 3)),
    "two": (np.array([True, False, True, False]), np.array([True, False, True])),
    "before a new axis": (np.array([True, False, True, True]), None),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("rows", [4, "n"])
def test_known_masks_are_numpys(name: str, rows: Any) -> None:
    x = gc.placeholder("x", shape=(rows, 3))
    values, key = RNG.normal(size=(4, 3)), KNOWN[name]
    np.testing.assert_array_equal(gc.function([x], x[key])(values), values[key])
    update = RNG.normal(size=values[key].shape)
    changed_by = {"set": update, "add": values[key] + update, "multiply": values[key] * update}
    for method, wanted in changed_by.items():
        out = values.copy()
        out[key] = wanted
        apply: Callable[..., gc.Node] = getattr(gc.ops.IndexUpdater, method)
        np.testing.assert_allclose(gc.function([x], apply(x.at[key], update))(values), out, rtol=1e-15)
    if rows == "n" and name != "a column of":
        with pytest.raises(gc.ShapeError, match="mask"):
            gc.function([x], x[key])(np.zeros((5, 3)))


def test_what_does_not_fit_is_refused() -> None:
    x = gc.placeholder("x", shape=(4, 3))
    flags = gc.placeholder("flags", shape=(4,), dtype="bool")
    cases: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
        "reading": (lambda: x[flags], gc.ArgumentError, "depends on data"),
        "a mask in a tuple": (lambda: x.at[flags, 0].set(1.0), gc.ArgumentError, "depends on data"),
        "a value a place": (lambda: x.at[flags].set(np.zeros((2, 3))), gc.ShapeError, r"broadcasts to \[3\]"),
        "another size": (lambda: x.at[flags[:3]].set(0.0), gc.IndexOutOfBoundsError, "mask"),
        "too many axes": (lambda: x.at[gc.zeros((4, 3, 1)) > flags[:, None, None]].set(0.0), gc.GraphcError, "mask"),
        "a known mask of another size": (lambda: x[np.ones(5, bool)], gc.IndexOutOfBoundsError, "size 5"),
        "another kind of number": (lambda: gc.arange(4).at[flags].set(0.5), gc.DTypeError, "float64 given, i64"),
        "places that may repeat": (lambda: x.at[gc.argsort(x[:, 0])].multiply(2.0), gc.ArgumentError, "repeat"),
    }
    for name, (make, kind, text) in cases.items():
        with pytest.raises(kind, match=text):
            make()
            pytest.fail(name)
