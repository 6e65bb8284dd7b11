"""`summary`: a table of a model's calls, with output types, parameters and floating-point operations.

The model is called once on placeholders. Operations are counted in the graph that this builds, so that every model,
whatever it computes, has a count; a node belongs to the innermost module whose call built it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.graph.errors import ArgumentError, at
from graphc.graph.graph import topological_order
from graphc.graph.node import Node, Shared, serials
from graphc.graph.op import Composite, Placeholder, placeholder
from graphc.graph.text import table
from graphc.graph.tree import flatten
from graphc.graph.types import Size, TensorType, size_max
from graphc.nn.module import Module, watcher
from graphc.ops.control import Scan, Switch
from graphc.ops.creation import Iota
from graphc.ops.cumulative import Running
from graphc.ops.linalg import MatMul
from graphc.ops.pointwise import Cast, DimValue, Pointwise
from graphc.ops.reduction import Reduction

__all__ = ["Summary", "summary"]


@dataclass(frozen=True)
class SummaryRow:
    """A call of a module: its dotted name ("" for the model), its own parameters and operations without those inside.

    `output` is the text of the result's type, empty for a module that was not called.
    """

    name: str
    kind: str
    output: str
    parameters: int
    flops: Size


@dataclass(frozen=True)
class Summary:
    """What `summary` found; prints as a table."""

    rows: tuple[SummaryRow, ...]
    parameters: int
    trained: int
    nbytes: int
    flops: Size

    def __str__(self) -> str:
        lines = [(_label(row), row.output, f"{row.parameters:,}", _count(row.flops)) for row in self.rows]
        total = ("total", "", f"{self.parameters:,}", _count(self.flops))
        frozen = self.parameters - self.trained
        more = f"{self.trained:,} parameters are trained, {frozen:,} are not; {self.nbytes:,} bytes"
        return f"{table([*lines, total], header=('layer', 'output', 'parameters', 'flops'))}\n{more}"

    __repr__ = __str__


def summary(model: Module, *inputs: Any) -> Summary:
    """Return a table of the model's calls: layer, output type, parameters, operations, and their totals.

    Parameters
    ----------
    model
        A module; it is called in the mode in which it is.
    inputs
        What it is called with: nodes, or shapes of float32 arrays, whose sizes may be names. Operations are then
        polynomials of these.

    An operation is an addition or a product: 2 m k n for a matrix product, one an element for everything else that is
    computed, one an element read for reductions. Moving data, comparisons in pooling, sorting and factorisations are
    not counted, a branch counts as its largest, a while loop as nothing.

    >>> import graphc as gc
    >>> summary(gc.nn.Sequential(gc.nn.Linear(4, 8), gc.nn.ReLU(), gc.nn.Linear(8, 1)), ("n", 4))
    layer                output  parameters  flops
    ──────────────────────────────────────────────
    Sequential         f32[n,1]           0      0
      0: Linear(4, 8)  f32[n,8]          40   72*n
      1: ReLU()        f32[n,8]           0    8*n
      2: Linear(8, 1)  f32[n,1]           9   17*n
    total                                49   97*n
    49 parameters are trained, 0 are not; 196 bytes
    """
    if not isinstance(model, Module):
        raise ArgumentError(f"summary: a module is needed, got {type(model).__name__}{at()}")
    nodes = [x if isinstance(x, Node) else placeholder(f"x{i}", x, "float32") for i, x in enumerate(inputs)]
    calls = _Calls(model)
    token = watcher.set(calls.run)
    try:
        outputs = flatten(model(*nodes))
    finally:
        watcher.reset(token)
    return calls.table(outputs)


class _Calls:
    """The calls of modules while a model builds its graph: what each returned, and when it began and ended."""

    def __init__(self, model: Module) -> None:
        self.model = model
        self.names = {id(module): name for name, module in model.modules().items()}
        self.called: list[Module] = []
        self.outputs: list[str] = []
        self.open: list[int] = []
        # From serial number `since[i]` on, nodes belong to the call `owners[i]`.
        self.since: list[int] = []
        self.owners: list[int] = []

    def run(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a module and take notes."""
        call = len(self.called)
        self.called.append(module)
        self.outputs.append("")
        self.open.append(call)
        self._switch(call)
        found = module.forward(*args, **kwargs)
        self.open.pop()
        self._switch(self.open[-1] if self.open else -1)
        self.outputs[call] = ", ".join(str(x.type) for x in flatten(found) if isinstance(x, Node))
        return found

    def _switch(self, call: int) -> None:
        self.since.append(next(serials))
        self.owners.append(call)

    def table(self, outputs: Sequence[Any]) -> Summary:
        """Return the rows and totals for what the model returned."""
        flops: dict[int, Size] = {}
        for node in topological_order([x for x in outputs if isinstance(x, Node)]):
            place = bisect_right(self.since, node.serial) - 1
            if place >= 0 and self.owners[place] >= 0:
                owner = self.owners[place]
                flops[owner] = flops.get(owner, 0) + node_flops(node)
        own = _own_parameters(self.model)
        rows = [self._row(call, own, flops.get(call, 0)) for call in range(len(self.called))]
        modules = self.model.modules()
        rows += [SummaryRow(n, _kind(modules[n]), "", _size(p), 0) for n, p in own.items() if p]
        trained = self.model.parameters().values()
        all_ = self.model.parameters(frozen=True).values()
        nbytes = sum(p.state.array.nbytes for p in all_)
        total: Size = 0
        for count in flops.values():
            total = total + count
        return Summary(tuple(rows), _size(all_), _size(trained), nbytes, total)

    def _row(self, call: int, own: dict[str, list[Shared]], flops: Size) -> SummaryRow:
        module = self.called[call]
        name = self.names.get(id(module), f"({type(module).__name__})")
        return SummaryRow(name, _kind(module), self.outputs[call], _size(own.pop(name, [])), flops)


def _own_parameters(model: Module) -> dict[str, list[Shared]]:
    """Return the parameters of every module that are in no module inside it, by the module's name."""
    modules = model.modules()
    own: dict[str, list[Shared]] = {name: [] for name in modules}
    for dotted, parameter in model.parameters(frozen=True).items():
        owner = max((n for n in modules if not n or dotted.startswith(f"{n}.")), key=len)
        own[owner].append(parameter)
    return own


def _kind(module: Module) -> str:
    return module.title if module.shown or len(module.modules()) == 1 else type(module).__name__


def _label(row: SummaryRow) -> str:
    if not row.name:
        return row.kind
    called = "" if row.output else " (not called)"
    return f"{'  ' * (row.name.count('.') + 1)}{row.name.rpartition('.')[2]}: {row.kind}{called}"


def _size(parameters: Iterable[Shared]) -> int:
    return sum(p.state.array.size for p in parameters)


def _count(flops: Size) -> str:
    return f"{flops:,}" if isinstance(flops, int) else str(flops)


# -- operations


def node_flops(node: Node) -> Size:
    """Return the floating-point operations of one node."""
    op, types = node.op, [x.type for x in node.inputs]
    if isinstance(op, MatMul):
        return 2 * node.size * types[0].shape[-1]
    if isinstance(op, (Reduction, Running)):
        return types[0].size
    if isinstance(op, Pointwise) and not isinstance(op, (Cast, DimValue, Iota)):
        return node.size
    if isinstance(op, Composite):
        return _expanded(op, types)
    if isinstance(op, Scan):
        return op.length * _graph_flops(op.body.nodes)
    if isinstance(op, Switch):
        most: Size = 0
        for branch in op.branches:
            most = size_max(most, _graph_flops(branch.nodes))
        return most
    return 0


def _expanded(op: Composite, types: Sequence[TensorType]) -> Size:
    """Count the graph that a composite stands for."""
    inputs = [Node(Placeholder(f"x{i}", type_), (), type_, ("<summary>", 0, "", "")) for i, type_ in enumerate(types)]
    return _graph_flops(topological_order([op.expand(*inputs)]))


def _graph_flops(nodes: Iterable[Node]) -> Size:
    total: Size = 0
    for node in nodes:
        total = total + node_flops(node)
    return total
