"""Where the time of a graphc row goes: `python -m benchmarks.profile ROW`.

The instructions of the compiled program run one at a time, in the order of a call, each call of the driver timed;
the minimum over many rounds is printed beside the line of the kernel that the instruction belongs to (`copy` for a
copy that the plan added). A loop that the program runs as one instruction is one line here.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from dataclasses import dataclass

import numpy as np

import graphc as gc
from benchmarks.inputs import draw_inputs
from benchmarks.rows_graphc import Clock
from benchmarks.tool_graphc import ROWS, make_function
from benchmarks.worker import take_samples
from graphc.codegen.jit.kernels import kernel_address
from graphc.codegen.nest.options import CONTROL
from graphc.codegen.run.tape import DRIVER, TAPE, patch_pointers
from graphc.graph.text import show_seconds, table
from graphc.graph.types import Array, size_value


@dataclass(frozen=True)
class Line:
    """The best time of one instruction of the tape, and the kernel that it is part of."""

    seconds: float
    kernel: str


def main() -> None:
    """Print the profile of each row on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__.splitlines()[0])
    parser.add_argument("row", nargs="+", choices=sorted(ROWS))
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of sampling")
    parser.add_argument("--width", type=int, default=150, help="characters of a kernel's line")
    options = parser.parse_args()
    for row in options.row:
        print(show_profile(row, options.seconds, options.width))


def show_profile(row: str, seconds: float, width: int) -> str:
    """Return the profile of a row as text."""
    built = ROWS[row](Clock(), draw_inputs(row))
    function = make_function(built).compile()
    arguments = [np.asarray(a) for a in built.arguments]
    function(*arguments)

    def run(n: int) -> None:
        for _ in range(n):
            function(*arguments)

    whole = min(take_samples(run, seconds))
    lines = profile(function, arguments, seconds)
    total = sum(line.seconds for line in lines)
    rows = [(show_seconds(li.seconds), f"{li.seconds / total:.1%}", li.kernel[:width]) for li in lines]
    rows.append((show_seconds(total), "", f"all; a call takes {show_seconds(whole)}"))
    size = f"arena {function.stats['peak_bytes']:,} bytes"
    widest = max(len(text) for *_, text in rows)
    return f"{row}: {size}\n" + table([(a, b, text.ljust(widest)) for a, b, text in rows], ("", "", "".ljust(widest)))


def profile(function: gc.Function, arguments: list[Array], seconds: float) -> list[Line]:
    """Return the best time of each instruction of a function that has been called with such arguments."""
    compiled = function._built
    bound, main = compiled.last, compiled.program.main
    assert bound is not None
    sizes = bound.plan.sizes
    outputs = [np.empty([size_value(s, sizes) for s in o.shape], o.dtype) for o in compiled.program.results]
    patch_pointers(bound.descriptor, arguments, outputs)
    word = ctypes.c_int64
    driver = ctypes.CFUNCTYPE(word, word, word, word)(kernel_address(DRIVER, CONTROL))
    tape, count = int(bound.descriptor.words[TAPE]), len(bound.instructions)

    def one(lo: int, hi: int) -> float:
        began = time.perf_counter()
        status = driver(tape, lo, hi)
        taken = time.perf_counter() - began
        assert status == 0
        return taken

    idle = min(one(0, 0) for _ in range(1000))
    best = [float("inf")] * count
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        best = [min(b, one(i, i + 1)) for i, b in enumerate(best)]
    kernels = str(main.schedule).splitlines()
    names = [kernels[k] if k >= 0 else "copy" for k in (main.kernel_of[n] for n in bound.instructions)]
    return [Line(max(b - idle, 0.0), name) for b, name in zip(best, names, strict=True)]


if __name__ == "__main__":
    main()
