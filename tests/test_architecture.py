"""The shape of the source tree: imports point one way, files stay small, `import graphc` stays light."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphc

PACKAGE = Path(graphc.__file__).parent
MODULES = {
    ".".join(("graphc", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

LAYERS = (
    ("graph",),
    ("ops", "special", "linalg", "random", "distributions"),
    ("passes.algebra",),
    ("autodiff",),
    ("passes.loops", "passes.updates", "passes.schedule"),
    ("passes", "codegen"),
    ("codegen.math",),
    ("codegen.nest",),
    ("codegen.forms",),
    ("codegen.memory",),
    ("codegen.jit",),
    ("codegen.run",),
    ("call",),
    ("files", "inspect"),
    ("nn",),
    ("optim",),
    ("train",),
    ("interop",),
    ("",),  # graphc/__init__.py
    ("demo", "cli"),
)
"""DESIGN's order: a module imports from its own folder and those before it, lazily and for types, too."""

BROKEN_IN_THE_OPEN = {
    ("graphc.graph.graph", "graphc.ops.control"): "the regions of loops and branches are graphs",
    ("graphc.graph.op", "graphc.ops.pointwise"): "a dimension as a constant is an op",
    ("graphc.graph.draws", "graphc.ops.pointwise"): "places of draws are sums of nodes",
    ("graphc.graph.draws", "graphc.ops.elementwise_arithmetic"): "places of draws are sums of nodes",
    ("graphc.graph.draws", "graphc.ops.random"): "places of draws are sums of nodes",
    ("graphc.graph.node", "graphc.ops"): "the types of operators, which ops bind to `Node`",
    ("graphc.graph.node", "graphc.call.pickling"): "pickles without recursion over nodes",
    ("graphc.graph.graph", "graphc.call.pickling"): "pickles without recursion over nodes",
    ("graphc.graph.node", "graphc.inspect.svg"): "drawings in notebooks",
    ("graphc.graph.graph", "graphc.inspect.svg"): "drawings in notebooks",
    ("graphc.call.function", "graphc.inspect.svg"): "drawings in notebooks",
    ("graphc.call.function", "graphc.interop.scipy_adaptors"): "`Function.to_scipy`",
    ("graphc.call.function", "graphc.interop.native"): "`Function.njit`",
    ("graphc.call.cases", "graphc.files"): "`f.verify` saves the case that it found",
    ("graphc.autodiff.grad", "graphc.passes"): "`grad` differentiates what the list of normalising passes leaves",
    ("graphc.passes.algebra.rewrite", "graphc.passes.loops.hoist"): "formulas move behind loops by one function",
    ("graphc.codegen.nest.division", "graphc.codegen.run.tape"): "the layout of an instruction",
}
"""Imports against the order, each with its reason."""


def layer(module: str) -> int:
    name = f"{module}.".removeprefix("graphc.")
    fits = [(len(prefix), i) for i, names in enumerate(LAYERS) for prefix in names if name.startswith(f"{prefix}.")]
    return max(fits)[1] if fits else LAYERS.index(("",)) if not name else len(LAYERS)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def statements(tree: ast.AST, *, lazy: bool) -> Iterator[ast.stmt]:
    """Yield the statements of a module: all of them, or only those that run on import."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if not lazy and (is_type_checking(node) or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
            continue
        if isinstance(node, ast.stmt):
            yield node
        stack.extend(ast.iter_child_nodes(node))


def imported(module: str, *, lazy: bool) -> set[str]:
    """Return the graphc modules, and the names of other packages, that a module imports."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    found: set[str] = set()
    for statement in statements(tree, lazy=lazy):
        if isinstance(statement, ast.Import):
            found.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert not statement.level, f"{module}: relative import"
            base = str(statement.module)
            submodules = {f"{base}.{alias.name}" for alias in statement.names} & set(MODULES)
            found.update(submodules)
            if len(submodules) < len(statement.names):
                found.add(base)
    return found


def graphc_imports(module: str, *, lazy: bool) -> set[str]:
    return {name for name in imported(module, lazy=lazy) if name in MODULES and name != module}


@pytest.mark.parametrize("module", [m for m in MODULES if m != "graphc"])
def test_imports_point_one_way(module: str) -> None:
    against = {name for name in graphc_imports(module, lazy=True) if layer(name) > layer(module)}
    assert {(module, name) for name in against} <= set(BROKEN_IN_THE_OPEN)


def test_every_exception_is_needed() -> None:
    assert [(m, name) for m, name in BROKEN_IN_THE_OPEN if name not in graphc_imports(m, lazy=True)] == []


@pytest.mark.parametrize("module", [m for m in MODULES if m != "graphc"])
def test_every_module_has_a_layer(module: str) -> None:
    assert layer(module) < len(LAYERS), f"{module} has no place in LAYERS"


def foreign(module: str) -> Iterator[tuple[str, str]]:
    """Yield the private names of other modules of graphc that a module imports or takes as an attribute of one."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "graphc":
            for alias in node.names:
                if alias.name.startswith("_") and not alias.name.startswith("__"):
                    yield str(node.module), alias.name
                if f"{node.module}.{alias.name}" in MODULES:
                    known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        of = node.value if isinstance(node, ast.Attribute) else None
        if isinstance(node, ast.Attribute) and isinstance(of, ast.Name):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            if private and of.id in known:
                yield known[of.id], node.attr


@pytest.mark.parametrize("module", MODULES)
def test_private_names_stay_in_their_file(module: str) -> None:
    assert list(foreign(module)) == []


def test_no_import_cycles() -> None:
    sorter = graphlib.TopologicalSorter({m: graphc_imports(m, lazy=False) - {"graphc"} for m in MODULES})
    assert len(list(sorter.static_order())) == len(MODULES)


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("graphc.ops")])
def test_ops_know_neither_networkx_nor_numba(module: str) -> None:
    roots = {name.split(".")[0] for name in imported(module, lazy=True)}
    assert not roots & {"networkx", "numba", "llvmlite"}


HOMES = {
    "numba": ("graphc.codegen.jit", "graphc.interop"),
    "llvmlite": ("graphc.codegen.jit", "graphc.codegen.math", "graphc.interop"),
    "networkx": ("graphc.graph", "graphc.passes", "graphc.inspect"),
}


@pytest.mark.parametrize("package", HOMES)
def test_engines_are_imported_in_their_folders_only(package: str) -> None:
    users = {m for m in MODULES if any(n.split(".")[0] == package for n in imported(m, lazy=True))}
    assert users and [m for m in users if not m.startswith(HOMES[package])] == []


def test_no_property_has_a_lock() -> None:
    """Before Python 3.12 `functools.cached_property` has one, for which a forked process may wait for ever."""
    assert [m for m, path in MODULES.items() if "import cached_property" in path.read_text("utf-8")] == []


@pytest.mark.parametrize("module", MODULES)
def test_files_stay_small(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))


def test_import_is_light() -> None:
    heavy = ("numba", "llvmlite", "scipy", "networkx", "sklearn", "tqdm", "matplotlib", "tensorboardX")
    code = f"import sys, graphc; print(*[m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_the_key_of_cached_kernels_covers_what_they_depend_on() -> None:
    """The compiler of kernels imports nothing, lazily either, beside what the key is made of."""
    from graphc.codegen.jit.kernels import emitting_files

    found: set[str] = set()
    stack = ["graphc.codegen.jit.compiler", "graphc.codegen.math.loader"]
    files = set(emitting_files())
    while stack:
        module = stack.pop()
        if module not in found:
            found.add(module)
            # Before a source is compiled comes what makes it, which is part of the source.
            stack += graphc_imports(module, lazy=False) - {"graphc"}
    assert len(found) > 15 and {m for m in found if MODULES[m] not in files} == set()
    assert MODULES["graphc.passes.schedule.machine"] in files and MODULES["graphc.graph.types"] in files
