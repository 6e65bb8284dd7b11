"""The engine: guards, bounds, messages; and that a rule cannot lack what makes it testable."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphc as gc
from graphc.graph.evaluate import evaluate
from graphc.graph.graph import Graph
from graphc.ops.elementwise import where
from graphc.passes.algebra.pattern import AXES, Domain, Rule, literal, same_value
from graphc.passes.algebra.rewrite import expression, rewrite
from graphc.passes.algebra.rules_exact import EXACT
from graphc.passes.algebra.rules_fast import FAST
from graphc.passes.algebra.rules_stabilise import STABILISE

REAL = Domain("f")
ALL = (*EXACT, *STABILISE)


# -- rules


def test_a_rule_needs_a_domain_for_each_wildcard() -> None:
    with pytest.raises(TypeError, match="one domain a wildcard"):
        Rule("x + y", lambda x, y: x + y, lambda x, y: y + x, (REAL,))
    with pytest.raises(TypeError, match="one domain a wildcard"):
        Rule("1", lambda: gc.constant(1.0), lambda: gc.constant(2.0), ())


def test_a_rule_has_one_set_of_wildcards() -> None:
    with pytest.raises(TypeError, match="different wildcards"):
        Rule("x + y", lambda x, y: x + y, lambda y, x: y + x, (REAL, REAL))


def test_importing_builds_no_pattern() -> None:
    def pattern(x: gc.Node) -> gc.Node:
        raise AssertionError("built")

    rule = Rule("never", pattern, lambda x: x, (REAL,))
    with pytest.raises(AssertionError, match="built"):
        rewrite(Graph([gc.placeholder("x")]), (rule,))


def test_a_rule_that_changes_the_type_raises_with_both_expressions() -> None:
    rule = Rule("tanh(x)", lambda x: gc.tanh(x), lambda x: x.astype("float32"), (REAL,))
    with pytest.raises(AssertionError, match=r"'tanh\(x\)' changes the type: f64\[\] tanh\(x\) -> f32\[\] astype"):
        rewrite(Graph([gc.tanh(gc.placeholder("x"))]), (rule,))


def test_rules_that_undo_each_other_raise() -> None:
    there = Rule("sin(x)", lambda x: gc.sin(x), lambda x: gc.cos(x), (REAL,))
    back = Rule("cos(x)", lambda x: gc.cos(x), lambda x: gc.sin(x), (REAL,))
    with pytest.raises(AssertionError, match="does not end"):
        rewrite(Graph([gc.sin(gc.placeholder("x"))]), (there, back))


def test_a_rule_that_grows_forever_raises() -> None:
    rule = Rule("sin(x)", lambda x: gc.sin(x), lambda x: gc.exp(gc.sin(x + 1)), (REAL,))
    with pytest.raises(AssertionError, match="does not end"):
        rewrite(Graph([gc.sin(gc.placeholder("x"))]), (rule,))


def test_earlier_rules_win() -> None:
    first = Rule("exp(x) + y", lambda x, y: gc.exp(x) + y, lambda x, y: x, (REAL, REAL))
    second = Rule("x + exp(y)", lambda x, y: x + gc.exp(y), lambda x, y: x, (REAL, REAL))
    a, b = gc.placeholder("a"), gc.placeholder("b")
    graph = Graph([b + gc.exp(a)])
    assert rewrite(graph, (first, second))[0].outputs == (a,)
    assert rewrite(graph, (second, first))[0].outputs == (b,)


def test_kinds_limit_a_wildcard() -> None:
    i, x = gc.placeholder("i", (), "int8"), gc.placeholder("x", (), "float32")
    graph, _ = rewrite(Graph([i - i, x - x]), EXACT)
    assert [o.op.name for o in graph.outputs] == ["constant", "subtract"]


def test_fast_is_opt_in() -> None:
    x, y = gc.placeholder("x"), gc.placeholder("y")
    graph = Graph([x - x, x**0.5, y * 0.0])
    assert rewrite(graph, ALL)[0].outputs == graph.outputs
    assert [o.op.name for o in rewrite(graph, FAST)[0].outputs] == ["constant", "sqrt", "constant"]


# -- the map, guards


def test_the_map_covers_every_node() -> None:
    x = gc.placeholder("x")
    inner = gc.log(1 + x)
    graph = Graph([inner * 2])
    after, new = rewrite(graph, ALL)
    assert set(new) == set(graph.nodes)
    assert new[x] is x and new[inner].op.name == "log1p" and new[graph.outputs[0]] is after.outputs[0]


def test_gradients_of_inner_nodes() -> None:
    x = gc.placeholder("x")
    inner = gc.exp(x)
    value = gc.grad(gc.log(1 + inner), inner).eval({x: 0.5})
    assert value == pytest.approx(1 / (1 + math.exp(0.5)), rel=1e-15)


def test_guards_survive_the_node_that_had_them() -> None:
    a, b = gc.placeholder("a", ("n",)), gc.placeholder("b", ("m",))
    for node in (gc.log(gc.exp(a) + gc.exp(b)), where(gc.less(a, 0), b, b), gc.sqrt(a * a + b * b)):
        after = Graph(rewrite(Graph([node]), ALL)[0].outputs)
        with pytest.raises(gc.ShapeError, match="dimension n of a is 2 but dimension m of b is 3"):
            evaluate(after, {a: np.ones(2), b: np.ones(3)})


# -- matching


def test_the_same_wildcard_needs_the_same_value() -> None:
    x, y = gc.placeholder("x"), gc.placeholder("y")
    graph, _ = rewrite(Graph([gc.exp(x * y) / (1 + gc.exp(x * y)), gc.exp(x) / (y + gc.exp(y))]), ALL)
    assert [o.op.name for o in graph.outputs] == ["sigmoid", "divide"]


def test_literals_match_through_broadcasts_and_casts() -> None:
    x = gc.placeholder("x", ("n", 3), "float32")
    one = gc.broadcast_to(gc.constant(1, "int64"), (3,)).astype("float32")
    assert expression(rewrite(Graph([gc.log(one + x)]), ALL)[0].outputs[0]) == "log1p(x)"
    half = gc.broadcast_to(gc.constant(1.5), (3,)).astype("int64")
    assert literal(half) == 1


def test_zeros_are_told_apart() -> None:
    x = gc.placeholder("x")
    assert rewrite(Graph([x + -0.0]), EXACT)[0].outputs == (x,)
    assert rewrite(Graph([x + 0.0]), EXACT)[0].outputs != (x,)


def test_same_value_gives_up_on_large_expressions() -> None:
    x = gc.placeholder("x")

    def chain(n: int) -> gc.Node:
        y = x
        for _ in range(n):
            y = gc.tanh(y)
        return y

    assert same_value(chain(10), chain(10))
    assert not same_value(chain(10), chain(11))
    assert not same_value(chain(100), chain(100))


def test_axes_stand_for_any_axes() -> None:
    rule = Rule(
        "sum(-x)", lambda x, axis: gc.sum(-x, axis), lambda x, axis: -gc.sum(x, axis), (Domain(shape=(3, 4)), AXES)
    )
    x = gc.placeholder("x", (2, 3, 4))
    graph, _ = rewrite(Graph([gc.sum(-x, (0, 2))]), (rule,))
    assert expression(graph.outputs[0]) == "negative(sum[axes=(0,2)](x))"
