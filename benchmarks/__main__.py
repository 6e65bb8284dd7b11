"""Run workloads side by side and print a table.

Every tool runs each workload in a process of its own with one thread, pinned to one processor. Times are taken only
after all results agree, in rounds that alternate between the tools; a figure is the median of all samples.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from benchmarks.workloads import WORKLOADS, Workload
from graphc.inspect.text import show_seconds, table

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


class WorkerFailed(RuntimeError):
    """A worker that ended, or took longer than it may, before it answered."""


@dataclass
class Worker:
    """A running process of `benchmarks.worker`, and what it has reported."""

    process: subprocess.Popen[str]
    scratch: Path
    report: dict[str, Any] = field(default_factory=dict)
    samples: list[float] = field(default_factory=list)

    def read(self, limit: float) -> dict[str, Any]:
        """Wait at most `limit` seconds for one line of JSON."""
        assert self.process.stdout is not None
        timer = Timer(limit, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            raise WorkerFailed(f"no answer within {limit:g} s" if self.process.wait() == -9 else "it ended: see above")
        message: dict[str, Any] = json.loads(line)
        return message

    def time(self, seconds: float, limit: float) -> None:
        """Ask for samples and keep them."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"time {seconds}\n")
        self.process.stdin.flush()
        self.samples += self.read(limit)["samples"]

    def result(self) -> list[np.ndarray[Any, Any]]:
        """Return the arrays of the first result."""
        with np.load(self.scratch) as arrays:
            return [arrays[name] for name in arrays.files]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line asks for; 1 where tools disagree."""
    options = _options(arguments)
    tools = {"graphc": sys.executable, **dict(options.peer)}
    figures: dict[str, dict[str, Any]] = {}
    agreed = True
    for name in options.workload:
        print(f"{name}: {WORKLOADS[name].description}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="graphc-bench-") as directory:
            found, same = run_workload(WORKLOADS[name], tools, Path(directory), options)
        figures[name] = found
        agreed = agreed and same
    print(_machine(figures))
    print(_table(figures, list(tools)))
    print(_stages(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return 0 if agreed else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("workload", nargs="*", help=f"what to run: {', '.join(WORKLOADS)} (all)")
    parser.add_argument("--peer", action="append", default=[], type=_peer, metavar="TOOL=PYTHON")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that alternate between the tools")
    parser.add_argument("--seconds", type=float, default=0.5, help="seconds of sampling in a round")
    parser.add_argument("--timeout", type=float, default=300, help="seconds a tool may take for its first result")
    parser.add_argument("--cpu", default="0", help="processor to pin to, or `all`")
    parser.add_argument("--all-peers", action="store_true", help="ask peers also where they are known to take minutes")
    parser.add_argument("--json", metavar="PATH", help="also write every figure here")
    options = parser.parse_args(arguments)
    options.workload = options.workload or list(WORKLOADS)
    unknown = [name for name in options.workload if name not in WORKLOADS]
    if unknown:
        parser.error(f"unknown workload {unknown[0]!r}; known: {', '.join(WORKLOADS)}")
    return options


def _peer(text: str) -> tuple[str, str]:
    tool, _, python = text.partition("=")
    if not python or not (ROOT / "benchmarks" / f"tool_{tool}.py").exists():
        raise argparse.ArgumentTypeError(f"{text!r} is not TOOL=PYTHON with a known tool")
    return tool, python


# -- one workload


def run_workload(
    workload: Workload, tools: Mapping[str, str], directory: Path, options: argparse.Namespace
) -> tuple[dict[str, Any], bool]:
    """Return the figures of every tool, and whether all first results agree."""
    asked = {t: p for t, p in tools.items() if t == "graphc" or workload.peers or options.all_peers}
    figures: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for tool, python in asked.items():
            for attempt in ("cold", "warm"):
                # Two processes over one cache directory: the first finds it empty, the second does not.
                try:
                    worker = stack.enter_context(_started(tool, python, workload, directory, options.cpu))
                    worker.report = worker.read(options.timeout)
                except WorkerFailed as failure:
                    figures[tool] = {"failed": str(failure)}
                    print(f"  {tool}, {attempt}: {failure}", file=sys.stderr)
                    break
                if "skipped" in worker.report:
                    break
                figures.setdefault(tool, {})[attempt] = worker.report
                workers[tool] = worker
        same = _agree(workload, workers)
        if same:
            _take_times(workers, figures, options)
    return figures, same


def _take_times(workers: dict[str, Worker], figures: dict[str, Any], options: argparse.Namespace) -> None:
    for _ in range(options.rounds):
        for tool, worker in list(workers.items()):
            try:
                worker.time(options.seconds, options.timeout)
            except WorkerFailed as failure:
                print(f"  {tool}, steady: {failure}", file=sys.stderr)
                del workers[tool]
    for tool, worker in workers.items():
        figures[tool]["steady_seconds"] = statistics.median(worker.samples)


@contextlib.contextmanager
def _started(tool: str, python: str, workload: Workload, directory: Path, cpu: str) -> Iterator[Worker]:
    scratch = directory / f"{tool}.npz"
    cache = directory / f"{tool}-cache"
    cache.mkdir(mode=0o700, exist_ok=True)
    command = [python, "-m", "benchmarks.worker", tool, workload.name, str(scratch), str(cache), cpu]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Worker(process, scratch)
    finally:
        process.kill()
        process.communicate()


def _agree(workload: Workload, workers: Mapping[str, Worker]) -> bool:
    """Tell whether every tool's first result is that of the first tool; say where not."""
    same = True
    names = list(workers)
    results = {tool: worker.result() for tool, worker in workers.items()}
    for tool in names[1:]:
        for i, (a, b) in enumerate(zip(results[names[0]], results[tool], strict=True)):
            if not np.allclose(a, b, rtol=workload.rtol, atol=workload.rtol * np.abs(a).max()):
                print(f"  {names[0]} and {tool} differ in result {i}: {np.abs(a - b).max():.3g}", file=sys.stderr)
                same = False
    return same


# -- printing


def _machine(figures: Mapping[str, Mapping[str, Any]]) -> str:
    reports = [f["cold"]["versions"] for tools in figures.values() for f in tools.values() if "cold" in f]
    lines = [_processor(), f"Python {platform.python_version()}", *dict.fromkeys(reports), time.strftime("%Y-%m-%d")]
    return "; ".join(lines) + "; one thread\n"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _table(figures: Mapping[str, Mapping[str, Any]], tools: Sequence[str]) -> str:
    rows = []
    for name, found in figures.items():
        rows.append(_row(name, found, tools, _steady))
        rows.append(_row("  first result, empty cache", found, tools, lambda f: f["cold"]["first_seconds"]))
        rows.append(_row("  import to first result, warm cache", found, tools, _import_to_first))
    rows.append(_row("import", _imports(figures), tools, statistics.median))
    header = ["", *tools, *(f"{tool} / graphc" for tool in tools[1:])]
    return table(rows, header=header)


def _imports(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, list[float]]:
    """Every import time seen, by tool."""
    seen: dict[str, list[float]] = {}
    for found in figures.values():
        for tool, reports in found.items():
            for attempt in ("cold", "warm"):
                if attempt in reports:
                    seen.setdefault(tool, []).append(reports[attempt]["import_seconds"])
    return seen


def _steady(figures: Mapping[str, Any]) -> float:
    return float(figures["steady_seconds"])


def _import_to_first(figures: Mapping[str, Any]) -> float:
    return float(figures["warm"]["import_seconds"] + figures["warm"]["first_seconds"])


def _row(label: str, found: Mapping[str, Any], tools: Sequence[str], pick: Any) -> list[str]:
    values = []
    for tool in tools:
        try:
            values.append(pick(found[tool]))
        except KeyError:
            values.append(None)
    cells = ["-" if v is None else show_seconds(v) for v in values]
    ratios = ["-" if v is None or values[0] is None else f"{v / values[0]:.2f}" for v in values[1:]]
    return [label, *cells, *ratios]


def _stages(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Where graphc's first result spends its time, with an empty cache, and what its program counts."""
    lines = [""]
    for name, found in figures.items():
        report = found.get("graphc", {}).get("cold", {})
        shown = [f"{stage} {show_seconds(seconds)}" for stage, seconds in report.get("stages", {}).items()]
        counts = [f"{count:,} {key.replace('_', ' ')}" for key, count in report.get("counts", {}).items()]
        lines.append(f"{name}: {', '.join(shown)}; {', '.join(counts)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
