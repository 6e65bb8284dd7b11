"""Functions as `scipy.optimize` calls them: of one flat float64 vector, with their derivatives.

`Function.to_scipy` chooses the variables; `ScipyFunction` packs them into one vector and has `fun`, `jac`, `hess` and
`hessp` for `minimize`, `root` and `least_squares`. Each is compiled when it is first called. SciPy itself is not
imported here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.autodiff.grad import grad
from graphc.autodiff.jacobians import hessian, hvp, jacobian
from graphc.graph.arrays import literal
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.graph import Graph
from graphc.graph.lazy import lazy_property
from graphc.graph.node import Node, Shared
from graphc.graph.op import Placeholder, placeholder
from graphc.graph.tree import flatten, leaves_like, unflatten
from graphc.graph.types import FLOAT64, Array, is_float, product, size_value, symbols
from graphc.ops.shape import join, reshape_to

if TYPE_CHECKING:
    from graphc.call.function import Function

__all__ = ["ScipyFunction"]


class ScipyFunction:
    """A function of one flat vector; made by `Function.to_scipy`.

    `fun(x, *args)` returns a float where the output is 0-d, a vector elsewhere; `args` are the other inputs, in order.
    `jac` returns the gradient or the matrix of derivatives, `fun_and_jac` both (for `minimize(..., jac=True)`); a 0-d
    output has also `hess` and `hessp(x, p, *args)`. `x0` is the packed start; `pack`, `unpack` and `assign` go between
    vectors and arrays.
    """

    def __init__(self, f: Function, wrt: Any, x0: Any = None) -> None:
        self._f = f
        self._tree = wrt
        self._chosen = [_variable(f, leaf) for leaf in flatten(wrt)]
        self._output = _only_output(f)
        self._start = None if x0 is None else _starts(self._chosen, _leaves(x0, wrt))
        others = [x for x in f.graph.inputs if x not in self._chosen]
        self._variables = [_stand_in(v, i) for i, v in enumerate(self._chosen)]
        names = {v: s for v, s in zip(self._chosen, self._variables, strict=True) if v is not s}
        outputs = Graph([self._output], f.graph.inputs).replace(names)[0].outputs
        self._value = outputs[0]
        self._inputs = [*self._variables, *others]

    # -- what SciPy calls

    def fun(self, x: Any, *args: Any) -> Any:
        """Return the value: a float, or a vector of all elements."""
        return self._result(self._call(self._fun, x, args))

    def jac(self, x: Any, *args: Any) -> Array:
        """Return the derivatives: shape (n,), or (m, n) for m elements of the value."""
        return _double(self._call(self._jac, x, args))

    def fun_and_jac(self, x: Any, *args: Any) -> tuple[Any, Array]:
        """Return `fun` and `jac` from one call."""
        value, slope = self._call(self._both, x, args)
        return self._result(value), _double(slope)

    def hess(self, x: Any, *args: Any) -> Array:
        """Return the matrix of second derivatives of a 0-d value."""
        return _double(self._call(self._hess, x, args))

    def hessp(self, x: Any, p: Any, *args: Any) -> Array:
        """Return the matrix of second derivatives times the vector `p`, without making it."""
        return _double(self._call(self._hessp, x, (*self._split(p), *args)))

    # -- vectors and arrays

    @property
    def x0(self) -> Array:
        """The start: `x0` as given to `to_scipy`, or the current values of shared variables."""
        if self._start is not None:
            return self.pack(unflatten(self._tree, self._start))
        if not all(isinstance(v, Shared) for v in self._chosen):
            raise ArgumentError(f"x0 of {self._f.name}: give to_scipy(wrt, x0=...) a start for its inputs{at()}")
        return _flat([v.get_value() for v in self._chosen if isinstance(v, Shared)])

    def pack(self, values: Any) -> Array:
        """Return one vector of arrays in the nesting of `wrt`."""
        leaves = _leaves(values, self._tree)
        for node, value, shape in zip(self._chosen, leaves, self._shapes(None), strict=True):
            if value.shape != shape:
                raise ShapeError(f"pack: shape {value.shape} given for {node.name}, {shape} needed{at()}")
        return _flat(leaves)

    def unpack(self, x: Any) -> Any:
        """Return the arrays of a vector, in the nesting of `wrt` and of its dtypes."""
        return unflatten(self._tree, [part.copy() for part in self._split(x)])

    def assign(self, x: Any) -> None:
        """Set the shared variables to the values in a vector."""
        for node, value in zip(self._chosen, self._split(x), strict=True):
            if not isinstance(node, Shared):
                raise ArgumentError(f"assign: {node.name} is an input, not shared; use unpack{at()}")
            node.set_value(value)

    def _shapes(self, length: int | None) -> list[tuple[int, ...]]:
        """Return the shape of each variable; a single vector of symbolic size has that of the call's vector."""
        if self._start is not None:
            return [a.shape for a in self._start]
        if not any(True for v in self._chosen for _ in symbols(v.shape)):
            return [tuple(size_value(s, {}) for s in v.shape) for v in self._chosen]
        if len(self._chosen) == 1 and self._chosen[0].ndim == 1 and length is not None:
            return [(length,)]
        unknown = next(v for v in self._chosen for _ in symbols(v.shape))
        raise ArgumentError(f"the size of {unknown!r} is unknown; give to_scipy(wrt, x0=...) a start{at()}")

    def _split(self, x: Any) -> list[Array]:
        """Return the parts of a vector as arrays of the variables' shapes and dtypes."""
        vector = np.ascontiguousarray(x, np.float64)
        shapes = self._shapes(vector.size)
        ends = np.cumsum([math.prod(s) for s in shapes])
        if vector.ndim != 1 or vector.size != (ends[-1] if shapes else 0):
            raise ShapeError(f"a vector of {ends[-1] if shapes else 0} numbers is needed, got {vector.shape}{at()}")
        parts = np.split(vector, ends[:-1])
        return [
            part.reshape(shape).astype(v.dtype, copy=False)
            for part, shape, v in zip(parts, shapes, self._chosen, strict=True)
        ]

    # -- programs

    def _call(self, f: Function, x: Any, args: Sequence[Any]) -> Any:
        return f(*self._split(x), *args)

    def _result(self, value: Array) -> Any:
        return float(value) if value.ndim == 0 else _double(value).reshape(-1)

    def _compile(self, make: Callable[[], Any], extra: Sequence[Node] = ()) -> Function:
        from graphc.call.function import function

        count, f = len(self._variables), self._f
        inputs = _named([*self._inputs[:count], *extra, *self._inputs[count:]])
        options: Any = {"mode": f.mode, "precision": f.precision, "threads": f.threads}
        return function(inputs, make(), name=f.name, on_unused="ignore", **options)

    @lazy_property
    def _fun(self) -> Function:
        return self._compile(lambda: self._value)

    @lazy_property
    def _jac(self) -> Function:
        return self._compile(self._slope)

    @lazy_property
    def _both(self) -> Function:
        return self._compile(lambda: [self._value, self._slope()])

    @lazy_property
    def _hess(self) -> Function:
        return self._compile(lambda: _matrix(hessian(self._scalar("hess"), self._variables), self._variables))

    @lazy_property
    def _hessp(self) -> Function:
        along = [placeholder(f"p{i}", v.shape, v.dtype) for i, v in enumerate(self._variables)]
        return self._compile(lambda: _joined(hvp(self._scalar("hessp"), self._variables, along)), along)

    def _scalar(self, what: str) -> Node:
        if self._value.ndim:
            raise ArgumentError(f"{what}: a 0-d output is needed, that of {self._f.name} is {self._value.type}{at()}")
        return self._value

    def _slope(self) -> Node:
        if self._value.ndim == 0:
            return _joined(grad(self._value, self._variables))
        rows = reshape_to(self._value, (self._value.size,))
        blocks = jacobian(rows, self._variables)
        return join([reshape_to(b, (rows.size, v.size)) for b, v in zip(blocks, self._variables, strict=True)], 1)


def _variable(f: Function, leaf: Any) -> Node:
    """Return the input of a name, or a shared node or input that the function reads."""
    found = next((x for x in f.graph.inputs if x.name == leaf), None) if isinstance(leaf, str) else leaf
    known = isinstance(found, Node) and (found in f.graph.inputs or found in f.graph.shared)
    if not isinstance(found, Node) or not known:
        names = ", ".join(x.name for x in (*f.graph.inputs, *f.graph.shared))
        raise ArgumentError(f"to_scipy: {leaf!r} is no input or shared node of {f.name}, which has {names}{at()}")
    if not is_float(found.dtype):
        raise ArgumentError(f"to_scipy: {found!r} is not a float{at()}")
    return found


def _only_output(f: Function) -> Node:
    if f.graph.updates:
        changed = ", ".join(s.name for s in f.graph.updates)
        raise ArgumentError(f"to_scipy: {f.name} updates {changed}, but SciPy calls it as often as it likes{at()}")
    if len(f.graph.outputs) != 1:
        raise ArgumentError(f"to_scipy: one output is needed, {f.name} has {len(f.graph.outputs)}{at()}")
    return f.graph.outputs[0]


def _stand_in(node: Node, number: int) -> Node:
    return node if isinstance(node.op, Placeholder) else placeholder(f"variable{number}", node.shape, node.dtype)


def _leaves(values: Any, tree: Any) -> list[Array]:
    """Return the arrays of a nesting like `tree`, where a single variable may be given as nested numbers."""
    return [literal(leaf, FLOAT64, "x0") for leaf in leaves_like(tree, values, "x0")]


def _starts(variables: Sequence[Node], arrays: list[Array]) -> list[Array]:
    """Return the arrays, which must have the variables' shapes where these are numbers."""
    for v, a in zip(variables, arrays, strict=True):
        if a.ndim != v.ndim or any(isinstance(d, int) and d != n for d, n in zip(v.shape, a.shape, strict=True)):
            raise ShapeError(f"to_scipy: x0 of {v.name} has shape {a.shape}, {v.type} needed{at()}")
    return arrays


def _named(inputs: Sequence[Node]) -> dict[str, Node]:
    """Return inputs by the names that errors call them by, numbered where they are not unique."""
    counts = Counter(x.name for x in inputs)
    return {x.name if x.name and counts[x.name] == 1 else f"input{i}": x for i, x in enumerate(inputs)}


def _flat(arrays: Sequence[Array]) -> Array:
    return np.concatenate([np.asarray(a, np.float64).reshape(-1) for a in arrays]) if arrays else np.zeros(0)


def _double(array: Array) -> Array:
    return np.asarray(array, np.float64)


def _joined(nodes: Sequence[Node]) -> Node:
    return join([reshape_to(n, (product(n.shape),)) for n in nodes], 0)


def _matrix(blocks: Sequence[Sequence[Node]], variables: Sequence[Node]) -> Node:
    """Return a matrix of blocks, each of the shapes of two variables."""
    rows = [
        join([reshape_to(b, (v.size, w.size)) for b, w in zip(row, variables, strict=True)], 1)
        for row, v in zip(blocks, variables, strict=True)
    ]
    return join(rows, 0)
