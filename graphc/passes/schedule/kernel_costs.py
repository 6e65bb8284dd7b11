"""What each kernel moves and computes, as polynomials of the sizes: the numbers that fusion is about.

A kernel reads each stored value once, of one that is only indexed the elements that it takes, and writes each of its
results once, a scatter its terms; what it computes again, or keeps in a row buffer, costs no memory traffic. Operations
are counted on one element, times the elements: arithmetic apart from the special functions (exp, tanh, ...), of which
one costs as much as some twenty of the others. What is not known before a call (the steps of a `while_loop`, the branch
that a `switch` takes, the sweeps of an eigenvalue solver) is None, printed as `?`, and so is a sum with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from graphc.graph.node import Node
from graphc.graph.op import Routine
from graphc.graph.text import table
from graphc.graph.types import Size, Sizes, floor_div, product, size_value, sum_sizes
from graphc.ops.control import Scan, Switch, While
from graphc.ops.cost import operations_of, special_functions
from graphc.ops.indexing import Gather, Offset, Scatter
from graphc.ops.linalg import MatMul, MatMulAdd, MatMulSum, MatMulUpdate, factors_of
from graphc.ops.reduction import Reduction
from graphc.passes.schedule import machine
from graphc.passes.schedule.frame import Framed
from graphc.passes.schedule.fusion_costs import Repeat
from graphc.passes.schedule.kernels import Cut, Kernel, Schedule
from graphc.passes.schedule.layout import is_inline

LANES = 8
"""Numbers of a vector, about."""
_PRICES = machine.ARITHMETIC[0], machine.FUNCTIONS["exp"][0]


@dataclass(frozen=True)
class KernelCost:
    """One kernel: bytes read and written, arithmetic operations, and evaluations of special functions."""

    kernel: str
    read: Size
    written: Size
    arithmetic: Size | None
    special: Size | None

    def at(self, sizes: Sizes) -> KernelCost:
        """Return the cost at given sizes."""
        read, written = size_value(self.read, sizes), size_value(self.written, sizes)
        counts = [None if c is None else size_value(c, sizes) for c in (self.arithmetic, self.special)]
        return KernelCost(self.kernel, read, written, *counts)

    @property
    def nanoseconds(self) -> float:
        """What the kernel takes at known sizes, about, by the table in `machine`; what is not known counts nothing."""
        bytes_, counts = (self.read, self.written), (self.arithmetic or 0, self.special or 0)
        moved = sum(machine.byte_ns(size_value(n, {})) * size_value(n, {}) for n in bytes_)
        work = sum(size_value(n, {}) * price for n, price in zip(counts, _PRICES, strict=True))
        return machine.CALL + moved + work / LANES


@dataclass(frozen=True)
class Costs:
    """The costs of a program's kernels, in order, and of all together; `str` prints a table.

    `cuts` say why kernels are apart of which one reads what the other computes, `repeats` which cheap values are
    computed by those that read them, and which are stored.
    """

    kernels: tuple[KernelCost, ...]
    cuts: tuple[Cut, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    """The kernels that need others, each with the other first, by number."""

    def critical_path(self) -> tuple[int, ...]:
        """Return the kernels that need one another and take longest together, at known sizes: no program is faster.

        >>> import graphc as gc
        >>> x = gc.placeholder("x", shape=("n", "n"))
        >>> f = gc.function([x], gc.sin(x) @ x + gc.cumulative_sum(x, axis=0))
        >>> f.cost.at({"n": 100}).critical_path()  # 2 is the cumulative sum
        (0, 1, 3)
        """
        import networkx

        timed: networkx.DiGraph[int] = networkx.DiGraph()
        begin = -1
        timed.add_weighted_edges_from((begin, k, cost.nanoseconds) for k, cost in enumerate(self.kernels))
        timed.add_weighted_edges_from((a, b, self.kernels[b].nanoseconds) for a, b in self.edges)
        return tuple(k for k in networkx.dag_longest_path(timed) if k != begin)

    @property
    def total(self) -> KernelCost:
        """The sum over the kernels."""
        read, written = sum_sizes([k.read for k in self.kernels]), sum_sizes([k.written for k in self.kernels])
        counts = _total([k.arithmetic for k in self.kernels]), _total([k.special for k in self.kernels])
        return KernelCost("all", read, written, *counts)

    def at(self, sizes: Mapping[str, int]) -> Costs:
        """Return the costs at given sizes.

        >>> import graphc as gc
        >>> x = gc.placeholder("x", shape=("n",))
        >>> cost = gc.function([x], gc.sum(gc.exp(x) * 2)).cost
        >>> print(cost.at({"n": 1000}).total)
        KernelCost(kernel='all', read=8000, written=8, arithmetic=2000, special=1000)
        """
        return replace(self, kernels=tuple(k.at(sizes) for k in self.kernels))

    def __str__(self) -> str:
        header = ("kernel", "bytes read", "bytes written", "arithmetic", "special functions")
        every = (*self.kernels, self.total)
        rows = [(k.kernel, *map(_shown, (k.read, k.written, k.arithmetic, k.special))) for k in every]
        return "\n".join([table(rows, header), *map(str, self.cuts), *map(str, self.repeats)])


def _shown(size: Size | None) -> str:
    return "?" if size is None else f"{size:,}" if isinstance(size, int) else str(size)


def _total(counts: Iterable[Size | None]) -> Size | None:
    """Return a sum, which is not known where a part is not."""
    known = list(counts)
    found = [c for c in known if c is not None]
    return sum_sizes(found) if len(found) == len(known) else None


def _times(count: Size, each: Size | None) -> Size | None:
    return None if each is None else count * each


def kernel_costs(schedule: Schedule) -> Costs:
    """Return the cost of every kernel of a program; of loops, a `scan` counts the operations of all its steps."""
    kernels = tuple(_cost(number, kernel, schedule) for number, kernel in enumerate(schedule))
    number = {kernel: i for i, kernel in enumerate(schedule)}
    edges = tuple((number[a], number[b]) for a, b in schedule.dag.edges)
    return Costs(kernels, schedule.cuts, schedule.repeats, edges)


def _cost(number: int, kernel: Kernel, schedule: Schedule) -> KernelCost:
    members = set(kernel.nodes)
    read: dict[tuple[Node, Node | None], Size] = {}
    for node in kernel.nodes:
        for position, x in enumerate(node.inputs):
            base = schedule.accesses[x].base
            if base not in members and not is_inline(base.op) and base not in schedule.inline:
                part = position == 0 and isinstance(node.op, (Gather, Offset, Scatter))
                read[base, node if part else None] = _elements(node) if part else base.size
    some = [key for key in read if key[1] is None or (key[0], None) not in read]
    names = ", ".join(n.op.name for n in kernel.nodes)
    shown = names if len(names) <= 40 else f"{names[:37]}..."
    return KernelCost(
        f"{number}: {shown}",
        sum_sizes([read[base, part] * base.dtype.itemsize for base, part in some]),
        sum_sizes([_elements(n) * n.dtype.itemsize for n in kernel.stored]),
        _total(_arithmetic(n) for n in kernel.nodes),
        _total(_special(n) for n in kernel.nodes),
    )


def _elements(node: Node) -> Size:
    """Return how many elements a value has, or a scatter changes; an offset none, as long as it is 0."""
    if isinstance(node.op, Scatter):
        return node.inputs[1].size
    return 0 if isinstance(node.op, Offset) else node.size


def _arithmetic(node: Node) -> Size | None:
    if isinstance(node.op, Scan):
        return _times(node.op.length, _total(_arithmetic(n) for n in node.op.body.nodes))
    if isinstance(node.op, (While, Switch)):
        return None
    if isinstance(node.op, Routine):
        return _FACTORISATIONS[node.op.name](*node.inputs) if node.op.name in _FACTORISATIONS else None
    if isinstance(node.op, Reduction):
        return node.inputs[0].size
    if isinstance(node.op, (MatMul, MatMulAdd, MatMulSum, MatMulUpdate)):
        return sum_sizes([2 * product((*x.shape, y.shape[-1])) for x, y in factors_of(node)])
    if isinstance(node.op, Framed):
        return product(node.op.region) * sum(_operations(n) for n in node.op.body.nodes)
    return node.size * _operations(node)


def _special(node: Node) -> Size | None:
    if isinstance(node.op, Scan):
        return _times(node.op.length, _total(_special(n) for n in node.op.body.nodes))
    if isinstance(node.op, (While, Switch)):
        return None
    if isinstance(node.op, Routine):
        return 0
    if isinstance(node.op, Framed):
        return product(node.op.region) * sum(len(special_functions(n)) for n in node.op.body.nodes)
    return node.size * len(special_functions(node))


def _cubes(x: Node) -> Size:
    """Return n**3 for each matrix of a batch."""
    return product((*x.shape, x.shape[-1]))


_FACTORISATIONS: dict[str, Callable[..., Size]] = {
    "cholesky": lambda a, *_: floor_div(_cubes(a), 3),
    "lu_factor": lambda a, *_: floor_div(2 * _cubes(a), 3),
    "solve": lambda a, lu, b: 2 * product((*a.shape, b.shape[-1])),
    "solve_triangular": lambda a, b, *_: product((*a.shape, b.shape[-1])),
}
"""Operations of what LAPACK does in a number of steps that sizes decide, to the leading order; Golub and Van Loan."""


def _operations(node: Node) -> int:
    """Return the arithmetic operations on one element."""
    found = operations_of(node)
    return found.arithmetic + found.quotients + found.divisions
