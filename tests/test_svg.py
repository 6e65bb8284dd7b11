"""Drawings: well-formed, complete, free of overlaps, quick for large graphs; and the layout under them."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest

import graphc as gc
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.inspect.layout import Layout, isotonic, layered_layout
from graphc.inspect.svg import MAX_NODES, escape, family, graph_to_svg, node_to_svg

SVG = "{http://www.w3.org/2000/svg}"


class Rect(NamedTuple):
    """A drawn box."""

    x: float
    y: float
    width: float
    height: float


class Kernel(NamedTuple):
    """What a drawing needs of a kernel."""

    nodes: tuple[Node, ...]


def small_network() -> Graph:
    x = gc.placeholder("x", shape=("batch", 4))
    w = gc.shared(np.zeros((4, 3)), name="w")
    b = gc.shared(np.zeros(3), name="b")
    loss = gc.mean(gc.tanh(x @ w + b) ** 2)
    dw, db = gc.grad(loss, [w, b])
    return Graph([loss, w - 0.1 * dw, b - 0.1 * db], [x], updates=[w, b])


def boxes(svg: str) -> list[Rect]:
    """The boxes and pills of a drawing, not its background, legend or badges."""
    found = []
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        if rect is not None:
            found.append(Rect(*(float(rect.attrib[key]) for key in Rect._fields)))
    return found


def texts(svg: str) -> list[str]:
    return [t.text or "" for t in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_every_node_and_result_is_drawn() -> None:
    graph = small_network()
    svg = graph.to_svg()
    shown = texts(svg)
    assert {"x", "w", "b", "output", "→ w", "→ b", "matmul"} <= set(shown)
    assert f"{len(graph)} nodes" in shown
    assert "f64[batch,3]" in shown


def test_boxes_do_not_overlap() -> None:
    drawn = boxes(small_network().to_svg())
    for a, b in itertools.combinations(drawn, 2):
        apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
        assert apart, (a, b)


def test_boxes_are_inside_the_sheet() -> None:
    svg = small_network().to_svg()
    root = ElementTree.fromstring(svg)
    group = next(g for g in root if g.tag == f"{SVG}g")
    shift = [float(n) for n in re.findall(r"[\d.]+", group.attrib["transform"])]
    for box in boxes(svg):
        assert box.x + shift[0] >= 0 and box.x + shift[0] + box.width <= float(root.attrib["width"])
        assert box.y + shift[1] >= 0 and box.y + shift[1] + box.height <= float(root.attrib["height"])


def test_scalar_constants_are_written_into_their_users() -> None:
    x = gc.placeholder("x", shape=(3,))
    shown = texts(node_to_svg(2.5 * x + 1))
    assert any("2.5" in t and "multiply" in t for t in shown)
    assert not any(t.startswith("constant") for t in shown)


def test_a_constant_result_is_drawn() -> None:
    assert any(t.startswith("constant") for t in texts(node_to_svg(gc.constant(3.0))))


def test_unused_input_is_drawn() -> None:
    x, size = gc.placeholder("x", shape=("n",)), gc.placeholder("size_giver", shape=("n",))
    assert "size_giver" in texts(graph_to_svg(Graph([x + 1], [x, size])))


def test_tooltips_name_the_line() -> None:
    titles = [t.text or "" for t in ElementTree.fromstring(small_network().to_svg()).iter(f"{SVG}title")]
    assert any("matmul(%" in t and "test_svg.py:" in t for t in titles)


def test_kernels_are_numbered() -> None:
    x = gc.placeholder("x", shape=(3,))
    y = gc.tanh(x)
    z = gc.exp(y)
    svg = graph_to_svg(Graph([z]), [Kernel((y,)), Kernel((z,))])
    badges = [t.text for t in ElementTree.fromstring(svg).iter(f"{SVG}text") if t.get("class") == "kernel"]
    assert sorted(map(str, badges)) == ["0", "1"]
    assert any("in 2 kernels" in t for t in texts(svg))


def test_every_text_is_escaped() -> None:
    assert escape("<&>\"'") == "&lt;&amp;&gt;&quot;&#x27;"
    assert escape("a\x00b\ud800") == "a\ufffdb\ufffd"
    w = gc.shared(np.zeros(2), name="<script>&\x01")
    assert "<script>&\ufffd" in texts(node_to_svg(w + 1))


def test_long_names_are_cut() -> None:
    x = gc.placeholder("x" * 200)
    svg = node_to_svg(x + 1)
    assert max(len(t) for t in texts(svg)) < 60
    assert "x" * 200 in svg, "the tooltip has it all"


def test_large_graphs_are_cut_with_a_note() -> None:
    x = gc.placeholder("x", shape=(3,))
    y = x
    for _ in range(20_000):
        y = gc.tanh(y)
    svg = node_to_svg(y)
    assert len(boxes(svg)) <= MAX_NODES + 2
    assert any("more nodes are not drawn" in t for t in texts(svg))
    assert "⋯" in texts(svg)


def test_wide_graphs_are_cut() -> None:
    x = gc.placeholder("x", shape=(3,))
    svg = graph_to_svg(Graph([gc.tanh(x) for _ in range(2 * MAX_NODES)]))
    assert len(boxes(svg)) <= MAX_NODES + 2
    assert any("more nodes are not drawn" in t for t in texts(svg))


def test_families() -> None:
    x = gc.placeholder("x", shape=(3, 3))
    w = gc.shared(np.zeros(3), name="w")
    nodes = {
        "input": x,
        "state": w,
        "constant": gc.constant([1.0, 2.0]),
        "pointwise": gc.exp(x),
        "view": x.T,
        "reduction": gc.sum(x, axis=0),
        "matmul": x @ x,
        "indexing": x[gc.constant([0, 2])],
        "assembly": gc.concat([x, x]),
    }
    assert {name: family(node.op) for name, node in nodes.items()} == {name: name for name in nodes}


def test_notebooks_get_drawings() -> None:
    x = gc.placeholder("x", shape=(3,))
    node = x + 1
    function = gc.function(x, node, mode="reference")
    for shown in (node, Graph([node]), function):
        assert shown._repr_html_().startswith("<svg")


def test_drawing_imports_neither_numba_nor_scipy() -> None:
    code = (
        "import sys, graphc as gc; x = gc.placeholder('x'); assert '<svg' in (x + 1)._repr_html_();"
        "print(*[m for m in ('numba', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# -- layout


def test_layers_follow_edges() -> None:
    rng = np.random.default_rng(0)
    edges = [(int(rng.integers(0, v)), v) for v in range(1, 60) for _ in range(2)]
    layout = layered_layout([40.0] * 60, edges, {0}, set())
    assert all(layout.layer[u] < layout.layer[v] for u, v in edges)
    assert_separate(layout, 40.0)


def assert_separate(layout: Layout, width: float) -> None:
    rows: dict[int, list[float]] = {}
    for v in range(layout.real):
        rows.setdefault(layout.layer[v], []).append(layout.x[v])
    for row in rows.values():
        assert all(b - a >= width for a, b in itertools.pairwise(sorted(row)))


def test_segments_join_neighbouring_layers() -> None:
    layout = layered_layout([10.0] * 5, [(0, 1), (1, 2), (2, 3), (0, 4), (3, 4)], {0}, {4})
    assert all(layout.layer[b] == layout.layer[a] + 1 for pairs in layout.segments for a, b in pairs)
    assert layout.segments[0][-1][1] == 4


def test_crossings_are_removed() -> None:
    """Two chains that start crossed come out side by side."""
    edges = [(0, 3), (1, 2), (2, 4), (3, 5)]
    layout = layered_layout([10.0] * 6, edges, {0, 1}, {4, 5})
    assert (layout.x[0] < layout.x[1]) == (layout.x[3] < layout.x[2]) == (layout.x[5] < layout.x[4])


def test_long_lines_are_straight() -> None:
    """A value that skips many layers runs down one vertical line."""
    edges = [(i, i + 1) for i in range(20)] + [(0, 21), (20, 22), (21, 22)]
    layout = layered_layout([30.0] * 23, edges, {0}, {22})
    trunk = {round(layout.x[v], 6) for v in range(layout.real, len(layout.x))}
    assert len(trunk) <= 2


def test_leaves_sink_to_their_users() -> None:
    edges = [(0, 1), (1, 2), (2, 4), (3, 4)]
    layout = layered_layout([10.0] * 5, edges, {0}, {4})
    assert layout.layer[3] == layout.layer[4] - 1


@pytest.mark.parametrize("values", [[], [1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 1.0, 5.0, 4.0]])
def test_isotonic(values: list[float]) -> None:
    found = isotonic(values, [1.0] * len(values))
    assert all(a <= b for a, b in itertools.pairwise(found))
    assert sum(found) == pytest.approx(sum(values))


def test_empty_layout() -> None:
    assert layered_layout([], [], set(), set()).x == []
