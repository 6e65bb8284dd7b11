"""Run one workload in every tool: start workers, hold their results against each other, then take times and memory.

Two processes over one cache directory give the cold and the warm start of a tool: the first finds it empty, the
second does not, and takes the times. A third process measures memory. A row's figures are a plain dictionary, as
they stand in the results' JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import Worker, WorkerFailed, choose_processors, started
from benchmarks.worker import Job
from benchmarks.workloads import Workload

Figures = dict[str, Any]
"""What was found about one tool in one row: `steady_seconds`, `peak_bytes`, `cold`, `warm`, or `failed`."""


def run_workload(
    workload: Workload, tools: Mapping[str, str], options: argparse.Namespace
) -> dict[str, Figures] | None:
    """Return the figures of every tool that has the row; None where first results disagree."""
    asked = {t: p for t, p in tools.items() if t == "graphc" or workload.peers or options.all_peers}
    processors = choose_processors(options.cpu, options.threads)
    figures: dict[str, Figures] = {}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graphc-bench-")))
        workers: dict[str, Worker] = {}
        for tool, python in asked.items():
            cache = directory / f"{tool}-cache"
            cache.mkdir(mode=0o700)
            scratch = directory / f"{tool}.npz"
            job = Job(tool, workload.name, str(scratch), str(cache), processors, options.threads)
            worker = _start(python, job, figures, stack, options.timeout)
            if worker is not None:
                workers[tool] = worker
                if workload.steady:
                    figures[tool]["peak_bytes"] = _peak_bytes(python, job, options.timeout)
        if not agree(workload, {tool: worker.result() for tool, worker in workers.items()}):
            return None
        _take_times(workers, figures, options)
    return figures


def _start(
    python: str, job: Job, figures: dict[str, Figures], stack: contextlib.ExitStack, limit: float
) -> Worker | None:
    """Run the cold and the warm process; return the warm one, which waits for orders."""
    found: Figures = {}
    worker = None
    try:
        for attempt in ("cold", "warm"):
            worker = stack.enter_context(started(python, job))
            worker.report = worker.read(limit)
            if "skipped" in worker.report:
                return None
            found[attempt] = worker.report
    except WorkerFailed as failure:
        print(f"  {job.tool}, {attempt}: {failure}", file=sys.stderr)
        found["failed"] = str(failure)
        worker = None
    figures[job.tool] = found
    return worker


def _peak_bytes(python: str, job: Job, limit: float) -> int | None:
    try:
        with started(python, replace(job, memory=True)) as worker:
            peak: int | None = worker.read(limit)["peak_bytes"]
            return peak
    except WorkerFailed as failure:
        print(f"  {job.tool}, memory: {failure}", file=sys.stderr)
        return None


def _take_times(workers: dict[str, Worker], figures: dict[str, Figures], options: argparse.Namespace) -> None:
    for _ in range(options.rounds):
        for tool, worker in list(workers.items()):
            try:
                worker.time(options.seconds, options.timeout)
            except WorkerFailed as failure:
                print(f"  {tool}, steady: {failure}", file=sys.stderr)
                figures[tool]["failed"] = str(failure)
                del workers[tool]
    for tool, worker in workers.items():
        figures[tool]["steady_seconds"] = statistics.median(worker.samples)


def agree(workload: Workload, results: Mapping[str, list[np.ndarray[Any, Any]]]) -> bool:
    """Tell whether every tool's first result is that of the first tool; say where not."""
    same = True
    names = list(results)
    for tool in names[1:]:
        for i, (a, b) in enumerate(zip(results[names[0]], results[tool], strict=True)):
            if a.shape != b.shape:
                print(f"  {names[0]} and {tool}: shapes {a.shape} and {b.shape} of result {i}", file=sys.stderr)
                same = False
            elif not np.allclose(a, b, rtol=workload.rtol, atol=workload.rtol * np.abs(a).max()):
                print(f"  {names[0]} and {tool} differ in result {i}: {np.abs(a - b).max():.3g}", file=sys.stderr)
                same = False
    return same
