"""Every `Case` of every `tests/cases_*.py` table: type, value, derivatives, compiled value, special shapes.

The reference interpreter is held against the case's NumPy oracle, derivatives against central differences of
fourth order, and compiled programs, many cases in one function, against the reference interpreter.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import graphc as gc
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.types import Array
from graphc.ops.pointwise import ELEMENTWISE
from tests.cases import Case

FAMILIES = sorted(p.stem for p in Path(__file__).parent.glob("cases_*.py"))
TABLE: dict[str, Case] = {
    f"{family.removeprefix('cases_')}-{case.id}": case
    for family in FAMILIES
    for case in importlib.import_module(f"tests.{family}").CASES
}
BATCH = 24
"""Cases that share one compiled function: a kernel costs tens of milliseconds to compile."""

STEP = 1e-4
INTERNAL = {
    "masked_multiply",
    "sqrt_safe",
    "copy",
    "log1mexp",
    "log_cosh",
    "one_minus_square",
    "exp_capped",
    "sech",
    "sigmoid_slope",
    "normal_density",
    "erfcx_slope",
    "log_erfc",
    "log_ndtr_slope",
    "log_ndtr_excess",
    "direction",
    "directed",
    "root_plus",
    "over_root_plus",
    "half_over",
    "sqrt1p_minus_one",
    "hypot_minus_one",
    "xlogx",
    "xlogx_of_rest",
}


def test_ids_are_unique() -> None:
    count = sum(len(importlib.import_module(f"tests.{family}").CASES) for family in FAMILIES)
    assert len(TABLE) == count


def test_every_record_has_a_case() -> None:
    """The table reaches every elementwise record, but for those that only rules, derivatives and layout use."""
    built = [case.build(*declare(case.arrays())) for case in TABLE.values()]
    reached = {node.op.name for node in Graph(built).nodes}
    assert set(ELEMENTWISE) - reached <= INTERNAL


# -- building


def declare(arrays: Sequence[Array], prefix: str = "x", symbolic: bool = False) -> list[Node]:
    """Declare a placeholder an array; `symbolic` names every axis above 1, equal sizes alike."""
    return [
        gc.placeholder(f"{prefix}{i}", [f"n{s}" if symbolic and s > 1 else s for s in a.shape], a.dtype)
        for i, a in enumerate(arrays)
    ]


def value_of(out: Node | Sequence[Node], inputs: Sequence[Node], arrays: Sequence[Array]) -> list[Array]:
    outputs = [out] if isinstance(out, Node) else list(out)
    return gc.evaluate(outputs, dict(zip(inputs, arrays, strict=True)))


def oracle(case: Case, arrays: Sequence[Array]) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(case.numpy(*arrays))


def checked_inputs(case: Case, inputs: Sequence[Node], out: Node) -> list[Node]:
    """Return the inputs whose derivative is checked; none where the result is no float64."""
    if out.dtype != np.float64:
        return []
    if case.differentiable is not None:
        return [inputs[i] for i in case.differentiable]
    return [x for x in inputs if x.dtype == np.float64]


def weights_like(shapes: Sequence[tuple[int, ...]], seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(0.5, 1.5, s)) for s in shapes]


def assert_close(got: Array, wanted: Array, rtol: float, atol: float = 0.0) -> None:
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol, equal_nan=True)


# -- which cases


def cases(condition: Callable[[Case], bool] = lambda case: True) -> pytest.MarkDecorator:
    """Run a test on the cases that meet a condition."""
    chosen = {key: case for key, case in TABLE.items() if condition(case)}
    return pytest.mark.parametrize("case", chosen.values(), ids=chosen.keys())


def has_derivative(case: Case) -> bool:
    inputs = declare(case.arrays())
    return bool(checked_inputs(case, inputs, case.build(*inputs)))


def has_floats(case: Case) -> bool:
    return any(a.dtype == np.float64 for a in case.arrays())


def can_shrink(case: Case) -> bool:
    """Tell whether smaller inputs can be made: arrays from `make` are made for their shapes."""
    return case.make is None and any(s > 1 for shape in case.shapes for s in shape)


def can_be_symbolic(case: Case) -> bool:
    return case.symbolic and any(s > 1 for a in case.arrays() for s in a.shape)


# -- type and value


@cases()
def test_value_and_type(case: Case) -> None:
    arrays = case.arrays()
    inputs = declare(arrays)
    out = case.build(*inputs)
    (got,) = value_of(out, inputs, arrays)
    wanted = oracle(case, arrays)
    assert got.dtype == out.dtype == wanted.dtype
    assert got.shape == out.shape == wanted.shape
    assert_close(got, wanted, case.rtol, 1e-14)


def special_arrays(case: Case, draws: int = 8) -> Iterator[list[Array]]:
    """Yield inputs whose floats are special values; the first draw repeats one value, which makes ties."""
    rng = np.random.default_rng(zlib.crc32(case.id.encode()))
    for draw in range(draws):
        values = case.special[draw % len(case.special) :][:1] if draw < 2 else case.special
        yield [rng.choice(values, a.shape).astype(a.dtype) if a.dtype.kind == "f" else a for a in case.arrays(draw)]


@cases(lambda case: bool(case.special))
def test_special_values(case: Case) -> None:
    inputs = declare(case.arrays())
    out = case.build(*inputs)
    for arrays in special_arrays(case):
        assert_close(value_of(out, inputs, arrays)[0], oracle(case, arrays), case.rtol, 1e-300)


def resized(case: Case, old: int, new: int) -> list[Array]:
    """Return the case's inputs with every axis of size `old` cut down to `new`."""
    arrays = case.arrays()
    return [a[tuple(slice(new) if s == old else slice(None) for s in a.shape)] for a in arrays]


@cases(can_shrink)
@pytest.mark.parametrize("size", [0, 1])
def test_empty_and_single_axes(case: Case, size: int) -> None:
    """Where NumPy accepts the smaller shape, so does graphc, with the same result; where not, neither does."""
    for old in {s for shape in case.shapes for s in shape if s > 1}:
        arrays = resized(case, old, size)
        inputs = declare(arrays)
        try:
            wanted = oracle(case, arrays)
        except (ValueError, IndexError, TypeError):
            with pytest.raises(gc.GraphcError):
                value_of(case.build(*inputs), inputs, arrays)
            continue
        out = case.build(*inputs)
        (got,) = value_of(out, inputs, arrays)
        assert got.dtype == out.dtype
        assert got.shape == out.shape == wanted.shape
        assert_close(got, wanted, case.rtol, 1e-14)


@cases()
def test_layout_of_inputs_does_not_matter(case: Case) -> None:
    arrays = case.arrays()
    inputs = declare(arrays)
    out = case.build(*inputs)
    wide = [np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a for a in arrays]
    columns = [np.array(a, order="F") for a in arrays]
    (wanted,) = value_of(out, inputs, arrays)
    for other in (wide, columns):
        np.testing.assert_array_equal(value_of(out, inputs, other)[0], wanted)


@cases(has_floats)
def test_float32(case: Case) -> None:
    """Float64 inputs as float32: the result has that dtype and the value of the same inputs in float64."""
    arrays = case.arrays()
    small = [a.astype("float32") if a.dtype == np.float64 else a for a in arrays]
    inputs, wide_inputs = declare(small), declare(arrays)
    out, wide = case.build(*inputs), case.build(*wide_inputs)
    (got,) = value_of(out, inputs, small)
    (wanted,) = value_of(wide, wide_inputs, [s.astype(a.dtype) for s, a in zip(small, arrays, strict=True)])
    assert out.dtype == ("float32" if oracle(case, small).dtype == np.float32 else wide.dtype)
    if got.dtype.kind == "f":
        assert_close(got, wanted, 3e-5, 1e-5)


@cases(can_be_symbolic)
def test_symbolic_dimensions(case: Case) -> None:
    """With named dimensions the same program gives the same values and derivatives."""
    arrays = case.arrays()
    static = program(case, arrays, "x")
    named = program(case, arrays, "x", symbolic=True)
    for got, wanted in zip(run(named, arrays), run(static, arrays), strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_array_equal(got, wanted)


# -- derivatives


def pulled(case: Case, arrays: Sequence[Array]) -> tuple[list[Node], list[Node], list[Node], Node]:
    """Return inputs, checked inputs, first derivatives of sum(weights * out), and that sum."""
    inputs = declare(arrays)
    out = case.build(*inputs)
    wrt = checked_inputs(case, inputs, out)
    (weights,) = weights_like([oracle(case, arrays).shape], seed=1)
    grads = gc.vjp(out, wrt, gc.constant(weights), disconnected="zero")
    return inputs, wrt, grads, gc.sum(out * weights)


def central_difference(fn: Callable[[list[Array]], float], arrays: Sequence[Array], index: int) -> Array:
    """Differentiate `fn` by each element of `arrays[index]`: the four-point formula, error O(STEP**4)."""
    out = np.zeros(arrays[index].shape)
    for place in np.ndindex(out.shape):
        values = []
        for offset in (-2, -1, 1, 2):
            moved = [a.copy() for a in arrays]
            moved[index][place] += offset * STEP
            values.append(fn(moved))
        out[place] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * STEP)
    return out


@cases(has_derivative)
def test_first_derivative(case: Case) -> None:
    arrays = case.arrays()
    inputs, wrt, grads, loss = pulled(case, arrays)
    for x, got in zip(wrt, value_of(grads, inputs, arrays), strict=True):
        wanted = central_difference(lambda a: float(value_of(loss, inputs, a)[0]), arrays, inputs.index(x))
        assert_close(got, wanted, 1e-6, 1e-8)


@cases(lambda case: case.second_order and has_derivative(case))
def test_second_derivative(case: Case) -> None:
    arrays = case.arrays()
    inputs, wrt, grads, _ = pulled(case, arrays)
    weights = weights_like([arrays[inputs.index(x)].shape for x in wrt], seed=2)
    total = sum((gc.sum(g * w) for g, w in zip(grads, weights, strict=True)), start=gc.constant(0.0))
    seconds = gc.vjp(grads, wrt, [gc.constant(w) for w in weights], disconnected="zero")
    for x, got in zip(wrt, value_of(seconds, inputs, arrays), strict=True):
        wanted = central_difference(lambda a: float(value_of(total, inputs, a)[0]), arrays, inputs.index(x))
        assert_close(got, wanted, 1e-6, 1e-8)


@cases(has_derivative)
def test_jvp_is_the_transpose_of_vjp(case: Case) -> None:
    arrays = case.arrays()
    inputs = declare(arrays)
    out = case.build(*inputs)
    wrt = checked_inputs(case, inputs, out)
    (g,) = weights_like([oracle(case, arrays).shape], seed=3)
    tangents = weights_like([arrays[inputs.index(x)].shape for x in wrt], seed=4)
    back = gc.vjp(out, wrt, gc.constant(g), disconnected="zero")
    forth = gc.jvp(out, wrt, [gc.constant(t) for t in tangents])
    *pulled_back, pushed = value_of([*back, forth], inputs, arrays)
    left = sum(float(np.vdot(p, t)) for p, t in zip(pulled_back, tangents, strict=True))
    scale = sum(float(np.vdot(np.abs(p), t)) for p, t in zip(pulled_back, tangents, strict=True))
    assert abs(left - float(np.vdot(g, pushed))) <= 1e-11 * max(scale, 1.0)


# -- compiled


@dataclasses.dataclass(frozen=True)
class Program:
    inputs: list[Node]
    outputs: list[Node]


def program(case: Case, arrays: Sequence[Array], prefix: str, symbolic: bool = False) -> Program:
    """Return a case's value and first derivatives as one program."""
    inputs = declare(arrays, prefix, symbolic)
    out = case.build(*inputs)
    wrt = checked_inputs(case, inputs, out)
    grads: list[Node] = []
    if wrt:
        (weights,) = weights_like([oracle(case, arrays).shape], seed=1)
        grads = gc.vjp(out, wrt, gc.constant(weights), disconnected="zero")
    return Program(inputs, [out, *grads])


def run(built: Program, arrays: Sequence[Array]) -> list[Array]:
    return value_of(built.outputs, built.inputs, arrays)


def batches() -> Iterator[tuple[str, list[Case]]]:
    for family in FAMILIES:
        name = family.removeprefix("cases_")
        cases = [c for key, c in TABLE.items() if key.startswith(f"{name}-")]
        for start in range(0, len(cases), BATCH):
            yield f"{name}-{start}", cases[start : start + BATCH]


BATCHES = dict(batches())


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES.keys())
def test_compiled(batch: list[Case], mode: Literal["compiled", "reference"]) -> None:
    """Values and derivatives of many cases in one function, on ordinary and on special inputs."""
    programs = [program(case, case.arrays(), f"x{i}_") for i, case in enumerate(batch)]
    inputs = [x for p in programs for x in p.inputs]
    f = gc.function(inputs, [p.outputs for p in programs], mode=mode, on_unused="ignore")
    for draw in range(3):
        arrays = [_drawn(case, draw) for case in batch]
        results = f(*itertools.chain(*arrays))
        for case, built, given, got in zip(batch, programs, arrays, results, strict=True):
            _assert_same(case, draw, got, run(built, given))


def _drawn(case: Case, draw: int) -> list[Array]:
    """Return ordinary inputs, then special ones where the case names some."""
    return list(special_arrays(case))[draw + 1] if draw and case.special else list(case.arrays(draw))


def _assert_same(case: Case, draw: int, got: Sequence[Array], wanted: Sequence[Array]) -> None:
    for k, (a, b) in enumerate(zip(got, wanted, strict=True)):
        what = f"{case.id}, draw {draw}, {f'derivative {k}' if k else 'value'}"
        assert (a.dtype, a.shape) == (b.dtype, b.shape), what
        rtol = 1e-5 if a.dtype == np.float32 else max(case.rtol, 2e-12)
        scale = np.max(np.abs(b), initial=0.0, where=np.isfinite(b)) if a.dtype.kind == "f" else 0
        np.testing.assert_allclose(a, b, rtol=rtol, atol=min(1e-14 * scale, 1e-6), equal_nan=True, err_msg=what)
