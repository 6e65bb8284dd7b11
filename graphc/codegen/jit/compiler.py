"""Compile kernel source to object code: Numba types and lowers it to LLVM's text, a pipeline of our own does the rest.

The module gets the vector variants of its mathematics and the preferred vector width, is optimised once and emitted.
Nothing imports this module before the first kernel that is not in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm

from graphc.codegen.jit.numba_compiler import lower_kernel
from graphc.codegen.math import roots
from graphc.codegen.math.libmvec import declarations
from graphc.codegen.math.loader import binding, compile_text, target_machine
from graphc.codegen.math.vecmath import EXTERNAL_SYMBOLS
from graphc.codegen.nest.options import KERNEL, KernelOptions
from graphc.graph.errors import CompileError
from graphc.graph.forks import FORK_LOCK
from graphc.passes.schedule.machine import IN_TURNS


def compile_kernel(source: str, symbol: str, options: KernelOptions = KERNEL) -> tuple[bytes, tuple[str, ...]]:
    """Return the object code of a kernel, whose entry is called `symbol`, and its undefined symbols.

    Pointers of a control kernel may share anything. Raises `CompileError` with the source where Numba or LLVM refuses
    it.
    """
    with FORK_LOCK:
        try:
            if options.control:
                return compile_text(lower_kernel(source, symbol, options)), ()
            module = optimised_module(source, symbol, options)
            undefined = tuple(f.name for f in module.functions if f.is_declaration and not _is_intrinsic(f.name))
            foreign = [name for name in undefined if name not in EXTERNAL_SYMBOLS]
            if foreign:
                raise CompileError(f"kernel refers to {', '.join(foreign)}")
            with in_order(options.turns > IN_TURNS):
                return target_machine().emit_object(module), undefined
        except Exception as error:
            raise CompileError(f"kernel does not compile: {error}\n{source}") from error


def _is_intrinsic(name: str) -> bool:
    return name.startswith("llvm.")


def optimised_module(source: str, symbol: str, options: KernelOptions = KERNEL) -> Any:
    """Return the optimised LLVM module of a kernel."""
    binding()
    text = lower_kernel(source, symbol, options)
    text += declarations(text) + roots.declarations(text)
    module = llvm.parse_assembly(text)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    tuning.slp_vectorization = True
    tuning.loop_unrolling = not options.tiles
    builder = llvm.create_pass_builder(target_machine(), tuning)
    _inline(module, builder)
    builder.getModulePassManager().run(module, builder)
    if "_graphc_" in text:
        _inline_own(module, builder)
    return module


def _inline_own(module: Any, builder: Any) -> None:
    """Inline what had to wait for the vectoriser: see `corrections` and `roots`."""
    if text := roots.definitions([f.name for f in module.functions if f.is_declaration]):
        module.link_in(llvm.parse_assembly(text))
    _inline(module, builder)


def _inline(module: Any, builder: Any) -> None:
    """Inline the words: what follows sees a kernel as if its formulas had been written out."""
    manager = llvm.create_new_module_pass_manager()
    manager.add_always_inliner_pass()
    manager.run(module, builder)


def assembly(source: str, options: KernelOptions = KERNEL) -> str:
    """Return the machine code of a kernel as text, for people and for tests of its structure."""
    with FORK_LOCK:
        module = optimised_module(source, "kernel", options)
        with in_order(options.turns > IN_TURNS):
            return str(target_machine().emit_assembly(module))


@contextmanager
def in_order(wanted: bool) -> Iterator[None]:
    """Emit vectors that take turns as they stand.

    LLVM's scheduler saves registers by putting all of one vector before the next, which then waits for itself again:
    a chain of 100 operations takes 1.9 times as long so. The option is the process's, and set for this moment only.
    """
    if wanted:
        llvm.set_option("graphc", "-misched-regpressure=false")
    try:
        yield
    finally:
        if wanted:
            llvm.set_option("graphc", "-misched-regpressure=true")
