"""How far training is: a bar by tqdm where that is installed, else a line per epoch, on the error stream."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from graphc.graph.text import show_seconds

INTERVAL = 0.1
"""Seconds between two updates of a bar: a step may take microseconds, the eye does not."""


class Progress:
    """What training reports to; this one shows nothing."""

    def advance(self, steps: int, means: Mapping[str, float]) -> None:
        """Take in that `steps` steps in all are done, and the means of this epoch so far."""

    def end_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take in the numbers of an epoch, from 1, that ended."""

    def close(self) -> None:
        """End the display."""


class Lines(Progress):
    """A line per epoch."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._began = time.perf_counter()

    def end_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Print the numbers of the epoch and how long it took."""
        now = time.perf_counter()
        took, self._began = now - self._began, now
        print(f"epoch {epoch}/{self._epochs}  {_words(values)}  {show_seconds(took)}", file=sys.stderr)


class Bar(Progress):
    """A bar over all steps of all epochs, with the newest numbers beside it."""

    def __init__(self, make: Any, epochs: int, steps_per_epoch: int | None, epoch: int, steps: int) -> None:
        total = None if steps_per_epoch is None else epochs * steps_per_epoch
        self._epochs = epochs
        self._values: dict[str, float] = {}
        self._bar = make(total=total, initial=steps, unit="step")
        self._show_epoch(epoch + 1)

    def advance(self, steps: int, means: Mapping[str, float]) -> None:
        """Move the bar."""
        self._bar.set_postfix_str(_words({**self._values, **means}), refresh=False)
        self._bar.update(steps - self._bar.n)

    def end_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Show the numbers of the epoch."""
        self._values = dict(values)
        self._bar.set_postfix_str(_words(values), refresh=False)
        if epoch < self._epochs:
            self._show_epoch(epoch + 1)

    def close(self) -> None:
        """Leave the bar as it is and end the line."""
        self._bar.close()

    def _show_epoch(self, epoch: int) -> None:
        self._bar.set_description_str(f"epoch {epoch}/{self._epochs}", refresh=False)


def make_progress(shown: bool, epochs: int, steps_per_epoch: int | None, epoch: int, steps: int) -> Progress:
    """Return the display for a run of which `epoch` epochs and `steps` steps are done."""
    if not shown:
        return Progress()
    try:
        from tqdm import tqdm
    except ImportError:
        return Lines(epochs)
    return Bar(tqdm, epochs, steps_per_epoch, epoch, steps)


def _words(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
