"""How far rounding may move a program's results: the program itself, interpreted with noise.

Two right ways of computing a value differ by rounding, which the program may magnify without bound. So every value of
the program as it is written is moved by a few units in its last place, at random, several times over; how far results
then move is how far two right ways may be apart. A result that noise does not move must agree to its last digits; one
that noise moves by half its value says nothing, and accuses no one. Integers and truth values count as moved where a
comparison or a rounding turned. Method: Parker, Monte Carlo arithmetic, 1997.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphc.graph.evaluate import run_graph
from graphc.graph.graph import Graph, rebuild
from graphc.graph.lazy import lazy_property
from graphc.graph.node import Node
from graphc.graph.op import Constant, Leaf, Op, Routine, View
from graphc.graph.types import Array, Sizes, TensorType, TupleType, is_float
from graphc.ops.control import Control, Project
from graphc.ops.cost import special_functions
from graphc.ops.indexing import Gather, Scatter
from graphc.ops.pointwise import Cast, Pointwise
from graphc.ops.reduction import Reduction
from graphc.ops.shape import Assembly
from graphc.passes.loops.regions import map_bodies

SAMPLES, MORE = 6, 18
"""Runs with noise before a result is accused, and those that then give it another chance."""
FACTOR = 16.0
"""How many times as far as noise has moved a value at most two right ways may be apart."""
LEAST_ULPS = 8.0
"""The units in the last place by which a value may differ that noise does not move."""
ARITHMETIC_ULPS, FUNCTION_ULPS = 2.0, 8.0
_EXACT = {"negative", "abs", "floor", "ceil", "round", "trunc", "sign", "maximum", "minimum", "where", "copy", "clip"}
_EXACT |= {"stop_gradient", "relu", "masked_multiply", "max", "min", "copysign", "square_sign"}


@dataclass(frozen=True, eq=False)
class Noise(Op):
    """Move each element up or down by some units in its last place, and what is nearly 0 by the least number."""

    name = "noise"
    ulps: float
    rng: np.random.Generator = field(repr=False)

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        info = np.finfo(x.dtype)
        signs = self.rng.integers(0, 2, x.shape, np.int8) * 2 - 1
        with np.errstate(all="ignore"):
            moved = x + x * (self.ulps * info.eps * signs)
            small = np.abs(x) <= info.tiny
            return np.asarray(np.where(small, x + info.tiny * signs, moved), x.dtype)


def with_noise(graph: Graph, rng: np.random.Generator) -> Graph:
    """Return a program in which every value that can be rounded is moved at random, in loops and branches too."""
    graph = map_bodies(graph, lambda body: with_noise(body, rng))

    def moved(x: Node, ulps: float) -> Node:
        return Node(Noise(ulps, rng), (x,), x.type, x.source)

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if isinstance(node.op, (Leaf, Control)) or _is_exact(node):
            return None
        ulps = FUNCTION_ULPS if special_functions(node) else ARITHMETIC_ULPS
        if not isinstance(node.op, Pointwise) or special_functions(node):
            # What is summed, solved or looked up is as uncertain as its operands' last digits.
            more = ulps if isinstance(node.op, Pointwise) else FUNCTION_ULPS
            inputs = tuple(moved(x, more) if _is_real(x) else x for x in inputs)
        out = rebuild(node, inputs)
        return moved(out, ulps) if _is_real(node) else out

    return graph.map(visit)[0]


def _is_real(node: Node) -> bool:
    return not isinstance(node.type, TupleType) and is_float(node.dtype)


def _is_exact(node: Node) -> bool:
    """Tell whether an op rounds nothing: it moves, chooses or compares."""
    op = node.op
    if isinstance(op, Project):
        return not isinstance(node.inputs[0].op, Routine)
    if isinstance(op, Scatter):
        return op.mode != "add"
    if isinstance(op, Cast):
        return not is_float(node.dtype) or node.dtype.itemsize >= node.inputs[0].dtype.itemsize
    if isinstance(op, (View, Gather, Assembly)):
        return True
    if isinstance(op, (Pointwise, Reduction)):
        return op.name in _EXACT or not any(is_float(x.dtype) for x in (node, *node.inputs))
    return False


@dataclass
class Verdicts:
    """How results compare: the elements that differ beyond rounding, and those about which nothing can be said."""

    wrong: Array
    open: Array


class Judge:
    """Tells whether results differ from those of a program as it is written by more than rounding."""

    def __init__(self, graph: Graph, arrays: Mapping[Node, Array], sizes: Sizes) -> None:
        self.graph = graph
        self.arrays = arrays
        self.sizes = sizes

    @lazy_property
    def finite(self) -> bool:
        """Whether the program as it is written makes no infinity or NaN of finite numbers."""
        return _stays_finite(self.graph, self.arrays, self.sizes)

    def written(self) -> list[Array]:
        """Return the results of the program as it is written."""
        return run_graph(self.graph, self.arrays, self.sizes)

    def compare(self, results: Sequence[Array], written: Sequence[Array] | None = None) -> list[Verdicts]:
        """Return a verdict for each of the results."""
        wanted = self.written() if written is None else written
        rng = np.random.default_rng(0)
        room = [_least(a) for a in wanted]
        for number in range(SAMPLES + MORE + 1):
            found = [self._judged(got, w, r) for got, w, r in zip(results, wanted, room, strict=True)]
            if number == SAMPLES + MORE or not any(v.wrong.any() for v in found):
                break
            noisy = run_graph(with_noise(self.graph, rng), self.arrays, self.sizes)
            room = [_wider(r, w, a) for r, w, a in zip(room, wanted, noisy, strict=True)]
        return found

    def _judged(self, got: Array, written: Array, room: Array) -> Verdicts:
        none = np.zeros(written.shape, bool)
        if got.shape != written.shape or got.dtype != written.dtype:
            return Verdicts(~none, none)
        if written.dtype.kind != "f":
            return Verdicts(np.asarray((got != written) & (room == 0)), none)
        with np.errstate(all="ignore"):
            same = (got == written) | (np.isnan(got) & np.isnan(written))
            near = np.abs(got.astype(np.float64) - written) <= room
        wrong = np.asarray(~(same | near | np.isinf(room)))
        # A formula that overflows where the compiled one does not is what the rules of stability are for.
        unknown = wrong & ~np.isfinite(written)
        return Verdicts(wrong, none) if not unknown.any() or self.finite else Verdicts(wrong & ~unknown, unknown)


def _least(written: Array) -> Array:
    """Return how far a result may be off that noise does not move."""
    if written.dtype.kind != "f":
        return np.zeros(written.shape)
    wide = np.where(np.isfinite(written), written.astype(np.float64), 0.0)
    return np.asarray(LEAST_ULPS * np.finfo(written.dtype).eps * np.abs(wide))


def _wider(room: Array, written: Array, noisy: Array) -> Array:
    """Return the room for differences after one more run with noise; infinite where a value became another kind."""
    with np.errstate(all="ignore"):
        if written.dtype.kind != "f":
            return np.where(written != noisy, np.inf, room)
        same = (written == noisy) | (np.isnan(written) & np.isnan(noisy))
        moved = FACTOR * np.abs(noisy.astype(np.float64) - written)
        moved = np.where(np.isfinite(written) & np.isfinite(noisy), moved, np.inf)
        return np.maximum(room, np.where(same, 0.0, moved))


def _stays_finite(graph: Graph, arrays: Mapping[Node, Array], sizes: Sizes) -> bool:
    """Tell whether no op of a program makes an infinity or NaN of finite numbers."""
    shown = [n for n in graph.nodes if _is_real(n)]
    computed = run_graph(graph.with_outputs(shown), arrays, sizes)
    values = dict(zip(shown, (bool(np.isfinite(a).all()) for a in computed), strict=True))
    for node in shown:
        if not values[node] and not isinstance(node.op, (Constant, Leaf)):
            known = (x for y in node.inputs for x in (y.inputs if isinstance(y.op, Control) else (y,)))
            if all(values.get(x, True) for x in known):
                return False
    return True
