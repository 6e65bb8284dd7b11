"""Loops and branches as ops: they hold graphs, give several results, and `Project` takes one of them.

The body of a `Scan` is a `Graph` whose inputs are the carries, one element of each sequence, and the captured outer
values; its outputs are the next carries and one element of each stacked result. How a body is evaluated and
differentiated needs the interpreter and `grad`, which live above the ops: `autodiff.control` hands them in as `rules`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from graphc.graph.node import Node
from graphc.graph.op import Cotangents, Op, apply
from graphc.graph.types import Array, Size, Sizes, TensorType, TupleType, size_value, tuple_type

if TYPE_CHECKING:
    from graphc.graph.graph import Graph

Result = tuple[str, int]
"""("final", i): the i-th carry after the loop; ("stacked", j): the j-th result; ("carry", i): the carry that each
step received, stacked, which the adjoint reads."""


class Rules(Protocol):
    """What a control op takes from the modules above it."""

    def evaluate(self, op: Any, arrays: Sequence[Array], sizes: Sizes) -> tuple[Array, ...]:
        """Compute the results with NumPy."""
        ...

    def vjp(self, op: Any, cotangents: Sequence[Node | None], out: Node, inputs: Sequence[Node]) -> Cotangents:
        """Return the cotangents of the inputs for those of the results."""
        ...

    def jvp(self, op: Any, tangents: Sequence[Node | None], inputs: Sequence[Node]) -> Cotangents:
        """Return the tangents of the results for those of the inputs."""
        ...


class Control(Op):
    """The family of ops that hold graphs (`regions`) and have several results (`results`, those that are kept)."""

    rules: Rules

    def regions(self) -> tuple[Graph, ...]:
        """Return the graphs inside."""
        raise NotImplementedError

    def with_regions(self, regions: Sequence[Graph]) -> Control:
        """Return the same op with other graphs of the same signatures."""
        raise NotImplementedError

    def keep(self, kept: Sequence[int]) -> Control:
        """Return the op that gives only the results at these positions; itself where nothing changes."""
        raise NotImplementedError

    def sizes(self) -> Iterable[Size]:
        return (s for g in self.regions() for n in g.nodes for s in (*n.shape, *n.op.sizes()))

    def resolve(self, sizes: Sizes) -> Op:
        return _Known(self, sizes)


@dataclass(frozen=True, eq=False)
class _Known(Op):
    """A control op with the sizes of a call, which the graphs inside it need as well."""

    op: Control
    sizes_known: Sizes

    def evaluate(self, *arrays: Array) -> Any:
        return self.op.rules.evaluate(self.op, arrays, self.sizes_known)


@dataclass(frozen=True, eq=False)
class Scan(Control):
    """Run `body` for `length` steps, carrying values from step to step.

    Inputs: `carries` first values, `sequences` arrays with the steps along axis 0, then captured values. With
    `reverse` the steps run from the last element to the first, and results are stacked at the same positions.
    """

    name = "scan"
    body: Graph = field(repr=False)
    carries: int
    sequences: int
    length: Size
    reverse: bool
    results: tuple[Result, ...] = field(repr=False)
    rules: Rules = field(repr=False)
    chunk: Size = 0
    """Steps of the loop inside the body of a checkpointed loop, which the adjoint computes again; 0 in others."""

    def __str__(self) -> str:
        chunks = f", chunks of {self.chunk}" if self.chunk != 0 else ""
        direction = ", reverse" if self.reverse else ""
        shown = f"length={self.length}{direction}{chunks}, body of {len(self.body)} nodes"
        return f"scan[{shown}]"

    def regions(self) -> tuple[Graph, ...]:
        return (self.body,)

    def with_regions(self, regions: Sequence[Graph]) -> Scan:
        return replace(self, body=regions[0])

    def keep(self, kept: Sequence[int]) -> Scan:
        results = [self._as_carry(self.results[k]) for k in kept]
        heads = list(dict.fromkeys(self.body.outputs[self.carries + j] for kind, j in results if kind == "stacked"))
        outputs = [*self.body.outputs[: self.carries], *heads]
        places = {j: heads.index(y) for j, y in enumerate(self.body.outputs[self.carries :]) if y in heads}
        renamed = tuple(("stacked", places[i]) if kind == "stacked" else (kind, i) for kind, i in results)
        body = self.body.with_outputs(outputs)
        return self if body is self.body and renamed == self.results else replace(self, body=body, results=renamed)

    def _as_carry(self, result: Result) -> Result:
        """Return a stacked result that is a carry as steps receive it as what it is."""
        kind, i = result
        output = self.body.outputs[self.carries + i] if kind == "stacked" else None
        own = self.body.inputs[: self.carries]
        return ("carry", own.index(output)) if output in own else result

    def sizes(self) -> Iterable[Size]:
        return (self.length, self.chunk, *super().sizes())

    def equalities(self, *types: TensorType) -> Iterable[tuple[Size, Size]]:
        sequences = types[self.carries : self.carries + self.sequences]
        return ((t.shape[0], self.length) for t in sequences if t.shape[0] != self.length)

    def result_type(self, result: Result) -> TensorType:
        """Return the type of one result."""
        kind, i = result
        inner = (self.body.outputs[self.carries + i] if kind == "stacked" else self.body.inputs[i]).type
        return inner if kind == "final" else TensorType(inner.dtype, (self.length, *inner.shape))

    def infer(self, *types: TensorType) -> TupleType:
        return tuple_type(self.result_type(r) for r in self.results)

    def steps(self, sizes: Sizes) -> range:
        """Return the positions in the order in which the steps run."""
        count = size_value(self.length, sizes)
        return range(count - 1, -1, -1) if self.reverse else range(count)


@dataclass(frozen=True, eq=False)
class Switch(Control):
    """Run the branch that an int64 index names (clamped); inputs: the index, then what any branch reads.

    Every branch has all those inputs and outputs of the same types. `results` are the outputs that are kept.
    """

    name = "switch"
    branches: tuple[Graph, ...] = field(repr=False)
    results: tuple[int, ...] = field(repr=False)
    rules: Rules = field(repr=False)

    def __str__(self) -> str:
        return f"switch[branches of {', '.join(str(len(b)) for b in self.branches)} nodes]"

    def regions(self) -> tuple[Graph, ...]:
        return self.branches

    def with_regions(self, regions: Sequence[Graph]) -> Switch:
        return replace(self, branches=tuple(regions))

    def keep(self, kept: Sequence[int]) -> Switch:
        branches = tuple(b.with_outputs([b.outputs[self.results[k]] for k in kept]) for b in self.branches)
        results, same = tuple(range(len(kept))), all(map(operator.is_, branches, self.branches))
        return self if same and results == self.results else replace(self, branches=branches, results=results)

    def infer(self, *types: TensorType) -> TupleType:
        return tuple_type(self.branches[0].outputs[k].type for k in self.results)


@dataclass(frozen=True, eq=False)
class While(Control):
    """Run `body` while `condition` holds; inputs: the first carries, then what either graph reads."""

    name = "while"
    condition: Graph = field(repr=False)
    body: Graph = field(repr=False)
    results: tuple[int, ...] = field(repr=False)
    rules: Rules = field(repr=False)

    def __str__(self) -> str:
        return f"while[condition of {len(self.condition)} nodes, body of {len(self.body)} nodes]"

    def regions(self) -> tuple[Graph, ...]:
        return self.condition, self.body

    def with_regions(self, regions: Sequence[Graph]) -> While:
        return replace(self, condition=regions[0], body=regions[1])

    def keep(self, kept: Sequence[int]) -> While:
        results = tuple(self.results[k] for k in kept)
        return self if results == self.results else replace(self, results=results)

    def infer(self, *types: TensorType) -> TupleType:
        return tuple_type(self.body.outputs[k].type for k in self.results)


@dataclass(frozen=True)
class Project(Op):
    """One result of an op with several."""

    name = "project"
    index: int

    def infer(self, *types: TensorType) -> TensorType:
        (several,) = types
        assert isinstance(several, TupleType)
        return several.types[self.index]

    def evaluate(self, *arrays: Any) -> Array:
        found: Array = arrays[0][self.index]
        return found


def project(node: Node, index: int) -> Node:
    """Return one result of an op with several."""
    return apply(Project(index), node)
