"""Every script in `examples/` runs as a user would run it, and prints what it promises."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import expit

import graphc as gc
from examples import character_models, hamiltonian_monte_carlo, hidden_markov, lotka_volterra

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name: str) -> str:
    # By module name, from the root of the repository: that works installed and from a checkout alike.
    command = [sys.executable, "-W", "error", "-m", f"examples.{name.removesuffix('.py')}"]
    done = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def number(pattern: str, text: str) -> float:
    """Return the last number that `pattern` (with one group) finds."""
    found = re.findall(pattern, text)
    assert found, text
    return float(found[-1])


def test_digits() -> None:
    assert number(r"accuracy ([\d.]+)%", run("digits.py")) >= 97


def test_linear_regression() -> None:
    assert number(r"largest difference: (\S+)", run("linear_regression.py")) < 1e-6


def test_logistic_regression() -> None:
    assert number(r"accuracy ([\d.]+)%", run("logistic_regression.py")) >= 95


def test_curve_fit() -> None:
    output = run("curve_fit.py")
    pairs = re.findall(r": +(-?[\d.]+) \(true (-?[\d.]+)\)", output)
    assert len(pairs) == 4
    for found, true in pairs:
        assert float(found) == pytest.approx(float(true), abs=0.05)


def test_optimizers() -> None:
    output = run("optimizers.py")
    accuracies = [float(a) for a in re.findall(r"accuracy ([\d.]+)%", output)]
    assert len(accuracies) == 6 and min(accuracies) >= 93


def test_character_models() -> None:
    output = run("character_models.py")
    assert number(r"LSTM: .*, ([\d.]+) after", output) < 1.3
    assert number(r"GRU: .*, ([\d.]+) after", output) < 1.3


def test_the_text_exists_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    assert len(character_models.read_text()) == 13_000
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert character_models.read_text().startswith("The Zen of Python")


@pytest.mark.parametrize(("cell", "parts", "states"), [(character_models.lstm, 4, 2), (character_models.gru, 3, 1)])
def test_cells_are_the_papers(cell: Any, parts: int, states: int) -> None:
    model = character_models.Model(cell, parts, states, letters=5, hidden=4)
    characters = gc.placeholder("characters", shape=("length", "batch"), dtype="int64")
    given = np.array([[0, 3], [4, 1], [2, 2]])
    found = gc.evaluate(model.scores(characters), {characters: given})
    p = {name: node.get_value().astype(float) for name, node in model.parameters.items()}

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    h = c = np.zeros((2, 4))
    for x, wanted in zip(p["input"][given] + p["bias"], found, strict=True):
        if parts == 4:
            i, o, f, g = np.split(x + h @ p["recurrent"], 4, axis=1)
            c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (xz, xr, xn), (hz, hr, hn) = np.split(x, 3, axis=1), np.split(h @ p["recurrent"], 3, axis=1)
            z = sigmoid(xz + hz)
            h = z * h + (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn)
        np.testing.assert_allclose(wanted, h @ p["output"], rtol=1e-4, atol=1e-5)


def test_lotka_volterra() -> None:
    output = run("lotka_volterra.py")
    found = re.findall(r": +([\d.]+) \+- ([\d.]+) \(true ([\d.]+)\)", output)
    assert len(found) == 6
    for value, error, true in found:
        assert abs(float(value) - float(true)) < 3 * float(error) < 0.2 * float(true)


def test_runge_kutta_follows_scipys_solution() -> None:
    parameters = gc.placeholder("parameters", shape=(6,))
    found = gc.function(parameters, lotka_volterra.trajectory(parameters))(lotka_volterra.TRUTH)
    a, b, c, d, prey, predators = lotka_volterra.TRUTH

    def change(_: float, s: Any) -> list[float]:
        return [a * s[0] - b * s[0] * s[1], c * s[0] * s[1] - d * s[1]]

    exact = solve_ivp(change, (0, 20), [prey, predators], t_eval=np.arange(1, 41) / 2, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found, exact.y.T, rtol=1e-5)


def test_hidden_markov() -> None:
    output = run("hidden_markov.py")
    assert number(r"true one in ([\d.]+)%", output) > 78
    assert number(r"fair to loaded: ([\d.]+)", output) == pytest.approx(0.05, abs=0.02)
    assert number(r"loaded to fair: ([\d.]+)", output) == pytest.approx(0.10, abs=0.04)
    assert number(r"loaded die: .* ([\d.]+)", output) == pytest.approx(0.5, abs=0.05)


def test_likelihood_and_posterior_are_sums_over_all_paths() -> None:
    rng = np.random.default_rng(0)
    rolls = rng.integers(0, 6, 7)
    model = hidden_markov.Model()
    model.switch.set_value(rng.normal(size=(2, 2)))
    model.dice.set_value(rng.normal(size=(2, 6)))
    switch, dice = model.probabilities()
    np.testing.assert_allclose(switch.sum(axis=1), 1)
    joint = {}
    for path in itertools.product((0, 1), repeat=len(rolls)):
        p = 0.5 * dice[path[0], rolls[0]]
        for before, state, face in zip(path, path[1:], rolls[1:], strict=False):
            p *= switch[before, state] * dice[state, face]
        joint[path] = p
    evidence = sum(joint.values())
    likelihood, posterior = gc.function(model.rolls, model.log_likelihood)(rolls), model.posterior()(rolls)
    assert likelihood == pytest.approx(math.log(evidence), rel=1e-12)
    for t, k in itertools.product(range(len(rolls)), (0, 1)):
        wanted = sum(p for path, p in joint.items() if path[t] == k) / evidence
        assert posterior[t, k] == pytest.approx(wanted, rel=1e-10)


def test_newton() -> None:
    output = run("newton.py")
    assert number(r"relative error: (\S+)", output) < 1e-15
    assert len(re.findall(r"Kepler", output)) == 3
    for residual, error in re.findall(r"residual (\S+), derivative errors (\S+)", output):
        assert float(residual) < 5e-15 and float(error) < 1e-13


def test_hamiltonian_monte_carlo() -> None:
    output = run("hamiltonian_monte_carlo.py")
    assert 85 < number(r"acceptance rate ([\d.]+)%", output) <= 100
    assert number(r"probability: ([\d.]+)%", output) > 97


def test_draws_are_from_the_posterior() -> None:
    """The draws fit Laplace's approximation as far as it goes, and the identities that hold for the exact posterior."""
    weights, acceptance = hamiltonian_monte_carlo.run()
    assert 0.85 < acceptance < 1
    features, labels, _ = hamiltonian_monte_carlo.load()
    mode, deviation = laplace(features, labels)
    np.testing.assert_array_less(np.abs(weights.mean(axis=0) - mode), 0.6 * deviation)
    # Laplace's deviations are not the posterior's, and 4,000 draws err by 1% each: they are 5% below to 6% above.
    np.testing.assert_allclose(weights.std(axis=0), deviation, rtol=0.1)
    # By partial integration E[slope_i] = 0 and E[w_i slope_i] = -1 for the slope of the log-density.
    slopes = (labels - expit(weights @ features.T)) @ features - weights
    for statistic, expected in ((slopes, 0), (weights * slopes, -1)):
        blocks = statistic.reshape(40, -1, weights.shape[1]).mean(axis=1)  # long against the autocorrelation
        error = blocks.std(axis=0, ddof=1) / math.sqrt(len(blocks))
        np.testing.assert_array_less(np.abs(blocks.mean(axis=0) - expected), 5 * error)


def laplace(features: Any, labels: Any) -> tuple[Any, Any]:
    """Return the mode of the posterior and the standard deviations of its curvature, by Newton's method in NumPy."""
    w = np.zeros(features.shape[1])
    for _ in range(25):
        p = expit(features @ w)
        precision = features.T @ (features * (p * (1 - p))[:, None]) + np.eye(len(w))
        w = w + np.linalg.solve(precision, features.T @ (labels - p) - w)
    return w, np.sqrt(np.diag(np.linalg.inv(precision)))


def test_the_mode_is_newtons() -> None:
    features, labels, _ = hamiltonian_monte_carlo.load()
    for found, wanted in zip(hamiltonian_monte_carlo.mode(), laplace(features, labels), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_every_example_is_tested() -> None:
    tested = set(re.findall(r'run\("(\w+\.py)"\)', Path(__file__).read_text(encoding="utf-8")))
    assert tested == {path.name for path in EXAMPLES.glob("*.py")}
