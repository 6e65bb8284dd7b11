"""What each kernel moves and computes, as polynomials of the sizes: the numbers that fusion is about.

A kernel reads each stored value once, of one that is only indexed the elements that it takes, and writes each of its
results once, a scatter its terms; what it computes again, or keeps in a row buffer, costs no memory traffic. Operations
are counted on one element, times the elements: arithmetic apart from the special functions (exp, tanh, ...), of which
one costs as much as some twenty of the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from graphc.node import Node
from graphc.ops.control import Scan
from graphc.ops.indexing import Gather, Offset, Scatter
from graphc.ops.linalg import MatMul, MatMulAdd, MatMulSum, MatMulUpdate, factors_of
from graphc.ops.pointwise import Pointwise
from graphc.ops.reduction import Reduction
from graphc.passes.cost import special_functions
from graphc.passes.frame import Framed
from graphc.passes.fuse import Cut, Kernel, Schedule
from graphc.passes.fusion_costs import Repeat
from graphc.passes.layout import is_inline
from graphc.text import table
from graphc.types import Size, Sizes, product, size_value, sum_sizes

_ARITHMETIC = re.compile(r"[-+*/<>&|^]|[=!]=")


@dataclass(frozen=True)
class KernelCost:
    """One kernel: bytes read and written, arithmetic operations, and evaluations of special functions."""

    kernel: str
    read: Size
    written: Size
    arithmetic: Size
    special: Size

    def at(self, sizes: Sizes) -> KernelCost:
        """Return the cost at given sizes."""
        values = (size_value(s, sizes) for s in (self.read, self.written, self.arithmetic, self.special))
        return KernelCost(self.kernel, *values)


@dataclass(frozen=True)
class Costs:
    """The costs of a program's kernels, in order, and of all together; `str` prints a table.

    `cuts` say why kernels are apart of which one reads what the other computes, `repeats` which cheap values are
    computed by those that read them, and which are stored.
    """

    kernels: tuple[KernelCost, ...]
    cuts: tuple[Cut, ...] = ()
    repeats: tuple[Repeat, ...] = ()

    @property
    def total(self) -> KernelCost:
        """The sum over the kernels."""
        columns = zip(*((k.read, k.written, k.arithmetic, k.special) for k in self.kernels), strict=True)
        return KernelCost("all", *(sum_sizes(c) for c in columns)) if self.kernels else KernelCost("all", 0, 0, 0, 0)

    def at(self, sizes: Mapping[str, int]) -> Costs:
        """Return the costs at given sizes.

        >>> import graphc as gc
        >>> x = gc.placeholder("x", shape=("n",))
        >>> cost = gc.function([x], gc.sum(gc.exp(x) * 2)).cost
        >>> print(cost.at({"n": 1000}).total)
        KernelCost(kernel='all', read=8000, written=8, arithmetic=2000, special=1000)
        """
        return Costs(tuple(k.at(sizes) for k in self.kernels), self.cuts, self.repeats)

    def __str__(self) -> str:
        header = ("kernel", "bytes read", "bytes written", "arithmetic", "special functions")
        every = (*self.kernels, self.total)
        rows = [(k.kernel, *map(_shown, (k.read, k.written, k.arithmetic, k.special))) for k in every]
        return "\n".join([table(rows, header), *map(str, self.cuts), *map(str, self.repeats)])


def _shown(size: Size) -> str:
    return f"{size:,}" if isinstance(size, int) else str(size)


def kernel_costs(schedule: Schedule) -> Costs:
    """Return the cost of every kernel of a program; of loops, a `scan` counts the operations of all its steps."""
    kernels = tuple(_cost(number, kernel, schedule) for number, kernel in enumerate(schedule))
    return Costs(kernels, schedule.cuts, schedule.repeats)


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
        sum_sizes([_arithmetic(n) for n in kernel.nodes]),
        sum_sizes([_special(n) for n in kernel.nodes]),
    )


def _elements(node: Node) -> Size:
    """Return how many elements a value has, or a scatter changes; an offset none, as long as it is 0."""
    if isinstance(node.op, Scatter):
        return node.inputs[1].size
    return 0 if isinstance(node.op, Offset) else node.size


def _arithmetic(node: Node) -> Size:
    if isinstance(node.op, Scan):
        return node.op.length * sum_sizes([_arithmetic(n) for n in node.op.body.nodes])
    if isinstance(node.op, Reduction):
        return node.inputs[0].size
    if isinstance(node.op, (MatMul, MatMulAdd, MatMulSum, MatMulUpdate)):
        return sum_sizes([2 * product((*x.shape, y.shape[-1])) for x, y in factors_of(node)])
    if isinstance(node.op, Framed):
        return product(node.op.region) * sum(_operations(n) for n in node.op.body.nodes)
    return node.size * _operations(node)


def _special(node: Node) -> Size:
    if isinstance(node.op, Scan):
        return node.op.length * sum_sizes([_special(n) for n in node.op.body.nodes])
    return node.size * len(special_functions(node))


def _operations(node: Node) -> int:
    """Return the arithmetic operations on one element."""
    if not isinstance(node.op, Pointwise):
        return 0
    return len(_ARITHMETIC.findall(node.op.code([x.dtype for x in node.inputs], node.dtype)))
