"""What a standalone module of kernels needs besides the words that are formulas, as text of plain Numba.

Each part is written out where a kernel uses it. All of it runs as plain Python too (`NUMBA_DISABLE_JIT=1`), where a
pointer reads and writes memory through ctypes.
"""

from __future__ import annotations

HEAD = '''\
import base64
import ctypes
import math
import operator
import zlib

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

# -- memory: `p = f64p(address)` is a pointer, `p[i]` an element; whatever else `f64p` is given tells graphc's own
# -- compiler which pointers share no memory, and plain Numba nothing


class Pointer:
    """Elements at an address, where this file runs as plain Python."""

    def __init__(self, dtype, address):
        self.dtype, self.address = np.dtype(dtype), int(address)

    def _cell(self, index):
        size = self.dtype.itemsize
        memory = (ctypes.c_uint8 * size).from_address(self.address + int(index) * size)
        return np.frombuffer(memoryview(memory), self.dtype)

    def __getitem__(self, index):
        return self._cell(index)[0]

    def __setitem__(self, index, value):
        self._cell(index)[0] = np.asarray(value).astype(self.dtype)


def pointer(dtype):
    kind = types.CPointer(numba.from_dtype(np.dtype(dtype)))

    @intrinsic
    def cast(context, address):
        def lower(context, builder, signature, values):
            return builder.inttoptr(values[0], context.get_value_type(kind))

        return kind(types.int64), lower

    def at(address, scope=0, group=0):
        return Pointer(dtype, address)

    @overload(at)
    def typed(address, scope=0, group=0):
        return lambda address, scope=0, group=0: cast(address)

    return at
'''

WORD = '''\
# -- the words of the kernels: one function for each combination of dtypes that they are called with

DTYPES = {
    "bool": np.bool_, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "u8": np.uint8,
    "u16": np.uint16, "u32": np.uint32, "u64": np.uint64, "f32": np.float32, "f64": np.float64,
}  # fmt: skip


def short(name):
    return name.replace("float", "f").replace("uint", "u").replace("int", "i")


def word(cases):
    """One function of several, chosen by the dtypes of its operands."""
    compiled = {key: numba.njit(error_model="numpy")(case) for key, case in cases.items()}

    def call(*operands):  # plain Python knows fewer dtypes than Numba: the nearest case is taken
        given = [short(np.asarray(x).dtype.name) for x in operands]
        key = min(compiled, key=lambda k: [sum(map(str.__ne__, k.split(), given)), k])
        return compiled[key](*(DTYPES[kind](x) for kind, x in zip(key.split(), operands)))

    @overload(call)
    def typed(*operands):
        case = compiled.get(" ".join(short(str(types.unliteral(x))) for x in operands))
        return case and (lambda *operands: case(*operands))

    return call
'''

FUSED = '''\
def fma(a, b, c):
    """a * b + c, rounded once where Numba compiles it."""
    return a * b + c


@intrinsic
def fused(context, a, b, c):
    return a(a, a, a), lambda context, builder, signature, values: builder.fma(*values)


@overload(fma)
def typed_fma(a, b, c):
    return lambda a, b, c: fused(a, b, c)
'''

PROGRAM = '''\
# -- the program: a frame of addresses and sizes for each kernel, and a tape of (kernel, frame, lo, hi)

KEPT, FAILED = [], []
C_KERNEL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def entry(kernel):
    """The address of a kernel as a C function."""
    if not numba.config.DISABLE_JIT:
        made = numba.cfunc(types.int64(types.int64, types.int64, types.int64))(
            lambda frame, lo, hi: kernel(i64p(frame), lo, hi)
        )
        KEPT.append(made)
        return made.address

    def call(frame, lo, hi):
        try:
            return int(kernel(i64p(frame), lo, hi))
        except Exception as error:
            FAILED.append(error)
            return 1

    KEPT.append(C_KERNEL(call))
    return ctypes.cast(KEPT[-1], ctypes.c_void_p).value


def memory(nbytes):
    """Bytes that start at a multiple of 64."""
    raw = np.zeros(nbytes + 64, np.uint8)
    return raw[-raw.ctypes.data % 64 :]


def drawn(kinds):
    """Values to run on: floats between 0 and 1, zeros of other dtypes."""
    rng = np.random.default_rng(0)
    return [np.asarray(rng.random(shape) * (np.dtype(dtype).kind == "f")).astype(dtype) for _, dtype, shape in kinds]


def as_wanted(values, kinds):
    """The values as arrays of the dtypes and shapes that the frames are for."""
    return [np.array(v, dtype, order="C").reshape(shape) for v, (_, dtype, shape) in zip(values, kinds, strict=True)]
'''

ROUTINE = '''\
def routine(name):
    """The address of a routine of SciPy's BLAS or LAPACK."""
    from numba.extending import get_cython_function_address
    from scipy.linalg import cython_blas

    module = "cython_blas" if name in cython_blas.__pyx_capi__ else "cython_lapack"
    return get_cython_function_address(f"scipy.linalg.{module}", name)
'''

PARTS = {
    "c_erf": """\
def c_erf(x):
    return type(x)(math.erf(x))


@overload(c_erf)
def typed_erf(x):
    return lambda x: math.erf(x)
""",
    "c_erfc": """\
def c_erfc(x):
    return type(x)(math.erfc(x))


@overload(c_erfc)
def typed_erfc(x):
    return lambda x: math.erfc(x)
""",
    "c_lgamma": """\
def c_lgamma(x):
    try:
        return type(x)(math.lgamma(x))
    except (OverflowError, ValueError):
        return type(x)(math.inf)


@overload(c_lgamma)
def typed_lgamma(x):
    return lambda x: math.lgamma(x)
""",
    "fma": FUSED,
    "call_i64": '''\
@intrinsic
def native_call(context, address, operands):
    word = ir.IntType(64)

    def lower(context, builder, signature, values):
        function = builder.inttoptr(values[0], ir.FunctionType(word, [word] * len(operands)).as_pointer())
        return builder.call(function, [builder.extract_value(values[1], i) for i in range(len(operands))])

    return types.int64(types.int64, types.UniTuple(types.int64, len(operands))), lower


def call_i64(address, *operands):
    """Call the C function at an address with int64s."""
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(operands))(int(address))
    return np.int64(function(*map(int, operands)))


@overload(call_i64)
def typed_call(address, *operands):
    return lambda address, *operands: native_call(address, operands)
''',
    "call_void": '''\
def call_void(address, *operands):
    """The same, of a function that returns nothing."""
    call_i64(address, *operands)


@overload(call_void)
def typed_call_void(address, *operands):
    def call(address, *operands):
        native_call(address, operands)

    return call
''',
    "stack": '''\
@intrinsic(prefer_literal=True)
def reserve(context, nbytes):
    if not isinstance(nbytes, types.IntegerLiteral):
        return None

    def lower(context, builder, signature, values):
        with builder.goto_entry_block():
            place = builder.alloca(ir.ArrayType(ir.IntType(8), nbytes.literal_value))
            place.align = 64
        return builder.ptrtoint(place, ir.IntType(64))

    return types.int64(nbytes), lower


class Buffer(int):
    """The address of memory that it keeps alive."""


def stack(nbytes):
    """The address of so many bytes on the stack of the kernel."""
    memory = np.empty(nbytes, np.uint8)
    address = Buffer(memory.ctypes.data)
    address.memory = memory
    return address


@overload(stack, inline="always", prefer_literal=True)
def typed_stack(nbytes):
    return lambda nbytes: reserve(nbytes)
''',
    "prefetch": '''\
@numba.njit
def prefetch(pointer, index):
    """Say that an element is wanted soon."""
''',
    "call_transpose": '''\
@numba.njit
def call_transpose(address, size, to, origin, first, stride, rows, columns, pitch):
    """Turn a block of elements of `size` bytes around."""
    target, source = u8p(to), u8p(origin)
    for i in range(rows):
        for j in range(columns):
            for k in range(size):
                target[(i * pitch + j) * size + k] = source[(first + i + j * stride) * size + k]
''',
    "boolp": """\
BOOLS = types.Opaque("bools")  # plain Numba's pointers to bools confuse bits with bytes


@intrinsic
def to_bools(context, address):
    def lower(context, builder, signature, values):
        return builder.inttoptr(values[0], context.get_value_type(BOOLS))

    return BOOLS(types.int64), lower


@intrinsic
def get_bool(context, pointer, index):
    def lower(context, builder, signature, values):
        byte = builder.load(builder.gep(values[0], [values[1]]))
        return builder.icmp_unsigned("!=", byte, byte.type(0))

    return types.boolean(pointer, types.int64), lower


@intrinsic
def set_bool(context, pointer, index, value):
    def lower(context, builder, signature, values):
        builder.store(builder.zext(values[2], ir.IntType(8)), builder.gep(values[0], [values[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, types.boolean), lower


@overload(operator.getitem)
def typed_get(pointer, index):
    return (lambda pointer, index: get_bool(pointer, index)) if pointer is BOOLS else None


@overload(operator.setitem)
def typed_set(pointer, index, value):
    return (lambda pointer, index, value: set_bool(pointer, index, value)) if pointer is BOOLS else None


def boolp(address, scope=0, group=0):
    return Pointer(np.bool_, address)


@overload(boolp)
def typed_boolp(address, scope=0, group=0):
    return lambda address, scope=0, group=0: to_bools(address)
""",
    "tile": '''\
def apart():
    """Keep the function around from being inlined."""


@intrinsic
def no_inline(context):
    def lower(context, builder, signature, values):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), lower


@overload(apart, inline="always")
def typed_apart():
    return lambda: no_inline()


@numba.njit(error_model="numpy")
def product(add, rows, columns, zero, a, ia, row_a, k_a, b, ib, k_b, c, ic, row_c, k, alpha):
    apart()
    for i in range(rows):
        for j in range(columns):
            total = zero
            for q in range(k):
                total = fma(a[ia + i * row_a + q * k_a], b[ib + q * k_b + j], total)
            place = ic + i * row_c + j
            c[place] = fma(total, alpha, c[place]) if add else total


def tile(dtype, rows, columns, part, add):
    """A small block of a matrix product: `rows` rows of `columns` columns, or of the first `width` of them."""

    @numba.njit(error_model="numpy")
    def compute(a, ia, row_a, k_a, b, ib, k_b, c, ic, row_c, k, width, alpha):
        count = min(width, columns) if part else np.int64(columns)
        product(np.int64(add), np.int64(rows), count, dtype(0), a, ia, row_a, k_a, b, ib, k_b, c, ic, row_c, k, alpha)

    return compute
''',
}
"""Parts by the word that they define."""
NEEDS = {"call_void": ("call_i64",), "tile": ("fma",)}
"""Parts that others need."""
