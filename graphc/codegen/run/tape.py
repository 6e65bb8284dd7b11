"""The machine-code side of a call: the driver that walks a tape, and the entry that Python calls.

Both are programs of words, compiled once per cache. The driver runs instructions
`(kernel address, frame address, lo, hi)` in order. The entry is a `METH_FASTCALL` function made with
`PyCFunction_NewEx`: it checks NumPy's array structs against the shapes of the last call, makes the results with
`PyArray_Empty`, patches the pointers into the frames and runs the driver; anything unexpected goes to a Python
function, which explains. Runs that take long release the GIL and look for signals between segments. Where other
Python code may run inside a call (there, and where a new tuple makes the collector call finalizers), the program is
marked busy, so that a call from that code takes memory of its own.

The entry remembers its last two results of each output. Where nobody else refers to one, neither by name nor by a view
or a weak reference, it is given out again: to make an array takes longer than all else in a small call, and to map the
pages of a large one longer than to fill them.

`Descriptor` is the one table through which Python tells the entry what to do.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.codegen.jit.kernels import kernel_address
from graphc.codegen.nest.options import CONTROL
from graphc.graph.types import Array, DType

Words = npt.NDArray[np.int64]

DRIVER = """\
def kernel(tape, lo, hi):
    for i in range(lo, hi):
        status = call_i64(tape[4 * i], tape[4 * i + 1], tape[4 * i + 2], tape[4 * i + 3])
        if status != 0:
            return (i + 1) * 65536 + status
    return 0
"""

# Positions in the descriptor.
ARGUMENTS, BUSY, OUTPUTS, TAPE, DRIVER_AT, RELEASE, STATUS, MODE = range(8)
ARGUMENT_TABLE, OUTPUT_TABLE, PATCHES, PATCH_TABLE, LOCKS, LOCK_TABLE, SEGMENTS, SEGMENT_TABLE = range(8, 16)
BASES, RESULTS, FUNCTIONS, KEPT = range(16, 20)
HEADER = 20

# Positions in the table of CPython's and NumPy's functions and objects.
_FUNCTIONS = (
    "array_type",
    "vectorcall",
    "empty",
    "incref",
    "decref",
    "save_thread",
    "restore_thread",
    "check_signals",
    "not_implemented",
    "none",
    "tuple_new",
    "tuple_set",
    "list_new",
    "list_set",
    "ellipsis",
    "thread_ident",
)

ENTRY = """\
def kernel(self, args, count, names):
    own = i64p(self[2])
    d = i64p(own[0])
    fallback = own[1]
    given = i64p(args)
    api = i64p(d[18])
    bases = i64p(d[16])
    results = i64p(d[17])
    fits = (names == 0) & (count == d[0]) & (d[1] == 0)
    if fits:
        table = i64p(d[8])
        k = 0
        for i in range(count):
            array = i64p(given[i])
            words = i32p(given[i])
            if array[1] != api[0]:
                fits = False
                break
            dims = i64p(array[4])
            if (array[7] != table[k]) | (i64(words[6]) != table[k + 1]) | ((words[16] & i32(257)) != i32(257)):
                fits = False
                break
            ndim = table[k + 1]
            for j in range(ndim):
                fits = fits & (dims[j] == table[k + 2 + j])
            k = k + 2 + ndim
            bases[i] = array[2]
            if not fits:
                break
    if fits:
        locks = i64p(d[13])
        for i in range(d[12]):
            fits = fits & (i64p(locks[i])[0] == 0)
    if not fits:
        if fallback == 0:
            call_void(api[3], api[8])
            return api[8]
        return call_i64(api[1], fallback, args, count, names)
    outputs = d[2]
    table = i64p(d[9])
    kept = i64p(d[19])
    k = 0
    for i in range(outputs):
        made = 0
        for s in range(2):
            old = kept[2 * i + s]
            array = i64p(old)
            words = i32p(old)
            if (made == 0) & (old != api[9]):
                free = (words[0] == 1) & (array[7] == table[k]) & (words[6] == table[k + 1]) & (array[9] == 0)
                if free & ((words[16] & 1285) == 1285):
                    dims = i64p(array[4])
                    for j in range(table[k + 1]):
                        free = free & (dims[j] == table[k + 2 + j])
                    if free:
                        made = old
                        call_void(api[3], made)
        if made == 0:
            call_void(api[3], table[k])
            made = call_i64(api[2], table[k + 1], d[9] + 8 * (k + 2), table[k], 0)
            if made == 0:
                for j in range(i):
                    call_void(api[4], results[j])
                return 0
            call_void(api[3], made)
            old = kept[2 * i]
            kept[2 * i] = kept[2 * i + 1]
            kept[2 * i + 1] = made
            call_void(api[4], old)
        results[i] = made
        bases[count + i] = i64p(made)[2]
        k = k + 2 + table[k + 1]
    patches = i64p(d[11])
    for i in range(d[10]):
        i64p(patches[3 * i])[0] = bases[patches[3 * i + 1]] + patches[3 * i + 2]
    status = 0
    interrupted = 0
    if d[5] == 0:
        status = call_i64(d[4], d[3], 0, i64p(d[15])[1])
    else:
        d[1] = 1
        me = call_i64(api[15])
        locks = i64p(d[13])
        for i in range(d[12]):
            i64p(locks[i])[0] = me
        segments = i64p(d[15])
        thread = call_i64(api[5])
        for i in range(d[14]):
            status = call_i64(d[4], d[3], segments[i], segments[i + 1])
            if status != 0:
                break
            if i + 1 < d[14]:
                call_void(api[6], thread)
                interrupted = call_i64(api[7]) & 4294967295
                if interrupted != 0:
                    break
                thread = call_i64(api[5])
        if interrupted == 0:
            call_void(api[6], thread)
            if (status & 65535) == 65535:
                interrupted = 1
        d[1] = 0
        for i in range(d[12]):
            i64p(locks[i])[0] = i64p(locks[i])[0] - me
    d[6] = status
    if (status != 0) | (interrupted != 0):
        for i in range(outputs):
            call_void(api[4], results[i])
        if interrupted != 0:
            return 0
        if fallback == 0:
            call_void(api[3], api[14])
            return api[14]
        return call_i64(api[1], fallback, args, count, names)
    if d[7] == 1:
        return results[0]
    if d[7] == 0:
        call_void(api[3], api[9])
        return api[9]
    pack = select(d[7] == 2, 10, 12)
    d[1] = 1
    packed = call_i64(api[pack], outputs)
    d[1] = 0
    if packed == 0:
        for i in range(outputs):
            call_void(api[4], results[i])
        return 0
    for i in range(outputs):
        call_i64(api[pack + 1], packed, i, results[i])
    return packed
"""

NONE_MODE, SINGLE_MODE, TUPLE_MODE, LIST_MODE = range(4)


@cache
def entry_works() -> bool:
    """Tell whether this interpreter has the struct layouts and the GIL that the entry relies on."""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    return sys.implementation.name == "cpython" and not free_threaded and ctypes.sizeof(ctypes.c_void_p) == 8


def python_address(name: str) -> int:
    """Return the address of a function of CPython's C API."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


@cache
def _functions() -> Words:
    """Return the addresses that the entry calls and compares with."""
    ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
    ctypes.pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    # The module whose C API table `import_array` in NumPy's headers reads.
    capsule = importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API
    numpy_api = ctypes.pythonapi.PyCapsule_GetPointer(capsule, None)
    table = (ctypes.c_void_p * 300).from_address(numpy_api)
    empty = 184  # NumPy's C API table: PyArray_Empty; fixed since NumPy 1.0
    names = {
        "vectorcall": "PyObject_Vectorcall",
        "incref": "Py_IncRef",
        "decref": "Py_DecRef",
        "save_thread": "PyEval_SaveThread",
        "restore_thread": "PyEval_RestoreThread",
        "check_signals": "PyErr_CheckSignals",
        "tuple_new": "PyTuple_New",
        "tuple_set": "PyTuple_SetItem",
        "list_new": "PyList_New",
        "list_set": "PyList_SetItem",
        "thread_ident": "PyThread_get_thread_ident",
    }
    known = {key: python_address(symbol) for key, symbol in names.items()}
    known |= {"array_type": id(np.ndarray), "empty": table[empty] or 0}
    known |= {"not_implemented": id(NotImplemented), "none": id(None), "ellipsis": id(...)}
    return np.array([known[name] for name in _FUNCTIONS], np.int64)


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


@cache
def _method() -> _MethodDef:
    fastcall_with_keywords = 0x0080 | 0x0002
    return _MethodDef(b"call", kernel_address(ENTRY, CONTROL), fastcall_with_keywords, None)


def prepare() -> None:
    """Obtain the driver and the entry now, so that a first call compiles nothing."""
    kernel_address(DRIVER, CONTROL)
    if entry_works():
        kernel_address(ENTRY, CONTROL)


class _Own(np.ndarray[Any, Any]):
    """The `self` of a builtin: two words, and references that keep what they point to alive."""

    keep: tuple[Any, ...]


@dataclass
class Descriptor:
    """The entry's table for one program and one set of shapes, and the memory it points to."""

    words: Words
    tape: Words
    patches: Sequence[tuple[int, int, int]]
    keep: list[Any]

    @property
    def status(self) -> int:
        """The status of the last run: 0, or 65536 * (instruction + 1) + check number."""
        return int(self.words[STATUS])

    def callable(self, fallback: Callable[..., Any] | None) -> Callable[..., Any]:
        """Return a builtin that runs the program, or calls `fallback` where it cannot.

        Without a fallback it returns NotImplemented where the arguments do not fit or a lock is held, and Ellipsis
        where a check failed.
        """
        self.words[DRIVER_AT] = kernel_address(DRIVER, CONTROL)
        own = np.array([self.words.ctypes.data, 0 if fallback is None else id(fallback)], np.int64).view(_Own)
        own.keep = (self, fallback)
        make = ctypes.pythonapi.PyCFunction_NewEx
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
        made: Callable[..., Any] = make(ctypes.addressof(_method()), own, None)
        return made


def describe_arrays(types: Sequence[tuple[DType, tuple[int, ...]]]) -> Words:
    """Return the entry's table of arrays: descriptor address, rank, sizes, one after the other."""
    words: list[int] = []
    for dtype, shape in types:
        words += [id(dtype), len(shape), *shape]
    return np.array([*words, 0], np.int64)


def make_descriptor(
    *,
    arguments: Sequence[tuple[DType, tuple[int, ...]]],
    outputs: Sequence[tuple[DType, tuple[int, ...]]],
    tape: Words,
    segments: Sequence[int],
    patches: Sequence[tuple[int, int, int]],
    locks: Sequence[Array],
    release: bool,
    mode: int,
) -> Descriptor:
    """Return the descriptor of a program.

    `patches` are (slot address, base, byte offset), bases being the arguments and then the outputs; `segments` are
    the instruction numbers at which a run that released the GIL looks for signals, from 0 to the length.
    """
    tables = [
        describe_arrays(arguments),
        describe_arrays(outputs),
        np.array([w for p in patches for w in p] + [0], np.int64),
        np.array([lock.ctypes.data for lock in locks] + [0], np.int64),
        np.array(segments if release else [0, len(tape) // 4], np.int64),
        np.zeros(len(arguments) + len(outputs) + 1, np.int64),
        np.zeros(len(outputs) + 1, np.int64),
    ]
    kept = np.full(2 * len(outputs) + 1, None, object)  # an array of objects: it counts as a reference to each
    at = [t.ctypes.data for t in tables]
    words = np.zeros(HEADER, np.int64)
    words[[ARGUMENTS, OUTPUTS, TAPE]] = len(arguments), len(outputs), tape.ctypes.data
    words[[RELEASE, MODE]] = release, mode
    words[[ARGUMENT_TABLE, OUTPUT_TABLE, PATCHES, PATCH_TABLE]] = at[0], at[1], len(patches), at[2]
    words[[LOCKS, LOCK_TABLE, SEGMENTS, SEGMENT_TABLE]] = len(locks), at[3], len(segments) - 1, at[4]
    words[[BASES, RESULTS, FUNCTIONS, KEPT]] = at[5], at[6], _functions().ctypes.data, kept.ctypes.data
    return Descriptor(words, tape, patches, [tables, locks, kept])


def fix_pointers(descriptor: Descriptor, arrays: Sequence[Array], outputs: Sequence[Array], result: object) -> None:
    """Let a descriptor run on these arrays for good: its builtin takes no arguments and returns `result`."""
    patch_pointers(descriptor, arrays, outputs)
    functions = _functions().copy()
    functions[_FUNCTIONS.index("none")] = id(result)
    descriptor.words[[ARGUMENTS, OUTPUTS, PATCHES, MODE]] = 0, 0, 0, NONE_MODE
    descriptor.words[FUNCTIONS] = functions.ctypes.data
    descriptor.keep += [functions, arrays, outputs, result]


def patch_pointers(descriptor: Descriptor, arrays: Sequence[Array], outputs: Sequence[Array]) -> None:
    """Write the addresses of arguments and results into the frames, as the entry does."""
    bases = [a.ctypes.data for a in (*arrays, *outputs)]
    for slot, base, offset in descriptor.patches:
        ctypes.c_int64.from_address(slot).value = bases[base] + offset


def run_portably(descriptor: Descriptor, arrays: Sequence[Array], outputs: Sequence[Array]) -> int:
    """Run a program without the entry, through ctypes, and return its status."""
    patch_pointers(descriptor, arrays, outputs)
    word = ctypes.c_int64
    driver = ctypes.CFUNCTYPE(word, word, word, word)(kernel_address(DRIVER, CONTROL))
    status: int = driver(int(descriptor.words[TAPE]), 0, len(descriptor.tape) // 4)
    return status
