"""`fold_constants`: what depends on constants only is computed; large and failing computations are left alone."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc.graph.graph import Graph
from graphc.passes.algebra.fold_constants import LIMIT, fold_constants
from tests.passes import becomes, stays


def test_constants_are_computed() -> None:
    becomes(
        fold_constants,
        gc.placeholder("x") * gc.exp(gc.constant(0.0) * 3.0),
        """
        %0: f64[] = placeholder[x]
        %1: f64[] = constant[1.0]
        %2: f64[] = multiply(%0, %1)
        return %2
        """,
    )


def test_a_row_and_a_column_become_an_array() -> None:
    rows, columns = gc.constant([1.0, 2.0, 3.0]), gc.constant([[10.0], [20.0]])
    becomes(
        fold_constants,
        rows + columns,
        """
        %0: f64[2,3] = constant[[[11.,12.,13.], [21.,22.,23.]]]
        return %0
        """,
    )


def test_broadcast_constants_stay_small() -> None:
    stays(fold_constants, gc.broadcast_to(gc.constant([1.0, 2.0]), (1000, 2)))


def test_an_array_of_one_value_is_a_number() -> None:
    becomes(
        fold_constants,
        gc.constant(np.full((2, 3), -0.0)),
        """
        %0: f64[] = constant[-0.0]
        %1: f64[2,3] = broadcast[shape=(2,3), axes=()](%0)
        return %1
        """,
    )
    stays(fold_constants, [gc.constant([0.0, -0.0]), gc.constant([1.0])])


def test_views_and_reductions_of_constants_fold() -> None:
    x = gc.constant(np.arange(6.0).reshape(2, 3))
    becomes(
        fold_constants,
        [x.T[1], gc.sum(x), gc.logsumexp(gc.constant([0.0, 1.0]))],
        """
        %0: f64[2] = constant[[1.,4.]]
        %1: f64[] = constant[15.0]
        %2: f64[] = constant[1.3132616875182228]
        return %0, %1, %2
        """,
    )


def test_a_result_that_outgrows_its_operands_stays() -> None:
    size = LIMIT // 8
    rows = gc.constant(np.arange(size) * 1.0)
    stays(fold_constants, gc.outer(rows, rows))
    large = gc.constant(np.arange(2.0 * size))
    assert fold_constants(Graph([gc.sqrt(large)])).nodes[0].op.name == "constant"


def test_unknown_values_and_sizes_stay() -> None:
    x = gc.placeholder("x", ("n",))
    stays(fold_constants, [x + 1.0, gc.sum(gc.broadcast_to(gc.constant(2.0), x.shape)), gc.shared([1.0]) * 2.0])


def test_what_fails_is_left_for_the_call() -> None:
    index = gc.constant([5]) + 0
    becomes(
        fold_constants,
        gc.take(gc.constant([1.0, 2.0]), index),
        """
        %0: f64[2] = constant[[1.,2.]]
        %1: i64[1] = constant[5]
        %2: f64[1] = gather[axes=(0)](%0, %1)
        return %2
        """,
    )
