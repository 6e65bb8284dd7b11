"""Parameters that join late, move in one of two programs, or in groups: each counts its own steps, as in PyTorch.

The oracle is `tests.optim_rules`, called once for every step that a parameter makes, with the number of that step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.types import Array
from graphc.optim import (
    SGD,
    Accumulate,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    ExponentialMovingAverage,
    NAdam,
    RAdam,
)
from tests import optim_rules as rules

COUNTING: dict[str, tuple[Any, Any, rules.Rule]] = {
    "adam": (Adam, {"lr": 0.02}, rules.adam(0.02, 0.9, 0.999, 1e-8)),
    "adamw": (AdamW, {"lr": 0.02}, rules.adam(0.02, 0.9, 0.999, 1e-8, decay=0.01)),
    "amsgrad": (Adam, {"lr": 0.02, "amsgrad": True}, rules.adam(0.02, 0.9, 0.999, 1e-8, ams=True)),
    "nadam": (NAdam, {"lr": 0.02}, rules.nadam(0.02, 0.9, 0.999, 1e-8, 4e-3)),
    "radam": (RAdam, {"lr": 0.02, "betas": (0.8, 0.9)}, rules.radam(0.02, 0.8, 0.9, 1e-8)),
    "adamax": (Adamax, {"lr": 0.02}, rules.adamax(0.02, 0.9, 0.999, 1e-8, 0.0)),
    "adafactor": (Adafactor, {"lr": 0.9, "eps": (1e-7, 1e-3)}, rules.adafactor(0.9, -0.8, 1e-7, 1e-3, 1.0, 0.0)),
    "adagrad": (Adagrad, {"lr": 0.1, "lr_decay": 0.5}, rules.adagrad(0.1, 0.5, 0.0, 0.0, 1e-10)),
    "dampening": (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}, rules.sgd(0.1, 0.9, 0.3)),
    "lamb": (gc.optim.LAMB, {"lr": 0.02}, rules.lamb(0.02, 0.9, 0.999, 1e-6, 0.0)),
}
ORDERS = {
    "late": ["a"] * 5 + ["ab"] * 3,
    "halves": ["a", "b"] * 4,
    "now and then": ["ab", "a", "a", "ab", "b", "a", "ab"],
}


class Followed:
    """A parameter beside what the rule makes of it."""

    def __init__(self, name: str, shape: tuple[int, ...], rule: rules.Rule) -> None:
        self.expected: Array = np.random.default_rng(len(shape)).normal(size=shape)
        self.node = gc.shared(self.expected, name=name)
        self.grad = gc.placeholder(f"g_{name}", shape=shape)
        self.rule, self.memory, self.steps = rule, dict[str, Any](), 0

    def step(self, g: Array) -> None:
        self.steps += 1
        self.expected = self.rule(self.expected, g, self.memory, self.steps)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", COUNTING)
def test_every_parameter_counts_its_own_steps(name: str, order: str) -> None:
    kind, settings, rule = COUNTING[name]
    params = {"a": Followed("a", (3, 2), rule), "b": Followed("b", (4,), rule)}
    optimizer, rng = kind(**settings), np.random.default_rng(5)
    programs = {}
    for which in dict.fromkeys(ORDERS[order]):
        grads, nodes = [params[p].grad for p in which], [params[p].node for p in which]
        updates = optimizer.updates_from_gradients(grads, nodes)
        programs[which] = gc.function(grads, [], updates=updates, mode="reference")
    for which in ORDERS[order]:
        values = [rng.normal(size=params[p].expected.shape) for p in which]
        programs[which](*values)
        for p, value in zip(which, values, strict=True):
            params[p].step(value)
        for followed in params.values():
            np.testing.assert_allclose(followed.node.get_value(), followed.expected, rtol=1e-11, atol=1e-13)


def test_the_first_step_of_a_late_parameter_is_that_of_a_new_optimiser() -> None:
    a, b = gc.shared(1.0, name="a"), gc.shared(1.0, name="b")
    optimizer = Adam(0.1)
    alone = gc.function([], [], updates=optimizer.updates(a * a, a))
    both = gc.function([], [], updates=optimizer.updates(a * a + b * b, [a, b]))
    for _ in range(5000):
        alone()
    both()
    assert b.get_value() == pytest.approx(0.9, rel=1e-7)


def test_a_schedule_counts_the_steps_of_the_optimiser() -> None:
    a, b = gc.shared(0.0, name="a"), gc.shared(0.0, name="b")
    optimizer = SGD(lambda count: 1.0 + count)
    joined = optimizer.updates(a + b, a) | optimizer.updates(a + b, b)
    step = gc.function([], [], updates=joined)
    step()
    step()
    assert a.get_value() == b.get_value() == -3.0 and optimizer.state_dict() == {"step": 2}


# -- groups


def three() -> tuple[list[gc.Shared], gc.Node]:
    """Parameters of 2 elements whose gradients are 3, 4 and 12: the norm of all is 13 sqrt(2)."""
    params = [gc.shared(np.zeros(2), name=n) for n in "abc"]
    return params, gc.sum(3.0 * params[0] + 4.0 * params[1] + 12.0 * params[2])


def test_groups_of_one_loss_are_clipped_by_the_norm_of_all() -> None:
    (a, b, c), loss = three()
    groups = [SGD(lr, clip_norm=1.3).updates(loss, p) for lr, p in ((1.0, a), (2.0, b), (3.0, c))]
    gc.function([], [], updates=groups[0] | groups[1] | groups[2])()
    factor = 1.3 / (13 * np.sqrt(2) + 1e-6)
    for p, move in ((a, 3.0), (b, 8.0), (c, 36.0)):
        np.testing.assert_allclose(p.get_value(), -move * factor, rtol=1e-13)


@pytest.mark.parametrize("join", ["left", "right", "in place"])
def test_groups_join_in_any_order_and_through_wrappers(join: str) -> None:
    (a, b, c), loss = three()
    groups = [
        Accumulate(SGD(1.0, clip_norm=1.3), 2).updates(loss, a),
        ExponentialMovingAverage(SGD(1.0, clip_norm=1.3)).updates(loss, b),
        SGD(1.0).updates(loss, c),  # not clipped, and no part of the norm
    ]
    if join == "left":
        joined = (groups[0] | groups[1]) | groups[2]
    elif join == "right":
        joined = groups[0] | (groups[1] | groups[2])
    else:
        joined = groups[2]
        joined |= groups[1]
        joined |= groups[0]
    step = gc.function([], [], updates=joined)
    step()
    step()
    # The mean gradients of a: 1.5 after one call, 3 after two; b moves by the norm of both at each call.
    first, second = (1.3 / (np.sqrt(2) * np.hypot(g, 4.0) + 1e-6) for g in (1.5, 3.0))
    np.testing.assert_allclose(a.get_value(), -3.0 * second, rtol=1e-13)
    np.testing.assert_allclose(b.get_value(), -4.0 * (first + second), rtol=1e-13)
    np.testing.assert_allclose(c.get_value(), -24.0, rtol=1e-13)


def test_groups_of_different_losses_are_clipped_apart() -> None:
    (a, b, _), loss = three()
    other = gc.sum(4.0 * b)
    updates = SGD(1.0, clip_norm=1.3).updates(loss, a) | SGD(1.0, clip_norm=1.3).updates(other, b)
    gc.function([], [], updates=updates)()
    for p, norm in ((a, 3 * np.sqrt(2)), (b, 4 * np.sqrt(2))):
        np.testing.assert_allclose(p.get_value(), -1.3 / np.sqrt(2) * norm / (norm + 1e-6), rtol=1e-13)


def test_a_parameter_in_two_groups_is_refused() -> None:
    (a, b, _), loss = three()
    with pytest.raises(
        gc.ArgumentError, match=r"updates: parameter '0.a' or 'x' is in both groups.*\[test_optim_groups"
    ):
        SGD(0.1).updates(loss, [{"a": a}]) | SGD(0.2).updates(loss, {"x": a, "y": b})


def test_updates_join_with_plain_dicts() -> None:
    (a, _, _), loss = three()
    count = gc.shared(0, name="count")
    group = SGD(1.0, clip_norm=1.3).updates(loss, a)
    pairs: list[Any] = [group | {count: count + 1}, {count: count + 1} | group]
    for joined in pairs:
        assert set(joined) == {a, count} and set(joined.norms.values()) == {loss}


# -- hyperparameters that are nodes


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta"])
def test_weight_decay_may_be_a_node(name: str, dtype: str) -> None:
    results = []
    for decay in (0.3, gc.shared(0.3, name="decay")):
        w, g = gc.shared(np.ones(3, dtype), name="w"), gc.placeholder("g", shape=(3,), dtype=dtype)
        optimizer = getattr(gc.optim, name)(lr=0.1, weight_decay=decay)
        step = gc.function([g], [], updates=optimizer.updates_from_gradients(g, w), mode="reference")
        step(np.array([1, -2, 0], dtype))
        results.append(w.get_value())
        if isinstance(decay, gc.Shared):
            assert optimizer.states["weight_decay"] is decay
    assert results[1].dtype == dtype
    np.testing.assert_allclose(results[1], results[0], rtol=2e-7)


@pytest.mark.parametrize("name", ["LAMB", "Lion", "Adafactor"])
def test_weight_decay_may_be_a_node_elsewhere(name: str) -> None:
    test_weight_decay_may_be_a_node(name, "float32")


def test_limits_may_be_nodes() -> None:
    results = []
    for value, norm in ((2.0, 1.5), (gc.shared(2.0, name="value"), gc.shared(np.float32(1.5), name="norm"))):
        w = gc.shared(np.zeros(2), name="w")
        step = gc.function(
            [], [], updates=SGD(1.0, clip_value=value, clip_norm=norm).updates(gc.sum(w * [3.0, 1.0]), w)
        )
        step()
        results.append(w.get_value())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda node: SGD(0.1, momentum=node), "SGD: momentum must be a number, got"),
        (lambda node: Adam(eps=node), "Adam: eps must be a number, got"),
        (lambda node: Adam(weight_decay=gc.stack([node])), "Adam: weight_decay must be a 0-d float, got"),
        (lambda node: SGD(0.1, clip_norm=gc.constant(1)), "SGD: clip_norm must be a 0-d float, got"),
        (lambda node: ExponentialMovingAverage(SGD(0.1), decay=node), "decay must be a number, got"),
    ],
)
def test_other_nodes_are_refused(make: Any, message: str) -> None:
    with pytest.raises(gc.ArgumentError, match=message):
        make(gc.placeholder("value"))


# -- averages and accumulation


@pytest.mark.parametrize("warmup", [False, True])
@pytest.mark.parametrize("inside", [lambda: SGD(0.5), lambda: Adam(0.5)])
@pytest.mark.parametrize("outside", [True, False])
def test_averages_follow_steps_and_not_micro_steps(outside: bool, inside: Any, warmup: bool) -> None:
    w, x = gc.shared(1.0, name="w"), gc.placeholder("x")
    if outside:
        optimizer: Any = ExponentialMovingAverage(Accumulate(inside(), 3), 0.5, warmup)
    else:
        optimizer = Accumulate(ExponentialMovingAverage(inside(), 0.5, warmup), 3)
    step = gc.function([x], [], updates=optimizer.updates(w * x, w))
    w.set_value(4.0)  # weights that were loaded after the program was made
    expected = 4.0
    rng = np.random.default_rng(0)
    for t in range(1, 5):
        for _ in range(3):
            step(rng.normal())
        decay = min(0.5, t / (t + 9)) if warmup else 0.5
        expected = decay * expected + (1 - decay) * float(w.get_value())
        assert optimizer.state_dict()["w.average"] == pytest.approx(expected, rel=1e-14)


def test_sets_that_accumulate_apart_count_apart() -> None:
    a, b, x = gc.shared(0.0, name="a"), gc.shared(0.0, name="b"), gc.placeholder("x")
    optimizer = Accumulate(SGD(1.0), 2)
    first = gc.function([x], [], updates=optimizer.updates(a * x, a))
    second = gc.function([x], [], updates=optimizer.updates(b * x, b))
    for value in (1.0, 3.0):
        first(value)
        second(10 * value)
    assert [float(a.get_value()), float(b.get_value())] == [-2.0, -20.0]
    with pytest.raises(gc.ArgumentError, match="Accumulate: a was given together with other parameters before"):
        optimizer.updates(a * b, [a, b])
