"""Functions for code without Python: `Function.njit` inside Numba-compiled loops, `Function.cfunc` as a C callback.

Sizes are fixed when either is made. A function that updates state has neither: writes to state are ordered by the
GIL, which this code does not hold. State that is only read is read in place, so that later updates are seen; a call
that runs while another thread writes that state may see part of both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graphc.graph.arguments import shown
from graphc.graph.binding import check_guards
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.tree import flatten
from graphc.graph.types import DType, Size, size_value, symbols

if TYPE_CHECKING:
    from graphc.call.function import Function
    from graphc.interop.native_code import Native

Item = tuple[DType, tuple[int, ...]]

SIGNATURES = (
    "double(double)",
    "double(double, void*)",
    "double(int, double*)",
    "double(int, double*, void*)",
    "int(double*, npy_intp, double*, void*)",
    "int(double*, npy_intp, double*, npy_intp, void*)",
)
_INTP = re.compile(r"\b(npy_intp|intptr_t|ssize_t|Py_ssize_t|long long|long)\b")


def make_njit(f: Function, sizes: Mapping[str, int] | None, threads: int) -> Any:
    """Return `Function.njit`'s dispatcher."""
    from graphc.interop import native_code as native

    made = _native(f, sizes, threads)
    outputs = f._outputs
    if not f._signature.flat:
        raise ArgumentError(f"njit: inputs of {f.name} are nested; arrays are needed{at()}")
    if not isinstance(outputs, Node) and not (
        isinstance(outputs, (list, tuple)) and outputs and all(isinstance(o, Node) for o in outputs)
    ):
        raise ArgumentError(f"njit: outputs of {f.name} must be one node, or a list or tuple of nodes{at()}")
    return native.make_njit(made, f._signature.names, f.name, isinstance(outputs, Node))


def make_cfunc(f: Function, signature: str, sizes: Mapping[str, int] | None, threads: int) -> Any:
    """Return `Function.cfunc`'s ctypes function."""
    from graphc.interop import native_code as native

    returns, parameters = _parse(signature)
    made = _native(f, sizes, threads)
    _check_callback(f, signature, returns, parameters, made)
    return native.make_cfunc(made, native.Callback(returns, parameters))


def _native(f: Function, sizes: Mapping[str, int] | None, threads: int) -> Native:
    """Bind the program of a function to sizes."""
    from graphc.interop.native_code import make_native

    if f.mode != "compiled":
        raise ArgumentError(f'{f.name} has mode="{f.mode}"; native code needs mode="compiled"{at()}')
    if f.graph.updates:
        changed = ", ".join(s.name for s in f.graph.updates)
        raise ArgumentError(f"{f.name} updates {changed}; native code can only read state{at()}")
    if f.graph.resizable:
        named = ", ".join(s.name for s in f.graph.resizable)
        raise ArgumentError(f"{f.name} reads {named}, whose size may change; native code needs sizes that stay{at()}")
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= 1024:
        raise ArgumentError(f"threads must be an int from 1 to 1024, got {threads!r}{at()}")
    if sizes is not None and not isinstance(sizes, Mapping):
        raise ArgumentError(f"njit: sizes must be a dict of ints by dimension, got {shown(sizes)}{at()}")
    known = _sizes(f, sizes or {})
    program = f._built.program
    arguments = [_item(x, known) for x in f.graph.inputs]
    return make_native(program, arguments, known, [_item(o, known) for o in f.graph.outputs], threads)


def _sizes(f: Function, given: Mapping[str, int]) -> dict[str, int]:
    """Check the sizes of the dimensions by name."""
    needed = list(dict.fromkeys(s for x in f.graph.inputs for s in symbols(x.shape)))
    anonymous = [x for x in f.graph.inputs if any(s.startswith("?") for s in symbols(x.shape))]
    if anonymous:
        raise ArgumentError(f"{anonymous[0]!r} has a dimension without a name; name it to give it a size{at()}")
    missing, unknown = [n for n in needed if n not in given], [n for n in given if n not in needed]
    if missing or unknown:
        wrong = f"size of {missing[0]} is missing" if missing else f"{unknown[0]} is no dimension"
        raise ArgumentError(f"{wrong}; {f.name} needs sizes of {', '.join(needed) or 'none'}{at()}")
    for name, size in given.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ArgumentError(f"size of {name} must be an int of at least 0, got {size!r}{at()}")
    check_guards(f.graph.guards, f.graph.inputs, given)
    return dict(given)


def _item(node: Node, sizes: Mapping[str, int]) -> Item:
    return node.dtype, tuple(_positive(s, sizes, node) for s in node.shape)


def _positive(size: Size, sizes: Mapping[str, int], node: Node) -> int:
    found = size_value(size, sizes)
    if found < 0:
        raise ShapeError(f"{node!r}: dimension {size} would be {found}{at()}")
    return found


def _parse(signature: str) -> tuple[str, tuple[str, ...]]:
    """Return the return type and the parameters of a C signature; names of parameters are allowed."""
    plain = _INTP.sub("intp", signature.replace("const ", "")) if isinstance(signature, str) else ""
    match = re.fullmatch(r"\s*(double|int)\b\s*\w*\s*\((.*)\)\s*", plain)
    texts = match[2].split(",") if match else []
    parts = [re.fullmatch(r"\s*(double|intp|int|void)\b\s*(\*?)\s*\w*\s*", text) for text in texts]
    kinds = tuple(p[1] + p[2] for p in parts if p is not None)
    known = _without_data(kinds)
    if not match or len(kinds) < len(parts) or not _is_known(match[1], known):
        raise ArgumentError(f"cfunc: signature {signature!r} is not supported; accepted: {'; '.join(SIGNATURES)}{at()}")
    return match[1], kinds


def _without_data(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return kinds[:-1] if kinds[-1:] == ("void*",) else kinds


def _is_known(returns: str, kinds: tuple[str, ...]) -> bool:
    if returns == "double":
        return kinds == ("int", "double*") or (bool(kinds) and set(kinds) == {"double"})
    return kinds in (("double*", "intp", "double*"), ("double*", "intp", "double*", "intp"))


def _check_callback(f: Function, signature: str, returns: str, kinds: tuple[str, ...], made: Native) -> None:
    """Raise where the inputs and outputs of a function are not what a C signature gives and takes."""
    inputs, results = made.arguments, made.results
    plain = _without_data(kinds)
    if len(flatten(f._outputs)) != 1:
        raise ArgumentError(f"cfunc: one output is needed, {f.name} has {len(results)}{at()}")
    scalars = all(not shape for _, shape in inputs)
    vector = len(inputs) == 1 and len(inputs[0][1]) == 1 and inputs[0][0].name == "float64"
    out_dtype, out_shape = results[0]
    if returns == "double":
        counted = plain[0] == "int"
        fits = not out_shape and ((scalars and (counted or len(inputs) == len(plain))) or (counted and vector))
    else:
        whole = plain[-1] == "intp"
        fits = vector and len(out_shape) == (1 if whole else 0) and (not whole or out_dtype.name == "float64")
    if not fits:
        shown = ", ".join(str(x.type) for x in f.graph.inputs)
        raise ArgumentError(
            f"cfunc: {f.name} of ({shown}) giving {f.graph.outputs[0].type} does not fit {signature!r}: doubles are"
            f" 0-d inputs, a double* with its length is a 1-d float64 input{at()}"
        )
