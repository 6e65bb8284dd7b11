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
    module = name.removesuffix(".py").replace("/", ".")
    command = [sys.executable, "-W", "error", "-m", f"examples.{module}"]
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


# The numbers of the textbook pages are tested in test_textbook_pages.py; here the scripts run.


def test_textbook_page1() -> None:
    assert "by gc.grad:                   3.29744254140025" in run("textbook/page1_functions.py")


def test_textbook_page2() -> None:
    assert "at 2:     32.0 64.0" in run("textbook/page2_graphs.py")


def test_textbook_page3() -> None:
    assert "slope: [-0.7216" in run("textbook/page3_derivatives_of_functions.py")


def test_textbook_page4() -> None:
    output = run("textbook/page4_framework.py")
    assert "\n   0.00889602\n" in output and "mary went back to the ... garden" in output


def test_every_example_is_tested() -> None:
    tested = set(re.findall(r'run\("([\w/]+\.py)"\)', Path(__file__).read_text(encoding="utf-8")))
    assert tested == {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")}
