"""`within(graph, limit)`: the program whose planned memory stays within a limit, values computed again where it must.

`passes.rematerialise` says which values could be computed again, by minimum cuts; here the memory of such programs is
planned, as it is when they run, and the first that fits is taken. They are tried in the order of the time they take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from graphc.codegen.run.debug import register
from graphc.codegen.run.frames import Memory
from graphc.codegen.run.section import Section
from graphc.graph.errors import ArgumentError, at
from graphc.graph.graph import Graph
from graphc.graph.op import View
from graphc.passes import make_schedule
from graphc.passes.schedule.options import Options
from graphc.passes.schedule.order import Footprint
from graphc.passes.schedule.rematerialise import Choice, choices, unchanged

FORMS_THAT_KEEP = "row_runs", "late_updates"
"""Forms that keep values alive for long: kernels that run by turns, block of rows by block of rows, what lies between
them; updates of states that wait for all else, what they are made of."""


@dataclass(frozen=True)
class Fit:
    """What a limit of memory has led to: the bytes that are planned, and those that would be without it.

    `stored` are the bytes of values that wait from the forward to the backward part, with the limit and without;
    `again` has a line for each value that is computed again, `time` the nanoseconds that that takes, about.
    """

    limit: int
    planned: int
    without: int
    stored: tuple[int, int] = (0, 0)
    again: tuple[str, ...] = ()
    time: float = 0.0

    def __str__(self) -> str:
        first = f"memory={self.limit:,}: {self.planned:,} bytes are planned, {self.without:,} without that limit"
        if not self.again:
            return f"{first}; nothing is computed again"
        waiting = f"{self.stored[0]:,} bytes wait for the backward part, in place of {self.stored[1]:,}"
        count = f"{len(self.again)} values are computed again there, in about {self.time / 1000:,.0f} µs:"
        return "\n".join([first, waiting, count, *(f"  {line}" for line in self.again)])


@dataclass(frozen=True)
class Way:
    """A program that stays within a limit: the graph to compile, what is chosen in it, and without which forms."""

    graph: Graph
    choice: Choice | None
    options: Options
    fit: Fit


def within(graph: Graph, limit: int, options: Options, threads: int) -> Way:
    """Return the fastest way to run a program, of those that are tried, whose planned memory is within a limit.

    Raises `ArgumentError` with the least limit for which there is one.
    """
    without = planned(graph, None, options, threads)
    if without <= limit:
        return Way(graph, None, options, Fit(limit, without, without))
    least = without
    for fewer, choice in _ways(graph, options):
        changed = graph if choice is None else choice.graph
        found = planned(changed, choice, fewer, threads)
        if found <= limit:
            return Way(changed, choice, fewer, _fit(graph, choice, fewer, Fit(limit, found, without)))
        least = min(least, found)
    raise ArgumentError(
        f"function: memory={limit:,} bytes do not suffice: at least {least:,} are needed where values are computed"
        f" again, and {without:,} where none is{at()}"
    )


def _fit(graph: Graph, choice: Choice | None, options: Options, fit: Fit) -> Fit:
    """Add what is computed again."""
    if choice is None:
        return fit
    index = choice.graph.index
    again = (n for n in choice.again if not isinstance(n.op, View))
    lines = tuple(f"%{index[n]}: {n.type} = {choice.graph.call_text(n)}" for n in again)
    return replace(fit, stored=(choice.stored, unchanged(make_schedule(graph, options))), again=lines, time=choice.time)


def _ways(graph: Graph, options: Options) -> Iterator[tuple[Options, Choice | None]]:
    """Yield ways to need less memory, the fastest first; each is estimated to need less than those before it."""
    for form in FORMS_THAT_KEEP:
        options = options.without([form])
        yield options, None
    schedule = make_schedule(graph, options)
    least = Footprint(schedule, 1).peak(schedule.kernels)
    for choice in choices(schedule):
        made = make_schedule(choice.graph, options, choice)
        needed = Footprint(made, 1).peak(made.kernels)
        if needed < least:
            least = needed
            yield options, choice


def planned(graph: Graph, choice: Choice | None, options: Options, threads: int) -> int:
    """Return the bytes of the arena of a program whose sizes are all known."""
    section = Section(graph, register, options, choice=choice)
    section.finish()
    return Memory(section, graph, {}, threads).plan.peak_bytes
