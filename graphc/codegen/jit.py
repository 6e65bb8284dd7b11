"""Compile kernel source to object code: Numba types and lowers it (`frontend`), our own LLVM pipeline does the rest.

The module that Numba makes gets a C entry `kernel(frame, lo, hi) -> status`, the vector variants of its mathematics
and the preferred vector width, is optimised once and emitted. Nothing imports this module, and so numba, before the
first kernel that is not in the cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm

from graphc.codegen import roots
from graphc.codegen.frontend import lower_kernel
from graphc.codegen.kernels import COMPILER_LOCK
from graphc.codegen.libmvec import declarations
from graphc.codegen.loader import binding, target_machine
from graphc.codegen.vecmath import EXTERNAL_SYMBOLS
from graphc.errors import CompileError
from graphc.passes.fusion_costs import IN_TURNS

LONG_LOOP = 22
"""Instructions in a loop from which it is mathematics, not one load or sum, which LLVM interleaves as it should be."""
_WHOLE = re.compile(r"\bfor whole\d")
"""Of kernels with loops over whole vectors, in which a second one would leave some over."""
_LABEL = re.compile(r"([\w.]+):")
_BRANCH = re.compile(r"  br i1 \S+, label %(\S+), label %(\S+)$")
_TURNS = re.compile(r"# (\d+) in turns\n")
_ATTRIBUTES = '"prefer-vector-width"="512" nounwind'


def compile_kernel(source: str, symbol: str, precision: str = "vector") -> tuple[bytes, tuple[str, ...]]:
    """Return the object code of a kernel, whose entry is called `symbol`, and its undefined symbols.

    Raises `CompileError` with the source where Numba or LLVM refuse it.
    """
    with COMPILER_LOCK:
        try:
            module = optimised_module(source, symbol, precision)
            undefined = tuple(f.name for f in module.functions if f.is_declaration and not _is_intrinsic(f.name))
            foreign = [name for name in undefined if name not in EXTERNAL_SYMBOLS]
            if foreign:
                raise CompileError(f"kernel refers to {', '.join(foreign)}")
            with in_order(in_turns(source) > IN_TURNS):
                return target_machine().emit_object(module), undefined
        except Exception as error:
            raise CompileError(f"kernel does not compile: {error}\n{source}") from error


def _is_intrinsic(name: str) -> bool:
    return name.startswith("llvm.")


def optimised_module(source: str, symbol: str, precision: str = "vector") -> Any:
    """Return the optimised LLVM module of a kernel."""
    binding()
    text = _with_entry(*lower_kernel(source, precision), symbol)
    text = _interleaved(text, 1, 0) if _WHOLE.search(source) else _interleaved(text, in_turns(source), LONG_LOOP)
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    options.slp_vectorization = True
    options.loop_unrolling = not re.search("_(tile|part)_f", source)  # register tiles are unrolled as they should be
    builder = llvm.create_pass_builder(target_machine(), options)
    builder.getModulePassManager().run(module, builder)
    if "_graphc_" in text:
        _inline_own(module, builder)
    return module


def _inline_own(module: Any, builder: Any) -> None:
    """Inline what had to wait for the vectoriser: see `corrections` and `roots`."""
    if text := roots.definitions([f.name for f in module.functions if f.is_declaration]):
        module.link_in(llvm.parse_assembly(text))
    late = llvm.create_new_module_pass_manager()
    late.add_always_inliner_pass()
    late.run(module, builder)


def assembly(source: str, precision: str = "vector") -> str:
    """Return the machine code of a kernel as text, for people and for tests of its structure."""
    with COMPILER_LOCK:
        module = optimised_module(source, "kernel", precision)
        with in_order(in_turns(source) > IN_TURNS):
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


def in_turns(source: str) -> int:
    """Return how many vectors the long loops of a kernel take at a time, as its first line may say."""
    found = _TURNS.match(source)
    return int(found[1]) if found else IN_TURNS


def _interleaved(text: str, count: int, least: int) -> str:
    """Ask for so many vectors at a time in innermost loops of more than `least` instructions.

    Mathematics in a row has to wait for itself: a chain of tanh runs 1.6 times as fast when two of them take turns.
    LLVM interleaves short loops by itself, and reads this wish from the metadata of a loop's branch.
    """
    lines = text.splitlines()
    wishes: list[str] = []
    label, start = "", 0
    for number, line in enumerate(lines):
        if found := _LABEL.match(line):
            label, start = found[1], number
        elif (found := _BRANCH.match(line)) and label in found.groups() and number - start > least:
            name = 9000 + len(wishes)
            lines[number] += f", !llvm.loop !{name}"
            wishes.append(f"!{name} = distinct !{{!{name}, !8999}}")
    if wishes:
        wishes.append(f'!8999 = !{{!"llvm.loop.interleave.count", i32 {count}}}')
    return "\n".join([*lines, *wishes, ""])


def _with_entry(text: str, name: str, symbol: str) -> str:
    text = re.sub(r"^(source_filename|@_ZN08NumbaEnv).*$", "", text, flags=re.MULTILINE)
    head = next(line for line in text.splitlines() if line.startswith(f"define i32 @{name}("))
    given = re.findall(r"(ptr|i64) (?:[\w()]+ )*(%arg\.\w+)", head)
    inlined = f"{head.replace('define i32', 'define internal i32').removesuffix('{')}alwaysinline #900 {{"
    text = text.replace(head, inlined).replace(f"@{name}", "@body")
    parameters = ", ".join(f"{kind} {name}" for kind, name in given)
    return f"""{text}
{declarations(text)}{roots.declarations(text)}
define i64 @{symbol}({parameters}) #900 {{
  %result = alloca i64
  %exception = alloca ptr
  %status = call i32 @body(ptr %result, ptr %exception, {parameters})
  %value = load i64, ptr %result
  ret i64 %value
}}
attributes #900 = {{ {_ATTRIBUTES} }}
"""
