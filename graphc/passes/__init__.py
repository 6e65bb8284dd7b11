"""The passes, and for each stage the one tuple that says in which order they run.

A pass of the rewriting stage is a plain function `Graph -> Graph` in a file of its own; it keeps values, inputs,
updates and guards, `verify` holds for what it returns, and where it changes nothing that is its argument. `grad` has
applied `NORMAL` to the forward graph before it differentiates; here the same passes see the gradient as well. The
scheduling stage makes kernels of the nodes (`fuse`), and changes these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial, wraps
from weakref import WeakKeyDictionary

from graphc.graph.graph import Graph, collector_paused
from graphc.graph.graph import verify as verify_graph
from graphc.passes.algebra.canonicalize import canonicalize
from graphc.passes.algebra.cse import cse
from graphc.passes.algebra.drop_stops import drop_stops
from graphc.passes.algebra.expand import expand
from graphc.passes.algebra.fold_constants import fold_constants
from graphc.passes.algebra.simplify import simplify
from graphc.passes.algebra.stabilize import stabilize
from graphc.passes.loops.hoist import hoist
from graphc.passes.loops.merge_loops import merge_loops
from graphc.passes.loops.regions import map_bodies, prune
from graphc.passes.loops.residuals import store_residuals
from graphc.passes.schedule.frame import frame
from graphc.passes.schedule.fuse import fuse
from graphc.passes.schedule.kernels import Schedule, verify_schedule
from graphc.passes.schedule.layout import lay_out
from graphc.passes.schedule.options import EVERYTHING, FORMS, REQUIRED, Options
from graphc.passes.schedule.order import order
from graphc.passes.schedule.recompute import recompute
from graphc.passes.schedule.rematerialise import Choice
from graphc.passes.updates.accumulate_products import accumulate_products
from graphc.passes.updates.accumulate_scatters import accumulate_scatters
from graphc.passes.updates.sink_slices import join_slices, sink_slices
from graphc.passes.updates.sum_products import sum_products
from graphc.passes.updates.update_products import update_products

Pass = Callable[[Graph], Graph]
SchedulePass = Callable[[Schedule], Schedule]

NORMAL: tuple[Pass, ...] = (canonicalize, fold_constants, cse, simplify, stabilize, canonicalize, cse)
"""One form for equal values, numerically safe: what `grad` differentiates, and what bodies of loops are compared in."""


def run(passes: Iterable[Pass], graph: Graph, *, verify: bool = False) -> Graph:
    """Apply passes in order; with `verify`, check every invariant after each."""
    with collector_paused():
        for apply_pass in passes:
            graph = apply_pass(graph)
            if verify:
                verify_graph(graph)
        return graph


def everywhere(passes: tuple[Pass, ...], graph: Graph) -> Graph:
    """Apply passes in order, then to the graphs inside ops, and inside those."""
    return in_bodies(passes, run(passes, graph))


def in_bodies(passes: tuple[Pass, ...], graph: Graph) -> Graph:
    """Apply passes to the graphs inside ops, and inside those."""
    return map_bodies(graph, partial(everywhere, passes))


BODIES: tuple[Pass, ...] = (drop_stops, prune, *NORMAL)
"""What bodies of loops have had, from the innermost outwards, when `normalise_bodies` is done with them."""
_normalised: WeakKeyDictionary[Graph, tuple[Pass, ...]] = WeakKeyDictionary()
"""Bodies that are in this form, each with the passes that brought it there."""


def normalise_bodies(graph: Graph, passes: tuple[Pass, ...] = BODIES) -> Graph:
    """Give equal values in different loop bodies equal forms, and drop what their loops are given and do not read.

    Every level of a nest of loops asks this of the bodies inside it, and one that has its form is left as it is: the
    work is linear in the depth.
    """

    def normalised(body: Graph) -> Graph:
        if _normalised.get(body) != passes:
            body = run(passes, map_bodies(body, normalised))
            _normalised[body] = passes
        return body

    return map_bodies(graph, normalised)


ALGEBRA: tuple[Pass, ...] = (
    drop_stops,  # no derivative is taken any more
    prune,  # results of loops that nothing reads
    normalise_bodies,  # the next pass compares bodies
    store_residuals,  # before products leave their loops: an adjoint's products may be the forward loop's
    prune,  # the stacked carries that only served to compute again
    hoist,  # matrix products out of loops, while they are whole
    prune,  # the carries that only added them up
    merge_loops,  # now that bodies are as small as they get
    canonicalize,  # one form for views and operand order, so that the passes below have fewer forms to know
    fold_constants,  # literals before algebra: rules look for them
    cse,  # one node for one value: a pattern that names a value twice compares nodes
    simplify,  # exact algebra first: it leaves the form that the other patterns are written in
    stabilize,  # needs softmax, logsumexp and the like whole, so before they are expanded
    expand,  # composites become what fusion knows
    canonicalize,  # the views and constants that rules and expansions made
    fold_constants,
    simplify,
    sink_slices,  # parts of values, in the form that rules have left
    join_slices,  # and their cotangents
    accumulate_scatters,  # the updates of tables, as rules have left them
    sum_products,  # once broadcasts have their final place: the sums over a batch are their derivatives
    accumulate_products,  # sums of products, before a step takes one
    prune,  # what hoisting and algebra left unread
    update_products,  # the steps of state, once products and their factors have their final form
    cse,  # last: expansions share their parts (the maximum and the exponentials of softmax and logsumexp)
)


def optimise_bodies(graph: Graph) -> Graph:
    """Apply `ALGEBRA` to the graphs inside ops."""
    return in_bodies(ALGEBRA, graph)


GRAPH_PASSES: tuple[Pass, ...] = (
    *ALGEBRA,
    optimise_bodies,  # once the graph around them has its form, and with it they theirs
    lay_out,  # algebra is over: a form that kernels can store, bodies included
    frame,  # needs the strides that laying out has left
)
"""The rewriting stage: from the graph as written to the one that becomes kernels."""

SCHEDULE_PASSES: tuple[SchedulePass, ...] = (
    order,  # before what asks how long values live
    recompute,  # values out of memory, now that it is known which kernels read them, and when
)
"""The scheduling stage, after `fuse` has made a schedule of the graph; also of each graph inside an op."""


def graph_passes(options: Options = EVERYTHING) -> tuple[Pass, ...]:
    """Return the passes of a compilation: GRAPH_PASSES without those that are left out."""
    if not options.off:
        return GRAPH_PASSES

    def used(passes: tuple[Pass, ...]) -> Iterator[Pass]:
        for p in passes:
            if p.__name__ in REQUIRED or p.__name__ not in options.off:
                yield replaced.get(p, p)

    replaced: dict[Pass, Pass] = {lay_out: wraps(lay_out)(partial(lay_out, options=options))}
    replaced[normalise_bodies] = wraps(normalise_bodies)(partial(normalise_bodies, passes=tuple(used(BODIES))))
    replaced[optimise_bodies] = wraps(optimise_bodies)(partial(in_bodies, tuple(used(ALGEBRA))))
    return tuple(used(GRAPH_PASSES))


def optimize(graph: Graph, options: Options = EVERYTHING) -> Graph:
    """Return the graph that becomes kernels."""
    assert options.off.issubset(SWITCHES), options.off.difference(SWITCHES)
    return run(graph_passes(options), graph)


def make_schedule(
    graph: Graph, options: Options = EVERYTHING, choice: Choice | None = None, *, verify: bool = False
) -> Schedule:
    """Return the kernels of a graph that is laid out, in order; with `verify`, check the DAG of kernels.

    `choice` is the one of which this is the graph, where values are computed again to save memory.
    """
    found = fuse(graph, options) if choice is None else replace(fuse(graph, options, choice.part), place=choice.place)
    for apply_pass in SCHEDULE_PASSES:
        found = apply_pass(found)
        if verify:
            verify_schedule(found)
    return found


PASS_NAMES = tuple(dict.fromkeys(p.__name__ for p in GRAPH_PASSES if p.__name__ not in REQUIRED))
"""The passes that can be switched off, by name."""
SWITCHES = (*PASS_NAMES, *FORMS)
"""Everything that `Options` can leave out."""
