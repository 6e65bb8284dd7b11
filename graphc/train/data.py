"""`gc.data`: minibatches of arrays for a training loop, and the split into training and test rows.

`batches` is iterated once per epoch. Unshuffled batches are views of the arrays; shuffled ones are fresh copies, small
ones gathered several at once. The order of an epoch depends on the seed and the number of the epoch alone, so the state
is two numbers: (epoch, position) continues a run in the middle of an epoch with the very same batches.
"""

from __future__ import annotations

import math
import operator
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.tree import refuse_endless
from graphc.graph.types import Array, is_masked

__all__ = ["Batches", "BatchesState", "batches", "split"]

CHUNK_BYTES = 1 << 18
_Build = Callable[[list[Array]], Any]


@dataclass(frozen=True)
class BatchesState:
    """The epoch, from 0, how many batches of it were delivered, and what its batches are."""

    epoch: int
    position: int
    order: str = field(default="", compare=False)


@checked
def batches(
    arrays: Any, batch_size: int, *, shuffle: bool = False, seed: int = 0, drop_last: bool = False, prefetch: int = 0
) -> Batches:
    """Return an iterable over minibatches, rows along the first axis; every iteration is one epoch.

    Parameters
    ----------
    arrays
        An array, or a tuple or dict of arrays of the same length; batches come in the same structure.
    batch_size
        Rows in a batch; the last batch of an epoch has what is left, or is dropped with `drop_last`.
    shuffle
        Whether every epoch has an order of its own, which follows from `seed` and the epoch. Without it batches
        are views, so writing to them writes to `arrays`.
    prefetch
        How many batches a thread copies ahead, for arrays whose rows are slow to read, such as memory maps.

    Raises `ArgumentError` and `ShapeError` for what cannot be cut into batches.

    >>> import numpy as np
    >>> [x.tolist() for x in batches(np.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    leaves, build = _structure("batches", arrays)
    size = _whole("batches", "batch_size", batch_size, 1)
    rows = _common_length("batches", leaves)
    if rows == 0 or (drop_last and rows < size):
        raise ShapeError(f"batches: {rows} rows give no batch of {size}{at()}")
    seed, ahead = _whole("batches", "seed", seed, 0), _whole("batches", "prefetch", prefetch, 0)
    return Batches(leaves, build, rows, size, seed if shuffle else None, drop_last, ahead)


class Batches:
    """Minibatches of arrays; made by `batches`. `len` is the number of batches in an epoch.

    Iterating gives the current epoch, from its beginning, or after `set_state` from the position set. An epoch
    iterated to its end makes the next one the current one.
    """

    def __init__(
        self, leaves: list[Array], build: _Build, rows: int, size: int, seed: int | None, drop_last: bool, prefetch: int
    ) -> None:
        self.rows = rows
        self.batch_size = size
        self._leaves = leaves
        self._build = build
        self._seed = seed
        self._length = rows // size if drop_last else -(-rows // size)
        self._prefetch = prefetch
        self._epoch = 0
        self._position = 0
        self._start = 0

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        order = "in order" if self._seed is None else f"shuffled by seed {self._seed}"
        return f"<Batches: {len(self)} of {self.batch_size} from {self.rows} rows, {order}>"

    # -- state

    @property
    def _what(self) -> str:
        """What a position inside an epoch is a position in."""
        order = "in order" if self._seed is None else f"shuffled by seed {self._seed}"
        return f"{self.rows} rows by {self.batch_size}, {order}"

    def get_state(self) -> BatchesState:
        """Return the epoch and the position in it: that of the iteration that went on last."""
        return BatchesState(self._epoch, self._position, self._what)

    def set_state(self, state: BatchesState) -> None:
        """Let the next iteration begin at `state`, as `get_state` returned it.

        Raises `ArgumentError` for a position inside an epoch of other batches: of another size, order, or number of
        rows. At the beginning of an epoch these may change.
        """
        if not isinstance(state, BatchesState):
            raise ArgumentError(f"set_state: a BatchesState is needed, got {state!r}{at()}")
        if state.position and state.order and state.order != self._what:
            raise ArgumentError(
                f"set_state: the state is inside an epoch of {state.order}; these are {self._what}, of which other rows"
                f" would be left{at()}"
            )
        if not _is_count(state.epoch) or not _is_count(state.position) or state.position > len(self):
            raise ArgumentError(f"set_state: {state} does not fit {len(self)} batches an epoch{at()}")
        self._epoch, self._position = state.epoch, state.position
        self._start = state.position

    # -- iteration

    def __iter__(self) -> Iterator[Any]:
        epoch, start = self._epoch, self._start
        self._position, self._start = start, 0
        return self._deliver(epoch, start)

    def _deliver(self, epoch: int, start: int) -> Iterator[Any]:
        """Cut batches from chunks; count what is delivered, whatever was made ahead, before the consumer's turn."""
        size, build, position = self.batch_size, self._build, start
        gather, chunk = self._gatherer(epoch)
        firsts = range(start * size, min(self.rows, self._length * size), chunk)
        for parts in _ahead(gather, firsts, self._prefetch) if self._prefetch else map(gather, firsts):
            for i in range(0, len(parts[0]), size):
                batch = build([x[i : i + size] for x in parts])
                position += 1
                self._epoch, self._position = epoch, position
                yield batch
        self._epoch, self._position = epoch + 1, 0

    def _gatherer(self, epoch: int) -> tuple[Callable[[int], list[Array]], int]:
        """Return the function from a first row to a chunk of each array, and the rows of a chunk: whole batches."""
        leaves, end = self._leaves, self._length * self.batch_size
        if self._seed is not None:
            order = _generator(self._seed, epoch).permutation(self.rows)[:end]
            chunk = self.batch_size * (1 if self._prefetch else self._batches_in_chunk())
            return lambda i: [_rows_of(x, order[i : i + chunk]) for x in leaves], chunk
        if self._prefetch:  # a view of a memory map would leave the reading to the consumer
            chunk = self.batch_size
            return lambda i: [np.array(x[i : min(i + chunk, end)]) for x in leaves], chunk
        return lambda i: [x[i:end] for x in leaves], self.rows

    def _batches_in_chunk(self) -> int:
        """Return how many batches to gather at once: small ones cost mostly the call, and should stay in the cache."""
        row_bytes = sum(x.nbytes for x in self._leaves) // self.rows
        return max(1, CHUNK_BYTES // max(1, row_bytes * self.batch_size))


@checked
def split(
    arrays: Any, test_size: float | int, *, seed: int = 0, shuffle: bool = True, stratify: Any = None
) -> tuple[Any, Any]:
    """Split rows into a training and a test part, each in the structure of `arrays`.

    Parameters
    ----------
    arrays
        An array, or a tuple or dict of arrays of the same length.
    test_size
        The share of the rows for the test, a float inside (0, 1), or their number.
    shuffle
        Whether rows are drawn at random by `seed`; else the test part is the last rows, and both parts are views.
    stratify
        Labels, one per row: both parts then have the same share of every label, up to rounding.

    >>> import numpy as np
    >>> train, test = split((np.zeros((10, 3)), np.arange(10)), 0.2, seed=1)
    >>> train[0].shape, test[1].shape
    ((8, 3), (2,))
    """
    leaves, build = _structure("split", arrays)
    rows = _common_length("split", leaves)
    count = _test_rows(rows, test_size)
    if not shuffle:
        if stratify is not None:
            raise ArgumentError(f"split: stratify needs shuffle=True{at()}")
        return build([x[: rows - count] for x in leaves]), build([x[rows - count :] for x in leaves])
    rng = _generator(_whole("split", "seed", seed, 0))
    chosen = rng.permutation(rows)[:count] if stratify is None else _stratified(stratify, rows, count, rng)
    kept = np.ones(rows, bool)
    kept[chosen] = False
    train = rng.permutation(np.flatnonzero(kept))
    return build([_rows_of(x, train) for x in leaves]), build([_rows_of(x, chosen) for x in leaves])


def _test_rows(rows: int, test_size: float | int) -> int:
    if isinstance(test_size, float):
        count = math.ceil(rows * test_size) if 0 < test_size < 1 else 0
    else:
        count = _whole("split", "test_size", test_size, 1)
    if not 0 < count < rows:
        raise ArgumentError(f"split: test_size {test_size!r} of {rows} rows leaves a part empty{at()}")
    return count


def _stratified(labels: Any, rows: int, count: int, rng: np.random.Generator) -> Array:
    """Return `count` rows, of every label its share, rounded by largest remainders."""
    try:
        found = np.asarray(labels)
    except ValueError as error:
        raise ArgumentError(f"split: stratify: {type(labels).__name__} cannot become an array: {error}{at()}") from None
    if found.shape != (rows,):
        raise ShapeError(f"split: stratify needs {rows} labels, got an array of shape {found.shape}{at()}")
    _, label, sizes = np.unique(found, return_inverse=True, return_counts=True)
    exact = sizes * (count / rows)
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: count - quota.sum()]] += 1
    shuffled = rng.permutation(rows)
    grouped = shuffled[np.argsort(label[shuffled], kind="stable")]
    firsts = np.cumsum(sizes) - sizes
    return rng.permutation(np.concatenate([grouped[f : f + q] for f, q in zip(firsts, quota, strict=True)]))


def _rows_of(x: Array, chosen: Array) -> Array:
    """Return rows of an array in C order.

    `take` is the faster one, but first copies the whole of an array that is not contiguous, aligned and native.
    """
    if x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative:
        return x.take(chosen, 0)
    return np.ascontiguousarray(x[chosen])


def _generator(seed: int, epoch: int = 0) -> np.random.Generator:
    """Return the generator of an epoch; seeds above 32 bits take words of their own, behind the epoch's."""
    return np.random.Generator(np.random.PCG64([seed & 0xFFFFFFFF, epoch, seed >> 32]))


# -- arguments


def _structure(name: str, arrays: Any) -> tuple[list[Array], _Build]:
    """Return the arrays and the function that puts theirs into the same structure."""
    if isinstance(arrays, dict):
        keys = list(arrays)
        leaves = [_as_array(name, x) for x in arrays.values()]
        build: _Build = lambda found: dict(zip(keys, found, strict=True))  # noqa: E731
    elif isinstance(arrays, tuple):
        leaves, build = [_as_array(name, x) for x in arrays], tuple
    elif isinstance(arrays, list):
        raise ArgumentError(f"{name}: a list is ambiguous; give an array, or a tuple or dict of arrays{at()}")
    else:
        leaves, build = [_as_array(name, arrays)], operator.itemgetter(0)
    if not leaves or any(x.ndim == 0 for x in leaves):
        raise ShapeError(f"{name}: arrays with rows are needed, got shapes {[x.shape for x in leaves]}{at()}")
    return leaves, build


def _as_array(name: str, value: Any) -> Array:
    """Return a plain array; memory maps stay maps, without their class's cost on every slice."""
    if is_masked(value):
        raise ArgumentError(f"{name}: masked arrays are not accepted; use value.filled(...){at()}")
    refuse_endless(name, value)
    return np.asarray(value)


def _common_length(name: str, leaves: list[Array]) -> int:
    lengths = [len(x) for x in leaves]
    if len(set(lengths)) != 1:
        raise ShapeError(f"{name}: arrays have different numbers of rows: {lengths}{at()}")
    return lengths[0]


def _whole(name: str, what: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{name}: {what} must be an int of at least {least}, got {value!r}{at()}")
    return int(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


# -- the thread that works ahead


def _ahead(make: Callable[[int], Any], numbers: range, count: int) -> Iterator[Any]:
    """Yield `make(i)` for every number, made by a thread that is at most `count` ahead and ends with us."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1, "graphc-prefetch")
    try:
        waiting = deque(pool.submit(make, i) for i in numbers[:count])
        for i in numbers[count:]:
            found = waiting.popleft().result()
            waiting.append(pool.submit(make, i))
            yield found
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
