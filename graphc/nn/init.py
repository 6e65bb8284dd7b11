"""`gc.nn.init`: first values of parameters, drawn with NumPy when a module is made.

Every function takes the parameter's `shape`, in the layout of the layers: (outputs, inputs, *kernel). `rng` is a NumPy
generator, a seed, or None for the default generator, whose seed is 0 until `gc.nn.set_seed` gives another: the same
program makes the same parameters in every process. Draws are float64, then rounded to `dtype`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import numpy as np

from graphc.graph.arguments import checked, entries, shown
from graphc.graph.arrays import room_for
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.types import MAX_ELEMENTS, Array, as_dtype

__all__ = [
    "calculate_gain",
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "set_seed",
    "truncated_normal",
    "uniform",
    "zeros",
]

Rng = np.random.Generator | np.integer[Any] | int | None
Initializer = Callable[..., Array]
"""A function of a shape and of `rng` and `dtype` by name, such as those of this module."""

_default: list[np.random.Generator] = []

P = ParamSpec("P")


@checked
def set_seed(seed: int) -> None:
    """Start the default generator of modules, from which parameters and dropout take their numbers, at `seed`.

    >>> import graphc as gc
    >>> gc.nn.set_seed(1)
    >>> first = gc.nn.Linear(2, 2).weight.get_value()
    >>> gc.nn.set_seed(1)
    >>> bool((gc.nn.Linear(2, 2).weight.get_value() == first).all())
    True
    """
    _default[:] = [as_generator(seed)]


def as_generator(rng: Rng) -> np.random.Generator:
    """Return the NumPy generator that `rng` means."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        if not _default:
            set_seed(0)
        return _default[0]
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)) or rng < 0:
        kind = type(rng).__name__
        raise ArgumentError(f"rng must be a numpy.random.Generator, a seed of at least 0 or None, got {kind}{at()}")
    return np.random.default_rng(int(rng))


def _with_room(function: Callable[P, Array]) -> Callable[P, Array]:
    """Name the initialiser where there is no memory for what it makes."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Array:
        with room_for(function.__name__):
            return function(*args, **kwargs)

    return call


# -- given values


@_with_room
def zeros(shape: Any, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return zeros."""
    return np.zeros(_shape("zeros", shape), as_dtype(dtype))


@_with_room
def ones(shape: Any, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return ones."""
    return np.ones(_shape("ones", shape), as_dtype(dtype))


@_with_room
@checked
def constant(shape: Any, value: float, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return `value` everywhere; as an initialiser, `functools.partial(constant, value=0.5)`."""
    return np.full(_shape("constant", shape), value, as_dtype(dtype))


# -- draws


@_with_room
@checked
def uniform(shape: Any, low: float = -0.05, high: float = 0.05, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return uniform numbers between `low` and `high`."""
    if not -math.inf < low <= high < math.inf:
        raise ArgumentError(f"uniform: finite low <= high is needed, got {low} and {high}{at()}")
    return _rounded(as_generator(rng).uniform(low, high, _shape("uniform", shape)), dtype)


@_with_room
@checked
def normal(shape: Any, mean: float = 0.0, std: float = 0.05, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return normal numbers."""
    return _rounded(as_generator(rng).normal(mean, _std("normal", std), _shape("normal", shape)), dtype)


@_with_room
@checked
def truncated_normal(
    shape: Any,
    mean: float = 0.0,
    std: float = 0.05,
    low: float = -2.0,
    high: float = 2.0,
    *,
    rng: Rng = None,
    dtype: Any = "float32",
) -> Array:
    """Return normal numbers that lie between `low` and `high` standard deviations from `mean`.

    By inversion of the distribution function, on the side of 0 where it is small and so exact.

    >>> bool(abs(truncated_normal((1000,), std=1.0, rng=0)).max() <= 2)
    True
    """
    from scipy import special

    low, high = float(max(low, -1e9)), float(min(high, 1e9))  # beyond any normal number
    if not low < high:
        raise ArgumentError(f"truncated_normal: low < high is needed, got {low} and {high}{at()}")
    sign = -1.0 if low > 0 else 1.0
    start, stop = (low, high) if sign > 0 else (-high, -low)
    p = as_generator(rng).uniform(special.ndtr(start), special.ndtr(stop), _shape("truncated_normal", shape))
    draws = sign * np.clip(special.ndtri(p), start, stop)
    return _rounded(mean + _std("truncated_normal", std) * draws, dtype)


@_with_room
@checked
def orthogonal(shape: Any, gain: float = 1.0, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return `gain` times a matrix with orthonormal rows, or columns if it is taller; later axes count as columns.

    Uniform over such matrices: the Q of a normal matrix, with the signs that make the diagonal of R positive. Source:
    Saxe et al., Exact solutions to the nonlinear dynamics of learning, 2014; Mezzadri, How to generate random matrices
    from the classical compact groups, 2007.

    >>> q = orthogonal((2, 3), rng=0, dtype="float64")
    >>> bool(np.allclose(q @ q.T, np.eye(2)))
    True
    """
    found = _shape("orthogonal", shape)
    rows, columns = _matrix("orthogonal", found)
    q, r = np.linalg.qr(as_generator(rng).normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return _rounded(gain * (q if rows >= columns else q.T).reshape(found), dtype)


# -- draws whose variance follows from the numbers of inputs and outputs


@_with_room
@checked
def glorot_uniform(shape: Any, gain: float = 1.0, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return uniform numbers of variance `gain**2 * 2 / (inputs + outputs)`.

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.

    >>> bool(abs(glorot_uniform((3, 3), rng=0)).max() <= 1)  # the square root of 6 / (3 + 3)
    True
    """
    return _uniform("glorot_uniform", shape, gain, "fan_avg", rng, dtype)


@_with_room
@checked
def glorot_normal(shape: Any, gain: float = 1.0, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return normal numbers of variance `gain**2 * 2 / (inputs + outputs)`; see `glorot_uniform`."""
    return _normal("glorot_normal", shape, gain, "fan_avg", rng, dtype)


@_with_room
@checked
def he_uniform(
    shape: Any, negative_slope: float = 0.0, *, mode: str = "fan_in", rng: Rng = None, dtype: Any = "float32"
) -> Array:
    """Return uniform numbers of variance `2 / (1 + negative_slope**2) / inputs`, or by outputs with `mode="fan_out"`.

    For layers before a (leaky) rectifier. Source: He et al., Delving deep into rectifiers, 2015.
    """
    return _uniform("he_uniform", shape, calculate_gain("leaky_relu", negative_slope), mode, rng, dtype)


@_with_room
@checked
def he_normal(
    shape: Any, negative_slope: float = 0.0, *, mode: str = "fan_in", rng: Rng = None, dtype: Any = "float32"
) -> Array:
    """Return normal numbers of variance `2 / (1 + negative_slope**2) / inputs`; see `he_uniform`."""
    return _normal("he_normal", shape, calculate_gain("leaky_relu", negative_slope), mode, rng, dtype)


@_with_room
@checked
def lecun_uniform(shape: Any, gain: float = 1.0, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return uniform numbers of variance `gain**2 / inputs`.

    Source: LeCun, Bottou, Orr & Müller, Efficient backprop, 1998.
    """
    return _uniform("lecun_uniform", shape, gain, "fan_in", rng, dtype)


@_with_room
@checked
def lecun_normal(shape: Any, gain: float = 1.0, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return normal numbers of variance `gain**2 / inputs`; see `lecun_uniform`."""
    return _normal("lecun_normal", shape, gain, "fan_in", rng, dtype)


def inverse_root(shape: Any, *, rng: Rng = None, dtype: Any = "float32") -> Array:
    """Return uniform numbers of at most `1 / sqrt(inputs)`: the default of `Linear` and convolutions, as PyTorch's."""
    return _uniform("inverse_root", shape, 3**-0.5, "fan_in", rng, dtype)


@checked
def calculate_gain(nonlinearity: str, negative_slope: float = 0.01) -> float:
    """Return the `gain` that keeps variances through a nonlinearity; 1 for one that is not listed in the source.

    Source: the tables of He et al. 2015 (rectifiers) and Klambauer et al. 2017 (selu); 5/3 for tanh is customary.

    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + negative_slope**2)),
        "selu": 0.75,
    }
    if nonlinearity not in gains:
        raise ArgumentError(f"calculate_gain: {nonlinearity!r} is unknown; accepted: {', '.join(gains)}{at()}")
    return gains[nonlinearity]


# -- parts


def _uniform(name: str, shape: Any, gain: float, mode: str, rng: Rng, dtype: Any) -> Array:
    found = _shape(name, shape)
    limit = _std(name, gain) * math.sqrt(3 / _fan(name, found, mode))
    return _rounded(as_generator(rng).uniform(-limit, limit, found), dtype)


def _normal(name: str, shape: Any, gain: float, mode: str, rng: Rng, dtype: Any) -> Array:
    found = _shape(name, shape)
    return _rounded(as_generator(rng).normal(0.0, _std(name, gain) / math.sqrt(_fan(name, found, mode)), found), dtype)


def _fan(name: str, shape: tuple[int, ...], mode: str) -> float:
    """Return how many numbers meet in an output, come from an input, or the mean of both; at least 1."""
    _matrix(name, shape)
    kernel = math.prod(shape[2:])
    inputs, outputs = shape[1] * kernel, shape[0] * kernel
    fans = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}
    if mode not in fans:
        raise ArgumentError(f'{name}: mode must be "fan_in" or "fan_out", got {mode!r}{at()}')
    return max(fans[mode], 1)


def _matrix(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2:
        raise ShapeError(f"{name}: at least 2 axes (outputs, inputs) are needed, got shape {shape}{at()}")
    return shape[0], math.prod(shape[1:])


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    items = entries(shape)
    if not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 0 for n in items):
        raise ShapeError(f"{name}: shape must be ints of at least 0, got {shown(shape)}{at()}")
    if math.prod(items) > MAX_ELEMENTS:
        raise ShapeError(f"{name}: no machine holds an array of shape {shown(shape)}{at()}")
    return tuple(map(int, items))


def _std(name: str, std: float) -> float:
    if not std >= 0:
        raise ArgumentError(f"{name}: std must be at least 0, got {std!r}{at()}")
    return std


def _rounded(draws: Any, dtype: Any) -> Array:
    found = as_dtype(dtype)
    if found.kind != "f":
        raise ArgumentError(f"init: dtype must be float32 or float64, got {found}{at()}")
    return np.asarray(draws, found)
