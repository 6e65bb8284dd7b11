"""`Node`: one value of a program, and `Shared`: a node whose value is kept between calls.

A node is an `Op`, its input nodes, its `TensorType` and the user's line; it is immutable and equal only to
itself. Operators and methods forward to the op functions of `graphc.ops`, which call `bind_operators` once:
that is the one import cycle of the project (`Node.__add__` needs `add`, `add` makes nodes), broken in the open.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from graphc.graph.arrays import fitted
from graphc.graph.errors import ADJOINT, ArgumentError, ShapeError, Source, at, path_text, printable
from graphc.graph.identity import NOT_OTHER, NOT_SAME, OTHER, SAME
from graphc.graph.state import State
from graphc.graph.types import Array, DType, Shape, Size, TensorType, product, size_value, symbol_name

if TYPE_CHECKING:
    from graphc import ops as _ops
    from graphc.graph.op import Op
else:
    _ops = None


def bind_operators(ops: Any) -> None:
    """Take the module whose functions implement the operators of `Node`; called once by `graphc.ops`."""
    global _ops
    _ops = ops


serials = itertools.count()
"""Every node takes the next number: what a traced function built is what is younger than the call."""

_VALUES = (int, float, complex, np.ndarray, np.generic)

Guard = tuple[Size, Size, str, Source]
"""Two sizes that a call must find equal, what needs them equal, and where."""


class Node:
    """One value of a program; made by ops, never directly.

    Attributes: `op`, `inputs` (operands in order), `type`, `source` (the user's file, line, the
    function that it calls, and the path), `guards`.
    `==` is identity (use `gc.equal`), and a node has no truth value.
    """

    __slots__ = ("__weakref__", "guards", "inputs", "op", "serial", "source", "type")

    def __init__(
        self, op: Op, inputs: tuple[Node, ...], type_: TensorType, source: Source, guards: tuple[Guard, ...] = ()
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.type = type_
        self.source = source
        self.guards = guards
        self.serial = next(serials)

    # -- what is known before a call

    @property
    def shape(self) -> Shape:
        """The shape: ints and `Dim`s."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """The NumPy dtype."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.type.shape)

    @property
    def size(self) -> Size:
        """The number of elements."""
        return product(self.type.shape)

    @property
    def name(self) -> str:
        """The name of a placeholder, a shared node, or one that `named` has given; empty for other nodes."""
        path = self.source[3]
        return getattr(self.op, "label", "") or ("" if path.startswith(ADJOINT) else path.rpartition(".")[2])

    @property
    def path(self) -> str:
        """The scopes and modules in which this value was made, and its name, joined by dots.

        `∇` before it says that the value belongs to the derivative of what is called so.
        """
        return path_text(self.source)

    def named(self, name: str) -> Node:
        """Give this value a name, which texts, pictures, profiles and errors show, and return the node itself.

        Raises `ArgumentError` for placeholders, whose names calls use.

        >>> import graphc as gc
        >>> x = gc.placeholder("x", shape=(3,))
        >>> gc.exp(x).named("rate")
        rate: f64[3] = exp(x)
        """
        from graphc.graph.scopes import valid_name

        if getattr(self.op, "label", ""):
            raise ArgumentError(f"named: {self.name} has a name already{at()}")
        scope = "".join(self.source[3].removeprefix(ADJOINT).rpartition(".")[:2])
        self.source = (*self.source[:3], scope + valid_name("named", name, dots=False))
        return self

    def __repr__(self) -> str:
        operands = ", ".join(x.name or str(x.type) for x in self.inputs)
        label = f"{self.name}: " if self.name else ""
        return printable(f"{label}{self.type} = {self.op}" + (f"({operands})" if operands else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        from graphc.call.pickling import pack_node

        return pack_node(self)

    def _repr_html_(self) -> str:
        from graphc.inspect.svg import node_to_svg

        return node_to_svg(self)

    # -- what a node refuses

    def __eq__(self, other: object) -> Any:
        """Identity, as a truth value only: see `graphc.graph.identity`. Numbers and arrays are refused at once."""
        if self is other:
            return SAME
        if isinstance(other, _VALUES):
            raise ArgumentError(f"== and != of nodes are identity; use gc.equal(x, value) to compare values{at()}")
        return OTHER

    def __ne__(self, other: object) -> Any:
        if self is other:
            return NOT_SAME
        if isinstance(other, _VALUES):
            raise ArgumentError(f"== and != of nodes are identity; use gc.not_equal(x, value) to compare values{at()}")
        return NOT_OTHER

    __hash__ = object.__hash__

    def __bool__(self) -> NoReturn:
        raise ArgumentError(
            f"a node has no truth value before a call: {self!r}; use gc.where or gc.cond to choose,"
            f" gc.equal to compare{at()}"
        )

    def __float__(self) -> NoReturn:
        raise ArgumentError(f"a node has no number before a call: {self!r}; use node.eval(...){at()}")

    __int__ = __float__
    __index__ = __float__
    __complex__ = __float__

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise ArgumentError(
            f"a node has no array before a call: {self!r}; use node.eval(...), or gc.stack([...]) to join nodes{at()}"
        )

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError(f"len() of a 0-d node: {self!r}{at()}")
        length = self.shape[0]
        if not isinstance(length, int):
            raise ShapeError(f"len() of symbolic dimension {length}: {self!r}; use node.shape[0]{at()}")
        return length

    def __iter__(self) -> Iterator[Node]:
        if not self.shape:
            raise ShapeError(f"iteration over a 0-d node: {self!r}{at()}")
        length = self.shape[0]
        if not isinstance(length, int):
            raise ShapeError(f"iteration over symbolic dimension {length}: {self!r}; use gc.scan or gc.map{at()}")
        return (self[i] for i in range(length))

    def __contains__(self, item: object) -> NoReturn:
        raise ArgumentError(f"`in` needs values before a call: {self!r}; use gc.any(gc.equal(x, item)){at()}")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise ArgumentError(f"nodes are immutable: use x = x.at[index].set(value){at()}")

    # -- operators

    def __add__(self, other: Any) -> Node:
        return _ops.add(self, other)

    def __radd__(self, other: Any) -> Node:
        return _ops.add(other, self)

    def __sub__(self, other: Any) -> Node:
        return _ops.subtract(self, other)

    def __rsub__(self, other: Any) -> Node:
        return _ops.subtract(other, self)

    def __mul__(self, other: Any) -> Node:
        return _ops.multiply(self, other)

    def __rmul__(self, other: Any) -> Node:
        return _ops.multiply(other, self)

    def __truediv__(self, other: Any) -> Node:
        return _ops.divide(self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return _ops.divide(other, self)

    def __floordiv__(self, other: Any) -> Node:
        return _ops.floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Node:
        return _ops.floor_divide(other, self)

    def __mod__(self, other: Any) -> Node:
        return _ops.remainder(self, other)

    def __rmod__(self, other: Any) -> Node:
        return _ops.remainder(other, self)

    def __pow__(self, other: Any) -> Node:
        return _ops.pow(self, other)

    def __rpow__(self, other: Any) -> Node:
        return _ops.pow(other, self)

    def __matmul__(self, other: Any) -> Node:
        return _ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Node:
        return _ops.matmul(other, self)

    def __and__(self, other: Any) -> Node:
        return _ops.bitwise_and(self, other)

    def __rand__(self, other: Any) -> Node:
        return _ops.bitwise_and(other, self)

    def __or__(self, other: Any) -> Node:
        return _ops.bitwise_or(self, other)

    def __ror__(self, other: Any) -> Node:
        return _ops.bitwise_or(other, self)

    def __xor__(self, other: Any) -> Node:
        return _ops.bitwise_xor(self, other)

    def __rxor__(self, other: Any) -> Node:
        return _ops.bitwise_xor(other, self)

    def __lshift__(self, other: Any) -> Node:
        return _ops.bitwise_left_shift(self, other)

    def __rlshift__(self, other: Any) -> Node:
        return _ops.bitwise_left_shift(other, self)

    def __rshift__(self, other: Any) -> Node:
        return _ops.bitwise_right_shift(self, other)

    def __rrshift__(self, other: Any) -> Node:
        return _ops.bitwise_right_shift(other, self)

    def __lt__(self, other: Any) -> Node:
        return _ops.less(self, other)

    def __le__(self, other: Any) -> Node:
        return _ops.less_equal(self, other)

    def __gt__(self, other: Any) -> Node:
        return _ops.greater(self, other)

    def __ge__(self, other: Any) -> Node:
        return _ops.greater_equal(self, other)

    def __neg__(self) -> Node:
        return _ops.negative(self)

    def __pos__(self) -> Node:
        return self

    def __abs__(self) -> Node:
        return _ops.abs(self)

    def __invert__(self) -> Node:
        return _ops.bitwise_invert(self)

    def __getitem__(self, key: Any) -> Node:
        return _ops.getitem(self, key)

    @property
    def at(self) -> Any:
        """Functional updates: `x.at[i].set(v)` and `x.at[i].add(v)` return a new node."""
        return _ops.IndexUpdater(self)

    # -- methods, as NumPy arrays have them

    def sum(self, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Node:
        return _ops.sum(self, axis, dtype=dtype, keepdims=keepdims)

    def prod(self, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Node:
        return _ops.prod(self, axis, dtype=dtype, keepdims=keepdims)

    def mean(self, axis: Any = None, *, keepdims: bool = False) -> Node:
        return _ops.mean(self, axis, keepdims=keepdims)

    def var(self, axis: Any = None, *, correction: float = 0, keepdims: bool = False) -> Node:
        return _ops.var(self, axis, correction=correction, keepdims=keepdims)

    def std(self, axis: Any = None, *, correction: float = 0, keepdims: bool = False) -> Node:
        return _ops.std(self, axis, correction=correction, keepdims=keepdims)

    def max(self, axis: Any = None, *, keepdims: bool = False) -> Node:
        return _ops.max(self, axis, keepdims=keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> Node:
        return _ops.min(self, axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Node:
        return _ops.argmax(self, axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Node:
        return _ops.argmin(self, axis, keepdims=keepdims)

    def any(self, axis: Any = None, *, keepdims: bool = False) -> Node:
        return _ops.any(self, axis, keepdims=keepdims)

    def all(self, axis: Any = None, *, keepdims: bool = False) -> Node:
        return _ops.all(self, axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Node:
        return _ops.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Node:
        """Permute the axes (reverse them where none are given)."""
        if not axes:
            return _ops.permute_dims(self, tuple(reversed(range(self.ndim))))
        return _ops.permute_dims(self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)

    def squeeze(self, axis: Any = None) -> Node:
        axes = tuple(i for i, s in enumerate(self.shape) if s == 1) if axis is None else axis
        return _ops.squeeze(self, axes)

    def flatten(self) -> Node:
        return _ops.reshape(self, (-1,))

    ravel = flatten

    def astype(self, dtype: Any) -> Node:
        return _ops.astype(self, dtype)

    def clip(self, min: Any = None, max: Any = None) -> Node:
        return _ops.clip(self, min, max)

    def dot(self, other: Any) -> Node:
        """Matrix product, as `@`."""
        return _ops.matmul(self, other)

    @property
    def T(self) -> Node:
        """The transpose of a 2-d node (the Array API's `T`)."""
        if self.ndim != 2:
            raise ShapeError(f".T needs two axes, {self.type} has {self.ndim}; use .mT or permute_dims{at()}")
        return _ops.matrix_transpose(self)

    @property
    def mT(self) -> Node:
        """The last two axes swapped."""
        return _ops.matrix_transpose(self)

    def eval(self, bindings: Mapping[Node, Any] | Mapping[str, Any] | None = None) -> Array:
        """Compute this node with the reference interpreter; `bindings` maps placeholders, or names, to arrays."""
        from graphc.graph.evaluate import evaluate

        result: Array = evaluate(self, {} if bindings is None else bindings)
        return result

    # -- NumPy's functions accept nodes

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Node:
        return _ops.numpy_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return _ops.numpy_function(func, args, kwargs)


class WeakNumber(Node):
    """A 0-d number computed from dimensions and Python numbers: like these, it takes the dtype of what it meets."""

    __slots__ = ()


class Shared(Node):
    """A node whose value persists between calls; made by `gc.shared`, changed by `updates` and `set_value`."""

    __slots__ = ()

    @property
    def state(self) -> State:
        """The storage behind this node, which stays the same object."""
        state: State = self.op.state  # type: ignore[attr-defined]
        return state

    def get_value(self) -> Array:
        """Return a copy of the current value, between calls that change it."""
        if self.state.in_use_here():
            return self.state.array.copy()
        with self.state.held():
            return self.state.array.copy()

    def set_value(self, value: Any) -> None:
        """Replace the value by one of the same shape, of numbers that its dtype holds without loss.

        Dimensions that `gc.shared(..., shape=)` has named may have another size: compiled functions are bound to it at
        their next call, and nothing is compiled again.

        Raises `ShapeError` or `DTypeError`; the old value then stays.
        """
        mine = self.state.array
        array = fitted(f"set_value of {self.name}", value, mine.dtype, str(self.type))
        if not self.takes(array.shape):
            raise ShapeError(f"set_value of {self.name}: shape {array.shape} given, {self.type} needed{at()}")
        self.state.refuse_nested_use()
        with self.state.held():
            self.state.put(array)

    def named(self, name: str) -> Shared:
        """Give this state another name, and return the node itself."""
        from graphc.graph.scopes import valid_name

        self.state.name = valid_name("named", name)
        return self

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Tell whether values of a shape fit: equal names have equal sizes."""
        if len(shape) != self.ndim:
            return False
        sizes = {str(symbol_name(size)): n for size, n in zip(self.shape, shape, strict=True)}
        return all(size_value(size, sizes) == n for size, n in zip(self.shape, shape, strict=True))
