"""Find the rates of a predator-prey model from noisy counts: gradients through 400 Runge-Kutta steps in a `scan`.

    d prey / dt     = growth prey - predation prey predators
    d predators / dt = reproduction prey predators - death predators

The rates and the initial populations are fitted by L-BFGS in their logarithms, so they stay positive; the loss is
that of counts with relative noise. The Hessian at the minimum, second derivatives through the same scan, gives the
standard errors.
"""

import numpy as np

import graphc as gc

NAMES = ("growth", "predation", "reproduction", "death", "prey at 0", "predators at 0")
TRUTH = np.array([1.1, 0.4, 0.1, 0.4, 10.0, 5.0])
STEP, OBSERVED_EVERY, OBSERVATIONS = 0.05, 10, 40
NOISE = 0.05


def change(state: gc.Node, rates: gc.Node) -> gc.Node:
    """Return d state / dt, with the interaction prey * predators computed once."""
    prey, predators = state[0], state[1]
    meetings = prey * predators
    return gc.stack([rates[0] * prey - rates[1] * meetings, rates[2] * meetings - rates[3] * predators])


def runge_kutta(state: gc.Node, rates: gc.Node) -> gc.Node:
    """Take one step of the classical method of fourth order."""
    k1 = change(state, rates)
    k2 = change(state + STEP / 2 * k1, rates)
    k3 = change(state + STEP / 2 * k2, rates)
    k4 = change(state + STEP * k3, rates)
    return state + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def trajectory(parameters: gc.Node) -> gc.Node:
    """Return the populations at the observed times, shape (OBSERVATIONS, 2)."""

    def step(state: gc.Node, _: None) -> tuple[gc.Node, gc.Node]:
        state = runge_kutta(state, parameters[:4])
        return state, state

    _, states = gc.scan(step, parameters[4:], None, length=OBSERVED_EVERY * OBSERVATIONS)
    observed: gc.Node = states[OBSERVED_EVERY - 1 :: OBSERVED_EVERY]
    return observed


def main() -> None:
    """Make data, fit, and print what was found beside the truth."""
    parameters = gc.placeholder("parameters", shape=(6,))
    simulate = gc.function(parameters, trajectory(parameters))
    rng = np.random.default_rng(0)
    measured = simulate(TRUTH) * np.exp(NOISE * rng.standard_normal((OBSERVATIONS, 2)))

    logs = gc.shared(np.log([0.8, 0.3, 0.15, 0.6, measured[0, 0], measured[0, 1]]), name="logs")
    counts = gc.placeholder("counts", shape=(OBSERVATIONS, 2))
    residuals = (gc.log(trajectory(gc.exp(logs))) - gc.log(counts)) / NOISE
    loss = gc.sum(residuals**2) / 2
    found = gc.optim.LBFGS(max_iter=500).function(counts, loss, logs)(measured)
    print(f"{found.iterations} iterations, {found.evaluations} evaluations, chi2 {2 * found.loss:.1f} of 80 residuals")

    hessian = gc.function(counts, gc.hessian(loss, logs))(measured)
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    for name, log, error, true in zip(NAMES, logs.get_value(), errors, TRUTH, strict=True):
        print(f"{name:>14}: {np.exp(log):7.4f} +- {np.exp(log) * error:.4f} (true {true:g})")


if __name__ == "__main__":
    main()
