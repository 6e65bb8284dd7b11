"""Textbook page 4: the framework with Tensor, SGD, layers and losses ("Grokking Deep Learning"), in the static form.

The book's Tensor computes at once and remembers how it came about; here a Tensor is a shared node, a layer is a small
class whose `forward` builds graph, and one compiled function per model does forward, backward and update. To print the
book's numbers, the weights are drawn as the book draws them: every Tensor that it makes takes an id, one
`randint(0, 100000)`, from the same stream as the weights. `RandomState(0)` is that stream, `numpy.random.seed(0)`.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.random import RandomState

import graphc as gc

DATA = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
TARGET = np.array([[0], [1], [0], [1]], float)


def tensor(value: object, rng: RandomState) -> gc.Shared:
    """Return the book's `Tensor(value)`: a shared node, one id drawn."""
    rng.randint(0, 100000)
    return gc.shared(value)


# -- the framework


class Layer(Protocol):
    """What `Sequential` is made of."""

    def parameters(self) -> list[gc.Shared]:
        """Return what is trained."""

    def forward(self, x: gc.Node) -> gc.Node:
        """Build the layer's part of the graph."""


class Linear:
    """x @ weight + bias, with weights of variance 2 / inputs."""

    def __init__(self, inputs: int, outputs: int, rng: RandomState) -> None:
        self.weight = tensor(rng.randn(inputs, outputs) * np.sqrt(2.0 / inputs), rng)
        self.bias = tensor(np.zeros(outputs), rng)

    def parameters(self) -> list[gc.Shared]:
        return [self.weight, self.bias]

    def forward(self, x: gc.Node) -> gc.Node:
        return x @ self.weight + self.bias


class Embedding:
    """The rows of a table, by index: gc.take's gradient adds only to the rows that were read."""

    def __init__(self, words: int, size: int, rng: RandomState) -> None:
        self.weight = tensor((rng.rand(words, size) - 0.5) / size, rng)

    def parameters(self) -> list[gc.Shared]:
        return [self.weight]

    def forward(self, x: gc.Node) -> gc.Node:
        return gc.take(self.weight, x, axis=0)


class Tanh:
    """A layer without parameters."""

    def parameters(self) -> list[gc.Shared]:
        return []

    def forward(self, x: gc.Node) -> gc.Node:
        return gc.tanh(x)


class Sigmoid:
    """The other one."""

    def parameters(self) -> list[gc.Shared]:
        return []

    def forward(self, x: gc.Node) -> gc.Node:
        return gc.sigmoid(x)


class Sequential:
    """Layers one after the other, themselves a layer."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)

    def parameters(self) -> list[gc.Shared]:
        return [p for layer in self.layers for p in layer.parameters()]

    def forward(self, x: gc.Node) -> gc.Node:
        for layer in self.layers:
            x = layer.forward(x)
        return x


class RNNCell:
    """A recurrent cell: hidden' = tanh(from_input(x) + from_hidden(hidden)), and a projection to the output."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rng: RandomState) -> None:
        self.hidden = hidden
        self.from_input = Linear(inputs, hidden, rng)
        self.from_hidden = Linear(hidden, hidden, rng)
        self.to_output = Linear(hidden, outputs, rng)

    def parameters(self) -> list[gc.Shared]:
        return [p for layer in (self.from_input, self.from_hidden, self.to_output) for p in layer.parameters()]

    def forward(self, x: gc.Node, hidden: gc.Node) -> tuple[gc.Node, gc.Node]:
        hidden = gc.tanh(self.from_input.forward(x) + self.from_hidden.forward(hidden))
        return self.to_output.forward(hidden), hidden


class MSELoss:
    """The book's: the sum of squares, not their mean."""

    def forward(self, prediction: gc.Node, target: gc.Node) -> gc.Node:
        return gc.sum((prediction - target) ** 2)


class CrossEntropyLoss:
    """The mean over the batch of -log softmax(scores)[target]."""

    def forward(self, scores: gc.Node, target: gc.Node) -> gc.Node:
        picked = gc.take_along_axis(gc.log_softmax(scores), target[:, None], axis=1)
        return -gc.mean(picked)


class SGD:
    """Gradient descent: the updates that turn a loss into a training step."""

    def __init__(self, parameters: Sequence[gc.Shared], alpha: float) -> None:
        self.parameters = list(parameters)
        self.alpha = alpha

    def updates(self, loss: gc.Node) -> dict[gc.Shared, gc.Node]:
        grads: list[gc.Node] = gc.grad(loss, self.parameters)
        return {p: p - self.alpha * g for p, g in zip(self.parameters, grads, strict=True)}


def train(loss: gc.Node, optimizer: SGD, steps: int = 10) -> list[float]:
    """Compile forward, backward and update into one function, call it, and return the losses."""
    step = gc.function([], loss, updates=optimizer.updates(loss))
    return [float(step()) for _ in range(steps)]


# -- the five parts


def hand_written() -> list[float]:
    """Part 1: two weight matrices, no framework. The book's gradients leave out the factor 2 of the square."""
    rng = RandomState(0)
    data, target = gc.constant(DATA), gc.constant(TARGET)
    w1, w2 = gc.shared(rng.rand(2, 3)), gc.shared(rng.rand(3, 1))
    hidden = data @ w1
    difference = hidden @ w2 - target
    dw2 = hidden.T @ difference
    dw1 = data.T @ (difference @ w2.T)
    step = gc.function([], gc.sum(difference**2), updates={w1: w1 - 0.1 * dw1, w2: w2 - 0.1 * dw2})
    return [float(step()) for _ in range(10)]


def linear_layers() -> list[float]:
    """Part 2: the same net from layers, a loss and an optimiser."""
    rng = RandomState(0)
    data, target = tensor(DATA, rng), tensor(TARGET, rng)
    model = Sequential([Linear(2, 3, rng), Linear(3, 1, rng)])
    loss = MSELoss().forward(model.forward(data), target)
    return train(loss, SGD(model.parameters(), alpha=0.05))


def nonlinear_layers() -> list[float]:
    """Part 3: with Tanh and Sigmoid, alpha 1."""
    rng = RandomState(0)
    data, target = tensor(DATA, rng), tensor(TARGET, rng)
    model = Sequential([Linear(2, 3, rng), Tanh(), Linear(3, 1, rng), Sigmoid()])
    loss = MSELoss().forward(model.forward(data), target)
    return train(loss, SGD(model.parameters(), alpha=1.0))


def embedding_and_cross_entropy() -> list[float]:
    """Part 4: indices through an Embedding to classes.

    The book's gradient is the sum over the batch of four although its loss is the mean; the gradient of the mean, which
    `gc.grad` gives, is a quarter of it, so the book's alpha 0.1 is 0.4 here.
    """
    rng = RandomState(0)
    data, target = tensor([1, 2, 1, 2], rng), tensor([0, 1, 0, 1], rng)
    model = Sequential([Embedding(3, 3, rng), Tanh(), Linear(3, 4, rng)])
    loss = CrossEntropyLoss().forward(model.forward(data), target)
    return train(loss, SGD(model.parameters(), alpha=0.4))


HOMES = {"mary": "garden", "john": "kitchen", "sandra": "office", "daniel": "bathroom"}
STORIES = [
    [who, *verb.split(), "to", "the", where] for who, where in HOMES.items() for verb in ("went back", "moved in")
]
"""The text of part 5. Each person always goes to the same place, so the last word follows from the first."""

WORDS = sorted({word for story in STORIES for word in story})


class Reader:
    """Part 5: an Embedding and an RNNCell that read a sentence word by word and predict every next word."""

    def __init__(self, rng: RandomState, size: int = 16) -> None:
        self.embedding = Embedding(len(WORDS), size, rng)
        self.cell = RNNCell(size, size, len(WORDS), rng)
        self.words = gc.placeholder("words", shape=("batch", "length"), dtype="int64")

    def parameters(self) -> list[gc.Shared]:
        return self.embedding.parameters() + self.cell.parameters()

    def scores(self, remembered: int | None = None) -> gc.Node:
        """Return the scores of the words after each prefix, shape (length - 1, batch, words).

        The book's loop over the words is a scan. `remembered` cuts the way back through time where the book calls
        `hidden.detach()`: gradients flow through that many steps at most; the values are the same.
        """
        inputs = self.embedding.forward(self.words[:, :-1].T)
        batch = self.words.shape[0]
        start = gc.zeros((batch, self.cell.hidden))

        def read(carry: tuple[gc.Node, gc.Node], x: gc.Node) -> tuple[tuple[gc.Node, gc.Node], gc.Node]:
            hidden, t = carry
            if remembered is not None:
                hidden = gc.where(gc.equal(t % remembered, 0), gc.stop_gradient(hidden), hidden)
            score, hidden = self.cell.forward(x, hidden)
            return (hidden, t + 1), score

        scores: gc.Node = gc.scan(read, (start, 0), inputs)[1]
        return scores

    def loss(self, remembered: int | None = None) -> gc.Node:
        """Return the cross-entropy of the last word, which can be known only by remembering the first."""
        return CrossEntropyLoss().forward(self.scores(remembered)[-1], self.words[:, -1])


def encode(sentences: Sequence[Sequence[str]]) -> np.ndarray:
    """Return sentences of one length as indices."""
    return np.array([[WORDS.index(word) for word in sentence] for sentence in sentences])


def read_stories(steps: int = 100, alpha: float = 0.2) -> tuple[list[float], list[str]]:
    """Part 5: train on the stories; return the losses and the place predicted for each."""
    reader = Reader(RandomState(0))
    loss = reader.loss()
    step = gc.function(reader.words, loss, updates=SGD(reader.parameters(), alpha).updates(loss))
    # The book's evaluation without gradients is a function without updates: it contains nothing but the forward pass.
    predict = gc.function(reader.words, gc.argmax(reader.scores()[-1], axis=1))
    stories = encode(STORIES)
    losses = [float(step(stories)) for _ in range(steps)]
    return losses, [WORDS[i] for i in predict(stories)]


def truncated_gradients(remembered: int) -> tuple[float, float, float, float]:
    """Return the loss with and without cuts, and the norms of the gradient by the embedding with and without."""
    reader = Reader(RandomState(0))
    outputs = []
    for loss in (reader.loss(), reader.loss(remembered)):
        g: gc.Node = gc.grad(loss, reader.embedding.weight)
        outputs += [loss, gc.sqrt(gc.sum(g * g))]
    whole, norm, cut, cut_norm = gc.function(reader.words, outputs)(encode(STORIES))
    return float(whole), float(cut), float(norm), float(cut_norm)


def main() -> None:
    """Print the page's numbers."""
    print("1. hand-written, two layers:", *hand_written(), sep="\n   ")
    for title, losses in (
        ("2. Linear, Linear:", linear_layers()),
        ("3. Linear, Tanh, Linear, Sigmoid:", nonlinear_layers()),
    ):
        print(title, *(f"{v:.8f}" for v in losses), sep="\n   ")
    print("4. Embedding, Tanh, Linear, cross-entropy:", *embedding_and_cross_entropy(), sep="\n   ")
    losses, places = read_stories()
    print(f"5. RNNCell, loss of the last word: {losses[0]:.4f} at first, {losses[-1]:.4f} after {len(losses)} steps")
    for story, place in zip(STORIES, places, strict=True):
        print("  ", *story[:-1], "...", place)
    whole, cut, norm, cut_norm = truncated_gradients(2)
    print(
        f"   with stop_gradient every 2 steps: loss {cut:.6f} (without: {whole:.6f}), norm {cut_norm:.6f} ({norm:.6f})"
    )


if __name__ == "__main__":
    main()
