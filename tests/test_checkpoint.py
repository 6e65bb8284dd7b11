"""Checkpoints: what goes in comes out, mismatches and damage change nothing, a killed process leaves the last one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import graphc as gc
from graphc.graph.types import SHORT_NAMES, Array

LOADED = Path(gc.__file__).parent.parent


class Momentum:
    """What an optimiser looks like to a checkpoint."""

    def __init__(self, *values: float) -> None:
        self.state: dict[str, Array] = {"velocity.0": np.array(values), "count": np.array(len(values))}

    def state_dict(self) -> dict[str, Array]:
        return {name: a.copy() for name, a in self.state.items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        self.state = {name: np.array(a) for name, a in state.items()}


class Refusing(Momentum):
    """Takes back nothing but what it has."""

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        if state["velocity.0"][0] != self.state["velocity.0"][0]:
            raise RuntimeError("refused")


def objects(scale: float = 1.0) -> dict[str, Any]:
    rng = gc.random.Generator(int(scale) + 2**63)
    return {
        "model": {"layers": [gc.shared(scale * np.ones((2, 3), "float32"), name="w"), gc.shared(scale, name="b")]},
        "optimizer": Momentum(scale, 2.0),
        "generator": rng,
        "data": gc.data.batches(np.arange(10), 3, shuffle=True),
        "table": scale * np.arange(6.0).reshape(2, 3).T,
    }


def state(items: dict[str, Any]) -> str:
    """Return everything in `objects()` as text that is equal where the bits are."""
    arrays = [w.get_value() for w in items["model"]["layers"]] + [*items["optimizer"].state.values(), items["table"]]
    positions = items["generator"].get_state(), items["data"].get_state()
    return repr([(str(a.dtype), a.shape, a.tolist()) for a in arrays]) + repr(positions)


def test_everything_comes_back(tmp_path: Path) -> None:
    saved, fresh = objects(3.0), objects()
    next(iter(saved["data"]))
    gc.function([], saved["generator"].bits((5,)))()
    gc.save_checkpoint(tmp_path / "a.safetensors", saved | {"epoch": 7, "history": {"loss": [0.1, float("inf")]}})
    assert os.listdir(tmp_path) == ["a.safetensors"]
    found = gc.load_checkpoint(tmp_path / "a.safetensors", fresh)
    assert state(fresh) == state(saved) != state(objects())
    assert found.values == {"epoch": 7, "history.loss": [0.1, float("inf")]} and not found.arrays
    assert found.states["data"] == {"epoch": 0, "position": 1, "order": "10 rows by 3, shuffled by seed 0"}


@pytest.mark.parametrize("dtype", SHORT_NAMES)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 3, 2)])
def test_arrays_are_what_the_format_s_own_reader_gives(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.safetensors"
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    gc.save_checkpoint(path, {"x.y": array, "turned": array.T, "one": np.array([True])})
    theirs, ours = load_file(path), gc.load_checkpoint(path).arrays
    for found in (theirs, ours):
        assert found["x.y"].dtype == array.dtype and found["x.y"].shape == shape
        np.testing.assert_array_equal(found["x.y"], array)
        np.testing.assert_array_equal(found["turned"], array.T)
    ours["x.y"][...] = 0  # a copy: it can be written, and the file stays
    np.testing.assert_array_equal(gc.load_checkpoint(path).arrays["x.y"], array)
    with safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["graphc"].partition(" ")[2])["values"] == {}


def test_other_byte_orders_and_readers(tmp_path: Path) -> None:
    array = np.arange(5, dtype=">i4")
    gc.save_checkpoint(tmp_path / "a", {"x": array, "u": np.uint64(2**64 - 1)})
    np.testing.assert_array_equal(load_file(tmp_path / "a")["x"], array)
    assert gc.load_checkpoint(tmp_path / "a").values == {"u": 2**64 - 1}
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_every_mismatch_is_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    gc.save_checkpoint(path, objects(3.0))
    other = objects()
    other["model"]["layers"][0] = gc.shared(np.ones((3, 2), "float32"), name="w")
    other["model"]["layers"][1] = gc.shared(np.float32(1), name="b")
    other["extra"] = np.zeros(4, bool)
    del other["optimizer"], other["generator"]
    before = [w.get_value() for w in other["model"]["layers"]], other["table"].copy(), other["data"].get_state()
    with pytest.raises(gc.CheckpointError) as caught:
        gc.load_checkpoint(path, other)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{path} does not fit what it is loaded into:  [test_checkpoint.py:")
    assert sorted(lines) == [
        "  extra: not in the file, bool[4] needed",
        "  generator: state(key: int, position: int, splits: int) in the file, not asked for",
        "  model.layers.0: f32[2,3] in the file, f32[3,2] needed",
        "  model.layers.1: f64[] in the file, f32[] needed",
        "  optimizer.count: i64[] in the file, not asked for",
        "  optimizer.velocity.0: f64[2] in the file, not asked for",
    ]
    after = [w.get_value() for w in other["model"]["layers"]], other["table"], other["data"].get_state()
    assert repr(after) == repr(before)


@pytest.mark.parametrize("refusing", ["data", "last", "table"])
def test_an_object_that_refuses_leaves_all_as_they_were(tmp_path: Path, refusing: str) -> None:
    path, saved, fresh = tmp_path / "a.safetensors", objects(3.0), objects()
    for _ in zip(range(2), saved["data"], strict=False):
        pass
    saved["last"], fresh["last"] = Refusing(1.0), Refusing(1.0)
    if refusing == "data":
        fresh["data"] = gc.data.batches(np.arange(4), 3)
    elif refusing == "last":
        saved["last"] = Refusing(3.0)
    else:
        fresh["table"].flags.writeable = False
    gc.save_checkpoint(path, saved)
    before = state(fresh)
    with pytest.raises(
        (RuntimeError, gc.GraphcError), match=r"^refused|10 rows by 3.*4 rows by 3|table is a read-only"
    ):
        gc.load_checkpoint(path, fresh)
    assert state(fresh) == before


def damages() -> list[Callable[[bytes], bytes]]:
    flips: list[Callable[[bytes], bytes]] = [
        lambda raw, bit=bit: bytes(b ^ bit if i % 7 == bit % 7 else b for i, b in enumerate(raw))  # type: ignore[misc]
        for bit in (1, 255)
    ]
    return [*flips, lambda raw: b"", lambda raw: raw + b"\0", lambda raw: raw[8:], lambda raw: b"rubbish" * 100]


def test_any_flipped_bit_and_any_missing_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    w = gc.shared([1.0, 2.0], name="w")
    gc.save_checkpoint(path, {"w": w, "rng": gc.random.Generator(1), "note": "a"})
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [raw[:i] for i in range(len(raw))]
    damaged += [raw[:i] + bytes([raw[i] ^ (1 << int(rng.integers(8)))]) + raw[i + 1 :] for i in range(len(raw))]
    damaged += [damage(raw) for damage in damages()]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(gc.CheckpointError, match=r"a.safetensors is .*  \[test_checkpoint.py:\d+\]$"):
            gc.load_checkpoint(path, {"w": w, "rng": gc.random.Generator(0)})
    assert w.get_value().tolist() == [1, 2]


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(3)}, tmp_path / "a")
    with pytest.raises(gc.CheckpointError, match="no file of graphc"):
        gc.load_checkpoint(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        gc.load_checkpoint(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        gc.save_checkpoint(tmp_path / "no" / "b", {"w": np.zeros(3)})
    nested = b'{"__metadata__":' + b"[" * 100_000
    (tmp_path / "c").write_bytes(len(nested).to_bytes(8, "little") + nested)
    with pytest.raises(gc.CheckpointError):
        gc.load_checkpoint(tmp_path / "c")


@dataclass
class Stream:
    """A generator whose state is no dataclass of numbers."""

    state: Any

    def get_state(self) -> Any:
        return self.state

    def set_state(self, state: Any) -> None:
        self.state = state


REFUSED: list[tuple[dict[Any, Any], str]] = [
    ({"f": print}, "f is a builtin_function_or_method, which has neither state_dict nor get_state"),
    ({"x": gc.placeholder("x", shape=())}, "x is a Node, which has neither"),
    ({"a": [np.zeros(2), object()]}, "a.1 is a object"),
    ({"a.b": 1, "a": {"b": 2}}, "the name a.b is used twice"),
    ({"__metadata__": np.zeros(2)}, "the name __metadata__ is reserved"),
    ({3: 1}, "names must be strings, got 3"),
    ({"c": np.zeros(2, complex)}, "c has dtype complex128"),
    ({"o": np.array([None])}, "o has dtype object"),
    ({"s": Stream(3)}, "the state of s must be a dataclass"),
    ({"s": Stream(Stream([1]))}, "the state of s must be of numbers and strings"),
]


@pytest.mark.parametrize(("items", "match"), REFUSED)
def test_what_cannot_be_saved(tmp_path: Path, items: dict[Any, Any], match: str) -> None:
    with pytest.raises(gc.ArgumentError, match=match):
        gc.save_checkpoint(tmp_path / "a", items)
    assert not os.listdir(tmp_path)


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    gc.save_checkpoint(path, {"n": 1})
    monkeypatch.setattr(os, "replace", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        gc.save_checkpoint(path, {"n": 2})
    assert os.listdir(tmp_path) == ["a"] and gc.load_checkpoint(path).values == {"n": 1}


# -- the manager


def test_the_newest_are_kept(tmp_path: Path) -> None:
    w = gc.shared(0.0, name="w")
    manager = gc.Checkpointer(tmp_path / "runs" / "a", {"w": w}, keep=2)
    assert manager.restore() is None
    for step in (1, 20, 3_000_000_000, 400):
        w.set_value(float(step))
        manager.save(step, {"step": step})
    assert [p.name for p in manager.paths] == ["checkpoint-000000400.safetensors", "checkpoint-3000000000.safetensors"]
    found = manager.restore()
    assert found is not None and found.values == {"step": 3_000_000_000} and float(w.get_value()) == 3e9
    everything = gc.Checkpointer(tmp_path / "b", {"w": w}, keep=None)
    for step in range(5):
        everything.save(step)
    assert len(everything.paths) == 5
    with pytest.raises(gc.ArgumentError, match="'w' given twice"):
        manager.save(1, {"w": 1})
    with pytest.raises(gc.ArgumentError, match="keep must be a positive int or None, got 0"):
        gc.Checkpointer(tmp_path, {}, keep=0)


def test_leftovers_of_dead_processes_go_and_those_of_running_ones_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".checkpoint-000000001.safetensors.{pid}-0.tmp" for pid in (dead.pid, os.getpid())] + [".mine.tmp"]
    for name in names:
        (tmp_path / name).touch()
    gc.Checkpointer(tmp_path, {})
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:])
    (tmp_path / f".a.{dead.pid}-3.tmp").touch()
    gc.save_checkpoint(tmp_path / "a", {})
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], "a"])


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
import numpy as np
import graphc as gc
w = gc.shared(np.zeros(300_000), name="w")
manager = gc.Checkpointer(sys.argv[1], {"w": w}, keep=2)
found = manager.restore()
step = found.values["step"] if found else 0
print("ready", flush=True)
while True:
    step += 1
    w.set_value(np.full(300_000, float(step)))
    manager.save(step, {"step": step})
"""


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has SIGKILL")
def test_a_killed_process_leaves_the_last_complete_checkpoint(tmp_path: Path) -> None:
    rng, last = np.random.default_rng(0), 0
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path, LOADED], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(float(rng.uniform(0.01, 0.1)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        w = gc.shared(np.zeros(300_000), name="w")
        found = gc.Checkpointer(tmp_path, {"w": w}).restore()
        if found is None:  # killed before the first was complete
            continue
        assert found.values["step"] >= last
        last = found.values["step"]
        np.testing.assert_array_equal(w.get_value(), np.full(300_000, float(last)))
        assert all(p.endswith(".safetensors") for p in os.listdir(tmp_path))
    assert last > 0


def test_threads_save_to_one_path(tmp_path: Path) -> None:
    array: npt.NDArray[np.float64] = np.arange(1000.0)

    def save() -> None:
        for _ in range(5):
            gc.save_checkpoint(tmp_path / "a", {"x": array})

    threads = [threading.Thread(target=save) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(gc.load_checkpoint(tmp_path / "a").arrays["x"], array)
    assert os.listdir(tmp_path) == ["a"]


# -- files that are not what they seem


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a checkpoint says about its arrays, and make the checksum right again."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    about = json.loads(header["__metadata__"]["graphc"].partition(" ")[2])
    change(about)
    content = json.dumps(about)
    header["__metadata__"]["graphc"] = f"{zlib.crc32(content.encode()):08x} {content}"
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def _states(**states: Any) -> Callable[[dict[str, Any]], None]:
    return lambda about: about["states"].update(states)


GENERATOR = {"key": 1, "position": 0, "splits": 0}
FORGED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a number for a state": (_states(rng=5), "is no checkpoint"),
    "a list in a state": (_states(rng=GENERATOR | {"key": [1]}), "is no checkpoint"),
    "a negative key": (_states(rng=GENERATOR | {"key": -1}), "the state of rng is refused: .*numbers from 0"),
    "a key beyond 64 bits": (_states(rng=GENERATOR | {"key": 2**64}), "the state of rng is refused"),
    "negative splits": (_states(rng=GENERATOR | {"splits": -1}), "the state of rng is refused"),
    "a boolean key": (_states(rng=GENERATOR | {"key": True}), "key: bool, .*key: int"),
    "another field": (_states(rng={"seed": 1}), r"state\(seed: int\) in the file"),
    "a negative epoch": (_states(data={"epoch": -1, "position": 0, "order": ""}), "state of data is refused"),
    "a long epoch": (_states(data={"epoch": 0, "position": 99, "order": ""}), "state of data is refused"),
    "no states": (lambda about: about.pop("states"), "is no checkpoint"),
    "values as a list": (lambda about: about.update(values=[1]), "is no checkpoint"),
    "arrays as a number": (lambda about: about.update(arrays=3), "checksums differ"),
}


@pytest.mark.parametrize("name", FORGED)
def test_right_checksums_of_wrong_contents(tmp_path: Path, name: str) -> None:
    change, message = FORGED[name]
    path, w = tmp_path / "a", gc.shared([1.0, 2.0], name="w")
    gc.save_checkpoint(path, {"w": w, "rng": gc.random.Generator(1), "data": gc.data.batches(np.arange(9), 2)})
    rewritten(path, change)
    w.set_value([3.0, 4.0])
    target = {"w": w, "rng": gc.random.Generator(9), "data": gc.data.batches(np.arange(9), 2)}
    with pytest.raises(gc.CheckpointError, match=message):
        gc.load_checkpoint(path, target)
    assert w.get_value().tolist() == [3, 4]
    assert target["rng"].get_state() == gc.random.Generator(9).get_state()  # type: ignore[attr-defined]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has FIFOs")
def test_a_fifo_does_not_block_and_a_directory_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    for path in (tmp_path / "a", Path(os.devnull)):
        with pytest.raises(gc.CheckpointError, match="not a regular file"):
            gc.load_checkpoint(path)
    with pytest.raises(gc.CheckpointError, match="not a regular file"):
        gc.load_checkpoint(tmp_path)


def test_a_header_that_claims_much_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with open(path, "wb") as file:
        file.write(b"\xff" * 8)
        file.truncate(2**40)  # without blocks
    with pytest.raises(gc.CheckpointError, match="it has no header"):
        gc.load_checkpoint(path)


TRUNCATING = """
import os, sys
sys.path.insert(0, sys.argv[2])
size = os.stat(sys.argv[1]).st_size
os.truncate(sys.argv[1], 4096)
print("ready", flush=True)
while os.path.exists(sys.argv[1]):
    try:
        os.truncate(sys.argv[1], 4096)
        os.truncate(sys.argv[1], size)
    except FileNotFoundError:
        break
"""


@pytest.mark.skipif(os.name != "posix", reason="only POSIX truncates open files")
def test_a_file_that_is_truncated_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    gc.save_checkpoint(path, {"w": np.ones(1_000_000)})
    process = subprocess.Popen([sys.executable, "-c", TRUNCATING, path, LOADED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for _ in range(50):
        with pytest.raises(gc.CheckpointError):
            gc.load_checkpoint(path)
    path.unlink()
    process.wait(10)
    process.stdout.close()


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path) -> None:
    w = gc.shared(0.0, name="w")
    manager = gc.Checkpointer(tmp_path, {"w": w}, keep=2)
    for step in (1, 2, 3):
        w.set_value(float(step))
        manager.save(step, {"step": step})
    newest = manager.paths[-1]
    newest.write_bytes(newest.read_bytes()[:-9])
    with pytest.warns(UserWarning, match=r"000000003.safetensors is truncated.*\n  continuing from .*000000002"):
        found = manager.restore()
    assert found is not None and found.values == {"step": 2} and w.get_value() == 2.0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint-000000002.safetensors",
        "checkpoint-000000003.safetensors.damaged",
    ]
    manager.save(4)  # the damaged file does not count among those kept
    assert [p.name for p in manager.paths] == ["checkpoint-000000002.safetensors", "checkpoint-000000004.safetensors"]
    for path in manager.paths:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(gc.CheckpointError, match=r"checkpoint-000000004\.safetensors is truncated"):
        manager.restore()
    assert len(manager.paths) == 2 and w.get_value() == 2.0


def test_a_newest_checkpoint_of_another_model_is_not_passed_over(tmp_path: Path) -> None:
    gc.Checkpointer(tmp_path, {"w": np.ones(2)}).save(1)
    gc.Checkpointer(tmp_path, {"w": np.ones(3)}).save(2)
    with pytest.raises(gc.CheckpointError, match="does not fit"):
        gc.Checkpointer(tmp_path, {"w": np.ones(2)}).restore()
