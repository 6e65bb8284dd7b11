"""L-BFGS over a whole data set: SciPy moves the parameters, one compiled program gives value and gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from graphc.autodiff.grad import value_and_grad
from graphc.call.function import Function, function
from graphc.graph.errors import ArgumentError, GradientError, ShapeError, at
from graphc.graph.node import Node, Shared
from graphc.graph.types import FLOAT64, Array, is_float
from graphc.ops import astype, concat, reshape, shared
from graphc.optim.parameters import Named, named_parameters
from graphc.optim.settings import Settings

Bounds = Mapping[Shared, tuple[Any, Any]]
"""The lower and upper limit of some parameters: numbers, arrays that broadcast to the parameter, or None."""


@dataclass(frozen=True)
class Minimum:
    """Where L-BFGS ended: the loss there, what it cost, and why it stopped."""

    loss: float
    iterations: int
    evaluations: int
    converged: bool
    message: str


@dataclass(eq=False, repr=False)
class LBFGS(Settings):
    """Limited-memory BFGS with bounds, for smooth losses over all data at once (no mini-batches, no dropout).

    `history` is the number of stored pairs; the run stops where the largest element of the projected gradient is
    below `gtol`, where the loss falls by less than `ftol` relative to its size, or after `max_iter` iterations or
    `max_eval` evaluations. Sources: Byrd, Lu, Nocedal & Zhu 1995 (A limited memory algorithm for bound constrained
    optimization); SciPy's L-BFGS-B.

    >>> import graphc as gc
    >>> w = gc.shared([0.0, 0.0], name="w")
    >>> fit = LBFGS().function([], gc.sum((w - [1.0, 2.0]) ** 2), w)
    >>> fit().converged, w.get_value().round(6)
    (True, array([1., 2.]))
    """

    max_iter: int = 1000
    max_eval: int = 100_000
    history: int = 10
    ftol: float = 1e-12
    gtol: float = 1e-8
    max_line_search: int = 50

    def __post_init__(self) -> None:
        self.check()

    def function(
        self,
        inputs: Any,
        loss: Node,
        params: Any,
        *,
        bounds: Bounds | None = None,
        mode: Literal["compiled", "reference", "debug"] = "compiled",
    ) -> Minimizer:
        """Return a callable that takes the data, as `gc.function(inputs, loss)` would, and sets `params` to a minimum.

        Raises what `Optimizer.updates` raises, and `ShapeError` for bounds that do not fit their parameter.
        """
        what = "LBFGS.function"
        named = named_parameters(what, params)
        if not isinstance(loss, Node):
            raise ArgumentError(f"{what}: loss must be a node, got {type(loss).__name__}{at()}")
        if loss.shape != () or not is_float(loss.dtype):
            raise GradientError(f"{what}: loss must be a 0-d float, got {loss.type}; reduce it first{at()}")
        position = shared(_flat(named), name="position")
        objective = _objective(inputs, loss, named, position, mode)
        return Minimizer(self, objective, named, position, _limits(named, bounds or {}))


class Minimizer:
    """The compiled loss and gradient with the loop around it; made by `LBFGS.function`."""

    def __init__(
        self, settings: LBFGS, objective: Function, named: Named, position: Shared, limits: tuple[Array, Array]
    ) -> None:
        self.settings = settings
        self.objective = objective
        self._named = named
        self._position = position
        self._limits = limits

    def __call__(self, *args: Any, **kwargs: Any) -> Minimum:
        """Minimise from the parameters' current values; an interruption keeps the last iterate."""
        import scipy.optimize

        optimize: Any = scipy.optimize
        last = start = np.clip(_flat(self._named), *self._limits)

        def evaluate(x: Array) -> tuple[float, Array]:
            self._position.set_value(x)
            value, gradient = self.objective(*args, **kwargs)
            return float(value), gradient

        def remember(x: Array) -> None:
            nonlocal last
            last = x.copy()

        try:
            found = optimize.minimize(
                evaluate,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=optimize.Bounds(*self._limits),
                callback=remember,
                options=self._options(),
            )
            last = found.x
        finally:
            self._set(last)
        return Minimum(float(found.fun), int(found.nit), int(found.nfev), bool(found.success), str(found.message))

    def _options(self) -> dict[str, Any]:
        s = self.settings
        return {
            "maxiter": s.max_iter,
            "maxfun": s.max_eval,
            "maxcor": s.history,
            "ftol": s.ftol,
            "gtol": s.gtol,
            "maxls": s.max_line_search,
        }

    def _set(self, x: Array) -> None:
        first = 0
        for p in self._named.values():
            count = p.state.array.size
            p.set_value(x[first : first + count].reshape(p.state.array.shape).astype(p.dtype))
            first += count


def _flat(named: Named) -> Array:
    """Return the parameters' values as one float64 vector."""
    return np.concatenate([p.get_value().astype(np.float64).ravel() for p in named.values()])


def _objective(inputs: Any, loss: Node, named: Named, position: Shared, mode: Any) -> Function:
    """Compile loss and gradient as functions of one vector, which stands for all parameters."""
    value, grads = value_and_grad(loss, list(named.values()))
    flat = concat([reshape(astype(g, FLOAT64), (-1,)) for g in grads])
    givens: dict[Node, Node] = {}
    first = 0
    for p in named.values():
        count = p.state.array.size
        givens[p] = astype(reshape(position[first : first + count], p.shape), p.dtype)
        first += count
    return function(inputs, (astype(value, FLOAT64), flat), givens=givens, name="lbfgs", mode=mode)


def _limits(named: Named, bounds: Bounds) -> tuple[Array, Array]:
    strangers = [p for p in bounds if p not in named.values()]
    if strangers:
        raise ArgumentError(f"LBFGS.function: bounds for {strangers[0]!r}, which is not among params{at()}")
    lows, highs = [], []
    for name, p in named.items():
        low, high = bounds.get(p, (None, None))
        lows.append(_limit(name, p, -np.inf if low is None else low))
        highs.append(_limit(name, p, np.inf if high is None else high))
        if not (lows[-1] <= highs[-1]).all():
            raise ArgumentError(f"LBFGS.function: bounds of {name}: low must not exceed high{at()}")
    return np.concatenate(lows), np.concatenate(highs)


def _limit(name: str, p: Shared, limit: Any) -> Array:
    try:
        return np.broadcast_to(np.asarray(limit, np.float64), p.state.array.shape).ravel()
    except ValueError:
        shape = np.shape(limit)
        raise ShapeError(f"LBFGS.function: bounds of {name}: shape {shape} does not fit {p.type}{at()}") from None
