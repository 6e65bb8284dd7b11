"""Saved functions: every op survives, other processes run them, and no altered file gets past the reader."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
import graphc.ops
from graphc.files.container import _digest, read_tensors, write_tensors
from graphc.files.ops import LEAVES, NOT_SAVED, OPS
from graphc.files.rows import Reader
from graphc.graph.errors import ArgumentError, DTypeError, FormatError, ShapeError
from graphc.graph.node import Node
from graphc.graph.op import Op
from graphc.graph.types import Array
from graphc.ops.decompositions import LuSolve
from tests.cases import Case
from tests.test_ops import TABLE, checked_inputs, declare

BATCH = 30


def again(f: gc.Function, tmp_path: Path, **options: Any) -> gc.Function:
    """Save and load a function."""
    path = tmp_path / "model.gcx"
    gc.save(f, path)
    return gc.load(path, **options)


# -- every op


def op_classes(base: type[Op] = Op) -> Iterator[type[Op]]:
    """Yield the ops of `graphc.ops` that make nodes: the dataclasses."""
    for found in base.__subclasses__():
        yield from op_classes(found)
        family = found.__name__.startswith("_") and found.__subclasses__()
        if not family and "__dataclass_fields__" in vars(found) and found.__module__.startswith(graphc.ops.__name__):
            yield found


def test_every_op_is_in_the_table_or_says_why_not() -> None:
    saved = {entry.op for entry in OPS.values()} | set(LEAVES) | {graphc.ops.pointwise.Elementwise}
    missing = {c.__name__ for c in op_classes() if c not in saved} - set(NOT_SAVED)
    assert not missing, "add them to graphc/files/ops.py: a row of OPS, with what codegen relies on as check"
    assert not {name for name in graphc.ops.pointwise.ELEMENTWISE if name in OPS}


@pytest.mark.parametrize("name", OPS)
def test_every_parameter_can_be_read(name: str) -> None:
    reader = Reader({}, {"sources": [], "guards": []})
    for field in dataclasses.fields(OPS[name].op):
        if field.name != "rules":
            with pytest.raises(FormatError) as error:
                reader.field(str(field.type), {"unknown": 0}, 0)
            assert "cannot be read" not in str(error.value)


def outputs_of(case: Case, inputs: list[Node]) -> list[Node]:
    """Build a case and the gradient of its float results."""
    built = case.build(*inputs)
    outputs = [built] if isinstance(built, Node) else list(built)
    wrt = [x for x in checked_inputs(case, inputs, outputs[0]) if x.dtype == np.float64]
    heads = [gc.sum(y) for y in outputs if y.dtype == np.float64]
    return [*outputs, *(gc.grad(sum(heads[1:], heads[0]), wrt, disconnected="zero") if wrt and heads else [])]


@pytest.mark.parametrize("start", range(0, len(TABLE), BATCH))
def test_every_case_survives(start: int, tmp_path: Path) -> None:
    inputs: list[Node] = []
    outputs: list[Node] = []
    arrays: list[Array] = []
    for number, case in enumerate(itertools.islice(TABLE.values(), start, start + BATCH)):
        values = case.arrays()
        declared = declare(values, prefix=f"c{number}x", symbolic=case.symbolic and number % 2 == 0)
        outputs += outputs_of(case, declared)
        inputs += declared
        arrays += values
    f = gc.function(inputs, outputs, mode="reference", on_unused="ignore")
    loaded = again(f, tmp_path)
    if "?" not in f.graph.text():
        assert loaded.graph.text() == f.graph.text()
    for got, wanted in zip(loaded(*arrays), f(*arrays), strict=True):
        np.testing.assert_array_equal(got, wanted)


# -- what a function is


def test_names_nesting_and_options(tmp_path: Path) -> None:
    x, y = gc.placeholder("x", shape=("n",)), gc.placeholder("y", shape=("n",), dtype="float32")
    outputs = {"a": (x * 2, [y]), 7: None, True: x + y}
    f = gc.function({"left": x, "right": {"deep": [y]}}, outputs, name="twice", precision="libm", mode="debug")
    g = again(f, tmp_path)
    assert (g.name, g.mode, g.precision) == ("twice", "debug", "libm")
    assert str(g.__signature__) == str(f.__signature__)
    got = g([1.0], {"deep": [np.array([3], np.float32)]})
    assert list(got) == ["a", 7, True] and got[7] is None and isinstance(got["a"], tuple)
    np.testing.assert_array_equal(got[True], [4.0])
    assert got["a"][1][0].dtype == np.float32
    assert again(f, tmp_path, mode="reference").mode == "reference"


def training_step() -> tuple[gc.Function, Node]:
    x, w = gc.placeholder("x", shape=("n", 3)), gc.shared(np.array([1.0, -2.0, 0.5]), name="w")
    loss = gc.mean((x @ w) ** 2)
    return gc.function([x], loss, updates={w: w - 0.1 * gc.grad(loss, w)}), w


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    f, _ = training_step()
    data = np.random.default_rng(0).normal(size=(5, 3))
    f(data)
    g = again(f, tmp_path)
    losses = [f(data) for _ in range(3)]
    np.testing.assert_array_equal([g(data) for _ in range(3)], losses)
    (mine,), (theirs,) = f.graph.shared, g.graph.shared
    assert theirs.name == "w"
    np.testing.assert_array_equal(theirs.get_value(), mine.get_value())


def test_generators_go_on(tmp_path: Path) -> None:
    rng = gc.random.Generator(5)
    f = gc.function([], [rng.normal((3,)), rng.randint((2,), 0, 9)])
    f()
    g = again(f, tmp_path)
    for got, wanted in zip(g(), f(), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_guards_survive(tmp_path: Path) -> None:
    x, y = gc.placeholder("x", shape=("n",)), gc.placeholder("y", shape=("m",))
    f = gc.function([x, y], [x + y, x[3]])
    g = again(f, tmp_path)
    assert len(f.graph.guards) > 1
    for h in (f, g):
        with pytest.raises(
            ShapeError, match=r"dimension n of x is 4 but dimension m of y is 5; add at .*\.py:\d+ needs"
        ):
            h(np.ones(4), np.ones(5))
        with pytest.raises(gc.IndexOutOfBoundsError, match="index 3 of axis 0"):
            h(np.ones(2), np.ones(2))


def test_anonymous_dimensions_stay_apart(tmp_path: Path) -> None:
    x, y = gc.placeholder("x", shape=(None,)), gc.placeholder("y", shape=(None,))
    f = gc.function([x, y], [x[1:], y * 2])
    g = again(f, tmp_path)
    mine, theirs = ({str(n.shape[0]) for n in h.graph.inputs} for h in (f, g))
    assert len(theirs) == 2 and not mine & theirs
    got = g([1.0, 2.0], [3.0])
    np.testing.assert_array_equal(got[0], [2.0])


def loops(x: Node) -> list[Node]:
    """Return programs with graphs inside graphs, and their derivatives."""
    total, partial = gc.scan(lambda c, v: (c * 0.5 + gc.cond(v > 0, lambda: v, lambda: gc.exp(v)), c * v), 0.0, x)
    halved = gc.while_loop(lambda v: v > 1, lambda v: v / 2, gc.sum(x * x))
    return [total, partial, halved, gc.grad(total + gc.sum(partial), x), gc.jacobian(partial, x)]


def test_loops_and_branches(tmp_path: Path) -> None:
    x = gc.placeholder("x", shape=("n",))
    f = gc.function([x], loops(x))
    g = again(f, tmp_path)
    assert g.graph.text() == f.graph.text()
    data = np.array([0.3, -1.0, 2.0, 0.7])
    for got, wanted in zip(g(data), f(data), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_second_round_trip_changes_nothing(tmp_path: Path) -> None:
    x = gc.placeholder("x", shape=("n",))
    once = again(gc.function([x], [*loops(x), x[1:] * 2, gc.concat([x, x[::2]])]), tmp_path)
    first = (tmp_path / "model.gcx").read_bytes()
    twice = again(once, tmp_path)
    third = again(twice, tmp_path)
    assert third.graph.text() == once.graph.text()
    assert third.graph.guards == twice.graph.guards
    assert len(first) > 0


def test_a_loaded_function_has_derivatives(tmp_path: Path) -> None:
    x = gc.placeholder("x", shape=("n",))
    g = again(gc.function([x], gc.sum(gc.sin(x))), tmp_path)
    slope = gc.grad(g.graph.outputs[0], g.graph.inputs[0])
    np.testing.assert_allclose(slope.eval({g.graph.inputs[0]: [0.0, 1.0]}), np.cos([0.0, 1.0]))


def test_another_process_runs_it(tmp_path: Path) -> None:
    f, _ = training_step()
    data = np.random.default_rng(1).normal(size=(4, 3))
    gc.save(f, tmp_path / "step.gcx")
    code = f"""import numpy, graphc
f = graphc.load({str(tmp_path / "step.gcx")!r})
x = numpy.random.default_rng(1).normal(size=(4, 3))
print([float(f(x)), float(f(x))])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert json.loads(done.stdout) == [float(f(data)), float(f(data))]


def test_another_process_knows_all_records() -> None:
    code = """import importlib, pkgutil, graphc.ops
known = set(graphc.ops.pointwise.ELEMENTWISE)
for module in pkgutil.iter_modules(graphc.ops.__path__, "graphc.ops."):
    importlib.import_module(module.name)
print(len(known), *set(graphc.ops.pointwise.ELEMENTWISE) - known)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    count, *unknown = done.stdout.split()
    assert int(count) > 50 and not unknown


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(gc.__file__).parents[1])}


def test_paths_stay_at_home(tmp_path: Path) -> None:
    f, _ = training_step()
    g = again(f, tmp_path)
    assert str(Path(__file__).parent).encode() not in (tmp_path / "model.gcx").read_bytes()
    assert {n.source[0] for n in g.graph.nodes} == {Path(__file__).name}
    assert [n.source[1] for n in g.graph.nodes] == [n.source[1] for n in f.graph.nodes]


def test_special_values(tmp_path: Path) -> None:
    odd = np.array([-0.0, np.inf, -np.inf, np.nan, 5e-324])
    numbers = [
        gc.constant(odd),
        gc.constant(odd.astype(np.float32)),
        gc.constant([True, False]),
        gc.constant(2**63 + 1),
    ]
    state = gc.shared(odd[::-1], name="__metadata__")
    more = [gc.constant(np.zeros((0, 3))), state, gc.shared(np.int8(-5), name="__metadata__")]
    g = again(gc.function([], [*numbers, *more], mode="reference"), tmp_path)
    for got, wanted in zip(g(), gc.evaluate([*numbers, *more], {}), strict=True):
        assert got.dtype == wanted.dtype and got.shape == wanted.shape and got.tobytes() == wanted.tobytes()


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    x = gc.placeholder("x")
    with pytest.raises(ArgumentError, match=r"made by gc\.function"):
        gc.save(x, tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="keys of dicts"):
        gc.save(gc.function([x], {1.5: x}), tmp_path / "x")
    with pytest.raises(ArgumentError, match="mode must be"):
        gc.load(tmp_path / "x", mode="fast")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        gc.load(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_saving_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gcx"
    f, _ = training_step()
    gc.save(f, path)
    before = path.read_bytes()
    seen: list[bytes] = []

    def fail(handle: int) -> None:
        seen.append(path.read_bytes())
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        gc.save(f, path)
    assert seen == [before] == [path.read_bytes()]
    assert [p.name for p in tmp_path.iterdir()] == ["model.gcx"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.gcx"
    link.symlink_to(tmp_path / "real" / "model.gcx")
    gc.save(training_step()[0], link)
    assert link.is_symlink() and (tmp_path / "real" / "model.gcx").is_file()


# -- files from anywhere


def small_file(path: Path) -> bytes:
    x, w = gc.placeholder("x", shape=("n",)), gc.shared([1.0, 2.0], name="w")
    total, _ = gc.scan(lambda c, v: (c + v, None), 0.0, x)
    gc.save(gc.function([x], [x[1:] * total, gc.sum(w)], updates={w: w * 2}, mode="reference"), path)
    return path.read_bytes()


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"model\.gcx: .*\[test_serialization\.py:\d+\]") as error:
        gc.load(path, max_bytes=1 << 20)
    return str(error.value)


def test_truncated_files(tmp_path: Path) -> None:
    path = tmp_path / "model.gcx"
    whole = small_file(path)
    for length in {*range(0, len(whole), 37), *range(16), len(whole) - 1}:
        refused(path, whole[:length])
    refused(path, whole + b"\0")


def test_altered_files(tmp_path: Path) -> None:
    path = tmp_path / "model.gcx"
    whole = small_file(path)
    rng = random.Random(0)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 8])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        if data != whole:
            refused(path, bytes(data))


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "model.gcx"
    rng = random.Random(1)
    for data in (b"", b"{}", b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(64), b"\xff" * 64, rng.randbytes(1000)):
        refused(path, data)
    deep = b"[" * 100_000
    assert "no valid JSON" in refused(path, len(deep).to_bytes(8, "little") + deep)
    long = b'{"a":' + b"9" * 5000 + b"}"
    assert "no valid JSON" in refused(path, len(long).to_bytes(8, "little") + long)
    write_tensors(path, {"w": np.zeros(3)}, {})
    assert "no program" in refused(path, path.read_bytes())
    with pytest.raises(IsADirectoryError):
        gc.load(tmp_path)
    assert "allows less" in refused(path, bytes(2 << 20))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="not a regular file"):
        gc.load(tmp_path / "pipe")


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield before
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from places(child, (*before, key))


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def mutate(program: dict[str, Any], rng: random.Random) -> None:
    """Change one value of a program, often into one of the same kind."""
    place = rng.choice([p for p in places(program) if p])
    parent, key = at(program, place[:-1]), place[-1]
    value, chance = parent[key], rng.random()
    if type(value) is int and chance < 0.7:
        parent[key] = value + rng.choice([-2, -1, 1, 2, 5])
    elif chance < 0.5:
        parent[key] = rng.choice([-1, 0, 1, 2**40, "n", "?0", "add", "sum", True, None, [], {}, [[1, ["max", "n", 3]]]])
    elif chance < 0.8:
        parent[key] = copy.deepcopy(at(program, rng.choice(list(places(program)))))
    else:
        del parent[key]


def test_programs_that_someone_else_wrote(tmp_path: Path) -> None:
    """With a right checksum an altered program is refused, or loads, and runs or raises as any other."""
    path = tmp_path / "model.gcx"
    small_file(path)
    arrays, texts = read_tensors(path, 1 << 20)
    rng = random.Random(2)
    loaded = 0
    for _ in range(400):
        program = json.loads(texts["graphc"])
        mutate(program, rng)
        write_tensors(path, arrays, {"graphc": json.dumps(program)})
        try:
            f = gc.load(path, mode="reference")
        except FormatError:
            continue
        loaded += 1
        try:
            f(*(np.ones([3] * x.ndim, x.dtype) for x in f.graph.inputs))
        except (ShapeError, DTypeError, ArgumentError):
            continue
    assert 0 < loaded < 200


Edit = Callable[[dict[str, Any]], None]


def edited(tmp_path: Path, outputs: Any, op: str, edit: Edit) -> str:
    """Save a program, let `edit` change the row of an op, sign it again, and return why loading refuses it."""
    path = tmp_path / "model.gcx"
    nodes = [n for n in graphc.graph.graph.Graph(outputs).nodes if isinstance(n.op, graphc.graph.op.Placeholder)]
    gc.save(gc.function(nodes, outputs), path)
    arrays, texts = read_tensors(path, 1 << 20)
    program = json.loads(texts["graphc"])
    edit(next(row for row in program["graph"]["nodes"] if row["op"] == op))
    write_tensors(path, arrays, {"graphc": json.dumps(program)})
    return refused(path, path.read_bytes())


def set_field(name: str, value: Any, type_: Any = None) -> Edit:
    def edit(row: dict[str, Any]) -> None:
        row["fields"][name] = value
        row["type"] = row["type"] if type_ is None else type_

    return edit


def test_memory_outside_an_operand_is_refused(tmp_path: Path) -> None:
    x = gc.placeholder("x", shape=(4,))
    for starts in ([3], [-1], [2**61]):
        assert "outside its operand" in edited(tmp_path, x[1:3], "Slice", set_field("starts", starts))
    assert "step of 0" in edited(tmp_path, x[1:3], "Slice", set_field("steps", [0]))
    assert "outside its operand" in edited(tmp_path, x[1:3], "Slice", set_field("shape", [9], ["float64", 9]))
    slope = gc.grad(gc.sum(x[1:3]), x)
    assert "outside its operand" in edited(tmp_path, slope, "Unslice", set_field("starts", [3]))
    assert "outside its operand" in edited(tmp_path, slope, "Unslice", set_field("shape", [2], ["float64", 2]))
    y = gc.placeholder("y", shape=(2, 3))
    assert "no permutation" in edited(tmp_path, y.T, "PermuteDims", set_field("axes", [0, 2]))
    assert "axes" in edited(tmp_path, y + gc.placeholder("b", shape=(3,)), "Broadcast", set_field("axes", [5]))
    assert "dimensions differ" in edited(tmp_path, y.reshape(3, 2), "Reshape", set_field("shape", [30, 2]))
    index = gc.placeholder("i", shape=(2,), dtype="int64")
    assert "axes (1,) of 1" in edited(tmp_path, gc.take(x, index), "Gather", set_field("axes", [1]))


def test_sizes_of_operands_may_be_known_better_than_those_of_results(tmp_path: Path) -> None:
    x, z = gc.placeholder("x", shape=("n",)), gc.placeholder("z", shape=("n",))
    y = gc.placeholder("y", shape=(2,))
    f = gc.function([y, z], [gc.exp(x) * z, x[:, None] * z], givens={x: y})
    g = again(f, tmp_path)
    given = [0.5, 1.0], [2.0, 3.0]
    for got, wanted in zip(g(*given), f(*given), strict=True):
        np.testing.assert_array_equal(got, wanted)
    with pytest.raises(ShapeError):
        g([0.5, 1.0], [2.0])


def test_a_result_has_the_sizes_that_its_op_says(tmp_path: Path) -> None:
    x = gc.placeholder("x", shape=("n",))
    wide = gc.broadcast_to(x[:, None], (*x.shape, 2)) * 2
    assert "is not f64[n,2]" in edited(tmp_path, wide, "Broadcast", set_field("shape", [1, 2], ["float64", "n", 2]))


def test_pointwise_operands_do_not_broadcast(tmp_path: Path) -> None:
    x, one = gc.placeholder("x", shape=("n",)), gc.placeholder("one", shape=(1,))
    both = [gc.multiply(x, x), one * 2.0]
    assert "broadcast" in edited(tmp_path, both, "multiply", lambda row: row.update(inputs=[0, 1]))


def test_symbolic_regions_are_checked_by_the_call(tmp_path: Path) -> None:
    path = tmp_path / "model.gcx"
    x = gc.placeholder("x", shape=("n",))
    gc.save(gc.function([x], x[1:4]), path)
    arrays, texts = read_tensors(path, 1 << 20)
    program = json.loads(texts["graphc"])
    row = next(r for r in program["graph"]["nodes"] if r["op"] == "Slice")
    row["fields"]["shape"], row["type"] = [3], ["float64", 3]
    write_tensors(path, arrays, {"graphc": json.dumps(program)})
    f = gc.load(path)
    np.testing.assert_array_equal(f(np.arange(4.0)), [1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match="slice at"):
        f(np.arange(3.0))


def test_text_never_becomes_code(tmp_path: Path) -> None:
    draw = gc.random.Generator(1).normal((2,))
    code = '__import__("os").system("true")'
    assert "random" in edited(tmp_path, draw, "Random", set_field("kind", code))
    x = gc.placeholder("x", shape=(2,))
    assert "reduction" in edited(tmp_path, gc.sum(x), "Reduction", set_field("name", code))
    assert "no placeholder" in edited(tmp_path, x * 2, "Placeholder", set_field("label", code))
    assert "unknown" in edited(tmp_path, x * 2, "multiply", lambda row: row.update(op=code))
    assert "no identifier" in edited(tmp_path, x * 2, "multiply", lambda row: row.update(type=["float64", code]))
    assert "order" in edited(tmp_path, gc.special.polygamma(1, x), "Polygamma", set_field("order", 10**6))


def test_graphs_inside_ops_must_fit(tmp_path: Path) -> None:
    x = gc.placeholder("x", shape=(3,))
    total, _ = gc.scan(lambda c, v: (c + v, None), 0.0, x)
    assert "too few operands" in edited(tmp_path, total, "Scan", set_field("sequences", 7))
    assert "results that do not exist" in edited(tmp_path, total, "Scan", set_field("results", [["stacked", 4]]))
    assert "size -3 is negative" in edited(tmp_path, total, "Scan", set_field("length", -3))

    def wider(row: dict[str, Any]) -> None:
        inside = row["fields"]["body"]["nodes"]
        for node in inside:
            node["type"] = ["float64", 50]

    assert "for" in edited(tmp_path, total, "Scan", wider)
    both = gc.cond(x[0] > 0, lambda: x, lambda: x * 2)
    assert "no branches" in edited(tmp_path, both, "Switch", set_field("branches", []))
    assert "does not exist" in edited(tmp_path, both, "Project", set_field("index", 3))


def test_headers_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "model.gcx"
    entry = {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}
    lies: list[dict[str, Any]] = [
        {"shape": [3]},
        {"shape": [2**40, 2**40]},
        {"shape": [-2]},
        {"shape": 2},
        {"dtype": "F16"},
        {"dtype": ["F64"]},
        {"data_offsets": [0, 8]},
        {"data_offsets": [8, 24]},
        {"data_offsets": [0]},
        {"more": 1},
        {"shape": [1] * 40 + [2]},
    ]
    for lie in lies:
        header = json.dumps({"__metadata__": {"sha256": "0" * 64}, "w": {**entry, **lie}}).encode()
        digest = _digest([header, bytes(16)])
        data = len(header).to_bytes(8, "little") + header.replace(b"0" * 64, digest) + bytes(16)
        assert "array 'w'" in refused(path, data), lie
    header = json.dumps({"__metadata__": {"sha256": "0" * 64}, "w": {**entry, "dtype": "BOOL", "shape": [16]}}).encode()
    digest = _digest([header, b"\2" * 16])
    data = len(header).to_bytes(8, "little") + header.replace(b"0" * 64, digest) + b"\2" * 16
    assert "no bool" in refused(path, data)


def test_a_later_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.gcx"
    small_file(path)
    arrays, texts = read_tensors(path, 1 << 20)
    program = json.loads(texts["graphc"])
    write_tensors(path, arrays, {"graphc": json.dumps({**program, "format": 2})})
    assert "format 2 is unknown" in refused(path, path.read_bytes())


def test_factors_that_no_factorisation_wrote_stay_inside_their_memory() -> None:
    """A file can hand any array to the solve: row exchanges outside the matrix are left out."""
    shapes = {"a": (2, 2), "factors": (3, 2), "b": (2, 1)}
    inputs = [gc.placeholder(name, shape) for name, shape in shapes.items()]
    f = gc.function(inputs, graphc.graph.op.apply(LuSolve(), *inputs), on_unused="ignore")
    eye = np.eye(2)
    for exchanges in ([1e9, -7.0], [np.nan, np.inf], [0.0, 1.0]):
        np.testing.assert_array_equal(f(eye, np.vstack([eye, [exchanges]]), [[1.0], [2.0]]), [[1.0], [2.0]])
