"""Run workloads side by side and print tables.

Every tool runs each workload in processes of its own, pinned to as many processors as it has threads. Times are
taken only after all results agree, in rounds that alternate between the tools; a figure is the median of all samples.
"""

from __future__ import annotations

import argparse
import compileall
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import charts, report, results
from benchmarks.processes import ROOT, choose_processors
from benchmarks.runs import run_workload
from benchmarks.workloads import ELEMENTS, NODES, WORKLOADS, find


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line asks for; 1 where tools disagree, 2 for wrong usage."""
    options = parse_options(arguments)
    if options.render:
        render(results.FOLDER, ROOT / "README.md")
        return 0
    try:
        found = results.open_or_new(options.json, options.threads)
    except results.ResultsError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    tools = {"graphc": sys.executable, **dict(options.peer)}
    # As pip does to the peers when it installs them; a checkout may have no bytecode, and then each import compiles.
    compileall.compile_dir(ROOT / "graphc", quiet=2)
    agreed = True
    for name in options.workload:
        workload = find(name)
        print(f"{name}: {workload.description}", file=sys.stderr)
        figures = run_workload(workload, tools, options)
        if figures is None:
            agreed = False
            continue
        results.add(found, name, figures)
        if options.json:
            results.write(found, options.json)
    print(report.show_text({**found, "rows": {n: r for n, r in found["rows"].items() if n in options.workload}}))
    return 0 if agreed else 1


def render(folder: Path, readme: Path) -> None:
    """Write README's tables, and the drawings, from the results in a folder."""
    everything = results.read_all(folder)
    report.write_readme(readme, everything)
    for name, drawing in charts.draw_all(everything).items():
        (folder / name).write_text(drawing, encoding="utf-8")


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line; wrong ones end the program with a line that says why."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("workload", nargs="*", help=f"what to run: {', '.join(WORKLOADS)} (all), or ROW@SIZE for another first size")
    add("--peer", action="append", default=[], type=_peer, metavar="TOOL=PYTHON", help="a tool and its Python")
    add("--threads", type=_positive, default=1, help="threads of every tool, and processors to pin to")
    add("--cpu", default="0", help="first processor to pin to, or `all` for no pinning")
    add("--rounds", type=_positive, default=5, help="rounds that alternate between the tools")
    add("--seconds", type=float, default=0.5, help="seconds of sampling in a round")
    add("--timeout", type=float, default=600, help="seconds a tool may take for its first result")
    add("--all-peers", action="store_true", help="ask peers also where they are known to take minutes")
    add("--scaling", action="store_true", help="run the rows of growing size, in place of all others")
    add("--json", type=Path, metavar="PATH", help="add every figure to this file, row by row")
    add("--render", action="store_true", help="run nothing; write README's tables and the drawings from the results")
    options = parser.parse_args(arguments)
    options.workload = options.workload or [*(ELEMENTS + NODES if options.scaling else WORKLOADS)]
    for name in options.workload:
        try:
            find(name)
        except (KeyError, ValueError):
            parser.error(f"unknown workload {name!r}; known: {', '.join(WORKLOADS)}, and ROW@SIZE")
    try:
        choose_processors(options.cpu, options.threads)
    except ValueError as error:
        parser.error(str(error))
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def _peer(text: str) -> tuple[str, str]:
    tool, _, python = text.partition("=")
    if not python or tool == "graphc" or not (ROOT / "benchmarks" / f"tool_{tool}.py").exists():
        raise argparse.ArgumentTypeError(f"{text!r} is not TOOL=PYTHON with a known tool")
    return tool, python


if __name__ == "__main__":
    sys.exit(main())
