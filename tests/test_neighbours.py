"""Stencils in whole vectors: neighbours stay in registers, the ends of rows are vectors that overlap others."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.forms.neighbours import carry_neighbours
from graphc.codegen.nest import ir
from graphc.codegen.nest.nest import Builder, LoopNest
from graphc.codegen.nest.options import KernelOptions
from graphc.codegen.nest.render import render

RNG = np.random.default_rng(3)
SIZES = [*range(1, 36), 47, 48, 49, 130]


def blurred(u: gc.Node) -> gc.Node:
    inner = u[1:-1, :-4] + u[1:-1, 1:-3] + u[1:-1, 2:-2] * 2 - u[1:-1, 3:-1] + u[1:-1, 4:] - u[2:, 2:-2]
    out: gc.Node = u.at[1:-1, 2:-2].add(inner * 3)
    return out


@pytest.mark.parametrize("mode", ["compiled", "debug"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int8"])
def test_rows_of_every_length(dtype: str, mode: Any) -> None:
    u = gc.placeholder("u", ("n", "m"), dtype)
    out = blurred(u)
    f = gc.function([u], [out, blurred(out)], mode=mode)
    reference = gc.function([u], [out, blurred(out)], mode="reference")
    for m in SIZES if mode == "compiled" else (7, 19, 35):
        value = (10 * RNG.standard_normal((5, m + 4))).astype(dtype)
        for got, expected in zip(f(value), reference(value), strict=True):
            np.testing.assert_array_equal(got, expected)  # no sum is taken in another order


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_derivatives_of_rows_of_every_length(dtype: str) -> None:
    u = gc.placeholder("u", (4, "m"), dtype)
    slope = gc.grad(gc.sum(blurred(u) * np.array([[1.0], [2.0], [-1.0], [0.5]], dtype)), u)
    f, reference = gc.function([u], slope), gc.function([u], slope, mode="reference")
    for m in SIZES:
        value = RNG.standard_normal((4, m + 4)).astype(dtype)
        np.testing.assert_allclose(f(value), reference(value), rtol=1e-5, atol=1e-5)


def test_neighbours_are_loaded_once() -> None:
    u = gc.placeholder("u", ("n", "m"))
    source = gc.function([u], u.at[1:-1].add(u[2:] - u[:-2])).source.kernels
    assert "whole" in source and "back" not in source  # neighbours along another axis are other cache lines
    source = gc.function([u], blurred(u)).source.kernels
    whole = source[source.index("for whole") : source.index("for d1 in range(first1")]
    assert len(set(re.findall(r"= (back\d+)$", whole, re.MULTILINE))) == 2
    rows = set(re.findall(r"= (p\d+)\[", whole))
    assert len(rows) == 4  # three of the five in a row, and one of the row below


@pytest.mark.parametrize("n", [5, 16, 17, 40, 1000])
def test_state_that_changes_in_place_is_changed_once(n: int) -> None:
    state, x = gc.shared(np.arange(float(n)), name="state"), gc.placeholder("x", (n,))
    f = gc.function([x], [], updates={state: state + gc.zeros_like(x).at[1:].add(x[:-1])})
    expected = np.arange(float(n))
    for _ in range(3):
        value = RNG.standard_normal(n)
        f(value)
        expected[1:] += value[:-1]
    np.testing.assert_allclose(state.get_value(), expected, rtol=1e-14)
    assert "whole" not in f.source.kernels and f.stats["peak_bytes"] == 0


def test_mathematics_takes_two_vectors_at_a_time() -> None:
    x = gc.placeholder("x", ("n",))
    f = gc.function([x], gc.tanh(gc.exp(x) + gc.zeros_like(x).at[1:].add(x[:-1])))
    assert "whole" not in f.source.kernels
    value = RNG.standard_normal(70)
    np.testing.assert_allclose(f(value), np.tanh(np.exp(value) + np.r_[0, value[:-1]]), rtol=1e-14)


def nest(stride: ir.Expr | int) -> tuple[LoopNest, list[ir.Pointer]]:
    """Return a nest over whole vectors that loads five elements at a stride and stores elsewhere."""
    x, y = gc.placeholder("x", (9,)), gc.placeholder("y", (9,))
    build = Builder([y])
    pointers, out = [build.pointer(x, offset) for offset in (1, 2, 3, 4, 7)], build.pointer(y, 0)
    index = D0 * build.size(9) + D1 * stride if stride != 1 else D0 * build.size(9) + D1
    loads = [ir.Let(ir.Var(f"x{k}", "f64"), p[index]) for k, p in enumerate(pointers)]
    store = ir.Store(out, D1, ir.Var("x0", "f64") + ir.Var("x1", "f64"))
    loop = ir.Loop(ir.Var("whole1"), ir.ZERO, ir.Var("count"), [ir.Let(D1, ir.Var("whole1") + FROM), *loads, store])
    body = (ir.Loop(D0, ir.LO, ir.HI, [loop]),)
    return LoopNest(body, tuple(build.slots), options=KernelOptions(whole_vectors=True)), pointers


D0, D1, FROM = ir.variables("d0 d1 from")


def test_which_loads_are_carried() -> None:
    plain, pointers = nest(1)
    lines = [line.strip() for line in render(plain).splitlines()]
    found = [line.strip() for line in render(carry_neighbours(plain)).splitlines()]
    names = [f"back{p.name[1:]}" for p in pointers]
    before = [f"{names[k]} = {pointers[k]}[d0 * n7 + from]" for k in (0, 2)]
    carried = {f"x{k} = {pointers[k]}[d0 * n7 + d1]": f"x{k} = {names[k]}" for k in (0, 2)}
    at = lines.index("for whole1 in range(0, count):")
    body = [carried.get(line, line) for line in lines[at:-1]]
    assert found == [*lines[:at], *before, *body, f"{names[0]} = x1", f"{names[2]} = x3", "return 0"]


def test_which_are_not() -> None:
    """Elements that lie apart, and nests that may run two vectors at a time."""
    strided, _ = nest(2)
    assert carry_neighbours(strided).body == strided.body
    plain, _ = nest(1)
    other = dataclasses.replace(plain, options=KernelOptions())
    assert carry_neighbours(other) is other
