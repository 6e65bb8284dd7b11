"""What values cost: the estimates by which passes choose between computing a value again and keeping it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import lru_cache

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Leaf, Op, View
from graphc.graph.types import SHORT_NAMES, DType, Size, TupleType, sum_sizes
from graphc.ops.code import contents_of
from graphc.ops.indexing import Gather
from graphc.ops.pointwise import Pointwise
from graphc.ops.shape import Unslice

_CHEAP = {"select", "sqrt", "fabs", "floor", "ceil", "trunc", "rint", "copysign", "isnan", "isinf", "isfinite"}
_CHEAP |= {*SHORT_NAMES.values(), *(f"to_{name}" for name in SHORT_NAMES.values())}
_CHEAP |= {"signbit", "fmax_nan", "fmin_nan", "bool", "nextafter"}
SHIFTS = frozenset(("shl", "shr"))
"""Arithmetic that is written as calls: one instruction each."""
DIVISIONS = frozenset(("idiv", "imod", "fdiv", "fmod_floor"))
"""Divisions with rounding down: arithmetic too, but of integers processors have no vectors of it."""
_CHEAP |= {*SHIFTS, *DIVISIONS, "radd", "rmul", "fast_max", "fast_min", "prefetch", "stack"}


def is_expensive(node: Node) -> bool:
    """Tell whether a value is dearer to compute than to store and load."""
    if isinstance(node.op, (Leaf, View)):
        return False
    if not isinstance(node.op, Pointwise) or isinstance(node.op, Gather):
        return True
    found = operations_of(node)
    return bool(found.special or found.divisions)


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations on one element: what every estimate counts, of time, of size, of `f.cost`.

    `divisions` are those with rounding down; `special` the functions that cost many operations: exp, tanh, ...
    """

    arithmetic: int = 0
    quotients: int = 0
    roots: int = 0
    divisions: int = 0
    special: tuple[str, ...] = ()


NOTHING = Operations()


def operations_of(node: Node) -> Operations:
    """Return the operations on one element of a pointwise value, none for any other."""
    return _operations(node.op, node.dtype, *[x.dtype for x in node.inputs])


@lru_cache(maxsize=1024)
def _operations(op: Op, dtype: DType, *operands: DType) -> Operations:
    if not isinstance(op, Pointwise):
        return NOTHING
    found = contents_of(op.code(operands, dtype))
    special = tuple(filter(is_special, found.words)) if operands else ()
    shifts, divisions = (sum(word in names for word in found.words) for names in (SHIFTS, DIVISIONS))
    return Operations(found.operators + shifts, found.quotients, found.words.count("sqrt"), divisions, special)


def is_special(word: str) -> bool:
    """Tell whether a word of kernels costs many operations."""
    return word not in _CHEAP


def special_functions(node: Node) -> tuple[str, ...]:
    """Return the functions in a pointwise value's code that cost many operations: exp, tanh, ..."""
    return operations_of(node).special


def gains_from_vectors(node: Node) -> bool:
    """Tell whether a value is computed sooner in vectors, even where its operands are loaded number by number."""
    found = operations_of(node)
    return bool(found.special or found.roots or (found.quotients and node.dtype.kind == "f"))


def frontier(body: Graph, known: Container[Node]) -> list[Node]:
    """Return the values to keep, of those that are `known` from elsewhere, so that what is computed again is cheap.

    Each is dear itself, or no larger than the dear values below it that it stands for.
    """
    picks: dict[Node, tuple[Node, ...]] = {}
    for node in body.nodes:
        if node in known:
            picks[node] = _pick(node, picks)
    outputs = set(body.outputs)
    needed = [n for n in picks if n in outputs or any(u not in picks for u in body.dag.successors(n))]
    return list(dict.fromkeys(n for node in needed for n in picks[node]))


def _pick(node: Node, picks: dict[Node, tuple[Node, ...]]) -> tuple[Node, ...]:
    below = tuple(dict.fromkeys(n for x in node.inputs for n in picks.get(x, ())))
    if isinstance(node.type, TupleType):
        return below
    if is_expensive(node) and not isinstance(node.op, Unslice):  # a part inside zeros is kept without the zeros
        return (node,)
    return (node,) if below and no_larger([node], below) else below


def no_larger(some: Iterable[Node], others: Iterable[Node]) -> bool:
    """Tell whether values are surely no larger than others, in elements."""
    (left, mine), (right, theirs) = _total(some), _total(others)
    if isinstance(left, int) and isinstance(right, int):
        return left <= right
    return left == right or (len(mine) == 1 and mine <= theirs) or not mine


def _total(nodes: Iterable[Node]) -> tuple[Size, set[Size]]:
    sizes = [n.size for n in nodes]
    return sum_sizes(sizes), set(sizes)
