"""Run a program's kernels as the plain Python that they are, for stepping through in a debugger.

`function(..., mode="debug")` comes here: nothing is compiled, every kernel is an ordinary Python function whose
source a debugger can show, over the same frames, arena and tape as the compiled program.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from graphc.codegen.tape import Descriptor, patch_pointers
from graphc.codegen.vecmath import DEBUG_GLOBALS, Pointer
from graphc.types import Array


@cache
def python_kernel(source: str) -> Callable[[Pointer, int, int], int]:
    """Return a kernel's source as a Python function, registered so that debuggers show its lines."""
    name = f"<graphc kernel {abs(hash(source)):x}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space = dict(DEBUG_GLOBALS)
    exec(compile(source, name, "exec"), space)
    kernel: Callable[[Pointer, int, int], int] = space["kernel"]
    return kernel


def run_in_python(
    sources: Sequence[str], descriptor: Descriptor, arrays: Sequence[Array], outputs: Sequence[Array]
) -> int:
    """Walk the tape in Python; `sources` has the kernel of each instruction. Returns the status as the driver does."""
    patch_pointers(descriptor, arrays, outputs)
    rows = descriptor.tape.reshape(-1, 4).tolist()
    with np.errstate(all="ignore"):
        for number, (source, (_, frame, lo, hi)) in enumerate(zip(sources, rows, strict=True)):
            status = python_kernel(source)(Pointer("i64", frame), lo, hi)
            if status:
                return (number + 1) * 65536 + int(status)
    return 0
