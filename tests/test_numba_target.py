"""What the compiler of kernels leans on inside Numba, each with what it buys."""

from __future__ import annotations

import importlib
from importlib.metadata import version

import pytest

from tests.test_architecture import MODULES, imported

LEANED_ON = {
    "numba.core.analysis.compute_cfg_from_blocks": "dominance and loops: which variables are registers",
    "numba.core.base.BaseContext": "a target without CPython's, NumPy's and NRT's registries",
    "numba.core.callconv.BaseCallConv": "kernels return a status in a register, and have no wrapper",
    "numba.core.compiler.CompilerBase": "a pipeline of four passes (documented)",
    "numba.core.compiler.Flags": "what `CompilerBase` is made of",
    "numba.core.compiler_machinery.FunctionPass": "passes of our own (documented)",
    "numba.core.compiler_machinery.PassManager": "passes of our own (documented)",
    "numba.core.compiler_machinery.register_pass": "passes of our own (documented)",
    "numba.core.errors.NumbaError": "messages (documented)",
    "numba.core.errors.TypingError": "messages (documented)",
    "numba.core.funcdesc.PythonFunctionDescriptor": "what `Lower` is made of",
    "numba.core.imputils.Registry": "what words lower to (as Numba's CUDA target)",
    "numba.core.interpreter.Interpreter": "bytecode without peepholes: a fifth of the front end's time",
    "numba.core.ir": "statements, which the walk over types matches",
    "numba.core.lowering.Lower": "registers in place of memory, ranges as counters",
    "numba.core.target_extension.CPU": "a target of our own",
    "numba.core.target_extension.target_override": "a target of our own",
    "numba.core.target_extension.target_registry": "a target of our own",
    "numba.core.types": "types of numbers (documented)",
    "numba.core.typing.context.BaseContext": "typing with the words of kernels only",
    "numba.core.typing.templates.AbstractTemplate": "rules of types (documented for experts)",
    "numba.core.typing.templates.Registry": "rules of types",
    "numba.core.typing.templates.signature": "rules of types",
    "numba.core.untyped_passes.FixupArgs": "the count of arguments",
}
OF_KERNELS = [m for m in MODULES if m.startswith("graphc.codegen.jit.numba_") and not m.endswith("numba_pointers")]


@pytest.mark.parametrize("name", LEANED_ON)
def test_numba_has_what_kernels_lean_on(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


def test_nothing_else_is_taken_from_numba() -> None:
    modules = {n.rpartition(".")[0] for n in LEANED_ON}
    taken = {n for m in OF_KERNELS for n in imported(m, lazy=True) if n.partition(".")[0] == "numba"}
    assert taken and taken <= modules | set(LEANED_ON)


def test_the_minor_version_is_the_one_that_was_read() -> None:
    assert version("numba").split(".")[:2] == ["0", "68"]
