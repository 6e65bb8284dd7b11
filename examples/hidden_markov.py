"""Find the loaded die: a hidden Markov model whose likelihood is a `scan`, fitted by its gradient.

A dealer switches between a fair die and a loaded one (Durbin et al. 1998, Biological sequence analysis, section 3.2);
only the rolls are seen. The forward algorithm sums over all paths of hidden states, in logarithms, one step of the scan
per roll. Its gradient does the rest: the derivative of the log-likelihood by the log-probability of roll t in state k
is the posterior probability of state k at time t, what the textbooks compute by the backward algorithm.
"""

import numpy as np
import numpy.typing as npt

import graphc as gc

Array = npt.NDArray[np.float64]
SWITCH = np.array([[0.95, 0.05], [0.10, 0.90]])  # from the fair die, from the loaded one
DICE = np.array([[1 / 6] * 6, [0.1, 0.1, 0.1, 0.1, 0.1, 0.5]])


def log_likelihood(start: gc.Node, switch: gc.Node, emitted: gc.Node) -> gc.Node:
    """Return log p(rolls) of logarithms: `start` (K,), `switch` (K, K) from row to column, `emitted` (T, K)."""

    def step(alpha: gc.Node, emission: gc.Node) -> tuple[gc.Node, None]:
        return gc.logsumexp(alpha[:, None] + switch, axis=0) + emission, None

    last, _ = gc.scan(step, start + emitted[0], emitted[1:])
    return gc.logsumexp(last)


def roll(count: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the hidden states and the rolls (0 to 5) of one evening."""
    rng = np.random.default_rng(seed)
    states = np.zeros(count, np.int64)
    for t in range(1, count):
        states[t] = rng.choice(2, p=SWITCH[states[t - 1]])
    return states, np.array([rng.choice(6, p=DICE[k]) for k in states])


class Model:
    """The parameters as logits, so that every value of them is a model, and the likelihood built on them."""

    def __init__(self) -> None:
        # Near "dice are kept for a while, and the second prefers sixes": which is which is only a convention.
        self.switch = gc.shared(np.log([[0.8, 0.2], [0.2, 0.8]]), name="switch")
        self.dice = gc.shared(np.log([[1 / 6] * 6, [0.15, 0.15, 0.15, 0.15, 0.15, 0.25]]), name="dice")
        self.rolls = gc.placeholder("rolls", shape=("t",), dtype="int64")
        self.emitted = gc.take(gc.log_softmax(self.dice), self.rolls, axis=1).T
        start = gc.constant(np.log([0.5, 0.5]))
        self.log_likelihood = log_likelihood(start, gc.log_softmax(self.switch), self.emitted)

    @property
    def parameters(self) -> list[gc.Shared]:
        return [self.switch, self.dice]

    def fit(self, rolls: npt.NDArray[np.int64], steps: int = 300) -> list[float]:
        """Maximise the likelihood per roll by Adam; return it after each step."""
        loss = -self.log_likelihood / self.rolls.shape[0]
        step = gc.function(self.rolls, loss, updates=gc.optim.Adam(0.02).updates(loss, self.parameters))
        return [-float(step(rolls)) for _ in range(steps)]

    def posterior(self) -> gc.Function:
        """Return the function from rolls to p(state k at t | all rolls), shape (T, K): a gradient."""
        return gc.function(self.rolls, gc.grad(self.log_likelihood, self.emitted))

    def probabilities(self) -> tuple[Array, Array]:
        """Return the matrix of switches and the dice."""
        outputs = [gc.softmax(self.switch), gc.softmax(self.dice)]
        switch, dice = gc.evaluate(outputs, {})
        return switch, dice


def main() -> None:
    """Fit, and print the model and how often the most probable die is the true one."""
    states, rolls = roll(3000, seed=0)
    model = Model()
    history = model.fit(rolls)
    print(f"log-likelihood per roll: {history[0]:.5f} before, {history[-1]:.5f} after {len(history)} steps")
    switch, dice = model.probabilities()
    print(f"fair to loaded: {switch[0, 1]:.3f} (true {SWITCH[0, 1]})")
    print(f"loaded to fair: {switch[1, 0]:.3f} (true {SWITCH[1, 0]})")
    for name, found, true in zip(("fair", "loaded"), dice, DICE, strict=True):
        print(f"{name:>6} die:", *(f"{p:.3f}" for p in found))
        print("      true:", *(f"{p:.3f}" for p in true))
    posterior = model.posterior()(rolls)
    print(f"posteriors add up to 1 within {np.abs(posterior.sum(axis=1) - 1).max():.1e}")
    print(f"most probable die is the true one in {np.mean(posterior.argmax(axis=1) == states):.1%} of the rolls")


if __name__ == "__main__":
    main()
