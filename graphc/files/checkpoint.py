"""Checkpoints: weights, optimisers, generators, data iterators and plain values in one safetensors file.

A file holds arrays by dotted name and, as JSON, the states of generators and iterators and plain values. It is
written aside and renamed: whoever dies while saving leaves the checkpoint before. Loading checks everything before
it changes anything. No code is stored, and none runs.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from graphc.files.tensorfile import read_tensors, remove_leftovers, show_type, write_tensors
from graphc.graph.arguments import PathLike, checked
from graphc.graph.errors import ArgumentError, CheckpointError, GraphcError, at
from graphc.graph.node import Shared
from graphc.graph.state import hold_states
from graphc.graph.tree import flatten
from graphc.graph.types import SHORT_NAMES, Array

__all__ = ["Checkpoint", "Checkpointer", "HasState", "HasStateDict", "load_checkpoint", "save_checkpoint"]


@runtime_checkable
class HasStateDict(Protocol):
    """A module or optimiser: its state is arrays by dotted name."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return copies of the arrays."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take arrays of the same names, shapes and dtypes."""


@runtime_checkable
class HasState(Protocol):
    """A generator or data iterator: its state is a dataclass of numbers and strings."""

    def get_state(self) -> Any:
        """Return the state."""

    def set_state(self, state: Any, /) -> None:
        """Continue from a state."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds, by dotted name: arrays not put into objects, states of generators and data, plain values."""

    arrays: dict[str, Array]
    states: dict[str, dict[str, Any]]
    values: dict[str, Any]


@checked
def save_checkpoint(path: PathLike, objects: Mapping[str, Any]) -> None:
    """Write the state of objects to a safetensors file, whole or not at all.

    Parameters
    ----------
    path
        The file; one that exists is replaced.
    objects
        By name: shared nodes and arrays; what has `state_dict` and `load_state_dict` (modules, optimisers) or
        `get_state` and `set_state` (generators, data); numbers, strings, None; lists and dicts of all these.

    Raises `ArgumentError` for what cannot be saved and `OSError` where the file cannot be written.

    >>> import tempfile, graphc as gc
    >>> w = gc.shared([1.0, 2.0], name="w")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gc.save_checkpoint(f"{folder}/model.safetensors", {"w": w, "epoch": 3})
    ...     w.set_value([0.0, 0.0])
    ...     gc.load_checkpoint(f"{folder}/model.safetensors", {"w": w}).values
    {'epoch': 3}
    >>> w.get_value()
    array([1., 2.])
    """
    leaves = _named_leaves(objects)
    with hold_states([item.state for _, item in leaves if isinstance(item, Shared)]):
        found = _snapshot(leaves)[0]
        write_tensors(Path(path), found.arrays, {"states": found.states, "values": found.values})


@checked
def load_checkpoint(path: PathLike, objects: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read a file of `save_checkpoint`, and put what it holds into `objects`, as they were given to be saved.

    The names, shapes and dtypes of all arrays and the names of all states must be those of `objects`; plain values
    cannot be put back, and are only returned. Without `objects` arrays are returned too.

    Raises `CheckpointError` where the file is damaged or does not fit, naming every difference; then nothing has
    changed.
    """
    found = _read(Path(path))
    if objects is None:
        return found
    _load(path, found, objects)
    return dataclasses.replace(found, arrays={})


def _read(path: Path) -> Checkpoint:
    """Return all that a file holds; raises `CheckpointError` where it is damaged or no checkpoint."""
    arrays, about = read_tensors(path)
    states, values = about.get("states"), about.get("values")
    if not isinstance(states, dict) or not isinstance(values, dict) or not all(map(_is_state, states.values())):
        raise CheckpointError(f"{path} is no checkpoint{at()}")
    return Checkpoint(arrays, states, values)


def _is_state(item: Any) -> bool:
    return isinstance(item, dict) and all(isinstance(value, (bool, int, float, str)) for value in item.values())


def _load(path: PathLike, found: Checkpoint, objects: Mapping[str, Any]) -> None:
    """Put what a file holds into objects, or raise and leave them as they are."""
    leaves = _named_leaves(objects)
    needed, keys = _snapshot(leaves)
    for name, item in leaves:  # state may take another size
        if isinstance(item, Shared) and name in found.arrays and item.takes(found.arrays[name].shape):
            needed.arrays[name] = np.empty(found.arrays[name].shape, item.dtype)
    differences = list(_differences(found, needed))
    if differences:
        listed = "\n  ".join(differences)
        raise CheckpointError(f"{path} does not fit what it is loaded into:{at()}\n  {listed}")
    _restore(path, leaves, keys, found, needed)


class Checkpointer:
    """The newest checkpoints of a run, in a directory of its own, which is made where it is missing.

    Parameters
    ----------
    directory
        Files are `checkpoint-<step>.safetensors`. What killed processes left half-written there is removed.
    objects
        What to save, as for `save_checkpoint`.
    keep
        How many checkpoints stay; None keeps all.
    every
        Steps between the checkpoints that `gc.fit` makes inside an epoch; None: only at its end.
    """

    @checked
    def __init__(
        self, directory: PathLike, objects: Mapping[str, Any], *, keep: int | None = 3, every: int | None = None
    ) -> None:
        for name, value in (("keep", keep), ("every", every)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ArgumentError(f"Checkpointer: {name} must be a positive int or None, got {value!r}{at()}")
        self.directory = Path(directory)
        self.objects = dict(objects)
        self.keep = keep
        self.every = every
        self.directory.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.directory, r"checkpoint-\d+\.safetensors")

    @property
    def paths(self) -> list[Path]:
        """The checkpoints, oldest first."""
        found = [(re.fullmatch(r"checkpoint-(\d+)\.safetensors", p.name), p) for p in self.directory.iterdir()]
        return [p for _, p in sorted((int(match[1]), p) for match, p in found if match)]

    def save(self, step: int, more: Mapping[str, Any] | None = None) -> Path:
        """Write the checkpoint of a step, of `objects` and `more`, then delete the oldest; return its path."""
        path = self.directory / f"checkpoint-{step:09d}.safetensors"
        save_checkpoint(path, self._with(more))
        if self.keep is not None:
            for old in self.paths[: -self.keep]:
                old.unlink(missing_ok=True)
        return path

    def restore(
        self, more: Mapping[str, Any] | None = None, *, check: Callable[[Mapping[str, Any]], object] | None = None
    ) -> Checkpoint | None:
        """Load the newest checkpoint into `objects` and `more`; return what it holds, or None where there is none.

        Damaged files are passed over, with a warning, where an older one is whole, and renamed to `<name>.damaged`.
        `check` is called with the plain values before anything is loaded, and may raise.
        """
        damaged: dict[Path, CheckpointError] = {}
        for path in reversed(self.paths):
            try:
                found = _read(path)
            except CheckpointError as error:
                damaged[path] = error
                continue
            if check is not None:
                check(found.values)
            _load(path, found, self._with(more))
            for bad, reason in damaged.items():
                warnings.warn(f"{reason}\n  continuing from {path.name}", stacklevel=2)
                with suppress(OSError):
                    bad.rename(f"{bad}.damaged")
            return dataclasses.replace(found, arrays={})
        for reason in damaged.values():  # the newest one's
            raise reason
        return None

    def _with(self, more: Mapping[str, Any] | None) -> dict[str, Any]:
        both = sorted(self.objects.keys() & (more or {}).keys())
        if both:
            raise ArgumentError(f"Checkpointer: {', '.join(map(repr, both))} given twice{at()}")
        return {**self.objects, **(more or {})}


# -- objects


def _named_leaves(objects: Mapping[str, Any]) -> list[tuple[str, Any]]:
    flatten(dict(objects))  # refuses what is inside itself
    return list(_leaves(objects))


def _leaves(item: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the object of everything inside dicts, lists and tuples; a plain list is a value."""
    if isinstance(item, Mapping):
        for key, value in item.items():
            if not isinstance(key, str) or not key:
                raise ArgumentError(f"checkpoint: names must be strings, got {key!r}{at()}")
            yield from _leaves(value, f"{name}.{key}" if name else key)
    elif isinstance(item, (list, tuple)) and not _is_plain(item):
        for i, value in enumerate(item):
            yield from _leaves(value, f"{name}.{i}")
    else:
        yield name, item.item() if isinstance(item, np.generic) else item


def _is_plain(item: Any) -> bool:
    """Tell whether JSON gives `item` back, tuples as lists."""
    if isinstance(item, (list, tuple)):
        return all(map(_is_plain, item))
    return item is None or isinstance(item, (bool, int, float, str))


def _snapshot(leaves: list[tuple[str, Any]]) -> tuple[Checkpoint, dict[str, list[str]]]:
    """Return the state of all objects, arrays of shared nodes not copied, and the keys of every state dict."""
    found, keys = Checkpoint({}, {}, {}), {}
    for name, item in leaves:
        if isinstance(item, Shared):
            _add(found.arrays, name, item.state.array)
        elif isinstance(item, np.ndarray):
            _add(found.arrays, name, item)
        elif isinstance(item, HasStateDict):
            state = item.state_dict()
            keys[name] = list(state)
            for key, value in state.items():
                _add(found.arrays, f"{name}.{key}", np.asarray(value))
        elif isinstance(item, HasState):
            _add(found.states, name, _as_json(name, item))
        elif _is_plain(item):
            _add(found.values, name, item)
        else:
            kind = type(item).__name__
            raise ArgumentError(f"checkpoint: {name} is a {kind}, which has neither state_dict nor get_state{at()}")
    return found, keys


def _add(into: dict[str, Any], name: str, value: Any) -> None:
    if name in into or name == "__metadata__":
        raise ArgumentError(f"checkpoint: the name {name} is {'used twice' if name in into else 'reserved'}{at()}")
    if isinstance(value, np.ndarray) and value.dtype.name not in SHORT_NAMES:
        raise ArgumentError(f"checkpoint: {name} has dtype {value.dtype}, which cannot be saved{at()}")
    into[name] = value


def _as_json(name: str, item: HasState) -> dict[str, Any]:
    state = item.get_state()
    if not dataclasses.is_dataclass(state) or isinstance(state, type):
        raise ArgumentError(f"checkpoint: the state of {name} must be a dataclass, got {state!r}{at()}")
    fields = dataclasses.asdict(state)
    if not all(isinstance(value, (bool, int, float, str)) for value in fields.values()):
        raise ArgumentError(f"checkpoint: the state of {name} must be of numbers and strings, got {state!r}{at()}")
    return fields


def _differences(found: Checkpoint, needed: Checkpoint) -> Iterator[str]:
    """Say how arrays and states of the file differ from what is needed."""
    have, want = _types(found), _types(needed)
    for name in {**want, **have}:
        if name not in have:
            yield f"{name}: not in the file, {want[name]} needed"
        elif name not in want:
            yield f"{name}: {have[name]} in the file, not asked for"
        elif have[name] != want[name]:
            yield f"{name}: {have[name]} in the file, {want[name]} needed"


def _types(saved: Checkpoint) -> dict[str, str]:
    states = {
        name: f"state({', '.join(f'{key}: {type(value).__name__}' for key, value in state.items())})"
        for name, state in saved.states.items()
    }
    return {name: show_type(array) for name, array in saved.arrays.items()} | states


def _restore(
    path: PathLike, leaves: list[tuple[str, Any]], keys: dict[str, list[str]], found: Checkpoint, before: Checkpoint
) -> None:
    """Put what was found into objects; where one refuses it, put back what those before it had, and raise."""
    shared = [item.state for _, item in leaves if isinstance(item, Shared)]
    for state in shared:
        state.refuse_nested_use()
    arrays = [(name, item) for name, item in leaves if isinstance(item, np.ndarray)]
    for name, item in arrays:
        if not item.flags.writeable:
            raise ArgumentError(f"load_checkpoint: {name} is a read-only array{at()}")
    others = [(name, item) for name, item in leaves if name in keys or name in found.states]
    for count, (name, item) in enumerate(others, 1):
        try:
            _set(name, item, keys, found)
        except BaseException as error:
            for earlier, changed in others[:count]:
                _set(earlier, changed, keys, before)
            if isinstance(error, (GraphcError, ValueError, TypeError, OverflowError)):
                raise CheckpointError(f"{path}: the state of {name} is refused: {error}") from error
            raise
    with hold_states(shared):  # from here on nothing is refused
        for name, item in arrays:
            item[...] = found.arrays[name]
        for name, item in leaves:
            if isinstance(item, Shared):
                item.state.put(found.arrays[name])


def _set(name: str, item: HasStateDict | HasState, keys: dict[str, list[str]], saved: Checkpoint) -> None:
    if isinstance(item, HasStateDict):
        item.load_state_dict({key: saved.arrays[f"{name}.{key}"] for key in keys[name]})
    else:
        item.set_state(type(item.get_state())(**saved.states[name]))
