"""Every script in `examples/` runs as a user would run it, and prints what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_every_example_is_tested() -> None:
    tested = set(re.findall(r'run\("(\w+\.py)"\)', Path(__file__).read_text(encoding="utf-8")))
    assert tested == {path.name for path in EXAMPLES.glob("*.py")}
