"""Keep a BLAS library that has threads of its own to one thread while graphc calls it.

OpenBLAS divides large products among its own threads, beside ours and with bits that depend on their number. While
any instruction of ours runs inside the library its number of threads is 1; then it is what it was, for other users of
it. A `guard` counts those instructions, one for each library; it is five words, which `team_text` reads.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

import numpy as np

from graphc.codegen.run.blas import Library
from graphc.graph.forks import FORK_LOCK

LOCK, USERS, SAVED, GET, SET = range(5)
_SETTERS = (
    ("scipy_openblas_get_num_threads", "scipy_openblas_set_num_threads"),
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
)
_guards: list[Any] = []


def guard_address(library: Library) -> int:
    """Return the address of the guard of a library, 0 where it has no threads that could be limited."""
    with FORK_LOCK:  # there is one guard, since it counts all who are inside the library
        return _make_guard(library)


@cache
def _make_guard(library: Library) -> int:
    found = _functions(library)
    if found is None:
        return 0
    guard = np.zeros(SET + 1, np.int64)
    guard[GET], guard[SET] = found
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(guard))  # threads may look at it until the very end
    _guards.append(guard)
    return int(guard.ctypes.data)


def _functions(library: Library) -> tuple[int, int] | None:
    """Return the functions that get and set the number of threads; a lookup there goes through what it links to."""
    try:
        handle = ctypes.CDLL(library.path)
    except (OSError, TypeError):
        return None
    for names in _SETTERS:
        if all(hasattr(handle, name) for name in names):
            get, set_ = (ctypes.cast(getattr(handle, n), ctypes.c_void_p).value or 0 for n in names)
            return get, set_
    return None


def _after_fork() -> None:
    """In a forked child the threads that were inside the library do not exist."""
    for guard in _guards:
        if guard[USERS]:
            ctypes.CFUNCTYPE(None, ctypes.c_int)(int(guard[SET]))(int(guard[SAVED]))
        guard[[LOCK, USERS]] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


GUARD_TEXT = f"""; While a guard has users, the library uses one thread in each of its callers.
define internal void @lock(ptr %guard) {{
entry:
  br label %look
look:
  %swap = cmpxchg ptr %guard, i64 0, i64 1 seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %won, label %end, label %again
again:
  call void @pause()
  br label %look
end:
  ret void
}}

define internal void @enter(ptr %guard) {{
  call void @lock(ptr %guard)
  %users.at = getelementptr i64, ptr %guard, i64 {USERS}
  %users = load i64, ptr %users.at
  %more = add i64 %users, 1
  store i64 %more, ptr %users.at
  %first = icmp eq i64 %users, 0
  br i1 %first, label %change, label %end
change:
  %get.at = getelementptr i64, ptr %guard, i64 {GET}
  %get = load ptr, ptr %get.at
  %had = call i32 %get()
  %wide = sext i32 %had to i64
  %saved.at = getelementptr i64, ptr %guard, i64 {SAVED}
  store i64 %wide, ptr %saved.at
  %set.at = getelementptr i64, ptr %guard, i64 {SET}
  %set = load ptr, ptr %set.at
  call void %set(i32 1)
  br label %end
end:
  store atomic i64 0, ptr %guard seq_cst, align 8
  ret void
}}

define internal void @leave(ptr %guard) {{
  call void @lock(ptr %guard)
  %users.at = getelementptr i64, ptr %guard, i64 {USERS}
  %users = load i64, ptr %users.at
  %fewer = sub i64 %users, 1
  store i64 %fewer, ptr %users.at
  %last = icmp eq i64 %fewer, 0
  br i1 %last, label %change, label %end
change:
  %saved.at = getelementptr i64, ptr %guard, i64 {SAVED}
  %saved = load i64, ptr %saved.at
  %narrow = trunc i64 %saved to i32
  %set.at = getelementptr i64, ptr %guard, i64 {SET}
  %set = load ptr, ptr %set.at
  call void %set(i32 %narrow)
  br label %end
end:
  store atomic i64 0, ptr %guard seq_cst, align 8
  ret void
}}
"""
