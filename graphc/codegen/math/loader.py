"""LLVM for this machine: its target, the objects it makes of modules, and what loads them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from functools import cache
from typing import Any

from graphc.codegen.math.vecmath import EXTERNAL_SYMBOLS

_engines: list[Any] = []


@cache
def binding() -> Any:
    """Return llvmlite's binding with the native target initialised and libmvec loaded where there is one."""
    import llvmlite.binding as llvm

    from graphc.codegen.math.libmvec import has_libmvec

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    has_libmvec()
    return llvm


def target_machine() -> Any:
    """Return a machine for this CPU; an engine takes ownership of the one it gets."""
    llvm = binding()
    target = llvm.Target.from_default_triple()
    cpu, features = cpu_name(), cpu_features()
    return target.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small", jit=True)


@cache
def cpu_name() -> str:
    """Return LLVM's name of this CPU."""
    return str(binding().get_host_cpu_name())


@cache
def cpu_features() -> str:
    """Return this CPU's features as LLVM spells them."""
    return str(binding().get_host_cpu_features().flatten())


@cache
def has_feature(name: str) -> bool:
    """Tell whether this CPU has a feature of LLVM's name."""
    return f"+{name}" in cpu_features().split(",")


@cache
def has_fma() -> bool:
    """Tell whether this CPU multiplies and adds in one instruction, vectors too."""
    return has_feature("fma") or platform.machine() in ("arm64", "aarch64")


@cache
def libc_version() -> str:
    """Return the C library's name and version: libm and libmvec belong to it."""
    try:
        return str(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):
        return platform.platform()


def resolvable(symbols: Sequence[str]) -> bool:
    """Tell whether every symbol is expected in a kernel and has an address: a missing one is a crash."""
    address = binding().address_of_symbol
    return all(s in EXTERNAL_SYMBOLS and address(s) for s in symbols)


def compile_text(text: str) -> bytes:
    """Return the object code of a module that is written as LLVM text: control, which gains nothing from vectors."""
    llvm = binding()
    module = llvm.parse_assembly(text)
    module.verify()
    machine = target_machine()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))


def load(code: bytes, symbol: str) -> int:
    """Return the address of `symbol` in an object, which stays loaded for the life of the process."""
    return load_all(code, [symbol])[0]


def load_all(code: bytes, symbols: Sequence[str]) -> tuple[int, ...]:
    """Return the addresses of several symbols of one object; see `load`."""
    llvm = binding()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return tuple(int(engine.get_function_address(symbol)) for symbol in symbols)
