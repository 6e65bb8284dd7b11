"""Run a program's kernels as the plain Python that they are, for stepping through in a debugger.

`function(..., mode="debug")` comes here: nothing is compiled, every kernel is an ordinary Python function whose
source a debugger can show, over the same frames, arena and tape as the compiled program.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from graphc.codegen.math.vecmath import DEBUG_GLOBALS, Pointer
from graphc.codegen.nest.options import KERNEL, KernelOptions
from graphc.codegen.run.debug_tiles import debug_tiles
from graphc.codegen.run.tape import TAPE, Descriptor, patch_pointers
from graphc.graph.types import Array

_sources: list[str] = []


def register(source: str, options: KernelOptions = KERNEL) -> int:
    """Return the number that stands for a kernel's address on the tapes of a program that is not compiled."""
    if source not in _sources:
        _sources.append(source)
    return _sources.index(source)


@cache
def python_kernel(source: str) -> Callable[[Pointer, int, int], int]:
    """Return a kernel's source as a Python function, registered so that debuggers show its lines."""
    name = f"<graphc kernel {register(source)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space = {**DEBUG_GLOBALS, **debug_tiles(), "call_i64": _walk}
    exec(compile(source, name, "exec"), space)
    kernel: Callable[[Pointer, int, int], int] = space["kernel"]
    return kernel


def _walk(driver: int, tape: int, lo: int, hi: int) -> int:
    """Run instructions in Python: what the driver does, for the program's own tape and those of its loops."""
    rows = Pointer("i64", tape)
    for number in range(lo, hi):
        kernel, frame, start, stop = (int(rows[4 * number + i]) for i in range(4))
        status = python_kernel(_sources[kernel])(Pointer("i64", frame), start, stop)
        if status:
            return (number + 1) * 65536 + int(status)
    return 0


def run_in_python(descriptor: Descriptor, arrays: Sequence[Array], outputs: Sequence[Array]) -> int:
    """Run a program's tape in Python and return the status as the driver does."""
    patch_pointers(descriptor, arrays, outputs)
    with np.errstate(all="ignore"):
        return _walk(0, int(descriptor.words[TAPE]), 0, len(descriptor.tape) // 4)
