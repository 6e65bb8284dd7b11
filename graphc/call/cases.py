"""`Case`: a program with one call's arguments and the states before it, to be run compiled and as it is written.

`verification` asks cases, whole ones and smaller and smaller parts, whether their compiled results are wrong. A run
leaves all states as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.call.rounding import Judge, Verdicts
from graphc.graph.errors import GraphcError
from graphc.graph.graph import Graph
from graphc.graph.lazy import lazy_property
from graphc.graph.node import Node, Shared
from graphc.graph.state import hold_states
from graphc.graph.types import Array, Sizes
from graphc.passes.schedule.options import EVERYTHING, Options

if TYPE_CHECKING:
    from graphc.call.runner import Compiled


@dataclass(frozen=True)
class Setting:
    """How the programs of a case are compiled, beside their options."""

    precision: str = "vector"
    threads: int = 1


@dataclass(frozen=True)
class Outcome:
    """The results of one run, the new states last; or the error that it ended with."""

    results: Sequence[Array] = ()
    error: Exception | None = None


@dataclass(eq=False)
class Case:
    """A graph, one array for each of its inputs, the sizes they give, and how it is compiled."""

    graph: Graph
    arrays: dict[Node, Array]
    sizes: Sizes
    setting: Setting = field(default_factory=Setting)

    def only(self, outputs: Sequence[Node], updates: Sequence[Shared] = ()) -> Case:
        """Return the case of fewer, or other, outputs of the same program; the last are those of `updates`."""
        graph = Graph(outputs, self.graph.inputs, updates=updates, guards=self.graph.guards)
        return Case(graph, self.arrays, self.sizes, self.setting)

    @property
    def first_update(self) -> int:
        """The number of results, after which the outputs are new values of states."""
        return len(self.graph.outputs) - len(self.graph.updates)

    @lazy_property
    def judge(self) -> Judge:
        """What tells whether results are wrong."""
        return Judge(self.graph, self.arrays, self.sizes)

    @lazy_property
    def written(self) -> Outcome:
        """The outcome of the program as it is written."""
        try:
            with hold_states(s.state for s in self.graph.shared):
                return Outcome(self.judge.written())
        except GraphcError as error:
            return Outcome(error=error)

    def program(self, options: Options = EVERYTHING, *, debug: bool = False) -> Compiled:
        """Compile the case."""
        from graphc.call.runner import Compiled
        from graphc.codegen.run.program import Program
        from graphc.codegen.run.tape import LIST_MODE
        from graphc.passes import optimize

        setting = self.setting
        graph = optimize(self.graph, options)
        program = Program(graph, setting.precision, options, compiled=not debug, threads=setting.threads)
        return Compiled(self.graph, program, LIST_MODE, interpreted=debug)

    def compiled(self, options: Options = EVERYTHING) -> Outcome:
        """Return the outcome of the compiled program."""
        return self.outcome(self.program(options))

    def outcome(self, runner: Compiled) -> Outcome:
        """Run what was compiled; all states are afterwards what they were."""
        shared = self.graph.shared
        before = [s.get_value() for s in shared]
        try:
            results = [np.array(a) for a in runner.call([self.arrays[x] for x in self.graph.inputs])]
            return Outcome([*results, *(s.get_value() for s in self.graph.updates)])
        except GraphcError as error:
            return Outcome(error=error)
        finally:
            for state, value in zip(shared, before, strict=True):
                state.set_value(value)

    def verdicts(self, found: Outcome) -> list[Verdicts]:
        """Return what is wrong with an outcome, for each output; all of it where only one of the two is an error."""
        wanted = self.written
        if wanted.error is not None or found.error is not None:
            same = type(wanted.error) is type(found.error)
            nothing = np.zeros((), bool)
            return [Verdicts(nothing if same else ~nothing, nothing) for _ in self.graph.outputs]
        with hold_states(s.state for s in self.graph.shared):
            return self.judge.compare(found.results, wanted.results)

    def wrong(self, options: Options = EVERYTHING) -> list[int]:
        """Return the outputs that are wrong when the case is compiled."""
        return [k for k, v in enumerate(self.verdicts(self.compiled(options))) if v.wrong.any()]

    def is_wrong(self, graph: Graph) -> bool:
        """Tell whether another graph of the same signature, interpreted, has other results."""
        from graphc.graph.evaluate import run_graph

        try:
            with hold_states(s.state for s in self.graph.shared):
                found = Outcome(run_graph(graph, self.arrays, self.sizes))
        except GraphcError as error:
            found = Outcome(error=error)
        return any(v.wrong.any() for v in self.verdicts(found))


def save_case(case: Case, path: str) -> None:
    """Write a case to a file, as `gc.save` writes a function; loading it runs nothing of it. See `load_case`."""
    from graphc.call.function import Function
    from graphc.call.signature import Signature
    from graphc.files import save
    from graphc.graph.op import constant

    graph, inputs, first = case.graph, case.graph.inputs, case.first_update
    arguments = [constant(case.arrays[x]) for x in inputs]
    results, values = graph.outputs[:first], graph.outputs[first:]
    whole = Graph([*results, *arguments, *values], inputs, updates=graph.updates, guards=graph.guards)
    signature = Signature(tuple(f"x{i}" for i in range(len(inputs))), tuple(inputs), tuple(inputs))
    outputs = {"results": list(results), "arguments": arguments}
    save(Function(signature, outputs, whole, "case", "compiled", case.setting.precision, case.setting.threads), path)


def load_case(path: str) -> tuple[Any, list[Array]]:
    """Return the function and the arguments of a case that `Function.verify` has saved: `f.verify(*arguments)`.

    >>> import graphc as gc, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "case.gcx")
    >>> x = gc.placeholder("x", shape=("n",))
    >>> save_case(Case(gc.Graph(x + 1), {x: np.ones(2)}, {"n": 2}), path)
    >>> f, arguments = load_case(path)
    >>> f(*arguments)
    [array([2., 2.])]
    """
    from graphc.call.function import Function
    from graphc.files import load

    whole = load(path)
    graph, arguments = whole.graph, whole._outputs["arguments"]
    results, values = whole._outputs["results"], graph.outputs[len(graph.outputs) - len(graph.updates) :]
    kept = Graph([*results, *values], graph.inputs, updates=graph.updates, guards=graph.guards)
    f = Function(whole._signature, results, kept, "case", "compiled", whole.precision, None)
    return f, [a.op.value for a in arguments]
