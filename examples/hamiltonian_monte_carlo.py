"""Sample the posterior of a logistic regression by Hamiltonian Monte Carlo, wholly inside one compiled function.

A scan over draws, in it a loop of leapfrog steps, in it the gradient of the log-density; momenta, step sizes and the
uniforms that decide on acceptance are drawn before the loop. Method: Neal 2011, MCMC using Hamiltonian dynamics
(Handbook of Markov Chain Monte Carlo, chapter 5). Data: scikit-learn's breast cancer set, standardised, with a constant
feature; prior: independent standard normal weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer

import graphc as gc

Array = npt.NDArray[np.float64]
LogDensity = Callable[[gc.Node], gc.Node]


class Point(NamedTuple):
    """A position with its log-density and the gradient there, which the next trajectory starts with."""

    position: gc.Node
    density: gc.Node
    slope: gc.Node


def point(log_density: LogDensity, position: gc.Node) -> Point:
    """Return a position with what is known about it."""
    density, slope = gc.value_and_grad(log_density(position), position)
    return Point(position, density, slope)


def trajectory(
    log_density: LogDensity, start: Point, momentum: gc.Node, size: gc.Node, steps: int
) -> tuple[Point, gc.Node]:
    """Follow the motion for some leapfrog steps; one gradient per step."""

    def leap(_: gc.Node, carry: tuple[gc.Node, ...]) -> tuple[gc.Node, ...]:
        position, momentum, slope = carry
        halfway = momentum + size / 2 * slope
        position = position + size * halfway
        slope = gc.grad(log_density(position), position)
        return position, halfway + size / 2 * slope, slope

    position, momentum, slope = gc.fori_loop(0, steps, leap, (start.position, momentum, start.slope))
    return Point(position, log_density(position), slope), momentum


def sample(
    log_density: LogDensity, start: gc.Node, draws: int, generator: gc.random.Generator, size: float, steps: int
) -> tuple[gc.Node, gc.Node]:
    """Return positions, shape (draws, d), and whether each was newly accepted.

    Step sizes vary by a fifth, so that no trajectory comes back to where it began again and again.
    """
    momenta = generator.normal((draws, *start.shape))
    sizes = size * generator.uniform(draws, low=0.8, high=1.2)
    levels = gc.log(1 - generator.uniform(draws))

    def draw(current: Point, xs: tuple[gc.Node, ...]) -> tuple[Point, tuple[gc.Node, gc.Node]]:
        momentum, size, level = xs
        proposed, arrived = trajectory(log_density, current, momentum, size, steps)
        energy = gc.sum(momentum**2 - arrived**2) / 2
        accept = level < proposed.density - current.density + energy
        after = Point(*(gc.where(accept, new, old) for new, old in zip(proposed, current, strict=True)))
        return after, (after.position, accept)

    _, (positions, accepted) = gc.scan(draw, point(log_density, start), (momenta, sizes, levels))
    return positions, accepted


def load() -> tuple[Array, Array, list[str]]:
    """Return standardised features with a constant, labels (1 is benign), and the names of the features."""
    data = load_breast_cancer()
    features = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    return np.column_stack([np.ones(len(features)), features]), data.target.astype(float), [*data.feature_names]


def log_posterior(w: gc.Node, x: gc.Node, y: gc.Node) -> gc.Node:
    """Return the log-density of weights but for a constant."""
    score = x @ w
    return gc.sum(y * score - gc.softplus(score)) - gc.sum(w * w) / 2


def run(draws: int = 4000, warmup: int = 200, seed: int = 0) -> tuple[Array, float]:
    """Compile and run the sampler; return the draws after the warm-up and their acceptance rate."""
    features, labels, _ = load()
    x = gc.placeholder("x", shape=("n", features.shape[1]))
    y = gc.placeholder("y", shape=("n",))
    start = gc.zeros(features.shape[1])
    positions, accepted = sample(
        lambda w: log_posterior(w, x, y), start, warmup + draws, gc.random.Generator(seed), size=0.06, steps=25
    )
    rate = gc.mean(gc.astype(accepted[warmup:], "float64"))
    weights, acceptance = gc.function([x, y], [positions[warmup:], rate])(features, labels)
    return weights, float(acceptance)


def mode() -> tuple[Array, Array]:
    """Return the most probable weights and the curvature's standard deviations there: Laplace's approximation."""
    features, labels, _ = load()
    w = gc.shared(np.zeros(features.shape[1]), name="w")
    x, y = gc.constant(features), gc.constant(labels)
    loss = -log_posterior(w, x, y)
    gc.optim.LBFGS().function([], loss, w)()
    covariance = np.linalg.inv(gc.function([], gc.hessian(loss, w))())
    return w.get_value(), np.sqrt(np.diag(covariance))


def main() -> None:
    """Print the acceptance rate and the weights that are clearest."""
    weights, acceptance = run()
    mean, deviation = weights.mean(axis=0), weights.std(axis=0)
    best, spread = mode()
    names = ["constant", *load()[2]]
    print(f"{len(weights)} draws, acceptance rate {acceptance:.1%}")
    print("posterior mean and deviation of the clearest weights, and the mode with its curvature:")
    for i in np.argsort(-np.abs(mean) / deviation)[:8]:
        print(f"{names[i]:>24}: {mean[i]:7.3f} +- {deviation[i]:.3f}   {best[i]:7.3f} +- {spread[i]:.3f}")
    features, labels, _ = load()
    probability = np.mean(1 / (1 + np.exp(-features @ weights[::10].T)), axis=1)
    print(f"accuracy of the posterior's mean probability: {np.mean((probability > 0.5) == labels):.2%}")


if __name__ == "__main__":
    main()
