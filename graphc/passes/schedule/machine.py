"""What a processor takes for the parts of a kernel, in nanoseconds: the one table of such figures.

Fusion, the choice of forms and the division of work among threads read it. Where nothing else is said a figure is that
of a vector of 64 bytes.

Measured on a Zen 4 core at about 3.3 GHz by `python -m benchmarks.kernel_costs`, whose columns have the same order.
Other processors differ in all of them by about the same factor, which cancels: fusion only compares.
"""

from __future__ import annotations

from typing import Final

VECTOR_BYTES: Final = 64
ARITHMETIC: Final = 0.2, 1.2
"""An operation among independent ones, and what the next one of a chain waits for it."""
FUNCTIONS: Final[dict[str, tuple[float, float]]] = {
    "exp": (4.0, 18.6),
    "expm1": (4.4, 19.6),
    "log": (6.6, 26.9),
    "log1p": (6.4, 29.8),
    "tanh": (5.7, 24.9),
    "sigmoid": (5.5, 24.1),
    "sin": (5.9, 20.7),
    "cos": (5.7, 19.4),
    "erf": (14.3, 34.1),
    "atan": (8.6, 39.0),
    "pow": (29.0, 104.0),
}
"""Special functions of float64 likewise; those of float32 take 0.6 to 1 of it."""
OTHER_FUNCTION: Final = 10.0, 35.0
DIVISION: Final = 1.7, 4.9
WHOLE_DIVISION: Final = 10.0, 35.0
"""A division with rounding down, which of integers is done number by number."""
IN_TURNS: Final = 2
"""Vectors that a long loop takes at a time."""
SQUARE_ROOT: Final = 3.6, 8.8
FUNCTION_SIZE: Final = 20
"""Instructions of a special function, about; an operation is one."""

LEVELS: Final = ((32 << 10, 0.0065), (512 << 10, 0.0096), (8 << 20, 0.012), (float("inf"), 0.0305))
"""Bytes that a value may have to be found in a level of memory, and what a byte read or written there takes."""
REGISTERS: Final = 28
"""Vector registers that values may fill: of 32, some hold constants and what is being computed."""
SPILL: Final = 0.8
"""A value written to the stack and read again."""
WINDOW: Final = 40.0
"""Work that a core looks ahead over: vectors within it do not wait for each other."""
CALL: Final = 15.0
"""A kernel beside its work: the driver's call, the frame, the start of its loops."""

ELEMENT: Final = 0.15
"""An element of cheap operations with what it loads and stores: by such figures threads share the work of kernels, and
sizes choose between two forms of one. They are rough, an upper bound rather than a mean."""
EXPENSIVE_ELEMENT: Final = 1.0
"""The same of a special function, or a gather."""
COPIED_ELEMENT: Final = 0.5
WINDOW_ELEMENT: Final = {"fold": 0.3, "pick": 0.5, "place": 0.7}
"""An element of a window that is added, looked at, or found again."""
SORTED_ELEMENT: Final = 40.0
SEARCHED_ELEMENT: Final = 20.0
MULTIPLY_ADD: Final = 0.02
"""One of a matrix product; of what LAPACK computes, which waits for itself, an operation takes `LAPACK_OPERATION`."""
LAPACK_OPERATION: Final = 0.1
WHILE: Final = 100_000.0
"""A loop of an unknown number of steps: enough of them that the run should not hold the GIL."""


def byte_ns(nbytes: float) -> float:
    """Return what a byte of a value of so many bytes takes to be read or written.

    >>> byte_ns(1000) < byte_ns(10**9)
    True
    """
    return next(price for limit, price in LEVELS if nbytes <= limit)
