"""Measure the largest error of every elementary function, in ULP against mpmath, by dtype and precision.

`python -m benchmarks.ulp_table [--count 300] [--write] [names ...]`. A column is a dtype and a precision of
`graphc.codegen.math.emit.Emitter`; `inf` would be a wrong special value. `--write` puts the table of all
functions into `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import markdown_table
from benchmarks.results import processor
from graphc.codegen.math.libmvec import has_libmvec
from graphc.codegen.math.vecmath import PRECISIONS
from graphc.graph.text import table
from tests.ulp import EXACT, worst_error

KINDS = ("f64", "f32")
HEADER = ("function", *(f"{kind} {precision}" for kind in KINDS for precision in PRECISIONS))
README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- accuracy: written by `python -m benchmarks.ulp_table --write` -->", "<!-- /accuracy -->"


def errors(name: str, count: int) -> list[float]:
    """Return the largest errors of one function, float64 first, precisions in their order."""
    return [worst_error(name, kind, precision, count) for kind in KINDS for precision in PRECISIONS]


def show_markdown(rows: Sequence[Sequence[str]], count: int) -> str:
    """Return the table with what it was measured on."""
    library = "libmvec" if has_libmvec() else "no libmvec"
    head = f"{processor()}; {library}; {datetime.date.today()}; {count} points in each of seven ranges,"
    head += f" {100 * count:,} where NumPy has the function in extended precision:"
    return f"{head}\n\n{markdown_table(['', *HEADER[1:]], rows)}"


def write(path: Path, markdown: str) -> None:
    """Replace the part of a file between the markers."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path.name} lacks the lines {BEGIN!r} and {END!r}")
    path.write_text(f"{before}{BEGIN}\n{markdown}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=sorted(EXACT))
    parser.add_argument("--count", type=int, default=300, help="points per range of arguments (7 ranges)")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    options = parser.parse_args()
    rows = []
    for name in options.names:
        print(name, file=sys.stderr)
        rows.append([name, *(f"{e:.2f}" for e in errors(name, options.count))])
    if options.write:
        write(README, show_markdown(rows, options.count))
    else:
        print(table(rows, HEADER))


if __name__ == "__main__":
    main()
