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
from graphc.errors import ArgumentError
from graphc.sklearn import MLPClassifier, MLPRegressor
from graphc.types import Array

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
