"""Models as artefacts: `save` writes a function, its weights and state to one file, and `load` runs it anywhere.

The file has the safetensors format (`container`): the arrays of states and constants by name, and among the texts the
program as JSON (`rows`). Loading runs nothing of the file: op names come from a table, and every parameter is checked
as `ops` says, so a file from anywhere can be loaded. It can still hold a program that computes for a long time or
needs much memory when it is called, as any program can.
"""

from __future__ import annotations

import json
import os
from typing import Any, Literal

from graphc.call.function import Function
from graphc.call.signature import Signature
from graphc.files.container import parse_json, read_tensors, write_tensors
from graphc.files.rows import Packer, Reader
from graphc.files.sizes import MAX_DEPTH, expect, expect_fields, expect_text
from graphc.graph.arguments import PathLike, checked
from graphc.graph.errors import ArgumentError, FormatError, at
from graphc.graph.graph import collector_paused
from graphc.graph.node import Node
from graphc.graph.op import Placeholder
from graphc.graph.state import hold_states
from graphc.graph.tree import flatten, unflatten

FORMAT = 1
"""The version of the format; a reader refuses later ones."""
MAX_BYTES = 8 << 30
_FIELDS = ("format", "name", "mode", "precision", "parameters", "outputs", "graph", "guards", "sources")
_CHOICES = {"mode": ("compiled", "reference", "debug"), "precision": ("vector", "polynomial", "libm")}

Mode = Literal["compiled", "reference", "debug"]

__all__ = ["load", "save"]


@checked
def save(function: Function, path: PathLike) -> None:
    """Write a function with all it needs to one file; `load` reads it, in another process too.

    What is saved: the program as it was written, with the nesting of inputs and outputs (named tuples as tuples),
    updates, guards, name, mode and precision; the current values of its state, generators included; of source lines
    the file's name and the line. A crash while saving leaves the old file. Raises `ArgumentError`, `OSError`.

    >>> import graphc as gc, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "model.gcx")
    >>> x = gc.placeholder("x", shape=("n",))
    >>> gc.save(gc.function([x], x * 2), path)
    >>> gc.load(path)([1.0, 2.0])
    array([2., 4.])
    """
    if not isinstance(function, Function):
        raise ArgumentError(f"save: a function made by gc.function is needed, got {type(function).__name__}{at()}")
    packer, signature, graph = Packer(), function._signature, function.graph
    program = {
        "format": FORMAT,
        "name": function.name,
        "mode": function.mode,
        "precision": function.precision,
        "parameters": [[n, _pack_tree(t)] for n, t in zip(signature.names, signature.trees, strict=True)],
        "outputs": _pack_tree(function._outputs),
        "graph": packer.graph(graph, signature.nodes),
        **packer.tables(),
    }
    with hold_states(packer.states.values()):
        arrays = {name: a.copy() if name in packer.states else a for name, a in packer.arrays.items()}
    try:
        write_tensors(path, arrays, {"graphc": json.dumps(program, separators=(",", ":"))})
    except FormatError as error:
        raise ArgumentError(f"save: {error}{at()}") from None


@checked
def load(path: PathLike, *, mode: Mode | None = None, max_bytes: int = MAX_BYTES) -> Function:
    """Return the function that `save` wrote; it is compiled, or taken from the cache, at its first call.

    `mode` replaces the saved one. The states of the function are new: `f.graph.shared` lists them. Raises
    `FormatError` for anything but a whole and unaltered file of at most `max_bytes`, `OSError` where there is none.
    See `save` for an example.
    """
    if mode is not None and mode not in _CHOICES["mode"]:
        raise ArgumentError(f'load: mode must be "compiled", "reference" or "debug", got {mode!r}{at()}')
    try:
        with collector_paused():
            arrays, texts = read_tensors(path, max_bytes)
            if "graphc" not in texts:
                raise FormatError("the file holds arrays but no program")
            return _function(parse_json(texts["graphc"]), arrays, mode)
    except FormatError as error:
        raise FormatError(f"{os.path.basename(os.fspath(path))}: {error}{at()}") from None


def _function(data: Any, arrays: Any, mode: Mode | None) -> Function:
    version = expect(dict, data, "the program").get("format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise FormatError(f"format {version!r} is unknown to this version of graphc, which reads up to {FORMAT}")
    program = expect_fields(data, _FIELDS, (), "the program")
    chosen = {key: expect_text(program[key], key) for key in _CHOICES}
    for key, value in chosen.items():
        if value not in _CHOICES[key]:
            raise FormatError(f"{key} {value!r} is unknown")
    graph = Reader(arrays, program).graph(program["graph"])
    signature = _signature(program["parameters"], graph.inputs)
    results = graph.outputs[: len(graph.outputs) - len(graph.updates)]
    outputs = _read_tree(program["outputs"], results, "outputs")
    name = expect_text(program["name"], "the name")
    return Function(signature, outputs, graph, name, mode or chosen["mode"], chosen["precision"], None)


def _signature(value: Any, inputs: tuple[Node, ...]) -> Signature:
    names, trees = [], []
    for pair in expect(list, value, "the parameters"):
        if len(expect(list, pair, "a parameter")) != 2:
            raise FormatError("a parameter is not a name and a nesting")
        names.append(expect_text(pair[0], "a parameter's name"))
        trees.append(pair[1])
    if len(set(names)) < len(names):
        raise FormatError("two parameters have one name")
    found = _read_tree(["tuple", *trees], inputs, "parameters")
    assert all(isinstance(x.op, Placeholder) for x in inputs)
    return Signature(tuple(names), found, tuple(inputs))


# -- nestings: 0 for a leaf, null, ["list", ...], ["tuple", ...], ["dict", [key, child], ...]


def _pack_tree(tree: Any) -> Any:
    if tree is None:
        return None
    if isinstance(tree, Node):
        return 0
    if isinstance(tree, dict):
        for key in tree:
            if type(key) not in (str, int, bool):
                raise ArgumentError(f"save: keys of dicts must be str, int or bool, got {key!r}{at()}")
        return ["dict", *([key, _pack_tree(child)] for key, child in tree.items())]
    return ["list" if isinstance(tree, list) else "tuple", *(_pack_tree(child) for child in tree)]


def _read_tree(value: Any, leaves: tuple[Node, ...], what: str) -> Any:
    tree = _unpack_tree(value, 0)
    if len(flatten(tree)) != len(leaves):
        raise FormatError(f"{what}: {len(flatten(tree))} places for {len(leaves)} nodes")
    return unflatten(tree, leaves)


def _unpack_tree(value: Any, depth: int) -> Any:
    if value is None or (type(value) is int and value == 0):
        return value
    items = expect(list, value, "a nesting")
    if depth > MAX_DEPTH or not items or items[0] not in ("list", "tuple", "dict"):
        raise FormatError("a nesting that is too deep, or of an unknown kind")
    if items[0] != "dict":
        children = [_unpack_tree(child, depth + 1) for child in items[1:]]
        return children if items[0] == "list" else tuple(children)
    found: dict[Any, Any] = {}
    for pair in items[1:]:
        if len(expect(list, pair, "an item of a dict")) != 2 or type(pair[0]) not in (str, int, bool):
            raise FormatError("an item of a dict is not a key and a nesting")
        if pair[0] in found:
            raise FormatError("a dict repeats a key")
        found[expect_text(pair[0], "a key") if isinstance(pair[0], str) else pair[0]] = _unpack_tree(pair[1], depth + 1)
    return found
