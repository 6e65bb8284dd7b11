"""Programs as functions that Numba-compiled code and C libraries call, without Python.

A program with its memory serves one call at a time, so there are several copies of the memory, each with a lock word:
a call takes a free one, and waits where all are in use. Arguments and results go through the copy's `bases`, as in
the entry of `tape`; those without axes live in words of the copy itself. Nothing here touches the GIL, so Ctrl-C does
not end a long loop.

The addresses are literals of the compiled code, which may outlive every reference to what it was made from: what they
point to is kept for the life of the process.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.ir as ir
import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from graphc.codegen.jit.kernels import kernel_address
from graphc.codegen.jit.numba_pointers import CONSTRUCTORS, NUMBA_TYPES, call_i64
from graphc.codegen.nest.nest import PythonSlot
from graphc.codegen.nest.options import CONTROL
from graphc.codegen.run.frames import Memory
from graphc.codegen.run.program import Program
from graphc.codegen.run.tape import DRIVER, Descriptor, Words
from graphc.graph.forks import FORK_LOCK
from graphc.graph.types import Array, DType, Sizes, short_name

LOCK, TAPE, COUNT, PATCHES, PATCH_TABLE, BASES, VALUES, STRIDE = range(8)
"""Positions in the words of one copy."""

Item = tuple[DType, tuple[int, ...]]
"""The dtype and shape of an argument or result."""

_kept: list[Native] = []


@dataclass(frozen=True)
class Native:
    """A program at fixed sizes with copies of its memory; `table` has `STRIDE` words a copy."""

    arguments: tuple[Item, ...]
    results: tuple[Item, ...]
    table: Words
    keep: tuple[Any, ...]

    @property
    def copies(self) -> int:
        """How many calls can run at once."""
        return len(self.table) // STRIDE


def make_native(program: Program, arguments: Sequence[Item], sizes: Sizes, results: Sequence[Item], n: int) -> Native:
    """Give a program `n` copies of its memory at one set of sizes."""
    shown: list[Array] = [np.broadcast_to(np.zeros((), dtype), shape) for dtype, shape in arguments]
    table, keep = np.zeros(n * STRIDE, np.int64), []
    for k in range(n):
        descriptor = program.bind(shown, sizes, 0, threads=1).descriptor
        _ignore_signals(descriptor)
        keep.append(_fill(table[k * STRIDE : (k + 1) * STRIDE], descriptor, len(arguments) + len(results)))
    made = Native(tuple(arguments), tuple(results), table, tuple(keep))
    _kept.append(made)
    return made


def _ignore_signals(descriptor: Descriptor) -> None:
    """Clear the slots through which loops look for signals, which needs the GIL."""
    for memory in (m for m in descriptor.keep if isinstance(m, Memory)):
        for section, starts in memory.starts.items():
            for nest, start in zip(memory.nests[section], starts, strict=True):
                for position, slot in enumerate(nest.slots, start):
                    if isinstance(slot, PythonSlot):
                        memory.frames[position] = 0


def _fill(words: Words, descriptor: Descriptor, bases: int) -> tuple[Any, ...]:
    """Write the words of one copy; its values without axes have a word each, at which their bases point for good."""
    patches = np.array([w for p in descriptor.patches for w in p] + [0], np.int64)
    values = np.zeros(bases + 1, np.int64)
    pointers = values.ctypes.data + 8 * np.arange(bases + 1)
    words[TAPE], words[COUNT] = descriptor.tape.ctypes.data, len(descriptor.tape) // 4
    words[PATCHES], words[PATCH_TABLE] = len(descriptor.patches), patches.ctypes.data
    words[BASES], words[VALUES] = pointers.ctypes.data, values.ctypes.data
    return descriptor, patches, values, pointers


def _release_all() -> None:
    """In a forked child the threads that held copies do not exist."""
    for native in _kept:
        native.table[LOCK::STRIDE] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_all)


# -- the vocabulary of the generated callers


@intrinsic
def try_lock(typingctx: Any, address: Any) -> Any:
    """Set the word at an address from 0 to 1, and tell whether it was 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        pointer = builder.inttoptr(args[0], word.as_pointer())
        found = builder.cmpxchg(pointer, word(0), word(1), "acq_rel", "monotonic")
        return builder.extract_value(found, 1)

    return types.boolean(types.int64), codegen


@intrinsic
def unlock(typingctx: Any, address: Any) -> Any:
    """Set the word at an address to 0, after everything before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        builder.store_atomic(word(0), builder.inttoptr(args[0], word.as_pointer()), ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic(prefer_literal=True)
def address_here(typingctx: Any, address: Any) -> Any:
    """Return an address of this process; code that holds one is kept out of Numba's disk cache."""
    literal = address.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = context.add_dynamic_addr(builder, literal, info="graphc")
        return builder.ptrtoint(pointer, ir.IntType(64))

    return types.int64(address), codegen


RUN = """\
def acquire(table, copies):
    tries = 0
    while True:
        for k in range(copies):
            copy = table + 64 * k
            if try_lock(copy):
                return copy
        tries = tries + 1
        if tries > 100 and YIELD != 0:
            call_i64(YIELD)

def run(copy):
    words = i64p(copy)
    bases = i64p(words[5])
    patches = i64p(words[4])
    for i in range(words[3]):
        slot = i64p(patches[3 * i])
        slot[0] = bases[patches[3 * i + 1]] + patches[3 * i + 2]
    return call_i64(DRIVER, words[1], 0, words[2])
"""


def _yield_address() -> int:
    """Return the address of the C function that lets another thread run, 0 where there is none."""
    try:
        found = ctypes.CDLL(None).sched_yield
    except (AttributeError, OSError, TypeError):
        return 0
    return ctypes.cast(found, ctypes.c_void_p).value or 0


@cache
def vocabulary() -> dict[str, Any]:
    """Return the globals of generated callers."""
    space: dict[str, Any] = {
        **CONSTRUCTORS,
        "call_i64": call_i64,
        "try_lock": try_lock,
        "unlock": unlock,
        "address_here": address_here,
    }
    space |= {"np": np, "carray": carray, "DRIVER": kernel_address(DRIVER, CONTROL), "YIELD": _yield_address()}
    exec(compile(RUN, "<graphc native>", "exec"), space)
    for name in ("acquire", "run"):
        space[name] = numba.njit(space[name], error_model="numpy")
    return space


def _define(source: str, **more: Any) -> Callable[..., Any]:
    space = {**vocabulary(), **more}
    exec(compile(source, "<graphc native>", "exec"), space)
    made: Callable[..., Any] = space["call"]
    return made


def _enter(native: Native) -> list[str]:
    return [
        f"    copy = acquire(address_here({native.table.ctypes.data}), {native.copies})",
        "    bases = i64p(i64p(copy)[5])",
        "    values = i64p(copy)[6]",
    ]


def _put(k: int, dtype: DType, value: str) -> str:
    """Return the statement that writes the k-th value without axes."""
    kind = short_name(dtype)
    cast = value if kind == "bool" else f"np.{dtype.name}({value})"
    return f"    {kind}p(values + {8 * k})[0] = {cast}"


def _get(k: int, dtype: DType) -> str:
    return f"{short_name(dtype)}p(values + {8 * k})[0]"


# -- for Numba


def njit_source(native: Native, single: bool) -> str:
    """Return the source of a function of arrays (scalars where there are no axes) that returns new ones."""
    given = [f"a{i}" for i in range(len(native.arguments))]
    lines = [f"def call({', '.join(given)}):"]
    for name, (_, shape) in zip(given, native.arguments, strict=True):
        if shape:
            lines += [f"    if {name}.shape != {shape}:", f"        raise ValueError(WRONG_{name})"]
    made = {f"r{i}": item for i, item in enumerate(native.results)}
    lines += [f"    {n} = np.empty({shape}, np.{_numpy_name(d)})" for n, (d, shape) in made.items() if shape]
    lines += _enter(native)
    for k, (name, (dtype, shape)) in enumerate(zip(given, native.arguments, strict=True)):
        lines.append(f"    bases[{k}] = {name}.ctypes.data" if shape else _put(k, dtype, name))
    for k, (name, (_, shape)) in enumerate(made.items(), start=len(given)):
        if shape:
            lines.append(f"    bases[{k}] = {name}.ctypes.data")
    lines.append("    status = run(copy)")
    for k, (name, (dtype, shape)) in enumerate(made.items(), start=len(given)):
        if not shape:
            lines.append(f"    {name} = {_get(k, dtype)}")
    lines += ["    unlock(copy)", "    if status != 0:", "        raise ValueError(FAILED)"]
    names = list(made)
    lines.append(f"    return {names[0]}" if single else f"    return ({', '.join(names)},)")
    return "\n".join([*lines, ""])


def _numpy_name(dtype: DType) -> str:
    return "bool_" if dtype.kind == "b" else dtype.name


def make_njit(native: Native, names: Sequence[str], what: str, single: bool) -> Any:
    """Return the compiled dispatcher; its arguments are C-contiguous arrays of exactly these types."""
    texts = {
        f"WRONG_a{i}": f"{what}: argument {name} must have shape {shape}"
        for i, (name, (_, shape)) in enumerate(zip(names, native.arguments, strict=True))
    }
    failed = f"{what}: a check failed, an index out of bounds or a singular matrix; a call from Python says which"
    parameters = [_numba_type(*item) for item in native.arguments]
    with FORK_LOCK:
        call = _define(njit_source(native, single), FAILED=failed, **texts)
        return numba.njit(tuple(parameters), nogil=True, error_model="numpy")(call)


def _numba_type(dtype: DType, shape: tuple[int, ...]) -> Any:
    element = NUMBA_TYPES[short_name(dtype)]
    return types.Array(element, len(shape), "C", readonly=True) if shape else element


# -- for C


@dataclass(frozen=True)
class Callback:
    """A C signature: parameter kinds (`double`, `int`, `intp`, `double*`, `void*`) and the body that serves it."""

    returns: str
    parameters: tuple[str, ...]


_C_TYPES = {
    "double": types.float64,
    "int": types.intc,
    "intp": types.intp,
    "double*": types.CPointer(types.float64),
    "void*": types.voidptr,
}


def make_cfunc(native: Native, callback: Callback) -> Any:
    """Return a ctypes function of a C signature; a failed check gives NaN, or 0 where an int is returned."""
    source = (_number_source if callback.returns == "double" else _lines_source)(native, callback)
    signature = _C_TYPES[callback.returns](*(_C_TYPES[p] for p in callback.parameters))
    with FORK_LOCK:
        compiled = numba.cfunc(signature, error_model="numpy")(_define(source))
    function: Any = compiled.ctypes
    function.keep = compiled
    return function


def _number_source(native: Native, callback: Callback) -> str:
    """Return the source of `double f(double, ...)` or `double f(int, double*)`; the result has no axes."""
    names = [f"p{i}" for i in range(len(callback.parameters))]
    lines = [f"def call({', '.join(names)}):"]
    inputs = [n for n, kind in zip(names, callback.parameters, strict=True) if kind == "double"]
    wanted = math.prod(native.arguments[0][1]) if native.arguments and native.arguments[0][1] else len(native.arguments)
    array = "double*" in callback.parameters
    if array:
        inputs = [f"p1[{i}]" for i in range(wanted)]
        lines += [f"    if p0 != {wanted}:", "        return np.nan"]
    lines += _enter(native)
    if array and native.arguments[0][1]:
        lines.append("    bases[0] = carray(p1, (1,)).ctypes.data")
    else:
        lines += [_put(k, dtype, x) for k, (x, (dtype, _)) in enumerate(zip(inputs, native.arguments, strict=True))]
    result = _get(len(native.arguments), native.results[0][0])
    lines += ["    status = run(copy)", f"    result = np.float64({result})", "    unlock(copy)"]
    return "\n".join([*lines, "    if status != 0:", "        return np.nan", "    return result", ""])


def _lines_source(native: Native, callback: Callback) -> str:
    """Return the source of `int f(double*, intp, double*, [intp,] void*)`, as `scipy.ndimage` calls filters."""
    (_, shape), (dtype, out) = native.arguments[0], native.results[0]
    several = "intp" in callback.parameters[3:]
    lines = [f"def call({', '.join(f'p{i}' for i in range(len(callback.parameters)))}):"]
    wrong = f"p1 != {math.prod(shape)}" + (f" or p3 != {math.prod(out)}" if several else "")
    lines += [f"    if {wrong}:", "        return 0", *_enter(native)]
    lines.append("    bases[0] = carray(p0, (1,)).ctypes.data")
    if out:
        lines.append("    bases[1] = carray(p2, (1,)).ctypes.data")
    lines.append("    status = run(copy)")
    if not out:
        lines.append(f"    p2[0] = {_get(1, dtype)}")
    return "\n".join([*lines, "    unlock(copy)", "    return 1 if status == 0 else 0", ""])
