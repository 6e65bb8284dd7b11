"""The border: some 50 wrong values in every argument of every public function raise `GraphcError` or are accepted.

Nothing else may come out but NumPy's `MemoryError`, and every error ends with the line of the caller, which is in
this file. The calls are those of `border_calls.py`, found by introspection; flags, ints, numbers and choices must be
refused where the annotation says that a value is none.
"""

from __future__ import annotations

import decimal
import inspect
import itertools
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from tests.border_calls import METHODS, SKIPPED, Call, calls, methods

X = gc.placeholder("x", shape=(3,))
CALLS = list(calls())


class Awkward:
    """An object of no use, whose comparisons and conversions raise."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    __hash__ = object.__hash__


BAD: dict[str, Any] = {
    "None": None,
    "True": True,
    "-1": -1,
    "7": 7,
    "2**63": 2**63,
    "-2**70": -(2**70),
    "1.5": 1.5,
    "nan": float("nan"),
    "-inf": float("-inf"),
    "1j": 1j,
    "''": "",
    "text": "spam",
    "bytes": b"spam",
    "no path": "a\0b",
    "[]": [],
    "[1.5]": [1.5],
    "ragged": [[1.0], [1.0, 2.0]],
    "text list": ["a", "b"],
    "list of None": [None, None],
    "()": (),
    "(0, 0)": (0, 0),
    "pairs": ((1, 2), (3, 4), (5, 6)),
    "long tuple": (1,) * 40,
    "{}": {},
    "dict": {"a": 1.0, 3: None},
    "set": {1, 2},
    "object": object(),
    "awkward": Awkward(),
    "type": int,
    "array": np.array([1.0, 2.0]),
    "int array": np.array([0, 1]),
    "bool array": np.array([True, False, True]),
    "empty array": np.zeros((0, 3)),
    "text array": np.array("a"),
    "object array": np.array([None, 1], object),
    "complex array": np.array([1j, 2.0]),
    "half": np.ones(3, "float16"),
    "date": np.datetime64("2020-01-01"),
    "masked": np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False]),
    "int8": np.int8(1),
    "float32": np.float32(0.5),
    "NumPy bool": np.bool_(True),
    "...": ...,
    "slice": slice(None),
    "function": lambda *args: None,
    "module": np,
    "Decimal": decimal.Decimal(1),
    "range": range(3),
    "iterator": iter([1, 2]),
    "node": X,
    "int node": gc.placeholder("i", shape=(3,), dtype="int64"),
    "named node": gc.placeholder("v", shape=("n", 3)),
    "scalar node": gc.placeholder("s"),
    "dimension": gc.dim("n"),
    "identity": X == X,
    "shared": gc.shared([1.0, 2.0]),
    "list of nodes": [X, X],
    "dict of nodes": {"a": X},
    "function of graphc": gc.function([X], X),
    "generator": gc.random.Generator(0),
    "dtype": np.dtype("float32"),
}
ACCEPTED_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool, np.bool_),
    "int": (int, np.integer),
    "float": (int, float, np.number),
    "str": (str,),
}


class TooLong(Exception):
    """A call that did not come back."""


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def wrong(call: Call, parameter: str, value: Any) -> str | None:
    """Return what is wrong with what a call does with a value, if anything."""
    kind = call.parameters[parameter].kind
    if kind is inspect.Parameter.VAR_POSITIONAL:
        value = (value,)
    elif kind is inspect.Parameter.VAR_KEYWORD:
        return None
    try:
        with at_most(20):
            call(**{parameter: value})
    except gc.GraphcError as error:
        located = "[test_border.py:" in str(error) or "[border_calls.py:" in str(error)
        return None if located else f"no line of the caller: {error}"
    except MemoryError:
        return None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = "border_calls.py" in frames[-1].filename and frames[-1].name == "<lambda>"
        if own or callable(value) or parameter in ("elems", "init", "init_val"):
            return None  # raised by the user's own function, or in it
        return f"{type(error).__name__}: {error}"
    annotation = str(call.parameters[parameter].annotation).removesuffix(" | None")
    optional = value is None and str(call.parameters[parameter].annotation).endswith("None")
    expected = ACCEPTED_TYPES.get(annotation)
    misfit = expected and (not isinstance(value, expected) or (isinstance(value, bool) and annotation != "bool"))
    return f"accepted, though annotated {annotation}" if misfit and not optional else None


def sweep(every: int) -> tuple[int, list[str]]:
    """Return how many calls were made (one of `every`, spread evenly), and what went wrong."""
    cases = itertools.product([*CALLS, *methods()], BAD)
    triples = ((c, p, bad) for c, bad in cases for p in c.parameters)
    count, found = 0, []
    for number, (call, parameter, bad) in enumerate(triples):
        if number % every:
            continue
        count += 1
        problem = wrong(call, parameter, BAD[bad])
        if problem:
            found.append(f"{call.name}({parameter}=<{bad}>): {problem}")
    return count, found


@pytest.mark.parametrize("call", CALLS, ids=[c.name for c in CALLS])
def test_every_callable_has_a_call_that_works(call: Call) -> None:
    call()


def test_nothing_public_is_left_out() -> None:
    assert len(CALLS) > 450 and not SKIPPED & {c.name for c in CALLS}
    assert {name for name in METHODS} == {c.name.rpartition(".")[0] for c in CALLS if c.name.count(".") == 2} - {
        "nn.init"
    }


def test_wrong_values_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some write files
    count, found = sweep(41)
    assert count > 1500 and found == []


@pytest.mark.slow
def test_wrong_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count, found = sweep(1)
    assert count > 110_000 and found == []
