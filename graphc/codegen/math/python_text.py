"""Words of kernels as plain Python: the same formulas as `emit`, each operation appended as a line of text.

A machine of precision "libm", whose elementary functions are NumPy's names. The text computes with NumPy scalars and
under `numba.njit`; operands of an operator have one type, and integers narrower than 64 bits are cut back to their
width after each operation, since Numba computes them in 64.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphc.codegen.math.emit import Emitter, Number, Value
from graphc.codegen.math.llvm_text import Body
from graphc.codegen.math.loader import has_fma
from graphc.graph.types import SHORT_NAMES
from graphc.ops.random_machine import Step

NUMPY = {f"a{x}": f"arc{x}" for x in ("sin", "cos", "tan", "sinh", "cosh", "tanh")} | {
    "atan2": "arctan2",
    "pow": "power",
}
"""NumPy's names of C functions, where they differ."""
OWN = frozenset({"erf", "erfc", "lgamma"})
"""C functions that NumPy lacks: a prelude has them, as `c_erf` and so on."""
SCALARS = {short: f"np.{name.replace('bool', 'bool_')}" for name, short in SHORT_NAMES.items()}
_WIDTH = 100
"""The longest expression that is written into the one that uses it."""


@dataclass
class Line:
    """`name = expression`, where `{}` stands for each operand; a state of a loop is assigned and never moved."""

    name: str
    text: str
    operands: tuple[str, ...]
    depth: int


@dataclass
class PythonBody(Body):
    """The lines of one function."""

    steps: list[Line] = field(default_factory=list)
    depth: int = 1

    def assign(self, text: str, *operands: str) -> str:
        """Append an assignment to a new name, and return the name."""
        self.made += 1
        self.steps.append(Line(f"v{self.made}", text, operands, self.depth))
        return f"v{self.made}"

    def say(self, text: str, *operands: str) -> None:
        """Append a statement."""
        self.steps.append(Line("", text, operands, self.depth))

    def text(self, result: str) -> list[str]:
        """Return the lines; what is used once is written where it is used."""
        uses: dict[str, int] = {result: 1}
        for step in self.steps:
            for name in step.operands:
                uses[name] = uses.get(name, 0) + 1
        inside: dict[str, str] = {}
        lines = []
        for step in self.steps:
            text = step.text.format(*(inside.get(x, x) for x in step.operands))
            if step.name and uses.get(step.name, 0) == 1 and len(text) < _WIDTH:
                inside[step.name] = text
            elif step.name and step.name in uses:
                lines.append(f"{'    ' * step.depth}{step.name} = {_bare(text)}")
            elif not step.name:
                lines.append(f"{'    ' * step.depth}{text}")
        return [*lines, f"    return {_bare(inside.get(result, result))}"]


def _bare(text: str) -> str:
    """Drop parentheses around a whole expression."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0 and i < len(text) - 1:
            return text
    return text[1:-1] if text.startswith("(") else text


class PythonMachine(Emitter):
    """The machine that appends lines of Python."""

    body: PythonBody

    def __init__(self, body: Body, precision: str = "libm") -> None:
        super().__init__(body, precision)

    def _value(self, kind: str, text: str, *operands: Value) -> Value:
        return Value(self, self.body.assign(text, *(x.text for x in operands)), kind)

    def _cut(self, kind: str, text: str, *operands: Value) -> Value:
        """Append an operation, whose result has the type of its operands."""
        narrow = kind[0] in "iu" and kind[1:] != "64"
        return self._value(kind, f"{SCALARS[kind]}{text}" if narrow else text, *operands)

    def constant(self, number: float, kind: str) -> Value:
        """Return a constant of a dtype."""
        if kind == "bool":
            return Value(self, str(bool(number)), kind)
        text = str(int(number)) if kind[0] in "iu" else _float(number)
        return Value(self, text if kind in ("f64", "i64") else f"{SCALARS[kind]}({text})", kind)

    def binary(self, op: str, left: Value, right: Value) -> Value:
        """Apply an operator to two values of one type; integers divide as in C, by what the caller has made safe."""
        if op == "/" and left.is_signed:  # Python's quotient is rounded down
            floored = self._cut(left.kind, "({} // {})", left, right)
            rest = self._cut(left.kind, "({} % {})", left, right)
            up = (rest != 0) & ((left < 0) ^ (right < 0))
            return self.select(up, floored + 1, floored)
        sign = "//" if op == "/" and not left.is_float else op
        return self._cut(left.kind, f"({{}} {sign} {{}})", left, right)

    def negative(self, x: Value) -> Value:
        """Return a float with the other sign."""
        return self._value(x.kind, "(-{})", x)

    def inverted(self, x: Value) -> Value:
        """Return the other truth value, or an integer with all bits turned."""
        return self._value(x.kind, "(not {})", x) if x.kind == "bool" else self._cut(x.kind, "(~{})", x)

    def reassociated(self, op: str, left: Value, right: Value) -> Value:
        """Add or multiply, from the left."""
        return self.binary(op, left, right)

    def select(self, condition: Value, yes: Number, no: Number, flags: str = "") -> Value:
        """Choose one of two values."""
        model = yes if isinstance(yes, Value) else no
        assert isinstance(model, Value)
        return self._value(model.kind, "({} if {} else {})", self.like(yes, model), condition, self.like(no, model))

    def compare(self, op: str, left: Value, right: Number, flags: str = "") -> Value:
        """Compare: false beside a NaN, but for `!=`."""
        return self._value("bool", f"({{}} {op} {{}})", left, self.like(right, left))

    def convert(self, x: Value, kind: str) -> Value:
        """Convert as a C cast does; a float must be in the integer's range."""
        if x.kind == kind:
            return x
        return x != 0 if kind == "bool" else self._value(kind, f"{SCALARS[kind]}({{}})", x)

    @property
    def fused(self) -> bool:
        """Whether formulas may rely on a fused operation."""
        return False

    @property
    def scales(self) -> bool:
        """Whether there are instructions of AVX-512."""
        return False

    def beyond(self, limit: float, name: str, x: Value, usual: Value) -> Value:
        """Return the C library's `name(x)` where |x| <= limit fails (NaN too), and `usual` elsewhere."""
        return self.select(self.fabs(x) <= limit, usual, self.libm(name, x))

    def _cast_bits(self, x: Value, kind: str) -> Value:
        return self._value(kind, f"{SCALARS[x.kind]}({{}}).view({SCALARS[kind]})", x)

    def native(self, name: str, *operands: Value) -> Value:
        """Call NumPy's function of LLVM's name."""
        if name == "fmuladd":
            name = "fma" if has_fma() else "muladd"
        if name == "muladd":
            return self._value(operands[0].kind, "({} * {} + {})", *operands)
        prefix = "" if name == "fma" else "np."
        return self._called(f"{prefix}{name}", operands[0].kind, operands)

    def libm(self, name: str, *operands: Value) -> Value:
        """Call the C library's function under NumPy's name."""
        symbol = f"c_{name}" if name in OWN else f"np.{NUMPY.get(name, name)}"
        return self._called(symbol, operands[0].kind, operands)

    def _called(self, symbol: str, kind: str, operands: Sequence[Value], attributes: str = "") -> Value:
        return self._value(kind, f"{symbol}({', '.join('{}' for _ in operands)})", *operands)

    def loop(self, step: Step, active: Value, operands: Sequence[Value], state: Sequence[Value]) -> tuple[Value, ...]:
        """Repeat `done, state = step(self, *operands, *state)` if `active`, until done; return the last state."""
        body = self.body
        body.made += 1
        going = f"go{body.made}"
        now = [Value(self, f"s{body.made}_{i}", x.kind) for i, x in enumerate(state)]
        names = ", ".join(x.text for x in now)
        body.say(f"{names}, {going} = {', '.join('{}' for _ in now)}, {{}}", *(x.text for x in (*state, active)))
        body.say(f"while {going}:")
        body.depth += 1
        done, following = step(self, *operands, *now)
        last = [x.text for x in (*following, done)]
        body.say(f"{names}, {going} = {', '.join('{}' for _ in now)}, not {{}}", *last)
        body.depth -= 1
        return tuple(now)


def _float(number: float) -> str:
    if math.isnan(number):
        return "np.nan"
    return f"{'-' if number < 0 else ''}np.inf" if math.isinf(number) else repr(float(number))


def python_text(name: str, kinds: Sequence[str], emit: Callable[[PythonMachine, list[Value]], Value]) -> str:
    """Return a word as the text of a Python function called `name`.

    A function of one line is a lambda expression. `emit` appends the word to a machine, given its operands.
    """
    body = PythonBody()
    machine = PythonMachine(body)
    given = [Value(machine, string.ascii_lowercase[i], kind) for i, kind in enumerate(kinds)]
    found = emit(machine, given)
    operands = ", ".join(x.text for x in given)
    *lines, result = body.text(found.text)
    if not lines:
        return f"lambda {operands}: {result.removeprefix('    return ')}"
    return "\n".join([f"def {name}({operands}):", *lines, result])
