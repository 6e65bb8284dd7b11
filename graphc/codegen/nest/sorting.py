"""The nests of sorting ops: a stable merge sort of each row, and binary search.

A row is copied with its NaN last and leaves them there; runs of `RUN` are sorted by insertion and merged bottom-up
between the result and a private buffer, two passes a round, so that the sorted row ends in the result. Merging
chooses without branches. Method: Knuth, TAOCP 3, 5.2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.codegen.nest.ir import (
    HI,
    LO,
    ZERO,
    Binary,
    Expr,
    If,
    Let,
    Load,
    Loop,
    Number,
    Pointer,
    Statement,
    Store,
    Var,
    While,
    both,
    select,
    total,
    variables,
)
from graphc.codegen.nest.lower import Accesses
from graphc.codegen.nest.nest import Builder, LoopNest, part_end
from graphc.graph.node import Node
from graphc.graph.op import Placeholder
from graphc.graph.types import INT64, TensorType, product, short_name
from graphc.ops.sorting import ArgSort, SearchSorted, Sort
from graphc.passes.schedule import machine

RUN = 12
"""The length of runs that are sorted by insertion."""


def private(name: str, type_: TensorType) -> Node:
    """Return a node that stands for a private buffer of a nest."""
    return Node(Placeholder(name, type_), (), type_, ("<routine>", 0, "", ""))


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
    # The row lies at `first` of the pointers in `front`, at 0 of those in `back`; the first pointer holds the keys.
    front: Columns = [(buffers[0], ZERO), (out, FIRST)] if indices else [(out, FIRST)]
    back: Columns = [(b, ZERO) for b in buffers[1:]] if indices else [(buffers[0], ZERO)]
    less = Expr.__gt__ if op.descending else Expr.__lt__
    key = short_name(x.dtype)
    body: list[Statement] = [
        Let(FIRST, D0 * n),
        *_load(source, front, n, key),
        *_insertion(front, less, key),
        Let(WIDTH, Number(RUN)),
        While(
            WIDTH < COUNT,
            [
                *_merge(front, back, WIDTH, less, key),
                *_merge(back, front, 2 * WIDTH, less, key),
                Let(WIDTH, 4 * WIDTH),
            ],
        ),
    ]
    extent = product(x.shape[:-1])
    nest = LoopNest(
        (*build.top, Loop(D0, LO, HI, body)),
        tuple(build.slots),
        extent,
        x.size,
        rows=tuple((r, size) for r in rows),
        divisible=False,
        unit_ns=machine.SORTED_ELEMENT,
    )
    return [nest]


Columns = Sequence[tuple[Pointer, Expr]]
"""Pointers with what is added to an index; the first holds the keys, a second one the indices."""
Less = Callable[[Expr, Expr], Expr]
D0, FIRST, COUNT, WIDTH, START, MIDDLE, STOP, STEP, I0, J, K = variables(
    "d0 first count width start middle stop step i j k"
)


def _put(columns: Columns, index: Expr, values: Sequence[Expr]) -> list[Statement]:
    return [Store(pointer, total(shift, index), value) for (pointer, shift), value in zip(columns, values, strict=True)]


def _get(column: tuple[Pointer, Expr], index: Expr) -> Load:
    return column[0][total(column[1], index)]


def _move(target: Columns, to: Expr, source: Columns, of: Expr) -> list[Statement]:
    return _put(target, to, [_get(column, of) for column in source])


def _next(*counters: Var) -> list[Statement]:
    return [Let(counter, counter + 1) for counter in counters]


def _load(source: Pointer, columns: Columns, n: Var, key: str) -> list[Statement]:
    """Copy the row, NaN last; `count` is the number of the others."""
    x = Var("x", key)
    value = [x, J][: len(columns)]
    read = Let(x, source[FIRST + J])
    if key[0] != "f":
        return [Let(COUNT, n), Loop(J, ZERO, n, [read, *_put(columns, J, value)])]
    last: list[Statement] = [If(x.ne(x), [*_put(columns, K, value), *_next(K)], [])]
    return [
        Let(COUNT, ZERO),
        Loop(J, ZERO, n, [read, *_put(columns, COUNT, value), Let(COUNT, COUNT + select(x.eq(x), 1, 0))]),
        If(Binary("<", COUNT, n), [Let(K, COUNT), Loop(J, ZERO, n, [read, *last])], []),
    ]


def _insertion(columns: Columns, less: Less, key: str) -> list[Statement]:
    """Sort each run in place."""
    value = [Var("x", key), Var("at")][: len(columns)]
    before = both(K > START, less(value[0], _get(columns[0], K - 1)))
    insert: list[Statement] = [
        *(Let(v, _get(column, J)) for v, column in zip(value, columns, strict=True)),
        Let(K, J),
        While(before, [*_move(columns, K, columns, K - 1), Let(K, K - 1)]),
        *_put(columns, K, value),
    ]
    run: list[Statement] = [part_end(STOP, START, RUN, COUNT), Loop(J, START + 1, STOP, insert)]
    return [Loop(START, ZERO, COUNT, run, RUN)]


def _merge(source: Columns, target: Columns, width: Expr, less: Less, key: str) -> list[Statement]:
    """Merge pairs of neighbouring runs of `width`; of equal keys the left one comes first."""
    x, y, later = Var("x", key), Var("y", key), Var("later", "bool")
    picked = [select(later, _get(column, J), _get(column, I0)) for column in source[1:]]
    choose: list[Statement] = [
        Let(x, _get(source[0], I0)),
        Let(y, _get(source[0], J)),
        Let(later, less(y, x)),
        *_put(target, K, [select(later, y, x), *picked]),
        Let(STEP, select(later, 1, 0)),
        Let(J, J + STEP),
        Let(I0, I0 + 1 - STEP),
        *_next(K),
    ]
    pair: list[Statement] = [
        part_end(MIDDLE, START, width, COUNT),
        part_end(STOP, MIDDLE, width, COUNT),
        *(Let(I0, START), Let(J, MIDDLE), Let(K, START)),
        While(both(I0 < MIDDLE, J < STOP), choose),
        While(I0 < MIDDLE, [*_move(target, K, source, I0), *_next(I0, K)]),
        While(J < STOP, [*_move(target, K, source, J), *_next(J, K)]),
        Let(START, STOP),
    ]
    return [Let(START, ZERO), While(START < COUNT, pair)]


def _search(node: Node, accesses: Accesses) -> list[LoopNest]:
    """Halve the range of places for each value."""
    op = node.op
    assert isinstance(op, SearchSorted)
    ordered, values = node.inputs
    build = Builder([node])
    n, out = build.size(ordered.shape[0]), build.pointer(node, 0)
    a, b = (build.pointer(accesses[x].base, accesses[x].offset) for x in (ordered, values))
    x, y, half, after = Var("x", a.kind), Var("y", b.kind), Var("half"), Var("after", "bool")
    follows = x <= y if op.right else x < y
    if ordered.dtype.kind == "f":  # NaN is after every number
        follows = follows | y.ne(y) if op.right else follows | (y.ne(y) & x.eq(x))
    step: list[Statement] = [
        Let(half, COUNT >> 1),
        Let(x, a[FIRST + half]),
        Let(after, follows),
        Let(FIRST, select(after, FIRST + half + 1, FIRST)),
        Let(COUNT, select(after, COUNT - half - 1, half)),
    ]
    body: list[Statement] = [
        *(Let(y, b[D0]), Let(FIRST, ZERO), Let(COUNT, n)),
        While(COUNT > 0, step),
        Store(out, D0, FIRST),
    ]
    nest = LoopNest(
        (*build.top, Loop(D0, LO, HI, body)),
        tuple(build.slots),
        values.size,
        values.size,
        unit_ns=machine.SEARCHED_ELEMENT,
    )
    return [nest]


SORTING: dict[type, Callable[[Node, Accesses], list[LoopNest]]] = {Sort: _sort, ArgSort: _sort, SearchSorted: _search}
