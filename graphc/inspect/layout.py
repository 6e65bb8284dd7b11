"""Layered layout of a directed acyclic graph, after Sugiyama, Tagawa and Toda (1981).

Four steps, each linear or nearly so: longest-path layers, one trunk of dummy vertices for each value that is
used more than one layer below, barycentre sweeps that keep the order with the fewest crossings, and horizontal
positions by least squares in each layer (isotonic regression, so boxes never overlap). Vertices are plain
ints; `svg` gives them meaning.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

import networkx

GAPS = (18.0, 14.0, 9.0)
"""Free space between neighbours in a layer: two boxes, a box and a trunk, two trunks."""

ORDER_SWEEPS = 12
POSITION_SWEEPS = 30
DUMMY_BUDGET = 6_000
"""Above this many vertices the sweeps become fewer, so that large drawings still render quickly."""

Edge = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """Positions: the centre `x` and the `layer` of every vertex, dummies after the real ones.

    `above[v]` are the neighbours one layer up; `segments[v]` are the pairs (upper, lower) that draw the value
    of vertex v: its trunk, then its branches.
    """

    x: list[float]
    layer: list[int]
    above: list[list[int]]
    segments: list[list[Edge]]
    real: int

    @property
    def layers(self) -> int:
        """The number of layers."""
        return 1 + max(self.layer, default=-1)


@dataclass
class _Layered:
    """The proper graph: every segment joins neighbouring layers."""

    real: int
    layer: list[int]
    width: list[float]
    up: list[list[int]]
    down: list[list[int]]
    segments: list[list[Edge]]

    def add_dummy(self, layer: int) -> int:
        self.layer.append(layer)
        self.width.append(0.0)
        self.up.append([])
        self.down.append([])
        return len(self.layer) - 1

    def join(self, owner: int, upper: int, lower: int) -> None:
        self.up[lower].append(upper)
        self.down[upper].append(lower)
        self.segments[owner].append((upper, lower))


def layered_layout(
    widths: Sequence[float], edges: Sequence[Edge], top: Set[int], bottom: Set[int], loose: Set[int] = frozenset()
) -> Layout:
    """Place vertices 0..len(widths)-1, given in topological order, on layers from top to bottom.

    `top` vertices (without incoming edges) go to the first layer, `bottom` ones (without outgoing edges) to
    the last, `loose` ones just above their first user. Edges are pairs (upper, lower); repeated ones count once.

    >>> layered_layout([10, 10, 10], [(0, 1), (1, 2)], {0}, {2}).layer
    [0, 1, 2]
    """
    unique = list(dict.fromkeys(edges))
    layer = _assign_layers(len(widths), unique, top, bottom, loose)
    graph = _insert_trunks(layer, list(widths), unique)
    rows = _order_rows(graph)
    return Layout(_place(graph, rows), graph.layer, graph.up, graph.segments, graph.real)


def _assign_layers(count: int, edges: Sequence[Edge], top: Set[int], bottom: Set[int], loose: Set[int]) -> list[int]:
    """Longest path from the top; then vertices that shorten lines by sinking do."""
    dag: networkx.DiGraph[int] = networkx.DiGraph()
    dag.add_nodes_from(range(count))
    dag.add_edges_from(edges)
    above, below = ([list(neighbours(v)) for v in range(count)] for neighbours in (dag.predecessors, dag.successors))
    layer = [0] * count
    for depth, generation in enumerate(networkx.topological_generations(dag)):
        for v in generation:
            layer[v] = depth
    last = max(layer, default=0)
    for v in bottom:
        layer[v] = last
    for v in reversed(range(count)):
        if v in top or not below[v] or (above[v] and set(below[v]) <= bottom):
            continue
        # Lines into v grow as it sinks, except those that already reach further and one that can follow.
        followers = [u for u in above[v] if below[u] == [v] and u not in top]
        held = [] if v in loose else [u for u in above[v] if u not in followers[:1]]
        reach = [max(layer[w] for w in below[u] if w != v or below[u] == [v]) for u in held]
        layer[v] = max(layer[v], min([layer[w] - 1 for w in below[v]] + reach))
    return layer


def _insert_trunks(layer: list[int], widths: list[float], edges: Sequence[Edge]) -> _Layered:
    """Give each vertex one trunk down to just above its last user; users branch off where they are."""
    real = len(layer)
    graph = _Layered(real, list(layer), widths, [[] for _ in layer], [[] for _ in layer], [[] for _ in layer])
    users: list[list[int]] = [[] for _ in layer]
    for u, v in edges:
        users[u].append(v)
    for u in range(real):
        trunk = {layer[u]: u}
        for level in range(layer[u] + 1, max((layer[w] for w in users[u]), default=0)):
            trunk[level] = graph.add_dummy(level)
            graph.join(u, trunk[level - 1], trunk[level])
        for w in users[u]:
            graph.join(u, trunk[layer[w] - 1], w)
    return graph


# -- order in each layer


def _order_rows(graph: _Layered) -> list[list[int]]:
    """Sweep down and up from two starts and return the order with the fewest crossings."""
    small = len(graph.layer) < DUMMY_BUDGET
    starts = [_depth_first(graph), _program_order(graph)] if small else [_depth_first(graph)]
    best: list[list[int]] = []
    fewest = inf
    for rows in starts:
        for sweep in range(ORDER_SWEEPS if small else 6):
            _sort_rows(graph, rows, downwards=sweep % 2 == 0)
            found = _crossings(graph, rows)
            if found < fewest:
                best, fewest = [list(row) for row in rows], found
    if small:
        _exchange(graph, best)
    return best


def _sort_rows(graph: _Layered, rows: list[list[int]], *, downwards: bool) -> None:
    """Sort every row by the mean position of its neighbours in the row before it."""
    position = [0.0] * len(graph.layer)
    for row in rows:
        _number(row, position)
    near, far = (graph.up, graph.down) if downwards else (graph.down, graph.up)
    for row in rows if downwards else reversed(rows):
        row.sort(key=_barycentre(near, far, position))
        _number(row, position)


def _exchange(graph: _Layered, rows: list[list[int]]) -> None:
    """Swap neighbours in a row while that removes crossings (Gansner et al. 1993, section 3)."""
    place = [0] * len(graph.layer)
    for row in rows:
        for i, v in enumerate(row):
            place[v] = i
    improved = True
    while improved:
        improved = False
        for row in rows:
            for i in range(len(row) - 1):
                v, w = row[i], row[i + 1]
                gain = sum(
                    (place[a] > place[b]) - (place[a] < place[b])
                    for side in (graph.up, graph.down)
                    for a in side[v]
                    for b in side[w]
                )
                if gain > 0:
                    row[i], row[i + 1] = w, v
                    place[v], place[w] = i + 1, i
                    improved = True


def _depth_first(graph: _Layered) -> list[list[int]]:
    """Depth-first order from the last layer upwards: neighbours in the program start as neighbours on paper."""
    rows: list[list[int]] = [[] for _ in range(1 + max(graph.layer, default=-1))]
    upwards: Any = networkx.DiGraph()
    upwards.add_nodes_from(sorted(range(len(graph.layer)), key=lambda v: (-graph.layer[v], v)))
    upwards.add_edges_from((v, u) for v, above in enumerate(graph.up) for u in above)
    for v in networkx.dfs_preorder_nodes(upwards):
        rows[graph.layer[v]].append(v)
    return rows


def _program_order(graph: _Layered) -> list[list[int]]:
    """The order of the nodes in the program; trunks where their owners are."""
    rows: list[list[int]] = [[] for _ in range(1 + max(graph.layer, default=-1))]
    owner = list(range(len(graph.layer)))
    for u, segments in enumerate(graph.segments):
        for _, lower in segments:
            if lower >= graph.real:
                owner[lower] = u
    for v in sorted(range(len(graph.layer)), key=owner.__getitem__):
        rows[graph.layer[v]].append(v)
    return rows


def _number(row: Sequence[int], position: list[float]) -> None:
    """Positions in a row, centred, so that rows of different lengths compare."""
    for i, v in enumerate(row):
        position[v] = i - len(row) / 2


def _barycentre(
    near: list[list[int]], far: list[list[int]], position: list[float]
) -> Callable[[int], tuple[float, float]]:
    def key(v: int) -> tuple[float, float]:
        others = near[v] or far[v]
        mean = sum(position[u] for u in others) / len(others) if others else position[v]
        return mean, position[v]

    return key


def _crossings(graph: _Layered, rows: list[list[int]]) -> int:
    """Count crossing segments: inversions among lower ends when upper ends are in order."""
    total = 0
    place = [0] * len(graph.layer)
    for row in rows:
        for i, v in enumerate(row):
            place[v] = i
    for row in rows:
        seen: list[int] = []
        for v in row:
            ends = sorted(place[w] for w in graph.down[v])
            total += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


# -- horizontal positions


def _place(graph: _Layered, rows: list[list[int]]) -> list[float]:
    """Pull every vertex towards its neighbours, layer by layer, keeping order and distances."""
    x = [0.0] * len(graph.layer)
    for row in rows:
        offsets = _offsets(graph, row)
        for v, offset in zip(row, offsets, strict=True):
            x[v] = offset - offsets[-1] / 2
    sweeps = POSITION_SWEEPS if len(graph.layer) < DUMMY_BUDGET else 10
    for sweep in range(sweeps):
        final = sweep >= sweeps - 4
        down = sweep % 2 == 0
        sides = (graph.up, graph.down) if final else (graph.up,) if down else (graph.down,)
        for row in rows if down else reversed(rows):
            _settle(graph, row, sides, x)
    _straighten(graph, rows, x)
    left = min((x[v] - graph.width[v] / 2 for v in range(len(x))), default=0.0)
    return [value - left for value in x]


def _straighten(graph: _Layered, rows: list[list[int]], x: list[float]) -> None:
    """Give runs of a trunk one x, as long as the free space beside it allows; long trunks first."""
    neighbours: list[tuple[int, int]] = [(-1, -1)] * len(x)
    for row in rows:
        for a, v, b in zip([-1, *row[:-1]], row, [*row[1:], -1], strict=True):
            neighbours[v] = (a, b)
    trunks = [[low for _, low in segments if low >= graph.real] for segments in graph.segments]
    for trunk in sorted(trunks, key=len, reverse=True):
        run: list[int] = []
        low, high = -inf, inf
        for v in trunk:
            left, right = neighbours[v]
            lowest = x[left] + _distance(graph, left, v) if left >= 0 else -inf
            highest = x[right] - _distance(graph, v, right) if right >= 0 else inf
            if max(low, lowest) > min(high, highest):
                _set_run(run, low, high, x)
                run, low, high = [], -inf, inf
            run.append(v)
            low, high = max(low, lowest), min(high, highest)
        _set_run(run, low, high, x)


def _set_run(run: Sequence[int], low: float, high: float, x: list[float]) -> None:
    if run:
        middle = min(max(sum(x[v] for v in run) / len(run), low), high)
        for v in run:
            x[v] = middle


def _distance(graph: _Layered, a: int, b: int) -> float:
    """The smallest distance between the centres of neighbours a and b."""
    return (graph.width[a] + graph.width[b]) / 2 + GAPS[(a >= graph.real) + (b >= graph.real)]


def _offsets(graph: _Layered, row: Sequence[int]) -> list[float]:
    """The smallest distances of the row's centres from its first centre."""
    offsets = [0.0][: len(row)]
    for a, b in pairwise(row):
        offsets.append(offsets[-1] + _distance(graph, a, b))
    return offsets


def _settle(graph: _Layered, row: Sequence[int], sides: Sequence[list[list[int]]], x: list[float]) -> None:
    """Move a row to the least-squares positions that keep its order and distances."""
    wanted, weights = [], []
    for v in row:
        pull = [(x[u], _weight(graph, v, u)) for side in sides for u in side[v]] or [(x[v], 0.1)]
        weight = sum(w for _, w in pull)
        wanted.append(sum(p * w for p, w in pull) / weight)
        weights.append(weight)
    offsets = _offsets(graph, row)
    targets = [w - o for w, o in zip(wanted, offsets, strict=True)]
    for v, value, offset in zip(row, isotonic(targets, weights), offsets, strict=True):
        x[v] = value + offset


def _weight(graph: _Layered, v: int, u: int) -> float:
    """Trunks are pulled straight first (weights as in Gansner et al. 1993, section 4)."""
    return (1.0, 2.0, 8.0)[(v >= graph.real) + (u >= graph.real)]


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the non-decreasing sequence nearest to `values` in weighted least squares (pool adjacent violators).

    >>> isotonic([3.0, 1.0, 4.0], [1.0, 1.0, 1.0])
    [2.0, 2.0, 4.0]
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, mass, count = blocks.pop()
            total = mass + block[1]
            block = ((mean * mass + block[0] * block[1]) / total, total, count + block[2])
        blocks.append(block)
    return [mean for mean, _, count in blocks for _ in range(count)]
