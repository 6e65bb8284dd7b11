"""Views and assemblies where tables do not reach: strides, symbolic sizes, every slice, errors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.op import View, apply
from graphc.graph.types import Array, Shape, Size, dim, size_value
from graphc.ops.index_key import slice_bounds
from graphc.ops.pointwise import Broadcast
from graphc.ops.shape import PermuteDims, Reshape, Slice, Squeeze, Unslice, contiguous_strides


def untyped(value: Any) -> Any:
    """Hide a wrong argument from the type checker."""
    return value


# -- strides


def strided(flat: Array, offset: Size, strides: Sequence[Size], shape: Shape, sizes: dict[str, int]) -> Array:
    """Read a strided view of flat storage, element by element."""
    ints = [size_value(s, sizes) for s in strides]
    out = np.empty([size_value(s, sizes) for s in shape])
    for index in np.ndindex(out.shape):
        out[index] = flat[size_value(offset, sizes) + sum(i * s for i, s in zip(index, ints, strict=True))]
    return out


N = dim("n")
VIEWS: list[tuple[View, Shape]] = [
    (PermuteDims((2, 0, 1)), (N, 3, 4)),
    (Reshape((N * 3, 4)), (N, 3, 4)),
    (Reshape((N, 2, 6)), (N, 3, 4)),
    (Reshape((1, N, 1, 3, 2, 2)), (N, 3, 4)),
    (Reshape((12 * N,)), (N, 3, 4)),
    (Reshape((N, 3, 4, 1)), (N, 3, 4)),
    (Reshape((0, 5)), (N, 0)),
    (Squeeze((0, 2)), (1, N, 1)),
    (Broadcast((4, N, 3), (1, 2)), (N, 3)),
    (Broadcast((N, 3, 2), (0, 1)), (N, 1)),
    (Slice((0, 1), (N, 2), (1, 2)), (N, 4)),
    (Slice((N - 1, 2), (N, 2), (-1, -1)), (N, 4)),
]


@pytest.mark.parametrize(("view", "shape"), VIEWS, ids=lambda v: str(v) if isinstance(v, View) else "")
def test_access_reads_the_elements_of_evaluate(view: View, shape: Shape) -> None:
    sizes = {"n": 5}
    x = gc.placeholder("x", shape)
    array = np.random.default_rng(0).random([size_value(s, sizes) for s in shape])
    access = view.access(contiguous_strides(shape), shape)
    assert access is not None
    out = apply(view, x)
    got = strided(array.ravel(), *access, out.shape, sizes)
    resolved = view.resolve(sizes)
    np.testing.assert_array_equal(got, resolved.evaluate(array))


@pytest.mark.parametrize(
    ("old", "strides", "new", "wanted"),
    [
        ((3, 4), (1, 3), (12,), None),
        ((3, 4), (1, 3), (3, 2, 2), (1, 6, 3)),
        ((3, 4), (8, 2), (12,), (2,)),
        ((3, 4), (8, 1), (12,), None),
        ((3, 4), (0, 1), (12,), None),
        ((3, 4), (0, 0), (2, 6), (0, 0)),
        ((N, 4), (4, 1), (4 * N,), (1,)),
        ((N, 4), (1, N), (N, 2, 2), (1, 2 * N, N)),
        ((N, 4), (1, N), (4 * N,), None),
        ((3, 1, 4), (4, 99, 1), (12,), (1,)),
        ((3, 4), (-4, 1), (3, 2, 2), (-4, 2, 1)),
        ((2, 3, 4), (24, 4, 1), (2, 12), (24, 1)),
    ],
)
def test_reshape_of_strided_storage(old: Shape, strides: Shape, new: Shape, wanted: Shape | None) -> None:
    """None where NumPy too would have to copy."""
    access = Reshape(new).access(strides, old)
    assert access == (None if wanted is None else (0, wanted))


def test_unslice_is_the_transpose_of_slice() -> None:
    x, y = gc.placeholder("x", ("n", 7)), gc.placeholder("y", ("n", 3))
    taken = apply(Slice((0, 6), (N, 3), (1, -2)), x)
    placed = apply(Unslice((N, 7), (0, 6), (1, -2)), y)
    rng = np.random.default_rng(0)
    values = {x: rng.random((2, 7)), y: rng.random((2, 3))}
    a, b = gc.evaluate([gc.sum(taken * y), gc.sum(placed * x)], values)
    np.testing.assert_allclose(a, b, rtol=1e-14)


# -- slices of symbolic axes


def test_every_slice_of_a_symbolic_axis() -> None:
    bounds = [None, *range(-6, 7)]
    for first, last, step in itertools.product(bounds, bounds, (-3, -2, -1, 1, 2, 3)):
        entry = slice(first, last, step)
        start, size, _ = slice_bounds(entry, N)
        for n in range(6):
            count, origin = size_value(size, {"n": n}), size_value(start, {"n": n})
            assert [origin + i * step for i in range(count)] == list(range(n)[entry]), (entry, n)


def test_sizes_of_common_slices_are_simple() -> None:
    x = gc.placeholder("x", ("n",))
    shown = {"1:": x[1:], ":-1": x[:-1], ":3": x[:3], "-3:": x[-3:], "::-1": x[::-1], "::2": x[::2]}
    assert {key: str(node.shape[0]) for key, node in shown.items()} == {
        "1:": "max(n-1,0)",
        ":-1": "max(n-1,0)",
        ":3": "min(3,n)",
        "-3:": "min(3,n)",
        "::-1": "n",
        "::2": "(n+1)//2",
    }
    assert (x[1:] - x[:-1]).guards == ()


def test_dimensions_as_bounds() -> None:
    x, y = gc.placeholder("x", ("n",)), gc.placeholder("y", ("m",))
    values = {x: np.arange(5.0), y: np.zeros(3)}
    assert x[: y.shape[0]].eval(values).tolist() == [0, 1, 2]
    assert x[y.shape[0] :].eval(values).tolist() == [3, 4]
    assert x[x.shape[0] - 2 :].eval(values).tolist() == [3, 4]
    assert x[x.shape[0] - 1].eval(values) == 4


# -- symbolic sizes


def test_reshape_finds_symbolic_sizes() -> None:
    x = gc.placeholder("x", ("n", 3, "m"))
    assert gc.reshape(x, -1).shape == (3 * x.shape[0] * x.shape[2],)
    assert gc.reshape(x, (x.shape[0], -1)).shape == (x.shape[0], 3 * x.shape[2])
    halves = gc.reshape(x, (-1, 2))
    assert halves.eval({x: np.zeros((2, 3, 4))}).shape == (12, 2)
    with pytest.raises(gc.ShapeError, match=r"reshape at test_shape.py:\d+ needs them equal"):
        halves.eval({x: np.zeros((1, 3, 1))})


def test_reshape_to_a_symbolic_size_that_may_be_zero() -> None:
    x, y = gc.placeholder("x", ("n",)), gc.placeholder("y", ("m",))
    rows = gc.reshape(x, (y.shape[0], -1))
    assert rows.eval({x: np.zeros(6), y: np.zeros(2)}).shape == (2, 3)
    assert rows.eval({x: np.zeros(0), y: np.zeros(0)}).shape == (0, 0)
    with pytest.raises(gc.ShapeError, match="needs them equal"):
        rows.eval({x: np.zeros(6), y: np.zeros(0)})


@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("shift", [-7, -1, 0, 2, 5])
def test_roll_of_a_symbolic_axis(n: int, shift: int) -> None:
    x = gc.placeholder("x", ("n",))
    values = np.arange(n, dtype=float)
    np.testing.assert_array_equal(gc.roll(x, shift).eval({x: values}), np.roll(values, shift))


def test_squeeze_of_a_symbolic_axis_is_checked_in_the_call() -> None:
    x = gc.placeholder("x", ("n", 2))
    out = gc.squeeze(x, 0)
    assert out.eval({x: [[1.0, 2.0]]}).tolist() == [1, 2]
    with pytest.raises(gc.ShapeError, match="dimension n of x is 2 but"):
        out.eval({x: np.zeros((2, 2))})


def test_functions_that_change_nothing_add_nothing() -> None:
    x = gc.placeholder("x", ("n", 3))
    same = [
        gc.reshape(x, x.shape),
        x[:],
        x[...],
        x[:, :],
        gc.permute_dims(x, (0, 1)),
        gc.concat([x]),
        gc.flip(x, axis=()),
    ]
    assert all(node is x for node in same)
    assert gc.roll(x, 3, axis=1) is x
    assert gc.broadcast_to(x, x.shape) is x


# -- errors


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: gc.reshape(x, (5, 2)), r"reshape: f64\[3,4\] has 12 elements, \(5,2\) has 10"),
        (
            lambda x: gc.reshape(x, (5, -1)),
            r"reshape: f64\[3,4\] has 12 elements, which leaves no size for -1 beside 5",
        ),
        (lambda x: gc.reshape(x, (-1, -1)), r"reshape: more than one -1"),
        (lambda x: gc.reshape(x, (-2, 6)), "dimension -2 is negative"),
        (lambda x: gc.reshape(gc.zeros((0, 2)), (0, -1)), "leaves no size for -1 beside 0"),
        (lambda x: gc.permute_dims(x, (0, 0)), r"permute_dims: axes \(0, 0\) do not name each axis of f64\[3,4\] once"),
        (lambda x: gc.permute_dims(x, (0,)), "permute_dims: axes"),
        (lambda x: gc.matrix_transpose(gc.zeros(3)), r"matrix_transpose: two axes needed, f64\[3\] has 1"),
        (lambda x: gc.moveaxis(x, (0, 0), (0, 1)), "moveaxis: .* must be distinct"),
        (lambda x: gc.expand_dims(x, 3), "expand_dims: axis 3 is out of range for 3 axes"),
        (lambda x: gc.squeeze(x, 0), r"squeeze: axis 0 of f64\[3,4\] has size 3, 1 needed"),
        (lambda x: gc.broadcast_to(x, (4, 3)), r"broadcast_to: f64\[3,4\] does not broadcast to f64\[4,3\]"),
        (lambda x: gc.broadcast_to(x, (4,)), "broadcast_to: .* does not broadcast"),
        (lambda x: gc.concat([x, gc.zeros((3, 5))]), r"concat: only axis 0 may differ in size: f64\[3,4\], f64\[3,5\]"),
        (lambda x: gc.concat([x, gc.zeros(3)]), "concat: numbers of axes differ"),
        (lambda x: gc.concat([]), "concat: at least one array is needed"),
        (lambda x: gc.stack([x, gc.zeros((3, 5))]), r"stack: shapes differ: f64\[3,4\], f64\[3,5\]"),
        (lambda x: gc.unstack(gc.placeholder("y", ("n",))), "unstack: axis 0 of .* has a symbolic length; use gc.scan"),
        (lambda x: gc.roll(x, (1, 2), axis=0), "roll: 2 shifts for 1 axes"),
        (lambda x: gc.repeat(x, untyped([1, 2, 3]), axis=0), r"repeat: repeats must be one int, got \[1, 2, 3\]"),
        (lambda x: gc.flip(x, axis=2), "flip: axis 2 is out of range"),
    ],
)
def test_errors_name_the_op_the_shapes_and_the_line(build: Any, message: str) -> None:
    with pytest.raises(gc.GraphcError, match=message + r".*\[test_shape.py:\d+\]"):
        build(gc.zeros((3, 4)))


def test_unstack_gives_one_node_an_entry() -> None:
    parts = gc.unstack(gc.constant([[1, 2, 3], [4, 5, 6]]), axis=1)
    assert [p.eval().tolist() for p in parts] == [[1, 4], [2, 5], [3, 6]]


@pytest.mark.parametrize("part", [np.s_[:1], np.s_[-1:], np.s_[2:3], np.s_[::9]])
@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_one_row_of_a_named_axis_broadcasts(part: Any, mode: Any) -> None:
    x, y = gc.placeholder("x", shape=("n", 3)), gc.placeholder("y", shape=(4, 5, 3))
    row = x[part] if part != np.s_[::9] else x[part][:1]
    square = gc.placeholder("s", shape=("n", "n"))
    outputs = [x - row, row * x, gc.where(x > 0, row, x), y + row, y @ gc.broadcast_to(row[:, :, None], (4, 3, 2))]
    outputs += [square[:1] + square[:, :1], gc.grad(gc.sum(gc.sin(x * row)), x)]
    f = gc.function([x, y, square], outputs, mode=mode)
    rng = np.random.default_rng(3)
    a, b, s = rng.normal(size=(5, 3)), rng.normal(size=(4, 5, 3)), rng.normal(size=(5, 5))
    r = a[part][:1]
    got = f(a, b, s)
    wanted = [
        a - r,
        r * a,
        np.where(a > 0, r, a),
        b + r,
        b @ np.broadcast_to(r[:, :, None], (4, 3, 2)),
        s[:1] + s[:, :1],
    ]
    for found, value in zip(got, wanted, strict=False):
        np.testing.assert_allclose(found, value, rtol=1e-14)
    slope = np.cos(a * r) * r
    slope[range(5)[part][0]] += (np.cos(a * r) * a).sum(0)
    np.testing.assert_allclose(got[-1], slope, rtol=1e-12)
    with pytest.raises(gc.ShapeError, match=r"is 0 but the other is 1"):
        f(a[:0], b, s[:0, :0])


def test_one_row_of_two_parts_of_one_axis() -> None:
    """Equal sizes do not stretch: no size is assumed where none is needed."""
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], x[:1] + x[:1] * 2)
    assert f([]).shape == (0,) and f([2.0, 3.0]).tolist() == [6.0]
