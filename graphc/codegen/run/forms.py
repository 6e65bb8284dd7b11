"""In which form each kernel runs at given sizes, in words: for kernels that have several.

Nests with a `Condition` are one of two forms of a kernel; a product runs in register tiles, or calls BLAS outside the
limits of its `Product`. Both are decided when sizes are bound. The plan prints what this module says of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.codegen.nest.nest import ABSENT, LoopNest
from graphc.graph.types import Sizes

if TYPE_CHECKING:
    from graphc.codegen.run.frames import Memory


def forms_of(memory: Memory) -> dict[str, str]:
    """Return the form of every kernel that has several, loop bodies included, by the kernel's name."""
    found: dict[str, dict[str, None]] = {}
    for section in memory.walked(memory.main):
        for number, nest in enumerate(memory.nests[section]):
            form = "" if nest is ABSENT else form_of(nest, memory.sizes)
            if form:
                found.setdefault(memory.kernel_name(section, number), {})[form] = None
    return {kernel: " and ".join(forms) for kernel, forms in found.items()}


def form_of(nest: LoopNest, sizes: Sizes) -> str:
    """Return the form in which a kernel runs at given sizes as words; nothing where it has one only."""
    if nest.choice is not None:
        return nest.choice.words
    if nest.product is not None and nest.product.has_tiles:
        return "a call of BLAS" if nest.product.needs_library(sizes) else "register tiles"
    return ""
