"""Sizes that no machine holds: one error before any frame, list or node is made for them, in every mode.

The net puts sizes, known and in pairs, into every parameter of every public function, in a process of its own with
little address space, and evaluates what comes out.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from tests.border_calls import calls

SIZES = (0, 1, 2, 2**31, 2**62, 2**63 - 1, 2**64)
BYTES = 4 << 30
SECONDS = 30
IMAGE = np.ones((1, 1, 4, 4))
X = gc.placeholder("x", shape=(0, "n"))

KNOWN: dict[str, Callable[[], Any]] = {
    "eye": lambda: gc.eye(2**32),
    "zeros": lambda: gc.zeros(2**62),
    "zeros of pairs": lambda: gc.zeros((2**31, 2**31)),
    "zeros that are empty": lambda: gc.zeros((0, 2**62)),
    "arange": lambda: gc.arange(2**62),
    "a dimension": lambda: gc.placeholder("p", shape=(2**64,)),
    "a placeholder": lambda: gc.placeholder("p", shape=(2**40, 2**40)),
    "linspace": lambda: gc.linspace(0, 1, 2**61),
    "broadcast_to": lambda: gc.broadcast_to(gc.constant(1.0), (2**60,)),
    "scan": lambda: gc.scan(lambda c, _: (c + 1, None), 0.0, None, length=2**62),
    "fori_loop": lambda: gc.fori_loop(0, 2**62, lambda i, c: c, 0.0),
    "while_loop": lambda: gc.while_loop(lambda c: c < 3, lambda c: c + 1, 0, max_steps=2**62),
    "diff": lambda: gc.diff(np.ones(3), n=2**63),
    "adaptive_avg_pool2d": lambda: nn.adaptive_avg_pool2d(IMAGE, 2**63),
    "repeat": lambda: gc.repeat(np.ones(3), 2**62),
    "tile": lambda: gc.tile(np.ones(3), (2**62,)),
    "pad": lambda: gc.pad(np.ones(3), 2**62),
    "a stride": lambda: nn.avg_pool2d(IMAGE, 2, stride=2**62),
    "a padding": lambda: nn.conv2d(IMAGE, np.ones((1, 1, 2, 2)), padding=2**62),
    "one_hot": lambda: gc.one_hot(np.arange(3), 2**62),
    "outer": lambda: gc.outer(gc.arange(2**32), gc.arange(2**32)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_sizes_known_now_are_refused_when_the_node_is_built(name: str) -> None:
    with pytest.raises(gc.GraphcError, match=r"\[test_sizes.py:\d+\]"):
        KNOWN[name]()


n = gc.dim("n")
NAMED: dict[str, Callable[[], Any]] = {
    "eye": lambda: gc.eye(n),
    "a sum of many": lambda: gc.sum(gc.zeros((n, n)) * gc.arange(n, dtype="float64")),
    "a result": lambda: gc.zeros((8, n)),
    "inside a loop": lambda: gc.scan(lambda c, _: (c + gc.sum(gc.arange(n * n)), None), 0, None, length=2)[0],
    "what a loop stacks": lambda: gc.scan(lambda c, _: (c, gc.zeros(n)), 0, None, length=n)[1],
    "inside a branch": lambda: gc.cond(gc.sum(X) > 0, lambda: gc.sum(gc.arange(n * 9)), lambda: gc.constant(0)),
}
MODES: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "compiled": lambda y: gc.function([X], y, on_unused="ignore"),
    "reference": lambda y: gc.function([X], y, mode="reference", on_unused="ignore"),
    "debug": lambda y: gc.function([X], y, mode="debug", on_unused="ignore"),
    "eval": lambda y: lambda x: gc.evaluate(y, {X: x}),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMED)
def test_sizes_of_a_call_are_refused_before_it_runs(name: str, mode: str) -> None:
    f = MODES[mode](NAMED[name]())
    with pytest.raises(gc.ShapeError, match=r"n=\d+ than any machine can hold  \[test_sizes.py:\d+\]"):
        f(np.zeros((0, 2**58)))
    f(np.zeros((0, 3)))


STACKED: dict[str, Callable[[gc.Node], gc.Node]] = {
    "stacked": lambda y: gc.scan(lambda c, _: (c + 1, c), y, None, length=2**50)[1],
    "summed": lambda y: gc.sum(gc.scan(lambda c, _: (c + 1, c), y, None, length=2**50)[1]),
    "mapped": lambda y: gc.map(lambda i: i * y, gc.arange(2**50)),
    "kept for the gradient": lambda y: gc.grad(gc.fori_loop(0, 2**50, lambda i, c: gc.sin(c), y), y),
}


@pytest.mark.parametrize("mode", ["compiled", "debug"])
@pytest.mark.parametrize("name", STACKED)
def test_what_many_steps_give_is_refused_before_the_first(name: str, mode: Any) -> None:
    """The loop itself may have so many steps; to plan it takes no list that grows with them."""
    y = gc.placeholder("y")
    with pytest.raises(MemoryError, match=r"no memory for|are needed for"):
        gc.function([y], STACKED[name](y), mode=mode)(1.0)


@pytest.mark.parametrize("mode", MODES)
def test_no_memory_is_one_error_in_every_mode(mode: str) -> None:
    """A size that an address counts and no machine has; what has room runs after it."""
    f = MODES[mode](gc.cumulative_sum(gc.zeros(n)) + 1)
    for _ in range(2):
        with pytest.raises(MemoryError, match=r"\[test_sizes.py:\d+\]"):
            f(np.zeros((0, 2**50)))
    assert f(np.zeros((0, 3))).tolist() == [1, 1, 1]


# -- the net, in a process of its own


class TooLong(BaseException):
    """A call that did not come back."""


def nodes_of(value: Any) -> Iterator[gc.Node]:
    if isinstance(value, gc.Node):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from nodes_of(item)


def problem(call: Any, parameter: str, value: Any) -> str | None:
    """Return what is wrong with what a call does with a size."""
    signal.alarm(SECONDS)
    try:
        for node in nodes_of(call(**{parameter: value})):
            if not gc.Graph([node]).inputs:
                node.eval()
    except gc.GraphcError:
        return None
    except MemoryError as error:
        return None if str(error).endswith("]") else f"not our MemoryError: {error!r}"
    except TooLong:
        return "does not come back"
    except Exception as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        own = frame is not None and "border_calls" in frame.tb_frame.f_code.co_filename
        return None if own else f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return None


def sweep(every: int) -> None:
    """Print how many calls were made and what went wrong."""

    def stop(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    cases = [
        (call, name, value)
        for call in calls()
        for name, parameter in call.parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and call.name != "nn.summary"
        for size in SIZES
        for value in (size, (size,), (size, size))
    ]
    for call, name, value in cases[::every]:
        if found := problem(call, name, value):
            print(f"{call.name}({name}={value}): {found}")
    print(len(cases[::every]), "calls")


def swept(every: int) -> list[str]:
    code = f"from tests.test_sizes import sweep; sweep({every})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_no_size_breaks_a_function_sample() -> None:
    *found, count = swept(67)
    assert found == [] and int(count.split()[0]) > 300


@pytest.mark.slow
def test_no_size_breaks_a_function() -> None:
    *found, count = swept(1)
    assert found == [] and int(count.split()[0]) > 25_000
