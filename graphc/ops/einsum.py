"""Einstein summation: products of many operands with named axes, summed over the names the output lacks.

`einsum` parses NumPy's subscript strings, gives every operand a list of labels, and contracts operands pairwise, the
pair with the fewest multiplications first (a greedy order; see Smith & Gray, opt_einsum, 2018). A pair becomes
one `MatMul` where both have free axes beside the summed one, and a product and a sum elsewhere.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import apply
from graphc.graph.types import Shape, Size, product
from graphc.ops.linalg import MatMul, diagonal
from graphc.ops.manipulation import moveaxis
from graphc.ops.pointwise import broadcast, promote
from graphc.ops.reduction import sum
from graphc.ops.shape import drop_axes, never_equal, permute, reshape_to

__all__ = ["einsum"]

Labels = tuple[str, ...]
"""The names of axes: letters, and `.1`, `.2`, ... for the axes of an ellipsis, counted from the last."""

_GUESS = 64
"""The size assumed for a symbolic dimension when contractions are ordered."""


@dataclass(frozen=True)
class _Term:
    """An operand and the names of its axes."""

    node: Node
    labels: Labels

    def size(self, label: str) -> Size:
        return self.node.shape[self.labels.index(label)]


@checked
def einsum(subscripts: str, /, *operands: Any) -> Node:
    """Return the sum of products that `subscripts` describes, as `numpy.einsum`.

    Repeated letters of one operand take its diagonal, `...` stands for axes that broadcast, and without `->` the
    output has the letters that occur once, sorted. Raises `ArgumentError` and `ShapeError`.

    >>> einsum("ij,j->i", [[1, 2], [3, 4]], [1, 1]).eval()
    array([3, 7])
    """
    if not isinstance(subscripts, str):
        raise ArgumentError(f"einsum: the subscripts must be a string, got {type(subscripts).__name__}{at()}")
    nodes = promote("einsum", "number", operands) if operands else []
    inputs, output = _parse(subscripts, nodes)
    terms = [_Term(x, labels) for x, labels in zip(nodes, inputs, strict=True)]
    terms = _without_ones(subscripts, [_take_diagonals(subscripts, t) for t in terms])
    last = _contract_all(terms, output)
    return _to_output(last, output, _output_shape(nodes, inputs, output))


# -- parsing


def _parse(subscripts: str, nodes: Sequence[Node]) -> tuple[list[Labels], Labels]:
    """Return the labels of every operand and of the output."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(nodes):
        raise ArgumentError(f"einsum: {subscripts!r} names {len(parts)} operands, {len(nodes)} given{at()}")
    inputs = [_labels(subscripts, part, x) for part, x in zip(parts, nodes, strict=True)]
    dots = max((_dots(labels) for labels in inputs), default=0)
    ellipsis = tuple(f".{i}" for i in range(dots, 0, -1))
    if arrow:
        return inputs, _output_labels(subscripts, right, ellipsis, inputs)
    counts = Counter(itertools.chain.from_iterable(inputs))
    letters = sorted(label for label, count in counts.items() if count == 1 and not label.startswith("."))
    return inputs, (*ellipsis, *letters)


def _dots(labels: Labels) -> int:
    """Return the number of ellipsis axes among labels."""
    return len([label for label in labels if label.startswith(".")])


def _letters(subscripts: str, part: str) -> tuple[str, bool, str]:
    """Split a part at its ellipsis and check its letters."""
    before, dots, after = part.partition("...")
    for letter in before + after:
        if not (letter.isascii() and letter.isalpha()):
            raise ArgumentError(f"einsum: {letter!r} in {subscripts!r} is not a letter{at()}")
    return before, bool(dots), after


def _labels(subscripts: str, part: str, x: Node) -> Labels:
    before, dots, after = _letters(subscripts, part)
    rest = x.ndim - len(before) - len(after)
    if rest < 0 or (rest and not dots):
        raise ShapeError(f"einsum: {part!r} in {subscripts!r} does not name the {x.ndim} axes of {x.type}{at()}")
    return (*before, *(f".{i}" for i in range(rest, 0, -1)), *after)


def _output_labels(subscripts: str, part: str, ellipsis: Labels, inputs: Sequence[Labels]) -> Labels:
    before, dots, after = _letters(subscripts, part)
    if ellipsis and not dots:
        raise ArgumentError(f"einsum: the output of {subscripts!r} lacks the ellipsis of its operands{at()}")
    known = set(itertools.chain.from_iterable(inputs))
    for letter, count in Counter(before + after).items():
        if count > 1 or letter not in known:
            problem = "is repeated in the output" if count > 1 else "is in no operand"
            raise ArgumentError(f"einsum: {letter!r} of {subscripts!r} {problem}{at()}")
    return (*before, *ellipsis, *after)


# -- one operand


def _take_diagonals(subscripts: str, term: _Term) -> _Term:
    """Replace axes of one name by their diagonal."""
    node, labels = term.node, list(term.labels)
    for label, count in Counter(term.labels).items():
        for _ in range(count - 1):
            first, second = [i for i, other in enumerate(labels) if other == label][:2]
            sizes = node.shape[first], node.shape[second]
            _check_sizes(subscripts, label, *sizes)
            node = moveaxis(diagonal(node, axis1=first, axis2=second), -1, first)
            labels.pop(second)
    return _Term(node, tuple(labels))


def _check_sizes(subscripts: str, label: str, left: Size, right: Size) -> None:
    if never_equal(left, right):
        shown = "the ellipsis" if label.startswith(".") else repr(label)
        raise ShapeError(f"einsum: {shown} of {subscripts!r} has sizes {left} and {right}{at()}")


def _without_ones(subscripts: str, terms: Sequence[_Term]) -> list[_Term]:
    """Drop axes of size 1 where another operand has more of that name: a product repeats them."""
    sizes: dict[str, Size] = {}
    for term in terms:
        for label, size in zip(term.labels, term.node.shape, strict=True):
            if size != 1:
                _check_sizes(subscripts, label, sizes.setdefault(label, size), size)
    out: list[_Term] = []
    for term in terms:
        ones = [i for i, (n, s) in enumerate(zip(term.labels, term.node.shape, strict=True)) if s == 1 and n in sizes]
        labels = tuple(n for i, n in enumerate(term.labels) if i not in ones)
        out.append(_Term(drop_axes(term.node, ones), labels))
    return out


def _sum_out(term: _Term, kept: set[str]) -> _Term:
    """Sum over the axes that nothing else names."""
    axes = tuple(i for i, label in enumerate(term.labels) if label not in kept)
    if not axes:
        return term
    node = sum(term.node, axes, dtype=term.node.dtype)
    return _Term(node, tuple(label for label in term.labels if label in kept))


def _output_shape(nodes: Sequence[Node], inputs: Sequence[Labels], output: Labels) -> Shape:
    sizes: dict[str, Size] = {}
    for x, labels in zip(nodes, inputs, strict=True):
        for label, size in zip(labels, x.shape, strict=True):
            if sizes.get(label, 1) == 1:
                sizes[label] = size
    return tuple(sizes[label] for label in output)


def _to_output(term: _Term, output: Labels, shape: Shape) -> Node:
    """Order the axes as the output names them."""
    present = [label for label in output if label in term.labels]
    node = permute(term.node, [term.labels.index(label) for label in present])
    return broadcast(node, shape, tuple(i for i, label in enumerate(output) if label in present))


# -- pairs


def _contract_all(terms: Sequence[_Term], output: Labels) -> _Term:
    """Contract operands until one is left."""
    rest = list(terms)
    rest = [_sum_out(t, _named(rest, output, t)) for t in rest]
    while len(rest) > 1:
        x, y = _cheapest_pair(rest, output)
        others = [t for t in rest if t is not x and t is not y]
        kept = set(output).union(*(t.labels for t in others))
        rest = [*others, _contract(x, y, kept)]
    return _sum_out(rest[0], set(output))


def _named(terms: Sequence[_Term], output: Labels, but: _Term) -> set[str]:
    """Return the labels of the output and of all terms but one."""
    return set(output).union(*(t.labels for t in terms if t is not but))


def _cheapest_pair(terms: Sequence[_Term], output: Labels) -> tuple[_Term, _Term]:
    """Return the pair with the fewest multiplications, of equal ones that whose result is smallest for its operands."""
    if len(terms) == 2:
        return terms[0], terms[1]
    counts = Counter(itertools.chain(output, *(set(t.labels) for t in terms)))

    def cost(pair: tuple[_Term, _Term]) -> tuple[float, float]:
        x, y = pair
        own = Counter((*x.labels, *y.labels))
        sizes = {label: _guess(t.size(label)) for t in pair for label in t.labels}
        result = math.prod(size for label, size in sizes.items() if counts[label] > own[label])
        return math.prod(sizes.values()), result - _elements(x) - _elements(y)

    return min(itertools.combinations(terms, 2), key=cost)


def _guess(size: Size) -> int:
    return size if isinstance(size, int) else _GUESS


def _elements(term: _Term) -> int:
    return math.prod(_guess(size) for size in term.node.shape)


def _contract(x: _Term, y: _Term, kept: set[str]) -> _Term:
    """Multiply two operands and sum over what `kept` lacks."""
    both = [label for label in x.labels if label in y.labels]
    batch = tuple(label for label in both if label in kept)
    summed = tuple(label for label in both if label not in kept)
    rows = tuple(label for label in x.labels if label not in y.labels)
    columns = tuple(label for label in y.labels if label not in x.labels)
    if summed and (rows or columns):
        return _matrix_product(x, y, batch, rows, summed, columns)
    labels = (*batch, *rows, *columns, *summed)
    shape = tuple(x.size(label) if label in x.labels else y.size(label) for label in labels)
    node = _spread(x, labels, shape) * _spread(y, labels, shape)
    return _sum_out(_Term(node, labels), kept)


def _spread(term: _Term, labels: Labels, shape: Shape) -> Node:
    """Give a term the axes `labels`."""
    present = [label for label in labels if label in term.labels]
    node = permute(term.node, [term.labels.index(label) for label in present])
    return broadcast(node, shape, tuple(i for i, label in enumerate(labels) if label in present))


def _matrix_product(x: _Term, y: _Term, batch: Labels, rows: Labels, summed: Labels, columns: Labels) -> _Term:
    """Contract through one `MatMul`: [batch, rows, summed] @ [batch, summed, columns]."""
    left = _grouped(x, batch, rows, summed)
    right = _grouped(y, batch, summed, columns)
    sizes = {label: t.size(label) for t in (y, x) for label in t.labels}
    labels = (*batch, *rows, *columns)
    return _Term(reshape_to(apply(MatMul(), left, right), tuple(sizes[label] for label in labels)), labels)


def _grouped(term: _Term, batch: Labels, first: Labels, second: Labels) -> Node:
    """Return a term as a stack of matrices whose axes are the groups `first` and `second`."""
    node = permute(term.node, [term.labels.index(label) for label in (*batch, *first, *second)])
    groups = (product(term.size(label) for label in group) for group in (first, second))
    return reshape_to(node, (*(term.size(label) for label in batch), *groups))
