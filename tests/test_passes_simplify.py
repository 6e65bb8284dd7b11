"""`simplify`: exact algebra in programs; `tests/test_rules.py` holds each rule against its claim."""

from __future__ import annotations

import graphc as gc
from graphc.graph.graph import Graph
from graphc.passes.algebra.simplify import simplify
from tests.passes import becomes, stays


def test_rules_reach_a_fixed_point_together() -> None:
    x, y = gc.placeholder("x", ("n",)), gc.placeholder("y", ("n",))
    becomes(
        simplify,
        gc.negative(-x) * 1.0 + -(y / -2.0) * (1 / x) ** 1,
        """
        %0: f64[n] = placeholder[x]
        %1: f64[n] = placeholder[y]
        %2: f64[] = constant[0.5]
        %3: f64[n] = broadcast[shape=(n), axes=()](%2)
        %4: f64[n] = multiply(%1, %3)
        %5: f64[n] = divide(%4, %0)
        %6: f64[n] = add(%0, %5)
        return %6
        """,
    )


def test_squares_and_signs_have_one_form() -> None:
    x = gc.placeholder("x")
    becomes(
        simplify,
        [x * x, x**2, (-x) ** 2, 3.0 - -x, x + -3.0],
        """
        %0: f64[] = placeholder[x]
        %1: f64[] = square(%0)
        %2: f64[] = square(%0)
        %3: f64[] = square(%0)
        %4: f64[] = constant[3.0]
        %5: f64[] = add(%4, %0)
        %6: f64[] = constant[3.0]
        %7: f64[] = subtract(%0, %6)
        return %1, %2, %3, %5, %7
        """,
    )


def test_integers_have_the_usual_algebra() -> None:
    i = gc.placeholder("i", ("n",), "int64")
    becomes(
        simplify,
        [i + 0, i - i, 1 * i, 0 - i],
        """
        %0: i64[n] = placeholder[i]
        %1: i64[] = constant[0]
        %2: i64[n] = broadcast[shape=(n), axes=()](%1)
        %3: i64[n] = negative(%0)
        return %0, %2, %0, %3
        """,
    )


def test_choices() -> None:
    c, x, y = gc.placeholder("c", (), "bool"), gc.placeholder("x"), gc.placeholder("y")
    becomes(
        simplify,
        [gc.where(~c, x, y), gc.where(c, x, x), gc.where(c, gc.where(c, x, y), y)],
        """
        %0: bool[] = placeholder[c]
        %1: f64[] = placeholder[y]
        %2: f64[] = placeholder[x]
        %3: f64[] = where(%0, %1, %2)
        %4: f64[] = where(%0, %2, %1)
        return %3, %2, %4
        """,
    )


def test_what_is_not_exact_stays() -> None:
    """-0.0, inf and nan forbid these for floats."""
    x, y = gc.placeholder("x"), gc.placeholder("y")
    stays(simplify, [x + 0.0, x * 0.0, x - x, 0.0 - x, -(x - y), x / x, x**0.5, x / 3.0, x - -0.0])


def test_every_element_must_be_the_number() -> None:
    x = gc.placeholder("x", (2,))
    stays(simplify, [x * gc.constant([1.0, 2.0]), x - gc.constant([0.0, -0.0])])


def test_a_program_of_any_depth() -> None:
    x = gc.placeholder("x")
    y = x
    for _ in range(20_000):
        y = -y
    assert simplify(Graph([y])).outputs == (x,)


def test_lines_are_inherited() -> None:
    x = gc.placeholder("x")
    y = 1 / x
    (after,) = simplify(Graph([y])).outputs
    assert after is not y and after.source == y.source
