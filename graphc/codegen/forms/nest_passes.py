"""The passes over nests: each takes a nest and returns one that does the same, in the order of `NEST_PASSES`.

What depends on the graph beside the nest (which operands lie across rows, which rows a scatter writes) is decided where
the nest is made, in `lower`.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.codegen.forms.neighbours import carry_neighbours
from graphc.codegen.forms.scalar_words import use_scalar_words
from graphc.codegen.nest.nest import LoopNest
from graphc.passes.schedule.options import Options

NEST_PASSES: tuple[tuple[str, Callable[[LoopNest], LoopNest]], ...] = (
    ("neighbours", carry_neighbours),  # before nests become part of loops, which rename what they know of pointers
    ("", use_scalar_words),  # part of what functions mean: it has no switch
)
"""Each pass with the form that switches it off."""


def run(nest: LoopNest, options: Options) -> LoopNest:
    """Return a nest after all passes."""
    for form, change in NEST_PASSES:
        if not form or options.uses(form):
            nest = change(nest)
    return nest
