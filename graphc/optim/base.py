"""`Optimizer`: from a loss, or gradients, to the updates that `gc.function` takes; and `Descent`, the step rules.

An optimiser only builds graph: forward, backward and update compile into one program. Its state is shared nodes under
dotted names (`encoder.weight.exp_avg`, `step`), made by the first `updates` that needs it. A rule computes in two
parts: `scalars`, once per step in float64 (learning rate, bias corrections), and `step`, once per parameter, one
expression that becomes one kernel, shared by all parameters and writing in place.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.autodiff.grad import grad
from graphc.graph.errors import ArgumentError, DTypeError, GradientError, ShapeError, at
from graphc.graph.node import Node, Shared
from graphc.graph.tree import leaves_like
from graphc.graph.types import FLOAT64, Array, DType, is_float
from graphc.ops import astype, expm1, shared
from graphc.ops.pointwise import as_node
from graphc.optim.clipping import clip_by_norm, clip_by_value, global_norm
from graphc.optim.parameters import Named, load_states, named_parameters, parameter_tree
from graphc.optim.settings import Settings
from graphc.optim.updates import Norms, Updates

Scalar = Node | float
Scalars = Mapping[str, Scalar]
State = Mapping[str, Node]
LearningRate = float | Node | Callable[[Node], Any]
"""A number, a 0-d float node (shared: set between calls), or a function of the int64 count of finished steps."""


@dataclass(eq=False, repr=False)
class Optimizer(Settings, ABC):
    """What all optimisers, and the wrappers around them, do."""

    _states: dict[str, Shared] = field(default_factory=dict, init=False, repr=False)
    _names: dict[Shared, str] = field(default_factory=dict, init=False, repr=False)
    _parameters: dict[str, Shared] = field(default_factory=dict, init=False, repr=False)

    def updates(self, loss: Node, params: Any) -> Updates:
        """Return the new values of parameters and state, for `gc.function(..., updates=...)`.

        `loss` is a 0-d float node. `params` holds shared float nodes: one, or a nesting of lists and dicts, or what a
        module's `parameters()` returns. Parameters that need other settings take an optimiser of their own:
        `SGD(0.1).updates(loss, a) | SGD(0.01).updates(loss, b)`; groups of one loss that have a `clip_norm` are clipped
        by the norm of all their gradients together.

        Raises `ArgumentError` for parameters that are not shared or given twice, `DTypeError` for integers,
        `GradientError` for a loss that is not 0-d or does not depend on a parameter.

        >>> import graphc as gc
        >>> w = gc.shared([3.0, 4.0], name="w")
        >>> step = gc.function([], [], updates=gc.optim.SGD(lr=0.5).updates(gc.sum(w * w) / 2, w))
        >>> step()
        []
        >>> w.get_value()
        array([1.5, 2. ])
        """
        what = f"{type(self).__name__}.updates"
        named = named_parameters(what, params)
        if not isinstance(loss, Node):
            raise ArgumentError(f"{what}: loss must be a node, got {type(loss).__name__}{at()}")
        if loss.shape != () or not is_float(loss.dtype):
            raise GradientError(
                f"{what}: loss must be a 0-d float, got {loss.type}; reduce it with .sum() or .mean(){at()}"
            )
        found = self._updates(named, grad(loss, list(named.values())))
        found.norms = dict.fromkeys(found.norms, loss)
        return found

    def updates_from_gradients(self, grads: Any, params: Any) -> Updates:
        """Return the same as `updates` for gradients in the nesting of `params`, however they were made.

        Raises `ArgumentError`, `ShapeError`, `DTypeError` for gradients that do not fit the parameters.
        """
        what = f"{type(self).__name__}.updates_from_gradients"
        tree = parameter_tree(what, params)
        named = named_parameters(what, tree)
        pairs = zip(leaves_like(tree, grads, f"{what}: gradients"), named.items(), strict=True)
        return self._updates(named, [_check_gradient(what, g, name, p) for g, (name, p) in pairs])

    @abstractmethod
    def _updates(self, named: Named, grads: list[Node]) -> Updates:
        """Return the updates for checked parameters and gradients."""

    def finishes(self, named: Named) -> Node | None:
        """Return whether a call's gradients complete a step, where not every call's do."""
        return None

    # -- state

    @property
    def states(self) -> dict[str, Shared]:
        """The state by name, as shared nodes."""
        return dict(self._states)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the state by name; together with the parameters it continues a run bit for bit."""
        return {name: state.get_value() for name, state in self._states.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state that `state_dict` returned, after `updates` has made this optimiser's own.

        Raises `ArgumentError` that lists every name, shape and dtype that does not fit; then nothing has changed.
        """
        load_states(f"{type(self).__name__}.load_state_dict", self._states, state)

    def keep(self, name: str, value: Any) -> Shared:
        """Return the state called `name`, made from `value` where it does not exist yet."""
        if name not in self._states:
            self._states[name] = shared(value, name=name)
        return self._states[name]

    def name_of(self, name: str, parameter: Shared) -> str:
        """Return the name under which a parameter's state is kept: the first that it was given by."""
        known = self._names.setdefault(parameter, name)
        if self._parameters.setdefault(known, parameter) is not parameter:
            del self._names[parameter]
            what = type(self).__name__
            raise ArgumentError(f"{what}: two parameters are called {known!r}; pass a dict of distinct names{at()}")
        return known


def _check_gradient(what: str, g: Any, name: str, p: Shared) -> Node:
    node = as_node(g)
    if node.dtype != p.dtype:
        raise DTypeError(f"{what}: gradient of {name} is {node.type}, {p.type} needed{at()}")
    pairs = zip(node.shape, p.shape, strict=False)
    if node.ndim != p.ndim or any(isinstance(m, int) and m != n for m, n in pairs):
        raise ShapeError(f"{what}: gradient of {name} is {node.type}, {p.type} needed{at()}")
    return node


class Clock:
    """What one parameter's scalars are made of: the count of its own steps, its scalar state, the updates of both.

    A parameter that joins later, or that only one of two programs moves, has its own bias corrections, as in PyTorch.
    All of it is float64 (the count is an int64 state), so that `1 - beta**t` keeps its digits at any count.
    """

    def __init__(self, optimizer: Optimizer, name: str) -> None:
        self._optimizer = optimizer
        self._name = name
        self.updates: dict[Shared, Node] = {}

    @property
    def count(self) -> Node:
        """The number of steps that the parameter has made."""
        count = self._optimizer.keep(f"{self._name}.step", np.int64(0))
        if count not in self.updates:
            self.updates[count] = count + 1
        return count

    @property
    def t(self) -> Node:
        """The number of this step, from 1, in float64."""
        return astype(self.count + 1, FLOAT64)

    def one_minus_power(self, beta: float) -> Node:
        """Return 1 - beta**t, computed as -expm1(t log(beta)): no cancellation, at any count."""
        return -expm1(self.t * math.log(beta)) if beta else as_node(1.0)

    def scalar(self, name: str, initial: float) -> Shared:
        """Return a float64 state of the parameter; set its next value in `updates`."""
        return self._optimizer.keep(f"{self._name}.{name}", np.float64(initial))


@dataclass(eq=False, repr=False)
class Descent(Optimizer):
    """The family of rules that move each parameter by its gradient and its own state.

    `lr` is a number, a schedule, or a 0-d float node: shared, it may be set between calls. `weight_decay`, `clip_value`
    and `clip_norm` may be such nodes, too. Gradients are clipped to +-`clip_value` first, then to a global norm of
    `clip_norm`, where these are given. Bias corrections, and what else changes with the number of steps, count those
    of each parameter; a schedule counts the optimiser's, in all programs that it is part of.
    """

    lr: LearningRate = 1e-3
    clip_value: Scalar | None = field(default=None, kw_only=True)
    clip_norm: Scalar | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self.check()
        self._states |= {name: node for name, node in vars(self).items() if isinstance(node, Shared)}

    @abstractmethod
    def slots(self, p: Shared) -> dict[str, Array]:
        """Return the initial state of one parameter by slot name."""

    @abstractmethod
    def scalars(self, lr: Scalar, clock: Clock) -> Scalars:
        """Return what one step computes once for all parameters, in float64."""

    @abstractmethod
    def step(self, p: Node, g: Node, state: State, s: Scalars) -> tuple[Node, State]:
        """Return a parameter's new value and new state; `s` are the scalars in the parameter's dtype."""

    def _updates(self, named: Named, grads: list[Node]) -> Updates:
        clipped, norms = self._clipped(grads)
        updates: dict[Shared, Node] = {}
        rate = self._rate(updates)
        for (name, p), g in zip(named.items(), clipped, strict=True):
            known = self.name_of(name, p)
            clock = Clock(self, known)
            s = {k: typed(v, p.dtype) for k, v in self.scalars(rate, clock).items()}
            state = {slot: self.keep(f"{known}.{slot}", value) for slot, value in self.slots(p).items()}
            updates[p], after = self.step(p, g, state, s)
            updates |= {state[slot]: value for slot, value in after.items()} | clock.updates
        return Updates(updates, {p: name for name, p in named.items()}, norms)

    def _rate(self, updates: dict[Shared, Node]) -> Scalar:
        """Return the learning rate in float64; a schedule counts the steps of the whole optimiser."""
        if not callable(self.lr):
            return wide(self.lr)
        count = self.keep("step", np.int64(0))
        updates[count] = count + 1
        rate = as_node(self.lr(count))
        _check_rate(f"{type(self).__name__}: the schedule's result", rate)
        return wide(rate)

    def _clipped(self, grads: list[Node]) -> tuple[list[Node], Norms]:
        """Return the gradients clipped, and the norm that they are clipped by."""
        if self.clip_value is not None:
            grads = clip_by_value(grads, self.clip_value)
        if self.clip_norm is None:
            return grads, {}
        norm = global_norm(grads)
        return clip_by_norm(grads, norm, self.clip_norm), {norm: None}


def _check_rate(what: str, rate: Node) -> None:
    if rate.shape != () or not is_float(rate.dtype):
        raise ArgumentError(f"{what}: lr must be a 0-d float, got {rate!r}{at()}")


def typed(value: Scalar, dtype: DType) -> Scalar:
    """Return a scalar in a parameter's dtype; numbers take it anyway."""
    return astype(value, dtype) if isinstance(value, Node) else value


def wide(value: Scalar) -> Scalar:
    """Return a scalar in float64."""
    return astype(value, FLOAT64) if isinstance(value, Node) else float(value)


def zeros(p: Shared) -> Array:
    """Return zeros of a parameter's shape and dtype."""
    return np.zeros_like(p.state.array)


def towards(old: Node, new: Node, weight: Scalar) -> Node:
    """Return (1 - weight) old + weight new in the form whose weights add up to 1 in any precision.

    In float32, 0.999 and 0.001 round to numbers whose sum is not 1, which biases a long average by 1e-5.
    """
    return old + (new - old) * weight


def decays(weight_decay: Scalar) -> bool:
    """Tell whether a weight decay changes anything: a node always may."""
    return isinstance(weight_decay, Node) or weight_decay != 0


def decayed(p: Node, g: Node, weight_decay: Scalar) -> Node:
    """Return the gradient of the loss plus the L2 penalty weight_decay/2 |p|^2."""
    return g + p * typed(weight_decay, p.dtype) if decays(weight_decay) else g
