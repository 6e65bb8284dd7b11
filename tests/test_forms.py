"""Plans say in which form the sizes let each kernel run that has several, and that form runs."""

from __future__ import annotations

import platform

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.math.tile_sizes import vector_bits

not_on_windows = pytest.mark.skipif(platform.system() == "Windows", reason="frames there have no room for strips")


@not_on_windows
def test_operands_across_rows() -> None:
    x, y = gc.placeholder("x", ("n", "m")), gc.placeholder("y", ("m", "n"))
    f = gc.function([x, y], x + y.T)
    for n, words in ((3, "read number by number"), (1000, "turned around, strips at a time")):
        a = np.arange(n * n, dtype=float).reshape(n, n)
        np.testing.assert_array_equal(f(a, a), a + a.T)
        assert f.plan.forms == {"kernel 0": f"operands across its rows {words}"}
        assert f"kernel 0: operands across its rows {words}" in str(f.plan).splitlines()


@not_on_windows
def test_sizes_known_beforehand_are_said_too() -> None:
    y = gc.placeholder("y", (512, 512))
    assert "strips" in gc.function([y], y.T + 1.0).plan.forms["kernel 0"]
    assert not gc.function([y], y + 1.0).plan.forms


@pytest.mark.skipif(not vector_bits(), reason="no register tiles without fused multiply-add")
def test_products() -> None:
    x, y = gc.placeholder("x", ("n", "n")), gc.placeholder("y", ("n", "n"))
    f = gc.function([x, y], x @ y)
    for n, words in ((2, "a call of BLAS"), (64, "register tiles")):
        f(np.eye(n), np.eye(n))
        assert f.plan.forms == {"kernel 0": words} and f"kernel 0: {words}" in str(f.plan)


def test_loops() -> None:
    x = gc.placeholder("x", ("n",))
    f = gc.function([x], gc.scan(lambda c, _: (gc.tanh(c * 1.1), None), x, None, length=3)[0])
    for n, words in ((10, "one kernel for the whole loop"), (100_000, "a loop over the kernels of a step")):
        f(np.ones(n))
        (form,) = f.plan.forms.values()
        assert form.startswith(words)
