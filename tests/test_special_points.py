"""Derivatives of orders one and two at special points, for every elementwise record and every case of the tables.

Elementwise records are held against derivatives that mpmath takes with 800 digits and more, at 0 and at extreme scales.
Cases run at zeros, at ties and at sizes 0, 1 and 2, named or not, against one-sided differences: where both sides agree
and are linear in the direction, the function is differentiable, and the gradient must say so. New records and cases are
in automatically.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Sequence

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.graph.node import Node
from graphc.graph.types import Array
from graphc.ops.pointwise import ELEMENTWISE, Elementwise, pointwise
from tests.cases import Case
from tests.oracle import scalar
from tests.test_ops import TABLE, can_shrink, checked_inputs, declare, has_derivative, oracle, resized

SHARE = 32
"""The default run takes one of so many cases; the slow one takes all."""

# -- elementwise records against mpmath

POINTS = (0.0, 1e-150, 1e-20, 1e-8, 1e-3, 0.5, 1.0, 2.0, 30.0, 700.0, 1e8, 1e20, 1e150)
STEP = mpmath.mpf(10) ** -25
"""The step relative to the point, or to 1."""


def differentiable(record: Elementwise) -> bool:
    return record.differentiable and record.accepts in ("float", "number", "any")


def exact(name: str) -> Callable[..., mpmath.mpf] | None:
    try:
        return scalar(name)
    except AttributeError:
        return None


UNARY = [r for r in ELEMENTWISE.values() if len(r.partials) == 1 and differentiable(r) and exact(r.name) is not None]


def slopes(f: Callable[..., mpmath.mpf], at: float) -> tuple[mpmath.mpf, mpmath.mpf] | None:
    """Return two derivatives at a point where the function is smooth, None where it is not."""
    x = mpmath.mpf(at)
    with mpmath.workdps(800 + 3 * int(abs(mpmath.log10(abs(x)))) if at else 800):
        h = min(abs(x) or mpmath.mpf(1), mpmath.mpf(1)) * STEP
        values = [f(x + k * h) for k in (-2, -1, 0, 1, 2)]
        if not all(mpmath.isfinite(v) for v in values):
            return None
        a, b, c, d, e = values
        left, right = (3 * c - 4 * b + a) / (2 * h), (4 * d - 3 * c - e) / (2 * h)
        second_left, second_right = (c - 2 * b + a) / h**2, (e - 2 * d + c) / h**2
        first, second = (a - 8 * b + 8 * d - e) / (12 * h), (16 * (b + d) - 30 * c - a - e) / (12 * h**2)
        rough = max(abs(first), mpmath.mpf(10) ** -60)
        if abs(left - right) > rough * mpmath.mpf(10) ** -15:
            return None
        if abs(second_left - second_right) > (abs(second) + rough) * mpmath.mpf(10) ** -3:
            return None
        return first, second


def close(got: float, wanted: mpmath.mpf, scale: mpmath.mpf, rtol: float = 1e-9) -> bool:
    """Compare with a true value that may be outside of float64; what is far below `scale` counts as 0."""
    true = float(wanted)
    if np.isinf(true) or abs(true) > 1e300:
        return bool(np.isinf(got) or abs(got) > 1e290)
    return bool(abs(got - true) <= rtol * abs(true) + float(abs(scale)) * 1e-40 + 1e-300)


def check_slopes(name: str, out: Node, x: Node, f: Callable[..., mpmath.mpf]) -> None:
    """Check two derivatives of `out`, which is f(x) element by element, at all points of either sign."""
    first = gc.grad(gc.sum(out), x)
    second = gc.grad(gc.sum(first), x, disconnected="zero")
    places = [s * p for p in POINTS for s in (1, -1)]
    got = gc.evaluate([first, second], {x: np.asarray(places)})
    wrong, checked = [], 0
    for number, place in enumerate(places):
        true = slopes(f, place)
        if true is None:
            continue
        for order in range(2):
            checked += 1
            if not close(float(got[order][number]), true[order], true[0] * order):
                wrong.append((place, order + 1, float(got[order][number]), float(true[order])))
    assert checked and not wrong, f"{name} at (x, order, got, true): {wrong}"


SLOW_IN_MPMATH = {"gammaln", "digamma"}


@pytest.mark.parametrize(
    "record",
    [pytest.param(r, id=r.name, marks=pytest.mark.slow if r.name in SLOW_IN_MPMATH else ()) for r in UNARY],
)
def test_elementwise_records(record: Elementwise) -> None:
    f = exact(record.name)
    assert f is not None
    x = gc.placeholder("x", (None,))
    check_slopes(record.name, pointwise(record, x), x, f)


# -- cases against one-sided differences


def chosen(condition: Callable[[Case], bool]) -> list[object]:
    """Return the cases that meet a condition; those that only the slow run takes are marked."""
    return [
        pytest.param(c, id=key, marks=() if zlib.crc32(key.encode()) % SHARE == 0 else pytest.mark.slow)
        for key, c in TABLE.items()
        if condition(c)
    ]


class Program:
    """A case's value, weighted, with its first derivatives and the second ones along a direction."""

    def __init__(self, case: Case, arrays: Sequence[Array], named: bool = False) -> None:
        self.case, self.inputs = case, declare(arrays, symbolic=named)
        out = case.build(*self.inputs)
        self.wrt = checked_inputs(case, self.inputs, out)
        self.places = [self.inputs.index(x) for x in self.wrt]
        rng = np.random.default_rng(1)
        self.weights = gc.constant(np.asarray(rng.uniform(0.5, 1.5, oracle(case, arrays).shape)))
        self.value = gc.sum(out * self.weights)
        self.firsts: list[Node] = gc.grad(self.value, self.wrt, disconnected="zero") if self.wrt else []
        self.along = [gc.constant(np.asarray(rng.normal(size=arrays[i].shape))) for i in self.places]
        moved = sum((gc.sum(g * d) for g, d in zip(self.firsts, self.along, strict=True)), start=gc.constant(0.0))
        self.moved = moved
        self.seconds: list[Node] = gc.grad(moved, self.wrt, disconnected="zero") if self.wrt else []

    def at(self, arrays: Sequence[Array], nodes: Sequence[Node]) -> list[Array]:
        with np.errstate(all="ignore"):
            return gc.evaluate(list(nodes), dict(zip(self.inputs, arrays, strict=True)))

    def line(self, arrays: Sequence[Array], moves: Sequence[Array], value: Node) -> Callable[[float], float]:
        """Return a value as a function of how far the inputs move."""

        def at(t: float) -> float:
            there = list(arrays)
            for i, move in zip(self.places, moves, strict=True):
                there[i] = arrays[i] + t * move
            return float(self.at(there, [value])[0])

        return at


def special_inputs(case: Case, places: Sequence[int]) -> Iterator[tuple[str, list[Array]]]:
    """Yield inputs at zeros, ties, and one zero among others."""
    arrays = [a.copy() for a in case.arrays()]
    fillings: dict[str, Callable[[Array], Array]] = {
        "zeros": np.zeros_like,
        "ones": np.ones_like,
        "ties": lambda a: np.asarray(np.round(a)),
        "one zero": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 0, 0.0, a),
    }
    for name, fill in fillings.items():
        yield name, [fill(a) if i in places else a for i, a in enumerate(arrays)]


def directional(value: Callable[[float], float]) -> float | None:
    """Return the derivative of a function of one number at 0; None where both sides do not agree or converge."""
    at, found = value(0.0), []
    if not np.isfinite(at):
        return None
    for sign in (1.0, -1.0):
        estimates = []
        for h in (1e-4, 5e-5):
            one, two = value(sign * h), value(sign * 2 * h)
            estimates.append(sign * (4 * one - 3 * at - two) / (2 * h))
        if not np.isfinite(estimates).all():
            return None
        found.append(estimates)
    (fine, finer), (back, nearer) = found
    scale = max(abs(finer), abs(nearer), 1e-3 * abs(at), 1e-6)
    if max(abs(fine - finer), abs(back - nearer), abs(finer - nearer)) > 1e-6 * scale:
        return None
    return (finer + nearer) / 2


def derivative(program: Program, arrays: Sequence[Array], value: Node, moves: Sequence[Array]) -> float | None:
    return directional(program.line(arrays, moves, value))


def linear(value: Callable[[Sequence[Array]], float | None], moves: Sequence[Array], seed: int) -> bool:
    """Tell whether the derivatives along more directions add up, as they need not where a few happen to."""
    rng = np.random.default_rng(seed)
    for _ in range(8):
        first, second = ([rng.normal(size=m.shape) for m in moves] for _ in range(2))
        both = [a + b for a, b in zip(first, second, strict=True)]
        found = [d for d in map(value, (first, second, both)) if d is not None]
        if len(found) < 3 or abs(found[0] + found[1] - found[2]) > 1e-6 * max(1.0, *map(abs, found)):
            return False
    return True


UNDEFINED = ("qr-",)
"""Cases whose documentation promises NaN where differences may have a limit: for dependent columns."""


def check(program: Program, arrays: list[Array], what: str) -> int:
    """Compare derivatives along two directions with differences, where these are linear; return how often they were."""
    rng = np.random.default_rng(2)
    checked = 0
    for order, (value, slopes_of) in enumerate(((program.value, program.firsts), (program.moved, program.seconds)), 1):
        got = program.at(arrays, slopes_of)
        first, second = ([np.asarray(rng.normal(size=arrays[i].shape)) for i in program.places] for _ in range(2))
        both = [a + b for a, b in zip(first, second, strict=True)]
        apart = [a - b for a, b in zip(first, second, strict=True)]
        found = [directional(program.line(arrays, moves, value)) for moves in (first, second, both, apart)]
        wanted = [d for d in found if d is not None]
        if len(wanted) < 4:
            continue
        kinks = abs(wanted[0] + wanted[1] - wanted[2]), abs(wanted[0] - wanted[1] - wanted[3])
        if max(kinks) > 1e-6 * max(1.0, *map(abs, wanted)):
            continue
        checked += 1
        for moves, slope in zip((first, second), wanted, strict=False):
            pulled = sum(float(np.vdot(g, m)) for g, m in zip(got, moves, strict=True))
            scale = sum(float(np.vdot(np.abs(g), np.abs(m))) for g, m in zip(got, moves, strict=True))
            if np.isnan(pulled) and program.case.id.startswith(UNDEFINED):
                continue
            if not abs(pulled - slope) <= 1e-5 * max(abs(slope), scale, 1.0):
                along = functools.partial(derivative, program, arrays, value)
                assert not linear(along, moves, seed=3), (what, order, pulled, slope)
    return checked


@pytest.mark.parametrize("case", chosen(has_derivative))
def test_cases_at_zeros_and_ties(case: Case) -> None:
    program = Program(case, case.arrays())
    for name, arrays in special_inputs(case, program.places):
        try:
            check(program, arrays, name)
        except (gc.LinAlgError, gc.IndexOutOfBoundsError, gc.ShapeError):  # no value here, as the documentation says
            continue


@pytest.mark.parametrize("size", [0, 1, 2])
@pytest.mark.parametrize("case", chosen(lambda c: can_shrink(c) and has_derivative(c)))
def test_cases_of_small_sizes(case: Case, size: int) -> None:
    """Where the case has a value at a size, its derivatives are those of differences, of known and of named sizes."""
    for old in sorted({s for shape in case.shapes for s in shape if s > size}):
        arrays = resized(case, old, size)
        try:
            oracle(case, arrays)
        except (ValueError, IndexError, TypeError):
            continue
        try:
            program = Program(case, arrays)
            check(program, arrays, f"{old} as {size}")
            if not case.symbolic:
                continue
            named = Program(case, arrays, named=True)
            got = named.at(arrays, [*named.firsts, *named.seconds])
        except gc.ShapeError:  # refused at this size, or for sizes that are not known, as its documentation says
            continue
        wanted = program.at(arrays, [*program.firsts, *program.seconds])
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


# -- derivatives of log gamma


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 2e-15), ("float32", 1e-6)])
@pytest.mark.parametrize("order", [1, 2, 3, 4, 6, 8, 10])
def test_polygamma_at_negative_half_integers(order: int, dtype: str, rtol: float) -> None:
    """The reflected part vanishes there in even orders."""
    values = np.asarray([-0.5, -1.5, -2.5, -7.5, -20.5, -0.25, -3.375, 0.75], dtype)
    with mpmath.workdps(60):
        wanted = [float(mpmath.polygamma(order, mpmath.mpf(float(v)))) for v in values]
    x = gc.placeholder("x", (None,), dtype)
    np.testing.assert_allclose(gc.function([x], gc.special.polygamma(order, x))(values), wanted, rtol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 2e-15), ("float32", 1e-6)])
@pytest.mark.parametrize("zero", [1.4616321449683623, -0.5040830082644554])
def test_digamma_beside_its_zeros(zero: float, dtype: str, rtol: float) -> None:
    eps = float(np.finfo(dtype).eps)
    steps = np.asarray([-0.25, -0.1, -0.02, *(k * eps for k in (-1e5, -1e3, -3, -1, 0, 1, 5, 1e4)), 0.05, 0.3])
    values = (zero + steps).astype(dtype)
    with mpmath.workdps(60):
        wanted = [float(mpmath.digamma(mpmath.mpf(float(v)))) for v in values]
    x = gc.placeholder("x", (None,), dtype)
    np.testing.assert_allclose(gc.function([x], gc.special.digamma(x))(values), wanted, rtol=rtol)
