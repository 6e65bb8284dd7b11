"""Words and numbers for people: tables in plain text, times and sizes with a fitting unit.

The demo, the command line and the benchmarks print through here, so that the same quantity reads the same
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def show_seconds(seconds: float) -> str:
    """Write a duration with three significant digits and the unit that fits.

    >>> show_seconds(0.0000123), show_seconds(1.5), show_seconds(0.04)
    ('12.3 µs', '1.5 s', '40 ms')
    """
    scale, unit = next(((s, u) for s, u in _TIMES if seconds >= s), _TIMES[-1])
    value = seconds / scale
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def show_bytes(count: int) -> str:
    """Write a number of bytes in B, KiB, MiB or GiB.

    >>> show_bytes(512), show_bytes(65_536), show_bytes(3_300_000)
    ('512 B', '64 KiB', '3.15 MiB')
    """
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def table(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> str:
    """Lay out rows of words in columns, the first one to the left, the others to the right.

    >>> print(table([("add", "1"), ("matmul", "12")], header=("op", "count")))
    op      count
    ─────────────
    add         1
    matmul     12
    """
    everything = [*([header] if header else []), *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*everything, strict=True)]
    lines = [
        "  ".join(_pad(cell, w, i) for i, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in everything
    ]
    if header:
        lines.insert(1, "─" * max(len(line) for line in lines))
    return "\n".join(line.rstrip() for line in lines)


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)
