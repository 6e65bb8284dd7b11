"""From a kernel's Python text to LLVM's, by Numba: its bytecode interpreter, its typing and its lowering.

The kernel's text becomes a Python function, which Numba compiles for a target of graphc's own: contexts that know the
words of kernels and nothing else, no reference counts, no exceptions, and C's calling convention. The module is taken
as text; the bodies of words are added to it, and `jit` inlines and optimises.

What the modules of this target lean on inside Numba, and what each name buys; Numba documents those marked (d):

- `core.analysis.compute_cfg_from_blocks`: dominance and loops: which variables are registers
- `core.base.BaseContext`: a target without CPython's, NumPy's and NRT's registries
- `core.callconv.BaseCallConv`: kernels return a status in a register, and have no wrapper
- `core.compiler.CompilerBase`: a pipeline of four passes (d)
- `core.compiler.Flags`: what `CompilerBase` is made of
- `core.compiler_machinery.FunctionPass`: passes of our own (d)
- `core.compiler_machinery.PassManager`: passes of our own (d)
- `core.compiler_machinery.register_pass`: passes of our own (d)
- `core.errors.NumbaError`: messages (d)
- `core.errors.TypingError`: messages (d)
- `core.funcdesc.PythonFunctionDescriptor`: what `Lower` is made of
- `core.imputils.Registry`: what words lower to (as Numba's CUDA target)
- `core.interpreter.Interpreter`: bytecode without peepholes: a fifth of the front end's time
- `core.ir`: statements, which the walk over types matches
- `core.lowering.Lower`: registers in place of memory, ranges as counters
- `core.target_extension.CPU`: a target of our own
- `core.target_extension.target_override`: a target of our own
- `core.target_extension.target_registry`: a target of our own
- `core.types`: types of numbers (d)
- `core.typing.context.BaseContext`: typing with the words of kernels only
- `core.typing.templates.AbstractTemplate`: rules of types (d)
- `core.typing.templates.Registry`: rules of types
- `core.typing.templates.signature`: rules of types
- `core.untyped_passes.FixupArgs`: the count of arguments
"""

from __future__ import annotations

import builtins
from functools import cache
from typing import Any

import llvmlite.ir as ll
from numba.core.base import BaseContext
from numba.core.callconv import BaseCallConv
from numba.core.compiler import CompilerBase, Flags
from numba.core.compiler_machinery import FunctionPass, PassManager, register_pass
from numba.core.errors import NumbaError
from numba.core.funcdesc import PythonFunctionDescriptor
from numba.core.interpreter import Interpreter
from numba.core.target_extension import CPU, target_override, target_registry
from numba.core.typing.context import BaseContext as BaseTyping
from numba.core.untyped_passes import FixupArgs

from graphc.codegen.jit import numba_emit, numba_types
from graphc.codegen.jit.numba_emit import ADDRESS, I64
from graphc.codegen.jit.numba_flow import Flow
from graphc.codegen.jit.numba_lower import KernelLower
from graphc.codegen.jit.numba_types import FRAME, INDEX, NUMBERS, WORDS, Word
from graphc.codegen.nest.options import KERNEL, KernelOptions
from graphc.graph.errors import CompileError

TARGET = "graphc"
_CONTROL = "nounwind"
_VECTORS = f'"prefer-vector-width"="512" {_CONTROL}'
"""Attributes of kernels."""


class _Kernels(CPU):
    """The target of kernels."""


target_registry[TARGET] = _Kernels


class _Typing(BaseTyping):
    """Numba's typing with the words of kernels."""

    def refresh(self) -> None:
        self.install_registry(numba_types.REGISTRY)


class _CallConv(BaseCallConv):
    """A pointer and int64s are given, an int64 is returned."""

    def get_function_type(self, restype: Any, argtypes: Any) -> Any:
        return ll.FunctionType(I64, [ADDRESS if t is FRAME else I64 for t in argtypes])

    def decorate_function(self, fn: Any, args: Any, fe_argtypes: Any, noalias: bool = False) -> None:
        for name, arg in zip(args, fn.args, strict=True):
            arg.name = f"given.{name}"

    def init_call_helper(self, builder: Any) -> None:
        return None


class _Target(BaseContext):
    """Numba's lowering with the words of kernels."""

    def init(self) -> None:
        self.found: dict[Any, Any] = {}

    def refresh(self) -> None:
        self.install_registry(numba_emit.REGISTRY)

    @property
    def call_conv(self) -> Any:
        return _CallConv(self)

    def apply_target_attributes(self, *args: Any) -> None:
        """Add no attributes: `jit` says which a kernel has."""

    def codegen(self) -> None:
        return None

    def implementation(self, key: Any, signature: Any) -> Any:
        """Return what a word lowers to for these types, which one registration decides."""
        found = self.found.get(key)
        if found is None:
            found = self.found[key] = self._defns[key].find(signature.args)
        return found


class _Library:
    """A module is taken as text, and belongs to no library."""

    def create_ir_module(self, name: str) -> Any:
        return ll.Module(name)


class _Interpreter(Interpreter):
    """Numba's bytecode interpreter without its peepholes, which kernels have no use for (a fifth of its time)."""

    def post_process(self, peepholes: Any, func_ir: Any) -> Any:
        return func_ir


@register_pass(mutates_CFG=True, analysis_only=False)
class _Translation(FunctionPass):
    """Interpret the bytecode."""

    _name = "graphc_translation"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.func_ir = _Interpreter(state.func_id).interpret(state.bc)
        return True


@register_pass(mutates_CFG=False, analysis_only=False)
class _Types(FunctionPass):
    """Give every variable its type."""

    _name = "graphc_types"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        flow = Flow(state.func_ir.blocks, state.typingctx)
        flow.run(state.args)
        state.metadata["flow"] = flow
        state.typemap, state.calltypes, state.return_type = flow.types, flow.calls, NUMBERS["i64"]
        return True


@register_pass(mutates_CFG=False, analysis_only=True)
class _Calls(FunctionPass):
    """Give the walk to who asks what a kernel calls."""

    _name = "graphc_calls"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.cr = state.metadata["flow"]
        return False


@register_pass(mutates_CFG=False, analysis_only=False)
class _Lowering(FunctionPass):
    """Lower to LLVM."""

    _name = "graphc_lowering"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        symbol = state.metadata["symbol"]
        how = {"mangler": lambda *_, **__: symbol, "inline": False, "noalias": False, "abi_tags": ()}
        descriptor = PythonFunctionDescriptor.from_specialized_function(
            state.func_ir, state.typemap, state.return_type, state.calltypes, **how
        )
        lower = KernelLower(state.targetctx, state.library, descriptor, state.func_ir, state.metadata)
        lower.lower()
        state.cr = lower
        return True


class _Compiler(CompilerBase):  # type: ignore[misc]
    """Numba's compiler with the passes that kernels need."""

    last: tuple[Any, str] = (_Lowering, "lowering")

    def define_pipelines(self) -> list[Any]:
        manager = PassManager("graphc")
        manager.add_pass(_Translation, "bytecode to Numba's IR")
        manager.add_pass(FixupArgs, "arguments")
        manager.add_pass(_Types, "types")
        manager.add_pass(*self.last)
        manager.finalize()
        return [manager]


class _Reader(_Compiler):
    """The same without lowering."""

    last = (_Calls, "calls")


@cache
def _contexts() -> tuple[Any, Any]:
    typing = _Typing()
    with target_override(TARGET):
        target = _Target(typing, TARGET)
        typing.refresh()
        target.refresh()
    return typing, target


def lower_kernel(source: str, symbol: str, options: KernelOptions = KERNEL) -> str:
    """Return the LLVM text of a kernel: a function of its name, from the address of words and int64s to an int64."""
    try:
        return _lowered(source, symbol, options)
    except (SyntaxError, NumbaError) as error:
        raise CompileError(f"Numba refuses the kernel: {error}") from error


def _lowered(source: str, symbol: str, options: KernelOptions) -> str:
    lowered = _compiled(_Compiler, source, {"options": options, "symbol": symbol})
    if not isinstance(lowered, KernelLower):
        raise CompileError("Numba returned no kernel")
    return module_text(lowered, symbol, options)


def calls(source: str) -> dict[tuple[str, tuple[Any, ...]], None]:
    """Return the words that a kernel calls, each with the types of its operands, in order."""
    flow = _compiled(_Reader, source, {})
    called = ((flow.words.get(e.func.name), s.args) for e, s in flow.calls.items() if getattr(e, "op", "") == "call")
    return {(word.name, args): None for word, args in called if isinstance(word, Word)}


def _compiled(kind: type[_Compiler], source: str, metadata: dict[str, Any]) -> Any:
    space: dict[str, Any] = {"__builtins__": {"range": range, "bool": builtins.bool}, **WORDS}
    exec(compile(source, "<graphc kernel>", "exec"), space)
    function = space["kernel"]
    typing, target = _contexts()
    count = function.__code__.co_argcount
    arguments = [FRAME, *[INDEX] * (count - 1)]
    with target_override(TARGET):
        compiler = kind(typing, target, _Library(), arguments, None, Flags(), {})
        compiler.state.metadata |= metadata
        return compiler.compile_extra(function)


def module_text(lowered: KernelLower, symbol: str, options: KernelOptions) -> str:
    """Return the module's text with the bodies of the words that it calls."""
    words = lowered.graphc.words
    outside: dict[str, str] = {}
    for word in words.values():
        outside |= word.outside
    lines = []
    for line in str(lowered.module).splitlines():
        if line.startswith("declare") and any(f'@"{s}"(' in line for s in words):
            continue
        if line.startswith("define"):
            line = f"{line} {_CONTROL if options.control else _VECTORS}"
        lines.append(line)
    return "\n".join([*lines[3:], *outside.values(), *(w.text for w in words.values()), ""])
