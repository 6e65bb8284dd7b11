"""One conversion for arguments, state, updates and literals; structures matched by key wherever two meet."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.tree import flatten


class Exported:
    """An array that offers DLPack only."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def as_argument(value: Any, dtype: str) -> Any:
    x = gc.placeholder("x", shape=np.shape(getattr(value, "array", value)), dtype=dtype)
    return gc.function([x], x)(value)


def in_interpreter(value: Any, dtype: str) -> Any:
    x = gc.placeholder("x", shape=np.shape(getattr(value, "array", value)), dtype=dtype)
    return (x | x if dtype == "bool" else x).eval({x: value})


def as_state(value: Any, dtype: str) -> Any:
    s = gc.shared(np.zeros(np.shape(getattr(value, "array", value)), dtype))
    s.set_value(value)
    return s.get_value()


def as_update(value: Any, dtype: str) -> Any:
    s = gc.shared(np.zeros(np.shape(getattr(value, "array", value)), dtype))
    gc.function([], [], updates={s: value})()
    return s.get_value()


WAYS = [as_argument, in_interpreter, as_state, as_update]
Value = tuple[Any, str, Any]
ACCEPTED: list[Value] = [
    (3, "float32", 3.0),
    (0.1, "float32", np.float32(0.1)),
    (True, "int8", 1),
    ([1, 2], "uint8", [1, 2]),
    ([1.5, 2], "float32", [1.5, 2]),
    ([2**63], "uint64", [2**63]),
    ([], "int8", []),
    ([[True]], "bool", [[True]]),
    (Exported(np.array([1.0, 2.0])), "float64", [1.0, 2.0]),
    (np.array([1, 2], ">i4"), "int64", [1, 2]),
    (np.array([2**53, -(2**53), 2**60]), "float64", [2.0**53, -(2.0**53), 2.0**60]),
    (np.array([2**63, 0], np.uint64), "float64", [2.0**63, 0.0]),
    (np.arange(6.0).reshape(2, 3).T, "float64", np.arange(6.0).reshape(2, 3).T),
    (float("inf"), "float32", np.inf),
]
REFUSED: list[tuple[Any, str, str]] = [
    (300, "int8", "300 does not fit int8"),
    (-1, "uint64", "-1 does not fit uint64"),
    (2**63, "int64", "does not fit int64"),
    (2**70, "int64", "71 bits fits no dtype"),
    ([1, 300], "uint8", "300 does not fit uint8"),
    (1e39, "float32", r"1e\+39 does not fit float32"),
    (1.5, "int64", "dtype float64 given"),
    (1, "bool", "dtype int64 given"),
    (np.array([2**53 + 1]), "float64", "9007199254740993 of int64 is no float64"),
    (np.array([2**64 - 1], np.uint64), "float64", "18446744073709551615 of uint64 is no float64"),
    (np.array([2**63 - 1]), "float64", "of int64 is no float64"),
    (np.array([1.0]), "float32", r"dtype float64 given.*convert with .astype\('float32'\)"),
    (np.array([1]), "int32", "dtype int64 given"),
    (np.array([300]), "int8", "300 does not fit int8"),
    (np.array([1j]), "float64", "complex numbers are not supported; pass x.real and x.imag as two arrays"),
    (["a"], "float64", "a number or an array of numbers is needed"),
    ([[1.0], [1.0, 2.0]], "float64", "cannot become an array"),
    (None, "float64", "a number or an array of numbers is needed"),
    (np.ma.masked_array([1.0], [True]), "float64", "masked arrays are not accepted"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("value", "dtype", "wanted"), ACCEPTED, ids=lambda v: str(v)[:20])
def test_accepted_by_every_way_in(way: Callable[[Any, str], Any], value: Any, dtype: str, wanted: Any) -> None:
    found = way(value, dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.array(wanted, dtype))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("value", "dtype", "message"), REFUSED, ids=lambda v: str(v)[:20])
def test_refused_by_every_way_in(way: Callable[[Any, str], Any], value: Any, dtype: str, message: str) -> None:
    if np.ndim(value) == 2 if isinstance(value, np.ndarray) else value == [[1.0], [1.0, 2.0]]:
        value_shape_is_ragged = np.zeros(2)
        x = gc.placeholder("x", shape=value_shape_is_ragged.shape)
        with pytest.raises(gc.GraphcError, match=message):
            gc.function([x], x)(value)
        return
    with pytest.raises(gc.GraphcError, match=rf"{message}.*\[test_conversion.py:\d+\]"):
        way(value, dtype)


@pytest.mark.parametrize("value", [300, 2**63, -1, np.array(300), [300], np.array([256])])
def test_known_values_written_into_an_array_must_fit(value: Any) -> None:
    for write in (lambda at: at.set(value), lambda at: at.add(value)):
        with pytest.raises(gc.DTypeError, match=r"does not (fit uint8|go into u8)"):
            write(gc.zeros(3, dtype="uint8").at[:1])  # type: ignore[no-untyped-call]


def test_lists_written_into_an_array_are_weakly_typed() -> None:
    assert gc.zeros(3, dtype="uint8").at[1:].set([1, 255]).eval().tolist() == [0, 1, 255]
    assert gc.zeros(3, dtype="float32").at[1:].add([1, 2.5]).eval().tolist() == [0, 1, 2.5]


def test_literals() -> None:
    assert gc.shared(Exported(np.arange(3.0))).get_value().tolist() == [0, 1, 2]
    assert gc.constant(Exported(np.arange(3.0))).shape == (3,)
    with pytest.raises(gc.DTypeError, match=r"1e\+39 does not fit float32"):
        gc.constant(1e39, "float32")
    with pytest.raises(gc.DTypeError, match="71 bits fits no dtype"):
        gc.constant(2**70)


# -- structures


a, b = gc.placeholder("a"), gc.placeholder("b")
AT = {a: 2.0, b: 3.0}


def test_dicts_are_paired_by_key_in_derivatives() -> None:
    outputs, cotangents = {"p": a * a, "q": b * b}, {"q": 10.0, "p": 1.0}
    assert [float(g.eval(AT)) for g in gc.vjp(outputs, [a, b], cotangents)] == [4.0, 60.0]
    tangents = {"b": 1.0, "a": 10.0}
    assert float(gc.jvp(a * b, {"a": a, "b": b}, tangents).eval(AT)) == 3.0 * 10 + 2.0
    found = gc.hvp(a * a + a * b, {"a": a, "b": b}, tangents)
    assert [float(found[k].eval(AT)) for k in "ab"] == [2 * 10 + 1.0, 10.0]
    nested = gc.vjp([outputs, (a,)], a, [cotangents, (100.0,)])
    assert float(nested.eval(AT)) == 104.0


def test_dicts_are_paired_by_key_in_optimisers() -> None:
    for order in (["u", "v"], ["v", "u"]):
        params = {"u": gc.shared(1.0, name="u"), "v": gc.shared(2.0, name="v")}
        grads = {k: gc.constant({"u": 0.25, "v": 1.0}[k]) for k in order}
        gc.function([], [], updates=gc.optim.SGD(1.0).updates_from_gradients(grads, params))()
        assert [params["u"].get_value(), params["v"].get_value()] == [0.75, 1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gc.vjp({"p": a}, a, {"q": 1.0}), r"vjp: cotangents: keys \['p'\] needed, got \['q'\]"),
        (lambda: gc.vjp([a, b], a, [1.0]), r"vjp: cotangents: a sequence of 2 needed, got 1"),
        (lambda: gc.vjp([a, {"x": b}], a, [1.0, [2.0]]), r"vjp: cotangents\[1\]: keys \['x'\] needed, got list"),
        (lambda: gc.jvp(a, {"a": a}, {"a": 1.0, "b": 2.0}), r"jvp: tangents: keys \['a'\] needed, got \['a', 'b'\]"),
        (lambda: gc.hvp(a * a, [a], 1.0), r"hvp: v: a sequence of 1 needed, got float"),
        (
            lambda: gc.optim.SGD(0.1).updates_from_gradients({"w": a}, {"v": gc.shared(1.0)}),
            r"gradients: keys \['v'\] needed, got \['w'\]",
        ),
    ],
)
def test_structures_that_differ_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(gc.ArgumentError, match=message):
        call()


# -- copies, names, evaluation


@pytest.mark.parametrize("copied", [lambda v: pickle.loads(pickle.dumps(v)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_copies_of_several_nodes_keep_identity(copied: Callable[[Any], Any]) -> None:
    x, w = gc.placeholder("x", shape=(2,)), gc.shared([1.0, 2.0], name="w")
    y = x * w
    for value in ((x, y, gc.sum(y), w), (gc.sum(y), y, w, x), {"all": [y, y], "w": w, "x": (x,), "s": gc.sum(y)}):
        parts = flatten(copied(value))
        byname = {n.name: n for n in parts if n.name}
        product = next(n for n in parts if n.op.name == "multiply")
        total = next(n for n in parts if n.op.name == "sum")
        assert product.inputs[0] is byname["x"] and product.inputs[1] is byname["w"] and total.inputs[0] is product
        assert byname["x"] is not x and byname["w"] is not w
        f = gc.function([byname["x"]], [gc.grad(total, product), total], updates={byname["w"]: product})
        f([3.0, 4.0])
        assert byname["w"].get_value().tolist() == [3.0, 8.0] and w.get_value().tolist() == [1.0, 2.0]
    again = copied([x, x])
    assert again[0] is again[1]


NAMES = ("self", "args", "kwargs", "out", "function", "x", "names", "mode", "value", "cls")


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("name", NAMES)
def test_inputs_may_be_called_anything(name: str, mode: Any) -> None:
    x = gc.placeholder(name, shape=(2,))
    for f in (gc.function([x], x * 2, mode=mode), gc.function({name: x}, {"y": [x * 2]}, mode=mode)):
        data = np.array([1.0, 2.0])
        for found in (f(data), f(**{name: data}), f(**{name: [1.0, 2.0]})):
            assert flatten(found)[0].tolist() == [2.0, 4.0]
        bound = f.bind(data) if name == "out" else f.bind(**{name: data})
        assert flatten(bound())[0].tolist() == [2.0, 4.0]


def test_a_function_declared_with_a_dict_takes_one() -> None:
    f = gc.function({"a": a, "b": [b]}, a - 2 * b)
    for found in (f({"b": [2.0], "a": 1.0}), f(1.0, [2.0]), f(b=[2.0], a=1.0)):
        assert float(found) == -3.0
    with pytest.raises(gc.ArgumentError, match=r"keys \['a', 'b'\] needed, got \['a'\]"):
        f({"a": 1.0})
    single = gc.function({"p": {"a": a}}, a)
    assert float(single({"a": 1.0})) == float(single({"p": {"a": 1.0}})) == float(single(p={"a": 1.0})) == 1.0


def test_evaluate_takes_nestings_and_names() -> None:
    x = gc.placeholder("x", shape=("n",))
    outputs = {"sum": gc.sum(x), "both": (x * 2, [x + 1])}
    found = gc.evaluate(outputs, {"x": [1.0, 2.0]})
    assert float(found["sum"]) == 3.0 and found["both"][0].tolist() == [2, 4] and found["both"][1][0].tolist() == [2, 3]
    assert gc.evaluate((x,), {x: [1.0]})[0].tolist() == [1.0] and (x + 1).eval({"x": [1.0]}).tolist() == [2.0]
    last, seen = gc.scan(lambda c, v: (c + v, c), 0.0, x)
    assert [v.tolist() for v in gc.evaluate((last, seen), {"x": [1.0, 2.0]})] == [3.0, [0.0, 1.0]]
    with pytest.raises(gc.ArgumentError, match=r"evaluate: 'z' is no placeholder of these nodes, which have x"):
        gc.evaluate(x, {"z": 1.0})
