"""The training loop: what it computes, why it ends, what it writes, and that a killed run continues bit for bit."""

from __future__ import annotations

import csv
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.node import Shared
from graphc.graph.types import Array

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=22)
ROOT = Path(gc.__file__).parent.parent


class Problem:
    """Linear regression by gradient descent with momentum and noise: everything that a checkpoint must keep."""

    def __init__(self, mode: Any = "reference", outputs: Callable[..., Any] | None = None) -> None:
        x, y = gc.placeholder("x", shape=("n", 3)), gc.placeholder("y", shape=("n",))
        self.w, velocity = gc.shared(np.zeros(3), name="w"), gc.shared(np.zeros(3), name="v")
        self.rng = gc.random.Generator(3)
        error = x @ self.w - y
        loss = gc.mean(error * error)
        noisy = gc.grad(loss, self.w) + 0.01 * self.rng.normal((3,))
        moved = 0.9 * velocity + noisy
        result = loss if outputs is None else outputs(loss, error)
        self.step = gc.function([x, y], result, updates={velocity: moved, self.w: self.w - 0.02 * moved}, mode=mode)
        self.data = gc.data.batches((X, Y), 4, shuffle=True, seed=1)
        self.objects = {"weights": [self.w, velocity], "rng": self.rng}

    def error(self) -> float:
        return float(np.mean((X @ self.w.get_value() - Y) ** 2))

    def state(self) -> str:
        arrays = [w.get_value().tolist() for w in self.objects["weights"]]  # type: ignore[attr-defined]
        return repr((arrays, self.rng.get_state(), self.data.get_state()))


def quiet(problem: Problem, epochs: int = 3, **options: Any) -> gc.History:
    return gc.fit(problem.step, problem.data, epochs, progress=False, **options)


@pytest.mark.parametrize("mode", ["reference", "compiled"])
def test_it_is_the_bare_loop(mode: Any) -> None:
    bare, fitted = Problem(mode), Problem(mode)
    means = []
    for _ in range(3):
        total = 0.0
        for x, y in bare.data:
            total += float(bare.step(x, y)) * len(y)
        means.append(total / 22)
    history = quiet(fitted)
    assert history["loss"] == means and history.stopped == "epochs" and history.epochs == 3
    assert fitted.state() == bare.state()
    assert history["loss"][2] < history["loss"][0]


def test_named_scalars_and_validation() -> None:
    problem = Problem(outputs=lambda loss, error: {"loss": loss, "mae": gc.mean(gc.abs(error))})
    history = quiet(problem, validate=lambda: {"loss": problem.error(), "one": np.float32(1)})
    assert list(history) == ["loss", "mae", "val_loss", "val_one"]
    assert history["val_loss"][-1] == problem.error() and history["val_one"] == [1, 1, 1]
    assert list(quiet(Problem(), validate=lambda: 0.5)) == ["loss", "val_loss"]


def test_batches_by_name_alone_and_without_rows() -> None:
    def run(step: Callable[..., Any], data: Any) -> list[float]:
        return gc.fit(step, data, 1, progress=False)["loss"]

    assert run(lambda a, b: (a + b).mean(), gc.data.batches({"a": Y, "b": Y}, 5)) == [pytest.approx(2 * Y.mean())]
    assert run(lambda a: a.mean(), gc.data.batches(Y, 5)) == [pytest.approx(Y.mean())]
    assert run(lambda a: a.mean(), [[Y[:20]], [Y[20:]]]) == [pytest.approx(Y.mean())]
    assert run(lambda: 2.0, [()] * 3) == [2.0]
    assert run(lambda a, b: a + b, [(1.0, 2), (np.array(3.0), 4)]) == [5.0]
    assert run(float, iter([1.0, 2.0])) == [1.5]


def test_what_steps_return_is_checked() -> None:
    with pytest.raises(gc.ShapeError, match=r"a value must be one number, got float64 of shape \(4,\)"):
        quiet(Problem(outputs=lambda loss, error: error))
    with pytest.raises(gc.ShapeError, match=r"'e' must be one number"):
        quiet(Problem(outputs=lambda loss, error: {"e": error}))
    with pytest.raises(gc.ShapeError, match="'loss' must be one number, got object"):
        quiet(Problem(), validate=lambda: None)
    flips: Iterator[dict[str, float]] = iter([{"a": 1.0}, {"b": 1.0}])
    with pytest.raises(gc.ArgumentError, match=r"epoch 2 gave \['loss', 'val_b'\], those before \['loss', 'val_a'\]"):
        quiet(Problem(), validate=lambda: next(flips))


# -- callbacks, early stopping


def test_callbacks_see_the_numbers_and_may_end_training() -> None:
    seen: list[tuple[int, dict[str, float]]] = []

    def note(epoch: int, values: dict[str, float]) -> bool:
        seen.append((epoch, dict(values)))
        values.clear()
        return True  # means nothing: many functions return something

    def enough(epoch: int, values: dict[str, float]) -> None:
        assert values
        if epoch == 2:
            raise gc.StopTraining

    history = quiet(Problem(), 5, callbacks=[note, enough, note])
    assert history.stopped == "callback" and history.epochs == 2
    assert [epoch for epoch, _ in seen] == [1, 1, 2, 2] and seen[-1][1] == history.row(2)


def scripted(problem: Problem, values: list[float]) -> Callable[[], float]:
    """Validate by a script, and keep the weights of each time in `problem.seen`."""
    numbers = iter(values)
    problem.seen = []  # type: ignore[attr-defined]

    def validate() -> float:
        problem.seen.append(problem.state())  # type: ignore[attr-defined]
        return next(numbers)

    return validate


@pytest.mark.parametrize(
    ("values", "rule", "epochs", "best"),
    [
        ([3, 2, 2.5, 2.5, 0], 2, 4, 2),
        ([3, 2, 2.5, 1, 2, 2, 0], 2, 6, 4),
        ([1, 2, 2.5, 3, 2, 1], gc.EarlyStopping(2, mode="max"), 6, 4),
        ([3, 2.9, 2.8, 2.7], gc.EarlyStopping(2, min_delta=0.5), 3, 1),
        ([float("nan"), 3, float("nan"), 1], gc.EarlyStopping(2), 4, 4),
        ([3, 2, 1, 0], 2, 4, 4),
    ],
)
def test_early_stopping_goes_back_to_the_best_epoch(values: list[float], rule: Any, epochs: int, best: int) -> None:
    problem = Problem()
    history = quiet(problem, len(values), validate=scripted(problem, values), early_stopping=rule)
    assert (history.epochs, history.best_epoch) == (epochs, best)
    assert history.stopped == ("early stopping" if best + 2 == epochs else "epochs")
    kept = problem.seen[best - 1]  # type: ignore[attr-defined]
    assert problem.state().split("BatchesState")[0] == kept.split("BatchesState")[0]  # weights, velocity, generator


def test_early_stopping_without_restoring_or_of_chosen_weights() -> None:
    problem = Problem()
    rule = gc.EarlyStopping(1, restore=False)
    quiet(problem, 5, validate=scripted(problem, [1, 2]), early_stopping=rule)
    assert problem.state().startswith(problem.seen[1][:60])  # type: ignore[attr-defined]
    problem = Problem()
    called = gc.EarlyStopping(1, weights=[problem.w])
    gc.fit(lambda x, y: problem.step(x, y), problem.data, 5, early_stopping=called, progress=False)
    with pytest.raises(gc.ArgumentError, match="step is no compiled function; say which weights to restore"):
        gc.fit(lambda x, y: problem.step(x, y), problem.data, 5, early_stopping=1, progress=False)


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        (0, "patience must be a positive int, got 0"),
        (gc.EarlyStopping(mode="most"), 'mode must be "min" or "max"'),  # type: ignore[arg-type]
        (gc.EarlyStopping(min_delta=-1), "min_delta at least 0"),
        (gc.EarlyStopping(monitor="accuracy"), "there is no 'accuracy' among loss"),
    ],
)
def test_early_stopping_refuses(rule: Any, match: str) -> None:
    with pytest.raises(gc.ArgumentError, match=match):
        quiet(Problem(), early_stopping=rule)


def test_validation_without_a_loss_must_say_what_to_watch() -> None:
    with pytest.raises(gc.ArgumentError, match="there is no 'val_loss' among loss, val_accuracy"):
        quiet(Problem(), validate=lambda: {"accuracy": 1.0}, early_stopping=3)


# -- Ctrl-C


def interrupting(problem: Problem, at_step: int, times: int = 1) -> Callable[..., Any]:
    count = 0

    def step(x: Array, y: Array) -> Any:
        nonlocal count
        count += 1
        if count == at_step:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return problem.step(x, y)

    return step


def test_an_interrupt_keeps_the_model_and_the_history() -> None:
    problem, same = Problem(), Problem()
    before = signal.getsignal(signal.SIGINT)
    history = gc.fit(interrupting(problem, 9), problem.data, 5, progress=False)
    assert history.stopped == "interrupted" and history.epochs == 1  # 6 batches an epoch
    assert signal.getsignal(signal.SIGINT) is before
    for _ in range(2):
        for i, (x, y) in enumerate(same.data):
            if same.data.get_state().epoch == 1 and i == 3:
                break
            same.step(x, y)
    assert problem.w.get_value().tolist() == same.w.get_value().tolist()  # 9 whole steps


def test_a_second_interrupt_ends_it_at_once() -> None:
    problem = Problem()
    history = gc.fit(interrupting(problem, 9, times=2), problem.data, 5, progress=False)
    assert history.stopped == "interrupted" and history.epochs == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_the_user_s_own_stay() -> None:
    def handler(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    try:
        problem = Problem()
        history = gc.fit(interrupting(problem, 9), problem.data, 5, progress=False)
        assert history.stopped == "interrupted" and signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


# -- resuming


class Crash(Exception):
    """Stands for whatever ends a process."""


def crashing(problem: Problem, after: int) -> Callable[..., Any]:
    left = after

    def step(x: Array, y: Array) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash
        return problem.step(x, y)

    return step


def test_a_run_that_crashes_again_and_again_ends_as_one_that_does_not(tmp_path: Path) -> None:
    whole = Problem()
    rule = gc.EarlyStopping(2, weights=whole.objects["weights"])  # type: ignore[arg-type]
    history = quiet(whole, 4, early_stopping=rule, validate=whole.error)
    crashes = 0
    while True:
        problem = Problem()
        manager = gc.Checkpointer(tmp_path, problem.objects, every=2)
        rule = gc.EarlyStopping(2, weights=problem.objects["weights"])  # type: ignore[arg-type]
        options: Any = {"early_stopping": rule, "validate": problem.error, "checkpoint": manager, "progress": False}
        try:
            found = gc.fit(crashing(problem, 5), problem.data, 4, log=tmp_path / "log.csv", **options)
            break
        except Crash:
            crashes += 1
    assert crashes >= 4
    assert dict(found) == dict(history) and found.best_epoch == history.best_epoch
    assert problem.state() == whole.state()
    assert (tmp_path / "log.csv").read_text().count("\n") == 5
    assert len(manager.paths) == 3


def test_an_interrupted_run_continues_and_a_finished_one_does_not(tmp_path: Path) -> None:
    whole, first, second, third = Problem(), Problem(), Problem(), Problem()
    history = quiet(whole)
    gc.fit(interrupting(first, 9), first.data, 3, checkpoint=gc.Checkpointer(tmp_path, first.objects), progress=False)
    assert quiet(second, checkpoint=gc.Checkpointer(tmp_path, second.objects))["loss"] == history["loss"]
    assert second.state() == whole.state()
    before = os.listdir(tmp_path)
    assert quiet(third, checkpoint=gc.Checkpointer(tmp_path, third.objects))["loss"] == history["loss"]
    assert third.state() == whole.state() and os.listdir(tmp_path) == before


def interrupted_after(step: Callable[..., Any], count: int) -> Callable[..., Any]:
    """A step that is interrupted while it runs for the `count`-th time."""
    left = iter(range(count - 1))

    def wrapped(*args: Any) -> Any:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args)

    return wrapped


@pytest.mark.parametrize("count", [1, 4, 5, 6, 10])
def test_an_interrupted_run_passes_over_the_batches_it_had_of_data_without_state(tmp_path: Path, count: int) -> None:
    batches = [(X[i : i + 5], Y[i : i + 5]) for i in range(0, 22, 5)]
    whole, first, second = Problem(), Problem(), Problem()
    history = gc.fit(whole.step, batches, 2, progress=False)
    manager = gc.Checkpointer(tmp_path, first.objects)
    cut = gc.fit(interrupted_after(first.step, count), batches, 2, checkpoint=manager, progress=False)
    assert cut.stopped == "interrupted" and cut.epochs == (count - 1) // 5
    resumed = gc.fit(second.step, batches, 2, checkpoint=gc.Checkpointer(tmp_path, second.objects), progress=False)
    assert resumed == history and second.state() == whole.state()


def test_data_that_has_become_shorter_is_refused(tmp_path: Path) -> None:
    batches, problem = [(X[i : i + 5], Y[i : i + 5]) for i in range(0, 22, 5)], Problem()
    manager = gc.Checkpointer(tmp_path, problem.objects)
    gc.fit(interrupted_after(problem.step, 4), batches, 1, checkpoint=manager, progress=False)
    with pytest.raises(gc.ArgumentError, match="the checkpoint was made after 4 batches, data has fewer"):
        gc.fit(problem.step, batches[:2], 1, checkpoint=manager, progress=False)


def test_a_run_inside_an_epoch_does_not_go_on_with_other_batches(tmp_path: Path) -> None:
    first, second = Problem(), Problem()
    gc.fit(interrupting(first, 9), first.data, 3, checkpoint=gc.Checkpointer(tmp_path, first.objects), progress=False)
    second.data = gc.data.batches((X, Y), 11, shuffle=True, seed=1)
    before = second.state()
    with pytest.raises(gc.CheckpointError, match=r"22 rows by 4, shuffled by seed 1; these are 22 rows by 11"):
        quiet(second, checkpoint=gc.Checkpointer(tmp_path, second.objects))
    assert second.state() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", -1),
        ("steps", "9"),
        ("position", 1.5),
        ("history", 3),
        ("history", [["loss", [1.0]], ["other", []]]),
        ("history", [["loss", None]]),
        ("totals", [[3, 1.0]]),
        ("rows", float("nan")),
        ("rows", 5),
        ("stopped", None),
    ],
)
def test_a_run_does_not_go_on_from_what_none_can_have_saved(tmp_path: Path, name: str, value: Any) -> None:
    first, second = Problem(), Problem()
    manager = gc.Checkpointer(tmp_path, first.objects)
    quiet(first, 1, checkpoint=manager)
    found = gc.load_checkpoint(manager.paths[-1])
    more = {"fit": {k.removeprefix("fit."): v for k, v in found.values.items()} | {"data": first.data, name: value}}
    manager.save(99, more)
    before = second.state()
    with pytest.raises(gc.CheckpointError, match="the checkpoint's state of fit is wrong"):
        quiet(second, checkpoint=gc.Checkpointer(tmp_path, second.objects))
    assert second.state() == before


def test_more_epochs_continue_and_an_early_stop_is_final(tmp_path: Path) -> None:
    whole, first, second = Problem(), Problem(), Problem()
    history = quiet(whole, 4, early_stopping=9)
    quiet(first, 2, early_stopping=9, checkpoint=gc.Checkpointer(tmp_path / "a", first.objects))
    found = quiet(second, 4, early_stopping=9, checkpoint=gc.Checkpointer(tmp_path / "a", second.objects))
    assert found["loss"] == history["loss"] and second.state() == whole.state()
    for problem in (Problem(), Problem()):
        checkpoint = gc.Checkpointer(tmp_path / "b", problem.objects)
        validate = scripted(problem, [1, 2, 3])
        stopped = quiet(problem, 9, validate=validate, early_stopping=2, checkpoint=checkpoint)
        assert (stopped.epochs, stopped.stopped, stopped.best_epoch) == (3, "early stopping", 1)
    assert not problem.seen  # type: ignore[attr-defined]


def test_another_model_is_not_resumed(tmp_path: Path) -> None:
    first, second = Problem(), Problem()
    quiet(first, checkpoint=gc.Checkpointer(tmp_path, first.objects))
    with pytest.raises(gc.CheckpointError, match=r"weights.2: not in the file, f64\[\] needed"):
        more: list[Shared] = [*second.objects["weights"], gc.shared(0.0, name="b")]  # type: ignore[misc]
        quiet(second, checkpoint=gc.Checkpointer(tmp_path, second.objects | {"weights": more}))


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.test_fit import Problem, gc
problem = Problem()
manager = gc.Checkpointer(sys.argv[1], problem.objects, every=1)
print("ready", flush=True)
history = gc.fit(problem.step, problem.data, 30, checkpoint=manager, progress=False)
print(repr((problem.state(), dict(history))))
"""


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has SIGKILL")
def test_a_killed_run_continues_bit_for_bit(tmp_path: Path) -> None:
    whole = Problem()
    history = quiet(whole, 30)
    kills, output, delays = 0, "", iter([0.05, 0.1])
    while not output:
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(ROOT)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        try:
            output, _ = process.communicate(timeout=next(delays, 60))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        assert process.returncode in (0, -signal.SIGKILL)
    assert kills and output.strip() == repr((whole.state(), dict(history)))


# -- what is shown and written


def test_the_bar_and_the_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem()
    gc.fit(problem.step, problem.data, 2, validate=problem.error)
    shown = capsys.readouterr().err
    assert "epoch 2/2: 100%" in shown and "12/12" in shown and "val_loss" in shown
    gc.fit(lambda: 1.0, [()], 1, progress=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    gc.fit(problem.step, problem.data, 2, validate=problem.error)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[1].startswith("epoch 2/2  loss ") and "  val_loss " in lines[1]


def test_the_log_has_a_row_per_epoch(tmp_path: Path) -> None:
    problem = Problem()
    rows: list[Mapping[str, Any]] = []

    def read(epoch: int, values: Any) -> None:
        with open(tmp_path / "log.csv", newline="") as file:
            rows[:] = list(csv.DictReader(file))
        assert len(rows) == epoch  # on the disk already

    history = quiet(problem, log=str(tmp_path / "log.csv"), validate=problem.error, callbacks=[read])
    assert [float(row["val_loss"]) for row in rows] == history["val_loss"]
    history.to_csv(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "log.csv").read_bytes()


def test_tensorboard_events(tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    log = gc.TensorBoard(tmp_path)
    history = quiet(Problem(), log=log)
    log.close()
    (file,) = tmp_path.iterdir()
    content, found = file.read_bytes(), []
    while content:  # length, its checksum, the event, its checksum
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        content = content[16 + length :]
    assert found == [(i + 1, "loss", np.float32(value)) for i, value in enumerate(history["loss"])]


def test_long_histories_are_shown_in_part() -> None:
    history = gc.History()
    assert str(history) == "no epochs" and repr(history) == "<History: 0 epochs of nothing>"
    for i in range(100):
        history.add({"loss": i})
    lines = str(history).splitlines()
    assert len(lines) == 23 and lines[12].split() == ["...", "..."] and lines[-1].split() == ["100", "99"]
    with pytest.raises(gc.ArgumentError, match="there are epochs 1 to 100, not 0"):
        history.row(0)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"epochs": 0}, "epochs must be a positive int, got 0"),
    ({"step": 3}, "step must be callable, got int"),
    ({"callbacks": [None, 4]}, "a callback must be callable, got int"),
    ({"data": (X, Y)}, "data must give batches; use gc.data.batches"),
    ({"data": 3}, "data must give batches"),
    ({"data": iter([X])}, "data is an iterator, which ends with its first epoch"),
    ({"data": []}, "epoch 1 had no batches"),
]


@pytest.mark.parametrize(("changes", "match"), REFUSED)
def test_refused(changes: dict[str, Any], match: str) -> None:
    arguments: dict[str, Any] = {"step": lambda x: 1.0, "data": [X], "epochs": 2, "progress": False}
    with pytest.raises(gc.ArgumentError, match=f"fit: {match}"):
        gc.fit(**(arguments | changes))


def test_checkpoints_inside_an_epoch_need_data_that_can_continue(tmp_path: Path) -> None:
    problem = Problem()
    with pytest.raises(gc.ArgumentError, match="need data with get_state and set_state"):
        gc.fit(problem.step, [(X, Y)], 2, checkpoint=gc.Checkpointer(tmp_path, problem.objects, every=1))
