"""`State`: the storage behind a shared node, and who may touch it while a compiled program runs.

Compiled programs mark the states they use in a lock word, which the native entry reads and sets under the GIL;
Python code (the interpreter, `get_value`, `set_value`) holds states through `hold_states`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakSet

import numpy as np

from graphc.graph.errors import GraphcError, at
from graphc.graph.types import Array

_states: WeakSet[State] = WeakSet()
ALIGNMENT = 64
"""Bytes of a cache line, at a multiple of which states begin: vectors across two lines take twice the time."""
_PYTHON_HOLDS = 1 << 56
"""Above every thread's ident; added to a lock word, since one NumPy call is one step under the GIL."""


def release_state_locks() -> None:
    """Free every state: in a forked child the threads that held them do not exist."""
    for state in _states:
        state.free()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=release_state_locks)


def aligned_copy(array: Array) -> Array:
    """Return a C-contiguous copy that begins at a multiple of `ALIGNMENT`, which NumPy's own memory seldom does."""
    raw = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    skip = -raw.ctypes.data % ALIGNMENT
    copy: Array = raw[skip : skip + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


class State:
    """The storage behind a `Shared` node: one C-contiguous array, a copy of that given.

    The array keeps its address as long as it keeps its shape. With another shape come another array and another lock
    word; programs bound to those before find theirs taken for good, and are bound anew.

    `lock` is one int64, 0 where the state is free: the ident of the thread in which a compiled program uses it
    without the GIL, plus `_PYTHON_HOLDS` where Python code holds it or waits for that program.
    """

    __slots__ = ("__weakref__", "array", "lock", "moves", "mutex", "name", "owner")

    def __init__(self, array: Array, name: str) -> None:
        self.array = aligned_copy(array)
        self.name = name
        self.lock = np.zeros(1, np.int64)
        self.moves = 0
        """How often the array has been replaced."""
        self.free()
        _states.add(self)

    def free(self) -> None:
        """Forget who holds this state."""
        self.lock[0] = 0
        self.mutex = threading.RLock()
        self.owner = 0

    def in_use_here(self) -> bool:
        """Tell whether an unfinished call of this thread uses this state: we are in a signal handler or finalizer."""
        me = threading.get_ident()
        return self.owner == me or int(self.lock[0]) % _PYTHON_HOLDS == me

    def refuse_nested_use(self) -> None:
        """Raise where waiting for this state would wait for this thread itself."""
        if self.in_use_here():
            raise GraphcError(
                f"state {self.name!r} is in use by an unfinished call of this thread;"
                f" a signal handler or finalizer inside it can only read the state{at()}"
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep compiled programs and other threads away from this state."""
        with self.mutex:
            before, self.owner = self.owner, threading.get_ident()
            np.add(self.lock, _PYTHON_HOLDS, out=self.lock)
            try:
                while int(self.lock[0]) % _PYTHON_HOLDS:
                    time.sleep(50e-6)
                yield
            finally:
                np.subtract(self.lock, _PYTHON_HOLDS, out=self.lock)
                self.owner = before

    def put(self, array: Array) -> None:
        """Write a new value while this state is held; one of another shape replaces the array."""
        if array.shape == self.array.shape:
            self.array[...] = array
            return
        self.array = aligned_copy(array.astype(self.array.dtype))
        self.lock = self.lock.copy()
        self.moves += 1

    def __getstate__(self) -> tuple[Array, str]:
        return self.array, self.name

    def __setstate__(self, state: tuple[Array, str]) -> None:
        State.__init__(self, *state)


@contextmanager
def hold_states(states: Iterable[State]) -> Iterator[None]:
    """Hold several states, in one order for all threads; raises where this thread uses one already."""
    ordered = sorted(states, key=id)
    for state in ordered:
        state.refuse_nested_use()
    with ExitStack() as stack:
        for state in ordered:
            stack.enter_context(state.held())
        yield
