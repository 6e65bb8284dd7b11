"""Runners: what stands behind a `Function`'s call, the reference interpreter or a compiled program.

`Compiled` keeps bound programs by argument shapes: a least-recently-used table of `MAX_SHAPES`, each entry a pool
so that concurrent calls have memory of their own. Functions that share state exclude each other through the
state's lock word, which the native entry sets and reads under the GIL.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.codegen.run.debug import run_in_python
from graphc.codegen.run.program import Bound, Program
from graphc.codegen.run.tape import (
    LIST_MODE,
    NONE_MODE,
    SINGLE_MODE,
    STATUS,
    TUPLE_MODE,
    entry_works,
    fix_pointers,
    run_portably,
)
from graphc.graph.binding import as_argument, sizes_of
from graphc.graph.errors import ArgumentError, GraphcError, IndexOutOfBoundsError, LinAlgError, at, called
from graphc.graph.evaluate import run_graph
from graphc.graph.graph import Graph, collector_paused
from graphc.graph.node import Node
from graphc.graph.op import Routine
from graphc.graph.state import hold_states
from graphc.graph.types import Array, Sizes, size_value

MAX_SHAPES = 16
_portable_lock = threading.RLock()


def _renew_lock() -> None:
    """In a forked child the thread that held the lock does not exist."""
    global _portable_lock
    _portable_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def result_mode(outputs: Any) -> int | None:
    """Return how the native entry builds results of this nesting, or None where it cannot."""
    if outputs is None or isinstance(outputs, Node):
        return NONE_MODE if outputs is None else SINGLE_MODE
    modes: dict[type, int] = {list: LIST_MODE, tuple: TUPLE_MODE}
    kind = modes.get(type(outputs))
    return kind if all(isinstance(o, Node) for o in outputs) else None


def check_arguments(graph: Graph, values: Sequence[Any]) -> tuple[list[Array], Sizes]:
    """Return the arguments as arrays and the sizes that they and states give, or raise before anything has run."""
    arrays = [as_argument(node, value) for node, value in zip(graph.inputs, values, strict=True)]
    return arrays, sizes_of(graph, arrays)


class Reference:
    """Runs the reference interpreter."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def call(self, values: Sequence[Any]) -> list[Array]:
        """Return the outputs; state is written after all of them are known."""
        with hold_states(s.state for s in self.graph.shared):
            arrays, sizes = check_arguments(self.graph, values)
            computed = run_graph(self.graph, dict(zip(self.graph.inputs, arrays, strict=True)), sizes)
            first = len(computed) - len(self.graph.updates)
            for state, value in zip(self.graph.updates, computed[first:], strict=True):
                state.state.array[...] = value
        return computed[:first]


class Compiled:
    """Runs a compiled program, or its kernels as plain Python (`interpreted`)."""

    def __init__(
        self, graph: Graph, program: Program, mode: int, *, interpreted: bool = False, name: str = "function"
    ) -> None:
        self.graph = graph
        self.name = name
        self.program = program
        self.mode = mode
        self.interpreted = interpreted
        self.pools: OrderedDict[tuple[tuple[int, ...], ...], list[Bound]] = OrderedDict()
        self.last: Bound | None = None

    def call(self, values: Sequence[Any]) -> list[Array]:
        """Check the arguments, find or make a bound program for their shapes, and run it."""
        arrays, _ = check_arguments(self.graph, values)
        while True:
            moves = self._moves()
            sizes = sizes_of(self.graph, arrays)  # other threads may give states other sizes
            pool = self._pool((moves, *(a.shape for a in arrays)))
            for bound in list(pool):
                try:
                    result = self._attempt(bound, arrays, sizes, moves)
                except MemoryError:
                    pool.remove(bound)
                    raise self._no_room(sizes) from None
                if result is ...:
                    self._explain(bound, arrays, sizes)
                if result is not NotImplemented:
                    self.last = bound
                    return self._as_list(result)
            if any(s.state.lock[0] for s in self.graph.shared):
                for s in self.graph.shared:
                    s.state.refuse_nested_use()
                time.sleep(50e-6)
            else:
                bound = self._bound(arrays, sizes)
                if moves == self._moves():
                    pool.append(bound)

    def _moves(self) -> tuple[int, ...]:
        """Return how often each state that may change its size has moved; what was bound before is bound elsewhere."""
        return tuple(s.state.moves for s in self.graph.resizable)

    def fixed(self, arrays: Sequence[Array], outputs: Sequence[Array], result: object) -> Callable[[], Any]:
        """Return a callable without arguments that runs on these arrays, writes `outputs` and returns `result`."""
        moves = self._moves()
        arrays, sizes = check_arguments(self.graph, arrays)
        bound = self._bound(arrays, sizes)
        fix_pointers(bound.descriptor, arrays, outputs, result)

        def explained(*given: Any, **named: Any) -> Any:
            if given or named:
                raise ArgumentError(f"a bound call takes no arguments: its arrays are those that bind was given{at()}")
            while True:
                found = bound.attempt()
                if found is ...:
                    self._explain(bound, arrays, sizes)
                if found is not NotImplemented:
                    return found
                if moves != self._moves():
                    raise ArgumentError(f"a bound call: a state has another size than when it was bound{at()}")
                for s in self.graph.shared:
                    s.state.refuse_nested_use()
                time.sleep(50e-6)

        return bound.native(explained)

    def _bound(self, arrays: Sequence[Array], sizes: Sizes) -> Bound:
        """Return the program with memory for these sizes; `MemoryError` names the function."""
        try:
            with collector_paused():
                return self.program.bind(arrays, sizes, self.mode)
        except MemoryError as error:
            raise MemoryError(f"{self.name}: {error}{at()}") from None

    def _no_room(self, sizes: Sizes) -> MemoryError:
        """Return the error of a call whose results do not fit in memory; it names the largest."""
        sized = [(size_value(o.size, sizes) * o.dtype.itemsize, o) for o in self.program.results]
        nbytes, largest = max(sized, key=lambda pair: pair[0])
        shown = f"{largest.op.name} {largest.type}, {nbytes:,} bytes{at(largest.source)}"
        return MemoryError(f"{self.name}: no memory for the results; the largest: {shown}")

    def _pool(self, key: tuple[tuple[int, ...], ...]) -> list[Bound]:
        pool = self.pools.pop(key, [])  # another thread may have taken it: then both work, each with its own
        self.pools[key] = pool
        while len(self.pools) > MAX_SHAPES:
            self.pools.popitem(last=False)
        return pool

    @property
    def native(self) -> bool:
        """Tell whether calls go through the native entry."""
        return entry_works() and not self.interpreted

    def _attempt(self, bound: Bound, arrays: Sequence[Array], sizes: Sizes, moves: tuple[int, ...]) -> Any:
        if self.native:
            return bound.attempt(*arrays)
        shapes = [tuple(size_value(s, sizes) for s in o.shape) for o in self.program.results]
        outputs = [np.empty(s, o.dtype) for s, o in zip(shapes, self.program.results, strict=True)]
        with hold_states(s.state for s in self.graph.shared), _portable_lock:
            if moves != self._moves():
                return NotImplemented
            if self.interpreted:
                status = run_in_python(bound.descriptor, arrays, outputs)
            else:
                status = run_portably(bound.descriptor, arrays, outputs)
        bound.descriptor.words[STATUS] = status
        return ... if status else outputs

    def _as_list(self, result: Any) -> list[Array]:
        if isinstance(result, (list, tuple)):
            return list(result)
        return [] if result is None else [result]

    def _explain(self, bound: Bound, arrays: Sequence[Array], sizes: Sizes) -> None:
        """Raise the error of a failed check: the interpreter meets the same one and knows its numbers."""
        node = self.program.failing_node(bound, bound.descriptor.status)
        try:
            run_graph(self.graph, dict(zip(self.graph.inputs, arrays, strict=True)), sizes)
        except GraphcError as error:
            raise error from None
        name = called(node.source, node.op.name)
        if isinstance(node.op, Routine):
            raise LinAlgError(f"{name}: {node.op.failure}{at(node.source)}")
        raise IndexOutOfBoundsError(f"{name}: an index is out of bounds{at(node.source)}")
