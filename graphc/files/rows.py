"""Graphs as JSON and arrays, and back: one row a node, with the op's name and fields, operands and type.

`Packer` writes, `Reader` reads. A reader trusts nothing: names come from the op table, every field has the type that
the op's class declares, and every node is built again by `apply`, so its type is inferred and compared with the
written one. Whatever is wrong becomes one `FormatError` that names the row.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any

import numpy as np

from graphc.autodiff.branch import SWITCH_RULES
from graphc.autodiff.scan_rules import RULES
from graphc.autodiff.while_rules import WHILE_RULES
from graphc.files.conditions import Pairs, nonnegative, require
from graphc.files.ops import OPS, check_operands, saved_name
from graphc.files.sizes import (
    MAX_DEPTH,
    TypeReader,
    expect,
    expect_fields,
    expect_index,
    expect_text,
    pack_size,
    pack_type,
    read_dtype,
    read_int,
)
from graphc.graph.errors import UNKNOWN, ArgumentError, FormatError, GraphcError, Source, at, blame, file_title
from graphc.graph.graph import Graph, require_inputs, topological_order
from graphc.graph.node import Guard, Node, Shared
from graphc.graph.op import Constant, Op, Placeholder, SharedValue, apply
from graphc.graph.state import State
from graphc.graph.types import Array, Dim, TensorType, TupleType, symbol_name
from graphc.ops.control import Control
from graphc.ops.pointwise import ELEMENTWISE, Elementwise

_ALIASES = {
    "Axes": "tuple[int, ...]",
    "Result": "tuple[str, int]",
    "Shape": "tuple[Size, ...]",
    "Steps": "tuple[int, ...]",
}
_RULES = {"Scan": RULES, "Switch": SWITCH_RULES, "While": WHILE_RULES}


# -- writing


class Packer:
    """Collects the tables that the rows of one file refer to: arrays, source lines and guards."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.states: dict[str, State] = {}
        self.sources: dict[Source, int] = {}
        self.guards: dict[Guard, int] = {}
        self._constants: dict[Constant, str] = {}

    def tables(self) -> dict[str, Any]:
        """Return the tables of guards and sources; call it last."""
        guards = [[pack_size(m), pack_size(n), what, self._source(source)] for m, n, what, source in self.guards]
        return {"guards": guards, "sources": [list(source) for source in self.sources]}

    def graph(self, graph: Graph, inputs: Sequence[Node]) -> dict[str, Any]:
        """Return a graph as JSON; `inputs` are those of its placeholders that get a row in any case."""
        order = topological_order([*inputs, *graph.outputs, *graph.updates])
        row = {n: i for i, n in enumerate(order)}
        return {
            "nodes": [self._node(n, row) for n in order],
            "inputs": [row[x] for x in inputs],
            "outputs": [row[x] for x in graph.outputs],
            "updates": [row[x] for x in graph.updates],
            "guards": [self._guard(g) for g in graph.guards],
        }

    def _node(self, node: Node, row: Mapping[Node, int]) -> dict[str, Any]:
        found: dict[str, Any] = {"op": _row_name(node.op), "type": pack_type(node.type)}
        found["source"] = self._source(node.source)
        if node.inputs:
            found["inputs"] = [row[x] for x in node.inputs]
        if node.guards:
            found["guards"] = [self._guard(g) for g in node.guards]
        fields = self._fields(node.op)
        return {**found, "fields": fields} if fields else found

    def _fields(self, op: Op) -> dict[str, Any]:
        if isinstance(op, Placeholder):
            return {"label": op.label}
        if isinstance(op, SharedValue):
            name = self._free_name(op.label)
            self.arrays[name], self.states[name] = op.state.array, op.state
            return {"label": op.label, "value": name}
        if isinstance(op, Constant):
            if op not in self._constants:
                self._constants[op] = self._free_name(f"constant.{len(self._constants)}")
                self.arrays[self._constants[op]] = op.value
            return {"value": self._constants[op]}
        if isinstance(op, Elementwise):
            return {}
        values = {f: getattr(op, f.name) for f in dataclasses.fields(op) if f.name != "rules"}
        return {f.name: self._value(v) for f, v in values.items() if f.default is MISSING or v != f.default}

    def _value(self, value: Any) -> Any:
        if isinstance(value, Graph):
            return self.graph(value, value.inputs)
        if isinstance(value, Dim):
            return pack_size(value)
        if isinstance(value, np.dtype):
            return value.name
        if isinstance(value, tuple):
            return [self._value(v) for v in value]
        if isinstance(value, float):
            return value.hex()
        if value is None or isinstance(value, (bool, int, str)):
            return value
        raise ArgumentError(f"save: a parameter of type {type(value).__name__} cannot be saved{at()}")

    def _free_name(self, label: str) -> str:
        name, number = label, 0
        while name in self.arrays or name in ("", "__metadata__"):
            number += 1
            name = f"{label}.{number}"
        return name

    def _source(self, source: Source) -> int:
        return self.sources.setdefault((file_title(source[0]), *source[1:]), len(self.sources))

    def _guard(self, guard: Guard) -> int:
        return self.guards.setdefault(guard, len(self.guards))


def _row_name(op: Op) -> str:
    return type(op).__name__ if isinstance(op, (Placeholder, SharedValue, Constant)) else saved_name(op)


# -- reading


class Reader:
    """Rebuilds graphs from JSON that anyone may have written; `arrays` are what the rows refer to."""

    def __init__(self, arrays: Mapping[str, Array], tables: Mapping[str, Any]) -> None:
        self.arrays = dict(arrays)
        self.types = TypeReader()
        self.sources = [self._read_source(s) for s in expect(list, tables["sources"], "the table of sources")]
        self.guards = [self._read_guard(g) for g in expect(list, tables["guards"], "the table of guards")]

    def _read_source(self, value: Any) -> Source:
        items = expect(list, value, "a source line")
        require(2 <= len(items) <= 4, "a source line is not a file, a number, a function and a path")
        file, line, entry, path = [*items, "", ""][:4]
        expect_text(file, "a source file"), expect_text(entry, "a function"), expect_text(path, "a path")
        return os.path.basename(file), expect_index(line, 2**31, "source line"), entry, path

    def _read_guard(self, value: Any) -> Guard:
        items = expect(list, value, "a guard")
        require(len(items) == 4, "a guard has not four parts")
        source = self.sources[expect_index(items[3], len(self.sources), "source")]
        return self.types.size(items[0]), self.types.size(items[1]), expect_text(items[2], "a guard's text"), source

    # -- graphs

    def graph(self, value: Any, depth: int = 0) -> Graph:
        """Rebuild a graph and all that is inside it."""
        require(depth < MAX_DEPTH, "graphs nested too deeply")
        names = ("nodes", "inputs", "outputs", "updates", "guards")
        parts = {n: expect(list, v, n) for n, v in expect_fields(value, names, (), "a graph").items()}
        nodes: list[Node] = []
        for number, row in enumerate(parts["nodes"]):
            nodes.append(self._node(row, nodes, number, depth))
        inputs, outputs, updates = ([self._at(i, nodes) for i in parts[n]] for n in ("inputs", "outputs", "updates"))
        require(all(isinstance(x.op, Placeholder) for x in inputs), "an input that is no placeholder")
        require(len(set(inputs)) == len(inputs), "an input twice")
        states = [x for x in updates if isinstance(x, Shared)]
        require(len(set(states)) == len(updates) <= len(outputs), "updates of what is no state, or twice")
        require(not any(isinstance(x.type, TupleType) for x in outputs), "an output of several values")
        written = self._guards(parts["guards"])
        pairs = self._update_pairs(states, outputs)
        found = Graph(outputs, inputs, updates=states, guards=())
        require(depth == 0 or not found.shared, "state inside an op")
        try:
            require_inputs(found, inputs)
        except ArgumentError as error:
            raise FormatError(str(error)) from None
        needed = [g for n in found.nodes for g in n.guards] + [(m, n, "update", UNKNOWN) for m, n in pairs]
        return Graph(outputs, inputs, updates=states, guards=_merged(written, needed))

    def _at(self, index: Any, nodes: Sequence[Node]) -> Node:
        return nodes[expect_index(index, len(nodes), "node")]

    def _guards(self, value: Any) -> list[Guard]:
        return [self.guards[expect_index(i, len(self.guards), "guard")] for i in expect(list, value, "guards")]

    def _update_pairs(self, states: Sequence[Shared], outputs: Sequence[Node]) -> Pairs:
        pairs: Pairs = []
        for state, new in zip(states, outputs[len(outputs) - len(states) :], strict=True):
            require(state.dtype == new.dtype and state.ndim == new.ndim, f"update of {state.type} by {new.type}")
            pairs += [(m, n) for m, n in zip(new.shape, state.shape, strict=True) if m != n]
        require(not any(isinstance(m, int) for m, n in pairs), "an update of another shape")
        return pairs

    # -- nodes

    def _node(self, value: Any, nodes: Sequence[Node], number: int, depth: int) -> Node:
        row = expect_fields(value, ("op", "type", "source"), ("inputs", "guards", "fields"), f"node {number}")
        name = expect_text(row["op"], "an op's name")
        try:
            source = self.sources[expect_index(row["source"], len(self.sources), "source")]
            inputs = tuple(self._at(i, nodes) for i in expect(list, row.get("inputs", []), "inputs"))
            fields = expect(dict, row.get("fields", {}), "fields")
            written = self._guards(row.get("guards", []))
            type_ = self.types.type(row["type"])
            if name in ("Placeholder", "SharedValue", "Constant"):
                require(not inputs, "operands of a leaf")
                return self._leaf(name, fields, type_, source)
            return self._apply(self._op(name, fields, depth), inputs, type_, source, written)
        except FormatError as error:
            raise FormatError(f"node {number} ({name}): {error}") from None
        except GraphcError as error:
            raise FormatError(f"node {number}: {error}") from None

    def _leaf(self, name: str, fields: dict[str, Any], type_: TensorType, source: Source) -> Node:
        if name == "Placeholder":
            label = expect_text(expect_fields(fields, ("label",), (), "a placeholder")["label"], "a label")
            require(label.isidentifier() and not isinstance(type_, TupleType), "no placeholder")
            return Node(Placeholder(label, type_), (), type_, source)
        needed = ("value", "label") if name == "SharedValue" else ("value",)
        found = expect_fields(fields, needed, (), "a value")
        array = self.arrays.get(expect_text(found["value"], "an array's name"))
        if array is None or array.dtype != type_.dtype or (name == "Constant" and array.shape != type_.shape):
            raise FormatError(f"the file has no array of type {type_} for it")
        if name == "Constant":
            array.setflags(write=False)
            return Node(Constant(array), (), type_, source)
        require(array.flags.writeable, "an array that is a constant too")
        del self.arrays[found["value"]]  # two states never share memory
        label = expect_text(found["label"], "a label")
        made = Shared(SharedValue(State(array, label)), (), type_, source)
        named = all(symbol_name(size) is not None for size in type_.shape if isinstance(size, Dim))
        if not named or not made.takes(array.shape):
            raise FormatError(f"the file has no array of type {type_} for it")
        return made

    def _op(self, name: str, fields: dict[str, Any], depth: int) -> Op:
        if name in ELEMENTWISE:
            expect_fields(fields, (), (), "an elementwise op")
            return ELEMENTWISE[name]
        if name not in OPS:
            raise FormatError("the op is unknown to this version of graphc")
        known = dataclasses.fields(OPS[name].op)
        declared = {f.name: str(f.type) for f in known}
        needed = [f.name for f in known if f.name != "rules" and f.default is MISSING]
        optional = [f.name for f in known if f.default is not MISSING]
        given = expect_fields(fields, needed, optional, "the op")
        values = {n: self.field(declared[n], v, depth) for n, v in given.items()}
        return OPS[name].op(**values, **({"rules": _RULES[name]} if "rules" in declared else {}))

    def _apply(
        self, op: Op, inputs: tuple[Node, ...], type_: TensorType, source: Source, written: Sequence[Guard]
    ) -> Node:
        """Build a node, compare its type with the written one, and collect what a call must check."""
        pairs = check_operands(op, [x.type for x in inputs])
        try:
            with blame(source):
                node = apply(op, *inputs)
        except GraphcError:
            raise
        except Exception as error:  # rules rely on what the functions that users call guarantee
            raise FormatError(f"parameters do not fit the operands: {error}") from None
        pairs = [*pairs, *_type_pairs(op, node.type, type_)]
        regions = [g for r in op.regions() for g in r.guards] if isinstance(op, Control) else []
        needed = [*node.guards, *regions, *((m, n, op.name, source) for m, n in pairs)]
        return Node(op, inputs, type_, source, _merged(written, needed))

    # -- parameters

    def field(self, declared: str, value: Any, depth: int) -> Any:
        """Read a parameter of the type that the op's class declares, written as in its source."""
        declared = _ALIASES.get(declared, declared)
        if declared.endswith(" | None"):
            return None if value is None else self.field(declared.removesuffix(" | None"), value, depth)
        if declared.startswith("tuple["):
            return self._tuple(declared[len("tuple[") : -1].split(", "), value, depth)
        readers: dict[str, Callable[[Any], Any]] = {
            "int": read_int,
            "bool": lambda v: expect(bool, v, "a parameter"),
            "str": lambda v: expect_text(v, "a parameter"),
            "float": _read_float,
            "Size": self.types.size,
            "DType": read_dtype,
            "Graph": lambda v: self.graph(v, depth + 1),
        }
        if declared not in readers:
            raise FormatError(f"a parameter of type {declared} cannot be read")
        return readers[declared](value)

    def _tuple(self, kinds: list[str], value: Any, depth: int) -> tuple[Any, ...]:
        items = expect(list, value, "a parameter")
        if kinds[-1] == "...":
            return tuple(self.field(", ".join(kinds[:-1]), v, depth) for v in items)
        require(len(items) == len(kinds), "a parameter has another length")
        return tuple(self.field(kind, v, depth) for kind, v in zip(kinds, items, strict=True))


def _read_float(value: Any) -> float:
    try:
        return float.fromhex(expect_text(value, "a number"))
    except (ValueError, OverflowError):
        raise FormatError("a parameter is no number") from None


def _type_pairs(op: Op, found: TensorType, written: TensorType) -> Pairs:
    """Compare an inferred type with the written one; sizes that differ as expressions are compared in a call.

    They differ where an operand was replaced by one of another size (`givens`). A size among the op's own parameters
    never does, and codegen relies on it.
    """
    if isinstance(found, TupleType) or isinstance(written, TupleType):
        require(found == written, f"the result is {found}, not {written}")
        return []
    same = found.dtype == written.dtype and found.ndim == written.ndim
    pairs = [(m, n) for m, n in zip(found.shape, written.shape, strict=True) if m != n] if same else []
    known = any((isinstance(m, int) and isinstance(n, int)) or m in op.sizes() for m, n in pairs)
    require(same and not known, f"{found} is not {written}")
    return [*pairs, *(pair for size in written.shape for pair in nonnegative(size))]


def _merged(written: Sequence[Guard], needed: Iterable[Guard]) -> tuple[Guard, ...]:
    """Return the guards that a file holds, and those that must be there and are not."""
    known = {(m, n) for m, n, *_ in written}
    extra = [g for g in needed if (g[0], g[1]) not in known]
    return (*written, *dict(zip(((m, n) for m, n, *_ in extra), extra, strict=True)).values())
