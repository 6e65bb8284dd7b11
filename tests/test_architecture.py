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
    ("elsewhere", "errors"),
    ("arguments", "forks", "identity", "lazy", "text", "tree"),
    ("dims",),
    ("types",),
    ("arrays",),
    ("state", "tensorfile"),
    ("node",),
    ("ops", "special", "linalg", "random", "distributions"),
    ("graph", "substitution"),
    ("binding", "draws"),
    ("evaluate", "passes", "masks", "curvature", "grad", "rounding"),
    ("codegen",),
    ("streams", "tracing", "scan_rules", "while_rules", "branch", "control"),
    ("expected", "written", "function", "runner", "signature", "pickling", "jacobians", "differences"),
    ("serialization", "scipy_adaptors", "native", "fixed", "cases", "verification"),
    ("inspect", "nn", "optim"),
    ("data", "rows", "metrics", "history", "progress", "checkpoint", "training", "plots", "sklearn"),
    ("",),  # graphc/__init__.py
    ("demo", "cli"),
)
"""DESIGN's order: a module imports from its own layer and those before it."""

BROKEN_IN_THE_OPEN = {
    ("graphc.node", "graphc.evaluate"),  # node.eval
    ("graphc.node", "graphc.pickling"),  # without recursion over nodes
    ("graphc.node", "graphc.inspect.svg"),  # drawings in notebooks
    ("graphc.graph", "graphc.inspect.svg"),
    ("graphc.graph", "graphc.pickling"),
    ("graphc.function", "graphc.inspect.svg"),
    ("graphc.function", "graphc.scipy_adaptors"),
    ("graphc.function", "graphc.native"),
    ("graphc.function", "graphc.fixed"),
    ("graphc.function", "graphc.verification"),
}
"""Imports against the order, each inside the one method that needs it."""


def layer(module: str) -> int:
    name = f"{module}.".split(".")[1]
    return next((i for i, names in enumerate(LAYERS) if name in names), len(LAYERS))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def statements(tree: ast.AST, *, lazy: bool) -> Iterator[ast.stmt]:
    """Yield the statements that run: all of them, or only those that run on import."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if is_type_checking(node) or (not lazy and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
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
    assert {(module, name) for name in against} <= BROKEN_IN_THE_OPEN
    assert not against & graphc_imports(module, lazy=False), "must be imported where it is used"


@pytest.mark.parametrize("module", [m for m in MODULES if m != "graphc"])
def test_every_module_has_a_layer(module: str) -> None:
    assert layer(module) < len(LAYERS), f"{module} has no place in LAYERS"


FOR_TYPES_ONLY = {
    ("graphc.node", "graphc.ops"),  # its operators call them
    ("graphc.node", "graphc.ops.base"),  # a node has an op, which makes nodes
    ("graphc.ops.control", "graphc.graph"),  # the body of a loop or branch
}
"""Imports against the order that only a type checker runs."""


def type_imports(module: str) -> set[str]:
    """Return the graphc modules that a module imports for a type checker only."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    found: set[str] = set()
    for block in filter(is_type_checking, ast.walk(tree)):
        assert isinstance(block, ast.If)
        for statement in block.body:
            if isinstance(statement, ast.ImportFrom):
                base = str(statement.module)
                inner = {f"{base}.{alias.name}" for alias in statement.names} & set(MODULES)
                found |= inner or {base}
    return found & set(MODULES)


def test_imports_for_types_point_one_way_too() -> None:
    """Within `codegen` and `inspect` they may point anywhere: those folders have one layer here."""
    found = {
        (module, name)
        for module in MODULES
        for name in type_imports(module)
        if module != "graphc" and layer(name) > layer(module)
    }
    assert found - BROKEN_IN_THE_OPEN == FOR_TYPES_ONLY


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


def test_numba_is_imported_by_codegen_only() -> None:
    users = {m for m in MODULES if any(n.split(".")[0] == "numba" for n in imported(m, lazy=True))}
    assert users and all(m.startswith("graphc.codegen.") for m in users)


def test_networkx_holds_graphs_and_schedules_and_is_imported_there_only() -> None:
    users = {m for m in MODULES if any(n.split(".")[0] == "networkx" for n in imported(m, lazy=True))}
    assert "graphc.graph" in users
    assert all(m == "graphc.graph" or m.startswith(("graphc.passes.", "graphc.inspect.")) for m in users)


READ_TEXT = {
    "graphc.codegen.libmvec",  # symbols in LLVM's text
    "graphc.codegen.roots",
    "graphc.codegen.blas_search",  # names of files
}


def test_nests_forms_and_schedules_are_read_as_what_they_are() -> None:
    """Passes over graphs and nests, and all that makes nests, take no text apart; ops' code is read in one place."""
    folders = ("graphc.codegen.", "graphc.passes", "graphc.ops")
    users = {m for m in MODULES if m.startswith(folders) and imported(m, lazy=True) & {"re", "ast"}}
    assert users - READ_TEXT == {"graphc.ops.code"}


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
    from graphc.codegen.kernels import emitting_files

    found: set[str] = set()
    stack = ["graphc.codegen.jit", "graphc.codegen.loader"]
    files = set(emitting_files())
    while stack:
        module = stack.pop()
        if module not in found:
            found.add(module)
            # Before a source is compiled comes what makes it, which is part of the source.
            stack += graphc_imports(module, lazy=False) - {"graphc"}
    assert len(found) > 15 and {m for m in found if MODULES[m] not in files} == set()
    assert MODULES["graphc.passes.machine"] in files and MODULES["graphc.types"] in files
