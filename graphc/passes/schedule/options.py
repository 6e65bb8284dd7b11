"""`Options`: what one compilation leaves out, by name; and the list of everything that can be left out.

Every pass, and every decision about kernels, memory and threads that only makes a program faster or smaller, has a
name and can be switched off: a result must not depend on it. So tests run programs without each in turn, and
`Function.verify` finds the one that changes a result. `function` hands the options to the passes; a `Schedule` carries
them to codegen.

What a program cannot do without is in `REQUIRED`, with the reason, and has no switch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FORMS = {
    "fuse": "several values share a kernel",
    "late_updates": "new values of states are computed last: until then a signal may end a call",
    "inline_scalars": "scalars of sizes and literals are computed in every kernel that reads them",
    "recompute": "cheap values are computed again in place of being stored",
    "state_in_place": "the new value of a state is written over the old one",
    "carries_in_place": "what loops and branches change of an array is written into it",
    "operands_in_place": "a scatter writes into the memory of its operand",
    "parts_in_place": "the operands of a concatenation are computed in their place",
    "reuse": "a value is written over one that dies in the same kernel",
    "reuse_rows": "rows that a loop gives are written over rows that it receives",
    "carries_in_stacks": "a carry lives in the stack of what the steps give",
    "inline_loops": "a loop of small kernels becomes one kernel",
    "carries_in_registers": "a scalar carry of such a loop stays in a register",
    "loop_invariants": "what no step of such a loop changes is computed before it",
    "strips": "operands read across the rows of a kernel are turned around in strips",
    "row_strips": "the same in kernels that reduce rows",
    "collapse": "axes that are walked as one become one loop",
    "interleave": "long loops take several vectors at a time",
    "vector_gathers": "loads with strides become vectors",
    "narrow_counters": "an index is compared with a counter in 32 bits",
    "row_buffers": "expensive values that two loops over a row need are kept in between",
    "row_lengths": "short rows at indices have their length in the text",
    "prefetch": "rows at indices are asked for some steps early",
    "whole_vectors": "the rows of stencils are computed in whole vectors, some elements twice",
    "neighbours": "an element of a row is the right neighbour that the step before has loaded",
    "tiles": "matrix products run in register tiles",
    "chunks": "large kernels run in chunks",
    "partial_chunks": "reductions run in chunks with states of their own",
    "product_chunks": "products that a library computes run in chunks",
    "target_rows": "scatters of rows are divided by the rows they write",
    "row_runs": "products and what follows them run block of rows by block of rows",
    "checks_once": "an index is checked by the first kernel that reads it",
    "share_memory": "values that do not live at the same time share memory",
}
"""The decisions after the passes that can be switched off, each with what it does when it is on."""

REQUIRED = {
    "prune": "results of loops that nothing reads have no place in memory",
    "expand": "kernels exist for the definitions of composites only",
    "optimise_bodies": "the passes above, in loops and branches: each has its own switch",
    "lay_out": "gives every value that lies in memory a form that kernels store",
    "blocked sums": "bound the error of sums; without them results are others",
    "history of carries": "the pass `store_residuals` asks for all carries of a loop; without it there is none",
}
"""What no program can be compiled without, and why."""


@dataclass(frozen=True)
class Options:
    """The passes and forms that a compilation leaves out; see `FORMS`, and `graphc.passes` for the passes."""

    off: frozenset[str] = frozenset()

    def uses(self, form: str) -> bool:
        """Tell whether a form is on."""
        assert form in FORMS, form
        return form not in self.off

    def without(self, names: Iterable[str]) -> Options:
        """Return the same with more left out."""
        return Options(self.off.union(names))


EVERYTHING = Options()
"""The options of every program that nobody takes apart."""
