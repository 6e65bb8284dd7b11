"""Convolutions, pooling, padding and interpolation where the tables do not reach: structure, sizes, ties, errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.signal

import graphc as gc
from graphc.codegen.jit.kernels import counters
from graphc.graph.node import Node
from graphc.graph.types import Array

IMAGE = gc.placeholder("image", (2, 3, 6, 5))
WEIGHT = gc.placeholder("weight", (4, 3, 3, 2))
OPEN = gc.placeholder("open", ("n", 3, "h", "w"))


def schedule(outputs: Any, *inputs: Node) -> list[list[str]]:
    """Return the names of the ops in each kernel."""
    return [[n.op.name for n in kernel.nodes] for kernel in gc.function(list(inputs), outputs).schedule]


# -- structure


def test_a_convolution_is_one_copy_and_one_product() -> None:
    """What reads the result reads the product's, which has its layout."""
    out = gc.nn.relu(gc.nn.conv2d(IMAGE, WEIGHT, gc.ones(4)))
    assert schedule(out, IMAGE, WEIGHT) == [["copy"], ["matmul"], ["add", "relu"]]


def test_a_pointwise_convolution_copies_nothing() -> None:
    weight = gc.placeholder("weight", (4, 3, 1, 1))
    assert schedule(gc.nn.relu(gc.nn.conv2d(OPEN, weight)), OPEN, weight) == [["matmul"], ["relu"]]


def test_derivatives_are_products_with_the_same_columns() -> None:
    """One copy into columns serves all; no weight gradient per image is stored; the input's is folded."""
    loss = gc.sum(gc.nn.relu(gc.nn.conv2d(IMAGE, WEIGHT)))
    kernels = schedule([loss, *gc.grad(loss, [IMAGE, WEIGHT])], IMAGE, WEIGHT)
    names = [name for kernel in kernels for name in kernel if name in ("copy", "matmul", "matmul_sum", "fold")]
    # The weight gradient comes first: the columns die with it. The second copy: a result has its own memory.
    assert names == ["copy", "matmul", "matmul_sum", "copy", "matmul", "fold"]


def test_pooling_reads_windows_in_place() -> None:
    assert schedule(gc.nn.max_pool2d(IMAGE, 2), IMAGE) == [["pick_max"]]
    assert schedule(gc.nn.avg_pool2d(IMAGE, 2), IMAGE) == [["sum"], ["multiply"]]


def test_overlapping_rows_are_no_matrix() -> None:
    """The columns of one channel are a view whose rows overlap, which BLAS does not take."""
    x, w = gc.placeholder("x", (1, 1, 5)), gc.placeholder("w", (1, 1, 3))
    assert schedule(gc.nn.relu(gc.nn.conv1d(x, w)), x, w) == [["copy"], ["matmul"], ["relu"]]


# -- sizes known in a call


@pytest.fixture(scope="module")
def network() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A small network over images of any size, with its derivatives, compiled and interpreted."""
    image = gc.placeholder("image", ("n", 3, "h", "w"), "float32")
    weight = gc.placeholder("weight", (4, 3, 3, 3), "float32")
    hidden = gc.nn.relu(gc.nn.conv2d(image, weight, stride=2, padding=1))
    pooled = gc.nn.max_pool2d(hidden, 3, stride=2, padding=1) + gc.nn.avg_pool2d(
        hidden, 3, stride=2, padding=1, count_include_pad=False
    )
    out = gc.nn.global_max_pool(gc.nn.interpolate(pooled, scale_factor=2, mode="bilinear"))
    outputs = [pooled, *gc.grad(gc.sum(out * out), [image, weight])]
    compiled = gc.function([image, weight], outputs)
    return compiled.compile(), gc.function([image, weight], outputs, mode="reference")


def test_other_sizes_compile_nothing(network: tuple[Callable[..., Any], Callable[..., Any]]) -> None:
    compiled, reference = network
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 3, 3, 3)).astype("float32")
    before = counters.compiled
    for shape in ((2, 3, 8, 9), (1, 3, 13, 6), (5, 3, 8, 8), (1, 3, 1, 1)):
        image = rng.standard_normal(shape).astype("float32")
        for got, wanted in zip(compiled(image, weight), reference(image, weight), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)
    assert counters.compiled == before


def test_an_image_too_small_is_refused_in_the_call() -> None:
    f = gc.function([OPEN, WEIGHT], gc.nn.conv2d(OPEN, WEIGHT), mode="reference")
    assert f(np.ones((1, 3, 3, 2)), np.ones((4, 3, 3, 2))).shape == (1, 4, 1, 1)
    with pytest.raises(gc.ShapeError, match=r"dimension h of open is 2; conv2d at test_convolution.py:\d+ needs"):
        f(np.ones((1, 3, 2, 5)), np.ones((4, 3, 3, 2)))


def test_pieces_of_a_symbolic_axis_must_be_equal() -> None:
    f = gc.function([OPEN], gc.nn.adaptive_avg_pool2d(OPEN, (2, None)), mode="reference")
    assert f(np.ones((1, 3, 6, 5))).shape == (1, 3, 2, 5)
    with pytest.raises(gc.ShapeError, match="needs them equal"):
        f(np.ones((1, 3, 5, 5)))


# -- values


def test_against_scipy() -> None:
    rng = np.random.default_rng(1)
    image, weight = rng.standard_normal((1, 2, 40, 33)), rng.standard_normal((3, 2, 7, 4))
    pair = zip(weight[:, 0], weight[:, 1], strict=True)
    wanted = [np.sum([scipy.signal.correlate(image[0, c], w[c], "valid") for c in range(2)], 0) for w in pair]
    got = gc.function([], gc.nn.conv2d(gc.constant(image), gc.constant(weight)))()
    np.testing.assert_allclose(got[0], np.stack(wanted), rtol=1e-11, atol=1e-12)


def test_in_a_debugger() -> None:
    out = gc.sum(gc.nn.max_pool2d(gc.nn.conv2d(IMAGE, WEIGHT), 2) ** 2)
    rng = np.random.default_rng(2)
    arrays = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 2))
    outputs = [out, *gc.grad(out, [IMAGE, WEIGHT])]
    results = [gc.function([IMAGE, WEIGHT], outputs, mode=mode)(*arrays) for mode in ("debug", "reference")]
    for got, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


def test_inside_a_loop() -> None:
    """A convolution as the step of a loop, differentiated through all steps."""
    x, w = gc.placeholder("x", (2, 1, 6)), gc.placeholder("w", (1, 1, 3))
    last = gc.fori_loop(0, 3, lambda i, h: gc.tanh(gc.nn.conv1d(h, w, padding="same")), x)
    outputs = [last, *gc.grad(gc.sum(last * last), [x, w])]
    rng = np.random.default_rng(3)
    arrays = rng.standard_normal((2, 1, 6)), rng.standard_normal((1, 1, 3))
    results = [gc.function([x, w], outputs, mode=mode)(*arrays) for mode in ("compiled", "reference")]
    for got, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)
    assert gc.check_grad(gc.sum(last * last), [x, w], dict(zip((x, w), arrays, strict=True))) < 1e-6


def pooled_gradient(x: Any, pool: Callable[[Node], Node], mode: str) -> Array:
    node = gc.placeholder("x", np.shape(x))
    f = gc.function([node], gc.grad(gc.sum(pool(node)), node), mode=mode)  # type: ignore[arg-type]
    out: Array = f(np.asarray(x))
    return out


@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_the_first_of_equal_elements_takes_the_gradient(mode: str) -> None:
    ties = [[[1.0, 2.0, 2.0, 0.0], [2.0, 2.0, 0.0, -0.0]]]
    got = pooled_gradient(ties, lambda x: gc.nn.max_pool2d(x, 2), mode)
    np.testing.assert_array_equal(got, [[[0, 1, 1, 0], [0, 0, 0, 0]]])
    overlapping = pooled_gradient([[1.0, 1.0, 1.0, 0.0]], lambda x: gc.nn.max_pool1d(x, 2, stride=1), mode)
    np.testing.assert_array_equal(overlapping, [[1, 1, 1, 0]])
    uneven = pooled_gradient(np.zeros((1, 5, 5)), lambda x: gc.nn.adaptive_max_pool2d(x, 2), mode)
    np.testing.assert_array_equal(np.argwhere(uneven[0]), [[0, 0], [0, 2], [2, 0], [2, 2]])


def test_windows_of_zeros_have_no_slope_in_norms() -> None:
    for p in (1, 2, 3.0):
        got = pooled_gradient([[0.0, 0.0, 3.0, 4.0]], lambda x, p=p: gc.nn.lp_pool1d(x, p, 2), "reference")  # type: ignore[misc]
        np.testing.assert_array_equal(got[:, :2], 0)
        assert np.all(got[:, 2:] > 0)


def test_padding_is_never_the_largest() -> None:
    low = np.full((1, 1, 3), -1e300)
    np.testing.assert_array_equal(gc.nn.max_pool1d(low, 3, padding=1).eval(), low[..., :1])
    integers = np.full((1, 1, 3), -(2**31), "int32")
    assert gc.nn.max_pool1d(integers, 3, padding=1).eval().dtype == "int32"


def first_largest(x: Array, kernel: int, stride: int, before: int, after: int, dilation: int) -> Array:
    """Count, by loops, how often each element of a square image is the first largest of a window."""
    n, out = len(x), np.zeros_like(x)
    starts = range(-before, n + after - dilation * (kernel - 1), stride)
    for top, left in itertools.product(starts, starts):
        rows, columns = ([start + k * dilation for k in range(kernel)] for start in (top, left))
        inside = [(i, j) for i in rows for j in columns if 0 <= i < n and 0 <= j < n]
        out[max(inside, key=lambda place: x[place])] += 1  # max keeps the first
    return np.asarray(out)


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "dilation"),
    [(3, 1, (1, 1), 1), (3, 2, (1, 1), 2), (2, 1, (1, 0), 1), (3, 1, (2, 2), 2), (6, 1, (3, 3), 1)],
)
def test_padding_takes_no_gradient(kernel: int, stride: int, pads: tuple[int, int], dilation: int, mode: str) -> None:
    """Although its value, the lowest, is in the data too; windows are unrolled or not, sizes known or named."""
    low = np.full((5, 5), -np.inf)
    mixed = np.where(np.random.default_rng(0).random((5, 5)) < 0.3, 1.0, low)
    for named, image in itertools.product((False, True), (low, mixed)):
        x = gc.placeholder("x", (1, "n", "n") if named else (1, 5, 5))
        pooled = gc.nn.max_pool2d(x, kernel, stride=stride, padding=(pads, pads), dilation=dilation)
        slope, moved = (gc.grad(gc.sum(pooled), x), gc.jvp(pooled, x, gc.arange(25.0).reshape((1, 5, 5))))
        f = gc.function([x], [slope, gc.sum(moved)], mode=mode)  # type: ignore[arg-type]
        got, total = f(image[None])
        wanted = first_largest(image, kernel, stride, *pads, dilation)
        np.testing.assert_array_equal(got[0], wanted)
        assert total == np.vdot(wanted, np.arange(25.0).reshape(5, 5))


# -- refusals

REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: gc.nn.conv2d(IMAGE, gc.zeros((4, 5, 3, 3))),
        gc.ShapeError,
        r"conv2d: channels differ from those of weight: f64\[2,3,6,5\], f64\[4,5,3,3\] \(3 != 5\)",
    ),
    (
        lambda: gc.nn.conv2d(IMAGE, gc.zeros((4, 3, 7, 3))),
        gc.ShapeError,
        r"conv2d: kernel size 7 is larger than the padded axis of 6 in f64\[2,3,6,5\]",
    ),
    (
        lambda: gc.nn.conv2d(IMAGE, WEIGHT, dilation=3),
        gc.ShapeError,
        r"conv2d: kernel size 3 \(7 with dilation 3\) is larger than the padded axis of 6",
    ),
    (lambda: gc.nn.conv2d(IMAGE, gc.zeros((4, 3, 0, 3))), gc.ShapeError, "kernel has size 0 along an axis"),
    (lambda: gc.nn.conv2d(IMAGE, WEIGHT, groups=2), gc.ShapeError, r"conv2d: 3 channels do not divide into 2 groups"),
    (lambda: gc.nn.conv2d(IMAGE, gc.zeros((4, 1, 3, 3)), groups=3), gc.ShapeError, "4 outputs do not divide into 3"),
    (lambda: gc.nn.conv2d(IMAGE, WEIGHT, groups=0), gc.ArgumentError, "groups must be an int of at least 1, got 0"),
    (lambda: gc.nn.conv2d(gc.zeros(5), WEIGHT), gc.ShapeError, r"4 axes \(batch, channels, \*spatial\) needed"),
    (lambda: gc.nn.conv2d(IMAGE, gc.zeros((4, 3, 3))), gc.ShapeError, r"weight needs 4 axes, got f64\[4,3,3\]"),
    (lambda: gc.nn.conv2d(IMAGE, WEIGHT, gc.zeros(3)), gc.ShapeError, r"conv2d: bias needs .* \(4 != 3\)"),
    (lambda: gc.nn.conv2d(IMAGE, WEIGHT, gc.zeros((4, 1))), gc.ShapeError, "bias needs one axis"),
    (lambda: gc.nn.conv2d(IMAGE, WEIGHT, stride=0), gc.ArgumentError, "stride must be an int from 1 to [0-9]+, got 0"),
    (
        lambda: gc.nn.conv2d(IMAGE, WEIGHT, stride=(1, 2, 3)),
        gc.ArgumentError,
        r"one for each of 2 axes, got \(1, 2, 3\)",
    ),
    (lambda: gc.nn.conv2d(IMAGE, WEIGHT, padding="half"), gc.ArgumentError, "padding must be .*, got 'half'"),
    (lambda: gc.nn.conv2d(IMAGE, WEIGHT, padding="same", stride=2), gc.ArgumentError, 'padding="same" needs stride 1'),
    (lambda: gc.nn.conv2d(IMAGE, WEIGHT, padding=1.5), gc.ArgumentError, "padding must be an int"),
    (lambda: gc.nn.conv2d(IMAGE, WEIGHT, padding=((1, 1),)), gc.ArgumentError, "a pair for each of 2 axes"),
    (
        lambda: gc.nn.conv_transpose2d(IMAGE, gc.zeros((4, 3, 3, 3))),
        gc.ShapeError,
        r"conv_transpose2d: channels differ from those of weight: f64\[2,3,6,5\], f64\[4,3,3,3\] \(3 != 4\)",
    ),
    (
        lambda: gc.nn.conv_transpose2d(IMAGE, gc.zeros((3, 4, 2, 2)), output_padding=1),
        gc.ArgumentError,
        "must be less than stride or dilation",
    ),
    (
        lambda: gc.nn.conv_transpose1d(gc.zeros((1, 1, 2)), gc.zeros((1, 1, 2)), padding=2),
        gc.ShapeError,
        "padding leaves nothing",
    ),
    (
        lambda: gc.nn.max_pool2d(IMAGE, 7),
        gc.ShapeError,
        "max_pool2d: kernel size 7 is larger than the padded axis of 6",
    ),
    (
        lambda: gc.nn.max_pool2d(IMAGE, 2, padding=2),
        gc.ArgumentError,
        r"padding \(2, 2\) is more than half the window of 2",
    ),
    (lambda: gc.nn.max_pool2d(gc.zeros((2, 3, 0, 4)), 1), gc.ShapeError, r"a spatial axis of f64\[2,3,0,4\] is empty"),
    (lambda: gc.nn.avg_pool1d(gc.zeros(4), 2), gc.ShapeError, "avg_pool1d: 3 axes"),
    (lambda: gc.nn.lp_pool1d(gc.zeros((1, 4)), 0, 2), gc.ArgumentError, "norm_type must be a positive number, got 0"),
    (
        lambda: gc.nn.adaptive_max_pool1d(gc.zeros((1, 4)), 0),
        gc.ArgumentError,
        "output_size must be an int from 1 to [0-9]+, got 0",
    ),
    (lambda: gc.nn.global_avg_pool(gc.zeros((2, 3))), gc.ShapeError, r"\(batch, channels, \*spatial\) needed"),
    (lambda: gc.nn.fold(gc.zeros((1, 4, 5)), (3, 3), 2), gc.ShapeError, r"4 windows fit output_size: .*\(4 != 5\)"),
    (lambda: gc.nn.fold(gc.zeros((1, 5, 4)), (3, 3), 2), gc.ShapeError, "5 rows do not divide into 4"),
    (lambda: gc.nn.interpolate(IMAGE, 2, mode="linear"), gc.ShapeError, "'linear' needs 1 spatial axes"),
    (
        lambda: gc.nn.interpolate(IMAGE, 2, mode="cubic"),
        gc.ArgumentError,
        "mode must be one of .*'bicubic'.*got 'cubic'",
    ),
    (lambda: gc.nn.interpolate(IMAGE), gc.ArgumentError, "give either size or scale_factor"),
    (lambda: gc.nn.interpolate(IMAGE, scale_factor=-1), gc.ArgumentError, "scale_factor must be a positive number"),
    (lambda: gc.nn.interpolate(IMAGE, scale_factor=0.1), gc.ShapeError, "leaves nothing of an axis of 6"),
    (lambda: gc.nn.interpolate(OPEN, scale_factor=1.5), gc.ShapeError, "a symbolic axis .* needs a whole scale_factor"),
    (lambda: gc.nn.interpolate(IMAGE, 2, align_corners=True), gc.ArgumentError, "align_corners has no meaning"),
    (lambda: gc.pad(IMAGE, ((1, 1), (2, 2))), gc.ArgumentError, "pad_width must be .* for each of 4 axes"),
    (lambda: gc.pad(IMAGE, -1), gc.ShapeError, "pad_width -1 is negative"),
    (lambda: gc.pad(IMAGE, 1.5), gc.ArgumentError, "pad_width must be an int, got 1.5"),
    (lambda: gc.pad(IMAGE, 1, mode="mirror"), gc.ArgumentError, "mode must be .*got 'mirror'"),
    (
        lambda: gc.pad(gc.zeros(3, dtype="int64"), 1, constant_values=0.5),
        gc.DTypeError,
        r"float64 does not fit i64\[3\]",
    ),
    (lambda: gc.pad(gc.zeros(0), 1, mode="edge"), gc.ShapeError, r"axis 0 of f64\[0\] is empty"),
]


@pytest.mark.parametrize(("build", "error", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_refusals(build: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message + r".*\[test_convolution.py:\d+\]"):
        build()
