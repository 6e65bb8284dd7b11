"""Loops as ops: `Scan` holds its body as a graph, gives several results, and `Project` takes one of them.

The body is a `Graph` whose inputs are the carries, one element of each sequence, and the captured outer values;
its outputs are the next carries and one element of each stacked result. How a body is evaluated and differentiated
needs the interpreter and `grad`, which live above the ops: `graphc/control.py` hands them in as `rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from graphc.node import Node
from graphc.ops.base import Cotangents, Op, apply
from graphc.types import Array, Size, Sizes, TensorType, TupleType, size_value, tuple_type

if TYPE_CHECKING:
    from graphc.graph import Graph

Result = tuple[str, int]
"""("final", i): the i-th carry after the loop; ("stacked", j): the j-th result; ("carry", i): the carry that each
step received, stacked, which the adjoint reads."""


class ScanRules(Protocol):
    """What `Scan` takes from the modules above it."""

    def evaluate(self, op: Scan, arrays: Sequence[Array], sizes: Sizes) -> tuple[Array, ...]:
        """Run the loop with NumPy."""
        ...

    def vjp(self, op: Scan, cotangents: Sequence[Node | None], out: Node, inputs: Sequence[Node]) -> Cotangents:
        """Return the cotangents of the inputs for those of the results."""
        ...

    def jvp(self, op: Scan, tangents: Sequence[Node | None], inputs: Sequence[Node]) -> Cotangents:
        """Return the tangents of the results for those of the inputs."""
        ...


@dataclass(frozen=True, eq=False)
class Scan(Op):
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
    rules: ScanRules = field(repr=False)
    known: Mapping[str, int] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        shown = f"length={self.length}{', reverse' if self.reverse else ''}, body of {len(self.body)} nodes"
        return f"scan[{shown}]"

    def sizes(self) -> Iterable[Size]:
        return (self.length, *(s for n in self.body.nodes for s in (*n.shape, *n.op.sizes())))

    def resolve(self, sizes: Sizes) -> Op:
        return replace(self, known=sizes)

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

    def evaluate(self, *arrays: Array) -> Any:
        return self.rules.evaluate(self, arrays, self.known or {})

    def steps(self, sizes: Sizes) -> range:
        """Return the positions in the order in which the steps run."""
        count = size_value(self.length, sizes)
        return range(count - 1, -1, -1) if self.reverse else range(count)


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
