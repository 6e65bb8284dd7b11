"""The parent's side of `worker`: start one in an environment of its tool and threads, ask it, keep what it says."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from benchmarks.worker import Job

ROOT = Path(__file__).resolve().parent.parent


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


@contextlib.contextmanager
def started(python: str, job: Job) -> Iterator[Worker]:
    """Run a worker under a Python; it is ended with the block."""
    process = subprocess.Popen(
        [python, "-m", "benchmarks.worker", json.dumps(asdict(job))],
        cwd=ROOT,
        env={**os.environ, **environment(job)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Worker(process, Path(job.scratch))
    finally:
        process.kill()
        process.communicate()


def environment(job: Job) -> dict[str, str]:
    """Return the variables that hold every tool to its threads, and PyTensor to its own directory.

    JAX sizes its pool by the processors that the worker is pinned to; the flags keep products to the same number.
    """
    count = str(job.threads)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    eigen = str(job.threads > 1).lower()
    # Freed blocks go back to the system at once: what a tool's allocator keeps would hide what the next call needs.
    exact = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"} if job.memory else {}
    return {
        **exact,
        **dict.fromkeys(names, count),
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={count}",
        "PYTENSOR_FLAGS": f"base_compiledir={job.cache}",
    }


def choose_processors(first: str, threads: int) -> list[int]:
    """Return the processors to pin to: as many as threads, from `first` of those allowed; none for `all`."""
    if first == "all" or not hasattr(os, "sched_getaffinity"):
        return []
    allowed = sorted(os.sched_getaffinity(0))
    chosen = [c for c in allowed if c >= int(first)][:threads]
    if len(chosen) < threads:
        raise ValueError(f"{threads} threads need as many processors from {first} on; there are {allowed}")
    return chosen
