"""Addresses of kernels by source: from this process, from the disk cache, or from the compiler.

`counters` tells how many kernels were compiled and how many came from the cache: the proof that a new batch
size, a new constant or a new process compiles nothing.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from graphc.codegen.jit.cache import current_cache
from graphc.codegen.math import loader
from graphc.codegen.nest.options import KERNEL, KernelOptions
from graphc.graph.forks import FORK_LOCK


@dataclass
class Counters:
    """What this process did so far: kernels compiled, and kernels loaded from the disk cache."""

    compiled: int = 0
    from_cache: int = 0


counters = Counters()
_addresses: dict[tuple[str, KernelOptions], int] = {}


def emitting_files() -> list[Path]:
    """Return the files that decide what a source compiles to: all that `jit` and `loader` import, and more.

    Formulas of random numbers live among the ops, the number of vectors at a time in `machine`. A test follows the
    imports.
    """
    package = Path(__file__).parents[2]
    others = ("types.py", "dims.py", "identity.py", "arguments.py", "errors.py", "lazy.py", "forks.py")
    kinds = [*(package / "graph" / name for name in others), package / "passes" / "schedule" / "machine.py"]
    found = [*package.glob("codegen/**/*.py"), *package.glob("ops/random*.py"), *kinds]
    return sorted(found)


@cache
def environment() -> str:
    """Return everything but the source that object code depends on."""
    digest = hashlib.sha256()
    for path in emitting_files():
        digest.update(path.read_bytes())
    versions = [_version("llvmlite"), _version("numba")]
    machine = [loader.cpu_name(), loader.cpu_features(), loader.libc_version()]
    return "\n".join([digest.hexdigest(), *versions, *machine])


def _version(package: str) -> str:
    """Return what tells a package's versions apart: the file that names it, since `importlib.metadata` takes 15 ms."""
    spec = find_spec(package)
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        path = Path(folder, "_version.py")
        if path.exists():
            return path.read_text(encoding="utf-8")
    return str(importlib.import_module("importlib.metadata").version(package))


def kernel_key(source: str, options: KernelOptions | str) -> str:
    """Return the name under which a kernel's object code is cached."""
    text = "\n".join([environment(), str(options), source])
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def kernel_address(source: str, options: KernelOptions = KERNEL) -> int:
    """Return the address of the compiled kernel `source`, compiling it at most once per process and cache."""
    with FORK_LOCK:
        known = _addresses.get((source, options))
        if known is None:
            known = _addresses[source, options] = _obtain(source, options)
        return known


def text_addresses(text: Callable[[str], str], names: Sequence[str]) -> tuple[int, ...]:
    """Return the addresses of the functions `<symbol>_<name>` of a module in LLVM text; `text` takes the symbol.

    No kernel: `counters` leaves them out.
    """
    with FORK_LOCK:
        key = kernel_key(text("graphc"), "text")
        symbols = [f"graphc_{key}_{name}" for name in names]
        cached = current_cache().load(key)
        if cached is not None:
            return loader.load_all(cached[0], symbols)
        code = loader.compile_text(text(f"graphc_{key}"))
        current_cache().save(key, code, ())
        return loader.load_all(code, symbols)


def _obtain(source: str, options: KernelOptions) -> int:
    key = kernel_key(source, options)
    symbol = f"graphc_{key}"
    cached = current_cache().load(key)
    if cached is not None and loader.resolvable(cached[1]):
        counters.from_cache += 1
        return loader.load(cached[0], symbol)
    code, symbols = _compile(source, symbol, options)
    current_cache().save(key, code, symbols)
    counters.compiled += 1
    return loader.load(code, symbol)


def _compile(source: str, symbol: str, options: KernelOptions) -> tuple[bytes, tuple[str, ...]]:
    from graphc.codegen.jit import compiler as jit

    return jit.compile_kernel(source, symbol, options)
