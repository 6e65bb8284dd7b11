"""Typed pointers for functions that Numba compiles: `p = f64p(address)`, `p[i]`, `p[i] = v`; and `call_i64`.

Callers of programs from inside `@njit` code and C callbacks (`native`) reach the program's memory through them. They
are the pointers of kernels' text without alias information.
"""

from __future__ import annotations

import operator
from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

NUMBA_TYPES: dict[str, Any] = {
    "bool": types.boolean,
    "i8": types.int8,
    "i16": types.int16,
    "i32": types.int32,
    "i64": types.int64,
    "u8": types.uint8,
    "u16": types.uint16,
    "u32": types.uint32,
    "u64": types.uint64,
    "f32": types.float32,
    "f64": types.float64,
}


class PointerType(types.Type):
    """A pointer to elements of one dtype."""

    def __init__(self, kind: str) -> None:
        self.kind, self.element = kind, NUMBA_TYPES[kind]
        super().__init__(name=f"graphc pointer({kind})")


def _memory_type(kind: str) -> Any:
    if kind[0] == "f":
        return ir.DoubleType() if kind == "f64" else ir.FloatType()
    return ir.IntType(8 if kind == "bool" else int(kind[1:]))


@register_model(PointerType)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: PointerType) -> None:
        super().__init__(dmm, fe_type, _memory_type(fe_type.kind).as_pointer())  # type: ignore[no-untyped-call]


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index = args
        if isinstance(pointer, PointerType) and isinstance(index, types.Integer):
            return signature(pointer.element, pointer, types.int64)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index, _ = args
        if isinstance(pointer, PointerType) and isinstance(index, types.Integer):
            return signature(types.none, pointer, types.int64, pointer.element)
        return None


def _lower_getitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    loaded = builder.load(builder.gep(args[0], [args[1]]))
    return builder.icmp_unsigned("!=", loaded, loaded.type(0)) if sig.args[0].kind == "bool" else loaded


def _lower_setitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    base, index, value = args
    if sig.args[0].kind == "bool":
        value = builder.zext(value, ir.IntType(8))
    builder.store(value, builder.gep(base, [index]))
    return context.get_dummy_value()


lower_builtin(operator.getitem, PointerType, types.Integer)(_lower_getitem)
lower_builtin(operator.setitem, PointerType, types.Integer, types.Any)(_lower_setitem)


def _make_constructor(kind: str) -> Any:
    pointer = PointerType(kind)

    def constructor(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], _memory_type(kind).as_pointer())

        return pointer(types.int64), codegen

    constructor.__name__ = constructor.__qualname__ = f"{kind}p"
    return intrinsic(constructor)


CONSTRUCTORS: dict[str, Any] = {f"{kind}p": _make_constructor(kind) for kind in NUMBA_TYPES}


@intrinsic
def call_i64(typingctx: Any, address: Any, *arguments: Any) -> Any:
    """Call a C function of int64s at an address."""
    count, word = len(arguments), ir.IntType(64)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function = builder.inttoptr(values[0], ir.FunctionType(word, [word] * count).as_pointer())
        return builder.call(function, [builder.extract_value(values[1], i) for i in range(count)])

    return types.int64(types.int64, types.Tuple([types.int64] * count)), codegen
