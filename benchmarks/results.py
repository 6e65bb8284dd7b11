"""Results as JSON, one file for each number of threads: written row by row, so that runs add up.

A file holds `{"machine": ..., "threads": 1, "rows": {"call": {"date": ..., "tools": {"graphc": {...}, ...}}}}`.
"""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"
Results = dict[str, Any]


class ResultsError(ValueError):
    """A file of results that this run cannot add to."""


def read(path: Path) -> Results:
    """Return the results in a file."""
    results: Results = json.loads(path.read_text(encoding="utf-8"))
    return results


def read_all(folder: Path) -> list[Results]:
    """Return every file of results in a folder, fewest threads first."""
    return sorted((read(path) for path in folder.glob("*.json")), key=lambda r: int(r["threads"]))


def open_or_new(path: Path | None, threads: int) -> Results:
    """Return the results in a file, or empty ones; `ResultsError` where they are another machine's."""
    fresh: Results = {"machine": processor(), "threads": threads, "rows": {}}
    if path is None or not path.exists():
        return fresh
    found = read(path)
    for key in ("machine", "threads"):
        if found[key] != fresh[key]:
            raise ResultsError(f"{path} holds results of {key} {found[key]!r}, this run's are of {fresh[key]!r}")
    return found


def add(results: Results, name: str, tools: Mapping[str, Any]) -> None:
    """Put a row into results; tools that were not asked this time keep their figures."""
    before = results["rows"].get(name, {}).get("tools", {})
    results["rows"][name] = {"date": time.strftime("%Y-%m-%d"), "tools": {**before, **tools}}


def write(results: Results, path: Path) -> None:
    """Write results, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def processor() -> str:
    """Return the name of the processor, and how many there are."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return f"{names[0]}, {len(names)} cores"
    return platform.processor() or platform.machine()
