"""What the compiler of kernels leans on inside Numba: `numba_compiler` lists it, each with what it buys."""

from __future__ import annotations

import ast
import importlib
import re
from importlib.metadata import version

import pytest

from graphc.codegen.jit import numba_compiler
from tests.test_architecture import MODULES

LEANED_ON = [f"numba.{n}" for n in re.findall(r"^- `(core\.[\w.]+)`: \w", numba_compiler.__doc__ or "", re.MULTILINE)]
OF_KERNELS = [m for m in MODULES if m.startswith("graphc.codegen.jit.numba_") and not m.endswith("numba_pointers")]


@pytest.mark.parametrize("name", LEANED_ON)
def test_numba_has_what_kernels_lean_on(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


def test_the_list_is_what_is_taken_from_numba() -> None:
    taken = set()
    for module in OF_KERNELS:
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "numba":
                taken |= {f"{node.module}.{alias.name}" for alias in node.names}
            assert not (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "numba" for a in node.names))
    assert taken == set(LEANED_ON)


def test_the_minor_version_is_the_one_that_was_read() -> None:
    assert version("numba").split(".")[:2] == ["0", "68"]
