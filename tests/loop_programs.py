"""Random programs of loops and branches, as the text of functions over a `Backend`.

Bodies are drawn from what people write in loops: products, outer products, scatters by slice and index, slices,
gathers, concatenations, reductions, `where`; carries are added to, swapped, kept and dropped, and results read old
values, new ones and those between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.types import Array
from tests.loop_backends import Backend, Plain
from tests.loop_catalogue import BINARY, JOINED, KEYS, LENGTHS, MODES, REDUCED, SAME, UNARY

LIMIT = 1e3
"""Programs whose values grow beyond it are drawn again: derivatives and differences then agree to rounding."""

Shape = tuple[str, ...]
"""Of the names of axes: "A", "B" and, for sequences and stacked results, "T"."""


@dataclass(frozen=True)
class Value:
    """A name in a program's text and what it stands for."""

    name: str
    shape: Shape
    whole: bool = False
    """Whether it is an int64 (a counter), and not a float64."""


@dataclass
class Program:
    """A random program and the sizes that its inputs have."""

    seed: int
    source: str
    sizes: dict[str, int]
    named: bool
    reversible: bool
    """Whether it has reverse derivatives: `while_loop` without a limit has none."""

    def build(self, backend: Backend, inputs: Sequence[Any]) -> list[Any]:
        """Run the program's text."""
        space: dict[str, Any] = {"np": np}
        exec(self.source, space)
        found: list[Any] = space["program"](backend, *inputs)
        return found

    def placeholders(self) -> list[gc.Node]:
        """Return placeholders, whose axes are named or as large as the arrays are."""
        places: dict[str, Any] = {a: a.lower() for a in self.sizes} if self.named else dict(self.sizes)
        places["T"] = "t"
        return [gc.placeholder(name, shape=tuple(places[a] for a in shape)) for name, shape in INPUTS.items()]

    def arrays(self, seed: int = 0) -> list[Array]:
        """Return values for the inputs."""
        rng = np.random.default_rng([self.seed, seed])
        return [np.asarray(0.7 * rng.normal(size=[self.sizes[a] for a in s])) for s in INPUTS.values()]


INPUTS: dict[str, Shape] = {
    "xs": ("T", "A"),
    "ys": ("T", "B"),
    "ts": ("T",),
    "m": ("A", "B"),
    "q": ("A", "A"),
    "v": ("A",),
    "w": ("B",),
    "s": (),
}
SHAPES: tuple[Shape, ...] = ((), (), ("A",), ("A",), ("A",), ("B",), ("A", "B"), ("A", "A"))


@dataclass
class Generator:
    """Writes the text of one program."""

    rng: np.random.Generator
    sizes: dict[str, int]
    named: bool
    lines: list[str] = field(default_factory=list)
    indent: int = 1
    count: int = 0
    reversible: bool = True
    shapes: tuple[Shape, ...] = SHAPES
    """Few in one program, so that values meet."""
    most: int = 4
    """Carries of a loop, at most, and lines of a body beside them."""

    # -- text

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def write(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def let(self, scope: list[Value], text: str, shape: Shape) -> Value:
        value = Value(self.name("a"), shape)
        self.write(f"{value.name} = {text}")
        scope.append(value)
        return value

    # -- expressions

    def old(self, scope: list[Value], shape: Shape) -> Value:
        """Return a value of a shape, young ones more often; made from others where there is none."""
        found = [x for x in scope if x.shape == shape and not x.whole]
        if found and self.chance(0.95):
            back = (
                min(int(self.rng.geometric(0.25)), len(found))
                if self.chance(0.7)
                else int(self.rng.integers(len(found))) + 1
            )
            return found[-back]
        return self.made(scope, shape)

    def made(self, scope: list[Value], shape: Shape) -> Value:
        """Return a value of a shape made from one of another."""
        if not shape:
            x = self.pick([x for x in scope if not x.whole])
            if not x.shape:
                return self.let(scope, f"xp.sin({x.name})", ())
            return self.let(scope, f"xp.sum({x.name})", ())
        x = self.old(scope, shape[1:])
        if len(shape) == 1:
            base = {"A": "v", "B": "w"}[shape[0]]
            return self.let(scope, f"xp.cos({base}) * {x.name}", shape)
        base = {"B": "m", "A": "q"}[shape[1]]
        return self.let(scope, f"({base} * {x.name})", shape)

    def part(self, scope: list[Value], shape: Shape) -> Value:
        """Return a value that broadcasts to a shape."""
        return self.old(scope, shape if self.chance(0.75) else shape[1:] if self.chance(0.5) else ())

    def expression(self, scope: list[Value], shape: Shape) -> Value:
        """Write a line that makes a value of a shape."""
        counters = [x for x in scope if x.whole]
        if counters and self.chance(0.25):
            i = self.pick(counters[-2:])
            found = self.counted(scope, shape, i)
            if found is not None:
                return found
        x = self.old(scope, shape).name
        kind = self.rng.random()
        if kind < 0.2:
            return self.let(scope, self.pick(UNARY).format(x=x), shape)
        if not shape and kind < 0.5:
            y = self.old(scope, self.pick(SHAPES[2:6]))
            text = self.pick(REDUCED) if len(y.shape) == 1 else "xp.sum({x} * {x})"
            return self.let(scope, text.format(x=y.name), ())
        if not shape or kind < 0.5:
            return self.let(scope, self.pick(BINARY).format(x=x, y=self.part(scope, shape).name), shape)
        if kind < 0.6:
            return self.let(scope, self.pick(SAME).format(x=x), shape)
        if kind < 0.65 and not self.named:  # sizes of parts that add up to a named size are not known to
            return self.let(scope, self.pick(JOINED).format(x=x, y=self.old(scope, shape).name), shape)
        if kind < 0.8:
            return self.scattered(scope, x, shape)
        if kind < 0.9:
            return self.product(scope, shape)
        wide = [x for x in scope if x.shape[1:] == shape and len(x.shape) == len(shape) + 1]
        if wide:
            y = self.pick(wide)
            text = REDUCED[0] if y.shape[0] == "T" else self.pick(REDUCED)
            return self.let(scope, text.format(x=y.name), shape)
        return self.let(scope, self.pick(BINARY).format(x=x, y=self.part(scope, shape).name), shape)

    def counted(self, scope: list[Value], shape: Shape, i: Value) -> Value | None:
        """Write a line that reads a counter, as a number or as an index."""
        if not shape:
            kind = self.pick([0, 1, 1])
            if kind == 0:
                return self.let(scope, f"0.1 * {i.name}.astype('float64')", ())
            y = self.old(scope, self.pick([("A",), ("B",)]))
            return self.let(scope, f"{y.name}[{self.index(i, y.shape[0])}]", ())
        at = self.index(i, shape[0])
        x, y = self.old(scope, shape), self.old(scope, shape[1:])
        kind = self.pick([0, 1, 1, 1])
        if kind == 0:
            return self.let(scope, f"({x.name} + 0.1 * {x.name}[{at}])", shape)
        return self.let(scope, f"B.at({x.name}, {at}, {self.pick(MODES)!r}, {y.name})", shape)

    def index(self, i: Value, axis: str) -> str:
        """Return an index along an axis from a counter, which starts at 0."""
        return f"{i.name} % {self.sizes[axis]}"

    def scattered(self, scope: list[Value], x: str, shape: Shape) -> Value:
        """Write a scatter by slice or by index."""
        mode, size = self.pick(MODES), self.sizes[shape[0]]
        if self.chance(0.5):
            key = self.pick(KEYS)
            other = self.old(scope, shape).name
            value = self.pick([f"{other}[{key}]", f"xp.sin({other}[{key}])", self.old(scope, shape[1:]).name])
            if self.chance(0.3):
                shifted = {"1:": ":-1", ":-1": "1:", ":1": "-1:", "-1:": ":1"}.get(key, key)
                value = f"{other}[{shifted}]"
            return self.let(scope, f"B.at({x}, np.s_[{key}], {mode!r}, {value})", shape)
        y = self.old(scope, shape[1:]).name
        if self.chance(0.5):
            where = int(self.rng.integers(-size, size))
            return self.let(scope, f"B.at({x}, {where}, {mode!r}, {y})", shape)
        rows = [int(r) for r in self.rng.integers(0, size, size=2)]
        if mode == "set":
            rows = [int(r) for r in self.rng.permutation(size)[:2]]
        return self.let(scope, f"B.at({x}, np.array({rows}), {mode!r}, {y})", shape)

    def product(self, scope: list[Value], shape: Shape) -> Value:
        if len(shape) == 1:
            inner = self.pick(["A", "B"]) if shape[0] == "A" else "A"
            left, right = (shape[0], inner), (inner,)
            if shape[0] == "B":  # there are no values of shape (B, A)
                x, y = self.old(scope, ("A",)), self.old(scope, ("A", "B"))
                return self.let(scope, f"0.5 * ({x.name} @ {y.name})", shape)
            x, y = self.old(scope, left), self.old(scope, right)
            return self.let(scope, f"0.5 * ({x.name} @ {y.name})", shape)
        x, y = self.old(scope, shape[:1]), self.old(scope, shape[1:])
        if self.chance(0.35):
            return self.let(scope, f"{x.name}[:, None] * {y.name}[None, :]", shape)
        if self.chance(0.5):
            return self.let(scope, f"({x.name}[:, None] @ {y.name}[None, :])", shape)
        z = self.old(scope, shape)
        q = self.old(scope, ("A", "A"))
        return self.let(scope, f"0.5 * ({q.name} @ {z.name})", shape)

    # -- loops and branches

    def several(self, scope: list[Value], depth: int, least: int, most: int) -> None:
        """Write some lines, of which one may be a loop or a branch."""
        for _ in range(int(self.rng.integers(least, most + 1))):
            if depth and self.chance(0.22):
                self.pick(CONTROL)(self, scope, depth - 1)
            else:
                self.expression(scope, self.pick(self.shapes))

    def next_value(self, scope: list[Value], carry: Value, carries: list[Value], after: list[Value]) -> Value:
        """Write what becomes of a carry; `after` are the new values of those before it."""
        if after and self.chance(0.25):
            new = self.pick(after)
            part = new.name if new.shape == carry.shape else f"xp.sum({new.name})"
            return self.let(scope, f"({carry.name} + 0.3 * xp.sin({part}))", carry.shape)
        ways = {"any": 5, "add": 4, "sparse": 6, "decay": 1, "scatter": 3, "itself": 5, "swap": 2, "keep": 1, "old": 1}
        if not carry.shape:
            ways |= {"sparse": 0, "scatter": 0, "itself": 0}
        way = str(self.rng.choice(list(ways), p=np.array(list(ways.values())) / sum(ways.values())))
        c, shape = carry.name, carry.shape
        if way == "add":
            term = self.old(scope, shape) if self.chance(0.5) else self.expression(scope, shape)
            forms = ["({c} + {t})", "({t} + {c})", "({c} - {t})"]
            return self.let(scope, self.pick(forms).format(c=c, t=term.name), shape)
        if way == "sparse":
            zeros = f"xp.zeros_like({c})"
            term = self.scattered(scope, zeros, shape) if self.chance(0.5) else self.product(scope, shape)
            return self.let(scope, f"({c} + {term.name})", shape)
        if way == "decay":
            return self.let(scope, f"(0.8 * {c} + {self.expression(scope, shape).name})", shape)
        if way == "scatter":
            x = self.scattered(scope, c, shape)
            return self.scattered(scope, x.name, shape) if self.chance(0.25) else x
        if way == "itself":
            x = self.from_itself(scope, carry)
            return self.from_itself(scope, x) if self.chance(0.25) else x
        if way == "swap":
            same = [c for c in carries if c.shape == shape]
            return same[int(self.rng.integers(len(same)))]
        if way == "keep":
            return carry
        return self.old(scope, shape) if way == "old" else self.expression(scope, shape)

    def from_itself(self, scope: list[Value], x: Value) -> Value:
        """Write a scatter into a value of what is computed from its own elements."""
        counters, size, part = [v for v in scope if v.whole], self.sizes[x.shape[0]], x.shape[1:]
        places = [str(int(self.rng.integers(-size, size)))]
        places += [self.index(i, x.shape[0]) for i in counters[-2:]]
        read = [f"{x.name}[{self.pick(places)}]", f"{x.name}[{self.pick(places)}]", f"xp.sum({x.name}, axis=0)"]
        value = self.let(scope, self.pick(read), part).name
        if self.chance(0.6):
            other = self.pick(read) if self.chance(0.5) else self.part(scope, part).name
            value = self.let(scope, self.pick(BINARY).format(x=value, y=other), part).name
        key = self.pick(places) if self.chance(0.7) else f"np.s_[{self.pick(KEYS)}]"
        return self.let(scope, f"B.at({x.name}, {key}, {self.pick(MODES)!r}, {value})", x.shape)

    def carries(self, scope: list[Value]) -> tuple[list[Value], list[Value]]:
        """Return first values, and the names that a body gives to the carries."""
        shapes = [self.pick(self.shapes) for _ in range(int(self.rng.integers(1, self.most + 1)))]
        first = [self.old(scope, shape) for shape in shapes]
        return first, [Value(self.name("c"), shape) for shape in shapes]

    def begin(self, head: str) -> None:
        self.write(f"def {head}:")
        self.indent += 1

    def end(self, text: str) -> None:
        self.write(f"return {text}")
        self.indent -= 1

    def step(self, inner: list[Value], carries: list[Value], depth: int) -> tuple[list[Value], list[Value]]:
        """Write the lines of a body and return its next carries and what it may stack.

        Some carries are read by their own updates only: passes look for those.
        """
        start = len(inner)
        inner += [c for c in carries if self.chance(0.6)]
        self.several(inner, depth, 0, min(self.most, 3))
        after: list[Value] = []
        for carry in carries:
            after.append(self.next_value(inner, carry, carries, after))
        heads = [*carries, *(x for x in inner[start:] if not x.whole), *after, *after]
        stacked = [self.pick(heads) for _ in range(int(self.rng.integers(0, 3)))]
        return after, [x for x in stacked if "T" not in x.shape]


def listed(values: Sequence[Value]) -> str:
    return "[" + ", ".join(x.name for x in values) + "]"


def _unpack(g: Generator, values: Sequence[Value], of: str) -> None:
    if values:
        g.write(f"{listed(values)} = {of}")


def _scan(g: Generator, scope: list[Value], depth: int) -> None:
    first, carries = g.carries(scope)
    rows = {("A",): "xs", ("B",): "ys", (): "ts"}
    chosen = [shape for shape in rows if g.chance(0.4)]
    elements = [Value(g.name("x"), shape) for shape in chosen]
    sequences = [rows[shape] for shape in chosen]
    wide = [x for x in scope if x.shape[:1] == ("T",) and x.name not in rows.values()]
    if wide and g.chance(0.7):
        x = g.pick(wide)
        sequences.append(x.name)
        elements.append(Value(g.name("x"), x.shape[1:]))
    body = g.name("step")
    g.begin(f"{body}(c, x)")
    _unpack(g, carries, "c")
    _unpack(g, elements, "x")
    inner = [x for x in scope if x.shape[:1] != ("T",)] + elements
    after, stacked = g.step(inner, carries, depth)
    g.end(f"{listed(after)}, {listed(stacked)}")
    options = f", reverse={g.chance(0.3)}"
    length = "None"
    if not sequences:
        length = str(int(g.rng.choice(LENGTHS)))
    if g.chance(0.15):
        options += f", checkpoint={g.pick([1, 2, 'sqrt'])!r}"
    elif g.chance(0.12):
        test = next((k for k, c in enumerate(carries)), 0)
        options += f", until=lambda c: xp.sum(c[{test}]) > {g.rng.normal():.2f}"
    last = [Value(g.name("l"), c.shape) for c in carries]
    stacks = [Value(g.name("z"), ("T", *y.shape)) if sequences else Value(g.name("z"), y.shape) for y in stacked]
    g.write(f"{listed(last)}, ys_ = B.scan({body}, {listed(first)}, [{', '.join(sequences)}], {length}{options})")
    if stacks:
        g.write(f"{listed(stacks)} = " + ("ys_" if sequences else "[xp.sum(y, axis=0) for y in ys_]"))
    scope += [*last, *stacks]


def _fori(g: Generator, scope: list[Value], depth: int) -> None:
    first, carries = g.carries(scope)
    body, i = g.name("step"), Value(g.name("i"), (), whole=True)
    g.begin(f"{body}({i.name}, c)")
    _unpack(g, carries, "c")
    after, _ = g.step([x for x in scope if x.shape[:1] != ("T",)] + [i], carries, depth)
    g.end(listed(after))
    last = [Value(g.name("l"), c.shape) for c in carries]
    g.write(f"{listed(last)} = B.fori(0, {int(g.rng.choice(LENGTHS))}, {body}, {listed(first)})")
    scope += last


def _while(g: Generator, scope: list[Value], depth: int) -> None:
    first, carries = g.carries(scope)
    body, i = g.name("step"), Value(g.name("i"), (), whole=True)
    g.begin(f"{body}(c)")
    _unpack(g, [i, *carries], "c")
    after, _ = g.step([x for x in scope if x.shape[:1] != ("T",)] + [i], carries, depth)
    g.end(f"[{i.name} + 1, *{listed(after)}]")
    steps = int(g.rng.choice(LENGTHS))
    limit: int | None = steps + int(g.rng.integers(0, 3))
    if g.chance(0.3):
        limit, g.reversible = None, False
    test = f"lambda c: c[0] < {steps}"
    if g.chance(0.3):
        test = f"lambda c: xp.logical_and(c[0] < {steps}, xp.sum(c[1]) < {1 + g.rng.normal():.2f})"
    last = [Value(g.name("l"), c.shape) for c in carries]
    g.write(
        f"_, *{listed(last)[1:-1]}, = B.loop({test}, {body}, [np.int64(0), *{listed(first)}], {limit})".replace(
            "_, *", "_, ", 1
        )
    )
    scope += last


def _map(g: Generator, scope: list[Value], depth: int) -> None:
    rows, shape = g.pick([("xs", ("A",)), ("ys", ("B",)), ("ts", ())])
    body, x = g.name("each"), Value(g.name("x"), shape)
    g.begin(f"{body}({x.name})")
    inner = [x for x in scope if x.shape[:1] != ("T",)] + [x]
    g.several(inner, depth, 1, 3)
    result = g.expression(inner, g.pick(g.shapes))
    g.end(result.name)
    stack = Value(g.name("z"), ("T", *result.shape))
    g.write(f"{stack.name} = B.map({body}, {rows})")
    scope.append(stack)


def _branches(g: Generator, scope: list[Value], depth: int, count: int) -> tuple[list[str], list[Value]]:
    shapes = [g.pick(g.shapes) for _ in range(int(g.rng.integers(1, 4)))]
    names = []
    for _ in range(count):
        names.append(g.name("branch"))
        g.begin(f"{names[-1]}()")
        inner = [x for x in scope if x.shape[:1] != ("T",)]
        g.several(inner, depth, 0, 2)
        g.end(listed([g.old(inner, s) if g.chance(0.3) else g.expression(inner, s) for s in shapes]))
    return names, [Value(g.name("l"), s) for s in shapes]


def _cond(g: Generator, scope: list[Value], depth: int) -> None:
    test = g.old(scope, ())
    (yes, no), found = _branches(g, scope, depth, 2)
    counters = [x for x in scope if x.whole]
    text = f"{test.name} > {0.5 * g.rng.normal():.2f}"
    if counters and g.chance(0.5):
        text = f"{g.pick(counters).name} < 1"
    g.write(f"{listed(found)} = B.cond({text}, {yes}, {no})")
    scope += found


def _switch(g: Generator, scope: list[Value], depth: int) -> None:
    counters = [x for x in scope if x.whole]
    names, found = _branches(g, scope, depth, 3)
    index = g.pick(counters).name if counters else str(int(g.rng.integers(-1, 4)))
    g.write(f"{listed(found)} = B.switch({index}, [{', '.join(names)}])")
    scope += found


CONTROL = (_scan, _scan, _scan, _fori, _fori, _while, _map, _cond, _switch)


def _draw(seed: int, attempt: int) -> Program:
    rng = np.random.default_rng([seed, attempt])
    sizes = {"A": int(rng.integers(2, 5)), "B": int(rng.integers(2, 5)), "T": int(rng.choice(LENGTHS))}
    g = Generator(rng, sizes, named=bool(seed % 3 == 0))
    g.shapes = tuple(g.pick(SHAPES) for _ in range(3))
    g.most = int(rng.integers(1, 5))
    scope = [Value(name, shape) for name, shape in INPUTS.items()]
    depth = int(rng.choice(3, p=[0.5, 0.4, 0.1]))
    for _ in range(1 if g.chance(0.7) else 2):
        g.pick(CONTROL[:-1])(g, scope, depth)
        if g.chance(0.4):
            g.expression(scope, g.pick(g.shapes))
    outputs = [x for x in scope[len(INPUTS) :] if not x.whole]
    head = f"def program(B, {', '.join(INPUTS)}):\n    xp = B.xp\n"
    kept = [x for x in outputs if g.chance(0.8)] or outputs[-1:]
    source = head + "\n".join(g.lines) + f"\n    return {listed(kept)}\n"
    return Program(seed, source, sizes, g.named, g.reversible)


def program(seed: int) -> Program:
    """Return the random program of a seed, whose values are bounded."""
    for attempt in range(100):
        found = _draw(seed, attempt)
        with np.errstate(all="ignore"):
            values = found.build(Plain(), found.arrays())
        if all(np.isfinite(v).all() and (np.abs(v) < LIMIT).all() for v in values):
            return found
    raise AssertionError(f"no program of seed {seed} has bounded values")
