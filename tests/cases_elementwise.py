"""Elementwise functions: every public one, on floats, and on integers and bools where these are accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.types import Array
from tests.cases import Case

INF = float("inf")
NAN = float("nan")
EDGES = (0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.5, 1e-300, 1e300, -1e300, 750.0, -750.0, INF, -INF, NAN)
"""Zeros of both signs, halves, values that over- and underflow, infinities, nan."""

MODERATE = (0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.5, 20.0, -20.0, INF, -INF, NAN)
PAIR = ((3, 4), (3, 4))


def public(name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(gc.nn if name == "relu" else gc, name)
    return function


def unary(name: str, numpy: Callable[..., Any], low: float = -2, high: float = 2, **more: Any) -> Case:
    return Case(name, public(name), numpy, low=low, high=high, special=more.pop("special", EDGES), **more)


def binary(name: str, numpy: Callable[..., Any], low: float = -2, high: float = 2, **more: Any) -> Case:
    special = more.pop("special", EDGES)
    return Case(name, public(name), numpy, more.pop("shapes", PAIR), low=low, high=high, special=special, **more)


def integers(name: str, numpy: Callable[..., Any], count: int, *dtypes: str, low: float = -9) -> Iterator[Case]:
    for dtype in dtypes:
        function = public(name)
        yield Case(f"{name}-{dtype}", function, numpy, ((3, 4),) * count, (dtype,) * count, low, 9)


def sigmoid(x: Array) -> Array:
    """The plain formula; overflow to inf gives the right 0."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


def relu(x: Array) -> Array:
    return np.asarray(np.maximum(x, np.zeros((), x.dtype)))


FLOATS = [
    unary("exp", np.exp),
    unary("exp2", np.exp2),
    unary("expm1", np.expm1),
    unary("log", np.log, 0.3),
    unary("log1p", np.log1p, -0.6),
    unary("log2", np.log2, 0.3),
    unary("log10", np.log10, 0.3),
    unary("sqrt", np.sqrt, 0.3),
    unary("sin", np.sin, special=MODERATE),
    unary("cos", np.cos, special=MODERATE),
    unary("tan", np.tan, -1.2, 1.2, special=MODERATE),
    unary("asin", np.arcsin, -0.8, 0.8),
    unary("acos", np.arccos, -0.8, 0.8),
    unary("atan", np.arctan),
    unary("sinh", np.sinh),
    unary("cosh", np.cosh),
    unary("tanh", np.tanh),
    unary("asinh", np.arcsinh),
    unary("acosh", np.arccosh, 1.3, 3),
    unary("atanh", np.arctanh, -0.8, 0.8),
    unary("sigmoid", sigmoid),
    unary("softplus", lambda x: np.logaddexp(x, 0)),
    unary("relu", relu),
    unary("abs", np.abs),
    unary("sign", np.sign),
    unary("square", np.square),
    unary("negative", np.negative),
    unary("positive", np.positive),
    unary("reciprocal", np.reciprocal, 0.4),
    unary("floor", np.floor),
    unary("ceil", np.ceil),
    unary("trunc", np.trunc),
    unary("round", np.round),
    unary("isfinite", np.isfinite),
    unary("isinf", np.isinf),
    unary("isnan", np.isnan),
    unary("signbit", np.signbit, special=(*EDGES[:-1],)),
    unary("stop_gradient", lambda x: x, differentiable=()),
    unary("logical_not", np.logical_not),
    binary("add", np.add),
    binary("subtract", np.subtract),
    binary("multiply", np.multiply),
    binary("divide", np.divide, 0.4),
    binary("floor_divide", np.floor_divide, 0.4, 3),
    binary("remainder", np.remainder, 0.4, 3),
    binary("pow", np.power, 0.3, 2.5),
    binary("hypot", np.hypot),
    binary("atan2", np.arctan2),
    binary("logaddexp", np.logaddexp),
    binary("maximum", np.maximum),
    binary("minimum", np.minimum),
    binary("copysign", np.copysign, 0.2, special=(*EDGES[:-1],)),
    binary("nextafter", np.nextafter),
    *(binary(name, getattr(np, name)) for name in ("equal", "not_equal", "less", "less_equal", "greater")),
    binary("greater_equal", np.greater_equal),
    *(binary(name, getattr(np, name)) for name in ("logical_and", "logical_or", "logical_xor")),
]

BROADCAST = [
    binary("multiply", np.multiply, shapes=((3, 1), (4,))),
    binary("maximum", np.maximum, shapes=((2, 1, 4), (3, 1))),
    binary("pow", np.power, 0.3, shapes=((3, 4), ())),
    binary("subtract", np.subtract, shapes=((), (3, 4))),
    Case("where", gc.where, np.where, ((3, 4), (3, 4), (3, 4)), ("bool", "float64", "float64"), special=EDGES),
    Case("where-broadcast", gc.where, np.where, ((3, 1), (4,), ()), ("bool", "float64", "float64")),
    Case("where-float-condition", gc.where, np.where, ((3, 4), (3, 4), (4,)), differentiable=(1, 2)),
]


def truncated_power(x: Array, y: Array) -> Array:
    """Integer powers in exact arithmetic; negative exponents cut the quotient toward 0."""
    exact = [
        int(a) ** int(b) if b >= 0 else int(float(a) ** int(b)) if a else 0 for a, b in zip(x.flat, y.flat, strict=True)
    ]
    return np.array(exact, x.dtype).reshape(x.shape)


SCALARS = [
    Case(
        "pow-int-negative",
        gc.pow,
        truncated_power,
        make=lambda rng: (rng.integers(-3, 3, (5, 6), endpoint=True), rng.integers(-4, 4, (5, 6), endpoint=True)),
    ),
    Case("pow-2", lambda x: x**2, lambda x: np.power(x, 2), special=EDGES),
    Case("pow-3", lambda x: x**3, lambda x: np.power(x, 3), special=MODERATE),
    Case("pow-0", lambda x: x**0, lambda x: np.power(x, 0), special=EDGES),
    Case("pow-1", lambda x: x**1, lambda x: np.power(x, 1), special=EDGES),
    Case("pow-half", lambda x: x**0.5, lambda x: np.power(x, np.full_like(x, 0.5)), low=0.3, special=EDGES),
    Case("pow-minus-2", lambda x: x**-2, lambda x: np.power(x, -2.0), low=0.5, special=MODERATE),
    Case("pow-of-2", lambda x: 2**x, lambda x: np.power(2, x), special=MODERATE),
    Case("rsub", lambda x: 1 - x, lambda x: 1 - x),
    Case("rdiv", lambda x: 1 / x, lambda x: 1 / x, low=0.4, special=EDGES),
    Case("rmod", lambda x: 5 % x, lambda x: 5 % x, low=0.4, special=EDGES, rtol=1e-11),
    Case("clip", lambda x: gc.clip(x, -1, 1), lambda x: np.clip(x, -1, 1), special=EDGES),
    Case("clip-low", lambda x: x.clip(min=0.1), lambda x: np.clip(x, 0.1, None), special=EDGES),
    Case("clip-high", lambda x: gc.clip(x, max=0.1), lambda x: np.clip(x, None, 0.1), special=EDGES),
    Case("clip-nodes", gc.clip, np.clip, ((3, 4), (4,), (3, 1))),
    Case("clip-int", lambda x: gc.clip(x, 0), lambda x: np.clip(x, 0, None), dtypes=("int16",), low=-9, high=9),
    Case("abs-operator", lambda x: -abs(-x), lambda x: -np.abs(x)),
    Case(
        "chain", lambda x, y: gc.tanh(x * y + 0.5) / (1 + x * x), lambda x, y: np.tanh(x * y + 0.5) / (1 + x * x), PAIR
    ),
    Case("where-safe-log", lambda x: gc.where(x > 0, gc.log(x), 0), lambda x: np.where(x > 0, np.log(np.abs(x)), 0)),
]

CASTS = [
    Case(
        f"astype-{source}-{target}",
        lambda x, target=target: gc.astype(x, target),
        lambda x, target=target: x.astype(target),
        dtypes=(source,),
        low=0 if target.startswith("u") else -9,
        high=9,
    )
    for source, target in [
        ("float64", "float32"),
        ("float32", "float64"),
        ("float64", "int64"),
        ("float64", "int8"),
        ("float32", "uint16"),
        ("float64", "bool"),
        ("int32", "float32"),
        ("int64", "int8"),
        ("uint8", "int64"),
        ("int64", "bool"),
        ("bool", "float64"),
        ("bool", "int32"),
    ]
]

ALL_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
SIGNED_AND_NOT = ("int8", "int64", "uint8", "uint64")
ARITHMETIC = ("add", "subtract", "multiply", "floor_divide", "remainder", "maximum", "minimum")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


def _integer_cases() -> Iterator[Case]:
    for name in ARITHMETIC:
        yield from integers(name, getattr(np, name), 2, *ALL_INTEGERS)
    for name in COMPARISONS:
        yield from integers(name, getattr(np, name), 2, "int32", "uint64")
    for name in ("negative", "abs", "sign", "square", "positive", "floor", "ceil", "trunc", "round"):
        yield from integers(name, getattr(np, name), 1, *SIGNED_AND_NOT)
    yield from integers("relu", relu, 1, *SIGNED_AND_NOT)
    for name in ("isnan", "isinf", "isfinite"):
        yield from integers(name, getattr(np, name), 1, "int32", "uint8")
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        yield from integers(name, getattr(np, name), 2, *SIGNED_AND_NOT, "bool")
    yield from integers("bitwise_invert", np.invert, 1, *SIGNED_AND_NOT, "bool")
    for name in ("left_shift", "right_shift"):
        yield from integers(f"bitwise_{name}", getattr(np, name), 2, "int8", "int64", "uint16", "uint64")
    yield from integers("pow", np.power, 2, *SIGNED_AND_NOT, low=0)
    for name in ("logical_and", "logical_or", "logical_xor"):
        yield from integers(name, getattr(np, name), 2, "bool", "int32")
    yield from integers("logical_not", np.logical_not, 1, "bool", "int32")
    yield from integers("divide", np.divide, 2, "int32", "uint64")
    yield from integers("exp", np.exp, 1, "int32", "int64")
    yield from integers("sqrt", np.sqrt, 1, "uint32")


def _unique(cases: list[Case]) -> Iterator[Case]:
    """Number the ids that occur twice."""
    seen: Counter[str] = Counter()
    for case in cases:
        seen[case.id] += 1
        yield case if seen[case.id] == 1 else replace(case, id=f"{case.id}#{seen[case.id]}")


CASES: list[Case] = list(_unique([*FLOATS, *BROADCAST, *SCALARS, *CASTS, *_integer_cases()]))
