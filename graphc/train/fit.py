"""`fit`: the loop around a compiled training step, with what every such loop needs and nothing else.

A step is a compiled function whose updates train the model; `fit` calls it with every batch, averages what it
returns, and once per epoch validates, logs, stops early and saves. All that it knows goes into its checkpoints, so a
run that was killed continues, bit for bit, where its last checkpoint was made.
"""

from __future__ import annotations

import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike
from types import FrameType
from typing import Any, Literal

import numpy as np

from graphc.call.function import Function
from graphc.files.checkpoint import Checkpointer, HasState
from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, CheckpointError, at
from graphc.graph.node import Shared
from graphc.train.history import CsvLog, History
from graphc.train.metrics import Mean, as_number
from graphc.train.progress import INTERVAL, Progress, make_progress
from graphc.train.rows import Weigh, call_with, row_counter

__all__ = ["EarlyStopping", "StopTraining", "fit"]

Callback = Callable[[int, dict[str, float]], object]
FINAL = ("early stopping", "callback")
"""Reasons after which a run that is started again does not go on."""


class StopTraining(Exception):
    """Raised by a callback of `fit` to end training after this epoch."""


@dataclass(frozen=True)
class EarlyStopping:
    """End training when a number has not improved for `patience` epochs, and go back to the best epoch.

    Parameters
    ----------
    patience
        How many epochs without improvement end training.
    monitor
        The number's name; by default "val_loss" with validation and else "loss".
    mode
        Whether smaller ("min") or larger ("max") is better.
    min_delta
        By how much a number must be better to count.
    restore
        Whether everything that the step updates gets its value after the best epoch when training ends, other than
        by an interrupt.
    weights
        What to restore; by default all that `step` updates, where it is a compiled function.
    """

    patience: int = 10
    monitor: str | None = None
    mode: Literal["min", "max"] = "min"
    min_delta: float = 0.0
    restore: bool = True
    weights: Sequence[Shared] | None = None


@checked
def fit(
    step: Callable[..., Any],
    data: Iterable[Any],
    epochs: int,
    *,
    validate: Callable[[], Any] | None = None,
    callbacks: Sequence[Callback] = (),
    early_stopping: EarlyStopping | int | None = None,
    log: str | PathLike[str] | Callback | None = None,
    progress: bool = True,
    checkpoint: Checkpointer | None = None,
    rows: Callable[[Any], float] | None = None,
) -> History:
    """Call `step` with every batch of `data`, `epochs` times, and return the history of what it gave.

    Parameters
    ----------
    step
        A compiled function with updates, or any callable: it returns the loss, or a dict of named scalars. History
        has their means over the rows of an epoch.
    data
        What is iterated once per epoch, such as `gc.data.batches`. A batch that is a tuple or list gives positional
        arguments, a dict named ones, an array the only one.
    epochs
        How many epochs there are in all, those before a resumed checkpoint included.
    validate
        Called after every epoch; returns a number or a dict of named numbers, which history has as `val_loss` and
        `val_<name>`. Over batches: `lambda: gc.metrics.average(evaluate, test_batches)`.
    callbacks
        Called after every epoch with its number, from 1, and its values; may raise `StopTraining`.
    early_stopping
        An `EarlyStopping`, or its patience.
    log
        The path of a CSV file with a row per epoch, or what is called like a callback, such as `gc.TensorBoard`.
    progress
        Whether to show a bar (where tqdm is installed) or else a line per epoch.
    checkpoint
        Saves after every epoch, every `checkpoint.every` steps, and on Ctrl-C. If its directory has a checkpoint,
        training continues from the newest that is whole. Inside an epoch, data with `get_state` goes on where it was;
        of other data the batches already taken are passed over, so it must give the same ones again.
    rows
        From a batch to the number of rows that it stands for in means. By default, for a compiled function the product
        of the named dimensions that all its inputs with named dimensions share; else the length of the arrays' first
        axis, or, where these differ, the one size that all arrays have in common, or 1.

    Ctrl-C ends training after the step it falls into; the model stays, and the history of complete epochs is
    returned. A second one ends it at once.

    >>> import graphc as gc, numpy as np
    >>> x, w = gc.placeholder("x", shape=("n",)), gc.shared(0.0, name="w")
    >>> loss = gc.mean((x - w) ** 2)
    >>> step = gc.function([x], loss, updates={w: w - 0.25 * gc.grad(loss, w)}, mode="reference")
    >>> gc.fit(step, gc.data.batches(np.ones(8), 4), epochs=2, progress=False)["loss"]
    [0.625, 0.0390625]
    """
    _check(step, data, epochs, validate, callbacks, checkpoint)
    count = row_counter("fit", step, rows)
    run = _Run(step, data, count, _Stopper.make(early_stopping, step, validate), checkpoint)
    run.resume()
    with ExitStack() as stack:
        loggers = list(callbacks)
        if isinstance(log, (str, PathLike)):
            loggers.insert(0, stack.enter_context(CsvLog(log)))
            for epoch in range(1, run.history.epochs + 1):
                loggers[0](epoch, run.history.row(epoch))
        elif log is not None:
            loggers.insert(0, log)
        stack.enter_context(run.interruptible())
        steps = len(data) if isinstance(data, Sized) else None
        bar = make_progress(progress, epochs, steps, run.history.epochs, run.steps)
        stack.callback(bar.close)
        run.train(epochs, validate, loggers, bar)
    return run.history


class _Run:
    """A call of `fit`: where it is, and what a checkpoint keeps of that."""

    def __init__(
        self,
        step: Callable[..., Any],
        data: Iterable[Any],
        rows: Weigh,
        stopper: _Stopper | None,
        checkpoint: Checkpointer | None,
    ) -> None:
        self.step = step
        self.data = data
        self.rows = rows
        self.stopper = stopper
        self.checkpoint = checkpoint
        self.history = History()
        self.steps = 0
        self.position = 0
        """Batches taken in this epoch."""
        self.mean = Mean()
        self.interrupts = 0
        self.due = 0.0

    def train(
        self, epochs: int, validate: Callable[[], Any] | None, callbacks: Sequence[Callback], bar: Progress
    ) -> None:
        """Train until all epochs are done or something ends it."""
        history = self.history
        try:
            while history.epochs < epochs and history.stopped not in FINAL and not self.interrupts:
                self.train_epoch(bar)
                if self.interrupts:
                    break
                self.end_epoch(validate, callbacks, bar)
                self.save()
        except KeyboardInterrupt:  # the second one, or under a handler of the user's own
            history.stopped = "interrupted"
            return
        if self.interrupts:
            history.stopped = "interrupted"
            self.save()
            return
        history.stopped = history.stopped or "epochs"
        if self.stopper is not None:
            self.stopper.restore(history)

    def train_epoch(self, bar: Progress) -> None:
        """Take the steps of an epoch, or of what a checkpoint left of it."""
        step, rows, clock, due = self.step, self.rows, time.perf_counter, self.due
        every = self.checkpoint.every if self.checkpoint is not None else None
        room = 0 if every is None else every - self.steps % every  # steps until a checkpoint
        taken: list[tuple[Any, float]] = []  # averaged now and then: doing so in every step would be felt
        for batch in self.rest():
            taken.append((call_with(step, batch), rows(batch)))
            if self.interrupts or len(taken) == room or clock() >= due:
                saving = len(taken) == room
                room -= len(taken)
                self.take_in(taken, bar)
                due = clock() + INTERVAL
                if saving and every is not None:
                    self.save()
                    room = every
                if self.interrupts:
                    break
        self.take_in(taken, bar)
        self.due = due

    def rest(self) -> Iterable[Any]:
        """Return the batches of this epoch that are left."""
        if not self.position or isinstance(self.data, HasState):
            return self.data
        left = iter(self.data)
        if sum(1 for _ in itertools.islice(left, self.position)) < self.position:
            raise ArgumentError(f"fit: the checkpoint was made after {self.position} batches, data has fewer{at()}")
        return left

    def take_in(self, taken: list[tuple[Any, float]], bar: Progress) -> None:
        """Average what steps returned, and empty the list."""
        self.mean.update_all(taken)
        self.steps += len(taken)
        self.position += len(taken)
        taken.clear()
        if self.mean.rows:
            bar.advance(self.steps, _named(self.mean.result(), ""))

    def end_epoch(self, validate: Callable[[], Any] | None, callbacks: Sequence[Callback], bar: Progress) -> None:
        """Put together the numbers of the epoch and tell everyone."""
        if not self.mean.rows:
            raise ArgumentError(f"fit: epoch {self.history.epochs + 1} had no batches{at()}")
        values = _named(self.mean.result(), "")
        self.mean.reset()
        self.position = 0
        if validate is not None:
            values |= _named(validate(), "val_")
        self.history.add(values)
        epoch, values = self.history.epochs, self.history.row(self.history.epochs)
        if self.stopper is not None and self.stopper.is_enough(epoch, values):
            self.history.stopped = "early stopping"
        bar.end_epoch(epoch, values)
        for callback in callbacks:
            try:
                callback(epoch, dict(values))
            except StopTraining:
                self.history.stopped = self.history.stopped or "callback"

    # -- checkpoints

    def save(self) -> None:
        """Make a checkpoint, if there is to be one."""
        if self.checkpoint is not None:
            self.checkpoint.save(self.steps, {"fit": self.state()})

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this run, besides the objects that the user gave."""
        state: dict[str, Any] = {
            "steps": self.steps,
            "position": self.position,
            "history": [[name, column] for name, column in self.history.items()],
            "stopped": self.history.stopped,
            "rows": self.mean.rows,
            "totals": [[name, total] for name, total in self.mean.totals.items()],
        }
        if isinstance(self.data, HasState):
            state["data"] = self.data
        if self.stopper is not None:
            state["early_stopping"] = self.stopper.state()
        return state

    def resume(self) -> None:
        """Continue from the newest checkpoint, if there is one."""
        found = None if self.checkpoint is None else self.checkpoint.restore({"fit": self.state()}, check=_saved)
        if found is None:
            return
        saved = _saved(found.values)
        self.steps, self.position = saved.steps, saved.position
        for numbers in zip(*saved.history.values(), strict=True):
            self.history.add(dict(zip(saved.history, numbers, strict=True)))
        self.history.stopped = saved.stopped if saved.stopped in FINAL else ""  # type: ignore[assignment]
        self.mean.rows, self.mean.totals = saved.rows, saved.totals
        if self.stopper is not None:
            self.stopper.best, self.stopper.best_epoch = saved.best, saved.best_epoch

    # -- interrupts

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let the first Ctrl-C end training after a step, so that all that a checkpoint holds is of one moment."""
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        ):
            yield
            return

        def interrupt(number: int, frame: FrameType | None) -> None:
            self.interrupts += 1
            if self.interrupts > 1:
                raise KeyboardInterrupt

        signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Stopper:
    """Early stopping under way: the best number so far, its epoch, and the weights after it."""

    def __init__(self, rule: EarlyStopping, monitor: str, weights: Sequence[Shared]) -> None:
        self.rule = rule
        self.monitor = monitor
        self.weights = list(weights)
        self.kept = [w.get_value() for w in weights]
        self.best = math.inf if rule.mode == "min" else -math.inf
        self.best_epoch = 0

    @classmethod
    def make(
        cls, rule: EarlyStopping | int | None, step: Callable[..., Any], validate: Callable[[], Any] | None
    ) -> _Stopper | None:
        """Return the stopper of a run, or None without a rule."""
        if rule is None:
            return None
        found = rule if isinstance(rule, EarlyStopping) else EarlyStopping(patience=rule)
        if isinstance(found.patience, bool) or not isinstance(found.patience, int) or found.patience < 1:
            raise ArgumentError(f"EarlyStopping: patience must be a positive int, got {found.patience!r}{at()}")
        if found.mode not in ("min", "max") or not found.min_delta >= 0:
            raise ArgumentError(f'EarlyStopping: mode must be "min" or "max" and min_delta at least 0{at()}')
        weights: Sequence[Shared] = ()
        if found.restore and found.weights is not None:
            weights = found.weights
        elif found.restore and isinstance(step, Function):
            weights = step.graph.updates
        elif found.restore:
            raise ArgumentError(f"EarlyStopping: step is no compiled function; say which weights to restore{at()}")
        return cls(found, found.monitor or ("loss" if validate is None else "val_loss"), weights)

    def is_enough(self, epoch: int, values: Mapping[str, float]) -> bool:
        """Take in the numbers of an epoch; tell whether training has not improved for too long."""
        if self.monitor not in values:
            raise ArgumentError(f"EarlyStopping: there is no {self.monitor!r} among {', '.join(values)}{at()}")
        gain = self.best - values[self.monitor] if self.rule.mode == "min" else values[self.monitor] - self.best
        if gain > self.rule.min_delta:
            self.best, self.best_epoch = values[self.monitor], epoch
            for kept, w in zip(self.kept, self.weights, strict=True):
                kept[...] = w.get_value()
        return epoch - self.best_epoch >= self.rule.patience

    def restore(self, history: History) -> None:
        """Put back the weights of the best epoch."""
        if self.best_epoch:
            history.best_epoch = self.best_epoch
            for kept, w in zip(self.kept, self.weights, strict=True):
                w.set_value(kept)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"best": self.best, "best_epoch": self.best_epoch, "weights": self.kept}


@dataclass(frozen=True)
class _Saved:
    """What a checkpoint has of a run, as it must be."""

    steps: int
    position: int
    history: dict[str, list[float]]
    stopped: str
    rows: float
    totals: dict[str | None, float]
    best: float
    best_epoch: int


def _saved(values: Mapping[str, Any]) -> _Saved:
    """Read the plain values of a checkpoint; raises `CheckpointError` for what `fit` cannot have written."""
    try:
        history = {_text(name): [float(x) for x in column] for name, column in values["fit.history"]}
        totals = {None if name is None else _text(name): float(total) for name, total in values["fit.totals"]}
        if len({len(column) for column in history.values()}) > 1:
            raise ValueError("the history's columns differ in length")
        best = float(values.get("fit.early_stopping.best", 0.0))
        best_epoch = _count(values.get("fit.early_stopping.best_epoch", 0))
        rows = float(values["fit.rows"])
        if not 0 <= rows < math.inf or (rows and not totals):
            raise ValueError(f"{rows} rows of {list(totals)}")
        steps, position = _count(values["fit.steps"]), _count(values.get("fit.position", 0))
        return _Saved(steps, position, history, _text(values["fit.stopped"]), rows, totals, best, best_epoch)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"the checkpoint's state of fit is wrong: {error}{at()}") from error


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _named(value: Any, prefix: str) -> dict[str, float]:
    """Return numbers by name; a single one is a loss."""
    named = value if isinstance(value, Mapping) else {"loss": value}
    return {f"{prefix}{name}": as_number(repr(name), number) for name, number in named.items()}


def _check(step: Any, data: Any, epochs: Any, validate: Any, callbacks: Any, checkpoint: Checkpointer | None) -> None:
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ArgumentError(f"fit: epochs must be a positive int, got {epochs!r}{at()}")
    for name, function in [("step", step), ("validate", validate), *(("a callback", c) for c in callbacks)]:
        if function is not None and not callable(function):
            raise ArgumentError(f"fit: {name} must be callable, got {type(function).__name__}{at()}")
    if isinstance(data, (tuple, dict, np.ndarray)) or not isinstance(data, Iterable):
        raise ArgumentError(f"fit: data must give batches; use gc.data.batches(arrays, batch_size){at()}")
    if epochs > 1 and isinstance(data, Iterator):
        raise ArgumentError(f"fit: data is an iterator, which ends with its first epoch{at()}")
    if checkpoint is not None and checkpoint.every is not None and not isinstance(data, HasState):
        raise ArgumentError(f"fit: checkpoints inside an epoch need data with get_state and set_state{at()}")
