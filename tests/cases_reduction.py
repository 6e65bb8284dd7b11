"""Reductions, statistics, the softmax family and running sums and products."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.types import Array
from tests.cases import Case

INF = float("inf")
NAN = float("nan")
ORDERED = (0.0, -0.0, 1.0, 1.0, -2.5, INF, -INF, NAN)
"""Ties, zeros of both signs, infinities, nan."""

CUBE = ((2, 3, 4),)


def quietly(numpy: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's statistics without their warnings about empty axes; the value is NaN either way."""

    def call(x: Array, **keywords: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return numpy(x, **keywords)

    return call


mean, var, std = quietly(np.mean), quietly(np.var), quietly(np.std)


def logsumexp(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """The textbook formula; -inf for an empty axis."""
    x = 1.0 * x
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return np.asarray(total if keepdims else np.squeeze(total, axis=axis))


def softmax(axis: int) -> Callable[[Array], Array]:
    def call(x: Array) -> Array:
        x = 1.0 * x
        e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
        return np.asarray(e / np.sum(e, axis=axis, keepdims=True))

    return call


def log_softmax(axis: int) -> Callable[[Array], Array]:
    def call(x: Array) -> Array:
        x = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
        return np.asarray(x - logsumexp(x, axis, keepdims=True))

    return call


def axes_of(name: str, numpy: Callable[..., Any], **more: Any) -> Iterator[Case]:
    """One function over no axis, one, the last, several, all but kept."""
    function = getattr(gc, name)
    keep = {"keepdims": True}
    yield Case(name, function, numpy, **more)
    yield Case(f"{name}-first", lambda x: function(x, axis=0), lambda x: numpy(x, axis=0), CUBE, **more)
    yield Case(f"{name}-last", lambda x: function(x, axis=-1), lambda x: numpy(x, axis=-1), CUBE, **more)
    yield Case(f"{name}-middle", lambda x: function(x, axis=1), lambda x: numpy(x, axis=1), CUBE, **more)
    yield Case(f"{name}-keep", lambda x: function(x, axis=1, **keep), lambda x: numpy(x, axis=1, **keep), CUBE, **more)
    yield Case(f"{name}-keep-all", lambda x: function(x, **keep), lambda x: numpy(x, **keep), **more)


def tuples_of(name: str, numpy: Callable[..., Any], **more: Any) -> Iterator[Case]:
    """The same over several axes at once, of a scalar, and over no axes."""
    function = getattr(gc, name)
    yield Case(f"{name}-outer", lambda x: function(x, axis=(0, -1)), lambda x: numpy(x, axis=(0, -1)), CUBE, **more)
    yield Case(f"{name}-inner", lambda x: function(x, axis=(1, 2)), lambda x: numpy(x, axis=(1, 2)), CUBE, **more)
    yield Case(f"{name}-0d", function, numpy, ((),), **more)
    yield Case(f"{name}-size-1", lambda x: function(x, axis=1), lambda x: numpy(x, axis=1), ((3, 1),), **more)


def zeros_at(*places: tuple[int, ...]) -> Callable[[np.random.Generator], tuple[Array, ...]]:
    """Draw a 3 x 4 array with zeros at `places`."""

    def make(rng: np.random.Generator) -> tuple[Array, ...]:
        x = rng.uniform(0.5, 2, (3, 4))
        for place in places:
            x[place] = 0
        return (x,)

    return make


def spread(rng: np.random.Generator) -> tuple[Array, ...]:
    """Values far apart, as logits have them in the worst case."""
    return (rng.uniform(-1e4, 1e4, (3, 4)),)


ONE_ZERO = zeros_at((0, 1), (1, 0), (2, 3))
TWO_ZEROS = zeros_at((0, 0), (0, 2), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (2, 3))

BASIC = [
    *axes_of("sum", np.sum),
    *axes_of("prod", np.prod),
    *axes_of("mean", mean),
    *axes_of("var", var),
    *axes_of("std", std),
    *axes_of("max", np.max, special=ORDERED),
    *axes_of("min", np.min, special=ORDERED),
    *axes_of("argmax", np.argmax, differentiable=(), special=ORDERED),
    *axes_of("argmin", np.argmin, differentiable=(), special=ORDERED),
    *axes_of("any", np.any, dtypes=("bool",), differentiable=()),
    *axes_of("all", np.all, dtypes=("bool",), differentiable=()),
    *axes_of("logsumexp", logsumexp),
    *tuples_of("sum", np.sum),
    *tuples_of("prod", np.prod),
    *tuples_of("mean", mean),
    *tuples_of("max", np.max),
    *tuples_of("min", np.min),
    *tuples_of("any", np.any, dtypes=("bool",), differentiable=()),
    *tuples_of("logsumexp", logsumexp),
    Case("var-outer", lambda x: gc.var(x, axis=(0, 2)), lambda x: var(x, axis=(0, 2)), CUBE),
    Case("std-outer", lambda x: gc.std(x, axis=(0, 2)), lambda x: std(x, axis=(0, 2)), CUBE),
    Case("var-correction", lambda x: gc.var(x, axis=0, correction=1), lambda x: var(x, axis=0, ddof=1)),
    Case("std-correction", lambda x: gc.std(x, correction=1.5), lambda x: std(x, ddof=1.5)),
    Case("sum-no-axes", lambda x: gc.sum(x, axis=()), lambda x: np.sum(x, axis=())),
    Case("sum-empty", gc.sum, np.sum, ((0, 3),)),
    Case("sum-empty-axis", lambda x: gc.sum(x, axis=0), lambda x: np.sum(x, axis=0), ((0, 3),)),
    Case("prod-empty-axis", lambda x: gc.prod(x, axis=0), lambda x: np.prod(x, axis=0), ((0, 3),)),
    Case("max-empty-batch", lambda x: gc.max(x, axis=1), lambda x: np.max(x, axis=1), ((0, 3),)),
]


def integers(name: str, numpy: Callable[..., Any]) -> Iterator[Case]:
    for dtype in ("int8", "int32", "int64", "uint8", "uint64", "bool"):
        function = getattr(gc, name)
        yield Case(f"{name}-{dtype}", lambda x, f=function: f(x, axis=0), lambda x: numpy(x, axis=0), dtypes=(dtype,))


INTEGERS = [
    *integers("sum", np.sum),
    *integers("prod", np.prod),
    *integers("mean", mean),
    *integers("max", np.max),
    *integers("min", np.min),
    *integers("argmax", np.argmax),
    *integers("argmin", np.argmin),
    *integers("any", np.any),
    *integers("all", np.all),
    *integers("cumulative_sum", np.cumsum),
    *integers("cumulative_prod", np.cumprod),
    Case("sum-dtype", lambda x: gc.sum(x, dtype="float64"), lambda x: np.sum(x, dtype="float64"), dtypes=("float32",)),
    Case("any-float", gc.any, np.any, differentiable=(), special=(0.0, -0.0, NAN, INF)),
    Case("all-float", gc.all, np.all, differentiable=(), special=(0.0, -0.0, NAN, INF)),
]

PRODUCTS = [
    Case("prod-one-zero", lambda x: gc.prod(x, axis=1), lambda x: np.prod(x, axis=1), make=ONE_ZERO),
    Case("prod-two-zeros", lambda x: gc.prod(x, axis=1), lambda x: np.prod(x, axis=1), make=TWO_ZEROS),
    Case("prod-zeros-all", gc.prod, np.prod, make=zeros_at((1, 2))),
    Case("prod-negative", lambda x: gc.prod(x, axis=0), lambda x: np.prod(x, axis=0), low=-2, high=-0.5),
]

RUNNING = [
    Case("cumulative_sum", lambda x: gc.cumulative_sum(x, axis=1), lambda x: np.cumsum(x, 1)),
    Case("cumulative_sum-first", lambda x: gc.cumulative_sum(x, axis=0), lambda x: np.cumsum(x, 0), CUBE),
    Case("cumulative_sum-1d", gc.cumulative_sum, np.cumsum, ((5,),)),
    Case("cumulative_sum-empty", gc.cumulative_sum, np.cumsum, ((0,),)),
    Case("cumulative_sum-size-1", gc.cumulative_sum, np.cumsum, ((1,),)),
    Case(
        "cumulative_sum-initial",
        lambda x: gc.cumulative_sum(x, axis=1, include_initial=True),
        lambda x: np.cumsum(np.pad(x, ((0, 0), (1, 0))), 1),
    ),
    Case("cumulative_prod", lambda x: gc.cumulative_prod(x, axis=1), lambda x: np.cumprod(x, 1)),
    Case("cumulative_prod-middle", lambda x: gc.cumulative_prod(x, axis=1), lambda x: np.cumprod(x, 1), CUBE),
    Case("cumulative_prod-1d", gc.cumulative_prod, np.cumprod, ((5,),)),
    Case("cumulative_prod-size-1", gc.cumulative_prod, np.cumprod, ((1,),)),
    Case("cumulative_prod-empty", gc.cumulative_prod, np.cumprod, ((0,),)),
    Case(
        "cumulative_prod-initial",
        lambda x: gc.cumulative_prod(x, axis=0, include_initial=True),
        lambda x: np.cumprod(np.pad(x, ((1, 0), (0, 0)), constant_values=1), 0),
    ),
    Case("cumulative_prod-zero", lambda x: gc.cumulative_prod(x, axis=1), lambda x: np.cumprod(x, 1), make=ONE_ZERO),
    Case("cumulative_prod-zeros", lambda x: gc.cumulative_prod(x, axis=1), lambda x: np.cumprod(x, 1), make=TWO_ZEROS),
    Case(
        "cumulative_prod-zeros-down",
        lambda x: gc.cumulative_prod(x, axis=0),
        lambda x: np.cumprod(x, 0),
        make=TWO_ZEROS,
    ),
]

SOFTMAX = [
    Case("softmax", gc.softmax, softmax(-1)),
    Case("softmax-first", lambda x: gc.softmax(x, axis=0), softmax(0), CUBE),
    Case("softmax-middle", lambda x: gc.softmax(x, axis=1), softmax(1), CUBE),
    Case("softmax-size-1", gc.softmax, softmax(-1), ((3, 1),)),
    Case("softmax-spread", gc.softmax, softmax(-1), make=spread, second_order=False),
    Case("softmax-int", gc.softmax, softmax(-1), dtypes=("int64",)),
    Case("log_softmax", gc.log_softmax, log_softmax(-1)),
    Case("log_softmax-first", lambda x: gc.log_softmax(x, axis=0), log_softmax(0), CUBE),
    Case("log_softmax-size-1", gc.log_softmax, log_softmax(-1), ((3, 1),)),
    Case("log_softmax-spread", gc.log_softmax, log_softmax(-1), make=spread, second_order=False),
    Case("logsumexp-spread", gc.logsumexp, logsumexp, make=spread, second_order=False),
    Case("logsumexp-int", gc.logsumexp, logsumexp, dtypes=("int64",)),
]

CASES = [*BASIC, *INTEGERS, *PRODUCTS, *RUNNING, *SOFTMAX]
