"""`Reads`: when the memory of each value is read. Every decision to write over a value asks here.

The kernels of a section run in the order of the schedule, except the *late* ones, scatters into state, which wait until
every check has passed and run after all others. What the caller receives, what is copied into state and what a loop's
body hands on is read after those.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.graph.node import Node
from graphc.passes.schedule.kernels import Schedule


class Reads:
    """The times at which kernels run and values are read; `late` are the roots of the late kernels, in their order."""

    def __init__(self, schedule: Schedule, late: Sequence[Node] = ()) -> None:
        self.schedule = schedule
        self._readers = schedule.readers
        self._outputs = frozenset(schedule.graph.outputs)
        waits = {node: len(schedule) + k for k, node in enumerate(late)}
        self.at = [waits.get(kernel.root, number) for number, kernel in enumerate(schedule)]
        """When each kernel runs, by its number."""
        self.end = len(schedule) + len(late)
        """When outputs are read."""

    def last(self, x: Node) -> int:
        """Return when a value is last read; -1 where nothing reads it."""
        return self.last_of_others(x, -1)

    def last_of_others(self, x: Node, number: int) -> int:
        """Return when anything but one kernel last reads a value; -1 where nothing else does."""
        if x in self._outputs:
            return self.end
        return max((self.at[i] for i in self._readers.get(x, ()) if i != number), default=-1)

    def only(self, x: Node, number: int) -> bool:
        """Tell whether one kernel reads a value, and nothing else ever does."""
        return number in self._readers.get(x, ()) and self.last_of_others(x, number) < 0
