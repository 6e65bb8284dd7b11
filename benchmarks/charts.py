"""Results as SVG drawings: ratios by row, and times that grow with size. Readable on light and on dark pages.

Drawn by hand in place of a library, so that equal results give equal files and a test can compare them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report import LABELS, asked_ratio, ratio, reached, steady, until_first
from benchmarks.results import Results
from benchmarks.workloads import ELEMENTS, NODES, WORKLOADS, find
from graphc.graph.text import show_seconds
from graphc.inspect.svg import escape

COLOURS = {
    "graphc": "#2f7de1",
    "jax": "#e8833a",
    "torch": "#d64f6f",
    "torchcompile": "#9a6bd8",
    "pytensor": "#2f9e6e",
}
STYLE = """
.sheet{fill:#fff}text{font:12px 'Inter','Segoe UI',system-ui,'DejaVu Sans',sans-serif;fill:#1a202c}
.title{font-size:15px;font-weight:700}.note{font-size:11px;fill:#5a6678}.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:#e3e8ef;stroke-width:1}.one{stroke:#5a6678;stroke-width:1.3}.asked{stroke:#1a202c;stroke-width:2.4}
.met{fill:#2f7de1}.short{fill:#e8833a}.free{fill:#9aa6b6}.curve{fill:none;stroke-width:2.2;stroke-linejoin:round}
@media (prefers-color-scheme:dark){.sheet{fill:#12171f}text{fill:#e6ebf2}.note{fill:#9aa6b6}.grid{stroke:#2a3340}
.one{stroke:#9aa6b6}.asked{stroke:#f4f7fb}}
"""
BAR, GAP, LEFT, PLOT = 15.0, 9.0, 130.0, 560.0


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return where a value stands."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def marks(self) -> list[float]:
        """Return the powers of ten on the axis."""
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        return [10.0**k for k in range(first, last + 1)]


def draw_all(everything: Sequence[Results]) -> dict[str, str]:
    """Return every drawing by the name of its file."""
    return {"ratios.svg": draw_ratios(everything), "scaling.svg": draw_scaling(everything)}


# -- ratios


def draw_ratios(everything: Sequence[Results]) -> str:
    """Draw how many times faster graphc is than the best peer, a bar for each row and number of threads."""
    names = [n for n, w in WORKLOADS.items() if w.steady and any(_bar(r, n) is not None for r in everything)]
    values = [v for r in everything for n in names for v in (_bar(r, n), _asked(r, n)) if v is not None]
    low, high = min([0.5, *values]) * 0.9, max([10.0, *values]) * 1.25
    scale = Scale(low, high, LEFT, LEFT + PLOT)
    group = BAR * max(len(everything), 1) + GAP
    top, height = 64.0, 64.0 + group * len(names) + 34
    body = [_text(24, 28, "Best peer / graphc: how many times faster a call is", "title"), *_ratio_legend(everything)]
    for mark in (m for base in scale.marks() for m in (base, 2 * base, 5 * base) if low <= m <= high):
        x = scale.place(mark)
        body.append(_line(x, top, x, height - 34, "one" if mark == 1 else "grid"))
        body.append(_text(x, height - 16, f"{mark:g}", "note mid"))
    for i, name in enumerate(names):
        y = top + i * group + GAP / 2
        body.append(_text(LEFT - 10, y + BAR * len(everything) / 2 + 4, name, "end"))
        for j, results in enumerate(everything):
            body += _draw_bar(results, name, scale, y + j * BAR)
    return _sheet(LEFT + PLOT + 60, height, body)


def _bar(results: Results, name: str) -> float | None:
    return ratio(results["rows"].get(name, {}).get("tools", {}))


def _asked(results: Results, name: str) -> float | None:
    return asked_ratio(WORKLOADS[name], results["rows"].get(name, {}).get("tools", {}))


def _draw_bar(results: Results, name: str, scale: Scale, y: float) -> list[str]:
    tools = results["rows"].get(name, {}).get("tools", {})
    value = ratio(tools)
    if value is None:
        return []
    met = reached(WORKLOADS[name], tools)
    kind = "free" if met is None else "met" if met else "short"
    near, far = sorted((scale.place(1.0), scale.place(value)))
    size = BAR - 3
    opacity = 1 if results["threads"] == 1 else 0.6
    marks = [
        f'<rect class="{kind}" x="{near:.1f}" y="{y:.1f}" width="{max(far - near, 1):.1f}" height="{size:g}" rx="2"'
        f' opacity="{opacity}"><title>{escape(name)}: {value:.2f}</title></rect>',
    ]
    asked = _asked(results, name)
    if asked is not None:
        x = scale.place(asked)
        marks.append(_line(x, y - 1, x, y + size + 1, "asked"))
        far = max(far, x)
    return [*marks, _text(far + 6, y + size - 1.5, f"{value:.3g}", "note")]


def _ratio_legend(everything: Sequence[Results]) -> list[str]:
    parts, x = [], 24.0
    for kind, word in (("met", "as asked"), ("short", "short of it"), ("free", "nothing asked")):
        parts += [
            f'<rect class="{kind}" x="{x:g}" y="40" width="11" height="11" rx="2"/>',
            _text(x + 16, 50, word, "note"),
        ]
        x += 30 + 6.3 * len(word)
    parts += [_line(x + 4, 39, x + 4, 52, "asked"), _text(x + 12, 50, "what is asked", "note")]
    if len(everything) > 1:
        words = ", then ".join(f"{r['threads']}" for r in everything)
        parts.append(_text(x + 110, 50, f"threads from above: {words}", "note"))
    return parts


# -- scaling


@dataclass(frozen=True)
class Curve:
    """Seconds by size; dashed where more than one thread ran."""

    label: str
    colour: str
    points: Sequence[tuple[float, float]]
    threads: int = 1


def draw_scaling(everything: Sequence[Results]) -> str:
    """Draw times against sizes: by element for a fused value with gradients, by node for chains."""
    width, height = 760.0, 380.0
    left = _panel(element_curves(everything), "fused: value and gradients", "elements", 0.0, width / 2, height)
    right = _panel(node_curves(everything), "Unrolled chain: gradient, graphc", "nodes", width / 2, width / 2, height)
    return _sheet(width, height, [*left, *right])


def element_curves(everything: Sequence[Results]) -> list[Curve]:
    """Return the seconds of a call by elements, for every tool and number of threads."""
    curves = []
    for results in everything:
        for tool in LABELS:
            points = _points(results, ELEMENTS, tool, steady)
            curves.append(Curve(LABELS[tool], COLOURS[tool], points, results["threads"]))
    return [curve for curve in curves if curve.points]


def node_curves(everything: Sequence[Results]) -> list[Curve]:
    """Return graphc's seconds to a first result and of a call, by the nodes of the program as written."""
    curves = []
    for results in everything:
        threads = results["threads"]
        first = _points(results, NODES, "graphc", lambda f: until_first(f, "cold"))
        again = _points(results, NODES, "graphc", lambda f: until_first(f, "warm"))
        calls = _points(results, NODES, "graphc", steady)
        curves += [
            Curve("first result, cold", COLOURS["jax"], first, threads),
            Curve("first result, from the cache", COLOURS["torchcompile"], again, threads),
            Curve("a call", COLOURS["graphc"], calls, threads),
        ]
    return [curve for curve in curves if curve.points]


def _points(results: Results, names: Sequence[str], tool: str, pick: Any) -> list[tuple[float, float]]:
    points = []
    for name in names:
        found: Mapping[str, Any] | None = results["rows"].get(name, {}).get("tools", {}).get(tool)
        if found is not None and (seconds := pick(found)) is not None:
            nodes = found["cold"]["counts"].get("nodes_before", 0) if name in NODES else 0
            points.append((float(nodes or find(name).size or 1), seconds))
    return points


def _panel(curves: Sequence[Curve], title: str, unit: str, x: float, width: float, height: float) -> list[str]:
    body = [_text(x + 24, 28, title, "title")]
    if not curves:
        return [*body, _text(x + 24, 60, "no results yet", "note")]
    xs = [p[0] for c in curves for p in c.points]
    ys = [p[1] for c in curves for p in c.points]
    bottom = height - 44
    across = Scale(min(xs) / 1.3, max(xs) * 1.3, x + 70, x + width - 20)
    legend = _legend(curves)
    top = 50.0 + 15 * math.ceil(len(legend) / 2)
    up = Scale(min(ys) / 1.6, max(ys) * 1.6, bottom, top)
    for value in across.marks():
        at = across.place(value)
        body += [_line(at, top, at, bottom, "grid"), _text(at, bottom + 16, f"{value:,.0f}", "note mid")]
    for value in up.marks():
        at = up.place(value)
        body += [_line(x + 70, at, x + width - 20, at, "grid"), _text(x + 64, at + 4, show_seconds(value), "note end")]
    body.append(_text(x + width / 2 + 25, height - 10, unit, "note mid"))
    for curve in curves:
        body += _draw_curve(curve, across, up)
    for i, curve in enumerate(legend):
        left, y = x + 24 + i % 2 * (width - 30) / 2, 48.0 + 15 * (i // 2)
        body += [_draw_path(curve, [(left, y - 4), (left + 20, y - 4)]), _text(left + 26, y, curve.label, "note")]
    return body


def _legend(curves: Sequence[Curve]) -> list[Curve]:
    """Return an entry for each label, and one for each number of threads beyond one."""
    names = {c.label: Curve(c.label, c.colour, ()) for c in curves}
    dashes = {
        c.threads: Curve(f"dashed: {c.threads} threads", "#7b8798", (), c.threads) for c in curves if c.threads > 1
    }
    return [*names.values(), *dashes.values()]


def _draw_curve(curve: Curve, across: Scale, up: Scale) -> list[str]:
    places = [(across.place(a), up.place(b)) for a, b in curve.points]
    dots = [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{curve.colour}"/>' for a, b in places]
    return [_draw_path(curve, places), *dots]


def _draw_path(curve: Curve, places: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    dash = ' stroke-dasharray="5 4"' if curve.threads > 1 else ""
    return f'<polyline class="curve" stroke="{curve.colour}"{dash} points="{path}"/>'


# -- marks


def _text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _sheet(width: float, height: float, body: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:.0f} {height:.0f}" role="img">'
    sheet = f'<rect class="sheet" {size} rx="10"/>'
    return "\n".join([opening, f"<style>{STYLE}</style>", sheet, *body, "</svg>"]) + "\n"
