"""Optimisers: every step against the rules in NumPy, convergence, names and state, kernels, refusals."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.memory.inplace import updates_in_place
from graphc.graph.types import Array
from graphc.optim import (
    LAMB,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
)
from tests import optim_rules as rules

Mode = Literal["compiled", "reference", "debug"]

RULES: dict[str, tuple[Any, Any, rules.Rule]] = {
    "sgd": (SGD, {"lr": 0.1}, rules.sgd(0.1)),
    "sgd-decay": (SGD, {"lr": 0.1, "weight_decay": 0.2}, rules.sgd(0.1, wd=0.2)),
    "momentum": (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}, rules.sgd(0.1, 0.9, wd=0.2)),
    "nesterov": (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, rules.sgd(0.1, 0.9, nesterov=True)),
    "dampening": (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}, rules.sgd(0.1, 0.9, 0.3)),
    "adam": (Adam, {"lr": 0.02}, rules.adam(0.02, 0.9, 0.999, 1e-8)),
    "adam-l2": (
        Adam,
        {"betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2},
        rules.adam(1e-3, 0.8, 0.9, 1e-3, l2=0.2),
    ),
    "adam-betas-0": (Adam, {"lr": 0.02, "betas": (0.0, 0.0)}, rules.adam(0.02, 0.0, 0.0, 1e-8)),
    "amsgrad": (Adam, {"lr": 0.02, "betas": (0.9, 0.5), "amsgrad": True}, rules.adam(0.02, 0.9, 0.5, 1e-8, ams=True)),
    "adamw": (AdamW, {"lr": 0.02, "weight_decay": 0.2}, rules.adam(0.02, 0.9, 0.999, 1e-8, decay=0.2)),
    "adamw-amsgrad": (
        AdamW,
        {"lr": 0.02, "betas": (0.9, 0.5), "amsgrad": True},
        rules.adam(0.02, 0.9, 0.5, 1e-8, decay=0.01, ams=True),
    ),
    "adamax": (Adamax, {"lr": 0.02, "weight_decay": 0.2}, rules.adamax(0.02, 0.9, 0.999, 1e-8, 0.2)),
    "nadam": (NAdam, {"lr": 0.02, "weight_decay": 0.2}, rules.nadam(0.02, 0.9, 0.999, 1e-8, 4e-3, l2=0.2)),
    "nadamw": (
        NAdam,
        {"lr": 0.02, "weight_decay": 0.2, "momentum_decay": 0.3, "decoupled_weight_decay": True},
        rules.nadam(0.02, 0.9, 0.999, 1e-8, 0.3, decay=0.2),
    ),
    "radam": (RAdam, {"lr": 0.02, "weight_decay": 0.2}, rules.radam(0.02, 0.9, 0.999, 1e-8, l2=0.2)),
    "radamw": (
        RAdam,
        {"lr": 0.02, "betas": (0.8, 0.9), "eps": 0.01, "weight_decay": 0.2, "decoupled_weight_decay": True},
        rules.radam(0.02, 0.8, 0.9, 0.01, decay=0.2),
    ),
    "rmsprop": (RMSprop, {"weight_decay": 0.2}, rules.rmsprop(0.01, 0.99, 1e-8, 0.2)),
    "rmsprop-centered": (
        RMSprop,
        {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "momentum": 0.9, "centered": True},
        rules.rmsprop(0.02, 0.9, 1e-3, mu=0.9, centered=True),
    ),
    "adagrad": (
        Adagrad,
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.2, "initial_accumulator": 0.5},
        rules.adagrad(0.1, 0.1, 0.2, 0.5, 1e-10),
    ),
    "adadelta": (Adadelta, {"lr": 0.5, "weight_decay": 0.2}, rules.adadelta(0.5, 0.9, 1e-6, 0.2)),
    "lamb": (LAMB, {"lr": 0.02, "weight_decay": 0.2}, rules.lamb(0.02, 0.9, 0.999, 1e-6, 0.2)),
    "lion": (Lion, {"lr": 0.02, "weight_decay": 0.2}, rules.lion(0.02, 0.9, 0.99, 0.2)),
    "adafactor": (
        Adafactor,
        {"lr": 0.05, "weight_decay": 0.2, "eps": (1e-7, 1e-3)},
        rules.adafactor(0.05, -0.8, 1e-7, 1e-3, 1.0, 0.2),
    ),
    "adafactor-clipped": (
        Adafactor,
        {"lr": 0.5, "beta2_decay": -0.5, "eps": (1e-7, 1e-1), "max_update": 0.5},
        rules.adafactor(0.5, -0.5, 1e-7, 1e-1, 0.5, 0.0),
    ),
}

SHAPES = ((4, 3), (5,), (2, 3, 4), ())


def gradient_step(optimizer: Optimizer, values: list[Array], mode: Mode) -> tuple[list[gc.Shared], gc.Function]:
    """Return parameters, and a function of their gradients that makes one step."""
    params = [gc.shared(v, name=f"w{i}") for i, v in enumerate(values)]
    grads = [gc.placeholder(f"g{i}", shape=v.shape, dtype=v.dtype) for i, v in enumerate(values)]
    return params, gc.function(grads, [], updates=optimizer.updates_from_gradients(grads, params), mode=mode)


@pytest.mark.parametrize(("dtype", "mode", "rtol"), [("float64", "reference", 1e-11), ("float32", "compiled", 2e-5)])
@pytest.mark.parametrize("name", RULES)
def test_every_step_is_the_papers(name: str, dtype: str, mode: Mode, rtol: float) -> None:
    kind, settings, rule = RULES[name]
    rng = np.random.default_rng(3)
    expected = [rng.normal(size=s).astype(dtype).astype(float) for s in SHAPES]
    params, step = gradient_step(kind(**settings), [w.astype(dtype) for w in expected], mode)
    memory: list[dict[str, Any]] = [{} for _ in SHAPES]
    for t in range(1, 13):
        grads = [(rng.normal(size=s) * np.exp(rng.normal())).astype(dtype) for s in SHAPES]
        step(*grads)
        expected = [rule(w, g.astype(float), s, t) for w, g, s in zip(expected, grads, memory, strict=True)]
        for p, w in zip(params, expected, strict=True):
            assert p.dtype == dtype
            np.testing.assert_allclose(p.get_value(), w, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("kind", [SGD, Adam, Adamax, NAdam, RAdam, RMSprop, Adagrad, Adadelta, LAMB, Lion, Adafactor])
def test_zero_gradients_move_nothing(kind: type[Any]) -> None:
    params, step = gradient_step(kind(), [np.ones(3), np.zeros((2, 2))], "reference")
    for _ in range(3):
        step(np.zeros(3), np.zeros((2, 2)))
    np.testing.assert_array_equal(params[0].get_value(), np.ones(3))
    np.testing.assert_array_equal(params[1].get_value(), np.zeros((2, 2)))


def test_centered_rmsprop_survives_a_constant_gradient() -> None:
    # v - mean**2 is 0 but for rounding, of either sign.
    params, step = gradient_step(RMSprop(1e-9, alpha=0.5, centered=True), [np.ones(50, "float32")], "reference")
    g = np.linspace(0.1, 1, 50, dtype="float32")
    for _ in range(60):
        step(g)
    assert np.isfinite(params[0].get_value()).all()


# -- in float32


def test_bias_corrections_keep_their_digits_in_float32() -> None:
    # 0.999**t in float32 would make the first steps wrong by 1e-5: they are lr exactly for a constant gradient.
    params, step = gradient_step(Adam(1.0, eps=0.0), [np.zeros(1, "float32")], "compiled")
    for t in range(1, 6):
        step(np.array([0.3], "float32"))
        assert params[0].get_value()[0] == pytest.approx(-t, rel=3e-7)


@pytest.mark.parametrize("count", [10**4, 10**9])
def test_bias_corrections_at_large_counts(count: int) -> None:
    optimizer = Adam(0.5, betas=(0.9, 1 - 1e-9), eps=0.0)
    params, step = gradient_step(optimizer, [np.zeros(1, "float32")], "reference")
    state = optimizer.state_dict()
    correction = -np.expm1(count * np.log1p(-1e-9))
    optimizer.load_state_dict(
        {
            "w0.step": np.int64(count),
            "w0.exp_avg": np.full_like(state["w0.exp_avg"], 1.0),
            "w0.exp_avg_sq": np.full_like(state["w0.exp_avg_sq"], correction),
        }
    )
    step(np.ones(1, "float32"))
    assert params[0].get_value()[0] == pytest.approx(-0.5, rel=1e-5)


def test_long_averages_of_a_constant_are_the_constant_in_float32() -> None:
    optimizer = Adam(0.0, betas=(0.9, 0.99))
    _, step = gradient_step(optimizer, [np.zeros(3, "float32")], "compiled")
    g = np.array([0.1, 3.0, 70.0], "float32")
    for _ in range(5000):
        step(g)
    np.testing.assert_allclose(optimizer.state_dict()["w0.exp_avg"], g, rtol=1e-5)
    np.testing.assert_allclose(optimizer.state_dict()["w0.exp_avg_sq"], g**2, rtol=1e-5)


# -- whole programs

CONVERGING: tuple[tuple[Optimizer, int], ...] = (
    (SGD(0.1), 200),
    (SGD(0.05, momentum=0.9, nesterov=True), 150),
    (Adam(0.1), 200),
    (AdamW(0.1, weight_decay=1e-4), 200),
    (Adam(0.1, amsgrad=True), 200),
    (Adamax(0.2), 200),
    (NAdam(0.1), 200),
    (RAdam(0.2), 300),
    (RMSprop(0.02), 300),
    (Adagrad(0.5), 200),
    (Adadelta(1.0, eps=1e-3), 400),
    (LAMB(0.02), 300),
    (Lion(0.02), 300),
    (Adafactor(0.1), 300),
)


@pytest.mark.parametrize(("optimizer", "steps"), CONVERGING, ids=lambda v: str(v).partition("(")[0])
def test_a_regression_converges(optimizer: Optimizer, steps: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 3))
    y = x @ [1.0, -2.0, 0.5] + 0.7
    params = {"w": gc.shared(np.full(3, 0.1), name="w"), "b": gc.shared(0.1, name="b")}
    loss = gc.mean((gc.constant(x) @ params["w"] + params["b"] - y) ** 2)
    step = gc.function([], loss, updates=optimizer.updates(loss, params), mode="reference")
    first = float(step())
    for _ in range(steps):
        step()
    assert float(step()) < 5e-3 * first


def test_the_whole_step_is_one_program() -> None:
    w = gc.shared(np.array([3.0, 4.0]), name="w")
    x = gc.placeholder("x", shape=("n", 2))
    loss = gc.mean((x @ w) ** 2)
    step = gc.function([x], loss, updates=SGD(0.1).updates(loss, w))
    for n in (1, 4):
        before, values = w.get_value(), np.arange(2.0 * n).reshape(n, 2)
        assert step(values) == pytest.approx(np.mean((values @ before) ** 2))
        np.testing.assert_allclose(w.get_value(), before - 0.2 * (values @ before) @ values / n)


def test_both_precisions_in_one_step() -> None:
    values: list[Array] = [np.ones(3), np.ones(3, "float32")]
    params, step = gradient_step(Adam(0.1), values, "compiled")
    step(np.ones(3), np.ones(3, "float32"))
    assert [p.dtype for p in params] == ["float64", "float32"]
    for p in params:
        np.testing.assert_allclose(p.get_value(), 0.9, rtol=1e-6)


def test_groups_of_parameters_take_optimisers_of_their_own() -> None:
    a, b = gc.shared(1.0, name="a"), gc.shared(1.0, name="b")
    loss = a * a + b * b
    gc.function([], [], updates=SGD(0.1).updates(loss, a) | SGD(0.25).updates(loss, b))()
    np.testing.assert_allclose([a.get_value(), b.get_value()], [0.8, 0.5])


def test_a_program_without_updates_trains_nothing() -> None:
    w = gc.shared(1.0, name="w")
    optimizer = Adam(0.1)
    optimizer.updates(w * w, w)
    gc.function([], w * w)()
    assert w.get_value() == 1.0 and optimizer.state_dict()["w.step"] == 0


def test_a_table_of_embeddings_is_updated_by_a_plain_difference() -> None:
    # w - lr * scatter: the form that later passes can turn into an update in place.
    table = gc.shared(np.ones((5, 2)), name="table")
    i = gc.placeholder("i", shape=("n",), dtype="int64")
    updates = SGD(0.5).updates(gc.sum(gc.take(table, i, axis=0)), table)
    assert list(updates) == [table]
    node = updates[table]
    assert node.op.name == "subtract" and node.inputs[0] is table and node.inputs[1].op.name == "multiply"
    gc.function([i], [], updates=updates, mode="reference")([1, 1, 3])
    np.testing.assert_array_equal(table.get_value()[:, 0], [1.0, 0.0, 1.0, 0.5, 1.0])


# -- kernels


def many(optimizer: Optimizer, count: int) -> gc.Function:
    shapes = [((8, 4), (4,), (4, 2), (2,))[i % 4] for i in range(count)]
    return gradient_step(optimizer, [np.ones(s, "float32") for s in shapes], "compiled")[1].compile()


@pytest.mark.parametrize(
    ("optimizer", "distinct", "scalars"),
    [
        (SGD(0.1), 1, 0),
        (SGD(0.1, momentum=0.9), 1, 0),
        (RMSprop(), 1, 0),
        (Lion(), 1, 0),
        (Adam(), 2, 100),
        (AdamW(gc.optim.CosineAnnealingLR(0.1, 9)), 5, 86),
        (gc.optim.ExponentialMovingAverage(Adam()), 2, 100),
        (gc.optim.Accumulate(Adam(), 4), 4, 169),
    ],
)
def test_a_step_over_many_tensors_is_few_kernels_and_in_place(
    optimizer: Optimizer, distinct: int, scalars: int
) -> None:
    """One kernel a tensor, and one for its bias corrections, where the rule has them."""
    f = many(optimizer, 100)
    assert f.stats["distinct_kernels"] <= distinct, f.schedule
    assert f.stats["kernels"] <= 100 + scalars
    assert len(updates_in_place(f.schedule)) == len(f.graph.updates)


def test_scalars_are_computed_once_a_parameter() -> None:
    graph = many(Adam(), 8).optimized
    assert sum(n.op.name == "expm1" for n in graph.nodes) == 2 * 8
    assert all(n.ndim == 0 for n in graph.nodes if n.dtype == np.float64)


def test_training_adds_two_kernels_to_the_gradient() -> None:
    x = gc.placeholder("x", shape=("n", 6), dtype="float32")
    params = [gc.shared(np.full((6, 6), 0.1, "float32"), name=f"w{i}") for i in range(8)]
    h = x
    for w in params:
        h = gc.tanh(h @ w)
    loss = gc.mean(h * h)
    plain = gc.function([x], [loss, gc.grad(loss, params)]).compile()
    step = gc.function([x], loss, updates=Adam().updates(loss, params)).compile()
    assert step.stats["distinct_kernels"] == plain.stats["distinct_kernels"] + 2
    assert len(updates_in_place(step.schedule)) == 4 * len(params)


# -- learning rates


def test_a_shared_rate_is_set_between_calls_and_kept_with_the_state() -> None:
    lr, w = gc.shared(np.float32(0.5), name="lr"), gc.shared(1.0, name="w")
    optimizer = SGD(lr)
    step = gc.function([], w, updates=optimizer.updates(w, w))
    step()
    lr.set_value(0.25)
    step()
    assert w.get_value() == 0.25 and optimizer.state_dict() == {"lr": np.float32(0.25)}


@pytest.mark.parametrize("mode", ["compiled", "reference"])
def test_a_rate_that_is_a_function_of_the_count_or_an_input(mode: Mode) -> None:
    w, rate = gc.shared(0.0, name="w"), gc.placeholder("rate")
    step = gc.function([], w, updates=SGD(lambda count: 1.0 / (1 + count)).updates(w, w), mode=mode)
    assert [float(step()) for _ in range(3)] == [0.0, -1.0, -1.5]
    w.set_value(0.0)
    given = gc.function([rate], w, updates=SGD(rate).updates(w, w), mode=mode)
    assert [float(given(v)) for v in (1.0, 2.0, 0.0)] == [0.0, -1.0, -3.0]


# -- names and state


def nested() -> tuple[Any, Any]:
    a, b, c = (gc.shared(np.ones(2), name=n) for n in "abc")
    return {"encoder": {"w": a, "layers": [b]}, "head": c}, gc.sum(a * b * c)


def test_state_is_named_after_the_path_of_a_parameter() -> None:
    params, loss = nested()
    optimizer = Adam()
    optimizer.updates(loss, params)
    names = [f"{p}.{s}" for p in ("encoder.w", "encoder.layers.0", "head") for s in ("exp_avg", "exp_avg_sq", "step")]
    assert sorted(optimizer.state_dict()) == sorted(names)
    for name, state in optimizer.states.items():
        assert isinstance(state, gc.Shared) and state.name == name


def test_parameters_in_lists_and_iterators_keep_their_own_names() -> None:
    a, b, c = gc.shared(1.0, name="a"), gc.shared(1.0, name="b"), gc.shared(1.0, name="b")
    for params in ([a, b, c], (p for p in (a, b, c)), (a, (b, c))):
        optimizer = SGD(0.1, momentum=0.9)
        optimizer.updates(a * b * c, params)
        assert list(optimizer.state_dict()) == ["a.momentum_buffer", "b_1.momentum_buffer", "b_2.momentum_buffer"]


def test_a_second_program_uses_the_same_state() -> None:
    a, b = gc.shared(1.0, name="a"), gc.shared(1.0, name="b")
    optimizer = SGD(1.0, momentum=0.5)
    first = gc.function([], [], updates=optimizer.updates(a, [a]))
    second = gc.function([], [], updates=optimizer.updates(a + b, {"other": a, "b": b}))
    first()
    second()
    state = optimizer.state_dict()
    assert state == {"a.momentum_buffer": 1.5, "b.momentum_buffer": 1.0}
    assert a.get_value() == 1.0 - 1.0 - 1.5


@pytest.mark.parametrize("name", ["adam", "nadam", "adafactor", "rmsprop-centered", "dampening"])
def test_a_run_continues_from_its_state_bit_for_bit(name: str) -> None:
    kind, settings, _ = RULES[name]
    values = [np.ones((3, 2)), np.ones(3)]
    rng = np.random.default_rng(0)
    grads = [[rng.normal(size=v.shape) for v in values] for _ in range(6)]
    optimizer = kind(**settings)
    params, step = gradient_step(optimizer, values, "reference")
    for g in grads[:3]:
        step(*g)
    kept, weights = optimizer.state_dict(), [p.get_value() for p in params]
    for g in grads[3:]:
        step(*g)
    other = kind(**settings)
    again, resumed = gradient_step(other, weights, "reference")
    other.load_state_dict(kept)
    for g in grads[3:]:
        resumed(*g)
    for p, q in zip(params, again, strict=True):
        assert p.get_value().tobytes() == q.get_value().tobytes()


def test_loading_lists_all_that_does_not_fit_and_changes_nothing() -> None:
    params, loss = nested()
    optimizer = SGD(0.1, momentum=0.9)
    with pytest.raises(gc.ArgumentError, match=r"'x' is unknown; call updates\(...\) first"):
        optimizer.load_state_dict({"x": np.ones(2)})
    optimizer.updates(loss, params)
    bad = {
        "encoder.w.momentum_buffer": np.ones(3),
        "head.momentum_buffer": np.ones(2, "float32"),
        "extra": np.ones(1),
    }
    with pytest.raises(gc.ArgumentError) as error:
        optimizer.load_state_dict(bad)
    for part in (
        "'encoder.layers.0.momentum_buffer' is missing",
        "'extra' is unknown",
        "'encoder.w.momentum_buffer' is float64[3], float64[2] needed",
        "'head.momentum_buffer' is float32[2], float64[2] needed",
    ):
        assert part in str(error.value)
    assert all((v == 0).all() for v in optimizer.state_dict().values())


# -- refusals

W, V, N = gc.shared(np.ones(2), name="w"), gc.shared(np.ones(2), name="v"), gc.shared(np.ones(2, "int64"), name="n")
X = gc.placeholder("x", shape=(2,))
LOSS = gc.sum(W * X)

REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "not shared": (
        lambda: Adam().updates(LOSS, [W, X]),
        gc.ArgumentError,
        "Adam.updates: parameter 1 is not shared: x",
    ),
    "an array": (
        lambda: Adam().updates(LOSS, {"a": np.ones(2)}),
        gc.ArgumentError,
        "parameter a is not shared: ndarray",
    ),
    "one node": (lambda: Adam().updates(LOSS, X), gc.ArgumentError, "the parameter is not shared: x"),
    "a module": (lambda: Adam().updates(LOSS, object()), gc.ArgumentError, r"got object;.*module.parameters\(\)"),
    "none": (lambda: Adam().updates(LOSS, []), gc.ArgumentError, "no parameters given"),
    "twice": (lambda: Adam().updates(LOSS, {"a": W, "b": [W]}), gc.ArgumentError, "'w' is given twice, as a and b.0"),
    "same path": (lambda: Adam().updates(LOSS, {"a.b": W, "a": {"b": V}}), gc.ArgumentError, "two.*called 'a.b'"),
    "integers": (lambda: Adam().updates(LOSS, [N]), gc.DTypeError, "dtype int64; only floats are trained"),
    "not 0-d": (lambda: Adam().updates(W * X, W), gc.GradientError, r"loss must be a 0-d float, got f64\[2\]"),
    "integer loss": (lambda: Adam().updates(gc.sum(N), W), gc.GradientError, r"0-d float, got i64"),
    "no node": (lambda: Adam().updates(1.0, W), gc.ArgumentError, "loss must be a node, got float"),  # type: ignore[arg-type]
    "independent": (lambda: Adam().updates(LOSS, [W, V]), gc.GradientError, "does not depend on v"),
    "negative rate": (lambda: SGD(-0.1), gc.ArgumentError, r"SGD: lr must be in \[0, inf\), got -0.1"),
    "nan rate": (lambda: SGD(float("nan")), gc.ArgumentError, "lr must be in"),
    "text rate": (lambda: SGD("0.1"), gc.ArgumentError, "lr must be in"),  # type: ignore[arg-type]
    "vector rate": (lambda: SGD(W), gc.ArgumentError, "SGD: lr must be a 0-d float, got w"),
    "vector schedule": (lambda: SGD(lambda t: W).updates(LOSS, W), gc.ArgumentError, "result: lr must be a 0-d"),
    "beta": (lambda: Adam(betas=(0.9, 1.0)), gc.ArgumentError, r"Adam: betas must be in \[0, 1\), got \(0.9, 1.0\)"),
    "eps": (lambda: Adam(eps=-1.0), gc.ArgumentError, "eps must be in"),
    "decay": (lambda: AdamW(weight_decay=-1.0), gc.ArgumentError, "weight_decay must be in"),
    "norm": (lambda: Adam(clip_norm=-1.0), gc.ArgumentError, "clip_norm must be in"),
    "nesterov": (lambda: SGD(nesterov=True), gc.ArgumentError, "nesterov needs momentum > 0 and dampening 0"),
    "count": (
        lambda: Adam().updates_from_gradients([X], [W, V]),
        gc.ArgumentError,
        "gradients: a sequence of 2 needed, got 1",
    ),
    "shape": (
        lambda: Adam().updates_from_gradients([gc.sum(X)], [W]),
        gc.ShapeError,
        r"updates_from_gradients: gradient of w is f64\[\], f64\[2\] needed",
    ),
    "dtype": (
        lambda: Adam().updates_from_gradients([X.astype("float32")], [W]),
        gc.DTypeError,
        r"gradient of w is f32\[2\], f64\[2\] needed",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_cause_and_the_line(name: str) -> None:
    build, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message) as error:
        build()
    assert re.search(r"\[test_optim\.py:\d+\]$", str(error.value))


def test_names_that_collide_over_two_programs_are_refused() -> None:
    optimizer, loss = SGD(0.1, momentum=0.9), gc.sum(W * V)
    optimizer.updates(loss, {"a": W})
    with pytest.raises(gc.ArgumentError, match="two parameters are called 'a'"):
        optimizer.updates(loss, {"a": V})
    assert list(optimizer.state_dict()) == ["a.momentum_buffer"]


def test_optimisers_show_their_settings() -> None:
    assert repr(Adam(0.1)) == "Adam(lr=0.1, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, amsgrad=False)"
    assert repr(gc.optim.Accumulate(SGD(0.1), 2)).startswith("Accumulate(optimizer=SGD(lr=0.1, ")


@pytest.mark.parametrize("optimizer", [LAMB(), Adafactor()])
def test_optimizers_that_reduce_what_they_update_work_in_place(optimizer: Optimizer) -> None:
    f = many(optimizer, 3)
    assert len(updates_in_place(f.schedule)) == len(f.graph.updates)
