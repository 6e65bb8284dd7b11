"""FAST: opt-in identities of real numbers that change rounding, or what nan, inf and -0.0 become.

No pass uses them by itself: `rewrite(graph, FAST)` does.
"""

from __future__ import annotations

from graphc.ops.elementwise import square
from graphc.ops.elementwise_float import log, pow, sqrt
from graphc.passes.algebra.pattern import Domain, Rule, filled, literal

REAL = Domain("f")
DIVISOR = Domain("f", literals=(3.0, -0.1))

FAST: tuple[Rule, ...] = (
    Rule("x + 0.0", lambda x: x + 0.0, lambda x: x, (REAL,)),
    Rule("x * 0.0", lambda x: x * 0.0, lambda x: filled(x, 0), (REAL,)),
    Rule("x - x", lambda x: x - x, lambda x: filled(x, 0), (REAL,)),
    Rule("x / c", lambda x, c: x / c, lambda x, c: x * (1 / literal(c)), (REAL, DIVISOR), lambda x, c: literal(c) != 0),
    Rule("x ** 3", lambda x: pow(x, 3), lambda x: x * square(x), (REAL,)),
    Rule("x ** 0.5", lambda x: pow(x, 0.5), lambda x: sqrt(x), (REAL,)),
    Rule("log(x) + log(y)", lambda x, y: log(x) + log(y), lambda x, y: log(x * y), (REAL, REAL)),
    Rule("x * y + x * z", lambda x, y, z: x * y + x * z, lambda x, y, z: x * (y + z), (REAL, REAL, REAL)),
)
