"""Print the largest error of every elementary function, in ULP against mpmath, by dtype and precision.

`python -m benchmarks.ulp_table [--count 300] [names ...]`. A column is a dtype and a precision of
`graphc.codegen.intrinsics.jit_globals`; `inf` would be a wrong special value.
"""

from __future__ import annotations

import argparse

from graphc.codegen.vecmath import PRECISIONS
from tests.ulp import EXACT, evaluate, exact, function_points, ulps

KINDS = ("f64", "f32")


def errors(name: str, count: int) -> list[float]:
    """Return the largest errors of one function, float64 first, precisions in their order."""
    found = []
    for kind in KINDS:
        operands = function_points(name, kind, count)
        values = exact(name, *operands)
        found += [float(ulps(evaluate(name, kind, p, *operands), values).max()) for p in PRECISIONS]
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=sorted(EXACT))
    parser.add_argument("--count", type=int, default=300, help="points per range of arguments (7 ranges)")
    options = parser.parse_args()
    columns = [f"{kind} {p}" for kind in KINDS for p in PRECISIONS]
    print(f"{'':10}" + "".join(f"{c:>16}" for c in columns))
    for name in options.names:
        print(f"{name:10}" + "".join(f"{e:16.2f}" for e in errors(name, options.count)), flush=True)


if __name__ == "__main__":
    main()
