"""NumPy's protocol: `np.exp(node)`, `array + node` and `np.sum(node, axis=0)` build nodes.

`Node` forwards NumPy's two hooks here. Ufuncs are looked up by name; functions have an adapter with NumPy's own
parameter names, so that calls bind as NumPy's documentation says. What has no counterpart is refused with the
names that graphc offers; nothing ever falls back to object arrays.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node
from graphc.ops import creation, cumulative, indexing, linalg, manipulation, padding, reduction, sorting, special
from graphc.ops import elementwise_arithmetic as basic
from graphc.ops import elementwise_float as floats
from graphc.ops import elementwise_logic as logic
from graphc.ops.einsum import einsum
from graphc.ops.pointwise import as_node

Function = Callable[..., Any]

_SAME_NAME: tuple[Function, ...] = (
    *(basic.add, basic.subtract, basic.multiply, basic.divide, basic.floor_divide, basic.remainder, basic.negative),
    *(basic.positive, basic.reciprocal, basic.square, basic.sign, basic.copysign, basic.nextafter, basic.ceil),
    *(basic.floor, basic.trunc, basic.maximum, basic.minimum, basic.clip),
    *(floats.exp, floats.exp2, floats.expm1, floats.log, floats.log1p, floats.log2, floats.log10, floats.logaddexp),
    *(floats.sqrt, floats.hypot, floats.sin, floats.cos, floats.tan, floats.sinh, floats.cosh, floats.tanh),
    *(logic.less, logic.less_equal, logic.greater, logic.greater_equal, logic.isfinite, logic.isinf, logic.isnan),
    *(logic.signbit, logic.logical_and, logic.logical_or, logic.logical_xor, logic.logical_not),
    *(logic.bitwise_and, logic.bitwise_or, logic.bitwise_xor, linalg.matmul, linalg.vecdot),
)
UFUNCS: dict[str, Function] = {f.__name__: f for f in _SAME_NAME} | {
    "absolute": basic.abs,
    "fabs": basic.abs,
    "rint": basic.round,
    "power": floats.pow,
    "arcsin": floats.asin,
    "arccos": floats.acos,
    "arctan": floats.atan,
    "arctan2": floats.atan2,
    "arcsinh": floats.asinh,
    "arccosh": floats.acosh,
    "arctanh": floats.atanh,
    "invert": logic.bitwise_invert,
    "left_shift": logic.bitwise_left_shift,
    "right_shift": logic.bitwise_right_shift,
}
"""What each NumPy ufunc becomes, by its `__name__`."""

SCIPY_UFUNCS: dict[str, Function] = {
    "erf": special.erf,
    "erfc": special.erfc,
    "expit": floats.sigmoid,
    "gammaln": special.gammaln,
    "ndtr": special.ndtr,
    "psi": special.digamma,
} | {name: UFUNCS[name] for name in ("exp2", "expm1", "log1p")}
"""What each ufunc of `scipy.special` becomes."""


def numpy_ufunc(ufunc: Any, method: str, inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> Node:
    """Build the node of a NumPy ufunc call; raise `ArgumentError` for what graphc does not have."""
    name = ufunc.__name__
    if name in ("equal", "not_equal"):
        raise ArgumentError(f"== and != on a node are not a comparison of values; use gc.{name}(x, y){at()}")
    if method != "__call__":
        raise ArgumentError(f"np.{name}.{method} does not accept nodes; use gc.sum, gc.prod, gc.max ...{at()}")
    becomes = _of_ufunc(ufunc)
    if becomes is None:
        shown = f"np.{name}" if getattr(np, name, None) is ufunc else f"the ufunc {name}"
        raise ArgumentError(f"{shown} does not accept nodes; accepted: {', '.join(sorted(UFUNCS))}{at()}")
    if "out" in kwargs:
        raise ArgumentError(f"np.{name}: a node cannot be written into an array (out=, or array += node){at()}")
    if kwargs:
        raise ArgumentError(f"np.{name}: {', '.join(kwargs)} cannot be used with nodes; call gc's function{at()}")
    node: Node = becomes(*inputs)
    return node


def _of_ufunc(ufunc: Any) -> Function | None:
    """Look a ufunc up by module and name: others have functions of the same names that may mean something else."""
    name = ufunc.__name__
    own = getattr(np, name, None)
    if own is ufunc or (name == "clip" and ufunc.nin == 3):  # np.clip is a function around an unnamed ufunc
        return UFUNCS.get(name)
    scipy = sys.modules.get("scipy.special")
    return SCIPY_UFUNCS.get(name) if scipy is not None and getattr(scipy, name, None) is ufunc else None


# -- functions: adapters with NumPy's parameter names


def _transpose(a: Any, axes: Any = None) -> Node:
    x = as_node(a)
    return manipulation.permute_dims(x, tuple(reversed(range(x.ndim))) if axes is None else axes)


def _squeeze(a: Any, axis: Any = None) -> Node:
    x = as_node(a)
    return manipulation.squeeze(x, tuple(i for i, s in enumerate(x.shape) if s == 1) if axis is None else axis)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Node:
    return basic.clip(a, a_min if min is None else min, a_max if max is None else max)


def _var(a: Any, axis: Any = None, *, ddof: float = 0, correction: float = 0, keepdims: bool = False) -> Node:
    return reduction.var(a, axis, correction=ddof or correction, keepdims=keepdims)


def _std(a: Any, axis: Any = None, *, ddof: float = 0, correction: float = 0, keepdims: bool = False) -> Node:
    return reduction.std(a, axis, correction=ddof or correction, keepdims=keepdims)


def _round(a: Any, decimals: int = 0) -> Node:
    if decimals != 0:
        raise ArgumentError(f"np.round: decimals={decimals} is not supported; scale before and after{at()}")
    return basic.round(a)


def _dot(a: Any, b: Any) -> Node:
    x, y = as_node(a), as_node(b)
    if x.ndim == 0 or y.ndim == 0:
        return basic.multiply(x, y)
    if y.ndim > 2:
        raise ArgumentError(f"np.dot: second operand {y.type} has more than two axes; use gc.tensordot{at()}")
    return linalg.matmul(x, y)


def _diagonal(a: Any, offset: int, axis1: int, axis2: int) -> Node:
    return linalg.diagonal(a, offset=offset, axis1=axis1, axis2=axis2)


def _reducer(name: str) -> Function:
    function = getattr(reduction, name)
    return lambda a, axis=None, *, keepdims=False: function(a, axis, keepdims=keepdims)


def _accumulator(a: Any) -> tuple[Node, int]:
    """Return what a NumPy scan with axis=None runs over: the flat array."""
    return manipulation.reshape(as_node(a), (-1,)), 0


def _cumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Node:
    x, along = _accumulator(a) if axis is None else (as_node(a), axis)
    return cumulative.cumulative_sum(x, axis=along, dtype=dtype)


def _cumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Node:
    x, along = _accumulator(a) if axis is None else (as_node(a), axis)
    return cumulative.cumulative_prod(x, axis=along, dtype=dtype)


def _along(function: Function, a: Any, axis: int | None) -> Node:
    """Sort along an axis, or the flat array."""
    x, along = _accumulator(a) if axis is None else (as_node(a), axis)
    out: Node = function(x, axis=along)
    return out


FUNCTIONS: dict[str, Function] = {
    "sum": lambda a, axis=None, dtype=None, *, keepdims=False: reduction.sum(a, axis, dtype=dtype, keepdims=keepdims),
    "prod": lambda a, axis=None, dtype=None, *, keepdims=False: reduction.prod(a, axis, dtype=dtype, keepdims=keepdims),
    **{name: _reducer(name) for name in ("max", "min", "mean", "any", "all", "argmax", "argmin")},
    "amax": _reducer("max"),
    "amin": _reducer("min"),
    "var": _var,
    "std": _std,
    "cumsum": _cumsum,
    "cumprod": _cumprod,
    "cumulative_sum": cumulative.cumulative_sum,
    "cumulative_prod": cumulative.cumulative_prod,
    "reshape": lambda a, shape: manipulation.reshape(a, shape),
    "ravel": lambda a: manipulation.reshape(a, (-1,)),
    "transpose": _transpose,
    "matrix_transpose": lambda x: manipulation.matrix_transpose(x),
    "moveaxis": lambda a, source, destination: manipulation.moveaxis(a, source, destination),
    "squeeze": _squeeze,
    "expand_dims": lambda a, axis: manipulation.expand_dims(a, axis),
    "broadcast_to": lambda array, shape: manipulation.broadcast_to(array, shape),
    "broadcast_arrays": manipulation.broadcast_arrays,
    "concatenate": lambda arrays, axis=0: manipulation.concat(arrays, axis=axis),
    "stack": lambda arrays, axis=0: manipulation.stack(arrays, axis=axis),
    "unstack": lambda x, *, axis=0: manipulation.unstack(x, axis=axis),
    "flip": lambda m, axis=None: manipulation.flip(m, axis=axis),
    "roll": lambda a, shift, axis=None: manipulation.roll(a, shift, axis=axis),
    "tile": lambda A, reps: manipulation.tile(A, reps),
    "repeat": lambda a, repeats, axis=None: manipulation.repeat(a, repeats, axis=axis),
    "take": lambda a, indices, axis=None: indexing.take(a, indices, axis=axis),
    "take_along_axis": lambda arr, indices, axis=-1: indexing.take_along_axis(arr, indices, axis=axis),
    "sort": lambda a, axis=-1, kind=None, *, stable=None: _along(sorting.sort, a, axis),
    "argsort": lambda a, axis=-1, kind=None, *, stable=None: _along(sorting.argsort, a, axis),
    "searchsorted": lambda a, v, side="left", sorter=None: sorting.searchsorted(a, v, side=side, sorter=sorter),
    "diff": lambda a, n=1, axis=-1, prepend=None, append=None: sorting.diff(
        a, n=n, axis=axis, prepend=prepend, append=append
    ),
    "median": lambda a, axis=None, *, keepdims=False: sorting.median(a, axis=axis, keepdims=keepdims),
    "quantile": lambda a, q, axis=None, *, method="linear", keepdims=False: sorting.quantile(
        a, q, axis=axis, method=method, keepdims=keepdims
    ),
    "pad": lambda array, pad_width, mode="constant", *, constant_values=0: padding.pad(
        array, pad_width, mode, constant_values=constant_values
    ),
    "where": lambda condition, x, y: basic.where(condition, x, y),
    "clip": _clip,
    "round": _round,
    "astype": lambda x, dtype: basic.astype(x, dtype),
    "tril": lambda m, k=0: creation.tril(m, k=k),
    "triu": lambda m, k=0: creation.triu(m, k=k),
    "zeros_like": lambda a, dtype=None: creation.zeros_like(a, dtype=dtype),
    "ones_like": lambda a, dtype=None: creation.ones_like(a, dtype=dtype),
    "empty_like": lambda prototype, dtype=None: creation.empty_like(prototype, dtype=dtype),
    "full_like": lambda a, fill_value, dtype=None: creation.full_like(a, fill_value, dtype=dtype),
    "matmul": lambda x1, x2: linalg.matmul(x1, x2),
    "dot": _dot,
    "trace": lambda a, offset=0, axis1=0, axis2=1: reduction.sum(_diagonal(a, offset, axis1, axis2), -1),
    "diagonal": lambda a, offset=0, axis1=0, axis2=1: _diagonal(a, offset, axis1, axis2),
    "tensordot": lambda a, b, axes=2: linalg.tensordot(a, b, axes=axes),
    "outer": lambda a, b: linalg.outer(*(manipulation.reshape(as_node(x), (-1,)) for x in (a, b))),
    "vecdot": lambda x1, x2, *, axis=-1: linalg.vecdot(x1, x2, axis=axis),
    "einsum": lambda *operands: einsum(*operands),
    "shape": lambda a: as_node(a).shape,
    "ndim": lambda a: as_node(a).ndim,
    "size": lambda a: as_node(a).size,
}
"""What each NumPy function becomes, by its `__name__`."""


def numpy_function(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Build what a NumPy function call means on nodes; raise `ArgumentError` for what graphc does not have."""
    table, place = _table_of(function.__module__)
    name = function.__name__
    if name not in table:
        raise ArgumentError(f"{place}.{name} does not accept nodes; accepted: {', '.join(sorted(table))}{at()}")
    adapter = table[name]
    signature = inspect.signature(adapter)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"{place}.{name} of a node: {error}; accepted: {name}{signature}{at()}") from None
    return adapter(*args, **kwargs)


def _table_of(module: str) -> tuple[Mapping[str, Function], str]:
    """Return the adapters of a module of NumPy and its short name; the same name means other things in others."""
    if module == "numpy.linalg":
        from graphc.ops.numpy_linalg import LINALG  # built on the ops, which this module serves

        return LINALG, "np.linalg"
    return (FUNCTIONS if module == "numpy" else {}), module.replace("numpy", "np", 1)
