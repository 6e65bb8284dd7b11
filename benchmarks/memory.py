"""Peak memory of a prepared row, by what Linux keeps of a process in /proc; nothing is known elsewhere.

`peak_above_inputs` is comparable between tools. The row is prepared twice: the first time brings modules, compilers,
libraries and pools, and is dropped before the count begins. Inputs count once, whether a tool uses NumPy's or a copy;
freed blocks of 64 KiB and more go back to the system at once (`processes.environment`); pages are small. The kernel
counts pages in batches, so a figure is good to about half a MiB.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")

_RESET_PEAK = "5"  # of clear_refs, see proc(5)
_NO_HUGE_PAGES = 41  # PR_SET_THP_DISABLE of prctl(2)


def peak_above_inputs(prepare: Any, draw: Any) -> int | None:
    """Return the bytes that steady calls hold at their peak, above the inputs; None where the system does not tell.

    `draw` draws the inputs of a row, `prepare` makes the row of them.
    """
    prepare(draw()).run(2)
    settle()
    before = read_status("VmRSS")
    inputs = draw()
    given = count_bytes(inputs.values())
    prepared = prepare(inputs)
    del inputs
    prepared.result.clear()
    prepared.run(2)
    settle()
    if before is None or not reset_peak():
        return None
    prepared.run(3)
    peak = read_status("VmHWM")
    return None if peak is None else max(peak - before - given, 0)


def settle() -> None:
    """Collect garbage, and give freed memory back to the system where the C library can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def use_small_pages() -> None:
    """Keep the system from giving this process huge pages, which would count what is not used."""
    control = getattr(ctypes.CDLL(None), "prctl", None)
    if control is not None:
        control(_NO_HUGE_PAGES, 1, 0, 0, 0)


def reset_peak() -> bool:
    """Let `VmHWM` start again from what is resident now; tell whether the system can."""
    try:
        CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def read_status(name: str) -> int | None:
    """Return one size of this process in bytes, such as `VmRSS` (resident now) or `VmHWM` (its peak)."""
    try:
        text = STATUS.read_text(encoding="ascii")
    except OSError:
        return None
    return parse_status(text).get(name)


def parse_status(text: str) -> Mapping[str, int]:
    r"""Return the sizes in the text of a status file, in bytes.

    >>> parse_status("Name: python\nVmHWM:\t  2048 kB\nThreads:\t1\n")
    {'VmHWM': 2097152}
    """
    fields = (line.split() for line in text.splitlines())
    return {f[0].removesuffix(":"): 1024 * int(f[1]) for f in fields if len(f) == 3 and f[2] == "kB"}


def count_bytes(values: Iterable[Any]) -> int:
    """Return the bytes of all arrays among values and lists of values."""
    return sum(count_bytes(v) if isinstance(v, list) else getattr(v, "nbytes", 0) for v in values)
