"""What training saw: one number per name and epoch, as a table, in a CSV file and for TensorBoard."""

from __future__ import annotations

import csv
import os
import weakref
from collections.abc import Iterator, Mapping
from typing import IO, Any, Literal

from graphc.graph.arguments import PathLike, checked, optional, shown, whole
from graphc.graph.errors import ArgumentError, at
from graphc.graph.text import table

__all__ = ["CsvLog", "History", "TensorBoard"]

Stopped = Literal["", "epochs", "early stopping", "callback", "interrupted"]


class History(Mapping[str, list[float]]):
    """The numbers of every epoch by name: `history["loss"]` is a list; `str` prints a table.

    `stopped` says why training ended: "epochs", "early stopping", "callback" or "interrupted"; `best_epoch` is the
    epoch, from 1, that early stopping found best, or None without early stopping.

    >>> history = History()
    >>> history.add({"loss": 0.5, "val_loss": 0.75})
    >>> history.add({"loss": 0.25, "val_loss": 0.5})
    >>> history["loss"]
    [0.5, 0.25]
    >>> print(history)
    epoch  loss  val_loss
    ─────────────────────
    1       0.5      0.75
    2      0.25       0.5
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}
        self.epochs = 0
        self.stopped: Stopped = ""
        self.best_epoch: int | None = None

    def __getitem__(self, name: str) -> list[float]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def add(self, values: Mapping[str, float]) -> None:
        """Append the numbers of an epoch; the names are the same in every epoch."""
        if not isinstance(values, Mapping) or not all(hasattr(v, "__float__") for v in values.values()):
            raise ArgumentError(f"history: numbers by name are needed, got {shown(values)}{at()}")
        if self.epochs and values.keys() != self._columns.keys():
            raise ArgumentError(f"epoch {self.epochs + 1} gave {list(values)}, those before {list(self)}{at()}")
        for name, value in values.items():
            self._columns.setdefault(name, []).append(float(value))
        self.epochs += 1

    def row(self, epoch: int) -> dict[str, float]:
        """Return the numbers of an epoch, from 1."""
        if not 1 <= whole("history: epoch", epoch) <= self.epochs:
            raise ArgumentError(f"history: there are epochs 1 to {self.epochs}, not {epoch}{at()}")
        return {name: column[epoch - 1] for name, column in self.items()}

    @checked
    def to_csv(self, path: PathLike) -> None:
        """Write a table with a header; numbers are written so that reading gives the same bits."""
        with CsvLog(path) as log:
            for epoch in range(1, self.epochs + 1):
                log(epoch, self.row(epoch))

    def __str__(self) -> str:
        if not self.epochs:
            return "no epochs"
        names = list(self)
        rows = [[str(i + 1), *(f"{self[name][i]:.6g}" for name in names)] for i in range(self.epochs)]
        shown = rows if len(rows) <= 40 else [*rows[:10], ["..."] * (len(names) + 1), *rows[-10:]]
        return table(shown, header=["epoch", *names])

    def __repr__(self) -> str:
        ended = f", ended by {self.stopped}" if self.stopped else ""
        return f"<History: {self.epochs} epochs of {', '.join(self) or 'nothing'}{ended}>"


class CsvLog:
    """A CSV file with one row per epoch, each on the disk when the epoch ends; the file is replaced."""

    @checked
    def __init__(self, path: PathLike) -> None:
        self._file: IO[str] = open(path, "w", encoding="utf-8", newline="")  # noqa: SIM115
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._empty = True

    def __call__(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write a row, after the header if it is the first."""
        if self._empty:
            self._writer.writerow(["epoch", *values])
            self._empty = False
        self._writer.writerow([epoch, *map(repr, values.values())])
        self._file.flush()

    def __enter__(self) -> CsvLog:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class TensorBoard:
    """Writes the numbers of every epoch as scalars for TensorBoard: `gc.fit(..., log=gc.TensorBoard("runs/a"))`.

    Needs the package tensorboardX (`pip install 'graphc[tensorboard]'`).
    """

    @checked
    def __init__(self, directory: PathLike) -> None:
        writer = optional("tensorboardX", "TensorBoard", "tensorboardX", "tensorboard").SummaryWriter
        self._writer: Any = writer(os.fspath(directory))
        self._end = weakref.finalize(self, self._writer.close)  # its thread would take the last events with it

    def __call__(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the numbers of an epoch."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """End the file; happens by itself when the program ends."""
        self._end()
