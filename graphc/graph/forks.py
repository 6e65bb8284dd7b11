"""What a fork waits for: compilation, and imports under way, which a child could not finish.

A forked child has one thread. A lock that another thread held stays locked there, and so does a module that another
thread was importing: whoever imports it in the child waits for ever.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time

FORK_LOCK = threading.RLock()
"""Held while a kernel is compiled or loaded, and while graphc imports what calls need."""
PACKAGES = ("graphc", "llvmlite", "networkx", "numba", "numpy", "scipy")
_SECONDS = 20.0


def _before() -> None:
    FORK_LOCK.acquire()
    end = time.monotonic() + _SECONDS
    while _imports_elsewhere() and time.monotonic() < end:
        time.sleep(1e-3)


def _imports_elsewhere() -> bool:
    """Tell whether another thread is importing a module that a call may need."""
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES and getattr(getattr(module, "__spec__", None), "_initializing", False):
            lock = locks.get(name, lambda: None)()
            if getattr(lock, "owner", None) != threading.get_ident():
                return True
    return False


if hasattr(os, "register_at_fork"):
    # Numba, where a user's code has it, logs while it compiles ours for `njit`: logging's lock is taken inside ours, so
    # a fork must take it after ours. Hooks run in reverse order.
    importlib.import_module("logging")
    os.register_at_fork(before=_before, after_in_parent=FORK_LOCK.release, after_in_child=FORK_LOCK.release)
