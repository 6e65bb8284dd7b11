"""One process for one tool and one workload: `python -m benchmarks.worker TOOL WORKLOAD SCRATCH CACHE CPU`.

It prints one line of JSON when the first result is there (and saves that result to SCRATCH), then obeys lines of
its standard input: `time SECONDS` prints samples as JSON, the end of input ends it. So the parent can hold every
tool's result against the others before it takes any time, and can alternate between tools. A tool that lacks the
workload says `skipped`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module

PACKAGES = {"torchcompile": "torch"}
"""What a tool imports, where that is not its own name."""

SAMPLE_SECONDS = 0.002
"""The shortest stretch that is timed: fast calls are repeated until they fill it."""


def main(tool: str, workload: str, scratch: str, cache: str, cpu: str) -> None:
    """Prepare, report, and take times on request."""
    if cpu != "all" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu)})
    began = time.perf_counter()
    import_module(PACKAGES.get(tool, tool))
    imported = time.perf_counter() - began
    module = import_module(f"benchmarks.tool_{tool}")
    if workload not in module.ROWS:
        _say(skipped=True)
        return
    from benchmarks.inputs import draw_inputs

    inputs = draw_inputs(workload)
    began = time.perf_counter()
    prepared = module.prepare(workload, inputs, cache)
    first = time.perf_counter() - began
    import numpy as np

    np.savez(scratch, *prepared.result)
    times = {"import_seconds": imported, "first_seconds": first, "stages": prepared.stages}
    _say(versions=module.describe(), counts=prepared.counts, **times)
    for line in sys.stdin:
        _say(samples=take_samples(prepared.run, float(line.split()[1])), peak_bytes=_peak_bytes())


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


def _peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
