"""`KernelOptions`: how a nest is compiled, beside what its text says."""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphc.passes.schedule.machine import IN_TURNS


@dataclass(frozen=True, slots=True)
class KernelOptions:
    """How a kernel is compiled, beside what its text says; part of the key under which it is cached."""

    turns: int = IN_TURNS
    """How many vectors its long loops take at a time."""
    whole_vectors: bool = False
    """Whether it has loops over whole vectors, in which a second one at a time would leave some over."""
    tiles: bool = False
    """Whether it has register tiles, which are unrolled as they should be."""
    control: bool = False
    """Whether it decides and calls: drivers, entries, the control of loops. It has no vectors."""
    precision: str = "vector"
    """Where its elementary functions come from; see `emit.Emitter`."""

    def at(self, precision: str) -> KernelOptions:
        """Return the same for functions from elsewhere; control has none."""
        return self if self.control or precision == self.precision else replace(self, precision=precision)


KERNEL = KernelOptions()
CONTROL = KernelOptions(control=True)
