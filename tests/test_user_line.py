"""The line at the end of an error is the user's own, whoever calls graphc on the user's behalf."""

from __future__ import annotations

import os
import re
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

STDLIB = os.path.dirname(os.path.abspath(os.__file__))
PACKAGES = [
    "/venv/lib/python3.12/site-packages/scipy/optimize/_minpack.py",
    "/usr/lib/python3/dist-packages/sklearn/base.py",
    f"{STDLIB}/functools.py",
    "<frozen importlib._bootstrap>",
]
SHAPES = "gc.ones(3) + gc.ones(4)"


def run(source: str, file: str, **names: Any) -> dict[str, Any]:
    """Run source text as if it were in `file`."""
    scope = {"gc": gc, "np": np, "__file__": file, **names}
    exec(compile(source, file, "exec"), scope)
    return scope


def line_of(call: Callable[[], Any]) -> str:
    """Return what the error of a call ends with, without the brackets."""
    with pytest.raises(gc.GraphcError) as caught:
        call()
    found = re.search(r"  \[(.*)\]$", str(caught.value))
    assert found, str(caught.value)
    return found[1]


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    "work",
    [
        SHAPES,  # while a graph is built
        "gc.function([gc.placeholder('x', shape=(3,))], gc.ones(3))(np.ones(4))",  # in the call
        "gc.take([1., 2.], gc.placeholder('i', dtype='int64')).eval({'i': 7})",
    ],
)
def test_frames_of_packages_are_skipped(package: str, work: str) -> None:
    helper = run(f"\n\n\ndef call(f):\n    return f() if f else {work}\n", package)["call"]
    model = run("\ndef fit(call):\n    return call(None)\n", "/home/someone/model.py")["fit"]
    assert line_of(lambda: model(helper)) == "model.py:3"
    objective = run(f"\n\ndef f():\n    return {work}\n", "/home/someone/objective.py")["f"]
    assert line_of(lambda: model(lambda _: helper(objective))) == "objective.py:4"


def test_what_a_package_has_generated_is_not_the_users() -> None:
    package = run("def make(source, scope):\n    exec(source, scope)\n    return scope['f']\n", PACKAGES[0])
    generated = package["make"](f"def f():\n    return {SHAPES}", {"gc": gc, "__file__": PACKAGES[0]})
    model = run("\n\ndef fit(f):\n    return f()\n", "/home/someone/model.py")["fit"]
    assert line_of(lambda: model(generated)) == "model.py:4"
    own: dict[str, Any] = {"gc": gc}
    exec(f"def f():\n    return {SHAPES}", own)  # as in `python -c`
    assert line_of(own["f"]) == "<string>:2"


def test_scipy_calls_a_compiled_function() -> None:
    from scipy.optimize import approx_fprime

    x = gc.placeholder("x", shape=(3,))
    f = gc.function([x], gc.sum(x))
    here = sys._getframe().f_lineno
    assert line_of(lambda: approx_fprime(np.ones(4), f, 1e-6)) == f"test_user_line.py:{here + 1}"


def test_without_a_line_of_the_user_the_outermost_is_named() -> None:
    inner = run(f"def f():\n    return {SHAPES}\n", PACKAGES[0])["f"]
    catching = "\ndef g(f, seen):\n    try:\n        f()\n    except gc.ShapeError as e:\n        seen += [str(e)]\n"
    outer = run(catching, PACKAGES[1])
    seen: list[str] = []
    thread = threading.Thread(target=outer["g"], args=(inner, seen))
    thread.start()
    thread.join()
    assert re.search(r"\[threading\.py:\d+\]$", seen[0])


class Shell:
    """What IPython has: file names of cells, by number."""

    @property
    def compile(self) -> Shell:
        return self

    def format_code_name(self, name: str) -> tuple[str, str] | None:
        cells = {"/tmp/ipykernel_71/3407.py": 13, "/tmp/colab-9.py": 2}
        return ("Cell", f"In[{cells[name]}]") if name in cells else None


@pytest.mark.parametrize(
    ("file", "running", "expected"),
    [
        ("<ipython-input-13-0a1b2c>", False, "cell [13], line 2"),
        ("<ipython-input-13-0a1b2c>", True, "cell [13], line 2"),
        ("/tmp/ipykernel_71/3407.py", True, "cell [13], line 2"),
        ("/tmp/colab-9.py", True, "cell [2], line 2"),
        ("/tmp/ipykernel_71/3407.py", False, "cell [?], line 2"),  # a graph from another process
        ("/tmp/model.py", True, "model.py:2"),
    ],
)
def test_cells_of_notebooks(file: str, running: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(get_ipython=lambda: Shell() if running else None)
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert line_of(lambda: run(f"\n{SHAPES}", file)) == expected
    y = run("x = gc.placeholder('x', shape=('n',))\ny = x + gc.ones(3)", file)
    f = gc.function([y["x"]], y["y"])
    with pytest.raises(gc.ShapeError, match=re.escape(f"add at {expected} needs them equal")):
        f(np.ones(2))


def test_a_saved_function_keeps_the_cell(tmp_path: Any) -> None:
    y = run("i = gc.placeholder('i', dtype='int64')\ny = gc.take([1., 2.], i)", "<ipython-input-13-0a1b2c>")
    path = tmp_path / "f.gc"
    gc.save(gc.function([y["i"]], y["y"]), path)
    assert line_of(lambda: gc.load(path)(7)) == "cell [13], line 2"
