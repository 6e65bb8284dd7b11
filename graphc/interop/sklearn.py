"""Multilayer perceptrons as scikit-learn estimators: `gc.sklearn.MLPClassifier` and `gc.sklearn.MLPRegressor`.

They take part in pipelines, searches and cross-validation, keep the dtype of float32 data, and name their parameters as
scikit-learn's own do. A training step (forward, backward, update) is one compiled program. scikit-learn is an extra:
it is imported when `gc.sklearn` is first used.
"""

from __future__ import annotations

import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from graphc.call.function import Function, function
from graphc.graph.errors import ArgumentError, DivergenceError, at
from graphc.graph.node import Node, Shared
from graphc.graph.types import Array, DType
from graphc.nn.losses import cross_entropy, mse_loss
from graphc.ops import placeholder, relu, shared, sigmoid, softmax, sum, tanh
from graphc.optim import SGD, Adam, Optimizer
from graphc.train.data import batches, split

__all__ = ["MLPClassifier", "MLPRegressor"]

ACTIVATIONS = {"identity": lambda x: x, "logistic": sigmoid, "tanh": tanh, "relu": relu}


@dataclass(frozen=True)
class _Network:
    """The parameters of a perceptron and the node of its output."""

    weights: tuple[Shared, ...]
    biases: tuple[Shared, ...]
    x: Node
    out: Node

    @property
    def parameters(self) -> list[Shared]:
        return [*self.weights, *self.biases]


def _network(values: Sequence[Array], activation: str) -> _Network:
    """Build layers with these weights and biases, in turn."""
    weights = [shared(w, f"w{i}") for i, w in enumerate(values[::2])]
    biases = [shared(b, f"b{i}") for i, b in enumerate(values[1::2])]
    x = placeholder("x", ("n", values[0].shape[0]), values[0].dtype)
    h = x
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        h = (h if i == 0 else ACTIVATIONS[activation](h)) @ w + b
    return _Network(tuple(weights), tuple(biases), x, h)


def _initial(sizes: Sequence[int], activation: str, dtype: DType, rng: np.random.RandomState) -> list[Array]:
    """Return weights and biases of layers of these sizes, as Glorot & Bengio 2010."""
    values: list[Array] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        bound = np.sqrt((2 if activation == "logistic" else 6) / (fan_in + fan_out))
        values.append(rng.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype))
        values.append(rng.uniform(-bound, bound, fan_out).astype(dtype))
    return values


class _Perceptron(BaseEstimator, ABC):  # type: ignore[misc]
    """What both estimators share: parameters, the training loop, and the fitted attributes."""

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Literal["identity", "logistic", "tanh", "relu"] = "relu",
        *,
        solver: Literal["adam", "sgd", "lbfgs"] = "adam",
        alpha: float = 1e-4,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 1e-3,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    # -- what differs

    @abstractmethod
    def _encode(self, y: Any, dtype: DType) -> tuple[Array, int]:
        """Return the targets as arrays for training, and the number of outputs."""

    @abstractmethod
    def _loss(self, out: Node, y: Node) -> Node:
        """Return the mean loss of a batch."""

    @abstractmethod
    def _results(self, out: Node) -> Node:
        """Return what prediction computes from the last layer."""

    @abstractmethod
    def _strata(self, targets: Array) -> Array | None:
        """Return the classes that held-out rows should have in equal shares."""

    # -- training

    def fit(self, X: Any, y: Any) -> Any:
        """Train on rows of `X` and targets `y`, and return this estimator.

        From new initial values, or with `warm_start` from those of the last `fit`. Raises `DivergenceError` where
        parameters end up infinite or NaN.
        """
        self._check()
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), multi_output=True, y_numeric=self._numeric)
        targets, outputs = self._encode(y, X.dtype)
        rng = check_random_state(self.random_state)
        hidden = np.atleast_1d(self.hidden_layer_sizes).astype(int).tolist()
        net = _network(self._start([X.shape[1], *hidden, outputs], X.dtype, rng), self.activation)
        target = placeholder("y", ("n", *targets.shape[1:]), targets.dtype)
        penalty = _sum_of_squares(net.weights) * (0.5 * self.alpha)
        loss = self._loss(net.out, target) + penalty / net.x.shape[0]
        self.loss_curve_: list[float] = []
        X, targets = np.ascontiguousarray(X), np.ascontiguousarray(targets)
        if self.solver == "lbfgs":
            self._fit_whole(net, function([net.x, target], loss), X, targets)
        else:
            self._fit_batches(net, target, loss, (X, targets), rng)
        if not all(np.isfinite(p.get_value()).all() for p in net.parameters):
            raise DivergenceError(
                f"{type(self).__name__}: the parameters are no longer finite after {self.n_iter_} iterations; scale the"
                f" data, or lower learning_rate_init{at()}"
            )
        self.coefs_ = [w.get_value() for w in net.weights]
        self.intercepts_ = [b.get_value() for b in net.biases]
        self.loss_ = self.loss_curve_[-1]
        self.n_layers_, self.n_outputs_ = len(hidden) + 2, outputs
        self._predictor = function([net.x], self._results(net.out))
        return self

    def _start(self, sizes: Sequence[int], dtype: DType, rng: np.random.RandomState) -> list[Array]:
        """Return the weights and biases to start from."""
        values = _initial(sizes, self.activation, dtype, rng)
        if not self.warm_start or not hasattr(self, "coefs_"):
            return values
        last: list[Array] = list(itertools.chain(*zip(self.coefs_, self.intercepts_, strict=True)))
        if [v.shape for v in last] != [v.shape for v in values]:
            raise ArgumentError(
                f"{type(self).__name__}: warm_start needs the layers of the last fit, {[c.shape for c in last[::2]]},"
                f" not {[c.shape for c in values[::2]]}{at()}"
            )
        return [v.astype(dtype) for v in last]

    def _fit_whole(self, net: _Network, f: Function, X: Array, y: Array) -> None:
        """Minimise over all rows with SciPy's L-BFGS-B."""
        from scipy.optimize import minimize

        s = f.to_scipy(net.parameters)
        options = {"maxiter": self.max_iter, "maxfun": self.max_fun, "ftol": self.tol * 1e-4, "gtol": self.tol}
        chosen: dict[str, Any] = {"args": (X, y), "jac": True, "method": "L-BFGS-B", "options": options}
        found = minimize(s.fun_and_jac, s.x0, **chosen)
        s.assign(found.x)
        self.n_iter_ = int(found.nit)
        self.loss_curve_.append(float(found.fun))
        if not found.success:
            self._warn()

    def _fit_batches(
        self, net: _Network, target: Node, loss: Node, rows: tuple[Array, Array], rng: np.random.RandomState
    ) -> None:
        """Run epochs over shuffled batches until the loss, or the score of held-out rows, no longer improves."""
        rate = shared(float(self.learning_rate_init), "rate")
        optimizer = self._optimizer(rate)
        step = function([net.x, target], loss, updates=optimizer.updates(loss, net.parameters))
        seed: int = int(rng.randint(2**31 - 1))
        held: tuple[Array, ...] = ()
        if self.early_stopping:
            rows, held = split(rows, self.validation_fraction, seed=seed, stratify=self._strata(rows[1]))
        check = function([net.x, target], self._loss(net.out, target)) if held else None
        count = len(rows[0])
        size = min(200, count) if self.batch_size == "auto" else min(int(self.batch_size), count)
        data = batches(rows, size, shuffle=self.shuffle, seed=seed)
        best, since, kept = np.inf, 0, [p.get_value() for p in net.parameters]
        for epoch in range(1, self.max_iter + 1):
            total = np.sum([float(step(x, y)) * len(x) for x, y in data])
            self.n_iter_ = epoch
            self.loss_curve_.append(float(total / count))
            watched = float(check(*held)) if check is not None else self.loss_curve_[-1]
            if self.verbose:
                print(f"epoch {epoch}: loss {self.loss_curve_[-1]:.6g}" + (f", held out {watched:.6g}" if held else ""))
            since = since + 1 if watched > best - self.tol else 0
            if watched < best:
                best, kept = watched, [p.get_value() for p in net.parameters] if held else kept
            if not np.isfinite(watched):
                break
            if self.learning_rate == "invscaling" and self.solver == "sgd":
                rate.set_value(self.learning_rate_init / (epoch * count + 1) ** self.power_t)
            if since < self.n_iter_no_change:
                continue
            if self.learning_rate != "adaptive" or self.solver != "sgd" or rate.get_value() <= 1e-6:
                break
            since = 0
            rate.set_value(rate.get_value() / 5)
        else:
            self._warn()
        if held and np.isfinite(watched):
            for p, value in zip(net.parameters, kept, strict=True):
                p.set_value(value)

    def _optimizer(self, rate: Shared) -> Optimizer:
        if self.solver == "adam":
            return Adam(rate, betas=(self.beta_1, self.beta_2), eps=self.epsilon)
        return SGD(rate, momentum=self.momentum, nesterov=bool(self.nesterovs_momentum and self.momentum))

    def _warn(self) -> None:
        message = f"{type(self).__name__}: max_iter={self.max_iter} iterations reached and the loss still improves"
        warnings.warn(message, ConvergenceWarning, stacklevel=4)

    def _check(self) -> None:
        choices = {
            "activation": tuple(ACTIVATIONS),
            "solver": ("adam", "sgd", "lbfgs"),
            "learning_rate": ("constant", "invscaling", "adaptive"),
        }
        name = type(self).__name__
        for option, accepted in choices.items():
            if getattr(self, option) not in accepted:
                raise ArgumentError(f"{name}: {option} must be one of {accepted}, got {getattr(self, option)!r}{at()}")
        if np.min(np.atleast_1d(self.hidden_layer_sizes), initial=1) < 1 or np.ndim(self.hidden_layer_sizes) > 1:
            raise ArgumentError(
                f"{name}: hidden_layer_sizes must be positive ints, got {self.hidden_layer_sizes!r}{at()}"
            )
        if self.batch_size != "auto" and self.batch_size < 1:
            raise ArgumentError(f"{name}: batch_size must be positive, got {self.batch_size!r}{at()}")

    # -- prediction

    def _predict(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        found: Array = self._predictor(X.astype(self.coefs_[0].dtype, copy=False))
        return found


def _sum_of_squares(nodes: Sequence[Node]) -> Node:
    """Return the sum of the squares of all elements of several nodes."""
    total = sum(nodes[0] * nodes[0])
    for node in nodes[1:]:
        total = total + sum(node * node)
    return total


class MLPClassifier(ClassifierMixin, _Perceptron):  # type: ignore[misc]
    """A perceptron with softmax outputs, trained on the cross-entropy.

    Parameters are those of `sklearn.neural_network.MLPClassifier`, with their meaning; but `early_stopping` watches the
    loss of held-out rows, and `epsilon` is added to the root of the corrected moment, as Adam's authors do.
    Attributes after `fit`: `classes_`, `coefs_`, `intercepts_`, `loss_`, `loss_curve_`, `n_iter_`.

    >>> import numpy as np
    >>> X, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array(["no", "yes", "yes", "no"])
    >>> model = MLPClassifier((8,), solver="lbfgs", random_state=1).fit(X, y)
    >>> model.predict(X).tolist()
    ['no', 'yes', 'yes', 'no']
    """

    _numeric = False

    def _encode(self, y: Any, dtype: DType) -> tuple[Array, int]:
        if np.ndim(y) > 1:
            from sklearn.utils import column_or_1d

            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        last = getattr(self, "classes_", classes) if self.warm_start else classes
        if not np.array_equal(classes, last):
            shown = f"{last.tolist()}, not {classes.tolist()}"
            raise ArgumentError(f"MLPClassifier: warm_start needs the classes of the last fit, {shown}{at()}")
        self.classes_ = classes
        return codes.astype(np.int64), len(self.classes_)

    def _loss(self, out: Node, y: Node) -> Node:
        return cross_entropy(out, y)

    def _results(self, out: Node) -> Node:
        return softmax(out, axis=-1)

    def _strata(self, targets: Array) -> Array | None:
        return targets

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, in the order of `classes_`."""
        return self._predict(X)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities."""
        with np.errstate(divide="ignore"):
            return np.log(self._predict(X))

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row."""
        probabilities = self._predict(X)
        found: Array = self.classes_[np.argmax(probabilities, axis=1)]
        return found


class MLPRegressor(RegressorMixin, _Perceptron):  # type: ignore[misc]
    """A perceptron with linear outputs, trained on half the squared error; `y` may have several columns.

    Parameters are those of `MLPClassifier`; of scikit-learn's `loss` there is only the squared error.
    Attributes after `fit`: `coefs_`, `intercepts_`, `loss_`, `loss_curve_`, `n_iter_`.

    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> model = MLPRegressor((16,), "tanh", solver="lbfgs", max_iter=500, random_state=0).fit(X, X[:, 0] ** 2)
    >>> bool(model.score(X, X[:, 0] ** 2) > 0.99)
    True
    """

    _numeric = True

    def _encode(self, y: Any, dtype: DType) -> tuple[Array, int]:
        columns = np.asarray(y, dtype)
        self._flat = columns.ndim == 1
        columns = columns.reshape(len(columns), -1)
        return columns, columns.shape[1]

    def _loss(self, out: Node, y: Node) -> Node:
        return mse_loss(out, y) * 0.5

    def _results(self, out: Node) -> Node:
        return out

    def _strata(self, targets: Array) -> Array | None:
        return None

    def predict(self, X: Any) -> Array:
        """Return the predictions: one number a row, or the columns that `y` had."""
        found = self._predict(X)
        return found[:, 0] if self._flat else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
