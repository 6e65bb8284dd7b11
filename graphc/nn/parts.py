"""What layers share: how their parameters are made, and how their arguments and operands are checked."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from graphc.graph.arguments import require_function
from graphc.graph.arrays import room_for, to_array
from graphc.graph.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.graph.node import Node, Shared
from graphc.graph.op import shared
from graphc.graph.types import MAX_ELEMENTS, Array, DType, as_dtype, is_float
from graphc.nn.init import Initializer, Rng, as_generator, uniform
from graphc.nn.module import Module
from graphc.ops.pointwise import promote
from graphc.ops.shape import never_equal
from graphc.random import Generator

DrawRng = Generator | Rng
SPATIAL = {1: "length", 2: "height, width", 3: "depth, height, width"}
"""The axes after the channels, by their number, as errors name them."""


def positive(module: Module, **values: Any) -> None:
    """Raise for arguments that are no ints of at least 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ArgumentError(f"{type(module).__name__}: {name} must be an int of at least 1, got {value!r}{at()}")


def probability(module: Module, name: str, value: Any) -> float:
    """Return an argument that is a number from 0 to 1; raise for others."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ArgumentError(f"{type(module).__name__}: {name} must be a number from 0 to 1, got {value!r}{at()}")
    return float(value)


def float_dtype(module: Module, dtype: Any) -> DType:
    """Return the dtype of parameters, a float."""
    found = as_dtype(dtype)
    if not is_float(found):
        raise DTypeError(f"{type(module).__name__}: dtype must be float32 or float64, got {found}{at()}")
    return found


def require_initializer(what: str, init: Any) -> None:
    """Raise where an initialiser is no function of a shape, `rng` and `dtype`."""
    require_function(what, init)
    try:
        inspect.signature(init).bind((), rng=None, dtype=None)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{what} must take (shape, *, rng, dtype): {error}{at()}") from None


def new_parameter(
    module: Module, name: str, shape: tuple[int, ...], init: Initializer, rng: np.random.Generator, dtype: Any
) -> Shared:
    """Return a shared node of first values that `init` gives."""
    found = float_dtype(module, dtype)
    what = f"{type(module).__name__}: the initialiser of {name}"
    require_initializer(what, init)
    if math.prod(shape) > MAX_ELEMENTS:
        kind = type(module).__name__
        raise ShapeError(f"{kind}: no machine holds an array of shape {shape}, which {name} would have{at()}")
    with room_for(what):
        value: Array = to_array(what, init(shape, rng=rng, dtype=found))
    if value.shape != shape:
        kind = type(module).__name__
        raise ShapeError(f"{kind}: the initialiser of {name} gave shape {value.shape}, {shape} needed{at()}")
    return shared(value.astype(found, copy=False), name=name)


def within(limit: float) -> Initializer:
    """Return the initialiser of uniform numbers of at most `limit`."""

    def init(shape: Any, *, rng: Rng = None, dtype: Any = "float32") -> Array:
        return uniform(shape, -limit, limit, rng=rng, dtype=dtype)

    return init


def draw_generator(rng: DrawRng) -> Generator:
    """Return the generator of a layer that draws in every call: the given one, or one of a seed."""
    if isinstance(rng, Generator):
        return rng
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        return Generator(int(rng))
    return Generator(int(as_generator(rng).integers(2**63)))


def operands(module: Module, x: Any, *parameters: Any) -> list[Node]:
    """Return an operand and parameters as floats of one dtype; parameters that are None stay away."""
    return promote(module.title, "float", [x, *(p for p in parameters if p is not None)])


def require_last(module: Module, x: Node, size: int, what: str = "the last axis") -> None:
    """Raise where the last axis of `x` is not of `size`."""
    if not x.ndim or never_equal(x.shape[-1], size):
        raise ShapeError(f"{module.title}: {what} must be {size}, got {x.type}{at()}")
