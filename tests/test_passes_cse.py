"""`cse`: one node for one value; bits, dtypes and identities that differ keep nodes apart."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc.passes.algebra.cse import cse
from tests.passes import becomes, stays


def test_equal_computations_merge_in_either_order() -> None:
    x, y = gc.placeholder("x"), gc.placeholder("y")
    becomes(
        cse,
        (x + y) * (y + x),
        """
        %0: f64[] = placeholder[x]
        %1: f64[] = placeholder[y]
        %2: f64[] = add(%0, %1)
        %3: f64[] = multiply(%2, %2)
        return %3
        """,
    )


def test_chains_and_parameters_merge() -> None:
    x = gc.placeholder("x", (3, 4))
    becomes(
        cse,
        [gc.sum(gc.exp(x), 1), gc.sum(gc.exp(x), 1), gc.sum(gc.exp(x), 0)],
        """
        %0: f64[3,4] = placeholder[x]
        %1: f64[3,4] = exp(%0)
        %2: f64[3] = sum[axes=(1)](%1)
        %3: f64[4] = sum[axes=(0)](%1)
        return %2, %2, %3
        """,
    )


def test_constants_merge_by_their_bits() -> None:
    becomes(
        cse,
        [gc.constant(np.nan), gc.constant(np.nan), gc.constant([1.0, 2.0]), gc.constant([1.0, 2.0])],
        """
        %0: f64[] = constant[nan]
        %1: f64[2] = constant[[1.,2.]]
        return %0, %0, %1, %1
        """,
    )


def test_different_bits_and_dtypes_stay_apart() -> None:
    stays(cse, [gc.constant(0.0), gc.constant(-0.0), gc.constant(1), gc.constant(True), gc.constant(np.float32(0))])


def test_leaves_equal_only_themselves() -> None:
    x, also_x = gc.placeholder("x"), gc.placeholder("x")
    stays(cse, [x + also_x, gc.shared(1.0, name="w"), gc.shared(1.0, name="w")])


def test_order_matters_where_it_does() -> None:
    x, y = gc.placeholder("x"), gc.placeholder("y")
    stays(cse, [x - y, y - x, x / y, y / x])
