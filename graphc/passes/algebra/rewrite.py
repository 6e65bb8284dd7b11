"""The one engine that applies rules: `rewrite`.

It visits operands before users, so patterns are written in the form that other rules leave. Every node is tried
until no rule matches; nodes that a replacement made are tried too. Cost: two dictionary look-ups a node where
nothing matches, since rules are indexed by the names of the root and of its operands.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from graphc.graph.errors import blame
from graphc.graph.graph import Graph, NodeMap, rebuild, topological_order
from graphc.graph.node import Guard, Node, serials
from graphc.graph.op import Constant
from graphc.ops.control import Project, Scan
from graphc.ops.pointwise import WHERE, Elementwise
from graphc.passes.algebra.lift import formula_at, on_other_results, results_below
from graphc.passes.algebra.pattern import (
    FAR,
    MOVERS,
    Call,
    Kept,
    Literal,
    Match,
    Pattern,
    Rule,
    Wild,
    literal,
    number_head,
)
from graphc.passes.loops.hoist import behind_loop

FUEL = 100
"""Replacements per node of the graph; more can only be rules that undo each other."""

TRIALS = 8
"""Trials inside one that moves a formula, for each piece and four more; the deepest tested spelling needs 20 in all."""

_SEEN_THROUGH = MOVERS | {Constant}
"""The ops whose name is not what a pattern goes by; asked at every node, so without a call."""
Signature = tuple[str, ...]
"""The root's name, then name and dtype kind of each operand, seen through what moves elements; for numbers that
patterns mention, `=number` instead of the name."""


class _Index:
    """Rules by the name of their root; for each signature, those that can match."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.roots: dict[str, list[tuple[Rule, Call]]] = {}
        self.numbers: set[str] = set()
        self.found: dict[Signature, list[tuple[Rule, Call]]] = {}
        self.inside: dict[str, set[str]] = {}
        """For each root of rules for accuracy, the ops that their patterns mention below it."""
        for rule in rules:
            for variant in rule.variants:
                self.roots.setdefault(variant.head, []).append((rule, variant))
                if rule.through:
                    self.inside.setdefault(variant.head, set()).update(_names(variant.args))
                self.numbers.update(p.head for p in variant.args if type(p) is Literal)

    def candidates(self, node: Node) -> list[tuple[Rule, Call]]:
        """Return the rules worth trying at `node`, in the order they were given."""
        name = node.op.name
        if name not in self.roots:
            return []
        parts = [name]
        for x in node.inputs:
            parts.append(self._head(x) if type(x.op) in _SEEN_THROUGH else x.op.name)
            parts.append(x.type.dtype.kind)
        key = tuple(parts)
        found = self.found.get(key)
        if found is None:
            found = [(r, v) for r, v in self.roots[name] if _may_match(v, key[1::2], key[2::2])]
            self.found[key] = found
        return found

    def _head(self, x: Node) -> str:
        value = literal(x)
        if value is not None:
            head = number_head(value)
            return head if head in self.numbers else "constant"
        for _ in range(FAR):
            if type(x.op) not in MOVERS:
                break
            x = x.inputs[0]
        return x.op.name


def _names(patterns: Iterable[Pattern]) -> Iterator[str]:
    """Yield the names of the ops in patterns."""
    for pattern in patterns:
        if isinstance(pattern, Kept):
            yield from _names((pattern.inner,))
        elif isinstance(pattern, Call):
            yield pattern.head
            yield from _names(pattern.args)


def _may_match(pattern: Call, heads: Sequence[str], kinds: Sequence[str]) -> bool:
    """Decide by the names and dtype kinds of the operands; a wildcard that stands twice needs equal names."""
    args = pattern.args[::-1] if pattern.swapped else pattern.args
    first: dict[Pattern, str] = {}
    for arg, head, kind in zip(args, heads, kinds, strict=True):
        if type(arg) is Wild:
            is_number = head == "constant" or head.startswith("=")
            if kind not in arg.kinds or (arg.literal and not is_number) or first.setdefault(arg, head) != head:
                return False
        elif arg.head not in ("", head):
            return False
    return True


@functools.cache
def _index(rules: tuple[Rule, ...]) -> _Index:
    return _Index(rules)


def _taken_up(rule: Rule, attempt: Match) -> list[Node]:
    """Return the nodes that a rule has found: those of its pattern, and operands of which it asks what they are."""
    asked = [x for x, d in zip(attempt.bound, rule.domain, strict=True) if d.form is not None]
    return [*attempt.consumed, *asked]


class _Engine:
    """One run over one graph; `done` are the nodes to which no rule applies any more."""

    def __init__(self, rules: tuple[Rule, ...], graph: Graph) -> None:
        self.index = _index(rules)
        self.done: set[Node] = set()
        self.fuel = FUEL
        self.loops = bool(self.index.inside) and any(isinstance(n.op, Scan) for n in graph.nodes)
        self.behind: dict[Node, Node | None] = {}
        self.gained: set[Node] = set()
        self.depth = 0
        self.trials = 0
        """The trials that may still be made inside the outermost one: nested `where`s alone would double them."""
        self.oldest = sys.maxsize
        """The serial number of the oldest node that a rule for accuracy has consumed, in the trial at hand."""

    def settle(self, node: Node) -> Node:
        """Apply rules at `node`, whose operands are settled, until none matches."""
        while node not in self.done:
            found = self._step(node)
            if found is None:
                found = self._lift(node)
            if found is None:
                self.done.add(node)
                return node
            node = self._settle_operands(found)
        return node

    def _step(self, node: Node) -> Node | None:
        for rule, variant in self.index.candidates(node):
            attempt = Match(rule)
            if not attempt.match(variant, node):
                continue
            if rule.condition is not None and not rule.condition(*attempt.bound):
                continue
            with blame(node.source):
                found = rule.replacement(*attempt.bound)
            self._check(rule, node, found)
            kept = self._with_guards(found, [g for n in attempt.consumed for g in n.guards])
            if kept is not None:
                if rule.through:
                    self.oldest = min(self.oldest, *(n.serial for n in _taken_up(rule, attempt)))
                return kept
        return None

    def _lift(self, node: Node) -> Node | None:
        """Take away what stands between the ops of a pattern for accuracy; None where no rule gains by it."""
        if self.loops and isinstance(node.op, Project):
            value = self._behind(node)
            return value if node in self.gained else None
        names = self.index.inside.get(node.op.name)
        if not names or type(node.op) is not Elementwise or node.op is WHERE or self.depth == FAR:
            return None
        if self.depth > 0 and self.trials <= 0:
            return None
        found = None
        formula = formula_at(node, names)
        if self.depth == 0:
            self.trials = TRIALS * (4 if formula is None else 4 + len(formula.pieces))
        if formula is not None and formula.operands is not None:
            found = self._gaining(node, next(serials), lambda: formula.spread(self._settle_piece))
        if found is None and self.loops:
            order, results = results_below(node)
            behind = {x: value for x in results if (value := self._behind(x)) is not None}
            if behind:
                start = next(serials)
                found = self._gaining(node, start, lambda: self._settle_piece(on_other_results(order, behind)))
        if found is None:
            return None
        guards = (*node.guards, *formula.source.guards) if formula is not None else node.guards
        return self._with_guards(found, guards)

    def _gaining(self, node: Node, start: int, build: Callable[[], Node]) -> Node | None:
        """Return what `build` builds and settles, if a rule for accuracy has consumed a node made before `start`."""
        outside, self.oldest = self.oldest, sys.maxsize
        self.trials -= 1
        self.depth += 1
        with blame(node.source):
            found = build()
        self.depth -= 1
        gained = self.oldest < start
        self.oldest = min(outside, self.oldest) if gained else outside
        return found if gained else None

    def _behind(self, result: Node) -> Node | None:
        """Return the settled value behind its loop of a stacked result; see `behind_loop`."""
        if result not in self.behind:
            start = next(serials)
            value = behind_loop(result)
            if value is not None:
                outside, self.oldest = self.oldest, sys.maxsize
                value = self._settle_piece(value)
                if self.oldest < start:
                    self.gained.add(result)
                self.oldest = outside
            self.behind[result] = value
        return self.behind[result]

    def _settle_piece(self, node: Node) -> Node:
        fuel, self.fuel = self.fuel, FUEL
        found = self.settle(self._settle_operands(node))
        self.fuel = fuel
        return found

    def _check(self, rule: Rule, node: Node, found: Node) -> None:
        self.fuel -= 1
        fits = found.dtype == node.dtype and found.ndim == node.ndim
        pairs = zip(found.shape, node.shape, strict=False)
        if not fits or any(a != b for a, b in pairs if isinstance(a, int) and isinstance(b, int)):
            raise AssertionError(
                f"rule {rule.text!r} changes the type: {node.type} {expression(node)}"
                f" -> {found.type} {expression(found)}"
            )
        if self.fuel < 0:
            raise AssertionError(f"rule {rule.text!r} does not end: {expression(node)} -> {expression(found)}")

    def _with_guards(self, found: Node, guards: Iterable[Guard]) -> Node | None:
        """Carry the size checks of consumed nodes to their replacement; None where it cannot take them."""
        carried = {(a, b) for a, b, _, _ in found.guards}
        lost = tuple(g for g in guards if (g[0], g[1]) not in carried)
        if not lost:
            return found
        if found in self.done:
            return None
        return Node(found.op, found.inputs, found.type, found.source, found.guards + lost)

    def _settle_operands(self, root: Node) -> Node:
        """Settle the nodes a replacement made below its root; the depth of the recursion is bounded by fuel."""
        order = self._fresh(root)
        new: NodeMap = {}
        for node in order:
            inputs = tuple([new.get(x, x) for x in node.inputs])
            new[node] = rebuild(node, inputs) if node is root else self.settle(rebuild(node, inputs))
        return new.get(root, root)

    def _fresh(self, root: Node) -> list[Node]:
        """Return the nodes under `root` that were never settled, operands first."""
        return topological_order([root], known=self.done)


def rewrite(graph: Graph, rules: Sequence[Rule]) -> tuple[Graph, NodeMap]:
    """Apply rules everywhere to a fixed point; return the next graph and the map from old to new nodes.

    Earlier rules win. A rule that changes a type, or rules that undo each other, raise `AssertionError` with both
    expressions.

    before: `%2: f64[n] = add(%1, %0)`, `%3: f64[n] = log(%2)` with `%1` a constant 1
    after: `%1: f64[n] = log1p(%0)`
    """
    engine = _Engine(tuple(rules), graph)
    new: NodeMap = {}
    for node in graph.nodes:
        engine.fuel = FUEL
        new[node] = engine.settle(rebuild(node, tuple([new[x] for x in node.inputs])))
    return graph.with_outputs([new[o] for o in graph.outputs]), new


def expression(node: Node, depth: int = 4) -> str:
    """Return a node as nested calls, cut off at `depth`: for messages."""
    if isinstance(node.op, Constant) and node.op.value.size == 1:
        return repr(node.op.value.item())
    if not node.inputs:
        return node.name or str(node.op)
    if depth == 0:
        return "..."
    return f"{node.op}({', '.join(expression(x, depth - 1) for x in node.inputs)})"
