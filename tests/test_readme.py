"""README.md is true: its Python blocks run, and the blocks marked as output are what they print.

All `python` blocks run in order in one namespace. A line `<!-- output -->` before a `text` block says that the block
is what the Python block above it prints. Blocks run in an empty directory, where they may write files.
`python -m tests.test_readme --write` writes the outputs anew.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import graphc as gc
from graphc import cli

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DRAWING = ROOT / "docs" / "step.svg"
CODE = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n<!-- output -->\n```text\n(?P<output>.*?)^```\n)?", re.M | re.S)


def regenerate(text: str) -> tuple[str, dict[str, Any]]:
    """Run every Python block of `text`; return it with fresh outputs, and the names it defined."""
    namespace: dict[str, Any] = {"__name__": "readme"}
    fresh = ""
    end = 0
    with empty_directory():
        for match in CODE.finditer(text):
            fresh += text[end : match.start("code")]
            printed = execute(match["code"], fresh.count("\n"), namespace)
            end = match.end() if match["output"] is None else match.end("output")
            fresh += text[match.start("code") : end]
            if match["output"] is not None:
                fresh = fresh.removesuffix(match["output"]) + printed
    return fresh + text[end:], namespace


@contextlib.contextmanager
def empty_directory() -> Iterator[None]:
    """Work in a new directory, from which other processes find this graphc."""
    before = os.environ.get("PYTHONPATH")
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        os.environ["PYTHONPATH"] = str(ROOT)
        try:
            yield
        finally:
            del os.environ["PYTHONPATH"]
            if before is not None:
                os.environ["PYTHONPATH"] = before


def execute(code: str, line: int, namespace: dict[str, Any]) -> str:
    """Run a block as if it stood on its line of README.md; return what it prints."""
    printed = io.StringIO()
    program = compile("\n" * line + code, "README.md", "exec")
    with contextlib.redirect_stdout(printed):
        exec(program, namespace)
    return "\n".join(row.rstrip() for row in printed.getvalue().splitlines()) + "\n"


def test_readme_is_what_its_code_prints() -> None:
    text = README.read_text(encoding="utf-8")
    fresh, namespace = regenerate(text)
    difference = difflib.unified_diff(text.splitlines(), fresh.splitlines(), "README.md", "now", lineterm="", n=1)
    assert text == fresh, "run `python -m tests.test_readme --write`:\n" + "\n".join(difference)
    assert DRAWING.read_text(encoding="utf-8") == namespace["step"].to_svg()


def test_every_stage_is_shown() -> None:
    text = README.read_text(encoding="utf-8")
    stages = re.findall(r"^### \d\. (\w+)", text, re.M)
    assert stages == ["Build", "Grad", "Rewrite", "Schedule", "Plan", "Source", "Call"]
    assert len(re.findall(r"^<!-- output -->$", text, re.M)) >= len(stages)


def test_first_example_is_short() -> None:
    match = CODE.search(README.read_text(encoding="utf-8"))
    assert match
    assert len([row for row in match["code"].splitlines() if row.strip()]) <= 15


def test_ci_runs_the_test_command_of_the_readme() -> None:
    text = README.read_text(encoding="utf-8")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    command = re.search(r"\.venv/bin/(python -m pytest.*)$", text, re.M)
    install = re.search(r"\.venv/bin/pip (install .*\[dev\]') && ", text)
    assert command and install
    assert script.rstrip().splitlines()[-1].replace('"', "").endswith(command[1])
    assert install[1].removeprefix("install ") in script


def test_options_of_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["demo", "--help"])
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    row = next(line for line in README.read_text(encoding="utf-8").splitlines() if "`--seed`" in line)
    assert set(re.findall(r"--[\w-]+", row)) <= known


def test_every_namespace_and_example_is_listed() -> None:
    text = README.read_text(encoding="utf-8")
    missing = [name for name in ("special", *gc._NAMESPACES) if not re.search(rf"^\| .*`gc\.{name}`", text, re.M)]
    missing += [path.name for path in (ROOT / "examples").glob("[a-z]*.py") if f"`{path.name}`" not in text]
    assert not missing


def test_every_module_is_listed() -> None:
    table = {name for row in str(gc.__doc__).splitlines() for name in re.findall(r"`([\w.]+)`", row.split(" | ")[0])}
    package = ROOT / "graphc"
    folders = {".".join(p.parent.relative_to(package).parts) for p in package.rglob("*.py")} - {""}
    files = {p.stem for p in package.glob("[a-z]*.py")}
    split = {name.split(".")[0] for name in folders if "." in name}  # their parts are in the table
    assert table == (folders | files) - split


def test_regenerate_fills_outputs_in() -> None:
    text = "```python\nprint(1 + 1)\n```\n\n<!-- output -->\n```text\nold\n```\nend\n"
    assert regenerate(text)[0] == text.replace("old", "2")


if __name__ == "__main__":
    result, names = regenerate(README.read_text(encoding="utf-8"))
    if "--write" in sys.argv:
        README.write_text(result, encoding="utf-8")
        DRAWING.parent.mkdir(exist_ok=True)
        DRAWING.write_text(names["step"].to_svg(), encoding="utf-8")
    else:
        print(result)
