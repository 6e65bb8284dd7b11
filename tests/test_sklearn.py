"""The scikit-learn estimators: scikit-learn's own checks, and what they are for."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import graphc as gc
from graphc.graph.errors import ArgumentError
from graphc.graph.types import Array
from graphc.interop.sklearn import MLPClassifier, MLPRegressor

SKIPPED = {"check_array_api_input", "check_classifier_data_not_an_array", "check_regressor_data_not_an_array"}
"""Checks that scikit-learn skips itself, for packages that are not installed."""


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
@pytest.mark.parametrize("estimator", [MLPClassifier(), MLPRegressor()], ids=["classifier", "regressor"])
def test_scikit_learns_own_checks(estimator: Any) -> None:
    results = check_estimator(estimator, on_skip=None)
    assert len(results) > 40
    assert {r["check_name"] for r in results if r["status"] != "passed"} <= SKIPPED


def test_the_namespace_is_lazy() -> None:
    code = "import sys, graphc as gc; print('sklearn' in sys.modules, gc.sklearn.MLPClassifier.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "MLPClassifier"]
    assert gc.sklearn.MLPRegressor is MLPRegressor
    with pytest.raises(AttributeError, match="has no attribute 'sklern'"):
        _ = gc.sklern


def digits() -> tuple[Array, Array]:
    data = load_digits()
    return data.data / 16, data.target


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("solver", "rate", "steps"), [("adam", 1e-2, 15), ("sgd", 0.1, 15), ("lbfgs", 1.0, 60)])
def test_digits(solver: Any, rate: float, steps: int) -> None:
    X, y = digits()
    model = MLPClassifier((32,), solver=solver, learning_rate_init=rate, max_iter=steps, random_state=0)
    assert model.fit(X[:1200], y[:1200]).score(X[1200:], y[1200:]) > 0.88
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(model.predict_log_proba(X[:9]), np.log(model.predict_proba(X[:9])))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_float32_stays_and_equal_seeds_give_equal_bits() -> None:
    X, y = digits()
    model = MLPClassifier((8,), max_iter=3, random_state=3)
    first = model.fit(X.astype(np.float32), y).predict_proba(X[:20])
    assert first.dtype == np.float32 and all(c.dtype == np.float32 for c in model.coefs_)
    np.testing.assert_array_equal(clone(model).fit(X.astype(np.float32), y).predict_proba(X[:20]), first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X[:20]), first)
    other = MLPClassifier((8,), max_iter=3, random_state=4).fit(X.astype(np.float32), y)
    assert not np.array_equal(other.predict_proba(X[:20]), first)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_regression_of_several_columns(activation: Any) -> None:
    X, y = make_regression(120, 4, n_targets=3, random_state=0)
    model = MLPRegressor((10, 5), activation, solver="lbfgs", max_iter=2000, random_state=0)
    y = StandardScaler().fit_transform(y)
    assert model.fit(X, y).score(X, y) > 0.99
    assert model.predict(X).shape == (120, 3) and [c.shape for c in model.coefs_] == [(4, 10), (10, 5), (5, 3)]


def test_the_loss_is_scikit_learns() -> None:
    """At the fitted weights, with the penalty."""
    X, y = make_regression(60, 3, random_state=1)
    y = y / y.std()
    model = MLPRegressor((5,), "tanh", solver="lbfgs", alpha=0.3, max_iter=1000, random_state=0).fit(X, y)
    hidden = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    out = (hidden @ model.coefs_[1] + model.intercepts_[1])[:, 0]
    penalty = 0.3 * sum(float((c**2).sum()) for c in model.coefs_) / (2 * 60)
    np.testing.assert_allclose(model.loss_, 0.5 * np.mean((out - y) ** 2) + penalty, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_pipelines_and_searches() -> None:
    X, y = digits()
    pipe = make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=30, learning_rate_init=0.01, random_state=0))
    assert cross_val_score(pipe, X[:600], y[:600], cv=2).min() > 0.7
    search = GridSearchCV(pipe, {"mlpclassifier__alpha": [1e-4, 1e4]}, cv=2).fit(X[:300], y[:300])
    assert search.best_params_ == {"mlpclassifier__alpha": 1e-4}


def test_early_stopping_keeps_the_best_weights() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 20)), rng.integers(0, 2, 60)  # noise: held-out rows soon get worse
    model = MLPClassifier((50,), early_stopping=True, validation_fraction=0.3, learning_rate_init=0.01, random_state=0)
    model.fit(X, y)
    assert model.n_iter_ < 100
    late = MLPClassifier((50,), tol=0.0, learning_rate_init=0.01, max_iter=100, random_state=0)
    with pytest.warns(ConvergenceWarning, match="max_iter=100"):
        late.fit(X, y)
    norms = [float(sum((c**2).sum() for c in m.coefs_)) for m in (model, late)]
    assert norms[0] < norms[1]


def test_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = make_regression(20, 2, random_state=0)
    with pytest.warns(ConvergenceWarning):
        MLPRegressor((2,), max_iter=2, verbose=True, random_state=0).fit(X, y)
    assert capsys.readouterr().out.splitlines()[0].startswith("epoch 1: loss ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "sin"}, "activation must be one of"),
        ({"solver": "newton"}, "solver must be one of"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be positive"),
        ({"batch_size": 0}, "batch_size must be positive"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"MLPRegressor: {message}"):
        MLPRegressor(**options).fit(np.zeros((4, 2)), np.zeros(4))


# -- scikit-learn's parameters


def test_parameters_are_named_as_scikit_learns() -> None:
    import sklearn.neural_network as theirs

    for ours, reference, without in (
        (MLPClassifier, theirs.MLPClassifier, set()),
        (MLPRegressor, theirs.MLPRegressor, {"loss"}),
    ):
        expected = {name: value for name, value in reference().get_params().items() if name not in without}
        assert ours().get_params() == expected


def small() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    return X, np.tanh(X @ [1.0, -1.0, 0.5])


def fitted(**options: Any) -> Any:
    chosen = {"solver": "sgd", "max_iter": 3, "random_state": 0, "tol": 0.0, "batch_size": 10, **options}
    return MLPRegressor((4,), "tanh", **chosen).fit(*small())


def by_hand(move: Any, **options: Any) -> Any:
    """Return the weights that three epochs in order leave, by gradients written out and moved by `move`."""
    X, y = small()
    start = fitted(max_iter=1, learning_rate_init=1e-300, **options)
    values = [start.coefs_[0], start.intercepts_[0], start.coefs_[1], start.intercepts_[1]]
    memory: list[dict[str, Any]] = [{} for _ in values]
    t = 0
    for epoch in range(3):
        for i in range(0, 40, 10):
            t += 1
            w0, b0, w1, b1 = values
            h = np.tanh(X[i : i + 10] @ w0 + b0)
            error = (h @ w1 + b1 - y[i : i + 10, None]) / 10
            back = error @ w1.T * (1 - h * h)
            grads = [X[i : i + 10].T @ back + 1e-5 * w0, back.sum(0), h.T @ error + 1e-5 * w1, error.sum(0)]
            values = [move(w, g, m, t, epoch) for w, g, m in zip(values, grads, memory, strict=True)]
    return values[0]


def test_momentum() -> None:
    def move(w: Array, g: Array, m: dict[str, Any], t: int, epoch: int) -> Any:
        m["v"] = 0.5 * m.get("v", 0.0) - 0.1 * g
        return w + m["v"]

    options: dict[str, Any] = {"momentum": 0.5, "nesterovs_momentum": False, "shuffle": False}
    with pytest.warns(ConvergenceWarning):
        np.testing.assert_allclose(fitted(learning_rate_init=0.1, **options).coefs_[0], by_hand(move, **options))


def test_rates_that_fall_with_the_rows_seen() -> None:
    def move(w: Array, g: Array, m: dict[str, Any], t: int, epoch: int) -> Any:
        return w - 0.1 / (40 * epoch + 1) ** 0.25 * g

    options: dict[str, Any] = {"momentum": 0.0, "shuffle": False}
    with pytest.warns(ConvergenceWarning):
        found = fitted(learning_rate="invscaling", power_t=0.25, learning_rate_init=0.1, **options)
        np.testing.assert_allclose(found.coefs_[0], by_hand(move, **options))


def test_adams_parameters() -> None:
    def move(w: Array, g: Array, m: dict[str, Any], t: int, epoch: int) -> Any:
        m["m"] = 0.5 * m.get("m", 0.0) + 0.5 * g
        m["v"] = 0.8 * m.get("v", 0.0) + 0.2 * g * g
        return w - 0.1 * m["m"] / (1 - 0.5**t) / (np.sqrt(m["v"] / (1 - 0.8**t)) + 1e-3)

    options: dict[str, Any] = {"solver": "adam", "beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3, "shuffle": False}
    with pytest.warns(ConvergenceWarning):
        found = fitted(learning_rate_init=0.1, **options)
        np.testing.assert_allclose(found.coefs_[0], by_hand(move, **options), rtol=1e-6)


def test_adaptive_rates_end_where_the_rate_is_small() -> None:
    constant, adaptive = (
        fitted(learning_rate=kind, max_iter=500, tol=1e-3, learning_rate_init=0.1, n_iter_no_change=2)
        for kind in ("constant", "adaptive")
    )
    # A rate of 0.1 is divided by 5 eight times until it is at most 1e-6, 2 epochs each, and 2 more end the run.
    assert constant.n_iter_ + 2 * 8 == adaptive.n_iter_ and adaptive.loss_ < constant.loss_


def test_a_warm_start_goes_on() -> None:
    X, y = small()
    model = MLPRegressor((4,), solver="lbfgs", max_iter=3, random_state=0, warm_start=True)
    with pytest.warns(ConvergenceWarning):
        first = model.fit(X, y).loss_
        assert model.fit(X, y).loss_ < first
        assert clone(model).set_params(warm_start=False).fit(X, y).loss_ == first
    with pytest.raises(ArgumentError, match=r"warm_start needs the layers of the last fit, \[\(3, 4\), \(4, 1\)\]"):
        model.set_params(hidden_layer_sizes=(5,)).fit(X, y)
    classes = MLPClassifier((2,), max_iter=1, warm_start=True)
    with pytest.warns(ConvergenceWarning):
        classes.fit(X, y > 0)
    with pytest.raises(
        ArgumentError, match=r"warm_start needs the classes of the last fit, \[False, True\], not \[0, 1"
    ):
        classes.fit(X, np.arange(40) % 3)


def test_the_number_of_evaluations_is_limited() -> None:
    with pytest.warns(ConvergenceWarning):
        model = MLPRegressor((4,), solver="lbfgs", max_fun=5, max_iter=1000, tol=1e-12, random_state=0).fit(*small())
    assert model.n_iter_ <= 5


@pytest.mark.parametrize("kind", [MLPRegressor, MLPClassifier])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_divergence_is_an_error(kind: Any, early_stopping: bool) -> None:
    X, y = small()
    model = kind(
        (4,), "identity", solver="sgd", learning_rate_init=1e250, early_stopping=early_stopping, random_state=0
    )
    with pytest.raises(
        gc.DivergenceError, match=r"parameters are no longer finite after \d+ iterations; scale the data"
    ):
        model.fit(X * 1e60, y > 0 if kind is MLPClassifier else y)
    assert issubclass(gc.DivergenceError, ValueError) and not hasattr(model, "coefs_")
