"""`Function.verify`: whether the compiled program is the program as it was written, and if not, who is to blame.

Both run on the same arguments; results that differ by more than rounding (`rounding`) are traced: to the smallest part
of the program that differs, whose last node is the one to name; there to the first pass after which the interpreter
disagrees with itself; else to the forms without which the compiled part is right; else to the first kernel whose stored
values are wrong though what it reads is right. The part is saved with its arguments as a case for a report.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.call.cases import Case, Outcome, Setting, save_case
from graphc.call.rounding import Judge, Verdicts
from graphc.graph.errors import GraphcError, at
from graphc.graph.graph import Graph
from graphc.graph.lazy import lazy_property
from graphc.graph.node import Node
from graphc.graph.op import Leaf
from graphc.graph.types import Array, TupleType
from graphc.passes.schedule.options import FORMS, Options

if TYPE_CHECKING:
    from graphc.call.function import Function
    from graphc.passes.algebra.pattern import Rule


@dataclass(frozen=True)
class Verification:
    """What a verification without a disagreement found: how many elements of each result agree, and are open.

    Open are those where the program as it is written overflows and the compiled one does not: nothing says which is
    right.
    """

    agree: tuple[int, ...]
    open: tuple[int, ...]

    def __str__(self) -> str:
        rows = enumerate(zip(self.agree, self.open, strict=True))
        return "\n".join(f"output {k}: {a} elements agree, {o} are open" for k, (a, o) in rows) or "nothing to compare"


@dataclass(frozen=True)
class Disagreement:
    """Where a compiled program differs from the program as it is written, and what makes it differ.

    `kind` is "pass", "form" or "kernel" (or "unknown"), `name` the pass, the form or the kernel; `also` are the other
    forms without which the result is right, or the rule of the pass. `node` is the value that comes out wrong first,
    `case` the path of the saved case; `written` and `compiled` have a wrong element or an error.
    """

    kind: str
    name: str
    node: Node
    written: Any
    compiled: Any
    where: str
    also: tuple[str, ...] = ()
    case: str | None = None
    detail: str = field(default="", repr=False)

    def __str__(self) -> str:
        meaning = f" ({FORMS[self.name]})" if self.name in FORMS else ""
        also = f"; also: {', '.join(self.also)}" if self.also else ""
        lines = [
            f"{self.where} is {self.written} as written, {self.compiled} compiled",
            f"by the {self.kind} {self.name}{meaning}{also}",
            f"first wrong: {self.node!r}{at(self.node.source)}",
        ]
        lines += [f"saved as {self.case}"] if self.case else []
        return "\n".join(lines + ([self.detail] if self.detail else []))


class VerificationError(GraphcError, AssertionError):
    """A compiled program gives other results than the program as it is written; `report` says why."""

    def __init__(self, message: str, report: Disagreement) -> None:
        super().__init__(message)
        self.report = report


def verify_function(f: Function, values: Sequence[Any]) -> Verification:
    """Compare one call with the interpreter; see `Function.verify`."""
    from graphc.call.runner import check_arguments
    from graphc.codegen.run.team import default_threads

    arrays, sizes = check_arguments(f.graph, values)
    threads = default_threads() if f.threads is None else f.threads
    case = Case(f.graph, dict(zip(f.graph.inputs, arrays, strict=True)), sizes, Setting(f.precision, threads))
    found = case.compiled(f._options)
    verdicts = case.verdicts(found)
    if not any(v.wrong.any() for v in verdicts):
        unknown = tuple(int(v.open.sum()) for v in verdicts)
        return Verification(tuple(v.open.size - n for v, n in zip(verdicts, unknown, strict=True)), unknown)
    report = _traced(_smallest(case, f._options), f._options)
    path = os.path.join(tempfile.mkdtemp(prefix="graphc-"), "case.gcx")
    save_case(report[0], path)
    where, written, compiled = _first_wrong(case, found, verdicts)
    final = replace(report[1], where=where, written=written, compiled=compiled, case=path)
    raise VerificationError(f"{f.name} gives other results than the program as it is written: {final}", final)


def _first_wrong(case: Case, found: Outcome, verdicts: Sequence[Verdicts]) -> tuple[str, Any, Any]:
    """Return the place of the first wrong element of an outcome, and both values there."""
    number = next(k for k, v in enumerate(verdicts) if v.wrong.any())
    first = case.first_update
    name = f"output {number}" if number < first else f"the new value of {case.graph.updates[number - first].name}"
    if case.written.error is not None or found.error is not None:
        written, compiled = (repr(o.error) if o.error else "a result" for o in (case.written, found))
        return name, written, compiled
    wrong = verdicts[number].wrong
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
    shown = f"{name}{list(index) if index else ''}, one of {int(wrong.sum())} wrong of {wrong.size},"
    return shown, case.written.results[number][index], found.results[number][index]


# -- the smallest part


def _smallest(case: Case, options: Options) -> Case:
    """Return the smallest part of a case that still is wrong when compiled."""
    for number in case.wrong(options):
        part = case.only([case.graph.outputs[number]])
        if part.wrong(options):
            return _shortest(part, options)
    return _fewest(case, options)


def _shortest(case: Case, options: Options) -> Case:
    """Return the case of the first value that is wrong, of those that one wrong output is made of."""
    nodes = case.graph.nodes
    low, high, best = 0, len(nodes), case
    while high - low > 1:
        middle = (low + high) // 2
        part = case.only(_frontier(case.graph, nodes[:middle]))
        wrong = part.wrong(options) if part.graph.outputs else []
        if wrong:
            high, best = middle, part.only([part.graph.outputs[k] for k in wrong])
        else:
            low = middle
    if len(best.graph.outputs) > 1:
        singles = (best.only([output]) for output in best.graph.outputs)
        best = next((part for part in singles if part.wrong(options)), best)
    return best if best.wrong(options) else case


def _frontier(graph: Graph, prefix: Sequence[Node]) -> list[Node]:
    """Return the values of the first nodes of a graph that only later ones read."""
    inside = set(prefix)
    last = (n for n in prefix if not any(u in inside for u in graph.dag.successors(n)))
    return [n for n in last if not isinstance(n.type, TupleType) and not isinstance(n.op, Leaf)]


def _fewest(case: Case, options: Options) -> Case:
    """Return a case without the outputs and updates that it is wrong without: each is needed where states interact."""
    graph, first = case.graph, case.first_update
    kept: list[tuple[Node, Any]] = [(n, None) for n in graph.outputs[:first]]
    kept += list(zip(graph.outputs[first:], graph.updates, strict=True))
    for pair in list(kept):
        fewer = [p for p in kept if p is not pair]
        part = case.only([n for n, _ in fewer], [s for _, s in fewer if s is not None])
        if fewer and part.wrong(options):
            kept, case = fewer, part
    return case


# -- who is to blame


def _traced(case: Case, options: Options) -> tuple[Case, Disagreement]:
    """Return a case, and what makes it wrong."""
    wrong = case.wrong(options)
    node = case.graph.outputs[wrong[0] if wrong else 0]
    blank = Disagreement("unknown", "cause: it does not show alone", node, None, None, "")
    if not wrong:
        return case, blank
    for trace in (_wrong_pass, _wrong_form, _wrong_kernel):
        found = trace(case, options, blank)
        if found is not None:
            return case, found
    return case, blank


def _wrong_pass(case: Case, options: Options, blank: Disagreement) -> Disagreement | None:
    """Return the first pass after which the interpreter has other results."""
    before = case.graph
    for name, make in _stages(case.graph, options):
        try:
            after = make()
        except Exception as error:
            return replace(blank, kind="pass", name=name, detail=f"it raises {error!r}")
        if case.is_wrong(after):
            return replace(blank, kind="pass", name=name, also=_wrong_rule(case, name, before))
        before = after
    return None


def _stages(graph: Graph, options: Options) -> Iterator[tuple[str, Callable[[], Graph]]]:
    """Yield every pass with what applies it to what those before have made; in loops and branches one after another."""
    from graphc.passes import ALGEBRA, graph_passes, in_bodies

    algebra = [p for p in ALGEBRA if p.__name__ not in options.off]
    made = [graph]

    def noted(step: Callable[[], Graph]) -> Callable[[], Graph]:
        def make() -> Graph:
            made.append(step())
            return made[-1]

        return make

    for apply_pass in graph_passes(options):
        outer = made[-1]
        if apply_pass.__name__ == "optimise_bodies":
            for k, inner in enumerate(algebra):
                passes = tuple(algebra[: k + 1])
                yield inner.__name__, noted(lambda passes=passes, outer=outer: in_bodies(passes, outer))  # type: ignore[misc]
        else:
            yield apply_pass.__name__, noted(lambda p=apply_pass, outer=outer: p(outer))  # type: ignore[misc]


def _wrong_rule(case: Case, name: str, before: Graph) -> tuple[str, ...]:
    """Return the rule without which a pass of rules has the right results."""
    from graphc.passes.algebra.rewrite import rewrite
    from graphc.passes.algebra.rules_exact import EXACT
    from graphc.passes.algebra.stabilize import RULES

    known: dict[str, Sequence[Rule]] = {"simplify": EXACT, "stabilize": RULES}
    rules = known.get(name, ())
    for rule in rules:
        rest = [r for r in rules if r is not rule]
        if not case.is_wrong(rewrite(before, rest)[0]):
            return (f"the rule {rule.text!r}",)
    return ()


def _wrong_form(case: Case, options: Options, blank: Disagreement) -> Disagreement | None:
    """Return the forms without which the compiled case is right: the last to be decided on is named first."""
    if case.wrong(options.without(FORMS)):
        return None
    alone = [form for form in reversed(FORMS) if not case.wrong(options.without([form]))]
    if alone:
        return replace(blank, kind="form", name=alone[0], also=tuple(alone[1:]))
    off = list(FORMS)
    for form in FORMS:
        fewer = [f for f in off if f != form]
        if not case.wrong(options.without(fewer)):
            off = fewer
    return replace(blank, kind="form", name=off[-1], also=tuple(off[:-1]))


def _wrong_kernel(case: Case, options: Options, blank: Disagreement) -> Disagreement | None:
    """Return the first kernel that stores a wrong value, all forms off, so that every value stays in memory."""
    plain = options.without(FORMS)
    found = _Stored(case, plain, debug=False)
    for number, nodes in enumerate(found.kernels):
        wrong = [n for n in nodes if n in found.values and found.is_wrong(n)]
        if not wrong:
            continue
        debug = _Stored(case, plain, debug=True)
        right = debug.error is None and not debug.is_wrong_at(number, found.position(number, wrong[0]))
        what = "its text is right: the machine code is wrong" if right else "its text is wrong"
        ops = ", ".join(n.op.name for n in found.members[number])
        detail = f"{what}\n{found.source(number)}"
        return replace(blank, kind="kernel", name=f"{number} ({ops})", node=wrong[0], detail=detail)
    return None


class _Stored:
    """One run of a case in which every value keeps its memory: what its kernels have stored."""

    def __init__(self, case: Case, options: Options, *, debug: bool) -> None:
        from graphc.codegen.run.frames import Memory

        self.case = case
        runner = case.program(options, debug=debug)
        outcome = case.outcome(runner)
        self.error = outcome.error
        self.section = runner.program.main
        schedule = self.section.schedule
        self.graph = runner.program.graph
        self.kernels = [kernel.stored for kernel in schedule]
        self.members = [kernel.nodes for kernel in schedule]
        self.values: dict[Node, Array] = {}
        if runner.last is None or outcome.error is not None:
            return
        memory = next(m for m in runner.last.descriptor.keep if isinstance(m, Memory))
        for node in (n for nodes in self.kernels for n in nodes):
            address = memory.addresses[self.section].get(node)
            if address is not None and not isinstance(node.type, TupleType):
                self.values[node] = memory.read(node, address)
        self.values |= dict(zip(self.graph.outputs, outcome.results, strict=True))

    @lazy_property
    def judge(self) -> dict[Node, Verdicts]:
        """What is wrong with each value, by the interpreter."""
        shown = list(self.values)
        found = Judge(self.graph.with_outputs(shown), self.case.arrays, self.case.sizes)
        return dict(zip(shown, found.compare(list(self.values.values())), strict=True))

    def is_wrong(self, node: Node) -> bool:
        """Tell whether a value is wrong."""
        return bool(self.judge[node].wrong.any())

    def position(self, number: int, node: Node) -> int:
        """Return the place of a value among those that its kernel stores."""
        return self.kernels[number].index(node)

    def is_wrong_at(self, number: int, position: int) -> bool:
        """Tell whether a value is wrong, by its place."""
        node = self.kernels[number][position]
        return node not in self.values or self.is_wrong(node)

    def source(self, number: int) -> str:
        """Return the text of a kernel."""
        pairs = zip(self.section.sources, self.section.kernel_of, strict=True) if self.section.sources else ()
        return "\n".join(dict.fromkeys(source for source, kernel in pairs if kernel == number))
