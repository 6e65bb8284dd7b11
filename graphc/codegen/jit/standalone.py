"""Kernels as text of plain Numba: the parts of the prelude that they need, their words, and the kernels themselves.

What a kernel calls, and with which dtypes, is what Numba's typing for graphc's own target has found; the formulas of
words are those of production, in its precision "libm", written out as Python.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

from graphc.codegen.jit import prelude
from graphc.codegen.jit.numba_compiler import calls
from graphc.codegen.jit.numba_types import CALLS, KINDS, POINTERS
from graphc.codegen.jit.numba_words import emit_word
from graphc.codegen.math.python_text import OWN, SCALARS, python_text
from graphc.codegen.math.tile_sizes import lanes, tile_name, tile_shapes
from graphc.graph.forks import FORK_LOCK

Cases = dict[str, dict[tuple[str, ...], set[int]]]
"""The words of kernels, by name and by their operands' dtypes; of `polygamma` the orders."""


def module_of_kernels(sources: Sequence[str], names: Sequence[str]) -> str:
    """Return the text of a module that defines kernels under these names, each taking a frame, `lo` and `hi`."""
    pointers, parts, tiles = {"i64p"}, list[str](), list[str]()
    words: Cases = defaultdict(dict)
    with FORK_LOCK:
        for name, args in dict.fromkeys(call for source in sources for call in calls(source)):
            if name in POINTERS:
                pointers.add(name)
            elif name in CALLS or name in ("prefetch", "stack"):
                parts.append(name)
            elif name in tile_shape_by_name():
                tiles.append(name)
            elif name != "bool":
                literal = [a.literal_value for a in args[:1] if name == "polygamma"]
                kinds = tuple("i64" if k == 0 and literal else KINDS[a] for k, a in enumerate(args))
                words[name].setdefault(kinds, set()).update(literal)
    text = [_word(name, cases) for name, cases in sorted(words.items())]
    needed = {*parts, *(f"c_{n}" for n in OWN if any(f"c_{n}(" in t for t in text))}
    needed |= {"tile"} if tiles else set()
    needed |= {"fma"} if any(re.search(r"\bfma\(", t) for t in text) else set()
    needed |= {n for name in needed for n in prelude.NEEDS.get(name, ())}
    pointers |= {"u8p"} if "call_transpose" in needed else set()
    needed |= pointers & {"boolp"}
    made = [f"{name} = pointer({SCALARS[POINTERS[name]]})" for name in sorted(pointers - {"boolp"})]
    found = [prelude.HEAD, "\n".join([*made, ""])]
    found += [part for name, part in prelude.PARTS.items() if name in needed]
    if text:
        found += [prelude.WORD, *text]
    if tiles:
        found.append("\n".join([*map(_tile, sorted(tiles)), ""]))
    found.append("# -- the kernels\n")
    for source, name in zip(sources, names, strict=True):
        found.append(f'@numba.njit(error_model="numpy")\n{source.replace("def kernel(", f"def {name}(", 1)}')
    return "\n\n".join(found)


def _word(name: str, cases: dict[tuple[str, ...], set[int]]) -> str:
    """Return the definition of a word for the dtypes that it is called with."""
    before: list[str] = []
    entries: list[str] = []
    for kinds, orders in sorted(cases.items()):
        key = " ".join(kinds)
        if orders:
            chosen = [_formula(f"{name} {n}", kinds[1:], before) for n in sorted(orders)]
            text = "".join(f"{f}(x) if n == {n} else " for n, f in zip(sorted(orders), chosen, strict=True))
            entries.append(f'"{key}": lambda n, x: {text}{SCALARS["f64"]}(np.nan),')
        else:
            entries.append(f'"{key}": {_formula(name, kinds, before)},')
    one = f"{name} = word({{{entries[0].removesuffix(',')}}})"
    if len(entries) > 1 or len(one) > 110:
        one = "\n".join([f"{name} = word({{", *(f"    {e}" for e in entries), "})"])
    return "\n\n\n".join([*before, one]) + "\n"


def _formula(name: str, kinds: tuple[str, ...], before: list[str]) -> str:
    """Return an expression of one case of a word; what takes several lines is defined before."""
    own = "_".join([*name.split(), *kinds])
    text = python_text(own, kinds, lambda machine, given: emit_word(name, machine, given))
    if text.startswith("lambda"):
        return f"({text})" if name.startswith("polygamma") else text
    before.append(f"@numba.njit\n{text}" if name.startswith("polygamma") else text)
    return own


@cache
def tile_shape_by_name() -> dict[str, tuple[str, int, int, bool, bool]]:
    """Return the dtype, rows, columns, and whether it is for a part of them and adds, of each register tile."""
    shapes: Any = [(k, *s, add) for k in ("f32", "f64") for s in tile_shapes() for add in (False, True)]
    return {tile_name(k, r, v, p, add): (k, r, v * lanes(k), p, add) for k, r, v, p, add in shapes}


def _tile(name: str) -> str:
    kind, rows, columns, part, add = tile_shape_by_name()[name]
    return f"{name} = tile({SCALARS[kind]}, {rows}, {columns}, {part}, {add})"
