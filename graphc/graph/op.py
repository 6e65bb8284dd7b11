"""`Op` and its families, the leaves, and `apply`, the only maker of computed nodes.

An op is one frozen value that carries all its rules: *equalities, infer, evaluate, vjp, jvp*, and what codegen
needs. The families are the closed set that codegen knows:

| family | codegen's view |
|---|---|
| `Leaf` | storage that exists before the program runs |
| `Pointwise` (`ops/pointwise.py`) | one scalar expression per element |
| `View` | an index map: no storage, no work |
| `Reduction` (`ops/reduction.py`), `Running` (`ops/cumulative.py`) | an accumulator over axes |
| `Gather`, `Scatter` (`ops/indexing.py`) | element access through index arrays |
| `Assembly` (`ops/shape.py`) | pieces copied into one array |
| `MatMul` (`ops/linalg.py`) | a BLAS call |
| `Routine` (`ops/sorting.py`, `ops/decompositions.py`) | a nest or a library call of its own on operands in memory |
| `Composite` | a named graph of the above, expanded before fusion |

`(op, inputs)` is the complete identity of a computation, and `str(op)` is what the graph text prints.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.graph.arguments import checked
from graphc.graph.arrays import literal
from graphc.graph.errors import ArgumentError, ShapeError, at, called, user_source
from graphc.graph.lazy import lazy_property
from graphc.graph.node import Guard, Node, Shared
from graphc.graph.state import State
from graphc.graph.types import (
    Array,
    Dim,
    Shape,
    Size,
    Sizes,
    TensorType,
    as_dtype,
    make_shape,
    require_addressable,
    short_name,
    size_max,
    size_value,
    symbol_name,
)

Cotangents = tuple[Node | None, ...]
"""One entry an input; None is a cotangent that is exactly zero."""


@dataclass(frozen=True, eq=False)
class Op:
    """What is computed: a frozen value with all its rules. Fields are its parameters."""

    name = ""
    differentiable = True
    """False: the derivative is zero wherever it exists (floor, comparisons, stop_gradient)."""

    def __str__(self) -> str:
        shown = [f"{f.name}={_show(getattr(self, f.name))}" for f in dataclasses.fields(self) if f.repr]
        return f"{self.name}[{', '.join(shown)}]" if shown else self.name

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        """Return the pairs of sizes that must be equal; `apply` refuses or guards them."""
        return ()

    def infer(self, *types: TensorType) -> TensorType:
        """Return the result's type, given that `equalities` hold; raise `ShapeError` or `DTypeError`."""
        raise NotImplementedError

    def evaluate(self, *arrays: Array) -> Array:
        """Compute the result with NumPy: the numeric meaning of the op. Sizes are ints here (`resolve`)."""
        raise NotImplementedError

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        """Return the cotangent of each input for the cotangent `g` of `out`."""
        raise NotImplementedError

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        """Return the tangent of `out`; a None tangent is zero, and at least one is not None."""
        raise NotImplementedError

    def pullback(self, g: Node, out: Node, wanted: Sequence[bool]) -> Cotangents:
        """Call `vjp`; families that can skip the unwanted inputs do."""
        return self.vjp(g, out, *out.inputs)

    def sizes(self) -> Iterable[Size]:
        """Return the sizes among the parameters."""
        return ()

    def resolve(self, sizes: Sizes) -> Op:
        """Return this op with every symbolic size replaced by its value."""
        if not any(isinstance(s, Dim) for s in self.sizes()):
            return self
        fields = {f.name: _resolve(getattr(self, f.name), sizes) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **fields)


def _resolve(value: Any, sizes: Sizes) -> Any:
    if isinstance(value, Dim):
        return size_value(value, sizes)
    return tuple(_resolve(v, sizes) for v in value) if isinstance(value, tuple) else value


def _show(value: Any) -> str:
    if isinstance(value, np.dtype):
        return short_name(value)
    if isinstance(value, tuple):
        return "(" + ",".join(_show(v) for v in value) + ")"
    return str(value)


def apply(op: Op, *inputs: Node) -> Node:
    """Build the node `op(*inputs)`: check the equalities, infer the type, remember the user's line."""
    types = [x.type for x in inputs]
    guards = tuple(_guard(op, types, left, right) for left, right in op.equalities(*types) if left != right)
    type_ = op.infer(*types)
    require_addressable(op.name, type_)
    return Node(op, inputs, type_, user_source(), guards)


def _guard(op: Op, types: Sequence[TensorType], left: Size, right: Size) -> Guard:
    source = user_source()
    name = called(source, op.name)
    if isinstance(left, int) and isinstance(right, int):
        raise ShapeError(f"{name}: dimensions differ: {', '.join(map(str, types))} ({left} != {right}){at()}")
    return left, right, name, source


def guarded(node: Node, guards: tuple[Guard, ...]) -> Node:
    """Return a new node that carries guards too; leaves are themselves only."""
    assert not guards or not isinstance(node.op, Leaf)
    return Node(node.op, node.inputs, node.type, node.source, (*node.guards, *guards)) if guards else node


def at_least(what: str, *pairs: tuple[Size, Size]) -> tuple[Guard, ...]:
    """Return what a call must check so that the first size of each pair is at least the second."""
    for size, least in pairs:
        if isinstance(size, int) and isinstance(least, int) and size < least:
            raise ShapeError(f"{what}: a size of at least {least} is needed, got {size}{at()}")
    enough = ((size_max(size, least), size) for size, least in pairs)
    return tuple((most, size, what, user_source()) for most, size in enough if most != size)


# -- leaves


class Leaf(Op):
    """A value that exists before the program runs."""


@dataclass(frozen=True, eq=False)
class Placeholder(Leaf):
    """An argument of the compiled function; equal only to itself."""

    name = "placeholder"
    label: str
    type: TensorType = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return f"placeholder[{self.label}]"

    def infer(self, *types: TensorType) -> TensorType:
        return self.type


@dataclass(frozen=True, eq=False)
class SharedValue(Leaf):
    """State that persists between calls; equal only to itself."""

    name = "shared"
    state: State = dataclasses.field(repr=False)

    @property
    def label(self) -> str:
        """The name, which modules lengthen to their path."""
        return self.state.name

    def __str__(self) -> str:
        return f"shared[{self.label}]"

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.state.array.dtype, self.state.array.shape)


@dataclass(frozen=True, eq=False)
class Constant(Leaf):
    """A literal array, keyed by dtype, shape and bits: 0.0 is not -0.0, NaN equals itself."""

    name = "constant"
    value: Array

    @property
    def key(self) -> tuple[str, tuple[int, ...], bytes]:
        return self.value.dtype.str, self.value.shape, self.value.tobytes()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Constant) and self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    @lazy_property
    def extent(self) -> tuple[float, float, bool]:
        """Return the least and the greatest element and whether 0 is absent; (nan, nan, False) for none or a NaN.

        Rules ask for it at every user of the constant, so large ones are read once.
        """
        if self.value.size == 0:
            return math.nan, math.nan, False
        low, high = float(self.value.min()), float(self.value.max())
        return low, high, low == low and bool(self.value.all())

    def __str__(self) -> str:
        if self.value.size == 1:
            return f"constant[{self.value.item()!r}]"
        shown = np.array2string(self.value, separator=",", max_line_width=10**6).replace("\n", "")
        return f"constant[{shown}]" if self.value.size <= 6 else "constant[...]"

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.value.dtype, self.value.shape)

    def evaluate(self, *arrays: Array) -> Array:
        return self.value


@checked
def constant(value: Any, dtype: Any = None, *, what: str = "constant") -> Node:
    """Return a node for a literal array, number or dimension; arrays are copied. Errors begin with `what`.

    >>> constant([1.0, 2.0])
    f64[2] = constant[[1.,2.]]
    """
    if isinstance(value, Dim):
        from graphc.ops.pointwise import size_node

        return size_node(value, "int64" if dtype is None else dtype)
    array = literal(value, dtype, what)
    array.setflags(write=False)
    return Node(Constant(array), (), TensorType(array.dtype, array.shape), user_source())


@checked
def placeholder(name: str, shape: Any = (), dtype: Any = "float64") -> Node:
    """Declare an argument of the program.

    `shape`: ints, dimension names (the same name is the same dimension), None (a dimension of its own) or
    `Dim`s. Raises `ShapeError`, `DTypeError`.

    >>> placeholder("x", shape=("batch", 3), dtype="float32")
    x: f32[batch,3] = placeholder[x]
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ArgumentError(f"placeholder: name {name!r} is not an identifier{at()}")
    type_ = TensorType(as_dtype(dtype), make_shape(shape))
    require_addressable(f"placeholder {name}", type_)
    return Node(Placeholder(name, type_), (), type_, user_source())


@checked
def shared(value: Any, name: str = "", *, shape: Any = None) -> Shared:
    """Create state that persists between calls, from a copy of `value`; change it through `updates`.

    `shape`: by default that of `value`. Dimensions with a name, or None, may get another size by `set_value`, without
    compiling again; the same name is the same dimension, of other states and of inputs too.

    >>> w = shared([0.0, 0.0], name="w")
    >>> w.get_value()
    array([0., 0.])
    >>> data = shared([[1.0, 2.0]], name="data", shape=("rows", 2))
    >>> data.set_value([[1.0, 2.0], [3.0, 4.0]])
    >>> (data * 2).eval()
    array([[2., 4.],
           [6., 8.]])
    """
    if not isinstance(name, str):
        raise ArgumentError(f"shared: name must be a string, got {name!r}{at()}")
    array = literal(value, what="shared")
    declared = array.shape if shape is None else make_shape(shape)
    made = Shared(
        SharedValue(State(array, name or "shared")),
        (),
        TensorType(array.dtype, declared),
        user_source(),
    )
    if any(isinstance(size, Dim) and symbol_name(size) is None for size in declared):
        raise ShapeError(f"shared: a dimension of {made.name} is an int, a name or None, got shape {shape!r}{at()}")
    if not made.takes(array.shape):
        raise ShapeError(f"shared: {made.name} is declared as {made.type}, its value has shape {array.shape}{at()}")
    return made


# -- families without a file of their own


INSIDE = ("<scan>", 0, "", "")


def inside_node(name: str, type_: TensorType) -> Node:
    """Return a placeholder of a graph inside an op, or of memory there: it has no line of the user's."""
    return Node(Placeholder(name, type_), (), type_, INSIDE)


def is_inside(node: Node) -> bool:
    """Tell whether a node is a placeholder of a graph inside an op."""
    return isinstance(node.op, Placeholder) and node.source == INSIDE


class View(Op):
    """An index map: every element of the result is one element of the only input."""

    def access(self, strides: Sequence[Size], shape: Shape) -> tuple[Size, tuple[Size, ...]] | None:
        """Map the input's element strides to (offset, strides) of the result.

        `shape` is the input's. None where the result is no strided view of the input (a reshape of a
        non-contiguous one), which then must be copied.
        """
        raise NotImplementedError


class Routine(Op):
    """A result that a nest of its own or a library routine computes from contiguous operands."""

    @property
    def failure(self) -> str:
        """What a failed call says; empty for routines that do not end calls."""
        return ""


class Composite(Op):
    """A named graph of other ops, kept whole for its numerics and its name, expanded before fusion."""

    def expand(self, *inputs: Node) -> Node:
        """Return the same value built from other ops."""
        raise NotImplementedError
