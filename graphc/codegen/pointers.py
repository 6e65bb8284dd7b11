"""Typed pointers for kernels, as a Numba type: `p = f64p(address)`, `p[i]`, `p[i] = v`.

An element is addressed from the base pointer (LLVM 22 miscompiles integer pointer arithmetic), signed, with
natural alignment; a bool is one byte. Alias information replaces LLVM's run-time overlap checks: `f64p(address, k)`
is the k-th written buffer, which no other written buffer and no read-only input overlaps; `f64p(address)` is
read-only. A buffer updated in place is read through the pointer it is written through. A kernel that holds several
nests numbers them: `f64p(address, k, group)` says nothing about pointers of other groups, k = 0 is read-only there;
`f64p(address, 0)` says nothing at all.
"""

from __future__ import annotations

import operator
from typing import Any
from weakref import WeakKeyDictionary

import llvmlite.ir as ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

from graphc.codegen.vecmath import POINTER_KINDS, WRITTEN_BUFFERS

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
_BYTES = {kind: 1 if kind == "bool" else int(kind[1:]) // 8 for kind in NUMBA_TYPES}


class PointerType(types.Type):
    """A pointer to elements of one dtype; `scope` is 0 for a read-only buffer, k for the k-th written one.

    `group` is the nest's number in a kernel of several, or None for a pointer without alias information.
    """

    def __init__(self, kind: str, scope: int, group: int | None) -> None:
        self.kind, self.scope, self.group = kind, scope, group
        self.element = NUMBA_TYPES[kind]
        super().__init__(name=f"pointer({kind}, {scope}, {group})")


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
    pointer, (base, index) = sig.args[0], args
    loaded = builder.load(builder.gep(base, [index]), align=_BYTES[pointer.kind])
    _mark(builder.module, loaded, pointer)
    return builder.icmp_unsigned("!=", loaded, loaded.type(0)) if pointer.kind == "bool" else loaded


def _lower_setitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    pointer, (base, index, value) = sig.args[0], args
    if pointer.kind == "bool":
        value = builder.zext(value, ir.IntType(8))
    stored = builder.store(value, builder.gep(base, [index]), align=_BYTES[pointer.kind])
    _mark(builder.module, stored, pointer)
    return context.get_dummy_value()


lower_builtin(operator.getitem, PointerType, types.Integer)(_lower_getitem)
lower_builtin(operator.setitem, PointerType, types.Integer, types.Any)(_lower_setitem)


def _memory_type(kind: str) -> Any:
    if kind[0] == "f":
        return ir.DoubleType() if kind == "f64" else ir.FloatType()
    return ir.IntType(8 * _BYTES[kind])


def _mark(module: Any, access: Any, pointer: Any) -> None:
    """Attach alias metadata: this access is in its scope, and touches no other of its group."""
    if pointer.group is not None:
        inside, others = _alias_lists(module, pointer.group, pointer.scope)
        access.set_metadata("alias.scope", inside)
        access.set_metadata("noalias", others)


_alias_cache: WeakKeyDictionary[Any, dict[tuple[int, int], tuple[Any, Any]]] = WeakKeyDictionary()


def _alias_lists(module: Any, group: int, scope: int) -> tuple[Any, Any]:
    """Return the metadata of one scope and of all others of its group, made once per module."""
    made = _alias_cache.setdefault(module, {})
    if (group, scope) not in made:
        domain = module.add_metadata([f"graphc {group}"])
        scopes = [module.add_metadata([f"buffer {k} of {group}", domain]) for k in range(WRITTEN_BUFFERS + 1)]
        others = [s for k, s in enumerate(scopes) if k != scope]
        made[group, scope] = module.add_metadata([scopes[scope]]), module.add_metadata(others)
    return made[group, scope]


def _make_constructor(kind: str) -> Any:
    def constructor(typingctx: Any, address: Any, scope: Any = None, group: Any = None) -> Any:
        given = [x for x in (scope, group) if x is not None]
        pointer = PointerType(kind, *_literal_scope(*given))
        omitted = [types.Omitted(None)] * (2 - len(given))
        sig = pointer(types.int64, *given, *omitted)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], _memory_type(kind).as_pointer())

        return sig, codegen

    constructor.__name__ = constructor.__qualname__ = f"{kind}p"
    return intrinsic(prefer_literal=True)(constructor)


def _literal_scope(scope: Any = None, group: Any = None) -> tuple[int, int | None]:
    """Return the scope and the group that a constructor's literals mean."""
    if scope is None:
        return 0, 0
    numbers = [x.literal_value if isinstance(x, types.IntegerLiteral) else -1 for x in (scope, group) if x is not None]
    if not 0 <= numbers[0] <= WRITTEN_BUFFERS or numbers[-1] < 0:
        raise TypingError(f"a written buffer is a literal in 0..{WRITTEN_BUFFERS}, a group a literal, got {numbers}")
    if group is None:
        return numbers[0], 0 if numbers[0] else None
    return numbers[0], numbers[1]


def _prefetch(typingctx: Any, pointer: Any, index: Any) -> Any:
    if not isinstance(pointer, PointerType):
        raise TypingError(f"prefetch takes a pointer and an index, got {pointer}")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number, place = ir.IntType(32), ir.IntType(8).as_pointer()
        name, kind = "llvm.prefetch.p0", ir.FunctionType(ir.VoidType(), [place, number, number, number])
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        # An address outside of memory does no harm to a prefetch, but "inbounds" would.
        line = builder.bitcast(builder.gep(args[0], [args[1]]), place)
        builder.call(function, [line, number(0), number(3), number(1)])  # to read; keep in all caches; data
        return context.get_dummy_value()

    return types.none(pointer, types.int64), codegen


prefetch: Any = intrinsic(_prefetch)
CONSTRUCTORS: dict[str, Any] = {f"{kind}p": _make_constructor(kind) for kind in POINTER_KINDS}
