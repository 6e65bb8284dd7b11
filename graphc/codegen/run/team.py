"""The team: the threads that help a call, one team for the process, started at the first instruction that needs them.

Its threads are native (`team_text`): they never touch Python, spin for some microseconds after a job and then sleep in
a semaphore. They end before a fork and start again where they are needed, in the parent and in the child, and end when
the interpreter exits. Where the platform lacks what this takes there is no team, and every call uses one thread.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.codegen.jit.kernels import text_addresses
from graphc.codegen.nest import team_words as words
from graphc.codegen.run.team_text import team_text
from graphc.graph.errors import ArgumentError, at
from graphc.graph.forks import FORK_LOCK

VARIABLE = "GRAPHC_NUM_THREADS"
_teams: list[npt.NDArray[np.int64]] = []
_EXIT_TRIES = 1_000_000


def default_threads() -> int:
    """Return how many threads a call may use by default: the processors of this process, or GRAPHC_NUM_THREADS."""
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        return min(_processors(), words.MAX_THREADS)
    if not given.isdecimal() or int(given) < 1:
        raise ArgumentError(f"{VARIABLE} must be a positive int, got {given!r}{at()}")
    return int(given)


def _processors() -> int:
    """Return how many processors the process may use, by its affinity and by the limit of its control group."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError), open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
        quota, period = file.read().split()
        found = min(found, max(1, -(-int(quota) // int(period))))  # "max" is no int: no limit
    return found


@cache
def parallel_address() -> int:
    """Return the address of the kernel that runs the chunks of an instruction."""
    return _addresses()[0]


@cache
def _addresses() -> tuple[int, ...]:
    return text_addresses(team_text, ("parallel", "member", "end"))


def team_address() -> int:
    """Return the address of the team, 0 where the platform allows none; its threads start when they are needed."""
    with FORK_LOCK:
        if not _teams:
            routines = _routines()
            if routines is None:
                return 0
            _teams.append(_make(routines))
            atexit.register(_end, _EXIT_TRIES)
        return int(_teams[0].ctypes.data)


def threads_running() -> int:
    """Return how many threads the team has besides its callers."""
    return int(_teams[0][words.STARTED]) if _teams else 0


def _routines() -> dict[int, int] | None:
    """Return the addresses of the system's functions by their place in the team, or None where one is missing."""
    names = {words.CREATE: "pthread_create", words.JOIN: "pthread_join", words.YIELD: "sched_yield"}
    names |= {words.MASK: "pthread_sigmask"}
    mac = sys.platform == "darwin"
    names |= {words.WAIT: "dispatch_semaphore_wait" if mac else "sem_wait"}
    names |= {words.POST: "dispatch_semaphore_signal" if mac else "sem_post"}
    if sys.platform == "win32":
        return None
    try:
        library = ctypes.CDLL(None)
        found = {place: ctypes.cast(getattr(library, name), ctypes.c_void_p).value for place, name in names.items()}
        getattr(library, "dispatch_semaphore_create" if mac else "sem_init")
    except (AttributeError, OSError):
        return None
    return {place: address for place, address in found.items() if address}


def _make(routines: dict[int, int]) -> npt.NDArray[np.int64]:
    """Return the words of a team without threads; they stay for the life of the process."""
    raw = np.zeros(words.MEMBERS + words.MEMBER_WORDS * words.MAX_THREADS + words.LINE, np.int64)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(raw))  # threads may look at it until the very end
    team = raw[-raw.ctypes.data % (8 * words.LINE) // 8 :]
    for place, address in routines.items():
        team[place] = address
    team[words.WORKER] = _addresses()[1]
    team[words.BLOCK] = _signal_block()
    for number in range(words.MAX_THREADS):
        first = words.MEMBERS + words.MEMBER_WORDS * number
        member = team[first : first + words.MEMBER_WORDS]
        member[words.NUMBER], member[words.TEAM] = number, team.ctypes.data
        member[words.ALL_SIGNALS : words.SEMAPHORE_WORDS] = -1
        member[words.SEMAPHORE] = _semaphore(member.ctypes.data + 8 * words.SEMAPHORE_WORDS)
    return team


def _signal_block() -> int:
    """Return what `pthread_sigmask` calls SIG_BLOCK: signals are for Python's threads."""
    import signal

    return int(getattr(signal, "SIG_BLOCK", 0))


def _semaphore(storage: int) -> int:
    """Return a semaphore as the system's functions take it."""
    library = ctypes.CDLL(None)
    if sys.platform == "darwin":
        library.dispatch_semaphore_create.restype = ctypes.c_void_p
        return int(library.dispatch_semaphore_create(ctypes.c_long(0)) or 0)
    library.sem_init(ctypes.c_void_p(storage), 0, 0)
    return storage


# -- the end, and forks


def _end(tries: int) -> None:
    """End the threads, and keep the team taken: instructions that run meanwhile do without it."""
    if _teams:
        end: Any = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(_addresses()[2])
        end(int(_teams[0].ctypes.data), tries)


def _before_fork() -> None:
    _end(1 << 62)


def _after_fork() -> None:
    if _teams:
        _teams[0][words.BUSY] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
