"""What once went wrong, one test each; the first line of each docstring says what it was."""

from __future__ import annotations

import gc as collector
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphc as gc

N = gc.placeholder("x", shape=("n",))
api: Any = gc
"""graphc, for calls that the type checker refuses."""


def run(code: str, timeout: float = 60) -> str:
    """Run a program of its own and return what it prints; a hang or a crash fails the test."""
    head = "import os, signal, threading, time\nimport numpy as np\nimport graphc as gc\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


# -- arguments


@pytest.mark.parametrize("kind", [np.matrix, np.recarray, np.memmap])
def test_subclasses_of_ndarray(kind: Any) -> None:
    """A C-contiguous subclass made the first call bind memory for ever: the native entry never accepts one."""
    x = gc.placeholder("x", shape=("n", "m"))
    f = gc.function([x], x * 2)
    value = np.ones((2, 3)).view(kind)
    for _ in range(2):
        out = f(value)
        assert type(out) is np.ndarray and (out == 2).all()


def test_equal_dtypes_that_are_objects_of_their_own() -> None:
    """Each unpickled array (its dtype is a new object) left a bound program behind."""
    f = gc.function([N], N * 2)
    f(np.ones(3))
    for _ in range(20):
        f(pickle.loads(pickle.dumps(np.ones(3))))
        f(np.ones(3).astype(np.dtype("f8", metadata={"unit": "m"})))
    assert f._compiled is not None and [len(pool) for pool in f._compiled.pools.values()] == [1]


def test_an_unpickled_function_is_entered_directly() -> None:
    """The types of an unpickled graph had dtype objects of their own, so no argument ever fitted the native entry."""
    f = pickle.loads(pickle.dumps(gc.function([N], N * 2)))
    f(np.ones(3))
    assert f(np.ones(3)).dtype is np.dtype("float64") and len(f._compiled.pools) == 1
    f._compiled.pools.clear()
    f(f(np.ones(3)))
    assert not f._compiled.pools, "the native entry takes the call"


def test_dlpack_that_fails() -> None:
    """An exporter's own exception reached the user."""

    class Exported:
        def __dlpack__(self, **kwargs: Any) -> Any:
            raise BufferError("on another device")

        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

    with pytest.raises(gc.ArgumentError, match=r"argument x: Exported cannot become an array: on another device  \["):
        gc.function([N], N)(Exported())


def test_a_number_that_overflows_the_declared_dtype() -> None:
    """A Python float beyond float32 became inf with a RuntimeWarning from inside graphc."""
    s = gc.placeholder("s", dtype="float32")
    f = gc.function([s], s * 2)
    with pytest.raises(gc.DTypeError, match=r"argument s: 1e\+300 does not fit float32, f32\[\] needed"):
        f(1e300)
    assert f(float("inf")) == np.inf


def test_messages_of_guards_end_with_the_callers_line() -> None:
    """An error of disagreeing dimensions did not end with the line of the call; an index asked for equal sizes."""
    y = gc.placeholder("y", shape=("m",))
    with pytest.raises(gc.ShapeError, match=r"add at test_regressions.py:\d+ needs them equal  \[test_regressions"):
        gc.function([N, y], N + y)([1.0], [1.0, 2.0])
    with pytest.raises(gc.IndexOutOfBoundsError, match=r"index -4 of axis 0 at .*:\d+ is out of bounds with n=3  \["):
        gc.function([N], N[-4])([1.0, 2.0, 3.0])


def test_a_dimension_that_no_argument_gives() -> None:
    """KeyError: 'm'."""
    with pytest.raises(gc.ShapeError, match=r"dimension m: no argument gives it a size \(.*\)  \[test_regressions"):
        gc.function([N], [N, gc.zeros("m")])(np.ones(2))


# -- values


def test_guards_of_what_is_only_differentiated() -> None:
    """A gradient lost the guards of the loss it came from, and read beyond its arrays."""
    y, z = gc.placeholder("y", shape=("m", 3)), gc.placeholder("z", shape=("n", "m"))
    loss = gc.sum(gc.concat([z, y], axis=0) * 2.0)
    for f in (gc.function([y, z], gc.grad(loss, [y, z])), gc.function([y, z], gc.jvp(loss, y, y), on_unused="ignore")):
        with pytest.raises(gc.ShapeError, match="concat at"):
            f(np.ones((2, 3)), np.ones((4, 2)))
        f(np.ones((3, 3)), np.ones((4, 3)))


def test_a_stored_value_is_reread_after_it_is_stored() -> None:
    """A kernel of one point with two phases read its own output before writing it."""
    w = gc.shared(np.full((1, 1), 3.0), name="w")
    a = w * 2
    b = gc.sum(w * w, axis=1, keepdims=True)
    f = gc.function([], [w, a, gc.sum(a * b, axis=0)])
    for got, wanted in zip(f(), ([[3.0]], [[6.0]], [54.0]), strict=True):
        np.testing.assert_array_equal(got, wanted)
    x = gc.shared(np.full((1, 1), 3), name="x")
    right = gc.bitwise_right_shift(x, gc.clip(x, 0, 5))
    f = gc.function([], [right, gc.reshape(right @ (x @ x.T), (1, 1, 1))], updates={x: (x @ x.T).T})
    assert [out.item() for out in f()] == [0, 0] and x.get_value() == 9
    x.set_value(np.full((1, 1), -1))
    assert [out.item() for out in f()] == [-1, -1]


def test_a_product_with_a_scalar_of_sizes() -> None:
    """KeyError: BLAS was given a scalar that kernels compute in place, so that it has no memory."""
    flat = gc.reshape(N, (-1, 1))
    scalar = gc.broadcast_to(gc.constant(1.0) * N.shape[0] + 0.5, (1, 1))
    np.testing.assert_array_equal(gc.function([N], flat @ scalar)(np.ones(2)), np.full((2, 1), 2.5))


@pytest.mark.parametrize("mode", ["compiled", "reference", "debug"])
def test_an_index_where_nothing_is_read(mode: Any) -> None:
    """The interpreter refused an index outside of an empty region, compiled kernels did not."""
    x, i = gc.placeholder("x", shape=("n", "m")), gc.placeholder("i", shape=("k",), dtype="int64")
    f = gc.function([x, i], [x[i], x.at[i].set(1.0)], mode=mode)
    assert [out.shape for out in f(np.ones((2, 0)), [5, 7])] == [(2, 0), (2, 0)]


# -- calls inside calls, threads, forks, signals


@pytest.fixture
def eager_collector() -> Iterator[None]:
    before = collector.get_threshold()
    collector.set_threshold(1)
    yield
    collector.set_threshold(*before)


@pytest.mark.usefixtures("eager_collector")
def test_a_finalizer_that_calls_the_function() -> None:
    """The collector ran while the entry made the tuple of results, and a finalizer's call took their place."""
    f = gc.function([N], (N + 1, N + 2))
    one, other = np.zeros(3), np.full(3, 100.0)
    f(one)

    class Calls:
        me: Any

        def __del__(self) -> None:
            f(other)

    for _ in range(3000):
        dead = Calls()
        dead.me = dead
        del dead
        first, second = f(one)
        assert first[0] == 1 and second[0] == 2


LONG = """
x = v = gc.placeholder("x", shape=("n",))
for _ in range(100):
    v = gc.sin(v) + x
w = gc.shared(0.0, name="w")
f = gc.function([x], gc.sum(v), updates={w: w + 1.0})
f(np.zeros(3))
big = np.full(3_000_000, 0.1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timers")
def test_a_signal_handler_that_uses_the_state_of_the_call_it_interrupts() -> None:
    """It waited for ever for its own thread."""
    code = """
seen = []
def attempt(action):
    try: seen.append(float(action()))
    except gc.GraphcError as error: seen.append("unfinished call of this thread" in str(error))
def handler(*_):
    attempt(lambda: f(np.zeros(3)))
    attempt(lambda: w.set_value(7.0))
    attempt(w.get_value)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
f(big)
print(seen, float(w.get_value()))
"""
    assert run(LONG + code) == "[True, True, 1.0] 2.0"


def test_state_is_read_and_set_between_calls() -> None:
    """get_value and set_value did not wait for a program that runs without the GIL; readers saw torn values."""
    w = gc.shared(np.zeros(100_000), name="w")
    v: gc.Node = w
    for _ in range(40):
        v = gc.sin(v) * 0 + w
    f = gc.function([], None, updates={w: v + 1.0})
    f()
    torn: list[bool] = []
    thread = threading.Thread(target=lambda: [f() for _ in range(30)])
    thread.start()
    while thread.is_alive():
        value = w.get_value()
        torn.append(bool(value.min() != value.max()))
    thread.join()
    assert torn and not any(torn)


def test_modes_that_share_state_in_threads() -> None:
    """The interpreter's updates were lost where a compiled function updated the same state."""
    w = gc.shared(0.0, name="w")
    modes: tuple[Any, ...] = ("compiled", "reference", "debug")
    functions = [gc.function([], w, updates={w: w + 1}, mode=mode) for mode in modes]
    threads = [threading.Thread(target=lambda f=f: [f() for _ in range(500)]) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert w.get_value() == 1500


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_forks_while_threads_compile_and_call() -> None:
    """A child waited for ever for locks of threads that it does not have."""
    code = """
gc.set_cache(None)
d = gc.function([x], gc.sum(v), mode="debug")
stop = False
def compile_all():
    k = 0.0
    while not stop:
        k += 1
        gc.function([x], gc.sum(gc.sin(x * k) * x) if k % 2 else x + gc.cos(x))(np.zeros(3))
def call_all():
    while not stop:
        f(big[:300_000]); d(np.zeros(3))
threads = [threading.Thread(target=t) for t in (compile_all, call_all)]
for t in threads: t.start()
codes = []
for k in range(4):
    time.sleep(0.1 + 0.03 * k)
    child = os.fork()
    if not child:
        signal.alarm(20)
        f(big[:300_000]); d(np.zeros(2)); gc.function([x], gc.exp(x) - k)(np.zeros(3))
        os._exit(0)
    codes.append(os.waitpid(child, 0)[1])
stop = True
for t in threads: t.join()
print(codes)
"""
    assert run(LONG + code, 120) == "[0, 0, 0, 0]" and signal.SIGALRM


# -- programs that are refused


@pytest.mark.parametrize(
    ("build", "kind", "message"),
    [
        (lambda x, w: api.placeholder("y", shape=3.0), gc.ShapeError, "shape 3.0 is not an int"),
        (lambda x, w: api.dim("a b"), gc.ShapeError, "dimension name 'a b' is not an identifier"),
        (lambda x, w: api.shared([[1], [1, 2]]), gc.ArgumentError, "shared: list cannot become an array"),
        (lambda x, w: api.shared(1.0, name=5), gc.ArgumentError, "shared: name must be a string, got 5"),
        (lambda x, w: api.constant(300, dtype="uint8"), gc.DTypeError, "constant: 300 does not fit uint8"),
        (lambda x, w: api.constant(np.nan, dtype="int64"), gc.DTypeError, "constant: nan does not fit int64"),
        (lambda x, w: x + None, gc.ArgumentError, "add: a number or an array of numbers is needed, got None"),
        (lambda x, w: x + 10**400, gc.DTypeError, "add: a Python integer of 1329 bits does not fit float64"),
        (lambda x, w: x.at.set(1.0), gc.ArgumentError, r"at: x.at.set\(...\) has no index"),
        (lambda x, w: api.zeros(2, dtype="uint8").at[0].set(300), gc.DTypeError, "at.*: 300 does not fit uint8"),
        (lambda x, w: api.one_hot([1], 2.5), gc.ShapeError, "dimension 2.5 is not an int"),
        (lambda x, w: api.permute_dims(x, None), gc.ArgumentError, "permute_dims: axes must be a sequence"),
        (lambda x, w: api.roll(x, 1.5), gc.ArgumentError, "roll: shift must be an int or a dimension, got 1.5"),
        (lambda x, w: api.concat(5), gc.ArgumentError, "concat: a sequence of arrays is needed, got 5"),
        (lambda x, w: api.arange(np.inf), gc.ArgumentError, "arange: a bound is inf"),
        (lambda x, w: api.tensordot(x, x, axes="a"), gc.ArgumentError, "tensordot: axes must be an int or a pair"),
        (lambda x, w: api.diagonal(api.outer(x, x), offset="a"), gc.ArgumentError, "diagonal: offset must be an int"),
        (lambda x, w: api.Graph([5]), gc.ArgumentError, "a graph's outputs are nodes, got int"),
        (lambda x, w: api.evaluate(x, None), gc.ArgumentError, "evaluate: bindings must map"),
        (lambda x, w: api.function(None, x), gc.ArgumentError, "placeholder"),
        (lambda x, w: api.function(5, x), gc.ArgumentError, "inputs must be placeholders, got int"),
        (lambda x, w: api.function([x], x, updates=5), gc.ArgumentError, "updates maps shared nodes"),
        (lambda x, w: api.function([x], x, updates=[w]), gc.ArgumentError, "updates maps shared nodes"),
        (
            lambda x, w: api.function([x], x, updates={w: "a"}),
            gc.ArgumentError,
            "update of w: a number or an array of numbers is needed",
        ),
        (lambda x, w: api.function([x], x, givens=5), gc.ArgumentError, "givens maps nodes to nodes, got int"),
        (lambda x, w: api.function([x], x, on_unused="?"), gc.ArgumentError, "on_unused must be"),
        (lambda x, w: api.function([x], x, precision="?"), gc.ArgumentError, "precision must be"),
        (lambda x, w: w.set_value([[1], [1, 2]]), gc.ArgumentError, "set_value of w: list cannot become an array"),
        (lambda x, w: w.set_value(np.ma.ones(3)), gc.ArgumentError, "set_value of w: masked arrays"),
    ],
)
def test_what_reached_the_user_raw_or_not_at_all(build: Any, kind: type[Exception], message: str) -> None:
    """A TypeError, ValueError or AttributeError from inside graphc, a warning, or a silent wrong value."""
    with pytest.raises(kind, match=message + r".*\[test_regressions.py:\d+\]"):
        build(N, gc.shared(np.zeros(3), name="w"))


@pytest.mark.parametrize("mode", ["compiled", "reference", "debug"])
def test_givens_of_another_size(mode: Any) -> None:
    """A node given for another was read at the other's size, beyond its end."""
    y, z = gc.placeholder("y", shape=("n",)), gc.placeholder("z", shape=("m",))
    f = gc.function([y, z], N + y, givens={N: z}, mode=mode)
    np.testing.assert_array_equal(f(np.ones(3), np.ones(3)), np.full(3, 2.0))
    with pytest.raises(gc.ShapeError, match=r"dimension n of y is 5 but dimension m of z is 3; givens at"):
        f(np.ones(5), np.ones(3))


# -- loops


@pytest.mark.parametrize("mode", ["compiled", "debug"])
def test_loops_of_one_body_side_by_side(mode: Any) -> None:
    """A loop and one made from it share placeholders: run as one, each read the other's carries, or no memory."""
    s = gc.placeholder("s")
    last = gc.fori_loop(0, 5, lambda i, c: gc.sin(c) * s, s)
    other = gc.Graph([last]).replace({s: s * 2})[0].outputs[0]
    while_last = gc.while_loop(lambda c: c < 5, lambda c: c * s, 1.0, max_steps=20)
    outputs = [last, other, gc.grad(while_last, s), gc.jvp(while_last, s, 1.0)]
    wanted = gc.evaluate(outputs, {s: 1.5})
    np.testing.assert_allclose(gc.function([s], outputs, mode=mode)(1.5), wanted, rtol=1e-14)


@pytest.mark.parametrize("mode", ["compiled", "debug", "reference"])
def test_associative_scan_of_a_function_that_refuses_zeros(mode: Any) -> None:
    """The unused result of the first step was that of zeros: a LinAlgError for a product that inverts."""
    m = gc.placeholder("m", shape=("n", 2, 2))
    inv = gc.linalg.inv
    for reverse in (False, True):
        sums = gc.associative_scan(lambda a, b: inv(inv(a) + inv(b)), m, reverse=reverse)
        f = gc.function([m], [sums, gc.grad(gc.sum(sums), m)], mode=mode)
        ones = np.broadcast_to(np.eye(2), (3, 2, 2))
        order = slice(None, None, -1 if reverse else 1)
        found, slope = f(ones)
        np.testing.assert_allclose(found[order, 0, 0], [1, 1 / 2, 1 / 3], rtol=1e-14)
        np.testing.assert_allclose(slope[order, 0, 0], [1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9], rtol=1e-14)
        assert f(ones[:0])[0].shape == (0, 2, 2)


@pytest.mark.parametrize("mode", ["compiled", "debug", "reference"])
def test_sizes_of_loops_below_one(mode: Any) -> None:
    """A length below 0 made buffers of negative size, stretches of 0 steps a ZeroDivisionError."""
    n = gc.dim("n")
    _, ys = gc.scan(lambda c, _: (c * N, c), N, length=n - 3)
    f = gc.function([N], [ys, gc.grad(gc.sum(ys), N, disconnected="zero")], mode=mode)
    assert f(np.ones(1))[0].shape == (0, 1) and f(np.ones(5))[0].shape == (2, 5)
    last, _ = gc.scan(lambda c, x: (c * x + x, None), 0.0, N, checkpoint=n - 2)
    slope = gc.function([N], gc.grad(last, N), mode=mode)
    assert [slope(np.ones(k)).tolist() for k in (0, 1, 2)] == [[], [1.0], [1.0, 2.0]]


@pytest.mark.parametrize("mode", ["compiled", "debug", "reference"])
def test_computed_sizes_below_zero(mode: Any) -> None:
    """Arrays of a computed size below 0 gave numbers from memory that nothing had written."""
    n = gc.dim("n")
    f = gc.function([N], gc.sum(gc.ones((n - 3, 4)) @ gc.ones((4, n - 3))) + gc.sum(N), mode=mode)
    assert f(np.ones(5)) == 21 and f(np.ones(3)) == 3
    with pytest.raises(gc.ShapeError, match=r"dimension n-3 is -2.*ones at test_regressions.py"):
        f(np.ones(1))


def test_numbers_of_steps() -> None:
    """Negative lengths made arrays of negative size, NumPy's integers were refused, computed bounds blamed arange."""
    int_of_numpy: Any = np.int64(3)
    steps = gc.scan(lambda c, _: (c + 1, None), 0, length=int_of_numpy, checkpoint=np.int64(2))[0]
    assert steps.eval() == api.fori_loop(np.int64(0), int_of_numpy, lambda i, c: c + 1, 0).eval() == 3
    assert gc.while_loop(lambda c: c < 3, lambda c: c + 1, 0, max_steps=int_of_numpy).eval() == 3
    with pytest.raises(gc.ArgumentError, match=r"scan: length must be a dimension or an int of at least 0, got -1"):
        gc.scan(lambda c, _: (c, None), 0, length=-1)
    with pytest.raises(gc.ArgumentError, match=r"fori_loop: bounds must be ints or dimensions, got .*; while_loop"):
        gc.fori_loop(0, api.placeholder("k", dtype="int64"), lambda i, c: c + i, 0)


@pytest.mark.parametrize("mode", ["compiled", "debug"])
def test_parts_of_values_in_a_loop_that_is_one_kernel(mode: Any) -> None:
    """What a step scatters into, and the operands of its concatenations, had memory of their own: wrong numbers."""
    h, xs = gc.placeholder("h", shape=(3,)), gc.placeholder("xs", shape=("t", 3))
    i = gc.placeholder("i", shape=("t",), dtype="int64")

    def scattered(c: gc.Node, x: Any) -> tuple[gc.Node, gc.Node]:
        made = (c * x[0]).at[x[1]].add(1.5)
        return gc.sin(made) * gc.flip(made) + c, made[0]

    def joined(c: gc.Node, x: gc.Node) -> tuple[gc.Node, gc.Node]:
        return gc.concat([c[2:] * x[2:], c[:2] * x[:2]]) - gc.flip(x) * c, c

    outputs = [*gc.scan(scattered, h, (xs, i)), *gc.scan(joined, h, xs)]
    values = [np.arange(3.0), np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 2, 1, 1])]
    wanted = gc.evaluate(outputs, dict(zip([h, xs, i], values, strict=True)))
    for found, value in zip(gc.function([h, xs, i], outputs, mode=mode)(*values), wanted, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-14)


def test_a_loop_in_a_loop_that_has_a_form_for_larger_sizes() -> None:
    """The outer loop wrote the addresses of the form that does not run into the frames of other kernels: a crash."""
    u0, k = gc.placeholder("u0", shape=("m", 5)), gc.placeholder("k", shape=(4,))

    def advance(u: gc.Node, _: Any) -> tuple[gc.Node, None]:
        flux = k * (u[:, 1:] - u[:, :-1])
        return u.at[:, :-1].add(flux).at[:, 1:].add(-flux), None

    last, _ = gc.scan(advance, u0, length=6, checkpoint=2)
    outputs = gc.value_and_grad(gc.sum(last * last), k)
    values = [np.random.default_rng(0).normal(size=(3, 5)), np.array([0.1, 0.2, 0.3, 0.4])]
    wanted = gc.evaluate(outputs, dict(zip([u0, k], values, strict=True)))
    for found, value in zip(gc.function([u0, k], outputs)(*values), wanted, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-12)


@pytest.mark.parametrize("mode", ["compiled", "debug"])
def test_scalars_of_an_element_of_a_range(mode: Any) -> None:
    """A scalar computed from `arange(n)[k]` took element 0."""
    x, n = gc.placeholder("x", shape=("n",)), gc.dim("n")
    number = gc.sqrt(gc.arange(5, dtype="float64")[4]) + gc.flip(gc.arange(n, dtype="float64"))[0] * 10
    np.testing.assert_array_equal(gc.function([x], x * number, mode=mode)(np.ones(3)), np.full(3, 22.0))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_total_beside_maxima_of_columns_in_one_large_kernel(threads: int) -> None:
    """The chunks of its stages read rows that they did not have: a crash."""
    x = gc.placeholder("x", shape=("n", 8))
    f = gc.function([x], [x - gc.sum(x) * 0.1, gc.max(x, axis=0)], threads=threads)
    value = np.arange(160_000.0).reshape(20_000, 8) % 7
    for found, wanted in zip(f(value), (value - value.sum() * 0.1, value.max(axis=0)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", [(2, 3, 4), (60, 50, 64)])
def test_a_total_beside_maxima_over_an_axis_in_the_middle(sizes: tuple[int, ...], threads: int) -> None:
    """Of the maxima only those of the first row were started."""
    for shape in (sizes, ("a", "b", "c")):
        x = gc.placeholder("x", shape=shape)
        f = gc.function([x], [gc.sum(x), x - gc.mean(x), gc.max(x, axis=1), gc.sum(x, axis=1)], threads=threads)
        value = np.random.default_rng(0).random(sizes) - 2
        expected = value.sum(), value - value.mean(), value.max(1), value.sum(1)
        for _ in range(2):
            for found, wanted in zip(f(value), expected, strict=True):
                # Values of about 1, from which the mean was taken: what is near 0 keeps their rounding.
                np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


# -- the cache of kernels


def test_a_kernel_under_another_name_and_a_pipe(tmp_path: Any) -> None:
    """A file copied to another kernel's name was loaded as that kernel; opening a pipe waited for ever."""
    from graphc.codegen.jit.cache import Cache

    cache = Cache(tmp_path)
    cache.save("a", b"code", ("exp",))
    assert cache.load("a") == (b"code", ("exp",))
    (tmp_path / "a.gck").rename(tmp_path / "b.gck")
    assert cache.load("b") is None
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "c.gck", 0o600)
        assert cache.load("c") is None


def test_labels_of_one_class_in_one_row() -> None:
    labels = gc.placeholder("labels", (1,), dtype="int64")
    f = gc.function([labels], gc.one_hot(labels, 1))
    np.testing.assert_array_equal(f(np.array([0])), [[1.0]])
    np.testing.assert_array_equal(f(np.array([3])), [[0.0]])


@pytest.mark.parametrize("first", [(1,), (1, 1), (3, 1)])
def test_a_named_axis_that_is_one_stretches_after_a_view_said_so(first: tuple[int, ...]) -> None:
    """Merged, the two broadcasts read beyond the end of the array."""
    x = gc.placeholder("x", shape=("n",))
    twice = gc.broadcast_to(gc.broadcast_to(x, first), (3, 5))
    f = gc.function([x], [twice, gc.grad(gc.sum(twice**2), x), twice[1:, ::2], gc.sum(twice, axis=0)])
    wide, slope, part, total = f([2.0])
    assert (wide == 2).all() and slope.tolist() == [60.0] and (part == 2).all() and (total == 6).all()
    with pytest.raises(gc.ShapeError, match="dimension n of x is 2"):
        f([2.0, 3.0])
