"""`canonicalize`: operand order, chains of views, broadcasts, reductions of what repeats; what must stay."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.graph.evaluate import evaluate
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.ops.pointwise import Broadcast
from graphc.passes.algebra.canonicalize import canonicalize
from tests.passes import becomes, stays


def vector(name: str = "x", dtype: str = "float64") -> Node:
    return gc.placeholder(name, ("n",), dtype)


def matrix(name: str = "x", dtype: str = "float64") -> Node:
    return gc.placeholder(name, ("n", 4), dtype)


# -- operand order


def test_constants_go_to_the_right() -> None:
    becomes(
        canonicalize,
        2 * vector(),
        """
        %0: f64[n] = placeholder[x]
        %1: f64[] = constant[2.0]
        %2: f64[n] = broadcast[shape=(n), axes=()](%1)
        %3: f64[n] = multiply(%0, %2)
        return %3
        """,
    )


def test_order_of_what_does_not_commute_stays() -> None:
    stays(canonicalize, [2 - vector(), 2 / vector(), vector() + vector("y"), vector() * 2])


# -- views


def test_permutations_merge() -> None:
    x = gc.placeholder("x", (2, 3, 4))
    becomes(
        canonicalize,
        gc.permute_dims(gc.permute_dims(x, (1, 2, 0)), (1, 2, 0)),
        """
        %0: f64[2,3,4] = placeholder[x]
        %1: f64[4,2,3] = permute_dims[axes=(2,0,1)](%0)
        return %1
        """,
    )
    assert canonicalize(Graph([matrix().T.T])).nodes[-1].op.name == "placeholder"


def test_reshapes_merge_and_identities_go() -> None:
    x = gc.placeholder("x", (2, 3, 4))
    becomes(
        canonicalize,
        [x.reshape(6, 4).reshape(8, 3), x.reshape(24).reshape(2, 3, 4)],
        """
        %0: f64[2,3,4] = placeholder[x]
        %1: f64[8,3] = reshape[shape=(8,3)](%0)
        return %1, %0
        """,
    )


def test_a_reshape_that_moves_ones_is_a_view() -> None:
    x = gc.placeholder("x", (3, 1, 4))
    becomes(
        canonicalize,
        x.reshape(1, 3, 4),
        """
        %0: f64[3,1,4] = placeholder[x]
        %1: f64[3,4] = squeeze[axes=(1)](%0)
        %2: f64[1,3,4] = broadcast[shape=(1,3,4), axes=(1,2)](%1)
        return %2
        """,
    )
    assert canonicalize(Graph([x.reshape(3, 4)])).nodes[-1].op.name == "squeeze"


def test_slices_merge() -> None:
    x = gc.placeholder("x", (20,))
    becomes(
        canonicalize,
        [x[2:18:2][1:5], x[::-1][::-1]],
        """
        %0: f64[20] = placeholder[x]
        %1: f64[4] = slice[starts=(4), shape=(4), steps=(2)](%0)
        return %1, %0
        """,
    )


def test_broadcasts_merge_and_squeezes_cancel() -> None:
    x = vector()
    wide = gc.broadcast_to(gc.expand_dims(x, axis=1), ("n", 4))
    becomes(
        canonicalize,
        [wide, gc.squeeze(gc.expand_dims(x, axis=1), 1)],
        """
        %0: f64[n] = placeholder[x]
        %1: f64[n,4] = broadcast[shape=(n,4), axes=(0)](%0)
        return %1, %0
        """,
    )


def test_a_permuted_broadcast_is_a_broadcast() -> None:
    becomes(
        canonicalize,
        gc.broadcast_to(gc.placeholder("x", (4,)), (3, 4)).T,
        """
        %0: f64[4] = placeholder[x]
        %1: f64[4,3] = broadcast[shape=(4,3), axes=(0)](%0)
        return %1
        """,
    )


def test_a_slice_of_a_broadcast_slices_the_source() -> None:
    x = gc.placeholder("x", (4,))
    becomes(
        canonicalize,
        gc.broadcast_to(x, (3, 4))[1:, ::2],
        """
        %0: f64[4] = placeholder[x]
        %1: f64[2] = slice[starts=(0), shape=(2), steps=(2)](%0)
        %2: f64[2,2] = broadcast[shape=(2,2), axes=(1)](%1)
        return %2
        """,
    )


def test_views_that_do_something_stay() -> None:
    x = gc.placeholder("x", (3, 4))
    stays(canonicalize, [x.T, x.reshape(4, 3), x[1:], gc.broadcast_to(x, (2, 3, 4)), gc.concat([x, x])])


# -- casts and stop_gradient


def test_a_lossless_detour_goes() -> None:
    x = vector(dtype="float32")
    becomes(
        canonicalize,
        [x.astype("float64").astype("float32"), x.astype("float64").astype("int64")],
        """
        %0: f32[n] = placeholder[x]
        %1: i64[n] = astype[dtype=i64](%0)
        return %0, %1
        """,
    )


@pytest.mark.parametrize(("first", "second"), [("float64", "float32"), ("int64", "float64"), ("float64", "int64")])
def test_a_lossy_detour_stays(first: str, second: str) -> None:
    stays(canonicalize, vector(dtype=first).astype(second).astype(first))


# -- broadcasts move towards the outputs


def test_computing_before_broadcasting() -> None:
    x = gc.placeholder("x", (4,))
    becomes(
        canonicalize,
        gc.tanh(gc.broadcast_to(x, (3, 4)) * 2.0),
        """
        %0: f64[4] = placeholder[x]
        %1: f64[] = constant[2.0]
        %2: f64[4] = broadcast[shape=(4), axes=()](%1)
        %3: f64[4] = multiply(%0, %2)
        %4: f64[4] = tanh(%3)
        %5: f64[3,4] = broadcast[shape=(3,4), axes=(1)](%4)
        return %5
        """,
    )


def test_different_broadcasts_stay() -> None:
    rows, columns = gc.placeholder("x", (3, 1)), gc.placeholder("y", (4,))
    stays(canonicalize, rows + columns)


# -- reductions


def test_a_sum_over_a_broadcast_axis_is_a_product() -> None:
    x = gc.placeholder("x", (4,))
    becomes(
        canonicalize,
        gc.sum(gc.broadcast_to(x, (3, 4)), 0),
        """
        %0: f64[4] = placeholder[x]
        %1: f64[] = constant[3.0]
        %2: f64[4] = broadcast[shape=(4), axes=()](%1)
        %3: f64[4] = multiply(%0, %2)
        %4: f64[] = constant[0.0]
        %5: f64[4] = broadcast[shape=(4), axes=()](%4)
        %6: f64[4] = add(%3, %5)
        return %6
        """,
    )


def test_a_sum_over_all_axes_of_a_broadcast_sums_its_own() -> None:
    x = gc.placeholder("x", (4,), "int64")
    becomes(
        canonicalize,
        gc.sum(gc.broadcast_to(x, ("n", 4))),
        """
        %0: i64[4] = placeholder[x]
        %1: i64[] = sum[axes=(0)](%0)
        %2: i64[] = dim[dim=n, dtype=i64]
        %3: i64[] = multiply(%1, %2)
        return %3
        """,
    )


def test_extremes_of_what_repeats() -> None:
    x = gc.placeholder("x", (4, 1))
    becomes(
        canonicalize,
        [gc.max(x, 1), gc.min(gc.broadcast_to(x, (4, 3)), 1)],
        """
        %0: f64[4,1] = placeholder[x]
        %1: f64[4] = squeeze[axes=(1)](%0)
        %2: f64[4] = squeeze[axes=(1)](%0)
        return %1, %2
        """,
    )


def test_an_axis_that_may_be_empty_keeps_its_extreme() -> None:
    stays(canonicalize, gc.max(apply(Broadcast((gc.dim("n"), 4), (1,)), gc.placeholder("x", (4,))), 0))


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("value", [1.5, -0.0, np.inf, np.nan, 1e308])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_counting_is_summing(n: int, value: float, dtype: str) -> None:
    """Empty axes, infinities and signs of zero included."""
    x, y = gc.placeholder("x", (2,), dtype), gc.placeholder("y", ("n",))
    graph = Graph([gc.sum(gc.broadcast_to(x, (gc.dim("n"), 2)), 0), gc.sum(gc.broadcast_to(x[:, None], (2, 5)), 1), y])
    with np.errstate(over="ignore"):
        bindings = {x: np.array([value, 2.0]).astype(dtype), y: np.zeros(n)}
    for before, after in zip(evaluate(graph, bindings), evaluate(canonicalize(graph), bindings), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6)
        assert (np.signbit(before) == np.signbit(after))[~np.isnan(before)].all()


def test_reductions_that_compute_stay() -> None:
    x = gc.placeholder("x", (3, 4))
    stays(canonicalize, [gc.sum(x, 0), gc.max(x), gc.argmax(x, 1), gc.prod(x, 1)])
