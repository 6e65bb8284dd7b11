"""The pointwise family: records with one scalar expression, casts, dimensions as values; and their operands.

`pointwise(op, *operands)` is the front door of every elementwise function: it converts operands to nodes,
promotes dtypes as NumPy 2 does, inserts explicit `Broadcast` nodes, and applies the op, so that a pointwise op
sees equal shapes and only `Broadcast`'s own rule ever sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.graph.errors import ArgumentError, DTypeError, ShapeError, at
from graphc.graph.node import Node, WeakNumber
from graphc.graph.op import Constant, Cotangents, Op, View, apply, constant
from graphc.graph.types import (
    BOOL,
    Array,
    Dim,
    DType,
    Shape,
    Size,
    TensorType,
    as_dtype,
    at_most_one,
    is_float,
    short_name,
    size_max,
)

Partial = Callable[..., Node] | float | None
"""d out / d input: a function of (out, *inputs), a number, or None where the derivative is zero."""


class Pointwise(Op):
    """One scalar expression per element; inputs and output have equal shapes."""

    unit_ns = 0.0
    """A rough estimate of the time of one element, where it is far above that of an elementary function."""

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        first = types[0].shape if types else ()
        return (pair for t in types[1:] if t.shape != first for pair in zip(first, t.shape, strict=True))

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        """Return the scalar expression as Python source with `{0}`, `{1}`, ... for the operands."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Elementwise(Pointwise):
    """A record of the pointwise table; made by `elementwise`. Each record is one value, equal only to itself."""

    name: str = field()
    numpy: Callable[..., Any]
    template: str | dict[str, str]
    accepts: str
    gives: str
    partials: tuple[Partial, ...]
    masks: bool
    commutative: bool
    differentiable: bool

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return _elementwise_record, (self.name,)

    def infer(self, *types: TensorType) -> TensorType:
        dtype = BOOL if self.gives == "bool" else types[-1].dtype
        return TensorType(dtype, types[0].shape)

    def evaluate(self, *arrays: Array) -> Array:
        dtype = BOOL if self.gives == "bool" else arrays[-1].dtype
        with np.errstate(all="ignore"):
            return np.asarray(self.numpy(*arrays), dtype=dtype)

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        if isinstance(self.template, str):
            return self.template
        kind = inputs[-1].kind
        return self.template.get(kind) or self.template["i" if kind == "u" else "f"]

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return self.pullback(g, out, [True] * len(inputs))

    def pullback(self, g: Node, out: Node, wanted: Sequence[bool]) -> Cotangents:
        pairs = zip(wanted, self.partials, strict=True)
        return tuple(self._chain(g, out, i, p) if w and p is not None else None for i, (w, p) in enumerate(pairs))

    def _chain(self, g: Node, out: Node, index: int, partial: Partial) -> Node | None:
        if not callable(partial):
            return g if partial == 1 else -g if partial == -1 else g * partial
        return partial(g, out, *out.inputs) if self.masks else masked_multiply(g, partial(out, *out.inputs))

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        total: Node | None = None
        for i, (t, p) in enumerate(zip(tangents, self.partials, strict=True)):
            if t is not None and p is not None:
                term = self._chain(t, out, i, p)
                total = term if total is None or term is None else total + term
        return total


ELEMENTWISE: dict[str, Elementwise] = {}
"""Every record by name; filled by the tables of `ops/elementwise.py` and `ops/special.py` as they are read."""


def _elementwise_record(name: str) -> Elementwise:
    return ELEMENTWISE[name]


def elementwise(
    name: str,
    *,
    numpy: Callable[..., Any],
    code: str | dict[str, str],
    partials: tuple[Partial, ...],
    accepts: str = "number",
    gives: str = "same",
    masks: bool = False,
    commutative: bool = False,
) -> Elementwise:
    """Make the record of one pointwise op.

    `accepts` names the operand dtypes after promotion: `number` (ints and floats), `float` (ints become
    floats), `any` (bool too), `integer`, `bitwise` (integers and bool), `logical` (everything, as bool),
    `where` (a bool, then `any`). `gives` is `same` or `bool`. `code` is one expression for all dtypes or one
    per NumPy dtype kind (`f`, `i`, `u`, `b`); `{T}` is the cast to the operand dtype. `partials` has an entry
    an operand; with `masks=True` each is a function of (g, out, *inputs) that passes or blocks the cotangent by
    `where`, so that what it blocks is a hard zero.
    """
    smooth = gives == "same" and any(p is not None for p in partials)
    record = Elementwise(name, numpy, code, accepts, gives, partials, masks, commutative, smooth)
    ELEMENTWISE[name] = record
    return record


def masked_multiply(g: Node, local: Node) -> Node:
    """Multiply, with 0 * inf = 0 * nan = 0: a cotangent that `where` masked out stays a hard zero."""
    return pointwise(MASKED_MULTIPLY, g, local)


@dataclass(frozen=True)
class Cast(Pointwise):
    """Convert to another dtype, as `numpy.ndarray.astype`."""

    name = "astype"
    dtype: DType

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.dtype, types[0].shape)

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return arrays[0].astype(self.dtype)

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        if output == BOOL:
            return "({0} != 0)"
        name = short_name(output)
        return f"{name}({{0}})" if inputs[0].kind != "f" or is_float(output) else f"to_{name}({{0}})"

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return (cast(g, inputs[0].dtype) if is_float(inputs[0].dtype) else None,)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None if tangents[0] is None else cast(tangents[0], self.dtype)


def cast(x: Node, dtype: DType) -> Node:
    """Return `x` converted to `dtype`, or `x` itself."""
    if x.dtype == dtype:
        return x
    if isinstance(x.op, Constant) and x.op.value.ndim == 0:
        return constant(Cast(dtype).evaluate(x.op.value))
    return apply(Cast(dtype), x)


@dataclass(frozen=True)
class DimValue(Pointwise):
    """The size of a dimension as a 0-d value."""

    name = "dim"
    differentiable = False
    dim: Size
    dtype: DType

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.dtype, ())

    def sizes(self) -> Iterable[Size]:
        return (self.dim,)

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(self.dim, dtype=self.dtype)

    def code(self, inputs: Sequence[DType], output: DType) -> str:
        return f"{short_name(output)}({{dim}})"


def size_node(size: Size, dtype: Any) -> Node:
    """Return a size as a 0-d node of `dtype`: a constant where it is an int."""
    found = as_dtype(dtype)
    return apply(DimValue(size, found)) if isinstance(size, Dim) else constant(size, found)


# -- operands: conversion, promotion, broadcasting


def is_weak(value: Any) -> bool:
    """Tell whether `value` takes the dtype of the other operands: Python numbers and dimensions."""
    return isinstance(value, (bool, int, float, Dim)) and not isinstance(value, np.generic)


def as_node(value: Any, dtype: Any = None, *, what: str = "operand") -> Node:
    """Return `value` as a node: a node itself, a dimension, or anything NumPy turns into numbers."""
    if isinstance(value, Node):
        return value
    if isinstance(value, Dim):
        return size_node(value, dtype or "int64")
    if isinstance(value, (list, tuple)) and any(isinstance(v, Node) for v in value):
        raise ArgumentError(f"{what}: a list that holds nodes is not accepted; use gc.stack(...){at()}")
    return constant(value, dtype, what=what)


def promote(name: str, accepts: str, operands: Sequence[Any]) -> list[Node]:
    """Convert operands to nodes of the dtype that the op computes in (NumPy 2: Python numbers are weak)."""
    head: list[Node] = []
    if accepts == "where":
        head, operands = [cast(as_node(operands[0], what=name), BOOL)], operands[1:]
    strong = [x if isinstance(x, Node) or is_weak(x) else as_node(x, what=name) for x in operands]
    if accepts == "logical":
        return [cast(as_node(x), BOOL) for x in strong]
    dtype = _common_dtype(name, accepts, strong)
    return head + [cast(x, dtype) if isinstance(x, Node) else _weak_node(name, x, dtype) for x in strong]


def _weak_node(name: str, value: Any, dtype: DType) -> Node:
    if isinstance(value, Dim):
        return size_node(value, dtype)
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        raise DTypeError(f"{name}: Python integer {value} does not fit {dtype}{at()}")
    try:
        with np.errstate(over="ignore"):
            return constant(np.asarray(value).astype(dtype))
    except OverflowError:
        raise DTypeError(f"{name}: a Python integer of {value.bit_length()} bits does not fit {dtype}{at()}") from None


def _dtype_key(x: Any) -> Any:
    """Return what an operand says about the common dtype: its own, or a Python number."""
    if isinstance(x, Node):
        return (0.0 if x.dtype.kind == "f" else 0) if isinstance(x, WeakNumber) else x.dtype
    return 0 if isinstance(x, Dim) else x


def _common_dtype(name: str, accepts: str, operands: Sequence[Any]) -> DType:
    keys = [_dtype_key(x) for x in operands]
    first = keys[0]
    same = all(isinstance(k, np.dtype) and k == first for k in keys)
    try:
        found: DType = first if same else np.result_type(*(type(k)(0) if is_weak(k) else k for k in keys))
    except TypeError as error:
        raise DTypeError(f"{name}: {error}{at()}") from None
    if accepts == "float" and not is_float(found):
        found = np.result_type(found, np.float32)
    kinds = {"number": "iuf", "float": "f", "integer": "iu", "bitwise": "iub"}.get(accepts, "iufb")
    if found.kind not in kinds:
        shown = ", ".join(short_name(k) if isinstance(k, np.dtype) else str(k) for k in keys)
        accepted = {"number": "numbers", "integer": "integers", "bitwise": "integers and bool"}[accepts]
        raise DTypeError(f"{name}: got {shown}; accepted: {accepted} (convert with .astype){at()}")
    return as_dtype(found)


def broadcast_shapes(name: str, *types: TensorType) -> Shape:
    """Return the common shape: a literal 1 broadcasts, and what is at most 1 (`x[:1]`) does beside other sizes.

    Raises `ShapeError`.
    """
    ndim = max(t.ndim for t in types)
    out: list[Size] = []
    for axis in range(-ndim, 0):
        here = [t.shape[axis] for t in types if t.ndim >= -axis]
        wide = [s for s in here if s != 1] or [1]
        wide = [s for s in wide if not at_most_one(s)] or wide
        fixed = [s for s in wide if isinstance(s, int)]
        if any(s != fixed[0] for s in fixed):
            shown = ", ".join(map(str, types))
            raise ShapeError(f"{name}: shapes do not broadcast: {shown} ({fixed[0]} != {fixed[1]}){at()}")
        out.append(fixed[0] if fixed else wide[0])
    return tuple(out)


@dataclass(frozen=True)
class Broadcast(View):
    """Place operand axis i at result axis `axes[i]`; other axes are new, and literal 1s stretch."""

    name = "broadcast"
    shape: Shape
    axes: tuple[int, ...]

    def sizes(self) -> Iterable[Size]:
        return self.shape

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(types[0].dtype, self.shape)

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        pairs = [(s, self.shape[a]) for s, a in zip(types[0].shape, self.axes, strict=True) if s != 1]
        new = [s for s in self.shape if isinstance(s, Dim) and s not in types[0].shape]
        return [*pairs, *((size_max(0, s), s) for s in new)]

    def evaluate(self, *arrays: Array) -> Array:
        full = [1] * len(self.shape)
        for size, axis in zip(arrays[0].shape, self.axes, strict=True):
            full[axis] = size
        return np.broadcast_to(arrays[0].reshape(full), self.shape)  # type: ignore[arg-type]

    def access(self, strides: Sequence[Size], shape: Shape) -> tuple[Size, tuple[Size, ...]]:
        out: list[Size] = [0] * len(self.shape)
        for stride, size, axis in zip(strides, shape, self.axes, strict=True):
            out[axis] = 0 if size == 1 else stride
        return 0, tuple(out)

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        from graphc.ops.reduction import sum  # sum's derivative is broadcast, and broadcast's is sum
        from graphc.ops.shape import Squeeze

        (x,) = inputs
        stretched = [a for s, a in zip(x.shape, self.axes, strict=True) if s == 1 and self.shape[a] != 1]
        new = [a for a, s in enumerate(self.shape) if a not in self.axes and s != 1]
        g = sum(g, tuple(stretched + new)) if stretched or new else g
        left = [a for a in range(len(self.shape)) if a not in (*stretched, *new)]
        ones = tuple(i for i, a in enumerate(left) if a not in self.axes)
        g = apply(Squeeze(ones), g) if ones else g
        kept = [i for i, a in enumerate(self.axes) if a not in stretched]
        return (broadcast(g, x.shape, tuple(kept)),)

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return None if tangents[0] is None else apply(self, tangents[0])


def broadcast(x: Node, shape: Shape, axes: tuple[int, ...]) -> Node:
    """Broadcast `x` in dimensions `axes` of `shape`, or return it where nothing changes."""
    return x if x.shape == shape and axes == tuple(range(len(shape))) else apply(Broadcast(shape, axes), x)


def single(x: Node, shape: Shape) -> tuple[Node, tuple[int, ...]]:
    """Return `x` and the places of its axes in `shape`, whose last axes they are.

    Without the axes of a size that is at most 1 where `shape` has another: those stretch, and a call checks that they
    are 1.
    """
    first = len(shape) - x.ndim
    dropped = [i for i, s in enumerate(x.shape) if at_most_one(s) and s != shape[first + i]]
    if dropped:
        from graphc.ops.shape import Squeeze  # views of shapes are built on broadcasts

        return apply(Squeeze(tuple(dropped)), x), tuple([first + i for i in range(x.ndim) if i not in dropped])
    return x, tuple(range(first, len(shape)))


def broadcast_to_shape(x: Node, shape: Shape) -> Node:
    """Broadcast `x` by NumPy's rule: trailing axes are aligned."""
    if x.shape == shape:
        return x
    x, axes = single(x, shape)
    own = dict(zip(axes, x.shape, strict=True))
    sizes = tuple([s if own.get(a, 1) == 1 else own[a] for a, s in enumerate(shape)])
    return broadcast(x, sizes, axes)


_NUMBER_ARITHMETIC = frozenset(
    ("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "pow", "negative", "abs")
)
"""Python's operators: of dimensions and Python numbers they make numbers, which stay weakly typed."""


def pointwise(op: Elementwise, *operands: Any) -> Node:
    """Build a pointwise node from anything: convert, promote, broadcast, apply."""
    if len(operands) != len(op.partials):
        raise ArgumentError(f"{op.name}: {len(operands)} operands given, {len(op.partials)} needed{at()}")
    nodes = promote(op.name, op.accepts, operands)
    first = nodes[0].shape
    if any(x.shape != first for x in nodes):
        shape = broadcast_shapes(op.name, *(x.type for x in nodes))
        nodes = [broadcast_to_shape(x, shape) for x in nodes]
    out = apply(op, *nodes)
    stays_weak = op.name in _NUMBER_ARITHMETIC and all(isinstance(x, WeakNumber) or is_weak(x) for x in operands)
    if stays_weak and any(isinstance(x, (WeakNumber, Dim)) for x in operands):
        return WeakNumber(out.op, out.inputs, out.type, out.source, out.guards)
    return out


WHERE: Elementwise = elementwise(
    "where",
    numpy=np.where,
    code="select({0}, {1}, {2})",
    accepts="where",
    masks=True,
    partials=(
        None,
        lambda g, out, c, x, y: pointwise(WHERE, c, g, 0),
        lambda g, out, c, x, y: pointwise(WHERE, c, 0, g),
    ),
)
MASKED_MULTIPLY: Elementwise = elementwise(
    "masked_multiply",
    numpy=lambda g, d: np.where(g == 0, g, g * d),
    code="select({0} == 0, {0}, {0} * {1})",
    masks=True,  # the derivatives absorb by the same operand, so that a masked value is masked at every order
    partials=(lambda g, out, x, d: masked_multiply(g, d), lambda g, out, x, d: masked_multiply(x, g)),
)
