"""One process for one tool and one workload: `python -m benchmarks.worker JOB`, where JOB is a `Job` as JSON.

It prints one line of JSON when the first result is there (and saves that result), then obeys lines of its standard
input: `time SECONDS` prints samples as JSON, the end of input ends it. So the parent can hold every tool's result
against the others before it takes any time, and can alternate between tools. A tool that lacks the workload says
`skipped`. A job for memory prints its peak and ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

PACKAGES = {"torchcompile": "torch"}
"""What a tool imports, where that is not its own name."""

SAMPLE_SECONDS = 0.002
"""The shortest stretch that is timed: fast calls are repeated until they fill it."""


@dataclass(frozen=True)
class Job:
    """What a worker does: a workload in a tool, on some processors; `scratch` is the file for its first result."""

    tool: str
    workload: str
    scratch: str
    cache: str
    processors: list[int]
    threads: int
    memory: bool = False


def main(job: Job) -> None:
    """Prepare, report, and take times on request."""
    if job.processors and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job.processors)
    began = time.perf_counter()
    import_module(PACKAGES.get(job.tool, job.tool))
    imported = time.perf_counter() - began
    module = import_module(f"benchmarks.tool_{job.tool}")
    row = job.workload.partition("@")[0]
    if row not in module.ROWS:
        _say(skipped=True)
    elif job.memory:
        _measure_memory(job, row, module.prepare)
    else:
        _measure_time(job, row, module, imported)


def _measure_memory(job: Job, row: str, prepare: Callable[..., object]) -> None:
    from benchmarks import memory
    from benchmarks.inputs import draw_inputs

    memory.use_small_pages()
    peak = memory.peak_above_inputs(
        lambda inputs: prepare(row, inputs, job.cache, job.threads),
        lambda: draw_inputs(job.workload),
    )
    _say(peak_bytes=peak)


def _measure_time(job: Job, row: str, module: Any, imported: float) -> None:
    from benchmarks.inputs import draw_inputs

    inputs = draw_inputs(job.workload)
    began = time.perf_counter()
    prepared = module.prepare(row, inputs, job.cache, job.threads)
    first = time.perf_counter() - began
    numba = "numba" in sys.modules
    import numpy as np

    np.savez(job.scratch, *prepared.result)
    times = {"import_seconds": imported, "first_seconds": first, "stages": prepared.stages}
    _say(versions=module.describe(), counts=prepared.counts, numba_imported=numba, **times)
    for line in sys.stdin:
        _say(samples=take_samples(prepared.run, float(line.split()[1])))


def take_samples(run: Callable[[int], None], budget: float) -> list[float]:
    """Return seconds per repetition, one sample per stretch of at least `SAMPLE_SECONDS`, for `budget` seconds."""
    repeat = 1
    seconds = _seconds(run, repeat)
    while seconds < SAMPLE_SECONDS:
        repeat *= 2
        seconds = _seconds(run, repeat)
    samples = [seconds / repeat]
    deadline = time.perf_counter() + budget - seconds
    while time.perf_counter() < deadline:
        samples.append(_seconds(run, repeat) / repeat)
    return samples


def _seconds(run: Callable[[int], None], repeat: int) -> float:
    began = time.perf_counter()
    run(repeat)
    return time.perf_counter() - began


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])))
