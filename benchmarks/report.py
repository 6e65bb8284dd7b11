"""Results as tables: plain text after a run, Markdown in README between two markers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.results import Results
from benchmarks.workloads import COMPILED, WORKLOADS, Workload, find
from graphc.graph.text import show_bytes, show_seconds, table

LABELS = {
    "graphc": "graphc",
    "jax": "JAX",
    "torch": "PyTorch",
    "torchcompile": "torch.compile",
    "pytensor": "PyTensor",
}
BEGIN, END = "<!-- benchmarks: written by `python -m benchmarks --render` -->", "<!-- /benchmarks -->"
Tools = Mapping[str, Mapping[str, Any]]
Table = tuple[list[str], list[list[str]]]
"""A header and rows of cells."""


# -- figures


def tools_of(results: Results) -> list[str]:
    """Return the tools that any row has, in the order of `LABELS`."""
    seen = {tool for row in results["rows"].values() for tool in row["tools"]}
    return [tool for tool in LABELS if tool in seen]


def steady(figures: Mapping[str, Any]) -> float | None:
    """Return the seconds of a call."""
    return figures.get("steady_seconds")


def until_first(figures: Mapping[str, Any], attempt: str) -> float | None:
    """Return the seconds from building to a first result, on a warm start with the import before them."""
    report = figures.get(attempt)
    if report is None:
        return None
    return float(report["first_seconds"] + (report["import_seconds"] if attempt == "warm" else 0))


def best_peer(tools: Tools) -> float | None:
    """Return the seconds of the fastest peer."""
    times = [s for tool, figures in tools.items() if tool != "graphc" and (s := steady(figures)) is not None]
    return min(times, default=None)


def ratio(tools: Tools) -> float | None:
    """Return how many times faster a call of graphc is than the best peer's."""
    ours, theirs = steady(tools.get("graphc", {})), best_peer(tools)
    return None if ours is None or theirs is None else theirs / ours


def reached(workload: Workload, tools: Tools) -> bool | None:
    """Tell whether a row meets what is asked; None where nothing is, or where a figure is missing."""
    ours, found = steady(tools.get("graphc", {})), ratio(tools)
    if workload.asked_seconds is not None:
        return None if ours is None else ours <= workload.asked_seconds
    return None if workload.asked is None or found is None else found >= workload.asked


def asked_ratio(workload: Workload, tools: Tools) -> float | None:
    """Return what is asked as a ratio to the best peer."""
    peer = best_peer(tools)
    if workload.asked_seconds is not None:
        return None if peer is None else peer / workload.asked_seconds
    return workload.asked


# -- tables


def steady_table(results: Results, *, emphasis: str = "") -> Table:
    """Return the table of calls; ratios that meet what is asked stand between marks of `emphasis`."""
    tools = tools_of(results)
    header = ["row", "work", *(LABELS[t] for t in tools), "best peer / graphc", "asked"]
    header += [f"memory: {LABELS[t]}" for t in tools if t in ("graphc", "jax")]
    rows = []
    for name, row in results["rows"].items():
        workload = find(name)
        if not workload.steady or workload.size is not None:
            continue
        found = row["tools"]
        mark = emphasis if reached(workload, found) else ""
        cells = [name, workload.description, *(_cell(found.get(t), steady, show_seconds) for t in tools)]
        value = ratio(found)
        cells += ["-" if value is None else f"{mark}{value:.2f}{mark}", show_asked(workload)]
        rows.append(cells + [_cell(found.get(t), _peak, show_memory) for t in tools if t in ("graphc", "jax")])
    return header, _in_order(rows)


def compile_table(results: Results) -> Table:
    """Return the table of times on the way to a first result."""
    tools = tools_of(results)
    rows = []
    for name, attempt, what, asked in COMPILED:
        found = results["rows"].get(name, {}).get("tools", {})
        if found:
            pick = partial(until_first, attempt=attempt)
            cells = [_cell(found.get(t), pick, show_seconds) for t in tools]
            rows.append([what, *cells, f"≤ {show_seconds(asked)}"])
    return ["", *(LABELS[t] for t in tools), "asked of graphc"], rows


def _in_order(rows: list[list[str]]) -> list[list[str]]:
    order = list(WORKLOADS)
    return sorted(rows, key=lambda row: order.index(row[0]))


def _peak(figures: Mapping[str, Any]) -> float | None:
    return figures.get("peak_bytes")


def _cell(figures: Any, pick: Callable[[Any], float | None], show: Callable[[Any], str]) -> str:
    if figures is None:
        return "-"
    value = pick(figures)
    return show(value) if value is not None else "failed" if "failed" in figures else "-"


def show_memory(count: int) -> str:
    """Write a peak, which is good to half a MiB."""
    return "< 0.5 MiB" if count < 2**19 else show_bytes(count)


def show_asked(workload: Workload) -> str:
    """Write what is asked of a row."""
    if workload.asked_seconds is not None:
        return f"≤ {show_seconds(workload.asked_seconds)}"
    return "-" if workload.asked is None else f"≥ {workload.asked:g}"


def about(results: Results) -> str:
    """Return machine, threads, versions and dates in one line."""
    rows = results["rows"].values()
    reports = [f[a]["versions"] for row in rows for f in row["tools"].values() for a in ("cold",) if a in f]
    dates = sorted({row["date"] for row in rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}" if dates else "never"
    threads = "one thread" if results["threads"] == 1 else f"{results['threads']} threads"
    return "; ".join([results["machine"], threads, *sorted(set(reports)), when])


# -- text


def show_text(results: Results) -> str:
    """Return everything about results as plain text."""
    header, rows = steady_table(results)
    calls = table([[r[0], *r[2:]] for r in rows], [header[0], *header[2:]])
    header, rows = compile_table(results)
    return "\n\n".join([about(results), calls, *([table(rows, header)] if rows else []), show_stages(results)])


def show_stages(results: Results) -> str:
    """Return where graphc's first result spends its time with an empty cache, and what its programs count."""
    lines = []
    for name, row in results["rows"].items():
        found = row["tools"].get("graphc", {})
        report = found.get("cold", {})
        shown = [f"{stage} {show_seconds(seconds)}" for stage, seconds in report.get("stages", {}).items()]
        counts = [f"{count:,} {key.replace('_', ' ')}" for key, count in report.get("counts", {}).items()]
        loaded = "numba imported" if found.get("warm", {}).get("numba_imported") else "numba not imported"
        lines.append(f"{name}: {', '.join(shown)}; {', '.join(counts)}; from the cache {loaded}")
    return "\n".join(lines)


# -- README


def show_markdown(everything: Sequence[Results]) -> str:
    """Return the part of README between the markers."""
    parts = [] if everything else ["No results are recorded yet."]
    for results in everything:
        header, rows = steady_table(results, emphasis="**")
        parts += [f"{about(results)}:", markdown_table(header, rows)]
        header, rows = compile_table(results)
        if rows and results["threads"] == 1:
            parts += [_on_numba(results), markdown_table(header, rows)]
    return "\n\n".join(parts)


def _on_numba(results: Results) -> str:
    found = [row["tools"].get("graphc", {}).get("warm", {}) for row in results["rows"].values()]
    without = not any(report.get("numba_imported") for report in found)
    return f"On the way to a first result{' (from its cache, graphc does not import numba)' if without else ''}:"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown, the words to the left and the figures to the right.

    >>> print(markdown_table(["row", "ratio"], [["call", "12"]]))
    | row | ratio |
    |---|--:|
    | call | 12 |
    """
    sides = ["---" if title in ("row", "work", "") else "--:" for title in header]
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    lines.insert(1, f"|{'|'.join(sides)}|")
    return "\n".join(lines)


def put_into_readme(text: str, markdown: str) -> str:
    """Return README with the part between the markers replaced."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"README lacks the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{markdown}\n{END}{after}"


def write_readme(path: Path, everything: Sequence[Results]) -> None:
    """Write the tables of results into README."""
    text = path.read_text(encoding="utf-8")
    path.write_text(put_into_readme(text, show_markdown(everything)), encoding="utf-8")
