"""`Rule`: an identity as data; its pattern in matchable form, and matching.

A rule's pattern is a function of wildcards, written with the user's own operators; it is called once, on
placeholders of the rule's domain, when the rule is first used, and the graph it returns is what the engine in
`rewrite.py` looks for. Matching compares ops and literals only, so one pattern serves every dtype of its domain
and every shape: commutative ops match in both orders, a literal matches any constant of that value through
broadcasts and casts, and what only moves elements (a transpose, a slice, a gather) hides nothing elementwise: where
it stands between two ops of a pattern, it is moved to the pattern's operands.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from graphc.graph.lazy import lazy_property
from graphc.graph.node import Node
from graphc.graph.op import Constant, Op, constant, placeholder
from graphc.graph.types import TensorType, is_float
from graphc.ops.cumulative import Cumulative
from graphc.ops.indexing import Gather
from graphc.ops.pointwise import Broadcast, Cast, Elementwise, broadcast_to_shape
from graphc.ops.reduction import LogSoftmax, LogSumExp, Reduction, Softmax
from graphc.ops.shape import PermuteDims, Reshape, Slice, Squeeze

VIEWS: frozenset[type[Op]] = frozenset((PermuteDims, Reshape, Slice, Squeeze))
"""The ops that move elements and repeat none: every pattern is seen through them."""
MOVERS: frozenset[type[Op]] = VIEWS | {Broadcast, Gather, Cast}
"""The ops of one operand that give its elements, which may repeat; also casts to a wider float."""
FAR = 8
"""The number of ops that move elements one after the other through which a pattern is seen."""


@dataclass(frozen=True)
class Domain:
    """What one wildcard stands for.

    `kinds`: NumPy dtype kinds; matching refuses others. `low`, `high`: the values for which the rule's claim is
    made (and tested). `shape`: of the generated instance. `literals`: where given, the wildcard matches only
    constants, and these values make the instances. `form`: instances are this function of a placeholder, where a
    rule's condition asks what its operand is.
    """

    kinds: str = "f"
    low: float = -math.inf
    high: float = math.inf
    shape: tuple[int, ...] = ()
    literals: tuple[float, ...] = ()
    form: Callable[[Node], Node] | None = None

    def instance(self, name: str, choice: int = 0) -> Node | tuple[int, ...]:
        """Return an operand for a generated instance: a placeholder, a constant, or the axes (1,)."""
        if self.literals:
            return constant(self.literals[choice % len(self.literals)], self.dtype)
        found = self.wildcard(name)
        return self.form(found) if self.form is not None and isinstance(found, Node) else found

    def wildcard(self, name: str) -> Node | tuple[int, ...]:
        """Return the operand that stands for this domain in a pattern."""
        return placeholder(name, self.shape, self.dtype) if self.kinds else (1,)

    @property
    def dtype(self) -> str:
        """The dtype of instances: the widest of the first kind."""
        return {"f": "float64", "i": "int64", "u": "uint64", "b": "bool"}[self.kinds[0]]


AXES = Domain(kinds="")
"""The domain of a pattern's `axis`: bound to the axes of the reductions it appears in."""


@dataclass(frozen=True, eq=False)
class Rule:
    """One identity: where `pattern` is found and `condition` holds, `replacement` takes its place.

    `pattern` and `replacement` are functions of the same wildcards, `domain` has an entry for each; `condition`
    is called with the matched nodes. A replacement keeps the type. `through`: operands are seen through `MOVERS`,
    where what the replacement computes may then be computed for repeated elements; else through `VIEWS` only.
    """

    text: str
    pattern: Callable[..., Node]
    replacement: Callable[..., Node]
    domain: tuple[Domain, ...]
    condition: Callable[..., bool] | None = None
    through: bool = False

    def __post_init__(self) -> None:
        names = self.wildcards
        if not names or len(names) != len(self.domain):
            raise TypeError(f"rule {self.text!r}: one domain a wildcard needed, {len(self.domain)} for {names}")
        if _parameters(self.replacement) != names:
            raise TypeError(f"rule {self.text!r}: pattern and replacement have different wildcards")

    @property
    def wildcards(self) -> tuple[str, ...]:
        """The names of the wildcards."""
        return _parameters(self.pattern)

    def instance(self, choice: int = 0) -> tuple[list[Any], Node]:
        """Return generated operands and the pattern built on them."""
        operands = [d.instance(name, choice) for name, d in zip(self.wildcards, self.domain, strict=True)]
        return operands, self.pattern(*operands)

    @lazy_property
    def variants(self) -> tuple[Call, ...]:
        """The pattern in matchable form, once for every order of commutative operands."""
        wild = [d.wildcard(name) for name, d in zip(self.wildcards, self.domain, strict=True)]
        root = self.pattern(*wild)
        return tuple(p for p in _compile(root, wild, self.domain) if isinstance(p, Call))


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    code: CodeType = inspect.unwrap(function).__code__
    return code.co_varnames[: code.co_argcount]


# -- patterns in matchable form


@dataclass(frozen=True)
class Wild:
    """Anything of the domain's dtypes; the same wildcard stands for the same value everywhere."""

    index: int
    kinds: str
    literal: bool

    head = ""


@dataclass(frozen=True)
class Literal:
    """A constant of this value."""

    value: float

    @property
    def head(self) -> str:
        return number_head(self.value)


@dataclass(frozen=True)
class Call:
    """An op on patterns. `axes`: the wildcard its axes bind to; `swapped`: its two operands change places."""

    op: Op
    args: tuple[Pattern, ...]
    axes: int | None
    swapped: bool = False

    @property
    def head(self) -> str:
        return self.op.name


@dataclass(frozen=True)
class Kept:
    """A value with the axes of wildcard `axes` put back, as 1 (`ones`) or as wide as the other operand."""

    inner: Pattern
    axes: int
    ones: bool

    @property
    def head(self) -> str:
        return self.inner.head


Pattern = Wild | Literal | Call | Kept


def _compile(node: Node, wild: Sequence[Any], domains: Sequence[Domain]) -> list[Pattern]:
    """Return every orientation of the pattern at `node`; patterns are a few nodes deep."""
    if node in wild:
        index = wild.index(node)
        return [Wild(index, domains[index].kinds, bool(domains[index].literals))]
    value = literal(node)
    if value is not None:
        return [Literal(value)]
    axes = wild.index((1,)) if (1,) in wild else None
    if type(node.op) is Broadcast and axes is not None:
        ones = node.shape[1] == 1
        return [Kept(p, axes, ones) for p in _compile(_skip_broadcasts(node), wild, domains)]
    options = [_compile(x, wild, domains) for x in node.inputs]
    orders = (False, True) if isinstance(node.op, Elementwise) and node.op.commutative else (False,)
    return [Call(node.op, args, axes, swapped) for args in itertools.product(*options) for swapped in orders]


def _skip_broadcasts(node: Node) -> Node:
    while type(node.op) is Broadcast:
        node = node.inputs[0]
    return node


def literal(node: Node) -> Any:
    """Return the Python number that every element of `node` is, or None; looks through broadcasts and casts."""
    casts: list[Op] = []
    while not isinstance(node.op, Constant):
        if type(node.op) is Cast:
            casts.append(node.op)
        elif type(node.op) is not Broadcast:
            return None
        node = node.inputs[0]
    value = node.op.value
    if value.size != 1:
        return None
    for op in reversed(casts):
        value = op.evaluate(value)
    return value.item()


def _is_value(found: Any, wanted: float) -> bool:
    """Compare literals: 0.0 is not -0.0, 1 is 1.0."""
    return found is not None and found == wanted and math.copysign(1, found) == math.copysign(1, wanted)


# -- matching


class Match:
    """One attempt: the bindings of the wildcards, and the nodes that the pattern's ops consumed."""

    __slots__ = ("bound", "consumed", "movers")

    def __init__(self, rule: Rule) -> None:
        self.bound: list[Any] = [None] * len(rule.domain)
        self.consumed: list[Node] = []
        self.movers = MOVERS if rule.through else VIEWS

    def match(self, pattern: Pattern, node: Node, lifts: tuple[Node, ...] = ()) -> bool:
        """Match `node`, seen through `lifts`, which move elements; patterns are shallow, so this may recurse."""
        match pattern:
            case Wild():
                return self._wild(pattern, node, lifts)
            case Literal():
                return _is_value(literal(node), pattern.value)
            case Call():
                return self._call(pattern, node, lifts)
            case Kept():
                return not lifts and self._kept(pattern, node)

    def _wild(self, pattern: Wild, node: Node, lifts: tuple[Node, ...]) -> bool:
        if node.dtype.kind not in pattern.kinds or (pattern.literal and literal(node) is None):
            return False
        if lifts:
            value = literal(node)
            if value is None:
                for mover in reversed(lifts):
                    node = moved(mover, node)
            else:
                node = broadcast_to_shape(constant(value, lifts[0].dtype), lifts[0].shape)
        return self._bind(pattern.index, node)

    def _bind(self, index: int, value: Any) -> bool:
        bound = self.bound[index]
        if bound is None:
            self.bound[index] = value
            return True
        return same_value(bound, value) if isinstance(value, Node) else bool(bound == value)

    def _call(self, pattern: Call, node: Node, lifts: tuple[Node, ...]) -> bool:
        while type(node.op) in self.movers and moves_only(node):
            if len(lifts) == FAR:
                return False
            lifts = (*lifts, node)
            node = node.inputs[0]
        if lifts and not isinstance(node.op, Elementwise):
            return False
        if node.op is not pattern.op and not self._same_family(pattern, node.op):
            return False
        self.consumed.append(node)
        inputs = node.inputs[::-1] if pattern.swapped else node.inputs
        return all(self.match(p, x, lifts) for p, x in zip(pattern.args, inputs, strict=True))

    def _same_family(self, pattern: Call, op: Op) -> bool:
        """Compare ops with parameters: equal but for the axes, which bind."""
        if type(op) is not type(pattern.op) or op.name != pattern.op.name:
            return False
        if isinstance(op, Cumulative) and isinstance(pattern.op, Cumulative) and op.reverse != pattern.op.reverse:
            return False
        axes = axes_of(op)
        return op == pattern.op if axes is None or pattern.axes is None else self._bind(pattern.axes, axes)

    def _kept(self, pattern: Kept, node: Node) -> bool:
        """Match a value through the broadcasts that put axes back: the outermost ones that put back the bound axes."""
        shape = node.shape
        kept = tuple(range(node.ndim))
        while type(node.op) is Broadcast:
            kept = tuple([kept[a] for a in node.op.axes])
            self.consumed.append(node)
            node = node.inputs[0]
            removed = tuple([a for a in range(len(shape)) if a not in kept])
            same = all(size == shape[a] for size, a in zip(node.shape, kept, strict=True))
            if removed and same and self._removes(pattern, removed):
                fits = not pattern.ones or all(shape[a] == 1 for a in removed)
                return fits and self._bind(pattern.axes, removed) and self.match(pattern.inner, node)
        return False

    def _removes(self, pattern: Kept, removed: tuple[int, ...]) -> bool:
        bound = self.bound[pattern.axes]
        return bound is None or bound == removed


def moves_only(node: Node) -> bool:
    """Tell whether one of `MOVERS` loses nothing: a cast must be from a float to a wider one."""
    if type(node.op) is not Cast:
        return True
    (x,) = node.inputs
    return is_float(x.dtype) and is_float(node.dtype) and x.dtype.itemsize <= node.dtype.itemsize


def moved(mover: Node, x: Node) -> Node:
    """Return what `mover` makes of its first operand, made of another one of that shape; only floats are cast."""
    op = mover.op
    if type(op) is Cast and not is_float(x.dtype):
        return x
    dtype = op.dtype if type(op) is Cast else x.dtype
    return Node(op, (x, *mover.inputs[1:]), TensorType(dtype, mover.shape), mover.source, mover.guards)


def number_head(value: float) -> str:
    """Return what stands for a number where patterns are indexed by the names of their operands."""
    return f"={float(value)!r}"


def axes_of(op: Op) -> tuple[int, ...] | None:
    """Return the axes an op works along, or None."""
    if isinstance(op, (Reduction, LogSumExp)):
        return op.axes
    return (op.axis,) if isinstance(op, (Softmax, LogSoftmax, Cumulative)) else None


def same_value(a: Node, b: Node, budget: int = 64) -> bool:
    """Tell whether two nodes are the same computation, looking at no more than `budget` pairs of nodes."""
    pairs = [(a, b)]
    while pairs:
        x, y = pairs.pop()
        if x is y:
            continue
        budget -= 1
        if budget < 0 or x.op != y.op or len(x.inputs) != len(y.inputs):
            return False
        pairs.extend(zip(x.inputs, y.inputs, strict=True))
    return True


def filled(x: Node, value: float) -> Node:
    """Return a broadcast constant of the type of `x`."""
    return broadcast_to_shape(constant(value, x.dtype), x.shape)
