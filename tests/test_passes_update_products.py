"""`update_products`: what becomes an update by a product, and what must stay."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import dedent

import numpy as np

import graphc as gc
from graphc.graph.graph import Graph, verify
from graphc.passes.updates.update_products import update_products

W = gc.shared(np.zeros((3, 4)), name="w")
X = gc.placeholder("x", ("n", 3))
G = gc.placeholder("g", ("n", 4))
RATE = gc.placeholder("rate", ())


def updated(value: gc.Node, *outputs: gc.Node) -> Graph:
    """Return the graph of an update of `W` after the pass."""
    return verify(update_products(Graph([*outputs, value], updates=[W])))


def stays(values: Sequence[gc.Node]) -> None:
    for value in values:
        assert updated(value).outputs == (value,)


def test_a_step_by_a_literal_rate() -> None:
    expected = """
        %0: f64[3,4] = shared[w]
        %1: f64[] = constant[-0.1]
        %2: f64[n,3] = placeholder[x]
        %3: f64[3,n] = permute_dims[axes=(1,0)](%2)
        %4: f64[n,4] = placeholder[g]
        %5: f64[3,4] = matmul_update(%0, %1, %3, %4)
        return
        update w <- %5
        """
    assert updated(W - (X.T @ G) * 0.1).text() == dedent(expected).strip()
    assert updated(W - 0.1 * (X.T @ G)).text() == dedent(expected).strip()


def test_a_step_by_a_computed_rate_and_plain_sums() -> None:
    assert [n.op.name for n in updated(W - RATE * (X.T @ G)).nodes].count("matmul_update") == 1
    (value,) = updated(X.T @ G + W).outputs
    assert value.op.name == "matmul_update" and value.inputs[1].op.evaluate() == 1


def test_what_is_read_elsewhere_has_another_form_or_other_factors_stays() -> None:
    product = X.T @ G
    stays([W - product * product, W * 0.9 - product, (X.T @ G) - W, W - 0.1 * product * gc.ones((3, 4)) * RATE / 3])
    both = updated(W - 0.1 * product, gc.sum(product))
    assert not any(n.op.name == "matmul_update" for n in both.nodes)
