"""Learn to write like Python's licence: an LSTM and a GRU that predict the next character.

Each cell is a few lines, a scan runs it over the text, Adam trains it in one compiled function. The program that writes
is a scan as well: its carry is the state and the last character, and the noise that chooses is drawn before the loop.
The text comes with every Python: the licence, or, where a distribution keeps it elsewhere, the language's help texts.
"""

import codecs
import contextlib
import io
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import graphc as gc

Parameters = dict[str, gc.Shared]
State = tuple[gc.Node, ...]
Cell = Callable[[Parameters, State, gc.Node], State]
Chars = npt.NDArray[np.int64]


# -- the text


def read_text(size: int = 13_000) -> str:
    """Return the licence that comes with Python, or the help texts, or the Zen: the first that exists."""
    folders = [sysconfig.get_path("stdlib"), sys.base_prefix, f"{sys.base_prefix}/share/doc/python3"]
    for path in (Path(folder) / name for folder in folders for name in ("LICENSE.txt", "LICENSE", "copyright")):
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="ignore")[:size]
    return help_texts()[:size]


def help_texts() -> str:
    """Return what `help()` says about the language, or the Zen, which no installation can be without."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return zen()
    return "\n".join(topics.values()).encode("ascii", "ignore").decode()


def zen() -> str:
    """Return the Zen of Python, which prints itself when it is imported."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    return codecs.decode(this.s, "rot13")


# -- the cells


def lstm(p: Parameters, state: State, x: gc.Node) -> State:
    """Return (hidden, memory) after one step. `x` is the input's projection. Hochreiter & Schmidhuber 1997."""
    hidden, memory = state
    gates = x + hidden @ p["recurrent"]
    n = hidden.shape[1]
    enter, leave = gc.sigmoid(gates[:, :n]), gc.sigmoid(gates[:, n : 2 * n])
    forget = gc.sigmoid(gates[:, 2 * n : 3 * n] + 1)  # remembers from the start
    memory = forget * memory + enter * gc.tanh(gates[:, 3 * n :])
    return leave * gc.tanh(memory), memory


def gru(p: Parameters, state: State, x: gc.Node) -> State:
    """Return (hidden,) after one step. `x` is the input's projection. Cho et al. 2014."""
    (hidden,) = state
    n = hidden.shape[1]
    recurrent = hidden @ p["recurrent"]
    update = gc.sigmoid(x[:, :n] + recurrent[:, :n])
    reset = gc.sigmoid(x[:, n : 2 * n] + recurrent[:, n : 2 * n])
    candidate = gc.tanh(x[:, 2 * n :] + reset * recurrent[:, 2 * n :])
    return (update * hidden + (1 - update) * candidate,)


# -- the model


class Model:
    """A recurrent layer between characters and scores of the next character, in float32.

    `parts` is the number of the cell's gates and candidates together, `states` that of its arrays of state.
    """

    def __init__(self, cell: Cell, parts: int, states: int, letters: int, hidden: int = 64, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        sizes = {  # shape and standard deviation
            "input": ((letters, parts * hidden), 0.5),
            "recurrent": ((hidden, parts * hidden), hidden**-0.5),
            "output": ((hidden, letters), hidden**-0.5),
        }
        self.parameters: Parameters = {
            name: gc.shared((scale * rng.standard_normal(shape)).astype("float32"), name=name)
            for name, (shape, scale) in sizes.items()
        }
        self.parameters["bias"] = gc.shared(np.zeros(parts * hidden, "float32"), name="bias")
        self.cell, self.states, self.hidden, self.letters = cell, states, hidden, letters

    def start(self, batch: object) -> State:
        """Return a state of zeros; `batch` may be a symbolic dimension."""
        return tuple(gc.zeros((batch, self.hidden), dtype="float32") for _ in range(self.states))

    def project(self, characters: gc.Node) -> gc.Node:
        """Return the cell's input: a row of the table for each character, which is a one-hot vector times a matrix."""
        return gc.take(self.parameters["input"], characters, axis=0) + self.parameters["bias"]

    def scores(self, characters: gc.Node) -> gc.Node:
        """Return scores of the next character, shape (length, batch, letters), for characters (length, batch)."""

        def step(state: State, x: gc.Node) -> tuple[State, gc.Node]:
            state = self.cell(self.parameters, state, x)
            return state, state[0]

        _, hidden = gc.scan(step, self.start(characters.shape[1]), self.project(characters))
        scores: gc.Node = hidden @ self.parameters["output"]
        return scores

    def trainer(self, learning_rate: float) -> gc.Function:
        """Return the compiled step: from characters (length + 1, batch) to the mean loss per character, in nats."""
        characters = gc.placeholder("characters", shape=("length", "batch"), dtype="int64")
        scores = self.scores(characters[:-1])
        loss = gc.nn.cross_entropy(scores.reshape((-1, self.letters)), characters[1:].reshape((-1,)))
        updates = gc.optim.Adam(learning_rate, clip_norm=1.0).updates(loss, self.parameters)
        return gc.function(characters, loss, updates=updates)

    def writer(self, length: int, temperature: float, seed: int = 0) -> gc.Function:
        """Return the compiled program from a first character to `length` more.

        The largest of scores with Gumbel noise is a sample from their softmax.
        """
        first = gc.placeholder("first", dtype="int64")
        noise = gc.random.Generator(seed).gumbel((length, self.letters), dtype="float32")

        def step(carry: tuple[State, gc.Node], g: gc.Node) -> tuple[tuple[State, gc.Node], gc.Node]:
            state, character = carry
            state = self.cell(self.parameters, state, self.project(character)[None])
            chosen = gc.argmax((state[0] @ self.parameters["output"])[0] / temperature + g)
            return (state, chosen), chosen

        _, written = gc.scan(step, (self.start(1), first), noise)
        return gc.function(first, written)


def windows(text: Chars, steps: int, length: int = 48, batch: int = 24, seed: int = 0) -> Sequence[Chars]:
    """Return random pieces of the text, each of shape (length + 1, batch)."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, len(text) - length, (steps, batch))
    return [text[s + np.arange(length + 1)[:, None]] for s in starts]


def main(steps: int = 400) -> None:
    """Train both models and print how they write."""
    text = read_text()
    alphabet = np.array(sorted(set(text)))
    characters = np.searchsorted(alphabet, list(text)).astype(np.int64)
    print(f"{len(text)} characters, {len(alphabet)} different ones, uniform guess: {np.log(len(alphabet)):.3f}")
    for name, cell, parts, states in (("LSTM", lstm, 4, 2), ("GRU", gru, 3, 1)):
        model = Model(cell, parts, states, len(alphabet))
        step = model.trainer(learning_rate=0.02)
        losses = [float(step(window)) for window in windows(characters, steps)]
        print(f"{name}: loss {losses[0]:.3f} at first, {np.mean(losses[-20:]):.3f} after {steps} steps")
        written = model.writer(300, temperature=0.7)(characters[0])
        print("".join(alphabet[written]), end="\n\n")


if __name__ == "__main__":
    main()
