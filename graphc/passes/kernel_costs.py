"""What each kernel moves and computes, as polynomials of the sizes: the numbers that fusion is about.

A kernel reads each stored value once and writes each of its results once; what it computes again, or keeps in a row
buffer, costs no memory traffic. Operations are counted on one element, times the elements: arithmetic apart from the
special functions (exp, tanh, ...), of which one costs as much as some twenty of the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphc.node import Node
from graphc.ops.control import Scan
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
    bases = dict.fromkeys(schedule.accesses[x].base for n in kernel.nodes for x in n.inputs)
    outside = [b for b in bases if b not in members and not is_inline(b.op) and b not in schedule.inline]
    names = ", ".join(n.op.name for n in kernel.nodes)
    shown = names if len(names) <= 40 else f"{names[:37]}..."
    return KernelCost(
        f"{number}: {shown}",
        _bytes(outside),
        _bytes(kernel.stored),
        sum_sizes([_arithmetic(n) for n in kernel.nodes]),
        sum_sizes([_special(n) for n in kernel.nodes]),
    )


def _bytes(nodes: Iterable[Node]) -> Size:
    return sum_sizes([n.size * n.dtype.itemsize for n in nodes])


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
