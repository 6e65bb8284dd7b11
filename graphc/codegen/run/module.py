"""A program at one set of sizes as a standalone module: its kernels under plain Numba, and what runs them.

The module lays out memory as `Memory` has done it here, with names in place of addresses: a word of a frame is a number
or `block + offset`. Programs run on one thread there, and take BLAS from SciPy.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from graphc.codegen.nest.nest import (
    DriverSlot,
    LiteralSlot,
    PointerSlot,
    PythonSlot,
    RoutineSlot,
    SizeSlot,
    Slot,
    TransposerSlot,
)
from graphc.codegen.run.frames import Memory
from graphc.codegen.run.program import Program
from graphc.codegen.run.section import Section
from graphc.codegen.run.tape import DRIVER
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.op import Constant
from graphc.graph.types import Array, Sizes, size_value

NO_SIZES = "\n\n# what runs them is not here: the sizes of the program are not known before its first call\n"
_SHORT = 64
"""Elements of a constant that is written out as numbers."""


def module_text(program: Program, sizes: Sizes | None, name: str) -> str:
    """Return a program as a module that needs no graphc; without `sizes` its kernels only."""
    from graphc.codegen.jit import prelude
    from graphc.codegen.jit.standalone import module_of_kernels

    users: dict[str, list[str]] = {}
    for source, text in program.described():
        users.setdefault(source, []).append(text)
    names = {source: f"kernel_{k}" for k, source in enumerate(users)}
    text = module_of_kernels([*names, DRIVER], [*names.values(), "driver"])
    for source, name in names.items():
        text = text.replace(f'@numba.njit(error_model="numpy")\ndef {name}(', f"# {'; '.join(users[source])}\n\\g", 1)
        text = text.replace("\\g", f'@numba.njit(error_model="numpy")\ndef {name}(', 1)
    text = f'"""The kernels of `{name}`, written by graphc for plain Numba."""\n\n{text}'
    if sizes is None:
        return text + NO_SIZES
    layout = Layout(program, Memory(program.main, program.graph, sizes, guarded=False), names)
    body = "\n".join(layout.lines())
    routine = f"\n\n{prelude.ROUTINE}" if "routine(" in body else ""
    return f"{text}\n\n{prelude.PROGRAM}{routine}\n\n{body}\n"


@dataclass
class Layout:
    """Writes the function that lays out memory and runs the tape."""

    program: Program
    memory: Memory
    names: dict[str, str]
    constants: dict[int, tuple[str, Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        memory, graph = self.memory, self.program.graph
        sections = list(memory.walked(memory.main))
        kernels = [(a, self.names[s]) for x in sections for a, s in zip(x.addresses, x.sources, strict=True)]
        self.code = dict(kernels)
        self.blocks = [("arena", memory.arena.ctypes.data, memory.arena.nbytes)]
        self.blocks += [(f"held[{k}]", a.ctypes.data, a.nbytes) for k, a in enumerate(_states(graph))]
        self.blocks.append(("frame", memory.frames.ctypes.data, memory.frames.nbytes))
        self.rows = {s: [r for n in range(len(s.nests)) for r, _ in memory.rows(s, n)] for s in sections}
        self.tape_at: dict[Section, int] = {}
        count = 0
        for section, rows in self.rows.items():
            self.tape_at[section] = count
            count += 4 * len(rows)
            if section in memory.tapes:
                tape = memory.tapes[section]
                self.blocks.append((f"tape + {32 * self.tape_at[section] // 4}", tape.ctypes.data, tape.nbytes))
        self.tape_words = count
        bases = [f"given[{k}]" for k in range(len(graph.inputs))]
        bases += [f"out[{k}]" for k in range(len(memory.main.results))]
        self.patched = {slot: _plus(bases[base], offset) for slot, base, offset in memory.patches}

    # -- words

    def place(self, address: int) -> str:
        """Return an address as a block and an offset; a number that is in no block stays one."""
        for closed in (0, 1):  # what takes no bytes may be at the end of a block
            for name, start, nbytes in self.blocks:
                if start <= address < start + nbytes + closed:
                    return _plus(name, address - start)
        return str(address)

    def word(self, section: Section, number: int, slot: Slot, address: int, value: int) -> str:
        """Return what stands in a slot, whose address and value are those of `memory`."""
        if isinstance(slot, PointerSlot):
            return self.patched.get(address) or self._pointer(section, slot)
        if isinstance(slot, DriverSlot):
            return 'code["driver"]'
        if isinstance(slot, RoutineSlot):
            used = section.nests[number].needs_library(self.memory.sizes)
            return f'routine("{slot.routine}")' if used else "0"
        if isinstance(slot, PythonSlot | TransposerSlot):
            return "0"
        return str(value) if isinstance(slot, SizeSlot | LiteralSlot) else self.place(value)

    def _pointer(self, section: Section, slot: PointerSlot) -> str:
        offset = size_value(slot.offset, self.memory.sizes) * slot.base.dtype.itemsize
        if isinstance(slot.base.op, Constant):
            value = slot.base.op.value
            name, _ = self.constants.setdefault(id(value), (f"constant_{len(self.constants)}", value))
            return _plus(f"{name}.ctypes.data", offset)
        known = self.memory.addresses[section].get(slot.base)
        if known is None:
            return "0"
        base, _, inside = self.place(known).partition(" + ")
        return _plus(base, int(inside or 0) + offset)

    def frames(self) -> Iterator[str]:
        """Yield an assignment for each frame."""
        memory = self.memory
        for section, starts in memory.starts.items():
            for number, start in enumerate(starts):
                own: dict[int, int] = {}
                if section is memory.main and number in memory.replicas:
                    origin = memory.frames.ctypes.data + 8 * memory.copies[number]
                    own = memory.replicas[number].own_words(origin, memory.private)
                yield from self._frame(section, number, start, own)
        for number, replicas in memory.replicas.items():
            first, between = memory.copies[number], len(replicas.nest.slots)
            for k in range(replicas.stages * len(replicas.chunks)):
                known = replicas.chunk_words(k, memory.private, memory.frames.ctypes.data + 8 * first)
                yield from self._frame(memory.main, number, first + k * between, known)

    def _frame(self, section: Section, number: int, start: int, known: object) -> Iterator[str]:
        assert isinstance(known, dict)
        origin, words = self.memory.frames.ctypes.data + 8 * start, []
        for position, own in enumerate(self.memory.nests[section][number].slots):
            slot, value = known.get(position, own), int(self.memory.frames[start + position])
            whole = isinstance(slot, int)
            words.append(self.place(value) if whole else self.word(section, number, slot, origin + 8 * position, value))
        if words:
            yield f"frames[{start} : {start + len(words)}] = [{', '.join(words)}]"

    # -- the text

    def lines(self) -> Iterator[str]:
        """Yield the lines of the program."""
        memory, graph = self.memory, self.program.graph
        body = list(self.frames())
        for section, rows in self.rows.items():
            for k, (kernel, frame, lo, hi) in enumerate(rows):
                start = self.tape_at[section] + 4 * k
                words = f'code["{self.code[kernel]}"], {self.place(frame)}, {lo}, {hi}'
                body.append(f"tapes[{start} : {start + 4}] = [{words}]")
        yield from (f"{name} = {_written(value)}" for name, value in self.constants.values())
        kinds = {"INPUTS": graph.inputs, "STATE": graph.shared, "OUTPUTS": memory.main.results}
        for name, nodes in kinds.items():
            yield from _listed(name, [_kind(node, memory.sizes) for node in nodes])
        names = ", ".join([*self.names.values(), "driver"])
        yield f"KERNELS = [{names}]"
        yield from (
            "",
            "",
            "def run(inputs, state=()):",
            '    """Return the outputs; arrays of the state are changed where they are."""',
            "    inputs, outputs = as_wanted(inputs, INPUTS), [np.zeros(shape, dtype) for _, dtype, shape in OUTPUTS]",
            "    given, out, held = ([a.ctypes.data for a in arrays] for arrays in (inputs, outputs, state))",
            f"    values, frames = memory({memory.arena.nbytes}), np.zeros({len(memory.frames)}, np.int64)",
            f"    tapes, code = np.zeros({self.tape_words + 1}, np.int64), {{k.__name__: entry(k) for k in KERNELS}}",
            "    arena, frame, tape = values.ctypes.data, frames.ctypes.data, tapes.ctypes.data",
            *(f"    {line}" for line in body),
            '    with np.errstate(all="ignore"):',
            f'        status = C_KERNEL(code["driver"])(tape, 0, {len(self.rows[memory.main])})',
            "    if FAILED:",
            "        raise FAILED.pop()",
            "    if status:",
            '        raise ValueError(f"instruction {status // 65536}: check {status % 65536} failed")',
            "    return outputs",
            "",
            "",
            'if __name__ == "__main__":',
            "    for value in run(drawn(INPUTS), drawn(STATE)):",
            "        print(value)",
        )


def _states(graph: Graph) -> list[Array]:
    return [s.state.array for s in graph.shared]


def _plus(name: str, offset: int) -> str:
    base, _, inside = name.partition(" + ")
    total = int(inside or 0) + offset
    return f"{base} + {total}" if total > 0 else f"{base} - {-total}" if total else base


def _kind(node: Node, sizes: Sizes) -> str:
    name, shape = getattr(node, "name", None) or "", tuple(size_value(s, sizes) for s in node.shape)
    return f'("{name}", "{node.dtype}", {shape})'


def _listed(name: str, entries: list[str]) -> Iterator[str]:
    yield from [f"{name} = [", *(f"    {e}," for e in entries), "]"] if entries else [f"{name} = []"]


def _written(value: Array) -> str:
    """Return an array as an expression."""
    if value.size <= _SHORT and (value.dtype.kind != "f" or np.isfinite(value).all()):
        return f'np.array({value.tolist()}, "{value.dtype}")'
    text = base64.b64encode(zlib.compress(np.ascontiguousarray(value).tobytes())).decode()
    return f'np.frombuffer(zlib.decompress(base64.b64decode("{text}")), "{value.dtype}")'
