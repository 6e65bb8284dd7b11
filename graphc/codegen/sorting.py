"""The nests of sorting ops: a stable merge sort of each row, and binary search.

A row is copied with its NaN last and leaves them there; runs of `RUN` are sorted by insertion and merged bottom-up
between the result and a private buffer, two passes a round, so that the sorted row ends in the result. Merging
chooses without branches. Method: Knuth, TAOCP 3, 5.2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.codegen.lower import Accesses
from graphc.codegen.nest import Builder, Loop, LoopNest, Statement
from graphc.node import Node
from graphc.ops.base import Placeholder
from graphc.ops.sorting import ArgSort, SearchSorted, Sort
from graphc.types import INT64, TensorType, product

RUN = 12
"""The length of runs that are sorted by insertion."""
_SORT_NS = 40.0
_SEARCH_NS = 20.0


def private(name: str, type_: TensorType) -> Node:
    """Return a node that stands for a private buffer of a nest."""
    return Node(Placeholder(name, type_), (), type_, ("<routine>", 0))


def _sort(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Sort each row; `u` and `v` are pairs of pointers (result, buffer) of what moves along."""
    op = node.op
    assert isinstance(op, (Sort, ArgSort))
    (x,) = node.inputs
    indices = isinstance(op, ArgSort)
    size = x.shape[-1]
    keys = [private("keys", TensorType(x.dtype, (size,))) for _ in range(1 + indices)]
    rows = [*keys, *([private("indices", TensorType(INT64, (size,)))] if indices else [])]
    build = Builder([node, *rows])
    n, out = build.size(size), build.pointer(node, 0)
    source = build.pointer(accesses[x].base, accesses[x].offset)
    buffers = [build.pointer(r, 0) for r in rows]
    start = f"d0 * {n}"
    # The row lies at `first` of the pointers in `front`, at 0 of those in `back`; the first pointer holds the keys.
    front = [(buffers[0], ""), (out, "first + ")] if indices else [(out, "first + ")]
    back = [(b, "") for b in buffers[1:]] if indices else [(buffers[0], "")]
    less = "{0} > {1}" if op.descending else "{0} < {1}"
    is_float = x.dtype.kind == "f"
    body: list[Statement] = [
        f"first = {start}",
        *_load(source, front, n, is_float),
        *_insertion(front, less),
        f"width = {RUN}",
        "while width < count:",
        *_indent(_merge(front, back, "width", less)),
        *_indent(_merge(back, front, "2 * width", less)),
        "    width = 4 * width",
    ]
    extent = product(x.shape[:-1])
    nest = LoopNest(
        (*build.top, Loop("d0", "lo", "hi", body)),
        tuple(build.slots),
        extent,
        x.size,
        rows=tuple((r, size) for r in rows),
        divisible=False,
        unit_ns=_SORT_NS,
    )
    return [nest]


Columns = Sequence[tuple[str, str]]
"""Pointers with what is added to an index; the first holds the keys, a second one the indices."""


def _indent(lines: Sequence[str]) -> list[str]:
    return ["    " + line for line in lines]


def _put(columns: Columns, index: str, values: Sequence[str]) -> list[str]:
    return [f"{pointer}[{shift}{index}] = {value}" for (pointer, shift), value in zip(columns, values, strict=True)]


def _move(target: Columns, to: str, source: Columns, of: str) -> list[str]:
    return _put(target, to, [f"{pointer}[{shift}{of}]" for pointer, shift in source])


def _load(source: str, columns: Columns, n: str, is_float: bool) -> list[str]:
    """Copy the row, NaN last; `count` is the number of the others."""
    value = ["x", "j"][: len(columns)]
    if not is_float:
        return [
            f"count = {n}",
            f"for j in range({n}):",
            f"    x = {source}[first + j]",
            *_indent(_put(columns, "j", value)),
        ]
    return [
        "count = 0",
        f"for j in range({n}):",
        f"    x = {source}[first + j]",
        *_indent(_put(columns, "count", value)),
        "    count = count + select(x == x, 1, 0)",
        f"if count < {n}:",
        "    k = count",
        f"    for j in range({n}):",
        f"        x = {source}[first + j]",
        "        if x != x:",
        *_indent(_indent(_indent(_put(columns, "k", value)))),
        "            k = k + 1",
    ]


def _insertion(columns: Columns, less: str) -> list[str]:
    """Sort each run in place."""
    key, shift = columns[0]
    value = ["x", "y"][: len(columns)]
    return [
        f"for start in range(0, count, {RUN}):",
        f"    stop = select(start + {RUN} < count, start + {RUN}, count)",
        "    for j in range(start + 1, stop):",
        *[f"        {v} = {p}[{s}j]" for v, (p, s) in zip(value, columns, strict=True)],
        "        k = j",
        f"        while k > start and {less.format('x', f'{key}[{shift}k - 1]')}:",
        *_indent(_indent(_indent(_move(columns, "k", columns, "k - 1")))),
        "            k = k - 1",
        *_indent(_indent(_put(columns, "k", value))),
    ]


def _merge(source: Columns, target: Columns, width: str, less: str) -> list[str]:
    """Merge pairs of neighbouring runs of `width`; of equal keys the left one comes first."""
    key, shift = source[0]
    picked = [f"select(later, {p}[{s}j], {p}[{s}i])" for p, s in source[1:]]
    return [
        "start = 0",
        "while start < count:",
        f"    middle = select(start + {width} < count, start + {width}, count)",
        f"    stop = select(middle + {width} < count, middle + {width}, count)",
        "    i = start",
        "    j = middle",
        "    k = start",
        "    while i < middle and j < stop:",
        f"        x = {key}[{shift}i]",
        f"        y = {key}[{shift}j]",
        f"        later = {less.format('y', 'x')}",
        *_indent(_indent(_put(target, "k", ["select(later, y, x)", *picked]))),
        "        step = select(later, 1, 0)",
        "        j = j + step",
        "        i = i + 1 - step",
        "        k = k + 1",
        "    while i < middle:",
        *_indent(_indent(_move(target, "k", source, "i"))),
        "        i = i + 1",
        "        k = k + 1",
        "    while j < stop:",
        *_indent(_indent(_move(target, "k", source, "j"))),
        "        j = j + 1",
        "        k = k + 1",
        "    start = stop",
    ]


def _search(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Halve the range of places for each value."""
    op = node.op
    assert isinstance(op, SearchSorted)
    ordered, values = node.inputs
    build = Builder([node])
    n, out = build.size(ordered.shape[0]), build.pointer(node, 0)
    a, b = (build.pointer(accesses[x].base, accesses[x].offset) for x in (ordered, values))
    after = "x <= y" if op.right else "x < y"
    if ordered.dtype.kind == "f":  # NaN is after every number
        after = f"({after}) | (y != y)" if op.right else f"({after}) | ((y != y) & (x == x))"
    body: list[Statement] = [
        f"y = {b}[d0]",
        "first = 0",
        f"count = {n}",
        "while count > 0:",
        "    half = count >> 1",
        f"    x = {a}[first + half]",
        f"    after = {after}",
        "    first = select(after, first + half + 1, first)",
        "    count = select(after, count - half - 1, half)",
        f"{out}[d0] = first",
    ]
    nest = LoopNest(
        (*build.top, Loop("d0", "lo", "hi", body)),
        tuple(build.slots),
        values.size,
        values.size,
        unit_ns=_SEARCH_NS,
    )
    return [nest]


SORTING: dict[type, Callable[[Node, Accesses], list[LoopNest]]] = {Sort: _sort, ArgSort: _sort, SearchSorted: _search}
