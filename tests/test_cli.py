"""The `graphc` command, in process and as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import graphc
from graphc import cli


def test_demo_trains_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg = tmp_path / "digits.svg"
    assert cli.main(["demo", "--no-progress", "--svg", str(svg)]) == 0
    output = capsys.readouterr().out
    accuracy = re.search(r"held-out accuracy ([\d.]+)%", output)
    assert accuracy and float(accuracy[1]) >= 97
    assert "kernels compiled while training: 0, on batches of 32 and of 29" in output
    for label in (
        "nodes before passes",
        "nodes after passes",
        "distinct kernels",
        "peak arena, batch of 32",
        "compile, cold",
    ):
        assert re.search(rf"^{label} +\S+", output, re.MULTILINE), label
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_demo_takes_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--seed", "3", "--epochs", "1", "--hidden", "16", "--svg", str(tmp_path / "a.svg")]
    assert cli.main(["demo", *arguments]) == 0
    captured = capsys.readouterr()
    assert "64-16-64-10" in captured.out and "1 epochs" not in captured.out
    assert "loss=" in captured.err and "accuracy=" in captured.err


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--hidden", "-1"], ["--seed", "-2"], ["--epochs", "x"]])
def test_demo_refuses_bad_numbers(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", *arguments])
    assert stop.value.code == 2


def test_demo_names_a_path_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "no" / "such" / "folder.svg"
    assert cli.main(["demo", "--no-progress", "--svg", str(missing)]) == 1
    assert str(missing) in capsys.readouterr().err


def test_demo_without_its_extras(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "_missing", lambda *modules: ["scikit-learn"])
    assert cli.main(["demo"]) == 1
    message = capsys.readouterr().err.splitlines()
    assert message == ["graphc demo needs scikit-learn: pip install 'graphc[demo]'"]


def test_missing_names_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli._missing("sklearn", "tqdm") == ["scikit-learn", "tqdm"]


def test_bench_hands_its_options_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "--help"])
    assert stop.value.code == 0
    assert "--threads" in capsys.readouterr().out


def test_bench_without_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_checkout", lambda: tmp_path)
    assert cli.main(["bench", "call"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "graphc bench: this is an installed package; run python -m benchmarks in a clone of it"
    ]


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"graphc {graphc.__version__}"
    assert cli.main([]) == 0
    assert "demo" in capsys.readouterr().out


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "graphc.cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("graphc ")
