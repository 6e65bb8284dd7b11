"""Numba's front end, cut down to what kernels are made of: numbers, loops, pointers and our intrinsics.

Numba types a kernel and lowers it to LLVM text; it makes no wrapper and no executable. The contexts here know neither
arrays nor containers nor strings, whose rules take a third of a second to load and make every operation slower to
type, and the pipeline has no passes for closures, `with` blocks, literal loops and array expressions: kernels have
none. Numba's own contexts, which `njit` uses, are left alone.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

from numba.core import typed_passes, types, untyped_passes
from numba.core.compiler import CompilerBase, Flags, compile_extra
from numba.core.compiler_machinery import PassManager
from numba.core.cpu import CPUContext
from numba.core.decorators import jit
from numba.core.descriptors import TargetDescriptor
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_override, target_registry
from numba.core.typing.context import Context

from graphc.codegen.intrinsics import jit_globals
from graphc.codegen.pointers import PointerType

_NAME = "graphc kernels"
_PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.IRLegalization,
    typed_passes.NativeLowering,
    typed_passes.NoPythonBackend,
)


class _Kernels(CPU):
    """The target: what Numba's own rules for CPUs are looked up for."""


class _Types(Context):
    def load_additional_registries(self) -> None:
        """Load nothing beside the built-in types."""


class _Lowering(CPUContext):
    def load_additional_registries(self) -> None:
        """Load how numbers, ranges and tuples are lowered; to import that is to register it."""
        from numba.cpython import builtins, numbers, rangeobj, tupleobj  # noqa: F401

    def post_lowering(self, mod: Any, library: Any) -> None:
        """Link nothing: kernels own no memory that Numba's runtime would count."""


class _Descriptor(TargetDescriptor):
    """Where Numba finds the contexts while it compiles for a target."""

    def __init__(self, name: str) -> None:
        super().__init__(name)  # type: ignore[no-untyped-call]
        self._typing = _Types()  # type: ignore[no-untyped-call]
        self._lowering = _Lowering(self._typing, name)  # type: ignore[no-untyped-call]

    @property
    def typing_context(self) -> Any:
        """The context that types are inferred in."""
        return self._typing

    @property
    def target_context(self) -> Any:
        """The context that lowers to LLVM."""
        return self._lowering


class _Pipeline(CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        """Return the one list of passes."""
        manager = PassManager("kernel")
        for found in _PASSES:
            manager.add_pass(found, found.__name__)
        manager.finalize()
        return [manager]


@cache
def _target() -> _Descriptor:
    """Tell Numba of the target, once."""
    target_registry[_NAME] = _Kernels
    descriptor = _Descriptor(_NAME)
    dispatcher_registry[_Kernels] = SimpleNamespace(targetdescr=descriptor)
    jit_registry[_Kernels] = jit  # asked for before Numba looks whether a rule written in Python fits; none does here
    return descriptor


def _flags() -> Any:
    flags: Any = Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    flags.nrt = False
    return flags


def lower_kernel(source: str, precision: str) -> tuple[str, str]:
    """Return Numba's LLVM text of a kernel and the name of its function."""
    space = dict(jit_globals(precision))
    exec(compile(source, "<graphc kernel>", "exec"), space)
    kernel = space["kernel"]
    signature = (PointerType("i64", 0, 0), *[types.int64] * (kernel.__code__.co_argcount - 1))
    target = _target()
    contexts = target.typing_context, target.target_context
    with target_override(_NAME):
        result = compile_extra(*contexts, kernel, signature, types.int64, _flags(), {}, pipeline_class=_Pipeline)
    return str(result.library._final_module), result.fndesc.mangled_name
