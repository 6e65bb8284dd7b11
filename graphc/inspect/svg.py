"""Drawings of programs as self-contained SVG documents, dark on light, laid out with networkx.

Inputs are on top, results at the bottom, operands above their users. A box is one node: its op, its type, a
colour for its family, the kernel it runs in as a badge, and a tooltip with its line of the text form and the
user's source line. A line is one value: hovering over it shows everywhere that value goes. Scalar constants
are written into the boxes that use them. Programs above `MAX_NODES` are cut to what is nearest the results.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphc.graph.errors import place
from graphc.graph.graph import Graph
from graphc.graph.node import Node, Shared
from graphc.graph.op import Constant, Op, Placeholder, View
from graphc.inspect.layout import Layout, layered_layout

if TYPE_CHECKING:
    from graphc.call.function import Function

MAX_NODES = 400
BOX_HEIGHT = 38.0
PILL_HEIGHT = 24.0
ROW = 78.0
MARGIN = 24.0
HEADER = 58.0
LABEL_LENGTH = 30

FAMILIES = {
    "input": ("#fff3c4", "#b7791f"),
    "state": ("#e9ddff", "#6b46c1"),
    "constant": ("#edf0f3", "#718096"),
    "pointwise": ("#dbeafe", "#2b6cb0"),
    "view": ("#f7fafc", "#a0aec0"),
    "reduction": ("#d3f5dd", "#2f855a"),
    "matmul": ("#ffe0dc", "#c53030"),
    "indexing": ("#ffe8cc", "#c05621"),
    "assembly": ("#d0f4f2", "#2c7a7b"),
    "other": ("#fde2f1", "#b83280"),
}
"""Fill and stroke of each family of ops, in the order of the legend."""

_FAMILY_OF_CLASS = {
    "Placeholder": "input",
    "SharedValue": "state",
    "Constant": "constant",
    "Pointwise": "pointwise",
    "View": "view",
    "Reduction": "reduction",
    "Cumulative": "reduction",
    "MatMul": "matmul",
    "Gather": "indexing",
    "Scatter": "indexing",
    "Offset": "indexing",
    "Assembly": "assembly",
}

_STYLE = """
text{font-family:'Inter','Segoe UI',system-ui,'DejaVu Sans',sans-serif;fill:#1a202c}
.op{font-size:12.5px;font-weight:600;text-anchor:middle}
.type{font-family:'JetBrains Mono',ui-monospace,'DejaVu Sans Mono',monospace;font-size:10px;fill:#4a5568;
 text-anchor:middle}
.kernel{font-size:9px;font-weight:600;fill:#fff;text-anchor:middle}
.pill{font-size:11px;font-weight:600;fill:#fff;text-anchor:middle}
.title{font-size:15px;font-weight:700}.note{font-size:11px;fill:#4a5568}
.value{fill:none;stroke:#8a97a8;stroke-width:1.3;stroke-linecap:round}
.value:hover{stroke:#d53f8c;stroke-width:2.6}
"""


@dataclass(frozen=True)
class _Box:
    """What is drawn at one vertex: a node, a result, or a place where the drawing was cut."""

    title: str
    subtitle: str
    tooltip: str
    family: str
    kernel: int | None = None
    pill: bool = False

    @property
    def width(self) -> float:
        if self.pill:
            return 20 + text_width(self.title, 11)
        return max(54.0, 20 + text_width(self.title, 12.5), 16 + 6.1 * len(self.subtitle))

    @property
    def height(self) -> float:
        return PILL_HEIGHT if self.pill else BOX_HEIGHT


@dataclass(frozen=True)
class _Picture:
    """Vertices and edges of a drawing, and its words."""

    boxes: list[_Box]
    edges: list[tuple[int, int]]
    top: set[int]
    bottom: set[int]
    loose: set[int]
    title: str
    notes: list[str]


def node_to_svg(node: Node) -> str:
    """Draw a node with all it depends on."""
    return graph_to_svg(Graph([node]))


def function_to_svg(function: Function) -> str:
    """Draw the optimized graph of a function with the kernel of every node; in reference mode, the graph as written."""
    if function.mode == "reference":
        return graph_to_svg(function.graph)
    return graph_to_svg(function.optimized, function.schedule)


def graph_to_svg(graph: Graph, schedule: Iterable[Any] | None = None) -> str:
    """Draw a graph; with a schedule, number the kernel of every node. Returns the text of an SVG document."""
    kernels: dict[Node, int] = {}
    for number, kernel in enumerate(schedule or ()):
        kernels.update((node, number) for node in kernel.nodes)
    picture = _compose(graph, kernels)
    widths = [box.width for box in picture.boxes]
    layout = layered_layout(widths, picture.edges, picture.top, picture.bottom, picture.loose)
    return _render(picture, layout)


# -- what to draw


def _compose(graph: Graph, kernels: Mapping[Node, int]) -> _Picture:
    inline = _inline_constants(graph)
    kept = _nearest(graph, inline)
    # What was cut comes first: the layout wants a topological order.
    drawn = {*kept, *inline}
    cut = list(dict.fromkeys(x for node in kept for x in node.inputs if x not in drawn))
    boxes = [_Box("⋯", "", _tooltip(graph, x), "constant", pill=True) for x in cut]
    boxes += [_node_box(graph, node, inline, kernels.get(node)) for node in kept]
    vertex = {node: i for i, node in enumerate([*cut, *kept])}
    edges = [(vertex[x], vertex[node]) for node in kept for x in node.inputs if x in vertex]
    results = [(o, box) for o, box in zip(graph.outputs, _result_boxes(graph), strict=True) if o in vertex]
    edges += [(vertex[o], len(boxes) + i) for i, (o, _) in enumerate(results)]
    bottom = set(range(len(boxes), len(boxes) + len(results)))
    boxes += [box for _, box in results]
    top = {vertex[node] for node in kept if isinstance(node.op, Placeholder)}
    loose = {i for i, box in enumerate(boxes) if box.family == "view"}
    title, notes = _words(graph, kernels, len(graph.nodes) - len(kept) - len(inline))
    return _Picture(boxes, edges, top, bottom, loose, title, notes)


def _inline_constants(graph: Graph) -> dict[Node, str]:
    """Scalar constants, and views of them: written as numbers in the boxes that use them."""
    inline: dict[Node, str] = {}
    for node in graph.nodes:
        if isinstance(node.op, Constant) and node.op.value.size == 1:
            inline[node] = _number(node.op.value.item())
        elif isinstance(node.op, View) and node.inputs[0] in inline:
            inline[node] = inline[node.inputs[0]]
    for node in graph.outputs:
        while node in inline:
            del inline[node]
            node = node.inputs[0] if node.inputs else node
    return inline


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _nearest(graph: Graph, inline: Mapping[Node, str]) -> list[Node]:
    """At most `MAX_NODES` nodes, breadth first from the results, in topological order; unused inputs too."""
    wanted = dict.fromkeys(graph.outputs[: MAX_NODES // 2])
    frontier = list(wanted)
    while frontier and len(wanted) < MAX_NODES:
        frontier = [x for node in frontier for x in node.inputs if x not in wanted and x not in inline]
        frontier = list(dict.fromkeys(frontier))[: MAX_NODES - len(wanted)]
        wanted.update(dict.fromkeys(frontier))
    unused = [x for x in graph.inputs if x not in graph.index]
    return [*unused[:MAX_NODES], *(node for node in graph.nodes if node in wanted)][:MAX_NODES]


def _node_box(graph: Graph, node: Node, inline: Mapping[Node, str], kernel: int | None) -> _Box:
    tooltip = _tooltip(graph, node) + ("" if kernel is None else f"\nkernel {kernel}")
    return _Box(_shorten(_label(node, inline)), _shorten(str(node.type)), tooltip, family(node.op), kernel)


def _tooltip(graph: Graph, node: Node) -> str:
    """A node's line of the text form, and where the user wrote it."""
    known = node in graph.index
    line = f"%{graph.index[node]}: {node.type} = {graph.call_text(node)}" if known else f"{node!r}: unused"
    return f"{line}\n{place(node.source)}"


def _label(node: Node, inline: Mapping[Node, str]) -> str:
    if node.name:
        return node.name
    shown = str(node.op)
    label = shown if len(shown) <= 24 else node.op.name
    if any(x in inline for x in node.inputs):
        label += f"({', '.join(inline.get(x, '·') for x in node.inputs)})"
    return label


def _shorten(label: str) -> str:
    return label if len(label) <= LABEL_LENGTH else label[: LABEL_LENGTH - 1] + "…"


def family(op: Op) -> str:
    """Return the key of an op's colours in `FAMILIES`."""
    return next((_FAMILY_OF_CLASS[c.__name__] for c in type(op).__mro__ if c.__name__ in _FAMILY_OF_CLASS), "other")


def _result_boxes(graph: Graph) -> list[_Box]:
    first_update = len(graph.outputs) - len(graph.updates)
    names = ["output"] if first_update == 1 else [f"output {i}" for i in range(first_update)]
    boxes = [
        _Box(name, "", f"{name}: {o.type}", "input", pill=True) for name, o in zip(names, graph.outputs, strict=False)
    ]
    return boxes + [_update_box(s) for s in graph.updates]


def _update_box(shared: Shared) -> _Box:
    return _Box(_shorten(f"→ {shared.name}"), "", f"the next value of {shared!r}", "state", pill=True)


def _words(graph: Graph, kernels: Mapping[Node, int], omitted: int) -> tuple[str, list[str]]:
    title = f"{len(graph.nodes):,} nodes"
    if kernels:
        title += f" in {len(set(kernels.values())):,} kernels"
    notes = [f"{omitted:,} more nodes are not drawn: these are nearest the results"] if omitted > 0 else []
    return title, notes


# -- how it is drawn


def text_width(text: str, size: float) -> float:
    """Estimate the width of a text in pixels, generously, without a font at hand."""
    narrow, wide = len(re.findall(r"[iljtfr.,:;()\[\]|' ]", text)), len(re.findall("[mwMWOQ%@⋯→]", text))
    return size * (0.42 * narrow + 0.97 * wide + 0.68 * (len(text) - narrow - wide))


def escape(text: str) -> str:
    """Make any text safe in an XML document: markup escaped, characters XML forbids replaced."""
    clean = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
    return html.escape(clean)


def _render(picture: _Picture, layout: Layout) -> str:
    families = [f for f in FAMILIES if any(b.family == f and not b.pill for b in picture.boxes)]
    spans = [layout.x[v] + box.width / 2 for v, box in enumerate(picture.boxes)]
    legend_width = sum(26 + text_width(f, 11) for f in families)
    words = max([text_width(picture.title, 15), legend_width, *(text_width(n, 11) for n in picture.notes)])
    width = 2 * MARGIN + max([words, *spans, *layout.x])
    head = HEADER + 16 * len(picture.notes)
    height = head + MARGIN + ROW * (layout.layers - 1) + BOX_HEIGHT
    left = max(MARGIN, (width - max([0.0, *spans])) / 2)
    body = [
        *_header(picture, families),
        f'<g transform="translate({left:.1f} {head:.1f})">',
        *(line for v in range(layout.real) if (line := _value(picture, layout, v))),
        *(_draw_box(box, layout.x[v], ROW * layout.layer[v]) for v, box in enumerate(picture.boxes)),
        "</g>",
    ]
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    sheet = f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" fill="#fff"/>'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([opening, f"<style>{_STYLE}</style>", sheet, *body, "</svg>"]) + "\n"


def _header(picture: _Picture, families: Sequence[str]) -> list[str]:
    lines = [f'<text class="title" x="{MARGIN:.0f}" y="26">{escape(picture.title)}</text>']
    x = MARGIN
    for name in families:
        fill, stroke = FAMILIES[name]
        swatch = f'<rect x="{x:.1f}" y="36" width="11" height="11" rx="3" fill="{fill}" stroke="{stroke}"/>'
        lines.append(f'{swatch}<text class="note" x="{x + 16:.1f}" y="46">{name}</text>')
        x += 26 + text_width(name, 11)
    for i, note in enumerate(picture.notes):
        lines.append(f'<text class="note" x="{MARGIN:.0f}" y="{64 + 16 * i}">{escape(note)}</text>')
    return lines


def _value(picture: _Picture, layout: Layout, v: int) -> str:
    """One path for one value: its trunk and its branches, so that hovering lights all of it."""
    parts = []
    for upper, lower in layout.segments[v]:
        x0, y0 = layout.x[upper], ROW * layout.layer[upper]
        x1, y1 = layout.x[lower], ROW * layout.layer[lower]
        if upper < layout.real:
            y0 += picture.boxes[upper].height
            start = f"M{x0:.1f} {y0:.1f}"
        else:
            start = f"M{x0:.1f} {y0:.1f}V{y0 + BOX_HEIGHT:.1f}"
            y0 += BOX_HEIGHT
        if lower < layout.real:
            x1 += _port(picture, layout, upper, lower)
        middle = (y0 + y1) / 2
        parts.append(f"{start}C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
    if not parts:
        return ""
    box = picture.boxes[v]
    return f'<path class="value" d="{"".join(parts)}"><title>{escape(box.tooltip)}</title></path>'


def _port(picture: _Picture, layout: Layout, upper: int, lower: int) -> float:
    """Where a line enters a box, from its centre: lines are spread in the order they come from."""
    sources = sorted(layout.above[lower], key=lambda u: layout.x[u])
    share = (sources.index(upper) + 1) / (len(sources) + 1) - 0.5
    return share * min(picture.boxes[lower].width, 24.0 * len(sources))


def _draw_box(box: _Box, centre: float, y: float) -> str:
    fill, stroke = FAMILIES[box.family]
    left = centre - box.width / 2
    shape = f'x="{left:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.0f}"'
    title = f"<title>{escape(box.tooltip)}</title>"
    if box.pill:
        label = f'<text class="pill" x="{centre:.1f}" y="{y + 16:.1f}">{escape(box.title)}</text>'
        return f'<g>{title}<rect {shape} rx="12" fill="{stroke}"/>{label}</g>'
    lines = [
        f'<g>{title}<rect {shape} rx="8" fill="{fill}" stroke="{stroke}" stroke-width="1.4"/>',
        f'<text class="op" x="{centre:.1f}" y="{y + 16.5:.1f}">{escape(box.title)}</text>',
        f'<text class="type" x="{centre:.1f}" y="{y + 30:.1f}">{escape(box.subtitle)}</text>',
    ]
    if box.kernel is not None:
        lines.append(_badge(str(box.kernel), left + box.width, y, stroke))
    return "".join(lines) + "</g>"


def _badge(text: str, x: float, y: float, colour: str) -> str:
    width = 9 + 5.6 * len(text)
    rect = f'<rect x="{x - width + 5:.1f}" y="{y - 9:.1f}" width="{width:.1f}" height="14" rx="7" fill="{colour}"/>'
    return f'{rect}<text class="kernel" x="{x + 5 - width / 2:.1f}" y="{y + 1.2:.1f}">{escape(text)}</text>'
